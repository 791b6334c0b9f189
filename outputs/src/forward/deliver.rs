//! One attempt to send a chunk: on one connection, message by message.

use super::message::{self, ID_BYTES};
use super::options::Mode;
use super::peer::Answers;
use super::{Forward, Node};
use crate::Verdict;
use crate::segment::{Chunk, Segment};
use crate::stream::Connection;
use std::io::Write;
use std::ops::Range;

/// Entries of one message, in bytes; a segment that is longer goes alone. Below the 6 MB that Fluent Bit's own input takes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Messages of one record that wait for their acknowledgement at once.
const WINDOW: usize = 64;

/// Segments of one message, and which records of the chunk they hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) segments: Vec<usize>,
    pub(super) records: Vec<Range<usize>>,
    bytes: usize,
}

impl Group {
    fn entries(&self) -> usize {
        self.records.iter().map(Range::len).sum()
    }
}

/// A connection with what its server said.
struct Session {
    connection: Connection,
    answers: Answers,
    keepalive: bool,
}

impl Forward {
    /// Sends what of the chunk is not done to the server whose turn it is, or to the next one that can be reached.
    pub(super) async fn attempt(&self, chunk: &mut Chunk) -> Verdict {
        chunk.done.resize(chunk.records().max(chunk.done.len()), false);
        let mut reason = "there is no server".to_owned();
        for at in self.turn.order(self.nodes.len()) {
            let Some(node) = self.nodes.get(at) else { continue };
            let name = node.connections.name();
            match self.open(node).await {
                Err(why) => reason = why,
                Ok(mut session) => match self.send(node, chunk, &mut session).await {
                    Ok(()) => {
                        // Whatever is left of the answers would be taken for one to the next message.
                        if session.keepalive && session.answers.is_empty() {
                            node.connections.put(session.connection);
                        }
                        return Verdict::Delivered { dropped: 0 };
                    }
                    Err(why) => {
                        return Verdict::Retry { after: None, reason: format!("{name}: {why}") };
                    }
                },
            }
        }
        Verdict::Retry { after: None, reason }
    }

    /// A connection over which records may be sent.
    async fn open(&self, node: &Node) -> Result<Session, String> {
        let connection = node.connections.get().await?;
        let mut session = Session { connection, answers: Answers::default(), keepalive: true };
        if let Some(secret) = node.settings.secret.as_ref().filter(|_| session.connection.is_fresh()) {
            let Session { connection, answers, .. } = &mut session;
            session.keepalive = answers
                .handshake(connection, self.answer_wait, secret, &self.salt)
                .await
                .map_err(|why| format!("{}: {why}", node.connections.name()))?;
        }
        Ok(session)
    }

    async fn send(&self, node: &Node, chunk: &mut Chunk, session: &mut Session) -> Result<(), String> {
        let Chunk { segments, done, .. } = chunk;
        if let Mode::Message { .. } = self.wire.mode {
            return self.send_singles(segments, done, session).await;
        }
        for group in groups(segments, done) {
            self.send_group(node, segments, &group, session).await?;
            for range in &group.records {
                if let Some(done) = done.get_mut(range.clone()) {
                    done.fill(true);
                }
            }
        }
        Ok(())
    }

    /// Sends one message with the entries of a group, and waits for its acknowledgement where one is wanted.
    async fn send_group(
        &self,
        node: &Node,
        segments: &[Segment],
        group: &Group,
        session: &mut Session,
    ) -> Result<(), String> {
        let settings = &node.settings;
        let mut parts: Vec<&[u8]> =
            group.segments.iter().filter_map(|at| Some(segments.get(*at)?.bytes.as_slice())).collect();
        let id = self.wire.ack.then(|| message::id(parts.iter().copied()));
        let packed = if settings.gzip { Some(pack(parts.concat()).await?) } else { None };
        let tag = group.segments.first().and_then(|at| segments.get(*at)).map_or("", |first| &*first.tag);
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        let (options, entries) = (settings.send_options, group.entries());
        message::write_head(&mut head, &self.wire, tag, options, entries, packed.as_ref().map(Vec::len));
        if options {
            message::write_options(&mut tail, &self.wire, id.as_deref(), entries, settings.gzip);
        }
        if let Some(packed) = &packed {
            parts = vec![packed];
        }
        parts.insert(0, &head);
        parts.push(&tail);
        session.connection.send(&parts).await?;
        match id {
            None => Ok(()),
            Some(id) => session.answers.acknowledged(&mut session.connection, self.answer_wait, &id).await,
        }
    }

    /// Sends messages of one record each, and waits for an acknowledgement of each where they are wanted.
    async fn send_singles(
        &self,
        segments: &[Segment],
        done: &mut [bool],
        session: &mut Session,
    ) -> Result<(), String> {
        let open: Vec<(usize, &[u8], u32)> = singles(segments)
            .enumerate()
            .filter(|(at, _)| done.get(*at) != Some(&true))
            .map(|(at, (bytes, id))| (at, bytes, id))
            .collect();
        for window in open.chunks(WINDOW) {
            let parts: Vec<&[u8]> = window.iter().map(|(_, bytes, _)| *bytes).collect();
            session.connection.send(&[&parts.concat()]).await?;
            for (at, bytes, id) in window {
                if self.wire.ack {
                    let id = bytes.get(*id as usize..*id as usize + ID_BYTES).unwrap_or_default();
                    let id = String::from_utf8_lossy(id);
                    session.answers.acknowledged(&mut session.connection, self.answer_wait, &id).await?;
                }
                if let Some(done) = done.get_mut(*at) {
                    *done = true;
                }
            }
        }
        Ok(())
    }
}

/// Each record's message, and where its id stands.
fn singles(segments: &[Segment]) -> impl Iterator<Item = (&[u8], u32)> {
    segments.iter().flat_map(|segment| {
        let mut start = 0;
        segment.events.iter().map(move |event| {
            let bytes = segment.bytes.get(start..event.end as usize).unwrap_or_default();
            start = event.end as usize;
            (bytes, event.unescaped)
        })
    })
}

/// The segments of each tag in order of first appearance, without those that are done, in messages of at most
/// [`MESSAGE_BYTES_MAX`].
pub(super) fn groups(segments: &[Segment], done: &[bool]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut open: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    let mut first = 0;
    for (at, segment) in segments.iter().enumerate() {
        let records = first..first + segment.records as usize;
        first = records.end;
        let is_done = done.get(records.clone()).is_some_and(|done| done.iter().all(|done| *done));
        if segment.bytes.is_empty() || (is_done && !records.is_empty()) {
            continue;
        }
        let fits = |group: &usize| groups[*group].bytes + segment.bytes.len() <= MESSAGE_BYTES_MAX;
        let group = open.get(&*segment.tag).copied().filter(fits).unwrap_or(groups.len());
        if group == groups.len() {
            groups.push(Group::default());
            open.insert(&segment.tag, group);
        }
        groups[group].segments.push(at);
        groups[group].records.push(records);
        groups[group].bytes += segment.bytes.len();
    }
    groups
}

/// gzip, off the network threads.
async fn pack(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let packed = tokio::task::spawn_blocking(move || {
        let room = Vec::with_capacity(bytes.len() / 4);
        // As for http: higher levels cost far more than they save.
        let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::new(2));
        encoder.write_all(&bytes)?;
        encoder.finish()
    });
    match packed.await {
        Ok(Ok(packed)) => Ok(packed),
        Ok(Err(error)) => Err(format!("cannot compress: {error}")),
        Err(_) => Err("the compression was stopped".to_owned()),
    }
}
