//! Input http: records in the bodies of POST requests.
//!
//! Owns: the options of http. Never: answers that something was taken which was not.

mod decode;
mod serve;

use self::decode::{Bodies, Encoding};
use self::serve::Shared;
use super::net::options::{ListenOptions, NetOptions, TlsOptions};
use super::net::serve::{Serving, Task};
use super::net::text::Bad;
use super::net::{Address, tls};
use super::{Configured, Context, Input, InputContext, Plugin};
use codecs::accessor::Accessor;
use codecs::conf::values::{Bool, Int, Seconds, Size, Text};
use codecs::conf::{Diagnostics, OptionValue, Section};
use std::rc::Rc;
use std::sync::Arc;

pub use self::serve::ANSWER_WAIT_MAX;

/// The port where none is set.
const PORT: u16 = 9880;

/// The name of a header and its value.
#[derive(Clone, Debug)]
pub struct Header(http::HeaderName, http::HeaderValue);

impl OptionValue for Header {
    const SHAPE: &'static str = "a header's name, a space, its value";
    const COMMENT_ENDS: bool = false;
    fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "the name of a header, a space, and a value of printable characters";
        let (name, value) = text.trim().split_once(' ').ok_or(RULE)?;
        let name = name.parse().map_err(|_| RULE)?;
        Ok(Header(name, value.trim().parse().map_err(|_| RULE)?))
    }
}

codecs::options! {
    /// Listens for records in the bodies of POST requests: JSON (a map, an array of maps, or several of them), or a form.
    /// The path of a request becomes the tag. Gzip, zlib, deflate, zstd and Snappy are understood. A request is answered
    /// when every output that its records go to has accepted them, or after a second.
    pub struct Options {
        /// Speak HTTP/2 with senders that ask for it.
        http2 "http2": Opt<Bool>,
        /// The same under its new name.
        server_http2 "http_server.http2": One<Bool> = "true",
        /// Close a connection from which nothing came for so long; 0 means no limit.
        idle_timeout "http_server.idle_timeout": One<Seconds> = "10s",
        /// The longest body.
        buffer_max_size "buffer_max_size": Opt<Size>,
        /// The same under its new name.
        server_buffer_max_size "http_server.buffer_max_size": One<Size> = "4M",
        /// The buffer of a request grows by so much.
        buffer_chunk_size "buffer_chunk_size": One<Size> = "512K" => NoEffect("a buffer is as large as its request"),
        /// The same under its new name.
        server_buffer_chunk_size "http_server.buffer_chunk_size": One<Size> = "512K" => NoEffect("a buffer is as large as its request"),
        /// Connections at a time; 0 leaves it to the engine.
        max_connections "max_connections": Opt<Size>,
        /// The same under its new name.
        server_max_connections "http_server.max_connections": One<Size> = "0",
        /// Threads that listen.
        workers "workers": One<Int> = "1" => NoEffect("one thread reads the sockets, and all shards make the records"),
        /// The same under its new name.
        server_workers "http_server.workers": One<Int> = "1" => NoEffect("one thread reads the sockets, and all shards make the records"),
        /// Events that may wait for the engine.
        event_limit "http_server.ingress_queue_event_limit": One<Size> = "8192" => NoEffect("what may wait is counted in bytes; see `Mem_Buf_Limit`"),
        /// Bytes that may wait for the engine.
        byte_limit "http_server.ingress_queue_byte_limit": One<Size> = "256M" => NoEffect("see `Mem_Buf_Limit`"),
        /// Add the address of the sender that `X-Forwarded-For` tells.
        add_remote_addr "add_remote_addr": One<Bool> = "false",
        /// Key of that address.
        remote_addr_key "remote_addr_key": One<Text> = "REMOTE_ADDR",
        /// A header of each answer that tells of success.
        success_header "success_header": Many<Header>,
        /// Where in a record its tag stands: a key, or `$a['b']`.
        tag_key "tag_key": Opt<Text>,
        /// The status that tells of success: 200, 201 or 204.
        successful_response_code "successful_response_code": One<Int> = "201",
        /// Answer `GET /health`.
        enable_health_endpoint "enable_health_endpoint": One<Bool> = "false",
        /// Use a connection for more than one request.
        keepalive "net.keepalive": One<Bool> = "true",
        /// Take requests only that carry a valid token.
        oauth2_validate "oauth2.validate": One<Bool> = "false" => Refused("tokens are not checked here; put a proxy before this input, or use mutual TLS (`tls.verify_client_cert`)"),
        /// Who must have issued the token.
        oauth2_issuer "oauth2.issuer": Opt<Text> => Refused("tokens are not checked here"),
        /// Where the issuer's keys are.
        oauth2_jwks_url "oauth2.jwks_url": Opt<Text> => Refused("tokens are not checked here"),
        /// For whom the token must be.
        oauth2_allowed_audience "oauth2.allowed_audience": Opt<Text> => Refused("tokens are not checked here"),
        /// Clients that are taken.
        oauth2_allowed_clients "oauth2.allowed_clients": Opt<Text> => Refused("tokens are not checked here"),
        /// Seconds between two looks at the issuer's keys.
        oauth2_jwks_refresh_interval "oauth2.jwks_refresh_interval": One<Int> = "300" => Refused("tokens are not checked here"),
    }
}

impl Options {
    /// The status that tells of success; one that Fluent Bit does not take becomes 201, as there.
    fn success(&self, section: &Section, owner: &str, diagnostics: &mut Diagnostics) -> http::StatusCode {
        match self.successful_response_code.0 {
            200 => http::StatusCode::OK,
            204 => http::StatusCode::NO_CONTENT,
            201 => http::StatusCode::CREATED,
            other => {
                let span = section.get("successful_response_code").map_or(&section.span, |e| &e.value_span);
                diagnostics.warning(
                    span,
                    format!("{owner}: {other} is not supported response code. Use default 201"),
                );
                http::StatusCode::CREATED
            }
        }
    }

    fn tag_accessor(
        &self,
        section: &Section,
        owner: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Option<Accessor>> {
        let Some(key) = &self.tag_key else { return Some(None) };
        match Accessor::parse(&key.0) {
            Ok(accessor) => Some(Some(accessor)),
            Err(rule) => {
                let span = section.get("tag_key").map_or(&section.span, |e| &e.value_span);
                diagnostics
                    .error(span, format!("{owner}: `tag_key` is `{}`", key.0))
                    .help(format!("rule: {rule}"));
                None
            }
        }
    }
}

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "http",
    about: Options::ABOUT,
    tables: &[ListenOptions::TABLE, Options::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure,
};

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let component = format!("input:http:{owner}");
    let listen = ListenOptions::read(section, owner, diagnostics);
    let options = Options::read(section, owner, diagnostics);
    let net = NetOptions::read(section, owner, diagnostics);
    let tls_options = TlsOptions::read(section, owner, diagnostics);
    let tag_key = options.tag_accessor(section, owner, diagnostics);
    let success = options.success(section, owner, diagnostics);
    let address = Address::net(&listen, PORT, section, owner, diagnostics);
    let http2 = options.http2.unwrap_or(options.server_http2).0;
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    let tls = tls::server(&tls_options, protocols, section, owner, diagnostics);
    let (tag_key, address, tls) = (tag_key?, address?, tls?);
    let seconds = [options.idle_timeout.0, net.io_timeout.0].into_iter().filter(|&s| s > 0.0);
    let shared = Arc::new(Shared {
        component: component.clone(),
        tag: context.tag.to_owned(),
        body_bytes_max: options.buffer_max_size.unwrap_or(options.server_buffer_max_size).0 as usize,
        idle: seconds.reduce(f64::min).map(outputs::net::duration),
        http2,
        keepalive: options.keepalive.0,
        health: options.enable_health_endpoint.0,
        success,
        headers: options.success_header.iter().map(|h| (h.0.clone(), h.1.clone())).collect(),
        remote: options.add_remote_addr.0,
    });
    let decoder = Bodies { tag_key, remote_key: options.remote_addr_key.0, bad: Bad::new(&component) };
    let connections_max = options.max_connections.unwrap_or(options.server_max_connections).0 as usize;
    let serving = Serving { component, address, net, tls, receive_bytes: None, connections_max };
    // The path of a request, or a field of a record, can be any tag.
    Some(Configured {
        input: Box::new(Listening { serving, shared }),
        decoder: Arc::new(decoder),
        tags: vec!["*".to_owned()],
        notes: vec![format!(
            "{owner}: a request is answered when its records are accepted, or after {} s; what is then still in memory is lost when the program is killed",
            ANSWER_WAIT_MAX.as_secs()
        )],
    })
}

/// The configured input.
struct Listening {
    serving: Serving,
    shared: Arc<Shared>,
}

impl Input for Listening {
    fn run(self: Box<Self>, engine: InputContext) {
        let Listening { serving, shared } = *self;
        serving.run(&engine, move |gate, stream, peer| -> Task {
            let (shared, gate) = (shared.clone(), Rc::clone(gate));
            Box::pin(serve::connection(shared, gate, stream, peer))
        });
    }
}

/// The kind of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
}

/// Bytes before a body in its block: kind, encoding, and the length of the sender's address, which follows.
const HEAD_BYTES: usize = 3;

/// A body's block begins with this.
fn head(kind: Kind, encoding: Encoding, remote: &[u8]) -> Vec<u8> {
    let remote = &remote[..remote.len().min(usize::from(u8::MAX))];
    let mut head = vec![kind as u8, encoding as u8, remote.len() as u8];
    head.extend_from_slice(remote);
    head
}
