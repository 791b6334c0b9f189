//! Files and flags to one configuration; every mistake with its place.

use codecs::conf::source::Memory;
use codecs::conf::{Entry, OptionSpec, Status};

use super::*;

fn run(files: &[(&str, &str)], flags: &[Section]) -> (Config, Vec<String>) {
    let mut diagnostics = Diagnostics::default();
    let source = Memory::with(files);
    let config = load(files.first().map(|(name, _)| *name), flags, &source, &mut diagnostics);
    (config, diagnostics.list.iter().map(ToString::to_string).collect())
}

const PIPE: &str = "[INPUT]\n    Name dummy\n[OUTPUT]\n    Name stdout\n    Match *\n";

#[test]
fn a_good_file_is_read_with_its_parsers() {
    let text =
        format!("[SERVICE]\n    Flush 0.2  # soon\n    parsers_file p.conf\n    Parsers_File q.yaml\n{PIPE}");
    let (config, found) = run(
        &[
            ("etc/case.conf", &text),
            ("etc/p.conf", "@SET x=1\n[PARSER]\n  Name a\n  Regex ^${x}$\n[INPUT]\n  Name odd"),
            (
                "etc/q.yaml",
                "parsers:\n  - name: b\nmultiline_parsers:\n  - name: c\n    rules: [{state: start_state, regex: /x/}]\n",
            ),
        ],
        &[],
    );
    assert_eq!(config.service.flush.0, 0.2);
    assert_eq!(config.service.parsers_file.len(), 2);
    let names: Vec<&str> =
        config.parsers.iter().map(|p| p.get("name").expect("name").value.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(config.parsers[0].get("regex").expect("regex").value, "^1$");
    assert_eq!(config.multiline_parsers[0].get("rule").expect("rule").value, "\"start_state\" \"/x/\" \"\"");
    assert_eq!((config.inputs.len(), config.outputs.len()), (1, 1));
    assert_eq!(found, ["etc/p.conf:5:1: warning: section `input` has no effect in a parsers file"]);
}

#[test]
fn mistakes_are_found_with_their_place() {
    for (service, want) in [
        (
            "    Flush abc",
            "case.conf:2:11: error: service: `flush` is `abc`\n   = rule: a number of seconds above 0",
        ),
        ("    Flush 0", "case.conf:2:11: error: service: `flush` is `0`"),
        ("    Grace soon", "case.conf:2:11: error: service: `grace` is `soon`"),
        ("    Flussh_Every 3", "case.conf:2:5: error: service: unknown option `Flussh_Every`"),
        (
            "    Log_Leveel info",
            "case.conf:2:5: error: service: unknown option `Log_Leveel`\n   = did you mean `log_level`?",
        ),
        ("    Log_Level loud", "case.conf:2:15: error: service: `log_level` is `loud`"),
        ("    Parsers_File nothere.conf", "case.conf:2:18: error: cannot open `nothere.conf`: no such file"),
        ("    storage.checksum on", "case.conf:2:5: note: service: `storage.checksum` has no effect"),
        ("    Streams_File s.conf", "case.conf:2:5: error: service: `streams_file` is refused"),
    ] {
        let text = format!("[SERVICE]\n{service}\n{PIPE}");
        let (_, found) = run(&[("case.conf", &text)], &[]);
        assert_eq!(found.len(), 1, "{service}: {found:?}");
        assert!(found[0].starts_with(want), "{service}: {}", found[0]);
    }
    let (_, found) = run(
        &[(
            "case.conf",
            "[INPUT]\n    Tag x\n[PARSER]\n    Name p\n[UPSTREAM]\n    name u\n[CUSTOM]\n    name c\n",
        )],
        &[],
    );
    assert_eq!(found.len(), 3, "{found:?}");
    let (_, found) =
        run(&[("c.yaml", "pipeline:\n  inputs:\n    - name: d\n      routes:\n        logs: []\n")], &[]);
    assert_eq!(found, ["c.yaml:4:7: error: input: `routes` cannot be a map of keys and values"]);
}

#[test]
fn a_wrong_service_hides_nothing() {
    let text = "[SERVICE]\n    Flush abc\n    Parsers_File nothere.conf\n[INPUT]\n    Name dummy\n    a:\n[CUSTOM]\n    name c\n";
    let (config, found) = run(&[("case.conf", text)], &[]);
    assert_eq!((config.inputs.len(), config.service.flush.0), (1, 1.0));
    let lines: Vec<&str> = found.iter().filter_map(|f| f.split(':').nth(1)).collect();
    assert_eq!(lines, ["6", "7", "2", "3"], "{found:?}");
}

#[test]
fn the_last_of_a_repeated_service_option_counts() {
    let (config, found) = run(&[("case.conf", &format!("[SERVICE]\n    Flush 3\n    flush 4\n{PIPE}"))], &[]);
    assert_eq!(config.service.flush.0, 4.0);
    assert_eq!(
        found,
        [
            "case.conf:3:5: warning: service: `flush` is set again\n   = this one counts, not that at case.conf:2:5"
        ]
    );
}

#[test]
fn flags_come_first_and_the_file_wins() {
    let place = Span::new(&Arc::from("command line"), 0, 0);
    let flag = |name: &str, key: &str, value: &str| {
        let mut section = Section::new(name, place.clone());
        let (key_span, value_span) = (place.clone(), place.clone());
        section.entries.push(Entry { key: key.into(), value: value.into(), key_span, value_span });
        section
    };
    let flags =
        [flag("service", "flush", "7"), flag("service", "grace", "2"), flag("input", "name", "stdin")];
    let text = format!("[SERVICE]\n    Flush 3\n{PIPE}");
    let (config, found) = run(&[("case.conf", &text)], &flags);
    assert_eq!((config.service.flush.0, config.service.grace.0), (3.0, 2));
    assert_eq!(config.inputs[0].get("name").expect("name").value, "stdin");
    assert!(found.is_empty(), "{found:?}");
    let quiet = Memory::default().and_env("FLB_LOG_LEVEL", "error");
    assert_eq!(config.log_level(Level::Debug, &Memory::default()), Level::Debug);
    assert_eq!(config.log_level(Level::Debug, &quiet), Level::Error);
    let (config, _) = run(&[], &flags);
    assert_eq!(config.service.flush.0, 7.0);
}

#[test]
fn every_option_is_described_and_every_default_parses() {
    let tables: [&[OptionSpec]; 4] =
        [ServiceOptions::TABLE, CommonInput::TABLE, CommonFilter::TABLE, CommonOutput::TABLE];
    for spec in tables.concat() {
        assert!(!spec.doc.trim().is_empty(), "{}", spec.name);
        if let Status::NoEffect(why) | Status::Refused(why) = spec.status {
            assert!(!why.is_empty() && !why.ends_with('.'), "{}", spec.name);
        }
    }
    let (empty, mut found) = (Section::new("x", Span::new(&Arc::from("x"), 0, 0)), Diagnostics::default());
    ServiceOptions::read(&empty, "service", &mut found);
    CommonInput::read(&empty, "input", &mut found);
    CommonFilter::read(&empty, "filter", &mut found);
    CommonOutput::read(&empty, "output", &mut found);
    assert!(found.list.is_empty());
}
