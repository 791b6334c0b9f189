//! The beat of inputs that do something every so often, and their waits.
//!
//! Owns: intervals, the wait between two ticks, the wait for something to read. Never: makes up for ticks that were missed.

use super::InputContext;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A beat.
pub(super) struct Ticks {
    interval: Duration,
    next: Instant,
}

impl Ticks {
    /// The first tick comes after one interval, as in Fluent Bit.
    pub(super) fn new(interval: Duration) -> Ticks {
        Ticks { interval, next: Instant::now() + interval }
    }

    /// Waits for the next tick; false when the program stops first.
    pub(super) fn wait(&mut self, engine: &InputContext) -> bool {
        while !engine.stopping() {
            let now = Instant::now();
            if now >= self.next {
                // What was missed is not made up for.
                self.next = (self.next + self.interval).max(now);
                return true;
            }
            sleep(engine, Some(self.next - now));
        }
        false
    }
}

/// Waits for the engine to ring, at most so long.
pub(super) fn sleep(engine: &InputContext, most: Option<Duration>) {
    let wake = engine.wake_fd();
    let most = most.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
    if poll(&mut [PollFd::new(&wake, PollFlags::IN)], most.as_ref()).is_ok_and(|n| n > 0) {
        let _ = rustix::io::read(wake, &mut [0; 8]);
    }
}

/// Waits until there is something to read; false when the program stops first.
pub(super) fn ready(from: &impl AsFd, engine: &InputContext) -> bool {
    while !engine.stopping() {
        let wake = engine.wake_fd();
        let mut fds = [PollFd::new(&wake, PollFlags::IN), PollFd::new(from, PollFlags::IN)];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        if fds[0].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(wake, &mut [0; 8]);
        }
        if !fds[1].revents().is_empty() {
            return true;
        }
    }
    false
}

/// `Interval_Sec` and `Interval_NSec`; a second where both are 0 or less.
pub(super) fn interval(secs: i64, nanos: i64) -> Duration {
    if secs <= 0 && nanos <= 0 {
        return Duration::from_secs(1);
    }
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    Duration::from_secs(part(secs).min(1 << 32)) + Duration::from_nanos(part(nanos))
}

/// Takes memory for `bytes`, waiting where there is none; false when the program stops first.
pub(super) fn admit(engine: &InputContext, bytes: usize) -> bool {
    while !engine.stopping() {
        if engine.admit(bytes) {
            return true;
        }
        sleep(engine, None);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_add_up() {
        assert_eq!(interval(0, 0), Duration::from_secs(1));
        assert_eq!(interval(-1, -1), Duration::from_secs(1));
        assert_eq!(interval(0, 300_000_000), Duration::from_millis(300));
        assert_eq!(interval(2, 500_000_000), Duration::from_millis(2500));
        assert_eq!(interval(-5, 7), Duration::from_nanos(7));
    }
}
