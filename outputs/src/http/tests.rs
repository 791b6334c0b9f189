use super::*;
use crate::testing::{RECORDS, chunk, configure, segment};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Seen {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// A server that answers with these statuses in turn, then with 200.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

/// One answer: a status and whether the connection is closed after it.
#[derive(Clone, Copy)]
struct Reply {
    status: u16,
    close: bool,
}

const fn reply(status: u16) -> Reply {
    Reply { status, close: false }
}

impl Server {
    async fn start(replies: &[Reply], tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let replies = Arc::new(Mutex::new(Vec::from(replies).into_iter()));
        let server = Server { port, seen: seen.clone(), connections: connections.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (seen, replies, tls) = (seen.clone(), replies.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, seen.clone(), replies.clone()));
                    let http = hyper::server::conn::http1::Builder::new();
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        server
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }

    fn output(&self, entries: &[(&str, &str)]) -> Arc<dyn Output> {
        let port = self.port.to_string();
        let mut all = vec![("Host", "127.0.0.1"), ("Port", port.as_str()), ("net.proxy_env_ignore", "on")];
        all.extend_from_slice(entries);
        configure(&PLUGIN, &all).expect("valid")
    }
}

type Replies = Arc<Mutex<std::vec::IntoIter<Reply>>>;

async fn answer(
    request: Request<hyper::body::Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    replies: Replies,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    let line = format!("{} {}", head.method, head.uri);
    seen.lock().expect("lock").push(Seen { line, headers: head.headers, body });
    let reply = replies.lock().expect("lock").next().unwrap_or(reply(200));
    let mut response = Response::new(Full::new(Bytes::from_static(b"what the server says")));
    *response.status_mut() = http::StatusCode::from_u16(reply.status).expect("a status");
    if reply.close {
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
    }
    if reply.status == 429 {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("7"));
    }
    Ok(response)
}

const DELIVERED: Verdict = Verdict::Delivered { dropped: 0 };

const JSON: [&str; 3] = [
    r#"{"date":1700000000.123,"log":"one","n":1}"#,
    r#"{"date":1700000001.5,"log":"two","n":2.50,"t":true,"z":null}"#,
    r#"{"date":1700006400.0,"log":"three \u00e9 \"q\"","k":{"d.e":[1,"x"]}}"#,
];

#[tokio::test]
async fn each_format_has_its_body_and_type() {
    let server = Server::start(&[], None).await;
    for (format, content_type, body) in [
        ("json", "application/json", format!("[{}]", JSON.join(","))),
        ("json_stream", "application/json", JSON.concat()),
        ("json_lines", "application/x-ndjson", JSON.join("\n") + "\n"),
    ] {
        let output = server.output(&[("Format", format), ("URI", "x/y?z=1")]);
        // Two segments of one tag make one request.
        let segments =
            vec![segment(&*output, "app.x", &RECORDS[..1]), segment(&*output, "app.x", &RECORDS[1..])];
        assert_eq!(output.deliver(&mut chunk(segments)).await, DELIVERED);
        let seen = server.seen().pop().expect("a request");
        assert_eq!(
            (seen.line.as_str(), seen.header("content-type"), seen.text()),
            ("POST /x/y?z=1", content_type, body.as_str())
        );
    }
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn headers_are_fluent_bits() {
    let server = Server::start(&[], None).await;
    let output = server.output(&[
        ("Header", "X-One 1"),
        ("Header", "X-Two two words"),
        ("Header_Tag", "FB-Tag"),
        ("HTTP_User", "joe"),
        ("HTTP_Passwd", "secret"),
        ("http_method", "put"),
    ]);
    let segments = vec![segment(&*output, "a", &RECORDS[..1]), segment(&*output, "b", &RECORDS[..1])];
    assert_eq!(output.deliver(&mut chunk(segments)).await, DELIVERED);
    let seen = server.seen();
    assert_eq!(
        seen.iter().map(|s| s.header("fb-tag")).collect::<Vec<_>>(),
        ["a", "b"],
        "a request for each tag"
    );
    for (name, value) in [
        ("x-one", "1"),
        ("x-two", "two words"),
        ("authorization", "Basic am9lOnNlY3JldA=="),
        ("user-agent", "Fluent-Bit"),
        ("host", format!("127.0.0.1:{}", server.port).as_str()),
    ] {
        assert_eq!(seen[0].header(name), value, "{name}");
    }
    assert_eq!(seen[0].line, "PUT /");
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
    plain
}

#[tokio::test]
async fn records_can_make_requests_of_their_own() {
    let server = Server::start(&[reply(200), reply(500)], None).await;
    let output = server.output(&[("body_key", "$b"), ("headers_key", "$h['x']"), ("header_tag", "tag")]);
    let records = [
        (1, 0, r#"{"b":"one","h":{"x":{"X-A":"1","n":2,"bad name":"x","X-B":"two words"}}}"#),
        (2, 0, r#"{"b":2,"h":{"x":{}}}"#),
        (3, 0, r#"{"b":"three"}"#),
        (4, 0, r#"{"b":"four\nlines","h":{"x":{}}}"#),
    ];
    let segment = segment(&*output, "t", &records);
    assert_eq!(segment.records, 2, "a body is text, headers are a map");
    let mut chunk = chunk(vec![segment]);
    assert!(matches!(output.deliver(&mut chunk).await, Verdict::Retry { .. }));
    assert_eq!(output.deliver(&mut chunk).await, DELIVERED);
    let seen = server.seen();
    assert_eq!(seen.iter().map(Seen::text).collect::<Vec<_>>(), ["one", "four\nlines", "four\nlines"]);
    let names = ["x-a", "x-b", "bad name", "content-type", "tag"];
    assert_eq!(names.map(|name| seen[0].header(name)), ["1", "two words", "", "", "t"]);
}

#[tokio::test]
async fn gelf_is_a_record_a_line() {
    let server = Server::start(&[], None).await;
    let output = server.output(&[("format", "gelf"), ("gelf_short_message_key", "log")]);
    let records = [(1, 0, r#"{"log":"a"}"#), (2, 0, r#"{"other":"b"}"#), (3, 0, r#"{"log":"c"}"#)];
    assert_eq!(output.deliver(&mut chunk(vec![segment(&*output, "t", &records)])).await, DELIVERED);
    let seen = server.seen().pop().expect("a request");
    let line = |text: &str, second: u32| {
        format!("{{\"version\":\"1.1\", \"short_message\":\"{text}\", \"timestamp\":{second}.000}}\n")
    };
    assert_eq!(
        (seen.header("content-type"), seen.text()),
        ("application/json", &*(line("a", 1) + &line("c", 3)))
    );
}

#[tokio::test]
async fn bodies_are_compressed() {
    let server = Server::start(&[], None).await;
    let body = format!("[{}]", JSON.join(","));
    for name in ["gzip", "snappy", "zstd"] {
        let output = server.output(&[("compress", name)]);
        assert_eq!(output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await, DELIVERED);
        let seen = server.seen().pop().expect("a request");
        assert_eq!(seen.header("content-encoding"), name);
        let plain = match name {
            "gzip" => gunzip(&seen.body),
            "zstd" => zstd::stream::decode_all(&seen.body[..]).expect("zstd"),
            _ => snap::raw::Decoder::new().decompress_vec(&seen.body).expect("snappy"),
        };
        assert_eq!(plain, body.as_bytes(), "{name}");
    }
}

#[tokio::test]
async fn statuses_say_what_is_next() {
    for status in
        [200, 201, 202, 203, 204, 205, 206, 302, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504]
    {
        let server = Server::start(&[reply(status)], None).await;
        let output = server.output(&[]);
        let verdict = output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await;
        let fits = match status {
            200..=205 => verdict == DELIVERED,
            429 => matches!(&verdict, Verdict::Retry { after: Some(after), .. } if after.as_secs() == 7),
            206..=399 | 408 | 500.. => {
                matches!(&verdict, Verdict::Retry { after: None, reason } if reason.contains(&status.to_string()))
            }
            _ => {
                matches!(&verdict, Verdict::Drop { reason } if reason.ends_with(&format!("answers {status}: what the server says")))
            }
        };
        assert!(fits, "{status}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_retry_sends_only_what_was_not_taken() {
    let server = Server::start(&[reply(200), reply(500)], None).await;
    let output = server.output(&[("format", "json_lines"), ("json_date_key", "off"), ("header_tag", "tag")]);
    let tags = ["a", "b", "a", "c"];
    let mut chunk = chunk(tags.iter().map(|tag| segment(&*output, tag, &RECORDS[..1])).collect());
    assert!(matches!(output.deliver(&mut chunk).await, Verdict::Retry { .. }));
    assert_eq!(chunk.done, [true, false, true, false]);
    assert_eq!(output.deliver(&mut chunk).await, DELIVERED);
    let sent: Vec<_> =
        server.seen().iter().map(|s| (s.header("tag").to_owned(), s.text().lines().count())).collect();
    let expected = [("a", 2), ("b", 1), ("b", 1), ("c", 1)].map(|(tag, lines)| (tag.to_owned(), lines));
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_refused_tag_does_not_take_the_others_along() {
    let server = Server::start(&[reply(400), reply(200)], None).await;
    let output = server.output(&[]);
    let mut both = chunk(vec![segment(&*output, "a", RECORDS), segment(&*output, "b", RECORDS)]);
    assert!(matches!(output.deliver(&mut both).await, Verdict::Drop { .. }));
    assert_eq!(
        both.done,
        [false, false, false, true, true, true],
        "the verdict is about the refused records"
    );

    let server = Server::start(&[reply(400), reply(503)], None).await;
    let output = server.output(&[]);
    let mut both = chunk(vec![segment(&*output, "a", RECORDS), segment(&*output, "b", RECORDS)]);
    assert!(matches!(output.deliver(&mut both).await, Verdict::Retry { .. }));
    assert_eq!(output.counters()[0].value, 3);
    assert_eq!(output.deliver(&mut both).await, DELIVERED);
    assert_eq!(server.seen().len(), 3, "what was refused is not sent again");
}

#[tokio::test]
async fn connections_are_kept_and_renewed() {
    let close = Reply { status: 200, close: true };
    for (entries, replies, connections) in [
        (&[][..], &[][..], 1),
        (&[("net.keepalive", "off")], &[], 4),
        (&[("net.keepalive_max_recycle", "2")], &[], 2),
        (&[("net.keepalive_idle_timeout", "0")], &[], 4),
        (&[], &[reply(200), close], 2),
    ] {
        let server = Server::start(replies, None).await;
        let output = server.output(entries);
        for _ in 0..4 {
            assert_eq!(output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await, DELIVERED);
        }
        assert_eq!(server.connections.load(Ordering::Relaxed), connections, "{entries:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_died_costs_no_retry() {
    // A server that drops the connection when the second request on it arrives, and answers on new ones.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = [0; 4096];
            for answers in [true, false] {
                let got = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.expect("a request");
                if !answers || got == 0 {
                    break;
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.expect("sent");
            }
        }
    });
    let output = configure(&PLUGIN, &[("port", &port), ("net.proxy_env_ignore", "on")]).expect("valid");
    for _ in 0..2 {
        assert_eq!(output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await, DELIVERED);
    }
    server.abort();
}

#[tokio::test]
async fn nobody_there_and_no_answer_are_tried_again() {
    // Bound but not accepting after the backlog: it takes the connection and never answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = silent.local_addr().expect("an address").port().to_string();
    let output = configure(
        &PLUGIN,
        &[("port", &port), ("http.response_timeout", "0.05"), ("net.proxy_env_ignore", "on")],
    );
    let output = output.expect("valid");
    let verdict = output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await;
    assert!(
        matches!(&verdict, Verdict::Retry { reason, .. } if reason.contains("no answer within 50ms")),
        "{verdict:?}"
    );
    drop(silent);
    let verdict = output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await;
    assert!(
        matches!(&verdict, Verdict::Retry { reason, .. } if reason.contains("cannot connect to")),
        "{verdict:?}"
    );
}

/// A throw-away authority, in a file, and a server's side of TLS with a certificate of it for `name`.
fn authority(name: &str) -> (tempfile::NamedTempFile, TlsAcceptor) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), certificate.pem()).expect("written");
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let server = params.signed_by(&server_key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).expect("a key"),
        )
        .expect("a certificate with its key");
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to() {
    let (file, acceptor) = authority("logs.example");
    let (stranger, _) = authority("logs.example");
    let server = Server::start(&[], Some(acceptor)).await;
    let (ca, other) = (file.path().to_str().expect("text"), stranger.path().to_str().expect("text"));
    for (entries, trusted) in [
        (&[("tls.ca_file", ca)][..], true),
        (&[("tls.ca_file", other)], false),
        (&[("tls.ca_file", other), ("tls.verify", "off")], true),
        (&[("tls.ca_file", ca), ("tls.verify_hostname", "on")], false),
        (&[("tls.ca_file", ca), ("tls.verify_hostname", "on"), ("tls.vhost", "logs.example")], true),
        (&[("tls.ca_file", ca), ("tls.max_version", "TLSv1.2")], true),
        (&[("tls.ca_file", ca), ("tls.min_version", "TLSv1.3")], true),
    ] {
        let mut all = vec![("tls", "on")];
        all.extend_from_slice(entries);
        let output = server.output(&all);
        let verdict = output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await;
        match trusted {
            true => assert_eq!(verdict, DELIVERED, "{entries:?}"),
            false => assert!(
                matches!(&verdict, Verdict::Retry { reason, .. } if reason.contains("certificate")),
                "{entries:?}: {verdict:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_proxy_gets_the_whole_uri_or_digs_a_tunnel() {
    let server = Server::start(&[], None).await;
    let proxy = format!("http://joe:secret@127.0.0.1:{}", server.port);
    let output =
        configure(&PLUGIN, &[("host", "logs.example"), ("port", "8080"), ("uri", "/in"), ("proxy", &proxy)])
            .expect("valid");
    assert_eq!(output.deliver(&mut chunk(vec![segment(&*output, "a", RECORDS)])).await, DELIVERED);
    let seen = server.seen().pop().expect("a request");
    assert_eq!(
        (seen.line.as_str(), seen.header("host")),
        ("POST http://logs.example:8080/in", "logs.example:8080")
    );
    assert_eq!(seen.header("proxy-authorization"), "Basic am9lOnNlY3JldA==");
}

#[test]
fn what_cannot_be_had_is_refused() {
    for (entries, part) in [
        (&[("port", "0")][..], "`port` is 0"),
        (&[("port", "99999")], "`port` is 99999"),
        (&[("format", "xml")], "`format` is `xml`"),
        (&[("body_key", "$b")], "`body_key` needs `headers_key` too"),
        (&[("compress", "brotli")], "`compress` is `brotli`"),
        (&[("proxy", "proxy:3128")], "`proxy` is `proxy:3128`"),
        (&[("header", "bad:name x")], "`header` is `bad:name x`"),
        (&[("tls", "on"), ("tls.ca_file", "/does/not/exist")], "`tls.ca_file` is `/does/not/exist`"),
        (&[("tls", "on"), ("tls.max_version", "TLSv1.1")], "leave no protocol"),
        (&[("net.source_address", "eth0")], "`net.source_address` is `eth0`"),
    ] {
        let error = configure(&PLUGIN, entries).err().unwrap_or_default();
        assert!(error.contains(part), "{entries:?}: {error}");
    }
}
