//! Input dummy: the same record again and again, for tests and first steps.
//!
//! Owns: when records are made and their times. Never: makes more than `Samples`.

use super::stdin::emit;
use super::{Configured, Context, Input, InputContext, Plugin};
use crate::decode::Decoder;
use crate::job::{Block, Position, SourceInfo};
use crate::shards::{JobRun, now};
use codecs::Bump;
use codecs::conf::values::{Bool, Int, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::json::{self, expand, parse_prefix};
use codecs::record::{Timestamp, Value};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is made when `Dummy` is not JSON.
const DEFAULT_BODY: &str = r#"{"message":"dummy"}"#;
/// Records of one block.
const RECORDS_MAX: u64 = 10_000;

codecs::options! {
    /// Makes the same record again and again.
    pub struct Options {
        /// How many times; 0 for ever.
        samples "Samples": One<Int> = "0",
        /// The record, a JSON object.
        dummy "Dummy": One<Text> = "{\"message\":\"dummy\"}",
        /// Metadata of the record, a JSON object.
        metadata "Metadata": One<Text> = "{}" => NoEffect("records carry no metadata"),
        /// Records per second.
        rate "Rate": One<Int> = "1",
        /// Seconds between two records; wins over `Rate`.
        interval_sec "Interval_Sec": One<Int> = "0",
        /// Nanoseconds between two records, besides `Interval_Sec`.
        interval_nsec "Interval_NSec": One<Int> = "0",
        /// Records made at once.
        copies "Copies": One<Int> = "1",
        /// Time of the first record, seconds since the epoch; -1 for now.
        start_time_sec "Start_Time_Sec": One<Int> = "-1",
        /// Time of the first record, nanoseconds.
        start_time_nsec "Start_Time_NSec": One<Int> = "-1",
        /// All records have the time of the first.
        fixed_timestamp "Fixed_Timestamp": One<Bool> = "off",
        /// Makes the first record at once instead of after the first interval.
        flush_on_startup "Flush_On_Startup": One<Bool> = "false",
        /// For Fluent Bit's own tests.
        test_hang_on_exit "Test_Hang_On_Exit": One<Bool> = "false" => NoEffect("it exists for Fluent Bit's own tests"),
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "dummy", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let options = Options::read(section, context.name, diagnostics);
    let mut body = options.dummy.0.clone();
    if !is_json(body.as_bytes()) {
        let span = section.get("Dummy").map_or(&section.span, |e| &e.value_span);
        diagnostics.warning(span, format!("{}: `dummy` is not JSON, `{DEFAULT_BODY}` is used", context.name));
        body = DEFAULT_BODY.to_owned();
    }
    let input = Generator {
        tag: context.tag.into(),
        interval: interval(&options),
        samples: u64::try_from(options.samples.0).unwrap_or(0),
        copies: u64::try_from(options.copies.0).unwrap_or(0),
        start: start(&options),
        fixed: options.fixed_timestamp.0,
        at_once: options.flush_on_startup.0,
    };
    Some(Configured {
        input: Box::new(input),
        decoder: Arc::new(Body { text: body.into_bytes() }),
        tags: vec![context.tag.to_owned()],
        notes: Vec::new(),
    })
}

/// True when the text is JSON values and nothing else.
fn is_json(mut text: &[u8]) -> bool {
    let (arena, mut scratch, mut count) = (Bump::new(), json::Scratch::default(), 0);
    loop {
        text = text.trim_ascii_start();
        if text.is_empty() {
            return count > 0;
        }
        match parse_prefix(text, &arena, &mut scratch) {
            Ok(Some((_, used))) => (text, count) = (&text[used..], count + 1),
            _ => return false,
        }
    }
}

fn interval(options: &Options) -> Duration {
    let (secs, nanos) = match (u64::try_from(options.interval_sec.0), u64::try_from(options.interval_nsec.0))
    {
        (Ok(secs), Ok(nanos)) => (secs, nanos),
        // A negative one counts as not set.
        _ => (0, 0),
    };
    match (secs, nanos) {
        (0, 0) if options.rate.0 > 1 => {
            Duration::from_nanos((1_000_000_000 / options.rate.0.unsigned_abs()).max(1))
        }
        (0, 0) => Duration::from_secs(1),
        (secs, nanos) => Duration::from_secs(secs) + Duration::from_nanos(nanos),
    }
}

fn start(options: &Options) -> Option<Timestamp> {
    let (secs, nanos) = (options.start_time_sec.0, options.start_time_nsec.0);
    (secs >= 0 || nanos >= 0).then(|| Timestamp {
        secs: secs.max(0),
        nanos: u32::try_from(nanos.clamp(0, 999_999_999)).unwrap_or(0),
    })
}

/// The configured input.
struct Generator {
    tag: Arc<str>,
    interval: Duration,
    samples: u64,
    copies: u64,
    start: Option<Timestamp>,
    fixed: bool,
    at_once: bool,
}

impl Input for Generator {
    fn run(self: Box<Self>, engine: InputContext) {
        let source = engine.open(SourceInfo {
            tag: self.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: None,
        });
        let (begun, first) = (Instant::now(), now());
        let mut next = if self.at_once { begun } else { begun + self.interval };
        let (mut made, mut at) = (0, 0);
        while !engine.stopping() {
            if self.samples > 0 && made >= self.samples {
                wait(&engine, None);
                continue;
            }
            let time = Instant::now();
            if time < next {
                wait(&engine, Some(next - time));
                continue;
            }
            let due = 1 + ((time - next).as_nanos() / self.interval.as_nanos().max(1)) as u64;
            let left = if self.samples > 0 { self.samples - made } else { u64::MAX };
            let count = due.min(left).min((RECORDS_MAX / self.copies.max(1)).max(1));
            let lines = self.lines(count, self.time(first, begun.elapsed()));
            if !engine.admit(lines.len()) {
                wait(&engine, None);
                continue;
            }
            made += count;
            // What could not be made in time is not made up for.
            next = (next + self.interval * u32::try_from(count).unwrap_or(u32::MAX))
                .max(time.checked_sub(Duration::from_secs(1)).unwrap_or(time));
            engine.settle(lines.len(), lines.capacity());
            let (end, position) = (lines.len(), Position { file: 0, offset: at });
            at += end as u64;
            engine.submit(
                &source,
                Block { buffer: lines, start: 0, end, position },
                Position { file: 0, offset: at },
            );
        }
        engine.quiet();
    }
}

impl Generator {
    /// The time of records that are made `after` the start.
    fn time(&self, first: Timestamp, after: Duration) -> Timestamp {
        let base = self.start.unwrap_or(first);
        if self.fixed {
            return base;
        }
        let nanos = u64::from(base.nanos) + u64::from(after.subsec_nanos());
        Timestamp {
            secs: base.secs + after.as_secs() as i64 + (nanos / 1_000_000_000) as i64,
            nanos: (nanos % 1_000_000_000) as u32,
        }
    }

    /// One line a record: its time.
    fn lines(&self, count: u64, time: Timestamp) -> Vec<u8> {
        let line = format!("{} {}\n", time.secs, time.nanos);
        line.repeat(usize::try_from(count * self.copies).unwrap_or(0)).into_bytes()
    }
}

/// Waits for the engine, at most so long.
fn wait(engine: &InputContext, timeout: Option<Duration>) {
    let wake = engine.wake_fd();
    let mut fds = [PollFd::new(&wake, PollFlags::IN)];
    let timeout =
        timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
    if poll(&mut fds, timeout.as_ref()).is_ok_and(|n| n > 0) {
        let _ = rustix::io::read(wake, &mut [0; 8]);
    }
}

thread_local! {
    static SCRATCH: RefCell<json::Scratch> = RefCell::default();
}

/// Makes the record.
struct Body {
    text: Vec<u8>,
}

impl Decoder for Body {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        for line in codecs::lines::Lines::new(block) {
            let mut numbers = std::str::from_utf8(line).unwrap_or_default().split(' ');
            let mut number = || numbers.next().and_then(|n| n.parse::<i64>().ok()).unwrap_or(0);
            job.now = Timestamp { secs: number(), nanos: number() as u32 };
            let mut text = self.text.trim_ascii();
            while let Ok(Some((value, used))) =
                SCRATCH.with_borrow_mut(|scratch| parse_prefix(text, job.arena(), scratch))
            {
                if matches!(expand(value, job.arena()), Value::Map(_)) {
                    emit(value, job);
                }
                text = text[used..].trim_ascii_start();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(start: Option<Timestamp>, fixed: bool) -> Generator {
        Generator {
            tag: "d".into(),
            interval: Duration::from_secs(1),
            samples: 0,
            copies: 2,
            start,
            fixed,
            at_once: false,
        }
    }

    #[test]
    fn times_start_where_they_are_told_to() {
        let (first, start) = (Timestamp { secs: 5, nanos: 900_000_000 }, Timestamp { secs: 100, nanos: 1 });
        let after = Duration::from_millis(2200);
        assert_eq!(generator(None, false).time(first, after), Timestamp { secs: 8, nanos: 100_000_000 });
        assert_eq!(
            generator(Some(start), false).time(first, after),
            Timestamp { secs: 102, nanos: 200_000_001 }
        );
        assert_eq!(generator(Some(start), true).time(first, after), start);
        assert_eq!(generator(None, true).lines(2, first), b"5 900000000\n".repeat(4));
    }

    #[test]
    fn only_json_is_taken() {
        assert!(is_json(br#" {"a":1} {"b":2} "#));
        assert!(!is_json(b"not json") && !is_json(b"{\"a\":") && !is_json(b""));
    }
}
