//! Groups of the leftmost match in two passes of a deterministic automaton.
//!
//! The backward pass reads the text from its end and notes, for every position, the set of states of the pattern's
//! automaton from which the rest of the text can be matched (one id for each set). The forward pass then walks from the
//! start and takes at each choice the first alternative that is in the noted set: what a backtracking engine would
//! settle on, without ever going back. Both take one table step a byte.
//!
//! Invariant: tables are made whole at compile time, within [`ENTRIES_MAX`]; matching allocates nothing but the notes.

use super::syntax::ByteSet;
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::Look;
use std::collections::HashMap;

/// Largest table, in entries of four bytes.
const ENTRIES_MAX: usize = 512 * 1024;
/// Most states of the pattern's own automaton.
const NODES_MAX: usize = 4096;

/// A state of the pattern's automaton.
#[derive(Debug)]
enum Node {
    /// Takes one byte of the set.
    Bytes(ByteSet, usize),
    /// Goes on at the first that can.
    Union(Vec<usize>),
    /// Goes on where the place is as asked.
    Look(Look, usize),
    /// Notes the position.
    Save(u16, usize),
    Match,
    Fail,
}

/// Kinds of neighbour bytes, for looks: none, line feed, word byte, other.
const KINDS: usize = 4;
const KIND_NONE: usize = 0;

/// In a row: column 0 tells whether a match can start, then come the backward steps, then the forward steps.
const BACKWARD: usize = 1;
/// A forward entry's low half when the match is complete.
const DONE: u32 = 0xffff;
/// A forward entry that no search can meet.
const NEVER: u32 = u32::MAX;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct TwoPass {
    table: Vec<u32>,
    /// Column of the backward step for a byte, without its left neighbour.
    column: [u16; 256],
    /// Kind of a byte as left neighbour; all 0 when the pattern does not look.
    kind: [u8; 256],
    /// Rows for the text's end, by the kind of its last byte.
    ends: [u32; KINDS],
    /// First forward column.
    forward: usize,
    /// Forward column of the start.
    start: usize,
    /// Slots to note, by action number; action 0 is none.
    actions: Vec<Box<[u16]>>,
    slots: usize,
}

impl TwoPass {
    /// Builds the tables; `None` when they would be too large.
    pub(super) fn new(nfa: &NFA) -> Option<TwoPass> {
        let (nodes, start) = flatten(nfa)?;
        Builder::new(nfa, nodes, start).build()
    }

    /// Finds the leftmost match. `slots` then holds start and end for each group, `usize::MAX` where it took no part.
    pub(super) fn captures(&self, text: &[u8], notes: &mut Vec<u32>, slots: &mut Vec<usize>) -> bool {
        notes.clear();
        notes.resize(text.len() + 1, 0);
        self.backward(text, notes);
        let Some(start) = notes.iter().position(|&row| self.table[row as usize] != 0) else { return false };
        slots.clear();
        slots.resize(self.slots, usize::MAX);
        let (mut at, mut column) = (start, self.start);
        loop {
            // The last note is of the text's end, where only a complete match is left.
            let Some(&row) = notes.get(at) else { return false };
            let entry = self.table[row as usize + self.forward + column];
            if entry >> 16 != 0 {
                let Some(action) = self.actions.get((entry >> 16) as usize) else { return false };
                for &slot in action {
                    slots[usize::from(slot)] = at;
                }
            }
            if entry & 0xffff == DONE {
                return true;
            }
            column = (entry & 0xffff) as usize;
            at += 1;
        }
    }

    #[inline]
    fn backward(&self, text: &[u8], notes: &mut [u32]) {
        let kind_before =
            |at: usize| if at == 0 { KIND_NONE } else { usize::from(self.kind[usize::from(text[at - 1])]) };
        let mut row = self.ends[kind_before(text.len())];
        notes[text.len()] = row;
        let Some(&first) = text.first() else { return };
        // Every byte but the first has a left neighbour.
        for (pair, note) in text.windows(2).zip(&mut notes[1..text.len()]).rev() {
            let column =
                usize::from(self.column[usize::from(pair[1])]) + usize::from(self.kind[usize::from(pair[0])]);
            row = self.table[row as usize + column];
            *note = row;
        }
        notes[0] = self.table[row as usize + usize::from(self.column[usize::from(first)]) + KIND_NONE];
    }
}

/// The states that can be reached, each byte state with one target.
fn flatten(nfa: &NFA) -> Option<(Vec<Node>, usize)> {
    let mut ids = HashMap::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut queue = vec![nfa.start_anchored()];
    ids.insert(nfa.start_anchored(), 0);
    nodes.push(Node::Fail);
    while let Some(id) = queue.pop() {
        let mut extra = Vec::new();
        let mut visit = |target| {
            *ids.entry(target).or_insert_with(|| {
                queue.push(target);
                nodes.push(Node::Fail);
                nodes.len() - 1
            })
        };
        let node = match nfa.state(id) {
            State::ByteRange { trans } => Node::Bytes(range(trans.start, trans.end), visit(trans.next)),
            State::Sparse(sparse) => {
                for trans in sparse.transitions.iter() {
                    add_edge(&mut extra, visit(trans.next), range(trans.start, trans.end));
                }
                Node::Union(Vec::new())
            }
            State::Dense(dense) => {
                for byte in 0..=255 {
                    if let Some(next) = dense.matches_byte(byte) {
                        add_edge(&mut extra, visit(next), range(byte, byte));
                    }
                }
                Node::Union(Vec::new())
            }
            State::Look { look, next } => Node::Look(*look, visit(*next)),
            State::Union { alternates } => Node::Union(alternates.iter().map(|&a| visit(a)).collect()),
            State::BinaryUnion { alt1, alt2 } => Node::Union(vec![visit(*alt1), visit(*alt2)]),
            State::Capture { next, slot, .. } => {
                Node::Save(u16::try_from(slot.as_usize()).ok()?, visit(*next))
            }
            State::Fail => Node::Fail,
            State::Match { .. } => Node::Match,
        };
        let own = ids[&id];
        nodes[own] = match extra.len() {
            0 => node,
            1 => Node::Bytes(extra[0].1, extra[0].0),
            _ => {
                let first = nodes.len();
                nodes.extend(extra.iter().map(|(target, set)| Node::Bytes(*set, *target)));
                Node::Union((first..nodes.len()).collect())
            }
        };
        if nodes.len() > NODES_MAX {
            return None;
        }
    }
    Some((nodes, 0))
}

fn range(start: u8, end: u8) -> ByteSet {
    let mut set = ByteSet::EMPTY;
    (start..=end).for_each(|b| set.add(b));
    set
}

fn add_edge(edges: &mut Vec<(usize, ByteSet)>, target: usize, set: ByteSet) {
    match edges.iter_mut().find(|(t, _)| *t == target) {
        Some((_, known)) => known.union(&set),
        None => edges.push((target, set)),
    }
}

/// A set of nodes.
type Set = Box<[u64]>;

fn has(set: &[u64], node: usize) -> bool {
    set[node / 64] >> (node % 64) & 1 == 1
}

fn add(set: &mut [u64], node: usize) {
    set[node / 64] |= 1 << (node % 64);
}

struct Builder {
    nodes: Vec<Node>,
    start: usize,
    /// Nodes that take a byte, with their forward column.
    takers: Vec<usize>,
    /// The other nodes, targets first as far as there is no circle.
    order: Vec<usize>,
    /// One byte of each class.
    classes: Vec<u8>,
    class_of: [u8; 256],
    kinds: usize,
    slots: usize,
    sets: HashMap<Set, usize>,
    rows: Vec<Set>,
    actions: HashMap<Vec<u16>, u32>,
}

impl Builder {
    fn new(nfa: &NFA, nodes: Vec<Node>, start: usize) -> Builder {
        let mut class_of = [0; 256];
        let mut classes: Vec<u8> = Vec::new();
        let mut seen: Vec<u8> = Vec::new();
        for byte in 0..=255u8 {
            let class = nfa.byte_classes().get(byte);
            let at = seen.iter().position(|&c| c == class).unwrap_or_else(|| {
                seen.push(class);
                classes.push(byte);
                seen.len() - 1
            });
            class_of[usize::from(byte)] = at as u8;
        }
        let looks = nodes.iter().any(|n| matches!(n, Node::Look(..)));
        let takers = (0..nodes.len()).filter(|&n| matches!(nodes[n], Node::Bytes(..))).collect();
        let slots = nodes
            .iter()
            .map(|n| if let Node::Save(s, _) = n { usize::from(*s) + 1 } else { 0 })
            .max()
            .unwrap_or(0);
        let order = post_order(&nodes);
        let kinds = if looks { KINDS } else { 1 };
        Builder {
            nodes,
            start,
            takers,
            order,
            classes,
            class_of,
            kinds,
            slots,
            sets: HashMap::new(),
            rows: Vec::new(),
            actions: HashMap::new(),
        }
    }

    fn build(mut self) -> Option<TwoPass> {
        if self.takers.len() + 1 >= DONE as usize {
            return None;
        }
        let backward = self.classes.len() * self.kinds;
        let forward = BACKWARD + backward;
        let stride = forward + self.takers.len() + 1;
        let mut ends = [0; KINDS];
        for (kind, end) in ends.iter_mut().enumerate() {
            let set = self.closed(self.matches(), kind, None);
            *end = (self.row(set) * stride) as u32;
        }
        let mut table = Vec::new();
        let mut at = 0;
        while at < self.rows.len() {
            if (self.rows.len()) * stride > ENTRIES_MAX {
                return None;
            }
            let set = self.rows[at].clone();
            table.push(u32::from(has(&set, self.start)));
            for class in 0..self.classes.len() {
                let byte = self.classes[class];
                let raw = self.step(&set, byte);
                for kind in 0..self.kinds {
                    let next = self.closed(raw.clone(), kind, Some(byte));
                    table.push((self.row(next) * stride) as u32);
                }
            }
            for taker in 0..=self.takers.len() {
                table.push(self.forward_entry(&set, taker)?);
            }
            at += 1;
        }
        Some(self.finish(table, ends, forward))
    }

    fn finish(self, table: Vec<u32>, ends: [u32; KINDS], forward: usize) -> TwoPass {
        let (mut column, mut kind) = ([0; 256], [0; 256]);
        for byte in 0..=255u8 {
            let at = usize::from(byte);
            column[at] = (BACKWARD + usize::from(self.class_of[at]) * self.kinds) as u16;
            kind[at] = if self.kinds == 1 { 0 } else { kind_of(byte) };
        }
        let mut actions = vec![Box::from([]); self.actions.len() + 1];
        for (list, number) in self.actions {
            actions[number as usize] = list.into_boxed_slice();
        }
        TwoPass { table, column, kind, ends, forward, start: self.takers.len(), actions, slots: self.slots }
    }

    /// A match may end anywhere.
    fn matches(&self) -> Set {
        let mut set = vec![0; self.nodes.len().div_ceil(64)].into_boxed_slice();
        for (at, node) in self.nodes.iter().enumerate() {
            if matches!(node, Node::Match) {
                add(&mut set, at);
            }
        }
        set
    }

    /// The takers that reach `set` over `byte`.
    fn step(&self, set: &[u64], byte: u8) -> Set {
        let mut raw = self.matches();
        for &taker in &self.takers {
            if let Node::Bytes(bytes, target) = &self.nodes[taker]
                && bytes.has(byte)
                && has(set, *target)
            {
                add(&mut raw, taker);
            }
        }
        raw
    }

    /// Adds every node that reaches the set without a byte.
    fn closed(&self, mut set: Set, before: usize, after: Option<u8>) -> Set {
        loop {
            let mut grown = false;
            for &at in &self.order {
                if has(&set, at) {
                    continue;
                }
                let reaches = match &self.nodes[at] {
                    Node::Union(targets) => targets.iter().any(|&t| has(&set, t)),
                    Node::Save(_, target) => has(&set, *target),
                    Node::Look(look, target) => has(&set, *target) && holds(*look, before, after),
                    Node::Bytes(..) | Node::Match | Node::Fail => false,
                };
                if reaches {
                    add(&mut set, at);
                    grown = true;
                }
            }
            if !grown {
                return set;
            }
        }
    }

    fn row(&mut self, set: Set) -> usize {
        if let Some(&row) = self.sets.get(&set) {
            return row;
        }
        self.rows.push(set.clone());
        self.sets.insert(set, self.rows.len() - 1);
        self.rows.len() - 1
    }

    /// Where the walk stands after a taker's byte (or at the start), when the position has this set.
    fn forward_entry(&mut self, set: &[u64], taker: usize) -> Option<u32> {
        let from = match self.takers.get(taker).map(|&t| &self.nodes[t]) {
            Some(Node::Bytes(_, target)) => *target,
            _ => self.start,
        };
        if !has(set, from) {
            return Some(NEVER);
        }
        let (mut seen, mut path) = (vec![false; self.nodes.len()], Vec::new());
        let Some(leaf) = walk(&self.nodes, set, from, &mut seen, &mut path) else { return Some(NEVER) };
        let next = match self.nodes[leaf] {
            Node::Match => DONE,
            _ => self.takers.binary_search(&leaf).ok()? as u32,
        };
        let action = if path.is_empty() {
            0
        } else {
            let number = self.actions.len() as u32 + 1;
            *self.actions.entry(path).or_insert(number)
        };
        // 0xffff in the upper half is left to NEVER.
        (action < 0xffff).then_some(action << 16 | next)
    }
}

/// The first leaf, in order of preference, that is in `set`; `path` gets the slots on the way.
fn walk(nodes: &[Node], set: &[u64], from: usize, seen: &mut [bool], path: &mut Vec<u16>) -> Option<usize> {
    let mut stack = vec![(from, 0)];
    while let Some((at, saved)) = stack.pop() {
        path.truncate(saved);
        let mut at = at;
        loop {
            if seen[at] || !has(set, at) {
                break;
            }
            seen[at] = true;
            match &nodes[at] {
                Node::Bytes(..) | Node::Match => return Some(at),
                Node::Fail => break,
                Node::Look(_, next) => at = *next,
                Node::Save(slot, next) => {
                    path.push(*slot);
                    at = *next;
                }
                Node::Union(targets) => {
                    let Some((&first, rest)) = targets.split_first() else { break };
                    stack.extend(rest.iter().rev().map(|&t| (t, path.len())));
                    at = first;
                }
            }
        }
    }
    None
}

/// Nodes that take no byte, each after those it goes to (but for circles).
fn post_order(nodes: &[Node]) -> Vec<usize> {
    let (mut order, mut state) = (Vec::new(), vec![0u8; nodes.len()]);
    for root in 0..nodes.len() {
        let mut stack = vec![(root, false)];
        while let Some((at, done)) = stack.pop() {
            if done {
                order.push(at);
                continue;
            }
            if std::mem::replace(&mut state[at], 1) == 1
                || matches!(nodes[at], Node::Bytes(..) | Node::Match | Node::Fail)
            {
                continue;
            }
            stack.push((at, true));
            match &nodes[at] {
                Node::Union(targets) => stack.extend(targets.iter().map(|&t| (t, false))),
                Node::Look(_, next) | Node::Save(_, next) => stack.push((*next, false)),
                Node::Bytes(..) | Node::Match | Node::Fail => {}
            }
        }
    }
    order
}

fn kind_of(byte: u8) -> u8 {
    match byte {
        b'\n' => 1,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' => 2,
        _ => 3,
    }
}

/// Whether the place between a byte of kind `before` and the byte `after` is as asked.
fn holds(look: Look, before: usize, after: Option<u8>) -> bool {
    let (word_before, word_after) = (before == 2, after.is_some_and(|b| kind_of(b) == 2));
    match look {
        Look::Start => before == KIND_NONE,
        Look::End => after.is_none(),
        // After the last line feed no line starts, says Onigmo.
        Look::StartLF => before == KIND_NONE || (before == 1 && after.is_some()),
        Look::EndLF => after.is_none_or(|b| b == b'\n'),
        Look::WordAscii | Look::WordUnicode => word_before != word_after,
        Look::WordAsciiNegate | Look::WordUnicodeNegate => word_before == word_after,
        _ => false,
    }
}
