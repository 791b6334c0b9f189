//! A dead destination is probed, not hammered; when it is back, everything arrives once and in order.

use crate::rig::engine::{Engine, counts, free_port, get, metric};
use crate::rig::sink::Sink;
use crate::rig::{Folder, lines, wait_for};
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

/// Files, spread over the lanes.
const FILES: u8 = 12;
/// Lines of each, written in slices while nobody answers.
const LINES: u64 = 400;
/// Lines of a slice.
const SLICE: u64 = 100;
/// `Workers`.
const WORKERS: f64 = 4.0;
/// Failures in a row that open the breaker.
const FAILURES_MAX: f64 = 3.0;

fn conf(folder: &Folder, sink: u16, server: u16) -> String {
    format!(
        "[SERVICE]\n flush 0.05\n grace 5\n scheduler.base 1\n scheduler.cap 2\n http_server on\n http_port {server}\n\
         [INPUT]\n name tail\n path {}/logs/*.log\n tag t.*\n read_from_head on\n\
         [OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {sink}\n format json_lines\n workers {WORKERS}\n net.proxy_env_ignore on\n",
        folder.path().display()
    )
}

#[test]
fn a_dead_destination_is_probed_and_then_gets_everything() {
    let (folder, sink, server) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    let names: Vec<char> = (0..FILES).map(|n| char::from(b'a' + n)).collect();
    let write = |slice: u64| {
        for name in &names {
            let path = folder.path().join(format!("logs/{name}.log"));
            let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(lines::plain(*name, slice * SLICE..(slice + 1) * SLICE).as_bytes()).unwrap();
        }
    };
    write(0);
    let begun = Instant::now();
    let engine = Engine::start(folder.path(), &conf(&folder, sink.port(), server));
    counts(server, "ripsaw_output_circuit_open", 1.0);
    for slice in 1..LINES / SLICE {
        write(slice);
        let written = f64::from(FILES) * ((slice + 1) * SLICE) as f64;
        counts(server, "ripsaw_output_queued_records", written);
    }
    // Long enough for several probes by each of the lanes if they did not wait for each other.
    assert!(wait_for(Duration::from_secs(60), || sink.requests() as f64 >= WORKERS + FAILURES_MAX + 3.0));
    // Each lane may fail until it is open; from then on, a probe a second at most.
    let bound = WORKERS + FAILURES_MAX + begun.elapsed().as_secs_f64();
    assert!(sink.requests() as f64 <= bound, "{} calls, at most {bound}", sink.requests());
    assert_eq!(sink.count(), 0);

    sink.answer(200);
    let all = usize::from(FILES) * LINES as usize;
    assert!(wait_for(Duration::from_secs(30), || sink.count() >= all), "{} of {all}", sink.count());
    counts(server, "ripsaw_output_circuit_opened_total", 1.0);
    assert_eq!(metric(server, "ripsaw_output_circuit_open"), Some(0.0));
    assert_eq!(metric(server, "fluentbit_output_dropped_records_total"), Some(0.0));
    let (code, _) = engine.stop(Duration::from_secs(20));
    assert_eq!(code, Some(0));
    let arrived: Vec<_> = sink.logs().iter().map(|log| lines::number(log).unwrap()).collect();
    assert_eq!(arrived.len(), all, "nothing twice");
    for name in names {
        let numbers = arrived.iter().filter(|(of, _)| *of == name).map(|(_, n)| *n);
        assert!(numbers.eq(0..LINES), "file {name} in order");
    }
    let messages = crate::rig::engine::messages(folder.path());
    for text in ["failures in a row: all deliveries wait", "the destination answers again"] {
        assert_eq!(messages.matches(text).count(), 1, "{text}\n{messages}");
    }
}

#[test]
fn who_asks_for_one_attempt_gets_it_at_once() {
    let (folder, sink, server) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    std::fs::write(folder.path().join("logs/a.log"), lines::plain('a', 0..LINES)).unwrap();
    let conf = conf(&folder, sink.port(), server) + " retry_limit no_retries\n";
    let _engine = Engine::start(folder.path(), &conf);
    counts(server, "fluentbit_output_dropped_records_total", LINES as f64);
    assert_eq!(metric(server, "ripsaw_output_circuit_opened_total"), Some(0.0));
}

#[test]
fn with_a_limit_the_probes_count_for_all_that_waits() {
    let (folder, dead, alive, server) = (Folder::new(), Sink::start(), Sink::start(), free_port());
    dead.answer(503);
    let conf = conf(&folder, dead.port(), server).replace("workers 4", "workers 1\n retry_limit 1")
        + &format!(
            "[OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {}\n format json_lines\n",
            alive.port()
        );
    std::fs::write(folder.path().join("logs/a.log"), "").unwrap();
    let _engine = Engine::start(folder.path(), &conf);
    let slices = 40;
    for slice in 0..slices {
        let mut file = OpenOptions::new().append(true).open(folder.path().join("logs/a.log")).unwrap();
        file.write_all(lines::plain('a', slice * SLICE..(slice + 1) * SLICE).as_bytes()).unwrap();
        let written = ((slice + 1) * SLICE) as usize;
        assert!(wait_for(Duration::from_secs(20), || alive.count() == written), "the healthy one gets it");
    }
    counts(server, "fluentbit_output_dropped_records_total", (slices * SLICE) as f64);
    // Each slice was a chunk of its own for the healthy one, and would have had two attempts at the dead one.
    assert!(dead.requests() < slices, "{} attempts for {slices} chunks", dead.requests());
    assert!(metric(server, "fluentbit_output_retries_failed_total") >= Some(1.0));
}

#[test]
fn with_a_limit_a_dead_output_leaves_the_memory_to_the_others() {
    let (folder, alive, server) = (Folder::new(), Sink::start(), free_port());
    // Several times what fits into the memory; each filling would take ten seconds if it had to wait for its own probes.
    let lines = 300_000;
    std::fs::write(folder.path().join("logs/a.log"), lines::plain('a', 0..lines)).unwrap();
    let conf = conf(&folder, free_port(), server)
        .replace("scheduler.base 1\n scheduler.cap 2", "scheduler.base 5\n scheduler.cap 5\n memory_limit 4M")
        .replace("workers 4", "workers 1\n retry_limit 1")
        + &format!(
            "[OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {}\n format json_lines\n",
            alive.port()
        );
    let engine = Engine::start(folder.path(), &conf);
    let all = lines as usize;
    assert!(
        wait_for(Duration::from_secs(45), || alive.count() == all),
        "{} of {all}\n{}",
        alive.count(),
        engine.messages()
    );
    engine.says("memory is short, and the last 2 attempts at the destination failed");
}

#[test]
fn a_dead_destination_is_not_good_health() {
    ["", "\n retry_limit 50", "\n retry_limit no_limits"]
        .iter()
        .for_each(|limit| unhealthy_while_dead(limit));
}

fn unhealthy_while_dead(limit: &str) {
    let (folder, sink, server) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    std::fs::write(folder.path().join("logs/a.log"), lines::plain('a', 0..LINES)).unwrap();
    let conf = conf(&folder, sink.port(), server)
        .replace("http_server on", "http_server on\n health_check on\n hc_period 2")
        .replace("workers 4", &format!("workers 1{limit}"));
    let _engine = Engine::start(folder.path(), &conf);
    let health = |good: bool| {
        let line = if good { "HTTP/1.1 200" } else { "HTTP/1.1 500" };
        let is = || get(server, "/api/v1/health").is_some_and(|answer| answer.starts_with(line));
        assert!(wait_for(Duration::from_secs(30), is), "{:?}, not {line}", get(server, "/api/v1/health"));
    };
    health(true);
    if limit.contains("no_limits") {
        // As in Fluent Bit: who says so wants it to wait.
        counts(server, "fluentbit_output_retries_total", 5.0);
    } else {
        health(false);
    }
    // What Fluent Bit would have given up counts as it would there; nothing is dropped.
    let failed = metric(server, "fluentbit_output_retries_failed_total");
    assert_eq!(failed >= Some(1.0), limit.is_empty(), "{failed:?}");
    assert_eq!(metric(server, "fluentbit_output_dropped_records_total"), Some(0.0));
    sink.answer(200);
    health(true);
    assert!(wait_for(Duration::from_secs(20), || sink.count() as u64 == LINES), "{}", sink.count());
}
