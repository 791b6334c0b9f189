//! Requests made of one record each: `body_key` and `headers_key`.
//!
//! Owns: where body and headers stand in a record, how they travel in a segment: the body as it is, its length in the
//! event's `unescaped`, then a line for each header.

use crate::segment::{Event, Segment};
use codecs::Bump;
use codecs::accessor::Accessor;
use codecs::json::expand;
use codecs::record::{Record, Value};
use http::{HeaderName, HeaderValue};

/// Where a record holds the body and the headers of its request.
pub(super) struct ByRecord {
    pub(super) body: Accessor,
    pub(super) headers: Accessor,
}

impl ByRecord {
    /// Appends the request of one record; false when it has no text for a body or no map for headers.
    pub(super) fn encode(&self, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        let Some(Value::Text(body)) = self.body.get(&record.fields, arena) else { return false };
        let Some(Value::Map(headers)) =
            self.headers.get(&record.fields, arena).map(|value| expand(value, arena))
        else {
            return false;
        };
        let out = &mut segment.bytes;
        out.extend_from_slice(body.bytes);
        for header in headers {
            let Value::Text(value) = header.value else { continue };
            // Neither a name nor a value of a header holds a line feed.
            if memchr::memchr(b'\n', header.key.bytes).or(memchr::memchr(b'\n', value.bytes)).is_none() {
                out.extend_from_slice(header.key.bytes);
                out.push(b':');
                out.extend_from_slice(value.bytes);
                out.push(b'\n');
            }
        }
        let (end, unescaped) = (out.len() as u32, body.bytes.len() as u32);
        segment.events.push(Event { end, unescaped, millis: record.time.millis(), key: 0 });
        true
    }
}

/// The headers of a request; those that HTTP does not allow are left out.
pub(super) fn headers(lines: &[u8]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    lines.split(|b| *b == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((
            HeaderName::from_bytes(&line[..colon]).ok()?,
            HeaderValue::from_bytes(&line[colon + 1..]).ok()?,
        ))
    })
}
