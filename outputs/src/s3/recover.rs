//! What an earlier run left in `store_dir`.
//!
//! Owns: reading data files and journals, cutting torn ends, putting corrupt pieces aside. Never: deletes a byte that
//! was accepted. Invariant: what it gives is whole: each frame's checksum held.

use super::frames::{self, About, Kind, Step};
use super::journal::{Entry, State};
use super::store::{Extent, Object, sync_directory};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What was found.
pub(super) struct Found {
    pub(super) objects: Vec<Object>,
    /// The next number of an object.
    pub(super) next: u64,
}

/// Finds the objects of a directory, oldest first; they take no more records.
pub(super) fn objects(directory: &Path, tell: &dyn Fn(&str)) -> io::Result<Found> {
    let mut found = Found { objects: Vec::new(), next: 0 };
    let mut names: Vec<(u64, String)> = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some((number, kind)) = name.split_once('.') else { continue };
        let Ok(number) = u64::from_str_radix(number, 16) else { continue };
        found.next = found.next.max(number + 1);
        names.push((number, kind.to_owned()));
    }
    names.sort();
    for (number, kind) in &names {
        let path = directory.join(format!("{number:016x}.{kind}"));
        match kind.as_str() {
            "data" => found.objects.extend(object(directory, *number, &path, tell)?),
            "journal" if !names.contains(&(*number, "data".to_owned())) => std::fs::remove_file(path)?,
            "body" | "repair" => std::fs::remove_file(path)?,
            _ => {}
        }
    }
    // Numbers of what was put aside are not given again either: files there keep their names.
    for entry in std::fs::read_dir(directory.join("quarantine"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.split_once('.').and_then(|(number, _)| u64::from_str_radix(number, 16).ok());
        found.next = found.next.max(number.map_or(0, |number| number + 1));
    }
    Ok(found)
}

/// What a data file holds.
struct Scan {
    about: Option<About>,
    /// Where good frames end, before anything torn.
    end: u64,
    /// Bytes of records.
    raw: u64,
    /// Frames that changed.
    corrupt: usize,
    /// Something that is no frame follows.
    torn: bool,
}

fn object(directory: &Path, number: u64, path: &Path, tell: &dyn Fn(&str)) -> io::Result<Option<Object>> {
    let mut scan = scan(path)?;
    let length = std::fs::metadata(path)?.len();
    let Some(about) = scan.about.take() else {
        // Without a head nothing was accepted, or the file is broken from its first byte.
        if length > 0 {
            put_aside(directory, path, number, "data", tell)?;
        }
        std::fs::remove_file(path)?;
        return Ok(None);
    };
    let journal_path = directory.join(format!("{number:016x}.journal"));
    let journal = match std::fs::read(&journal_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let (mut state, clean) = State::read(&journal);
    if !clean {
        mend_journal(directory, number, &journal_path, &journal, tell)?;
    }
    if scan.corrupt > 0 {
        put_aside(directory, path, number, "data", tell)?;
        scan.end = rewrite(path)?;
        if state.upload.is_some() {
            append(&journal_path, &Entry::Reset)?;
            state.apply(Entry::Reset);
        }
    } else if scan.torn {
        cut_tail(directory, path, number, scan.end, tell)?;
    }
    // Parts beyond the data were made of frames that are gone: they are made again.
    if state.parts.last().is_some_and(|part| part.end > scan.end) {
        append(&journal_path, &Entry::Reset)?;
        state.apply(Entry::Reset);
    }
    if scan.raw == 0 {
        std::fs::remove_file(path)?;
        return Ok(None);
    }
    let extent = Extent { end: scan.end, raw: scan.raw, sealed: true };
    Ok(Some(Object::new(directory, number, about, extent, state)))
}

fn scan(path: &Path) -> io::Result<Scan> {
    let mut from = BufReader::new(File::open(path)?);
    let mut payload = Vec::new();
    let mut scan = Scan { about: None, end: 0, raw: 0, corrupt: 0, torn: false };
    loop {
        match frames::next(&mut from, &mut payload)? {
            Step::Frame(Kind::Head) if scan.about.is_none() => scan.about = About::read(&payload),
            Step::Frame(Kind::Head) => {}
            Step::Frame(Kind::Data) => scan.raw += payload.len() as u64,
            Step::Corrupt => scan.corrupt += 1,
            Step::Torn => {
                scan.torn = true;
                return Ok(scan);
            }
            Step::End => return Ok(scan),
        }
        scan.end += (frames::HEAD_BYTES + payload.len()) as u64;
    }
}

/// Writes a data file anew with its good frames; gives its length.
fn rewrite(path: &Path) -> io::Result<u64> {
    let repaired = path.with_extension("repair");
    let mut from = BufReader::new(File::open(path)?);
    let mut to = File::create(&repaired)?;
    let (mut payload, mut end) = (Vec::new(), 0);
    loop {
        match frames::next(&mut from, &mut payload)? {
            Step::Frame(kind) => {
                to.write_all(&frames::head(kind, &payload))?;
                to.write_all(&payload)?;
                end += (frames::HEAD_BYTES + payload.len()) as u64;
            }
            Step::Corrupt => {}
            Step::Torn | Step::End => break,
        }
    }
    to.sync_data()?;
    std::fs::rename(&repaired, path)?;
    path.parent().map_or(Ok(()), sync_directory)?;
    Ok(end)
}

/// Cuts what is no frame off a data file. A crash in the middle of a write leaves it; it was not accepted then. It is kept
/// all the same, as a damaged disk can leave the like.
fn cut_tail(directory: &Path, path: &Path, number: u64, end: u64, tell: &dyn Fn(&str)) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(end))?;
    file.read_to_end(&mut tail)?;
    let aside = free_name(directory, number, "tail");
    std::fs::write(&aside, &tail)?;
    file.set_len(end)?;
    file.sync_data()?;
    tell(&format!(
        "{} ended in {} bytes of an unfinished write: they are in {}",
        path.display(),
        tail.len(),
        aside.display()
    ));
    Ok(())
}

fn mend_journal(
    directory: &Path,
    number: u64,
    path: &Path,
    journal: &[u8],
    tell: &dyn Fn(&str),
) -> io::Result<()> {
    put_aside(directory, path, number, "journal", tell)?;
    let (mut good, mut rest) = (0, journal);
    while let Some(end) = memchr::memchr(b'\n', rest) {
        if !State::read(&journal[..good + end + 1]).1 {
            break;
        }
        good += end + 1;
        rest = &journal[good..];
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(good as u64)?;
    file.sync_data()
}

fn append(path: &Path, entry: &Entry) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(&entry.line())?;
    file.sync_data()
}

fn put_aside(directory: &Path, path: &Path, number: u64, kind: &str, tell: &dyn Fn(&str)) -> io::Result<()> {
    let aside = free_name(directory, number, &format!("{kind}.corrupt"));
    std::fs::copy(path, &aside)?;
    tell(&format!(
        "{} is corrupt: a copy is in {}; what can be read is sent",
        path.display(),
        aside.display()
    ));
    Ok(())
}

fn free_name(directory: &Path, number: u64, kind: &str) -> std::path::PathBuf {
    directory.join("quarantine").join(format!("{number:016x}.{kind}"))
}
