//! Configuration text: grammars, option tables, and what is wrong with a file, with its place.
//!
//! Owns: text → sections → typed options. Never: reads files or the environment itself (both come through
//! [`Source`]), knows which plugins exist.

mod classic;
pub mod diagnostics;
pub mod options;
mod plugin;
pub mod reader;
pub mod section;
pub mod source;
pub mod values;
pub mod variables;
mod yaml;
mod yaml_tree;

#[cfg(test)]
mod grammar_tests;

pub use classic::SECTIONS;
pub use diagnostics::{Diagnostic, Diagnostics, Level, nearest};
pub use options::{OptionSpec, OptionValue, Status};
pub use plugin::Plugin;
pub use reader::{Document, Grammar, read, read_with};
pub use section::{Entry, Section, Span};
pub use source::Source;
pub use variables::Variables;
