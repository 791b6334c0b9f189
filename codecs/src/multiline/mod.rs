//! Multi-line rules: which lines make one record (`[MULTILINE_PARSER]`, and the built-in ones).
//!
//! Owns: rules, states, partial records. Never: reads a clock; the caller flushes by time.
//!
//! A [`Multiline`] is one compiled parser; a [`Chain`] is what `multiline.parser docker, cri` names; a [`State`] is
//! what one source has in the making. Lines go in one by one, records come out by a callback.

mod automaton;
mod builtin;
mod chain;
mod configure;
mod cri;
mod docker;
mod docker_mode;
mod first_line;
mod group;
mod instant;
#[cfg(test)]
mod modes_tests;
mod rules;
pub mod stash;
mod state;
#[cfg(test)]
mod tests;

pub use builtin::BUILTINS;
pub use chain::{BUFFER_LIMIT_BYTES, Chain};
pub use configure::Options;
pub use docker_mode::DockerMode;
pub use first_line::FirstLine;
pub use state::{GROUPS_MAX, PendingInfo, State};

use crate::parsers::Parser;
use std::sync::Arc;

/// How long lines wait for more where nothing else is said, in milliseconds.
const FLUSH_MS: u64 = 4000;

/// Reusable working memory of one worker. Nothing in it outlives a call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For JSON.
    pub json: crate::json::Scratch,
    /// For parsers.
    pub parser: crate::parsers::Scratch,
}

/// What leaves the modes of old versions, [`DockerMode`] and [`FirstLine`].
#[derive(Debug)]
pub enum Joined<'a> {
    /// A line to be read as any other.
    Line {
        /// The line.
        text: &'a [u8],
        /// The mark of the first line in it.
        mark: u64,
    },
    /// A record.
    Record(crate::record::Record<'a>),
}

/// A compiled multi-line parser: `docker`, `cri`, `java`, …, or the user's own.
#[derive(Debug)]
pub struct Multiline {
    name: String,
    format: Format,
    kind: Kind,
    key_content: Option<Box<[u8]>>,
    key_group: Option<Box<[u8]>>,
    key_pattern: Option<Box<[u8]>>,
    flush_timeout_ms: u64,
}

/// What a line is before the rules see it.
#[derive(Debug)]
enum Format {
    /// Text.
    Text,
    /// `<time> stdout F <content>`.
    Cri,
    /// A JSON map with `log`, `stream` and `time`.
    Docker,
    /// What the user's parser makes of it.
    Parser(Arc<Parser>),
}

/// What says that a record is whole.
#[derive(Debug)]
enum Kind {
    /// The states of regex rules.
    Rules(Box<rules::Rules>),
    /// The end of a line; a field shorter than this is none of the parser's.
    EndsWith { text: Box<[u8]>, negate: bool },
    /// The whole line.
    Equal { text: Box<[u8]>, negate: bool },
}

impl Multiline {
    fn new(name: &str, format: Format, kind: Kind) -> Multiline {
        Multiline {
            name: name.to_owned(),
            format,
            kind,
            key_content: None,
            key_group: None,
            key_pattern: None,
            flush_timeout_ms: FLUSH_MS,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
