//! `stdout`: prints records.
//!
//! Owns: the layouts, the number in front of each record, one flush a chunk. Never: prints half a record and then another.
//! Invariant: what was printed of a chunk is not printed again by a retry.

use crate::formats::{DateFormat, DateKey, Format, JsonRecords, print_fields, write_seconds_nanos};
use crate::segment::{Chunk, Event, Segment};
use crate::{Context, Output, Plugin, Verdict};
use codecs::Bump;
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

codecs::options! {
    /// Prints records to standard output.
    pub struct Options {
        /// How records are printed; msgpack is the text form `[0] tag: [[time, {}], {"key"=>"value"}]`.
        format "format": One<Format> = "msgpack",
        /// How the date is printed in the JSON formats.
        json_date_format "json_date_format": One<DateFormat> = "double",
        /// Name of the date in the JSON formats; false leaves it out.
        json_date_key "json_date_key": One<DateKey> = "date",
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "stdout", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let options = Options::read(section, context.name, diagnostics);
    Some(Arc::new(Stdout::new(&options, context, Box::new(std::io::stdout()))))
}

/// Where it prints; a test puts a buffer here.
type Terminal = Arc<Mutex<dyn Write + Send>>;

struct Stdout {
    format: Format,
    json: JsonRecords,
    terminal: Terminal,
}

impl Stdout {
    fn new(options: &Options, context: &Context<'_>, terminal: impl Write + Send + 'static) -> Self {
        let json = JsonRecords::new(
            &options.json_date_key,
            options.json_date_format,
            crate::formats::escape(context.escape_unicode),
        );
        Stdout { format: options.format, json, terminal: Arc::new(Mutex::new(terminal)) }
    }

    /// What a chunk looks like: segments of one tag in a row are one block, as Fluent Bit's chunks are.
    fn lay_out(&self, segments: &[Segment]) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(segments.iter().map(|s| s.bytes.len() + s.events.len() * 8 + 8).sum());
        for block in segments.chunk_by(|a, b| a.tag == b.tag) {
            match self.format {
                Format::Msgpack => number(&mut out, block),
                Format::JsonLines => block.iter().for_each(|segment| out.extend_from_slice(&segment.bytes)),
                Format::JsonStream => {
                    block.iter().for_each(|segment| out.extend_from_slice(&segment.bytes));
                    out.push(b'\n');
                }
                Format::Json => {
                    crate::formats::join_array(&mut out, block.iter().map(|segment| &segment.bytes[..]));
                    out.push(b'\n');
                }
            }
        }
        out
    }
}

/// Prints the records of a block with their numbers in front.
fn number(out: &mut Vec<u8>, block: &[Segment]) {
    let mut number = 0u64;
    for segment in block {
        let mut start = 0;
        for event in &segment.events {
            let end = event.end as usize;
            out.push(b'[');
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            out.extend_from_slice(b"] ");
            out.extend_from_slice(segment.bytes.get(start..end).unwrap_or_default());
            (start, number) = (end, number + 1);
        }
    }
}

impl Output for Stdout {
    fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        let out = &mut segment.bytes;
        match self.format {
            Format::Msgpack => {
                out.extend_from_slice(tag.as_bytes());
                out.extend_from_slice(b": [[");
                write_seconds_nanos(out, record.time);
                out.extend_from_slice(b", {}], ");
                print_fields(out, &record.fields, arena);
                out.extend_from_slice(b"]\n");
                let end = out.len() as u32;
                segment.events.push(Event { end, unescaped: 0, millis: record.time.millis(), key: 0 });
            }
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
        Box::pin(async move {
            let text = self.lay_out(&chunk.segments);
            let terminal = self.terminal.clone();
            // A terminal, or a pipe that nobody reads, blocks.
            let printed = tokio::task::spawn_blocking(move || {
                let mut terminal = terminal.lock().unwrap_or_else(PoisonError::into_inner);
                print(&mut *terminal, &text)
            });
            match printed.await {
                Ok(Ok(())) => Verdict::Delivered { dropped: 0 },
                Ok(Err(error)) => Verdict::Hold {
                    reason: format!("cannot write to standard output: {error}; somebody must read it"),
                },
                Err(_) => Verdict::Retry { after: None, reason: "the writer was stopped".to_owned() },
            }
        })
    }
}

/// Prints everything, then flushes. A pipe that is set not to block is tried again until it takes the rest.
fn print(terminal: &mut dyn Write, mut text: &[u8]) -> std::io::Result<()> {
    loop {
        let result = match text {
            [] => terminal.flush().map(|()| 0),
            text => terminal.write(text),
        };
        match result {
            Ok(0) if text.is_empty() => return Ok(()),
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => text = text.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(2))
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RECORDS, chunk, context, section, segment};

    /// A terminal that takes a few bytes at a time, and now and then none.
    #[derive(Clone, Default)]
    struct Slow {
        text: Arc<Mutex<Vec<u8>>>,
        turn: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.turn += 1;
            match self.turn % 3 {
                0 => Err(ErrorKind::WouldBlock.into()),
                1 => Err(ErrorKind::Interrupted.into()),
                _ => {
                    let count = bytes.len().min(7);
                    self.text.lock().expect("lock").extend_from_slice(&bytes[..count]);
                    Ok(count)
                }
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    async fn printed(entries: &[(&str, &str)], tags: &[&str]) -> String {
        let options = Options::read(&section(entries), "stdout.0", &mut Diagnostics::default());
        let slow = Slow::default();
        let output = Stdout::new(&options, &context(), slow.clone());
        let segments =
            tags.iter().enumerate().map(|(at, tag)| segment(&output, tag, &RECORDS[at % 3..][..1])).collect();
        assert_eq!(output.deliver(&mut chunk(segments)).await, Verdict::Delivered { dropped: 0 });
        let text = slow.text.lock().expect("lock").clone();
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn each_format_is_fluent_bits() {
        let one = r#"{"date":1700000000.123,"log":"one","n":1}"#;
        let two = r#"{"date":1700000001.5,"log":"two","n":2.50,"t":true,"z":null}"#;
        let three = r#"{"date":1700006400.0,"log":"three \u00e9 \"q\"","k":{"d.e":[1,"x"]}}"#;
        for (format, expected) in [
            ("json_lines", format!("{one}\n{two}\n{three}\n")),
            ("json", format!("[{one},{two}]\n[{three}]\n")),
            ("json_stream", format!("{one}{two}\n{three}\n")),
            (
                "msgpack",
                "[0] a: [[1700000000.123000000, {}], {\"log\"=>\"one\", \"n\"=>1}]\n\
                 [1] a: [[1700000001.500000000, {}], {\"log\"=>\"two\", \"n\"=>2.50, \"t\"=>true, \"z\"=>nil}]\n\
                 [0] b: [[1700006400.000000000, {}], {\"log\"=>\"three é \"q\"\", \"k\"=>{\"d.e\"=>[1, \"x\"]}}]\n"
                    .to_owned(),
            ),
        ] {
            assert_eq!(printed(&[("Format", format)], &["a", "a", "b"]).await, expected, "{format}");
        }
    }

    #[tokio::test]
    async fn a_closed_pipe_holds() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let options = Options::read(&section(&[]), "stdout.0", &mut Diagnostics::default());
        let output = Stdout::new(&options, &context(), Closed);
        let segment = segment(&output, "a", RECORDS);
        assert!(matches!(output.deliver(&mut chunk(vec![segment])).await, Verdict::Hold { .. }));
    }
}
