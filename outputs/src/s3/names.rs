//! What keeps the keys of one bucket apart: the next `$INDEX`, and the keys that were given lately.
//!
//! Owns: the files `.index` and `.keys` beside the instances of a bucket, and their lock. Never: makes a key.
//! Invariant: an index is given once, and of keys that were noted none is new again, also across instances and restarts.

use super::room;
use super::store::sync_directory;
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Keys that are remembered; two objects have the same key only when their first records are of one second.
const KEYS_MAX: usize = 10_000;
/// Where Fluent Bit counts, below its `store_dir/bucket`.
const FLUENT_BIT: &str = "sequence/index_metadata";

/// The names of a bucket.
#[derive(Debug)]
pub(super) struct Names {
    /// `store_dir/bucket`.
    directory: PathBuf,
    /// Where the reserve lies that the disk's last blocks come from.
    instance: PathBuf,
}

impl Names {
    /// Those of the bucket that an instance's directory belongs to.
    pub(super) fn of(instance: &Path) -> Names {
        let directory = instance.parent().unwrap_or(instance).to_owned();
        Names { directory, instance: instance.to_owned() }
    }

    /// The next `$INDEX`. After Fluent Bit it goes on behind the highest one there.
    pub(super) fn next_index(&self) -> io::Result<u64> {
        let _lock = self.lock()?;
        let path = self.directory.join(".index");
        let index = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                io::Error::other(format!(
                    "{} is no number: write the next free $INDEX into it",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.fluent_bits_next()?,
            Err(error) => return Err(error),
        };
        self.replace(&path, (index + 1).to_string().as_bytes())?;
        Ok(index)
    }

    /// Notes a key; false when it was given before.
    pub(super) fn is_new(&self, key: &str) -> io::Result<bool> {
        let _lock = self.lock()?;
        let path = self.directory.join(".keys");
        let mut known = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let sum = xxh3_64(key.as_bytes()).to_le_bytes();
        if known.as_chunks::<8>().0.contains(&sum) {
            return Ok(false);
        }
        // A crash may have left a part of a sum.
        known.truncate(known.len() / 8 * 8);
        known.extend_from_slice(&sum);
        let from = known.len().saturating_sub(KEYS_MAX * 8);
        self.replace(&path, &known[from..])?;
        Ok(true)
    }

    fn lock(&self) -> io::Result<File> {
        let path = self.directory.join(".lock");
        room::with(&self.instance, || {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        })
    }

    /// Writes a file anew, for good.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        room::with(&self.instance, || {
            let mut file = File::create(&new)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            std::fs::rename(&new, path)?;
            sync_directory(&self.directory)
        })
    }

    fn fluent_bits_next(&self) -> io::Result<u64> {
        let files = match std::fs::read_dir(self.directory.join(FLUENT_BIT)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        let mut next = 0;
        for file in files {
            let text = std::fs::read_to_string(file?.path())?;
            next = next.max(text.trim().parse::<u64>().map_or(0, |last| last + 1));
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_given_once_also_after_fluent_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (folder.path().join("s3.0"), folder.path().join("s3.1"));
        assert_eq!(Names::of(&a).next_index().expect("an index"), 0);
        assert_eq!(Names::of(&b).next_index().expect("an index"), 1, "instances share a bucket's names");
        assert_eq!(Names::of(&a).next_index().expect("an index"), 2);
        std::fs::write(folder.path().join(".index"), "x").expect("written");
        let told = Names::of(&a).next_index().expect_err("no number").to_string();
        assert!(told.contains("write the next free $INDEX into it"), "{told}");
        std::fs::remove_file(folder.path().join(".index")).expect("removed");
        std::fs::create_dir_all(folder.path().join(FLUENT_BIT)).expect("a folder");
        for (file, last) in [("seq_index_0", "7"), ("seq_index_1", "41")] {
            std::fs::write(folder.path().join(FLUENT_BIT).join(file), last).expect("written");
        }
        assert_eq!(Names::of(&a).next_index().expect("an index"), 42);
    }

    #[test]
    fn a_key_is_new_once_also_after_a_torn_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = Names::of(&folder.path().join("s3.0"));
        assert!(names.is_new("/a").expect("noted"));
        assert!(!names.is_new("/a").expect("noted"));
        let path = folder.path().join(".keys");
        let mut bytes = std::fs::read(&path).expect("the keys");
        bytes.extend_from_slice(b"abc");
        std::fs::write(&path, bytes).expect("written");
        assert!(names.is_new("/b").expect("noted"));
        assert!(!names.is_new("/a").expect("noted") && !names.is_new("/b").expect("noted"));
    }
}
