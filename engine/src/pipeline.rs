//! The running plan: which filters and outputs a tag meets, and the way of a record through them.
//!
//! Owns: filter and output instances, routes per tag, one record's walk. Never: reads, schedules, delivers.
//! Invariant: routes are found once per tag, not per record.

use crate::config::routing::Matcher;
use crate::filters::{Filter, Stage};
use crate::log;
use crate::metrics::{FilterMetrics, InputMetrics};
use crate::queue::Lanes;
use crate::serial::Serial;
use codecs::simd::Pairs;
use outputs::Output;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// A filter instance.
pub struct FilterInstance {
    /// `grep.0`, or its alias.
    pub name: String,
    /// Tags that it takes.
    pub matcher: Matcher,
    /// What it does.
    pub filter: Arc<dyn Filter>,
    /// Its counters.
    pub metrics: Arc<FilterMetrics>,
    /// What it must be sure of; asked once, as it is looked at per record.
    pub stage: Stage,
    /// It is not met by every record at any time: it is of a stage, passed by those that it gave their tag, or lets
    /// records wait.
    pub special: bool,
    /// It may let records wait; asked once.
    pub waits: bool,
    /// Set when a loop of tags was told.
    pub loop_told: AtomicBool,
}

impl FilterInstance {
    /// An instance with fresh counters.
    pub fn new(name: String, matcher: Matcher, filter: Arc<dyn Filter>) -> FilterInstance {
        let stage = filter.stage();
        let waits = filter.waits();
        let special = stage != Stage::Free || filter.retags() || waits;
        let (metrics, loop_told) = (Arc::default(), AtomicBool::default());
        FilterInstance { name, matcher, filter, metrics, stage, special, waits, loop_told }
    }

    /// Tells once that a record was re-tagged over and over.
    pub fn loops(&self) {
        if !self.loop_told.swap(true, Relaxed) {
            log!(
                Warn,
                self.name,
                "a record was re-tagged over and over: the new tag matches this filter again; it keeps its tag"
            );
        }
    }
}

/// An output instance.
pub struct OutputInstance {
    /// `file.0`, or its alias.
    pub name: String,
    /// Tags that it takes.
    pub matcher: Matcher,
    /// What it does.
    pub output: Arc<dyn Output>,
    /// Its own processors, as indexes into [`Pipeline::filters`]: only what goes to it meets them.
    pub processors: Vec<usize>,
    /// Where its segments go; they hold its counters.
    pub lanes: Lanes,
}

/// What one tag meets, as indexes into [`Pipeline`].
pub struct Route {
    /// The tag.
    pub tag: Arc<str>,
    /// The input's own processors, then filters, in order.
    pub filters: Vec<usize>,
    /// How many of them are the input's processors.
    pub processors: usize,
    /// Outputs, in order.
    pub outputs: Vec<usize>,
    /// Lane of its segments, to be taken modulo an output's number of lanes: records of one tag stay in order.
    pub lane: usize,
    /// What a line must hold to survive the first filter.
    pub survival: Option<Arc<Survival>>,
}

/// Finds the lines that may survive a filter, on raw bytes.
pub struct Survival {
    keys: Vec<Vec<u8>>,
    literals: Literals,
}

/// What finds literals.
enum Literals {
    Few(Box<Pairs>),
    Any(aho_corasick::AhoCorasick),
}

impl Survival {
    /// From what the filter says of itself. A backslash survives too: behind it a literal may be spelled otherwise.
    fn new(filter: &dyn Filter) -> Option<Arc<Survival>> {
        let prefilter = filter.prefilter()?;
        let patterns: Vec<Vec<u8>> = prefilter.literals.into_iter().chain([b"\\".to_vec()]).collect();
        let literals = match Pairs::new(&patterns) {
            Some(pairs) => Literals::Few(Box::new(pairs)),
            None => Literals::Any(aho_corasick::AhoCorasick::new(patterns).ok()?),
        };
        Some(Arc::new(Survival { keys: prefilter.keys, literals }))
    }

    /// True when the filter looks at this key: what an input writes there by itself does not stand in the line.
    pub fn reads(&self, key: &str) -> bool {
        self.keys.iter().any(|k| k == key.as_bytes())
    }

    /// Offset of the first byte at or after `from` that keeps its line.
    pub fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        match &self.literals {
            Literals::Few(pairs) => pairs.find_literal(bytes, from),
            Literals::Any(literals) => {
                literals.find(aho_corasick::Input::new(bytes).range(from..)).map(|m| m.start())
            }
        }
    }
}

/// The lane of a tag, to be taken modulo an output's number of lanes.
pub fn lane_of(tag: &str) -> usize {
    tag.bytes().fold(0, |h: usize, b| h.wrapping_mul(31).wrapping_add(usize::from(b)))
}

/// All instances, and the routes found so far.
pub struct Pipeline {
    /// Filters in the order of the configuration, then the processors of inputs and outputs.
    pub filters: Vec<FilterInstance>,
    /// How many of them are filters.
    common: usize,
    /// Outputs in the order of the configuration.
    pub outputs: Vec<OutputInstance>,
    /// Where filters with one state for all are met.
    pub serial: Serial,
    routes: Mutex<HashMap<Arc<str>, Arc<Route>>>,
}

/// What the filters that a source's records may meet ask of its jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Milliseconds after which the first of those that hold something back lets go, where there is one.
    pub holds_ms: Option<u64>,
    /// One of them is of the serial stage.
    pub serial: bool,
    /// One of them may let records wait.
    pub waits: bool,
}

/// Routes kept by tag; beyond that the cache starts afresh (a source keeps its own).
const ROUTES_MAX: usize = 16_384;

impl Pipeline {
    /// A pipeline of these instances; of `filters`, those behind `common` belong to single inputs and outputs.
    pub fn new(filters: Vec<FilterInstance>, common: usize, outputs: Vec<OutputInstance>) -> Pipeline {
        Pipeline { filters, common, outputs, serial: Serial::default(), routes: Mutex::default() }
    }

    /// The route of a tag.
    pub fn route(&self, tag: &str) -> Arc<Route> {
        let mut routes = self.routes.lock().expect("route lock");
        if let Some(route) = routes.get(tag) {
            return route.clone();
        }
        if routes.len() >= ROUTES_MAX {
            routes.clear();
        }
        let route = Arc::new(self.find_route(tag, &[]));
        routes.insert(route.tag.clone(), route.clone());
        route
    }

    /// The route of a source of an input with these processors, which come before the filters.
    pub fn source_route(&self, tag: &str, processors: &[usize]) -> Arc<Route> {
        match processors {
            [] => self.route(tag),
            _ => Arc::new(self.find_route(tag, processors)),
        }
    }

    fn find_route(&self, tag: &str, processors: &[usize]) -> Route {
        let tag: Arc<str> = tag.into();
        let fits = |m: &Matcher| m.fits(&tag);
        let own = processors.iter().copied();
        let filters: Vec<usize> =
            own.chain((0..self.common).filter(|&n| fits(&self.filters[n].matcher))).collect();
        Route {
            outputs: (0..self.outputs.len()).filter(|&n| fits(&self.outputs[n].matcher)).collect(),
            lane: lane_of(&tag),
            survival: filters.first().and_then(|&n| Survival::new(&*self.filters[n].filter)),
            processors: processors.len(),
            filters,
            tag,
        }
    }

    /// What the filters ask that records of this route may meet. Where one re-tags, or the decoder does, that may be any.
    pub fn reach(&self, route: &Route, tagged: bool) -> Reach {
        let retags = tagged || route.filters.iter().any(|&n| self.filters[n].filter.retags());
        let met: Vec<usize> = match retags {
            true => (0..self.filters.len()).collect(),
            false => {
                let outputs = route.outputs.iter().flat_map(|&n| &self.outputs[n].processors);
                route.filters.iter().chain(outputs).copied().collect()
            }
        };
        let met = || met.iter().map(|&n| &self.filters[n]);
        Reach {
            holds_ms: met().filter_map(|f| f.filter.hold_ms()).min(),
            serial: met().any(|f| f.stage == Stage::Serial),
            waits: met().any(|f| f.waits),
        }
    }
}

/// Counters of one job, added to the shared ones when it ends.
#[derive(Default)]
pub struct JobCounters {
    /// Records made by the input.
    pub records: u64,
    /// Bytes that they came from.
    pub bytes: u64,
    /// Pieces of input that no record could be made of.
    pub invalid: u64,
    /// Multi-line records that were cut at their limit.
    pub truncated: u64,
    /// Lines in which something had no meaning in their encoding.
    pub replaced: u64,
}

impl JobCounters {
    /// Adds them up.
    pub fn add_to(&self, input: &InputMetrics) {
        input.records.fetch_add(self.records, Relaxed);
        input.bytes.fetch_add(self.bytes, Relaxed);
        input.invalid.fetch_add(self.invalid, Relaxed);
        if self.truncated > 0 {
            input.multiline_truncated.fetch_add(self.truncated, Relaxed);
        }
        if self.replaced > 0 {
            input.replaced_lines.fetch_add(self.replaced, Relaxed);
        }
    }
}
