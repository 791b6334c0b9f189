//! An S3 that verifies what it gets and throws it away.
//!
//! Owns: connections, the rules of multipart uploads, which records came. Never: keeps a byte of an object, checks
//! signatures. Invariant: a record counts only when all of its text is what was written.

use crate::s3_load::{TEXT_BYTES, Text};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex};

/// Smallest part but for the last, in bytes.
const PART_BYTES_MIN: u64 = 5 << 20;
/// Largest body: above the largest part and object of both programs' configurations.
const BODY_BYTES_MAX: usize = 256 << 20;

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Got {
    /// Bytes of bodies.
    pub(crate) bytes: AtomicU64,
    /// Objects that are whole.
    pub(crate) objects: AtomicU64,
    /// Parts of uploads.
    pub(crate) parts: AtomicU64,
    /// Lines that are no record as it was written.
    pub(crate) broken: AtomicU64,
    /// Calls that break a rule of S3.
    pub(crate) wrong: AtomicU64,
    /// How often each record came, up to 255.
    seen: Vec<AtomicU8>,
    uploads: Mutex<HashMap<u64, HashMap<u32, u64>>>,
    next: AtomicU64,
}

/// A running sink; its threads end with the program.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) port: u16,
    /// What came.
    pub(crate) got: Arc<Got>,
}

impl Sink {
    /// Listens for so many records.
    pub(crate) fn start(records: u64, text: &Arc<Text>) -> Result<Sink> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let seen = std::iter::repeat_with(AtomicU8::default).take(records as usize).collect();
        let got = Arc::new(Got { seen, ..Got::default() });
        let (shared, text) = (got.clone(), text.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (got, text) = (shared.clone(), text.clone());
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || drop(serve(stream, &got, &text)));
            }
        });
        Ok(Sink { port, got })
    }
}

impl Got {
    /// Records that never came.
    pub(crate) fn missing(&self) -> u64 {
        self.seen.iter().filter(|times| times.load(Relaxed) == 0).count() as u64
    }

    /// Records that came more than once.
    pub(crate) fn twice(&self) -> u64 {
        self.seen.iter().filter(|times| times.load(Relaxed) > 1).count() as u64
    }

    /// Uploads that were never completed.
    pub(crate) fn unfinished(&self) -> usize {
        self.uploads.lock().map_or(0, |uploads| uploads.len())
    }

    fn records(&self, body: &[u8], text: &Text) {
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            match number(line, text).and_then(|n| self.seen.get(n as usize)) {
                Some(times) => drop(times.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_add(1)))),
                None => drop(self.broken.fetch_add(1, Relaxed)),
            }
        }
    }

    /// The answer to a call: status, header and body.
    fn answer(&self, head: &Head, body: &[u8], text: &Text) -> (u16, String, String) {
        let fails = |status, code: &str| {
            self.wrong.fetch_add(1, Relaxed);
            (status, String::new(), format!("<Error><Code>{code}</Code></Error>"))
        };
        let Ok(mut uploads) = self.uploads.lock() else { return fails(500, "InternalError") };
        match (&*head.method, head.asked("uploadId").map(|id| id.parse().unwrap_or(0))) {
            ("PUT", upload) => {
                if let Some(upload) = upload {
                    let Some(parts) = uploads.get_mut(&upload) else { return fails(404, "NoSuchUpload") };
                    let number = head.asked("partNumber").and_then(|n| n.parse().ok()).unwrap_or(0);
                    if parts.insert(number, body.len() as u64).is_some() {
                        // A part that comes again would count its records twice, which is what the count is for.
                        self.wrong.fetch_add(1, Relaxed);
                    }
                    self.parts.fetch_add(1, Relaxed);
                } else {
                    self.objects.fetch_add(1, Relaxed);
                }
                drop(uploads);
                self.bytes.fetch_add(body.len() as u64, Relaxed);
                self.records(body, text);
                (200, "ETag: \"part\"\r\n".to_owned(), String::new())
            }
            ("POST", None) => {
                let id = self.next.fetch_add(1, Relaxed) + 1;
                uploads.insert(id, HashMap::new());
                let body = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                (200, String::new(), body)
            }
            ("POST", Some(upload)) => {
                let Some(parts) = uploads.remove(&upload) else { return fails(404, "NoSuchUpload") };
                let last = parts.keys().max().copied().unwrap_or(0);
                if parts.iter().any(|(number, bytes)| *number < last && *bytes < PART_BYTES_MIN) {
                    return fails(400, "EntityTooSmall");
                }
                self.objects.fetch_add(1, Relaxed);
                let body =
                    "<CompleteMultipartUploadResult><ETag>\"all\"</ETag></CompleteMultipartUploadResult>";
                (200, String::new(), body.to_owned())
            }
            _ => fails(400, "InvalidRequest"),
        }
    }
}

/// The number of a record whose text is right.
fn number(line: &[u8], text: &Text) -> Option<u64> {
    let after = |from: &[u8], key: &[u8]| {
        let at = from.windows(key.len()).position(|window| window == key)?;
        Some(at + key.len())
    };
    let at = after(line, b"\"n\":")?;
    let digits = line[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let n = digits.fold(0u64, |n, digit| n.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    let at = at + after(&line[at..], b"\"msg\":\"")?;
    let whole = line.ends_with(b"\"}\n")
        && line.get(at..at + TEXT_BYTES)? == text.of(n)
        && line.len() == at + TEXT_BYTES + 3;
    whole.then_some(n)
}

/// The head of a request.
#[derive(Debug, Default)]
struct Head {
    method: String,
    target: String,
    length: usize,
    waits: bool,
}

impl Head {
    fn read(from: &mut impl BufRead) -> Result<Option<Head>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let mut head = Head { method: word(), target: word(), ..Head::default() };
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(head)) };
            match &*name.to_ascii_lowercase() {
                "content-length" => head.length = value.trim().parse().unwrap_or(usize::MAX),
                "expect" => head.waits = true,
                _ => {}
            }
        }
    }

    fn asked(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

fn serve(stream: TcpStream, got: &Got, text: &Text) -> Result<()> {
    let mut to = stream.try_clone()?;
    let mut from = BufReader::with_capacity(256 * 1024, stream);
    let mut body = Vec::new();
    while let Some(head) = Head::read(&mut from)? {
        if head.length > BODY_BYTES_MAX {
            return Ok(());
        }
        if head.waits {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        body.resize(head.length, 0);
        from.read_exact(&mut body)?;
        let (status, header, answer) = got.answer(&head, &body, text);
        let length = answer.len();
        to.write_all(
            format!("HTTP/1.1 {status} S3\r\n{header}content-length: {length}\r\n\r\n{answer}").as_bytes(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_when_all_of_it_is_there() {
        let text = Text::new();
        let line = |n: u64| {
            [&b"{\"date\":\"x\",\"n\":"[..], n.to_string().as_bytes(), b",\"msg\":\"", text.of(n), b"\"}\n"]
                .concat()
        };
        assert_eq!(number(&line(12), &text), Some(12));
        for cut in 1..line(12).len() {
            assert_eq!(number(&line(12)[..cut], &text), None, "cut at {cut}");
        }
        let mut changed = line(12);
        let at = changed.len() - 10;
        changed[at] ^= 1;
        assert_eq!(number(&changed, &text), None);
    }
}
