//! A connection's bytes, with or without TLS, over TCP or a unix socket.
//!
//! Owns: reads that never wait, writes that do. Never: buffers what was read.

use super::limits::WRITE_MAX;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A socket before TLS.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A connection.
pub enum Stream {
    /// As it is.
    Plain(Socket),
    /// Within TLS.
    Tls(Box<TlsStream<Socket>>),
}

macro_rules! with_socket {
    ($self:expr, $socket:ident => $body:expr) => {
        match $self {
            Socket::Tcp($socket) => $body,
            Socket::Unix($socket) => $body,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_socket!(self.get_mut(), socket => pin!(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with_socket!(self.get_mut(), socket => pin!(socket).poll_write(cx, bytes))
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_socket!(self.get_mut(), socket => pin!(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_socket!(self.get_mut(), socket => pin!(socket).poll_shutdown(cx))
    }
}

impl Stream {
    /// Waits until the socket may have something. With TLS there may be more inside: read until nothing comes, then wait.
    pub async fn readable(&self) -> io::Result<()> {
        let socket = match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        with_socket!(socket, socket => socket.readable().await)
    }

    /// Reads into the spare room of `buffer`, which there must be: how many bytes came, 0 at the end of the stream,
    /// `None` when there is nothing now.
    pub fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        // Readiness is asked for by `readable`; here nobody is to be woken.
        let mut cx = Context::from_waker(Waker::noop());
        let room = buffer.capacity() - buffer.len();
        let mut limited = bytes::BufMut::limit(&mut *buffer, room);
        let poll = match self {
            Stream::Plain(socket) => pin!(socket.read_buf(&mut limited)).poll(&mut cx),
            Stream::Tls(stream) => pin!(stream.read_buf(&mut limited)).poll(&mut cx),
        };
        match poll {
            Poll::Pending => Ok(None),
            // A peer that ends without saying so in TLS has ended all the same.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Poll::Ready(result) => result.map(Some),
        }
    }

    /// Writes all of it; gives up on a peer that reads nothing for [`WRITE_MAX`].
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writing = async {
            match self {
                Stream::Plain(socket) => socket.write_all(bytes).await,
                Stream::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
            }
        };
        tokio::time::timeout(WRITE_MAX, writing)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing")))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => pin!(socket).poll_read(cx, buf),
            Stream::Tls(stream) => pin!(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => pin!(socket).poll_write(cx, bytes),
            Stream::Tls(stream) => pin!(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => pin!(socket).poll_flush(cx),
            Stream::Tls(stream) => pin!(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => pin!(socket).poll_shutdown(cx),
            Stream::Tls(stream) => pin!(stream).poll_shutdown(cx),
        }
    }
}
