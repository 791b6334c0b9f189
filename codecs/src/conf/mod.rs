//! Configuration text: grammars, option tables, and what is wrong with a file, with its place.
//!
//! Owns: text → sections → typed options. Never: reads files or the environment itself (both come through
//! [`Source`]), knows which plugins exist.

pub mod diagnostics;
pub mod options;
pub mod section;
pub mod values;

pub use diagnostics::{Diagnostic, Diagnostics, Level, nearest};
pub use options::{OptionSpec, OptionValue, Status};
pub use section::{Entry, Section, Span};
