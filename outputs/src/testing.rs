//! What the tests of several outputs need: sections from pairs, records from JSON, chunks from records.

use crate::segment::{Chunk, Segment};
use crate::{Context, Output, Plugin};
use codecs::Bump;
use codecs::conf::section::Span;
use codecs::conf::{Diagnostics, Entry, Section};
use codecs::json::{Scratch, parse_object};
use codecs::record::{Record, Timestamp};
use std::sync::Arc;

/// A section with these entries.
pub(crate) fn section(entries: &[(&str, &str)]) -> Section {
    let span = Span::new(&Arc::from("test.conf"), 1, 1);
    let mut section = Section::new("output", span.clone());
    section.entries.extend(entries.iter().map(|(key, value)| Entry {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        key_span: span.clone(),
        value_span: span.clone(),
    }));
    section
}

/// What an instance is told.
pub(crate) fn context() -> Context<'static> {
    Context { name: "test.0", workers: None, escape_unicode: true, flush: 1.0 }
}

/// A configured output, or what is wrong with it.
pub(crate) fn configure(plugin: &Plugin, entries: &[(&str, &str)]) -> Result<Arc<dyn Output>, String> {
    let mut diagnostics = Diagnostics::default();
    let output = (plugin.configure)(&section(entries), &context(), &mut diagnostics);
    let found = || diagnostics.list.iter().map(|d| d.message.clone()).collect::<Vec<_>>().join("; ");
    if diagnostics.has_errors() { Err(found()) } else { output.ok_or_else(found) }
}

/// A segment of one tag with these records, given as time and JSON.
pub(crate) fn segment(output: &dyn Output, tag: &str, records: &[(i64, u32, &str)]) -> Segment {
    let arena = Bump::new();
    let mut segment = Segment::new(Arc::from(tag));
    for (secs, nanos, json) in records {
        let mut record = Record::new_in(&arena, Timestamp { secs: *secs, nanos: *nanos });
        parse_object(json.as_bytes(), &arena, &mut Scratch::default(), &mut record.fields)
            .expect("valid JSON");
        if output.encode(tag, &record, &arena, &mut segment) {
            segment.records += 1;
        }
    }
    segment
}

/// A chunk of these segments.
pub(crate) fn chunk(segments: Vec<Segment>) -> Chunk {
    Chunk { segments, ..Chunk::default() }
}

/// Records that most tables use: plain, a float, text with a quote and a character beyond ASCII, a nested map.
pub(crate) const RECORDS: &[(i64, u32, &str)] = &[
    (1_700_000_000, 123_000_000, r#"{"log":"one","n":1}"#),
    (1_700_000_001, 500_000_000, r#"{"log":"two","n":2.50,"t":true,"z":null}"#),
    (1_700_006_400, 0, r#"{"log":"three é \"q\"","k":{"d.e":[1,"x"]}}"#),
];
