//! JSON: text to values, values to text.
//!
//! Owns: the SIMD span scanner, opening of raw values, escaping. Never: panics on any input, copies what can pass
//! through.
//! What is accepted is RFC 8259 plus what Fluent Bit lets through: control characters and any bytes inside strings.

pub(crate) mod escape;
mod member;
mod number;
mod scan;
mod shape;
mod tape;
mod write;

pub use member::text_member;
pub use scan::{expand, parse_object, parse_object_prefix, parse_prefix, parse_value};
pub use write::{may_repeat, write_fields, write_inner, write_text, write_value};

use crate::simd::Tier;

/// Maps and arrays may nest so deep, the outermost counted; deeper text is invalid, as in Fluent Bit.
pub const DEPTH_MAX: usize = 64;

/// The text is not valid JSON (RFC 8259), or not of the wanted kind; `at` is the byte where that showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Offset in the text.
    pub at: usize,
}

/// Reusable working memory of one worker.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Instruction set to use.
    pub tier: Tier,
    /// What opens nested values that cannot pass through as text.
    pub opening: Opening,
    memory: Memory,
}

/// What opens nested values; the answer is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// Whichever is quicker for a value of this size.
    #[default]
    Quickest,
    /// simd-json's tape; our own where that refuses.
    Tape,
    /// The scanner's own.
    Own,
}

#[derive(Debug, Default)]
struct Memory {
    /// Keys of the open maps of a raw value, as offsets into the text.
    keys: Vec<(u32, u32)>,
    tape: tape::Opener,
    shape: shape::Shape,
}

/// How characters beyond ASCII leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As `\uXXXX` (Fluent Bit's default).
    Ascii,
    /// As they are (`json.escape_unicode off`); invalid UTF-8 still becomes U+FFFD.
    Unicode,
}

#[cfg(test)]
mod tests;
