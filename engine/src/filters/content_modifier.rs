//! `content_modifier`: a processor that changes one field.
//!
//! Owns: its actions. Never: touches metadata, of which records here have none.

use super::constant::Constant;
use super::pattern::named_captures;
use super::{Context, Filter, FilterContext, Outcome, Plugin};
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Section};
use codecs::record::{Field, Fields, Record, Value};
use codecs::regex::Regex;
use codecs::{Bump, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

codecs::choice! {
    /// What is done.
    pub enum Verb {
        /// Appends the field, if the key is not there.
        Insert "insert",
        /// Appends the field; one that is there goes away.
        Upsert "upsert",
        /// Removes the field.
        Delete "delete",
        /// Gives the field another key.
        Rename "rename",
        /// Puts the SHA-256 of the value in its place.
        Hash "hash",
        /// Appends the named parts of a pattern.
        Extract "extract",
        /// Appends the value in another type, in place of the field.
        Convert "convert",
    }
}

codecs::choice! {
    /// A type of values.
    pub enum Type {
        /// Text.
        Text "string",
        /// True or false.
        Boolean "boolean",
        /// A whole number.
        Int "int",
        /// A number with a fraction.
        Double "double",
    }
}

codecs::options! {
    /// Changes one field of each record.
    pub struct Options {
        /// Where: `body`, `message` or `record`, which all mean the record; there is no metadata here.
        context "context": Opt<Text>,
        /// What is done: insert, upsert, delete, rename, hash, extract or convert.
        action "action": Opt<Verb>,
        /// The field's key.
        key "key": Opt<Text>,
        /// The value for `insert` and `upsert`; the new key for `rename`.
        value "value": Opt<Text>,
        /// The pattern for `extract`.
        pattern "pattern": Opt<Text>,
        /// The type for `convert`.
        converted_type "converted_type": Opt<Type>,
    }
}

/// A configured processor.
struct Change {
    key: Constant,
    action: Action,
}

enum Action {
    Insert(Constant),
    Upsert(Constant),
    Delete,
    Rename(Constant),
    Hash,
    Extract(Box<Regex>),
    Convert(Type),
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "content_modifier", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let mut refuse = |key: &str, message: &str, help: &str| {
        let span = section.get(key).map_or(&section.span, |e| &e.value_span);
        diagnostics.error(span, format!("{}: {message}", context.name)).help(help);
        None
    };
    if let Some(Text(place)) = &options.context
        && !["body", "message", "record"].iter().any(|p| place.eq_ignore_ascii_case(p))
    {
        let message = format!("`context` is `{place}`: records here have no metadata");
        return refuse("context", &message, "rule: one of body, message, record, or nothing");
    }
    let Some(verb) = options.action else {
        return refuse("action", "`action` is missing", "rule: what is to be done");
    };
    let Some(key) = options.key.filter(|k| !k.0.is_empty()) else {
        return refuse("key", "`key` is missing", "rule: the field's key");
    };
    let value = options.value.map(|v| Constant::new(&v.0));
    let action = match (verb, value, options.pattern, options.converted_type) {
        (Verb::Insert, Some(value), ..) => Action::Insert(value),
        (Verb::Upsert, Some(value), ..) => Action::Upsert(value),
        (Verb::Rename, Some(value), ..) => Action::Rename(value),
        (Verb::Delete, ..) => Action::Delete,
        (Verb::Hash, ..) => Action::Hash,
        (Verb::Convert, _, _, Some(kind)) => Action::Convert(kind),
        (Verb::Extract, _, Some(Text(pattern)), _) => match Regex::new(&pattern) {
            Ok(regex) => Action::Extract(Box::new(regex)),
            Err(error) => return refuse("pattern", "`pattern` does not compile", &error.message),
        },
        (Verb::Insert | Verb::Upsert | Verb::Rename, ..) => {
            return refuse("value", "`value` is missing", "rule: insert, upsert and rename need it");
        }
        (Verb::Extract, ..) => {
            return refuse("pattern", "`pattern` is missing", "rule: extract needs it");
        }
        (Verb::Convert, ..) => {
            return refuse("converted_type", "`converted_type` is missing", "rule: convert needs it");
        }
    };
    Some(Arc::new(Change { key: Constant::new(&key.0), action }))
}

impl Filter for Change {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let (fields, arena) = (&mut record.fields, context.arena);
        let at = fields.iter().position(|f| f.key.bytes == self.key.bytes());
        let of = |value: &'a Constant| Field::new(self.key.text(), Value::Text(value.text()));
        match (&self.action, at) {
            (Action::Insert(value), None) | (Action::Upsert(value), None) => fields.push(of(value)),
            (Action::Upsert(value), Some(at)) => {
                fields.remove(at);
                fields.push(of(value));
            }
            (Action::Delete, Some(at)) => drop(fields.remove(at)),
            (Action::Rename(key), Some(at)) => fields[at].key = key.text(),
            (Action::Hash, Some(at)) => {
                if let Some(hash) = hash(&fields[at].value, arena) {
                    fields[at].value = hash;
                }
            }
            (Action::Extract(regex), Some(at)) => {
                if let Some(text) = fields[at].value.as_text() {
                    extract(regex, text, fields, context);
                }
            }
            (Action::Convert(kind), Some(at)) => {
                if let Some(value) = convert(&fields[at].value, *kind, arena) {
                    fields.remove(at);
                    fields.push(Field::new(self.key.text(), value));
                }
            }
            (_, None) | (Action::Insert(_), Some(_)) => {}
        }
        Outcome::Keep
    }
}

/// The hash of a value's text; of maps and arrays there is none, and nothing stays nothing.
fn hash<'a>(value: &Value<'a>, arena: &'a Bump) -> Option<Value<'a>> {
    let Value::Text(text) = convert(value, Type::Text, arena)? else { return None };
    if text.bytes.is_empty() {
        return Some(Value::Text(text));
    }
    let digest = Sha256::digest(text.bytes);
    let hex = digest.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| b"0123456789abcdef"[usize::from(n)]);
    Some(Value::Text(codecs::record::Text::plain(arena.alloc_slice_fill_iter(hex.collect::<Vec<u8>>()))))
}

/// Appends the named parts; fields of their names go away. A part that took no part is empty text.
fn extract<'a>(
    regex: &'a Regex,
    text: &'a [u8],
    fields: &mut Fields<'a>,
    context: &mut FilterContext<'a, '_>,
) {
    named_captures(regex, text, context.parsing, |name, part| {
        fields.retain(|f| f.key.bytes != name.as_bytes());
        let key = codecs::record::Text::examined(name.as_bytes());
        fields.push(Field::new(key, Value::text(part.unwrap_or_default())));
    });
}

/// The value in another type; `None` when it has none.
fn convert<'a>(value: &Value<'a>, kind: Type, arena: &'a Bump) -> Option<Value<'a>> {
    let number = match *value {
        Value::Text(text) => return convert_text(text.bytes, kind, *value),
        Value::Json(_) | Value::Map(_) | Value::Array(_) => return None,
        Value::Null => 0.0,
        Value::Bool(b) => f64::from(u8::from(b)),
        Value::Int(n) => n as f64,
        Value::Float(x) => x,
        Value::Number(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
    };
    Some(match (kind, *value) {
        (Type::Text, Value::Number(text)) => Value::text(text),
        (Type::Text, value) => {
            let mut text = Vec::new();
            json::write_value(&mut text, &value, json::Escape::Ascii);
            Value::text(arena.alloc_slice_copy(text.trim_ascii()))
        }
        (Type::Boolean, _) => Value::Bool(number != 0.0),
        (Type::Int, value @ Value::Int(_)) => value,
        // Digits alone are a whole number, however many.
        (Type::Int, Value::Number(text)) if !text.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => {
            Value::Number(text)
        }
        (Type::Int, _) => Value::Int(number.round() as i64),
        (Type::Double, _) => Value::Float(number),
    })
}

/// Text as another type. Whole numbers must be nothing else, and fit 32 bits, as in Fluent Bit.
fn convert_text<'a>(text: &[u8], kind: Type, value: Value<'a>) -> Option<Value<'a>> {
    match kind {
        Type::Text => Some(value),
        Type::Boolean => Some(Value::Bool(text.eq_ignore_ascii_case(b"true"))),
        Type::Int => {
            let digits = std::str::from_utf8(text.trim_ascii_start()).ok()?;
            let number: i64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
            (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(&number).then_some(Value::Int(number))
        }
        Type::Double => {
            let number = super::type_converter::leading_float(text);
            number.is_finite().then_some(Value::Float(number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_all, refused};
    use super::*;

    #[test]
    fn changes_what_fluent_bit_changes() {
        check_all(
            &PLUGIN,
            &[
                ("action insert\nkey k\nvalue v", r#"{"a":1}"#, r#"{"a":1,"k":"v"}"#),
                ("action insert\nkey a\nvalue v", r#"{"a":1}"#, r#"{"a":1}"#),
                ("action upsert\nkey a\nvalue v", r#"{"a":1,"b":2}"#, r#"{"b":2,"a":"v"}"#),
                ("action UPSERT\nkey k\nvalue 5", r#"{"a":1}"#, r#"{"a":1,"k":"5"}"#),
                ("action delete\nkey a", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
                ("action delete\nkey k", r#"{"a":1}"#, r#"{"a":1}"#),
                ("action rename\nkey a\nvalue k", r#"{"a":1,"b":2}"#, r#"{"k":1,"b":2}"#),
                ("action rename\nkey a\nvalue b", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
                (
                    "action hash\nkey m\ncontext body",
                    r#"{"m":"GET"}"#,
                    r#"{"m":"14e30cd163c732912e048c4c837e15c4e90c062ebb795ab947d57706e2d10dd8"}"#,
                ),
                ("action hash\nkey m", r#"{"m":""}"#, r#"{"m":""}"#),
                ("action hash\nkey m", r#"{"m":{"a":1}}"#, r#"{"m":{"a":1}}"#),
                (
                    "action extract\nkey l\npattern ^(?<m>\\w+) (?<p>\\S+)(?<o> z)? (?<c>\\d+)$",
                    r#"{"m":0,"l":"GET /x 200"}"#,
                    r#"{"l":"GET /x 200","m":"GET","p":"/x","o":"","c":"200"}"#,
                ),
                ("action extract\nkey l\npattern (?<m>x)", r#"{"l":"abc"}"#, r#"{"l":"abc"}"#),
            ],
        );
    }

    #[test]
    fn converts_what_fluent_bit_converts() {
        for (value, kind, want) in [
            (r#""12""#, "int", Some("12")),
            (r#""-7""#, "int", Some("-7")),
            (r#""x1""#, "int", None),
            (r#""1x""#, "int", None),
            (r#""""#, "int", Some("0")),
            (r#""4294967296""#, "int", None),
            (r#""true""#, "boolean", Some("true")),
            (r#""yes""#, "boolean", Some("false")),
            (r#""1.5x""#, "double", Some("1.5")),
            (r#""abc""#, "double", Some("0.0")),
            ("2.5", "string", Some("\"2.5\"")),
            ("42", "double", Some("42.0")),
            ("2.5", "int", Some("3")),
            ("12345678901234567890", "int", Some("12345678901234567890")),
            ("true", "int", Some("1")),
            ("true", "string", Some("\"true\"")),
            ("null", "string", Some("\"null\"")),
            ("null", "boolean", Some("false")),
            (r#"{"a":1}"#, "string", None),
            ("[1]", "int", None),
        ] {
            let input = format!(r#"{{"v":{value},"b":1}}"#);
            let output = match want {
                Some(want) => format!(r#"{{"b":1,"v":{want}}}"#),
                None => input.clone(),
            };
            check_all(
                &PLUGIN,
                &[(&format!("action convert\nkey v\nconverted_type {kind}"), &input, &output)],
            );
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (lines, message) in [
            ("key a", "`action` is missing"),
            ("action insert\nvalue x", "`key` is missing"),
            ("action insert\nkey a", "`value` is missing"),
            ("action extract\nkey a", "`pattern` is missing"),
            ("action extract\nkey a\npattern (", "does not compile"),
            ("action convert\nkey a", "`converted_type` is missing"),
            ("action delete\nkey a\ncontext attributes", "no metadata"),
            ("action move\nkey a", "`action` is `move`"),
        ] {
            refused(&PLUGIN, lines, message);
        }
    }
}
