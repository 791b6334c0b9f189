//! `/api/v1/health`: errors and failed retries within `HC_Period`.

use std::collections::VecDeque;
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
}

const EVENTS_MAX: usize = 10_000;

impl Health {
    /// A chunk failed for good.
    pub fn error(&self) {
        self.push(Event::Error);
    }

    /// A chunk ran out of retries.
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

    /// True while neither count is above its limit within the period.
    pub fn good(&self, errors_max: usize, retries_failed_max: usize, period: Duration) -> bool {
        let (errors, retries_failed) = self.counts(period);
        errors <= errors_max && retries_failed <= retries_failed_max
    }
}
