//! `tcp`: records over a plain or encrypted connection, without an answer.
//!
//! Owns: the layouts, which bytes go out together. Never: connects itself (see [`crate::stream`]).
//! Invariants: segments of one tag in a row are one stretch of the connection; what was written of a chunk is not
//! written again by a retry. Nothing tells whether the server read it: what it had not read when it went away is lost.

use crate::formats::{DateFormat, DateKey, Format, JsonRecords};
use crate::net::{NetOptions, TlsOptions};
use crate::segment::{Chunk, Segment};
use crate::stream::{Connections, Target};
use crate::{Context, Output, Plugin, Verdict, upstream};
use codecs::Bump;
use codecs::accessor::Template;
use codecs::conf::values::{Bool, Int, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

codecs::options! {
    /// Writes records to a TCP connection.
    pub struct Options {
        /// Name or address of the server.
        host "host": One<Text> = "127.0.0.1",
        /// Its TCP port.
        port "port": One<Int> = "5170",
        /// Use IPv6.
        ipv6 "ipv6": One<Bool> = "off" => NoEffect("both families are tried; `net.dns.prefer_ipv6` sets the order"),
        /// How records are laid out.
        format "format": One<Format> = "msgpack",
        /// How the date of a record is written.
        json_date_format "json_date_format": One<DateFormat> = "double",
        /// Name of the date; false leaves it out.
        json_date_key "json_date_key": One<DateKey> = "date",
        /// Write a line with this value of each record, such as `$log`, and nothing else.
        raw_message_key "raw_message_key": Opt<Text>,
    }
}

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "tcp",
    about: Options::ABOUT,
    tables: &[Options::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure,
};

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let options = Options::read(section, context.name, diagnostics);
    let net = NetOptions::read(section, context.name, diagnostics);
    let tls = TlsOptions::read(section, context.name, diagnostics);
    let raw = options.raw_message_key.as_ref().map(|key| Template::parse(&key.0)).transpose();
    let raw = raw.map_err(|rule| {
        let span = section.get("raw_message_key").map_or(&section.span, |entry| &entry.value_span);
        diagnostics.error(span, format!("{}: `raw_message_key`: {rule}", context.name));
    });
    let (host, port) = (&options.host.0, options.port.0);
    let endpoint = upstream::endpoint(section, context.name, host, port, &tls, &net, diagnostics);
    let (raw, endpoint) = (raw.ok()?, endpoint?);
    let connections = match Connections::new(Target::Net(endpoint), net) {
        Ok(connections) => connections,
        Err(message) => {
            diagnostics.error(&section.span, format!("{}: {message}", context.name));
            return None;
        }
    };
    let escape = crate::formats::escape(context.escape_unicode);
    let json = JsonRecords::new(&options.json_date_key, options.json_date_format, escape);
    let lanes = context.workers.unwrap_or(2).max(1);
    Some(Arc::new(Tcp { connections, format: options.format, json, raw, lanes }))
}

/// A configured instance.
struct Tcp {
    connections: Connections,
    format: Format,
    json: JsonRecords,
    raw: Option<Template>,
    lanes: usize,
}

impl Tcp {
    async fn attempt(&self, chunk: &mut Chunk) -> Verdict {
        let retry = |reason| Verdict::Retry { after: None, reason };
        let mut connection = match self.connections.get().await {
            Ok(connection) => connection,
            Err(reason) => return retry(reason),
        };
        chunk.done.resize(chunk.records().max(chunk.done.len()), false);
        let mut record = 0;
        for block in chunk.segments.chunk_by(|a, b| a.tag == b.tag) {
            let records = record..record + block.iter().map(|s| s.records as usize).sum::<usize>();
            record = records.end;
            let Some(done) = chunk.done.get_mut(records).filter(|done| !done.iter().all(|done| *done)) else {
                continue;
            };
            if let Err(why) = connection.send(&self.parts(block)).await {
                return retry(format!("{}: {why}", self.connections.name()));
            }
            done.fill(true);
        }
        self.connections.put(connection);
        Verdict::Delivered { dropped: 0 }
    }

    /// What goes out for segments of one tag.
    fn parts<'s>(&self, block: &'s [Segment]) -> Vec<&'s [u8]> {
        let bytes = block.iter().map(|segment| segment.bytes.as_slice()).filter(|bytes| !bytes.is_empty());
        if self.raw.is_some() || self.format != Format::Json {
            return bytes.collect();
        }
        let mut parts: Vec<&[u8]> = Vec::with_capacity(block.len() * 2 + 1);
        for (at, bytes) in bytes.enumerate() {
            parts.extend([if at == 0 { &b"["[..] } else { b"," }, bytes]);
        }
        parts.push(b"]");
        parts
    }
}

impl Output for Tcp {
    fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        let out = &mut segment.bytes;
        if let Some(raw) = &self.raw {
            raw.render(tag.as_bytes(), &record.fields, &[], arena, out);
            out.push(b'\n');
            return true;
        }
        match self.format {
            Format::Msgpack => codecs::msgpack::write_event(out, record, arena),
            Format::Json => {
                if !out.is_empty() {
                    out.push(b',');
                }
                self.json.write(out, record);
            }
            Format::JsonStream => self.json.write(out, record),
            Format::JsonLines => {
                self.json.write(out, record);
                out.push(b'\n');
            }
        }
        true
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(self.attempt(chunk))
    }

    fn lanes(&self) -> usize {
        self.lanes
    }
}

#[cfg(test)]
mod tests;
