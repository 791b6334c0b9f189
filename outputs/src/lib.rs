//! Delivery: one folder or file a destination.
//!
//! Owns: option tables of outputs, encoding into wire form, packing to a service's limits, requests, verdicts.
//! Never: schedules, retries, reads inputs; the engine decides when to call and what to do with a verdict.

pub mod aws;
pub mod bulk;
mod causes;
pub mod client;
pub mod cloudwatch_logs;
#[cfg(any(test, feature = "fakes"))]
pub mod fakes;
pub mod file;
pub mod formats;
pub mod forward;
pub mod gelf;
pub mod http;
pub mod kinesis;
pub mod net;
pub mod notice;
pub mod null;
pub mod registry;
pub mod s3;
pub mod segment;
pub mod stdout;
pub mod stream;
pub mod syslog;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod upstream;

use codecs::Bump;
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use segment::{Chunk, Segment};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// An output plugin.
pub type Plugin = codecs::conf::Plugin<Configure>;

/// Reads a section and makes an instance of it.
pub type Configure = fn(&Section, &Context<'_>, &mut Diagnostics) -> Option<Arc<dyn Output>>;

/// What an instance may know of the rest while it is configured.
#[derive(Debug)]
pub struct Context<'c> {
    /// `cloudwatch_logs.0`, or its alias: how messages name it.
    pub name: &'c str,
    /// `Workers` as configured.
    pub workers: Option<usize>,
    /// Whether non-ASCII characters leave as `\uXXXX` (Fluent Bit's default) or as they are.
    pub escape_unicode: bool,
    /// Service-wide `Flush` in seconds.
    pub flush: f64,
}

/// A configured instance. Encoding runs on workers, inside a job; delivery runs on the network threads.
pub trait Output: Send + Sync {
    /// Appends the wire form of a record to the segment. Runs once per record and must not allocate per record.
    /// Returns false when the record cannot be sent by this output; the engine counts it as dropped.
    fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool;

    /// One attempt to deliver what of the chunk is not done. Holds the chunk's order where the service needs it.
    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>>;

    /// How many chunks may be under way at once (`Workers`); segments of one tag always take the same lane.
    fn lanes(&self) -> usize {
        1
    }

    /// A chunk is delivered at the latest when it holds so many bytes, without waiting for `Flush`.
    fn chunk_bytes_target(&self) -> usize {
        2 * 1024 * 1024
    }

    /// Called once when the pipeline starts (open a client, resolve credentials); may print, must not block long.
    fn start(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }

    /// Called once after the last delivery, when the pipeline stops: sends what the output itself keeps. What is not
    /// sent then must be safe on disk; the engine bounds the wait.
    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }

    /// Counters of its own, as (Prometheus name without prefix, label pairs, value).
    fn counters(&self) -> Vec<Counter> {
        Vec::new()
    }
}

/// A counter of an output beyond the common ones: `ripsaw_output_<name>{name="…",labels…} value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Name, such as `rejected_events_total`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Further labels, such as `("reason", "too_old")`.
    pub labels: Vec<(&'static str, String)>,
    /// Value.
    pub value: u64,
}

/// What became of a delivery attempt; it says what the caller does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Everything that was not done is accepted now (or dropped and counted by the output itself, see `dropped`).
    Delivered {
        /// Records that the service refused for good, counted by cause in [`Output::counters`].
        dropped: usize,
    },
    /// Try the rest again, not before `after` where the service said so.
    Retry {
        /// The service's own delay, if it named one.
        after: Option<Duration>,
        /// What happened, for the log: lower case, no full stop, no secrets.
        reason: String,
    },
    /// A final answer: drop the rest, count it, keep it aside where configured.
    Drop {
        /// What happened, for the log.
        reason: String,
    },
    /// Rights or a resource are missing: hold, tell the remedy once, and probe with back-off until it works.
    Hold {
        /// What is missing and what to do.
        reason: String,
    },
}
