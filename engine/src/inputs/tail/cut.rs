//! Finds lines that are longer than `Buffer_Max_Size` allows.
//!
//! Owns: that arithmetic, on bytes only. Never: copies, counts, knows a file.
//! Invariant: a line of `limit` bytes or more (without its newline) is too long, where `limit` is
//! `Buffer_Max_Size` − 1: in_tail's buffer must hold the line, its newline and a NUL.

use codecs::charset::Charset;

/// The first line of `lines` (whole lines, each with its newline) that is too long: where it starts, and where its
/// newline is.
///
/// `limit` is a multiple of the charset's unit.
pub(super) fn first_long(charset: Charset, lines: &[u8], limit: usize) -> Option<(usize, usize)> {
    let mut at = 0;
    // While a newline stands among the next `limit` bytes, the lines up to the last one there are short enough.
    while lines.len() - at >= limit {
        match charset.last_newline(&lines[at..at + limit]) {
            Some(end) => at += end + charset.unit(),
            None => {
                let end = charset.first_newline(&lines[at + limit..])?;
                return Some((at, at + limit + end));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(lines: &[u8], limit: usize) -> Option<(usize, usize)> {
        let mut start = 0;
        for line in lines.split_inclusive(|&b| b == b'\n') {
            if line.len() > limit {
                return Some((start, start + line.len() - 1));
            }
            start += line.len();
        }
        None
    }

    proptest! {
        #[test]
        fn long_lines_are_found_as_the_naive_way_finds_them(lengths in prop::collection::vec(0usize..40, 0..30), limit in 1usize..40) {
            let lines: Vec<u8> = lengths.iter().flat_map(|&n| [vec![b'x'; n], vec![b'\n']].concat()).collect();
            prop_assert_eq!(first_long(Charset::Utf8, &lines, limit), naive(&lines, limit));
            for charset in [Charset::Utf16Le, Charset::Utf16Be] {
                let wide: Vec<u8> = lines.iter().flat_map(|&b| if charset == Charset::Utf16Le { [b, 0] } else { [0, b] }).collect();
                let place = naive(&lines, limit).map(|(start, end)| (2 * start, 2 * end));
                prop_assert_eq!(first_long(charset, &wide, 2 * limit), place);
            }
        }
    }
}
