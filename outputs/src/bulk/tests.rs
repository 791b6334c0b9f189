//! What `es` and `opensearch` send (recorded from Fluent Bit 5.1.1 where nothing else is said), and what answers lead to.

use super::*;
use crate::fakes::bulk::{Act, BulkFake};
use crate::testing::{RECORDS, chunk, configure, segment};
use proptest::prelude::*;

type Row<'r> = (i64, u32, &'r str);

/// A plugin, its options, the action line, and how the document begins.
type Case = (&'static crate::Plugin, &'static [(&'static str, &'static str)], &'static str, &'static str);

fn text(plugin: &crate::Plugin, options: &[(&str, &str)], records: &[Row<'_>]) -> String {
    let output = configure(plugin, options).unwrap_or_else(|wrong| panic!("{options:?}: {wrong}"));
    String::from_utf8(segment(&*output, "app.x", records).bytes).expect("text")
}

const DAY: Row<'static> =
    (1_700_006_400, 5_999_999, r#"{"log":"one","n":1,"a.b":{"c.d":[{"e.f":1.50}]},"id":"é-1"}"#);
const BODY: &str = r#""log":"one","n":1,"a.b":{"c.d":[{"e.f":1.50}]},"id":"\u00e9-1"}"#;

#[test]
fn options_change_what_is_sent() {
    let time = r#"{"@timestamp":"2023-11-15T00:00:00.005Z","#;
    let typed = r#"{"create":{"_index":"fluent-bit","_type":"_doc"}}"#;
    let plain = r#"{"create":{"_index":"fluent-bit"}}"#;
    let cases: &[Case] = &[
        (&ES, &[], typed, time),
        (&ES, &[("Type", "t"), ("Index", "i")], r#"{"create":{"_index":"i","_type":"t"}}"#, time),
        (&ES, &[("Suppress_Type_Name", "on")], plain, time),
        (
            &ES,
            &[("Suppress_Type_Name", "on"), ("Logstash_Format", "on")],
            r#"{"create":{"_index":"logstash-2023.11.15"}}"#,
            time,
        ),
        (
            &ES,
            &[
                ("Suppress_Type_Name", "on"),
                ("Logstash_Format", "on"),
                ("Logstash_Prefix_Key", "log"),
                ("Logstash_Prefix_Separator", "_"),
            ],
            r#"{"create":{"_index":"one_2023.11.15"}}"#,
            time,
        ),
        (
            &ES,
            &[
                ("Suppress_Type_Name", "on"),
                ("Logstash_Format", "on"),
                ("Logstash_Prefix_Key", "$nix"),
                ("Logstash_DateFormat", "%Y"),
            ],
            r#"{"create":{"_index":"logstash-2023"}}"#,
            time,
        ),
        (
            &ES,
            &[("Suppress_Type_Name", "on"), ("Time_Key", "t")],
            plain,
            r#"{"t":"2023-11-15T00:00:00.005Z","#,
        ),
        (
            &ES,
            &[("Suppress_Type_Name", "on"), ("Time_Key_Nanos", "on")],
            plain,
            r#"{"@timestamp":"2023-11-15T00:00:00.005999999Z","#,
        ),
        (
            &ES,
            &[("Suppress_Type_Name", "on"), ("Time_Key_Format", "%d")],
            plain,
            r#"{"@timestamp":"15.005Z","#,
        ),
        (
            &ES,
            &[("Suppress_Type_Name", "on"), ("Include_Tag_Key", "on")],
            plain,
            r#"{"@timestamp":"2023-11-15T00:00:00.005Z","flb-key":"app.x","#,
        ),
        (
            &ES,
            &[("Suppress_Type_Name", "on"), ("Id_Key", "id")],
            r#"{"create":{"_index":"fluent-bit","_id":"é-1"}}"#,
            time,
        ),
        (&ES, &[("Suppress_Type_Name", "on"), ("Id_Key", "$n")], plain, time),
        (
            &ES,
            &[("Suppress_Type_Name", "on"), ("Write_Operation", "index")],
            r#"{"index":{"_index":"fluent-bit"}}"#,
            time,
        ),
        (
            &OPENSEARCH,
            &[("Suppress_Type_Name", "on"), ("Index", "a-$log.$TAG[0]")],
            r#"{"create":{"_index":"a-one.app"}}"#,
            time,
        ),
    ];
    for (plugin, options, action, head) in cases {
        assert_eq!(text(plugin, options, &[DAY]), format!("{action}\n{head}{BODY}\n"), "{options:?}");
    }
}

#[test]
fn updates_wrap_the_document_and_need_an_id() {
    for (operation, before) in [("update", r#"{"doc":"#), ("upsert", r#"{"doc_as_upsert":true,"doc":"#)] {
        let options = [("Id_Key", "id"), ("Write_Operation", operation), ("Suppress_Type_Name", "on")];
        let sent = text(&ES, &options, &[DAY, (1, 0, r#"{"log":"no id"}"#), (1, 0, r#"{"id":"a\"b"}"#)]);
        let action = r#"{"update":{"_index":"fluent-bit","_id":"é-1"}}"#;
        assert_eq!(
            sent,
            format!("{action}\n{before}{{\"@timestamp\":\"2023-11-15T00:00:00.005Z\",{BODY}}}\n")
        );
        assert!(configure(&ES, &[("Write_Operation", operation)]).is_err_and(|e| e.contains("id_key")));
    }
}

#[test]
fn dots_and_repeated_keys() {
    let sent = text(&ES, &[("Replace_Dots", "on")], &[DAY]);
    assert!(sent.ends_with("\"a_b\":{\"c_d\":[{\"e_f\":1.50}]},\"id\":\"\\u00e9-1\"}\n"), "{sent}");
    let own = (0, 0, r#"{"a":1,"@timestamp":"mine"}"#);
    assert!(text(&ES, &[], &[own]).ends_with("\n{\"a\":1,\"@timestamp\":\"mine\"}\n"));
    let keys = [("Include_Tag_Key", "on"), ("Tag_Key", "@timestamp")];
    assert!(text(&ES, &keys, &[(0, 0, r#"{"a":1}"#)]).ends_with("\n{\"@timestamp\":\"app.x\",\"a\":1}\n"));
    assert!(text(&ES, &[], &[(0, 0, "{}")]).ends_with("\n{\"@timestamp\":\"1970-01-01T00:00:00.000Z\"}\n"));
}

#[test]
fn ids_are_made_of_the_content() {
    // Recorded from Fluent Bit 5.1.1.
    let row = (1_700_000_000, 123_000_000, r#"{"log":"one","n":1}"#);
    let sent = text(&ES, &[("Generate_ID", "on")], &[row, row]);
    assert_eq!(sent.matches("\"_id\":\"20d869f9-ca5f-7d5b-ff26-3bce4f7f2e8e\"").count(), 2, "{sent}");
    let all = [("Generate_ID", "on"), ("Replace_Dots", "on"), ("Include_Tag_Key", "on")];
    let nested = (
        1_700_000_000,
        123_000_000,
        r#"{"log":"one","n":1,"a.b":{"c.d":[{"e":1.5}]},"big":1234567890123456789}"#,
    );
    assert!(text(&OPENSEARCH, &all, &[nested]).contains("\"_id\":\"66A562C5-2C66-B5A5-7BAF-9A582B61BA61\""));
    let ids = |options: &[(&str, &str)]| text(&OPENSEARCH, options, &[row]).lines().next().map(str::to_owned);
    let plain = ids(&[("Generate_ID", "on")]);
    assert_ne!(plain, ids(&[("Generate_ID", "on"), ("Include_Tag_Key", "on")]));
    assert_eq!(plain, ids(&[("Generate_ID", "on")]));
}

#[test]
fn the_current_time_can_count() {
    let year = |text: &str| text.split("2023").count() > 1;
    assert!(!year(&text(&ES, &[("Current_Time_Index", "on"), ("Logstash_Format", "on")], &[DAY])));
    let sent = text(&ES, &[("Index", "i-%Y")], &[DAY]);
    assert!(!year(sent.lines().next().expect("a line")));
}

#[test]
fn what_cannot_be_is_told() {
    for (plugin, options, told) in [
        (&ES, &[("Port", "0")][..], "not a number from 1"),
        (&ES, &[("cloud_id", "x")], "`cloud_id`"),
        (&ES, &[("Index", "")], "`index` is empty"),
        (&ES, &[("aws_auth", "on")], "needs `aws_region`"),
        (&ES, &[("http_api_key", "a\nb")], "`http_api_key` holds"),
        (&ES, &[("Path", "a b")], "`path` and `pipeline`"),
        (&OPENSEARCH, &[("Index", "$")], ""),
        (&ES, &[("Upstream", "/nowhere/u.conf")], "cannot open"),
    ] {
        let wrong = configure(plugin, options).err();
        // `$` alone is a literal.
        assert!(
            told.is_empty() || wrong.as_ref().is_some_and(|w| w.contains(told)),
            "{options:?}: {wrong:?}"
        );
    }
}

async fn fake(acts: &[Act]) -> BulkFake {
    BulkFake::start(acts, 1 << 20).await.expect("a port")
}

fn output(fake: &BulkFake, options: &[(&str, &str)]) -> Arc<dyn Output> {
    let port = fake.server.address.port().to_string();
    let mut all = vec![("Port", port.as_str()), ("net.proxy_env_ignore", "on")];
    all.extend_from_slice(options);
    configure(&ES, &all).expect("valid")
}

fn counted(output: &dyn Output, name: &str) -> Vec<(String, u64)> {
    let counters = output.counters().into_iter().filter(|c| c.name == name);
    counters.map(|c| (c.labels.into_iter().map(|(_, v)| v).collect(), c.value)).collect()
}

const DELIVERED: Verdict = Verdict::Delivered { dropped: 0 };

#[tokio::test]
async fn requests_are_fluent_bits() {
    for (options, path, authorization) in [
        (&[][..], "/_bulk", ""),
        (&[("Path", "/es"), ("Pipeline", "p")], "/es/_bulk?pipeline=p", ""),
        (&[("HTTP_User", "joe"), ("HTTP_Passwd", "x")], "/_bulk", "Basic am9lOng="),
        (&[("HTTP_API_Key", "abc=")], "/_bulk", "ApiKey abc="),
        (&[("cloud_auth", "joe:x")], "/_bulk", "Basic am9lOng="),
        (&[("compress", "gzip")], "/_bulk", ""),
    ] {
        let fake = fake(&[]).await;
        let output = output(&fake, options);
        let mut chunk = chunk(vec![segment(&*output, "a", RECORDS), segment(&*output, "b", RECORDS)]);
        assert_eq!(output.deliver(&mut chunk).await, DELIVERED, "{options:?}");
        let requests = fake.requests();
        assert_eq!(requests.len(), 1, "tags share a request");
        assert_eq!((requests[0].path.as_str(), requests[0].header("authorization")), (path, authorization));
        assert_eq!(requests[0].header("user-agent"), "Fluent-Bit");
        assert_eq!(requests[0].header("host"), fake.server.address.to_string());
        assert_eq!((fake.broken(), fake.documents().len()), (Vec::new(), 6));
    }
}

#[tokio::test]
async fn only_failed_documents_go_again() {
    let acts =
        [Act::Items(429, "es_rejected_execution_exception", vec![1]), Act::Items(503, "busy", vec![0])];
    let fake = fake(&acts).await;
    let output = output(&fake, &[]);
    let mut chunk = chunk(vec![segment(&*output, "a", RECORDS)]);
    for open in [1, 1] {
        let Verdict::Retry { reason, .. } = output.deliver(&mut chunk).await else { panic!("a retry") };
        assert!(reason.contains("did not take 1 of"), "{reason}");
        assert_eq!(chunk.done.iter().filter(|done| !**done).count(), open);
    }
    assert_eq!(output.deliver(&mut chunk).await, DELIVERED);
    let sizes: Vec<usize> =
        fake.requests().iter().map(|r| r.body.split(|b| *b == b'\n').count() / 2).collect();
    assert_eq!((sizes, fake.documents().len(), fake.broken()), (vec![3, 1, 1], 3, Vec::new()));
}

#[tokio::test]
async fn refused_documents_are_dropped_by_cause() {
    let fake = fake(&[Act::Items(400, "mapper_parsing_exception", vec![0, 2])]).await;
    let output = output(&fake, &[]);
    let mut chunk = chunk(vec![segment(&*output, "a", RECORDS)]);
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 2 });
    assert_eq!(counted(&*output, "rejected_documents_total"), [("mapper_parsing_exception".to_owned(), 2)]);
    assert_eq!((fake.documents().len(), chunk.done), (1, vec![true; 3]));
}

#[tokio::test]
async fn drops_before_a_retry_are_told_after_it() {
    let fake = fake(&[Act::Items(400, "bad", vec![0]), Act::Normal]).await;
    let output = output(&fake, &[]);
    let mut first = chunk(vec![segment(&*output, "a", &RECORDS[..2])]);
    assert_eq!(output.deliver(&mut first).await, Verdict::Delivered { dropped: 1 });
    assert_eq!(output.deliver(&mut first).await, DELIVERED);
    assert_eq!(fake.requests().len(), 1, "nothing is left to send");
}

#[tokio::test]
async fn a_document_that_is_there_is_delivered() {
    let fake = fake(&[Act::Torn(20), Act::Normal]).await;
    let output = output(&fake, &[("Generate_ID", "on")]);
    let mut chunk = chunk(vec![segment(&*output, "a", RECORDS)]);
    assert!(matches!(output.deliver(&mut chunk).await, Verdict::Retry { .. }));
    assert_eq!(output.deliver(&mut chunk).await, DELIVERED);
    assert_eq!(counted(&*output, "conflicting_documents_total"), [(String::new(), 3)]);
    assert_eq!(fake.documents().len(), 3);
}

#[tokio::test]
async fn a_torn_answer_counts_as_far_as_it_came() {
    // The head of the answer and its first item, wherever it is torn: what was told is not sent again.
    for length in (0..400).step_by(13) {
        let fake = fake(&[Act::Torn(length), Act::Items(429, "busy", vec![])]).await;
        let output = output(&fake, &[]);
        let mut chunk = chunk(vec![segment(&*output, "a", RECORDS)]);
        let first = output.deliver(&mut chunk).await;
        let open = 3 - chunk.done.iter().filter(|done| **done).count();
        assert_eq!(first == DELIVERED, open == 0, "torn at {length}");
        assert_eq!(output.deliver(&mut chunk).await, DELIVERED);
        assert_eq!(fake.documents().len(), 3 + open, "torn at {length}");
    }
}

#[tokio::test]
async fn statuses_mean_what_they_say() {
    for (status, dropped) in [
        (500, None),
        (503, None),
        (429, None),
        (401, None),
        (403, None),
        (404, None),
        (408, None),
        (400, Some(3)),
    ] {
        let fake = fake(&[Act::Status(status)]).await;
        let output = output(&fake, &[]);
        let mut chunk = chunk(vec![segment(&*output, "a", RECORDS)]);
        match (output.deliver(&mut chunk).await, dropped) {
            (Verdict::Retry { reason, .. }, None) => {
                assert!(reason.contains(&status.to_string()), "{reason}")
            }
            (Verdict::Delivered { dropped }, Some(expected)) => assert_eq!(dropped, expected),
            (verdict, _) => panic!("{status}: {verdict:?}"),
        }
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved() {
    let fake = BulkFake::start(&[], 250).await.expect("a port");
    let output = output(&fake, &[("Suppress_Type_Name", "on")]);
    let long = format!(r#"{{"log":"{}"}}"#, "x".repeat(300));
    let records: Vec<Row<'_>> =
        (0..9).map(|n| (n, 0, if n == 4 { long.as_str() } else { r#"{"a":1}"# })).collect();
    let mut chunk = chunk(vec![segment(&*output, "a", &records)]);
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 1 });
    assert_eq!(counted(&*output, "rejected_documents_total"), [("too_large".to_owned(), 1)]);
    assert_eq!((fake.documents().len(), fake.broken()), (8, Vec::new()));
}

#[tokio::test]
async fn nodes_take_turns() {
    let (one, two) = (fake(&[]).await, fake(&[]).await);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("u.conf");
    let node = |name: &str, fake: &BulkFake, more: &str| {
        format!(
            "[NODE]\n    name {name}\n    host 127.0.0.1\n    port {}\n    {more}\n",
            fake.server.address.port()
        )
    };
    let text = node("one", &one, "path /p") + &node("two", &two, "http_user joe");
    std::fs::write(&file, format!("[UPSTREAM]\n    name u\n{text}")).expect("written");
    let file = file.to_str().expect("UTF-8").to_owned();
    let output =
        configure(&ES, &[("Upstream", file.as_str()), ("net.proxy_env_ignore", "on")]).expect("valid");
    for _ in 0..4 {
        let mut chunk = chunk(vec![segment(&*output, "a", RECORDS)]);
        assert_eq!(output.deliver(&mut chunk).await, DELIVERED);
    }
    assert_eq!((one.requests().len(), two.requests().len()), (2, 2));
    assert_eq!(
        (one.requests()[0].path.as_str(), two.requests()[0].header("authorization")),
        ("/p/_bulk", "Basic am9lOg==")
    );
    std::fs::write(&file, node("one", &one, "index other")).expect("written");
    let wrong = configure(&ES, &[("Upstream", file.as_str())]).err().unwrap_or_default();
    assert!(wrong.contains("node `one` sets `index`"), "{wrong}");
}

proptest! {
    #[test]
    fn requests_are_cut_as_a_naive_packer_cuts_them(
        sizes in proptest::collection::vec(prop_oneof![1usize..100, Just(deliver::REQUEST_BYTES_MAX / 3), Just(deliver::REQUEST_BYTES_MAX)], 0..40),
        done in proptest::collection::vec(any::<bool>(), 0..40),
    ) {
        // One segment an event keeps the offsets of an event small; the bytes themselves do not matter.
        let segments: Vec<Segment> = sizes.iter().map(|size| {
            let mut segment = Segment::new(Arc::from("a"));
            segment.bytes = vec![b'x'; *size];
            segment.events.push(crate::segment::Event { end: *size as u32, unescaped: 0, millis: 0, key: 0 });
            segment.records = 1;
            segment
        }).collect();
        let items = deliver::open(&segments, &done);
        let expected: Vec<usize> = (0..sizes.len()).filter(|at| done.get(*at) != Some(&true)).collect();
        prop_assert_eq!(items.iter().map(|item| item.record).collect::<Vec<_>>(), expected.clone());
        let mut naive: Vec<Vec<usize>> = Vec::new();
        for at in expected {
            match naive.last_mut() {
                Some(last) if last.iter().chain([&at]).map(|at| sizes[*at]).sum::<usize>() <= deliver::REQUEST_BYTES_MAX => last.push(at),
                _ => naive.push(vec![at]),
            }
        }
        let cut: Vec<Vec<usize>> = deliver::requests(&items).into_iter().map(|range| items[range].iter().map(|item| item.record).collect()).collect();
        prop_assert_eq!(cut, naive);
    }
}
