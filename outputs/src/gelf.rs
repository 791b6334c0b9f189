//! GELF 1.1: records as Graylog's JSON, as Fluent Bit writes it.
//!
//! Owns: which field is which, flattening of maps and arrays, key characters. Never: leaves half a record behind.
//! Source: Graylog Extended Log Format 1.1, payload specification.

use codecs::Bump;
use codecs::json::{Escape, expand, write_text, write_value};
use codecs::record::{Field, Record, Text, Value};

/// The record's keys that become GELF's own fields.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Becomes `host`.
    pub host: String,
    /// Becomes `short_message`; a record without it cannot be sent.
    pub short_message: String,
    /// Becomes `timestamp`; without it the record's time does.
    pub timestamp: String,
    /// Becomes `level`: a number, or a syslog word.
    pub level: String,
    /// Becomes `full_message`.
    pub full_message: String,
}

/// GELF's own fields, in the order in which a key is compared with them.
const OWN: [&str; 5] = ["host", "short_message", "timestamp", "level", "full_message"];
const SHORT_MESSAGE: usize = 1;
const TIMESTAMP: usize = 2;
const LEVEL: usize = 3;

/// Syslog's words for the levels 0 to 7.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

impl Keys {
    fn all(&self) -> [&str; 5] {
        [&self.host, &self.short_message, &self.timestamp, &self.level, &self.full_message]
    }

    /// Appends one record; false, and nothing appended, when it has no short message or its level is no level.
    pub fn write(&self, out: &mut Vec<u8>, record: &Record<'_>, arena: &Bump) -> bool {
        let start = out.len();
        let written = self.write_fields(out, record, arena);
        if !written {
            out.truncate(start);
        }
        written
    }

    fn write_fields(&self, out: &mut Vec<u8>, record: &Record<'_>, arena: &Bump) -> bool {
        let (keys, mut found) = (self.all(), [false; 5]);
        out.extend_from_slice(b"{\"version\":\"1.1\"");
        for field in &record.fields {
            let own = keys.iter().position(|key| key.as_bytes() == field.key.bytes);
            match own {
                Some(own) if std::mem::replace(&mut found[own], true) => continue,
                // Graylog keeps `_id` for itself.
                None if field.key.bytes == b"id" => continue,
                _ => {}
            }
            let value = match own {
                Some(LEVEL) => match level(&field.value) {
                    Some(value) => value,
                    None => return false,
                },
                _ => expand(field.value, arena),
            };
            write_field(out, own.map(|own| OWN[own].as_bytes()), field.key.bytes, &value, arena);
        }
        if !found[TIMESTAMP] {
            out.extend_from_slice(b", \"timestamp\":");
            let millis = record.time.nanos / 1_000_000;
            out.extend_from_slice(itoa::Buffer::new().format(record.time.secs).as_bytes());
            out.push(b'.');
            out.extend_from_slice(&itoa::Buffer::new().format(millis + 1000).as_bytes()[1..]);
        }
        out.push(b'}');
        found[SHORT_MESSAGE]
    }
}

/// A level as a number where it is one or a syslog word for one; other words stay words. None for anything else.
fn level<'a>(value: &Value<'a>) -> Option<Value<'a>> {
    match *value {
        Value::Int(0..) => Some(*value),
        Value::Number(digits) if digits.iter().all(u8::is_ascii_digit) => Some(*value),
        Value::Text(text) => Some(match text.bytes {
            [digit @ b'0'..=b'7'] => Value::Int(i64::from(digit - b'0')),
            word => match LEVELS.iter().position(|level| level.as_bytes().eq_ignore_ascii_case(word)) {
                Some(number) => Value::Int(number as i64),
                None => *value,
            },
        }),
        _ => None,
    }
}

/// Appends a top-level field; nothing for a null.
fn write_field(out: &mut Vec<u8>, own: Option<&[u8]>, key: &[u8], value: &Value<'_>, arena: &Bump) {
    let name = own.unwrap_or(key);
    match value {
        Value::Null => {}
        Value::Map(fields) => {
            let mut prefix = vec![b'_'];
            prefix.extend_from_slice(name);
            flatten(out, fields, &mut prefix, arena);
        }
        value => {
            write_key(out, if own.is_some() { b"" } else { b"_" }, name);
            write_scalar(out, value, arena);
        }
    }
}

/// Appends the values of a map, their names joined by `_`.
fn flatten(out: &mut Vec<u8>, fields: &[Field<'_>], prefix: &mut Vec<u8>, arena: &Bump) {
    let length = prefix.len();
    prefix.push(b'_');
    for field in fields {
        match expand(field.value, arena) {
            Value::Map(inner) => {
                prefix.extend_from_slice(field.key.bytes);
                flatten(out, inner, prefix, arena);
                prefix.truncate(length + 1);
            }
            value => {
                write_key(out, prefix, field.key.bytes);
                write_scalar(out, &value, arena);
            }
        }
    }
    prefix.truncate(length);
}

/// Appends `, "prefixkey":` with every character but letters, digits, `_`, `.`, `-` as `_`.
fn write_key(out: &mut Vec<u8>, prefix: &[u8], key: &[u8]) {
    out.extend_from_slice(b", \"");
    out.extend(prefix.iter().chain(key).map(|b| key_byte(*b)));
    out.extend_from_slice(b"\":");
}

fn key_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-') { byte } else { b'_' }
}

/// Appends a value that is no map; booleans and arrays are strings in GELF.
fn write_scalar(out: &mut Vec<u8>, value: &Value<'_>, arena: &Bump) {
    match value {
        Value::Bool(_) | Value::Array(_) => {
            out.push(b'"');
            write_inside(out, value, arena);
            out.push(b'"');
        }
        value => write_value(out, value, Escape::Ascii),
    }
}

/// Appends what stands inside a string: elements with commas, a map's fields as `key=value`.
fn write_inside(out: &mut Vec<u8>, value: &Value<'_>, arena: &Bump) {
    match expand(*value, arena) {
        Value::Text(text) => write_bare(out, text),
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                write_inside(out, value, arena);
            }
        }
        Value::Map(fields) => {
            for (at, field) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(b' ');
                }
                out.extend(field.key.bytes.iter().map(|b| key_byte(*b)));
                out.push(b'=');
                write_inside(out, &field.value, arena);
            }
        }
        value => write_value(out, &value, Escape::Ascii),
    }
}

/// Appends a string's inside, escaped.
fn write_bare(out: &mut Vec<u8>, text: Text<'_>) {
    let start = out.len();
    write_text(out, text, Escape::Ascii);
    out.pop();
    out.remove(start);
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::json::{Scratch, parse_object};
    use codecs::record::Timestamp;

    fn gelf(json: &str) -> Option<String> {
        let arena = Bump::new();
        let mut record = Record::new_in(&arena, Timestamp { secs: 1_700_000_000, nanos: 7_999_999 });
        parse_object(json.as_bytes(), &arena, &mut Scratch::default(), &mut record.fields)
            .expect("valid JSON");
        let keys = Keys {
            host: "host".into(),
            short_message: "log".into(),
            timestamp: "timestamp".into(),
            level: "level".into(),
            full_message: "full_message".into(),
        };
        let mut out = Vec::new();
        let written = keys.write(&mut out, &record, &arena);
        assert!(written || out.is_empty());
        written.then(|| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn records_become_gelf() {
        const TIME: &str = r#", "timestamp":1700000000.007}"#;
        for (json, fields) in [
            (r#"{"log":"a \"b\" é"}"#, r#", "short_message":"a \"b\" \u00e9""#),
            (
                r#"{"log":"a","n":1.50,"t":true,"z":null,"id":3,"a b/c":"x"}"#,
                r#", "short_message":"a", "_n":1.50, "_t":"true", "_a_b_c":"x""#,
            ),
            (
                r#"{"log":"a","level":"ERR","host":"h","log2":1,"log":"b"}"#,
                r#", "short_message":"a", "level":3, "host":"h", "_log2":1"#,
            ),
            (r#"{"log":"a","level":"5"}"#, r#", "short_message":"a", "level":5"#),
            (r#"{"log":"a","level":"odd"}"#, r#", "short_message":"a", "level":"odd""#),
            (
                r#"{"k":{"a":1,"b":{"c":"x","d":null}},"log":"a"}"#,
                r#", "_k_a":1, "_k_b_c":"x", "_k_b_d":null, "short_message":"a""#,
            ),
            (
                r#"{"l":[1,"x \"q\"",{"p":1,"q":[2,3]},true],"e":[],"log":"a"}"#,
                r#", "_l":"1, x \"q\", p=1 q=2, 3, true", "_e":"", "short_message":"a""#,
            ),
        ] {
            assert_eq!(
                gelf(json).as_deref(),
                Some(&*format!("{{\"version\":\"1.1\"{fields}{TIME}")),
                "{json}"
            );
        }
        let own_time = r#"{"version":"1.1", "timestamp":5, "short_message":"a"}"#;
        assert_eq!(gelf(r#"{"timestamp":5,"log":"a"}"#).as_deref(), Some(own_time));
    }

    #[test]
    fn what_gelf_cannot_hold_is_refused() {
        for json in [
            r#"{"message":"a"}"#,
            r#"{"log":"a","level":-1}"#,
            r#"{"log":"a","level":1.5}"#,
            r#"{"log":"a","level":null}"#,
        ] {
            assert_eq!(gelf(json), None, "{json}");
        }
    }
}
