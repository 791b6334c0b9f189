//! What a worker keeps between jobs: its arena and its scratch space.
//!
//! Owns: how much of it is kept. Never: keeps a record.

use crate::random::Random;
use bumpalo::Bump;

/// The arena and the scratch space of one worker.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) arena: Bump,
    pub(crate) parsing: codecs::parsers::Scratch,
    pub(crate) grouping: codecs::multiline::Scratch,
    pub(crate) text: Vec<u8>,
    pub(crate) random: Random,
}

impl Workspace {
    /// Gives up what an unusually large line or record made it hold; `block` bytes were read.
    pub(crate) fn trim(&mut self, block: usize) {
        let large = block > LARGE_BLOCK_BYTES
            || self.arena.allocated_bytes() > ARENA_KEPT_BYTES
            || self.text.capacity() > LARGE_BLOCK_BYTES;
        if large {
            *self = Workspace { random: std::mem::take(&mut self.random), ..Workspace::default() };
        }
    }
}

/// A block beyond this held a line longer than the usual block.
pub(crate) const LARGE_BLOCK_BYTES: usize = 512 * 1024;
/// An arena larger than this is not kept.
pub(crate) const ARENA_KEPT_BYTES: usize = 2 << 20;
