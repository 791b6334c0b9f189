//! Rotation by size: rename, compress, and keep a number of rotated files.
//!
//! Owns: the names of rotated files. Never: loses a file whose successor is not there yet.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// When a file is rotated, and what stays of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    /// Size in bytes that a file is rotated at.
    pub(super) size: u64,
    /// How many rotated files stay.
    pub(super) keep: usize,
    /// Whether they are compressed.
    pub(super) gzip: bool,
}

/// Renames the file to `<path>.YYYYMMDD_HHMMSS_xxxxxxxx` (UTC), compresses it where wanted, and removes the oldest
/// rotated files beyond the number to keep. An error means that the file is where it was.
pub(super) fn rotate(path: &Path, rotation: &Rotation) -> std::io::Result<()> {
    let mut rotated = path.as_os_str().to_owned();
    rotated.push(format!(".{}", suffix()));
    let rotated = PathBuf::from(rotated);
    std::fs::rename(path, &rotated)?;
    // From here on nothing is fatal: the data is safe under its new name.
    if rotation.gzip {
        compress(&rotated);
    }
    trim(path, rotation.keep);
    Ok(())
}

/// Date and time of the rotation and eight hexadecimal digits that keep names apart within a second.
fn suffix() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let random = std::hash::RandomState::new().build_hasher().finish() as u32;
    let (year, month, day) = crate::formats::civil((seconds / 86_400) as i64);
    let second = seconds % 86_400;
    format!(
        "{year:04}{month:02}{day:02}_{:02}{:02}{:02}_{random:08x}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Compresses into `<rotated>.gz` and removes the original; on any error the original stays.
fn compress(rotated: &Path) {
    let mut name = rotated.as_os_str().to_owned();
    name.push(".gz");
    let target = PathBuf::from(name);
    let copied = (|| {
        let mut source = File::open(rotated)?;
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&target)?, flate2::Compression::default());
        std::io::copy(&mut source, &mut encoder)?;
        encoder.finish()?.flush()
    })();
    // What cannot be removed is only space.
    drop(std::fs::remove_file(if copied.is_ok() { rotated } else { &target }));
}

/// Removes the oldest rotated files of `path` beyond `keep`.
fn trim(path: &Path, keep: usize) {
    let Some(base) = path.file_name() else { return };
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut rotated: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter(|entry| is_rotated(entry.file_name().as_encoded_bytes(), base.as_encoded_bytes()))
        .filter_map(|entry| {
            let meta = entry.metadata().ok().filter(|meta| meta.is_file())?;
            Some((meta.modified().ok()?, entry.path()))
        })
        .collect();
    rotated.sort();
    let surplus = rotated.len().saturating_sub(keep);
    for (_, path) in &rotated[..surplus] {
        drop(std::fs::remove_file(path));
    }
}

/// Whether `name` is a rotated file of `base`: a date and time, perhaps eight hexadecimal digits, perhaps `.gz`.
fn is_rotated(name: &[u8], base: &[u8]) -> bool {
    let Some(suffix) = name.strip_prefix(base).and_then(|rest| rest.strip_prefix(b".")) else { return false };
    let body = suffix.strip_suffix(b".gz").unwrap_or(suffix);
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    match body.len() {
        15 | 24 => {
            let hexadecimal =
                body.len() == 15 || (body[15] == b'_' && body[16..].iter().all(u8::is_ascii_hexdigit));
            digits(&body[..8]) && body[8] == b'_' && digits(&body[9..15]) && hexadecimal
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_are_recognised() {
        for name in [
            "a.log.20261121_134500",
            "a.log.20261121_134500.gz",
            "a.log.20261121_134500_0fA9b2c3",
            "a.log.20261121_134500_0fa9b2c3.gz",
        ] {
            assert!(is_rotated(name.as_bytes(), b"a.log"), "{name}");
        }
        for name in [
            "a.log",
            "a.log.1",
            "a.log.20261121_13450x",
            "a.log.20261121_134500_0fa9b2cz",
            "b.log.20261121_134500",
            "a.log.20261121_134500.bz2",
        ] {
            assert!(!is_rotated(name.as_bytes(), b"a.log"), "{name}");
        }
        assert!(is_rotated(format!("x.{}", suffix()).as_bytes(), b"x"));
    }
}
