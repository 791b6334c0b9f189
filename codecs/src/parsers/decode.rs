//! `Decode_Field` and `Decode_Field_As`: a field's text read once more.

use super::unescape::{unescape, unescape_mysql, unescape_utf8};
use crate::json;
use crate::record::{Field, Fields, Value};
use bumpalo::Bump;

/// How a text is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// A JSON map.
    Json,
    /// C's escapes of one letter.
    Escaped,
    /// Those, octal, `\x` and `\u`.
    EscapedUtf8,
    /// MySQL's quotes and escapes.
    MysqlQuoted,
}

/// What comes after a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Stop,
    /// The next rule, if this one failed.
    TryNext,
    /// The next rule.
    DoNext,
}

/// One `Decode_Field` or `Decode_Field_As` line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// `Decode_Field_As`: the decoded value takes the field's place.
    pub(super) in_place: bool,
    pub(super) backend: Backend,
    pub(super) action: Action,
}

/// The rules of one field.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) key: Vec<u8>,
    pub(super) rules: Vec<Rule>,
}

/// Decodes the fields from `start` on; new ones come behind them.
pub(super) fn decode<'a>(
    decoders: &[Decoder],
    start: usize,
    arena: &'a Bump,
    scratch: &mut json::Scratch,
    fields: &mut Fields<'a>,
) {
    let mut extra: Option<&'a [u8]> = None;
    for field in &mut fields[start..] {
        let Value::Text(text) = field.value else { continue };
        let Some(decoder) = decoders.iter().find(|d| d.key == field.key.bytes) else { continue };
        // Only the last such field's content is appended, as in Fluent Bit.
        if decoder.rules.iter().any(|r| !r.in_place) {
            extra = None;
        }
        decoder.apply(text.bytes, arena, scratch, field, &mut extra);
    }
    if let Some(text) = extra {
        // It was parsed once already, so this cannot fail.
        let _ = json::parse_object(text, arena, scratch, fields);
    }
}

impl Decoder {
    fn apply<'a>(
        &self,
        text: &'a [u8],
        arena: &'a Bump,
        scratch: &mut json::Scratch,
        field: &mut Field<'a>,
        extra: &mut Option<&'a [u8]>,
    ) {
        let mut data = text;
        let (mut in_map, mut appended) = (false, false);
        for rule in &self.rules {
            if in_map || (!rule.in_place && rule.action == Action::DoNext && appended) {
                continue;
            }
            let Some(value) = rule.backend.decode(data, arena, scratch) else {
                if rule.action == Action::Stop {
                    break;
                }
                continue;
            };
            match (rule.in_place, value) {
                (true, Value::Text(decoded)) => {
                    (data, field.value) = (decoded.bytes, value);
                }
                (true, map) => (in_map, field.value) = (true, map),
                // A text cannot be appended: there is no key for it.
                (false, Value::Text(_)) => appended = true,
                (false, _) => (appended, *extra) = (true, Some(data)),
            }
            if rule.action != Action::DoNext {
                break;
            }
        }
    }
}

impl Backend {
    fn decode<'a>(self, text: &'a [u8], arena: &'a Bump, scratch: &mut json::Scratch) -> Option<Value<'a>> {
        let mut out = bumpalo::collections::Vec::with_capacity_in(text.len(), arena);
        match self {
            Backend::Json => {
                let first = text.iter().find(|b| **b != b' ')?;
                return if *first == b'{' { json::parse_value(text, arena, scratch).ok() } else { None };
            }
            Backend::Escaped => unescape(text, &mut out),
            Backend::EscapedUtf8 => unescape_utf8(text, &mut out),
            Backend::MysqlQuoted => match text {
                [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => unescape_mysql(inner, &mut out),
                _ => return Some(Value::text(text)),
            },
        }
        Some(Value::text(out.into_bump_slice()))
    }
}
