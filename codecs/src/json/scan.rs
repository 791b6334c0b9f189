//! The span scanner: finds fields, leaves their bytes where they are.
//!
//! One pass over the text, string ends found by SIMD. A nested value is validated in the same pass and stays a raw
//! slice when it is canonical (see [`Value::Json`]); white space alone costs a copy, all else is opened: by simd-json's
//! tape from [`TAPE_BYTES_MIN`] on, by `open` here below that and where simd-json refuses what Fluent Bit takes.

use super::{DEPTH_MAX, Invalid, Memory, Opening, Scratch, escape, number};
use crate::record::{Field, Fields, Text, Value};
use crate::simd::{Lanes, on_tier};
use bumpalo::Bump;

/// A nested value of so many bytes is opened by simd-json: one block of its first stage. It takes 10 % fewer instructions
/// than our own opener at 125 bytes, 13 % at 1.2 KiB (`stage "tape 125 bytes" 4` and `stage "own 125 bytes" 4` under
/// callgrind, escapes and characters beyond ASCII in each entry). Below, the padding of the copy is more than the text.
const TAPE_BYTES_MIN: usize = 64;

/// Parses one JSON object and appends its fields. On an error `fields` is as it was.
///
/// White space around it is allowed. As in Fluent Bit, what follows the object is ignored unless it begins with
/// another JSON value: two values on a line are not a record.
pub fn parse_object<'a>(
    text: &'a [u8],
    arena: &'a Bump,
    scratch: &mut Scratch,
    fields: &mut Fields<'a>,
) -> Result<(), Invalid> {
    let before = fields.len();
    let result = on_tier!(scratch.tier, fn run<'a>(text: &'a [u8], arena: &'a Bump, opening: Opening, memory: &mut Memory, fields: &mut Fields<'a>) -> Result<usize, Invalid> = object_on; text, arena, scratch.opening, &mut scratch.memory, fields);
    let result = result.and_then(|end| trailing(text, end, arena, scratch));
    if result.is_err() {
        fields.truncate(before);
    }
    result
}

/// Refuses a second value behind the first.
fn trailing(text: &[u8], end: usize, arena: &Bump, scratch: &mut Scratch) -> Result<(), Invalid> {
    let rest = text[end..].trim_ascii_start();
    if rest.is_empty() {
        return Ok(());
    }
    match parse_prefix(rest, arena, scratch) {
        Ok(Some(_)) => Err(Invalid { at: text.len() - rest.len() }),
        _ if number::end(rest, 0) == Some(rest.len()) => Err(Invalid { at: text.len() - rest.len() }),
        _ => Ok(()),
    }
}

/// Parses one JSON value of any kind; only white space may stand around it.
pub fn parse_value<'a>(text: &'a [u8], arena: &'a Bump, scratch: &mut Scratch) -> Result<Value<'a>, Invalid> {
    let (value, end) = first_value(text, arena, scratch)?;
    match text[end..].trim_ascii_start() {
        [] => Ok(value),
        rest => Err(Invalid { at: text.len() - rest.len() }),
    }
}

/// The first JSON value of a stream and how many bytes it took, or `None` when the text ends before it does
/// (a number counts as ended only when something follows it).
pub fn parse_prefix<'a>(
    text: &'a [u8],
    arena: &'a Bump,
    scratch: &mut Scratch,
) -> Result<Option<(Value<'a>, usize)>, Invalid> {
    match first_value(text, arena, scratch) {
        Ok((Value::Number(_), end)) if end == text.len() => Ok(None),
        Ok(found) => Ok(Some(found)),
        Err(Invalid { at }) if at >= text.len() => Ok(None),
        Err(invalid) => Err(invalid),
    }
}

fn first_value<'a>(
    text: &'a [u8],
    arena: &'a Bump,
    scratch: &mut Scratch,
) -> Result<(Value<'a>, usize), Invalid> {
    on_tier!(scratch.tier, fn run<'a>(text: &'a [u8], arena: &'a Bump, opening: Opening, memory: &mut Memory) -> Result<(Value<'a>, usize), Invalid> = value_on; text, arena, scratch.opening, &mut scratch.memory)
}

/// The JSON object at the front of a stream, its fields appended, and how many bytes it took; `None` when the text ends
/// before it does. On anything but a whole object `fields` is as it was.
pub fn parse_object_prefix<'a>(
    text: &'a [u8],
    arena: &'a Bump,
    scratch: &mut Scratch,
    fields: &mut Fields<'a>,
) -> Result<Option<usize>, Invalid> {
    let before = fields.len();
    let result = on_tier!(scratch.tier, fn run<'a>(text: &'a [u8], arena: &'a Bump, opening: Opening, memory: &mut Memory, fields: &mut Fields<'a>) -> Result<usize, Invalid> = object_on; text, arena, scratch.opening, &mut scratch.memory, fields);
    match result {
        Ok(end) => Ok(Some(end)),
        Err(Invalid { at }) => {
            fields.truncate(before);
            if at >= text.len() { Ok(None) } else { Err(Invalid { at }) }
        }
    }
}

/// Opens a [`Value::Json`] one level (inner maps and arrays stay raw); any other value is returned as it is.
pub fn expand<'a>(value: Value<'a>, arena: &'a Bump) -> Value<'a> {
    let Value::Json(raw) = value else { return value };
    let mut scratch = Scratch::default();
    let opened = match raw.first() {
        Some(b'{') => {
            let mut fields = Fields::new_in(arena);
            parse_object(raw, arena, &mut scratch, &mut fields).map(|()| Value::Map(fields.into_bump_slice()))
        }
        _ => elements(raw, arena, &mut scratch),
    };
    opened.unwrap_or(value)
}

/// The elements of an array, one level deep.
fn elements<'a>(raw: &'a [u8], arena: &'a Bump, scratch: &mut Scratch) -> Result<Value<'a>, Invalid> {
    let mut values = bumpalo::collections::Vec::new_in(arena);
    let mut at = 1;
    while raw.get(at).is_some_and(|&b| b != b']') {
        let (value, used) = first_value(&raw[at..], arena, scratch)?;
        values.push(value);
        at += used;
        at += usize::from(raw.get(at) == Some(&b','));
    }
    Ok(Value::Array(values.into_bump_slice()))
}

#[inline(always)]
fn object_on<'a, L: Lanes>(
    lanes: L,
    text: &'a [u8],
    arena: &'a Bump,
    opening: Opening,
    memory: &mut Memory,
    fields: &mut Fields<'a>,
) -> Result<usize, Invalid> {
    let mut scanner = Scanner { lanes, text, arena, opening, memory };
    let at = scanner.space(0);
    match text.get(at) {
        Some(b'{') => scanner.object(at + 1, fields),
        _ => Err(Invalid { at }),
    }
}

#[inline(always)]
fn value_on<'a, L: Lanes>(
    lanes: L,
    text: &'a [u8],
    arena: &'a Bump,
    opening: Opening,
    memory: &mut Memory,
) -> Result<(Value<'a>, usize), Invalid> {
    let mut scanner = Scanner { lanes, text, arena, opening, memory };
    let at = scanner.space(0);
    scanner.value(at, 0)
}

struct Scanner<'a, 'k, L> {
    lanes: L,
    text: &'a [u8],
    arena: &'a Bump,
    opening: Opening,
    memory: &'k mut Memory,
}

/// What a string between quotes holds.
#[derive(Clone, Copy)]
struct Span {
    /// The closing quote.
    end: usize,
    /// Printable ASCII without escapes.
    plain: bool,
    /// At least one escape.
    escaped: bool,
    /// At least one escape or byte that the writer would not make just so.
    foreign: bool,
}

/// What a nested value needs before it can leave.
struct Nested {
    end: usize,
    /// White space between tokens.
    spaced: bool,
    /// Foreign escapes, bytes beyond printable ASCII, or a duplicate key.
    foreign: bool,
}

impl<'a, L: Lanes> Scanner<'a, '_, L> {
    /// First byte at or after `at` that is not white space.
    #[inline(always)]
    fn space(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(at) {
            at += 1;
        }
        at
    }

    /// The fields of an object whose brace is behind us; gives the offset behind the closing brace.
    #[inline(always)]
    fn object(&mut self, at: usize, fields: &mut Fields<'a>) -> Result<usize, Invalid> {
        let mut at = self.space(at);
        if self.text.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        for n in 0.. {
            let (key, next) = match self.memory.shape.key(n, self.text, at) {
                Some((key, next)) => (key, self.space(next)),
                None => self.new_key(n, at)?,
            };
            let (value, next) = self.value(next, 1)?;
            fields.push(Field::new(key, value));
            at = self.space(next);
            match self.text.get(at) {
                Some(b',') => at = self.space(at + 1),
                Some(b'}') => return Ok(at + 1),
                _ => break,
            }
        }
        Err(Invalid { at })
    }

    /// A key that did not stand there in the object before.
    #[inline(always)]
    fn new_key(&mut self, n: usize, at: usize) -> Result<(Text<'a>, usize), Invalid> {
        let (key, next) = self.key(at)?;
        // With escapes in it, or white space behind it, the colon stands elsewhere.
        if let Some(text) = self.text.get(at..at + key.bytes.len() + 3).filter(|text| text.ends_with(b"\":"))
        {
            self.memory.shape.note(n, text, key);
        }
        Ok((key, next))
    }

    /// A key and its colon; gives the offset of the value.
    #[inline(always)]
    fn key(&mut self, at: usize) -> Result<(Text<'a>, usize), Invalid> {
        if self.text.get(at) != Some(&b'"') {
            return Err(Invalid { at });
        }
        let (key, next) = self.string(at + 1)?;
        Ok((key, self.colon(next)?))
    }

    #[inline(always)]
    fn colon(&self, at: usize) -> Result<usize, Invalid> {
        let at = self.space(at);
        match self.text.get(at) {
            Some(b':') => Ok(self.space(at + 1)),
            _ => Err(Invalid { at }),
        }
    }

    /// A string whose opening quote is behind us.
    #[inline(always)]
    fn string(&mut self, start: usize) -> Result<(Text<'a>, usize), Invalid> {
        let span = self.span(start)?;
        let raw = &self.text[start..span.end];
        let text = match (span.plain, span.escaped) {
            (true, _) => Text::plain(raw),
            (_, false) => Text::new(raw),
            _ => Text::new(escape::decode(raw, self.arena).ok_or(Invalid { at: start })?),
        };
        Ok((text, span.end + 1))
    }

    /// Finds the closing quote.
    #[inline(always)]
    fn span(&self, start: usize) -> Result<Span, Invalid> {
        let end = self.lanes.first_special(self.text, start);
        if self.text.get(end) == Some(&b'"') {
            return Ok(Span { end, plain: true, escaped: false, foreign: false });
        }
        self.odd_span(end)
    }

    /// The rest of a string from its first byte that is special.
    #[inline(always)]
    fn odd_span(&self, mut at: usize) -> Result<Span, Invalid> {
        let mut span = Span { end: 0, plain: false, escaped: false, foreign: false };
        loop {
            match self.text.get(at) {
                None => return Err(Invalid { at }),
                Some(b'"') => return Ok(Span { end: at, ..span }),
                Some(b'\\') => {
                    // An escape that the text cuts off counts as the end of the text.
                    let cut = if at + 6 > self.text.len() { self.text.len() } else { at };
                    let next = escape::end(self.text, at + 1).ok_or(Invalid { at: cut })?;
                    span.foreign |= matches!(self.text[at + 1], b'u' | b'/');
                    span.escaped = true;
                    at = next;
                }
                Some(_) => {
                    span.foreign = true;
                    at += 1;
                }
            }
            let next = self.lanes.first_escape(self.text, at);
            span.foreign |= !self.text[at..next].is_ascii();
            at = next;
        }
    }

    /// A value at `depth` open brackets.
    #[inline(always)]
    fn value(&mut self, at: usize, depth: usize) -> Result<(Value<'a>, usize), Invalid> {
        match self.text.get(at) {
            Some(b'"') => self.string(at + 1).map(|(text, next)| (Value::Text(text), next)),
            Some(b'{' | b'[') => self.nested(at, depth),
            Some(b'-' | b'0'..=b'9') => {
                let end = number::end(self.text, at).ok_or(Invalid { at: self.cut(at) })?;
                Ok((Value::Number(&self.text[at..end]), end))
            }
            Some(b't') => self.word(at, b"true", Value::Bool(true)),
            Some(b'f') => self.word(at, b"false", Value::Bool(false)),
            Some(b'n') => self.word(at, b"null", Value::Null),
            _ => Err(Invalid { at }),
        }
    }

    /// Where a bad number shows: at the end of the text when the text may have cut it off.
    fn cut(&self, at: usize) -> usize {
        let cut = self.text[at..].iter().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        if cut { self.text.len() } else { at }
    }

    #[inline(always)]
    fn word(&self, at: usize, word: &[u8], value: Value<'a>) -> Result<(Value<'a>, usize), Invalid> {
        let rest = &self.text[at..];
        if rest.starts_with(word) {
            Ok((value, at + word.len()))
        } else if word.starts_with(rest) {
            Err(Invalid { at: self.text.len() })
        } else {
            Err(Invalid { at })
        }
    }

    /// A map or array as a value: raw, minified, or opened.
    #[inline(always)]
    fn nested(&mut self, at: usize, depth: usize) -> Result<(Value<'a>, usize), Invalid> {
        let nested = self.validate(at, depth)?;
        let raw = &self.text[at..nested.end];
        let value = match (nested.foreign, nested.spaced) {
            (false, false) => Value::Json(raw),
            (false, true) => Value::Json(minified(raw, self.arena)),
            (true, _) => self.open(raw),
        };
        Ok((value, nested.end))
    }

    /// A validated map or array, opened with all that is in it.
    #[inline(never)]
    fn open(&mut self, raw: &'a [u8]) -> Value<'a> {
        let tape = match self.opening {
            Opening::Quickest => raw.len() >= TAPE_BYTES_MIN,
            Opening::Tape => true,
            Opening::Own => false,
        };
        let opened = if tape { self.memory.tape.open(raw, self.arena) } else { None };
        opened.unwrap_or_else(|| open(raw, 0, self.arena).0)
    }

    /// Walks a map or array with all that is in it.
    #[inline(always)]
    fn validate(&mut self, start: usize, depth: usize) -> Result<Nested, Invalid> {
        let mut walk = Walk { frames: [0; DEPTH_MAX], maps: 0, depth: 0, room: DEPTH_MAX - depth };
        let mut found = Nested { end: 0, spaced: false, foreign: false };
        self.memory.keys.clear();
        let mut at = start;
        loop {
            // A value starts here.
            match self.text.get(at) {
                Some(&open @ (b'{' | b'[')) => {
                    walk.push(open == b'{', self.memory.keys.len()).ok_or(Invalid { at })?;
                    let next = self.gap(at + 1, &mut found);
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.text.get(next) != Some(&close) {
                        at = if open == b'{' { self.nested_key(next, &walk, &mut found)? } else { next };
                        continue;
                    }
                    at = next;
                }
                Some(b'"') => {
                    let span = self.span(at + 1)?;
                    found.foreign |= span.foreign;
                    at = span.end + 1;
                }
                _ => at = self.value(at, 0)?.1,
            }
            // A value ended here: close what closes, then find the next.
            loop {
                at = self.gap(at, &mut found);
                match (self.text.get(at), walk.in_map()) {
                    (Some(b','), map) => {
                        let next = self.gap(at + 1, &mut found);
                        at = if map { self.nested_key(next, &walk, &mut found)? } else { next };
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        at += 1;
                        self.memory.keys.truncate(walk.pop());
                        if walk.depth == 0 {
                            return Ok(Nested { end: at, ..found });
                        }
                    }
                    _ => return Err(Invalid { at }),
                }
            }
        }
    }

    /// White space inside a nested value, noted.
    #[inline(always)]
    fn gap(&self, at: usize, found: &mut Nested) -> usize {
        let next = self.space(at);
        found.spaced |= next != at;
        next
    }

    /// A key inside a nested map and its colon, compared with those before it in the same map.
    #[inline(always)]
    fn nested_key(&mut self, at: usize, walk: &Walk, found: &mut Nested) -> Result<usize, Invalid> {
        if self.text.get(at) != Some(&b'"') {
            return Err(Invalid { at });
        }
        let span = self.span(at + 1)?;
        let key = &self.text[at + 1..span.end];
        found.foreign |= span.foreign
            | self.memory.keys[walk.first_key()..]
                .iter()
                .any(|&(s, e)| &self.text[s as usize..e as usize] == key);
        self.memory.keys.push((at as u32 + 1, span.end as u32));
        let colon = self.gap(span.end + 1, found);
        match self.text.get(colon) {
            Some(b':') => Ok(self.gap(colon + 1, found)),
            _ => Err(Invalid { at: colon }),
        }
    }
}

/// The open brackets of a nested value.
struct Walk {
    /// For each, how many keys were known when it opened.
    frames: [u32; DEPTH_MAX],
    /// For each a bit: set for a map.
    maps: u64,
    depth: usize,
    /// How many may open.
    room: usize,
}

impl Walk {
    fn push(&mut self, map: bool, keys: usize) -> Option<()> {
        if self.depth >= self.room {
            return None;
        }
        self.frames[self.depth] = keys as u32;
        self.maps = self.maps << 1 | u64::from(map);
        self.depth += 1;
        Some(())
    }

    /// Closes the innermost bracket; gives how many keys were known before it.
    fn pop(&mut self) -> usize {
        self.maps >>= 1;
        self.depth -= 1;
        self.frames[self.depth] as usize
    }

    #[inline(always)]
    fn in_map(&self) -> bool {
        self.maps & 1 == 1
    }

    fn first_key(&self) -> usize {
        self.frames[self.depth - 1] as usize
    }
}

/// A copy of valid JSON text without the white space between its tokens.
fn minified<'a>(raw: &[u8], arena: &'a Bump) -> &'a [u8] {
    let mut out = bumpalo::collections::Vec::with_capacity_in(raw.len(), arena);
    let mut at = 0;
    while at < raw.len() {
        let start = at;
        at = match raw[at] {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'"' => closing_quote(raw, at + 1) + 1,
            _ => raw[at..]
                .iter()
                .position(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b'"'))
                .map_or(raw.len(), |n| at + n),
        };
        out.extend_from_slice_copy(&raw[start..at.min(raw.len())]);
    }
    out.into_bump_slice()
}

/// The quote that closes a valid string whose inside starts at `at`.
pub(super) fn closing_quote(raw: &[u8], mut at: usize) -> usize {
    while let Some(n) = memchr::memchr2(b'"', b'\\', &raw[at..]) {
        match raw[at + n] {
            b'"' => return at + n,
            _ => at = (at + n + 2).min(raw.len()),
        }
    }
    raw.len()
}

/// Opens a validated value with all that is in it; gives where it ends.
fn open<'a>(text: &'a [u8], at: usize, arena: &'a Bump) -> (Value<'a>, usize) {
    let skip = |at: usize| text.len() - text[at.min(text.len())..].trim_ascii_start().len();
    match text.get(at) {
        Some(b'{') => {
            let (mut fields, mut at) = (Fields::new_in(arena), skip(at + 1));
            while text.get(at) == Some(&b'"') {
                let (key, next) = open_string(text, at + 1, arena);
                let (value, next) = open(text, skip(skip(next) + 1), arena);
                fields.push(Field::new(key, value));
                at = skip(next);
                at = if text.get(at) == Some(&b',') { skip(at + 1) } else { at };
            }
            (Value::Map(fields.into_bump_slice()), at + 1)
        }
        Some(b'[') => {
            let (mut values, mut at) = (bumpalo::collections::Vec::new_in(arena), skip(at + 1));
            while text.get(at).is_some_and(|&b| b != b']') {
                let (value, next) = open(text, at, arena);
                values.push(value);
                at = skip(next.max(at + 1));
                at = if text.get(at) == Some(&b',') { skip(at + 1) } else { at };
            }
            (Value::Array(values.into_bump_slice()), at + 1)
        }
        Some(b'"') => {
            let (text, next) = open_string(text, at + 1, arena);
            (Value::Text(text), next)
        }
        Some(b't') => (Value::Bool(true), at + 4),
        Some(b'f') => (Value::Bool(false), at + 5),
        Some(b'n') => (Value::Null, at + 4),
        _ => {
            let end = number::end(text, at).unwrap_or(at);
            (Value::Number(&text[at..end]), end)
        }
    }
}

fn open_string<'a>(text: &'a [u8], at: usize, arena: &'a Bump) -> (Text<'a>, usize) {
    let end = closing_quote(text, at);
    let raw = &text[at..end];
    let decoded =
        if memchr::memchr(b'\\', raw).is_some() { escape::decode(raw, arena).unwrap_or(raw) } else { raw };
    (Text::new(decoded), end + 1)
}
