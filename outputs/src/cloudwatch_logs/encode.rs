//! Records to events in wire form: `{"timestamp":…,"message":"…"}` as it will stand in the request's body.
//!
//! Owns: what a message is (the record, or one value of it), its escaping and its largest size. Never: allocates per
//! record outside the worker's scratch; looks at limits of a batch.

use super::counters::Counters;
use super::escape;
use super::pack::MESSAGE_BYTES_MAX;
use super::target::Target;
use crate::formats::cut_text;
use crate::segment::{Event, Segment};
use codecs::Bump;
use codecs::json::{Escape, write_fields, write_value};
use codecs::record::{Record, Value};
use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;

/// Ends a message that was cut.
pub const CUT_MARK: &[u8] = b"[Truncated...]";
/// A worker keeps no more working memory than this for long, in bytes.
const SCRATCH_KEPT: usize = 1 << 20;

thread_local! {
    /// Working memory of a worker: the stream's name, then the message before its escaping.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What an event is made of.
#[derive(Debug)]
pub struct Encoder {
    /// Where it goes.
    pub target: Target,
    /// `log_key`: the only value that is sent.
    pub log_key: Option<Vec<u8>>,
    /// How characters beyond ASCII stand in a record's JSON.
    pub escape: Escape,
}

impl Encoder {
    /// Appends the record's event; false when there is nothing to send, which is counted.
    pub fn append(
        &self,
        tag: &str,
        record: &Record<'_>,
        arena: &Bump,
        segment: &mut Segment,
        counters: &Counters,
    ) -> bool {
        SCRATCH.with_borrow_mut(|scratch| {
            let sent = self.append_with(scratch, tag, record, arena, segment, counters);
            if scratch.capacity() > SCRATCH_KEPT {
                *scratch = Vec::new();
            }
            sent
        })
    }

    fn append_with(
        &self,
        scratch: &mut Vec<u8>,
        tag: &str,
        record: &Record<'_>,
        arena: &Bump,
        segment: &mut Segment,
        counters: &Counters,
    ) -> bool {
        let mut unresolved = false;
        let key = self.target.key(tag, record, arena, scratch, segment, &mut unresolved);
        if unresolved {
            counters.unresolved(tag);
        }
        scratch.clear();
        let Some(message) = self.message(scratch, record) else {
            counters.no_log_key.fetch_add(1, Relaxed);
            return false;
        };
        // An empty record is `{}`; Fluent Bit does not send it either.
        if message.is_empty() || message == b"{}" {
            counters.empty.fetch_add(1, Relaxed);
            return false;
        }
        let millis = record.time.millis().max(0);
        let out = &mut segment.bytes;
        out.extend_from_slice(b"{\"timestamp\":");
        out.extend_from_slice(itoa::Buffer::new().format(millis).as_bytes());
        out.extend_from_slice(b",\"message\":\"");
        let mut unescaped = message.len();
        if unescaped <= MESSAGE_BYTES_MAX {
            escape::append(out, message);
        } else {
            let kept = cut_text(message, MESSAGE_BYTES_MAX - CUT_MARK.len());
            escape::append(out, kept);
            out.extend_from_slice(CUT_MARK);
            unescaped = kept.len() + CUT_MARK.len();
            counters.cut.fetch_add(1, Relaxed);
        }
        out.extend_from_slice(b"\"}");
        segment.events.push(Event { end: out.len() as u32, unescaped: unescaped as u32, millis, key });
        true
    }

    /// The message before escaping, in UTF-8; `None` when the record lacks `log_key`.
    fn message<'m>(&self, scratch: &'m mut Vec<u8>, record: &'m Record<'_>) -> Option<&'m [u8]> {
        let Some(key) = &self.log_key else {
            write_fields(scratch, &record.fields, self.escape);
            return Some(scratch);
        };
        match record.get(key)? {
            Value::Text(text) if text.plain || std::str::from_utf8(text.bytes).is_ok() => Some(text.bytes),
            Value::Text(text) => {
                for chunk in text.bytes.utf8_chunks() {
                    scratch.extend_from_slice(chunk.valid().as_bytes());
                    if !chunk.invalid().is_empty() {
                        scratch.extend_from_slice("\u{fffd}".as_bytes());
                    }
                }
                Some(scratch)
            }
            other => {
                write_value(scratch, other, self.escape);
                Some(scratch)
            }
        }
    }
}
