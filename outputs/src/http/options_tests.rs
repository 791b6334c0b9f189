//! Each option that works changes something: those that no other test sees.

use super::PLUGIN;
use crate::fakes::http::{Answer, Request, Server};
use crate::testing::{chunk, configure, segment};
use crate::{Output, Verdict};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ONE: &[(i64, u32, &str)] = &[(1_700_000_000, 5_000_000, r#"{"a":1}"#)];

/// Sends records to a server that gives this answer; the verdict, and the requests as the server saw them.
async fn sent(
    entries: &[(&str, &str)],
    records: &[(i64, u32, &str)],
    answer: Answer,
) -> (Verdict, Vec<Request>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let remember = seen.clone();
    let server = Server::start(
        None,
        Arc::new(move |request| {
            remember.lock().expect("lock").push(request);
            let answer = answer.clone();
            Box::pin(async move { answer })
        }),
    );
    let server = server.await.expect("a port");
    let port = server.address.port().to_string();
    let mut all = vec![("port", port.as_str()), ("net.proxy_env_ignore", "on")];
    all.extend_from_slice(entries);
    let output: Arc<dyn Output> = configure(&PLUGIN, &all).expect("valid");
    let verdict = output.deliver(&mut chunk(vec![segment(&*output, "t", records)])).await;
    let seen = std::mem::take(&mut *seen.lock().expect("lock"));
    (verdict, seen)
}

fn status(status: u16, body: &str) -> Answer {
    Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
}

#[tokio::test]
async fn bodies_follow_their_options() {
    let gelf = &[(1, 0, r#"{"when":2.5,"who":"me","what":"s","all":"f","how":3}"#)];
    for (entries, records, body) in [
        (&[("json_date_format", "epoch")][..], ONE, r#"[{"date":1700000000,"a":1}]"#),
        (&[("json_date_format", "iso8601")], ONE, r#"[{"date":"2023-11-14T22:13:20.005000Z","a":1}]"#),
        (&[("json_date_key", "at")], ONE, r#"[{"at":1700000000.005,"a":1}]"#),
        (&[("json_date_key", "false")], ONE, r#"[{"a":1}]"#),
        (
            &[
                ("format", "gelf"),
                ("gelf_timestamp_key", "when"),
                ("gelf_host_key", "who"),
                ("gelf_short_message_key", "what"),
                ("gelf_full_message_key", "all"),
                ("gelf_level_key", "how"),
            ],
            gelf,
            "\"host\":\"me\"",
        ),
    ] {
        let (verdict, seen) = sent(entries, records, status(200, "")).await;
        assert_eq!(verdict, Verdict::Delivered { dropped: 0 });
        let text = String::from_utf8_lossy(&seen[0].body).into_owned();
        if entries[0] == ("format", "gelf") {
            for part in [
                "\"timestamp\":2.5",
                body,
                "\"short_message\":\"s\"",
                "\"full_message\":\"f\"",
                "\"level\":3",
            ] {
                assert!(text.replace("\": ", "\":").contains(part), "{part}: {text}");
            }
            continue;
        }
        assert_eq!(text, body, "{entries:?}");
    }
}

#[tokio::test]
async fn a_header_of_a_known_name_stands_beside_it_or_in_its_place() {
    for (allowed, agents) in [("true", vec!["Fluent-Bit", "mine"]), ("false", vec!["mine"])] {
        let entries = [("allow_duplicated_headers", allowed), ("header", "User-Agent mine")];
        let (_, seen) = sent(&entries, ONE, status(200, "")).await;
        let found: Vec<&str> = seen[0]
            .headers
            .iter()
            .filter(|(name, _)| name == "user-agent")
            .map(|(_, v)| v.as_str())
            .collect();
        assert_eq!(found, agents);
    }
}

#[tokio::test]
async fn the_answer_s_body_is_told_where_it_is_wanted() {
    for (wanted, told) in [("true", true), ("false", false)] {
        let (verdict, _) = sent(&[("log_response_payload", wanted)], ONE, status(400, "because")).await;
        let Verdict::Drop { reason } = verdict else { panic!("{verdict:?}") };
        assert_eq!(reason.contains("because"), told, "{reason}");
    }
}

#[tokio::test]
async fn what_takes_too_long_is_given_up() {
    // An answer that comes later than each limit. The body is announced and does not come: `torn` closes instead, so
    // that the limit of a body that stands still has a server of its own below.
    let late = Answer { delay: Duration::from_secs(30), ..status(200, "") };
    let (verdict, _) = sent(&[("http.response_timeout", "0.05")], ONE, late.clone()).await;
    assert!(
        matches!(&verdict, Verdict::Retry { reason, .. } if reason.contains("no answer within")),
        "{verdict:?}"
    );

    let tokens = Server::start(
        None,
        Arc::new(move |_| {
            let late = late.clone();
            Box::pin(async move { late })
        }),
    );
    let url = format!("http://{}", tokens.await.as_ref().expect("a port").address);
    let entries = [
        ("oauth2.enable", "on"),
        ("oauth2.token_url", url.as_str()),
        ("oauth2.client_id", "id"),
        ("oauth2.client_secret", "s"),
        ("oauth2.timeout", "0.05"),
    ];
    let (verdict, seen) = sent(&entries, ONE, status(200, "")).await;
    assert!(
        matches!(&verdict, Verdict::Retry { reason, .. } if reason.contains("no OAuth2 token")),
        "{verdict:?}"
    );
    assert!(seen.is_empty());
}

/// A server that takes connections and says this, then nothing more.
async fn silent(says: &'static [u8]) -> (tokio::task::JoinHandle<()>, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let task = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if !says.is_empty() {
                let mut request = [0; 4096];
                drop(stream.read(&mut request).await);
                drop(stream.write_all(says).await);
            }
            kept.push(stream);
        }
    });
    (task, port)
}

#[tokio::test]
async fn connections_and_bodies_that_stand_still_are_given_up() {
    for (says, entries, told) in [
        (
            &b""[..],
            &[("tls", "on"), ("tls.verify", "off"), ("net.connect_timeout", "0.05")][..],
            "no connection within",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            &[("http.read_idle_timeout", "0.05")],
            "the answer stopped for",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            &[("net.io_timeout", "0.05")],
            "the answer stopped for",
        ),
    ] {
        let (_server, port) = silent(says).await;
        let mut all = vec![("port", port.as_str()), ("net.proxy_env_ignore", "on")];
        all.extend_from_slice(entries);
        let output = configure(&PLUGIN, &all).expect("valid");
        let verdict = output.deliver(&mut chunk(vec![segment(&*output, "t", ONE)])).await;
        assert!(
            matches!(&verdict, Verdict::Retry { reason, .. } if reason.contains(told)),
            "{entries:?}: {verdict:?}"
        );
    }
}
