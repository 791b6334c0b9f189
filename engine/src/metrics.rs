//! Counters of the engine.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
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
