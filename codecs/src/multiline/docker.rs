//! Lines of Docker's json-file: `{"log":"…\n","stream":"stdout","time":"…"}`.
//!
//! Owns: their fields and time; the short way for lines as Docker itself writes them. Never: takes what is not JSON.
//! Invariant: the short way gives what the parser gives.

use super::instant::{self, Minute, USUAL_LEN};
use crate::record::{Field, Fields, Text, Timestamp, Value};
use bumpalo::Bump;

const HEAD: &[u8] = b"{\"log\":\"";
const STDOUT: &[u8; 28] = b"\",\"stream\":\"stdout\",\"time\":\"";
const STDERR: &[u8; 28] = b"\",\"stream\":\"stderr\",\"time\":\"";
const END: &[u8] = b"\"}";

/// Appends the fields of a line and gives back its time (`now` where it has none); `None` when it is no JSON map.
pub(super) fn parse<'a>(
    line: &'a [u8],
    now: Timestamp,
    minute: &mut Minute,
    arena: &'a Bump,
    scratch: &mut crate::json::Scratch,
    fields: &mut Fields<'a>,
) -> Option<Timestamp> {
    if let Some(time) = usual(line, minute, arena, fields) {
        return Some(time);
    }
    if line.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    crate::json::parse_object(line, arena, scratch, fields).ok()?;
    let time = fields.iter().find(|f| f.key.bytes == b"time").and_then(|f| f.value.as_text());
    // The format has no zone: the text counts as UTC, which is what Docker writes.
    let instant = time.and_then(|text| instant::read(text, false, minute));
    Some(instant.map_or(now, |i| i.time))
}

/// A line in Docker's own spelling, without escapes but for the line feed at the end, in the minute read last.
fn usual<'a>(line: &'a [u8], minute: &Minute, arena: &'a Bump, fields: &mut Fields<'a>) -> Option<Timestamp> {
    let rest = line.strip_prefix(HEAD)?.strip_suffix(END)?;
    let (rest, time_text) = rest.split_last_chunk::<USUAL_LEN>()?;
    let (raw, middle) = rest.split_last_chunk::<28>()?;
    let stream: &'static [u8] = match middle {
        STDOUT => b"stdout",
        STDERR => b"stderr",
        _ => return None,
    };
    let (body, whole) = match raw.strip_suffix(b"\\n") {
        Some(body) => (body, true),
        None => (raw, false),
    };
    // One pass without a branch, so that it is made of vector instructions.
    if body.iter().fold(false, |odd, &b| odd | (b < 0x20) | (b == b'"') | (b == b'\\')) {
        return None;
    }
    let time = instant::read_usual(time_text, minute)?;
    let log: &[u8] = if whole {
        let copy = arena.alloc_slice_fill_copy(body.len() + 1, b'\n');
        copy[..body.len()].copy_from_slice(body);
        copy
    } else {
        body
    };
    fields.extend_from_slice_copy(&[
        Field::new(Text::plain(b"log"), Value::text(log)),
        Field::new(Text::plain(b"stream"), Value::Text(Text::plain(stream))),
        Field::new(Text::plain(b"time"), Value::Text(Text::plain(time_text))),
    ]);
    Some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp { secs: 5, nanos: 6 };

    /// Time, then keys and values in turn.
    fn fields_of(line: &[u8], short: bool) -> Option<(Timestamp, Vec<Vec<u8>>)> {
        let arena = Bump::new();
        let mut minute = Minute::default();
        let mut fields = Fields::new_in(&arena);
        if short {
            instant::read(b"2023-11-14T22:13:00.000000000Z", false, &mut minute)?;
        }
        let time = parse(line, NOW, &mut minute, &arena, &mut crate::json::Scratch::default(), &mut fields)?;
        let text = |v: &Value<'_>| v.as_text().unwrap_or_default().to_vec();
        Some((time, fields.iter().flat_map(|f| [f.key.bytes.to_vec(), text(&f.value)]).collect()))
    }

    #[test]
    fn both_ways_are_taken() {
        let arena = Bump::new();
        let mut minute = Minute::default();
        let line = br#"{"log":"a b\n","stream":"stderr","time":"2023-11-14T22:13:20.123456789Z"}"#;
        assert_eq!(usual(line, &minute, &arena, &mut Fields::new_in(&arena)), None);
        instant::read(b"2023-11-14T22:13:00.000000000Z", false, &mut minute).expect("a time");
        let want = Timestamp { secs: 1_700_000_000, nanos: 123_456_789 };
        assert_eq!(usual(line, &minute, &arena, &mut Fields::new_in(&arena)), Some(want));
    }

    proptest! {
        #[test]
        fn the_short_way_gives_what_the_parser_gives(
            body in proptest::collection::vec(prop_oneof!["[ -~]{0,3}", Just("\\".to_owned()), Just("\\\\".to_owned()), Just("\\n".to_owned()), Just("\"".to_owned()), Just("é".to_owned()), Just("\u{1}".to_owned())], 0..6),
            end in prop_oneof![Just("\\n"), Just("")], stream in prop_oneof![Just("stdout"), Just("stderr"), Just("x")],
            time in prop_oneof![Just("2023-11-14T22:13:20.123456789Z"), Just("2023-11-14T22:13:20.5Z"), Just("2023-11-14T22:14:20.123456789Z")]) {
            let line = format!("{{\"log\":\"{}{end}\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}", body.concat());
            prop_assert_eq!(fields_of(line.as_bytes(), true), fields_of(line.as_bytes(), false));
        }
    }
}
