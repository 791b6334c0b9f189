//! `s3_key_format`: the key of an object from the tag, the time of its first record, an index and chance.
//!
//! Owns: `$TAG`, `$TAG[n]`, `$INDEX`, `$UUID`, time conversions, the random end that keeps keys apart.
//! Never: looks at a clock.

use codecs::record::Timestamp;
use codecs::time::write_strftime;
use ring::rand::{SecureRandom, SystemRandom};

/// Longest key that S3 takes, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 1024;
/// Parts of a tag that a key can name: `$TAG[0]` to `$TAG[9]`.
const TAG_PARTS_MAX: usize = 10;
/// What stands before the random end, and its length.
const END: &str = "-object";
const RANDOM_CHARS: usize = 8;

/// A key format.
#[derive(Clone, Debug)]
pub(super) struct KeyFormat {
    text: String,
    delimiters: String,
    /// `static_file_path`: never adds a random end.
    fixed: bool,
}

impl KeyFormat {
    pub(super) fn new(text: String, delimiters: String, fixed: bool) -> Self {
        KeyFormat { text, delimiters, fixed }
    }

    /// Whether keys are numbered.
    pub(super) fn has_index(&self) -> bool {
        self.text.contains("$INDEX")
    }

    /// The key, with its leading slash. `apart` adds a random end where the format has neither `$UUID` nor `$INDEX`,
    /// as Fluent Bit does for PutObject.
    pub(super) fn key(&self, tag: &str, first: i64, index: u64, random: &str, apart: bool) -> String {
        let mut text = self.text.clone();
        let parts = tag.split(|c| self.delimiters.contains(c)).filter(|part| !part.is_empty());
        for (n, part) in parts.take(TAG_PARTS_MAX).enumerate() {
            text = text.replace(&format!("$TAG[{n}]"), part);
        }
        text = text.replace("$TAG", tag);
        text = text.replace("$INDEX", &index.to_string()).replace("$UUID", random);
        let mut out = Vec::new();
        write_strftime(&mut out, &text, Timestamp { secs: first, nanos: 0 });
        let mut key = String::from_utf8(out).unwrap_or(text);
        cut(&mut key, KEY_BYTES_MAX);
        let named = self.fixed || self.has_index() || self.text.contains("$UUID");
        if apart && !named {
            cut(&mut key, KEY_BYTES_MAX - END.len() - RANDOM_CHARS);
            key.push_str(END);
            key.push_str(random);
        }
        key
    }
}

/// Cuts text to so many bytes, between characters.
fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// Eight random letters and digits.
pub(super) fn random() -> String {
    const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut bytes = [0; RANDOM_CHARS];
    // Without the system's randomness keys are kept apart by time alone, which is better than no key.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fluent_bits() {
        for (format, delimiters, fixed, apart, expected) in [
            ("/f/$TAG/%Y/%m/%d/%H/%M/%S", ".", false, true, "/f/a.b-c/2023/11/14/22/13/20-objectRANDOM00"),
            ("/f/$TAG/%Y/%m/%d/%H/%M/%S", ".", false, false, "/f/a.b-c/2023/11/14/22/13/20"),
            ("/f/$TAG/%Y", ".", true, true, "/f/a.b-c/2023"),
            ("/$TAG[0]/$TAG[1]/$UUID.log", ".", false, true, "/a/b-c/RANDOM00.log"),
            ("/$TAG[0]/$TAG[1]/$TAG[2]", ".-", true, true, "/a/b/c"),
            ("/$TAG[5]", ".", true, true, "/a.b-c[5]"),
            ("/x/$INDEX", ".", false, true, "/x/7"),
            ("/100%%/%Q", ".", true, true, "/100%/%Q"),
        ] {
            let key = KeyFormat::new(format.into(), delimiters.into(), fixed);
            assert_eq!(key.key("a.b-c", 1_700_000_000, 7, "RANDOM00", apart), expected, "{format}");
        }
    }

    #[test]
    fn keys_are_never_too_long_for_s3() {
        let key = KeyFormat::new("/$TAG".into(), ".".into(), false);
        for apart in [false, true] {
            let made = key.key(&"é".repeat(2000), 0, 0, &random(), apart);
            assert!(made.len() <= KEY_BYTES_MAX && made.len() > KEY_BYTES_MAX - 4, "{}", made.len());
        }
    }
}
