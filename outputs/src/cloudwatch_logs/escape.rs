//! JSON escaping of a message on its way into a request body, in one pass.
//!
//! Owns: text to the inside of a JSON string. Never: validates; the text is UTF-8 already.

/// Bytes that a chunk is looked at at once.
const CHUNK: usize = 8;
const ONES: u64 = u64::from_le_bytes([1; CHUNK]);
const HIGHS: u64 = u64::from_le_bytes([0x80; CHUNK]);

/// A high bit in each byte of `word` that JSON wants escaped: below 0x20, `"` or `\`. The lowest one is exact, those
/// above it may be false; bytes from 0x80 on are never marked below a true one.
const fn specials(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
    let slash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    (control | quote | slash) & !word & HIGHS
}

/// Appends `text` so that it can stand between the quotes of a JSON string.
pub fn append(out: &mut Vec<u8>, text: &[u8]) {
    let mut at = out.len();
    let mut rest = text;
    grow(out, at, rest.len());
    while let Some(chunk) = rest.first_chunk::<CHUNK>() {
        out[at..at + CHUNK].copy_from_slice(chunk);
        let found = specials(u64::from_le_bytes(*chunk));
        if found == 0 {
            at += CHUNK;
            rest = &rest[CHUNK..];
            continue;
        }
        let plain = found.trailing_zeros() as usize / 8;
        at += plain;
        at = special(out, at, chunk[plain]);
        rest = &rest[plain + 1..];
        grow(out, at, rest.len());
    }
    for &byte in rest {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            at = special(out, at, byte);
        } else {
            out[at] = byte;
            at += 1;
        }
    }
    out.truncate(at);
}

/// Makes room behind `at`: two bytes for each of `left`, and slack for one control character and one chunk per step.
fn grow(out: &mut Vec<u8>, at: usize, left: usize) {
    let wanted = at + 2 * left + 6 * CHUNK;
    if out.len() < wanted {
        // Twice the slack, so that text full of control characters does not come here for each of them.
        out.resize(wanted + left + 256, 0);
    }
}

/// Writes the escape of one byte and returns where it ends.
fn special(out: &mut [u8], at: usize, byte: u8) -> usize {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let hex = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            out[at..at + 6].copy_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            return at + 6;
        }
    };
    out[at..at + 2].copy_from_slice(&[b'\\', short]);
    at + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(text: &str) -> String {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    }

    #[test]
    fn every_byte_at_every_place() {
        for byte in 0_u8..128 {
            for place in 0..20 {
                let text = format!("{}{}{}", "x".repeat(place), char::from(byte), "y".repeat(19 - place));
                let mut out = b"kept".to_vec();
                append(&mut out, text.as_bytes());
                assert_eq!(
                    String::from_utf8(out).unwrap(),
                    format!("kept{}", naive(&text)),
                    "{byte} at {place}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn as_serde_json_does(text in "[\\x00-\\x40\\\\\"aé€😀]{0,200}") {
            let mut out = Vec::new();
            append(&mut out, text.as_bytes());
            prop_assert_eq!(String::from_utf8(out).unwrap(), naive(&text));
        }
    }
}
