//! The forms in which `file` writes a record.
//!
//! Owns: bytes of one record, csv's column names. Never: knows a path.
//! Invariant: each record ends with a line feed (but MessagePack), so that a file can be continued after any record.

use super::{Format, Options};
use crate::formats::{print_fields, print_text, print_value, write_seconds_micros, write_seconds_nanos};
use codecs::Bump;
use codecs::json::{Escape, write_fields};
use codecs::record::{Record, Value};

/// How records are written, with everything that is the same for all of them.
pub(super) struct Encoder {
    form: Form,
    escape: Escape,
}

enum Form {
    OutFile,
    Plain,
    Csv { delimiter: &'static str, column_names: bool },
    Ltsv { delimiter: &'static str, label_delimiter: &'static str },
    Template(Vec<Piece>),
    Msgpack,
}

/// A stretch of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// `{key}`; the braces stay when the record has no such key.
    Key(Vec<u8>),
}

impl Encoder {
    pub(super) fn new(options: &Options, escape: Escape) -> Self {
        let delimiter = options.delimiter.as_ref().and_then(|text| named_delimiter(&text.0));
        let label_delimiter = options.label_delimiter.as_ref().and_then(|text| named_delimiter(&text.0));
        let form = match options.format {
            Format::OutFile => Form::OutFile,
            Format::Plain => Form::Plain,
            Format::Csv => {
                Form::Csv { delimiter: delimiter.unwrap_or(","), column_names: options.csv_column_names.0 }
            }
            Format::Ltsv => Form::Ltsv {
                delimiter: delimiter.unwrap_or("\t"),
                label_delimiter: label_delimiter.unwrap_or(":"),
            },
            Format::Template => Form::Template(pieces(options.template.0.as_bytes())),
            Format::Msgpack => Form::Msgpack,
        };
        Encoder { form, escape }
    }

    /// True when files begin with the names of columns.
    #[inline]
    pub(super) fn has_names(&self) -> bool {
        matches!(self.form, Form::Csv { column_names: true, .. })
    }

    /// csv's first line, made of this record's keys, where it is wanted.
    pub(super) fn names(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        match &self.form {
            Form::Csv { delimiter, column_names: true } if !record.fields.is_empty() => {
                let mut names = Vec::new();
                csv_names(&mut names, record, delimiter);
                Some(names)
            }
            _ => None,
        }
    }

    pub(super) fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, out: &mut Vec<u8>) {
        match &self.form {
            Form::OutFile => {
                out.extend_from_slice(tag.as_bytes());
                out.extend_from_slice(b": [");
                write_seconds_nanos(out, record.time);
                out.extend_from_slice(b", ");
                write_fields(out, &record.fields, self.escape);
                out.extend_from_slice(b"]\n");
            }
            Form::Plain => {
                write_fields(out, &record.fields, self.escape);
                out.push(b'\n');
            }
            Form::Csv { delimiter, .. } => csv(out, record, arena, delimiter),
            Form::Ltsv { delimiter, label_delimiter } => ltsv(out, record, arena, delimiter, label_delimiter),
            Form::Template(pieces) => template(out, record, arena, pieces),
            Form::Msgpack => codecs::msgpack::write_event(out, record, arena),
        }
    }
}

/// The delimiters that Fluent Bit knows by name; it leaves its default for any other text.
fn named_delimiter(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "\\t" | "tab" => Some("\t"),
        "space" => Some(" "),
        "comma" => Some(","),
        _ => None,
    }
}

fn csv_names(out: &mut Vec<u8>, record: &Record<'_>, delimiter: &str) {
    out.extend_from_slice(b"timestamp");
    for field in &record.fields {
        out.extend_from_slice(delimiter.as_bytes());
        quoted(out, field.key.bytes);
    }
    out.push(b'\n');
}

fn csv(out: &mut Vec<u8>, record: &Record<'_>, arena: &Bump, delimiter: &str) {
    if record.fields.is_empty() {
        return;
    }
    write_seconds_nanos(out, record.time);
    for field in &record.fields {
        out.extend_from_slice(delimiter.as_bytes());
        csv_value(out, &field.value, arena);
    }
    out.push(b'\n');
}

fn csv_value(out: &mut Vec<u8>, value: &Value<'_>, arena: &Bump) {
    match value {
        Value::Text(text) => quoted(out, text.bytes),
        Value::Json(_) | Value::Map(_) | Value::Array(_) => {
            let mut text = Vec::new();
            print_value(&mut text, value, arena);
            quoted(out, &text);
        }
        value => print_value(out, value, arena),
    }
}

/// Appends text between quotes, its own quotes doubled (RFC 4180).
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(b'"');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn ltsv(out: &mut Vec<u8>, record: &Record<'_>, arena: &Bump, delimiter: &str, label_delimiter: &str) {
    if record.fields.is_empty() {
        return;
    }
    out.extend_from_slice(b"\"time\"");
    out.extend_from_slice(label_delimiter.as_bytes());
    write_seconds_micros(out, record.time);
    for field in &record.fields {
        out.extend_from_slice(delimiter.as_bytes());
        print_text(out, field.key.bytes);
        out.extend_from_slice(label_delimiter.as_bytes());
        print_value(out, &field.value, arena);
    }
    out.push(b'\n');
}

/// Cuts a template: an opening brace before another one, or without its end, is text.
fn pieces(template: &[u8]) -> Vec<Piece> {
    let (mut pieces, mut text, mut open) = (Vec::new(), Vec::new(), None);
    for (at, byte) in template.iter().enumerate() {
        match (byte, open) {
            (b'{', _) => {
                text.extend_from_slice(open.map_or(&[][..], |open: usize| &template[open..at]));
                open = Some(at);
            }
            (b'}', Some(start)) => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Key(template[start + 1..at].to_vec()));
                open = None;
            }
            (_, Some(_)) => {}
            (byte, None) => text.push(*byte),
        }
    }
    text.extend_from_slice(open.map_or(&[][..], |open| &template[open..]));
    text.push(b'\n');
    pieces.push(Piece::Text(text));
    pieces
}

fn template(out: &mut Vec<u8>, record: &Record<'_>, arena: &Bump, pieces: &[Piece]) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Key(key) if key == b"time" => write_seconds_micros(out, record.time),
            Piece::Key(key) => match record.get(key) {
                Some(Value::Text(text)) => out.extend_from_slice(text.bytes),
                Some(Value::Map(fields)) => print_fields(out, fields, arena),
                Some(value) => print_value(out, value, arena),
                // Fluent Bit takes each beginning of `time`, down to `{}`, for the time.
                None if b"time".starts_with(key) => write_seconds_micros(out, record.time),
                None => {
                    out.push(b'{');
                    out.extend_from_slice(key);
                    out.push(b'}');
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_cut_at_its_braces() {
        let text = |t: &str| Piece::Text(t.into());
        let key = |t: &str| Piece::Key(t.into());
        assert_eq!(pieces(b"{time} <{n}>"), [key("time"), text(" <"), key("n"), text(">\n")]);
        assert_eq!(pieces(b"{a{b} }{c"), [text("{a"), key("b"), text(" }{c\n")]);
        assert_eq!(pieces(b""), [text("\n")]);
    }
}
