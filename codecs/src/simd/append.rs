//! Short pieces appended to a buffer without a call: most keys and many values have fewer than 33 bytes, for which
//! `memcpy` costs more to reach than to run.

/// Longest piece that is copied here.
pub(super) const SHORT: usize = 32;

/// Appends `bytes`.
#[inline(always)]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT {
        return out.extend_from_slice(bytes);
    }
    out.reserve(SHORT);
    let len = out.len();
    // SAFETY: (1) `SHORT` bytes are reserved behind `len`; (2) the copy initialises exactly `bytes.len()` of them.
    unsafe {
        copy_short(bytes, out.as_mut_ptr().add(len));
        out.set_len(len + bytes.len());
    }
}

/// Appends `"`, `bytes` and `"`.
#[inline(always)]
pub(crate) fn append_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = bytes.len();
    out.reserve(count.max(SHORT) + 2);
    let len = out.len();
    // SAFETY: (1) `count + 2` bytes are reserved behind `len` and written without a gap; (2) a slice that is read and a
    // vector that is written do not overlap.
    unsafe {
        let at = out.as_mut_ptr().add(len);
        at.write(b'"');
        match count <= SHORT {
            true => copy_short(bytes, at.add(1)),
            false => at.add(1).copy_from_nonoverlapping(bytes.as_ptr(), count),
        }
        at.add(1 + count).write(b'"');
        out.set_len(len + count + 2);
    }
}

/// Appends `before`, `"`, `bytes`, `"` and `:`.
#[inline(always)]
pub(crate) fn append_key(out: &mut Vec<u8>, before: u8, bytes: &[u8]) {
    let count = bytes.len();
    out.reserve(count.max(SHORT) + 4);
    let len = out.len();
    // SAFETY: as in `append_quoted`, with `count + 4` bytes.
    unsafe {
        let at = out.as_mut_ptr().add(len);
        at.cast::<[u8; 2]>().write_unaligned([before, b'"']);
        match count <= SHORT {
            true => copy_short(bytes, at.add(2)),
            false => at.add(2).copy_from_nonoverlapping(bytes.as_ptr(), count),
        }
        at.add(2 + count).cast::<[u8; 2]>().write_unaligned(*b"\":");
        out.set_len(len + count + 4);
    }
}

/// Copies up to [`SHORT`] bytes as two overlapping words.
///
/// # Safety
/// `to` is valid for writing `from.len()` bytes and does not overlap `from`.
#[inline(always)]
unsafe fn copy_short(from: &[u8], to: *mut u8) {
    debug_assert!(from.len() <= SHORT);
    let (start, len) = (from.as_ptr(), from.len());
    // SAFETY: each branch reads and writes whole words that lie within the first `len` bytes, by its own condition.
    unsafe {
        match len {
            16.. => ends::<[u8; 16]>(start, to, len),
            8.. => ends::<u64>(start, to, len),
            4.. => ends::<u32>(start, to, len),
            2.. => ends::<u16>(start, to, len),
            1 => to.write(*start),
            0 => {}
        }
    }
}

/// Copies the first and the last `T` of `len` bytes.
///
/// # Safety
/// `size_of::<T>() <= len <= 2 * size_of::<T>()`; both pointers are valid for `len` bytes and do not overlap.
#[inline(always)]
unsafe fn ends<T: Copy>(from: *const u8, to: *mut u8, len: usize) {
    let last = len - size_of::<T>();
    // SAFETY: both words lie within `len` bytes; unaligned access is asked for.
    unsafe {
        let (a, b) = (from.cast::<T>().read_unaligned(), from.add(last).cast::<T>().read_unaligned());
        to.cast::<T>().write_unaligned(a);
        to.add(last).cast::<T>().write_unaligned(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_length_arrive() {
        let source: Vec<u8> = (0..100).collect();
        for len in 0..source.len() {
            let (mut out, mut want) = (vec![7], vec![7]);
            append(&mut out, &source[..len]);
            append_key(&mut out, b',', &source[..len]);
            append_quoted(&mut out, &source[..len]);
            for (before, after) in [("", ""), (",\"", "\":"), ("\"", "\"")] {
                want.extend_from_slice(before.as_bytes());
                want.extend_from_slice(&source[..len]);
                want.extend_from_slice(after.as_bytes());
            }
            assert_eq!(out, want, "{len}");
        }
    }
}
