//! What is known of pods and namespaces, and what tags tell.
//!
//! Owns: every answer, who waits for one, the counters. Never: asks the API itself (see `fetch.rs`), waits.
//! Invariants: what records of a container get is encoded once, until its pod changes; everything that was asked for is
//! answered, by [`Store::learn`], [`Store::missing`], [`Store::settled`] or [`Store::close`], and then whoever waits goes on; at most
//! [`BYTES_MAX`] bytes and [`PODS_MAX`] pods are kept, those used last.

use super::identity::{Identity, NoPod};
use super::options::{Ages, Settings};
use super::pod::{Found, Pod, PodKey};
use crate::filters::Awaited;
use crate::log;
use codecs::regex::Scratch;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// Bytes of pods and of what is made of them; beyond that, what was not used for longest goes.
pub(super) const BYTES_MAX: usize = 8 << 20;
/// Pods that are kept.
const PODS_MAX: usize = 8192;
/// Namespaces that are kept.
const NAMESPACES_MAX: usize = 1024;
/// Tags that are kept apart; beyond that they are read anew.
const TAGS_MAX: usize = 8192;
/// A pod that is deleted is kept for so long: its last lines may still be read.
pub(super) const DELETED_KEPT: Duration = Duration::from_secs(300);
/// What a slot takes beside what is in it.
const SLOT_BYTES: usize = 320;

/// A question to the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Pod(PodKey),
    Namespace(Box<str>),
}

/// What the filter counts, beside its records.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) lookups: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) without: AtomicU64,
    pub(super) unnamed: AtomicU64,
    pub(super) lists: AtomicU64,
    pub(super) watches: AtomicU64,
    pub(super) gets: AtomicU64,
    pub(super) request_errors: AtomicU64,
    pub(super) watch_restarts: AtomicU64,
    pub(super) too_large: AtomicU64,
}

/// A tag, read.
pub(super) struct Subject {
    identity: Identity,
    pod: Option<PodKey>,
    /// What the tag alone tells.
    told: Arc<Found>,
}

/// What records of a subject get.
pub(super) enum Answer {
    Known {
        kubernetes: Option<Arc<Found>>,
        namespace: Option<Arc<Found>>,
        /// The API told nothing: it is only what the tag tells.
        without: bool,
    },
    Wait(Arc<Awaited>),
}

/// Something that can be asked for.
struct Slot<T> {
    known: Option<T>,
    /// It was asked for; with true, records wait for the answer.
    asked: Option<(Arc<Awaited>, bool)>,
    /// When to ask (again); never where it is told without being asked.
    until: Option<Instant>,
    used: Instant,
    /// It was never answered.
    fresh: bool,
    /// Records went out without it, and that was told.
    told: bool,
}

/// How a slot stands.
enum Standing<'s, T> {
    Known(&'s mut T),
    Wait(Arc<Awaited>),
    Missing,
}

impl<T> Slot<T> {
    fn new(now: Instant) -> Slot<T> {
        Slot { known: None, asked: None, until: Some(now), used: now, fresh: true, told: false }
    }

    /// What is there; asks where it is time to. Only the first question, and that for what is known but old, is waited for.
    fn standing(&mut self, now: Instant, may_wait: bool, ask: impl FnOnce() -> bool) -> Standing<'_, T> {
        self.used = now;
        if self.asked.is_none() && self.until.is_some_and(|until| until <= now) && ask() {
            self.asked = Some((Arc::default(), self.fresh || self.known.is_some()));
        }
        match (&self.asked, &mut self.known) {
            (Some((awaited, true)), _) if may_wait => Standing::Wait(awaited.clone()),
            (_, Some(known)) => Standing::Known(known),
            (_, None) => Standing::Missing,
        }
    }

    /// It was answered; whoever waits may go on.
    fn answered(&mut self, until: Option<Instant>) -> Option<Arc<Awaited>> {
        (self.until, self.fresh) = (until, false);
        self.asked.take().map(|(awaited, _)| awaited)
    }
}

/// A pod that is known.
struct Known {
    pod: Pod,
    /// What its containers' records get.
    made: Vec<Made>,
    /// The watch tells of it.
    watched: bool,
    /// It is deleted, and forgotten then.
    gone: Option<Instant>,
}

/// What one container's records get.
struct Made {
    container: Option<Box<str>>,
    docker_id: Option<Box<str>>,
    hash: Option<Box<str>>,
    found: Arc<Found>,
}

impl Made {
    fn is_of(&self, identity: &Identity) -> bool {
        (&self.container, &self.docker_id, &self.hash)
            == (&identity.container, &identity.docker_id, &identity.hash)
    }

    fn size(&self) -> usize {
        SLOT_BYTES + self.found.bytes.len()
    }
}

impl Known {
    fn size(&self) -> usize {
        self.pod.size() + self.made.iter().map(Made::size).sum::<usize>()
    }
}

#[derive(Default)]
struct Inner {
    tags: HashMap<Box<[u8]>, Result<Arc<Subject>, NoPod>>,
    pods: HashMap<PodKey, Slot<Known>>,
    namespaces: HashMap<Box<str>, Slot<Arc<Found>>>,
    /// Of [`Known::size`].
    bytes: usize,
    /// Who answers; nobody before the start and after the end.
    asks: Option<UnboundedSender<Ask>>,
    /// Pods whose records went out without metadata so far.
    missed: u64,
}

/// Everything that is known.
pub(super) struct Store {
    pub(super) settings: Arc<Settings>,
    pub(super) counters: Counters,
    inner: Mutex<Inner>,
}

impl Store {
    pub(super) fn new(settings: Arc<Settings>) -> Store {
        Store { settings, counters: Counters::default(), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who answers from now on.
    pub(super) fn open(&self, asks: UnboundedSender<Ask>) {
        self.lock().asks = Some(asks);
    }

    /// Nobody answers any more: whoever waits goes on.
    pub(super) fn close(&self) {
        let waiting: Vec<_> = {
            let inner = &mut *self.lock();
            inner.asks = None;
            let pods = inner.pods.values_mut().map(|slot| slot.answered(None));
            pods.chain(inner.namespaces.values_mut().map(|slot| slot.answered(None))).flatten().collect()
        };
        waiting.iter().for_each(|awaited| awaited.end());
    }

    /// Pods that are known.
    pub(super) fn pods(&self) -> u64 {
        self.lock().pods.values().filter(|slot| slot.known.is_some()).count() as u64
    }

    /// What a tag (or a container's name in a journal) tells; nothing where it names no pod, which is told once.
    pub(super) fn subject(&self, text: &[u8], scratch: &mut Scratch) -> Option<Arc<Subject>> {
        if let Some(known) = self.lock().tags.get(text) {
            return known.clone().ok();
        }
        let read = self.settings.source.identify(text, scratch).map(|identity| {
            let told = Arc::new(Found::of_tag(&identity));
            Arc::new(Subject { pod: PodKey::of(&identity), identity, told })
        });
        if let Err(why) = &read {
            self.tell_unnamed(text, *why);
        }
        let inner = &mut *self.lock();
        if inner.tags.len() >= TAGS_MAX {
            inner.tags.clear();
        }
        inner.tags.insert(text.into(), read.clone());
        read.ok()
    }

    fn tell_unnamed(&self, text: &[u8], why: NoPod) {
        let text = String::from_utf8_lossy(text);
        let why = match why {
            NoPod::Short => "it is not longer than `kube_tag_prefix`",
            NoPod::Unfit => "it does not fit the pattern",
        };
        log!(Warn, self.settings.name, "no pod is named by `{text}`: {why}; its records stay as they are");
    }

    /// What records of this subject get.
    pub(super) fn look_up(&self, subject: &Subject, may_wait: bool) -> Answer {
        self.counters.lookups.fetch_add(1, Relaxed);
        let (now, settings) = (Instant::now(), &*self.settings);
        let mut guard = self.lock();
        let Inner { pods, namespaces, bytes, asks, .. } = &mut *guard;
        let ask = |ask: Ask| asks.as_ref().is_some_and(|asks| asks.send(ask).is_ok());
        let mut without = false;
        let wanted = settings.wanted;
        let namespace = match &subject.identity.namespace {
            Some(name) if wanted.namespace_labels || wanted.namespace_annotations => {
                let slot = namespaces.entry(name.clone()).or_insert_with(|| Slot::new(now));
                match slot.standing(now, may_wait, || ask(Ask::Namespace(name.clone()))) {
                    Standing::Known(found) => Some(found.clone()),
                    Standing::Wait(awaited) => return self.waits(awaited),
                    Standing::Missing => {
                        without = true;
                        let arena = codecs::Bump::new();
                        Some(Arc::new(super::pod::Object::namespace(None, name, wanted, &arena)))
                    }
                }
            }
            _ => None,
        };
        let mut kubernetes = None;
        if settings.pods {
            kubernetes = Some(subject.told.clone());
            match &subject.pod {
                None => without = true,
                Some(key) => {
                    let slot = pods.entry(key.clone()).or_insert_with(|| Slot::new(now));
                    self.forget_container(slot, subject, now);
                    match slot.standing(now, may_wait, || ask(Ask::Pod(key.clone()))) {
                        Standing::Known(known) => kubernetes = Some(self.made(known, subject, bytes)),
                        Standing::Wait(awaited) => return self.waits(awaited),
                        Standing::Missing => without = true,
                    }
                }
            }
        }
        guard.fit();
        if !without {
            self.counters.hits.fetch_add(1, Relaxed);
        }
        Answer::Known { kubernetes, namespace, without }
    }

    fn waits(&self, awaited: Arc<Awaited>) -> Answer {
        self.counters.waits.fetch_add(1, Relaxed);
        Answer::Wait(awaited)
    }

    /// `Cache_Use_Docker_Id`: a container that nobody has seen is a reason to ask again.
    fn forget_container(&self, slot: &mut Slot<Known>, subject: &Subject, now: Instant) {
        let unseen = |known: &Known| {
            !known.watched && !known.made.is_empty() && !known.made.iter().any(|m| m.is_of(&subject.identity))
        };
        if self.settings.by_docker_id && slot.asked.is_none() && slot.known.as_ref().is_some_and(unseen) {
            slot.until = Some(now);
        }
    }

    /// What this container's records get; made at the first of them.
    fn made(&self, known: &mut Known, subject: &Subject, bytes: &mut usize) -> Arc<Found> {
        let identity = &subject.identity;
        if let Some(made) = known.made.iter().find(|made| made.is_of(identity)) {
            return made.found.clone();
        }
        let tell = |what: String| {
            let (namespace, pod) = (identity.namespace.as_deref(), identity.pod.as_deref());
            let (namespace, pod) = (namespace.unwrap_or_default(), pod.unwrap_or_default());
            log!(Warn, self.settings.name, "{what} (pod {namespace}/{pod})");
        };
        let found = Arc::new(Found::of_pod(identity, &known.pod, &self.settings, tell));
        if known.made.len() >= CONTAINERS_MAX {
            *bytes -= known.made.remove(0).size();
        }
        let made = Made {
            container: identity.container.clone(),
            docker_id: identity.docker_id.clone(),
            hash: identity.hash.clone(),
            found: found.clone(),
        };
        *bytes += made.size();
        known.made.push(made);
        found
    }

    /// A pod as the API tells it.
    pub(super) fn learn(&self, key: PodKey, pod: Pod, watched: bool) {
        let now = Instant::now();
        let until = if watched { None } else { self.ages().pod.map(|age| now + age) };
        let awaited = {
            let inner = &mut *self.lock();
            let slot = inner.pods.entry(key).or_insert_with(|| Slot::new(now));
            match &mut slot.known {
                // Most changes of a pod's status change nothing in its records.
                Some(known) if known.pod == pod => (known.watched, known.gone) = (watched, None),
                known => {
                    inner.bytes -= known.as_ref().map_or(0, Known::size);
                    let known = known.insert(Known { pod, made: Vec::new(), watched, gone: None });
                    inner.bytes += known.size();
                }
            }
            let awaited = slot.answered(until);
            inner.fit();
            awaited
        };
        if let Some(awaited) = awaited {
            awaited.end();
        }
    }

    /// A namespace as the API tells it.
    pub(super) fn learn_namespace(&self, name: Box<str>, found: Found) {
        let now = Instant::now();
        let until = self.ages().namespace.map(|age| now + age);
        let awaited = {
            let mut inner = self.lock();
            let slot = inner.namespaces.entry(name).or_insert_with(|| Slot::new(now));
            slot.known = Some(Arc::new(found));
            slot.answered(until)
        };
        if let Some(awaited) = awaited {
            awaited.end();
        }
    }

    fn ages(&self) -> Ages {
        self.settings.ages
    }

    /// There is no answer, for this reason; what is known stays, and it is asked for again after so long.
    pub(super) fn missing(&self, ask: &Ask, why: &str, again: Duration) {
        let until = Some(Instant::now() + again);
        let (awaited, tell) = {
            let inner = &mut *self.lock();
            let (awaited, first) = match ask {
                Ask::Pod(key) => inner.pods.get_mut(key).map(|slot| slot.missed(until)),
                Ask::Namespace(name) => inner.namespaces.get_mut(name).map(|slot| slot.missed(until)),
            }
            .unwrap_or_default();
            inner.missed += u64::from(first);
            (awaited, first.then_some(inner.missed))
        };
        if let Some(count) = tell.filter(|count| count.is_power_of_two()) {
            let what = match ask {
                Ask::Pod(key) => format!("pod {key}"),
                Ask::Namespace(name) => format!("namespace {name}"),
            };
            log!(
                Warn,
                self.settings.name,
                "no metadata of {what}: {why}; its records go out with what the tag tells ({count} such so far)"
            );
        }
        if let Some(awaited) = awaited {
            awaited.end();
        }
    }

    /// True while somebody waits to be told of a pod.
    pub(super) fn is_asked(&self, key: &PodKey) -> bool {
        self.lock().pods.get(key).is_some_and(|slot| slot.asked.is_some())
    }

    /// All is told that will be: who waits still (for what an answer did not hold) goes on.
    pub(super) fn settled(&self, ask: &Ask, again: Duration) {
        let until = Some(Instant::now() + again);
        let awaited = {
            let inner = &mut *self.lock();
            match ask {
                Ask::Pod(key) => inner.pods.get_mut(key).and_then(|slot| slot.settled(until)),
                Ask::Namespace(name) => inner.namespaces.get_mut(name).and_then(|slot| slot.settled(until)),
            }
        };
        if let Some(awaited) = awaited {
            awaited.end();
        }
    }

    /// True when a pod is known.
    pub(super) fn knows(&self, key: &PodKey) -> bool {
        self.lock().pods.get(key).is_some_and(|slot| slot.known.is_some())
    }

    /// A pod is deleted: its last lines may still come.
    pub(super) fn deleted(&self, key: &PodKey) {
        if let Some(known) = self.lock().pods.get_mut(key).and_then(|slot| slot.known.as_mut()) {
            known.gone = Some(Instant::now() + DELETED_KEPT);
        }
    }

    /// The watch was begun anew: what it told of and does not tell of any more is deleted.
    pub(super) fn keep_only(&self, listed: &HashSet<PodKey>) {
        let gone = Instant::now() + DELETED_KEPT;
        for (key, slot) in &mut self.lock().pods {
            let known = slot.known.as_mut().filter(|k| k.watched && !listed.contains(key));
            if let Some(known) = known {
                known.gone.get_or_insert(gone);
            }
        }
    }

    /// Forgets what is deleted for long enough, and what was asked for in vain and is not wanted any more.
    pub(super) fn sweep(&self, now: Instant) {
        let inner = &mut *self.lock();
        let mut freed = 0;
        inner.pods.retain(|_, slot| {
            let wanted = match &slot.known {
                Some(known) => known.gone.is_none_or(|gone| gone > now),
                None => slot.used + DELETED_KEPT > now,
            };
            let stays = wanted || slot.asked.is_some();
            if !stays {
                freed += slot.known.as_ref().map_or(0, Known::size);
            }
            stays
        });
        inner.bytes -= freed;
    }
}

/// Containers of a pod, each restart being another, for which something is made.
const CONTAINERS_MAX: usize = 32;

impl<T> Slot<T> {
    /// Ends a question that is open still.
    fn settled(&mut self, until: Option<Instant>) -> Option<Arc<Awaited>> {
        self.asked.is_some().then(|| self.answered(until)).flatten()
    }

    /// Nobody knows; true when records are without it for the first time.
    fn missed(&mut self, until: Option<Instant>) -> (Option<Arc<Awaited>>, bool) {
        let first = self.known.is_none() && !std::mem::replace(&mut self.told, true);
        (self.answered(until), first)
    }
}

impl Inner {
    /// Forgets what was not used for longest until the rest fits.
    fn fit(&mut self) {
        let size = |pods: &HashMap<_, _>, bytes: usize| bytes + pods.len() * SLOT_BYTES;
        while size(&self.pods, self.bytes) > BYTES_MAX || self.pods.len() > PODS_MAX {
            let free = self.pods.iter().filter(|(_, slot)| slot.asked.is_none());
            let Some(oldest) = free.min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone()) else {
                break;
            };
            let slot = self.pods.remove(&oldest);
            self.bytes -= slot.and_then(|slot| slot.known).map_or(0, |known| known.size());
        }
        while self.namespaces.len() > NAMESPACES_MAX {
            let free = self.namespaces.iter().filter(|(_, slot)| slot.asked.is_none());
            let Some(oldest) = free.min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone()) else {
                break;
            };
            self.namespaces.remove(&oldest);
        }
    }
}
