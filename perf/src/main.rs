//! The binary `perf`: runs two log engines side by side on the same files. See the README beside this crate.

mod clock;
mod compare;
mod corpus;
mod engine;
mod report;
mod rng;
mod s3_load;
mod s3_sink;
mod scenarios;
mod syscalls;

use compare::{Rules, Written};
use engine::{End, Engine};
use report::{Machine, Outcome, Report};
use scenarios::{PARSERS, POD, SCENARIOS, Scenario};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: perf --ours PATH [--peer PATH] [--runs 3] [--mb 256] [-k NAME] [--cpus LIST] [--data DIR] [--record FILE]
       perf --ours PATH [--peer PATH] --s3-load SECONDS [--rate 30] [--cpus LIST] [--data DIR]

  --ours PATH    the engine to be measured: any binary that takes -q -c fluent-bit.conf
  --peer PATH    the engine to compare it with
  --runs N       runs of each, alternating (default 3)
  --mb N         MiB of logs per scenario (default 256)
  -k NAME        only scenarios whose name holds this; an exact name means that one only
  --cpus LIST    pin the engines to these processors (taskset)
  --data DIR     where corpora are kept (default: under the temporary folder)
  --record FILE  write FILE.md and FILE.json; a name without a slash goes to perf/results/
  --s3-load N    instead: N seconds of records of 1 kB to output s3, into a server that verifies and discards
  --rate N       MB a second of that load (default 30)

scenarios: ";

/// Name of the scenario that counts system calls.
const BUSY: &str = "busy-100";

/// What the command line says.
#[derive(Debug)]
struct Options {
    engines: Vec<Engine>,
    runs: usize,
    megabytes: u64,
    only: String,
    cpus: Option<String>,
    data: PathBuf,
    record: Option<PathBuf>,
    /// Seconds of the steady load of `s3`, instead of scenarios.
    s3_load: Option<u64>,
    /// MB a second of it.
    rate: u64,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            let names: Vec<_> = SCENARIOS.iter().map(|s| s.name).chain([BUSY]).collect();
            eprintln!("perf: {message}\n\n{USAGE}{}", names.join(" "));
            return ExitCode::from(2);
        }
    };
    let done = match options.s3_load {
        None => run(&options),
        Some(seconds) => {
            let load = s3_load::Load { seconds, rate: options.rate };
            s3_load::run(&options.engines, load, &prefix(&options), &options.data)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        engines: Vec::new(),
        runs: 3,
        megabytes: 256,
        only: String::new(),
        cpus: None,
        data: std::env::temp_dir().join("ripsaw-perf"),
        record: None,
        s3_load: None,
        rate: 30,
    };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` is unknown or lacks its value"))?;
        let number = || {
            value
                .parse::<u64>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| format!("`{word}` is {value}, not a positive number"))
        };
        match &*word {
            "--ours" => options.engines.push(engine("ours", &value)?),
            "--peer" => options.engines.push(engine("peer", &value)?),
            "--runs" => options.runs = number()? as usize,
            "--mb" => options.megabytes = number()?,
            "--s3-load" => options.s3_load = Some(number()?),
            "--rate" => options.rate = number()?,
            "-k" => options.only = value,
            "--cpus" => options.cpus = Some(value),
            "--data" => options.data = value.into(),
            "--record" => {
                options.record = Some(if value.contains('/') {
                    value.into()
                } else {
                    Path::new("perf/results").join(value)
                })
            }
            _ => return Err(format!("unknown option `{word}`")),
        }
    }
    if options.engines.is_empty() {
        return Err("`--ours` is missing".to_owned());
    }
    Ok(options)
}

fn engine(role: &'static str, path: &str) -> Result<Engine, String> {
    let binary = std::fs::canonicalize(path).map_err(|error| format!("{role} {path}: {error}"))?;
    Ok(Engine { role, binary })
}

/// Runs what was asked for; false when something of it does not count.
fn run(options: &Options) -> std::io::Result<bool> {
    let work = Work::new()?;
    let exact = SCENARIOS.iter().any(|s| s.name == options.only);
    let wanted = |name: &str| if exact { name == options.only } else { name.contains(&options.only) };
    let mut report = Report {
        machine: Machine::here(&options.engines),
        runs: options.runs,
        outcomes: Vec::new(),
        calls: Vec::new(),
    };
    println!("{}", report::HEAD);
    for scenario in SCENARIOS.iter().filter(|s| wanted(s.name)) {
        let outcome = measure(scenario, options, &work.0)?;
        println!("{}", outcome.row());
        report.outcomes.push(outcome);
    }
    if wanted(BUSY) {
        match syscalls::available() {
            false => eprintln!("perf: {BUSY} is skipped: strace is not there"),
            true => {
                report.calls = options
                    .engines
                    .iter()
                    .map(|e| Ok((e.role, syscalls::count(e, &work.0, free_port()?)?)))
                    .collect::<std::io::Result<_>>()?
            }
        }
    }
    println!("\n{}", report.markdown());
    if let Some(record) = &options.record {
        std::fs::create_dir_all(record.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(record.with_extension("md"), report.markdown())?;
        std::fs::write(record.with_extension("json"), format!("{:#}\n", report.json()))?;
    }
    Ok(report.good())
}

/// Runs both engines in turns and compares what they wrote.
fn measure(scenario: &Scenario, options: &Options, work: &Path) -> std::io::Result<Outcome> {
    let made = scenario.corpus.make(&options.data, options.megabytes, scenario.files)?;
    let prefix = prefix(options);
    let rules = Rules { mask_times: !scenario.timed, any_order: scenario.files > 1 };
    let mut runs: Vec<(&'static str, Vec<_>)> =
        options.engines.iter().map(|e| (e.role, Vec::new())).collect();
    let mut seen: Vec<Written> = Vec::new();
    for turn in 0..options.runs {
        for place in 0..options.engines.len() {
            // Who goes first changes from turn to turn.
            let who = (turn + place) % options.engines.len();
            let port = free_port()?;
            clear(work)?;
            std::fs::write(work.join("parsers.conf"), PARSERS)?;
            std::fs::write(work.join(POD.0), POD.1)?;
            let text =
                scenario.configuration(&made.folder.display().to_string(), &work.display().to_string(), port);
            std::fs::write(work.join("c.conf"), text)?;
            let end = if scenario.ends_itself() {
                End::Itself
            } else {
                End::Delivered { records: scenario.records(made.lines), port }
            };
            runs[who].1.push(options.engines[who].run(work, &prefix, end)?);
            seen.push(compare::written(&work.join("out.txt"), rules)?);
        }
    }
    let problem = problem(&seen, runs.iter().flat_map(|(_, r)| r).all(|r| r.good));
    let lines = seen.first().map_or(0, |w| w.lines);
    Ok(Outcome {
        name: scenario.name,
        about: scenario.about,
        megabytes: made.bytes as f64 / 1e6,
        lines,
        runs,
        problem,
    })
}

/// The words that pin an engine to processors.
fn prefix(options: &Options) -> Vec<String> {
    options.cpus.iter().flat_map(|list| ["taskset".to_owned(), "-c".to_owned(), list.clone()]).collect()
}

/// Why runs do not count.
fn problem(seen: &[Written], all_good: bool) -> Option<String> {
    if !all_good {
        return Some("a run failed".to_owned());
    }
    if seen.iter().any(|w| w.lines == 0) {
        return Some("nothing was written".to_owned());
    }
    let lines: Vec<_> = seen.iter().map(|w| w.lines.to_string()).collect();
    seen.windows(2).any(|w| w[0] != w[1]).then(|| format!("contents differ (lines: {})", lines.join(", ")))
}

/// A folder in memory where there is one, removed at the end.
struct Work(PathBuf);

impl Work {
    fn new() -> std::io::Result<Work> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("ripsaw-perf-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Work(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("perf: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Removes what the run before left: its output, its offsets.
fn clear(work: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(work)? {
        let path = entry?.path();
        if path.is_file() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn command_lines() {
        let options =
            parsed("--ours /bin/true --peer /bin/false --runs 5 --mb 8 -k json --record x").expect("right");
        assert_eq!(
            (options.runs, options.megabytes, &*options.only, options.engines.len()),
            (5, 8, "json", 2)
        );
        assert_eq!(options.record.as_deref(), Some(Path::new("perf/results/x")));
        for wrong in
            ["", "--ours", "--ours /no/such", "--ours /bin/true --runs 0", "--ours /bin/true --what 1"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_count() {
        let wrote = |lines| Written { lines, ..Written::default() };
        assert_eq!(problem(&[wrote(3), wrote(3)], true), None);
        assert_eq!(problem(&[wrote(3), wrote(3)], false).as_deref(), Some("a run failed"));
        assert_eq!(problem(&[wrote(0), wrote(0)], true).as_deref(), Some("nothing was written"));
        assert_eq!(problem(&[wrote(3), wrote(4)], true).as_deref(), Some("contents differ (lines: 3, 4)"));
    }
}
