//! The filter `kubernetes`: JSON in `log` is merged, what is known of the pod goes along.

use crate::{Run, input};
use codecs::conf::{Diagnostics, Entry, Section, Span, Variables};
use codecs::record::{Field, Record, Text, Timestamp, Value};
use codecs::{Bump, BumpVec};
use engine::filters::{Context, Filter, FilterContext, Outcome, kubernetes};
use engine::random::Random;
use std::collections::HashMap;
use std::sync::Arc;

const TAG: &str = "kube.var.log.containers.web-7d4f8b5c8-xyz12_production_web-1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef.log";
/// Records of one arena, as a job's slice has them.
const SLICE: usize = 100;

/// With the merged fields under a key of their own. The answer is the number of fields.
pub(crate) fn merged() -> Run {
    let (filter, lines) = (filter(), input::lines(input::app));
    let (mut parsing, mut grouping) = Default::default();
    let (mut text, mut random, mut arena) = (Vec::new(), Random::from_seed(1), Bump::new());
    Box::new(move || {
        let mut answer = 0;
        for slice in lines.chunks(SLICE) {
            arena.reset();
            let (mut made, mut pod) = (BumpVec::new_in(&arena), None);
            for line in slice {
                let mut record = record(line, &arena);
                let mut context = FilterContext {
                    arena: &arena,
                    tag: TAG,
                    parsing: &mut parsing,
                    grouping: &mut grouping,
                    text: &mut text,
                    random: &mut random,
                    now: Timestamp { secs: input::START_SECS, nanos: 0 },
                    made: &mut made,
                    held: None,
                    mark: 0,
                    may_wait: false,
                    awaited: &mut None,
                    pod: &mut pod,
                };
                if filter.apply(&mut record, &mut context) == Outcome::Keep {
                    answer += record.fields.len() as u64;
                }
            }
        }
        answer
    })
}

/// What a CRI line becomes.
fn record<'a>(line: &'a str, arena: &'a Bump) -> Record<'a> {
    let mut record = Record::new_in(arena, Timestamp { secs: input::START_SECS, nanos: 0 });
    for (key, value) in [("time", "2026-01-15T13:50:00Z"), ("stream", "stdout"), ("_p", "F"), ("log", line)] {
        record.fields.push(Field::new(Text::plain(key.as_bytes()), Value::text(value.as_bytes())));
    }
    record
}

fn filter() -> Arc<dyn Filter> {
    let span = Span::new(&Arc::from("bench.conf"), 1, 1);
    let mut section = Section::new("filter", span.clone());
    for (key, value) in [("Use_Tag_For_Meta", "on"), ("Merge_Log", "on"), ("Merge_Log_Key", "log_processed")]
    {
        let (key, value) = (key.to_owned(), value.to_owned());
        section.entries.push(Entry { key, value, key_span: span.clone(), value_span: span.clone() });
    }
    let (parsers, multiline, variables) = (HashMap::new(), HashMap::new(), Variables::default());
    let context = Context {
        name: "kubernetes.0",
        parsers: &parsers,
        multiline: &multiline,
        variables: &variables,
        folder: None,
    };
    (kubernetes::PLUGIN.configure)(&section, &context, &mut Diagnostics::default()).expect("a valid section")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_gets_what_was_merged_and_its_pod() {
        // Four fields of its own, `log_processed`, `kubernetes`.
        assert_eq!(merged()(), 6 * crate::LINES);
    }
}
