//! What lies in the folder when the program starts.
//!
//! Owns: which file waits for which output, and what becomes of damaged and foreign files. Never: delivers.
//! Invariants: a damaged file gives all that stands before the damage, and is kept aside as it was; a file that this
//! configuration cannot deliver is left as it is, and told.

use super::format::{Damage, MAGIC, Scan, scan};
use super::writer::{Chunk, Writer, id_of};
use super::{ChunkFile, Spilled};
use crate::log;
use crate::queue::Queued;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What is told at the end, as one line each.
#[derive(Default)]
struct Told {
    foreign: u64,
    records: u64,
    chunks: u64,
}

impl Writer {
    /// Finds what is there and queues it, oldest first.
    pub(super) fn recover(&mut self) {
        if self.store.settings.replay_rejected {
            self.replay();
        }
        self.count_rejected();
        let mut told = Told::default();
        for path in self.chunk_files() {
            if self.store.stopping.load(Relaxed) {
                return;
            }
            if let Err(error) = self.recover_file(&path, &mut told) {
                log!(
                    Error,
                    "storage",
                    "cannot read {}: {error}; it is left for the next start",
                    path.display()
                );
            }
        }
        if told.foreign > 0 {
            log!(
                Warn,
                "storage",
                "{} files in {} are chunks of Fluent Bit, or of another version: they are left as they are; let the program that wrote them deliver them",
                told.foreign,
                self.store.settings.path.display()
            );
        }
        if told.chunks > 0 {
            log!(Info, "storage", "{} records of {} chunks go out again", told.records, told.chunks);
        }
    }

    /// All `*.flb` below the folder, oldest first.
    fn chunk_files(&mut self) -> Vec<PathBuf> {
        let settings = &self.store.settings;
        let mut found = Vec::new();
        for folder in entries(&settings.path) {
            if folder.is_dir() && folder != settings.rejected_path {
                found.extend(
                    entries(&folder).into_iter().filter(|p| p.extension().is_some_and(|e| e == "flb")),
                );
            }
        }
        let ids: Vec<u64> = found.iter().filter_map(|p| id_of(p)).collect();
        ids.into_iter().for_each(|id| self.seen_id(id));
        found.sort_by_key(|path| (id_of(path), path.clone()));
        found
    }

    fn recover_file(&mut self, path: &Path, told: &mut Told) -> std::io::Result<()> {
        let bytes = std::fs::read(path)?;
        // The first bytes of chunkio are 0xc1 0x00; another version of ours differs in the last byte of the magic.
        let ours = bytes.starts_with(&MAGIC) || MAGIC.starts_with(&bytes);
        if !ours {
            if bytes.starts_with(&[0xc1, 0]) || bytes.starts_with(&MAGIC[..7]) {
                told.foreign += 1;
                return Ok(());
            }
            return self.damaged(path, &bytes, &Scan { damage: Some(Damage::Corrupt), ..Scan::default() });
        }
        let scan = scan(&bytes);
        let Some(head) = &scan.head else { return self.damaged(path, &bytes, &scan) };
        let output = self.store.outputs.iter().position(|o| o.name == head.output && o.plugin == head.plugin);
        let known = output.filter(|n| self.store.outputs[*n].fingerprint == head.fingerprint);
        let Some(known) = known else {
            self.store.counters.orphaned_chunks.fetch_add(1, Relaxed);
            let remedy = match output {
                Some(_) => {
                    "its options changed since, so that it would be written otherwise; put them back until it is delivered"
                }
                None => {
                    "there is no such output any more; put it back until it is delivered (an `Alias` keeps names stable)"
                }
            };
            log!(
                Warn,
                "storage",
                "{} waits for the output {} ({}): {remedy}, or remove the file",
                path.display(),
                head.output,
                head.plugin
            );
            return Ok(());
        };
        if scan.damage.is_some() {
            self.damaged(path, &bytes, &scan)?;
        }
        if scan.open.is_empty() {
            // All of it was delivered, or nothing was ever acknowledged.
            return remove_if_there(path);
        }
        told.chunks += 1;
        told.records += self.queue(path, known, head.lane as usize, &scan);
        Ok(())
    }

    /// Queues what is open in a file; gives how many records that is.
    fn queue(&mut self, path: &Path, output: usize, lane: usize, scan: &Scan) -> u64 {
        let named = id_of(path).filter(|id| !self.chunks.contains_key(&(output, *id)));
        let id = named.unwrap_or_else(|| self.next_id());
        let lanes = self.store.outputs[output].lanes.clone();
        let shared = Arc::new(ChunkFile { path: path.to_owned(), output, id, up: AtomicUsize::new(0) });
        let mut runs: Vec<Spilled> = Vec::new();
        for found in &scan.open {
            match runs.last_mut().filter(|run| run.end == found.start) {
                Some(run) => {
                    run.end = found.end;
                    run.segments += 1;
                    run.records += u64::from(found.records);
                    run.bytes += found.bytes;
                }
                None => runs.push(Spilled {
                    chunk: shared.clone(),
                    start: found.start,
                    end: found.end,
                    segments: 1,
                    records: u64::from(found.records),
                    bytes: found.bytes,
                    backlog: true,
                }),
            }
        }
        let lane = lane % lanes.count();
        let open = scan.open.len() as u32;
        let chunk = Chunk { shared, file: None, len: scan.good, open, lane, input: super::BACKLOG.into() };
        self.grow(output, chunk.len);
        self.chunks.insert((output, id), chunk);
        let records = runs.iter().map(|run| run.records).sum();
        self.store.counters.recovered_records.fetch_add(records, Relaxed);
        runs.into_iter().for_each(|run| lanes.send(lane, Queued::Down(run)));
        records
    }

    /// Keeps a damaged file aside as it is, and leaves what stands before the damage in its place. What was only torn
    /// was acknowledged to nobody, and is cut off.
    fn damaged(&mut self, path: &Path, bytes: &[u8], scan: &Scan) -> std::io::Result<()> {
        let lost = bytes.len() as u64 - scan.good;
        if scan.damage == Some(Damage::Torn) {
            log!(
                Info,
                "storage",
                "{} ends within a frame: {lost} bytes that were acknowledged to nobody are cut off",
                path.display()
            );
            if scan.head.is_none() {
                return remove_if_there(path);
            }
            return std::fs::OpenOptions::new().write(true).open(path)?.set_len(scan.good);
        }
        self.store.counters.damaged_chunks.fetch_add(1, Relaxed);
        let salvaged: u64 = scan.open.iter().map(|f| u64::from(f.records)).sum();
        if self.store.settings.delete_irrecoverable {
            log!(
                Error,
                "storage",
                "{} is damaged at byte {}: {salvaged} records before that are saved, {lost} bytes are deleted (storage.delete_irrecoverable_chunks)",
                path.display(),
                scan.good
            );
        } else {
            let aside = aside(path);
            std::fs::write(&aside, bytes)?;
            std::fs::File::open(&aside)?.sync_all()?;
            log!(
                Error,
                "storage",
                "{} is damaged at byte {}: {salvaged} records before that are saved, the file as it was is kept as {}",
                path.display(),
                scan.good,
                aside.display()
            );
        }
        if scan.head.is_none() || scan.open.is_empty() {
            return remove_if_there(path);
        }
        std::fs::OpenOptions::new().write(true).open(path)?.set_len(scan.good)
    }
}

/// `x.flb.corrupt`, or with a number behind it where there is one already.
pub(super) fn aside(path: &Path) -> PathBuf {
    let name = |n: u32| match n {
        0 => path.with_extension("flb.corrupt"),
        n => path.with_extension(format!("flb.{n}.corrupt")),
    };
    (0..).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(0))
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What is in a folder, in the order of names.
pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(read) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = read.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths
}
