//! Whether a pattern matches, as grep asks.

use crate::{Run, input};
use codecs::regex::{Regex, Scratch};

/// A literal in whole lines; one line in six has it.
pub(crate) fn literal() -> Run {
    matches("ERROR", input::lines(input::app))
}

/// Classes and alternatives, which no literal stands for.
pub(crate) fn class() -> Run {
    matches(r"user \d{4,} in [1-3]\d\d ms", input::lines(input::app))
}

/// The answer is the number of lines that match.
fn matches(pattern: &str, lines: Vec<String>) -> Run {
    let (regex, mut scratch) = (Regex::new(pattern).expect("a valid pattern"), Scratch::default());
    Box::new(move || lines.iter().filter(|line| regex.is_match(line.as_bytes(), &mut scratch)).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_found_where_it_stands() {
        let naive = input::lines(input::app).iter().filter(|line| line.contains("ERROR")).count() as u64;
        assert_eq!(literal()(), naive);
        assert!((100..250).contains(&naive), "{naive}");
    }

    #[test]
    fn numbers_are_told_by_their_digits() {
        let fits = |line: &String| {
            let (_, rest) = line.split_once(" for user ").expect("a user");
            let (user, rest) = rest.split_once(" in ").expect("a time");
            let (ms, _) = rest.split_once(" ms").expect("milliseconds");
            user.len() >= 4 && ms.len() == 3 && ("100"..="399").contains(&ms)
        };
        assert_eq!(class()(), input::lines(input::app).iter().filter(|line| fits(line)).count() as u64);
    }
}
