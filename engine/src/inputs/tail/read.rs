//! Reading: batches over the files that have something, lines out of what came, blocks to the shards.
//!
//! Owns: turns, carried half lines, lines that are too long. Never: finds or closes files.
//! Invariants: a block ends with a newline; a byte is handed on once, or counted; a busy file waits for its turn.

use super::Tail;
use super::cut::first_long;
use super::state::{File, Id};
use crate::inputs::{Engine, Source};
use crate::io::{BATCH_READS_MAX, Request, STAGE_BYTES, Target};
use crate::job::{Block, Position, SourceInfo};
use crate::log;
use crate::metrics::FileLag;
use rustix::fd::AsFd;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// After so many bytes of a file the kernel is told that it may forget them.
const ADVISE_BYTES: u64 = 8 << 20;

/// From so many bytes on, an unfinished line is read on where it is: copying it for each read costs quadratic time.
const GROWS_IN_PLACE: usize = STAGE_BYTES;

/// What a read of one file brought.
struct Outcome {
    file: Id,
    charge: usize,
    /// Bytes of the unfinished line before it.
    carried: usize,
    /// How many bytes before the position were read again, to see whether they are still there.
    overlap: usize,
    target: Target,
    result: std::io::Result<usize>,
}

impl Tail {
    /// Puts a file into the ready queue.
    pub(super) fn queue(&mut self, id: Id) {
        if let Some(file) = self.files.get_mut(id)
            && !file.queued
            && !file.finished
        {
            file.queued = true;
            file.at_eof = false;
            self.ready.push_back(id);
        }
    }

    /// Reads once from up to [`BATCH_READS_MAX`] files; false when memory is short.
    pub(super) fn read_round(&mut self) -> bool {
        self.resume_stalled();
        if !self.copies.is_empty() {
            self.look_at_copies();
        }
        let mut picked: Vec<(Id, usize)> = Vec::with_capacity(BATCH_READS_MAX);
        let (mut admitted, mut blocked) = (true, false);
        let mut left = self.ready.len();
        while picked.len() < BATCH_READS_MAX && left > 0 && admitted {
            left -= 1;
            let Some(id) = self.ready.pop_front() else { break };
            let waits = self.files.get(id).is_some_and(|f| f.copy.is_some());
            if waits || self.waits_for_predecessor(id) {
                self.ready.push_back(id);
                continue;
            }
            let Some(file) = self.files.get(id) else { continue };
            let source = self.chains.get(file.chain).and_then(|chain| chain.source.as_ref());
            if source.is_some_and(|source| self.engine.blocked(source)) {
                self.ready.push_back(id);
                blocked = true;
                continue;
            }
            if file.gzip.as_ref().is_some_and(|g| g.pending()) {
                let line_at = file.line_at;
                admitted = self.expand(id, false);
                self.charge_half_line(id, line_at);
                continue;
            }
            let charge = match file.bulk {
                true => (file.partial.len() + self.settings.block_bytes).max(file.room),
                false => file.partial.len() + STAGE_BYTES,
            };
            admitted = self.engine.admit(charge);
            match admitted {
                true => picked.push((id, charge)),
                false => self.ready.push_front(id),
            }
        }
        if !picked.is_empty() {
            let outcomes = self.run_batch(&picked);
            self.engine.gather(true);
            for (index, outcome) in outcomes.into_iter().enumerate() {
                self.take(index, outcome);
            }
            self.engine.gather(false);
        } else if blocked {
            return false;
        }
        admitted
    }

    /// True while a predecessor has to be read to its end; it is looked at once more when its successor has something.
    fn waits_for_predecessor(&mut self, id: Id) -> bool {
        let Some(file) = self.files.get_mut(id) else { return false };
        let Some(before) = file.after else { return false };
        let asked = std::mem::replace(&mut file.asked, true);
        let open = self.files.get(before).filter(|f| !f.finished);
        let waits = open.is_some_and(|f| !asked || !f.at_eof);
        if waits {
            self.queue(before);
        } else {
            self.pass_half_line_on(before, id);
            if let Some(file) = self.files.get_mut(id) {
                file.after = None;
            }
        }
        waits
    }

    fn run_batch(&mut self, picked: &[(Id, usize)]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(picked.len());
        for &(id, charge) in picked {
            let file = self.files.get_mut(id).expect("picked files exist");
            let overlap = if file.gzip.is_some() { 0 } else { file.last.get().len() };
            let carried = file.partial.len();
            let target = if file.bulk {
                let mut buffer = carry(file, &*self.engine, charge);
                // The rest of it is read again.
                buffer.truncate(carried.saturating_sub(overlap));
                Target::Append(buffer, self.settings.block_bytes)
            } else {
                Target::Stage
            };
            outcomes.push(Outcome { file: id, charge, carried, overlap, target, result: Ok(0) });
        }
        let mut batch: Vec<Request<'_>> = Vec::with_capacity(picked.len());
        for outcome in &mut outcomes {
            let file = self.files.get(outcome.file).expect("picked files exist");
            let target = std::mem::replace(&mut outcome.target, Target::Stage);
            batch.push(Request::new(file.fd.as_fd(), file.read_at - outcome.overlap as u64, target));
        }
        self.reader.run(&mut batch);
        if let Some(notice) = self.reader.take_notice() {
            log!(Warn, self.settings.name, "{notice}");
        }
        for (outcome, request) in outcomes.iter_mut().zip(batch) {
            (outcome.target, outcome.result) = (request.target, request.result);
        }
        outcomes
    }

    /// Deals with what one read brought.
    fn take(&mut self, index: usize, outcome: Outcome) {
        let id = outcome.file;
        let Some(file) = self.files.get_mut(id) else { return };
        file.queued = false;
        if outcome.carried == 0 {
            file.before_line = Some(file.last);
        }
        let line_at = file.line_at;
        self.take_bytes(index, outcome);
        self.charge_half_line(id, line_at);
    }

    fn take_bytes(&mut self, index: usize, outcome: Outcome) {
        let Outcome { file: id, charge, carried, overlap, target, result } = outcome;
        let Some(file) = self.files.get_mut(id) else { return };
        let got = match result {
            Ok(got) => got,
            Err(error) => {
                self.engine.release(charge);
                return self.give_up(id, &format!("cannot be read: {error}"));
            }
        };
        match target {
            Target::Append(mut buffer, limit) => {
                let kept = carried.saturating_sub(overlap);
                if !file.goes_on(&buffer[kept..], overlap) {
                    if file.partial.len() < carried {
                        // The line was read on where it is: it ends with the bytes that were read last.
                        buffer.truncate(kept);
                        let last = file.last.get();
                        buffer.extend_from_slice(&last[last.len() - (carried - kept)..]);
                        file.partial = std::mem::take(&mut buffer);
                    }
                    self.engine.recycle(buffer);
                    self.engine.release(charge);
                    return self.truncated(id);
                }
                let full = got == limit;
                let new = got - overlap;
                file.took(&buffer[kept + overlap..]);
                file.bulk = full;
                let start = overlap.saturating_sub(carried);
                self.lines(id, buffer, start, carried, charge);
                self.after_read(id, new, full);
            }
            Target::Stage if file.gzip.is_some() => {
                let mut gzip = file.gzip.take().expect("checked");
                gzip.feed(self.reader.staged(index, got));
                file.read_at += got as u64;
                file.gzip = Some(gzip);
                self.engine.release(charge);
                self.expand(id, got == 0);
            }
            Target::Stage => {
                let bytes = self.reader.staged(index, got);
                if !file.goes_on(bytes, overlap) {
                    self.engine.release(charge);
                    return self.truncated(id);
                }
                if bytes.len() == overlap {
                    self.engine.release(charge);
                    return self.after_read(id, 0, false);
                }
                if file.fresh && self.copied_meanwhile(id) {
                    self.engine.release(charge);
                    return self.queue(id);
                }
                let Some(file) = self.files.get_mut(id) else { return };
                let bytes = self.reader.staged(index, got);
                let new = &bytes[overlap..];
                file.took(new);
                let mut buffer = carry(file, &*self.engine, carried + new.len());
                buffer.extend_from_slice(new);
                let (count, full) = (new.len(), got == STAGE_BYTES);
                // A line that begins in another file is not read in blocks.
                file.bulk = full && file.joined.is_none();
                self.lines(id, buffer, 0, carried, charge);
                self.after_read(id, count, full);
            }
        }
    }

    /// Counts, advises the kernel, and decides what comes next for this file.
    fn after_read(&mut self, id: Id, new: usize, more: bool) {
        let Some(file) = self.files.get_mut(id) else { return };
        file.unadvised += new as u64;
        if self.settings.cache_advise
            && (file.unadvised >= ADVISE_BYTES || (!more && file.unadvised >= ADVISE_BYTES / 8))
        {
            let (from, len) = (file.read_at - file.unadvised, file.unadvised);
            file.unadvised = 0;
            let len = std::num::NonZeroU64::new(len);
            let _ = rustix::fs::fadvise(&file.fd, from, len, rustix::fs::Advice::DontNeed);
        }
        match more {
            true => self.queue(id),
            false => self.reached_end(id),
        }
    }

    /// Makes text of compressed bytes that are there; false when memory is short.
    fn expand(&mut self, id: Id, file_ended: bool) -> bool {
        loop {
            let Some(file) = self.files.get_mut(id) else { return true };
            file.queued = false;
            let Some(mut gzip) = file.gzip.take() else { return true };
            if !gzip.pending() {
                file.gzip = Some(gzip);
                break;
            }
            let charge = file.partial.len() + self.settings.block_bytes;
            if !self.engine.admit(charge) {
                // The bytes wait in the decompressor's input; the next turn goes on with them.
                file.gzip = Some(gzip);
                self.queue(id);
                return false;
            }
            let mut buffer = carry(file, &*self.engine, charge);
            let carried = buffer.len();
            let result = gzip.expand(&mut buffer);
            file.gzip = Some(gzip);
            let made = buffer.len() - carried;
            let Some(file) = self.files.get_mut(id) else { return true };
            file.head.push(file.line_at + carried as u64, &buffer[carried..]);
            self.lines(id, buffer, 0, carried, charge);
            if let Err(error) = result {
                self.give_up(id, &format!("is not gzip, or damaged: {}", error.0));
                return true;
            }
            if made == 0 {
                break;
            }
        }
        match file_ended {
            true => self.reached_end(id),
            false => self.queue(id),
        }
        true
    }

    /// The file is read to its end for now.
    pub(super) fn reached_end(&mut self, id: Id) {
        let Some(file) = self.files.get_mut(id) else { return };
        file.at_eof = true;
        file.bulk = false;
        if file.partial.is_empty() {
            file.partial = Vec::new();
        }
        self.caught_up(id);
        self.orphan_at_end(id);
    }

    /// The file is not behind any more.
    pub(super) fn caught_up(&self, id: Id) {
        let Some(chain) = self.files.get(id).and_then(|f| self.chains.get(f.chain)) else { return };
        let metrics = self.engine.metrics();
        if let Some(lag) = metrics.files.lock().expect("lag lock").remove(&chain.path) {
            let bytes = metrics.lag_bytes.load(Relaxed).saturating_sub(lag.bytes);
            metrics.lag_bytes.store(bytes, Relaxed);
        }
    }

    /// Notes how far the queued files are behind; called now and then, not per read.
    pub(super) fn measure_lag(&mut self) {
        let now = std::time::SystemTime::now();
        let (mut sizes, mut behind) = (Vec::new(), HashMap::<Arc<str>, u64>::new());
        for &id in &self.ready {
            let Some(file) = self.files.get(id) else { continue };
            let Some(chain) = self.chains.get(file.chain) else { continue };
            let size = rustix::fs::fstat(&file.fd).map_or(0, |s| s.st_size as u64);
            sizes.push((id, size));
            // A rotated file and its successor have one path.
            *behind.entry(chain.path.clone()).or_default() += size.saturating_sub(file.read_at);
        }
        let metrics = self.engine.metrics();
        metrics.lag_bytes.store(behind.values().sum(), Relaxed);
        let mut lags = metrics.files.lock().expect("lag lock");
        lags.retain(|path, _| behind.contains_key(path));
        for (path, bytes) in behind {
            let since = lags.get(&path).map_or(now, |lag| lag.since);
            lags.insert(path, FileLag { bytes, since });
        }
        drop(lags);
        for (id, size) in sizes {
            if let Some(file) = self.files.get_mut(id) {
                file.size = file.size.max(size);
            }
        }
    }

    /// Cuts a buffer (from `start` on: carried bytes, then new ones) into blocks of whole lines, and keeps the rest.
    ///
    /// The first `carried` bytes hold no newline; `charge` bytes are admitted for it.
    fn lines(
        &mut self,
        id: Id,
        mut buffer: Vec<u8>,
        mut start: usize,
        mut carried: usize,
        mut charge: usize,
    ) {
        let Some(file) = self.files.get_mut(id) else { return };
        file.partial.clear();
        let mut first = start;
        if file.joined.is_some() {
            first = usize::MAX;
            let Some(rest) = self.joined_line(id, buffer, carried, charge) else { return };
            ((charge, buffer), carried) = (rest, 0);
        }
        loop {
            let Some(charset) = self.charset(id, &buffer, &mut start) else {
                return self.keep(id, buffer, start, charge);
            };
            let unit = charset.unit();
            let Some(file) = self.files.get_mut(id) else { return };
            if file.skipping {
                let end = charset.first_newline(&buffer[start..]);
                let passed = end.map_or((buffer.len() - start) & !(unit - 1), |end| end + unit);
                start += passed;
                file.line_at += passed as u64;
                file.skipping = end.is_none();
            }
            let new = start.max(carried);
            let new = new - (new - start) % unit;
            let whole = match charset.whole_lines(&buffer[new..]) {
                0 => 0,
                end => new + end - start,
            };
            let long = first_long(charset, &buffer[start..start + whole], self.settings.line_limit);
            let Some((at, end)) = long else {
                if whole > 0 {
                    let long = carried >= GROWS_IN_PLACE;
                    file.room = if long { carried + self.settings.block_bytes } else { 0 };
                }
                // What stands before the half line that is left is known where it is all here.
                file.before_line = file.before_line.filter(|_| start == first);
                if let Some(before) = &mut file.before_line {
                    before.push(&buffer[start..start + whole]);
                }
                return self.last_block(id, buffer, start, whole, charge);
            };
            let rest = self.split(&buffer, start + end + unit);
            self.too_long(id, buffer, start, start + at, Some(start + end), charge);
            let Some(rest) = rest else { return };
            ((charge, buffer), start, carried, first) = (rest, 0, 0, usize::MAX);
        }
    }

    /// A copy of `buffer[from..]` in a buffer of its own, with its charge.
    fn split(&mut self, buffer: &[u8], from: usize) -> Option<(usize, Vec<u8>)> {
        let rest = &buffer[from..];
        if rest.is_empty() {
            return None;
        }
        // What is read is read: the charge of at most one block is taken in any case.
        self.engine.take(rest.len());
        let mut copy = self.engine.buffer(rest.len());
        copy.extend_from_slice(rest);
        Some((rest.len(), copy))
    }

    /// Keeps `buffer[from..]` of which too little is there to tell what it is.
    fn keep(&mut self, id: Id, buffer: Vec<u8>, from: usize, charge: usize) {
        if let Some(file) = self.files.get_mut(id) {
            file.partial.extend_from_slice(&buffer[from..]);
            file.before_line = None;
        }
        self.drop_buffer(buffer, charge);
    }

    /// The first line begins in what was truncated, with the first `carried` bytes: it leaves alone, with its own
    /// position. What follows it is given back, with its charge.
    fn joined_line(
        &mut self,
        id: Id,
        mut buffer: Vec<u8>,
        carried: usize,
        charge: usize,
    ) -> Option<(usize, Vec<u8>)> {
        let marked = self.settings.encoding.marked(&buffer[carried..]);
        let file = self.files.get_mut(id)?;
        let charset = file.charset.unwrap_or_default();
        // A byte order mark begins a text, so that it ends the line before it.
        let marked = marked && file.line_at == 0 && file.read_at == (buffer.len() - carried) as u64;
        let end = match charset.first_newline(&buffer).filter(|_| !marked) {
            Some(at) => at + charset.unit(),
            None if marked => carried,
            None => {
                self.keep_joined(id, buffer, charge);
                return None;
            }
        };
        let from = file.joined.take()?;
        file.line_at = (end - carried.min(end)) as u64;
        let at = Position { file: file.number, offset: file.line_at };
        let rest = self.split(&buffer, end);
        buffer.truncate(end);
        if marked {
            buffer.extend_from_slice(charset.newline());
        }
        let end = buffer.len();
        self.submit(id, buffer, 0..end, from, at, charge);
        rest
    }

    /// The line that began before a truncation is still unfinished.
    fn keep_joined(&mut self, id: Id, buffer: Vec<u8>, charge: usize) {
        let Some(file) = self.files.get_mut(id) else { return };
        if buffer.len() < self.settings.line_limit {
            file.partial.extend_from_slice(&buffer);
            file.line_at = 0;
            self.engine.recycle(buffer);
            self.engine.release(charge);
            return;
        }
        let from = file.joined.take().unwrap_or_default();
        let charset = file.charset.unwrap_or_default();
        let mut buffer = buffer;
        let half = buffer.len() % charset.unit();
        file.partial.extend_from_slice(&buffer[buffer.len() - half..]);
        file.before_line = None;
        file.line_at = file.read_at - half as u64;
        let cut = charset.cut_at(&buffer, self.settings.line_limit);
        buffer.truncate(cut);
        buffer.extend_from_slice(charset.newline());
        file.skipping = true;
        let at = Position { file: file.number, offset: 0 };
        self.count_long(id);
        let end = buffer.len();
        match self.settings.skip_long {
            true => self.drop_buffer(buffer, charge),
            false => self.submit(id, buffer, 0..end, from, at, charge),
        }
    }

    fn drop_buffer(&mut self, buffer: Vec<u8>, charge: usize) {
        self.engine.recycle(buffer);
        self.engine.release(charge);
    }

    /// Whole lines, none too long, then an unfinished one.
    fn last_block(&mut self, id: Id, buffer: Vec<u8>, start: usize, whole: usize, charge: usize) {
        let Some(file) = self.files.get_mut(id) else { return };
        let end = start + whole;
        let tail = &buffer[end..];
        if tail.len() >= self.settings.line_limit {
            return self.too_long(id, buffer, start, end, None, charge);
        }
        if end == 0 && tail.len() >= GROWS_IN_PLACE && file.submitted == file.line_at {
            file.partial = buffer;
            return self.engine.release(charge);
        }
        file.partial.extend_from_slice(tail);
        let from = Position { file: file.number, offset: file.line_at };
        file.line_at += whole as u64;
        let to = Position { file: file.number, offset: file.line_at };
        // A restart must not begin inside a line that is passed over.
        if whole == 0 && (file.skipping || file.submitted == file.line_at) {
            return self.drop_buffer(buffer, charge);
        }
        self.submit(id, buffer, start..end, from, to, charge);
    }

    /// The line at `at` is too long: it ends at `newline`, or has not ended yet. What stands before it leaves too.
    fn too_long(
        &mut self,
        id: Id,
        mut buffer: Vec<u8>,
        start: usize,
        at: usize,
        newline: Option<usize>,
        charge: usize,
    ) {
        self.count_long(id);
        let limit = self.settings.line_limit;
        let skip = self.settings.skip_long;
        let Some(file) = self.files.get_mut(id) else { return };
        let from = Position { file: file.number, offset: file.line_at };
        let line_at = file.line_at + (at - start) as u64;
        let charset = file.charset.unwrap_or_default();
        let half = if newline.is_none() { (buffer.len() - at) % charset.unit() } else { 0 };
        let passed = newline.map_or(buffer.len() - half, |n| n + charset.unit()) - at;
        file.partial.extend_from_slice(&buffer[buffer.len() - half..]);
        file.before_line = None;
        file.line_at = line_at + passed as u64;
        file.skipping = newline.is_none();
        // The line counts as handed on only with its end, so that a restart does not begin inside it.
        let offset = if newline.is_some() { file.line_at } else { line_at };
        let to = Position { file: file.number, offset };
        let end = if skip {
            at
        } else {
            let cut = at + charset.cut_at(&buffer[at..newline.unwrap_or(buffer.len() - half)], limit);
            buffer.truncate(cut);
            buffer.extend_from_slice(charset.newline());
            buffer.len()
        };
        self.submit(id, buffer, start..end, from, to, charge);
    }

    fn count_long(&mut self, id: Id) {
        let metrics = self.engine.metrics();
        let (counter, what) = match self.settings.skip_long {
            true => (&metrics.long_lines_skipped, "skipped"),
            false => (&metrics.long_lines_truncated, "cut"),
        };
        counter.fetch_add(1, Relaxed);
        let Some(chain) = self.files.get(id).and_then(|f| self.chains.get(f.chain)) else { return };
        let path = std::path::PathBuf::from(&*chain.path);
        let text = format!(
            "{} has lines of more than {} bytes (`buffer_max_size`): they are {what} and counted",
            chain.path, self.settings.line_limit
        );
        self.tell_once(path, "long", &text);
    }

    /// Hands a block on.
    pub(super) fn submit(
        &mut self,
        id: Id,
        buffer: Vec<u8>,
        lines: std::ops::Range<usize>,
        position: Position,
        end: Position,
        charge: usize,
    ) {
        // The block carries a charge of its capacity.
        self.engine.settle(charge, buffer.capacity());
        let (position, end) = self.renumbered(id, position, end);
        let Some(file) = self.files.get_mut(id) else { return };
        let Some(chain) = self.chains.get_mut(file.chain) else { return };
        let engine = &self.engine;
        let charset = file.charset.unwrap_or_default();
        chain.charset = charset;
        let source: &Source = chain.source.get_or_insert_with(|| {
            engine.open(SourceInfo {
                tag: chain.tag.clone(),
                path: Some(chain.path.clone()),
                charset,
                cursor: chain.cursor.clone().map(|c| c as _),
            })
        });
        chain.started = end.file;
        chain.end = end;
        if self.database.is_some() {
            self.undelivered.insert(file.chain);
        }
        file.submitted = end.offset;
        engine.submit(source, Block { buffer, start: lines.start, end: lines.end, position }, end);
    }

    /// When a successor has begun already, late lines of a file go through a chain of their own; so does a file in
    /// another encoding than those before it.
    fn renumbered(&mut self, id: Id, position: Position, end: Position) -> (Position, Position) {
        let Some(file) = self.files.get(id) else { return (position, end) };
        let Some(chain) = self.chains.get(file.chain) else { return (position, end) };
        let alike = chain.source.is_none() || chain.charset == file.charset.unwrap_or_default();
        if alike && end.file >= chain.started {
            return (position, end);
        }
        let (tag, path, old) = (chain.tag.clone(), chain.path.clone(), file.chain);
        let late = self.new_chain(tag, path, false);
        let Some(file) = self.files.get_mut(id) else { return (position, end) };
        let sent = (file.delivered < file.submitted).then_some((old, file.number, file.submitted));
        file.earlier = file.earlier.or(sent);
        file.chain = late;
        let number = self.number_in(late, id);
        let Some(file) = self.files.get_mut(id) else { return (position, end) };
        file.number = number;
        if file.earlier.is_none() {
            self.leave_chain(old, id);
        }
        (Position { file: number, ..position }, Position { file: number, ..end })
    }

    /// An orphan whose time is over: its unfinished last line is a line, too.
    pub(super) fn submit_last_line(&mut self, id: Id) {
        let Some(file) = self.files.get_mut(id) else { return };
        if file.partial.is_empty() || file.skipping {
            return;
        }
        let mut buffer = std::mem::take(&mut file.partial);
        self.engine.let_go(std::mem::take(&mut file.kept));
        let number = file.number;
        let from = file.joined.take().unwrap_or(Position { file: number, offset: file.line_at });
        let to = Position { file: number, offset: file.line_at + buffer.len() as u64 };
        file.line_at = to.offset;
        let charset = file.charset.unwrap_or_default();
        charset.complete(&mut buffer);
        buffer.extend_from_slice(charset.newline());
        self.engine.take(buffer.capacity());
        let (end, charge) = (buffer.len(), buffer.capacity());
        self.submit(id, buffer, 0..end, from, to, charge);
    }

    /// Stops reading a file that cannot be read, and says so.
    pub(super) fn give_up(&mut self, id: Id, why: &str) {
        self.engine.metrics().read_errors.fetch_add(1, Relaxed);
        if let Some(chain) = self.files.get(id).and_then(|f| self.chains.get(f.chain)) {
            log!(Error, self.settings.name, "{} {why}; it is left, the others go on", chain.path);
        }
        self.finish(id);
    }
}

/// A buffer that begins with the unfinished line of a file and has room up to `capacity`: a copy, or the line itself when
/// it is long and has the room. A long line gets twice its room, so that it is not copied for each read.
fn carry(file: &mut File, engine: &dyn Engine, capacity: usize) -> Vec<u8> {
    let long = file.partial.len() >= GROWS_IN_PLACE;
    if long && file.partial.capacity() >= capacity {
        return std::mem::take(&mut file.partial);
    }
    let mut buffer = engine.buffer(if long { capacity.max(2 * file.partial.len()) } else { capacity });
    buffer.extend_from_slice(&file.partial);
    if long {
        engine.recycle(std::mem::take(&mut file.partial));
    }
    buffer
}

impl File {
    /// True when what was just read, the last `overlap` bytes of it for the second time, goes on what was read before.
    fn goes_on(&self, bytes: &[u8], overlap: usize) -> bool {
        bytes.get(..overlap) == Some(self.last.get()) && (self.read_at > 0 || self.head.begins(bytes))
    }

    /// Notes what was read at the position.
    fn took(&mut self, new: &[u8]) {
        self.last.push(new);
        self.head.push(self.read_at, new);
        self.read_at += new.len() as u64;
        self.size = self.size.max(self.read_at);
    }
}

/// True when the file holds lines that were read and are not delivered.
pub(super) fn undelivered(file: &File) -> bool {
    file.earlier.is_some() || file.delivered < file.submitted
}
