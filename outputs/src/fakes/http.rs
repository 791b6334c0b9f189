//! A small HTTP/1.1 server whose answers can be slow, torn or missing.
//!
//! Owns: connections and framing. Never: knows a service. Only requests with `Content-Length` are understood, which is
//! what the SDK sends.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Longest head of a request, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// Largest body, in bytes.
const BODY_MAX: usize = 64 << 20;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// `/`.
    pub path: String,
    /// Headers with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers beside `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Waits before it is sent.
    pub delay: Duration,
    /// Sends only so many bytes of head and body, then closes; `Some(0)` closes without an answer.
    pub torn: Option<usize>,
}

/// Answers requests.
pub type Handler = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// A server on a port of its own; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Listens on a free loopback port, with TLS where a configuration is given.
    pub async fn start(tls: Option<Arc<rustls::ServerConfig>>, handler: Handler) -> io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let acceptor = tls.map(TlsAcceptor::from);
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, handler) = (acceptor.clone(), handler.clone());
                // A connection that breaks is the client's to notice.
                tokio::spawn(async move {
                    match acceptor {
                        None => drop(serve(socket, handler).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(socket).await {
                                drop(serve(stream, handler).await);
                            }
                        }
                    }
                });
            }
        });
        Ok(Server { address, task })
    }
}

/// Serves one connection until it closes.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, handler: Handler) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut socket, &mut buffer).await? {
        let head_only = request.method == "HEAD";
        let answer = handler(request).await;
        if !answer.delay.is_zero() {
            tokio::time::sleep(answer.delay).await;
        }
        let mut head = format!("HTTP/1.1 {} Fake\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", answer.body.len()));
        let mut bytes = head.into_bytes();
        if !head_only {
            bytes.extend_from_slice(&answer.body);
        }
        if let Some(length) = answer.torn {
            bytes.truncate(length);
            socket.write_all(&bytes).await?;
            return socket.shutdown().await;
        }
        socket.write_all(&bytes).await?;
    }
    Ok(())
}

/// The next request; `None` when the client closed. `buffer` keeps what came too much.
async fn read_request<S: AsyncRead + Unpin>(
    socket: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    let broken = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > HEAD_MAX {
            return Err(broken("the head is too long"));
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        ..Request::default()
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length: usize = match request.header("content-length") {
        "" => 0,
        text => text.parse().map_err(|_| broken("content-length is no number"))?,
    };
    if length > BODY_MAX {
        return Err(broken("the body is too large"));
    }
    let body_end = head_end + 4 + length;
    while buffer.len() < body_end {
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    request.body = buffer[head_end + 4..body_end].to_vec();
    buffer.drain(..body_end);
    Ok(Some(request))
}
