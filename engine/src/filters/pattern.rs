//! Patterns of filters: regular expressions with the worker's scratch space behind them.

use codecs::parsers::Scratch;
use codecs::regex::Regex;

/// Captures that a template can name: `$0` to `$9`.
const CAPTURES: usize = 10;

/// A pattern as filters use it.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles it; the error says what is wrong.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Pattern).map_err(|e| e.message)
    }

    /// True when it is found anywhere in `text`.
    pub(super) fn is_match(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        self.0.is_match(text, &mut scratch.regex)
    }

    /// The captures of the first match; 0 is the whole match, which is empty too where the pattern has no group, as in
    /// Fluent Bit.
    pub(super) fn captures<'t>(
        &self,
        text: &'t [u8],
        scratch: &mut Scratch,
    ) -> Option<[Option<&'t [u8]>; CAPTURES]> {
        let found = self.0.captures(text, &mut scratch.regex);
        let group =
            |n| scratch.regex.group(n).and_then(|range| text.get(range)).filter(|_| self.0.groups() > 0);
        found.then(|| std::array::from_fn(group))
    }

    /// Byte strings of which one must stand in every text that it fits, where that is known; none is empty.
    pub(super) fn required_literals(&self) -> Option<Vec<Vec<u8>>> {
        self.0.literals().filter(|literals| literals.iter().all(|l| !l.is_empty()))
    }
}

/// Gives the named parts of the first match, in the order of the pattern; `None` for one that took no part in it.
pub(super) fn named_captures<'r, 't>(
    regex: &'r Regex,
    text: &'t [u8],
    scratch: &mut Scratch,
    mut take: impl FnMut(&'r str, Option<&'t [u8]>),
) {
    if regex.captures(text, &mut scratch.regex) {
        for (name, group) in regex.names() {
            take(name, scratch.regex.group(*group).and_then(|range| text.get(range)));
        }
    }
}
