//! One attempt to deliver a chunk: per stream in order, streams side by side.
//!
//! Owns: the order of requests, what is marked done, and the verdict. Never: waits between attempts.
//! Invariant: an event is marked done only after the service took it, or refused it for good and it was counted.

use super::client::{Client, Rejected};
use super::counters::Counters;
use super::escape;
use super::options::Groups;
use super::pack::{self, Item, Queue};
use super::streams::{GroupState, Known, StreamState};
use super::target;
use crate::Verdict;
use crate::aws::Fault;
use crate::notice::{self, Level};
use crate::segment::{Chunk, Segment};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Streams of one chunk that are sent to at the same time.
const STREAMS_AT_ONCE: usize = 8;

/// The parts of an instance that delivery needs.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Component that messages name.
    pub(crate) component: String,
    /// The service.
    pub(crate) client: Client,
    /// What may be created.
    pub(crate) groups: Groups,
    /// Streams that exist.
    pub(crate) known_streams: Known<StreamState>,
    /// Groups that exist.
    pub(crate) known_groups: Known<GroupState>,
    /// Events refused in attempts that had to be repeated: told with the next verdict that can tell them.
    pub(crate) untold: AtomicUsize,
}

/// What became of a stream in this attempt.
enum Outcome {
    Delivered,
    Retry { after: Option<Duration>, reason: String },
    Hold { reason: String },
}

/// Marks records of a chunk as done.
struct Done<'d> {
    flags: Mutex<&'d mut Vec<bool>>,
}

impl Done<'_> {
    fn mark(&self, items: &[Item]) {
        let mut flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            if let Some(flag) = flags.get_mut(item.record as usize) {
                *flag = true;
            }
        }
    }
}

impl Delivery {
    /// Sends what of the chunk is not done.
    pub(crate) async fn attempt(&self, chunk: &mut Chunk, counters: &Counters) -> Verdict {
        let records = chunk.records();
        let Chunk { segments, done, .. } = chunk;
        done.resize(records, false);
        let queues = pack::queues(segments, done);
        let done = Done { flags: Mutex::new(done) };
        let mut waiting = queues.iter();
        let mut running: FuturesUnordered<_> = waiting
            .by_ref()
            .take(STREAMS_AT_ONCE)
            .map(|queue| self.stream(segments, queue, &done, counters))
            .collect();
        let mut worst = Outcome::Delivered;
        while let Some(outcome) = running.next().await {
            worst = worse(worst, outcome);
            if let Some(queue) = waiting.next() {
                running.push(self.stream(segments, queue, &done, counters));
            }
        }
        match worst {
            Outcome::Delivered => Verdict::Delivered { dropped: self.untold.swap(0, Relaxed) },
            Outcome::Retry { after, reason } => Verdict::Retry { after, reason },
            Outcome::Hold { reason } => Verdict::Hold { reason },
        }
    }

    /// Sends a stream's events, batch by batch.
    async fn stream(
        &self,
        segments: &[Segment],
        queue: &Queue<'_>,
        done: &Done<'_>,
        counters: &Counters,
    ) -> Outcome {
        match self.ensure(queue.key).await {
            Ok(()) => {}
            Err(Fault::Final { reason }) => {
                self.drop_events(queue.key, &queue.items, &reason, counters);
                done.mark(&queue.items);
                return Outcome::Delivered;
            }
            Err(fault) => return self.outcome(fault).await,
        }
        let head = head(queue.key);
        let mut from = 0;
        while from < queue.items.len() {
            let range = pack::batch(&queue.items, from);
            let items = &queue.items[range.clone()];
            from = range.end;
            match self.batch(queue.key, segments, items, &head, counters).await {
                Ok(rejected) => {
                    counters.too_old.fetch_add(rejected.too_old as u64, Relaxed);
                    counters.too_new.fetch_add(rejected.too_new as u64, Relaxed);
                    counters.expired.fetch_add(rejected.expired as u64, Relaxed);
                    self.untold.fetch_add(rejected.total(), Relaxed);
                    if rejected.total() > 0 {
                        self.tell_rejected(queue.key, rejected);
                    }
                }
                Err(Fault::Final { reason }) => self.drop_events(queue.key, items, &reason, counters),
                Err(Fault::Accepted) => {}
                Err(fault) => return self.outcome(fault).await,
            }
            done.mark(items);
        }
        Outcome::Delivered
    }

    /// Puts one batch; a stream that went away meanwhile is made again, once.
    async fn batch(
        &self,
        key: &[u8],
        segments: &[Segment],
        items: &[Item],
        head: &[u8],
        counters: &Counters,
    ) -> Result<Rejected, Fault> {
        let body = Bytes::from(pack::body(segments, items, head));
        counters.puts.fetch_add(1, Relaxed);
        match self.client.put(key, body.clone(), items.len()).await {
            Err(Fault::Missing { .. }) => {
                let (group, _) = target::split(key);
                *self.known_streams.get(key).lock().await = StreamState::default();
                *self.known_groups.get(group.as_bytes()).lock().await = GroupState::default();
                self.ensure(key).await?;
                counters.puts.fetch_add(1, Relaxed);
                self.client.put(key, body, items.len()).await
            }
            other => other,
        }
    }

    /// Makes sure that the stream exists; of several callers one asks, the others wait for it.
    async fn ensure(&self, key: &[u8]) -> Result<(), Fault> {
        let (group, stream) = target::split(key);
        let state = self.known_streams.get(key);
        let mut state = state.lock().await;
        if state.made {
            return Ok(());
        }
        match self.create_stream(group, stream).await {
            Err(Fault::Missing { reason }) if !self.groups.create => {
                return Err(Fault::Hold {
                    reason: format!(
                        "{reason} (create the log group `{group}`, or set `auto_create_group true`)"
                    ),
                });
            }
            Err(Fault::Missing { .. }) => {
                self.ensure_group(group).await?;
                self.create_stream(group, stream).await?;
            }
            other => other?,
        }
        state.made = true;
        Ok(())
    }

    async fn create_stream(&self, group: &str, stream: &str) -> Result<(), Fault> {
        match self.client.create_stream(group, stream).await {
            Ok(()) => {
                notice::tell(
                    Level::Info,
                    &self.component,
                    &format!("Created log stream {stream} in log group {group}"),
                );
                Ok(())
            }
            Err(Fault::Exists) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Makes the group, once, and sets its retention.
    async fn ensure_group(&self, group: &str) -> Result<(), Fault> {
        let state = self.known_groups.get(group.as_bytes());
        let mut state = state.lock().await;
        if !state.made {
            match self.client.create_group(group).await {
                Ok(()) => notice::tell(Level::Info, &self.component, &format!("Created log group {group}")),
                Err(Fault::Exists) => {}
                Err(fault) => return Err(fault),
            }
            state.made = true;
            state.retention_open = self.groups.retention_days > 0;
        }
        if state.retention_open {
            match self.client.set_retention(group, self.groups.retention_days).await {
                // Logs matter more than how long they are kept: they go on without it.
                Err(Fault::Hold { reason } | Fault::Final { reason }) => {
                    let text = format!("the retention of log group {group} is not set: {reason}");
                    notice::tell(Level::Warn, &self.component, &text);
                }
                other => other?,
            }
            state.retention_open = false;
        }
        Ok(())
    }

    /// What a fault means for the attempt.
    async fn outcome(&self, fault: Fault) -> Outcome {
        match fault {
            Fault::Retry { after, reason, .. } => Outcome::Retry { after, reason },
            Fault::Expired { reason } => {
                self.client.renew().await;
                Outcome::Retry { after: None, reason }
            }
            Fault::Hold { reason } | Fault::Final { reason } => Outcome::Hold { reason },
            // The stream went away again between two calls: somebody deletes it, or the service is not consistent yet.
            Fault::Missing { reason } => Outcome::Retry { after: None, reason },
            Fault::Exists | Fault::Accepted => Outcome::Delivered,
        }
    }

    /// Counts and tells events that the service will never take.
    fn drop_events(&self, key: &[u8], items: &[Item], reason: &str, counters: &Counters) {
        counters.refused.fetch_add(items.len() as u64, Relaxed);
        self.untold.fetch_add(items.len(), Relaxed);
        let (group, stream) = target::split(key);
        let text = format!("dropped {} events for {group}, stream {stream}: {reason}", items.len());
        notice::tell(Level::Error, &self.component, &text);
    }

    fn tell_rejected(&self, key: &[u8], rejected: Rejected) {
        let (group, stream) = target::split(key);
        let Rejected { too_old, expired, too_new } = rejected;
        let text = format!(
            "CloudWatch rejected events of {group}, stream {stream}: {too_old} older than 14 days, {expired} past the group's retention, {too_new} more than two hours in the future"
        );
        notice::tell(Level::Warn, &self.component, &text);
    }
}

/// Of two outcomes the one that the engine must know: what can be retried goes first, so that one missing right does
/// not slow down the rest.
fn worse(a: Outcome, b: Outcome) -> Outcome {
    match (a, b) {
        (Outcome::Retry { after: x, reason }, Outcome::Retry { after: y, .. }) => {
            Outcome::Retry { after: x.max(y), reason }
        }
        (retry @ Outcome::Retry { .. }, _) | (_, retry @ Outcome::Retry { .. }) => retry,
        (hold @ Outcome::Hold { .. }, _) | (_, hold @ Outcome::Hold { .. }) => hold,
        (Outcome::Delivered, Outcome::Delivered) => Outcome::Delivered,
    }
}

/// The body's beginning.
fn head(key: &[u8]) -> Vec<u8> {
    let (group, stream) = target::split(key);
    let mut head = b"{\"logGroupName\":\"".to_vec();
    escape::append(&mut head, group.as_bytes());
    head.extend_from_slice(b"\",\"logStreamName\":\"");
    escape::append(&mut head, stream.as_bytes());
    head.extend_from_slice(b"\",\"logEvents\":[");
    head
}
