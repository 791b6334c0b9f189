//! Where the messages of a stream of bytes end: separators, and octet counts (RFC 6587).
//!
//! Owns: that arithmetic, on bytes only. Never: does I/O, looks inside a message, keeps more than a limit.
//! Invariant: however a stream is cut into reads, the same messages come out.

use memchr::memmem;

/// Cuts a stream at a separator; a line that is longer than the limit is cut there, and the rest of it dropped.
#[derive(Clone, Debug)]
pub struct Separated {
    separator: Vec<u8>,
    /// Ends a line as well; only beside a separator of one byte.
    also: Option<u8>,
    limit: usize,
    /// The rest of a line that was too long is being dropped.
    skipping: bool,
}

/// What [`Separated::tidy`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Bytes that are whole lines, each with its separator.
    pub whole: usize,
    /// Lines that were cut because they were too long.
    pub cut: u64,
}

impl Separated {
    /// `separator` must not be empty; `limit` counts a line without its separator, at least one byte.
    pub fn new(separator: &[u8], limit: usize) -> Separated {
        let separator = if separator.is_empty() { b"\n" } else { separator };
        Separated { separator: separator.to_vec(), also: None, limit: limit.max(1), skipping: false }
    }

    /// Lines that end at either byte.
    pub fn either(one: u8, other: u8, limit: usize) -> Separated {
        Separated { also: Some(other), ..Separated::new(&[one], limit) }
    }

    /// Where the first line ends.
    fn first(&self, bytes: &[u8]) -> Option<usize> {
        match (&self.separator[..], self.also) {
            (&[one], Some(other)) => memchr::memchr2(one, other, bytes),
            (&[one], None) => memchr::memchr(one, bytes),
            (separator, _) => memmem::find(bytes, separator),
        }
    }

    /// Where the last line ends, for separators of one byte.
    fn last(&self, byte: u8, bytes: &[u8]) -> Option<usize> {
        match self.also {
            Some(other) => memchr::memrchr2(byte, other, bytes),
            None => memchr::memrchr(byte, bytes),
        }
    }

    /// True when what comes next is the rest of a line that was too long.
    pub fn skipping(&self) -> bool {
        self.skipping
    }

    /// Tells how much of `bytes` is whole lines. What is too long is taken out of `bytes`, so that no line in them is
    /// longer than the limit. The caller takes the whole lines and comes back with the rest and more.
    pub fn tidy(&mut self, bytes: &mut Vec<u8>) -> Tidied {
        if self.skipping && !self.skip(bytes) {
            return Tidied::default();
        }
        let mut whole = self.last_end(bytes);
        let (mut cut, mut at) = (0, 0);
        while let Some((start, end)) = self.first_long(&bytes[at..whole]) {
            let kept = self.kept(&bytes[at + start..at + end]);
            bytes.drain(at + start + kept..at + end);
            whole -= end - start - kept;
            at += start + kept + self.separator.len();
            cut += 1;
        }
        // The separator itself may still come: only what is beyond both is surely too long.
        if bytes.len() - whole >= self.limit + self.separator.len() {
            let kept = self.kept(&bytes[whole..]);
            // The last bytes may be the first of a separator.
            let begun = bytes.split_off(bytes.len() - (self.separator.len() - 1));
            bytes.truncate(whole + kept);
            bytes.extend_from_slice(&self.separator);
            (whole, self.skipping) = (bytes.len(), true);
            bytes.extend_from_slice(&begun);
            cut += 1;
        }
        Tidied { whole, cut }
    }

    /// How much of a line that is too long is kept: up to the limit, but less where its last bytes and the separator
    /// behind them would show a separator too early.
    fn kept(&self, line: &[u8]) -> usize {
        let overlap = self.separator.len() - 1;
        let shows = |kept: usize| {
            let mut end = line[kept.saturating_sub(overlap)..kept].to_vec();
            let expected = end.len();
            end.extend_from_slice(&self.separator);
            memmem::find(&end, &self.separator) < Some(expected)
        };
        (0..=self.limit).rev().find(|&kept| overlap == 0 || !shows(kept)).unwrap_or(0)
    }

    /// Drops up to the next separator; false when it is not there yet.
    fn skip(&mut self, bytes: &mut Vec<u8>) -> bool {
        match self.first(bytes) {
            Some(at) => {
                bytes.drain(..at + self.separator.len());
                self.skipping = false;
                true
            }
            None => {
                // The first bytes of a separator may be here, its last not.
                let kept = bytes.len().min(self.separator.len() - 1);
                bytes.drain(..bytes.len() - kept);
                false
            }
        }
    }

    /// One past the last separator, as they are found from the front.
    fn last_end(&self, bytes: &[u8]) -> usize {
        if let [byte] = self.separator[..] {
            return self.last(byte, bytes).map_or(0, |n| n + 1);
        }
        // From the front: where a separator overlaps itself, a search from the back finds other places.
        memmem::find_iter(bytes, &self.separator).last().map_or(0, |n| n + self.separator.len())
    }

    /// The first of these whole lines that is longer than the limit: where it starts, and where its separator is.
    fn first_long(&self, lines: &[u8]) -> Option<(usize, usize)> {
        if let [byte] = self.separator[..] {
            let mut at = 0;
            // While a separator stands among the next bytes, the lines up to the last one there are short enough.
            while lines.len() - at > self.limit + 1 {
                match self.last(byte, &lines[at..=at + self.limit]) {
                    Some(end) => at += end + 1,
                    None => {
                        let end = self.first(&lines[at + self.limit..])?;
                        return Some((at, at + self.limit + end));
                    }
                }
            }
            return None;
        }
        let mut at = 0;
        for end in memmem::find_iter(lines, &self.separator) {
            if end - at > self.limit {
                return Some((at, end));
            }
            at = end + self.separator.len();
        }
        None
    }
}

/// A message with its length before it, as it stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Where the message begins.
    pub start: usize,
    /// How long it is.
    pub len: usize,
}

/// A length has no more digits than this: none is above a gigabyte.
const DIGITS_MAX: usize = 9;

/// Reads `LENGTH SPACE` at the front (newlines before it are skipped, as senders differ there): `None` when more bytes
/// are needed to tell, an error when there is no such length. The message itself may not be there yet.
pub fn counted(bytes: &[u8]) -> Result<Option<Counted>, NoLength> {
    let skipped = bytes.iter().take_while(|&&b| b == b'\n').count();
    let digits = bytes[skipped..].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits > DIGITS_MAX {
        return Err(NoLength);
    }
    match bytes.get(skipped + digits) {
        None => Ok(None),
        Some(b' ') if digits > 0 => {
            let text = &bytes[skipped..skipped + digits];
            let len = text.iter().fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
            Ok(Some(Counted { start: skipped + digits + 1, len }))
        }
        Some(_) => Err(NoLength),
    }
}

/// The bytes do not begin with a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLength;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Splits the whole text at once; a line without its separator is not a line.
    fn naive(text: &[u8], separator: &[u8], limit: usize) -> Vec<Vec<u8>> {
        let (mut lines, mut at) = (Vec::new(), 0);
        let cut = |line: &[u8]| {
            let mut kept = line[..limit.min(line.len())].to_vec();
            while kept.len() < line.len() {
                let whole = [&kept[..], separator].concat();
                if whole.windows(separator.len()).position(|w| w == separator) == Some(kept.len()) {
                    break;
                }
                kept.pop();
            }
            kept
        };
        while at + separator.len() <= text.len() {
            let found = text[at..].windows(separator.len()).position(|w| w == separator);
            let Some(end) = found else { break };
            lines.push(cut(&text[at..at + end]));
            at += end + separator.len();
        }
        // An unfinished line counts once nothing that may come could make it short enough.
        if text.len() - at >= limit + separator.len() {
            lines.push(cut(&text[at..]));
        }
        lines
    }

    /// Feeds the text in pieces that end at `cuts`.
    fn fed(text: &[u8], separator: &[u8], limit: usize, cuts: &[usize]) -> (Vec<Vec<u8>>, u64) {
        let mut separated = Separated::new(separator, limit);
        let (mut bytes, mut lines, mut cut, mut from) = (Vec::new(), Vec::new(), 0, 0);
        for &to in cuts.iter().chain([&text.len()]) {
            bytes.extend_from_slice(&text[from..to.max(from)]);
            from = to.max(from);
            let tidied = separated.tidy(&mut bytes);
            cut += tidied.cut;
            let whole: Vec<u8> = bytes.drain(..tidied.whole).collect();
            let mut at = 0;
            while at < whole.len() {
                let end = memmem::find(&whole[at..], separator).expect("whole lines end");
                lines.push(whole[at..at + end].to_vec());
                at += end + separator.len();
            }
        }
        (lines, cut)
    }

    #[test]
    fn every_cut_gives_the_same_lines() {
        for (separator, text) in [
            (&b"\n"[..], &b"one\n\ntwo two two\nthree\nfo"[..]),
            (b"||", b"one||two|two||||three three three||x|"),
            (b"aba", b"1aba2ababa3aba"),
        ] {
            for limit in 1..8 {
                for cut in 0..=text.len() {
                    let (lines, long) = fed(text, separator, limit, &[cut]);
                    assert_eq!(lines, naive(text, separator, limit), "limit {limit} cut {cut}");
                    assert!(long <= lines.len() as u64);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_cuts_give_what_the_naive_way_gives(
            text in proptest::collection::vec(prop_oneof![Just(b'|'), Just(b'a'), Just(b'\n')], 0..80),
            cuts in proptest::collection::vec(0usize..80, 0..6),
            limit in 1usize..12,
            separator in prop_oneof![Just(&b"\n"[..]), Just(&b"||"[..]), Just(&b"a|a"[..])],
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let (lines, _) = fed(&text, separator, limit, &cuts);
            prop_assert_eq!(lines, naive(&text, separator, limit));
        }

        #[test]
        fn no_bytes_make_counted_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some(found)) = counted(&bytes) {
                prop_assert!(found.start <= bytes.len());
            }
        }
    }

    #[test]
    fn either_byte_ends_a_line() {
        let mut separated = Separated::either(b'\n', 0, 3);
        let mut bytes = b"a\0bb\ncccccc\0dd".to_vec();
        assert_eq!(separated.tidy(&mut bytes), Tidied { whole: 9, cut: 1 });
        assert_eq!(bytes, b"a\0bb\nccc\0dd");
    }

    #[test]
    fn lengths_are_read() {
        assert_eq!(counted(b"5 hello"), Ok(Some(Counted { start: 2, len: 5 })));
        assert_eq!(counted(b"\n12 x"), Ok(Some(Counted { start: 4, len: 12 })));
        for text in ["", "1", "12", "\n"] {
            assert_eq!(counted(text.as_bytes()), Ok(None), "{text}");
        }
        for text in ["x", " 5", "5x", "1234567890 x", "<13>"] {
            assert_eq!(counted(text.as_bytes()), Err(NoLength), "{text}");
        }
    }
}
