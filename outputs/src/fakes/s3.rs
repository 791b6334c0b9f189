//! An S3 that keeps its rules: part sizes, ETags, upload ids; it fails by script.
//!
//! Owns: objects and uploads of one bucket. Never: checks signatures; the SDK makes those.

use super::http::{Answer, Handler, Request, Server};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Smallest part but for the last, in bytes.
const PART_BYTES_MIN: usize = 5 << 20;

/// What the fake does with a request instead of what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Answers with this status and code, and does nothing.
    Code(u16, &'static str),
    /// Does it, and closes without an answer.
    Torn,
    /// Status 200 with an error of this code in the body, and does nothing.
    Hidden(&'static str),
    /// Forgets all uploads, then goes on.
    Forget,
}

/// What the fake holds.
#[derive(Debug, Default)]
pub struct State {
    /// Whole objects by path.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Requests so far: `PUT`, `Create`, `Part`, `Complete`, `Abort`.
    pub calls: Vec<&'static str>,
    /// What happens to the next calls; `None` lets one through.
    pub script: VecDeque<Option<Fail>>,
    /// Headers of the last PutObject or CreateMultipartUpload.
    pub headers: Vec<(String, String)>,
    uploads: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    made: usize,
}

/// A running fake.
#[derive(Debug)]
pub struct S3Fake {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl S3Fake {
    /// Starts on a free port.
    pub async fn start() -> io::Result<S3Fake> {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let handler: Handler = Arc::new(move |request| {
            let answer = lock(&shared).answer(&request);
            Box::pin(async move { answer })
        });
        Ok(S3Fake { server: Server::start(None, handler).await?, state })
    }

    /// What `endpoint` is set to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
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
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let asked = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        let call = match (request.method.as_str(), asked("partNumber").is_some(), asked("uploadId").is_some())
        {
            ("PUT", true, true) => "Part",
            ("PUT", false, false) => "PUT",
            ("POST", false, true) => "Complete",
            ("POST", false, false) => "Create",
            ("DELETE", ..) => "Abort",
            _ => return error(400, "InvalidRequest"),
        };
        self.calls.push(call);
        let fail = self.script.pop_front().flatten();
        match &fail {
            Some(Fail::Code(status, code)) => return error(*status, code),
            Some(Fail::Hidden(code)) => return error(200, code),
            Some(Fail::Forget) => self.uploads.clear(),
            Some(Fail::Torn) | None => {}
        }
        let id = asked("uploadId").unwrap_or_default();
        let mut answer = match call {
            "PUT" => {
                self.headers.clone_from(&request.headers);
                self.objects.insert(path.to_owned(), request.body.clone());
                Answer { status: 200, headers: vec![("etag", "\"whole\"".to_owned())], ..Answer::default() }
            }
            "Create" => self.create(request),
            "Part" => self.part(&id, &asked("partNumber").unwrap_or_default(), request),
            "Complete" => self.complete(path, &id, &request.body),
            _ => {
                self.uploads.remove(&id);
                Answer { status: 204, ..Answer::default() }
            }
        };
        answer.torn = (fail == Some(Fail::Torn)).then_some(0);
        answer
    }

    fn create(&mut self, request: &Request) -> Answer {
        self.headers.clone_from(&request.headers);
        self.made += 1;
        let id = format!("upload-{}", self.made);
        let body = format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        );
        self.uploads.insert(id, BTreeMap::new());
        Answer { status: 200, body: body.into_bytes(), ..Answer::default() }
    }

    fn part(&mut self, id: &str, number: &str, request: &Request) -> Answer {
        let Some(parts) = self.uploads.get_mut(id) else { return error(404, "NoSuchUpload") };
        match number.parse() {
            Ok(number @ 1..=10_000) => {
                let etag = etag(id, number, request.body.len());
                parts.insert(number, request.body.clone());
                Answer { status: 200, headers: vec![("etag", etag)], ..Answer::default() }
            }
            _ => error(400, "InvalidArgument"),
        }
    }

    fn complete(&mut self, path: &str, id: &str, body: &[u8]) -> Answer {
        let Some(parts) = self.uploads.get(id) else { return error(404, "NoSuchUpload") };
        let body = String::from_utf8_lossy(body).replace("&quot;", "\"");
        let listed: Vec<&str> = body.split("<Part>").skip(1).collect();
        let mut object = Vec::new();
        for (n, part) in listed.iter().enumerate() {
            let between = |name: &str| {
                let (_, rest) = part.split_once(&format!("<{name}>"))?;
                Some(rest.split_once('<')?.0.to_owned())
            };
            let number = between("PartNumber").and_then(|text| text.parse().ok()).unwrap_or(0);
            let Some(bytes) = parts.get(&number) else { return error(400, "InvalidPart") };
            if between("ETag") != Some(etag(id, number, bytes.len())) {
                return error(400, "InvalidPart");
            }
            if n + 1 < listed.len() && bytes.len() < PART_BYTES_MIN {
                return error(400, "EntityTooSmall");
            }
            object.extend_from_slice(bytes);
        }
        if listed.is_empty() {
            return error(400, "MalformedXML");
        }
        self.objects.insert(path.to_owned(), object);
        self.uploads.remove(id);
        let body =
            b"<CompleteMultipartUploadResult><ETag>\"all\"</ETag></CompleteMultipartUploadResult>".to_vec();
        Answer { status: 200, body, ..Answer::default() }
    }
}

fn etag(id: &str, number: usize, bytes: usize) -> String {
    format!("\"{id}-{number}-{bytes}\"")
}

fn error(status: u16, code: &str) -> Answer {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by script</Message></Error>");
    Answer { status, body: body.into_bytes(), ..Answer::default() }
}
