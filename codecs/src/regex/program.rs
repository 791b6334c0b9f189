//! The steps of a splitter as they run: few of them, each with its kernel.
//!
//! Owns: the walk over the text. Never: decides what a pattern means (`compile` did).
//! Invariant: it goes the way that the steps say; notes of positions are part of the step that they stand before.

use super::splitter::{Guard, Run, Step, Take};
use super::syntax::ByteSet;
use crate::simd::{Lanes, Tier, on_tier};

/// Steps in the order of their compilation; a step is named by its number.
#[derive(Debug)]
pub(super) struct Program {
    ops: Vec<Op>,
    start: usize,
}

#[derive(Debug)]
struct Op {
    /// Slots that take the position before the step; where there are fewer, the one that nobody reads.
    saves: [u32; 2],
    act: Act,
    next: usize,
}

impl Op {
    /// What nobody comes to.
    fn nothing() -> Op {
        Op { saves: [0; 2], act: Act::Nothing, next: 0 }
    }
}

#[derive(Debug)]
enum Act {
    Nothing,
    /// As much as the set allows, without a limit.
    All(Box<Run>),
    /// The same, the slots that take its end, and what must stand behind it: most fields of a line.
    Field(Box<Run>, [u32; 2], Literal),
    Run(Box<Run>),
    Literal(Literal),
    /// One byte of the set; the flag declines bytes beyond ASCII.
    One(ByteSet, bool),
    Choose(Box<[Branch]>),
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    Match,
}

#[derive(Debug)]
struct Branch {
    guard: Held,
    next: usize,
}

#[derive(Debug)]
enum Held {
    Always,
    Literal(Literal),
    First(ByteSet),
}

/// Bytes that are compared as one word where they fit into it.
#[derive(Debug)]
struct Literal {
    bytes: Box<[u8]>,
    word: u64,
    mask: u64,
}

impl Literal {
    fn new(bytes: Box<[u8]>) -> Literal {
        let mut word = [0; 8];
        let mut mask = [0; 8];
        for (n, &byte) in bytes.iter().take(8).enumerate() {
            (word[n], mask[n]) = (byte, 0xff);
        }
        Literal { bytes, word: u64::from_ne_bytes(word), mask: u64::from_ne_bytes(mask) }
    }

    /// Whether they stand at `at`, which is within the text.
    #[inline(always)]
    fn stands(&self, text: &[u8], at: usize) -> bool {
        match text[at..].first_chunk::<8>() {
            Some(chunk) if self.bytes.len() <= 8 => u64::from_ne_bytes(*chunk) & self.mask == self.word,
            _ => text[at..].starts_with(&self.bytes),
        }
    }
}

impl Program {
    /// Steps with `slots` slots.
    pub(super) fn new(steps: Vec<Step>, start: usize, slots: usize) -> Program {
        let unread = slots as u32;
        let ops = steps.into_iter().map(|step| op(step, unread)).collect();
        let mut program = Program { ops, start };
        program.merge(unread);
        program
    }

    /// Lets what only notes a position become part of the step behind it, where nobody else comes to that one.
    fn merge(&mut self, unread: u32) {
        let mut comers = vec![0u32; self.ops.len()];
        comers[self.start] += 1;
        for op in &self.ops {
            match &op.act {
                Act::Choose(branches) => branches.iter().for_each(|b| comers[b.next] += 1),
                Act::Match => {}
                _ => comers[op.next] += 1,
            }
        }
        // A step goes on at one with a lower number: what stands behind a note is done before it.
        for at in 0..self.ops.len() {
            let Op { saves: [slot, _], act: Act::Nothing, next } = self.ops[at] else { continue };
            let free = self.ops[next].saves.iter().position(|s| *s == unread);
            if let (1, Some(free)) = (comers[next], free) {
                self.ops[next].saves[free] = slot;
                comers[next] = comers[at];
                self.skip(at, next);
            }
        }
        for at in 0..self.ops.len() {
            let next = self.ops[at].next;
            if comers[next] == 1
                && matches!((&self.ops[at].act, &self.ops[next].act), (Act::All(_), Act::Literal(_)))
            {
                self.join(at, next);
            }
        }
    }

    /// A run and the literal behind it become one step.
    fn join(&mut self, at: usize, next: usize) {
        let Op { saves, act, next } = std::mem::replace(&mut self.ops[next], Op::nothing());
        let run = std::mem::replace(&mut self.ops[at].act, Act::Nothing);
        if let (Act::All(run), Act::Literal(literal)) = (run, act) {
            (self.ops[at].act, self.ops[at].next) = (Act::Field(run, saves, literal), next);
        }
    }

    /// Whoever goes to `from`, which does nothing any more, goes to `to`.
    fn skip(&mut self, from: usize, to: usize) {
        let moved = |next: &mut usize| {
            if *next == from {
                *next = to;
            }
        };
        moved(&mut self.start);
        for op in &mut self.ops {
            moved(&mut op.next);
            if let Act::Choose(branches) = &mut op.act {
                branches.iter_mut().for_each(|b| moved(&mut b.next));
            }
        }
    }

    /// Walks the text from its start; false declines. The last slot is the one that nobody reads.
    pub(super) fn run(&self, tier: Tier, text: &[u8], slots: &mut [usize]) -> bool {
        on_tier!(tier, fn run(program: &Program, text: &[u8], slots: &mut [usize]) -> bool = walk; self, text, slots)
    }
}

fn op(step: Step, unread: u32) -> Op {
    let (act, next) = match step {
        Step::Literal(bytes, next) => (Act::Literal(Literal::new(bytes)), next),
        Step::One(set, ascii, next) => (Act::One(set, ascii), next),
        Step::Run(run, next) if matches!(run.take, Take::All) && run.max == usize::MAX => {
            (Act::All(run), next)
        }
        Step::Run(run, next) => (Act::Run(run), next),
        Step::Save(slot, next) => {
            return Op { saves: [slot as u32, unread], act: Act::Nothing, next };
        }
        Step::Choose(branches) => (Act::Choose(branches.into_iter().map(branch).collect()), 0),
        Step::LineStart(next) => (Act::LineStart, next),
        Step::LineEnd(next) => (Act::LineEnd, next),
        Step::TextStart(next) => (Act::TextStart, next),
        Step::TextEnd(next) => (Act::TextEnd, next),
        Step::Match => (Act::Match, 0),
    };
    Op { saves: [unread; 2], act, next }
}

fn branch((guard, next): (Guard, usize)) -> Branch {
    let guard = match guard {
        Guard::Always => Held::Always,
        Guard::Literal(bytes) => Held::Literal(Literal::new(bytes)),
        Guard::First(set) => Held::First(set),
    };
    Branch { guard, next }
}

#[inline(always)]
fn walk<L: Lanes>(lanes: L, program: &Program, text: &[u8], slots: &mut [usize]) -> bool {
    let (mut at, mut step) = (0, program.start);
    loop {
        let op = &program.ops[step];
        slots[op.saves[0] as usize] = at;
        slots[op.saves[1] as usize] = at;
        step = op.next;
        let goes_on = match &op.act {
            Act::Nothing => true,
            Act::All(run) => match begins(run, text, at) {
                true => {
                    at = lanes.first_of(&run.stops, text, at + run.min);
                    true
                }
                false => false,
            },
            Act::Field(run, [one, two], literal) => {
                begins(run, text, at) && {
                    at = lanes.first_of(&run.stops, text, at + run.min);
                    (slots[*one as usize], slots[*two as usize]) = (at, at);
                    let stands = literal.stands(text, at);
                    at += literal.bytes.len();
                    stands
                }
            }
            Act::Run(run) => match end(lanes, run, text, at) {
                Some(end) => {
                    at = end;
                    true
                }
                None => false,
            },
            Act::Literal(literal) => {
                let stands = literal.stands(text, at);
                at += literal.bytes.len();
                stands
            }
            Act::One(set, ascii) => {
                at += 1;
                text.get(at - 1).is_some_and(|&b| set.has(b) && (b < 0x80 || !ascii))
            }
            Act::Choose(branches) => match branches.iter().find(|b| holds(&b.guard, text, at)) {
                Some(branch) => {
                    step = branch.next;
                    true
                }
                None => false,
            },
            Act::LineStart => at == 0 || (at < text.len() && text[at - 1] == b'\n'),
            Act::LineEnd => at == text.len() || text[at] == b'\n',
            Act::TextStart => at == 0,
            Act::TextEnd => at == text.len(),
            Act::Match => {
                (slots[0], slots[1]) = (0, at);
                return true;
            }
        };
        if !goes_on {
            return false;
        }
    }
}

#[inline(always)]
fn holds(guard: &Held, text: &[u8], at: usize) -> bool {
    match guard {
        Held::Always => true,
        Held::Literal(literal) => literal.stands(text, at),
        Held::First(set) => text.get(at).is_some_and(|b| set.has(*b)),
    }
}

/// Whether the least part of the run stands at `at`; of more than one byte it is a run of its own (see `run`).
///
/// A byte in the middle of a character may begin a run in Onigmo's eyes, or not: the automaton decides.
#[inline(always)]
fn begins(run: &Run, text: &[u8], at: usize) -> bool {
    run.min == 0 || text.get(at).is_some_and(|&b| run.set.has(b) && b & 0xc0 != 0x80)
}

/// Where a run that begins at `at` ends; `None` to decline.
#[inline(always)]
fn end<L: Lanes>(lanes: L, run: &Run, text: &[u8], at: usize) -> Option<usize> {
    if !begins(run, text, at) {
        return None;
    }
    let least = at + run.min;
    match &run.take {
        Take::All => {
            let most = (text.len() - least).min(run.max - run.min);
            Some(lanes.first_of(&run.stops, &text[..least + most], least))
        }
        Take::Back(bytes) => {
            let end = lanes.first_of(&run.stops, text, least);
            (end - least >= *bytes).then(|| end - bytes)
        }
        Take::Last(finder) => {
            let end = lanes.first_of(&run.stops, text, least);
            Some(least + finder.rfind(&text[least..end])?)
        }
        Take::First(stops, at_end) => {
            let end = lanes.first_of(&run.stops, text, least);
            text.get(end).map_or(*at_end, |b| stops.has(*b)).then_some(end)
        }
        Take::FirstLiteral(finder) => {
            let found = least + finder.find(&text[least..])?;
            (lanes.first_of(&run.stops, &text[..found], least) == found).then_some(found)
        }
        Take::Least => Some(least),
    }
}
