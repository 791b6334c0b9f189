//! JSON text to fields.

use crate::{Run, input};
use codecs::Bump;
use codecs::json::{Opening, Scratch, parse_object};
use codecs::record::{Fields, Value};

/// No white space, nothing escaped: values pass through as they are.
pub(crate) fn plain() -> Run {
    parse(input::lines(input::app))
}

/// Blanks after separators, some nested maps.
pub(crate) fn spaced() -> Run {
    parse(input::lines(input::app_spaced))
}

/// Escapes and characters beyond ASCII.
pub(crate) fn escaped() -> Run {
    parse(input::lines(input::app_escaped))
}

/// A nested map that cannot pass through as text, of about 110 bytes, opened as the scanner sees fit.
pub(crate) fn opened_small() -> Run {
    parse_by(Opening::Quickest, input::lines(|n, random| input::nested(n, random, 1)))
}

/// The same of about 3 KiB.
pub(crate) fn opened_large() -> Run {
    parse_by(Opening::Quickest, input::lines(|n, random| input::nested(n, random, 30)))
}

/// The answer counts fields, and bytes of decoded strings.
fn parse(lines: Vec<String>) -> Run {
    let (mut arena, mut scratch) = (Bump::new(), Scratch::default());
    Box::new(move || {
        arena.reset();
        let mut answer = 0;
        for line in &lines {
            let mut fields = Fields::with_capacity_in(16, &arena);
            if parse_object(line.as_bytes(), &arena, &mut scratch, &mut fields).is_ok() {
                answer += fields.iter().map(|field| 1 + value_bytes(&field.value)).sum::<u64>();
            }
        }
        answer
    })
}

fn value_bytes(value: &Value<'_>) -> u64 {
    value.as_text().map_or(0, |text| text.len() as u64)
}

/// The arena is reset after each line, as a worker's is before it outgrows the cache.
fn parse_by(opening: Opening, lines: Vec<String>) -> Run {
    let (mut arena, mut scratch) = (Bump::with_capacity(1 << 20), Scratch::default());
    scratch.opening = opening;
    Box::new(move || {
        let mut answer = 0;
        for line in &lines {
            arena.reset();
            let mut fields = Fields::with_capacity_in(16, &arena);
            if parse_object(line.as_bytes(), &arena, &mut scratch, &mut fields).is_ok() {
                answer += fields.iter().map(|field| 1 + value_bytes(&field.value)).sum::<u64>();
            }
        }
        answer
    })
}

/// How the two openers compare on a size: to find, and to check, where one becomes quicker than the other.
pub fn openers() -> Vec<(String, Run)> {
    let mut all = Vec::new();
    for entries in [1, 3, 10, 30, 100] {
        for (name, opening) in [("tape", Opening::Tape), ("own", Opening::Own)] {
            let lines = input::lines(|n, random| input::nested(n, random, entries));
            let bytes = lines.iter().map(String::len).sum::<usize>() as u64 / crate::LINES;
            all.push((format!("{name} {bytes} bytes"), parse_by(opening, lines)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINES;

    /// Bytes of a line's five values, from its text: braces, quotes, keys and separators taken off.
    fn values(lines: &[String], separators: usize) -> u64 {
        let keys = "timestamplevelloggermessagetrace_id".len();
        lines.iter().map(|line| (line.len() - 2 - keys - 20 - separators) as u64).sum()
    }

    #[test]
    fn every_field_is_found() {
        assert_eq!(plain()(), 5 * LINES + values(&input::lines(input::app), 9));
        // Values are the same with blanks; a quarter of the lines has one field more, which is no string.
        assert_eq!(spaced()(), 5 * LINES + LINES / 4 + values(&input::lines(input::app), 9));
    }

    #[test]
    fn nested_maps_are_opened() {
        // One field a line, which is no string.
        assert_eq!((opened_small()(), opened_large()()), (LINES, LINES));
        let arena = Bump::new();
        for line in input::lines(|n, random| input::nested(n, random, 3)).iter().take(20) {
            let mut fields = Fields::new_in(&arena);
            parse_object(line.as_bytes(), &arena, &mut Scratch::default(), &mut fields).expect("JSON");
            assert!(matches!(fields[0].value, Value::Map(_)), "{line}");
        }
    }

    #[test]
    fn escapes_are_decoded() {
        // `\"` twice, `\n`, `\t` and `\\` lose a byte each; `\u00fc` is two bytes of six.
        assert_eq!(escaped()(), 5 * LINES + values(&input::lines(input::app_escaped), 9) - (5 + 4) * LINES);
    }
}
