//! `file`: appends records to files, one per tag or one for all.
//!
//! Owns: the options, the destination of a tag, delivery of a chunk in as few writes as possible.
//! Never: parses what it wrote; overwrites what was there.
//! Invariant: a chunk that failed half-way continues where it stopped: what is in a file is not written again.

mod append;
mod destination;
mod format;
mod name;
mod rotate;

use crate::segment::{Chunk, Event, Segment};
use crate::{Context, Output, Plugin, Verdict};
use append::{Failure, Files};
use codecs::Bump;
use codecs::conf::values::{Bool, Int, Size, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use destination::Destination;
use format::Encoder;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::future::Future;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

codecs::choice! {
    /// How records are written.
    pub enum Format {
        /// `tag: [seconds.nanos, {json}]`.
        OutFile "out_file",
        /// One JSON object a line.
        Plain "plain",
        /// Comma-separated values (RFC 4180).
        Csv "csv",
        /// Labelled tab-separated values.
        Ltsv "ltsv",
        /// The text of `template`.
        Template "template",
        /// Events as MessagePack.
        Msgpack "msgpack",
    }
}

codecs::choice! {
    /// What becomes of a record whose file cannot be named.
    pub enum Action {
        /// Dropped and counted.
        Error "error",
        /// Dropped and counted.
        Drop "drop",
        /// Written to `fallback_file`.
        Fallback "fallback",
    }
}

codecs::options! {
    /// Appends records to files.
    pub struct Options {
        /// Directory of the files; without it they are named from the working directory.
        path "path": Opt<Text>,
        /// Name of the file; without it, the tag.
        file "file": Opt<Text>,
        /// How records are written.
        format "format": One<Format> = "out_file",
        /// What stands between values (csv, ltsv): `comma`, `tab`, `space` or `\t`; other texts leave the default.
        delimiter "delimiter": Opt<Text>,
        /// What stands between a label and its value (ltsv): as `delimiter`.
        label_delimiter "label_delimiter": Opt<Text>,
        /// Text of a line (template); `{key}` is replaced by the value of the key, `{time}` by the time.
        template "template": One<Text> = "{time} {message}",
        /// Begin a new csv file with the names of the columns.
        csv_column_names "csv_column_names": One<Bool> = "false",
        /// Make directories that are missing, with mode 0755.
        mkdir "mkdir": One<Bool> = "false",
        /// Rename a file that has reached `rotate_max_size`, and begin a new one.
        rotate "rotate": One<Bool> = "false",
        /// Size that a file is rotated at.
        rotate_max_size "rotate_max_size": One<Size> = "100M",
        /// How many rotated files are kept.
        rotate_max_files "rotate_max_files": One<Int> = "7",
        /// Compress rotated files.
        rotate_gzip "rotate_gzip": One<Bool> = "true",
        /// Replace strftime conversions in `path` and `file` by the time of the record.
        enable_strftime "enable_strftime": One<Bool> = "false",
        /// At most so many files made from record fields.
        max_dynamic_files "max_dynamic_files": One<Int> = "1024",
        /// What becomes of a record without the fields of its file name.
        on_missing_field "on_missing_field": One<Action> = "error",
        /// What becomes of a record that needs one file too many.
        on_limit_reached "on_limit_reached": One<Action> = "error",
        /// Directory for what cannot be written to its own file.
        fallback_path "fallback_path": Opt<Text>,
        /// File for what cannot be written to its own file.
        fallback_file "fallback_file": Opt<Text>,
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "file", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let options = Options::read(section, context.name, diagnostics);
    let fine = check(&options, section, context.name, diagnostics);
    match Destination::new(&options) {
        Ok(destination) => {
            fine.then(|| Arc::new(File::new(&options, destination, context)) as Arc<dyn Output>)
        }
        Err((key, message)) => {
            let span = section.get(key).map_or(&section.span, |entry| &entry.value_span);
            diagnostics.error(span, format!("{}: {message}", context.name));
            None
        }
    }
}

/// Rules between options; reports what breaks one.
fn check(options: &Options, section: &Section, name: &str, diagnostics: &mut Diagnostics) -> bool {
    let mut fine = true;
    if options.rotate.0 && options.rotate_max_size.0 == 0 {
        let span = section.get("rotate_max_size").map_or(&section.span, |e| &e.value_span);
        diagnostics.error(span, format!("{name}: `rotate_max_size` is 0")).help("rule: greater than 0");
        fine = false;
    }
    if options.rotate.0 && options.rotate_max_files.0 < 1 {
        let span = section.get("rotate_max_files").map_or(&section.span, |e| &e.value_span);
        let message = format!("{name}: `rotate_max_files` is {}", options.rotate_max_files.0);
        diagnostics.error(span, message).help("rule: 1 or more");
        fine = false;
    }
    fine
}

/// A configured instance.
struct File {
    encoder: Encoder,
    destination: Destination,
    lanes: usize,
    files: Arc<Mutex<Files>>,
}

impl File {
    fn new(options: &Options, destination: Destination, context: &Context<'_>) -> Self {
        let rotation = options.rotate.0.then(|| rotate::Rotation {
            size: options.rotate_max_size.0,
            keep: usize::try_from(options.rotate_max_files.0).unwrap_or(usize::MAX),
            gzip: options.rotate_gzip.0,
        });
        File {
            encoder: Encoder::new(options, crate::formats::escape(context.escape_unicode)),
            destination,
            lanes: context.workers.unwrap_or(1).max(1),
            files: Arc::new(Mutex::new(Files::new(options.mkdir.0, rotation))),
        }
    }

    /// The index of a record's file among the segment's keys, where the names of csv's columns stand behind the path.
    fn key(&self, path: &[u8], record: &Record<'_>, segment: &mut Segment) -> u32 {
        let known =
            |key: &[u8]| key.strip_prefix(path).is_some_and(|rest| rest.first().is_none_or(|b| *b == NAMES));
        if let Some(at) = segment.keys.iter().rposition(|key| known(key)) {
            return at as u32;
        }
        let mut key = path.to_vec();
        if let Some(names) = self.encoder.names(record) {
            key.push(NAMES);
            key.extend_from_slice(&names);
        }
        segment.key(&key)
    }
}

/// Between a path and the names of csv's columns; no path holds it.
const NAMES: u8 = 0;

impl Output for File {
    /// A file takes any piece at once; what costs is to wake the thread that writes.
    fn chunk_bytes_target(&self) -> usize {
        1024 * 1024
    }

    fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        let Destination::Record(by_record) = &self.destination else {
            // The names wait beside the records: only the writer knows whether the file is new.
            if self.encoder.has_names()
                && segment.keys.is_empty()
                && let Some(names) = self.encoder.names(record)
            {
                segment.key(&names);
            }
            self.encoder.encode(tag, record, arena, &mut segment.bytes);
            return true;
        };
        let mut key = 0;
        if !by_record.of_record(tag, record, arena, |path| key = self.key(path, record, segment)) {
            return false;
        }
        self.encoder.encode(tag, record, arena, &mut segment.bytes);
        let end = segment.bytes.len() as u32;
        segment.events.push(Event { end, unescaped: 0, millis: record.time.millis(), key });
        true
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(async move {
            let segments = std::mem::take(&mut chunk.segments);
            let done = std::mem::take(&mut chunk.done);
            let targets = self.targets(&segments, &done);
            let files = self.files.clone();
            // Disks block; the network threads must not.
            let written = tokio::task::spawn_blocking(move || {
                let mut work = Work { segments, done };
                let result = work.write(&targets, &mut files.lock().unwrap_or_else(PoisonError::into_inner));
                (work, result)
            });
            let Ok((work, result)) = written.await else {
                return Verdict::Retry { after: None, reason: "the writer was stopped".to_owned() };
            };
            (chunk.segments, chunk.done) = (work.segments, work.done);
            verdict(result)
        })
    }

    fn lanes(&self) -> usize {
        self.lanes
    }
}

fn verdict(result: Result<(), Failure>) -> Verdict {
    match result {
        Ok(()) => Verdict::Delivered { dropped: 0 },
        Err(Failure { reason, hold: true }) => Verdict::Hold { reason },
        Err(Failure { reason, hold: false }) => Verdict::Retry { after: None, reason },
    }
}

/// A file and what of a chunk goes into it.
struct Target {
    path: PathBuf,
    /// Names of csv's columns, for a new file.
    names: Vec<u8>,
    parts: Vec<Part>,
}

/// Bytes that go into one file, whole records.
struct Part {
    segment: usize,
    bytes: Range<usize>,
    /// Which records of the chunk they are.
    records: Range<usize>,
}

impl File {
    /// The files of a chunk in order of first appearance, each with its parts that are not done.
    fn targets(&self, segments: &[Segment], done: &[bool]) -> Vec<Target> {
        let mut targets = Targets::default();
        let mut first = 0;
        for (at, segment) in segments.iter().enumerate() {
            let records = first..first + segment.records as usize;
            first = records.end;
            let open = |part: &Part| !part.bytes.is_empty() && !is_done(done, &part.records);
            if let Destination::Tag { .. } = self.destination {
                let part = Part { segment: at, bytes: 0..segment.bytes.len(), records };
                if open(&part) {
                    let names = segment.keys.first().map_or(&[][..], |names| names);
                    targets.push(self.destination.of_tag(&segment.tag), names, part);
                }
                continue;
            }
            let (mut start, mut record) = (0, records.start);
            for run in segment.events.chunk_by(|a, b| a.key == b.key) {
                let (Some(last), Some(key)) = (run.last(), segment.keys.get(run[0].key as usize)) else {
                    continue;
                };
                let part = Part {
                    segment: at,
                    bytes: start..last.end as usize,
                    records: record..record + run.len(),
                };
                (start, record) = (part.bytes.end, part.records.end);
                if open(&part) {
                    let cut = key.iter().position(|b| *b == NAMES);
                    let names = cut.map_or(&[][..], |cut| &key[cut + 1..]);
                    let path = PathBuf::from(OsStr::from_bytes(&key[..cut.unwrap_or(key.len())]));
                    targets.push(path, names, part);
                }
            }
        }
        targets.list
    }
}

#[derive(Default)]
struct Targets {
    list: Vec<Target>,
    /// Where each path is in the list.
    at: HashMap<PathBuf, usize>,
}

impl Targets {
    fn push(&mut self, path: PathBuf, names: &[u8], part: Part) {
        match self.at.get(&path) {
            Some(at) => self.list[*at].parts.push(part),
            None => {
                self.at.insert(path.clone(), self.list.len());
                self.list.push(Target { path, names: names.to_vec(), parts: vec![part] });
            }
        }
    }
}

/// What of a chunk is under way on the blocking thread.
struct Work {
    segments: Vec<Segment>,
    done: Vec<bool>,
}

impl Work {
    /// Appends to each file; one that fails does not keep the others from theirs. What is done is marked, so that a
    /// retry leaves it out.
    fn write(&mut self, targets: &[Target], files: &mut Files) -> Result<(), Failure> {
        let mut result = Ok(());
        for target in targets {
            let bytes =
                |part: &Part| self.segments.get(part.segment).and_then(|s| s.bytes.get(part.bytes.clone()));
            let parts: Vec<&[u8]> = target.parts.iter().map(|part| bytes(part).unwrap_or_default()).collect();
            let Err(stopped) = files.append(&target.path, &target.names, &parts) else {
                target.parts.iter().for_each(|part| mark(&mut self.done, &part.records));
                continue;
            };
            target.parts[..stopped.whole].iter().for_each(|part| mark(&mut self.done, &part.records));
            self.cut(target.parts.get(stopped.whole), stopped.rest);
            if result.is_ok() {
                result = Err(stopped.failure);
            }
        }
        result
    }

    /// Takes away the first bytes of a segment, which are in the file for good. Parts of a segment have no room for
    /// that; their beginning stands twice then.
    fn cut(&mut self, part: Option<&Part>, rest: usize) {
        if let Some(part) = part
            && let Some(segment) = self.segments.get_mut(part.segment)
            && part.bytes == (0..segment.bytes.len())
            && segment.events.is_empty()
        {
            segment.bytes.drain(..rest);
        }
    }
}

/// Whether every one of these records is done.
fn is_done(done: &[bool], records: &Range<usize>) -> bool {
    !records.is_empty() && done.get(records.clone()).is_some_and(|done| done.iter().all(|done| *done))
}

fn mark(done: &mut Vec<bool>, records: &Range<usize>) {
    if done.len() < records.end {
        done.resize(records.end, false);
    }
    done[records.clone()].fill(true);
}

#[cfg(test)]
mod tests;
