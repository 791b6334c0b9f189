//! Input systemd: the journal, through libsystemd.
//!
//! Owns: where reading begins and goes on, the wait for news, how far is delivered. Never: looks inside a field; stores
//! the cursor of an entry that is not delivered. Parts: `library` (libsystemd), `entries` (to records), `cursor` (the
//! `DB`).
//! Invariants: an entry is in one block, in the order of the journal; a restart goes on behind the last entry that was
//! delivered, or where that is gone, with the one that follows it.

mod cursor;
mod entries;
mod library;

use self::cursor::Store;
use self::entries::{Entries, Entry};
use self::library::{Data, Journal, News};
use super::net::text::Bad;
use super::sqlite::Sync;
use super::ticks::{Ticks, sleep};
use super::{Configured, Context, Input, InputContext, Plugin, Source};
use crate::job::{Block, Cursor, Position, SourceInfo};
use crate::log;
use codecs::conf::values::{Bool, Int, Text};
use codecs::conf::{Diagnostics, Section};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Capacity of a block.
const BLOCK_BYTES: usize = 64 * 1024;
/// A block of so many bytes is full: the next entry might not fit.
const FULL_BYTES: usize = 48 * 1024;
/// A compressed field is opened up to so many bytes; what is longer is cut there, and told.
const FIELD_BYTES_MAX: usize = 1 << 20;
/// Entries that come closer together than this are read at once.
const GATHER: Duration = Duration::from_millis(10);
/// After an error the journal is opened again so much later.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// What is kept on a reload: the cursor of the last delivered entry.
const KEPT: &str = "systemd:";

codecs::choice! {
    /// Which filters an entry has to fit.
    pub enum Combined { And "and", Or "or" }
}

codecs::options! {
    /// Reads the journal of systemd, and remembers in a `DB` what was delivered. It needs libsystemd, which is loaded when
    /// it is used.
    pub struct Options {
        /// Folder of journal files; without it, those of this machine.
        path "Path": Opt<Text>,
        /// Fields that are taken of an entry at most.
        max_fields "Max_Fields": One<Int> = "8000",
        /// Entries that are taken at once at most.
        max_entries "Max_Entries": One<Int> = "5000",
        /// Whether an entry has to fit all of the filters or one.
        systemd_filter_type "Systemd_Filter_Type": One<Combined> = "or",
        /// Takes entries with this field only: `_SYSTEMD_UNIT=kubelet.service`. It may stand more than once.
        systemd_filter "Systemd_Filter": Many<Text>,
        /// Begins behind the entries that are there, where the `DB` does not tell more.
        read_from_tail "Read_From_Tail": One<Bool> = "false",
        /// Keys in lower case.
        lowercase "Lowercase": One<Bool> = "false",
        /// Keys without their first underscore.
        strip_underscores "Strip_Underscores": One<Bool> = "false",
        /// How hard the `DB` syncs to the disk: extra, full, normal, off.
        db_sync "DB.Sync": Opt<Sync>,
        /// SQLite file that remembers what was delivered.
        db "DB": Opt<Text>,
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "systemd", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let options = Options::read(section, owner, diagnostics);
    let filters_good = check_filters(section, owner, diagnostics);
    if let Err(error) = library::probe() {
        diagnostics
            .error(&section.span, format!("{owner}: {} cannot be loaded ({error})", library::NAME))
            .help("install it: libsystemd0 (Debian, Ubuntu), systemd-libs (RHEL, Amazon Linux, Fedora)");
        return None;
    }
    if !filters_good {
        return None;
    }
    let mut notes = Vec::new();
    if options.db.is_none() {
        let what = match options.read_from_tail.0 {
            true => "loses what is written while the program is down",
            false => "reads the whole journal again",
        };
        notes.push(format!("{owner}: without `db` a restart {what}"));
    }
    let component = format!("input:systemd:{owner}");
    let decoder = Entries {
        tag: context.tag.split_once('*').map(|(before, behind)| (before.to_owned(), behind.to_owned())),
        lowercase: options.lowercase.0,
        strip_underscores: options.strip_underscores.0,
        bad: Bad::new(&component),
    };
    let number = |n: i64| usize::try_from(n).unwrap_or(0);
    let settings = Settings {
        component,
        tag: context.tag.into(),
        path: options.path.map(|p| PathBuf::from(p.0)),
        filters: options.systemd_filter.into_iter().map(|f| f.0).collect(),
        all_filters: options.systemd_filter_type == Combined::And,
        from_tail: options.read_from_tail.0,
        fields_max: number(options.max_fields.0),
        entries_max: number(options.max_entries.0).max(1),
        db: options.db.map(|p| PathBuf::from(p.0)),
        db_sync: options.db_sync.map(Sync::pragma),
    };
    Some(Configured {
        input: Box::new(settings),
        decoder: Arc::new(decoder),
        tags: vec![context.tag.to_owned()],
        notes,
    })
}

/// Reports filters that libsystemd would refuse; true when there is none.
fn check_filters(section: &Section, owner: &str, diagnostics: &mut Diagnostics) -> bool {
    let filters = section.entries.iter().filter(|e| e.key.eq_ignore_ascii_case("Systemd_Filter"));
    let wrong: Vec<_> = filters.filter(|e| !is_match(&e.value)).collect();
    for entry in &wrong {
        diagnostics
            .error(&entry.value_span, format!("{owner}: `systemd_filter` is `{}`", entry.value))
            .help("rule: NAME=value, the name of capital letters, digits and underscores, two of which do not begin it");
    }
    wrong.is_empty()
}

/// What libsystemd takes as a match.
fn is_match(text: &str) -> bool {
    let name_fits = |name: &str| {
        !name.is_empty()
            && !name.starts_with("__")
            && name.bytes().all(|b| b == b'_' || b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    text.split_once('=').is_some_and(|(name, _)| name_fits(name))
}

/// What the options compile into.
struct Settings {
    component: String,
    tag: Arc<str>,
    path: Option<PathBuf>,
    filters: Vec<String>,
    all_filters: bool,
    from_tail: bool,
    fields_max: usize,
    entries_max: usize,
    db: Option<PathBuf>,
    db_sync: Option<u8>,
}

impl Settings {
    /// Opens the journal, with its filters; from now on its folders are watched.
    fn open(&self) -> std::io::Result<Journal> {
        let mut journal = Journal::open(self.path.as_deref())?;
        journal.set_field_limit(FIELD_BYTES_MAX)?;
        for filter in &self.filters {
            journal.add_match(filter, self.all_filters)?;
        }
        journal.fd()?;
        Ok(journal)
    }

    /// Under which name a reload finds the cursor.
    fn key(&self) -> String {
        format!("{KEPT}{}:{}", self.component, self.path.as_deref().unwrap_or("".as_ref()).display())
    }
}

impl Input for Settings {
    fn run(self: Box<Self>, engine: InputContext) {
        match Reading::new(*self, engine.clone()) {
            Ok(mut reading) => reading.run(),
            Err(message) => {
                engine.fail(message);
                engine.quiet();
            }
        }
    }
}

/// Told how far the records are accepted.
struct Delivered {
    position: AtomicU64,
    rereadable: bool,
}

impl Cursor for Delivered {
    fn committed(&self, position: Position) {
        self.position.fetch_max(position.offset, Ordering::AcqRel);
    }

    fn rereadable(&self) -> bool {
        self.rereadable
    }
}

/// The running input.
struct Reading {
    settings: Settings,
    engine: InputContext,
    journal: Journal,
    source: Source,
    delivered: Arc<Delivered>,
    /// Blocks that are under way: where each ends, and the cursor of its last entry.
    under_way: VecDeque<(u64, CString)>,
    /// Bytes that were submitted.
    at: u64,
    /// The last entry that was submitted, or before which reading begins.
    last: Option<CString>,
    /// The next step leads to the entry of `last`, which is not read again.
    resuming: bool,
    /// The last entry that was delivered.
    done: Option<CString>,
    bad: Bad,
    store: Option<Store>,
}

impl Reading {
    /// Opens what it needs and finds where to begin; the error ends the program.
    fn new(settings: Settings, engine: InputContext) -> Result<Reading, String> {
        if let Some(path) = settings.path.as_ref().filter(|path| !path.is_dir()) {
            return Err(format!("the journal's path {} is not a folder; mount or make it", path.display()));
        }
        let journal = settings.open().map_err(|error| {
            format!("could not open the journal: {error}; its files must be readable (group systemd-journal)")
        })?;
        let store = settings
            .db
            .as_ref()
            .map(|path| Store::open(&settings.component, path, settings.db_sync, &engine));
        let rereadable = store.is_some() || engine.hot_reload();
        let delivered = Arc::new(Delivered { position: AtomicU64::new(0), rereadable });
        let source = engine.open(SourceInfo {
            tag: settings.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: Some(delivered.clone()),
        });
        let mut reading = Reading {
            bad: Bad::new(&settings.component),
            settings,
            engine,
            journal,
            source,
            delivered,
            under_way: VecDeque::new(),
            at: 0,
            last: None,
            resuming: false,
            done: None,
            store,
        };
        reading.begin().map_err(|error| format!("could not find a place in the journal: {error}"))?;
        Ok(reading)
    }

    /// Goes to where reading begins.
    fn begin(&mut self) -> std::io::Result<()> {
        let kept = || self.engine.kept(&self.settings.key()).pop()?.1.downcast::<CString>().ok();
        let known = match &mut self.store {
            Some(store) => store.cursor(&self.engine),
            None => kept().map(|cursor| (*cursor).clone()),
        };
        if let Some(cursor) = known {
            match self.journal.seek_cursor(&cursor) {
                Ok(()) => {
                    log!(Info, self.settings.component, "goes on behind {}", cursor.to_string_lossy());
                    self.resume_at(cursor);
                    return Ok(());
                }
                Err(error) => {
                    let cursor = cursor.to_string_lossy();
                    log!(Warn, self.settings.component, "the `DB` holds no cursor but `{cursor}`: {error}");
                }
            }
        }
        if !self.settings.from_tail {
            return self.journal.seek_head();
        }
        self.journal.seek_tail()?;
        if !self.journal.previous()? {
            // Nothing is there: all that comes is new.
            return self.journal.seek_head();
        }
        // By its cursor, as a step forward from the end may lead to old entries (systemd issue 9934).
        let end = self.journal.cursor()?;
        self.journal.seek_cursor(&end)?;
        if let Some(store) = &mut self.store {
            // Killed before anything is delivered, it still misses nothing.
            store.put(end.clone());
            store.write(true, &self.engine);
        }
        self.resume_at(end);
        Ok(())
    }

    /// The next step leads to the entry of this cursor, which is done with.
    fn resume_at(&mut self, cursor: CString) {
        (self.done, self.last, self.resuming) = (Some(cursor.clone()), Some(cursor), true);
    }

    fn run(&mut self) {
        while !self.engine.stopping() {
            self.take_deliveries();
            if self.engine.blocked(&self.source) || !self.engine.admit(BLOCK_BYTES) {
                sleep(&self.engine, self.until_due());
                continue;
            }
            let mut buffer = self.engine.buffer(BLOCK_BYTES);
            match self.fill(&mut buffer) {
                Ok(more) => {
                    self.submit(buffer);
                    if !more {
                        self.wait();
                    }
                }
                Err(error) => {
                    self.engine.recycle(buffer);
                    self.engine.release(BLOCK_BYTES);
                    self.reopen(&error);
                }
            }
        }
        self.stop();
    }

    /// Reads entries into a block; false when there are no more now.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
        let mut entries = 0;
        while entries < self.settings.entries_max && buffer.len() < FULL_BYTES {
            if !self.journal.next()? {
                if entries > 0 {
                    self.last = Some(self.journal.cursor()?);
                }
                return Ok(false);
            }
            if std::mem::take(&mut self.resuming)
                && let Some(last) = &self.last
            {
                if self.journal.is_at(last)? {
                    continue;
                }
                log!(
                    Warn,
                    self.settings.component,
                    "the entry that was delivered last is not in the journal any more: those that followed it may have \
                     been removed, too"
                );
            }
            self.entry(buffer);
            entries += 1;
        }
        self.last = Some(self.journal.cursor()?);
        Ok(true)
    }

    /// Reads one entry; what cannot be read of it is counted and told.
    fn entry(&mut self, buffer: &mut Vec<u8>) {
        let (metrics, bad) = (self.engine.metrics(), &self.bad);
        let tell = |what: &str| {
            metrics.read_errors.fetch_add(1, Ordering::Relaxed);
            bad.tell(what);
        };
        let unreadable = |what: &str, error: &std::io::Error| {
            tell(&format!("{what} cannot be read, and is left out: {error}"));
        };
        let micros = match self.journal.realtime() {
            Ok(micros) => micros,
            Err(error) => return unreadable("an entry", &error),
        };
        let (mut entry, mut fields) = (Entry::begin(buffer, micros), 0);
        loop {
            match self.journal.field() {
                Ok(Data::Field(mut field)) => {
                    if field.len() >= FIELD_BYTES_MAX {
                        field = &field[..FIELD_BYTES_MAX];
                        tell(&format!("a field is longer than {FIELD_BYTES_MAX} bytes, and is cut there"));
                    }
                    entry.field(field, fields < self.settings.fields_max);
                    fields += 1;
                }
                Ok(Data::Unreadable(error)) => unreadable("a field", &error),
                Ok(Data::End) => break,
                Err(error) => {
                    unreadable("the rest of an entry", &error);
                    break;
                }
            }
        }
        entry.end();
    }

    fn submit(&mut self, buffer: Vec<u8>) {
        if buffer.is_empty() {
            self.engine.recycle(buffer);
            return self.engine.release(BLOCK_BYTES);
        }
        self.engine.settle(BLOCK_BYTES, buffer.capacity());
        let (end, position) = (buffer.len(), Position { file: 0, offset: self.at });
        self.at += end as u64;
        if self.delivered.rereadable
            && let Some(last) = &self.last
        {
            self.under_way.push_back((self.at, last.clone()));
        }
        let block = Block { buffer, start: 0, end, position };
        self.engine.submit(&self.source, block, Position { file: 0, offset: self.at });
    }

    /// Waits for the journal, the engine, or the time to write.
    fn wait(&mut self) {
        sleep(&self.engine, Some(GATHER));
        let timeout = self.until_due().into_iter().chain(self.journal.timeout()).min();
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        let events = self.journal.events();
        let changed = {
            let Ok(fd) = self.journal.fd() else { return };
            let wake = self.engine.wake_fd();
            let mut fds = [PollFd::new(&wake, PollFlags::IN), PollFd::new(&fd, events)];
            // An interrupted wait is one that ended.
            let _ = poll(&mut fds, timeout.as_ref());
            if fds[0].revents().contains(PollFlags::IN) {
                let _ = rustix::io::read(wake, &mut [0; 8]);
            }
            !fds[1].revents().is_empty() || timeout.is_some()
        };
        if !changed {
            return;
        }
        match self.journal.process() {
            Ok(News::Entries) => {}
            Ok(News::Files) => log!(Debug, self.settings.component, "journal files came or went"),
            Err(error) => self.reopen(&error),
        }
    }

    /// How long until the cursor is to be looked at or written.
    fn until_due(&self) -> Option<Duration> {
        let store = self.store.as_ref()?;
        // Nobody rings for a delivery.
        let look = (!self.under_way.is_empty()).then_some(cursor::WRITE_EVERY);
        let due = store.due().map(|at| at.saturating_duration_since(Instant::now()));
        look.into_iter().chain(due).min()
    }

    /// Takes what was delivered, and writes it when its time has come.
    fn take_deliveries(&mut self) {
        let position = self.delivered.position.load(Ordering::Acquire);
        let mut cursor = None;
        while self.under_way.front().is_some_and(|(end, _)| *end <= position) {
            cursor = self.under_way.pop_front().map(|(_, cursor)| cursor);
        }
        match (&mut self.store, cursor) {
            (Some(store), Some(cursor)) => store.put(cursor),
            (None, Some(cursor)) => self.done = Some(cursor),
            _ => {}
        }
        if let Some(store) = &mut self.store {
            store.write(false, &self.engine);
        }
    }

    /// Opens the journal again where it was, after a while.
    fn reopen(&mut self, error: &std::io::Error) {
        self.engine.metrics().read_errors.fetch_add(1, Ordering::Relaxed);
        log!(Error, self.settings.component, "the journal cannot be read ({error}): it is opened again");
        if !Ticks::new(REOPEN_AFTER).wait(&self.engine) {
            return;
        }
        let opened = self.settings.open().and_then(|mut journal| {
            match &self.last {
                Some(last) => journal.seek_cursor(last)?,
                None => journal.seek_head()?,
            }
            Ok(journal)
        });
        // Where it fails, the next read fails, too, and leads here again.
        if let Ok(journal) = opened {
            (self.journal, self.resuming) = (journal, self.last.is_some());
        }
    }

    /// Waits for what is under way, then writes the last cursor.
    fn stop(&mut self) {
        self.engine.close(&self.source);
        self.engine.quiet();
        while !self.engine.drained() {
            sleep(&self.engine, Some(cursor::WRITE_EVERY));
            self.take_deliveries();
        }
        self.take_deliveries();
        if let Some(store) = &mut self.store {
            store.write(true, &self.engine);
        } else if self.engine.reloading()
            && let Some(cursor) = self.done.take()
        {
            self.engine.keep(self.settings.key(), Arc::new(cursor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_match;

    #[test]
    fn matches_are_those_of_libsystemd() {
        for good in ["_SYSTEMD_UNIT=a.service", "A=", "_1=x=y"] {
            assert!(is_match(good), "{good}");
        }
        for bad in ["", "=", "unit=x", "A", "__CURSOR=x", "A B=x"] {
            assert!(!is_match(bad), "{bad}");
        }
    }
}
