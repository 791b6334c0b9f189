//! What the output counts beyond the common counters.

use crate::Counter;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Events by what became of them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Cut because they were longer than the service takes.
    pub cut: AtomicU64,
    /// Not sent: the message was empty.
    pub empty: AtomicU64,
    /// Not sent: the record lacks `log_key`.
    pub no_log_key: AtomicU64,
    /// Rejected: older than 14 days.
    pub too_old: AtomicU64,
    /// Rejected: more than two hours in the future.
    pub too_new: AtomicU64,
    /// Rejected: older than the group's retention.
    pub expired: AtomicU64,
    /// Dropped with a request that the service refused for good.
    pub refused: AtomicU64,
    /// Requests that put events.
    pub puts: AtomicU64,
}

impl Counters {
    /// As the engine shows them.
    pub fn list(&self) -> Vec<Counter> {
        let lost = |reason: &str, value: &AtomicU64| Counter {
            name: "dropped_events_total",
            help: "Events that were not delivered, by reason",
            labels: vec![("reason", reason.to_owned())],
            value: value.load(Relaxed),
        };
        let plain = |name, help, value: &AtomicU64| Counter {
            name,
            help,
            labels: Vec::new(),
            value: value.load(Relaxed),
        };
        vec![
            lost("empty", &self.empty),
            lost("no_log_key", &self.no_log_key),
            lost("too_old", &self.too_old),
            lost("too_new", &self.too_new),
            lost("expired", &self.expired),
            lost("refused", &self.refused),
            plain("cut_events_total", "Events cut to the largest size that the service takes", &self.cut),
            plain("put_log_events_total", "PutLogEvents requests", &self.puts),
        ]
    }
}
