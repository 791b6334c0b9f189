//! Offsets from one configuration to the next, where there is no `DB`.
//!
//! Owns: what of them is kept, and who takes it. Never: writes to a disk.
//! With `Hot_Reload`, an input without a `DB` keeps its rows in a database in memory: so a reload finds what a restart
//! would find with a `DB`, rotated files included.

use super::Settings;
use super::database::{self, Database, Row};
use crate::inputs::Engine;
use crate::log;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is kept of one input.
struct Offsets {
    rows: Vec<Row>,
    /// When it stopped.
    stopped: (i64, i64),
}

/// Keys of what is kept begin so; the patterns follow.
const KEPT: &str = "tail:";

impl database::Settings {
    /// One that ends with the program.
    pub(super) fn in_memory() -> database::Settings {
        database::Settings {
            path: PathBuf::from(":memory:"),
            sync: 0,
            exclusive: false,
            journal_mode: "MEMORY",
        }
    }
}

impl Settings {
    fn kept_as(&self) -> String {
        format!("{KEPT}{:?}", self.patterns)
    }

    /// Keeps all offsets for the inputs of the next configuration.
    pub(super) fn hand_on(&self, engine: &dyn Engine, database: &Database) {
        let now = crate::shards::now();
        match database.rows() {
            Ok(rows) => {
                let offsets = Offsets { rows, stopped: (now.secs, i64::from(now.nanos)) };
                engine.keep(self.kept_as(), Arc::new(offsets));
            }
            Err(error) => log!(Error, self.name, "offsets cannot be handed on: {error}"),
        }
    }

    /// Takes the offsets of the input that read the same patterns; else those of any input, for the files that these
    /// patterns name. Gives when that was.
    pub(super) fn take_over(&self, engine: &dyn Engine, database: &Database) -> (i64, i64) {
        let kept = engine.kept(KEPT);
        let same = kept.iter().find(|(key, _)| *key == self.kept_as());
        let all = same.map_or(&kept[..], std::slice::from_ref);
        let mut stopped = (0, 0);
        for offsets in all.iter().filter_map(|(_, kept)| kept.clone().downcast::<Offsets>().ok()) {
            let wanted = |row: &&Row| {
                same.is_some() || self.patterns.iter().any(|pattern| pattern.matches(Path::new(&row.name)))
            };
            for row in offsets.rows.iter().filter(wanted) {
                let name = Path::new(&row.name);
                if let Err(error) = database.insert(name, row.inode, row.offset, row.marker, row.created) {
                    log!(Error, self.name, "the offset of {} is not taken over: {error}", row.name);
                }
            }
            stopped = offsets.stopped.max(stopped);
        }
        stopped
    }
}
