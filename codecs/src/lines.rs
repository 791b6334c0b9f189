//! Cuts a filled read buffer into lines without copying.
//!
//! Owns: where a line starts and ends. Never: reads files, allocates, looks at JSON.
//! Invariant: every byte of the buffer is in exactly one line or in the tail.

use crate::simd::{Lanes, Tier, on_tier, tier};

/// Line ends that are looked for at once: finding one costs more than passing by the bytes before it.
const ENDS: usize = 16;

/// Iterates the complete lines of a buffer, each without its `\n` (a `\r` before it stays).
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    buffer: &'a [u8],
    /// First byte that is not yet given out; always `<= buffer.len()`.
    at: usize,
    /// Line ends from `at` on; those in `next..count` are ahead.
    ends: [usize; ENDS],
    next: usize,
    count: usize,
    tier: Tier,
}

impl<'a> Lines<'a> {
    /// Lines of `buffer` from its start.
    pub fn new(buffer: &'a [u8]) -> Self {
        Lines { buffer, at: 0, ends: [0; ENDS], next: 0, count: 0, tier: tier() }
    }

    /// Offset of the first byte that no line has covered yet.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What follows the last newline that was found.
    pub fn tail(&self) -> &'a [u8] {
        &self.buffer[self.at..]
    }

    /// Finds the next line ends; all those found before are given out.
    #[inline(never)]
    fn look_ahead(&mut self) {
        let Lines { buffer, at, ends, .. } = self;
        let at = *at;
        self.count = on_tier!(self.tier, fn run(buffer: &[u8], at: usize, ends: &mut [usize; ENDS]) -> usize = line_ends; buffer, at, ends);
        self.next = 0;
    }
}

#[inline(always)]
fn line_ends<L: Lanes>(lanes: L, buffer: &[u8], at: usize, ends: &mut [usize; ENDS]) -> usize {
    lanes.places(b'\n', buffer, at, ends)
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next == self.count {
            self.look_ahead();
        }
        let end = *self.ends[..self.count].get(self.next)?;
        let line = &self.buffer[self.at..end];
        (self.at, self.next) = (end + 1, self.next + 1);
        Some(line)
    }
}

/// Length of the part of `buffer` that ends with its last newline; 0 when there is none.
pub fn whole_lines(buffer: &[u8]) -> usize {
    memchr::memrchr(b'\n', buffer).map_or(0, |n| n + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_between_line_feeds_on_every_tier() {
        let mut random = 7u32;
        for round in 0..400 {
            // From nothing but line feeds to hardly any.
            let text: Vec<u8> = (0..round)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if (random >> 16).is_multiple_of(1 + round / 8) { b'\n' } else { b'a' }
                })
                .collect();
            let want: Vec<&[u8]> = text[..whole_lines(&text)].split(|b| *b == b'\n').collect();
            for &tier in Tier::available() {
                let got: Vec<&[u8]> = Lines { tier, ..Lines::new(&text) }.collect();
                assert_eq!(got, want[..want.len() - 1], "{} {text:?}", tier.name());
            }
        }
    }

    #[test]
    fn every_byte_is_in_one_line_or_the_tail() {
        let text = b"one\n\ntwo\r\nthree";
        for cut in 0..=text.len() {
            let mut lines = Lines::new(&text[..cut]);
            let mut seen = Vec::new();
            for line in lines.by_ref() {
                seen.extend_from_slice(line);
                seen.push(b'\n');
            }
            assert_eq!(seen.len(), whole_lines(&text[..cut]), "cut {cut}");
            seen.extend_from_slice(lines.tail());
            assert_eq!(seen, &text[..cut], "cut {cut}");
        }
    }
}
