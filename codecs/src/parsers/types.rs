//! `Types`: a field's text as an integer, a float, a boolean or hexadecimal, with C's leniency.

use crate::record::{Text, Value};
use bumpalo::Bump;

/// What a field becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Float,
    Bool,
    Hex,
    Text,
}

/// The types of fields by key; the first that stands for a key counts.
#[derive(Debug, Default)]
pub(super) struct Types(Vec<(Vec<u8>, Kind)>);

impl Types {
    pub(super) fn new(pairs: impl Iterator<Item = (Vec<u8>, Kind)>) -> Types {
        Types(pairs.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(&self, key: &[u8]) -> Kind {
        self.0.iter().find(|(k, _)| k == key).map_or(Kind::Text, |(_, kind)| *kind)
    }
}

/// The value of a text. What does not read as its kind is 0 (as C's `atoll` has it), or stays text for a boolean.
pub(super) fn cast<'a>(kind: Kind, text: Text<'a>, arena: &'a Bump) -> Value<'a> {
    match kind {
        Kind::Text => Value::Text(text),
        Kind::Integer => Value::Int(integer(text.bytes)),
        Kind::Float => match float(text.bytes) {
            number if number.is_finite() => Value::Float(number),
            _ => Value::Text(text),
        },
        Kind::Bool => match text.bytes {
            [a, b, c, d, ..] if [*a, *b, *c, *d].eq_ignore_ascii_case(b"true") => Value::Bool(true),
            [a, b, c, d, e, ..] if [*a, *b, *c, *d, *e].eq_ignore_ascii_case(b"false") => Value::Bool(false),
            _ => Value::Text(text),
        },
        Kind::Hex => {
            let number = hex(text.bytes);
            match i64::try_from(number) {
                Ok(small) => Value::Int(small),
                Err(_) => {
                    Value::Number(arena.alloc_slice_copy(itoa::Buffer::new().format(number).as_bytes()))
                }
            }
        }
    }
}

/// What is left after white space and a sign, and whether that was a minus.
fn signed(text: &[u8]) -> (bool, &[u8]) {
    let start = text.iter().position(|b| !matches!(b, b' ' | b'\t'..=b'\r')).unwrap_or(text.len());
    match &text[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

/// `atoll`: the digits at the start, at the limits where there are too many.
fn integer(text: &[u8]) -> i64 {
    let (negative, digits) = signed(text);
    let mut value: i64 = 0;
    for byte in digits.iter().take_while(|b| b.is_ascii_digit()) {
        let digit = i64::from(byte - b'0');
        let next = value
            .checked_mul(10)
            .and_then(|v| if negative { v.checked_sub(digit) } else { v.checked_add(digit) });
        match next {
            Some(next) => value = next,
            None => return if negative { i64::MIN } else { i64::MAX },
        }
    }
    value
}

/// `strtoull` with base 16.
fn hex(text: &[u8]) -> u64 {
    let (negative, digits) = signed(text);
    let digits = match digits {
        [b'0', b'x' | b'X', d, ..] if d.is_ascii_hexdigit() => &digits[2..],
        _ => digits,
    };
    let mut value: u64 = 0;
    for digit in digits.iter().map_while(|b| char::from(*b).to_digit(16)) {
        match value.checked_mul(16) {
            Some(next) => value = next | u64::from(digit),
            None => return u64::MAX,
        }
    }
    if negative { value.wrapping_neg() } else { value }
}

/// `atof`, but for hexadecimal floats: the longest start that is a number.
fn float(text: &[u8]) -> f64 {
    let (negative, rest) = signed(text);
    let digits = |at: usize| rest[at.min(rest.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    let mut any = whole > 0;
    if rest.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        any |= fraction > 0;
        end += 1 + fraction;
    }
    if !any {
        let word = &rest[..rest.len().min(3)];
        let odd = word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan");
        return if odd { f64::NAN } else { 0.0 };
    }
    if matches!(rest.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(&rest[..end]).ok().and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    if negative { -number } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_numbers_as_in_c() {
        for (text, number) in [
            ("42", 42),
            (" -7x", -7),
            ("abc", 0),
            ("", 0),
            ("+5", 5),
            ("9223372036854775808", i64::MAX),
            ("-9223372036854775809", i64::MIN),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text.as_bytes()), number, "{text}");
        }
        for (text, number) in
            [("ff", 255), ("1A", 26), ("zz", 0), ("0x10", 16), ("0x", 0), ("fffffffffffffffff", u64::MAX)]
        {
            assert_eq!(hex(text.as_bytes()), number, "{text}");
        }
        for (text, number) in [
            ("2.5", 2.5),
            ("1e3", 1000.0),
            ("xyz", 0.0),
            ("3.4.5", 3.4),
            ("-.5e", -0.5),
            ("7.", 7.0),
            ("1e+", 1.0),
        ] {
            assert_eq!(float(text.as_bytes()), number, "{text}");
        }
    }

    #[test]
    fn what_is_no_boolean_or_not_finite_stays_text() {
        let arena = Bump::new();
        for (kind, text) in
            [(Kind::Bool, "yes"), (Kind::Float, "inf"), (Kind::Float, "nan"), (Kind::Float, "1e999")]
        {
            assert_eq!(
                cast(kind, Text::new(text.as_bytes()), &arena),
                Value::text(text.as_bytes()),
                "{text}"
            );
        }
        assert_eq!(cast(Kind::Bool, Text::new(b"TRUEish"), &arena), Value::Bool(true));
        assert_eq!(
            cast(Kind::Hex, Text::new(b"ffffffffffffffff"), &arena),
            Value::Number(b"18446744073709551615")
        );
    }
}
