//! Regex rules: states, and which line leads from which to which.
//!
//! Owns: the rules of one parser, compiled. Never: holds lines. Invariant: rule numbers index [`Rules::list`].

use super::automaton::{Expression, Set};

/// A rule as it is written: `"from, states" "/expression/" "to"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) from: Vec<String>,
    pub(super) pattern: String,
    pub(super) to: Option<String>,
}

impl Source {
    /// A rule; `from` holds states with commas between them.
    pub(super) fn new(from: &str, pattern: &str, to: Option<&str>) -> Source {
        let from = from.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
        Source { from, pattern: pattern.to_owned(), to: to.map(str::to_owned) }
    }

    fn starts(&self) -> bool {
        self.from.iter().any(|s| s == START)
    }
}

/// The state before the first line.
const START: &str = "start_state";

/// Number of a rule.
pub(super) type RuleId = u16;

#[derive(Debug)]
struct Rule {
    expression: Expression,
    /// The record is whole with this line: what may follow is a start, or nothing.
    ends: bool,
    /// Number in [`Rules::after`] of those that may follow.
    next: usize,
}

/// Rules that are tried together.
#[derive(Debug)]
struct Matching {
    rules: Vec<RuleId>,
    set: Set,
}

/// All rules of a parser.
#[derive(Debug)]
pub(super) struct Rules {
    list: Vec<Rule>,
    start: Matching,
    /// Per state: the rules that go on from it, but for those that start.
    after: Vec<Matching>,
}

impl Rules {
    /// Compiles rules. The error names the rule (from 1) and what is wrong with it.
    pub(super) fn new(sources: &[Source]) -> Result<Rules, (usize, String)> {
        let mut expressions = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            if source.from.is_empty() {
                return Err((at, "it has no state to come from".into()));
            }
            if at == 0 && !source.starts() {
                return Err((at, "the first rule must come from `start_state`".into()));
            }
            if RuleId::try_from(at).is_err() {
                return Err((at, "there are more rules than 65536".into()));
            }
            expressions.push(Expression::new(&source.pattern).map_err(|message| (at, message))?);
        }
        if sources.is_empty() {
            return Err((0, "there is no rule".into()));
        }
        let matching = |wanted: &dyn Fn(&Source) -> bool| {
            let rules: Vec<usize> = (0..sources.len()).filter(|&i| wanted(&sources[i])).collect();
            let set = Set::new(&rules.iter().map(|&i| &expressions[i]).collect::<Vec<_>>());
            Matching { rules: rules.into_iter().map(|i| i as RuleId).collect(), set }
        };
        let start = matching(&Source::starts);
        // Rules that lead to the same state are followed by the same rules.
        let mut states: Vec<&Option<String>> = Vec::new();
        let mut after = Vec::new();
        let mut list = Vec::new();
        for source in sources {
            let next = states.iter().position(|s| **s == source.to).unwrap_or_else(|| {
                states.push(&source.to);
                let follows =
                    |r: &Source| !r.starts() && source.to.as_ref().is_some_and(|to| r.from.contains(to));
                after.push(matching(&follows));
                states.len() - 1
            });
            list.push((ends(source, sources), next));
        }
        let list = list.into_iter().zip(expressions).map(|((ends, next), expression)| Rule {
            expression,
            ends,
            next,
        });
        Ok(Rules { list: list.collect(), start, after })
    }

    /// The rule by which `text` goes on after `rule`.
    pub(super) fn next(&self, rule: RuleId, text: &[u8]) -> Option<RuleId> {
        let rule = self.list.get(usize::from(rule))?;
        self.first(self.after.get(rule.next)?, text, false)
    }

    /// The same of a text that has no line feed in it.
    pub(super) fn next_of_line(&self, rule: RuleId, text: &[u8]) -> Option<RuleId> {
        let rule = self.list.get(usize::from(rule))?;
        self.first(self.after.get(rule.next)?, text, true)
    }

    /// The rule by which `text` begins a record.
    pub(super) fn start(&self, text: &[u8]) -> Option<RuleId> {
        self.first(&self.start, text, false)
    }

    /// Whether a line taken by `rule` is the last of its record.
    pub(super) fn ends(&self, rule: RuleId) -> bool {
        self.list.get(usize::from(rule)).is_some_and(|r| r.ends)
    }

    fn first(&self, matching: &Matching, text: &[u8], one_line: bool) -> Option<RuleId> {
        if matching.rules.is_empty() {
            return None;
        }
        let expression = |i: usize| &self.list[usize::from(matching.rules[i])].expression;
        matching.set.first(expression, matching.rules.len(), text, one_line).map(|i| matching.rules[i])
    }
}

/// After such a rule comes a start, or a state without rules: what is there is whole.
fn ends(source: &Source, all: &[Source]) -> bool {
    let Some(to) = &source.to else { return false };
    let mut next = all.iter().filter(|s| s.from.contains(to)).peekable();
    next.peek().is_none() || next.any(Source::starts)
}

/// States that rules lead to and no rule comes from, in order, each once.
pub(super) fn states_without_rule(sources: &[Source]) -> Vec<&str> {
    let mut found = Vec::new();
    for to in sources.iter().filter_map(|s| s.to.as_deref()) {
        if !sources.iter().any(|s| s.from.iter().any(|f| f == to)) && !found.contains(&to) {
            found.push(to);
        }
    }
    found
}
