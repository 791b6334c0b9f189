//! Queues: segments between a job and their delivery.
//!
//! Owns: lanes and their order, what is charged for what waits there. Never: looks into a segment's bytes, delivers one.
//! Invariants: what is queued holds a charge; segments leave a lane in the order they came.

use crate::breaker::Breaker;
use crate::budget::Budget;
use crate::inputs::InputShared;
use crate::metrics::OutputMetrics;
use crate::storage::{ChunkFile, Held, Spilled};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// Bytes charged to the process and to an input; given back when dropped.
pub struct Charge {
    bytes: usize,
    process: usize,
    budgets: [Arc<Budget>; 2],
    released: Arc<dyn Fn() + Send + Sync>,
}

impl Charge {
    /// How many bytes it is, for the input.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True while less than half of the process's budget is taken.
    pub fn has_room(&self) -> bool {
        let [process, _] = &self.budgets;
        process.used() < process.limit() / 2
    }

    /// A charge that is already taken from both budgets; `released` is called after they got it back.
    pub fn taken(bytes: usize, budgets: [Arc<Budget>; 2], released: Arc<dyn Fn() + Send + Sync>) -> Charge {
        Charge { bytes, process: bytes, budgets, released }
    }

    /// It was taken as so many bytes from the process, which may hold more for it than the input counts.
    pub fn of_process(mut self, bytes: usize) -> Charge {
        self.process = bytes;
        self
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let [process, input] = &self.budgets;
        process.give(self.process);
        input.give(self.bytes);
        (self.released)();
    }
}

/// What waits in a lane.
pub enum Queued {
    /// A segment in memory.
    Up(Held),
    /// Segments on disk.
    Down(Spilled),
}

impl Queued {
    /// Encoded bytes and records.
    pub(crate) fn size(&self) -> (usize, u64) {
        match self {
            Queued::Up(held) => (held.segment.bytes.len(), u64::from(held.segment.records)),
            Queued::Down(spilled) => (spilled.bytes as usize, spilled.records),
        }
    }

    /// A sender waits for it.
    fn urgent(&self) -> bool {
        matches!(self, Queued::Up(held) if held.ack.urgent())
    }

    /// Encoded bytes in memory.
    fn up_bytes(&self) -> usize {
        match self {
            Queued::Up(held) => held.segment.bytes.len(),
            Queued::Down(_) => 0,
        }
    }

    /// How many of a chunk file's segments it is.
    fn segments_of(&self, chunk: &Arc<ChunkFile>) -> u32 {
        match self {
            Queued::Up(held) => u32::from(held.ack.is_of(chunk)),
            Queued::Down(spilled) if Arc::ptr_eq(&spilled.chunk, chunk) => spilled.segments,
            Queued::Down(_) => 0,
        }
    }
}

/// What waits, and how many probes of its output had failed when it came.
pub(crate) struct Waiting {
    pub(crate) queued: Queued,
    pub(crate) since: u64,
}

/// The queues of one output: as many as it delivers in parallel.
#[derive(Clone)]
pub struct Lanes {
    lanes: Arc<Vec<Lane>>,
    budget: Arc<Budget>,
    metrics: Arc<OutputMetrics>,
    breaker: Arc<Breaker>,
}

/// One queue.
#[derive(Default)]
pub(crate) struct Lane {
    queue: Mutex<LaneQueue>,
    /// Told of what comes, and of the end.
    pub(crate) arrived: Notify,
    abandoned: Notify,
}

impl Lane {
    /// What waits in it.
    pub(crate) fn queue(&self) -> MutexGuard<'_, LaneQueue> {
        self.queue.lock().expect("lane lock")
    }

    /// Resolves when the lane is abandoned.
    pub(crate) async fn abandoned(&self) {
        loop {
            let told = self.abandoned.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.queue().abandoned {
                return;
            }
            told.await;
        }
    }
}

/// What waits in a lane, in its order.
#[derive(Default)]
pub(crate) struct LaneQueue {
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) bytes: usize,
    pub(crate) closed: bool,
    /// Nothing more is delivered from here: what is under way comes back.
    pub(crate) abandoned: bool,
    /// A sender waits for something in it.
    pub(crate) urgent: bool,
    /// Its loop waits until so many bytes are here; it is not told of what comes before.
    pub(crate) wanted: usize,
}

impl LaneQueue {
    /// Adds at the end; ranges of a file that follow each other become one.
    fn push(&mut self, queued: Queued, since: u64) {
        if let (Some(Waiting { queued: Queued::Down(last), since: newest }), Queued::Down(next)) =
            (self.waiting.back_mut(), &queued)
            && Arc::ptr_eq(&last.chunk, &next.chunk)
            && last.end == next.start
        {
            *newest = since;
            last.end = next.end;
            last.segments += next.segments;
            last.records += next.records;
            last.bytes += next.bytes;
            return;
        }
        self.waiting.push_back(Waiting { queued, since });
    }

    /// Puts back what was taken from the front.
    pub(crate) fn push_front(&mut self, queued: Queued, since: u64) {
        self.bytes += queued.size().0;
        self.waiting.push_front(Waiting { queued, since });
    }

    /// Takes those out that `which` says, which is asked from the front on.
    pub(crate) fn take_out(&mut self, mut which: impl FnMut(&Waiting) -> bool) -> Vec<Queued> {
        let (mut gone, mut kept) = (Vec::new(), VecDeque::with_capacity(self.waiting.len()));
        for waiting in self.waiting.drain(..) {
            if which(&waiting) {
                self.bytes -= waiting.queued.size().0;
                gone.push(waiting.queued);
            } else {
                kept.push_back(waiting);
            }
        }
        self.waiting = kept;
        gone
    }
}

impl Lanes {
    /// `count` empty lanes; together they may hold `budget` before their sources are stopped.
    pub fn new(count: usize, budget: Arc<Budget>, breaker: Breaker) -> Lanes {
        let lanes = (0..count.max(1)).map(|_| Lane::default()).collect();
        Lanes { lanes: Arc::new(lanes), budget, metrics: Arc::default(), breaker: Arc::new(breaker) }
    }

    /// Who may attempt a delivery now.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Memory that they may hold together.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Lane] {
        &self.lanes
    }

    /// Counters of the output.
    pub fn metrics(&self) -> &Arc<OutputMetrics> {
        &self.metrics
    }

    /// Queues a segment; `lane` is taken modulo their number.
    pub fn send(&self, lane: usize, queued: Queued) {
        let lane = &self.lanes[lane % self.lanes.len()];
        let (bytes, records) = queued.size();
        self.budget.take(queued.up_bytes());
        self.metrics.queued_bytes.fetch_add(bytes as u64, Relaxed);
        self.metrics.queued_records.fetch_add(records, Relaxed);
        let mut queue = lane.queue();
        queue.bytes += bytes;
        queue.urgent |= queued.urgent();
        queue.push(queued, self.breaker.misses());
        let tell = queue.urgent || queue.bytes >= queue.wanted;
        drop(queue);
        if tell {
            lane.arrived.notify_one();
        }
    }

    /// True while less than its share, and less than `bytes`, is in memory; a part of the share is left for what is read
    /// back from disk.
    pub fn has_room_below(&self, bytes: usize) -> bool {
        self.budget.used() < bytes.min(self.budget.limit() / 2)
    }

    /// Takes the `segments` of a chunk file out, and gives their number of records; `None`, and nothing is taken, when
    /// some of them are under way.
    pub fn evict(&self, lane: usize, chunk: &Arc<ChunkFile>, segments: u32) -> Option<u64> {
        let mut queue = self.lanes[lane % self.lanes.len()].queue();
        let here: u32 = queue.waiting.iter().map(|w| w.queued.segments_of(chunk)).sum();
        if here < segments {
            return None;
        }
        let gone = queue.take_out(|w| w.queued.segments_of(chunk) > 0);
        drop(queue);
        Some(self.forget(&gone))
    }

    /// Drops and counts the oldest segments of an input while it holds more than `bytes` in memory.
    pub fn drop_oldest_of(&self, input: &InputShared, bytes: usize) {
        if input.memory_used() <= bytes {
            return;
        }
        for lane in self.lanes.iter() {
            let mut over = input.memory_used().saturating_sub(bytes);
            let mut queue = lane.queue();
            // The newest stays, however small the ring is.
            let mut left = queue.waiting.len();
            let gone = queue.take_out(|w| {
                left -= 1;
                let Queued::Up(held) = &w.queued else { return false };
                let go = over > 0 && left > 0 && held.ack.is_from(input);
                over = over.saturating_sub(if go { held.charge.bytes() } else { 0 });
                go
            });
            drop(queue);
            if gone.is_empty() {
                continue;
            }
            input.metrics.ring_dropped_chunks.fetch_add(gone.len() as u64, Relaxed);
            let dropped: usize = gone.iter().map(|q| q.size().0).sum();
            input.metrics.ring_dropped_bytes.fetch_add(dropped as u64, Relaxed);
            let records = self.forget(&gone);
            self.metrics.drop_records("memrb", records);
            for queued in gone {
                if let Queued::Up(held) = queued {
                    held.ack.accept();
                }
            }
        }
    }

    /// Puts back what was under way to the front of its lane.
    pub(crate) fn put_back(&self, lane: usize, queued: Queued, since: u64) {
        let (bytes, records) = queued.size();
        self.budget.take(queued.up_bytes());
        self.metrics.queued_bytes.fetch_add(bytes as u64, Relaxed);
        self.metrics.queued_records.fetch_add(records, Relaxed);
        self.lanes[lane].queue().push_front(queued, since);
    }

    /// What was taken out is not queued any more; gives its number of records.
    pub(crate) fn forget(&self, gone: &[Queued]) -> u64 {
        let mut all = 0;
        for queued in gone {
            let (bytes, records) = queued.size();
            self.budget.give(queued.up_bytes());
            self.metrics.queued_bytes.fetch_sub(bytes as u64, Relaxed);
            self.metrics.queued_records.fetch_sub(records, Relaxed);
            all += records;
        }
        all
    }

    /// True when sources may add to it.
    pub fn has_room(&self) -> bool {
        self.budget.used() < self.budget.limit()
    }

    /// Nothing more will come: the lanes deliver what they hold and end.
    pub fn close(&self) {
        for lane in self.lanes.iter() {
            lane.queue().closed = true;
            lane.arrived.notify_one();
        }
    }

    /// Nothing more is to be delivered from here: the lanes put back what is under way, and end.
    pub fn abandon(&self) {
        for lane in self.lanes.iter() {
            let mut queue = lane.queue();
            (queue.closed, queue.abandoned) = (true, true);
            drop(queue);
            lane.arrived.notify_one();
            lane.abandoned.notify_waiters();
        }
    }

    /// Takes all that waits.
    pub fn take_all(&self) -> Vec<Queued> {
        let take = |lane: &Lane| lane.queue().take_out(|_| true);
        let all: Vec<Queued> = self.lanes.iter().flat_map(take).collect();
        self.forget(&all);
        all
    }

    /// Number of lanes.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }
}
