//! What the tests of the whole program share: the program as a child process, an HTTP sink, and numbered lines.
//!
//! Owns: those tools. Never: asserts what a test is about, waits without a deadline.

pub(crate) mod engine;
pub(crate) mod lines;
pub(crate) mod sink;

use std::time::{Duration, Instant};

/// Waits until `done` holds; false when that takes longer than `patience`.
pub(crate) fn wait_for(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Small random numbers from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    /// The seed of `RIPSAW_SEED`, else one from the clock; printed, so that a run can be repeated.
    pub(crate) fn roll() -> Dice {
        let clock =
            || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("RIPSAW_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(clock);
        println!("RIPSAW_SEED={seed}");
        Dice::new(seed)
    }

    /// From a seed.
    pub(crate) fn new(seed: u64) -> Dice {
        // Small seeds differ in few bits; zero would stay zero.
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// A folder of its own, removed when dropped.
pub(crate) struct Folder(std::path::PathBuf);

impl Folder {
    /// An empty folder with a folder `logs` in it.
    pub(crate) fn new() -> Folder {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ripsaw-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(path.join("logs")).unwrap();
        Folder(path)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
