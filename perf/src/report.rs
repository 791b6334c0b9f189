//! What a record holds: the machine, the versions, the command, every run; as Markdown and as JSON.
//!
//! Owns: both forms. Never: measures.

use crate::clock::Moment;
use crate::corpus::VERSION;
use crate::engine::{Cost, Engine};
use crate::syscalls::{Calls, FILES};
use serde_json::{Value, json};

/// Where and how it was measured.
#[derive(Debug)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    /// UTC.
    date: String,
    command: String,
    versions: Vec<(&'static str, String)>,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here(engines: &[Engine]) -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            text.lines()
                .find(|l| l.starts_with(key))
                .and_then(|l| l.split(':').nth(1))
                .map(|v| v.trim().to_owned())
        };
        let memory =
            field(&read("/proc/meminfo"), "MemTotal").and_then(|m| m.split(' ').next()?.parse::<f64>().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Machine {
            // Arm has no model name there.
            cpu: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory.unwrap_or(0.0) / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: Moment::new(now.as_secs(), 0).iso(),
            command: command(std::env::args().skip(1)),
            versions: engines.iter().map(|e| (e.role, e.version())).collect(),
        }
    }

    fn markdown(&self) -> String {
        let versions: String =
            self.versions.iter().map(|(role, version)| format!("- {role}: {version}\n")).collect();
        format!(
            "# Measured {}Z\n\n- machine: {}, {} cores, {:.0} GiB, Linux {}\n{versions}- command: `{}`\n- corpora: version {VERSION}\n",
            self.date, self.cpu, self.cores, self.memory_gib, self.kernel, self.command
        )
    }

    fn json(&self) -> Value {
        let versions: serde_json::Map<_, _> =
            self.versions.iter().map(|(role, v)| ((*role).to_owned(), json!(v))).collect();
        json!({
            "date": format!("{}Z", self.date), "cpu": self.cpu, "cores": self.cores, "memory_gib": self.memory_gib,
            "kernel": self.kernel, "command": self.command, "versions": versions, "corpora": VERSION,
        })
    }
}

/// The command as it was given; of paths only the file names, since a record leaves the machine.
fn command(words: impl Iterator<Item = String>) -> String {
    words
        .fold("perf".to_owned(), |all, word| format!("{all} {}", word.rsplit('/').next().unwrap_or_default()))
}

/// Runs of one scenario.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The scenario's name.
    pub(crate) name: &'static str,
    /// And what it is.
    pub(crate) about: &'static str,
    /// Megabytes (10^6) of its files.
    pub(crate) megabytes: f64,
    /// Lines written by each engine.
    pub(crate) lines: u64,
    /// Runs by engine, in the order of the engines.
    pub(crate) runs: Vec<(&'static str, Vec<Cost>)>,
    /// Why it does not count, where it does not.
    pub(crate) problem: Option<String>,
}

impl Outcome {
    fn median(&self, role: &str, part: fn(&Cost) -> f64) -> Option<f64> {
        let (_, runs) = self.runs.iter().find(|(r, _)| *r == role)?;
        median(runs.iter().map(part).collect())
    }

    /// How many times more the peer needs, where the scenario counts.
    pub(crate) fn ratio(&self, part: fn(&Cost) -> f64) -> Option<f64> {
        let (ours, peer) = (self.median("ours", part)?, self.median("peer", part)?);
        (self.problem.is_none() && ours > 0.0).then_some(peer / ours)
    }

    /// Its row of the table.
    pub(crate) fn row(&self) -> String {
        let both = |part: fn(&Cost) -> f64, digits: usize, scale: f64| {
            let cells = ["ours", "peer"].map(|role| {
                self.median(role, part).map_or("–".to_owned(), |v| format!("{:.digits$}", v / scale))
            });
            format!("{} / {}", cells[0], cells[1])
        };
        let speed = self
            .median("ours", cpu)
            .map_or("–".to_owned(), |seconds| format!("{:.0}", self.megabytes / seconds));
        let ratio = match (&self.problem, self.ratio(cpu), self.ratio(rss)) {
            (Some(problem), ..) => format!("does not count: {problem} | –"),
            (None, Some(cpu), Some(rss)) => format!("**{cpu:.1}×** | {rss:.1}×"),
            _ => "– | –".to_owned(),
        };
        let (cpus, walls, memory) = (both(cpu, 2, 1.0), both(wall, 2, 1.0), both(rss, 0, f64::from(1 << 20)));
        format!(
            "| {} | {:.0} | {} | {cpus} | {speed} | {walls} | {memory} | {ratio} |",
            self.name, self.megabytes, self.lines
        )
    }

    fn json(&self) -> Value {
        let runs = self.runs.iter().map(|(role, runs)| {
            let runs = runs.iter().map(
                |r| json!({"cpu_seconds": r.cpu, "wall_seconds": r.wall, "rss_bytes": r.rss, "good": r.good}),
            );
            ((*role).to_owned(), Value::Array(runs.collect()))
        });
        json!({
            "name": self.name, "about": self.about, "megabytes": self.megabytes, "lines": self.lines,
            "runs": runs.collect::<serde_json::Map<_, _>>(), "problem": self.problem, "ratio_cpu": self.ratio(cpu), "ratio_rss": self.ratio(rss),
        })
    }
}

fn cpu(cost: &Cost) -> f64 {
    cost.cpu
}

fn wall(cost: &Cost) -> f64 {
    cost.wall
}

fn rss(cost: &Cost) -> f64 {
    cost.rss as f64
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[values.len() / 2 - 1] + upper) / 2.0 })
}

/// Heads of the table.
pub(crate) const HEAD: &str = "| scenario | MB | lines | CPU s (ours / peer) | ours MB per CPU s | wall s | peak MiB | CPU ratio | memory ratio |\n\
                               |---|---|---|---|---|---|---|---|---|";

/// Everything of one call.
#[derive(Debug)]
pub(crate) struct Report {
    /// Where.
    pub(crate) machine: Machine,
    /// Runs of each.
    pub(crate) runs: usize,
    /// Scenarios.
    pub(crate) outcomes: Vec<Outcome>,
    /// System calls by engine.
    pub(crate) calls: Vec<(&'static str, Option<Calls>)>,
}

impl Report {
    /// For people.
    pub(crate) fn markdown(&self) -> String {
        let rows: String = self.outcomes.iter().map(|o| o.row() + "\n").collect();
        let mut text = format!(
            "{}\nMedians of {} runs each; CPU is user and system time of the whole process.\n\n",
            self.machine.markdown(),
            self.runs
        );
        if !self.outcomes.is_empty() {
            text += &format!("{HEAD}\n{rows}\n");
        }
        if !self.calls.is_empty() {
            text += &format!(
                "System calls over {FILES} busy files, read by tail into null:\n\n| engine | MB | calls | calls per MB | most frequent |\n|---|---|---|---|---|\n"
            );
        }
        for (role, calls) in &self.calls {
            text += &match calls {
                Some(c) => format!(
                    "| {role} | {:.1} | {} | {:.0} | {} |\n",
                    c.megabytes,
                    c.total,
                    c.per_megabyte(),
                    c.most(6)
                ),
                None => format!("| {role} | – | the run failed | – | – |\n"),
            };
        }
        text
    }

    /// For programs: every run.
    pub(crate) fn json(&self) -> Value {
        let calls = self.calls.iter().map(|(role, calls)| {
            let calls = calls.as_ref().map(|c| json!({"total": c.total, "megabytes": c.megabytes, "per_megabyte": c.per_megabyte(), "by_name": c.by_name}));
            ((*role).to_owned(), calls.unwrap_or(Value::Null))
        });
        json!({
            "machine": self.machine.json(), "runs": self.runs,
            "scenarios": self.outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
            "system_calls": calls.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// True when all that was run counts.
    pub(crate) fn good(&self) -> bool {
        self.outcomes.iter().all(|o| o.problem.is_none()) && self.calls.iter().all(|(_, c)| c.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(problem: Option<String>) -> Outcome {
        let cost = |cpu, rss: u64| Cost { cpu, wall: cpu, rss: rss << 20, good: true };
        let ours = vec![cost(1.0, 20), cost(3.0, 10), cost(2.0, 30)];
        let peer = vec![cost(20.0, 40), cost(10.0, 80)];
        Outcome {
            name: "json",
            about: "x",
            megabytes: 268.4,
            lines: 7,
            runs: vec![("ours", ours), ("peer", peer)],
            problem,
        }
    }

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(vec![]), None);
        let row = outcome(None).row();
        assert_eq!(row, "| json | 268 | 7 | 2.00 / 15.00 | 134 | 2.00 / 15.00 | 20 / 60 | **7.5×** | 3.0× |");
        assert_eq!(outcome(None).json()["ratio_cpu"], 7.5);
        let bad = outcome(Some("contents differ".into()));
        assert!(
            bad.row().ends_with("| does not count: contents differ | – |")
                && bad.json()["ratio_cpu"].is_null()
        );
    }

    #[test]
    fn a_command_holds_no_paths() {
        let words = ["--ours", "target/release/ripsaw", "--peer", "/opt/bin/fluent-bit", "-k", "cri"]
            .map(str::to_owned);
        assert_eq!(command(words.into_iter()), "perf --ours ripsaw --peer fluent-bit -k cri");
    }

    #[test]
    fn a_failed_count_fails_the_whole() {
        let engines = [Engine { role: "ours", binary: "/bin/true".into() }];
        let mut report = Report {
            machine: Machine::here(&engines),
            runs: 3,
            outcomes: vec![outcome(None)],
            calls: Vec::new(),
        };
        assert!(report.good() && report.markdown().contains("| json |"));
        report.calls.push(("ours", None));
        assert!(!report.good() && report.json()["system_calls"]["ours"].is_null());
    }
}
