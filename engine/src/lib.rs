//! Everything that schedules, reads or listens; the binary is a thin caller of this.

pub mod budget;
pub mod control;
pub mod decode;
pub mod filters;
pub mod health;
pub mod inputs;
pub mod job;
pub mod log;
pub mod metrics;
pub mod monitor;
pub mod pipeline;
pub mod queue;
pub mod retry;
pub mod shards;
