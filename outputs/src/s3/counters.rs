//! What the output counts beyond the common counters.

use crate::Counter;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Numbers of an instance.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Objects that are whole.
    pub(super) objects: AtomicU64,
    /// Parts that the service has.
    pub(super) parts: AtomicU64,
    /// Bytes of records in what was sent.
    pub(super) bytes_before: AtomicU64,
    /// The same as sent.
    pub(super) bytes_after: AtomicU64,
    /// Requests that have to be repeated.
    pub(super) retries: AtomicU64,
    /// Uploads that were rebuilt from disk.
    pub(super) rebuilt: AtomicU64,
    /// Objects put aside after `Retry_Limit`, and corrupt pieces.
    pub(super) quarantined: AtomicU64,
    /// Objects deleted after `Retry_Limit`.
    pub(super) deleted: AtomicU64,
    /// Records without `log_key`.
    pub(super) no_log_key: AtomicU64,
    /// Bytes of records under `store_dir`.
    pub(super) stored: AtomicU64,
}

impl Counters {
    /// As the engine shows them.
    pub(super) fn list(&self) -> Vec<Counter> {
        let one = |name, help, value: &AtomicU64| Counter {
            name,
            help,
            labels: Vec::new(),
            value: value.load(Relaxed),
        };
        vec![
            one("objects_total", "Objects that are whole in S3", &self.objects),
            one("parts_total", "Parts of multipart uploads that S3 has", &self.parts),
            one("uncompressed_bytes_total", "Bytes of records in what was sent", &self.bytes_before),
            one("sent_bytes_total", "Bytes of objects and parts as they were sent", &self.bytes_after),
            one("upload_retries_total", "Uploads that had to be repeated", &self.retries),
            one(
                "rebuilt_uploads_total",
                "Uploads that S3 no longer knew, sent again from disk",
                &self.rebuilt,
            ),
            one("quarantined_total", "Objects and corrupt pieces put aside", &self.quarantined),
            one("deleted_objects_total", "Objects deleted after Retry_Limit", &self.deleted),
            one("no_log_key_total", "Records without log_key, which were not sent", &self.no_log_key),
            one("stored_bytes", "Bytes of records under store_dir", &self.stored),
        ]
    }
}
