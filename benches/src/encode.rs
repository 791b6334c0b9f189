//! Records to wire form, as a job does for each of its routes.

use crate::{Run, input};
use codecs::Bump;
use codecs::conf::{Diagnostics, Entry, Section, Span};
use codecs::json::Escape;
use outputs::cloudwatch_logs::counters::Counters;
use outputs::cloudwatch_logs::encode::Encoder;
use outputs::cloudwatch_logs::target::{Stream, Target};
use outputs::segment::Segment;
use outputs::{Context, Output};
use std::sync::Arc;

const TAG: &str = "kube.var.log.containers.web";

/// Lines of `file` in its usual form. The answer is the number of bytes.
pub(crate) fn file() -> Run {
    let (output, records, arena) = (file_output(), input::records(input::lines(input::app)), Bump::new());
    Box::new(move || {
        let mut segment = Segment::new(TAG.into());
        for record in &records {
            output.encode(TAG, record, &arena, &mut segment);
        }
        segment.bytes.len() as u64
    })
}

fn file_output() -> Arc<dyn Output> {
    let span = Span::new(&Arc::from("bench.conf"), 1, 1);
    let mut section = Section::new("output", span.clone());
    let (key, value) = ("path".to_owned(), "/nowhere".to_owned());
    section.entries.push(Entry { key, value, key_span: span.clone(), value_span: span });
    let context = Context { name: "file.0", workers: None, escape_unicode: true, flush: 1.0 };
    (outputs::file::PLUGIN.configure)(&section, &context, &mut Diagnostics::default())
        .expect("a valid section")
}

/// Events of PutLogEvents. The answer is the number of bytes.
pub(crate) fn cloudwatch() -> Run {
    let records = input::records(input::lines(input::app));
    let (encoder, arena) = (cloudwatch_encoder(), Bump::new());
    let counters = Counters::default();
    Box::new(move || {
        let mut segment = Segment::new(TAG.into());
        for record in &records {
            encoder.append(TAG, record, &arena, &mut segment, &counters);
        }
        segment.bytes.len() as u64
    })
}

pub(crate) fn cloudwatch_encoder() -> Encoder {
    let target = Target {
        group: "group".to_owned(),
        stream: Stream::Prefix("prefix.".to_owned()),
        group_template: None,
        stream_template: None,
    };
    Encoder { target, log_key: None, escape: Escape::Ascii }
}

/// Events of one job in a segment.
pub(crate) fn segment() -> Segment {
    let (encoder, arena, counters) = (cloudwatch_encoder(), Bump::new(), Counters::default());
    let mut segment = Segment::new(TAG.into());
    for record in input::records(input::lines(input::app)) {
        segment.records += u32::from(encoder.append(TAG, &record, &arena, &mut segment, &counters));
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINES;

    fn json_bytes() -> u64 {
        input::lines(input::app).iter().map(|line| line.len() as u64).sum()
    }

    #[test]
    fn a_line_is_tag_time_and_json() {
        let around = format!("{TAG}: [1768485000.000613000, ]\n").len() as u64;
        assert_eq!(file()(), json_bytes() + LINES * around);
    }

    #[test]
    fn an_event_is_time_and_escaped_json() {
        // Five keys and five strings: twenty quotes become two bytes each.
        let around = r#"{"timestamp":1768485000000,"message":""}"#.len() as u64 + 20;
        assert_eq!(cloudwatch()(), json_bytes() + LINES * around);
        let segment = segment();
        let first = &segment.bytes[..segment.events[0].end as usize];
        assert!(first.starts_with(
            br#"{"timestamp":1768485000000,"message":"{\"timestamp\":\"2026-01-15T13:50:00.000Z\","#
        ));
        assert_eq!(*segment.keys[0], *b"group\0prefix.kube.var.log.containers.web");
    }
}
