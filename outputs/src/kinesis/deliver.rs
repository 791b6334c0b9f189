//! One attempt to deliver a chunk: requests by all limits, and a verdict for each record.
//!
//! Owns: what goes again and in which order, what an answer means. Never: waits for a service that takes nothing; the engine
//! does. As long as each round of requests gets something through, what a shard had no room for goes again after a short
//! wait: the engine's back-off would hold the whole chunk for seconds because of a few records.
//! Invariants: a record is marked done only after the service took it, or refused it for good and it was counted; with
//! partition keys, a record never overtakes one of its key that failed in an earlier request.

use super::answer::{self, Failure};
use super::body::Source;
use super::client::Client;
use super::counters::Counters;
use super::key::RandomKeys;
use super::options::Settings;
use super::pack::{self, Item, Parcel};
use super::squeeze;
use crate::Verdict;
use crate::aws::{Fault, faults};
use crate::notice::{self, Level};
use crate::segment::{Chunk, Segment};
use bytes::Bytes;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Rounds of an attempt; then the engine is told, and decides.
const ROUNDS_MAX: u32 = 8;
/// First wait between two rounds, on average; shards count by the second.
const ROUND_WAIT: Duration = Duration::from_millis(100);
/// How often requests that are refused as a whole are halved in a round, to find the record that the service does not want.
const HALVINGS_MAX: usize = 40;

/// The parts of an instance that delivery needs.
pub(super) struct Delivery {
    pub(super) settings: Arc<Settings>,
    pub(super) client: Client,
    pub(super) keys: RandomKeys,
    /// Records refused in attempts that had to be repeated: told with the next verdict that can tell them.
    pub(super) untold: AtomicUsize,
}

/// What became of all that was open.
enum Round {
    Done,
    /// Some records failed; `progress` says that not all did.
    Again {
        progress: bool,
        reason: String,
    },
    Stop(Verdict),
}

/// What one round works on.
struct Work<'w> {
    segments: &'w [Segment],
    items: Vec<Item>,
    parcels: Vec<Parcel>,
    done: &'w mut [bool],
    /// Keys of which a record failed: what comes later waits.
    held: HashSet<&'w [u8]>,
    progress: bool,
    /// The first failure, how many there were, and of how many.
    failed: Option<(Failure, usize, usize)>,
    counters: &'w Counters,
}

impl Delivery {
    /// Sends what of the chunk is not done.
    pub(super) async fn attempt(&self, chunk: &mut Chunk, counters: &Counters) -> Verdict {
        let records = chunk.records();
        let Chunk { segments, done, .. } = chunk;
        done.resize(records.max(done.len()), false);
        let mut round = 0;
        loop {
            match self.round(segments, done, counters).await {
                Round::Done => return Verdict::Delivered { dropped: self.untold.swap(0, Relaxed) },
                Round::Stop(verdict) => return verdict,
                Round::Again { progress: true, .. } if round + 1 < ROUNDS_MAX => {
                    tokio::time::sleep(pause(round)).await;
                    round += 1;
                }
                Round::Again { reason, .. } => return Verdict::Retry { after: None, reason },
            }
        }
    }

    async fn round(&self, segments: &[Segment], done: &mut [bool], counters: &Counters) -> Round {
        let Settings { service, join, join_compression, stream, .. } = &*self.settings;
        let mut items = pack::open(segments, done);
        let mut parcels = pack::parcels(&mut items, segments, service, *join, join_compression.is_some());
        if let Err(reason) = self.squeeze(segments, &items, &mut parcels, counters).await {
            return Round::Stop(Verdict::Retry { after: None, reason });
        }
        let mut waiting: Vec<Vec<usize>> =
            pack::requests(&parcels, service, stream).into_iter().map(Iterator::collect).collect();
        waiting.reverse();
        let (held, failed) = (HashSet::new(), None);
        let mut work = Work { segments, items, parcels, done, held, progress: false, failed, counters };
        let mut halvings = 0;
        while let Some(mut request) = waiting.pop() {
            request.retain(|at| !work.is_held(*at));
            if request.is_empty() {
                continue;
            }
            let source = self.source(&work);
            let body = source.body(request.iter().filter_map(|at| work.parcels.get(*at)));
            counters.requests.fetch_add(1, Relaxed);
            counters.parcels.fetch_add(request.len() as u64, Relaxed);
            match self.client.put(Bytes::from(body)).await {
                Ok(answer) => match answer::read(service, &answer, request.len()) {
                    Ok(failures) => self.settle(&mut work, &request, failures),
                    Err(reason) => {
                        let reason = format!("{}: {reason}", service.action);
                        return Round::Stop(Verdict::Retry { after: None, reason });
                    }
                },
                Err(Fault::Final { .. }) if request.len() > 1 && halvings < HALVINGS_MAX => {
                    halvings += 1;
                    let second = request.split_off(request.len() / 2);
                    waiting.extend([second, request]);
                }
                Err(Fault::Final { reason }) => self.drop_all(&mut work, &request, "refused", &reason),
                Err(Fault::Exists | Fault::Accepted) => request.iter().for_each(|at| work.finish(*at)),
                Err(fault) => return Round::Stop(self.verdict(fault)),
            }
        }
        match work.failed {
            None => Round::Done,
            Some((Failure { code, message }, failed, of)) => Round::Again {
                progress: work.progress,
                reason: format!("{}: {failed} of {of} records failed: {code}: {message}", service.action),
            },
        }
    }

    fn source<'s>(&'s self, work: &'s Work<'_>) -> Source<'s> {
        Source {
            service: self.settings.service,
            stream: &self.settings.stream,
            join: self.settings.join,
            keys: &self.keys,
            segments: work.segments,
            items: &work.items,
        }
    }

    /// Compresses joined records, off the network threads.
    async fn squeeze(
        &self,
        segments: &[Segment],
        items: &[Item],
        parcels: &mut [Parcel],
        counters: &Counters,
    ) -> Result<(), String> {
        let Some(compression) = self.settings.join_compression else { return Ok(()) };
        for parcel in parcels {
            let joined = pack::joined(segments, items, parcel);
            let raw = joined.len();
            let squeezed = tokio::task::spawn_blocking(move || {
                let mut out = Vec::new();
                squeeze::append(compression, &joined, &mut out);
                out
            });
            let packed = squeezed.await.map_err(|_| "the compression was stopped".to_owned())?;
            counters.squeezed(raw, packed.len());
            parcel.bytes = packed.len();
            parcel.packed = Some(packed);
        }
        Ok(())
    }

    /// Gives each record of an answered request its verdict.
    fn settle(&self, work: &mut Work<'_>, request: &[usize], failures: Vec<(usize, Failure)>) {
        let count = failures.len();
        let mut failures = failures.into_iter().peekable();
        for (number, at) in request.iter().enumerate() {
            match failures.next_if(|(failed, _)| *failed == number) {
                None => work.finish(*at),
                Some((_, failure)) if is_final(&failure.code) => {
                    let reason = format!("{}: {}", failure.code, failure.message);
                    self.drop_all(work, &[*at], &failure.code, &reason);
                }
                Some((_, failure)) => work.fail(*at, failure, count, request.len(), self.settings.ordered),
            }
        }
    }

    /// Counts and tells records that the service will never take.
    fn drop_all(&self, work: &mut Work<'_>, request: &[usize], cause: &str, reason: &str) {
        let items = request.iter().filter_map(|at| work.parcels.get(*at)).map(|p| p.items.len()).sum();
        work.counters.refused.add(cause, items as u64);
        self.untold.fetch_add(items, Relaxed);
        request.iter().for_each(|at| work.finish(*at));
        let text = format!("dropped {items} records for {}: {reason}", self.settings.stream);
        notice::tell(Level::Error, &work.counters.component, &text);
    }

    /// What a fault of a whole request means for the attempt.
    fn verdict(&self, fault: Fault) -> Verdict {
        match fault {
            Fault::Retry { after, reason, .. } => Verdict::Retry { after, reason },
            Fault::Expired { reason } => Verdict::Retry { after: None, reason },
            Fault::Missing { reason } => {
                let option = self.settings.service.stream_option;
                Verdict::Hold { reason: format!("{reason} (create it, or mend `{option}` or `region`)") }
            }
            Fault::Hold { reason } | Fault::Final { reason } => Verdict::Hold { reason },
            Fault::Exists | Fault::Accepted => Verdict::Delivered { dropped: 0 },
        }
    }
}

impl<'w> Work<'w> {
    fn items_of(&self, at: usize) -> &[Item] {
        self.parcels.get(at).and_then(|parcel| self.items.get(parcel.items.clone())).unwrap_or_default()
    }

    fn key_of(&self, at: usize) -> &'w [u8] {
        let segments = self.segments;
        self.items_of(at).first().map_or(&[][..], |item| item.key(segments))
    }

    fn is_held(&self, at: usize) -> bool {
        !self.held.is_empty() && self.held.contains(self.key_of(at))
    }

    /// The records of a parcel need no further attempt.
    fn finish(&mut self, at: usize) {
        self.progress = true;
        let Some(items) = self.parcels.get(at).and_then(|parcel| self.items.get(parcel.items.clone())) else {
            return;
        };
        for item in items {
            if let Some(done) = self.done.get_mut(item.record as usize) {
                *done = true;
            }
        }
    }

    /// The records of a parcel go again.
    fn fail(&mut self, at: usize, failure: Failure, failed: usize, of: usize, ordered: bool) {
        self.counters.retried.add(&failure.code, self.items_of(at).len() as u64);
        let key = self.key_of(at);
        // What has no key of its own has no order either.
        if ordered && !key.is_empty() {
            self.held.insert(key);
        }
        if self.failed.is_none() {
            self.failed = Some((failure, failed, of));
        }
    }
}

/// True for a record's code that another attempt cannot mend. Unknown ones are tried again: nothing is lost by that.
fn is_final(code: &str) -> bool {
    let named = ["Invalid", "Validation", "Serialization", "Malformed"];
    !faults::retryable(code, 400)
        && (named.iter().any(|name| code.starts_with(name)) || code.contains("TooLarge"))
}

/// How long to wait after a round: half to one and a half of a time that doubles, a second at most.
fn pause(round: u32) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let jitter = 0.5 + (random >> 11) as f64 / (1_u64 << 53) as f64;
    ROUND_WAIT.saturating_mul(1 << round.min(3)).mul_f64(jitter).min(Duration::from_secs(1))
}
