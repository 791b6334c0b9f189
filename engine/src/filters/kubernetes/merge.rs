//! `Merge_Log`: the fields that stand in `log` as text.
//!
//! Owns: what becomes of `log`, and of the texts in it. Never: reads JSON itself: that is the span scanner's and the
//! parsers' part, so that a value that can pass through does.

use super::options::Merge;
use crate::filters::FilterContext;
use codecs::json::{self, parse_object, parse_value};
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Field, Fields, Record, Text, Value};

/// The key whose content is merged.
const LOG: &[u8] = b"log";

/// Merges the content of the record's `log`, where it has one; `asked` is the parser that the pod names.
pub(super) fn merge<'a>(
    merge: &'a Merge,
    asked: Option<&'a Parser>,
    record: &mut Record<'a>,
    context: &mut FilterContext<'a, '_>,
) {
    let Some(at) = record.fields.iter().position(|f| f.key.bytes == LOG) else { return };
    let content = match record.fields[at].value {
        Value::Text(text) => match (asked.or(merge.parser.as_deref()), &merge.key) {
            (Some(parser), _) => parsed(parser, text.bytes, record, context),
            (None, Some(_)) => map(text.bytes, context),
            (None, None) => object(text.bytes, context),
        },
        // What is a map already is merged as it is, and not trimmed.
        value @ (Value::Map(_) | Value::Json([b'{', ..])) => Some(Content::Value(value)),
        _ => None,
    };
    let Some(content) = content else { return };
    let content = if merge.trim { content.trimmed(context) } else { content };
    if !merge.keep {
        record.fields.remove(at);
    }
    content.append(merge.key.as_deref(), record, context);
}

/// What stood in `log`.
enum Content<'a> {
    /// A map that was there as a value.
    Value(Value<'a>),
    /// A canonical map in the text.
    Raw(&'a [u8]),
    /// The fields of a map in the text.
    Fields(Fields<'a>),
}

impl<'a> Content<'a> {
    /// Takes line ends off the texts at the top.
    fn trimmed(self, context: &FilterContext<'a, '_>) -> Content<'a> {
        let mut fields = match self {
            Content::Fields(fields) => fields,
            Content::Raw(raw) if may_end_a_line(raw) => match json::expand(Value::Json(raw), context.arena) {
                Value::Map(opened) => copied(opened, context),
                _ => return Content::Raw(raw),
            },
            other => return other,
        };
        for field in &mut fields {
            if let Value::Text(text) = &mut field.value {
                text.bytes = trim(text.bytes);
            }
        }
        Content::Fields(fields)
    }

    /// Under the key, or without one beside the record's own fields. An empty map leaves nothing.
    fn append(self, key: Option<&'a str>, record: &mut Record<'a>, context: &FilterContext<'a, '_>) {
        let value = match self {
            Content::Value(value) => value,
            Content::Raw(raw) => Value::Json(raw),
            Content::Fields(fields) => match key {
                None => return record.fields.extend_from_slice_copy(&fields),
                Some(_) => Value::Map(fields.into_bump_slice()),
            },
        };
        let empty = matches!(value, Value::Map([]) | Value::Json(b"{}"));
        match key {
            _ if empty => {}
            Some(key) => record.fields.push(Field::new(Text::examined(key.as_bytes()), value)),
            None => {
                if let Value::Map(fields) = json::expand(value, context.arena) {
                    record.fields.extend_from_slice_copy(fields);
                }
            }
        }
    }
}

/// What a parser finds; the time that it finds is the record's.
fn parsed<'a>(
    parser: &'a Parser,
    text: &'a [u8],
    record: &mut Record<'a>,
    context: &mut FilterContext<'a, '_>,
) -> Option<Content<'a>> {
    let mut fields = Fields::with_capacity_in(8, context.arena);
    match parser.parse(text, context.now, context.arena, context.parsing, &mut fields) {
        Parsed::Yes { time } => {
            record.time = time.unwrap_or(record.time);
            Some(Content::Fields(fields))
        }
        Parsed::No => None,
    }
}

/// True when there may be a map in the text; most plain lines show at their first byte that there is none.
fn may_be_map(text: &[u8]) -> bool {
    text.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}

/// A JSON map as one value.
fn map<'a>(text: &'a [u8], context: &mut FilterContext<'a, '_>) -> Option<Content<'a>> {
    if !may_be_map(text) {
        return None;
    }
    match parse_value(text, context.arena, &mut context.parsing.json) {
        Ok(Value::Json(raw)) => Some(Content::Raw(raw)),
        Ok(Value::Map(opened)) => Some(Content::Fields(copied(opened, context))),
        // Something may stand behind it that is no value.
        _ => object(text, context),
    }
}

/// A JSON map as its fields.
fn object<'a>(text: &'a [u8], context: &mut FilterContext<'a, '_>) -> Option<Content<'a>> {
    if !may_be_map(text) {
        return None;
    }
    let mut fields = Fields::with_capacity_in(16, context.arena);
    parse_object(text, context.arena, &mut context.parsing.json, &mut fields).ok()?;
    Some(Content::Fields(fields))
}

fn copied<'a>(opened: &[Field<'a>], context: &FilterContext<'a, '_>) -> Fields<'a> {
    let mut fields = Fields::with_capacity_in(opened.len(), context.arena);
    fields.extend_from_slice_copy(opened);
    fields
}

/// True when a text in this JSON may end in something that [`trim`] takes off.
fn may_end_a_line(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', raw).any(|at| matches!(raw.get(at + 1..at + 3), Some(b"n\"" | b"r\"")))
}

/// Without line ends: newlines, and `\n` and `\r` as two characters; what would leave nothing leaves one character.
fn trim(text: &[u8]) -> &[u8] {
    let mut len = text.len();
    while len > 1 {
        match text[..len] {
            [.., b'\n'] => len -= 1,
            [.., b'\\', b'n' | b'r'] => len -= 2,
            _ => break,
        }
    }
    &text[..len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Fluent Bit's loop, as it stands there: an index runs down from the last byte and stops before the first.
    fn trimmed_there(text: &[u8]) -> &[u8] {
        let (mut size, mut i) = (text.len(), text.len() as isize - 1);
        while i > 0 {
            if text[i as usize] == b'\n' {
                (size, i) = (size - 1, i - 1);
            } else if text[i as usize - 1] == b'\\' && matches!(text[i as usize], b'n' | b'r') {
                (size, i) = (size - 2, i - 2);
            } else {
                break;
            }
        }
        &text[..size]
    }

    proptest! {
        #[test]
        fn line_ends_go_as_they_do_there(text in "[\\\\nr\nx]{0,9}") {
            prop_assert_eq!(trim(text.as_bytes()), trimmed_there(text.as_bytes()));
        }
    }
}
