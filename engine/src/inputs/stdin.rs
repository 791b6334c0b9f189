//! Input stdin: JSON objects from standard input, or lines for a parser.
//!
//! Owns: the reading of standard input, the cut of its bytes into JSON values. Never: loses more than the line in
//! which the text is not JSON.

use super::{Configured, Context, Input, InputContext, Plugin};
use crate::decode::Decoder;
use crate::job::{Block, Position, SourceInfo};
use crate::log;
use crate::shards::JobRun;
use codecs::conf::values::{Size, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::json::{self, expand, parse_prefix};
use codecs::lines::{Lines, whole_lines};
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Timestamp, Value};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Fluent Bit's default and smallest `Buffer_Size`.
const BUFFER_BYTES_MIN: u64 = 16_000;
/// Bytes to read at once, at least.
const BLOCK_BYTES_MIN: usize = 64 * 1024;
/// Time between the end of the input and that of the program, below a second.
const LINGER: std::time::Duration = std::time::Duration::from_millis(990);
/// A JSON value, or a line, that is longer than this is dropped and counted.
const VALUE_BYTES_MAX: usize = 16 << 20;

codecs::options! {
    /// Reads JSON objects from standard input (several on a line, or one over several lines; `[time, object]` too), or
    /// lines for a parser. The end of the input ends the program.
    pub struct Options {
        /// Parser of the lines; without it, the text is JSON.
        parser "Parser": Opt<Text>,
        /// Bytes to read at once; below 64K, 64K.
        buffer_size "Buffer_Size": One<Size> = "16000",
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "stdin", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let options = Options::read(section, context.name, diagnostics);
    let size = options.buffer_size.0;
    if size < BUFFER_BYTES_MIN {
        let span = section.get("Buffer_Size").map_or(&section.span, |e| &e.value_span);
        diagnostics
            .error(span, format!("{}: `buffer_size` is {size}", context.name))
            .help(format!("rule: at least {BUFFER_BYTES_MIN} bytes"));
        return None;
    }
    let parser = match &options.parser {
        None => None,
        Some(name) => Some(super::parser_named(&name.0, "Parser", section, context, diagnostics)?),
    };
    let lines = parser.is_some();
    let component = format!("input:stdin:{}", context.name);
    let decoder: Arc<dyn Decoder> = match parser {
        Some(parser) => Arc::new(ParsedLines { parser, bad: Bad::new(&component) }),
        None => Arc::new(JsonStream { bad: Bad::new(&component) }),
    };
    let block_bytes = usize::try_from(size).unwrap_or(usize::MAX).max(BLOCK_BYTES_MIN);
    let input = Reading { component, tag: context.tag.into(), block_bytes, lines };
    Some(Configured {
        input: Box::new(input),
        decoder,
        tags: vec![context.tag.to_owned()],
        notes: vec![format!(
            "{}: what was read and not delivered is lost when the program is killed",
            context.name
        )],
    })
}

/// What of an input cannot be used: counted, told once.
#[derive(Debug)]
pub(super) struct Bad {
    component: String,
    count: AtomicU64,
}

impl Bad {
    pub(super) fn new(component: &str) -> Self {
        Bad { component: component.to_owned(), count: AtomicU64::new(0) }
    }

    fn count(&self, job: &mut JobRun<'_>, what: &str) {
        job.count_invalid();
        if self.count.fetch_add(1, Relaxed) == 0 {
            log!(Warn, self.component, "{what}; it is dropped and counted, as are those that follow");
        } else {
            log!(Debug, self.component, "{what}");
        }
    }
}

/// The configured input.
struct Reading {
    component: String,
    tag: Arc<str>,
    block_bytes: usize,
    /// Blocks must be whole lines.
    lines: bool,
}

impl Input for Reading {
    fn ends(&self) -> bool {
        true
    }

    fn run(self: Box<Self>, engine: InputContext) {
        match rustix::io::dup(std::io::stdin()) {
            Ok(fd) => self.read(fd, &engine),
            Err(error) => engine.fail(format!("{}: cannot open standard input: {error}", self.component)),
        }
        engine.quiet();
    }
}

impl Reading {
    /// Reads to the end, or until the engine stops.
    fn read(&self, fd: OwnedFd, engine: &InputContext) {
        let source = engine.open(SourceInfo {
            tag: self.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: None,
        });
        // What the last configuration read of a value that was not whole.
        let kept = engine.kept(KEPT).pop().and_then(|(_, kept)| kept.downcast::<Vec<u8>>().ok());
        let (mut carried, mut at): (Vec<u8>, u64) = (kept.map(|k| (*k).clone()).unwrap_or_default(), 0);
        while !engine.stopping() {
            let charge = carried.len() + self.block_bytes;
            let admitted = engine.admit(charge);
            if !wait(&fd, engine, admitted) {
                if admitted {
                    engine.release(charge);
                }
                continue;
            }
            let mut buffer = engine.buffer(charge);
            buffer.extend_from_slice(&carried);
            let start = buffer.len();
            buffer.resize(start + self.block_bytes, 0);
            let got = match rustix::io::read(&fd, &mut buffer[start..]) {
                Ok(got) => got,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                    engine.recycle(buffer);
                    engine.release(charge);
                    continue;
                }
                Err(error) => {
                    log!(Warn, self.component, "cannot read: {error}");
                    0
                }
            };
            buffer.truncate(start + got);
            if got == 0 && self.lines && !buffer.is_empty() {
                // The last line may lack its newline.
                buffer.push(b'\n');
            }
            let end = if self.lines { whole_lines(&buffer) } else { buffer.len() };
            carried = buffer[end..].to_vec();
            if carried.len() > VALUE_BYTES_MAX {
                log!(Warn, self.component, "a line of more than {VALUE_BYTES_MAX} bytes is dropped");
                carried.clear();
            }
            engine.settle(charge, buffer.capacity());
            let position = Position { file: 0, offset: at };
            at += end as u64;
            engine.submit(
                &source,
                Block { buffer, start: 0, end, position },
                Position { file: 0, offset: at },
            );
            if got == 0 {
                log!(Warn, self.component, "end of file (stdin closed by remote end)");
                linger(engine);
                engine.finished();
                return;
            }
        }
        if engine.reloading() {
            self.hand_on(engine, &source, carried);
        }
    }

    /// Keeps what is not a whole line or value yet for the next configuration.
    fn hand_on(&self, engine: &InputContext, source: &super::Source, mut carried: Vec<u8>) {
        engine.quiet();
        while !engine.drained() {
            let wake = engine.wake_fd();
            if poll(&mut [PollFd::new(&wake, PollFlags::IN)], None).is_ok() {
                let _ = rustix::io::read(wake, &mut [0; 8]);
            }
        }
        if !self.lines {
            // What was carried over and not read on from stands behind what the decoder holds.
            let mut partial = source.take_partial();
            partial.append(&mut carried);
            carried = partial;
        }
        engine.keep(KEPT.to_owned(), Arc::new(carried));
    }
}

/// What is kept on a reload: the bytes of an unfinished line or value.
const KEPT: &str = "stdin";

/// Stays for as long after the end as Fluent Bit does: a script that signals the program then still finds it.
fn linger(engine: &InputContext) {
    let end = std::time::Instant::now() + LINGER;
    while !engine.stopping() {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        let wake = engine.wake_fd();
        if left.is_zero() || poll(&mut [PollFd::new(&wake, PollFlags::IN)], Some(&timeout)) == Ok(0) {
            return;
        }
        let _ = rustix::io::read(wake, &mut [0; 8]);
    }
}

/// Waits for bytes (when they may be read) or for the engine; true when there are bytes to read.
fn wait(fd: &OwnedFd, engine: &InputContext, admitted: bool) -> bool {
    let wake = engine.wake_fd();
    let mut fds = vec![PollFd::new(&wake, PollFlags::IN)];
    if admitted {
        fds.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
    }
    if poll(&mut fds, None).is_err() {
        return false;
    }
    if fds[0].revents().contains(PollFlags::IN) {
        let _ = rustix::io::read(wake, &mut [0; 8]);
    }
    fds.get(1).is_some_and(|fd| !fd.revents().is_empty())
}

thread_local! {
    static SCRATCH: RefCell<json::Scratch> = RefCell::default();
}

/// A stream of JSON values.
struct JsonStream {
    bad: Bad,
}

impl Decoder for JsonStream {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        let Some(state) = job.take_state() else { return };
        let mut text = block;
        if !state.partial.is_empty() {
            state.partial.extend_from_slice(block);
            text = job.arena().alloc_slice_copy(&state.partial);
        }
        let used = SCRATCH.with_borrow_mut(|scratch| self.values(text, scratch, job));
        state.partial.clear();
        if text.len() - used > VALUE_BYTES_MAX {
            self.bad.count(job, "a JSON value is too long");
        } else {
            state.partial.extend_from_slice(&text[used..]);
        }
        job.restore(state);
    }

    fn lines(&self) -> bool {
        false
    }

    fn stateful(&self) -> bool {
        true
    }
}

impl JsonStream {
    /// Emits the whole values of a text; returns how many bytes they are.
    fn values<'j>(&'j self, text: &'j [u8], scratch: &mut json::Scratch, job: &mut JobRun<'j>) -> usize {
        let mut at = 0;
        loop {
            at += text[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
            if at == text.len() {
                return at;
            }
            match parse_prefix(&text[at..], job.arena(), scratch) {
                Ok(Some((value, used))) => {
                    at += used;
                    if !emit(value, job) {
                        self.bad.count(job, "invalid record found, it's not a JSON map or array");
                    }
                }
                Ok(None) => return at,
                Err(_) => {
                    self.bad.count(job, "invalid JSON message");
                    // The line is lost, what follows it is not.
                    match memchr::memchr(b'\n', &text[at..]) {
                        Some(end) => at += end + 1,
                        None => return text.len(),
                    }
                }
            }
        }
    }
}

/// Emits an object, or `[time, object]`, or `[[time, metadata], object]`; false when it is none of them.
pub(super) fn emit<'j>(value: Value<'j>, job: &mut JobRun<'j>) -> bool {
    let arena = job.arena();
    let mut record = job.record();
    let body = match expand(value, arena) {
        Value::Array([head, body]) => {
            let head = match expand(*head, arena) {
                Value::Array([time, _]) => *time,
                head => head,
            };
            let Some(time) = time_of(head) else { return false };
            record.time = time;
            expand(*body, arena)
        }
        value => value,
    };
    let Value::Map(fields) = body else { return false };
    record.fields.extend_from_slice(fields);
    job.emit(record);
    true
}

/// Seconds since the epoch, with a fraction.
fn time_of(value: Value<'_>) -> Option<Timestamp> {
    let text = match value {
        Value::Int(secs) => return Some(Timestamp { secs, nanos: 0 }),
        Value::Float(f) => f.to_string(),
        Value::Number(text) => std::str::from_utf8(text).ok()?.to_owned(),
        _ => return None,
    };
    if let Some((secs, fraction)) = text.split_once('.')
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && !secs.starts_with('-')
    {
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        return Some(Timestamp { secs: secs.parse().ok()?, nanos: digits.parse().ok()? });
    }
    if let Ok(secs) = text.parse() {
        return Some(Timestamp { secs, nanos: 0 });
    }
    let seconds: f64 = text.parse().ok()?;
    let nanos = ((seconds - seconds.floor()) * 1e9) as u32;
    Some(Timestamp { secs: seconds.floor() as i64, nanos: nanos.min(999_999_999) })
}

/// Lines for a parser; a line that it does not take is dropped and counted.
struct ParsedLines {
    parser: Arc<Parser>,
    bad: Bad,
}

impl Decoder for ParsedLines {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        for line in Lines::new(block) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let mut record = job.record();
            match self.parser.parse(line, job.now, job.arena(), job.parsing, &mut record.fields) {
                Parsed::Yes { time } => {
                    record.time = time.unwrap_or(job.now);
                    job.emit(record);
                }
                Parsed::No => self.bad.count(job, "a line does not fit the parser"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_arrays_are_exact() {
        for (text, secs, nanos) in [
            ("1700000000.5", 1_700_000_000, 500_000_000),
            ("1700000001", 1_700_000_001, 0),
            ("1.123456789012", 1, 123_456_789),
            ("1e3", 1000, 0),
        ] {
            assert_eq!(time_of(Value::Number(text.as_bytes())), Some(Timestamp { secs, nanos }), "{text}");
        }
        assert_eq!(time_of(Value::text(b"1")), None);
    }
}
