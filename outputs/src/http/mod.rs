//! `http`: posts records to a web server.
//!
//! Owns: the options, the body of a request, what a status means. Never: keeps a connection itself (see [`crate::client`]).
//! Invariant: a request holds records of one tag; what a server took is not sent again by a retry.

pub(crate) mod auth;
mod jwt;
mod oauth2;
mod options;
mod record;
mod send;

pub use options::Options;

use crate::client::{Client, Endpoint, Proxy};
use crate::formats::JsonRecords;
use crate::gelf::Keys;
use crate::net::{NetOptions, TlsOptions};
use crate::segment::{Chunk, Segment};
use crate::{Context, Counter, Output, Plugin, Verdict};
use auth::{Auth, AwsOptions};
use codecs::Bump;
use codecs::accessor::Accessor;
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use oauth2::OAuth2Options;
use options::{Compress, Format};
use record::ByRecord;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "http",
    about: Options::ABOUT,
    tables: &[Options::TABLE, OAuth2Options::TABLE, AwsOptions::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure,
};

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let options = Options::read(section, context.name, diagnostics);
    let net = NetOptions::read(section, context.name, diagnostics);
    let tls = TlsOptions::read(section, context.name, diagnostics);
    let oauth2 = OAuth2Options::read(section, context.name, diagnostics);
    let aws = AwsOptions::read(section, context.name, diagnostics);
    let mut check = Check { section, name: context.name, diagnostics };
    let auth = Auth::new(&aws, oauth2, (&net, &tls, options.response_timeout.0), &mut check);
    Some(Arc::new(Http::new(options, net, &tls, context, auth, &mut check)?))
}

/// A configured instance.
struct Http {
    client: Client,
    format: Format,
    json: JsonRecords,
    gelf: Keys,
    by_record: Option<ByRecord>,
    compress: Option<Compress>,
    method: Method,
    uri: Uri,
    /// Headers that are the same in all requests.
    headers: HeaderMap,
    header_tag: Option<HeaderName>,
    auth: Auth,
    response_timeout: Duration,
    read_idle_timeout: Duration,
    log_response_payload: bool,
    lanes: usize,
    /// Records that were refused for good while others of their chunk have to be sent again.
    refused: AtomicU64,
}

/// Collects what is wrong with a section, and goes on with the next option.
struct Check<'c> {
    section: &'c Section,
    name: &'c str,
    diagnostics: &'c mut Diagnostics,
}

impl Check<'_> {
    /// The value, or a finding at the option's place.
    fn take<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.wrong(key, &message)).ok()
    }

    fn wrong(&mut self, key: &str, message: &str) {
        let span = self.section.get(key).map_or(&self.section.span, |entry| &entry.value_span);
        self.diagnostics.error(span, format!("{}: {message}", self.name));
    }
}

impl Http {
    fn new(
        options: Options,
        net: NetOptions,
        tls: &TlsOptions,
        context: &Context<'_>,
        auth: Option<Auth>,
        check: &mut Check<'_>,
    ) -> Option<Self> {
        let port = check.take("port", port(&options));
        let uri = check.take("uri", uri(&options));
        let header_tag = check.take("header_tag", header_tag(&options));
        let headers = fixed_headers(&options, port).map_err(|(key, message)| check.wrong(key, &message)).ok();
        let response_timeout = limit(options.response_timeout.0).unwrap_or(FOREVER);
        let idle = limit(options.read_idle_timeout.0).or_else(|| net.io_limit()).unwrap_or(response_timeout);
        let by_record = by_record(&options).map_err(|(key, message)| check.wrong(key, &message)).ok();
        let client = client(&options, port, net, tls, check);
        let escape = crate::formats::escape(context.escape_unicode);
        Some(Http {
            client: client?,
            format: options.format,
            json: JsonRecords::new(&options.json_date_key, options.json_date_format, escape),
            gelf: Keys {
                host: options.gelf_host_key.0,
                short_message: options.gelf_short_message_key.0,
                timestamp: options.gelf_timestamp_key.0,
                level: options.gelf_level_key.0,
                full_message: options.gelf_full_message_key.0,
            },
            by_record: by_record?,
            compress: options.compress,
            method: options.http_method.method(),
            uri: uri?,
            headers: headers?,
            header_tag: header_tag?,
            auth: auth?,
            response_timeout,
            read_idle_timeout: idle,
            log_response_payload: options.log_response_payload.0,
            lanes: context.workers.unwrap_or(2).max(1),
            refused: AtomicU64::new(0),
        })
    }
}

fn port(options: &Options) -> Result<u16, String> {
    let port = u16::try_from(options.port.0).ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("`port` is {}, not a number from 1 to 65535", options.port.0))
}

fn uri(options: &Options) -> Result<Uri, String> {
    let slash = if options.uri.0.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{}", options.uri.0);
    path.parse().map_err(|error| format!("`uri` is `{path}`: {error}"))
}

fn header_tag(options: &Options) -> Result<Option<HeaderName>, String> {
    let Some(name) = &options.header_tag else { return Ok(None) };
    name.0.trim().parse().map(Some).map_err(|_| format!("`header_tag` is `{}`, not a header name", name.0))
}

fn by_record(options: &Options) -> Result<Option<ByRecord>, (&'static str, String)> {
    let accessor = |key: &'static str, text: &str| {
        Accessor::parse(text).map_err(|rule| (key, format!("`{key}` is `{text}`: {rule}")))
    };
    match (&options.body_key, &options.headers_key) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(("body_key", "`body_key` needs `headers_key` too".to_owned())),
        (None, Some(_)) => Err(("headers_key", "`headers_key` needs `body_key` too".to_owned())),
        (Some(body), Some(headers)) => Ok(Some(ByRecord {
            body: accessor("body_key", &body.0)?,
            headers: accessor("headers_key", &headers.0)?,
        })),
    }
}

/// The client of the server that the options name.
fn client(
    options: &Options,
    port: Option<u16>,
    net: NetOptions,
    tls: &TlsOptions,
    check: &mut Check<'_>,
) -> Option<Client> {
    let proxy = check.take("proxy", proxy(options, &net));
    let tls = match crate::tls::client(tls, check.section, check.name, check.diagnostics)? {
        None => None,
        Some(config) => {
            let name = tls.vhost.as_ref().map_or(&options.host.0, |name| &name.0);
            let unnamed = |_| format!("`{name}` is neither a host name nor an address");
            Some((config, check.take("host", ServerName::try_from(name.clone()).map_err(unnamed))?))
        }
    };
    let endpoint = Endpoint { host: options.host.0.clone(), port: port?, tls, proxy: proxy? };
    check.take("net.source_address", Client::new(endpoint, net))
}

/// What an option's 0 stands for.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

fn limit(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| crate::net::duration(seconds))
}

fn proxy(options: &Options, net: &NetOptions) -> Result<Option<Proxy>, String> {
    match &options.proxy {
        Some(text) => Proxy::parse(&text.0, false)
            .map(Some)
            .map_err(|rule| format!("`proxy` is `{}`, not {rule}", text.0)),
        None if net.proxy_env_ignore.0 => Ok(None),
        None => Proxy::of_environment(&options.host.0),
    }
}

/// The headers of every request; the error names the option that is wrong.
fn fixed_headers(options: &Options, port: Option<u16>) -> Result<HeaderMap, (&'static str, String)> {
    let value = |key: &'static str, text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| (key, format!("`{key}` holds characters that a header cannot hold")))
    };
    let mut headers = HeaderMap::new();
    let host = match options.host.0.contains(':') {
        true => format!("[{}]", options.host.0),
        false => options.host.0.clone(),
    };
    let host = match port {
        Some(port) if port != 80 && port != 443 => format!("{host}:{port}"),
        _ => host,
    };
    headers.insert(HOST, value("host", &host)?);
    if options.body_key.is_none() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(options.format.content_type()));
    }
    if let Some(compress) = options.compress {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(compress.name()));
    }
    if let Some(user) = &options.http_user {
        let mut text =
            value("http_user", &crate::client::basic(&format!("{}:{}", user.0, options.http_passwd.0)))?;
        text.set_sensitive(true);
        headers.insert(AUTHORIZATION, text);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static("Fluent-Bit"));
    for header in &options.header {
        let (name, text) = header.0.trim().split_once(char::is_whitespace).unwrap_or((header.0.trim(), ""));
        let name: HeaderName = name.parse().map_err(|_| {
            ("header", format!("`header` is `{}`: its first word is no header name", header.0))
        })?;
        let text = value("header", text.trim())?;
        match options.allow_duplicated_headers.0 {
            true => drop(headers.append(name, text)),
            false => drop(headers.insert(name, text)),
        }
    }
    Ok(headers)
}

impl Output for Http {
    fn encode(&self, _tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        if let Some(by_record) = &self.by_record {
            return by_record.encode(record, arena, segment);
        }
        let out = &mut segment.bytes;
        match self.format {
            Format::Json => {
                if !out.is_empty() {
                    out.push(b',');
                }
                self.json.write(out, record);
            }
            Format::JsonStream => self.json.write(out, record),
            Format::JsonLines => {
                self.json.write(out, record);
                out.push(b'\n');
            }
            Format::Gelf => {
                if !self.gelf.write(out, record, arena) {
                    return false;
                }
                out.push(b'\n');
            }
            Format::Msgpack => codecs::msgpack::write_event(out, record, arena),
        }
        true
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(self.deliver_by_tag(chunk))
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn counters(&self) -> Vec<Counter> {
        vec![Counter {
            name: "refused_records_total",
            help: "Records refused by the server for good while others of their chunk had to be sent again.",
            labels: Vec::new(),
            value: self.refused.load(Ordering::Relaxed),
        }]
    }
}

#[cfg(test)]
mod auth_tests;
#[cfg(test)]
mod options_tests;
#[cfg(test)]
mod tests;
