//! Brings what is stored to S3: by PutObject, or part by part.
//!
//! Owns: what is sent when, retries, what becomes of an object that cannot be sent. Never: loses an object that is not
//! in S3, but by `Retry_Limit`. Invariant: a key, an upload and a part are in the journal before anything that relies on
//! them; an object is forgotten only after S3 has all of it.

use super::body::{Body, MEMORY_BYTES_MAX, Wanted};
use super::client::{Client, Failed};
use super::counters::Counters;
use super::journal::{Entry, Part};
use super::key::random;
use super::options::{Exhausted, Settings};
use super::store::{Extent, Object, Store, Upload, now_millis};
use crate::aws::Fault;
use crate::notice::{self, Level};
use futures_util::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Tags that are sent of at the same time.
const UPLOADS_AT_ONCE: usize = 4;
/// Parts of one upload.
const PARTS_MAX: usize = 10_000;
/// First and longest pause after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The clock is looked at this often, as it may be set.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Tags whose last key is remembered, to keep keys of multipart uploads apart.
const KEYS_MAX: usize = 10_000;

/// The uploader of an instance.
#[derive(Debug)]
pub(super) struct Uploader {
    pub(super) component: String,
    pub(super) settings: Arc<Settings>,
    pub(super) client: Client,
    pub(super) store: Store,
    pub(super) counters: Arc<Counters>,
    /// There is something to do.
    pub(super) wake: Notify,
    /// One pass at a time.
    pub(super) one: tokio::sync::Mutex<()>,
    /// The last key of a multipart upload, by tag.
    pub(super) keys: Mutex<HashMap<String, String>>,
}

impl Uploader {
    /// Runs until it is aborted.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let next = self.pass(false).await;
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(next.min(LOOK_MAX)) => {}
            }
        }
    }

    /// Sends what is due, or all there is; gives when to look again.
    pub(super) async fn pass(&self, all: bool) -> Duration {
        let _one = self.one.lock().await;
        let timeout = i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX);
        let now = now_millis();
        let limit = if all { i64::MAX } else { now.saturating_sub(timeout) };
        let oldest = self.store.seal_older(limit);
        let mut queues: BTreeMap<(&str, u64), Vec<Arc<Object>>> = BTreeMap::new();
        let objects = self.store.objects();
        for object in &objects {
            // Without an order to keep, each object is a queue of its own.
            let queue = if self.settings.ordered { 0 } else { object.number };
            queues.entry((object.about.tag.as_str(), queue)).or_default().push(object.clone());
        }
        let mut queues: Vec<_> = queues.into_values().collect();
        queues.sort_by_key(|queue| queue.first().map(|object| object.number));
        futures_util::stream::iter(queues)
            .for_each_concurrent(UPLOADS_AT_ONCE, |queue| self.queue(queue, all))
            .await;
        self.counters.stored.store(self.store.stored(), Relaxed);
        let mut next = match oldest {
            Some(created) => {
                Duration::from_millis(u64::try_from(created.saturating_add(timeout) - now).unwrap_or(0) + 1)
            }
            None => LOOK_MAX,
        };
        for object in &objects {
            if let Some(at) = object.upload.lock().await.retry_at {
                next = next.min(at.saturating_duration_since(Instant::now()));
            }
        }
        next
    }

    /// Sends objects one after the other, as long as each gets done.
    async fn queue(&self, queue: Vec<Arc<Object>>, all: bool) {
        for object in queue {
            let mut upload = object.upload.lock().await;
            if !all && upload.retry_at.is_some_and(|at| at > Instant::now()) {
                return;
            }
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
        let Some(part_bytes) = self.settings.part_bytes else {
            let extent = object.extent();
            if !extent.sealed {
                return Ok(false);
            }
            let body = self.body(object, 0, extent, u64::MAX).await?;
            return self.put(object, upload, &body).await.map(|()| true);
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
                self.store.seal(object);
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

    /// Reads and compresses frames.
    async fn body(&self, object: &Object, from: u64, extent: Extent, enough: u64) -> Result<Body, Failed> {
        let large = enough == u64::MAX && extent.end - from > MEMORY_BYTES_MAX;
        let wanted = Wanted {
            data: object.data.clone(),
            from,
            to: extent.end,
            enough,
            compression: self.settings.compression,
            md5: self.settings.md5,
            spill: large.then(|| object.spill()),
        };
        blocking(move || Body::make(&wanted)).await
    }

    async fn put(&self, object: &Arc<Object>, upload: &mut Upload, body: &Body) -> Result<(), Failed> {
        let key = self.key(object, upload, true).await?;
        self.client.put(&key, body).await?;
        self.sent(body);
        self.done(object, &key).await
    }

    async fn part(&self, object: &Arc<Object>, upload: &mut Upload, body: &Body) -> Result<(), Failed> {
        let key = self.key(object, upload, false).await?;
        let id = match &upload.state.upload {
            Some(id) => id.clone(),
            None => {
                let id = self.client.create(&key).await?;
                self.log(object, upload, Entry::Upload(id.clone())).await?;
                id
            }
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

    async fn complete(&self, object: &Arc<Object>, upload: &mut Upload) -> Result<(), Failed> {
        let key = self.key(object, upload, false).await?;
        let id = upload.state.upload.clone().unwrap_or_default();
        self.client.complete(&key, &id, &upload.state.parts).await?;
        self.done(object, &key).await
    }

    /// The object's key, which is journalled before anything goes to it.
    async fn key(&self, object: &Arc<Object>, upload: &mut Upload, apart: bool) -> Result<String, Failed> {
        if let Some(key) = &upload.state.key {
            return Ok(key.clone());
        }
        let format = &self.settings.key;
        let index = match format.has_index() {
            true => self.store.next_index().map_err(|error| Failed::Disk(format!("$INDEX: {error}")))?,
            false => 0,
        };
        let about = &object.about;
        let random = random();
        let mut key = format.key(&about.tag, about.first, index, &random, apart);
        if !apart {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.get(&about.tag) == Some(&key) {
                // Two uploads of one second: the second one would replace the first.
                key = format.key(&about.tag, about.first, index, &random, true);
            }
            if keys.len() >= KEYS_MAX {
                keys.clear();
            }
            keys.insert(about.tag.clone(), key.clone());
        }
        self.log(object, upload, Entry::Key(key.clone())).await?;
        Ok(key)
    }

    async fn log(&self, object: &Arc<Object>, upload: &mut Upload, entry: Entry) -> Result<(), Failed> {
        let (file, line) = (object.clone(), entry.clone());
        blocking(move || file.log(&line)).await?;
        upload.state.apply(entry);
        Ok(())
    }

    fn sent(&self, body: &Body) {
        self.counters.bytes_before.fetch_add(body.raw, Relaxed);
        self.counters.bytes_after.fetch_add(body.bytes, Relaxed);
    }

    /// S3 has the object.
    async fn done(&self, object: &Arc<Object>, key: &str) -> Result<(), Failed> {
        self.counters.objects.fetch_add(1, Relaxed);
        notice::tell(Level::Info, &self.component, &format!("Successfully uploaded object {key}"));
        self.store.remove(object).map_err(|error| {
            Failed::Disk(format!("cannot remove {}, which is sent: {error}", object.data.display()))
        })
    }

    /// What a failure means; true when the next object may go.
    async fn failed(&self, object: &Arc<Object>, upload: &mut Upload, failed: Failed) -> bool {
        self.counters.retries.fetch_add(1, Relaxed);
        let (after, reason) = match failed {
            Failed::Gone(reason) => (None, self.rebuild(object, upload, reason).await),
            Failed::Disk(reason) => (None, reason),
            Failed::Fault(fault) => self.fault(fault).await,
        };
        upload.failures += 1;
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

    /// The service forgot the upload: everything goes again, from disk.
    async fn rebuild(&self, object: &Arc<Object>, upload: &mut Upload, reason: String) -> String {
        self.counters.rebuilt.fetch_add(1, Relaxed);
        if let (Some(key), Some(id)) = (&upload.state.key, &upload.state.upload) {
            self.client.abort(key, id).await;
        }
        object.sent.0.store(0, Relaxed);
        object.sent.1.store(0, Relaxed);
        match self.log(object, upload, Entry::Reset).await {
            Ok(()) => format!("{reason}: the upload is made again from disk"),
            Err(_) => format!("{reason}: the journal cannot be written"),
        }
    }

    /// `Retry_Limit` is reached; true when the object is out of the way.
    async fn give_up(&self, object: &Arc<Object>, upload: &mut Upload, reason: &str) -> bool {
        if let (Some(key), Some(id)) = (&upload.state.key, &upload.state.upload) {
            self.client.abort(key, id).await;
        }
        self.store.seal(object);
        let kept = match self.settings.exhausted {
            Exhausted::Quarantine => self.store.quarantine(object, self.settings.quarantine_bytes_max),
            Exhausted::Delete => self.store.remove(object).map(|()| false),
        };
        let (tag, failures) = (&object.about.tag, upload.failures);
        let text = match &kept {
            Ok(true) => {
                format!("put an object of tag {tag} into quarantine after {failures} failures: {reason}")
            }
            Ok(false) => format!("deleted an object of tag {tag} after {failures} failures: {reason}"),
            Err(error) => format!("cannot put an object of tag {tag} aside: {error}"),
        };
        notice::tell(Level::Error, &self.component, &text);
        let counter = if let Ok(true) = kept { &self.counters.quarantined } else { &self.counters.deleted };
        if kept.is_ok() {
            counter.fetch_add(1, Relaxed);
        }
        upload.retry_at = kept.is_err().then(|| Instant::now() + PAUSE_MAX);
        kept.is_ok()
    }
}

/// Runs work on files off the network threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failed> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failed::Disk(error.to_string())),
        Err(_) => Err(Failed::Disk("the work on files was stopped".to_owned())),
    }
}

/// Doubles with each failure, and is up to a quarter longer by chance, so that instances do not retry in step.
fn pause(failures: u32) -> Duration {
    let base = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(PAUSE_MAX);
    let chance = random().bytes().map(u32::from).sum::<u32>() % 256;
    base + base.mul_f64(f64::from(chance) / 1024.0)
}
