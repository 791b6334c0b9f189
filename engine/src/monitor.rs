//! What can be watched: every instance with its counters, and the state of the program.

use crate::budget::Budget;
use crate::health::Health;
use crate::metrics::{FilterMetrics, InputMetrics, OutputMetrics};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// An instance and its counters.
pub struct Watched<M> {
    /// `tail.0`, or its alias: the `name` label.
    pub name: String,
    /// `tail`.
    pub plugin: &'static str,
    /// Its counters.
    pub metrics: Arc<M>,
}

/// An output with what only it knows.
pub struct WatchedOutput {
    /// Name and counters.
    pub watched: Watched<OutputMetrics>,
    /// The output, for counters of its own.
    pub output: Arc<dyn outputs::Output>,
}

/// A filter with what only it knows.
pub struct WatchedFilter {
    /// Name and counters.
    pub watched: Watched<FilterMetrics>,
    /// The filter, for counters of its own.
    pub filter: Arc<dyn crate::filters::Filter>,
}

/// Everything that the monitoring server shows. Made once at start; the counters in it change.
pub struct Monitor {
    /// Inputs in the order of the configuration.
    pub inputs: Vec<Watched<InputMetrics>>,
    /// Filters in the order of the configuration.
    pub filters: Vec<WatchedFilter>,
    /// Outputs in the order of the configuration.
    pub outputs: Vec<WatchedOutput>,
    /// Bytes of the process.
    pub budget: Arc<Budget>,
    /// Errors of the last period.
    pub health: Arc<Health>,
    /// `Health_Check` and its limits, when it is on.
    pub health_check: Option<HealthCheck>,
    /// What is on disk, where there is a `storage.path`.
    pub store: Option<Arc<crate::storage::Store>>,
    /// How often the configuration was replaced, and who may ask for it.
    pub reloads: Arc<crate::reload::Reloads>,
    /// `storage.metrics`.
    pub storage_metrics: bool,
    /// When the program started, for uptime.
    pub started: Instant,
    /// When the program started, for `process_start_time_seconds`.
    pub started_at: SystemTime,
    /// `Flush` in seconds, as `/` shows it.
    pub flush: f64,
}

impl Monitor {
    /// Chunk files of an input.
    pub fn chunks_of(&self, input: &str) -> crate::storage::InputChunks {
        self.store.as_ref().map(|store| store.of_input(input)).unwrap_or_default()
    }
}

/// `HC_Errors_Count`, `HC_Retry_Failure_Count`, `HC_Period`.
#[derive(Clone, Copy, Debug)]
pub struct HealthCheck {
    /// Errors above which the answer is 500.
    pub errors_max: usize,
    /// Failed retries above which the answer is 500.
    pub retries_failed_max: usize,
    /// Over which time.
    pub period: Duration,
}
