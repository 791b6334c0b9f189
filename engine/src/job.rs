//! Jobs: a block of whole lines on its way through, and the source that it comes from.
//!
//! Owns: blocks, positions, what an input must give and gets back. Never: reads files, knows a parser.

use codecs::charset::Charset;
use std::sync::Arc;

/// A place in a source's chain of files: the file by its number in the chain (rising with each rotation), then bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the file in the chain.
    pub file: u32,
    /// Byte offset in that file (of its decompressed content, where it is compressed).
    pub offset: u64,
}

/// Bytes that a read filled: whole lines (or, for `whole == false` inputs, any cut of a stream).
#[derive(Debug)]
pub struct Block {
    /// The buffer; given back to its pool when the job is done.
    pub buffer: Vec<u8>,
    /// Where the lines start: what lies before is head-room.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Position of `buffer[start]`.
    pub position: Position,
}

impl Block {
    /// The lines.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

/// What a decoder found a block to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Records were made of it.
    Fine,
    /// None could be made of it.
    Invalid,
    /// Decompressed, it is larger than allowed.
    TooLarge,
}

/// Told, in order, how far a source's records are accepted (or dropped and counted) by every output they went to.
pub trait Cursor: Send + Sync {
    /// Everything before `position` is done with. Called from any thread, positions never go back.
    fn committed(&self, position: Position);

    /// True while a sender waits to be told: outputs then deliver this source's records without waiting for `Flush`.
    fn urgent(&self) -> bool {
        false
    }

    /// True when what is not committed will be read again: nobody else need keep it.
    fn rereadable(&self) -> bool {
        false
    }

    /// The block at `position` was looked at, and is (or is not) what its sender says. Told by decoders whose senders
    /// are answered, before `committed`, on a worker.
    fn examined(&self, position: Position, verdict: Verdict) {
        let _ = (position, verdict);
    }
}

/// What describes a source to the shards; made once by the input when it finds the file or accepts the connection.
pub struct SourceInfo {
    /// Tag of its records (`*` and `<name>` already replaced).
    pub tag: Arc<str>,
    /// The path as found, for `Path_Key` and messages; of a connection, its peer's address.
    pub path: Option<Arc<str>>,
    /// What its bytes are in.
    pub charset: Charset,
    /// Told what is committed.
    pub cursor: Option<Arc<dyn Cursor>>,
}
