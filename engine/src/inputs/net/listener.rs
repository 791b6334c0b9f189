//! Sockets that listen, and what they accept.
//!
//! Owns: binding, `net.*` of the socket, unix paths and their permissions, how a peer is named. Never: reads.

use super::options::{ListenOptions, NetOptions};
use super::stream::Socket;
use codecs::conf::{Diagnostics, Section};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};

/// Where an input listens.
#[derive(Clone, Debug)]
pub enum Address {
    /// An address and a port.
    Net {
        /// `listen`
        host: String,
        /// `port`
        port: u16,
    },
    /// A unix socket, with the permissions it is to have.
    Unix {
        /// `unix_path`, `path`
        path: PathBuf,
        /// `unix_perm`
        permissions: Option<u32>,
    },
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Net { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { path, .. } => write!(f, "unix://{}", path.display()),
        }
    }
}

impl Address {
    /// Address and port of the options.
    pub fn net(
        options: &ListenOptions,
        default: u16,
        section: &Section,
        owner: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Address> {
        // Port 0 means the default, as in Fluent Bit.
        let port = options.port.map_or(0, |p| p.0);
        let Ok(port) = u16::try_from(port) else {
            let span = section.get("port").map_or(&section.span, |e| &e.value_span);
            diagnostics.error(span, format!("{owner}: `port` is {port}")).help("rule: 1 to 65535");
            return None;
        };
        let port = if port == 0 { default } else { port };
        Some(Address::Net { host: options.listen.0.clone(), port })
    }

    fn resolve(&self) -> io::Result<SocketAddr> {
        let Address::Net { host, port } = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, *port));
        }
        let mut found = (host.as_str(), *port).to_socket_addrs()?;
        found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    /// A bound socket of this kind, not blocking.
    fn bind(&self, kind: SocketType, net: &NetOptions) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        if let Address::Unix { path, permissions } = self {
            remove_socket(path)?;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
            rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
            if let Some(bits) = permissions {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(*bits))?;
            }
            return Ok(socket);
        }
        let address = self.resolve()?;
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, kind == SocketType::STREAM)?;
        if net.share_port.0 {
            sockopt::set_socket_reuseport(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        Ok(socket)
    }

    /// A socket that takes datagrams; `receive_bytes` is the kernel's buffer, where it is set.
    pub fn datagrams(&self, net: &NetOptions, receive_bytes: Option<usize>) -> io::Result<OwnedFd> {
        let socket = self.bind(SocketType::DGRAM, net)?;
        if let Some(bytes) = receive_bytes {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        Ok(socket)
    }

    /// Removes the socket's file.
    pub fn remove(&self) {
        if let Address::Unix { path, .. } = self {
            drop(remove_socket(path));
        }
    }
}

/// Removes what an earlier run left; refuses anything but a socket.
fn remove_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(data) if data.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} exists and is not a unix socket", path.display()),
        )),
    }
}

/// A socket that listens for connections.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Listens; within a runtime. `receive_bytes` is the kernel's buffer for each connection, where it is set.
    pub fn bind(address: &Address, net: &NetOptions, receive_bytes: Option<usize>) -> io::Result<Listener> {
        let socket = address.bind(SocketType::STREAM, net)?;
        if let Some(bytes) = receive_bytes {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        rustix::net::listen(&socket, i32::try_from(net.backlog.0).unwrap_or(i32::MAX).max(1))?;
        Ok(match address {
            Address::Net { .. } => Listener::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix { .. } => Listener::Unix(UnixListener::from_std(socket.into())?),
        })
    }

    /// The next connection, and its peer's address as records name it.
    pub async fn accept(&self) -> io::Result<(Socket, Arc<str>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), named("tcp", Some(peer))))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let pid = stream.peer_cred().ok().and_then(|c| c.pid());
                let name =
                    pid.map_or_else(|| "unix://unavailable".to_owned(), |pid| format!("unix://pid_{pid}"));
                Ok((Socket::Unix(stream), name.into()))
            }
        }
    }
}

/// A peer's address as records name it.
pub fn named(transport: &str, peer: Option<SocketAddr>) -> Arc<str> {
    match peer {
        Some(peer) => format!("{transport}://{}:{}", peer.ip(), peer.port()).into(),
        None => "unix://unavailable".into(),
    }
}
