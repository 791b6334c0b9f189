//! The loop that delivers what waits in the lanes of an output.
//!
//! Owns: flush times, retries, what a verdict leads to. Never: looks into a segment's bytes, decides who may attempt now.
//! Invariant: every segment is acknowledged, or given up and told.

use crate::breaker::{Breaker, FAILURES_MAX, Failed, Turn};
use crate::log;
use crate::metrics::OutputMetrics;
use crate::queue::{Lane, Lanes, Queued};
use crate::retry::RetryLimit;
use crate::shards::Ack;
use crate::storage::{LoadError, Loaded, Spilled, Store};
use crate::under_way::{Taken, UnderWay, open_parts, take};
use outputs::{Output, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

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
    /// Memory is short: deliver without waiting for `Flush`.
    pub pressure: Arc<Pressure>,
    /// Shared error counters of `/api/v1/health`.
    pub health: Arc<crate::health::Health>,
    /// What reads chunks back and keeps what is refused, and this output's number there.
    pub store: Option<(Arc<Store>, usize)>,
    /// How often what waited for a dead destination was given up because memory was short.
    pub made_room: AtomicU64,
}

/// What comes of a chunk after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is tried again.
    Again,
    /// It is held until somebody mends what is wrong, however long that takes.
    Held,
    /// It is given up.
    Gone,
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

/// What a look at a lane gives.
enum Look {
    Take(Taken),
    Wait,
    Closed,
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
                () = self.lanes.all()[lane].abandoned() => {
                    under_way.into_iter().for_each(|way| self.put_back(lane, way));
                }
            }
            self.metrics.busy_chunks.fetch_sub(1, Relaxed);
        }
    }

    /// Waits until there is a chunk to deliver: enough bytes, `Flush` over, memory short, or closed.
    async fn gather(&self, lane: usize) -> Option<UnderWay> {
        let lane = &self.lanes.all()[lane];
        let target = self.chunk_bytes();
        let mut due: Option<Instant> = None;
        loop {
            let pressure = self.pressure.changed.notified();
            match self.look(lane, target, &mut due) {
                Look::Take(Taken::Up(way)) => return Some(way),
                Look::Take(Taken::Down(spilled, since)) => {
                    match self.load(lane, spilled, since, target).await {
                        Some(way) => return Some(way),
                        None => continue,
                    }
                }
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
        let mut queue = lane.queue();
        let hurry = queue.closed
            || queue.urgent
            || self.pressure.raised.load(Relaxed)
            || due.is_some_and(|d| d <= Instant::now());
        if queue.closed && !self.flushes_backlog() {
            let left = queue.take_out(|w| matches!(&w.queued, Queued::Down(spilled) if spilled.backlog));
            self.lanes.forget(&left);
        }
        if queue.abandoned {
            return Look::Closed;
        }
        if !queue.waiting.is_empty() && (hurry || queue.bytes >= target) {
            return Look::Take(take(&mut queue, target));
        }
        if queue.closed {
            return Look::Closed;
        }
        match queue.waiting.is_empty() {
            true => *due = None,
            false => *due = due.or_else(|| Some(Instant::now() + self.flush)),
        }
        // The first that comes starts the clock.
        queue.wanted = if due.is_some() { target } else { 0 };
        Look::Wait
    }

    /// Attempts until a verdict ends it.
    async fn deliver(&self, under_way: &mut Option<UnderWay>) {
        while let Some(way) = under_way.as_mut() {
            let turn = self.turn().await;
            let (open, began) = (way.open_records(), Instant::now());
            let verdict = self.output.deliver(&mut way.chunk).await;
            self.tell_attempt(way, &verdict, began.elapsed());
            // A final answer, or one about a part of the chunk, is a sign of life too.
            let lives = matches!(verdict, Verdict::Delivered { .. } | Verdict::Drop { .. });
            if (lives || way.open_records() < open) && self.breaker().succeeded() {
                self.closed();
                log!(Info, self.component, "the destination answers again: all deliveries go on");
            }
            let given_up = matches!(verdict, Verdict::Retry { .. }) && self.is_last(way, &turn);
            match verdict {
                Verdict::Retry { after, reason } if !given_up => {
                    self.pause(turn, way, after, &reason, Next::Again).await;
                }
                Verdict::Hold { reason } => {
                    self.pause(turn, way, None, &reason, Next::Held).await;
                }
                last => {
                    let Some(way) = under_way.take() else { return };
                    self.end(turn, way, last);
                }
            }
        }
    }

    fn tell_attempt(&self, way: &UnderWay, verdict: &Verdict, took: Duration) {
        let answer = match verdict {
            Verdict::Delivered { .. } => "delivered",
            Verdict::Retry { .. } => "to be repeated",
            Verdict::Hold { .. } => "held",
            Verdict::Drop { .. } => "refused",
        };
        let (records, bytes, attempt) = (way.records, way.bytes, way.chunk.attempt + 1);
        log!(
            Debug,
            self.component,
            "{records} records, {bytes} bytes: {answer} in {took:.1?} (attempt {attempt})"
        );
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
        self.lanes.budget().give(way.bytes);
        self.metrics.queued_bytes.fetch_sub(way.bytes as u64, Relaxed);
        self.metrics.queued_records.fetch_sub(way.records, Relaxed);
        let since = way.since;
        for held in way.into_open().into_iter().flatten().rev() {
            self.lanes.put_back(lane, Queued::Up(held), since);
        }
    }

    fn breaker(&self) -> &Breaker {
        self.lanes.breaker()
    }

    /// Waits for the right to an attempt. Who asks for one attempt a chunk (`no_retries`) gets it at once. With a limit, what is
    /// queued behind makes room when memory gets short.
    async fn turn(&self) -> Turn<'_> {
        match self.retry_limit {
            RetryLimit::Retries(0) => Turn::default(),
            RetryLimit::Unset | RetryLimit::Unlimited => self.breaker().turn().await,
            RetryLimit::Retries(_) => {
                let turn = self.breaker().turn();
                tokio::pin!(turn);
                loop {
                    let pressure = self.pressure.changed.notified();
                    tokio::pin!(pressure);
                    pressure.as_mut().enable();
                    if self.pressure.raised.load(Relaxed) {
                        self.give_up_expired("it is probed");
                    }
                    tokio::select! {
                        turn = &mut turn => return turn,
                        () = pressure => {}
                    }
                }
            }
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
            self.failed(turn, way.chunk.attempt, after, reason, Next::Gone);
        }
        self.retry_failed();
        self.dropped(way, "retries_exhausted", reason);
    }

    fn retry_failed(&self) {
        self.metrics.retries_failed.fetch_add(1, Relaxed);
        self.health.retry_failed();
    }

    /// True when as many probes failed, since so many misses and with so many more, as a chunk has attempts. A probe stands
    /// for an attempt of all that waits: otherwise a dead destination would hold what it is bound to lose, and the input
    /// with it.
    fn is_expired(&self, since: u64, more: u64) -> bool {
        self.retry_limit.attempts().is_some_and(|attempts| self.breaker().missed(since) + more >= attempts)
    }

    /// True when a failed attempt was the last one of its chunk. While the program stops none is: what is in the `DB` or on
    /// disk goes on after the next start.
    fn is_last(&self, way: &UnderWay, turn: &Turn<'_>) -> bool {
        let once = self.retry_limit == RetryLimit::Retries(0);
        let used_up = self.retry_limit.reached(way.chunk.attempt)
            || self.is_expired(way.since, u64::from(turn.is_probe()));
        used_up && (once || !self.breaker().is_stopping())
    }

    /// Gives up what is expired in memory. What is on disk is in nobody's way: it is given up when its turn comes.
    fn give_up_expired(&self, reason: &str) {
        // What came since has had no attempt, but would be the reason why other outputs get nothing.
        let in_the_way =
            self.pressure.raised.load(Relaxed) && self.breaker().is_open() && self.is_expired(0, 0);
        let mut way = UnderWay::default();
        for lane in self.lanes.all() {
            let old = lane.queue().take_out(|w| {
                matches!(w.queued, Queued::Up(_)) && (in_the_way || self.is_expired(w.since, 0))
            });
            for queued in old {
                if let Queued::Up(held) = queued {
                    way.add(held);
                }
            }
        }
        if way.acks.is_empty() {
            return;
        }
        // Under load this comes with each filling of the memory: it is told at rising distances.
        let told = !in_the_way || (self.made_room.fetch_add(1, Relaxed) + 1).is_power_of_two();
        if told {
            let records = way.open_records();
            let why = if in_the_way { "memory is short, and " } else { "" };
            let probes = self.retry_limit.attempts().unwrap_or_default();
            log!(
                Error,
                self.component,
                "gave up {records} records that waited: {why}the last {probes} attempts at the destination failed: {reason}"
            );
        }
        self.retry_failed();
        self.dropped(way, "retries_exhausted", reason);
    }

    /// Waits before the next attempt.
    async fn pause(
        &self,
        turn: Turn<'_>,
        way: &mut UnderWay,
        after: Option<Duration>,
        reason: &str,
        next: Next,
    ) {
        self.metrics.retries.fetch_add(1, Relaxed);
        self.metrics.retried_records.fetch_add(way.open_records(), Relaxed);
        if self.retry_limit.held(way.chunk.attempt) {
            self.retry_failed();
        }
        let wait = self.failed(turn, way.chunk.attempt, after, reason, next);
        way.chunk.attempt = way.chunk.attempt.saturating_add(1);
        if let Some(wait) = wait {
            self.breaker().pause(wait).await;
        }
    }

    /// Counts and tells a failed attempt; gives the wait of this chunk, where the breaker does not make it wait.
    fn failed(
        &self,
        turn: Turn<'_>,
        attempt: u32,
        after: Option<Duration>,
        reason: &str,
        next: Next,
    ) -> Option<Duration> {
        // The same trouble over and over is told at rising distances: 1st, 2nd, 4th, 8th … time.
        let tell = |what: &str, number: u32, wait: Duration| {
            let next = match next {
                Next::Again => "will try again",
                Next::Held => "holding; will probe",
                Next::Gone => return,
            };
            if number.is_power_of_two() {
                let seconds = wait.as_secs_f64();
                log!(Warn, self.component, "{reason}; {next} in {seconds:.1} s ({what} {number})");
            }
        };
        match self.breaker().failed(turn, attempt, after, next != Next::Held) {
            Failed::Wait(wait) => {
                tell("attempt", attempt.saturating_add(1), wait);
                return Some(wait);
            }
            Failed::Opened(wait) => {
                self.metrics.circuit_opened.fetch_add(1, Relaxed);
                self.opened();
                let seconds = wait.as_secs_f64();
                log!(
                    Warn,
                    self.component,
                    "{reason}; {FAILURES_MAX} failures in a row: all deliveries wait while one probes, next in {seconds:.1} s"
                );
            }
            Failed::Open { probe: Some((round, wait)) } => {
                tell("probe", round, wait);
                self.give_up_expired(reason);
            }
            Failed::Open { probe: None } => {}
        }
        None
    }

    /// Shows that nothing is attempted but probes. `no_limits` says that this is as good as it gets; so it does in Fluent Bit.
    fn opened(&self) {
        self.metrics.circuit_open.store(1, Relaxed);
        if self.retry_limit != RetryLimit::Unlimited {
            self.health.holds(&self.component);
        }
        // Another lane may have closed it meanwhile.
        if !self.breaker().is_open() {
            self.closed();
        }
    }

    fn closed(&self) {
        self.metrics.circuit_open.store(0, Relaxed);
        self.health.delivers(&self.component);
    }

    fn delivered(&self, way: UnderWay, dropped: u64) {
        let accepted = way.records - dropped.min(way.records);
        self.metrics.proc_records.fetch_add(accepted, Relaxed);
        self.metrics.proc_bytes.fetch_add(way.share(accepted), Relaxed);
        if accepted == 0 && dropped > 0 {
            self.metrics.errors.fetch_add(1, Relaxed);
            self.health.error();
        }
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
        let open = way.open_records();
        let accepted = way.records - open;
        self.metrics.drop_records(cause, open);
        self.metrics.proc_records.fetch_add(accepted, Relaxed);
        self.metrics.proc_bytes.fetch_add(way.share(accepted), Relaxed);
        way.count_routed(&self.metrics, false);
        self.keep(way, reason);
    }

    /// Acknowledges and gives everything back.
    fn done(&self, way: UnderWay) {
        self.lanes.budget().give(way.bytes);
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
    async fn load(&self, lane: &Lane, spilled: Spilled, since: u64, target: usize) -> Option<UnderWay> {
        let (store, _) = self.store.as_ref()?;
        // What is not in memory is not charged: this chunk is what the reserve below the share is for.
        let (reader, limit) = (store.clone(), target.min(self.lanes.budget().limit()));
        let read = tokio::task::spawn_blocking(move || {
            let loaded = reader.load(&spilled, limit);
            (spilled, loaded)
        });
        let Ok((spilled, loaded)) = read.await else { return None };
        let back = |spilled: Spilled| lane.queue().push_front(Queued::Down(spilled), since);
        match loaded {
            Ok(Loaded { segments, ack, rest }) => {
                let mut way = UnderWay { acks: vec![ack], since, ..UnderWay::default() };
                way.bytes = segments.iter().map(|s| s.bytes.len()).sum();
                way.records = segments.iter().map(|s| u64::from(s.records)).sum();
                way.chunk.segments = segments;
                way.charges.push(store.charge(way.bytes));
                self.lanes.budget().take(way.bytes);
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

/// How long to wait after a chunk could not be read.
const READ_AGAIN: Duration = Duration::from_secs(5);
