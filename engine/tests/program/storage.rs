//! What is on disk outlives kills, outages and damage; what has to go is counted.

use crate::rig::engine::{Engine, counts, free_port, metric, program};
use crate::rig::sink::Sink;
use crate::rig::{Dice, Folder, lines, wait_for};
use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// What one test changes.
struct Setup {
    server: u16,
    service: &'static str,
    input: &'static str,
    output: &'static str,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            server: free_port(),
            service: "",
            input: "db db.sqlite\n storage.type filesystem",
            output: "",
        }
    }
}

impl Setup {
    fn conf(&self, folder: &Folder, sink: &Sink) -> String {
        let Setup { server, service, input, output } = self;
        let (path, port) = (folder.path().display(), sink.port());
        format!(
            "[SERVICE]\n flush 0.02\n grace 1\n scheduler.base 1\n scheduler.cap 1\n http_server on\n http_port {server}\n\
             \x20storage.path {path}/store\n {service}\n\
             [INPUT]\n name tail\n path {path}/logs/*.log\n tag t\n read_from_head on\n refresh_interval 1\n {input}\n\
             [OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {port}\n format json_lines\n net.proxy_env_ignore on\n {output}\n"
        )
    }
}

fn append(folder: &Folder, name: char, numbers: std::ops::Range<u64>) {
    let path = folder.path().join(format!("logs/{name}.log"));
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(lines::plain(name, numbers).as_bytes()).unwrap();
}

/// Files below a folder whose names end so.
fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, suffix));
        } else if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn arrived(sink: &Sink) -> Vec<u64> {
    sink.logs().iter().map(|log| lines::number(log).expect("a whole line").1).collect()
}

/// Sixty kills at random moments, while the destination fails at random. An offset is in the `DB` only when the line is
/// on disk: so a line that a kill loses is never read again, and would be missing at the end.
#[test]
fn what_was_acknowledged_survives_kills() {
    const LIVES: u64 = 60;
    const LINES: u64 = 40;
    let (folder, sink, mut dice) = (Folder::new(), Sink::start(), Dice::roll());
    let setup = Setup { service: "storage.sync full", ..Setup::default() };
    let conf = setup.conf(&folder, &sink);
    for life in 0..LIVES {
        sink.answer(if dice.below(3) == 0 { 200 } else { 503 });
        let engine = Engine::start(folder.path(), &conf);
        append(&folder, 'a', life * LINES..life * LINES + LINES / 2);
        // Somewhere between the start and the time at which all of it is stored.
        let least = dice.below(LINES + 10) as f64;
        wait_for(Duration::from_millis(dice.below(400)), || {
            metric(setup.server, "fluentbit_input_records_total").is_some_and(|n| n >= least)
        });
        append(&folder, 'a', life * LINES + LINES / 2..(life + 1) * LINES);
        engine.kill();
    }
    sink.answer(200);
    let engine = Engine::start(folder.path(), &conf);
    let all: HashSet<u64> = (0..LIVES * LINES).collect();
    let whole = wait_for(PATIENCE, || arrived(&sink).into_iter().collect::<HashSet<_>>() == all);
    let missing: Vec<u64> = all.difference(&arrived(&sink).into_iter().collect()).copied().collect();
    assert!(whole, "missing: {missing:?}\n{}", engine.messages());
    let empty = wait_for(PATIENCE, || files(folder.path(), ".flb").is_empty());
    assert!(empty, "chunks are gone when they are delivered: {:?}", files(folder.path(), ".flb"));
    assert!(files(folder.path(), ".corrupt").is_empty(), "a kill tears, it does not corrupt");
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

/// A dead destination stops no source, and memory stays in its bounds; later everything arrives once and in order.
#[test]
fn a_dead_output_fills_the_disk_not_the_memory() {
    const LINES: u64 = 300_000;
    let (folder, sink) = (Folder::new(), Sink::start());
    sink.answer(503);
    append(&folder, 'a', 0..LINES);
    let setup = Setup { service: "memory_limit 8M", ..Setup::default() };
    let engine = Engine::start(folder.path(), &setup.conf(&folder, &sink));
    counts(setup.server, "fluentbit_input_records_total", LINES as f64);
    counts(setup.server, "fluentbit_storage_fs_chunks_down", 3.0);
    assert!(metric(setup.server, "ripsaw_memory_used_bytes").unwrap() <= 8e6);
    sink.answer(200);
    let whole = wait_for(PATIENCE, || sink.count() >= LINES as usize);
    assert!(whole, "{} of {LINES}\n{}", sink.count(), engine.messages());
    assert!(arrived(&sink).into_iter().eq(0..LINES), "once, and in order");
    // 8 MiB of data, 24 MiB and 2 MiB a shard else: as the plan says.
    let shards = std::thread::available_parallelism().unwrap().get() as u64;
    let peak = engine.memory_peak_kb();
    assert!(peak <= (8 + 24 + 2 * shards + 8) * 1024, "{peak} kB at most");
    assert!(wait_for(PATIENCE, || files(folder.path(), ".flb").is_empty()));
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

#[test]
fn the_oldest_goes_at_the_limit_and_is_counted() {
    const LINES: u64 = 100_000;
    let (folder, sink) = (Folder::new(), Sink::start());
    sink.answer(503);
    append(&folder, 'a', 0..LINES);
    let setup =
        Setup { output: "storage.total_limit_size 3M", service: "memory_limit 4M", ..Setup::default() };
    let engine = Engine::start(folder.path(), &setup.conf(&folder, &sink));
    counts(setup.server, "fluentbit_input_records_total", LINES as f64);
    counts(setup.server, "fluentbit_output_dropped_records_total", 1.0);
    let held: u64 = files(folder.path(), ".flb").iter().map(|f| f.metadata().map_or(0, |m| m.len())).sum();
    assert!(held <= 3_000_000, "{held} bytes on disk");
    sink.answer(200);
    let all = |sink: &Sink| {
        let dropped = metric(setup.server, "fluentbit_output_dropped_records_total").unwrap_or(0.0);
        sink.count() as f64 + dropped == LINES as f64
    };
    assert!(wait_for(PATIENCE, || all(&sink)), "each line arrived, or was counted: {}", sink.count());
    let numbers = arrived(&sink);
    assert!(numbers.windows(2).all(|w| w[0] < w[1]), "in order");
    assert_eq!(numbers.last(), Some(&(LINES - 1)), "the newest is kept");
    engine.says("storage.total_limit_size");
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

/// Stores lines that nobody takes, and stops.
fn stored(folder: &Folder, sink: &Sink, setup: &Setup, lines: u64) {
    sink.answer(503);
    let engine = Engine::start(folder.path(), &setup.conf(folder, sink));
    for slice in 0..lines / 100 {
        append(folder, 'a', slice * 100..(slice + 1) * 100);
        counts(setup.server, "fluentbit_input_records_total", ((slice + 1) * 100) as f64);
    }
    counts(setup.server, "fluentbit_storage_fs_chunks", 1.0);
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

#[test]
fn a_damaged_chunk_gives_what_stands_before_the_damage() {
    let (folder, sink, setup) = (Folder::new(), Sink::start(), Setup::default());
    stored(&folder, &sink, &setup, 1000);
    let chunk = files(folder.path(), ".flb").remove(0);
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&chunk, &bytes).unwrap();
    std::fs::write(chunk.with_file_name("0000000001.000000001.flb"), b"neither ours nor Fluent Bit's")
        .unwrap();
    let foreign = folder.path().join("store/tail.9");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("1-2.3.flb"), [0xc1, 0, 1, 2, 3, 4]).unwrap();
    sink.answer(200);
    let engine = Engine::start(folder.path(), &setup.conf(&folder, &sink));
    counts(setup.server, "ripsaw_storage_damaged_chunks_total", 2.0);
    append(&folder, 'a', 1000..1001);
    assert!(wait_for(PATIENCE, || arrived(&sink).contains(&1000)), "{}", engine.messages());
    let saved = arrived(&sink);
    let saved = &saved[..saved.len() - 1];
    assert!(!saved.is_empty() && saved.iter().copied().eq(0..saved.len() as u64), "{saved:?}");
    assert!(wait_for(PATIENCE, || files(folder.path(), ".flb").len() == 1), "the foreign one is left");
    let aside = files(folder.path(), ".corrupt");
    assert!(aside.iter().any(|path| std::fs::read(path).unwrap() == bytes), "kept as it was: {aside:?}");
    engine.says("chunks of Fluent Bit");
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

#[test]
fn a_chunk_of_an_output_that_changed_waits_for_it() {
    let (folder, sink, setup) = (Folder::new(), Sink::start(), Setup::default());
    stored(&folder, &sink, &setup, 100);
    sink.answer(200);
    let other = Setup { server: setup.server, output: "json_date_key stamp", ..Setup::default() };
    let engine = Engine::start(folder.path(), &other.conf(&folder, &sink));
    counts(setup.server, "ripsaw_storage_orphaned_chunks", 1.0);
    engine.says("its options changed since");
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
    assert_eq!((sink.count(), files(folder.path(), ".flb").len()), (0, 1));
    let engine = Engine::start(folder.path(), &setup.conf(&folder, &sink));
    assert!(wait_for(PATIENCE, || sink.count() == 100), "{}", engine.messages());
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

#[test]
fn what_is_refused_is_kept_and_can_be_delivered_again() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let setup = Setup { service: "storage.keep.rejected on", input: "db db.sqlite", ..Setup::default() };
    sink.answer(400);
    append(&folder, 'a', 0..50);
    let engine = Engine::start(folder.path(), &setup.conf(&folder, &sink));
    counts(setup.server, "ripsaw_storage_rejected_records_total", 50.0);
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
    assert!(!files(&folder.path().join("store/rejected"), ".flb").is_empty());
    sink.answer(200);
    let mut command = Command::new(program());
    command.arg("--replay-rejected");
    let engine = Engine::start_by(command, folder.path(), &setup.conf(&folder, &sink));
    assert!(wait_for(PATIENCE, || sink.count() == 50), "{}", engine.messages());
    assert!(arrived(&sink).into_iter().eq(0..50));
    assert!(wait_for(PATIENCE, || files(folder.path(), ".flb").is_empty()));
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

#[test]
fn one_process_at_a_time_has_the_folder() {
    let (folder, sink, setup) = (Folder::new(), Sink::start(), Setup::default());
    let first = Engine::start(folder.path(), &setup.conf(&folder, &sink));
    counts(setup.server, "fluentbit_storage_fs_chunks", 0.0);
    let other = Setup::default();
    let mut second = Engine::start(folder.path(), &other.conf(&folder, &sink));
    assert_eq!(second.ended(PATIENCE).and_then(|status| status.code()), Some(1));
    second.says("another process uses the folder");
    assert_eq!(first.stop(Duration::from_secs(20)).0, Some(0));
}

#[test]
fn a_ring_in_memory_drops_the_oldest() {
    const LINES: u64 = 20_000;
    let (folder, sink) = (Folder::new(), Sink::start());
    sink.answer(503);
    append(&folder, 'a', 0..LINES);
    let setup = Setup { input: "storage.type memrb\n mem_buf_limit 400k", ..Setup::default() };
    let engine = Engine::start(folder.path(), &setup.conf(&folder, &sink));
    counts(setup.server, "fluentbit_input_records_total", LINES as f64);
    counts(setup.server, "fluentbit_input_memrb_dropped_chunks", 1.0);
    sink.answer(200);
    // What the ring could not hold may still be on its way out of it.
    let dropped = || metric(setup.server, "fluentbit_output_dropped_records_total").unwrap_or(0.0) as u64;
    assert!(
        wait_for(PATIENCE, || sink.count() as u64 + dropped() == LINES),
        "{} arrived, {} dropped, of {LINES}",
        sink.count(),
        dropped()
    );
    assert_eq!(arrived(&sink).last(), Some(&(LINES - 1)));
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}
