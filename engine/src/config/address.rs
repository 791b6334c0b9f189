//! `Name forward://HOST:PORT` and `Name http://HOST:PORT/URI`: a plugin and its peer in one word, as the manual writes them
//! on the command line.
//!
//! Owns: the split into options. Never: judges a host or a port, which the options' own types do.

use codecs::conf::{Entry, Section};

/// Puts the parts of a `Name` that is an address in the options that stand for them. `Host` and `Port` of their own win over
/// it, and it wins over a `URI`, as in Fluent Bit.
pub(super) fn spread(section: &mut Section) {
    let Some(at) = section.entries.iter().rposition(|e| e.key.eq_ignore_ascii_case("name")) else { return };
    let whole = section.entries[at].clone();
    let Some((plugin, address)) = whole.value.split_once("://").filter(|(plugin, _)| !plugin.is_empty())
    else {
        return;
    };
    let parts = Parts::of(address);
    section.entries[at].value = plugin.to_owned();
    let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.into(), ..whole.clone() };
    let host = if section.name == "input" { "listen" } else { "host" };
    for (key, value) in [(host, parts.host), ("port", parts.port)] {
        if !value.is_empty() && section.get(key).is_none() {
            section.entries.push(entry(key, value));
        }
    }
    let words: Vec<&str> = parts.uri.split('?').next().unwrap_or_default().split('/').skip(1).collect();
    let from_uri: &[(&str, &str)] = match (plugin.to_ascii_lowercase().as_str(), words.as_slice()) {
        ("http", [_, ..]) => &[("uri", parts.uri)],
        ("es" | "opensearch", [index, kind, ..]) if !kind.is_empty() => &[("index", index), ("type", kind)],
        _ => &[],
    };
    for (key, value) in from_uri {
        section.entries.retain(|e| !e.key.eq_ignore_ascii_case(key));
        section.entries.push(entry(key, value));
    }
}

/// What stands behind `://`.
struct Parts<'a> {
    host: &'a str,
    port: &'a str,
    /// From its slash on.
    uri: &'a str,
}

impl<'a> Parts<'a> {
    fn of(address: &'a str) -> Parts<'a> {
        let (peer, uri) = address.split_at(address.find('/').unwrap_or(address.len()));
        let (host, rest) = match peer.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some(split) => split,
            None => peer.split_at(peer.find(':').unwrap_or(peer.len())),
        };
        Parts { host, port: rest.strip_prefix(':').unwrap_or_default(), uri }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::conf::Span;

    fn spread_out(kind: &str, entries: &[(&str, &str)]) -> Vec<String> {
        let place = Span::new(&"command line".into(), 0, 0);
        let mut section = Section::new(kind, place.clone());
        section.entries = entries
            .iter()
            .map(|(key, value)| Entry {
                key: (*key).into(),
                value: (*value).into(),
                key_span: place.clone(),
                value_span: place.clone(),
            })
            .collect();
        spread(&mut section);
        section.entries.iter().map(|e| format!("{}={}", e.key, e.value)).collect()
    }

    #[test]
    fn an_address_becomes_options() {
        for (kind, name, want) in [
            ("output", "forward://10.0.0.1:24224", "name=forward host=10.0.0.1 port=24224"),
            ("output", "http://h:80/a/b?c=1", "name=http host=h port=80 uri=/a/b?c=1"),
            ("output", "http://h", "name=http host=h"),
            ("output", "es://h:9200/logs/doc", "name=es host=h port=9200 index=logs type=doc"),
            ("output", "es://h:9200/logs", "name=es host=h port=9200"),
            ("output", "tcp://[::1]:5170", "name=tcp host=::1 port=5170"),
            ("input", "tcp://0.0.0.0:9090", "name=tcp listen=0.0.0.0 port=9090"),
            ("output", "stdout", "name=stdout"),
            ("output", "://x", "name=://x"),
        ] {
            assert_eq!(spread_out(kind, &[("name", name)]).join(" "), want);
        }
        let own = [("name", "http://h:1/x"), ("host", "g"), ("port", "2"), ("uri", "/y")];
        assert_eq!(spread_out("output", &own).join(" "), "name=http host=g port=2 uri=/x");
    }
}
