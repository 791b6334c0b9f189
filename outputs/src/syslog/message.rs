//! A record as a syslog message.
//!
//! Owns: RFC 5424 and RFC 3164, which field stands where, severities and facilities. Never: allocates from the global
//! heap per record.
//! Invariant: a header of RFC 5424 fits its grammar: what a field cannot hold becomes `_`, an empty one `-`.

use codecs::Bump;
use codecs::json::expand;
use codecs::record::{Field, Record, Timestamp, Value};
use codecs::time::{write_iso8601, write_strftime};
use std::io::Write;

/// Names of the severities 0 to 7.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Names of the facilities 0 to 23; 15 has none.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "security", "console", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// The longest double with six digits behind the point: 309 digits before it, and a sign.
const FLOAT_BYTES_MAX: usize = 320;

/// Characters of a name in structured data.
const NAME_MAX: usize = 32;

/// The fields of a header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Header<T> {
    pub(super) hostname: Option<T>,
    pub(super) appname: Option<T>,
    pub(super) procid: Option<T>,
    pub(super) msgid: Option<T>,
}

/// Which keys of a record hold what.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub(super) severity: Option<Vec<u8>>,
    pub(super) facility: Option<Vec<u8>>,
    pub(super) header: Header<Vec<u8>>,
    pub(super) message: Option<Vec<u8>>,
}

/// How records become messages.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) rfc3164: bool,
    pub(super) size_max: usize,
    pub(super) line_feed: bool,
    pub(super) severity: u8,
    pub(super) facility: u8,
    pub(super) keys: Keys,
    pub(super) presets: Header<Vec<u8>>,
    pub(super) sd_keys: Vec<Vec<u8>>,
    pub(super) long_names: bool,
}

/// What a record holds.
#[derive(Default)]
struct Found<'a> {
    severity: Option<u8>,
    facility: Option<u8>,
    header: Header<&'a [u8]>,
    message: Option<&'a [u8]>,
}

impl Layout {
    /// Appends the message of a record.
    pub(super) fn write<'a>(&self, out: &mut Vec<u8>, record: &Record<'a>, arena: &'a Bump) {
        let start = out.len();
        let found = self.find(record, arena);
        match found.message {
            Some(message) if message.first() == Some(&b'<') => out.extend_from_slice(message),
            _ if self.rfc3164 => self.write_rfc3164(out, record.time, &found),
            _ => self.write_rfc5424(out, record, &found, arena),
        }
        let cut = cut(out.get(start..).unwrap_or_default(), self.size_max);
        out.truncate(start + cut);
        if self.line_feed {
            out.push(b'\n');
        }
    }

    /// Goes through the fields once. Of keys that stand twice the first counts, as in Fluent Bit.
    fn find<'a>(&self, record: &Record<'a>, arena: &'a Bump) -> Found<'a> {
        let mut found = Found::default();
        let (keys, mut header) = (&self.keys, Header::default());
        for field in &record.fields {
            let is = |key: &Option<Vec<u8>>| key.as_deref() == Some(field.key.bytes);
            let text = || text(&field.value, arena);
            if is(&keys.severity) {
                found.severity = found.severity.or_else(|| severity(text()?));
            } else if is(&keys.facility) {
                found.facility = found.facility.or_else(|| facility(text()?));
            } else if is(&keys.header.hostname) {
                header.hostname = header.hostname.or_else(text);
            } else if is(&keys.header.appname) {
                header.appname = header.appname.or_else(text);
            } else if is(&keys.header.procid) {
                header.procid = header.procid.or_else(text);
            } else if is(&keys.header.msgid) {
                header.msgid = header.msgid.or_else(text);
            } else if is(&keys.message) {
                found.message = found.message.or_else(text);
            }
        }
        found.header = header;
        found
    }

    fn write_priority(&self, out: &mut Vec<u8>, found: &Found<'_>) {
        let (facility, severity) =
            (found.facility.unwrap_or(self.facility), found.severity.unwrap_or(self.severity));
        out.push(b'<');
        out.extend_from_slice(
            itoa::Buffer::new().format(u16::from(facility) * 8 + u16::from(severity)).as_bytes(),
        );
        out.push(b'>');
    }

    fn write_rfc5424<'a>(&self, out: &mut Vec<u8>, record: &Record<'a>, found: &Found<'a>, arena: &'a Bump) {
        self.write_priority(out, found);
        out.extend_from_slice(b"1 ");
        write_iso8601(out, record.time);
        let (header, presets) = (&found.header, &self.presets);
        for (value, preset, most) in [
            (header.hostname, &presets.hostname, 255),
            (header.appname, &presets.appname, 48),
            (header.procid, &presets.procid, 128),
            (header.msgid, &presets.msgid, 32),
        ] {
            out.push(b' ');
            match value.or(preset.as_deref()).filter(|value| !value.is_empty()) {
                None => out.push(b'-'),
                Some(value) => {
                    let value = value.get(..most).unwrap_or(value);
                    out.extend(value.iter().map(|byte| if byte.is_ascii_graphic() { *byte } else { b'_' }));
                }
            }
        }
        out.push(b' ');
        self.write_structured(out, record, arena);
        if let Some(message) = found.message {
            out.extend_from_slice(b" \xef\xbb\xbf");
            out.extend_from_slice(message);
        }
    }

    /// Appends the maps that are structured data, or `-`.
    fn write_structured<'a>(&self, out: &mut Vec<u8>, record: &Record<'a>, arena: &'a Bump) {
        let start = out.len();
        for field in &record.fields {
            if !self.sd_keys.iter().any(|key| key == field.key.bytes) {
                continue;
            }
            let Value::Map(fields) = expand(field.value, arena) else { continue };
            out.push(b'[');
            self.write_name(out, field.key.bytes);
            fields.iter().for_each(|field| self.write_parameter(out, field, arena));
            out.push(b']');
        }
        if out.len() == start {
            out.push(b'-');
        }
    }

    fn write_parameter<'a>(&self, out: &mut Vec<u8>, field: &Field<'a>, arena: &'a Bump) {
        let Some(value) = text(&field.value, arena) else { return };
        out.push(b' ');
        self.write_name(out, field.key.bytes);
        out.extend_from_slice(b"=\"");
        for byte in value {
            if matches!(byte, b'"' | b'\\' | b']') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }

    fn write_name(&self, out: &mut Vec<u8>, name: &[u8]) {
        let name = if self.long_names { name } else { name.get(..NAME_MAX).unwrap_or(name) };
        if name.is_empty() {
            out.push(b'_');
        }
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"');
        out.extend(name.iter().map(|byte| if allowed(*byte) { *byte } else { b'_' }));
    }

    fn write_rfc3164(&self, out: &mut Vec<u8>, time: Timestamp, found: &Found<'_>) {
        self.write_priority(out, found);
        write_strftime(out, "%b %e %H:%M:%S ", time);
        let (header, presets) = (&found.header, &self.presets);
        if let Some(hostname) = header.hostname.or(presets.hostname.as_deref()) {
            out.extend_from_slice(hostname);
            out.push(b' ');
        }
        if let Some(appname) = header.appname.or(presets.appname.as_deref()) {
            out.extend_from_slice(appname);
            if let Some(procid) = header.procid.or(presets.procid.as_deref()) {
                out.push(b'[');
                out.extend_from_slice(procid);
                out.push(b']');
            }
            out.extend_from_slice(b": ");
        }
        out.extend_from_slice(found.message.unwrap_or_default());
    }
}

/// The value as text, if it is a scalar: fractions with six digits, as Fluent Bit prints them.
fn text<'a>(value: &Value<'a>, arena: &'a Bump) -> Option<&'a [u8]> {
    let float = |number: f64| {
        let mut buffer = [0u8; FLOAT_BYTES_MAX];
        let mut rest = &mut buffer[..];
        write!(rest, "{number:.6}").ok()?;
        let length = FLOAT_BYTES_MAX - rest.len();
        Some(&*arena.alloc_slice_copy(buffer.get(..length)?))
    };
    match *value {
        Value::Text(text) => Some(text.bytes),
        Value::Bool(true) => Some(b"true"),
        Value::Bool(false) => Some(b"false"),
        Value::Int(number) => Some(arena.alloc_slice_copy(itoa::Buffer::new().format(number).as_bytes())),
        Value::Float(number) => float(number),
        Value::Number(text) => {
            let whole = text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
            match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
                Some(number) if !whole => float(number),
                _ => Some(text),
            }
        }
        Value::Null | Value::Json(_) | Value::Map(_) | Value::Array(_) => None,
    }
}

fn severity(text: &[u8]) -> Option<u8> {
    match text {
        [digit @ b'0'..=b'7'] => Some(digit - b'0'),
        name => named(&SEVERITIES, name),
    }
}

fn facility(text: &[u8]) -> Option<u8> {
    match text {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [tens @ b'0'..=b'2', ones @ b'0'..=b'9'] => {
            Some((tens - b'0') * 10 + ones - b'0').filter(|number| *number < 24)
        }
        name => named(&FACILITIES, name),
    }
}

fn named(names: &[&str], name: &[u8]) -> Option<u8> {
    let found =
        names.iter().position(|known| !name.is_empty() && known.as_bytes().eq_ignore_ascii_case(name));
    found.map(|at| at as u8)
}

/// Where to cut so that no more than `most` bytes are left, and no half character.
fn cut(text: &[u8], most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (most.saturating_sub(3)..=most).rev().find(|at| !is_inside(*at)).unwrap_or(most)
}
