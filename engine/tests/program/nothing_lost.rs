//! Nothing is lost: numbered lines in files that rotate, while the program is killed and restarted over and over.
//!
//! Every number arrives. What SIGKILL repeats was sent within one commit interval before it; SIGTERM repeats nothing.

use crate::rig::engine::{Engine, messages};
use crate::rig::lines::{self, Number};
use crate::rig::sink::{Sink, logs};
use crate::rig::{Dice, Folder, wait_for};
use rustix::process::Signal;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the program is killed.
const KILLS: usize = 54;
/// How often it is stopped.
const STOPS: usize = 12;
/// Offsets are written every 250 ms; then SQLite and a busy machine take their time.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_millis(1000);
/// A life that goes on for so long after its first delivery has written offsets. Whoever is killed before that, whenever it
/// is started, gets nowhere: of `SHORT_MAX` + 1 lives in a row, one is longer.
const COMMITTED_AFTER: Duration = Duration::from_millis(400);
/// See [`COMMITTED_AFTER`].
const SHORT_MAX: usize = 2;
const PATIENCE: Duration = Duration::from_secs(30);

/// How a file is rotated.
#[derive(Clone, Copy, PartialEq)]
enum Rotation {
    Rename,
    CopyTruncate,
}

/// A file that is written to and rotated.
struct Log {
    name: char,
    cri: bool,
    rotation: Rotation,
    path: PathBuf,
    file: File,
    /// The next line's number.
    next: u64,
    /// What is left of a record whose first parts are written.
    rest: Vec<String>,
    rotations: usize,
}

/// Files that were rotated away, and how often the program had been restarted then.
type Rotated = Vec<(PathBuf, usize)>;

impl Log {
    fn new(folder: &Path, name: char, cri: bool, rotation: Rotation) -> Log {
        let path = folder.join(format!("{}-{name}.log", if cri { "cri" } else { "plain" }));
        let file = open(&path);
        Log { name, cri, rotation, path, file, next: 0, rest: Vec::new(), rotations: 0 }
    }

    /// Writes some records; the last one may stay unfinished until the next time, when `torn`.
    fn write(&mut self, records: u64, torn: bool) {
        let mut bytes = std::mem::take(&mut self.rest).concat();
        for n in self.next..self.next + records {
            let mut parts = match self.cri {
                true => lines::cri(self.name, n),
                false => vec![lines::text(self.name, n) + "\n"],
            };
            if torn && n + 1 == self.next + records && parts.len() > 1 {
                self.rest = parts.split_off(1);
            }
            bytes += &parts.concat();
        }
        self.next += records;
        self.file.write_all(bytes.as_bytes()).unwrap();
    }

    /// Nobody writes meanwhile.
    fn rotate(&mut self) -> PathBuf {
        self.rotations += 1;
        let aside = self.path.with_extension(format!("log.{}", self.rotations));
        match self.rotation {
            Rotation::Rename => {
                std::fs::rename(&self.path, &aside).unwrap();
                self.file = open(&self.path);
            }
            Rotation::CopyTruncate => {
                std::fs::copy(&self.path, &aside).unwrap();
                self.file.set_len(0).unwrap();
            }
        }
        aside
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Writers and the rotator, until they are told to end.
struct Writing {
    logs: Arc<Mutex<(Vec<Log>, Rotated)>>,
    restarts: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Writing {
    fn start(folder: &Path, torn: bool, seed: u64) -> Writing {
        use Rotation::{CopyTruncate, Rename};
        let kinds = [
            ('a', true, Rename),
            ('b', false, CopyTruncate),
            ('c', false, Rename),
            ('d', true, CopyTruncate),
        ];
        let logs = kinds.map(|(name, cri, rotation)| Log::new(folder, name, cri, rotation)).into();
        let logs = Arc::new(Mutex::new((logs, Rotated::new())));
        let (restarts, ending) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (logs, restarts, ending) = (logs.clone(), restarts.clone(), ending.clone());
            std::thread::spawn(move || write_and_rotate(&logs, &restarts, &ending, torn, Dice::new(seed)))
        };
        Writing { logs, restarts, ending, thread }
    }

    /// Ends it; gives how many lines each file got, and how many rotations there were.
    fn end(self) -> (Vec<(char, u64)>, usize) {
        self.ending.store(true, SeqCst);
        self.thread.join().unwrap();
        let mut all = self.logs.lock().unwrap();
        all.0.iter_mut().for_each(|log| log.write(0, false));
        (all.0.iter().map(|log| (log.name, log.next)).collect(), all.0.iter().map(|log| log.rotations).sum())
    }
}

fn write_and_rotate(
    logs: &Mutex<(Vec<Log>, Rotated)>,
    restarts: &AtomicUsize,
    ending: &AtomicBool,
    torn: bool,
    mut dice: Dice,
) {
    let mut rotate_at = Instant::now();
    while !ending.load(SeqCst) {
        {
            let (logs, rotated) = &mut *logs.lock().unwrap();
            for log in logs.iter_mut() {
                log.write(dice.below(40), torn);
            }
            let restarts = restarts.load(SeqCst);
            // Nobody can find a file that was never seen at its path; from then on nothing is excused.
            if restarts > 0 && Instant::now() >= rotate_at {
                let log = dice.below(logs.len() as u64) as usize;
                rotated.push((logs[log].rotate(), restarts));
                rotate_at = Instant::now() + Duration::from_millis(50 + dice.below(300));
            }
            rotated.retain(|(path, then)| {
                let keep = restarts <= then + 2;
                if !keep {
                    std::fs::remove_file(path).unwrap();
                }
                keep
            });
        }
        // The pace of the writers; nobody waits for it.
        std::thread::sleep(Duration::from_millis(8));
    }
}

fn conf(output: &str) -> String {
    let input = |kind: &str, more: &str| {
        format!(
            "[INPUT]\n name tail\n path logs/{kind}-*.log\n tag {kind}.*\n db {kind}.db\n read_from_head on\n refresh_interval 1\n{more}"
        )
    };
    let cri = input("cri", " multiline.parser cri\n");
    let plain = input("plain", "");
    format!(
        "[SERVICE]\n flush 0.1\n grace 10\n scheduler.base 1\n scheduler.cap 1\n{cri}{plain}[OUTPUT]\n match *\n{output}"
    )
}

fn to_sink(sink: &Sink) -> String {
    conf(&format!(" name http\n host 127.0.0.1\n port {}\n format json_lines\n", sink.port()))
}

/// Kills the program `KILLS` times at random moments; gives when. `activity` counts what it delivered so far.
fn kill_often(
    folder: &Path,
    conf: &str,
    writing: &Writing,
    dice: &mut Dice,
    before: impl Fn(usize),
    activity: impl Fn() -> u64,
) -> Vec<Instant> {
    let (mut kills, mut short) = (Vec::new(), 0);
    for life in 0..KILLS {
        before(life);
        let seen = activity();
        let engine = Engine::start(folder, conf);
        if dice.below(8) == 0 {
            // Killed while it starts: that is no restart that a rotated file could have been read in.
            std::thread::sleep(Duration::from_millis(dice.below(120)));
        } else {
            assert!(
                wait_for(PATIENCE, || activity() > seen),
                "life {life} delivers nothing\n{}",
                engine.messages()
            );
            // The moment is to be random.
            let least = if short == SHORT_MAX { COMMITTED_AFTER } else { Duration::ZERO };
            let lived = Duration::from_millis(dice.below(900)).max(least);
            short = if lived < COMMITTED_AFTER { short + 1 } else { 0 };
            std::thread::sleep(lived);
            writing.restarts.fetch_add(1, SeqCst);
        }
        kills.push(engine.kill());
    }
    kills
}

fn missing(written: &[(char, u64)], arrived: &HashSet<Number>) -> Vec<Number> {
    written
        .iter()
        .flat_map(|&(name, n)| (0..n).map(move |n| (name, n)))
        .filter(|n| !arrived.contains(n))
        .collect()
}

/// Ranges of missing numbers, for people.
fn ranges(missing: &[Number]) -> String {
    let mut all: Vec<(char, u64, u64)> = Vec::new();
    for &(name, n) in missing {
        match all.last_mut() {
            Some((last, _, end)) if *last == name && *end + 1 == n => *end = n,
            _ => all.push((name, n, n)),
        }
    }
    all.iter().take(20).map(|(name, a, b)| format!("{name} {a}..={b}; ")).collect()
}

#[test]
fn sigkill_loses_nothing_and_repeats_one_commit_interval() {
    let (folder, sink, mut dice) = (Folder::new(), Sink::start(), Dice::roll());
    let conf = to_sink(&sink);
    let writing = Writing::start(&folder.path().join("logs"), true, dice.below(1 << 40));
    // Answers take a moment, so that kills find requests under way.
    sink.delay(Duration::from_millis(15));
    let kills = kill_often(
        folder.path(),
        &conf,
        &writing,
        &mut dice,
        |life| sink.set_life(life),
        || sink.count() as u64,
    );
    sink.set_life(KILLS);
    let (written, rotations) = writing.end();
    let total: u64 = written.iter().map(|(_, n)| n).sum();
    let engine = Engine::start(folder.path(), &conf);
    let mut arrived = Arrived::default();
    let all = wait_for(PATIENCE, || {
        arrived.take(&sink);
        arrived.first.len() as u64 == total
    });
    let missing = missing(&written, &arrived.first.keys().copied().collect());
    let broken = arrived.broken.iter().take(5);
    assert!(
        all,
        "{} of {total} are missing: {}{:?}\n{}",
        missing.len(),
        ranges(&missing),
        broken,
        save(folder.path())
    );
    drop(engine);
    arrived.take(&sink);

    assert!(
        arrived.broken.is_empty(),
        "{} broken records: {:?}",
        arrived.broken.len(),
        arrived.broken.first()
    );
    let mut oldest = Duration::ZERO;
    let mut hit = BTreeSet::new();
    for &(at, life) in &arrived.repeated {
        let age = kills.get(life).map_or(Duration::MAX, |kill| kill.saturating_duration_since(at));
        oldest = oldest.max(age);
        hit.insert(life);
    }
    println!(
        "{total} lines, {rotations} rotations, {KILLS} kills, {} of them with bytes in flight; {} repeated, the oldest sent \
         {oldest:?} before its kill",
        hit.len(),
        arrived.repeated.len(),
    );
    assert!(hit.len() * 2 >= KILLS, "only {} of {KILLS} kills found bytes in flight", hit.len());
    assert!(oldest <= COMMIT_INTERVAL_MAX, "repeated what was sent {oldest:?} before the kill");
    assert!(rotations > 50, "{rotations} rotations");
}

/// Which lines arrived.
#[derive(Default)]
struct Arrived {
    taken: usize,
    /// The last arrival of each line: when, in which run.
    first: HashMap<Number, (Instant, usize)>,
    /// For each repetition, when the line had arrived before.
    repeated: Vec<(Instant, usize)>,
    /// What is no line.
    broken: Vec<String>,
}

impl Arrived {
    fn take(&mut self, sink: &Sink) {
        let new = sink.with(|all| all[self.taken..].to_vec());
        self.taken += new.len();
        for arrival in new {
            match lines::number(&arrival.log) {
                None => self.broken.push(arrival.log),
                Some(number) => self.repeated.extend(self.first.insert(number, (arrival.at, arrival.life))),
            }
        }
    }
}

/// Keeps a folder for a look at it.
fn save(folder: &Path) -> String {
    let kept = std::env::temp_dir().join(format!("ripsaw-lost-{}", std::process::id()));
    let copied = std::process::Command::new("cp").arg("-a").arg(folder).arg(&kept).status();
    let text = messages(folder);
    let tail = text.len().saturating_sub(4000);
    format!("kept in {} ({copied:?})\n{}", kept.display(), text.get(tail..).unwrap_or_default())
}

#[test]
fn sigkill_loses_nothing_on_the_way_to_a_file() {
    let (folder, mut dice) = (Folder::new(), Dice::roll());
    let conf = conf(" name file\n file out\n path .\n format plain\n");
    let out = folder.path().join("out");
    let writing = Writing::start(&folder.path().join("logs"), true, dice.below(1 << 40));
    let size = || std::fs::metadata(&out).map_or(0, |meta| meta.len());
    kill_often(folder.path(), &conf, &writing, &mut dice, |_| {}, size);
    let (written, _) = writing.end();
    let total: u64 = written.iter().map(|(_, n)| n).sum();
    let engine = Engine::start(folder.path(), &conf);
    let (mut arrived, mut read) = (HashSet::new(), 0);
    let all = wait_for(PATIENCE, || {
        if size() > read {
            read = size();
            arrived = logs(&std::fs::read(&out).unwrap()).filter_map(|log| lines::number(&log)).collect();
        }
        arrived.len() as u64 == total
    });
    let missing = missing(&written, &arrived);
    assert!(all, "{} of {total} are missing: {}\n{}", missing.len(), ranges(&missing), save(folder.path()));
    drop(engine);
}

#[test]
fn sigterm_loses_nothing_and_repeats_nothing() {
    let (folder, sink, mut dice) = (Folder::new(), Sink::start(), Dice::roll());
    let conf = to_sink(&sink);
    let writing = Writing::start(&folder.path().join("logs"), false, dice.below(1 << 40));
    for life in 0..STOPS {
        let seen = sink.count();
        let engine = Engine::start(folder.path(), &conf);
        assert!(
            wait_for(PATIENCE, || sink.count() > seen),
            "life {life} delivers nothing\n{}",
            engine.messages()
        );
        std::thread::sleep(Duration::from_millis(dice.below(500)));
        // Between two records, so that none is cut in two.
        let paused = writing.logs.lock().unwrap();
        engine.signal(Signal::TERM);
        drop(paused);
        writing.restarts.fetch_add(1, SeqCst);
        let (code, _) = engine.stop_signalled(PATIENCE);
        assert_eq!(code, Some(0));
    }
    let (written, rotations) = writing.end();
    let total: u64 = written.iter().map(|(_, n)| n).sum();
    let engine = Engine::start(folder.path(), &conf);
    let mut arrived = Arrived::default();
    let all = wait_for(PATIENCE, || {
        arrived.take(&sink);
        arrived.first.len() as u64 == total
    });
    let missing = missing(&written, &arrived.first.keys().copied().collect());
    assert!(all, "{} of {total} are missing: {}\n{}", missing.len(), ranges(&missing), save(folder.path()));
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
    arrived.take(&sink);
    println!("{total} lines, {rotations} rotations, {STOPS} stops");
    assert_eq!((arrived.repeated.len(), arrived.broken.first()), (0, None), "{}", save(folder.path()));
}
