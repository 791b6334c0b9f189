//! Input docker_events: what Docker's engine tells on its socket of containers, images, networks and volumes.
//!
//! Owns: the request, the head of its answer, when to connect again. Never: cuts an event, or takes two for one.

use super::net::options::idle;
use super::net::text::Bad;
use super::ticks::{Ticks, admit, ready};
use super::{Configured, Context, Input, InputContext, Plugin, Source};
use crate::decode::Decoder;
use crate::job::{Block, Position, SourceInfo};
use crate::log;
use crate::shards::JobRun;
use codecs::conf::OptionSpec;
use codecs::conf::values::{Int, Size, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::framing::Separated;
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Field, Text as Key, Value};
use outputs::net::{NetOptions, TlsOptions};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes to read at once.
const READ_BYTES: usize = 64 * 1024;
/// The longest event.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// In this version an answer is what comes until the connection ends.
const REQUEST: &[u8] = b"GET /events HTTP/1.0\r\n\r\n";

codecs::options! {
    /// Tells what happens to the containers, images, networks and volumes of Docker: each event a record.
    pub struct Options {
        /// Socket of Docker's engine.
        unix_path "unix_path": One<Text> = "/var/run/docker.sock",
        /// Bytes to read at once.
        buffer_size "buffer_size": One<Size> = "8k" => NoEffect("an event is never cut, whatever its length"),
        /// Parser of the events. An event that it does not take is dropped and counted.
        parser "parser": Opt<Text>,
        /// Key under which an event stands where there is no parser.
        key "key": One<Text> = "message",
        /// How often to try to connect again where the socket is gone; 0 never does. Without it, until it is back.
        retry_limits "reconnect.retry_limits": Opt<Int>,
        /// Seconds between two of these attempts.
        retry_interval "reconnect.retry_interval": One<Int> = "1",
        /// Found in old files.
        listen "listen": One<Text> = "0.0.0.0" => NoEffect("the engine's socket is `Unix_Path`"),
        /// Found in old files.
        host "host": One<Text> = "localhost" => NoEffect("the engine's socket is `Unix_Path`"),
        /// Found in old files.
        port "port": One<Int> = "0" => NoEffect("the engine's socket is `Unix_Path`"),
    }
}

/// Why options of networks do nothing.
const WHY: &str = "the engine's socket is a file, not a network's";
static NET: [OptionSpec; NetOptions::TABLE.len()] = idle(NetOptions::TABLE, WHY);
static TLS: [OptionSpec; TlsOptions::TABLE.len()] = idle(TlsOptions::TABLE, WHY);

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "docker_events", about: Options::ABOUT, tables: &[Options::TABLE, &NET, &TLS], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let options = Options::read(section, owner, diagnostics);
    let parser = match &options.parser {
        None => None,
        Some(name) => Some(super::parser_named(&name.0, "parser", section, context, diagnostics)?),
    };
    let component = format!("input:docker_events:{owner}");
    let decoder = Events { parser, key: options.key.0, bad: Bad::new(&component) };
    let input = Following {
        component,
        tag: context.tag.into(),
        path: options.unix_path.0,
        retries: options.retry_limits.map(|n| u64::try_from(n.0).unwrap_or(0)),
        interval: Duration::from_secs(u64::try_from(options.retry_interval.0).unwrap_or(0).clamp(1, 1 << 32)),
    };
    Some(Configured {
        input: Box::new(input),
        decoder: Arc::new(decoder),
        tags: vec![context.tag.to_owned()],
        notes: vec![format!("{owner}: what happens while the program is down is not told")],
    })
}

/// The configured input.
struct Following {
    component: String,
    tag: Arc<str>,
    path: String,
    /// Attempts to connect again, where they are limited.
    retries: Option<u64>,
    interval: Duration,
}

impl Input for Following {
    fn run(self: Box<Self>, engine: InputContext) {
        let source = engine.open(SourceInfo {
            tag: self.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: None,
        });
        match self.connect() {
            Ok(stream) => {
                log!(Info, self.component, "listening for events on {}", self.path);
                self.follow(stream, &engine, &source);
            }
            Err(error) => {
                engine.fail(format!("could not listen on unix://{}: {error}", self.path));
            }
        }
        engine.quiet();
    }
}

impl Following {
    /// Connects and asks.
    fn connect(&self) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.write_all(REQUEST)?;
        Ok(stream)
    }

    /// Reads events from one connection after the other.
    fn follow(&self, stream: UnixStream, engine: &InputContext, source: &Source) {
        let (mut stream, mut at) = (stream, 0);
        loop {
            let began = Instant::now();
            let Some(why) = self.read(&stream, engine, source, &mut at) else { break };
            log!(Info, self.component, "{why}; connecting again");
            // An engine that refuses at once is not asked all the time.
            if began.elapsed() < self.interval && !Ticks::new(self.interval).wait(engine) {
                break;
            }
            match self.reconnect(engine) {
                Some(again) => stream = again,
                None => break,
            }
        }
        // Another input may go on; this one has nothing more to do.
        while !engine.stopping() {
            super::ticks::sleep(engine, None);
        }
    }

    /// Connects again; `None` when the program stops first, or when it was tried often enough.
    fn reconnect(&self, engine: &InputContext) -> Option<UnixStream> {
        let mut ticks = Ticks::new(self.interval);
        if self.retries == Some(0) {
            log!(Error, self.component, "`reconnect.retry_limits` is 0: no more events are read");
            return None;
        }
        let mut attempt = 0;
        loop {
            match self.connect() {
                Ok(stream) => {
                    log!(Info, self.component, "reconnect successful");
                    return Some(stream);
                }
                Err(error) if self.retries.is_some_and(|limit| attempt >= limit) => {
                    log!(
                        Error,
                        self.component,
                        "failed to connect to {} after {attempt} retries ({error}): giving up, no more events are read",
                        self.path
                    );
                    return None;
                }
                // Told at rising distances.
                Err(error) if attempt == 0 || u64::is_power_of_two(attempt) => {
                    log!(Warn, self.component, "{} cannot be reached: {error}; trying on", self.path);
                }
                Err(_) => {}
            }
            attempt += 1;
            if !ticks.wait(engine) {
                return None;
            }
        }
    }

    /// Reads events to the end of the connection, and tells what ended it; `None` when the program stops.
    fn read(
        &self,
        stream: &UnixStream,
        engine: &InputContext,
        source: &Source,
        at: &mut u64,
    ) -> Option<String> {
        let mut separated = Separated::new(b"\n", EVENT_BYTES_MAX);
        let (mut carried, mut head) = (Vec::new(), Some(()));
        loop {
            if !ready(stream, engine) {
                return None;
            }
            let want = carried.len() + READ_BYTES;
            if !admit(engine, want) {
                return None;
            }
            let mut buffer = Vec::with_capacity(want);
            buffer.append(&mut carried);
            let start = buffer.len();
            buffer.resize(want, 0);
            let got = rustix::io::read(stream, &mut buffer[start..]);
            buffer.truncate(start + got.unwrap_or(0));
            let over = match got {
                Ok(0) => Some("EOF detected".to_owned()),
                Ok(_) => None,
                Err(error) => Some(format!("read failed: {error}")),
            };
            if head.is_some() {
                match headless(&mut buffer) {
                    Ok(true) => head = None,
                    Ok(false) => {}
                    Err(why) => {
                        engine.release(want);
                        return Some(why);
                    }
                }
            }
            if over.is_some() && head.is_none() && !buffer.is_empty() {
                buffer.push(b'\n');
            }
            let end = if head.is_none() { separated.tidy(&mut buffer).whole } else { 0 };
            carried = buffer.split_off(end);
            buffer.shrink_to_fit();
            engine.settle(want, buffer.capacity());
            if end > 0 {
                let position = Position { file: 0, offset: *at };
                *at += end as u64;
                let block = Block { buffer, start: 0, end, position };
                engine.submit(source, block, Position { file: 0, offset: *at });
            } else {
                engine.release(buffer.capacity());
            }
            if over.is_some() {
                return over;
            }
        }
    }
}

/// Takes the head of the answer away; false while it is not whole. The error says why there is nothing to follow.
fn headless(buffer: &mut Vec<u8>) -> Result<bool, String> {
    let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") else {
        return match buffer.len() > HEAD_BYTES_MAX {
            true => Err("the answer has no end of its head".to_owned()),
            false => Ok(false),
        };
    };
    let line = buffer[..at].split(|&b| b == b'\r').next().unwrap_or_default();
    let status = line.split(|&b| b == b' ').nth(1).unwrap_or_default();
    if !line.starts_with(b"HTTP/1.") || status != b"200" {
        return Err(format!("the engine answers `{}`", String::from_utf8_lossy(line)));
    }
    buffer.drain(..at + 4);
    Ok(true)
}

/// Lines to records.
struct Events {
    parser: Option<Arc<Parser>>,
    key: String,
    bad: Bad,
}

impl Decoder for Events {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        for line in block.split_inclusive(|&b| b == b'\n') {
            let mut record = job.record();
            match &self.parser {
                // The line feed belongs to it, as in Fluent Bit.
                None => record.fields.push(Field::new(Key::new(self.key.as_bytes()), Value::text(line))),
                Some(parser) => {
                    let line = line.strip_suffix(b"\n").unwrap_or(line);
                    match parser.parse(line, job.now, job.arena(), job.parsing, &mut record.fields) {
                        Parsed::Yes { time } => record.time = time.unwrap_or(job.now),
                        Parsed::No => {
                            self.bad.count(job, "parser returned an error; the event is dropped");
                            continue;
                        }
                    }
                }
            }
            job.emit(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_away_once_it_is_whole() {
        let answer = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\n";
        let end = answer.len() - 8;
        for cut in 0..=answer.len() {
            let mut buffer = answer[..cut].to_vec();
            assert_eq!(headless(&mut buffer), Ok(cut >= end), "{cut} bytes");
            assert_eq!(buffer, if cut < end { &answer[..cut] } else { &answer[end..cut] });
        }
        for wrong in ["HTTP/1.1 404 Not Found\r\n\r\n", "200 200\r\n\r\n", "\r\n\r\n"] {
            assert!(headless(&mut wrong.as_bytes().to_vec()).is_err(), "{wrong}");
        }
        assert!(headless(&mut vec![b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
