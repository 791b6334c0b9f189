//! What filters hold back of a source until more of it comes.
//!
//! Owns: the groups and parts that wait, by filter and tag. Never: outlives its source, holds a record's own memory.
//! Invariant: at most [`HELD_MAX`] filters and tags of a source hold something back at once.

use super::multiline::Parts;
use codecs::multiline::State;
use std::sync::Arc;

/// Filters and tags of one source that may hold something back at once; one more makes the oldest let go.
pub const HELD_MAX: usize = 64;

/// What one filter holds back of one source and tag.
#[derive(Default)]
pub struct Held {
    /// Lines that more may follow.
    pub groups: State,
    /// Messages whose last part is missing.
    pub parts: Parts,
}

impl Held {
    /// The mark of the oldest record that is held back.
    pub fn oldest(&self) -> Option<u64> {
        let groups = self.groups.pending().map(|p| p.mark);
        groups.into_iter().chain(self.parts.oldest()).min()
    }
}

/// What all filters hold back of one source.
#[derive(Default)]
pub struct Holding(Vec<Slot>);

/// One filter and tag.
struct Slot {
    filter: usize,
    tag: Arc<str>,
    held: Held,
}

impl Holding {
    /// What this filter holds back of this tag.
    pub fn of(&mut self, filter: usize, tag: &Arc<str>) -> &mut Held {
        let known = self.0.iter().position(|s| s.filter == filter && *s.tag == **tag);
        let at = known.unwrap_or_else(|| {
            self.0.push(Slot { filter, tag: tag.clone(), held: Held::default() });
            self.0.len() - 1
        });
        &mut self.0[at].held
    }

    /// A filter and tag that has to let go before this one may hold something back.
    pub fn crowded_by(&self, filter: usize, tag: &str) -> Option<(usize, Arc<str>)> {
        let known = self.0.iter().any(|s| s.filter == filter && *s.tag == *tag);
        let full = !known && self.0.len() >= HELD_MAX;
        self.0.first().filter(|_| full).map(|s| (s.filter, s.tag.clone()))
    }

    /// Forgets a filter and tag; it holds nothing any more.
    pub fn forget(&mut self, filter: usize, tag: &str) {
        self.0.retain(|s| s.filter != filter || *s.tag != *tag);
    }

    /// The filters and tags that hold something back, in the order of the filters.
    pub fn holders(&self) -> Vec<(usize, Arc<str>)> {
        let holds = self.0.iter().filter(|s| s.held.oldest().is_some());
        let mut holders: Vec<_> = holds.map(|s| (s.filter, s.tag.clone())).collect();
        holders.sort_by_key(|(filter, _)| *filter);
        holders
    }

    /// The mark of the oldest record that any of them holds back.
    pub fn oldest(&self) -> Option<u64> {
        self.0.iter().filter_map(|s| s.held.oldest()).min()
    }
}
