//! Shards: runs jobs on the workers and keeps order per source.
//!
//! Owns: sources, the order of their jobs, what is committed of them, and a record's walk inside a job.
//! Never: reads files, blocks a worker on I/O.
//! Invariants: jobs of one source leave in the order of `submit`; a position is committed only when everything before
//! it is accepted, or dropped and counted, by every output that it was routed to; a decoder with state has one job of a
//! source under way at a time.

use crate::budget::Pool;
use crate::decode::SourceState;
use crate::filters::{FilterContext, Outcome};
use crate::inputs::InputShared;
use crate::inputs::shared::Buffer;
use crate::job::{Block, Position, SourceInfo};
use crate::pipeline::{JobCounters, Pipeline, Route, Survival};
use crate::queue::{Charge, Queued};
use crate::random::Random;
use crate::storage::{ChunkFile, Held, Stored};
use bumpalo::Bump;
use codecs::record::{Record, Timestamp};
use outputs::segment::Segment;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes of a block that a decoder sees at once: its records' arena then stays in the second-level cache.
const SLICE_BYTES: usize = 16 * 1024;

/// An open source.
pub struct Source {
    /// What the input said of it.
    pub info: SourceInfo,
    input: Arc<InputShared>,
    route: Arc<Route>,
    order: Mutex<Order>,
    commits: Mutex<Commits>,
    state: Mutex<SourceState>,
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
            // `input:tail:tail.0`
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
        matches!(&self.0, Some(Share::Ticket(ticket)) if ticket.source.info.cursor.is_none())
    }

    /// What nobody waits for.
    pub fn nobody() -> Ack {
        Ack(None)
    }

    /// True when it comes from this input's memory.
    pub fn is_from(&self, input: &InputShared) -> bool {
        matches!(&self.0, Some(Share::Ticket(ticket)) if std::ptr::eq(&*ticket.source.input, input))
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
        let route = pipeline.route(&info.tag);
        Arc::new(Source {
            info,
            input,
            route,
            order: Mutex::default(),
            commits: Mutex::default(),
            state: Mutex::default(),
            waiting: Mutex::default(),
            flush_scheduled: AtomicBool::new(false),
            last_end: Mutex::default(),
        })
    }

    /// True while an output that this source is routed to has no room.
    pub fn blocked(&self) -> bool {
        let pipeline = &self.input.pipeline;
        !self.input.buffer.takes_all()
            && self.route.outputs.iter().any(|&n| !pipeline.outputs[n].lanes.has_room())
    }

    /// Hands a block (or, without one, the order to flush) to the workers.
    pub fn submit(self: &Arc<Self>, block: Option<Block>, end: Position, charge: Option<Charge>) {
        let sequence = {
            let mut commits = self.commits.lock().expect("commit lock");
            commits.jobs.push_back(None);
            commits.submitted += 1;
            commits.submitted - 1
        };
        *self.last_end.lock().expect("end lock") = end;
        self.input.job_started();
        let job = Job { sequence, block, end, charge };
        if !self.input.decoder.stateful() {
            let source = self.clone();
            self.input.workers.spawn_fifo(move || source.run(job));
            return;
        }
        let mut waiting = self.waiting.lock().expect("source lock");
        waiting.jobs.push_back(job);
        if !std::mem::replace(&mut waiting.running, true) {
            let source = self.clone();
            self.input.workers.spawn_fifo(move || source.run_waiting());
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
        if self.input.decoder.stateful() {
            let end = *self.last_end.lock().expect("end lock");
            self.submit(None, end, None);
        }
    }

    fn pending(&self) -> Option<Position> {
        let end = *self.last_end.lock().expect("end lock");
        self.state.lock().expect("source state lock").pending(end)
    }

    /// Takes the unfinished value of a stream whose jobs are all through, for whoever goes on with the stream.
    pub fn take_partial(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.lock().expect("source state lock").partial)
    }

    /// Runs one waiting job, then makes way for other sources.
    fn run_waiting(self: Arc<Self>) {
        let job = self.waiting.lock().expect("source lock").jobs.pop_front();
        if let Some(job) = job {
            self.run(job);
        }
        let mut waiting = self.waiting.lock().expect("source lock");
        waiting.running = !waiting.jobs.is_empty();
        if waiting.running {
            let source = self.clone();
            self.input.workers.spawn_fifo(move || source.run_waiting());
        }
    }

    fn run(self: &Arc<Self>, job: Job) {
        let expected = job.block.as_ref().map_or(0, |b| b.bytes().len() + b.bytes().len() / 2);
        let mut sinks = vec![Sink::new(self.route.clone(), &self.input.segments, expected)];
        let (pending, counters) = WORKER.with_borrow_mut(|worker| self.decode(&job, worker, &mut sinks));
        counters.add_to(&self.input.metrics);
        let end = pending.map_or(job.end, |position| position.min(job.end));
        if let Some(block) = job.block {
            self.input.blocks.give(block.buffer);
        }
        self.finish(job.sequence, end, sinks);
        drop(job.charge);
        if pending.is_some() {
            self.input.flush_later(self);
        }
    }

    /// Runs the decoder over the block, slice by slice; gives the position of the oldest line that is still pending.
    fn decode(
        &self,
        job: &Job,
        worker: &mut Worker,
        sinks: &mut Vec<Sink>,
    ) -> (Option<Position>, JobCounters) {
        let decoder = &*self.input.decoder;
        let mut state = decoder.stateful().then(|| self.state.lock().expect("source state lock"));
        let mut counters = JobCounters::default();
        let now = now();
        let mut run = |bytes: Option<&[u8]>, position: Position, counters: &mut JobCounters| {
            worker.arena.reset();
            let mut run = JobRun {
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
                state: state.as_deref_mut(),
            };
            match bytes {
                Some(bytes) => decoder.decode(bytes, position, &self.info, &mut run),
                None => decoder.flush(&self.info, &mut run),
            }
        };
        match &job.block {
            None => run(None, job.end, &mut counters),
            Some(block) => {
                let (bytes, mut at) = (block.bytes(), 0);
                while at < bytes.len() {
                    let len = slice_len(&bytes[at..], decoder.lines());
                    let position = Position { offset: block.position.offset + at as u64, ..block.position };
                    run(Some(&bytes[at..at + len]), position, &mut counters);
                    at += len;
                }
                counters.bytes += bytes.len() as u64;
            }
        }
        (state.as_ref().and_then(|s| s.pending(job.end)), counters)
    }

    /// Queues what the job made once all jobs before it have done so.
    fn finish(self: &Arc<Self>, sequence: u64, end: Position, sinks: Vec<Sink>) {
        let filled = sinks.iter().flat_map(|s| &s.segments).filter(|s| s.records > 0).count();
        let ticket = Arc::new(Ticket {
            source: self.clone(),
            sequence,
            end,
            // One more for this function, so that nothing is acknowledged before all is queued.
            open: AtomicUsize::new(filled + 1),
            made: std::time::Instant::now(),
            abandoned: AtomicBool::new(false),
        });
        let mut queued = Vec::with_capacity(filled);
        for sink in sinks {
            sink.count(&self.input.pipeline);
            for (segment, &output) in sink.segments.into_iter().zip(&sink.route.outputs) {
                if segment.records == 0 {
                    self.input.segments.give(segment.bytes);
                    continue;
                }
                let charge = self.input.charge(segment.bytes.len() + size_of_val(&*segment.events));
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
            order.finished.insert(sequence, queued);
            // Sending under the lock keeps the order between workers that finish at once.
            while let Some(ready) = {
                let next = order.next;
                order.finished.remove(&next)
            } {
                order.next += 1;
                for (output, lane, held) in ready {
                    self.queue(output, lane, held);
                }
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
        if let (Some(position), Some(cursor)) = (reached, &self.info.cursor) {
            cursor.committed(position);
        }
        drop(commits);
        self.input.job_ended();
    }
}

/// How many bytes to give a decoder at once: whole lines where it wants them.
fn slice_len(bytes: &[u8], lines: bool) -> usize {
    if !lines || bytes.len() <= SLICE_BYTES {
        return bytes.len();
    }
    match codecs::lines::whole_lines(&bytes[..SLICE_BYTES]) {
        0 => memchr::memchr(b'\n', &bytes[SLICE_BYTES..]).map_or(bytes.len(), |n| SLICE_BYTES + n + 1),
        len => len,
    }
}

/// Wall-clock time.
pub fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: now.as_secs() as i64, nanos: now.subsec_nanos() }
}

/// What a worker keeps between jobs.
#[derive(Default)]
struct Worker {
    arena: Bump,
    parsing: codecs::parsers::Scratch,
    grouping: codecs::multiline::Scratch,
    text: Vec<u8>,
    random: Random,
}

thread_local! {
    static WORKER: RefCell<Worker> = RefCell::default();
}

/// What a job makes for one tag: the source's own, and those that records were re-tagged to.
struct Sink {
    route: Arc<Route>,
    /// One for each output of the route.
    segments: Vec<Segment>,
    /// For each filter of the route: records that came, and records that it dropped. Shared counters are added to once
    /// a job, so that workers do not fight for their cache lines.
    filters: Vec<(u64, u64)>,
}

impl Sink {
    /// Segments with room for `expected` bytes.
    fn new(route: Arc<Route>, pool: &Pool, expected: usize) -> Sink {
        let segment = |_| Segment { bytes: pool.take(expected), ..Segment::new(route.tag.clone()) };
        let segments = route.outputs.iter().map(segment).collect();
        let filters = vec![(0, 0); route.filters.len()];
        Sink { route, segments, filters }
    }

    fn count(&self, pipeline: &Pipeline) {
        for (&n, (records, dropped)) in self.route.filters.iter().zip(&self.filters) {
            pipeline.filters[n].metrics.records.fetch_add(*records, Ordering::Relaxed);
            pipeline.filters[n].metrics.dropped.fetch_add(*dropped, Ordering::Relaxed);
        }
    }
}

/// How often a record may be re-tagged; beyond that it stays as it is, and a warning tells of the loop.
const RETAG_MAX: usize = 16;

/// One running job, as its decoder sees it.
pub struct JobRun<'j> {
    arena: &'j Bump,
    /// Scratch space of the worker for the parsers.
    pub parsing: &'j mut codecs::parsers::Scratch,
    /// Scratch space of the worker for multi-line rules.
    pub grouping: &'j mut codecs::multiline::Scratch,
    text: &'j mut Vec<u8>,
    random: &'j mut Random,
    /// When the job began: the time of records that have none.
    pub now: Timestamp,
    counters: &'j mut JobCounters,
    pipeline: &'j Pipeline,
    pool: &'j Pool,
    /// The source's own tag first.
    sinks: &'j mut Vec<Sink>,
    state: Option<&'j mut SourceState>,
}

impl<'j> JobRun<'j> {
    /// Where records of this job live; it is reset when `decode` returns.
    pub fn arena(&self) -> &'j Bump {
        self.arena
    }

    /// Takes the source's state (there for decoders that are `stateful`), so that it can be used beside `emit`; put it
    /// back with [`JobRun::restore`].
    pub fn take_state(&mut self) -> Option<&'j mut SourceState> {
        self.state.take()
    }

    /// Puts the state back.
    pub fn restore(&mut self, state: &'j mut SourceState) {
        self.state = Some(state);
    }

    /// An empty record with the job's time.
    pub fn record(&self) -> Record<'j> {
        Record::new_in(self.arena, self.now)
    }

    /// Counts a piece of input that no record could be made of.
    pub fn count_invalid(&mut self) {
        self.counters.invalid += 1;
    }

    /// Counts multi-line records that were cut at their limit.
    pub fn count_truncated(&mut self, records: u64) {
        self.counters.truncated += records;
    }

    /// What a line must hold to survive the first filter of this tag, where that is known.
    pub fn survival(&self) -> Option<Arc<Survival>> {
        self.sinks[0].route.survival.clone()
    }

    /// Counts lines that [`JobRun::survival`] rules out, as if they had become records that the first filter drops.
    pub fn skip(&mut self, lines: u64) {
        self.counters.records += lines;
        let (came, dropped) = &mut self.sinks[0].filters[0];
        (*came, *dropped) = (*came + lines, *dropped + lines);
    }

    /// Sends a record through the filters and into the outputs' segments.
    pub fn emit(&mut self, record: Record<'j>) {
        self.counters.records += 1;
        self.walk(0, record, 0);
    }

    fn walk(&mut self, sink: usize, mut record: Record<'j>, retagged: usize) {
        let pipeline = self.pipeline;
        for at in 0..self.sinks[sink].filters.len() {
            let instance = &pipeline.filters[self.sinks[sink].route.filters[at]];
            self.sinks[sink].filters[at].0 += 1;
            let mut context = FilterContext {
                arena: self.arena,
                tag: &self.sinks[sink].route.tag,
                parsing: self.parsing,
                text: self.text,
                random: self.random,
                now: self.now,
            };
            match instance.filter.apply(&mut record, &mut context) {
                Outcome::Keep => {}
                Outcome::Drop => {
                    self.sinks[sink].filters[at].1 += 1;
                    return;
                }
                Outcome::Retag { tag, keep } if retagged < RETAG_MAX => {
                    instance.metrics.added.fetch_add(1, Ordering::Relaxed);
                    let copy = Record { time: record.time, fields: record.fields.clone() };
                    let target = self.sink(tag);
                    self.walk(target, copy, retagged + 1);
                    if !keep {
                        self.sinks[sink].filters[at].1 += 1;
                        return;
                    }
                }
                Outcome::Retag { .. } => instance.loops(),
            }
        }
        let Sink { route, segments, .. } = &mut self.sinks[sink];
        for (segment, &n) in segments.iter_mut().zip(&route.outputs) {
            let instance = &pipeline.outputs[n];
            if instance.output.encode(&route.tag, &record, self.arena, segment) {
                segment.records += 1;
            } else {
                instance.lanes.metrics().drop_records("cannot_encode", 1);
            }
        }
    }

    /// The sink of a tag.
    fn sink(&mut self, tag: &str) -> usize {
        let known = self.sinks.iter().position(|s| *s.route.tag == *tag);
        known.unwrap_or_else(|| {
            self.sinks.push(Sink::new(self.pipeline.route(tag), self.pool, 0));
            self.sinks.len() - 1
        })
    }
}
