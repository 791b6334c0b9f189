//! The bytes of a chunk file: a magic, then frames, each with its own check sums.
//!
//! Owns: encoding and decoding. Never: does I/O, panics on any bytes.
//! Invariants: a frame is believed only where both its sums fit, and the sum of its head covers the place where it
//! stands; so whatever is decoded is what was written there. What is appended never changes what stands before it.
//!
//! ```text
//! file    = "RIPSAW\0\x01" head-frame { segment-frame | done-frame | reason-frame }
//! frame   = kind u8, 0 u8 ×3, length u32, xxh3(payload) u64, xxh3(the 16 bytes before, seed = offset) u64, payload
//! ```
//! All numbers are little-endian.

use outputs::segment::{Event, Segment};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

/// What a chunk file begins with; the last byte is the version of this format.
pub const MAGIC: [u8; 8] = *b"RIPSAW\0\x01";
/// Bytes before a frame's payload.
pub const FRAME_HEAD_BYTES: usize = 24;
/// A longer payload is not believed.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Whose chunk it is; the first frame, and only that.
    Head = 1,
    /// A segment.
    Segment = 2,
    /// A range of the file whose segments are done with.
    Done = 3,
    /// Why what follows was refused.
    Reason = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        [Kind::Head, Kind::Segment, Kind::Done, Kind::Reason].into_iter().find(|k| *k as u8 == byte)
    }
}

/// Whose chunk it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `http`.
    pub plugin: String,
    /// `http.0`, or the output's alias.
    pub output: String,
    /// Of all that determines how the output encodes.
    pub fingerprint: u64,
    /// The lane that it waits for; to be taken modulo their number.
    pub lane: u32,
}

/// A segment in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where its frame begins.
    pub start: u64,
    /// Where its frame ends.
    pub end: u64,
    /// How many records it holds.
    pub records: u32,
    /// How many encoded bytes.
    pub bytes: u64,
}

/// How a file ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Within a frame: the program ended while it wrote. Nobody was told that this frame is safe.
    Torn,
    /// In bytes that nobody wrote so.
    Corrupt,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Whose it is; `None` when not even that can be read.
    pub head: Option<Head>,
    /// Segments that are not done with, in order.
    pub open: Vec<Found>,
    /// The last reason.
    pub reason: Option<String>,
    /// Where the last good frame ends.
    pub good: u64,
    /// What is wrong, if anything is.
    pub damage: Option<Damage>,
}

/// The head of a frame at `at` of the file whose payload is these parts, one after the other.
pub fn frame_head(kind: Kind, parts: &[&[u8]], at: u64) -> [u8; FRAME_HEAD_BYTES] {
    let mut sum = Xxh3::new();
    parts.iter().for_each(|part| sum.update(part));
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut head = [0; FRAME_HEAD_BYTES];
    head[0] = kind as u8;
    head[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    head[8..16].copy_from_slice(&sum.digest().to_le_bytes());
    let check = xxh3_64_with_seed(&head[..16], at);
    head[16..].copy_from_slice(&check.to_le_bytes());
    head
}

/// A whole small frame.
pub fn frame(kind: Kind, payload: &[u8], at: u64) -> Vec<u8> {
    [&frame_head(kind, &[payload], at)[..], payload].concat()
}

/// The beginning of a file: magic and head frame.
pub fn file_head(head: &Head) -> Vec<u8> {
    let mut payload = Vec::new();
    put_bytes(&mut payload, head.plugin.as_bytes());
    put_bytes(&mut payload, head.output.as_bytes());
    payload.extend_from_slice(&head.fingerprint.to_le_bytes());
    payload.extend_from_slice(&head.lane.to_le_bytes());
    [&MAGIC[..], &frame(Kind::Head, &payload, MAGIC.len() as u64)].concat()
}

/// Payload of a done frame.
pub fn done(start: u64, end: u64) -> [u8; 16] {
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&start.to_le_bytes());
    payload[8..].copy_from_slice(&end.to_le_bytes());
    payload
}

/// What stands before the encoded records in the payload of a segment; the records themselves follow it.
pub fn segment_meta(segment: &Segment) -> Vec<u8> {
    let mut meta = Vec::with_capacity(32 + segment.tag.len() + segment.events.len() * 20);
    meta.extend_from_slice(&segment.records.to_le_bytes());
    put_bytes(&mut meta, segment.tag.as_bytes());
    meta.extend_from_slice(&(segment.keys.len() as u32).to_le_bytes());
    segment.keys.iter().for_each(|key| put_bytes(&mut meta, key));
    meta.extend_from_slice(&(segment.events.len() as u32).to_le_bytes());
    for event in &segment.events {
        meta.extend_from_slice(&event.end.to_le_bytes());
        meta.extend_from_slice(&event.unescaped.to_le_bytes());
        meta.extend_from_slice(&event.millis.to_le_bytes());
        meta.extend_from_slice(&event.key.to_le_bytes());
    }
    meta
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    to.extend_from_slice(bytes);
}

/// Takes numbers and bytes off the front; `None` when there are too few.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A count of things of `size` bytes each, when so many can follow.
    fn count(&mut self, size: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count <= self.0.len() / size).then_some(count)
    }
}

fn decode_head(payload: &[u8]) -> Option<Head> {
    let mut reader = Reader(payload);
    let head = Head {
        plugin: reader.text()?.to_owned(),
        output: reader.text()?.to_owned(),
        fingerprint: reader.u64()?,
        lane: reader.u32()?,
    };
    reader.0.is_empty().then_some(head)
}

/// A segment from its payload; `None` when it breaks an invariant of [`Segment`].
pub fn decode_segment(payload: &[u8]) -> Option<Segment> {
    let mut reader = Reader(payload);
    let records = reader.u32()?;
    let mut segment = Segment { records, ..Segment::new(reader.text()?.into()) };
    for _ in 0..reader.count(4)? {
        segment.keys.push(reader.bytes()?.into());
    }
    let events = reader.count(20)?;
    segment.events.reserve(events);
    for _ in 0..events {
        segment.events.push(Event {
            end: reader.u32()?,
            unescaped: reader.u32()?,
            millis: reader.u64()? as i64,
            key: reader.u32()?,
        });
    }
    segment.bytes = reader.0.to_vec();
    let rising = segment.events.windows(2).all(|w| w[0].end <= w[1].end);
    let whole = segment.events.last().is_none_or(|last| last.end as usize == segment.bytes.len());
    let counted = segment.events.is_empty() || segment.events.len() == records as usize;
    let keyed = segment.events.iter().all(|e| e.key == 0 || (e.key as usize) < segment.keys.len());
    (rising && whole && counted && keyed).then_some(segment)
}

/// A frame in a buffer that begins at `base` of the file.
struct Frame<'b> {
    kind: Kind,
    payload: &'b [u8],
    start: u64,
    end: u64,
}

/// The frame at `at` of `bytes`.
fn frame_at(bytes: &[u8], base: u64, at: usize) -> Result<Frame<'_>, Damage> {
    let rest = &bytes[at..];
    let Some(head) = rest.get(..FRAME_HEAD_BYTES) else { return Err(Damage::Torn) };
    let start = base + at as u64;
    let number = |from: usize| u64::from_le_bytes(head[from..from + 8].try_into().unwrap_or_default());
    if number(16) != xxh3_64_with_seed(&head[..16], start) {
        return Err(Damage::Corrupt);
    }
    let kind = Kind::of(head[0]).ok_or(Damage::Corrupt)?;
    let len = u32::from_le_bytes(head[4..8].try_into().unwrap_or_default()) as usize;
    if len > PAYLOAD_BYTES_MAX {
        return Err(Damage::Corrupt);
    }
    let Some(payload) = rest[FRAME_HEAD_BYTES..].get(..len) else { return Err(Damage::Torn) };
    if xxh3_64(payload) != number(8) {
        return Err(Damage::Corrupt);
    }
    Ok(Frame { kind, payload, start, end: start + (FRAME_HEAD_BYTES + len) as u64 })
}

/// Looks through a whole file. What stands before the first damage counts, nothing behind it.
pub fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    if !bytes.starts_with(&MAGIC) {
        let torn = MAGIC.starts_with(bytes);
        scan.damage = Some(if torn { Damage::Torn } else { Damage::Corrupt });
        return scan;
    }
    let mut at = MAGIC.len();
    scan.good = at as u64;
    while at < bytes.len() || scan.head.is_none() {
        let frame = match frame_at(bytes, 0, at) {
            Ok(frame) if believed(&frame, &mut scan) => frame,
            Ok(_) => {
                scan.damage = Some(Damage::Corrupt);
                break;
            }
            Err(damage) => {
                scan.damage = Some(damage);
                break;
            }
        };
        scan.good = frame.end;
        at = frame.end as usize;
    }
    scan
}

/// Takes a frame in; false when it cannot stand there.
fn believed(frame: &Frame<'_>, scan: &mut Scan) -> bool {
    if (frame.kind == Kind::Head) != scan.head.is_none() {
        return false;
    }
    match frame.kind {
        Kind::Head => {
            scan.head = decode_head(frame.payload);
            scan.head.is_some()
        }
        Kind::Segment => {
            let Some(segment) = decode_segment(frame.payload) else { return false };
            scan.open.push(Found {
                start: frame.start,
                end: frame.end,
                records: segment.records,
                bytes: segment.bytes.len() as u64,
            });
            true
        }
        Kind::Done => {
            let mut reader = Reader(frame.payload);
            let (Some(start), Some(end), true) = (reader.u64(), reader.u64(), frame.payload.len() == 16)
            else {
                return false;
            };
            scan.open.retain(|found| found.start < start || found.end > end);
            true
        }
        Kind::Reason => {
            scan.reason = Some(String::from_utf8_lossy(frame.payload).into_owned());
            true
        }
    }
}

/// Segments from `bytes`, which begin at a frame at `base` of the file: at least one, until they hold `bytes_max`
/// encoded bytes. Gives them and where the next frame begins.
pub fn segments(bytes: &[u8], base: u64, bytes_max: usize) -> Result<(Vec<Segment>, u64), Damage> {
    let (mut segments, mut held, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() && (segments.is_empty() || held < bytes_max) {
        let frame = frame_at(bytes, base, at)?;
        if frame.kind == Kind::Segment {
            let segment = decode_segment(frame.payload).ok_or(Damage::Corrupt)?;
            held += segment.bytes.len();
            segments.push(segment);
        }
        at = (frame.end - base) as usize;
    }
    Ok((segments, base + at as u64))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A segment of these records.
    pub(crate) fn segment(tag: &str, records: &[&[u8]]) -> Segment {
        let mut segment = Segment::new(tag.into());
        for (n, record) in records.iter().enumerate() {
            segment.bytes.extend_from_slice(record);
            let key = segment.key(&[n as u8 % 2]);
            let (end, unescaped) = (segment.bytes.len() as u32, record.len() as u32);
            segment.events.push(Event { end, unescaped, millis: -5 + n as i64, key });
            segment.records += 1;
        }
        segment
    }

    fn head() -> Head {
        Head { plugin: "http".into(), output: "http.0".into(), fingerprint: 7, lane: 3 }
    }

    /// A file of these segments; those in `finished` are marked.
    fn file(segments: &[Segment], finished: &[usize]) -> (Vec<u8>, Vec<Found>) {
        let mut bytes = file_head(&head());
        let mut found = Vec::new();
        for segment in segments {
            let (start, meta) = (bytes.len() as u64, segment_meta(segment));
            bytes.extend_from_slice(&frame_head(Kind::Segment, &[&meta, &segment.bytes], start));
            bytes.extend_from_slice(&meta);
            bytes.extend_from_slice(&segment.bytes);
            let (records, len) = (segment.records, segment.bytes.len() as u64);
            found.push(Found { start, end: bytes.len() as u64, records, bytes: len });
        }
        for &n in finished {
            let at = bytes.len() as u64;
            bytes.extend_from_slice(&frame(Kind::Done, &done(found[n].start, found[n].end), at));
        }
        (bytes, found)
    }

    fn same(a: &Segment, b: &Segment) -> bool {
        (&a.tag, &a.bytes, &a.events, &a.keys, a.records) == (&b.tag, &b.bytes, &b.events, &b.keys, b.records)
    }

    fn small() -> (Vec<Segment>, Vec<u8>, Vec<Found>) {
        let segments =
            vec![segment("a", &[b"one", b""]), segment("", &[]), segment("b.c", &[b"two", b"three", b"4"])];
        let (bytes, found) = file(&segments, &[1]);
        (segments, bytes, found)
    }

    #[test]
    fn what_was_written_is_read() {
        let (segments, bytes, found) = small();
        let scan = scan(&bytes);
        assert_eq!((scan.head, scan.damage, scan.good), (Some(head()), None, bytes.len() as u64));
        assert_eq!(scan.open, [found[0], found[2]]);
        let from = found[0].start;
        let (read, next) = super::segments(&bytes[from as usize..], from, 4).expect("read");
        assert!(read.iter().zip(&segments).all(|(a, b)| same(a, b)) && read.len() == 3);
        assert_eq!(next, found[2].end);
        let (read, next) = super::segments(&bytes[from as usize..], from, 0).expect("read");
        assert_eq!((read.len(), next), (1, found[0].end), "at least one");
    }

    #[test]
    fn a_file_cut_anywhere_gives_what_stands_before_the_cut() {
        let (_, bytes, found) = small();
        let head_end = found[0].start;
        for cut in 0..bytes.len() {
            let scan = scan(&bytes[..cut]);
            assert_eq!(scan.head.is_some(), cut as u64 >= head_end, "cut {cut}");
            let whole = |f: &Found| f.end <= cut as u64;
            assert_eq!(scan.open, found.iter().copied().filter(whole).collect::<Vec<_>>(), "cut {cut}");
            let at_frame = found.iter().any(|f| f.end == cut as u64) || cut as u64 == head_end;
            assert_eq!(scan.damage, (!at_frame).then_some(Damage::Torn), "cut {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_never_makes_a_wrong_segment() {
        let (segments, bytes, found) = small();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let scan = scan(&bad);
            let at = (bit / 8) as u64;
            assert!(scan.damage.is_some(), "bit {bit}");
            let before: Vec<_> = found.iter().copied().filter(|f| f.end <= at).collect();
            assert_eq!(scan.open, before, "bit {bit}");
            for (found, segment) in scan.open.iter().zip(&segments) {
                let slice = &bad[found.start as usize..found.end as usize];
                let (read, _) = super::segments(slice, found.start, 0).expect("good");
                assert!(same(&read[0], segment));
            }
        }
    }

    #[test]
    fn a_frame_that_is_not_believed_changes_nothing() {
        let (_, mut bytes, found) = small();
        let good = bytes.len();
        let payload = [&done(0, u64::MAX)[..], b"x"].concat();
        bytes.extend_from_slice(&frame(Kind::Done, &payload, good as u64));
        let scan = scan(&bytes);
        assert_eq!((scan.damage, scan.good), (Some(Damage::Corrupt), good as u64));
        assert_eq!(scan.open, [found[0], found[2]]);
    }

    #[test]
    fn a_frame_in_another_place_is_not_believed() {
        let (_, bytes, found) = small();
        let (from, to) = (found[0].start as usize, found[0].end as usize);
        let moved = [&bytes[..from], &bytes[to..]].concat();
        let scan = scan(&moved);
        assert_eq!((scan.open.len(), scan.damage), (0, Some(Damage::Corrupt)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned(bytes in prop::collection::vec(any::<u8>(), 0..400), with_magic: bool) {
            let bytes = if with_magic { [&MAGIC[..], &bytes].concat() } else { bytes };
            let scan = scan(&bytes);
            prop_assert!(scan.open.is_empty() && scan.damage.is_some());
            let _ = decode_segment(&bytes);
            let _ = decode_head(&bytes);
            let _ = super::segments(&bytes, 0, 10);
        }

        #[test]
        fn any_segments_survive(
            records in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6), 0..5),
            cut in any::<prop::sample::Index>(), junk in any::<u8>(),
        ) {
            let segments: Vec<Segment> = records
                .iter()
                .map(|r| segment("t", &r.iter().map(Vec::as_slice).collect::<Vec<_>>()))
                .collect();
            let (bytes, found) = file(&segments, &[]);
            prop_assert_eq!(&scan(&bytes).open, &found);
            for (found, segment) in found.iter().zip(&segments) {
                let slice = &bytes[found.start as usize..found.end as usize];
                let (read, _) = super::segments(slice, found.start, 0).expect("good");
                prop_assert!(same(&read[0], segment));
            }
            // Garbage behind what was written: whatever it is, it makes no segment.
            let cut = cut.index(bytes.len());
            let mut bad = bytes[..cut].to_vec();
            bad.resize(bytes.len() + 100, junk);
            let scan = scan(&bad);
            let same_until = bad.iter().zip(&bytes).take_while(|(a, b)| a == b).count() as u64;
            prop_assert!(scan.open.iter().all(|f| f.end <= same_until && found.contains(f)));
        }
    }
}
