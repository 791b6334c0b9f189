//! How Fluent Bit splits an option's text into words; it has three ways, and configurations rely on each.

/// Which quotes may hold a word together, and what a backslash escapes inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    /// `"…"`, in which `\"` is a quote (record_modifier, rewrite_tag). One that is not closed reaches to the end.
    Double,
    /// `"…"` or `'…'`, in which `\` makes the quote and itself plain (modify). One that is not closed is an error.
    Either,
}

/// At the first space: a key, and what follows it as it stands (further spaces belong to it).
pub(super) fn key_and_rest(text: &str) -> Option<(&str, &str)> {
    text.trim_start_matches(' ').split_once(' ').filter(|(_, rest)| !rest.is_empty())
}

/// At spaces: at most `max` words, then the rest as one more. `None` when a quote is not closed.
pub(super) fn split(text: &str, max: usize, quotes: Quotes) -> Option<Vec<String>> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start_matches(' '));
    while !rest.is_empty() {
        if words.len() == max {
            words.push(rest.to_owned());
            break;
        }
        let quote = rest.chars().next().filter(|&c| c == '"' || (c == '\'' && quotes == Quotes::Either));
        let (word, behind) = match quote {
            Some(quote) => match unquote(&rest[1..], quote, quotes) {
                (word, Some(behind)) => (word, behind),
                (word, None) if quotes == Quotes::Double => (word, ""),
                _ => return None,
            },
            None => {
                let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
                (word.to_owned(), behind)
            }
        };
        words.push(word);
        rest = behind.trim_start_matches(' ');
    }
    Some(words)
}

/// A word up to its closing quote, and what stands behind that, if it is there.
fn unquote(text: &str, quote: char, quotes: Quotes) -> (String, Option<&str>) {
    let (mut word, mut chars) = (String::new(), text.char_indices().peekable());
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return (word, Some(&text[at + 1..]));
        }
        let escaped = |next: char| next == quote || (next == '\\' && quotes == Quotes::Either);
        match chars.peek() {
            Some(&(_, next)) if c == '\\' && escaped(next) => {
                word.push(next);
                chars.next();
            }
            _ => word.push(c),
        }
    }
    (word, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits() {
        let cases: &[(&str, usize, Quotes, &[&str])] = &[
            ("a b", 3, Quotes::Either, &["a", "b"]),
            ("  a   b c d  e ", 3, Quotes::Either, &["a", "b", "c", "d  e "]),
            ("\"a b\" 'c \\' d' \"\"", 3, Quotes::Either, &["a b", "c ' d", ""]),
            (r#""a\\b\n\"c""#, 3, Quotes::Either, &[r#"a\b\n"c"#]),
            ("a 'b c'", 2, Quotes::Double, &["a", "'b", "c'"]),
            (r#""a \" b" "\\n" x"#, 2, Quotes::Double, &[r#"a " b"#, r"\\n", "x"]),
            ("k \"open word", 2, Quotes::Double, &["k", "open word"]),
            ("", 2, Quotes::Double, &[]),
        ];
        for (text, max, quotes, want) in cases {
            assert_eq!(split(text, *max, *quotes).expect(text), *want, "{text}");
        }
        assert_eq!(split("a \"open", 3, Quotes::Either), None);
    }

    #[test]
    fn the_rest_keeps_its_spaces() {
        assert_eq!(key_and_rest("log  a b "), Some(("log", " a b ")));
        assert_eq!(key_and_rest(" log x"), Some(("log", "x")));
        assert_eq!(key_and_rest("log"), None);
        assert_eq!(key_and_rest("log "), None);
    }
}
