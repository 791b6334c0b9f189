//! Decoders: a block of bytes to records, on a worker.

use crate::job::{Position, SourceInfo};
use crate::shards::JobRun;

/// How the blocks of an input become records.
pub trait Decoder: Send + Sync {
    /// Hands each record of the block to `job.emit`, in order.
    fn decode(&self, block: &[u8], position: Position, source: &SourceInfo, job: &mut JobRun<'_>);
}
