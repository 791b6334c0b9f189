//! Plan → running → stopped.
//!
//! Owns: start order, shutdown order, exit codes of a run. Never: parses configuration.
//! Order of a stop: inputs stop reading → what is held back is flushed → jobs end → lanes deliver and end → offsets are
//! committed. `Grace` bounds the wait; what is not delivered then stays uncommitted.

use crate::breaker::Breaker;
use crate::budget::{Budget, Pool};
use crate::config::values::StorageType;
use crate::control::Control;
use crate::health::Health;
use crate::inputs::shared::Buffer;
use crate::inputs::shared::Common;
use crate::inputs::{Input, InputShared};
use crate::metrics::{FilterMetrics, InputMetrics};
use crate::monitor::{Monitor, Watched, WatchedOutput};
use crate::pipeline::{FilterInstance, OutputInstance, Pipeline};
use crate::plan::{Plan, PlannedOutput};
use crate::queue::{Delivery, Lanes, Pressure};
use crate::storage::{Store, StoredOutput};
use crate::{http_server, log};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Read buffers and segment buffers larger than this are not kept for reuse.
const KEPT_CAPACITY_MAX: usize = 1 << 20;

/// Runs a plan until it ends or a signal stops it; gives the exit code.
pub fn run(plan: Plan) -> i32 {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(16)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            log!(Error, "engine", "cannot start the network runtime: {error}");
            return 1;
        }
    };
    let code = match Running::start(plan, &runtime) {
        Ok(running) => runtime.block_on(running.until_stopped()),
        Err(message) => {
            log!(Error, "engine", "{message}");
            1
        }
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// How long inputs may take to write their last offsets.
const JOIN_MAX: Duration = Duration::from_secs(5);

/// A started plan.
struct Running {
    store: Option<(Arc<Store>, std::thread::JoinHandle<()>)>,
    control: Arc<Control>,
    inputs: Vec<Arc<InputShared>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    pipeline: Arc<Pipeline>,
    lanes: Vec<tokio::task::JoinHandle<()>>,
    workers: Arc<rayon::ThreadPool>,
    monitor: Arc<Monitor>,
    grace: Duration,
}

impl Running {
    fn start(plan: Plan, runtime: &tokio::runtime::Runtime) -> Result<Running, String> {
        let settings = plan.settings.clone();
        let budget = Budget::new(settings.memory_limit);
        let health = Arc::new(Health::default());
        let pressure = Arc::new(Pressure::default());
        let control = Arc::new(Control::default());
        let share = settings.memory_limit / plan.outputs.len().max(1);
        let (filters, outputs) = instances(&plan, share);
        let store = open_store(&plan, &outputs, &budget, &control)?;
        let deliveries = deliveries(&plan, &outputs, &pressure, &health, store.as_ref());
        let pipeline = Arc::new(Pipeline::new(filters, outputs));
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(settings.shards)
            .thread_name(|n| format!("shard-{n}"))
            .build()
            .map_err(|e| format!("cannot start {} shards: {e}", settings.shards))?;
        let common = Common {
            pipeline: pipeline.clone(),
            workers: Arc::new(workers),
            runtime: runtime.handle().clone(),
            blocks: Arc::new(Pool::new(8, KEPT_CAPACITY_MAX)),
            segments: Arc::new(Pool::new(12, KEPT_CAPACITY_MAX)),
            budget: budget.clone(),
            pressure,
            control: control.clone(),
        };
        let monitor = Arc::new(monitor(&plan, &pipeline, budget, health, store.clone()));
        if let Some((listen, port)) = settings.http_server {
            let serving = http_server::bind(&listen, port)
                .map_err(|e| format!("cannot listen on {listen}:{port} (HTTP_Listen, HTTP_Port): {e}"))?;
            runtime.spawn(http_server::serve(serving, monitor.clone()));
        }
        let writer = store.as_ref().map(Store::start).transpose();
        let writer = writer.map_err(|e| format!("cannot start a thread: {e}"))?;
        let lanes = start_lanes(&deliveries, runtime);
        let ring = settings.memory_limit / plan.outputs.len().max(1) / 2;
        let (inputs, threads) = start_inputs(plan.inputs, &monitor, &common, store.as_ref(), ring)?;
        Ok(Running {
            store: store.zip(writer),
            control,
            inputs,
            threads,
            pipeline,
            lanes,
            workers: common.workers,
            monitor,
            grace: settings.grace,
        })
    }

    /// Waits for a signal or the natural end, then stops in order.
    async fn until_stopped(self) -> i32 {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                log!(Error, "engine", "cannot listen for signals: {error}");
                return 1;
            }
        };
        tokio::select! {
            () = self.control.wait(|| self.control.stopping()) => {}
            name = signals.next() => log!(Warn, "engine", "{name} received: stopping within {:.0} s; a second one ends at once", self.grace.as_secs_f64()),
        }
        let failed = self.control.failed();
        tokio::select! {
            () = self.stop() => i32::from(failed),
            name = signals.next() => {
                log!(Warn, "engine", "second {name}: ending at once; what is not delivered stays uncommitted");
                i32::from(failed)
            }
        }
    }

    async fn stop(self) {
        self.control.stop();
        let finish = async {
            self.control.wait(|| self.inputs.iter().all(|i| i.is_quiet())).await;
            self.inputs.iter().for_each(|i| i.flush_all());
            self.control.set_flushed();
            self.control.wait(|| self.inputs.iter().all(|i| i.decoded())).await;
            if let Some((store, _)) = &self.store {
                store.flush().await;
            }
            self.pipeline.outputs.iter().for_each(|o| o.lanes.close());
            for lane in self.lanes {
                drop(lane.await);
            }
        };
        tokio::select! {
            () = finish => {}
            () = grace_over(self.grace, &self.monitor) => log!(Warn, "engine", "grace of {:.0} s is over: {} records are not delivered", self.grace.as_secs_f64(), undelivered(&self.monitor)),
        }
        self.control.give_up();
        // Inputs write their last offsets now; they no longer wait for anything.
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
        if tokio::time::timeout(JOIN_MAX, joined).await.is_err() {
            log!(Warn, "engine", "an input did not stop within {} s; ending without it", JOIN_MAX.as_secs());
        }
        if let Some((store, writer)) = self.store {
            store.stop();
            let joined = tokio::task::spawn_blocking(move || drop(writer.join()));
            if tokio::time::timeout(JOIN_MAX, joined).await.is_err() {
                log!(
                    Warn,
                    "engine",
                    "the storage did not stop within {} s; ending without it",
                    JOIN_MAX.as_secs()
                );
            }
        }
        drop(self.workers);
    }
}

/// The storage, where there is a `storage.path`.
fn open_store(
    plan: &Plan,
    outputs: &[OutputInstance],
    budget: &Arc<Budget>,
    control: &Arc<Control>,
) -> Result<Option<Arc<Store>>, String> {
    let Some(settings) = &plan.settings.storage else { return Ok(None) };
    let stored = plan.outputs.iter().zip(outputs).map(|(planned, instance)| StoredOutput {
        name: planned.name.clone(),
        plugin: planned.plugin,
        fingerprint: planned.fingerprint,
        limit: planned.disk_limit,
        lanes: instance.lanes.clone(),
    });
    let control = control.clone();
    let released = Arc::new(move || control.memory_released());
    Store::open(settings.clone(), stored.collect(), budget.clone(), released).map(Some)
}

/// `Grace` after the last delivery: what makes progress is not cut off.
async fn grace_over(grace: Duration, monitor: &Monitor) {
    let delivered = || {
        monitor
            .outputs
            .iter()
            .map(|o| o.watched.metrics.proc_records.load(std::sync::atomic::Ordering::Relaxed))
            .sum::<u64>()
    };
    let (mut last, mut since) = (delivered(), Instant::now());
    while since.elapsed() < grace {
        tokio::time::sleep(Duration::from_millis(50).min(grace)).await;
        let now = delivered();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

fn undelivered(monitor: &Monitor) -> u64 {
    monitor
        .outputs
        .iter()
        .map(|o| o.watched.metrics.queued_records.load(std::sync::atomic::Ordering::Relaxed))
        .sum()
}

/// Instances of the plan with their counters.
fn instances(plan: &Plan, share: usize) -> (Vec<FilterInstance>, Vec<OutputInstance>) {
    let filters = plan.filters.iter().map(|f| FilterInstance {
        name: f.name.clone(),
        matcher: f.matcher.clone(),
        filter: f.filter.clone(),
        metrics: Arc::new(FilterMetrics::default()),
        loop_told: Default::default(),
    });
    let outputs = plan.outputs.iter().map(|o| OutputInstance {
        name: o.name.clone(),
        matcher: o.matcher.clone(),
        output: o.output.clone(),
        lanes: Lanes::new(o.output.lanes(), Budget::new(share), Arc::default()),
    });
    (filters.collect(), outputs.collect())
}

/// A delivery for each output.
fn deliveries(
    plan: &Plan,
    outputs: &[OutputInstance],
    pressure: &Arc<Pressure>,
    health: &Arc<Health>,
    store: Option<&Arc<Store>>,
) -> Vec<Arc<Delivery>> {
    let delivery = |(number, (planned, instance)): (usize, (&PlannedOutput, &OutputInstance))| {
        Arc::new(Delivery {
            component: format!("output:{}:{}", planned.plugin, planned.name),
            output: planned.output.clone(),
            metrics: instance.lanes.metrics().clone(),
            lanes: instance.lanes.clone(),
            flush: plan.settings.flush,
            retry_limit: planned.retry_limit,
            breaker: Breaker::new(plan.settings.backoff),
            pressure: pressure.clone(),
            health: health.clone(),
            store: store.map(|store| (store.clone(), number)),
        })
    };
    plan.outputs.iter().zip(outputs).enumerate().map(delivery).collect()
}

fn start_lanes(
    deliveries: &[Arc<Delivery>],
    runtime: &tokio::runtime::Runtime,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut lanes = Vec::new();
    for delivery in deliveries {
        let starting = delivery.clone();
        runtime.spawn(async move { starting.output.start().await });
        lanes.extend((0..delivery.lanes.count()).map(|n| runtime.spawn(delivery.clone().run(n))));
    }
    lanes
}

type Inputs = (Vec<Arc<InputShared>>, Vec<std::thread::JoinHandle<()>>);

fn start_inputs(
    planned: Vec<crate::plan::PlannedInput>,
    monitor: &Monitor,
    common: &Common,
    store: Option<&Arc<Store>>,
    ring_bytes: usize,
) -> Result<Inputs, String> {
    let (mut shared, mut threads) = (Vec::new(), Vec::new());
    let mut waiting = Vec::new();
    for (planned, watched) in planned.into_iter().zip(&monitor.inputs) {
        let component = format!("input:{}:{}", planned.plugin, planned.name);
        // Only what waits in memory alone stops at `Mem_Buf_Limit`, as in Fluent Bit.
        let (buffer, stops_at) = match (planned.storage, store) {
            (StorageType::Filesystem, Some(store)) => {
                (Buffer::Disk { store: store.clone(), keep_up: planned.pause_on_overlimit }, None)
            }
            (StorageType::Memrb, _) => {
                (Buffer::Ring { bytes: planned.memory_limit.map_or(ring_bytes, |n| n.min(ring_bytes)) }, None)
            }
            _ => (Buffer::Memory, planned.memory_limit),
        };
        let input = InputShared::new(
            component,
            planned.configured.decoder.clone(),
            stops_at,
            buffer,
            watched.metrics.clone(),
            common,
        )
        .map_err(|e| format!("{}: cannot make an eventfd: {e}", planned.name))?;
        common.control.add_input(input.wake());
        shared.push(input.clone());
        waiting.push((planned.configured.input, input, planned.name));
    }
    for (input, shared, name) in waiting {
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || run_input(input, shared));
        threads.push(thread.map_err(|e| format!("cannot start a thread: {e}"))?);
    }
    Ok((shared, threads))
}

/// Runs an input; whatever way it ends, it submits nothing more.
fn run_input(input: Box<dyn Input>, shared: Arc<InputShared>) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| input.run(shared.clone())));
    shared.set_quiet();
    if result.is_err() {
        crate::inputs::Engine::fail(&*shared, "the input stopped with an internal error".into());
    }
}

fn monitor(
    plan: &Plan,
    pipeline: &Pipeline,
    budget: Arc<Budget>,
    health: Arc<Health>,
    store: Option<Arc<Store>>,
) -> Monitor {
    let inputs = plan.inputs.iter().map(|i| Watched {
        name: i.name.clone(),
        plugin: i.plugin,
        metrics: Arc::new(InputMetrics::default()),
    });
    let filters = plan.filters.iter().zip(&pipeline.filters).map(|(p, f)| Watched {
        name: f.name.clone(),
        plugin: p.plugin,
        metrics: f.metrics.clone(),
    });
    let outputs = plan.outputs.iter().zip(&pipeline.outputs).map(|(p, o)| WatchedOutput {
        watched: Watched { name: o.name.clone(), plugin: p.plugin, metrics: o.lanes.metrics().clone() },
        output: o.output.clone(),
    });
    Monitor {
        inputs: inputs.collect(),
        filters: filters.collect(),
        outputs: outputs.collect(),
        budget,
        health,
        health_check: plan.settings.health_check,
        storage_metrics: plan.settings.storage_metrics,
        store,
        started: Instant::now(),
        started_at: std::time::SystemTime::now(),
        flush: plan.settings.flush.as_secs_f64(),
    }
}

/// SIGTERM and SIGINT; SIGHUP is told, and else nothing comes of it.
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.hup.recv() => log!(Warn, "engine", "SIGHUP received: the configuration is read once, at the start; restart the program"),
            }
        }
    }
}
