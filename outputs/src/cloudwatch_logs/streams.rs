//! Which groups and streams are known to exist, so that each is made once and not per batch.
//!
//! Owns: what was made, and that only one lane makes it. Never: sends a request itself.
//! Invariant: no map holds more than its limit; forgetting an entry costs one request, never an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most streams, and most groups, that are remembered.
pub(crate) const KNOWN_MAX: usize = 10_000;

/// What is known of a stream.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    /// It exists.
    pub(crate) made: bool,
}

/// What is known of a group.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    /// We made it, or found that another did.
    pub(crate) made: bool,
    /// Its retention is still to be set.
    pub(crate) retention_open: bool,
}

/// Entries by name, each behind a lock of its own that is held while it is made.
#[derive(Debug)]
pub(crate) struct Known<T> {
    entries: Mutex<Entries<T>>,
}

#[derive(Debug)]
struct Entries<T> {
    map: HashMap<Box<[u8]>, Entry<T>>,
    /// Rises with each use.
    uses: u64,
}

#[derive(Debug)]
struct Entry<T> {
    state: Arc<tokio::sync::Mutex<T>>,
    used: u64,
}

impl<T: Default> Known<T> {
    /// Nothing is known.
    pub(crate) fn new() -> Self {
        Known { entries: Mutex::new(Entries { map: HashMap::new(), uses: 0 }) }
    }

    /// The entry of a name.
    pub(crate) fn get(&self, name: &[u8]) -> Arc<tokio::sync::Mutex<T>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let now = entries.uses;
        if let Some(entry) = entries.map.get_mut(name) {
            entry.used = now;
            return entry.state.clone();
        }
        if entries.map.len() >= KNOWN_MAX {
            entries.forget_half();
        }
        let state = Arc::new(tokio::sync::Mutex::new(T::default()));
        entries.map.insert(name.into(), Entry { state: state.clone(), used: now });
        state
    }
}

impl<T: Default> Default for Known<T> {
    fn default() -> Self {
        Known::new()
    }
}

impl<T> Entries<T> {
    /// Forgets the half that was used longest ago.
    fn forget_half(&mut self) {
        let mut uses: Vec<u64> = self.map.values().map(|entry| entry.used).collect();
        let middle = uses.len() / 2;
        let (_, &mut median, _) = uses.select_nth_unstable(middle);
        self.map.retain(|_, entry| entry.used >= median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_half_is_forgotten_at_the_limit() {
        let known: Known<StreamState> = Known::new();
        for n in 0..KNOWN_MAX {
            known.get(n.to_string().as_bytes()).try_lock().unwrap().made = true;
        }
        known.get(b"0");
        known.get(b"one more");
        assert!(known.entries.lock().unwrap().map.len() <= KNOWN_MAX / 2 + 1);
        assert!(known.get(b"0").try_lock().unwrap().made, "used last");
        assert!(!known.get(b"1").try_lock().unwrap().made, "used longest ago");
    }
}
