//! The JSON answers, key for key in Fluent Bit's order.
//!
//! Owns: their shapes. Never: answers a request.

use super::catalog::{self, COMPATIBLE_VERSION};
use super::readings;
use crate::metrics::InputMetrics;
use crate::monitor::{HealthCheck, Monitor};
use crate::storage::InputChunks;
use codecs::json::{Escape, write_text};
use codecs::record::Text;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What Fluent Bit calls the build flags, as far as they are true of us.
const FLAGS: &[&str] = &[
    "FLB_HAVE_PARSER",
    "FLB_HAVE_RECORD_ACCESSOR",
    "FLB_HAVE_TLS",
    "FLB_HAVE_METRICS",
    "FLB_HAVE_AWS",
    "FLB_HAVE_SIGNV4",
    "FLB_HAVE_SQLDB",
    "FLB_HAVE_HTTP_SERVER",
    "FLB_HAVE_TIMESPEC_GET",
    "FLB_HAVE_LIBYAML",
    "FLB_HAVE_REGEX",
    "FLB_HAVE_UTF8_ENCODER",
    "FLB_HAVE_INOTIFY",
];

/// `HC_Errors_Count`, `HC_Retry_Failure_Count` and `HC_Period` where nothing is set.
const HEALTH_DEFAULTS: HealthCheck =
    HealthCheck { errors_max: 5, retries_failed_max: 5, period: Duration::from_secs(60) };

/// `/`.
pub(super) fn root() -> String {
    object([(
        "fluent-bit",
        object([
            ("version", text(COMPATIBLE_VERSION)),
            ("edition", text("Community")),
            ("flags", list(FLAGS)),
        ]),
    )])
}

/// `/api/v1/uptime`. The two blanks before the days are Fluent Bit's.
pub(super) fn uptime(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let unit = |count: u64, name: &str| format!("{count} {name}{}", if count > 1 { "s" } else { "" });
    let readable = format!(
        "Fluent Bit has been running:  {}, {}, {} and {}",
        unit(seconds / 86_400, "day"),
        unit(seconds % 86_400 / 3600, "hour"),
        unit(seconds % 3600 / 60, "minute"),
        unit(seconds % 60, "second")
    );
    object([("uptime_sec", seconds.to_string()), ("uptime_hr", text(&readable))])
}

/// `/api/v1/plugins`.
pub(super) fn plugins(inputs: &[&str], filters: &[&str], outputs: &[&str]) -> String {
    object([(
        "plugins",
        object([("inputs", list(inputs)), ("filters", list(filters)), ("outputs", list(outputs))]),
    )])
}

/// `/api/v1/metrics`.
pub(super) fn metrics(monitor: &Monitor) -> String {
    object(catalog::sections(monitor).map(|(section, instances)| {
        let instances = instances
            .into_iter()
            .map(|(name, values)| (name, object(values.into_iter().map(|(k, v)| (k, v.to_string())))));
        (section, object(instances))
    }))
}

/// `/api/v1/storage`: chunks are the blocks that are read and not yet acknowledged.
pub(super) fn storage(monitor: &Monitor) -> String {
    let in_memory: u64 = monitor.inputs.iter().map(|i| i.metrics.jobs.load(Relaxed)).sum();
    let (stored, up) = readings::stored_chunks(monitor);
    let numbers = [
        ("total_chunks", in_memory + stored),
        ("mem_chunks", in_memory),
        ("fs_chunks", stored),
        ("fs_chunks_up", up),
        ("fs_chunks_down", stored - up),
    ];
    let layer = object([("chunks", object(numbers.map(|(k, v)| (k, v.to_string()))))]);
    let mut inputs: Vec<(&str, String)> = monitor
        .inputs
        .iter()
        .map(|i| (&*i.name, storage_of(&i.metrics, monitor.chunks_of(&i.name))))
        .collect();
    // What was on disk at the start counts as an input of its own, as in Fluent Bit.
    let backlog = format!("storage_backlog.{}", monitor.inputs.len());
    if let Some(store) = &monitor.store {
        let chunks = store.of_input(crate::storage::BACKLOG);
        inputs.push((&backlog, storage_of(&crate::metrics::InputMetrics::default(), chunks)));
    }
    let inputs = object(inputs);
    object([("storage_layer", layer), ("input_chunks", inputs)])
}

fn storage_of(metrics: &InputMetrics, stored: InputChunks) -> String {
    let chunks = metrics.jobs.load(Relaxed) + stored.up;
    let held = text(&human_size(readings::memory_used(metrics)));
    let status = object([
        ("overlimit", (readings::over_limit(metrics) == 1).to_string()),
        ("mem_size", held.clone()),
        ("mem_limit", text(&human_size(readings::memory_limit(metrics)))),
    ]);
    let busy = if chunks == 0 { text("0b") } else { held };
    let chunks = object([
        ("total", (chunks + stored.down).to_string()),
        ("up", chunks.to_string()),
        ("down", stored.down.to_string()),
        ("busy", (chunks + stored.down).to_string()),
        ("busy_size", busy),
    ]);
    object([("status", status), ("chunks", chunks)])
}

/// `/api/v2/health`: the answer, and whether all is well. It is there without `Health_Check` too, with its defaults.
pub(super) fn health(monitor: &Monitor) -> (String, bool) {
    let limits = monitor.health_check.unwrap_or(HEALTH_DEFAULTS);
    let (errors, retries_failed) = monitor.health.counts(limits.period);
    let good = monitor.health.good(limits.errors_max, limits.retries_failed_max, limits.period);
    let body = object([
        ("status", text(if good { "ok" } else { "error" })),
        ("errors", errors.to_string()),
        ("retries_failed", retries_failed.to_string()),
        ("error_limit", limits.errors_max.to_string()),
        ("retry_failure_limit", limits.retries_failed_max.to_string()),
        ("period_limit", limits.period.as_secs().to_string()),
        ("dead_outputs", monitor.health.dead(limits.period).to_string()),
    ]);
    (body, good)
}

/// `GET /api/v2/reload`.
pub(super) fn reload_count(count: u64) -> String {
    object([("hot_reload_count", count.to_string())])
}

/// `POST /api/v2/reload`.
pub(super) fn reload(what: &str, status: i32) -> String {
    object([("reload", text(what)), ("status", status.to_string())])
}

/// `100b`, `1.5K`: powers of 1024, as Fluent Bit prints sizes.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["b", "K", "M", "G", "T", "P", "E"];
    let (mut unit, mut size) = (0, bytes);
    while size >= 1024 {
        unit += 1;
        size /= 1024;
    }
    match unit {
        0 => format!("{bytes}b"),
        _ => format!("{:.1}{}", bytes as f64 / 1024f64.powi(unit as i32), UNITS[unit]),
    }
}

fn object<K: AsRef<str>>(fields: impl IntoIterator<Item = (K, String)>) -> String {
    let fields = fields.into_iter().map(|(key, value)| format!("{}:{value}", text(key.as_ref())));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn list(items: &[&str]) -> String {
    format!("[{}]", items.iter().map(|i| text(i)).collect::<Vec<_>>().join(","))
}

fn text(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_text(&mut out, Text::new(text.as_bytes()), Escape::Ascii);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_as_fluent_bit_words_it() {
        let cases = [
            (
                8,
                r#"{"uptime_sec":8,"uptime_hr":"Fluent Bit has been running:  0 day, 0 hour, 0 minute and 8 seconds"}"#,
            ),
            (
                93_721,
                r#"{"uptime_sec":93721,"uptime_hr":"Fluent Bit has been running:  1 day, 2 hours, 2 minutes and 1 second"}"#,
            ),
            (
                172_800,
                r#"{"uptime_sec":172800,"uptime_hr":"Fluent Bit has been running:  2 days, 0 hour, 0 minute and 0 second"}"#,
            ),
        ];
        for (seconds, want) in cases {
            assert_eq!(uptime(Duration::from_secs(seconds)), want);
        }
    }

    #[test]
    fn sizes_as_fluent_bit_prints_them() {
        for (bytes, want) in [
            (0, "0b"),
            (1023, "1023b"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (5_000_000, "4.8M"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(human_size(bytes), want);
        }
    }

    #[test]
    fn plugins_are_listed_by_kind() {
        assert_eq!(
            plugins(&["tail"], &[], &["a", "b\""]),
            r#"{"plugins":{"inputs":["tail"],"filters":[],"outputs":["a","b\""]}}"#
        );
    }
}
