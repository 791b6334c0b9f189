//! In-process peers that enforce the rules of the real services and fail by script, for tests of this crate and of the
//! engine (feature `fakes`).
//!
//! Owns: servers on loopback. Never: part of the shipped binary.

pub mod bulk;
pub mod cloudwatch_logs;
pub mod forward;
pub mod http;
pub mod kinesis;
pub mod s3;
pub mod syslog;

pub use bulk::BulkFake;
pub use cloudwatch_logs::{Act, CloudwatchFake};
pub use forward::ForwardFake;
pub use kinesis::KinesisFake;
pub use s3::S3Fake;
