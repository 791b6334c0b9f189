//! The journal of an object: its key, its multipart upload and the parts that the service has.
//!
//! Owns: the lines and what they add up to. Never: opens a file. Invariant: a line counts only when its checksum
//! holds; nothing after a broken line counts.

use xxhash_rust::xxh3::xxh3_64;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It goes to this key.
    Key(String),
    /// This multipart upload was begun, for bytes of this form.
    Upload(String, String),
    /// The service has a part.
    Part(Part),
    /// The upload is gone: everything goes again.
    Reset,
}

/// A part that the service has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// From 1.
    pub(super) number: i32,
    /// Where the frames in it end in the data file.
    pub(super) end: u64,
    /// Its bytes as sent.
    pub(super) bytes: u64,
    /// What the service calls it.
    pub(super) etag: String,
}

/// What the entries add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) key: Option<String>,
    pub(super) upload: Option<String>,
    /// How the bytes of the upload's parts were compressed: others do not go into it.
    pub(super) form: String,
    pub(super) parts: Vec<Part>,
}

impl State {
    /// Applies an entry.
    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Key(key) => self.key = Some(key),
            Entry::Upload(id, form) => {
                (self.upload, self.form, self.parts) = (Some(id), form, Vec::new());
            }
            Entry::Part(part) => self.parts.push(part),
            Entry::Reset => (self.upload, self.parts) = (None, Vec::new()),
        }
    }

    /// Reads a journal; also says whether all of it could be read.
    pub(super) fn read(journal: &[u8]) -> (State, bool) {
        let mut state = State::default();
        let mut rest = journal;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let Some(entry) = Entry::read(&rest[..end]) else { break };
            state.apply(entry);
            rest = &rest[end + 1..];
        }
        (state, rest.is_empty())
    }
}

impl Entry {
    /// A line: the checksum in hexadecimal, then words between tabs.
    pub(super) fn line(&self) -> Vec<u8> {
        let body = match self {
            Entry::Key(key) => format!("key\t{}", escaped(key)),
            Entry::Upload(id, form) => format!("upload\t{}\t{}", escaped(id), escaped(form)),
            Entry::Part(p) => format!("part\t{}\t{}\t{}\t{}", p.number, p.end, p.bytes, escaped(&p.etag)),
            Entry::Reset => "reset".to_owned(),
        };
        format!("{:016x}\t{body}\n", xxh3_64(body.as_bytes())).into_bytes()
    }

    fn read(line: &[u8]) -> Option<Entry> {
        let line = std::str::from_utf8(line).ok()?;
        let (sum, body) = line.split_once('\t')?;
        if format!("{:016x}", xxh3_64(body.as_bytes())) != sum {
            return None;
        }
        let mut words = body.split('\t');
        let entry = match (words.next()?, words.next()) {
            ("key", Some(key)) => Entry::Key(unescaped(key)),
            ("upload", Some(id)) => Entry::Upload(unescaped(id), unescaped(words.next()?)),
            ("part", Some(number)) => Entry::Part(Part {
                number: number.parse().ok()?,
                end: words.next()?.parse().ok()?,
                bytes: words.next()?.parse().ok()?,
                etag: unescaped(words.next()?),
            }),
            ("reset", None) => Entry::Reset,
            _ => return None,
        };
        Some(entry)
    }
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\t', "%09").replace('\n', "%0a")
}

fn unescaped(text: &str) -> String {
    text.replace("%0a", "\n").replace("%09", "\t").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(number: i32) -> Entry {
        let end = 100 * number as u64;
        Entry::Part(Part { number, end, bytes: 7, etag: format!("\"e{number}\"") })
    }

    #[test]
    fn every_cut_gives_a_state_that_was_true_once() {
        let entries = [
            Entry::Key("/a b".into()),
            Entry::Upload("u1".into(), "gzip".into()),
            part(1),
            Entry::Reset,
            Entry::Upload("u2".into(), "none".into()),
            part(1),
            part(2),
        ];
        let mut states = vec![State::default()];
        let mut whole = Vec::new();
        for entry in entries {
            whole.extend_from_slice(&entry.line());
            let mut state = states.last().cloned().unwrap_or_default();
            state.apply(entry);
            states.push(state);
        }
        for cut in 0..=whole.len() {
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            let (state, clean) = State::read(&whole[..cut]);
            assert_eq!(state, states[lines], "cut at {cut}");
            assert_eq!(clean, cut == 0 || whole[cut - 1] == b'\n', "cut at {cut}");
        }
        let last = states.last().expect("states");
        assert_eq!((last.upload.as_deref(), last.parts.len()), (Some("u2"), 2));
    }

    proptest! {
        #[test]
        fn any_text_survives(key in any::<String>(), id in any::<String>(), form in any::<String>()) {
            let journal =
                [Entry::Key(key.clone()).line(), Entry::Upload(id.clone(), form.clone()).line()].concat();
            let (state, clean) = State::read(&journal);
            prop_assert!(clean);
            prop_assert_eq!((state.key, state.upload, state.form), (Some(key), Some(id), form));
        }

        #[test]
        fn a_changed_byte_ends_the_reading(place in any::<proptest::sample::Index>(), change in 1u8..) {
            let mut journal = [Entry::Key("k".into()).line(), Entry::Upload("u".into(), String::new()).line(), part(1).line()].concat();
            let before = State::read(&journal).0;
            let at = place.index(journal.len());
            journal[at] ^= change;
            let (after, clean) = State::read(&journal);
            prop_assert!(!clean);
            prop_assert_ne!(after, before);
        }
    }
}
