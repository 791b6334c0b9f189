//! One attempt to send a chunk: a request for each tag, and what the answers mean.

use super::auth::Grant;
use super::{Compress, Format, Http};
use crate::Verdict;
use crate::client::{Answer, Limits};
use crate::segment::{Chunk, Segment};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How much of an answer is told.
const ANSWER_SHOWN: usize = 512;

/// What goes out in one request.
struct Group {
    /// Segments, and which of their bytes.
    parts: Vec<(usize, Range<usize>)>,
    /// Headers of this request alone, as [`super::record::headers`] reads them.
    headers: Option<(usize, Range<usize>)>,
    /// Which records of the chunk they are.
    records: Vec<Range<usize>>,
}

/// What an answer, or its absence, means.
enum Outcome {
    Accepted,
    Retry { after: Option<Duration>, reason: String },
    Refused(String),
}

impl Http {
    /// Sends what of the chunk is not done, a request for each tag. Where one is refused for good, the others go out
    /// first, so that a final verdict is about the refused records alone.
    pub(super) async fn deliver_by_tag(&self, chunk: &mut Chunk) -> Verdict {
        let (mut retry, mut refused) = (None, None);
        let mut refused_records: Vec<Range<usize>> = Vec::new();
        let groups = if self.by_record.is_some() { singles(chunk) } else { groups(chunk) };
        for group in groups {
            match self.send(&chunk.segments, &group).await {
                Outcome::Accepted => mark(chunk, &group.records),
                Outcome::Refused(reason) => {
                    refused_records.extend(group.records);
                    refused = Some(reason);
                }
                Outcome::Retry { after, reason } => {
                    // The server is not well: what is left waits too.
                    retry = Some((after, reason));
                    break;
                }
            }
        }
        match (retry, refused) {
            (None, None) => Verdict::Delivered { dropped: 0 },
            (None, Some(reason)) => Verdict::Drop { reason },
            (Some((after, reason)), refused) => {
                if refused.is_some() {
                    let count: usize = refused_records.iter().map(Range::len).sum();
                    self.refused.fetch_add(count as u64, Ordering::Relaxed);
                    mark(chunk, &refused_records);
                }
                Verdict::Retry { after, reason }
            }
        }
    }

    async fn send(&self, segments: &[Segment], group: &Group) -> Outcome {
        let body = self.body(segments, group);
        let body = match self.compress {
            None => body,
            Some(compress) => match tokio::task::spawn_blocking(move || squeeze(compress, &body)).await {
                Ok(Ok(body)) => body,
                Ok(Err(error)) => {
                    return Outcome::Retry { after: None, reason: format!("cannot compress: {error}") };
                }
                Err(_) => {
                    return Outcome::Retry { after: None, reason: "the compression was stopped".to_owned() };
                }
            },
        };
        let body = Bytes::from(body);
        let request = self.request(segments, group, body.clone());
        let limits =
            Limits { response: self.response_timeout, idle: self.read_idle_timeout, body_bytes: 64 * 1024 };
        // The second time is for new credentials, where the first ones were refused.
        let mut second = false;
        loop {
            match self.exchange(request.clone(), &body, limits).await {
                Ok((answer, grant)) if !second && self.auth.refused(answer.status, &grant).await => {
                    second = true
                }
                Ok((answer, _)) => return self.outcome(&answer),
                Err(reason) => return Outcome::Retry { after: None, reason },
            }
        }
    }

    /// One request and its answer.
    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        body: &[u8],
        limits: Limits,
    ) -> Result<(Answer, Grant), String> {
        let grant = self.auth.grant().await?;
        self.auth.apply(&grant, &mut request, body, &self.client.authority())?;
        Ok((self.client.send(request, limits).await?, grant))
    }

    fn request(&self, segments: &[Segment], group: &Group, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let headers =
            group.headers.as_ref().and_then(|(at, range)| segments.get(*at)?.bytes.get(range.clone()));
        for (name, value) in super::record::headers(headers.unwrap_or_default()) {
            request.headers_mut().append(name, value);
        }
        let tag =
            group.parts.first().and_then(|(at, _)| segments.get(*at)).map_or("", |segment| &*segment.tag);
        if let (Some(name), Ok(value)) = (&self.header_tag, HeaderValue::from_str(tag)) {
            request.headers_mut().append(name.clone(), value);
        }
        request
    }

    fn body(&self, segments: &[Segment], group: &Group) -> Vec<u8> {
        let parts =
            || group.parts.iter().filter_map(|(at, range)| segments.get(*at)?.bytes.get(range.clone()));
        let mut body = Vec::with_capacity(parts().map(|part| part.len() + 1).sum::<usize>() + 2);
        if self.format == Format::Json && self.by_record.is_none() {
            crate::formats::join_array(&mut body, parts());
        } else {
            parts().for_each(|part| body.extend_from_slice(part));
        }
        body
    }

    /// 200 to 205 is success, as in Fluent Bit; 4xx is final, but 408 and 429; all else may get better.
    fn outcome(&self, answer: &Answer) -> Outcome {
        let status = answer.status;
        if (200..=205).contains(&status.as_u16()) {
            return Outcome::Accepted;
        }
        let mut reason = format!("{} answers {}", self.client.authority(), status.as_u16());
        if self.log_response_payload && !answer.body.is_empty() {
            let shown = &answer.body[..answer.body.len().min(ANSWER_SHOWN)];
            reason.push_str(": ");
            reason.push_str(String::from_utf8_lossy(shown).trim());
        }
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {}
            status if status.is_client_error() => return Outcome::Refused(reason),
            _ => {}
        }
        let after = answer
            .headers
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Outcome::Retry { after: after.map(Duration::from_secs), reason }
    }
}

/// The segments of each tag in order of first appearance, without those that are done.
fn groups(chunk: &Chunk) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut at_tag: HashMap<&str, usize> = HashMap::new();
    let mut first = 0;
    for (at, segment) in chunk.segments.iter().enumerate() {
        let records = first..first + segment.records as usize;
        first = records.end;
        if segment.bytes.is_empty() || is_done(chunk, &records) {
            continue;
        }
        let group = *at_tag.entry(&segment.tag).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Group { parts: Vec::new(), headers: None, records: Vec::new() });
        }
        groups[group].parts.push((at, 0..segment.bytes.len()));
        groups[group].records.push(records);
    }
    groups
}

/// Each record that is not done by itself, with the headers that stand behind its body.
fn singles(chunk: &Chunk) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut record = 0;
    for (at, segment) in chunk.segments.iter().enumerate() {
        let mut start = 0;
        for event in &segment.events {
            let (body, end) = (start + event.unescaped as usize, event.end as usize);
            let records = record..record + 1;
            if !is_done(chunk, &records) {
                groups.push(Group {
                    parts: vec![(at, start..body)],
                    headers: Some((at, body..end)),
                    records: vec![records],
                });
            }
            (start, record) = (end, record + 1);
        }
    }
    groups
}

fn is_done(chunk: &Chunk, records: &Range<usize>) -> bool {
    !records.is_empty() && chunk.done.get(records.clone()).is_some_and(|done| done.iter().all(|done| *done))
}

fn mark(chunk: &mut Chunk, records: &[Range<usize>]) {
    let all = chunk.records();
    chunk.done.resize(all.max(chunk.done.len()), false);
    for range in records {
        if let Some(done) = chunk.done.get_mut(range.clone()) {
            done.fill(true);
        }
    }
}

fn squeeze(compress: Compress, body: &[u8]) -> std::io::Result<Vec<u8>> {
    match compress {
        Compress::Gzip => {
            // Text shrinks well at the first levels already; higher ones cost far more than they save.
            let mut encoder = flate2::write::GzEncoder::new(
                Vec::with_capacity(body.len() / 4),
                flate2::Compression::new(2),
            );
            encoder.write_all(body)?;
            encoder.finish()
        }
        // The library's default level, as in Fluent Bit.
        Compress::Zstd => zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL),
        Compress::Snappy => snap::raw::Encoder::new().compress_vec(body).map_err(std::io::Error::other),
    }
}
