//! The built program as a black box: one program of tests, so that the engine is linked once.

mod bad_input;
mod breaker;
mod cloudwatch;
mod conformance;
mod containers;
mod credentials;
mod deploy;
mod examples;
mod filters;
mod firelens;
mod io_fallback;
mod journal;
mod kubernetes;
mod listening;
mod memory;
mod mistakes;
mod nothing_lost;
mod options;
mod reload;
mod rig;
mod s3_crash;
mod s3_disk;
mod s3_peers;
mod shutdown;
mod storage;
