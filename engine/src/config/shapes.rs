//! The shapes of values that a section's option table takes as free text.
//!
//! Owns: what can be seen to be wrong without a network: hosts, regions, ARNs, URLs, patterns. Never: refuses what
//! Fluent Bit accepts and can work with; what only looks odd is a warning.

use codecs::conf::{Diagnostics, Entry, Section};

/// What is wrong with a value.
enum Finding {
    /// It cannot work.
    Broken(&'static str),
    /// It may be meant; what becomes of it.
    Odd(&'static str),
}

/// Checks a plugin's section; an error for what cannot work, a warning for what is hardly meant.
pub fn check(section: &Section, owner: &str, diagnostics: &mut Diagnostics) {
    for entry in &section.entries {
        let Some(finding) = look(entry, section.name == "input") else { continue };
        let text = format!("{owner}: `{}` is `{}`", entry.key, entry.value);
        match finding {
            Finding::Broken(rule) => diagnostics.error(&entry.value_span, text).help(format!("rule: {rule}")),
            Finding::Odd(what) => diagnostics.warning(&entry.value_span, text).help(what),
        };
    }
}

fn look(entry: &Entry, of_input: bool) -> Option<Finding> {
    let value = entry.value.trim();
    let broken = |wrong: bool, rule| wrong.then_some(Finding::Broken(rule));
    if value.is_empty() {
        return None;
    }
    match entry.key.to_ascii_lowercase().as_str() {
        "workers" => value
            .starts_with('-')
            .then_some(Finding::Odd("a number from 0 on; it is taken as 0: the engine chooses")),
        "host" => broken(!is_host(value), "a host name or an address, without scheme, path or spaces"),
        "region" => broken(!is_region(value), "a region such as eu-central-1: small letters, digits and -"),
        "role_arn" => broken(!is_role(value), "an ARN such as arn:aws:iam::123456789012:role/name"),
        "endpoint" | "sts_endpoint" => broken(
            !is_endpoint(value),
            "a host name or an http or https URL, with a port from 1 to 65535 or none",
        ),
        "path" | "exclude_path" if of_input => value
            .split(',')
            .any(|pattern| !closes(pattern))
            .then_some(Finding::Odd("a `[` without `]` is no pattern: it stands for itself")),
        _ => None,
    }
}

fn is_host(value: &str) -> bool {
    !value.contains("://") && !value.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
}

fn is_region(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// `arn:PARTITION:iam::ACCOUNT:role/PATH`.
fn is_role(value: &str) -> bool {
    let parts: Vec<&str> = value.splitn(6, ':').collect();
    matches!(parts[..], ["arn", partition, "iam", "", account, role]
        if !partition.is_empty()
            && account.bytes().all(|b| b.is_ascii_digit())
            && role.strip_prefix("role/").is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace)))
}

fn is_endpoint(value: &str) -> bool {
    let place = match value.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|s| s.eq_ignore_ascii_case(scheme)) => rest,
        Some(_) => return false,
        None => value,
    };
    let authority = place.split('/').next().unwrap_or_default();
    // Behind the last colon stands a port, unless an address in brackets, or one of IPv6, ends there.
    let bare_v6 = authority.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') && !bare_v6 => (host, Some(port)),
        _ => (authority, None),
    };
    !host.is_empty()
        && !value.contains(char::is_whitespace)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Each `[` of a pattern has its `]`.
fn closes(pattern: &str) -> bool {
    match pattern.split_once('[') {
        None => true,
        // Right behind the `[` (or `[!`), a `]` stands for itself.
        Some((_, rest)) => {
            let skip = rest.strip_prefix(['!', '^']).unwrap_or(rest);
            let skip = skip.strip_prefix(']').unwrap_or(skip);
            skip.split_once(']').is_some_and(|(_, rest)| closes(rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::conf::{Level, Span};
    use std::sync::Arc;

    /// The level of what is said of a value.
    fn said(key: &str, value: &str) -> Option<Level> {
        let span = Span::new(&Arc::from("x.conf"), 1, 1);
        let mut section = Section::new(if key.ends_with("path") { "input" } else { "output" }, span.clone());
        section.entries.push(Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            key_span: span.clone(),
            value_span: span,
        });
        let mut diagnostics = Diagnostics::default();
        check(&section, "output x", &mut diagnostics);
        diagnostics.list.first().map(|d| d.level)
    }

    #[test]
    fn what_can_work_passes() {
        for (key, value) in [
            ("workers", "0"),
            ("host", "logs.example.com"),
            ("Host", "10.0.0.1"),
            ("host", "[::1]"),
            ("host", "::1"),
            ("host", "my_service"),
            ("region", "us-gov-west-1"),
            ("role_arn", "arn:aws-cn:iam::123456789012:role/team/logs"),
            ("endpoint", "http://127.0.0.1:4566"),
            ("endpoint", "https://vpce-1.logs.eu-central-1.vpce.amazonaws.com/"),
            ("endpoint", "localhost"),
            ("endpoint", "localhost:4566"),
            ("endpoint", "http://[::1]:80"),
            ("sts_endpoint", "[::1]"),
            ("path", "/var/log/[a-c]*.log,/x/[]a].log,/y/[!b].log"),
            ("exclude_path", ""),
            ("uri", "noslash"),
        ] {
            assert_eq!(said(key, value), None, "{key} {value}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_and_what_is_odd_is_told() {
        for (key, value, level) in [
            ("workers", "-1", Level::Warning),
            ("host", "http://x/y", Level::Error),
            ("host", "a b", Level::Error),
            ("host", "a/b", Level::Error),
            ("region", "nowhere at all", Level::Error),
            ("region", "EU-central-1", Level::Error),
            ("role_arn", "foo", Level::Error),
            ("role_arn", "arn:aws:iam::123:user/x", Level::Error),
            ("role_arn", "arn:aws:iam::123:role/", Level::Error),
            ("sts_endpoint", "x y", Level::Error),
            ("endpoint", "http://x:y", Level::Error),
            ("endpoint", "http://x:0", Level::Error),
            ("endpoint", "ftp://x", Level::Error),
            ("endpoint", "http://", Level::Error),
            ("path", "/[a", Level::Warning),
            ("exclude_path", "/a[0-9].log,[", Level::Warning),
        ] {
            assert_eq!(said(key, value), Some(level), "{key} {value}");
        }
    }
}
