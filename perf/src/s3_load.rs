//! The steady load of output `s3`: so many megabytes a second of files that are written and rotated, into a sink that
//! verifies and discards.
//!
//! Owns: the writer, the configuration, what is told. Never: knows whose engine it is.

use crate::engine::{Cost, End, Engine};
use crate::rng::Rng;
use crate::s3_sink::{Got, Sink};
use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Bytes of a line with its line end.
const LINE_BYTES: u64 = 1000;
/// Bytes of its text.
pub(crate) const TEXT_BYTES: usize = 960;
/// Bytes of a file of the load, and how many stay before the oldest is removed: a minute of 30 MB a second.
const FILE_BYTES: u64 = 64 << 20;
const FILES_KEPT: u64 = 32;
/// After the last line the engine has so long to catch up, before it is told to stop.
const CATCH_UP_SECONDS: u64 = 15;
/// Pieces of a second in which lines are written.
const TICKS: u64 = 20;

/// Where the text of records comes from: each begins at a place of its own.
#[derive(Debug)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// Words that compress as those of logs do.
    pub(crate) fn new() -> Text {
        const WORDS: [&str; 16] = [
            "request",
            "user",
            "GET",
            "status=200",
            "took",
            "cache",
            "miss",
            "shard",
            "connection",
            "closed",
            "by",
            "peer",
            "timeout",
            "retry",
            "commit",
            "id=",
        ];
        let mut rng = Rng::named("s3-load");
        let mut text = Vec::new();
        while text.len() < 1 << 20 {
            text.extend_from_slice(rng.pick(&WORDS).as_bytes());
            text.extend_from_slice(format!("{:x} ", rng.next() >> 40).as_bytes());
        }
        Text(text)
    }

    /// The text of record `n`.
    pub(crate) fn of(&self, n: u64) -> &[u8] {
        let at = n.wrapping_mul(977) as usize % (self.0.len() - TEXT_BYTES);
        &self.0[at..at + TEXT_BYTES]
    }
}

/// What the load is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Seconds of writing.
    pub(crate) seconds: u64,
    /// MB (1,000,000 bytes) a second.
    pub(crate) rate: u64,
}

impl Load {
    fn records(self) -> u64 {
        self.seconds * self.rate * 1_000_000 / LINE_BYTES
    }
}

/// Runs each engine under the load and tells what came; false when the first one, which is ours, lost or broke something.
pub(crate) fn run(engines: &[Engine], load: Load, cpus: &[String], data: &Path) -> Result<bool> {
    let text = Arc::new(Text::new());
    println!(
        "| engine | records | missing | twice | broken | wrong calls | objects | parts | RSS MB | CPU s | CPU s/GB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut costs = Vec::new();
    let mut good = true;
    for engine in engines {
        let sink = Sink::start(load.records(), &text)?;
        let cost = one(engine, load, cpus, &data.join("s3-load"), &sink, &text)?;
        println!("{}", row(engine, load, &sink.got, cost));
        let lost = sink.got.missing() + sink.got.broken.load(Relaxed) + sink.got.unfinished() as u64;
        good &= engine.role != "ours" || cost.good && lost == 0;
        costs.push(cost.cpu);
    }
    if let [ours, peer] = costs[..] {
        println!("\nCPU, ours beside the peer: {:.2} ({:.1} times less)", ours / peer, peer / ours);
    }
    Ok(good)
}

fn row(engine: &Engine, load: Load, got: &Got, cost: Cost) -> String {
    let gigabytes = (load.records() * LINE_BYTES) as f64 / 1e9;
    format!(
        "| {}{} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.2} |",
        engine.role,
        if cost.good { "" } else { " (failed)" },
        load.records(),
        got.missing(),
        got.twice(),
        got.broken.load(Relaxed),
        got.wrong.load(Relaxed),
        got.objects.load(Relaxed),
        got.parts.load(Relaxed),
        cost.rss as f64 / 1e6,
        cost.cpu,
        cost.cpu / gigabytes
    )
}

fn one(
    engine: &Engine,
    load: Load,
    cpus: &[String],
    work: &Path,
    sink: &Sink,
    text: &Arc<Text>,
) -> Result<Cost> {
    drop(std::fs::remove_dir_all(work));
    std::fs::create_dir_all(work.join("logs"))?;
    std::fs::write(work.join("parsers.conf"), "[PARSER]\n    Name json\n    Format json\n")?;
    std::fs::write(work.join("c.conf"), configuration(sink.port))?;
    let (folder, text) = (work.join("logs"), text.clone());
    let writer = std::thread::spawn(move || write(&folder, load, &text));
    // The keys are no secret: the sink takes any.
    let keys = ["env", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=example-secret"];
    let prefix: Vec<String> =
        keys.iter().map(|word| (*word).to_owned()).chain(cpus.iter().cloned()).collect();
    let cost = engine.run(work, &prefix, End::After { seconds: load.seconds + CATCH_UP_SECONDS })?;
    writer.join().map_err(|_| std::io::Error::other("the writer failed"))??;
    drop(std::fs::remove_dir_all(work));
    Ok(cost)
}

fn configuration(port: u16) -> String {
    format!(
        "[SERVICE]
    Flush           1
    Grace           60
    Parsers_File    parsers.conf
[INPUT]
    Name            tail
    Path            logs/*.log
    Tag             app
    Parser          json
    DB              state.db
    Read_from_Head  on
    Refresh_Interval 1
    Mem_Buf_Limit   64M
[OUTPUT]
    Name            s3
    Match           *
    bucket          load
    region          us-east-1
    endpoint        http://127.0.0.1:{port}
    store_dir       store
    total_file_size 100M
    upload_timeout  1m
"
    )
}

/// Writes lines at a steady rate into files that follow each other.
fn write(folder: &Path, load: Load, text: &Text) -> Result<()> {
    let name = |file: u64| -> PathBuf { folder.join(format!("load-{file:06}.log")) };
    let begun = Instant::now();
    let per_tick = load.records() / load.seconds / TICKS;
    let (mut file, mut written) = (0, 0);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(name(0))?);
    for tick in 0..load.seconds * TICKS {
        for n in tick * per_tick..(tick + 1) * per_tick {
            let head = format!("{{\"n\":{n},\"msg\":\"");
            // Blanks behind the object make all lines of one length; a parser passes over them.
            let blanks = LINE_BYTES as usize - head.len() - TEXT_BYTES - 3;
            out.write_all(head.as_bytes())?;
            out.write_all(text.of(n))?;
            writeln!(out, "\"}}{:blanks$}", "")?;
            written += LINE_BYTES;
        }
        out.flush()?;
        if written >= FILE_BYTES {
            (file, written) = (file + 1, 0);
            out = BufWriter::with_capacity(1 << 20, File::create(name(file))?);
            if file >= FILES_KEPT {
                std::fs::remove_file(name(file - FILES_KEPT))?;
            }
        }
        let due = Duration::from_millis((tick + 1) * 1000 / TICKS);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    Ok(())
}
