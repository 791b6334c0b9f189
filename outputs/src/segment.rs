//! Segments and chunks: wire bytes of one route, with an index where the output needs one.
//!
//! Owns: what crosses threads between a job and a delivery. Never: parses or re-encodes.
//! Invariant: `events` is empty or has one entry per record, with rising `end`; the last `end` is `bytes.len()`.

use std::sync::Arc;

/// Where a record lies in its segment's bytes, and what a packer must know of it without parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where its bytes end; they start where those of the event before end.
    pub end: u32,
    /// Length in bytes before JSON escaping, which is what a service counts.
    pub unescaped: u32,
    /// Record time in milliseconds since the epoch.
    pub millis: i64,
    /// Index into [`Segment::keys`] (stream, partition key); 0 when the output has none.
    pub key: u32,
}

/// Wire bytes that one job made for one route.
#[derive(Debug, Default)]
pub struct Segment {
    /// Tag of its records.
    pub tag: Arc<str>,
    /// Encoded records, in order.
    pub bytes: Vec<u8>,
    /// One entry per record, where the output asked for it.
    pub events: Vec<Event>,
    /// Distinct keys, in order of first use.
    pub keys: Vec<Box<[u8]>>,
    /// How many records it holds.
    pub records: u32,
}

impl Segment {
    /// An empty segment of a tag.
    pub fn new(tag: Arc<str>) -> Self {
        Segment { tag, ..Segment::default() }
    }

    /// Index of `key` in `keys`, which is where it is put when it is new. Jobs see few keys: the last one is tried first.
    pub fn key(&mut self, key: &[u8]) -> u32 {
        if let Some(at) = self.keys.iter().rposition(|k| **k == *key) {
            return at as u32;
        }
        self.keys.push(key.into());
        self.keys.len() as u32 - 1
    }
}

/// What one delivery attempt is about: segments of one output, in order. An output that took a part of it says so by
/// [`Chunk::done`], so that a retry sends only the rest.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Its segments; those of one source in order.
    pub segments: Vec<Segment>,
    /// One bit per record (in segment order) that needs no further attempt: accepted, or dropped and counted.
    /// Empty until an output uses it.
    pub done: Vec<bool>,
    /// Counts how often it was tried before; 0 at the first attempt.
    pub attempt: u32,
}

impl Chunk {
    /// Number of records.
    pub fn records(&self) -> usize {
        self.segments.iter().map(|s| s.records as usize).sum()
    }

    /// Number of encoded bytes.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|s| s.bytes.len()).sum()
    }
}
