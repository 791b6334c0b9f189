//! Who may send: the handshake of a shared key, and of users.
//!
//! Owns: nonces and digests. Never: tells what was wrong with a key; compares digests in a time that tells of them.

use codecs::forward::{Ping, write_pong};
use ring::digest::{Context, SHA512};

/// What senders must know.
#[derive(Clone, Debug)]
pub(super) struct Security {
    pub(super) key: String,
    pub(super) hostname: String,
    /// Users and their passwords; none means that no user is asked for.
    pub(super) users: Vec<(String, String)>,
}

/// A nonce and a salt of one handshake, 16 bytes each.
#[derive(Clone, Debug)]
pub(super) struct Challenge {
    pub(super) nonce: [u8; 16],
    pub(super) auth: [u8; 16],
}

/// What a PING led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The sender may go on; this is the PONG.
    Welcome(Vec<u8>),
    /// It may not; this is the PONG that says so.
    Refused(Vec<u8>),
    /// It does not know the key, or sent something else: nothing is said to it.
    Silence(&'static str),
}

impl Security {
    /// Checks a PING.
    pub(super) fn check(&self, challenge: &Challenge, ping: &[u8]) -> Answer {
        let Some(ping) = Ping::read(ping) else { return Answer::Silence("handshake error expecting PING") };
        let expected = self.digest(challenge, ping.salt, ping.hostname);
        if !same(expected.as_bytes(), ping.digest) {
            return Answer::Silence("shared_key mismatch");
        }
        let mut pong = Vec::new();
        if !self.users.is_empty() && !self.knows(challenge, &ping) {
            write_pong(&mut pong, Err("username/password mismatch"));
            return Answer::Refused(pong);
        }
        let digest = self.digest(challenge, ping.salt, self.hostname.as_bytes());
        write_pong(&mut pong, Ok((self.hostname.as_bytes(), digest.as_bytes())));
        Answer::Welcome(pong)
    }

    fn digest(&self, challenge: &Challenge, salt: &[u8], hostname: &[u8]) -> String {
        sha512(&[salt, hostname, &challenge.nonce, self.key.as_bytes()])
    }

    fn knows(&self, challenge: &Challenge, ping: &Ping<'_>) -> bool {
        self.users.iter().any(|(user, password)| {
            let expected = sha512(&[&challenge.auth, user.as_bytes(), password.as_bytes()]);
            user.as_bytes() == ping.user && same(expected.as_bytes(), ping.password_digest)
        })
    }
}

/// The digest of all parts, in hexadecimal.
fn sha512(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares without stopping at the first difference.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::msgpack::{write_array_header, write_str};

    fn ping(security: &Security, challenge: &Challenge, key: &str, user: &str, password: &str) -> Vec<u8> {
        let digest = Security { key: key.to_owned(), ..security.clone() }.digest(challenge, b"salt", b"me");
        let secret = sha512(&[&challenge.auth, user.as_bytes(), password.as_bytes()]);
        let mut out = Vec::new();
        write_array_header(&mut out, 6);
        for text in ["PING", "me", "salt", &digest, user, &secret] {
            write_str(&mut out, text.as_bytes());
        }
        out
    }

    #[test]
    fn only_who_knows_key_and_password_comes_in() {
        let users = vec![("bob".to_owned(), "secret word".to_owned())];
        let open = Security { key: "k".into(), hostname: "srv".into(), users: Vec::new() };
        let closed = Security { users, ..open.clone() };
        let challenge = Challenge { nonce: [7; 16], auth: [9; 16] };
        let answer = |security: &Security, key, user, password| {
            security.check(&challenge, &ping(security, &challenge, key, user, password))
        };
        assert!(matches!(answer(&open, "k", "", ""), Answer::Welcome(_)));
        assert_eq!(answer(&open, "x", "", ""), Answer::Silence("shared_key mismatch"));
        assert!(matches!(answer(&closed, "k", "bob", "secret word"), Answer::Welcome(_)));
        assert!(matches!(answer(&closed, "k", "bob", "other"), Answer::Refused(_)));
        assert!(matches!(answer(&closed, "k", "eve", "secret word"), Answer::Refused(_)));
        assert!(matches!(open.check(&challenge, b"\x91\xa4PING"), Answer::Silence(_)));
    }

    #[test]
    fn digests_are_sha512_in_hexadecimal() {
        let digest = sha512(&[b"a", b"bc"]);
        assert!(digest.starts_with("ddaf35a193617aba") && digest.len() == 128, "{digest}");
    }
}
