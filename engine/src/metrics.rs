//! Counters of the engine. Each is one atomic that its owner adds to; readers take what is there.

use crate::budget::Budget;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

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
    /// Multi-line groups cut because they were too long.
    pub multiline_truncated: AtomicU64,
    /// Lines in which something had no meaning in the encoding of their file, and became U+FFFD.
    pub replaced_lines: AtomicU64,
    /// Bytes that were destroyed before they could be read (a rotation, a truncation).
    pub bytes_lost: AtomicU64,
    /// Files, directories, journal entries, fields or answers that could not be opened or read.
    pub read_errors: AtomicU64,
    /// Bytes that are written but not read, over all files (gauge).
    pub lag_bytes: AtomicU64,
    /// 1 while the input waits for memory (gauge).
    pub paused: AtomicU64,
    /// Pieces of input that no record could be made of (not JSON, not fit for the parser).
    pub invalid: AtomicU64,
    /// Jobs that ended in an internal error: not delivered, not committed.
    pub failed_jobs: AtomicU64,
    /// Failed writes of the offset `DB` (they are tried again).
    pub database_errors: AtomicU64,
    /// Files that are behind, by path; a file that is read to its end is not in it.
    pub files: Mutex<HashMap<Arc<str>, FileLag>>,
    /// Blocks that were read and are not acknowledged yet (gauge).
    pub jobs: AtomicU64,
    /// Its `storage.type` is memrb.
    pub is_ring: AtomicBool,
    /// Segments that its ring dropped.
    pub ring_dropped_chunks: AtomicU64,
    /// Encoded bytes that its ring dropped.
    pub ring_dropped_bytes: AtomicU64,
    /// What it holds in memory against `Mem_Buf_Limit`; set when it starts.
    pub memory: OnceLock<Arc<Budget>>,
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
    /// Records that went on as they came, because what was to be done with them failed (an error in a script).
    pub failed: AtomicU64,
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
    /// 1 while the destination keeps failing and is only probed (gauge).
    pub circuit_open: AtomicU64,
    /// How often that began.
    pub circuit_opened: AtomicU64,
    /// Seconds since the epoch of the last delivery.
    pub last_delivery: AtomicU64,
    /// From a record's way into the queue to its delivery.
    pub latency: Latencies,
    /// What came from each input.
    pub routed: Routed,
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

/// What went from one input to one output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Records delivered.
    pub records: u64,
    /// Encoded bytes delivered.
    pub bytes: u64,
    /// Records dropped.
    pub dropped_records: u64,
    /// Encoded bytes dropped.
    pub dropped_bytes: u64,
}

/// Traffic of one output by the input that it came from.
#[derive(Debug, Default)]
pub struct Routed(Mutex<BTreeMap<String, Traffic>>);

impl Routed {
    /// So many records of this input, of so many bytes, were delivered, or else dropped.
    pub fn count(&self, input: &str, records: u64, bytes: u64, delivered: bool) {
        let mut inputs = self.0.lock().expect("traffic lock");
        if !inputs.contains_key(input) {
            inputs.insert(input.to_owned(), Traffic::default());
        }
        let Some(traffic) = inputs.get_mut(input) else { return };
        let (all_records, all_bytes) = match delivered {
            true => (&mut traffic.records, &mut traffic.bytes),
            false => (&mut traffic.dropped_records, &mut traffic.dropped_bytes),
        };
        *all_records += records;
        *all_bytes += bytes;
    }

    /// What there is, by input.
    pub fn by_input(&self) -> BTreeMap<String, Traffic> {
        self.0.lock().expect("traffic lock").clone()
    }
}

/// Upper bounds of the latency buckets in seconds, as text and as a number; Fluent Bit's.
pub const LATENCY_BOUNDS: [(&str, f64); 8] = [
    ("0.5", 0.5),
    ("1.0", 1.0),
    ("1.5", 1.5),
    ("2.5", 2.5),
    ("5.0", 5.0),
    ("10.0", 10.0),
    ("20.0", 20.0),
    ("30.0", 30.0),
];

/// How long deliveries took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Observations up to each of [`LATENCY_BOUNDS`], each including those before it.
    pub buckets: [u64; LATENCY_BOUNDS.len()],
    /// All observations.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

impl Histogram {
    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bucket, (_, bound)) in self.buckets.iter_mut().zip(LATENCY_BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// Latencies of one output by the input that the records came from.
#[derive(Debug, Default)]
pub struct Latencies(Mutex<BTreeMap<String, Histogram>>);

impl Latencies {
    /// Something of this input was delivered so long after it was queued.
    pub fn observe(&self, input: &str, took: Duration) {
        let mut inputs = self.0.lock().expect("latency lock");
        match inputs.get_mut(input) {
            Some(histogram) => histogram.observe(took),
            None => inputs.entry(input.to_owned()).or_default().observe(took),
        }
    }

    /// What there is, by input.
    pub fn by_input(&self) -> BTreeMap<String, Histogram> {
        self.0.lock().expect("latency lock").clone()
    }
}
