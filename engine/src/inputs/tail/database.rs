//! The `DB`: which file was delivered up to where, in Fluent Bit's own SQLite schema.
//!
//! Owns: the table `in_tail_files`, two columns of our own in it, and the pragmas. Never: decides what an offset means,
//! reads a log file. What else is remembered of a file is in `pieces`.
//! Invariant: what is written here was delivered; either program can go on from the other's file. `ripsaw_offset` is the
//! offset that this program wrote: where it differs, Fluent Bit went on with the file meanwhile.

use crate::inputs::sqlite::open_or_replace;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};

/// Bytes before the offset that the marker covers at most (in_tail has the same).
pub(super) const MARKER_BYTES: usize = 32;

/// What the bytes before an offset look like: in_tail's `offset_marker` (XXH3-64) and `offset_marker_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marker {
    /// Hash of the bytes.
    pub(super) hash: u64,
    /// How many they are; 0 when nothing is known.
    pub(super) size: u32,
}

impl Marker {
    /// The marker of the bytes that stand directly before an offset.
    pub(super) fn of(before: &[u8]) -> Self {
        let window = &before[before.len() - before.len().min(MARKER_BYTES)..];
        match window.len() {
            0 => Marker::default(),
            size => Marker { hash: xxhash_rust::xxh3::xxh3_64(window), size: size as u32 },
        }
    }
}

/// How the database is opened.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// `DB`.
    pub(super) path: PathBuf,
    /// `DB.sync`, as the pragma's number.
    pub(super) sync: u8,
    /// `DB.locking`: nobody else may open the file.
    pub(super) exclusive: bool,
    /// `DB.journal_mode`.
    pub(super) journal_mode: &'static str,
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Its key.
    pub(super) id: i64,
    /// Path when it was found, or the new one once it was rotated.
    pub(super) name: String,
    /// Delivered up to here.
    pub(super) offset: u64,
    /// Inode.
    pub(super) inode: u64,
    /// Unix time of the insert.
    pub(super) created: i64,
    /// True once it was renamed away.
    pub(super) rotated: bool,
    /// What stands before the offset.
    pub(super) marker: Marker,
    /// How large the file was at least.
    pub(super) size: u64,
    /// True when this program wrote the row last.
    pub(super) ours: bool,
}

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connection: Connection,
}

const CREATE: &str = "CREATE TABLE IF NOT EXISTS in_tail_files (\
  id      INTEGER PRIMARY KEY,\
  name    TEXT NOT NULL,\
  offset  INTEGER,\
  inode   INTEGER,\
  created INTEGER,\
  rotated INTEGER DEFAULT 0,\
  offset_marker INTEGER DEFAULT 0,\
  offset_marker_size INTEGER DEFAULT 0);";

const SELECT: &str = "SELECT id, name, offset, inode, created, rotated, offset_marker, offset_marker_size, \
                      ripsaw_offset, ripsaw_size FROM in_tail_files";

impl Database {
    /// Opens or makes it, as in_tail does; a file of an older version gets the marker columns.
    pub(super) fn open(settings: &Settings) -> rusqlite::Result<Self> {
        let connection = Connection::open(&settings.path)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(CREATE)?;
        connection.execute_batch(&format!("PRAGMA synchronous={};", settings.sync))?;
        if settings.exclusive {
            connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE;")?;
        }
        connection.execute_batch(&format!("PRAGMA journal_mode={};", settings.journal_mode))?;
        for (column, default) in [
            ("offset_marker", "0"),
            ("offset_marker_size", "0"),
            ("ripsaw_offset", "NULL"),
            ("ripsaw_size", "0"),
        ] {
            let there = connection
                .prepare("SELECT 1 FROM pragma_table_info('in_tail_files') WHERE name=?1")?
                .exists([column])?;
            if !there {
                connection.execute_batch(&format!(
                    "ALTER TABLE in_tail_files ADD COLUMN {column} INTEGER DEFAULT {default};"
                ))?;
            }
        }
        connection.execute_batch(super::pieces::CREATE)?;
        Ok(Database { connection })
    }

    /// Opens it; what is there and is no database is put aside, and its new name given.
    pub(super) fn open_or_replace(settings: &Settings) -> rusqlite::Result<(Self, Option<PathBuf>)> {
        open_or_replace(&settings.path, |_| Database::open(settings))
    }

    /// All rows, oldest first.
    pub(super) fn rows(&self) -> rusqlite::Result<Vec<Row>> {
        let mut query = self.connection.prepare(&format!("{SELECT} ORDER BY id"))?;
        query.query_map([], row)?.collect()
    }

    /// The newest row with this inode.
    pub(super) fn find(&self, inode: u64) -> rusqlite::Result<Option<Row>> {
        self.connection
            .prepare_cached(&format!("{SELECT} WHERE inode=?1 ORDER BY id DESC"))?
            .query_row([inode as i64], row)
            .optional()
    }

    /// Adds a file (`id` is not used yet); returns its key.
    pub(super) fn insert(&self, row: &Row) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached(
                "INSERT INTO in_tail_files (name, offset, inode, created, offset_marker, offset_marker_size, \
                 ripsaw_offset, ripsaw_size) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?2, ?7)",
            )?
            .execute(params![
                row.name,
                row.offset as i64,
                row.inode as i64,
                row.created,
                row.marker.hash as i64,
                row.marker.size,
                row.size as i64
            ])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Stores what was delivered of a file; false when the row is gone.
    pub(super) fn update(&self, row: &Row) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached(
                "UPDATE in_tail_files SET offset=?1, offset_marker=?2, offset_marker_size=?3, ripsaw_offset=?1, \
                 ripsaw_size=?4 WHERE id=?5",
            )?
            .execute(params![
                row.offset as i64,
                row.marker.hash as i64,
                row.marker.size,
                row.size as i64,
                row.id
            ])
            .map(|changed| changed > 0)
    }

    /// Notes that a file was renamed away.
    pub(super) fn rotate(&self, id: i64, name: &Path) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE in_tail_files SET name=?1, rotated=1 WHERE id=?2")?
            .execute(params![name.to_string_lossy(), id])
            .map(drop)
    }

    /// Forgets a file.
    pub(super) fn delete(&self, id: i64) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM in_tail_files WHERE id=?1")?.execute([id]).map(drop)
    }

    /// Runs `work` in one transaction: all of it is stored, or nothing.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction = self.connection.unchecked_transaction()?;
        let result = work(self)?;
        transaction.commit()?;
        Ok(result)
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let number = |column: usize| row.get::<_, Option<i64>>(column).map(Option::unwrap_or_default);
    Ok(Row {
        id: row.get(0)?,
        name: row.get(1)?,
        offset: u64::try_from(number(2)?).unwrap_or(0),
        inode: number(3)? as u64,
        created: number(4)?,
        rotated: number(5)? != 0,
        marker: Marker { hash: number(6)? as u64, size: u32::try_from(number(7)?).unwrap_or(0) },
        size: u64::try_from(number(9)?).unwrap_or(0),
        ours: row.get::<_, Option<i64>>(8)? == Some(number(2)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &crate::testing::ScratchDir) -> Settings {
        Settings { path: dir.join("tail.db"), sync: 1, exclusive: false, journal_mode: "WAL" }
    }

    #[test]
    fn rows_survive_a_restart() {
        let dir = crate::testing::ScratchDir::new();
        let marker = Marker::of(b"line one\n");
        {
            let db = Database::open(&settings(&dir)).expect("open");
            let row = Row {
                name: "/a.log".into(),
                inode: u64::MAX - 5,
                offset: 3,
                created: 1000,
                ..Row::default()
            };
            let id = db.insert(&row).expect("insert");
            let row = Row { id, offset: 9, marker, size: 12, ..row };
            assert!(db.transaction(|db| db.update(&row)).expect("update"));
            db.rotate(id, Path::new("/a.log.1")).expect("rotate");
            assert!(!db.update(&Row { id: id + 1, ..row }).expect("update"));
        }
        let db = Database::open(&settings(&dir)).expect("open again");
        let row = db.find(u64::MAX - 5).expect("query").expect("row");
        assert_eq!((row.name.as_str(), row.offset, row.rotated, row.created), ("/a.log.1", 9, true, 1000));
        assert_eq!((row.marker, row.size, row.ours), (marker, 12, true));
        // As Fluent Bit does.
        db.connection.execute("UPDATE in_tail_files SET offset=10 WHERE id=?1", [row.id]).expect("update");
        assert!(!db.find(u64::MAX - 5).expect("query").expect("row").ours);
        db.delete(row.id).expect("delete");
        assert_eq!(db.rows().expect("rows"), []);
    }

    #[test]
    fn a_file_of_an_older_version_is_extended() {
        let dir = crate::testing::ScratchDir::new();
        let old = Connection::open(dir.join("tail.db")).expect("open");
        old.execute_batch(
            "CREATE TABLE in_tail_files (id INTEGER PRIMARY KEY, name TEXT NOT NULL, offset INTEGER, inode INTEGER, \
             created INTEGER, rotated INTEGER DEFAULT 0); INSERT INTO in_tail_files VALUES (1, '/x', 7, 8, 9, 0);",
        )
        .expect("old schema");
        drop(old);
        let db = Database::open(&settings(&dir)).expect("open");
        assert_eq!(db.rows().expect("rows")[0].marker, Marker::default());
        assert!(!db.rows().expect("rows")[0].ours);
        let row = Row { id: 1, offset: 8, marker: Marker::of(b"x"), ..Row::default() };
        assert!(db.update(&row).expect("update"));
    }

    #[test]
    fn a_transaction_that_fails_stores_nothing() {
        let dir = crate::testing::ScratchDir::new();
        let db = Database::open(&settings(&dir)).expect("open");
        let failed = db.transaction(|db| {
            db.insert(&Row { name: "/a".into(), inode: 1, ..Row::default() })?;
            Err::<(), _>(rusqlite::Error::InvalidQuery)
        });
        assert!(failed.is_err());
        assert_eq!(db.rows().expect("rows"), []);
    }
}
