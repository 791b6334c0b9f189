//! Literals that a pattern cannot do without: text in which none of them stands cannot fit.
//!
//! Invariant: sound, not complete. Where the pattern's syntax is not plainly understood, nothing is claimed.

use regex_syntax::hir::{Hir, HirKind};

/// More than this many literals are not worth a search.
const LITERALS_MAX: usize = 64;

/// Byte strings of which at least one stands verbatim in every text that the pattern fits; none is empty.
///
/// The pattern is read in the dialect of `regex-syntax`. Where Ruby's differs, that reader fails (look-around,
/// back-references, `\h`) or means a language with the same required literals (anchors, possessive repetition).
pub fn required(pattern: &str) -> Option<Vec<Vec<u8>>> {
    if pattern.starts_with('/') {
        // `/…/imx`: the options change what the letters mean.
        return None;
    }
    let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).ok()?;
    let mut literals = required_of(&hir)?;
    literals.sort_unstable();
    literals.dedup();
    (!literals.is_empty() && literals.len() <= LITERALS_MAX).then_some(literals)
}

/// The best set for one node, if there is any.
fn required_of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Capture(capture) => required_of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required_of(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(required_of).max_by_key(|set| worth(set)),
        HirKind::Alternation(parts) => {
            let sets: Option<Vec<_>> = parts.iter().map(required_of).collect();
            sets.map(|sets| sets.concat())
        }
        _ => None,
    }
}

/// Long literals are rare in text, few of them are found fast.
fn worth(set: &[Vec<u8>]) -> (usize, std::cmp::Reverse<usize>) {
    (set.iter().map(Vec::len).min().unwrap_or(0), std::cmp::Reverse(set.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_what_must_be_there() {
        let cases: &[(&str, &[&str])] = &[
            ("(ERROR|FATAL)", &["ERROR", "FATAL"]),
            ("^(?:ERROR|FATAL)$", &["ERROR", "FATAL"]),
            ("error", &["error"]),
            (r"^\d+ panic: .*", &[" panic: "]),
            ("a(bc)+d?", &["bc"]),
            ("x{2,}yz", &["yz"]),
            ("production", &["production"]),
            ("INFO|WARN|", &[]),
            (r"\d+", &[]),
            ("(abc)?", &[]),
            ("a*", &[]),
            ("(?i)error", &[]),
            ("/error/i", &[]),
            ("(?=error)x", &[]),
            ("(", &[]),
            ("", &[]),
        ];
        for (pattern, want) in cases {
            let got = required(pattern).unwrap_or_default();
            assert_eq!(
                got.iter().map(|l| String::from_utf8_lossy(l)).collect::<Vec<_>>(),
                *want,
                "{pattern}"
            );
        }
    }

    proptest! {
        /// Whatever fits a random pattern holds one of its literals.
        #[test]
        fn is_sound(pattern in "([ab]{1,2}|\\(a(b|ab)?\\)|\\[ab\\]|[ab][*+?]|a\\|b){1,6}", text in "[ab]{0,8}") {
            let Ok(regex) = regex_automata::meta::Regex::new(&pattern) else { return Ok(()) };
            if let Some(literals) = required(&pattern) && regex.is_match(&text) {
                prop_assert!(literals.iter().any(|l| memchr::memmem::find(text.as_bytes(), l).is_some()), "{:?}", literals);
            }
        }
    }
}
