//! A dead destination is probed, not hammered; when it is back, everything arrives once and in order.

mod rig;

use rig::engine::{Engine, counts, free_port, metric};
use rig::sink::Sink;
use rig::{Folder, lines, wait_for};
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
    let messages = rig::engine::messages(folder.path());
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
