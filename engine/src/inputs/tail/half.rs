//! Half lines: what was read of lines that are not at their end yet.
//!
//! Owns: their charge, and when a half line is given up because the file still has it. Never: cuts lines.
//! Invariant: the half lines of all files together take at most their share of the budgets (see `Budget::keep`), besides
//! a block of each that could not be read again (of a compressed or truncated file, of one that is rotated away), and one
//! line longer than a block at a time.

use super::Tail;
use super::identity::last_bytes;
use super::state::{File, Id, LastBytes};

impl Tail {
    /// A file was read that stood at `line_at`: charges the half line that it keeps now. Where such lines take their
    /// share already, the file is put back to where the line begins: it is read again when more of it is there.
    pub(super) fn charge_half_line(&mut self, id: Id, line_at: u64) {
        let Some(file) = self.files.get_mut(id) else { return };
        if self.growing == Some(id) && file.line_at != line_at {
            self.growing = None;
        }
        let (kept, held) = (file.kept, file.partial.capacity());
        if held <= kept {
            file.kept = held;
            if held < kept {
                self.engine.let_go(kept - held);
            }
            return;
        }
        // A line that goes on in the next block must be kept, or no reading would ever reach its end: that of one file.
        let stuck = file.queued && file.line_at == line_at;
        let first = stuck && self.growing.is_none_or(|growing| growing == id);
        let only_here = file.gzip.is_some() || file.joined.is_some() || file.orphan_until.is_some();
        if self.engine.keep_waiting(held - kept, false) {
            file.kept = held;
            return;
        }
        if first {
            self.growing = Some(id);
        } else if stuck {
            self.ready.retain(|ready| *ready != id);
            self.stalled.push_back(id);
        }
        let again = if first || only_here { None } else { before(file) };
        let Some(last) = again else {
            file.kept = held;
            self.engine.keep_waiting(held - kept, true);
            return;
        };
        file.unadvised = file.unadvised.saturating_sub(file.read_at - file.line_at);
        (file.read_at, file.last) = (file.line_at, last);
        file.partial = Vec::new();
        self.engine.let_go(std::mem::take(&mut file.kept));
    }

    /// When no line grows beyond a block any more, the next file has its turn.
    pub(super) fn resume_stalled(&mut self) {
        let reads = |id: &Id| self.files.get(*id).is_some_and(|f| f.queued && !f.finished);
        self.growing = self.growing.filter(reads);
        if self.growing.is_none() {
            self.growing = self.stalled.pop_front();
            self.ready.extend(self.growing);
        }
    }

    /// The half line of a file is kept no more.
    pub(super) fn let_go_of_half_line(&mut self, id: Id) {
        if let Some(file) = self.files.get_mut(id) {
            self.engine.let_go(std::mem::take(&mut file.kept));
        }
    }
}

/// What stands before a half line, so that it can be read again from there; `None` where that is gone.
fn before(file: &File) -> Option<LastBytes> {
    file.before_line.or_else(|| {
        // In this order: when the end still fits, this is of the content that was read, too.
        let before = last_bytes(file, file.line_at);
        (last_bytes(file, file.read_at).get() == file.last.get()).then_some(before)
    })
}

#[cfg(test)]
mod tests {
    use super::super::gzip::tests::compressed;
    use super::super::steps::drained;
    use super::super::tests::{Double, append, compiled};
    use super::*;
    use crate::testing::ScratchDir;
    use std::fs;
    use std::sync::atomic::Ordering::SeqCst;

    #[test]
    fn half_lines_that_take_too_much_are_read_again() {
        const FILES: usize = 40;
        let (dir, options) = (ScratchDir::new(), [("Rotate_Wait", "0.001")]);
        let path = |n: usize| dir.join(&format!("{n}.log"));
        (0..FILES).for_each(|n| append(&path(n), format!("{n} whole\n{n} ")));
        let engine = Double::new();
        engine.waiting_max.store(64, SeqCst);
        let pattern = dir.join("*.log").display().to_string();
        let all = [&[("Path", pattern.as_str()), ("Read_from_Head", "on")], &options[..]].concat();
        let reader = crate::io::Reader::plain();
        let mut tail = Tail::new(compiled(&all), engine.clone(), reader).expect("tail");
        tail.begin();
        for round in 0..3 {
            drained(&mut tail, &engine);
            assert!(engine.waiting.load(SeqCst) <= 64, "{}", engine.waiting.load(SeqCst));
            (0..FILES).for_each(|n| append(&path(n), format!("{round} ")));
            tail.take_events();
        }
        drained(&mut tail, &engine);
        (0..FILES - 1).for_each(|n| append(&path(n), "end\nnext\n"));
        // What was rotated away is read to its end, its half line too; a truncation is seen.
        fs::rename(path(FILES - 1), dir.join("old")).expect("rename");
        tail.take_events();
        while engine.metric(|m| &m.files_closed) == 0 {
            tail.look_at_orphans();
            drained(&mut tail, &engine);
        }
        let text = drained(&mut tail, &engine);
        for n in 0..FILES {
            assert!(text.contains(&format!("{n} whole\n")), "{n}");
            let end = if n < FILES - 1 { "end" } else { "" };
            assert!(text.lines().any(|l| l == format!("{n} 0 1 2 {end}")), "{n}\n{text}");
        }
        assert_eq!(text.lines().count(), 2 * FILES + FILES - 1);
        assert_eq!((engine.waiting.load(SeqCst), engine.admitted.load(SeqCst)), (0, 0));
        append(&path(0), "0 half");
        tail.take_events();
        drained(&mut tail, &engine);
        fs::write(path(0), "anew\n").expect("write");
        tail.take_events();
        assert!(drained(&mut tail, &engine).ends_with("anew\n"));
    }

    #[test]
    fn lines_longer_than_a_block_are_read_one_at_a_time() {
        const FILES: usize = 30;
        let dir = ScratchDir::new();
        let line = |n: usize| format!("{n} {}\n", "L".repeat(1_500_000));
        for n in 0..FILES {
            let text = format!("{n} first\n{}{n} half", line(n));
            match n % 3 {
                0 => fs::write(dir.join(&format!("{n}.log.gz")), compressed(text.as_bytes())).expect("write"),
                _ => append(&dir.join(&format!("{n}.log")), text),
            }
        }
        let engine = Double::new();
        engine.waiting_max.store(100_000, SeqCst);
        let pattern = dir.join("*.log*").display().to_string();
        let all = [("Path", pattern.as_str()), ("Read_from_Head", "on"), ("Buffer_Max_Size", "2M")];
        let mut tail = Tail::new(compiled(&all), engine.clone(), crate::io::Reader::plain()).expect("tail");
        tail.begin();
        let mut most = 0;
        while !tail.ready.is_empty() || !tail.stalled.is_empty() {
            tail.read_round();
            most = most.max(engine.waiting.load(SeqCst));
        }
        // A block of each compressed file, and one long line in a buffer with room for it.
        assert!(most < (FILES / 3 + 1) * 600_000 + 5_000_000, "{most}");
        let text = drained(&mut tail, &engine);
        for n in 0..FILES {
            assert!(text.contains(&format!("{n} first\n")) && text.contains(&line(n)), "{n}");
        }
        assert_eq!(text.lines().count(), 2 * FILES);
    }
}
