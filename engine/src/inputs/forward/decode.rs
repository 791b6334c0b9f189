//! Blocks of Forward messages to records, on a worker.
//!
//! Owns: decompression of packed events. Never: makes more of a message than `Buffer_Max_Size` allows.
//! Invariant: an event that cannot be read costs itself; where the next one begins cannot be known, the rest of its
//! message.

use crate::decode::Decoder;
use crate::inputs::net::text::Bad;
use crate::job::{Position, SourceInfo};
use crate::shards::JobRun;
use codecs::forward::{Carrier, Compression, Frame, Message, Progress};
use codecs::msgpack::{Reader, Unreadable};
use codecs::record::{Record, Value};
use std::io::Read;

/// The decoder.
pub(super) struct Events {
    /// The most that a compressed message may become.
    pub(super) limit: usize,
    pub(super) bad: Bad,
}

impl Decoder for Events {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        let mut rest = block;
        while !rest.is_empty() {
            let Ok(Progress::Whole(len)) = Frame::default().advance(rest) else {
                return self.bad.count(job, "a message ends early");
            };
            match Message::read(&rest[..len]) {
                Ok(message) => self.message(&message, job),
                Err(why) => self.bad.count(job, why),
            }
            rest = &rest[len..];
        }
    }

    fn lines(&self) -> bool {
        false
    }
}

impl Events {
    fn message<'j>(&'j self, message: &Message<'j>, job: &mut JobRun<'j>) {
        if message.options.signal != 0 {
            return self.bad.count(job, "metrics and traces are not taken; a message of them is dropped");
        }
        match message.carrier {
            Carrier::Message(bytes) => self.single(bytes, job),
            Carrier::Forward(bytes) => {
                let mut reader = Reader::new(bytes);
                if reader.array(job.arena()).is_ok() {
                    self.events(&bytes[reader.position()..], job);
                }
            }
            Carrier::Packed(bytes) => match message.compression() {
                Compression::None => self.events(bytes, job),
                Compression::Gzip => self.inflated(flate2::read::MultiGzDecoder::new(bytes), job),
                Compression::Zstd => match zstd::stream::read::Decoder::with_buffer(bytes) {
                    Ok(decoder) => self.inflated(decoder, job),
                    Err(error) => self.bad.count(job, &format!("decompression failed: {error}")),
                },
            },
        }
    }

    /// Events that a decompressor gives. They borrow from the arena: a job's records die with it.
    fn inflated<'j>(&'j self, decoder: impl Read, job: &mut JobRun<'j>) {
        let mut bytes = Vec::new();
        let most = self.limit as u64 + 1;
        if let Err(error) = decoder.take(most).read_to_end(&mut bytes) {
            self.bad.count(job, &format!("decompression failed, data may be corrupt: {error}"));
        } else if bytes.len() > self.limit {
            return self.bad.count(
                job,
                &format!(
                    "decompressed payload exceeds limit ({} bytes, Buffer_Max_Size); it is dropped",
                    self.limit
                ),
            );
        }
        let bytes: &[u8] = job.arena().alloc_slice_copy(&bytes);
        self.events(bytes, job);
    }

    /// A time and a map, without an array around them.
    fn single<'j>(&'j self, bytes: &'j [u8], job: &mut JobRun<'j>) {
        let arena = job.arena();
        let mut reader = Reader::new(bytes);
        let read = reader.time(arena).and_then(|time| Ok((time, reader.value(arena)?)));
        match read {
            Ok((time, Value::Map(fields))) => {
                let mut record = Record::new_in(arena, time);
                record.fields.extend_from_slice_copy(fields);
                job.emit(record);
            }
            _ => self.bad.count(job, "an event cannot be read"),
        }
    }

    /// Events one behind the other.
    fn events<'j>(&'j self, bytes: &'j [u8], job: &mut JobRun<'j>) {
        let arena = job.arena();
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut reader = Reader::new(rest);
            match reader.event(arena) {
                Ok(event) => {
                    job.emit(Record { time: event.time, fields: event.fields });
                    rest = &rest[reader.position()..];
                }
                Err(Unreadable::Incomplete) => return self.bad.count(job, "an event ends early"),
                Err(Unreadable::Invalid { .. }) => {
                    self.bad.count(job, "an event cannot be read");
                    match Frame::default().advance(rest) {
                        Ok(Progress::Whole(len)) => rest = &rest[len..],
                        _ => return,
                    }
                }
            }
        }
    }
}
