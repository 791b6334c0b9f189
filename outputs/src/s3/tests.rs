//! The output against a strict fake, with restarts in between.

use super::PLUGIN;
use super::options::Settings;
use crate::fakes::S3Fake;
use crate::fakes::s3::Fail;
use crate::testing::{RECORDS, chunk, configure, context, section, segment};
use crate::{Output, Verdict};
use codecs::conf::Diagnostics;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// An output that sends to the fake; `more` goes last.
fn output(fake: &S3Fake, store: &Path, more: &[(&str, &str)]) -> Arc<dyn Output> {
    let (endpoint, store) = (fake.endpoint(), store.display().to_string());
    let mut entries = vec![("bucket", "b"), ("endpoint", &endpoint), ("store_dir", &store)];
    entries.extend(more);
    // Credentials come from the configuration in tests: no environment is changed, no metadata service is asked.
    let mut diagnostics = Diagnostics::default();
    let mut settings =
        Settings::read(&section(&entries), context().name, true, &mut diagnostics).expect("valid options");
    settings.account.credentials = Some(aws_credential_types::provider::SharedCredentialsProvider::new(
        aws_credential_types::Credentials::new("AKIA", "secret", None, None, "test"),
    ));
    Arc::new(super::Instance::new(settings, &context()))
}

async fn deliver(output: &dyn Output, tag: &str, records: &[(i64, u32, &str)]) {
    let mut chunk = chunk(vec![segment(output, tag, records)]);
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 0 });
    assert_eq!(chunk.segments.len(), 1, "the segment's memory comes back");
}

/// All objects, one after the other, as text.
fn objects(fake: &S3Fake) -> String {
    let state = fake.state();
    state.objects.values().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

const LINES: &str = "{\"date\":\"2023-11-14T22:13:20.123000Z\",\"log\":\"one\",\"n\":1}\n";

#[tokio::test]
async fn what_is_stored_goes_out_at_the_end() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let output = output(
        &fake,
        store.path(),
        &[("use_put_object", "on"), ("storage_class", "GLACIER"), ("send_content_md5", "on")],
    );
    deliver(&*output, "app", &RECORDS[..1]).await;
    assert!(fake.state().objects.is_empty(), "nothing is due yet");
    output.stop().await;
    assert_eq!(objects(&fake), LINES);
    let state = fake.state();
    let header =
        |name: &str| state.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    assert_eq!(header("x-amz-storage-class").as_deref(), Some("GLACIER"));
    assert!(header("content-md5").is_some_and(|md5| md5.len() == 24));
    let key = state.objects.keys().next().expect("an object");
    assert!(key.starts_with("/b/fluent-bit-logs/app/2023/11/14/22/13/20-object"), "{key}");
}

#[tokio::test]
async fn a_restart_sends_what_was_accepted_once_and_under_one_key() {
    for torn in [false, true] {
        let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
        let first = output(&fake, store.path(), &[("use_put_object", "on")]);
        deliver(&*first, "app", &RECORDS[..1]).await;
        if torn {
            // S3 took the object; nobody knows it when the machine stops.
            fake.state().script.extend([
                Some(Fail::Torn),
                Some(Fail::Torn),
                Some(Fail::Torn),
                Some(Fail::Torn),
            ]);
            first.stop().await;
            assert_eq!(objects(&fake), LINES);
        }
        drop(first);
        let second = output(&fake, store.path(), &[("use_put_object", "on")]);
        second.start().await;
        second.stop().await;
        assert_eq!(objects(&fake), LINES, "no object twice");
    }
}

#[tokio::test]
async fn a_store_in_use_is_refused_and_free_again_after_the_end() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (output(&fake, store.path(), &[]), output(&fake, store.path(), &[]));
    deliver(&*first, "app", &RECORDS[..1]).await;
    let mut waiting = chunk(vec![segment(&*second, "app", RECORDS)]);
    let verdict = second.deliver(&mut waiting).await;
    assert!(
        matches!(&verdict, Verdict::Hold { reason } if reason.contains(&format!("process {}", std::process::id()))),
        "{verdict:?}"
    );
    first.stop().await;
    assert_eq!(second.deliver(&mut waiting).await, Verdict::Delivered { dropped: 0 });
}

#[tokio::test]
async fn directories_that_nobody_has_are_found() {
    let store = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let limits = super::Limits { object_bytes: 1 << 20, part_bytes: None, stored_bytes: 0 };
        super::Store::open(&store.path().join("b").join(name), limits, &|_| {}).expect("it opens")
    };
    let (gone, there, ours) = (open("s3.1"), open("s3.2"), open("s3.0"));
    let fake = S3Fake::start().await.unwrap();
    let output = output(&fake, store.path(), &[]);
    for other in [&gone, &there] {
        other.accept(&[segment(&*output, "app", &RECORDS[..1])]).expect("room");
    }
    drop(gone);
    let left = ours.left_behind().expect("readable");
    assert_eq!(left, [store.path().join("b/s3.1")]);
}

/// Records of 1 MiB that do not compress to nothing.
fn large(count: usize) -> Vec<String> {
    let mut seed = 1u64;
    let mut letter = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + ((seed >> 40) % 26) as u8)
    };
    (0..count)
        .map(|n| format!("{{\"n\":{n},\"log\":\"{}\"}}", (0..1 << 20).map(|_| letter()).collect::<String>()))
        .collect()
}

async fn deliver_large(output: &dyn Output, records: &[String]) {
    for record in records {
        deliver(output, "app", &[(1_700_000_000, 0, record.as_str())]).await;
    }
}

fn numbers(text: &str) -> Vec<usize> {
    let number = |line: &str| line.split("\"n\":").nth(1)?.split(',').next()?.parse().ok();
    text.lines().filter_map(number).collect()
}

#[tokio::test]
async fn multipart_uploads_survive_every_kind_of_failure() {
    let records = large(13);
    let all: Vec<usize> = (0..13).collect();
    for (what, script) in [
        ("nothing", vec![]),
        ("slow down", vec![Some(Fail::Code(503, "SlowDown"))]),
        ("torn part", vec![None, Some(Fail::Torn)]),
        ("forgotten", vec![None, None, Some(Fail::Forget)]),
        ("hidden error", vec![None, None, None, None, Some(Fail::Hidden("InternalError"))]),
        ("torn complete", vec![None, None, None, None, Some(Fail::Torn)]),
        ("lost upload id", vec![Some(Fail::Torn)]),
        ("lost upload id, no abort", vec![Some(Fail::Torn), None, Some(Fail::Code(503, "SlowDown"))]),
        ("too small", vec![None, None, None, None, Some(Fail::Code(400, "EntityTooSmall"))]),
    ] {
        let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
        fake.state().script.extend(script);
        let first = output(&fake, store.path(), &[("auto_retry_requests", "off")]);
        deliver_large(&*first, &records).await;
        first.stop().await;
        drop(first);
        let second = output(&fake, store.path(), &[]);
        second.start().await;
        second.stop().await;
        assert_eq!(numbers(&objects(&fake)), all, "{what}");
        assert_eq!(fake.state().objects.len(), 1, "{what}: one object");
        assert!(fake.state().calls.contains(&"Complete"), "{what}: by parts");
        assert_eq!(fake.state().unfinished(), 0, "{what}: nothing is left half-made");
    }
}

#[tokio::test]
async fn without_the_right_to_list_uploads_it_goes_on() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    fake.state().script.push_back(Some(Fail::Torn));
    fake.state().denied.push("List");
    let output = output(&fake, store.path(), &[("auto_retry_requests", "off")]);
    deliver_large(&*output, &large(13)).await;
    output.stop().await;
    assert_eq!(numbers(&objects(&fake)), (0..13).collect::<Vec<_>>());
    assert!(fake.state().calls.contains(&"List"));
    let lost = output.counters().into_iter().find(|c| c.labels.contains(&("cause", "unanswered".to_owned())));
    assert_eq!(lost.map(|c| c.value), Some(1), "counted by its cause");
}

#[tokio::test]
async fn a_complete_whose_answer_was_lost_is_not_done_again() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    fake.state().script.extend([None, None, None, None, Some(Fail::Torn)]);
    let output = output(&fake, store.path(), &[("auto_retry_requests", "off")]);
    deliver_large(&*output, &large(13)).await;
    output.stop().await;
    let calls = fake.state().calls.clone();
    assert_eq!(calls.iter().filter(|call| **call == "Part").count(), 3, "{calls:?}");
    assert!(calls.ends_with(&["Complete", "Complete", "HEAD"]), "{calls:?}");
}

#[tokio::test]
async fn an_upload_of_another_compression_is_made_again() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let first = output(&fake, store.path(), &[]);
    first.start().await;
    deliver_large(&*first, &large(8)).await;
    while fake.state().calls.len() < 2 {
        tokio::task::yield_now().await;
    }
    drop(first);
    let second = output(&fake, store.path(), &[("compression", "gzip")]);
    second.start().await;
    second.stop().await;
    let state = fake.state();
    assert_eq!((state.objects.len(), state.unfinished()), (1, 0));
    let object = state.objects.values().next().expect("an object");
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&object[..]).read_to_string(&mut text).expect("all of it is gzip");
    assert_eq!(numbers(&text), (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn keys_of_one_second_do_not_meet_also_after_a_restart() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let format = ("s3_key_format", "/x/%S");
    for run in 0..3 {
        let output = output(&fake, store.path(), &[format, ("total_file_size", "20M")]);
        // Large enough to go by parts, whose keys get nothing random.
        deliver_large(&*output, &large(6)).await;
        output.stop().await;
        assert_eq!(fake.state().objects.len(), run + 1);
    }
}

#[tokio::test]
async fn headers_of_encryption_go_out() {
    for put in ["on", "off"] {
        let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
        let more = [
            ("use_put_object", put),
            ("server_side_encryption", "aws:kms"),
            ("ssekms_key_id", "alias/logs"),
            ("canned_acl", "bucket-owner-full-control"),
            ("content_type", "application/x-ndjson"),
        ];
        let output = output(&fake, store.path(), &more);
        deliver_large(&*output, &large(6)).await;
        output.stop().await;
        let state = fake.state();
        for (name, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "alias/logs"),
            ("x-amz-acl", "bucket-owner-full-control"),
            ("content-type", "application/x-ndjson"),
        ] {
            assert!(
                state.headers.contains(&(name.to_owned(), value.to_owned())),
                "{put}: {:?}",
                state.headers
            );
        }
    }
}

#[tokio::test]
async fn snappy_is_one_block_also_of_a_large_object() {
    let records = large(18);
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let output = output(&fake, store.path(), &[("compression", "snappy")]);
    deliver_large(&*output, &records).await;
    output.stop().await;
    let state = fake.state();
    let object = state.objects.values().next().expect("an object");
    let text = snap::raw::Decoder::new().decompress_vec(object).expect("a block");
    assert_eq!(numbers(&String::from_utf8_lossy(&text)), (0..18).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_store_sends_what_is_there_early() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let output = output(&fake, store.path(), &[("store_dir_limit_size", "3M"), ("upload_timeout", "1h")]);
    for record in large(12) {
        let mut chunk = chunk(vec![segment(&*output, "app", &[(1, 0, record.as_str())])]);
        // The engine holds after the first refusal, and comes again.
        while output.deliver(&mut chunk).await != (Verdict::Delivered { dropped: 0 }) {
            chunk.attempt += 1;
        }
    }
    output.stop().await;
    let mut found = numbers(&objects(&fake));
    found.sort_unstable();
    assert_eq!(found, (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn compressed_parts_are_as_large_as_s3_wants_them() {
    let records = large(20);
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let output = output(&fake, store.path(), &[("compression", "gzip")]);
    deliver_large(&*output, &records).await;
    output.stop().await;
    let state = fake.state();
    assert!(state.calls.iter().filter(|call| **call == "Part").count() >= 2, "{:?}", state.calls);
    let object = state.objects.values().next().expect("an object");
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&object[..]).read_to_string(&mut text).expect("gzip");
    assert_eq!(numbers(&text), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_data_file_cut_at_any_byte_gives_whole_records() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let first = output(&fake, store.path(), &[("use_put_object", "on")]);
    for record in RECORDS {
        deliver(&*first, "app", std::slice::from_ref(record)).await;
    }
    drop(first);
    let directory = store.path().join("b").join("test.0");
    let name = "0000000000000000.data";
    let whole = std::fs::read(directory.join(name)).expect("the data file");
    for cut in 0..whole.len() {
        std::fs::write(directory.join(name), &whole[..cut]).unwrap();
        let found = super::recover::objects(&directory, &|_| {}).expect("readable");
        let ends = found.objects.iter().map(|object| object.extent().end).max().unwrap_or(0);
        assert!(
            ends <= cut as u64 && whole[..ends as usize].last().is_none_or(|byte| *byte == b'\n'),
            "cut at {cut}"
        );
        let aside = directory.join("quarantine");
        std::fs::remove_dir_all(&aside).unwrap();
        std::fs::create_dir(&aside).unwrap();
    }
}

#[tokio::test]
async fn a_full_store_waits_and_retry_limit_puts_aside() {
    let (fake, store) = (S3Fake::start().await.unwrap(), tempfile::tempdir().unwrap());
    let output = output(
        &fake,
        store.path(),
        &[
            ("use_put_object", "on"),
            ("store_dir_limit_size", "100"),
            ("retry_limit", "no_retries"),
            ("s3_key_format", "/x/$INDEX"),
        ],
    );
    deliver(&*output, "app", &RECORDS[..1]).await;
    let verdict = output.deliver(&mut chunk(vec![segment(&*output, "app", RECORDS)])).await;
    assert!(
        matches!(&verdict, Verdict::Hold { reason } if reason.contains("store_dir_limit_size")),
        "{verdict:?}"
    );
    fake.state().script.push_back(Some(Fail::Code(400, "InvalidRequest")));
    output.stop().await;
    let aside = store.path().join("b/test.0/quarantine/0000000000000000.data");
    assert!(aside.exists() && fake.state().objects.is_empty());
    let counters = output.counters();
    assert_eq!(counters.iter().find(|c| c.name == "quarantined_total").map(|c| c.value), Some(1));
}

#[test]
fn broken_options_are_told() {
    for (entries, part) in [
        (vec![], "`bucket` is missing"),
        (vec![("bucket", "b"), ("total_file_size", "10")], "`total_file_size` is `10`"),
        (vec![("bucket", "b"), ("upload_chunk_size", "1M")], "`upload_chunk_size` is `1000000`"),
        (vec![("bucket", "b"), ("s3_key_format", "x")], "`s3_key_format` is `x`"),
        (vec![("bucket", "b"), ("server_side_encryption", "x")], "`server_side_encryption` is `x`"),
        (vec![("bucket", "b"), ("ssekms_key_id", "k")], "`ssekms_key_id` is `k`"),
        (vec![("bucket", "b"), ("compression", "parquet")], "`compression` is `parquet`"),
        (vec![("bucket", "b"), ("format", "otlp_json")], "`format` is `otlp_json`"),
    ] {
        let problem = configure(&PLUGIN, &entries).err().unwrap_or_default();
        assert!(problem.contains(part), "{problem}");
    }
    assert!(configure(&PLUGIN, &[("bucket", "b")]).is_ok(), "the bucket is all that is needed");
}

#[test]
fn log_key_sends_its_value_only() {
    let output = configure(&PLUGIN, &[("bucket", "b"), ("log_key", "log")]).expect("valid");
    let segment = segment(
        &*output,
        "t",
        &[(1, 0, r#"{"log":"a \"b\""}"#), (2, 0, r#"{"x":1}"#), (3, 0, r#"{"log":{"n":1}}"#)],
    );
    assert_eq!(
        (String::from_utf8_lossy(&segment.bytes).as_ref(), segment.records),
        ("a \"b\"\n{\"n\":1}\n", 2)
    );
}
