//! Input random: a number that nobody knows, every second.
//!
//! Owns: its beat. Never: makes more than `Samples`.

use super::ticks::{Ticks, admit, interval, sleep};
use super::{Configured, Context, Input, InputContext, Plugin};
use crate::decode::Decoder;
use crate::job::{Block, Position, SourceInfo};
use crate::shards::JobRun;
use codecs::conf::values::Int;
use codecs::conf::{Diagnostics, Section};
use codecs::record::{Field, Text, Value};
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use std::time::Duration;

codecs::options! {
    /// Makes random numbers.
    pub struct Options {
        /// How many; -1 for ever.
        samples "samples": One<Int> = "-1",
        /// Seconds between two numbers.
        interval_sec "interval_sec": One<Int> = "1",
        /// Nanoseconds between two numbers, besides `Interval_Sec`.
        interval_nsec "interval_nsec": One<Int> = "0",
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "random", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let options = Options::read(section, context.name, diagnostics);
    let input = Numbers {
        tag: context.tag.into(),
        // Below zero means without end.
        left: u64::try_from(options.samples.0).ok(),
        interval: interval(options.interval_sec.0, options.interval_nsec.0),
    };
    Some(Configured {
        input: Box::new(input),
        decoder: Arc::new(Number),
        tags: vec![context.tag.to_owned()],
        notes: Vec::new(),
    })
}

/// The configured input.
struct Numbers {
    tag: Arc<str>,
    left: Option<u64>,
    interval: Duration,
}

impl Input for Numbers {
    fn run(mut self: Box<Self>, engine: InputContext) {
        let source = engine.open(SourceInfo {
            tag: self.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: None,
        });
        let random = SystemRandom::new();
        let (mut ticks, mut at) = (Ticks::new(self.interval), 0);
        while self.left != Some(0) && ticks.wait(&engine) {
            let mut number = [0; 8];
            if random.fill(&mut number).is_err() || !admit(&engine, number.len()) {
                break;
            }
            let (buffer, position) = (number.to_vec(), Position { file: 0, offset: at });
            engine.take(buffer.capacity() - number.len());
            at += 8;
            engine.submit(
                &source,
                Block { buffer, start: 0, end: 8, position },
                Position { file: 0, offset: at },
            );
            self.left = self.left.map(|n| n - 1);
        }
        while !engine.stopping() {
            sleep(&engine, None);
        }
        engine.quiet();
    }
}

/// Eight bytes to a record.
struct Number;

impl Decoder for Number {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        for bytes in block.chunks_exact(8) {
            let number = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            let digits = job.arena().alloc_str(&number.to_string());
            let mut record = job.record();
            record.fields.push(Field::new(Text::plain(b"rand_value"), Value::Number(digits.as_bytes())));
            job.emit(record);
        }
    }

    fn lines(&self) -> bool {
        false
    }
}
