//! Messages as Fluent Bit 5.1.1 sends them, against a server that takes nothing else.

use super::*;
use crate::fakes::forward::{Fault, ForwardFake, Message, Secret};
use crate::testing::{RECORDS, chunk, configure, segment};

const DELIVERED: Verdict = Verdict::Delivered { dropped: 0 };

async fn fake(secret: Option<Secret>, faults: &[Fault]) -> ForwardFake {
    ForwardFake::start(secret, faults).await.expect("a port")
}

fn output(fake: &ForwardFake, options: &[(&str, &str)]) -> Arc<dyn Output> {
    let port = fake.address.port().to_string();
    let mut all = vec![("Port", port.as_str()), ("net.proxy_env_ignore", "on")];
    all.extend_from_slice(options);
    configure(&PLUGIN, &all).unwrap_or_else(|wrong| panic!("{options:?}: {wrong}"))
}

/// Waits until so many messages came: without acknowledgements they are on their way when a delivery ends.
async fn messages(fake: &ForwardFake, count: usize) -> Vec<Message> {
    while fake.messages().len() < count && fake.broken().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.broken(), Vec::<String>::new());
    fake.messages()
}

const ENTRIES: [&str; 3] = [
    r#"1700000000123000000 {"log":"one","n":1}"#,
    r#"1700000001500000000 {"log":"two","n":2.5,"t":true,"z":null}"#,
    r#"1700006400000000000 {"log":"three é \"q\"","k":{"d.e":[1,"x"]}}"#,
];

#[tokio::test]
async fn options_change_what_is_sent() {
    let signal = r#"{"fluent_signal":0}"#;
    let size = r#"{"size":3,"fluent_signal":0}"#;
    for (options, tag, mode, told) in [
        (&[][..], "app.x", "forward", "{}"),
        (&[("retain_metadata_in_forward_mode", "off")], "app.x", "forward", "{}"),
        (&[("Send_options", "on")], "app.x", "forward", size),
        (&[("Require_ack_response", "on")], "app.x", "forward", size),
        (&[("tag", "new.$TAG[1]")], "new.x", "forward", "{}"),
        (&[("add_option", "a b c")], "app.x", "forward", r#"{"size":3,"fluent_signal":0,"a":"c"}"#),
        (&[("Compress", "gzip")], "app.x", "packed", r#"{"size":3,"compressed":"gzip","fluent_signal":0}"#),
        (&[("tag", "t.$n.$TAG")], "t.1.app.x", "message", signal),
        (&[("tag", "t.$n.$TAG"), ("Require_ack_response", "on")], "t.1.app.x", "message", signal),
    ] {
        let fake = fake(None, &[]).await;
        let output = output(&fake, options);
        let mut chunk =
            chunk(vec![segment(&*output, "app.x", &RECORDS[..2]), segment(&*output, "app.x", &RECORDS[2..])]);
        assert_eq!(output.deliver(&mut chunk).await, DELIVERED, "{options:?}");
        let singles = mode == "message";
        let messages = messages(&fake, if singles { 3 } else { 1 }).await;
        let entries: Vec<&String> = messages.iter().flat_map(|message| &message.entries).collect();
        assert_eq!(entries, ENTRIES, "{options:?}");
        let first = &messages[0];
        assert_eq!(
            (first.tag.as_str(), first.mode, first.options.as_str()),
            (tag, mode, told),
            "{options:?}"
        );
        assert_eq!(first.id.is_some(), options.iter().any(|(key, _)| *key == "Require_ack_response"));
    }
}

#[tokio::test]
async fn whole_seconds_are_integers() {
    for (options, mode) in [(&[][..], "forward"), (&[("tag", "$log")], "message")] {
        let fake = fake(None, &[]).await;
        let output = output(&fake, &[&[("Time_as_Integer", "on")], options].concat());
        let mut chunk = chunk(vec![segment(&*output, "a", &RECORDS[..1])]);
        assert_eq!(output.deliver(&mut chunk).await, DELIVERED);
        let message = &messages(&fake, 1).await[0];
        assert_eq!((message.entries[0].as_str(), message.mode), (r#"1700000000s {"log":"one","n":1}"#, mode));
    }
}

#[test]
fn bytes_are_fluent_bits() {
    // Recorded from Fluent Bit 5.1.1.
    let output = configure(
        &PLUGIN,
        &[
            ("tag", "new.$log.x.$missing"),
            ("add_option", "a b c"),
            ("add_option", "d \"e f\""),
            ("require_ack_response", "on"),
        ],
    );
    let segment = segment(
        &*output.expect("valid"),
        "app.x",
        &[(0x6553_f100, 0x0ae4_dca2, r#"{"log":"one","n":1,"f":1.5}"#)],
    );
    let hex: String = segment.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "94aa6e65772e6f6e652e782ed7006553f1000ae4dca283a36c6f67a36f6e65a16e01a166cb3ff8000000000000df00000004a56368756e6bb8444567304d7836346f773563727554686e68586839513d3dad666c75656e745f7369676e616c00a161a163a164a3652066"
    );
}

#[tokio::test]
async fn tags_have_a_message_each_and_connections_are_kept() {
    let fake = fake(None, &[]).await;
    let output = output(&fake, &[("Require_ack_response", "on")]);
    for round in 1..=3 {
        let segments = ["a", "b", "a"].map(|tag| segment(&*output, tag, &RECORDS[..1])).into();
        assert_eq!(output.deliver(&mut chunk(segments)).await, DELIVERED);
        assert_eq!(messages(&fake, round * 2).await.len(), round * 2);
    }
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn what_was_not_acknowledged_goes_again() {
    for (fault, tag) in [Fault::Close, Fault::Unacknowledged, Fault::WrongId]
        .into_iter()
        .flat_map(|fault| [(fault, "$TAG"), (fault, "$n")])
    {
        let fake = fake(None, &[fault]).await;
        let output = output(&fake, &[("Require_ack_response", "on"), ("tag", tag)]);
        let mut chunk = chunk(vec![segment(&*output, "a", RECORDS), segment(&*output, "b", RECORDS)]);
        let Verdict::Retry { reason, .. } = output.deliver(&mut chunk).await else { panic!("a retry") };
        assert!(reason.contains(&fake.address.to_string()), "{reason}");
        assert!(!chunk.done.iter().any(|done| *done), "{fault:?}");
        assert_eq!(output.deliver(&mut chunk).await, DELIVERED, "{fault:?}");
        let mut ids: Vec<_> = fake.messages().into_iter().map(|message| message.id.expect("an id")).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), if tag == "$n" { 3 } else { 1 }, "a repetition has the same id");
        assert!(chunk.done.iter().all(|done| *done));
    }
}

#[tokio::test]
async fn secrets_are_proven_both_ways() {
    let secret = |user: Option<(&str, &str)>| {
        Some(Secret { key: "k".into(), user: user.map(|(name, word)| (name.into(), word.into())) })
    };
    let joe = Some(("joe", "pw"));
    for (server, options, told) in [
        (secret(None), &[("shared_key", "k")][..], None),
        (secret(joe), &[("shared_key", "k"), ("username", "joe"), ("password", "pw")], None),
        (
            secret(joe),
            &[("shared_key", "k"), ("username", "joe"), ("password", "no")],
            Some("username/password mismatch"),
        ),
        (secret(None), &[("shared_key", "wrong")], Some("shared key mismatch")),
        (secret(None), &[("empty_shared_key", "on"), ("self_hostname", "me")], Some("shared key mismatch")),
    ] {
        let fake = fake(server, &[]).await;
        let output = output(&fake, &[&[("Require_ack_response", "on")], options].concat());
        for _ in 0..2 {
            let mut chunk = chunk(vec![segment(&*output, "a", RECORDS)]);
            match (output.deliver(&mut chunk).await, told) {
                (verdict, None) => assert_eq!(verdict, DELIVERED),
                (Verdict::Retry { reason, .. }, Some(told)) => assert!(reason.contains(told), "{reason}"),
                (verdict, _) => panic!("{options:?}: {verdict:?}"),
            }
        }
        // A kept connection needs no second proof.
        assert_eq!(fake.connections(), if told.is_none() { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_node_that_is_away_is_passed_over() {
    let gone = fake(None, &[]).await.address.port();
    let there = fake(None, &[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("u.conf");
    let node = |port: u16| format!("[NODE]\n    name n-{port}\n    host 127.0.0.1\n    port {port}\n");
    let text = format!("[UPSTREAM]\n    name u\n{}{}", node(gone), node(there.address.port()));
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("UTF-8").to_owned();
    let options =
        [("Upstream", file.as_str()), ("net.proxy_env_ignore", "on"), ("Require_ack_response", "on")];
    let output = configure(&PLUGIN, &options).expect("valid");
    for _ in 0..4 {
        assert_eq!(output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await, DELIVERED);
    }
    assert_eq!(messages(&there, 4).await.len(), 4);
}

#[tokio::test]
async fn unix_sockets_are_servers_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let output = configure(&PLUGIN, &[("unix_path", path.to_str().expect("UTF-8"))]).expect("valid");
    let mut chunk = chunk(vec![segment(&*output, "a", &RECORDS[..1])]);
    let (sent, accepted) = tokio::join!(output.deliver(&mut chunk), listener.accept());
    assert_eq!(sent, DELIVERED);
    let mut head = [0u8; 4];
    tokio::io::AsyncReadExt::read_exact(&mut accepted.expect("a connection").0, &mut head)
        .await
        .expect("read");
    assert_eq!(head, [0x92, 0xa1, b'a', 0x91]);
}

#[test]
fn what_cannot_be_is_told() {
    for (options, told) in [
        (&[("username", "u")][..], "need `shared_key`"),
        (&[("Compress", "gzip"), ("Time_as_Integer", "on")], "`compress gzip`"),
        (&[("Compress", "gzip"), ("tag", "$n")], "`compress gzip`"),
        (&[("Compress", "zstd")], "`compress`"),
        (&[("Port", "70000")], "not a number from 1"),
    ] {
        let wrong = configure(&PLUGIN, options).err().unwrap_or_default();
        assert!(wrong.contains(told), "{options:?}: {wrong}");
    }
}

#[test]
fn groups_keep_the_order_of_a_tag_and_a_bound() {
    let of = |tag: &str, bytes: usize| {
        let mut segment = Segment::new(Arc::from(tag));
        (segment.bytes, segment.records) = (vec![0; bytes], 1);
        segment
    };
    let segments = [of("a", 3 << 20), of("b", 1), of("a", 1 << 20), of("a", 1), of("b", 0), of("b", 2)];
    let groups = deliver::groups(&segments, &[false; 6]);
    let shape: Vec<Vec<usize>> = groups.iter().map(|group| group.segments.clone()).collect();
    assert_eq!(shape, [vec![0, 2], vec![1, 5], vec![3]]);
    let rest = deliver::groups(&segments, &[true, false, true, true, true, true]);
    assert_eq!(rest.iter().map(|group| group.segments.clone()).collect::<Vec<_>>(), [vec![1]]);
}
