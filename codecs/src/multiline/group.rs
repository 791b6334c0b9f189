//! One record in the making: the lines of it that have come so far.
//!
//! Owns: joined content, the first line's fields, the state that the rules are in. Never: holds more than the limit
//! and one line. Invariant: what is held leaves exactly once, in a record.

use super::rules::{RuleId, Rules};
use super::stash;
use crate::record::{Field, Fields, Record, Text, Timestamp, Value};
use bumpalo::Bump;

/// What a buffer keeps of its memory between records.
const BUFFER_KEEP_BYTES: usize = 64 << 10;

/// Key of content that has no other.
const DEFAULT_KEY: &[u8] = b"log";

/// A line on its way into a group.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Its fields, where a parser made some of it; else the line is text.
    pub(super) fields: Option<Fields<'a>>,
    /// Number of the field that holds the content; of no meaning without fields.
    pub(super) at: usize,
    /// What is joined.
    pub(super) content: &'a [u8],
    /// What says whether the record is whole, if it is not the content.
    pub(super) pattern: Option<&'a [u8]>,
    /// Its time.
    pub(super) time: Timestamp,
    /// The caller's mark for it.
    pub(super) mark: u64,
}

/// Where records go, and what they are made of.
pub(super) struct Out<'a, 'e> {
    pub(super) arena: &'a Bump,
    /// Key of the content; without one, content stands under `log` and ends with a line feed.
    pub(super) key: Option<&'e [u8]>,
    /// Bytes of content of a group; zero: no limit.
    pub(super) limit: usize,
    /// Counts records that were cut at the limit.
    pub(super) cut: &'e mut u64,
    pub(super) emit: &'e mut dyn FnMut(Record<'a>),
}

impl<'a> Out<'a, '_> {
    /// Emits text that makes a record alone. Empty text makes none, as in Fluent Bit.
    pub(super) fn text(&mut self, text: &'a [u8], time: Timestamp) {
        if text.is_empty() {
            return;
        }
        let content = match self.key {
            None if text.last() != Some(&b'\n') => {
                let copy = self.arena.alloc_slice_fill_copy(text.len() + 1, b'\n');
                copy[..text.len()].copy_from_slice(text);
                copy
            }
            _ => text,
        };
        self.content(content, time);
    }

    fn content(&mut self, content: &'a [u8], time: Timestamp) {
        let mut fields = Fields::with_capacity_in(4, self.arena);
        fields.push(Field::new(self.key_text(), Value::text(content)));
        (self.emit)(Record { time, fields });
    }

    fn key_text(&self) -> Text<'a> {
        match self.key {
            None | Some(DEFAULT_KEY) => Text::plain(DEFAULT_KEY),
            Some(key) => Text::new(self.arena.alloc_slice_copy(key)),
        }
    }
}

/// The lines of one record so far.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Value of the group key (`stdout`), empty for lines without one.
    name: Vec<u8>,
    content: Vec<u8>,
    fields: Option<Vec<u8>>,
    spare: Vec<u8>,
    time: Timestamp,
    rule: Option<RuleId>,
    mark: u64,
}

impl Group {
    /// An empty group for this value of the group key.
    pub(super) fn new(name: &[u8]) -> Group {
        Group { name: name.to_vec(), ..Group::default() }
    }

    /// Whether it is that of `name`.
    pub(super) fn is(&self, name: &[u8]) -> bool {
        self.name == name
    }

    /// Whether anything waits here.
    pub(super) fn holds(&self) -> bool {
        self.fields.is_some() || !self.content.is_empty()
    }

    /// The mark of the first line held.
    pub(super) fn mark(&self) -> Option<u64> {
        self.holds().then_some(self.mark)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.content.len() + self.fields.as_ref().map_or(0, Vec::len)
    }

    /// Sends on what is held.
    pub(super) fn flush(&mut self, out: &mut Out<'_, '_>) {
        if !self.holds() {
            return;
        }
        if out.key.is_none() {
            self.end_line();
        }
        let content: &[u8] = out.arena.alloc_slice_copy(&self.content);
        match self.fields.take() {
            Some(mut stored) => {
                let fields = stash::load(&stored, Value::text(content), out.arena);
                (out.emit)(Record { time: self.time, fields });
                stored.clear();
                stored.shrink_to(BUFFER_KEEP_BYTES);
                self.spare = stored;
            }
            None => out.content(content, self.time),
        }
        self.content.clear();
        self.content.shrink_to(BUFFER_KEEP_BYTES);
    }

    /// Takes a line in; `whole` says that the record ends with it.
    pub(super) fn take<'a>(&mut self, line: Line<'a>, whole: bool, out: &mut Out<'a, '_>) {
        if out.limit > 0 && self.holds() && self.content.len() + line.content.len() > out.limit {
            *out.cut += 1;
            self.flush(out);
        }
        if whole && !self.holds() {
            match line.fields {
                Some(fields) => (out.emit)(Record { time: line.time, fields }),
                None => out.text(line.content, line.time),
            }
            return;
        }
        if out.key.is_none() {
            self.end_line();
        }
        let content = line.content;
        self.register(line);
        self.content.extend_from_slice(content);
        if whole {
            self.flush(out);
        }
    }

    /// Takes a line of text that goes on with what waits here, as [`Group::take_by`] would, when that leaves it waiting;
    /// else false, and nothing has changed. There is no line feed in it.
    pub(super) fn goes_on(&mut self, rules: &Rules, line: &[u8], time: Timestamp, limit: usize) -> bool {
        let waits = !self.content.is_empty() && self.fields.is_none();
        let fits = limit == 0 || self.content.len() + line.len() <= limit;
        let Some(rule) = self.rule.filter(|_| waits && fits && !line.is_empty()) else { return false };
        let Some(next) = rules.next_of_line(rule, line).filter(|next| !rules.ends(*next)) else {
            return false;
        };
        self.end_line();
        self.content.extend_from_slice(line);
        (self.time, self.rule) = (time, Some(next));
        true
    }

    /// Takes a line by the rules; false when none of them fits, then nothing has changed.
    pub(super) fn take_by<'a>(&mut self, rules: &Rules, line: Line<'a>, out: &mut Out<'a, '_>) -> bool {
        let next = self.rule.and_then(|rule| rules.next(rule, line.content));
        let rule = match next.or_else(|| rules.start(line.content)) {
            Some(rule) => rule,
            None => return false,
        };
        if next.is_some() {
            self.end_line();
        } else {
            self.flush(out);
        }
        if line.content.is_empty() && next.is_some() {
            self.register(line);
            self.content.push(b'\n');
        } else if let Some(line) = self.overflow(line, out) {
            self.register_and_append(line);
        } else {
            return true;
        }
        self.rule = Some(rule);
        if rules.ends(rule) {
            self.flush(out);
        }
        true
    }

    /// Ends the record at the limit when the line does not fit: it takes along what fits, the rest of the line
    /// makes a record of its own, and what follows must start anew. Gives back a line that fits.
    fn overflow<'a>(&mut self, mut line: Line<'a>, out: &mut Out<'a, '_>) -> Option<Line<'a>> {
        if out.limit == 0 || self.content.len() + line.content.len() <= out.limit {
            return Some(line);
        }
        *out.cut += 1;
        let (fits, rest) =
            line.content.split_at(char_boundary(line.content, out.limit.saturating_sub(self.content.len())));
        let time = line.time;
        let fields = line.fields.as_ref().map(|fields| {
            let mut fields = fields.clone();
            if let Some(field) = fields.get_mut(line.at) {
                field.value = Value::text(rest);
            }
            fields
        });
        line.content = fits;
        if self.holds() || !fits.is_empty() {
            self.register_and_append(line);
            self.flush(out);
        }
        self.rule = None;
        match fields {
            Some(fields) => (out.emit)(Record { time, fields }),
            None => out.text(rest, time),
        }
        None
    }

    fn register_and_append(&mut self, line: Line<'_>) {
        let content = line.content;
        self.register(line);
        self.content.extend_from_slice(content);
    }

    /// Notes what the record will be made of: the first line's fields and time; of plain text, the last line's time.
    fn register(&mut self, line: Line<'_>) {
        if !self.holds() {
            self.mark = line.mark;
        }
        match line.fields {
            Some(fields) if self.fields.is_none() => {
                let mut stored = std::mem::take(&mut self.spare);
                stash::store(&mut stored, &fields, line.at);
                self.fields = Some(stored);
                self.time = line.time;
            }
            Some(_) => {}
            None => self.time = line.time,
        }
    }

    fn end_line(&mut self) {
        if self.content.last().is_some_and(|&b| b != b'\n') {
            self.content.push(b'\n');
        }
    }
}

/// The largest place up to `at` where no UTF-8 character is cut, as far as the text is UTF-8.
fn char_boundary(text: &[u8], at: usize) -> usize {
    let at = at.min(text.len());
    let is_boundary = |i: usize| text.get(i).is_none_or(|b| b & 0xc0 != 0x80);
    (at.saturating_sub(3)..=at).rev().find(|&i| is_boundary(i)).unwrap_or(at)
}
