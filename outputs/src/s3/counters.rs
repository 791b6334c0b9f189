//! What the output counts beyond the common counters.

use crate::Counter;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Why something goes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// S3 asked to be slower.
    Throttled,
    /// S3 failed, or something between us did.
    Server,
    /// No answer.
    Unanswered,
    /// Credentials ran out.
    Expired,
    /// Rights or credentials are missing.
    Rights,
    /// The bucket, or something else that must be there, is not.
    Missing,
    /// S3 will not take it.
    Refused,
    /// The upload is gone.
    Gone,
    /// The disk.
    Disk,
}

impl Cause {
    const ALL: [(Cause, &'static str); 9] = [
        (Cause::Throttled, "throttled"),
        (Cause::Server, "server"),
        (Cause::Unanswered, "unanswered"),
        (Cause::Expired, "expired"),
        (Cause::Rights, "rights"),
        (Cause::Missing, "missing"),
        (Cause::Refused, "refused"),
        (Cause::Gone, "gone"),
        (Cause::Disk, "disk"),
    ];
}

/// Numbers of an instance.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Objects that are whole.
    pub(super) objects: AtomicU64,
    /// Parts that the service has.
    pub(super) parts: AtomicU64,
    /// Multipart uploads that are begun and not complete.
    pub(super) uploads: AtomicU64,
    /// Bytes of records in what was sent.
    pub(super) bytes_before: AtomicU64,
    /// The same as sent.
    pub(super) bytes_after: AtomicU64,
    /// Attempts that have to be repeated, by [`Cause`].
    pub(super) retries: [AtomicU64; Cause::ALL.len()],
    /// Attempts to write to `store_dir` that have to be repeated.
    pub(super) store_retries: AtomicU64,
    /// Uploads that were rebuilt from disk.
    pub(super) rebuilt: AtomicU64,
    /// Uploads that nobody knew, given up.
    pub(super) orphans: AtomicU64,
    /// Objects put aside after `Retry_Limit`, and corrupt pieces.
    pub(super) quarantined: AtomicU64,
    /// Objects deleted after `Retry_Limit`.
    pub(super) deleted: AtomicU64,
    /// Records without `log_key`.
    pub(super) no_log_key: AtomicU64,
}

impl Counters {
    /// Counts an attempt that failed.
    pub(super) fn failed(&self, cause: Cause) {
        if let Some(at) = Cause::ALL.iter().position(|(one, _)| *one == cause) {
            self.retries[at].fetch_add(1, Relaxed);
        }
    }

    /// As the engine shows them, with the bytes that are stored and the age in seconds of what waits longest.
    pub(super) fn list(&self, stored: u64, age_seconds: u64) -> Vec<Counter> {
        let one = |name, help, value: &AtomicU64| Counter {
            name,
            help,
            labels: Vec::new(),
            value: value.load(Relaxed),
        };
        let now = |name, help, value| Counter { name, help, labels: Vec::new(), value };
        let mut list = vec![
            one("objects_total", "Objects that are whole in S3", &self.objects),
            one("parts_total", "Parts of multipart uploads that S3 has", &self.parts),
            one("uploads_in_progress", "Multipart uploads that are begun and not complete", &self.uploads),
            one("uncompressed_bytes_total", "Bytes of records in what was sent", &self.bytes_before),
            one("sent_bytes_total", "Bytes of objects and parts as they were sent", &self.bytes_after),
            one(
                "store_retries_total",
                "Attempts to write to store_dir that had to be repeated",
                &self.store_retries,
            ),
            one(
                "rebuilt_uploads_total",
                "Uploads that S3 no longer knew, sent again from disk",
                &self.rebuilt,
            ),
            one("orphaned_uploads_total", "Uploads of an earlier run that were given up", &self.orphans),
            one("quarantined_total", "Objects and corrupt pieces put aside", &self.quarantined),
            one("deleted_objects_total", "Objects deleted after Retry_Limit", &self.deleted),
            one("no_log_key_total", "Records without log_key, which were not sent", &self.no_log_key),
            now("stored_bytes", "Bytes of records under store_dir", stored),
            now("oldest_waiting_seconds", "Age of the oldest record that S3 has not", age_seconds),
        ];
        list.extend(Cause::ALL.iter().zip(&self.retries).map(|((_, cause), count)| Counter {
            name: "upload_retries_total",
            help: "Requests that had to be repeated, by cause",
            labels: vec![("cause", (*cause).to_owned())],
            value: count.load(Relaxed),
        }));
        list
    }
}
