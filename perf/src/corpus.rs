//! Log files: made once per size, the same bytes on every machine.
//!
//! Owns: what lines look like. Never: runs an engine.
//! Invariant: a corpus depends on its name, its size and [`VERSION`] only; a test holds each to a checksum.

use crate::clock::Moment;
use crate::rng::Rng;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// To be raised with any change of the bytes: old files are then made anew, and old records tell that they differ.
pub(crate) const VERSION: u32 = 1;

/// What the lines of a corpus are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corpus {
    /// Words without a structure, 512 bytes a line.
    Plain,
    /// JSON lines of an application.
    App,
    /// JSON of many shapes: nested, escaped, non-ASCII, keys that come and go, one line in a hundred broken.
    Mixed,
    /// Access log of nginx.
    Nginx,
    /// Container log in CRI form, JSON inside.
    Cri,
    /// Java log with stack traces.
    Java,
}

/// Files of a corpus and what is in them.
pub(crate) struct Made {
    /// Where they lie.
    pub(crate) folder: PathBuf,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Their lines.
    pub(crate) lines: u64,
}

const WORDS: &[&str] = &[
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "while",
    "request",
    "handler",
    "processed",
    "payload",
    "for",
    "tenant",
    "and",
    "wrote",
    "result",
    "to",
    "cache",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "curl/7.88.1",
];
const LEVELS: &[&str] = &["INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"];

impl Corpus {
    /// Its name, for folders.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Corpus::Plain => "plain",
            Corpus::App => "app",
            Corpus::Mixed => "mixed",
            Corpus::Nginx => "nginx",
            Corpus::Cri => "cri",
            Corpus::Java => "java",
        }
    }

    /// What follows the last line of a file: a multi-line group ends when the next begins.
    fn tail(self) -> &'static str {
        if self == Corpus::Java { "end of file\n" } else { "" }
    }

    /// Appends entry number `index` with its newline.
    pub(crate) fn write(self, rng: &mut Rng, index: u64, out: &mut Vec<u8>) {
        match self {
            Corpus::Plain => plain(rng, index, out),
            Corpus::App => put(out, format_args!("{}\n", app(rng, index))),
            Corpus::Mixed => put(out, format_args!("{}\n", mixed(rng, index))),
            Corpus::Nginx => put(out, format_args!("{}\n", nginx(rng, index))),
            Corpus::Cri => {
                let stream = rng.pick(&["stdout", "stderr"]);
                put(
                    out,
                    format_args!(
                        "{} {stream} F {}\n",
                        Moment::of_line(index).iso_nanos(index % 1000),
                        app(rng, index)
                    ),
                );
            }
            Corpus::Java => java(rng, index, out),
        }
    }

    /// The files, made where they are not there yet: `files` of them, together about `megabytes` MiB.
    pub(crate) fn make(self, data: &Path, megabytes: u64, files: usize) -> std::io::Result<Made> {
        let folder = data.join(format!("{}-{megabytes}mib-{files}-v{VERSION}", self.name()));
        let done = folder.join("done");
        if !done.exists() {
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            std::fs::create_dir_all(&folder)?;
            let (mut rng, mut index) = (Rng::named(self.name()), 0);
            for file in 0..files {
                self.make_file(
                    &folder.join(format!("{file:02}.log")),
                    (megabytes << 20) / files as u64,
                    &mut rng,
                    &mut index,
                )?;
            }
            std::fs::write(&done, "")?;
        }
        let mut made = Made { folder, bytes: 0, lines: 0 };
        for file in 0..files {
            // Counting also brings the file into the page cache, so that no run pays for the disk.
            let (bytes, lines) = count(&made.folder.join(format!("{file:02}.log")))?;
            made.bytes += bytes;
            made.lines += lines;
        }
        Ok(made)
    }

    fn make_file(self, path: &Path, bytes: u64, rng: &mut Rng, index: &mut u64) -> std::io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
        let (mut written, mut entry) = (0, Vec::new());
        while written < bytes {
            entry.clear();
            self.write(rng, *index, &mut entry);
            *index += 1;
            written += entry.len() as u64;
            file.write_all(&entry)?;
        }
        file.write_all(self.tail().as_bytes())?;
        file.flush()
    }
}

/// Bytes and newlines of a file.
fn count(path: &Path) -> std::io::Result<(u64, u64)> {
    use std::io::Read;
    let (mut file, mut buffer, mut bytes, mut lines) = (std::fs::File::open(path)?, vec![0; 1 << 18], 0, 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, lines));
        }
        bytes += read as u64;
        lines += buffer[..read].iter().filter(|b| **b == b'\n').count() as u64;
    }
}

fn plain(rng: &mut Rng, index: u64, out: &mut Vec<u8>) {
    let start = out.len();
    put(out, format_args!("{index:08} "));
    while out.len() < start + 511 {
        put(out, format_args!("{} ", rng.pick(WORDS)));
    }
    out.truncate(start + 511);
    out.push(b'\n');
}

/// Fields of an application's line: key and JSON text.
fn app_fields(rng: &mut Rng, index: u64) -> Vec<(&'static str, String)> {
    let message =
        format!("Processed request {index} for user {} in {} ms", rng.range(1, 99_999), rng.range(1, 900));
    vec![
        ("timestamp", quoted(&Moment::of_line(index).iso_millis())),
        ("level", quoted(rng.pick(LEVELS))),
        ("logger", format!("\"com.example.Service{}\"", index % 50)),
        ("message", quoted(&message)),
        ("trace_id", format!("\"{:016x}{:016x}\"", rng.next(), rng.next())),
    ]
}

fn app(rng: &mut Rng, index: u64) -> String {
    let fields = app_fields(rng, index);
    // One writer in four puts blanks after separators.
    object(&fields, rng.range(0, 3) == 0)
}

fn mixed(rng: &mut Rng, index: u64) -> String {
    if index % 100 == 99 {
        return r#"{"level":"INFO","message":"cut in the mi"#.to_owned();
    }
    let mut fields = app_fields(rng, index);
    if index.is_multiple_of(4) {
        fields.pop();
    }
    if index.is_multiple_of(5) {
        fields[3].1 = format!(r#""said \"{}\"\n\tat line\\{index}""#, rng.pick(WORDS));
    }
    if index.is_multiple_of(3) {
        let status = rng.pick(&["200", "404", "500"]);
        let headers = r#"{"host": "a.example", "x": [1, 2, {"y": null}]}"#;
        fields.push(("http", format!(r#"{{"method": "GET", "status": {status}, "headers": {headers}}}"#)));
    }
    if index.is_multiple_of(11) {
        // Raw UTF-8 in half of them, escapes in the others.
        let place =
            if index.is_multiple_of(22) { "Zürich – 東京" } else { r"Z\u00fcrich \u2013 \u6771\u4eac" };
        fields.push(("ort", format!("\"{place} {index}\"")));
    }
    if index.is_multiple_of(2) {
        let sign = if rng.range(0, 1) == 0 { "-" } else { "" };
        fields.push(("n", format!("{sign}{}", rng.range(1, 1_000_000_000_000))));
        fields.push(("ok", (index & 4 != 0).to_string()));
    }
    object(&fields, true)
}

fn nginx(rng: &mut Rng, index: u64) -> String {
    let address =
        format!("{}.{}.{}.{}", rng.range(1, 223), rng.range(0, 255), rng.range(0, 255), rng.range(1, 254));
    let path = match rng.range(0, 4) {
        0 => "/".to_owned(),
        1 => "/index.html".to_owned(),
        2 => format!("/api/v1/users/{index}"),
        3 => "/static/app.js".to_owned(),
        _ => format!("/search?q={index}+a%20b"),
    };
    let (user, method) = (rng.pick(&["-", "-", "alice"]), rng.pick(&["GET", "GET", "POST"]));
    let (code, size) = (rng.pick(&["200", "200", "200", "304", "404", "500"]), rng.range(100, 50_000));
    let (referer, agent) = (rng.pick(&["-", "https://example.com/"]), rng.pick(AGENTS));
    let time = Moment::of_line(index).access_log();
    format!(r#"{address} - {user} [{time}] "{method} {path} HTTP/1.1" {code} {size} "{referer}" "{agent}""#)
}

fn java(rng: &mut Rng, index: u64, out: &mut Vec<u8>) {
    let time = Moment::of_line(index).java();
    put(
        out,
        format_args!(
            "{time} ERROR request {index} failed\njava.lang.IllegalStateException: state {index} is not open\n"
        ),
    );
    for _ in 0..6 {
        let (module, method, line) = (rng.range(1, 9), rng.range(1, 99), rng.range(1, 900));
        put(
            out,
            format_args!("    at com.example.module{module}.Service.method{method}(Service.java:{line})\n"),
        );
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn object(fields: &[(&str, String)], blanks: bool) -> String {
    let (comma, colon) = if blanks { (", ", ": ") } else { (",", ":") };
    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\"{colon}{value}")).collect();
    format!("{{{}}}", fields.join(comma))
}

/// Formats onto bytes, which cannot fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Digest;

    const ALL: [Corpus; 6] =
        [Corpus::Plain, Corpus::App, Corpus::Mixed, Corpus::Nginx, Corpus::Cri, Corpus::Java];

    fn first(corpus: Corpus, entries: u64) -> Vec<u8> {
        let (mut rng, mut out) = (Rng::named(corpus.name()), Vec::new());
        (0..entries).for_each(|index| corpus.write(&mut rng, index, &mut out));
        out
    }

    /// A change of the bytes needs a new [`VERSION`], else records would be compared that are not alike.
    #[test]
    fn bytes_are_stable() {
        let sums: Vec<_> = ALL.map(|c| format!("{} {}", c.name(), Digest::of(&first(c, 1000)))).into();
        assert_eq!(sums.join("\n"), include_str!("../checksums.txt").trim_end());
    }

    #[test]
    fn json_is_json_but_for_the_broken_lines() {
        for (corpus, broken) in [(Corpus::App, 0), (Corpus::Mixed, 10)] {
            let text = first(corpus, 1000);
            let bad = text
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty() && serde_json::from_slice::<serde_json::Value>(l).is_err());
            assert_eq!(bad.count(), broken, "{}", corpus.name());
        }
    }

    #[test]
    fn lines_have_their_shape() {
        let cri = String::from_utf8(first(Corpus::Cri, 2)).expect("text");
        assert!(cri.starts_with("2026-01-15T00:00:00.000000000Z std"), "{cri}");
        assert!(cri.contains(" F {\"timestamp\":") || cri.contains(" F {\"timestamp\": "), "{cri}");
        assert!(first(Corpus::Plain, 3).split_inclusive(|b| *b == b'\n').all(|l| l.len() == 512));
        assert_eq!(first(Corpus::Java, 5).iter().filter(|b| **b == b'\n').count(), 40);
    }

    #[test]
    fn files_are_made_once_and_counted() {
        let data = std::env::temp_dir().join(format!("ripsaw-perf-test-{}", std::process::id()));
        let made = Corpus::Java.make(&data, 1, 2).expect("made");
        assert!(made.bytes >= 1 << 20 && made.bytes < (1 << 20) + 2000, "{}", made.bytes);
        assert_eq!(made.lines % 8, 2, "whole entries of eight lines, and one line more in each file");
        let again = Corpus::Java.make(&data, 1, 2).expect("there");
        assert_eq!((again.bytes, again.lines), (made.bytes, made.lines));
        std::fs::remove_dir_all(&data).expect("removed");
    }
}
