//! Tests of tail as a whole: real files, a double of the engine that records what is handed to it.
//!
//! Nothing here sleeps: a test waits until the double has what it expects, or fails after a minute.

use super::database::{Database, Settings as DbSettings};
use super::gzip::tests::compressed;
use super::{Configuration, Options, Tail, settings};
use crate::budget::{Budget, Pool};
use crate::decode::{LineDecoder, LineOptions};
use crate::inputs::shared::{Buffer, Common, InputShared};
use crate::inputs::{Context, Engine, Input, InputContext, Source};
use crate::io::Reader;
use crate::job::{Block, Position, SourceInfo};
use crate::metrics::InputMetrics;
use crate::pipeline::Pipeline;
use crate::testing::ScratchDir;
use codecs::charset::{Charset, Converted};
use codecs::conf::{Diagnostics, Entry, Section, Span};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What was handed on.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    /// Which source it came from.
    pub(super) source: usize,
    tag: String,
    path: String,
    pub(super) bytes: Vec<u8>,
    position: Position,
    pub(super) end: Position,
}

/// A double of the engine.
pub(super) struct Double {
    pub(super) handed: Mutex<Vec<Handed>>,
    /// For each source, where a line stands that begins with `P ` and waits for one with `F `.
    pending: Mutex<HashMap<usize, Position>>,
    changed: Condvar,
    wake: OwnedFd,
    stopping: AtomicBool,
    pub(super) finished: AtomicBool,
    /// Accept what is handed on at once.
    accepting: AtomicBool,
    /// Bytes that may be admitted, and that are.
    budget: AtomicUsize,
    pub(super) admitted: AtomicUsize,
    /// Bytes that half lines may take, and do.
    pub(super) waiting_max: AtomicUsize,
    pub(super) waiting: AtomicUsize,
    pub(super) metrics: InputMetrics,
    inner: Arc<InputShared>,
    common: Common,
    _runtime: tokio::runtime::Runtime,
}

impl Double {
    pub(super) fn new() -> Arc<Double> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("runtime");
        let common = Common {
            pipeline: Arc::new(Pipeline::new(Vec::new(), 0, Vec::new())),
            workers: Arc::new(crate::workers::Workers::new(1, || ()).expect("workers")),
            runtime: runtime.handle().clone(),
            blocks: Arc::new(Pool::new(1, 1 << 20)),
            segments: Arc::new(Pool::new(1, 1 << 20)),
            budget: Budget::new(usize::MAX / 4),
            pressure: Arc::default(),
            control: Arc::default(),
            handover: None,
        };
        let decoder = Arc::new(LineDecoder::new(LineOptions::default()));
        let inner = InputShared::new(
            "test".into(),
            decoder,
            Vec::new(),
            None,
            Buffer::Memory,
            Arc::default(),
            &common,
        )
        .expect("input");
        Arc::new(Double {
            handed: Mutex::default(),
            pending: Mutex::default(),
            changed: Condvar::new(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("eventfd"),
            stopping: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            accepting: AtomicBool::new(true),
            budget: AtomicUsize::new(usize::MAX / 4),
            admitted: AtomicUsize::new(0),
            waiting_max: AtomicUsize::new(usize::MAX),
            waiting: AtomicUsize::new(0),
            metrics: InputMetrics::default(),
            inner,
            common,
            _runtime: runtime,
        })
    }

    /// Position up to which a block that was just handed on counts as delivered.
    fn deliverable(&self, source: usize, bytes: &[u8], position: Position, end: Position) -> Position {
        let mut pending = self.pending.lock().expect("lock");
        let mut offset = position.offset;
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            match line.get(..2) {
                Some(b"P ") => drop(pending.entry(source).or_insert(Position { offset, ..position })),
                Some(b"F ") => drop(pending.remove(&source)),
                _ => {}
            }
            offset += line.len() as u64;
        }
        pending.get(&source).map_or(end, |first| end.min(*first))
    }

    fn ring(&self) {
        rustix::io::write(&self.wake, &1u64.to_ne_bytes()).expect("wake");
    }

    /// Waits for a condition on what was handed on.
    pub(super) fn until<T>(&self, mut ready: impl FnMut(&[Handed]) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut handed = self.handed.lock().expect("lock");
        loop {
            if let Some(result) = ready(&handed) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "still waiting with {:.2000?}", text(&handed));
            handed = self.changed.wait_timeout(handed, left.min(Duration::from_millis(20))).expect("lock").0;
        }
    }

    /// Waits until exactly these lines came, in this order.
    pub(super) fn expect(&self, lines: &[&str]) {
        let expected = lines.concat();
        let got = self.until(|handed| {
            let got = text(handed);
            (got.len() >= expected.len()).then_some(got)
        });
        assert_eq!(got, expected);
    }

    pub(super) fn metric(&self, metric: impl Fn(&InputMetrics) -> &std::sync::atomic::AtomicU64) -> u64 {
        metric(&self.metrics).load(SeqCst)
    }
}

pub(super) fn text(handed: &[Handed]) -> String {
    handed.iter().map(|h| String::from_utf8_lossy(&h.bytes).into_owned()).collect()
}

impl Engine for Double {
    fn open(&self, info: SourceInfo) -> Source {
        crate::shards::Source::new(info, self.inner.clone(), &self.common.pipeline)
    }

    fn submit(&self, source: &Source, block: Block, end: Position) {
        let (charset, mut bytes) = (source.info.charset, block.bytes().to_vec());
        assert!(bytes.is_empty() || bytes.ends_with(charset.newline()), "a block ends with a newline");
        if charset != Charset::Utf8 {
            let arena = codecs::Bump::new();
            bytes = Converted::new(charset, &bytes, &arena).flat_map(|l| [l, b"\n"].concat()).collect();
        }
        let before = self.admitted.fetch_sub(block.buffer.capacity(), SeqCst);
        assert!(before >= block.buffer.capacity(), "a block is charged with its capacity");
        let cursor = source.info.cursor.clone();
        let (tag, path) = (source.info.tag.to_string(), source.info.path.as_deref().unwrap_or("").to_owned());
        let mut handed = self.handed.lock().expect("lock");
        let from = Arc::as_ptr(source) as usize;
        if self.accepting.load(SeqCst) {
            let delivered = self.deliverable(from, &bytes, block.position, end);
            cursor.iter().for_each(|c| c.committed(delivered));
        }
        handed.push(Handed { source: from, tag, path, bytes, position: block.position, end });
        self.changed.notify_all();
    }

    fn close(&self, _: &Source) {}

    fn admit(&self, bytes: usize) -> bool {
        let admitted = self.admitted.load(SeqCst) + bytes <= self.budget.load(SeqCst);
        if admitted {
            self.admitted.fetch_add(bytes, SeqCst);
        }
        admitted
    }

    fn keep_waiting(&self, bytes: usize, always: bool) -> bool {
        let fits = always || self.waiting.load(SeqCst) + bytes <= self.waiting_max.load(SeqCst);
        self.waiting.fetch_add(if fits { bytes } else { 0 }, SeqCst);
        fits
    }

    fn let_go(&self, bytes: usize) {
        assert!(self.waiting.fetch_sub(bytes, SeqCst) >= bytes, "what is let go was kept");
    }

    fn release(&self, bytes: usize) {
        self.admitted.fetch_sub(bytes, SeqCst);
    }

    fn buffer(&self, capacity: usize) -> Vec<u8> {
        Vec::with_capacity(capacity)
    }

    fn recycle(&self, _: Vec<u8>) {}
    fn blocked(&self, _: &Source) -> bool {
        false
    }
    fn take(&self, bytes: usize) {
        self.admitted.fetch_add(bytes, SeqCst);
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    fn quiet(&self) {}

    fn drained(&self) -> bool {
        true
    }

    fn metrics(&self) -> &InputMetrics {
        &self.metrics
    }

    fn finished(&self) {
        self.finished.store(true, SeqCst);
        self.changed.notify_all();
    }

    fn end(&self, _: i32) {}
    fn fail(&self, message: String) {
        panic!("{message}");
    }
}

/// A running tail; dropping it stops it.
pub(super) struct Running {
    engine: Arc<Double>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::ops::Deref for Running {
    type Target = Double;
    fn deref(&self) -> &Double {
        &self.engine
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.stopping.store(true, SeqCst);
        self.engine.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("tail panicked");
        }
    }
}

fn section(options: &[(&str, &str)]) -> Section {
    let span = Span::new(&"test.conf".into(), 1, 1);
    let entry = |&(key, value): &(&str, &str)| Entry {
        key: key.to_owned(),
        value: value.to_owned(),
        key_span: span.clone(),
        value_span: span.clone(),
    };
    Section { entries: options.iter().map(entry).collect(), ..Section::new("input", span.clone()) }
}

pub(super) fn compiled(options: &[(&str, &str)]) -> super::Settings {
    let (section, mut diagnostics) = (section(options), Diagnostics::default());
    let tag = section.get("Tag").map_or("t", |e| &e.value).to_owned();
    let context = Context {
        name: "tail.0",
        tag: &tag,
        parsers: &HashMap::new(),
        multiline: &HashMap::new(),
        multiline_limit: 0,
    };
    let options = Options::read(&section, "tail.0", &mut diagnostics);
    settings(&options, &section, &context, &mut diagnostics).expect("settings")
}

/// Starts tail over `path` in the folder, from the head unless the options say otherwise.
fn start(dir: &ScratchDir, path: &str, options: &[(&str, &str)]) -> Running {
    start_with(dir, path, options, Double::new(), false)
}

pub(super) fn start_with(
    dir: &ScratchDir,
    path: &str,
    options: &[(&str, &str)],
    engine: Arc<Double>,
    plain: bool,
) -> Running {
    let path = dir.join(path).display().to_string();
    let all: Vec<_> = [("Path", path.as_str()), ("Read_from_Head", "on"), ("Rotate_Wait", "60")]
        .iter()
        .chain(options)
        .copied()
        .collect();
    let settings = compiled(&all);
    let context: InputContext = engine.clone();
    let thread = std::thread::spawn(move || match plain {
        true => Tail::new(settings, context, Reader::plain()).expect("tail").run(),
        false => Box::new(Configuration { settings }).run(context),
    });
    Running { engine, thread: Some(thread) }
}

pub(super) fn append(path: &Path, text: impl AsRef<[u8]>) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).expect("open");
    file.write_all(text.as_ref()).expect("append");
}

#[test]
fn lines_are_handed_on_when_they_are_whole() {
    let dir = ScratchDir::new();
    append(&dir.join("a.log"), "first\n");
    let tail = start(&dir, "a.log", &[]);
    tail.expect(&["first\n"]);
    append(&dir.join("a.log"), "par");
    append(&dir.join("a.log"), "tial\nlast\nha");
    tail.expect(&["first\n", "partial\nlast\n"]);
    let handed = tail.until(|h| Some(h.to_vec()));
    let mut at = 0;
    for block in &handed {
        assert_eq!(block.position.offset, at);
        at += block.bytes.len() as u64;
        assert_eq!(block.end.offset, at);
    }
}

#[test]
fn the_fallback_hands_on_what_the_ring_does() {
    let dir = ScratchDir::new();
    let lines: String = (0..60_000).map(|n| format!("{n} {}\n", "x".repeat(n % 97))).collect();
    append(&dir.join("a.log"), &lines);
    for plain in [false, true] {
        let tail = start_with(&dir, "a.log", &[("Exit_On_Eof", "on")], Double::new(), plain);
        tail.expect(&[&lines]);
        tail.until(|_| tail.finished.load(SeqCst).then_some(()));
        assert_eq!(tail.admitted.load(SeqCst), 0, "every charge is passed on or given back");
    }
}

#[test]
fn without_read_from_head_only_new_lines_count() {
    let dir = ScratchDir::new();
    append(&dir.join("a.log"), "old\nhalf");
    let tail = start(&dir, "*.log", &[("Read_from_Head", "off")]);
    tail.until(|_| (tail.metric(|m| &m.files_opened) == 1).then_some(()));
    append(&dir.join("a.log"), "new\n");
    append(&dir.join("b.log"), "of a new file\n");
    tail.until(|h| (text(h).len() == "new\nof a new file\n".len()).then_some(()));
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_its_successor() {
    let dir = ScratchDir::new();
    append(&dir.join("a.log"), "1\n");
    let tail = start(&dir, "a.log*", &[]);
    tail.expect(&["1\n"]);
    fs::rename(dir.join("a.log"), dir.join("a.log.1")).expect("rename");
    append(&dir.join("a.log.1"), "2 after the rename\n");
    append(&dir.join("a.log"), "3\n");
    tail.expect(&["1\n", "2 after the rename\n", "3\n"]);
    append(&dir.join("a.log.1"), "late\n");
    tail.expect(&["1\n", "2 after the rename\n", "3\n", "late\n"]);
    // A second rotation pushes the first one on; nothing is read again.
    fs::rename(dir.join("a.log.1"), dir.join("a.log.2")).expect("rename");
    fs::rename(dir.join("a.log"), dir.join("a.log.1")).expect("rename");
    append(&dir.join("a.log"), "4\n");
    tail.expect(&["1\n", "2 after the rename\n", "3\n", "late\n", "4\n"]);
    assert_eq!(tail.metric(|m| &m.files_opened), 3);
    let handed = tail.until(|h| Some(h.to_vec()));
    assert!(handed.iter().all(|h| h.path.ends_with("/a.log") && h.tag == "t"));
}

#[test]
fn a_half_line_of_a_finished_file_is_a_line() {
    let dir = ScratchDir::new();
    append(&dir.join("a.log"), "whole\nhalf");
    let tail = start(&dir, "a.log", &[("Rotate_Wait", "0.05")]);
    tail.expect(&["whole\n"]);
    fs::remove_file(dir.join("a.log")).expect("remove");
    tail.expect(&["whole\n", "half\n"]);
    tail.until(|_| (tail.metric(|m| &m.files_closed) == 1).then_some(()));
}

#[test]
fn a_truncated_file_starts_anew_and_its_half_line_is_joined() {
    let dir = ScratchDir::new();
    let path = dir.join("a.log");
    append(&path, "one\nha");
    let tail = start(&dir, "a.log", &[]);
    tail.expect(&["one\n"]);
    fs::OpenOptions::new().write(true).open(&path).expect("open").set_len(0).expect("truncate");
    append(&path, "lf\ntwo\n");
    tail.expect(&["one\n", "half\n", "two\n"]);
    let handed = tail.until(|h| Some(h.to_vec()));
    assert!(handed.windows(2).all(|w| w[0].end <= w[1].end), "{handed:?}");
}

#[test]
fn a_file_that_grew_beyond_the_old_end_after_a_truncation_is_read_from_its_head() {
    let dir = ScratchDir::new();
    let path = dir.join("a.log");
    append(&path, "old one\nold two\n");
    let tail = start(&dir, "a.log", &[]);
    tail.expect(&["old one\nold two\n"]);
    // One write, so that no look falls between the truncation and the new text.
    fs::write(&path, "new text that is longer than the old one\n").expect("write");
    tail.until(|h| text(h).ends_with("new text that is longer than the old one\n").then_some(()));
    assert_eq!(tail.metric(|m| &m.files_rotated), 1);
}

#[test]
fn holes_at_the_head_are_passed_over() {
    let dir = ScratchDir::new();
    append(&dir.join("a.log"), format!("{}text\n", "\0".repeat(5000)));
    let tail = start(&dir, "a.log", &[]);
    tail.expect(&["text\n"]);
    assert_eq!(tail.until(|h| h.first().map(|h| h.position.offset)), 5000);
}

#[test]
fn long_lines_are_cut_or_skipped_and_counted() {
    let dir = ScratchDir::new();
    let long = "L".repeat(700_000);
    append(
        &dir.join("a.log"),
        format!("before\n{long}\nafter\n{}\n{}\nend\n", "x".repeat(998), "y".repeat(999)),
    );
    let size = [("Buffer_Chunk_Size", "1000"), ("Buffer_Max_Size", "1000")];
    let tail = start(&dir, "a.log", &size);
    let (cut, fits, exact) = (
        format!("{}\n", "L".repeat(999)),
        format!("{}\n", "x".repeat(998)),
        format!("{}\n", "y".repeat(999)),
    );
    tail.expect(&["before\n", &cut, "after\n", &fits, &exact, "end\n"]);
    assert_eq!(tail.metric(|m| &m.long_lines_truncated), 2);
    drop(tail);
    let tail = start(&dir, "a.log", &[size[0], size[1], ("Skip_Long_Lines", "on")]);
    tail.expect(&["before\n", "after\n", &fits, "end\n"]);
    assert_eq!(tail.metric(|m| &m.long_lines_skipped), 2);
}

#[test]
fn gzip_files_are_expanded() {
    let dir = ScratchDir::new();
    let lines: String = (0..100_000).map(|n| format!("zipped line {n}\n")).collect();
    fs::write(dir.join("a.log.gz"), compressed(lines.as_bytes())).expect("write");
    fs::write(dir.join("bad.log.gz"), "not gzip at all\n").expect("write");
    let tail = start(&dir, "*.gz", &[]);
    tail.expect(&[&lines]);
    tail.until(|_| (tail.metric(|m| &m.read_errors) == 1).then_some(()));
}

#[test]
fn links_are_followed_through_rotations() {
    let dir = ScratchDir::new();
    for folder in ["links", "pods"] {
        fs::create_dir(dir.join(folder)).expect("folder");
    }
    append(&dir.join("pods/0.log"), "1\n");
    std::os::unix::fs::symlink(dir.join("pods/0.log"), dir.join("links/web.log")).expect("link");
    let tail = start(&dir, "links/*.log", &[("Tag", "k.*")]);
    tail.expect(&["1\n"]);
    fs::rename(dir.join("pods/0.log"), dir.join("pods/0.log.20260101")).expect("rename");
    append(&dir.join("pods/0.log"), "2\n");
    tail.expect(&["1\n", "2\n"]);
    append(&dir.join("pods/0.log"), "3\n");
    tail.expect(&["1\n", "2\n", "3\n"]);
    let handed = tail.until(|h| Some(h.to_vec()));
    assert!(handed.iter().all(|h| h.tag.ends_with(".links.web.log")));
    // The link is set to another file.
    append(&dir.join("pods/1.log"), "4\n");
    fs::remove_file(dir.join("links/web.log")).expect("remove");
    std::os::unix::fs::symlink(dir.join("pods/1.log"), dir.join("links/web.log")).expect("link");
    tail.expect(&["1\n", "2\n", "3\n", "4\n"]);
}

#[test]
fn the_wrong_things_are_told_and_the_others_go_on() {
    let dir = ScratchDir::new();
    fs::create_dir(dir.join("folder.log")).expect("folder");
    let random: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ 1).collect();
    fs::write(dir.join("random.log"), &random).expect("write");
    append(&dir.join("good.log"), "good\n");
    let tail = start(&dir, "*.log", &[]);
    tail.until(|h| text(h).contains("good\n").then_some(()));
    let whole = random.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
    tail.until(|h| {
        let bytes: usize = h.iter().filter(|h| h.path.ends_with("random.log")).map(|h| h.bytes.len()).sum();
        (bytes == whole).then_some(())
    });
    assert_eq!(tail.metric(|m| &m.read_errors), 1);
}

#[test]
fn an_excluded_or_old_file_is_left_alone() {
    let dir = ScratchDir::new();
    for name in ["a.log", "debug.log", "old.log"] {
        append(&dir.join(name), format!("{name}\n"));
    }
    let past = std::time::SystemTime::now() - Duration::from_secs(7200);
    fs::File::options()
        .append(true)
        .open(dir.join("old.log"))
        .expect("open")
        .set_modified(past)
        .expect("age");
    let tail = start(&dir, "*.log", &[("Exclude_Path", "*debug*"), ("Ignore_Older", "1h")]);
    tail.expect(&["a.log\n"]);
    append(&dir.join("old.log"), "fresh\n");
    tail.expect(&["a.log\n", "fresh\n"]);
}

#[test]
fn a_folder_that_appears_later_is_found() {
    let dir = ScratchDir::new();
    let tail = start(&dir, "pods/*/*.log", &[("Refresh_Interval", "0.05")]);
    fs::create_dir_all(dir.join("pods/one")).expect("folder");
    append(&dir.join("pods/one/a.log"), "a\n");
    tail.expect(&["a\n"]);
    fs::create_dir_all(dir.join("pods/two")).expect("folder");
    append(&dir.join("pods/two/b.log"), "b\n");
    tail.expect(&["a\n", "b\n"]);
}

#[test]
fn without_inotify_files_are_looked_at() {
    let dir = ScratchDir::new();
    append(&dir.join("a.log"), "1\n");
    let tail = start(
        &dir,
        "*.log",
        &[
            ("Inotify_Watcher", "off"),
            ("Progress_Check_Interval", "0"),
            ("Progress_Check_Interval_NSec", "20000000"),
            ("Refresh_Interval", "0.05"),
        ],
    );
    tail.expect(&["1\n"]);
    append(&dir.join("a.log"), "2\n");
    tail.expect(&["1\n", "2\n"]);
    fs::rename(dir.join("a.log"), dir.join("a.old")).expect("rename");
    append(&dir.join("a.log"), "3\n");
    tail.expect(&["1\n", "2\n", "3\n"]);
}

#[test]
fn reading_stops_while_memory_is_short() {
    let dir = ScratchDir::new();
    let engine = Double::new();
    engine.budget.store(0, SeqCst);
    append(&dir.join("a.log"), "1\n");
    let tail = start_with(&dir, "a.log", &[], engine, false);
    tail.until(|_| (tail.metric(|m| &m.paused) == 1).then_some(()));
    assert!(tail.until(|h| Some(h.is_empty())));
    tail.budget.store(1 << 20, SeqCst);
    tail.ring();
    tail.expect(&["1\n"]);
}

fn db(dir: &ScratchDir) -> Database {
    Database::open(&DbSettings { path: dir.join("tail.db"), sync: 1, exclusive: false, journal_mode: "WAL" })
        .expect("db")
}

#[test]
fn offsets_follow_deliveries_and_survive_restarts() {
    let dir = ScratchDir::new();
    let (path, db_path) = (dir.join("a.log"), dir.join("tail.db").display().to_string());
    let options = [("DB", db_path.as_str())];
    append(&path, "1\n2\n");
    {
        let engine = Double::new();
        engine.accepting.store(false, SeqCst);
        let tail = start_with(&dir, "a.log", &options, engine, false);
        tail.expect(&["1\n2\n"]);
    }
    assert_eq!(db(&dir).rows().expect("rows")[0].offset, 0, "nothing was delivered");
    {
        let tail = start(&dir, "a.log", &options);
        tail.expect(&["1\n2\n"]);
    }
    assert_eq!(db(&dir).rows().expect("rows")[0].offset, 4);
    append(&path, "3\n");
    {
        let tail = start(&dir, "a.log", &options);
        tail.expect(&["3\n"]);
        append(&path, "4\nhalf");
        tail.expect(&["3\n", "4\n"]);
    }
    // Rotated while it was down: the rest of the old file comes first.
    append(&path, " a line\n");
    fs::rename(&path, dir.join("a.log.1")).expect("rename");
    append(&path, "5\n");
    {
        let tail = start(&dir, "a.log", &options);
        tail.expect(&["half a line\n", "5\n"]);
    }
    // And compressed, as kubelet does.
    append(&path, "6\n");
    let text = fs::read(&path).expect("read");
    fs::write(dir.join("a.log.20260101.gz"), compressed(&text)).expect("write");
    fs::remove_file(&path).expect("remove");
    append(&path, "7\n");
    {
        let tail = start(&dir, "a.log", &options);
        tail.expect(&["6\n", "7\n"]);
    }
    // Truncated and written anew while it was down.
    fs::write(&path, "8 is something else\n").expect("write");
    let tail = start(&dir, "a.log", &options);
    tail.expect(&["8 is something else\n"]);
}

#[test]
fn a_row_follows_its_file_and_goes_with_it() {
    let dir = ScratchDir::new();
    let (path, db_path) = (dir.join("a.log"), dir.join("tail.db").display().to_string());
    append(&path, "1\n");
    let tail = start(&dir, "a.log", &[("DB", &db_path), ("Rotate_Wait", "0.05")]);
    tail.expect(&["1\n"]);
    fs::rename(&path, dir.join("a.log.1")).expect("rename");
    append(&path, "2\n");
    tail.expect(&["1\n", "2\n"]);
    tail.until(|_| (tail.metric(|m| &m.files_closed) == 1).then_some(()));
    drop(tail);
    let rows = db(&dir).rows().expect("rows");
    assert_eq!(
        rows.iter().map(|r| (r.name.as_str(), r.offset)).collect::<Vec<_>>(),
        [(path.to_str().expect("path"), 2)]
    );
}

#[test]
fn files_that_were_rotated_before_they_were_seen_are_read() {
    let dir = ScratchDir::new();
    let db_path = dir.join("tail.db").display().to_string();
    let options = [("DB", db_path.as_str())];
    let generations = |from: usize, to: usize| {
        for n in from..to {
            append(&dir.join("a.log"), format!("{n}\n"));
            fs::rename(dir.join("a.log"), dir.join(&format!("a.log.{n}"))).expect("rename");
        }
        append(&dir.join("a.log"), format!("{to}\n"));
    };
    append(&dir.join("a.log"), "0\n");
    {
        let tail = start(&dir, "a.log", &options);
        tail.expect(&["0\n"]);
        // While it runs, faster than it looks.
        generations(1, 5);
        tail.until(|h| (text(h).len() == "0\n1\n2\n3\n4\n5\n".len()).then_some(()));
        append(&dir.join("a.log"), "still heard\n");
        tail.until(|h| text(h).ends_with("still heard\n").then_some(()));
    }
    // While it is down. (The first rename moves what was read.)
    generations(6, 8);
    let tail = start(&dir, "a.log", &options);
    tail.expect(&["6\n", "7\n", "8\n"]);
}

#[test]
fn two_inputs_may_share_a_db() {
    let dir = ScratchDir::new();
    let db_path = dir.join("tail.db").display().to_string();
    let options = [("DB", db_path.as_str())];
    append(&dir.join("a.log"), "a\n");
    append(&dir.join("b.log"), "b\n");
    start(&dir, "a.log", &options).expect(&["a\n"]);
    append(&dir.join("a.log"), "more\n");
    // What the other input remembers is no predecessor of this one's files, and its row stays.
    start(&dir, "b.log", &options).expect(&["b\n"]);
    start(&dir, "a.log", &options).expect(&["more\n"]);
    let offsets: Vec<u64> = db(&dir).rows().expect("rows").iter().map(|row| row.offset).collect();
    assert_eq!(offsets, [7, 2]);
}
