//! Input tcp: JSON values, or lines of text, over TCP.
//!
//! Owns: the options of tcp, and what it shares with udp: formats. Never: closes a connection for what it says.

use super::net::inbox::{Came, Inbox};
use super::net::json::JsonValues;
use super::net::options::{KeepaliveOptions, Kibibytes, ListenOptions, NetOptions, TlsOptions};
use super::net::serve::{Serving, Task};
use super::net::text::{Bad, TextLines};
use super::net::{Address, Gate, Stream, tls};
use super::{Configured, Context, Input, InputContext, Plugin};
use crate::decode::Decoder;
use crate::job::{Position, SourceInfo};
use crate::log;
use crate::shards::JobRun;
use codecs::conf::values::{Int, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::framing::Separated;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The port of either input where none is set.
const PORT: u16 = 5170;

codecs::choice! {
    /// What comes over a socket.
    pub enum Format { Json "json", None "none" }
}

codecs::options! {
    /// Listens for JSON values, or for lines of text, over TCP.
    pub struct Options {
        /// What comes: JSON values one behind the other, or text (none).
        format "format": One<Format> = "json",
        /// For text: what ends a line; `\n`, `\t` and the like are understood.
        separator "separator": One<Text> = "\\n",
        /// For text: parser of the lines. A line that it does not take stands under `log`.
        parser "parser": Opt<Text>,
        /// The buffer of a connection grows by so many KiB.
        chunk_size "chunk_size": One<Kibibytes> = "32",
        /// The longest message, in KiB; without it, as `Chunk_Size`.
        buffer_size "buffer_size": Opt<Kibibytes>,
        /// Key under which each record gets the address of its sender.
        source_address_key "source_address_key": Opt<Text>,
        /// Threads that listen.
        workers "workers": One<Int> = "1" => NoEffect("one thread reads the sockets, and all shards make the records"),
    }
}

/// A plugin's options, compiled.
pub(super) struct Compiled {
    pub(super) decoding: Decoding,
    /// The longest message.
    pub(super) limit: usize,
    pub(super) names: bool,
}

/// How what comes becomes records.
pub(super) enum Decoding {
    Json(JsonValues),
    Text(TextLines),
}

impl Options {
    /// Compiles the options that tcp and udp have in common.
    pub(super) fn compile(
        &self,
        section: &Section,
        context: &Context<'_>,
        component: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Compiled> {
        let parser = match &self.parser {
            None => None,
            Some(name) => Some(super::parser_named(&name.0, "parser", section, context, diagnostics)?),
        };
        let span = |key: &str| section.get(key).map_or(&section.span, |e| &e.value_span).clone();
        if parser.is_some() && self.format == Format::Json {
            diagnostics.warning(
                &span("parser"),
                format!(
                    "{}: `parser` requires line-delimited payloads; switching format from 'json' to 'none'",
                    context.name
                ),
            );
        }
        let text = parser.is_some() || self.format == Format::None;
        let address_key = self.source_address_key.as_ref().map(|k| k.0.clone());
        if text && parser.is_none() && address_key.is_some() {
            diagnostics
                .warning(
                    &span("source_address_key"),
                    format!(
                        "{}: `source_address_key` adds nothing to text without a parser, as in Fluent Bit",
                        context.name
                    ),
                )
                .help("set `Parser`, or `Format json`");
        }
        let separator = super::net::unescaped(&self.separator.0);
        if separator.is_empty() {
            diagnostics.error(&span("separator"), format!("{}: `separator` is empty", context.name));
            return None;
        }
        let limit = limit(self.chunk_size.0, self.buffer_size.map(|b| b.0));
        let names = address_key.is_some() && (!text || parser.is_some());
        let decoding = match text {
            true => Decoding::Text(TextLines { separator, parser, address_key }),
            false => Decoding::Json(JsonValues { limit, address_key, bad: Bad::new(component) }),
        };
        Some(Compiled { decoding, limit, names })
    }
}

/// The longest message, its separator included: the buffer grows by whole chunks up to `Buffer_Size`, and its last
/// byte is not used.
fn limit(chunk: usize, buffer: Option<usize>) -> usize {
    let most = buffer.unwrap_or(chunk);
    chunk.max(most / chunk * chunk) - 1
}

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "tcp",
    about: Options::ABOUT,
    tables: &[
        ListenOptions::TABLE,
        Options::TABLE,
        NetOptions::TABLE,
        KeepaliveOptions::TABLE,
        TlsOptions::TABLE,
    ],
    configure,
};

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let component = format!("input:tcp:{owner}");
    let listen = ListenOptions::read(section, owner, diagnostics);
    let options = Options::read(section, owner, diagnostics);
    let net = NetOptions::read(section, owner, diagnostics);
    let tls_options = TlsOptions::read(section, owner, diagnostics);
    let compiled = options.compile(section, context, &component, diagnostics);
    let address = Address::net(&listen, PORT, section, owner, diagnostics);
    let tls = tls::server(&tls_options, &[], section, owner, diagnostics);
    let (compiled, address, tls) = (compiled?, address?, tls?);
    let idle = net.idle();
    let serving = Serving { component, address, net, tls, receive_bytes: None, connections_max: 0 };
    let separated = match &compiled.decoding {
        Decoding::Json(_) => None,
        Decoding::Text(text) => {
            Some(Separated::new(&text.separator, compiled.limit.saturating_sub(text.separator.len())))
        }
    };
    let input = Listening { serving, tag: context.tag.into(), separated, idle, names: compiled.names };
    let decoder: Arc<dyn Decoder> = Arc::new(Messages(compiled.decoding));
    Some(Configured {
        input: Box::new(input),
        decoder,
        tags: vec![context.tag.to_owned()],
        notes: vec![super::net::lost_note(owner)],
    })
}

/// The configured input.
struct Listening {
    serving: Serving,
    tag: Arc<str>,
    /// For text; JSON ends where the decoder finds that it does.
    separated: Option<Separated>,
    idle: Option<Duration>,
    names: bool,
}

impl Input for Listening {
    fn run(self: Box<Self>, engine: InputContext) {
        let Listening { serving, tag, separated, idle, names } = *self;
        let component: Arc<str> = serving.component.as_str().into();
        serving.run(&engine, move |gate, stream, peer| -> Task {
            let connection = Connection {
                gate: gate.clone(),
                component: component.clone(),
                separated: separated.clone(),
                idle,
                info: SourceInfo {
                    tag: tag.clone(),
                    path: names.then_some(peer),
                    charset: Default::default(),
                    cursor: None,
                },
            };
            Box::pin(connection.run(stream))
        });
    }
}

/// A connection of lines, or of JSON values.
pub(super) struct Connection {
    pub(super) gate: Rc<Gate>,
    pub(super) component: Arc<str>,
    pub(super) separated: Option<Separated>,
    pub(super) idle: Option<Duration>,
    pub(super) info: SourceInfo,
}

impl Connection {
    /// Reads until the sender ends, nothing comes, or the program stops.
    pub(super) async fn run(self, mut stream: Stream) {
        let Connection { gate, component, mut separated, idle, info } = self;
        let busy = gate.busy();
        let source = gate.engine().open(info);
        let mut inbox = Inbox::new(gate.clone());
        loop {
            match inbox.read(&mut stream, 0, Some(&source), idle).await {
                Ok(Came::Bytes) => {}
                Ok(Came::End | Came::Stopping | Came::Idle) => break,
                Err(error) => {
                    log!(Debug, component, "connection lost: {error}");
                    break;
                }
            }
            let whole = match &mut separated {
                None => inbox.bytes.len(),
                Some(separated) => {
                    let tidied = separated.tidy(&mut inbox.bytes);
                    if tidied.cut > 0 {
                        gate.engine().metrics().long_lines_truncated.fetch_add(tidied.cut, Relaxed);
                        log!(Warn, component, "{} lines longer than the buffer were cut", tidied.cut);
                    }
                    tidied.whole
                }
            };
            if whole > 0 {
                inbox.submit(&source, whole);
            }
            tokio::task::yield_now().await;
        }
        if !inbox.bytes.is_empty() && !separated.is_some_and(|s| s.skipping()) {
            gate.engine().metrics().invalid.fetch_add(1, Relaxed);
            log!(
                Debug,
                component,
                "a connection ended within a message: {} bytes are dropped",
                inbox.bytes.len()
            );
        }
        gate.engine().close(&source);
        drop(busy);
        stream.close().await;
    }
}

/// Blocks of a connection to records.
pub(super) struct Messages(pub(super) Decoding);

impl Decoder for Messages {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, source: &'j SourceInfo, job: &mut JobRun<'j>) {
        match &self.0 {
            Decoding::Text(text) => text.lines(block, source.path.as_deref(), job),
            Decoding::Json(values) => {
                let Some(state) = job.take_state() else { return };
                values.piece(block, source.path.as_deref(), &mut state.partial, job);
                job.restore(state);
            }
        }
    }

    fn flush<'j>(&'j self, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        if let (Decoding::Json(values), Some(state)) = (&self.0, job.take_state()) {
            values.end(&mut state.partial, job);
            job.restore(state);
        }
    }

    fn lines(&self) -> bool {
        match &self.0 {
            Decoding::Json(_) => true,
            Decoding::Text(text) => text.separator == b"\n",
        }
    }

    fn stateful(&self) -> bool {
        matches!(self.0, Decoding::Json(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_is_fluent_bits() {
        assert_eq!(limit(32 << 10, None), 32_767);
        assert_eq!(limit(32 << 10, Some(64 << 10)), 65_535);
        assert_eq!(limit(32 << 10, Some(40 << 10)), 32_767);
        assert_eq!(limit(64 << 10, Some(32 << 10)), 65_535);
    }
}
