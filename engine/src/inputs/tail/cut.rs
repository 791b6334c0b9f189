//! Finds lines that are longer than `Buffer_Max_Size` allows, and where to cut them.
//!
//! Owns: that arithmetic, on bytes only. Never: copies, counts, knows a file.
//! Invariant: a line of `limit` bytes or more (without its newline) is too long, where `limit` is
//! `Buffer_Max_Size` − 1: in_tail's buffer must hold the line, its newline and a NUL.

/// The first line of `lines` (whole lines, each with its newline) that is too long: where it starts, and where its
/// newline is.
pub(super) fn first_long(lines: &[u8], limit: usize) -> Option<(usize, usize)> {
    let mut at = 0;
    // While a newline stands among the next `limit` bytes, the lines up to the last one there are short enough.
    while lines.len() - at >= limit {
        match memchr::memrchr(b'\n', &lines[at..at + limit]) {
            Some(end) => at += end + 1,
            None => {
                let end = memchr::memchr(b'\n', &lines[at + limit..])?;
                return Some((at, at + limit + end));
            }
        }
    }
    None
}

/// Where to cut a line that is at least `limit` bytes long: at most `limit`, and not inside a character.
pub(super) fn cut_at(line: &[u8], limit: usize) -> usize {
    let mut cut = limit.min(line.len());
    if cut == line.len() {
        return cut;
    }
    while cut > 0 && line[cut] & 0xC0 == 0x80 {
        cut -= 1;
    }
    // Not text at all: a cut at nothing would lose what there is.
    if cut == 0 { limit.min(line.len()) } else { cut }
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
            prop_assert_eq!(first_long(&lines, limit), naive(&lines, limit));
        }
    }

    #[test]
    fn cuts_fall_between_characters() {
        for (line, limit, expected) in
            [("abcdef", 4, 4), ("abc", 4, 3), ("aé", 2, 1), ("日本語", 5, 3), ("日本語", 6, 6)]
        {
            assert_eq!(cut_at(line.as_bytes(), limit), expected, "{line} {limit}");
        }
        assert_eq!(cut_at(&[0x80; 9], 4), 4);
    }
}
