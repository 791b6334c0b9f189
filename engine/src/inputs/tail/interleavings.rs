//! Rotations, kills and looks in any order: every record comes out whole, and from the same source as its first part.
//!
//! One step after the other, without threads: a scenario is a list of steps from a seed, and the same each time. A kill
//! drops the input as it is; only what was written to the `DB` is there afterwards.

use super::Tail;
use super::tests::{Double, Handed, compiled};
use crate::io::Reader;
use crate::testing::ScratchDir;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Scenarios of a run.
const SEEDS: u64 = 150;
/// Steps of a scenario.
const STEPS: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A record in one line.
    Write,
    /// The first part of a record; the next write finishes it.
    Part,
    Rename,
    Create,
    CopyAside,
    Truncate,
    /// The oldest rotated file goes, when all of it was delivered and committed.
    Delete,
    /// The newest rotated file is compressed.
    Compress,
    /// Takes events, reads all that is there.
    Look,
    /// Writes the `DB`.
    Commit,
    Kill,
}

/// Small random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// The file system, the writer, and the program.
struct World {
    dir: ScratchDir,
    /// What the program reads.
    pattern: &'static str,
    /// Where the writer writes; `None` between a rename and the creation of the next file.
    there: bool,
    /// Copied, and not truncated yet.
    copied: bool,
    /// A first part is written, of this record.
    open: Option<u64>,
    next: u64,
    rotations: u64,
    /// Rotated files.
    rotated: Vec<PathBuf>,
    /// So many of them hold nothing that is not committed.
    committed: usize,
    /// All that was written was read in this life.
    looked: bool,
    tail: Option<(Tail, Arc<Double>)>,
    /// All that was handed on, by life.
    lives: Vec<Vec<Handed>>,
}

impl World {
    fn new(pattern: &'static str) -> World {
        let dir = ScratchDir::new();
        fs::write(dir.join("a.log"), "").expect("create");
        let mut world = World {
            dir,
            pattern,
            there: true,
            copied: false,
            open: None,
            next: 0,
            rotations: 0,
            rotated: Vec::new(),
            committed: 0,
            looked: false,
            tail: None,
            lives: Vec::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let db = self.dir.join("tail.db").display().to_string();
        let path = self.dir.join(self.pattern).display().to_string();
        let settings =
            compiled(&[("Path", &path), ("DB", &db), ("Read_from_Head", "on"), ("DB.Sync", "off")]);
        let engine = Double::new();
        let mut tail = Tail::new(settings, engine.clone(), Reader::plain()).expect("tail");
        tail.begin();
        self.looked = false;
        self.tail = Some((tail, engine));
    }

    fn write(&mut self, text: &str) {
        self.looked = false;
        let mut file = OpenOptions::new().append(true).open(self.dir.join("a.log")).expect("open");
        file.write_all(text.as_bytes()).expect("write");
    }

    /// True when the step can be made now.
    fn allows(&self, step: Step) -> bool {
        match step {
            Step::Write | Step::Part | Step::Rename | Step::CopyAside => self.there && !self.copied,
            Step::Create => !self.there,
            Step::Truncate => self.copied,
            Step::Delete => self.committed > 0,
            Step::Compress => self.rotated.last().is_some_and(|path| path.extension() != Some("gz".as_ref())),
            Step::Look | Step::Commit | Step::Kill => true,
        }
    }

    fn step(&mut self, step: Step) {
        let log = self.dir.join("a.log");
        let aside = self.dir.join(&format!("a.log.{}", self.rotations));
        match step {
            Step::Write => {
                let n = self.next;
                match self.open.take() {
                    Some(first) => self.write(&format!("F {first}\n. {n}\n")),
                    None => self.write(&format!(". {n}\n")),
                }
                self.next += 1;
            }
            Step::Part => {
                if let Some(first) = self.open.take() {
                    self.write(&format!("F {first}\n"));
                }
                self.write(&format!("P {}\n", self.next));
                self.open = Some(self.next);
                self.next += 1;
            }
            Step::Rename => {
                fs::rename(log, &aside).expect("rename");
                self.there = false;
                self.rotated.push(aside);
                self.rotations += 1;
            }
            Step::Create => {
                fs::write(log, "").expect("create");
                self.there = true;
            }
            Step::CopyAside => {
                fs::copy(log, &aside).expect("copy");
                self.copied = true;
                self.rotated.push(aside);
                self.rotations += 1;
            }
            Step::Truncate => {
                OpenOptions::new().write(true).open(log).expect("open").set_len(0).expect("truncate");
                self.copied = false;
            }
            Step::Delete => {
                self.committed -= 1;
                fs::remove_file(self.rotated.remove(0)).expect("delete");
            }
            Step::Compress => {
                let path = self.rotated.last_mut().expect("rotated");
                let text = fs::read(&*path).expect("read");
                let compressed =
                    path.with_extension(format!("{}.gz", path.extension().expect("number").display()));
                let written = fs::metadata(&*path).expect("stat").modified().expect("time");
                fs::write(&compressed, super::gzip::tests::compressed(&text)).expect("compress");
                OpenOptions::new()
                    .append(true)
                    .open(&compressed)
                    .expect("open")
                    .set_modified(written)
                    .expect("time");
                fs::remove_file(&*path).expect("delete");
                *path = compressed;
            }
            Step::Look => self.look(),
            Step::Commit => {
                let (tail, _) = self.tail.as_mut().expect("runs");
                tail.take_deliveries();
                tail.write_rows();
                if self.looked && self.open.is_none() {
                    self.committed = self.rotated.len() - usize::from(self.copied);
                }
            }
            Step::Kill => {
                self.kill();
                self.start();
            }
        }
    }

    fn look(&mut self) {
        self.looked = true;
        let (tail, _) = self.tail.as_mut().expect("runs");
        // Twice: what a read finds out may queue other files.
        for _ in 0..2 {
            tail.take_events();
            tail.scan(false);
            tail.look_at_orphans();
            while !tail.ready.is_empty() {
                assert!(tail.read_round());
            }
        }
    }

    fn kill(&mut self) {
        if let Some((tail, engine)) = self.tail.take() {
            drop(tail);
            self.lives.push(std::mem::take(&mut *engine.handed.lock().expect("lock")));
        }
    }

    /// All is read and written; then which records came out, and what was broken.
    fn end(mut self) -> (u64, BTreeSet<u64>, Vec<String>) {
        if self.copied {
            self.step(Step::Truncate);
        }
        if !self.there {
            self.step(Step::Create);
        }
        self.step(Step::Write);
        self.look();
        self.kill();
        let (mut whole, mut broken) = (BTreeSet::new(), Vec::new());
        for life in &self.lives {
            let mut once = BTreeSet::new();
            let mut note = |whole: &mut BTreeSet<u64>, broken: &mut Vec<String>, n: &str| {
                let n = n.parse().expect("number");
                whole.insert(n);
                broken.extend((!once.insert(n)).then(|| format!("{n} comes twice")));
            };
            // What a source holds when the program is killed is nobody's loss: it was not committed.
            let mut open: HashMap<usize, &str> = HashMap::new();
            for handed in life {
                for line in std::str::from_utf8(&handed.bytes).expect("text").lines() {
                    let (kind, n) = line.split_at(2);
                    match kind {
                        ". " => note(&mut whole, &mut broken, n),
                        "P " => {
                            broken.extend(open.insert(handed.source, n).map(|n| format!("P {n} is alone")))
                        }
                        _ if open.remove(&handed.source) == Some(n) => note(&mut whole, &mut broken, n),
                        _ => broken.push(format!("F {n} is alone")),
                    }
                }
            }
        }
        (self.next, whole, broken)
    }
}

/// Steps that a seed chooses.
fn steps(seed: u64, kinds: &[Step]) -> Vec<Step> {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    (0..STEPS).map(|_| kinds[dice.below(kinds.len() as u64) as usize]).collect()
}

/// Makes the steps that can be made; says what went wrong.
fn run(pattern: &'static str, steps: &[Step]) -> Option<String> {
    let mut world = World::new(pattern);
    for &step in steps {
        if world.allows(step) {
            world.step(step);
        }
    }
    let (written, whole, broken) = world.end();
    let missing: Vec<u64> = (0..written).filter(|n| !whole.contains(n)).collect();
    (!missing.is_empty() || !broken.is_empty()).then(|| format!("missing {missing:?}, {broken:?}"))
}

/// Leaves out steps as long as it goes wrong without them.
fn shrunk(pattern: &'static str, mut steps: Vec<Step>) -> Vec<Step> {
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if run(pattern, &fewer).is_some() {
            steps = fewer;
            at = at.min(steps.len());
        }
    }
    steps
}

fn all_come_out_whole(pattern: &'static str, kinds: &[Step]) {
    let from: u64 = std::env::var("RIPSAW_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    for seed in from..from + SEEDS {
        let steps = steps(seed, kinds);
        if let Some(wrong) = run(pattern, &steps) {
            let steps = shrunk(pattern, steps);
            panic!("seed {seed}: {wrong}; shortest: {}: {steps:?}", run(pattern, &steps).unwrap_or_default());
        }
    }
}

use Step::{Commit, Compress, CopyAside, Create, Delete, Kill, Look, Part, Rename, Truncate, Write};

#[test]
fn renamed_files() {
    all_come_out_whole(
        "a.log",
        &[Write, Part, Part, Rename, Create, Look, Look, Commit, Commit, Kill, Delete],
    );
}

#[test]
fn copied_and_truncated_files() {
    all_come_out_whole(
        "a.log",
        &[Write, Part, Part, CopyAside, Truncate, Look, Look, Commit, Commit, Kill, Delete],
    );
}

#[test]
fn renamed_files_that_the_pattern_finds() {
    all_come_out_whole(
        "a.log*",
        &[Write, Part, Part, Rename, Create, Look, Look, Commit, Commit, Kill, Delete],
    );
}

#[test]
fn copied_files_that_the_pattern_finds() {
    all_come_out_whole(
        "a.log*",
        &[Write, Write, Write, CopyAside, Truncate, Look, Look, Commit, Commit, Kill, Delete],
    );
}

#[test]
fn compressed_files_that_the_pattern_finds() {
    all_come_out_whole(
        "a.log*",
        &[Write, Write, Rename, Create, Compress, Look, Look, Commit, Commit, Delete],
    );
}

#[test]
fn what_was_never_seen_at_its_path_is_compressed() {
    let steps = [Write, Rename, Create, Rename, Create, Write, Compress, Rename, Look, Compress];
    assert_eq!(run("a.log*", &steps), None);
}

#[test]
fn a_file_that_comes_and_is_renamed_between_two_looks() {
    for steps in [
        &[Look, Rename, Commit, Delete, Kill, Create, Part, Rename, Look][..],
        &[Rename, Look, Commit, Delete, Kill, Create, Write, Rename, Look],
        &[Rename, Look, Commit, Delete, Kill, Create, Write, Rename, Create, Write, Rename, Look, Kill],
    ] {
        for pattern in ["a.log", "a.log*"] {
            assert_eq!(run(pattern, steps), None, "{pattern} {steps:?}");
        }
    }
}

#[test]
fn one_of_two_rotations_while_it_is_down_is_compressed() {
    let before = [Write, Look, Commit, Part, Rename];
    for (name, down) in [
        ("none", vec![Create, Part, Rename, Create]),
        ("the first", vec![Compress, Create, Part, Rename, Create]),
        ("the middle one", vec![Create, Part, Rename, Compress, Create]),
        ("both", vec![Compress, Create, Part, Rename, Compress, Create]),
    ] {
        let steps = [&before[..], &down, &[Kill, Look, Part, Commit, Kill, Look, Kill]].concat();
        assert_eq!(run("a.log", &steps), None, "compressed: {name}");
    }
}
