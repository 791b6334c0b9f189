//! Input head: the beginning of a file, every second.
//!
//! Owns: what of the file is read. Never: more than [`BYTES_MAX`] of it.

use super::ticks::{Ticks, admit, interval};
use super::{Configured, Context, Input, InputContext, Plugin};
use crate::decode::Decoder;
use crate::job::{Block, Position, SourceInfo};
use crate::log;
use crate::shards::JobRun;
use codecs::conf::values::{Bool, Int, Size, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::record::{Field, Text as Key, Value};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Bytes that are read of a file at most.
const BYTES_MAX: usize = 1 << 20;
/// Lines that are read with `Split_Line` where `Lines` says nothing.
const LINES_DEFAULT: usize = 10;

codecs::options! {
    /// Reads the beginning of a file, again and again: some bytes of it, or some lines.
    pub struct Options {
        /// The file.
        file "file": Opt<Text>,
        /// Key under which what was read stands.
        key "key": One<Text> = "head",
        /// Bytes to read, where no lines are asked for.
        buf_size "buf_size": One<Size> = "256",
        /// Each line stands under a key of its own: `line0`, `line1`, …
        split_line "split_line": One<Bool> = "false",
        /// Lines to read; 0 reads bytes (with `Split_Line`, ten lines).
        lines "lines": One<Int> = "0",
        /// Adds the file's path.
        add_path "add_path": One<Bool> = "false",
        /// Seconds between two reads.
        interval_sec "interval_sec": One<Int> = "1",
        /// Nanoseconds between two reads, besides `Interval_Sec`.
        interval_nsec "interval_nsec": One<Int> = "0",
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "head", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let options = Options::read(section, owner, diagnostics);
    let Some(file) = options.file else {
        diagnostics.error(&section.span, format!("{owner}: `file` is missing"));
        return None;
    };
    let lines = match (usize::try_from(options.lines.0).unwrap_or(0), options.split_line.0) {
        (0, true) => LINES_DEFAULT,
        (lines, _) => lines,
    };
    let input = Reading {
        component: format!("input:head:{owner}"),
        tag: context.tag.into(),
        file: file.0.clone(),
        bytes: (options.buf_size.0 as usize).min(BYTES_MAX),
        lines,
        split: options.split_line.0,
        interval: interval(options.interval_sec.0, options.interval_nsec.0),
    };
    let decoder = Content {
        key: options.key.0,
        split: options.split_line.0.then_some(lines),
        path: options.add_path.0.then_some(file.0),
    };
    Some(Configured {
        input: Box::new(input),
        decoder: Arc::new(decoder),
        tags: vec![context.tag.to_owned()],
        notes: Vec::new(),
    })
}

/// The configured input.
struct Reading {
    component: String,
    tag: Arc<str>,
    file: String,
    bytes: usize,
    lines: usize,
    split: bool,
    interval: Duration,
}

impl Input for Reading {
    fn run(self: Box<Self>, engine: InputContext) {
        let source = engine.open(SourceInfo {
            tag: self.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: None,
        });
        let (mut ticks, mut at) = (Ticks::new(self.interval), 0);
        while ticks.wait(&engine) {
            let content = match self.read() {
                Ok(content) => content,
                Err(error) => {
                    engine.metrics().read_errors.fetch_add(1, Relaxed);
                    log!(Error, self.component, "cannot read {}: {error}", self.file);
                    if self.split {
                        continue;
                    }
                    // An empty record tells of it, as in Fluent Bit.
                    Vec::new()
                }
            };
            // A block is not empty: its first byte stands for the read itself.
            let mut buffer = vec![b'\n'];
            buffer.extend_from_slice(&content);
            if !admit(&engine, buffer.capacity()) {
                break;
            }
            let (end, position) = (buffer.len(), Position { file: 0, offset: at });
            at += end as u64;
            engine.submit(
                &source,
                Block { buffer, start: 0, end, position },
                Position { file: 0, offset: at },
            );
        }
        engine.quiet();
    }
}

impl Reading {
    fn read(&self) -> std::io::Result<Vec<u8>> {
        let most = if self.lines > 0 { BYTES_MAX } else { self.bytes };
        let mut content = Vec::new();
        std::fs::File::open(&self.file)?.take(most as u64).read_to_end(&mut content)?;
        if self.lines > 0 {
            let end = memchr::memchr_iter(b'\n', &content).nth(self.lines - 1);
            content.truncate(end.map_or(content.len(), |n| n + 1));
        }
        Ok(content)
    }
}

/// What was read to a record.
struct Content {
    key: String,
    /// So many lines get keys of their own.
    split: Option<usize>,
    path: Option<String>,
}

impl Decoder for Content {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        let content = block.get(1..).unwrap_or_default();
        let mut record = job.record();
        let path = self.path.as_ref().map(|p| Field::new(Key::plain(b"path"), Value::text(p.as_bytes())));
        match self.split {
            None => {
                record.fields.push(Field::new(Key::new(self.key.as_bytes()), Value::text(content)));
                record.fields.extend(path);
            }
            Some(count) => {
                record.fields.extend(path);
                let mut lines = content.split(|&b| b == b'\n');
                for n in 0..count {
                    let key = job.arena().alloc_str(&format!("line{n}"));
                    let line = lines.next().unwrap_or_default();
                    record.fields.push(Field::new(Key::new(key.as_bytes()), Value::text(line)));
                }
            }
        }
        job.emit(record);
    }

    fn lines(&self) -> bool {
        false
    }
}
