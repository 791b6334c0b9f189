//! The x86-64 tiers: thin wrappers of loads and compares.
//!
//! Invariant: an [`Avx2`] exists only where the processor has AVX2, BMI1, BMI2, LZCNT and POPCNT.

use super::{Lanes, Needles, Pairs, Scalar};
use std::arch::x86_64::*;

/// Proof that AVX2 (and BMI1, BMI2, LZCNT, POPCNT) is there.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, where it is true. It is asked for each record: one look at a flag.
    #[inline(always)]
    pub(crate) fn new() -> Option<Avx2> {
        static THERE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        THERE.get_or_init(Avx2::detected).then_some(Avx2(()))
    }

    #[cold]
    fn detected() -> bool {
        std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("lzcnt")
            && std::arch::is_x86_feature_detected!("popcnt")
    }
}

/// SSE2, which every x86-64 has.
#[derive(Clone, Copy)]
pub(crate) struct Sse2;

/// One bit per byte of the 32 at `at` that is special (see [`Lanes::first_special`]), or, with `HIGH` off, that needs
/// an escape although non-ASCII passes.
///
/// # Safety
/// (1) AVX2 is present; (2) `at + 32 <= text.len()`.
#[inline(always)]
unsafe fn mask32<const HIGH: bool>(text: &[u8], at: usize) -> u32 {
    debug_assert!(at + 32 <= text.len());
    // SAFETY: (1) and (2) are the caller's promises; the load is unaligned by design.
    unsafe {
        let v = _mm256_loadu_si256(text.as_ptr().add(at).cast());
        let quote = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(b'"' as i8));
        let slash = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(b'\\' as i8));
        let delete = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f));
        // Signed: below 0x20 are the controls and, being negative, everything from 0x80 on.
        let low = match HIGH {
            true => _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), v),
            false => _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v),
        };
        let any = _mm256_or_si256(_mm256_or_si256(quote, slash), _mm256_or_si256(delete, low));
        _mm256_movemask_epi8(any) as u32
    }
}

/// The same for 16 bytes with SSE2.
///
/// # Safety
/// `at + 16 <= text.len()`.
#[inline(always)]
unsafe fn mask16<const HIGH: bool>(text: &[u8], at: usize) -> u32 {
    debug_assert!(at + 16 <= text.len());
    // SAFETY: SSE2 is part of x86-64; the range is the caller's promise; the load is unaligned by design.
    unsafe {
        let v = _mm_loadu_si128(text.as_ptr().add(at).cast());
        let quote = _mm_cmpeq_epi8(v, _mm_set1_epi8(b'"' as i8));
        let slash = _mm_cmpeq_epi8(v, _mm_set1_epi8(b'\\' as i8));
        let delete = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
        let low = match HIGH {
            true => _mm_cmpgt_epi8(_mm_set1_epi8(0x20), v),
            false => _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v),
        };
        let any = _mm_or_si128(_mm_or_si128(quote, slash), _mm_or_si128(delete, low));
        _mm_movemask_epi8(any) as u32
    }
}

/// Whole vectors, then one that overlaps the last, then (short texts) a smaller step.
#[inline(always)]
fn find16<const HIGH: bool>(text: &[u8], from: usize, short: impl Fn(&[u8], usize) -> usize) -> usize {
    let (mut at, len) = (from, text.len());
    while at + 16 <= len {
        // SAFETY: `at + 16 <= len`.
        let mask = unsafe { mask16::<HIGH>(text, at) };
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 16;
    }
    if at < len && len >= 16 {
        // SAFETY: `len - 16 + 16 == len`.
        let mask = unsafe { mask16::<HIGH>(text, len - 16) } >> (at + 16 - len);
        return if mask == 0 { len } else { at + mask.trailing_zeros() as usize };
    }
    short(text, at)
}

impl Sse2 {
    #[inline(always)]
    fn special(text: &[u8], from: usize) -> usize {
        find16::<true>(text, from, |text, at| Scalar.first_special(text, at))
    }

    #[inline(always)]
    fn escape(text: &[u8], from: usize) -> usize {
        find16::<false>(text, from, |text, at| Scalar.first_escape(text, at))
    }
}

impl Lanes for Sse2 {
    #[inline(always)]
    fn first_special(self, text: &[u8], from: usize) -> usize {
        Sse2::special(text, from)
    }

    #[inline(always)]
    fn first_escape(self, text: &[u8], from: usize) -> usize {
        Sse2::escape(text, from)
    }

    #[inline(always)]
    fn specials(self, block: &[u8; 32]) -> u32 {
        // SAFETY: both halves lie within the block.
        unsafe { mask16::<true>(block, 0) | mask16::<true>(block, 16) << 16 }
    }
}

/// One bit per byte of the 32 at `at` that is in the set.
///
/// # Safety
/// (1) AVX2 is present; (2) `at + 32 <= text.len()`; (3) the set is `by_halves`.
#[inline(always)]
unsafe fn needles32(set: &Needles, text: &[u8], at: usize) -> u32 {
    debug_assert!(at + 32 <= text.len() && set.by_halves);
    /// The bit of each high half below 8.
    const HIGH: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: (1) and (2) are the caller's promises; the tables have 16 bytes; all loads are unaligned by design.
    unsafe {
        let v = _mm256_loadu_si256(text.as_ptr().add(at).cast());
        let low = _mm256_broadcastsi128_si256(_mm_loadu_si128(set.low.as_ptr().cast()));
        let high = _mm256_broadcastsi128_si256(_mm_loadu_si128(HIGH.as_ptr().cast()));
        // A byte from 0x80 on picks nothing.
        let of_low = _mm256_shuffle_epi8(low, v);
        let half = _mm256_and_si256(_mm256_srli_epi16::<4>(v), _mm256_set1_epi8(15));
        let of_high = _mm256_shuffle_epi8(high, half);
        let none = _mm256_cmpeq_epi8(_mm256_and_si256(of_low, of_high), _mm256_setzero_si256());
        let beyond = if set.beyond { _mm256_movemask_epi8(v) as u32 } else { 0 };
        !(_mm256_movemask_epi8(none) as u32) | beyond
    }
}

#[inline(always)]
fn find32<const HIGH: bool>(text: &[u8], from: usize, short: impl Fn(&[u8], usize) -> usize) -> usize {
    let (mut at, len) = (from, text.len());
    while at + 32 <= len {
        // SAFETY: (1) only an `Avx2` calls this; (2) `at + 32 <= len`.
        let mask = unsafe { mask32::<HIGH>(text, at) };
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 32;
    }
    if at < len && len >= 32 {
        // SAFETY: (1) as above; (2) `len - 32 + 32 == len`.
        let mask = unsafe { mask32::<HIGH>(text, len - 32) } >> (at + 32 - len);
        return if mask == 0 { len } else { at + mask.trailing_zeros() as usize };
    }
    short(text, at)
}

impl Lanes for Avx2 {
    #[inline(always)]
    fn first_special(self, text: &[u8], from: usize) -> usize {
        find32::<true>(text, from, Sse2::special)
    }

    #[inline(always)]
    fn first_escape(self, text: &[u8], from: usize) -> usize {
        find32::<false>(text, from, Sse2::escape)
    }

    #[inline(always)]
    fn specials(self, block: &[u8; 32]) -> u32 {
        // SAFETY: (1) only an `Avx2` calls this; (2) the block has 32 bytes.
        unsafe { mask32::<true>(block, 0) }
    }

    #[inline(always)]
    fn first_of(self, set: &Needles, text: &[u8], from: usize) -> usize {
        let (mut at, len) = (from, text.len());
        if !set.by_halves || len < 32 {
            return set.find(text, from);
        }
        while at + 32 <= len {
            // SAFETY: (1) only an `Avx2` calls this; (2) `at + 32 <= len`; (3) asked above.
            let mask = unsafe { needles32(set, text, at) };
            if mask != 0 {
                return at + mask.trailing_zeros() as usize;
            }
            at += 32;
        }
        if at == len {
            return len;
        }
        // SAFETY: (1) as above; (2) `len - 32 + 32 == len`; (3) asked above.
        let mask = unsafe { needles32(set, text, len - 32) } >> (at + 32 - len);
        if mask == 0 { len } else { at + mask.trailing_zeros() as usize }
    }

    #[inline(always)]
    fn places(self, byte: u8, text: &[u8], from: usize, places: &mut [usize]) -> usize {
        let (mut at, mut count) = (from, 0);
        while at + 32 <= text.len() {
            // SAFETY: (1) only an `Avx2` calls this; (2) `at + 32 <= text.len()`.
            let mut mask = unsafe { equal32(byte, text, at) };
            while mask != 0 {
                let Some(place) = places.get_mut(count) else { return count };
                (*place, count) = (at + mask.trailing_zeros() as usize, count + 1);
                mask &= mask - 1;
            }
            at += 32;
        }
        for (n, _) in text[at..].iter().enumerate().filter(|(_, b)| **b == byte) {
            let Some(place) = places.get_mut(count) else { return count };
            (*place, count) = (at + n, count + 1);
        }
        count
    }

    #[inline(always)]
    fn first_pair(self, pairs: &Pairs, text: &[u8], from: usize) -> usize {
        let mut at = from;
        // One byte more than a vector is looked at.
        while at + 33 <= text.len() {
            // SAFETY: (1) only an `Avx2` calls this; (2) `at + 33 <= text.len()`.
            let mask = unsafe { pairs32(pairs, text, at) };
            if mask != 0 {
                return at + mask.trailing_zeros() as usize;
            }
            at += 32;
        }
        pairs.find(text, at)
    }
}

/// One bit per byte of the 32 at `at` that is `byte`.
///
/// # Safety
/// (1) AVX2 is present; (2) `at + 32 <= text.len()`.
#[inline(always)]
unsafe fn equal32(byte: u8, text: &[u8], at: usize) -> u32 {
    debug_assert!(at + 32 <= text.len());
    // SAFETY: (1) and (2) are the caller's promises; the load is unaligned by design.
    unsafe {
        let v = _mm256_loadu_si256(text.as_ptr().add(at).cast());
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_set1_epi8(byte as i8))) as u32
    }
}

/// One bit per byte of the 32 at `at` that begins, with the byte behind it, one of the pairs.
///
/// # Safety
/// (1) AVX2 is present; (2) `at + 33 <= text.len()`.
#[inline(always)]
unsafe fn pairs32(pairs: &Pairs, text: &[u8], at: usize) -> u32 {
    debug_assert!(at + 33 <= text.len());
    // SAFETY: (1) and (2) are the caller's promises; the tables have 16 bytes; all loads are unaligned by design.
    unsafe {
        let nibble = _mm256_set1_epi8(15);
        let of = |table: &[u8; 16], halves: __m256i| {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            _mm256_shuffle_epi8(table, halves)
        };
        let which = |n: usize| {
            let v = _mm256_loadu_si256(text.as_ptr().add(at + n).cast());
            let (low, high) =
                (_mm256_and_si256(v, nibble), _mm256_and_si256(_mm256_srli_epi16::<4>(v), nibble));
            _mm256_and_si256(of(&pairs.by_half[n][0], low), of(&pairs.by_half[n][1], high))
        };
        let none = _mm256_cmpeq_epi8(_mm256_and_si256(which(0), which(1)), _mm256_setzero_si256());
        !(_mm256_movemask_epi8(none) as u32)
    }
}
