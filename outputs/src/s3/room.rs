//! A few blocks kept back on the disk of `store_dir`, for the journals.
//!
//! Owns: the file `reserve`. Never: holds data. Invariant: what fills the disk with records leaves room to note that they
//! were sent; without it a full disk could never be emptied.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Bytes kept back: journals of some dozens of objects, each a block or two.
pub(super) const RESERVE_BYTES: usize = 256 * 1024;

const NAME: &str = "reserve";

/// Takes the reserve where it is not there; fails where the disk has no room for it.
pub(super) fn keep(directory: &Path) -> io::Result<()> {
    let path = directory.join(NAME);
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        // Written, not only allocated: not every file system knows the other.
        Ok(mut file) => fill(&mut file).inspect_err(|_| drop(std::fs::remove_file(&path))),
    }
}

fn fill(file: &mut File) -> io::Result<()> {
    file.write_all(&vec![0; RESERVE_BYTES])?;
    file.sync_data()
}

/// Does something small that must succeed on a full disk too: at the cost of the reserve.
pub(super) fn with<T>(directory: &Path, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match work() {
        Err(error) if is_full(&error) && std::fs::remove_file(directory.join(NAME)).is_ok() => work(),
        done => done,
    }
}

/// Whether the disk, or the user's share of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_spent_once_and_taken_again() {
        let folder = tempfile::tempdir().expect("a folder");
        keep(folder.path()).expect("room");
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let mut tries = 0;
        let second = |tries: &mut i32| {
            *tries += 1;
            if *tries == 1 { Err(full()) } else { Ok(()) }
        };
        with(folder.path(), || second(&mut tries)).expect("the second try");
        assert!(!folder.path().join(NAME).exists());
        assert!(with(folder.path(), || Err::<(), _>(full())).is_err(), "there is no more to spend");
        keep(folder.path()).expect("room");
        assert_eq!(std::fs::metadata(folder.path().join(NAME)).expect("it").len(), RESERVE_BYTES as u64);
    }
}
