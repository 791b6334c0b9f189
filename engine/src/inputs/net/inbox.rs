//! What a connection has read and not handed over.
//!
//! Owns: the buffer, its charge, and when it is given back. Never: looks for the end of a message.
//! Invariant: what it holds is charged to the input's budgets; an idle connection holds no more than it has read.

use super::Gate;
use super::limits::{BLOCK_BYTES, ROOM_BYTES_MIN, SMALL_BYTES};
use super::stream::Stream;
use crate::inputs::Source;
use crate::job::{Block, Position};
use std::rc::Rc;
use std::time::Duration;

/// The unread-on end of a connection.
pub struct Inbox {
    gate: Rc<Gate>,
    /// What was read and not handed over.
    pub bytes: Vec<u8>,
    /// More may come without waiting for the socket.
    more: bool,
    /// Position of `bytes[0]` in all that the connection handed over.
    at: u64,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// There are more bytes.
    Bytes,
    /// The peer has ended.
    End,
    /// The program stops.
    Stopping,
    /// Nothing came for `net.io_timeout`.
    Idle,
}

impl Inbox {
    /// An empty one.
    pub fn new(gate: Rc<Gate>) -> Inbox {
        Inbox { gate, bytes: Vec::new(), more: true, at: 0 }
    }

    /// Reads once, when there is something and memory for it. `need` is how many bytes there must be before they are of
    /// use. `source` is the one they will most likely go to: while its outputs have no room, nothing is read.
    pub async fn read(
        &mut self,
        stream: &mut Stream,
        need: usize,
        source: Option<&Source>,
        idle: Option<Duration>,
    ) -> std::io::Result<Came> {
        loop {
            if !self.more {
                self.shrink();
                let Some(ready) = self.wait(stream, idle).await else {
                    return Ok(if self.gate.stopping() { Came::Stopping } else { Came::Idle });
                };
                ready?;
            }
            if !self.reserve(need, source).await {
                return Ok(Came::Stopping);
            }
            match stream.try_read(&mut self.bytes)? {
                Some(0) => return Ok(Came::End),
                Some(_) => {
                    self.more = true;
                    return Ok(Came::Bytes);
                }
                None => self.more = false,
            }
        }
    }

    /// Waits for the socket; `None` when the program stops or nothing comes.
    async fn wait(&self, stream: &Stream, idle: Option<Duration>) -> Option<std::io::Result<()>> {
        let quiet = async {
            match idle {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.gate.stopped() => None,
            ready = stream.readable() => Some(ready),
            () = quiet => None,
        }
    }

    /// Makes room for a read; false when the program stops first.
    async fn reserve(&mut self, need: usize, source: Option<&Source>) -> bool {
        let room = self.bytes.capacity() - self.bytes.len();
        if room >= ROOM_BYTES_MIN && self.bytes.capacity() >= need {
            // What is in memory already needs no charge, but its outputs may have no room.
            return match source {
                Some(source) if self.gate.engine().blocked(source) => self.gate.admit(0, Some(source)).await,
                _ => !self.gate.stopping(),
            };
        }
        // Doubled, so that a long message is not copied again and again.
        let want = need.max(self.bytes.len() * 2).max(self.bytes.len() + ROOM_BYTES_MIN).max(BLOCK_BYTES);
        if !self.gate.admit(want, source).await {
            return false;
        }
        let engine = self.gate.engine();
        let mut larger = engine.buffer(want);
        if larger.capacity() > want {
            engine.take(larger.capacity() - want);
        }
        larger.extend_from_slice(&self.bytes);
        self.replace(larger);
        true
    }

    /// Holds no more than what was read.
    fn shrink(&mut self) {
        if self.bytes.len() < SMALL_BYTES && self.bytes.capacity() > 2 * self.bytes.len() {
            let small = self.bytes.as_slice().to_vec();
            self.gate.engine().take(small.capacity());
            self.replace(small);
        }
    }

    /// Takes another buffer, which is charged already, and gives the old one back.
    fn replace(&mut self, bytes: Vec<u8>) {
        let old = std::mem::replace(&mut self.bytes, bytes);
        self.gate.engine().release(old.capacity());
        if old.capacity() >= BLOCK_BYTES {
            self.gate.engine().recycle(old);
        }
    }

    /// Hands the first `len` bytes over; gives the position behind them.
    pub fn submit(&mut self, source: &Source, len: usize) -> u64 {
        let start = self.at;
        self.submit_at(source, len, start);
        self.at += len as u64;
        self.at
    }

    /// The same, for sources that count for themselves: `start` is the position of the first byte.
    pub fn submit_at(&mut self, source: &Source, len: usize, start: u64) {
        let engine = self.gate.engine().clone();
        let block = if len <= SMALL_BYTES {
            let small = self.bytes[..len].to_vec();
            engine.take(small.capacity());
            self.bytes.drain(..len);
            small
        } else {
            let rest = self.bytes[len..].to_vec();
            engine.take(rest.capacity());
            let mut whole = std::mem::replace(&mut self.bytes, rest);
            whole.truncate(len);
            whole
        };
        let position = Position { file: 0, offset: start };
        let end = Position { file: 0, offset: start + len as u64 };
        engine.submit(source, Block { buffer: block, start: 0, end: len, position }, end);
    }

    /// Drops the first `len` bytes.
    pub fn drop_front(&mut self, len: usize) {
        self.bytes.drain(..len);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.gate.engine().release(self.bytes.capacity());
    }
}
