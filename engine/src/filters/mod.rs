//! Filters: what a record meets between its input and its outputs.
//!
//! Owns: the trait, the registry. Never: keeps a record, allocates per record outside the job's arena.

pub mod registry;

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
    fn configure(&self, section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Filter>>;
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
pub enum Outcome {
    /// It goes on.
    Keep,
    /// It ends here, on purpose.
    Drop,
}

/// A compiled filter, shared by all workers; it holds no state that a record changes.
pub trait Filter: Send + Sync {
    /// Looks at one record and changes it in place.
    fn apply<'a>(&self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome;
}

/// What a filter has at hand while it looks at a record.
pub struct FilterContext<'a, 'c> {
    /// The job's arena: everything that a record keeps lives here (or in the configuration, see `keep`).
    pub arena: &'a Bump,
    /// The record's tag.
    pub tag: &'c str,
    /// Scratch space of the worker for the parsers.
    pub parsing: &'c mut codecs::parsers::Scratch,
    /// Wall-clock time of the job, for parsers whose times lack a date.
    pub now: codecs::record::Timestamp,
}
