//! What is said on a connection beside records: the proof of the shared secret, acknowledgements.
//!
//! Owns: HELO, PING, PONG, `ack`. Never: tells a secret, reads an answer beyond [`ANSWER_BYTES_MAX`].
//! Source: Forward Protocol Specification v1.5, handshake.

use super::options::Secret;
use crate::stream::Connection;
use codecs::Bump;
use codecs::msgpack::{Reader, Unreadable, write_array_header, write_str};
use codecs::record::{Field, Value};
use ring::digest::{Context, SHA512};
use std::time::Duration;

/// The longest answer of a server.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the salt that is used for as long as an instance lives.
pub(super) const SALT_BYTES: usize = 16;

/// What was read and not yet used of a connection's answers.
#[derive(Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
}

impl Answers {
    /// Reads one value and hands it over. The error says what failed.
    async fn next<T>(
        &mut self,
        connection: &mut Connection,
        limit: Duration,
        take: impl Fn(&Value<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        loop {
            let read = {
                let arena = Bump::new();
                let mut reader = Reader::new(&self.bytes);
                match reader.value(&arena) {
                    Ok(value) => Some((take(&value), reader.position())),
                    Err(Unreadable::Incomplete) => None,
                    Err(Unreadable::Invalid { .. }) => {
                        return Err("its answer is not MessagePack".to_owned());
                    }
                }
            };
            if let Some((taken, used)) = read {
                self.bytes.drain(..used);
                return taken;
            }
            if self.bytes.len() >= ANSWER_BYTES_MAX {
                return Err(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes"));
            }
            connection.receive(&mut self.bytes, limit).await?;
        }
    }

    /// True when nothing was said that nobody asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Waits for the acknowledgement of this id.
    pub(super) async fn acknowledged(
        &mut self,
        connection: &mut Connection,
        limit: Duration,
        id: &str,
    ) -> Result<(), String> {
        self.next(connection, limit, |value| {
            let Value::Map(fields) = value else {
                return Err("its acknowledgement is not a map".to_owned());
            };
            match text(fields, b"ack") {
                Some(ack) if ack == id.as_bytes() => Ok(()),
                Some(ack) => Err(format!("it acknowledges `{}`, not `{id}`", String::from_utf8_lossy(ack))),
                None => Err("its acknowledgement has no `ack`".to_owned()),
            }
        })
        .await
    }

    /// Proves that we know the secret, and wants the same proof. Returns whether the server lets the connection live.
    pub(super) async fn handshake(
        &mut self,
        connection: &mut Connection,
        limit: Duration,
        secret: &Secret,
        salt: &[u8; SALT_BYTES],
    ) -> Result<bool, String> {
        let helo = self.next(connection, limit, helo).await?;
        connection.send(&[&ping(secret, salt, &helo)]).await?;
        let proof = |host: &[u8]| digest(&[salt, host, &helo.nonce, secret.shared_key.as_bytes()]);
        self.next(connection, limit, |value| pong(value, &proof)).await?;
        Ok(helo.keepalive)
    }
}

/// What a server says first.
struct Helo {
    nonce: Vec<u8>,
    /// Salt of the password, where the server wants one.
    auth: Vec<u8>,
    keepalive: bool,
}

fn helo(value: &Value<'_>) -> Result<Helo, String> {
    let Value::Array([Value::Text(word), Value::Map(options), ..]) = value else {
        return Err("its greeting is not `HELO`".to_owned());
    };
    if word.bytes != b"HELO" {
        return Err("its greeting is not `HELO`".to_owned());
    }
    let nonce = text(options, b"nonce").ok_or("its greeting has no `nonce`")?.to_vec();
    let keepalive = options.iter().find(|field| field.key.bytes == b"keepalive");
    Ok(Helo {
        nonce,
        auth: text(options, b"auth").unwrap_or_default().to_vec(),
        keepalive: !matches!(keepalive, Some(Field { value: Value::Bool(false), .. })),
    })
}

fn ping(secret: &Secret, salt: &[u8; SALT_BYTES], helo: &Helo) -> Vec<u8> {
    let key = secret.shared_key.as_bytes();
    let hostname = secret.self_hostname.as_bytes();
    let mut out = Vec::new();
    write_array_header(&mut out, 6);
    write_str(&mut out, b"PING");
    write_str(&mut out, hostname);
    write_str(&mut out, salt);
    write_str(&mut out, digest(&[salt, hostname, &helo.nonce, key]).as_bytes());
    if helo.auth.is_empty() {
        write_str(&mut out, b"");
        write_str(&mut out, b"");
    } else {
        let password = digest(&[&helo.auth, secret.username.as_bytes(), secret.password.as_bytes()]);
        write_str(&mut out, secret.username.as_bytes());
        write_str(&mut out, password.as_bytes());
    }
    out
}

fn pong(value: &Value<'_>, proof: &dyn Fn(&[u8]) -> String) -> Result<(), String> {
    let Value::Array(
        [
            Value::Text(word),
            Value::Bool(accepted),
            Value::Text(reason),
            Value::Text(host),
            Value::Text(answer),
        ],
    ) = value
    else {
        return Err("its answer is not `PONG` with five fields".to_owned());
    };
    if word.bytes != b"PONG" {
        return Err("its answer is not `PONG`".to_owned());
    }
    if !accepted {
        return Err(format!("it refuses us: {}", String::from_utf8_lossy(reason.bytes)));
    }
    if proof(host.bytes).as_bytes() != answer.bytes {
        return Err("it does not know the shared key".to_owned());
    }
    Ok(())
}

/// SHA-512 of the parts in a row, in hexadecimal.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    context.finish().as_ref().iter().flat_map(digits).map(char::from).collect()
}

fn text<'v>(fields: &[Field<'v>], key: &[u8]) -> Option<&'v [u8]> {
    fields.iter().find(|field| field.key.bytes == key).and_then(|field| match field.value {
        Value::Text(text) => Some(text.bytes),
        _ => None,
    })
}
