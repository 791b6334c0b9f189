//! Parsers: a text to fields and a time (`[PARSER]`).
//!
//! Owns: the formats json, regex, ltsv and logfmt, `Types`, `Time_*` and the field decoders. Never: reads a clock or a
//! file; the caller gives `now` and zone data.

mod decode;
mod formats;
mod options;
#[cfg(test)]
mod tests;
mod types;
mod unescape;

pub use options::{Options, Zones};

use crate::conf::{Diagnostics, Section};
use crate::record::{Fields, Timestamp};
use crate::regex::{self, Regex};
use crate::time;
use bumpalo::Bump;

/// A compiled `[PARSER]`, shared by all workers.
#[derive(Debug)]
pub struct Parser {
    name: String,
    format: Format,
    /// For the format regex.
    regex: Option<Regex>,
    /// Its fields, in their order.
    columns: Vec<Column>,
    skip_empty: bool,
    time_key: Vec<u8>,
    time: Option<time::Format>,
    time_keep: bool,
    no_bare_keys: bool,
    types: types::Types,
    decoders: Vec<decode::Decoder>,
}

/// A named group of a regular expression: what is the same for each text.
#[derive(Debug)]
struct Column {
    group: usize,
    key: Box<[u8]>,
    /// The key needs no escaping.
    plain_key: bool,
    /// Nor does what the group may hold.
    plain: bool,
    kind: types::Kind,
    /// It holds the time, and there is a format to read it.
    is_time: bool,
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
    pub regex: regex::Scratch,
    /// For times.
    pub time: time::Cache,
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
    /// Compiles a `[PARSER]` section; what is wrong with it is reported, and then there is none. It knows no zone but
    /// UTC: see [`Parser::configure_with`].
    pub fn configure(section: &Section, diagnostics: &mut Diagnostics) -> Option<Parser> {
        Parser::configure_with(section, &options::only_utc, diagnostics)
    }

    /// The same with the machine's zones, for `Time_Zone` and `Time_System_Timezone` (which asks for the empty name).
    pub fn configure_with(
        section: &Section,
        zones: Zones<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Parser> {
        options::configure(section, zones, diagnostics)
    }

    /// Its `Name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its `Format`.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its regular expression, for who wants to match it against something else; `None` for the other formats.
    pub fn expression(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }

    /// How its regular expression runs; `None` for the other formats.
    pub fn regex_kind(&self) -> Option<regex::Kind> {
        self.regex.as_ref().map(Regex::kind)
    }

    /// What runs it, in words, for the plan.
    pub fn engine(&self) -> String {
        match (self.format, self.regex_kind()) {
            (_, Some(kind)) => format!("regex, {kind}"),
            (Format::Json, _) => "json, SIMD span scanner".into(),
            (Format::Ltsv, _) => "ltsv".into(),
            (Format::Logfmt | Format::Regex, _) => "logfmt".into(),
        }
    }

    /// Parses `text` and appends its fields. `now` completes times that lack a date or year.
    pub fn parse<'a>(
        &'a self,
        text: &'a [u8],
        now: Timestamp,
        arena: &'a Bump,
        scratch: &mut Scratch,
        fields: &mut Fields<'a>,
    ) -> Parsed {
        let start = fields.len();
        let found = match self.format {
            Format::Json => self.json(text, now, arena, scratch, fields),
            Format::Regex => self.regex(text, now, arena, scratch, fields),
            Format::Ltsv => self.ltsv(text, now, arena, scratch, fields),
            Format::Logfmt => self.logfmt(text, now, arena, scratch, fields),
        };
        let Some(time) = found else {
            fields.truncate(start);
            return Parsed::No;
        };
        // A JSON text is decoded before its time is looked up.
        if self.format != Format::Json && !self.decoders.is_empty() {
            decode::decode(&self.decoders, start, arena, &mut scratch.json, fields);
        }
        // The epoch itself counts as no time, as in Fluent Bit.
        Parsed::Yes { time: time.filter(|t| *t != Timestamp::default()) }
    }

    fn read_time(&self, text: &[u8], now: Timestamp, scratch: &mut Scratch) -> Option<Timestamp> {
        self.time.as_ref()?.parse(text, now, &mut scratch.time)
    }

    /// True when the field is where the time stands and there is a format to read it.
    #[inline]
    fn is_time(&self, key: &[u8]) -> bool {
        self.time.is_some() && key == self.time_key
    }
}
