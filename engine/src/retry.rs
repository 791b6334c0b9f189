//! When to try again, and how often.

use std::time::Duration;

/// `Retry_Limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryLimit {
    /// Not set: until it is accepted.
    Unset,
    /// Until it is accepted: `no_limits`, `unlimited`, `false`, `off`.
    Unlimited,
    /// So many attempts after the first; `no_retries` is none.
    Retries(u32),
}

impl RetryLimit {
    /// True when attempt number `attempt` (0 is the first) was the last one.
    pub fn reached(self, attempt: u32) -> bool {
        matches!(self, RetryLimit::Retries(limit) if attempt >= limit)
    }

    /// True when Fluent Bit would have given up at attempt number `attempt`, by its default of one retry, and nobody said
    /// that it should go on.
    pub fn held(self, attempt: u32) -> bool {
        self == RetryLimit::Unset && attempt >= 1
    }

    /// Attempts of a chunk that may fail before it is given up.
    pub fn attempts(self) -> Option<u64> {
        match self {
            RetryLimit::Unset | RetryLimit::Unlimited => None,
            RetryLimit::Retries(limit) => Some(u64::from(limit) + 1),
        }
    }
}

/// Exponential back-off with full jitter between `scheduler.base` and `scheduler.cap`, as in Fluent Bit.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Shortest wait.
    pub base: Duration,
    /// Longest wait.
    pub cap: Duration,
}

impl Backoff {
    /// How long to wait after attempt number `attempt`: a random time up to `base * 2^(attempt + 1)`, at least `base`.
    pub fn wait(&self, attempt: u32) -> Duration {
        let ceiling = self
            .base
            .saturating_mul(2u32.saturating_pow(attempt.saturating_add(1).min(31)))
            .min(self.cap)
            .max(self.base);
        let span = ceiling.saturating_sub(self.base);
        self.base + span.mul_f64(random_unit())
    }
}

/// A random number in 0..1; the hasher's keys are random per value.
fn random_unit() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_between_base_and_cap() {
        let backoff = Backoff { base: Duration::from_secs(5), cap: Duration::from_secs(60) };
        for attempt in [0, 1, 2, 10, 31, 32, u32::MAX] {
            let wait = backoff.wait(attempt);
            assert!(wait >= backoff.base && wait <= backoff.cap, "attempt {attempt}: {wait:?}");
        }
    }

    #[test]
    fn limits_count_retries() {
        assert!(!RetryLimit::Unlimited.reached(u32::MAX) && !RetryLimit::Unset.reached(u32::MAX));
        assert!(RetryLimit::Unset.held(1) && !RetryLimit::Unset.held(0) && !RetryLimit::Unlimited.held(1));
        assert!(RetryLimit::Retries(0).reached(0));
        assert!(!RetryLimit::Retries(1).reached(0));
        assert!(RetryLimit::Retries(1).reached(1));
    }
}
