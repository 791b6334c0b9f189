//! Values to JSON text, as Fluent Bit prints it: no white space, of a repeated key only the last.

use super::{Escape, escape};
use crate::record::{Field, Text, Value};
use crate::simd::{Lanes, append, append_clean, append_key, append_quoted, on_tier, tier};

/// Appends a map with braces: `{"a":1}`.
pub fn write_fields(out: &mut Vec<u8>, fields: &[Field<'_>], escape: Escape) {
    write_inner(out, b'{', fields, escape);
    match fields {
        [] => out.extend_from_slice(b"{}"),
        _ => out.push(b'}'),
    }
}

/// Appends the inside of a map behind `before`, the brace or the comma: `,"a":1,"b":2`; nothing for no fields.
pub fn write_inner(out: &mut Vec<u8>, before: u8, fields: &[Field<'_>], escape: Escape) {
    on_tier!(tier(), fn run(out: &mut Vec<u8>, before: u8, fields: &[Field<'_>], escape: Escape) = inner_on)
}

/// The tier is asked for once a record, so that its kernels become part of the loop.
#[inline(always)]
fn inner_on<L: Lanes>(lanes: L, out: &mut Vec<u8>, mut before: u8, fields: &[Field<'_>], escape: Escape) {
    let repeated = may_repeat(fields);
    for (n, field) in fields.iter().enumerate() {
        if repeated && fields[n + 1..].iter().any(|later| later.key == field.key) {
            continue;
        }
        match field.key.plain {
            true => append_key(out, before, field.key.bytes),
            false => {
                out.push(before);
                text_on(lanes, out, field.key, escape);
                out.push(b':');
            }
        }
        before = b',';
        match &field.value {
            Value::Text(text) => text_on(lanes, out, *text, escape),
            Value::Number(text) => append(out, text),
            value => write_value(out, value, escape),
        }
    }
}

#[inline(always)]
fn text_on<L: Lanes>(lanes: L, out: &mut Vec<u8>, text: Text<'_>, escape: Escape) {
    if text.plain {
        return append_quoted(out, text.bytes);
    }
    if append_clean(lanes, out, text.bytes) {
        return;
    }
    out.push(b'"');
    escape::write_on(lanes, out, text.bytes, escape);
    out.push(b'"');
}

/// False when no key stands twice; true when one does, or, of many fields, may. One bit per key of a set.
#[inline(always)]
pub fn may_repeat(fields: &[Field<'_>]) -> bool {
    /// Of so many fields, it is looked at.
    const KNOWN_MAX: usize = 32;
    let mut seen = [0u64; 2];
    for (n, field) in fields.iter().enumerate() {
        let ends = match field.key.bytes {
            [] => 0,
            [one] => u32::from(*one),
            [first, .., last] => u32::from(*first) | u32::from(*last) << 8,
        };
        let hash = (ends ^ (field.key.bytes.len() as u32) << 16).wrapping_mul(0x9e37_79b1);
        let (word, bit) = (&mut seen[(hash >> 31) as usize], 1 << (hash >> 25 & 63));
        // Of ten keys, two share a bit now and then.
        if *word & bit != 0 && (n >= KNOWN_MAX || stands_before(fields, n)) {
            return true;
        }
        *word |= bit;
    }
    false
}

#[inline(never)]
fn stands_before(fields: &[Field<'_>], n: usize) -> bool {
    fields[..n].iter().any(|field| field.key == fields[n].key)
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
pub fn write_text(out: &mut Vec<u8>, text: Text<'_>, escape: Escape) {
    on_tier!(tier(), fn run(out: &mut Vec<u8>, text: Text<'_>, escape: Escape) = text_on)
}
