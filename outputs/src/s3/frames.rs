//! The form of an object's data on disk: frames with a length and a checksum.
//!
//! Owns: writing a frame's head, reading frames one by one, telling a torn tail from a corrupt frame.
//! Never: opens a file. Invariant: a frame that is read as good has the bytes that were written.

use std::io::{self, Read};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes before each payload: magic, kind, length, checksum.
pub(super) const HEAD_BYTES: usize = 16;
/// Largest payload; far above what one segment holds.
pub(super) const PAYLOAD_BYTES_MAX: usize = 256 << 20;

const MAGIC: [u8; 3] = *b"RS3";

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tag and times: the first frame.
    Head = 1,
    /// Encoded records.
    Data = 2,
}

/// The bytes before a payload.
pub(super) fn head(kind: Kind, payload: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..3].copy_from_slice(&MAGIC);
    head[3] = kind as u8;
    head[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[8..].copy_from_slice(&xxh3_64_with_seed(payload, kind as u64).to_le_bytes());
    head
}

/// What stands at a place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A good frame; its payload is in the buffer.
    Frame(Kind),
    /// A whole frame whose bytes changed.
    Corrupt,
    /// Less than a frame, or bytes that are no frame.
    Torn,
    /// Nothing more.
    End,
}

/// Reads the next frame into `payload`.
pub(super) fn next(from: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<Step> {
    payload.clear();
    let mut head = [0; HEAD_BYTES];
    match fill(from, &mut head)? {
        0 => return Ok(Step::End),
        HEAD_BYTES => {}
        _ => return Ok(Step::Torn),
    }
    let [m0, m1, m2, kind, l0, l1, l2, l3, sum @ ..] = head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let kind = match kind {
        1 => Kind::Head,
        2 => Kind::Data,
        _ => return Ok(Step::Torn),
    };
    if [m0, m1, m2] != MAGIC || length > PAYLOAD_BYTES_MAX {
        return Ok(Step::Torn);
    }
    let read = from.by_ref().take(length as u64).read_to_end(payload)?;
    if read < length {
        return Ok(Step::Torn);
    }
    let good = xxh3_64_with_seed(payload, kind as u64) == u64::from_le_bytes(sum);
    Ok(if good { Step::Frame(kind) } else { Step::Corrupt })
}

/// Reads until the buffer is full or nothing more comes.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What the first frame says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// When it was begun, in milliseconds since the epoch.
    pub(super) created: i64,
    /// Time of its first record, in seconds since the epoch.
    pub(super) first: i64,
    /// Tag of its records.
    pub(super) tag: String,
}

impl About {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.tag.len());
        out.extend_from_slice(&self.created.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(self.tag.as_bytes());
        out
    }

    pub(super) fn read(payload: &[u8]) -> Option<About> {
        let (created, rest) = payload.split_first_chunk::<8>()?;
        let (first, tag) = rest.split_first_chunk::<8>()?;
        Some(About {
            created: i64::from_le_bytes(*created),
            first: i64::from_le_bytes(*first),
            tag: String::from_utf8(tag.to_vec()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(payloads: &[Vec<u8>]) -> Vec<u8> {
        let about = About { created: 5, first: -7, tag: "a.b".into() }.write();
        let mut bytes = [&head(Kind::Head, &about)[..], &about].concat();
        for payload in payloads {
            bytes.extend_from_slice(&head(Kind::Data, payload));
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    /// The payloads of good frames until something else comes, and what that is.
    fn read(mut bytes: &[u8]) -> (Vec<Vec<u8>>, Step) {
        let (mut payloads, mut buffer) = (Vec::new(), Vec::new());
        loop {
            match next(&mut bytes, &mut buffer).expect("memory does not fail") {
                Step::Frame(_) => payloads.push(buffer.clone()),
                other => return (payloads, other),
            }
        }
    }

    #[test]
    fn every_cut_gives_whole_frames_only() {
        let whole = file(&[b"one\n".to_vec(), Vec::new(), b"three\n".to_vec()]);
        let (all, step) = read(&whole);
        assert_eq!((all.len(), step), (4, Step::End));
        assert_eq!(About::read(&all[0]).map(|about| (about.first, about.tag)), Some((-7, "a.b".into())));
        let mut boundaries = 0;
        for cut in 0..whole.len() {
            let (some, step) = read(&whole[..cut]);
            assert_eq!(some[..], all[..some.len()], "cut at {cut}");
            boundaries += usize::from(step == Step::End);
        }
        assert_eq!(boundaries, 4, "each place where a frame begins, and no other, is a clean end");
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_never_read_as_good(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..5),
            place in any::<proptest::sample::Index>(),
            change in 1u8..,
        ) {
            let whole = file(&payloads);
            let (good, _) = read(&whole);
            let mut broken = whole.clone();
            broken[place.index(whole.len())] ^= change;
            let (read, step) = read(&broken);
            prop_assert!(read.len() < good.len());
            prop_assert_eq!(&read[..], &good[..read.len()]);
            prop_assert_ne!(step, Step::End);
        }
    }
}
