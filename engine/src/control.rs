//! Start and stop of the program, as its parts see it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering, fence};
use tokio::sync::Notify;

/// Shared by all parts.
#[derive(Default)]
pub struct Control {
    stopping: AtomicBool,
    flushed: AtomicBool,
    over: AtomicBool,
    /// Exit code, when it is not 0.
    code: AtomicI32,
    reloading: AtomicBool,
    /// Inputs that end by themselves and have not yet.
    unfinished: AtomicUsize,
    changed: Notify,
    wakes: Mutex<Vec<std::sync::Arc<crate::inputs::shared::Wake>>>,
}

impl Control {
    /// An input exists; `wake` is rung when the program stops; `ends` when it ends by itself.
    pub fn add_input(&self, wake: std::sync::Arc<crate::inputs::shared::Wake>, ends: bool) {
        self.unfinished.fetch_add(usize::from(ends), Ordering::AcqRel);
        self.wakes.lock().expect("wake lock").push(wake);
    }

    /// Memory was given back that no input held: rings those that wait for some.
    pub fn memory_released(&self) {
        self.wakes.lock().expect("wake lock").iter().for_each(|w| w.ring_if_waiting());
    }

    /// Inputs are to stop because others take their place.
    pub fn stop_for_reload(&self) {
        self.reloading.store(true, Ordering::Release);
        self.stop();
    }

    /// True once inputs are to stop because others take their place.
    pub fn reloading(&self) -> bool {
        self.reloading.load(Ordering::Acquire)
    }

    /// Inputs are to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // Who counts the last job down sees this, or who waits for it sees the count.
        fence(Ordering::SeqCst);
        self.wakes.lock().expect("wake lock").iter().for_each(|w| w.ring());
        self.changed();
    }

    /// True once inputs are to stop.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// What sources held back is on its way: once no job is left, all is committed.
    pub fn set_flushed(&self) {
        self.flushed.store(true, Ordering::Release);
        self.wakes.lock().expect("wake lock").iter().for_each(|w| w.ring());
    }

    /// True once what sources held back is on its way.
    pub fn flushed(&self) -> bool {
        self.flushed.load(Ordering::Acquire)
    }

    /// `Grace` is over: nobody waits for deliveries any more.
    pub fn give_up(&self) {
        self.over.store(true, Ordering::Release);
        self.wakes.lock().expect("wake lock").iter().for_each(|w| w.ring());
    }

    /// True once nobody waits any more.
    pub fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Something went wrong that ends the program with an error.
    pub fn fail(&self) {
        self.fail_with(1);
    }

    /// The program is to stop with this exit code; the first one that is not 0 counts.
    pub fn fail_with(&self, code: i32) {
        let _ = self.code.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.stop();
    }

    /// The exit code: 0 unless something failed.
    pub fn code(&self) -> i32 {
        self.code.load(Ordering::Acquire)
    }

    /// An input reached its natural end; when all that have one did, the program stops.
    pub fn input_finished(&self) {
        if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.stop();
        }
    }

    /// Something that [`Control::wait`] may wait for has changed.
    pub fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `true_now` holds.
    pub async fn wait(&self, true_now: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if true_now() {
                return;
            }
            changed.await;
        }
    }
}
