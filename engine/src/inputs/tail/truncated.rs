//! Truncation: what was read is not in the file any more, it starts anew.
//!
//! Owns: the search for the copy that a rotation by copytruncate makes. Never: reads lines.
//! Invariants: what of the old content was not read yet is read from the copy, before the new content. The piece goes on
//! in the copy; the file holds the next one. Where there is no copy, the row speaks of the old content until something
//! of the new one is delivered, so that a restart finds a copy that came late.

use super::Tail;
use super::discover::coarse_now;
use super::identity::{Head, Identity};
use super::siblings::{Folders, Listed};
use super::state::{File, Id};
use crate::job::Position;
use crate::log;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

impl Tail {
    /// The bytes that were read are not there any more: the file starts anew, as the next of its chain.
    pub(super) fn truncated(&mut self, id: Id) {
        // Before the folder is listed: what is copied from now on is not of the old content.
        let seen = coarse_now();
        let path = self.files.get(id).and_then(|f| self.chains.get(f.chain)).map(|c| PathBuf::from(&*c.path));
        let Some(path) = path else { return };
        let files = Folders::default().list(&path);
        let copied = self.open_copy(id, &files);
        let Some(file) = self.files.get_mut(id) else { return };
        let size = rustix::fs::fstat(&file.fd).map_or(0, |s| s.st_size as u64);
        let whence = if copied.is_some() { "; what was not read yet is read from its copy" } else { "" };
        log!(
            Info,
            self.settings.name,
            "{} was truncated at {} bytes, reading starts again at its head{whence}",
            path.display(),
            file.read_at
        );
        if copied.is_none() {
            let unread = file.size.saturating_sub(file.read_at);
            self.lost(
                &path.to_string_lossy(),
                unread,
                "it was truncated before it was read, and no copy is found",
            );
        }
        self.start_anew(id, copied.is_none(), seen);
        self.original_is_gone(id);
        if let Some(at) = copied {
            // Further copies were made since, and nobody looked.
            self.insert_copies(id, &files[at + 1..]);
        }
        self.store_new_rows();
        self.engine.metrics().files_rotated.fetch_add(1, Relaxed);
        match size {
            0 => self.reached_end(id),
            _ => self.queue(id),
        }
    }

    /// Resets what is known of a truncated file. Without a copy (`alone`), its unfinished line goes on in the new
    /// content.
    fn start_anew(&mut self, id: Id, alone: bool, seen: (i64, i64)) {
        let Some(file) = self.files.get_mut(id) else { return };
        let Some(chain) = self.chains.get_mut(file.chain) else { return };
        if file.skipping {
            file.partial = Vec::new();
        }
        // What follows begins with a whole character.
        file.charset.unwrap_or_default().complete(&mut file.partial);
        if !file.partial.is_empty() && file.joined.is_none() {
            file.joined = Some(Position { file: file.number, offset: file.line_at });
        }
        if alone {
            (file.number, file.order) = (chain.next, chain.next);
            chain.next += 1;
        }
        (file.last, file.head) = (Default::default(), Head::default());
        (file.read_at, file.line_at, file.submitted, file.delivered) = (0, 0, 0, 0);
        (file.unadvised, file.size, file.seen) = (0, 0, seen);
        (file.skipping, file.in_hole, file.bulk) = (false, true, false);
        (file.fresh, file.stale, file.again) = (true, alone, true);
    }

    /// Opens the copy of what a truncated file held; gives its place among `files`. It takes the file's place in the
    /// chain: what is on its way belongs to it now.
    fn open_copy(&mut self, id: Id, files: &[Listed]) -> Option<usize> {
        let file = self.files.get(id).filter(|f| f.gzip.is_none() && f.earlier.is_none())?;
        let identity =
            Identity { head: file.head.marker(), offset: file.read_at, marker: file.last.marker() };
        if !identity.tells() {
            return None;
        }
        let candidates = files.iter().enumerate().rev();
        let (at, copy) = candidates
            .filter(|(_, f)| self.is_free(&f.key, Some(id)))
            .find_map(|(at, f)| Some((at, identity.open(&f.path, false)?)))?;
        let paths = self.release_copy(&copy.key);
        let copy = self.take_over(id, copy)?;
        paths.into_iter().for_each(|path| self.adopt(path, copy));
        Some(at)
    }

    /// The new content of a truncated file is about to be read: copies that were made of it since the truncation was
    /// seen come before it. True when there are some; then what was read is to be read again, after them.
    pub(super) fn copied_meanwhile(&mut self, id: Id) -> bool {
        let Some(file) = self.files.get_mut(id).filter(|f| f.fresh && f.read_at == 0) else { return false };
        file.fresh = false;
        let (seen, before) = (file.seen, file.after);
        // A file that was empty when it was found is looked after only where something came into its folder since.
        let alone = |folder| self.strangers.get(folder).is_none_or(|at| *at < seen);
        if !file.again && file.name.as_ref().is_some_and(|(folder, _)| alone(folder)) {
            return false;
        }
        let Some(chain) = self.files.get(id).and_then(|f| self.chains.get(f.chain)) else { return false };
        let mut newer = Folders::default().list(Path::new(&*chain.path));
        // Without a `DB`, nobody knows a copy of the same moment that was done with.
        newer.retain(|f| f.written > seen || (f.written == seen && self.database.is_some()));
        // What was written after a file that was renamed away follows it.
        let renamed = self.files.get(id).filter(|f| f.orphan_until.is_some());
        if let Some(stat) = renamed.and_then(|f| rustix::fs::fstat(&f.fd).ok()) {
            newer.retain(|f| f.written < (stat.st_mtime, stat.st_mtime_nsec as i64));
        }
        self.insert_copies(id, &newer);
        self.store_new_rows();
        self.files.get(id).is_some_and(|f| f.after != before)
    }

    /// Puts copies that nobody saw before the file.
    fn insert_copies(&mut self, id: Id, files: &[Listed]) {
        let Some(chain) = self.files.get(id).map(|f| f.chain) else { return };
        let Some(path) = self.chains.get(chain).map(|c| PathBuf::from(&*c.path)) else { return };
        if files.is_empty() {
            return;
        }
        for listed in self.missed(&path, files, &self.heads(chain)) {
            if let Some(copy) = self.insert_missed(&listed.path, chain) {
                self.place_before(copy, chain, Some(id));
            }
        }
    }

    /// The copy `before` was read to its end, the file that it was made of comes next: a half line goes on there.
    pub(super) fn pass_half_line_on(&mut self, before: Id, id: Id) {
        let copied = |f: &&mut File| f.goes_on && !f.partial.is_empty() && !f.skipping;
        let Some(copy) = self.files.get_mut(before).filter(copied) else { return };
        let from = copy.joined.take().unwrap_or(Position { file: copy.number, offset: copy.line_at });
        let charset = copy.charset;
        let (mut half, kept) = (std::mem::take(&mut copy.partial), std::mem::take(&mut copy.kept));
        charset.unwrap_or_default().complete(&mut half);
        match self.files.get_mut(id).filter(|f| f.read_at == 0 && f.partial.is_empty()) {
            Some(file) => {
                (file.partial, file.joined, file.charset) = (half, Some(from), file.charset.or(charset));
                file.kept += kept;
            }
            None => {
                let Some(copy) = self.files.get_mut(before) else { return };
                (copy.partial, copy.kept) = (half, kept);
            }
        }
    }

    /// Makes the copy what the truncated file was, and the file its successor.
    fn take_over(&mut self, id: Id, mut copy: File) -> Option<Id> {
        let file = self.files.get_mut(id)?;
        (copy.chain, copy.number, copy.order, copy.after) = (file.chain, file.number, file.order, file.after);
        (copy.line_at, copy.last) = (file.line_at, file.last);
        (copy.submitted, copy.delivered) = (file.submitted, file.delivered);
        (copy.partial, copy.joined) = (std::mem::take(&mut file.partial), file.joined.take());
        (copy.skipping, copy.in_hole, copy.charset) = (file.skipping, file.in_hole, file.charset);
        (copy.head, copy.seen, copy.size) = (file.head.clone(), file.seen, file.size);
        copy.kept = std::mem::take(&mut file.kept);
        copy.goes_on = true;
        copy.piece = std::mem::take(&mut file.piece);
        // The row stays with the inode; the copy gets one of its own in the same transaction.
        let chain_id = file.chain;
        let id_of_copy = self.insert_orphan(copy);
        let (file, chain) = (self.files.get_mut(id)?, self.chains.get_mut(chain_id)?);
        (file.number, file.order) = (chain.next, chain.next);
        (file.after, file.asked) = (Some(id_of_copy), false);
        chain.next += 1;
        let at = chain.members.iter().position(|m| *m == id).unwrap_or(chain.members.len());
        chain.members.insert(at, id_of_copy);
        self.dirty_row(id);
        Some(id_of_copy)
    }
}
