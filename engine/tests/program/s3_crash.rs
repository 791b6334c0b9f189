//! `s3` killed at any moment: after a restart everything is in S3, whole, and nothing is left half-made.
//!
//! `RIPSAW_S3_SWEEP` is the number of runs (32 without it); `RIPSAW_SEED` repeats one sweep.

use crate::rig::engine::Engine;
use crate::rig::{Dice, Folder, wait_for};
use outputs::fakes::S3Fake;
use outputs::fakes::s3::{Cue, Fail};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs where nothing else is asked for.
const RUNS: usize = 32;
/// Runs at the same time: most of each is waiting.
const AT_ONCE: usize = 4;
/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// What may come twice, in bytes: a part, and what tail delivered since it last noted its offsets (every 250 ms). Of what s3
/// accepted it sends nothing twice under two keys; the unit tests hold that.
const TWICE_BYTES_MAX: usize = (5 + 8) << 20;
/// Bytes of a line.
const LINE_BYTES: usize = 1000;

/// How objects are made, and how many lines it takes.
const FORMS: &[(&str, &str, usize)] = &[
    ("parts", "total_file_size 12M\n upload_timeout 2s\n", 14_000),
    ("put", "use_put_object on\n total_file_size 1M\n upload_timeout 1s\n", 3_500),
    ("parts, zstd", "total_file_size 12M\n upload_timeout 2s\n compression zstd\n", 16_000),
    (
        "put, gzip, index",
        "use_put_object on\n total_file_size 1M\n upload_timeout 1s\n compression gzip\n s3_key_format /x/$INDEX\n",
        3_500,
    ),
];

/// When the program is killed.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// Instead of this call, or when it is done and nobody heard of it.
    Call(usize, bool),
    /// After so many milliseconds.
    After(u64),
}

/// One run.
#[derive(Debug)]
struct Run {
    form: usize,
    kill: Kill,
    fails: Vec<Option<Fail>>,
}

/// What all runs add up to.
#[derive(Debug, Default)]
struct Sum {
    runs: usize,
    kills_at_calls: usize,
    faults: usize,
    records: usize,
    objects: usize,
    missing: usize,
    twice: usize,
    twice_bytes_most: usize,
    broken: usize,
    unfinished: usize,
}

/// Line `n`, which does not compress to nothing.
fn line(n: usize) -> String {
    let mut dice = Dice::new(n as u64 + 1);
    let mut line = format!("{n} ");
    while line.len() < LINE_BYTES {
        line.push(char::from(b'a' + dice.below(26) as u8));
    }
    line
}

fn runs(count: usize, dice: &mut Dice) -> Vec<Run> {
    let calls = [7, 4];
    // Between each pair of calls first, then anything.
    let mut runs: Vec<Run> = (0..2)
        .flat_map(|form| (0..calls[form]).map(move |call| (form, call)))
        .flat_map(|(form, call)| [false, true].map(|done| (form, Kill::Call(call, done))))
        .map(|(form, kill)| Run { form, kill, fails: Vec::new() })
        .collect();
    while runs.len() < count {
        let kill = match dice.below(2) {
            0 => Kill::Call(dice.below(10) as usize, dice.below(2) == 0),
            _ => Kill::After(dice.below(2500)),
        };
        let fails = (0..dice.below(6)).map(|_| fail(dice)).collect();
        runs.push(Run { form: dice.below(FORMS.len() as u64) as usize, kill, fails });
    }
    runs.truncate(count);
    runs
}

fn fail(dice: &mut Dice) -> Option<Fail> {
    Some(match dice.below(12) {
        0 => Fail::Code(500, "InternalError"),
        1 => Fail::Code(503, "SlowDown"),
        2 => Fail::Code(400, "RequestTimeout"),
        3 => Fail::Torn,
        4 => Fail::Hidden("InternalError"),
        5 => Fail::Forget,
        _ => return None,
    })
}

fn conf(fake: &S3Fake, form: usize) -> String {
    format!(
        "[SERVICE]\n flush 0.2\n grace 20\n log_level info\n scheduler.base 1\n scheduler.cap 1\n\
         [INPUT]\n name tail\n path logs/*.log\n tag app\n db state.db\n read_from_head on\n refresh_interval 1\n\
         [OUTPUT]\n name s3\n match *\n bucket b\n endpoint {}\n log_key log\n store_dir store\n {}",
        fake.endpoint(),
        FORMS[form].1
    )
}

fn start(folder: &Folder, conf: &str) -> Engine {
    let mut command = std::process::Command::new(crate::rig::engine::program());
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example-secret");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    Engine::start_by(command, folder.path(), conf)
}

/// An object's text.
fn text(form: usize, object: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match FORMS[form].0 {
        "parts, zstd" => zstd::Decoder::new(object)?.read_to_end(&mut text)?,
        "put, gzip, index" => flate2::read::MultiGzDecoder::new(object).read_to_end(&mut text)?,
        _ => (&object[..]).read_to_end(&mut text)?,
    };
    Ok(text)
}

/// How often each line is in S3; also says how many objects are broken.
fn found(fake: &S3Fake, form: usize) -> (BTreeMap<usize, usize>, usize) {
    let objects: Vec<Vec<u8>> = fake.state().objects.values().cloned().collect();
    let (mut lines, mut broken) = (BTreeMap::new(), 0);
    for object in objects {
        let Ok(text) = text(form, &object) else {
            broken += 1;
            continue;
        };
        let mut whole = text.ends_with(b"\n");
        for text in text.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            let n = std::str::from_utf8(text).ok().and_then(|text| text.split(' ').next()?.parse().ok());
            match n.filter(|n| line(*n).as_bytes() == text) {
                Some(n) => *lines.entry(n).or_insert(0) += 1,
                None => whole = false,
            }
        }
        broken += usize::from(!whole);
    }
    (lines, broken)
}

fn write(folder: &Folder, name: &str, from: usize, to: usize) {
    let text: String = (from..to).map(|n| line(n) + "\n").collect();
    std::fs::write(folder.path().join("logs").join(name), text).unwrap();
}

fn one(fake: &S3Fake, run: Run, sum: &Mutex<Sum>) {
    let (folder, lines) = (Folder::new(), FORMS[run.form].2);
    let what = format!("{run:?}");
    let (faults, at_call) = (run.fails.iter().flatten().count(), matches!(run.kill, Kill::Call(..)));
    let pid = Arc::new(AtomicI32::new(0));
    let killed = pid.clone();
    let kill = move || {
        if let Some(pid) = Pid::from_raw(killed.swap(0, SeqCst)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    };
    {
        let mut state = fake.state();
        state.script.extend(run.fails);
        if let Kill::Call(call, done) = run.kill {
            state.cue = Some(Cue { call, done, act: Box::new(kill) });
        }
    }
    // Most of it is there before the kill, the rest comes after it.
    write(&folder, "a.log", 0, lines * 3 / 4);
    let conf = conf(fake, run.form);
    let mut first = start(&folder, &conf);
    pid.store(first.pid(), SeqCst);
    match run.kill {
        Kill::After(millis) => std::thread::sleep(Duration::from_millis(millis)),
        Kill::Call(..) => drop(first.ended(Duration::from_secs(10))),
    }
    pid.store(0, SeqCst);
    first.kill();
    fake.state().cue = None;
    write(&folder, "b.log", lines * 3 / 4, lines);
    let second = start(&folder, &conf);
    let mut seen = 0;
    let arrived = wait_for(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(100));
        let objects = fake.state().objects.len();
        let look = objects != seen;
        seen = objects;
        look && found(fake, run.form).0.len() == lines
    });
    let messages = second.messages();
    let (code, _) = second.stop(Duration::from_secs(30));
    let (counts, broken) = found(fake, run.form);
    let twice = counts.values().map(|count| count - 1).sum::<usize>();
    let unfinished = fake.state().unfinished();
    let missing = lines - counts.len();
    if !arrived || broken > 0 || missing > 0 || unfinished > 0 || twice * LINE_BYTES > TWICE_BYTES_MAX {
        println!(
            "{what}: {missing} missing, {broken} broken, {twice} twice, {unfinished} unfinished; calls {:?}\n{messages}",
            fake.state().calls
        );
    }
    assert_eq!(code, Some(0), "{what}\n{messages}");
    let mut sum = sum.lock().unwrap();
    sum.runs += 1;
    sum.kills_at_calls += usize::from(at_call);
    sum.faults += faults;
    sum.records += lines;
    sum.objects += fake.state().objects.len();
    sum.missing += missing;
    sum.broken += broken;
    sum.twice += twice;
    sum.unfinished += unfinished;
    sum.twice_bytes_most = sum.twice_bytes_most.max(twice * LINE_BYTES);
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    let count = std::env::var("RIPSAW_S3_SWEEP").ok().and_then(|n| n.parse().ok()).unwrap_or(RUNS);
    let runs = Mutex::new(runs(count, &mut Dice::roll()).into_iter());
    let sum = Mutex::new(Sum::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(run) = runs.lock().unwrap().next() else { return };
                    let fake = runtime.block_on(S3Fake::start()).unwrap();
                    one(&fake, run, &sum);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    println!("{sum:?}");
    assert_eq!((sum.runs, sum.missing, sum.broken, sum.unfinished), (count, 0, 0, 0), "{sum:?}");
    assert!(sum.twice_bytes_most <= TWICE_BYTES_MAX, "{sum:?}");
}
