//! What one source has in the making.
//!
//! Owns: groups per parser and per stream. Never: outlives its source. Invariant: at most
//! [`GROUPS_MAX`] groups per parser, each within the chain's limit.

use super::group::{Group, Out};
use super::instant::Minute;

/// Groups (streams) per parser and source; as in Fluent Bit, where one more is a fault. Here the oldest is flushed.
pub const GROUPS_MAX: usize = 6;

/// The lines of one source that wait for more, of any job before.
#[derive(Debug, Default)]
pub struct State {
    pub(super) instances: Vec<Instance>,
    /// The parser that took the line before.
    pub(super) last: Option<usize>,
    pub(super) minute: Minute,
    pub(super) cut: u64,
    /// The CRI streams that have a group.
    pub(super) seen: [&'static [u8]; 2],
    pub(super) docker: super::docker_mode::Waiting,
    pub(super) first_line: super::first_line::Waiting,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingInfo {
    /// The mark that came with the first line of the oldest group.
    pub mark: u64,
    /// Bytes of content and fields.
    pub bytes: usize,
}

impl State {
    /// What waits for more lines, if anything does.
    pub fn pending(&self) -> Option<PendingInfo> {
        // A source has one of the modes of old versions, or groups.
        if let Some((mark, bytes)) = self.docker.pending().or_else(|| self.first_line.pending()) {
            return Some(PendingInfo { mark, bytes });
        }
        let groups = || self.instances.iter().flat_map(|i| &i.groups);
        let mark = groups().filter_map(Group::mark).min()?;
        Some(PendingInfo { mark, bytes: groups().map(Group::bytes).sum() })
    }

    /// Whether this CRI stream has a group.
    #[inline]
    pub(super) fn sees(&self, stream: &'static [u8]) -> bool {
        // Both names are as long: the last letter tells them apart.
        self.seen.iter().any(|seen| seen.last() == stream.last())
    }

    /// How many records were cut at the limit so far (`multiline_truncated_total`).
    pub fn cut_count(&self) -> u64 {
        self.cut
    }
}

/// One parser's groups.
#[derive(Debug, Default)]
pub(super) struct Instance {
    groups: Vec<Group>,
}

impl Instance {
    /// Whether anything waits in any group.
    pub(super) fn holds(&self) -> bool {
        self.groups.iter().any(Group::holds)
    }

    /// The group of lines without a name, where there is one.
    pub(super) fn unnamed(&mut self) -> Option<&mut Group> {
        self.groups.first_mut()
    }

    /// Sends on all that waits, in the order in which the groups came up.
    pub(super) fn flush(&mut self, out: &mut Out<'_, '_>) {
        self.groups.iter_mut().for_each(|g| g.flush(out));
    }

    /// The group of this name. One too many takes the place of that which has waited longest.
    pub(super) fn group(&mut self, name: &[u8], out: &mut Out<'_, '_>) -> &mut Group {
        if self.groups.is_empty() {
            // The first is that of lines without a name, in whatever order they come.
            self.groups.push(Group::default());
        }
        let at = match self.groups.iter().position(|g| g.is(name)) {
            Some(at) => at,
            None if self.groups.len() < GROUPS_MAX => {
                self.groups.push(Group::new(name));
                self.groups.len() - 1
            }
            None => {
                let oldest =
                    (1..self.groups.len()).min_by_key(|&i| self.groups[i].mark().unwrap_or(0)).unwrap_or(0);
                self.groups[oldest].flush(out);
                self.groups[oldest] = Group::new(name);
                oldest
            }
        };
        &mut self.groups[at]
    }
}
