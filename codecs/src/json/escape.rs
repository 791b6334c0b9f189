//! Escapes inside JSON strings, and UTF-8: decoding what stands there, writing what leaves.

use super::Escape;
use crate::simd::{Lanes, append_escaped};
use bumpalo::Bump;

/// Decodes the inside of a JSON string that holds at least one escape. Surrogate pairs become one character, a lone
/// surrogate U+FFFD, as in Fluent Bit. `None` when an escape is malformed.
pub(crate) fn decode<'a>(raw: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
    // Decoding never grows: `\uXXXX` is six bytes for at most three, a pair twelve for four.
    let mut out = bumpalo::collections::Vec::with_capacity_in(raw.len(), arena);
    let mut at = 0;
    while let Some(run) = memchr::memchr(b'\\', &raw[at..]) {
        out.extend_from_slice_copy(&raw[at..at + run]);
        at += run + 1;
        let plain = match raw.get(at)? {
            b'"' => b'"',
            b'\\' => b'\\',
            b'/' => b'/',
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (c, next) = unicode(raw, at + 1)?;
                out.extend_from_slice_copy(c.encode_utf8(&mut [0; 4]).as_bytes());
                at = next;
                continue;
            }
            _ => return None,
        };
        out.push(plain);
        at += 1;
    }
    out.extend_from_slice_copy(&raw[at..]);
    Some(out.into_bump_slice())
}

/// The character of `XXXX` at `at` (with the low surrogate behind it, if it is a pair), and where it ends.
fn unicode(raw: &[u8], at: usize) -> Option<(char, usize)> {
    let first = hex4(raw, at)?;
    let next = at + 4;
    if (0xd800..0xdc00).contains(&first) && raw.get(next..next + 2) == Some(b"\\u") {
        let second = hex4(raw, next + 2)?;
        if (0xdc00..0xe000).contains(&second) {
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), next + 6));
        }
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), next))
}

fn hex4(raw: &[u8], at: usize) -> Option<u32> {
    raw.get(at..at + 4)?.iter().try_fold(0, |n, &b| Some(n << 4 | char::from(b).to_digit(16)?))
}

/// True when the escape that starts behind a backslash at `at` is well formed; gives where it ends.
#[inline(always)]
pub(crate) fn end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => hex4(text, at + 1).map(|_| at + 5),
        _ => None,
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends text as the inside of a JSON string.
#[inline(always)]
pub(super) fn write_on<L: Lanes>(lanes: L, out: &mut Vec<u8>, text: &[u8], escape: Escape) {
    let mut at = append_escaped(lanes, out, text, 0);
    while at < text.len() {
        at = foreign(out, text, at, escape);
        at = append_escaped(lanes, out, text, at);
    }
}

/// Writes the characters beyond ASCII at `at`; gives where ASCII goes on.
#[inline(never)]
fn foreign(out: &mut Vec<u8>, text: &[u8], mut at: usize, escape: Escape) -> usize {
    while text.get(at).is_some_and(|byte| !byte.is_ascii()) {
        let (c, len) = character(&text[at..]);
        match escape {
            Escape::Unicode => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Escape::Ascii => c.encode_utf16(&mut [0; 2]).iter().for_each(|&unit| hex(out, unit)),
        }
        at += len;
    }
    at
}

fn hex(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// The character at the start of non-empty bytes and its length; each maximal invalid sequence is one U+FFFD.
pub(crate) fn character(bytes: &[u8]) -> (char, usize) {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if e.valid_up_to() > 0 => std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or("\u{fffd}"),
        Err(e) => return (char::REPLACEMENT_CHARACTER, e.error_len().unwrap_or(head.len())),
    };
    let c = valid.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
    (c, c.len_utf8())
}
