//! After a restart: whether a file is still what the `DB` remembers, and where rotated files went.
//!
//! Owns: the comparison of offsets and markers, the search for renamed and compressed predecessors. Never: writes an
//! offset. Invariant: a file is gone on with only where the bytes before the offset are those that were delivered.

use super::Tail;
use super::database::{Marker, Row};
use super::discover::{last_bytes, new_file, open_file};
use super::glob;
use super::gzip::{Gzip, is_gzip};
use super::state::{FIRST_NUMBER, File, Id, LastBytes};
use crate::log;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The offset to go on from, or `None` when the file is another one, or was truncated.
pub(super) fn check(file: &File, row: &Row, size: u64) -> Option<u64> {
    if file.gzip.is_some() && row.marker.size == 0 {
        // An offset in the expanded text.
        return Some(row.offset);
    }
    if row.offset > size {
        return None;
    }
    let before = last_bytes(file, row.offset);
    let fits = row.marker.size == 0 || marker_of_size(&before, row.marker.size) == row.marker;
    fits.then_some(row.offset)
}

fn marker_of_size(before: &LastBytes, size: u32) -> Marker {
    let bytes = before.get();
    Marker::of(&bytes[bytes.len() - bytes.len().min(size as usize)..])
}

/// Expands a compressed file up to `at`; returns the bytes before it, `None` when it is damaged or shorter.
pub(super) fn skip_text(file: &mut File, at: u64) -> Option<LastBytes> {
    let mut gzip = Gzip::new();
    let (mut last, mut compressed) = (LastBytes::default(), vec![0; 64 * 1024]);
    while file.line_at < at {
        if !gzip.pending() {
            let got = rustix::io::pread(&file.fd, compressed.as_mut_slice(), file.read_at)
                .ok()
                .filter(|&got| got > 0)?;
            gzip.feed(&compressed[..got]);
            file.read_at += got as u64;
        }
        let room = usize::try_from(at - file.line_at).unwrap_or(usize::MAX).min(256 * 1024);
        let mut text = Vec::new();
        gzip.expand_up_to(&mut text, room).ok()?;
        file.line_at += text.len() as u64;
        last.push(&text);
    }
    file.gzip = Some(Box::new(gzip));
    Some(last)
}

impl Tail {
    /// After the first scan: rows of files that no path leads to any more. What was rotated away is read to its end
    /// before its successor; what is gone is forgotten.
    pub(super) fn recover_rotated(&mut self) {
        let Some(db) = &self.database else { return };
        let rows = match db.rows() {
            Ok(rows) => rows,
            Err(error) => return self.database_failed(&error),
        };
        let mut folders: HashMap<PathBuf, Vec<Listed>> = HashMap::new();
        self.claimed.extend(self.files.iter().map(|(_, file)| file.row));
        for row in std::mem::take(&mut self.displaced) {
            self.recover(&row, &mut folders);
        }
        for row in std::mem::take(&mut self.untouched) {
            self.open_copies_of_untouched(&row);
        }
        let left = rows.iter().rev().filter(|row| !self.claimed.contains(&row.id) && self.owns(row));
        for row in left.cloned().collect::<Vec<_>>() {
            // A copy that was found meanwhile may have taken it.
            if !self.claimed.contains(&row.id)
                && !self.recover(&row, &mut folders)
                && let Some(db) = &self.database
            {
                log!(
                    Info,
                    self.settings.name,
                    "db: file {} (inode={}) is gone and forgotten",
                    row.name,
                    row.inode
                );
                drop(db.delete(row.id));
            }
        }
    }

    /// False for what another input remembers in the same `DB`: no pattern of this one names it, and it was not rotated
    /// away from one of its paths.
    fn owns(&self, row: &Row) -> bool {
        let path = Path::new(&row.name);
        let text = path.as_os_str().as_bytes();
        let named = self.settings.patterns.iter().any(|pattern| pattern.matches(path));
        let excluded = || self.settings.exclude.iter().any(|pattern| glob::matches(pattern, text, false));
        named && !excluded() || self.successor_of(row).is_some()
    }

    /// Finds the file of a row: by its inode, else a copy of it (plain or compressed) by the bytes before the offset.
    fn recover(&mut self, row: &Row, folders: &mut HashMap<PathBuf, Vec<Listed>>) -> bool {
        let name = Path::new(&row.name);
        let real = name.canonicalize().ok().and_then(|p| p.parent().map(Path::to_owned));
        let mut looked: Vec<PathBuf> = name.parent().map(Path::to_owned).into_iter().chain(real).collect();
        looked.dedup();
        let base = base_name(row);
        for folder in looked {
            let entries = folders.entry(folder.clone()).or_insert_with(|| list(&folder)).clone();
            let same = entries.iter().position(|e| e.inode == row.inode && row.id != 0);
            if let Some(at) = same
                && self.open_rotated(&entries[at].path, row)
            {
                self.open_missed_since(&entries[at + 1..], name, &base);
                return true;
            }
            // The newest copy first: an older one may end with the same bytes.
            if row.id == 0
                && let Some(file) = self.successor_of(row).and_then(|id| self.files.get_mut(id))
            {
                file.copies_until = newest(&entries, &base);
            }
            for (at, entry) in entries.iter().enumerate().rev() {
                let known = row.marker.size > 0 && row.offset > 0;
                if known && entry.begins_with(&base) && self.open_rotated(&entry.path, row) {
                    self.open_missed_since(&entries[at + 1..], name, &base);
                    return true;
                }
            }
        }
        false
    }

    /// Nothing of a file was known to be delivered: what was copied from it since is newer than the last word in the `DB`.
    fn open_copies_of_untouched(&mut self, row: &Row) {
        let Ok(real) = Path::new(&row.name).canonicalize() else { return };
        let Some(folder) = real.parent() else { return };
        let mut newer = list(folder);
        newer.retain(|entry| entry.written >= self.database_written);
        self.open_missed_since(&newer, Path::new(&row.name), &base_name(row));
    }

    /// Files that came and were rotated away while nobody looked: newer than the rotated file that was found, named as
    /// its path with something behind, and in no row. (Compressed ones cannot be told from older ones.)
    pub(super) fn open_missed_since(&mut self, newer: &[Listed], name: &Path, base: &str) {
        let Some(&slot) = self.by_path.get(name) else { return };
        let rows = self.database.as_ref().and_then(|db| db.rows().ok()).unwrap_or_default();
        for entry in newer {
            if entry.is_rotated(base) && !is_gzip(&entry.path) && !is_of_a_row(entry, &rows) {
                self.open_missed(&entry.path, slot);
            }
        }
    }

    /// Opens a rotated file at the row's offset, as the predecessor of what is at its path now.
    fn open_rotated(&mut self, path: &Path, row: &Row) -> bool {
        let Ok(fd) =
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        else {
            return false;
        };
        let Ok(stat) = rustix::fs::fstat(&fd) else { return false };
        let (key, size) = ((stat.st_dev, stat.st_ino), stat.st_size as u64);
        if self.by_inode.contains_key(&key) {
            return false;
        }
        let mut file = new_file(fd, key, 0);
        if is_gzip(path) {
            file.gzip = Some(Box::new(Gzip::new()));
            if key.1 == row.inode && row.marker.size > 0 && check(&file, row, size) == Some(size) {
                // It was compressed all along, and read to its end.
                return false;
            }
            let Some(before) = skip_text(&mut file, row.offset) else { return false };
            if row.marker.size > 0 && marker_of_size(&before, row.marker.size) != row.marker {
                return false;
            }
        } else {
            let Some(mut at) = check(&file, row, size) else { return false };
            if let Some(own) = self.row_of_copy(&file, row, size) {
                at = at.max(own.offset);
                file.row = own.id;
            }
            (file.read_at, file.line_at) = (at, at);
            file.last = last_bytes(&file, at);
        }
        (file.submitted, file.delivered) = (file.line_at, file.line_at);
        file.row = if file.row == 0 { row.id } else { file.row };
        log!(
            Info,
            self.settings.name,
            "{} was rotated to {}, it is read from {} to its end",
            row.name,
            path.display(),
            file.line_at
        );
        self.insert_predecessor(file, row);
        true
    }

    /// The row that a copy has of its own, when it was read from before.
    fn row_of_copy(&self, file: &File, row: &Row, size: u64) -> Option<Row> {
        let own = self.database.as_ref()?.find(file.key.1).ok()??;
        let fits = own.id != row.id && own.marker.size > 0 && check(file, &own, size).is_some();
        (fits && !self.claimed.contains(&own.id)).then_some(own)
    }

    /// Puts a rotated file before the files of its path.
    fn insert_predecessor(&mut self, mut file: File, row: &Row) {
        let successor = self.successor_of(row);
        let chain = match successor.and_then(|id| self.files.get(id)) {
            Some(successor) => successor.chain,
            None => {
                let tag = self
                    .settings
                    .tagger
                    .tag(Path::new(&row.name))
                    .unwrap_or_else(|_| self.settings.tagger.pattern());
                self.new_chain(tag.into(), row.name.as_str().into(), false)
            }
        };
        let first = self.chains.get(chain).and_then(|c| c.members.first().copied());
        let lowest = first.and_then(|id| self.files.get(id)).map_or(FIRST_NUMBER, |f| f.number);
        file.chain = chain;
        file.number = lowest.saturating_sub(1);
        file.orphan_until = Some(std::time::Instant::now() + self.settings.rotate_wait);
        let (key, row_of_file) = (file.key, file.row);
        let id = self.files.insert(file);
        self.by_inode.insert(key, id);
        self.claimed.extend([row.id, row_of_file]);
        self.dirty_row(id);
        if let Some(chain) = self.chains.get_mut(chain) {
            chain.members.insert(0, id);
        }
        if let Some(first) = first.and_then(|first| self.files.get_mut(first)) {
            first.after = Some(id);
        }
        self.count_opened();
        self.orphans.push(id);
        self.queue(id);
    }

    /// The file that is now at the path of a row: the same path, or the longest name that the rotated one begins with.
    fn successor_of(&self, row: &Row) -> Option<Id> {
        let name = Path::new(&row.name);
        if let Some(slot) = self.by_path.get(name) {
            return self.slots.get(*slot)?.current;
        }
        let file_name = name.file_name()?.to_string_lossy().into_owned();
        let candidates = self.slots.iter().filter_map(|(_, slot)| {
            let real = slot.path.canonicalize().unwrap_or_else(|_| slot.path.clone());
            let base = real.file_name()?.to_string_lossy().into_owned();
            let same = real.parent() == name.parent() || slot.path.parent() == name.parent();
            (same && file_name.starts_with(&base)).then_some((base.len(), slot.current?))
        });
        candidates.max_by_key(|(len, _)| *len).map(|(_, id)| id)
    }
}

/// The name that a compressed copy of the file begins with.
pub(super) fn base_name(row: &Row) -> String {
    let name = Path::new(&row.name);
    let real = name.canonicalize().unwrap_or_else(|_| name.to_owned());
    real.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    /// When it was written to last, in seconds and nanoseconds.
    pub(super) written: (i64, i64),
    pub(super) path: PathBuf,
    pub(super) inode: u64,
}

impl Listed {
    /// True when its name begins with the one of a log file.
    pub(super) fn begins_with(&self, base: &str) -> bool {
        self.path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(base))
    }

    /// True when its name is that of a log file and something behind it.
    pub(super) fn is_rotated(&self, base: &str) -> bool {
        self.path.file_name().is_some_and(|n| {
            let name = n.to_string_lossy();
            name.len() > base.len()
                && name.starts_with(base)
                && !name.as_bytes()[base.len()].is_ascii_alphanumeric()
        })
    }
}

/// True when a row speaks of this file, and not of one that had its inode before.
fn is_of_a_row(entry: &Listed, rows: &[Row]) -> bool {
    let mut rows = rows.iter().filter(|row| row.inode == entry.inode).peekable();
    if rows.peek().is_none() {
        return false;
    }
    let Ok((fd, stat)) = open_file(&entry.path) else { return false };
    let file = new_file(fd, (stat.st_dev, stat.st_ino), 0);
    rows.any(|row| check(&file, row, stat.st_size as u64).is_some())
}

/// When the newest rotated file of a log file was written to.
pub(super) fn newest(entries: &[Listed], base: &str) -> Option<(i64, i64)> {
    let rotated = entries.iter().filter(|e| e.is_rotated(base));
    Some(rotated.map(|e| e.written).max().unwrap_or_default())
}

/// The files of a folder, oldest first.
pub(super) fn list(folder: &Path) -> Vec<Listed> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let listed = |entry: std::fs::DirEntry| {
        let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Listed { written: (meta.mtime(), meta.mtime_nsec()), path: entry.path(), inode: meta.ino() })
    };
    let mut files: Vec<Listed> = entries.filter_map(|e| listed(e.ok()?)).collect();
    files.sort_unstable();
    files
}
