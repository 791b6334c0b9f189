//! Accepts connections and runs a task for each, until the program stops.
//!
//! Owns: the runtime of a listening input, the number of its connections, TLS handshakes and their time.
//! Never: reads what a connection says.

use super::gate::Gate;
use super::limits::{ACCEPT_PAUSE, CONNECTIONS_MAX};
use super::listener::{Address, Listener};
use super::options::NetOptions;
use super::stream::{Socket, Stream};
use crate::inputs::InputContext;
use crate::log;
use rustls::ServerConfig;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

/// How an input listens.
pub struct Serving {
    /// `input:tcp:tcp.0`, for messages.
    pub component: String,
    /// Where.
    pub address: Address,
    /// `net.*`
    pub net: NetOptions,
    /// TLS, when it is on.
    pub tls: Option<Arc<ServerConfig>>,
    /// The kernel's receive buffer, where it is set.
    pub receive_bytes: Option<usize>,
    /// Connections at a time; 0 leaves it to [`CONNECTIONS_MAX`].
    pub connections_max: usize,
}

/// What a connection's task is.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs `body` on a runtime of this thread, then says `quiet` and waits until all is delivered.
pub fn on_runtime(component: &str, engine: &InputContext, body: impl AsyncFnOnce(&Rc<Gate>)) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            engine.fail(format!("{component}: cannot start a runtime: {error}"));
            return engine.quiet();
        }
    };
    let gate = Gate::new(engine.clone());
    LocalSet::new().block_on(&runtime, async {
        let watch = gate.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = watch.watch().await {
                watch.engine().fail(format!("cannot wait for the engine: {error}"));
            }
        });
        body(&gate).await;
        gate.all_submitted().await;
        engine.quiet();
        gate.drained().await;
        // What was accepted last is answered before its connection goes.
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    });
}

impl Serving {
    /// Listens until the program stops; each connection becomes a task made by `task`.
    pub fn run(&self, engine: &InputContext, task: impl Fn(&Rc<Gate>, Stream, Arc<str>) -> Task + 'static) {
        on_runtime(&self.component, engine, async |gate: &Rc<Gate>| {
            let listener = match Listener::bind(&self.address, &self.net, self.receive_bytes) {
                Ok(listener) => listener,
                Err(error) => {
                    return engine.fail(format!("cannot listen on {}: {error}", self.address));
                }
            };
            log!(Info, self.component, "listening on {}", self.address);
            tokio::select! {
                () = gate.stopped() => {}
                () = self.accept(&listener, gate, Rc::new(task)) => {}
            }
            drop(listener);
            self.address.remove();
        });
    }

    async fn accept(
        &self,
        listener: &Listener,
        gate: &Rc<Gate>,
        task: Rc<impl Fn(&Rc<Gate>, Stream, Arc<str>) -> Task + 'static>,
    ) {
        let most = if self.connections_max == 0 { CONNECTIONS_MAX } else { self.connections_max };
        let slots = Arc::new(tokio::sync::Semaphore::new(most.min(CONNECTIONS_MAX)));
        let handshake = Rc::new(Handshake {
            component: self.component.clone(),
            acceptor: self.tls.clone().map(TlsAcceptor::from),
            limit: outputs::net::duration(self.net.accept_timeout.0),
            loud: self.net.accept_timeout_log_error.0,
        });
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, peer)) => {
                    let (gate, task, handshake) = (gate.clone(), task.clone(), handshake.clone());
                    tokio::task::spawn_local(async move {
                        if let Some(stream) = handshake.run(socket, &peer, &gate).await {
                            task(&gate, stream, peer).await;
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    gate.engine().metrics().read_errors.fetch_add(1, Relaxed);
                    log!(Warn, self.component, "could not accept new connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The TLS side of accepting.
struct Handshake {
    component: String,
    acceptor: Option<TlsAcceptor>,
    limit: Duration,
    loud: bool,
}

impl Handshake {
    async fn run(&self, socket: Socket, peer: &str, gate: &Gate) -> Option<Stream> {
        let Some(acceptor) = &self.acceptor else { return Some(Stream::Plain(socket)) };
        let shaking = acceptor.accept(socket);
        let limited = async {
            match self.limit.is_zero() {
                true => Some(shaking.await),
                false => tokio::time::timeout(self.limit, shaking).await.ok(),
            }
        };
        let result = tokio::select! {
            () = gate.stopped() => return None,
            result = limited => result,
        };
        match result {
            Some(Ok(stream)) => return Some(Stream::Tls(Box::new(stream))),
            Some(Err(error)) => log!(Warn, self.component, "{peer}: TLS handshake failed: {error}"),
            None if self.loud => {
                log!(
                    Error,
                    self.component,
                    "{peer}: TLS handshake not done within {:.0} s",
                    self.limit.as_secs_f64()
                );
            }
            None => log!(Debug, self.component, "{peer}: TLS handshake not done in time"),
        }
        None
    }
}
