//! The `DB` cannot be opened: positions are kept in memory meanwhile, and it is tried again.
//!
//! Owns: the database in memory, and the move to the one on the disk. Never: writes to what cannot be opened.
//! Invariant: what the `DB` knew is gone on with where it can at least be read; what is delivered meanwhile is written once
//! it can be opened.

use super::Tail;
use super::database::{Database, Row, Settings};
use super::state::Id;
use crate::log;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often a `DB` that could not be opened is tried again.
pub(super) const REOPEN_EVERY: Duration = Duration::from_secs(5);

impl Database {
    /// One that is not on a disk.
    pub(super) fn in_memory() -> rusqlite::Result<Self> {
        Database::open(&Settings {
            path: ":memory:".into(),
            sync: 0,
            exclusive: false,
            journal_mode: "MEMORY",
        })
    }

    /// One in memory, with the offsets of the one at `path` where that can be read.
    pub(super) fn spare(path: &Path) -> rusqlite::Result<Self> {
        let database = Database::in_memory()?;
        for row in rows_of(path) {
            database.insert(&row)?;
        }
        Ok(database)
    }
}

/// What can be read of a `DB` that cannot be written; nothing where even that fails.
fn rows_of(path: &Path) -> Vec<Row> {
    let rows = |path: &Path, flags| {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | flags;
        let connection = Connection::open_with_flags(path, flags)?;
        Database { connection }.rows()
    };
    // Without room for the files beside it, it can be read only as one that nobody changes.
    rows(path, OpenFlags::empty())
        .or_else(|_| rows(Path::new(&immutable(path)), OpenFlags::SQLITE_OPEN_URI))
        .unwrap_or_default()
}

/// The path as SQLite's URI.
fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(byte.into()),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri + "?immutable=1"
}

impl Tail {
    /// Tries to open the `DB` again, when that is due.
    pub(super) fn open_database_again(&mut self, now: Instant) {
        let Some(db) = self.settings.db.as_ref().filter(|_| self.reopen_at.is_some_and(|at| at <= now))
        else {
            return;
        };
        let opened = Database::open_or_replace(db).and_then(|(database, _)| {
            // What it says of files that are open is older than what is known of them now.
            database.transaction(|db| self.files.iter().try_for_each(|(_, file)| forget(db, file.key.1)))?;
            Ok(database)
        });
        match opened {
            Ok(database) => self.move_to(database),
            Err(_) => {
                self.engine.metrics().database_errors.fetch_add(1, Relaxed);
                self.reopen_at = Some(now + REOPEN_EVERY);
            }
        }
    }

    fn move_to(&mut self, database: Database) {
        self.reopen_at = None;
        self.database = Some(database);
        // Keys of the other database mean nothing here.
        self.old_rows.clear();
        let all: Vec<Id> = self.files.iter().map(|(id, _)| id).collect();
        for id in all {
            if let Some(file) = self.files.get_mut(id) {
                (file.row, file.piece, file.written) = Default::default();
            }
            self.dirty_row(id);
        }
        log!(Info, self.settings.name, "the `DB` can be opened now, offsets are written to it");
        self.write_rows();
    }
}

fn forget(db: &Database, inode: u64) -> rusqlite::Result<()> {
    while let Some(row) = db.find(inode)? {
        db.delete(row.id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_known() {
        let dir = crate::testing::ScratchDir::new();
        let path = dir.join("a b#?%.db");
        let settings = Settings { path: path.clone(), sync: 1, exclusive: false, journal_mode: "WAL" };
        let row = Row { name: "/a".into(), inode: 7, offset: 9, size: 12, ..Row::default() };
        Database::open(&settings).and_then(|db| db.insert(&row)).expect("row");
        let known = Database::spare(&path).and_then(|db| db.rows()).expect("rows");
        assert_eq!((known[0].inode, known[0].offset, known[0].ours), (7, 9, true));
        let uri = immutable(&path);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(&uri, flags).expect("immutable");
        assert_eq!(Database { connection }.rows().expect("rows"), known);
        for path in [dir.join("missing"), dir.path().to_owned()] {
            assert_eq!(Database::spare(&path).and_then(|db| db.rows()).expect("rows"), []);
        }
    }
}
