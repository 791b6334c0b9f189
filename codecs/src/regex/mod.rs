//! Regular expressions as Fluent Bit has them: Onigmo with Ruby's syntax over UTF-8, run by automata.
//!
//! Owns: reading the pattern, choosing what runs it, groups. Never: backtracks, but for patterns that cannot do without.
//! Invariant: which engine runs is not to be seen in the answer.

mod fallback;
mod program;
mod ruby;
mod splitter;
mod syntax;
#[cfg(test)]
mod tests;
mod twopass;

use crate::simd::tier;
use fallback::Fallback;
use regex_automata::dfa::{Automaton, dense};
use regex_automata::meta;
use regex_automata::nfa::thompson;
use ruby::{Flags, Refusal};
use splitter::Splitter;
use std::sync::OnceLock;
use syntax::{ByteSet, Node, byte_set};
use twopass::TwoPass;

/// Largest automaton for `is_match`, in bytes; larger patterns run lazily.
const DENSE_BYTES_MAX: usize = 256 * 1024;
/// Largest compiled pattern, in bytes.
const NFA_BYTES_MAX: usize = 4 * 1024 * 1024;

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

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Splitter => f.write_str("field splitter in front of a two-pass DFA"),
            Kind::Dfa => f.write_str("two-pass DFA"),
            Kind::Fallback(why) => write!(f, "fallback: {why}"),
        }
    }
}

/// Reusable working memory of one worker, shared by all patterns; holds the groups of the last match.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Start and end for each group, `usize::MAX` where it took no part.
    slots: Vec<usize>,
    /// The backward pass's row at each position.
    notes: Vec<u32>,
}

impl Scratch {
    /// Where group `index` (0 is the whole match) matched last, as `start..end`; `None` when it took no part.
    #[inline]
    pub fn group(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let &[start, end] = self.slots.get(2 * index..2 * index + 2)?.first_chunk()?;
        (start <= end && end != usize::MAX).then_some(start..end)
    }
}

/// A compiled pattern, shared by all workers.
#[derive(Debug)]
pub struct Regex {
    names: Vec<(String, usize)>,
    /// Number of groups, without the whole match.
    groups: usize,
    /// By group number: it can only hold printable ASCII without `"` and `\`.
    plain: Vec<bool>,
    literals: Option<Vec<Vec<u8>>>,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    /// A pattern without look-around.
    Automata(Box<Automata>),
    Backtracking(Box<Fallback>, &'static str),
}

#[derive(Debug)]
struct Automata {
    hir: regex_syntax::hir::Hir,
    /// A line's start may be all that is left to match: where a line feed ends the text, only two passes know that no
    /// line starts behind it.
    ends_at_line_start: bool,
    splitter: Option<Splitter>,
    /// Made at the first use, as a pattern is used for either matching or groups.
    two_pass: OnceLock<Captures>,
    matcher: OnceLock<Matcher>,
}

#[derive(Debug)]
enum Captures {
    TwoPass(Box<TwoPass>),
    Meta(meta::Regex),
}

#[derive(Debug)]
enum Matcher {
    Dense(Box<dense::DFA<Vec<u32>>>, Option<Box<memchr::memmem::Finder<'static>>>),
    Meta(meta::Regex),
}

impl Regex {
    /// Compiles a pattern in Fluent Bit's spelling: bare, `/…/`, or `/…/` with options `i`, `m`, `x`.
    pub fn new(pattern: &str) -> Result<Regex, Error> {
        let (pattern, flags) = unslash(pattern);
        match ruby::parse(pattern, flags) {
            Ok(tree) => match Regex::automata(tree)? {
                Some(regex) => Ok(regex),
                None => Regex::backtracking(
                    pattern,
                    flags,
                    "a line's start before nothing, in so large a pattern,",
                ),
            },
            Err(Refusal::Syntax(message)) => Err(Error { message }),
            Err(Refusal::Backtracking(why)) => Regex::backtracking(pattern, flags, why),
        }
    }

    fn backtracking(pattern: &str, flags: Flags, why: &'static str) -> Result<Regex, Error> {
        let fallback =
            Fallback::new(pattern, flags).map_err(|message| Error { message: one_line(&message) })?;
        Ok(Regex {
            names: fallback.names(),
            groups: fallback.groups(),
            plain: Vec::new(),
            literals: None,
            engine: Engine::Backtracking(Box::new(fallback), why),
        })
    }

    /// `None` when automata would need two passes, and these are too large.
    fn automata(tree: ruby::Tree) -> Result<Option<Regex>, Error> {
        let hir = tree.node.hir();
        let automata = Automata {
            ends_at_line_start: tree.node.ends_at_line_start(true),
            splitter: Splitter::new(&tree.node, tree.groups),
            two_pass: OnceLock::new(),
            matcher: OnceLock::new(),
            hir,
        };
        // What is too large to compile at all has to be told now.
        automata.nfa().map_err(|message| Error { message })?;
        if automata.ends_at_line_start && matches!(automata.groups(), Captures::Meta(_)) {
            return Ok(None);
        }
        let mut plain = vec![false; tree.groups + 1];
        mark_plain(&tree.node, &mut plain);
        let literals = required(&tree.node);
        Ok(Some(Regex {
            names: tree.names,
            groups: tree.groups,
            plain,
            literals,
            engine: Engine::Automata(Box::new(automata)),
        }))
    }

    /// The pattern as automata take it, for compiling several into one; `None` when it cannot do without backtracking.
    pub(crate) fn hir(&self) -> Option<&regex_syntax::hir::Hir> {
        match &self.engine {
            Engine::Automata(automata) => Some(&automata.hir),
            Engine::Backtracking(..) => None,
        }
    }

    /// Whether the pattern matches anywhere in `text`.
    pub fn is_match(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        match &self.engine {
            Engine::Backtracking(fallback, _) => fallback.is_match(text),
            Engine::Automata(automata) => {
                automata.finds(text, self.literals.as_deref())
                    && (!automata.ends_at_line_start
                        || text.last() != Some(&b'\n')
                        || self.confirms(text, scratch))
            }
        }
    }

    /// Whether it matches, where only two passes know.
    #[cold]
    fn confirms(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        self.captures(text, scratch)
    }

    /// Finds the leftmost match; its groups are then in `scratch`.
    pub fn captures(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        match &self.engine {
            Engine::Backtracking(fallback, _) => fallback.captures(text, &mut scratch.slots),
            Engine::Automata(automata) => {
                if let Some(splitter) = &automata.splitter
                    && splitter.captures(tier(), text, &mut scratch.slots)
                {
                    return true;
                }
                match automata.groups() {
                    Captures::TwoPass(two_pass) => {
                        two_pass.captures(text, &mut scratch.notes, &mut scratch.slots)
                    }
                    Captures::Meta(regex) => meta_captures(regex, text, &mut scratch.slots),
                }
            }
        }
    }

    /// Names and group numbers, in the order in which names first stand in the pattern; a name may stand twice.
    pub fn names(&self) -> &[(String, usize)] {
        &self.names
    }

    /// Number of groups, without the whole match.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// True when the group can only hold printable ASCII without `"` and `\`.
    pub fn is_plain(&self, group: usize) -> bool {
        self.plain.get(group).copied().unwrap_or(false)
    }

    /// What runs it.
    pub fn kind(&self) -> Kind {
        match &self.engine {
            Engine::Backtracking(_, why) => Kind::Fallback(format!("{why} needs backtracking")),
            Engine::Automata(automata) if automata.splitter.is_some() => Kind::Splitter,
            Engine::Automata(automata) => match automata.groups() {
                Captures::TwoPass(_) => Kind::Dfa,
                Captures::Meta(_) => Kind::Fallback("the automaton would be too large".into()),
            },
        }
    }

    /// Literals of which one stands in every text that matches, for skipping texts on raw bytes; `None` when none is known.
    pub fn literals(&self) -> Option<Vec<Vec<u8>>> {
        self.literals.clone()
    }
}

impl Automata {
    fn nfa(&self) -> Result<thompson::NFA, String> {
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(NFA_BYTES_MAX));
        thompson::Compiler::new()
            .configure(config)
            .build_from_hir(&self.hir)
            .map_err(|e| one_line(&e.to_string()))
    }

    /// Whether it matches, when a line may start behind a line feed that ends the text.
    #[inline(always)]
    fn finds(&self, text: &[u8], literals: Option<&[Vec<u8>]>) -> bool {
        match self.matcher.get_or_init(|| self.new_matcher(literals)) {
            Matcher::Dense(dfa, finder) => {
                if finder.as_ref().is_some_and(|f| f.find(text).is_none()) {
                    return false;
                }
                let input = regex_automata::Input::new(text).earliest(true);
                dfa.try_search_fwd(&input).is_ok_and(|m| m.is_some())
            }
            Matcher::Meta(regex) => regex.is_match(text),
        }
    }

    fn groups(&self) -> &Captures {
        self.two_pass.get_or_init(|| {
            let two_pass = self.nfa().ok().and_then(|nfa| TwoPass::new(&nfa));
            two_pass.map_or_else(|| Captures::Meta(self.meta()), |t| Captures::TwoPass(Box::new(t)))
        })
    }

    fn meta(&self) -> meta::Regex {
        let config = meta::Config::new().utf8_empty(false).nfa_size_limit(None);
        meta::Builder::new()
            .configure(config)
            .build_from_hir(&self.hir)
            .expect("without a size limit, what compiled once does again")
    }

    fn new_matcher(&self, literals: Option<&[Vec<u8>]>) -> Matcher {
        let finder = match literals {
            Some([literal]) => Some(Box::new(memchr::memmem::Finder::new(literal).into_owned())),
            _ => None,
        };
        let config = dense::Config::new()
            .dfa_size_limit(Some(DENSE_BYTES_MAX))
            .determinize_size_limit(Some(4 * DENSE_BYTES_MAX))
            .start_kind(regex_automata::dfa::StartKind::Unanchored);
        let captures = thompson::WhichCaptures::None;
        let nfa =
            thompson::Config::new().utf8(false).which_captures(captures).nfa_size_limit(Some(NFA_BYTES_MAX));
        let nfa = thompson::Compiler::new().configure(nfa).build_from_hir(&self.hir).ok();
        let dense = nfa.and_then(|nfa| dense::Builder::new().configure(config).build_from_nfa(&nfa).ok());
        dense.map_or_else(|| Matcher::Meta(self.meta()), |dfa| Matcher::Dense(Box::new(dfa), finder))
    }
}

fn meta_captures(regex: &meta::Regex, text: &[u8], slots: &mut Vec<usize>) -> bool {
    let mut captures = regex.create_captures();
    regex.captures(text, &mut captures);
    slots.clear();
    for group in captures.iter() {
        let (start, end) = group.map_or((usize::MAX, usize::MAX), |g| (g.start, g.end));
        slots.extend([start, end]);
    }
    captures.is_match()
}

/// Takes off the slashes, as Fluent Bit does: `/a/` and `/a/i`, but `/a/o` and `/a` stay whole.
fn unslash(pattern: &str) -> (&str, Flags) {
    let mut flags = Flags::default();
    let Some(last) = pattern.rfind('/').filter(|&at| at > 0 && pattern.starts_with('/')) else {
        return (pattern, flags);
    };
    let options = &pattern[last + 1..];
    if options.is_empty() {
        return (&pattern[1..last], flags);
    }
    for option in options.chars() {
        match option {
            'm' => flags.dot_all = true,
            'i' => flags.ignore_case = true,
            'x' => flags.extended = true,
            'o' => {}
            _ => return (pattern, Flags::default()),
        }
    }
    if flags == Flags::default() { (pattern, flags) } else { (&pattern[1..last], flags) }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Bytes that a match of `node` may hold.
fn alphabet(node: &Node) -> ByteSet {
    let mut set = ByteSet::EMPTY;
    match node {
        Node::Empty | Node::Look(_) => {}
        Node::Literal(bytes) => bytes.iter().for_each(|&b| set.add(b)),
        Node::Class(class) => return byte_set(class).unwrap_or(ByteSet([u64::MAX; 4])),
        Node::Repeat { node, .. } | Node::Group { node, .. } => return alphabet(node),
        Node::Concat(nodes) | Node::Alternate(nodes) => nodes.iter().for_each(|n| set.union(&alphabet(n))),
    }
    set
}

fn mark_plain(node: &Node, plain: &mut [bool]) {
    match node {
        Node::Group { index, node } => {
            if let Some(flag) = plain.get_mut(*index as usize) {
                *flag = alphabet(node).bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
            }
            mark_plain(node, plain);
        }
        Node::Repeat { node, .. } => mark_plain(node, plain),
        Node::Concat(nodes) | Node::Alternate(nodes) => nodes.iter().for_each(|n| mark_plain(n, plain)),
        Node::Empty | Node::Literal(_) | Node::Class(_) | Node::Look(_) => {}
    }
}

/// The best set of literals of which one is in every match.
fn required(node: &Node) -> Option<Vec<Vec<u8>>> {
    /// More of them would not be quicker than the automaton.
    const LITERALS_MAX: usize = 16;
    let worth =
        |set: &Vec<Vec<u8>>| (set.iter().map(Vec::len).min().unwrap_or(0), std::cmp::Reverse(set.len()));
    match node {
        Node::Literal(bytes) => Some(vec![bytes.clone()]),
        Node::Group { node, .. } => required(node),
        Node::Repeat { node, min, .. } if *min > 0 => required(node),
        Node::Concat(nodes) => nodes.iter().filter_map(required).max_by_key(worth),
        Node::Alternate(nodes) => {
            let sets: Option<Vec<_>> = nodes.iter().map(required).collect();
            sets.map(|s| s.concat()).filter(|s| s.len() <= LITERALS_MAX)
        }
        Node::Empty | Node::Class(_) | Node::Look(_) | Node::Repeat { .. } => None,
    }
}
