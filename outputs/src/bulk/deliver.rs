//! One attempt to deliver a chunk: requests of whole documents, and a verdict for each document.
//!
//! Owns: where requests are cut, what a status means. Never: waits between attempts.
//! Invariant: a document is marked done only after the server took it, or refused it for good and it was counted.

use super::answer::{Answer, Cause};
use super::{Bulk, Node};
use crate::Verdict;
use crate::client::Limits;
use crate::notice::{self, Level};
use crate::segment::{Chunk, Segment};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use std::io::Write;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The largest body of a request, before it is compressed. Elasticsearch takes 100 MB (`http.max_content_length`), the
/// smaller domains of Amazon OpenSearch 10 MiB.
pub(super) const REQUEST_BYTES_MAX: usize = 8 << 20;

/// How much of an answer is told.
const ANSWER_SHOWN: usize = 512;

/// A document that is not done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'c> {
    /// Which record of the chunk it is.
    pub(super) record: usize,
    /// Its two lines.
    pub(super) bytes: &'c [u8],
}

/// What became of a request.
enum Sent {
    /// The server looked at each document.
    Answered(Answer),
    /// The request is larger than the server takes.
    TooLarge(String),
    /// The server will never take it.
    Refused(String),
    Retry {
        after: Option<Duration>,
        reason: String,
    },
    /// Credentials are missing.
    Hold(String),
}

/// What became of documents that were not taken.
#[derive(Default)]
struct Failures {
    retried: usize,
    dropped: usize,
    first: Option<(u16, Cause)>,
}

impl Bulk {
    /// Sends what of the chunk is not done, to the server whose turn it is.
    pub(super) async fn attempt(&self, chunk: &mut Chunk) -> Verdict {
        let records = chunk.records();
        let Chunk { segments, done, .. } = chunk;
        done.resize(records.max(done.len()), false);
        let items = open(segments, done);
        let Some(node) = self.turn.order(self.nodes.len()).next().and_then(|at| self.nodes.get(at)) else {
            return Verdict::Retry { after: None, reason: "there is no server".to_owned() };
        };
        let mut waiting = requests(&items);
        waiting.reverse();
        let mut retry: Option<(Option<Duration>, String)> = None;
        while let Some(range) = waiting.pop() {
            let batch = items.get(range.clone()).unwrap_or_default();
            match self.request(node, batch).await {
                Sent::Answered(answer) => {
                    if let Some(reason) = self.settle(node, batch, &answer, done) {
                        retry = Some((None, reason));
                    }
                }
                Sent::TooLarge(_) if batch.len() > 1 => {
                    let middle = range.start + batch.len() / 2;
                    waiting.extend([middle..range.end, range.start..middle]);
                }
                Sent::TooLarge(reason) => self.drop_all(batch, "too_large", &reason, done),
                Sent::Refused(reason) => self.drop_all(batch, "bad_request", &reason, done),
                Sent::Retry { after, reason } => {
                    // The server is not well: what is left waits too.
                    retry = Some((after, reason));
                    break;
                }
                Sent::Hold(reason) => return Verdict::Hold { reason },
            }
        }
        match retry {
            Some((after, reason)) => Verdict::Retry { after, reason },
            None => Verdict::Delivered { dropped: self.untold.swap(0, Relaxed) },
        }
    }

    async fn request(&self, node: &Node, batch: &[Item<'_>]) -> Sent {
        let body: Vec<u8> = batch.iter().flat_map(|item| item.bytes).copied().collect();
        if self.trace_output {
            print(body.clone(), false).await;
        }
        let body = match node.gzip {
            false => body,
            true => match tokio::task::spawn_blocking(move || squeeze(&body)).await {
                Ok(Ok(body)) => body,
                Ok(Err(error)) => return later(format!("cannot compress: {error}")),
                Err(_) => return later("the compression was stopped".to_owned()),
            },
        };
        self.counters.requests.fetch_add(1, Relaxed);
        let body = Bytes::from(body);
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = node.uri.clone();
        *request.headers_mut() = node.headers.clone();
        let mut signed = None;
        if let Some(signer) = &node.signer {
            let credentials = match signer.credentials().await {
                Ok(credentials) => credentials,
                Err(reason) => return Sent::Hold(reason),
            };
            // The signature is for the host as the header names it.
            let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
            let host = host.unwrap_or_default().to_owned();
            if let Err(error) = signer.sign(&credentials, &mut request, &body, &host) {
                return later(format!("cannot sign the request: {error}"));
            }
            signed = Some((signer, credentials));
        }
        let limits = Limits { response: self.idle, idle: self.idle, body_bytes: 64 * 1024 };
        let mut answer = Answer::new(batch.len());
        let mut sink = |bytes: &[u8]| answer.take(bytes);
        let head = match node.client.send_into(request, limits, Some(&mut sink)).await {
            Ok(head) => head,
            // What came of the answer before it broke off still counts.
            Err(reason) if answer.items.is_empty() => return later(reason),
            Err(_) => return Sent::Answered(answer),
        };
        if self.trace_error && (head.status.as_u16() > 201 || answer.errors != Some(false)) {
            print(head.body.clone(), true).await;
        }
        if let (Some((signer, credentials)), StatusCode::FORBIDDEN) = (&signed, head.status) {
            signer.forget(credentials).await;
        }
        match head.status {
            StatusCode::OK | StatusCode::CREATED => Sent::Answered(answer),
            status => {
                let shown = head.body.get(..head.body.len().min(ANSWER_SHOWN)).unwrap_or_default();
                let text = String::from_utf8_lossy(shown);
                let reason =
                    format!("{} answers {} {}", node.client.authority(), status.as_u16(), text.trim());
                let reason = reason.trim_end().to_owned();
                match status {
                    StatusCode::PAYLOAD_TOO_LARGE => Sent::TooLarge(reason),
                    StatusCode::BAD_REQUEST => Sent::Refused(reason),
                    // Rights and paths are mended by people; an explicit `Retry_Limit` ends the wait.
                    _ => Sent::Retry { after: retry_after(&head.headers), reason },
                }
            }
        }
    }

    /// Gives each document its verdict; returns why some go again, if any do.
    fn settle(&self, node: &Node, batch: &[Item<'_>], answer: &Answer, done: &mut [bool]) -> Option<String> {
        if answer.errors == Some(false) && answer.is_whole() {
            mark(batch, done);
            return None;
        }
        let mut failures = Failures::default();
        for (at, item) in batch.iter().enumerate() {
            let is_done = match answer.items.get(at) {
                None => false,
                Some(seen) => {
                    let cause = seen.cause.and_then(|at| answer.causes.get(usize::from(at)));
                    self.judge(seen.status, cause, &mut failures)
                }
            };
            match is_done {
                true => mark(std::slice::from_ref(item), done),
                false => failures.retried += 1,
            }
        }
        self.tell(node, &failures);
        if failures.retried == 0 {
            return None;
        }
        let name = node.client.authority();
        let Some((status, cause)) = failures.first.filter(|_| !answer.items.is_empty()) else {
            return Some(match answer.is_whole() {
                true => format!("{name}: the answer does not tell of all documents"),
                false => format!("{name}: the answer is not one to a bulk request, or breaks off"),
            });
        };
        let Cause { kind, reason } = cause;
        let (open, all) = (failures.retried, batch.len());
        Some(format!("{name} did not take {open} of {all} documents: {status} {kind}: {reason}"))
    }

    /// Whether a document of this status needs no further attempt.
    fn judge(&self, status: u16, cause: Option<&Cause>, failures: &mut Failures) -> bool {
        let kind = cause.map_or("", |cause| &*cause.kind);
        match status {
            200..=299 => return true,
            409 if self.conflict_is_delivery => {
                self.counters.conflicts.fetch_add(1, Relaxed);
                return true;
            }
            _ => {}
        }
        if failures.first.is_none() {
            failures.first = Some((status, cause.cloned().unwrap_or_default()));
        }
        // A blocked index (a full disk, 403) and missing rights are mended by people.
        let passes = matches!(status, 401 | 403 | 408 | 409 | 429) || !(400..500).contains(&status);
        if passes {
            return false;
        }
        failures.dropped += 1;
        let text = status.to_string();
        self.counters.reject(if kind.is_empty() { &text } else { kind }, 1);
        true
    }

    /// Tells what was refused for good.
    fn tell(&self, node: &Node, failures: &Failures) {
        if failures.dropped == 0 {
            return;
        }
        self.untold.fetch_add(failures.dropped, Relaxed);
        let (status, Cause { kind, reason }) = failures.first.clone().unwrap_or_default();
        let text = format!(
            "dropped {} documents that {} refused, the first failure: {status} {kind}: {reason}",
            failures.dropped,
            node.client.authority()
        );
        notice::tell(Level::Error, &self.component, &text);
    }

    fn drop_all(&self, batch: &[Item<'_>], cause: &str, reason: &str, done: &mut [bool]) {
        self.counters.reject(cause, batch.len() as u64);
        self.untold.fetch_add(batch.len(), Relaxed);
        mark(batch, done);
        notice::tell(Level::Error, &self.component, &format!("dropped {} documents: {reason}", batch.len()));
    }
}

fn later(reason: String) -> Sent {
    Sent::Retry { after: None, reason }
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn mark(batch: &[Item<'_>], done: &mut [bool]) {
    for item in batch {
        if let Some(done) = done.get_mut(item.record) {
            *done = true;
        }
    }
}

/// The documents that are not done, in order.
pub(super) fn open<'c>(segments: &'c [Segment], done: &[bool]) -> Vec<Item<'c>> {
    let mut items = Vec::new();
    let mut record = 0;
    for segment in segments {
        let mut start = 0;
        for event in &segment.events {
            let end = event.end as usize;
            if done.get(record) != Some(&true) {
                items.push(Item { record, bytes: segment.bytes.get(start..end).unwrap_or_default() });
            }
            (start, record) = (end, record + 1);
        }
    }
    items
}

/// Which documents go in one request.
pub(super) fn requests(items: &[Item<'_>]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, item) in items.iter().enumerate() {
        match ranges.last_mut() {
            Some(range) if bytes + item.bytes.len() <= REQUEST_BYTES_MAX => range.end = at + 1,
            _ => {
                ranges.push(at..at + 1);
                bytes = 0;
            }
        }
        bytes += item.bytes.len();
    }
    ranges
}

fn squeeze(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let room = Vec::with_capacity(body.len() / 4);
    // As for http: higher levels cost far more than they save.
    let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::new(2));
    encoder.write_all(body)?;
    encoder.finish()
}

/// Prints for `trace_output` and `trace_error`; a terminal that takes nothing is not waited for here.
async fn print(text: Vec<u8>, error: bool) {
    let printed = tokio::task::spawn_blocking(move || match error {
        true => std::io::stderr().lock().write_all(&text),
        false => std::io::stdout().lock().write_all(&text),
    });
    // A trace that cannot be printed is no reason to hold records.
    drop(printed.await);
}
