//! Inputs: what reads or listens. Each hands whole blocks to the shards and never looks inside a record.
//!
//! Owns: the traits, the registry. An input runs on a thread of its own (or on the network runtime); all that it may
//! ask of the engine is in [`InputContext`].

pub mod docker;
pub mod docker_events;
pub mod dummy;
pub mod exec;
pub mod forward;
pub mod head;
pub mod http;
pub mod kubernetes_events;
pub mod net;
pub mod random;
pub mod registry;
pub mod shared;
mod sqlite;
pub mod stdin;
pub mod syslog;
pub mod systemd;
pub mod tail;
pub mod tcp;
mod ticks;
pub mod udp;

pub use shared::InputShared;

use crate::decode::Decoder;
use crate::job::{Block, Position, SourceInfo};
use codecs::conf::{Diagnostics, Section};
use codecs::multiline::Multiline;
use codecs::parsers::Parser;
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// An input plugin.
pub type Plugin = codecs::conf::Plugin<Configure>;

/// Reads a section and makes an instance of it.
pub type Configure = fn(&Section, &Context<'_>, &mut Diagnostics) -> Option<Configured>;

/// What an input may know of the rest while it is configured.
pub struct Context<'c> {
    /// `tail.0`, or its alias: how messages name it.
    pub name: &'c str,
    /// `Tag` as configured, or the name (`tail.0`) where it is not.
    pub tag: &'c str,
    /// Parsers by name.
    pub parsers: &'c HashMap<String, Arc<Parser>>,
    /// Multi-line parsers by name, the built-in ones included.
    pub multiline: &'c HashMap<String, Arc<Multiline>>,
    /// `multiline_buffer_limit` of the service: bytes that a multi-line record may hold; zero: no limit.
    pub multiline_limit: usize,
}

/// A configured input.
pub struct Configured {
    /// What runs.
    pub input: Box<dyn Input>,
    /// How its blocks become records, on the workers.
    pub decoder: Arc<dyn Decoder>,
    /// Tags that its records can have, as far as they are known before it runs: exact tags, or patterns with `*`.
    /// Used to warn of a filter or output that nothing reaches.
    pub tags: Vec<String>,
    /// What dry-run says of it beyond its options (no `DB`: what a restart loses, …).
    pub notes: Vec<String>,
}

/// Runs until it has nothing more to read or is told to stop.
pub trait Input: Send {
    /// Called once, on a thread of its own.
    fn run(self: Box<Self>, context: InputContext);
    /// True when it ends by itself ([`Engine::finished`]): the program then waits for its end, and no longer.
    fn ends(&self) -> bool {
        false
    }
}

/// A source that an input opened; dropping it closes the source: what is pending in it is flushed.
pub type Source = Arc<crate::shards::Source>;

/// What an input may ask of the engine. All calls are cheap and none blocks.
pub trait Engine: Send + Sync {
    /// Opens a source.
    fn open(&self, info: SourceInfo) -> Source;
    /// Hands a block on; records of one source leave in the order of these calls. `end` is the position behind the
    /// block's last byte: it is committed when all of the block's records are accepted.
    fn submit(&self, source: &Source, block: Block, end: Position);
    /// Between `true` and `false`, blocks are submitted one after the other without a wait.
    fn gather(&self, more: bool) {
        let _ = more;
    }
    /// No more lines will come from this source: what is pending in it (a multi-line group) is flushed.
    fn close(&self, source: &Source);
    /// Takes `bytes` from the memory budgets (process, `Mem_Buf_Limit`, outputs of this input). When it answers false,
    /// read nothing and wait for `wake_fd`. Submitting the block passes the charge on; [`Engine::release`] gives it back.
    fn admit(&self, bytes: usize) -> bool;
    /// True while an output that this source is routed to has no room: read other sources, and this one after `wake_fd`.
    fn blocked(&self, source: &Source) -> bool;
    /// Takes `bytes` from the same budgets whether they fit or not: for what is in memory already.
    fn take(&self, bytes: usize);
    /// Gives back what `admit` took and no block was submitted for.
    fn release(&self, bytes: usize);
    /// Charges `bytes` that are kept until their source goes on (a half line), beside what is under way; false (and
    /// nothing is charged) when such bytes take their share of a budget already. With `always`, it is never.
    fn keep_waiting(&self, bytes: usize, always: bool) -> bool {
        let _ = (bytes, always);
        true
    }
    /// Gives back what [`Engine::keep_waiting`] charged.
    fn let_go(&self, bytes: usize) {
        let _ = bytes;
    }
    /// Makes a charge that of a buffer's capacity, before the block is submitted.
    fn settle(&self, charge: usize, capacity: usize) {
        match capacity.checked_sub(charge) {
            Some(0) => {}
            Some(more) => self.take(more),
            None => self.release(charge - capacity),
        }
    }
    /// A buffer of this capacity from the pool, its length 0.
    fn buffer(&self, capacity: usize) -> Vec<u8>;
    /// Gives a buffer back that was not submitted.
    fn recycle(&self, buffer: Vec<u8>);
    /// An eventfd that becomes readable when `admit` may succeed again, when blocks were committed, and at shutdown; the
    /// input reads it empty.
    fn wake_fd(&self) -> BorrowedFd<'_>;
    /// True when the input is to stop: submit what is whole, commit what is delivered, return.
    fn stopping(&self) -> bool;
    /// This input submits nothing more; what sources hold back may be flushed now. Called once when stopping.
    fn quiet(&self);
    /// True when everything that was submitted is committed, or when nobody waits any more (`Grace` is over).
    fn drained(&self) -> bool;
    /// Counters of this input.
    fn metrics(&self) -> &crate::metrics::InputMetrics;
    /// This input reached its natural end (`Exit_On_Eof`, stdin closed); when all that have one did, the program ends.
    fn finished(&self);
    /// Ends the program after flushing, telling why; its exit code tells of a failure.
    fn fail(&self, message: String);
    /// Ends the program with this exit code after flushing.
    fn end(&self, code: i32);
    /// True when the configuration may be replaced while the program runs: what a restart would lose is to be handed on.
    fn hot_reload(&self) -> bool {
        false
    }
    /// True when it stops because the configuration is replaced.
    fn reloading(&self) -> bool {
        false
    }
    /// Keeps a value for the inputs of the next configuration.
    fn keep(&self, key: String, value: Kept) {
        drop((key, value));
    }
    /// What inputs of the last configuration kept under keys that begin so.
    fn kept(&self, prefix: &str) -> Vec<(String, Kept)> {
        let _ = prefix;
        Vec::new()
    }
}

/// What an input keeps for those that come after it.
pub type Kept = Arc<dyn std::any::Any + Send + Sync>;

/// The engine as one input sees it.
pub type InputContext = Arc<dyn Engine>;

/// The parser that an option names; reports one that is missing.
fn parser_named(
    name: &str,
    key: &str,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<Parser>> {
    if let Some(parser) = context.parsers.get(name) {
        return Some(parser.clone());
    }
    let span = section.get(key).map_or(&section.span, |e| &e.value_span);
    let error = diagnostics.error(
        span,
        format!("{}: `{}` is `{name}`, which no [PARSER] defines", context.name, key.to_lowercase()),
    );
    if let Some(near) = codecs::conf::nearest(name, context.parsers.keys().map(String::as_str)) {
        error.help(format!("did you mean `{near}`?"));
    }
    None
}
