//! The types of option values, and how Fluent Bit spells them.

use super::OptionValue;

/// Free text, taken whole.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Text(pub String);

impl OptionValue for Text {
    const SHAPE: &'static str = "text";
    const COMMENT_ENDS: bool = false;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Text(text.to_owned()))
    }
}

/// `true`/`on`/`yes` or `false`/`off`/`no`, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bool(pub bool);

impl OptionValue for Bool {
    const SHAPE: &'static str = "true or false";
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" => Ok(Bool(true)),
            "false" | "off" | "no" => Ok(Bool(false)),
            _ => Err("one of true, on, yes, false, off, no".into()),
        }
    }
}

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Int(pub i64);

impl OptionValue for Int {
    const SHAPE: &'static str = "whole number";
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map(Int).map_err(|_| "a whole number".into())
    }
}

/// A number of bytes: digits with an optional K, M or G (powers of 1000, as in Fluent Bit) and an optional B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Size(pub u64);

impl OptionValue for Size {
    const SHAPE: &'static str = "size: bytes, or with K, M, G (powers of 1000)";
    fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "a number of bytes, or one with K, M or G behind it (powers of 1000)";
        let text = text.trim();
        if text.eq_ignore_ascii_case("false") {
            return Ok(Size(0));
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            _ => return Err(RULE.into()),
        };
        let number: u64 = text[..digits].parse().map_err(|_| RULE.to_owned())?;
        number.checked_mul(factor).map(Size).ok_or_else(|| RULE.into())
    }
}

/// A length of time: a number of seconds, or one with `s`, `m`, `h` or `d` behind it; fractions are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Seconds(pub f64);

impl OptionValue for Seconds {
    const SHAPE: &'static str = "time: seconds, or with s, m, h, d";
    fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "a number of seconds, or one with s, m, h or d behind it";
        let text = text.trim();
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match text[number.len()..].to_ascii_lowercase().as_str() {
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(RULE.into()),
        };
        let seconds: f64 = number.trim().parse().map_err(|_| RULE.to_owned())?;
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(RULE.into());
        }
        Ok(Seconds(seconds * factor))
    }
}

/// A comma-separated list; items are trimmed, empty ones dropped.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct List(pub Vec<String>);

impl OptionValue for List {
    const SHAPE: &'static str = "list with commas";
    const COMMENT_ENDS: bool = false;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(List(text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()))
    }
}

/// Words separated by white space; double quotes keep a word together (`"a b"`), as Fluent Bit's split does.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Words(pub Vec<String>);

impl OptionValue for Words {
    const SHAPE: &'static str = "words";
    const COMMENT_ENDS: bool = false;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Words(split_quoted(text)))
    }
}

/// Splits at white space; a double-quoted stretch is one word, `\"` inside it is a quote.
pub fn split_quoted(text: &str) -> Vec<String> {
    let (mut words, mut chars) = (Vec::new(), text.trim().chars().peekable());
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        if c == '"' {
            chars.next();
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' if chars.peek() == Some(&'"') => word.extend(chars.next()),
                    c => word.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        words.push(word);
    }
    words
}

/// One of a fixed set of words, in any case: `choice! { /// doc  pub enum Sync { Off "off", Normal "normal" } }`.
#[macro_export]
macro_rules! choice {
    ($(#[doc = $doc:expr])+ pub enum $name:ident { $( $(#[doc = $vdoc:expr])* $variant:ident $word:literal $(| $alias:literal)* ),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( #[doc = concat!("`", $word, "`")] $variant ),+ }
        impl $crate::conf::OptionValue for $name {
            const SHAPE: &'static str = concat!("one of", $(" ", $word),+);
            fn parse(text: &str) -> Result<Self, String> {
                $( if text.eq_ignore_ascii_case($word) $(|| text.eq_ignore_ascii_case($alias))* { return Ok($name::$variant); } )+
                Err(concat!("one of", $(" ", $word),+).to_owned())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1000() {
        for (text, bytes) in [
            ("32k", 32_000),
            ("2M", 2_000_000),
            ("50MB", 50_000_000),
            ("1G", 1_000_000_000),
            ("7", 7),
            ("false", 0),
        ] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "k", "1.5M", "-1", "1T", "99999999999999999999"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in
            [("5", 5.0), ("0.2", 0.2), ("10m", 600.0), ("2h", 7200.0), ("1d", 86_400.0), ("3s", 3.0)]
        {
            assert_eq!(Seconds::parse(text), Ok(Seconds(seconds)), "{text}");
        }
        assert!(Seconds::parse("banana").is_err());
        assert!(Seconds::parse("-1").is_err());
    }

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(split_quoted(r#"a "b c" d\e "f\"g" "#), ["a", "b c", r"d\e", r#"f"g"#]);
    }
}
