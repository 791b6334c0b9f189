//! Bodies of requests to records, on a worker.
//!
//! Owns: decompression, forms, what of a body is a record. Never: makes records of a body that is not valid as a whole.

use super::serve::sanitized;
use super::{HEAD_BYTES, Kind};
use crate::decode::Decoder;
use crate::inputs::net::limits::INFLATED_BYTES_MAX;
use crate::inputs::net::text::Bad;
use crate::job::{Position, SourceInfo, Verdict};
use crate::shards::JobRun;
use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use codecs::accessor::Accessor;
use codecs::json::{self, expand, parse_prefix, parse_value};
use codecs::record::{Field, Text, Value};
use std::cell::RefCell;
use std::io::Read;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
    Snappy,
}

const ENCODINGS: [Encoding; 5] =
    [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Snappy];

/// The decoder.
pub(super) struct Bodies {
    pub(super) tag_key: Option<Accessor>,
    pub(super) remote_key: String,
    pub(super) bad: Bad,
}

thread_local! {
    static SCRATCH: RefCell<json::Scratch> = RefCell::default();
}

impl Decoder for Bodies {
    fn decode<'j>(
        &'j self,
        block: &'j [u8],
        position: Position,
        source: &'j SourceInfo,
        job: &mut JobRun<'j>,
    ) {
        let verdict = self.body(block, job);
        if verdict != Verdict::Fine {
            job.count_invalid();
        }
        if let Some(cursor) = &source.cursor {
            cursor.examined(position, verdict);
        }
    }

    fn lines(&self) -> bool {
        false
    }

    fn tags_records(&self) -> bool {
        self.tag_key.is_some()
    }
}

impl Bodies {
    fn body<'j>(&'j self, block: &'j [u8], job: &mut JobRun<'j>) -> Verdict {
        let Some((&[kind, encoding, remote_len], rest)) = block.split_first_chunk::<HEAD_BYTES>() else {
            return Verdict::Invalid;
        };
        let Some((remote, body)) = rest.split_at_checked(usize::from(remote_len)) else {
            return Verdict::Invalid;
        };
        let encoding = ENCODINGS.get(usize::from(encoding)).copied().unwrap_or(Encoding::Identity);
        let text = match inflated(body, encoding, INFLATED_BYTES_MAX, job.arena()) {
            Ok(text) => text,
            Err(Inflation::TooLarge) => {
                self.bad.tell(&format!(
                    "a body would be larger than {INFLATED_BYTES_MAX} bytes; the request is refused"
                ));
                return Verdict::TooLarge;
            }
            Err(Inflation::Invalid) => {
                self.bad.tell("decompression failed; the request is refused");
                return Verdict::Invalid;
            }
        };
        let remote = (!remote.is_empty()).then_some(remote);
        match kind == Kind::Json as u8 {
            true => self.json(text, remote, job),
            false => self.form(text, remote, job),
        }
    }

    fn json<'j>(&'j self, text: &'j [u8], remote: Option<&'j [u8]>, job: &mut JobRun<'j>) -> Verdict {
        let arena = job.arena();
        let values = SCRATCH.with_borrow_mut(|scratch| values(text, arena, scratch));
        let Some(values) = values else {
            self.bad.tell("invalid JSON message, skipping");
            return Verdict::Invalid;
        };
        let (mut maps, mut others) = (ArenaVec::new_in(arena), 0);
        for value in values {
            match expand(value, arena) {
                Value::Map(fields) => maps.push(fields),
                Value::Array(elements) => {
                    for element in elements {
                        match expand(*element, arena) {
                            Value::Map(fields) => maps.push(fields),
                            _ => others += 1,
                        }
                    }
                }
                _ => {
                    self.bad.tell("a body is neither a JSON map nor an array; the request is refused");
                    return Verdict::Invalid;
                }
            }
        }
        if maps.is_empty() && others > 0 {
            self.bad.tell("an array holds no map; the request is refused");
            return Verdict::Invalid;
        }
        for _ in 0..others {
            self.bad.count(job, "an element of an array is not a map, and is dropped");
        }
        maps.iter().for_each(|fields| self.emit(fields, remote, job));
        Verdict::Fine
    }

    fn form<'j>(&'j self, text: &'j [u8], remote: Option<&'j [u8]>, job: &mut JobRun<'j>) -> Verdict {
        let arena = job.arena();
        let mut fields = ArenaVec::new_in(arena);
        for pair in text.split(|&b| b == b'&') {
            let pair = pair.strip_prefix(b"\n").unwrap_or(pair);
            let Some(at) = memchr::memchr(b'=', pair).filter(|&at| at > 0) else { continue };
            let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
            fields.push(Field::new(
                Text::new(key),
                Value::text(percent_decoded(value, arena).unwrap_or(value)),
            ));
        }
        if fields.is_empty() {
            self.bad.tell("a form has no field; the request is refused");
            return Verdict::Invalid;
        }
        self.emit(fields.into_bump_slice(), remote, job);
        Verdict::Fine
    }

    fn emit<'j>(&'j self, fields: &[Field<'j>], remote: Option<&'j [u8]>, job: &mut JobRun<'j>) {
        let mut record = job.record();
        record.fields.extend_from_slice_copy(fields);
        if let Some(remote) = remote {
            let key = self.remote_key.as_bytes();
            match record.get(key) {
                Some(_) => self.bad.tell("remote_addr_key already present in record, skipping injection"),
                None => record.fields.push(Field::new(Text::new(key), Value::text(remote))),
            }
        }
        let tag = self.tag_key.as_ref().and_then(|key| key.get(&record.fields, job.arena()));
        match tag.as_ref().and_then(Value::as_text).filter(|tag| !tag.is_empty()) {
            Some(tag) => job.emit_as(&sanitized(tag), record),
            None => job.emit(record),
        }
    }
}

/// All values of a text, if it is nothing but values, and at least one.
fn values<'j>(
    text: &'j [u8],
    arena: &'j Bump,
    scratch: &mut json::Scratch,
) -> Option<ArenaVec<'j, Value<'j>>> {
    let (mut values, mut rest) = (ArenaVec::new_in(arena), text.trim_ascii_start());
    while !rest.is_empty() {
        match parse_prefix(rest, arena, scratch) {
            Ok(Some((value, used))) => {
                values.push(value);
                rest = rest[used..].trim_ascii_start();
            }
            // A number at the very end.
            Ok(None) => {
                values.push(parse_value(rest, arena, scratch).ok()?);
                break;
            }
            Err(_) => return None,
        }
    }
    (!values.is_empty()).then_some(values)
}

/// A value of a form, decoded; `None` when a `%` is not followed by two digits: the value then stays as it is.
fn percent_decoded<'j>(value: &[u8], arena: &'j Bump) -> Option<&'j [u8]> {
    let mut out = ArenaVec::with_capacity_in(value.len(), arena);
    let mut bytes = value.iter();
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            b'+' => b' ',
            other => other,
        });
    }
    Some(out.into_bump_slice())
}

/// Why a body could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inflation {
    Invalid,
    TooLarge,
}

/// A body as it was before it was compressed.
fn inflated<'j>(
    body: &'j [u8],
    encoding: Encoding,
    limit: usize,
    arena: &'j Bump,
) -> Result<&'j [u8], Inflation> {
    let read = |decoder: &mut dyn Read| {
        let mut bytes = Vec::new();
        match decoder.take(limit as u64 + 1).read_to_end(&mut bytes) {
            Err(_) => Err(Inflation::Invalid),
            Ok(_) if bytes.len() > limit => Err(Inflation::TooLarge),
            Ok(_) => Ok(bytes),
        }
    };
    let bytes = match encoding {
        Encoding::Identity => return Ok(body),
        Encoding::Gzip => read(&mut flate2::read::MultiGzDecoder::new(body))?,
        // The name means zlib, but some senders leave its frame out.
        Encoding::Deflate => match read(&mut flate2::read::ZlibDecoder::new(body)) {
            Err(Inflation::Invalid) => read(&mut flate2::read::DeflateDecoder::new(body))?,
            result => result?,
        },
        Encoding::Zstd => {
            read(&mut zstd::stream::read::Decoder::with_buffer(body).map_err(|_| Inflation::Invalid)?)?
        }
        Encoding::Snappy => match snap::raw::decompress_len(body) {
            Ok(len) if len > limit => return Err(Inflation::TooLarge),
            Ok(_) if !body.starts_with(b"\xff\x06\x00\x00sNaPpY") => {
                snap::raw::Decoder::new().decompress_vec(body).map_err(|_| Inflation::Invalid)?
            }
            _ => read(&mut snap::read::FrameDecoder::new(body))?,
        },
    };
    Ok(arena.alloc_slice_copy(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn bodies_are_values_and_nothing_else() {
        let arena = Bump::new();
        let count = |text: &'static str| {
            values(text.as_bytes(), &arena, &mut json::Scratch::default()).map(|v| v.len())
        };
        for (text, expected) in [
            ("{}", Some(1)),
            (" {\"a\":1} \n{\"b\":2}\n", Some(2)),
            ("[{}][{}]", Some(2)),
            ("5", Some(1)),
            ("", None),
            (" \n", None),
            ("{\"a\":1}\nbad\n{}", None),
            ("{\"a\":", None),
        ] {
            assert_eq!(count(text), expected, "{text}");
        }
    }

    #[test]
    fn forms_are_decoded() {
        let arena = Bump::new();
        for (text, expected) in [
            ("two+words", Some("two words")),
            ("%7Bx%7d", Some("{x}")),
            ("%zz", None),
            ("%4", None),
            ("", Some("")),
        ] {
            assert_eq!(percent_decoded(text.as_bytes(), &arena), expected.map(str::as_bytes), "{text}");
        }
    }

    /// Compresses in the way that the encoding means.
    fn deflated(text: &[u8], encoding: Encoding) -> Vec<u8> {
        let level = flate2::Compression::fast();
        match encoding {
            Encoding::Identity => text.to_vec(),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).and_then(|()| encoder.finish()).expect("gzip")
            }
            Encoding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text).and_then(|()| encoder.finish()).expect("zlib")
            }
            Encoding::Zstd => zstd::stream::encode_all(text, 1).expect("zstd"),
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(text).expect("snappy"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_compressed_comes_back_and_no_bytes_make_it_panic(
            text in proptest::collection::vec(any::<u8>(), 1..600),
            cut in 0usize..600,
        ) {
            for encoding in ENCODINGS {
                let arena = Bump::new();
                let body = deflated(&text, encoding);
                prop_assert_eq!(inflated(&body, encoding, 600, &arena), Ok(&text[..]), "{:?}", encoding);
                let _ = inflated(&body[..cut.min(body.len())], encoding, 600, &arena);
                let _ = inflated(&text, encoding, 600, &arena);
                if encoding != Encoding::Identity && text.len() > 1 {
                    prop_assert_eq!(inflated(&body, encoding, text.len() - 1, &arena), Err(Inflation::TooLarge));
                }
            }
        }
    }
}
