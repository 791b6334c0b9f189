//! Parsers: a text to fields and a time (`[PARSER]`).
//!
//! Owns: the formats json, regex, ltsv and logfmt, `Types`, `Time_*` and the field decoders. Never: reads a clock or a
//! file; the caller gives `now` and zone data.

use crate::conf::{Diagnostics, Section};
use crate::record::{Fields, Timestamp};
use bumpalo::Bump;

/// A compiled `[PARSER]`, shared by all workers.
#[derive(Debug)]
pub struct Parser {
    name: String,
    format: Format,
}

/// How a parser reads its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON map.
    Json,
    /// A regular expression with named groups.
    Regex,
    /// `label:value` pairs between tabs.
    Ltsv,
    /// `key=value` pairs.
    Logfmt,
}

/// Reusable working memory of one worker: JSON indexes, capture slots, DFA caches. Nothing in it outlives a call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For everything that reads JSON.
    pub json: crate::json::Scratch,
    /// For regular expressions.
    pub regex: crate::regex::Scratch,
}

/// What a parser made of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parsed {
    /// It does not fit; `fields` is as it was.
    No,
    /// It fits; its fields were appended. `time` is the one found in it, if any.
    Yes {
        /// From `Time_Key`, when it is there and fits `Time_Format`.
        time: Option<Timestamp>,
    },
}

impl Parser {
    /// Compiles a `[PARSER]` section; what is wrong with it is reported, and then there is none.
    pub fn configure(section: &Section, diagnostics: &mut Diagnostics) -> Option<Parser> {
        let _ = (section, diagnostics);
        None
    }

    /// Its `Name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its `Format`.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How its regular expression runs, for the plan; `None` for the other formats.
    pub fn regex_kind(&self) -> Option<crate::regex::Kind> {
        None
    }

    /// Parses `text` and appends its fields. `now` completes times that lack a date or year.
    pub fn parse<'a>(&self, text: &'a [u8], now: Timestamp, arena: &'a Bump, scratch: &mut Scratch, fields: &mut Fields<'a>) -> Parsed {
        let _ = (text, now, arena, scratch, fields);
        Parsed::No
    }
}
