//! Text as the inside of a JSON string: copied and looked at in one pass.
//!
//! Owns: what printable ASCII, controls, quotes and backslashes become. Never: decodes what lies beyond ASCII.
//! Invariant: what is written is what a byte-by-byte writer would write, whatever the tier.

use super::append::{SHORT, append, append_quoted};
use super::{Lanes, is_plain};

/// Bytes looked at at once.
pub(crate) const BLOCK: usize = 32;
/// What a block may become, and the bytes that are written behind its end on the way.
const ROOM: usize = BLOCK * 6 + BLOCK;

/// What each byte of ASCII becomes: up to six bytes, their number in the last one.
static ESCAPES: [[u8; 8]; 128] = escapes();

const fn escapes() -> [[u8; 8]; 128] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 8]; 128];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        let short = match b {
            b'"' | b'\\' => b,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            _ => 0,
        };
        table[byte] = match short {
            0 if is_plain(b) => [b, 0, 0, 0, 0, 0, 0, 1],
            0 => [b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15], 0, 6],
            _ => [b'\\', short, 0, 0, 0, 0, 0, 2],
        };
        byte += 1;
    }
    table
}

/// Appends text from `at` on; gives where it stopped: at the end, or at a byte beyond ASCII, which is the caller's.
#[inline(always)]
pub(crate) fn append_escaped<L: Lanes>(lanes: L, out: &mut Vec<u8>, text: &[u8], mut at: usize) -> usize {
    loop {
        at += append_blocks(lanes, out, &text[at..]);
        let Some(window) = text[at..].first_chunk::<{ 2 * BLOCK }>() else { break };
        let taken = escape_block(lanes, out, window, BLOCK);
        at += taken;
        if taken < BLOCK {
            return at;
        }
    }
    append_end(lanes, out, text, at)
}

/// Appends whole blocks up to the first with something special in it; gives how many bytes.
#[inline(always)]
fn append_blocks<L: Lanes>(lanes: L, out: &mut Vec<u8>, text: &[u8]) -> usize {
    out.reserve(text.len());
    let blocks = text.as_chunks::<BLOCK>().0;
    let start = out.len();
    let mut count = 0;
    for block in blocks {
        if lanes.specials(block) != 0 {
            break;
        }
        // SAFETY: (1) the whole text fits behind the length; (2) the new length is that of what was written, below.
        unsafe {
            out.as_mut_ptr().add(start + count).cast::<[u8; BLOCK]>().write_unaligned(*block);
        }
        count += BLOCK;
    }
    // SAFETY: `count` bytes behind the old length were written, without a gap.
    unsafe { out.set_len(start + count) };
    count
}

/// The same for what is left: fewer than two blocks.
#[inline(always)]
fn append_end<L: Lanes>(lanes: L, out: &mut Vec<u8>, text: &[u8], mut at: usize) -> usize {
    let rest = &text[at..];
    if rest.is_empty() {
        return at;
    }
    if rest.len() <= SHORT && is_clean(lanes, rest) {
        append(out, rest);
        return text.len();
    }
    // Spaces behind it, so that whole blocks can be read.
    let mut padded = [b' '; 3 * BLOCK];
    padded[..rest.len()].copy_from_slice(rest);
    for start in [0, BLOCK] {
        let count = rest.len().saturating_sub(start).min(BLOCK);
        let Some(window) = padded[start..].first_chunk::<{ 2 * BLOCK }>() else { break };
        let taken = escape_block(lanes, out, window, count);
        at += taken;
        if taken < count {
            return at;
        }
    }
    at
}

/// Appends short text between quotes if nothing in it is special; false, and nothing is appended, for all other.
#[inline(always)]
pub(crate) fn append_clean<L: Lanes>(lanes: L, out: &mut Vec<u8>, text: &[u8]) -> bool {
    let clean = text.len() <= SHORT && is_clean(lanes, text);
    if clean {
        append_quoted(out, text);
    }
    clean
}

/// Whether nothing is special in up to [`SHORT`] bytes: they are looked at as one block, some of them twice.
#[inline(always)]
fn is_clean<L: Lanes>(lanes: L, text: &[u8]) -> bool {
    let words = |at: usize| text[at..].first_chunk::<8>().map_or(SPACES, |w| u64::from_ne_bytes(*w));
    let halves = |at: usize| text[at..].first_chunk::<4>().map_or(0, |w| u32::from_ne_bytes(*w));
    let (a, b, c, d) = match text.len() {
        16.. => (words(0), words(8), words(text.len() - 16), words(text.len() - 8)),
        8.. => (words(0), words(text.len() - 8), SPACES, SPACES),
        4.. => {
            let both = u64::from(halves(0)) << 32 | u64::from(halves(text.len() - 4));
            (both, SPACES, SPACES, SPACES)
        }
        // The three bytes, or one of them more than once, in the place of spaces.
        1.. => {
            let three = [0, text.len() / 2, text.len() - 1].map(|at| u64::from(text[at]));
            (SPACES << 24 | three[0] << 16 | three[1] << 8 | three[2], SPACES, SPACES, SPACES)
        }
        0 => return true,
    };
    let mut block = [0; BLOCK];
    for (to, word) in block.chunks_exact_mut(8).zip([a, b, c, d]) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    lanes.specials(&block) == 0
}

const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);

/// Appends the first `count` bytes of a window, up to one beyond ASCII; gives how many it took. `count <= BLOCK`.
#[inline(always)]
fn escape_block<L: Lanes>(lanes: L, out: &mut Vec<u8>, window: &[u8; 2 * BLOCK], count: usize) -> usize {
    debug_assert!(count <= BLOCK);
    let Some(block) = window.first_chunk::<BLOCK>() else { return 0 };
    out.reserve(ROOM);
    let mut mask = u64::from(lanes.specials(block)) & ((1 << count) - 1);
    // SAFETY: (1) a byte becomes at most 6, and behind what is written at most a block more is written: `ROOM`; (2) a
    // block is read from `from <= count <= BLOCK` on, which is within the window, and so is `from` where a bit of the
    // mask is; (3) all bytes below the new length are written.
    unsafe {
        let (mut to, mut from) = (out.as_mut_ptr().add(out.len()), 0);
        loop {
            let plain = window.as_ptr().add(from).cast::<[u8; BLOCK]>().read_unaligned();
            to.cast::<[u8; BLOCK]>().write_unaligned(plain);
            let end = match mask {
                0 => count,
                _ => mask.trailing_zeros() as usize,
            };
            (to, from) = (to.add(end - from), end);
            let byte = *window.as_ptr().add(from);
            if mask == 0 || byte >= 0x80 {
                break;
            }
            let escape = ESCAPES[usize::from(byte)];
            to.cast::<[u8; 8]>().write_unaligned(escape);
            to = to.add(usize::from(escape[7]));
            from += 1;
            mask &= mask - 1;
        }
        out.set_len(to.offset_from(out.as_ptr()) as usize);
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Tier, on_tier};
    use proptest::prelude::*;

    /// Byte by byte; what lies beyond ASCII becomes `?`, on both sides.
    fn naive(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in text {
            match byte {
                b'"' | b'\\' => out.extend([b'\\', byte]),
                b'\n' => out.extend(b"\\n"),
                b'\r' => out.extend(b"\\r"),
                b'\t' => out.extend(b"\\t"),
                8 => out.extend(b"\\b"),
                12 => out.extend(b"\\f"),
                0..0x20 | 0x7f => out.extend(format!("\\u{byte:04x}").bytes()),
                0x80.. => out.push(b'?'),
                _ => out.push(byte),
            }
        }
        out
    }

    fn on(tier: Tier, text: &[u8]) -> Vec<u8> {
        #[inline(always)]
        fn run<L: Lanes>(lanes: L, text: &[u8]) -> Vec<u8> {
            let (mut out, mut at) = (Vec::new(), 0);
            if append_clean(lanes, &mut out, text) {
                assert!(text.len() <= SHORT);
                assert_eq!(out, [b"\"", text, b"\""].concat());
            }
            out.clear();
            while at < text.len() {
                at = append_escaped(lanes, &mut out, text, at);
                if at < text.len() {
                    assert!(text[at] >= 0x80, "it stops beyond ASCII only");
                    out.push(b'?');
                    at += 1;
                }
            }
            out
        }
        on_tier!(tier, fn f(text: &[u8]) -> Vec<u8> = run)
    }

    #[test]
    fn each_byte_at_each_place_of_each_length() {
        for len in 0..100 {
            for at in 0..len {
                for byte in [0, 0x1f, b' ', b'"', b'\\', b'\n', 0x7e, 0x7f, 0x80, 0xff] {
                    let mut text: Vec<u8> = (0..len).map(|n| b'a' + (n % 26) as u8).collect();
                    text[at] = byte;
                    for &tier in Tier::available() {
                        assert_eq!(on(tier, &text), naive(&text), "{} {len} {at} {byte}", tier.name());
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn as_byte_by_byte(text in prop::collection::vec(prop_oneof![4 => b' '..=b'~', 1 => Just(b'"'), 1 => any::<u8>()], 0..300)) {
            for &tier in Tier::available() {
                prop_assert_eq!(on(tier, &text), naive(&text), "{}", tier.name());
            }
        }

        #[test]
        fn nothing_but_escapes(text in prop::collection::vec(0u8..0x20, 0..200)) {
            for &tier in Tier::available() {
                prop_assert_eq!(on(tier, &text), naive(&text), "{}", tier.name());
            }
        }
    }
}
