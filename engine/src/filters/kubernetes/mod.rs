//! `kubernetes`: adds what the Kubernetes API knows of the pod that a record comes from.
//!
//! A tag names a pod and a container (`identity.rs`). What is known of them (`store.rs`) is encoded once for each container
//! (`pod.rs`), and a record gets it as one field that refers to those bytes. The API is asked by a thread of its own
//! (`fetch.rs`): one list and watch of the node's pods where the rights allow it (`watch.rs`), else single requests.
//! Records of a pod that is not known yet wait, outside of the workers, for [`fetch::PATIENCE`] at most.
//!
//! Owns: the record's walk through this. Never: waits on a worker, asks per record.
//! Invariant: within one slice of a job, a tag is looked up once.

mod annotations;
mod fetch;
mod identity;
mod merge;
mod options;
mod pod;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use super::{Context, Filter, FilterContext, Outcome, Plugin};
use crate::control::Control;
use annotations::{Stream, Wishes};
use codecs::conf::{Diagnostics, Section};
use codecs::multiline::stash;
use codecs::record::{Field, Record, Timestamp, Value};
use codecs::{Bump, BumpVec};
use options::{Options, Origin, Settings};
use outputs::Counter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use store::{Answer, Counters, Store};
use tokio::sync::Notify;

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "kubernetes", about: Options::ABOUT, tables: &[Options::TABLE], configure };

/// A configured filter.
struct Kubernetes {
    settings: Arc<Settings>,
    store: Arc<Store>,
    stop: Arc<Notify>,
}

/// What is known of the pod that a slice's last record came from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Which filter found it: several may look at the same record.
    filter: usize,
    /// The tag, or the name of a journal's container.
    subject: &'a [u8],
    /// What its records get; `None` where no pod is named: then they stay as they are.
    fields: Option<&'a [Field<'a>]>,
    wishes: Wishes,
    /// Its records go out without what the API knows.
    without: bool,
}

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let settings = Arc::new(Settings::read(section, context, diagnostics)?);
    let store = Arc::new(Store::new(settings.clone()));
    Some(Arc::new(Kubernetes { settings, store, stop: Arc::default() }))
}

impl Filter for Kubernetes {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let journal = self.settings.source.journal && !matches!(self.settings.origin, Origin::Dummy);
        let named = if journal { record.get(identity::JOURNAL_KEY).and_then(Value::as_text) } else { None };
        if journal && named.is_none() {
            return Outcome::Keep;
        }
        let subject = named.unwrap_or(context.tag.as_bytes());
        let seen = match context.pod {
            Some(seen) if seen.is_of(self, subject) => *seen,
            _ => match self.look(named, context) {
                Some(seen) => *context.pod.insert(seen),
                None => return Outcome::Wait,
            },
        };
        let Some(fields) = seen.fields else {
            self.store.counters.unnamed.fetch_add(1, Relaxed);
            return Outcome::Keep;
        };
        if seen.without {
            self.store.counters.without.fetch_add(1, Relaxed);
        }
        let mut parser = None;
        if !seen.wishes.is_empty() {
            let wish = seen.wishes.of(stream(record));
            if wish.exclude == Some(true) {
                return Outcome::Drop;
            }
            parser = wish.parser.and_then(|at| self.settings.parsers.get(at as usize));
        }
        if let Some(options) = &self.settings.merge {
            merge::merge(options, parser.map(|(_, parser)| &**parser), record, context);
        }
        record.fields.extend_from_slice_copy(fields);
        Outcome::Keep
    }

    fn waits(&self) -> bool {
        matches!(self.settings.origin, Origin::Api(_))
    }

    fn memory_max(&self) -> usize {
        match self.settings.origin {
            // An object under way is held as text, as values, and as what is kept of it.
            Origin::Api(_) => store::BYTES_MAX + 2 * crate::kube::items::OBJECT_BYTES_MAX,
            _ => 0,
        }
    }

    fn start(&self, control: &Arc<Control>) -> Result<(), String> {
        let Origin::Api(access) = &self.settings.origin else { return Ok(()) };
        fetch::spawn(&self.store, (**access).clone(), control.clone(), self.stop.clone())
            .map_err(|error| format!("{}: cannot start a thread: {error}", self.settings.name))
    }

    fn counters(&self) -> Vec<Counter> {
        self.counted()
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

impl Seen<'_> {
    fn is_of(&self, filter: &Kubernetes, subject: &[u8]) -> bool {
        self.filter == filter.number() && self.subject == subject
    }
}

impl Kubernetes {
    /// What tells it from other instances.
    fn number(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// What records of this subject get; `None` when it is not known yet, and the record may wait.
    #[cold]
    fn look<'a>(&self, named: Option<&'a [u8]>, context: &mut FilterContext<'a, '_>) -> Option<Seen<'a>> {
        let arena = context.arena;
        let subject = named.unwrap_or_else(|| arena.alloc_slice_copy(context.tag.as_bytes()));
        let filter = self.number();
        let nothing = Seen { filter, subject, fields: None, wishes: Wishes::default(), without: false };
        if matches!(self.settings.origin, Origin::Dummy) {
            return Some(Seen { fields: Some(dummy(context.now, arena)), ..nothing });
        }
        if !self.settings.adds_something() {
            return Some(nothing);
        }
        let Some(told) = self.store.subject(subject, &mut context.parsing.regex) else {
            return Some(nothing);
        };
        match self.store.look_up(&told, context.may_wait) {
            Answer::Wait(awaited) => {
                *context.awaited = Some(awaited);
                None
            }
            Answer::Known { kubernetes, namespace, without } => {
                let mut fields = BumpVec::new_in(arena);
                for found in kubernetes.iter().chain(&namespace) {
                    let bytes = arena.alloc_slice_copy(&found.bytes);
                    fields.extend(
                        stash::load_next(bytes, arena).map(|(fields, _)| fields).into_iter().flatten(),
                    );
                }
                let wishes = kubernetes.map_or_else(Wishes::default, |found| found.wishes);
                let fields: &'a [Field<'a>] = fields.into_bump_slice();
                // Who asks nobody lacks nothing.
                let without = without && self.waits();
                Some(Seen { fields: Some(fields), wishes, without, ..nothing })
            }
        }
    }

    fn counted(&self) -> Vec<Counter> {
        if !self.waits() {
            return Vec::new();
        }
        let one = |(name, help, kind, read): &Counted| Counter {
            name,
            help,
            labels: kind.iter().map(|kind| ("kind", (*kind).to_owned())).collect(),
            value: read(&self.store.counters).load(Relaxed),
        };
        let mut all: Vec<Counter> = COUNTED.iter().map(one).collect();
        let (name, help) = ("kubernetes_pods", "Pods that are known.");
        all.push(Counter { name, help, labels: Vec::new(), value: self.store.pods() });
        all
    }
}

/// Name, help, kind of request, and where it is counted.
type Counted = (&'static str, &'static str, Option<&'static str>, fn(&Counters) -> &AtomicU64);

const REQUESTS: (&str, &str) =
    ("kubernetes_api_requests_total", "Requests to the API server or the kubelet, by kind.");

/// What the filter counts.
const COUNTED: &[Counted] = &[
    ("kubernetes_lookups_total", "Look-ups of a pod, one for each 16 KiB of a source.", None, |c| &c.lookups),
    ("kubernetes_hits_total", "Look-ups that were answered from what is known.", None, |c| &c.hits),
    ("kubernetes_waits_total", "Look-ups that had to wait for the API.", None, |c| &c.waits),
    (
        "kubernetes_records_without_metadata_total",
        "Records that went out with what their tag tells only.",
        None,
        |c| &c.without,
    ),
    ("kubernetes_records_without_pod_total", "Records whose tag names no pod.", None, |c| &c.unnamed),
    ("kubernetes_api_errors_total", "Requests that failed or were refused.", None, |c| &c.request_errors),
    ("kubernetes_watch_restarts_total", "Watches that broke or were too old.", None, |c| &c.watch_restarts),
    ("kubernetes_objects_too_large_total", "Objects of the API beyond 3 MiB, passed over.", None, |c| {
        &c.too_large
    }),
    (REQUESTS.0, REQUESTS.1, Some("list"), |c| &c.lists),
    (REQUESTS.0, REQUESTS.1, Some("watch"), |c| &c.watches),
    (REQUESTS.0, REQUESTS.1, Some("get"), |c| &c.gets),
];

impl Settings {
    /// False where neither pods nor namespaces are wanted: then records stay as they are, as in Fluent Bit.
    fn adds_something(&self) -> bool {
        self.pods || self.wanted.namespace_labels || self.wanted.namespace_annotations
    }
}

/// Which stream the record says that it comes from.
fn stream(record: &Record<'_>) -> Stream {
    match record.get(b"stream").and_then(Value::as_text) {
        Some(b"stdout") => Stream::Stdout,
        Some(b"stderr") => Stream::Stderr,
        _ => Stream::Unknown,
    }
}

/// `Dummy_Meta`: the time of day, as `asctime` prints it.
fn dummy<'a>(now: Timestamp, arena: &'a Bump) -> &'a [Field<'a>] {
    let offset = crate::machine::zone("").map_or(0, |zone| zone.offset_at(now.secs));
    let mut text = Vec::new();
    let local = Timestamp { secs: now.secs + i64::from(offset), nanos: 0 };
    codecs::time::write_strftime(&mut text, "%a %b %e %H:%M:%S %Y", local);
    let text = codecs::record::Text::plain(arena.alloc_slice_copy(&text));
    let map: &[Field<'_>] = arena.alloc([field(b"dummy", Value::Text(text))]);
    arena.alloc([field(b"kubernetes", Value::Map(map))])
}

fn field<'a>(key: &'static [u8], value: Value<'a>) -> Field<'a> {
    Field::new(codecs::record::Text::plain(key), value)
}
