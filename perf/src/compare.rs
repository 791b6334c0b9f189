//! What an engine wrote, as a checksum that two engines share exactly when they wrote the same.
//!
//! Owns: how times are masked, and when order counts. Never: runs an engine.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// FNV-1a of 128 bits over bytes, or over lines in any order. Its values are part of tests, so that it must not change
/// with the toolchain as the standard hasher may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(u128);

impl Digest {
    /// Of bytes.
    pub(crate) fn of(bytes: &[u8]) -> Digest {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        Digest(bytes.iter().fold(BASIS, |h, b| (h ^ u128::from(*b)).wrapping_mul(PRIME)))
    }

    /// Adds a line; order does not count.
    fn add(&mut self, other: Digest) {
        self.0 = self.0.wrapping_add(other.0);
    }

    /// Adds a line behind those before.
    fn follow(&mut self, other: Digest) {
        *self = Digest::of(&[self.0, other.0].map(u128::to_le_bytes).concat());
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Number of lines.
    pub(crate) lines: u64,
    /// Their content.
    pub(crate) digest: Digest,
}

/// How to look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Nothing gives the records a time, so that each engine writes its own clock: it is left out.
    pub(crate) mask_times: bool,
    /// Several files are read, whose lines may come in any order.
    pub(crate) any_order: bool,
}

/// Reads a file written by an engine (`tag: [time, {record}]` a line). A missing file is an empty one.
pub(crate) fn written(path: &Path, rules: Rules) -> std::io::Result<Written> {
    match std::fs::File::open(path) {
        Ok(file) => of_lines(BufReader::with_capacity(1 << 20, file), rules),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Written::default()),
        Err(error) => Err(error),
    }
}

fn of_lines(mut lines: impl BufRead, rules: Rules) -> std::io::Result<Written> {
    let (mut written, mut line) = (Written::default(), Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        if rules.mask_times {
            mask_time(&mut line);
        }
        let digest = Digest::of(&line);
        match rules.any_order {
            true => written.digest.add(digest),
            false => written.digest.follow(digest),
        }
        written.lines += 1;
        line.clear();
    }
    Ok(written)
}

/// `app: [1768435200.5, {…` becomes `app: [, {…`; any other line stays.
fn mask_time(line: &mut Vec<u8>) {
    let Some(start) = line.windows(3).position(|w| w == b": [").map(|at| at + 3) else { return };
    let digits = line[start..].iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    if line[start + digits..].starts_with(b", ") {
        line.drain(start..start + digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str, mask_times: bool, any_order: bool) -> Written {
        of_lines(text.as_bytes(), Rules { mask_times, any_order }).expect("in memory")
    }

    #[test]
    fn the_digest_is_fnv_1a() {
        assert_eq!(Digest::of(b"a").to_string(), "d228cb696f1a8caf78912b704e4a8964");
    }

    #[test]
    fn order_counts_unless_told() {
        assert_ne!(look("a\nb\n", false, false), look("b\na\n", false, false));
        assert_eq!(look("a\nb\n", false, true), look("b\na\n", false, true));
        assert_ne!(look("a\na\n", false, true), look("a\nb\n", false, true), "how often counts");
        assert_ne!(look("a\nb\n", false, false), look("ab\n", false, false));
    }

    #[test]
    fn only_the_time_is_masked() {
        let (a, b) = ("app: [1.5, {\"n\":1}]\n", "app: [22.75, {\"n\":1}]\n");
        assert_eq!(look(a, true, false), look(b, true, false));
        assert_ne!(look(a, false, false), look(b, false, false));
        assert_ne!(look(a, true, false), look("app: [1.5, {\"n\":2}]\n", true, false));
        for untouched in ["", "\n", "x", "app: [", "app: [1.5", "app: [1.5]\n"] {
            let mut line = untouched.as_bytes().to_vec();
            mask_time(&mut line);
            assert_eq!(line, untouched.as_bytes());
        }
    }
}
