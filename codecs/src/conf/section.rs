//! What both grammars (classic and YAML) produce: sections of entries, each with its place in the text.

use std::sync::Arc;

/// A place in a configuration file or on the command line; `line` and `column` count from 1 (characters).
/// Line 0 means that the place is the whole file, or the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file as the user named it, or `command line`.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl Span {
    /// A place.
    pub fn new(file: &Arc<str>, line: u32, column: u32) -> Self {
        Span { file: file.clone(), line, column }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{}:{}", self.file, line, self.column),
        }
    }
}

/// One `Key value` line, or a YAML scalar. A YAML list of scalars becomes one entry per item.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as written; compared without regard to case.
    pub key: String,
    /// The value with `${…}` replaced.
    pub value: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Where the value stands.
    pub value_span: Span,
}

/// `[INPUT]`, a YAML list item under `inputs`, or an `-i … -p …` group of the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Lower-case section name: `service`, `input`, `filter`, `output`, `parser`, `multiline_parser`, …
    pub name: String,
    /// Where the section begins.
    pub span: Span,
    /// Its entries in the order of the text.
    pub entries: Vec<Entry>,
    /// Sections inside it: YAML `processors` (name `processor.logs`, in order), multi-line `rules` are entries instead.
    pub children: Vec<Section>,
}

impl Section {
    /// An empty section.
    pub fn new(name: &str, span: Span) -> Self {
        Section { name: name.to_ascii_lowercase(), span, entries: Vec::new(), children: Vec::new() }
    }

    /// The entries with this key, in order.
    pub fn all<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s Entry> {
        self.entries.iter().filter(move |e| e.key.eq_ignore_ascii_case(key))
    }

    /// The value that counts for a key that may stand once: the last one, as in Fluent Bit.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|e| e.key.eq_ignore_ascii_case(key))
    }
}
