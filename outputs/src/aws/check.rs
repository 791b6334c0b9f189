//! Rules that the options of all AWS outputs share: text of headers, ports, connections, TLS.
//!
//! Owns: how a broken rule is told. Never: knows an output's own options.

use super::{Limits, Tls};
use crate::net::{NetOptions, TlsOptions};
use codecs::conf::values::{Bool, Int, Text};
use codecs::conf::{Diagnostics, Section, Span};
use rustls::pki_types::ServerName;
use std::time::Duration;

/// The rules between options.
pub(crate) struct Check<'c> {
    /// What is checked.
    pub(crate) section: &'c Section,
    /// How messages name the instance.
    pub(crate) owner: &'c str,
    /// Where problems go.
    pub(crate) diagnostics: &'c mut Diagnostics,
}

impl Check<'_> {
    /// Where the value of `key` stands, or the section.
    pub(crate) fn span(&self, key: &str) -> Span {
        self.section.get(key).map_or_else(|| self.section.span.clone(), |entry| entry.value_span.clone())
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, key: &str, value: Option<&Text>) -> Option<String> {
        match value {
            Some(Text(text)) if !text.is_empty() => Some(text.clone()),
            _ => {
                let span = self.span(key);
                self.diagnostics
                    .error(&span, format!("{}: `{key}` is missing", self.owner))
                    .help("rule: it is required");
                None
            }
        }
    }

    /// Reports a value that breaks its rule.
    pub(crate) fn broken(&mut self, key: &str, value: &str, rule: &str) {
        let span = self.span(key);
        self.diagnostics
            .error(&span, format!("{}: `{key}` is `{value}`", self.owner))
            .help(format!("rule: {rule}"));
    }

    /// A port.
    pub(crate) fn port(&mut self, value: Option<Int>) -> Option<Option<u16>> {
        match value.map(|Int(port)| (port, u16::try_from(port))) {
            None => Some(None),
            Some((_, Ok(port))) if port > 0 => Some(Some(port)),
            Some((port, _)) => {
                self.broken("port", &port.to_string(), "1 to 65535");
                None
            }
        }
    }

    /// The TLS of the endpoint; reads the files that the options name.
    pub(crate) fn tls(&mut self, options: &TlsOptions, secure: bool) -> Option<Tls> {
        let verify_hostname = verifies_names(options, self.section);
        let options =
            TlsOptions { tls: Bool(secure), verify_hostname: Bool(verify_hostname), ..options.clone() };
        let config = crate::tls::client(&options, self.section, self.owner, self.diagnostics)?;
        let name = match options.vhost.as_ref().map(|Text(name)| (name, ServerName::try_from(name.clone()))) {
            None => None,
            Some((_, Ok(name))) => Some(name),
            Some((name, Err(_))) => {
                self.broken("tls.vhost", name, "a host name or an IP address");
                return None;
            }
        };
        Some(config.map_or_else(Tls::none, |config| Tls { config, name }))
    }

    /// The `net.*` settings of connections.
    pub(crate) fn limits(&mut self, net: &NetOptions) -> Option<Limits> {
        let source = match net.source_address.as_ref().map(|Text(text)| (text, text.parse())) {
            None => None,
            Some((_, Ok(address))) => Some(address),
            Some((text, Err(_))) => {
                self.broken("net.source_address", text, "an IP address of this machine");
                return None;
            }
        };
        let keepalive = net.keepalive.0.then(|| crate::net::duration(net.keepalive_idle_timeout.0));
        Some(Limits { connect: net.connect_limit(), keepalive, source, proxy: !net.proxy_env_ignore.0 })
    }

    /// A value that travels in a header.
    pub(crate) fn header(&mut self, key: &str, value: Option<Text>) -> Option<Option<String>> {
        match value {
            Some(Text(text)) if !text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) => {
                self.broken(key, &text, "printable ASCII");
                None
            }
            value => Some(value.map(|Text(text)| text)),
        }
    }
}

/// Names are verified unless `tls.verify_hostname off` says otherwise: these requests carry credentials.
pub(crate) fn verifies_names(options: &TlsOptions, section: &Section) -> bool {
    options.verify_hostname.0 || section.get("tls.verify_hostname").is_none()
}

/// How long a request may take when `net.io_timeout` is not set.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
