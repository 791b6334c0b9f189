//! `type_converter`: appends values of the record in another type.
//!
//! Owns: conversions. Never: changes the field that a value comes from.

use super::constant::Constant;
use super::{Context, Filter, FilterContext, Outcome, Plugin};
use crate::log;
use codecs::accessor::Accessor;
use codecs::conf::values::Words;
use codecs::conf::{Diagnostics, Entry, Section};
use codecs::record::{Field, Record, Value};
use codecs::{Bump, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

codecs::options! {
    /// Appends a value in another type, under another key. What cannot be converted is appended as it is.
    pub struct Options {
        /// `KEY NEW_KEY TYPE`: from an integer to string, float or uint.
        int_key "int_key": Many<Words>,
        /// `KEY NEW_KEY TYPE`: from an integer without a sign to string, float or int.
        uint_key "uint_key": Many<Words>,
        /// `KEY NEW_KEY TYPE`: from a number with a fraction to string, int or uint.
        float_key "float_key": Many<Words>,
        /// `KEY NEW_KEY TYPE`: from text to int, uint, float, hex or bool.
        str_key "str_key": Many<Words>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Int,
    Uint,
    Float,
    Hex,
    Text,
    Bool,
}

struct Rule {
    from: Type,
    to: Type,
    key: Accessor,
    new_key: Constant,
    /// For messages: the key as written.
    text: String,
    told: AtomicBool,
}

/// A configured filter: those from text first, then int, uint and float, as in Fluent Bit.
struct Rules {
    component: String,
    rules: Vec<Rule>,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "type_converter", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    Options::read(section, context.name, diagnostics);
    let kinds = [
        ("str_key", Type::Text),
        ("int_key", Type::Int),
        ("uint_key", Type::Uint),
        ("float_key", Type::Float),
    ];
    let (mut rules, mut complete) = (Vec::new(), true);
    for (option, from) in kinds {
        for entry in section.all(option) {
            match rule(entry, from) {
                Ok(rule) => rules.push(rule),
                Err(why) => {
                    complete = false;
                    let message = format!("{}: `{option}` is `{}`", context.name, entry.value);
                    diagnostics.error(&entry.value_span, message).help(format!("rule: {why}"));
                }
            }
        }
    }
    if rules.is_empty() && complete {
        diagnostics
            .error(&section.span, format!("{}: there is no rule", context.name))
            .help("rule: one of int_key, uint_key, float_key, str_key at least: KEY NEW_KEY TYPE");
        return None;
    }
    let component = format!("filter:type_converter:{}", context.name);
    complete.then(|| Arc::new(Rules { component, rules }) as Arc<dyn Filter>)
}

fn rule(entry: &Entry, from: Type) -> Result<Rule, String> {
    let words = codecs::conf::values::split_quoted(&entry.value);
    let [key, new_key, to] = words.as_slice() else {
        return Err("a key, a new key and a type".to_owned());
    };
    let to = Type::named(to).ok_or("the type is one of int, uint, float, hex, string, bool")?;
    Ok(Rule {
        from,
        to,
        key: Accessor::parse(key).map_err(|e| e.to_string())?,
        new_key: Constant::new(new_key),
        text: key.clone(),
        told: AtomicBool::new(false),
    })
}

impl Type {
    /// By its name or the beginning of it, as in Fluent Bit; and `integer`, which Fluent Bit's manual has.
    fn named(text: &str) -> Option<Type> {
        let text = text.to_ascii_lowercase();
        let names = [
            ("int", Type::Int),
            ("uint", Type::Uint),
            ("float", Type::Float),
            ("hex", Type::Hex),
            ("string", Type::Text),
            ("bool", Type::Bool),
            ("integer", Type::Int),
        ];
        names.into_iter().find(|(name, _)| !text.is_empty() && name.starts_with(&*text)).map(|(_, t)| t)
    }
}

/// A number of a record as Fluent Bit holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Int(i64),
    /// Beyond what fits with a sign.
    Uint(u64),
    Float(f64),
}

impl Number {
    fn of(value: &Value<'_>) -> Option<Number> {
        let text = match value {
            Value::Int(n) => return Some(Number::Int(*n)),
            Value::Float(x) => return Some(Number::Float(*x)),
            Value::Number(text) => std::str::from_utf8(text).ok()?,
            _ => return None,
        };
        let whole = text.parse().map(Number::Int).or_else(|_| text.parse().map(Number::Uint));
        whole.ok().or_else(|| text.parse().ok().map(Number::Float))
    }
}

impl Rule {
    fn convert<'a>(&self, value: Value<'a>, arena: &'a Bump) -> Option<Value<'a>> {
        let text = |text: String| Some(Value::text(arena.alloc_str(&text).as_bytes()));
        match (self.from, value) {
            (Type::Text, Value::Text(text)) => from_text(text.bytes, self.to, arena),
            (Type::Float, value) => {
                let Number::Float(x) = Number::of(&value)? else { return None };
                match self.to {
                    Type::Text => text(float_text(x)),
                    Type::Int => Some(Value::Int(x as i64)),
                    Type::Uint => Some(unsigned(x as u64, arena)),
                    _ => None,
                }
            }
            (Type::Int | Type::Uint, value) => {
                let bits = match Number::of(&value)? {
                    Number::Int(n) => n as u64,
                    Number::Uint(n) => n,
                    Number::Float(_) => return None,
                };
                let signed = self.from == Type::Int;
                match self.to {
                    Type::Text if signed => text((bits as i64).to_string()),
                    Type::Text => text(bits.to_string()),
                    Type::Float if signed => Some(Value::Float(bits as i64 as f64)),
                    Type::Float => Some(Value::Float(bits as f64)),
                    Type::Uint if signed => Some(unsigned(bits, arena)),
                    Type::Int if !signed => Some(Value::Int(bits as i64)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn unsigned(n: u64, arena: &Bump) -> Value<'_> {
    i64::try_from(n).map_or_else(|_| Value::Number(arena.alloc_str(&n.to_string()).as_bytes()), Value::Int)
}

/// The shortest text that reads back equal; whole numbers with `.0`.
fn float_text(x: f64) -> String {
    let mut out = Vec::new();
    json::write_value(&mut out, &Value::Float(x), json::Escape::Ascii);
    String::from_utf8_lossy(&out).trim_matches('"').to_owned()
}

/// What the text begins with counts; zero is no integer, as in Fluent Bit.
fn from_text<'a>(text: &[u8], to: Type, arena: &'a Bump) -> Option<Value<'a>> {
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    match to {
        Type::Int => signed(text).filter(|n| *n != 0).map(Value::Int),
        Type::Uint => magnitude(text, 10).filter(|n| *n != 0).map(|n| unsigned(n, arena)),
        Type::Hex => magnitude(text, 16).filter(|n| *n != 0).map(|n| unsigned(n, arena)),
        Type::Float => Some(Value::Float(leading_float(text))),
        Type::Bool if begins(b"true") => Some(Value::Bool(true)),
        Type::Bool if begins(b"false") => Some(Value::Bool(false)),
        Type::Bool | Type::Text => None,
    }
}

/// Sign and digits at the head of the text, behind white space; what does not fit is the largest that does.
fn digits(text: &[u8], radix: u32) -> Option<(bool, u64, bool)> {
    let text = text.trim_ascii_start();
    let negative = text.first() == Some(&b'-');
    let text = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let prefixed = radix == 16 && matches!(text, [b'0', b'x' | b'X', d, ..] if d.is_ascii_hexdigit());
    let text = if prefixed { &text[2..] } else { text };
    let mut number = None;
    let mut over = false;
    for digit in text.iter().map_while(|b| char::from(*b).to_digit(radix)) {
        let next = number.unwrap_or(0u64).checked_mul(radix.into()).and_then(|n| n.checked_add(digit.into()));
        over |= next.is_none();
        number = Some(next.unwrap_or(u64::MAX));
    }
    number.map(|n| (negative, if over { u64::MAX } else { n }, over))
}

fn signed(text: &[u8]) -> Option<i64> {
    let (negative, n, _) = digits(text, 10)?;
    Some(match negative {
        true => i64::try_from(n).map_or(i64::MIN, |n| -n),
        false => i64::try_from(n).unwrap_or(i64::MAX),
    })
}

/// Without a sign; one that is there turns the number round, as C does.
fn magnitude(text: &[u8], radix: u32) -> Option<u64> {
    let (negative, n, over) = digits(text, radix)?;
    Some(if negative && !over { n.wrapping_neg() } else { n })
}

/// The number at the head of the text, or 0.
pub(super) fn leading_float(text: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(text.trim_ascii_start());
    let end = text.len().min(512);
    let cuts = (1..=end).rev().filter(|&n| text.is_char_boundary(n));
    cuts.into_iter().find_map(|n| text[..n].parse().ok()).unwrap_or(0.0)
}

impl Filter for Rules {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let own = record.fields.len();
        for rule in &self.rules {
            let Some(value) = rule.key.get_keyed(&record.fields[..own], context.arena) else { continue };
            let made = rule.convert(value, context.arena);
            if made.is_none() && !rule.told.swap(true, Ordering::Relaxed) {
                log!(Error, self.component, "failed to convert. key={} (told once)", rule.text);
            }
            record.fields.push(Field::new(rule.new_key.text(), made.unwrap_or(value)));
        }
        Outcome::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_all, refused};
    use super::*;
    use proptest::prelude::*;

    const RECORD: &str = r#"{"num":"12","n":1,"neg":-5,"f":2.5,"hex":"0xff","bad":"zz","t":"TRUEx","big":18446744073709551615,"k":{"a":"3","l":[1]}}"#;

    #[test]
    fn appends_what_fluent_bit_appends() {
        for (rule, want) in [
            ("str_key num x int", Some("12")),
            ("str_key num x integer", Some("12")),
            ("str_key num x uint", Some("12")),
            ("str_key num x float", Some("12.0")),
            ("str_key hex x hex", Some("255")),
            ("str_key t x bool", Some("true")),
            ("str_key $k['a'] x i", Some("3")),
            ("int_key n x string", Some("\"1\"")),
            ("int_key n x float", Some("1.0")),
            ("int_key neg x uint", Some("18446744073709551611")),
            ("uint_key neg x str", Some("\"18446744073709551611\"")),
            ("uint_key big x float", Some("1.8446744073709552e+19")),
            ("float_key f x string", Some("\"2.5\"")),
            ("float_key f x int", Some("2")),
            ("str_key bad x float", Some("0.0")),
            ("str_key bad x int", Some("\"zz\"")),
            ("str_key n x int", Some("1")),
            ("int_key n x hex", Some("1")),
            ("int_key n x int", Some("1")),
            ("str_key num x string", Some("\"12\"")),
            ("float_key n x int", Some("1")),
            ("int_key $k['l'][0] x string", None),
            ("int_key absent x string", None),
        ] {
            let output = match want {
                Some(value) => format!("{},\"x\":{value}}}", &RECORD[..RECORD.len() - 1]),
                None => RECORD.to_owned(),
            };
            check_all(&PLUGIN, &[(rule, RECORD, &output)]);
        }
        // What fails stands as it was beside what does not; text comes first.
        check_all(
            &PLUGIN,
            &[(
                "int_key n a string\nstr_key s b int\nstr_key s c float",
                r#"{"n":7,"s":"0"}"#,
                r#"{"n":7,"s":"0","b":"0","c":0.0,"a":"7"}"#,
            )],
        );
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (lines, message) in [
            ("", "there is no rule"),
            ("int_key a b", "`int_key` is `a b`"),
            ("str_key a b map", "`str_key` is `a b map`"),
            ("str_key $1 b int", "`str_key` is `$1 b int`"),
        ] {
            refused(&PLUGIN, lines, message);
        }
    }

    #[test]
    fn numbers_at_the_head_of_a_text() {
        for (text, int, uint) in [
            (" 7x", Some(7), Some(7)),
            ("-7", Some(-7), Some(u64::MAX - 6)),
            ("+7", Some(7), Some(7)),
            ("99999999999999999999", Some(i64::MAX), Some(u64::MAX)),
            ("-99999999999999999999", Some(i64::MIN), Some(u64::MAX)),
            ("", None, None),
            ("x", None, None),
            ("- 1", None, None),
        ] {
            assert_eq!((signed(text.as_bytes()), magnitude(text.as_bytes(), 10)), (int, uint), "{text}");
        }
        assert_eq!((leading_float(b" 1.5e2kg"), leading_float(b"-x"), leading_float(b"")), (150.0, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn integers_read_as_the_standard_library_does(n in any::<i64>(), behind in "[a-z ]{0,3}") {
            prop_assert_eq!(signed(format!("{n}{behind}").as_bytes()), Some(n));
        }
    }
}
