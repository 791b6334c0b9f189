//! Gzip files: compressed bytes in, the text out, in bounded pieces.
//!
//! Owns: the decompressor of one file and what it has not consumed. Never: reads the file, makes more output than the
//! room that it is given.

use flate2::{Decompress, FlushDecompress, Status};

/// The file is not gzip, or damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) String);

/// State of one compressed file.
pub(super) struct Gzip {
    inner: Decompress,
    /// Compressed bytes that wait for room.
    input: Vec<u8>,
    /// How many of `input` are consumed.
    used: usize,
    /// True between members, where a new header may follow.
    between: bool,
}

impl std::fmt::Debug for Gzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gzip").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

impl Gzip {
    /// A file at its head.
    pub(super) fn new() -> Self {
        Gzip { inner: Decompress::new_gzip(15), input: Vec::new(), used: 0, between: true }
    }

    /// True before the first byte.
    pub(super) fn untouched(&self) -> bool {
        self.input.is_empty() && self.inner.total_in() == 0
    }

    /// Adds compressed bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.used);
        self.used = 0;
        self.input.extend_from_slice(bytes);
    }

    /// True when compressed bytes wait for room.
    pub(super) fn pending(&self) -> bool {
        self.used < self.input.len()
    }

    /// Appends text to `out` until its capacity is full or the input is used up.
    pub(super) fn expand(&mut self, out: &mut Vec<u8>) -> Result<(), Damaged> {
        self.expand_up_to(out, out.capacity() - out.len())
    }

    /// Appends at most `room` bytes of text to `out`.
    pub(super) fn expand_up_to(&mut self, out: &mut Vec<u8>, room: usize) -> Result<(), Damaged> {
        let start = out.len();
        out.resize(start + room, 0);
        let mut made = 0;
        while made < room && self.pending() {
            if std::mem::take(&mut self.between) {
                self.skip_padding();
            }
            let (before_in, before_out) = (self.inner.total_in(), self.inner.total_out());
            let status = self.inner.decompress(
                &self.input[self.used..],
                &mut out[start + made..],
                FlushDecompress::None,
            );
            let (taken, new) = (
                (self.inner.total_in() - before_in) as usize,
                (self.inner.total_out() - before_out) as usize,
            );
            self.used += taken;
            made += new;
            match status {
                Ok(Status::StreamEnd) => {
                    self.inner = Decompress::new_gzip(15);
                    self.between = true;
                }
                Ok(_) if taken == 0 && new == 0 => break,
                Ok(_) => {}
                Err(e) => {
                    out.truncate(start + made);
                    return Err(Damaged(e.to_string()));
                }
            }
        }
        out.truncate(start + made);
        Ok(())
    }

    /// Zeros between members are padding (tapes, block devices).
    fn skip_padding(&mut self) {
        let zeros = self.input[self.used..].iter().take_while(|&&b| b == 0).count();
        self.used += zeros;
        self.between = self.used == self.input.len();
    }
}

/// True when the path says that the file is compressed.
pub(super) fn is_gzip(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    /// Compresses a text.
    pub(in super::super) fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("compress");
        encoder.finish().expect("compress")
    }

    fn expand(pieces: &[&[u8]], room: usize) -> Result<Vec<u8>, Damaged> {
        let (mut gzip, mut all) = (Gzip::new(), Vec::new());
        for piece in pieces {
            gzip.feed(piece);
            loop {
                let mut out = Vec::with_capacity(room);
                gzip.expand(&mut out)?;
                assert!(out.len() <= out.capacity());
                if out.is_empty() {
                    break;
                }
                all.append(&mut out);
            }
        }
        Ok(all)
    }

    #[test]
    fn members_are_expanded_however_they_are_cut() {
        let text: Vec<u8> = (0..5000u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let two = [compressed(&text), vec![0; 5], compressed(b"second member\n")].concat();
        let expected = [&text[..], b"second member\n"].concat();
        for cut in (0..two.len()).step_by(97) {
            assert_eq!(expand(&[&two[..cut], &two[cut..]], 1000), Ok(expected.clone()), "cut {cut}");
        }
        assert_eq!(expand(&two.chunks(1).collect::<Vec<_>>(), 7), Ok(expected));
        assert!(expand(&[b"plain text, not gzip at all"], 100).is_err());
    }

    #[test]
    fn what_is_damaged_adds_nothing_to_the_text() {
        let good = compressed(b"one\ntwo\n");
        let mut wrong_sum = good.clone();
        let sum = wrong_sum.len() - 8;
        wrong_sum[sum] ^= 1;
        for bytes in [[&good[..], b"garbage\n"].concat(), wrong_sum] {
            let mut gzip = Gzip::new();
            gzip.feed(&bytes);
            let mut out = Vec::with_capacity(1000);
            assert!(gzip.expand(&mut out).is_err());
            assert_eq!(out, b"one\ntwo\n");
        }
    }
}
