//! Whether a file is what was read before: by its first bytes, and by those before an offset.
//!
//! Owns: that comparison, on an open file, plain or compressed. Never: decides what follows from it.
//! Invariant: a file is gone on with only where both fit, as far as they are known.

use super::database::{MARKER_BYTES, Marker, Row};
use super::discover::new_file;
use super::gzip::{Gzip, is_gzip};
use super::state::{File, LastBytes};
use std::path::Path;

/// First bytes of a file that tell it from others; log files begin with a time.
pub(super) const HEAD_BYTES: usize = 1024;
/// Compressed bytes that are read at once.
const COMPRESSED_BYTES: usize = 64 * 1024;
/// Text that is expanded at once while it is passed over.
const SKIP_BYTES: usize = 256 * 1024;

/// The first bytes of what was read of a file, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    /// The bytes, until there are enough of them.
    bytes: Vec<u8>,
    full: Option<Marker>,
}

impl Head {
    /// Takes what of `new`, which stands at offset `at`, goes on where the head ends.
    pub(super) fn push(&mut self, at: u64, new: &[u8]) {
        let known = self.bytes.len() as u64;
        let new = known.checked_sub(at).and_then(|skip| new.get(usize::try_from(skip).ok()?..));
        let Some(new) = new.filter(|new| self.full.is_none() && !new.is_empty()) else { return };
        self.bytes.extend_from_slice(&new[..new.len().min(HEAD_BYTES - self.bytes.len())]);
        if self.bytes.len() == HEAD_BYTES {
            self.full = Some(marker_of(&self.bytes));
            self.bytes = Vec::new();
        }
    }

    /// Hash and size.
    pub(super) fn marker(&self) -> Marker {
        self.full.unwrap_or_else(|| marker_of(&self.bytes))
    }

    /// True when bytes that stand at the head of a file are those that were there.
    pub(super) fn begins(&self, content: &[u8]) -> bool {
        begins(self.marker(), content)
    }
}

/// True when `content` begins with the bytes of `head`.
fn begins(head: Marker, content: &[u8]) -> bool {
    head.size == 0 || content.get(..head.size as usize).is_some_and(|bytes| marker_of(bytes) == head)
}

fn marker_of(bytes: &[u8]) -> Marker {
    match bytes.len() {
        0 => Marker::default(),
        size => Marker { hash: xxhash_rust::xxh3::xxh3_64(bytes), size: size as u32 },
    }
}

/// The head that an open plain file has now, up to `at` where it was read to.
pub(super) fn head_of(file: &File, at: u64) -> Head {
    let mut head = Head::default();
    let mut bytes = [0; HEAD_BYTES];
    let len = HEAD_BYTES.min(usize::try_from(at).unwrap_or(usize::MAX));
    let got = rustix::io::pread(&file.fd, &mut bytes[..len], 0).unwrap_or(0);
    head.push(0, &bytes[..got]);
    head
}

/// The bytes directly before an offset.
pub(super) fn last_bytes(file: &File, at: u64) -> LastBytes {
    let mut bytes = [0; MARKER_BYTES];
    let len = bytes.len().min(usize::try_from(at).unwrap_or(usize::MAX));
    let mut last = LastBytes::default();
    if let Ok(got) = rustix::io::pread(&file.fd, &mut bytes[..len], at - len as u64)
        && got == len
    {
        last.push(&bytes[..len]);
    }
    last
}

/// What identifies a piece: its head, and the marker before an offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) head: Marker,
    pub(super) offset: u64,
    pub(super) marker: Marker,
}

impl Identity {
    /// Of a row, with the head of its piece where that is known.
    pub(super) fn of(row: &Row, head: Marker) -> Self {
        Identity { head, offset: row.offset, marker: row.marker }
    }

    /// True when it can tell a file from others.
    pub(super) fn tells(&self) -> bool {
        self.head.size > 0 || (self.marker.size > 0 && self.offset > 0)
    }

    /// The offset to go on from in a file that may be the one; `None` when it is another one, or was truncated.
    pub(super) fn check(&self, file: &File, size: u64) -> Option<u64> {
        if file.gzip.is_some() && self.marker.size == 0 {
            // An offset in the expanded text.
            return Some(self.offset);
        }
        if self.offset > size || u64::from(self.head.size) > size {
            return None;
        }
        // Of a compressed file that was read to its end, the marker is that of the compressed bytes.
        let headed = file.gzip.is_some()
            || self.head.size == 0
            || head_of(file, u64::from(self.head.size)).marker() == self.head;
        let before = last_bytes(file, self.offset);
        let fits = self.marker.size == 0 || marker_of_size(&before, self.marker.size) == self.marker;
        (headed && fits).then_some(self.offset)
    }

    /// Opens the file at `path` when it holds this piece, plain or compressed, placed at the offset. `same` when it has
    /// the piece's inode.
    pub(super) fn open(&self, path: &Path, same: bool) -> Option<File> {
        let (fd, stat) = super::discover::open_file(path).ok()?;
        let size = stat.st_size as u64;
        let mut file = new_file(fd, (stat.st_dev, stat.st_ino), 0);
        if !is_gzip(path) {
            let at = self.check(&file, size)?;
            (file.read_at, file.line_at) = (at, at);
            file.last = last_bytes(&file, at);
            return Some(file);
        }
        file.gzip = Some(Box::new(Gzip::new()));
        if same && self.marker.size > 0 && self.check(&file, size) == Some(size) {
            // It was compressed all along, and read to its end.
            put_at_end(&mut file, size);
            return Some(file);
        }
        if self.head.size > 0 && !begins(self.head, &first_text(&file, self.head.size as usize)?) {
            return None;
        }
        let before = skip_text(&mut file, self.offset)?;
        let fits = self.marker.size == 0 || marker_of_size(&before, self.marker.size) == self.marker;
        fits.then_some(file)
    }
}

/// True when the plain or compressed file at `path` begins with one of these heads.
pub(super) fn begins_with_any(path: &Path, heads: &[Marker]) -> bool {
    let mut heads = heads.iter().filter(|head| head.size > 0).peekable();
    if heads.peek().is_none() {
        return false;
    }
    let text = first_bytes(path);
    heads.any(|head| begins(*head, &text))
}

/// The first bytes of the text of the plain or compressed file at `path`; none where it cannot be read.
pub(super) fn first_bytes(path: &Path) -> Vec<u8> {
    let Ok((fd, stat)) = super::discover::open_file(path) else { return Vec::new() };
    let file = new_file(fd, (stat.st_dev, stat.st_ino), 0);
    text_head(&file, is_gzip(path))
}

/// The first bytes of the text of an open file; none where it cannot be read.
pub(super) fn text_head(file: &File, compressed: bool) -> Vec<u8> {
    readable_head(file, compressed).unwrap_or_default()
}

/// The first bytes of the text of an open file; `None` where it cannot be read.
pub(super) fn readable_head(file: &File, compressed: bool) -> Option<Vec<u8>> {
    if compressed {
        return first_text(file, HEAD_BYTES);
    }
    let mut bytes = vec![0; HEAD_BYTES];
    let got = rustix::io::pread(&file.fd, bytes.as_mut_slice(), 0).ok()?;
    bytes.truncate(got);
    Some(bytes)
}

fn marker_of_size(before: &LastBytes, size: u32) -> Marker {
    let bytes = before.get();
    Marker::of(&bytes[bytes.len() - bytes.len().min(size as usize)..])
}

/// The first bytes of the text of a compressed file; `None` when it is damaged.
fn first_text(file: &File, len: usize) -> Option<Vec<u8>> {
    let (mut gzip, mut text) = (Gzip::new(), Vec::new());
    let mut compressed = vec![0; COMPRESSED_BYTES];
    let got = rustix::io::pread(&file.fd, compressed.as_mut_slice(), 0).ok()?;
    gzip.feed(&compressed[..got]);
    gzip.expand_up_to(&mut text, len).ok()?;
    Some(text)
}

/// Places a compressed file that was read to its end before.
pub(super) fn put_at_end(file: &mut File, size: u64) {
    (file.read_at, file.line_at) = (size, size);
    let text = text_head(file, true);
    file.head.push(0, &text);
}

/// Expands a compressed file up to `at`; returns the bytes before it, `None` when it is damaged or shorter.
pub(super) fn skip_text(file: &mut File, at: u64) -> Option<LastBytes> {
    let mut gzip = Gzip::new();
    let (mut last, mut compressed) = (LastBytes::default(), vec![0; COMPRESSED_BYTES]);
    while file.line_at < at {
        if !gzip.pending() {
            let got = rustix::io::pread(&file.fd, compressed.as_mut_slice(), file.read_at)
                .ok()
                .filter(|&got| got > 0)?;
            gzip.feed(&compressed[..got]);
            file.read_at += got as u64;
        }
        let room = usize::try_from(at - file.line_at).unwrap_or(usize::MAX).min(SKIP_BYTES);
        let mut text = Vec::new();
        gzip.expand_up_to(&mut text, room).ok()?;
        file.head.push(file.line_at, &text);
        file.line_at += text.len() as u64;
        last.push(&text);
    }
    file.gzip = Some(Box::new(gzip));
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_same_however_it_came() {
        let all: Vec<u8> = (0..3000u32).map(|n| (n * 31 % 251) as u8).collect();
        for (len, step) in [(0, 1), (1, 1), (700, 33), (1024, 1000), (1025, 1025), (3000, 7)] {
            let mut head = Head::default();
            for (at, piece) in all[..len].chunks(step).enumerate() {
                head.push((at * step) as u64, piece);
                head.push(0, piece);
            }
            // Bytes from elsewhere change nothing.
            head.push(5000, b"x");
            assert_eq!(head.marker(), marker_of(&all[..len.min(HEAD_BYTES)]), "{len} {step}");
            assert!(head.begins(&all));
            assert!(len == 0 || !head.begins(&all[1..]));
            assert!(len == 0 || !head.begins(&all[..len.min(HEAD_BYTES) - 1]));
        }
    }
}
