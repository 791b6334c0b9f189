//! Short pieces appended to a buffer without a call: most keys and many values have fewer than 33 bytes, for which
//! `memcpy` costs more to reach than to run.

/// Longest piece that is copied here.
const SHORT: usize = 32;

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

/// Appends `"`, `bytes`, `"` and `:`.
#[inline(always)]
pub(crate) fn append_key(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT {
        out.push(b'"');
        out.extend_from_slice(bytes);
        return out.extend_from_slice(b"\":");
    }
    out.reserve(SHORT + 3);
    let (len, count) = (out.len(), bytes.len());
    // SAFETY: (1) `SHORT + 3` bytes are reserved behind `len`, of which `count + 3` are written, without a gap.
    unsafe {
        let at = out.as_mut_ptr().add(len);
        at.write(b'"');
        copy_short(bytes, at.add(1));
        at.add(1 + count).write(b'"');
        at.add(2 + count).write(b':');
        out.set_len(len + count + 3);
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
            append_key(&mut out, &source[..len]);
            want.extend_from_slice(&source[..len]);
            want.push(b'"');
            want.extend_from_slice(&source[..len]);
            want.extend_from_slice(b"\":");
            assert_eq!(out, want, "{len}");
        }
    }
}
