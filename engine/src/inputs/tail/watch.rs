//! inotify on folders: which names changed in which folder.
//!
//! Owns: the one inotify instance of an input and its watches. Never: watches a single file, opens one.
//! Invariants: one watch a folder, however many names point to it; a path leads to the folder that was there when it
//! was last asked for, never to one that was removed and made anew meanwhile.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Number of a watched folder.
pub(super) type Folder = i32;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Bytes were written, or the file was truncated.
    Written,
    /// The name appeared (made, or moved here); true for a folder.
    Appeared(bool),
    /// The name went away.
    Gone,
    /// Events were lost, or a folder vanished: everything has to be looked at.
    Unknown,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// In which folder.
    pub(super) folder: Folder,
    /// Which name.
    pub(super) name: OsString,
    /// What.
    pub(super) change: Change,
    /// The same number for the two halves of a rename; 0 otherwise.
    pub(super) cookie: u32,
}

/// The watches of one input.
#[derive(Debug)]
pub(super) struct Watcher {
    /// `None` where the kernel has no instance left, or by the user's wish.
    inotify: Option<OwnedFd>,
    by_path: HashMap<PathBuf, Folder>,
    paths: HashMap<Folder, (PathBuf, WatchFlags)>,
    /// Folders that are not watched any more: what was known by their numbers has to be registered anew.
    forgotten: Vec<Folder>,
    refused: bool,
}

/// Folders that only lead to others: nothing but new names matters.
const ON_THE_WAY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// Folders of log files.
const OF_FILES: WatchFlags =
    ON_THE_WAY.union(WatchFlags::MODIFY).union(WatchFlags::MOVED_FROM).union(WatchFlags::DELETE);

impl Watcher {
    /// An instance; the error says why there is none (then the watcher watches nothing).
    pub(super) fn new(wanted: bool) -> (Self, Option<std::io::Error>) {
        let none = |inotify| Watcher {
            inotify,
            by_path: HashMap::new(),
            paths: HashMap::new(),
            forgotten: Vec::new(),
            refused: false,
        };
        if !wanted {
            return (none(None), None);
        }
        match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(fd) => (none(Some(fd)), None),
            Err(e) => (none(None), Some(e.into())),
        }
    }

    /// The instance, to wait for.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(|fd| fd.as_fd())
    }

    /// True when changes are told; false when files must be looked at.
    pub(super) fn works(&self) -> bool {
        self.inotify.is_some() && !self.refused
    }

    /// The path of a watched folder.
    pub(super) fn path(&self, folder: Folder) -> Option<&Path> {
        self.paths.get(&folder).map(|(path, _)| path.as_path())
    }

    /// How many folders are watched.
    pub(super) fn count(&self) -> usize {
        self.paths.len()
    }

    /// The folders that are not watched any more since this was last asked.
    pub(super) fn take_forgotten(&mut self) -> Vec<Folder> {
        std::mem::take(&mut self.forgotten)
    }

    /// True when there are some.
    pub(super) fn has_forgotten(&self) -> bool {
        !self.forgotten.is_empty()
    }

    /// Looks whether each watched path still leads to the folder that is watched.
    pub(super) fn verify(&mut self) {
        let files = |folder| self.paths.get(folder).is_some_and(|(_, flags)| flags.contains(OF_FILES));
        let all: Vec<_> = self.by_path.iter().map(|(path, folder)| (path.clone(), files(folder))).collect();
        for (path, files) in all {
            // What is gone is told by its events, or found by the scan.
            drop(self.watch(&path, files));
        }
    }

    /// Watches a folder: for new names, and with `files` for writes and removals as well.
    ///
    /// The kernel is asked each time: while a deleted file is open, its deleted folder stays watched, and says nothing
    /// when another one takes its path.
    pub(super) fn watch(&mut self, path: &Path, files: bool) -> Result<Option<Folder>, std::io::Error> {
        let Some(fd) = &self.inotify else { return Ok(None) };
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = if files { OF_FILES } else { ON_THE_WAY };
        let add = flags | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        let folder = match inotify::add_watch(fd, path, add) {
            Ok(folder) => folder,
            Err(e) => {
                // No watches left: what is not watched must be looked at.
                self.refused |= e == rustix::io::Errno::NOSPC;
                return Err(e.into());
            }
        };
        let known = self.paths.entry(folder).or_insert_with(|| (path.to_owned(), flags));
        known.1 |= flags;
        match self.by_path.get_mut(path) {
            Some(known) if *known == folder => {}
            Some(known) => {
                let old = std::mem::replace(known, folder);
                self.left(old);
            }
            None => drop(self.by_path.insert(path.to_owned(), folder)),
        }
        Ok(Some(folder))
    }

    /// A path does not lead to this folder any more; another one may.
    fn left(&mut self, folder: Folder) {
        match self.by_path.iter().find(|(_, f)| **f == folder) {
            Some((path, _)) => {
                let path = path.clone();
                self.paths.entry(folder).and_modify(|known| known.0 = path);
                self.forgotten.push(folder);
            }
            None => self.forget(folder),
        }
    }

    /// Takes what the kernel has to tell, without waiting.
    pub(super) fn take(&mut self, events: &mut Vec<Event>) {
        let Some(fd) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); 64 * 1024];
        let mut reader = inotify::Reader::new(fd, &mut buffer);
        let mut gone = Vec::new();
        // One filled buffer a call keeps a storm of events from holding up the reads.
        while let Ok(event) = reader.next() {
            let flags = event.events();
            let name =
                event.file_name().map_or(OsStr::new(""), |n| OsStr::from_bytes(n.to_bytes())).to_owned();
            let change = if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                Change::Unknown
            } else if flags.intersects(
                ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT,
            ) {
                gone.push(event.wd());
                Change::Unknown
            } else if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                Change::Appeared(flags.contains(ReadFlags::ISDIR))
            } else if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                Change::Gone
            } else {
                Change::Written
            };
            events.push(Event { folder: event.wd(), name, change, cookie: event.cookie() });
            if reader.is_buffer_empty() {
                break;
            }
        }
        for folder in gone {
            self.forget(folder);
        }
    }

    fn forget(&mut self, folder: Folder) {
        if self.paths.remove(&folder).is_some() {
            self.by_path.retain(|_, f| *f != folder);
            self.forgotten.push(folder);
            if let Some(fd) = &self.inotify {
                // It is gone already unless the folder was moved.
                let _ = inotify::remove_watch(fd, folder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_the_folder_that_is_there_now() {
        let dir = crate::testing::ScratchDir::new();
        let (mut watcher, _) = Watcher::new(true);
        let path = dir.join("l");
        std::fs::create_dir(&path).expect("folder");
        let old = watcher.watch(&path, true).expect("watch").expect("inotify");
        let other = watcher.watch(dir.path(), true).expect("watch").expect("inotify");
        // It keeps the folder alive, so that nothing is told of its end.
        let open = std::fs::File::create(path.join("a")).expect("file");
        std::fs::remove_dir_all(&path).expect("remove");
        std::fs::create_dir(&path).expect("folder again");
        let new = watcher.watch(&path, true).expect("watch").expect("inotify");
        assert_ne!(new, old);
        assert_eq!((watcher.take_forgotten(), watcher.path(old), watcher.count()), (vec![old], None, 2));
        watcher.verify();
        assert!(!watcher.has_forgotten() && watcher.path(other).is_some());
        watcher.take(&mut Vec::new());
        std::fs::write(path.join("b"), "x").expect("write");
        let mut events = Vec::new();
        watcher.take(&mut events);
        assert!(events.iter().any(|e| e.folder == new && e.name == "b"), "{events:?}");
        drop(open);
    }

    #[test]
    fn a_folder_tells_of_its_names() {
        let dir = crate::testing::ScratchDir::new();
        let (mut watcher, error) = Watcher::new(true);
        assert!(error.is_none());
        let folder = watcher.watch(dir.path(), true).expect("watch").expect("inotify");
        assert_eq!(watcher.watch(dir.path(), false).expect("watch"), Some(folder));
        assert_eq!(watcher.count(), 1);
        std::fs::write(dir.join("a"), "x").expect("write");
        std::fs::rename(dir.join("a"), dir.join("b")).expect("rename");
        std::fs::create_dir(dir.join("d")).expect("folder");
        std::fs::remove_file(dir.join("b")).expect("remove");
        let mut events = Vec::new();
        watcher.take(&mut events);
        let seen: Vec<_> = events.iter().map(|e| (e.name.to_str().expect("name"), e.change)).collect();
        assert_eq!(
            seen,
            [
                ("a", Change::Appeared(false)),
                ("a", Change::Written),
                ("a", Change::Gone),
                ("b", Change::Appeared(false)),
                ("d", Change::Appeared(true)),
                ("b", Change::Gone),
            ]
        );
        assert_eq!(events[2].cookie, events[3].cookie);
        assert_ne!(events[2].cookie, 0);
    }
}
