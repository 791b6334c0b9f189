//! Datagrams: many of them in one block, each with its sender.
//!
//! Owns: the form of such a block, the loop that fills it. Never: looks inside a datagram.
//! Invariant: a datagram is in one block, whole.

use super::Gate;
use super::limits::BLOCK_BYTES;
use super::listener::named;
use crate::inputs::Source;
use crate::job::{Block, Position};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::{UdpSocket, UnixDatagram};

/// Bytes before each datagram: its length, and that of its sender's name.
const HEAD_BYTES: usize = 5;

/// A socket that takes datagrams.
pub enum Datagrams {
    /// UDP.
    Udp(UdpSocket),
    /// A unix socket.
    Unix(UnixDatagram),
}

impl Datagrams {
    /// From a bound socket; within a runtime.
    pub fn new(socket: OwnedFd, unix: bool) -> io::Result<Datagrams> {
        Ok(match unix {
            true => Datagrams::Unix(UnixDatagram::from_std(socket.into())?),
            false => Datagrams::Udp(UdpSocket::from_std(socket.into())?),
        })
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Datagrams::Udp(socket) => socket.readable().await,
            Datagrams::Unix(socket) => socket.readable().await,
        }
    }

    /// One datagram, without waiting: its length, and who sent it where that is to be known.
    fn receive(&self, into: &mut [u8], transport: Option<&str>) -> io::Result<(usize, Option<Arc<str>>)> {
        match (self, transport) {
            (Datagrams::Udp(socket), Some(transport)) => {
                let (len, peer) = socket.try_recv_from(into)?;
                Ok((len, Some(named(transport, Some(peer)))))
            }
            (Datagrams::Udp(socket), None) => Ok((socket.try_recv(into)?, None)),
            (Datagrams::Unix(socket), named_too) => {
                Ok((socket.try_recv(into)?, named_too.map(|_| named("unix", None))))
            }
        }
    }

    /// Receives until the program stops. A datagram of more than `limit` bytes is cut there. `names` says that records
    /// name their sender.
    pub async fn run(&self, gate: &Rc<Gate>, source: &Source, limit: usize, names: bool) -> io::Result<()> {
        let mut at = 0;
        let want = BLOCK_BYTES.max(limit + HEAD_BYTES + 256);
        loop {
            tokio::select! {
                biased;
                () = gate.stopped() => return Ok(()),
                ready = self.readable() => ready?,
            }
            if !gate.admit(want, Some(source)).await {
                return Ok(());
            }
            let mut buffer = gate.engine().buffer(want);
            let extra = buffer.capacity().saturating_sub(want);
            gate.engine().take(extra);
            let failed = self.fill(&mut buffer, limit, names.then_some("udp"));
            at = submit(gate, source, buffer, at);
            if let Err(error) = failed
                && error.kind() != io::ErrorKind::WouldBlock
            {
                return Err(error);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Receives while there is something and room for one more.
    fn fill(&self, buffer: &mut Vec<u8>, limit: usize, transport: Option<&str>) -> io::Result<()> {
        while buffer.capacity() - buffer.len() >= limit + HEAD_BYTES + 256 {
            let head = buffer.len();
            // The sender's name comes behind the datagram: how long it is, is known only then.
            let start = head + HEAD_BYTES;
            buffer.resize(start + limit, 0);
            match self.receive(&mut buffer[start..], transport) {
                Ok((len, peer)) => {
                    let peer = peer.as_deref().unwrap_or_default().as_bytes();
                    buffer.truncate(start + len);
                    buffer.extend_from_slice(peer);
                    buffer[head..start - 1].copy_from_slice(&(len as u32).to_le_bytes());
                    buffer[start - 1] = peer.len() as u8;
                }
                Err(error) => {
                    buffer.truncate(head);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Hands a block over, in memory of its own size where it is small; gives the position behind it.
fn submit(gate: &Gate, source: &Source, buffer: Vec<u8>, at: u64) -> u64 {
    let engine = gate.engine();
    let mut block = buffer;
    if block.len() <= super::limits::SMALL_BYTES {
        let small = block.as_slice().to_vec();
        engine.take(small.capacity());
        engine.release(block.capacity());
        engine.recycle(std::mem::replace(&mut block, small));
    }
    if block.is_empty() {
        engine.release(block.capacity());
        return at;
    }
    let (end, position) = (block.len(), Position { file: 0, offset: at });
    let reached = at + end as u64;
    engine.submit(
        source,
        Block { buffer: block, start: 0, end, position },
        Position { file: 0, offset: reached },
    );
    reached
}

/// The datagrams of a block, each with its sender's name.
pub fn each(block: &[u8]) -> impl Iterator<Item = (&[u8], Option<&str>)> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let (head, body) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let [a, b, c, d, peer_len] = *head;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let (datagram, behind) = body.split_at_checked(len)?;
        let (peer, next) = behind.split_at_checked(usize::from(peer_len))?;
        rest = next;
        Some((datagram, std::str::from_utf8(peer).ok().filter(|p| !p.is_empty())))
    })
}
