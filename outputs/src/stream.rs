//! Connections to a peer: TCP, TLS, a proxy in between, unix sockets; kept for the next use where the peer agrees.
//!
//! Owns: connecting, time-outs, `net.*`, reuse. Never: knows a protocol above the bytes, waits without a limit.
//! Invariants: a connection serves one user at a time; at most [`IDLE_MAX`] wait unused; one that its peer closed, or on
//! which it said something that nobody asked for, is not used again.

use crate::client::{Endpoint, Proxy};
use crate::net::NetOptions;
use futures_util::FutureExt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

/// Connections that wait unused, for all lanes of an output together.
pub const IDLE_MAX: usize = 64;

/// How long a write may make no progress where `net.io_timeout` sets no limit.
pub const STALL_MAX: Duration = Duration::from_secs(60);

/// The longest answer of a proxy to CONNECT.
const CONNECT_ANSWER_MAX: usize = 8192;

/// What a connection carries.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections as `net.*` says.
#[derive(Debug)]
pub struct Dialer {
    net: NetOptions,
    source: Option<IpAddr>,
}

impl Dialer {
    /// A dialer; nothing is opened. The error names a bad `net.source_address`.
    pub fn new(net: NetOptions) -> Result<Self, String> {
        let source = match &net.source_address {
            Some(text) => Some(
                text.0
                    .trim()
                    .parse()
                    .map_err(|_| format!("`net.source_address` is `{}`, not an IP address", text.0))?,
            ),
            None => None,
        };
        Ok(Dialer { net, source })
    }

    /// The options it follows.
    pub fn net(&self) -> &NetOptions {
        &self.net
    }

    /// The local address that connections leave from, if one is set.
    pub fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// A connection to the server, through the proxy and TLS where they are asked for. The error says what failed.
    pub async fn open(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, String> {
        let limit = self.net.connect_limit();
        timeout(limit, self.open_unlimited(endpoint))
            .await
            .map_err(|_| format!("{}: no connection within {limit:?}", endpoint.authority()))?
    }

    async fn open_unlimited(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, String> {
        let tunnel = endpoint.proxy.as_ref().filter(|proxy| proxy.tunnel || endpoint.tls.is_some());
        let (host, port) = match &endpoint.proxy {
            Some(proxy) => (proxy.host.as_str(), proxy.port),
            None => (endpoint.host.as_str(), endpoint.port),
        };
        let mut stream = self
            .tcp(host, port)
            .await
            .map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
        if let Some(proxy) = tunnel {
            dig(&mut stream, &endpoint.authority(), proxy)
                .await
                .map_err(|error| format!("proxy {host}:{port}: {error}"))?;
        }
        let Some((config, name)) = &endpoint.tls else { return Ok(Box::new(stream)) };
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        let stream = connector.connect(name.clone(), stream).await;
        Ok(Box::new(stream.map_err(|error| format!("{}: TLS: {error}", endpoint.authority()))?))
    }

    /// The addresses of a name, in the order in which they are tried.
    pub async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        if self.net.prefer_ipv4.0 || self.net.prefer_ipv6.0 {
            addresses.sort_by_key(|address| address.is_ipv4() != self.net.prefer_ipv4.0);
        }
        Ok(addresses)
    }

    /// Connects to the first address that answers.
    async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.addresses(host, port).await? {
            match self.tcp_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn tcp_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        if self.net.tcp_keepalive.0 {
            self.probe(&socket)?;
        }
        socket.connect(address).await
    }

    /// Lets the kernel probe an idle connection.
    fn probe(&self, socket: &TcpSocket) -> io::Result<()> {
        use rustix::net::sockopt;
        let positive = |number: i64| u32::try_from(number).ok().filter(|number| *number > 0);
        sockopt::set_socket_keepalive(socket, true)?;
        if let Some(seconds) = positive(self.net.tcp_keepalive_time.0) {
            sockopt::set_tcp_keepidle(socket, Duration::from_secs(seconds.into()))?;
        }
        if let Some(seconds) = positive(self.net.tcp_keepalive_interval.0) {
            sockopt::set_tcp_keepintvl(socket, Duration::from_secs(seconds.into()))?;
        }
        if let Some(count) = positive(self.net.tcp_keepalive_probes.0) {
            sockopt::set_tcp_keepcnt(socket, count)?;
        }
        Ok(())
    }
}

/// Asks a proxy for a tunnel.
async fn dig(stream: &mut TcpStream, authority: &str, proxy: &Proxy) -> io::Result<()> {
    let credentials =
        proxy.authorization.as_ref().map_or(String::new(), |text| format!("Proxy-Authorization: {text}\r\n"));
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte, so that nothing of what follows the answer is taken.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= CONNECT_ANSWER_MAX {
            return Err(io::Error::other("the answer to CONNECT does not end"));
        }
        answer.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(answer.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
    match line.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(io::Error::other(format!("it answers CONNECT with `{line}`"))),
    }
}

/// Whom connections lead to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A server on the network.
    Net(Endpoint),
    /// A socket of this machine.
    Unix(PathBuf),
}

/// Connections to one peer.
pub struct Connections {
    target: Target,
    dialer: Dialer,
    idle: Mutex<Vec<Connection>>,
}

/// A connection in use.
pub struct Connection {
    stream: Box<dyn Stream>,
    uses: i64,
    since: Instant,
    stall: Duration,
}

impl Connections {
    /// Connections to this peer; nothing is opened before the first use. The error names a bad `net.source_address`.
    pub fn new(target: Target, net: NetOptions) -> Result<Self, String> {
        Ok(Connections { target, dialer: Dialer::new(net)?, idle: Mutex::new(Vec::new()) })
    }

    /// The peer, for messages.
    pub fn name(&self) -> String {
        match &self.target {
            Target::Net(endpoint) => endpoint.authority(),
            Target::Unix(path) => path.display().to_string(),
        }
    }

    /// The connection that was used last if it is still good, else a new one. The error says what failed.
    pub async fn get(&self) -> Result<Connection, String> {
        while let Some(mut kept) = self.reuse() {
            if kept.is_quiet() {
                return Ok(kept);
            }
        }
        let stream = match &self.target {
            Target::Net(endpoint) => self.dialer.open(endpoint).await?,
            Target::Unix(path) => {
                let limit = self.dialer.net.connect_limit();
                let stream = timeout(limit, UnixStream::connect(path))
                    .await
                    .map_err(|_| format!("{}: no connection within {limit:?}", path.display()))?;
                Box::new(stream.map_err(|error| format!("cannot connect to {}: {error}", path.display()))?)
            }
        };
        let stall = self.dialer.net.io_limit().unwrap_or(STALL_MAX);
        Ok(Connection { stream, uses: 0, since: Instant::now(), stall })
    }

    fn reuse(&self) -> Option<Connection> {
        let limit = crate::net::duration(self.dialer.net.keepalive_idle_timeout.0);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < limit);
        idle.pop()
    }

    /// Keeps a connection for the next use, unless `net.keepalive` is off or it was used often enough.
    pub fn put(&self, mut connection: Connection) {
        connection.uses += 1;
        let recycle = self.dialer.net.keepalive_max_recycle.0;
        if !self.dialer.net.keepalive.0 || (recycle > 0 && connection.uses >= recycle) {
            return;
        }
        connection.since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}

impl Connection {
    /// True before its first use: whatever a protocol begins with is still to be done.
    pub fn is_fresh(&self) -> bool {
        self.uses == 0
    }

    /// False when the peer closed it, or said something unasked.
    fn is_quiet(&mut self) -> bool {
        self.stream.read(&mut [0u8; 1]).now_or_never().is_none()
    }

    /// Writes all parts, one after the other, and flushes. The error says what failed.
    pub async fn send(&mut self, parts: &[&[u8]]) -> Result<(), String> {
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let count = self.limited(Step::Write(rest)).await?;
                rest = rest.get(count..).unwrap_or_default();
            }
        }
        self.limited(Step::Flush).await.map(drop)
    }

    /// Reads what comes next, at least a byte, behind what is in `buffer`. The error says what failed; an end is one.
    pub async fn receive(&mut self, buffer: &mut Vec<u8>, limit: Duration) -> Result<(), String> {
        match timeout(limit, self.stream.read_buf(buffer)).await {
            Err(_) => Err(format!("no answer within {limit:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(0)) => Err("it closed the connection".to_owned()),
            Ok(Ok(_)) => Ok(()),
        }
    }

    async fn limited(&mut self, step: Step<'_>) -> Result<usize, String> {
        let (stream, stall) = (&mut self.stream, self.stall);
        let step = async {
            match step {
                Step::Write(bytes) => stream.write(bytes).await,
                Step::Flush => stream.flush().await.map(|()| 1),
            }
        };
        match timeout(stall, step).await {
            Err(_) => Err(format!("it took nothing for {stall:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(0)) => Err("it takes no more bytes".to_owned()),
            Ok(Ok(count)) => Ok(count),
        }
    }
}

/// One step of a write.
enum Step<'b> {
    Write(&'b [u8]),
    Flush,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::section;
    use codecs::conf::Diagnostics;
    use tokio::net::TcpListener;

    fn connections(port: u16, options: &[(&str, &str)]) -> Connections {
        let net = NetOptions::read(&section(options), "x", &mut Diagnostics::default());
        let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port, tls: None, proxy: None };
        Connections::new(Target::Net(endpoint), net).expect("valid")
    }

    /// Sends three times over; how many connections that took.
    async fn used(options: &[(&str, &str)], peer_closes: bool) -> usize {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let connections = connections(listener.local_addr().expect("an address").port(), options);
        let mut accepted = Vec::new();
        for _ in 0..3 {
            let mut connection = connections.get().await.expect("a connection");
            if connection.is_fresh() {
                accepted.push(listener.accept().await.expect("accepts").0);
            }
            connection.send(&[b"a", b"", b"bc"]).await.expect("sent");
            let peer = accepted.last_mut().expect("a connection");
            let mut got = [0u8; 3];
            peer.read_exact(&mut got).await.expect("what was sent");
            assert_eq!(&got, b"abc");
            if peer_closes {
                peer.shutdown().await.expect("closed");
                // The end arrives after the shutdown returns: it is there when a read sees it.
                assert!(connection.receive(&mut Vec::new(), STALL_MAX).await.is_err());
            }
            connections.put(connection);
        }
        accepted.len()
    }

    #[tokio::test]
    async fn connections_are_used_again_unless_told_otherwise() {
        for (options, peer_closes, expected) in [
            (&[][..], false, 1),
            (&[("net.keepalive", "off")], false, 3),
            (&[("net.keepalive_max_recycle", "2")], false, 2),
            (&[("net.keepalive_idle_timeout", "0")], false, 3),
            (&[], true, 3),
        ] {
            assert_eq!(used(options, peer_closes).await, expected, "{options:?} {peer_closes}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connections = connections(port, &[("net.io_timeout", "0.05")]);
        let mut connection = connections.get().await.expect("a connection");
        let bytes = vec![b'x'; 64 << 20];
        assert_eq!(connection.send(&[&bytes]).await, Err("it took nothing for 50ms".to_owned()));
    }
}
