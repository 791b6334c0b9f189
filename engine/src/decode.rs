//! Decoders: a block of bytes to records, on a worker.

use crate::job::{Position, SourceInfo};
use crate::pipeline::Survival;
use crate::shards::JobRun;
use codecs::charset::{Charset, Converted};
use codecs::lines::Lines;
use codecs::multiline::{Chain, DockerMode, FirstLine, Joined, State};
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Field, Text, Value};
use std::sync::Arc;

/// How the blocks of an input become records.
pub trait Decoder: Send + Sync {
    /// Hands each record of the block to `job.emit`, in order. `position` is that of `block[0]`.
    fn decode<'j>(
        &'j self,
        block: &'j [u8],
        position: Position,
        source: &'j SourceInfo,
        job: &mut JobRun<'j>,
    );

    /// Emits what is held back: its time has come, or the source ends.
    fn flush<'j>(&'j self, source: &'j SourceInfo, job: &mut JobRun<'j>) {
        let _ = (source, job);
    }

    /// True when a block may be cut at any newline, so that a decoder sees a small piece at a time.
    fn lines(&self) -> bool {
        true
    }

    /// True when something of a block may wait for a later one; such jobs of a source run one after the other.
    fn stateful(&self) -> bool {
        false
    }

    /// True when records may have another tag than their source (`JobRun::emit_as`).
    fn tags_records(&self) -> bool {
        false
    }

    /// Milliseconds after which what is held back is flushed.
    fn flush_ms(&self) -> u64 {
        2000
    }
}

/// Bytes of a block that a decoder sees at once: its records' arena then stays in the second-level cache.
const SLICE_BYTES: usize = 16 * 1024;

/// How many bytes to give a decoder at once: whole lines where it wants them.
pub(crate) fn slice_len(bytes: &[u8], lines: bool, charset: Charset) -> usize {
    if !lines || bytes.len() <= SLICE_BYTES {
        return bytes.len();
    }
    match charset.whole_lines(&bytes[..SLICE_BYTES]) {
        0 => charset
            .first_newline(&bytes[SLICE_BYTES..])
            .map_or(bytes.len(), |n| SLICE_BYTES + n + charset.unit()),
        len => len,
    }
}

/// What a source holds back between its jobs, as owned bytes.
#[derive(Default)]
pub struct SourceState {
    /// Multi-line groups.
    pub multiline: State,
    /// A value that a stream has not finished.
    pub partial: Vec<u8>,
}

impl SourceState {
    /// Position of the oldest line that is held back; `end` is that of the job that just ran.
    pub fn pending(&self, end: Position) -> Option<Position> {
        Some(position_of(self.multiline.pending()?.mark, end))
    }
}

/// The position that a mark stands for; `end` is that of the job that just ran.
pub(crate) fn position_of(mark: u64, end: Position) -> Position {
    // The upper 16 bits are the low bits of the file's number, which is never far behind the job's.
    let behind = (end.file as u16).wrapping_sub((mark >> 48) as u16);
    Position { file: end.file - u32::from(behind).min(end.file), offset: mark & MARK_OFFSET }
}

const MARK_OFFSET: u64 = (1 << 48) - 1;

/// A position as the opaque number that multi-line states carry.
pub(crate) fn mark(position: Position) -> u64 {
    u64::from(position.file as u16) << 48 | (position.offset & MARK_OFFSET)
}

/// What makes one record of several lines.
pub enum Grouping {
    /// `multiline.parser`.
    Chain(Chain),
    /// `Docker_Mode`, and how long a part waits in milliseconds.
    DockerMode(DockerMode, u64),
    /// `Multiline`, and how long a record waits in milliseconds.
    FirstLine(FirstLine, u64),
}

impl Grouping {
    /// A line (or, without one, the end of waiting) in; what is whole by it out, with its position's mark.
    fn step<'j>(
        &'j self,
        state: &mut State,
        line: Option<(&'j [u8], u64)>,
        job: &mut JobRun<'j>,
    ) -> bumpalo::collections::Vec<'j, Joined<'j>> {
        let (now, arena) = (job.now, job.arena());
        let mut ready = bumpalo::collections::Vec::new_in(arena);
        let scratch = &mut *job.grouping;
        match (self, line) {
            (Grouping::Chain(chain), Some((line, mark))) => {
                let mut emit = |record| ready.push(Joined::Record(record));
                chain.line(state, line, now, mark, arena, scratch, &mut emit);
            }
            (Grouping::Chain(chain), None) => {
                chain.flush(state, arena, &mut |record| ready.push(Joined::Record(record)));
            }
            (Grouping::DockerMode(mode, _), Some((line, mark))) => {
                mode.line(state, line, now, mark, arena, scratch, &mut |joined| ready.push(joined));
            }
            (Grouping::DockerMode(mode, _), None) => {
                mode.flush(state, arena, scratch, &mut |joined| ready.push(joined));
            }
            (Grouping::FirstLine(mode, _), Some((line, mark))) => {
                mode.line(state, line, now, mark, arena, scratch, &mut |joined| ready.push(joined));
            }
            (Grouping::FirstLine(mode, _), None) => {
                mode.flush(state, arena, &mut |joined| ready.push(joined));
            }
        }
        ready
    }
}

/// How lines become records.
#[derive(Default)]
pub struct LineOptions {
    /// Key of an unparsed line (`Key`).
    pub key: String,
    /// `Parser`.
    pub parser: Option<Arc<Parser>>,
    /// What makes one record of several lines.
    pub multiline: Option<Grouping>,
    /// `Path_Key`.
    pub path_key: Option<String>,
    /// `Offset_Key`.
    pub offset_key: Option<String>,
    /// `Skip_Empty_Lines`.
    pub skip_empty_lines: bool,
}

/// Lines to records: multi-line groups, then a parser, then the keys that tell where a line came from.
pub struct LineDecoder {
    options: LineOptions,
    /// The key needs no escaping.
    plain_key: bool,
}

impl LineDecoder {
    /// A decoder with these options.
    pub fn new(options: LineOptions) -> LineDecoder {
        let plain_key = Text::examined(options.key.as_bytes()).plain;
        LineDecoder { options, plain_key }
    }

    /// Adds `Path_Key` and `Offset_Key`.
    fn origin<'j>(&'j self, offset: u64, source: &'j SourceInfo, fields: &mut codecs::record::Fields<'j>) {
        if let (Some(key), Some(path)) = (&self.options.path_key, &source.path) {
            fields.push(Field::new(Text::new(key.as_bytes()), Value::text(path.as_bytes())));
        }
        if let Some(key) = &self.options.offset_key {
            fields.push(Field::new(Text::new(key.as_bytes()), Value::Int(offset as i64)));
        }
    }

    /// The lines that the first filter may keep; the others are only counted.
    fn survivors<'j>(
        &'j self,
        survival: &Survival,
        block: &'j [u8],
        position: Position,
        source: &'j SourceInfo,
        job: &mut JobRun<'j>,
    ) {
        let count = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count() as u64;
        let mut at = 0;
        while let Some(hit) = survival.find(block, at) {
            let start = memchr::memrchr(b'\n', &block[at..hit]).map_or(at, |n| at + n + 1);
            let Some(len) = memchr::memchr(b'\n', &block[hit..]) else { break };
            job.skip(count(&block[at..start]));
            let line = &block[start..hit + len];
            self.line(line.strip_suffix(b"\r").unwrap_or(line), position.offset + start as u64, source, job);
            at = hit + len + 1;
        }
        job.skip(count(&block[at..]));
    }

    /// What a grouping made.
    fn grouped<'j>(
        &'j self,
        grouping: &Grouping,
        ready: bumpalo::collections::Vec<'j, Joined<'j>>,
        offset: u64,
        source: &'j SourceInfo,
        job: &mut JobRun<'j>,
    ) {
        for joined in ready {
            match (joined, grouping) {
                (Joined::Line { text, mark }, _) => self.line(text, mark & MARK_OFFSET, source, job),
                // There the path stands first, and the offset nowhere, as in Fluent Bit.
                (Joined::Record(mut record), Grouping::FirstLine(..)) => {
                    if let (Some(key), Some(path)) = (&self.options.path_key, &source.path) {
                        let field = Field::new(Text::new(key.as_bytes()), Value::text(path.as_bytes()));
                        record.fields.insert(0, field);
                    }
                    job.emit(record);
                }
                (Joined::Record(mut record), _) => {
                    self.origin(offset, source, &mut record.fields);
                    job.emit(record);
                }
            }
        }
    }

    /// Records of the lines of a block that is at `position`.
    #[inline]
    fn lines<'j>(
        &'j self,
        lines: &mut impl Split<'j>,
        position: Position,
        source: &'j SourceInfo,
        job: &mut JobRun<'j>,
    ) {
        let mut offset = position.offset;
        let Some((grouping, state)) = self.options.multiline.as_ref().zip(job.take_state()) else {
            while let Some(line) = lines.next() {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if !(line.is_empty() && self.options.skip_empty_lines) {
                    self.line(line, offset, source, job);
                }
                offset = position.offset + lines.offset() as u64;
            }
            return;
        };
        let cut_before = state.multiline.cut_count();
        while let Some(line) = lines.next() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Grouping::Chain(chain) = grouping
                && let Some(mut record) = chain.usual(&state.multiline, line, job.arena())
            {
                self.origin(offset, source, &mut record.fields);
                job.emit(record);
            } else if let Grouping::Chain(chain) = grouping
                && chain.goes_on(&mut state.multiline, line, job.now)
            {
                // It waits with those before it.
            } else if !(line.is_empty() && self.options.skip_empty_lines) {
                let mark = mark(Position { offset, ..position });
                let ready = grouping.step(&mut state.multiline, Some((line, mark)), job);
                self.grouped(grouping, ready, offset, source, job);
            }
            offset = position.offset + lines.offset() as u64;
        }
        job.count_truncated(state.multiline.cut_count() - cut_before);
        job.restore(state);
    }

    /// One line without multi-line rules.
    #[inline]
    fn line<'j>(&'j self, line: &'j [u8], offset: u64, source: &'j SourceInfo, job: &mut JobRun<'j>) {
        let mut record = job.record();
        if let Some(parser) = &self.options.parser
            && let Parsed::Yes { time } =
                parser.parse(line, job.now, job.arena(), job.parsing, &mut record.fields)
        {
            record.time = time.unwrap_or(job.now);
            self.origin(offset, source, &mut record.fields);
            return job.emit(record);
        }
        self.origin(offset, source, &mut record.fields);
        record.fields.push(Field::new(
            Text { bytes: self.options.key.as_bytes(), plain: self.plain_key },
            Value::text(line),
        ));
        job.emit(record);
    }
}

/// The lines of a block, and how far they go.
trait Split<'j>: Iterator<Item = &'j [u8]> {
    /// Offset in the block of the first byte that no line has covered yet.
    fn offset(&self) -> usize;
}

impl<'j> Split<'j> for Lines<'j> {
    fn offset(&self) -> usize {
        Lines::offset(self)
    }
}

impl<'j> Split<'j> for Converted<'j> {
    fn offset(&self) -> usize {
        Converted::offset(self)
    }
}

impl Decoder for LineDecoder {
    fn decode<'j>(
        &'j self,
        block: &'j [u8],
        position: Position,
        source: &'j SourceInfo,
        job: &mut JobRun<'j>,
    ) {
        if !matches!(source.charset, Charset::Utf8) {
            let mut lines = Converted::new(source.charset, block, job.arena());
            self.lines(&mut lines, position, source, job);
            return job.count_replaced(lines.replaced);
        }
        if self.options.multiline.is_none() && !self.options.skip_empty_lines {
            let made_here = |s: &Survival| self.options.path_key.as_ref().is_some_and(|key| s.reads(key));
            if let Some(survival) = job.survival().filter(|s| !made_here(s)) {
                return self.survivors(&survival, block, position, source, job);
            }
        }
        self.lines(&mut Lines::new(block), position, source, job);
    }

    fn flush<'j>(&'j self, source: &'j SourceInfo, job: &mut JobRun<'j>) {
        let (Some(grouping), Some(state)) = (&self.options.multiline, job.take_state()) else { return };
        let offset = state.multiline.pending().map_or(0, |p| p.mark & MARK_OFFSET);
        let ready = grouping.step(&mut state.multiline, None, job);
        self.grouped(grouping, ready, offset, source, job);
        job.restore(state);
    }

    fn stateful(&self) -> bool {
        self.options.multiline.is_some()
    }

    fn flush_ms(&self) -> u64 {
        match &self.options.multiline {
            None => 2000,
            Some(Grouping::Chain(chain)) => chain.flush_timeout_ms(),
            Some(Grouping::DockerMode(_, ms) | Grouping::FirstLine(_, ms)) => *ms,
        }
    }
}
