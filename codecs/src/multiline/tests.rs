//! Whole chains, against records recorded from Fluent Bit 5.1.1.

use super::*;
use crate::conf::{Diagnostics, Entry, Section, Span};
use crate::record::Timestamp;
use bumpalo::Bump;
use std::collections::HashMap;

pub(super) const NOW: Timestamp = Timestamp { secs: 1_800_000_000, nanos: 7 };

pub(super) fn chain(names: &str) -> Chain {
    let parsers = names.split(", ").map(|n| Arc::new(Multiline::builtin(n).expect("built in"))).collect();
    Chain::new(parsers, None).expect("a chain")
}

/// A section from `key value` lines.
pub(super) fn section(text: &str) -> Section {
    let file: Arc<str> = "test.conf".into();
    let span = |line| Span::new(&file, line, 1);
    let mut section = Section::new("multiline_parser", span(1));
    for (at, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let (key, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let (key_span, value_span) = (span(at as u32 + 2), span(at as u32 + 2));
        section.entries.push(Entry { key: key.into(), value: value.trim().into(), key_span, value_span });
    }
    section
}

pub(super) fn custom(text: &str) -> Result<Chain, Vec<String>> {
    let mut diagnostics = Diagnostics::default();
    let parser = Multiline::configure(&section(text), &HashMap::new(), &mut diagnostics);
    let messages = || diagnostics.list.iter().map(|d| d.message.clone()).collect::<Vec<_>>();
    match parser {
        Some(parser) if !diagnostics.has_errors() => {
            Chain::new(vec![Arc::new(parser)], None).map_err(|e| vec![e])
        }
        _ => Err(messages()),
    }
}

/// The records of the lines and of a last flush, as (time, JSON), in the order in which they came;
/// a new job (arena) begins before each line whose number is in `cuts`.
pub(super) fn run(chain: &Chain, lines: &[&[u8]], cuts: &[usize]) -> Vec<(Timestamp, String)> {
    let (mut state, mut scratch, mut records) = (State::default(), Scratch::default(), Vec::new());
    let mut arena = Bump::new();
    for (at, line) in lines.iter().enumerate() {
        if cuts.contains(&at) {
            arena.reset();
        }
        let line = arena.alloc_slice_copy(line);
        chain.line(&mut state, line, NOW, at as u64, &arena, &mut scratch, &mut |r| records.push(shown(&r)));
        if let Some(pending) = state.pending() {
            assert!(pending.mark <= at as u64 && pending.bytes > 0);
        }
    }
    chain.flush(&mut state, &arena, &mut |r| records.push(shown(&r)));
    assert_eq!(state.pending(), None);
    records
}

fn shown(record: &crate::record::Record<'_>) -> (Timestamp, String) {
    let mut out = Vec::new();
    crate::json::write_fields(&mut out, &record.fields, crate::json::Escape::Ascii);
    (record.time, String::from_utf8(out).expect("JSON is UTF-8"))
}

pub(super) fn texts(chain: &Chain, lines: &[&str]) -> Vec<String> {
    let lines: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
    run(chain, &lines, &[]).into_iter().map(|r| r.1).collect()
}

#[test]
fn cri_lines() {
    let lines = [
        "2024-02-03T14:30:25.100000000Z stdout P part one ",
        "2024-02-03T14:30:25.200000000Z stdout P part two ",
        "2024-02-03T14:30:25.300000000Z stdout F end",
        "2024-02-03T14:30:26.000000000Z stderr F alone",
        "2024-02-03T14:30:27.5+02:00 stdout F zone",
    ];
    let lines: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
    let records = run(&chain("cri"), &lines, &[]);
    let times: Vec<i64> = records.iter().map(|r| r.0.millis()).collect();
    assert_eq!(times, [1_706_970_625_100, 1_706_970_626_000, 1_706_963_427_500]);
    let texts: Vec<&str> = records.iter().map(|r| r.1.as_str()).collect();
    assert_eq!(
        texts,
        [
            r#"{"time":"2024-02-03T14:30:25.100000000Z","stream":"stdout","_p":"P","log":"part one part two end"}"#,
            r#"{"time":"2024-02-03T14:30:26.000000000Z","stream":"stderr","_p":"F","log":"alone"}"#,
            r#"{"time":"2024-02-03T14:30:27.5+02:00","stream":"stdout","_p":"F","log":"zone"}"#,
        ]
    );
}

#[test]
fn java_lines() {
    let got = texts(
        &chain("java"),
        &[
            "2024-02-03 10:00:00 ERROR first",
            "java.lang.RuntimeException: boom",
            "    at com.example.A.run(A.java:10)",
            "Caused by: java.io.IOException: io",
            "    at com.example.C.read(C.java:3)",
            "    ... 2 more",
            "2024-02-03 10:00:01 INFO next",
            "Exception in thread \"main\" java.lang.NullPointerException",
            "\tat a.b.C.d(C.java:1)",
            "plain after",
        ],
    );
    assert_eq!(
        got,
        [
            r#"{"log":"2024-02-03 10:00:00 ERROR first\n"}"#,
            r#"{"log":"java.lang.RuntimeException: boom\n    at com.example.A.run(A.java:10)\nCaused by: java.io.IOException: io\n    at com.example.C.read(C.java:3)\n    ... 2 more\n"}"#,
            r#"{"log":"2024-02-03 10:00:01 INFO next\n"}"#,
            r#"{"log":"Exception in thread \"main\" java.lang.NullPointerException\n"}"#,
            r#"{"log":"\tat a.b.C.d(C.java:1)\n"}"#,
            r#"{"log":"plain after\n"}"#,
        ]
    );
}
