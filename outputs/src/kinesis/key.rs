//! Partition keys: from a record, or random.
//!
//! Owns: what `partition_key` may say, the largest key, how random ones are made. Never: allocates per record.

use super::service::{KEY_CHARS_MAX, RANDOM_KEY_BYTES};
use codecs::Bump;
use codecs::accessor::{Accessor, Malformed, Template};
use codecs::json::{Escape, write_value};
use codecs::record::{Record, Value};
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where the key of a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySource {
    /// The value of a key.
    Value(Accessor),
    /// A text with values in it.
    Text(Template),
}

impl KeySource {
    /// Reads `user_id`, `kubernetes->pod_name`, `$kubernetes['pod_name']`, `$TAG.$level`.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        if text.contains("->") {
            let mut names = text.split("->").map(str::trim);
            let first = names.next().unwrap_or_default();
            let path: String = names.map(|name| format!("['{}']", name.replace('\'', "''"))).collect();
            return Accessor::parse(&format!("${first}{path}")).map(KeySource::Value);
        }
        match text.contains('$') {
            false => Accessor::parse(text).map(KeySource::Value),
            true => Template::parse(text).map(KeySource::Text),
        }
    }

    /// Appends the key of a record, cut to the longest that the service takes; false when it has none.
    pub(super) fn write(&self, tag: &str, record: &Record<'_>, arena: &Bump, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let found = match self {
            KeySource::Value(accessor) => match accessor.get(&record.fields, arena) {
                None | Some(Value::Null) => false,
                Some(Value::Text(text)) => {
                    out.extend_from_slice(text.bytes);
                    true
                }
                Some(value) => {
                    write_value(out, &value, Escape::Unicode);
                    true
                }
            },
            KeySource::Text(template) => template.render(tag.as_bytes(), &record.fields, &[], arena, out),
        };
        let key = out.get(start..).unwrap_or_default();
        match std::str::from_utf8(key) {
            Ok(text) if found && !text.is_empty() => {
                let end = text.char_indices().nth(KEY_CHARS_MAX).map_or(text.len(), |(at, _)| at);
                out.truncate(start + end);
                true
            }
            // A key that is no text cannot stand in a request.
            _ => {
                out.truncate(start);
                false
            }
        }
    }
}

/// Makes keys that spread records over all shards.
#[derive(Debug)]
pub(super) struct RandomKeys {
    next: AtomicU64,
}

impl Default for RandomKeys {
    fn default() -> Self {
        // The hasher's keys are random.
        let seed = std::hash::RandomState::new().build_hasher().finish();
        RandomKeys { next: AtomicU64::new(seed) }
    }
}

impl RandomKeys {
    /// Appends a key; it needs no escaping in JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // SplitMix64: each state gives another key, and neighbours have nothing in common.
        let mut bits = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        out.extend((0..RANDOM_KEY_BYTES).map(|n| DIGITS[(bits >> (4 * n)) as usize & 15]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::json::{Scratch, parse_object};
    use codecs::record::Timestamp;

    fn key(source: &str, json: &str) -> Option<String> {
        let arena = Bump::new();
        let mut record = Record::new_in(&arena, Timestamp { secs: 0, nanos: 0 });
        parse_object(json.as_bytes(), &arena, &mut Scratch::default(), &mut record.fields)
            .expect("valid JSON");
        let mut out = b"before".to_vec();
        let found = KeySource::parse(source).expect("a key").write("app.x", &record, &arena, &mut out);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(found, text != "before");
        found.then(|| text.strip_prefix("before").expect("it only appends").to_owned())
    }

    #[test]
    fn keys_come_from_records() {
        let json = r#"{"user":"joe","n":7,"k":{"pod":"p-1"},"a":"","z":null,"é":"ü","list":[1]}"#;
        for (source, found) in [
            ("user", Some("joe")),
            ("$user", Some("joe")),
            ("n", Some("7")),
            ("$k['pod']", Some("p-1")),
            ("k->pod", Some("p-1")),
            ("k.pod", Some("p-1")),
            ("é", Some("ü")),
            ("$TAG", Some("app.x")),
            ("$TAG[1]-$user", Some("x-joe")),
            ("$TAG-$missing", None),
            ("missing", None),
            ("a", None),
            ("z", None),
        ] {
            assert_eq!(key(source, json).as_deref(), found, "{source}");
        }
        assert!(KeySource::parse("").is_err() && KeySource::parse("$k['pod").is_err());
    }

    #[test]
    fn long_keys_are_cut_to_whole_characters() {
        let json = format!(r#"{{"k":"{}"}}"#, "é".repeat(300));
        assert_eq!(key("k", &json), Some("é".repeat(256)));
    }

    #[test]
    fn random_keys_differ() {
        let keys = RandomKeys::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut key = Vec::new();
            keys.write(&mut key);
            assert!(key.len() == RANDOM_KEY_BYTES && key.iter().all(u8::is_ascii_hexdigit));
            assert!(seen.insert(key));
        }
    }
}
