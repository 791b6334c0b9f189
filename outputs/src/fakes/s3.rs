//! An S3 that keeps its rules: part sizes, ETags, upload ids; it fails by script, and acts on cue.
//!
//! Owns: objects and uploads of one bucket. Never: checks signatures; the SDK makes those.

use super::http::{Answer, Handler, Request, Server};
use md5::{Digest, Md5};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
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
    /// Status 200 with an error of this code in the body, and does nothing; of calls that answer so only.
    Hidden(&'static str),
    /// Forgets all uploads, then goes on.
    Forget,
}

/// Something that happens at a call, such as the end of the client.
pub struct Cue {
    /// The number of the call, from 0.
    pub call: usize,
    /// After it was done, not before; it is not answered in either case.
    pub done: bool,
    /// What happens.
    pub act: Box<dyn Fn() + Send>,
}

impl fmt::Debug for Cue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cue at call {}, done: {}", self.call, self.done)
    }
}

/// What the fake holds.
#[derive(Debug, Default)]
pub struct State {
    /// Whole objects by path.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Requests so far: `PUT`, `Create`, `Part`, `Complete`, `Abort`, `List`, `HEAD`.
    pub calls: Vec<&'static str>,
    /// What happens to the next calls; `None` lets one through.
    pub script: VecDeque<Option<Fail>>,
    /// What happens at a certain call.
    pub cue: Option<Cue>,
    /// Rights that are missing: calls that are refused.
    pub denied: Vec<&'static str>,
    /// Headers of the last PutObject or CreateMultipartUpload.
    pub headers: Vec<(String, String)>,
    etags: BTreeMap<String, String>,
    uploads: BTreeMap<String, Upload>,
    made: usize,
}

/// A multipart upload that is under way.
#[derive(Debug, Default)]
struct Upload {
    path: String,
    parts: BTreeMap<usize, Vec<u8>>,
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
        let (part, upload) = (asked("partNumber").is_some(), asked("uploadId").is_some());
        let call = match (request.method.as_str(), part, upload) {
            ("PUT", true, true) => "Part",
            ("PUT", false, false) => "PUT",
            ("POST", false, true) => "Complete",
            ("POST", false, false) => "Create",
            ("DELETE", ..) => "Abort",
            ("GET", false, false) if query.split('&').any(|word| word.starts_with("uploads")) => "List",
            ("HEAD", false, false) => "HEAD",
            _ => return error(400, "InvalidRequest"),
        };
        let cue = self.cue.take_if(|cue| cue.call == self.calls.len());
        self.calls.push(call);
        if let Some(cue) = cue.as_ref().filter(|cue| !cue.done) {
            (cue.act)();
            return Answer { torn: Some(0), ..Answer::default() };
        }
        if self.denied.contains(&call) {
            return error(403, "AccessDenied");
        }
        let fail = self.script.pop_front().flatten();
        match &fail {
            Some(Fail::Code(status, code)) => return error(*status, code),
            Some(Fail::Hidden(code)) if call == "Complete" => return error(200, code),
            Some(Fail::Forget) => self.uploads.clear(),
            Some(Fail::Torn | Fail::Hidden(_)) | None => {}
        }
        let id = asked("uploadId").unwrap_or_default();
        let mut answer = self.act(call, path, &id, &asked, request);
        if let Some(cue) = &cue {
            (cue.act)();
        }
        answer.torn = (fail == Some(Fail::Torn) || cue.is_some()).then_some(0);
        answer
    }

    fn act(
        &mut self,
        call: &str,
        path: &str,
        id: &str,
        asked: &dyn Fn(&str) -> Option<String>,
        request: &Request,
    ) -> Answer {
        match call {
            "PUT" => {
                self.headers.clone_from(&request.headers);
                self.objects.insert(path.to_owned(), request.body.clone());
                let etag = md5(&request.body);
                self.etags.insert(path.to_owned(), etag.clone());
                Answer { status: 200, headers: vec![("etag", etag)], ..Answer::default() }
            }
            "Create" => self.create(path, request),
            "Part" => self.part(id, &asked("partNumber").unwrap_or_default(), request),
            "Complete" => self.complete(path, id, &request.body),
            "List" => self.list(path, &asked("prefix").unwrap_or_default()),
            "HEAD" => match (self.objects.get(path), self.etags.get(path)) {
                (Some(body), Some(etag)) => {
                    let headers = vec![("etag", etag.clone())];
                    Answer { status: 200, headers, body: body.clone(), ..Answer::default() }
                }
                _ => Answer { status: 404, ..Answer::default() },
            },
            _ if self.uploads.remove(id).is_some() => Answer { status: 204, ..Answer::default() },
            _ => error(404, "NoSuchUpload"),
        }
    }

    /// Uploads that are begun and not complete.
    pub fn unfinished(&self) -> usize {
        self.uploads.len()
    }

    fn list(&self, bucket: &str, prefix: &str) -> Answer {
        let prefix = prefix.replace("%2F", "/").replace("%2f", "/");
        let mut body = String::from("<ListMultipartUploadsResult>");
        for (id, upload) in &self.uploads {
            let key = upload.path.strip_prefix(bucket.trim_end_matches('/')).unwrap_or_default();
            let key = key.trim_start_matches('/');
            if key.starts_with(&prefix) {
                body += &format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
            }
        }
        body += "<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
        Answer { status: 200, body: body.into_bytes(), ..Answer::default() }
    }

    fn create(&mut self, path: &str, request: &Request) -> Answer {
        self.headers.clone_from(&request.headers);
        self.made += 1;
        let id = format!("upload-{}", self.made);
        let body = format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        );
        self.uploads.insert(id, Upload { path: path.to_owned(), ..Upload::default() });
        Answer { status: 200, body: body.into_bytes(), ..Answer::default() }
    }

    fn part(&mut self, id: &str, number: &str, request: &Request) -> Answer {
        let Some(upload) = self.uploads.get_mut(id) else { return error(404, "NoSuchUpload") };
        match number.parse() {
            Ok(number @ 1..=10_000) => {
                let etag = md5(&request.body);
                upload.parts.insert(number, request.body.clone());
                Answer { status: 200, headers: vec![("etag", etag)], ..Answer::default() }
            }
            _ => error(400, "InvalidArgument"),
        }
    }

    fn complete(&mut self, path: &str, id: &str, body: &[u8]) -> Answer {
        let Some(Upload { parts, .. }) = self.uploads.get(id) else { return error(404, "NoSuchUpload") };
        let body = String::from_utf8_lossy(body).replace("&quot;", "\"");
        let listed: Vec<&str> = body.split("<Part>").skip(1).collect();
        let (mut object, mut sums) = (Vec::new(), Md5::new());
        for (n, part) in listed.iter().enumerate() {
            let between = |name: &str| {
                let (_, rest) = part.split_once(&format!("<{name}>"))?;
                Some(rest.split_once('<')?.0.to_owned())
            };
            let number = between("PartNumber").and_then(|text| text.parse().ok()).unwrap_or(0);
            let Some(bytes) = parts.get(&number) else { return error(400, "InvalidPart") };
            if between("ETag") != Some(md5(bytes)) {
                return error(400, "InvalidPart");
            }
            sums.update(Md5::digest(bytes));
            if n + 1 < listed.len() && bytes.len() < PART_BYTES_MIN {
                return error(400, "EntityTooSmall");
            }
            object.extend_from_slice(bytes);
        }
        if listed.is_empty() {
            return error(400, "MalformedXML");
        }
        let etag = format!("{}-{}", hex(&sums.finalize()), listed.len());
        let body =
            format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>");
        self.objects.insert(path.to_owned(), object);
        self.etags.insert(path.to_owned(), format!("\"{etag}\""));
        self.uploads.remove(id);
        Answer { status: 200, body: body.into_bytes(), ..Answer::default() }
    }
}

/// The ETag of bytes.
fn md5(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&Md5::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn error(status: u16, code: &str) -> Answer {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by script</Message></Error>");
    Answer { status, body: body.into_bytes(), ..Answer::default() }
}
