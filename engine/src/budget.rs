//! Byte budgets: what is in memory is charged before it is read, and given back when it is gone.
//!
//! Invariants: `used` of a budget is the sum of the charges that are held against it; what is kept for as long as its
//! source likes is at most a [`KEPT_SHARE`]th of it (or one thing), so that the rest always comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that may be in use.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Of `used`, what waits for its source.
    waiting: AtomicUsize,
}

/// What waits for its source may take one part in so many of a budget.
pub const KEPT_SHARE: usize = 4;

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicUsize::new(0), waiting: AtomicUsize::new(0) })
    }

    /// Bytes that may be used.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes in use now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// True when `bytes` more fit, or when nothing is in use that will be given back by itself (so that one thing larger
    /// than the budget still passes).
    pub fn fits(&self, bytes: usize) -> bool {
        let used = self.used();
        used.saturating_add(bytes) <= self.limit || used <= self.waiting.load(Ordering::Relaxed)
    }

    /// Charges what stays until its source goes on, a half line; false (and nothing is charged) when the share of such
    /// bytes is used up. With `always`, it is never.
    pub fn keep(&self, bytes: usize, always: bool) -> bool {
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= self.limit / KEPT_SHARE;
        match fits || always {
            true => self.take(bytes),
            false => drop(self.waiting.fetch_sub(bytes, Ordering::Relaxed)),
        }
        fits || always
    }

    /// Gives back what was kept.
    pub fn let_go(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.give(bytes);
    }

    /// Charges without asking; see [`Budget::fits`].
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    pub fn give(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "gave back {bytes} of {before}");
    }
}

/// Bytes that a [`Pool`] keeps.
pub const KEPT_BYTES_MAX: usize = 3 << 20;
/// A small want takes no buffer larger than this, nor one of more than four times its size: it may wait for long.
const LARGE_BYTES: usize = 64 * 1024;

/// Buffers kept for reuse: taking a page from the kernel costs more than filling it.
#[derive(Debug)]
pub struct Pool {
    buffers: std::sync::Mutex<Kept>,
    kept_max: usize,
    capacity_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, at: usize) -> Vec<u8> {
        let buffer = self.buffers.remove(at);
        self.bytes -= buffer.capacity();
        buffer
    }
}

impl Pool {
    /// Keeps up to `kept_max` buffers of [`KEPT_BYTES_MAX`] bytes together, none larger than `capacity_max` bytes.
    pub fn new(kept_max: usize, capacity_max: usize) -> Pool {
        Pool { buffers: Default::default(), kept_max, capacity_max }
    }

    /// An empty buffer of at least this capacity.
    pub fn take(&self, capacity: usize) -> Vec<u8> {
        let mut kept = self.buffers.lock().expect("pool lock");
        // The last one given back is the one whose pages are still in the cache.
        let fits = capacity..=capacity.saturating_mul(4).max(LARGE_BYTES);
        match kept.buffers.iter().rposition(|buffer| fits.contains(&buffer.capacity())) {
            Some(at) => kept.remove(at),
            None => {
                // Sizes that nobody wants any more go, oldest first.
                let oldest = (kept.buffers.len() == self.kept_max).then(|| kept.remove(0));
                drop(kept);
                drop(oldest);
                Vec::with_capacity(capacity)
            }
        }
    }

    /// Gives a buffer back.
    pub fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > self.capacity_max {
            return;
        }
        buffer.clear();
        let mut kept = self.buffers.lock().expect("pool lock");
        if kept.buffers.len() < self.kept_max && kept.bytes + buffer.capacity() <= KEPT_BYTES_MAX {
            kept.bytes += buffer.capacity();
            kept.buffers.push(buffer);
        }
    }
}
