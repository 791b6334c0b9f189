//! What the listening inputs (tcp, udp, http, forward, syslog) share: sockets, TLS, limits, memory, answers.
//!
//! Owns: the design below; nothing else stands in this file.
//!
//! **One thread.** An input runs on its own thread, which drives a tokio runtime of that thread alone: one task a
//! connection, no locks between them. The thread accepts, reads, finds where messages end, and answers. It never parses
//! a record: blocks of whole messages go to the shards, where the input's `Decoder` makes records of them.
//!
//! **Memory.** A connection that has nothing to say holds no buffer. When its socket is readable, memory is taken from
//! the budgets (`Gate::admit`), then bytes are read ([`inbox::Inbox`]) and handed over. Where there is no memory, or an
//! output of the connection's tag has no room, the socket is not read: TCP stops the sender, HTTP answers 503. Only
//! datagrams, which nobody can hold back, are then lost where the kernel's buffer ends.
//!
//! **A source is a connection and a tag** ([`sources`]): its records stay in order, and its cursor tells when outputs
//! have accepted them.
//!
//! **Answers are late.** What came over a socket cannot be read again, so a sender that waits for an answer gets it when
//! every routed output has accepted the records (or dropped and counted them). Forward's `chunk` is acknowledged then
//! and not before: a `kill -9` loses nothing that was acknowledged. An HTTP request waits for that too, but at most
//! `http::ANSWER_WAIT_MAX`; after that it is answered as Fluent Bit does, that it is in memory: clients give up sooner
//! than a broken output comes back, and one that sends again only doubles what is kept already. While somebody waits,
//! outputs deliver the records of that source without waiting for `Flush` (`Cursor::urgent`).
//!
//! **Bad input** costs only itself: a line, a record, a request. It is counted and told. A connection is closed only when
//! where its next message begins cannot be known.
//!
//! **Stopping**: listeners close, connections hand over what is whole, the input says `quiet`, answers go out until all
//! is delivered or `Grace` is over.

pub mod datagram;
pub mod gate;
pub mod inbox;
pub mod json;
pub mod limits;
pub mod listener;
pub mod options;
pub mod serve;
pub mod sources;
pub mod stream;
pub mod text;
pub mod tls;

pub use gate::Gate;
pub use listener::{Address, Listener};
pub use stream::Stream;

/// What dry-run says of an input whose senders are not answered.
pub(crate) fn lost_note(name: &str) -> String {
    format!("{name}: senders are not answered; what is in memory is lost when the program is killed")
}

/// What `Separator` means: `\n`, `\r`, `\t` and the like are the characters that they name.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'a') => out.push(0x07),
            Some(b'b') => out.push(0x08),
            Some(b'v') => out.push(0x0b),
            Some(b'f') => out.push(0x0c),
            Some(b'\\') => out.push(b'\\'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_unescaped() {
        for (text, bytes) in [
            (r"\n", &b"\n"[..]),
            (r"\r\n", b"\r\n"),
            ("||", b"||"),
            (r"\\n", b"\\n"),
            (r"\q", b"q"),
            (r"\", b""),
        ] {
            assert_eq!(unescaped(text), bytes, "{text}");
        }
    }
}
