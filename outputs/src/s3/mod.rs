//! `s3`: records to objects in Amazon S3, by way of files under `store_dir`.
//!
//! Owns: the plugin and its instances. Never: says that a record is delivered before it is synced to disk.
//! Invariant: what is on disk is sent, after a crash too.

mod body;
mod client;
mod counters;
mod frames;
mod journal;
mod key;
mod names;
pub mod options;
mod recover;
mod room;
mod store;
mod uploader;

use crate::aws::AwsOptions;
use crate::net::{NetOptions, TlsOptions};
use crate::notice::{self, Level};
use crate::segment::{Chunk, Segment};
use crate::{Context, Counter, Output, Plugin, Verdict};
use client::Client;
use codecs::Bump;
use codecs::conf::{Diagnostics, Section};
use codecs::json::write_value;
use codecs::record::{Record, Value};
use counters::Counters;
use options::{Options, Settings};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Limits, Refused, Store, now_millis};
use tokio::sync::{Notify, OnceCell};
use tokio::task::{AbortHandle, JoinHandle};
use uploader::Uploader;

/// A disk that refused is tried this often: it costs nobody else anything, and a place that is free again is used at once.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "s3",
    about: Options::ABOUT,
    tables: &[Options::TABLE, AwsOptions::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure,
};

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let settings = Settings::read(section, context.name, context.escape_unicode, diagnostics)?;
    Some(Arc::new(Instance::new(settings, context)))
}

/// A configured instance.
#[derive(Debug)]
struct Instance {
    component: String,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    /// There when `store_dir` could be opened.
    uploader: OnceCell<Arc<Uploader>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.end();
        if let Some(uploader) = self.uploader.get() {
            // An aborted task keeps the store for a moment more.
            uploader.store.release();
        }
    }
}

impl Instance {
    fn new(settings: Settings, context: &Context<'_>) -> Self {
        Instance {
            component: format!("output:s3:{}", context.name),
            settings: Arc::new(settings),
            counters: Arc::default(),
            uploader: OnceCell::new(),
            task: Mutex::new(None),
        }
    }

    /// The uploader; the first call opens `store_dir` and begins to send what is there.
    async fn uploader(&self) -> Result<&Arc<Uploader>, String> {
        self.uploader.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Arc<Uploader>, String> {
        let limits = Limits {
            object_bytes: self.settings.object_bytes,
            part_bytes: self.settings.part_bytes,
            stored_bytes: self.settings.stored_bytes_max,
        };
        let (settings, component, counters) =
            (self.settings.clone(), self.component.clone(), self.counters.clone());
        let opened = tokio::task::spawn_blocking(move || {
            Store::open(&settings.directory, limits, &|text| {
                counters.quarantined.fetch_add(1, Relaxed);
                notice::tell(Level::Warn, &component, text);
            })
        });
        let store = opened.await.map_err(|_| "`store_dir`: the work on files was stopped".to_owned())??;
        let objects = store.objects();
        for object in &objects {
            if object.upload.lock().await.state.upload.is_some() {
                self.counters.uploads.fetch_add(1, Relaxed);
            }
        }
        let found = objects.len();
        if found > 0 {
            let text =
                format!("Sending locally buffered data from previous executions to S3: {found} objects");
            notice::tell(Level::Info, &self.component, &text);
        }
        let uploader = Arc::new(Uploader {
            component: self.component.clone(),
            client: Client::new(self.settings.clone()),
            settings: self.settings.clone(),
            store: Arc::new(store),
            counters: self.counters.clone(),
            wake: Notify::new(),
            room: Notify::new(),
            ending: AtomicBool::new(false),
            told_listing: AtomicBool::new(false),
        });
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(tokio::spawn(uploader.clone().run()));
        Ok(uploader)
    }

    fn end(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }

    /// Puts a chunk on disk. What a disk refuses is told and held by the engine once; from then on it is tried again here,
    /// as room on a disk is not a service that wants to be spared.
    async fn accept(&self, chunk: &mut Chunk) -> Verdict {
        let mut attempt = 0u32;
        loop {
            let reason = match self.attempt(chunk).await {
                Ok(()) => break,
                Err(reason) => reason,
            };
            self.counters.store_retries.fetch_add(1, Relaxed);
            if chunk.attempt == 0 {
                return Verdict::Hold { reason };
            }
            attempt += 1;
            if attempt.is_power_of_two() {
                let text = format!("{reason}; trying every {} s (attempt {attempt})", DISK_PAUSE.as_secs());
                notice::tell(Level::Warn, &self.component, &text);
            }
            self.pause().await;
        }
        if chunk.attempt > 0 {
            notice::tell(Level::Info, &self.component, "records go to `store_dir` again");
        }
        Verdict::Delivered { dropped: 0 }
    }

    /// Until something was sent, or for a moment.
    async fn pause(&self) {
        let pause = tokio::time::sleep(DISK_PAUSE);
        match self.uploader.get() {
            None => pause.await,
            Some(uploader) => tokio::select! {
                () = pause => {}
                () = uploader.room.notified() => {}
            },
        }
    }

    async fn attempt(&self, chunk: &mut Chunk) -> Result<(), String> {
        let uploader = self.uploader().await?.clone();
        let segments = std::mem::take(&mut chunk.segments);
        // Disks block; the network threads must not.
        let accepted = tokio::task::spawn_blocking(move || {
            let accepted = uploader.store.accept(&segments);
            // After a refusal what is there goes out early, to make room.
            if !matches!(accepted, Ok(false)) {
                uploader.wake.notify_one();
            }
            (segments, accepted)
        });
        let Ok((segments, accepted)) = accepted.await else {
            return Err("the work on files was stopped".to_owned());
        };
        chunk.segments = segments;
        match accepted {
            Ok(_) => Ok(()),
            Err(Refused::Full(reason) | Refused::Disk(reason)) => Err(reason),
        }
    }
}

impl Output for Instance {
    fn encode(&self, _: &str, record: &Record<'_>, _: &Bump, segment: &mut Segment) -> bool {
        let out = &mut segment.bytes;
        match self.settings.log_key.as_ref().map(|key| record.get(key)) {
            None => self.settings.json.write(out, record),
            Some(None) => {
                self.counters.no_log_key.fetch_add(1, Relaxed);
                return false;
            }
            Some(Some(Value::Text(text))) => out.extend_from_slice(text.bytes),
            Some(Some(other)) => write_value(out, other, self.settings.escape),
        }
        out.push(b'\n');
        // The key of the segment is the time of its first record: the object's key may show it.
        if segment.keys.is_empty() && record.time.secs != 0 {
            segment.key(&record.time.secs.to_le_bytes());
        }
        true
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(self.accept(chunk))
    }

    fn start(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            if let Err(reason) = self.uploader().await {
                notice::tell(Level::Error, &self.component, &reason);
            }
        })
    }

    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let Some(uploader) = self.uploader.get() else { return };
            if uploader.store.stored() > 0 {
                notice::tell(Level::Info, &self.component, "Sending all locally buffered data to S3");
            }
            uploader.ending.store(true, Relaxed);
            uploader.wake.notify_one();
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(mut task) = task {
                // Ended with this future when the engine waits no longer.
                let _end = AbortOnDrop(task.abort_handle());
                drop((&mut task).await);
            }
            let stored = uploader.store.stored();
            if stored > 0 {
                let text = format!(
                    "{stored} bytes stay in {}: they go out at the next start",
                    self.settings.directory.display()
                );
                notice::tell(Level::Warn, &self.component, &text);
            }
            uploader.store.release();
        })
    }

    fn counters(&self) -> Vec<Counter> {
        let store = self.uploader.get().map(|uploader| &uploader.store);
        let oldest = store.and_then(|store| store.oldest());
        let age = oldest.map_or(0, |created| (now_millis() - created).max(0).unsigned_abs() / 1000);
        self.counters.list(store.map_or(0, |store| store.stored()), age)
    }
}

/// Ends a task with its owner.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
