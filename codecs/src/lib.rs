//! Bytes and text to typed values and back.
//!
//! Owns: records, JSON, regular expressions, times, parsers, multi-line rules, configuration text.
//! Never: does I/O, reads a clock, starts a thread, panics on any input.

pub mod accessor;
pub mod charset;
pub mod conf;
pub mod forward;
pub mod framing;
pub mod json;
pub mod lines;
pub mod msgpack;
pub mod multiline;
pub mod parsers;
pub mod record;
pub mod regex;
pub mod simd;
pub mod time;

pub use bumpalo::Bump;
pub use bumpalo::collections::Vec as BumpVec;
