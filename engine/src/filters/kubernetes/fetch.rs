//! Asks the API, off the workers: a thread with a runtime of its own.
//!
//! Owns: whom to ask for what, how often, how long. Never: touches a record.
//! Invariant: a question is answered within [`PATIENCE`], if only with "nobody knows"; at most [`GETS_MAX`] requests for
//! single objects are under way.

use super::options::Wanted;
use super::pod::{Found, Object, PodKey};
use super::store::{Ask, Store};
use crate::control::Control;
use crate::kube::Access;
use crate::kube::api::{Api, Whom, escaped};
use crate::kube::items::{Items, OBJECT_BYTES_MAX};
use crate::log;
use crate::retry::Backoff;
use codecs::Bump;
use codecs::json::Scratch;
use http::StatusCode;
use outputs::client::{Answer, Limits};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// Records wait so long for what the API knows of their pod; then they go out with what the tag tells.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Once the program stops, records wait so long at most: `Grace` is for their delivery.
const STOP_PATIENCE: Duration = Duration::from_millis(500);
/// What does not exist is asked for again after so long, when records still come.
const ABSENT_AGAIN: Duration = Duration::from_secs(60);
/// After an error, or without an answer in time.
const FAILED_AGAIN: Duration = Duration::from_secs(10);
/// Where pods are watched, a pod that is not known may still be on its way; then it is asked for by itself.
const WATCH_LAG: Duration = Duration::from_millis(500);
/// Requests for single objects at once.
const GETS_MAX: usize = 8;
/// Between two sweeps of the store.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Between two attempts.
pub(super) const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(30) };

/// Between two attempts for a single object, that records wait for.
const OBJECT_BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(1) };

/// How pods are learnt of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is not known yet whether they can be watched.
    Starting,
    /// All of this node are known, and each change is told.
    Watching,
    /// One after the other, as records come.
    Asking,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such thing.
    Absent(String),
    /// It may be there another time.
    Failed(String),
}

/// Whoever asks.
pub(super) struct Fetcher {
    pub(super) store: Arc<Store>,
    pub(super) api: Api,
    pub(super) mode: watch::Sender<Mode>,
    gets: Semaphore,
    /// Why the last request failed.
    failure: Mutex<String>,
    /// When the kubelet told its pods last.
    listed: tokio::sync::Mutex<Option<Instant>>,
}

/// Starts the thread; it ends when `stop` is notified.
pub(super) fn spawn(
    store: &Arc<Store>,
    access: Access,
    control: Arc<Control>,
    stop: Arc<Notify>,
) -> std::io::Result<()> {
    let (send, asks) = mpsc::unbounded_channel();
    let (store, name) = (store.clone(), store.settings.name.clone());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    store.open(send);
    let thread = std::thread::Builder::new().name(name.rsplit(':').next().unwrap_or("kubernetes").to_owned());
    let closing = Closing(store.clone());
    thread.spawn(move || {
        let _closing = closing;
        runtime.block_on(async {
            tokio::select! {
                () = stop.notified() => {}
                () = run(store.clone(), access, asks) => {}
                () = release(store, control) => {}
            }
        });
        runtime.shutdown_background();
    })?;
    Ok(())
}

/// However the thread ends, nobody waits for it any more.
struct Closing(Arc<Store>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// When the program stops, whoever still waits goes on with what the tag tells.
async fn release(store: Arc<Store>, control: Arc<Control>) {
    control.wait(|| control.stopping()).await;
    tokio::time::sleep(STOP_PATIENCE).await;
    store.close();
    std::future::pending().await
}

/// However answering a question ends, nobody waits for it any more.
struct Settling<'s>(&'s Store, Ask);

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.0.settled(&self.1, FAILED_AGAIN);
    }
}

async fn run(store: Arc<Store>, access: Access, asks: mpsc::UnboundedReceiver<Ask>) {
    let watches = access.kubelet.is_none() && access.preload.is_none() && store.settings.pods;
    let mode = watch::Sender::new(if watches { Mode::Starting } else { Mode::Asking });
    let (gets, listed) = (Semaphore::new(GETS_MAX), tokio::sync::Mutex::default());
    let api = Api::new(access, &store.settings.name);
    let fetcher = Arc::new(Fetcher { store, api, mode, gets, failure: Mutex::default(), listed });
    let watching = async {
        match watches {
            true => fetcher.watch_pods().await,
            false => std::future::pending().await,
        }
    };
    tokio::join!(fetcher.answer(asks), fetcher.sweep(), watching);
}

impl Fetcher {
    async fn answer(self: &Arc<Self>, mut asks: mpsc::UnboundedReceiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            let fetcher = self.clone();
            tokio::spawn(async move { fetcher.settle(ask).await });
        }
    }

    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.store.sweep(Instant::now());
        }
    }

    /// Answers one question, at the latest when patience is over.
    async fn settle(&self, ask: Ask) {
        let end = Settling(&self.store, ask);
        let ask = &end.1;
        let answered = match ask {
            Ask::Pod(key) => tokio::time::timeout(PATIENCE, self.pod(key)).await,
            Ask::Namespace(name) => tokio::time::timeout(PATIENCE, self.namespace(name)).await,
        };
        match answered {
            Ok(Ok(())) => {}
            Ok(Err(Refusal::Absent(why))) => self.store.missing(ask, &why, ABSENT_AGAIN),
            Ok(Err(Refusal::Failed(why))) => self.store.missing(ask, &why, FAILED_AGAIN),
            Err(_) => {
                let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let cause = if failure.is_empty() { String::new() } else { format!(": {failure}") };
                self.store.missing(ask, &format!("no answer within {PATIENCE:?}{cause}"), FAILED_AGAIN);
            }
        }
    }

    /// Makes the store know a pod.
    async fn pod(&self, key: &PodKey) -> Result<(), Refusal> {
        if let Some(text) = self.preloaded(&format!("{}_{}.meta", key.namespace, key.name)) {
            return self.learn_pod(key, &text);
        }
        self.come_to_know(key).await;
        if !self.store.is_asked(key) {
            return Ok(());
        }
        if self.api.access().kubelet.is_some() {
            return self.of_kubelet(key).await;
        }
        let path = format!("/api/v1/namespaces/{}/pods/{}", escaped(&key.namespace), escaped(&key.name));
        let body = self.object(&path).await?;
        self.learn_pod(key, &body)
    }

    /// While pods are watched, or may be, waits until the watch tells of this one, or had its time to do so.
    async fn come_to_know(&self, key: &PodKey) {
        let mut mode = self.mode.subscribe();
        let _ = mode.wait_for(|mode| *mode != Mode::Starting).await;
        if *mode.borrow() == Mode::Watching && !self.store.knows(key) {
            tokio::time::sleep(WATCH_LAG).await;
        }
    }

    fn learn_pod(&self, key: &PodKey, text: &[u8]) -> Result<(), Refusal> {
        let (arena, wanted) = (Bump::new(), self.store.settings.wanted);
        let object = Object::read(text, &arena, &mut Scratch::default());
        let object = object.ok_or_else(|| Refusal::Failed("the answer is no JSON map".to_owned()))?;
        self.store.learn(key.clone(), object.pod(wanted, &arena), false);
        Ok(())
    }

    /// Makes the store know a namespace.
    async fn namespace(&self, name: &str) -> Result<(), Refusal> {
        let text = match self.preloaded(&format!("{name}.namespace_meta")) {
            Some(text) => text,
            None => self.object(&format!("/api/v1/namespaces/{}", escaped(name))).await?,
        };
        let found = namespace(name, &text, self.store.settings.wanted);
        let found = found.ok_or_else(|| Refusal::Failed("the answer is no JSON map".to_owned()))?;
        self.store.learn_namespace(name.into(), found);
        Ok(())
    }

    /// A file of `Kube_Meta_Preload_Cache_Dir`.
    fn preloaded(&self, name: &str) -> Option<Vec<u8>> {
        let folder = self.api.access().preload.as_ref()?;
        // Names come from tags: they must not lead elsewhere.
        let inside = !name.contains('/') && name.len() < 512;
        std::fs::read(folder.join(name)).ok().filter(|text| inside && text.len() <= OBJECT_BYTES_MAX)
    }

    /// A single object, asked for until there is an answer that will not change by itself.
    pub(super) async fn object(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        let mut attempt = 0;
        loop {
            match self.object_once(path).await {
                Err(Refusal::Failed(why)) if attempt < ATTEMPTS_MAX => {
                    log!(Debug, self.store.settings.name, "GET {path}: {why}");
                    tokio::time::sleep(OBJECT_BACKOFF.wait(attempt)).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn object_once(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        let Ok(_permit) = self.gets.acquire().await else {
            return Err(Refusal::Failed("the program stops".to_owned()));
        };
        self.store.counters.gets.fetch_add(1, Relaxed);
        let limits = Limits { response: PATIENCE, idle: PATIENCE, body_bytes: OBJECT_BYTES_MAX };
        let answer = self.api.get(Whom::Api, path, limits, None).await;
        self.judged(answer).map(|answer| answer.body)
    }

    /// What an answer says; everything but 200 and a final refusal may be different another time.
    pub(super) fn judged(&self, answer: Result<Answer, String>) -> Result<Answer, Refusal> {
        let refusal = match answer {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(answer),
            Ok(Answer { status, .. }) if status == StatusCode::NOT_FOUND => {
                return Err(Refusal::Absent("the API does not know it (404)".to_owned()));
            }
            Ok(Answer { status, .. }) if status == StatusCode::FORBIDDEN => Refusal::Absent(
                "the API server refuses it (403): the service account lacks rights".to_owned(),
            ),
            Ok(Answer { status, .. }) => Refusal::Failed(format!("the API server answers {status}")),
            Err(error) => Refusal::Failed(error),
        };
        self.store.counters.request_errors.fetch_add(1, Relaxed);
        let (Refusal::Failed(why) | Refusal::Absent(why)) = &refusal;
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone_from(why);
        Err(refusal)
    }

    /// All pods of the node, from the kubelet; whoever asks while they are listed gets them as well.
    async fn of_kubelet(&self, key: &PodKey) -> Result<(), Refusal> {
        let asked = Instant::now();
        let mut attempt = 0;
        loop {
            let mut listed = self.listed.lock().await;
            if listed.is_none_or(|at| at < asked) {
                match self.list(Whom::Kubelet, "/pods", false).await {
                    Ok(_) => *listed = Some(Instant::now()),
                    Err(Refusal::Failed(_)) if attempt < ATTEMPTS_MAX => {
                        drop(listed);
                        tokio::time::sleep(OBJECT_BACKOFF.wait(attempt)).await;
                        attempt += 1;
                        continue;
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
            return match self.store.knows(key) {
                true => Ok(()),
                false => Err(Refusal::Absent("the kubelet does not know it".to_owned())),
            };
        }
    }

    /// Pods of a list, put into the store as they come; gives what stood around them, and their names.
    pub(super) async fn list(
        &self,
        whom: Whom,
        path: &str,
        watched: bool,
    ) -> Result<(Vec<u8>, Vec<PodKey>), Refusal> {
        let counters = &self.store.counters;
        counters.lists.fetch_add(1, Relaxed);
        let (mut items, mut keys) = (Items::default(), Vec::new());
        let limits = Limits { response: LIST_MAX, idle: PATIENCE, body_bytes: 0 };
        let mut arena = Bump::new();
        let mut sink = |piece: &[u8]| {
            items.feed(piece, |text| {
                keys.extend(self.take_in(text, watched, &arena));
                arena.reset();
            });
        };
        let answer = self.api.get(whom, path, limits, Some(&mut sink)).await;
        self.judged(answer)?;
        counters.too_large.fetch_add(items.too_large, Relaxed);
        match items.envelope() {
            Some(envelope) => Ok((envelope.to_vec(), keys)),
            None => Err(Refusal::Failed("the list is not whole".to_owned())),
        }
    }

    /// A pod as it stands in a list or in an event.
    pub(super) fn take_in(&self, text: &[u8], watched: bool, arena: &Bump) -> Option<PodKey> {
        let object = Object::read(text, arena, &mut Scratch::default())?;
        let key = object.key.clone()?;
        self.store.learn(key.clone(), object.pod(self.store.settings.wanted, arena), watched);
        Some(key)
    }

    /// Tells what a user wants to know.
    pub(super) fn info(&self, text: &str) {
        log!(Info, self.store.settings.name, "{text}");
    }
}

/// Attempts for one object before it is given up; patience is over sooner where they take long.
const ATTEMPTS_MAX: u32 = 24;
/// How long a list may take to begin.
const LIST_MAX: Duration = Duration::from_secs(30);

fn namespace(name: &str, text: &[u8], wanted: Wanted) -> Option<Found> {
    let arena = Bump::new();
    let object = Object::read(text, &arena, &mut Scratch::default())?;
    Some(Object::namespace(Some(&object), name, wanted, &arena))
}
