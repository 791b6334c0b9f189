//! One event as the API tells it, and as a record.
//!
//! Owns: what of an event is looked at, the line that goes to the workers. Pure: text in, lines out. Never: asks the API.
//!
//! A line is the event's time (seconds and nanoseconds) and the object, as JSON without line feeds.

use crate::decode::Decoder;
use crate::inputs::stdin::emit;
use crate::job::{Position, SourceInfo};
use crate::shards::JobRun;
use codecs::Bump;
use codecs::json::{Escape, Scratch, expand, parse_prefix, parse_value, write_value};
use codecs::record::{Timestamp, Value};
use codecs::time::{Cache, Format};
use std::cell::RefCell;
use std::io::Write;

/// What is looked at of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// `metadata.uid`: an event that happens again keeps it.
    pub(super) uid: String,
    /// `metadata.resourceVersion`: an event that happens again gets a new one.
    pub(super) version: u64,
    /// When it happened last.
    pub(super) time: Timestamp,
}

/// What a line of a watch tells.
#[derive(Debug, PartialEq)]
pub(super) enum Told<'a> {
    /// It happened, for the first time or again.
    Happened(Value<'a>),
    /// Only the resource version moved on.
    MovedOn(u64),
    /// The server cannot go on from there: there has to be a new list.
    Stale(String),
    /// Nothing that matters.
    Nothing,
}

fn find<'a>(value: Value<'a>, key: &[u8], arena: &'a Bump) -> Option<Value<'a>> {
    let Value::Map(fields) = expand(value, arena) else { return None };
    fields.iter().find(|f| f.key.bytes == key).map(|f| f.value)
}

fn text(value: Option<Value<'_>>) -> Option<String> {
    Some(String::from_utf8_lossy(value?.as_text()?).into_owned())
}

fn version(object: Value<'_>, arena: &Bump) -> Option<u64> {
    text(find(find(object, b"metadata", arena)?, b"resourceVersion", arena))?.parse().ok()
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A JSON text as a value.
pub(super) fn parsed<'a>(text: &'a [u8], arena: &'a Bump) -> Option<Value<'a>> {
    SCRATCH.with_borrow_mut(|scratch| parse_value(text, arena, scratch)).ok()
}

/// What a line of a watch tells; `None` where it makes no sense.
pub(super) fn told<'a>(line: &'a [u8], arena: &'a Bump) -> Option<Told<'a>> {
    let value = parsed(line, arena)?;
    // An answer that is no watch at all is told by its status.
    let Some(kind) = text(find(value, b"type", arena)) else {
        return matches!(expand(value, arena), Value::Map(_)).then_some(Told::Nothing);
    };
    let object = find(value, b"object", arena)?;
    Some(match kind.as_str() {
        "ADDED" | "MODIFIED" => Told::Happened(object),
        "BOOKMARK" | "DELETED" => version(object, arena).map_or(Told::Nothing, Told::MovedOn),
        "ERROR" => {
            let message = text(find(object, b"message", arena));
            Told::Stale(message.unwrap_or_else(|| "the watch ended in an error".to_owned()))
        }
        _ => Told::Nothing,
    })
}

/// When something happened last, in the forms that the API has.
pub(super) struct Times {
    whole: Format,
    fraction: Format,
    cache: Cache,
}

impl Default for Times {
    fn default() -> Times {
        let format = |text| Format::new(text, codecs::time::Options { strict: true, ..Default::default() });
        Times {
            whole: format("%Y-%m-%dT%H:%M:%SZ"),
            fraction: format("%Y-%m-%dT%H:%M:%S.%LZ"),
            cache: Cache::default(),
        }
    }
}

impl Times {
    fn read(&mut self, value: Option<Value<'_>>, now: Timestamp) -> Option<Timestamp> {
        let text = value?.as_text()?;
        let whole = self.whole.parse(text, now, &mut self.cache);
        whole.or_else(|| self.fraction.parse(text, now, &mut self.cache))
    }

    /// The event in an object; `None` where that is none.
    pub(super) fn event(&mut self, object: Value<'_>, now: Timestamp, arena: &Bump) -> Option<Event> {
        let metadata = find(object, b"metadata", arena)?;
        let keys: [(Value<'_>, &[u8]); 4] = [
            (object, b"lastTimestamp"),
            (object, b"firstTimestamp"),
            (object, b"eventTime"),
            (metadata, b"creationTimestamp"),
        ];
        let time = keys.iter().find_map(|(map, key)| self.read(find(*map, key, arena), now));
        Some(Event {
            uid: text(find(metadata, b"uid", arena))?,
            version: version(object, arena)?,
            time: time.unwrap_or(now),
        })
    }
}

/// Appends the line of an event.
pub(super) fn put(lines: &mut Vec<u8>, event: &Event, object: &Value<'_>) {
    // To memory: it cannot fail.
    let _ = write!(lines, "{} {} ", event.time.secs, event.time.nanos);
    write_value(lines, object, Escape::Unicode);
    lines.push(b'\n');
}

/// Lines to records.
pub(super) struct Objects;

impl Decoder for Objects {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        for line in codecs::lines::Lines::new(block) {
            let mut parts = line.splitn(3, |&b| b == b' ');
            let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<i64>().ok();
            let (secs, nanos) = (number().unwrap_or(0), number().unwrap_or(0));
            job.now = Timestamp { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
            let object = parts.next().unwrap_or_default();
            let value = SCRATCH.with_borrow_mut(|scratch| parse_prefix(object, job.arena(), scratch));
            match value {
                Ok(Some((value, _))) if matches!(expand(value, job.arena()), Value::Map(_)) => {
                    emit(value, job);
                }
                _ => job.count_invalid(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp { secs: 9, nanos: 0 };

    #[test]
    fn the_time_is_the_last_that_is_known() {
        for (times, want) in [
            (
                r#""firstTimestamp":"2024-02-03T14:30:25Z","lastTimestamp":"2024-02-03T14:30:26Z","#,
                (1_706_970_626, 0),
            ),
            (r#""firstTimestamp":"2024-02-03T14:30:25Z","lastTimestamp":null,"#, (1_706_970_625, 0)),
            (
                r#""lastTimestamp":null,"eventTime":"2024-02-03T14:30:25.250000Z","#,
                (1_706_970_625, 250_000_000),
            ),
            (r#""lastTimestamp":"today","#, (1_706_970_600, 0)),
        ] {
            let text = format!(
                r#"{{{times}"metadata":{{"uid":"u","resourceVersion":"7","creationTimestamp":"2024-02-03T14:30:00Z"}}}}"#
            );
            let arena = Bump::new();
            let object = parsed(text.as_bytes(), &arena).expect("JSON");
            let event = Times::default().event(object, NOW, &arena).expect("an event");
            let time = Timestamp { secs: want.0, nanos: want.1 };
            assert_eq!(event, Event { uid: "u".into(), version: 7, time }, "{text}");
        }
    }

    #[test]
    fn lines_of_a_watch_are_read_or_make_no_sense() {
        let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12"}}}"#;
        for (line, want) in [
            (bookmark, Some(Told::MovedOn(12))),
            (
                r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#,
                Some(Told::Stale("too old".into())),
            ),
            (r#"{"type":"DELETED","object":{"metadata":{"resourceVersion":"13"}}}"#, Some(Told::MovedOn(13))),
            (r#"{"type":"DELETED","object":{}}"#, Some(Told::Nothing)),
            (r#"{"kind":"Status","code":403}"#, Some(Told::Nothing)),
            (r#"{"type":"ADDED"}"#, None),
            ("[]", None),
        ] {
            assert_eq!(told(line.as_bytes(), &Bump::new()), want, "{line}");
        }
        assert!(matches!(
            told(br#"{"type":"ADDED","object":{"a":1}}"#, &Bump::new()),
            Some(Told::Happened(_))
        ));
        for end in 0..bookmark.len() {
            assert_eq!(told(&bookmark.as_bytes()[..end], &Bump::new()), None, "{end} bytes");
        }
    }

    #[test]
    fn a_line_holds_no_line_feed() {
        let arena = Bump::new();
        let object = parsed(b"{\n \"a\": \"x\\ny\" }", &arena).expect("JSON");
        let mut lines = Vec::new();
        put(
            &mut lines,
            &Event { uid: String::new(), version: 0, time: Timestamp { secs: 5, nanos: 6 } },
            &object,
        );
        assert_eq!(String::from_utf8_lossy(&lines), "5 6 {\"a\":\"x\\ny\"}\n");
    }
}
