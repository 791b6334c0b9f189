//! The circuit breaker of an output: a destination that keeps failing is probed, not hammered.
//!
//! Owns: who may attempt a delivery now, how many probes failed. Never: looks at a chunk, gives one up.
//! Invariants: while it is open, one attempt at a time is under way, and none before the back-off is over; waiting lanes
//! probe in turns, so that one bad chunk does not keep the others from finding the destination well.

use crate::retry::{Backoff, RetryLimit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{MutexGuard, Notify};
use tokio::time::Instant;

/// So many failures in a row, over all lanes, open it. A single lane has backed off twice by then.
pub const FAILURES_MAX: u32 = 3;

/// Attempts come at least so often while the program stops: `Grace` is short.
const STOPPING_WAIT: Duration = Duration::from_secs(1);

/// See the module. One for each output, shared by its lanes.
#[derive(Debug)]
pub struct Breaker {
    backoff: Backoff,
    /// The back-off grows over so many probes: with a `Retry_Limit`, no further than over the retries of one chunk.
    rounds_max: u32,
    /// Failed probes since the start.
    misses: AtomicU64,
    /// How many they were when the destination last answered.
    answered: AtomicU64,
    state: Mutex<State>,
    /// Held by the lane that probes; the others wait for it in the order they came.
    probing: tokio::sync::Mutex<()>,
    closed: Notify,
    /// The program stops.
    stopping: AtomicBool,
    /// Told when it begins to.
    hurried: Notify,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// All is well, but for so many failures in a row.
    Closed { failures: u32 },
    /// Nothing is attempted but a probe, after `next`.
    Open { round: u32, next: Instant },
}

/// The right to one attempt.
#[derive(Debug, Default)]
pub struct Turn<'b> {
    probe: Option<MutexGuard<'b, ()>>,
}

impl Turn<'_> {
    /// True when it is the one attempt that an open breaker allows.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The breaker is closed: the caller waits by itself.
    Wait(Duration),
    /// This failure opened it; the first probe comes after this time.
    Opened(Duration),
    /// It is open; `probe` is the number of failed probes and the time to the next, where the failure was one.
    Open {
        /// Failed probes since it opened, and the wait before the next.
        probe: Option<(u32, Duration)>,
    },
}

impl Breaker {
    /// A closed one that probes at these distances, for chunks that are tried so often.
    pub fn new(backoff: Backoff, limit: RetryLimit) -> Breaker {
        let state = Mutex::new(State::Closed { failures: 0 });
        let rounds_max =
            limit.attempts().map_or(u32::MAX, |n| u32::try_from(n).unwrap_or(u32::MAX).saturating_sub(2));
        Breaker {
            backoff,
            rounds_max,
            misses: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            state,
            probing: tokio::sync::Mutex::default(),
            closed: Notify::new(),
            stopping: AtomicBool::new(false),
            hurried: Notify::new(),
        }
    }

    /// The program stops: whoever waits makes an attempt now, and then one a second.
    pub fn hurry(&self) {
        self.stopping.store(true, Relaxed);
        if let State::Open { next, .. } = &mut *self.state.lock().expect("breaker lock") {
            *next = Instant::now();
        }
        self.closed.notify_waiters();
        self.hurried.notify_waiters();
    }

    /// A wait as it is, or as much of it as there is time for while the program stops.
    fn cut(&self, wait: Duration) -> Duration {
        if self.stopping.load(Relaxed) { wait.min(STOPPING_WAIT) } else { wait }
    }

    /// Waits before the next attempt of a chunk, until the program stops at the longest.
    pub async fn pause(&self, wait: Duration) {
        let hurried = self.hurried.notified();
        tokio::pin!(hurried);
        hurried.as_mut().enable();
        tokio::select! {
            () = hurried => {}
            () = tokio::time::sleep(self.cut(wait)) => {}
        }
    }

    /// Failed probes up to now: what is queued now has missed none of those that follow.
    pub fn misses(&self) -> u64 {
        self.misses.load(Relaxed)
    }

    /// Probes that failed, one after the other, since there were so many misses.
    pub fn missed(&self, since: u64) -> u64 {
        // Another lane may count one, or an answer, between the two looks.
        self.misses().saturating_sub(since.max(self.answered.load(Relaxed)))
    }

    fn next_probe(&self) -> Option<Instant> {
        match *self.state.lock().expect("breaker lock") {
            State::Closed { .. } => None,
            State::Open { next, .. } => Some(next),
        }
    }

    /// Waits until an attempt may be made: at once while it is closed.
    pub async fn turn(&self) -> Turn<'_> {
        if self.next_probe().is_none() {
            return Turn { probe: None };
        }
        let probe = self.probing.lock().await;
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            match self.next_probe() {
                None => return Turn { probe: None },
                Some(next) if next <= Instant::now() => return Turn { probe: Some(probe) },
                Some(next) => tokio::select! {
                    () = closed => {}
                    () = tokio::time::sleep_until(next) => {}
                },
            }
        }
    }

    /// The destination took something, or refused it for good. True when that closed the breaker.
    pub fn succeeded(&self) -> bool {
        let mut state = self.state.lock().expect("breaker lock");
        let was_open = matches!(*state, State::Open { .. });
        *state = State::Closed { failures: 0 };
        self.answered.store(self.misses(), Relaxed);
        drop(state);
        self.closed.notify_waiters();
        was_open
    }

    /// An attempt failed that is to be repeated: number `attempt` of its chunk (0 is the first), where the service asked
    /// for a delay of at least `after`.
    /// `counts`: as a miss of all that waits.
    pub fn failed(&self, turn: Turn<'_>, attempt: u32, after: Option<Duration>, counts: bool) -> Failed {
        let after = after.unwrap_or_default();
        let mut state = self.state.lock().expect("breaker lock");
        match &mut *state {
            State::Closed { failures } => {
                *failures += 1;
                let wait = self.cut(self.backoff.wait(attempt)).max(after);
                if *failures < FAILURES_MAX {
                    return Failed::Wait(wait);
                }
                *state = State::Open { round: attempt, next: Instant::now() + wait };
                Failed::Opened(wait)
            }
            State::Open { round, next } if turn.is_probe() => {
                *round = round.saturating_add(1);
                // While the program stops they come too fast to stand for attempts of what waits.
                if counts && !self.stopping.load(Relaxed) {
                    self.misses.fetch_add(1, Relaxed);
                }
                let wait = self.cut(self.backoff.wait((*round).min(self.rounds_max))).max(after);
                *next = Instant::now() + wait;
                Failed::Open { probe: Some((*round, wait)) }
            }
            // It was under way when the breaker opened; only what it was told moves the next probe.
            State::Open { next, .. } => {
                *next = (*next).max(Instant::now() + after);
                Failed::Open { probe: None }
            }
        }
    }

    /// True while the program stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// True while it is open.
    pub fn is_open(&self) -> bool {
        self.next_probe().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    const BASE: Duration = Duration::from_millis(20);

    fn breaker() -> Breaker {
        Breaker::new(Backoff { base: BASE, cap: BASE * 2 }, RetryLimit::Unlimited)
    }

    async fn fail(breaker: &Breaker) -> Failed {
        breaker.failed(breaker.turn().await, 0, None, true)
    }

    #[tokio::test]
    async fn failures_in_a_row_open_it_and_one_success_closes_it() {
        let breaker = breaker();
        for _ in 0..3 {
            assert!(matches!(fail(&breaker).await, Failed::Wait(_)));
            assert!(matches!(fail(&breaker).await, Failed::Wait(_)));
            assert!(!breaker.succeeded(), "it was not open");
        }
        for _ in 1..FAILURES_MAX {
            assert!(matches!(fail(&breaker).await, Failed::Wait(_)));
        }
        let late = breaker.turn().await;
        assert!(matches!(fail(&breaker).await, Failed::Opened(wait) if wait >= BASE));
        assert_eq!(
            breaker.failed(late, 0, None, true),
            Failed::Open { probe: None },
            "it was under way already"
        );
        let asked = Instant::now();
        let probe = breaker.turn().await;
        assert!(probe.is_probe() && breaker.is_open());
        assert!(asked.elapsed() > Duration::ZERO);
        assert!(
            matches!(breaker.failed(probe, 0, None, true), Failed::Open { probe: Some((1, wait)) } if wait >= BASE)
        );
        assert!(breaker.turn().await.is_probe());
        assert!(breaker.succeeded());
        assert!(!breaker.turn().await.is_probe());
    }

    #[tokio::test]
    async fn failed_probes_count_for_what_waits_until_one_gets_through() {
        let breaker = breaker();
        for _ in 0..FAILURES_MAX {
            fail(&breaker).await;
        }
        let since = breaker.misses();
        for n in 1..=3 {
            fail(&breaker).await;
            assert_eq!(breaker.missed(since), n);
        }
        breaker.failed(breaker.turn().await, 0, None, false);
        assert_eq!(breaker.missed(since), 3, "missing rights are no missed attempt");
        breaker.succeeded();
        assert_eq!(breaker.missed(since), 0);
    }

    #[tokio::test]
    async fn the_service_s_own_delay_is_kept() {
        let breaker = breaker();
        let hour = Duration::from_secs(3600);
        for _ in 1..FAILURES_MAX {
            fail(&breaker).await;
        }
        assert_eq!(breaker.failed(breaker.turn().await, 0, Some(hour), true), Failed::Opened(hour));
        let waiting = async { breaker.turn().await.is_probe() };
        let success = async {
            tokio::task::yield_now().await;
            breaker.succeeded()
        };
        assert_eq!(tokio::join!(waiting, success), (false, true), "a late success wakes who waits");
    }

    #[tokio::test]
    async fn lanes_probe_one_at_a_time_and_in_turns() {
        let (breaker, dead) = (Arc::new(breaker()), Arc::new(AtomicBool::new(true)));
        let (under_way, calls) =
            (Arc::new(AtomicUsize::new(0)), Arc::new([const { AtomicUsize::new(0) }; 4]));
        let begun = Instant::now();
        let lanes: Vec<_> = (0..4)
            .map(|lane| {
                let (breaker, dead, under_way, calls) =
                    (breaker.clone(), dead.clone(), under_way.clone(), calls.clone());
                tokio::spawn(async move {
                    for attempt in 0.. {
                        let turn = breaker.turn().await;
                        let probe = turn.is_probe();
                        let beside = under_way.fetch_add(1, SeqCst);
                        calls[lane].fetch_add(1, SeqCst);
                        tokio::task::yield_now().await;
                        under_way.fetch_sub(1, SeqCst);
                        assert!(!probe || beside == 0, "a probe is alone");
                        if !dead.load(SeqCst) {
                            breaker.succeeded();
                            return;
                        }
                        if let Failed::Wait(wait) = breaker.failed(turn, attempt, None, true) {
                            tokio::time::sleep(wait).await;
                        }
                    }
                })
            })
            .collect();
        // Each lane has failed once and has probed twice.
        while calls.iter().any(|calls| calls.load(SeqCst) < 3) {
            tokio::task::yield_now().await;
        }
        let bound = 4 + FAILURES_MAX as usize + begun.elapsed().div_duration_f64(BASE) as usize;
        let made: usize = calls.iter().map(|calls| calls.load(SeqCst)).sum();
        assert!(made <= bound, "{made} calls, at most {bound}");
        dead.store(false, SeqCst);
        for lane in lanes {
            lane.await.expect("a lane ends");
        }
        assert!(!breaker.is_open());
    }
}
