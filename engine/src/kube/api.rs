//! Requests to the API server and the kubelet.
//!
//! Owns: the client of each, the token, what we trust. Never: knows what is in an answer, tries again.
//! Invariant: a token is read again when it is old, and when a server refuses it; certificates are read again with each new
//! client, and there is a new one after each failed request.

use super::{Access, Server};
use crate::log;
use bytes::Bytes;
use codecs::conf::{Diagnostics, Entry, Section, Span};
use http_body_util::Full;
use outputs::client::{Answer, Client, Limits, Sink};
use outputs::net::{NetOptions, TlsOptions};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a token command may take.
const COMMAND_MAX: Duration = Duration::from_secs(10);
/// The longest token.
const TOKEN_BYTES_MAX: usize = 1 << 20;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Api,
    Kubelet,
}

/// The API server and the kubelet.
pub(crate) struct Api {
    /// For messages.
    name: String,
    access: Access,
    clients: [Mutex<Option<Arc<Client>>>; 2],
    token: tokio::sync::Mutex<Option<Token>>,
    /// That there is no token was told.
    told: AtomicBool,
}

struct Token {
    header: Option<http::HeaderValue>,
    read: Instant,
}

impl Api {
    pub(crate) fn new(access: Access, name: &str) -> Api {
        Api {
            name: name.to_owned(),
            access,
            clients: Default::default(),
            token: tokio::sync::Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// A GET; the error says what failed. An answer of any status is one.
    pub(crate) async fn get(
        &self,
        whom: Whom,
        path: &str,
        limits: Limits,
        sink: Option<Sink<'_, '_>>,
    ) -> Result<Answer, String> {
        let client = self.client(whom)?;
        let mut request = http::Request::get(path)
            .header("Host", client.authority())
            .header("User-Agent", "Fluent-Bit")
            .header("Accept", "application/json");
        if let Some(token) = self.token().await {
            request = request.header("Authorization", token);
        }
        let request =
            request.body(Full::new(Bytes::new())).map_err(|e| format!("`{path}` is no path: {e}"))?;
        let answer = client.send_into(request, limits, sink).await;
        match &answer {
            Err(_) => *self.slot(whom) = None,
            Ok(answer) if answer.status == http::StatusCode::UNAUTHORIZED => *self.token.lock().await = None,
            Ok(_) => {}
        }
        answer
    }

    fn slot(&self, whom: Whom) -> std::sync::MutexGuard<'_, Option<Arc<Client>>> {
        self.clients[whom as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, whom: Whom) -> Result<Arc<Client>, String> {
        let slot = &mut *self.slot(whom);
        if let Some(client) = slot {
            return Ok(client.clone());
        }
        let server = match whom {
            Whom::Api => &self.access.api,
            Whom::Kubelet => self.access.kubelet.as_ref().ok_or("no kubelet is configured")?,
        };
        let client = Arc::new(self.connected(server)?);
        Ok(slot.insert(client).clone())
    }

    fn connected(&self, server: &Server) -> Result<Client, String> {
        let section = self.section(server.https);
        let mut diagnostics = Diagnostics::default();
        let owner = "kubernetes";
        let endpoint = (|| {
            let net = NetOptions::read(&section, owner, &mut diagnostics);
            let tls = TlsOptions::read(&section, owner, &mut diagnostics);
            let (host, port) = (&server.host, i64::from(server.port));
            let endpoint =
                outputs::upstream::endpoint(&section, owner, host, port, &tls, &net, &mut diagnostics)?;
            Some((endpoint, net))
        })();
        let Some((endpoint, net)) = endpoint else {
            let said: Vec<_> = diagnostics.list.iter().map(|found| found.message.as_str()).collect();
            // There they have other names.
            return Err(said.join("; ").replace("`tls.ca_", "`kube_ca_"));
        };
        Client::new(endpoint, net)
    }

    /// The options of this server in the form that outputs have them.
    fn section(&self, https: bool) -> Section {
        let span = Span::new(&"kubernetes".into(), 0, 0);
        let mut section = Section::new("filter", span.clone());
        let mut set = |key: &str, value: &str| {
            let (key, value) = (key.to_owned(), value.to_owned());
            section.entries.push(Entry { key, value, key_span: span.clone(), value_span: span.clone() });
        };
        let on = |on: bool| if on { "on" } else { "off" };
        // A watch is silent for long: without probes nobody would see that its server is gone.
        let probes = [
            ("net.tcp_keepalive", "on"),
            ("net.tcp_keepalive_time", "30"),
            ("net.tcp_keepalive_interval", "10"),
            ("net.tcp_keepalive_probes", "3"),
        ];
        let own = &self.access.net;
        for (key, value) in probes.into_iter().filter(|(key, _)| !own.iter().any(|(k, _)| k == key)) {
            set(key, value);
        }
        for (key, value) in own {
            set(key, value);
        }
        set("tls", on(https));
        set("tls.verify", on(self.access.verify));
        set("tls.verify_hostname", on(self.access.verify_hostname));
        if let Some(name) = &self.access.vhost {
            set("tls.vhost", name);
        }
        if https && self.access.verify {
            if let Some(path) = &self.access.ca_path {
                set("tls.ca_path", path);
            }
            let file = &self.access.ca_file;
            if self.access.ca_path.is_none() || std::path::Path::new(file).exists() {
                set("tls.ca_file", file);
            }
        }
        section
    }

    /// The `Authorization` header; none where there is no token, as behind a proxy that has its own.
    async fn token(&self) -> Option<http::HeaderValue> {
        let mut kept = self.token.lock().await;
        if let Some(token) = &*kept
            && token.read.elapsed() < self.access.token_ttl
        {
            return token.header.clone();
        }
        let read = match &self.access.token_command {
            Some(command) => printed(command).await,
            None => std::fs::read(&self.access.token_file).ok(),
        };
        let text = read.filter(|text| text.len() <= TOKEN_BYTES_MAX);
        if text.is_none() && !self.told.swap(true, Relaxed) {
            let from = match &self.access.token_command {
                Some(_) => "`kube_token_command` prints".to_owned(),
                None => format!("{} (`kube_token_file`) holds", self.access.token_file.display()),
            };
            log!(Warn, self.name, "no token: {from} none; requests go out without one");
        }
        let text = text.map(|text| [b"Bearer ", text.trim_ascii()].concat());
        let header = text.and_then(|text| {
            let mut header = http::HeaderValue::from_bytes(&text).ok()?;
            header.set_sensitive(true);
            Some(header)
        });
        *kept = Some(Token { header: header.clone(), read: Instant::now() });
        header
    }
}

/// What a command prints.
async fn printed(command: &str) -> Option<Vec<u8>> {
    let command = command.to_owned();
    let run = tokio::task::spawn_blocking(move || {
        std::process::Command::new("/bin/sh")
            .args(["-c", &command])
            .stdin(std::process::Stdio::null())
            .output()
    });
    let output = tokio::time::timeout(COMMAND_MAX, run).await.ok()?.ok()?.ok()?;
    (!output.stdout.trim_ascii().is_empty()).then_some(output.stdout)
}

/// A name as it may stand in a path or a query.
pub(crate) fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        for (name, want) in [("pod-1.x", "pod-1.x"), ("a/b?c d", "a%2Fb%3Fc%20d"), ("é", "%C3%A9")] {
            assert_eq!(escaped(name), want);
        }
    }
}
