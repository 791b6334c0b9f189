//! Patterns of filters: a compiled regular expression.

use codecs::parsers::Scratch;
use codecs::regex::Regex;

/// A pattern as filters use it.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles it; the error says what is wrong.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Pattern).map_err(|e| e.to_string())
    }

    /// True when it is found anywhere in `text`.
    pub(super) fn is_match(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        self.0.is_match(text, &mut scratch.regex)
    }

    /// The first ten captures of the first match; 0 is the whole match.
    pub(super) fn captures<'t>(&self, text: &'t [u8], scratch: &mut Scratch) -> Option<[Option<&'t [u8]>; 10]> {
        let found = self.0.captures(text, &mut scratch.regex);
        found.then(|| std::array::from_fn(|n| scratch.regex.group(n).and_then(|range| text.get(range))))
    }

    /// Byte strings of which one must stand in every text that it fits, where that is known.
    pub(super) fn required_literals(&self) -> Option<Vec<Vec<u8>>> {
        self.0.literals()
    }
}
