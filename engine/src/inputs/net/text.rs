//! Lines and messages of text, with a parser or without.
//!
//! Owns: how text becomes a record, where the sender's address goes, how bad input is told. Never: reads a socket.

use crate::log;
use crate::shards::JobRun;
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Field, Fields, Text, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bad input: counted; told at rising distances (1st, 2nd, 4th … time), so that a sender cannot fill the log.
#[derive(Debug)]
pub struct Bad {
    component: String,
    count: AtomicU64,
}

impl Bad {
    /// Nothing bad yet. `component` is the input in messages.
    pub fn new(component: &str) -> Bad {
        Bad { component: component.to_owned(), count: AtomicU64::new(0) }
    }

    /// One more, found while decoding.
    pub fn count(&self, job: &mut JobRun<'_>, what: &str) {
        job.count_invalid();
        self.tell(what);
    }

    /// Tells of one more that is counted elsewhere.
    pub fn tell(&self, what: &str) {
        let count = self.count.fetch_add(1, Relaxed) + 1;
        if count == 1 {
            log!(Warn, self.component, "{what}");
        } else if count.is_power_of_two() {
            log!(Warn, self.component, "{what} ({count} times something could not be used)");
        } else {
            log!(Debug, self.component, "{what}");
        }
    }
}

/// Appends the sender's address under its key, where there is one.
pub fn with_address<'j>(fields: &mut Fields<'j>, key: Option<&'j str>, peer: Option<&'j str>) {
    if let (Some(key), Some(peer)) = (key, peer) {
        fields.push(Field::new(Text::new(key.as_bytes()), Value::text(peer.as_bytes())));
    }
}

/// How lines become records: those of the inputs tcp and udp with `Format none`.
pub struct TextLines {
    /// What ends a line.
    pub separator: Vec<u8>,
    /// Parser; a line that it does not take stands under `log`.
    pub parser: Option<Arc<Parser>>,
    /// Where the sender's address goes; without a parser nowhere, as in Fluent Bit.
    pub address_key: Option<String>,
}

impl TextLines {
    /// Emits the lines of a text; the last one needs no separator.
    pub fn lines<'j>(&'j self, text: &'j [u8], peer: Option<&'j str>, job: &mut JobRun<'j>) {
        if let [byte] = self.separator[..] {
            let mut at = 0;
            for end in memchr::memchr_iter(byte, text) {
                self.line(&text[at..end], peer, job);
                at = end + 1;
            }
            return self.line(&text[at..], peer, job);
        }
        let mut at = 0;
        for end in memchr::memmem::find_iter(text, &self.separator) {
            self.line(&text[at..end], peer, job);
            at = end + self.separator.len();
        }
        self.line(&text[at..], peer, job);
    }

    #[inline]
    fn line<'j>(&'j self, line: &'j [u8], peer: Option<&'j str>, job: &mut JobRun<'j>) {
        if line.is_empty() || line == b"\r" {
            return;
        }
        let mut record = job.record();
        if let Some(parser) = &self.parser {
            match parser.parse(line, job.now, job.arena(), job.parsing, &mut record.fields) {
                Parsed::Yes { time } => record.time = time.unwrap_or(job.now),
                Parsed::No => record.fields.push(log_field(line)),
            }
            with_address(&mut record.fields, self.address_key.as_deref(), peer);
        } else {
            record.fields.push(log_field(line));
        }
        job.emit(record);
    }
}

fn log_field(line: &[u8]) -> Field<'_> {
    Field::new(Text::plain(b"log"), Value::text(line))
}
