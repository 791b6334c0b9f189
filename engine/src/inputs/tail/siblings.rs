//! The files beside a log file: those that it was rotated to.
//!
//! Owns: the listing of a folder and what a name says. Never: opens a file.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    /// When it was written to last, in seconds and nanoseconds.
    pub(super) written: (i64, i64),
    pub(super) path: PathBuf,
    pub(super) key: (u64, u64),
    pub(super) size: u64,
}

/// Listings of folders, each made once.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Sorted by name.
    folders: HashMap<PathBuf, Vec<Listed>>,
}

impl Folders {
    /// The files whose names begin with that of the file at `path` (or of its target, when that is a link), oldest
    /// first.
    pub(super) fn list(&mut self, path: &Path) -> Vec<Listed> {
        let mut files = Vec::new();
        let target = target(path);
        for path in target.iter().map(PathBuf::as_path).chain([path]) {
            let (Some(folder), Some(base)) = (path.parent(), path.file_name()) else { continue };
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let listed = self.folders.entry(folder.to_owned()).or_insert_with(|| read(folder));
            let base = base.as_encoded_bytes();
            let from = listed.partition_point(|f| f.name() < base);
            files.extend(listed[from..].iter().take_while(|f| f.name().starts_with(base)).cloned());
        }
        files.sort_unstable();
        let mut known = HashSet::new();
        files.retain(|f| known.insert(f.key));
        files
    }
}

/// The files of a folder, by name.
fn read(folder: &Path) -> Vec<Listed> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let listed = |entry: std::fs::DirEntry| {
        let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let (written, key) = ((meta.mtime(), meta.mtime_nsec()), (meta.dev(), meta.ino()));
        Some(Listed { written, path: entry.path(), key, size: meta.len() })
    };
    let mut files: Vec<Listed> = entries.flatten().filter_map(listed).collect();
    files.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    files
}

impl Listed {
    fn name(&self) -> &[u8] {
        self.path.file_name().map(|n| n.as_encoded_bytes()).unwrap_or_default()
    }

    /// True when its name is that of the log file at `path` and something behind it.
    pub(super) fn is_rotated(&self, path: &Path) -> bool {
        let real = target(path);
        let names = [path.file_name(), real.as_deref().and_then(Path::file_name)];
        names.into_iter().flatten().any(|base| {
            self.name()
                .strip_prefix(base.as_encoded_bytes())
                .and_then(|rest| rest.first())
                .is_some_and(|next| !next.is_ascii_alphanumeric())
        })
    }
}

/// Where a link leads to, even when nothing is there now.
fn target(path: &Path) -> Option<PathBuf> {
    let link = || Some(path.parent()?.join(std::fs::read_link(path).ok()?));
    path.canonicalize().ok().or_else(link)
}
