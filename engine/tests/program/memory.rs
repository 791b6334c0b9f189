//! The most memory that the plan prints holds: the peak of the process is measured against it, and against 64 MB.

use crate::rig::engine::{Engine, counts, free_port, metric};
use crate::rig::sink::Sink;
use crate::rig::{Folder, wait_for};
use std::io::Write;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// What an agent beside other programs may need, whatever the plan allows.
const ORDINARY_KB: u64 = 64_000;

/// Tail to http.
fn conf(port: u16, monitor: u16, input: &str) -> String {
    format!(
        "[SERVICE]\n flush 0.2\n grace 1\n scheduler.base 1\n scheduler.cap 1\n http_server on\n \
         http_listen 127.0.0.1\n http_port {monitor}\n\
         [INPUT]\n name tail\n path logs/*.log\n tag all\n read_from_head on\n{input}\
         [FILTER]\n name modify\n match *\n add cluster c1\n\
         [OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {port}\n format json_lines\n"
    )
}

/// The peak is below what was printed, and below what is ordinary.
fn holds(engine: &Engine, what: &str) {
    let messages = engine.messages();
    let (_, printed) = messages.split_once("memory at most ").unwrap_or_else(|| panic!("{messages}"));
    let printed: u64 = printed.split_once(" MiB").unwrap().0.parse().unwrap();
    let peak = engine.memory_peak_kb();
    println!("{what}: peak {peak} kB, printed {printed} MiB");
    assert!(peak <= printed * 1024, "{what}: {peak} kB, but {printed} MiB were printed");
    assert!(peak <= ORDINARY_KB, "{what}: {peak} kB");
}

/// Delivers `files` files of `lines` times the same line; the peak holds.
fn delivers(what: &str, files: usize, lines: usize, line: &str, input: &str) {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    let content = line.repeat(lines);
    for n in 0..files {
        std::fs::write(folder.path().join(format!("logs/{n}.log")), &content).unwrap();
    }
    let engine = Engine::start(folder.path(), &conf(sink.port(), monitor, input));
    let all = (files * lines) as f64;
    let done = wait_for(PATIENCE, || {
        metric(monitor, "fluentbit_output_proc_records_total").is_some_and(|records| records >= all)
    });
    assert!(done, "{what}\n{}", engine.messages());
    holds(&engine, what);
}

fn cri_line() -> String {
    let text = "the quick brown fox jumps over the lazy dog ".repeat(3);
    format!(
        "2026-11-21T10:00:00.123456789Z stdout F {{\"level\":\"info\",\"n\":123456,\"msg\":\"{text}\"}}\n"
    )
}

#[test]
fn of_a_node_with_twenty_containers() {
    delivers("20 CRI files", 20, 20_000, &cri_line(), " multiline.parser cri\n");
}

#[test]
fn of_a_thousand_files() {
    delivers("1,000 files", 1000, 200, &cri_line(), " multiline.parser cri\n");
}

#[test]
fn of_half_lines_of_many_files() {
    const FILES: usize = 2000;
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    let path = |n: usize| folder.path().join(format!("logs/{n}.log"));
    let half = "h".repeat(30_000);
    (0..FILES).for_each(|n| std::fs::write(path(n), format!("whole\n{half}")).unwrap());
    let engine = Engine::start(folder.path(), &conf(sink.port(), monitor, ""));
    let arrive = |count: usize| {
        let records = || metric(monitor, "fluentbit_output_proc_records_total").unwrap_or_default();
        assert!(wait_for(PATIENCE, || records() >= count as f64), "{} of {count}", records());
    };
    arrive(FILES);
    let end = |n: usize| std::fs::OpenOptions::new().append(true).open(path(n)).unwrap();
    (0..FILES).for_each(|n| end(n).write_all(b" end\n").unwrap());
    arrive(2 * FILES);
    let whole = |log: &&String| log.len() == 30_004 && log.ends_with("h end");
    assert_eq!(sink.logs().iter().filter(whole).count(), FILES);
    holds(&engine, "half lines");
}

#[test]
fn of_lines_of_a_megabyte() {
    let line = format!("{{\"a\":1,\"msg\":\"{}\"}}\n", "x".repeat(1_000_000));
    delivers("1 MB lines", 1, 60, &line, " buffer_max_size 10M\n");
    delivers("1 MB lines in groups", 1, 60, &line, " buffer_max_size 10M\n multiline.parser cri\n");
}

#[test]
fn of_an_outage_under_load() {
    let (folder, sink, monitor) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    for n in 0..20 {
        std::fs::write(folder.path().join(format!("logs/{n}.log")), cri_line().repeat(20_000)).unwrap();
    }
    let input = " multiline.parser cri\n";
    let two = conf(sink.port(), monitor, input)
        + &format!("[OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {}\n", sink.port());
    let engine = Engine::start(folder.path(), &two);
    counts(monitor, "fluentbit_input_ingestion_paused", 1.0);
    counts(monitor, "fluentbit_output_retries_total", 6.0);
    holds(&engine, "an outage under load");
}
