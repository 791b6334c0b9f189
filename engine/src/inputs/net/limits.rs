//! The named limits of listening inputs.
//!
//! Owns: these constants and why they are what they are.

use std::time::Duration;

/// Connections of one input at a time; more wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Bytes to read at once: large enough that a job pays for itself, small enough for the second-level cache.
pub const BLOCK_BYTES: usize = 128 * 1024;
/// Room that there must be before a read.
pub const ROOM_BYTES_MIN: usize = 32 * 1024;
/// A block smaller than this is copied into memory of its own size, so that small messages do not hold large buffers.
pub const SMALL_BYTES: usize = 16 * 1024;
/// Tags of one connection that are known at a time; the oldest is forgotten (its records are still delivered).
pub const TAGS_MAX: usize = 64;
/// Acknowledgements that a connection may wait for; until one is sent, no more is read.
pub const ACKS_MAX: usize = 1024;
/// How long to wait after a connection could not be accepted (no file descriptors).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to hand over what they hold when the program stops.
pub const STOP_MAX: Duration = Duration::from_secs(1);
/// How long an answer may take to leave once the sender reads nothing.
pub const WRITE_MAX: Duration = Duration::from_secs(30);
/// A compressed body may not become larger than this.
pub const INFLATED_BYTES_MAX: usize = 64 << 20;
