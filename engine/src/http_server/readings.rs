//! How the metrics that are no single counter are read.
//!
//! Owns: samples with labels of their own, sums over instances. Never: names a metric.

use super::catalog::{COMPATIBLE_VERSION, Moment, Sample, Value, of};
use crate::log::Level;
use crate::metrics::InputMetrics;
use crate::monitor::{Monitor, Watched};
use std::time::UNIX_EPOCH;

/// Files shown by path: those most behind. Bounds the answer with ten thousand files.
const LAG_FILES_MAX: usize = 1000;

pub(super) fn tails(monitor: &Monitor) -> impl Iterator<Item = &Watched<InputMetrics>> {
    monitor.inputs.iter().filter(|i| i.plugin == "tail")
}

/// Chunk files, and those of which something is in memory.
pub(super) fn stored_chunks(monitor: &Monitor) -> (u64, u64) {
    let Some(store) = &monitor.store else { return (0, 0) };
    let chunks = of(&store.counters.chunks);
    (chunks, of(&store.counters.chunks_up).min(chunks))
}

pub(super) fn uptime(_: &Monitor, moment: &Moment) -> u64 {
    moment.uptime.as_secs()
}

pub(super) fn start_time(monitor: &Monitor, _: &Moment) -> u64 {
    monitor.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn all_chunks(monitor: &Monitor, moment: &Moment) -> u64 {
    chunks(monitor, moment) + stored_chunks(monitor).0
}

pub(super) fn chunks(monitor: &Monitor, _: &Moment) -> u64 {
    monitor.inputs.iter().map(|i| of(&i.metrics.jobs)).sum()
}

/// Bytes that an input holds in memory.
pub(super) fn memory_used(metrics: &InputMetrics) -> u64 {
    metrics.memory.get().map_or(0, |b| b.used() as u64)
}

/// `Mem_Buf_Limit`; 0 where there is none.
pub(super) fn memory_limit(metrics: &InputMetrics) -> u64 {
    metrics.memory.get().map(|b| b.limit()).filter(|l| *l < usize::MAX / 2).map_or(0, |l| l as u64)
}

/// 1 when an input holds more than its limit.
pub(super) fn over_limit(metrics: &InputMetrics) -> u64 {
    u64::from(memory_limit(metrics) > 0 && memory_used(metrics) >= memory_limit(metrics))
}

pub(super) fn hosted(moment: &Moment) -> Vec<(&'static str, String)> {
    vec![("hostname", moment.hostname.clone())]
}

pub(super) fn host_uptime(monitor: &Monitor, moment: &Moment, samples: &mut Vec<Sample>) {
    samples.push(Sample::new(hosted(moment), uptime(monitor, moment)));
}

pub(super) fn host_reloads(monitor: &Monitor, moment: &Moment, samples: &mut Vec<Sample>) {
    samples.push(Sample::new(hosted(moment), monitor.reloads.count()));
}

pub(super) fn host_start_time(monitor: &Monitor, moment: &Moment, samples: &mut Vec<Sample>) {
    samples.push(Sample::new(hosted(moment), start_time(monitor, moment)));
}

pub(super) fn logs(_: &Monitor, _: &Moment, samples: &mut Vec<Sample>) {
    for (word, level) in [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ] {
        samples.push(Sample::new(vec![("message_type", word.to_owned())], crate::log::written(level)));
    }
}

pub(super) fn build_info_v1(_: &Monitor, _: &Moment, samples: &mut Vec<Sample>) {
    samples.push(Sample::new(
        vec![("version", COMPATIBLE_VERSION.to_owned()), ("edition", "Community".to_owned())],
        1,
    ));
}

/// Its value is the start time, as there.
pub(super) fn build_info_v2(monitor: &Monitor, moment: &Moment, samples: &mut Vec<Sample>) {
    let mut labels = hosted(moment);
    labels.extend([("version", COMPATIBLE_VERSION.to_owned()), ("os", "linux".to_owned())]);
    samples.push(Sample::new(labels, start_time(monitor, moment)));
}

pub(super) fn own_build_info(_: &Monitor, _: &Moment, samples: &mut Vec<Sample>) {
    samples.push(Sample::new(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1));
}

pub(super) fn lag_bytes(monitor: &Monitor, _: &Moment, samples: &mut Vec<Sample>) {
    each_lag(monitor, |labels, lag| samples.push(Sample::new(labels, lag.bytes)));
}

pub(super) fn lag_seconds(monitor: &Monitor, moment: &Moment, samples: &mut Vec<Sample>) {
    let behind = |since| moment.now.duration_since(since).unwrap_or_default().as_secs();
    each_lag(monitor, |labels, lag| samples.push(Sample::new(labels, behind(lag.since))));
}

/// The files that are most behind, most first.
pub(super) fn each_lag(
    monitor: &Monitor,
    mut found: impl FnMut(Vec<(&'static str, String)>, crate::metrics::FileLag),
) {
    for tail in tails(monitor) {
        let files = tail.metrics.files.lock().expect("lag lock");
        let mut files: Vec<_> = files.iter().map(|(path, lag)| (path.to_string(), *lag)).collect();
        files.sort_by(|(a, x), (b, y)| y.bytes.cmp(&x.bytes).then_with(|| a.cmp(b)));
        files.truncate(LAG_FILES_MAX);
        files
            .into_iter()
            .for_each(|(path, lag)| found(vec![("name", tail.name.clone()), ("path", path)], lag));
    }
}

pub(super) fn all_logs() -> u64 {
    [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(crate::log::written).iter().sum()
}

/// One number of each pair of an input and an output between which something went.
pub(super) fn routed(
    monitor: &Monitor,
    samples: &mut Vec<Sample>,
    read: impl Fn(crate::metrics::Traffic) -> Option<u64>,
) {
    for output in &monitor.outputs {
        for (input, traffic) in output.watched.metrics.routed.by_input() {
            let Some(value) = read(traffic) else { continue };
            let labels = vec![("input", input), ("output", output.watched.name.clone())];
            samples.push(Sample::new(labels, value));
        }
    }
}

pub(super) fn latency(monitor: &Monitor, _: &Moment, samples: &mut Vec<Sample>) {
    for output in &monitor.outputs {
        for (input, histogram) in output.watched.metrics.latency.by_input() {
            let labels = vec![("input", input), ("output", output.watched.name.clone())];
            samples.push(Sample { labels, value: Value::Histogram(histogram) });
        }
    }
}

pub(super) fn dropped_by_cause(monitor: &Monitor, _: &Moment, samples: &mut Vec<Sample>) {
    for output in &monitor.outputs {
        for (cause, records) in output.watched.metrics.dropped_by_cause() {
            samples.push(Sample::new(
                vec![("name", output.watched.name.clone()), ("cause", cause.to_owned())],
                records,
            ));
        }
    }
}
