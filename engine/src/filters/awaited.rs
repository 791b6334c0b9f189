//! What a filter waits for, and who comes back when it is there.
//!
//! Owns: the work that waits. Never: blocks a worker; who has to wait leaves his work behind.
//! Invariant: work that is left runs exactly once: at once when what it waits for is there, else when it comes, or when
//! nobody is left who could bring it.

use std::sync::{Mutex, PoisonError};

/// Work that waits.
type Work = Box<dyn FnOnce() + Send>;

/// Something that a filter has asked for.
#[derive(Default)]
pub struct Awaited(Mutex<State>);

#[derive(Default)]
struct State {
    over: bool,
    waiting: Vec<Work>,
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Awaited").field("over", &state.over).field("waiting", &state.waiting.len()).finish()
    }
}

impl Awaited {
    /// Runs the work when the waiting is over; now, when it is already.
    pub fn then(&self, work: Work) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.over {
            return state.waiting.push(work);
        }
        drop(state);
        work();
    }

    /// The waiting is over: whoever waits goes on.
    pub fn end(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.over = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|work| work());
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn work_runs_once_whenever_it_comes() {
        let ran = Arc::new(AtomicUsize::new(0));
        let work = || {
            let ran = ran.clone();
            Box::new(move || {
                ran.fetch_add(1, Ordering::Relaxed);
            }) as Work
        };
        let awaited = Awaited::default();
        awaited.then(work());
        awaited.then(work());
        assert_eq!(ran.load(Ordering::Relaxed), 0);
        awaited.end();
        assert_eq!(ran.load(Ordering::Relaxed), 2);
        awaited.then(work());
        awaited.end();
        assert_eq!(ran.load(Ordering::Relaxed), 3, "who comes late goes on at once");
        let forgotten = Awaited::default();
        forgotten.then(work());
        drop(forgotten);
        assert_eq!(ran.load(Ordering::Relaxed), 4, "nobody could end it any more");
    }
}
