//! Bad input: each kind of it is told clearly, counted, and bounded in memory, and the other files go on.

use crate::rig::engine::{Engine, counts, free_port, metric, program};
use crate::rig::lines;
use crate::rig::sink::Sink;
use crate::rig::{Dice, Folder, wait_for};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// Most memory that the program may ever hold.
const MEMORY_MAX_KB: u64 = 100_000;
/// Lines of the good file.
const LINES: u64 = 2000;

/// The input tail with `more` options to the sink, with metrics on `monitor`.
fn conf(sink: &Sink, monitor: u16, more: &str) -> String {
    format!(
        "[SERVICE]\n flush 0.1\n grace 5\n http_server on\n http_listen 127.0.0.1\n http_port {monitor}\n\
         [INPUT]\n name tail\n path logs/*.log\n tag all\n read_from_head on\n refresh_interval 1\n{more}\
         [OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {}\n format json_lines\n",
        sink.port()
    )
}

/// Appends lines to the good file.
fn write_good(folder: &Path, numbers: std::ops::Range<u64>) {
    let path = folder.join("logs/good.log");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(lines::plain('g', numbers).as_bytes()).unwrap();
}

/// Lines of the good file that arrived, in order.
fn good(sink: &Sink) -> Vec<u64> {
    let numbers = |log: &String| lines::number(log).filter(|(name, _)| *name == 'g').map(|(_, n)| n);
    sink.logs().iter().filter_map(numbers).collect()
}

/// Waits for the good file's first `count` lines, each once and in order.
fn good_arrives(engine: &Engine, sink: &Sink, count: u64) {
    let mut arrived = Vec::new();
    wait_for(PATIENCE, || {
        arrived = good(sink);
        arrived.len() as u64 >= count
    });
    assert!(arrived.iter().copied().eq(0..count), "{} of {count}\n{}", arrived.len(), engine.messages());
}

#[test]
fn a_file_of_random_bytes() {
    let (folder, sink, mut dice) = (Folder::new(), Sink::start(), Dice::new(7));
    let noise: Vec<u8> = (0..1 << 20).map(|_| dice.below(256) as u8).collect();
    std::fs::write(folder.path().join("logs/noise.log"), [&noise[..], b"\nend of noise\n"].concat()).unwrap();
    write_good(folder.path(), 0..LINES);
    let engine = Engine::start(folder.path(), &conf(&sink, free_port(), ""));
    good_arrives(&engine, &sink, LINES);
    let whole = noise.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count() + 1;
    let arrived = || sink.count() - good(&sink).len();
    // Empty lines are records or not; each other line is one, and the last arrives whole.
    assert!(
        wait_for(PATIENCE, || sink.logs().iter().any(|log| log == "end of noise")),
        "{}",
        engine.messages()
    );
    assert!(arrived() >= whole, "{} of {whole}", arrived());
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
}

#[test]
fn a_hundred_mebibytes_without_a_newline() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    let mut file = std::fs::File::create(folder.path().join("logs/long.log")).unwrap();
    let piece = vec![b'x'; 1 << 20];
    (0..100).for_each(|_| file.write_all(&piece).unwrap());
    write_good(folder.path(), 0..LINES);
    let engine = Engine::start(folder.path(), &conf(&sink, monitor, ""));
    good_arrives(&engine, &sink, LINES);
    engine.says("logs/long.log has lines of more than 32767 bytes");
    counts(monitor, "fluentbit_input_long_line_truncated_total", 1.0);
    // Its end comes at last, and what follows it is a line again.
    file.write_all(b"\nafter the long one\n").unwrap();
    assert!(
        wait_for(PATIENCE, || sink.logs().iter().any(|l| l == "after the long one")),
        "{}",
        engine.messages()
    );
    let long: Vec<usize> = sink.logs().iter().filter(|l| l.starts_with("xxx")).map(String::len).collect();
    assert_eq!(long, [32_767], "the line is cut, once");
    let peak = engine.memory_peak_kb();
    assert!(peak < MEMORY_MAX_KB, "{peak} kB");
    println!("peak {peak} kB");
}

#[test]
fn nuls_and_half_a_json_object() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let logs = folder.path().join("logs");
    std::fs::write(logs.join("nul.log"), [&b"a\0b\n"[..], &vec![0; 50_000], b"\nafter nuls\n"].concat())
        .unwrap();
    std::fs::write(
        logs.join("half.log"),
        "{\"log\":\"whole one\"}\n{\"log\":\"half\n{\"log\":\"whole two\"}\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("parsers.conf"), "[PARSER]\n name j\n format json\n").unwrap();
    write_good(folder.path(), 0..LINES);
    let more = " parser j\n";
    let conf =
        conf(&sink, free_port(), more).replace(" flush 0.1\n", " flush 0.1\n parsers_file parsers.conf\n");
    let engine = Engine::start(folder.path(), &conf);
    good_arrives(&engine, &sink, LINES);
    for expected in ["whole one", "whole two", "{\\\"log\\\":\\\"half", "after nuls", "a\\u0000b"] {
        let there = wait_for(PATIENCE, || sink.logs().iter().any(|log| log == expected));
        let short = sink.logs().into_iter().filter(|l| l.len() < 100 && !l.starts_with("file="));
        assert!(there, "{expected} is missing: {:?}\n{}", short.collect::<Vec<_>>(), engine.messages());
    }
}

#[test]
fn what_is_no_file_or_cannot_be_opened() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    let logs = folder.path().join("logs");
    std::fs::create_dir(logs.join("folder.log")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(logs.join("socket.log")).unwrap();
    assert!(Command::new("mkfifo").arg(logs.join("pipe.log")).status().unwrap().success());
    std::os::unix::fs::symlink("loop.log", logs.join("loop.log")).unwrap();
    std::os::unix::fs::symlink("nowhere", logs.join("dangling.log")).unwrap();
    std::fs::write(logs.join("secret.log"), "x\n").unwrap();
    std::fs::set_permissions(logs.join("secret.log"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let readable = std::fs::read(logs.join("secret.log")).is_ok();
    write_good(folder.path(), 0..LINES);
    let engine = Engine::start(folder.path(), &conf(&sink, monitor, ""));
    good_arrives(&engine, &sink, LINES);
    let mut troubles =
        vec!["folder.log is not", "socket.log is not", "pipe.log is not", "loop.log cannot be"];
    // Root may read anything.
    troubles.extend((!readable).then_some("secret.log cannot be opened"));
    troubles.iter().for_each(|trouble| engine.says(trouble));
    counts(monitor, "ripsaw_input_read_errors_total", troubles.len() as f64);
    drop(socket);
    // What becomes a file is read.
    std::fs::remove_dir(logs.join("folder.log")).unwrap();
    std::fs::write(logs.join("folder.log"), "now a file\n").unwrap();
    std::fs::write(logs.join("nowhere"), "now there\n").unwrap();
    for log in ["now a file", "now there"] {
        assert!(wait_for(PATIENCE, || sink.logs().iter().any(|l| l == log)), "{log}\n{}", engine.messages());
    }
    // Each is told once, not at every scan.
    for trouble in troubles {
        assert_eq!(engine.messages().matches(trouble).count(), 1, "{trouble}");
    }
}

#[test]
fn a_full_disk_under_the_db() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    write_good(folder.path(), 0..100);
    // Files may grow to 64 KiB: enough to open the DB, not enough to go on writing it.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -S -f 128; exec \"$0\" \"$@\""]).arg(program());
    let engine = Engine::start_by(command, folder.path(), &conf(&sink, monitor, " db tail.db\n"));
    let mut written = 100;
    let failed = wait_for(PATIENCE, || {
        write_good(folder.path(), written..written + 10);
        written += 10;
        metric(monitor, "ripsaw_input_database_errors_total").is_some_and(|n| n > 0.0)
    });
    assert!(failed, "{}", engine.messages());
    engine.says("the `DB` cannot be written");
    write_good(folder.path(), written..written + 500);
    good_arrives(&engine, &sink, written + 500);
    // There is room again.
    let pid = Pid::from_raw(engine.pid()).unwrap();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    engine.says("can be written again");
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
    let arrived = sink.count();
    write_good(folder.path(), written + 500..written + 600);
    let engine = Engine::start(folder.path(), &conf(&sink, monitor, " db tail.db\n"));
    good_arrives(&engine, &sink, written + 600);
    assert_eq!(sink.count(), arrived + 100, "the offsets were written late, but they were");
}

#[test]
fn a_db_that_cannot_be_opened() {
    // A folder that is missing, one that nobody may write to, and something that is no file.
    for db in ["missing/tail.db", "/proc/tail.db", "logs"] {
        let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
        write_good(folder.path(), 0..LINES);
        let engine = Engine::start(folder.path(), &conf(&sink, monitor, &format!(" db {db}\n")));
        good_arrives(&engine, &sink, LINES);
        engine.says(&format!("could not open/create database {db}: "));
        engine.says("its folder must exist, be writable and have room");
        let errors = metric(monitor, "ripsaw_input_database_errors_total");
        assert!(errors.is_some_and(|n| n > 0.0), "{errors:?}");
        if db == "missing/tail.db" {
            std::fs::create_dir(folder.path().join("missing")).unwrap();
            engine.says("the `DB` can be opened now");
        }
        assert_eq!(engine.stop(PATIENCE).0, Some(0));
        if db == "missing/tail.db" {
            write_good(folder.path(), LINES..LINES + 10);
            let engine = Engine::start(folder.path(), &conf(&sink, monitor, &format!(" db {db}\n")));
            good_arrives(&engine, &sink, LINES + 10);
        }
    }
}

#[test]
fn a_disk_that_is_full_at_the_start() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    write_good(folder.path(), 0..LINES);
    // Files may grow to 4 KiB: not enough for a DB.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -S -f 8; exec \"$0\" \"$@\""]).arg(program());
    let engine = Engine::start_by(command, folder.path(), &conf(&sink, monitor, " db tail.db\n"));
    good_arrives(&engine, &sink, LINES);
    engine.says("could not open/create database tail.db: ");
    assert!(metric(monitor, "ripsaw_input_database_errors_total").is_some_and(|n| n > 0.0));
    let pid = Pid::from_raw(engine.pid()).unwrap();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    engine.says("the `DB` can be opened now");
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
    write_good(folder.path(), LINES..LINES + 10);
    let engine = Engine::start(folder.path(), &conf(&sink, monitor, " db tail.db\n"));
    good_arrives(&engine, &sink, LINES + 10);
}

#[test]
fn two_thousand_idle_files_cost_a_descriptor_each_and_nothing_else() {
    const FILES: usize = 2000;
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    write_good(folder.path(), 0..10);
    let engine = Engine::start(folder.path(), &conf(&sink, monitor, ""));
    good_arrives(&engine, &sink, 10);
    let of = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", engine.pid())).unwrap().flatten();
    let instances = || {
        let links = of("fd").filter_map(|e| std::fs::read_link(e.path()).ok());
        links.filter(|link| link.to_string_lossy().contains("inotify")).count()
    };
    let (threads, descriptors) = (of("task").count(), of("fd").count());
    for n in 0..FILES {
        std::fs::write(folder.path().join(format!("logs/idle-{n}.log")), format!("idle {n}\n")).unwrap();
    }
    let idle = || sink.logs().iter().filter(|log| log.starts_with("idle ")).count();
    assert!(wait_for(PATIENCE, || idle() == FILES), "{} of {FILES}\n{}", idle(), engine.messages());
    assert_eq!(instances(), 1);
    // Connections to the sink come and go.
    let more = of("fd").count() - descriptors;
    assert!((FILES..FILES + 50).contains(&more), "{more} descriptors");
    assert!(of("task").count() <= threads + 8, "{threads} threads, then {}", of("task").count());
}

/// Files beyond the limit of descriptors, each with `text`; the command that starts the program under that limit.
fn beyond_the_limit(folder: &Path, text: impl Fn(usize) -> String) -> Command {
    for n in 0..WAITING {
        std::fs::write(folder.join(format!("logs/w{n}.log")), text(n)).unwrap();
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 100; exec \"$0\" \"$@\""]).arg(program());
    command
}

/// Several times the files that may be open.
const WAITING: usize = 400;

#[test]
fn more_files_than_descriptors_are_read_in_turns() {
    for more in ["", " db tail.db\n", " inotify_watcher off\n progress_check_interval 1\n"] {
        let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
        let command = beyond_the_limit(folder.path(), |n| format!("{n} first\n{n} ha"));
        let engine = Engine::start_by(command, folder.path(), &conf(&sink, monitor, more));
        let all = |what: &str| {
            let mut got: Vec<String> = sink.logs();
            got.retain(|log| log.ends_with(what));
            got.sort_unstable();
            let mut expected: Vec<String> = (0..WAITING).map(|n| format!("{n} {what}")).collect();
            expected.sort_unstable();
            got == expected
        };
        assert!(wait_for(PATIENCE, || all("first")), "{more}\n{}", engine.messages());
        // All of them go on; some are rotated while they are put aside.
        for n in 0..WAITING {
            let path = folder.path().join(format!("logs/w{n}.log"));
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(format!("lf\n{n} second\n").as_bytes()).unwrap();
            if n % 50 == 7 {
                std::fs::rename(&path, path.with_extension("log.1")).unwrap();
                std::fs::write(&path, format!("{n} third\n")).unwrap();
            }
        }
        assert!(wait_for(PATIENCE, || all("half") && all("second")), "{more}\n{}", engine.messages());
        let third = || sink.logs().iter().filter(|log| log.ends_with("third")).count();
        assert!(wait_for(PATIENCE, || third() == WAITING / 50), "{more}\n{}", engine.messages());
        // What was read to its end and put aside is known when it is renamed.
        let path = folder.path().join("logs/w3.log");
        std::fs::rename(&path, path.with_extension("log.1")).unwrap();
        std::fs::write(&path, "3 fourth\n").unwrap();
        assert!(wait_for(PATIENCE, || sink.logs().iter().any(|log| log == "3 fourth")), "{more}");
        assert_eq!(sink.count(), 3 * WAITING + WAITING / 50 + 1, "nothing comes twice");
        assert_eq!(engine.messages().matches("no more may be").count(), 1);
        assert_eq!(engine.stop(PATIENCE).0, Some(0));
    }
}

#[test]
fn exit_on_eof_reads_more_files_than_descriptors() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let command = beyond_the_limit(folder.path(), |n| format!("{n} a\n{n} b\n"));
    let conf = conf(&sink, free_port(), " exit_on_eof on\n");
    // What has no end is not waited for.
    let conf = format!("{conf}[INPUT]\n name dummy\n tag none\n");
    let mut engine = Engine::start_by(command, folder.path(), &conf);
    let status = engine.ended(PATIENCE);
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", engine.messages());
    let lines = sink.logs().iter().filter(|log| log.ends_with(" a") || log.ends_with(" b")).count();
    assert_eq!(lines, 2 * WAITING);
}

#[test]
fn a_damaged_db_is_put_aside() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    let content = "this is no database, it is text. ".repeat(200);
    std::fs::write(folder.path().join("tail.db"), &content).unwrap();
    write_good(folder.path(), 0..LINES);
    let conf = conf(&sink, monitor, " db tail.db\n");
    let engine = Engine::start(folder.path(), &conf);
    good_arrives(&engine, &sink, LINES);
    engine.says("the `DB` is damaged, it was moved to tail.db.corrupt-");
    counts(monitor, "ripsaw_input_database_errors_total", 1.0);
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
    let names = std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.path());
    let aside: Vec<_> = names.filter(|p| p.to_string_lossy().contains("tail.db.corrupt-")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(std::fs::read_to_string(&aside[0]).unwrap(), content);
    // The new one remembers.
    write_good(folder.path(), LINES..LINES + 10);
    let engine = Engine::start(folder.path(), &conf);
    good_arrives(&engine, &sink, LINES + 10);
}
