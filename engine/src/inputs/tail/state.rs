//! What the tail input knows: files, the paths that lead to them, and chains of files that follow each other.
//!
//! Owns: the data and its links. Never: reads, watches, talks to the engine.
//! Invariants: an inode is in at most one [`File`]; a position handed on for a chain is never below an earlier one.

use super::copies::Copy;
use super::database::{MARKER_BYTES, Marker};
use super::gzip::Gzip;
use super::identity::Head;
use super::turns::Aside;
use super::watch::Folder;
use crate::inputs::Source;
use crate::job::{Cursor, Position};
use codecs::charset::Charset;
use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Index of something in a [`Slab`].
pub(super) type Id = u32;

/// Values with stable small keys; a key is used again after a removal.
#[derive(Debug)]
pub(super) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<Id>,
}

impl<T> Slab<T> {
    /// Without anything.
    pub(super) fn new() -> Self {
        Slab { items: Vec::new(), free: Vec::new() }
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.items.reserve_exact(more.saturating_sub(self.free.len()));
    }

    /// Adds a value.
    pub(super) fn insert(&mut self, item: T) -> Id {
        match self.free.pop() {
            Some(id) => {
                self.items[id as usize] = Some(item);
                id
            }
            None => {
                self.items.push(Some(item));
                (self.items.len() - 1) as Id
            }
        }
    }

    /// A value.
    pub(super) fn get(&self, id: Id) -> Option<&T> {
        self.items.get(id as usize)?.as_ref()
    }

    /// A value, to change.
    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.items.get_mut(id as usize)?.as_mut()
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let item = self.items.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(item)
    }

    /// All values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.items.iter().enumerate().filter_map(|(id, item)| Some((id as Id, item.as_ref()?)))
    }
}

/// The last bytes that were read from a file: when they are not there any more, the file was truncated or replaced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastBytes {
    bytes: [u8; MARKER_BYTES],
    len: u8,
}

impl LastBytes {
    /// The bytes.
    pub(super) fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Appends what was read, and keeps the end.
    pub(super) fn push(&mut self, new: &[u8]) {
        let new = &new[new.len() - new.len().min(MARKER_BYTES)..];
        let keep = usize::from(self.len).min(MARKER_BYTES - new.len());
        let start = usize::from(self.len) - keep;
        self.bytes.copy_within(start..start + keep, 0);
        self.bytes[keep..keep + new.len()].copy_from_slice(new);
        self.len = (keep + new.len()) as u8;
    }

    /// As the `DB` stores it.
    pub(super) fn marker(&self) -> Marker {
        Marker::of(self.get())
    }
}

/// A file that is read.
#[derive(Debug)]
pub(super) struct File {
    /// The open file; it keeps its inode from being used again.
    pub(super) fd: OwnedFd,
    /// Device and inode.
    pub(super) key: (u64, u64),
    /// Its chain, and its number there.
    pub(super) chain: Id,
    pub(super) number: u32,
    /// Next byte to read (of the compressed bytes, where it is compressed).
    pub(super) read_at: u64,
    /// Offset of the first byte of `partial` (of the text, where it is compressed).
    pub(super) line_at: u64,
    /// The unfinished line at the end of what was read.
    pub(super) partial: Vec<u8>,
    /// Bytes that are charged for `partial`.
    pub(super) kept: usize,
    /// What stands before `partial`, where that is known: the file can be read again from there.
    pub(super) before_line: Option<LastBytes>,
    /// Where `partial` starts when that is in an earlier file (truncation).
    pub(super) joined: Option<Position>,
    /// True while the rest of a line that is too long is passed over.
    pub(super) skipping: bool,
    /// True while nothing but zeros came since the head: a hole that a truncation left.
    pub(super) in_hole: bool,
    /// End of what was read.
    pub(super) last: LastBytes,
    /// True while it is in the ready queue.
    pub(super) queued: bool,
    /// True when the last read came to its end.
    pub(super) at_eof: bool,
    /// Bytes of a buffer that holds lines as long as the last one, where that was longer than a block; else 0.
    pub(super) room: usize,
    /// True while it is far behind: whole blocks are read.
    pub(super) bulk: bool,
    /// Bytes read since the kernel was last told that it may forget them.
    pub(super) unadvised: u64,
    /// No path leads to it any more: read to its end, and closed at this time.
    pub(super) orphan_until: Option<Instant>,
    /// Nothing more is read; it waits for its deliveries.
    pub(super) finished: bool,
    /// Read this one to its end first.
    pub(super) after: Option<Id>,
    /// True when that one was looked at since this one has something.
    pub(super) asked: bool,
    /// What its text is in, once that is known.
    pub(super) charset: Option<Charset>,
    /// State of the decompressor.
    pub(super) gzip: Option<Box<Gzip>>,
    /// How many paths lead to it.
    pub(super) slots: u32,
    /// Where the kernel tells of its changes.
    pub(super) name: Option<(Folder, OsString)>,
    /// End of what was submitted, and of what was delivered.
    pub(super) submitted: u64,
    pub(super) delivered: u64,
    /// An older chain in which something of it is still on its way, its number there, and up to where.
    pub(super) earlier: Option<(Id, u32, u64)>,
    /// Row in the `DB`, and piece; 0 when they are not written yet.
    pub(super) row: i64,
    pub(super) piece: i64,
    /// What was last written of the piece: order, head, row.
    pub(super) written: (u32, Marker, i64),
    /// Its place among the pieces of its path. (`number` may be that in another chain.)
    pub(super) order: u32,
    /// Its first bytes.
    pub(super) head: Head,
    /// Rotated files that were written to last before this time hold earlier pieces, in seconds and nanoseconds.
    pub(super) seen: (i64, i64),
    /// Nothing of it was read yet, and a copy of what it held meanwhile may be there.
    pub(super) fresh: bool,
    /// It was truncated at least once.
    pub(super) again: bool,
    /// Its row speaks of what it held before a truncation, in case that turns up; so it stays until something of the
    /// new content is delivered.
    pub(super) stale: bool,
    /// How large it was at least.
    pub(super) size: u64,
    /// It is the copy of what a file held that was truncated: its last line goes on there.
    pub(super) goes_on: bool,
    /// It may repeat another file: nothing of it is handed on.
    pub(super) copy: Option<Box<Copy>>,
    /// True while it is in the list of rows to write.
    pub(super) row_dirty: bool,
}

/// A path that the patterns match.
#[derive(Debug)]
pub(super) struct Slot {
    /// The path.
    pub(super) path: PathBuf,
    /// The file that is there.
    pub(super) current: Option<Id>,
    /// The chain that a successor continues.
    pub(super) chain: Option<Id>,
    /// Names (of links on the way too) that matter to it.
    pub(super) names: Vec<(Folder, OsString)>,
    /// The file that was there, when it was put aside.
    pub(super) aside: Option<Box<Aside>>,
}

/// Files that followed each other at one path: one source.
pub(super) struct Chain {
    /// Opened with the first block.
    pub(super) source: Option<Source>,
    /// What the text of its source is in.
    pub(super) charset: Charset,
    /// Tag of the records.
    pub(super) tag: Arc<str>,
    /// Path as found.
    pub(super) path: Arc<str>,
    /// Told what is delivered; only with a `DB`.
    pub(super) cursor: Option<Arc<ChainCursor>>,
    /// Number of the next file.
    pub(super) next: u32,
    /// Highest number that something was submitted for.
    pub(super) started: u32,
    /// End of what was submitted last.
    pub(super) end: Position,
    /// Files whose deliveries it tells of.
    pub(super) members: Vec<Id>,
    /// True while a path would continue it.
    pub(super) held: bool,
}

/// The first file of a chain has this number, so that rotated files found later can stand before it.
///
/// Its low 16 bits lie in the middle, because marks of multi-line groups keep no more of it and compare them.
pub(super) const FIRST_NUMBER: u32 = (1 << 20) + (1 << 15);

/// Which chains have news; shared with the threads that deliver.
#[derive(Debug, Default)]
pub(super) struct News {
    chains: Mutex<Vec<Id>>,
}

impl News {
    /// Takes the chains that have news.
    pub(super) fn take(&self) -> Vec<Id> {
        std::mem::take(&mut *self.chains.lock().expect("news lock"))
    }
}

/// A chain's cursor.
#[derive(Debug)]
pub(super) struct ChainCursor {
    pub(super) chain: Id,
    position: Mutex<Position>,
    dirty: AtomicBool,
    news: Arc<News>,
}

impl ChainCursor {
    /// A cursor at nothing.
    pub(super) fn new(chain: Id, news: &Arc<News>) -> Self {
        ChainCursor { chain, position: Mutex::default(), dirty: AtomicBool::new(false), news: news.clone() }
    }

    /// What is delivered; news after this are told anew.
    pub(super) fn take(&self) -> Position {
        self.dirty.store(false, Ordering::SeqCst);
        *self.position.lock().expect("cursor lock")
    }
}

impl Cursor for ChainCursor {
    fn rereadable(&self) -> bool {
        true
    }

    fn committed(&self, position: Position) {
        {
            let mut at = self.position.lock().expect("cursor lock");
            *at = position.max(*at);
        }
        if !self.dirty.swap(true, Ordering::SeqCst) {
            self.news.chains.lock().expect("news lock").push(self.chain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_those_of_the_whole() {
        let all: Vec<u8> = (0..200).collect();
        for step in [1, 3, 31, 32, 33, 100] {
            let mut last = LastBytes::default();
            let mut fed = 0;
            for piece in all.chunks(step) {
                last.push(piece);
                fed += piece.len();
                assert_eq!(last.get(), &all[fed - fed.min(MARKER_BYTES)..fed], "step {step}");
            }
        }
    }

    #[test]
    fn a_cursor_tells_once_until_it_is_asked() {
        let news = Arc::new(News::default());
        let cursor = ChainCursor::new(7, &news);
        let at = |offset| Position { file: 1, offset };
        cursor.committed(at(5));
        cursor.committed(at(9));
        assert_eq!((news.take(), cursor.take()), (vec![7], at(9)));
        assert!(news.take().is_empty());
        cursor.committed(at(12));
        assert_eq!((news.take(), cursor.take()), (vec![7], at(12)));
    }

    #[test]
    fn keys_are_used_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.insert('c'), a);
        assert_eq!(slab.iter().map(|(id, c)| (id, *c)).collect::<Vec<_>>(), [(a, 'c'), (b, 'b')]);
    }
}
