//! The Forward protocol: where a message ends, what is in it, and the handshake of a shared key.
//!
//! Owns: framing of MessagePack values, the four carriers (message, forward, packed, compressed), the messages HELO,
//! PING and PONG. Never: does I/O, decompresses, computes a digest.
//! Invariant: a message is looked at once to find its end, however many reads it takes to come.

use crate::msgpack::{self, Unreadable, write_array_header, write_map_header, write_str};

/// Follows a stream to the end of the value at its front. What was looked at is not looked at again.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Bytes that were followed.
    at: usize,
    /// Values that are still to come; 0 before the first.
    open: u64,
    begun: bool,
}

impl Frame {
    /// Goes on with the bytes from the front of the value: its length once its last byte is there; before that, how
    /// many bytes there must be at least before it is worth asking again.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Progress, Unreadable> {
        if !self.begun {
            (self.begun, self.open) = (true, 1);
        }
        while self.open > 0 {
            match msgpack::skim(bytes, self.at)? {
                Ok((next, children)) => {
                    self.at = next;
                    self.open = self.open - 1 + children;
                }
                Err(needed) => return Ok(Progress::Needs(needed)),
            }
        }
        let len = self.at;
        *self = Frame::default();
        Ok(Progress::Whole(len))
    }
}

/// How far a [`Frame`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The value is so many bytes long, and all of them are there.
    Whole(usize),
    /// So many bytes are needed before more can be said.
    Needs(usize),
}

/// How a message carries its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier<'a> {
    /// One event: its time and its fields, one behind the other.
    Message(&'a [u8]),
    /// An array of events, with its header.
    Forward(&'a [u8]),
    /// Events one behind the other.
    Packed(&'a [u8]),
}

/// How packed events are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, maybe several members.
    Gzip,
    /// zstd, maybe several frames.
    Zstd,
}

/// What is not an event in a message's options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// Its sender waits for this to come back.
    pub chunk: Option<&'a [u8]>,
    /// `compressed`, as it was written.
    pub compressed: Option<&'a [u8]>,
    /// `fluent_signal`: 0 for logs, 1 for metrics, 2 for traces.
    pub signal: u64,
}

/// A message: its tag, its events, its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its tag.
    pub tag: &'a [u8],
    /// Its events.
    pub carrier: Carrier<'a>,
    /// Its options.
    pub options: Options<'a>,
}

impl<'a> Message<'a> {
    /// Reads a whole message (see [`Frame`]). The events are not looked at. The error is what is wrong with it.
    pub fn read(bytes: &'a [u8]) -> Result<Message<'a>, &'static str> {
        let mut parts = Parts { bytes, at: 0 };
        let count = parts.array().ok_or("it is not an array")?;
        if count < 2 {
            return Err("it has no events");
        }
        let tag = parts.text().ok_or("its tag is not text")?;
        let second = parts.peek().ok_or("it ends early")?;
        let (carrier, used) = match second {
            0x90..=0x9f | 0xdc | 0xdd => (Carrier::Forward(parts.value().ok_or("it ends early")?), 2),
            0xa0..=0xbf | 0xd9..=0xdb | 0xc4..=0xc6 => {
                (Carrier::Packed(parts.text().ok_or("it ends early")?), 2)
            }
            0x00..=0x7f | 0xcc..=0xd3 | 0xca | 0xcb | 0xe0..=0xff | 0xc7 | 0xd7 => {
                if count < 3 {
                    return Err("message mode needs three elements at least");
                }
                let start = parts.at;
                parts.value().ok_or("it ends early")?;
                if !matches!(parts.peek(), Some(0x80..=0x8f | 0xde | 0xdf)) {
                    return Err("its record is not a map");
                }
                parts.value().ok_or("it ends early")?;
                (Carrier::Message(&bytes[start..parts.at]), 3)
            }
            _ => return Err("its second element is neither a time nor events"),
        };
        let options = if count > used {
            parts.options().ok_or("its options are not a map")?
        } else {
            Options::default()
        };
        Ok(Message { tag, carrier, options })
    }

    /// How its events are compressed: what they begin with says more than the option does.
    pub fn compression(&self) -> Compression {
        let Carrier::Packed(bytes) = self.carrier else { return Compression::None };
        match (bytes, self.options.compressed) {
            ([0x1f, 0x8b, ..], _) => Compression::Gzip,
            ([0x28, 0xb5, 0x2f, 0xfd, ..], _) => Compression::Zstd,
            (_, Some(b"gzip")) => Compression::Gzip,
            (_, Some(b"zstd")) => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// Walks over values without making them.
struct Parts<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parts<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The bytes of the next value.
    fn value(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match Frame::default().advance(rest) {
            Ok(Progress::Whole(len)) => {
                self.at += len;
                Some(&rest[..len])
            }
            _ => None,
        }
    }

    /// The header of an array.
    fn array(&mut self) -> Option<u64> {
        self.header(&[0xdc, 0xdd], 0x90..=0x9f)
    }

    /// The header of a map.
    fn map(&mut self) -> Option<u64> {
        self.header(&[0xde, 0xdf], 0x80..=0x8f)
    }

    fn header(&mut self, wide: &[u8; 2], fixed: std::ops::RangeInclusive<u8>) -> Option<u64> {
        let first = self.peek()?;
        if !fixed.contains(&first) && !wide.contains(&first) {
            return None;
        }
        let (next, children) = msgpack::skim(self.bytes, self.at).ok()?.ok()?;
        self.at = next;
        // A map's pairs are two values each.
        Some(if first >= 0xde || first < 0x90 { children / 2 } else { children })
    }

    /// Text or binary data.
    fn text(&mut self) -> Option<&'a [u8]> {
        let head = match self.peek()? {
            0xa0..=0xbf => 1,
            0xc4 | 0xd9 => 2,
            0xc5 | 0xda => 3,
            0xc6 | 0xdb => 5,
            _ => return None,
        };
        self.value()?.get(head..)
    }

    /// Options: a map, or nil.
    fn options(&mut self) -> Option<Options<'a>> {
        let mut options = Options::default();
        if self.peek()? == 0xc0 {
            return Some(options);
        }
        for _ in 0..self.map()? {
            let Some(key) = self.text() else {
                // A key that is not text is none of ours.
                self.value()?;
                self.value()?;
                continue;
            };
            let value = self.at;
            match key {
                b"chunk" => options.chunk = self.text(),
                b"compressed" => options.compressed = self.text(),
                b"fluent_signal" => options.signal = self.peek().filter(|&b| b < 0x80).map_or(0, u64::from),
                _ => {}
            }
            self.at = value;
            self.value()?;
        }
        Some(options)
    }
}

/// Appends `{"ack": chunk}`.
pub fn write_ack(out: &mut Vec<u8>, chunk: &[u8]) {
    write_map_header(out, 1);
    write_str(out, b"ack");
    write_str(out, chunk);
}

/// Appends what a server says first: `["HELO", {nonce, auth}]`.
pub fn write_helo(out: &mut Vec<u8>, nonce: &[u8], auth: &[u8]) {
    write_array_header(out, 2);
    write_str(out, b"HELO");
    write_map_header(out, 2);
    write_str(out, b"nonce");
    write_str(out, nonce);
    write_str(out, b"auth");
    write_str(out, auth);
}

/// What a client answers: `["PING", hostname, salt, digest, user, password digest]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping<'a> {
    /// Name of the client.
    pub hostname: &'a [u8],
    /// Salt of the shared key's digest.
    pub salt: &'a [u8],
    /// SHA-512 of salt, hostname, nonce and shared key, in hexadecimal.
    pub digest: &'a [u8],
    /// User, or nothing.
    pub user: &'a [u8],
    /// SHA-512 of auth salt, user and password, in hexadecimal.
    pub password_digest: &'a [u8],
}

impl<'a> Ping<'a> {
    /// Reads a whole PING.
    pub fn read(bytes: &'a [u8]) -> Option<Ping<'a>> {
        let mut parts = Parts { bytes, at: 0 };
        if parts.array()? != 6 || parts.text()? != b"PING" {
            return None;
        }
        Some(Ping {
            hostname: parts.text()?,
            salt: parts.text()?,
            digest: parts.text()?,
            user: parts.text()?,
            password_digest: parts.text()?,
        })
    }
}

/// Appends the server's verdict: `["PONG", accepted, reason, hostname, digest]`.
pub fn write_pong(out: &mut Vec<u8>, verdict: Result<(&[u8], &[u8]), &str>) {
    write_array_header(out, 5);
    write_str(out, b"PONG");
    out.push(if verdict.is_ok() { 0xc3 } else { 0xc2 });
    write_str(out, verdict.err().unwrap_or_default().as_bytes());
    let (hostname, digest) = verdict.unwrap_or_default();
    write_str(out, hostname);
    write_str(out, digest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGE: &[u8] = b"\x94\xa1t\xce\x65\x53\xf1\x00\x81\xa1a\x01\x81\xa5chunk\xa2c1";
    const FORWARD: &[u8] = b"\x92\xa1t\x92\x92\x01\x81\xa1a\x01\x92\x02\x80";
    const PACKED: &[u8] = b"\x93\xa1t\xc4\x05\x92\x01\x81\xa1a\x82\xa4size\x01\xaacompressed\xa4gzip";

    #[test]
    fn messages_of_each_kind_are_read() {
        let message = Message::read(MESSAGE).expect("a message");
        assert_eq!((message.tag, message.options.chunk), (&b"t"[..], Some(&b"c1"[..])));
        assert_eq!(message.carrier, Carrier::Message(b"\xce\x65\x53\xf1\x00\x81\xa1a\x01"));
        let message = Message::read(FORWARD).expect("a message");
        assert_eq!(message.carrier, Carrier::Forward(&FORWARD[3..]));
        let message = Message::read(PACKED).expect("a message");
        assert_eq!(message.carrier, Carrier::Packed(b"\x92\x01\x81\xa1a"));
        assert_eq!(message.compression(), Compression::Gzip);
        assert!(Message::read(b"\x94\xa1t\x01\x80\xc0").is_ok(), "nil options");
    }

    #[test]
    fn what_is_no_message_says_why() {
        for (bytes, why) in [
            (&b"\x81\xa1a\x01"[..], "it is not an array"),
            (b"\x91\xa1x", "it has no events"),
            (b"\x93\x05\x01\x80", "its tag is not text"),
            (b"\x92\xa1t\x01", "message mode needs three elements at least"),
            (b"\x93\xa1t\x01\xa1x", "its record is not a map"),
            (b"\x93\xa1t\xc3\x80", "its second element is neither a time nor events"),
            (b"\x94\xa1t\x01\x80\x05", "its options are not a map"),
        ] {
            assert_eq!(Message::read(bytes), Err(why), "{bytes:x?}");
        }
    }

    #[test]
    fn a_frame_ends_where_its_value_does_whatever_the_reads() {
        for whole in [MESSAGE, FORWARD, PACKED] {
            let mut stream = whole.to_vec();
            stream.extend_from_slice(b"\x92\xff");
            for cut in 0..whole.len() {
                let mut frame = Frame::default();
                let Ok(Progress::Needs(needed)) = frame.advance(&stream[..cut]) else { panic!("cut {cut}") };
                assert!(needed > cut && needed <= whole.len(), "cut {cut} needs {needed}");
                assert_eq!(frame.advance(&stream), Ok(Progress::Whole(whole.len())), "cut {cut}");
            }
        }
        assert!(Frame::default().advance(b"\xc1").is_err());
    }

    #[test]
    fn the_handshake_reads_back() {
        let mut out = Vec::new();
        write_array_header(&mut out, 6);
        for text in ["PING", "me", "salt", "digest", "", ""] {
            write_str(&mut out, text.as_bytes());
        }
        let ping = Ping::read(&out).expect("a ping");
        assert_eq!((ping.hostname, ping.salt, ping.digest), (&b"me"[..], &b"salt"[..], &b"digest"[..]));
        assert_eq!(Ping::read(b"\x91\xa4PING"), None);
        let mut out = Vec::new();
        write_pong(&mut out, Err("no"));
        assert_eq!(out, b"\x95\xa4PONG\xc2\xa2no\xa0\xa0");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::read(&bytes);
            let _ = Ping::read(&bytes);
            let mut frame = Frame::default();
            for cut in 0..=bytes.len() {
                match frame.advance(&bytes[..cut]) {
                    Ok(Progress::Needs(needed)) => prop_assert!(needed > cut),
                    Ok(Progress::Whole(len)) => { prop_assert!(len <= cut); break }
                    Err(_) => break,
                }
            }
        }
    }
}
