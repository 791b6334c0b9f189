//! Fields that must outlive their job: copied into owned bytes, and back into another job's arena.
//!
//! Owns: the byte form. Never: shows it to anyone else. Invariant: [`load`] reads only what [`store`] wrote; on
//! anything else it stops, it does not panic.

use crate::record::{Field, Fields, Text, Value};
use bumpalo::Bump;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const NUMBER: u8 = 5;
const PLAIN: u8 = 6;
const TEXT: u8 = 7;
const JSON: u8 = 8;
const MAP: u8 = 9;
const ARRAY: u8 = 10;
const CONTENT: u8 = 11;

/// Copies the fields; the value of the field number `content` is left out, [`load`] is given its successor.
pub(super) fn store(out: &mut Vec<u8>, fields: &[Field<'_>], content: usize) {
    put_len(out, fields.len());
    for (at, field) in fields.iter().enumerate() {
        put_text(out, field.key);
        if at == content { out.push(CONTENT) } else { put_value(out, &field.value) }
    }
}

/// Copies them back, with `content` where it belongs.
pub(super) fn load<'a>(stored: &[u8], content: Value<'a>, arena: &'a Bump) -> Fields<'a> {
    let mut reader = Reader { rest: arena.alloc_slice_copy(stored), arena, content };
    let count = reader.len().unwrap_or(0);
    let mut fields = Fields::with_capacity_in(count + 2, arena);
    for _ in 0..count {
        let Some(field) = reader.field() else { break };
        fields.push(field);
    }
    fields
}

/// Appends the fields as owned bytes, for a record that has to outlive its job's arena. [`load_next`] reads them back.
pub fn keep(out: &mut Vec<u8>, fields: &[Field<'_>]) {
    store(out, fields, usize::MAX);
}

/// The fields that [`keep`] wrote at the head of `stored`, as views into it, and what stands behind them. `None` when the
/// bytes are not such.
pub fn load_next<'a>(stored: &'a [u8], arena: &'a Bump) -> Option<(Fields<'a>, &'a [u8])> {
    let mut reader = Reader { rest: stored, arena, content: Value::Null };
    let count = reader.len()?;
    // A field takes nine bytes and more, so that damaged bytes cannot ask for much.
    let mut fields = Fields::with_capacity_in(count.min(stored.len() / 9) + 4, arena);
    for _ in 0..count {
        fields.push(reader.field()?);
    }
    Some((fields, reader.rest))
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_text(out: &mut Vec<u8>, text: Text<'_>) {
    put_bytes(out, if text.plain { PLAIN } else { TEXT }, text.bytes);
}

fn put_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(b) => out.push(if *b { TRUE } else { FALSE }),
        Value::Int(n) => {
            out.push(INT);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Value::Float(x) => {
            out.push(FLOAT);
            out.extend_from_slice(&x.to_bits().to_le_bytes());
        }
        Value::Number(bytes) => put_bytes(out, NUMBER, bytes),
        Value::Text(text) => put_text(out, *text),
        Value::Json(bytes) => put_bytes(out, JSON, bytes),
        Value::Map(fields) => {
            out.push(MAP);
            put_len(out, fields.len());
            for field in *fields {
                put_text(out, field.key);
                put_value(out, &field.value);
            }
        }
        Value::Array(values) => {
            out.push(ARRAY);
            put_len(out, values.len());
            values.iter().for_each(|v| put_value(out, v));
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    arena: &'a Bump,
    content: Value<'a>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn eight(&mut self) -> Option<[u8; 8]> {
        self.take(8)?.try_into().ok()
    }

    fn len(&mut self) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.eight()?)).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.len()?;
        self.take(len)
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let key = match self.take(1)? {
            [PLAIN] => Text::plain(self.bytes()?),
            _ => Text::new(self.bytes()?),
        };
        Some(Field::new(key, self.value()?))
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let tag = *self.take(1)?.first()?;
        Some(match tag {
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(i64::from_le_bytes(self.eight()?)),
            FLOAT => Value::Float(f64::from_bits(u64::from_le_bytes(self.eight()?))),
            NUMBER => Value::Number(self.bytes()?),
            PLAIN => Value::Text(Text::plain(self.bytes()?)),
            TEXT => Value::Text(Text::new(self.bytes()?)),
            JSON => Value::Json(self.bytes()?),
            MAP => {
                let count = self.len()?;
                let mut fields = bumpalo::collections::Vec::new_in(self.arena);
                for _ in 0..count {
                    fields.push(self.field()?);
                }
                Value::Map(fields.into_bump_slice())
            }
            ARRAY => {
                let count = self.len()?;
                let mut values = bumpalo::collections::Vec::new_in(self.arena);
                for _ in 0..count {
                    values.push(self.value()?);
                }
                Value::Array(values.into_bump_slice())
            }
            CONTENT => self.content,
            _ => Value::Null,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back() {
        let inner =
            [Field::new(Text::plain(b"k"), Value::Bool(true)), Field::new(Text::new(b"\xff"), Value::Null)];
        let array = [Value::Int(-3), Value::Map(&inner), Value::Float(-0.5), Value::Array(&[])];
        let fields = [
            Field::new(Text::plain(b"a"), Value::Array(&array)),
            Field::new(Text::plain(b"log"), Value::text(b"old")),
            Field::new(Text::plain(b"n"), Value::Number(b"1e5")),
            Field::new(Text::plain(b"j"), Value::Json(b"{\"x\":1}")),
            Field::new(Text::new("é".as_bytes()), Value::text(b"")),
        ];
        let mut stored = Vec::new();
        store(&mut stored, &fields, 1);
        let arena = Bump::new();
        let back = load(&stored, Value::text(b"new"), &arena);
        assert_eq!(back.len(), fields.len());
        for (at, (got, want)) in back.iter().zip(&fields).enumerate() {
            assert_eq!(got.key, want.key);
            assert_eq!(got.value, if at == 1 { Value::text(b"new") } else { want.value });
        }
        assert!(back[0].key.plain && !back[4].key.plain);
        for cut in 0..stored.len() {
            let _ = load(&stored[..cut], Value::Null, &arena);
            assert!(load_next(&stored[..cut], &arena).is_none());
        }
        let mut two = Vec::new();
        keep(&mut two, &fields);
        keep(&mut two, &fields[..2]);
        let (first, rest) = load_next(&two, &arena).expect("it was kept");
        let (second, rest) = load_next(rest, &arena).expect("it was kept");
        assert_eq!((&first[..], &second[..], rest.len()), (&fields[..], &fields[..2], 0));
    }
}
