//! The program's own log, in Fluent Bit's form: `[2026/11/21 13:00:00.123456789] [ info] [input:tail:tail.0] …`.
//!
//! Owns: level, destination (stderr or the `-l` file, reopened after a rotation). Never: prints a secret.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// How much is told; the order is Fluent Bit's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    Off = 0,
    /// What failed.
    Error = 1,
    /// What may fail, or was repaired.
    Warn = 2,
    /// What a user wants to know.
    Info = 3,
    /// What a developer wants to know.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static FILE: Mutex<Option<LogFile>> = Mutex::new(None);

/// The `-l` file, reopened when its path names another file (logrotate).
struct LogFile {
    path: std::path::PathBuf,
    file: std::fs::File,
}

/// Sets how much is told.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// True when messages of this level are told.
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Lines written so far at each level, in the order of [`Level`].
static WRITTEN: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

/// Lines written so far at a level.
pub fn written(level: Level) -> u64 {
    WRITTEN[level as usize].load(Ordering::Relaxed)
}

/// Sends the log to a file, which is appended to and may be rotated.
pub fn set_file(path: &std::path::Path) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    *FILE.lock().expect("log lock") = Some(LogFile { path: path.to_owned(), file });
    Ok(())
}

/// Writes one line. `component` is such as `input:tail:tail.0`, or empty.
pub fn write(level: Level, component: &str, message: &str) {
    if !enabled(level) {
        return;
    }
    let word = match level {
        Level::Off => return,
        Level::Error => "error",
        Level::Warn => " warn",
        Level::Info => " info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    WRITTEN[level as usize].fetch_add(1, Ordering::Relaxed);
    let stamp = stamp();
    let line = match component {
        "" => format!("[{stamp}] [{word}] {message}\n"),
        component => format!("[{stamp}] [{word}] [{component}] {message}\n"),
    };
    let mut slot = FILE.lock().expect("log lock");
    match slot.as_mut() {
        Some(log) => log.append(line.as_bytes()),
        None => drop(std::io::stderr().lock().write_all(line.as_bytes())),
    }
}

impl LogFile {
    fn append(&mut self, line: &[u8]) {
        use std::os::unix::fs::MetadataExt;
        let same = match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(a), Ok(b)) => a.ino() == b.ino() && a.dev() == b.dev(),
            _ => false,
        };
        if !same && let Ok(file) = std::fs::OpenOptions::new().create(true).append(true).open(&self.path) {
            self.file = file;
        }
        // A full disk must not stop the pipeline; the line is lost.
        drop(self.file.write_all(line));
    }
}

/// Local time as `2026/11/21 13:00:00.123456789`.
fn stamp() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = now.as_secs() as libc::time_t;
    // SAFETY: both pointers are valid for the call, and `tm` is plain data.
    let tm = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut tm);
        tm
    };
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:09}",
        tm.tm_year + 1900,
        tm.tm_mon + 1,
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec,
        now.subsec_nanos()
    )
}

/// Logs at a level: `log!(Warn, "input:tail:tail.0", "cannot open {path}: {error}")`.
#[macro_export]
macro_rules! log {
    ($level:ident, $component:expr, $($message:tt)+) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, AsRef::<str>::as_ref(&$component), &format!($($message)+))
        }
    };
}
