//! Filters: what a record meets between its input and its outputs.
//!
//! Owns: the trait, the registry. Never: keeps a record, allocates per record outside the job's arena.

mod awaited;
mod condition;
mod constant;
pub mod content_modifier;
pub mod expect;
pub mod grep;
mod held;
pub mod kubernetes;
pub mod lua;
pub mod modify;
mod modify_conditions;
pub mod multiline;
pub mod nest;
pub mod parser;
mod pattern;
pub mod processors;
pub mod record_modifier;
pub mod registry;
pub mod rewrite_tag;
pub mod sysinfo;
#[cfg(test)]
mod testing;
pub mod throttle;
pub mod type_converter;
mod words;

pub use awaited::Awaited;
pub use condition::Condition;
pub use held::{HELD_MAX, Held, Holding};

use crate::control::Control;
use crate::random::Random;
use codecs::Bump;
use codecs::conf::{Diagnostics, Section, Variables};
use codecs::multiline::Multiline;
use codecs::parsers::Parser;
use codecs::record::Record;
use std::collections::HashMap;
use std::sync::Arc;

/// A filter plugin.
pub type Plugin = codecs::conf::Plugin<Configure>;

/// Reads a section and makes an instance of it.
pub type Configure = fn(&Section, &Context<'_>, &mut Diagnostics) -> Option<Arc<dyn Filter>>;

/// What a filter may know of the rest while it is configured.
pub struct Context<'c> {
    /// `grep.0`, or its alias: how messages name it.
    pub name: &'c str,
    /// Parsers by name.
    pub parsers: &'c HashMap<String, Arc<Parser>>,
    /// Multi-line parsers by name, the built-in ones that are named anywhere included.
    pub multiline: &'c HashMap<String, Arc<Multiline>>,
    /// What `@SET` and `env:` define.
    pub variables: &'c Variables,
    /// Folder of the main configuration file, for paths that are relative to it.
    pub folder: Option<&'c std::path::Path>,
}

/// It cannot be made; why is among the diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported;

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
    /// It goes on as it came, and is counted: what was to be done with it failed.
    Failed,
    /// What is in [`FilterContext::made`] goes on to the next filter in its place; nothing there: it is held back.
    Replace,
    /// What is in [`FilterContext::made`] enters the filters of the tag from the first one, in its place, and passes
    /// those that hold records back, up to this one: what Fluent Bit's emitter of the multiline filter does.
    Reenter,
    /// It cannot be told yet what becomes of it. As it is now (and as it was when it came), it meets the filter again when
    /// [`FilterContext::awaited`] is over, and so do the records behind it; only where [`FilterContext::may_wait`].
    Wait,
}

/// What a filter must be sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing: it may see records in any order, on many workers at once.
    Free,
    /// It keeps something of a source's records ([`Held`]): jobs of that source run one after the other.
    Source,
    /// It has one state for all: it sees one record at a time, in the order in which blocks were submitted.
    Serial,
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

/// A compiled filter, shared by all workers. State that a record changes is its own only in a [`Stage::Serial`] one.
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

    /// What it must be sure of.
    fn stage(&self) -> Stage {
        Stage::Free
    }

    /// True when it may let records wait ([`Outcome::Wait`]).
    fn waits(&self) -> bool {
        false
    }

    /// The most bytes that it may hold beside the records on their way.
    fn memory_max(&self) -> usize {
        0
    }

    /// Counters of its own, shown as `ripsaw_filter_<name>`.
    fn counters(&self) -> Vec<outputs::Counter> {
        Vec::new()
    }

    /// True when it may give records another tag.
    fn retags(&self) -> bool {
        false
    }

    /// Called once before the first record, and not by dry-run. The error ends the start.
    fn start(&self, control: &Arc<Control>) -> Result<(), String> {
        let _ = control;
        Ok(())
    }

    /// Milliseconds after which what it holds back is let go, where it holds something back ([`Stage::Source`]).
    fn hold_ms(&self) -> Option<u64> {
        None
    }

    /// True when what it holds back goes with its job, at the latest.
    fn holds_within_job(&self) -> bool {
        false
    }

    /// Lets go of what it holds back, as [`Outcome::Replace`] or [`Outcome::Reenter`].
    fn let_go<'a>(&'a self, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let _ = context;
        Outcome::Keep
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
    /// Scratch space of the worker for multi-line rules.
    pub grouping: &'c mut codecs::multiline::Scratch,
    /// Text of the worker for what is rendered; a filter clears it before use.
    pub text: &'c mut Vec<u8>,
    /// Randomness of the worker.
    pub random: &'c mut Random,
    /// Wall-clock time of the job, for parsers whose times lack a date.
    pub now: codecs::record::Timestamp,
    /// Where a filter puts the records that take the place of one; empty when it is called.
    pub made: &'c mut codecs::BumpVec<'a, Record<'a>>,
    /// What the filter holds back of this source and tag; there for those of [`Stage::Source`].
    pub held: Option<&'c mut Held>,
    /// Mark of the record's place in its source ([`crate::decode::mark`]); never falls from one to the next.
    pub mark: u64,
    /// Whether the record may wait ([`Outcome::Wait`]).
    pub may_wait: bool,
    /// What it then waits for.
    pub awaited: &'c mut Option<Arc<Awaited>>,
    /// What `kubernetes` knows of the pod that the last record came from, for the next one.
    pub pod: &'c mut Option<kubernetes::Seen<'a>>,
}
