//! The running plan: which filters and outputs a tag meets, and the way of a record through them.
//!
//! Owns: filter and output instances, routes per tag, one record's walk. Never: reads, schedules, delivers.
//! Invariant: routes are found once per tag, not per record.

use crate::config::routing::Matcher;
use crate::filters::Filter;
use crate::metrics::{FilterMetrics, InputMetrics};
use crate::queue::Lanes;
use outputs::Output;
use std::collections::HashMap;
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
}

/// An output instance.
pub struct OutputInstance {
    /// `file.0`, or its alias.
    pub name: String,
    /// Tags that it takes.
    pub matcher: Matcher,
    /// What it does.
    pub output: Arc<dyn Output>,
    /// Where its segments go; they hold its counters.
    pub lanes: Lanes,
}

/// What one tag meets, as indexes into [`Pipeline`].
#[derive(Debug)]
pub struct Route {
    /// The tag.
    pub tag: Arc<str>,
    /// Filters, in order.
    pub filters: Vec<usize>,
    /// Outputs, in order.
    pub outputs: Vec<usize>,
}

/// All instances, and the routes found so far.
pub struct Pipeline {
    /// Filters in the order of the configuration.
    pub filters: Vec<FilterInstance>,
    /// Outputs in the order of the configuration.
    pub outputs: Vec<OutputInstance>,
    routes: Mutex<HashMap<Arc<str>, Arc<Route>>>,
}

/// Routes kept by tag; beyond that the cache starts afresh (a source keeps its own).
const ROUTES_MAX: usize = 16_384;

impl Pipeline {
    /// A pipeline of these instances.
    pub fn new(filters: Vec<FilterInstance>, outputs: Vec<OutputInstance>) -> Pipeline {
        Pipeline { filters, outputs, routes: Mutex::default() }
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
        let tag: Arc<str> = tag.into();
        let fits = |m: &Matcher| m.fits(&tag);
        let route = Arc::new(Route {
            tag: tag.clone(),
            filters: (0..self.filters.len()).filter(|&n| fits(&self.filters[n].matcher)).collect(),
            outputs: (0..self.outputs.len()).filter(|&n| fits(&self.outputs[n].matcher)).collect(),
        });
        routes.insert(tag, route.clone());
        route
    }
}

/// Counters of one job, added to the shared ones when it ends: workers do not share cache lines per record.
#[derive(Default)]
pub struct JobCounters {
    /// Records made by the input.
    pub records: u64,
    /// Bytes that they came from.
    pub bytes: u64,
    /// Pieces of input that no record could be made of.
    pub invalid: u64,
    /// For each filter of the route: records that came, and records that it dropped.
    pub filters: Vec<(u64, u64)>,
}

impl JobCounters {
    /// Counters for a route.
    pub fn new(route: &Route) -> JobCounters {
        JobCounters { filters: vec![(0, 0); route.filters.len()], ..JobCounters::default() }
    }

    /// Adds them up.
    pub fn add_to(&self, input: &InputMetrics, pipeline: &Pipeline, route: &Route) {
        use std::sync::atomic::Ordering::Relaxed;
        input.records.fetch_add(self.records, Relaxed);
        input.bytes.fetch_add(self.bytes, Relaxed);
        input.invalid.fetch_add(self.invalid, Relaxed);
        for (&n, (records, dropped)) in route.filters.iter().zip(&self.filters) {
            pipeline.filters[n].metrics.records.fetch_add(*records, Relaxed);
            pipeline.filters[n].metrics.dropped.fetch_add(*dropped, Relaxed);
        }
    }
}
