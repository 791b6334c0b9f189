//! CRI lines: `<time> stdout|stderr F|P <content>`.
//!
//! Owns: where the four parts of a line stand, as the built-in expression
//! `^(?<time>.+?) (?<stream>stdout|stderr) (?<_p>F|P) (?<log>.*)$` finds them. Never: allocates.

use super::instant::USUAL_LEN;

/// A line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parts<'a> {
    /// The time, as written; at least one byte.
    pub(super) time: &'a [u8],
    /// `stdout` or `stderr`.
    pub(super) stream: &'static [u8],
    /// `P`: the next line of this stream goes on where this one ends.
    pub(super) partial: bool,
    /// What the container wrote.
    pub(super) log: &'a [u8],
}

impl Parts<'_> {
    /// `P` or `F`.
    #[inline]
    pub(super) fn kind(&self) -> &'static [u8] {
        if self.partial { b"P" } else { b"F" }
    }
}

/// Takes a line apart; `None` when it is no CRI line. Text with line feeds in it is searched line by line.
pub(super) fn split(text: &[u8]) -> Option<Parts<'_>> {
    match split_line(text) {
        // A line feed ends the content, and the time may not reach over one.
        Some(parts) if memchr::memchr(b'\n', text).is_none() => Some(parts),
        None if memchr::memchr(b'\n', text).is_none() => None,
        _ => text.split(|&b| b == b'\n').find_map(split_line),
    }
}

/// Takes apart a line that has no line feed in it.
pub(super) fn split_line(line: &[u8]) -> Option<Parts<'_>> {
    let mut from = 1;
    loop {
        let space = from + memchr::memchr(b' ', line.get(from..)?)?;
        let tail = &line[space + 1..];
        // Nine bytes are needed from here on, and no later space has more.
        let (head, log) = tail.split_first_chunk::<9>()?;
        if let Some((stream, partial)) = kind(head) {
            return Some(Parts { time: &line[..space], stream, partial, log });
        }
        from = space + 1;
    }
}

/// Takes apart a line whose time is of the usual length, without a search; `None` says nothing about other lines.
/// The time is not looked at: where it has spaces in it, an earlier place might fit as well.
#[inline]
pub(super) fn split_usual(line: &[u8]) -> Option<Parts<'_>> {
    let (time, tail) = line.split_first_chunk::<USUAL_LEN>()?;
    let (head, log) = tail.split_first_chunk::<10>()?;
    if head[0] != b' ' || time[USUAL_LEN - 1] != b'Z' {
        return None;
    }
    let (stream, partial) = kind(head.last_chunk::<9>()?)?;
    Some(Parts { time, stream, partial, log })
}

/// `stdout F `, `stdout P `, `stderr F ` or `stderr P `.
fn kind(head: &[u8; 9]) -> Option<(&'static [u8], bool)> {
    let (word, space) = head.split_first_chunk::<8>()?;
    if space != b" " {
        return None;
    }
    match word {
        b"stdout F" => Some((b"stdout", false)),
        b"stderr F" => Some((b"stderr", false)),
        b"stdout P" => Some((b"stdout", true)),
        b"stderr P" => Some((b"stderr", true)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The expression itself, run by another engine.
    fn by_expression(line: &[u8]) -> Option<[Vec<u8>; 4]> {
        use regex_automata::{meta, util::syntax};
        let syntax = syntax::Config::new().unicode(false).utf8(false).multi_line(true);
        let regex = meta::Regex::builder()
            .syntax(syntax)
            .configure(meta::Config::new().utf8_empty(false))
            .build(r"^(.+?) (stdout|stderr) (F|P) (.*)$")
            .expect("compiles");
        let mut captures = regex.create_captures();
        regex.captures(line, &mut captures);
        let group = |i: usize| captures.get_group(i).map(|span| line[span.range()].to_vec());
        Some([group(1)?, group(2)?, group(3)?, group(4)?])
    }

    #[test]
    fn odd_lines() {
        let ok = |line: &str| split(line.as_bytes()).is_some();
        assert!(ok("t stdout F x") && ok("t stderr P ") && ok(" t stdout F ") && ok("a stdout X stdout F y"));
        assert!(
            !ok("t stdout F")
                && !ok(" stdout F x")
                && !ok("t stdout P:tag x")
                && !ok("t other F y")
                && !ok("")
        );
        let parts = split(b"t stdout P stderr F x").expect("the first place counts");
        assert_eq!((parts.time, parts.partial, parts.log), (&b"t"[..], true, &b"stderr F x"[..]));
    }

    proptest! {
        #[test]
        fn equals_the_expression(pieces in proptest::collection::vec(
            prop_oneof![Just(" "), Just("stdout"), Just("stderr"), Just("F"), Just("P"), Just("x"), Just("stdout F "), Just("\n"), Just("é")], 0..14)) {
            let line = pieces.concat();
            let got = split(line.as_bytes()).map(|p| [p.time, p.stream, p.kind(), p.log].map(<[u8]>::to_vec));
            prop_assert_eq!(got, by_expression(line.as_bytes()));
        }
    }
}
