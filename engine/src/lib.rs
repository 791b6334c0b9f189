//! Everything that schedules, reads or listens; the binary is a thin caller of this.
pub mod filters;
pub mod inputs;
