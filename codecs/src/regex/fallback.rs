//! Patterns that need backtracking: look-around, back-references, atomic groups.
//!
//! Owns: their spelling for fancy-regex. A text whose matching takes too long does not match, as in Fluent Bit.

use super::ruby::Flags;
use fancy_regex::{BytesMode, Regex, RegexBuilder};

/// A compiled pattern, for texts that are UTF-8 and for those that are not (there a dot is any byte).
#[derive(Debug)]
pub(super) struct Fallback {
    text: Regex,
    bytes: Regex,
}

impl Fallback {
    pub(super) fn new(pattern: &str, flags: Flags) -> Result<Fallback, String> {
        let pattern = respell(pattern);
        let build = |mode| {
            RegexBuilder::new(&pattern)
                .multi_line(true)
                .case_insensitive(flags.ignore_case)
                .dot_matches_new_line(flags.dot_all)
                .verbose_mode(flags.extended)
                .oniguruma_mode(true)
                .ignore_numbered_groups_when_named_groups_exist(true)
                .bytes_mode(mode)
                .build()
                .map_err(|e| e.to_string())
        };
        let text = build(BytesMode::UnicodeBytes)?;
        let bytes = build(BytesMode::Ascii).or_else(|_| build(BytesMode::UnicodeBytes))?;
        Ok(Fallback { text, bytes })
    }

    /// Names and group numbers.
    pub(super) fn names(&self) -> Vec<(String, usize)> {
        let names = self.text.capture_names().enumerate();
        names.filter_map(|(index, name)| name.map(|n| (n.to_owned(), index))).collect()
    }

    /// Number of groups, without the whole match.
    pub(super) fn groups(&self) -> usize {
        self.text.captures_len().saturating_sub(1)
    }

    fn regex(&self, text: &[u8]) -> &Regex {
        if std::str::from_utf8(text).is_ok() { &self.text } else { &self.bytes }
    }

    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        self.regex(text).is_match(text).unwrap_or(false)
    }

    pub(super) fn captures(&self, text: &[u8], slots: &mut Vec<usize>) -> bool {
        let Ok(Some(captures)) = self.regex(text).captures(text) else { return false };
        slots.clear();
        for group in captures.iter() {
            let (start, end) = group.map_or((usize::MAX, usize::MAX), |g| (g.start(), g.end()));
            slots.extend([start, end]);
        }
        true
    }
}

/// Ruby's spelling to fancy-regex's: `\d` and its like are ASCII, the option `m` is `s`, `^` holds not at the end.
fn respell(pattern: &str) -> String {
    let chars: Vec<char> = pattern.chars().collect();
    let (mut out, mut at, mut class) = (String::with_capacity(pattern.len() + 16), 0, 0usize);
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '\\' => {
                let Some(&escaped) = chars.get(at) else { break };
                at += 1;
                out.push_str(&respell_escape(escaped, class > 0));
            }
            // Behind a line feed that ends the text no line starts.
            '^' if class == 0 => out.push_str(r"(?:\A|^(?!\z))"),
            '[' => {
                class += 1;
                out.push(c);
            }
            ']' => {
                class = class.saturating_sub(1);
                out.push(c);
            }
            '(' if class == 0 && chars.get(at) == Some(&'?') => {
                out.push_str("(?");
                at += 1;
                while let Some(&option) = chars.get(at)
                    && matches!(option, 'i' | 'm' | 'x' | '-')
                {
                    out.push(if option == 'm' { 's' } else { option });
                    at += 1;
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn respell_escape(c: char, in_class: bool) -> String {
    let inner = match c.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Z_a-z",
        's' => "\\t-\\r ",
        'h' => "0-9A-Fa-f",
        _ if matches!(
            c,
            '"' | '\'' | '/' | '<' | '>' | ':' | ',' | '=' | '!' | '@' | '%' | ';' | '`' | '_'
        ) =>
        {
            return c.to_string();
        }
        _ => return format!("\\{c}"),
    };
    match (c.is_ascii_uppercase(), in_class) {
        (true, _) => format!("[^{inner}]"),
        (false, true) => inner.to_owned(),
        (false, false) => format!("[{inner}]"),
    }
}
