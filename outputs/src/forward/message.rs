//! Entries and messages of the forward protocol, as bytes.
//!
//! Owns: what a record looks like in each mode, tags, the options of a message, ids for acknowledgement. Never: sends.
//! Source: Forward Protocol Specification v1.

use super::options::{Mode, Wire};
use crate::segment::{Event, Segment};
use codecs::Bump;
use codecs::msgpack::{write_array_header, write_event_time, write_fields, write_str, write_uint};
use codecs::record::Record;
use ring::digest::{Context, SHA512};

/// Length of an id: 128 bits in base64.
pub(super) const ID_BYTES: usize = 24;

/// The id of a message: the same bytes have the same id, so that a server knows a repetition.
pub(super) fn id<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut context = Context::new(&SHA512);
    parts.into_iter().for_each(|part| context.update(part));
    let digest = context.finish();
    aws_smithy_types::base64::encode(digest.as_ref().get(..16).unwrap_or_default())
}

/// Appends what a record becomes. In message mode that is a whole message, with an event that says where it ends and,
/// in `unescaped`, where in it the id stands (0: there is none).
pub(super) fn write_record(wire: &Wire, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) {
    let out = &mut segment.bytes;
    match wire.mode {
        Mode::Forward { metadata: true } => codecs::msgpack::write_event(out, record, arena),
        Mode::Forward { metadata: false } => {
            out.push(0x92);
            write_event_time(out, record.time);
            write_fields(out, &record.fields, arena);
        }
        Mode::Compat => {
            out.push(0x92);
            write_uint(out, record.time.secs.max(0) as u64);
            write_fields(out, &record.fields, arena);
        }
        Mode::Message { seconds } => {
            let start = out.len();
            let id_at = write_message(wire, seconds, tag, record, arena, out);
            let unescaped = id_at.map_or(0, |at| (at - start) as u32);
            let end = out.len() as u32;
            segment.events.push(Event { end, unescaped, millis: record.time.millis(), key: 0 });
        }
    }
}

/// Appends `[tag, time, record, options]`; returns where the id stands, if there is one.
fn write_message(
    wire: &Wire,
    seconds: bool,
    tag: &str,
    record: &Record<'_>,
    arena: &Bump,
    out: &mut Vec<u8>,
) -> Option<usize> {
    out.push(0x94);
    write_tag(wire, tag, Some((record, arena)), out);
    match seconds {
        true => write_uint(out, record.time.secs.max(0) as u64),
        false => write_event_time(out, record.time),
    }
    let body = out.len();
    write_fields(out, &record.fields, arena);
    let id = wire.ack.then(|| {
        let mut head = vec![0x92, 0x92];
        write_event_time(&mut head, record.time);
        head.push(0x80);
        id([head.as_slice(), out.get(body..).unwrap_or_default()])
    });
    write_options(out, wire, id.as_deref(), 0, false)
}

/// Appends the tag as a string: the one of the options, with its values in place, or the record's own.
pub(super) fn write_tag(wire: &Wire, tag: &str, record: Option<(&Record<'_>, &Bump)>, out: &mut Vec<u8>) {
    let Some(template) = &wire.tag else { return write_str(out, tag.as_bytes()) };
    let mut text = Vec::new();
    match record {
        Some((record, arena)) => template.render(tag.as_bytes(), &record.fields, &[], arena, &mut text),
        None => template.render(tag.as_bytes(), &[], &[], &Bump::new(), &mut text),
    };
    write_str(out, &text);
}

/// Appends the map of options: always with a length of 32 bits, as Fluent Bit writes it. Returns where the id stands.
pub(super) fn write_options(
    out: &mut Vec<u8>,
    wire: &Wire,
    id: Option<&str>,
    entries: usize,
    gzip: bool,
) -> Option<usize> {
    let count =
        usize::from(id.is_some()) + usize::from(entries > 0) + usize::from(gzip) + 1 + wire.extra.len();
    out.push(0xdf);
    out.extend_from_slice(&(count as u32).to_be_bytes());
    let mut at = None;
    if let Some(id) = id {
        write_str(out, b"chunk");
        write_str(out, id.as_bytes());
        at = Some(out.len() - id.len());
    }
    if entries > 0 {
        write_str(out, b"size");
        write_uint(out, entries as u64);
    }
    if gzip {
        write_str(out, b"compressed");
        write_str(out, b"gzip");
    }
    write_str(out, b"fluent_signal");
    write_uint(out, 0);
    for (key, value) in &wire.extra {
        write_str(out, key.as_bytes());
        write_str(out, value.as_bytes());
    }
    at
}

/// Appends what stands before the entries of a message: `[tag, [`, or `[tag, ` and the head of `packed` bytes.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    wire: &Wire,
    tag: &str,
    options: bool,
    entries: usize,
    packed: Option<usize>,
) {
    write_array_header(out, if options { 3 } else { 2 });
    write_tag(wire, tag, None, out);
    match packed {
        None => write_array_header(out, entries),
        Some(length) => write_binary_header(out, length),
    }
}

fn write_binary_header(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=0xff => out.extend_from_slice(&[0xc4, length as u8]),
        0x100..=0xffff => {
            out.push(0xc5);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xc6);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

/// `{"ack": id}`, as a server answers; for the fake.
#[cfg(any(test, feature = "fakes"))]
pub(crate) fn acknowledgement(id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    codecs::msgpack::write_map_header(&mut out, 1);
    write_str(&mut out, b"ack");
    write_str(&mut out, id.as_bytes());
    out
}
