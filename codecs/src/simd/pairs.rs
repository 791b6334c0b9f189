//! A few literals that are searched for at once, by their first two bytes.
//!
//! Owns: up to eight literals, the tables that the search goes by. Never: knows where a line ends.
//! Invariant: what is found is the first place of any of them, whatever the tier.

use super::{Lanes, Tier, on_tier, tier};

/// Literals of one search: a bit each.
const LITERALS_MAX: usize = 8;

/// Literals, ready to be searched for.
#[derive(Debug)]
pub struct Pairs {
    literals: Vec<Box<[u8]>>,
    /// By the first byte and by the second one: which literals may begin there. One of a single byte goes on with any.
    by_byte: [[u8; 256]; 2],
    /// The same by the halves of a byte: low, high.
    pub(super) by_half: [[[u8; 16]; 2]; 2],
}

impl Pairs {
    /// A search for these literals; `None` where there are too many, or an empty one among them, or where this machine
    /// has nothing that makes it worth while.
    pub fn new(literals: &[Vec<u8>]) -> Option<Pairs> {
        #[cfg(target_arch = "x86_64")]
        let quick = tier() == Tier::Avx2;
        #[cfg(not(target_arch = "x86_64"))]
        let quick = tier() > Tier::Scalar;
        Pairs::of(literals).filter(|_| quick)
    }

    fn of(literals: &[Vec<u8>]) -> Option<Pairs> {
        if literals.len() > LITERALS_MAX || literals.iter().any(Vec::is_empty) {
            return None;
        }
        let (mut by_byte, mut by_half) = ([[0; 256]; 2], [[[0; 16]; 2]; 2]);
        for (n, literal) in literals.iter().enumerate() {
            for at in 0..2 {
                for byte in (0..=255u8).filter(|byte| literal.get(at).is_none_or(|b| b == byte)) {
                    by_byte[at][usize::from(byte)] |= 1 << n;
                    by_half[at][0][usize::from(byte & 15)] |= 1 << n;
                    by_half[at][1][usize::from(byte >> 4)] |= 1 << n;
                }
            }
        }
        let literals = literals.iter().map(|l| l[..].into()).collect();
        Some(Pairs { literals, by_byte, by_half })
    }

    /// Offset of the first place of one of the literals at or after `from`, which is within the text.
    pub fn find_literal(&self, text: &[u8], from: usize) -> Option<usize> {
        self.find_on(tier(), text, from)
    }

    fn find_on(&self, tier: Tier, text: &[u8], from: usize) -> Option<usize> {
        on_tier!(tier, fn run(pairs: &Pairs, text: &[u8], from: usize) -> Option<usize> = first; self, text, from)
    }

    /// Which literals may begin at `at`.
    #[inline(always)]
    fn may_begin(&self, text: &[u8], at: usize) -> u8 {
        let second = text.get(at + 1).map_or(0xff, |b| self.by_byte[1][usize::from(*b)]);
        self.by_byte[0][usize::from(text[at])] & second
    }

    /// See [`Lanes::first_pair`].
    #[inline(always)]
    pub(super) fn find(&self, text: &[u8], from: usize) -> usize {
        (from..text.len()).find(|&at| self.may_begin(text, at) != 0).unwrap_or(text.len())
    }
}

#[inline(always)]
fn first<L: Lanes>(lanes: L, pairs: &Pairs, text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at = lanes.first_pair(pairs, text, at);
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        if pairs.literals.iter().any(|literal| rest.starts_with(literal)) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_of_any_literal(
            literals in prop::collection::vec("[a-cé\\\\]{1,4}", 1..9),
            text in "[a-hé\\\\\n]{0,90}",
            from in 0usize..100,
        ) {
            let literals: Vec<Vec<u8>> = literals.into_iter().map(String::into_bytes).collect();
            let pairs = Pairs::of(&literals).expect("few");
            let (text, from) = (text.as_bytes(), from.min(text.len()));
            let want = (from..text.len()).find(|&at| literals.iter().any(|l| text[at..].starts_with(l)));
            for &tier in Tier::available() {
                prop_assert_eq!(pairs.find_on(tier, text, from), want, "{}", tier.name());
            }
        }
    }

    #[test]
    fn too_many_and_empty_ones_are_left_to_others() {
        assert!(Pairs::of(&vec![b"a".to_vec(); LITERALS_MAX + 1]).is_none());
        assert!(Pairs::of(&[b"a".to_vec(), Vec::new()]).is_none());
    }
}
