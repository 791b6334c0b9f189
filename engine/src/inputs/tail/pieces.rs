//! Beside Fluent Bit's table: what tells a piece of a source from any other, and the order of the pieces.
//!
//! A *piece* is one content that stood at a source's path: from its first byte until it was renamed away, or truncated
//! (then it goes on in the copy). Owns: the table `ripsaw_tail_pieces`. Never: holds an offset; that is in the row.
//! Invariant: a piece with a row is still to be read or delivered, or stands at its path; a piece without a row is done.

use super::database::{Database, Marker};
use rusqlite::{OptionalExtension, params};

/// Done pieces that are remembered for a path, so that what was read is known when it is met again (compressed, say).
const DONE_MAX: i64 = 8;

pub(super) const CREATE: &str = "CREATE TABLE IF NOT EXISTS ripsaw_tail_pieces (\
  id        INTEGER PRIMARY KEY,\
  file      INTEGER,\
  path      TEXT NOT NULL,\
  number    INTEGER,\
  head      INTEGER,\
  head_size INTEGER,\
  seen      INTEGER,\
  seen_nsec INTEGER);\
  CREATE INDEX IF NOT EXISTS ripsaw_tail_pieces_path ON ripsaw_tail_pieces (path);";

const SELECT: &str =
    "SELECT id, file, path, number, head, head_size, seen, seen_nsec FROM ripsaw_tail_pieces";

/// One piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its key; 0 when it is not written yet.
    pub(super) id: i64,
    /// Key of its row; 0 when it is done.
    pub(super) row: i64,
    /// Path at which the source was found.
    pub(super) path: String,
    /// Rises along the source.
    pub(super) number: u32,
    /// Hash and size of its first bytes; size 0 when none are known.
    pub(super) head: Marker,
    /// Rotated files of the path that were written to last at this time or before belong to earlier pieces.
    pub(super) seen: (i64, i64),
}

impl Database {
    /// All pieces, in the order of their sources.
    pub(super) fn pieces(&self) -> rusqlite::Result<Vec<Piece>> {
        let mut query = self.connection.prepare(&format!("{SELECT} ORDER BY path, number, id"))?;
        query.query_map([], piece)?.collect()
    }

    /// The piece of a row.
    pub(super) fn piece_of(&self, row: i64) -> rusqlite::Result<Option<Piece>> {
        self.connection.prepare_cached(&format!("{SELECT} WHERE file=?1"))?.query_row([row], piece).optional()
    }

    /// First bytes of the pieces of a path.
    pub(super) fn heads(&self, path: &str) -> rusqlite::Result<Vec<Marker>> {
        let mut query = self.connection.prepare_cached(&format!("{SELECT} WHERE path=?1"))?;
        query.query_map([path], |row| piece(row).map(|piece| piece.head))?.collect()
    }

    /// Stores a piece; gives its key.
    pub(super) fn put_piece(&self, piece: &Piece) -> rusqlite::Result<i64> {
        let key = (piece.id != 0).then_some(piece.id);
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO ripsaw_tail_pieces (id, file, path, number, head, head_size, seen, seen_nsec) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                key,
                piece.row,
                piece.path,
                piece.number,
                piece.head.hash as i64,
                piece.head.size,
                piece.seen.0,
                piece.seen.1
            ])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// A piece is done; of those of its path, the newest are kept.
    pub(super) fn piece_done(&self, id: i64, path: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached("UPDATE ripsaw_tail_pieces SET file=0 WHERE id=?1")?.execute([id])?;
        self.connection
            .prepare_cached(
                "DELETE FROM ripsaw_tail_pieces WHERE path=?1 AND file=0 AND id NOT IN \
                 (SELECT id FROM ripsaw_tail_pieces WHERE path=?1 AND file=0 ORDER BY id DESC LIMIT ?2)",
            )?
            .execute(params![path, DONE_MAX])
            .map(drop)
    }

    /// Forgets a piece.
    pub(super) fn delete_piece(&self, id: i64) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM ripsaw_tail_pieces WHERE id=?1")?.execute([id]).map(drop)
    }

    /// Forgets the done pieces of a path that nothing continues.
    pub(super) fn forget_done(&self, path: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM ripsaw_tail_pieces WHERE path=?1 AND file=0")?
            .execute([path])
            .map(drop)
    }
}

fn piece(row: &rusqlite::Row<'_>) -> rusqlite::Result<Piece> {
    let number = |column: usize| row.get::<_, Option<i64>>(column).map(Option::unwrap_or_default);
    Ok(Piece {
        id: row.get(0)?,
        row: number(1)?,
        path: row.get(2)?,
        number: u32::try_from(number(3)?).unwrap_or(0),
        head: Marker { hash: number(4)? as u64, size: u32::try_from(number(5)?).unwrap_or(0) },
        seen: (number(6)?, number(7)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::database::Settings;
    use super::*;

    #[test]
    fn pieces_keep_their_order_and_the_newest_done_ones_stay() {
        let dir = crate::testing::ScratchDir::new();
        let settings = Settings { path: dir.join("tail.db"), sync: 1, exclusive: false, journal_mode: "WAL" };
        let head = Marker { hash: u64::MAX - 1, size: 9 };
        let stored = {
            let db = Database::open(&settings).expect("open");
            let mut all = Vec::new();
            for number in 0..20 {
                let piece =
                    Piece { row: 7, path: "/a".into(), number, head, seen: (5, 6), ..Piece::default() };
                let id = db.put_piece(&piece).expect("put");
                all.push(Piece { id, ..piece });
            }
            db.put_piece(&Piece { number: 3, ..all[3].clone() }).expect("put again");
            all
        };
        let db = Database::open(&settings).expect("open again");
        assert_eq!(db.pieces().expect("pieces"), stored);
        for piece in &stored[..15] {
            db.piece_done(piece.id, "/a").expect("done");
        }
        let numbers: Vec<(u32, bool)> =
            db.pieces().expect("pieces").iter().map(|p| (p.number, p.row == 0)).collect();
        assert_eq!(numbers, (7..20).map(|n| (n, n < 15)).collect::<Vec<_>>());
        db.forget_done("/a").expect("forget");
        db.delete_piece(stored[15].id).expect("delete");
        assert_eq!(db.pieces().expect("pieces").len(), 4);
    }
}
