//! What the outputs count beyond the common counters.

use crate::Counter;
use crate::causes::Causes;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Records by what became of them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// `output:kinesis_streams:kinesis_streams.0`, for messages.
    pub(super) component: String,
    /// Cut to the largest size that the service takes.
    pub(super) cut: AtomicU64,
    /// Not sent: nothing was in them.
    pub(super) empty: AtomicU64,
    /// Not sent: the record lacks `log_key`.
    pub(super) no_log_key: AtomicU64,
    /// Sent with a random key: the record lacks what `partition_key` names.
    pub(super) random_keys: AtomicU64,
    /// Requests.
    pub(super) requests: AtomicU64,
    /// Records of requests, as the service counts them.
    pub(super) parcels: AtomicU64,
    /// Bytes before compression.
    pub(super) raw: AtomicU64,
    /// The same bytes after it.
    pub(super) packed: AtomicU64,
    /// Refused for good.
    pub(super) refused: Causes,
    /// Failed, and sent again.
    pub(super) retried: Causes,
}

impl Counters {
    /// Counts what was compressed.
    pub(super) fn squeezed(&self, raw: usize, packed: usize) {
        self.raw.fetch_add(raw as u64, Relaxed);
        self.packed.fetch_add(packed as u64, Relaxed);
    }

    /// Counts a record without the partition key that it should have; the first one is told.
    #[cold]
    pub(super) fn no_partition_key(&self, tag: &str) {
        if self.random_keys.fetch_add(1, Relaxed) == 0 {
            let message = format!(
                "a record of tag {tag} lacks what `partition_key` names: its key is random; counted in \
                 ripsaw_output_random_partition_keys_total, and not told again"
            );
            crate::notice::tell(crate::notice::Level::Warn, &self.component, &message);
        }
    }

    /// As the engine shows them.
    pub(super) fn list(&self) -> Vec<Counter> {
        let plain = |name, help, value: &AtomicU64| Counter {
            name,
            help,
            labels: Vec::new(),
            value: value.load(Relaxed),
        };
        let lost = |reason: &str, value: &AtomicU64| Counter {
            name: "lost_records_total",
            help: "Records that were not delivered, by reason",
            labels: vec![("reason", reason.to_owned())],
            value: value.load(Relaxed),
        };
        let mut list = vec![lost("empty", &self.empty), lost("no_log_key", &self.no_log_key)];
        list.extend(self.refused.list("lost_records_total", "Records that were not delivered, by reason"));
        list.extend(self.retried.list(
            "failed_records_total",
            "Records that the service did not take and that were sent again, by its reason",
        ));
        list.extend([
            plain("cut_records_total", "Records cut to the largest size that the service takes", &self.cut),
            plain(
                "random_partition_keys_total",
                "Records that lack what `partition_key` names, and were sent with a random key",
                &self.random_keys,
            ),
            plain("put_requests_total", "PutRecords or PutRecordBatch requests", &self.requests),
            plain("put_records_total", "Records in those requests, joined ones as one", &self.parcels),
            plain("uncompressed_bytes_total", "Bytes of records before compression", &self.raw),
            plain("compressed_bytes_total", "The same bytes after compression", &self.packed),
        ]);
        list
    }
}
