//! Requests and their answers.
//!
//! Owns: what is answered and when. Never: looks inside a body.

use super::decode::Encoding;
use super::{Kind, head};
use crate::inputs::net::limits::BLOCK_BYTES;
use crate::inputs::net::sources::Sources;
use crate::inputs::net::stream::Socket;
use crate::inputs::net::{Gate, Stream};
use crate::job::{Block, Position, Verdict};
use crate::log;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long a request waits for its records to be accepted by all outputs; then it is answered that they are in memory.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a request waits for memory, or for room in an output, before it is answered 503.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What requests share.
pub(super) struct Shared {
    pub(super) component: String,
    pub(super) tag: String,
    pub(super) body_bytes_max: usize,
    pub(super) idle: Option<Duration>,
    pub(super) http2: bool,
    pub(super) keepalive: bool,
    pub(super) health: bool,
    pub(super) success: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Records get the address that `X-Forwarded-For` tells.
    pub(super) remote: bool,
}

type Answer = Response<Full<Bytes>>;

/// Runs tasks of HTTP/2 on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Serves a connection to its end.
pub(super) async fn connection(shared: Arc<Shared>, gate: Rc<Gate>, stream: Stream, peer: Arc<str>) {
    let second = shared.http2 && speaks_http2(&stream, shared.idle).await;
    let (service_shared, service_gate) = (shared.clone(), gate.clone());
    let service = service_fn(move |request| {
        let (shared, gate) = (service_shared.clone(), service_gate.clone());
        async move { Ok::<_, Infallible>(shared.handle(&gate, request).await) }
    });
    let io = TokioIo::new(stream);
    let result = if second {
        let mut builder = hyper::server::conn::http2::Builder::new(Local);
        builder.timer(TokioTimer::new()).keep_alive_interval(shared.idle);
        let serving = builder.serve_connection(io, service);
        tokio::pin!(serving);
        tokio::select! {
            result = serving.as_mut() => result,
            () = gate.stopped() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(shared.idle).max_buf_size(HEAD_BYTES_MAX);
        builder.keep_alive(shared.keepalive);
        let serving = builder.serve_connection(io, service);
        tokio::pin!(serving);
        tokio::select! {
            result = serving.as_mut() => result,
            () = gate.stopped() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    if let Err(error) = result {
        log!(Debug, shared.component, "{peer}: connection closed: {error}");
    }
}

/// True when the sender speaks HTTP/2: agreed within TLS, or begun at once.
async fn speaks_http2(stream: &Stream, idle: Option<Duration>) -> bool {
    const PREFACE: &[u8] = b"PRI";
    let socket = match stream {
        Stream::Tls(stream) => return stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        Stream::Plain(Socket::Tcp(socket)) => socket,
        Stream::Plain(Socket::Unix(_)) => return false,
    };
    let begun = async {
        let mut bytes = [0; PREFACE.len()];
        loop {
            match socket.peek(&mut bytes).await {
                Ok(0) | Err(_) => return false,
                Ok(len) if len == PREFACE.len() || !PREFACE.starts_with(&bytes[..len]) => {
                    return &bytes[..len] == PREFACE;
                }
                // The rest of it is not here yet.
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    match idle {
        Some(limit) => tokio::time::timeout(limit, begun).await.unwrap_or(false),
        None => begun.await,
    }
}

fn answer(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer
}

fn bad_request(text: &'static str) -> Answer {
    answer(StatusCode::BAD_REQUEST, text)
}

/// There is no room: the sender is to come again.
fn busy() -> Answer {
    let mut answer = answer(StatusCode::SERVICE_UNAVAILABLE, "error: no memory is free, send again later\n");
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn too_large() -> Answer {
    let mut answer = answer(StatusCode::PAYLOAD_TOO_LARGE, "");
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

impl Shared {
    async fn handle(&self, gate: &Rc<Gate>, request: Request<Incoming>) -> Answer {
        let _busy = gate.busy();
        if self.health && request.method() == Method::GET && request.uri().path() == "/health" {
            return self.succeed(Response::new(Full::new(Bytes::from(health()))), StatusCode::OK);
        }
        if request.method() != Method::POST {
            return bad_request("error: invalid HTTP method\n");
        }
        let Some(content_type) = request.headers().get(header::CONTENT_TYPE) else {
            return bad_request("error: header 'Content-Type' is not set\n");
        };
        let Some(kind) = kind(content_type) else { return bad_request("error: invalid 'Content-Type'\n") };
        let encoding = encoding(request.headers());
        let remote = self.remote.then(|| remote(request.headers())).flatten().unwrap_or_default();
        let tag = tag(request.uri().path()).unwrap_or_else(|| self.tag.clone());
        let mut sources = Sources::new(gate.clone(), None);
        let source = sources.get(&tag).source.clone();
        let body = match self.body(gate, &source, head(kind, encoding, &remote), request.into_body()).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        self.submit(gate, &mut sources, &tag, body).await
    }

    /// Reads a body behind its head; every byte of it is charged.
    async fn body(
        &self,
        gate: &Rc<Gate>,
        source: &crate::inputs::Source,
        head: Vec<u8>,
        mut body: Incoming,
    ) -> Result<Charged, Answer> {
        let begin = head.len();
        let hint = body.size_hint();
        if hint.lower() > self.body_bytes_max as u64 {
            return Err(too_large());
        }
        let expected = hint.exact().map_or(BLOCK_BYTES, |n| n as usize) + begin;
        let mut charged = Charged { gate: gate.clone(), bytes: head };
        charged.gate.engine().take(charged.bytes.capacity());
        if !charged.grow(expected, source).await {
            return Err(busy());
        }
        loop {
            let frame = match self.idle {
                Some(limit) => match tokio::time::timeout(limit, body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => return Err(answer(StatusCode::REQUEST_TIMEOUT, "")),
                },
                None => body.frame().await,
            };
            let data = match frame {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    log!(Debug, self.component, "a request ended early: {error}");
                    return Err(bad_request("error: invalid request\n"));
                }
            };
            let len = charged.bytes.len() + data.len();
            if len - begin > self.body_bytes_max {
                return Err(too_large());
            }
            if len > charged.bytes.capacity() && !charged.grow(len.max(charged.bytes.len() * 2), source).await
            {
                return Err(busy());
            }
            charged.bytes.extend_from_slice(&data);
        }
        if charged.bytes.len() == begin {
            return Err(bad_request("error: no payload found\n"));
        }
        Ok(charged)
    }

    /// Hands a body over and waits for what becomes of it.
    async fn submit(&self, gate: &Rc<Gate>, sources: &mut Sources, tag: &str, body: Charged) -> Answer {
        let changed = sources.changed();
        let tagged = sources.get(tag);
        let bytes = body.into_bytes();
        let end = bytes.len() as u64;
        tagged.accepted.wait();
        let position = Position { file: 0, offset: end };
        let block = Block { end: bytes.len(), buffer: bytes, start: 0, position: Position::default() };
        gate.engine().submit(&tagged.source, block, position);
        let deadline = tokio::time::sleep(ANSWER_WAIT_MAX);
        tokio::pin!(deadline);
        let mut waited = false;
        loop {
            match tagged.accepted.verdict(0) {
                Some(Verdict::Invalid) => return bad_request("error: unable to process records\n"),
                Some(Verdict::TooLarge) => return too_large(),
                Some(Verdict::Fine) if waited || tagged.accepted.reached(end) => {
                    return self.succeed(Response::default(), self.success);
                }
                _ => {}
            }
            tokio::select! {
                () = changed.notified() => {}
                () = deadline.as_mut(), if !waited => waited = true,
            }
        }
    }

    fn succeed(&self, mut answer: Answer, status: StatusCode) -> Answer {
        *answer.status_mut() = status;
        for (name, value) in &self.headers {
            answer.headers_mut().append(name, value.clone());
        }
        answer
    }
}

/// Bytes of a body, charged to the input.
struct Charged {
    gate: Rc<Gate>,
    bytes: Vec<u8>,
}

impl Charged {
    /// Makes room for `len` bytes in all, or gives up after [`ROOM_WAIT_MAX`].
    async fn grow(&mut self, len: usize, source: &crate::inputs::Source) -> bool {
        let before = self.bytes.capacity();
        let admitted = tokio::time::timeout(ROOM_WAIT_MAX, self.gate.admit(len, Some(source))).await;
        if admitted != Ok(true) {
            self.gate.engine().metrics().read_errors.fetch_add(1, Relaxed);
            return false;
        }
        let mut larger = Vec::with_capacity(len);
        larger.extend_from_slice(&self.bytes);
        self.bytes = larger;
        self.gate.engine().release(before);
        if self.bytes.capacity() > len {
            self.gate.engine().take(self.bytes.capacity() - len);
        }
        true
    }

    /// The bytes, whose charge goes on with them.
    fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.gate.engine().release(self.bytes.capacity());
    }
}

/// The kind of a body, by its media type.
fn kind(content_type: &HeaderValue) -> Option<Kind> {
    let text = content_type.to_str().ok()?;
    let media = text.split(';').next().unwrap_or_default().trim_end();
    if media.eq_ignore_ascii_case("application/json") {
        Some(Kind::Json)
    } else if media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Some(Kind::Form)
    } else {
        None
    }
}

/// How a body is compressed; one that is not known is taken as it is.
fn encoding(headers: &HeaderMap) -> Encoding {
    let name = headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match name.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Encoding::Gzip,
        "zlib" | "deflate" => Encoding::Deflate,
        "zstd" => Encoding::Zstd,
        "snappy" => Encoding::Snappy,
        _ => Encoding::Identity,
    }
}

/// The first address of `X-Forwarded-For`.
fn remote(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get("x-forwarded-for")?.as_bytes();
    let first = value.split(|&b| b == b',').next()?.trim_ascii();
    (!first.is_empty()).then(|| first.to_vec())
}

/// The tag that a path stands for; none for `/`.
fn tag(path: &str) -> Option<String> {
    let name = path.strip_prefix('/').unwrap_or(path);
    (!name.is_empty()).then(|| sanitized(name.as_bytes()))
}

/// Letters, digits, `_` and `.` stay; every other byte becomes `_`.
pub(super) fn sanitized(text: &[u8]) -> String {
    let keep = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'.';
    text.iter().map(|b| if keep(b) { char::from(*b) } else { '_' }).collect()
}

/// What `GET /health` answers, to the byte as Fluent Bit does.
fn health() -> String {
    let now = crate::shards::now();
    let mut time = Vec::new();
    codecs::time::write_strftime(&mut time, "%Y-%m-%dT%H:%M:%S", now);
    let time = format!("{}.{:09}Z", String::from_utf8_lossy(&time), now.nanos);
    let message = "I can only show you the door. You're the one that has to walk through it.";
    format!("{{\n  \"status\": \"ok\",\n  \"message\": \"{message}\",\n  \"timestamp\": \"{time}\"\n}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_tags() {
        for (path, expected) in [
            ("/", None),
            ("", None),
            ("/app.log", Some("app.log")),
            ("/a/b-c", Some("a_b_c")),
            ("/a%20b", Some("a_20b")),
            ("//x", Some("_x")),
        ] {
            assert_eq!(tag(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn media_types_are_known_with_their_parameters() {
        for (text, expected) in [
            ("application/json", Some(Kind::Json)),
            ("Application/JSON ; charset=utf-8", Some(Kind::Json)),
            ("application/x-www-form-urlencoded", Some(Kind::Form)),
            ("application/jsonx", None),
            ("text/plain", None),
        ] {
            assert_eq!(kind(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }

    #[test]
    fn the_first_forwarded_address_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(remote(&headers), None);
        headers.insert("x-forwarded-for", HeaderValue::from_static(" 1.2.3.4 , 5.6.7.8"));
        assert_eq!(remote(&headers).as_deref(), Some(&b"1.2.3.4"[..]));
    }
}
