//! Offsets from one configuration to the next, where there is no `DB`.
//!
//! Owns: what of them is kept, and who takes it. Never: writes to a disk.
//! With `Hot_Reload`, an input without a `DB` keeps its rows in a database in memory: so a reload finds what a restart
//! would find with a `DB`, rotated files included.

use super::Settings;
use super::database::{Database, Row};
use crate::inputs::Engine;
use crate::log;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What is kept of one input.
struct Offsets {
    /// For the input that reads the same patterns.
    database: Mutex<Option<Database>>,
    /// For any other one.
    rows: Vec<Row>,
}

/// Keys of what is kept begin so; the patterns follow.
const KEPT: &str = "tail:";

impl Settings {
    fn kept_as(&self) -> String {
        format!("{KEPT}{:?}", self.patterns)
    }

    /// Keeps all offsets for the inputs of the next configuration.
    pub(super) fn hand_on(&self, engine: &dyn Engine, database: Database) {
        match database.rows() {
            Ok(rows) => {
                let offsets = Offsets { rows, database: Mutex::new(Some(database)) };
                engine.keep(self.kept_as(), Arc::new(offsets));
            }
            Err(error) => log!(Error, self.name, "offsets cannot be handed on: {error}"),
        }
    }

    /// The database of the input that read the same patterns; else a new one, with the offsets of all files that these
    /// patterns name, whichever input read them.
    pub(super) fn take_over(&self, engine: &dyn Engine) -> rusqlite::Result<Database> {
        let kept = engine.kept(KEPT);
        let same = kept.iter().find(|(key, _)| *key == self.kept_as());
        let taken = same.and_then(|(_, kept)| {
            let offsets = kept.downcast_ref::<Offsets>()?;
            offsets.database.lock().expect("handover lock").take()
        });
        if let Some(database) = taken {
            return Ok(database);
        }
        let database = Database::in_memory()?;
        for offsets in kept.iter().filter_map(|(_, kept)| kept.downcast_ref::<Offsets>()) {
            let named = |row: &&Row| self.patterns.iter().any(|p| p.matches(Path::new(&row.name)));
            for row in offsets.rows.iter().filter(named) {
                database.insert(row)?;
            }
        }
        Ok(database)
    }
}
