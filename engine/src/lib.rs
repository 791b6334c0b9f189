//! Everything that schedules, reads or listens; the binary is a thin caller of this.

pub mod advice;
pub mod app;
pub mod breaker;
pub mod budget;
pub mod cli;
pub mod config;
pub mod control;
pub mod decode;
pub mod delivery;
pub mod filters;
pub mod health;
pub mod http_server;
pub mod inputs;
pub mod io;
pub mod job;
mod kube;
pub mod log;
pub mod machine;
pub mod metrics;
pub mod monitor;
pub mod pipeline;
pub mod plan;
pub mod queue;
pub mod random;
pub mod reload;
pub mod retry;
pub mod run;
pub mod serial;
pub mod shards;
pub mod storage;
pub mod supervisor;
#[cfg(test)]
mod testing;
mod under_way;
pub mod walk;
pub mod workers;
mod workspace;
