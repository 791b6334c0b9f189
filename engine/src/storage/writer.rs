//! The thread that writes: frames, marks, removals.
//!
//! Owns: open chunk files and what is outstanding in each. Never: reads a chunk back.
//! Invariant: what is acknowledged was written, and synced where that is asked for, before; a frame that could not be
//! written whole is cut off again.

use super::format::{self, Head, Kind};
use super::{CHUNK_BYTES, ChunkFile, Done, Held, InputChunks, Put, Spilled, Store, Stored, Work};
use crate::log;
use crate::queue::Queued;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An output, and one of its files by its number.
type Key = (usize, u64);

/// What the writer knows of a chunk file.
pub(super) struct Chunk {
    pub(super) shared: Arc<ChunkFile>,
    /// Open for appending.
    pub(super) file: Option<File>,
    /// Bytes of the file.
    pub(super) len: u64,
    /// Segments that are not done with.
    pub(super) open: u32,
    pub(super) lane: usize,
    /// Who wrote to it last.
    pub(super) input: Arc<str>,
}

/// See the module.
pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    pub(super) chunks: BTreeMap<Key, Chunk>,
    /// The file that a lane's segments are appended to.
    current: HashMap<(usize, usize), Key>,
    /// Files that were written to in this batch.
    dirty: Vec<Key>,
    /// Folders in which files were made in this batch.
    dirty_folders: Vec<PathBuf>,
    /// What is done with, to be marked in files that live on.
    marks: Vec<(Key, u64, u64)>,
    last_id: u64,
    full_told: bool,
    limit_told: u64,
    pub(super) rejected: super::rejected::Rejects,
}

/// A segment on its way through a batch.
struct Written {
    put: Put,
    /// Where it was written, or `None` when it was not.
    place: Option<(Key, u64, u64)>,
}

impl Writer {
    pub(super) fn new(store: Arc<Store>) -> Writer {
        Writer {
            store,
            chunks: BTreeMap::new(),
            current: HashMap::new(),
            dirty: Vec::new(),
            dirty_folders: Vec::new(),
            marks: Vec::new(),
            last_id: 0,
            full_told: false,
            limit_told: 0,
            rejected: Default::default(),
        }
    }

    pub(super) fn run(mut self) {
        self.recover();
        self.publish();
        loop {
            let batch = {
                let work = self.store.work.lock().expect("storage lock");
                let mut work = self.store.arrived.wait_while(work, |w| w.is_empty()).expect("storage lock");
                std::mem::take(&mut *work)
            };
            if self.batch(batch) {
                return;
            }
        }
    }

    /// Does all that waits; true when it was told to stop.
    fn batch(&mut self, batch: std::collections::VecDeque<Work>) -> bool {
        let (mut written, mut rejected, mut flushed, mut stop) = (Vec::new(), Vec::new(), Vec::new(), false);
        for work in batch {
            match work {
                Work::Put(put) => {
                    let place = self.append(&put);
                    written.push(Written { put, place });
                }
                Work::Done(done) => self.done(&done),
                Work::Reject(refused) => rejected.push(self.reject(refused)),
                Work::Flush(sender) => flushed.push(sender),
                Work::Stop => stop = true,
            }
        }
        let synced = self.sync();
        written.into_iter().for_each(|w| self.release(w, &synced));
        rejected.into_iter().flatten().for_each(crate::shards::Ack::accept);
        self.mark();
        self.publish();
        for sender in flushed {
            let _ = sender.send(());
        }
        stop
    }

    /// A number for a new file: the time, but always above the last one.
    pub(super) fn next_id(&mut self) -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.last_id = (self.last_id + 1).max(now.as_nanos() as u64);
        self.last_id
    }

    pub(super) fn seen_id(&mut self, id: u64) {
        self.last_id = self.last_id.max(id);
    }

    /// Appends a segment to its lane's file; gives where, or `None` when that failed (which is told).
    fn append(&mut self, put: &Put) -> Option<(Key, u64, u64)> {
        let segment = &put.held.segment;
        let meta = format::segment_meta(segment);
        let bytes = (format::FRAME_HEAD_BYTES + meta.len() + segment.bytes.len()) as u64;
        if !self.make_room(put.output, bytes) {
            return None;
        }
        let result = self.current(put).and_then(|key| {
            let chunk = self.chunks.get_mut(&key).ok_or_else(|| std::io::Error::other("no chunk"))?;
            let start = chunk.len;
            let head = format::frame_head(Kind::Segment, &[&meta, &segment.bytes], start);
            chunk.append(&[&head, &meta, &segment.bytes])?;
            chunk.open += 1;
            Ok((key, start, chunk.len))
        });
        match result {
            Ok((key, start, end)) => {
                let (input, _) = put.held.ack.origin();
                if let Some(chunk) = self.chunks.get_mut(&key).filter(|c| *c.input != *input) {
                    chunk.input = input.into();
                }
                self.grow(put.output, end - start);
                if !self.dirty.contains(&key) {
                    self.dirty.push(key);
                }
                if end >= self.chunk_bytes(put.output) {
                    self.current.retain(|_, current| *current != key);
                }
                self.works_again();
                Some((key, start, end))
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn chunk_bytes(&self, output: usize) -> u64 {
        self.store.file_bytes(output).map_or(CHUNK_BYTES, |bytes| bytes as u64)
    }

    /// The file to append to; a new one where there is none, or where the last write to it failed.
    fn current(&mut self, put: &Put) -> std::io::Result<Key> {
        let lane = put.lane % self.store.outputs[put.output].lanes.count();
        let known = self.current.get(&(put.output, lane));
        if let Some(key) = known.filter(|key| self.chunks.get(key).is_some_and(|c| c.file.is_some())) {
            return Ok(*key);
        }
        let id = self.next_id();
        let output = &self.store.outputs[put.output];
        let folder = self.store.settings.path.join(super::folder_name(&output.name));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(file_name(id));
        let head = format::file_head(&Head {
            plugin: output.plugin.to_owned(),
            output: output.name.clone(),
            fingerprint: output.fingerprint,
            lane: lane as u32,
        });
        let file = new_file(&path, &[&head])?;
        let shared = Arc::new(ChunkFile { path, output: put.output, id, up: AtomicUsize::new(0) });
        let key = (put.output, id);
        let (input, _) = put.held.ack.origin();
        let chunk =
            Chunk { shared, file: Some(file), len: head.len() as u64, open: 0, lane, input: input.into() };
        self.chunks.insert(key, chunk);
        self.current.insert((put.output, lane), key);
        self.grow(put.output, head.len() as u64);
        for made in [folder, self.store.settings.path.clone()] {
            if !self.dirty_folders.contains(&made) {
                self.dirty_folders.push(made);
            }
        }
        Ok(key)
    }

    pub(super) fn grow(&self, output: usize, bytes: u64) {
        self.store.disk[output].fetch_add(bytes, Relaxed);
        self.store.counters.bytes.fetch_add(bytes, Relaxed);
    }

    /// Drops the oldest files of an output until `bytes` more keep its limit. False when that cannot be done, because
    /// what is left is being delivered.
    fn make_room(&mut self, output: usize, bytes: u64) -> bool {
        let Some(limit) = self.store.outputs[output].limit else { return true };
        let used = |store: &Store| store.disk_bytes(output) + bytes;
        if used(&self.store) <= limit {
            return true;
        }
        // A file that is only marked to go frees nothing: what is delivered already goes first.
        let keys: Vec<Key> = self.chunks.range((output, 0)..=(output, u64::MAX)).map(|(k, _)| *k).collect();
        for key in keys {
            if used(&self.store) <= limit {
                break;
            }
            self.drop_chunk(key);
        }
        used(&self.store) <= limit
    }

    /// Drops a file whose segments all wait, and counts them.
    fn drop_chunk(&mut self, key: Key) {
        let Some(chunk) = self.chunks.get(&key) else { return };
        let output = &self.store.outputs[key.0];
        let Some(records) = output.lanes.evict(chunk.lane, &chunk.shared, chunk.open) else { return };
        output.lanes.metrics().drop_records("storage_limit", records);
        self.limit_told += 1;
        if self.limit_told.is_power_of_two() {
            log!(
                Warn,
                format!("output:{}:{}", output.plugin, output.name),
                "dropped the oldest chunk with {records} records: `storage.total_limit_size` is used up ({} so far)",
                self.limit_told
            );
        }
        self.remove(key);
    }

    /// Removes a file.
    fn remove(&mut self, key: Key) {
        let Some(chunk) = self.chunks.remove(&key) else { return };
        self.current.retain(|_, current| *current != key);
        self.dirty.retain(|dirty| *dirty != key);
        self.store.disk[key.0].fetch_sub(chunk.len, Relaxed);
        self.store.counters.bytes.fetch_sub(chunk.len, Relaxed);
        if let Err(error) = std::fs::remove_file(&chunk.shared.path) {
            log!(
                Error,
                "storage",
                "cannot remove {}: {error}; a restart would deliver it again",
                chunk.shared.path.display()
            );
        }
    }

    /// A part of a file is done with; the file goes with the last of them.
    fn done(&mut self, done: &Done) {
        self.finished((done.chunk.output, done.chunk.id), done.start, done.end, done.segments);
    }

    fn finished(&mut self, key: Key, start: u64, end: u64, segments: u32) {
        let Some(chunk) = self.chunks.get_mut(&key) else { return };
        chunk.open = chunk.open.saturating_sub(segments);
        if chunk.open == 0 {
            self.remove(key);
        } else {
            self.marks.push((key, start, end));
        }
    }

    /// Marks in files that live on what of them is done with, so that a restart does not repeat it.
    fn mark(&mut self) {
        for (key, start, end) in std::mem::take(&mut self.marks) {
            let Some(chunk) = self.chunks.get_mut(&key) else { continue };
            let before = chunk.len;
            let frame = format::frame(Kind::Done, &format::done(start, end), before);
            if chunk.reopen().and_then(|()| chunk.append(&[&frame])).is_ok() {
                let grown = chunk.len - before;
                self.grow(key.0, grown);
            }
            // A mark that is not written costs a repetition, and nothing else.
            if !self.current.values().any(|current| *current == key)
                && let Some(chunk) = self.chunks.get_mut(&key)
            {
                chunk.file = None;
            }
        }
    }

    /// Syncs what this batch wrote; gives the files that are good.
    fn sync(&mut self) -> Vec<Key> {
        let dirty = std::mem::take(&mut self.dirty);
        let folders = std::mem::take(&mut self.dirty_folders);
        let mut good = Vec::with_capacity(dirty.len());
        let mut result = Ok(());
        if self.store.settings.full_sync {
            result = folders.iter().try_for_each(|folder| File::open(folder)?.sync_all());
        }
        for key in dirty {
            let Some(chunk) = self.chunks.get_mut(&key) else { continue };
            if self.store.settings.full_sync && result.is_ok() {
                result = chunk.file.as_ref().map_or(Ok(()), File::sync_data);
            }
            if result.is_ok() {
                good.push(key);
            }
            if !self.current.values().any(|current| *current == key) {
                chunk.file = None;
            }
        }
        if let Err(error) = result {
            self.failed(&error);
        }
        good
    }

    /// Acknowledges what was written and hands it to its lane, in memory or as a place on disk.
    fn release(&mut self, written: Written, synced: &[Key]) {
        let Written { put, place } = written;
        let output = &self.store.outputs[put.output];
        let known = place.filter(|(key, ..)| synced.contains(key));
        let Some(((_, start, end), chunk)) = known.and_then(|p| Some((p, self.chunks.get(&p.0)?))) else {
            // Not safe on disk: it is acknowledged when it is delivered, as without a storage.
            output.lanes.send(put.lane, Queued::Up(put.held));
            if let Some((key, start, end)) = place {
                self.finished(key, start, end, 1);
            }
            return;
        };
        let Held { segment, ack, charge, pool } = put.held;
        if put.keep_up || charge.has_room() && output.lanes.has_room_below(self.store.settings.up_bytes) {
            chunk.shared.up.fetch_add(1, Relaxed);
            let (input, took) = ack.origin();
            let stored = Stored {
                store: self.store.clone(),
                chunk: chunk.shared.clone(),
                start,
                end,
                segments: 1,
                input: if *input == *chunk.input { chunk.input.clone() } else { input.into() },
                made: std::time::Instant::now().checked_sub(took).unwrap_or_else(std::time::Instant::now),
            };
            ack.accept();
            let ack = crate::shards::Ack::stored(stored);
            return output.lanes.send(put.lane, Queued::Up(Held { segment, ack, charge, pool }));
        }
        let spilled = Spilled {
            chunk: chunk.shared.clone(),
            start,
            end,
            segments: 1,
            records: u64::from(segment.records),
            bytes: segment.bytes.len() as u64,
            backlog: false,
        };
        output.lanes.send(put.lane, Queued::Down(spilled));
        pool.give(segment.bytes);
        drop(charge);
        ack.accept();
    }

    /// The disk refuses: told once, until it works again.
    pub(super) fn failed(&mut self, error: &std::io::Error) {
        self.store.counters.errors.fetch_add(1, Relaxed);
        self.store.counters.failing.store(1, Relaxed);
        self.store.failing.store(true, Relaxed);
        if !std::mem::replace(&mut self.full_told, true) {
            log!(
                Error,
                "storage",
                "cannot write to {}: {error}; what comes waits in memory, and inputs wait when that is full",
                self.store.settings.path.display()
            );
        }
    }

    fn works_again(&mut self) {
        if std::mem::take(&mut self.full_told) {
            self.store.failing.store(false, Relaxed);
            self.store.counters.failing.store(0, Relaxed);
            log!(Info, "storage", "{} can be written again", self.store.settings.path.display());
        }
    }

    /// Counts for the monitoring server.
    fn publish(&self) {
        let mut by_input: HashMap<String, InputChunks> = HashMap::new();
        let mut up = 0;
        for chunk in self.chunks.values() {
            let counted = by_input.entry(chunk.input.to_string()).or_default();
            if chunk.shared.up.load(Relaxed) > 0 {
                up += 1;
                counted.up += 1;
            } else {
                counted.down += 1;
            }
        }
        self.store.counters.chunks.store(self.chunks.len() as u64, Relaxed);
        self.store.counters.chunks_up.store(up, Relaxed);
        *self.store.by_input.lock().expect("storage lock") = by_input;
    }
}

impl Chunk {
    /// Appends all of the parts, or nothing. After an error that cannot be undone the file is closed: what stands in it
    /// stays good, the next write begins another.
    fn append(&mut self, parts: &[&[u8]]) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Err(std::io::Error::other("the chunk is closed")) };
        let mut at = self.len;
        for part in parts {
            if let Err(error) = file.write_all_at(part, at) {
                if file.set_len(self.len).is_err() {
                    self.file = None;
                }
                return Err(error);
            }
            at += part.len() as u64;
        }
        self.len = at;
        Ok(())
    }

    /// Opens the file again for a mark.
    fn reopen(&mut self) -> std::io::Result<()> {
        if self.file.is_none() {
            self.file = Some(std::fs::OpenOptions::new().write(true).open(&self.shared.path)?);
        }
        Ok(())
    }
}

/// `1795279173.448612278.flb`: names sort by time.
pub(super) fn file_name(id: u64) -> String {
    format!("{:010}.{:09}.flb", id / 1_000_000_000, id % 1_000_000_000)
}

/// The number of a file by its name.
pub(super) fn id_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".flb")?;
    let (secs, nanos) = name.split_once('.')?;
    secs.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)
}

/// A new file of these parts; nothing is left of it when they cannot be written.
pub(super) fn new_file(path: &Path, parts: &[&[u8]]) -> std::io::Result<File> {
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).open(path)?;
    for part in parts {
        if let Err(error) = file.write_all(part) {
            drop(std::fs::remove_file(path));
            return Err(error);
        }
    }
    Ok(file)
}
