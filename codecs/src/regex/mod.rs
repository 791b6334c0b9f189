//! Regular expressions as Fluent Bit has them (Onigmo, Ruby syntax, UTF-8), run by automata.

/// Why a pattern cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong: lower case, no full stop.
    pub message: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What runs a pattern, for the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A field splitter; lines it cannot decide go to the automaton.
    Splitter,
    /// Two passes of a deterministic automaton.
    Dfa,
    /// A slower engine; says why.
    Fallback(String),
}

/// Reusable working memory of one worker, shared by all patterns; holds the groups of the last match.
#[derive(Debug, Default)]
pub struct Scratch {
    slots: Vec<usize>,
}

impl Scratch {
    /// Where group `index` (0 is the whole match) matched last, as `start..end`; `None` when it took no part.
    pub fn group(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let (start, end) = (*self.slots.get(2 * index)?, *self.slots.get(2 * index + 1)?);
        (start <= end && end != usize::MAX).then_some(start..end)
    }
}

/// A compiled pattern, shared by all workers.
#[derive(Debug)]
pub struct Regex {
    names: Vec<(String, usize)>,
}

impl Regex {
    /// Compiles a pattern in Fluent Bit's spelling: bare, `/…/`, or `/…/` with options `i`, `m`, `x`.
    pub fn new(pattern: &str) -> Result<Regex, Error> {
        Err(Error { message: format!("`{pattern}`: not built") })
    }

    /// Whether the pattern matches anywhere in `text`.
    pub fn is_match(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        let _ = (text, scratch);
        false
    }

    /// Finds the leftmost match; its groups are then in `scratch`.
    pub fn captures(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        let _ = (text, scratch);
        false
    }

    /// Names and group numbers, in the order in which names first stand in the pattern; a name may stand twice.
    pub fn names(&self) -> &[(String, usize)] {
        &self.names
    }

    /// What runs it.
    pub fn kind(&self) -> Kind {
        Kind::Dfa
    }

    /// Literals of which one stands in every text that matches, for skipping texts on raw bytes; `None` when none is known.
    pub fn literals(&self) -> Option<Vec<Vec<u8>>> {
        None
    }
}
