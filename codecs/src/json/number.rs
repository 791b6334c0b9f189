//! JSON numbers: their grammar (RFC 8259, section 6). Values stay text.

/// One past the last byte of the number that starts at `at`, or `None` when there is none.
#[inline(always)]
pub(crate) fn end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + usize::from(text.get(at) == Some(&b'-'));
    match text.get(at)? {
        b'0' => at += 1,
        b'1'..=b'9' => at = digits(text, at + 1),
        _ => return None,
    }
    if text.get(at) == Some(&b'.') {
        let first = at + 1;
        at = digits(text, first);
        if at == first {
            return None;
        }
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let first = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = digits(text, first);
        if at == first {
            return None;
        }
    }
    Some(at)
}

#[inline(always)]
fn digits(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    #[test]
    fn grammar() {
        for good in ["0", "-0", "1", "-12", "1.5", "0.0", "1e3", "1E+5", "-2.5e-7", "18446744073709551616"] {
            assert_eq!(super::end(good.as_bytes(), 0), Some(good.len()), "{good}");
        }
        for bad in ["", "-", "+1", ".5", "1.", "1e", "1e+", "NaN", "x"] {
            assert_eq!(super::end(bad.as_bytes(), 0), None, "{bad}");
        }
        assert_eq!(super::end(b"01", 0), Some(1));
    }
}
