//! System calls over a hundred busy files, counted with `strace -f -c`.
//!
//! Owns: the writer of the files, the reading of strace's table. Never: compares CPU: tracing changes it.

use crate::corpus::Corpus;
use crate::engine::{End, Engine};
use crate::rng::Rng;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Files that are written at once.
pub(crate) const FILES: usize = 100;
/// How often each file grows.
const ROUNDS: usize = 50;
/// Lines a file grows by at once: a few KiB, as a busy container writes between two looks.
const LINES: usize = 20;
/// Pause between rounds.
const PAUSE: Duration = Duration::from_millis(40);

/// What strace counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Calls {
    /// All calls.
    pub(crate) total: u64,
    /// Calls by name.
    pub(crate) by_name: BTreeMap<String, u64>,
    /// Megabytes that were read.
    pub(crate) megabytes: f64,
}

impl Calls {
    /// Calls per megabyte read.
    pub(crate) fn per_megabyte(&self) -> f64 {
        self.total as f64 / self.megabytes
    }

    /// The most frequent ones, as `read 120, write 7`.
    pub(crate) fn most(&self, count: usize) -> String {
        let mut calls: Vec<_> = self.by_name.iter().collect();
        calls.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        calls.iter().take(count).map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
    }
}

/// True when strace can be run.
pub(crate) fn available() -> bool {
    Command::new("strace").arg("-V").output().is_ok_and(|o| o.status.success())
}

/// Counts the calls of one engine; `None` when it did not deliver every record or ended badly.
pub(crate) fn count(engine: &Engine, work: &Path, port: u16) -> Result<Option<Calls>> {
    let logs = work.join("busy");
    std::fs::create_dir_all(&logs)?;
    let mut files =
        (0..FILES).map(|n| File::create(logs.join(format!("{n:03}.log")))).collect::<Result<Vec<_>>>()?;
    std::fs::write(work.join("c.conf"), configuration(&logs.display().to_string(), port))?;
    let records = (FILES * ROUNDS * LINES) as u64;
    let table = work.join("strace.txt");
    // `-D` makes the engine itself our child, so that it is what gets the signal.
    let prefix = ["strace", "-D", "-f", "-c", "-o"]
        .map(str::to_owned)
        .into_iter()
        .chain([table.display().to_string()]);
    let prefix: Vec<_> = prefix.collect();
    let (cost, bytes) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&mut files));
        let cost = engine.run(work, &prefix, End::Delivered { records, port });
        (cost, writer.join().unwrap_or_else(|_| Err(std::io::Error::other("the writer panicked"))))
    });
    let (cost, bytes) = (cost?, bytes?);
    let text = wait_for_table(&table);
    std::fs::remove_dir_all(&logs)?;
    let mut calls = parse(&text);
    calls.megabytes = bytes as f64 / 1e6;
    Ok((cost.good && calls.total > 0).then_some(calls))
}

/// Grows every file round after round; gives the bytes written.
fn write(files: &mut [File]) -> Result<u64> {
    let (mut rng, mut index, mut bytes, mut lines) = (Rng::named("busy"), 0, 0, Vec::new());
    for _ in 0..ROUNDS {
        for file in files.iter_mut() {
            lines.clear();
            for _ in 0..LINES {
                Corpus::Cri.write(&mut rng, index, &mut lines);
                index += 1;
            }
            file.write_all(&lines)?;
            bytes += lines.len() as u64;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(bytes)
}

fn configuration(logs: &str, port: u16) -> String {
    format!(
        "[SERVICE]\n    Flush        1\n    Grace        5\n    Log_Level    error\n    HTTP_Server  On\n    HTTP_Listen  127.0.0.1\n    \
         HTTP_Port    {port}\n[INPUT]\n    Name              tail\n    Path              {logs}/*.log\n    Tag               app\n    \
         Read_from_Head    On\n    multiline.parser  cri\n[OUTPUT]\n    Name   null\n    Match  *\n"
    )
}

/// strace writes its table just after the engine has ended.
fn wait_for_table(table: &Path) -> String {
    for _ in 0..100 {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        if text.lines().last().is_some_and(|l| l.ends_with("total")) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    String::new()
}

/// Reads lines such as ` 12.34    0.000123           1       120        3 read`.
fn parse(text: &str) -> Calls {
    let mut calls = Calls::default();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, _, _, count, .., name] = &words[..] else { continue };
        let Ok(count) = count.parse::<u64>() else { continue };
        match *name {
            "total" => calls.total = count,
            name => drop(calls.by_name.insert(name.to_owned(), count)),
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    60.00    0.000600           6       100           read\n \
                    40.00    0.000400           2       200        20 openat\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.001000           3       300        20 total\n";
        let calls = Calls { megabytes: 2.0, ..parse(text) };
        assert_eq!((calls.total, calls.per_megabyte()), (300, 150.0));
        assert_eq!(calls.most(2), "openat 200, read 100");
        assert_eq!(parse(""), Calls::default());
    }
}
