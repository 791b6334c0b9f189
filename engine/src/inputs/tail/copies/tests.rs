//! Tests of copies, step by step.

use super::super::gzip::tests::compressed;
use super::super::steps::{by_hand, drained};
use super::super::tests::{Double, append};
use super::*;
use crate::testing::ScratchDir;
use std::fs;
use std::sync::atomic::Ordering::SeqCst;

/// Takes events and reads all that is there.
fn looked(tail: &mut Tail, engine: &Double) -> String {
    for _ in 0..2 {
        tail.take_events();
        tail.scan(false);
        drained(tail, engine);
    }
    drained(tail, engine)
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("{n} a line of some length, so that there are many bytes\n")).collect()
}

#[test]
fn names_lead_to_what_they_were_made_of() {
    for (name, expected) in [
        ("/l/app.log.1", vec!["app", "app.log"]),
        ("/l/app.log.2.gz", vec!["app.log.2", "app", "app.log"]),
        ("/l/app-20260101.log", vec!["app", "app.log", "app-20260101"]),
        ("/l/app-1.log.gz", vec!["app-1.log", "app", "app.log", "app-1"]),
        ("/l/app", vec![]),
        ("/l/é.log-1", vec!["é", "é.log"]),
    ] {
        let found = originals(Path::new(name));
        for base in expected {
            assert!(found.contains(&Path::new("/l").join(base)), "{name}: {base} {found:?}");
        }
        assert!(!found.contains(&PathBuf::from(name)), "{name}");
    }
}

#[test]
fn copies_are_not_read_again_and_others_are() {
    type Make = fn(&Path, &str) -> Vec<u8>;
    let cases: [(&str, &str, Make, bool); 9] = [
        ("cp", "a.log.1", |_, text| text.into(), false),
        ("cp with a date", "a-20260101.log", |_, text| text.into(), false),
        ("compressed", "a.log.1.gz", |_, text| compressed(text.as_bytes()), false),
        (
            "two members",
            "a.log.gz",
            |_, text| [compressed(&text.as_bytes()[..70]), compressed(&text.as_bytes()[70..])].concat(),
            false,
        ),
        ("the first half", "a.log.bak", |_, text| text[..text.len() / 2].into(), false),
        (
            "a banner",
            "a.log.err",
            |_, text| text.lines().next().map(|l| format!("{l}\n")).unwrap_or_default().into(),
            true,
        ),
        ("another end", "a.log.2", |_, text| format!("{text}more\n").into(), true),
        ("another line", "a.log.3", |_, text| text.replace("199", "x").into(), true),
        ("another name", "b.log", |_, text| text.into(), true),
    ];
    for (what, name, make, read) in cases {
        let (dir, text) = (ScratchDir::new(), lines(0, 200));
        append(&dir.join("a.log"), &text);
        let (mut tail, engine) = by_hand(&dir, "*.log*", &[("Path", ""), ("Tag", "t")][1..]);
        assert_eq!(looked(&mut tail, &engine), text, "{what}");
        let bytes = make(dir.path(), &text);
        let more = match name.ends_with(".gz") {
            false => String::from_utf8(bytes.clone()).expect("text"),
            true => text.clone(),
        };
        fs::write(dir.join(name), bytes).expect("write");
        let all = looked(&mut tail, &engine);
        assert!(all == text.clone() + if read { &more } else { "" }, "{what}");
        // The file goes on.
        append(&dir.join("a.log"), "after\n");
        assert!(looked(&mut tail, &engine) == all + "after\n", "{what}");
        assert_eq!(engine.admitted.load(SeqCst), 0, "{what}");
    }
}

#[test]
fn a_file_that_begins_alike_is_read_in_full_when_it_goes_on() {
    let (dir, text) = (ScratchDir::new(), lines(0, 100));
    append(&dir.join("a.log"), &(text.clone() + "a\n"));
    let (mut tail, engine) = by_hand(&dir, "a.log*", &[]);
    let first = looked(&mut tail, &engine);
    append(&dir.join("a.log.1"), &text);
    assert!(looked(&mut tail, &engine) == first);
    append(&dir.join("a.log.1"), "b\n");
    assert!(looked(&mut tail, &engine) == format!("{first}{text}b\n"));
    // And one that is written in pieces, as a copy is.
    for piece in text.as_bytes().chunks(2000) {
        append(&dir.join("a.log.2"), std::str::from_utf8(piece).expect("text"));
        tail.take_events();
        drained(&mut tail, &engine);
    }
    assert!(looked(&mut tail, &engine) == format!("{first}{text}b\n"));
    fs::remove_file(dir.join("a.log")).expect("remove");
    append(&dir.join("a.log.2"), "c\n");
    assert!(looked(&mut tail, &engine) == format!("{first}{text}b\n{text}c\n"));
}

#[test]
fn a_rotation_by_copytruncate_and_compression_is_read_once() {
    let dir = ScratchDir::new();
    let db = dir.join("tail.db").display().to_string();
    for options in [&[][..], &[("DB", db.as_str())]] {
        for seen_before in [true, false] {
            for name in ["a.log", "a.log.1", "a.log.1.gz"] {
                drop(fs::remove_file(dir.join(name)));
            }
            append(&dir.join("a.log"), "1\n");
            let (mut tail, engine) = by_hand(&dir, "a.log*", options);
            assert_eq!(looked(&mut tail, &engine), "1\n");
            append(&dir.join("a.log"), "2\nhal");
            fs::copy(dir.join("a.log"), dir.join("a.log.1")).expect("copy");
            if seen_before {
                assert_eq!(looked(&mut tail, &engine), "1\n2\n");
            }
            fs::File::options()
                .write(true)
                .open(dir.join("a.log"))
                .expect("open")
                .set_len(0)
                .expect("truncate");
            append(&dir.join("a.log"), "f\n3\n");
            assert_eq!(looked(&mut tail, &engine), "1\n2\nhalf\n3\n", "{seen_before} {options:?}");
            let text = fs::read(dir.join("a.log.1")).expect("read");
            fs::write(dir.join("a.log.1.gz"), compressed(&text)).expect("write");
            assert_eq!(looked(&mut tail, &engine), "1\n2\nhalf\n3\n", "{seen_before} {options:?}");
            fs::remove_file(dir.join("a.log.1")).expect("remove");
            append(&dir.join("a.log"), "4\n");
            assert_eq!(looked(&mut tail, &engine), "1\n2\nhalf\n3\n4\n", "{seen_before} {options:?}");
        }
    }
}

#[test]
fn a_restart_knows_copies_and_what_was_compressed_meanwhile() {
    let dir = ScratchDir::new();
    let db = dir.join("tail.db").display().to_string();
    let options = [("DB", db.as_str())];
    let restarted = |expected: &str, then: &dyn Fn()| {
        let (mut tail, engine) = by_hand(&dir, "a.log*", &options);
        looked(&mut tail, &engine);
        then();
        assert_eq!(looked(&mut tail, &engine), expected);
        tail.take_deliveries();
        looked(&mut tail, &engine);
        tail.write_rows();
    };
    append(&dir.join("a.log"), "1\n");
    restarted("1\n", &|| drop(fs::copy(dir.join("a.log"), dir.join("a.log.bak"))));
    restarted("", &|| ());
    // Rotated and compressed while it was down, the end of it not read yet.
    append(&dir.join("a.log"), "2\n");
    let text = fs::read(dir.join("a.log")).expect("read");
    fs::write(dir.join("a.log.1.gz"), compressed(&text)).expect("write");
    fs::remove_file(dir.join("a.log")).expect("remove");
    append(&dir.join("a.log"), "3\n");
    restarted("2\n3\n", &|| ());
    restarted("", &|| append(&dir.join("a.log"), ""));
    append(&dir.join("a.log"), "4\n");
    // Copied and truncated while it was down.
    fs::copy(dir.join("a.log"), dir.join("a.log.2")).expect("copy");
    fs::write(dir.join("a.log"), "5\n").expect("write");
    restarted("4\n5\n", &|| ());
    restarted("", &|| ());
}
