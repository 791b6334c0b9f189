//! `syslog`: records as messages of RFC 5424 or RFC 3164, over UDP, TCP or TLS.
//!
//! Owns: the options and delivery; [`message`] has the layout. Never: connects itself (see [`crate::stream`]).
//! Invariants: a datagram holds one message; over a connection each ends with a line feed. What was sent is not sent again
//! by a retry. Nothing tells whether the server read it.

mod message;

use crate::net::{NetOptions, TlsOptions};
use crate::notice::{self, Level};
use crate::segment::{Chunk, Event, Segment};
use crate::stream::{Connections, Dialer, Target};
use crate::{Context, Counter, Output, Plugin, Verdict, upstream};
use codecs::Bump;
use codecs::conf::values::{Bool, Int, Size, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use message::{Header, Keys, Layout};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tokio::net::UdpSocket;
use tokio::sync::Mutex;

codecs::choice! {
    /// How messages travel.
    pub enum Mode {
        /// A datagram each.
        Udp "udp",
        /// Lines over TCP.
        Tcp "tcp",
        /// Lines over TLS.
        Tls "tls",
        /// Encrypted datagrams.
        Dtls "dtls",
    }
}

codecs::choice! {
    /// What a message looks like.
    pub enum Format {
        /// RFC 5424.
        Rfc5424 "rfc5424",
        /// RFC 3164, the older one.
        Rfc3164 "rfc3164",
    }
}

codecs::options! {
    /// Sends records to a syslog server.
    pub struct Options {
        /// Name or address of the server.
        host "host": One<Text> = "127.0.0.1",
        /// Its port.
        port "port": One<Int> = "514",
        /// Use IPv6.
        ipv6 "ipv6": One<Bool> = "off" => NoEffect("both families are tried; `net.dns.prefer_ipv6` sets the order"),
        /// How messages travel; tls switches TLS on.
        mode "mode": One<Mode> = "udp",
        /// What a message looks like.
        format "syslog_format": One<Format> = "rfc5424",
        /// The most bytes of a message, what is beyond them is cut: 2048, or 1024 for rfc3164, where it is not set.
        maxsize "syslog_maxsize": Opt<Size>,
        /// Key whose value is the severity: 0 to 7, or its name.
        severity_key "syslog_severity_key": Opt<Text>,
        /// Severity of records without that key.
        severity_preset "syslog_severity_preset": One<Int> = "6",
        /// Key whose value is the facility: 0 to 23, or its name.
        facility_key "syslog_facility_key": Opt<Text>,
        /// Facility of records without that key.
        facility_preset "syslog_facility_preset": One<Int> = "1",
        /// Key whose value is the host name.
        hostname_key "syslog_hostname_key": Opt<Text>,
        /// Host name of records without that key.
        hostname_preset "syslog_hostname_preset": Opt<Text>,
        /// Key whose value is the name of the application.
        appname_key "syslog_appname_key": Opt<Text>,
        /// Application of records without that key.
        appname_preset "syslog_appname_preset": Opt<Text>,
        /// Key whose value is the process.
        procid_key "syslog_procid_key": Opt<Text>,
        /// Process of records without that key.
        procid_preset "syslog_procid_preset": Opt<Text>,
        /// Key whose value is the kind of message.
        msgid_key "syslog_msgid_key": Opt<Text>,
        /// Kind of message of records without that key.
        msgid_preset "syslog_msgid_preset": Opt<Text>,
        /// Key whose map becomes structured data of its name; may stand more than once.
        sd_key "syslog_sd_key": Many<Text>,
        /// Key whose value is the message itself; one that begins with `<` is sent as it is.
        message_key "syslog_message_key": Opt<Text>,
        /// Do not cut names of structured data to 32 characters, which RFC 5424 asks for.
        allow_longer_sd_id "allow_longer_sd_id": One<Bool> = "false",
    }
}

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "syslog",
    about: Options::ABOUT,
    tables: &[Options::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure,
};

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let options = Options::read(section, context.name, diagnostics);
    let net = NetOptions::read(section, context.name, diagnostics);
    let mut tls = TlsOptions::read(section, context.name, diagnostics);
    let checked = check(&options, &tls).map_err(|(key, message)| {
        let span = section.get(key).map_or(&section.span, |entry| &entry.value_span);
        diagnostics.error(span, format!("{}: {message}", context.name));
    });
    tls.tls.0 |= options.mode == Mode::Tls;
    let (host, port) = (&options.host.0, options.port.0);
    let endpoint = upstream::endpoint(section, context.name, host, port, &tls, &net, diagnostics);
    let ((), endpoint) = (checked.ok()?, endpoint?);
    let made = match options.mode {
        Mode::Udp => Dialer::new(net).map(|dialer| Line::Datagrams {
            dialer,
            host: host.clone(),
            port: endpoint.port,
            socket: Mutex::new(None),
        }),
        _ => Connections::new(Target::Net(endpoint), net).map(Line::Stream),
    };
    let line = match made {
        Ok(line) => line,
        Err(message) => {
            diagnostics.error(&section.span, format!("{}: {message}", context.name));
            return None;
        }
    };
    Some(Arc::new(Syslog {
        component: format!("output:syslog:{}", context.name),
        layout: layout(options),
        line,
        lanes: context.workers.unwrap_or(1).max(1),
        too_long: AtomicU64::new(0),
        untold: AtomicUsize::new(0),
    }))
}

/// What cannot be, and which option says it.
fn check(options: &Options, tls: &TlsOptions) -> Result<(), (&'static str, String)> {
    let within = |key: &'static str, value: i64, most: i64| match (0..=most).contains(&value) {
        true => Ok(()),
        false => Err((key, format!("`{key}` is {value}, not a number from 0 to {most}"))),
    };
    within("syslog_severity_preset", options.severity_preset.0, 7)?;
    within("syslog_facility_preset", options.facility_preset.0, 23)?;
    match options.mode {
        Mode::Dtls => Err(("mode", "`mode dtls` is not supported; use tls".to_owned())),
        Mode::Udp if tls.tls.0 => Err(("mode", "`mode udp` cannot be encrypted; use tls".to_owned())),
        _ => Ok(()),
    }
}

fn layout(options: Options) -> Layout {
    let rfc3164 = options.format == Format::Rfc3164;
    let bytes = |text: Option<Text>| text.map(|text| text.0.into_bytes());
    let size = options.maxsize.map_or(0, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
    Layout {
        rfc3164,
        size_max: if size > 0 {
            size
        } else if rfc3164 {
            1024
        } else {
            2048
        },
        line_feed: options.mode != Mode::Udp,
        severity: options.severity_preset.0 as u8,
        facility: options.facility_preset.0 as u8,
        keys: Keys {
            severity: bytes(options.severity_key),
            facility: bytes(options.facility_key),
            header: Header {
                hostname: bytes(options.hostname_key),
                appname: bytes(options.appname_key),
                procid: bytes(options.procid_key),
                msgid: bytes(options.msgid_key),
            },
            message: bytes(options.message_key),
        },
        presets: Header {
            hostname: bytes(options.hostname_preset),
            appname: bytes(options.appname_preset),
            procid: bytes(options.procid_preset),
            msgid: bytes(options.msgid_preset),
        },
        sd_keys: options.sd_key.into_iter().map(|key| key.0.into_bytes()).collect(),
        long_names: options.allow_longer_sd_id.0,
    }
}

/// Where messages go.
enum Line {
    Datagrams { dialer: Dialer, host: String, port: u16, socket: Mutex<Option<UdpSocket>> },
    Stream(Connections),
}

/// A configured instance.
struct Syslog {
    component: String,
    layout: Layout,
    line: Line,
    lanes: usize,
    /// Messages that no datagram holds.
    too_long: AtomicU64,
    untold: AtomicUsize,
}

impl Syslog {
    async fn attempt(&self, chunk: &mut Chunk) -> Verdict {
        let Chunk { segments, done, .. } = chunk;
        let records: usize = segments.iter().map(|segment| segment.records as usize).sum();
        done.resize(records.max(done.len()), false);
        let sent = match &self.line {
            Line::Stream(connections) => stream(connections, segments, done).await,
            Line::Datagrams { dialer, host, port, socket } => {
                let mut socket = socket.lock().await;
                let sent = self.datagrams(dialer, host, *port, &mut socket, segments, done).await;
                if sent.is_err() {
                    // The name may lead elsewhere by now.
                    *socket = None;
                }
                sent.map_err(|error| format!("{host}:{port}: {error}"))
            }
        };
        match sent {
            Ok(()) => Verdict::Delivered { dropped: self.untold.swap(0, Relaxed) },
            Err(reason) => Verdict::Retry { after: None, reason },
        }
    }

    async fn datagrams(
        &self,
        dialer: &Dialer,
        host: &str,
        port: u16,
        kept: &mut Option<UdpSocket>,
        segments: &[Segment],
        done: &mut [bool],
    ) -> io::Result<()> {
        let socket = match kept {
            Some(socket) => socket,
            none => none.insert(open(dialer, host, port).await?),
        };
        for (done, bytes) in done.iter_mut().zip(messages(segments)).filter(|(done, _)| !**done) {
            match socket.send(bytes).await {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                    self.too_long.fetch_add(1, Relaxed);
                    self.untold.fetch_add(1, Relaxed);
                    let text = format!(
                        "dropped a message of {} bytes: no datagram holds it; lower `syslog_maxsize`",
                        bytes.len()
                    );
                    notice::tell(Level::Error, &self.component, &text);
                }
                Err(error) => return Err(error),
            }
            *done = true;
        }
        Ok(())
    }
}

/// A socket that sends to the first address of the name.
async fn open(dialer: &Dialer, host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in dialer.addresses(host, port).await? {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(dialer.source().unwrap_or(any), 0)).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Each record's message.
fn messages(segments: &[Segment]) -> impl Iterator<Item = &[u8]> {
    segments.iter().flat_map(|segment| {
        let mut start = 0;
        segment.events.iter().map(move |event| {
            let bytes = segment.bytes.get(start..event.end as usize).unwrap_or_default();
            start = event.end as usize;
            bytes
        })
    })
}

async fn stream(connections: &Connections, segments: &[Segment], done: &mut [bool]) -> Result<(), String> {
    let mut connection = connections.get().await?;
    let mut record = 0;
    for segment in segments {
        let records = record..record + segment.records as usize;
        record = records.end;
        let Some(done) = done.get_mut(records).filter(|done| !done.iter().all(|done| *done)) else {
            continue;
        };
        let sent = connection.send(&[&segment.bytes]).await;
        sent.map_err(|why| format!("{}: {why}", connections.name()))?;
        done.fill(true);
    }
    connections.put(connection);
    Ok(())
}

impl Output for Syslog {
    fn encode(&self, _tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        self.layout.write(&mut segment.bytes, record, arena);
        let end = segment.bytes.len() as u32;
        segment.events.push(Event { end, unescaped: 0, millis: record.time.millis(), key: 0 });
        true
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(self.attempt(chunk))
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn counters(&self) -> Vec<Counter> {
        vec![Counter {
            name: "too_long_messages_total",
            help: "Messages that no datagram holds.",
            labels: Vec::new(),
            value: self.too_long.load(Relaxed),
        }]
    }
}

#[cfg(test)]
mod tests;
