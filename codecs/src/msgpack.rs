//! MessagePack: events to bytes, bytes to values.
//!
//! Owns: Fluent Bit's event form, and a reader that trusts nothing. Never: panics on any input, nests deeper than
//! [`DEPTH_MAX`], reserves memory by what a length field claims.

use crate::json::expand;
use crate::record::{Field, Fields, Record, Text, Timestamp, Value};
use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

/// How deep maps and arrays may nest; what lies deeper is refused by the reader and written as nil.
pub const DEPTH_MAX: usize = 128;

/// Appends an event as Fluent Bit keeps and sends it: `[[time, {}], fields]`, the time as extension type 0.
/// `arena` holds what has to be opened on the way.
pub fn write_event(out: &mut Vec<u8>, record: &Record<'_>, arena: &Bump) {
    out.extend_from_slice(&[0x92, 0x92]);
    write_event_time(out, record.time);
    out.push(0x80);
    write_fields(out, &record.fields, arena);
}

/// Appends an event time: extension type 0 with 32 bits of seconds and 32 bits of nanoseconds.
pub fn write_event_time(out: &mut Vec<u8>, time: Timestamp) {
    out.extend_from_slice(&[0xd7, 0x00]);
    out.extend_from_slice(&(time.secs as u32).to_be_bytes());
    out.extend_from_slice(&time.nanos.to_be_bytes());
}

/// Appends a map.
pub fn write_fields(out: &mut Vec<u8>, fields: &[Field<'_>], arena: &Bump) {
    write_fields_at(out, fields, arena, 0);
}

/// Appends a value. Numbers become the shortest integer form that holds them, else a double.
pub fn write_value(out: &mut Vec<u8>, value: &Value<'_>, arena: &Bump) {
    write_value_at(out, value, arena, 0);
}

fn write_fields_at(out: &mut Vec<u8>, fields: &[Field<'_>], arena: &Bump, depth: usize) {
    write_map_header(out, fields.len());
    for field in fields {
        write_str(out, field.key.bytes);
        write_value_at(out, &field.value, arena, depth + 1);
    }
}

fn write_value_at(out: &mut Vec<u8>, value: &Value<'_>, arena: &Bump, depth: usize) {
    match *value {
        Value::Bool(false) => out.push(0xc2),
        Value::Bool(true) => out.push(0xc3),
        Value::Int(number) => write_int(out, number),
        Value::Float(number) => write_float(out, number),
        Value::Number(text) => write_number(out, text),
        Value::Text(text) => write_str(out, text.bytes),
        Value::Json(_) => match expand(*value, arena) {
            // What cannot be opened still leaves, as its text.
            Value::Json(raw) => write_str(out, raw),
            opened => write_value_at(out, &opened, arena, depth),
        },
        Value::Map(fields) if depth < DEPTH_MAX => write_fields_at(out, fields, arena, depth),
        Value::Array(values) if depth < DEPTH_MAX => {
            write_array_header(out, values.len());
            for value in values {
                write_value_at(out, value, arena, depth + 1);
            }
        }
        Value::Null | Value::Map(_) | Value::Array(_) => out.push(0xc0),
    }
}

/// Appends the header of an array of `count` values.
pub fn write_array_header(out: &mut Vec<u8>, count: usize) {
    match count {
        0..=15 => out.push(0x90 | count as u8),
        16..=0xffff => push_sized(out, 0xdc, &(count as u16).to_be_bytes()),
        _ => push_sized(out, 0xdd, &(count as u32).to_be_bytes()),
    }
}

/// Appends the header of a map of `count` pairs.
pub fn write_map_header(out: &mut Vec<u8>, count: usize) {
    match count {
        0..=15 => out.push(0x80 | count as u8),
        16..=0xffff => push_sized(out, 0xde, &(count as u16).to_be_bytes()),
        _ => push_sized(out, 0xdf, &(count as u32).to_be_bytes()),
    }
}

/// Appends a string.
pub fn write_str(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => push_sized(out, 0xd9, &[length as u8]),
        length @ 0x100..=0xffff => push_sized(out, 0xda, &(length as u16).to_be_bytes()),
        length => push_sized(out, 0xdb, &(length as u32).to_be_bytes()),
    }
    out.extend_from_slice(text);
}

/// Appends an integer in its shortest form.
pub fn write_int(out: &mut Vec<u8>, number: i64) {
    match number {
        0.. => write_uint(out, number as u64),
        -32..0 => out.push(number as i8 as u8),
        -0x80..-32 => push_sized(out, 0xd0, &(number as i8).to_be_bytes()),
        -0x8000..-0x80 => push_sized(out, 0xd1, &(number as i16).to_be_bytes()),
        -0x8000_0000..-0x8000 => push_sized(out, 0xd2, &(number as i32).to_be_bytes()),
        _ => push_sized(out, 0xd3, &number.to_be_bytes()),
    }
}

/// Appends a number that is not negative in its shortest form.
pub fn write_uint(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xff => push_sized(out, 0xcc, &[number as u8]),
        0x100..=0xffff => push_sized(out, 0xcd, &(number as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => push_sized(out, 0xce, &(number as u32).to_be_bytes()),
        _ => push_sized(out, 0xcf, &number.to_be_bytes()),
    }
}

fn write_float(out: &mut Vec<u8>, number: f64) {
    push_sized(out, 0xcb, &number.to_be_bytes());
}

/// A JSON number: an integer where it is written as one and fits 64 bits, else a double.
fn write_number(out: &mut Vec<u8>, text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return out.push(0xc0) };
    if let Ok(number) = text.parse::<i64>() {
        write_int(out, number);
    } else if let Ok(number) = text.parse::<u64>() {
        write_uint(out, number);
    } else {
        write_float(out, text.parse().unwrap_or(0.0));
    }
}

fn push_sized(out: &mut Vec<u8>, head: u8, rest: &[u8]) {
    out.push(head);
    out.extend_from_slice(rest);
}

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The value does not end within the bytes; more of them may help.
    Incomplete,
    /// It is not MessagePack, or not what was asked for; `at` is where that showed.
    Invalid {
        /// Offset in the bytes.
        at: usize,
    },
}

/// An event that was read: its time, metadata and fields.
#[derive(Debug)]
pub struct Event<'a> {
    /// When.
    pub time: Timestamp,
    /// What stands beside the time in the second version of the form; empty in the first.
    pub metadata: &'a [Field<'a>],
    /// The fields.
    pub fields: Fields<'a>,
}

/// Reads values one after the other; they borrow from the bytes and the arena.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What the first byte of a value says, with the lengths read.
enum Head<'a> {
    Value(Value<'a>),
    Array(usize),
    Map(usize),
    Ext(i8, &'a [u8]),
}

impl<'a> Reader<'a> {
    /// A reader that begins with the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// How many bytes were read as whole values.
    pub fn position(&self) -> usize {
        self.at
    }

    /// True when nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Reads one value of any kind. Binary data and extensions become text, integers beyond 64 signed bits keep
    /// their digits. On an error the position is as it was.
    pub fn value(&mut self, arena: &'a Bump) -> Result<Value<'a>, Unreadable> {
        self.whole(|reader| reader.value_at(arena, 0))
    }

    /// Reads the header of an array: how many values follow.
    pub fn array(&mut self, arena: &'a Bump) -> Result<usize, Unreadable> {
        self.whole(|reader| {
            let at = reader.at;
            match reader.head(arena)? {
                Head::Array(count) => Ok(count),
                _ => Err(Unreadable::Invalid { at }),
            }
        })
    }

    /// Reads one event, `[time, fields]` or `[[time, metadata], fields]`.
    pub fn event(&mut self, arena: &'a Bump) -> Result<Event<'a>, Unreadable> {
        self.whole(|reader| {
            let at = reader.at;
            let invalid = Unreadable::Invalid { at };
            let Head::Array(2) = reader.head(arena)? else { return Err(invalid) };
            let before = reader.at;
            let (time, metadata) = match reader.head(arena)? {
                Head::Array(2) => {
                    let time = reader.time(arena)?;
                    let Value::Map(metadata) = reader.value_at(arena, 2)? else { return Err(invalid) };
                    (time, metadata)
                }
                _ => {
                    reader.at = before;
                    (reader.time(arena)?, &[][..])
                }
            };
            let Value::Map(map) = reader.value_at(arena, 1)? else { return Err(invalid) };
            let mut fields = Fields::with_capacity_in(map.len(), arena);
            fields.extend_from_slice_copy(map);
            Ok(Event { time, metadata, fields })
        })
    }

    /// Reads a time: an event time, seconds, or seconds with a fraction.
    pub fn time(&mut self, arena: &'a Bump) -> Result<Timestamp, Unreadable> {
        let at = self.at;
        let invalid = Unreadable::Invalid { at };
        match self.head(arena)? {
            Head::Ext(0, body) => {
                let body: [u8; 8] = body.try_into().map_err(|_| invalid)?;
                let [a, b, c, d, e, f, g, h] = body;
                let nanos = u32::from_be_bytes([e, f, g, h]);
                let secs = i64::from(u32::from_be_bytes([a, b, c, d])) + i64::from(nanos / 1_000_000_000);
                Ok(Timestamp { secs, nanos: nanos % 1_000_000_000 })
            }
            Head::Value(Value::Int(secs)) => Ok(Timestamp { secs, nanos: 0 }),
            Head::Value(Value::Float(seconds)) if seconds.is_finite() => {
                let secs = seconds.floor();
                let nanos = (((seconds - secs) * 1e9) as u32).min(999_999_999);
                Ok(Timestamp { secs: secs as i64, nanos })
            }
            _ => Err(invalid),
        }
    }

    fn whole<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Unreadable>) -> Result<T, Unreadable> {
        let before = self.at;
        let result = read(self);
        if result.is_err() {
            self.at = before;
        }
        result
    }

    fn value_at(&mut self, arena: &'a Bump, depth: usize) -> Result<Value<'a>, Unreadable> {
        let at = self.at;
        match self.head(arena)? {
            Head::Value(value) => Ok(value),
            Head::Ext(_, body) => Ok(Value::text(body)),
            Head::Array(_) | Head::Map(_) if depth >= DEPTH_MAX => Err(Unreadable::Invalid { at }),
            Head::Array(count) => {
                let mut values = ArenaVec::with_capacity_in(self.believable(count), arena);
                for _ in 0..count {
                    values.push(self.value_at(arena, depth + 1)?);
                }
                Ok(Value::Array(values.into_bump_slice()))
            }
            Head::Map(count) => {
                let mut fields = ArenaVec::with_capacity_in(self.believable(count), arena);
                for _ in 0..count {
                    let key = self.key(arena)?;
                    fields.push(Field::new(key, self.value_at(arena, depth + 1)?));
                }
                Ok(Value::Map(fields.into_bump_slice()))
            }
        }
    }

    /// How many of `count` values to reserve room for: each takes a byte at least, and room grows when needed.
    fn believable(&self, count: usize) -> usize {
        count.min(self.bytes.len() - self.at).min(64)
    }

    /// Reads a key; what is not text becomes its digits or name.
    fn key(&mut self, arena: &'a Bump) -> Result<Text<'a>, Unreadable> {
        let at = self.at;
        match self.head(arena)? {
            Head::Value(Value::Text(text)) => Ok(text),
            Head::Value(Value::Number(text)) => Ok(Text::new(text)),
            Head::Value(Value::Int(number)) => {
                Ok(Text::new(arena.alloc_slice_copy(itoa::Buffer::new().format(number).as_bytes())))
            }
            Head::Value(Value::Bool(true)) => Ok(Text::new(b"true")),
            Head::Value(Value::Bool(false)) => Ok(Text::new(b"false")),
            Head::Value(Value::Null) => Ok(Text::new(b"nil")),
            Head::Ext(_, body) => Ok(Text::new(body)),
            _ => Err(Unreadable::Invalid { at }),
        }
    }

    fn head(&mut self, arena: &'a Bump) -> Result<Head<'a>, Unreadable> {
        let at = self.at;
        let [first] = self.take::<1>()?;
        let value = match first {
            0x00..=0x7f => Value::Int(i64::from(first)),
            0xe0..=0xff => Value::Int(i64::from(first as i8)),
            0x80..=0x8f => return Ok(Head::Map(usize::from(first & 0x0f))),
            0x90..=0x9f => return Ok(Head::Array(usize::from(first & 0x0f))),
            0xa0..=0xbf => Value::text(self.slice(usize::from(first & 0x1f))?),
            0xc0 => Value::Null,
            0xc1 => return Err(Unreadable::Invalid { at }),
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4 | 0xd9 => self.sized(1).map(Value::text)?,
            0xc5 | 0xda => self.sized(2).map(Value::text)?,
            0xc6 | 0xdb => self.sized(4).map(Value::text)?,
            0xc7..=0xc9 => return self.ext(1 << (first - 0xc7)),
            0xd4..=0xd8 => {
                let [kind] = self.take::<1>()?;
                return Ok(Head::Ext(kind as i8, self.slice(1 << (first - 0xd4))?));
            }
            0xca => Value::Float(f64::from(f32::from_be_bytes(self.take()?))),
            0xcb => Value::Float(f64::from_be_bytes(self.take()?)),
            0xcc => Value::Int(i64::from(u8::from_be_bytes(self.take()?))),
            0xcd => Value::Int(i64::from(u16::from_be_bytes(self.take()?))),
            0xce => Value::Int(i64::from(u32::from_be_bytes(self.take()?))),
            0xcf => big(u64::from_be_bytes(self.take()?), arena),
            0xd0 => Value::Int(i64::from(i8::from_be_bytes(self.take()?))),
            0xd1 => Value::Int(i64::from(i16::from_be_bytes(self.take()?))),
            0xd2 => Value::Int(i64::from(i32::from_be_bytes(self.take()?))),
            0xd3 => Value::Int(i64::from_be_bytes(self.take()?)),
            0xdc => return Ok(Head::Array(self.length(2)?)),
            0xdd => return Ok(Head::Array(self.length(4)?)),
            0xde => return Ok(Head::Map(self.length(2)?)),
            0xdf => return Ok(Head::Map(self.length(4)?)),
        };
        Ok(Head::Value(value))
    }

    /// An extension whose length takes `width` bytes.
    fn ext(&mut self, width: usize) -> Result<Head<'a>, Unreadable> {
        let length = self.length(width)?;
        let [kind] = self.take::<1>()?;
        Ok(Head::Ext(kind as i8, self.slice(length)?))
    }

    fn sized(&mut self, width: usize) -> Result<&'a [u8], Unreadable> {
        let length = self.length(width)?;
        self.slice(length)
    }

    /// A length of `width` bytes, big end first.
    fn length(&mut self, width: usize) -> Result<usize, Unreadable> {
        Ok(self.slice(width)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let end = self.at.checked_add(length).ok_or(Unreadable::Incomplete)?;
        let slice = self.bytes.get(self.at..end).ok_or(Unreadable::Incomplete)?;
        self.at = end;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.slice(N)?.try_into().map_err(|_| Unreadable::Incomplete)
    }
}

/// Steps over the head of the value at `at`, and over its text or number: where the next value begins, and how many
/// values belong to it (a map's pairs are two each). The inner error is how many bytes there must be to say so.
pub fn skim(bytes: &[u8], at: usize) -> Result<Result<(usize, u64), usize>, Unreadable> {
    let Some(&first) = bytes.get(at) else { return Ok(Err(at.saturating_add(1))) };
    // Bytes of a length or count behind the head, and what is behind those.
    let (width, body) = match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => return Ok(Ok((at + 1, 0))),
        0x80..=0x8f => return Ok(Ok((at + 1, 2 * u64::from(first & 0x0f)))),
        0x90..=0x9f => return Ok(Ok((at + 1, u64::from(first & 0x0f)))),
        0xc1 => return Err(Unreadable::Invalid { at }),
        0xa0..=0xbf => (0, usize::from(first & 0x1f)),
        0xcc | 0xd0 => (0, 1),
        0xcd | 0xd1 | 0xd4 => (0, 2),
        0xca | 0xce | 0xd2 => (0, 4),
        0xcb | 0xcf | 0xd3 => (0, 8),
        0xd5..=0xd8 => (0, 1 + (1 << (first - 0xd4))),
        0xc4 | 0xd9 => (1, 0),
        0xc5 | 0xda | 0xdc | 0xde => (2, 0),
        0xc6 | 0xdb | 0xdd | 0xdf => (4, 0),
        // Behind the length of an extension stands its type.
        0xc7..=0xc9 => (1 << (first - 0xc7), 1),
    };
    let head = at + 1 + width;
    let Some(length) = bytes.get(at + 1..head) else { return Ok(Err(head + body)) };
    let length = length.iter().fold(0u64, |length, byte| length << 8 | u64::from(*byte));
    match first {
        0xdc | 0xdd => return Ok(Ok((head, length))),
        0xde | 0xdf => return Ok(Ok((head, 2 * length))),
        _ => {}
    }
    let end = usize::try_from(length).ok().and_then(|n| head.checked_add(n)?.checked_add(body));
    let end = end.ok_or(Unreadable::Invalid { at })?;
    Ok(if end <= bytes.len() { Ok((end, 0)) } else { Err(end) })
}

/// An integer that may be beyond 64 signed bits: its digits say more than a float could.
fn big<'a>(number: u64, arena: &'a Bump) -> Value<'a> {
    match i64::try_from(number) {
        Ok(number) => Value::Int(number),
        Err(_) => Value::Number(arena.alloc_slice_copy(itoa::Buffer::new().format(number).as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An owned value to make arena values from.
    #[derive(Clone, Debug)]
    enum Model {
        Null,
        Bool(bool),
        Int(i64),
        Float(f64),
        Text(Vec<u8>),
        Array(Vec<Model>),
        Map(Vec<(Vec<u8>, Model)>),
    }

    fn model() -> impl Strategy<Value = Model> {
        let leaf = prop_oneof![
            Just(Model::Null),
            any::<bool>().prop_map(Model::Bool),
            any::<i64>().prop_map(Model::Int),
            (-70_000i64..70_000).prop_map(Model::Int),
            (-1e300..1e300f64).prop_map(Model::Float),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Model::Text),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Model::Array),
                proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), inner), 0..20)
                    .prop_map(Model::Map),
            ]
        })
    }

    fn value<'a>(model: &Model, arena: &'a Bump) -> Value<'a> {
        match model {
            Model::Null => Value::Null,
            Model::Bool(b) => Value::Bool(*b),
            Model::Int(i) => Value::Int(*i),
            Model::Float(f) => Value::Float(*f),
            Model::Text(t) => Value::text(arena.alloc_slice_copy(t)),
            Model::Array(values) => {
                let values: Vec<Value<'a>> = values.iter().map(|m| value(m, arena)).collect();
                Value::Array(arena.alloc_slice_copy(&values))
            }
            Model::Map(fields) => {
                let field = |(k, m): &(Vec<u8>, Model)| {
                    Field::new(Text::new(arena.alloc_slice_copy(k)), value(m, arena))
                };
                let fields: Vec<Field<'a>> = fields.iter().map(field).collect();
                Value::Map(arena.alloc_slice_copy(&fields))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_reads_back_and_any_cut_is_incomplete(model in model()) {
            let arena = Bump::new();
            let written = value(&model, &arena);
            let mut bytes = Vec::new();
            write_value(&mut bytes, &written, &arena);
            let bytes: &[u8] = arena.alloc_slice_copy(&bytes);
            let mut reader = Reader::new(bytes);
            prop_assert_eq!(reader.value(&arena), Ok(written));
            prop_assert!(reader.is_empty());
            let step = (bytes.len() / 200).max(1);
            for cut in (0..bytes.len()).step_by(step) {
                let mut reader = Reader::new(&bytes[..cut]);
                prop_assert_eq!(reader.value(&arena), Err(Unreadable::Incomplete), "cut at {}", cut);
                prop_assert_eq!(reader.position(), 0);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let arena = Bump::new();
            let bytes: &[u8] = arena.alloc_slice_copy(&bytes);
            let _ = Reader::new(bytes).value(&arena);
            let _ = Reader::new(bytes).event(&arena);
        }
    }

    #[test]
    fn numbers_take_the_least_room() {
        for (text, bytes) in [
            ("0", &[0x00][..]),
            ("127", &[0x7f]),
            ("128", &[0xcc, 0x80]),
            ("65535", &[0xcd, 0xff, 0xff]),
            ("65536", &[0xce, 0, 1, 0, 0]),
            ("-32", &[0xe0]),
            ("-33", &[0xd0, 0xdf]),
            ("-129", &[0xd1, 0xff, 0x7f]),
            ("18446744073709551615", &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255]),
            ("1.5", &[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]),
            ("18446744073709551616", &[0xcb, 0x43, 0xf0, 0, 0, 0, 0, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_value(&mut out, &Value::Number(text.as_bytes()), &Bump::new());
            assert_eq!(out, bytes, "{text}");
        }
    }

    #[test]
    fn events_of_both_versions_are_read() {
        let arena = Bump::new();
        let mut record = Record::new_in(&arena, Timestamp { secs: 1_700_000_000, nanos: 123_000_000 });
        record.fields.push(Field::new(Text::new(b"a"), Value::Int(1)));
        let mut bytes = Vec::new();
        write_event(&mut bytes, &record, &arena);
        assert_eq!(bytes, b"\x92\x92\xd7\x00\x65\x53\xf1\x00\x07\x54\xd4\xc0\x80\x81\xa1a\x01");
        let second = Reader::new(&bytes).event(&arena).expect("an event");
        assert_eq!(
            (second.time, &second.fields[..], second.metadata),
            (record.time, &record.fields[..], &[][..])
        );
        let first = Reader::new(b"\x92\xce\x65\x53\xf1\x00\x81\xa1a\x01").event(&arena).expect("an event");
        assert_eq!(
            (first.time, &first.fields[..]),
            (Timestamp { secs: 1_700_000_000, nanos: 0 }, &record.fields[..])
        );
    }

    #[test]
    fn deep_nesting_is_refused() {
        let arena = Bump::new();
        let deep = vec![0x91; 100_000];
        assert_eq!(Reader::new(&deep).value(&arena), Err(Unreadable::Invalid { at: DEPTH_MAX }));
        let claim = [0xdd, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Reader::new(&claim).value(&arena), Err(Unreadable::Incomplete));
    }
}
