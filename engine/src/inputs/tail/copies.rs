//! Copies that a rotation makes where the patterns find them: compressed (`app.log.1.gz`), or not (`cp`, copytruncate).
//!
//! Owns: the proof that a new file repeats what a file beside it holds. Never: hands a line on.
//!
//! The rule. A new file whose name is that of an open file and something more (`app.log.1.gz`, `app-20260101.log`) is a
//! *copy* as long as its text, compressed or not, is byte for byte the beginning of what that file holds; it must be all
//! of it (or of another copy), or [`HEAD_BYTES`] at least, which two files do not share by chance. A copy is not handed on: the
//! file itself is read. As soon as one byte differs, or the copy goes on where it ended, it is a file of its own and is
//! read from its head. So a file that begins alike (a banner) is delivered in full, and what is in doubt comes twice
//! rather than never.
//!
//! Invariants: nothing of a copy is handed on before that is decided; when what it repeats is truncated first, the copy
//! takes its place (`truncated`); a row says that a copy is done with only when the `DB` says it of the original.

use super::Tail;
use super::gzip::{Gzip, is_gzip};
use super::identity::{HEAD_BYTES, head_of, last_bytes, readable_head};
use super::state::{File, Id};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// Text that is compared in one turn of a file.
const TURN_BYTES: usize = 256 * 1024;
/// Files that were rotated away last, among which a copy looks for its original.
const ORPHANS_MAX: usize = 256;
/// Compressed bytes that are read at once.
const COMPRESSED_BYTES: usize = 64 * 1024;

/// What is known of a file that may be a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    /// Nothing yet.
    Maybe,
    /// Up to `line_at` it repeats the file `original`; where that does not hold any more, one of `others` may do.
    Of { original: Id, others: Vec<Id> },
    /// It was one to its end, of a file that is not open any more.
    Was,
}

impl Tail {
    /// Marks a file that is to be read from its head when there is something that it may be a copy of.
    pub(super) fn suspect(&mut self, id: Id, path: &Path) {
        let found = originals(path).iter().any(|base| self.by_path.contains_key(base));
        if let Some(file) = self.files.get_mut(id).filter(|_| found) {
            file.copy = Some(Box::new(Copy::Maybe));
            self.copies.push(id);
        }
    }

    /// True when the inode may hold what a file (`original`) held before: it is not open, or nothing was decided of it.
    pub(super) fn is_free(&self, key: &(u64, u64), original: Option<Id>) -> bool {
        let Some(file) = self.by_inode.get(key).and_then(|&id| self.files.get(id)) else { return true };
        match file.copy.as_deref() {
            Some(Copy::Maybe) => true,
            Some(Copy::Of { original: known, .. }) => Some(*known) == original,
            Some(Copy::Was) | None => false,
        }
    }

    /// True while a copy is compared with this file.
    pub(super) fn is_compared(&self, id: Id) -> bool {
        self.copies_of(id).iter().any(|copy| self.files.get(*copy).is_some_and(|c| !c.at_eof))
    }

    fn copies_of(&self, id: Id) -> Vec<Id> {
        let of = |copy: &&Id| {
            let copy = self.files.get(**copy).and_then(|c| c.copy.as_deref());
            matches!(copy, Some(Copy::Of { original, .. }) if *original == id)
        };
        self.copies.iter().filter(of).copied().collect()
    }

    /// Gives each copy that has something its turn, before anything is read.
    pub(super) fn look_at_copies(&mut self) {
        let queued = |id: &Id| self.files.get(*id).is_some_and(|f| f.queued && f.copy.is_some());
        let due: Vec<Id> = self.copies.iter().copied().filter(queued).collect();
        if due.is_empty() {
            return;
        }
        self.ready.retain(|id| !due.contains(id));
        for id in due {
            if let Some(file) = self.files.get_mut(id).filter(|f| f.copy.is_some()) {
                file.queued = false;
                self.look_at_copy(id);
            }
        }
    }

    fn look_at_copy(&mut self, id: Id) {
        let Some(file) = self.files.get(id) else { return };
        match file.copy.as_deref().cloned() {
            Some(Copy::Maybe) => self.choose_original(id),
            Some(Copy::Of { original, others }) => self.compare(id, original, others),
            Some(Copy::Was) if size_of(file) != file.read_at => self.on_its_own(id),
            Some(Copy::Was) => self.reached_end(id),
            None => {}
        }
    }

    /// The first look: the files that the name leads to and that begin alike.
    fn choose_original(&mut self, id: Id) {
        let path = self.files.get(id).and_then(|f| self.chains.get(f.chain)).map(|c| c.path.clone());
        let Some(path) = path else { return };
        let candidates = self.candidates(id, Path::new(&*path));
        for &candidate in &candidates {
            let Some(file) = self.files.get(candidate).filter(|f| !f.finished) else { continue };
            // What it held is gone: this may be the copy that was made of it before.
            if !is_intact(file) {
                self.truncated(candidate);
                return self.queue(id);
            }
            if file.fresh && size_of(file) > 0 {
                // Copies of what it held before it was seen come first.
                self.queue(candidate);
                return self.queue(id);
            }
        }
        let Some(file) = self.files.get(id) else { return };
        let Some(text) = readable_head(file, file.gzip.is_some()) else { return self.on_its_own(id) };
        if text.is_empty() {
            return self.reached_end(id);
        }
        let alike = |c: &&Id| {
            let head = self.files.get(**c).map(|f| head_of(f, text.len() as u64));
            head.is_some_and(|h| h.marker().size as usize == text.len() && h.begins(&text))
        };
        // The last one is tried first: the file that the name says most of.
        let alike = candidates.iter().rev().filter(alike).copied().collect();
        self.next_original(id, alike);
    }

    /// Begins to compare a copy with the first of `candidates`; without one, it is a file of its own.
    fn next_original(&mut self, id: Id, mut candidates: Vec<Id>) {
        let Some(file) = self.files.get_mut(id) else { return };
        let Some(original) = candidates.pop() else { return self.on_its_own(id) };
        restart(file);
        file.copy = Some(Box::new(Copy::Of { original, others: candidates }));
        self.queue(id);
    }

    /// Open files whose text a new file at `path` may repeat: what stands, or stood, at the paths that its name was made of.
    fn candidates(&self, id: Id, path: &Path) -> Vec<Id> {
        let mut known = HashSet::from([id]);
        let bases = originals(path);
        let slots = bases.iter().filter_map(|base| self.slots.get(*self.by_path.get(base)?));
        let ids = slots.flat_map(|slot| {
            let current = slot.current.and_then(|id| self.files.get(id)).map(|f| f.chain);
            let chains = [slot.chain, current].into_iter().flatten().filter_map(|c| self.chains.get(c));
            let members: Vec<Id> = chains.flat_map(|c| c.members.iter().copied()).collect();
            slot.current.into_iter().chain(members)
        });
        // What was rotated away may have a chain of its own.
        let left = self.orphans.iter().rev().take(ORPHANS_MAX).copied().filter(|id| {
            let chain = self.files.get(*id).and_then(|f| self.chains.get(f.chain));
            chain.is_some_and(|c| bases.iter().any(|base| base == Path::new(&*c.path)))
        });
        let fits = |id: &Id| self.files.get(*id).is_some_and(|f| f.copy.is_none() && f.gzip.is_none());
        ids.chain(left).filter(|id| known.insert(*id)).filter(fits).collect()
    }

    /// Compares the next bytes of a copy.
    fn compare(&mut self, id: Id, original: Id, others: Vec<Id>) {
        let Some(file) = self.files.get_mut(id) else { return };
        // A truncated copy shows by its size.
        let shorter = size_of(file) < file.read_at;
        let Some(text) = (if shorter { None } else { next_text(file) }) else {
            return self.on_its_own(id);
        };
        if text.is_empty() {
            return self.compared(id, original, others);
        }
        let at = file.line_at;
        let Some(model) = self.files.get(original).filter(|f| f.copy.is_none()) else {
            return self.next_original(id, others);
        };
        let same = holds(model, at, &text);
        if !same && !model.finished && !is_intact(model) {
            self.truncated(original);
            return self.queue(id);
        }
        if !same {
            return self.next_original(id, others);
        }
        if let Some(file) = self.files.get_mut(id) {
            file.line_at += text.len() as u64;
        }
        self.queue(id);
    }

    /// All that a copy holds now was compared.
    fn compared(&mut self, id: Id, original: Id, others: Vec<Id>) {
        let (Some(file), Some(model)) = (self.files.get(id), self.files.get(original)) else { return };
        // A short one must be all that the original holds, or as much as another copy of it.
        let whole = |text: u64| {
            let copies = self.copies_of(original);
            let mut others =
                copies.iter().filter(|copy| **copy != id).filter_map(|copy| self.files.get(*copy));
            text == size_of(model) || others.any(|copy| copy.at_eof && copy.line_at == text)
        };
        if file.line_at < HEAD_BYTES as u64 && !whole(file.line_at) {
            return self.next_original(id, others);
        }
        self.reached_end(id);
        self.note_copies_delivered();
    }

    /// It is no copy: it is read from its head.
    pub(super) fn on_its_own(&mut self, id: Id) {
        let Some(file) = self.files.get_mut(id) else { return };
        file.copy = None;
        restart(file);
        self.copies.retain(|copy| *copy != id);
        self.dirty_row(id);
        self.store_new_rows();
        self.queue(id);
    }

    /// What copies were compared with is closed, or holds something else by now.
    pub(super) fn original_is_gone(&mut self, id: Id) {
        for copy in self.copies_of(id) {
            match self.files.get_mut(copy) {
                Some(file) if file.at_eof => file.copy = Some(Box::new(Copy::Was)),
                _ => self.on_its_own(copy),
            }
        }
        self.note_copies_delivered();
    }

    /// Rows of copies whose original is delivered, as far as they repeat it: a restart does not read them.
    pub(super) fn note_copies_delivered(&mut self) {
        for id in self.copies.clone() {
            let Some(file) = self.files.get(id).filter(|f| f.at_eof && f.delivered != f.line_at) else {
                continue;
            };
            let done = match file.copy.as_deref() {
                Some(Copy::Of { original, .. }) => self.files.get(*original).is_some_and(|f| {
                    // A compressed one may not be at its end yet.
                    f.earlier.is_none()
                        && f.delivered >= file.line_at
                        && (file.gzip.is_none() || file.line_at == size_of(f))
                }),
                Some(Copy::Was) => file.gzip.is_none(),
                _ => false,
            };
            let Some(file) = self.files.get_mut(id).filter(|_| done) else { continue };
            if file.gzip.is_none() {
                file.last = last_bytes(file, file.read_at);
                file.head = head_of(file, file.read_at);
            }
            (file.submitted, file.delivered) = (file.line_at, file.line_at);
            self.dirty_row(id);
        }
    }

    /// Lets go of a copy, because its file takes another place: that of what it repeats. Gives the paths that led to it.
    pub(super) fn release_copy(&mut self, key: &(u64, u64)) -> Vec<PathBuf> {
        let Some(&id) = self.by_inode.get(key) else { return Vec::new() };
        if self.files.get(id).is_none_or(|f| f.copy.is_none()) {
            return Vec::new();
        }
        let led = self.slots.iter().filter(|(_, s)| s.current == Some(id));
        let slots: Vec<(Id, PathBuf)> = led.map(|(slot, s)| (slot, s.path.clone())).collect();
        slots.iter().for_each(|(slot, _)| self.remove_slot(*slot));
        self.ready.retain(|r| *r != id);
        self.orphans.retain(|o| *o != id);
        self.dirty_rows.retain(|d| *d != id);
        self.forget_copy(id);
        let Some(file) = self.files.remove(id) else { return Vec::new() };
        self.by_inode.remove(&file.key);
        if let Some(key) = &file.name {
            if let Some(name) = self.names.get_mut(key) {
                name.file = name.file.filter(|f| *f != id);
            }
            self.drop_name_if_empty(key);
        }
        if file.row != 0 {
            self.old_rows.push(file.row);
        }
        self.engine.metrics().files_closed.fetch_add(1, Relaxed);
        self.engine.metrics().files_open.fetch_sub(1, Relaxed);
        self.leave_chain(file.chain, id);
        slots.into_iter().map(|(_, path)| path).collect()
    }

    /// A file is closed.
    pub(super) fn forget_copy(&mut self, id: Id) {
        self.copies.retain(|copy| *copy != id);
    }
}

/// The comparison begins at the head.
fn restart(file: &mut File) {
    (file.read_at, file.line_at, file.submitted, file.delivered) = (0, 0, 0, 0);
    if file.gzip.is_some() {
        file.gzip = Some(Box::new(Gzip::new()));
    }
}

fn size_of(file: &File) -> u64 {
    rustix::fs::fstat(&file.fd).map_or(0, |s| s.st_size as u64)
}

/// True while the file begins and ends, as far as it was read, with what was read.
fn is_intact(file: &File) -> bool {
    let text = readable_head(file, false).unwrap_or_default();
    file.head.begins(&text) && last_bytes(file, file.read_at).get() == file.last.get()
}

/// True when these bytes stand at this offset.
fn holds(file: &File, mut at: u64, mut text: &[u8]) -> bool {
    let mut bytes = vec![0; text.len().min(COMPRESSED_BYTES)];
    while !text.is_empty() {
        let len = bytes.len().min(text.len());
        match rustix::io::pread(&file.fd, &mut bytes[..len], at) {
            Ok(got) if got > 0 && bytes[..got] == text[..got] => {
                text = &text[got..];
                at += got as u64;
            }
            _ => return false,
        }
    }
    true
}

/// The next bytes of a copy's text, none at its end; `None` when it cannot be read. Moves `read_at`.
fn next_text(file: &mut File) -> Option<Vec<u8>> {
    let Some(gzip) = &mut file.gzip else {
        let mut bytes = vec![0; TURN_BYTES];
        let got = rustix::io::pread(&file.fd, bytes.as_mut_slice(), file.read_at).ok()?;
        bytes.truncate(got);
        file.read_at += got as u64;
        return Some(bytes);
    };
    let mut text = Vec::new();
    while text.is_empty() {
        if !gzip.pending() {
            let mut bytes = vec![0; COMPRESSED_BYTES];
            let got = rustix::io::pread(&file.fd, bytes.as_mut_slice(), file.read_at).ok()?;
            if got == 0 {
                break;
            }
            gzip.feed(&bytes[..got]);
            file.read_at += got as u64;
        }
        gzip.expand_up_to(&mut text, TURN_BYTES).ok()?;
    }
    Some(text)
}

/// The paths that the name of a rotated file may have been made of: what stands before any character that is no letter
/// or digit (`app.log` of `app.log.1.gz`), with the file's extension, too (`app.log` of `app-20260101.log`).
pub(super) fn originals(path: &Path) -> Vec<PathBuf> {
    let (plain, gzip) = (path.with_extension(""), is_gzip(path));
    let path = if gzip { &plain } else { path };
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return Vec::new() };
    let mut bases = if gzip { vec![plain.clone()] } else { Vec::new() };
    let cuts = name.char_indices().filter(|(at, c)| *at > 0 && !c.is_alphanumeric());
    let extension = name.rfind('.').map_or("", |at| &name[at..]);
    for (at, _) in cuts {
        bases.push(path.with_file_name(&name[..at]));
        if at + extension.len() < name.len() {
            bases.push(path.with_file_name(format!("{}{extension}", &name[..at])));
        }
    }
    bases
}

#[cfg(test)]
mod tests;
