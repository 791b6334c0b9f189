//! Metrics as text: Prometheus' exposition format, and the lines of `/api/v2/metrics`.
//!
//! Owns: the two formats. Never: reads a counter.
//! Invariant: what is written parses again whatever a name, a path or a label holds.

use super::catalog::{Family, Kind, Sample, Value, View};
use crate::metrics::LATENCY_BOUNDS;
use codecs::record::Timestamp;
use outputs::formats::{DateFormat, write_date};
use std::fmt::Write;
use std::time::Duration;

/// Prometheus' text format 0.0.4. As in Fluent Bit, the first version sorts what belongs to instances by name, writes it
/// first and with the time in milliseconds.
pub(super) fn prometheus(mut families: Vec<Family>, view: View, since_epoch: Duration) -> String {
    if view == View::V1 {
        // A stable sort: what belongs to the program keeps its order.
        families.sort_by_key(|f| if f.instances { (0, f.name.clone()) } else { (1, "".into()) });
        families.iter_mut().for_each(|f| f.samples.sort_by(|a, b| a.labels.cmp(&b.labels)));
    }
    let mut out = String::with_capacity(16 * 1024);
    for family in &families {
        let stamp = match view == View::V1 && family.instances && family.name.starts_with("fluentbit_") {
            true => format!(" {}", since_epoch.as_millis()),
            false => String::new(),
        };
        head(&mut out, family);
        for sample in &family.samples {
            prometheus_sample(&mut out, &family.name, sample, &stamp);
        }
    }
    out
}

fn head(out: &mut String, family: &Family) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    put(out, format_args!("# HELP {0} {help}\n# TYPE {0} {kind}\n", family.name));
}

fn prometheus_sample(out: &mut String, name: &str, sample: &Sample, stamp: &str) {
    match &sample.value {
        Value::Number(value) => {
            out.push_str(name);
            labels(out, None, sample);
            put(out, format_args!(" {value}{stamp}\n"));
        }
        Value::Histogram(histogram) => {
            let bounds = LATENCY_BOUNDS.iter().map(|(text, _)| *text).zip(histogram.buckets);
            for (bound, count) in bounds.chain([("+Inf", histogram.count)]) {
                put(out, format_args!("{name}_bucket"));
                labels(out, Some(bound), sample);
                put(out, format_args!(" {count}{stamp}\n"));
            }
            put(out, format_args!("{name}_sum"));
            labels(out, None, sample);
            put(out, format_args!(" {}{stamp}\n{name}_count", histogram.sum));
            labels(out, None, sample);
            put(out, format_args!(" {}{stamp}\n", histogram.count));
        }
    }
}

/// The lines of `/api/v2/metrics`: `2026-11-21T13:50:34.443818005Z name{labels} = value`.
pub(super) fn lines(families: &[Family], since_epoch: Duration) -> String {
    let time = stamp(since_epoch);
    let mut out = String::with_capacity(16 * 1024);
    for family in families {
        for sample in &family.samples {
            put(&mut out, format_args!("{time} {}", family.name));
            labels(&mut out, None, sample);
            out.push_str(" = ");
            match &sample.value {
                Value::Number(value) => put(&mut out, format_args!("{value}\n")),
                Value::Histogram(histogram) => {
                    out.push_str("{ buckets = { ");
                    for ((_, bound), count) in LATENCY_BOUNDS.iter().zip(histogram.buckets) {
                        put(&mut out, format_args!("{bound}={count}, "));
                    }
                    put(
                        &mut out,
                        format_args!(
                            "+Inf={} }}, sum={}, count={} }}\n",
                            histogram.count, histogram.sum, histogram.count
                        ),
                    );
                }
            }
        }
    }
    out
}

/// UTC with nanoseconds.
fn stamp(since_epoch: Duration) -> String {
    let nanos = since_epoch.subsec_nanos();
    let mut date = Vec::new();
    write_date(&mut date, Timestamp { secs: since_epoch.as_secs() as i64, nanos }, DateFormat::Iso8601);
    // `"…T13:50:34.443818Z"`: the quotes and the `Z` go, the last three digits come.
    let date = String::from_utf8_lossy(&date);
    format!("{}{:03}Z", date.trim_matches(['"', 'Z']), nanos % 1000)
}

/// `{le="0.5",name="tail.0"}`, or nothing.
fn labels(out: &mut String, bound: Option<&str>, sample: &Sample) {
    let bound = bound.map(|b| ("le", b));
    let pairs = bound.into_iter().chain(sample.labels.iter().map(|(k, v)| (*k, &**v)));
    let mut open = '{';
    for (key, value) in pairs {
        put(out, format_args!("{open}{key}=\""));
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
        open = ',';
    }
    if open == ',' {
        out.push('}');
    }
}

/// Formats onto a string, which cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(instances: bool, name: &'static str, label: &str, value: Value) -> Family {
        let labels = if instances { vec![("name", label.to_owned())] } else { Vec::new() };
        let kind = if matches!(value, Value::Histogram(_)) { Kind::Histogram } else { Kind::Counter };
        Family { name: name.into(), help: "Help.", kind, instances, samples: vec![Sample { labels, value }] }
    }

    #[test]
    fn the_first_version_sorts_and_stamps() {
        let mut families = vec![
            family(false, "fluentbit_uptime", "", Value::Number(8)),
            family(true, "fluentbit_b_total", "b", Value::Number(2)),
            family(true, "ripsaw_c_total", "c", Value::Number(3)),
            family(true, "fluentbit_a_total", "z", Value::Number(1)),
        ];
        families[3].samples.push(Sample { labels: vec![("name", "a".into())], value: Value::Number(0) });
        let text = prometheus(families, View::V1, Duration::from_millis(1_795_269_035_129));
        let values: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "fluentbit_a_total{name=\"a\"} 0 1795269035129",
                "fluentbit_a_total{name=\"z\"} 1 1795269035129",
                "fluentbit_b_total{name=\"b\"} 2 1795269035129",
                "ripsaw_c_total{name=\"c\"} 3",
                "fluentbit_uptime 8",
            ]
        );
        assert!(
            text.starts_with("# HELP fluentbit_a_total Help.\n# TYPE fluentbit_a_total counter\n"),
            "{text}"
        );
    }

    #[test]
    fn labels_are_escaped() {
        let text = prometheus(
            vec![family(true, "x_total", "a\"b\\c\nd", Value::Number(1))],
            View::V2,
            Duration::ZERO,
        );
        assert!(text.ends_with("x_total{name=\"a\\\"b\\\\c\\nd\"} 1\n"), "{text}");
    }

    #[test]
    fn histograms_in_both_formats() {
        let latencies = crate::metrics::Latencies::default();
        latencies.observe("tail.0", Duration::from_millis(500));
        latencies.observe("tail.0", Duration::from_millis(2250));
        latencies.observe("tail.0", Duration::from_secs(60));
        let histogram = latencies.by_input()["tail.0"];
        let families = || vec![family(true, "l_seconds", "x", Value::Histogram(histogram))];
        let text = prometheus(families(), View::V2, Duration::ZERO);
        let values: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(values[0], "l_seconds_bucket{le=\"0.5\",name=\"x\"} 1");
        assert_eq!(values[3], "l_seconds_bucket{le=\"2.5\",name=\"x\"} 2");
        assert_eq!(
            &values[8..],
            [
                "l_seconds_bucket{le=\"+Inf\",name=\"x\"} 3",
                "l_seconds_sum{name=\"x\"} 62.75",
                "l_seconds_count{name=\"x\"} 3"
            ]
        );
        assert_eq!(
            lines(&families(), Duration::new(1_795_269_034, 443_818_005)),
            "2026-11-21T13:50:34.443818005Z l_seconds{name=\"x\"} = { buckets = { 0.5=1, 1=1, 1.5=1, 2.5=2, 5=2, 10=2, 20=2, \
             30=2, +Inf=3 }, sum=62.75, count=3 }\n"
        );
    }
}
