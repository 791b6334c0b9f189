//! Storage: what is queued, kept on disk until it is delivered (`storage.type filesystem`).
//!
//! Owns: the folder `storage.path`, chunk files, what is recovered from them, what was refused. Never: parses a record,
//! delivers, blocks a worker or a network thread.
//! Invariants: a segment's source is acknowledged only after its frame is written (and synced, with `storage.sync full`);
//! files are written, marked and removed by one thread; a file is removed only when all of it is delivered, dropped and
//! counted, or kept elsewhere.

pub mod format;
mod recover;
mod rejected;
mod writer;

use crate::budget::{Budget, Pool};
use crate::queue::{Charge, Lanes};
use crate::shards::Ack;
use outputs::segment::Segment;
use std::collections::{HashMap, VecDeque};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::oneshot;

/// What was on disk at the start comes from an input of this name, as in Fluent Bit.
pub const BACKLOG: &str = "storage_backlog";
/// A chunk file is closed when it holds so many bytes, as Fluent Bit's chunks are.
pub const CHUNK_BYTES: u64 = 2_000_000;

/// A limit is divided into at least so many files, so that dropping the oldest drops a part.
const FILES_OF_LIMIT: u64 = 4;

/// `storage.*` of the service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `storage.path`.
    pub path: PathBuf,
    /// `storage.sync full`: a frame is on the disk before its source is acknowledged.
    pub full_sync: bool,
    /// `storage.delete_irrecoverable_chunks`: what cannot be read is removed, not kept aside.
    pub delete_irrecoverable: bool,
    /// `storage.backlog.mem_limit`: bytes of recovered chunks that one lane has in memory at once.
    pub backlog_bytes: usize,
    /// `storage.backlog.flush_on_shutdown`: what was recovered is delivered while stopping, too.
    pub flush_backlog: bool,
    /// `storage.keep.rejected`.
    pub keep_rejected: bool,
    /// Folder of what was refused.
    pub rejected_path: PathBuf,
    /// `storage.rejected.limit` in bytes.
    pub rejected_limit: Option<u64>,
    /// `storage.max_chunks_up`, in bytes of one output.
    pub up_bytes: usize,
    /// What was refused before is delivered again (`--replay-rejected`).
    pub replay_rejected: bool,
}

/// An output as the storage knows it.
pub struct StoredOutput {
    /// `http.0`, or its alias.
    pub name: String,
    /// `http`.
    pub plugin: &'static str,
    /// Of all that determines how it encodes.
    pub fingerprint: u64,
    /// `storage.total_limit_size` in bytes.
    pub limit: Option<u64>,
    /// Where its segments wait.
    pub lanes: Lanes,
}

/// A chunk file, as those see it who hold a part of it.
#[derive(Debug)]
pub struct ChunkFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    output: usize,
    /// Which of its output's files: rising with time.
    id: u64,
    /// Segments of it that are in memory.
    up: AtomicUsize,
}

/// Segments on disk only: a range of a chunk file.
#[derive(Debug)]
pub struct Spilled {
    /// The file.
    pub chunk: Arc<ChunkFile>,
    /// Where the first frame begins.
    pub start: u64,
    /// Where the last frame ends.
    pub end: u64,
    /// How many segments lie there.
    pub segments: u32,
    /// How many records.
    pub records: u64,
    /// How many encoded bytes.
    pub bytes: u64,
    /// It was there when the program started.
    pub backlog: bool,
}

/// The part of a chunk file that somebody delivers.
pub struct Stored {
    store: Arc<Store>,
    chunk: Arc<ChunkFile>,
    start: u64,
    end: u64,
    segments: u32,
    /// The input that it came from.
    input: Arc<str>,
    /// When its records were made.
    made: std::time::Instant,
}

impl Stored {
    /// It is delivered, or dropped and counted.
    pub fn accept(self) {
        let done =
            Done { chunk: self.chunk.clone(), start: self.start, end: self.end, segments: self.segments };
        self.store.send(Work::Done(done));
    }

    /// The input that it came from, and how long ago its records were made.
    pub fn origin(&self) -> (&str, std::time::Duration) {
        (&self.input, self.made.elapsed())
    }

    /// True when it lies in this file.
    pub fn is_of(&self, chunk: &Arc<ChunkFile>) -> bool {
        Arc::ptr_eq(&self.chunk, chunk)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.chunk.up.fetch_sub(self.segments as usize, Relaxed);
    }
}

/// A segment in memory with all that belongs to it.
pub struct Held {
    /// What is to be delivered.
    pub segment: Segment,
    /// Told when it is.
    pub ack: Ack,
    /// What it holds of the budgets.
    pub charge: Charge,
    /// Where its buffer goes back to.
    pub pool: Arc<Pool>,
}

struct Put {
    output: usize,
    lane: usize,
    held: Held,
    /// It stays in memory, however much there is (`storage.pause_on_chunks_overlimit`).
    keep_up: bool,
}

struct Done {
    chunk: Arc<ChunkFile>,
    start: u64,
    end: u64,
    segments: u32,
}

struct Rejected {
    output: usize,
    segments: Vec<Segment>,
    reason: String,
    acks: Vec<Ack>,
}

enum Work {
    Put(Put),
    Done(Done),
    Reject(Rejected),
    Flush(oneshot::Sender<()>),
    Stop,
}

/// What the monitoring server shows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Chunk files (gauge).
    pub chunks: AtomicU64,
    /// Those of which something is in memory (gauge).
    pub chunks_up: AtomicU64,
    /// Bytes of all chunk files (gauge).
    pub bytes: AtomicU64,
    /// Records that were on disk at the start and go out again.
    pub recovered_records: AtomicU64,
    /// Files with damage.
    pub damaged_chunks: AtomicU64,
    /// Files that no output of this configuration can deliver (gauge).
    pub orphaned_chunks: AtomicU64,
    /// Failed writes; what they were to store waits in memory instead.
    pub errors: AtomicU64,
    /// 1 while the disk refuses writes (gauge).
    pub failing: AtomicU64,
    /// Records kept aside because an output refused them.
    pub rejected_records: AtomicU64,
    /// Bytes kept aside (gauge).
    pub rejected_bytes: AtomicU64,
    /// Files of refused records that had to go because of the limit.
    pub rejected_dropped_chunks: AtomicU64,
}

/// Chunk files of one input: those of which something is in memory, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputChunks {
    /// Something of them is in memory.
    pub up: u64,
    /// Only on disk.
    pub down: u64,
}

/// See the module.
pub struct Store {
    /// `storage.*` of the service.
    pub settings: Settings,
    /// What is counted.
    pub counters: Counters,
    outputs: Vec<StoredOutput>,
    work: Mutex<VecDeque<Work>>,
    arrived: Condvar,
    /// What a reader of a chunk takes memory from.
    budget: Arc<Budget>,
    /// Rings whoever waits for memory.
    released: Arc<dyn Fn() + Send + Sync>,
    by_input: Mutex<HashMap<String, InputChunks>>,
    /// Bytes on disk of each output.
    disk: Vec<AtomicU64>,
    failing: AtomicBool,
    stopping: AtomicBool,
    /// Held for as long as this process uses the folder.
    lock: Mutex<Option<std::fs::File>>,
}

/// Why a range could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read now.
    Io(std::io::Error),
    /// It does not hold what was written.
    Damaged,
}

impl Store {
    /// Takes the folder; fails where that cannot be written, or where another process has it.
    pub fn open(
        settings: Settings,
        outputs: Vec<StoredOutput>,
        budget: Arc<Budget>,
        released: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Arc<Store>, String> {
        let path = &settings.path;
        let shown = path.display();
        std::fs::create_dir_all(path)
            .map_err(|e| format!("cannot make the folder {shown} (storage.path): {e}"))?;
        let lock = lock(path)?;
        Ok(Arc::new(Store {
            disk: outputs.iter().map(|_| AtomicU64::new(0)).collect(),
            settings,
            counters: Counters::default(),
            outputs,
            work: Mutex::default(),
            arrived: Condvar::new(),
            budget,
            released,
            by_input: Mutex::default(),
            failing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// Starts the thread that recovers what is there, and then writes.
    pub fn start(self: &Arc<Self>) -> std::io::Result<std::thread::JoinHandle<()>> {
        let writer = writer::Writer::new(self.clone());
        std::thread::Builder::new().name("storage".into()).spawn(move || writer.run())
    }

    fn send(&self, work: Work) {
        self.work.lock().expect("storage lock").push_back(work);
        self.arrived.notify_one();
    }

    /// Stores a segment, acknowledges its source, and queues it in its output's lane.
    pub fn put(&self, output: usize, lane: usize, held: Held, keep_up: bool) {
        self.send(Work::Put(Put { output, lane, held, keep_up }));
    }

    /// Keeps aside what an output refused, then acknowledges it.
    pub fn reject(&self, output: usize, segments: Vec<Segment>, reason: String, acks: Vec<Ack>) {
        self.send(Work::Reject(Rejected { output, segments, reason, acks }));
    }

    /// Resolves when all that was sent before is written.
    pub async fn flush(&self) {
        let (sender, receiver) = oneshot::channel();
        self.send(Work::Flush(sender));
        drop(receiver.await);
    }

    /// Ends the thread after what was sent before.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.send(Work::Stop);
    }

    /// Gives the folder back, after [`Store::stop`].
    pub fn release(&self) {
        drop(self.lock.lock().expect("storage lock").take());
    }

    /// True while the disk takes what waits: sources need not wait for their outputs.
    pub fn accepts(&self) -> bool {
        !self.failing.load(Relaxed)
    }

    /// Chunk files of an input.
    pub fn of_input(&self, name: &str) -> InputChunks {
        self.by_input.lock().expect("storage lock").get(name).copied().unwrap_or_default()
    }

    /// How large a file of an output with a limit becomes.
    pub fn file_bytes(&self, output: usize) -> Option<usize> {
        self.outputs[output].limit.map(|limit| CHUNK_BYTES.min(limit / FILES_OF_LIMIT).max(1) as usize)
    }

    /// Bytes on disk of an output.
    pub fn disk_bytes(&self, output: usize) -> u64 {
        self.disk[output].load(Relaxed)
    }

    /// A charge for bytes that are read back, whether they fit or not.
    pub fn charge(&self, bytes: usize) -> Charge {
        // A charge is against two budgets; what is read back belongs to no input's.
        let no_input = Budget::new(usize::MAX);
        no_input.take(bytes);
        self.budget.take(bytes);
        Charge::taken(bytes, [self.budget.clone(), no_input], self.released.clone())
    }

    /// Reads the first segments of a range, up to `bytes_max` encoded bytes but at least one. Blocks: not for workers or
    /// network threads.
    pub fn load(self: &Arc<Self>, spilled: &Spilled, bytes_max: usize) -> Result<Loaded, LoadError> {
        let limit = if spilled.backlog { bytes_max.min(self.settings.backlog_bytes) } else { bytes_max };
        let file = std::fs::File::open(&spilled.chunk.path).map_err(LoadError::Io)?;
        let mut bytes = vec![0; (spilled.end - spilled.start) as usize];
        file.read_exact_at(&mut bytes, spilled.start).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => LoadError::Damaged,
            _ => LoadError::Io(error),
        })?;
        let Ok((segments, next)) = format::segments(&bytes, spilled.start, limit) else {
            if !self.settings.delete_irrecoverable {
                // What cannot be kept aside is lost either way.
                drop(std::fs::copy(&spilled.chunk.path, recover::aside(&spilled.chunk.path)));
            }
            return Err(LoadError::Damaged);
        };
        let count = segments.len() as u32;
        spilled.chunk.up.fetch_add(segments.len(), Relaxed);
        let stored = Stored {
            store: self.clone(),
            chunk: spilled.chunk.clone(),
            start: spilled.start,
            end: next,
            segments: count,
            input: Arc::from(BACKLOG),
            made: std::time::Instant::now(),
        };
        let records: u64 = segments.iter().map(|s| u64::from(s.records)).sum();
        let held: u64 = segments.iter().map(|s| s.bytes.len() as u64).sum();
        let rest = (next < spilled.end && count < spilled.segments).then(|| Spilled {
            chunk: spilled.chunk.clone(),
            start: next,
            end: spilled.end,
            segments: spilled.segments - count,
            records: spilled.records.saturating_sub(records),
            bytes: spilled.bytes.saturating_sub(held),
            backlog: spilled.backlog,
        });
        Ok(Loaded { segments, ack: Ack::stored(stored), rest })
    }

    /// A range turned out to be damaged: its records are dropped and counted by the caller.
    pub fn give_up(self: &Arc<Self>, spilled: &Spilled) {
        self.counters.damaged_chunks.fetch_add(1, Relaxed);
        self.send(Work::Done(Done {
            chunk: spilled.chunk.clone(),
            start: spilled.start,
            end: spilled.end,
            segments: spilled.segments,
        }));
    }
}

/// What was read back of a range.
pub struct Loaded {
    /// Its first segments.
    pub segments: Vec<Segment>,
    /// To be told when they are delivered.
    pub ack: Ack,
    /// What comes after them.
    pub rest: Option<Spilled>,
}

/// Locks the folder for this process.
fn lock(path: &Path) -> Result<std::fs::File, String> {
    let name = path.join(".lock");
    let shown = name.display();
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|e| format!("cannot write {shown} (storage.path): {e}"))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(format!(
            "another process uses the folder {} (storage.path): give each process a folder of its own",
            path.display()
        )),
        Err(error) => Err(format!("cannot lock {shown} (storage.path): {error}")),
    }
}

/// The folder of an output: its name, as far as that can be a file's name.
fn folder_name(output: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = output.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let clean = name == output && !name.starts_with('.') && !name.is_empty();
    if clean { name } else { format!("_{name}-{:08x}", xxhash_rust::xxh3::xxh3_64(output.as_bytes()) as u32) }
}
