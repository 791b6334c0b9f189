//! The bytes of one top-level text of a JSON object, as they stand between its quotes.

use super::Scratch;
use super::scan::{closing_quote, parse_object};
use crate::record::Fields;
use bumpalo::Bump;
use std::ops::Range;

/// Where the text of the first member `key` stands, its escapes left as they are. `None` when `text` is not one JSON object
/// from its first byte on, has no such key (spelled without escapes), or something else than text under it.
pub fn text_member(text: &[u8], key: &[u8], arena: &Bump, scratch: &mut Scratch) -> Option<Range<usize>> {
    if text.first() != Some(&b'{') {
        return None;
    }
    parse_object(text, arena, scratch, &mut Fields::new_in(arena)).ok()?;
    let mut at = skip(text, 1);
    let mut found = None;
    let mut decided = false;
    while text.get(at) == Some(&b'"') {
        let end = closing_quote(text, at + 1);
        let is_key = !decided && text.get(at + 1..end) == Some(key);
        // Behind the key: a colon, as the text is valid.
        at = skip(text, skip(text, end + 1) + 1);
        let value_end = past_value(text, at);
        if is_key {
            decided = true;
            found = (text.get(at) == Some(&b'"')).then(|| at + 1..value_end - 1);
        }
        at = skip(text, value_end);
        if text.get(at) == Some(&b',') {
            at = skip(text, at + 1);
        }
    }
    found.filter(|_| skip(text, at + 1) == text.len())
}

/// The first byte at or after `at` that is not white space.
fn skip(text: &[u8], at: usize) -> usize {
    text.len() - text[at.min(text.len())..].trim_ascii_start().len()
}

/// One past a value of valid JSON.
fn past_value(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = closing_quote(text, at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            return at;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_member_is_found() {
        let (arena, mut scratch) = (Bump::new(), Scratch::default());
        let mut find = |text: &'static str| {
            text_member(text.as_bytes(), b"log", &arena, &mut scratch).map(|range| &text[range])
        };
        for (text, want) in [
            (r#"{"log":"a\n","stream":"x"}"#, Some(r"a\n")),
            (r#"{"n":{"log":"no","x":["}"]},"m":[1,"]"], "log" : "y\"e\\s" }"#, Some(r#"y\"e\\s"#)),
            (r#"{"log":"one","log":"two"}"#, Some("one")),
            (r#"{"log":1,"log":"two"}"#, None),
            (r#"{"log":""}  "#, Some("")),
            (r#"{"log":"a"} x"#, None),
            (r#" {"log":"a"}"#, None),
            (r#"{"other":"log"}"#, None),
            (r#"{"l\u006fg":"a"}"#, None),
            (r#"{"log":"a""#, None),
            ("{}", None),
            ("log", None),
        ] {
            assert_eq!(find(text), want, "{text}");
        }
        let whole = r#"{"a":[1,{"b":"]"}],"log":"x\"\\"}"#.as_bytes();
        for cut in 0..whole.len() {
            assert_eq!(text_member(&whole[..cut], b"log", &arena, &mut scratch), None, "cut {cut}");
        }
    }
}
