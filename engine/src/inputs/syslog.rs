//! Input syslog: messages over TCP, UDP or a unix socket, each for a parser.
//!
//! Owns: the options of syslog, framing by newlines and by octet counts. Never: makes a record of what the parser does
//! not take: it is dropped and counted.

use super::net::inbox::{Came, Inbox};
use super::net::options::{KeepaliveOptions, ListenOptions, NetOptions, Permissions, TlsOptions};
use super::net::serve::{Serving, Task};
use super::net::text::{Bad, with_address};
use super::net::{Address, Gate, Stream, datagram, tls};
use super::tcp::Connection;
use super::udp::Receiving;
use super::{Configured, Context, Input, InputContext, Plugin};
use crate::decode::Decoder;
use crate::job::{Position, SourceInfo};
use crate::log;
use crate::shards::JobRun;
use codecs::conf::values::{Size, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::framing::{Counted, NoLength, Separated, counted};
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Field, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The port where none is set.
const PORT: u16 = 5140;
/// Permissions of a unix socket where none are set.
const PERMISSIONS: u32 = 0o644;

codecs::choice! {
    /// What it listens on.
    pub enum Mode { UnixTcp "unix_tcp", UnixUdp "unix_udp", Tcp "tcp", Udp "udp" }
}

codecs::choice! {
    /// Where a message of a stream ends.
    pub enum Framing { Newline "newline", Octets "octet_counting" | "octet" }
}

codecs::options! {
    /// Listens for syslog messages.
    pub struct Options {
        /// What it listens on: a unix socket of either kind, TCP or UDP.
        mode "mode": One<Mode> = "unix_udp",
        /// The unix socket.
        path "path": Opt<Text>,
        /// Its permissions; without it, 0644.
        unix_perm "unix_perm": Opt<Permissions>,
        /// The buffer of a connection grows by so much.
        buffer_chunk_size "buffer_chunk_size": One<Size> = "32768",
        /// The longest message; without it, as `Buffer_Chunk_Size`.
        buffer_max_size "buffer_max_size": Opt<Size>,
        /// Parser of the messages; without it, syslog-rfc5424 over TCP and UDP, syslog-rfc3164-local over a unix socket.
        parser "parser": Opt<Text>,
        /// The kernel's receive buffer.
        receive_buffer_size "receive_buffer_size": Opt<Size>,
        /// Key under which the message stands as it came.
        raw_message_key "raw_message_key": Opt<Text>,
        /// Key under which each record gets the address of its sender.
        source_address_key "source_address_key": Opt<Text>,
        /// Where a message of a stream ends: at a newline, or after as many bytes as stand before it (RFC 6587).
        format "format": One<Framing> = "newline",
    }
}

impl Options {
    /// The longest message: the buffer grows by whole chunks, and its last byte is not used.
    fn limit(&self) -> usize {
        let bytes = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        let chunk = bytes(self.buffer_chunk_size).max(2);
        let most = self.buffer_max_size.map(bytes).filter(|&n| n > 0).unwrap_or(chunk);
        chunk.max(most / chunk * chunk) - 1
    }

    fn address(&self, section: &Section, owner: &str, diagnostics: &mut Diagnostics) -> Option<Address> {
        if matches!(self.mode, Mode::Tcp | Mode::Udp) {
            let listen = ListenOptions::read(section, owner, diagnostics);
            return Address::net(&listen, PORT, section, owner, diagnostics);
        }
        let Some(path) = &self.path else {
            diagnostics
                .error(&section.span, format!("{owner}: `path` is missing"))
                .help("rule: the modes unix_udp (the default) and unix_tcp need the path of a socket");
            return None;
        };
        let permissions = Some(self.unix_perm.map_or(PERMISSIONS, |p| p.0));
        Some(Address::Unix { path: path.0.clone().into(), permissions })
    }

    fn parser(
        &self,
        section: &Section,
        context: &Context<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<Parser>> {
        let default = match self.mode {
            Mode::Tcp | Mode::Udp => "syslog-rfc5424",
            Mode::UnixTcp | Mode::UnixUdp => "syslog-rfc3164-local",
        };
        let name = self.parser.as_ref().map_or(default, |p| p.0.as_str());
        super::parser_named(name, "parser", section, context, diagnostics)
    }
}

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "syslog",
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
    let component = format!("input:syslog:{owner}");
    let options = Options::read(section, owner, diagnostics);
    let net = NetOptions::read(section, owner, diagnostics);
    let tls_options = TlsOptions::read(section, owner, diagnostics);
    let parser = options.parser(section, context, diagnostics);
    let address = options.address(section, owner, diagnostics);
    let tls = tls::server(&tls_options, &[], section, owner, diagnostics);
    let (parser, address, tls) = (parser?, address?, tls?);
    let datagrams = matches!(options.mode, Mode::Udp | Mode::UnixUdp);
    let (limit, names, idle) = (options.limit(), options.source_address_key.is_some(), net.idle());
    let receive_bytes = options.receive_buffer_size.map(|s| s.0 as usize).filter(|&n| n > 0);
    let tag: Arc<str> = context.tag.into();
    let input: Box<dyn Input> = match datagrams {
        true => Box::new(Receiving {
            component: component.clone(),
            address,
            net,
            tag,
            limit,
            names,
            receive_bytes,
        }),
        false => Box::new(Listening {
            serving: Serving {
                component: component.clone(),
                address,
                net,
                tls,
                receive_bytes,
                connections_max: 0,
            },
            tag,
            framing: options.format,
            limit,
            idle,
            names,
        }),
    };
    let layout = match (datagrams, options.format) {
        (true, _) => Layout::Datagrams,
        (false, Framing::Newline) => Layout::Lines,
        (false, Framing::Octets) => Layout::Counted,
    };
    let decoder = Messages {
        layout,
        parser,
        raw_key: options.raw_message_key.map(|k| k.0),
        address_key: options.source_address_key.map(|k| k.0),
        bad: Bad::new(&component),
    };
    Some(Configured {
        input,
        decoder: Arc::new(decoder),
        tags: vec![context.tag.to_owned()],
        notes: vec![super::net::lost_note(owner)],
    })
}

/// The configured input, for streams.
struct Listening {
    serving: Serving,
    tag: Arc<str>,
    framing: Framing,
    limit: usize,
    idle: Option<Duration>,
    names: bool,
}

impl Input for Listening {
    fn run(self: Box<Self>, engine: InputContext) {
        let Listening { serving, tag, framing, limit, idle, names } = *self;
        let component: Arc<str> = serving.component.as_str().into();
        serving.run(&engine, move |gate, stream, peer| -> Task {
            let separated = (framing == Framing::Newline).then(|| Separated::either(b'\n', 0, limit - 1));
            let connection = Connection {
                gate: gate.clone(),
                component: component.clone(),
                separated,
                idle,
                info: SourceInfo {
                    tag: tag.clone(),
                    path: names.then_some(peer),
                    charset: Default::default(),
                    cursor: None,
                },
            };
            match framing {
                Framing::Newline => Box::pin(connection.run(stream)),
                Framing::Octets => Box::pin(counted_messages(connection, stream, limit)),
            }
        });
    }
}

/// A connection whose messages have their lengths before them.
async fn counted_messages(connection: Connection, mut stream: Stream, limit: usize) {
    let Connection { gate, component, idle, info, .. } = connection;
    let busy = gate.busy();
    let source = gate.engine().open(info);
    let mut inbox = Inbox::new(gate.clone());
    // Bytes of a message that is too long, still to be dropped.
    let mut dropping = 0;
    while let Ok(Came::Bytes) = inbox.read(&mut stream, 0, Some(&source), idle).await {
        let dropped = dropping.min(inbox.bytes.len());
        inbox.drop_front(dropped);
        dropping -= dropped;
        if dropping > 0 {
            continue;
        }
        match hand_over(&gate, &mut inbox, &source, limit) {
            Ok(rest) => dropping = rest,
            Err(NoLength) => {
                gate.engine().metrics().invalid.fetch_add(1, Relaxed);
                log!(
                    Warn,
                    component,
                    "invalid octet-counting length; the connection is closed, as where its next message begins is not known"
                );
                break;
            }
        }
        tokio::task::yield_now().await;
    }
    gate.engine().close(&source);
    drop(busy);
    stream.close().await;
}

/// Hands over the whole messages; gives how many bytes of one that is too long are still to come.
fn hand_over(
    gate: &Gate,
    inbox: &mut Inbox,
    source: &super::Source,
    limit: usize,
) -> Result<usize, NoLength> {
    loop {
        let (mut at, mut long, mut wrong) = (0, None, false);
        loop {
            match counted(&inbox.bytes[at..]) {
                Ok(Some(Counted { start, len })) if len > limit => {
                    long = Some(start + len);
                    break;
                }
                Ok(Some(Counted { start, len })) if inbox.bytes.len() - at >= start + len => {
                    at += start + len
                }
                Ok(_) => break,
                Err(NoLength) => {
                    wrong = true;
                    break;
                }
            }
        }
        if at > 0 {
            inbox.submit(source, at);
        }
        if wrong {
            return Err(NoLength);
        }
        let Some(long) = long else { return Ok(0) };
        gate.engine().metrics().invalid.fetch_add(1, Relaxed);
        let here = long.min(inbox.bytes.len());
        inbox.drop_front(here);
        if here < long {
            return Ok(long - here);
        }
    }
}

/// How messages stand in a block.
enum Layout {
    Lines,
    Counted,
    Datagrams,
}

/// Blocks to records.
struct Messages {
    layout: Layout,
    parser: Arc<Parser>,
    raw_key: Option<String>,
    address_key: Option<String>,
    bad: Bad,
}

impl Messages {
    #[inline]
    fn message<'j>(&'j self, text: &'j [u8], peer: Option<&'j str>, job: &mut JobRun<'j>) {
        if text.is_empty() {
            return;
        }
        let mut record = job.record();
        match self.parser.parse(text, job.now, job.arena(), job.parsing, &mut record.fields) {
            Parsed::Yes { time } => record.time = time.unwrap_or(job.now),
            Parsed::No => {
                return self
                    .bad
                    .count(job, &format!("error parsing log message with parser '{}'", self.parser.name()));
            }
        }
        if let Some(key) = &self.raw_key {
            record.fields.push(Field::new(codecs::record::Text::new(key.as_bytes()), Value::text(text)));
        }
        with_address(&mut record.fields, self.address_key.as_deref(), peer);
        job.emit(record);
    }
}

impl Decoder for Messages {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, source: &'j SourceInfo, job: &mut JobRun<'j>) {
        let peer = source.path.as_deref();
        match self.layout {
            Layout::Datagrams => datagram::each(block).for_each(|(text, peer)| self.message(text, peer, job)),
            Layout::Lines => {
                let mut at = 0;
                for end in memchr::memchr2_iter(b'\n', 0, block) {
                    self.message(&block[at..end], peer, job);
                    at = end + 1;
                }
                self.message(&block[at..], peer, job);
            }
            Layout::Counted => {
                let mut rest = block;
                while let Ok(Some(Counted { start, len })) = counted(rest) {
                    let Some(text) = rest.get(start..start + len) else { return };
                    self.message(text, peer, job);
                    rest = &rest[start + len..];
                }
            }
        }
    }

    fn lines(&self) -> bool {
        matches!(self.layout, Layout::Lines)
    }
}
