//! Whole chains, against records recorded from Fluent Bit 5.1.1.

use super::*;
use crate::conf::{Diagnostics, Entry, Section, Span};
use crate::record::Timestamp;
use bumpalo::Bump;
use std::collections::HashMap;
use std::sync::LazyLock;

const NOW: Timestamp = Timestamp { secs: 1_800_000_000, nanos: 7 };

/// Built-in parsers by name; each is compiled once.
fn builtins(names: &str) -> Vec<Arc<Multiline>> {
    static COMPILED: LazyLock<HashMap<&str, Arc<Multiline>>> = LazyLock::new(|| {
        BUILTINS.iter().map(|&name| (name, Arc::new(Multiline::builtin(name).expect("built in")))).collect()
    });
    names.split(", ").map(|name| COMPILED[name].clone()).collect()
}

fn chain(names: &str) -> Chain {
    Chain::new(builtins(names), None).expect("a chain")
}

/// A section from `key value` lines.
fn section(text: &str) -> Section {
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

fn custom(text: &str) -> Result<Chain, Vec<String>> {
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
fn run(chain: &Chain, lines: &[&[u8]], cuts: &[usize]) -> Vec<(Timestamp, String)> {
    let long = run_by(chain, lines, cuts, false);
    assert_eq!(long, run_by(chain, lines, cuts, true), "the short ways change something");
    long
}

/// The same, each line by one of the short ways first, where it may.
fn run_by(chain: &Chain, lines: &[&[u8]], cuts: &[usize], short: bool) -> Vec<(Timestamp, String)> {
    let (mut state, mut scratch, mut records) = (State::default(), Scratch::default(), Vec::new());
    let mut arena = Bump::new();
    for (at, line) in lines.iter().enumerate() {
        if cuts.contains(&at) {
            arena.reset();
        }
        let line: &[u8] = arena.alloc_slice_copy(line);
        if short && !line.contains(&b'\n') {
            if let Some(record) = chain.usual(&state, line, &arena) {
                records.push(shown(&record));
                continue;
            }
            if chain.goes_on(&mut state, line, NOW) {
                continue;
            }
        }
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

fn texts(chain: &Chain, lines: &[&str]) -> Vec<String> {
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

/// `recorded.txt`: `==` a chain, `|` its own parsers' sections, `<` lines, `>` the records that came out, without time.
#[test]
fn recorded_from_fluent_bit() {
    let blocks: Vec<&str> = include_str!("recorded.txt").split("== ").skip(1).collect();
    assert!(blocks.len() > 100);
    for block in blocks {
        let names = block.lines().next().unwrap_or_default();
        let marked = |mark: char| {
            block
                .lines()
                .skip(1)
                .filter_map(move |l| l.strip_prefix(mark))
                .map(|l| l.get(1..).unwrap_or_default())
        };
        let own: String = marked('|').flat_map(|l| [l, "\n"]).collect();
        let chain = if own.is_empty() { chain(names) } else { custom(&own).expect("compiles") };
        let lines: Vec<&str> = marked('<').collect();
        let want: Vec<&str> = marked('>').collect();
        assert_eq!(texts(&chain, &lines), want, "{block}");
        // An answer must not hang on where jobs are cut.
        let bytes: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
        for cut in 0..bytes.len() {
            let cut: Vec<String> = run(&chain, &bytes, &[cut]).into_iter().map(|r| r.1).collect();
            assert_eq!(cut, want, "{block}");
        }
    }
}

const SEED_PYTHON: &str = r#"
    name          python
    type          regex
    flush_timeout 1000
    rule      "start_state"   "/^Traceback \(most recent call last\):.*/"  "traceback"
    rule      "traceback"     "/^\s+File.*/"                                "traceback"
    rule      "traceback"     "/^\s+\w+.*/"                                 "traceback"
    rule      "traceback"     "/^\w+Error:.*/"                              "exception"
"#;

#[test]
fn a_state_without_rule_ends_the_record_with_a_note() {
    let mut diagnostics = Diagnostics::default();
    let parser =
        Multiline::configure(&section(SEED_PYTHON), &HashMap::new(), &mut diagnostics).expect("compiles");
    let messages: Vec<&str> = diagnostics.list.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "multiline_parser python: no rule comes from the state `exception`: a line that leads to it ends the record"
        ]
    );
    assert!(!diagnostics.has_errors() && diagnostics.list[0].span.line == 9);
    let chain = Chain::new(vec![Arc::new(parser)], None).expect("a chain");
    assert_eq!(chain.flush_timeout_ms(), 1000);
    let lines = [
        "Traceback (most recent call last):",
        "  File \"a.py\"",
        "ValueError: bad",
        "  File \"b.py\"",
        "next",
    ];
    assert_eq!(
        texts(&chain, &lines),
        [
            "{\"log\":\"Traceback (most recent call last):\\n  File \\\"a.py\\\"\\nValueError: bad\\n\"}",
            "{\"log\":\"  File \\\"b.py\\\"\\n\"}",
            "{\"log\":\"next\\n\"}"
        ]
    );
}

#[test]
fn what_is_wrong_with_a_section_is_told() {
    for (text, want) in [
        ("type regex", "multiline_parser: `name` is missing"),
        ("name m", "multiline_parser m: `type` is missing"),
        ("name m\ntype weird", "multiline_parser: `type` is `weird`"),
        ("name m\ntype equal", "multiline_parser m: `match_string` is missing"),
        ("name m\ntype regex", "multiline_parser m: `rule` number 1 is refused: there is no rule"),
        (
            "name m\ntype regex\nrule \"a\" \"/b/\" \"c\"",
            "multiline_parser m: `rule` number 1 is refused: the first rule must come from `start_state`",
        ),
        ("name m\ntype regex\nrule \"a\"", "multiline_parser m: `rule` is `\"a\"`"),
        (
            "name m\ntype eq\nmatch_string x\nparser p\nkey_content c",
            "multiline_parser m: `parser` is `p`, there is none of that name",
        ),
        (
            "name m\ntype eq\nmatch_string x\nkey_contents c",
            "multiline_parser: unknown option `key_contents`",
        ),
        (
            "name m\ntype eq\nmatch_string x\nflush_timeout 100",
            "`flush_timeout` is 100, it must be at least 500 milliseconds",
        ),
    ] {
        let got = custom(text).map(|_| ()).expect_err(text);
        assert!(got.iter().any(|m| m.starts_with(want)), "{text}: {got:?}");
    }
    assert!(custom("name m\ntype regex\nrule \"start_state\" \"/(/\" \"c\"").is_err());
    assert!(
        custom("name m\ntype eq\nmatch_string x\nflush_timeout 0")
            .is_ok_and(|c| c.flush_timeout_ms() == 4000)
    );
}

#[test]
fn lines_go_through_a_parser_first() {
    let mut diagnostics = Diagnostics::default();
    let mut json = section("Name pj\nFormat json");
    json.name = "parser".into();
    let parser = crate::parsers::Parser::configure(&json, &mut diagnostics).expect("a parser");
    let parsers = HashMap::from([("pj".to_owned(), Arc::new(parser))]);
    let rules = "name pk\ntype regex\nparser pj\nkey_content log\nrule \"start_state\" \"/^\\d{4}-/\" \"cont\"\nrule \"cont\" \"/^\\s+/\" \"cont\"";
    let multiline = Multiline::configure(&section(rules), &parsers, &mut diagnostics).expect("compiles");
    let chain = Chain::new(vec![Arc::new(multiline)], None).expect("a chain");
    let lines = [
        r#"{"log":"2024-01-01 a","n":1}"#,
        r#"{"log":"  b","n":2}"#,
        r#"{"log":"2024-01-02 c","n":3}"#,
        "no json",
        r#"{"n":4}"#,
    ];
    assert_eq!(
        texts(&chain, &lines),
        [
            r#"{"log":"2024-01-01 a\n  b","n":1}"#,
            r#"{"log":"2024-01-02 c","n":3}"#,
            r#"{"log":"no json"}"#,
            r#"{"log":"{\"n\":4}"}"#,
        ]
    );
}

#[test]
fn a_line_shorter_than_the_end_is_not_lost() {
    let chain = custom("name m\ntype endswith\nmatch_string END").expect("compiles");
    assert_eq!(texts(&chain, &["a", "", "bEND", "c"]), [r#"{"log":"a\nbEND\n"}"#, r#"{"log":"c\n"}"#]);
}

/// The multiline filter: records in, records out, each line once; (keys and values, in JSON).
fn filter(names: &str, key: &str, records: &[&str]) -> Vec<String> {
    let chain = Chain::new(builtins(names), Some(key)).expect("a chain");
    let (mut state, mut scratch, mut out, mut arena) =
        (State::default(), Scratch::default(), Vec::new(), Bump::new());
    for (at, text) in records.iter().enumerate() {
        arena.reset();
        let mut record = crate::record::Record::new_in(&arena, NOW);
        let text = arena.alloc_slice_copy(text.as_bytes());
        crate::json::parse_object(text, &arena, &mut scratch.json, &mut record.fields).expect("JSON");
        chain.record(&mut state, record, at as u64, &arena, &mut scratch, &mut |r| out.push(shown(&r).1));
    }
    chain.flush(&mut state, &arena, &mut |r| out.push(shown(&r).1));
    out
}

#[test]
fn records_are_joined_by_a_key() {
    let traceback = [
        r#"{"log":"Traceback (most recent call last):\n","n":1}"#,
        r#"{"log":"  File \"a.py\", line 1, in <module>\n","n":2}"#,
        r#"{"log":"    x()\n","n":3}"#,
        r#"{"log":"ValueError: bad\n","n":4}"#,
        r#"{"log":"after\n","n":5}"#,
        r#"{"other":"no log key"}"#,
    ];
    assert_eq!(
        filter("python", "log", &traceback),
        [
            r#"{"log":"Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    x()\nValueError: bad\n","n":1}"#,
            r#"{"log":"after\n","n":5}"#,
            r#"{"other":"no log key"}"#,
        ]
    );
    // A line feed at the end is no empty line.
    let go = [
        r#"{"m":"panic: x\n"}"#,
        r#"{"m":"goroutine 1 [running]:\n"}"#,
        r#"{"m":"\n"}"#,
        r#"{"m":"goroutine 1 [running]:\n"}"#,
    ];
    assert_eq!(
        filter("go", "m", &go),
        [
            r#"{"m":"panic: x\n"}"#,
            r#"{"m":"goroutine 1 [running]:\n"}"#,
            r#"{"m":"\ngoroutine 1 [running]:\n"}"#
        ]
    );
}

#[test]
fn a_record_over_the_limit_is_cut_and_nothing_is_lost() {
    let chain = chain("java").with_limit(40);
    let lines = ["x java.lang.Error: boom", "\tat a.b.C.d(C.java:1234567)", "\tat e.f", "plain"];
    assert_eq!(
        texts(&chain, &lines),
        [
            r#"{"log":"x java.lang.Error: boom\n\tat a.b.C.d(C.ja\n"}"#,
            r#"{"log":"va:1234567)\n"}"#,
            r#"{"log":"\tat e.f\n"}"#,
            r#"{"log":"plain\n"}"#,
        ]
    );
}

#[test]
fn more_streams_than_groups() {
    let chain = chain("docker");
    let line = |i: usize, log: &str| format!(r#"{{"log":"{log}","stream":"s{i}"}}"#);
    let lines: Vec<String> = (0..9).map(|i| line(i, "a")).chain((0..9).map(|i| line(i, "b\\n"))).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let got = texts(&chain, &lines);
    let letters: String = got
        .iter()
        .map(|r| {
            if r.contains(r#""ab\n""#) {
                "ab"
            } else if r.contains(r#""a""#) {
                "a"
            } else {
                "b"
            }
        })
        .collect();
    assert_eq!((letters.matches('a').count(), letters.matches('b').count()), (9, 9));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn lines() -> impl Strategy<Value = Vec<&'static str>> {
        let line = proptest::sample::select(vec![
            "",
            "plain",
            "java.lang.RuntimeException: boom",
            "\tat b.C(D.java)",
            "Caused by: java.io.IOException: io",
            "  nested exception is: ",
            "Traceback (most recent call last):",
            "  File \"a.py\", line 1",
            "    x()",
            "ValueError: bad",
            "panic: x",
            "goroutine 1 [running]:",
            "main.main()",
            "a.rb:3:in `x'",
            "\tfrom b.rb:4:in `y'",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            "2024-01-01 x",
        ]);
        proptest::collection::vec(line, 0..24)
    }

    /// What came in and what went out, without line feeds.
    fn content(records: &[(Timestamp, String)]) -> String {
        records
            .iter()
            .map(|(_, json)| {
                let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
                value["log"].as_str().expect("text").replace('\n', "")
            })
            .collect()
    }

    proptest! {
        #[test]
        fn each_line_comes_out_once(lines in lines(), name in proptest::sample::select(vec!["java", "python", "go", "ruby"]),
            limit in prop_oneof![Just(0), 1..90usize], cuts in proptest::collection::vec(0..24usize, 0..4)) {
            let chain = chain(name).with_limit(limit);
            let bytes: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
            let whole = run(&chain, &bytes, &[]);
            prop_assert_eq!(content(&whole), lines.concat());
            prop_assert_eq!(whole, run(&chain, &bytes, &cuts));
        }

        #[test]
        fn cri_parts_lose_nothing_and_stay_bounded(parts in proptest::collection::vec((any::<bool>(), any::<bool>(), "[a-z]{0,9}"), 0..40), limit in 1..64usize) {
            let lines: Vec<String> = parts.iter().map(|(err, part, text)| format!("2023-11-14T22:13:20.5Z {} {} {text}", if *err { "stderr" } else { "stdout" }, if *part { "P" } else { "F" })).collect();
            let chain = chain("docker, cri").with_limit(limit);
            let (mut state, mut scratch, arena) = (State::default(), Scratch::default(), Bump::new());
            let mut logs = [String::new(), String::new()];
            let mut note = |r: crate::record::Record<'_>| {
                let text = |key: &[u8]| String::from_utf8_lossy(r.get(key).and_then(|v| v.as_text()).unwrap_or_default()).into_owned();
                logs[usize::from(text(b"stream") == "stderr")] += &text(b"log");
            };
            for (at, line) in lines.iter().enumerate() {
                chain.line(&mut state, line.as_bytes(), NOW, at as u64, &arena, &mut scratch, &mut note);
                // Two streams of at most the limit, or one part, and the fields of their first lines.
                prop_assert!(state.pending().is_none_or(|p| p.bytes <= 2 * (limit.max(9) + 200)));
            }
            chain.flush(&mut state, &arena, &mut note);
            for err in [false, true] {
                let want: String = parts.iter().filter(|p| p.0 == err).map(|p| p.2.as_str()).collect();
                prop_assert_eq!(&logs[usize::from(err)], &want);
            }
        }

        #[test]
        fn no_line_panics(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..12)) {
            for names in ["docker, cri", "java, python, go, ruby"] {
                let arena = Bump::new();
                let (mut state, mut scratch, mut count) = (State::default(), Scratch::default(), 0);
                for line in &lines {
                    chain(names).line(&mut state, line, NOW, 0, &arena, &mut scratch, &mut |_| count += 1);
                }
                prop_assert!(count <= lines.len());
            }
        }
    }
}
