//! Multi-line rules: which lines make one record (`[MULTILINE_PARSER]`, and the built-in ones).
//!
//! Owns: rules, states, partial records. Never: reads a clock; the caller flushes by time.

/// A compiled multi-line parser: `docker`, `cri`, `java`, …, or the user's own.
#[derive(Debug)]
pub struct Multiline {}
