//! Templates: text with tags, captures and values of a record in it, such as `app.$TAG[1].$svc['name']`.
//!
//! Owns: splitting a template into parts, rendering them. Never: allocates while rendering, but for raw maps on the
//! way to a value.

use super::{Accessor, Malformed, bracket};
use crate::json;
use crate::record::{Field, Value};
use bumpalo::Bump;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// As it stands.
    Text(Box<[u8]>),
    /// `$TAG`.
    Tag,
    /// `$TAG[n]`: the n-th part of the tag between dots, from 0.
    TagIndex(usize),
    /// `$0` to `$9`: a capture of the pattern that matched.
    Capture(usize),
    /// `$key['sub']`.
    Value(Accessor),
}

/// A compiled template. A dot ends a key here: `$a.b` is the value of `a`, then `.b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Splits a text into its parts.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find('$') {
            push_text(&mut parts, &rest[..at]);
            let (part, behind) = placeholder(&rest[at + 1..])?;
            match part {
                Part::Text(text) => push_text(&mut parts, std::str::from_utf8(&text).unwrap_or("$")),
                part => parts.push(part),
            }
            rest = behind;
        }
        push_text(&mut parts, rest);
        Ok(Template { parts })
    }

    /// Appends the rendered text. Returns false when a value or capture was missing; nothing stands in its place then.
    ///
    /// Strings stand as they are, numbers as written, maps as JSON; an array counts as missing, as in Fluent Bit.
    pub fn render<'a>(
        &self,
        tag: &[u8],
        fields: &[Field<'a>],
        captures: &[Option<&[u8]>],
        arena: &'a Bump,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut complete = true;
        for part in &self.parts {
            complete &= match part {
                Part::Text(text) => append(out, Some(text)),
                Part::Tag => append(out, Some(tag)),
                Part::TagIndex(index) => append(out, tag.split(|&b| b == b'.').nth(*index)),
                Part::Capture(index) => append(out, captures.get(*index).copied().flatten()),
                Part::Value(accessor) => {
                    accessor.get(fields, arena).is_some_and(|value| append_value(out, &value))
                }
            };
        }
        complete
    }

    /// The values that it reads.
    pub fn sources(&self) -> impl Iterator<Item = &Accessor> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(accessor) => Some(accessor),
            _ => None,
        })
    }

    /// True when it reads neither record nor captures, so that one rendering serves a whole tag.
    pub fn depends_on_tag_only(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Value(_) | Part::Capture(_)))
    }

    /// The text when there is nothing else in it.
    pub fn as_constant(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// Joins a text to the text before it, so that a constant template is one part.
fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(before)) => *before = [before, text.as_bytes()].concat().into(),
        _ => parts.push(Part::Text(text.as_bytes().into())),
    }
}

/// What stands behind a `$`, and the rest.
fn placeholder(text: &str) -> Result<(Part, &str), Malformed> {
    let Some(first) = text.chars().next() else {
        return Ok((Part::Text((*b"$").into()), text));
    };
    if let Some(digit) = first.to_digit(10) {
        return Ok((Part::Capture(digit as usize), &text[1..]));
    }
    if let Some(behind) = text.strip_prefix("TAG") {
        return tag(behind);
    }
    if !(first.is_ascii_alphabetic() || first == '_') {
        return Err(Malformed("after `$` stands a key, `TAG` or a digit; a key begins with a letter or `_`"));
    }
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/')))
        .unwrap_or(text.len());
    let (key, mut rest) = text.split_at(end);
    let mut steps = Vec::new();
    while let Some((step, behind)) = bracket(rest)? {
        steps.push(step);
        rest = behind;
    }
    Ok((Part::Value(Accessor::from_steps(key, steps)), rest))
}

/// What stands behind `$TAG`: an index in brackets or nothing of it.
fn tag(behind: &str) -> Result<(Part, &str), Malformed> {
    const RULE: Malformed = Malformed("`$TAG[n]` takes a number between its brackets");
    let Some(inner) = behind.strip_prefix('[') else { return Ok((Part::Tag, behind)) };
    let (digits, rest) = inner.split_once(']').ok_or(RULE)?;
    Ok((Part::TagIndex(digits.trim().parse().map_err(|_| RULE)?), rest))
}

/// Appends what is there, and says whether it was.
fn append(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> bool {
    out.extend_from_slice(bytes.unwrap_or_default());
    bytes.is_some()
}

/// Appends a value as text.
fn append_value(out: &mut Vec<u8>, value: &Value<'_>) -> bool {
    match value {
        Value::Text(text) => append(out, Some(text.bytes)),
        Value::Array(_) => false,
        Value::Json(raw) if raw.first() == Some(&b'[') => false,
        other => {
            json::write_value(out, other, json::Escape::Ascii);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Text;

    const fn field<'a>(key: &'a str, value: Value<'a>) -> Field<'a> {
        Field::new(Text::new(key.as_bytes()), value)
    }

    #[test]
    fn renders() {
        let arena = Bump::new();
        let inner = [field("name", Value::text(b"web"))];
        let record = [
            field("svc", Value::Map(&inner)),
            field("lvl", Value::text(b"error")),
            field("list", Value::Array(&[])),
        ];
        let captures: [Option<&[u8]>; 3] = [Some(b"error"), Some(b"e"), None];
        let cases: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("plain.tag", "plain.tag", true),
            ("new.$TAG[1].$1.$svc['name']", "new.one.e.web", true),
            ("$TAG", "src.one", true),
            ("$TAGs", "src.ones", true),
            ("$TAG[0]$lvl", "srcerror", true),
            ("a-$TAG[7]-b", "a--b", false),
            ("$lvl.x", "error.x", true),
            ("$lvl.", "error.", true),
            ("$lvl,$lvl", "error,error", true),
            ("$lvl:$lvl", "error:error", true),
            ("$0$1", "errore", true),
            ("$2", "", false),
            ("$9", "", false),
            ("$12", "e2", true),
            ("x$absent.y", "x.y", false),
            ("$list", "", false),
            ("price$", "price$", true),
        ];
        for (template, want, complete) in cases {
            let mut out = Vec::new();
            let found = Template::parse(template)
                .expect(template)
                .render(b"src.one", &record, &captures, &arena, &mut out);
            assert_eq!((String::from_utf8_lossy(&out).as_ref(), found), (*want, *complete), "{template}");
        }
    }

    #[test]
    fn knows_what_it_depends_on() {
        let template = |text| Template::parse(text).expect("a template");
        assert_eq!(template("a$").as_constant(), Some(&b"a$"[..]));
        assert_eq!(template("").as_constant(), Some(&b""[..]));
        assert!(template("a.$TAG[2]").depends_on_tag_only());
        assert!(!template("a.$1").depends_on_tag_only());
        let keys: Vec<Vec<u8>> =
            template("$a['b'].$c").sources().flat_map(|a| a.keys().map(<[u8]>::to_vec)).collect();
        assert_eq!(keys, [b"a", b"c"]);
    }

    #[test]
    fn refuses() {
        for bad in ["$-", "$ ", "a.$['x']", "$TAG[x]", "$TAG[1", "$k['a", "$é"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
