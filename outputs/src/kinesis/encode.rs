//! Records to what Kinesis stores: JSON or one value, a newline, compressed where that is asked for.
//!
//! Owns: what a record's data is, and its largest size. A segment holds, for each record, its partition key (if it has one)
//! and then its data; [`Event::unescaped`] is the length of the data. Never: base64 (that is done straight into the body);
//! allocates per record, but for those that are too large.

use super::counters::Counters;
use super::key::KeySource;
use super::pack::{self, Join};
use super::service::Service;
use super::squeeze::{self, Compression};
use crate::formats::cut_text;
use crate::segment::{Event, Segment};
use codecs::Bump;
use codecs::json::{Escape, write_fields, write_text, write_value};
use codecs::record::{Field, Fields, Record, Text, Timestamp, Value};
use codecs::time::write_strftime;
use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;

/// Ends what was cut.
pub(super) const CUT_MARK: &[u8] = b"[Truncated...]";
/// How often a cut of a record is refined; each time halves what it may be too short.
const CUT_STEPS: usize = 12;
/// A worker keeps no more working memory than this for long, in bytes.
const SCRATCH_KEPT: usize = 1 << 20;

thread_local! {
    /// Working memory of a worker: a record before its compression.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is made of a record.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) service: &'static Service,
    pub(super) content: Content,
    pub(super) newline: bool,
    pub(super) escape: Escape,
    /// Of each record.
    pub(super) compression: Option<Compression>,
    /// `None`: random, made for each request.
    pub(super) key: Option<KeySource>,
    pub(super) join: Option<Join>,
}

/// What of a record is sent.
#[derive(Debug)]
pub(super) enum Content {
    /// One value: `log_key`.
    Value(Vec<u8>),
    /// An object.
    Record {
        /// Of these keys only.
        keys: Option<Vec<Vec<u8>>>,
        /// With the time.
        time: Option<TimeKey>,
    },
}

/// `time_key` and `time_key_format`.
#[derive(Debug)]
pub(super) struct TimeKey {
    key: Vec<u8>,
    /// `,"key":`.
    head: Vec<u8>,
    format: String,
}

impl TimeKey {
    pub(super) fn new(key: &str, format: &str) -> Self {
        let mut head = vec![b','];
        write_text(&mut head, Text::examined(key.as_bytes()), Escape::Unicode);
        head.push(b':');
        // `%L` is nanoseconds for AWS outputs of Fluent Bit.
        TimeKey { key: key.as_bytes().to_vec(), head, format: format.replace("%L", "%9N") }
    }

    /// Appends `,"key":"…"`.
    fn write(&self, time: Timestamp, escape: Escape, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.head);
        out.push(b'"');
        let text = out.len();
        write_strftime(out, &self.format, time);
        let written = out.get(text..).unwrap_or_default();
        if written.is_empty() {
            return out.truncate(start);
        }
        if written.iter().any(|byte| matches!(byte, 0..=31 | b'"' | b'\\' | 128..)) {
            let raw = out.split_off(text);
            out.pop();
            return write_text(out, Text::examined(&raw), escape);
        }
        out.push(b'"');
    }
}

/// Why a record is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Empty,
    LogKey,
}

impl Encoder {
    /// Appends what is sent of a record; false when there is nothing to send, which is counted.
    pub(super) fn append(
        &self,
        tag: &str,
        record: &Record<'_>,
        arena: &Bump,
        segment: &mut Segment,
        counters: &Counters,
    ) -> bool {
        let out = &mut segment.bytes;
        let start = out.len();
        if self.key.as_ref().is_some_and(|key| !key.write(tag, record, arena, out)) {
            counters.no_partition_key(tag);
        }
        let key = out.len() - start;
        let most = self.service.data_bytes_max(key) - self.join.map_or(0, |join| pack::overhead(join, key));
        let written = match self.compression {
            None => self.plain(record, arena, out, most),
            Some(compression) => self.squeezed(compression, record, arena, out, most, counters),
        };
        match written {
            Ok(cut) => counters.cut.fetch_add(u64::from(cut), Relaxed),
            Err(missing) => {
                out.truncate(start);
                let counter = if missing == Missing::Empty { &counters.empty } else { &counters.no_log_key };
                counter.fetch_add(1, Relaxed);
                return false;
            }
        };
        let data = out.len() - start - key;
        let millis = record.time.millis();
        segment.events.push(Event { end: out.len() as u32, unescaped: data as u32, millis, key: 0 });
        true
    }

    /// The data as it is; true when it had to be cut to `most` bytes.
    fn plain(
        &self,
        record: &Record<'_>,
        arena: &Bump,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Result<bool, Missing> {
        let start = out.len();
        self.write(record, arena, out)?;
        if self.newline {
            out.push(b'\n');
        }
        let too_large = out.len() - start > most;
        if too_large {
            out.truncate(start);
            self.write_cut(record, arena, out, most - usize::from(self.newline));
            if self.newline {
                out.push(b'\n');
            }
        }
        Ok(too_large)
    }

    /// The same, compressed.
    fn squeezed(
        &self,
        compression: Compression,
        record: &Record<'_>,
        arena: &Bump,
        out: &mut Vec<u8>,
        most: usize,
        counters: &Counters,
    ) -> Result<bool, Missing> {
        let start = out.len();
        SCRATCH.with_borrow_mut(|raw| {
            raw.clear();
            let (mut limit, mut cut) = (usize::MAX, false);
            loop {
                cut |= self.plain(record, arena, raw, limit)?;
                squeeze::append(compression, raw, out);
                let packed = out.len() - start;
                if packed <= most {
                    counters.squeezed(raw.len(), packed);
                    if raw.capacity() > SCRATCH_KEPT {
                        *raw = Vec::new();
                    }
                    return Ok(cut);
                }
                // What does not compress well is rare, and so large rarer still: nine tenths of what should fit.
                limit = (raw.len() as u128 * most as u128 / packed as u128 * 9 / 10) as usize;
                out.truncate(start);
                raw.clear();
            }
        })
    }

    /// The value or the object, without a newline.
    fn write(&self, record: &Record<'_>, arena: &Bump, out: &mut Vec<u8>) -> Result<(), Missing> {
        match &self.content {
            Content::Value(key) => match record.get(key).ok_or(Missing::LogKey)? {
                Value::Text(text) if text.bytes.is_empty() => Err(Missing::Empty),
                Value::Text(text) => {
                    write_bare(out, *text, self.escape);
                    Ok(())
                }
                other => {
                    write_value(out, other, self.escape);
                    Ok(())
                }
            },
            Content::Record { keys, time } => {
                let selected = select(record, keys.as_deref(), time.as_ref(), arena);
                let fields = selected.as_ref().unwrap_or(&record.fields);
                if fields.is_empty() {
                    return Err(Missing::Empty);
                }
                self.write_object(fields, time.as_ref().map(|key| (key, record.time)), out);
                Ok(())
            }
        }
    }

    fn write_object(&self, fields: &[Field<'_>], time: Option<(&TimeKey, Timestamp)>, out: &mut Vec<u8>) {
        write_fields(out, fields, self.escape);
        if let Some((key, time)) = time {
            out.pop();
            key.write(time, self.escape, out);
            out.push(b'}');
        }
    }

    /// What is sent of a record that is too large: its text is cut, of an object the longest one, so that it stays JSON.
    #[cold]
    fn write_cut(&self, record: &Record<'_>, arena: &Bump, out: &mut Vec<u8>, most: usize) {
        let shortened = match &self.content {
            Content::Value(key) => record.get(key).and_then(Value::as_text).is_some_and(|text| {
                longest(text, most, out, |cut, out| write_bare(out, Text::examined(cut), self.escape))
            }),
            Content::Record { keys, time } => {
                let selected = select(record, keys.as_deref(), time.as_ref(), arena);
                let fields = selected.as_ref().unwrap_or(&record.fields);
                self.write_shortened(fields, time.as_ref().map(|key| (key, record.time)), out, most)
            }
        };
        if shortened {
            return;
        }
        // Nothing in it is a text that could be cut. It was written before, so that it is not missing.
        let start = out.len();
        let _ = self.write(record, arena, out);
        let kept = cut_text(out.get(start..).unwrap_or_default(), most.saturating_sub(CUT_MARK.len())).len();
        out.truncate(start + kept);
        out.extend_from_slice(CUT_MARK.get(..CUT_MARK.len().min(most)).unwrap_or_default());
    }

    /// The object with its longest text cut; false when that is not enough, and then nothing is written.
    fn write_shortened(
        &self,
        fields: &[Field<'_>],
        time: Option<(&TimeKey, Timestamp)>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> bool {
        let texts = fields.iter().enumerate().filter_map(|(at, field)| Some((at, field.value.as_text()?)));
        let Some((at, text)) = texts.max_by_key(|(_, text)| text.len()) else { return false };
        longest(text, most, out, |cut, out| {
            let mut shortened = fields.to_vec();
            if let Some(field) = shortened.get_mut(at) {
                field.value = Value::Text(Text::examined(cut));
            }
            self.write_object(&shortened, time, out);
        })
    }
}

/// Writes with the longest beginning of `text`, and the mark, that lets what is written stay within `most` bytes; false
/// when none does, and then nothing is written. Escapes make a text longer than it is, so that it has to be tried.
fn longest(text: &[u8], most: usize, out: &mut Vec<u8>, write: impl Fn(&[u8], &mut Vec<u8>)) -> bool {
    let start = out.len();
    let attempt = |length: usize, out: &mut Vec<u8>| {
        out.truncate(start);
        write(&[cut_text(text, length), CUT_MARK].concat(), out);
        out.len() - start <= most
    };
    let (mut fits, mut too_long) = (0, text.len());
    for _ in 0..CUT_STEPS {
        let middle = fits + (too_long - fits) / 2;
        match attempt(middle, out) {
            true => fits = middle,
            false => too_long = middle,
        }
    }
    let done = attempt(fits, out);
    if !done {
        out.truncate(start);
    }
    done
}

/// Appends a text with JSON's escapes, but without its quotes: what Fluent Bit makes of `log_key`.
fn write_bare(out: &mut Vec<u8>, text: Text<'_>, escape: Escape) {
    let start = out.len();
    write_text(out, text, escape);
    out.pop();
    out.copy_within(start + 1.., start);
    out.pop();
}

/// The fields that are sent, where that is not all of them.
fn select<'a>(
    record: &Record<'a>,
    keys: Option<&[Vec<u8>]>,
    time: Option<&TimeKey>,
    arena: &'a Bump,
) -> Option<Fields<'a>> {
    let is_time = |field: &Field<'_>| time.is_some_and(|time| time.key == field.key.bytes);
    // The last of two equal keys counts everywhere in JSON here, and the time comes last.
    if keys.is_none() && !record.fields.iter().any(is_time) {
        return None;
    }
    let wanted = |field: &&Field<'a>| {
        !is_time(field) && keys.is_none_or(|keys| keys.iter().any(|key| *key == field.key.bytes))
    };
    let mut selected = Fields::new_in(arena);
    selected.extend(record.fields.iter().filter(wanted).copied());
    Some(selected)
}
