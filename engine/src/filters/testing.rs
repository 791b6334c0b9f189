//! Runs a filter on records written as JSON.

use super::{Context, Filter, FilterContext, Outcome, Plugin};
use crate::random::Random;
use codecs::Bump;
use codecs::conf::{Diagnostics, Entry, Section, Span};
use codecs::json::{self, Escape};
use codecs::parsers::{Parser, Scratch};
use codecs::record::{Record, Timestamp};
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
    plugin: &dyn Plugin,
    lines: &str,
    parsers: &HashMap<String, Arc<Parser>>,
) -> (Option<Arc<dyn Filter>>, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let context = Context { name: plugin.name(), parsers };
    let filter = plugin.configure(&section(lines), &context, &mut diagnostics);
    assert_eq!(filter.is_none(), diagnostics.has_errors(), "{lines}: {:?}", diagnostics.list);
    (filter, diagnostics)
}

/// A filter from lines that must be right.
pub(super) fn configure(plugin: &dyn Plugin, lines: &str) -> Arc<dyn Filter> {
    let (filter, diagnostics) = try_configure(plugin, lines, &HashMap::new());
    filter.unwrap_or_else(|| panic!("{lines}: {:?}", diagnostics.list))
}

/// Checks that the lines are refused, with this in a message.
pub(super) fn refused(plugin: &dyn Plugin, lines: &str, message: &str) {
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
    let arena = Bump::new();
    let mut record = Record::new_in(&arena, *time);
    json::parse_object(input.as_bytes(), &arena, &mut json::Scratch::default(), &mut record.fields)
        .expect(input);
    let (mut parsing, mut text, mut random) = (Scratch::default(), Vec::new(), Random::from_seed(1));
    let mut context = FilterContext {
        arena: &arena,
        tag: "src.one",
        parsing: &mut parsing,
        text: &mut text,
        random: &mut random,
        now: Timestamp { secs: 1_700_000_000, nanos: 0 },
    };
    let outcome = filter.apply(&mut record, &mut context);
    let mut out = Vec::new();
    json::write_fields(&mut out, &record.fields, Escape::Ascii);
    *time = record.time;
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    match outcome {
        Outcome::Keep => (Some(text), None),
        Outcome::Drop => (None, None),
        Outcome::Retag { tag, keep } => (Some(text), Some((tag.to_owned(), keep))),
    }
}

/// Checks one case.
pub(super) fn check(filter: &dyn Filter, case: &Case<'_>) {
    let (output, tag) = run(filter, case.input, &mut Timestamp::default());
    assert_eq!(output.as_deref(), case.output, "{}\n{}", case.lines, case.input);
    assert_eq!(tag, None, "{}\n{}", case.lines, case.input);
}

/// Checks each (input, output) of one configuration; an empty output means dropped.
pub(super) fn check_all(plugin: &dyn Plugin, cases: &[(&str, &str, &str)]) {
    for &(lines, input, output) in cases {
        let output = (!output.is_empty()).then_some(output);
        check(&*configure(plugin, lines), &Case { lines, input, output });
    }
}
