//! The four formats. Each appends its fields and returns the time it found, or `None` when the text does not fit.

use super::types::{Kind, cast};
use super::unescape::unescape_utf8;
use super::{Parser, Scratch, decode};
use crate::json;
use crate::record::{Field, Fields, Text, Timestamp, Value};
use bumpalo::Bump;

/// A time, when the text holds one.
type Found = Option<Option<Timestamp>>;

impl Parser {
    pub(super) fn json<'a>(
        &self,
        text: &'a [u8],
        now: Timestamp,
        arena: &'a Bump,
        scratch: &mut Scratch,
        fields: &mut Fields<'a>,
    ) -> Found {
        let start = fields.len();
        json::parse_object(text, arena, &mut scratch.json, fields).ok()?;
        if !self.decoders.is_empty() {
            decode::decode(&self.decoders, start, arena, &mut scratch.json, fields);
        }
        if self.time.is_none() {
            return Some(None);
        }
        let at = fields[start..].iter().position(|f| f.key.bytes == self.time_key).map(|at| start + at);
        let Some((at, text)) = at.and_then(|at| fields[at].value.as_text().map(|text| (at, text))) else {
            return Some(None);
        };
        // A time that does not fit leaves the field where it is.
        let time = self.read_time(text, now, scratch);
        if time.is_some() && !self.time_keep {
            fields.remove(at);
        }
        Some(time)
    }

    pub(super) fn regex<'a>(
        &'a self,
        text: &'a [u8],
        now: Timestamp,
        arena: &'a Bump,
        scratch: &mut Scratch,
        fields: &mut Fields<'a>,
    ) -> Found {
        if !self.regex.as_ref()?.captures(text, &mut scratch.regex) {
            return None;
        }
        let (mut time, mut any) = (None, false);
        fields.reserve(self.columns.len());
        for column in &self.columns {
            let value = scratch.regex.group(column.group).and_then(|range| text.get(range));
            any |= value.is_some();
            let value = value.unwrap_or_default();
            if value.is_empty() && self.skip_empty {
                continue;
            }
            if column.is_time {
                // A time that does not fit is left out, though it may be kept else.
                let Some(found) = self.read_time(value, now, scratch) else { continue };
                time = Some(found);
                if !self.time_keep {
                    continue;
                }
            }
            let key = Text { bytes: &column.key, plain: column.plain_key };
            let value = Text { bytes: value, plain: column.plain };
            let value = match column.kind {
                Kind::Text => Value::Text(value),
                kind => cast(kind, value, arena),
            };
            fields.push(Field::new(key, value));
        }
        // A match in which no group took part is none, as in Fluent Bit.
        any.then_some(time)
    }

    pub(super) fn ltsv<'a>(
        &self,
        text: &'a [u8],
        now: Timestamp,
        arena: &'a Bump,
        scratch: &mut Scratch,
        fields: &mut Fields<'a>,
    ) -> Found {
        let (start, mut time, mut at) = (fields.len(), None, 0);
        while at < text.len() {
            let label = &text[at..at + span(&text[at..], is_label)];
            at += label.len();
            if text.get(at) != Some(&b':') {
                break;
            }
            at += 1;
            let value = &text[at..at + span(&text[at..], is_field)];
            at += value.len();
            if !label.is_empty() {
                let is_time = !value.is_empty() && self.is_time(label);
                if is_time {
                    time = Some(self.read_time(value, now, scratch)?);
                }
                if !is_time || self.time_keep {
                    let value = cast(self.types.of(label), Text::new(value), arena);
                    fields.push(Field::new(Text::plain(label), value));
                }
            }
            at += usize::from(text.get(at) == Some(&b'\t'));
            if matches!(text.get(at), Some(b'\r' | b'\n')) {
                break;
            }
        }
        (fields.len() > start).then_some(time)
    }

    pub(super) fn logfmt<'a>(
        &self,
        text: &'a [u8],
        now: Timestamp,
        arena: &'a Bump,
        scratch: &mut Scratch,
        fields: &mut Fields<'a>,
    ) -> Found {
        let (start, mut time, mut rest) = (fields.len(), None, text);
        while let Some((pair, after)) = pair(rest) {
            rest = after;
            if self.no_bare_keys && pair.bare {
                return None;
            }
            let is_time = !pair.value.is_empty() && self.is_time(pair.key);
            if is_time {
                time = Some(self.read_time(pair.value, now, scratch)?);
            }
            if !is_time || self.time_keep {
                let key = Text { bytes: pair.key, plain: is_plain(pair.key) };
                fields.push(Field::new(key, self.logfmt_value(&pair, arena)));
            }
            if matches!(rest.first(), Some(b'\r' | b'\n')) {
                break;
            }
        }
        (fields.len() > start).then_some(time)
    }

    /// With `Types` every value stays as it is written, without them escapes are read and a bare key is `true`.
    fn logfmt_value<'a>(&self, pair: &Pair<'a>, arena: &'a Bump) -> Value<'a> {
        if !self.types.is_empty() {
            return match self.types.of(pair.key) {
                Kind::Text => Value::text(pair.value),
                kind => cast(kind, Text::new(pair.value), arena),
            };
        }
        if pair.value.is_empty() && !pair.quoted {
            return Value::Bool(true);
        }
        if !pair.escaped {
            return Value::text(pair.value);
        }
        let mut out = bumpalo::collections::Vec::with_capacity_in(pair.value.len(), arena);
        unescape_utf8(pair.value, &mut out);
        let end = memchr::memchr(0, &out).unwrap_or(out.len());
        out.truncate(end);
        Value::text(out.into_bump_slice())
    }
}

/// A key of logfmt and what stands behind it.
struct Pair<'a> {
    key: &'a [u8],
    value: &'a [u8],
    /// There is no `=`.
    bare: bool,
    quoted: bool,
    escaped: bool,
}

/// The next pair and the text behind it; `None` when there is none.
fn pair(text: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let garbage = span(text, |b| !is_ident(b));
    let text = &text[garbage..];
    let (key, rest) = text.split_at(span(text, is_ident));
    if key.is_empty() {
        return None;
    }
    let mut pair = Pair { key, value: &[], bare: true, quoted: false, escaped: false };
    let Some(rest) = rest.strip_prefix(b"=") else { return Some((pair, rest)) };
    pair.bare = false;
    let Some(rest) = rest.strip_prefix(b"\"") else {
        let (value, rest) = rest.split_at(span(rest, is_ident));
        pair.value = value;
        return Some((pair, rest));
    };
    pair.quoted = true;
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &rest[at..]) {
        at += found;
        if rest[at] == b'"' {
            break;
        }
        pair.escaped = true;
        at = (at + 2).min(rest.len());
    }
    let end = memchr::memchr2(b'"', b'\\', &rest[at..]).map_or(rest.len(), |_| at);
    pair.value = &rest[..end];
    Some((pair, rest[end..].strip_prefix(b"\"").unwrap_or(&rest[end..])))
}

/// Length of the start of `text` whose bytes are all of a kind.
fn span(text: &[u8], of: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|b| !of(*b)).unwrap_or(text.len())
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn is_field(byte: u8) -> bool {
    !matches!(byte, 0 | b'\t' | b'\n' | b'\r')
}

fn is_ident(byte: u8) -> bool {
    byte > b' ' && byte != b'=' && byte != b'"'
}

fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|b| matches!(b, b' '..=b'~') && *b != b'"' && *b != b'\\')
}
