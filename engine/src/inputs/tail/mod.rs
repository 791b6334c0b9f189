//! Input tail: lines appended to files, through rotations, with offsets that follow deliveries.
//!
//! Owns: the plugin, its compiled settings, the event loop of one input (one thread, one inotify, one ring).
//! Never: looks inside a line (the decoder does, on the workers). Parts: `discover` (which files), `read` (lines),
//! `rows` (the `DB`), `spare` (without it), `resume` (after a restart), `copies` (what comes twice), `turns` (more files
//! than descriptors), `state` (the data).

mod copies;
mod cut;
mod database;
mod discover;
mod encoding;
mod glob;
mod gzip;
mod half;
mod handover;
mod identity;
#[cfg(test)]
mod interleavings;
mod life;
mod options;
mod pieces;
mod read;
mod resume;
mod rows;
mod siblings;
mod spare;
mod state;
#[cfg(test)]
mod steps;
mod tag;
#[cfg(test)]
mod tests;
mod truncated;
mod turns;
mod watch;

use self::database::Database;
use self::discover::{Moved, Name};
use self::encoding::Encoding;
use self::glob::Pattern;
use self::options::Options;
use self::resume::Remembered;
use self::state::{Chain, File, Id, News, Slab, Slot};
use self::tag::Tagger;
use self::turns::Waiting;
use self::watch::{Event, Folder, Watcher};
use super::{Configured, Context, Input, InputContext, Plugin, parser_named};
use crate::decode::{Grouping, LineDecoder, LineOptions};
use crate::io::Reader;
use crate::log;
use codecs::conf::nearest;
use codecs::conf::options::is_sound;
use codecs::conf::values::Size;
use codecs::conf::{Diagnostics, Section};
use codecs::multiline::{Chain as Rules, DockerMode, FirstLine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A block is at least so large when a file is far behind.
const BLOCK_BYTES: usize = 256 * 1024;
/// Events that come closer together than this are taken at once: fewer system calls per byte on busy files.
const GATHER: Duration = Duration::from_millis(10);
/// How often files are looked at of which the kernel may not tell (renamed away, removed).
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often all files are compared with what was read, in case an event was missed.
const DEEP_EVERY: Duration = Duration::from_secs(60);
/// How often the lag of files that are behind is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// Descriptors that are left to outputs, connections and databases, however many files there are: else nothing that is
/// read could be delivered.
const DESCRIPTORS_LEFT: u64 = 256;

/// What the options compile into.
#[derive(Clone, Debug)]
struct Settings {
    /// `input:tail:tail.0`, for messages.
    name: String,
    patterns: Vec<Pattern>,
    exclude: Vec<Vec<u8>>,
    tagger: Tagger,
    read_from_head: bool,
    read_new_from_head: bool,
    refresh: Duration,
    progress: Duration,
    rotate_wait: Duration,
    ignore_older: Duration,
    ignore_active: bool,
    block_bytes: usize,
    /// A line of so many bytes is too long.
    line_limit: usize,
    /// What the files are in.
    encoding: Encoding,
    skip_long: bool,
    exit_on_eof: bool,
    cache_advise: bool,
    inotify: bool,
    db: Option<database::Settings>,
    compare_filename: bool,
}

/// A configured input, before it runs.
struct Configuration {
    settings: Settings,
}

/// A running input.
struct Tail {
    settings: Settings,
    engine: InputContext,
    reader: Reader,
    watcher: Watcher,
    /// File descriptors from this number on are for the rest of the program.
    descriptors: u64,
    database: Option<Database>,
    files: Slab<File>,
    slots: Slab<Slot>,
    chains: Slab<Chain>,
    by_path: HashMap<PathBuf, Id>,
    by_inode: HashMap<(u64, u64), Id>,
    names: HashMap<(Folder, OsString), Name>,
    /// Files that have something to read, in turn.
    ready: VecDeque<Id>,
    orphans: Vec<Id>,
    /// The file whose line may grow beyond a block while half lines take their share of memory.
    growing: Option<Id>,
    /// Files that wait for their turn to do so; they count as queued.
    stalled: VecDeque<Id>,
    /// Files that may repeat others.
    copies: Vec<Id>,
    /// Files that wait for a descriptor.
    waiting: Waiting,
    /// Sizes of files that were left because of their age.
    ignored: HashMap<PathBuf, u64>,
    /// What was complained about.
    told: HashSet<(PathBuf, &'static str)>,
    news: Arc<News>,
    /// Chains of which something is on its way.
    undelivered: HashSet<Id>,
    /// What the `DB` said at the start.
    remembered: Remembered,
    /// Rows to delete with the next write: of what has another row by then.
    old_rows: Vec<i64>,
    dirty_rows: Vec<Id>,
    new_rows: bool,
    write_rows_at: Option<Instant>,
    /// When rows were written last.
    rows_written: Option<Instant>,
    /// When it began to read, and when the first delivery was seen.
    begun: Instant,
    delivering: Option<Instant>,
    database_down: bool,
    /// The `DB` could not be opened: it is in memory, and tried again at this time.
    reopen_at: Option<Instant>,
    events: Vec<Event>,
    moved: Vec<Moved>,
    /// When a name that no path leads over last appeared in a folder.
    strangers: HashMap<Folder, (i64, i64)>,
    /// A scan is needed: for new names, or for everything.
    search: bool,
    rescan: bool,
    first_scan: bool,
    opened_any: bool,
    /// A file was opened since this was reset.
    opened: bool,
    ended: bool,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "tail", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let options = Options::read(section, context.name, diagnostics);
    let settings = settings(&options, section, context, diagnostics);
    let decoder = decoder(&options, section, context, diagnostics);
    let (settings, decoder) = (settings?, decoder?);
    let mut notes = Vec::new();
    if settings.db.is_none() {
        notes.push(format!(
            "{}: without `db` a restart {}",
            context.name,
            match settings.read_from_head {
                true => "reads all files again from their head",
                false => "loses what is written while the program is down",
            }
        ));
    }
    let tags = vec![settings.tagger.pattern()];
    Some(Configured { input: Box::new(Configuration { settings }), decoder, tags, notes })
}

/// How lines become records.
fn decoder(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn crate::decode::Decoder>> {
    let span = |key: &str| section.get(key).map_or(&section.span, |e| &e.value_span);
    let parser = options.parser.as_ref().and_then(|name| {
        let found = context.parsers.get(&name.0).cloned();
        if found.is_none() {
            // As in Fluent Bit: the lines stay as they are.
            let warning = diagnostics.warning(
                span("Parser"),
                format!("{}: parser `{}` is not defined; lines stay as they are", context.name, name.0),
            );
            if let Some(near) = nearest(&name.0, context.parsers.keys().map(String::as_str)) {
                warning.help(format!("did you mean `{near}`?"));
            }
        }
        found
    });
    let grouping = grouping(options, section, context, diagnostics)?;
    // As in Fluent Bit: joined lines are not parsed once more.
    let parser = parser.filter(|_| !matches!(grouping, Some(Grouping::FirstLine(..))));
    Some(Arc::new(LineDecoder::new(LineOptions {
        key: options.key.0.clone(),
        parser,
        multiline: grouping,
        path_key: options.path_key.as_ref().map(|t| t.0.clone()),
        offset_key: options.offset_key.as_ref().map(|t| t.0.clone()),
        skip_empty_lines: options.skip_empty_lines.0,
    })))
}

/// What makes one record of several lines; `multiline.parser` wins over the modes of old versions, as in Fluent Bit.
/// `None` when an error was reported.
fn grouping(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Option<Grouping>> {
    let chain = multiline(options, section, context, diagnostics)?;
    let (docker, first_line) = (options.docker_mode.0, options.multiline.0);
    if docker && first_line {
        let span = section.get("Docker_Mode").map_or(&section.span, |e| &e.value_span);
        let message = format!("{}: `docker_mode` cannot stand beside `multiline on`", context.name);
        diagnostics.error(span, message);
        return None;
    }
    let first_line = match first_line {
        true => Some(by_first_line(options, section, context, diagnostics)?),
        false => None,
    };
    let docker = || docker.then(|| docker_mode(options, section, context, diagnostics));
    Some(chain.map(Grouping::Chain).or(first_line).or_else(docker))
}

/// `Multiline On`.
fn by_first_line(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Grouping> {
    let span = |key: &str| section.get(key).map_or(&section.span, |e| &e.value_span);
    if options.parser.is_some() {
        let message = format!("{}: with `multiline on`, `parser` has no effect", context.name);
        diagnostics.warning(span("Parser"), message);
    }
    let Some(name) = &options.parser_firstline else {
        let message = format!("{}: `multiline` needs a `parser_firstline`", context.name);
        diagnostics.error(span("Multiline"), message);
        return None;
    };
    let first = parser_named(&name.0, "Parser_Firstline", section, context, diagnostics);
    let is_other = |key: &str| key.starts_with("parser_") && key != "parser_firstline";
    let entries = section.entries.iter().filter(|e| is_other(&e.key.to_ascii_lowercase()));
    let others: Vec<_> =
        entries.map(|e| parser_named(&e.value, &e.key, section, context, diagnostics)).collect();
    let mode = FirstLine {
        first: first?,
        others: others.into_iter().collect::<Option<_>>()?,
        limit: context.multiline_limit,
    };
    Some(Grouping::FirstLine(mode, milliseconds(options.multiline_flush.0 as i64)))
}

/// `Docker_Mode On`.
fn docker_mode(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Grouping {
    let parser = options.docker_mode_parser.as_ref().and_then(|name| {
        let found = context.parsers.get(&name.0).cloned();
        if found.is_none() {
            // As in Fluent Bit: line feeds alone then end a record.
            let span = section.get("Docker_Mode_Parser").map_or(&section.span, |e| &e.value_span);
            diagnostics.warning(span, format!("{}: parser `{}` is not defined", context.name, name.0));
        }
        found
    });
    let mode = DockerMode { parser, limit: context.multiline_limit };
    Grouping::DockerMode(mode, milliseconds(options.docker_mode_flush.0))
}

/// A time to wait in seconds, where what is not above 0 counts as 1, as in Fluent Bit.
fn milliseconds(seconds: i64) -> u64 {
    seconds.clamp(1, 86_400).unsigned_abs() * 1000
}

/// The chain of `multiline.parser`; `None` when a name is unknown.
fn multiline(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Option<Rules>> {
    let names: Vec<&String> = options.multiline_parser.iter().flat_map(|list| &list.0).collect();
    let span = section.get("multiline.parser").map_or(&section.span, |e| &e.value_span);
    let mut chain = Vec::new();
    for name in &names {
        match context.multiline.get(*name) {
            Some(parser) => chain.push(parser.clone()),
            None => {
                let error = diagnostics
                    .error(span, format!("{}: multi-line parser `{name}` is not defined", context.name));
                if let Some(near) = nearest(name, context.multiline.keys().map(String::as_str)) {
                    error.help(format!("did you mean `{near}`?"));
                }
            }
        }
    }
    if chain.len() < names.len() {
        return None;
    }
    if chain.is_empty() {
        return Some(None);
    }
    match Rules::new(chain, None) {
        Ok(chain) => Some(Some(chain.with_limit(context.multiline_limit))),
        Err(rule) => {
            diagnostics.error(span, format!("{}: `multiline.parser`: {rule}", context.name));
            None
        }
    }
}

/// Reports what is wrong with the options; true when nothing is.
fn check(options: &Options, section: &Section, owner: &str, diagnostics: &mut Diagnostics) -> bool {
    let span = |key: &str| section.get(key).map_or_else(|| section.span.clone(), |e| e.value_span.clone());
    let mut good = true;
    if options.path.as_ref().is_none_or(|list| list.0.is_empty()) {
        diagnostics
            .error(&section.span, format!("{owner}: `path` is missing"))
            .help("rule: name at least one file or pattern");
        good = false;
    }
    let sound = ["Buffer_Max_Size", "Buffer_Chunk_Size"].iter().all(|key| is_sound::<Size>(section, key));
    if sound && options.buffer_chunk_size.0 > options.buffer_max_size.0 {
        diagnostics.error(
            &span("Buffer_Max_Size"),
            format!("{owner}: `buffer_max_size` is below `buffer_chunk_size`"),
        );
        good = false;
    }
    for (key, seconds) in
        [("Rotate_Wait", options.rotate_wait.0), ("Refresh_Interval", options.refresh_interval.0)]
    {
        if seconds <= 0.0 {
            diagnostics
                .error(&span(key), format!("{owner}: `{}` is 0", key.to_lowercase()))
                .help("rule: more than 0");
            good = false;
        }
    }
    good
}

/// Compiles the options; reports what is wrong with them.
fn settings(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Settings> {
    let owner = context.name;
    let good = check(options, section, owner, diagnostics);
    let tagger = Tagger::new(context.tag, options.tag_regex.as_ref().map(|t| t.0.as_str()));
    let tagger = tagger.map_err(|rule| {
        diagnostics
            .error(
                section.get("Tag_Regex").map_or(&section.span, |e| &e.value_span),
                format!("{owner}: `tag_regex` is not a regular expression"),
            )
            .help(rule);
    });
    let encoding = Encoding::of(options, section, owner, diagnostics);
    let home = std::env::var_os("HOME");
    let seconds = outputs::net::duration;
    let nanos = Duration::from_nanos(u64::try_from(options.progress_check_interval_nsec.0).unwrap_or(0));
    let db = options.db.as_ref().map(|path| database::Settings {
        path: PathBuf::from(&path.0),
        sync: options.db_sync.pragma(),
        exclusive: options.db_locking.0,
        journal_mode: options.db_journal_mode.pragma(),
    });
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    good.then_some(Settings {
        name: format!("input:tail:{}", context.name),
        patterns: options
            .path
            .iter()
            .flat_map(|list| &list.0)
            .map(|p| Pattern::new(p, home.as_deref()))
            .collect(),
        exclude: options
            .exclude_path
            .iter()
            .flat_map(|list| &list.0)
            .map(|p| p.as_bytes().to_vec())
            .collect(),
        tagger: tagger.ok()?,
        read_from_head: options.read_from_head.0,
        read_new_from_head: options.read_newly_discovered_files_from_head.0,
        refresh: seconds(options.refresh_interval.0),
        progress: (seconds(options.progress_check_interval.0) + nanos).max(Duration::from_millis(10)),
        rotate_wait: seconds(options.rotate_wait.0),
        ignore_older: seconds(options.ignore_older.0),
        ignore_active: options.ignore_active_older_files.0,
        block_bytes: BLOCK_BYTES,
        line_limit: encoding?.whole(bytes(options.buffer_max_size.0).saturating_sub(1).max(1)),
        encoding: encoding?,
        skip_long: options.skip_long_lines.0 && !options.truncate_long_lines.0,
        exit_on_eof: options.exit_on_eof.0,
        cache_advise: options.file_cache_advise.0,
        inotify: options.inotify_watcher.0,
        db,
        compare_filename: options.db_compare_filename.0,
    })
}

impl Input for Configuration {
    fn ends(&self) -> bool {
        self.settings.exit_on_eof
    }

    fn run(self: Box<Self>, engine: InputContext) {
        let (reader, choice) = Reader::probe();
        log!(Info, self.settings.name, "{}", choice.message);
        if let Some(mut tail) = Tail::new(self.settings, engine, reader) {
            tail.run();
        }
    }
}

impl Tail {
    /// Opens the `DB` and the watcher; `None` when the `DB` is another program's (the engine is told).
    fn new(settings: Settings, engine: InputContext, reader: Reader) -> Option<Self> {
        let descriptors = raise_file_limit();
        let (database, reopen_at) = open_database(&settings, &*engine)?;
        let (watcher, refused) = Watcher::new(settings.inotify);
        if let Some(error) = refused {
            log!(
                Warn,
                settings.name,
                "inotify is refused ({error}): files are looked at every {:?}; raise the sysctl fs.inotify.max_user_instances",
                settings.progress
            );
        }
        Some(Tail {
            settings,
            engine,
            reader,
            watcher,
            descriptors,
            database,
            files: Slab::new(),
            slots: Slab::new(),
            chains: Slab::new(),
            by_path: HashMap::new(),
            by_inode: HashMap::new(),
            names: HashMap::new(),
            ready: VecDeque::new(),
            orphans: Vec::new(),
            growing: None,
            stalled: VecDeque::new(),
            copies: Vec::new(),
            waiting: Waiting::default(),
            ignored: HashMap::new(),
            told: HashSet::new(),
            news: Arc::default(),
            undelivered: HashSet::new(),
            remembered: Remembered::default(),
            old_rows: Vec::new(),
            dirty_rows: Vec::new(),
            new_rows: false,
            write_rows_at: None,
            rows_written: None,
            begun: Instant::now(),
            delivering: None,
            database_down: false,
            reopen_at,
            events: Vec::new(),
            moved: Vec::new(),
            strangers: HashMap::new(),
            search: false,
            rescan: false,
            first_scan: true,
            opened_any: false,
            opened: false,
            ended: false,
        })
    }

    /// Runs until the engine stops it.
    fn run(&mut self) {
        self.begin();
        let mut timers = Timers::new(&self.settings, Instant::now());
        while !self.engine.stopping() {
            let now = Instant::now();
            self.on_time(&mut timers, now);
            if now >= timers.events || self.opened {
                self.take_events();
                timers.events = now + GATHER;
            }
            self.take_deliveries();
            let idle = self.ready.is_empty() && self.stalled.is_empty();
            let admitted = idle || self.read_round();
            self.engine.metrics().paused.store(u64::from(!admitted), Relaxed);
            if self.ready.is_empty() && !self.waiting.is_empty() {
                self.take_turns();
            }
            self.end_if_done();
            let idle = self.ready.is_empty() && self.stalled.is_empty();
            if idle || !admitted {
                self.wait(&mut timers, admitted);
            }
        }
        self.stop();
    }

    /// Finds the files, and where they are gone on with.
    fn begin(&mut self) {
        self.remember();
        self.scan(false);
        self.recover_rotated();
        self.first_scan = false;
        self.store_new_rows();
    }

    /// Does what is due.
    fn on_time(&mut self, timers: &mut Timers, now: Instant) {
        self.open_database_again(now);
        self.write_due_rows(now);
        if std::mem::take(&mut self.rescan) {
            self.scan(true);
            timers.deep = now + DEEP_EVERY;
        }
        if now >= timers.scan || std::mem::take(&mut self.search) {
            let deep = now >= timers.deep || !self.watcher.works();
            self.scan(deep);
            if deep {
                timers.deep = now + DEEP_EVERY;
            }
            timers.scan = now + self.settings.refresh;
        }
        if now >= timers.look {
            self.look_at_orphans();
            if !self.waiting.is_empty() {
                self.take_turns();
            }
            timers.look = now + LOOK_EVERY;
        }
        if now >= timers.progress && !self.watcher.works() {
            let slots: Vec<Id> = self.slots.iter().map(|(id, _)| id).collect();
            slots.into_iter().for_each(|slot| self.recheck(slot));
            self.look_for_bytes();
            self.store_new_rows();
            timers.progress = now + self.settings.progress;
        }
        if now >= timers.measure && !self.ready.is_empty() {
            self.measure_lag();
            timers.measure = now + MEASURE_EVERY;
        }
    }

    /// `Exit_On_Eof`: all files are read to their end.
    fn end_if_done(&mut self) {
        if !self.settings.exit_on_eof || self.ended || !self.ready.is_empty() {
            return;
        }
        if self.waiting.is_empty() {
            self.ended = self.opened_any && self.files.iter().all(|(_, f)| f.at_eof || f.finished);
            if self.ended {
                self.engine.finished();
            }
        } else if !self.opened_any {
            self.ended = true;
            self.engine
                .fail("no file can be opened: the limit of open files (`ulimit -n`) is too low".into());
        }
    }

    /// Waits for events, deliveries, memory, or the next timer.
    fn wait(&mut self, timers: &mut Timers, admitted: bool) {
        let now = Instant::now();
        let mut until = timers.scan;
        if !self.watcher.works() {
            until = until.min(timers.progress);
        }
        if !self.orphans.is_empty() || !self.waiting.is_empty() {
            until = until.min(timers.look);
        }
        if !self.ready.is_empty() {
            until = until.min(timers.measure);
        }
        until = self.write_rows_at.into_iter().chain(self.reopen_at).fold(until, Instant::min);
        if !self.undelivered.is_empty() {
            // Nobody rings for a delivery: offsets need not be written at once.
            until = until.min(now + self.write_pause(now));
        }
        // Events gather for a moment, so that busy files are read together.
        let gather = now < timers.events && admitted;
        if gather && !self.poll(false, timers.events.min(until)) {
            return;
        }
        if Instant::now() < until {
            self.poll(true, until);
        }
    }

    /// Waits until the engine wakes it (true: it did not), with `events` until the folders do; at most until `until`.
    fn poll(&self, events: bool, until: Instant) -> bool {
        let timeout = until.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let wake = self.engine.wake_fd();
        let mut fds = vec![PollFd::new(&wake, PollFlags::IN)];
        let inotify = self.watcher.fd().filter(|_| events);
        if let Some(inotify) = &inotify {
            fds.push(PollFd::new(inotify, PollFlags::IN));
        }
        let _ = poll(&mut fds, Some(&timeout));
        let woken = fds[0].revents().contains(PollFlags::IN);
        if woken {
            let mut count = [0; 8];
            let _ = rustix::io::read(wake, &mut count);
        }
        !woken
    }

    /// Waits for what is on its way, then writes the last offsets.
    fn stop(&mut self) {
        for (_, chain) in self.chains.iter() {
            if let Some(source) = &chain.source {
                self.engine.close(source);
            }
        }
        self.engine.quiet();
        while !self.engine.drained() {
            self.poll(false, Instant::now() + LOOK_EVERY);
            self.take_deliveries();
            self.write_due_rows(Instant::now());
        }
        self.take_deliveries();
        let all: Vec<Id> = self.files.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| self.let_go_of_half_line(id));
        self.reopen_at = self.reopen_at.map(|_| Instant::now());
        self.open_database_again(Instant::now());
        self.write_rows();
        if self.settings.db.is_none()
            && self.engine.reloading()
            && let Some(database) = self.database.take()
        {
            self.settings.hand_on(&*self.engine, database);
        }
    }
}

/// The `DB`, and when to try again where it cannot be opened; `None` when it is another program's (the engine is told).
fn open_database(
    settings: &Settings,
    engine: &dyn super::Engine,
) -> Option<(Option<Database>, Option<Instant>)> {
    let Some(db) = &settings.db else {
        // Nothing to put on a disk, but something to hand on.
        let kept = engine.hot_reload().then(|| settings.take_over(engine));
        return match kept.transpose() {
            Ok(database) => Some((database, None)),
            Err(error) => {
                engine.fail(format!("no memory for a database of offsets: {error}"));
                None
            }
        };
    };
    let path = db.path.display();
    let error = match Database::open_or_replace(db) {
        Ok((database, None)) => return Some((Some(database), None)),
        Ok((database, Some(aside))) => {
            engine.metrics().database_errors.fetch_add(1, Relaxed);
            log!(
                Error,
                settings.name,
                "the `DB` is damaged, it was moved to {} and a new one begun: files are read as if they were never \
                 seen; to go on from old offsets, stop, repair it (sqlite3 … .recover) and move it back",
                aside.display()
            );
            return Some((Some(database), None));
        }
        Err(error) => error,
    };
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    let locked = matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked));
    let spare = Database::spare(&db.path).ok().filter(|_| !locked);
    if spare.is_none() {
        engine.fail(format!("could not open/create database {path}: {error}; another program may use it"));
        return None;
    }
    engine.metrics().database_errors.fetch_add(1, Relaxed);
    log!(
        Error,
        settings.name,
        "could not open/create database {path}: {error}; its folder must exist, be writable and have room. Reading goes on \
         with offsets in memory, which a restart loses; it is tried again every {:?}",
        spare::REOPEN_EVERY
    );
    Some((spare, Some(Instant::now() + spare::REOPEN_EVERY)))
}

/// When what is due.
struct Timers {
    scan: Instant,
    deep: Instant,
    look: Instant,
    progress: Instant,
    measure: Instant,
    events: Instant,
}

impl Timers {
    fn new(settings: &Settings, now: Instant) -> Self {
        Timers {
            scan: now + settings.refresh,
            deep: now + DEEP_EVERY,
            look: now + LOOK_EVERY,
            progress: now + settings.progress,
            measure: now,
            events: now,
        }
    }
}

/// Lets the process have as many open files as it may; gives how many of them may be files that are read.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit - (limit / 4).min(DESCRIPTORS_LEFT)
}
