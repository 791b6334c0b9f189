//! `Multiline On`: a record begins with a line that `Parser_Firstline` takes; what `Parser_1`, `Parser_2`, … take adds its
//! fields, and all other lines go on the last field.
//!
//! Owns: when a record is whole. Never: holds more than the limit and one line.
//! Invariant: each line is in exactly one record. Where Fluent Bit loses a line (one that `Parser_N` takes before any first
//! line, or text behind a field that is not text), it makes a record of its own.

use super::{Joined, Scratch, State, stash};
use crate::parsers::{Parsed, Parser};
use crate::record::{Fields, Record, Timestamp, Value};
use bumpalo::Bump;
use std::sync::Arc;

/// How lines are joined.
#[derive(Debug)]
pub struct FirstLine {
    /// `Parser_Firstline`.
    pub first: Arc<Parser>,
    /// `Parser_N`, in the order of the section.
    pub others: Vec<Arc<Parser>>,
    /// Bytes that a record may hold; zero: no limit.
    pub limit: usize,
}

/// What one source holds back.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// What the first line's parser found, then what others found.
    parts: Vec<Part>,
    time: Timestamp,
    mark: u64,
}

/// The fields of one line, and what was appended to the last of them.
#[derive(Debug)]
struct Part {
    fields: Vec<u8>,
    /// The last field's text, where it is text.
    text: Option<Vec<u8>>,
}

impl Part {
    fn new(fields: &[crate::record::Field<'_>]) -> Part {
        let last = fields.len().wrapping_sub(1);
        let text = fields.last().and_then(|f| f.value.as_text()).map(<[u8]>::to_vec);
        let mut stored = Vec::new();
        stash::store(&mut stored, fields, if text.is_some() { last } else { usize::MAX });
        Part { fields: stored, text }
    }

    fn bytes(&self) -> usize {
        self.fields.len() + self.text.as_ref().map_or(0, Vec::len)
    }
}

impl Waiting {
    pub(super) fn pending(&self) -> Option<(u64, usize)> {
        (!self.parts.is_empty()).then(|| (self.mark, self.bytes()))
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }
}

impl FirstLine {
    /// Takes the next line of a source (without its line feed), and emits the records that are whole by it.
    #[expect(clippy::too_many_arguments, reason = "each is needed per line, as in `Chain::line`")]
    pub fn line<'a>(
        &'a self,
        state: &mut State,
        line: &'a [u8],
        now: Timestamp,
        mark: u64,
        arena: &'a Bump,
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(Joined<'a>),
    ) {
        let mut fields = Fields::with_capacity_in(16, arena);
        if let Parsed::Yes { time } = self.first.parse(line, now, arena, &mut scratch.parser, &mut fields) {
            self.flush(state, arena, emit);
            let waiting = &mut state.first_line;
            waiting.parts.push(Part::new(&fields));
            (waiting.time, waiting.mark) = (time.unwrap_or(now), mark);
            return;
        }
        if self.limit > 0
            && !state.first_line.parts.is_empty()
            && state.first_line.bytes() + line.len() > self.limit
        {
            state.cut += 1;
            self.flush(state, arena, emit);
        }
        let other = self.others.iter().find_map(|parser| {
            match parser.parse(line, now, arena, &mut scratch.parser, &mut fields) {
                Parsed::Yes { time } => Some(time),
                Parsed::No => None,
            }
        });
        match (other, state.first_line.parts.last_mut()) {
            (Some(_), Some(_)) => state.first_line.parts.push(Part::new(&fields)),
            (Some(time), None) => emit(Joined::Record(Record { time: time.unwrap_or(now), fields })),
            (None, Some(Part { text: Some(text), .. })) => {
                text.push(b'\n');
                text.extend_from_slice(line);
            }
            (None, _) => emit(Joined::Line { text: line, mark }),
        }
    }

    /// Emits what waits: its time is over, or its source ends.
    pub fn flush<'a>(&self, state: &mut State, arena: &'a Bump, emit: &mut dyn FnMut(Joined<'a>)) {
        let waiting = &mut state.first_line;
        if waiting.parts.is_empty() {
            return;
        }
        let mut fields = Fields::with_capacity_in(16, arena);
        for part in waiting.parts.drain(..) {
            let text: &[u8] = part.text.as_deref().map_or(&[], |t| arena.alloc_slice_copy(t));
            fields.extend_from_slice_copy(&stash::load(&part.fields, Value::text(text), arena));
        }
        emit(Joined::Record(Record { time: waiting.time, fields }));
    }
}
