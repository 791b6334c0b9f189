//! `/api/v1/health`: errors and failed retries within `HC_Period`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What counts against health.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Error,
    RetryFailed,
}

/// Events of the last period; at most [`EVENTS_MAX`] are kept, which is more than any limit in use.
#[derive(Default)]
pub struct Health {
    events: Mutex<VecDeque<(Instant, Event)>>,
    /// Since when an output holds everything that Fluent Bit would have given up by now.
    holding: Mutex<BTreeMap<String, Instant>>,
}

const EVENTS_MAX: usize = 10_000;

impl Health {
    /// A chunk failed for good.
    pub fn error(&self) {
        self.push(Event::Error);
    }

    /// A chunk ran out of retries, or would have, if they had been limited as in Fluent Bit.
    pub fn retry_failed(&self) {
        self.push(Event::RetryFailed);
    }

    fn push(&self, event: Event) {
        let mut events = self.events.lock().expect("health lock");
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back((Instant::now(), event));
    }

    /// Errors and failed retries within the period.
    pub fn counts(&self, period: Duration) -> (usize, usize) {
        let mut events = self.events.lock().expect("health lock");
        while events.front().is_some_and(|(at, _)| at.elapsed() > period) {
            events.pop_front();
        }
        let errors = events.iter().filter(|(_, e)| *e == Event::Error).count();
        (errors, events.len() - errors)
    }

    /// An output begins to hold everything because its destination keeps failing.
    pub fn holds(&self, output: &str) {
        let mut holding = self.holding.lock().expect("health lock");
        holding.entry(output.to_owned()).or_insert_with(Instant::now);
    }

    /// An output delivers again.
    pub fn delivers(&self, output: &str) {
        self.holding.lock().expect("health lock").remove(output);
    }

    /// Outputs that have held everything for a whole period. Their few probes would never reach a limit of failed retries.
    pub fn dead(&self, period: Duration) -> usize {
        self.holding.lock().expect("health lock").values().filter(|since| since.elapsed() >= period).count()
    }

    /// True while neither count is above its limit within the period, and no output was dead for all of it.
    pub fn good(&self, errors_max: usize, retries_failed_max: usize, period: Duration) -> bool {
        let (errors, retries_failed) = self.counts(period);
        errors <= errors_max && retries_failed <= retries_failed_max && self.dead(period) == 0
    }
}
