//! The workers: threads of a rayon pool that take jobs in the order of their coming, and sleep while there are none.
//!
//! Owns: the queue of jobs. Never: runs two jobs of its queue on one thread at once, loses one before it is closed.
//! Why not rayon's own queue: a thread of rayon that finds nothing calls `sched_yield` some thirty times before it sleeps.
//! With jobs that come one at a time (many files, small writes) that was most of what the process did.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// So many bytes may wait for a thread that has nothing to do before another one is woken: a millisecond or a few of work.
const BYTES_PER_THREAD: usize = 64 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs.
pub struct Workers {
    shared: Arc<Shared>,
    threads: rayon::ThreadPool,
}

struct Shared {
    queue: Mutex<Queue>,
    came: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(usize, Job)>,
    /// Bytes that they are to go through.
    bytes: usize,
    /// Threads that are awake (or will be) and have no job.
    free: usize,
    /// Of those, who sleep still.
    woken: usize,
    /// Threads that sleep, and nobody has woken them.
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
        let queue = Queue { free: threads, ..Queue::default() };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), came: Condvar::new() });
        let of_threads = shared.clone();
        pool.spawn_broadcast(move |_| {
            let mut worked = false;
            while let Some(job) = of_threads.next(worked) {
                worked = true;
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

    /// Runs a job, which is to go through so many `bytes`, when those before it have begun.
    pub fn spawn(&self, bytes: usize, job: impl FnOnce() + Send + 'static) {
        let bytes = bytes.max(1);
        let mut queue = self.shared.queue.lock().expect("queue lock");
        queue.jobs.push_back((bytes, Box::new(job)));
        queue.bytes += bytes;
        if queue.gathering == 0 {
            self.wake(queue);
        }
    }

    /// Wakes as many threads as there is work for. Waking costs two system calls, and one thread may be through with
    /// several small jobs before another one is awake.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let wanted = queue.bytes.div_ceil(BYTES_PER_THREAD);
        let more = wanted.saturating_sub(queue.free).min(queue.asleep);
        queue.asleep -= more;
        (queue.free, queue.woken) = (queue.free + more, queue.woken + more);
        drop(queue);
        (0..more).for_each(|_| self.shared.came.notify_one());
    }

    /// More jobs are to come at once: threads that sleep may do so until [`Workers::gathered`].
    pub fn gather(&self) {
        self.shared.queue.lock().expect("queue lock").gathering += 1;
    }

    /// They have come.
    pub fn gathered(&self) {
        let mut queue = self.shared.queue.lock().expect("queue lock");
        queue.gathering -= 1;
        if queue.gathering == 0 {
            self.wake(queue);
        }
    }
}

impl Shared {
    /// The next job of a thread that has `worked` on another one; `None` when no more will come.
    fn next(&self, worked: bool) -> Option<Job> {
        let mut queue = self.queue.lock().expect("queue lock");
        queue.free += usize::from(worked);
        loop {
            if let Some((bytes, job)) = queue.jobs.pop_front() {
                (queue.bytes, queue.free) = (queue.bytes - bytes, queue.free - 1);
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            (queue.free, queue.asleep) = (queue.free - 1, queue.asleep + 1);
            // The kernel may wake a thread that nobody has woken.
            let asleep = |queue: &mut Queue| queue.woken == 0 && !queue.closed;
            queue = self.came.wait_while(queue, asleep).expect("queue lock");
            queue.woken = queue.woken.saturating_sub(1);
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
                workers.spawn(n, move || sender.send(group * 10 + n).expect("a receiver"));
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
            workers.spawn(0, move || {
                let sent = sender.clone();
                own.spawn(1 << 20, move || sent.send(n).expect("a receiver"));
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
