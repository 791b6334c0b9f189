//! Records as LuaJIT's serializer (`string.buffer`) writes and reads them: one piece of bytes each way, which LuaJIT's
//! own code turns into tables and back.
//!
//! Owns: the format, and Fluent Bit's rules for what is an array, an integer, a key. Never: touches a Lua state.
//! Invariant: any bytes are read or refused, and what is made of them is a record.

use codecs::json;
use codecs::record::{Field, Fields, Text, Value};
use codecs::{Bump, BumpVec};

/// Numbers of the metatables that tell an array from a map, counted from 0.
const ARRAY: u32 = 0;
const MAP: u32 = 1;

/// Elements of an array that has holes; a table with a larger number among its keys cannot become an array.
const ARRAY_MAX: usize = 1 << 20;

/// Tables inside tables; LuaJIT itself writes no more.
const DEPTH_MAX: usize = 110;

/// What the filter's options say of types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Types {
    /// `type_int_key`.
    pub(super) int_keys: Vec<String>,
    /// `type_array_key`.
    pub(super) array_keys: Vec<String>,
    /// `enable_flb_null`: null is a value of its own; else a field that is null is not there.
    pub(super) null: bool,
}

impl Types {
    /// True when the key is named, or what is named begins with it, as Fluent Bit compares.
    fn names(keys: &[String], key: &[u8]) -> bool {
        keys.iter().any(|k| k.as_bytes().starts_with(key))
    }
}

/// A value with all maps and arrays opened.
pub(super) fn open<'a>(value: Value<'a>, arena: &'a Bump) -> Value<'a> {
    match json::expand(value, arena) {
        Value::Map(fields) if fields.iter().any(|f| is_nested(&f.value)) => {
            let fields = fields.iter().map(|f| Field::new(f.key, open(f.value, arena)));
            Value::Map(BumpVec::from_iter_in(fields, arena).into_bump_slice())
        }
        Value::Array(values) if values.iter().any(is_nested) => {
            let values = values.iter().map(|v| open(*v, arena));
            Value::Array(BumpVec::from_iter_in(values, arena).into_bump_slice())
        }
        value => value,
    }
}

fn is_nested(value: &Value<'_>) -> bool {
    matches!(value, Value::Json(_) | Value::Map(_) | Value::Array(_))
}

/// Appends a map. Of a repeated key the last value counts, as when each is set in turn.
pub(super) fn write_map(out: &mut Vec<u8>, fields: &[Field<'_>], types: &Types) {
    let repeated = json::may_repeat(fields);
    let counts = |(n, field): (usize, &Field<'_>)| {
        (types.null || field.value != Value::Null)
            && !(repeated && fields[n + 1..].iter().any(|later| later.key == field.key))
    };
    let count = fields.iter().enumerate().filter(|f| counts(*f)).count();
    out.extend_from_slice(&[0x0e, MAP as u8]);
    if count == 0 {
        return out.push(0x08);
    }
    out.push(0x09);
    put_u32(out, count as u32);
    for (n, field) in fields.iter().enumerate() {
        if counts((n, field)) {
            put_text(out, field.key.bytes);
            write_value(out, &field.value, types);
        }
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value<'_>, types: &Types) {
    match *value {
        Value::Null => out.push(if types.null { 0x03 } else { 0x00 }),
        Value::Bool(b) => out.push(0x01 + u8::from(b)),
        Value::Int(n) => put_int(out, n),
        Value::Float(x) => put_float(out, x),
        Value::Number(text) => put_number(out, text),
        Value::Text(text) => put_text(out, text.bytes),
        Value::Map(fields) => write_map(out, fields, types),
        Value::Array(values) => {
            out.extend_from_slice(&[0x0e, ARRAY as u8]);
            if values.is_empty() {
                return out.push(0x08);
            }
            out.push(0x0c);
            put_u32(out, values.len() as u32 + 1);
            values.iter().for_each(|v| write_value(out, v, types));
        }
        // Opened before; what could not be is text.
        Value::Json(text) => put_text(out, text),
    }
}

fn put_int(out: &mut Vec<u8>, n: i64) {
    match i32::try_from(n) {
        Ok(n) => {
            out.push(0x06);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Err(_) => put_float(out, n as f64),
    }
}

fn put_float(out: &mut Vec<u8>, x: f64) {
    out.push(0x07);
    out.extend_from_slice(&x.to_le_bytes());
}

fn put_number(out: &mut Vec<u8>, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap_or("0");
    // All Lua numbers are doubles.
    match text.parse::<i32>() {
        Ok(n) => put_int(out, i64::from(n)),
        Err(_) => put_float(out, text.parse().unwrap_or(0.0)),
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_u32(out, text.len() as u32 + 0x20);
    out.extend_from_slice(text);
}

/// A number in one, two or five bytes.
fn put_u32(out: &mut Vec<u8>, n: u32) {
    match n {
        0..=0xdf => out.push(n as u8),
        0xe0..=0x1fdf => {
            let n = n - 0xe0;
            out.extend_from_slice(&[0xe0 | (n >> 8) as u8, n as u8]);
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&n.to_le_bytes());
        }
    }
}

/// The records that came back: one map, or an array of them. `None` when it is anything else.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    types: &Types,
    arena: &'a Bump,
    mut take: impl FnMut(&'a [Field<'a>]),
) -> Option<()> {
    let mut reader = Reader { rest: bytes, arena, types };
    match reader.value(b"", false, 0)? {
        Value::Map(fields) => take(fields),
        Value::Array(values) => {
            let maps = values.iter().map(|v| if let Value::Map(fields) = v { Some(*fields) } else { None });
            let maps: Vec<&'a [Field<'a>]> = maps.collect::<Option<_>>()?;
            maps.into_iter().for_each(take);
        }
        _ => return None,
    }
    Some(())
}

/// The fields in the order of those that they were made of; new ones behind, as they come.
pub(super) fn in_order<'a>(made: &[Field<'a>], of: &[Field<'a>], arena: &'a Bump) -> Fields<'a> {
    let mut fields = Fields::with_capacity_in(made.len() + 4, arena);
    let mut left = BumpVec::from_iter_in(made.iter().map(Some), arena);
    for old in of {
        let found = left.iter_mut().find(|f| f.is_some_and(|f| f.key.bytes == old.key.bytes));
        if let Some(new) = found.and_then(Option::take) {
            let value = match (new.value, old.value) {
                (Value::Map(new), Value::Map(old)) => Value::Map(in_order(new, old, arena).into_bump_slice()),
                (value, _) => value,
            };
            fields.push(Field::new(Text { bytes: new.key.bytes, plain: old.key.plain }, value));
        }
    }
    fields.extend(left.into_iter().flatten().copied());
    fields
}

struct Reader<'a, 't> {
    rest: &'a [u8],
    arena: &'a Bump,
    types: &'t Types,
}

/// What a table is keyed by, once it is read.
struct Table<'a> {
    /// Values of 0, 1, …, or of 1, 2, …
    array: BumpVec<'a, Value<'a>>,
    first: usize,
    /// The others; a number that is a key too.
    hash: BumpVec<'a, (Field<'a>, Option<f64>)>,
}

impl<'a> Reader<'a, '_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        let first = self.byte()?;
        self.u32_from(first)
    }

    fn u32_from(&mut self, first: u8) -> Option<u32> {
        Some(match first {
            0..=0xdf => u32::from(first),
            0xff => u32::from_le_bytes(self.array()?),
            _ => (u32::from(first & 0x1f) << 8) + u32::from(self.byte()?) + 0xe0,
        })
    }

    /// A value; `key` is that of the field that it stands in.
    fn value(&mut self, key: &[u8], in_map: bool, depth: usize) -> Option<Value<'a>> {
        let tag = self.byte()?;
        Some(match tag {
            0x00 | 0x03 => Value::Null,
            0x01 => Value::Bool(false),
            0x02 => Value::Bool(true),
            0x06 => Value::Int(i64::from(i32::from_le_bytes(self.array()?))),
            0x07 => {
                let number = f64::from_le_bytes(self.array()?);
                self.number(number, key, in_map)
            }
            0x10 => Value::Int(i64::from_le_bytes(self.array()?)),
            0x11 => unsigned(u64::from_le_bytes(self.array()?), self.arena),
            0x08..=0x0d => self.table(tag, None, key, in_map, depth)?,
            0x0e => {
                let kind = self.u32()?;
                let tag = self.byte()?;
                self.table(tag, Some(kind), key, in_map, depth)?
            }
            0x20.. => Value::text(self.text(tag)?),
            // Other user data, complex numbers.
            _ => return None,
        })
    }

    /// Whole numbers are integers again; `type_int_key` cuts the others.
    fn number(&self, x: f64, key: &[u8], in_map: bool) -> Value<'a> {
        let whole = x as i64;
        if whole as f64 == x || (in_map && Types::names(&self.types.int_keys, key)) {
            Value::Int(whole)
        } else {
            Value::Float(x)
        }
    }

    fn text(&mut self, first: u8) -> Option<&'a [u8]> {
        let len = self.u32_from(first)?.checked_sub(0x20)?;
        let (text, rest) = self.rest.split_at_checked(len as usize)?;
        self.rest = rest;
        Some(text)
    }

    fn table(
        &mut self,
        tag: u8,
        kind: Option<u32>,
        key: &[u8],
        in_map: bool,
        depth: usize,
    ) -> Option<Value<'a>> {
        if depth > DEPTH_MAX {
            return None;
        }
        let table = self.keys_and_values(tag, depth)?;
        let wanted = in_map && Types::names(&self.types.array_keys, key);
        Some(match kind {
            Some(MAP) if !wanted => table.into_map(self.arena),
            Some(ARRAY) => table.into_list(self.arena),
            _ if wanted => table.into_list(self.arena),
            _ => match table.last_index()? {
                0 => table.into_map(self.arena),
                last => table.into_array(last, self.arena),
            },
        })
    }

    fn keys_and_values(&mut self, tag: u8, depth: usize) -> Option<Table<'a>> {
        let (mut array, mut hash) = (BumpVec::new_in(self.arena), BumpVec::new_in(self.arena));
        let first = usize::from(tag >= 0x0c);
        // Both counts stand before what they count.
        let listed = if tag >= 0x0a { (self.u32()? as usize).checked_sub(first)? } else { 0 };
        let hashed = if tag & 1 == 1 { self.u32()? } else { 0 };
        for _ in 0..listed {
            array.push(self.value(b"", false, depth + 1)?);
        }
        for _ in 0..hashed {
            let (key, number) = self.key()?;
            hash.push((Field::new(key, self.value(key.bytes, number.is_none(), depth + 1)?), number));
        }
        matches!(tag, 0x08..=0x0d).then_some(Table { array, first, hash })
    }

    /// A key as text, and as the number that it is.
    fn key(&mut self) -> Option<(Text<'a>, Option<f64>)> {
        let tag = self.byte()?;
        let number = match tag {
            0x20.. => return Some((Text::examined(self.text(tag)?), None)),
            0x01 => return Some((Text::plain(b"false"), None)),
            0x02 => return Some((Text::plain(b"true"), None)),
            0x06 => f64::from(i32::from_le_bytes(self.array()?)),
            0x07 => f64::from_le_bytes(self.array()?),
            _ => return None,
        };
        Some((number_text(number, self.arena), Some(number)))
    }
}

/// A number as a key.
fn number_text(number: f64, arena: &Bump) -> Text<'_> {
    let whole = number as i64;
    let text = if whole as f64 == number { whole.to_string() } else { number.to_string() };
    Text::plain(arena.alloc_str(&text).as_bytes())
}

fn unsigned(n: u64, arena: &Bump) -> Value<'_> {
    i64::try_from(n).map_or_else(|_| Value::Number(arena.alloc_str(&n.to_string()).as_bytes()), Value::Int)
}

impl<'a> Table<'a> {
    /// The largest number among the keys when that makes the table an array; 0 when it is a map. `None`: too large.
    fn last_index(&self) -> Option<usize> {
        let array = (self.first + self.array.len()).saturating_sub(1);
        let numbers = self.hash.iter().filter_map(|(_, number)| *number);
        let largest = numbers.fold(array as f64, f64::max);
        if largest.fract() != 0.0 {
            return Some(0);
        }
        (largest <= ARRAY_MAX as f64).then_some(largest as usize)
    }

    fn at(&self, index: usize) -> Option<Value<'a>> {
        let listed = index.checked_sub(self.first).and_then(|n| self.array.get(n)).copied();
        let hashed = || self.hash.iter().find(|(_, n)| *n == Some(index as f64)).map(|(f, _)| f.value);
        listed.or_else(hashed)
    }

    /// All values from 1 to `last`; holes are null.
    fn into_array(self, last: usize, arena: &'a Bump) -> Value<'a> {
        let values = (1..=last).map(|n| self.at(n).unwrap_or(Value::Null));
        Value::Array(BumpVec::from_iter_in(values, arena).into_bump_slice())
    }

    /// The values from 1 on without a hole: what `#` counts.
    fn into_list(self, arena: &'a Bump) -> Value<'a> {
        let mut last = (self.first + self.array.len()).saturating_sub(1);
        while self.hash.iter().any(|(_, n)| *n == Some(last as f64 + 1.0)) {
            last += 1;
        }
        self.into_array(last, arena)
    }

    fn into_map(self, arena: &'a Bump) -> Value<'a> {
        let (first, array) = (self.first, self.array);
        let listed = array.into_iter().enumerate().filter(|(_, v)| *v != Value::Null);
        let listed = listed.map(|(n, v)| Field::new(number_text((first + n) as f64, arena), v));
        let fields = BumpVec::from_iter_in(listed.chain(self.hash.into_iter().map(|(f, _)| f)), arena);
        Value::Map(fields.into_bump_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::json::Escape;
    use proptest::prelude::*;

    fn round(text: &str, types: &Types) -> Option<String> {
        let arena = Bump::new();
        let mut fields = Fields::new_in(&arena);
        json::parse_object(text.as_bytes(), &arena, &mut json::Scratch::default(), &mut fields).expect(text);
        let Value::Map(opened) = open(Value::Map(arena.alloc_slice_copy(&fields)), &arena) else {
            panic!("a map")
        };
        let mut bytes = Vec::new();
        write_map(&mut bytes, opened, types);
        let mut out = Vec::new();
        read(arena.alloc_slice_copy(&bytes), types, &arena, |made| {
            json::write_fields(&mut out, &in_order(made, opened, &arena), Escape::Ascii);
        })?;
        Some(String::from_utf8(out).expect("JSON"))
    }

    #[test]
    fn values_keep_their_kind() {
        let all = r#"{"s":"x\u00e9","i":-5,"big":12345678901,"f":1.5,"t":true,"e":[],"m":{},"l":[1,"2",[{"a":{}}]],"k":{"b":1,"a":[]}}"#;
        assert_eq!(round(all, &Types::default()).as_deref(), Some(all));
        for (input, want) in [
            (r#"{"a":5.0,"b":null,"c":1e2}"#, r#"{"a":5,"c":100}"#),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"a":1,"a":null}"#, "{}"),
            ("{}", "{}"),
        ] {
            assert_eq!(round(input, &Types::default()).as_deref(), Some(want), "{input}");
        }
        let types = Types { int_keys: vec!["size".into()], null: true, ..Types::default() };
        let input = r#"{"size":1.9,"si":2.9,"sizes":3.9,"n":null,"k":{"size":4.9},"l":[null]}"#;
        let want = r#"{"size":1,"si":2,"sizes":3.9,"n":null,"k":{"size":4},"l":[null]}"#;
        assert_eq!(round(input, &types).as_deref(), Some(want));
    }

    /// What LuaJIT writes of tables that no record was.
    #[test]
    fn tables_become_arrays_or_maps() {
        let read_all = |bytes: &[u8], types: &Types| {
            let arena = Bump::new();
            let mut out = Vec::new();
            read(arena.alloc_slice_copy(bytes), types, &arena, |made| {
                json::write_fields(&mut out, made, Escape::Ascii);
            })
            .map(|()| String::from_utf8(out).expect("JSON"))
        };
        let none = Types::default();
        // { a = { 1, 2 } }
        let list = b"\x09\x01\x21a\x0c\x03\x06\x01\0\0\0\x06\x02\0\0\0";
        assert_eq!(read_all(list, &none).as_deref(), Some(r#"{"a":[1,2]}"#));
        // { a = { [1] = true, [3] = false } } in its hash, then with a fraction among the keys
        let holes = b"\x09\x01\x21a\x09\x02\x06\x03\0\0\0\x01\x06\x01\0\0\0\x02";
        assert_eq!(read_all(holes, &none).as_deref(), Some(r#"{"a":[true,null,false]}"#));
        let fraction = b"\x09\x01\x21a\x09\x01\x07\0\0\0\0\0\0\xf8?\x01";
        assert_eq!(read_all(fraction, &none).as_deref(), Some(r#"{"a":{"1.5":false}}"#));
        // { a = { x = true, "y" } }
        let mixed = b"\x09\x01\x21a\x0d\x02\x01\x21y\x21x\x02";
        assert_eq!(read_all(mixed, &none).as_deref(), Some(r#"{"a":["y"]}"#));
        assert_eq!(
            read_all(b"\x0e\x01\x0d\x02\x01\x21y\x21x\x02", &none).as_deref(),
            Some(r#"{"1":"y","x":true}"#)
        );
        // { a = {} }
        let empty = b"\x09\x01\x21a\x08";
        assert_eq!(read_all(empty, &none).as_deref(), Some(r#"{"a":{}}"#));
        let types = Types { array_keys: vec!["a".into()], ..Types::default() };
        assert_eq!(read_all(empty, &types).as_deref(), Some(r#"{"a":[]}"#));
        // { {}, { a = nil } } is two records, { 1 } none, and a text none.
        assert_eq!(read_all(b"\x0c\x03\x08\x08", &none).as_deref(), Some("{}{}"));
        assert_eq!(read_all(b"\x0c\x02\x01", &none), None);
        assert_eq!(read_all(b"\x21a", &none), None);
        // A number among the keys that would make an array of four thousand million.
        assert_eq!(read_all(b"\x09\x01\x21a\x09\x01\x07\0\0\0\0\0\0\xf0A\x01", &none), None);
    }

    #[test]
    fn lengths_of_all_sizes() {
        for n in [0u32, 0xdf, 0xe0, 0x1fdf, 0x1fe0, u32::MAX] {
            let mut out = Vec::new();
            put_u32(&mut out, n);
            let arena = Bump::new();
            let mut reader =
                Reader { rest: arena.alloc_slice_copy(&out), arena: &arena, types: &Types::default() };
            assert_eq!((reader.u32(), reader.rest.len()), (Some(n), 0), "{n:#x}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let arena = Bump::new();
            let _ = read(arena.alloc_slice_copy(&bytes), &Types::default(), &arena, |_| ());
        }

        /// Tags and small numbers, so that most of it is nearly right.
        #[test]
        fn nearly_right_bytes_are_read_or_refused(bytes in prop::collection::vec(0u8..0x24, 0..40)) {
            let arena = Bump::new();
            let _ = read(arena.alloc_slice_copy(&bytes), &Types::default(), &arena, |_| ());
        }
    }
}
