//! What of the API's answers is new, and waits to be handed over.
//!
//! Owns: which versions were seen, lines and rows of new events. Never: waits, asks the API.
//! Invariant: of each event each version is taken once; what is older than the retention is not taken.

use super::event::{Times, Told, parsed, put, told};
use super::rows::Row;
use crate::inputs::InputContext;
use crate::inputs::net::text::Bad;
use crate::shards::now;
use codecs::Bump;
use codecs::record::{Timestamp, Value};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where answers are taken apart; the client hands their pieces over from wherever it runs.
pub(super) struct Desk {
    engine: InputContext,
    bad: Bad,
    retention: i64,
    intake: Mutex<Intake>,
}

#[derive(Default)]
struct Intake {
    times: Times,
    lines: Vec<u8>,
    rows: Vec<Row>,
    /// Everything up to this version was seen.
    newest: u64,
    /// Versions of events beyond that: those of the `DB`, and those of a list that is not whole.
    seen: HashMap<String, u64>,
    /// Why there has to be a new list.
    stale: Option<String>,
}

impl Desk {
    pub(super) fn new(
        component: &str,
        engine: &InputContext,
        retention: Duration,
        seen: HashMap<String, u64>,
        newest: u64,
    ) -> Desk {
        Desk {
            engine: engine.clone(),
            bad: Bad::new(component),
            retention: i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX),
            intake: Mutex::new(Intake { seen, newest, ..Intake::default() }),
        }
    }

    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version up to which everything was seen.
    pub(super) fn newest(&self) -> u64 {
        self.intake().newest
    }

    /// True when there has to be a new list.
    pub(super) fn is_stale(&self) -> bool {
        self.intake().stale.is_some()
    }

    /// Why there has to be a new list.
    pub(super) fn take_stale(&self) -> Option<String> {
        self.intake().stale.take()
    }

    /// What waits to be handed over.
    pub(super) fn take(&self) -> (Vec<u8>, Vec<Row>) {
        let intake = &mut *self.intake();
        (std::mem::take(&mut intake.lines), std::mem::take(&mut intake.rows))
    }

    /// An object of a list.
    pub(super) fn listed(&self, text: &[u8], arena: &Bump) {
        self.object(parsed(text, arena), true, arena);
    }

    /// A list is whole: everything up to its version was seen.
    pub(super) fn list_ends(&self, version: u64) {
        let mut intake = self.intake();
        // It may be lower than before: then the cluster was restored from a backup.
        intake.newest = version;
        intake.seen = HashMap::new();
    }

    /// A line of a watch.
    pub(super) fn watched(&self, line: &[u8], arena: &Bump) {
        let version = match told(line, arena) {
            Some(Told::Happened(object)) => self.object(Some(object), false, arena),
            Some(Told::MovedOn(version)) => Some(version),
            Some(Told::Stale(why)) => {
                self.intake().stale = Some(why);
                None
            }
            Some(Told::Nothing) => None,
            None => {
                let shown = String::from_utf8_lossy(&line[..line.len().min(200)]);
                self.intake().stale = Some(format!("an event makes no sense: {shown}"));
                None
            }
        };
        if let Some(version) = version {
            let mut intake = self.intake();
            intake.newest = intake.newest.max(version);
        }
    }

    /// Counts objects that were too large to be taken.
    pub(super) fn count_large(&self, count: u64) {
        if count > 0 {
            self.engine.metrics().invalid.fetch_add(count, Ordering::Relaxed);
            self.bad.tell("an event is larger than 3 MiB, and is left out");
        }
    }

    /// An event: it is taken where it is new. Gives its version.
    fn object(&self, object: Option<Value<'_>>, listing: bool, arena: &Bump) -> Option<u64> {
        let (now, intake) = (now(), &mut *self.intake());
        let Some((object, event)) = object.and_then(|o| Some((o, intake.times.event(o, now, arena)?))) else {
            self.engine.metrics().invalid.fetch_add(1, Ordering::Relaxed);
            self.bad.tell("an object without uid or resourceVersion is no event, and is left out");
            return None;
        };
        let version = event.version;
        if version <= intake.seen.get(&event.uid).copied().unwrap_or(0).max(intake.newest) {
            return Some(version);
        }
        if listing {
            intake.seen.insert(event.uid.clone(), version);
        }
        let time = nanos(event.time);
        if time >= self.oldest(now) {
            put(&mut intake.lines, &event, &object);
            intake.rows.push(Row { uid: event.uid, version, time });
        }
        Some(version)
    }

    /// What happened before is of no interest, in nanoseconds since the epoch.
    pub(super) fn oldest(&self, now: Timestamp) -> i64 {
        nanos(now).saturating_sub(self.retention)
    }
}

fn nanos(time: Timestamp) -> i64 {
    time.secs.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanos))
}
