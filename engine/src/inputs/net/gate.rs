//! Where the tasks of an input wait for memory and for the end.
//!
//! Owns: the input's eventfd on its runtime. Never: reads a socket.
//! Invariant: whoever waits is woken when memory may be free, and when the program stops.

use super::limits::STOP_MAX;
use crate::inputs::{InputContext, Source};
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// The engine as the tasks of an input see it.
pub struct Gate {
    engine: InputContext,
    memory: Notify,
    stopped: Notify,
    /// Tasks that may still submit something.
    busy: Cell<usize>,
    idle: Notify,
}

/// Held by whoever may still submit something.
pub struct Busy(Rc<Gate>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        self.0.idle.notify_waiters();
    }
}

impl Gate {
    /// A gate; [`Gate::watch`] must run beside what waits at it.
    pub fn new(engine: InputContext) -> Rc<Gate> {
        Rc::new(Gate {
            engine,
            memory: Notify::new(),
            stopped: Notify::new(),
            busy: Cell::new(0),
            idle: Notify::new(),
        })
    }

    /// The engine.
    pub fn engine(&self) -> &InputContext {
        &self.engine
    }

    /// True when the input is to stop.
    pub fn stopping(&self) -> bool {
        self.engine.stopping()
    }

    /// Wakes those who wait whenever the engine rings; never ends.
    pub async fn watch(&self) -> std::io::Result<()> {
        #[allow(
            deprecated,
            reason = "what replaces it is unsafe, for types that may not keep their descriptor; OwnedFd does"
        )]
        let bell: AsyncFd<OwnedFd> = AsyncFd::new(self.engine.wake_fd().try_clone_to_owned()?)?;
        loop {
            let mut ready = bell.readable().await?;
            let _ = rustix::io::read(bell.get_ref(), &mut [0; 8]);
            ready.clear_ready();
            self.memory.notify_waiters();
            if self.stopping() {
                self.stopped.notify_waiters();
            }
        }
    }

    /// Waits for something to change: memory, or the state of the program.
    pub async fn changed(&self) {
        self.memory.notified().await;
    }

    /// Waits until the input is to stop.
    pub async fn stopped(&self) {
        self.until(&self.stopped, || self.stopping()).await;
    }

    /// Waits until everything is delivered, or until nobody waits for it any more.
    pub async fn drained(&self) {
        self.until(&self.memory, || self.engine.drained()).await;
    }

    /// Takes `bytes` from the budgets once they are free and the outputs of `source` have room; false when the program
    /// stops first, and then nothing is taken.
    pub async fn admit(&self, bytes: usize, source: Option<&Source>) -> bool {
        let mut admitted = false;
        self.until(&self.memory, || {
            if self.stopping() {
                return true;
            }
            admitted = !source.is_some_and(|s| self.engine.blocked(s)) && self.engine.admit(bytes);
            admitted
        })
        .await;
        admitted
    }

    async fn until(&self, notify: &Notify, mut true_now: impl FnMut() -> bool) {
        loop {
            let notified = notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if true_now() {
                return;
            }
            notified.await;
        }
    }

    /// Counts the caller among those who may still submit something.
    pub fn busy(self: &Rc<Gate>) -> Busy {
        self.busy.set(self.busy.get() + 1);
        Busy(self.clone())
    }

    /// Waits until nobody may submit something more, for so long as is allowed.
    pub async fn all_submitted(&self) {
        let none = self.until(&self.idle, || self.busy.get() == 0);
        drop(tokio::time::timeout(STOP_MAX, none).await);
    }
}
