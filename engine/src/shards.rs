//! Shards: runs jobs on the workers and keeps order per source.
//!
//! Owns: sources, the order of their jobs, what is committed of them.
//! Never: reads files, blocks a worker on I/O.
//! Invariants: jobs of one source leave in the order of `submit`; a position is committed only when everything before
//! it is accepted, or dropped and counted, by every output that it was routed to; a source that a decoder or a filter
//! holds something back of has one job under way at a time; filters with one state for all are met in the order of
//! `submit`, whatever the source.

use crate::decode::{SourceState, mark, position_of, slice_len};
use crate::filters::Holding;
use crate::inputs::InputShared;
use crate::inputs::shared::Buffer;
use crate::job::{Block, Position, SourceInfo};
use crate::log;
use crate::pipeline::{JobCounters, Pipeline, Reach, Route};
use crate::queue::{Charge, Queued};
use crate::serial::Turn;
use crate::storage::{ChunkFile, Held, Stored};
use crate::walk::{Later, Sink};
use crate::workspace::{LARGE_BLOCK_BYTES, Workspace};
use codecs::record::Timestamp;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub use crate::walk::JobRun;

/// An open source.
pub struct Source {
    /// What the input said of it.
    pub info: SourceInfo,
    input: Arc<InputShared>,
    route: Arc<Route>,
    order: Mutex<Order>,
    commits: Mutex<Commits>,
    /// What its decoder holds back, where it does.
    state: Mutex<Option<Box<SourceState>>>,
    /// What the filters on its way ask of it.
    reach: Reach,
    /// What they hold back.
    holding: Mutex<Holding>,
    waiting: Mutex<Waiting>,
    /// Set while a flush is scheduled.
    flush_scheduled: AtomicBool,
    /// Where the last submitted block ended.
    last_end: Mutex<Position>,
}

/// Jobs of a source whose decoder has state: the one that runs takes the next.
#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    running: bool,
}

/// Finished jobs that wait for an earlier one.
#[derive(Default)]
struct Order {
    next: u64,
    finished: BTreeMap<u64, Vec<(usize, usize, Held)>>,
}

/// What is acknowledged of a source.
#[derive(Default)]
struct Commits {
    submitted: u64,
    /// The job that the front of `jobs` is.
    first: u64,
    /// For each job from `first` on, where it ends, once it is acknowledged.
    jobs: VecDeque<Option<Position>>,
}

/// A block on its way, or (without a block) the order to flush what is pending.
struct Job {
    sequence: u64,
    block: Option<Block>,
    end: Position,
    charge: Option<Charge>,
}

/// A job that went as far as it could: without the serial stage, or without what a filter asked for.
struct Early {
    job: Job,
    sinks: Vec<Sink>,
    later: Later,
    /// It was the order to flush.
    flushes: bool,
    /// Position of the oldest line that the decoder holds back.
    pending: Option<Position>,
    /// It ended in an internal error.
    failed: bool,
}

/// What is done once a job is through.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    /// The next job of its source runs.
    Next,
    /// The serial stage is handed over.
    Leave(u64),
}

/// Counts down the segments of a job; the last one acknowledges it.
pub struct Ticket {
    source: Arc<Source>,
    sequence: u64,
    end: Position,
    open: AtomicUsize,
    /// When its records were made.
    made: std::time::Instant,
    /// Set when a segment was given up undelivered (at the end of the program): the job is never acknowledged.
    abandoned: AtomicBool,
}

impl Ticket {
    /// One segment less; `accepted` is false when it was neither delivered nor counted as dropped.
    fn close(self: &Arc<Self>, accepted: bool) {
        if !accepted {
            self.abandoned.store(true, Ordering::Relaxed);
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            if self.abandoned.load(Ordering::Relaxed) {
                self.source.input.job_ended();
            } else {
                self.source.acknowledge(self.sequence, self.end);
            }
        }
    }
}

/// A segment's part in its job's acknowledgement, or, once it is stored, its part of a chunk file. Dropping it without
/// [`Ack::accept`] gives the segment up.
pub struct Ack(Option<Share>);

enum Share {
    Ticket(Arc<Ticket>),
    Stored(Stored),
}

impl Ack {
    /// Name of the input that the segment comes from, and how long ago its records were made.
    pub fn origin(&self) -> (&str, std::time::Duration) {
        match &self.0 {
            None => ("", std::time::Duration::ZERO),
            Some(Share::Stored(stored)) => stored.origin(),
            Some(Share::Ticket(ticket)) => (ticket.source.input.name(), ticket.made.elapsed()),
        }
    }

    /// What is on disk until it is accepted.
    pub fn stored(stored: Stored) -> Ack {
        Ack(Some(Share::Stored(stored)))
    }

    /// True when it is a part of this chunk file.
    pub fn is_of(&self, chunk: &Arc<ChunkFile>) -> bool {
        matches!(&self.0, Some(Share::Stored(stored)) if stored.is_of(chunk))
    }

    /// True when what it stands for survives the end of the program.
    pub fn is_stored(&self) -> bool {
        matches!(&self.0, Some(Share::Stored(_)))
    }

    /// True when what it stands for is nowhere but in memory: its source cannot be read again.
    pub fn is_only_copy(&self) -> bool {
        matches!(&self.0, Some(Share::Ticket(ticket)) if !ticket.source.rereadable())
    }

    /// What nobody waits for.
    pub fn nobody() -> Ack {
        Ack(None)
    }

    /// True when it comes from this input's memory.
    pub fn is_from(&self, input: &InputShared) -> bool {
        matches!(&self.0, Some(Share::Ticket(ticket)) if std::ptr::eq(&*ticket.source.input, input))
    }

    /// True while a sender waits for this segment.
    pub fn urgent(&self) -> bool {
        let Some(Share::Ticket(ticket)) = &self.0 else { return false };
        ticket.source.info.cursor.as_ref().is_some_and(|cursor| cursor.urgent())
    }

    /// The segment is delivered, or dropped and counted.
    pub fn accept(mut self) {
        match self.0.take() {
            Some(Share::Ticket(ticket)) => ticket.close(true),
            Some(Share::Stored(stored)) => stored.accept(),
            None => {}
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        // What is stored stays where it is.
        if let Some(Share::Ticket(ticket)) = self.0.take() {
            ticket.close(false);
        }
    }
}

impl Source {
    /// A source of an input.
    pub fn new(info: SourceInfo, input: Arc<InputShared>, pipeline: &Pipeline) -> Arc<Source> {
        let route = pipeline.source_route(&info.tag, &input.processors);
        let reach = pipeline.reach(&route, input.decoder.tags_records());
        Arc::new(Source {
            info,
            input,
            route,
            order: Mutex::default(),
            commits: Mutex::default(),
            state: Mutex::default(),
            reach,
            holding: Mutex::default(),
            waiting: Mutex::default(),
            flush_scheduled: AtomicBool::new(false),
            last_end: Mutex::default(),
        })
    }

    /// True when what is not committed of it is read again by the next configuration.
    fn rereadable(&self) -> bool {
        self.info.cursor.as_ref().is_some_and(|cursor| cursor.rereadable())
    }

    /// True while an output that this source is routed to has no room.
    pub fn blocked(&self) -> bool {
        let pipeline = &self.input.pipeline;
        !self.input.buffer.takes_all()
            && self.route.outputs.iter().any(|&n| !pipeline.outputs[n].lanes.has_room())
    }

    /// True when something of a block may wait for a later one: its jobs run one after the other, and it is flushed.
    pub fn stateful(&self) -> bool {
        self.input.decoder.stateful() || self.reach.holds_ms.is_some()
    }

    /// Milliseconds after which what is held back is flushed.
    pub fn flush_ms(&self) -> u64 {
        let decoder = Some(self.input.decoder.flush_ms()).filter(|_| self.input.decoder.stateful());
        decoder.into_iter().chain(self.reach.holds_ms).min().unwrap_or(u64::MAX)
    }

    /// Hands a block (or, without one, the order to flush) to the workers.
    pub fn submit(self: &Arc<Self>, block: Option<Block>, end: Position, charge: Option<Charge>) {
        let (sequence, turn) = {
            let mut commits = self.commits.lock().expect("commit lock");
            commits.jobs.push_back(None);
            commits.submitted += 1;
            // Tickets of one source rise as its jobs do.
            let turn = self.reach.serial.then(|| self.input.pipeline.serial.ticket());
            (commits.submitted - 1, turn)
        };
        *self.last_end.lock().expect("end lock") = end;
        self.input.job_started();
        let bytes = block.as_ref().map_or(0, |block| block.bytes().len());
        let job = Job { sequence, block, end, charge };
        let source = self.clone();
        if let Some(turn) = turn {
            self.input.workers.spawn(bytes, move || source.run_in_turn(job, turn));
            return;
        }
        if !self.stateful() {
            self.input.workers.spawn(bytes, move || source.run(job, Then::Nothing));
            return;
        }
        let mut waiting = self.waiting.lock().expect("source lock");
        waiting.jobs.push_back(job);
        if !std::mem::replace(&mut waiting.running, true) {
            self.input.workers.spawn(bytes, move || source.run_waiting());
        }
    }

    /// Runs a job that may meet the serial stage. When its turn is not yet, it goes as far as it can, and the rest of
    /// its way waits; a source that holds something back waits as a whole.
    fn run_in_turn(self: Arc<Self>, job: Job, turn: u64) {
        let serial = &self.input.pipeline.serial;
        if serial.enter(turn) {
            return self.run(job, Then::Leave(turn));
        }
        let source = self.clone();
        let work: Turn = match self.stateful() {
            true => Box::new(move || source.run(job, Then::Leave(turn))),
            false => {
                let early = self.run_early(job);
                Box::new(move || source.run_late(early, Then::Leave(turn)))
            }
        };
        if let Some(work) = serial.arrive(turn, work) {
            work();
        }
    }

    /// Hands the serial stage over.
    fn leave(&self, turn: u64) {
        if let Some(next) = self.input.pipeline.serial.leave(turn) {
            // A serial filter is slow: it counts for more than its bytes.
            self.input.workers.spawn(LARGE_BLOCK_BYTES, next);
        }
    }

    /// Marks a flush as scheduled; gives the position of what is to be flushed, or `None` when one is scheduled already.
    pub(crate) fn schedule_flush(&self) -> Option<Position> {
        if self.flush_scheduled.swap(true, Ordering::AcqRel) {
            return None;
        }
        let pending = self.pending();
        if pending.is_none() {
            self.flush_scheduled.store(false, Ordering::Release);
        }
        pending
    }

    /// The time of a scheduled flush has come: flushes when what was pending then is pending still, else looks again
    /// later.
    pub(crate) fn flush_due(self: &Arc<Self>, was: Position) {
        self.flush_scheduled.store(false, Ordering::Release);
        match self.pending() {
            Some(now) if now == was => self.flush_pending(),
            Some(_) => self.input.flush_later(self),
            None => {}
        }
    }

    /// Emits what is held back, behind all jobs that were submitted before.
    pub(crate) fn flush_pending(self: &Arc<Self>) {
        if self.stateful() {
            let end = *self.last_end.lock().expect("end lock");
            self.submit(None, end, None);
        }
    }

    fn pending(&self) -> Option<Position> {
        let end = *self.last_end.lock().expect("end lock");
        let decoder = self.state.lock().expect("source state lock").as_ref().and_then(|s| s.pending(end));
        let filters = self.holding.lock().expect("holding lock").oldest().map(|m| position_of(m, end));
        decoder.into_iter().chain(filters).min()
    }

    /// Takes the unfinished value of a stream whose jobs are all through, for whoever goes on with the stream.
    pub fn take_partial(&self) -> Vec<u8> {
        let mut state = self.state.lock().expect("source state lock");
        state.as_mut().map(|s| std::mem::take(&mut s.partial)).unwrap_or_default()
    }

    /// Runs one waiting job, then makes way for other sources.
    fn run_waiting(self: Arc<Self>) {
        let job = self.waiting.lock().expect("source lock").jobs.pop_front();
        match job {
            Some(job) => self.run(job, Then::Next),
            None => self.run_next(),
        }
    }

    /// Whatever waits behind a job that is through.
    fn go_on(self: &Arc<Self>, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Next => self.run_next(),
            Then::Leave(turn) => self.leave(turn),
        }
    }

    fn run_next(self: &Arc<Self>) {
        let mut waiting = self.waiting.lock().expect("source lock");
        waiting.running = !waiting.jobs.is_empty();
        if waiting.running {
            let source = self.clone();
            let next = waiting.jobs.front().and_then(|job| job.block.as_ref()).map_or(0, |b| b.bytes().len());
            self.input.workers.spawn(next, move || source.run_waiting());
        }
    }

    fn run(self: &Arc<Self>, mut job: Job, then: Then) {
        let (mut sinks, mut later) = (self.sinks(&job), self.reach.waits.then(Later::default));
        let decoded =
            self.guarded(&job, &mut sinks, |worker, sinks| self.decode(&job, worker, sinks, later.as_mut()));
        let failed = decoded.is_none();
        let (pending, counters) = decoded.unwrap_or_default();
        counters.add_to(&self.input.metrics);
        let flushes = job.block.is_none();
        self.give_block(&mut job);
        let early = Early { job, sinks, later: later.unwrap_or_default(), flushes, pending, failed };
        self.run_out(early, then);
    }

    /// Decodes, and leaves what meets the serial stage for its turn.
    fn run_early(&self, mut job: Job) -> Early {
        let (mut sinks, mut later) = (self.sinks(&job), Later::early());
        let decoded = self
            .guarded(&job, &mut sinks, |worker, sinks| self.decode(&job, worker, sinks, Some(&mut later)));
        let failed = decoded.is_none();
        if failed {
            later = Later::default();
        }
        let (pending, counters) = decoded.unwrap_or_default();
        counters.add_to(&self.input.metrics);
        let flushes = job.block.is_none();
        self.give_block(&mut job);
        Early { job, sinks, later, flushes, pending, failed }
    }

    /// It is the job's turn in the serial stage, or what it waited for is there.
    fn run_late(self: &Arc<Self>, early: Early, then: Then) {
        let Early { job, mut sinks, later, flushes, pending, failed } = early;
        let (mut counters, now) = (JobCounters::default(), now());
        let mut again = self.reach.waits.then(Later::default);
        let resumed = self.guarded(&job, &mut sinks, |worker, sinks| {
            let mut holding = self.reach.holds_ms.map(|_| self.holding.lock().expect("holding lock"));
            let mut at = 0;
            for (n, &cut) in later.cuts.iter().enumerate() {
                worker.arena.reset();
                let mut run = JobRun {
                    holding: holding.as_deref_mut(),
                    later: again.as_mut(),
                    ..self.job_run(worker, sinks, &mut counters, now)
                };
                run.resume(&later.bytes[at..cut]);
                if run.holding.is_some() && n + 1 == later.cuts.len() {
                    run.let_go(flushes);
                }
                if let Some(again) = &mut again {
                    again.cuts.push(again.bytes.len());
                }
                at = cut;
            }
        });
        let failed = failed || resumed.is_none();
        let again = again.unwrap_or_default();
        self.run_out(Early { job, sinks, later: again, flushes, pending, failed }, then);
    }

    /// The end of a job's run: it leaves, or waits for what a filter asked for.
    fn run_out(self: &Arc<Self>, mut early: Early, then: Then) {
        if let Some(awaited) = early.later.awaited().filter(|_| !early.failed) {
            let (source, bytes) = (self.clone(), early.later.bytes.len());
            return awaited.then(Box::new(move || {
                let workers = source.input.workers.clone();
                workers.spawn(bytes, move || source.run_late(early, then));
            }));
        }
        let Early { job, sinks, pending, failed, .. } = early;
        let held = || {
            let oldest = self.holding.lock().expect("holding lock").oldest();
            oldest.map(|mark| position_of(mark, job.end))
        };
        let held = if self.reach.holds_ms.is_some() { held() } else { None };
        let pending = pending.into_iter().chain(held).min();
        let end = pending.map_or(job.end, |position| position.min(job.end));
        self.finish(job.sequence, end, sinks, failed);
        drop(job.charge);
        if pending.is_some() {
            self.input.flush_later(self);
        }
        self.go_on(then);
    }

    /// Runs a part of a job. `None` after a panic in a decoder, filter or encoder: it is told and counted, what the job
    /// made is forgotten, and its position will not be committed; the source goes on with the next job.
    fn guarded<R>(
        &self,
        job: &Job,
        sinks: &mut Vec<Sink>,
        part: impl FnOnce(&mut Workspace, &mut Vec<Sink>) -> R,
    ) -> Option<R> {
        let run = std::panic::AssertUnwindSafe(|| {
            WORKER.with_borrow_mut(|worker| {
                let result = part(worker, sinks);
                worker.trim(job.block.as_ref().map_or(0, |b| b.bytes().len()));
                result
            })
        });
        let result = std::panic::catch_unwind(run).ok();
        if result.is_none() {
            // What the panic left half done: none of it is used again.
            WORKER.take();
            sinks.clear();
            self.state.clear_poison();
            self.holding.clear_poison();
            *self.state.lock().expect("source state lock") = None;
            *self.holding.lock().expect("holding lock") = Holding::default();
            self.tell_failure(job);
        }
        result
    }

    /// The same trouble over and over is told at rising distances.
    fn tell_failure(&self, job: &Job) {
        let failed = self.input.metrics.failed_jobs.fetch_add(1, Ordering::Relaxed) + 1;
        if failed.is_power_of_two() {
            let from = job.block.as_ref().map_or(job.end, |b| b.position).offset;
            log!(
                Error,
                self.input.component,
                "internal error in {} at bytes {from} to {}: none of them is delivered; the offset stays before them: a restart reads them again ({failed} such errors so far)",
                self.info.path.as_deref().unwrap_or(&self.info.tag),
                job.end.offset
            );
        }
    }

    fn sinks(&self, job: &Job) -> Vec<Sink> {
        let expected = job.block.as_ref().map_or(0, |b| b.bytes().len() + b.bytes().len() / 2);
        vec![Sink::new(self.route.clone(), &self.input.segments, expected)]
    }

    /// The block was read; its charge stays with what was made of it until the job is queued.
    fn give_block(&self, job: &mut Job) {
        if let Some(block) = job.block.take() {
            self.input.blocks.give(block.buffer);
        }
    }

    /// A job's way through the pipeline, without anything that is held back.
    fn job_run<'j>(
        &'j self,
        worker: &'j mut Workspace,
        sinks: &'j mut Vec<Sink>,
        counters: &'j mut JobCounters,
        now: Timestamp,
    ) -> JobRun<'j> {
        JobRun {
            arena: &worker.arena,
            parsing: &mut worker.parsing,
            grouping: &mut worker.grouping,
            text: &mut worker.text,
            random: &mut worker.random,
            now,
            counters,
            pipeline: &self.input.pipeline,
            pool: &self.input.segments,
            sinks,
            state: None,
            holding: None,
            later: None,
            mark: 0,
            pod: None,
        }
    }

    /// Runs the decoder over the block, slice by slice; gives the position of the oldest line that it holds back.
    fn decode(
        &self,
        job: &Job,
        worker: &mut Workspace,
        sinks: &mut Vec<Sink>,
        mut later: Option<&mut Later>,
    ) -> (Option<Position>, JobCounters) {
        let decoder = &*self.input.decoder;
        let mut state = decoder.stateful().then(|| self.state.lock().expect("source state lock"));
        let mut holding = self.reach.holds_ms.map(|_| self.holding.lock().expect("holding lock"));
        let mut counters = JobCounters::default();
        let now = now();
        let mut run = |bytes: Option<&[u8]>, position: Position, last: bool, counters: &mut JobCounters| {
            worker.arena.reset();
            // What the decoder held back may be older than the bytes that set it free.
            let oldest = state.as_ref().and_then(|s| s.as_ref()?.pending(job.end));
            let mut run = JobRun {
                state: state.as_mut().map(|s| &mut **s.get_or_insert_default()),
                holding: holding.as_deref_mut(),
                later: later.as_deref_mut(),
                mark: mark(oldest.map_or(position, |o| o.min(position))),
                ..self.job_run(worker, sinks, counters, now)
            };
            match bytes {
                Some(bytes) => decoder.decode(bytes, position, &self.info, &mut run),
                None => decoder.flush(&self.info, &mut run),
            }
            if run.holding.is_some() && last {
                run.let_go(bytes.is_none());
            }
            if let Some(later) = &mut later {
                later.cuts.push(later.bytes.len());
            }
        };
        match &job.block {
            None => run(None, job.end, true, &mut counters),
            Some(block) => {
                let (bytes, mut at) = (block.bytes(), 0);
                while at < bytes.len() {
                    let len = slice_len(&bytes[at..], decoder.lines(), self.info.charset);
                    let position = Position { offset: block.position.offset + at as u64, ..block.position };
                    run(Some(&bytes[at..at + len]), position, at + len == bytes.len(), &mut counters);
                    at += len;
                }
                counters.bytes += bytes.len() as u64;
            }
        }
        (state.as_ref().and_then(|s| s.as_ref()?.pending(job.end)), counters)
    }

    /// Queues what the job made once all jobs before it have done so.
    ///
    /// A job that failed leaves nothing, and is never acknowledged: what is not committed is read again after a restart.
    fn finish(self: &Arc<Self>, sequence: u64, end: Position, sinks: Vec<Sink>, failed: bool) {
        let filled = sinks.iter().flat_map(|s| &s.segments).filter(|s| s.records > 0).count();
        let ticket = Arc::new(Ticket {
            source: self.clone(),
            sequence,
            end,
            // One more for this function, so that nothing is acknowledged before all is queued.
            open: AtomicUsize::new(filled + 1),
            made: std::time::Instant::now(),
            abandoned: AtomicBool::new(failed),
        });
        let mut queued = Vec::with_capacity(filled);
        for sink in sinks {
            sink.count(&self.input.pipeline);
            for (mut segment, &output) in sink.segments.into_iter().zip(&sink.route.outputs) {
                if segment.records == 0 {
                    self.input.segments.give(segment.bytes);
                    continue;
                }
                segment.bytes = fitted(segment.bytes, &self.input.segments);
                let index = segment.events.capacity() * size_of::<outputs::segment::Event>();
                let charge = self.input.charge(
                    segment.bytes.len() + size_of_val(&*segment.events),
                    segment.bytes.capacity() + index,
                );
                let pool = self.input.segments.clone();
                queued.push((
                    output,
                    sink.route.lane,
                    Held { segment, ack: Ack(Some(Share::Ticket(ticket.clone()))), charge, pool },
                ));
            }
        }
        {
            let mut order = self.order.lock().expect("order lock");
            // Most jobs come in their order: those need no place to wait.
            let mut ready = Some(queued);
            if order.next != sequence {
                order.finished.extend(ready.take().map(|queued| (sequence, queued)));
            }
            // Sending under the lock keeps the order between workers that finish at once: outside of it, a worker that
            // took job 1 out could be overtaken by one that sends job 2. A lane's own lock is held for a push only.
            while let Some(held) = ready {
                for (output, lane, held) in held {
                    self.queue(output, lane, held);
                }
                order.next += 1;
                let next = order.next;
                ready = order.finished.remove(&next);
            }
            if order.finished.is_empty() {
                // An empty map keeps a node, of each source.
                order.finished = BTreeMap::new();
            }
        }
        // In this order: once all is decoded and delivered, all is acknowledged.
        ticket.close(true);
        self.input.job_decoded();
    }

    /// Hands a segment to its output's lane, by way of the disk where this input is stored.
    fn queue(&self, output: usize, lane: usize, held: Held) {
        let lanes = &self.input.pipeline.outputs[output].lanes;
        match &self.input.buffer {
            Buffer::Memory => lanes.send(lane, Queued::Up(held)),
            Buffer::Disk { store, keep_up } => store.put(output, lane, held, *keep_up),
            Buffer::Ring { bytes } => {
                lanes.send(lane, Queued::Up(held));
                lanes.drop_oldest_of(&self.input, *bytes);
            }
        }
    }

    /// A job is done with: commits the prefix that is.
    fn acknowledge(&self, sequence: u64, end: Position) {
        let mut commits = self.commits.lock().expect("commit lock");
        let at = (sequence - commits.first) as usize;
        commits.jobs[at] = Some(end);
        let mut reached = None;
        while let Some(Some(end)) = commits.jobs.front().copied() {
            commits.jobs.pop_front();
            commits.first += 1;
            reached = Some(end);
        }
        if commits.jobs.is_empty() {
            // Most sources of many are idle.
            commits.jobs = VecDeque::new();
        }
        if let (Some(position), Some(cursor)) = (reached, &self.info.cursor) {
            cursor.committed(position);
        }
        drop(commits);
        self.input.job_ended();
    }
}

/// Wall-clock time.
pub fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: now.as_secs() as i64, nanos: now.subsec_nanos() }
}

/// The bytes in a buffer that is not much larger than they are: a segment may wait for long.
fn fitted(bytes: Vec<u8>, pool: &crate::budget::Pool) -> Vec<u8> {
    if bytes.capacity() <= 2 * bytes.len() + FITS_SLACK {
        return bytes;
    }
    let fitted = bytes[..].to_vec();
    pool.give(bytes);
    fitted
}

/// So much of a segment's buffer may be empty, however little is in it.
const FITS_SLACK: usize = 4096;

thread_local! {
    static WORKER: RefCell<Workspace> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, Pool};
    use crate::decode::Decoder;
    use crate::inputs::shared::Common;
    use crate::inputs::{Engine, Source};
    use crate::job::Cursor;

    /// Panics at a block that begins with `!`.
    struct Fragile(bool);

    impl Decoder for Fragile {
        fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, _: &mut JobRun<'j>) {
            assert!(block[0] != b'!', "as asked");
        }

        fn stateful(&self) -> bool {
            self.0
        }
    }

    #[derive(Default)]
    struct Last(Mutex<Option<Position>>);

    impl Cursor for Last {
        fn committed(&self, position: Position) {
            *self.0.lock().expect("cursor lock") = Some(position);
        }
    }

    fn submit(input: &InputShared, source: &Source, bytes: &[u8], offset: u64) -> Position {
        assert!(input.admit(bytes.len()));
        let at = |offset| Position { file: 0, offset };
        let end = at(offset + bytes.len() as u64);
        let buffer = bytes.to_vec().into_boxed_slice().into_vec();
        input.submit(source, Block { start: 0, end: bytes.len(), buffer, position: at(offset) }, end);
        end
    }

    #[test]
    fn after_a_panic_the_source_goes_on_and_nothing_behind_it_is_committed() {
        for stateful in [false, true] {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            let common = Common {
                pipeline: Arc::new(Pipeline::new(Vec::new(), 0, Vec::new())),
                workers: Arc::new(crate::workers::Workers::new(2, || ()).expect("workers")),
                runtime: runtime.handle().clone(),
                blocks: Arc::new(Pool::new(1, 1 << 20)),
                segments: Arc::new(Pool::new(1, 1 << 20)),
                budget: Budget::new(1 << 20),
                pressure: Arc::default(),
                control: Arc::default(),
                handover: None,
            };
            let decoder = Arc::new(Fragile(stateful));
            let name = "input:x:x.0".to_owned();
            let metrics: Arc<crate::metrics::InputMetrics> = Arc::default();
            let input =
                InputShared::new(name, decoder, Vec::new(), None, Buffer::Memory, metrics.clone(), &common)
                    .expect("an eventfd");
            let cursor = Arc::new(Last::default());
            let source = input.open(SourceInfo {
                tag: "t".into(),
                path: None,
                charset: Default::default(),
                cursor: Some(cursor.clone()),
            });
            let first = submit(&input, &source, b"fine\n", 0);
            submit(&input, &source, b"!\n", 5);
            submit(&input, &source, b"fine again\n", 7);
            let began = std::time::Instant::now();
            while !(input.decoded() && common.budget.used() == 0) {
                assert!(began.elapsed().as_secs() < 60, "{} bytes are not given back", common.budget.used());
                std::thread::yield_now();
            }
            assert_eq!(*cursor.0.lock().expect("cursor lock"), Some(first));
            assert_eq!(metrics.failed_jobs.load(Ordering::Relaxed), 1);
            assert_eq!(source.order.lock().expect("order lock").next, 3, "the third job left, too");
        }
    }

    #[test]
    fn a_segment_does_not_keep_a_buffer_much_larger_than_it_is() {
        let pool = Pool::new(2, 1 << 20);
        let mut large = Vec::with_capacity(300_000);
        large.extend_from_slice(b"little");
        let kept = fitted(large, &pool);
        assert!(kept == b"little" && kept.capacity() < 100, "{}", kept.capacity());
        assert!(pool.take(200_000).capacity() >= 300_000, "the large one waits for its next use");
        let full = fitted(vec![1; 100_000], &pool);
        assert_eq!(full.len(), 100_000);
    }
}
