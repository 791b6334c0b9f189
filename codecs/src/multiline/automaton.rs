//! Several expressions over one line, in one pass: which is the first of them that matches.
//!
//! Owns: the compiled expressions of a set of rules. Never: allocates while it runs (but for the engine of
//! expressions that automata cannot run). Only whether an expression matches counts here, not where; what cannot
//! change that (a trailing `.*`) is cut off before compiling.

use crate::regex::Regex;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::{prefilter::Prefilter, primitives::StateID, start};
use regex_automata::{Anchored, MatchKind, PatternID, Span, meta};
use regex_syntax::hir::{Hir, HirKind, Look, Repetition};

/// Most memory that the automaton of one set may take; a larger one is run another way.
const DFA_BYTES_MAX: usize = 4 << 20;

/// An expression in Fluent Bit's spelling (`/…/`, options behind it), compiled.
#[derive(Debug)]
pub(super) struct Expression {
    hir: Option<Hir>,
    /// One of these stands in every text that matches.
    literals: Option<Vec<Vec<u8>>>,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Automaton(meta::Regex),
    /// Look-around and back-references.
    Backtracking(Box<Regex>),
}

impl Expression {
    /// Compiles; the error says why not, in lower case.
    pub(super) fn new(pattern: &str) -> Result<Expression, String> {
        let regex = Regex::new(pattern).map_err(|e| format!("`{pattern}` does not compile: {e}"))?;
        let literals = regex.literals();
        let Some(hir) = regex.hir().map(|hir| without_tail(hir.clone())) else {
            return Ok(Expression { hir: None, literals, engine: Engine::Backtracking(Box::new(regex)) });
        };
        let engine = meta::Builder::new()
            .configure(meta::Config::new().utf8_empty(false))
            .build_from_hir(&hir)
            .map_err(|e| format!("`{pattern}` is too large: {e}"))?;
        Ok(Expression { hir: Some(hir), literals, engine: Engine::Automaton(engine) })
    }

    /// Whether it matches anywhere in `text`.
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        match &self.engine {
            // In Ruby, no line begins behind a line feed that ends the text; here one does.
            Engine::Automaton(regex) if text.last() == Some(&b'\n') => {
                regex.find(text).is_some_and(|found| found.start() < text.len())
            }
            Engine::Automaton(regex) => regex.is_match(text),
            // Matching alone leaves nothing in the memory that it is given.
            Engine::Backtracking(regex) => regex.is_match(text, &mut crate::regex::Scratch::default()),
        }
    }

    /// Whether a match can begin only where a line begins.
    fn anchored(&self) -> bool {
        self.hir.as_ref().is_some_and(|hir| {
            let looks = hir.properties().look_set_prefix();
            looks.contains(Look::StartLF) || looks.contains(Look::Start)
        })
    }
}

/// Expressions in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Set {
    /// Finds nothing in text that none of the expressions matches.
    literals: Option<Prefilter>,
    how: How,
}

#[derive(Debug)]
enum How {
    /// One pass from the line's begin, for expressions that can match nowhere else.
    Anchored(Box<dense::DFA<Vec<u32>>>, StateID),
    /// A search for any of them, then one by one.
    Search(Box<meta::Regex>),
    /// One by one.
    Each,
}

impl Set {
    /// Compiles the expressions together.
    pub(super) fn new(expressions: &[&Expression]) -> Set {
        let how = How::new(expressions);
        // The anchored automaton is done sooner than any search.
        let literals = if matches!(how, How::Anchored(..)) { None } else { prefilter(expressions) };
        Set { literals, how }
    }

    /// The first of the `count` expressions, in the order of the set, that matches. `expression` gives those that
    /// the set was made of, by their number. `one_line` says that there is no line feed in the text.
    pub(super) fn first<'e>(
        &self,
        expression: impl Fn(usize) -> &'e Expression,
        count: usize,
        text: &[u8],
        one_line: bool,
    ) -> Option<usize> {
        debug_assert!(!one_line || is_one_line(text));
        if self.literals.as_ref().is_some_and(|l| l.find(text, Span::from(0..text.len())).is_none()) {
            return None;
        }
        match &self.how {
            // Behind a line feed inside the text another line begins.
            How::Anchored(dfa, start) if one_line || is_one_line(text) => {
                return first_anchored(dfa, *start, text);
            }
            How::Search(regex) if !regex.is_match(text) => return None,
            _ => {}
        }
        (0..count).find(|&i| expression(i).is_match(text))
    }
}

impl How {
    fn new(expressions: &[&Expression]) -> How {
        let Some(hirs) = expressions.iter().map(|e| e.hir.as_ref()).collect::<Option<Vec<_>>>() else {
            return How::Each;
        };
        if hirs.is_empty() {
            return How::Each;
        }
        if expressions.iter().all(|e| e.anchored())
            && let Some(dfa) = dense_dfa(&hirs)
            && let Ok(start) = dfa.start_state(&start::Config::new().anchored(Anchored::Yes))
        {
            return How::Anchored(Box::new(dfa), start);
        }
        let config = meta::Config::new().utf8_empty(false);
        match meta::Builder::new().configure(config).build_many_from_hir(&hirs) {
            Ok(regex) if hirs.len() > 1 => How::Search(Box::new(regex)),
            _ => How::Each,
        }
    }
}

/// A search for the literals of all expressions, when each has some and the search is fast.
fn prefilter(expressions: &[&Expression]) -> Option<Prefilter> {
    let sets = expressions.iter().map(|e| e.literals.as_deref()).collect::<Option<Vec<_>>>()?;
    Prefilter::new(MatchKind::LeftmostFirst, &sets.concat()).filter(Prefilter::is_fast)
}

fn dense_dfa(hirs: &[&Hir]) -> Option<dense::DFA<Vec<u32>>> {
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().utf8(false).shrink(true))
        .build_many_from_hir(hirs)
        .ok()?;
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::All)
        .dfa_size_limit(Some(DFA_BYTES_MAX))
        .determinize_size_limit(Some(4 * DFA_BYTES_MAX));
    dense::Builder::new().configure(config).build_from_nfa(&nfa).ok()
}

/// Runs the automaton until nothing can match any more; the lowest pattern number wins.
fn first_anchored(dfa: &dense::DFA<Vec<u32>>, start: StateID, text: &[u8]) -> Option<usize> {
    let mut state = start;
    let mut best: Option<PatternID> = None;
    let mut take = |state| {
        for index in 0..dfa.match_len(state) {
            let pattern = dfa.match_pattern(state, index);
            best = Some(best.map_or(pattern, |b| b.min(pattern)));
        }
        best
    };
    for &byte in text {
        state = dfa.next_state(state, byte);
        if dfa.is_special_state(state) {
            if dfa.is_match_state(state) {
                if take(state) == Some(PatternID::ZERO) {
                    return Some(0);
                }
            } else if dfa.is_dead_state(state) || dfa.is_quit_state(state) {
                return best.map(|b| b.as_usize());
            }
        }
    }
    state = dfa.next_eoi_state(state);
    if dfa.is_match_state(state) {
        take(state);
    }
    best.map(|b| b.as_usize())
}

/// Cuts off what cannot change whether there is a match: groups' names, and a tail that may be empty.
fn without_tail(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Concat(mut parts) => {
            while parts.len() > 1 && parts.last().is_some_and(may_be_dropped) {
                parts.pop();
            }
            if let Some(last) = parts.pop() {
                parts.push(without_tail(last));
            }
            Hir::concat(parts)
        }
        HirKind::Capture(capture) => without_tail(*capture.sub),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(without_tail).collect()),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            let (min, greedy, sub) = (repetition.min, repetition.greedy, repetition.sub);
            Hir::repetition(Repetition { min, max: Some(min), greedy, sub })
        }
        kind => rebuild(kind),
    }
}

/// A repetition that may take nothing matches wherever it stands last.
fn may_be_dropped(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Repetition(r) if r.min == 0)
}

fn rebuild(kind: HirKind) -> Hir {
    match kind {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Repetition(repetition) => Hir::repetition(repetition),
        HirKind::Capture(capture) => Hir::capture(capture),
        HirKind::Concat(parts) => Hir::concat(parts),
        HirKind::Alternation(parts) => Hir::alternation(parts),
    }
}

/// Whether text has no line feed in it.
fn is_one_line(text: &[u8]) -> bool {
    memchr::memchr(b'\n', text).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compiled(patterns: &[&str]) -> Vec<Expression> {
        patterns.iter().map(|p| Expression::new(p).expect("compiles")).collect()
    }

    #[test]
    fn flags_and_slashes() {
        for (pattern, text, want) in [
            ("/^a b$/", "a b", true),
            ("^a", "A", false),
            ("/^a/i", "A", true),
            ("/a.b/", "a\nb", false),
            ("/a.b/m", "a\nb", true),
            ("/a b/x", "ab", true),
            ("/^$/", "", true),
            ("/^$/", "x\n", false),
            ("/^$/", "\n", true),
            ("/^b/", "a\nb", true),
            ("/x[:\\n]/", "x\n", true),
            ("/(?=x)x/", "ax", true),
            ("/x/y", "x", false),
        ] {
            let expression = Expression::new(pattern).expect("compiles");
            assert_eq!(expression.is_match(text.as_bytes()), want, "{pattern} on {text:?}");
        }
        assert!(Expression::new("/(/").is_err());
    }

    #[test]
    fn the_set_runs_as_one_automaton_where_it_can() {
        let anchored = compiled(&["/^\\s+at\\s+.*/", "/^Caused by:/"]);
        assert!(matches!(Set::new(&anchored.iter().collect::<Vec<_>>()).how, How::Anchored(..)));
        let mixed = compiled(&["/^\\s+at/", "/x/"]);
        assert!(matches!(Set::new(&mixed.iter().collect::<Vec<_>>()).how, How::Search(_)));
    }

    proptest! {
        #[test]
        fn the_first_that_matches(text in "[ \t]{0,2}(at|File|Caused by:|x|\\.\\.\\. 3 more|)[ a:.\n]{0,4}", order in Just(()).prop_perturb(|(), mut r| r.next_u32())) {
            let mut patterns = vec!["/^[\\t ]*(?:Caused by|Suppressed):/", "/^[\\t ]+(?:eval )?at /", "/^\\s+/", "/^$/", "/^[\\t ]*... \\d+ (?:more|x)/", "/^.*:$/"];
            let rotation = order as usize % patterns.len();
            patterns.rotate_left(rotation);
            let expressions = compiled(&patterns);
            let refs: Vec<_> = expressions.iter().collect();
            let set = Set::new(&refs);
            let want = refs.iter().position(|e| e.is_match(text.as_bytes()));
            prop_assert_eq!(set.first(|i| refs[i], refs.len(), text.as_bytes(), false), want);
            if is_one_line(text.as_bytes()) {
                prop_assert_eq!(set.first(|i| refs[i], refs.len(), text.as_bytes(), true), want);
            }
        }
    }
}
