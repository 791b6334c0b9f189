//! Opens nested values with simd-json, on a copy in the arena.
//!
//! Owns: the tape and its buffers, which are kept between calls. Never: decides what is valid JSON; the span scanner
//! has walked the value before, and what simd-json refuses (lone surrogates, control characters, invalid UTF-8, numbers
//! that no machine type holds) goes back to the scanner's own opener.
//! Invariant: both openers give the same values; numbers are the bytes that stood in the text, which the tape lacks: they
//! are taken from there again, in order, at the places that simd-json's first stage has found.

use super::number;
use crate::record::{Field, Fields, Text, Value};
use bumpalo::Bump;
use simd_json::{Buffers, INPUT_PADDING, Node, StaticNode, Tape};

/// Working memory of simd-json; made at the first use, as most workers need none.
#[derive(Default)]
pub(super) struct Opener(Option<Box<Kept>>);

struct Kept {
    buffers: Buffers,
    tape: Tape<'static>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("used", &self.0.is_some()).finish()
    }
}

impl Opener {
    /// The value whose whole text is `raw` (a map or an array), with all that is in it; `None` when simd-json refuses it.
    pub(super) fn open<'a>(&mut self, raw: &'a [u8], arena: &'a Bump) -> Option<Value<'a>> {
        let kept = self
            .0
            .get_or_insert_with(|| Box::new(Kept { buffers: Buffers::new(4096), tape: Tape(Vec::new()) }));
        let copy = arena.alloc_slice_fill_copy(raw.len() + INPUT_PADDING, b' ');
        copy[..raw.len()].copy_from_slice(raw);
        let mut tape = std::mem::replace(&mut kept.tape, Tape(Vec::new())).reset();
        let filled = simd_json::fill_tape_padded(copy, raw.len(), &mut kept.buffers, &mut tape);
        let value = filled.ok().and_then(|()| {
            let mut walk =
                Walk { raw, arena, nodes: tape.0.iter(), starts: kept.buffers.structural_indexes().iter() };
            walk.value()
        });
        kept.tape = tape.reset();
        value
    }
}

/// A walk along the tape, and along the places of tokens in the text.
struct Walk<'a, 't> {
    raw: &'a [u8],
    arena: &'a Bump,
    nodes: std::slice::Iter<'t, Node<'a>>,
    starts: std::slice::Iter<'t, u32>,
}

impl<'a> Walk<'a, '_> {
    fn value(&mut self) -> Option<Value<'a>> {
        Some(match *self.nodes.next()? {
            Node::String(text) => Value::Text(Text::new(text.as_bytes())),
            Node::Object { len, .. } => {
                let mut fields = Fields::with_capacity_in(len, self.arena);
                for _ in 0..len {
                    let Some(Node::String(key)) = self.nodes.next() else { return None };
                    fields.push(Field::new(Text::new(key.as_bytes()), self.value()?));
                }
                Value::Map(fields.into_bump_slice())
            }
            Node::Array { len, .. } => {
                let mut values = bumpalo::collections::Vec::with_capacity_in(len, self.arena);
                for _ in 0..len {
                    values.push(self.value()?);
                }
                Value::Array(values.into_bump_slice())
            }
            Node::Static(StaticNode::Null) => Value::Null,
            Node::Static(StaticNode::Bool(b)) => Value::Bool(b),
            Node::Static(_) => Value::Number(self.number()?),
        })
    }

    /// The text of the next number.
    fn number(&mut self) -> Option<&'a [u8]> {
        let raw = self.raw;
        let is_number = |at: &&u32| matches!(raw.get(**at as usize), Some(b'-' | b'0'..=b'9'));
        let start = *self.starts.by_ref().find(is_number)? as usize;
        raw.get(start..number::end(raw, start)?)
    }
}
