//! The x86-64 tiers: thin wrappers of loads and compares.
//!
//! Invariant: an [`Avx2`] exists only where the processor has AVX2, BMI1, BMI2, LZCNT and POPCNT.

use super::{Lanes, Scalar};
use std::arch::x86_64::*;

/// Proof that AVX2 (and BMI1, BMI2, LZCNT, POPCNT) is there.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, where it is true. The detection is cached by the standard library.
    #[inline(always)]
    pub(crate) fn new() -> Option<Avx2> {
        let there = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("lzcnt")
            && std::arch::is_x86_feature_detected!("popcnt");
        there.then_some(Avx2(()))
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
}
