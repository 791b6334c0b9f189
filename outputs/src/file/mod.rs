//! `file`: appends records to files, one per tag or one for all.
//!
//! Owns: the options, the destination of a tag, delivery of a chunk in as few writes as possible.
//! Never: parses what it wrote; overwrites what was there.
//! Invariant: a chunk that failed half-way continues where it stopped: what is in a file is not written again.

mod append;
mod format;
mod rotate;

use crate::segment::{Chunk, Segment};
use crate::{Context, Output, Plugin, Verdict};
use append::{Failure, Files};
use codecs::Bump;
use codecs::conf::values::{Bool, Int, Size, Text};
use codecs::conf::{Diagnostics, OptionSpec, Section};
use codecs::record::Record;
use format::Encoder;
use std::future::Future;
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
        /// What becomes of a record without the fields of its file name: error, drop or fallback.
        on_missing_field "on_missing_field": One<Text> = "error",
        /// What becomes of a record that needs one file too many: error, drop or fallback.
        on_limit_reached "on_limit_reached": One<Text> = "error",
        /// Directory for what cannot be written to its own file.
        fallback_path "fallback_path": Opt<Text>,
        /// File for what cannot be written to its own file.
        fallback_file "fallback_file": Opt<Text>,
    }
}

/// The plugin.
pub struct FilePlugin;

/// The plugin's entry in the registry.
pub static PLUGIN: FilePlugin = FilePlugin;

impl Plugin for FilePlugin {
    fn name(&self) -> &'static str {
        "file"
    }

    fn about(&self) -> &'static str {
        Options::ABOUT
    }

    fn tables(&self) -> Vec<&'static [OptionSpec]> {
        vec![Options::TABLE]
    }

    fn configure(
        &self,
        section: &Section,
        context: &Context<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<dyn Output>> {
        let options = Options::read(section, context.name, diagnostics)?;
        check(&options, section, context.name, diagnostics)
            .then(|| Arc::new(File::new(&options, context)) as Arc<dyn Output>)
    }
}

/// Rules between options; reports what breaks one.
fn check(options: &Options, section: &Section, name: &str, diagnostics: &mut Diagnostics) -> bool {
    let mut fine = true;
    for key in ["path", "file"] {
        let Some(entry) = section.get(key) else { continue };
        let timed = options.enable_strftime.0 && entry.value.contains('%');
        if entry.value.contains('$') || timed {
            let message = format!(
                "{name}: `{key}` is `{}`: file names made from records are not supported yet",
                entry.value
            );
            diagnostics.error(&entry.value_span, message);
            fine = false;
        }
    }
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
    directory: Option<String>,
    file: Option<String>,
    lanes: usize,
    files: Arc<Mutex<Files>>,
}

impl File {
    fn new(options: &Options, context: &Context<'_>) -> Self {
        let rotation = options.rotate.0.then(|| rotate::Rotation {
            size: options.rotate_max_size.0,
            keep: usize::try_from(options.rotate_max_files.0).unwrap_or(usize::MAX),
            gzip: options.rotate_gzip.0,
        });
        File {
            encoder: Encoder::new(options, crate::formats::escape(context.escape_unicode)),
            directory: options.path.as_ref().map(|text| text.0.clone()),
            file: options.file.as_ref().map(|text| text.0.clone()),
            lanes: context.workers.unwrap_or(1).max(1),
            files: Arc::new(Mutex::new(Files::new(options.mkdir.0, rotation))),
        }
    }

    /// The file of a tag.
    fn destination(&self, tag: &str) -> PathBuf {
        let name = match &self.file {
            Some(file) => file.clone(),
            None => sanitized(tag),
        };
        match &self.directory {
            // Joined as text: a `file` that begins with a slash stays below `path`.
            Some(directory) => PathBuf::from(format!("{directory}/{name}")),
            None => PathBuf::from(name),
        }
    }
}

impl Output for File {
    fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        self.encoder.encode(tag, record, arena, segment);
        true
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(async move {
            let segments = std::mem::take(&mut chunk.segments);
            let done = std::mem::take(&mut chunk.done);
            let paths: Vec<PathBuf> = segments.iter().map(|segment| self.destination(&segment.tag)).collect();
            let files = self.files.clone();
            // Disks block; the network threads must not.
            let written = tokio::task::spawn_blocking(move || {
                let mut work = Work { segments, done };
                let result = work.write(&paths, &mut files.lock().unwrap_or_else(PoisonError::into_inner));
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

/// What of a chunk is under way on the blocking thread.
struct Work {
    segments: Vec<Segment>,
    done: Vec<bool>,
}

impl Work {
    /// Appends each run of segments with one path; what is done is marked so that a retry leaves it out.
    fn write(&mut self, paths: &[PathBuf], files: &mut Files) -> Result<(), Failure> {
        let mut first_record = 0;
        let mut at = 0;
        while at < paths.len() {
            let run = paths[at..].iter().take_while(|path| **path == paths[at]).count();
            let segments = &mut self.segments[at..at + run];
            let records: usize = segments.iter().map(|s| s.records as usize).sum();
            if !is_done(&self.done, first_record, segments) {
                let (whole, result) = files.append(&paths[at], segments);
                let written: usize = segments[..whole].iter().map(|s| s.records as usize).sum();
                mark(&mut self.done, first_record, first_record + written);
                if whole > 0 && result.is_err() {
                    // A retry must see only what is left of this run.
                    for segment in &mut segments[..whole] {
                        segment.bytes = Vec::new();
                    }
                }
                result?;
            }
            first_record += records;
            at += run;
        }
        Ok(())
    }
}

/// Whether every record of these segments is done; a segment without records is done when it holds nothing.
fn is_done(done: &[bool], first: usize, segments: &[Segment]) -> bool {
    let records: usize = segments.iter().map(|s| s.records as usize).sum();
    match records {
        0 => segments.iter().all(|s| s.bytes.is_empty()),
        records => done.len() >= first + records && done[first..first + records].iter().all(|done| *done),
    }
}

fn mark(done: &mut Vec<bool>, from: usize, to: usize) {
    if done.len() < to {
        done.resize(to, false);
    }
    done[from..to].fill(true);
}

/// The tag as a safe relative path: letters, digits, `-`, `_`, `.` and single slashes; `.` and `..` become `_`.
fn sanitized(tag: &str) -> String {
    let mut name = String::with_capacity(tag.len());
    for component in tag.split(['/', '\\']).filter(|component| !component.is_empty()) {
        if !name.is_empty() {
            name.push('/');
        }
        match component {
            "." | ".." => name.push('_'),
            // Byte by byte, so that a character beyond ASCII becomes as many `_` as in Fluent Bit.
            component => name.extend(component.bytes().map(|b| match b {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' => char::from(b),
                _ => '_',
            })),
        }
    }
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests;
