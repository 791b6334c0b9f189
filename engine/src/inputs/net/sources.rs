//! The sources of a connection, one a tag, and how far they are accepted.
//!
//! Owns: which tags of a connection are open, positions in them. Never: more than [`TAGS_MAX`] of them.

use super::Gate;
use super::limits::TAGS_MAX;
use crate::inputs::Source;
use crate::job::{Cursor, Position, SourceInfo, Verdict};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// How far a source is accepted; shared between its connection and the engine.
pub struct Accepted {
    /// Everything before it is accepted, or dropped and counted.
    committed: AtomicU64,
    /// What the last examined block was found to be, and where it began.
    verdict: AtomicU8,
    /// One more than the position of that block; 0 before the first.
    examined: AtomicU64,
    /// Answers that wait.
    waiting: AtomicUsize,
    changed: Arc<Notify>,
}

impl Accepted {
    /// True once everything before `position` is accepted.
    pub fn reached(&self, position: u64) -> bool {
        self.committed.load(Ordering::Acquire) >= position
    }

    /// What the block at `position` was found to be, once it was looked at. Ask for the last submitted one only.
    pub fn verdict(&self, position: u64) -> Option<Verdict> {
        (self.examined.load(Ordering::Acquire) == position + 1).then(|| {
            match self.verdict.load(Ordering::Relaxed) {
                0 => Verdict::Fine,
                1 => Verdict::Invalid,
                _ => Verdict::TooLarge,
            }
        })
    }

    /// One more answer waits; told before the block is submitted.
    pub fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// One less waits.
    pub fn answered(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cursor for Accepted {
    fn committed(&self, position: Position) {
        self.committed.fetch_max(position.offset, Ordering::Release);
        self.changed.notify_one();
    }

    fn urgent(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn examined(&self, position: Position, verdict: Verdict) {
        self.verdict.store(verdict as u8, Ordering::Relaxed);
        self.examined.store(position.offset + 1, Ordering::Release);
        self.changed.notify_one();
    }
}

/// A source of a connection.
#[derive(Clone)]
pub struct Tagged {
    /// The source.
    pub source: Source,
    /// How far it is accepted.
    pub accepted: Arc<Accepted>,
    /// Bytes that were submitted.
    pub at: u64,
}

/// The sources of a connection.
pub struct Sources {
    gate: Rc<Gate>,
    peer: Option<Arc<str>>,
    changed: Arc<Notify>,
    /// The last used at the end.
    open: Vec<Tagged>,
}

impl Sources {
    /// None yet. `peer` is how the records may name the sender.
    pub fn new(gate: Rc<Gate>, peer: Option<Arc<str>>) -> Sources {
        Sources { gate, peer, changed: Arc::default(), open: Vec::new() }
    }

    /// Notified when something is accepted or examined.
    pub fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// The source of a tag.
    pub fn get(&mut self, tag: &str) -> &mut Tagged {
        match self.open.iter().rposition(|t| *t.source.info.tag == *tag) {
            Some(at) if at + 1 == self.open.len() => {}
            Some(at) => self.open[at..].rotate_left(1),
            None => {
                if self.open.len() == TAGS_MAX {
                    let oldest = self.open.remove(0);
                    self.gate.engine().close(&oldest.source);
                }
                let tagged = self.make(tag);
                self.open.push(tagged);
            }
        }
        let last = self.open.len() - 1;
        &mut self.open[last]
    }

    /// The source that was used last.
    pub fn last(&self) -> Option<&Source> {
        self.open.last().map(|t| &t.source)
    }

    fn make(&self, tag: &str) -> Tagged {
        let accepted = Arc::new(Accepted {
            committed: AtomicU64::new(0),
            verdict: AtomicU8::new(0),
            examined: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            changed: self.changed.clone(),
        });
        let info = SourceInfo {
            tag: tag.into(),
            path: self.peer.clone(),
            charset: Default::default(),
            cursor: Some(accepted.clone() as Arc<dyn Cursor>),
        };
        Tagged { source: self.gate.engine().open(info), accepted, at: 0 }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.open.iter().for_each(|t| self.gate.engine().close(&t.source));
    }
}
