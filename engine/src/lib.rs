//! Everything that schedules, reads or listens; the binary is a thin caller of this.

pub mod decode;
pub mod filters;
pub mod inputs;
pub mod io;
pub mod job;
pub mod log;
pub mod metrics;
pub mod shards;
#[cfg(test)]
mod testing;
