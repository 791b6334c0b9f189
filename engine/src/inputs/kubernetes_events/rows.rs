//! Which events are delivered, in Fluent Bit's own SQLite schema.
//!
//! Owns: the table `in_kubernetes_events`, when it is written. Never: stores an event that was only read.
//! Invariant: either program can go on from the other's file. An event that happens again keeps its row, with the new
//! resource version.

use crate::inputs::InputContext;
use crate::inputs::sqlite::open_or_replace;
use crate::log;
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS in_kubernetes_events (\
  id              INTEGER PRIMARY KEY,\
  uid             TEXT NOT NULL,\
  resourceVersion INTEGER NOT NULL,\
  created         INTEGER NOT NULL);\
  CREATE INDEX IF NOT EXISTS ripsaw_kubernetes_events_uid ON in_kubernetes_events (uid);";

/// Rows that are remembered at the start: the newest.
const ROWS_MAX: i64 = 100_000;

/// How the database is opened.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) path: PathBuf,
    /// The number of `PRAGMA synchronous`.
    pub(super) sync: u8,
    pub(super) exclusive: bool,
    pub(super) journal_mode: &'static str,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) uid: String,
    pub(super) version: u64,
    /// When it happened last, in nanoseconds since the epoch.
    pub(super) time: i64,
}

/// An open database, and what is to be written.
pub(super) struct Rows {
    component: String,
    connection: Connection,
    due: Vec<Row>,
    down: bool,
}

impl Rows {
    pub(super) fn open(
        settings: &Settings,
        component: &str,
        engine: &InputContext,
    ) -> rusqlite::Result<Rows> {
        let (connection, aside) = open_or_replace(&settings.path, |path| connection(path, settings))?;
        if let Some(aside) = aside {
            engine.metrics().database_errors.fetch_add(1, Relaxed);
            log!(
                Error,
                component,
                "the `DB` is damaged, it was moved to {} and a new one begun",
                aside.display()
            );
        }
        Ok(Rows { component: component.to_owned(), connection, due: Vec::new(), down: false })
    }

    /// The newest version of each event.
    pub(super) fn known(&self) -> rusqlite::Result<HashMap<String, u64>> {
        let mut query = self.connection.prepare(
            "SELECT uid, resourceVersion FROM in_kubernetes_events ORDER BY resourceVersion DESC LIMIT ?1",
        )?;
        let rows =
            query.query_map([ROWS_MAX], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let mut known = HashMap::new();
        for row in rows {
            let (uid, version) = row?;
            known.entry(uid).or_insert(version as u64);
        }
        Ok(known)
    }

    /// These are delivered.
    pub(super) fn put(&mut self, rows: Vec<Row>) {
        self.due.extend(rows);
    }

    /// Writes what is due, and forgets what happened before `oldest`; what fails stays due, and the answer is false.
    pub(super) fn write(&mut self, oldest: i64, engine: &InputContext) -> bool {
        if self.due.is_empty() {
            return true;
        }
        match write(&self.connection, &self.due, oldest) {
            Ok(()) => {
                self.due.clear();
                if std::mem::take(&mut self.down) {
                    log!(Info, self.component, "the `DB` can be written again");
                }
                true
            }
            Err(error) => {
                engine.metrics().database_errors.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut self.down, true) {
                    log!(
                        Error,
                        self.component,
                        "the `DB` cannot be written ({error}): reading goes on, a restart would repeat events"
                    );
                }
                false
            }
        }
    }
}

fn connection(path: &Path, settings: &Settings) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch(CREATE)?;
    connection.execute_batch(&format!("PRAGMA synchronous={};", settings.sync))?;
    if settings.exclusive {
        connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE;")?;
    }
    connection.execute_batch(&format!("PRAGMA journal_mode={};", settings.journal_mode))?;
    Ok(connection)
}

fn write(connection: &Connection, rows: &[Row], oldest: i64) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    {
        let mut update = transaction
            .prepare_cached("UPDATE in_kubernetes_events SET resourceVersion=?2, created=?3 WHERE uid=?1")?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO in_kubernetes_events (uid, resourceVersion, created) VALUES (?1, ?2, ?3)",
        )?;
        for row in rows {
            let values = params![row.uid, row.version as i64, row.time];
            if update.execute(values)? == 0 {
                insert.execute(values)?;
            }
        }
        transaction.execute("DELETE FROM in_kubernetes_events WHERE created <= ?1", [oldest])?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_happens_again_keeps_its_row() {
        let dir = crate::testing::ScratchDir::new();
        let path = dir.join("events.db");
        let settings = Settings { path: path.clone(), sync: 1, exclusive: false, journal_mode: "WAL" };
        let row = |uid: &str, version, time| Row { uid: uid.into(), version, time };
        let db = connection(&path, &settings).expect("open");
        write(&db, &[row("a", 1, 10), row("b", 2, 20), row("a", 3, 30)], 0).expect("write");
        // What is old goes.
        write(&db, &[row("c", 4, 40)], 20).expect("write");
        let mut query = db
            .prepare("SELECT uid, resourceVersion, created FROM in_kubernetes_events ORDER BY id")
            .expect("query");
        let rows: Vec<_> = query
            .query_map([], |r| {
                Ok(Row { uid: r.get(0)?, version: r.get::<_, i64>(1)? as u64, time: r.get(2)? })
            })
            .expect("rows")
            .collect::<Result<_, _>>()
            .expect("rows");
        assert_eq!(rows, [row("a", 3, 30), row("c", 4, 40)]);
    }
}
