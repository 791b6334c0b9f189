//! Fields to JSON text.

use crate::{Run, input};
use codecs::json::{Escape, write_fields};

/// Nothing to escape.
pub(crate) fn plain() -> Run {
    write(input::lines(input::app))
}

/// Quotes, line feeds and characters beyond ASCII, which leave as `\uXXXX`.
pub(crate) fn escaped() -> Run {
    write(input::lines(input::app_escaped))
}

/// The answer is the number of bytes written.
fn write(lines: Vec<String>) -> Run {
    let records = input::records(lines);
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        for record in &records {
            write_fields(&mut out, &record.fields, Escape::Ascii);
        }
        out.len() as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINES;

    fn bytes(lines: &[String]) -> u64 {
        lines.iter().map(|line| line.len() as u64).sum()
    }

    #[test]
    fn text_comes_out_as_it_went_in() {
        assert_eq!(plain()(), bytes(&input::lines(input::app)));
        // Two characters of three bytes become six each.
        assert_eq!(escaped()(), bytes(&input::lines(input::app_escaped)) + 2 * 3 * LINES);
    }
}
