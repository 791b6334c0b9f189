//! Input kubernetes_events: what happens in a cluster, by one list and one watch of its events.
//!
//! Owns: when to list, when to watch, which events are new, how far is delivered. Never: asks twice for what a watch tells;
//! stores an event that is not delivered. Parts: `event` (an event as text and as a record), `rows` (the `DB`).
//! Invariants: an event is told once for each resource version; with a `DB`, a restart goes on with what was not
//! delivered. While there is no memory, the connection is not read.

mod event;
mod intake;
mod rows;

use self::event::Objects;
use self::intake::Desk;
use self::rows::{Row, Rows};
use super::net::Gate;
use super::net::options::idle;
use super::net::serve::on_runtime;
use super::sqlite::{Journal, Sync};
use super::ticks::interval;
use super::{Configured, Context, Input, InputContext, Plugin, Source};
use crate::job::{Block, Cursor, Position, SourceInfo};
use crate::kube::api::{Api, Whom, escaped};
use crate::kube::items::{Events, Items};
use crate::kube::{Access, list_metadata, parse_url};
use crate::log;
use crate::retry::Backoff;
use crate::shards::now;
use codecs::Bump;
use codecs::conf::values::{Bool, Int, Seconds, Text};
use codecs::conf::{Diagnostics, OptionSpec, Section};
use http::StatusCode;
use outputs::client::{Answer, Limits};
use outputs::net::{NetOptions, TlsOptions};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// While events are delivered, rows are written this often.
const WRITE_EVERY: Duration = Duration::from_millis(250);
/// After a failed write, the next attempt waits so long.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// From a request to the first line of its answer.
const RESPONSE_MAX: Duration = Duration::from_secs(60);
/// A watch that is silent for so much longer than it may take is dead.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// How long a watch without a limit may be silent; probes tell of a server that is gone.
const DAY: Duration = Duration::from_secs(86_400);
/// The longest wait after an error.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The most pages of a list.
const PAGES_MAX: usize = 10_000;

codecs::options! {
    /// Tells what happens in a Kubernetes cluster: each event of its API a record.
    pub struct Options {
        /// The API server: http:// or https://, host, port.
        kube_url "kube_url": One<Text> = "https://kubernetes.default.svc",
        /// Seconds between the end of a watch and the next.
        interval_sec "interval_sec": One<Int> = "0",
        /// Nanoseconds between the end of a watch and the next, besides `Interval_Sec`.
        interval_nsec "interval_nsec": One<Int> = "500000000",
        /// How long one watch may take; 0 leaves it to the API server.
        kube_watch_timeout "kube_watch_timeout": One<Seconds> = "10m",
        /// Verbosity of the TLS library.
        tls_debug "tls.debug": One<Int> = "0" => NoEffect("the reason of a failed handshake is always told"),
        /// Refuse an API server whose certificate does not lead to a trusted one.
        tls_verify "tls.verify": One<Bool> = "true",
        /// Name that is asked for (SNI) and checked, instead of the host.
        tls_vhost "tls.vhost": Opt<Text>,
        /// File with the certificates that the API server's has to lead to (PEM).
        kube_ca_file "kube_ca_file": One<Text> = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        /// Folder with such certificates.
        kube_ca_path "kube_ca_path": Opt<Text>,
        /// File with the token that we show to the API server.
        kube_token_file "kube_token_file": One<Text> = "/var/run/secrets/kubernetes.io/serviceaccount/token",
        /// After so long the token is read again.
        kube_token_ttl "kube_token_ttl": One<Seconds> = "10m",
        /// Events of one page of a list; 0 asks for all at once.
        kube_request_limit "kube_request_limit": One<Int> = "0",
        /// Events that are older are left out, and forgotten in the `DB`.
        kube_retention_time "kube_retention_time": One<Seconds> = "1h",
        /// Only events of this namespace.
        kube_namespace "kube_namespace": Opt<Text>,
        /// SQLite file that remembers what was delivered.
        db "db": Opt<Text>,
        /// How hard the `DB` syncs to the disk.
        db_sync "db.sync": One<Sync> = "normal",
        /// Keeps others from opening the `DB`.
        db_locking "db.locking": One<Bool> = "false",
        /// Journal mode of the `DB`.
        db_journal_mode "db.journal_mode": One<Journal> = "WAL",
        /// Found in old files.
        listen "listen": One<Text> = "0.0.0.0" => NoEffect("the API server is `Kube_URL`"),
        /// Found in old files.
        host "host": One<Text> = "localhost" => NoEffect("the API server is `Kube_URL`"),
        /// Found in old files.
        port "port": One<Int> = "0" => NoEffect("the API server is `Kube_URL`"),
    }
}

static TLS: [OptionSpec; TlsOptions::TABLE.len()] = idle(
    TlsOptions::TABLE,
    "TLS is as `kube_url`, `kube_ca_file`, `kube_ca_path`, `tls.verify` and `tls.vhost` of this input say",
);

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "kubernetes_events",
    about: Options::ABOUT,
    tables: &[Options::TABLE, NetOptions::TABLE, &TLS],
    configure,
};

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let options = Options::read(section, owner, diagnostics);
    NetOptions::read(section, owner, diagnostics);
    let url = &options.kube_url.0;
    let Some(api) = parse_url(url) else {
        let span = section.get("kube_url").map_or(&section.span, |e| &e.value_span);
        diagnostics.error(span, format!("{owner}: `kube_url` is `{url}`")).help(
            "rule: http://host:port or https://host:port, without a path; the port is 443 unless it is given",
        );
        return None;
    };
    let text = |text: Option<Text>| text.map(|t| t.0).filter(|t| !t.is_empty());
    let own = section.entries.iter().filter(|e| e.key.len() > 4 && e.key[..4].eq_ignore_ascii_case("net."));
    let access = Access {
        api,
        kubelet: None,
        ca_file: options.kube_ca_file.0,
        ca_path: text(options.kube_ca_path),
        verify: options.tls_verify.0,
        verify_hostname: false,
        vhost: text(options.tls_vhost),
        token_file: options.kube_token_file.0.into(),
        token_command: None,
        token_ttl: outputs::net::duration(options.kube_token_ttl.0),
        namespace_file: Default::default(),
        preload: None,
        node: None,
        net: own.map(|e| (e.key.to_ascii_lowercase(), e.value.clone())).collect(),
    };
    let mut notes = Vec::new();
    if options.db.is_none() {
        notes.push(format!("{owner}: without `db` a restart repeats the events of `kube_retention_time`"));
    }
    let settings = Settings {
        component: format!("input:kubernetes_events:{owner}"),
        tag: context.tag.into(),
        path: match text(options.kube_namespace) {
            Some(namespace) => format!("/api/v1/namespaces/{}/events", escaped(&namespace)),
            None => "/api/v1/events".to_owned(),
        },
        access,
        interval: interval(options.interval_sec.0, options.interval_nsec.0),
        watch: outputs::net::duration(options.kube_watch_timeout.0),
        page: u64::try_from(options.kube_request_limit.0).unwrap_or(0),
        retention: outputs::net::duration(options.kube_retention_time.0),
        db: options.db.map(|path| rows::Settings {
            path: path.0.into(),
            sync: options.db_sync.pragma(),
            exclusive: options.db_locking.0,
            journal_mode: options.db_journal_mode.pragma(),
        }),
    };
    Some(Configured {
        input: Box::new(settings),
        decoder: Arc::new(Objects),
        tags: vec![context.tag.to_owned()],
        notes,
    })
}

/// What the options compile into.
struct Settings {
    component: String,
    tag: Arc<str>,
    path: String,
    access: Access,
    interval: Duration,
    /// Zero: no limit.
    watch: Duration,
    page: u64,
    retention: Duration,
    db: Option<rows::Settings>,
}

/// Told how far the events are accepted.
#[derive(Default)]
struct Delivered {
    position: AtomicU64,
    changed: Notify,
    rereadable: bool,
}

impl Cursor for Delivered {
    fn committed(&self, position: Position) {
        self.position.fetch_max(position.offset, Ordering::AcqRel);
        self.changed.notify_one();
    }

    fn rereadable(&self) -> bool {
        self.rereadable
    }
}

/// The running input.
struct Following {
    settings: Settings,
    engine: InputContext,
    api: Api,
    source: Source,
    desk: Desk,
    delivered: Arc<Delivered>,
    /// Blocks that are under way: where each ends, and its events.
    under_way: RefCell<VecDeque<(u64, Vec<Row>)>>,
    /// Bytes that were submitted.
    at: Cell<u64>,
    rows: RefCell<Option<Rows>>,
    /// When rows are to be written.
    due: Cell<Option<Instant>>,
}

/// How a list or a watch ended.
enum Ended {
    /// As it should.
    Well,
    /// The program stops.
    Stopping,
    /// There has to be a new list.
    Stale(String),
    Failed(String),
}

impl Settings {
    /// Under which name a reload finds the version that was seen last.
    fn key(&self) -> String {
        format!("kubernetes_events:{}:{:?}{}", self.component, self.access.api, self.path)
    }
}

impl Input for Settings {
    fn run(self: Box<Self>, engine: InputContext) {
        match Following::new(*self, &engine) {
            Ok(following) => {
                let component = following.settings.component.clone();
                on_runtime(&component, &engine, async |gate: &Rc<Gate>| following.follow(gate).await);
                following.take_deliveries();
                following.write();
                // With a `DB`, that tells more.
                if following.settings.db.is_none() && engine.reloading() {
                    engine.keep(following.settings.key(), Arc::new(following.desk.newest()));
                }
            }
            Err(message) => {
                engine.fail(message);
                engine.quiet();
            }
        }
    }
}

impl Following {
    fn new(settings: Settings, engine: &InputContext) -> Result<Following, String> {
        let failed = |error: rusqlite::Error| {
            let path = settings.db.as_ref().map(|db| db.path.display().to_string()).unwrap_or_default();
            format!("could not open/create database {path}: {error}; its folder must exist and be writable")
        };
        let rows = settings.db.as_ref().map(|db| Rows::open(db, &settings.component, engine)).transpose();
        let rows = rows.map_err(failed)?;
        let seen = rows.as_ref().map(Rows::known).transpose().map_err(failed)?.unwrap_or_default();
        let kept = engine.kept(&settings.key()).pop().and_then(|(_, kept)| kept.downcast::<u64>().ok());
        let newest = if rows.is_some() { 0 } else { kept.map_or(0, |newest| *newest) };
        let delivered = Arc::new(Delivered { rereadable: rows.is_some(), ..Delivered::default() });
        let source = engine.open(SourceInfo {
            tag: settings.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: Some(delivered.clone()),
        });
        Ok(Following {
            api: Api::new(settings.access.clone(), &settings.component),
            desk: Desk::new(&settings.component, engine, settings.retention, seen, newest),
            engine: engine.clone(),
            source,
            delivered,
            under_way: RefCell::default(),
            at: Cell::new(0),
            rows: RefCell::new(rows),
            due: Cell::new(None),
            settings,
        })
    }

    /// Lists and watches for as long as the program runs.
    async fn follow(&self, gate: &Rc<Gate>) {
        let backoff = Backoff { base: self.settings.interval, cap: BACKOFF_MAX };
        let (mut attempt, mut listed, mut told) = (0, false, String::new());
        loop {
            let ended = match listed {
                false => self.list(gate).await,
                true => self.watch(gate).await,
            };
            let pause = match ended {
                Ended::Stopping => return,
                Ended::Well => {
                    if !told.is_empty() {
                        log!(Info, self.settings.component, "the API server answers again");
                        told.clear();
                    }
                    attempt = 0;
                    // A watch follows its list at once.
                    if std::mem::replace(&mut listed, true) { self.settings.interval } else { Duration::ZERO }
                }
                Ended::Stale(why) => {
                    log!(Info, self.settings.component, "events are listed again: {why}");
                    listed = false;
                    self.settings.interval
                }
                Ended::Failed(why) => {
                    self.engine.metrics().read_errors.fetch_add(1, Ordering::Relaxed);
                    if told != why {
                        let what = if listed { "watched" } else { "listed" };
                        log!(Error, self.settings.component, "events cannot be {what}: {why}; trying on");
                        told = why;
                    }
                    attempt += 1;
                    backoff.wait(attempt - 1)
                }
            };
            if !self.pause(gate, pause).await {
                return;
            }
        }
    }

    /// Waits; false when the program stops first.
    async fn pause(&self, gate: &Rc<Gate>, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            tokio::select! {
                biased;
                () = gate.stopped() => return false,
                () = tokio::time::sleep_until(end) => return true,
                () = self.rows_due() => self.write(),
            }
        }
    }

    /// All events, page by page.
    async fn list(&self, gate: &Rc<Gate>) -> Ended {
        let (settings, page) = (&self.settings, self.settings.page);
        let limits = Limits { response: RESPONSE_MAX, idle: RESPONSE_MAX, body_bytes: 0 };
        let (desk, mut more) = (&self.desk, None::<String>);
        for _ in 0..PAGES_MAX {
            let path = match (&more, page) {
                (None, 0) => settings.path.clone(),
                (None, page) => format!("{}?limit={page}", settings.path),
                (Some(token), page) => format!("{}?limit={page}&continue={}", settings.path, escaped(token)),
            };
            let (mut items, mut arena) = (Items::default(), Bump::new());
            let mut feed = |piece: &[u8]| {
                items.feed(piece, |text| {
                    desk.listed(text, &arena);
                    arena.reset();
                });
            };
            match self.stream(gate, &path, limits, &mut feed).await {
                Ended::Well => {}
                other => return other,
            }
            self.desk.count_large(items.too_large);
            let Some((version, token)) = items.envelope().and_then(list_metadata) else {
                return Ended::Failed("the answer is no whole list".to_owned());
            };
            more = token;
            if more.is_none() {
                let Ok(version) = version.parse() else {
                    return Ended::Failed(format!(
                        "the list has the version `{version}`, which is no number"
                    ));
                };
                desk.list_ends(version);
                return Ended::Well;
            }
        }
        Ended::Failed("the list has no end".to_owned())
    }

    /// What happens from the last known version on, until the server ends it.
    async fn watch(&self, gate: &Rc<Gate>) -> Ended {
        let desk = &self.desk;
        let newest = desk.newest();
        let mut path =
            format!("{}?watch=1&allowWatchBookmarks=true&resourceVersion={newest}", self.settings.path);
        let mut idle = DAY;
        if !self.settings.watch.is_zero() {
            path.push_str(&format!("&timeoutSeconds={}", self.settings.watch.as_secs().max(1)));
            idle = self.settings.watch + SILENCE_MAX;
        }
        let limits = Limits { response: RESPONSE_MAX, idle, body_bytes: 0 };
        let (mut events, mut arena) = (Events::default(), Bump::new());
        let mut feed = |piece: &[u8]| {
            events.feed(piece, |line| {
                desk.watched(line, &arena);
                arena.reset();
            });
        };
        let ended = self.stream(gate, &path, limits, &mut feed).await;
        self.desk.count_large(events.too_large);
        ended
    }

    /// One request whose answer is handed to `feed` as it comes, and what that makes of it to the workers.
    async fn stream(
        &self,
        gate: &Rc<Gate>,
        path: &str,
        limits: Limits,
        feed: &mut (dyn FnMut(&[u8]) + Send + '_),
    ) -> Ended {
        let news = Notify::new();
        let mut sink = |piece: &[u8]| {
            feed(piece);
            news.notify_one();
        };
        let get = self.api.get(Whom::Api, path, limits, Some(&mut sink));
        tokio::pin!(get);
        let answer = loop {
            tokio::select! {
                biased;
                () = gate.stopped() => break None,
                () = news.notified() => {
                    self.hand_over(gate).await;
                    if self.desk.is_stale() {
                        break None;
                    }
                }
                () = self.rows_due() => self.write(),
                answer = &mut get => break Some(answer),
            }
        };
        self.hand_over(gate).await;
        if let Some(why) = self.desk.take_stale() {
            return Ended::Stale(why);
        }
        match answer {
            None => Ended::Stopping,
            Some(answer) => judged(answer),
        }
    }

    /// Hands what came to the workers, once there is memory for it.
    async fn hand_over(&self, gate: &Rc<Gate>) {
        let (buffer, rows) = self.desk.take();
        if buffer.is_empty() {
            return;
        }
        if !gate.admit(buffer.capacity(), Some(&self.source)).await {
            // The program stops; what is whole is submitted.
            self.engine.take(buffer.capacity());
        }
        let (end, offset) = (buffer.len(), self.at.get());
        self.at.set(offset + end as u64);
        if self.delivered.rereadable {
            self.under_way.borrow_mut().push_back((self.at.get(), rows));
        }
        let block = Block { buffer, start: 0, end, position: Position { file: 0, offset } };
        self.engine.submit(&self.source, block, Position { file: 0, offset: self.at.get() });
    }

    /// Waits until something was delivered, and its time to be written has come.
    async fn rows_due(&self) {
        loop {
            self.take_deliveries();
            match self.due.get() {
                Some(due) => return tokio::time::sleep_until(due).await,
                None => self.delivered.changed.notified().await,
            }
        }
    }

    /// What was delivered is to be written.
    fn take_deliveries(&self) {
        let position = self.delivered.position.load(Ordering::Acquire);
        let (mut under_way, mut rows) = (self.under_way.borrow_mut(), self.rows.borrow_mut());
        while under_way.front().is_some_and(|(end, _)| *end <= position) {
            if let (Some((_, done)), Some(rows)) = (under_way.pop_front(), rows.as_mut()) {
                rows.put(done);
                self.due.set(self.due.get().or_else(|| Some(Instant::now() + WRITE_EVERY)));
            }
        }
    }

    fn write(&self) {
        self.take_deliveries();
        if let Some(rows) = self.rows.borrow_mut().as_mut() {
            let written = rows.write(self.desk.oldest(now()), &self.engine);
            self.due.set((!written).then(|| Instant::now() + RETRY_AFTER));
        }
    }
}

/// How a request ended.
fn judged(answer: Result<Answer, String>) -> Ended {
    match answer {
        Ok(answer) if answer.status == StatusCode::OK => Ended::Well,
        Ok(answer) if answer.status == StatusCode::GONE => {
            Ended::Stale("its version is too old (410)".into())
        }
        Ok(answer) if answer.status == StatusCode::FORBIDDEN => Ended::Failed(
            "the API server refuses it (403): the service account needs the verbs list and watch on events"
                .into(),
        ),
        Ok(answer) => Ended::Failed(format!("the API server answers {}", answer.status)),
        Err(error) => Ended::Failed(error),
    }
}
