//! Backslash escapes, each dialect as Fluent Bit reads it.

use bumpalo::collections::Vec;

/// `escaped`: `\n` and its like; before any other character the backslash is dropped, at the end it stays.
pub(super) fn unescape(text: &[u8], out: &mut Vec<'_, u8>) {
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'\\', Some(&next)) => {
                let plain = match next {
                    b'n' => b'\n',
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    b'\\' => b'\\',
                    _ => continue,
                };
                out.push(plain);
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
}

/// MySQL's escapes; an unknown one stays whole.
pub(super) fn unescape_mysql(text: &[u8], out: &mut Vec<'_, u8>) {
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            None => out.push(b'\\'),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(&quoted @ (b'\\' | b'\'' | b'"')) => out.push(quoted),
            Some(b'0') => out.push(0),
            Some(b'Z') => out.push(0x1a),
            Some(&other) => out.extend([b'\\', other]),
        }
    }
}

/// `escaped_utf8`: C's escapes, octal, `\xHH`, `\uHHHH` with surrogate pairs, `\UHHHHHHHH`; ends at a NUL.
pub(super) fn unescape_utf8(text: &[u8], out: &mut Vec<'_, u8>) {
    let mut at = 0;
    while let Some(&byte) = text.get(at).filter(|b| **b != 0) {
        let Some(&next) = text.get(at + 1).filter(|_| byte == b'\\') else {
            out.push(byte);
            at += 1;
            continue;
        };
        let simple = match next {
            b'n' => Some(b'\n'),
            b't' => Some(b'\t'),
            b'r' => Some(b'\r'),
            b'b' => Some(8),
            b'f' => Some(12),
            b'v' => Some(11),
            b'a' => Some(7),
            b'0'..=b'7' | b'x' | b'u' | b'U' => None,
            other => Some(other),
        };
        match simple {
            Some(plain) => {
                out.push(plain);
                at += 2;
            }
            None => {
                let (code, length) = numeric(&text[at + 1..]);
                push_code(code, out);
                at += 1 + length;
            }
        }
    }
}

fn push_code(code: u32, out: &mut Vec<'_, u8>) {
    // A code beyond Unicode becomes a character that says so; a surrogate never gets here.
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The value of up to `most` digits and how many there are.
fn digits(text: &[u8], radix: u32, most: usize) -> (u32, usize) {
    let mut value: u32 = 0;
    let mut count = 0;
    for digit in text.iter().take(most).map_while(|b| char::from(*b).to_digit(radix)) {
        value = value.wrapping_mul(radix).wrapping_add(digit);
        count += 1;
    }
    (value, count)
}

/// The code of an escape that begins at its letter (or octal digit), and its length.
fn numeric(text: &[u8]) -> (u32, usize) {
    const REPLACEMENT: u32 = char::REPLACEMENT_CHARACTER as u32;
    let letter = text.first().copied().unwrap_or(0);
    let rest = text.get(1..).unwrap_or_default();
    match letter {
        b'0'..=b'7' => digits(text, 8, 3),
        b'x' | b'U' => match digits(rest, 16, if letter == b'x' { 2 } else { 8 }) {
            (_, 0) => (u32::from(letter), 1),
            (code, count) => (code, 1 + count),
        },
        _ => match digits(rest, 16, 4) {
            (_, 0) => (0, 1),
            (high @ 0xd800..=0xdbff, 4) if rest.get(4..6) == Some(b"\\u") && rest.len() > 6 => {
                let (low, count) = digits(&rest[6..], 16, 4);
                let pair = count == 4 && (0xdc00..=0xdfff).contains(&low);
                let code = 0x10000u32
                    .wrapping_add(high.wrapping_sub(0xd800) << 10)
                    .wrapping_add(low.wrapping_sub(0xdc00));
                (if pair { code } else { REPLACEMENT }, 7 + count)
            }
            (0xd800..=0xdfff, 4) => (REPLACEMENT, 5),
            (code, 4) => (code, 5),
            (_, count) => (REPLACEMENT, 1 + count),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bumpalo::Bump;

    fn run(f: fn(&[u8], &mut Vec<'_, u8>), text: &str) -> String {
        let arena = Bump::new();
        for cut in 0..text.len() {
            f(&text.as_bytes()[..cut], &mut Vec::new_in(&arena));
        }
        let mut out = Vec::new_in(&arena);
        f(text.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn dialects() {
        assert_eq!(run(unescape, r#"a\nb\tc\\d\"e\u00e9"#), "a\nb\tc\\d\"eu00e9");
        assert_eq!(run(unescape_mysql, r"a\'b\Z\0\q\\"), "a'b\u{1a}\0\\q\\");
        assert_eq!(
            run(unescape_utf8, r"\u00e9 \ud83d\ude80 \x41\101 \ud83d x \q\/ \u12"),
            "é \u{1f680} AA \u{fffd} x q/ \u{fffd}"
        );
        assert_eq!(run(unescape_utf8, "é\\n"), "é\n");
    }
}
