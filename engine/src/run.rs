//! Plan → running → stopped.
//!
//! Owns: start order, shutdown order, exit codes of a run. Never: parses configuration.
//! Order of a stop: inputs stop reading → what is held back is flushed → jobs end → lanes deliver and end → offsets are
//! committed. `Grace` bounds the wait; what is not delivered then stays uncommitted.

use crate::breaker::Breaker;
use crate::budget::{Budget, Pool};
use crate::config::values::StorageType;
use crate::control::Control;
use crate::delivery::{Delivery, Pressure};
use crate::health::Health;
use crate::inputs::shared::Buffer;
use crate::inputs::shared::Common;
use crate::inputs::{Input, InputShared};
use crate::metrics::InputMetrics;
use crate::monitor::{Monitor, Watched, WatchedFilter, WatchedOutput};
use crate::pipeline::{FilterInstance, OutputInstance, Pipeline};
use crate::plan::{Plan, PlannedFilter, PlannedOutput};
use crate::queue::Lanes;
use crate::reload::{self, Handover, Reloads};
use crate::storage::{Store, StoredOutput};
use crate::workers::Workers;
use crate::{http_server, log};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Read buffers and segment buffers larger than this are not kept for reuse.
const KEPT_CAPACITY_MAX: usize = 2 << 20;

/// Reads the configuration again: the new plan, or all that is wrong with it.
pub type Replan = Arc<dyn Fn() -> Result<Plan, String> + Send + Sync>;

/// Runs a plan until it ends or a signal stops it; gives the exit code. `replan` is asked when it is to be replaced.
pub fn run(plan: Plan, replan: Replan) -> i32 {
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
    let code = match runtime.block_on(supervise(plan, replan)) {
        Ok(code) => code,
        Err(failure) => {
            log!(Error, "engine", "{}", failure.message);
            failure.code
        }
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// How long inputs may take to write their last offsets.
const JOIN_MAX: Duration = Duration::from_secs(5);
/// How long outputs may take to send what they keep on their own disks, as `s3` does.
const OUTPUTS_STOP_MAX: Duration = Duration::from_secs(30);
/// How long lanes may take to put back what is under way.
const PUT_BACK_MAX: Duration = Duration::from_secs(1);

/// Runs one plan after the other.
async fn supervise(plan: Plan, replan: Replan) -> Result<i32, NotStarted> {
    let mut signals = Signals::new().map_err(|e| format!("cannot listen for signals: {e}"))?;
    let mut base = Base::new(&plan)?;
    let control = prepare(&plan)?;
    let server = base.listen(&plan)?;
    let mut running = Running::start(plan, control, &mut base, server)?;
    while let Next::Reload = running.until(&mut signals, &base.reloads).await {
        running = running.replaced(&mut base, &replan).await?;
    }
    let (control, grace) = (running.control.clone(), running.grace);
    tokio::select! {
        () = running.stop(grace, None) => {}
        name = signals.last() => {
            log!(Warn, "engine", "second {name}: ending at once; what is not delivered stays uncommitted");
        }
    }
    Ok(control.code())
}

/// What a running plan comes to.
enum Next {
    Stop,
    Reload,
}

/// What outlives a plan.
struct Base {
    workers: Arc<Workers>,
    blocks: Arc<Pool>,
    segments: Arc<Pool>,
    reloads: Arc<Reloads>,
    handover: Arc<Handover>,
    server: Option<Server>,
}

/// The monitoring server, which shows the plan that runs now.
struct Server {
    address: (String, u16),
    shown: Arc<http_server::Shown>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Base {
    fn new(plan: &Plan) -> Result<Base, String> {
        let shards = plan.settings.shards;
        // A job catches its own panics (`Source::guarded`); this is told of any other.
        let panicked = || log!(Error, "engine", "internal error on a worker; the others go on");
        let workers =
            Workers::new(shards, panicked).map_err(|e| format!("cannot start {shards} shards: {e}"))?;
        Ok(Base {
            workers: Arc::new(workers),
            blocks: Arc::new(Pool::new(8, KEPT_CAPACITY_MAX)),
            segments: Arc::new(Pool::new(12, KEPT_CAPACITY_MAX)),
            reloads: Arc::default(),
            handover: Arc::default(),
            server: None,
        })
    }

    /// Takes the port of a plan's server, where that is not open already.
    fn listen(&self, plan: &Plan) -> Result<Option<std::net::TcpListener>, String> {
        let Some((listen, port)) = &plan.settings.http_server else { return Ok(None) };
        if self.server.as_ref().is_some_and(|s| s.address == (listen.clone(), *port)) {
            return Ok(None);
        }
        http_server::bind(listen, *port)
            .map(Some)
            .map_err(|e| format!("cannot listen on {listen}:{port} (HTTP_Listen, HTTP_Port): {e}"))
    }

    /// Shows the plan that runs now, at the address that it names.
    fn show(
        &mut self,
        address: Option<(String, u16)>,
        listener: Option<std::net::TcpListener>,
        monitor: &Arc<Monitor>,
    ) {
        let kept = self.server.take().filter(|s| address.as_ref() == Some(&s.address) || s.end());
        self.server = match (address, listener) {
            (Some(address), Some(listener)) => {
                let shown = Arc::new(http_server::Shown::new(monitor.clone()));
                let task = tokio::spawn(http_server::serve(listener, shown.clone()));
                Some(Server { address, shown, task })
            }
            _ => kept,
        };
        if let Some(server) = &self.server {
            server.shown.set(monitor.clone());
        }
    }
}

impl Server {
    /// Gives the port back.
    fn end(&self) -> bool {
        self.task.abort();
        false
    }
}

/// Why the program did not start, and its exit code.
struct NotStarted {
    message: String,
    code: i32,
}

impl From<String> for NotStarted {
    fn from(message: String) -> NotStarted {
        NotStarted { message, code: 1 }
    }
}

/// A started plan.
struct Running {
    store: Option<(Arc<Store>, std::thread::JoinHandle<()>)>,
    control: Arc<Control>,
    inputs: Vec<Arc<InputShared>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    pipeline: Arc<Pipeline>,
    outputs: Vec<PlannedOutput>,
    deliveries: Vec<Arc<Delivery>>,
    lanes: Vec<tokio::task::JoinHandle<()>>,
    monitor: Arc<Monitor>,
    grace: Duration,
    reload_grace: Duration,
}

impl Running {
    fn start(
        plan: Plan,
        control: Arc<Control>,
        base: &mut Base,
        listener: Option<std::net::TcpListener>,
    ) -> Result<Running, String> {
        let settings = plan.settings.clone();
        let runtime = tokio::runtime::Handle::current();
        let budget = Budget::new(settings.memory_limit);
        let health = Arc::new(Health::default());
        let pressure = Arc::new(Pressure::default());
        let share = settings.memory_limit / plan.outputs.len().max(1);
        let (filters, outputs) = instances(&plan, share);
        let store = open_store(&plan, &outputs, &budget, &control)?;
        let deliveries = deliveries(&plan, &outputs, &pressure, &health, store.as_ref());
        base.handover.give(plan.outputs.iter().zip(outputs.iter().map(|o| &o.lanes)));
        base.reloads.enable(settings.hot_reload);
        let pipeline = Arc::new(Pipeline::new(filters, plan.filters.len(), outputs));
        let common = Common {
            pipeline: pipeline.clone(),
            workers: base.workers.clone(),
            runtime: runtime.clone(),
            blocks: base.blocks.clone(),
            segments: base.segments.clone(),
            budget: budget.clone(),
            pressure,
            control: control.clone(),
            handover: settings.hot_reload.then(|| base.handover.clone()),
        };
        let monitor =
            Arc::new(monitor(&plan, &pipeline, budget, health, store.clone(), base.reloads.clone()));
        base.show(settings.http_server.clone(), listener, &monitor);
        let writer = store.as_ref().map(Store::start).transpose();
        let writer = writer.map_err(|e| format!("cannot start a thread: {e}"))?;
        let lanes = start_lanes(&deliveries, &runtime);
        let ring = settings.memory_limit / plan.outputs.len().max(1) / 2;
        let (inputs, threads) =
            start_inputs(plan.inputs, plan.filters.len(), &monitor, &common, store.as_ref(), ring)?;
        Ok(Running {
            store: store.zip(writer),
            control,
            inputs,
            threads,
            pipeline,
            outputs: plan.outputs,
            deliveries,
            lanes,
            monitor,
            grace: settings.grace,
            reload_grace: reload::grace(settings.grace, settings.hot_reload_timeout),
        })
    }

    /// Waits for a signal, for the natural end, or for a question for a reload.
    async fn until(&self, signals: &mut Signals, reloads: &Reloads) -> Next {
        loop {
            let signal = tokio::select! {
                () = self.control.wait(|| self.control.stopping()) => return Next::Stop,
                () = reloads.asked() => "POST /api/v2/reload",
                name = signals.next() => name,
            };
            match signal {
                "SIGTERM" | "SIGINT" | "SIGQUIT" => {
                    let seconds = self.grace.as_secs_f64();
                    log!(
                        Warn,
                        "engine",
                        "{signal} received: stopping within {seconds:.0} s; a second one ends at once"
                    );
                    return Next::Stop;
                }
                _ if reloads.enabled() => {
                    log!(Info, "reload", "{signal} received: the configuration is read again");
                    return Next::Reload;
                }
                _ => log!(
                    Warn,
                    "reload",
                    "hot reloading is not enabled (Hot_Reload On, -Y): {signal} changes nothing"
                ),
            }
        }
    }

    /// Puts a new plan in the place of this one; goes on with this one where the new one cannot be made.
    async fn replaced(self, base: &mut Base, replan: &Replan) -> Result<Running, String> {
        base.reloads.begin();
        let replan = replan.clone();
        let planned = tokio::task::spawn_blocking(move || replan()).await;
        let planned = planned.unwrap_or_else(|e| Err(format!("the configuration cannot be read: {e}")));
        let made = planned.and_then(|plan| {
            let control = prepare(&plan).map_err(|refused| refused.message)?;
            let listener = base.listen(&plan)?;
            Ok((plan, control, listener))
        });
        let (plan, control, listener) = match made {
            Ok(made) => made,
            Err(message) => {
                log!(Error, "reload", "{message}\nthe configuration is not taken; the one that runs goes on");
                base.reloads.end(false);
                return Ok(self);
            }
        };
        log!(Info, "reload", "stop everything of the old configuration");
        let grace = self.reload_grace;
        self.stop(grace, Some(&base.handover)).await;
        base.handover = base.handover.next();
        log!(Info, "reload", "start everything");
        let running = Running::start(plan, control, base, listener)?;
        base.reloads.end(true);
        log!(Info, "reload", "successful reload done");
        Ok(running)
    }

    /// Stops; with a handover, what is not delivered goes there, as far as it cannot be read again.
    async fn stop(mut self, grace: Duration, handover: Option<&Handover>) {
        match handover {
            None => {
                self.control.stop();
                self.deliveries.iter().for_each(|delivery| delivery.lanes.breaker().hurry());
            }
            Some(_) => self.control.stop_for_reload(),
        }
        let over = tokio::select! {
            () = finish(&self.control, &self.inputs, &self.pipeline, self.store.as_ref(), &mut self.lanes) => false,
            () = grace_over(grace, &self.monitor) => true,
        };
        if over {
            let (seconds, records) = (grace.as_secs_f64(), undelivered(&self.monitor));
            log!(Warn, "engine", "grace of {seconds:.0} s is over: {records} records are not delivered");
        }
        if let (true, Some(_)) = (over, handover) {
            self.abandon().await;
        }
        self.stop_outputs().await;
        self.control.give_up();
        // Inputs write their last offsets now; they no longer wait for anything.
        let threads = self.threads;
        if !joined(threads).await {
            log!(
                Warn,
                "engine",
                "an input did not stop within {} s; going on without it",
                JOIN_MAX.as_secs()
            );
        }
        for (planned, instance) in self.outputs.iter().zip(&self.pipeline.outputs) {
            handover.into_iter().for_each(|h| h.take(planned, &instance.lanes));
        }
        if let Some((store, writer)) = self.store {
            store.stop();
            if !joined(vec![writer]).await {
                log!(
                    Warn,
                    "engine",
                    "the storage did not stop within {} s; going on without it",
                    JOIN_MAX.as_secs()
                );
            }
            store.release();
        }
    }

    /// Outputs send what they keep themselves; what they cannot send in time is safe on their disks.
    async fn stop_outputs(&self) {
        let mut stopping = tokio::task::JoinSet::new();
        for instance in &self.pipeline.outputs {
            let output = instance.output.clone();
            stopping.spawn(async move { output.stop().await });
        }
        if tokio::time::timeout(OUTPUTS_STOP_MAX, stopping.join_all()).await.is_err() {
            let seconds = OUTPUTS_STOP_MAX.as_secs();
            log!(Warn, "engine", "outputs did not send what they keep within {seconds} s");
        }
    }

    /// Ends the lanes, whatever they are waiting for.
    async fn abandon(&mut self) {
        drop(
            tokio::time::timeout(PUT_BACK_MAX, self.control.wait(|| self.inputs.iter().all(|i| i.decoded())))
                .await,
        );
        self.pipeline.outputs.iter().for_each(|o| o.lanes.abandon());
        let ended = tokio::time::timeout(PUT_BACK_MAX, ended(&mut self.lanes)).await;
        if ended.is_err() {
            self.lanes.iter().for_each(|lane| lane.abort());
        }
    }
}

/// The orderly end: inputs, then what they hold back, then jobs, then deliveries.
async fn finish(
    control: &Control,
    inputs: &[Arc<InputShared>],
    pipeline: &Pipeline,
    store: Option<&(Arc<Store>, std::thread::JoinHandle<()>)>,
    lanes: &mut Vec<tokio::task::JoinHandle<()>>,
) {
    control.wait(|| inputs.iter().all(|i| i.is_quiet())).await;
    inputs.iter().for_each(|i| i.flush_all());
    control.set_flushed();
    control.wait(|| inputs.iter().all(|i| i.decoded())).await;
    if let Some((store, _)) = store {
        store.flush().await;
    }
    pipeline.outputs.iter().for_each(|o| o.lanes.close());
    ended(lanes).await;
}

/// Waits for the lanes; those that ended are gone from the list.
async fn ended(lanes: &mut Vec<tokio::task::JoinHandle<()>>) {
    while let Some(lane) = lanes.last_mut() {
        drop(lane.await);
        lanes.pop();
    }
}

/// Waits for threads; false when that takes too long.
async fn joined(threads: Vec<std::thread::JoinHandle<()>>) -> bool {
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
    tokio::time::timeout(JOIN_MAX, joined).await.is_ok()
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
    // Filters first, then the processors of inputs, then those of outputs; `start_inputs` counts on it.
    let filters: Vec<FilterInstance> = all_filters(plan)
        .map(|f| FilterInstance::new(f.name.clone(), f.matcher.clone(), f.filter.clone()))
        .collect();
    let mut processors = filters.len() - plan.outputs.iter().map(|o| o.processors.len()).sum::<usize>();
    let outputs = plan.outputs.iter().map(|o| OutputInstance {
        name: o.name.clone(),
        matcher: o.matcher.clone(),
        output: o.output.clone(),
        processors: numbers(&mut processors, o.processors.len()),
        lanes: Lanes::new(
            o.output.lanes(),
            Budget::new(share),
            Breaker::new(plan.settings.backoff, o.retry_limit),
        ),
    });
    let outputs = outputs.collect();
    (filters, outputs)
}

/// Filters, then the processors of inputs, then those of outputs.
fn all_filters(plan: &Plan) -> impl Iterator<Item = &PlannedFilter> {
    let inputs = plan.inputs.iter().flat_map(|i| &i.processors);
    plan.filters.iter().chain(inputs).chain(plan.outputs.iter().flat_map(|o| &o.processors))
}

/// Starts what a plan's filters need (scripts), which may still refuse; what they later stop is that plan's control.
fn prepare(plan: &Plan) -> Result<Arc<Control>, NotStarted> {
    let control = Arc::new(Control::default());
    for planned in all_filters(plan) {
        // A script that does not load is an option that is refused, as in Fluent Bit.
        let refused = |message| NotStarted { message, code: crate::app::OPTIONS_REFUSED };
        planned.filter.start(&control).map_err(refused)?;
    }
    Ok(control)
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
            pressure: pressure.clone(),
            health: health.clone(),
            store: store.map(|store| (store.clone(), number)),
            made_room: Default::default(),
        })
    };
    plan.outputs.iter().zip(outputs).enumerate().map(delivery).collect()
}

/// The next so many numbers.
fn numbers(next: &mut usize, count: usize) -> Vec<usize> {
    *next += count;
    (*next - count..*next).collect()
}

fn start_lanes(
    deliveries: &[Arc<Delivery>],
    runtime: &tokio::runtime::Handle,
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
    filters: usize,
    monitor: &Monitor,
    common: &Common,
    store: Option<&Arc<Store>>,
    ring_bytes: usize,
) -> Result<Inputs, String> {
    let (mut shared, mut threads) = (Vec::new(), Vec::new());
    let (mut waiting, mut processors) = (Vec::new(), filters);
    for (planned, watched) in planned.into_iter().zip(&monitor.inputs) {
        let component = format!("input:{}:{}", planned.plugin, planned.name);
        // Only what waits in memory alone stops at `Mem_Buf_Limit`, as in Fluent Bit.
        let (buffer, stops_at) = match (planned.storage, store) {
            (StorageType::Filesystem, Some(store)) => {
                (Buffer::Disk { store: store.clone(), keep_up: planned.pause_on_overlimit }, None)
            }
            (StorageType::Memrb, _) => {
                watched.metrics.is_ring.store(true, std::sync::atomic::Ordering::Relaxed);
                (Buffer::Ring { bytes: planned.memory_limit.map_or(ring_bytes, |n| n.min(ring_bytes)) }, None)
            }
            _ => (Buffer::Memory, planned.memory_limit),
        };
        let input = InputShared::new(
            component,
            planned.configured.decoder.clone(),
            numbers(&mut processors, planned.processors.len()),
            stops_at,
            buffer,
            watched.metrics.clone(),
            common,
        )
        .map_err(|e| format!("{}: cannot make an eventfd: {e}", planned.name))?;
        common.control.add_input(input.wake(), planned.configured.input.ends());
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
    reloads: Arc<Reloads>,
) -> Monitor {
    let inputs = plan.inputs.iter().map(|i| Watched {
        name: i.name.clone(),
        plugin: i.plugin,
        metrics: Arc::new(InputMetrics::default()),
    });
    let filters = plan.filters.iter().zip(&pipeline.filters).map(|(p, f)| WatchedFilter {
        watched: Watched { name: f.name.clone(), plugin: p.plugin, metrics: f.metrics.clone() },
        filter: f.filter.clone(),
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
        reloads,
        started: Instant::now(),
        started_at: std::time::SystemTime::now(),
        flush: plan.settings.flush.as_secs_f64(),
    }
}

/// A second signal so soon is the first one, sent to the process and to its group (`timeout` does so).
const SAME_SIGNAL: Duration = Duration::from_millis(20);

/// SIGTERM, SIGINT and SIGQUIT end the program, SIGHUP asks for a reload.
struct Signals {
    term: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
            _ = self.int.recv() => "SIGINT",
            _ = self.hup.recv() => "SIGHUP",
        }
    }

    /// Another one that ends the program.
    async fn last(&mut self) -> &'static str {
        let first = Instant::now();
        loop {
            match self.next().await {
                "SIGHUP" => {}
                _ if first.elapsed() < SAME_SIGNAL => {}
                name => return name,
            }
        }
    }
}
