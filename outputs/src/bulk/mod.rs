//! `es` and `opensearch`: documents by _bulk requests.
//!
//! Owns: the two plugins, what a request looks like but for its body. Never: keeps a connection itself (see
//! [`crate::client`]).
//! Invariants: a document that the server took is not sent again; a request holds at most
//! [`deliver::REQUEST_BYTES_MAX`] bytes, or one document.

mod answer;
mod cloud;
mod counters;
mod deliver;
mod encode;
mod ids;
mod options;

pub use options::{EsOptions, Options};

use crate::aws::{Account, Limits, session};
use crate::client::{Client, Endpoint};
use crate::http::auth::Signer;
use crate::net::{NetOptions, TlsOptions};
use crate::segment::{Chunk, Segment};
use crate::upstream::{self, Turn};
use crate::{Context, Counter, Output, Plugin, Verdict};
use codecs::Bump;
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Section};
use codecs::record::{Record, Timestamp};
use counters::Counters;
use encode::Encoder;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Uri};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// `es`.
    Elasticsearch,
    /// `opensearch`.
    OpenSearch,
}

/// `es`, in the registry.
pub static ES: Plugin = Plugin {
    name: "es",
    about: Options::ABOUT,
    tables: &[Options::TABLE, EsOptions::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure: |section, context, diagnostics| {
        configure(Flavor::Elasticsearch, section, context, diagnostics)
    },
};
/// `opensearch`, in the registry.
pub static OPENSEARCH: Plugin = Plugin {
    name: "opensearch",
    about: Options::ABOUT,
    tables: &[Options::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure: |section, context, diagnostics| configure(Flavor::OpenSearch, section, context, diagnostics),
};

fn configure(
    flavor: Flavor,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let mut check = Check { flavor, name: context.name, diagnostics };
    let (options, es) = check.options(section);
    let net = NetOptions::read(section, context.name, check.diagnostics);
    let nodes = match es.as_ref().and_then(|es| es.upstream.as_ref()) {
        None => check.single(section, &options, es.as_ref(), &net).map(|node| vec![node]),
        Some(_) => check.upstream(section, &net),
    };
    let escape = crate::formats::escape(context.escape_unicode);
    let encoder = Encoder::new(&options, flavor, escape, now);
    let encoder = encoder.map_err(|(key, message)| check.wrong(section, key, &message));
    let (nodes, encoder) = (nodes?, encoder.ok()?);
    let (plugin, workers) = if flavor == Flavor::Elasticsearch { ("es", 2) } else { ("opensearch", 1) };
    Some(Arc::new(Bulk {
        component: format!("output:{plugin}:{}", context.name),
        encoder,
        // Fluent Bit takes a document that is there already for delivered; an update that lost a race is not.
        conflict_is_delivery: options.write_operation.action() != "update",
        trace_output: options.trace_output.0,
        trace_error: options.trace_error.0,
        nodes,
        turn: Turn::default(),
        idle: net.io_limit().unwrap_or(ANSWER_WAIT),
        lanes: context.workers.unwrap_or(workers).max(1),
        counters: Counters::default(),
        untold: AtomicUsize::new(0),
    }))
}

/// How long an answer may take, or stand still, where `net.io_timeout` sets no limit.
const ANSWER_WAIT: Duration = Duration::from_secs(90);

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

/// A server, and what its requests have in common.
struct Node {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    gzip: bool,
    /// Signs requests, with `aws_auth`.
    signer: Option<Signer>,
}

/// A configured instance.
struct Bulk {
    component: String,
    encoder: Encoder,
    conflict_is_delivery: bool,
    trace_output: bool,
    trace_error: bool,
    nodes: Vec<Node>,
    turn: Turn,
    idle: Duration,
    lanes: usize,
    counters: Counters,
    /// Documents refused in attempts that had to be repeated: told with the next verdict that can tell them.
    untold: AtomicUsize,
}

/// Collects what is wrong.
struct Check<'c> {
    flavor: Flavor,
    name: &'c str,
    diagnostics: &'c mut Diagnostics,
}

impl Check<'_> {
    fn wrong(&mut self, section: &Section, key: &str, message: &str) {
        let span = section.get(key).map_or(&section.span, |entry| &entry.value_span);
        self.diagnostics.error(span, format!("{}: {message}", self.name));
    }

    fn options(&mut self, section: &Section) -> (Options, Option<EsOptions>) {
        let options = Options::read(section, self.name, self.diagnostics);
        let es = match self.flavor {
            Flavor::Elasticsearch => Some(EsOptions::read(section, self.name, self.diagnostics)),
            Flavor::OpenSearch => None,
        };
        if options.id_key.is_some() && options.generate_id.0 {
            let span = section.get("generate_id").map_or(&section.span, |entry| &entry.key_span);
            self.diagnostics
                .note(span, format!("{}: `generate_id` is ignored where `id_key` is set", self.name));
        }
        (options, es)
    }

    /// The one server of the options.
    fn single(
        &mut self,
        section: &Section,
        options: &Options,
        es: Option<&EsOptions>,
        net: &NetOptions,
    ) -> Option<Node> {
        let tls = TlsOptions::read(section, self.name, self.diagnostics);
        let (host, port) = match es.and_then(|es| es.cloud_id.as_ref()) {
            None => (options.host.0.clone(), options.port.0),
            Some(id) => match cloud::place(id) {
                Ok(place) => place,
                Err(rule) => {
                    self.wrong(section, "cloud_id", &format!("`cloud_id` is `{}`, not {rule}", id.0));
                    return None;
                }
            },
        };
        let endpoint = upstream::endpoint(section, self.name, &host, port, &tls, net, self.diagnostics);
        let signer = self.signer(section, options, &tls, net);
        self.node(section, options, es, endpoint?, net, signer?)
    }

    /// The nodes of `upstream`.
    fn upstream(&mut self, section: &Section, net: &NetOptions) -> Option<Vec<Node>> {
        let file = section.get("upstream")?;
        let tables = [Options::TABLE, EsOptions::TABLE];
        let nodes = upstream::nodes(file, section, self.name, &tables, net, self.diagnostics)?;
        nodes.into_iter().map(|node| self.node_of(section, node, net)).collect()
    }

    fn node_of(&mut self, section: &Section, node: upstream::Node, net: &NetOptions) -> Option<Node> {
        for key in options::SHARED {
            let own = node.own.get(key).map(|entry| &entry.value);
            if own.is_some() && own != section.get(key).map(|entry| &entry.value) {
                let message = format!(
                    "node `{}` sets `{key}`, which all nodes share: a record is encoded before it has a node; \
                     set it in the output",
                    node.name
                );
                self.wrong(&node.own, key, &message);
                return None;
            }
        }
        let (options, es) = self.options(&node.section);
        let tls = TlsOptions::read(&node.own, self.name, self.diagnostics);
        let signer = self.signer(&node.section, &options, &tls, net)?;
        self.node(&node.section, &options, es.as_ref(), node.endpoint, net, signer)
    }

    /// What signs requests, if they are to be signed; `None` where that cannot be.
    fn signer(
        &mut self,
        section: &Section,
        options: &Options,
        tls: &TlsOptions,
        net: &NetOptions,
    ) -> Option<Option<Signer>> {
        if !options.aws_auth.0 {
            return Some(None);
        }
        let text = |value: &Option<Text>| value.as_ref().map(|Text(value)| value.clone());
        let Some(region) = text(&options.aws_region).filter(|region| !region.is_empty()) else {
            self.wrong(section, "aws_auth", "`aws_auth` needs `aws_region`");
            return None;
        };
        let account = Account {
            credentials: None,
            region,
            profile: text(&options.aws_profile),
            role_arn: text(&options.aws_role_arn),
            external_id: text(&options.aws_external_id),
            sts_endpoint: text(&options.aws_sts_endpoint),
        };
        let limits =
            Limits { connect: net.connect_limit(), proxy: !net.proxy_env_ignore.0, ..Limits::default() };
        let service = options.aws_service_name.0.clone();
        Some(Some(Signer::of(service, account, limits, session::credentials_tls(tls))))
    }

    fn node(
        &mut self,
        section: &Section,
        options: &Options,
        es: Option<&EsOptions>,
        endpoint: Endpoint,
        net: &NetOptions,
        signer: Option<Signer>,
    ) -> Option<Node> {
        let made = uri(options, self.flavor).and_then(|uri| Ok((uri, headers(options, es, &endpoint)?)));
        let made = made.and_then(|(uri, headers)| {
            let client =
                Client::new(endpoint, net.clone()).map_err(|message| ("net.source_address", message))?;
            Ok(Node { client, uri, headers, gzip: options.compress.is_some(), signer })
        });
        made.map_err(|(key, message)| self.wrong(section, key, &message)).ok()
    }
}

fn uri(options: &Options, flavor: Flavor) -> Result<Uri, (&'static str, String)> {
    let slash = if options.path.0.is_empty() || options.path.0.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{}", options.path.0);
    let path = match (&options.pipeline, flavor) {
        (Some(Text(name)), Flavor::Elasticsearch) if !name.is_empty() => {
            format!("{path}/_bulk?pipeline={name}")
        }
        (Some(Text(name)), Flavor::OpenSearch) => format!("{path}/_bulk/?pipeline={name}"),
        _ => format!("{path}/_bulk"),
    };
    path.parse().map_err(|error| ("path", format!("`path` and `pipeline` make `{path}`: {error}")))
}

/// The headers of every request.
fn headers(
    options: &Options,
    es: Option<&EsOptions>,
    endpoint: &Endpoint,
) -> Result<HeaderMap, (&'static str, String)> {
    let value = |key: &'static str, text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| (key, format!("`{key}` holds characters that a header cannot hold")))
    };
    let mut headers = HeaderMap::new();
    let host = match endpoint.port {
        // A domain of Amazon's signs for the host alone.
        port if options.aws_auth.0 || matches!(port, 80 | 443) => {
            endpoint.authority().rsplit_once(':').map_or(String::new(), |(host, _)| host.to_owned())
        }
        _ => endpoint.authority(),
    };
    headers.insert(HOST, value("host", &host)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if let Some((key, text)) = authorization(options, es) {
        let mut text = value(key, &text)?;
        text.set_sensitive(true);
        headers.insert(AUTHORIZATION, text);
    }
    let agent = if options.aws_auth.0 { "aws-fluent-bit-plugin" } else { "Fluent-Bit" };
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if options.compress.is_some() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(headers)
}

/// Who we say that we are, and which option says it.
fn authorization(options: &Options, es: Option<&EsOptions>) -> Option<(&'static str, String)> {
    let basic = |user: &str, password: &str| crate::client::basic(&format!("{user}:{password}"));
    if let Some(user) = options.http_user.as_ref().filter(|user| !user.0.is_empty()) {
        return Some(("http_user", basic(&user.0, &options.http_passwd.0)));
    }
    let es = es?;
    if let Some(key) = es.http_api_key.as_ref().filter(|key| !key.0.is_empty()) {
        return Some(("http_api_key", format!("ApiKey {}", key.0)));
    }
    let (user, password) = es.cloud_auth.as_ref().and_then(cloud::credentials)?;
    Some(("cloud_auth", basic(user, password)))
}

impl Output for Bulk {
    fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        self.encoder.write(tag, record, arena, segment)
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(self.attempt(chunk))
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn counters(&self) -> Vec<Counter> {
        self.counters.list()
    }
}

#[cfg(test)]
mod tests;
