//! More files than descriptors: files that are read to their end are put aside for those that wait.
//!
//! Owns: who waits for a descriptor, who gives one up, and how a file is gone on with. Never: reads lines.
//! Invariants: a file is put aside only when all that it holds was read, and with a `DB` delivered; it is gone on with from
//! there when it changes, under another name too. What is removed before its turn came is counted as lost as far as its
//! size was seen.

use super::Tail;
use super::identity::{Identity, last_bytes};
use super::read::undelivered;
use super::siblings::Folders;
use super::state::{File, Id};
use crate::log;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// Files that are put aside, and opened, at once.
const TURN_FILES: usize = 64;

/// Paths that wait for a descriptor, in turn.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<PathBuf>,
    known: HashSet<PathBuf>,
}

impl Waiting {
    fn push(&mut self, path: &Path) {
        if self.known.insert(path.to_owned()) {
            self.queue.push_back(path.to_owned());
        }
    }

    fn pop(&mut self) -> Option<PathBuf> {
        let path = self.queue.pop_front()?;
        self.known.remove(&path);
        Some(path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// A file that was read to its end and closed.
#[derive(Debug)]
pub(super) struct Aside {
    key: (u64, u64),
    /// Where it is gone on with.
    identity: Identity,
    /// How large it was; and how large it was seen since.
    size: u64,
    seen: u64,
    gzip: bool,
}

impl Tail {
    /// There are more files than may be open: told once, counted for each; this one waits for its turn.
    pub(super) fn no_descriptor(&mut self, slot: Id, path: PathBuf) {
        if self.told.insert((path.clone(), "open")) {
            self.engine.metrics().read_errors.fetch_add(1, Relaxed);
        }
        if self.told.insert((PathBuf::new(), "descriptors")) {
            log!(
                Error,
                self.settings.name,
                "{} and maybe others wait: {} files are open, and no more may be. Files that are read to their end are \
                 closed for those that wait, so all are read in turns, late; raise the limit of open files (`ulimit -n`, \
                 `LimitNOFILE=`). ripsaw_input_read_errors_total counts files that waited",
                path.display(),
                self.engine.metrics().files_open.load(Relaxed)
            );
        }
        self.waiting.push(&path);
        self.forget_vacant(slot);
    }

    /// Lets files that wait take the places of files that are read to their end; true when one was opened.
    pub(super) fn take_turns(&mut self) -> bool {
        let (turns, before) =
            (self.waiting.queue.len().min(TURN_FILES), self.engine.metrics().files_opened.load(Relaxed));
        for (slot, id) in self.idle_files(turns) {
            self.put_aside(slot, id);
        }
        for _ in 0..turns {
            let Some(path) = self.waiting.pop() else { break };
            match self.by_path.get(&path) {
                Some(&slot) => self.recheck(slot),
                None => self.consider(path),
            }
        }
        self.store_new_rows();
        self.engine.metrics().files_opened.load(Relaxed) > before
    }

    /// Files of which all is read, those first that nobody wrote to for longest.
    fn idle_files(&self, count: usize) -> Vec<(Id, Id)> {
        let idle = self.slots.iter().filter_map(|(slot, s)| {
            let id = s.current?;
            let file = self.files.get(id)?;
            let stat = rustix::fs::fstat(&file.fd).ok()?;
            let idle = self.is_idle(file) && stat.st_size as u64 == file.read_at;
            idle.then_some((stat.st_mtime, slot, id))
        });
        let mut idle: Vec<(i64, Id, Id)> = idle.collect();
        idle.sort_unstable();
        idle.into_iter().take(count).map(|(_, slot, id)| (slot, id)).collect()
    }

    fn is_idle(&self, file: &File) -> bool {
        let waits = self.database.is_some() && (undelivered(file) || file.row_dirty);
        let plain = file.joined.is_none() && !file.skipping && file.copy.is_none() && file.after.is_none();
        file.slots == 1 && file.at_eof && !file.queued && !file.finished && !waits && plain
    }

    fn put_aside(&mut self, slot: Id, id: Id) {
        let Some(file) = self.files.get(id) else { return };
        let gzip = file.gzip.is_some();
        let offset = if gzip { file.read_at } else { file.line_at };
        let marker = if gzip { Default::default() } else { last_bytes(file, offset).marker() };
        let identity = Identity { head: file.head.marker(), offset, marker };
        let aside = Aside { key: file.key, identity, size: file.read_at, seen: file.read_at, gzip };
        if let Some(slot) = self.slots.get_mut(slot) {
            (slot.current, slot.aside) = (None, Some(Box::new(aside)));
        }
        self.finish(id);
    }

    /// True when a path still has the file that was put aside, as it was.
    pub(super) fn is_aside(&mut self, slot: Id, now: Option<((u64, u64), u64)>) -> bool {
        let Some(aside) = self.slots.get_mut(slot).and_then(|s| s.aside.as_mut()) else { return false };
        if let Some((_, size)) = now.filter(|(key, _)| *key == aside.key) {
            aside.seen = size;
        }
        now == Some((aside.key, aside.size))
    }

    /// A file was opened at the path of one that was put aside: the offset to go on from, when it is that one. Else what
    /// the other one got since comes first, where it is found under another name.
    pub(super) fn take_up(&mut self, slot: Id, file: &File, size: u64, chain: Id) -> Option<u64> {
        let aside = self.slots.get_mut(slot)?.aside.take()?;
        if aside.key != file.key {
            self.follow_aside(slot, &aside, chain);
            return None;
        }
        match aside.gzip {
            // Compressed text is not gone on with in the middle.
            true => Some(if size == aside.size { size } else { 0 }),
            false => Some(aside.identity.check(file, size).unwrap_or(0)),
        }
    }

    /// Nothing is at the path of a file that was put aside.
    pub(super) fn aside_is_gone(&mut self, slot: Id) {
        let Some(s) = self.slots.get_mut(slot) else { return };
        let (Some(aside), path) = (s.aside.take(), s.path.clone()) else { return };
        let chain = s.chain.filter(|&c| self.chains.get(c).is_some());
        let chain = chain.or_else(|| {
            let tag = self.settings.tagger.tag(&path).ok()?;
            Some(self.new_chain(tag.into(), path.to_string_lossy().into(), false))
        });
        if let Some(chain) = chain {
            self.follow_aside(slot, &aside, chain);
        }
    }

    fn follow_aside(&mut self, slot: Id, aside: &Aside, chain: Id) {
        let Some(path) = self.slots.get(slot).map(|s| s.path.clone()) else { return };
        let free = !self.by_inode.contains_key(&aside.key);
        let listed = Folders::default().list(&path).into_iter().find(|f| f.key == aside.key && free);
        // Known by its inode, it is not taken for one that was never seen, though all of it was read.
        let Some(mut file) = listed.and_then(|listed| aside.identity.open(&listed.path, true)) else {
            let unread = aside.seen.saturating_sub(aside.size);
            let why = "it was removed, or moved far, before a descriptor was free for it";
            return self.lost(&path.to_string_lossy(), unread, why);
        };
        file.chain = chain;
        (file.submitted, file.delivered) = (file.line_at, file.line_at);
        if let Some(known) = self.known(aside.key.1) {
            (file.row, file.piece) = (known.row.id, known.piece.id);
        }
        let id = self.insert_orphan(file);
        self.place_before(id, chain, None);
    }
}
