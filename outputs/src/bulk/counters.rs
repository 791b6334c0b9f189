//! What the output counts beyond the common counters.

use crate::Counter;
use crate::causes::Causes;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Documents by what became of them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// There already.
    pub(super) conflicts: AtomicU64,
    /// Requests.
    pub(super) requests: AtomicU64,
    rejected: Causes,
}

impl Counters {
    /// Counts documents that the server refused for good.
    pub(super) fn reject(&self, cause: &str, count: u64) {
        self.rejected.add(cause, count);
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
        let help = "Documents that the server refused for good, by reason";
        list.extend(self.rejected.list("rejected_documents_total", help));
        list
    }
}
