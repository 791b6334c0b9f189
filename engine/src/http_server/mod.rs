//! The monitoring server: `HTTP_Server On`, `HTTP_Listen`, `HTTP_Port`.
//!
//! Owns: the socket, the paths, what each answers. Never: changes the pipeline, holds a lock while it writes.
//! Invariants: an answer holds what the counters held when it was asked; connections, heads and their time are bounded,
//! so that nobody who can reach the port can use up memory or files.

mod catalog;
mod json;
mod readings;
mod text;

use crate::monitor::Monitor;
use crate::reload::{Asked, Reloads};
use bytes::Bytes;
use catalog::{Moment, View};
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Connections served at once; a further one ends the oldest, so that idle ones cannot keep a health check out.
const CONNECTIONS_MAX: usize = 128;
/// How long a request head may take, and a connection may idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(75);
/// How long a connection may live: a reader that takes no bytes ends with it.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(600);
/// How large a request head may be.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fluent Bit looks at its chunks every so often and has no answer before the first look.
const STORAGE_FIRST: Duration = Duration::from_secs(5);

const SERVER_NAME: &str = concat!("ripsaw/", env!("CARGO_PKG_VERSION"));
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4";

/// Takes the port. `listen` is an address or a host name; the caller names both when it tells of an error.
pub fn bind(listen: &str, port: u16) -> std::io::Result<std::net::TcpListener> {
    let host = listen.trim_start_matches('[').trim_end_matches(']');
    let listener = std::net::TcpListener::bind((host, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What the server shows: the plan that runs now.
pub struct Shown(Mutex<Arc<Monitor>>);

impl Shown {
    /// Shows this one.
    pub fn new(monitor: Arc<Monitor>) -> Shown {
        Shown(Mutex::new(monitor))
    }

    /// From now on, shows this one.
    pub fn set(&self, monitor: Arc<Monitor>) {
        *self.0.lock().expect("monitor lock") = monitor;
    }

    fn get(&self) -> Arc<Monitor> {
        self.0.lock().expect("monitor lock").clone()
    }
}

/// Answers requests until the task is dropped. Fails only when the runtime cannot watch the socket.
pub async fn serve(listener: std::net::TcpListener, monitor: Arc<Shown>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    if let Ok(address) = listener.local_addr() {
        crate::log!(Info, "http_server", "listen iface={} tcp_port={}", address.ip(), address.port());
    }
    let mut open: VecDeque<tokio::task::JoinHandle<()>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(tokio::spawn(connection(stream, monitor.clone())));
            }
            Err(error) => {
                crate::log!(Warn, "http_server", "cannot accept a connection: {error}");
                // Out of files, most likely: at once again would only burn the processor.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, monitor: Arc<Shown>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let response = answer(request.method(), request.uri().path(), &monitor.get());
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // How a client leaves is its own affair.
    drop(tokio::time::timeout(CONNECTION_TIME_MAX, serving).await);
}

/// The answer to one request. As in Fluent Bit the method matters for `/api/v2/reload` only.
fn answer(method: &Method, path: &str, monitor: &Monitor) -> Response<Full<Bytes>> {
    match path {
        "/" => reply(200, Some(JSON), json::root()),
        "/api/v1/uptime" => reply(200, Some(JSON), json::uptime(monitor.started.elapsed())),
        "/api/v1/plugins" => reply(200, Some(JSON), plugins()),
        "/api/v1/metrics" => reply(200, Some(JSON), json::metrics(monitor)),
        "/api/v1/metrics/prometheus" => reply(200, Some(PROMETHEUS), prometheus(monitor, View::V1)),
        "/api/v2/metrics/prometheus" => reply(200, Some(PROMETHEUS), prometheus(monitor, View::V2)),
        "/api/v2/metrics" => {
            let moment = Moment::here(monitor);
            reply(
                200,
                None,
                text::lines(&catalog::families(monitor, &moment, View::V2), moment.since_epoch()),
            )
        }
        "/api/v1/health" => health(monitor),
        "/api/v2/health" => {
            let (body, good) = json::health(monitor);
            reply(if good { 200 } else { 500 }, Some(JSON), body)
        }
        "/api/v1/storage" if monitor.storage_metrics && monitor.started.elapsed() >= STORAGE_FIRST => {
            reply(200, Some(JSON), json::storage(monitor))
        }
        "/api/v2/reload" => reload(method, &monitor.reloads),
        _ => reply(404, None, String::new()),
    }
}

fn prometheus(monitor: &Monitor, view: View) -> String {
    let moment = Moment::here(monitor);
    text::prometheus(catalog::families(monitor, &moment, view), view, moment.since_epoch())
}

fn plugins() -> String {
    let inputs: Vec<_> = crate::inputs::registry::INPUTS.iter().map(|p| p.name).collect();
    let filters: Vec<_> = crate::filters::registry::FILTERS.iter().map(|p| p.name).collect();
    let outputs: Vec<_> = outputs::registry::OUTPUTS.iter().map(|p| p.name).collect();
    json::plugins(&inputs, &filters, &outputs)
}

/// `/api/v1/health`, which is there only with `Health_Check On`.
fn health(monitor: &Monitor) -> Response<Full<Bytes>> {
    match monitor.health_check {
        None => reply(404, None, String::new()),
        Some(limits) if monitor.health.good(limits.errors_max, limits.retries_failed_max, limits.period) => {
            reply(200, None, "ok\n".to_owned())
        }
        Some(_) => reply(500, None, "error\n".to_owned()),
    }
}

fn reload(method: &Method, reloads: &Reloads) -> Response<Full<Bytes>> {
    match *method {
        Method::GET => reply(200, Some(JSON), json::reload_count(reloads.count())),
        Method::POST | Method::PUT => match reloads.ask() {
            Asked::Begins => reply(200, Some(JSON), json::reload("done", 0)),
            Asked::NotEnabled => reply(200, Some(JSON), json::reload("not enabled", -1)),
            Asked::InProgress => reply(400, Some(JSON), json::reload("in progress", -2)),
        },
        _ => {
            let mut response = reply(405, None, String::new());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, PUT"));
            response
        }
    }
}

fn reply(status: u16, content_type: Option<&'static str>, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

#[cfg(test)]
mod tests;
