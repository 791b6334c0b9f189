//! Options of `kinesis_streams` and `kinesis_firehose`, and the rules between them.

use super::encode::{Content, Encoder};
use super::key::KeySource;
use super::pack::Join;
use super::service::Service;
use super::squeeze::Compression;
use crate::aws::check::{Check, verifies_names};
use crate::aws::session::{credentials_tls, endpoint_url, regional_host};
use crate::aws::{Account, AwsOptions, Limits, Tls};
use crate::client::Endpoint;
use crate::net::{NetOptions, TlsOptions};
use codecs::conf::values::{Bool, Int, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::json::Escape;
use std::time::Duration;

codecs::options! {
    /// What both outputs have.
    pub struct Options {
        /// The AWS region of the stream; required.
        region "region": Opt<Text>,
        /// Host or URL to use instead of the region's endpoint.
        endpoint "endpoint": Opt<Text>,
        /// Port of `endpoint`.
        port "port": Opt<Int>,
        /// Add the time to records under this key.
        time_key "time_key": Opt<Text>,
        /// How that time is written, in strftime's conversions; also `%3N` (milliseconds), `%9N` and `%L` (nanoseconds).
        time_key_format "time_key_format": One<Text> = "%Y-%m-%dT%H:%M:%S",
        /// Send only the value of this key instead of the whole record.
        log_key "log_key": Opt<Text>,
        /// Send only these keys of the record, a list with commas.
        data_keys "data_keys": Opt<Text>,
        /// End each record by a newline.
        append_newline "append_newline": One<Bool> = "true",
        /// Compress what is sent, record by record (`gzip`, `zstd`, `snappy`).
        compression "compression": Opt<Compression>,
        /// Join records to larger ones, up to the largest that the service takes.
        simple_aggregation "simple_aggregation": One<Bool> = "false",
    }
}

codecs::options! {
    /// Sends records to Amazon Kinesis Data Streams.
    pub struct StreamsOptions {
        /// Name of the stream; required.
        stream "stream": Opt<Text>,
        /// Key (`user_id`, `$kubernetes['pod_name']`) or template (`$TAG`) whose value is the partition key; random without it.
        partition_key "partition_key": Opt<Text>,
        /// Aggregate records as the Kinesis Producer Library does; consumers must take them apart.
        aggregation "aggregation": One<Bool> = "false",
    }
}

codecs::options! {
    /// Sends records to Amazon Data Firehose.
    pub struct FirehoseOptions {
        /// Name of the delivery stream; required.
        delivery_stream "delivery_stream": Opt<Text>,
    }
}

/// Everything that an instance needs, checked.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) service: &'static Service,
    pub(super) stream: String,
    pub(super) encoder: Encoder,
    pub(super) join: Option<Join>,
    /// Of what is joined; what is not was compressed by the encoder.
    pub(super) join_compression: Option<Compression>,
    /// Whether records of one key must not overtake each other.
    pub(super) ordered: bool,
    pub(super) account: Account,
    pub(super) credentials_limits: Limits,
    pub(super) credentials_tls: Tls,
    pub(super) endpoint: Endpoint,
    /// `Host` of requests.
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) net: NetOptions,
    /// How long an answer may take, or stand still.
    pub(super) patience: Duration,
    /// One more attempt at once for a request without an answer.
    pub(super) retry_at_once: bool,
}

/// What only one of the two has.
struct Own {
    stream: Option<Text>,
    partition_key: Option<Text>,
    aggregation: bool,
}

impl Settings {
    /// Reads and checks a section; reports all that is wrong.
    pub(super) fn read(
        service: &'static Service,
        section: &Section,
        owner: &str,
        escape: Escape,
        diagnostics: &mut Diagnostics,
    ) -> Option<Settings> {
        let options = Options::read(section, owner, diagnostics);
        let own = own(service, section, owner, diagnostics);
        let aws = AwsOptions::read(section, owner, diagnostics);
        let net = NetOptions::read(section, owner, diagnostics);
        let tls = TlsOptions::read(section, owner, diagnostics);
        let mut check = Check { section, owner, diagnostics };
        let stream = check.stream(service, own.stream.as_ref());
        let region = check.required("region", options.region.as_ref());
        let content = check.content(&options);
        let key = check.partition_key(own.partition_key.as_ref());
        let join = check.join(&options, own.aggregation);
        let port = check.port(options.port);
        let credentials_limits = check.limits(&net);
        let (region, join) = (region?, join?);
        let place = check.place(service, &region, &options, port?, &tls, &net);
        let (place, credentials_tls) = (place?, credentials_tls(&tls));
        let key = key?;
        let each = (join != Some(Join::Simple)).then_some(options.compression).flatten();
        Some(Settings {
            service,
            stream: stream?,
            ordered: key.is_some(),
            encoder: Encoder {
                service,
                content: content?,
                newline: options.append_newline.0,
                escape,
                compression: each,
                key,
                join,
            },
            join,
            join_compression: options.compression.filter(|_| each.is_none()),
            account: aws.account(region),
            credentials_limits: credentials_limits?,
            credentials_tls,
            endpoint: place.endpoint,
            authority: place.authority,
            path: place.path,
            patience: net.io_limit().unwrap_or(crate::aws::check::REQUEST_TIMEOUT),
            net,
            retry_at_once: aws.auto_retry_requests.0,
        })
    }
}

fn own(service: &Service, section: &Section, owner: &str, diagnostics: &mut Diagnostics) -> Own {
    if !service.keyed {
        let options = FirehoseOptions::read(section, owner, diagnostics);
        return Own { stream: options.delivery_stream, partition_key: None, aggregation: false };
    }
    let options = StreamsOptions::read(section, owner, diagnostics);
    let (partition_key, aggregation) = (options.partition_key, options.aggregation.0);
    Own { stream: options.stream, partition_key, aggregation }
}

/// Where requests go.
struct Place {
    endpoint: Endpoint,
    authority: String,
    path: String,
}

impl Check<'_> {
    fn stream(&mut self, service: &Service, name: Option<&Text>) -> Option<String> {
        let name = self.required(service.stream_option, name)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.len() > service.stream_chars_max || !name.chars().all(fits) {
            let rule = format!("1 to {} letters, digits, `_`, `.` and `-`", service.stream_chars_max);
            self.broken(service.stream_option, &name, &rule);
            return None;
        }
        Some(name)
    }

    /// What of a record is sent.
    fn content(&mut self, options: &Options) -> Option<Content> {
        let set = [
            ("log_key", options.log_key.as_ref()),
            ("time_key", options.time_key.as_ref()),
            ("data_keys", options.data_keys.as_ref()),
        ];
        if let (Some(Text(key)), Some((other, _))) =
            (&options.log_key, set[1..].iter().find(|(_, value)| value.is_some()))
        {
            self.broken("log_key", key, &format!("`log_key` and `{other}` cannot be used together"));
            return None;
        }
        if let Some((name, _)) = set.iter().find(|(_, value)| value.is_some_and(|Text(key)| key.is_empty())) {
            self.broken(name, "", "the name of a key");
            return None;
        }
        let keys = |Text(list): &Text| -> Vec<Vec<u8>> {
            list.split(',').map(|key| key.trim().as_bytes().to_vec()).filter(|key| !key.is_empty()).collect()
        };
        match &options.log_key {
            Some(Text(key)) => Some(Content::Value(key.clone().into_bytes())),
            None => Some(Content::Record {
                keys: options.data_keys.as_ref().map(keys),
                time: options
                    .time_key
                    .as_ref()
                    .map(|Text(key)| super::encode::TimeKey::new(key, &options.time_key_format.0)),
            }),
        }
    }

    fn partition_key(&mut self, text: Option<&Text>) -> Option<Option<KeySource>> {
        let Some(Text(text)) = text else { return Some(None) };
        match KeySource::parse(text) {
            Ok(source) => Some(Some(source)),
            Err(problem) => {
                self.broken("partition_key", text, &format!("a key or a template; {problem}"));
                None
            }
        }
    }

    fn join(&mut self, options: &Options, kpl: bool) -> Option<Option<Join>> {
        match (options.simple_aggregation.0, kpl) {
            (true, true) => {
                self.broken(
                    "aggregation",
                    "true",
                    "`aggregation` and `simple_aggregation` cannot both be on",
                );
                None
            }
            (true, false) => Some(Some(Join::Simple)),
            (false, true) => Some(Some(Join::Kpl)),
            (false, false) => Some(None),
        }
    }

    fn place(
        &mut self,
        service: &Service,
        region: &str,
        options: &Options,
        port: Option<u16>,
        tls: &TlsOptions,
        net: &NetOptions,
    ) -> Option<Place> {
        // The service speaks TLS: it is on unless switched off.
        let secure = tls.tls.0 || self.section.get("tls").is_none();
        let regional = || regional_host(service.name, region);
        let text = options.endpoint.as_ref().map_or_else(regional, |Text(endpoint)| endpoint.clone());
        let url = endpoint_url(&text, port, secure);
        let uri: Option<http::Uri> = url.parse().ok();
        let (Some(uri), Some(host)) = (&uri, uri.as_ref().and_then(http::Uri::host)) else {
            self.broken("endpoint", &text, "a host or a URL");
            return None;
        };
        let secure = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let names = Bool(verifies_names(tls, self.section));
        let tls = TlsOptions { tls: Bool(secure), verify_hostname: names, ..tls.clone() };
        let host = host.trim_matches(['[', ']']);
        let port = i64::from(port);
        let endpoint =
            crate::upstream::endpoint(self.section, self.owner, host, port, &tls, net, self.diagnostics)?;
        // As clients of AWS do: the port stands in `Host` where it is not the scheme's own.
        let own_port = i64::from(endpoint.port) == if secure { 443 } else { 80 };
        let authority = endpoint.authority();
        let authority = match authority.rsplit_once(':') {
            Some((host, _)) if own_port => host.to_owned(),
            _ => authority,
        };
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        Some(Place { endpoint, authority, path: path.to_owned() })
    }
}
