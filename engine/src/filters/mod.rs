//! Filters: what a record meets between its input and its outputs.
//!
//! Owns: the trait, the registry. Never: keeps a record, allocates per record outside the job's arena.

mod constant;
pub mod grep;
pub mod modify;
mod modify_conditions;
pub mod nest;
pub mod parser;
mod pattern;
pub mod record_modifier;
pub mod registry;
pub mod rewrite_tag;
#[cfg(test)]
mod testing;
mod words;

use crate::random::Random;
use codecs::Bump;
use codecs::conf::{Diagnostics, OptionSpec, Section};
use codecs::parsers::Parser;
use codecs::record::Record;
use std::collections::HashMap;
use std::sync::Arc;

/// A filter plugin: its name, its options, and how to make an instance.
pub trait Plugin: Sync {
    /// Name as in `Name grep`.
    fn name(&self) -> &'static str;
    /// One sentence and more, for `--help`.
    fn about(&self) -> &'static str;
    /// Its option tables.
    fn tables(&self) -> Vec<&'static [OptionSpec]>;
    /// Reads the section and compiles it; reports all that is wrong and returns `None` when an error was among it.
    fn configure(
        &self,
        section: &Section,
        context: &Context<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<dyn Filter>>;
}

/// What a filter may know of the rest while it is configured.
pub struct Context<'c> {
    /// `grep.0`, or its alias: how messages name it.
    pub name: &'c str,
    /// Parsers by name.
    pub parsers: &'c HashMap<String, Arc<Parser>>,
}

/// What happens to the record next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It goes on.
    Keep,
    /// It ends here, on purpose.
    Drop,
    /// A copy of it, as it is now, enters the filters from the first one under a new tag (with a limit on how often);
    /// what outputs make of either counts for the same position of the source.
    Retag {
        /// The new tag, never empty.
        tag: &'a str,
        /// Whether the record itself goes on to the next filter, or ends here.
        keep: bool,
    },
}

/// Text that a record must have in it to survive a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefilter {
    /// Top-level keys that the filter looks at; a filter before it that may write one of them forbids the short cut.
    pub keys: Vec<Vec<u8>>,
    /// The filter drops every record in which none of these stands verbatim in the value of one of its keys. So a line
    /// without any of them (and without an escape, which could spell one differently) need not become a record.
    pub literals: Vec<Vec<u8>>,
}

/// A compiled filter, shared by all workers; it holds no state that a record changes.
///
/// It outlives the arenas of the jobs that it works for, so that records may borrow its constants.
pub trait Filter: Send + Sync {
    /// Looks at one record and changes it in place.
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a>;

    /// What a record must hold so that this filter does not drop it, where that is known.
    fn prefilter(&self) -> Option<Prefilter> {
        None
    }

    /// False when it only decides what becomes of a record, and never changes one (or its tag).
    fn changes_records(&self) -> bool {
        true
    }
}

/// What a filter has at hand while it looks at a record.
pub struct FilterContext<'a, 'c> {
    /// The job's arena: everything that a record keeps lives here, or in the filter itself.
    pub arena: &'a Bump,
    /// The record's tag.
    pub tag: &'c str,
    /// Scratch space of the worker for the parsers.
    pub parsing: &'c mut codecs::parsers::Scratch,
    /// Text of the worker for what is rendered; a filter clears it before use.
    pub text: &'c mut Vec<u8>,
    /// Randomness of the worker.
    pub random: &'c mut Random,
    /// Wall-clock time of the job, for parsers whose times lack a date.
    pub now: codecs::record::Timestamp,
}
