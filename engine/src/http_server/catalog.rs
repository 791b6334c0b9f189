//! The metrics: one table that every rendering walks.
//!
//! Owns: names, help texts, types, labels, and how each is read. Never: formats.
//! Invariant: a name stands once per view; names that Fluent Bit 5.1.1 has mean here what they mean there.

use super::readings::*;
use crate::metrics::{FilterMetrics, Histogram, InputMetrics, OutputMetrics};
use crate::monitor::Monitor;
use crate::storage::InputChunks;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The version of Fluent Bit whose answers these are.
pub(super) const COMPATIBLE_VERSION: &str = "5.1.1";

/// When and where a question is answered.
pub(super) struct Moment {
    /// Wall-clock time.
    pub(super) now: SystemTime,
    /// How long the program runs.
    pub(super) uptime: Duration,
    /// For the label `hostname`.
    pub(super) hostname: String,
}

impl Moment {
    /// Now, here.
    pub(super) fn here(monitor: &Monitor) -> Moment {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Moment { now: SystemTime::now(), uptime: monitor.started.elapsed(), hostname }
    }

    /// Time since the epoch.
    pub(super) fn since_epoch(&self) -> Duration {
        self.now.duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// Prometheus type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Which answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// `/api/v1/metrics/prometheus`.
    V1,
    /// `/api/v2/metrics` and `/api/v2/metrics/prometheus`.
    V2,
}

/// One row of the table.
pub(super) struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// `None`: in both.
    view: Option<View>,
    /// Key in `/api/v1/metrics`, where it is shown there.
    json: Option<&'static str>,
    read: Read,
}

/// How a metric is read.
enum Read {
    /// One number, of the program.
    Process(fn(&Monitor, &Moment) -> u64),
    /// Any samples.
    Samples(fn(&Monitor, &Moment, &mut Vec<Sample>)),
    /// One number of the storage, where there is one.
    Stored(fn(&crate::storage::Counters) -> u64),
    /// One number per input.
    Input(fn(&InputMetrics) -> u64),
    /// One number per input of the plugin tail.
    Tail(fn(&InputMetrics) -> u64),
    /// One number per input with `storage.type memrb`.
    Ring(fn(&InputMetrics) -> u64),
    /// One number per input, of its blocks in memory and its chunk files.
    Chunks(fn(u64, InputChunks) -> u64),
    /// One number per filter.
    Filter(fn(&FilterMetrics) -> u64),
    /// One number per output.
    Output(fn(&OutputMetrics) -> u64),
}

/// A metric with its values.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: Cow<'static, str>,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// Belongs to instances (a label `name`), not to the program.
    pub(super) instances: bool,
    pub(super) samples: Vec<Sample>,
}

/// One value with its labels.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

/// What was measured.
#[derive(Debug)]
pub(super) enum Value {
    Number(u64),
    Histogram(Histogram),
}

impl Sample {
    pub(super) fn new(labels: Vec<(&'static str, String)>, value: u64) -> Sample {
        Sample { labels, value: Value::Number(value) }
    }
}

impl Metric {
    const fn counter(name: &'static str, help: &'static str, read: Read) -> Metric {
        Metric { name, help, kind: Kind::Counter, view: None, json: None, read }
    }

    const fn gauge(name: &'static str, help: &'static str, read: Read) -> Metric {
        Metric { kind: Kind::Gauge, ..Metric::counter(name, help, read) }
    }

    const fn json(self, key: &'static str) -> Metric {
        Metric { json: Some(key), ..self }
    }

    const fn only(self, view: View) -> Metric {
        Metric { view: Some(view), ..self }
    }

    fn instances(&self) -> bool {
        !matches!(self.read, Read::Process(_) | Read::Samples(_)) || self.name.starts_with("ripsaw_")
    }
}

pub(super) fn of(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

use Read::{Chunks, Filter, Input, Output, Process, Ring, Samples, Stored, Tail};

/// Every metric there is, in the order of the keys in Fluent Bit's `/api/v1/metrics`. What only outputs know of
/// themselves ([`outputs::Counter`]) follows them.
static METRICS: &[Metric] = &[
    Metric::counter(
        "fluentbit_uptime",
        "Number of seconds that Fluent Bit has been running.",
        Process(uptime),
    )
    .only(View::V1),
    Metric::gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        Process(start_time),
    )
    .only(View::V1),
    Metric::gauge("fluentbit_build_info", "Build version information.", Samples(build_info_v1))
        .only(View::V1),
    Metric::counter(
        "fluentbit_uptime",
        "Number of seconds that Fluent Bit has been running.",
        Samples(host_uptime),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_hot_reloaded_times",
        "Collect the count of hot reloaded times.",
        Samples(host_reloads),
    )
    .only(View::V2),
    Metric::counter("fluentbit_logger_logs_total", "Total number of logs.", Samples(logs)).only(View::V2),
    Metric::counter(
        "fluentbit_logger_queue_enqueued_total",
        "Total number of logger queue enqueues",
        Process(|_, _| all_logs()),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_logger_queue_dropped_total",
        "Total number of logger queue drops",
        // Messages are written by whoever tells them.
        Process(|_, _| 0),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_logger_queue_drained_total",
        "Total number of logger queue records drained",
        Process(|_, _| all_logs()),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_routing_logs_records_total",
        "Total log records routed from input to output",
        Samples(|m, _, samples| routed(m, samples, |t| Some(t.records))),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_routing_logs_bytes_total",
        "Total bytes routed from input to output (logs)",
        Samples(|m, _, samples| routed(m, samples, |t| Some(t.bytes))),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_routing_logs_drop_records_total",
        "Total log records dropped during routing",
        Samples(|m, _, samples| routed(m, samples, |t| Some(t.dropped_records).filter(|&n| n > 0))),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_routing_logs_drop_bytes_total",
        "Total bytes dropped during routing (logs)",
        Samples(|m, _, samples| routed(m, samples, |t| Some(t.dropped_bytes).filter(|&n| n > 0))),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        Samples(host_start_time),
    )
    .only(View::V2),
    Metric::gauge("fluentbit_build_info", "Build version information.", Samples(build_info_v2))
        .only(View::V2),
    Metric::gauge("ripsaw_build_info", "Version of ripsaw.", Samples(own_build_info)),
    Metric::gauge(
        "ripsaw_memory_used_bytes",
        "Bytes of blocks, segments and queues in use, of the memory budget.",
        Process(|m, _| m.budget.used() as u64),
    ),
    Metric::gauge(
        "ripsaw_memory_limit_bytes",
        "The memory budget in bytes.",
        Process(|m, _| m.budget.limit() as u64),
    ),
    Metric::gauge(
        "fluentbit_storage_chunks",
        "Total number of chunks in the storage layer.",
        Process(all_chunks),
    )
    .only(View::V2),
    Metric::gauge("fluentbit_storage_mem_chunks", "Total number of memory chunks.", Process(chunks))
        .only(View::V2),
    Metric::gauge(
        "fluentbit_storage_fs_chunks",
        "Total number of filesystem chunks.",
        Process(|m, _| stored_chunks(m).0),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_storage_fs_chunks_up",
        "Total number of filesystem chunks up in memory.",
        Process(|m, _| stored_chunks(m).1),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_storage_fs_chunks_down",
        "Total number of filesystem chunks down.",
        Process(|m, _| stored_chunks(m).0 - stored_chunks(m).1),
    )
    .only(View::V2),
    Metric::gauge("ripsaw_storage_bytes", "Bytes of the chunk files.", Stored(|s| of(&s.bytes))),
    Metric::counter(
        "ripsaw_storage_recovered_records_total",
        "Records that were on disk at the start and go out again.",
        Stored(|s| of(&s.recovered_records)),
    ),
    Metric::counter(
        "ripsaw_storage_damaged_chunks_total",
        "Chunk files with damage: what stands before it was saved.",
        Stored(|s| of(&s.damaged_chunks)),
    ),
    Metric::gauge(
        "ripsaw_storage_orphaned_chunks",
        "Chunk files that no output of this configuration can deliver.",
        Stored(|s| of(&s.orphaned_chunks)),
    ),
    Metric::counter(
        "ripsaw_storage_errors_total",
        "Failed writes; what they were to store waits in memory instead.",
        Stored(|s| of(&s.errors)),
    ),
    Metric::gauge("ripsaw_storage_failing", "1 while the disk refuses writes.", Stored(|s| of(&s.failing))),
    Metric::counter(
        "ripsaw_storage_rejected_records_total",
        "Records kept aside because an output refused them.",
        Stored(|s| of(&s.rejected_records)),
    ),
    Metric::gauge(
        "ripsaw_storage_rejected_bytes",
        "Bytes of what is kept aside.",
        Stored(|s| of(&s.rejected_bytes)),
    ),
    Metric::counter(
        "ripsaw_storage_rejected_dropped_chunks_total",
        "Files of refused records that had to go because of storage.rejected.limit.",
        Stored(|s| of(&s.rejected_dropped_chunks)),
    ),
    // Inputs.
    Metric::counter("fluentbit_input_records_total", "Number of input records.", Input(|m| of(&m.records)))
        .json("records"),
    Metric::counter(
        "fluentbit_input_bytes_total",
        "Number of input bytes, as read.",
        Input(|m| of(&m.bytes)),
    )
    .json("bytes"),
    Metric::counter(
        "fluentbit_input_files_opened_total",
        "Number of opened files.",
        Tail(|m| of(&m.files_opened)),
    )
    .json("files_opened"),
    Metric::counter(
        "fluentbit_input_files_closed_total",
        "Number of closed files.",
        Tail(|m| of(&m.files_closed)),
    )
    .json("files_closed"),
    Metric::counter(
        "fluentbit_input_files_rotated_total",
        "Number of rotated files.",
        Tail(|m| of(&m.files_rotated)),
    )
    .json("files_rotated"),
    Metric::counter(
        "fluentbit_input_multiline_truncated_total",
        "Number of multiline records cut at the buffer limit.",
        Tail(|m| of(&m.multiline_truncated)),
    )
    .json("multiline_truncated"),
    Metric::counter(
        "fluentbit_input_long_line_truncated_total",
        "Number of lines cut at the buffer limit.",
        Tail(|m| of(&m.long_lines_truncated)),
    )
    .json("long_line_truncated"),
    Metric::counter(
        "fluentbit_input_long_line_skipped_total",
        "Number of lines skipped because they are longer than the buffer limit.",
        Tail(|m| of(&m.long_lines_skipped)),
    )
    .json("long_line_skipped"),
    Metric::gauge(
        "fluentbit_input_ingestion_paused",
        "Is the input paused or not?",
        Input(|m| of(&m.paused)),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_input_storage_overlimit",
        "Is the input memory usage over its limit?",
        Input(over_limit),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_input_storage_memory_bytes",
        "Memory bytes used by the chunks.",
        Input(memory_used),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_input_storage_chunks",
        "Total number of chunks.",
        Chunks(|in_memory, stored| in_memory + stored.up + stored.down),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_input_storage_chunks_up",
        "Total number of chunks up in memory.",
        Chunks(|in_memory, stored| in_memory + stored.up),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_input_storage_chunks_down",
        "Total number of chunks down.",
        Chunks(|_, stored| stored.down),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_input_storage_chunks_busy",
        "Total number of chunks in a busy state.",
        Chunks(|in_memory, stored| in_memory + stored.up + stored.down),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_input_memrb_dropped_chunks",
        "Number of memrb dropped chunks.",
        Ring(|m| of(&m.ring_dropped_chunks)),
    )
    .only(View::V2),
    Metric::counter(
        "fluentbit_input_memrb_dropped_bytes",
        "Number of memrb dropped bytes.",
        Ring(|m| of(&m.ring_dropped_bytes)),
    )
    .only(View::V2),
    Metric::gauge(
        "fluentbit_input_storage_chunks_busy_bytes",
        "Total number of bytes used by chunks in a busy state.",
        Input(memory_used),
    )
    .only(View::V2),
    Metric::gauge(
        "ripsaw_input_files_open",
        "Number of files that are open for reading.",
        Tail(|m| of(&m.files_open)),
    ),
    Metric::counter(
        "ripsaw_input_read_errors_total",
        "Number of files, directories, journal entries, fields and answers that could not be opened or read.",
        Input(|m| of(&m.read_errors)),
    ),
    Metric::counter(
        "ripsaw_input_failed_jobs_total",
        "Number of blocks that were not delivered because of an internal error; their offset is not committed.",
        Input(|m| of(&m.failed_jobs)),
    ),
    Metric::counter(
        "ripsaw_input_replaced_lines_total",
        "Number of lines with bytes that mean nothing in the encoding of their file, each now U+FFFD.",
        Tail(|m| of(&m.replaced_lines)),
    ),
    Metric::counter(
        "ripsaw_input_bytes_lost_total",
        "Number of bytes that a rotation or truncation destroyed before they were read.",
        Tail(|m| of(&m.bytes_lost)),
    ),
    Metric::counter(
        "ripsaw_input_database_errors_total",
        "Number of failed writes of the offset database; they are tried again.",
        Input(|m| of(&m.database_errors)),
    ),
    Metric::gauge(
        "ripsaw_input_behind_bytes",
        "Number of bytes that are written but not read, over all files.",
        Tail(|m| of(&m.lag_bytes)),
    ),
    Metric::gauge(
        "ripsaw_input_lag_bytes",
        "Number of bytes that are written but not read, for each file that is behind.",
        Samples(lag_bytes),
    ),
    Metric::gauge(
        "ripsaw_input_lag_seconds",
        "Seconds since a file that is behind was last read to its end.",
        Samples(lag_seconds),
    ),
    // Filters.
    Metric::counter(
        "fluentbit_filter_drop_records_total",
        "Number of records that the filter dropped.",
        Filter(|m| of(&m.dropped)),
    )
    .json("drop_records"),
    Metric::counter(
        "fluentbit_filter_add_records_total",
        "Number of records that the filter added.",
        Filter(|m| of(&m.added)),
    )
    .json("add_records"),
    Metric::counter(
        "ripsaw_filter_failed_records_total",
        "Number of records that went on as they came, because the filter failed on them.",
        Filter(|m| of(&m.failed)),
    ),
    Metric::counter(
        "fluentbit_filter_records_total",
        "Number of records that the filter saw.",
        Filter(|m| of(&m.records)),
    )
    .json("records"),
    Metric::counter(
        "fluentbit_filter_bytes_total",
        "Always 0: records have no size between filters.",
        Filter(|_| 0),
    )
    .json("bytes"),
    Metric::counter(
        "fluentbit_filter_drop_bytes_total",
        "Always 0: records have no size between filters.",
        Filter(|_| 0),
    )
    .json("drop_bytes"),
    // Outputs.
    Metric::counter(
        "fluentbit_output_proc_records_total",
        "Number of processed output records.",
        Output(|m| of(&m.proc_records)),
    )
    .json("proc_records"),
    Metric::counter(
        "fluentbit_output_proc_bytes_total",
        "Number of processed output bytes, as sent.",
        Output(|m| of(&m.proc_bytes)),
    )
    .json("proc_bytes"),
    Metric::counter("fluentbit_output_errors_total", "Number of output errors.", Output(|m| of(&m.errors)))
        .json("errors"),
    Metric::counter(
        "fluentbit_output_retries_total",
        "Number of output retries.",
        Output(|m| of(&m.retries)),
    )
    .json("retries"),
    Metric::counter(
        "fluentbit_output_retries_failed_total",
        "Number of abandoned batches because the maximum number of re-tries was reached.",
        Output(|m| of(&m.retries_failed)),
    )
    .json("retries_failed"),
    Metric::counter(
        "fluentbit_output_dropped_records_total",
        "Number of dropped records.",
        Output(|m| of(&m.dropped_records)),
    )
    .json("dropped_records"),
    Metric::counter(
        "fluentbit_output_retried_records_total",
        "Number of retried records.",
        Output(|m| of(&m.retried_records)),
    )
    .json("retried_records"),
    Metric::counter(
        "fluentbit_output_records_total",
        "The same as fluentbit_output_proc_records_total.",
        Output(|m| of(&m.proc_records)),
    ),
    Metric::counter(
        "fluentbit_output_bytes_total",
        "The same as fluentbit_output_proc_bytes_total.",
        Output(|m| of(&m.proc_bytes)),
    ),
    Metric {
        kind: Kind::Histogram,
        ..Metric::gauge(
            "fluentbit_output_latency_seconds",
            "Seconds from a record's way into the queue to its delivery.",
            Samples(latency),
        )
    }
    .only(View::V2),
    Metric::counter(
        "ripsaw_output_dropped_records_total",
        "Number of dropped records by cause.",
        Samples(dropped_by_cause),
    ),
    Metric::gauge(
        "ripsaw_output_queued_bytes",
        "Number of encoded bytes that wait for delivery.",
        Output(|m| of(&m.queued_bytes)),
    ),
    Metric::gauge(
        "ripsaw_output_queued_records",
        "Number of records that wait for delivery.",
        Output(|m| of(&m.queued_records)),
    ),
    Metric::gauge(
        "ripsaw_output_busy_chunks",
        "Number of chunks that are being delivered or wait for their next attempt.",
        Output(|m| of(&m.busy_chunks)),
    ),
    Metric::gauge(
        "ripsaw_output_circuit_open",
        "1 while the destination keeps failing: one delivery at a time probes it, all others wait.",
        Output(|m| of(&m.circuit_open)),
    ),
    Metric::counter(
        "ripsaw_output_circuit_opened_total",
        "How often a destination failed so often in a row that it was only probed.",
        Output(|m| of(&m.circuit_opened)),
    ),
    Metric::gauge(
        "ripsaw_output_last_delivery_timestamp_seconds",
        "When something was last delivered, since unix epoch in seconds; 0 before that.",
        Output(|m| of(&m.last_delivery)),
    ),
];

/// Every metric of a view with its values, in the order of the table.
pub(super) fn families(monitor: &Monitor, moment: &Moment, view: View) -> Vec<Family> {
    let shown = METRICS.iter().filter(|m| m.view.is_none_or(|v| v == view));
    let common = shown.map(|metric| Family {
        name: metric.name.into(),
        help: metric.help,
        kind: metric.kind,
        instances: metric.instances(),
        samples: samples(metric, monitor, moment),
    });
    // A metric without a sample says nothing.
    common.filter(|f| !f.samples.is_empty()).chain(own_counters(monitor)).collect()
}

fn samples(metric: &Metric, monitor: &Monitor, moment: &Moment) -> Vec<Sample> {
    let mut samples = Vec::new();
    match metric.read {
        Process(read) => samples.push(Sample::new(Vec::new(), read(monitor, moment))),
        Samples(read) => read(monitor, moment, &mut samples),
        Stored(read) => {
            let stored = monitor.store.iter().map(|store| Sample::new(Vec::new(), read(&store.counters)));
            samples.extend(stored);
        }
        Input(_) | Tail(_) | Ring(_) | Chunks(_) | Filter(_) | Output(_) => {
            each_instance(metric, monitor, |name, value| samples.push(named(name, value)));
        }
    }
    samples
}

/// Calls `found` with the name of each instance that has the metric, and its value.
fn each_instance<'m>(metric: &Metric, monitor: &'m Monitor, mut found: impl FnMut(&'m str, u64)) {
    match metric.read {
        Input(read) => monitor.inputs.iter().for_each(|i| found(&i.name, read(&i.metrics))),
        Tail(read) => tails(monitor).for_each(|i| found(&i.name, read(&i.metrics))),
        Filter(read) => monitor.filters.iter().for_each(|f| found(&f.watched.name, read(&f.watched.metrics))),
        Output(read) => monitor.outputs.iter().for_each(|o| found(&o.watched.name, read(&o.watched.metrics))),
        Ring(read) => {
            let rings = monitor.inputs.iter().filter(|i| i.metrics.is_ring.load(Relaxed));
            rings.for_each(|i| found(&i.name, read(&i.metrics)));
        }
        Chunks(read) => monitor.inputs.iter().for_each(|i| {
            found(&i.name, read(of(&i.metrics.jobs), monitor.chunks_of(&i.name)));
        }),
        Process(_) | Samples(_) | Stored(_) => {}
    }
}

/// What `/api/v1/metrics` shows: for `input`, `filter` and `output` the instances in their order, each with its keys.
pub(super) type Sections<'m> = [(&'static str, Vec<Instance<'m>>); 3];

/// An instance's name, and its keys with their values.
type Instance<'m> = (&'m str, Vec<(&'static str, u64)>);

/// The values of `/api/v1/metrics`.
pub(super) fn sections(monitor: &Monitor) -> Sections<'_> {
    let mut sections: Sections<'_> = [
        ("input", monitor.inputs.iter().map(|i| (&*i.name, Vec::new())).collect()),
        ("filter", monitor.filters.iter().map(|f| (&*f.watched.name, Vec::new())).collect()),
        ("output", monitor.outputs.iter().map(|o| (&*o.watched.name, Vec::new())).collect()),
    ];
    for metric in METRICS {
        let Some(key) = metric.json else { continue };
        let section = match metric.read {
            Input(_) | Tail(_) | Ring(_) | Chunks(_) => &mut sections[0].1,
            Filter(_) => &mut sections[1].1,
            _ => &mut sections[2].1,
        };
        each_instance(metric, monitor, |name, value| {
            if let Some((_, values)) = section.iter_mut().find(|(n, _)| *n == name) {
                values.push((key, value));
            }
        });
    }
    sections
}

fn named(name: &str, value: u64) -> Sample {
    Sample::new(vec![("name", name.to_owned())], value)
}

/// What only filters and outputs know of themselves, gathered by name.
fn own_counters(monitor: &Monitor) -> impl Iterator<Item = Family> {
    let filters = monitor.filters.iter().map(|f| ("ripsaw_filter_", &f.watched.name, f.filter.counters()));
    let outputs = monitor.outputs.iter().map(|o| ("ripsaw_output_", &o.watched.name, o.output.counters()));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for (prefix, instance, counters) in filters.chain(outputs) {
        for counter in counters {
            let name = format!("{prefix}{}", counter.name);
            // A name of the table is not told twice: a scraper refuses the whole answer then.
            if METRICS.iter().any(|m| m.name == name) {
                continue;
            }
            let mut labels = vec![("name", instance.clone())];
            labels.extend(counter.labels);
            let family = families.entry(name.clone()).or_insert_with(|| Family {
                name: name.into(),
                help: counter.help,
                kind: if counter.name.ends_with("_total") { Kind::Counter } else { Kind::Gauge },
                instances: true,
                samples: Vec::new(),
            });
            family.samples.push(Sample::new(labels, counter.value));
        }
    }
    families.into_values()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_once_per_view_and_follow_the_rules() {
        for view in [View::V1, View::V2] {
            let names: Vec<_> =
                METRICS.iter().filter(|m| m.view.is_none_or(|v| v == view)).map(|m| m.name).collect();
            for (at, name) in names.iter().enumerate() {
                assert!(!names[..at].contains(name), "{name} stands twice");
                assert!(
                    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                    "{name}"
                );
            }
        }
        for metric in METRICS.iter().filter(|m| m.name.starts_with("ripsaw_")) {
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(!metric.help.is_empty() && metric.json.is_none());
        }
    }
}
