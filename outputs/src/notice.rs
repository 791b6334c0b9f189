//! What an output has to tell its user while it runs: one line at a time, to a sink that the engine sets.
//!
//! Owns: the seam to the engine's log. Never: writes anywhere itself, so that a program without a sink stays silent.

use std::sync::OnceLock;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may fail, or was repaired.
    Warn,
    /// Something a user wants to know.
    Info,
    /// Something a developer wants to know.
    Debug,
}

/// Takes one line: level, component (such as `output:cloudwatch_logs:cloudwatch_logs.0`) and message.
pub type Sink = fn(Level, &str, &str);

static SINK: OnceLock<Sink> = OnceLock::new();

/// Sets where lines go; the first call counts.
pub fn set_sink(sink: Sink) {
    let _ = SINK.set(sink);
}

/// Tells one line.
pub fn tell(level: Level, component: &str, message: &str) {
    if let Some(sink) = SINK.get() {
        sink(level, component, message);
    }
}
