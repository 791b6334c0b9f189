//! Appends parts of segments to files that are kept open.
//!
//! Owns: open files, their number, what happens when a write stops half-way. Never: decides on a path.
//! Invariant: after a failed append the file ends with a whole part, or the caller is told how much of a part it has.

use super::rotate::{self, Rotation};
use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Files kept open at once; far below the usual limit of 1024 descriptors a process.
const OPEN_FILES_MAX: usize = 128;

/// Slices given to one `writev`; the system's limit (`IOV_MAX`) is 1024.
const SLICES_MAX: usize = 512;

/// Why an append failed, and whether it waits for somebody's help rather than for time.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) hold: bool,
}

/// How far an append came.
#[derive(Debug)]
pub(super) struct Stopped {
    /// Parts that the file has as a whole.
    pub(super) whole: usize,
    /// How many bytes of the next part it has for good.
    pub(super) rest: usize,
    pub(super) failure: Failure,
}

struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// When it was used last, in appends.
    used: u64,
}

/// Files kept open.
pub(super) struct Files {
    open: HashMap<PathBuf, Open>,
    appends: u64,
    mkdir: bool,
    rotation: Option<Rotation>,
}

impl Files {
    pub(super) fn new(mkdir: bool, rotation: Option<Rotation>) -> Self {
        Files { open: HashMap::new(), appends: 0, mkdir, rotation }
    }

    /// Appends the parts to the file; a new file begins with `names`.
    pub(super) fn append(&mut self, path: &Path, names: &[u8], parts: &[&[u8]]) -> Result<(), Stopped> {
        self.appends += 1;
        let (file, before) = self.ready(path).map_err(|failure| Stopped { whole: 0, rest: 0, failure })?;
        let names = if before == 0 { names } else { &[] };
        let (written, result) = write_all(file, names, parts);
        let Err(error) = result else { return Ok(()) };
        let (whole, rest) = stop(file, before, written, names.len(), parts);
        // The next attempt opens the file anew: its device may be another one then.
        self.open.remove(path);
        Err(Stopped { whole, rest, failure: failure(path, "write to", &error) })
    }

    /// The open file that `path` names now, and its length.
    fn ready(&mut self, path: &Path) -> Result<(&mut File, u64), Failure> {
        let mut now = std::fs::metadata(path).ok();
        if let (Some(rotation), Some(meta)) = (&self.rotation, &now)
            && meta.len() >= rotation.size
            && rotate::rotate(path, rotation).is_ok()
        {
            now = None;
        }
        // Somebody else's rotation: the path names another file, or none.
        let same =
            |open: &Open| now.as_ref().is_some_and(|now| now.dev() == open.device && now.ino() == open.inode);
        let length = match (self.open.get(path).is_some_and(same), &now) {
            (true, Some(now)) => now.len(),
            _ => {
                let file = self.create(path).map_err(|error| failure(path, "open", &error))?;
                let meta = file.metadata().map_err(|error| failure(path, "open", &error))?;
                self.keep(path, Open { file, device: meta.dev(), inode: meta.ino(), used: 0 });
                meta.len()
            }
        };
        match self.open.get_mut(path) {
            Some(open) => {
                open.used = self.appends;
                Ok((&mut open.file, length))
            }
            None => Err(Failure { reason: format!("{} is not open", path.display()), hold: false }),
        }
    }

    fn create(&self, path: &Path) -> std::io::Result<File> {
        let open = || OpenOptions::new().create(true).append(true).open(path);
        match (open(), path.parent()) {
            (Err(error), Some(directory)) if self.mkdir && error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
                open()
            }
            (result, _) => result,
        }
    }

    /// Keeps a file open, in place of the one that was not used for longest when there are too many.
    fn keep(&mut self, path: &Path, open: Open) {
        if self.open.len() >= OPEN_FILES_MAX
            && !self.open.contains_key(path)
            && let Some(oldest) =
                self.open.iter().min_by_key(|(_, open)| open.used).map(|(path, _)| path.clone())
        {
            self.open.remove(&oldest);
        }
        self.open.insert(path.to_owned(), open);
    }
}

/// Writes the names and all parts; says how many bytes the file took.
fn write_all(file: &mut File, names: &[u8], parts: &[&[u8]]) -> (u64, std::io::Result<()>) {
    let parts = || std::iter::once(names).chain(parts.iter().copied()).filter(|part| !part.is_empty());
    let total: u64 = parts().map(|part| part.len() as u64).sum();
    let mut written = 0;
    while written < total {
        let mut skip = written;
        let slices: Vec<IoSlice<'_>> = parts()
            .filter_map(|part| {
                let cut = skip.min(part.len() as u64);
                skip -= cut;
                Some(&part[cut as usize..]).filter(|part| !part.is_empty())
            })
            .take(SLICES_MAX)
            .map(IoSlice::new)
            .collect();
        match file.write_vectored(&slices) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => written += count as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// After a write stopped: cuts the file back to the last whole part, so that whoever appends next begins on a line of
/// his own. Where that cannot be done (somebody else appended meanwhile), says how much of the next part is there.
fn stop(file: &File, before: u64, written: u64, names: usize, parts: &[&[u8]]) -> (usize, usize) {
    let names = names as u64;
    let (mut end, mut whole) = (if written >= names { names } else { 0 }, 0);
    for part in parts.iter().take_while(|_| written >= names) {
        if end + part.len() as u64 > written {
            break;
        }
        end += part.len() as u64;
        whole += 1;
    }
    let alone = || file.metadata().is_ok_and(|meta| meta.len() == before + written);
    if end == written || written < names || (alone() && file.set_len(before + end).is_ok()) {
        if written < names && alone() {
            // Half a line of names; what cannot be cut off stays as a line of its own.
            drop(file.set_len(before));
        }
        return (whole, 0);
    }
    (whole, (written - end) as usize)
}

fn failure(path: &Path, verb: &str, error: &std::io::Error) -> Failure {
    let place = path.display();
    let (help, hold) = match error.kind() {
        ErrorKind::NotFound => ("; make the directory, or set `mkdir on`", true),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            ("; allow this user to write there", true)
        }
        ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            ("; a file and a directory have the same name", true)
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ("; it goes on when there is space", false),
        _ => ("", false),
    };
    Failure { reason: format!("cannot {verb} {place}: {error}{help}"), hold }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that holds `before` and then what was written of `after`.
    fn half_written(before: &str, after: &str, written: usize) -> (tempfile::NamedTempFile, File) {
        let named = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(named.path(), format!("{before}{}", &after[..written])).expect("written");
        let file = OpenOptions::new().append(true).open(named.path()).expect("open");
        (named, file)
    }

    #[test]
    fn a_write_that_stopped_is_cut_back_to_a_whole_part() {
        let (names, texts) = ("n\n", ["one\n", "two\n", "three\n"]);
        let all = format!("{names}{}", texts.concat());
        for written in 0..=all.len() {
            let (named, file) = half_written("old\n", &all, written);
            let (whole, rest) = stop(&file, 4, written as u64, names.len(), &texts.map(str::as_bytes));
            assert_eq!(rest, 0, "{written}");
            let expected = match written {
                0..2 => "old\n".to_owned(),
                _ => format!("old\nn\n{}", texts[..whole].concat()),
            };
            assert_eq!(std::fs::read_to_string(named.path()).expect("text"), expected, "{written}");
        }
    }

    #[test]
    fn where_somebody_appended_too_the_rest_of_the_part_follows() {
        let texts = ["one\n", "two\n"];
        let (named, file) = half_written("", "one\ntwo\n", 6);
        std::fs::write(named.path(), "one\ntwsomebody\n").expect("written");
        assert_eq!(stop(&file, 0, 6, 0, &texts.map(str::as_bytes)), (1, 2));
    }
}
