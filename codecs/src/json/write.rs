//! Values to JSON text, as Fluent Bit prints it: no white space, of a repeated key only the last.

use super::{Escape, escape};
use crate::record::{Field, Text, Value};
use crate::simd::{Tier, append, append_key};

/// Appends a map with braces: `{"a":1}`.
pub fn write_fields(out: &mut Vec<u8>, fields: &[Field<'_>], escape: Escape) {
    out.push(b'{');
    write_inner(out, fields, escape);
    out.push(b'}');
}

/// Appends the inside of a map: `"a":1,"b":2`, nothing for none.
pub fn write_inner(out: &mut Vec<u8>, fields: &[Field<'_>], escape: Escape) {
    let repeated = may_repeat(fields);
    let mut first = true;
    for (n, field) in fields.iter().enumerate() {
        if repeated && fields[n + 1..].iter().any(|later| later.key == field.key) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        match field.key.plain {
            true => append_key(out, field.key.bytes),
            false => {
                write_text(out, field.key, escape);
                out.push(b':');
            }
        }
        write_value(out, &field.value, escape);
    }
}

/// False when no key stands twice; true when one may. One bit per key of a 128-bit set.
pub fn may_repeat(fields: &[Field<'_>]) -> bool {
    let mut seen = 0u128;
    for field in fields {
        let key = field.key.bytes;
        let (first, last) = (key.first().copied().unwrap_or(0), key.last().copied().unwrap_or(0));
        let middle = key.get(key.len() / 2).copied().unwrap_or(0);
        let hash =
            (u32::from(first) | u32::from(last) << 8 | u32::from(middle) << 16 | (key.len() as u32) << 24)
                .wrapping_mul(0x9e37_79b1);
        let bit = 1u128 << (hash >> 25);
        if seen & bit != 0 {
            return true;
        }
        seen |= bit;
    }
    false
}

/// Appends a value.
pub fn write_value(out: &mut Vec<u8>, value: &Value<'_>, escape: Escape) {
    match *value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(n) => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
        Value::Float(n) => write_float(out, n),
        Value::Number(text) => append(out, text),
        Value::Json(text) => out.extend_from_slice(text),
        Value::Text(text) => write_text(out, text, escape),
        Value::Map(fields) => write_fields(out, fields, escape),
        Value::Array(values) => {
            out.push(b'[');
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_value(out, value, escape);
            }
            out.push(b']');
        }
    }
}

/// The shortest text that reads back equal, with `.0` for whole numbers; what is not finite becomes a string.
fn write_float(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        let word: &[u8] = if number.is_nan() {
            b"\"nan\""
        } else if number > 0.0 {
            b"\"inf\""
        } else {
            b"\"-inf\""
        };
        out.extend_from_slice(word);
    }
}

/// Appends a string with its quotes.
#[inline]
pub fn write_text(out: &mut Vec<u8>, text: Text<'_>, escape: Escape) {
    out.push(b'"');
    match text.plain {
        true => append(out, text.bytes),
        false => escape::write(out, text.bytes, escape, tier()),
    }
    out.push(b'"');
}

/// The tier of all writers; detection is cached.
#[inline(always)]
fn tier() -> Tier {
    static TIER: std::sync::OnceLock<Tier> = std::sync::OnceLock::new();
    *TIER.get_or_init(Tier::best)
}
