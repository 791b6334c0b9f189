//! The Kubernetes API as a client sees it: how it is reached, what its answers are made of. The filter `kubernetes` and the
//! input `kubernetes_events` ask it.
//!
//! Owns: addresses, certificates, tokens (`api`), lists and watches in pieces (`items`). Never: knows a pod or an event, tries
//! again.

pub(crate) mod api;
pub(crate) mod items;

use codecs::Bump;
use codecs::json::{Scratch, expand, parse_value};
use codecs::record::Value;
use std::path::PathBuf;
use std::time::Duration;

/// A server of the API, or the kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// How the API is reached.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) api: Server,
    pub(crate) kubelet: Option<Server>,
    pub(crate) ca_file: String,
    pub(crate) ca_path: Option<String>,
    pub(crate) verify: bool,
    pub(crate) verify_hostname: bool,
    pub(crate) vhost: Option<String>,
    pub(crate) token_file: PathBuf,
    pub(crate) token_command: Option<String>,
    pub(crate) token_ttl: Duration,
    pub(crate) namespace_file: PathBuf,
    pub(crate) preload: Option<PathBuf>,
    pub(crate) node: Option<String>,
    /// Options of connections (`net.*`, in lower case) that the user set.
    pub(crate) net: Vec<(String, String)>,
}

/// The server that a URL names. As in Fluent Bit, the port is 443 for http as well.
pub(crate) fn parse_url(url: &str) -> Option<Server> {
    let https = url.starts_with("https://");
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(443), |port| port.parse().ok().filter(|p| *p > 0))?;
    let fits = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
    fits.then(|| Server { https, host: host.to_owned(), port })
}

/// `resourceVersion` and `continue` of a list.
pub(crate) fn list_metadata(envelope: &[u8]) -> Option<(String, Option<String>)> {
    let arena = Bump::new();
    let value = parse_value(envelope, &arena, &mut Scratch::default()).ok()?;
    let Value::Map(fields) = expand(value, &arena) else { return None };
    let find = |fields: &[codecs::record::Field<'_>], key: &[u8]| {
        let value = fields.iter().find(|f| f.key.bytes == key).map(|f| f.value)?;
        Some(String::from_utf8_lossy(value.as_text()?).into_owned())
    };
    let is_list = find(fields, b"kind").is_some_and(|kind| kind.ends_with("List"));
    let metadata = fields.iter().find(|f| f.key.bytes == b"metadata").map(|f| expand(f.value, &arena));
    let Some(Value::Map(metadata)) = metadata.filter(|_| is_list) else { return None };
    let version = find(metadata, b"resourceVersion")?;
    Some((version, find(metadata, b"continue").filter(|token| !token.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_its_version_and_whether_there_is_more() {
        for (text, want) in [
            (
                r#"{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[]}"#,
                Some(("7".to_owned(), None)),
            ),
            (
                r#"{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"abc"},"items":[]}"#,
                Some(("7".to_owned(), Some("abc".to_owned()))),
            ),
            (
                r#"{"kind":"List","metadata":{"resourceVersion":"7","continue":""},"items":[]}"#,
                Some(("7".to_owned(), None)),
            ),
            (r#"{"kind":"Pod","metadata":{"resourceVersion":"7"}}"#, None),
            (r#"{"kind":"PodList","metadata":{}}"#, None),
            ("{}", None),
            ("[]", None),
        ] {
            assert_eq!(list_metadata(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn urls_name_a_server() {
        let server = |https, host: &str, port| Some(Server { https, host: host.to_owned(), port });
        for (url, want) in [
            ("https://kubernetes.default.svc:443", server(true, "kubernetes.default.svc", 443)),
            ("https://kubernetes.default.svc", server(true, "kubernetes.default.svc", 443)),
            ("http://127.0.0.1:8001/", server(false, "127.0.0.1", 8001)),
            ("http://localhost", server(false, "localhost", 443)),
            ("https://[fd00::1]:6443", server(true, "fd00::1", 6443)),
            ("https://[fd00::1]", server(true, "fd00::1", 443)),
            ("kubernetes.default.svc:443", None),
            ("https://", None),
            ("https://:1", None),
            ("https://h:0", None),
            ("https://h:x", None),
            ("https://h:1/path", None),
            ("https://h/path", None),
            ("https://u@h", None),
        ] {
            assert_eq!(parse_url(url), want, "{url}");
        }
    }
}
