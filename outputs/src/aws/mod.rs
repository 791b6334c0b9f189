//! What all AWS outputs share: credentials, region, endpoint, connections, and the reading of errors.
//!
//! Owns: how the SDK is set up and what its errors mean to a caller. Never: knows a service's operations.

pub(crate) mod check;
pub mod faults;
pub mod options;
pub mod session;
pub mod transport;

pub use faults::{Fault, classify};
pub use options::AwsOptions;
pub use session::{Account, Endpoint};
pub use transport::{Limits, Tls, Transport};
