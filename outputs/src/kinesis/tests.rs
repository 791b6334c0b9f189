//! The outputs against services that are as strict as the real ones.

use super::service::{FIREHOSE, STREAMS};
use super::*;
use crate::fakes::KinesisFake;
use crate::fakes::kinesis::{Act, Taken};
use crate::testing::{self, RECORDS, section};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use proptest::prelude::*;
use std::io::Read;
use std::time::Duration;

/// Both plugins, with the option that names the stream.
const BOTH: [(&Service, &str); 2] = [(&STREAMS, "stream"), (&FIREHOSE, "delivery_stream")];

/// An output to the fake, with credentials of the test's own: the environment is not looked at.
fn output(service: &'static Service, fake: &KinesisFake, more: &[(&str, &str)]) -> Instance {
    let port = fake.port().to_string();
    let mut entries =
        vec![("region", "us-west-2"), ("endpoint", "127.0.0.1"), ("port", port.as_str()), ("tls", "off")];
    entries.push((service.stream_option, "st"));
    entries.extend(more);
    let mut diagnostics = Diagnostics::default();
    let escape = codecs::json::Escape::Ascii;
    let settings = Settings::read(service, &section(&entries), "test.0", escape, &mut diagnostics);
    let mut settings = settings.unwrap_or_else(|| panic!("{:?}", diagnostics.list));
    let keys = Credentials::from_keys("AKIAIOSFODNN7EXAMPLE", "example-secret", None);
    settings.account.credentials = Some(SharedCredentialsProvider::new(keys));
    Instance::new(settings, &testing::context()).map_err(|(_, message)| message).expect("an instance")
}

fn chunk(output: &Instance, records: &[(i64, u32, &str)]) -> Chunk {
    testing::chunk(vec![testing::segment(output, "app.x", records)])
}

/// `{"n":0}` and so on, with a key `k` that has so many values.
fn numbered(count: usize, keys: usize) -> Vec<String> {
    (0..count).map(|n| format!(r#"{{"n":{n},"k":"key-{}"}}"#, n % keys)).collect()
}

fn times(records: &[String]) -> Vec<(i64, u32, &str)> {
    records.iter().enumerate().map(|(n, json)| (n as i64, 0, json.as_str())).collect()
}

/// Delivers until nothing is left, at most so many times; the verdicts.
async fn deliver(output: &Instance, chunk: &mut Chunk, attempts: usize) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for _ in 0..attempts {
        let verdict = output.deliver(chunk).await;
        let over = matches!(verdict, Verdict::Delivered { .. } | Verdict::Drop { .. });
        verdicts.push(verdict);
        if over {
            break;
        }
    }
    verdicts
}

fn texts(taken: &[Taken]) -> Vec<String> {
    taken.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
}

fn counter(output: &Instance, reason: &str) -> u64 {
    let found = output
        .counters()
        .into_iter()
        .find(|c| c.name == reason || c.labels.iter().any(|(_, value)| value == reason));
    found.map_or(0, |c| c.value)
}

fn assert_no_flaws(fake: &KinesisFake) {
    assert_eq!(fake.state().flaws, Vec::<String>::new());
}

#[tokio::test]
async fn options_shape_the_data() {
    let whole = [
        "{\"log\":\"one\",\"n\":1}\n",
        "{\"log\":\"two\",\"n\":2.50,\"t\":true,\"z\":null}\n",
        "{\"log\":\"three \\u00e9 \\\"q\\\"\",\"k\":{\"d.e\":[1,\"x\"]}}\n",
    ];
    let table: [(&[(&str, &str)], [&str; 3]); 8] = [
        (&[], whole),
        (&[("log_key", "log")], ["one\n", "two\n", "three \\u00e9 \\\"q\\\"\n"]),
        (&[("append_newline", "off"), ("log_key", "log")], ["one", "two", "three \\u00e9 \\\"q\\\""]),
        (&[("data_keys", "n , k")], ["{\"n\":1}\n", "{\"n\":2.50}\n", "{\"k\":{\"d.e\":[1,\"x\"]}}\n"]),
        (
            &[("time_key", "when"), ("data_keys", "n,k")],
            [
                "{\"n\":1,\"when\":\"2023-11-14T22:13:20\"}\n",
                "{\"n\":2.50,\"when\":\"2023-11-14T22:13:21\"}\n",
                "{\"k\":{\"d.e\":[1,\"x\"]},\"when\":\"2023-11-15T00:00:00\"}\n",
            ],
        ),
        (
            &[("time_key", "n"), ("time_key_format", "%s.%3N|%9N|%L"), ("data_keys", "k,log")],
            [
                "{\"log\":\"one\",\"n\":\"1700000000.123|123000000|123000000\"}\n",
                "{\"log\":\"two\",\"n\":\"1700000001.500|500000000|500000000\"}\n",
                "{\"log\":\"three \\u00e9 \\\"q\\\"\",\"k\":{\"d.e\":[1,\"x\"]},\"n\":\"1700006400.000|000000000|000000000\"}\n",
            ],
        ),
        (
            &[("time_key", "a\"b"), ("time_key_format", "\"%Y\""), ("data_keys", "n,k")],
            [
                "{\"n\":1,\"a\\\"b\":\"\\\"2023\\\"\"}\n",
                "{\"n\":2.50,\"a\\\"b\":\"\\\"2023\\\"\"}\n",
                "{\"k\":{\"d.e\":[1,\"x\"]},\"a\\\"b\":\"\\\"2023\\\"\"}\n",
            ],
        ),
        (&[("simple_aggregation", "on")], ["", "", ""]),
    ];
    for (service, _) in BOTH {
        for (options, expected) in &table {
            let fake = KinesisFake::start().await.expect("a fake");
            let output = output(service, &fake, options);
            let mut chunk = chunk(&output, RECORDS);
            assert_eq!(deliver(&output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 0 }]);
            assert_no_flaws(&fake);
            let taken = texts(&fake.state().taken);
            match expected[0] {
                "" => assert_eq!(taken, [whole.concat()], "one record of {}", service.plugin),
                _ => assert_eq!(taken, *expected, "{} {options:?}", service.plugin),
            }
        }
    }
}

#[tokio::test]
async fn values_of_log_key_are_text_whatever_they_are() {
    let fake = KinesisFake::start().await.expect("a fake");
    let output = output(&FIREHOSE, &fake, &[("log_key", "log")]);
    let records =
        [r#"{"log":42}"#, r#"{"log":{"a":1}}"#, r#"{"log":""}"#, r#"{"x":1}"#, r#"{"log":true}"#, "{}"];
    let records = records.map(str::to_owned);
    let mut chunk = chunk(&output, &times(&records));
    deliver(&output, &mut chunk, 1).await;
    assert_eq!(texts(&fake.state().taken), ["42\n", "{\"a\":1}\n", "true\n"]);
    assert_eq!((counter(&output, "empty"), counter(&output, "no_log_key")), (1, 2));
}

#[tokio::test]
async fn compression_is_of_records_or_of_joined_ones() {
    let records = numbered(300, 1);
    let lines: Vec<String> = records.iter().map(|json| format!("{json}\n")).collect();
    for (service, _) in BOTH {
        for compression in ["gzip", "zstd", "snappy"] {
            for join in ["off", "on"] {
                let fake = KinesisFake::start().await.expect("a fake");
                let options = [("compression", compression), ("simple_aggregation", join)];
                let output = output(service, &fake, &options);
                let mut chunk = chunk(&output, &times(&records));
                deliver(&output, &mut chunk, 1).await;
                assert_no_flaws(&fake);
                let taken: Vec<String> =
                    fake.state().taken.iter().map(|r| expand(compression, &r.data)).collect();
                match join {
                    "on" => assert_eq!(taken, [lines.concat()], "{compression}"),
                    _ => assert_eq!(taken, lines, "{compression}"),
                }
                assert_eq!(counter(&output, "uncompressed_bytes_total"), lines.concat().len() as u64);
                let packed: usize = fake.state().taken.iter().map(|r| r.data.len()).sum();
                assert_eq!(counter(&output, "compressed_bytes_total"), packed as u64);
            }
        }
    }
}

fn expand(compression: &str, data: &[u8]) -> String {
    let bytes = match compression {
        "gzip" => {
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(data).read_to_end(&mut out).expect("gzip");
            out
        }
        "zstd" => zstd::decode_all(data).expect("zstd"),
        _ => snap::raw::Decoder::new().decompress_vec(data).expect("snappy"),
    };
    String::from_utf8(bytes).expect("text")
}

/// The records of an aggregated one, with the key that all of them have; a reader of its own, from the format's description.
fn disaggregate(data: &[u8]) -> (String, Vec<Vec<u8>>) {
    use md5::{Digest, Md5};
    let message = data.strip_prefix(&[0xf3, 0x89, 0x9a, 0xc2]).expect("the magic number");
    let (message, digest) = message.split_at(message.len() - 16);
    assert_eq!(Md5::digest(message).as_slice(), digest);
    let (mut key, mut records) = (Vec::new(), Vec::new());
    for (field, value) in fields(message) {
        match field {
            1 => key.push(String::from_utf8(value).expect("a key")),
            3 => {
                let inner = fields(&value);
                assert_eq!(inner[0], (1, vec![0]), "the index of its key");
                assert_eq!((inner.len(), inner[1].0), (2, 3));
                records.push(inner[1].1.clone());
            }
            other => panic!("field {other}"),
        }
    }
    assert_eq!(key.len(), 1);
    (key.remove(0), records)
}

/// Fields of a protocol buffer: numbers as one byte, the rest as bytes.
fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let varint = |message: &mut &[u8]| {
        let (mut number, mut shift) = (0_usize, 0);
        loop {
            let (byte, rest) = message.split_first().expect("a number goes on");
            *message = rest;
            number |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    };
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        match tag & 7 {
            0 => found.push(((tag >> 3) as u8, vec![value as u8])),
            2 => {
                let (bytes, rest) = message.split_at(value);
                message = rest;
                found.push(((tag >> 3) as u8, bytes.to_vec()));
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

#[tokio::test]
async fn aggregated_records_are_those_of_the_producer_library() {
    let fake = KinesisFake::start().await.expect("a fake");
    let output = output(&STREAMS, &fake, &[("aggregation", "on"), ("partition_key", "k")]);
    let records = numbered(4000, 3);
    let mut chunk = chunk(&output, &times(&records));
    assert_eq!(deliver(&output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 0 }]);
    assert_no_flaws(&fake);
    let taken = fake.state().taken.clone();
    assert_eq!(taken.len(), 3, "one for each key");
    for (at, record) in taken.iter().enumerate() {
        let (key, lines) = disaggregate(&record.data);
        assert_eq!((&key, &record.key), (&format!("key-{at}"), &key));
        let own = records.iter().skip(at).step_by(3).map(|json| format!("{json}\n").into_bytes());
        assert_eq!(lines, own.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn only_what_failed_goes_again() {
    for (service, _) in BOTH {
        let fake = KinesisFake::start().await.expect("a fake");
        let throttled = if service.keyed {
            "ProvisionedThroughputExceededException"
        } else {
            "ServiceUnavailableException"
        };
        fake.script([
            Act::Fail(vec![(1, throttled), (3, "InternalFailure"), (4, "InvalidArgumentException")]),
            Act::Fail(vec![(0, throttled), (1, throttled)]),
        ]);
        let output = output(service, &fake, &[]);
        let records = numbered(5, 1);
        let mut chunk = chunk(&output, &times(&records));
        let verdicts = deliver(&output, &mut chunk, 3).await;
        let [Verdict::Retry { after: None, reason }, Verdict::Delivered { dropped: 1 }] = &verdicts[..]
        else {
            panic!("{verdicts:?}")
        };
        assert!(reason.ends_with(&format!("2 of 2 records failed: {throttled}: by script")), "{reason}");
        let sizes: Vec<usize> = fake.state().seen.iter().map(|seen| seen.records.len()).collect();
        assert_eq!(sizes, [5, 2, 2], "{}", service.plugin);
        let line = |n: usize| format!("{}\n", records[n]);
        assert_eq!(texts(&fake.state().taken), [line(0), line(2), line(1), line(3)]);
        assert_eq!((counter(&output, throttled), counter(&output, "InternalFailure")), (3, 1 + 0));
        assert_eq!(counter(&output, "InvalidArgumentException"), 1);
    }
}

#[tokio::test]
async fn a_throttled_shard_takes_its_records_in_order_and_holds_up_no_other() {
    let fake = KinesisFake::start().await.expect("a fake");
    let throttle = || Act::FailKey("key-1".to_owned());
    fake.script([throttle(), Act::Normal, Act::Normal, throttle()]);
    let output = output(&STREAMS, &fake, &[("partition_key", "$k")]);
    let records = numbered(1400, 4);
    let mut chunk = chunk(&output, &times(&records));
    deliver(&output, &mut chunk, 5).await;
    assert_no_flaws(&fake);
    let state = fake.state();
    for key in 0..4 {
        let own: Vec<Taken> = state.taken.iter().filter(|r| r.key == format!("key-{key}")).cloned().collect();
        let expected: Vec<String> =
            records.iter().skip(key).step_by(4).map(|json| format!("{json}\n")).collect();
        assert_eq!(texts(&own), expected, "key-{key}");
        let last = own.iter().map(|record| record.request).max();
        assert_eq!(last > Some(2), key == 1, "the others went out with the first three requests");
    }
}

#[tokio::test]
async fn rounds_go_on_as_long_as_something_gets_through() {
    let fake = KinesisFake::start().await.expect("a fake");
    fake.script([Act::Room(2), Act::Room(2), Act::Room(0)]);
    let output = output(&STREAMS, &fake, &[]);
    let records = numbered(5, 1);
    let mut chunk = chunk(&output, &times(&records));
    let verdict = output.deliver(&mut chunk).await;
    assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
    assert_eq!(fake.state().seen.len(), 3);
    assert_eq!(chunk.done, [true, true, true, true, false]);
    let keys: std::collections::HashSet<String> =
        fake.state().seen.iter().flat_map(|seen| &seen.records).map(|record| record.key.clone()).collect();
    assert_eq!(keys.len(), 5 + 3 + 1, "each time another random key, for another shard");
}

#[tokio::test]
async fn faults_of_a_request_become_verdicts() {
    let table: [(&str, Act, fn(&Verdict) -> bool, &str); 9] = [
        ("on", Act::Error(400, "ProvisionedThroughputExceededException"), retry, "by script"),
        ("on", Act::Error(500, "InternalFailure"), retry, "status 500"),
        ("on", Act::Error(503, ""), retry, "status 503"),
        ("on", Act::Error(400, "ResourceNotFoundException"), hold, "create it, or mend"),
        ("on", Act::Error(400, "AccessDeniedException"), hold, "arn:aws:"),
        ("on", Act::Error(400, "KMSDisabledException"), hold, "KMS"),
        ("off", Act::Close, retry, "127.0.0.1"),
        ("off", Act::Torn(0), retry, "127.0.0.1"),
        ("off", Act::Torn(99), retry, ""),
    ];
    for (service, _) in BOTH {
        for (at_once, act, is, told) in &table {
            let fake = KinesisFake::start().await.expect("a fake");
            fake.script([act.clone()]);
            let output = output(service, &fake, &[("auto_retry_requests", at_once)]);
            let mut chunk = chunk(&output, RECORDS);
            let verdict = output.deliver(&mut chunk).await;
            let (Verdict::Retry { reason, .. } | Verdict::Hold { reason }) = &verdict else {
                panic!("{act:?}: {verdict:?}")
            };
            assert!(is(&verdict) && reason.contains(told), "{act:?}: {verdict:?}");
            assert!(reason.starts_with(service.action), "{reason}");
            assert_eq!(chunk.done, [false; 3]);
            assert_eq!(deliver(&output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 0 }]);
        }
    }
}

fn retry(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Retry { .. })
}

fn hold(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Hold { .. })
}

#[tokio::test]
async fn auto_retry_requests_tries_once_more_at_once() {
    let fake = KinesisFake::start().await.expect("a fake");
    fake.script([Act::Close]);
    let output = output(&STREAMS, &fake, &[]);
    let mut chunk = chunk(&output, RECORDS);
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 0 });
    assert_eq!(fake.state().seen.len(), 2);
}

#[tokio::test]
async fn a_record_that_spoils_its_request_is_found_and_dropped_alone() {
    let fake = KinesisFake::start().await.expect("a fake");
    fake.state().poison = Some("\"n\":77,");
    let output = output(&STREAMS, &fake, &[]);
    let records = numbered(200, 1);
    let mut chunk = chunk(&output, &times(&records));
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 1 });
    assert_eq!(fake.state().taken.len(), 199);
    assert_eq!(counter(&output, "refused"), 1);
    assert!(fake.state().seen.len() < 20, "it is found by halving");
}

#[tokio::test]
async fn a_request_that_is_always_refused_is_not_taken_apart_for_ever() {
    let fake = KinesisFake::start().await.expect("a fake");
    fake.state().poison = Some("n");
    let output = output(&FIREHOSE, &fake, &[]);
    let records = numbered(500, 1);
    let mut chunk = chunk(&output, &times(&records));
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 500 });
    assert!(fake.state().seen.len() < 100, "{}", fake.state().seen.len());
    assert_eq!(counter(&output, "refused"), 500);
}

#[tokio::test]
async fn the_time_is_taken_from_a_service_that_refuses_ours() {
    for seconds in [7200, -7200] {
        let fake = KinesisFake::start().await.expect("a fake");
        fake.script([Act::Skewed(seconds)]);
        let output = output(&STREAMS, &fake, &[]);
        let mut chunk = chunk(&output, RECORDS);
        assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 0 });
        let state = fake.state();
        let dates: Vec<&str> = state.seen.iter().map(|seen| header(&seen.headers, "x-amz-date")).collect();
        assert!(dates.len() == 2 && (dates[0] < dates[1]) == (seconds > 0), "{dates:?}");
        assert_eq!(dates[0][..9] == dates[1][..9] && dates[0][9..11] == dates[1][9..11], false, "{dates:?}");
    }
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> &'h str {
    headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

#[tokio::test]
async fn expired_credentials_are_asked_for_anew() {
    let fake = KinesisFake::start().await.expect("a fake");
    fake.script([Act::Error(400, "ExpiredTokenException")]);
    let output = output(&STREAMS, &fake, &[]);
    let mut chunk = chunk(&output, RECORDS);
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 0 });
    assert_eq!(fake.state().seen.len(), 2);
}

#[tokio::test]
async fn records_are_packed_to_every_limit() {
    // Text of one character each: the record is `{"log":"…"}` and a newline.
    let record = |bytes: usize| format!(r#"{{"log":"{}"}}"#, "x".repeat(bytes - 11));
    let largest = [(1 << 20) - key_bytes(), 1_024_000];
    for ((service, _), most) in BOTH.into_iter().zip(largest) {
        let fake = KinesisFake::start().await.expect("a fake");
        let output = output(service, &fake, &[]);
        let mut records: Vec<String> = [most, most - 1, most + 1, most, 11, most].map(record).into();
        records.extend((0..1200).map(|_| record(12)));
        records.extend((0..60).map(|_| record(100_000)));
        let mut chunk = chunk(&output, &times(&records));
        assert_eq!(deliver(&output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 0 }]);
        assert_no_flaws(&fake);
        let state = fake.state();
        assert_eq!(state.taken.len(), records.len(), "{}", service.plugin);
        assert_eq!(counter(&output, "cut_records_total"), 1);
        for (taken, sent) in state.taken.iter().zip(&records) {
            if sent.len() + 1 <= most {
                assert_eq!(taken.data, format!("{sent}\n").into_bytes());
            } else {
                assert!(taken.data.len() <= most && taken.data.ends_with(b"xx[Truncated...]\"}\n"));
                assert!(taken.data.len() + 600 > most, "no more is cut than must be: {}", taken.data.len());
            }
        }
        assert_eq!(counter(&output, "put_requests_total"), state.seen.len() as u64);
        assert!(
            state.seen.iter().any(|seen| seen.records.len() == 500),
            "a request that is full by its records"
        );
    }
}

const fn key_bytes() -> usize {
    service::RANDOM_KEY_BYTES
}

#[tokio::test]
async fn what_is_too_large_is_cut_where_it_stays_readable() {
    let long = "é\\\"".repeat(600_000);
    let json = serde_json::json!({"a": 1, "log": long, "z": "end"}).to_string();
    for (options, check) in [
        (&[("time_key", "t")][..], true),
        (&[("log_key", "log")], false),
        (&[("partition_key", "z")], true),
        (&[("aggregation", "on")], true),
    ] {
        let fake = KinesisFake::start().await.expect("a fake");
        let output = output(&STREAMS, &fake, options);
        let records = [json.clone(), json.clone()];
        let mut chunk = chunk(&output, &times(&records));
        assert_eq!(deliver(&output, &mut chunk, 1).await, [Verdict::Delivered { dropped: 0 }]);
        assert_no_flaws(&fake);
        assert_eq!(counter(&output, "cut_records_total"), 2);
        for taken in &fake.state().taken {
            let data = match options[0].0 {
                "aggregation" => disaggregate(&taken.data).1.remove(0),
                _ => taken.data.clone(),
            };
            assert!(data.len() > 1_000_000, "{options:?}: {}", data.len());
            if !check {
                assert!(data.ends_with(b"[Truncated...]\n"));
                continue;
            }
            let value: serde_json::Value = serde_json::from_slice(&data).expect("it is still JSON");
            assert_eq!((&value["a"], &value["z"]), (&serde_json::json!(1), &serde_json::json!("end")));
            let log = value["log"].as_str().expect("text");
            let kept = log.strip_suffix("[Truncated...]").expect("the mark");
            assert!(long.starts_with(kept));
        }
    }
}

#[tokio::test]
async fn what_has_no_text_to_cut_is_cut_as_it_is() {
    let fake = KinesisFake::start().await.expect("a fake");
    let output = output(&FIREHOSE, &fake, &[]);
    let json = format!(r#"{{"list":[{}0]}}"#, "12345,".repeat(200_000));
    let mut chunk = chunk(&output, &[(0, 0, &json)]);
    deliver(&output, &mut chunk, 1).await;
    let taken = fake.state().taken.clone();
    assert_eq!(taken[0].data.len(), 1_024_000);
    assert!(taken[0].data.ends_with(b"[Truncated...]\n"));
    assert_eq!(counter(&output, "cut_records_total"), 1);
}

#[tokio::test]
async fn what_does_not_compress_is_cut_to_what_fits() {
    let mut bits = 1_u64;
    let noise: String = (0..1_500_000)
        .map(|_| {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            char::from(b'!' + (bits % 90) as u8)
        })
        .filter(|c| !matches!(c, '"' | '\\'))
        .collect();
    let json = format!(r#"{{"log":"{noise}"}}"#);
    for compression in ["gzip", "zstd", "snappy"] {
        let fake = KinesisFake::start().await.expect("a fake");
        let output = output(&FIREHOSE, &fake, &[("compression", compression)]);
        let mut chunk = chunk(&output, &[(0, 0, &json)]);
        deliver(&output, &mut chunk, 1).await;
        assert_no_flaws(&fake);
        let text = expand(compression, &fake.state().taken[0].data);
        assert!(
            text.ends_with("[Truncated...]\"}\n") && text.len() > 900_000,
            "{compression} {}",
            text.len()
        );
    }
}

#[tokio::test]
async fn a_record_without_its_partition_key_gets_a_random_one() {
    let fake = KinesisFake::start().await.expect("a fake");
    let output = output(&STREAMS, &fake, &[("partition_key", "k")]);
    let records = [r#"{"k":"é\"x"}"#.to_owned(), r#"{"n":1}"#.to_owned(), r#"{"n":2}"#.to_owned()];
    let mut chunk = chunk(&output, &times(&records));
    deliver(&output, &mut chunk, 1).await;
    assert_no_flaws(&fake);
    let keys: Vec<String> = fake.state().taken.iter().map(|record| record.key.clone()).collect();
    assert_eq!(keys[0], "é\"x");
    assert!(keys[1].len() == 16 && keys[1] != keys[2]);
    assert_eq!(counter(&output, "random_partition_keys_total"), 2);
}

#[tokio::test]
async fn workers_are_lanes_and_time_outs_are_kept() {
    let fake = KinesisFake::start().await.expect("a fake");
    let mut context = testing::context();
    context.workers = Some(3);
    let port = fake.port().to_string();
    let entries = [
        ("region", "us-west-2"),
        ("endpoint", "127.0.0.1"),
        ("port", port.as_str()),
        ("stream", "st"),
        ("net.io_timeout", "3s"),
    ];
    let escape = codecs::json::Escape::Ascii;
    let settings = Settings::read(&STREAMS, &section(&entries), "x", escape, &mut Diagnostics::default());
    let settings = settings.expect("valid");
    assert_eq!(settings.patience, Duration::from_secs(3));
    assert!(settings.endpoint.tls.is_some(), "TLS is on unless switched off");
    let instance = Instance::new(settings, &context).map_err(|(_, message)| message).expect("an instance");
    assert_eq!(instance.lanes(), 3);
}

#[test]
fn mistakes_are_found_before_the_start() {
    let base = [("region", "eu-central-1"), ("stream", "st"), ("delivery_stream", "ds")];
    let long = "x".repeat(129);
    let table: &[(&Plugin, &[(&str, &str)], &str)] = &[
        (&super::STREAMS, &[("stream", "")], "`stream` is missing"),
        (&super::STREAMS, &[("region", "")], "`region` is missing"),
        (&super::FIREHOSE, &[("delivery_stream", "")], "`delivery_stream` is missing"),
        (&super::STREAMS, &[("stream", "a/b")], "`stream` is `a/b`"),
        (&super::STREAMS, &[("stream", &long)], "`stream` is `xxx"),
        (&super::STREAMS, &[("log_key", "a"), ("time_key", "b")], "`log_key` is `a`"),
        (&super::STREAMS, &[("log_key", "a"), ("data_keys", "b")], "`log_key` is `a`"),
        (&super::STREAMS, &[("time_key", "")], "`time_key` is ``"),
        (&super::STREAMS, &[("partition_key", "$a['b")], "`partition_key` is"),
        (&super::STREAMS, &[("aggregation", "on"), ("simple_aggregation", "on")], "`aggregation` is `true`"),
        (&super::STREAMS, &[("compression", "lzma")], "compression"),
        (&super::STREAMS, &[("port", "0")], "`port` is `0`"),
        (&super::STREAMS, &[("net.source_address", "here")], "net.source_address"),
        (&super::FIREHOSE, &[("endpoint", "a b")], "`endpoint` is `a b`"),
    ];
    for (plugin, options, told) in table {
        let kept = base.iter().filter(|(key, _)| !options.iter().any(|(set, _)| set == key));
        let entries: Vec<(&str, &str)> = kept.chain(*options).copied().collect();
        let wrong = testing::configure(plugin, &entries).map(|_| ()).expect_err(told);
        assert!(wrong.contains(told), "{options:?}: {wrong}");
    }
    for plugin in [&super::STREAMS, &super::FIREHOSE] {
        testing::configure(plugin, &base).map(|_| ()).expect("what is needed is enough");
    }
}

#[test]
fn endpoints_are_those_of_the_region_or_of_the_option() {
    for (options, authority, host, port, tls) in [
        (&[][..], "kinesis.eu-central-1.amazonaws.com", "kinesis.eu-central-1.amazonaws.com", 443, true),
        (&[("endpoint", "127.0.0.1"), ("port", "8443")], "127.0.0.1:8443", "127.0.0.1", 8443, true),
        (&[("endpoint", "http://localhost:4566/")], "localhost:4566", "localhost", 4566, false),
        (
            &[("endpoint", "https://vpce-1.kinesis.example.com")],
            "vpce-1.kinesis.example.com",
            "vpce-1.kinesis.example.com",
            443,
            true,
        ),
        (&[("endpoint", "[::1]"), ("tls", "off")], "[::1]", "::1", 80, false),
    ] {
        let entries: Vec<_> =
            [("region", "eu-central-1"), ("stream", "st")].iter().chain(options).copied().collect();
        let escape = codecs::json::Escape::Ascii;
        let settings = Settings::read(&STREAMS, &section(&entries), "x", escape, &mut Diagnostics::default());
        let settings = settings.expect("valid");
        let found = (&*settings.authority, &*settings.endpoint.host, settings.endpoint.port);
        assert_eq!(found, (authority, host, port));
        assert_eq!((settings.endpoint.tls.is_some(), &*settings.path), (tls, "/"), "{authority}");
    }
}

/// How records go together, spelled naively: one after the other, until any limit would be broken.
fn naive(sizes: &[(usize, usize)], service: &Service) -> Vec<usize> {
    let mut requests: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
    for &size in sizes {
        let last = requests.last_mut().expect("one at least");
        let mut longer = last.clone();
        longer.push(size);
        let bytes: usize = match service.counts_body {
            false => longer.iter().map(|(data, key)| data + key).sum(),
            true => {
                let records = longer
                    .iter()
                    .map(|(data, _)| format!("{{\"Data\":\"{}\"}},", "x".repeat(data.div_ceil(3) * 4)).len());
                records.sum::<usize>() + "{\"DeliveryStreamName\":\"st\",\"Records\":[]}".len()
            }
        };
        if longer.len() <= 500 && bytes <= service.request_bytes_max {
            *last = longer;
        } else {
            requests.push(vec![size]);
        }
    }
    requests.iter().map(Vec::len).filter(|count| *count > 0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_packer_is_the_naive_one(
        runs in proptest::collection::vec((1_usize..400, prop_oneof![1_usize..50, 1000_usize..90_000, 700_000_usize..1_000_000]), 1..8),
    ) {
        for (service, _) in BOTH {
            let mut segment = Segment::new("t".into());
            let mut sizes = Vec::new();
            for (times, bytes) in &runs {
                // Large ones are few, so that the test stays small.
                for n in 0..times.div_ceil(bytes / 1000 + 1) {
                    let data = (bytes + n % 7).min(service.data_bytes_max(0));
                    segment.bytes.resize(segment.bytes.len() + data, b'x');
                    segment.events.push(crate::segment::Event { end: segment.bytes.len() as u32, unescaped: data as u32, millis: 0, key: 0 });
                    sizes.push((data, key_bytes()));
                }
            }
            let segments = [segment];
            let mut items = pack::open(&segments, &[]);
            prop_assert_eq!(items.len(), sizes.len());
            let parcels = pack::parcels(&mut items, &segments, service, None, false);
            let ranges = pack::requests(&parcels, service, "st");
            prop_assert_eq!(ranges.iter().map(|r| r.len()).collect::<Vec<_>>(), naive(&sizes, service));
            prop_assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
        }
    }

    #[test]
    fn joined_parcels_hold_every_record_once_in_the_order_of_its_key(
        records in proptest::collection::vec((0_usize..4, 1_usize..60_000, any::<bool>()), 1..120),
        kpl in any::<bool>(),
    ) {
        let join = if kpl { pack::Join::Kpl } else { pack::Join::Simple };
        let mut segment = Segment::new("t".into());
        for (key, bytes, _) in &records {
            let name = "k".repeat(*key);
            segment.bytes.extend_from_slice(name.as_bytes());
            segment.bytes.resize(segment.bytes.len() + bytes, b'x');
            let end = segment.bytes.len() as u32;
            segment.events.push(crate::segment::Event { end, unescaped: *bytes as u32, millis: 0, key: 0 });
        }
        let segments = [segment];
        let done: Vec<bool> = records.iter().map(|record| record.2).collect();
        let mut items = pack::open(&segments, &done);
        let parcels = pack::parcels(&mut items, &segments, &STREAMS, Some(join), false);
        let mut seen = vec![Vec::new(); 4];
        for parcel in &parcels {
            let keys: Vec<&[u8]> = items[parcel.items.clone()].iter().map(|item| item.key(&segments)).collect();
            prop_assert!(!keys.is_empty() && keys.windows(2).all(|w| w[0] == w[1]), "one key a parcel");
            prop_assert!(parcel.bytes + parcel.key <= STREAMS.record_bytes_max);
            let data: usize = items[parcel.items.clone()].iter().map(|item| item.data(&segments).len()).sum();
            prop_assert!(parcel.bytes >= data && (kpl || parcel.bytes == data));
            seen[keys[0].len()].extend(items[parcel.items.clone()].iter().map(|item| item.record as usize));
        }
        for (key, seen) in seen.iter().enumerate() {
            let open = records.iter().enumerate().filter(|(_, r)| r.0 == key && !r.2).map(|(at, _)| at);
            prop_assert_eq!(seen, &open.collect::<Vec<_>>());
        }
    }
}
