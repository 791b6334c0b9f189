//! `Docker_Mode On`: joins the parts of a line that Docker's json-file driver split, before any parser sees it.
//!
//! Owns: when a line is whole. Never: parses the line that it makes; the caller does, as any other line.
//! Invariant: what is held leaves once, in one line; at most the limit is held, and one line.

use super::{Joined, Scratch, State};
use crate::json::text_member;
use crate::parsers::{Parsed, Parser};
use crate::record::{Fields, Timestamp};
use bumpalo::Bump;
use std::sync::Arc;

/// How docker mode joins.
#[derive(Debug)]
pub struct DockerMode {
    /// `Docker_Mode_Parser`: it takes the first line of a record; without it, a line feed ends one.
    pub parser: Option<Arc<Parser>>,
    /// Bytes of joined text; zero: no limit.
    pub limit: usize,
}

/// What one source holds back.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The line that came last: its other members make the joined line.
    line: Vec<u8>,
    /// The texts of `log` so far, escapes as they are.
    log: Vec<u8>,
    /// The mark of the first line.
    mark: u64,
    /// The last line ended with a line feed.
    whole: bool,
    /// A first line was seen, ever.
    first_seen: bool,
}

impl Waiting {
    pub(super) fn pending(&self) -> Option<(u64, usize)> {
        (!self.line.is_empty()).then_some((self.mark, self.line.len() + self.log.len()))
    }
}

const KEY: &[u8] = b"log";

impl DockerMode {
    /// Takes the next line of a source (without its line feed), and emits the lines that are whole by it.
    #[expect(clippy::too_many_arguments, reason = "each is needed per line, as in `Chain::line`")]
    pub fn line<'a>(
        &self,
        state: &mut State,
        line: &'a [u8],
        now: Timestamp,
        mark: u64,
        arena: &'a Bump,
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(Joined<'a>),
    ) {
        if let Some(parser) = &self.parser {
            let mut fields = Fields::new_in(arena);
            let parsed = parser.parse(line, now, arena, &mut scratch.parser, &mut fields);
            let first = parsed != Parsed::No;
            state.docker.first_seen |= first;
            if state.docker.whole && (first || !state.docker.first_seen) {
                self.flush(state, arena, scratch, emit);
            }
        }
        let Some(log) = text_member(line, KEY, arena, &mut scratch.json) else {
            self.flush(state, arena, scratch, emit);
            return emit(Joined::Line { text: line, mark });
        };
        let text = &line[log];
        if self.limit > 0 && !state.docker.log.is_empty() && state.docker.log.len() + text.len() > self.limit
        {
            state.cut += 1;
            self.flush(state, arena, scratch, emit);
        }
        let waiting = &mut state.docker;
        let whole = ends_line(text);
        if whole && self.parser.is_none() && waiting.line.is_empty() {
            return emit(Joined::Line { text: line, mark });
        }
        if waiting.line.is_empty() {
            waiting.mark = mark;
        }
        waiting.log.extend_from_slice(text);
        waiting.line.clear();
        waiting.line.extend_from_slice(line);
        waiting.whole = whole;
        if whole && self.parser.is_none() {
            self.flush(state, arena, scratch, emit);
        }
    }

    /// Emits what waits: its time is over, or its source ends.
    pub fn flush<'a>(
        &self,
        state: &mut State,
        arena: &'a Bump,
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(Joined<'a>),
    ) {
        let waiting = &mut state.docker;
        if waiting.line.is_empty() {
            return;
        }
        let mut joined = bumpalo::collections::Vec::new_in(arena);
        if let Some(log) = text_member(&waiting.line, KEY, arena, &mut scratch.json) {
            joined.reserve_exact(waiting.line.len() - log.len() + waiting.log.len());
            joined.extend_from_slice_copy(&waiting.line[..log.start]);
            joined.extend_from_slice_copy(&waiting.log);
            joined.extend_from_slice_copy(&waiting.line[log.end..]);
        }
        waiting.line.clear();
        waiting.log.clear();
        waiting.whole = false;
        emit(Joined::Line { text: joined.into_bump_slice(), mark: waiting.mark });
    }
}

/// Whether the inside of a JSON string ends with an escaped line feed.
fn ends_line(text: &[u8]) -> bool {
    let Some(rest) = text.strip_suffix(b"n") else { return false };
    rest.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}
