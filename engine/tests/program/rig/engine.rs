//! The program under test: `RIPSAW_BIN` where that is set, else what cargo built.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running engine; killed when dropped. Its messages are in the file `messages` of its folder.
pub(crate) struct Engine {
    child: Child,
    folder: PathBuf,
}

/// The program.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("RIPSAW_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ripsaw").into(), PathBuf::from)
}

impl Engine {
    /// Starts the program in a folder with this configuration.
    pub(crate) fn start(folder: &Path, conf: &str) -> Engine {
        Engine::start_by(Command::new(program()), folder, conf)
    }

    /// Starts it by a command that takes the program's arguments (such as `strace … ripsaw`).
    pub(crate) fn start_by(mut command: Command, folder: &Path, conf: &str) -> Engine {
        std::fs::write(folder.join("ripsaw.conf"), conf).unwrap();
        let messages =
            std::fs::OpenOptions::new().create(true).append(true).open(folder.join("messages")).unwrap();
        command.args(["-c", "ripsaw.conf"]).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages);
        Engine { child: command.spawn().unwrap(), folder: folder.to_owned() }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) -> Instant {
        self.child.kill().unwrap();
        let at = Instant::now();
        self.child.wait().unwrap();
        at
    }

    /// Waits for its end; `None` when it goes on for longer than `patience`.
    pub(crate) fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let mut status = None;
        super::wait_for(patience, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status
    }

    /// SIGTERM; the exit code, and how long it took.
    pub(crate) fn stop(self, patience: Duration) -> (Option<i32>, Duration) {
        self.signal(Signal::TERM);
        self.stop_signalled(patience)
    }

    /// The same, when it was told to end just now.
    pub(crate) fn stop_signalled(mut self, patience: Duration) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let status = self.ended(patience);
        assert!(status.is_some(), "it goes on for {patience:?} after SIGTERM\n{}", self.messages());
        (status.and_then(|s| s.code()), begun.elapsed())
    }

    /// What it said so far.
    pub(crate) fn messages(&self) -> String {
        messages(&self.folder)
    }

    /// Waits until it says something that holds `text`.
    pub(crate) fn says(&self, text: &str) {
        let said = super::wait_for(Duration::from_secs(20), || self.messages().contains(text));
        assert!(said, "`{text}` was not said:\n{}", self.messages());
    }

    /// Most memory that it ever held, in kB.
    pub(crate) fn memory_peak_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the engines that ran in a folder said.
pub(crate) fn messages(folder: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join("messages")).unwrap_or_default()).into_owned()
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the engine's HTTP server on `port` answers to a GET, head and body; `None` while it does not.
pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The sum of a metric over its labels; `None` while the engine does not tell it.
pub(crate) fn metric(port: u16, name: &str) -> Option<f64> {
    let text = get(port, "/api/v2/metrics/prometheus")?;
    let values = text.lines().filter(|l| l.strip_prefix(name).is_some_and(|r| r.starts_with(['{', ' '])));
    let values: Vec<f64> = values
        .filter_map(|l| l.rsplit('}').next()?.split_whitespace().find_map(|word| word.parse().ok()))
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Waits until a metric is at least `least`.
pub(crate) fn counts(port: u16, name: &str, least: f64) {
    let mut last = None;
    let reached = super::wait_for(Duration::from_secs(20), || {
        last = metric(port, name);
        last.is_some_and(|v| v >= least)
    });
    assert!(reached, "{name} is {last:?}, not {least}");
}
