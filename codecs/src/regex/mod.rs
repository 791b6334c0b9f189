//! regex
pub mod literals;
