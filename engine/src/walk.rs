//! A record's walk inside a job: filters, then each output's own processors, then their wire forms.
//!
//! Owns: the order of filters, re-tagging, what is made of a record on its way. Never: schedules a job, keeps a record.
//! Invariant: a record is in one place: in a segment, held back by a filter, left for the serial stage, or counted.

use crate::budget::Pool;
use crate::decode::SourceState;
use crate::filters::kubernetes::Seen;
use crate::filters::{Awaited, FilterContext, Holding, Outcome, Stage};
use crate::pipeline::{FilterInstance, JobCounters, Pipeline, Route, Survival};
use crate::random::Random;
use bumpalo::Bump;
use codecs::BumpVec;
use codecs::record::{Record, Timestamp};
use outputs::segment::Segment;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often a record may be re-tagged; beyond that it stays as it is, and a warning tells of the loop.
const RETAG_MAX: u32 = 16;

/// What a job makes for one tag: the source's own, and those that records were re-tagged to.
pub struct Sink {
    pub(crate) route: Arc<Route>,
    /// One for each output of the route.
    pub(crate) segments: Vec<Segment>,
    /// For each filter of the route: records that came, and records that it dropped. Shared counters are added to once
    /// a job, so that workers do not fight for their cache lines.
    filters: Vec<(u64, u64)>,
}

impl Sink {
    /// Segments with room for `expected` bytes.
    pub(crate) fn new(route: Arc<Route>, pool: &Pool, expected: usize) -> Sink {
        let segment = |_| Segment { bytes: pool.take(expected), ..Segment::new(route.tag.clone()) };
        let segments = route.outputs.iter().map(segment).collect();
        let filters = vec![(0, 0); route.filters.len()];
        Sink { route, segments, filters }
    }

    pub(crate) fn count(&self, pipeline: &Pipeline) {
        for (&n, (records, dropped)) in self.route.filters.iter().zip(&self.filters) {
            pipeline.filters[n].metrics.records.fetch_add(*records, Ordering::Relaxed);
            pipeline.filters[n].metrics.dropped.fetch_add(*dropped, Ordering::Relaxed);
        }
    }
}

/// Where a record is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the sink: its tag.
    pub(crate) sink: u32,
    /// Behind the filters: the number of the output in the route, plus 1, whose processors it goes through.
    pub(crate) output: u32,
    /// Number of the next filter of the route, or of the output's next processor.
    pub(crate) at: u32,
    /// How often it was re-tagged.
    pub(crate) retagged: u32,
    /// Filters of the route before this one that hold records back are passed by.
    pub(crate) passed: u32,
    /// The filter that gave it its tag, plus 1: that one it does not meet again, as in Fluent Bit.
    pub(crate) emitter: u32,
}

/// Whether a record meets a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    Now,
    /// It passes it by.
    Never,
    /// It was left for later.
    Later,
}

/// One running job, as its decoder sees it.
pub struct JobRun<'j> {
    pub(crate) arena: &'j Bump,
    /// Scratch space of the worker for the parsers.
    pub parsing: &'j mut codecs::parsers::Scratch,
    /// Scratch space of the worker for multi-line rules.
    pub grouping: &'j mut codecs::multiline::Scratch,
    pub(crate) text: &'j mut Vec<u8>,
    pub(crate) random: &'j mut Random,
    /// When the job began: the time of records that have none.
    pub now: Timestamp,
    pub(crate) counters: &'j mut JobCounters,
    pub(crate) pipeline: &'j Pipeline,
    pub(crate) pool: &'j Pool,
    /// The source's own tag first.
    pub(crate) sinks: &'j mut Vec<Sink>,
    pub(crate) state: Option<&'j mut SourceState>,
    /// What filters hold back of the source, where one of them does.
    pub(crate) holding: Option<&'j mut Holding>,
    /// What has to wait: for this job's turn in the serial stage, or for what a filter asked for.
    pub(crate) later: Option<&'j mut Later>,
    /// Mark of the place in the source that records come from.
    pub(crate) mark: u64,
    /// What `kubernetes` knows of the pod that the last record came from.
    pub(crate) pod: Option<Seen<'j>>,
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

    /// Counts lines in which something became U+FFFD.
    pub fn count_replaced(&mut self, lines: u64) {
        self.counters.replaced += lines;
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
        self.walk(Place::default(), record);
    }

    /// The same for a record whose tag is not its source's; the decoder is one that `tags_records`.
    pub fn emit_as(&mut self, tag: &str, record: Record<'j>) {
        self.counters.records += 1;
        let own = self.sinks[0].route.clone();
        let known =
            self.sinks.iter().position(|s| *s.route.tag == *tag && s.route.processors == own.processors);
        let sink = known.unwrap_or_else(|| {
            let route = self.pipeline.source_route(tag, &own.filters[..own.processors]);
            self.sinks.push(Sink::new(route, self.pool, 0));
            self.sinks.len() - 1
        });
        self.walk(Place { sink: sink as u32, ..Place::default() }, record);
    }

    /// What was left goes on.
    pub(crate) fn resume(&mut self, left: &'j [u8]) {
        let mut rest = left;
        while let Some((place, mark, record, behind)) = Later::next(rest, self.arena) {
            (rest, self.mark) = (behind, mark);
            match place.output {
                0 => self.walk(place, record),
                _ => self.process(place, record),
            }
        }
        debug_assert!(rest.is_empty(), "what was kept is read back");
    }

    /// Lets go of what filters hold back: of all, or of those that hold nothing beyond a job.
    pub(crate) fn let_go(&mut self, all: bool) {
        // Not before the records that wait have come to them.
        if self.later.as_ref().is_some_and(|later| later.awaited.is_some()) {
            return;
        }
        let holders = self.holding.as_ref().map_or_else(Vec::new, |h| h.holders());
        for (filter, tag) in holders {
            if all || self.pipeline.filters[filter].filter.holds_within_job() {
                self.let_go_of(filter, &tag);
            }
        }
    }

    #[cold]
    fn let_go_of(&mut self, filter: usize, tag: &str) {
        let sink = self.sink(tag);
        let Some(at) = self.sinks[sink].route.filters.iter().position(|&n| n == filter) else { return };
        let place = Place { sink: sink as u32, at: at as u32, ..Place::default() };
        let (mut made, mut none) = (BumpVec::new_in(self.arena), self.record());
        let instance = &self.pipeline.filters[filter];
        let outcome = self.call(instance, filter, sink, &mut none, &mut made, true, &mut None);
        self.go_on(place, outcome == Outcome::Reenter, made);
    }

    /// Before a filter holds something back of a further tag, another lets go where there are too many.
    fn make_room(&mut self, filter: usize, sink: usize) {
        let tag = &self.sinks[sink].route.tag;
        let crowded = self.holding.as_ref().and_then(|h| h.crowded_by(filter, tag));
        if let Some((filter, tag)) = crowded {
            self.let_go_of(filter, &tag);
            if let Some(holding) = &mut self.holding {
                holding.forget(filter, &tag);
            }
        }
    }

    /// Calls a filter on a record, or lets it let go of what it holds back.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "it is the body of two loops, written once")]
    fn call(
        &mut self,
        instance: &'j FilterInstance,
        filter: usize,
        sink: usize,
        record: &mut Record<'j>,
        made: &mut BumpVec<'j, Record<'j>>,
        let_go: bool,
        awaited: &mut Option<Arc<Awaited>>,
    ) -> Outcome<'j> {
        let tag = &self.sinks[sink].route.tag;
        let held = match (instance.stage, &mut self.holding) {
            (Stage::Source, Some(holding)) => Some(holding.of(filter, tag)),
            _ => None,
        };
        let mut context = FilterContext {
            arena: self.arena,
            tag,
            parsing: self.parsing,
            grouping: self.grouping,
            text: self.text,
            random: self.random,
            now: self.now,
            made,
            held,
            mark: self.mark,
            may_wait: self.later.is_some(),
            awaited,
            pod: &mut self.pod,
        };
        match let_go {
            true => instance.filter.let_go(&mut context),
            false => instance.filter.apply(record, &mut context),
        }
    }

    fn walk(&mut self, mut place: Place, mut record: Record<'j>) {
        let (pipeline, sink) = (self.pipeline, place.sink as usize);
        let (mut made, mut awaited) = (BumpVec::new_in(self.arena), None);
        for at in place.at as usize..self.sinks[sink].filters.len() {
            let Sink { route, filters, .. } = &mut self.sinks[sink];
            let filter = route.filters[at];
            let instance = &pipeline.filters[filter];
            filters[at].0 += 1;
            place.at = at as u32;
            if instance.special {
                match self.meets(instance, filter, place, &record) {
                    Meeting::Now => {}
                    Meeting::Never => continue,
                    Meeting::Later => return,
                }
            }
            match self.call(instance, filter, sink, &mut record, &mut made, false, &mut awaited) {
                Outcome::Keep => {}
                Outcome::Wait => {
                    // It is counted when it comes back.
                    self.sinks[sink].filters[at].0 -= 1;
                    return self.wait(filter, place, &record, awaited);
                }
                Outcome::Failed => {
                    instance.metrics.failed.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Drop => {
                    self.sinks[sink].filters[at].1 += 1;
                    return;
                }
                Outcome::Retag { tag, keep } if place.retagged < RETAG_MAX => {
                    instance.metrics.added.fetch_add(1, Ordering::Relaxed);
                    self.retag(tag, filter, place, &record);
                    if !keep {
                        self.sinks[sink].filters[at].1 += 1;
                        return;
                    }
                }
                Outcome::Retag { .. } => instance.loops(),
                outcome => return self.go_on(place, outcome == Outcome::Reenter, made),
            }
        }
        self.encode(place, &record);
    }

    /// Whether a record meets a filter that is special.
    fn meets(
        &mut self,
        instance: &FilterInstance,
        filter: usize,
        place: Place,
        record: &Record<'j>,
    ) -> Meeting {
        let sink = place.sink as usize;
        match instance.stage {
            _ if place.emitter == filter as u32 + 1 => return Meeting::Never,
            Stage::Source if place.at < place.passed => return Meeting::Never,
            Stage::Source => self.make_room(filter, sink),
            Stage::Serial | Stage::Free => {}
        }
        match &mut self.later {
            Some(later) if later.takes(instance, filter) => {
                later.keep(place, self.mark, record);
                // It is counted when it comes.
                self.sinks[sink].filters[place.at as usize].0 -= 1;
                Meeting::Later
            }
            _ => Meeting::Now,
        }
    }

    /// A filter lets the record wait.
    #[cold]
    fn wait(&mut self, filter: usize, place: Place, record: &Record<'j>, awaited: Option<Arc<Awaited>>) {
        let Some(later) = &mut self.later else {
            debug_assert!(false, "a filter waits only where it may");
            return;
        };
        later.keep(place, self.mark, record);
        later.wait(filter, awaited);
    }

    /// A copy of the record enters the filters of another tag.
    fn retag(&mut self, tag: &str, filter: usize, place: Place, record: &Record<'j>) {
        let copy = Record { time: record.time, fields: record.fields.clone() };
        let sink = self.sink(tag);
        let at = self.sinks[sink].route.processors as u32;
        let (retagged, emitter) = (place.retagged + 1, filter as u32 + 1);
        self.walk(Place { sink: sink as u32, at, retagged, emitter, ..Place::default() }, copy);
    }

    /// What a filter made in the place of a record goes on.
    fn go_on(&mut self, place: Place, reenter: bool, made: BumpVec<'j, Record<'j>>) {
        let Place { sink, at, passed, .. } = place;
        let Sink { route, filters, .. } = &mut self.sinks[sink as usize];
        let instance = &self.pipeline.filters[route.filters[at as usize]];
        match made.len() {
            // What is held back is not dropped.
            0 if instance.stage != Stage::Source => filters[at as usize].1 += 1,
            0 | 1 => {}
            more => {
                instance.metrics.added.fetch_add(more as u64 - 1, Ordering::Relaxed);
            }
        }
        let first = route.processors as u32;
        // The processors of an input are not met again.
        let next = match reenter && at >= first {
            true => Place { at: first, passed: passed.max(at + 1), ..place },
            false => Place { at: at + 1, ..place },
        };
        for record in made {
            self.walk(next, record);
        }
    }

    /// Behind the filters: the record takes the wire form of each output of its route.
    #[inline]
    fn encode(&mut self, place: Place, record: &Record<'j>) {
        let pipeline = self.pipeline;
        let Sink { route, segments, .. } = &mut self.sinks[place.sink as usize];
        let mut processed = false;
        for (segment, &n) in segments.iter_mut().zip(&route.outputs) {
            let instance = &pipeline.outputs[n];
            if !instance.processors.is_empty() {
                processed = true;
            } else if instance.output.encode(&route.tag, record, self.arena, segment) {
                segment.records += 1;
            } else {
                instance.lanes.metrics().drop_records("cannot_encode", 1);
            }
        }
        if processed {
            self.branch(place, record);
        }
    }

    /// A copy of the record for each output that has processors of its own.
    #[cold]
    fn branch(&mut self, place: Place, record: &Record<'j>) {
        let outputs = self.sinks[place.sink as usize].route.outputs.len();
        for k in 0..outputs {
            let n = self.sinks[place.sink as usize].route.outputs[k];
            if !self.pipeline.outputs[n].processors.is_empty() {
                let copy = Record { time: record.time, fields: record.fields.clone() };
                self.process(Place { output: k as u32 + 1, at: 0, ..place }, copy);
            }
        }
    }

    /// Through an output's own processors and into its segment.
    fn process(&mut self, mut place: Place, mut record: Record<'j>) {
        let (pipeline, k) = (self.pipeline, place.output as usize - 1);
        let instance = &pipeline.outputs[self.sinks[place.sink as usize].route.outputs[k]];
        for at in place.at as usize..instance.processors.len() {
            let processor = &pipeline.filters[instance.processors[at]];
            place.at = at as u32;
            match &mut self.later {
                Some(later) if later.takes(processor, instance.processors[at]) => {
                    return later.keep(place, self.mark, &record);
                }
                _ => {}
            }
            processor.metrics.records.fetch_add(1, Ordering::Relaxed);
            let (mut made, mut awaited) = (BumpVec::new_in(self.arena), None);
            let (sink, number) = (place.sink as usize, instance.processors[at]);
            match self.call(processor, number, sink, &mut record, &mut made, false, &mut awaited) {
                Outcome::Wait => {
                    processor.metrics.records.fetch_sub(1, Ordering::Relaxed);
                    return self.wait(number, place, &record, awaited);
                }
                // The plan lets nothing re-tag here.
                Outcome::Keep | Outcome::Retag { .. } => {}
                Outcome::Failed => {
                    processor.metrics.failed.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Drop => {
                    processor.metrics.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Outcome::Replace | Outcome::Reenter => {
                    for record in made {
                        self.process(Place { at: place.at + 1, ..place }, record);
                    }
                    return;
                }
            }
        }
        let Sink { route, segments, .. } = &mut self.sinks[place.sink as usize];
        if instance.output.encode(&route.tag, &record, self.arena, &mut segments[k]) {
            segments[k].records += 1;
        } else {
            instance.lanes.metrics().drop_records("cannot_encode", 1);
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

/// Records that wait, as owned bytes in the order in which they came: for the serial stage, or for what a filter asked for.
#[derive(Debug, Default)]
pub(crate) struct Later {
    pub(crate) bytes: Vec<u8>,
    /// Where a worker's arena may be reset in between.
    pub(crate) cuts: Vec<usize>,
    /// It is not the job's turn in the serial stage.
    early: bool,
    /// Filters that let a record wait: those behind it wait as well, so that none overtakes it.
    waiting: Vec<usize>,
    /// What the first of them waits for.
    awaited: Option<Arc<Awaited>>,
}

impl Later {
    /// For a job that came before its turn in the serial stage.
    pub(crate) fn early() -> Later {
        Later { early: true, ..Later::default() }
    }

    /// What has to come before the records can go on, where a filter lets one wait.
    pub(crate) fn awaited(&mut self) -> Option<Arc<Awaited>> {
        self.awaited.take()
    }

    /// Whether a record has to wait before it meets this filter.
    fn takes(&self, instance: &FilterInstance, filter: usize) -> bool {
        (self.early && instance.stage == Stage::Serial) || (instance.waits && self.waiting.contains(&filter))
    }

    fn wait(&mut self, filter: usize, awaited: Option<Arc<Awaited>>) {
        self.waiting.push(filter);
        if self.awaited.is_none() {
            // Without a reason to wait it comes back at once.
            self.awaited = awaited.or_else(|| {
                let over = Awaited::default();
                over.end();
                Some(Arc::new(over))
            });
        }
    }

    fn keep(&mut self, place: Place, mark: u64, record: &Record<'_>) {
        let Place { sink, output, at, retagged, passed, emitter } = place;
        for n in [sink, output, at, retagged, passed, emitter, record.time.nanos] {
            self.bytes.extend_from_slice(&n.to_le_bytes());
        }
        self.bytes.extend_from_slice(&record.time.secs.to_le_bytes());
        self.bytes.extend_from_slice(&mark.to_le_bytes());
        codecs::multiline::stash::keep(&mut self.bytes, &record.fields);
    }

    fn next<'a>(bytes: &'a [u8], arena: &'a Bump) -> Option<(Place, u64, Record<'a>, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<28>()?;
        let (secs, rest) = rest.split_first_chunk::<8>()?;
        let (mark, rest) = rest.split_first_chunk::<8>()?;
        let word = |n: usize| u32::from_le_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]);
        let place = Place {
            sink: word(0),
            output: word(4),
            at: word(8),
            retagged: word(12),
            passed: word(16),
            emitter: word(20),
        };
        let time = Timestamp { secs: i64::from_le_bytes(*secs), nanos: word(24) };
        let (fields, rest) = codecs::multiline::stash::load_next(rest, arena)?;
        Some((place, u64::from_le_bytes(*mark), Record { time, fields }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::record::{Field, Text, Value};

    #[test]
    fn what_waits_comes_back_as_it_was() {
        let arena = Bump::new();
        let mut later = Later::default();
        let place = Place { sink: 1, output: 2, at: 3, retagged: 4, passed: 5, emitter: 6 };
        for n in 0..3 {
            let mut record = Record::new_in(&arena, Timestamp { secs: -n, nanos: 999_999_999 });
            record.fields.push(Field::new(Text::plain(b"n"), Value::Int(n)));
            later.keep(Place { at: n as u32, ..place }, 7 << n, &record);
        }
        let mut rest = &later.bytes[..];
        for n in 0..3 {
            let (got, mark, record, behind) = Later::next(rest, &arena).expect("it was kept");
            assert_eq!((got, mark), (Place { at: n as u32, ..place }, 7 << n));
            assert_eq!(record.time, Timestamp { secs: -n, nanos: 999_999_999 });
            assert_eq!(record.get(b"n"), Some(&Value::Int(n)));
            rest = behind;
        }
        assert!(rest.is_empty() && Later::next(rest, &arena).is_none());
    }
}
