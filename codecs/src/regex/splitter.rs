//! A pattern as a few steps over the text: literals, runs up to a stop byte, optional parts entered by their first byte.
//!
//! Why its answer is right: at every choice it takes the alternative that a backtracking engine tries first, or a later
//! one only after each earlier one was seen to be impossible here (its first byte or its literal is not there). So
//! when it gets to the end, that engine would have gone the same way. When it does not, it declines: the line goes to the
//! two-pass automaton, also when it may just not match.

use super::program::Program;
use super::syntax::{ByteSet, Look, Node, byte_set, is_wide};
use crate::simd::{Needles, Tier};
use memchr::memmem::{Finder, FinderRev};

/// Most steps; longer patterns go to the automaton.
const STEPS_MAX: usize = 512;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Splitter {
    program: Program,
    slots: usize,
}

#[derive(Debug)]
pub(super) enum Step {
    /// These bytes.
    Literal(Box<[u8]>, usize),
    /// One byte of the set; the flag declines bytes beyond ASCII.
    One(ByteSet, bool, usize),
    /// A run.
    Run(Box<Run>, usize),
    /// Notes the position.
    Save(usize, usize),
    /// The first whose guard holds.
    Choose(Box<[(Guard, usize)]>),
    LineStart(usize),
    LineEnd(usize),
    TextStart(usize),
    TextEnd(usize),
    Match,
}

#[derive(Debug)]
pub(super) enum Guard {
    Always,
    Literal(Box<[u8]>),
    First(ByteSet),
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) set: ByteSet,
    /// At most 1: a longer least part is steps of its own.
    pub(super) min: usize,
    pub(super) max: usize,
    /// The bytes that end the run (or, lazily, that may begin what follows).
    pub(super) stops: Needles,
    pub(super) take: Take,
}

/// Where a run ends.
#[derive(Debug)]
pub(super) enum Take {
    /// As far as the set goes.
    All,
    /// So many bytes before that: there the literal behind it must begin.
    Back(usize),
    /// Before the last place of this literal.
    Last(Box<FinderRev<'static>>),
    /// Before the first byte that may begin what follows; the flag allows the end of the text.
    First(ByteSet, bool),
    /// Before the first place of this literal.
    FirstLiteral(Box<Finder<'static>>),
    /// As few as it may.
    Least,
}

impl Splitter {
    /// Compiles a pattern with `groups` groups; `None` when it does not read like steps.
    pub(super) fn new(node: &Node, groups: usize) -> Option<Splitter> {
        let mut steps = vec![Step::Match];
        let start = compile(&mut steps, node, 0)?;
        let slots = 2 * (groups + 1);
        Some(Splitter { program: Program::new(steps, start, slots), slots })
    }

    /// Matches at the start of the text; false declines and tells nothing.
    pub(super) fn captures(&self, tier: Tier, text: &[u8], slots: &mut Vec<usize>) -> bool {
        slots.clear();
        // One more, where positions go that nobody asked for.
        slots.resize(self.slots + 1, usize::MAX);
        let matched = self.program.run(tier, text, slots);
        slots.truncate(self.slots);
        matched
    }
}

fn add(steps: &mut Vec<Step>, step: Step) -> Option<usize> {
    steps.push(step);
    (steps.len() <= STEPS_MAX).then_some(steps.len() - 1)
}

/// Compiles `node` so that it goes on at `next`; the result is where it begins.
fn compile(steps: &mut Vec<Step>, node: &Node, next: usize) -> Option<usize> {
    match node {
        Node::Empty => Some(next),
        // A literal that is not UTF-8 could stand in the middle of a character.
        Node::Literal(bytes) if std::str::from_utf8(bytes).is_err() => None,
        Node::Literal(bytes) => add(steps, Step::Literal(bytes.clone().into(), next)),
        Node::Class(class) => add(steps, Step::One(byte_set(class)?, is_wide(class), next)),
        Node::Look(Look::LineStart) => add(steps, Step::LineStart(next)),
        Node::Look(Look::LineEnd) => add(steps, Step::LineEnd(next)),
        Node::Look(Look::TextStart) => add(steps, Step::TextStart(next)),
        Node::Look(Look::TextEnd) => add(steps, Step::TextEnd(next)),
        Node::Look(_) => None,
        Node::Group { index, node } => {
            let end = add(steps, Step::Save(2 * *index as usize + 1, next))?;
            let inner = compile(steps, node, end)?;
            add(steps, Step::Save(2 * *index as usize, inner))
        }
        Node::Concat(nodes) => nodes.iter().rev().try_fold(next, |next, node| compile(steps, node, next)),
        Node::Alternate(nodes) => {
            let mut branches = Vec::with_capacity(nodes.len());
            for node in nodes {
                let at = compile(steps, node, next)?;
                branches.push((guard(steps, at), at));
            }
            add(steps, Step::Choose(branches.into()))
        }
        Node::Repeat { node, min, max, greedy } => match (&**node, min, max) {
            (Node::Class(class), ..) => {
                let set = byte_set(class)?;
                let wide = is_wide(class);
                if wide && (*min > 1 || max.is_some()) {
                    return optional(steps, node, *min, *max, *greedy, next);
                }
                run(steps, set, (*min as usize, max.map_or(usize::MAX, |m| m as usize)), *greedy, next)
            }
            (Node::Literal(bytes), ..) if bytes.len() == 1 && bytes[0] < 0x80 => {
                let mut set = ByteSet::EMPTY;
                set.add(bytes[0]);
                run(steps, set, (*min as usize, max.map_or(usize::MAX, |m| m as usize)), *greedy, next)
            }
            _ => optional(steps, node, *min, *max, *greedy, next),
        },
    }
}

/// `(…)?`; other repeated parts do not read like steps.
fn optional(
    steps: &mut Vec<Step>,
    node: &Node,
    min: u32,
    max: Option<u32>,
    greedy: bool,
    next: usize,
) -> Option<usize> {
    if (min, max) != (0, Some(1)) || node.nullable() {
        return None;
    }
    let inner = compile(steps, node, next)?;
    let mut branches = vec![(guard(steps, inner), inner), (guard(steps, next), next)];
    if !greedy {
        branches.reverse();
    }
    add(steps, Step::Choose(branches.into()))
}

fn run(
    steps: &mut Vec<Step>,
    set: ByteSet,
    (min, max): (usize, usize),
    greedy: bool,
    next: usize,
) -> Option<usize> {
    let (stops, take) =
        if greedy { greedy_end(steps, &set, max, next) } else { lazy_end(steps, &set, (min, max), next)? };
    // Only the first byte of a run's least part is looked at in `Run::end`.
    if min > 1 && !matches!(take, Take::All) {
        return None;
    }
    if min > 1 {
        // The least part is checked as a run of its own.
        let rest = add(
            steps,
            Step::Run(
                Box::new(Run { set, min: 0, max: max - min, stops: needles(&complement(&set)), take }),
                next,
            ),
        )?;
        return (0..min).try_fold(rest, |next, _| add(steps, Step::One(set, false, next)));
    }
    add(steps, Step::Run(Box::new(Run { set, min, max, stops, take }), next))
}

fn greedy_end(steps: &[Step], set: &ByteSet, max: usize, next: usize) -> (Needles, Take) {
    let stops = needles(&complement(set));
    let literal = literal(steps, next);
    if max != usize::MAX || literal.is_empty() {
        return (stops, Take::All);
    }
    match literal.iter().position(|&b| !set.has(b)) {
        Some(0) => (stops, Take::All),
        Some(back) => (stops, Take::Back(back)),
        None => (stops, Take::Last(Box::new(FinderRev::new(&literal).into_owned()))),
    }
}

fn lazy_end(
    steps: &[Step],
    set: &ByteSet,
    (min, max): (usize, usize),
    next: usize,
) -> Option<(Needles, Take)> {
    if max != usize::MAX || min > 1 {
        return None;
    }
    let follow = first(steps, next);
    if min > 0 && set.has(0xff) && (follow.anywhere || follow.set.has(0xff)) {
        return None;
    }
    let literal = literal(steps, next);
    if literal.len() > 1 {
        return Some((
            needles(&complement(set)),
            Take::FirstLiteral(Box::new(Finder::new(&literal).into_owned())),
        ));
    }
    if follow.anywhere {
        return Some((Needles::new(|_| false), Take::Least));
    }
    let mut stops = complement(set);
    stops.union(&follow.set);
    Some((needles(&stops), Take::First(follow.set, follow.at_end)))
}

fn needles(set: &ByteSet) -> Needles {
    Needles::new(|b| set.has(b))
}

fn complement(set: &ByteSet) -> ByteSet {
    ByteSet(set.0.map(|word| !word))
}

/// The bytes that must stand at this step.
fn literal(steps: &[Step], mut at: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        match &steps[at] {
            Step::Literal(bytes, next) => {
                out.extend_from_slice(bytes);
                at = *next;
            }
            Step::Save(_, next) => at = *next,
            _ => return out,
        }
    }
}

/// What may stand at a step.
struct First {
    set: ByteSet,
    /// It may succeed at the end of the text.
    at_end: bool,
    /// It may succeed before any byte.
    anywhere: bool,
}

fn first(steps: &[Step], at: usize) -> First {
    let only = |set| First { set, at_end: false, anywhere: false };
    match &steps[at] {
        Step::Literal(bytes, next) => match bytes.first() {
            Some(&b) => {
                let mut set = ByteSet::EMPTY;
                set.add(b);
                only(set)
            }
            None => first(steps, *next),
        },
        Step::One(set, ..) => only(*set),
        Step::Run(run, next) => {
            let mut out = if run.min == 0 { first(steps, *next) } else { only(ByteSet::EMPTY) };
            out.set.union(&run.set);
            out
        }
        Step::Save(_, next) | Step::LineStart(next) | Step::TextStart(next) => first(steps, *next),
        Step::Choose(branches) => branches.iter().fold(only(ByteSet::EMPTY), |mut all, (_, at)| {
            let one = first(steps, *at);
            all.set.union(&one.set);
            all.at_end |= one.at_end;
            all.anywhere |= one.anywhere;
            all
        }),
        Step::LineEnd(_) => {
            let mut set = ByteSet::EMPTY;
            set.add(b'\n');
            First { set, at_end: true, anywhere: false }
        }
        Step::TextEnd(_) => First { set: ByteSet::EMPTY, at_end: true, anywhere: false },
        Step::Match => First { set: ByteSet([u64::MAX; 4]), at_end: true, anywhere: true },
    }
}

fn guard(steps: &[Step], at: usize) -> Guard {
    let literal = literal(steps, at);
    if !literal.is_empty() {
        return Guard::Literal(literal.into());
    }
    let first = first(steps, at);
    if first.at_end || first.anywhere { Guard::Always } else { Guard::First(first.set) }
}
