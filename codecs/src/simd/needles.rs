//! A set of bytes that is searched for: any set in one pass, eight or more bytes of it as quickly as one.
//!
//! Owns: the forms of a set that the tiers search with. Never: knows what the bytes stand for.
//! Invariant: all forms of one set find the same byte.

/// A set of bytes, ready to be searched for.
#[derive(Debug)]
pub(crate) struct Needles {
    plain: Plain,
    /// By the low half of a byte below 0x80: one bit for each high half with which it is in the set.
    pub(super) low: [u8; 16],
    /// All bytes from 0x80 on are in the set. (AVX2 takes no sets with some of them.)
    pub(super) beyond: bool,
    /// The set is one that `low` and `beyond` can tell.
    pub(super) by_halves: bool,
}

/// What the portable search goes by.
#[derive(Debug)]
enum Plain {
    Nothing,
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
    Table(Box<[bool; 256]>),
}

impl Needles {
    /// The set of the bytes for which `has` holds.
    pub(crate) fn new(has: impl Fn(u8) -> bool) -> Needles {
        let bytes: Vec<u8> = (0..=255).filter(|&b| has(b)).collect();
        let plain = match *bytes.as_slice() {
            [] => Plain::Nothing,
            [a] => Plain::One(a),
            [a, b] => Plain::Two(a, b),
            [a, b, c] => Plain::Three(a, b, c),
            _ => Plain::Table(Box::new(std::array::from_fn(|b| has(b as u8)))),
        };
        let mut low = [0; 16];
        bytes.iter().filter(|b| b.is_ascii()).for_each(|b| low[usize::from(b & 15)] |= 1 << (b >> 4));
        let beyond = has(0x80);
        Needles { plain, low, beyond, by_halves: (0x80..=255).all(|b| has(b) == beyond) }
    }

    /// Offset of the first byte at or after `from` that is in the set, or the length. `from <= text.len()`.
    #[inline(always)]
    pub(super) fn find(&self, text: &[u8], from: usize) -> usize {
        let rest = &text[from..];
        match &self.plain {
            Plain::Nothing => None,
            Plain::One(a) => memchr::memchr(*a, rest),
            Plain::Two(a, b) => memchr::memchr2(*a, *b, rest),
            Plain::Three(a, b, c) => memchr::memchr3(*a, *b, *c, rest),
            Plain::Table(table) => rest.iter().position(|&b| table[usize::from(b)]),
        }
        .map_or(text.len(), |n| from + n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Lanes, Tier, on_tier};
    use proptest::prelude::*;

    fn find(tier: Tier, set: &Needles, text: &[u8], from: usize) -> usize {
        #[inline(always)]
        fn run<L: Lanes>(lanes: L, set: &Needles, text: &[u8], from: usize) -> usize {
            lanes.first_of(set, text, from)
        }
        on_tier!(tier, fn f(set: &Needles, text: &[u8], from: usize) -> usize = run)
    }

    proptest! {
        #[test]
        fn the_first_byte_of_any_set(
            mut members in prop::collection::vec(any::<u8>(), 0..20),
            beyond: Option<bool>,
            text in prop::collection::vec(prop_oneof![Just(b'a'), b' '..=b'~', any::<u8>()], 0..130),
            from in 0usize..130,
        ) {
            // Mostly sets of ASCII, or with all of the rest.
            if let Some(beyond) = beyond {
                members.retain(u8::is_ascii);
                members.extend((0x80..=255).filter(|_| beyond));
            }
            let (set, from) = (Needles::new(|b| members.contains(&b)), from.min(text.len()));
            let want = (from..text.len()).find(|&n| members.contains(&text[n])).unwrap_or(text.len());
            for &tier in Tier::available() {
                prop_assert_eq!(find(tier, &set, &text, from), want, "{}", tier.name());
            }
        }
    }
}
