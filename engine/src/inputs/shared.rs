//! The engine as one input sees it.
//!
//! Owns: admission to memory, wake-ups, the count of jobs under way. Never: reads.

use super::{Engine, Kept, Source};
use crate::budget::{Budget, Pool};
use crate::control::Control;
use crate::decode::Decoder;
use crate::delivery::Pressure;
use crate::job::{Block, Position, SourceInfo};
use crate::metrics::InputMetrics;
use crate::pipeline::Pipeline;
use crate::queue::Charge;
use crate::reload::Handover;
use crate::storage::Store;
use crate::workers::Workers;
use crate::{log, shards};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Buffers have multiples of this capacity.
const BUFFER_STEP: usize = 64 * 1024;

/// A block as large as a reader that is far behind makes it.
const BLOCK_BYTES: usize = 256 * 1024;

/// How many bytes of the process a byte of a block is to take: itself, and what each output gets of it, as long as
/// two blocks for each shard still fit.
pub fn reserve(outputs: usize, shards: usize, limit: usize) -> usize {
    (1 + outputs).min(limit / (2 * shards.max(1) * BLOCK_BYTES)).max(1)
}

/// What the inputs of a process share.
#[derive(Clone)]
pub struct Common {
    /// Filters, outputs and routes.
    pub pipeline: Arc<Pipeline>,
    /// Workers that run jobs.
    pub workers: Arc<Workers>,
    /// Runs flush timers.
    pub runtime: tokio::runtime::Handle,
    /// Read buffers.
    pub blocks: Arc<Pool>,
    /// Segment buffers.
    pub segments: Arc<Pool>,
    /// Bytes of the process.
    pub budget: Arc<Budget>,
    /// Tells lanes that readers wait.
    pub pressure: Arc<Pressure>,
    /// Start and stop of the program.
    pub control: Arc<Control>,
    /// What goes from one configuration to the next, where that may be.
    pub handover: Option<Arc<Handover>>,
}

/// Where the segments of an input wait (`storage.type`).
#[derive(Clone, Default)]
pub enum Buffer {
    /// In memory, until they are delivered; the input stops when there is no more.
    #[default]
    Memory,
    /// On disk, and in memory as far as there is room.
    Disk {
        /// Where they are stored.
        store: Arc<Store>,
        /// They stay in memory, and the input stops when there is no more (`storage.pause_on_chunks_overlimit`).
        keep_up: bool,
    },
    /// In so many bytes of memory, of which the oldest go first (`memrb`).
    Ring {
        /// `Mem_Buf_Limit`, or the output's share of the memory.
        bytes: usize,
    },
}

impl Buffer {
    /// True when the input need not wait for its outputs.
    pub fn takes_all(&self) -> bool {
        match self {
            Buffer::Memory => false,
            Buffer::Disk { store, keep_up } => !keep_up && store.accepts(),
            Buffer::Ring { .. } => true,
        }
    }
}

/// One input's share of the engine.
pub struct InputShared {
    /// Where its segments wait.
    pub buffer: Buffer,
    /// `input:tail:tail.0`, for messages.
    pub component: String,
    /// `tail.0`, or its alias.
    name: String,
    /// How its blocks become records.
    pub decoder: Arc<dyn Decoder>,
    /// Its own processors, as indexes into the pipeline's filters.
    pub processors: Vec<usize>,
    /// Filters, outputs and routes.
    pub pipeline: Arc<Pipeline>,
    /// Workers that run jobs.
    pub workers: Arc<Workers>,
    /// Read buffers.
    pub blocks: Arc<Pool>,
    /// Segment buffers.
    pub segments: Arc<Pool>,
    /// Its counters.
    pub metrics: Arc<InputMetrics>,
    runtime: tokio::runtime::Handle,
    budgets: [Arc<Budget>; 2],
    /// How many bytes of the process a byte of a block takes: what is made of it has its place already.
    reserve: usize,
    released: Arc<dyn Fn() + Send + Sync>,
    pressure: Arc<Pressure>,
    control: Arc<Control>,
    handover: Option<Arc<Handover>>,
    wake: Arc<Wake>,
    /// Jobs that are submitted and not acknowledged.
    jobs: AtomicUsize,
    /// Sources that may hold something back; those that are gone are swept out as it grows.
    sources: Mutex<Vec<Weak<shards::Source>>>,
    quiet: AtomicBool,
    this: Weak<InputShared>,
}

/// The eventfd of an input, and whether it waits for it.
pub struct Wake {
    fd: OwnedFd,
    waiting: AtomicBool,
    /// Jobs that are submitted and not through the workers.
    undecoded: AtomicUsize,
}

impl Wake {
    /// Makes the fd readable where the input waits for memory.
    pub fn ring_if_waiting(&self) {
        if self.waiting.swap(false, Ordering::AcqRel) {
            self.ring();
        }
    }

    /// Memory came back. An input that is told of each block goes to sleep again for each of them: it is told when half
    /// of its budgets is free, or when no job of it is left that would free more by itself.
    fn memory_came(&self, budgets: &[Arc<Budget>; 2], pressure: &Pressure) {
        if !self.waiting.load(Ordering::Acquire) {
            return;
        }
        let half = budgets.iter().all(|budget| budget.used() <= budget.limit() / 2);
        if (half || !self.decoding()) && self.waiting.swap(false, Ordering::AcqRel) {
            pressure.clear();
            self.ring();
        }
    }

    /// True while a job of it is not through the workers.
    fn decoding(&self) -> bool {
        self.undecoded.load(Ordering::Acquire) > 0
    }

    /// Makes the fd readable.
    pub fn ring(&self) {
        // A full counter is as good as a written one.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }
}

impl InputShared {
    /// `memory_limit` is `Mem_Buf_Limit`, where the input stops at it.
    pub fn new(
        component: String,
        decoder: Arc<dyn Decoder>,
        processors: Vec<usize>,
        memory_limit: Option<usize>,
        buffer: Buffer,
        metrics: Arc<InputMetrics>,
        common: &Common,
    ) -> std::io::Result<Arc<InputShared>> {
        let wake = Arc::new(Wake {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            waiting: AtomicBool::new(false),
            undecoded: AtomicUsize::new(0),
        });
        let memory = Budget::new(memory_limit.unwrap_or(usize::MAX / 2));
        let budgets = [common.budget.clone(), memory.clone()];
        let (ring, pressure) = (wake.clone(), common.pressure.clone());
        let of_input = budgets.clone();
        let released = Arc::new(move || ring.memory_came(&of_input, &pressure));
        // A second start of the same counters (a reload) keeps showing the first budget; nothing depends on it.
        drop(metrics.memory.set(memory.clone()));
        // Each output of a route gets a wire form of its own.
        let reserve = reserve(common.pipeline.outputs.len(), common.workers.count(), common.budget.limit());
        Ok(Arc::new_cyclic(|this| InputShared {
            buffer,
            name: component.splitn(3, ':').nth(2).unwrap_or_default().to_owned(),
            component,
            reserve,
            decoder,
            processors,
            pipeline: common.pipeline.clone(),
            workers: common.workers.clone(),
            blocks: common.blocks.clone(),
            segments: common.segments.clone(),
            metrics,
            runtime: common.runtime.clone(),
            budgets,
            released,
            pressure: common.pressure.clone(),
            control: common.control.clone(),
            handover: common.handover.clone(),
            wake,
            jobs: AtomicUsize::new(0),
            sources: Mutex::default(),
            quiet: AtomicBool::new(false),
            this: this.clone(),
        }))
    }

    /// From now on, memory that is given back rings; lanes deliver what they hold without waiting for `Flush`, once no
    /// job is left that would add to it.
    fn wait_for_memory(&self) {
        self.wake.waiting.store(true, Ordering::Release);
        // Between this and `job_decoded`: one of both sees what the other did.
        fence(Ordering::SeqCst);
        if !self.wake.decoding() {
            self.pressure.raise();
        }
    }

    /// `tail.0`, or its alias.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that it holds in memory.
    pub fn memory_used(&self) -> usize {
        self.budgets[1].used()
    }

    /// Its eventfd, for whoever stops the program.
    pub fn wake(&self) -> Arc<Wake> {
        self.wake.clone()
    }

    /// True when it will submit nothing more.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Acquire)
    }

    /// It will submit nothing more.
    pub fn set_quiet(&self) {
        self.quiet.store(true, Ordering::Release);
        self.control.changed();
    }

    /// Jobs that are submitted and not acknowledged.
    pub fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Acquire)
    }

    /// A charge for bytes that now exist, whether they fit or not, in buffers of this `capacity`.
    pub fn charge(&self, bytes: usize, capacity: usize) -> Charge {
        self.charge_as(bytes, capacity);
        Charge::taken(bytes, self.budgets.clone(), self.released.clone()).of_process(capacity)
    }

    fn charge_as(&self, bytes: usize, process: usize) {
        let [whole, input] = &self.budgets;
        whole.take(process);
        input.take(bytes);
    }

    /// Posts a flush for every source that holds something back.
    pub fn flush_all(&self) {
        let sources: Vec<_> =
            self.sources.lock().expect("sources lock").iter().filter_map(Weak::upgrade).collect();
        sources.iter().for_each(shards::Source::flush_pending);
    }

    /// True when no job is on the workers.
    pub fn decoded(&self) -> bool {
        !self.wake.decoding()
    }

    pub(crate) fn job_decoded(&self) {
        if self.wake.undecoded.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        fence(Ordering::SeqCst);
        // What this job gave back may have come before the count was down, and nothing may come after it. Where there is
        // still too little, it waits again, and now lanes hurry.
        if self.wake.waiting.swap(false, Ordering::AcqRel) {
            self.wake.ring();
        }
        // Nobody waits for the last job before the stop.
        if self.control.stopping() {
            self.control.changed();
        }
    }

    pub(crate) fn job_started(&self) {
        self.wake.undecoded.fetch_add(1, Ordering::AcqRel);
        self.jobs.fetch_add(1, Ordering::AcqRel);
        self.metrics.jobs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn job_ended(&self) {
        self.metrics.jobs.fetch_sub(1, Ordering::Relaxed);
        if self.jobs.fetch_sub(1, Ordering::AcqRel) == 1 && self.control.stopping() {
            self.wake.ring();
            self.control.changed();
        }
    }

    /// Posts an empty job that flushes what the source holds, unless newer lines moved it on by then.
    pub(crate) fn flush_later(&self, source: &Source) {
        let Some(mark) = source.schedule_flush() else { return };
        let (source, wait) = (source.clone(), Duration::from_millis(source.flush_ms()));
        self.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            source.flush_due(mark);
        });
    }
}

impl Engine for InputShared {
    fn open(&self, info: SourceInfo) -> Source {
        let this = self.this.upgrade().expect("an input in use is alive");
        let source = shards::Source::new(info, this, &self.pipeline);
        if source.stateful() {
            let mut sources = self.sources.lock().expect("sources lock");
            if sources.len() == sources.capacity() {
                sources.retain(|s| s.strong_count() > 0);
            }
            sources.push(Arc::downgrade(&source));
        }
        source
    }

    fn submit(&self, source: &Source, block: Block, end: Position) {
        let bytes = block.buffer.capacity();
        let charge = Charge::taken(bytes, self.budgets.clone(), self.released.clone());
        source.submit(Some(block), end, Some(charge.of_process(bytes.saturating_mul(self.reserve))));
    }

    fn gather(&self, more: bool) {
        match more {
            true => self.workers.gather(),
            false => self.workers.gathered(),
        }
    }

    fn close(&self, source: &Source) {
        source.flush_pending();
    }

    fn admit(&self, bytes: usize) -> bool {
        for again in [false, true] {
            let [process, input] = &self.budgets;
            let reserved = bytes.saturating_mul(self.reserve);
            // One large line must not wait for an empty process because of what it may become.
            let large = reserved > process.limit() / 2 && process.fits(bytes);
            if (large || process.fits(reserved)) && input.fits(bytes) {
                self.charge_as(bytes, reserved);
                self.metrics.paused.store(0, Ordering::Relaxed);
                return true;
            }
            if !again {
                // Asked again below: what was given back before this rang no bell.
                self.wait_for_memory();
            }
        }
        self.metrics.paused.store(1, Ordering::Relaxed);
        false
    }

    fn blocked(&self, source: &Source) -> bool {
        if !source.blocked() {
            return false;
        }
        self.wait_for_memory();
        // Asked again: what was given back before `wait_for_memory` rang no bell.
        source.blocked()
    }

    fn take(&self, bytes: usize) {
        self.charge_as(bytes, bytes.saturating_mul(self.reserve));
    }

    fn release(&self, bytes: usize) {
        let [process, input] = &self.budgets;
        process.give(bytes.saturating_mul(self.reserve));
        input.give(bytes);
        (self.released)();
    }

    fn keep_waiting(&self, bytes: usize, always: bool) -> bool {
        let [process, input] = &self.budgets;
        if !process.keep(bytes, always) {
            return false;
        }
        let kept = input.keep(bytes, always);
        if !kept {
            process.let_go(bytes);
        }
        kept
    }

    fn let_go(&self, bytes: usize) {
        self.budgets.iter().for_each(|budget| budget.let_go(bytes));
        (self.released)();
    }

    fn buffer(&self, capacity: usize) -> Vec<u8> {
        // Rounded, so that a buffer that comes back fits the next block, whose head-room differs a little.
        self.blocks.take(capacity.next_multiple_of(BUFFER_STEP))
    }

    fn recycle(&self, buffer: Vec<u8>) {
        self.blocks.give(buffer);
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.fd.as_fd()
    }

    fn stopping(&self) -> bool {
        self.control.stopping()
    }

    fn quiet(&self) {
        self.set_quiet();
    }

    fn drained(&self) -> bool {
        self.control.over() || (self.control.flushed() && self.jobs() == 0)
    }

    fn metrics(&self) -> &InputMetrics {
        &self.metrics
    }

    fn finished(&self) {
        self.control.input_finished();
    }

    fn fail(&self, message: String) {
        log!(Error, self.component, "{message}");
        self.control.fail();
    }

    fn end(&self, code: i32) {
        self.control.fail_with(code);
    }

    fn hot_reload(&self) -> bool {
        self.handover.is_some()
    }

    fn reloading(&self) -> bool {
        self.control.reloading()
    }

    fn keep(&self, key: String, value: Kept) {
        if let Some(handover) = &self.handover {
            handover.keep(key, value);
        }
    }

    fn kept(&self, prefix: &str) -> Vec<(String, Kept)> {
        self.handover.as_ref().map(|h| h.kept(prefix)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_rung_when_half_is_free_or_nothing_else_will_free_more() {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
        let wake = Wake { fd, waiting: AtomicBool::new(true), undecoded: AtomicUsize::new(1) };
        let (budgets, pressure) = ([Budget::new(100), Budget::new(100)], Pressure::default());
        let rung = || {
            wake.memory_came(&budgets, &pressure);
            rustix::io::read(&wake.fd, &mut [0; 8]).is_ok()
        };
        budgets.iter().for_each(|b| b.take(60));
        assert!(!rung(), "a job of it will free more");
        budgets[0].give(10);
        assert!(!rung(), "half of the other budget is taken");
        budgets[1].give(10);
        assert!(rung());
        assert!(!rung(), "it does not wait any more");
        wake.waiting.store(true, Ordering::Release);
        budgets[0].take(40);
        assert!(!rung());
        wake.undecoded.store(0, Ordering::Release);
        assert!(rung(), "nothing else frees more");
    }
}
