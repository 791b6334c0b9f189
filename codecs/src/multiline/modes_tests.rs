//! `Docker_Mode` and `Multiline On` against what Fluent Bit 5.1.1 wrote for the same lines.
//!
//! Records of either kind are shown as they print; where Fluent Bit loses a line, the comment says so.

use super::*;
use crate::conf::{Diagnostics, Entry, Section, Span};
use crate::json::{Escape, write_fields};
use crate::record::Timestamp;
use bumpalo::Bump;

const NOW: Timestamp = Timestamp { secs: 5, nanos: 0 };

fn parser(entries: &[(&str, &str)]) -> Arc<Parser> {
    let span = Span::new(&"test".into(), 1, 1);
    let mut section = Section::new("parser", span.clone());
    section.entries.extend(entries.iter().map(|(key, value)| Entry {
        key: (*key).into(),
        value: (*value).into(),
        key_span: span.clone(),
        value_span: span.clone(),
    }));
    let mut diagnostics = Diagnostics::default();
    Arc::new(
        Parser::configure(&section, &mut diagnostics).unwrap_or_else(|| panic!("{:?}", diagnostics.list)),
    )
}

/// A line as it is, a record as its seconds and fields.
fn show(joined: Joined<'_>) -> String {
    match joined {
        Joined::Line { text, .. } => String::from_utf8_lossy(text).into_owned(),
        Joined::Record(record) => {
            let mut out = Vec::new();
            write_fields(&mut out, &record.fields, Escape::Ascii);
            format!("{} {}", record.time.secs, String::from_utf8_lossy(&out))
        }
    }
}

/// What comes out, each line in an arena of its own, as jobs have; the last mark must be that of what waits.
fn docker(mode: &DockerMode, text: &str) -> Vec<String> {
    let (mut state, mut scratch, mut out) = (State::default(), Scratch::default(), Vec::new());
    for (mark, line) in text.lines().enumerate() {
        let arena = Bump::new();
        let emit = &mut |joined: Joined<'_>| out.push(show(joined));
        mode.line(&mut state, line.as_bytes(), NOW, mark as u64, &arena, &mut scratch, emit);
        assert!(state.pending().is_none_or(|p| p.mark <= mark as u64 && p.bytes > 0));
    }
    mode.flush(&mut state, &Bump::new(), &mut scratch, &mut |joined| out.push(show(joined)));
    assert_eq!(state.pending(), None);
    out
}

fn first_line(mode: &FirstLine, text: &str) -> (Vec<String>, u64) {
    let (mut state, mut scratch, mut out) = (State::default(), Scratch::default(), Vec::new());
    for (mark, line) in text.lines().enumerate() {
        let arena = Bump::new();
        let emit = &mut |joined: Joined<'_>| out.push(show(joined));
        mode.line(&mut state, line.as_bytes(), NOW, mark as u64, &arena, &mut scratch, emit);
    }
    mode.flush(&mut state, &Bump::new(), &mut |joined| out.push(show(joined)));
    assert_eq!(state.pending(), None);
    (out, state.cut_count())
}

#[test]
fn docker_mode_joins_parts() {
    let text = r#"{"log":"whole one\n","stream":"stdout","time":"1Z"}
{"log":"part a ","stream":"stdout","time":"2Z"}
{"log":"part b \\n","stream":"stderr","time":"3Z"}
{"log":"end \"q\" \u00e9\n","stream":"stdout","time":"4Z"}
not json
{"log":"open ","stream":"stdout","time":"5Z"}
again not json
{"stream":"stdout","time":"6Z"}
{"log":7,"stream":"stdout"}
{"log":"","stream":"stdout","time":"7Z"}
{"log":"x\\\\n","stream":"stdout","time":"8Z"}
{"log":"y\n","stream":"stdout","attrs":{"log":"inner"},"time":"9Z"}
 {"log":"lead\n","stream":"stdout"}
{"log":"trail\n","stream":"stdout"} x
{"log":"last open","stream":"stdout","time":"10Z"}"#;
    let want = r#"{"log":"whole one\n","stream":"stdout","time":"1Z"}
{"log":"part a part b \\nend \"q\" \u00e9\n","stream":"stdout","time":"4Z"}
not json
{"log":"open ","stream":"stdout","time":"5Z"}
again not json
{"stream":"stdout","time":"6Z"}
{"log":7,"stream":"stdout"}
{"log":"x\\\\ny\n","stream":"stdout","attrs":{"log":"inner"},"time":"9Z"}
 {"log":"lead\n","stream":"stdout"}
{"log":"trail\n","stream":"stdout"} x
{"log":"last open","stream":"stdout","time":"10Z"}"#;
    let mode = DockerMode { parser: None, limit: 0 };
    assert_eq!(docker(&mode, text), want.lines().collect::<Vec<_>>());
    for cut in (0..=text.len()).filter(|&cut| text.is_char_boundary(cut)) {
        docker(&mode, &text[..cut]);
    }
}

#[test]
fn docker_mode_joins_records_by_their_first_line() {
    let text = r#"{"log":"before any first\n","t":1}
{"log":"and more\n","t":2}
{"log":"2024-02-03 boom\n","t":3}
{"log":"  at a\n","t":4}
{"log":"  at b","t":5}
{"log":" rest\n","t":6}
{"log":"2024-02-04 next\n","t":7}
plain
{"log":"  at c\n","t":8}
{"log":"2024-02-05 last\n","t":9}
{"log":"  at d\n","t":10}"#;
    let want = r#"{"log":"before any first\n","t":1}
{"log":"and more\n","t":2}
{"log":"2024-02-03 boom\n  at a\n  at b rest\n","t":6}
{"log":"2024-02-04 next\n","t":7}
plain
{"log":"  at c\n","t":8}
{"log":"2024-02-05 last\n  at d\n","t":10}"#;
    let first = parser(&[
        ("name", "first"),
        ("format", "regex"),
        ("regex", r#"(?<log>^{"log":"\d{4}-\d{1,2}-\d{1,2}.*)"#),
    ]);
    let mode = DockerMode { parser: Some(first), limit: 0 };
    assert_eq!(docker(&mode, text), want.lines().collect::<Vec<_>>());
}

#[test]
fn docker_mode_keeps_its_limit() {
    let mode = DockerMode { parser: None, limit: 10 };
    let text = "{\"log\":\"12345678\"}\n{\"log\":\"abcdef\"}\n{\"log\":\"gh\\n\"}";
    assert_eq!(docker(&mode, text), ["{\"log\":\"12345678\"}", "{\"log\":\"abcdefgh\\n\"}"]);
}

fn named(name: &str, regex: &str) -> Arc<Parser> {
    parser(&[("name", name), ("format", "regex"), ("regex", regex), ("types", "n:integer")])
}

const LINES: &str = "stray line
Caused by: nobody
E boom
  raw continuation
\tat com.example.A
more of it
Caused by: x=1
tail of cause
I single
# num 5
after number
  at nothing
I last
and its end";

#[test]
fn a_first_line_begins_a_record() {
    let first = || named("first", "^(?<level>[A-Z]) (?<message>.*)$");
    let mode = FirstLine { first: first(), others: Vec::new(), limit: 0 };
    let want = [
        "stray line",
        "Caused by: nobody",
        r#"5 {"level":"E","message":"boom\n  raw continuation\n\tat com.example.A\nmore of it\nCaused by: x=1\ntail of cause"}"#,
        r#"5 {"level":"I","message":"single\n# num 5\nafter number\n  at nothing"}"#,
        r#"5 {"level":"I","message":"last\nand its end"}"#,
    ];
    assert_eq!(first_line(&mode, LINES), (want.map(String::from).to_vec(), 0));
    // Further parsers add fields; lines go on behind the last of them.
    let others = vec![named("cont", r"^\s+at (?<at>.*)$"), named("cause", "^Caused by: (?<cause>.*)$")];
    let mode = FirstLine { first: first(), others, limit: 0 };
    let want = [
        "stray line",
        // Lost in Fluent Bit.
        r#"5 {"cause":"nobody"}"#,
        r#"5 {"level":"E","message":"boom\n  raw continuation","at":"com.example.A\nmore of it","cause":"x=1\ntail of cause"}"#,
        r#"5 {"level":"I","message":"single\n# num 5\nafter number","at":"nothing"}"#,
        r#"5 {"level":"I","message":"last\nand its end"}"#,
    ];
    assert_eq!(first_line(&mode, LINES), (want.map(String::from).to_vec(), 0));
}

#[test]
fn text_cannot_go_on_behind_a_number() {
    let mode =
        FirstLine { first: named("n", r"^# (?<message>\S+) (?<n>\d+)$"), others: Vec::new(), limit: 0 };
    let text = "before\n# num 5\nafter number\n\n# num 6";
    let want = ["before", "after number", "", r#"5 {"message":"num","n":5}"#, r#"5 {"message":"num","n":6}"#];
    assert_eq!(first_line(&mode, text).0, want);
}

#[test]
fn an_empty_line_does_not_lose_the_record() {
    // Fluent Bit drops the whole record.
    let mode = FirstLine { first: named("f", "^F (?<m>.*)$"), others: Vec::new(), limit: 0 };
    assert_eq!(first_line(&mode, "F a\n\nb").0, [r#"5 {"m":"a\n\nb"}"#]);
}

#[test]
fn a_record_of_lines_keeps_its_limit() {
    let mode = FirstLine { first: named("f", "^F (?<m>.*)$"), others: Vec::new(), limit: 64 };
    let long = "x".repeat(60);
    let (out, cut) = first_line(&mode, &format!("F a\n{long}\n{long}"));
    assert_eq!(out, [r#"5 {"m":"a"}"#.to_owned(), long.clone(), long]);
    assert_eq!(cut, 1);
}
