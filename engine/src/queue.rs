//! Queues: segments between a job and their delivery, and the loop that delivers them.
//!
//! Owns: lanes, flush times, retries, what a verdict leads to. Never: looks into a segment's bytes.
//! Invariants: what is queued holds a charge; segments leave a lane in the order they came; every segment is
//! acknowledged, or given up and told.

use crate::breaker::{Breaker, FAILURES_MAX, Failed, Turn};
use crate::budget::{Budget, Pool};
use crate::log;
use crate::metrics::OutputMetrics;
use crate::retry::RetryLimit;
use crate::shards::Ack;
use outputs::segment::{Chunk, Segment};
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
    budgets: [Arc<Budget>; 2],
    released: Arc<dyn Fn() + Send + Sync>,
}

impl Charge {
    /// A charge that is already taken from both budgets; `released` is called after they got it back.
    pub fn taken(bytes: usize, budgets: [Arc<Budget>; 2], released: Arc<dyn Fn() + Send + Sync>) -> Charge {
        Charge { bytes, budgets, released }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budgets.iter().for_each(|b| b.give(self.bytes));
        (self.released)();
    }
}

/// A segment in a queue.
pub struct Queued {
    /// What is to be delivered.
    pub segment: Segment,
    /// Told when it is.
    pub ack: Ack,
    /// What it holds of the budgets.
    pub charge: Charge,
    /// Where its buffer goes back to.
    pub pool: Arc<Pool>,
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
}

#[derive(Default)]
struct LaneQueue {
    queued: VecDeque<Queued>,
    bytes: usize,
    closed: bool,
    /// A sender waits for something in it.
    urgent: bool,
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
        let bytes = queued.segment.bytes.len();
        self.budget.take(bytes);
        self.metrics.queued_bytes.fetch_add(bytes as u64, Relaxed);
        self.metrics.queued_records.fetch_add(u64::from(queued.segment.records), Relaxed);
        let mut queue = lane.queue.lock().expect("lane lock");
        queue.bytes += bytes;
        queue.urgent |= queued.ack.urgent();
        queue.queued.push_back(queued);
        drop(queue);
        lane.arrived.notify_one();
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
struct UnderWay {
    chunk: Chunk,
    rest: Vec<(Ack, Charge, Arc<Pool>)>,
    bytes: usize,
    records: u64,
}

impl Delivery {
    /// Delivers a lane's segments until it is closed and empty.
    pub async fn run(self: Arc<Self>, lane: usize) {
        while let Some(chunk) = self.gather(lane).await {
            self.metrics.busy_chunks.fetch_add(1, Relaxed);
            self.deliver(chunk).await;
            self.metrics.busy_chunks.fetch_sub(1, Relaxed);
        }
    }

    /// Waits until there is a chunk to deliver: enough bytes, `Flush` over, memory short, or closed.
    async fn gather(&self, lane: usize) -> Option<UnderWay> {
        let lane = &self.lanes.lanes[lane];
        let target = self.output.chunk_bytes_target();
        let mut due: Option<Instant> = None;
        loop {
            let pressure = self.pressure.changed.notified();
            {
                let mut queue = lane.queue.lock().expect("lane lock");
                let hurry = queue.closed
                    || queue.urgent
                    || self.pressure.raised.load(Relaxed)
                    || due.is_some_and(|d| d <= Instant::now());
                if !queue.queued.is_empty() && (hurry || queue.bytes >= target) {
                    return Some(take(&mut queue, target));
                }
                if queue.closed {
                    return None;
                }
                if due.is_none() && !queue.queued.is_empty() {
                    due = Some(Instant::now() + self.flush);
                }
            }
            tokio::select! {
                () = lane.arrived.notified() => {}
                () = pressure => {}
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
        }
    }

    /// Attempts until a verdict ends it.
    async fn deliver(&self, mut way: UnderWay) {
        loop {
            let turn = self.turn().await;
            let open = way.open_records();
            let verdict = self.output.deliver(&mut way.chunk).await;
            // A final answer, or one about a part of the chunk, is a sign of life too.
            let lives = matches!(verdict, Verdict::Delivered { .. } | Verdict::Drop { .. });
            if (lives || way.open_records() < open) && self.breaker.succeeded() {
                self.metrics.circuit_open.store(0, Relaxed);
                log!(Info, self.component, "the destination answers again: all deliveries go on");
            }
            match verdict {
                Verdict::Delivered { dropped } => return self.delivered(way, dropped as u64),
                Verdict::Drop { reason } => {
                    log!(Error, self.component, "dropped {} records: {reason}", way.open_records());
                    self.metrics.errors.fetch_add(1, Relaxed);
                    self.health.error();
                    return self.dropped(way, "refused");
                }
                Verdict::Retry { after, reason } => {
                    if self.retry_limit.reached(way.chunk.attempt) {
                        return self.give_up(turn, way, after, &reason);
                    }
                    self.pause(turn, &mut way, after, &reason, "will try again").await;
                }
                Verdict::Hold { reason } => {
                    self.pause(turn, &mut way, None, &reason, "holding; will probe").await;
                }
            }
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
        self.dropped(way, "retries_exhausted");
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
            tokio::time::sleep(wait).await;
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
        for (ack, ..) in &way.rest {
            let (input, took) = ack.origin();
            self.metrics.latency.observe(input, took);
        }
        if dropped > 0 {
            self.metrics.drop_records("rejected", dropped);
        }
        if way.chunk.attempt > 0 {
            log!(Info, self.component, "delivered after {} attempts", way.chunk.attempt + 1);
        }
        self.done(way);
    }

    fn dropped(&self, way: UnderWay, cause: &'static str) {
        self.metrics.drop_records(cause, way.open_records());
        self.done(way);
    }

    /// Acknowledges and gives everything back.
    fn done(&self, way: UnderWay) {
        self.lanes.budget.give(way.bytes);
        self.metrics.queued_bytes.fetch_sub(way.bytes as u64, Relaxed);
        self.metrics.queued_records.fetch_sub(way.records, Relaxed);
        for (segment, (ack, charge, pool)) in way.chunk.segments.into_iter().zip(way.rest) {
            pool.give(segment.bytes);
            drop(charge);
            ack.accept();
        }
    }
}

impl UnderWay {
    /// Records that are neither accepted nor dropped yet.
    fn open_records(&self) -> u64 {
        self.records - self.chunk.done.iter().filter(|d| **d).count() as u64
    }
}

/// Takes segments off a queue: at least one, then up to `target` bytes.
fn take(queue: &mut LaneQueue, target: usize) -> UnderWay {
    let mut way = UnderWay { chunk: Chunk::default(), rest: Vec::new(), bytes: 0, records: 0 };
    while let Some(next) = queue.queued.front() {
        if way.bytes > 0 && way.bytes + next.segment.bytes.len() > target {
            break;
        }
        let Some(Queued { segment, ack, charge, pool }) = queue.queued.pop_front() else { break };
        way.bytes += segment.bytes.len();
        way.records += u64::from(segment.records);
        way.chunk.segments.push(segment);
        way.rest.push((ack, charge, pool));
    }
    queue.bytes -= way.bytes;
    queue.urgent &= !queue.queued.is_empty();
    way
}
