//! The output against a service that is as strict as the real one.

use super::options::{Options, RETENTIONS};
use super::pack::{BATCH_BYTES_MAX, MESSAGE_BYTES_MAX};
use super::*;
use crate::fakes::{Act, CloudwatchFake};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use codecs::conf::{Entry, Level, Span};
use codecs::json::{Scratch, parse_object};
use codecs::record::Timestamp;
use proptest::prelude::*;
use std::time::Duration;

const CONTEXT: Context<'static> =
    Context { name: "cloudwatch_logs.0", workers: None, escape_unicode: true, flush: 1.0 };

/// A section with these keys and values.
fn section(entries: &[(&str, &str)]) -> Section {
    let span = Span::new(&Arc::from("test.conf"), 1, 1);
    let mut section = Section::new("output", span.clone());
    for (key, value) in entries {
        let (key, value) = ((*key).to_owned(), (*value).to_owned());
        section.entries.push(Entry { key, value, key_span: span.clone(), value_span: span.clone() });
    }
    section
}

fn configure(entries: &[(&str, &str)]) -> Result<Arc<dyn Output>, String> {
    let mut diagnostics = Diagnostics::default();
    let output = (PLUGIN.configure)(&section(entries), &CONTEXT, &mut diagnostics);
    let text: Vec<String> = diagnostics.list.iter().map(ToString::to_string).collect();
    match output {
        Some(output) if !diagnostics.has_errors() => Ok(output),
        _ => Err(text.join("\n")),
    }
}

/// An output to the fake, with credentials of the test's own: the environment is not looked at.
fn output(fake: &CloudwatchFake, more: &[(&str, &str)]) -> Arc<dyn Output> {
    let keys = Credentials::from_keys("AKIAIOSFODNN7EXAMPLE", "example-secret", None);
    output_with(fake, more, SharedCredentialsProvider::new(keys))
}

fn output_with(
    fake: &CloudwatchFake,
    more: &[(&str, &str)],
    credentials: SharedCredentialsProvider,
) -> Arc<dyn Output> {
    let url = fake.url();
    let mut entries = vec![("region", "us-west-2"), ("endpoint", url.as_str())];
    for default in [("log_group_name", "g"), ("log_stream_name", "s")] {
        let replaced =
            default.0 == "log_stream_name" && more.iter().any(|(key, _)| *key == "log_stream_prefix");
        if !replaced && !more.iter().any(|(key, _)| *key == default.0) {
            entries.push(default);
        }
    }
    entries.extend(more);
    let mut diagnostics = Diagnostics::default();
    let mut settings = Settings::read(&section(&entries), "cloudwatch_logs.0", true, &mut diagnostics)
        .expect("valid options");
    settings.account.credentials = Some(credentials);
    Arc::new(Instance::new(settings, &CONTEXT))
}

/// Encodes JSON records, each with its time in milliseconds, into one segment.
fn segment(output: &dyn Output, tag: &str, records: &[(i64, String)]) -> Segment {
    let (mut arena, mut scratch, mut segment) = (Bump::new(), Scratch::default(), Segment::new(tag.into()));
    for (millis, json) in records {
        arena.reset();
        let time =
            Timestamp { secs: millis.div_euclid(1000), nanos: (millis.rem_euclid(1000) * 1_000_000) as u32 };
        let mut record = Record::new_in(&arena, time);
        parse_object(json.as_bytes(), &arena, &mut scratch, &mut record.fields).expect("valid JSON");
        segment.records += u32::from(output.encode(tag, &record, &arena, &mut segment));
    }
    segment
}

fn chunk(output: &dyn Output, records: &[(i64, String)]) -> Chunk {
    Chunk { segments: vec![segment(output, "app.x", records)], ..Chunk::default() }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<(i64, String)> {
    range.map(|n| (1_700_000_000_000 + n as i64, format!("{{\"n\":{n}}}"))).collect()
}

/// Delivers until nothing is left, at most `attempts` times; the verdicts.
async fn deliver(output: &dyn Output, chunk: &mut Chunk, attempts: usize) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for _ in 0..attempts {
        let verdict = output.deliver(chunk).await;
        chunk.attempt += 1;
        let over = matches!(verdict, Verdict::Delivered { .. } | Verdict::Drop { .. });
        verdicts.push(verdict);
        if over {
            break;
        }
    }
    verdicts
}

fn counter(output: &dyn Output, reason: &str) -> u64 {
    let found = output
        .counters()
        .into_iter()
        .find(|c| c.name == reason || c.labels.iter().any(|(_, value)| value == reason));
    found.map_or(0, |c| c.value)
}

fn delivered(verdicts: &[Verdict]) -> bool {
    matches!(verdicts.last(), Some(Verdict::Delivered { .. }))
}

#[tokio::test]
async fn a_new_stream_is_made_once_and_events_arrive_in_order() {
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    let output = output(&fake, &[]);
    for round in 0..3 {
        let mut chunk = chunk(&*output, &numbered(round * 10..round * 10 + 10));
        assert_eq!(deliver(&*output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 0 }]);
        assert!(chunk.done.iter().all(|done| *done) && chunk.done.len() == 10);
    }
    let expected: Vec<(i64, String)> = numbered(0..30);
    assert_eq!(fake.events("g", "s"), expected);
    assert_eq!(fake.count("CreateLogStream"), 1);
    assert_eq!(fake.flaws(), Vec::<String>::new());
    let put = fake.seen().into_iter().find(|seen| seen.action == "PutLogEvents").unwrap();
    let agent =
        put.headers.iter().find(|(name, _)| name == "user-agent").map(|(_, value)| value.clone()).unwrap();
    assert!(agent.contains("ripsaw"), "{agent}");
}

#[tokio::test]
async fn group_retention_and_stream_are_made_in_fluent_bits_order() {
    let fake = CloudwatchFake::start().await.unwrap();
    let options = [
        ("auto_create_group", "on"),
        ("log_retention_days", "7"),
        ("log_group_class", "INFREQUENT_ACCESS"),
        ("extra_user_agent", "container-insights"),
        ("log_format", "json/emf"),
    ];
    let output = output(&fake, &options);
    let mut chunk = chunk(&*output, &numbered(0..3));
    assert!(delivered(&deliver(&*output, &mut chunk, 1).await));
    let seen = fake.seen();
    let requests: Vec<(&str, u16, &str)> =
        seen.iter().map(|s| (s.action.as_str(), s.status, s.body.as_str())).collect();
    let stream = r#"{"logGroupName":"g","logStreamName":"s"}"#;
    assert_eq!(
        requests,
        [
            ("CreateLogStream", 400, stream),
            ("CreateLogGroup", 200, r#"{"logGroupName":"g","logGroupClass":"INFREQUENT_ACCESS"}"#),
            ("PutRetentionPolicy", 200, r#"{"logGroupName":"g","retentionInDays":7}"#),
            ("CreateLogStream", 200, stream),
            ("PutLogEvents", 200, "g s"),
        ]
    );
    for seen in &seen {
        let header =
            |name: &str| seen.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
        assert!(header("user-agent").ends_with(" container-insights"), "{}", header("user-agent"));
        assert_eq!(header("x-amzn-logs-format"), if seen.action == "PutLogEvents" { "json/emf" } else { "" });
    }
    assert_eq!(fake.groups()["g"].retention, Some(7));
}

#[tokio::test]
async fn a_missing_group_holds_until_it_is_there() {
    let fake = CloudwatchFake::start().await.unwrap();
    let output = output(&fake, &[]);
    let mut chunk = chunk(&*output, &numbered(0..3));
    let verdicts = deliver(&*output, &mut chunk, 2).await;
    let Verdict::Hold { reason } = &verdicts[1] else { panic!("{verdicts:?}") };
    assert!(reason.contains("auto_create_group") && reason.contains("`g`"), "{reason}");
    fake.make_group("g");
    assert!(delivered(&deliver(&*output, &mut chunk, 1).await));
    assert_eq!(fake.events("g", "s").len(), 3);
}

#[tokio::test]
async fn a_refused_right_is_told_with_action_and_resource() {
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    fake.script("PutLogEvents", [Act::Error(400, "AccessDeniedException", "User is not authorized")]);
    let output = output(&fake, &[]);
    let mut chunk = chunk(&*output, &numbered(0..1));
    let verdicts = deliver(&*output, &mut chunk, 2).await;
    let Verdict::Hold { reason } = &verdicts[0] else { panic!("{verdicts:?}") };
    for part in
        ["logs:PutLogEvents", "arn:aws:logs:us-west-2:*:log-group:g:log-stream:s", "User is not authorized"]
    {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(delivered(&verdicts), "the next probe works");
}

#[tokio::test]
async fn what_can_be_retried_is_and_nothing_is_lost_or_doubled() {
    let acts = [
        Act::Throttle,
        Act::Error(500, "", ""),
        Act::Error(503, "ServiceUnavailableException", "busy"),
        Act::Error(429, "", ""),
        Act::Error(400, "ExpiredTokenException", "The security token included in the request is expired"),
        Act::Error(400, "OperationAbortedException", "conflict"),
        Act::Close,
        Act::Close,
    ];
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    fake.script("PutLogEvents", acts.clone());
    fake.script("CreateLogStream", [Act::Throttle, Act::Error(500, "", "")]);
    let output = output(&fake, &[]);
    let mut chunk = chunk(&*output, &numbered(0..5));
    let verdicts = deliver(&*output, &mut chunk, 20).await;
    assert!(delivered(&verdicts), "{verdicts:?}");
    let (last, first) = verdicts.split_last().unwrap();
    assert_eq!(*last, Verdict::Delivered { dropped: 0 });
    assert!(first.iter().all(|v| matches!(v, Verdict::Retry { .. })), "{first:?}");
    assert_eq!(fake.events("g", "s"), numbered(0..5));
    assert_eq!(fake.flaws(), Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_torn_at_any_byte_is_tried_again() {
    for bytes in [0, 1, 20, 60, 100, 130, 150] {
        let fake = CloudwatchFake::start().await.unwrap();
        fake.make_group("g");
        fake.script("PutLogEvents", [Act::Torn(bytes), Act::Torn(bytes)]);
        let output = output(&fake, &[("auto_retry_requests", "off")]);
        let mut chunk = chunk(&*output, &numbered(0..2));
        let verdicts = deliver(&*output, &mut chunk, 4).await;
        assert!(delivered(&verdicts), "{bytes}: {verdicts:?}");
        let events = fake.events("g", "s");
        assert!(events.len() >= 2 && events[..2] == numbered(0..2), "{bytes}");
    }
}

#[tokio::test]
async fn auto_retry_requests_tries_once_more_at_once() {
    for (value, attempts) in [("on", 1), ("off", 2)] {
        let fake = CloudwatchFake::start().await.unwrap();
        fake.make_group("g");
        fake.script("PutLogEvents", [Act::Close]);
        let output = output(&fake, &[("auto_retry_requests", value)]);
        let mut chunk = chunk(&*output, &numbered(0..1));
        assert_eq!(deliver(&*output, &mut chunk, 5).await.len(), attempts, "{value}");
        assert_eq!(fake.events("g", "s").len(), 1);
    }
}

#[tokio::test]
async fn rejected_events_are_counted_by_cause() {
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    fake.script("PutLogEvents", [Act::Reject { too_old: 2, expired: 3, too_new: 1 }]);
    let output = output(&fake, &[]);
    let mut chunk = chunk(&*output, &numbered(0..10));
    assert_eq!(deliver(&*output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 4 }]);
    assert_eq!(fake.events("g", "s"), numbered(3..9));
    assert_eq!(["too_old", "expired", "too_new"].map(|reason| counter(&*output, reason)), [2, 1, 1]);
}

#[tokio::test]
async fn a_final_error_drops_the_guilty_batch_only() {
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    fake.script("PutLogEvents", [Act::Error(400, "InvalidParameterException", "no"), Act::Throttle]);
    let output = output(&fake, &[]);
    let mut chunk = chunk(&*output, &numbered(0..10_100));
    let verdicts = deliver(&*output, &mut chunk, 3).await;
    assert!(matches!(verdicts[0], Verdict::Retry { .. }), "{verdicts:?}");
    assert_eq!(verdicts[1], Verdict::Delivered { dropped: 10_000 });
    assert_eq!(fake.events("g", "s"), numbered(10_000..10_100));
    assert_eq!(counter(&*output, "refused"), 10_000);
}

#[tokio::test]
async fn a_stream_deleted_meanwhile_is_made_again() {
    let fake = CloudwatchFake::start().await.unwrap();
    let output = output(&fake, &[("auto_create_group", "on")]);
    let mut first = chunk(&*output, &numbered(0..1));
    assert!(delivered(&deliver(&*output, &mut first, 1).await));
    fake.delete_group("g");
    let mut second = chunk(&*output, &numbered(1..2));
    assert!(delivered(&deliver(&*output, &mut second, 1).await));
    assert_eq!(fake.events("g", "s"), numbered(1..2));
}

#[tokio::test]
async fn lanes_that_meet_a_missing_group_make_it_once() {
    let fake = CloudwatchFake::start().await.unwrap();
    let options = [("auto_create_group", "on"), ("log_stream_prefix", "p-"), ("log_stream_template", "$n")];
    let output = output(&fake, &options);
    let records: Vec<(i64, String)> =
        (0..60).map(|n| (1_700_000_000_000, format!("{{\"n\":{}}}", n % 20))).collect();
    let mut chunks = [chunk(&*output, &records), chunk(&*output, &records), chunk(&*output, &records)];
    let [a, b, c] = &mut chunks;
    let verdicts = tokio::join!(output.deliver(a), output.deliver(b), output.deliver(c));
    let done = Verdict::Delivered { dropped: 0 };
    assert_eq!(verdicts, (done.clone(), done.clone(), done));
    let created =
        |action: &str| fake.seen().iter().filter(|seen| seen.action == action && seen.status == 200).count();
    assert_eq!((created("CreateLogGroup"), fake.count("CreateLogGroup")), (1, 1));
    assert_eq!(created("CreateLogStream"), 20);
    assert!(fake.groups()["g"].streams.values().all(|events| events.len() == 9));
}

#[tokio::test]
async fn every_limit_is_kept() {
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    let output = output(&fake, &[("log_key", "m")]);
    let day = 24 * 3600 * 1000;
    let message = |length: usize| format!("{{\"m\":\"{}\"}}", "é\\\"x".repeat(length / 4));
    let mut records: Vec<(i64, String)> = (0..40).map(|n| (n * day / 7, message(100_000))).collect();
    records.reverse();
    records.extend((0..20_001).map(|n| (40 * day, format!("{{\"m\":\"{n}\"}}"))));
    records.push((41 * day, format!("{{\"m\":\"{}\"}}", "é".repeat(MESSAGE_BYTES_MAX))));
    records.push((42 * day, r#"{"m":""}"#.to_owned()));
    records.push((42 * day, r#"{"other":1}"#.to_owned()));
    let mut chunk = chunk(&*output, &records);
    assert_eq!(deliver(&*output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 0 }]);
    assert_eq!(fake.flaws(), Vec::<String>::new());
    let events = fake.events("g", "s");
    assert_eq!(events.len(), 40 + 20_001 + 1);
    assert!(events.is_sorted_by_key(|event| event.0));
    let (_, longest) = events.last().unwrap();
    assert!(
        longest.ends_with("é[Truncated...]")
            && longest.len() > MESSAGE_BYTES_MAX - 2
            && longest.len() + 26 <= BATCH_BYTES_MAX
    );
    let numbers: Vec<String> = (0..20_001).map(|n| n.to_string()).collect();
    assert!(events[40..20_041].iter().map(|event| &event.1).eq(&numbers), "equal times keep their order");
    assert_eq!(
        ["empty", "no_log_key", "cut_events_total"].map(|reason| counter(&*output, reason)),
        [1, 1, 1]
    );
}

#[tokio::test]
async fn templates_route_per_record() {
    let fake = CloudwatchFake::start().await.unwrap();
    let options = [
        ("auto_create_group", "on"),
        ("log_group_name", "fallback-group"),
        ("log_stream_prefix", "fallback-"),
        ("log_group_template", "app.$kubernetes['namespace_name']"),
        ("log_stream_template", "$kubernetes['pod_name'].$kubernetes['container_name']"),
    ];
    let output = output(&fake, &options);
    let pod = |ns: &str, pod: &str| {
        format!(r#"{{"kubernetes":{{"namespace_name":"{ns}","pod_name":"{pod}","container_name":"c"}}}}"#)
    };
    let records = [
        (1, pod("prod", "web")),
        (2, pod("dev", "db")),
        (3, r#"{"log":"no meta"}"#.to_owned()),
        (4, pod("prod", "web")),
    ];
    let mut chunk = chunk(&*output, &records);
    assert!(delivered(&deliver(&*output, &mut chunk, 1).await));
    assert_eq!(fake.events("app.prod", "web.c"), [records[0].clone(), records[3].clone()]);
    assert_eq!(fake.events("app.dev", "db.c"), [records[1].clone()]);
    assert_eq!(fake.events("fallback-group", "fallback-app.x"), [records[2].clone()]);
}

#[tokio::test]
async fn messages_are_the_record_or_one_value_of_it() {
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    let record = r#"{"log":"three \u00e9 \"q\"\n","k":{"d.e":[1]},"n":1.50}"#.to_owned();
    for (key, expected) in [
        (None, r#"{"log":"three \u00e9 \"q\"\n","k":{"d.e":[1]},"n":1.50}"#),
        (Some("log"), "three é \"q\"\n"),
        (Some("n"), "1.50"),
        (Some("k"), r#"{"d.e":[1]}"#),
    ] {
        let stream = key.unwrap_or("all");
        let mut options = vec![("log_stream_name", stream)];
        options.extend(key.map(|key| ("log_key", key)));
        let output = output(&fake, &options);
        let mut chunk = chunk(&*output, &[(5, record.clone())]);
        assert!(delivered(&deliver(&*output, &mut chunk, 1).await));
        assert_eq!(fake.events("g", stream), [(5, expected.to_owned())]);
    }
}

#[tokio::test]
async fn a_slow_answer_is_given_up_after_io_timeout() {
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    fake.script("PutLogEvents", [Act::Slow(Duration::from_secs(30))]);
    let output = output(&fake, &[("net.io_timeout", "0.3s"), ("auto_retry_requests", "off")]);
    let mut chunk = chunk(&*output, &numbered(0..1));
    let verdicts = deliver(&*output, &mut chunk, 2).await;
    assert!(matches!(verdicts[0], Verdict::Retry { .. }) && delivered(&verdicts), "{verdicts:?}");
}

#[tokio::test]
async fn an_unreachable_endpoint_is_retried() {
    let fake = CloudwatchFake::start().await.unwrap();
    let output = output(&fake, &[]);
    drop(fake);
    let mut chunk = chunk(&*output, &numbered(0..1));
    let verdicts = deliver(&*output, &mut chunk, 1).await;
    assert!(
        matches!(&verdicts[0], Verdict::Retry { reason, .. } if reason.contains("onnect")),
        "{verdicts:?}"
    );
}

/// A server's TLS for `127.0.0.1`, and the PEM file of who signed it.
fn tls_server(folder: &std::path::Path) -> (Arc<rustls::ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    (Arc::new(config), file.to_string_lossy().into_owned())
}

#[tokio::test]
async fn tls_trusts_what_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let (server, ca_file) = tls_server(folder.path());
    let fake = CloudwatchFake::start_with(Some(server)).await.unwrap();
    fake.make_group("g");
    let port = fake.port().to_string();
    let host = [("endpoint", "127.0.0.1"), ("port", port.as_str())];
    for (more, works) in [
        (&[("tls.ca_file", ca_file.as_str())][..], true),
        (&[("tls.verify", "off")], true),
        (
            &[
                ("tls", "on"),
                ("tls.ca_file", &ca_file),
                ("tls.verify_hostname", "off"),
                ("tls.vhost", "other.example"),
            ],
            true,
        ),
        (&[("tls.ca_file", &ca_file), ("tls.vhost", "other.example")], false),
        (&[("tls", "off")], false),
    ] {
        let output = output(&fake, &[&host[..], more].concat());
        let mut chunk = chunk(&*output, &numbered(0..1));
        let verdicts = deliver(&*output, &mut chunk, 1).await;
        let retried = matches!(verdicts[0], Verdict::Retry { .. });
        assert_eq!((delivered(&verdicts), retried), (works, !works), "{more:?}: {verdicts:?}");
    }
    assert_eq!(fake.events("g", "s").len(), 3);
}

#[tokio::test]
async fn missing_credentials_hold_and_say_where_they_come_from() {
    #[derive(Debug)]
    struct Nobody;
    impl aws_credential_types::provider::ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let error = aws_credential_types::provider::error::CredentialsError::not_loaded("nothing found");
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(error))
        }
    }
    let fake = CloudwatchFake::start().await.unwrap();
    let provider = SharedCredentialsProvider::new(Nobody);
    let output = output_with(&fake, &[], provider);
    let mut chunk = chunk(&*output, &numbered(0..1));
    let verdicts = deliver(&*output, &mut chunk, 1).await;
    assert!(
        matches!(&verdicts[0], Verdict::Hold { reason } if reason.contains("AWS_ACCESS_KEY_ID")),
        "{verdicts:?}"
    );
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_refused_stream_name_drops_only_its_events() {
    let fake = CloudwatchFake::start().await.unwrap();
    fake.make_group("g");
    fake.script("CreateLogStream", [Act::Error(400, "InvalidParameterException", "no such name")]);
    let output = output(&fake, &[("log_stream_template", "s$n")]);
    let mut chunk = chunk(&*output, &numbered(0..2));
    assert_eq!(deliver(&*output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 1 }]);
    assert_eq!(fake.groups()["g"].streams.values().map(Vec::len).sum::<usize>(), 1);
}

#[tokio::test]
async fn hundred_thousand_events_of_twenty_streams_survive_faults_in_order() {
    let fake = CloudwatchFake::start().await.unwrap();
    let acts = |n: usize| match n % 7 {
        0 => Act::Throttle,
        1 => Act::Error(500, "InternalFailure", ""),
        2 => Act::Torn(40),
        3 => Act::Close,
        4 => Act::Error(400, "ExpiredTokenException", "expired"),
        _ => Act::Normal,
    };
    fake.script("PutLogEvents", (0..300).map(acts));
    fake.script("CreateLogStream", [Act::Throttle, Act::Close]);
    let options = [("auto_create_group", "on"), ("log_stream_template", "s$f"), ("log_key", "n")];
    let output = output(&fake, &options);
    for round in 0..10 {
        let records: Vec<(i64, String)> = (0..10_000)
            .map(|n| {
                (1_700_000_000_000 + round, format!("{{\"n\":{},\"f\":{}}}", round * 10_000 + n, n % 20))
            })
            .collect();
        let mut chunk = chunk(&*output, &records);
        assert!(delivered(&deliver(&*output, &mut chunk, 100).await));
    }
    assert_eq!((fake.flaws(), fake.overlaps()), (Vec::new(), 0));
    let (mut distinct, mut all) = (0, 0);
    for events in fake.groups()["g"].streams.values() {
        let mut seen = std::collections::BTreeSet::new();
        let mut newest = 0;
        for (_, message) in events {
            let number: u64 = message.parse().unwrap();
            // A repetition may come late, what is new comes in order.
            if seen.insert(number) {
                assert!(number >= newest, "{number} after {newest}");
                newest = number;
            }
        }
        distinct += seen.len();
        all += events.len();
    }
    assert_eq!(distinct, 100_000, "nothing is lost");
    assert!(all > distinct, "torn answers repeat what was stored");
}

#[test]
fn rules_between_options_are_told_with_their_names() {
    let base = [("region", "r"), ("log_group_name", "g"), ("log_stream_name", "s")];
    let with = |changes: &[(&'static str, &'static str)]| {
        let mut entries: Vec<(&str, &str)> = base.to_vec();
        entries.retain(|(key, _)| !changes.iter().any(|change| change.0 == *key));
        entries.extend(changes.iter().filter(|change| change.1 != "-"));
        configure(&entries).err()
    };
    assert_eq!(with(&[]), None);
    assert_eq!(with(&[("log_stream_name", "-"), ("log_stream_prefix", "p")]), None);
    for (changes, parts) in [
        (&[("log_group_name", "-")][..], &["`log_group_name` is missing"][..]),
        (
            &[("region", "-"), ("log_group_name", "-")],
            &["`log_group_name` is missing", "`region` is missing"],
        ),
        (&[("log_stream_name", "-")], &["log_stream_prefix", "exactly one"]),
        (&[("log_stream_prefix", "p")], &["stand both"]),
        (&[("log_group_name", "a b")], &["`a b`", "1 to 512"]),
        (&[("log_stream_name", "a:b")], &["`a:b`"]),
        (&[("log_retention_days", "8")], &["`8`", "1, 3, 5, 7"]),
        (&[("log_retention_days", "banana")], &["banana"]),
        (&[("log_group_class", "STANDARDxyz")], &["STANDARD INFREQUENT_ACCESS"]),
        (&[("log_group_template", "$")], &["names no key"]),
        (&[("port", "70000")], &["1 to 65535"]),
        (&[("extra_user_agent", "a\nb")], &["printable"]),
        (&[("net.source_address", "x")], &["an IP address"]),
    ] {
        let text = with(changes).unwrap_or_default();
        assert!(parts.iter().all(|part| text.contains(part)), "{changes:?}: {text}");
    }
}

#[test]
fn options_without_effect_say_why() {
    let mut diagnostics = Diagnostics::default();
    let section = section(&[("metric_namespace", "x"), ("auto_create_groups", "on")]);
    codecs::conf::options::check_names(&section, "cloudwatch_logs.0", PLUGIN.tables, &mut diagnostics);
    assert_eq!(diagnostics.count(Level::Note), 1);
    assert!(diagnostics.list[1].to_string().contains("did you mean `auto_create_group`?"));
    assert_eq!(Options::TABLE.len() + AwsOptions::TABLE.len(), 22);
    assert!(RETENTIONS.is_sorted());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn encoded_events_read_back_as_what_they_count(
        texts in proptest::collection::vec("[\\x00-\\x30\\\\aé😀]{0,40}", 1..8), whole in any::<bool>()
    ) {
        let mut entries = vec![("region", "r"), ("log_group_name", "g"), ("log_stream_name", "s")];
        if !whole {
            entries.push(("log_key", "m"));
        }
        let output = configure(&entries).unwrap();
        let records: Vec<(i64, String)> = texts.iter().map(|t| (7, serde_json::json!({ "m": t }).to_string())).collect();
        let segment = segment(&*output, "t", &records);
        prop_assert_eq!(segment.events.len(), segment.records as usize);
        let mut start = 0;
        let mut kept = texts.iter().filter(|text| whole || !text.is_empty());
        for event in &segment.events {
            let bytes = &segment.bytes[start..event.end as usize];
            start = event.end as usize;
            let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let message = value["message"].as_str().unwrap();
            prop_assert_eq!(message.len(), event.unescaped as usize);
            prop_assert_eq!(&value["timestamp"], &serde_json::json!(7));
            let text = kept.next().unwrap();
            if whole {
                let inner: serde_json::Value = serde_json::from_str(message).unwrap();
                prop_assert_eq!(inner["m"].as_str().unwrap(), text);
            } else {
                prop_assert_eq!(message, text);
            }
        }
        prop_assert_eq!(start, segment.bytes.len());
        prop_assert!(kept.next().is_none());
    }
}
