//! The grammar of RFC 5424, section 6, for tests.
//!
//! Owns: the whole of a message. Never: part of the shipped binary.

/// Checks a message; the error is the rule that it breaks, and what is left of the message there.
pub fn check(message: &str) -> Result<(), String> {
    let mut rest = message;
    let rule =
        |kept: bool, rule: &str, rest: &str| if kept { Ok(()) } else { Err(format!("{rule}: {rest}")) };
    let priority = rest.strip_prefix('<').and_then(|r| r.split_once('>')).map(|(p, _)| p).unwrap_or_default();
    let number: u16 = priority.parse().map_err(|_| format!("PRI: {rest}"))?;
    rule(number <= 191 && priority == number.to_string(), "PRI", rest)?;
    rest = &rest[priority.len() + 2..];
    rest = rest.strip_prefix("1 ").ok_or(format!("VERSION: {rest}"))?;
    let time: String = rest.chars().take(28).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    rule(time == "0000-00-00T00:00:00.000000Z ", "TIMESTAMP", rest)?;
    rest = &rest[28..];
    for (name, most) in [("HOSTNAME", 255), ("APP-NAME", 48), ("PROCID", 128), ("MSGID", 32)] {
        let (field, behind) = rest.split_once(' ').ok_or(format!("{name}: {rest}"))?;
        rule((1..=most).contains(&field.len()) && field.bytes().all(|b| b.is_ascii_graphic()), name, rest)?;
        rest = behind;
    }
    if let Some(behind) = rest.strip_prefix('-') {
        rest = behind;
    } else {
        rule(rest.starts_with('['), "STRUCTURED-DATA", rest)?;
        while let Some(element) = rest.strip_prefix('[') {
            rest = name(element)?;
            while let Some(parameter) = rest.strip_prefix(' ').filter(|_| !rest.starts_with(" \u{feff}")) {
                rest = name(parameter)?.strip_prefix("=\"").ok_or(format!("PARAM-NAME: {parameter}"))?;
                rest = value(rest)?;
            }
            rest = rest.strip_prefix(']').ok_or(format!("SD-ELEMENT: {rest}"))?;
        }
    }
    rule(rest.is_empty() || rest.starts_with(" \u{feff}"), "MSG", rest)
}

/// What stands behind an SD-NAME.
fn name(text: &str) -> Result<&str, String> {
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '=' | ']' | '"');
    let end = text.find(|c| !allowed(c)).unwrap_or(text.len());
    if (1..=32).contains(&end) { Ok(&text[end..]) } else { Err(format!("SD-NAME: {text}")) }
}

/// What stands behind a PARAM-VALUE and its quote.
fn value(text: &str) -> Result<&str, String> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(&text[at + 1..]),
            ']' => break,
            _ => {}
        }
    }
    Err(format!("PARAM-VALUE: {text}"))
}
