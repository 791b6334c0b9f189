//! Truncation: what was read is not in the file any more, it starts anew.
//!
//! Owns: the search for the copy that a rotation by copytruncate makes, and what becomes of the file's row.
//! Never: reads lines. Invariants: what of the old content was not read yet is read from the copy, before the new
//! content; until something new is delivered, the row speaks of the old content.

use super::Tail;
use super::database::{Marker, Row};
use super::discover::{last_bytes, new_file, open_file};
use super::gzip::is_gzip;
use super::resume::{Listed, base_name, list, newest};
use super::state::{File, Id};
use crate::job::Position;
use crate::log;
use rustix::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

impl Tail {
    /// The bytes that were read are not there any more: the file starts anew, as the next of its chain.
    pub(super) fn truncated(&mut self, id: Id) {
        let copy = self.open_copy(id);
        let Some(file) = self.files.get_mut(id) else { return };
        let size = rustix::fs::fstat(&file.fd).map_or(0, |s| s.st_size as u64);
        let Some(chain) = self.chains.get_mut(file.chain) else { return };
        let whence = if copy.is_some() { "; what was not read yet is read from its copy" } else { "" };
        log!(
            Info,
            self.settings.name,
            "{} was truncated at {} bytes, reading starts again at its head{whence}",
            chain.path,
            file.read_at
        );
        if file.skipping {
            file.partial = Vec::new();
        }
        if !file.partial.is_empty() && file.joined.is_none() {
            file.joined = Some(Position { file: file.number, offset: file.line_at });
        }
        if copy.is_none() {
            file.number = chain.next;
            chain.next += 1;
        }
        file.skipping = false;
        file.in_hole = true;
        file.last = Default::default();
        (file.read_at, file.line_at, file.submitted, file.unadvised) = (0, 0, 0, 0);
        (file.delivered, file.truncated, file.bulk) = (0, true, false);
        file.copy = copy;
        self.engine.metrics().files_rotated.fetch_add(1, Relaxed);
        match size {
            0 => self.reached_end(id),
            _ => self.queue(id),
        }
    }

    /// Opens the copy of what a truncated file held. It takes the file's place in the chain: what is on its way
    /// belongs to it now.
    fn open_copy(&mut self, id: Id) -> Option<Id> {
        let file = self.files.get(id).filter(|f| f.gzip.is_none() && f.read_at > 0 && f.earlier.is_none())?;
        let path = self.chains.get(file.chain)?.path.clone();
        let marker = file.last.marker();
        let row = Row {
            id: 0,
            name: path.to_string(),
            offset: file.read_at,
            inode: file.key.1,
            created: 0,
            rotated: false,
            marker,
        };
        let real = Path::new(&*path).canonicalize().ok()?;
        let (entries, base) = (list(real.parent()?), base_name(&row));
        let found = entries.iter().enumerate().rev().find_map(|(at, entry)| {
            let fits = entry.begins_with(&base) && entry.inode != row.inode && !is_gzip(&entry.path);
            fits.then(|| self.fitting_copy(&entry.path, file, marker).map(|copy| (at, copy)))?
        });
        if let Some(file) = self.files.get_mut(id) {
            file.copies_until = newest(&entries, &base);
        }
        let (at, copy) = found?;
        let id_of_copy = self.take_over(id, copy)?;
        // Further copies were made since, and nobody looked.
        self.open_missed_since(&entries[at + 1..], Path::new(&*path), &base);
        self.store_new_rows();
        Some(id_of_copy)
    }

    /// The new content of a truncated file is about to be read: copies that were made of it since the truncation was
    /// seen come before it. True when there are some; then what was read is to be read again, after them.
    pub(super) fn copied_meanwhile(&mut self, id: Id) -> bool {
        let Some(file) = self.files.get_mut(id).filter(|f| f.read_at == 0) else {
            return false;
        };
        let (Some(until), chain) = (file.copies_until.take(), file.chain) else { return false };
        let Some(path) = self.chains.get(chain).map(|c| c.path.clone()) else { return false };
        let Ok(real) = Path::new(&*path).canonicalize() else { return false };
        let (Some(folder), Some(base)) = (real.parent(), real.file_name()) else { return false };
        let newer: Vec<Listed> = list(folder).into_iter().filter(|e| e.written > until).collect();
        if newer.is_empty() {
            return false;
        }
        let before = self.files.get(id).and_then(|f| f.after);
        self.open_missed_since(&newer, Path::new(&*path), &base.to_string_lossy());
        self.store_new_rows();
        self.files.get(id).is_some_and(|f| f.after != before)
    }

    /// The file at `path`, when it holds the bytes before the position that `original` was read to.
    fn fitting_copy(&self, path: &Path, original: &File, marker: Marker) -> Option<File> {
        let (fd, stat) = open_file(path).ok()?;
        let key = (stat.st_dev, stat.st_ino);
        if self.by_inode.contains_key(&key) || (stat.st_size as u64) < original.read_at {
            return None;
        }
        let copy = new_file(fd, key, original.chain);
        (last_bytes(&copy, original.read_at).marker() == marker).then_some(copy)
    }

    /// Makes the copy what the truncated file was, and the file its successor; gives the copy's id.
    fn take_over(&mut self, id: Id, mut copy: File) -> Option<Id> {
        let file = self.files.get_mut(id)?;
        (copy.number, copy.after) = (file.number, file.after);
        (copy.read_at, copy.line_at, copy.last) = (file.read_at, file.line_at, file.last);
        (copy.submitted, copy.delivered) = (file.submitted, file.delivered);
        (copy.partial, copy.joined) = (std::mem::take(&mut file.partial), file.joined.take());
        (copy.skipping, copy.in_hole) = (file.skipping, file.in_hole);
        (copy.truncated, copy.copy, copy.copy_of) = (file.truncated, file.copy.take(), Some(id));
        copy.orphan_until = Some(Instant::now() + self.settings.rotate_wait);
        let (chain_id, key) = (file.chain, copy.key);
        let id_of_copy = self.files.insert(copy);
        self.by_inode.insert(key, id_of_copy);
        let (file, chain) = (self.files.get_mut(id)?, self.chains.get_mut(chain_id)?);
        (file.number, file.after, file.asked) = (chain.next, Some(id_of_copy), false);
        chain.next += 1;
        let at = chain.members.iter().position(|m| *m == id).unwrap_or(chain.members.len());
        chain.members.insert(at, id_of_copy);
        self.dirty_row(id_of_copy);
        self.count_opened();
        self.orphans.push(id_of_copy);
        self.queue(id_of_copy);
        Some(id_of_copy)
    }

    /// True for a copy of what `current` holds still: the truncation is to come, and `current` is read itself.
    pub(super) fn is_being_copied(
        &mut self,
        current: Option<Id>,
        copy: &OwnedFd,
        stat: &rustix::fs::Stat,
    ) -> bool {
        let Some(file) = current.and_then(|id| self.files.get_mut(id)) else { return false };
        if rustix::fs::fstat(&file.fd).map_or(0, |s| s.st_size) < stat.st_size
            || !head(&file.fd).starts_with(&head(copy))
        {
            return false;
        }
        // When the truncation comes before the first read, the copy is looked at again.
        let before = (stat.st_mtime, stat.st_mtime_nsec as i64 - 1);
        if file.read_at == 0 {
            file.copies_until = Some(file.copies_until.map_or(before, |until| until.min(before)));
            file.bulk = false;
        }
        true
    }
}

/// The first bytes of a file.
fn head(fd: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let got = rustix::io::pread(fd, bytes.as_mut_slice(), 0).unwrap_or(0);
    bytes.truncate(got);
    bytes
}
