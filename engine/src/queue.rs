//! Queues: segments between a job and their delivery, and the loop that delivers them.
//!
//! Owns: lanes, flush times, retries, what a verdict leads to. Never: looks into a segment's bytes.
//! Invariants: what is queued holds a charge; segments leave a lane in the order they came; every segment is
//! acknowledged, or given up and told.

use crate::breaker::{Breaker, FAILURES_MAX, Failed, Turn};
use crate::budget::{Budget, Pool};
use crate::inputs::InputShared;
use crate::log;
use crate::metrics::OutputMetrics;
use crate::retry::RetryLimit;
use crate::shards::Ack;
use crate::storage::{ChunkFile, Held, LoadError, Loaded, Spilled, Store};
use outputs::segment::{Chunk, Event, Segment};
use outputs::{Output, Verdict};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

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
    fn size(&self) -> (usize, u64) {
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

/// The queues of one output: as many as it delivers in parallel.
#[derive(Clone)]
pub struct Lanes {
    lanes: Arc<Vec<Lane>>,
    budget: Arc<Budget>,
    metrics: Arc<OutputMetrics>,
}

/// One queue.
#[derive(Default)]
struct Lane {
    queue: Mutex<LaneQueue>,
    arrived: Notify,
    abandoned: Notify,
}

impl Lane {
    /// Resolves when the lane is abandoned.
    async fn abandoned(&self) {
        loop {
            let told = self.abandoned.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.queue.lock().expect("lane lock").abandoned {
                return;
            }
            told.await;
        }
    }
}

#[derive(Default)]
struct LaneQueue {
    queued: VecDeque<Queued>,
    bytes: usize,
    closed: bool,
    /// Nothing more is delivered from here: what is under way comes back.
    abandoned: bool,
    /// A sender waits for something in it.
    urgent: bool,
}

impl LaneQueue {
    /// Adds at the end; ranges of a file that follow each other become one.
    fn push(&mut self, queued: Queued) {
        if let (Some(Queued::Down(last)), Queued::Down(next)) = (self.queued.back_mut(), &queued)
            && Arc::ptr_eq(&last.chunk, &next.chunk)
            && last.end == next.start
        {
            last.end = next.end;
            last.segments += next.segments;
            last.records += next.records;
            last.bytes += next.bytes;
            return;
        }
        self.queued.push_back(queued);
    }

    /// Takes those out that `which` says, which is asked from the front on.
    fn take_out(&mut self, mut which: impl FnMut(&Queued) -> bool) -> Vec<Queued> {
        let (mut gone, mut kept) = (Vec::new(), VecDeque::with_capacity(self.queued.len()));
        for queued in self.queued.drain(..) {
            if which(&queued) {
                self.bytes -= queued.size().0;
                gone.push(queued);
            } else {
                kept.push_back(queued);
            }
        }
        self.queued = kept;
        gone
    }
}

impl Lanes {
    /// `count` empty lanes; together they may hold `budget` before their sources are stopped.
    pub fn new(count: usize, budget: Arc<Budget>, metrics: Arc<OutputMetrics>) -> Lanes {
        Lanes { lanes: Arc::new((0..count.max(1)).map(|_| Lane::default()).collect()), budget, metrics }
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
        let mut queue = lane.queue.lock().expect("lane lock");
        queue.bytes += bytes;
        queue.urgent |= queued.urgent();
        queue.push(queued);
        drop(queue);
        lane.arrived.notify_one();
    }

    /// True while less than its share, and less than `bytes`, is in memory; a part of the share is left for what is read
    /// back from disk.
    pub fn has_room_below(&self, bytes: usize) -> bool {
        self.budget.used() < bytes.min(self.budget.limit() / 2)
    }

    /// Takes the `segments` of a chunk file out, and gives their number of records; `None`, and nothing is taken, when
    /// some of them are under way.
    pub fn evict(&self, lane: usize, chunk: &Arc<ChunkFile>, segments: u32) -> Option<u64> {
        let mut queue = self.lanes[lane % self.lanes.len()].queue.lock().expect("lane lock");
        let here: u32 = queue.queued.iter().map(|q| q.segments_of(chunk)).sum();
        if here < segments {
            return None;
        }
        let gone = queue.take_out(|q| q.segments_of(chunk) > 0);
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
            let mut queue = lane.queue.lock().expect("lane lock");
            // The newest stays, however small the ring is.
            let mut left = queue.queued.len();
            let gone = queue.take_out(|q| {
                left -= 1;
                let Queued::Up(held) = q else { return false };
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

    /// What was taken out is not queued any more; gives its number of records.
    fn forget(&self, gone: &[Queued]) -> u64 {
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
            lane.queue.lock().expect("lane lock").closed = true;
            lane.arrived.notify_one();
        }
    }

    /// Nothing more is to be delivered from here: the lanes put back what is under way, and end.
    pub fn abandon(&self) {
        for lane in self.lanes.iter() {
            let mut queue = lane.queue.lock().expect("lane lock");
            (queue.closed, queue.abandoned) = (true, true);
            drop(queue);
            lane.arrived.notify_one();
            lane.abandoned.notify_waiters();
        }
    }

    /// Takes all that waits.
    pub fn take_all(&self) -> Vec<Queued> {
        let take = |lane: &Lane| lane.queue.lock().expect("lane lock").take_out(|_| true);
        let all: Vec<Queued> = self.lanes.iter().flat_map(take).collect();
        self.forget(&all);
        all
    }

    /// Number of lanes.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }
}

/// What a lane's loop needs to know.
pub struct Delivery {
    /// Name of the output in messages: `output:http:http.0`.
    pub component: String,
    /// The output.
    pub output: Arc<dyn Output>,
    /// Its counters.
    pub metrics: Arc<OutputMetrics>,
    /// Its lanes.
    pub lanes: Lanes,
    /// `Flush`.
    pub flush: Duration,
    /// `Retry_Limit`.
    pub retry_limit: RetryLimit,
    /// Who may attempt now, by `scheduler.base` and `scheduler.cap`.
    pub breaker: Breaker,
    /// Memory is short: deliver without waiting for `Flush`.
    pub pressure: Arc<Pressure>,
    /// Shared error counters of `/api/v1/health`.
    pub health: Arc<crate::health::Health>,
    /// What reads chunks back and keeps what is refused, and this output's number there.
    pub store: Option<(Arc<Store>, usize)>,
}

/// Tells the lanes that readers wait for memory.
#[derive(Default)]
pub struct Pressure {
    raised: AtomicBool,
    changed: Notify,
}

impl Pressure {
    /// Readers wait.
    pub fn raise(&self) {
        if !self.raised.swap(true, Relaxed) {
            self.changed.notify_waiters();
        }
    }

    /// Readers go on.
    pub fn clear(&self) {
        self.raised.store(false, Relaxed);
    }
}

/// A chunk under way: its segments, and what is told when they are delivered.
#[derive(Default)]
struct UnderWay {
    chunk: Chunk,
    acks: Vec<Ack>,
    charges: Vec<Charge>,
    /// Where buffers go back to.
    pool: Option<Arc<Pool>>,
    bytes: usize,
    records: u64,
}

/// What a look at a lane gives.
enum Look {
    Take(Taken),
    Wait,
    Closed,
}

/// What a lane gives.
enum Taken {
    /// Segments from memory.
    Up(UnderWay),
    /// A range to be read first.
    Down(Spilled),
}

impl Delivery {
    /// Delivers a lane's segments until it is closed and empty.
    pub async fn run(self: Arc<Self>, lane: usize) {
        while let Some(chunk) = self.gather(lane).await {
            self.metrics.busy_chunks.fetch_add(1, Relaxed);
            let mut under_way = Some(chunk);
            tokio::select! {
                biased;
                () = self.deliver(&mut under_way) => {}
                () = self.lanes.lanes[lane].abandoned() => {
                    under_way.into_iter().for_each(|way| self.put_back(lane, way));
                }
            }
            self.metrics.busy_chunks.fetch_sub(1, Relaxed);
        }
    }

    /// Waits until there is a chunk to deliver: enough bytes, `Flush` over, memory short, or closed.
    async fn gather(&self, lane: usize) -> Option<UnderWay> {
        let lane = &self.lanes.lanes[lane];
        let target = self.chunk_bytes();
        let mut due: Option<Instant> = None;
        loop {
            let pressure = self.pressure.changed.notified();
            match self.look(lane, target, &mut due) {
                Look::Take(Taken::Up(way)) => return Some(way),
                Look::Take(Taken::Down(spilled)) => match self.load(lane, spilled, target).await {
                    Some(way) => return Some(way),
                    None => continue,
                },
                Look::Closed => return None,
                Look::Wait => {}
            }
            tokio::select! {
                () = lane.arrived.notified() => {}
                () = pressure => {}
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
        }
    }

    /// How much a chunk holds: of a small disk limit, a part, so that what is under way leaves something to drop.
    fn chunk_bytes(&self) -> usize {
        let target = self.output.chunk_bytes_target();
        let limit = self.store.as_ref().and_then(|(store, output)| store.file_bytes(*output));
        limit.map_or(target, |limit| target.min(limit))
    }

    /// What there is to do now in a lane; `due` is when `Flush` is over for what waits there.
    fn look(&self, lane: &Lane, target: usize, due: &mut Option<Instant>) -> Look {
        let mut queue = lane.queue.lock().expect("lane lock");
        let hurry = queue.closed
            || queue.urgent
            || self.pressure.raised.load(Relaxed)
            || due.is_some_and(|d| d <= Instant::now());
        if queue.closed && !self.flushes_backlog() {
            let left = queue.take_out(|q| matches!(q, Queued::Down(spilled) if spilled.backlog));
            self.lanes.forget(&left);
        }
        if queue.abandoned {
            return Look::Closed;
        }
        if !queue.queued.is_empty() && (hurry || queue.bytes >= target) {
            return Look::Take(take(&mut queue, target));
        }
        if queue.closed {
            return Look::Closed;
        }
        if due.is_none() && !queue.queued.is_empty() {
            *due = Some(Instant::now() + self.flush);
        }
        Look::Wait
    }

    /// Attempts until a verdict ends it.
    async fn deliver(&self, under_way: &mut Option<UnderWay>) {
        while let Some(way) = under_way.as_mut() {
            let turn = self.turn().await;
            let open = way.open_records();
            let verdict = self.output.deliver(&mut way.chunk).await;
            // A final answer, or one about a part of the chunk, is a sign of life too.
            let lives = matches!(verdict, Verdict::Delivered { .. } | Verdict::Drop { .. });
            if (lives || way.open_records() < open) && self.breaker.succeeded() {
                self.metrics.circuit_open.store(0, Relaxed);
                log!(Info, self.component, "the destination answers again: all deliveries go on");
            }
            let given_up =
                matches!(verdict, Verdict::Retry { .. }) && self.retry_limit.reached(way.chunk.attempt);
            match verdict {
                Verdict::Retry { after, reason } if !given_up => {
                    self.pause(turn, way, after, &reason, "will try again").await;
                }
                Verdict::Hold { reason } => {
                    self.pause(turn, way, None, &reason, "holding; will probe").await;
                }
                last => {
                    let Some(way) = under_way.take() else { return };
                    self.end(turn, way, last);
                }
            }
        }
    }

    /// What comes of a chunk that is not tried again.
    fn end(&self, turn: Turn<'_>, way: UnderWay, verdict: Verdict) {
        match verdict {
            Verdict::Delivered { dropped } => self.delivered(way, dropped as u64),
            Verdict::Drop { reason } => {
                log!(Error, self.component, "dropped {} records: {reason}", way.open_records());
                self.metrics.errors.fetch_add(1, Relaxed);
                self.health.error();
                self.dropped(way, "refused", &reason);
            }
            Verdict::Retry { after, reason } => self.give_up(turn, way, after, &reason),
            Verdict::Hold { reason } => self.give_up(turn, way, None, &reason),
        }
    }

    /// Puts what is under way back to the front of its lane, without what is done of it. What is stored needs no place in
    /// memory.
    fn put_back(&self, lane: usize, way: UnderWay) {
        self.lanes.budget.give(way.bytes);
        self.metrics.queued_bytes.fetch_sub(way.bytes as u64, Relaxed);
        self.metrics.queued_records.fetch_sub(way.records, Relaxed);
        let Some(pool) = way.pool else { return };
        let mut first = 0;
        let mut back = Vec::new();
        let parts = way.chunk.segments.into_iter().zip(way.acks).zip(way.charges);
        for ((segment, ack), charge) in parts {
            let records = segment.records as usize;
            match open_part(segment, way.chunk.done.get(first..).unwrap_or_default()) {
                Some(segment) => back.push(Held { segment, ack, charge, pool: pool.clone() }),
                None => ack.accept(),
            }
            first += records;
        }
        let mut queue = self.lanes.lanes[lane].queue.lock().expect("lane lock");
        for held in back.into_iter().rev() {
            let queued = Queued::Up(held);
            let (bytes, records) = queued.size();
            self.lanes.budget.take(bytes);
            self.metrics.queued_bytes.fetch_add(bytes as u64, Relaxed);
            self.metrics.queued_records.fetch_add(records, Relaxed);
            queue.bytes += bytes;
            queue.queued.push_front(queued);
        }
    }

    /// Waits for the right to an attempt. Who asks for one attempt a chunk (`no_retries`) gets it at once.
    async fn turn(&self) -> Turn<'_> {
        match self.retry_limit {
            RetryLimit::Retries(0) => Turn::default(),
            _ => self.breaker.turn().await,
        }
    }

    /// Its retries are used up.
    fn give_up(&self, turn: Turn<'_>, way: UnderWay, after: Option<Duration>, reason: &str) {
        let attempts = way.chunk.attempt + 1;
        log!(
            Error,
            self.component,
            "gave up {} records after {attempts} attempts: {reason}",
            way.open_records()
        );
        if self.retry_limit != RetryLimit::Retries(0) {
            self.failed(turn, way.chunk.attempt, after, reason, None);
        }
        self.metrics.retries_failed.fetch_add(1, Relaxed);
        self.health.retry_failed();
        self.dropped(way, "retries_exhausted", reason);
    }

    /// Waits before the next attempt.
    async fn pause(
        &self,
        turn: Turn<'_>,
        way: &mut UnderWay,
        after: Option<Duration>,
        reason: &str,
        what: &str,
    ) {
        self.metrics.retries.fetch_add(1, Relaxed);
        self.metrics.retried_records.fetch_add(way.open_records(), Relaxed);
        let wait = self.failed(turn, way.chunk.attempt, after, reason, Some(what));
        way.chunk.attempt = way.chunk.attempt.saturating_add(1);
        if let Some(wait) = wait {
            self.breaker.pause(wait).await;
        }
    }

    /// Counts and tells a failed attempt; gives the wait of this chunk, where the breaker does not make it wait. `what`
    /// comes of the chunk.
    fn failed(
        &self,
        turn: Turn<'_>,
        attempt: u32,
        after: Option<Duration>,
        reason: &str,
        what: Option<&str>,
    ) -> Option<Duration> {
        // The same trouble over and over is told at rising distances: 1st, 2nd, 4th, 8th … attempt.
        let tell = |attempt: u32, wait: Duration| {
            if let Some(what) = what.filter(|_| (attempt + 1).is_power_of_two()) {
                let seconds = wait.as_secs_f64();
                log!(Warn, self.component, "{reason}; {what} in {seconds:.1} s (attempt {})", attempt + 1);
            }
        };
        match self.breaker.failed(turn, attempt, after) {
            Failed::Wait(wait) => {
                tell(attempt, wait);
                return Some(wait);
            }
            Failed::Opened(wait) => {
                self.metrics.circuit_open.store(1, Relaxed);
                self.metrics.circuit_opened.fetch_add(1, Relaxed);
                let seconds = wait.as_secs_f64();
                log!(
                    Warn,
                    self.component,
                    "{reason}; {FAILURES_MAX} failures in a row: all deliveries wait while one probes, next in {seconds:.1} s"
                );
            }
            Failed::Open { probe: Some((round, wait)) } => tell(round, wait),
            Failed::Open { probe: None } => {}
        }
        None
    }

    fn delivered(&self, way: UnderWay, dropped: u64) {
        self.metrics.proc_records.fetch_add(way.records - dropped.min(way.records), Relaxed);
        self.metrics.proc_bytes.fetch_add(way.bytes as u64, Relaxed);
        self.metrics.last_delivery.store(crate::shards::now().secs as u64, Relaxed);
        for ack in &way.acks {
            let (input, took) = ack.origin();
            self.metrics.latency.observe(input, took);
        }
        way.count_routed(&self.metrics, true);
        if dropped > 0 {
            self.metrics.drop_records("rejected", dropped);
        }
        if way.chunk.attempt > 0 {
            log!(Info, self.component, "delivered after {} attempts", way.chunk.attempt + 1);
        }
        self.done(way);
    }

    fn dropped(&self, way: UnderWay, cause: &'static str, reason: &str) {
        self.metrics.drop_records(cause, way.open_records());
        way.count_routed(&self.metrics, false);
        self.keep(way, reason);
    }

    /// Acknowledges and gives everything back.
    fn done(&self, way: UnderWay) {
        self.lanes.budget.give(way.bytes);
        self.metrics.queued_bytes.fetch_sub(way.bytes as u64, Relaxed);
        self.metrics.queued_records.fetch_sub(way.records, Relaxed);
        for segment in way.chunk.segments {
            if let Some(pool) = &way.pool {
                pool.give(segment.bytes);
            }
        }
        drop(way.charges);
        way.acks.into_iter().for_each(Ack::accept);
    }

    /// What was recovered is delivered while stopping, too.
    fn flushes_backlog(&self) -> bool {
        self.store.as_ref().is_some_and(|(store, _)| store.settings.flush_backlog)
    }

    /// Reads the first part of a range back; the rest stays at the front of its lane. `None` when there is nothing to
    /// deliver of it now.
    async fn load(&self, lane: &Lane, spilled: Spilled, target: usize) -> Option<UnderWay> {
        let (store, _) = self.store.as_ref()?;
        // What is not in memory is not charged: this chunk is what the reserve below the share is for.
        let (reader, limit) = (store.clone(), target.min(self.lanes.budget.limit()));
        let read = tokio::task::spawn_blocking(move || {
            let loaded = reader.load(&spilled, limit);
            (spilled, loaded)
        });
        let Ok((spilled, loaded)) = read.await else { return None };
        let back = |spilled: Spilled| {
            let mut queue = lane.queue.lock().expect("lane lock");
            queue.bytes += spilled.bytes as usize;
            queue.queued.push_front(Queued::Down(spilled));
        };
        match loaded {
            Ok(Loaded { segments, ack, rest }) => {
                let mut way = UnderWay { acks: vec![ack], ..UnderWay::default() };
                way.bytes = segments.iter().map(|s| s.bytes.len()).sum();
                way.records = segments.iter().map(|s| u64::from(s.records)).sum();
                way.chunk.segments = segments;
                way.charges.push(store.charge(way.bytes));
                self.lanes.budget.take(way.bytes);
                rest.into_iter().for_each(back);
                Some(way)
            }
            Err(LoadError::Damaged) => {
                log!(
                    Error,
                    self.component,
                    "{} does not hold what was written: {} records are dropped",
                    spilled.chunk.path.display(),
                    spilled.records
                );
                store.give_up(&spilled);
                self.metrics.drop_records("damaged", spilled.records);
                self.lanes.forget(&[Queued::Down(spilled)]);
                None
            }
            Err(LoadError::Io(error)) => {
                let path = spilled.chunk.path.display();
                log!(Error, self.component, "cannot read {path}: {error}; will try again in {READ_AGAIN:?}");
                back(spilled);
                tokio::time::sleep(READ_AGAIN).await;
                None
            }
        }
    }

    /// Keeps aside what is left of a refused chunk, then acknowledges it.
    fn keep(&self, mut way: UnderWay, reason: &str) {
        let keeper = self.store.as_ref().filter(|(store, _)| store.settings.keep_rejected);
        if let Some((store, output)) = keeper {
            let segments = open_parts(std::mem::take(&mut way.chunk));
            if !segments.is_empty() {
                store.reject(*output, segments, reason.to_owned(), std::mem::take(&mut way.acks));
            }
        }
        self.done(way);
    }
}

impl UnderWay {
    /// Counts what it holds by the input that it comes from. What was read back from disk is of one input.
    fn count_routed(&self, metrics: &OutputMetrics, delivered: bool) {
        let segments = &self.chunk.segments;
        for (n, ack) in self.acks.iter().enumerate() {
            let of_ack = if self.acks.len() == segments.len() { &segments[n..=n] } else { &segments[..] };
            let records = of_ack.iter().map(|s| u64::from(s.records)).sum();
            let bytes = of_ack.iter().map(|s| s.bytes.len() as u64).sum();
            metrics.routed.count(ack.origin().0, records, bytes, delivered);
        }
    }

    /// Records that are neither accepted nor dropped yet.
    fn open_records(&self) -> u64 {
        self.records - self.chunk.done.iter().filter(|d| **d).count() as u64
    }
}

/// How long to wait after a chunk could not be read.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// Takes segments off a queue that is not empty: at least one, then up to `target` bytes; or the range at its front.
fn take(queue: &mut LaneQueue, target: usize) -> Taken {
    let mut way = UnderWay::default();
    while let Some(next) = queue.queued.pop_front() {
        match next {
            Queued::Down(spilled) if way.acks.is_empty() => {
                queue.bytes -= spilled.bytes as usize;
                return Taken::Down(spilled);
            }
            Queued::Up(Held { segment, ack, charge, pool })
                if way.bytes == 0 || way.bytes + segment.bytes.len() <= target =>
            {
                way.bytes += segment.bytes.len();
                way.records += u64::from(segment.records);
                way.chunk.segments.push(segment);
                way.acks.push(ack);
                way.charges.push(charge);
                way.pool = Some(pool);
            }
            next => {
                queue.queued.push_front(next);
                break;
            }
        }
    }
    queue.bytes -= way.bytes;
    queue.urgent &= !queue.queued.is_empty();
    Taken::Up(way)
}

/// The segments of a chunk without the records that are done; whole segments where they have no index.
fn open_parts(chunk: Chunk) -> Vec<Segment> {
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
