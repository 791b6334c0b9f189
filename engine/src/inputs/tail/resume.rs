//! After a restart: what the `DB` remembers of each path, and where those pieces are now.
//!
//! Owns: the order of the pieces of a path before anything is read. Never: reads lines, writes an offset.
//! Invariants: pieces that are found stand before what is at the path now, in the order in which they were written; a
//! piece is gone on with only where its bytes are those that were delivered.

use super::Tail;
use super::copies::originals;
use super::database::{Marker, Row};
use super::discover::coarse_now;
use super::glob;
use super::gzip::is_gzip;
use super::identity::{Identity, begins_with_any, first_bytes, head_of};
use super::pieces::Piece;
use super::siblings::{Folders, Listed};
use super::state::{FIRST_NUMBER, File, Id, Slot};
use crate::log;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// A row of the `DB` and the piece that it belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) row: Row,
    pub(super) piece: Piece,
}

impl Known {
    pub(super) fn identity(&self) -> Identity {
        Identity::of(&self.row, self.piece.head)
    }
}

/// What the `DB` remembered at the start; empty once that is used.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    by_row: BTreeMap<i64, Known>,
    by_inode: HashMap<u64, i64>,
    /// First bytes of what was done with, by path.
    done: HashMap<String, Vec<Marker>>,
    /// Rows that belong to an open file.
    claimed: HashSet<i64>,
    /// Rows whose inode holds something else now, and the file that has it.
    displaced: Vec<(Known, Id)>,
    /// Files of which nothing is known but their inode: what they held may have been rotated away.
    unsure: Vec<Id>,
    /// Paths at which a piece of another path stands now, or may.
    renamed: Vec<PathBuf>,
    /// Paths of which something is known.
    paths: HashSet<PathBuf>,
}

impl Tail {
    /// Loads what the `DB` remembers.
    pub(super) fn remember(&mut self) {
        let Some(db) = &self.database else { return };
        let loaded = db.rows().and_then(|rows| Ok((rows, db.pieces()?)));
        let (rows, pieces) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.database_failed(&error),
        };
        let mut remembered = Remembered::default();
        for row in rows {
            remembered.by_inode.insert(row.inode, row.id);
            // Without a piece: rows are as old as their keys.
            let number = u32::try_from(row.id).unwrap_or(u32::MAX);
            let piece = Piece { row: row.id, number, ..Piece::default() };
            remembered.by_row.insert(row.id, Known { row, piece });
        }
        for piece in pieces {
            match remembered.by_row.get_mut(&piece.row) {
                _ if piece.row == 0 => remembered.done.entry(piece.path).or_default().push(piece.head),
                // Fluent Bit went on with the file: its head may be another one.
                Some(known) if !known.row.ours => known.piece = Piece { head: Marker::default(), ..piece },
                Some(known) => known.piece = piece,
                None => drop(db.delete_piece(piece.id)),
            }
        }
        for known in remembered.by_row.values() {
            let path = if known.piece.path.is_empty() { &known.row.name } else { &known.piece.path };
            remembered.paths.insert(PathBuf::from(path));
        }
        self.remembered = remembered;
    }

    /// What the `DB` knows of an inode.
    pub(super) fn known(&self, inode: u64) -> Option<Known> {
        if self.first_scan {
            return self.remembered.by_row.get(self.remembered.by_inode.get(&inode)?).cloned();
        }
        let row = self.database.as_ref()?.find(inode).ok()??;
        let piece = self.database.as_ref()?.piece_of(row.id).ok()?;
        Some(Known { piece: piece.unwrap_or(Piece { row: row.id, ..Piece::default() }), row })
    }

    /// True when what is at this path now is a piece of another path, or may be: it gets its place there.
    pub(super) fn is_of_another_path(&mut self, path: &Path, inode: u64) -> bool {
        if !self.first_scan || self.settings.compare_filename {
            return false;
        }
        let elsewhere = match self.known(inode) {
            Some(known) => known.piece.id != 0 && Path::new(&known.piece.path) != path,
            // It may hold what is looked for under another name: compressed, say.
            None => originals(path).iter().any(|original| self.remembered.paths.contains(original)),
        };
        if elsewhere {
            self.remembered.renamed.push(path.to_owned());
        }
        elsewhere
    }

    /// Puts a file that was found at its path to where the `DB` says; `None` when it knows nothing of it.
    pub(super) fn resume(&mut self, id: Id, path: &Path, size: u64) -> Option<u64> {
        let file = self.files.get_mut(id)?;
        let inode = file.key.1;
        let known = self.known(inode)?;
        let name = path.to_string_lossy();
        if self.settings.compare_filename && known.row.name != name {
            // The inode is used by another file now.
            if let Some(db) = &self.database {
                drop(db.delete(known.row.id));
            }
            self.remembered.by_row.remove(&known.row.id);
            return None;
        }
        let file = self.files.get_mut(id)?;
        self.remembered.claimed.insert(known.row.id);
        (file.row, file.piece) = (known.row.id, known.piece.id);
        let identity = known.identity();
        match identity.check(file, size) {
            Some(at) => {
                file.seen = if known.piece.id != 0 { known.piece.seen } else { file.seen };
                if self.first_scan && !identity.tells() {
                    self.remembered.unsure.push(id);
                }
                Some(at)
            }
            None => {
                // The inode is used again, or the file was truncated: what it held may be found elsewhere.
                (file.stale, file.fresh, file.again) = (true, true, true);
                log!(
                    Warn,
                    self.settings.name,
                    "{name} is not what the `DB` remembers up to {}: it is read from its head",
                    known.row.offset
                );
                if self.first_scan {
                    self.remembered.displaced.push((known, id));
                }
                Some(0)
            }
        }
    }

    /// After the first scan: what was rotated away is read to its end before what is at its path now; what is gone is
    /// forgotten.
    pub(super) fn recover_rotated(&mut self) {
        let mut remembered = std::mem::take(&mut self.remembered);
        let mut paths: BTreeMap<PathBuf, Vec<(Known, Option<Id>)>> = BTreeMap::new();
        for (known, id) in std::mem::take(&mut remembered.displaced) {
            paths.entry(self.path_of(&known)).or_default().push((known, Some(id)));
        }
        let unsure = std::mem::take(&mut remembered.unsure);
        for id in &unsure {
            let chain = self.files.get(*id).and_then(|f| self.chains.get(f.chain));
            if let Some(chain) = chain {
                paths.entry(PathBuf::from(&*chain.path)).or_default();
            }
        }
        for (row, known) in &remembered.by_row {
            if !remembered.claimed.contains(row) && self.owns(known) {
                paths.entry(self.path_of(known)).or_default().push((known.clone(), None));
            }
        }
        let (mut folders, now) = (Folders::default(), coarse_now());
        for (path, mut pieces) in paths {
            pieces.sort_by_key(|(known, _)| (known.piece.number, known.row.id));
            let done = remembered.done.get(&*path.to_string_lossy());
            self.recover_path(&path, &pieces, done, &mut folders);
        }
        for file in unsure {
            if let Some(file) = self.files.get_mut(file) {
                file.seen = now;
            }
        }
        self.forget_done_of_others(&remembered.done);
        for path in std::mem::take(&mut remembered.renamed) {
            self.consider(path);
        }
    }

    /// Finds the pieces of a path, and what was rotated away since without being seen.
    fn recover_path(
        &mut self,
        path: &Path,
        pieces: &[(Known, Option<Id>)],
        done: Option<&Vec<Marker>>,
        folders: &mut Folders,
    ) {
        let files = folders.list(path);
        let mut chain = Vec::new();
        // Nothing can have come between what was known last and what goes on still.
        let mut seen = self.current(path).filter(|f| f.piece != 0 && !f.stale).map_or((0, 0), |f| f.seen);
        let mut heads = done.cloned().unwrap_or_default();
        for (known, holder) in pieces {
            heads.push(known.piece.head);
            let found = self.find_piece(known, holder.is_some(), &files);
            let (written, found) = found.unzip();
            seen = seen.max(match (known.piece.id, written) {
                (0, written) => written.unwrap_or_default(),
                _ => known.piece.seen,
            });
            match found {
                Some(file) => chain.push(self.open_piece(known, *holder, file)),
                None => self.piece_is_gone(known, holder.is_some()),
            }
        }
        if seen > (0, 0) {
            let newer: Vec<Listed> = files.into_iter().filter(|f| f.written >= seen).collect();
            let missed = self.missed(path, &newer, &heads);
            chain.extend(missed.into_iter().filter_map(|listed| self.insert_missed(&listed.path, 0)));
        }
        self.put_before(path, &chain);
    }

    /// The file at a path.
    fn current(&self, path: &Path) -> Option<&File> {
        self.files.get(self.slots.get(*self.by_path.get(path)?)?.current?)
    }

    /// Where a piece is: under its inode, else in a copy (plain or compressed) that has its bytes; and when that was
    /// written to last.
    fn find_piece(&self, known: &Known, displaced: bool, files: &[Listed]) -> Option<((i64, i64), File)> {
        let identity = known.identity();
        let free = |file: &File| !self.by_inode.contains_key(&file.key);
        if !displaced {
            let renamed = [PathBuf::from(&known.row.name)];
            let same = files.iter().filter(|f| f.key.1 == known.row.inode).map(|f| &f.path);
            for path in same.chain(&renamed) {
                let found = identity.open(path, true).filter(|f| f.key.1 == known.row.inode && free(f));
                if let Some(file) = found {
                    let written = files.iter().find(|f| f.key == file.key).map_or((0, 0), |f| f.written);
                    return Some((written, file));
                }
            }
        }
        if !identity.tells() {
            return None;
        }
        // The newest copy first: without a head, an older one may have the same bytes before the offset.
        let candidates = files.iter().rev().filter(|f| !self.by_inode.contains_key(&f.key));
        let path = |listed: &Listed| Some((listed.written, identity.open(&listed.path, false)?));
        candidates.filter(|f| f.key.1 != known.row.inode || !displaced).find_map(path)
    }

    /// A piece was found: `file` goes on with it.
    fn open_piece(&mut self, known: &Known, holder: Option<Id>, mut file: File) -> Id {
        file.piece = known.piece.id;
        file.seen = known.piece.seen;
        (file.submitted, file.delivered) = (file.line_at, file.line_at);
        if file.gzip.is_none() {
            file.head = head_of(&file, u64::MAX);
        }
        if let Some(holder) = holder.and_then(|id| self.files.get_mut(id)) {
            // The row stays with the inode, the piece goes with its content.
            (holder.piece, holder.stale) = (0, false);
        } else {
            file.row = known.row.id;
        }
        if file.key.1 != known.row.inode && file.row != 0 {
            // The old inode is gone; its row must not be taken for another file.
            self.old_rows.push(std::mem::take(&mut file.row));
        }
        log!(
            Info,
            self.settings.name,
            "{} was rotated, inode={} is read from {} to its end",
            known.row.name,
            file.key.1,
            file.line_at
        );
        self.insert_orphan(file)
    }

    /// A file that no path leads to: it is read to its end.
    pub(super) fn insert_orphan(&mut self, mut file: File) -> Id {
        file.orphan_until = Some(std::time::Instant::now() + self.settings.rotate_wait);
        let key = file.key;
        let id = self.files.insert(file);
        self.by_inode.insert(key, id);
        self.dirty_row(id);
        self.count_opened();
        self.orphans.push(id);
        self.queue(id);
        id
    }

    /// A piece is nowhere: what of it was not delivered is lost.
    fn piece_is_gone(&mut self, known: &Known, displaced: bool) {
        let row = &known.row;
        if !displaced && let Some(db) = &self.database {
            log!(
                Info,
                self.settings.name,
                "db: file {} (inode={}) is gone and forgotten",
                row.name,
                row.inode
            );
            drop(db.delete(row.id));
            // It may have been read to its end, and be met again.
            drop(db.piece_done(known.piece.id, &known.piece.path));
        }
        let path = if known.piece.path.is_empty() { &row.name } else { &known.piece.path };
        self.lost(
            path,
            row.size.saturating_sub(row.offset),
            "it was removed or truncated while the program was down",
        );
    }

    /// Counts bytes that were written and can be read no more, and says so.
    pub(super) fn lost(&mut self, path: &str, bytes: u64, why: &str) {
        if bytes == 0 {
            return;
        }
        self.engine.metrics().bytes_lost.fetch_add(bytes, Relaxed);
        log!(Error, self.settings.name, "{path} lost {bytes} bytes or more that were not delivered: {why}");
    }

    /// Of files that were rotated away from a path, those that nobody saw there: not open, not known by their first
    /// bytes, and no copy of what is at the path still.
    pub(super) fn missed(&mut self, path: &Path, files: &[Listed], heads: &[Marker]) -> Vec<Listed> {
        let current = self.by_path.get(path).and_then(|slot| self.slots.get(*slot)).and_then(|s| s.current);
        let mut missed: Vec<Listed> = Vec::new();
        for listed in files.iter().filter(|f| f.is_rotated(path) && f.size > 0) {
            let known = !self.is_free(&listed.key, current)
                || begins_with_any(&listed.path, heads)
                || self.is_copy_of(current, listed)
                // Plain and compressed at once, while it is being compressed.
                || is_gzip(&listed.path) && files.iter().any(|f| f.path == listed.path.with_extension(""));
            if !known {
                missed.push(listed.clone());
            }
        }
        missed
    }

    /// True for a copy of what the file holds still: the truncation is to come, and the file is read itself.
    fn is_copy_of(&self, current: Option<Id>, copy: &Listed) -> bool {
        let Some(file) = current.and_then(|id| self.files.get(id)) else { return false };
        let size = rustix::fs::fstat(&file.fd).map_or(0, |s| s.st_size as u64);
        let head = first_bytes(&copy.path);
        let larger = !is_gzip(&copy.path) && copy.size > size;
        let same = || {
            let own = head_of(file, head.len() as u64);
            own.marker().size as usize == head.len() && own.begins(&head)
        };
        !larger && !head.is_empty() && same()
    }

    /// Puts files before what is at a path, in this order; nothing of the path was read yet.
    fn put_before(&mut self, path: &Path, files: &[Id]) {
        let Some(chain) = self.chain_at(path, files.is_empty()) else { return };
        let Some(c) = self.chains.get_mut(chain) else { return };
        let members: Vec<Id> = files.iter().chain(&c.members).copied().collect();
        c.members.clone_from(&members);
        c.next = FIRST_NUMBER + members.len() as u32;
        let mut before = None;
        for (id, number) in members.into_iter().zip(FIRST_NUMBER..) {
            if let Some(file) = self.files.get_mut(id) {
                (file.chain, file.number, file.order, file.after) = (chain, number, number, before);
            }
            self.dirty_row(id);
            before = Some(id);
        }
    }

    /// The chain of a path. Without a file there, the path is kept for the one that will come.
    pub(super) fn chain_at(&mut self, path: &Path, empty: bool) -> Option<Id> {
        let slot = self.by_path.get(path).copied();
        if let Some(chain) = slot.and_then(|slot| self.slots.get(slot)).and_then(|slot| slot.chain) {
            return Some(chain);
        }
        if empty {
            return None;
        }
        let tag = self.settings.tagger.tag(path).unwrap_or_else(|_| self.settings.tagger.pattern());
        let held = self.wants(path);
        let chain = self.new_chain(tag.into(), path.to_string_lossy().into(), held);
        if let Some(slot) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            slot.chain = Some(chain);
        } else if held {
            let slot = Slot {
                path: path.to_owned(),
                current: None,
                chain: Some(chain),
                names: Vec::new(),
                aside: None,
            };
            let slot = self.slots.insert(slot);
            self.by_path.insert(path.to_owned(), slot);
            self.register_names(slot);
        }
        Some(chain)
    }

    /// True when a pattern names the path, and none excludes it.
    pub(super) fn wants(&self, path: &Path) -> bool {
        let text = path.as_os_str().as_bytes();
        self.settings.patterns.iter().any(|pattern| pattern.matches(path))
            && !self.settings.exclude.iter().any(|pattern| glob::matches(pattern, text, false))
    }

    /// False for what another input remembers in the same `DB`.
    fn owns(&self, known: &Known) -> bool {
        match known.piece.path.as_str() {
            "" => self.wants(Path::new(&known.row.name)) || self.successor_of(&known.row).is_some(),
            path => self.wants(Path::new(path)),
        }
    }

    /// The path that a piece stood at.
    fn path_of(&self, known: &Known) -> PathBuf {
        match known.piece.path.as_str() {
            "" => self.successor_of(&known.row).unwrap_or_else(|| PathBuf::from(&known.row.name)),
            path => PathBuf::from(path),
        }
    }

    /// For a row of Fluent Bit: its name when that is a known path, else the longest path that the name begins with.
    fn successor_of(&self, row: &Row) -> Option<PathBuf> {
        let name = Path::new(&row.name);
        if self.by_path.contains_key(name) {
            return Some(name.to_owned());
        }
        let file_name = name.file_name()?.as_encoded_bytes();
        let candidates = self.slots.iter().filter_map(|(_, slot)| {
            let real = slot.path.canonicalize().unwrap_or_else(|_| slot.path.clone());
            let base = real.file_name()?.as_encoded_bytes();
            let same = real.parent() == name.parent() || slot.path.parent() == name.parent();
            (same && file_name.starts_with(base)).then(|| (base.len(), slot.path.clone()))
        });
        candidates.max_by_key(|(len, _)| *len).map(|(_, path)| path)
    }

    /// Forgets what was done with at paths that are no more.
    fn forget_done_of_others(&mut self, done: &HashMap<String, Vec<Marker>>) {
        let Some(db) = &self.database else { return };
        for path in done.keys().filter(|path| self.wants(Path::new(path))) {
            if !self.by_path.contains_key(Path::new(path)) {
                drop(db.forget_done(path));
            }
        }
    }
}
