//! Kinesis Data Streams and Firehose as strict as their documentation: every limit of PutRecords and PutRecordBatch is
//! checked, failures come by script, and what was accepted is kept for the test to judge.
//!
//! Owns: the records of one stream. Never: lenient where the service is not; checks signatures (moto does).

use super::http::{Answer, Handler, Request, Server};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the next request meets, instead of the ordinary answer.
#[derive(Clone, Debug)]
pub enum Act {
    /// The ordinary answer.
    Normal,
    /// An error: status and code; nothing is stored.
    Error(u16, &'static str),
    /// The records with these numbers fail with these codes; the rest is stored.
    Fail(Vec<(usize, &'static str)>),
    /// The shard of this partition key has no room: its records fail; the rest is stored.
    FailKey(String),
    /// So many records are stored, those behind them find no room.
    Room(usize),
    /// Stored, but the answer breaks off after so many bytes; 0 closes at once.
    Torn(usize),
    /// Not stored: the connection closes without an answer.
    Close,
    /// The signature is out of date: 400, and a `Date` that is so many seconds from ours.
    Skewed(i64),
}

/// A record that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Partition key; empty for Firehose.
    pub key: String,
    /// Its bytes.
    pub data: Vec<u8>,
    /// The number of its request.
    pub request: usize,
}

/// A request as the fake saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Status that it was answered with.
    pub status: u16,
    /// Headers with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Records, as many as it held.
    pub records: Vec<Taken>,
}

/// What the fake holds.
#[derive(Debug, Default)]
pub struct State {
    /// Accepted records, in order.
    pub taken: Vec<Taken>,
    /// What comes next; then the ordinary answer.
    pub script: VecDeque<Act>,
    /// Requests so far.
    pub seen: Vec<Seen>,
    /// Rules of the service that a request broke.
    pub flaws: Vec<String>,
    /// A request with a record that holds this text is refused as a whole, as one for which the service has no use.
    pub poison: Option<&'static str>,
}

/// The server, of one of the two services.
#[derive(Debug)]
pub struct KinesisFake {
    state: Arc<Mutex<State>>,
    server: Server,
}

/// Which service a request is for, by its `X-Amz-Target`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Streams,
    Firehose,
}

impl KinesisFake {
    /// Starts on a free loopback port, with plain HTTP.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(None).await
    }

    /// Starts with TLS.
    pub async fn start_with(tls: Option<Arc<rustls::ServerConfig>>) -> io::Result<Self> {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let handler: Handler = Arc::new(move |request| {
            let answer = lock(&shared).answer(&request);
            Box::pin(async move { answer })
        });
        Ok(KinesisFake { state, server: Server::start(tls, handler).await? })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// The next requests meet these acts, one each.
    pub fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.state().script.extend(acts);
    }

    /// What it holds.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let number = self.seen.len();
        let checked = check(request, number);
        let (kind, records) = match checked {
            Ok(found) => found,
            Err(flaw) => {
                self.flaws.push(flaw.clone());
                self.see(400, request, Vec::new());
                return refusal(400, "ValidationException", &flaw);
            }
        };
        let poisoned = self.poison.is_some_and(|text| {
            records.iter().any(|record| memchr::memmem::find(&record.data, text.as_bytes()).is_some())
        });
        let act = self.script.pop_front().unwrap_or(Act::Normal);
        let answer = match &act {
            _ if poisoned => refusal(400, "InvalidArgumentException", "one of the records"),
            Act::Error(status, code) => refusal(*status, code, "by script"),
            Act::Skewed(seconds) => skewed(*seconds),
            Act::Close => Answer { torn: Some(0), ..Answer::default() },
            act => self.store(kind, &records, act),
        };
        self.see(answer.status, request, records);
        answer
    }

    fn see(&mut self, status: u16, request: &Request, records: Vec<Taken>) {
        self.seen.push(Seen { status, headers: request.headers.clone(), records });
    }

    fn store(&mut self, kind: Kind, records: &[Taken], act: &Act) -> Answer {
        let throttled = match kind {
            Kind::Streams => "ProvisionedThroughputExceededException",
            Kind::Firehose => "ServiceUnavailableException",
        };
        let mut entries = Vec::new();
        let mut failed = 0;
        for (at, record) in records.iter().enumerate() {
            let code = match act {
                Act::Fail(list) => list.iter().find(|(number, _)| *number == at).map(|(_, code)| *code),
                Act::FailKey(key) if *key == record.key => Some(throttled),
                Act::Room(room) if at >= *room => Some(throttled),
                _ => None,
            };
            failed += usize::from(code.is_some());
            entries.push(match (code, kind) {
                (Some(code), _) => json!({"ErrorCode": code, "ErrorMessage": "by script"}),
                (None, Kind::Streams) => json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"}),
                (None, Kind::Firehose) => json!({"RecordId": "1"}),
            });
            if code.is_none() {
                self.taken.push(record.clone());
            }
        }
        let body = match kind {
            Kind::Streams => json!({"FailedRecordCount": failed, "Records": entries}),
            Kind::Firehose => {
                json!({"FailedPutCount": failed, "RequestResponses": entries, "Encrypted": false})
            }
        };
        let torn = if let Act::Torn(bytes) = act { Some(*bytes) } else { None };
        Answer { status: 200, body: body.to_string().into_bytes(), torn, ..Answer::default() }
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let body = json!({"__type": code, "message": message}).to_string().into_bytes();
    Answer { status, body, ..Answer::default() }
}

fn skewed(seconds: i64) -> Answer {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let date = aws_smithy_types::DateTime::from_secs(now.as_secs() as i64 + seconds);
    let date = date.fmt(aws_smithy_types::date_time::Format::HttpDate).unwrap_or_default();
    let mut answer = refusal(400, "InvalidSignatureException", "Signature expired");
    answer.headers.push(("date", date));
    answer
}

/// The records of a request, or the rule that it breaks.
fn check(request: &Request, number: usize) -> Result<(Kind, Vec<Taken>), String> {
    let kind = match request.header("x-amz-target") {
        "Kinesis_20131202.PutRecords" => Kind::Streams,
        "Firehose_20150804.PutRecordBatch" => Kind::Firehose,
        other => return Err(format!("unknown target {other}")),
    };
    let scope = if kind == Kind::Streams {
        "/us-west-2/kinesis/aws4_request"
    } else {
        "/us-west-2/firehose/aws4_request"
    };
    for (name, holds) in [
        ("content-type", "application/x-amz-json-1.1"),
        ("authorization", "AWS4-HMAC-SHA256 Credential="),
        ("authorization", scope),
        ("authorization", "host;x-amz-date;"),
        ("x-amz-date", "T"),
        ("user-agent", "ripsaw/"),
    ] {
        if !request.header(name).contains(holds) {
            return Err(format!("header {name} is `{}`, without `{holds}`", request.header(name)));
        }
    }
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/") {
        return Err(format!("{} {}", request.method, request.path));
    }
    let body: Map<String, Value> =
        serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
    let names: Vec<&str> = body.keys().map(String::as_str).collect();
    let expected =
        if kind == Kind::Streams { ["Records", "StreamName"] } else { ["DeliveryStreamName", "Records"] };
    if names != expected {
        return Err(format!("members {names:?}"));
    }
    let list = body["Records"].as_array().ok_or("no list of records")?;
    if !(1..=500).contains(&list.len()) {
        return Err(format!("{} records", list.len()));
    }
    let records: Vec<Taken> =
        list.iter().map(|entry| record(kind, entry, number)).collect::<Result<_, _>>()?;
    let total: usize = records.iter().map(|record| record.data.len() + record.key.len()).sum();
    match kind {
        Kind::Streams if total > 5 << 20 => Err(format!("{total} bytes of data and keys")),
        Kind::Firehose if request.body.len() > 4 << 20 => {
            Err(format!("a body of {} bytes", request.body.len()))
        }
        _ => Ok((kind, records)),
    }
}

fn record(kind: Kind, entry: &Value, request: usize) -> Result<Taken, String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).ok_or(format!("a record without {name}"));
    let members = entry.as_object().map_or(0, Map::len);
    let key = if kind == Kind::Streams { text("PartitionKey")?.to_owned() } else { String::new() };
    if members != if kind == Kind::Streams { 2 } else { 1 } {
        return Err(format!("a record with {members} members"));
    }
    if kind == Kind::Streams && !(1..=256).contains(&key.chars().count()) {
        return Err(format!("a key of {} characters", key.chars().count()));
    }
    let data = text("Data")?;
    let data = base64_simd::STANDARD.decode_to_vec(data).map_err(|_| format!("no base64: {data:.40}"))?;
    let most = if kind == Kind::Streams { 1 << 20 } else { 1_024_000 };
    match data.len() + key.len() {
        0 => Err("an empty record".to_owned()),
        bytes if bytes > most => Err(format!("a record of {bytes} bytes")),
        _ => Ok(Taken { key, data, request }),
    }
}
