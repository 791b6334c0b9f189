//! Parsers tried in turn on each line of a source (`multiline.parser docker, cri`).
//!
//! Owns: which parser takes a line, and what becomes of lines that none takes. Never: reads a clock; the caller
//! flushes by time. Invariant: each line is in exactly one record, and lines of one group keep their order.

use super::group::{Line, Out};
use super::instant;
use super::state::{Instance, State};
use super::{Format, Kind, Multiline, Scratch, cri, docker};
use crate::record::{Field, Fields, Record, Text, Timestamp, Value};
use bumpalo::Bump;
use std::sync::Arc;

/// Default of `multiline_buffer_limit`: bytes of content that a group may hold.
pub const BUFFER_LIMIT_BYTES: usize = 2 << 20;

/// Fluent Bit refuses a shorter time.
const FLUSH_MS_MIN: u64 = 500;

/// The parsers of one input or filter, in order.
#[derive(Debug)]
pub struct Chain {
    links: Vec<Link>,
    limit: usize,
    flush_ms: u64,
    /// Number of the built-in `cri`, where it joins `log`.
    cri: Option<usize>,
}

#[derive(Debug)]
struct Link {
    parser: Arc<Multiline>,
    /// Key of the content; `multiline.key_content` of the filter goes before the parser's own.
    key: Option<Box<[u8]>>,
}

/// What a line passes through with.
struct Job<'a, 'e> {
    now: Timestamp,
    mark: u64,
    arena: &'a Bump,
    scratch: &'e mut Scratch,
    emit: &'e mut dyn FnMut(Record<'a>),
}

impl Chain {
    /// Parsers in the order in which they are tried; `key_content` replaces theirs (the multiline filter has it).
    /// The error names what is wrong: no parser, or a flush time below 500 ms (Fluent Bit's rule).
    pub fn new(parsers: Vec<Arc<Multiline>>, key_content: Option<&str>) -> Result<Chain, String> {
        let flush_ms =
            parsers.iter().map(|p| p.flush_timeout_ms).max().ok_or("there is no multiline parser")?;
        if flush_ms < FLUSH_MS_MIN {
            return Err(format!(
                "`flush_timeout` is {flush_ms}, it must be at least {FLUSH_MS_MIN} milliseconds"
            ));
        }
        let link = |parser: Arc<Multiline>| {
            let key = key_content.map(|k| k.as_bytes().into()).or_else(|| parser.key_content.clone());
            Link { parser, key }
        };
        let links: Vec<Link> = parsers.into_iter().map(link).collect();
        let is_cri = |l: &Link| matches!(l.parser.format, Format::Cri) && l.key.as_deref() == Some(b"log");
        let cri = links.iter().position(is_cri);
        Ok(Chain { links, limit: BUFFER_LIMIT_BYTES, flush_ms, cri })
    }

    /// The same with another limit for the bytes of content that a group may hold (`multiline_buffer_limit`);
    /// zero: no limit.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Chain {
        Chain { limit, ..self }
    }

    /// How long lines may wait for more before the caller flushes, in milliseconds: the longest of the parsers'.
    pub fn flush_timeout_ms(&self) -> u64 {
        self.flush_ms
    }

    /// Takes the next line of a source (without its line feed), and emits the records that are whole by it.
    ///
    /// `now` is the time of what has none itself. `mark` is the caller's own number for the line, given back by
    /// [`State::pending`]; marks must not fall from line to line.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is needed per line, and a struct would be built per line"
    )]
    pub fn line<'a>(
        &'a self,
        state: &mut State,
        line: &'a [u8],
        now: Timestamp,
        mark: u64,
        arena: &'a Bump,
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(Record<'a>),
    ) {
        if let Some(record) = self.usual(state, line, arena) {
            return emit(record);
        }
        let mut job = Job { now, mark, arena, scratch, emit };
        if !self.first_that(state, |i, state| self.try_text(i, state, line, &mut job)) {
            self.flush(state, arena, job.emit);
            if let Some(link) = self.links.first() {
                let key = link.key.as_deref();
                Out { arena, key, limit: self.limit, cut: &mut state.cut, emit: job.emit }.text(line, now);
            }
        }
    }

    /// Takes the next record of a source (the multiline filter), and emits those that are whole by it.
    pub fn record<'a>(
        &'a self,
        state: &mut State,
        record: Record<'a>,
        mark: u64,
        arena: &'a Bump,
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(Record<'a>),
    ) {
        let now = record.time;
        let mut job = Job { now, mark, arena, scratch, emit };
        let mut fields = Some(record.fields);
        if !self.first_that(state, |i, state| self.try_record(i, state, &mut fields, &mut job)) {
            self.flush(state, arena, job.emit);
            if let Some(fields) = fields {
                (job.emit)(Record { time: now, fields });
            }
        }
    }

    /// Emits all that waits for more lines: when its time is over, or its source ends.
    pub fn flush<'a>(&self, state: &mut State, arena: &'a Bump, emit: &mut dyn FnMut(Record<'a>)) {
        for (link, instance) in self.links.iter().zip(&mut state.instances) {
            let key = link.key.as_deref();
            instance.flush(&mut Out { arena, key, limit: self.limit, cut: &mut state.cut, emit });
        }
    }

    /// The short way of nearly every line of a container: whole, like the one before it, with nothing waiting. `None`
    /// when it is of another kind; then it is for [`Chain::line`].
    #[inline]
    pub fn usual<'a>(&self, state: &State, line: &'a [u8], arena: &'a Bump) -> Option<Record<'a>> {
        let last = state.last.filter(|last| Some(*last) == self.cri)?;
        let parts = cri::split_usual(line)?;
        let time = instant::read_usual(parts.time, &state.minute)?;
        let waits = state.instances.get(last).is_none_or(Instance::holds);
        if parts.partial || waits || !state.sees(parts.stream) {
            return None;
        }
        Some(Record { time, fields: cri_fields(Text::plain(parts.time), &parts, arena) })
    }

    /// The short way of most lines of a stack trace: text that goes on with the record before it, and does not end it.
    /// False when the line is of another kind, and nothing has changed; then it is for [`Chain::line`]. There must be no
    /// line feed in it.
    #[inline]
    pub fn goes_on(&self, state: &mut State, line: &[u8], now: Timestamp) -> bool {
        let [link] = &self.links[..] else { return false };
        let (Format::Text, Kind::Rules(rules)) = (&link.parser.format, &link.parser.kind) else {
            return false;
        };
        let group = state.instances.first_mut().and_then(Instance::unnamed);
        group.is_some_and(|group| group.goes_on(rules, line, now, self.limit))
    }

    /// Tries the parser that took the last line, then the others in order.
    fn first_that(&self, state: &mut State, mut takes: impl FnMut(usize, &mut State) -> bool) -> bool {
        if state.instances.len() != self.links.len() {
            state.instances.resize_with(self.links.len(), Instance::default);
        }
        let last = state.last.filter(|&i| i < self.links.len());
        if last.is_some_and(|i| takes(i, state)) {
            return true;
        }
        let taker = (0..self.links.len()).find(|&i| Some(i) != last && takes(i, state));
        state.last = taker.or(last);
        taker.is_some()
    }

    /// A line through parser number `i`.
    fn try_text<'a>(&'a self, i: usize, state: &mut State, text: &'a [u8], job: &mut Job<'a, '_>) -> bool {
        let link = &self.links[i];
        match &link.parser.format {
            Format::Text => {
                let line =
                    Line { fields: None, at: 0, content: text, pattern: None, time: job.now, mark: job.mark };
                self.take(i, state, None, line, job)
            }
            Format::Cri => self.try_cri(i, state, cri::split_line(text), job),
            _ => self.try_parsed(i, state, text, job),
        }
    }

    /// A record through parser number `i`; its fields are taken out only when it fits.
    fn try_record<'a>(
        &'a self,
        i: usize,
        state: &mut State,
        fields: &mut Option<Fields<'a>>,
        job: &mut Job<'a, '_>,
    ) -> bool {
        let link = &self.links[i];
        let Some(all) = fields.as_ref() else { return false };
        let Some((at, content)) = link.key.as_deref().and_then(|key| text_field(all, key)) else {
            return false;
        };
        match &link.parser.format {
            Format::Text => {
                let pattern =
                    link.parser.key_pattern.as_deref().and_then(|key| text_field(all, key)).map(|f| f.1);
                let group =
                    link.parser.key_group.as_deref().and_then(|key| text_field(all, key)).map(|f| f.1);
                // The line is taken by value; what does not fit must come back.
                let copy = all.clone();
                let line = Line { fields: Some(copy), at, content, pattern, time: job.now, mark: job.mark };
                let taken = self.take(i, state, group, line, job);
                if taken {
                    *fields = None;
                }
                taken
            }
            Format::Cri => {
                let taken = self.try_cri(i, state, cri::split(content), job);
                if taken {
                    *fields = None;
                }
                taken
            }
            _ => {
                let taken = self.try_parsed(i, state, content, job);
                if taken {
                    *fields = None;
                }
                taken
            }
        }
    }

    /// The built-in `cri`, without an expression.
    fn try_cri<'a>(
        &self,
        i: usize,
        state: &mut State,
        parts: Option<cri::Parts<'a>>,
        job: &mut Job<'a, '_>,
    ) -> bool {
        let Some(parts) = parts else { return false };
        let link = &self.links[i];
        if link.key.as_deref() != Some(b"log") {
            return false;
        }
        let instant = instant::read(parts.time, true, &mut state.minute);
        // A time that cannot be read is not lost with its record, as it is in Fluent Bit.
        let time = instant.map_or(job.now, |i| i.time);
        let time_text = Text { bytes: parts.time, plain: instant.is_some_and(|i| i.plain) };
        let fields = cri_fields(time_text, &parts, job.arena);
        if !parts.partial && !state.instances[i].holds() {
            if !state.sees(parts.stream) {
                self.see(i, state, parts.stream, job);
            }
            (job.emit)(Record { time, fields });
            return true;
        }
        let line = Line {
            fields: Some(fields),
            at: 3,
            content: parts.log,
            pattern: Some(parts.kind()),
            time,
            mark: job.mark,
        };
        self.take(i, state, Some(parts.stream), line, job)
    }

    /// Gives a stream its place among those that are flushed together, which is that of its first line.
    #[cold]
    fn see(&self, i: usize, state: &mut State, stream: &'static [u8], job: &mut Job<'_, '_>) {
        let mut out = Out {
            arena: job.arena,
            key: Some(b"log"),
            limit: self.limit,
            cut: &mut state.cut,
            emit: job.emit,
        };
        state.instances[i].group(stream, &mut out);
        let slot = usize::from(stream == b"stderr");
        state.seen[slot] = stream;
    }

    /// Text through the parser's own parser, and what it finds through the rules.
    fn try_parsed<'a>(&'a self, i: usize, state: &mut State, text: &'a [u8], job: &mut Job<'a, '_>) -> bool {
        let link = &self.links[i];
        let mut fields = Fields::with_capacity_in(6, job.arena);
        let time = match &link.parser.format {
            Format::Docker => {
                let json = &mut job.scratch.json;
                match docker::parse(text, job.now, &mut state.minute, job.arena, json, &mut fields) {
                    Some(time) => time,
                    None => return false,
                }
            }
            Format::Parser(parser) => {
                match parser.parse(text, job.now, job.arena, &mut job.scratch.parser, &mut fields) {
                    crate::parsers::Parsed::Yes { time } => time.unwrap_or(job.now),
                    crate::parsers::Parsed::No => return false,
                }
            }
            Format::Text | Format::Cri => return false,
        };
        let find = |key: &Option<Box<[u8]>>| key.as_deref().and_then(|key| text_field(&fields, key));
        let Some((at, content)) = find(&link.key) else { return false };
        let pattern = find(&link.parser.key_pattern).map(|f| f.1);
        let group = find(&link.parser.key_group).map(|f| f.1);
        self.take(
            i,
            state,
            group,
            Line { fields: Some(fields), at, content, pattern, time, mark: job.mark },
            job,
        )
    }

    /// A line into its group; false when the parser does not take it.
    fn take<'a>(
        &self,
        i: usize,
        state: &mut State,
        group: Option<&[u8]>,
        line: Line<'a>,
        job: &mut Job<'a, '_>,
    ) -> bool {
        let link = &self.links[i];
        let key = link.key.as_deref();
        let mut out = Out { arena: job.arena, key, limit: self.limit, cut: &mut state.cut, emit: job.emit };
        let group = state.instances[i].group(group.unwrap_or_default(), &mut out);
        let subject = line.pattern.unwrap_or(line.content);
        match &link.parser.kind {
            Kind::Rules(rules) => return group.take_by(rules, line, &mut out),
            // Shorter text is lost in Fluent Bit; it surely does not end with `text`.
            Kind::EndsWith { text, .. } if line.fields.is_some() && subject.len() < text.len() => {
                return false;
            }
            Kind::EndsWith { text, negate } => group.take(line, subject.ends_with(text) != *negate, &mut out),
            Kind::Equal { text, negate } => group.take(line, (subject == &**text) != *negate, &mut out),
        }
        true
    }
}

/// The fields of a CRI line, in the order of the built-in expression.
#[inline]
fn cri_fields<'a>(time: Text<'a>, parts: &cri::Parts<'a>, arena: &'a Bump) -> Fields<'a> {
    // Two more for what inputs and filters add (a path, `kubernetes`).
    let mut fields = Fields::with_capacity_in(6, arena);
    fields.extend_from_slice_copy(&[
        Field::new(Text::plain(b"time"), Value::Text(time)),
        Field::new(Text::plain(b"stream"), Value::Text(Text::plain(parts.stream))),
        Field::new(Text::plain(b"_p"), Value::Text(Text::plain(parts.kind()))),
        Field::new(Text::plain(b"log"), Value::text(parts.log)),
    ]);
    fields
}

/// The first field of this name whose value is text.
fn text_field<'a>(fields: &[Field<'a>], key: &[u8]) -> Option<(usize, &'a [u8])> {
    let named = |f: &Field<'a>| if f.key.bytes == key { f.value.as_text() } else { None };
    fields.iter().enumerate().find_map(|(at, f)| named(f).map(|text| (at, text)))
}
