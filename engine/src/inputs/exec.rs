//! Input exec: the lines that a command prints.
//!
//! Owns: the command's process, and its end. Never: leaves a process behind that it started; reads what there is no
//! memory for: the command then waits.

use super::net::text::Bad;
use super::ticks::{Ticks, admit, interval, ready, sleep};
use super::{Configured, Context, Input, InputContext, Plugin, Source};
use crate::decode::Decoder;
use crate::job::{Block, Position, SourceInfo};
use crate::log;
use crate::shards::JobRun;
use codecs::conf::values::{Bool, Int, Size, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::framing::Separated;
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Field, Text as Key, Value};
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Bytes to read at once.
const READ_BYTES: usize = 64 * 1024;
/// A line is not longer than this, whatever `Buf_Size` says.
const LINE_BYTES_MAX: usize = 16 << 20;
/// What a shell says when it could not tell how a command ended.
const CODE_UNKNOWN: i32 = 128;

codecs::options! {
    /// Runs a command, every so often or once, and makes a record of each line that it prints.
    pub struct Options {
        /// The command, for `/bin/sh`.
        command "command": Opt<Text>,
        /// Parser of the lines. A line that it does not take is dropped and counted.
        parser "parser": Opt<Text>,
        /// Seconds between two runs.
        interval_sec "interval_sec": One<Int> = "1",
        /// Nanoseconds between two runs, besides `Interval_Sec`.
        interval_nsec "interval_nsec": One<Int> = "0",
        /// A line that is longer becomes several.
        buf_size "buf_size": One<Size> = "4096",
        /// Run it once.
        oneshot "oneshot": One<Bool> = "false",
        /// Run it once, then end the program.
        exit_after_oneshot "exit_after_oneshot": One<Bool> = "false",
        /// With `Exit_After_Oneshot`: its exit code becomes that of the program.
        propagate_exit_code "propagate_exit_code": One<Bool> = "false",
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "exec", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let options = Options::read(section, owner, diagnostics);
    let parser = options.parser.as_ref();
    let parser = parser.map(|name| super::parser_named(&name.0, "parser", section, context, diagnostics));
    let Some(command) = options.command.filter(|c| !c.0.is_empty()) else {
        diagnostics.error(&section.span, format!("{owner}: no input `command` was given"));
        return None;
    };
    if options.propagate_exit_code.0 && !options.exit_after_oneshot.0 {
        let span = section.get("propagate_exit_code").map_or(&section.span, |e| &e.value_span);
        diagnostics
            .error(span, format!("{owner}: `propagate_exit_code` is on without `exit_after_oneshot`"))
            .help("rule: only a program that ends with its command has the command's exit code");
        return None;
    }
    // One that is named but not there was reported.
    let parser = match parser {
        None => None,
        Some(found) => Some(found?),
    };
    let component = format!("input:exec:{owner}");
    let limit = usize::try_from(options.buf_size.0).unwrap_or(LINE_BYTES_MAX).clamp(2, LINE_BYTES_MAX) - 1;
    let decoder = Printed { parser, limit, bad: Bad::new(&component) };
    let input = Running {
        component,
        tag: context.tag.into(),
        command: command.0,
        interval: interval(options.interval_sec.0, options.interval_nsec.0),
        once: options.oneshot.0 || options.exit_after_oneshot.0,
        ends: options.exit_after_oneshot.0,
        propagates: options.propagate_exit_code.0,
    };
    Some(Configured {
        input: Box::new(input),
        decoder: Arc::new(decoder),
        tags: vec![context.tag.to_owned()],
        notes: vec![super::net::lost_note(owner)],
    })
}

/// The configured input.
struct Running {
    component: String,
    tag: Arc<str>,
    command: String,
    interval: Duration,
    once: bool,
    ends: bool,
    propagates: bool,
}

impl Input for Running {
    fn run(self: Box<Self>, engine: InputContext) {
        let source = engine.open(SourceInfo {
            tag: self.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: None,
        });
        let (mut ticks, mut at) = (Ticks::new(self.interval), 0);
        if self.once {
            let status = self.once(&engine, &source, &mut at);
            if self.ends && !engine.stopping() {
                log!(Info, self.component, "one-shot command exited, terminating");
                engine.end(if self.propagates { status.map_or(CODE_UNKNOWN, code) } else { 0 });
            }
            while !engine.stopping() {
                sleep(&engine, None);
            }
        } else {
            while ticks.wait(&engine) {
                self.once(&engine, &source, &mut at);
            }
        }
        engine.quiet();
    }
}

/// The exit code that a shell would give for it.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|n| 128 + n)).unwrap_or(CODE_UNKNOWN)
}

impl Running {
    /// Runs the command to its end, or to that of the program.
    fn once(&self, engine: &InputContext, source: &Source, at: &mut u64) -> Option<ExitStatus> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.command).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                engine.metrics().read_errors.fetch_add(1, Relaxed);
                log!(Error, self.component, "cannot run `{}`: {error}", self.command);
                return None;
            }
        };
        if !self.read(&mut child, engine, source, at) {
            terminate(&child);
        }
        let status = child.wait().ok();
        log!(Debug, self.component, "`{}` ended: {status:?}", self.command);
        status
    }

    /// Reads what it prints; false when the program stops first.
    fn read(&self, child: &mut Child, engine: &InputContext, source: &Source, at: &mut u64) -> bool {
        let Some(output) = child.stdout.take() else { return true };
        let mut separated = Separated::new(b"\n", LINE_BYTES_MAX);
        let mut carried = Vec::new();
        loop {
            if !ready(&output, engine) {
                return false;
            }
            let want = carried.len() + READ_BYTES;
            if !admit(engine, want) {
                return false;
            }
            let mut buffer = Vec::with_capacity(want);
            buffer.append(&mut carried);
            let start = buffer.len();
            buffer.resize(want, 0);
            let got = rustix::io::read(&output, &mut buffer[start..]).unwrap_or(0);
            buffer.truncate(start + got);
            if got == 0 && !buffer.is_empty() {
                // The last line needs no newline.
                buffer.push(b'\n');
            }
            let end = separated.tidy(&mut buffer).whole;
            carried = buffer.split_off(end);
            buffer.shrink_to_fit();
            if buffer.capacity() > want {
                engine.take(buffer.capacity() - want);
            } else {
                engine.release(want - buffer.capacity());
            }
            if end > 0 {
                let position = Position { file: 0, offset: *at };
                *at += end as u64;
                let block = Block { buffer, start: 0, end, position };
                engine.submit(source, block, Position { file: 0, offset: *at });
            } else {
                engine.release(buffer.capacity());
            }
            if got == 0 {
                return true;
            }
        }
    }
}

/// Asks the command, and all that it started, to end.
fn terminate(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::TERM);
    }
}

/// Lines to records.
struct Printed {
    parser: Option<Arc<Parser>>,
    /// A line that is longer becomes several.
    limit: usize,
    bad: Bad,
}

impl Decoder for Printed {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        for line in codecs::lines::Lines::new(block) {
            if line.is_empty() {
                self.line(line, job);
            }
            line.chunks(self.limit).for_each(|piece| self.line(piece, job));
        }
    }
}

impl Printed {
    fn line<'j>(&'j self, line: &'j [u8], job: &mut JobRun<'j>) {
        let mut record = job.record();
        match &self.parser {
            None => record.fields.push(Field::new(Key::plain(b"exec"), Value::text(line))),
            Some(parser) => match parser.parse(line, job.now, job.arena(), job.parsing, &mut record.fields) {
                Parsed::Yes { time } => record.time = time.unwrap_or(job.now),
                Parsed::No => return self.bad.count(job, "parser returned an error; the line is dropped"),
            },
        }
        job.emit(record);
    }
}
