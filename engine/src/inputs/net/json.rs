//! JSON values in a stream or a datagram, as the inputs tcp and udp take them.
//!
//! Owns: what becomes a record (a map; an array stands under `msg`), what of bad text is dropped. Never: reads a socket.
//! Invariant: text that is not JSON costs the line it stands in, nothing else.

use super::text::{Bad, with_address};
use crate::shards::JobRun;
use codecs::json::{self, expand, parse_prefix};
use codecs::record::{Field, Text, Value};
use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<json::Scratch> = RefCell::default();
}

/// What [`State::partial`](crate::decode::SourceState) begins with while the rest of a bad line is dropped: no JSON
/// value begins with it.
const SKIPPING: &[u8] = &[0];

/// How JSON values become records.
pub struct JsonValues {
    /// A value that is longer than this is dropped.
    pub limit: usize,
    /// Where the sender's address goes.
    pub address_key: Option<String>,
    /// What could not be used.
    pub bad: Bad,
}

impl JsonValues {
    /// Emits the values of one more piece of a stream; what its last value lacks is kept in `partial`.
    pub fn piece<'j>(
        &'j self,
        piece: &'j [u8],
        peer: Option<&'j str>,
        partial: &mut Vec<u8>,
        job: &mut JobRun<'j>,
    ) {
        let mut text = piece;
        if partial == SKIPPING {
            match memchr::memchr(b'\n', piece) {
                Some(end) => text = &piece[end + 1..],
                None => return,
            }
        } else if !partial.is_empty() {
            partial.extend_from_slice(piece);
            text = job.arena().alloc_slice_copy(partial);
        }
        partial.clear();
        match self.values(text, peer, job) {
            Rest::Incomplete(at) if text.len() - at > self.limit => {
                self.bad.count(
                    job,
                    &format!("incoming data exceeds 'Buffer_Size' ({} KB)", self.limit.div_ceil(1024)),
                );
                partial.extend_from_slice(SKIPPING);
            }
            Rest::Incomplete(at) => partial.extend_from_slice(&text[at..]),
            Rest::InBadLine => partial.extend_from_slice(SKIPPING),
        }
    }

    /// Emits the values of a text that is complete.
    pub fn whole<'j>(&'j self, text: &'j [u8], peer: Option<&'j str>, job: &mut JobRun<'j>) {
        if let Rest::Incomplete(at) = self.values(text, peer, job)
            && at < text.len()
            && !self.last(&text[at..], peer, job)
        {
            self.bad.count(job, "JSON incomplete");
        }
    }

    /// A number at the very end is complete where nothing can follow.
    fn last<'j>(&'j self, text: &'j [u8], peer: Option<&'j str>, job: &mut JobRun<'j>) -> bool {
        let arena = job.arena();
        let value = SCRATCH.with_borrow_mut(|scratch| json::parse_value(text, arena, scratch));
        value.is_ok_and(|value| {
            self.emit(value, peer, job);
            true
        })
    }

    /// What is left at the end of a stream.
    pub fn end<'j>(&'j self, partial: &mut Vec<u8>, job: &mut JobRun<'j>) {
        if !partial.is_empty() && partial != SKIPPING {
            self.bad.count(job, "the connection ended within a JSON value");
        }
        partial.clear();
    }

    fn values<'j>(&'j self, text: &'j [u8], peer: Option<&'j str>, job: &mut JobRun<'j>) -> Rest {
        let arena = job.arena();
        let mut at = 0;
        loop {
            at += text[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
            if at == text.len() {
                return Rest::Incomplete(at);
            }
            let parsed = SCRATCH.with_borrow_mut(|scratch| parse_prefix(&text[at..], arena, scratch));
            match parsed {
                Ok(Some((_, used))) if used > self.limit => {
                    at += used;
                    let limit = self.limit.div_ceil(1024);
                    self.bad.count(job, &format!("incoming data exceeds 'Buffer_Size' ({limit} KB)"));
                }
                Ok(Some((value, used))) => {
                    at += used;
                    self.emit(value, peer, job);
                }
                Ok(None) => return Rest::Incomplete(at),
                Err(_) => {
                    self.bad.count(job, "invalid JSON message, skipping");
                    match memchr::memchr(b'\n', &text[at..]) {
                        Some(end) => at += end + 1,
                        None => return Rest::InBadLine,
                    }
                }
            }
        }
    }

    fn emit<'j>(&'j self, value: Value<'j>, peer: Option<&'j str>, job: &mut JobRun<'j>) {
        let mut record = job.record();
        match value {
            Value::Json([b'[', ..]) | Value::Array(_) => {
                record.fields.push(Field::new(Text::plain(b"msg"), value));
            }
            _ => match expand(value, job.arena()) {
                Value::Map(fields) => record.fields.extend_from_slice_copy(fields),
                _ => return self.bad.count(job, "neither a JSON map nor an array"),
            },
        }
        with_address(&mut record.fields, self.address_key.as_deref(), peer);
        job.emit(record);
    }
}

/// What is left of a text.
enum Rest {
    /// A value that begins here and does not end (or nothing).
    Incomplete(usize),
    /// The rest of a line that is not JSON.
    InBadLine,
}
