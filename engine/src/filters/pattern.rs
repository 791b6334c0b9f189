//! Patterns of filters: a compiled regular expression and its text.

use codecs::parsers::Scratch;
use regex_automata::meta;

/// A pattern as filters use it.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: meta::Regex,
    text: String,
}

impl Pattern {
    /// Compiles it; the error says what is wrong.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let syntax = regex_automata::util::syntax::Config::new().utf8(false).multi_line(true);
        let regex = meta::Regex::builder()
            .syntax(syntax)
            .configure(meta::Config::new().utf8_empty(false))
            .build(text);
        Ok(Pattern { regex: regex.map_err(|e| e.to_string())?, text: text.to_owned() })
    }

    /// True when it is found anywhere in `text`.
    pub(super) fn is_match(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        let _ = scratch;
        self.regex.is_match(text)
    }

    /// The first ten captures of the first match; 0 is the whole match.
    pub(super) fn captures<'t>(
        &self,
        text: &'t [u8],
        scratch: &mut Scratch,
    ) -> Option<[Option<&'t [u8]>; 10]> {
        let _ = scratch;
        let mut captures = self.regex.create_captures();
        self.regex.captures(text, &mut captures);
        captures
            .is_match()
            .then(|| std::array::from_fn(|n| captures.get_group(n).map(|span| &text[span.range()])))
    }

    /// Byte strings of which one must stand in every text that it fits, where that is known.
    pub(super) fn required_literals(&self) -> Option<Vec<Vec<u8>>> {
        codecs::regex::literals::required(&self.text)
    }
}
