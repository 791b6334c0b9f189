//! One list and watch of the pods of this node.
//!
//! Owns: which node that is, the resource version, what an event means, when to begin anew. Never: asks for a single pod.
//! Invariants: after a list the store knows each pod of the node; what happens between two requests is in the next
//! one's events, or the server says that it is too old (410) and there is a new list. Attempts follow each other with a
//! jittered back-off, so that a restarted API server is not run over by all nodes at once.

use super::fetch::{BACKOFF, Fetcher, Mode, Refusal};
use super::pod::{Object, PodKey};
use crate::kube::api::{Whom, escaped};
use crate::kube::items::Events;
use crate::kube::list_metadata;
use codecs::Bump;
use codecs::json::{Scratch, expand, parse_value};
use codecs::record::Value;
use outputs::client::Limits;
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The server ends a watch after so long, and up to 30 s more, so that not all nodes come back at once; the next one goes
/// on where it ended.
const WATCH_SECONDS: u64 = 290;
/// A watch that is silent for longer than the server may let it be is dead.
const SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS + 90);
/// A watch that lasted so long is no reason for a back-off.
const LASTING: Duration = Duration::from_secs(10);
/// Rights that were missing may be given later.
const PROBE_AGAIN: Duration = Duration::from_secs(600);
/// The most pages of a list.
const PAGES_MAX: usize = 1000;

/// What one watch came to.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The server ended it in its time.
    InTime,
    /// The resource version is too old, or an event makes no sense: there has to be a new list.
    Stale(String),
    /// It broke.
    Broken(String),
    /// It is not allowed.
    Refused(String),
}

/// What an event tells.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// A pod is new or has changed.
    Changed,
    Deleted(PodKey),
    /// Only the resource version moved on.
    Bookmark,
    /// An error object, or what is none of these.
    Stale(String),
}

impl Fetcher {
    /// Watches for as long as the program runs.
    pub(super) async fn watch_pods(&self) {
        let mut attempt = 0;
        loop {
            let began = Instant::now();
            match self.watch_node().await {
                Ok(why) => self.info(&format!("the pods are listed again: {why}")),
                Err(Refusal::Absent(why)) => {
                    self.info(&format!("pods are not watched: {why}; each is asked for by itself"));
                    self.mode.send_replace(Mode::Asking);
                    tokio::time::sleep(PROBE_AGAIN + BACKOFF.wait(7)).await;
                    continue;
                }
                Err(Refusal::Failed(why)) => {
                    self.info(&format!("pods cannot be watched now: {why}"));
                    // Nobody need wait for a list that may not come.
                    self.mode.send_if_modified(|mode| {
                        let starting = *mode == Mode::Starting;
                        if starting {
                            *mode = Mode::Asking;
                        }
                        starting
                    });
                }
            }
            attempt = if began.elapsed() > LASTING { 0 } else { attempt + 1 };
            tokio::time::sleep(BACKOFF.wait(attempt)).await;
        }
    }

    /// One list, and watches from there on; the answer is why there has to be another list.
    async fn watch_node(&self) -> Result<String, Refusal> {
        let node = self.node().await?;
        let mut version = self.list_node(&node).await?;
        if self.mode.send_replace(Mode::Watching) != Mode::Watching {
            self.info(&format!("watching the pods of node {node}"));
        }
        let mut attempt = 0;
        loop {
            let began = Instant::now();
            match self.watch_once(&node, &mut version).await {
                Ended::InTime if began.elapsed() > LASTING => attempt = 0,
                Ended::InTime => {}
                Ended::Stale(why) => {
                    self.store.counters.watch_restarts.fetch_add(1, Relaxed);
                    return Ok(why);
                }
                Ended::Refused(why) => return Err(Refusal::Absent(why)),
                Ended::Broken(why) => {
                    self.store.counters.watch_restarts.fetch_add(1, Relaxed);
                    if attempt == 0 {
                        self.info(&format!(
                            "the watch of the pods broke: {why}; it goes on when the API server is back"
                        ));
                    }
                }
            }
            tokio::time::sleep(BACKOFF.wait(attempt)).await;
            attempt += 1;
        }
    }

    /// The node: as configured, of the environment, or that of our own pod.
    async fn node(&self) -> Result<String, Refusal> {
        let access = self.api.access();
        let named = access.node.clone().or_else(|| std::env::var("NODE_NAME").ok());
        if let Some(node) = named.filter(|node| !node.is_empty()) {
            return Ok(node);
        }
        let namespace = std::fs::read_to_string(&access.namespace_file).map_err(|_| {
            let file = access.namespace_file.display();
            Refusal::Absent(format!(
                "the node is not known (`kube_node_name`, NODE_NAME, or our own pod by {file})"
            ))
        })?;
        let pod = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        let pod = pod.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let path = format!("/api/v1/namespaces/{}/pods/{}", escaped(namespace.trim()), escaped(&pod));
        let body = self.object(&path).await?;
        let arena = Bump::new();
        let object = Object::read(&body, &arena, &mut Scratch::default());
        let node = object.and_then(|object| object.node(&arena));
        node.ok_or_else(|| Refusal::Absent("our own pod has no node".to_owned()))
    }

    /// All pods of the node, page by page; gives the resource version of the list.
    async fn list_node(&self, node: &str) -> Result<String, Refusal> {
        let base = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}&limit=500", escaped(node));
        let (mut listed, mut path) = (HashSet::new(), format!("{base}&resourceVersion=0"));
        for _ in 0..PAGES_MAX {
            let (envelope, keys) = self.list(Whom::Api, &path, true).await?;
            listed.extend(keys);
            let (version, more) = list_metadata(&envelope).ok_or_else(|| {
                Refusal::Absent("the API server does not answer with a list of pods".to_owned())
            })?;
            match more {
                Some(token) => path = format!("{base}&continue={}", escaped(&token)),
                None => {
                    self.store.keep_only(&listed);
                    return Ok(version);
                }
            }
        }
        Err(Refusal::Failed("the list has no end".to_owned()))
    }

    /// One watch, until it ends; `version` goes along with its events.
    async fn watch_once(&self, node: &str, version: &mut String) -> Ended {
        self.store.counters.watches.fetch_add(1, Relaxed);
        let jitter = BACKOFF.wait(20).as_secs();
        let path = format!(
            "/api/v1/pods?watch=1&allowWatchBookmarks=true&fieldSelector=spec.nodeName%3D{}&resourceVersion={}&timeoutSeconds={}",
            escaped(node),
            escaped(version),
            WATCH_SECONDS + jitter
        );
        let limits = Limits { response: Duration::from_secs(30), idle: SILENCE_MAX, body_bytes: 0 };
        let (mut events, mut stale) = (Events::default(), None);
        let (stop, mut arena) = (Notify::new(), Bump::new());
        let mut sink = |piece: &[u8]| {
            events.feed(piece, |line| {
                if stale.is_none()
                    && let Event::Stale(why) = self.event(line, version, &arena)
                {
                    stale = Some(why);
                    stop.notify_one();
                }
                arena.reset();
            });
        };
        let answer = tokio::select! {
            answer = self.api.get(Whom::Api, &path, limits, Some(&mut sink)) => Some(answer),
            () = stop.notified() => None,
        };
        self.store.counters.too_large.fetch_add(events.too_large, Relaxed);
        if let Some(why) = stale {
            return Ended::Stale(why);
        }
        if events.too_large > 0 {
            return Ended::Stale("an event is too large".to_owned());
        }
        match answer.map(|answer| self.judged(answer)) {
            None | Some(Ok(_)) => Ended::InTime,
            Some(Err(Refusal::Absent(why))) => Ended::Refused(why),
            Some(Err(Refusal::Failed(why))) if why.contains("410") => Ended::Stale(why),
            Some(Err(Refusal::Failed(why))) => Ended::Broken(why),
        }
    }

    /// Puts one event into the store.
    fn event(&self, line: &[u8], version: &mut String, arena: &Bump) -> Event {
        let event = read_event(line, arena).unwrap_or_else(|why| (Event::Stale(why), None));
        match event {
            (Event::Stale(why), _) => return Event::Stale(why),
            (Event::Changed, Some(object)) => {
                if let Some(key) = &object.key {
                    self.store.learn(key.clone(), object.pod(self.store.settings.wanted, arena), true);
                }
                move_on(version, &object);
            }
            (Event::Deleted(key), Some(object)) => {
                self.store.deleted(&key);
                move_on(version, &object);
                return Event::Deleted(key);
            }
            (_, Some(object)) => move_on(version, &object),
            (_, None) => {}
        }
        Event::Bookmark
    }
}

fn move_on(version: &mut String, object: &Object<'_>) {
    if let Some(new) = object.resource_version {
        new.clone_into(version);
    }
}

/// What a line of a watch tells; the error says why it makes no sense.
fn read_event<'a>(line: &'a [u8], arena: &'a Bump) -> Result<(Event, Option<Object<'a>>), String> {
    let shown =
        || format!("an event makes no sense: {}", String::from_utf8_lossy(&line[..line.len().min(200)]));
    let value = parse_value(line, arena, &mut Scratch::default()).map_err(|_| shown())?;
    let Value::Map(fields) = expand(value, arena) else { return Err(shown()) };
    let find = |key: &[u8]| fields.iter().find(|f| f.key.bytes == key).map(|f| f.value);
    // An answer that is no watch at all is told by its status.
    let Some(kind) = find(b"type").and_then(|v| v.as_text()) else { return Ok((Event::Bookmark, None)) };
    let object = find(b"object").and_then(|v| Object::of(v, arena)).ok_or_else(shown)?;
    let key = object.key.clone();
    match (kind, key) {
        (b"ADDED" | b"MODIFIED", Some(_)) => Ok((Event::Changed, Some(object))),
        (b"DELETED", Some(key)) => Ok((Event::Deleted(key), Some(object))),
        (b"BOOKMARK", _) => Ok((Event::Bookmark, Some(object))),
        (b"ERROR", _) => Ok((Event::Stale(object.message(arena)), None)),
        _ => Err(shown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_or_make_no_sense() {
        let pod = r#""object":{"kind":"Pod","metadata":{"name":"p","namespace":"n","resourceVersion":"5"}}"#;
        let key = || PodKey { namespace: "n".into(), name: "p".into() };
        for (line, want) in [
            (format!(r#"{{"type":"ADDED",{pod}}}"#), Some((Event::Changed, Some("5")))),
            (format!(r#"{{"type":"MODIFIED",{pod}}}"#), Some((Event::Changed, Some("5")))),
            (format!(r#"{{"type":"DELETED",{pod}}}"#), Some((Event::Deleted(key()), Some("5")))),
            (
                r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9"}}}"#
                    .to_owned(),
                Some((Event::Bookmark, Some("9"))),
            ),
            (
                r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#.to_owned(),
                Some((Event::Stale("410: too old".to_owned()), None)),
            ),
            (r#"{"kind":"Status","code":403}"#.to_owned(), Some((Event::Bookmark, None))),
            (format!(r#"{{"type":"NEW",{pod}}}"#), None),
            (r#"{"type":"ADDED","object":{"metadata":{}}}"#.to_owned(), None),
            (r#"{"type":"ADDED"}"#.to_owned(), None),
            ("[1]".to_owned(), None),
            ("<html>".to_owned(), None),
        ] {
            let arena = Bump::new();
            let read = read_event(line.as_bytes(), &arena).ok();
            let read = read.map(|(event, object)| (event, object.and_then(|o| o.resource_version)));
            assert_eq!(read, want, "{line}");
        }
        let whole = format!(r#"{{"type":"ADDED",{pod}}}"#);
        for cut in 1..whole.len() {
            assert!(read_event(&whole.as_bytes()[..cut], &Bump::new()).is_err(), "cut {cut}");
        }
    }
}
