//! SIMD tiers and the byte kernels that run on them.
//!
//! Owns: which instruction sets are used, and every `unsafe` load. Never: knows JSON beyond byte classes.
//! Each kernel is written once over [`Lanes`]; a tier's own file is a thin wrapper. The scalar tier is the portable
//! twin that every test also runs, and the only one on processors without another.

mod append;
mod needles;
mod pairs;
mod text;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use append::{append, append_key, append_quoted};
pub(crate) use needles::Needles;
pub use pairs::Pairs;
pub(crate) use text::{append_clean, append_escaped};

/// An instruction set that kernels can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Eight bytes at a time in a general register; on every machine.
    Scalar,
    /// 16 bytes at a time; on every x86-64.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// 32 bytes at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Tier {
    /// The fastest tier of this machine.
    pub fn best() -> Tier {
        *Tier::available().last().unwrap_or(&Tier::Scalar)
    }

    /// All tiers of this machine, slowest first.
    pub fn available() -> &'static [Tier] {
        #[cfg(target_arch = "x86_64")]
        {
            match std::arch::is_x86_feature_detected!("avx2") {
                true => &[Tier::Scalar, Tier::Sse2, Tier::Avx2],
                false => &[Tier::Scalar, Tier::Sse2],
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            &[Tier::Scalar]
        }
    }

    /// Name as the start-up log shows it.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Tier::Sse2 => "sse2",
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => "avx2",
        }
    }
}

/// The fastest tier, asked for once.
#[inline(always)]
pub(crate) fn tier() -> Tier {
    static TIER: std::sync::OnceLock<Tier> = std::sync::OnceLock::new();
    *TIER.get_or_init(Tier::best)
}

impl Default for Tier {
    fn default() -> Self {
        Tier::best()
    }
}

/// Byte kernels of one tier. A value of a type that implements it exists only where the tier's instructions do.
pub(crate) trait Lanes: Copy {
    /// Offset of the first byte at or after `from` that cannot stand in a JSON string as it is and mean itself, in
    /// printable ASCII: below 0x20, `"`, `\`, or above 0x7e. The length when there is none. `from <= text.len()`.
    fn first_special(self, text: &[u8], from: usize) -> usize;

    /// The same, but bytes from 0x80 on are not special: what ends a run when non-ASCII text passes through.
    fn first_escape(self, text: &[u8], from: usize) -> usize;

    /// One bit for each byte of the block that is special, as [`Lanes::first_special`] says; the first is the lowest.
    fn specials(self, block: &[u8; 32]) -> u32;

    /// Offset of the first byte at or after `from` that is in the set, or the length. `from <= text.len()`.
    #[inline(always)]
    fn first_of(self, set: &Needles, text: &[u8], from: usize) -> usize {
        set.find(text, from)
    }

    /// Offsets of the byte's next places at or after `from`, as many as there are, or fit; gives their number.
    #[inline(always)]
    fn places(self, byte: u8, text: &[u8], from: usize, places: &mut [usize]) -> usize {
        let mut count = 0;
        for (place, at) in places.iter_mut().zip(memchr::memchr_iter(byte, &text[from..])) {
            (*place, count) = (from + at, count + 1);
        }
        count
    }

    /// Offset of the first byte at or after `from` with which one of the pairs begins, or the length.
    #[inline(always)]
    fn first_pair(self, pairs: &Pairs, text: &[u8], from: usize) -> usize {
        pairs.find(text, from)
    }
}

/// The portable tier.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bit of each byte of `word` that equals `byte`; exact up to the lowest set bit, which is all that is used.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let x = word ^ (ONES * u64::from(byte));
    x.wrapping_sub(ONES) & !x & HIGHS
}

/// High bit of each byte below 0x20, `"`, `\` or 0x7f. Exact up to the lowest set bit.
#[inline(always)]
fn escapes(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    control | equal(word, b'"') | equal(word, b'\\') | equal(word, 0x7f)
}

#[inline(always)]
fn swar(text: &[u8], from: usize, high: u64, single: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(chunk) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        // Borrows make flags above the first one unsure, never the first one itself.
        let flags = escapes(word) | (word & high);
        if flags != 0 {
            return at + (flags.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    text[at..].iter().position(|&b| single(b)).map_or(text.len(), |n| at + n)
}

impl Lanes for Scalar {
    #[inline(always)]
    fn first_special(self, text: &[u8], from: usize) -> usize {
        swar(text, from, HIGHS, |b| !is_plain(b))
    }

    #[inline(always)]
    fn first_escape(self, text: &[u8], from: usize) -> usize {
        swar(text, from, 0, |b| b < 0x80 && !is_plain(b))
    }

    #[inline(always)]
    fn specials(self, block: &[u8; 32]) -> u32 {
        let mut mask = 0;
        for (n, word) in block.chunks_exact(8).enumerate() {
            let flags = exact_specials(u64::from_le_bytes(word.try_into().unwrap_or_default())) >> 7;
            // Each flag is moved to the top byte, at the bit of its byte's number.
            let bits = (flags.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32;
            mask |= bits << (8 * n);
        }
        mask
    }
}

/// High bit of each byte that is special, exact for all of them.
#[inline(always)]
fn exact_specials(word: u64) -> u64 {
    let low = word & !HIGHS;
    // No byte carries into the next one: below 0x80, plus at most 0x7f.
    let differs = |byte: u8| (low ^ (ONES * u64::from(byte))) + ONES * 0x7f;
    let printable = (low + ONES * 0x60) & differs(b'"') & differs(b'\\') & differs(0x7f);
    (!printable | word) & HIGHS
}

/// True for a byte that stands for itself in a JSON string and is printable ASCII.
#[inline(always)]
pub(crate) const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte <= 0x7e && byte != b'"' && byte != b'\\'
}

/// Runs a generic function on a tier: `on_tier!(tier, |lanes| body(lanes, …))`, with the tier's instructions enabled
/// around it, so that kernels inline into it. Arguments are the parameters' own names, or expressions behind `;`.
macro_rules! on_tier {
    ($tier:expr, fn $name:ident $(<$life:lifetime>)? ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $generic:path) => {
        $crate::simd::on_tier!($tier, fn $name $(<$life>)? ($($arg: $ty),*) $(-> $ret)? = $generic; $($arg),*)
    };
    ($tier:expr, fn $name:ident $(<$life:lifetime>)? ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $generic:path; $($value:expr),*) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn avx2 $(<$life>)? (lanes: $crate::simd::Avx2, $($arg: $ty),*) $(-> $ret)? {
            $generic(lanes, $($arg),*)
        }
        match $tier {
            $crate::simd::Tier::Scalar => $generic($crate::simd::Scalar, $($value),*),
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Tier::Sse2 => $generic($crate::simd::Sse2, $($value),*),
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Tier::Avx2 => match $crate::simd::Avx2::new() {
                // SAFETY: an `Avx2` exists only where AVX2, BMI1, BMI2, LZCNT and POPCNT are present.
                Some(lanes) => unsafe { avx2(lanes, $($value),*) },
                None => $generic($crate::simd::Sse2, $($value),*),
            },
        }
    }};
}
pub(crate) use on_tier;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Sse2};

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(text: &[u8], from: usize, special: impl Fn(u8) -> bool) -> usize {
        (from..text.len()).find(|&n| special(text[n])).unwrap_or(text.len())
    }

    fn special(tier: Tier, text: &[u8], from: usize) -> (usize, usize) {
        #[inline(always)]
        fn both<L: Lanes>(lanes: L, text: &[u8], from: usize) -> (usize, usize) {
            (lanes.first_special(text, from), lanes.first_escape(text, from))
        }
        on_tier!(tier, fn run(text: &[u8], from: usize) -> (usize, usize) = both)
    }

    #[test]
    fn every_tier_marks_each_byte() {
        #[inline(always)]
        fn marked<L: Lanes>(lanes: L, block: &[u8; 32]) -> u32 {
            lanes.specials(block)
        }
        for start in 0..=255u8 {
            let mut block = [0; 32];
            block.iter_mut().enumerate().for_each(|(n, b)| *b = start.wrapping_add((n * n) as u8));
            let want = (0..32).filter(|&n| !is_plain(block[n])).fold(0, |mask, n| mask | 1 << n);
            for &tier in Tier::available() {
                let got = on_tier!(tier, fn run(block: &[u8; 32]) -> u32 = marked; &block);
                assert_eq!(got, want, "{} {block:?}", tier.name());
            }
        }
    }

    #[test]
    fn every_tier_finds_each_byte_at_each_place() {
        for len in [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100] {
            for at in 0..len {
                for byte in [0, 0x1f, 0x20, b'"', b'#', b'\\', b']', 0x7e, 0x7f, 0x80, 0xa0, 0xdc, 0xff] {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    text[len - 1] = if len % 2 == 0 { 0x01 } else { text[len - 1] };
                    for from in [0, at / 2, at, at + 1] {
                        let want = (
                            naive(&text, from, |b| !is_plain(b)),
                            naive(&text, from, |b| b < 0x80 && !is_plain(b)),
                        );
                        for &tier in Tier::available() {
                            assert_eq!(
                                special(tier, &text, from),
                                want,
                                "{} len {len} at {at} byte {byte:#x} from {from}",
                                tier.name()
                            );
                        }
                    }
                }
            }
        }
    }
}
