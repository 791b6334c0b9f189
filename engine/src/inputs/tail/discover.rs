//! Discovery: which files there are, where each starts, what a rename or a removal means.
//!
//! Owns: the scan of the patterns, events of the watched folders, the life of [`File`], [`Slot`] and [`Chain`].
//! Never: reads lines, decides what is delivered.
//! Invariants: an open file is known by device and inode and read once, whatever its names; a successor waits for its
//! predecessor; nothing is done per idle file between scans.

use super::Tail;
use super::database::Marker;
use super::glob::{Visitor, matches};
use super::gzip::{Gzip, is_gzip};
use super::identity::{Head, head_of, last_bytes};
use super::read::undelivered;
use super::siblings::{Folders, Listed};
use super::state::{File, Id, Slot};
use super::watch::{Change, Event, Folder};
use crate::log;
use rustix::fd::AsRawFd;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

/// Links that are followed before a path counts as a loop, as in the kernel.
const LINKS_MAX: usize = 40;

/// Halves of renames that are remembered.
const MOVED_MAX: usize = 256;

/// How often events are taken again because the last ones made files be opened.
const EVENT_READS_MAX: usize = 64;

/// What is known of one name in a watched folder.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// Paths that lead over it.
    pub(super) slots: Vec<Id>,
    /// The open file that has this name.
    pub(super) file: Option<Id>,
}

/// Where a file that was just found is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Head,
    End,
    At(u64),
}

#[derive(Default)]
struct Walk {
    folders: Vec<(PathBuf, bool)>,
    found: Vec<PathBuf>,
    unreadable: Vec<(PathBuf, String)>,
}

impl Visitor for Walk {
    fn folder(&mut self, path: &Path, last: bool) {
        self.folders.push((path.to_owned(), last));
    }
    fn found(&mut self, path: PathBuf) {
        self.found.push(path);
    }
    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.unreadable.push((path.to_owned(), error.to_string()));
    }
}

impl Tail {
    /// Searches the patterns. `deep` looks at known files too: for changes that nobody told of.
    pub(super) fn scan(&mut self, deep: bool) {
        if deep {
            self.watcher.verify();
        }
        for index in 0..self.settings.patterns.len() {
            let mut walk = Walk::default();
            self.settings.patterns[index].walk(&mut walk);
            for (folder, last) in walk.folders {
                self.watch(&folder, last);
            }
            for (folder, error) in walk.unreadable {
                self.tell_once(
                    folder.clone(),
                    "folder",
                    &format!("folder {} cannot be listed: {error}", folder.display()),
                );
            }
            self.make_room(&walk.found);
            for path in walk.found {
                if !self.by_path.contains_key(&path) {
                    self.consider(path);
                }
            }
        }
        self.register_again();
        // A vacant path may have a new file; a path that went away lets go of its own.
        let slots: Vec<Id> =
            self.slots.iter().filter(|(_, s)| deep || s.current.is_none()).map(|(id, _)| id).collect();
        for slot in slots {
            self.recheck(slot);
        }
        if deep {
            self.look_for_bytes();
        }
        self.store_new_rows();
    }

    /// Queues the files that grew or shrank without being told of.
    pub(super) fn look_for_bytes(&mut self) {
        let changed: Vec<Id> = self
            .files
            .iter()
            .filter(|(_, f)| !f.finished && !f.queued && has_news(f))
            .map(|(id, _)| id)
            .collect();
        for id in changed {
            self.queue(id);
        }
    }

    fn watch(&mut self, folder: &Path, files: bool) -> Option<Folder> {
        let before = self.watcher.count();
        let watched = self.watcher.watch(folder, files);
        // What came into a new folder before it was watched is found by one more scan.
        self.search |= self.watcher.count() > before || self.watcher.has_forgotten();
        match watched {
            Ok(folder) => folder,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                None
            }
            Err(error) => {
                let text = format!(
                    "folder {} cannot be watched: {error}; it is looked at every `refresh_interval` (more watches: sysctl \
                     fs.inotify.max_user_watches)",
                    folder.display()
                );
                self.tell_once(folder.to_owned(), "watch", &text);
                None
            }
        }
    }

    /// Takes events from the watched folders.
    pub(super) fn take_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        for _ in 0..EVENT_READS_MAX {
            self.opened = false;
            self.watcher.take(&mut events);
            for event in events.drain(..) {
                self.event(event);
            }
            // What is read of a new file stays behind the files before it that the kernel has told of by now.
            if !self.opened {
                break;
            }
        }
        // Halves whose other one is in no watched folder; a pair may come in two reads.
        if self.moved.len() > MOVED_MAX {
            self.moved.clear();
        }
        self.events = events;
        self.store_new_rows();
    }

    fn event(&mut self, event: Event) {
        let key = (event.folder, event.name);
        match event.change {
            Change::Written => match self.names.get(&key).and_then(|n| n.file) {
                Some(file) => self.queue(file),
                None => self.appeared(key, false),
            },
            Change::Appeared(is_folder) => {
                let half = self.moved.iter().position(|m| event.cookie != 0 && m.cookie == event.cookie);
                if let Some(half) = half {
                    let moved = self.moved.swap_remove(half);
                    self.moved_to(moved, key.clone());
                }
                self.appeared(key, is_folder);
            }
            Change::Gone => self.gone(key, event.cookie),
            Change::Unknown => self.rescan = true,
        }
    }

    /// A name went away: renamed (then `cookie` leads to the new one) or removed.
    fn gone(&mut self, key: (Folder, OsString), cookie: u32) {
        let Some(name) = self.names.get_mut(&key) else { return self.gone_unseen(&key, cookie) };
        let (file, slots) = (name.file.take(), name.slots.clone());
        self.drop_name_if_empty(&key);
        if let Some(id) = file {
            if let Some(file) = self.files.get_mut(id) {
                file.name = None;
            }
            self.queue(id);
        }
        for &slot in &slots {
            self.recheck(slot);
            // The event may be older than the file that is there now.
            let current = self.slots.get(slot).and_then(|s| s.current).and_then(|id| self.files.get(id));
            if current.is_some_and(|f| f.name.is_none()) {
                self.register_names(slot);
            }
        }
        if cookie != 0 {
            self.moved.push(Moved { cookie, file, slots, path: None });
        }
    }

    /// A name went away of which nothing is known: made, maybe written to, and renamed between two looks.
    fn gone_unseen(&mut self, key: &(Folder, OsString), cookie: u32) {
        let path = self.watcher.path(key.0).map(|folder| folder.join(&key.1));
        let Some(path) = path.filter(|path| cookie != 0 && self.tells_of_new_files() && self.wants(path))
        else {
            return;
        };
        self.moved.push(Moved { cookie, file: None, slots: Vec::new(), path: Some(path) });
    }

    /// The other half of a rename: the file has a new name. When it was never seen under the old one (made and renamed
    /// between two looks), it belongs before what is there now.
    fn moved_to(&mut self, moved: Moved, name: (Folder, OsString)) {
        let Some(path) = self.watcher.path(name.0).map(|folder| folder.join(&name.1)) else { return };
        let Ok(meta) = path.symlink_metadata() else { return };
        let key = (meta.dev(), meta.ino());
        if let Some(&id) = self.by_inode.get(&key) {
            if moved.file == Some(id) || self.files.get(id).is_some_and(|f| f.name.is_none()) {
                self.rename(id, name);
            }
        } else if meta.is_file() {
            let vacant = moved.path.filter(|path| !self.by_path.contains_key(path));
            let made = vacant.and_then(|path| {
                self.chain_at(&path, false)?;
                self.by_path.get(&path).copied()
            });
            if let Some(slot) = moved.slots.first().copied().or(made) {
                self.open_missed(&path, slot);
            }
            made.into_iter().for_each(|slot| self.forget_vacant(slot));
        }
    }

    /// Reads a file that was at a slot's path for a moment, before the one that is there now.
    fn open_missed(&mut self, path: &Path, slot: Id) {
        let Some(slot) = self.slots.get(slot) else { return };
        let (current, Some(chain), at) = (slot.current, slot.chain, slot.path.clone()) else { return };
        let listed: Vec<Listed> =
            Folders::default().list(path).into_iter().filter(|f| f.path == path).collect();
        if !self.missed(&at, &listed, &self.heads(chain)).is_empty()
            && let Some(id) = self.insert_missed(path, chain)
        {
            self.place_before(id, chain, current);
        }
    }

    /// First bytes of the pieces that the `DB` knows of a chain.
    pub(super) fn heads(&self, chain: Id) -> Vec<Marker> {
        let path = self.chains.get(chain).map(|c| c.path.clone()).unwrap_or_default();
        self.database.as_ref().and_then(|db| db.heads(&path).ok()).unwrap_or_default()
    }

    /// Opens a rotated file that was never seen at its path; it has no place yet.
    pub(super) fn insert_missed(&mut self, path: &Path, chain: Id) -> Option<Id> {
        let (fd, stat) = open_file(path).ok()?;
        let key = (stat.st_dev, stat.st_ino);
        let current = self.chains.get(chain).and_then(|c| c.members.last().copied());
        if !self.is_free(&key, current) {
            return None;
        }
        let paths = self.release_copy(&key);
        log!(
            Info,
            self.settings.name,
            "{} was rotated before it was seen, it is read from its head",
            path.display()
        );
        let gzip = is_gzip(path).then(|| Box::new(Gzip::new()));
        let size = stat.st_size as u64;
        let mut file = File { gzip, in_hole: true, size, seen: coarse_now(), ..new_file(fd, key, chain) };
        if file.gzip.is_none() {
            file.head = head_of(&file, u64::MAX);
        }
        let id = self.insert_orphan(file);
        paths.into_iter().for_each(|path| self.adopt(path, id));
        Some(id)
    }

    /// Gives a file its place in a chain: before `current` (last, where nothing is at the path), or in a chain of its own
    /// when that one has begun.
    pub(super) fn place_before(&mut self, id: Id, chain_id: Id, current: Option<Id>) {
        let last = self.chains.get(chain_id).and_then(|c| c.members.last().copied());
        if current.is_none() && self.chains.get(chain_id).is_some() {
            let number = self.number_in(chain_id, id);
            if let Some(file) = self.files.get_mut(id) {
                (file.number, file.order, file.after) = (number, number, last);
            }
            return;
        }
        let Some(chain) = self.chains.get_mut(chain_id) else { return };
        let waiting = current
            .and_then(|c| self.files.get_mut(c))
            .filter(|c| c.chain == chain_id && c.number > chain.started);
        if let Some(successor) = waiting {
            let (number, after) = (successor.number, successor.after.replace(id));
            (successor.number, successor.order) = (chain.next, chain.next);
            successor.asked = false;
            chain.next += 1;
            let at = chain.members.iter().position(|m| Some(*m) == current).unwrap_or(chain.members.len());
            chain.members.insert(at, id);
            if let Some(file) = self.files.get_mut(id) {
                (file.number, file.order, file.after) = (number, number, after);
            }
            current.into_iter().for_each(|id| self.dirty_row(id));
            return;
        }
        let (tag, path) = (chain.tag.clone(), chain.path.clone());
        let own = self.new_chain(tag, path, false);
        let number = self.number_in(own, id);
        if let Some(file) = self.files.get_mut(id) {
            (file.chain, file.number, file.order) = (own, number, number);
        }
    }

    /// A name appeared, or was written to and is not known yet.
    fn appeared(&mut self, key: (Folder, OsString), is_folder: bool) {
        let slots = self.names.get(&key).map(|n| n.slots.clone()).unwrap_or_default();
        for &slot in &slots {
            self.recheck(slot);
        }
        if is_folder {
            // Patterns may go on below it.
            self.search = true;
            return;
        }
        if slots.is_empty() {
            self.strangers.insert(key.0, coarse_now());
        }
        let Some(path) = self.watcher.path(key.0).map(|folder| folder.join(&key.1)) else { return };
        if slots.is_empty()
            && self.tells_of_new_files()
            && self.settings.patterns.iter().any(|p| p.matches(&path))
        {
            self.consider(path);
        } else if self.settings.patterns.iter().any(|p| p.leads_over(&path)) {
            self.search = true;
        }
    }

    /// Without reading new files from their head it matters when they are found: at the scan, as in Fluent Bit.
    fn tells_of_new_files(&self) -> bool {
        self.settings.read_from_head || self.settings.read_new_from_head
    }

    fn rename(&mut self, id: Id, key: (Folder, OsString)) {
        if let Some(file) = self.files.get_mut(id) {
            file.name = Some(key.clone());
            self.names.entry(key).or_default().file = Some(id);
        }
    }

    /// A path that matches and is not known.
    pub(super) fn consider(&mut self, path: PathBuf) {
        let text = path.as_os_str().as_bytes();
        if self.settings.exclude.iter().any(|pattern| matches(pattern, text, false))
            || self.by_path.contains_key(&path)
        {
            return;
        }
        let meta = match path.metadata() {
            Ok(meta) => meta,
            // A dangling link: its target may come, the scan will see it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.watch_links(&path),
            Err(error) => {
                return self.tell_once(
                    path.clone(),
                    "stat",
                    &format!("{} cannot be looked at: {error}", path.display()),
                );
            }
        };
        if !meta.is_file() {
            return self.tell_once(
                path.clone(),
                "kind",
                &format!("{} is not a regular file, it is left", path.display()),
            );
        }
        if self.is_too_old(&meta) {
            self.ignored.insert(path, meta.size());
            return;
        }
        if self.is_of_another_path(&path, meta.ino()) {
            return;
        }
        let ignored = self.ignored.remove(&path).filter(|&size| size <= meta.size());
        if let Some(&id) = self.by_inode.get(&(meta.dev(), meta.ino())) {
            return self.adopt(path, id);
        }
        let slot = self.slots.insert(Slot {
            path: path.clone(),
            current: None,
            chain: None,
            names: Vec::new(),
            aside: None,
        });
        self.by_path.insert(path, slot);
        self.open_in(slot, ignored);
    }

    fn is_too_old(&self, meta: &std::fs::Metadata) -> bool {
        let limit = self.settings.ignore_older;
        !limit.is_zero()
            && meta
                .modified()
                .ok()
                .and_then(|t| SystemTime::now().duration_since(t).ok())
                .is_some_and(|age| age > limit)
    }

    /// A file that is open already has another name that matches: it is known, and not read again.
    pub(super) fn adopt(&mut self, path: PathBuf, id: Id) {
        let Some(file) = self.files.get_mut(id) else { return };
        if file.slots > 0 || file.finished {
            return;
        }
        file.slots = 1;
        file.orphan_until = None;
        self.orphans.retain(|o| *o != id);
        let slot = self.slots.insert(Slot {
            path: path.clone(),
            current: Some(id),
            chain: None,
            names: Vec::new(),
            aside: None,
        });
        self.by_path.insert(path, slot);
        self.register_names(slot);
    }

    /// Looks again at what a known path leads to.
    pub(super) fn recheck(&mut self, slot_id: Id) {
        let Some(slot) = self.slots.get(slot_id) else { return };
        let meta = slot.path.metadata().ok().filter(std::fs::Metadata::is_file);
        let key = meta.as_ref().map(|m| (m.dev(), m.ino()));
        let known = slot.current.and_then(|id| self.files.get(id)).map(|f| f.key);
        if known.is_some() && known == key {
            if let (Some(meta), Some(id)) = (&meta, slot.current)
                && self.settings.ignore_active
                && self.is_too_old(meta)
            {
                self.let_go_of_old(slot_id, id);
            }
            return;
        }
        if let Some(id) = slot.current {
            if let Some(slot) = self.slots.get_mut(slot_id) {
                slot.current = None;
            }
            self.orphan(id);
        }
        let now = meta.as_ref().map(|m| ((m.dev(), m.ino()), m.size()));
        if self.is_aside(slot_id, now) {
            return;
        }
        match key {
            Some(key) if self.by_inode.contains_key(&key) => {
                let id = self.by_inode[&key];
                if self.files.get(id).is_some_and(|f| f.slots == 0 && !f.finished) {
                    // Another file was renamed to this path.
                    let path = self.slots.get(slot_id).map(|s| s.path.clone()).unwrap_or_default();
                    self.remove_slot(slot_id);
                    self.adopt(path, id);
                }
            }
            Some(_) => self.open_in(slot_id, None),
            None => {
                self.aside_is_gone(slot_id);
                self.forget_vacant(slot_id);
            }
        }
    }

    /// `Ignore_Active_Older_Files`: the file is closed where it is; when it is written to, it goes on there.
    fn let_go_of_old(&mut self, slot: Id, id: Id) {
        let Some(file) = self.files.get(id) else { return };
        if !file.at_eof || undelivered(file) {
            return;
        }
        if let Some(path) = self.slots.get(slot).map(|s| s.path.clone()) {
            self.ignored.insert(path, file.line_at);
        }
        self.remove_slot(slot);
        self.finish(id);
    }

    /// Opens what is at a slot's path, as the next file of its chain.
    fn open_in(&mut self, slot_id: Id, ignored: Option<u64>) {
        let Some(slot) = self.slots.get(slot_id) else { return };
        let path = slot.path.clone();
        let (fd, stat) = match open_file(&path) {
            Ok((fd, _)) if fd.as_raw_fd() as u64 >= self.descriptors => {
                return self.no_descriptor(slot_id, path);
            }
            Ok(opened) => opened,
            Err(rustix::io::Errno::NOENT) => return self.forget_vacant(slot_id),
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                return self.no_descriptor(slot_id, path);
            }
            Err(error) => {
                let error = std::io::Error::from(error);
                self.tell_once(
                    path.clone(),
                    "open",
                    &format!("{} cannot be opened: {error}", path.display()),
                );
                return self.forget_vacant(slot_id);
            }
        };
        let chain = match slot.chain.filter(|&c| self.chains.get(c).is_some()) {
            Some(chain) => chain,
            None => match self.settings.tagger.tag(&path) {
                Ok(tag) => self.new_chain(tag.into(), path.to_string_lossy().into(), true),
                Err(why) => {
                    self.tell_once(path.clone(), "tag", &format!("{} is left: {why}", path.display()));
                    return self.forget_vacant(slot_id);
                }
            },
        };
        self.told.retain(|(told, _)| told != &path);
        let key = (stat.st_dev, stat.st_ino);
        let mut file = new_file(fd, key, chain);
        file.gzip = is_gzip(&path).then(|| Box::new(Gzip::new()));
        let aside = self.take_up(slot_id, &file, stat.st_size as u64, chain);
        let predecessor = self.chains.get(chain).and_then(|c| c.members.last().copied());
        let file = File { after: predecessor, slots: 1, seen: coarse_now(), ..file };
        let id = self.files.insert(file);
        self.by_inode.insert(key, id);
        let number = self.number_in(chain, id);
        if let Some(file) = self.files.get_mut(id) {
            (file.number, file.order) = (number, number);
        }
        if let Some(slot) = self.slots.get_mut(slot_id) {
            (slot.current, slot.chain) = (Some(id), Some(chain));
        }
        self.count_opened();
        self.register_names(slot_id);
        let start = match (ignored.or(aside), predecessor) {
            (Some(at), _) => Start::At(at),
            (None, Some(_)) => Start::Head,
            (None, None) if self.reads_head() => Start::Head,
            (None, None) => Start::End,
        };
        self.set_start(id, &path, start, stat.st_size as u64);
    }

    fn reads_head(&self) -> bool {
        self.settings.read_from_head || (!self.first_scan && self.settings.read_new_from_head)
    }

    /// Decides where reading starts: the `DB` first, then the options.
    fn set_start(&mut self, id: Id, path: &Path, start: Start, size: u64) {
        let mut at = match start {
            Start::Head => 0,
            Start::End => size,
            Start::At(at) => at,
        };
        let Some(file) = self.files.get_mut(id) else { return };
        file.size = size;
        match self.resume(id, path, size) {
            Some(known) => at = known,
            None if start == Start::Head => {
                self.suspect(id, path);
                self.dirty_row(id);
            }
            None => self.dirty_row(id),
        }
        if let Some(file) = self.files.get_mut(id).filter(|f| size == 0 && f.after.is_none()) {
            file.fresh = true;
        }
        self.start_at(id, at, size);
    }

    /// Puts the reading position at `at`.
    pub(super) fn start_at(&mut self, id: Id, at: u64, size: u64) {
        let Some(file) = self.files.get(id) else { return };
        let at = if file.gzip.is_none() { self.at_character(file, at) } else { at };
        let Some(file) = self.files.get_mut(id) else { return };
        if file.gzip.is_some() {
            if at > 0 && at == size {
                // Read to its end before.
                super::identity::put_at_end(file, size);
            } else if at > 0 && super::identity::skip_text(file, at).is_none() {
                return self.give_up(id, "cannot be expanded up to where it was delivered");
            }
        } else {
            (file.read_at, file.line_at) = (at, at);
            file.last = last_bytes(file, at);
            file.head = head_of(file, size);
        }
        file.in_hole = file.line_at == 0;
        file.submitted = file.line_at;
        file.delivered = file.line_at;
        file.at_eof = file.read_at >= size;
        if file.at_eof {
            return;
        }
        file.bulk = file.gzip.is_none()
            && !file.fresh
            && file.copy.is_none()
            && size - file.read_at >= self.settings.block_bytes as u64;
        self.queue(id);
        if let Some(file) = self.files.get_mut(id) {
            file.at_eof = false;
        }
    }

    pub(super) fn dirty_row(&mut self, id: Id) {
        // A copy gets its row once it is decided what it is.
        let undecided = |f: &File| f.copy.is_some() && f.delivered == 0;
        if let Some(file) = self.files.get_mut(id).filter(|f| !f.row_dirty && !undecided(f))
            && self.database.is_some()
        {
            file.row_dirty = true;
            self.dirty_rows.push(id);
            self.new_rows = true;
        }
    }

    /// Registers the names that lead to a slot's file: the path, each link on the way, the target.
    pub(super) fn register_names(&mut self, slot_id: Id) {
        let Some(slot) = self.slots.get(slot_id) else { return };
        let (mut path, file) = (slot.path.clone(), slot.current);
        self.unregister_names(slot_id);
        let mut names = Vec::new();
        for _ in 0..LINKS_MAX {
            let (Some(parent), Some(base)) =
                (path.parent().map(Path::to_owned), path.file_name().map(ToOwned::to_owned))
            else {
                break;
            };
            if let Some(folder) = self.watch(&parent, true) {
                let name = self.names.entry((folder, base.clone())).or_default();
                if !name.slots.contains(&slot_id) {
                    name.slots.push(slot_id);
                }
                names.push((folder, base));
            }
            let Ok(target) = std::fs::read_link(&path) else { break };
            path = parent.join(target);
        }
        if let (Some(key), Some(id)) = (names.last().cloned(), file) {
            self.names.entry(key.clone()).or_default().file = Some(id);
            if let Some(file) = self.files.get_mut(id) {
                file.name = Some(key);
            }
        }
        if let Some(slot) = self.slots.get_mut(slot_id) {
            names.shrink_to_fit();
            slot.names = names;
        }
    }

    pub(super) fn unregister_names(&mut self, slot_id: Id) {
        let names = self.slots.get_mut(slot_id).map(|s| std::mem::take(&mut s.names)).unwrap_or_default();
        for key in names {
            if let Some(name) = self.names.get_mut(&key) {
                name.slots.retain(|s| *s != slot_id);
            }
            self.drop_name_if_empty(&key);
        }
    }

    pub(super) fn drop_name_if_empty(&mut self, key: &(Folder, OsString)) {
        if self.names.get(key).is_some_and(|n| n.slots.is_empty() && n.file.is_none()) {
            self.names.remove(key);
        }
    }

    /// Watches the folders of a link whose target is missing.
    fn watch_links(&mut self, path: &Path) {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let Ok(target) = std::fs::read_link(&path) else { return };
            let Some(parent) = path.parent() else { return };
            path = parent.join(target);
            if let Some(parent) = path.parent().map(Path::to_owned) {
                self.watch(&parent, true);
            }
        }
    }

    pub(super) fn count_opened(&mut self) {
        (self.opened, self.opened_any) = (true, true);
        self.engine.metrics().files_opened.fetch_add(1, Relaxed);
        self.engine.metrics().files_open.fetch_add(1, Relaxed);
    }

    /// Tells of something that is wrong with a path, once until it is right again, and counts it.
    pub(super) fn tell_once(&mut self, path: PathBuf, what: &'static str, text: &str) {
        if self.told.insert((path, what)) {
            if what != "long" {
                self.engine.metrics().read_errors.fetch_add(1, Relaxed);
            }
            log!(Warn, self.settings.name, "{text}");
        }
    }
}

/// A rename of which one half was told.
#[derive(Debug)]
pub(super) struct Moved {
    cookie: u32,
    /// The file that had the name.
    file: Option<Id>,
    /// The paths that the name belongs to.
    slots: Vec<Id>,
    /// The name, where nothing was known of it.
    path: Option<PathBuf>,
}

pub(super) fn open_file(path: &Path) -> rustix::io::Result<(rustix::fd::OwnedFd, rustix::fs::Stat)> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok((fd, stat))
}

/// A file of which nothing is known yet.
pub(super) fn new_file(fd: rustix::fd::OwnedFd, key: (u64, u64), chain: Id) -> File {
    File {
        fd,
        key,
        chain,
        number: 0,
        read_at: 0,
        line_at: 0,
        partial: Vec::new(),
        kept: 0,
        before_line: None,
        joined: None,
        skipping: false,
        in_hole: false,
        last: Default::default(),
        queued: false,
        at_eof: true,
        room: 0,
        bulk: false,
        unadvised: 0,
        orphan_until: None,
        finished: false,
        after: None,
        asked: false,
        charset: None,
        gzip: None,
        slots: 0,
        name: None,
        submitted: 0,
        delivered: 0,
        earlier: None,
        row: 0,
        piece: 0,
        written: Default::default(),
        order: 0,
        head: Head::default(),
        seen: (0, 0),
        fresh: false,
        again: false,
        stale: false,
        size: 0,
        goes_on: false,
        copy: None,
        row_dirty: false,
    }
}

/// True when the file's size is not what was read.
fn has_news(file: &File) -> bool {
    rustix::fs::fstat(&file.fd).is_ok_and(|stat| stat.st_size as u64 != file.read_at)
}

/// The time that a file which is written to now gets.
pub(super) fn coarse_now() -> (i64, i64) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    (now.tv_sec, now.tv_nsec)
}
