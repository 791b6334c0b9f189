//! The tree of a pattern, and how it becomes regex-syntax's form.
//!
//! Invariant: where a run of any character may hold bytes that are not UTF-8, it does so as Onigmo would: such a byte
//! is one character. A valid character is never cut in two.

use regex_syntax::hir::{Capture, Class, ClassBytes, ClassBytesRange, ClassUnicode, Hir, Repetition};

/// A place between two bytes that a pattern asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// `^`
    LineStart,
    /// `$`
    LineEnd,
    /// `\A`
    TextStart,
    /// `\z`
    TextEnd,
    /// `\b`
    Word,
    /// `\B`
    NotWord,
}

/// A parsed pattern without look-around, back-references and atomic groups.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Matches nothing, everywhere.
    Empty,
    /// These bytes.
    Literal(Vec<u8>),
    /// One character of a set.
    Class(ClassUnicode),
    /// A place.
    Look(Look),
    /// `node{min,max}`.
    Repeat {
        /// What is repeated.
        node: Box<Node>,
        /// At least this often.
        min: u32,
        /// At most this often.
        max: Option<u32>,
        /// As often as possible first.
        greedy: bool,
    },
    /// A capturing group.
    Group {
        /// Its number, from 1.
        index: u32,
        /// Its content.
        node: Box<Node>,
    },
    /// One after the other.
    Concat(Vec<Node>),
    /// The first that fits.
    Alternate(Vec<Node>),
}

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteSet(pub(super) [u64; 4]);

impl ByteSet {
    pub(super) const EMPTY: ByteSet = ByteSet([0; 4]);

    pub(super) fn add(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    #[inline]
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    pub(super) fn union(&mut self, other: &ByteSet) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a |= b;
        }
    }

    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=255).filter(|&b| self.has(b))
    }
}

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.bytes().collect::<Vec<u8>>()))
    }
}

/// True when the class holds every character beyond ASCII.
pub(super) fn is_wide(class: &ClassUnicode) -> bool {
    let mut next = '\u{80}';
    for range in class.ranges() {
        if range.end() < next {
            continue;
        }
        if range.start() > next {
            return false;
        }
        match range.end() {
            '\u{10ffff}' => return true,
            '\u{d7ff}' => next = '\u{e000}',
            end => next = char::from_u32(end as u32 + 1).unwrap_or('\u{10ffff}'),
        }
    }
    false
}

/// The class as bytes, when each of its members can stand for itself in a run: ASCII, or ASCII and all of the rest.
pub(super) fn byte_set(class: &ClassUnicode) -> Option<ByteSet> {
    let mut set = ByteSet::EMPTY;
    let wide = is_wide(class);
    for range in class.ranges() {
        if range.start() as u32 >= 0x80 {
            continue;
        }
        for byte in range.start() as u32..=(range.end() as u32).min(0x7f) {
            set.add(byte as u8);
        }
    }
    if wide {
        set.0[2] = u64::MAX;
        set.0[3] = u64::MAX;
        return Some(set);
    }
    class.ranges().last().is_none_or(|r| (r.end() as u32) < 0x80).then_some(set)
}

impl Node {
    /// True when it can match without a byte.
    pub(super) fn nullable(&self) -> bool {
        match self {
            Node::Empty | Node::Look(_) => true,
            Node::Literal(bytes) => bytes.is_empty(),
            Node::Class(_) => false,
            Node::Repeat { node, min, .. } => *min == 0 || node.nullable(),
            Node::Group { node, .. } => node.nullable(),
            Node::Concat(nodes) => nodes.iter().all(Node::nullable),
            Node::Alternate(nodes) => nodes.iter().any(Node::nullable),
        }
    }

    /// True when a line's start in it can stand where nothing else is left to match; `last` tells whether what follows
    /// the node can be empty.
    pub(super) fn ends_at_line_start(&self, last: bool) -> bool {
        match self {
            Node::Look(Look::LineStart) => last,
            Node::Empty | Node::Look(_) | Node::Literal(_) | Node::Class(_) => false,
            Node::Repeat { node, .. } | Node::Group { node, .. } => node.ends_at_line_start(last),
            Node::Alternate(nodes) => nodes.iter().any(|node| node.ends_at_line_start(last)),
            Node::Concat(nodes) => {
                let mut last = last;
                nodes.iter().rev().any(|node| {
                    let ends = node.ends_at_line_start(last);
                    last &= node.nullable();
                    ends
                })
            }
        }
    }

    /// True when it can begin (or end) with a wide class.
    fn wide_edge(&self, first: bool) -> bool {
        match self {
            Node::Empty | Node::Look(_) | Node::Literal(_) => false,
            Node::Class(class) => is_wide(class),
            Node::Repeat { node, .. } | Node::Group { node, .. } => node.wide_edge(first),
            Node::Alternate(nodes) => nodes.iter().any(|n| n.wide_edge(first)),
            Node::Concat(nodes) if first => wide_run(nodes.iter(), true).0,
            Node::Concat(nodes) => wide_run(nodes.iter().rev(), false).0,
        }
    }

    /// The form for regex-automata.
    pub(super) fn hir(&self) -> Hir {
        self.convert(false, false)
    }

    /// `before` and `after` tell whether a wide class may stand directly at that side.
    fn convert(&self, before: bool, after: bool) -> Hir {
        use regex_syntax::hir::Look as L;
        match self {
            Node::Empty => Hir::empty(),
            Node::Literal(bytes) => Hir::literal(bytes.clone()),
            Node::Class(class) => single(class, before || after),
            Node::Look(look) => Hir::look(match look {
                Look::LineStart => L::StartLF,
                Look::LineEnd => L::EndLF,
                Look::TextStart => L::Start,
                Look::TextEnd => L::End,
                Look::Word => L::WordAscii,
                Look::NotWord => L::WordAsciiNegate,
            }),
            Node::Repeat { node, min, max, greedy } => repeat(node, *min, *max, *greedy, before, after),
            Node::Group { index, node } => Hir::capture(Capture {
                index: *index,
                name: None,
                sub: Box::new(node.convert(before, after)),
            }),
            Node::Alternate(nodes) => {
                Hir::alternation(nodes.iter().map(|n| n.convert(before, after)).collect())
            }
            Node::Concat(nodes) => {
                let mut out = Vec::with_capacity(nodes.len());
                for (i, node) in nodes.iter().enumerate() {
                    let (wide, through) = wide_run(nodes[..i].iter().rev(), false);
                    let (next_wide, next_through) = wide_run(nodes[i + 1..].iter(), true);
                    out.push(node.convert(wide || (through && before), next_wide || (next_through && after)));
                }
                Hir::concat(out)
            }
        }
    }
}

/// Whether a wide class may come first in these nodes, and whether all of them may be empty.
fn wide_run<'n>(nodes: impl Iterator<Item = &'n Node>, first: bool) -> (bool, bool) {
    let mut wide = false;
    for node in nodes {
        wide |= node.wide_edge(first);
        if !node.nullable() {
            return (wide, false);
        }
    }
    (wide, true)
}

/// One character. A byte that is not UTF-8 counts as one where that cannot cut a valid character in two.
fn single(class: &ClassUnicode, crowded: bool) -> Hir {
    let valid = Hir::class(Class::Unicode(class.clone()));
    if !is_wide(class) {
        return valid;
    }
    let first = if crowded { 0xc0 } else { 0x80 };
    let lone = Hir::class(Class::Bytes(ClassBytes::new([ClassBytesRange::new(first, 0xff)])));
    Hir::alternation(vec![valid, lone])
}

fn repeat(node: &Node, min: u32, max: Option<u32>, greedy: bool, before: bool, after: bool) -> Hir {
    let make = |sub: Hir, min, max| Hir::repetition(Repetition { min, max, greedy, sub: Box::new(sub) });
    if let (Node::Class(class), None) = (node, max)
        && let Some(set) = byte_set(class)
    {
        let bytes =
            Hir::class(Class::Bytes(ClassBytes::new(set.bytes().map(|b| ClassBytesRange::new(b, b)))));
        if min == 0 || !is_wide(class) || (min == 1 && !before && (greedy || !after)) {
            return make(bytes, min, None);
        }
        let mut parts = vec![single(class, true); min as usize];
        parts.push(make(bytes, 0, None));
        return Hir::concat(parts);
    }
    let many = max != Some(1) && max != Some(0);
    let sub =
        node.convert(before || (many && node.wide_edge(false)), after || (many && node.wide_edge(true)));
    make(sub, min, max)
}
