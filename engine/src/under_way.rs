//! A chunk between its lane and its verdict.
//!
//! Owns: what becomes a chunk, and what is left of one that is done in part. Never: attempts or counts a delivery.
//! Invariant: each of its segments keeps its charge and what acknowledges it.

use crate::budget::Pool;
use crate::metrics::OutputMetrics;
use crate::queue::{Charge, LaneQueue, Queued, Waiting};
use crate::shards::Ack;
use crate::storage::{Held, Spilled};
use outputs::segment::{Chunk, Event, Segment};
use std::sync::Arc;

/// A chunk under way: its segments, and what is told when they are delivered.
#[derive(Default)]
pub(crate) struct UnderWay {
    pub(crate) chunk: Chunk,
    pub(crate) acks: Vec<Ack>,
    pub(crate) charges: Vec<Charge>,
    /// Where buffers go back to.
    pub(crate) pool: Option<Arc<Pool>>,
    pub(crate) bytes: usize,
    pub(crate) records: u64,
    /// Probes that had failed when the newest of it came.
    pub(crate) since: u64,
}

/// What a lane gives.
pub(crate) enum Taken {
    /// Segments from memory.
    Up(UnderWay),
    /// A range to be read first, and how many probes had failed when the newest of it came.
    Down(Spilled, u64),
}

impl UnderWay {
    /// Adds a segment at the end.
    pub(crate) fn add(&mut self, held: Held) {
        let Held { segment, ack, charge, pool } = held;
        self.bytes += segment.bytes.len();
        self.records += u64::from(segment.records);
        self.chunk.segments.push(segment);
        self.acks.push(ack);
        self.charges.push(charge);
        self.pool = Some(pool);
    }

    /// What is not done of it, in its order; `None` when it does not come from memory.
    pub(crate) fn into_open(self) -> Option<Vec<Held>> {
        let pool = self.pool?;
        let mut first = 0;
        let mut open = Vec::new();
        for ((segment, ack), charge) in self.chunk.segments.into_iter().zip(self.acks).zip(self.charges) {
            let records = segment.records as usize;
            match open_part(segment, self.chunk.done.get(first..).unwrap_or_default()) {
                Some(segment) => open.push(Held { segment, ack, charge, pool: pool.clone() }),
                None => ack.accept(),
            }
            first += records;
        }
        Some(open)
    }

    /// Counts what it holds by the input that it comes from; when it was not delivered, what is done of it was. What was
    /// read back from disk is of one input.
    pub(crate) fn count_routed(&self, metrics: &OutputMetrics, delivered: bool) {
        let segments = &self.chunk.segments;
        let mut first = 0;
        for (n, ack) in self.acks.iter().enumerate() {
            let of_ack = if self.acks.len() == segments.len() { &segments[n..=n] } else { &segments[..] };
            let records: usize = of_ack.iter().map(|s| s.records as usize).sum();
            let bytes: u64 = of_ack.iter().map(|s| s.bytes.len() as u64).sum();
            let done = self.chunk.done.iter().skip(first).take(records).filter(|done| **done).count();
            first += records;
            let done = if delivered { records } else { done };
            let (input, part) = (ack.origin().0, share(bytes, done as u64, records as u64));
            for (records, bytes, delivered) in [(done, part, true), (records - done, bytes - part, false)] {
                if records > 0 {
                    metrics.routed.count(input, records as u64, bytes, delivered);
                }
            }
        }
    }

    /// About how many of its bytes so many of its records are.
    pub(crate) fn share(&self, records: u64) -> u64 {
        share(self.bytes as u64, records, self.records)
    }

    /// Records that are neither accepted nor dropped yet.
    pub(crate) fn open_records(&self) -> u64 {
        self.records - self.chunk.done.iter().filter(|d| **d).count() as u64
    }
}

/// A part of so many bytes.
fn share(bytes: u64, records: u64, all: u64) -> u64 {
    (u128::from(bytes) * u128::from(records)).checked_div(u128::from(all)).map_or(0, |n| n as u64)
}

/// Takes segments off a queue that is not empty: at least one, then up to `target` bytes; or the range at its front.
pub(crate) fn take(queue: &mut LaneQueue, target: usize) -> Taken {
    let mut way = UnderWay::default();
    while let Some(Waiting { queued, since }) = queue.waiting.pop_front() {
        match queued {
            Queued::Down(spilled) if way.acks.is_empty() => {
                queue.bytes -= spilled.bytes as usize;
                return Taken::Down(spilled, since);
            }
            Queued::Up(held) if way.bytes == 0 || way.bytes + held.segment.bytes.len() <= target => {
                way.add(held);
                way.since = since;
            }
            queued => {
                queue.waiting.push_front(Waiting { queued, since });
                break;
            }
        }
    }
    queue.bytes -= way.bytes;
    queue.urgent &= !queue.waiting.is_empty();
    Taken::Up(way)
}

/// The segments of a chunk without the records that are done; whole segments where they have no index.
pub(crate) fn open_parts(chunk: Chunk) -> Vec<Segment> {
    let mut first = 0;
    let mut parts = Vec::new();
    for segment in chunk.segments {
        let records = segment.records as usize;
        parts.extend(open_part(segment, chunk.done.get(first..).unwrap_or_default()));
        first += records;
    }
    parts
}

/// A segment without the records that are done; whole where it has no index; `None` when nothing is left of it.
fn open_part(segment: Segment, done: &[bool]) -> Option<Segment> {
    let records = segment.records as usize;
    let is_done = |n: usize| done.get(n).copied().unwrap_or(false);
    if records > 0 && (0..records).all(is_done) {
        return None;
    }
    if segment.events.len() != records || !(0..records).any(is_done) {
        return Some(segment);
    }
    let mut part = Segment { keys: segment.keys, ..Segment::new(segment.tag) };
    let mut start = 0;
    for (n, event) in segment.events.iter().enumerate() {
        if !is_done(n) {
            part.bytes.extend_from_slice(&segment.bytes[start..event.end as usize]);
            part.events.push(Event { end: part.bytes.len() as u32, ..*event });
            part.records += 1;
        }
        start = event.end as usize;
    }
    Some(part)
}
