//! An Elasticsearch that takes nothing but well-formed bulk requests, keeps documents, and fails by script.
//!
//! Owns: NDJSON, actions, ids, the answer, limits. Never: part of the shipped binary.
//! Source: the bulk API of Elasticsearch 8, and of 7 where there is a `_type`.

use super::http::{Answer, Handler, Request, Server};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Every document is looked at.
    Normal,
    /// The documents at these positions get this status and this type of error, the others are looked at.
    Items(u16, &'static str, Vec<usize>),
    /// The request gets this status.
    Status(u16),
    /// Documents are kept, then the connection closes after so many bytes of the answer.
    Torn(usize),
}

#[derive(Debug, Default)]
struct State {
    acts: Vec<Act>,
    documents: BTreeMap<String, Value>,
    requests: Vec<Request>,
    broken: Vec<String>,
    body_max: usize,
    made: usize,
}

/// A server on a port of its own; it ends when dropped.
#[derive(Debug)]
pub struct BulkFake {
    /// The server.
    pub server: Server,
    state: Arc<Mutex<State>>,
}

impl BulkFake {
    /// Listens on a free loopback port; the acts are done one by one, then everything is normal. A body that is larger
    /// than `body_max` bytes gets 413.
    pub async fn start(acts: &[Act], body_max: usize) -> std::io::Result<BulkFake> {
        let mut acts = acts.to_vec();
        acts.reverse();
        let state = Arc::new(Mutex::new(State { acts, body_max, ..State::default() }));
        let shared = state.clone();
        let handler: Handler = Arc::new(move |request| {
            let answer = lock(&shared).answer(request);
            Box::pin(async move { answer })
        });
        Ok(BulkFake { server: Server::start(None, handler).await?, state })
    }

    /// The documents by their ids.
    pub fn documents(&self) -> BTreeMap<String, Value> {
        lock(&self.state).documents.clone()
    }

    /// What was asked.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state).requests.clone()
    }

    /// What broke the rules.
    pub fn broken(&self) -> Vec<String> {
        lock(&self.state).broken.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plain(status: u16, text: &str) -> Answer {
    Answer { status, body: text.as_bytes().to_vec(), ..Answer::default() }
}

impl State {
    fn answer(&mut self, request: Request) -> Answer {
        self.requests.push(request.clone());
        let act = self.acts.pop().unwrap_or(Act::Normal);
        if let Act::Status(status) = act {
            return plain(status, r#"{"error":{"type":"scripted"}}"#);
        }
        if request.body.len() > self.body_max {
            return plain(413, "too large");
        }
        let lines = match lines(&request) {
            Ok(lines) => lines,
            Err(why) => {
                self.broken.push(why.clone());
                return plain(400, &why);
            }
        };
        let items: Vec<Value> =
            lines.iter().enumerate().map(|(at, line)| self.item(at, line, &act)).collect();
        let failed =
            |item: &Value| item.as_object().is_some_and(|i| i.values().any(|i| i.get("error").is_some()));
        let errors = items.iter().any(failed);
        let body = json!({"took": 1, "errors": errors, "items": items}).to_string().into_bytes();
        let torn = if let Act::Torn(length) = act { Some(length) } else { None };
        Answer { status: 200, body, torn, ..Answer::default() }
    }

    fn item(&mut self, at: usize, line: &Line, act: &Act) -> Value {
        let error = |status: u16, kind: &str| {
            json!({&line.action: {"_index": line.index, "status": status,
                "error": {"type": kind, "reason": "by \"script\" }]", "caused_by": {"type": "deeper", "status": 200}}}})
        };
        if let Act::Items(status, kind, positions) = act
            && positions.contains(&at)
        {
            return error(*status, kind);
        }
        self.made += 1;
        let id = line.id.clone().unwrap_or_else(|| format!("made-{:06}", self.made));
        let there = self.documents.contains_key(&id);
        match line.action.as_str() {
            "create" if there => return error(409, "version_conflict_engine_exception"),
            "update" if !there && line.document.get("doc_as_upsert").is_none() => {
                return error(404, "document_missing_exception");
            }
            "update" => drop(self.documents.insert(id.clone(), line.document["doc"].clone())),
            _ => drop(self.documents.insert(id.clone(), line.document.clone())),
        }
        json!({&line.action: {"_index": line.index, "_id": id, "status": if there { 200 } else { 201 }, "result": "ok"}})
    }
}

/// An action with its document.
struct Line {
    action: String,
    index: String,
    id: Option<String>,
    document: Value,
}

/// Reads a request; the error is the rule that it breaks.
fn lines(request: &Request) -> Result<Vec<Line>, String> {
    if request.method != "POST" || request.header("content-type") != "application/x-ndjson" {
        return Err(format!("{} of {}", request.method, request.header("content-type")));
    }
    let mut body = Vec::new();
    match request.header("content-encoding") {
        "gzip" => flate2::read::GzDecoder::new(request.body.as_slice())
            .read_to_end(&mut body)
            .map(drop)
            .map_err(|error| error.to_string())?,
        _ => body.extend_from_slice(&request.body),
    }
    let text = String::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    let text = text.strip_suffix('\n').ok_or("the bulk request must be terminated by a newline")?;
    let rows: Vec<&str> = text.split('\n').collect();
    if rows.len() % 2 == 1 {
        return Err("an action has no document".to_owned());
    }
    rows.chunks(2).map(line).collect()
}

fn line(rows: &[&str]) -> Result<Line, String> {
    let object =
        |text: &str| serde_json::from_str::<Map<String, Value>>(text).map_err(|e| format!("{text}: {e}"));
    let [action, document] = rows else { return Err("an action has no document".to_owned()) };
    let (action, document) = (object(action)?, Value::Object(object(document)?));
    let mut actions = action.into_iter();
    let (Some((action, Value::Object(target))), None) = (actions.next(), actions.next()) else {
        return Err("an action line is not one action".to_owned());
    };
    if !["create", "index", "update"].contains(&action.as_str()) {
        return Err(format!("no action `{action}`"));
    }
    if let Some(key) = target.keys().find(|key| !["_index", "_type", "_id"].contains(&key.as_str())) {
        return Err(format!("an action has no `{key}`"));
    }
    let text = |key: &str| target.get(key).and_then(Value::as_str).map(str::to_owned);
    let index = text("_index").ok_or("an action has no index")?;
    if action == "update" && (text("_id").is_none() || !document["doc"].is_object()) {
        return Err("an update needs an id and a `doc`".to_owned());
    }
    Ok(Line { action, index, id: text("_id"), document })
}
