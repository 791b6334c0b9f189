//! An HTTP/1.1 client for one server: connections kept for the next request, TLS, a proxy.
//!
//! Owns: connecting, time-outs, reuse of connections. Never: retries a request that a server may have answered, follows a
//! redirect, reads an answer beyond its limit.
//! Invariant: a connection serves one request at a time; at most [`IDLE_MAX`] wait unused.

use crate::net::NetOptions;
use crate::stream::{Dialer, IDLE_MAX};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A server, and how it is reached.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS and the name that is asked for.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// A proxy in between.
    pub proxy: Option<Proxy>,
}

impl Endpoint {
    /// `host:port`, an address of IPv6 in brackets.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// An HTTP proxy, spoken to without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `Proxy-Authorization`, as it is sent.
    pub authorization: Option<String>,
    /// Whether plain HTTP goes through CONNECT too.
    pub tunnel: bool,
}

impl Proxy {
    /// Reads `http://[user:password@]host[:port]`; the error is the rule that it breaks.
    pub fn parse(url: &str, tunnel: bool) -> Result<Proxy, String> {
        const RULE: &str = "http://host:port, with user:password@ before the host where it needs them";
        let uri: http::Uri = url.trim().parse().map_err(|_| RULE.to_owned())?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(RULE.to_owned());
        };
        let authorization = authority.as_str().rsplit_once('@').map(|(user, _)| basic(user));
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Proxy { host, port: authority.port_u16().unwrap_or(80), authorization, tunnel })
    }

    /// The proxy that `HTTP_PROXY` names, unless `NO_PROXY` leaves this host out.
    pub fn of_environment(host: &str) -> Result<Option<Proxy>, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(url) = variable("HTTP_PROXY").or_else(|| variable("http_proxy")) else { return Ok(None) };
        let exempt = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
        if exempt.split(',').any(|entry| is_exempt(host, entry.trim())) {
            return Ok(None);
        }
        Proxy::parse(&url, true).map(Some).map_err(|rule| format!("HTTP_PROXY is not {rule}"))
    }
}

/// Whether an entry of `NO_PROXY` is this host, or a domain that it belongs to.
fn is_exempt(host: &str, entry: &str) -> bool {
    let suffix = entry.trim_start_matches('.');
    entry == "*"
        || (!suffix.is_empty()
            && (host.eq_ignore_ascii_case(suffix)
                || (host.len() > suffix.len()
                    && host.is_char_boundary(host.len() - suffix.len())
                    && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
                    && host.as_bytes()[host.len() - suffix.len() - 1] == b'.')))
}

/// `Basic …` of `user:password`.
pub fn basic(credentials: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::from("Basic ");
    for group in credentials.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if at <= group.len() { char::from(DIGITS[(bits >> shift) as usize & 63]) } else { '=' });
        }
    }
    out
}

/// An answer, its body cut at the limit that was asked for.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

/// Time-outs of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From sending the request to the first line of the answer.
    pub response: Duration,
    /// Between two stretches of the answer's body.
    pub idle: Duration,
    /// How much of the answer's body is read.
    pub body_bytes: usize,
}

type Sender = SendRequest<Full<Bytes>>;

struct Idle {
    sender: Sender,
    uses: i64,
    since: Instant,
}

/// Takes the body of an answer, piece by piece.
pub type Sink<'s, 'f> = &'s mut (dyn FnMut(&[u8]) + Send + 'f);

/// The longest answer that is handed to a sink.
const SUNK_BYTES_MAX: usize = 256 << 20;

/// A client of one server.
pub struct Client {
    endpoint: Endpoint,
    dialer: Dialer,
    idle: Mutex<Vec<Idle>>,
}

impl Client {
    /// A client; nothing is opened before the first request. The error names a bad `net.source_address`.
    pub fn new(endpoint: Endpoint, net: NetOptions) -> Result<Self, String> {
        Ok(Client { endpoint, dialer: Dialer::new(net)?, idle: Mutex::new(Vec::new()) })
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request (its URI is the path, `Host` is set already) and reads the answer. The error says what failed.
    pub async fn send(&self, request: Request<Full<Bytes>>, limits: Limits) -> Result<Answer, String> {
        self.send_into(request, limits, None).await
    }

    /// The same, and hands the answer's body over as it comes, all of it.
    pub async fn send_into(
        &self,
        mut request: Request<Full<Bytes>>,
        limits: Limits,
        mut sink: Option<Sink<'_, '_>>,
    ) -> Result<Answer, String> {
        self.address(&mut request)?;
        if let Some((sender, uses)) = self.reuse() {
            // The server may close a connection just when it is used again: what was not answered goes out anew.
            match self.exchange(sender, uses, request.clone(), limits, sink.as_deref_mut()).await {
                Err(Broken { unanswered: true, .. }) => {}
                result => return result.map_err(|broken| broken.reason),
            }
        }
        let sender = self.connect().await?;
        self.exchange(sender, 0, request, limits, sink).await.map_err(|broken| broken.reason)
    }

    /// A proxy without a tunnel wants the whole URI, and its own credentials.
    fn address(&self, request: &mut Request<Full<Bytes>>) -> Result<(), String> {
        let Some(proxy) =
            self.endpoint.proxy.as_ref().filter(|proxy| self.endpoint.tls.is_none() && !proxy.tunnel)
        else {
            return Ok(());
        };
        let uri = format!("http://{}{}", self.authority(), request.uri());
        *request.uri_mut() = uri.parse().map_err(|error| format!("{uri} is not a URI: {error}"))?;
        if let Some(value) = proxy.authorization.as_ref().and_then(|text| text.parse().ok()) {
            request.headers_mut().insert(http::header::PROXY_AUTHORIZATION, value);
        }
        Ok(())
    }

    /// `host:port`, as in a `Host` header of an explicit port.
    pub fn authority(&self) -> String {
        self.endpoint.authority()
    }

    /// The connection that was used last, if it is still good.
    fn reuse(&self) -> Option<(Sender, i64)> {
        let limit = crate::net::duration(self.dialer.net().keepalive_idle_timeout.0);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() < limit);
        idle.pop().map(|kept| (kept.sender, kept.uses))
    }

    fn keep(&self, sender: Sender, uses: i64) {
        let recycle = self.dialer.net().keepalive_max_recycle.0;
        if !self.dialer.net().keepalive.0 || sender.is_closed() || (recycle > 0 && uses >= recycle) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(Idle { sender, uses, since: Instant::now() });
        }
    }

    async fn exchange(
        &self,
        mut sender: Sender,
        uses: i64,
        request: Request<Full<Bytes>>,
        limits: Limits,
        sink: Option<Sink<'_, '_>>,
    ) -> Result<Answer, Broken> {
        let fresh = |reason: String| Broken { reason, unanswered: false };
        let server = self.authority();
        let sent = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let response = match timeout(limits.response, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(Broken { reason: format!("{server}: {}", chain(&error)), unanswered: uses > 0 });
            }
            Err(_) => return Err(fresh(format!("{server}: no answer within {:?}", limits.response))),
        };
        let (head, body) = response.into_parts();
        let (body, complete) =
            read(body, limits, sink).await.map_err(|reason| fresh(format!("{server}: {reason}")))?;
        if complete {
            // The connection task puts the connection in order after the last byte; wait for it, shortly.
            if timeout(Duration::from_secs(1), sender.ready()).await.is_ok_and(|ready| ready.is_ok()) {
                self.keep(sender, uses + 1);
            }
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    async fn connect(&self) -> Result<Sender, String> {
        let stream = self.dialer.open(&self.endpoint).await?;
        let (sender, connection) = http1::Builder::new()
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("{}: {}", self.authority(), chain(&error)))?;
        // It ends with its sender, or when the server closes; an error reaches whoever waits for an answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// A request without an answer.
struct Broken {
    reason: String,
    /// The connection had been used before, and nothing of an answer came.
    unanswered: bool,
}

/// The beginning of a body, and whether that is all of it.
async fn read(
    mut body: Incoming,
    limits: Limits,
    mut sink: Option<Sink<'_, '_>>,
) -> Result<(Vec<u8>, bool), String> {
    let (mut bytes, mut handed) = (Vec::new(), 0);
    loop {
        let frame = match timeout(limits.idle, body.frame()).await {
            Err(_) => return Err(format!("the answer stopped for {:?}", limits.idle)),
            Ok(None) => return Ok((bytes, true)),
            Ok(Some(Err(error))) => return Err(chain(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(data) = frame.data_ref() else { continue };
        let room = limits.body_bytes.saturating_sub(bytes.len());
        bytes.extend_from_slice(&data[..room.min(data.len())]);
        if let Some(sink) = &mut sink {
            sink(data);
            handed += data.len();
            if handed > SUNK_BYTES_MAX {
                return Err(format!("the answer is longer than {SUNK_BYTES_MAX} bytes"));
            }
        } else if data.len() > room {
            return Ok((bytes, false));
        }
    }
}

/// An error with what caused it: hyper's own text alone says little.
/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read() {
        let proxy = Proxy::parse("http://joe:secret@proxy.example:3128", true).expect("a proxy");
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic am9lOnNlY3JldA=="));
        assert_eq!(Proxy::parse("http://[::1]", false).map(|p| (p.host, p.port)), Ok(("::1".to_owned(), 80)));
        for text in ["proxy:3128", "https://x:1", "", "http://"] {
            assert!(Proxy::parse(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for (host, entry, exempt) in [
            ("a.example", "a.example", true),
            ("b.a.example", "a.example", true),
            ("b.a.example", ".a.example", true),
            ("ba.example", "a.example", false),
            ("x", "*", true),
            ("x", "", false),
        ] {
            assert_eq!(is_exempt(host, entry), exempt, "{host} {entry}");
        }
    }

    #[test]
    fn credentials_are_base64() {
        for (text, encoded) in
            [("", "Basic "), ("a", "Basic YQ=="), ("ab", "Basic YWI="), ("abc", "Basic YWJj")]
        {
            assert_eq!(basic(text), encoded);
        }
    }
}
