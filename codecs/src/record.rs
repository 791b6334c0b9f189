//! Records: a time and ordered fields, as views into a job's block and arena.
//!
//! Invariant: a record never outlives its job; everything in it borrows for `'a`, which ends when the
//! arena is reset.

use bumpalo::Bump;

/// Seconds and nanoseconds since the Unix epoch. `nanos` is always below 1,000,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Timestamp {
    /// Milliseconds since the epoch, rounded down.
    pub fn millis(self) -> i64 {
        self.secs.saturating_mul(1000).saturating_add(i64::from(self.nanos / 1_000_000))
    }
}

/// Text as bytes. `plain` promises printable ASCII without `"` and `\`, so that its JSON form is itself
/// between quotes. When `plain` is false nothing is known: it may hold anything, also invalid UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The decoded bytes.
    pub bytes: &'a [u8],
    /// True when no byte needs escaping in JSON.
    pub plain: bool,
}

impl<'a> Text<'a> {
    /// Text about which nothing is known.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Text { bytes, plain: false }
    }

    /// Text that is looked at once, for what is written many times (a key of the configuration).
    pub fn examined(bytes: &'a [u8]) -> Self {
        Text { bytes, plain: bytes.iter().all(|&b| crate::simd::is_plain(b)) }
    }

    /// Text that its author knows to need no escaping.
    pub const fn plain(bytes: &'a [u8]) -> Self {
        Text { bytes, plain: true }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Text<'_> {}

/// One value of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// JSON null.
    Null,
    /// JSON true or false.
    Bool(bool),
    /// An integer made by us (`Types`, a counter).
    Int(i64),
    /// A float made by us; prints the shortest form that reads back equal.
    Float(f64),
    /// A JSON number as it was written; always valid JSON number text.
    Number(&'a [u8]),
    /// A string, decoded.
    Text(Text<'a>),
    /// A JSON map or array in canonical form: valid, no white space between tokens, no backslash, only
    /// printable ASCII, no duplicate key. Its bytes are its JSON form. [`crate::json::expand`] opens it.
    Json(&'a [u8]),
    /// A map, opened.
    Map(&'a [Field<'a>]),
    /// An array, opened.
    Array(&'a [Value<'a>]),
}

impl<'a> Value<'a> {
    /// A string value about which nothing is known.
    pub const fn text(bytes: &'a [u8]) -> Self {
        Value::Text(Text::new(bytes))
    }

    /// The decoded bytes when this is a string.
    pub fn as_text(&self) -> Option<&'a [u8]> {
        match self {
            Value::Text(t) => Some(t.bytes),
            _ => None,
        }
    }
}

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Decoded key.
    pub key: Text<'a>,
    /// Its value.
    pub value: Value<'a>,
}

impl<'a> Field<'a> {
    /// A field.
    pub const fn new(key: Text<'a>, value: Value<'a>) -> Self {
        Field { key, value }
    }
}

/// The fields of a record, in order; a key may stand twice, as in Fluent Bit.
pub type Fields<'a> = bumpalo::collections::Vec<'a, Field<'a>>;

/// A record on its way through a job.
#[derive(Debug)]
pub struct Record<'a> {
    /// The record's time.
    pub time: Timestamp,
    /// Its fields.
    pub fields: Fields<'a>,
}

impl<'a> Record<'a> {
    /// An empty record.
    pub fn new_in(arena: &'a Bump, time: Timestamp) -> Self {
        Record { time, fields: Fields::with_capacity_in(16, arena) }
    }

    /// The first value of the top-level key.
    pub fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        self.fields.iter().find(|f| f.key.bytes == key).map(|f| &f.value)
    }
}
