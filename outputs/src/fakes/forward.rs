//! A server of the forward protocol that takes nothing which the specification does not allow.
//!
//! Owns: the structure of messages, the proof of a shared secret, acknowledgements, faults by script.
//! Never: part of the shipped binary. Source: Forward Protocol Specification v1.5.

use crate::forward::message::acknowledgement;
use crate::forward::peer::digest;
use codecs::Bump;
use codecs::json::{Escape, write_value};
use codecs::msgpack::{Reader, Unreadable, write_array_header, write_map_header, write_str};
use codecs::record::{Field, Value};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the server does with the next message that it was to acknowledge or take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closes the connection without an answer, and forgets the message.
    Close,
    /// Keeps it, and closes without an answer.
    Unacknowledged,
    /// Keeps it, and acknowledges another one.
    WrongId,
}

/// The secret that the server wants to be known, and whether it wants a user too.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The shared key.
    pub key: String,
    /// User and password.
    pub user: Option<(String, String)>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its tag.
    pub tag: String,
    /// `message`, `forward` or `packed`.
    pub mode: &'static str,
    /// `time fields` of each entry, fields as JSON, times in nanoseconds, or seconds with an `s`.
    pub entries: Vec<String>,
    /// The options as JSON, without `chunk`.
    pub options: String,
    /// `chunk`.
    pub id: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    broken: Vec<String>,
    faults: Vec<Fault>,
    connections: usize,
}

/// A server on a port of its own; it ends when dropped.
#[derive(Debug)]
pub struct ForwardFake {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for ForwardFake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ForwardFake {
    /// Listens on a free loopback port; the faults are done one by one, beginning with the first message.
    pub async fn start(secret: Option<Secret>, faults: &[Fault]) -> std::io::Result<ForwardFake> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut faults = faults.to_vec();
        faults.reverse();
        let state = Arc::new(Mutex::new(State { faults, ..State::default() }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                lock(&shared).connections += 1;
                let (state, secret) = (shared.clone(), secret.clone());
                tokio::spawn(async move {
                    if let Err(why) = serve(socket, &state, secret).await {
                        lock(&state).broken.push(why);
                    }
                });
            }
        });
        Ok(ForwardFake { address, state, task })
    }

    /// What came, and how often something broke the rules.
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.state).messages.clone()
    }

    /// What broke the rules.
    pub fn broken(&self) -> Vec<String> {
        lock(&self.state).broken.clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    state: &Mutex<State>,
    secret: Option<Secret>,
) -> Result<(), String> {
    let mut buffer = Vec::new();
    if let Some(secret) = secret {
        handshake(&mut socket, &mut buffer, &secret).await?;
    }
    while let Some(message) = next(&mut socket, &mut buffer, |value| message(value)).await? {
        let fault = lock(state).faults.pop();
        if fault == Some(Fault::Close) {
            return Ok(());
        }
        let id = message.id.clone();
        lock(state).messages.push(message);
        match (fault, id) {
            (Some(Fault::Unacknowledged), _) => return Ok(()),
            (Some(_), _) => write(&mut socket, &acknowledgement("another")).await?,
            (None, Some(id)) => write(&mut socket, &acknowledgement(&id)).await?,
            (None, None) => {}
        }
    }
    Ok(())
}

async fn write(socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), String> {
    socket.write_all(bytes).await.map_err(|error| error.to_string())
}

/// The next value; `None` when the client closed between two of them.
async fn next<T>(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    take: impl Fn(&Value<'_>) -> Result<T, String>,
) -> Result<Option<T>, String> {
    loop {
        let read = {
            let arena = Bump::new();
            let mut reader = Reader::new(buffer);
            match reader.value(&arena) {
                Ok(value) => Some((take(&value), reader.position())),
                Err(Unreadable::Incomplete) => None,
                Err(Unreadable::Invalid { at }) => return Err(format!("no MessagePack at {at}")),
            }
        };
        if let Some((taken, used)) = read {
            buffer.drain(..used);
            return taken.map(Some);
        }
        match socket.read_buf(buffer).await {
            Ok(0) if buffer.is_empty() => return Ok(None),
            Ok(0) => return Err("closed inside a message".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

async fn handshake(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
    secret: &Secret,
) -> Result<(), String> {
    let (nonce, auth) = (b"0123456789abcdef", if secret.user.is_some() { &b"salt"[..] } else { b"" });
    let mut helo = Vec::new();
    write_array_header(&mut helo, 2);
    write_str(&mut helo, b"HELO");
    write_map_header(&mut helo, 3);
    for (key, value) in [(&b"nonce"[..], &nonce[..]), (b"auth", auth)] {
        write_str(&mut helo, key);
        write_str(&mut helo, value);
    }
    write_str(&mut helo, b"keepalive");
    helo.push(0xc3);
    // In two pieces: a client has to wait for the rest.
    let (first, rest) = helo.split_at(7);
    write(socket, first).await?;
    tokio::task::yield_now().await;
    write(socket, rest).await?;
    let key = secret.key.as_bytes();
    let pong = next(socket, buffer, |value| {
        let Value::Array(parts) = value else { return Err("PING is no array".to_owned()) };
        let texts: Option<Vec<&[u8]>> = parts
            .iter()
            .map(|part| match part {
                Value::Text(text) => Some(text.bytes),
                _ => None,
            })
            .collect();
        let Some(&[b"PING", host, salt, proof, user, password]) = texts.as_deref() else {
            return Err("PING has not six strings".to_owned());
        };
        let reason = match &secret.user {
            _ if digest(&[salt, host, nonce, key]).as_bytes() != proof => "shared key mismatch",
            Some((name, word))
                if name.as_bytes() != user
                    || digest(&[auth, name.as_bytes(), word.as_bytes()]).as_bytes() != password =>
            {
                "username/password mismatch"
            }
            _ => "",
        };
        let mut pong = Vec::new();
        write_array_header(&mut pong, 5);
        write_str(&mut pong, b"PONG");
        pong.push(if reason.is_empty() { 0xc3 } else { 0xc2 });
        write_str(&mut pong, reason.as_bytes());
        write_str(&mut pong, b"fake");
        write_str(&mut pong, digest(&[salt, b"fake", nonce, key]).as_bytes());
        Ok((pong, reason))
    });
    let (pong, reason) = pong.await?.ok_or("closed before PING")?;
    write(socket, &pong).await?;
    if reason.is_empty() { Ok(()) } else { Err(reason.to_owned()) }
}

fn message(value: &Value<'_>) -> Result<Message, String> {
    let Value::Array([Value::Text(tag), rest @ ..]) = value else {
        return Err("a message is an array that begins with a tag".to_owned());
    };
    let (mode, entries, options) = match rest {
        [time, fields @ Value::Map(_), options @ Value::Map(_)] => {
            ("message", vec![entry(time, fields)?], std::slice::from_ref(options))
        }
        [Value::Array(entries), options @ ..] => ("forward", list(entries)?, options),
        [Value::Text(bytes), options @ ..] => ("packed", packed(bytes.bytes, options)?, options),
        _ => return Err("a message has neither entries nor a time".to_owned()),
    };
    let options: &[Field<'_>] = match options {
        [] => &[],
        [Value::Map(options)] => options,
        _ => return Err("options are not one map".to_owned()),
    };
    let id = options.iter().find(|option| option.key.bytes == b"chunk").map(|option| json(&option.value));
    let size = options.iter().find(|option| option.key.bytes == b"size").map(|option| json(&option.value));
    if size.is_some_and(|size| size != entries.len().to_string()) {
        return Err("`size` is not the number of entries".to_owned());
    }
    let others: Vec<Field<'_>> =
        options.iter().filter(|option| option.key.bytes != b"chunk").copied().collect();
    Ok(Message {
        tag: String::from_utf8_lossy(tag.bytes).into_owned(),
        mode,
        entries,
        options: json(&Value::Map(&others)),
        id: id.map(|id| id.trim_matches('"').to_owned()),
    })
}

fn list(entries: &[Value<'_>]) -> Result<Vec<String>, String> {
    entries
        .iter()
        .map(|value| match value {
            // The second version of the form: metadata beside the time.
            Value::Array([Value::Array([time, Value::Map(_)]), fields]) => entry(time, fields),
            Value::Array([time, fields]) => entry(time, fields),
            _ => Err("an entry is not a time and a record".to_owned()),
        })
        .collect()
}

/// The entries of a packed message.
fn packed(bytes: &[u8], options: &[Value<'_>]) -> Result<Vec<String>, String> {
    let is_gzip = matches!(options, [Value::Map(options)] if options.iter().any(|option| option.key.bytes == b"compressed" && json(&option.value) == "\"gzip\""));
    let mut plain = Vec::new();
    match is_gzip {
        true => flate2::read::MultiGzDecoder::new(bytes)
            .read_to_end(&mut plain)
            .map(drop)
            .map_err(|error| format!("no gzip: {error}"))?,
        false => plain.extend_from_slice(bytes),
    }
    let arena = Bump::new();
    let mut reader = Reader::new(&plain);
    let mut values = Vec::new();
    while !reader.is_empty() {
        values.push(reader.value(&arena).map_err(|error| format!("no entry: {error:?}"))?);
    }
    list(&values)
}

/// A time is eight bytes of an extension, or whole seconds.
fn entry(time: &Value<'_>, fields: &Value<'_>) -> Result<String, String> {
    let time = match time {
        Value::Text(bytes) => {
            let bytes: [u8; 8] = bytes.bytes.try_into().map_err(|_| "a time has not eight bytes")?;
            let number = u64::from_be_bytes(bytes);
            ((number >> 32) * 1_000_000_000 + (number & 0xffff_ffff)).to_string()
        }
        Value::Int(seconds) => format!("{seconds}s"),
        _ => return Err("a time is neither an event time nor seconds".to_owned()),
    };
    match fields {
        Value::Map(_) => Ok(format!("{time} {}", json(fields))),
        _ => Err("a record is no map".to_owned()),
    }
}

fn json(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    write_value(&mut out, value, Escape::Unicode);
    String::from_utf8_lossy(&out).into_owned()
}
