//! The end of a run and outages: what is read is delivered within `Grace`, and nothing is taken for delivered that is not.

use crate::rig::engine::{Engine, counts, free_port, metric};
use crate::rig::lines;
use crate::rig::sink::Sink;
use crate::rig::{Folder, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Tail to http, metrics on `monitor`; `flush` and `grace` in seconds.
fn conf(port: u16, monitor: u16, service: &str, input: &str, output: &str) -> String {
    format!(
        "[SERVICE]\n scheduler.base 1\n scheduler.cap 1\n http_server on\n http_listen 127.0.0.1\n http_port {monitor}\n{service}\
         [INPUT]\n name tail\n path logs/*.log\n tag all\n db tail.db\n read_from_head on\n refresh_interval 1\n{input}\
         [OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {port}\n format json_lines\n workers 1\n{output}"
    )
}

fn write(folder: &Path, numbers: std::ops::Range<u64>) {
    let path = folder.join("logs/a.log");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(lines::plain('a', numbers).as_bytes()).unwrap();
}

/// Numbers that arrived, in order of arrival.
fn numbers(sink: &Sink) -> Vec<u64> {
    sink.logs().iter().map(|log| lines::number(log).unwrap_or_else(|| panic!("{log}")).1).collect()
}

/// Waits for the first `count` lines; they are there once, in order.
fn arrives(engine: &Engine, sink: &Sink, count: u64) {
    wait_for(PATIENCE, || sink.count() as u64 >= count);
    let arrived = numbers(sink);
    assert!(arrived.iter().copied().eq(0..count), "{} of {count}\n{}", arrived.len(), engine.messages());
}

#[test]
fn sigterm_and_ctrl_c_deliver_what_was_read() {
    for signal in [Signal::TERM, Signal::INT] {
        let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
        write(folder.path(), 0..5000);
        let mut engine =
            Engine::start(folder.path(), &conf(sink.port(), monitor, " flush 3600\n grace 10\n", "", ""));
        counts(monitor, "fluentbit_input_records_total", 5000.0);
        assert_eq!(sink.count(), 0);
        engine.signal(signal);
        let status = engine.ended(Duration::from_secs(5));
        assert!(status.is_some_and(|s| s.success()), "{status:?}\n{}", engine.messages());
        arrives(&engine, &sink, 5000);
        // And it is known as delivered.
        write(folder.path(), 5000..5010);
        let engine = Engine::start(folder.path(), &conf(sink.port(), monitor, " flush 0.1\n", "", ""));
        arrives(&engine, &sink, 5010);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    sink.fall_silent(true);
    write(folder.path(), 0..100);
    let mut engine =
        Engine::start(folder.path(), &conf(sink.port(), monitor, " flush 0.1\n grace 600\n", "", ""));
    assert!(wait_for(PATIENCE, || sink.requests() > 0), "{}", engine.messages());
    engine.signal(Signal::TERM);
    engine.says("SIGTERM received");
    // One that comes within 20 ms is the first one, sent to the group as well.
    let mut status = None;
    let ended = wait_for(Duration::from_secs(5), || {
        engine.signal(Signal::TERM);
        status = engine.ended(Duration::from_millis(30));
        status.is_some()
    });
    assert!(ended && status.is_some_and(|s| s.code().is_some()), "{status:?}\n{}", engine.messages());
    sink.fall_silent(false);
}

#[test]
fn a_dead_output_ends_within_grace_and_keeps_the_offset() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    let conf = conf(sink.port(), monitor, " flush 0.1\n grace 2\n", "", "");
    write(folder.path(), 0..300);
    let engine = Engine::start(folder.path(), &conf);
    arrives(&engine, &sink, 300);
    let (code, _) = engine.stop(PATIENCE);
    assert_eq!(code, Some(0));
    // A refusal for now, then nobody who listens, then one who never answers.
    let dead = free_port();
    for (n, port, silent) in [(0, sink.port(), false), (1, dead, false), (2, sink.port(), true)] {
        sink.answer(503);
        sink.fall_silent(silent);
        write(folder.path(), 300 + n * 100..400 + n * 100);
        let conf = conf.replace(&format!(" port {}\n", sink.port()), &format!(" port {port}\n"));
        let engine = Engine::start(folder.path(), &conf);
        counts(monitor, "fluentbit_input_records_total", (100 + n * 100) as f64);
        let (code, took) = engine.stop(PATIENCE);
        assert_eq!(code, Some(0));
        assert!(took >= Duration::from_secs(1) && took <= Duration::from_secs(3), "case {n}: took {took:?}");
        sink.answer(200);
    }
    sink.fall_silent(true);
    // What the silent sink was sent it may take now: nobody counts on it.
    sink.answer(503);
    sink.fall_silent(false);
    let engine = Engine::start(folder.path(), &conf);
    counts(monitor, "fluentbit_output_retries_total", 1.0);
    sink.answer(200);
    arrives(&engine, &sink, 600);
}

#[test]
fn the_log_file_is_rotated_under_it() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    let conf = conf(sink.port(), monitor, " flush 0.1\n log_file own.log\n", "", "");
    let (own, aside) = (folder.path().join("own.log"), folder.path().join("own.log.1"));
    let holds = |path: &Path, text: &str| std::fs::read_to_string(path).is_ok_and(|log| log.contains(text));
    write(folder.path(), 0..10);
    let engine = Engine::start(folder.path(), &conf);
    arrives(&engine, &sink, 10);
    assert!(holds(&own, "[ info]"), "{}", engine.messages());
    std::fs::rename(&own, &aside).unwrap();
    std::fs::create_dir(folder.path().join("logs/folder.log")).unwrap();
    assert!(
        wait_for(PATIENCE, || holds(&own, "folder.log is not a regular file")),
        "the new file has no message"
    );
    assert!(!holds(&aside, "folder.log is not a regular file"));
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
    assert!(holds(&own, "SIGTERM received"));
}

#[test]
fn an_outage_stops_the_readers_and_loses_nothing() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    const LINES: u64 = 400_000;
    write(folder.path(), 0..LINES);
    let conf = conf(sink.port(), monitor, " flush 0.1\n", " mem_buf_limit 2MB\n", "");
    let engine = Engine::start(folder.path(), &conf);
    counts(monitor, "fluentbit_input_ingestion_paused", 1.0);
    counts(monitor, "fluentbit_output_retries_total", 2.0);
    let read = metric(monitor, "fluentbit_input_bytes_total").unwrap();
    assert!(read < 8e6, "{read} bytes are read with a limit of 2 MB");
    // Nobody reads on while the output is down.
    counts(monitor, "fluentbit_output_retries_total", 4.0);
    assert_eq!(metric(monitor, "fluentbit_input_bytes_total"), Some(read));
    assert_eq!(metric(monitor, "fluentbit_output_dropped_records_total"), Some(0.0));
    sink.answer(200);
    arrives(&engine, &sink, LINES);
    let peak = engine.memory_peak_kb();
    println!("peak {peak} kB, {read} bytes read when it stopped");
    assert!(peak < 64_000, "{peak} kB");
    assert_eq!(metric(monitor, "fluentbit_output_dropped_records_total"), Some(0.0));
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
}

#[test]
fn a_stop_tries_what_waits_for_a_retry() {
    for (failures, signal) in [(1.0, Signal::TERM), (3.0, Signal::QUIT)] {
        let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
        sink.answer(503);
        write(folder.path(), 0..10);
        // Three failures open the breaker; the next probe would come long after the grace.
        let base = if failures > 1.0 { 1 } else { 600 };
        let service = format!(" flush 0.1\n grace 30\n scheduler.base {base}\n scheduler.cap 600\n");
        let engine = Engine::start(folder.path(), &conf(sink.port(), monitor, &service, "", ""));
        counts(monitor, "fluentbit_output_retries_total", failures);
        sink.answer(200);
        engine.signal(signal);
        arrives(&engine, &sink, 10);
        let (code, _) = engine.stop(PATIENCE);
        assert_eq!(code, Some(0));
    }
}

#[test]
fn a_retry_limit_drops_and_counts() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    write(folder.path(), 0..10);
    let conf = conf(sink.port(), monitor, " flush 0.1\n", "", " retry_limit 1\n");
    let engine = Engine::start(folder.path(), &conf);
    counts(monitor, "fluentbit_output_dropped_records_total", 10.0);
    assert_eq!(metric(monitor, "fluentbit_output_retries_total"), Some(1.0));
    assert_eq!(metric(monitor, "fluentbit_output_retries_failed_total"), Some(1.0));
    engine.says("gave up 10 records");
    sink.answer(200);
    write(folder.path(), 10..20);
    assert!(wait_for(PATIENCE, || sink.count() >= 10), "{}", engine.messages());
    assert!(numbers(&sink).iter().copied().eq(10..20));
}

#[test]
fn a_stop_does_not_use_up_the_retries() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    write(folder.path(), 0..100);
    let setup = || {
        let long = conf(sink.port(), monitor, " flush 0.1\n grace 3\n", "", " retry_limit 1\n");
        long.replace("scheduler.base 1\n scheduler.cap 1", "scheduler.base 600\n scheduler.cap 600")
    };
    let engine = Engine::start(folder.path(), &setup());
    counts(monitor, "fluentbit_output_retries_total", 1.0);
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
    assert!(sink.requests() >= 3, "it is tried while it stops: {}", sink.requests());
    sink.answer(200);
    let engine = Engine::start(folder.path(), &setup());
    arrives(&engine, &sink, 100);
}

#[test]
fn a_supervisor_starts_the_program_again_when_it_dies() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    write(folder.path(), 0..100);
    let mut command = std::process::Command::new(crate::rig::engine::program());
    command.arg("--supervisor");
    let conf = conf(sink.port(), monitor, " flush 0.1\n", "", "");
    let mut engine = Engine::start_by(command, folder.path(), &conf);
    arrives(&engine, &sink, 100);
    // What it said last of its child.
    let child = || {
        let messages = engine.messages();
        let last = messages.lines().rev().find_map(|line| line.split_once("started child process "));
        last.and_then(|(_, pid)| pid.trim().parse().ok()).and_then(Pid::from_raw)
    };
    let first = child().unwrap();
    kill_process(first, Signal::KILL).unwrap();
    let restarted =
        wait_for(PATIENCE, || child() != Some(first) && metric(monitor, "fluentbit_uptime").is_some());
    assert!(restarted, "{}", engine.messages());
    write(folder.path(), 100..200);
    assert!(wait_for(PATIENCE, || numbers(&sink).contains(&199)), "{}", engine.messages());
    engine.says("starting it again in 1 s");
    let second = child().unwrap();
    engine.signal(Signal::TERM);
    let status = engine.ended(PATIENCE);
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", engine.messages());
    assert!(rustix::process::test_kill_process(second).is_err(), "the child ended with it");
}

#[test]
fn a_child_does_not_outlive_its_supervisor() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    write(folder.path(), 0..10);
    let mut command = std::process::Command::new(crate::rig::engine::program());
    command.arg("--supervisor");
    let engine =
        Engine::start_by(command, folder.path(), &conf(sink.port(), monitor, " flush 0.1\n", "", ""));
    arrives(&engine, &sink, 10);
    engine.kill();
    assert!(wait_for(PATIENCE, || metric(monitor, "fluentbit_uptime").is_none()), "it still answers");
}

#[test]
fn a_configuration_with_errors_is_not_supervised() {
    let folder = Folder::new();
    let mut command = std::process::Command::new(crate::rig::engine::program());
    command.arg("--supervisor");
    let mut engine = Engine::start_by(command, folder.path(), "[INPUT]\n name nothing\n");
    assert!(engine.ended(PATIENCE).is_some_and(|status| !status.success()), "{}", engine.messages());
}
