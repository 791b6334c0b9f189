//! What is not in S3 yet, on disk: one data file and one journal per object to be.
//!
//! Owns: `store_dir`, its lock, the order of writes, `$INDEX`. Never: talks to the service.
//! Invariant: bytes below [`Extent::end`] were synced; a data file goes before its journal does, so that an object that
//! was sent is never sent again under another key.

use super::frames::{self, About, Kind};
use super::journal::{Entry, State};
use super::names::Names;
use super::{recover, room};
use crate::segment::Segment;
use rustix::fs::FlockOperation;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Data files kept open between chunks; those of further tags are opened for each chunk.
const OPEN_FILES_MAX: usize = 128;

/// An object to be.
#[derive(Debug)]
pub(super) struct Object {
    /// Objects go out in this order.
    pub(super) number: u64,
    pub(super) about: About,
    pub(super) data: PathBuf,
    journal: PathBuf,
    append: Mutex<Append>,
    /// Held by whoever uploads.
    pub(super) upload: tokio::sync::Mutex<Upload>,
    /// Bytes of records that parts hold, and their bytes as sent: for the estimate of the object's size.
    pub(super) sent: (AtomicU64, AtomicU64),
}

#[derive(Debug)]
struct Append {
    file: Option<File>,
    extent: Extent,
}

/// What of an object is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Length of the data file that counts.
    pub(super) end: u64,
    /// Bytes of records in it.
    pub(super) raw: u64,
    /// Nothing more comes.
    pub(super) sealed: bool,
}

/// How far the upload of an object is.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) state: State,
    pub(super) failures: u32,
    pub(super) retry_at: Option<std::time::Instant>,
    /// Bytes of records that have to wait before another part is tried.
    pub(super) part_at: u64,
    /// The service may hold an upload of this key whose id is not known: it was begun, and nobody heard or noted it.
    pub(super) orphaned: bool,
    /// It goes by parts, as there is no room for a file of its body.
    pub(super) by_parts: bool,
    /// Attempts since the end was asked for.
    pub(super) last_attempts: u32,
}

impl Object {
    pub(super) fn new(directory: &Path, number: u64, about: About, extent: Extent, state: State) -> Object {
        let sent: u64 = state.parts.iter().map(|part| part.bytes).sum();
        let orphaned = state.key.is_some() && state.upload.is_none();
        Object {
            number,
            about,
            data: directory.join(format!("{number:016x}.data")),
            journal: directory.join(format!("{number:016x}.journal")),
            append: Mutex::new(Append { file: None, extent }),
            upload: tokio::sync::Mutex::new(Upload { state, orphaned, ..Upload::default() }),
            sent: (AtomicU64::new(0), AtomicU64::new(sent)),
        }
    }

    pub(super) fn extent(&self) -> Extent {
        self.append().extent
    }

    /// A file for a body that is too large for memory.
    pub(super) fn spill(&self) -> PathBuf {
        self.data.with_extension("body")
    }

    /// Writes an entry to the journal, for good, or not at all.
    pub(super) fn log(&self, entry: &Entry) -> io::Result<()> {
        let directory = self.journal.parent().unwrap_or(Path::new("."));
        let line = entry.line();
        room::with(directory, || {
            let new = !self.journal.exists();
            let mut file = OpenOptions::new().create(true).append(true).open(&self.journal)?;
            let length = file.metadata()?.len();
            let written = file.write_all(&line).and_then(|()| file.sync_data());
            if let Err(error) = written {
                // What comes later must not stand behind half a line.
                drop(file.set_len(length));
                return Err(error);
            }
            if new { sync_directory(directory) } else { Ok(()) }
        })
    }

    fn append(&self) -> MutexGuard<'_, Append> {
        self.append.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a chunk was not accepted.
#[derive(Debug)]
pub(super) enum Refused {
    /// `store_dir_limit_size`.
    Full(String),
    /// The disk.
    Disk(String),
}

/// When objects end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) object_bytes: u64,
    /// Parts of a multipart upload.
    pub(super) part_bytes: Option<u64>,
    /// 0: none.
    pub(super) stored_bytes: u64,
}

/// The store of an instance.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) directory: PathBuf,
    lock: File,
    limits: Limits,
    inner: Mutex<Inner>,
    names: Names,
    /// Bytes of records that wait; kept beside `inner`, which is locked while a disk writes.
    stored: AtomicU64,
    /// When the oldest object was begun, in milliseconds since the epoch; `i64::MAX` without one.
    oldest: AtomicI64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Those that take more, by tag.
    open: HashMap<String, Arc<Object>>,
    all: BTreeMap<u64, Arc<Object>>,
    next: u64,
}

/// What there is to send.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// All objects, oldest first.
    pub(super) objects: Vec<Arc<Object>>,
    /// When the oldest of those that take more was begun.
    pub(super) open_since: Option<i64>,
}

impl Store {
    /// Opens and locks a directory, and finds what an earlier run left. `tell` gets what is wrong with it.
    pub(super) fn open(directory: &Path, limits: Limits, tell: &dyn Fn(&str)) -> Result<Store, String> {
        let fails = |error: io::Error| format!("`store_dir`: {}: {error}", directory.display());
        std::fs::create_dir_all(directory.join("quarantine")).map_err(fails)?;
        let lock = lock(directory)?;
        // Without room for it nothing is accepted, but what is there may go out.
        drop(room::keep(directory));
        let found = recover::objects(directory, tell).map_err(fails)?;
        let mut inner = Inner { next: found.next, ..Inner::default() };
        let mut stored = 0;
        for object in found.objects {
            stored += object.extent().raw;
            inner.all.insert(object.number, Arc::new(object));
        }
        let store = Store {
            directory: directory.to_owned(),
            lock,
            limits,
            inner: Mutex::default(),
            names: Names::of(directory),
            stored: AtomicU64::new(stored),
            oldest: AtomicI64::new(i64::MAX),
        };
        store.note_oldest(&inner);
        *store.inner() = inner;
        Ok(store)
    }

    /// Lets another instance in.
    pub(super) fn release(&self) {
        // Closing the file does the same when this fails.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }

    /// Directories of this bucket that hold objects and that no instance has.
    pub(super) fn left_behind(&self) -> io::Result<Vec<PathBuf>> {
        let mut left = Vec::new();
        for entry in std::fs::read_dir(self.directory.parent().unwrap_or(&self.directory))? {
            let path = entry?.path();
            if path == self.directory {
                continue;
            }
            let Ok(lock) = File::open(path.join("lock")) else { continue };
            let free = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_ok();
            let holds = |entry: io::Result<std::fs::DirEntry>| {
                entry.is_ok_and(|entry| entry.path().extension().is_some_and(|kind| kind == "data"))
            };
            if free && std::fs::read_dir(&path)?.any(holds) {
                left.push(path);
            }
        }
        Ok(left)
    }

    /// Puts segments on disk, all or none; true when the uploader has something to do.
    pub(super) fn accept(&self, segments: &[Segment]) -> Result<bool, Refused> {
        let mut inner = self.inner();
        let bytes: u64 = segments.iter().map(|s| s.bytes.len() as u64).sum();
        let most = self.limits.stored_bytes;
        let stored = self.stored();
        // One thing larger than the limit passes when nothing else is there: nothing can wedge.
        if most > 0 && stored > 0 && stored + bytes > most {
            seal_all(&mut inner);
            return Err(Refused::Full(format!(
                "{stored} bytes wait in {}, and `store_dir_limit_size` is {most}: what is there goes out now",
                self.directory.display()
            )));
        }
        let mut writes = Writes::default();
        let written = room::keep(&self.directory)
            .and_then(|()| self.write(&mut inner, segments, &mut writes))
            .and_then(|()| self.sync(&writes));
        if let Err(error) = written {
            self.undo(&mut inner, writes);
            if room::is_full(&error) {
                // What is there makes room when it is sent.
                seal_all(&mut inner);
            }
            self.note_oldest(&inner);
            return Err(Refused::Disk(format!("cannot write to {}: {error}", self.directory.display())));
        }
        self.stored.fetch_add(bytes, Relaxed);
        self.note_oldest(&inner);
        Ok(self.commit(&mut inner, writes))
    }

    /// Writes frames behind what counts.
    fn write(&self, inner: &mut Inner, segments: &[Segment], writes: &mut Writes) -> io::Result<()> {
        for segment in segments.iter().filter(|s| !s.bytes.is_empty()) {
            let object = match inner.open.get(&*segment.tag) {
                Some(object) => object.clone(),
                None => self.begin(inner, segment, writes)?,
            };
            let mut append = object.append();
            if append.file.is_none() {
                append.file = Some(OpenOptions::new().append(true).open(&object.data)?);
            }
            // Counted before the write: what a failed write leaves is cut off.
            writes.add(
                &object,
                (frames::HEAD_BYTES + segment.bytes.len()) as u64,
                segment.bytes.len() as u64,
            );
            if let Some(file) = &mut append.file {
                file.write_all(&frames::head(Kind::Data, &segment.bytes))?;
                file.write_all(&segment.bytes)?;
            }
        }
        Ok(())
    }

    /// Begins an object with the records of this segment.
    fn begin(&self, inner: &mut Inner, segment: &Segment, writes: &mut Writes) -> io::Result<Arc<Object>> {
        let first =
            segment.keys.first().and_then(|key| <[u8; 8]>::try_from(&**key).ok()).map(i64::from_le_bytes);
        let created = now_millis();
        let first = first.unwrap_or(created / 1000);
        let about = About { created, first, tag: segment.tag.to_string() };
        let payload = about.write();
        let number = inner.next;
        inner.next += 1;
        let object = Object::new(&self.directory, number, about, Extent::default(), State::default());
        let mut file = OpenOptions::new().create_new(true).append(true).open(&object.data)?;
        object.append().file = file.try_clone().ok();
        let object = Arc::new(object);
        writes.begun = true;
        writes.add(&object, (frames::HEAD_BYTES + payload.len()) as u64, 0);
        inner.open.insert(segment.tag.to_string(), object.clone());
        inner.all.insert(number, object.clone());
        file.write_all(&frames::head(Kind::Head, &payload))?;
        file.write_all(&payload)?;
        Ok(object)
    }

    fn sync(&self, writes: &Writes) -> io::Result<()> {
        for write in &writes.list {
            if let Some(file) = &write.object.append().file {
                file.sync_data()?;
            }
        }
        if writes.begun { sync_directory(&self.directory) } else { Ok(()) }
    }

    /// What was written counts now; ends objects that are large enough.
    fn commit(&self, inner: &mut Inner, writes: Writes) -> bool {
        let many = inner.open.len() > OPEN_FILES_MAX;
        // A new object has a time at which it ends.
        let mut work = writes.begun;
        for Write { object, bytes, raw } in writes.list {
            let mut append = object.append();
            append.extent.end += bytes;
            append.extent.raw += raw;
            if many {
                append.file = None;
            }
            let raw = append.extent.raw;
            drop(append);
            let sent = (object.sent.0.load(Relaxed), object.sent.1.load(Relaxed));
            if self.size(raw, sent) > self.limits.object_bytes {
                seal(inner, &object);
                work = true;
            }
            work |= self.limits.part_bytes.is_some_and(|part| raw - sent.0.min(raw) >= part);
        }
        work
    }

    /// Bytes that an object will have in S3: exact for PutObject, where records count before compression as in Fluent
    /// Bit; else what its parts have and what the rest will have if it compresses as they did.
    fn size(&self, raw: u64, (sent_raw, sent_bytes): (u64, u64)) -> u64 {
        if self.limits.part_bytes.is_none() || sent_raw == 0 {
            return raw;
        }
        let rest = raw.saturating_sub(sent_raw);
        sent_bytes + (rest as f64 * sent_bytes as f64 / sent_raw as f64) as u64
    }

    /// A failed chunk: files are cut back, and its objects take nothing more, as their files may be broken.
    fn undo(&self, inner: &mut Inner, writes: Writes) {
        for Write { object, .. } in writes.list {
            let extent = object.extent();
            if let Some(file) = object.append().file.take() {
                // Where this fails too, recovery sees frames that were not accepted: they are sent twice, not lost.
                drop(file.set_len(extent.end));
            }
            seal(inner, &object);
            if extent.end == 0 {
                inner.all.remove(&object.number);
                drop(std::fs::remove_file(&object.data));
            }
        }
    }

    /// Ends objects that began before `millis`, or that the clock says begin later than `latest`; gives all there is.
    pub(super) fn due(&self, millis: i64, latest: i64) -> Due {
        let mut inner = self.inner();
        let ends = |object: &Object| object.about.created <= millis || object.about.created > latest;
        let due: Vec<_> = inner.open.values().filter(|object| ends(object)).cloned().collect();
        due.iter().for_each(|object| seal(&mut inner, object));
        Due {
            open_since: inner.open.values().map(|object| object.about.created).min(),
            objects: inner.all.values().cloned().collect(),
        }
    }

    /// Ends one object.
    pub(super) fn seal(&self, object: &Arc<Object>) {
        seal(&mut self.inner(), object);
    }

    /// All objects, oldest first.
    pub(super) fn objects(&self) -> Vec<Arc<Object>> {
        self.inner().all.values().cloned().collect()
    }

    /// Bytes of records that wait.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Relaxed)
    }

    /// When the oldest object that S3 has not was begun, in milliseconds since the epoch.
    pub(super) fn oldest(&self) -> Option<i64> {
        Some(self.oldest.load(Relaxed)).filter(|created| *created < i64::MAX)
    }

    /// What keeps keys apart.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Forgets an object that S3 has, or that is given up.
    pub(super) fn remove(&self, object: &Object) -> io::Result<()> {
        std::fs::remove_file(&object.data)?;
        sync_directory(&self.directory)?;
        self.forget(object);
        match std::fs::remove_file(&object.journal) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts an object aside; false when that would be more than `most` bytes, and it is deleted.
    pub(super) fn quarantine(&self, object: &Object, most: u64) -> io::Result<bool> {
        let aside = self.directory.join("quarantine");
        if most > 0 && held(&aside)? + object.extent().end > most {
            return self.remove(object).map(|()| false);
        }
        for file in [&object.data, &object.journal] {
            let Some(name) = file.file_name() else { continue };
            match std::fs::rename(file, aside.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync_directory(&self.directory)?;
        self.forget(object);
        Ok(true)
    }

    fn forget(&self, object: &Object) {
        let mut inner = self.inner();
        if inner.all.remove(&object.number).is_some() {
            self.stored.fetch_sub(object.extent().raw, Relaxed);
        }
        self.note_oldest(&inner);
    }

    fn note_oldest(&self, inner: &Inner) {
        let oldest = inner.all.values().next().map_or(i64::MAX, |object| object.about.created);
        self.oldest.store(oldest, Relaxed);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a chunk wrote and does not count yet.
#[derive(Default)]
struct Writes {
    list: Vec<Write>,
    begun: bool,
}

struct Write {
    object: Arc<Object>,
    bytes: u64,
    raw: u64,
}

impl Writes {
    fn add(&mut self, object: &Arc<Object>, bytes: u64, raw: u64) {
        match self.list.iter_mut().find(|write| Arc::ptr_eq(&write.object, object)) {
            Some(write) => (write.bytes, write.raw) = (write.bytes + bytes, write.raw + raw),
            None => self.list.push(Write { object: object.clone(), bytes, raw }),
        }
    }
}

fn seal(inner: &mut Inner, object: &Arc<Object>) {
    let mut append = object.append();
    append.extent.sealed = true;
    append.file = None;
    if inner.open.get(&object.about.tag).is_some_and(|open| Arc::ptr_eq(open, object)) {
        inner.open.remove(&object.about.tag);
    }
}

fn seal_all(inner: &mut Inner) {
    for object in inner.open.values().cloned().collect::<Vec<_>>() {
        seal(inner, &object);
    }
}

/// Locks a directory, and leaves a note of who holds it.
fn lock(directory: &Path) -> Result<File, String> {
    let fails = |error: io::Error| format!("`store_dir`: {}: {error}", directory.display());
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let mut file = options.open(directory.join("lock")).map_err(fails)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        drop(file.read_to_string(&mut holder));
        let holder = match holder.trim() {
            "" => "another instance",
            holder => holder,
        };
        return Err(format!(
            "`store_dir` is in use: {} is held by {holder}; give each instance a `store_dir` of its own",
            directory.display()
        ));
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A disk without room for the note is no reason not to send what is there.
    let note = format!("process {} on {host}\n", std::process::id());
    drop(
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(note.as_bytes())),
    );
    Ok(file)
}

/// Makes new and removed names of a directory last.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Bytes in a directory.
fn held(directory: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

/// Milliseconds since the epoch.
pub(super) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
