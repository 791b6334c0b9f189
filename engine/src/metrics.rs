//! Counters of the engine. Each is one atomic that its owner adds to; readers take what is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Counters of one input.
#[derive(Debug, Default)]
pub struct InputMetrics {
    /// Records made from it.
    pub records: AtomicU64,
    /// Bytes read into records.
    pub bytes: AtomicU64,
    /// Files being read now (gauge).
    pub files_open: AtomicU64,
    /// Files opened so far (`fluentbit_input_files_opened_total`).
    pub files_opened: AtomicU64,
    /// Files closed so far.
    pub files_closed: AtomicU64,
    /// Rotations seen.
    pub files_rotated: AtomicU64,
    /// Lines skipped because they were too long.
    pub long_lines_skipped: AtomicU64,
    /// Lines cut because they were too long.
    pub long_lines_truncated: AtomicU64,
    /// Bytes that were destroyed before they could be read (a rotation, a truncation).
    pub bytes_lost: AtomicU64,
    /// Files or directories that could not be opened or read.
    pub read_errors: AtomicU64,
    /// Bytes that are written but not read, over all files (gauge).
    pub lag_bytes: AtomicU64,
    /// 1 while the input waits for memory (gauge).
    pub paused: AtomicU64,
    /// Failed writes of the offset `DB` (they are tried again).
    pub database_errors: AtomicU64,
    /// Files that are behind, by path; a file that is read to its end is not in it.
    pub files: Mutex<HashMap<Arc<str>, FileLag>>,
}

/// How far the reading of a file is behind its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLag {
    /// Bytes that are written but not read.
    pub bytes: u64,
    /// Since when it has not been read to its end.
    pub since: SystemTime,
}

/// Counters of one filter.
#[derive(Debug, Default)]
pub struct FilterMetrics {
    /// Records that came in.
    pub records: AtomicU64,
    /// Records that it dropped.
    pub dropped: AtomicU64,
    /// Records that it made.
    pub added: AtomicU64,
}

/// Counters of one output, named as in Fluent Bit.
#[derive(Debug, Default)]
pub struct OutputMetrics {
    /// Records delivered.
    pub proc_records: AtomicU64,
    /// Bytes delivered (encoded, before compression).
    pub proc_bytes: AtomicU64,
    /// Chunks that failed for good.
    pub errors: AtomicU64,
    /// Attempts that are to be repeated.
    pub retries: AtomicU64,
    /// Chunks given up because their retries ran out.
    pub retries_failed: AtomicU64,
    /// Records of attempts that are to be repeated.
    pub retried_records: AtomicU64,
    /// Records dropped, for any cause.
    pub dropped_records: AtomicU64,
    /// Bytes queued now (gauge).
    pub queued_bytes: AtomicU64,
    /// Records queued now (gauge).
    pub queued_records: AtomicU64,
    /// Chunks under way now (gauge).
    pub busy_chunks: AtomicU64,
    /// Seconds since the epoch of the last delivery.
    pub last_delivery: AtomicU64,
    dropped_by_cause: Mutex<BTreeMap<&'static str, u64>>,
}

impl OutputMetrics {
    /// Counts dropped records under a cause.
    pub fn drop_records(&self, cause: &'static str, records: u64) {
        self.dropped_records.fetch_add(records, Relaxed);
        *self.dropped_by_cause.lock().expect("cause lock").entry(cause).or_default() += records;
    }

    /// Dropped records by cause.
    pub fn dropped_by_cause(&self) -> BTreeMap<&'static str, u64> {
        self.dropped_by_cause.lock().expect("cause lock").clone()
    }
}
