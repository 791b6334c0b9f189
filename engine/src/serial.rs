//! The serial stage: filters with one state for all (a Lua script, throttle) see one record at a time, in the order in
//! which blocks were submitted, whatever worker they run on.
//!
//! Owns: tickets and whose turn it is. Never: blocks a worker; who comes early leaves his work behind, and whoever
//! leaves the stage hands over the next one's.
//! Invariant: between `enter` and `leave` of one ticket nobody else is inside; tickets enter without a gap.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// The work of one ticket inside the stage; it ends with [`Serial::leave`].
pub type Turn = Box<dyn FnOnce() + Send>;

/// The stage of a pipeline.
#[derive(Default)]
pub struct Serial(Mutex<Stage>);

#[derive(Default)]
struct Stage {
    issued: u64,
    next: u64,
    /// Who came before his turn; bounded by the jobs that the memory budgets admit.
    early: BTreeMap<u64, Turn>,
}

impl Serial {
    /// The next ticket. Whoever takes one enters the stage with it, at some time.
    pub fn ticket(&self) -> u64 {
        let mut stage = self.lock();
        stage.issued += 1;
        stage.issued - 1
    }

    /// True when it is this ticket's turn: its holder is inside, until it leaves.
    pub fn enter(&self, ticket: u64) -> bool {
        self.lock().next == ticket
    }

    /// Leaves work for the time when it is this ticket's turn; gives it back when that is now.
    pub fn arrive(&self, ticket: u64, turn: Turn) -> Option<Turn> {
        let mut stage = self.lock();
        if stage.next == ticket {
            return Some(turn);
        }
        stage.early.insert(ticket, turn);
        None
    }

    /// This ticket is done with; gives the work of the next, which then is inside.
    pub fn leave(&self, ticket: u64) -> Option<Turn> {
        let mut stage = self.lock();
        debug_assert_eq!(stage.next, ticket, "who is inside leaves");
        stage.next = ticket + 1;
        let next = stage.next;
        stage.early.remove(&next)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.0.lock().expect("serial lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Runs a ticket, and then whoever waits behind it.
    fn run(serial: &Arc<Serial>, ticket: u64, seen: &Arc<Mutex<Vec<u64>>>, inside: &Arc<AtomicUsize>) {
        let (again, list, count) = (serial.clone(), seen.clone(), inside.clone());
        let work: Turn = Box::new(move || {
            assert_eq!(count.fetch_add(1, Ordering::SeqCst), 0, "alone inside");
            list.lock().expect("lock").push(ticket);
            count.fetch_sub(1, Ordering::SeqCst);
            if let Some(next) = again.leave(ticket) {
                next();
            }
        });
        if let Some(work) = serial.arrive(ticket, work) {
            work();
        }
    }

    #[test]
    fn whoever_comes_when_goes_in_the_order_of_tickets() {
        for threads in [1, 4] {
            let (serial, seen, inside) = (Arc::new(Serial::default()), Arc::default(), Arc::default());
            let tickets: Vec<u64> = (0..400).map(|_| serial.ticket()).collect();
            std::thread::scope(|scope| {
                for n in 0..threads {
                    let (serial, seen, inside, tickets) = (&serial, &seen, &inside, &tickets);
                    // From the back, so that nearly all come early.
                    scope.spawn(move || {
                        for ticket in tickets.iter().rev().filter(|t| *t % threads == n) {
                            run(serial, *ticket, seen, inside);
                        }
                    });
                }
            });
            assert_eq!(*seen.lock().expect("lock"), tickets);
            assert!(serial.enter(400) && !serial.enter(399));
        }
    }
}
