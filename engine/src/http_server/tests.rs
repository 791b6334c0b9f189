//! Every path asked over a socket, and the bodies compared as tables.

use super::*;
use crate::budget::Budget;
use crate::health::Health;
use crate::metrics::{FileLag, FilterMetrics, InputMetrics, OutputMetrics};
use crate::monitor::{HealthCheck, Monitor, Watched, WatchedFilter, WatchedOutput};
use codecs::Bump;
use codecs::record::Record;
use outputs::segment::{Chunk, Segment};
use outputs::{Counter, Output, Verdict};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An output that only counts.
struct Counting;

impl crate::filters::Filter for Counting {
    fn apply<'a>(
        &'a self,
        _: &mut Record<'a>,
        _: &mut crate::filters::FilterContext<'a, '_>,
    ) -> crate::filters::Outcome<'a> {
        crate::filters::Outcome::Keep
    }

    fn counters(&self) -> Vec<Counter> {
        // The last one stands in the table already and must not come twice.
        let twice = Counter { name: "failed_records_total", help: "Twice.", labels: Vec::new(), value: 1 };
        vec![Counter { name: "own_total", help: "Of its own.", labels: Vec::new(), value: 4 }, twice]
    }
}

impl Output for Counting {
    fn encode(&self, _: &str, _: &Record<'_>, _: &Bump, _: &mut Segment) -> bool {
        true
    }

    fn deliver<'d>(&'d self, _: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(async { Verdict::Delivered { dropped: 0 } })
    }

    fn counters(&self) -> Vec<Counter> {
        let rejected = |reason: &str, value| Counter {
            name: "rejected_events_total",
            help: "Events that the service refused.",
            labels: vec![("reason", reason.to_owned())],
            value,
        };
        // The last one stands in the table already and must not come twice.
        let twice = Counter { name: "queued_bytes", help: "Twice.", labels: Vec::new(), value: 1 };
        vec![rejected("too_old", 3), rejected("too_new", 0), twice]
    }
}

/// Five lines read, one dropped by grep, four delivered: the case that was recorded from Fluent Bit.
fn monitor() -> Monitor {
    let tail = InputMetrics::default();
    tail.records.store(5, Relaxed);
    tail.bytes.store(15, Relaxed);
    tail.files_opened.store(1, Relaxed);
    tail.jobs.store(2, Relaxed);
    let memory = Budget::new(50_000_000);
    memory.take(1536);
    tail.memory.set(memory).expect("set once");
    tail.files.lock().expect("lag lock").insert(
        "/var/log/a \"b\".log".into(),
        FileLag { bytes: 7, since: SystemTime::now() - Duration::from_secs(90) },
    );
    let grep = FilterMetrics::default();
    grep.records.store(5, Relaxed);
    grep.dropped.store(1, Relaxed);
    let stdout = OutputMetrics::default();
    stdout.proc_records.store(4, Relaxed);
    stdout.proc_bytes.store(116, Relaxed);
    stdout.drop_records("rejected", 2);
    stdout.latency.observe("tail.0", Duration::from_millis(750));
    stdout.routed.count("tail.0", 3, 100, true);
    stdout.routed.count("tail.0", 1, 16, true);
    stdout.routed.count("dummy.1", 2, 9, false);
    let budget = Budget::new(64_000_000);
    budget.take(4096);
    Monitor {
        inputs: vec![
            Watched { name: "tail.0".into(), plugin: "tail", metrics: Arc::new(tail) },
            Watched { name: "dummy.1".into(), plugin: "dummy", metrics: Arc::default() },
        ],
        filters: vec![WatchedFilter {
            watched: Watched { name: "grep.0".into(), plugin: "grep", metrics: Arc::new(grep) },
            filter: Arc::new(Counting),
        }],
        outputs: vec![WatchedOutput {
            watched: Watched { name: "stdout.0".into(), plugin: "stdout", metrics: Arc::new(stdout) },
            output: Arc::new(Counting),
        }],
        budget,
        health: Arc::new(Health::default()),
        health_check: Some(HealthCheck {
            errors_max: 1,
            retries_failed_max: 1,
            period: Duration::from_secs(60),
        }),
        store: None,
        reloads: Arc::default(),
        storage_metrics: true,
        started: Instant::now(),
        started_at: SystemTime::now(),
        flush: 0.2,
    }
}

/// Status, content type (empty where there is none) and body.
type Answer = (u16, String, String);

/// Asks a served monitor.
fn ask(monitor: Monitor, requests: &[(&str, &str)]) -> Vec<Answer> {
    let listener = bind("127.0.0.1", 0).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let server = tokio::spawn(serve(listener, Arc::new(Shown::new(Arc::new(monitor)))));
        let mut answers = Vec::new();
        for (method, path) in requests {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("listening");
            let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("answered");
            answers.push(split(&answer));
        }
        server.abort();
        answers
    })
}

fn split(answer: &str) -> Answer {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let content_type = head.lines().find_map(|l| l.strip_prefix("content-type: ")).unwrap_or_default();
    (status, content_type.to_owned(), body.to_owned())
}

fn get(path: &str) -> Answer {
    ask(monitor(), &[("GET", path)]).remove(0)
}

/// Samples of a Prometheus text by name and labels, without their times; refuses what a scraper refuses.
fn table(text: &str) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    let mut types = BTreeMap::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').expect("a type");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "two families {name}");
        } else if !line.starts_with('#') {
            let end = line.rfind('}').map_or_else(|| line.find(' ').expect("a value"), |at| at + 1);
            let (key, values) = line.split_at(end);
            let value = values.split_whitespace().next().expect("a value").to_owned();
            assert!(table.insert(key.to_owned(), value).is_none(), "two samples {key}");
        }
    }
    table
}

#[test]
fn json_answers_key_for_key() {
    let metrics = r#"{"input":{"tail.0":{"records":5,"bytes":15,"files_opened":1,"files_closed":0,"files_rotated":0,"multiline_truncated":0,"long_line_truncated":0,"long_line_skipped":0},"dummy.1":{"records":0,"bytes":0}},"filter":{"grep.0":{"drop_records":1,"add_records":0,"records":5,"bytes":0,"drop_bytes":0}},"output":{"stdout.0":{"proc_records":4,"proc_bytes":116,"errors":0,"retries":0,"retries_failed":0,"dropped_records":2,"retried_records":0}}}"#;
    let storage = r#"{"storage_layer":{"chunks":{"total_chunks":2,"mem_chunks":2,"fs_chunks":0,"fs_chunks_up":0,"fs_chunks_down":0}},"input_chunks":{"tail.0":{"status":{"overlimit":false,"mem_size":"1.5K","mem_limit":"47.7M"},"chunks":{"total":2,"up":2,"down":0,"busy":2,"busy_size":"1.5K"}},"dummy.1":{"status":{"overlimit":false,"mem_size":"0b","mem_limit":"0b"},"chunks":{"total":0,"up":0,"down":0,"busy":0,"busy_size":"0b"}}}}"#;
    let uptime = r#"{"uptime_sec":0,"uptime_hr":"Fluent Bit has been running:  0 day, 0 hour, 0 minute and 0 second"}"#;
    let health = r#"{"status":"ok","errors":0,"retries_failed":0,"error_limit":1,"retry_failure_limit":1,"period_limit":60,"dead_outputs":0}"#;
    for (path, want) in [
        ("/api/v1/metrics", metrics),
        ("/api/v1/uptime", uptime),
        ("/api/v2/health", health),
        ("/api/v2/reload", r#"{"hot_reload_count":0}"#),
    ] {
        assert_eq!(get(path), (200, JSON.to_owned(), want.to_owned()), "{path}");
    }
    assert_eq!(get("/api/v1/storage").0, 404, "not yet");
    let old = Monitor { started: Instant::now() - STORAGE_FIRST, ..monitor() };
    assert_eq!(ask(old, &[("GET", "/api/v1/storage")]), [(200, JSON.to_owned(), storage.to_owned())]);
    let (status, content_type, body) = get("/");
    assert_eq!((status, &*content_type), (200, JSON));
    assert!(
        body.starts_with(r#"{"fluent-bit":{"version":"5.1.1","edition":"Community","flags":["FLB_HAVE_"#),
        "{body}"
    );
    let (_, _, body) = get("/api/v1/plugins");
    assert!(body.starts_with(r#"{"plugins":{"inputs":["#) && body.contains(r#""filters":[""#), "{body}");
}

#[test]
fn first_version_names_labels_and_values() {
    let (status, content_type, body) = get("/api/v1/metrics/prometheus");
    assert_eq!((status, &*content_type), (200, PROMETHEUS));
    let table = table(&body);
    for (key, value) in [
        ("fluentbit_input_records_total{name=\"tail.0\"}", "5"),
        ("fluentbit_input_records_total{name=\"dummy.1\"}", "0"),
        ("fluentbit_input_files_opened_total{name=\"tail.0\"}", "1"),
        ("fluentbit_filter_drop_records_total{name=\"grep.0\"}", "1"),
        ("fluentbit_output_proc_records_total{name=\"stdout.0\"}", "4"),
        ("fluentbit_output_records_total{name=\"stdout.0\"}", "4"),
        ("fluentbit_output_bytes_total{name=\"stdout.0\"}", "116"),
        ("fluentbit_uptime", "0"),
        ("fluentbit_build_info{version=\"5.1.1\",edition=\"Community\"}", "1"),
        ("ripsaw_input_lag_bytes{name=\"tail.0\",path=\"/var/log/a \\\"b\\\".log\"}", "7"),
        ("ripsaw_input_lag_seconds{name=\"tail.0\",path=\"/var/log/a \\\"b\\\".log\"}", "90"),
        ("ripsaw_output_dropped_records_total{name=\"stdout.0\",cause=\"rejected\"}", "2"),
        ("ripsaw_filter_own_total{name=\"grep.0\"}", "4"),
        ("ripsaw_output_rejected_events_total{name=\"stdout.0\",reason=\"too_old\"}", "3"),
        ("ripsaw_output_queued_bytes{name=\"stdout.0\"}", "0"),
        ("ripsaw_memory_used_bytes", "4096"),
        ("ripsaw_memory_limit_bytes", "64000000"),
    ] {
        assert_eq!(table.get(key).map(|v| &**v), Some(value), "{key} in {body}");
    }
    assert!(table.contains_key("process_start_time_seconds"));
    assert!(
        !table.contains_key("fluentbit_input_files_opened_total{name=\"dummy.1\"}"),
        "only tail has files"
    );
}

#[test]
fn second_version_names_labels_and_values() {
    let (status, content_type, body) = get("/api/v2/metrics/prometheus");
    assert_eq!((status, &*content_type), (200, PROMETHEUS));
    let table = table(&body);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (key, value) in [
        (&*format!("fluentbit_uptime{{hostname=\"{host}\"}}"), "0"),
        (&*format!("fluentbit_hot_reloaded_times{{hostname=\"{host}\"}}"), "0"),
        ("fluentbit_input_storage_memory_bytes{name=\"tail.0\"}", "1536"),
        ("fluentbit_input_storage_chunks{name=\"tail.0\"}", "2"),
        ("fluentbit_input_storage_overlimit{name=\"tail.0\"}", "0"),
        ("fluentbit_input_ingestion_paused{name=\"tail.0\"}", "0"),
        ("fluentbit_output_latency_seconds_bucket{le=\"0.5\",input=\"tail.0\",output=\"stdout.0\"}", "0"),
        ("fluentbit_output_latency_seconds_bucket{le=\"1.0\",input=\"tail.0\",output=\"stdout.0\"}", "1"),
        ("fluentbit_output_latency_seconds_sum{input=\"tail.0\",output=\"stdout.0\"}", "0.75"),
        ("fluentbit_output_latency_seconds_count{input=\"tail.0\",output=\"stdout.0\"}", "1"),
        ("fluentbit_output_retries_total{name=\"stdout.0\"}", "0"),
        ("fluentbit_routing_logs_records_total{input=\"tail.0\",output=\"stdout.0\"}", "4"),
        ("fluentbit_routing_logs_bytes_total{input=\"tail.0\",output=\"stdout.0\"}", "116"),
        ("fluentbit_routing_logs_drop_records_total{input=\"dummy.1\",output=\"stdout.0\"}", "2"),
        ("fluentbit_routing_logs_drop_bytes_total{input=\"dummy.1\",output=\"stdout.0\"}", "9"),
        ("fluentbit_logger_queue_dropped_total", "0"),
    ] {
        assert_eq!(table.get(key).map(|v| &**v), Some(value), "{key} in {body}");
    }
    let (status, content_type, lines) = get("/api/v2/metrics");
    assert_eq!((status, &*content_type), (200, ""));
    assert!(
        lines.lines().any(|l| l.ends_with("Z fluentbit_input_records_total{name=\"tail.0\"} = 5")),
        "{lines}"
    );
}

#[test]
fn statuses_by_path_and_method() {
    let requests = [
        (("GET", "/api/v1/nosuch"), 404, ""),
        (("GET", "/api/v1/uptime/"), 404, ""),
        (("GET", "/metrics"), 404, ""),
        (("GET", "/api/v1/health?x=1"), 200, "ok\n"),
        (("POST", "/api/v1/health"), 200, "ok\n"),
        (("HEAD", "/api/v1/health"), 200, ""),
        (("POST", "/api/v2/reload"), 200, r#"{"reload":"not enabled","status":-1}"#),
        (("PUT", "/api/v2/reload"), 200, r#"{"reload":"not enabled","status":-1}"#),
        (("DELETE", "/api/v2/reload"), 405, ""),
    ];
    let answers = ask(monitor(), &requests.map(|(request, ..)| request));
    for ((request, status, body), answer) in requests.iter().zip(answers) {
        assert_eq!((answer.0, &*answer.2), (*status, *body), "{request:?}");
    }
}

#[test]
fn health_turns_bad_above_the_limit_and_is_absent_when_off() {
    let bad = monitor();
    bad.health.retry_failed();
    assert_eq!(health(&bad).status(), 200, "at the limit");
    bad.health.retry_failed();
    assert_eq!(ask(bad, &[("GET", "/api/v1/health")]), [(500, String::new(), "error\n".to_owned())]);
    let off = Monitor {
        health_check: None,
        storage_metrics: false,
        started: Instant::now() - STORAGE_FIRST,
        ..monitor()
    };
    let answers =
        ask(off, &[("GET", "/api/v1/health"), ("GET", "/api/v1/storage"), ("GET", "/api/v2/health")]);
    assert_eq!(answers.iter().map(|a| a.0).collect::<Vec<_>>(), [404, 404, 200]);
    assert!(
        answers[2].2.contains(r#""error_limit":5,"retry_failure_limit":5,"period_limit":60"#),
        "{}",
        answers[2].2
    );
}

#[test]
fn a_taken_port_is_an_error() {
    let first = bind("127.0.0.1", 0).expect("a free port");
    let port = first.local_addr().expect("bound").port();
    assert_eq!(bind("127.0.0.1", port).expect_err("taken").kind(), std::io::ErrorKind::AddrInUse);
}

/// Whoever holds all connections open does not keep a health check out.
#[test]
fn idle_connections_make_way() {
    let listener = bind("127.0.0.1", 0).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let server = tokio::spawn(serve(listener, Arc::new(Shown::new(Arc::new(monitor())))));
        let mut idle = Vec::new();
        for _ in 0..super::CONNECTIONS_MAX + 8 {
            idle.push(tokio::net::TcpStream::connect(address).await.expect("listening"));
        }
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("listening");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // The oldest one was ended for it.
        assert_eq!(idle[0].read(&mut [0; 1]).await.expect("closed"), 0);
        server.abort();
    });
}

/// What is sent torn, late or wrong costs the server nothing but that connection.
#[test]
fn bad_requests_do_not_stop_it() {
    let listener = bind("127.0.0.1", 0).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let server = tokio::spawn(serve(listener, Arc::new(Shown::new(Arc::new(monitor())))));
        for bytes in [&b"GET /"[..], b"\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", &[b'a'; 100_000]] {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("listening");
            drop(stream.write_all(bytes).await);
            drop(stream.shutdown().await);
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
        }
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("listening still");
        stream.write_all(b"GET /api/v1/health HTTP/1.0\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        assert_eq!(split(&answer).0, 200);
        server.abort();
    });
}
