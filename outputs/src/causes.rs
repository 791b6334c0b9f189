//! Counts by cause, where the causes come from a server.
//!
//! Owns: the limit of how many are told apart. Never: decides what a cause means.

use crate::Counter;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Causes that are counted apart; what comes after them counts as `other`.
const CAUSES_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Causes(Mutex<BTreeMap<String, u64>>);

impl Causes {
    /// Counts.
    pub(crate) fn add(&self, cause: &str, count: u64) {
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = causes.get_mut(cause) {
            *counted += count;
            return;
        }
        let cause = if causes.len() < CAUSES_MAX { cause } else { "other" };
        *causes.entry(cause.to_owned()).or_default() += count;
    }

    /// As the engine shows them: the label is `reason`.
    pub(crate) fn list(&self, name: &'static str, help: &'static str) -> Vec<Counter> {
        let causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = |(cause, count): (&String, &u64)| Counter {
            name,
            help,
            labels: vec![("reason", cause.clone())],
            value: *count,
        };
        causes.iter().map(counter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_makes_them_grow_without_end() {
        let causes = Causes::default();
        for n in 0..1000 {
            causes.add(&format!("cause {n}"), 1);
        }
        let list = causes.list("x", "");
        assert_eq!(list.len(), CAUSES_MAX + 1);
        assert_eq!(list.iter().map(|counter| counter.value).sum::<u64>(), 1000);
    }
}
