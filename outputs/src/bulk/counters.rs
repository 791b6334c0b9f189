//! What the output counts beyond the common counters.

use crate::Counter;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Causes that are counted apart; what comes after them counts as `other`.
const CAUSES_MAX: usize = 64;

/// Documents by what became of them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// There already.
    pub(super) conflicts: AtomicU64,
    /// Requests.
    pub(super) requests: AtomicU64,
    rejected: Mutex<BTreeMap<String, u64>>,
}

impl Counters {
    /// Counts documents that the server refused for good.
    pub(super) fn reject(&self, cause: &str, count: u64) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = rejected.get_mut(cause) {
            *counted += count;
            return;
        }
        let cause = if rejected.len() < CAUSES_MAX { cause } else { "other" };
        *rejected.entry(cause.to_owned()).or_default() += count;
    }

    /// As the engine shows them.
    pub(super) fn list(&self) -> Vec<Counter> {
        let plain = |name, help, value: &AtomicU64| Counter {
            name,
            help,
            labels: Vec::new(),
            value: value.load(Relaxed),
        };
        let mut list = vec![
            plain("bulk_requests_total", "Bulk requests", &self.requests),
            plain("conflicting_documents_total", "Documents that were there already", &self.conflicts),
        ];
        let rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        list.extend(rejected.iter().map(|(cause, count)| Counter {
            name: "rejected_documents_total",
            help: "Documents that the server refused for good, by reason",
            labels: vec![("reason", cause.clone())],
            value: *count,
        }));
        list
    }
}
