//! The keys of the object that was read last: most lines of a log have the same ones in the same places.
//!
//! Invariant: a key that is known again is what reading it would give; what is remembered only saves the search for its
//! end.

use crate::record::Text;

/// Keys that are remembered; those behind them are read each time.
const KEYS_MAX: usize = 24;
/// Longest text that is remembered: the key, its quotes and the colon.
const BYTES_MAX: usize = 32;

/// The first keys of an object.
#[derive(Debug, Default)]
pub(super) struct Shape {
    known: Vec<Known>,
}

/// A key with its quotes and the colon.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    words: [u64; BYTES_MAX / 8],
    masks: [u64; BYTES_MAX / 8],
    /// Bytes of all that; 0 where nothing is known. The key in it is plain.
    length: u8,
}

impl Shape {
    /// Key number `n` and the offset behind its colon, when the one that was noted stands at `at`.
    #[inline(always)]
    pub(super) fn key<'a>(&self, n: usize, text: &'a [u8], at: usize) -> Option<(Text<'a>, usize)> {
        let known = self.known.get(n)?;
        let block = text.get(at..at + BYTES_MAX)?;
        let mut differs = 0;
        for (n, word) in block.chunks_exact(8).enumerate() {
            let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
            differs |= (word & known.masks[n]) ^ known.words[n];
        }
        if differs != 0 || known.length == 0 {
            return None;
        }
        let length = usize::from(known.length);
        Some((Text::plain(&block[1..length - 2]), at + length))
    }

    /// Remembers the text of key number `n`, with its quotes and the colon.
    #[inline]
    pub(super) fn note(&mut self, n: usize, text: &[u8], key: Text<'_>) {
        if n >= KEYS_MAX {
            return;
        }
        if self.known.len() <= n {
            self.known.resize(n + 1, Known::default());
        }
        // A key that is not plain may have been decoded.
        self.known[n] = match key.plain && text.len() <= BYTES_MAX {
            true => Known::new(text),
            false => Known::default(),
        };
    }
}

impl Known {
    fn new(text: &[u8]) -> Known {
        let mut known = Known { length: text.len() as u8, ..Known::default() };
        for (n, bytes) in text.chunks(8).enumerate().take(BYTES_MAX / 8) {
            let (mut word, mut mask) = ([0; 8], [0; 8]);
            word[..bytes.len()].copy_from_slice(bytes);
            mask[..bytes.len()].fill(0xff);
            (known.words[n], known.masks[n]) = (u64::from_ne_bytes(word), u64::from_ne_bytes(mask));
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use crate::json::{Scratch, parse_object};
    use crate::record::Fields;
    use bumpalo::Bump;
    use proptest::prelude::*;

    fn object(members: &[(String, bool, u8)]) -> String {
        let member = |(key, spaced, value): &(String, bool, u8)| {
            format!(
                "\"{key}\"{}:{}{value}",
                if *spaced { " " } else { "" },
                if *value % 2 == 0 { " " } else { "" }
            )
        };
        format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
    }

    proptest! {
        #[test]
        fn objects_read_one_after_the_other_are_as_read_alone(
            lines in prop::collection::vec(prop::collection::vec(("(a|b|ab|time|a_rather_long_key_of_thirty|a_rather_long_key_of_thirty1|\\\\n|é){1,2}", any::<bool>(), 0u8..4), 0..30), 1..6),
            cut in 0usize..200,
        ) {
            let (arena, mut kept) = (Bump::new(), Scratch::default());
            for members in &lines {
                let whole = object(members);
                // Cut somewhere, and whole, with something behind it.
                for text in [&whole[..whole.floor_char_boundary(cut.min(whole.len()))], &whole, &format!("{whole}{}", " ".repeat(40))] {
                    let (text, mut fields, mut alone) = (arena.alloc_str(text).as_bytes(), Fields::new_in(&arena), Fields::new_in(&arena));
                    let result = parse_object(text, &arena, &mut kept, &mut fields);
                    prop_assert_eq!(result, parse_object(text, &arena, &mut Scratch::default(), &mut alone));
                    prop_assert_eq!(&fields, &alone);
                    prop_assert!(fields.iter().zip(&alone).all(|(a, b)| a.key.plain == b.key.plain));
                }
            }
        }
    }
}
