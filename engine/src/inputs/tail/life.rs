//! The end of files, paths, watched folders and chains, and the making of chains.
//!
//! Owns: when a file is closed, a row forgotten, a source told that no more comes. Never: opens a file.
//! Invariant: with a `DB`, a file stays open until all of it that was read is delivered.

use super::Tail;
use super::read::undelivered;
use super::state::{Chain, ChainCursor, FIRST_NUMBER, File, Id};
use super::watch::Folder;
use crate::job::Position;
use crate::log;
use codecs::charset::Charset;
use rustix::fd::AsRawFd;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// So many new paths at once are many.
const ROOM_FROM: usize = 100;

impl Tail {
    /// Makes room for paths that are new, at once: growing by and by leaves memory behind that is of no use.
    pub(super) fn make_room(&mut self, found: &[PathBuf]) {
        let new = found.iter().filter(|path| !self.by_path.contains_key(*path)).count();
        if new > ROOM_FROM {
            self.by_path.reserve(new);
            self.by_inode.reserve(new);
            self.names.reserve(new);
            self.files.reserve(new);
            self.slots.reserve(new);
            self.chains.reserve(new);
        }
    }

    /// Nothing more is read from the file.
    pub(super) fn finish(&mut self, id: Id) {
        let Some(file) = self.files.get_mut(id) else { return };
        file.finished = true;
        file.queued = false;
        self.caught_up(id);
        self.ready.retain(|r| *r != id);
        self.stalled.retain(|s| *s != id);
        self.orphans.retain(|o| *o != id);
        self.close_if_done(id);
    }

    /// Closes a finished file when all of it is delivered (or nobody wants to know).
    pub(super) fn close_if_done(&mut self, id: Id) {
        let Some(file) = self.files.get(id) else { return };
        // A row that waits for others of its source is written first.
        let waits = || undelivered(file) || (file.row_dirty && !self.database_down);
        if !file.finished || (self.database.is_some() && waits()) {
            return;
        }
        self.let_go_of_half_line(id);
        let Some(file) = self.files.remove(id) else { return };
        self.by_inode.remove(&file.key);
        if let Some(key) = &file.name {
            if let Some(name) = self.names.get_mut(key) {
                name.file = name.file.filter(|f| *f != id);
            }
            self.drop_name_if_empty(key);
        }
        if file.orphan_until.is_some() {
            self.forget_row(&file);
        }
        let members = self.chains.get(file.chain).map(|c| c.members.clone()).unwrap_or_default();
        for other in members {
            if let Some(other) = self.files.get_mut(other).filter(|f| f.after == Some(id)) {
                other.after = None;
            }
        }
        if file.slots > 0 {
            self.vacate_slots_of(id);
        }
        self.engine.metrics().files_closed.fetch_add(1, Relaxed);
        self.engine.metrics().files_open.fetch_sub(1, Relaxed);
        self.leave_chain(file.chain, id);
        if let Some((earlier, _, _)) = file.earlier {
            self.leave_chain(earlier, id);
        }
        if !self.copies.is_empty() {
            self.forget_copy(id);
            self.original_is_gone(id);
        }
    }

    /// All of a rotated file is delivered. Its piece is remembered, in case it is met again, compressed.
    fn forget_row(&self, file: &File) {
        let (Some(db), true) = (&self.database, file.row != 0) else { return };
        let path = self.chains.get(file.chain).map(|c| c.path.clone()).unwrap_or_default();
        let forgotten = db.transaction(|db| {
            db.delete(file.row)?;
            db.piece_done(file.piece, &path)
        });
        // What is not forgotten now is found to be read when the program starts again.
        drop(forgotten);
    }

    /// No path leads to the file any more: it was renamed away, or removed.
    pub(super) fn orphan(&mut self, id: Id) {
        let Some(file) = self.files.get_mut(id) else { return };
        file.slots = file.slots.saturating_sub(1);
        if file.slots > 0 || file.finished || file.orphan_until.is_some() {
            return;
        }
        file.orphan_until = Some(Instant::now() + self.settings.rotate_wait);
        self.orphans.push(id);
        self.engine.metrics().files_rotated.fetch_add(1, Relaxed);
        let name = name_of(file);
        if let (Some(db), true, Some(name)) = (&self.database, file.row != 0, &name) {
            drop(db.rotate(file.row, name));
        }
        if let (Some(chain), Some(name)) = (self.chains.get(file.chain), name) {
            log!(
                Info,
                self.settings.name,
                "inode={} handle rotation(): {} => {}",
                file.key.1,
                chain.path,
                name.display()
            );
        }
        self.queue(id);
    }

    /// An orphan was read to its end: when its time is over, that is all.
    pub(super) fn orphan_at_end(&mut self, id: Id) {
        let Some(until) = self.files.get(id).and_then(|f| f.orphan_until) else { return };
        if Instant::now() >= until && !self.is_compared(id) {
            self.submit_last_line(id);
            self.finish(id);
        }
    }

    /// Looks at the orphans, of whose writes nobody may tell.
    pub(super) fn look_at_orphans(&mut self) {
        for id in self.orphans.clone() {
            self.queue(id);
        }
    }

    fn vacate_slots_of(&mut self, id: Id) {
        let slots: Vec<Id> =
            self.slots.iter().filter(|(_, s)| s.current == Some(id)).map(|(s, _)| s).collect();
        for slot in slots {
            if let Some(slot) = self.slots.get_mut(slot) {
                slot.current = None;
            }
        }
    }

    /// A slot without a file stays while its chain may be continued, or its file is put aside.
    pub(super) fn forget_vacant(&mut self, slot_id: Id) {
        let alive = self
            .slots
            .get(slot_id)
            .and_then(|s| s.chain)
            .is_some_and(|c| self.chains.get(c).is_some_and(|c| !c.members.is_empty()));
        let aside = self.slots.get(slot_id).is_some_and(|s| s.aside.is_some());
        if !alive && !aside {
            self.remove_slot(slot_id);
        }
    }

    /// Names in folders that are not watched any more are registered where their paths lead now.
    pub(super) fn register_again(&mut self) {
        let forgotten = self.watcher.take_forgotten();
        if forgotten.is_empty() {
            return;
        }
        let is_there = |(folder, _): &(Folder, OsString)| forgotten.contains(folder);
        let slots: Vec<Id> =
            self.slots.iter().filter(|(_, s)| s.names.iter().any(is_there)).map(|(id, _)| id).collect();
        for (key, name) in self.names.extract_if(|key, _| is_there(key)) {
            if let Some(file) = name.file.and_then(|id| self.files.get_mut(id)) {
                file.name = file.name.take().filter(|name| *name != key);
            }
        }
        for slot in slots {
            // Events of the old folder that are still to come find nothing.
            self.recheck(slot);
            self.register_names(slot);
        }
    }

    pub(super) fn remove_slot(&mut self, slot_id: Id) {
        self.unregister_names(slot_id);
        let Some(slot) = self.slots.remove(slot_id) else { return };
        self.by_path.remove(&slot.path);
        if let Some(id) = slot.current
            && let Some(file) = self.files.get_mut(id)
        {
            file.slots = file.slots.saturating_sub(1);
        }
        if let Some(chain) = slot.chain {
            if let Some(c) = self.chains.get_mut(chain) {
                c.held = false;
            }
            self.close_chain_if_done(chain);
        }
    }

    /// A new chain; `held` while a path would continue it.
    pub(super) fn new_chain(&mut self, tag: Arc<str>, path: Arc<str>, held: bool) -> Id {
        let chain = Chain {
            source: None,
            charset: Charset::Utf8,
            tag,
            path,
            cursor: None,
            next: FIRST_NUMBER,
            started: 0,
            end: Position::default(),
            members: Vec::new(),
            held,
        };
        let id = self.chains.insert(chain);
        if self.database.is_some()
            && let Some(chain) = self.chains.get_mut(id)
        {
            chain.cursor = Some(Arc::new(ChainCursor::new(id, &self.news)));
        }
        id
    }

    /// The next number in a chain, for this file.
    pub(super) fn number_in(&mut self, chain: Id, id: Id) -> u32 {
        let Some(chain) = self.chains.get_mut(chain) else { return 0 };
        chain.members.push(id);
        chain.next += 1;
        chain.next - 1
    }

    /// The chain has nothing more to tell of this file.
    pub(super) fn leave_chain(&mut self, chain: Id, id: Id) {
        if let Some(c) = self.chains.get_mut(chain) {
            c.members.retain(|m| *m != id);
        }
        self.close_chain_if_done(chain);
    }

    fn close_chain_if_done(&mut self, id: Id) {
        if self.chains.get(id).is_some_and(|c| c.members.is_empty() && !c.held)
            && let Some(chain) = self.chains.remove(id)
        {
            self.undelivered.remove(&id);
            if let Some(source) = chain.source {
                self.engine.close(&source);
            }
            if let (Some(db), false) = (&self.database, self.by_path.contains_key(Path::new(&*chain.path))) {
                drop(db.forget_done(&chain.path));
            }
        }
    }
}

/// The name that an open file has now.
fn name_of(file: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.fd.as_raw_fd())).ok()
}
