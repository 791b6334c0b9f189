//! Which tags an output or a filter takes: `Match` and `Match_Regex`.
//!
//! Owns: Fluent Bit's rules of matching. Never: caches (routes are resolved once per tag, elsewhere).
//! A regular expression is tried at the tag's first byte only and must take at least one byte, but need not reach the
//! end: `foo` takes `foo.bar`, `bar` does not. Where both keys are given, either is enough.

use codecs::regex::{Regex, Scratch};
use std::sync::Arc;

/// A `Match` pattern: `*` stands for any bytes, all else for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match(String);

impl Match {
    /// A pattern.
    pub fn new(pattern: &str) -> Self {
        Match(pattern.to_owned())
    }

    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when the whole tag fits.
    pub fn fits(&self, tag: &str) -> bool {
        let (pattern, tag) = (self.0.as_bytes(), tag.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < tag.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p + 1, t));
                    p += 1;
                }
                Some(byte) if *byte == tag[t] => (p, t) = (p + 1, t + 1),
                _ => match &mut star {
                    Some((behind, at)) => {
                        *at += 1;
                        (p, t) = (*behind, *at);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

/// What decides whether a tag is taken.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    wildcard: Option<Match>,
    regex: Option<Arc<Regex>>,
}

impl Matcher {
    /// A matcher from the two keys. The error says why the regular expression is none.
    pub fn new(pattern: Option<&str>, regex: Option<&str>) -> Result<Self, String> {
        let regex = regex.map(Regex::new).transpose().map_err(|error| error.message)?;
        Ok(Matcher { wildcard: pattern.map(Match::new), regex: regex.map(Arc::new) })
    }

    /// True when neither key was given: nothing fits.
    pub fn is_empty(&self) -> bool {
        self.wildcard.is_none() && self.regex.is_none()
    }

    /// True when this tag is taken.
    pub fn fits(&self, tag: &str) -> bool {
        // Tags are looked at once each, so the working memory is not kept.
        let by_regex = |regex: &Regex| {
            let mut scratch = Scratch::default();
            regex.captures(tag.as_bytes(), &mut scratch)
                && scratch.group(0).is_some_and(|found| found.start == 0 && !found.is_empty())
        };
        self.regex.as_deref().is_some_and(by_regex) || self.wildcard.as_ref().is_some_and(|m| m.fits(tag))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As short as can be said.
    fn naive(pattern: &[u8], tag: &[u8]) -> bool {
        match pattern {
            [] => tag.is_empty(),
            [b'*', rest @ ..] => (0..=tag.len()).any(|at| naive(rest, &tag[at..])),
            [byte, rest @ ..] => tag.first() == Some(byte) && naive(rest, &tag[1..]),
        }
    }

    #[test]
    fn wildcards_fit_as_the_router_does() {
        for (pattern, tag, fits) in [
            ("*", "a", true),
            ("*", "", true),
            ("app.*", "app.one", true),
            ("app.*", "app.", true),
            ("app.*", "app", false),
            ("appp.*", "app.one", false),
            ("*.log", "a.log.log", true),
            ("a**b", "ab", true),
            ("kube.*.log", "kube.x.y.log", true),
            ("a", "ab", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Match::new(pattern).fits(tag), fits, "{pattern} {tag}");
        }
    }

    #[test]
    fn expressions_are_tried_at_the_front() {
        // Recorded from Fluent Bit 5.1.1 with the tag foo.bar.
        for (regex, fits) in [
            ("bar", false),
            ("foo", true),
            ("foo.*", true),
            ("o", false),
            ("(^|x)oo", false),
            (".oo", true),
            ("", false),
            ("/FOO/i", true),
            (r"\hoo", true),
            (r"(?!bar)foo\.(?<x>b)", true),
        ] {
            let matcher = Matcher::new(None, Some(regex)).expect(regex);
            assert_eq!(matcher.fits("foo.bar"), fits, "{regex}");
        }
        assert!(Matcher::new(None, Some("(")).is_err());
        assert!(Matcher::new(Some("a"), Some("b")).expect("both").fits("a"));
        assert!(!Matcher::default().fits("a"));
    }

    proptest! {
        #[test]
        fn wildcards_equal_the_naive_ones(pattern in "[ab.*]{0,8}", tag in "[ab.]{0,10}") {
            prop_assert_eq!(Match::new(&pattern).fits(&tag), naive(pattern.as_bytes(), tag.as_bytes()));
        }
    }
}
