//! Which group and stream an event goes to.
//!
//! Owns: names from options, tag and templates, made legal. Never: allocates per record.

use super::template::Template;
use crate::segment::Segment;
use codecs::Bump;
use codecs::record::Record;

/// Longest name of a group or stream, in characters.
pub const NAME_CHARS_MAX: usize = 512;
/// Between group and stream in a segment's key; it can be in neither.
pub const SEPARATOR: u8 = 0;

/// Where the names come from.
#[derive(Clone, Debug)]
pub struct Target {
    /// `log_group_name`.
    pub group: String,
    /// `log_stream_name`, or `log_stream_prefix` before the tag.
    pub stream: Stream,
    /// `log_group_template`.
    pub group_template: Option<Template>,
    /// `log_stream_template`.
    pub stream_template: Option<Template>,
}

/// The stream without a template, or when a template's key is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `log_stream_name`.
    Name(String),
    /// `log_stream_prefix`; the tag follows.
    Prefix(String),
}

impl Target {
    /// The index in `segment.keys` of the record's group and stream. `unresolved` is set where a template names nothing
    /// of the record, so that the names without templates took its place.
    pub fn key(
        &self,
        tag: &str,
        record: &Record<'_>,
        arena: &Bump,
        scratch: &mut Vec<u8>,
        segment: &mut Segment,
        unresolved: &mut bool,
    ) -> u32 {
        let fixed = self.group_template.is_none() && self.stream_template.is_none();
        if fixed && !segment.keys.is_empty() {
            // A segment has one tag, and without templates a tag has one stream.
            return 0;
        }
        scratch.clear();
        match &self.group_template {
            Some(template) if template.write(tag, record, arena, scratch) && !scratch.is_empty() => {
                legalise(scratch, 0, |c| {
                    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '#')
                });
            }
            template => {
                *unresolved |= template.is_some();
                scratch.clear();
                scratch.extend_from_slice(self.group.as_bytes());
            }
        }
        scratch.push(SEPARATOR);
        let start = scratch.len();
        let made =
            self.stream_template.as_ref().is_some_and(|template| template.write(tag, record, arena, scratch));
        if !made || scratch.len() == start {
            *unresolved |= self.stream_template.is_some();
            scratch.truncate(start);
            match &self.stream {
                Stream::Name(name) => scratch.extend_from_slice(name.as_bytes()),
                Stream::Prefix(prefix) => {
                    scratch.extend_from_slice(prefix.as_bytes());
                    scratch.extend_from_slice(tag.as_bytes());
                }
            }
        }
        legalise(scratch, start, |c| !matches!(c, ':' | '*') && !c.is_control());
        segment.key(scratch)
    }
}

/// Replaces each character from `start` on that a name cannot have by `_`, and cuts what is too long. The service would
/// refuse the name, and the events with it.
fn legalise(name: &mut Vec<u8>, start: usize, legal: impl Fn(char) -> bool) {
    let text = String::from_utf8_lossy(&name[start..]);
    let fits = text.len() <= NAME_CHARS_MAX || text.chars().count() <= NAME_CHARS_MAX;
    if fits && matches!(text, std::borrow::Cow::Borrowed(_)) && text.chars().all(&legal) {
        return;
    }
    let mended: String = text.chars().take(NAME_CHARS_MAX).map(|c| if legal(c) { c } else { '_' }).collect();
    name.truncate(start);
    name.extend_from_slice(mended.as_bytes());
}

/// Why a configured group name is not one.
pub fn group_rule(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '#');
    let fits = !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(legal);
    (!fits).then_some("1 to 512 letters, digits and . - _ / #")
}

/// Why a configured stream name is not one.
pub fn stream_rule(name: &str) -> Option<&'static str> {
    let fits = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.contains([':', '*']);
    (!fits).then_some("1 to 512 characters without : and *")
}

/// Group and stream of a key.
pub fn split(key: &[u8]) -> (&str, &str) {
    let mut names =
        key.splitn(2, |&byte| byte == SEPARATOR).map(|name| std::str::from_utf8(name).unwrap_or_default());
    (names.next().unwrap_or_default(), names.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::record::{Field, Text, Timestamp, Value};

    fn keys(target: &Target, tag: &str, values: &[Option<&str>]) -> Vec<(String, String)> {
        let arena = Bump::new();
        let (mut scratch, mut segment) = (Vec::new(), Segment::new(tag.into()));
        let found: Vec<u32> = values
            .iter()
            .map(|value| {
                let mut record = Record::new_in(&arena, Timestamp::default());
                if let Some(value) = value {
                    record.fields.push(Field::new(Text::plain(b"n"), Value::text(value.as_bytes())));
                }
                let mut fell_back = false;
                let key = target.key(tag, &record, &arena, &mut scratch, &mut segment, &mut fell_back);
                let templated = target.group_template.is_some();
                assert_eq!(fell_back, templated && value.is_none_or(str::is_empty), "{value:?}");
                key
            })
            .collect();
        found
            .iter()
            .map(|&at| {
                let (group, stream) = split(&segment.keys[at as usize]);
                (group.to_owned(), stream.to_owned())
            })
            .collect()
    }

    fn pair(group: &str, stream: &str) -> (String, String) {
        (group.to_owned(), stream.to_owned())
    }

    #[test]
    fn templates_fall_back_and_are_made_legal() {
        let target = Target {
            group: "g".into(),
            stream: Stream::Prefix("p-".into()),
            group_template: Template::parse("app.$n").ok(),
            stream_template: Template::parse("$n").ok(),
        };
        let long = "é".repeat(600);
        let found =
            keys(&target, "a.b", &[Some("x"), None, Some("y:*z w"), Some(""), Some("x"), Some(&long)]);
        assert_eq!(found[0], pair("app.x", "x"));
        assert_eq!(found[1], pair("g", "p-a.b"), "the key is missing");
        assert_eq!(found[2], pair("app.y__z_w", "y__z w"));
        assert_eq!(found[3], pair("app.", "p-a.b"), "an empty name is none");
        assert_eq!(found[4], found[0]);
        assert_eq!(found[5].1, "é".repeat(512));
        assert_eq!(found[5].0.chars().count(), 512);
    }

    #[test]
    fn the_tag_follows_the_prefix() {
        let stream = Stream::Prefix("p-".into());
        let target = Target { group: "g".into(), stream, group_template: None, stream_template: None };
        assert_eq!(keys(&target, "a:b", &[None, None]), [pair("g", "p-a_b"), pair("g", "p-a_b")]);
    }
}
