//! Reload: a new configuration takes the place of the running one.
//!
//! Owns: who asked for it, whether one is under way, what goes from one configuration to the next. Never: stops or starts
//! anything itself (`run` does).

use crate::inputs::Kept;
use crate::queue::{Lanes, Queued};
use crate::storage::Held;
use crate::{log, plan::PlannedOutput};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Deliveries are waited for so long where `Grace` has no end.
const GRACE_MAX: Duration = Duration::from_secs(30);

/// What SIGHUP and `/api/v2/reload` know of.
#[derive(Debug, Default)]
pub struct Reloads {
    enabled: AtomicBool,
    under_way: AtomicBool,
    count: AtomicU64,
    asked: Notify,
}

/// What became of a question for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is about to begin.
    Begins,
    /// `Hot_Reload` is off.
    NotEnabled,
    /// One is under way.
    InProgress,
}

impl Reloads {
    /// Whether the configuration that runs now allows it.
    pub fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Relaxed);
    }

    /// Whether the configuration that runs now allows it.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// How often it has happened.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Somebody asks for it over HTTP.
    pub fn ask(&self) -> Asked {
        if !self.enabled() {
            return Asked::NotEnabled;
        }
        if self.under_way.swap(true, Relaxed) {
            return Asked::InProgress;
        }
        self.asked.notify_one();
        Asked::Begins
    }

    /// Resolves when somebody asked over HTTP.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// It begins.
    pub fn begin(&self) {
        self.under_way.store(true, Relaxed);
    }

    /// It is over.
    pub fn end(&self, done: bool) {
        self.count.fetch_add(u64::from(done), Relaxed);
        self.under_way.store(false, Relaxed);
    }
}

/// How long a reload waits for deliveries: `Grace`, and at most `Hot_Reload.Timeout`.
pub fn grace(grace: Duration, timeout: Option<Duration>) -> Duration {
    let grace = if grace == Duration::MAX { GRACE_MAX } else { grace };
    timeout.map_or(grace, |timeout| timeout.min(grace))
}

/// What goes from one configuration to the next.
#[derive(Default)]
pub struct Handover {
    /// From the last configuration.
    kept: HashMap<String, Kept>,
    /// For the next one.
    next: Mutex<HashMap<String, Kept>>,
    /// Segments of sources that cannot be read again, by the output that they were encoded for.
    segments: Mutex<Vec<(Owner, Vec<Held>)>>,
}

/// Whose segments they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    name: String,
    plugin: &'static str,
    fingerprint: u64,
}

impl Owner {
    fn of(output: &PlannedOutput) -> Owner {
        Owner { name: output.name.clone(), plugin: output.plugin, fingerprint: output.fingerprint }
    }
}

impl Handover {
    /// See [`crate::inputs::Engine::keep`].
    pub fn keep(&self, key: String, value: Kept) {
        self.next.lock().expect("handover lock").insert(key, value);
    }

    /// See [`crate::inputs::Engine::kept`].
    pub fn kept(&self, prefix: &str) -> Vec<(String, Kept)> {
        let mut found: Vec<_> = self
            .kept
            .iter()
            .filter(|(k, _)| k.starts_with(prefix))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// What the configuration that comes now finds.
    pub fn next(&self) -> Arc<Handover> {
        Arc::new(Handover {
            kept: std::mem::take(&mut *self.next.lock().expect("handover lock")),
            next: Mutex::default(),
            segments: Mutex::new(std::mem::take(&mut *self.segments.lock().expect("handover lock"))),
        })
    }

    /// Takes what an output did not deliver and nobody can read again. What is on disk stays there; what has a position
    /// in a file stays uncommitted.
    pub fn take(&self, output: &PlannedOutput, lanes: &Lanes) {
        let only_copy = |queued| match queued {
            Queued::Up(held) if held.ack.is_only_copy() => Some(held),
            _ => None,
        };
        let held: Vec<Held> = lanes.take_all().into_iter().filter_map(only_copy).collect();
        if !held.is_empty() {
            self.segments.lock().expect("handover lock").push((Owner::of(output), held));
        }
    }

    /// Gives it to the outputs of the new configuration; what no output can deliver is dropped, counted and told.
    pub fn give<'o>(&self, outputs: impl Iterator<Item = (&'o PlannedOutput, &'o Lanes)> + Clone) {
        for (owner, segments) in std::mem::take(&mut *self.segments.lock().expect("handover lock")) {
            let heir = outputs.clone().find(|(planned, _)| Owner::of(planned) == owner);
            let records: u64 = segments.iter().map(|held| u64::from(held.segment.records)).sum();
            match heir {
                Some((_, lanes)) => {
                    for held in segments {
                        let lane = crate::pipeline::lane_of(&held.segment.tag);
                        lanes.send(lane, Queued::Up(held));
                    }
                }
                None => {
                    log!(
                        Error,
                        "reload",
                        "dropped {records} records that waited for the output {}: it is gone or changed, and their source cannot be read again",
                        owner.name
                    );
                    segments.into_iter().for_each(|held| held.ack.accept());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reload_at_a_time() {
        let reloads = Reloads::default();
        assert_eq!(reloads.ask(), Asked::NotEnabled);
        reloads.enable(true);
        assert_eq!([reloads.ask(), reloads.ask()], [Asked::Begins, Asked::InProgress]);
        reloads.end(true);
        assert_eq!((reloads.ask(), reloads.count()), (Asked::Begins, 1));
        reloads.end(false);
        assert_eq!(reloads.count(), 1);
    }

    #[test]
    fn waiting_for_deliveries_has_an_end() {
        let seconds = Duration::from_secs;
        assert_eq!(grace(seconds(5), None), seconds(5));
        assert_eq!(grace(seconds(5), Some(seconds(2))), seconds(2));
        assert_eq!(grace(Duration::MAX, None), GRACE_MAX);
        assert_eq!(grace(Duration::MAX, Some(seconds(90))), seconds(90).min(GRACE_MAX));
    }
}
