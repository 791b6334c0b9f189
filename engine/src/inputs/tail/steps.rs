//! Tests of tail step by step: nothing but the events and scans that a test asks for tells it of a change.

use super::Tail;
use super::database::{Database, Row, Settings as DbSettings};
use super::gzip::tests::compressed;
use super::tests::{Double, append, compiled, start_with, text};
use crate::io::Reader;
use crate::testing::ScratchDir;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

/// A tail that does nothing by itself, so that nothing but events and scans that were asked for tells it of a change.
pub(super) fn by_hand(dir: &ScratchDir, path: &str, options: &[(&str, &str)]) -> (Tail, Arc<Double>) {
    let path = dir.join(path).display().to_string();
    let all = [&[("Path", path.as_str()), ("Read_from_Head", "on")], options].concat();
    let engine = Double::new();
    let mut tail = Tail::new(compiled(&all), engine.clone(), Reader::plain()).expect("tail");
    tail.begin();
    (tail, engine)
}

/// Reads what is known to be there; all that was handed on so far.
pub(super) fn drained(tail: &mut Tail, engine: &Double) -> String {
    while !tail.ready.is_empty() {
        tail.read_round();
    }
    text(&engine.handed.lock().expect("lock"))
}

#[test]
fn a_folder_that_is_removed_and_made_anew_is_heard_again() {
    let dir = ScratchDir::new();
    let path = dir.join("l/z.log");
    let made = |line: &str| {
        fs::create_dir(dir.join("l")).expect("folder");
        append(&path, line);
    };
    made("1\n");
    let (mut tail, engine) = by_hand(&dir, "l/*.log", &[("Rotate_Wait", "0.001")]);
    assert_eq!(drained(&mut tail, &engine), "1\n");
    // The open file keeps the old folder alive; the new one comes before it is closed.
    fs::remove_dir_all(dir.join("l")).expect("remove");
    tail.take_events();
    made("2\n");
    tail.scan(false);
    assert_eq!(drained(&mut tail, &engine), "1\n2\n");
    while engine.metric(|m| &m.files_closed) == 0 {
        tail.look_at_orphans();
        drained(&mut tail, &engine);
    }
    tail.take_events();
    append(&path, "3\n");
    tail.take_events();
    assert_eq!(drained(&mut tail, &engine), "1\n2\n3\n");
    fs::rename(&path, dir.join("l/z.old")).expect("rename");
    append(&path, "4\n");
    tail.take_events();
    assert_eq!(drained(&mut tail, &engine), "1\n2\n3\n4\n");
}

#[test]
fn a_file_that_comes_back_in_a_new_folder_is_heard_again() {
    let dir = ScratchDir::new();
    let path = dir.join("l/z.log");
    fs::create_dir(dir.join("l")).expect("folder");
    append(&path, "1\n");
    let (mut tail, engine) = by_hand(&dir, "l/*.log", &[]);
    assert_eq!(drained(&mut tail, &engine), "1\n");
    fs::rename(dir.join("l"), dir.join("old")).expect("rename");
    fs::create_dir(dir.join("l")).expect("folder");
    fs::rename(dir.join("old/z.log"), &path).expect("rename");
    tail.take_events();
    tail.scan(true);
    append(&path, "2\n");
    tail.take_events();
    assert_eq!(drained(&mut tail, &engine), "1\n2\n");
    assert_eq!(engine.metric(|m| &m.files_opened), 1);
}

#[test]
fn long_lines_come_whole_however_they_are_read() {
    let dir = ScratchDir::new();
    let line = |n: usize, len: usize| format!("{n} {}\n", "L".repeat(len));
    // Read in blocks, staged, and as they grow.
    let first = line(1, 3_000_000) + "2\n" + &line(3, 700_001) + "4\n";
    for name in ["a.log", "z.log.gz"] {
        let content = if name == "a.log" { first.clone().into_bytes() } else { compressed(first.as_bytes()) };
        fs::write(dir.join(name), content).expect("write");
        let size = [("Buffer_Max_Size", "4M")];
        for plain in [false, true] {
            let options = [size[0], ("Exit_On_Eof", "on")];
            let tail = start_with(&dir, name, &options, Double::new(), plain);
            tail.expect(&[&first]);
            tail.until(|_| tail.finished.load(SeqCst).then_some(()));
            assert_eq!(tail.admitted.load(SeqCst), 0, "every charge is passed on or given back");
        }
    }
    let (mut tail, engine) = by_hand(&dir, "a.log", &[("Buffer_Max_Size", "4M")]);
    assert!(drained(&mut tail, &engine) == first);
    let grown = line(5, 900_000) + "6\n";
    for piece in grown.as_bytes().chunks(30_011) {
        append(&dir.join("a.log"), std::str::from_utf8(piece).expect("text"));
        tail.take_events();
        drained(&mut tail, &engine);
    }
    assert!(drained(&mut tail, &engine) == first.clone() + &grown);
    // A truncation is seen while a long line is carried, and the line is still there.
    append(&dir.join("a.log"), "7".repeat(900_000));
    tail.take_events();
    drained(&mut tail, &engine);
    fs::write(dir.join("a.log"), format!("{}\n8\n", "x".repeat(900_000))).expect("write");
    tail.take_events();
    let end = format!("{}{}\n8\n", "7".repeat(900_000), "x".repeat(900_000));
    assert!(drained(&mut tail, &engine) == first + &grown + &end);
}

#[test]
fn without_its_db_it_goes_on_and_writes_it_later() {
    let dir = ScratchDir::new();
    let db_path = dir.join("missing/tail.db");
    let options = [("DB", db_path.to_str().expect("path"))];
    append(&dir.join("a.log"), "1\n2\n");
    append(&dir.join("b.log"), "b\n");
    let (mut tail, engine) = by_hand(&dir, "a.log", &options);
    assert_eq!(drained(&mut tail, &engine), "1\n2\n");
    assert_eq!(engine.metric(|m| &m.database_errors), 1);
    let later = Instant::now() + super::spare::REOPEN_EVERY;
    tail.open_database_again(later);
    assert_eq!(engine.metric(|m| &m.database_errors), 2);
    fs::create_dir(dir.join("missing")).expect("folder");
    // What is there by then is of other files, and older.
    let settings = DbSettings { path: db_path.clone(), sync: 1, exclusive: false, journal_mode: "WAL" };
    let inode = |name: &str| fs::metadata(dir.join(name)).expect("file").ino();
    for (name, offset) in [("a.log", 1), ("b.log", 2)] {
        let row =
            Row { name: dir.join(name).display().to_string(), inode: inode(name), offset, ..Row::default() };
        Database::open(&settings).and_then(|db| db.insert(&row)).expect("row");
    }
    tail.take_deliveries();
    tail.open_database_again(later + super::spare::REOPEN_EVERY);
    let rows = Database::open(&settings).and_then(|db| db.rows()).expect("rows");
    let offset = |name| rows.iter().filter(|r| r.inode == inode(name)).map(|r| r.offset).collect::<Vec<_>>();
    assert_eq!((offset("a.log"), offset("b.log")), (vec![4], vec![2]));
    append(&dir.join("a.log"), "3\n");
    tail.take_events();
    assert_eq!(drained(&mut tail, &engine), "1\n2\n3\n");
    tail.stop();
    drop(tail);
    append(&dir.join("a.log"), "4\n");
    let (mut tail, engine) = by_hand(&dir, "a.log", &options);
    assert_eq!(drained(&mut tail, &engine), "4\n");
}

#[test]
fn bytes_behind_are_those_that_are_not_read() {
    let dir = ScratchDir::new();
    append(&dir.join("a.log"), "1\n");
    append(&dir.join("b.log"), "b\n");
    let (mut tail, engine) = by_hand(&dir, "*.log", &[]);
    tail.measure_lag();
    assert_eq!(engine.metric(|m| &m.lag_bytes), 4);
    drained(&mut tail, &engine);
    assert_eq!(engine.metric(|m| &m.lag_bytes), 0);
    assert!(engine.metrics.files.lock().expect("lock").is_empty());
    append(&dir.join("a.log"), "2\n3\n");
    fs::rename(dir.join("a.log"), dir.join("a.old")).expect("rename");
    append(&dir.join("a.log"), "4\n");
    tail.take_events();
    tail.measure_lag();
    assert_eq!(engine.metric(|m| &m.lag_bytes), 6, "a rotated file and its successor count");
    drained(&mut tail, &engine);
    assert_eq!(engine.metric(|m| &m.lag_bytes), 0);
}

#[test]
fn an_overflowed_queue_is_made_good_by_a_scan() {
    let dir = ScratchDir::new();
    append(&dir.join("a.log"), "1\n");
    let (mut tail, engine) = by_hand(&dir, "*.log", &[]);
    drained(&mut tail, &engine);
    append(&dir.join("a.log"), "2\n");
    append(&dir.join("b.log"), "3\n");
    // The events are lost.
    tail.watcher.take(&mut Vec::new());
    tail.scan(true);
    let text = drained(&mut tail, &engine);
    assert!(text == "1\n2\n3\n" || text == "1\n3\n2\n", "{text:?}");
}
