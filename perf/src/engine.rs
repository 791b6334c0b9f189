//! One run of an engine: a black box that takes a `fluent-bit.conf`.
//!
//! Owns: starting, watching and stopping the process, and what it cost. Never: looks at what it wrote.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run that takes longer is ended and does not count.
const RUN_TIME_MAX: Duration = Duration::from_secs(900);
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often the engine is asked how far it is; asking costs it something.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// A binary to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    /// `ours` or `peer`.
    pub(crate) role: &'static str,
    /// Its absolute path.
    pub(crate) binary: PathBuf,
}

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The engine ends by itself.
    Itself,
    /// It is told to stop once its monitoring server on this port counts so many delivered records.
    Delivered { records: u64, port: u16 },
    /// It is told to stop after so many seconds.
    After { seconds: u64 },
}

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// User and system time of the whole process in seconds.
    pub(crate) cpu: f64,
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Peak of resident memory in bytes.
    pub(crate) rss: u64,
    /// Ended with code 0, and in time.
    pub(crate) good: bool,
}

impl Engine {
    /// What it says of its version, in one line.
    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.binary).arg("-V").output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().find(|l| !l.is_empty()).unwrap_or("unknown").to_owned()
    }

    /// Runs it in `work` with the configuration `c.conf` there, behind the words of `prefix` (`taskset …`, `strace …`).
    pub(crate) fn run(&self, work: &Path, prefix: &[String], end: End) -> Result<Cost> {
        let binary = self.binary.display().to_string();
        let mut words = prefix.iter().cloned().chain([binary, "-q".into(), "-c".into(), "c.conf".into()]);
        let program = words.next().unwrap_or_default();
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let started = Instant::now();
        let child = command.spawn()?;
        let pid = child.id();
        let (mut rss, mut asked, mut told, mut late) = (0, started, false, false);
        loop {
            rss = rss.max(self.peak_memory(pid));
            if let Some((code, cpu)) = ended(pid)? {
                return Ok(Cost {
                    cpu,
                    wall: started.elapsed().as_secs_f64(),
                    rss,
                    good: code == 0 && !late,
                });
            }
            if let End::Delivered { records, port } = end
                && !told
                && asked.elapsed() > ASK_EVERY
            {
                asked = Instant::now();
                if delivered(port).is_some_and(|n| n >= records) {
                    signal(pid, libc::SIGTERM);
                    told = true;
                }
            }
            if let End::After { seconds } = end
                && !told
                && started.elapsed() > Duration::from_secs(seconds)
            {
                signal(pid, libc::SIGTERM);
                told = true;
            }
            if !late && started.elapsed() > RUN_TIME_MAX {
                late = true;
                signal(pid, libc::SIGKILL);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// `VmHWM` in bytes; 0 while the process is still what starts the engine.
    fn peak_memory(&self, pid: u32) -> u64 {
        if std::fs::read_link(format!("/proc/{pid}/exe")).ok().as_deref() != Some(&*self.binary) {
            return 0;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak =
            status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next());
        peak.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

/// The raw status and the CPU seconds of a child that has ended, its waited-for children included.
fn ended(pid: u32) -> Result<Option<(i32, f64)>> {
    let mut status = 0;
    // SAFETY: `usage` is plain data and both pointers are valid for the call; the child is ours and not waited for yet,
    // as `std::process::Child` is never asked.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid as libc::pid_t, &mut status, libc::WNOHANG, &mut usage), usage)
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    match waited {
        0 => Ok(None),
        -1 => Err(Error::last_os_error()),
        _ => Ok(Some((status, seconds(usage.ru_utime) + seconds(usage.ru_stime)))),
    }
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: the call touches no memory; the process is a child that has not been waited for, so that its number is its own.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

/// Records that all outputs delivered, as `/api/v1/metrics` counts them.
fn delivered(port: u16) -> Option<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET /api/v1/metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    // Some servers keep the connection open: the body ends where its JSON does.
    loop {
        let read = stream.read(&mut part).ok()?;
        answer.extend_from_slice(&part[..read]);
        if let Some(count) = count_delivered(&answer) {
            return Some(count);
        }
        if read == 0 {
            return None;
        }
    }
}

fn count_delivered(answer: &[u8]) -> Option<u64> {
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let metrics: serde_json::Value = serde_json::from_slice(&answer[body..]).ok()?;
    Some(metrics["output"].as_object()?.values().filter_map(|o| o["proc_records"].as_u64()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Cost {
        let work = std::env::temp_dir();
        // `sh -c SCRIPT` takes the engine's own words as its arguments.
        let prefix = ["sh", "-c", script].map(str::to_owned);
        let engine = Engine { role: "ours", binary: "/bin/true".into() };
        engine.run(&work, &prefix, End::Itself).expect("sh is there")
    }

    #[test]
    fn a_run_is_good_only_with_code_0() {
        assert!(shell("exit 0").good);
        assert!(!shell("exit 3").good);
        assert!(!shell("kill -9 $$").good);
    }

    #[test]
    fn processor_time_of_children_counts() {
        let cost = shell("i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done");
        assert!(cost.cpu > 0.001 && cost.cpu <= cost.wall * 1.5 + 0.1, "{cost:?}");
    }

    #[test]
    fn delivered_records_of_all_outputs() {
        let body = r#"{"input":{},"output":{"a.0":{"proc_records":3},"b.1":{"proc_records":4,"errors":9}}}"#;
        assert_eq!(count_delivered(format!("HTTP/1.1 200\r\nx: y\r\n\r\n{body}").as_bytes()), Some(7));
        assert_eq!(count_delivered(format!("HTTP/1.1 200\r\n\r\n{}", &body[..40]).as_bytes()), None);
        assert_eq!(count_delivered(b"HTTP/1.1 404\r\n\r\n"), None);
    }
}
