//! Brings what is stored to S3: by PutObject, or part by part.
//!
//! Owns: what is sent when, retries, what becomes of an object that cannot be sent. Never: loses an object that is not
//! in S3, but by `Retry_Limit`. Invariant: a key, an upload and a part are in the journal before anything that relies on
//! them; an object is forgotten only after S3 has all of it.

use super::body::{Body, MEMORY_BYTES_MAX, Wanted};
use super::client::{Client, Failed};
use super::counters::{Cause, Counters};
use super::frames::About;
use super::journal::{Entry, Part};
use super::key::random;
use super::options::{Exhausted, PART_BYTES_MIN, Settings};
use super::room;
use super::store::{Extent, Object, Store, Upload, now_millis};
use crate::aws::Fault;
use crate::notice::{self, Level};
use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Tags that are sent of at the same time.
const UPLOADS_AT_ONCE: usize = 4;
/// Parts of one upload.
const PARTS_MAX: usize = 10_000;
/// First and longest pause after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The clock is looked at this often, as it may be set.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// Longest pause before what failed at the end is tried once more.
const LAST_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often an object is tried at the end.
const LAST_ATTEMPTS: u32 = 2;
/// How far S3's clock may be from ours, in seconds, when uploads are told apart by their time.
const SKEW_SECONDS: i64 = 900;

/// The uploader of an instance.
#[derive(Debug)]
pub(super) struct Uploader {
    pub(super) component: String,
    pub(super) settings: Arc<Settings>,
    pub(super) client: Client,
    pub(super) store: Arc<Store>,
    pub(super) counters: Arc<Counters>,
    /// There is something to do.
    pub(super) wake: Notify,
    /// Something was sent: the disk has room again.
    pub(super) room: Notify,
    /// Send all there is, then end.
    pub(super) ending: AtomicBool,
    /// It was told that uploads cannot be listed.
    pub(super) told_listing: AtomicBool,
}

/// Tag and, without an order to keep, number: what goes out one after the other.
type Queue = (String, u64);

impl Uploader {
    /// Runs until it is aborted, or until all is sent that can be after [`Uploader::ending`].
    pub(super) async fn run(self: Arc<Self>) {
        let mut tasks: JoinSet<Queue> = JoinSet::new();
        let mut busy: HashSet<Queue> = HashSet::new();
        // Other instances of this program have their directories by then.
        let mut settled = pin!(tokio::time::sleep(LOOK_MAX));
        let mut looked = false;
        loop {
            let next = self.launch(&mut tasks, &mut busy).await;
            if self.ending.load(Relaxed) && tasks.is_empty() && next.is_none() {
                return;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = &mut settled, if !looked => {
                    looked = true;
                    self.tell_left_behind().await;
                }
                Some(done) = tasks.join_next(), if !tasks.is_empty() => match done {
                    Ok(queue) => drop(busy.remove(&queue)),
                    // Which one it was is not known: all that runs is waited for.
                    Err(_) if tasks.is_empty() => busy.clear(),
                    Err(_) => {}
                },
                () = tokio::time::sleep(next.unwrap_or(LOOK_MAX).min(LOOK_MAX)) => {}
            }
        }
    }

    /// What another configuration left is told: a section that was renamed or moved leaves its directory behind.
    async fn tell_left_behind(&self) {
        let store = self.store.clone();
        let Ok(left) = blocking(move || store.left_behind()).await else { return };
        for directory in left {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            let text = format!(
                "{} holds records that no output of this configuration sends: they go out by an output s3 of this bucket \
                 and `store_dir` with `alias {name}`",
                directory.display()
            );
            notice::tell(Level::Warn, &self.component, &text);
        }
    }

    /// Starts what is due, as far as there are hands; gives when to look again, if ever.
    async fn launch(
        self: &Arc<Self>,
        tasks: &mut JoinSet<Queue>,
        busy: &mut HashSet<Queue>,
    ) -> Option<Duration> {
        let ending = self.ending.load(Relaxed);
        let timeout = i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX);
        let now = now_millis();
        let limit = if ending { i64::MAX } else { now.saturating_sub(timeout) };
        let store = self.store.clone();
        let Ok(due) = blocking(move || Ok(store.due(limit, now.saturating_add(timeout)))).await else {
            return Some(PAUSE_MIN);
        };
        let mut next = due.open_since.map(|since| {
            let left = since.saturating_add(timeout).saturating_sub(now).max(0);
            Duration::from_millis(left.unsigned_abs().saturating_add(1))
        });
        for (queue, objects) in self.queues(due.objects) {
            if busy.contains(&queue) {
                continue;
            }
            match objects.first().map_or(Turn::Never, |object| self.turn(object, ending)) {
                Turn::Now if busy.len() < UPLOADS_AT_ONCE => {
                    busy.insert(queue.clone());
                    let this = self.clone();
                    tasks.spawn(async move {
                        this.queue(objects).await;
                        queue
                    });
                }
                Turn::In(pause) => next = Some(next.map_or(pause, |next| next.min(pause))),
                // Who has no hand free is met again when one is.
                Turn::Now | Turn::Never => {}
            }
        }
        next
    }

    /// Objects by queue, in order; the queue with the oldest object first.
    fn queues(&self, objects: Vec<Arc<Object>>) -> Vec<(Queue, Vec<Arc<Object>>)> {
        let mut queues: HashMap<Queue, Vec<Arc<Object>>> = HashMap::new();
        for object in objects {
            let number = if self.settings.ordered { 0 } else { object.number };
            queues.entry((object.about.tag.clone(), number)).or_default().push(object);
        }
        let mut queues: Vec<_> = queues.into_iter().collect();
        queues.sort_by_key(|(_, objects)| objects.first().map(|object| object.number));
        queues
    }

    /// Whether the first object of a queue has something to send.
    fn turn(&self, object: &Arc<Object>, ending: bool) -> Turn {
        // Whoever sends of it holds it; its queue is busy then.
        let Ok(upload) = object.upload.try_lock() else { return Turn::Never };
        let extent = object.extent();
        let waiting = extent.end - upload.state.parts.last().map_or(0, |part| part.end);
        let enough =
            self.part_bytes(&upload).is_some_and(|part_bytes| waiting >= upload.part_at.max(part_bytes));
        if !extent.sealed && !enough || ending && upload.last_attempts >= LAST_ATTEMPTS {
            return Turn::Never;
        }
        match upload.retry_at.map(|at| at.saturating_duration_since(Instant::now())) {
            None | Some(Duration::ZERO) => Turn::Now,
            Some(_) if ending && upload.last_attempts == 0 => Turn::Now,
            Some(pause) if ending => Turn::In(pause.min(LAST_PAUSE_MAX)),
            Some(pause) => Turn::In(pause),
        }
    }

    /// Size of the parts of an object; none where it goes as a whole.
    fn part_bytes(&self, upload: &Upload) -> Option<u64> {
        let by_parts = upload.by_parts || upload.state.upload.is_some();
        self.settings.part_bytes.or(by_parts.then_some(PART_BYTES_MIN))
    }

    /// Sends objects one after the other, as long as each gets done.
    async fn queue(&self, queue: Vec<Arc<Object>>) {
        for object in queue {
            let mut upload = object.upload.lock().await;
            upload.retry_at = None;
            match self.advance(&object, &mut upload).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(failed) => {
                    if !self.failed(&object, &mut upload, failed).await {
                        return;
                    }
                }
            }
        }
    }

    /// Sends what can be sent of an object; true when S3 has all of it.
    async fn advance(&self, object: &Arc<Object>, upload: &mut Upload) -> Result<bool, Failed> {
        if upload.state.upload.is_some() && upload.state.form != self.settings.form() {
            // Its parts were made by another configuration: one object is of one form.
            self.rebuild(object, upload, "`compression` changed").await?;
        }
        let Some(part_bytes) = self.part_bytes(upload) else {
            return self.whole(object, upload).await;
        };
        loop {
            let extent = object.extent();
            let from = upload.state.parts.last().map_or(0, |part| part.end);
            if from >= extent.end {
                match (&upload.state.upload, extent.sealed) {
                    (Some(_), true) => return self.complete(object, upload).await.map(|()| true),
                    _ => return Ok(false),
                }
            }
            let waiting = extent.end - from;
            if !extent.sealed && waiting < upload.part_at.max(part_bytes) {
                return Ok(false);
            }
            let last = upload.state.parts.len() + 1 >= PARTS_MAX;
            if last && !extent.sealed {
                self.seal(object).await?;
                continue;
            }
            let body = self.body(object, from, extent, if last { u64::MAX } else { part_bytes }).await?;
            if !extent.sealed && body.bytes < part_bytes {
                // It compressed to less than a part: wait for as much as it will take, and a little more.
                upload.part_at = waiting.saturating_mul(part_bytes) / body.bytes.max(1) / 20 * 21;
                return Ok(false);
            }
            if upload.state.upload.is_none() && extent.sealed && body.end >= extent.end {
                return self.put(object, upload, &body).await.map(|()| true);
            }
            self.part(object, upload, &body).await?;
        }
    }

    /// Sends an object by PutObject; by parts where its body needs a file and there is no room for one.
    async fn whole(&self, object: &Arc<Object>, upload: &mut Upload) -> Result<bool, Failed> {
        let extent = object.extent();
        if !extent.sealed {
            return Ok(false);
        }
        match self.body(object, 0, extent, u64::MAX).await {
            Err(Failed::Disk(error)) if room::is_full(&error) && extent.end > MEMORY_BYTES_MAX => {
                let text = format!(
                    "no room in {} for the body of an object of tag {}: it goes by parts",
                    self.settings.directory.display(),
                    object.about.tag
                );
                notice::tell(Level::Warn, &self.component, &text);
                upload.by_parts = true;
                Box::pin(self.advance(object, upload)).await
            }
            body => self.put(object, upload, &body?).await.map(|()| true),
        }
    }

    /// Reads and compresses frames.
    async fn body(&self, object: &Object, from: u64, extent: Extent, enough: u64) -> Result<Body, Failed> {
        let large = enough == u64::MAX && extent.end - from > MEMORY_BYTES_MAX;
        let wanted = Wanted {
            data: object.data.clone(),
            from,
            to: extent.end,
            enough,
            compression: self.settings.compression,
            raw: extent.raw,
            md5: self.settings.md5,
            spill: large.then(|| object.spill()),
        };
        blocking(move || Body::make(&wanted)).await
    }

    async fn put(&self, object: &Arc<Object>, upload: &mut Upload, body: &Body) -> Result<(), Failed> {
        let key = self.key(object, upload, true).await?;
        self.give_up_orphans(object, upload, &key).await?;
        self.client.put(&key, body).await?;
        self.sent(body);
        self.done(object, upload, &key).await
    }

    async fn part(&self, object: &Arc<Object>, upload: &mut Upload, body: &Body) -> Result<(), Failed> {
        let key = self.key(object, upload, false).await?;
        let id = match &upload.state.upload {
            Some(id) => id.clone(),
            None => self.begin(object, upload, &key).await?,
        };
        let number = upload.state.parts.len() as i32 + 1;
        let etag = self.client.part(&key, &id, number, body).await?;
        let part = Part { number, end: body.end, bytes: body.bytes, etag };
        self.log(object, upload, Entry::Part(part)).await?;
        upload.part_at = 0;
        upload.failures = 0;
        object.sent.0.fetch_add(body.raw, Relaxed);
        object.sent.1.fetch_add(body.bytes, Relaxed);
        self.counters.parts.fetch_add(1, Relaxed);
        self.sent(body);
        Ok(())
    }

    /// Begins a multipart upload. Until its id is noted, it is one that nobody knows.
    async fn begin(&self, object: &Arc<Object>, upload: &mut Upload, key: &str) -> Result<String, Failed> {
        self.give_up_orphans(object, upload, key).await?;
        upload.orphaned = true;
        let id = self.client.create(key).await?;
        let entry = Entry::Upload(id.clone(), self.settings.form().to_owned());
        self.log(object, upload, entry).await?;
        upload.orphaned = false;
        self.counters.uploads.fetch_add(1, Relaxed);
        Ok(id)
    }

    /// Gives up uploads of this key that were begun when nobody could note their ids. Without the right to list them they
    /// are left to the bucket's lifecycle rule.
    async fn give_up_orphans(
        &self,
        object: &Arc<Object>,
        upload: &mut Upload,
        key: &str,
    ) -> Result<(), Failed> {
        if !upload.orphaned {
            return Ok(());
        }
        let since = object.about.created / 1000 - SKEW_SECONDS;
        match self.abort_uploads(key, since).await {
            Err(Failed::Fault(
                Fault::Hold { reason } | Fault::Final { reason } | Fault::Missing { reason },
                _,
            )) => self.tell_listing(&reason, key),
            other => other?,
        }
        upload.orphaned = false;
        Ok(())
    }

    async fn abort_uploads(&self, key: &str, since: i64) -> Result<(), Failed> {
        for id in self.client.uploads(key, since).await? {
            self.client.abort(key, &id).await?;
            self.counters.orphans.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn tell_listing(&self, reason: &str, key: &str) {
        if !self.told_listing.swap(true, Relaxed) {
            let text = format!(
                "{reason}: an upload of {key} may be left unfinished; allow it, or let a lifecycle rule of the \
                 bucket abort incomplete uploads"
            );
            notice::tell(Level::Warn, &self.component, &text);
        }
    }

    async fn complete(&self, object: &Arc<Object>, upload: &mut Upload) -> Result<(), Failed> {
        let key = self.key(object, upload, false).await?;
        let id = upload.state.upload.clone().unwrap_or_default();
        match self.client.complete(&key, &id, &upload.state.parts).await {
            // It may be gone because an earlier Complete did it, whose answer was lost.
            Err(Failed::Gone(_)) if self.client.stands(&key, &upload.state.parts).await => {}
            other => other?,
        }
        self.done(object, upload, &key).await
    }

    /// The object's key, which is journalled before anything goes to it.
    async fn key(&self, object: &Arc<Object>, upload: &mut Upload, apart: bool) -> Result<String, Failed> {
        if let Some(key) = &upload.state.key {
            return Ok(key.clone());
        }
        let (settings, store, about) = (self.settings.clone(), self.store.clone(), object.about.clone());
        let key = blocking(move || new_key(&settings, &store, &about, apart)).await?;
        self.log(object, upload, Entry::Key(key.clone())).await?;
        Ok(key)
    }

    async fn log(&self, object: &Arc<Object>, upload: &mut Upload, entry: Entry) -> Result<(), Failed> {
        let (file, line) = (object.clone(), entry.clone());
        blocking(move || file.log(&line)).await?;
        if entry == Entry::Reset {
            self.left(upload);
        }
        upload.state.apply(entry);
        Ok(())
    }

    fn sent(&self, body: &Body) {
        self.counters.bytes_before.fetch_add(body.raw, Relaxed);
        self.counters.bytes_after.fetch_add(body.bytes, Relaxed);
    }

    async fn seal(&self, object: &Arc<Object>) -> Result<(), Failed> {
        let (store, object) = (self.store.clone(), object.clone());
        blocking(move || {
            store.seal(&object);
            Ok(())
        })
        .await
    }

    /// S3 has the object.
    async fn done(&self, object: &Arc<Object>, upload: &mut Upload, key: &str) -> Result<(), Failed> {
        let (store, sent) = (self.store.clone(), object.clone());
        blocking(move || {
            store.remove(&sent).map_err(|error| {
                let text = format!("cannot remove {}, which is sent: {error}", sent.data.display());
                io::Error::new(error.kind(), text)
            })
        })
        .await?;
        self.left(upload);
        self.counters.objects.fetch_add(1, Relaxed);
        notice::tell(Level::Info, &self.component, &format!("Successfully uploaded object {key}"));
        self.room.notify_waiters();
        Ok(())
    }

    /// An upload is not under way any more.
    fn left(&self, upload: &mut Upload) {
        if upload.state.upload.take().is_some() {
            self.counters.uploads.fetch_sub(1, Relaxed);
        }
    }

    /// What a failure means; true when the next object may go.
    async fn failed(&self, object: &Arc<Object>, upload: &mut Upload, failed: Failed) -> bool {
        let (after, cause, reason) = match failed {
            Failed::Gone(reason) => match self.rebuild(object, upload, &reason).await {
                Ok(()) => (None, Cause::Gone, format!("{reason}: the upload is made again from disk")),
                Err(_) => (None, Cause::Gone, format!("{reason}: the journal cannot be written")),
            },
            Failed::Disk(error) => (None, Cause::Disk, error.to_string()),
            Failed::Fault(fault, cause) => {
                let (after, reason) = self.fault(fault).await;
                (after, cause, reason)
            }
        };
        self.counters.failed(cause);
        upload.failures += 1;
        upload.last_attempts += u32::from(self.ending.load(Relaxed));
        let tag = &object.about.tag;
        if self.settings.retries_max.is_some_and(|most| upload.failures > most) {
            return self.give_up(object, upload, &reason).await;
        }
        let pause = after.unwrap_or_else(|| pause(upload.failures));
        upload.retry_at = Some(Instant::now() + pause);
        let text = format!(
            "could not send what is stored for tag {tag}: {reason}; next attempt in {:.1} s",
            pause.as_secs_f64()
        );
        notice::tell(Level::Warn, &self.component, &text);
        false
    }

    async fn fault(&self, fault: Fault) -> (Option<Duration>, String) {
        match fault {
            Fault::Retry { after, reason, .. } => (after, reason),
            Fault::Expired { reason } => {
                self.client.renew().await;
                (None, reason)
            }
            Fault::Hold { reason } | Fault::Final { reason } | Fault::Missing { reason } => (None, reason),
            Fault::Exists | Fault::Accepted => (None, "an answer that S3 does not give".to_owned()),
        }
    }

    /// The service forgot the upload, or it cannot go on: everything goes again, from disk.
    async fn rebuild(&self, object: &Arc<Object>, upload: &mut Upload, reason: &str) -> Result<(), Failed> {
        if let (Some(key), Some(id)) = (&upload.state.key, &upload.state.upload) {
            upload.orphaned |= self.client.abort(key, id).await.is_err();
        }
        let tag = &object.about.tag;
        let text = format!("an upload of tag {tag} is made again from disk: {reason}");
        notice::tell(Level::Debug, &self.component, &text);
        self.log(object, upload, Entry::Reset).await?;
        self.counters.rebuilt.fetch_add(1, Relaxed);
        object.sent.0.store(0, Relaxed);
        object.sent.1.store(0, Relaxed);
        Ok(())
    }

    /// `Retry_Limit` is reached; true when the object is out of the way.
    async fn give_up(&self, object: &Arc<Object>, upload: &mut Upload, reason: &str) -> bool {
        if let (Some(key), Some(id)) = (&upload.state.key, &upload.state.upload) {
            // What cannot be aborted either is for the bucket's lifecycle rule.
            drop(self.client.abort(key, id).await);
        }
        let (store, settings, given_up) = (self.store.clone(), self.settings.clone(), object.clone());
        let kept = blocking(move || {
            store.seal(&given_up);
            match settings.exhausted {
                Exhausted::Quarantine => store.quarantine(&given_up, settings.quarantine_bytes_max),
                Exhausted::Delete => store.remove(&given_up).map(|()| false),
            }
        });
        let (kept, tag, failures) = (kept.await, &object.about.tag, upload.failures);
        let text = match &kept {
            Ok(true) => {
                format!("put an object of tag {tag} into quarantine after {failures} failures: {reason}")
            }
            Ok(false) => format!("deleted an object of tag {tag} after {failures} failures: {reason}"),
            Err(Failed::Disk(error)) => format!("cannot put an object of tag {tag} aside: {error}"),
            Err(_) => format!("cannot put an object of tag {tag} aside"),
        };
        notice::tell(Level::Error, &self.component, &text);
        let counter = if let Ok(true) = kept { &self.counters.quarantined } else { &self.counters.deleted };
        if kept.is_ok() {
            counter.fetch_add(1, Relaxed);
            self.left(upload);
            self.room.notify_waiters();
        }
        upload.retry_at = kept.is_err().then(|| Instant::now() + PAUSE_MAX);
        kept.is_ok()
    }
}

/// Whether something goes of a queue.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Now,
    In(Duration),
    Never,
}

/// A key for an object.
fn new_key(settings: &Settings, store: &Store, about: &About, apart: bool) -> io::Result<String> {
    let format = &settings.key;
    let index = match format.has_index() {
        true => store
            .names()
            .next_index()
            .map_err(|error| io::Error::new(error.kind(), format!("$INDEX: {error}")))?,
        false => 0,
    };
    let random = random();
    let key = format.key(&about.tag, about.first, index, &random, apart);
    if apart || store.names().is_new(&key)? {
        return Ok(key);
    }
    // Two uploads of one second: the second one would replace the first.
    Ok(format.key(&about.tag, about.first, index, &random, true))
}

/// Runs work on files off the network threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failed> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Failed::Disk),
        Err(_) => Err(Failed::Disk(io::Error::other("the work on files was stopped"))),
    }
}

/// Doubles with each failure, and is up to a quarter longer by chance, so that instances do not retry in step.
fn pause(failures: u32) -> Duration {
    let base = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(PAUSE_MAX);
    let chance = random().bytes().map(u32::from).sum::<u32>() % 256;
    base + base.mul_f64(f64::from(chance) / 1024.0)
}
