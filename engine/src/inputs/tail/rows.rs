//! From deliveries to the `DB`: which offsets are written, and when.
//!
//! Owns: what of a file is delivered, batched writes, what to do when they fail. Never: writes an offset that was
//! only read. Invariant: rows of new files are written before their first line is read.

use super::Tail;
use super::database::{Database, Marker, Row};
use super::identity::last_bytes;
use super::pieces::Piece;
use super::state::{File, Id};
use crate::job::Position;
use crate::log;
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// While lines are delivered, offsets are written this often.
pub(super) const WRITE_EVERY: Duration = Duration::from_millis(250);
/// A program that is killed over and over gets on when it writes soon: so often at first, then less and less.
const WRITE_FIRST: Duration = Duration::from_millis(8);
/// After a failed write, the next attempt waits so long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Tail {
    /// Takes the news of the cursors.
    pub(super) fn take_deliveries(&mut self) {
        if self.database.is_none() {
            return;
        }
        for chain in self.news.take() {
            self.delivering.get_or_insert_with(Instant::now);
            let Some(c) = self.chains.get(chain) else { continue };
            let Some(position) = c.cursor.as_ref().map(|cursor| cursor.take()) else { continue };
            if position >= c.end {
                self.undelivered.remove(&chain);
            }
            for id in c.members.clone() {
                self.delivered(chain, id, position);
            }
        }
        if !self.dirty_rows.is_empty() && self.write_rows_at.is_none() {
            // At once after a pause.
            let now = Instant::now();
            self.write_rows_at = Some(self.rows_written.map_or(now, |at| at + self.write_pause(now)));
        }
        if !self.copies.is_empty() {
            self.note_copies_delivered();
        }
    }

    /// How long offsets wait to be written: a quarter of the time since the first delivery (before that, a part of the time
    /// that it runs), at most [`WRITE_EVERY`].
    pub(super) fn write_pause(&self, now: Instant) -> Duration {
        let pause = match self.delivering {
            Some(since) => now.saturating_duration_since(since) / 4,
            None => now.saturating_duration_since(self.begun) / 16,
        };
        pause.clamp(WRITE_FIRST, WRITE_EVERY)
    }

    fn delivered(&mut self, chain: Id, id: Id, position: Position) {
        let Some(file) = self.files.get_mut(id) else { return };
        let mut left = None;
        if let Some((earlier, number, end)) = file.earlier
            && earlier == chain
        {
            if position.file > number || (position.file == number && position.offset >= end) {
                file.earlier = None;
                left = Some(earlier);
                file.delivered = file.delivered.max(end);
            } else if position.file == number {
                file.delivered = file.delivered.max(position.offset);
            }
        } else if file.chain == chain && file.earlier.is_none() {
            match position.file.cmp(&file.number) {
                std::cmp::Ordering::Greater => file.delivered = file.submitted,
                std::cmp::Ordering::Equal => file.delivered = position.offset,
                std::cmp::Ordering::Less => return,
            }
        }
        let newer = file.chain;
        self.mark_dirty(id);
        if let Some(left) = left {
            // What went through the newer chain meanwhile counts now.
            let at = self.chains.get(newer).and_then(|c| c.cursor.as_ref()).map(|c| c.take());
            self.leave_chain(left, id);
            if let Some(at) = at {
                self.delivered(newer, id, at);
            }
        }
        if self.files.get(id).is_some_and(|f| f.finished) {
            self.write_rows();
            self.close_if_done(id);
        }
    }

    fn mark_dirty(&mut self, id: Id) {
        if let Some(file) = self.files.get_mut(id).filter(|f| !f.row_dirty) {
            file.row_dirty = true;
            self.dirty_rows.push(id);
        }
    }

    /// Writes the rows of files that were just found; at the start, once what stands before them is known.
    pub(super) fn store_new_rows(&mut self) {
        if !self.first_scan && std::mem::take(&mut self.new_rows) {
            self.write_rows();
        }
    }

    /// Writes what is due.
    pub(super) fn write_due_rows(&mut self, now: Instant) {
        if self.write_rows_at.is_some_and(|at| at <= now) {
            self.write_rows();
        }
    }

    /// Writes all rows and pieces that changed, in one transaction.
    pub(super) fn write_rows(&mut self) {
        let Some(db) = &self.database else { return };
        if self.dirty_rows.is_empty() && self.old_rows.is_empty() {
            return;
        }
        // Where a file does not hold any more what was delivered of it, nothing of its source is written until that is
        // known to be in a copy: a record may begin in one piece and end in the next.
        let lost = |id: &Id| self.files.get(*id).filter(|f| f.row != 0 && stored(f) == Stored::Unknown);
        let blocked: HashSet<Id> = self.dirty_rows.iter().filter_map(lost).map(|f| f.chain).collect();
        let is_blocked = |file: &File| file.row != 0 && blocked.contains(&file.chain);
        let (files, chains) = (&mut self.files, &self.chains);
        let created = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs() as i64);
        // What a failed transaction inserted is not there.
        let keys: Vec<_> =
            self.dirty_rows.iter().filter_map(|&id| Some((id, keys(files.get(id)?)))).collect();
        let result = db.transaction(|db| {
            self.old_rows.iter().try_for_each(|&row| db.delete(row))?;
            for &id in &self.dirty_rows {
                let Some(file) = files.get_mut(id).filter(|f| !is_blocked(f)) else { continue };
                let path = chains.get(file.chain).map(|c| c.path.clone()).unwrap_or_default();
                write_row(db, file, &path, created)?;
            }
            Ok(())
        });
        if result.is_err() {
            for (id, (row, piece, written)) in keys {
                if let Some(file) = files.get_mut(id) {
                    (file.row, file.piece, file.written) = (row, piece, written);
                }
            }
        }
        match result {
            Ok(()) => {
                self.write_rows_at = None;
                self.rows_written = Some(Instant::now());
                self.old_rows.clear();
                let files = &mut self.files;
                let mut finished = Vec::new();
                self.dirty_rows.retain(|&id| {
                    let Some(file) = files.get_mut(id) else { return false };
                    file.row_dirty = is_blocked(file);
                    finished.extend((file.finished && !file.row_dirty).then_some(id));
                    file.row_dirty
                });
                finished.into_iter().for_each(|id| self.close_if_done(id));
                if !self.dirty_rows.is_empty() {
                    self.write_rows_at = Some(Instant::now() + WRITE_EVERY);
                    self.dirty_rows.clone().into_iter().for_each(|id| self.queue(id));
                }
                if std::mem::take(&mut self.database_down) {
                    log!(Info, self.settings.name, "the `DB` can be written again");
                }
            }
            Err(error) => self.database_failed(&error),
        }
    }

    /// The `DB` cannot be written: told once, tried again; reading goes on, a restart would repeat more.
    pub(super) fn database_failed(&mut self, error: &rusqlite::Error) {
        self.engine.metrics().database_errors.fetch_add(1, Relaxed);
        self.write_rows_at = Some(Instant::now() + RETRY_AFTER);
        if !std::mem::replace(&mut self.database_down, true) {
            log!(
                Error,
                self.settings.name,
                "the `DB` cannot be written ({error}): reading goes on, offsets are kept and written when it can be again"
            );
        }
    }
}

fn keys(file: &File) -> (i64, i64, (u32, Marker, i64)) {
    (file.row, file.piece, file.written)
}

/// What the row of a file is to say.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    At(u64, Marker),
    /// What it says already: it speaks of what was there before a truncation.
    Unchanged,
    /// The file does not hold any more what was delivered.
    Unknown,
}

fn stored(file: &File) -> Stored {
    if file.stale && file.delivered == 0 {
        return Stored::Unchanged;
    }
    offset_and_marker(file).map_or(Stored::Unknown, |(offset, marker)| Stored::At(offset, marker))
}

/// Writes the row of a file, and its piece where that changed.
fn write_row(db: &Database, file: &mut File, path: &str, created: i64) -> rusqlite::Result<()> {
    let (offset, marker) = match stored(file) {
        Stored::At(offset, marker) => (offset, marker),
        _ if file.row == 0 => Default::default(),
        _ => return Ok(()),
    };
    // Of a compressed file nobody knows how much text is left.
    let size = if file.gzip.is_some() { offset } else { file.size.max(file.read_at) };
    let mut row = Row { id: file.row, offset, marker, size, ..Row::default() };
    if file.row == 0 || !db.update(&row)? {
        // A row that somebody deleted comes back, as in in_tail.
        (row.name, row.inode, row.created) = (path.to_owned(), file.key.1, created);
        file.row = db.insert(&row)?;
    }
    let written = (file.order, file.head.marker(), file.row);
    if file.piece == 0 || file.written != written {
        let (order, head, row) = written;
        let piece =
            Piece { id: file.piece, row, path: path.to_owned(), number: order, head, seen: file.seen };
        file.piece = db.put_piece(&piece)?;
        file.written = written;
    }
    Ok(())
}

/// Offset and marker as the `DB` has them, `None` when the file does not hold any more what was read. A compressed file
/// has the compressed size once all of it is delivered, as Fluent Bit writes it; before that, the offset in its text
/// and no marker.
fn offset_and_marker(file: &File) -> Option<(u64, Marker)> {
    if file.gzip.is_none() {
        if file.delivered == file.read_at {
            return Some((file.delivered, file.last.marker()));
        }
        let before = last_bytes(file, file.delivered);
        // In this order: when the end still fits, `before` is of the content that was read, too.
        let unchanged = last_bytes(file, file.read_at).get() == file.last.get();
        return unchanged.then(|| (file.delivered, before.marker()));
    }
    let at_end = file.at_eof || file.gzip.as_ref().is_some_and(|gzip| gzip.untouched());
    if at_end && file.partial.is_empty() && file.delivered == file.submitted {
        return Some((file.read_at, last_bytes(file, file.read_at).marker()));
    }
    Some((file.delivered, Marker::default()))
}
