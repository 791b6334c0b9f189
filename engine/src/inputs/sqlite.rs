//! SQLite files of inputs: what is there and is no database is put aside, never written over.
//!
//! Owns: that rule, the words for how a file is written. Never: knows a table.

use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

codecs::choice! {
    /// How hard SQLite syncs.
    pub enum Sync { Normal "normal", Full "full", Extra "extra", Off "off" }
}

codecs::choice! {
    /// SQLite's journal modes.
    pub enum Journal { Wal "WAL", Delete "DELETE", Truncate "TRUNCATE", Persist "PERSIST", Memory "MEMORY", Off "OFF" }
}

impl Sync {
    /// The number of `PRAGMA synchronous`.
    pub(super) fn pragma(self) -> u8 {
        match self {
            Sync::Off => 0,
            Sync::Normal => 1,
            Sync::Full => 2,
            Sync::Extra => 3,
        }
    }
}

impl Journal {
    /// The word of `PRAGMA journal_mode`.
    pub(super) fn pragma(self) -> &'static str {
        match self {
            Journal::Wal => "WAL",
            Journal::Delete => "DELETE",
            Journal::Truncate => "TRUNCATE",
            Journal::Persist => "PERSIST",
            Journal::Memory => "MEMORY",
            Journal::Off => "OFF",
        }
    }
}

/// Opens a database; what is there and is none is put aside, and its new name given.
pub(super) fn open_or_replace<T>(
    path: &Path,
    open: impl Fn(&Path) -> rusqlite::Result<T>,
) -> rusqlite::Result<(T, Option<PathBuf>)> {
    let error = match open(path) {
        Ok(database) => return Ok((database, None)),
        Err(error) => error,
    };
    let broken =
        matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let renamed = |suffix: &str, more: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let mut aside = name.clone();
        aside.push(more);
        (PathBuf::from(name), PathBuf::from(aside))
    };
    let more = format!(".corrupt-{}", now.as_secs());
    let (from, aside) = renamed("", &more);
    if !broken || aside.exists() || std::fs::rename(&from, &aside).is_err() {
        return Err(error);
    }
    // A journal of the broken file must not be played into the new one.
    for suffix in ["-wal", "-shm", "-journal"] {
        let (from, to) = renamed(suffix, &more);
        drop(std::fs::rename(from, to));
    }
    Ok((open(path)?, Some(aside)))
}
