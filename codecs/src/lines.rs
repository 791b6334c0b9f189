//! Cuts a filled read buffer into lines without copying.
//!
//! Owns: where a line starts and ends. Never: reads files, allocates, looks at JSON.
//! Invariant: every byte of the buffer is in exactly one line or in the tail.

/// Iterates the complete lines of a buffer, each without its `\n` (a `\r` before it stays).
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    buffer: &'a [u8],
    /// First byte that is not yet given out; always `<= buffer.len()`.
    at: usize,
}

impl<'a> Lines<'a> {
    /// Lines of `buffer` from its start.
    pub fn new(buffer: &'a [u8]) -> Self {
        Lines { buffer, at: 0 }
    }

    /// Offset of the first byte that no line has covered yet.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What follows the last newline that was found.
    pub fn tail(&self) -> &'a [u8] {
        &self.buffer[self.at..]
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.buffer[self.at..];
        let end = memchr::memchr(b'\n', rest)?;
        self.at += end + 1;
        Some(&rest[..end])
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
