//! JSON: text to values, values to text.
//!
//! Owns: the SIMD span scanner, opening of raw values, escaping. Never: panics on any input, copies what can pass
//! through.

use crate::record::{Field, Fields, Text, Value};
use bumpalo::Bump;

/// The text is not valid JSON (RFC 8259), or not of the wanted kind; `at` is the byte where that showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Offset in the text.
    pub at: usize,
}

/// Reusable working memory of one worker.
#[derive(Debug, Default)]
pub struct Scratch {}

/// How characters beyond ASCII leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As `\uXXXX` (Fluent Bit's default).
    Ascii,
    /// As they are (`json.escape_unicode off`); invalid UTF-8 still becomes U+FFFD.
    Unicode,
}

/// Parses one JSON object (white space around it is allowed) and appends its fields.
/// On an error `fields` is as it was.
pub fn parse_object<'a>(
    text: &'a [u8],
    arena: &'a Bump,
    scratch: &mut Scratch,
    fields: &mut Fields<'a>,
) -> Result<(), Invalid> {
    let _ = (text, arena, scratch, fields);
    Err(Invalid { at: 0 })
}

/// Parses one JSON value of any kind (white space around it is allowed).
pub fn parse_value<'a>(text: &'a [u8], arena: &'a Bump, scratch: &mut Scratch) -> Result<Value<'a>, Invalid> {
    let _ = (text, arena, scratch);
    Err(Invalid { at: 0 })
}

/// The first JSON value of a stream and how many bytes it took, or `None` when the text ends before it does.
pub fn parse_prefix<'a>(
    text: &'a [u8],
    arena: &'a Bump,
    scratch: &mut Scratch,
) -> Result<Option<(Value<'a>, usize)>, Invalid> {
    let _ = (text, arena, scratch);
    Err(Invalid { at: 0 })
}

/// Opens a [`Value::Json`] one level (inner maps and arrays stay raw); any other value is returned as it is.
pub fn expand<'a>(value: Value<'a>, arena: &'a Bump) -> Value<'a> {
    let _ = arena;
    value
}

/// Appends a map with braces: `{"a":1}`.
pub fn write_fields(out: &mut Vec<u8>, fields: &[Field<'_>], escape: Escape) {
    let _ = (out, fields, escape);
}

/// Appends a value.
pub fn write_value(out: &mut Vec<u8>, value: &Value<'_>, escape: Escape) {
    let _ = (out, value, escape);
}

/// Appends a string with its quotes.
pub fn write_text(out: &mut Vec<u8>, text: Text<'_>, escape: Escape) {
    let _ = (out, text, escape);
}
