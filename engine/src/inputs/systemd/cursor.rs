//! How far a journal is delivered, in Fluent Bit's own SQLite schema.
//!
//! Owns: the table `in_systemd_cursor`, when it is written, what happens when it cannot be. Never: stores what was only
//! read. Invariant: either program can go on from the other's file.

use crate::inputs::InputContext;
use crate::inputs::sqlite::open_or_replace;
use crate::log;
use rusqlite::{Connection, OptionalExtension, params};
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// While entries are delivered, the cursor is written this often.
pub(super) const WRITE_EVERY: Duration = Duration::from_millis(250);
/// After a failed write, the next attempt waits so long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS in_systemd_cursor (  cursor  TEXT NOT NULL,  updated INTEGER);";

/// What Fluent Bit writes before the first entry.
const NONE: &str = "(null)";

/// The `DB`.
pub(super) struct Store {
    component: String,
    path: PathBuf,
    /// The number of `PRAGMA synchronous`, where one is asked for.
    sync: Option<u8>,
    connection: Option<Connection>,
    /// What is to be written, and when.
    due: Option<(CString, Instant)>,
    down: bool,
}

impl Store {
    /// Opens it; where that fails, it is told and tried again when there is something to write.
    pub(super) fn open(component: &str, path: &Path, sync: Option<u8>, engine: &InputContext) -> Store {
        let mut store = Store {
            component: component.to_owned(),
            path: path.to_owned(),
            sync,
            connection: None,
            due: None,
            down: false,
        };
        store.connect(engine);
        store
    }

    fn connect(&mut self, engine: &InputContext) -> bool {
        if self.connection.is_some() {
            return true;
        }
        match open_or_replace(&self.path, |path| connection(path, self.sync)) {
            Ok((connection, aside)) => {
                if let Some(aside) = aside {
                    engine.metrics().database_errors.fetch_add(1, Relaxed);
                    let aside = aside.display();
                    log!(
                        Error,
                        self.component,
                        "the `DB` is damaged, it was moved to {aside} and a new one begun"
                    );
                }
                self.connection = Some(connection);
                true
            }
            Err(error) => {
                self.failed(&error, engine);
                false
            }
        }
    }

    fn failed(&mut self, error: &rusqlite::Error, engine: &InputContext) {
        engine.metrics().database_errors.fetch_add(1, Relaxed);
        if !std::mem::replace(&mut self.down, true) {
            log!(
                Error,
                self.component,
                "the database {} cannot be used ({error}): reading goes on, a restart would repeat or miss entries \
                 until it can be written; its folder must exist, be writable and have room",
                self.path.display()
            );
        }
    }

    /// What it says.
    pub(super) fn cursor(&mut self, engine: &InputContext) -> Option<CString> {
        let connection = self.connection.as_ref()?;
        match read(connection) {
            Ok((cursor, rows)) => {
                if rows > 1 {
                    log!(Warn, self.component, "the `DB` had {rows} rows; all but the last were removed");
                }
                cursor.filter(|c| !c.is_empty() && c != NONE).and_then(|c| CString::new(c).ok())
            }
            Err(error) => {
                self.failed(&error, engine);
                None
            }
        }
    }

    /// Everything up to this entry is delivered; it is written a little later.
    pub(super) fn put(&mut self, cursor: CString) {
        let at = self.due.take().map_or_else(|| Instant::now() + WRITE_EVERY, |(_, at)| at);
        self.due = Some((cursor, at));
    }

    /// When there is something to write.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.as_ref().map(|(_, at)| *at)
    }

    /// Writes what is due, or with `all`, what is there.
    pub(super) fn write(&mut self, all: bool, engine: &InputContext) {
        let now = Instant::now();
        if !self.due.as_ref().is_some_and(|(_, at)| all || *at <= now) {
            return;
        }
        let connected = self.connect(engine);
        let Some((cursor, at)) = &mut self.due else { return };
        *at = now + RETRY_AFTER;
        let Some(connection) = self.connection.as_ref().filter(|_| connected) else { return };
        match write(connection, cursor) {
            Ok(()) => {
                self.due = None;
                if std::mem::take(&mut self.down) {
                    log!(Info, self.component, "the `DB` can be written again");
                }
            }
            Err(error) => self.failed(&error, engine),
        }
    }
}

fn connection(path: &Path, sync: Option<u8>) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch(CREATE)?;
    if let Some(sync) = sync {
        connection.execute_batch(&format!("PRAGMA synchronous={sync};"))?;
    }
    Ok(connection)
}

/// The cursor of the last row, and how many rows there were; the others are removed, as in Fluent Bit.
fn read(connection: &Connection) -> rusqlite::Result<(Option<String>, i64)> {
    let rows = connection.query_row("SELECT COUNT(*) FROM in_systemd_cursor", [], |row| row.get(0))?;
    if rows > 1 {
        connection.execute(
            "DELETE FROM in_systemd_cursor WHERE rowid < (SELECT MAX(rowid) FROM in_systemd_cursor)",
            [],
        )?;
    }
    let cursor = connection
        .query_row("SELECT cursor FROM in_systemd_cursor LIMIT 1", [], |row| row.get(0))
        .optional()?;
    Ok((cursor, rows))
}

fn write(connection: &Connection, cursor: &CStr) -> rusqlite::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    let cursor = cursor.to_string_lossy();
    let changed = connection
        .prepare_cached("UPDATE in_systemd_cursor SET cursor=?1, updated=?2")?
        .execute(params![cursor, now])?;
    if changed == 0 {
        connection.execute(
            "INSERT INTO in_systemd_cursor (cursor, updated) VALUES (?1, ?2)",
            params![cursor, now],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_many_rows_stays() {
        let dir = crate::testing::ScratchDir::new();
        let db = connection(&dir.join("j.db"), Some(1)).expect("open");
        assert_eq!(read(&db).expect("read"), (None, 0));
        write(&db, c"s=1").expect("insert");
        write(&db, c"s=2").expect("update");
        assert_eq!(read(&db).expect("read"), (Some("s=2".into()), 1));
        db.execute("INSERT INTO in_systemd_cursor VALUES ('s=3', 5)", []).expect("insert");
        assert_eq!(read(&db).expect("read"), (Some("s=3".into()), 2));
        drop(db);
        let db = connection(&dir.join("j.db"), None).expect("open again");
        assert_eq!(read(&db).expect("read"), (Some("s=3".into()), 1));
    }
}
