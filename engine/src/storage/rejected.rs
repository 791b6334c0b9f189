//! What outputs refused for good: kept aside (`storage.keep.rejected`), and delivered again when asked.
//!
//! Owns: the folder of refused chunks and its limit. Never: decides what is refused.
//! Invariant: the folder holds at most `storage.rejected.limit`, where that is set; what goes for that is counted and told.

use super::format::{self, Head, Kind, scan};
use super::recover::entries;
use super::writer::{Writer, file_name, id_of, new_file};
use super::{Rejected, folder_name};
use crate::log;
use crate::shards::Ack;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

/// Files of refused records, oldest first, with their sizes.
#[derive(Default)]
pub(super) struct Rejects {
    files: VecDeque<(PathBuf, u64)>,
    dropped: u64,
}

impl Writer {
    /// Takes stock of the folder.
    pub(super) fn count_rejected(&mut self) {
        let mut files: Vec<(PathBuf, u64)> = entries(&self.store.settings.rejected_path)
            .iter()
            .flat_map(|folder| entries(folder))
            .filter(|path| path.extension().is_some_and(|e| e == "flb"))
            .map(|path| {
                let bytes = path.metadata().map_or(0, |m| m.len());
                (path, bytes)
            })
            .collect();
        files.sort_by_key(|(path, _)| (id_of(path), path.clone()));
        files
            .iter()
            .filter_map(|(path, _)| id_of(path))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|id| self.seen_id(id));
        let bytes = files.iter().map(|(_, bytes)| bytes).sum();
        self.store.counters.rejected_bytes.store(bytes, Relaxed);
        self.rejected.files = files.into();
    }

    /// Writes a file of what was refused and why. Gives the acknowledgements to be accepted: all, because what cannot be
    /// kept is dropped, as it is without this option.
    pub(super) fn reject(&mut self, rejected: Rejected) -> Vec<Ack> {
        let Rejected { output, segments, reason, acks } = rejected;
        let records: u64 = segments.iter().map(|s| u64::from(s.records)).sum();
        let id = self.next_id();
        let owner = &self.store.outputs[output];
        let folder = self.store.settings.rejected_path.join(folder_name(&owner.name));
        let mut bytes = format::file_head(&Head {
            plugin: owner.plugin.to_owned(),
            output: owner.name.clone(),
            fingerprint: owner.fingerprint,
            lane: 0,
        });
        bytes.extend_from_slice(&format::frame(Kind::Reason, reason.as_bytes(), bytes.len() as u64));
        for segment in &segments {
            let meta = format::segment_meta(segment);
            let head = format::frame_head(Kind::Segment, &[&meta, &segment.bytes], bytes.len() as u64);
            [&head[..], &meta, &segment.bytes].iter().for_each(|part| bytes.extend_from_slice(part));
        }
        let len = bytes.len() as u64;
        if !self.make_room_for_rejected(len) {
            log!(
                Error,
                "storage",
                "{records} refused records are not kept: they are larger than `storage.rejected.limit`"
            );
            return acks;
        }
        let path = folder.join(file_name(id));
        let written = std::fs::create_dir_all(&folder).and_then(|()| new_file(&path, &[&bytes]));
        let sync = self.store.settings.full_sync;
        match written.and_then(|file| if sync { file.sync_all() } else { Ok(()) }) {
            Ok(()) => {
                self.rejected.files.push_back((path, len));
                self.store.counters.rejected_bytes.fetch_add(len, Relaxed);
                self.store.counters.rejected_records.fetch_add(records, Relaxed);
            }
            Err(error) => {
                log!(
                    Error,
                    "storage",
                    "{records} refused records cannot be kept at {}: {error}",
                    path.display()
                );
            }
        }
        acks
    }

    /// Removes the oldest files until `bytes` more keep the limit.
    fn make_room_for_rejected(&mut self, bytes: u64) -> bool {
        let Some(limit) = self.store.settings.rejected_limit else { return true };
        let counters = &self.store.counters;
        while counters.rejected_bytes.load(Relaxed) + bytes > limit {
            let Some((path, len)) = self.rejected.files.pop_front() else { return false };
            drop(std::fs::remove_file(&path));
            counters.rejected_bytes.fetch_sub(len, Relaxed);
            counters.rejected_dropped_chunks.fetch_add(1, Relaxed);
            self.rejected.dropped += 1;
            if self.rejected.dropped.is_power_of_two() {
                log!(
                    Warn,
                    "storage",
                    "removed {}: `storage.rejected.limit` is used up ({} so far)",
                    path.display(),
                    self.rejected.dropped
                );
            }
        }
        true
    }

    /// Moves what was refused to where chunks wait for their outputs.
    pub(super) fn replay(&mut self) {
        let settings = self.store.settings.clone();
        let mut moved = 0;
        for folder in entries(&settings.rejected_path) {
            let Some(name) = folder.file_name() else { continue };
            let target = settings.path.join(name);
            for path in entries(&folder).into_iter().filter(|p| p.extension().is_some_and(|e| e == "flb")) {
                let Some(file) = path.file_name() else { continue };
                let reason = std::fs::read(&path).ok().and_then(|bytes| scan(&bytes).reason);
                let done =
                    std::fs::create_dir_all(&target).and_then(|()| std::fs::rename(&path, target.join(file)));
                match done {
                    Ok(()) => {
                        moved += 1;
                        let reason = reason.unwrap_or_default();
                        log!(Info, "storage", "{} goes out again; it was refused: {reason}", path.display());
                    }
                    Err(error) => {
                        log!(Error, "storage", "cannot move {}: {error}", path.display());
                    }
                }
            }
        }
        log!(Info, "storage", "{moved} refused chunks go out again (--replay-rejected)");
    }
}
