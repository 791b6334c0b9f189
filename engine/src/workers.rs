//! The workers: threads of a rayon pool that take jobs in the order of their coming, and sleep while there are none.
//!
//! Owns: the queue of jobs. Never: runs two jobs of its queue on one thread at once, loses one before it is closed.
//! Why not rayon's own queue: a thread of rayon that finds nothing calls `sched_yield` some thirty times before it sleeps.
//! With jobs that come one at a time (many files, small writes) that was most of what the process did.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};

/// More jobs than this wait for nobody who gathers.
const GATHERED_MAX: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs.
pub struct Workers {
    shared: Arc<Shared>,
    threads: rayon::ThreadPool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    came: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that sleep and that nobody has woken yet.
    asleep: usize,
    /// Who has more jobs to come at once.
    gathering: usize,
    closed: bool,
}

impl Workers {
    /// So many threads; `panicked` is told of a job that panics, the thread goes on with the next.
    pub fn new(
        threads: usize,
        panicked: impl Fn() + Send + Sync + 'static,
    ) -> Result<Workers, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("shard-{n}"))
            .build()?;
        let shared: Arc<Shared> = Arc::default();
        let of_threads = shared.clone();
        pool.spawn_broadcast(move |_| {
            while let Some(job) = of_threads.next() {
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    panicked();
                }
            }
        });
        Ok(Workers { shared, threads: pool })
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs a job when those before it have begun.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.queue.lock().expect("queue lock");
        queue.jobs.push_back(Box::new(job));
        // Waking costs a system call, and a thread that finds one small job only sleeps again before the next.
        let wake = queue.asleep > 0 && (queue.gathering == 0 || queue.jobs.len() > GATHERED_MAX);
        queue.asleep -= usize::from(wake);
        drop(queue);
        if wake {
            self.shared.came.notify_one();
        }
    }
}

impl Workers {
    /// More jobs are to come at once: threads that sleep may do so until [`Workers::gathered`].
    pub fn gather(&self) {
        self.shared.queue.lock().expect("queue lock").gathering += 1;
    }

    /// They have come.
    pub fn gathered(&self) {
        let mut queue = self.shared.queue.lock().expect("queue lock");
        queue.gathering -= 1;
        let wake = if queue.gathering == 0 { queue.asleep.min(queue.jobs.len()) } else { 0 };
        queue.asleep -= wake;
        drop(queue);
        (0..wake).for_each(|_| self.shared.came.notify_one());
    }
}

impl Shared {
    /// The next job; `None` when no more will come.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock().expect("queue lock");
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue.asleep += 1;
            queue = self.came.wait(queue).expect("queue lock");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // A lock that is poisoned has no thread that waits.
        if let Ok(mut queue) = self.shared.queue.lock() {
            queue.closed = true;
        }
        self.shared.came.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc::channel;

    #[test]
    fn every_job_runs_once_and_in_order_of_coming() {
        let workers = Workers::new(1, || ()).expect("workers");
        let (sender, order) = channel();
        for group in 0..100 {
            workers.gather();
            for n in 0..10 {
                let sender = sender.clone();
                workers.spawn(move || sender.send(group * 10 + n).expect("a receiver"));
            }
            workers.gathered();
            if group % 10 == 0 {
                // The thread sleeps in between.
                let last = order.iter().take(if group == 0 { 10 } else { 100 }).last();
                assert_eq!(last, Some(group * 10 + 9));
            }
        }
        drop((workers, sender));
        assert!(order.iter().eq(910..1000), "what was queued runs before the end");
    }

    #[test]
    fn jobs_spawn_jobs_and_a_panic_stops_nobody() {
        let panics = Arc::new(AtomicUsize::new(0));
        let told = panics.clone();
        let workers = Arc::new(
            Workers::new(3, move || {
                told.fetch_add(1, SeqCst);
            })
            .expect("workers"),
        );
        assert_eq!(workers.count(), 3);
        let (sender, done) = channel();
        for n in 0..300 {
            let (own, sender) = (workers.clone(), sender.clone());
            workers.spawn(move || {
                let sent = sender.clone();
                own.spawn(move || sent.send(n).expect("a receiver"));
                assert!(n % 100 != 7, "as asked");
            });
        }
        drop(sender);
        let mut all: Vec<i32> = done.iter().collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..300));
        // The last panic may still be on its way.
        while panics.load(SeqCst) < 3 {
            std::thread::yield_now();
        }
    }
}
