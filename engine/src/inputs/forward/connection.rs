//! A connection of the Forward protocol: frames in, acknowledgements out.
//!
//! Owns: what a connection waits for. Never: makes records; acknowledges what is not accepted.
//! Invariants: messages of a tag are handed over in order; an acknowledgement leaves when all outputs have accepted its
//! records, in whatever order that comes to be.

use super::handshake::{Answer, Challenge, Security};
use super::{SharedOptions, Tagging};
use crate::inputs::net::inbox::{Came, Inbox};
use crate::inputs::net::limits::ACKS_MAX;
use crate::inputs::net::sources::{Accepted, Sources};
use crate::inputs::net::{Gate, Stream};
use crate::log;
use codecs::forward::{Carrier, Compression, Frame, Message, Progress, write_ack, write_helo};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What connections share.
pub(super) struct Shared {
    pub(super) component: String,
    pub(super) options: SharedOptions,
}

/// A PING is not longer than this.
const PING_BYTES_MAX: usize = 4096;

/// An acknowledgement that waits.
struct Waiting {
    accepted: Arc<Accepted>,
    position: u64,
    chunk: Vec<u8>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.accepted.answered();
    }
}

/// A connection.
struct Connection {
    shared: Rc<Shared>,
    gate: Rc<Gate>,
    stream: Stream,
    inbox: Inbox,
    sources: Sources,
    frame: Frame,
    waiting: VecDeque<Waiting>,
    peer: Arc<str>,
}

/// Runs a connection to its end.
pub(super) async fn run(shared: Rc<Shared>, gate: Rc<Gate>, stream: Stream, peer: Arc<str>) {
    let busy = gate.busy();
    let mut connection = Connection {
        inbox: Inbox::new(gate.clone()),
        sources: Sources::new(gate.clone(), None),
        frame: Frame::default(),
        waiting: VecDeque::new(),
        shared,
        gate,
        stream,
        peer,
    };
    let ended = connection.receive().await;
    drop(busy);
    match ended {
        // Half-closed, or the program stops: what waits is still answered.
        Ok(()) => connection.answer_all().await,
        Err(error) => {
            log!(Debug, connection.shared.component, "{}: connection closed: {error}", connection.peer)
        }
    }
}

/// Why a connection is closed by us.
fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl Connection {
    async fn receive(&mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        if let Some(security) = &shared.options.security
            && !self.handshake(security).await?
        {
            return Ok(());
        }
        let changed = self.sources.changed();
        let mut need = 0;
        loop {
            self.answer().await?;
            let came = {
                let source = self.sources.last().cloned();
                let full = self.waiting.len() >= ACKS_MAX;
                tokio::select! {
                    biased;
                    () = changed.notified() => continue,
                    () = self.gate.stopped(), if full => Came::Stopping,
                    came = self.inbox.read(&mut self.stream, need, source.as_ref(), shared.options.idle), if !full => came?,
                }
            };
            match came {
                Came::Bytes => {}
                Came::Idle if !self.waiting.is_empty() => continue,
                Came::End | Came::Stopping | Came::Idle => return self.ended(),
            }
            need = self.messages()?;
            tokio::task::yield_now().await;
        }
    }

    fn ended(&self) -> io::Result<()> {
        if !self.inbox.bytes.is_empty() {
            self.gate.engine().metrics().invalid.fetch_add(1, Relaxed);
            log!(
                Debug,
                self.shared.component,
                "{}: ended within a message: {} bytes are dropped, as their sender knows",
                self.peer,
                self.inbox.bytes.len()
            );
        }
        Ok(())
    }

    /// Greets the sender and checks what it knows; false when it may not go on.
    async fn handshake(&mut self, security: &Security) -> io::Result<bool> {
        let random = ring::rand::SystemRandom::new();
        let mut challenge = Challenge { nonce: [0; 16], auth: [0; 16] };
        for bytes in [&mut challenge.nonce, &mut challenge.auth] {
            ring::rand::SecureRandom::fill(&random, bytes).map_err(|_| io::Error::other("no randomness"))?;
        }
        let mut helo = Vec::new();
        write_helo(&mut helo, &challenge.nonce, &challenge.auth);
        self.stream.write(&helo).await?;
        let len = loop {
            let limit = std::time::Duration::from_secs(10);
            let came = self.inbox.read(&mut self.stream, 0, None, Some(limit)).await?;
            if came != Came::Bytes || self.inbox.bytes.len() > PING_BYTES_MAX {
                return Ok(false);
            }
            let progress = self.frame.advance(&self.inbox.bytes);
            match progress.map_err(|_| refused("handshake error expecting PING"))? {
                Progress::Whole(len) => break len,
                Progress::Needs(_) => {}
            }
        };
        let answer = security.check(&challenge, &self.inbox.bytes[..len]);
        self.inbox.drop_front(len);
        match answer {
            Answer::Welcome(pong) => {
                self.stream.write(&pong).await?;
                return Ok(true);
            }
            Answer::Refused(pong) => {
                log!(Warn, self.shared.component, "{}: user authentication is failed", self.peer);
                self.stream.write(&pong).await?;
            }
            Answer::Silence(why) => log!(Error, self.shared.component, "{}: {why}", self.peer),
        }
        Ok(false)
    }

    /// Hands over the whole messages; gives how many bytes there must be before the next one can be whole.
    fn messages(&mut self) -> io::Result<usize> {
        let limit = self.shared.options.limit;
        // A run of messages with one tag becomes one block.
        let mut run = Run::default();
        loop {
            let from = run.len;
            match self.frame.advance(&self.inbox.bytes[from..]) {
                Ok(Progress::Whole(len)) if len > limit + PING_BYTES_MAX => return Err(self.too_long()),
                Ok(Progress::Whole(len)) => self.message(&mut run, len)?,
                Ok(Progress::Needs(need)) => {
                    self.flush(&mut run);
                    if need > limit + PING_BYTES_MAX {
                        return Err(self.too_long());
                    }
                    return Ok(need);
                }
                Err(_) => {
                    self.flush(&mut run);
                    self.bad("what comes is not MessagePack; the connection is closed");
                    return Err(refused("not MessagePack"));
                }
            }
        }
    }

    fn too_long(&self) -> io::Error {
        let limit = self.shared.options.limit;
        self.bad(&format!(
            "incoming data exceed limit ({limit} bytes, Buffer_Max_Size); the connection is closed"
        ));
        refused("too long")
    }

    fn bad(&self, what: &str) {
        self.gate.engine().metrics().invalid.fetch_add(1, Relaxed);
        log!(Warn, self.shared.component, "{}: {what}", self.peer);
    }

    /// Adds the message behind the run to it, or begins another run.
    fn message(&mut self, run: &mut Run, len: usize) -> io::Result<()> {
        let shared = self.shared.clone();
        let bytes = &self.inbox.bytes[run.len..run.len + len];
        let message = match Message::read(bytes) {
            Ok(message) => message,
            Err(why) => {
                let foreign = !matches!(bytes.first(), Some(0x90..=0x9f | 0xdc | 0xdd));
                self.bad(&format!("a message is dropped: {why}"));
                if foreign {
                    // Another protocol: nothing that follows will be better.
                    self.flush(run);
                    return Err(refused(why));
                }
                self.flush(run);
                self.inbox.drop_front(len);
                return Ok(());
            }
        };
        if claims_more(&message, shared.options.limit) {
            self.flush(run);
            return Err(self.too_long());
        }
        let tag = tag(&shared.options.tag, message.tag);
        let chunk = message.options.chunk.map(<[u8]>::to_vec);
        if run.len > 0 && run.tag != tag {
            self.flush(run);
        }
        if run.len == 0 {
            run.tag = tag;
        }
        run.len += len;
        run.chunks.extend(chunk);
        Ok(())
    }

    /// Hands a run over.
    fn flush(&mut self, run: &mut Run) {
        let Run { tag, len, chunks } = std::mem::take(run);
        if len == 0 {
            return;
        }
        let tagged = self.sources.get(&tag);
        let start = tagged.at;
        tagged.at += len as u64;
        let (source, accepted, position) = (tagged.source.clone(), tagged.accepted.clone(), tagged.at);
        for chunk in chunks {
            accepted.wait();
            self.waiting.push_back(Waiting { accepted: accepted.clone(), position, chunk });
        }
        self.inbox.submit_at(&source, len, start);
    }

    /// Sends the acknowledgements that are due.
    async fn answer(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        self.waiting.retain(|waiting| {
            let due = waiting.accepted.reached(waiting.position);
            if due {
                write_ack(&mut out, &waiting.chunk);
            }
            !due
        });
        if out.is_empty() { Ok(()) } else { self.stream.write(&out).await }
    }

    /// Nothing more is read: answers what waits, as long as the engine delivers.
    async fn answer_all(&mut self) {
        let changed = self.sources.changed();
        while !self.waiting.is_empty() {
            if let Err(error) = self.answer().await {
                log!(Debug, self.shared.component, "{}: cannot acknowledge: {error}", self.peer);
                return;
            }
            if self.waiting.is_empty() || self.gate.engine().drained() && self.gate.stopping() {
                return;
            }
            tokio::select! {
                () = changed.notified() => {}
                () = self.gate.changed() => {}
            }
        }
    }
}

/// True when packed events say of themselves that they become larger than allowed: their sender is then told by a
/// closed connection, and keeps them. (Where they do not say so truly, the decoder finds out and drops them.)
fn claims_more(message: &Message<'_>, limit: usize) -> bool {
    match message.carrier {
        // The last four bytes of gzip are how large it becomes.
        Carrier::Packed(packed @ [0x1f, 0x8b, .., a, b, c, d]) if packed.len() > 18 => {
            u32::from_le_bytes([*a, *b, *c, *d]) as usize > limit
        }
        Carrier::Packed(packed) if message.compression() == Compression::Zstd => {
            let claim = zstd::zstd_safe::get_frame_content_size(packed);
            claim.ok().flatten().is_some_and(|bytes| bytes > limit as u64)
        }
        _ => false,
    }
}

/// Messages of one tag that follow each other.
#[derive(Default)]
struct Run {
    tag: String,
    len: usize,
    chunks: Vec<Vec<u8>>,
}

/// The tag that a message's records get.
fn tag(tagging: &Tagging, own: &[u8]) -> String {
    match tagging {
        Tagging::Fixed(tag) => tag.clone(),
        Tagging::Prefix(prefix) => format!("{prefix}{}", String::from_utf8_lossy(own)),
        Tagging::Own(fallback) if own.is_empty() => fallback.clone(),
        Tagging::Own(_) => String::from_utf8_lossy(own).into_owned(),
    }
}
