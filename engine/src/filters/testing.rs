//! Runs a filter on records written as JSON.

use super::{Context, Filter, FilterContext, Held, Outcome, Plugin};
use crate::control::Control;
use crate::random::Random;
use codecs::conf::{Diagnostics, Entry, Section, Span, Variables};
use codecs::json::{self, Escape};
use codecs::multiline::{BUILTINS, Multiline};
use codecs::parsers::{Parser, Scratch};
use codecs::record::{Record, Timestamp};
use codecs::{Bump, BumpVec};
use std::collections::HashMap;
use std::sync::Arc;

/// One record through one filter.
pub(super) struct Case<'t> {
    /// For messages: the configuration.
    pub(super) lines: &'t str,
    /// The record.
    pub(super) input: &'t str,
    /// What becomes of it; `None` when it is dropped.
    pub(super) output: Option<&'t str>,
}

/// `Key value` lines as a section.
pub(super) fn section(lines: &str) -> Section {
    let file: Arc<str> = "test.conf".into();
    let mut section = Section::new("filter", Span::new(&file, 1, 1));
    for (n, line) in lines.lines().enumerate() {
        let (key, value) = line.split_once(' ').expect("a key and a value");
        let line = u32::try_from(n).expect("few lines") + 2;
        section.entries.push(Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            key_span: Span::new(&file, line, 1),
            value_span: Span::new(&file, line, u32::try_from(key.len()).expect("short") + 2),
        });
    }
    section
}

/// What `configure` makes of the lines, and what it says.
pub(super) fn try_configure(
    plugin: &Plugin,
    lines: &str,
    parsers: &HashMap<String, Arc<Parser>>,
) -> (Option<Arc<dyn Filter>>, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let named = BUILTINS.iter().filter(|name| lines.contains(**name));
    let multiline: HashMap<String, Arc<Multiline>> =
        named.filter_map(|name| Some(((*name).to_owned(), Arc::new(Multiline::builtin(name)?)))).collect();
    let variables = Variables::default();
    let context =
        Context { name: plugin.name, parsers, multiline: &multiline, variables: &variables, folder: None };
    let filter = (plugin.configure)(&section(lines), &context, &mut diagnostics);
    assert!(filter.is_some() || diagnostics.has_errors(), "{lines}: refused without a word");
    (filter, diagnostics)
}

/// A filter from lines that must be right.
pub(super) fn configure(plugin: &Plugin, lines: &str) -> Arc<dyn Filter> {
    let (filter, diagnostics) = try_configure(plugin, lines, &HashMap::new());
    assert!(!diagnostics.has_errors(), "{lines}: {:?}", diagnostics.list);
    filter.expect("a filter, for nothing is wrong")
}

/// Checks that the lines are refused, with this in a message.
pub(super) fn refused(plugin: &Plugin, lines: &str, message: &str) {
    let (_, diagnostics) = try_configure(plugin, lines, &HashMap::new());
    let said: Vec<String> = diagnostics.list.iter().map(ToString::to_string).collect();
    assert!(diagnostics.has_errors() && said.iter().any(|s| s.contains(message)), "{lines}: {said:?}");
}

/// Runs a record through the filter: its JSON afterwards and the outcome, in words.
pub(super) fn run(
    filter: &dyn Filter,
    input: &str,
    time: &mut Timestamp,
) -> (Option<String>, Option<(String, bool)>) {
    let mut last = None;
    let (records, tag) = run_with(filter, Some(input), time, &mut Held::default(), 0);
    for record in records {
        last = Some(record);
    }
    (last, tag)
}

/// As [`run`], with what is held back; without a record it is let go. Gives the records that go on.
pub(super) fn run_with(
    filter: &dyn Filter,
    input: Option<&str>,
    time: &mut Timestamp,
    held: &mut Held,
    mark: u64,
) -> (Vec<String>, Option<(String, bool)>) {
    run_tagged(filter, "src.one", input, time, held, mark)
}

/// The same under any tag.
pub(super) fn run_tagged(
    filter: &dyn Filter,
    tag: &str,
    input: Option<&str>,
    time: &mut Timestamp,
    held: &mut Held,
    mark: u64,
) -> (Vec<String>, Option<(String, bool)>) {
    let arena = Bump::new();
    let mut record = Record::new_in(&arena, *time);
    if let Some(input) = input {
        json::parse_object(input.as_bytes(), &arena, &mut json::Scratch::default(), &mut record.fields)
            .expect(input);
    }
    let (mut parsing, mut text, mut random) = (Scratch::default(), Vec::new(), Random::from_seed(1));
    let (mut grouping, mut made) = (codecs::multiline::Scratch::default(), BumpVec::new_in(&arena));
    let mut context = FilterContext {
        arena: &arena,
        tag,
        parsing: &mut parsing,
        grouping: &mut grouping,
        text: &mut text,
        random: &mut random,
        now: Timestamp { secs: 1_700_000_000, nanos: 0 },
        made: &mut made,
        held: Some(held),
        mark,
        may_wait: false,
        awaited: &mut None,
        pod: &mut None,
    };
    let outcome = match input {
        Some(_) => filter.apply(&mut record, &mut context),
        None => filter.let_go(&mut context),
    };
    let json = |record: &Record<'_>| {
        let mut out = Vec::new();
        json::write_fields(&mut out, &record.fields, Escape::Ascii);
        String::from_utf8(out).expect("JSON is UTF-8")
    };
    *time = record.time;
    match outcome {
        Outcome::Keep | Outcome::Failed => (vec![json(&record)], None),
        Outcome::Drop | Outcome::Wait => (Vec::new(), None),
        Outcome::Retag { tag, keep } => (vec![json(&record)], Some((tag.to_owned(), keep))),
        Outcome::Replace | Outcome::Reenter => {
            if let Some(first) = made.first() {
                *time = first.time;
            }
            (made.iter().map(json).collect(), None)
        }
    }
}

/// A filter that holds something back, and what it holds.
pub(super) struct Bench(Arc<dyn Filter>);

impl Bench {
    /// From lines that must be right.
    pub(super) fn new(plugin: &Plugin, lines: &str) -> Bench {
        Bench(configure(plugin, lines))
    }

    /// What goes on while records come, and what goes on when all is let go.
    pub(super) fn run(&self, records: &[String]) -> (Vec<String>, Vec<String>) {
        let (mut held, mut passed, mut time) = (Held::default(), Vec::new(), Timestamp::default());
        for (n, record) in records.iter().enumerate() {
            let (made, _) = run_with(&*self.0, Some(record), &mut time, &mut held, n as u64);
            passed.extend(made);
        }
        let (flushed, _) = run_with(&*self.0, None, &mut time, &mut held, 0);
        assert_eq!(held.oldest(), None, "all is let go");
        (passed, flushed)
    }
}

/// Starts a filter.
pub(super) fn start(filter: &dyn Filter) -> Result<(), String> {
    filter.start(&Arc::new(Control::default()))
}

/// Checks one case.
pub(super) fn check(filter: &dyn Filter, case: &Case<'_>) {
    let (output, tag) = run(filter, case.input, &mut Timestamp::default());
    assert_eq!(output.as_deref(), case.output, "{}\n{}", case.lines, case.input);
    assert_eq!(tag, None, "{}\n{}", case.lines, case.input);
}

/// Checks each (input, output) of one configuration; an empty output means dropped.
pub(super) fn check_all(plugin: &Plugin, cases: &[(&str, &str, &str)]) {
    for &(lines, input, output) in cases {
        let output = (!output.is_empty()).then_some(output);
        check(&*configure(plugin, lines), &Case { lines, input, output });
    }
}
