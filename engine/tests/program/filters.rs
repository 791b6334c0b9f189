//! Filters with state in the running program: one state is one state, whatever the workers do, and what is held back is
//! neither lost nor doubled.

use crate::rig::Folder;
use crate::rig::engine::Engine;
use crate::rig::{lines, wait_for};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Files that are read at once.
const FILES: [char; 6] = ['a', 'b', 'c', 'd', 'e', 'f'];
/// Lines of each: many blocks, so that jobs of several files are under way together.
const LINES: u64 = 30_000;

/// Runs a configuration to its end on the files, and gives the lines of the file `out`.
fn run(conf: &str) -> (Folder, Vec<String>) {
    let folder = Folder::new();
    for name in FILES {
        std::fs::write(folder.path().join(format!("logs/{name}.log")), lines::plain(name, 0..LINES)).unwrap();
    }
    let conf = format!(
        "[SERVICE]\n flush 0.1\n[INPUT]\n name tail\n path logs/*.log\n tag all\n read_from_head on\n exit_on_eof on\n{conf}\
         [OUTPUT]\n name file\n match *\n file out\n path .\n format template\n template {{n}} {{log}}\n"
    );
    let mut engine = Engine::start(folder.path(), &conf);
    let status = engine.ended(Duration::from_secs(120));
    assert!(status.is_some_and(|s| s.success()), "{status:?}\n{}", engine.messages());
    let lines = read(folder.path());
    (folder, lines)
}

fn read(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("out")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_script_sees_all_records_one_after_the_other() {
    let script = "[FILTER]\n name lua\n match *\n call f\n \
                  code n = 0 function f(tag, ts, r) n = n + 1 r.n = n return 2, ts, r end\n";
    let (_folder, out) = run(script);
    let mut numbers = Vec::new();
    let mut files: BTreeMap<char, Vec<(u64, u64)>> = BTreeMap::new();
    for line in &out {
        let (n, log) = line.split_once(' ').unwrap();
        let (name, number) = lines::number(log).unwrap();
        numbers.push(n.parse::<u64>().unwrap());
        files.entry(name).or_default().push((number, n.parse().unwrap()));
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=LINES * FILES.len() as u64), "each number once");
    for (name, lines) in files {
        // The script met the lines of a file in their order, and they came out in it.
        assert!(lines.iter().map(|(number, _)| *number).eq(0..LINES), "{name}");
        assert!(lines.windows(2).all(|pair| pair[0].1 < pair[1].1), "{name}");
    }
}

#[test]
fn a_throttle_is_one_for_all_files() {
    let throttle = "[FILTER]\n name throttle\n match *\n rate 100\n window 10\n interval 1h\n\
                    [FILTER]\n name modify\n match *\n add n x\n";
    assert_eq!(run(throttle).1.len(), 1000);
}

/// Tails one file with a `DB` through the multiline filter, which would wait for a day.
const JOINING: &str = "[SERVICE]\n flush 0.1\n parsers_file parsers.conf\n\
    [INPUT]\n name tail\n path logs/a.log\n tag all\n read_from_head on\n refresh_interval 1\n db offsets.db\n db.sync full\n\
    [FILTER]\n name multiline\n match *\n multiline.key_content log\n multiline.parser joined\n flush_ms 86400000\n\
    [OUTPUT]\n name file\n match *\n file out\n path .\n format template\n template <{log}>\n";

#[test]
fn what_the_multiline_filter_holds_back_survives_a_kill_and_a_stop() {
    let folder = Folder::new();
    let parsers = "[MULTILINE_PARSER]\n name joined\n type regex\n rule \"start_state\" \"/^[A-Z]/\" \"more\"\n rule \"more\" \"/^ /\" \"more\"\n";
    std::fs::write(folder.path().join("parsers.conf"), parsers).unwrap();
    let log = folder.path().join("logs/a.log");
    std::fs::write(&log, "One\n 1\nTwo\n 2\n").unwrap();
    let engine = Engine::start(folder.path(), JOINING);
    assert!(wait_for(Duration::from_secs(20), || read(folder.path()).len() >= 2), "{}", engine.messages());
    // Two is held back; nothing behind One may be committed.
    engine.kill();
    std::fs::write(&log, "One\n 1\nTwo\n 2\n 3\nThree\n").unwrap();
    let engine = Engine::start(folder.path(), JOINING);
    let whole = |text: &str| read(folder.path()).join("\n").matches(text).count();
    assert!(wait_for(Duration::from_secs(20), || whole("<Two\n 2\n 3>") == 1), "{:?}", read(folder.path()));
    assert_eq!(whole("Three"), 0, "it waits for more");
    // A stop lets go of it.
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
    assert_eq!((whole("<Two"), whole("<Three>")), (1, 1), "{:?}", read(folder.path()));
    assert!((1..=2).contains(&whole("<One\n 1>")));
}

#[test]
fn processors_of_an_output_change_only_what_goes_to_it() {
    let folder = Folder::new();
    let conf = r#"
service: {flush: 0.1}
pipeline:
  inputs:
    - name: dummy
      dummy: '{"log":"x","level":"info"}'
      samples: 1
      tag: t
      processors:
        logs:
          - {name: content_modifier, action: insert, key: seen, value: input}
  filters:
    - {name: modify, match: '*', rename: seen by}
  outputs:
    - name: file
      match: '*'
      path: .
      file: one
      format: plain
      processors:
        logs:
          - name: content_modifier
            action: delete
            key: level
            condition: {op: and, rules: [{field: $level, op: eq, value: info}]}
          - {name: lua, call: f, code: "function f(tag, ts, r) r.n = 1 return 2, ts, {r, {log = tag}} end"}
    - {name: file, match: '*', path: ., file: two, format: plain}
"#;
    std::fs::write(folder.path().join("case.yaml"), conf).unwrap();
    let status = std::process::Command::new(crate::rig::engine::program())
        .args(["-q", "-c", "case.yaml"])
        .current_dir(folder.path())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut engine = status.unwrap();
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let came =
        wait_for(Duration::from_secs(20), || text("one").lines().count() >= 2 && !text("two").is_empty());
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(came, "{} {}", text("one"), text("two"));
    assert_eq!(text("one"), "{\"log\":\"x\",\"by\":\"input\",\"n\":1}\n{\"log\":\"t\"}\n");
    assert_eq!(text("two"), "{\"log\":\"x\",\"level\":\"info\",\"by\":\"input\"}\n");
}

#[test]
fn a_record_does_not_meet_again_the_filter_that_gave_it_its_tag() {
    let again = "[FILTER]\n name rewrite_tag\n match *\n rule $log n=77\\s again true\n\
                 [FILTER]\n name modify\n match again\n add n x\n";
    let (_folder, out) = run(again);
    assert_eq!(out.iter().filter(|line| line.starts_with("x ")).count(), FILES.len());
}
