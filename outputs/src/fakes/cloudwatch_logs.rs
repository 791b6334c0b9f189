//! CloudWatch Logs as strict as its documentation: every limit of PutLogEvents is checked, failures come by script, and
//! what was accepted is kept for the test to judge.
//!
//! Owns: groups, streams and their events. Never: lenient where the service is not.

use super::http::{Answer, Handler, Request, Server};
use crate::cloudwatch_logs::options::RETENTIONS;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the next request of an action meets, instead of the ordinary answer.
#[derive(Clone, Debug)]
pub enum Act {
    /// The ordinary answer.
    Normal,
    /// An error: status, code (may be empty) and message; nothing is stored.
    Error(u16, &'static str, &'static str),
    /// 400 ThrottlingException.
    Throttle,
    /// Stored, but the answer breaks off after so many bytes; 0 closes at once.
    Torn(usize),
    /// Not stored: the connection closes without an answer.
    Close,
    /// The ordinary answer, so much later.
    Slow(Duration),
    /// 200 with `rejectedLogEventsInfo`: so many events from the front are too old, so many are expired, so many from
    /// the back are too new; the rest is stored.
    Reject {
        /// `tooOldLogEventEndIndex`.
        too_old: usize,
        /// `expiredLogEventEndIndex`.
        expired: usize,
        /// Events before the end from `tooNewLogEventStartIndex` on.
        too_new: usize,
    },
}

/// A log group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// PutRetentionPolicy's days.
    pub retention: Option<i64>,
    /// CreateLogGroup's class.
    pub class: Option<String>,
    /// Streams with their events, in the order in which they were accepted.
    pub streams: BTreeMap<String, Vec<(i64, String)>>,
}

/// A request as the fake saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `PutLogEvents`, ….
    pub action: String,
    /// Status that it was answered with; 0 when the connection was closed instead.
    pub status: u16,
    /// Headers with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, except of PutLogEvents; there group and stream are named.
    pub body: String,
    /// Number of events.
    pub events: usize,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Group>,
    script: HashMap<String, VecDeque<Act>>,
    seen: Vec<Seen>,
    flaws: Vec<String>,
    in_flight: HashMap<String, usize>,
    /// Hashes of the messages of each stream.
    messages: HashMap<(String, String), HashSet<u64>>,
    distinct: usize,
    overlaps: usize,
}

/// The server.
pub struct CloudwatchFake {
    state: Arc<Mutex<State>>,
    server: Server,
    tls: bool,
}

/// An error of the service: status, code, message.
type Refusal = (u16, &'static str, String);

impl CloudwatchFake {
    /// Starts on a free loopback port, with plain HTTP.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(None).await
    }

    /// Starts with TLS.
    pub async fn start_with(tls: Option<Arc<rustls::ServerConfig>>) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, secure) = (state.clone(), tls.is_some());
        let handler: Handler = Arc::new(move |request| {
            let shared = shared.clone();
            Box::pin(async move { answer(&shared, request).await })
        });
        let server = Server::start(tls, handler).await?;
        Ok(CloudwatchFake { state, server, tls: secure })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.server.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// The next requests of an action meet these acts, one each, then the ordinary answer.
    pub fn script(&self, action: &str, acts: impl IntoIterator<Item = Act>) {
        self.state().script.entry(action.to_owned()).or_default().extend(acts);
    }

    /// Makes a group, as if it had been there.
    pub fn make_group(&self, group: &str) {
        self.state().groups.insert(group.to_owned(), Group::default());
    }

    /// Takes a group away, with its streams.
    pub fn delete_group(&self, group: &str) {
        self.state().groups.remove(group);
    }

    /// The groups and all that was accepted.
    pub fn groups(&self) -> BTreeMap<String, Group> {
        self.state().groups.clone()
    }

    /// The accepted events of a stream.
    pub fn events(&self, group: &str, stream: &str) -> Vec<(i64, String)> {
        self.state()
            .groups
            .get(group)
            .and_then(|group| group.streams.get(stream))
            .cloned()
            .unwrap_or_default()
    }

    /// How many different events are in all streams, as far as equal messages of a stream are the same event.
    pub fn distinct(&self) -> usize {
        self.state().distinct
    }

    /// All requests, in order of their answers.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// How many requests of an action came.
    pub fn count(&self, action: &str) -> usize {
        self.state().seen.iter().filter(|seen| seen.action == action).count()
    }

    /// Every broken rule of the service, told in words; the request was refused for it.
    pub fn flaws(&self) -> Vec<String> {
        self.state().flaws.clone()
    }

    /// How often two puts to one stream overlapped.
    pub fn overlaps(&self) -> usize {
        self.state().overlaps
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers a request: by script, else as the service does.
async fn answer(shared: &Mutex<State>, request: Request) -> Answer {
    let action = request.header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned();
    let document = std::str::from_utf8(&request.body).ok().and_then(|text| text.parse::<Value>().ok());
    let Some(mut document) = document else {
        let mut state = lock(shared);
        state.flaws.push(format!("{action}: the body is not JSON"));
        return error(400, "SerializationException", "the body is not JSON");
    };
    let stream = format!("{}\0{}", text(&document, "logGroupName"), text(&document, "logStreamName"));
    let act = {
        let mut state = lock(shared);
        let act = state.script.get_mut(&action).and_then(VecDeque::pop_front).unwrap_or(Act::Normal);
        if action == "PutLogEvents" {
            let running = state.in_flight.entry(stream.clone()).or_default();
            *running += 1;
            let overlapped = *running > 1;
            state.overlaps += usize::from(overlapped);
        }
        act
    };
    if let Act::Slow(delay) = act {
        tokio::time::sleep(delay).await;
    }
    let mut state = lock(shared);
    let events = document.get("logEvents").and_then(Value::as_array).map_or(0, Vec::len);
    let body = match action.as_str() {
        "PutLogEvents" => stream.replace('\0', " "),
        _ => String::from_utf8_lossy(&request.body).into_owned(),
    };
    let answer = state.act(&action, act, &request, &mut document);
    let status = if answer.torn == Some(0) { 0 } else { answer.status };
    state.seen.push(Seen { action: action.clone(), status, headers: request.headers, body, events });
    if action == "PutLogEvents"
        && let Some(running) = state.in_flight.get_mut(&stream)
    {
        *running -= 1;
    }
    answer
}

impl State {
    fn act(&mut self, action: &str, act: Act, request: &Request, document: &mut Value) -> Answer {
        match act {
            Act::Error(status, code, message) => error(status, code, message),
            Act::Throttle => error(400, "ThrottlingException", "Rate exceeded"),
            Act::Close => Answer { torn: Some(0), ..Answer::default() },
            Act::Torn(bytes) => {
                Answer { torn: Some(bytes), ..self.ordinary(action, request, document, (0, 0, 0)) }
            }
            Act::Normal | Act::Slow(_) => self.ordinary(action, request, document, (0, 0, 0)),
            Act::Reject { too_old, expired, too_new } => {
                self.ordinary(action, request, document, (too_old, expired, too_new))
            }
        }
    }

    fn ordinary(
        &mut self,
        action: &str,
        request: &Request,
        document: &mut Value,
        rejected: (usize, usize, usize),
    ) -> Answer {
        let result = signed(request).and_then(|()| match action {
            "CreateLogGroup" => self.create_group(document),
            "PutRetentionPolicy" => self.put_retention(document),
            "CreateLogStream" => self.create_stream(document),
            "PutLogEvents" => self.put_events(document, rejected),
            _ => Err((400, "UnknownOperationException", action.to_owned())),
        });
        match result {
            Ok(body) => Answer {
                status: 200,
                headers: headers(),
                body: body.to_string().into_bytes(),
                ..Answer::default()
            },
            Err((status, code, message)) => {
                // What does not exist yet, or does already, is not the client's mistake; all else is.
                if !code.starts_with("Resource") {
                    self.flaws.push(format!("{action}: {message}"));
                }
                error(status, code, &message)
            }
        }
    }

    fn group(&mut self, document: &Value) -> Result<&mut Group, Refusal> {
        let name = group_name(document)?;
        let missing =
            || (400, "ResourceNotFoundException", "The specified log group does not exist.".to_owned());
        self.groups.get_mut(&name).ok_or_else(missing)
    }

    fn create_group(&mut self, document: &Value) -> Result<Value, Refusal> {
        let name = group_name(document)?;
        if self.groups.contains_key(&name) {
            return Err((
                400,
                "ResourceAlreadyExistsException",
                "The specified log group already exists".to_owned(),
            ));
        }
        let class = document.get("logGroupClass").and_then(Value::as_str).map(str::to_owned);
        if class
            .as_deref()
            .is_some_and(|class| !["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"].contains(&class))
        {
            return Err(invalid("logGroupClass"));
        }
        self.groups.insert(name, Group { class, ..Group::default() });
        Ok(json!({}))
    }

    fn put_retention(&mut self, document: &Value) -> Result<Value, Refusal> {
        let days = document.get("retentionInDays").and_then(Value::as_i64).unwrap_or(-1);
        let group = self.group(document)?;
        if !RETENTIONS.iter().any(|valid| i64::from(*valid) == days) {
            return Err(invalid("retentionInDays"));
        }
        group.retention = Some(days);
        Ok(json!({}))
    }

    fn create_stream(&mut self, document: &Value) -> Result<Value, Refusal> {
        let name = stream_name(document)?;
        let group = self.group(document)?;
        if group.streams.contains_key(&name) {
            return Err((
                400,
                "ResourceAlreadyExistsException",
                "The specified log stream already exists".to_owned(),
            ));
        }
        group.streams.insert(name, Vec::new());
        Ok(json!({}))
    }

    fn put_events(
        &mut self,
        document: &mut Value,
        rejected: (usize, usize, usize),
    ) -> Result<Value, Refusal> {
        let name = stream_name(document)?;
        let events = take_events(document)?;
        batch_flaw(&events).map_or(Ok(()), |flaw| Err((400, "InvalidParameterException", flaw)))?;
        let group = self.groups.get_mut(&group_name(document)?).ok_or_else(|| missing("group"))?;
        let stream = group.streams.get_mut(&name).ok_or_else(|| missing("stream"))?;
        let (too_old, expired, too_new) = rejected;
        let end = events.len().saturating_sub(too_new);
        let start = too_old.max(expired).min(end);
        let stored = stream.len();
        stream.extend(events.into_iter().take(end).skip(start));
        let key = (text(document, "logGroupName").to_owned(), name);
        let known = self.messages.entry(key).or_default();
        for (_, message) in &stream[stored..] {
            let mut hasher = DefaultHasher::new();
            message.hash(&mut hasher);
            self.distinct += usize::from(known.insert(hasher.finish()));
        }
        let mut info = serde_json::Map::new();
        for (key, number, value) in [
            ("tooOldLogEventEndIndex", too_old, too_old),
            ("expiredLogEventEndIndex", expired, expired),
            ("tooNewLogEventStartIndex", too_new, end),
        ] {
            if number > 0 {
                info.insert(key.to_owned(), json!(value));
            }
        }
        let mut body = json!({"nextSequenceToken": "49600000000000000001"});
        if !info.is_empty() {
            body["rejectedLogEventsInfo"] = Value::Object(info);
        }
        Ok(body)
    }
}

/// The events of a request, moved out of it.
fn take_events(document: &mut Value) -> Result<Vec<(i64, String)>, Refusal> {
    let Some(Value::Array(list)) = document.get_mut("logEvents").map(Value::take) else {
        return Err(invalid("logEvents"));
    };
    list.into_iter()
        .map(|mut event| match (event["timestamp"].as_i64(), event["message"].take()) {
            (Some(millis), Value::String(message)) if millis >= 0 => Ok((millis, message)),
            _ => Err(invalid("logEvents")),
        })
        .collect()
}

/// The rule that a batch breaks.
fn batch_flaw(events: &[(i64, String)]) -> Option<String> {
    let bytes: usize = events.iter().map(|(_, message)| message.len() + 26).sum();
    let (Some((first, _)), Some((last, _))) = (events.first(), events.last()) else {
        return Some("a batch without events".to_owned());
    };
    if events.len() > 10_000 {
        return Some(format!("{} events, at most 10000", events.len()));
    }
    if bytes > 1_048_576 {
        return Some(format!("{bytes} bytes, at most 1048576"));
    }
    if events.iter().any(|(_, message)| message.is_empty()) {
        return Some("an event without a message".to_owned());
    }
    if !events.is_sorted_by_key(|event| event.0) {
        return Some("log events in a single PutLogEvents request must be in chronological order".to_owned());
    }
    (last - first > 24 * 3600 * 1000).then(|| {
        "the batch of log events in a single PutLogEvents request cannot span more than 24 hours".to_owned()
    })
}

/// The rule about the names of groups.
fn group_name(document: &Value) -> Result<String, Refusal> {
    let name = text(document, "logGroupName");
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_/#".contains(c);
    match (1..=512).contains(&name.len()) && name.chars().all(legal) && !name.starts_with("aws/") {
        true => Ok(name.to_owned()),
        false => Err(invalid("logGroupName")),
    }
}

/// The rule about the names of streams.
fn stream_name(document: &Value) -> Result<String, Refusal> {
    let name = text(document, "logStreamName");
    match (1..=512).contains(&name.chars().count()) && !name.contains([':', '*']) {
        true => Ok(name.to_owned()),
        false => Err(invalid("logStreamName")),
    }
}

fn text<'d>(document: &'d Value, key: &str) -> &'d str {
    document.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn missing(what: &str) -> Refusal {
    (400, "ResourceNotFoundException", format!("The specified log {what} does not exist."))
}

fn invalid(member: &str) -> Refusal {
    (400, "InvalidParameterException", format!("the value of {member} is not valid"))
}

/// A request must be signed for the service; the signature itself is checked by other peers.
fn signed(request: &Request) -> Result<(), Refusal> {
    let authorization = request.header("authorization");
    let whole = authorization.starts_with("AWS4-HMAC-SHA256 Credential=")
        && authorization.contains("/logs/aws4_request")
        && ["host", "x-amz-date"].iter().all(|name| authorization.contains(name))
        && request.header("content-type") == "application/x-amz-json-1.1";
    whole
        .then_some(())
        .ok_or_else(|| (400, "MissingAuthenticationToken", "the request is not signed".to_owned()))
}

fn headers() -> Vec<(&'static str, String)> {
    vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amzn-requestid", "fake-1".to_owned())]
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let body = match code {
        "" => Vec::new(),
        code => json!({"__type": code, "message": message}).to_string().into_bytes(),
    };
    Answer { status, headers: headers(), body, ..Answer::default() }
}
