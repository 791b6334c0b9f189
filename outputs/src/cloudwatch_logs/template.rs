//! `log_group_template` and `log_stream_template`: text with record accessors.
//!
//! Owns: `$key['sub'][0]`, `$TAG`, `$TAG[n]` made into parts, and their translation. Never: allocates per record
//! outside the job's arena.

use codecs::Bump;
use codecs::json::{Escape, expand, write_value};
use codecs::record::{Record, Value};

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Tag,
    Piece(usize),
    /// A top-level key and the way below it.
    Path(Vec<u8>, Vec<Step>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Vec<u8>),
    Index(usize),
}

impl Template {
    /// Compiles; the error says what is wrong and where, in characters from 1.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text: text.as_bytes(), at: 0 };
        let mut parts = Vec::new();
        while parser.at < parser.text.len() {
            let literal = parser.until(b'$');
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_vec()));
            } else if let Some(part) = parser.accessor()? {
                parts.push(part);
            }
        }
        Ok(Template { parts })
    }

    /// Appends the translation; false when a key that it names is not in the record.
    pub fn write(&self, tag: &str, record: &Record<'_>, arena: &Bump, out: &mut Vec<u8>) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Literal(text) => {
                out.extend_from_slice(text);
                true
            }
            Part::Tag => {
                out.extend_from_slice(tag.as_bytes());
                true
            }
            Part::Piece(number) => {
                out.extend_from_slice(tag.split('.').nth(*number).unwrap_or_default().as_bytes());
                true
            }
            Part::Path(root, steps) => match find(root, steps, record, arena) {
                Some(value) => {
                    write_text(&value, out);
                    true
                }
                None => false,
            },
        })
    }
}

/// The value at a path; of keys that stand twice the last counts.
fn find<'a>(root: &[u8], steps: &[Step], record: &Record<'a>, arena: &'a Bump) -> Option<Value<'a>> {
    let mut value = record.fields.iter().rfind(|field| field.key.bytes == root)?.value;
    for step in steps {
        value = match (step, expand(value, arena)) {
            (Step::Key(key), Value::Map(fields)) => {
                fields.iter().rfind(|field| field.key.bytes == key)?.value
            }
            (Step::Index(index), Value::Array(items)) => *items.get(*index)?,
            _ => return None,
        };
    }
    Some(value)
}

/// A value as a name shows it: strings as they are, all else as JSON.
fn write_text(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => out.extend_from_slice(text.bytes),
        other => write_value(out, other, Escape::Unicode),
    }
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What stands before `stop`, which is not taken.
    fn until(&mut self, stop: u8) -> &'t [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| byte == stop).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// What stands before the first byte that does not fit.
    fn while_fits(&mut self, fits: impl Fn(u8) -> bool) -> &'t [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| !fits(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// `$…`; `None` for a capture (`$1`), which is empty here as no expression matched.
    fn accessor(&mut self) -> Result<Option<Part>, String> {
        let start = self.at;
        self.at += 1;
        let rest = self.rest();
        if rest.starts_with(b"TAG") {
            self.at += 3;
            return Ok(Some(self.tag_part().map_or(Part::Tag, Part::Piece)));
        }
        match rest.first() {
            Some(b'0'..=b'9') => {
                self.at += 1;
                return Ok(None);
            }
            Some(b'_' | b'A'..=b'Z' | b'a'..=b'z') => {}
            _ => return Err(format!("`$` at character {} names no key", start + 1)),
        }
        let root = self.while_fits(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/'));
        let mut steps = Vec::new();
        while self.rest().first() == Some(&b'[') {
            steps.push(self.step()?);
        }
        Ok(Some(Part::Path(root.to_vec(), steps)))
    }

    /// `[n]` behind `$TAG`.
    fn tag_part(&mut self) -> Option<usize> {
        let inner = self.rest().strip_prefix(b"[")?;
        let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || inner.get(digits) != Some(&b']') {
            return None;
        }
        self.at += digits + 2;
        std::str::from_utf8(&inner[..digits]).ok()?.parse().ok()
    }

    /// `['key']` or `[n]`; a quote inside a key is doubled.
    fn step(&mut self) -> Result<Step, String> {
        let start = self.at;
        let broken = || format!("`[` at character {} is not followed by `'key']` or `number]`", start + 1);
        self.at += 1;
        let step = if self.rest().first() == Some(&b'\'') {
            let mut key = Vec::new();
            loop {
                self.at += 1;
                key.extend_from_slice(self.until(b'\''));
                self.at += 1;
                match self.rest().first() {
                    Some(b'\'') => key.push(b'\''),
                    Some(_) => break,
                    None => return Err(broken()),
                }
            }
            Step::Key(key)
        } else {
            let digits = self.while_fits(|byte| byte.is_ascii_digit());
            Step::Index(
                std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or_else(broken)?,
            )
        };
        match self.rest().first() {
            Some(b']') => {
                self.at += 1;
                Ok(step)
            }
            _ => Err(broken()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::record::{Field, Text, Timestamp};

    fn translate(template: &str) -> Option<String> {
        let arena = Bump::new();
        let field = |key: &'static str, value| Field::new(Text::plain(key.as_bytes()), value);
        let inner = [
            field("pod", Value::text(b"old")),
            field("pod", Value::text(b"web")),
            field("it's", Value::text(b"q")),
        ];
        let items = [Value::Int(7), Value::text(b"x")];
        let mut record = Record::new_in(&arena, Timestamp::default());
        record.fields.push(field("app", Value::text(b"shop")));
        record.fields.push(field("k", Value::Map(arena.alloc_slice_copy(&inner))));
        record.fields.push(field("list", Value::Array(arena.alloc_slice_copy(&items))));
        let mut out = Vec::new();
        let template = Template::parse(template).expect("a valid template");
        template.write("kube.ns.web", &record, &arena, &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn parts_are_translated() {
        for (template, expected) in [
            ("plain", Some("plain")),
            ("$app", Some("shop")),
            ("a.$app.b", Some("a.shop.b")),
            ("$k['pod'].$list[1]", Some("web.x")),
            ("$k['it''s']", Some("q")),
            ("x-$TAG", Some("x-kube.ns.web")),
            ("$TAG[1]/$TAG[0]", Some("ns/kube")),
            ("$TAG[9]end", Some("end")),
            ("$app$app", Some("shopshop")),
            ("$app[0]", None),
            ("$missing", None),
            ("$k['nope']", None),
            ("$list[2]", None),
            ("a$1b", Some("ab")),
            ("", Some("")),
        ] {
            assert_eq!(translate(template).as_deref(), expected, "{template}");
        }
    }

    #[test]
    fn broken_templates_are_refused_with_their_place() {
        for template in ["$", "a$", "$k['pod'", "$k['pod", "$k[", "$k[x]", "$k[]", "${X}", "$k['a'b]", "$-"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }

    #[test]
    fn no_cut_of_a_template_panics() {
        let whole = "a.$k['it''s'][3].$TAG[12].$TAG-$app";
        for end in 0..=whole.len() {
            let _ = Template::parse(&whole[..end]);
        }
    }
}
