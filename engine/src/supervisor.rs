//! `--supervisor`: a parent that starts the program again when it dies.
//!
//! Owns: the child process, signals to it, the wait before a restart. Never: reads a log or sends a record itself.
//! Invariants: one child at a time; a child without its parent stops; a child that ends well, or was told to stop, is
//! not started again.

use crate::log;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::oneshot;

/// Set for the child, as in Fluent Bit.
const ACTIVE: &str = "FLB_SUPERVISOR_ACTIVE";
/// The wait before a restart, doubled each time while children end within [`STABLE`].
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait before a restart.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A child that ran so long was well once.
const STABLE: Duration = Duration::from_secs(60);

/// True in the child of a supervisor; it then stops with its parent.
pub fn is_child() -> bool {
    let child = std::env::var_os(ACTIVE).is_some_and(|value| value == "1");
    if child {
        // Where the kernel refuses, a parent that is killed leaves its child running.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
    }
    child
}

/// Runs the program with these arguments (without its name), from the folder `home`, as a child until it ends well or a signal stops it; gives
/// the exit code.
pub fn run(args: &[String], home: &Path) -> i32 {
    // One thread: the child's life hangs on the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.and_then(|runtime| runtime.block_on(supervise(args, home)));
    result.unwrap_or_else(|error| {
        log!(Error, "supervisor", "cannot supervise: {error}");
        1
    })
}

/// What a signal asks for.
enum Wish {
    Stop(Signal),
    Restart,
}

struct Signals {
    term: Listener,
    int: Listener,
    quit: Listener,
    hup: Listener,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.term.recv() => Wish::Stop(Signal::TERM),
            _ = self.int.recv() => Wish::Stop(Signal::INT),
            // It would end without a flush.
            _ = self.quit.recv() => Wish::Stop(Signal::TERM),
            _ = self.hup.recv() => Wish::Restart,
        }
    }
}

async fn supervise(args: &[String], home: &Path) -> std::io::Result<i32> {
    let mut signals = Signals::new()?;
    let mut wait = WAIT_MIN;
    loop {
        let (begun, ended) = (Instant::now(), child(args, home, &mut signals).await?);
        let (status, restart) = match ended {
            Ended::Stopped(status) => return Ok(code(status)),
            Ended::Alone(status) if status.success() => return Ok(0),
            Ended::Alone(status) => (status, false),
            Ended::Restart(status) => (status, true),
        };
        if restart {
            log!(Info, "supervisor", "SIGHUP: the child ended with {status}; starting it again");
            continue;
        }
        wait = if begun.elapsed() >= STABLE { WAIT_MIN } else { wait };
        log!(Warn, "supervisor", "the child ended with {status}; starting it again in {} s", wait.as_secs());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            wish = signals.next() => if let Wish::Stop(_) = wish { return Ok(code(status)) },
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// How a child ended.
enum Ended {
    /// By itself.
    Alone(ExitStatus),
    /// Because we were told to stop.
    Stopped(ExitStatus),
    /// Because we were told to start it anew.
    Restart(ExitStatus),
}

/// One child, from its start to its end.
async fn child(args: &[String], home: &Path, signals: &mut Signals) -> std::io::Result<Ended> {
    let mut command = Command::new(std::env::current_exe()?);
    // A group of its own: Ctrl-C reaches it through us, once.
    command.args(args).current_dir(home).env(ACTIVE, "1").process_group(0);
    let mut child: Child = command.spawn()?;
    let pid = Pid::from_child(&child);
    log!(Info, "supervisor", "started child process {}", child.id());
    let (told, mut end) = oneshot::channel();
    std::thread::spawn(move || drop(told.send(child.wait())));
    let mut wish = None;
    loop {
        tokio::select! {
            status = &mut end => {
                let status = status.map_err(std::io::Error::other)??;
                return Ok(match wish {
                    None => Ended::Alone(status),
                    Some(Wish::Stop(_)) => Ended::Stopped(status),
                    Some(Wish::Restart) => Ended::Restart(status),
                });
            }
            new = signals.next() => {
                let signal = match new { Wish::Stop(signal) => signal, Wish::Restart => Signal::TERM };
                // It may have ended just now; that is told next. A second signal ends it at once, as without us.
                let _ = kill_process(pid, signal);
                wish = Some(new);
            }
        }
    }
}

/// The exit code that a shell would show.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
