use super::*;
use crate::testing::{RECORDS, chunk, configure, segment};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// What a server reads of chunks with these tags, one record each, from `keep` connections.
async fn received(options: &[(&str, &str)], tags: &[&str]) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let mut all = vec![("Port", port.as_str()), ("net.proxy_env_ignore", "on"), ("net.keepalive", "off")];
    all.extend_from_slice(options);
    let output = configure(&PLUGIN, &all).expect("valid");
    let segments =
        tags.iter().enumerate().map(|(at, tag)| segment(&*output, tag, &RECORDS[at..][..1])).collect();
    let mut chunk = chunk(segments);
    let (sent, accepted) = tokio::join!(output.deliver(&mut chunk), listener.accept());
    assert_eq!(sent, Verdict::Delivered { dropped: 0 });
    assert_eq!(
        output.deliver(&mut chunk).await,
        Verdict::Delivered { dropped: 0 },
        "nothing is left to send"
    );
    let mut text = Vec::new();
    accepted.expect("a connection").0.read_to_end(&mut text).await.expect("read");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn each_format_is_fluent_bits() {
    let one = r#"{"date":1700000000.123,"log":"one","n":1}"#;
    let two = r#"{"date":1700000001.5,"log":"two","n":2.50,"t":true,"z":null}"#;
    let three = r#"{"date":1700006400.0,"log":"three \u00e9 \"q\"","k":{"d.e":[1,"x"]}}"#;
    for (options, expected) in [
        (&[("Format", "json")][..], format!("[{one},{two}][{three}]")),
        (&[("Format", "json_lines")], format!("{one}\n{two}\n{three}\n")),
        (&[("Format", "json_stream")], format!("{one}{two}{three}")),
        (&[("raw_message_key", "$log")], "one\ntwo\nthree é \"q\"\n".to_owned()),
        (&[("raw_message_key", "$n"), ("Format", "json")], "1\n2.50\n\n".to_owned()),
    ] {
        assert_eq!(received(options, &["a", "a", "b"]).await, expected, "{options:?}");
    }
    let packed = received(&[], &["a"]).await;
    assert!(packed.contains("log\u{fffd}one") && packed.ends_with('\u{1}'), "{packed:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_tried_again() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    drop(listener);
    let output =
        configure(&PLUGIN, &[("Port", port.as_str()), ("net.proxy_env_ignore", "on")]).expect("valid");
    let mut chunk = chunk(vec![segment(&*output, "a", RECORDS)]);
    assert!(matches!(output.deliver(&mut chunk).await, Verdict::Retry { .. }));
    assert!(chunk.done.iter().all(|done| !done));
}
