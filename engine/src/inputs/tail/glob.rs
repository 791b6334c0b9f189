//! Shell patterns: which paths exist that a `Path` pattern names, and whether a path matches one.
//!
//! Owns: `*`, `?`, `[…]`, `\`, `~/`, as glob(3) and fnmatch(3) take them. Never: opens a file, keeps what it found.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// True when `name` matches the whole pattern. With `path_rules`, wildcards match neither a `/` nor a leading `.`.
pub(super) fn matches(pattern: &[u8], name: &[u8], path_rules: bool) -> bool {
    // Positions to fall back to: the pattern behind the last `*`, and the name where it tried to match.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let hidden = path_rules && name.get(n) == Some(&b'.') && (n == 0 || name[n - 1] == b'/');
        match pattern.get(p) {
            None if n == name.len() => return true,
            Some(b'*') if !hidden => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            // A hidden name must be named: its dot in the pattern, too.
            Some(b'*') => {}
            Some(_) if n < name.len() => {
                if let Some(next) = one(&pattern[p..], name[n], hidden, path_rules) {
                    p += next;
                    n += 1;
                    continue;
                }
            }
            _ => {}
        }
        match star {
            Some((after, at)) if at < name.len() && !(path_rules && name[at] == b'/') => {
                star = Some((after, at + 1));
                (p, n) = (after, at + 1);
            }
            _ => return false,
        }
    }
}

/// Length of the pattern's first item when it matches `byte`.
fn one(pattern: &[u8], byte: u8, hidden: bool, path_rules: bool) -> Option<usize> {
    let wild_ok = !(hidden || path_rules && byte == b'/');
    match *pattern.first()? {
        b'?' => wild_ok.then_some(1),
        b'[' => match class(pattern, byte) {
            Some((length, hit)) => (hit && wild_ok).then_some(length),
            None => (byte == b'[').then_some(1),
        },
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// A bracket expression at the start of `pattern`: its length, and whether `byte` is in it; `None` when it never ends.
fn class(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let (mut at, mut hit) = (first, false);
    loop {
        let low = match *pattern.get(at)? {
            b']' if at > first => return Some((at + 1, hit != negated)),
            b'\\' => {
                at += 1;
                *pattern.get(at)?
            }
            low => low,
        };
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                hit |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                hit |= low == byte;
                at += 1;
            }
        }
    }
}

/// A `Path` pattern, cut at its slashes.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// As configured, `~/` replaced.
    text: Vec<u8>,
    /// Where the walk starts: `/`, or `` for a relative pattern.
    root: PathBuf,
    parts: Vec<Vec<u8>>,
}

/// What a walk tells while it runs.
pub(super) trait Visitor {
    /// A folder in which names are looked up; `last` when they are the files themselves.
    fn folder(&mut self, path: &Path, last: bool);
    /// A path that matches (of any file type).
    fn found(&mut self, path: PathBuf);
    /// A folder that exists and cannot be listed.
    fn unreadable(&mut self, path: &Path, error: &std::io::Error);
}

impl Pattern {
    /// Compiles a pattern; `home` replaces a leading `~`.
    pub(super) fn new(text: &str, home: Option<&OsStr>) -> Self {
        let text = match (text.strip_prefix('~'), home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                [home.as_bytes(), rest.as_bytes()].concat()
            }
            _ => text.as_bytes().to_vec(),
        };
        let root = PathBuf::from(if text.starts_with(b"/") { "/" } else { "" });
        let parts = text.split(|&b| b == b'/').filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect();
        Pattern { text, root, parts }
    }

    /// True when the path matches.
    pub(super) fn matches(&self, path: &Path) -> bool {
        matches(&self.text, path.as_os_str().as_bytes(), true)
    }

    /// True when the path may be a folder on the way to what the pattern names.
    pub(super) fn leads_over(&self, path: &Path) -> bool {
        let parts: Vec<&[u8]> =
            path.as_os_str().as_bytes().split(|&b| b == b'/').filter(|p| !p.is_empty()).collect();
        parts.len() < self.parts.len()
            && parts.iter().zip(&self.parts).all(|(name, part)| matches(part, name, true))
    }

    /// Walks the file system, folders in byte order.
    pub(super) fn walk(&self, visitor: &mut dyn Visitor) {
        self.step(&self.root, 0, visitor);
    }

    fn step(&self, folder: &Path, depth: usize, visitor: &mut dyn Visitor) {
        let Some(part) = self.parts.get(depth) else { return };
        let last = depth + 1 == self.parts.len();
        if let Some(name) = literal(part) {
            let path = folder.join(OsString::from_vec(name));
            match path.symlink_metadata() {
                Ok(_) if last => {
                    visitor.folder(folder, true);
                    visitor.found(path);
                }
                Ok(_) => self.step(&path, depth + 1, visitor),
                // Something may appear here later.
                Err(_) => visitor.folder(folder, last),
            }
            return;
        }
        visitor.folder(folder, last);
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let names = std::fs::read_dir(here).and_then(|entries| {
            entries
                .map(|e| {
                    e.map(|e| (e.file_name(), e.file_type().map_or(true, |t| t.is_dir() || t.is_symlink())))
                })
                .collect::<Result<Vec<_>, _>>()
        });
        let mut names = match names {
            Ok(names) => names,
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                return;
            }
            Err(e) => return visitor.unreadable(here, &e),
        };
        names.retain(|(name, walkable)| (last || *walkable) && matches(part, name.as_bytes(), true));
        names.sort_unstable();
        for (name, _) in names {
            match last {
                true => visitor.found(folder.join(name)),
                false => self.step(&folder.join(name), depth + 1, visitor),
            }
        }
    }
}

/// The name that a part without wildcards stands for.
fn literal(part: &[u8]) -> Option<Vec<u8>> {
    if part.iter().any(|b| matches!(b, b'*' | b'?' | b'[')) {
        return None;
    }
    let (mut name, mut bytes) = (Vec::with_capacity(part.len()), part.iter());
    while let Some(&b) = bytes.next() {
        name.push(match b {
            b'\\' => *bytes.next().unwrap_or(&b'\\'),
            b => b,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_the_shell() {
        for (pattern, name, path_rules, expected) in [
            ("*.log", "a.log", true, true),
            ("*.log", ".log", true, false),
            ("*.log", ".log", false, true),
            ("*.log", "d/a.log", true, false),
            ("*.log", "d/a.log", false, true),
            ("a?c", "abc", true, true),
            ("a?c", "a/c", true, false),
            ("a[b-d]e", "ace", true, true),
            ("a[!b-d]e", "ace", true, false),
            ("a[]x]e", "a]e", true, true),
            ("a[", "a[", true, true),
            (r"a\*b", "a*b", true, true),
            (r"a\*b", "axb", true, false),
            ("/v/*/x*.log", "/v/p/xy.log", true, true),
            ("/v/*/x*.log", "/v/p/q/xy.log", true, false),
            ("*a*a*b", "aaaaaaaaaaaaaaaaaaac", true, false),
            ("", "", true, true),
            ("*", "", true, true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes(), path_rules),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[derive(Default)]
    struct Found(Vec<PathBuf>, Vec<(PathBuf, bool)>);

    impl Visitor for Found {
        fn folder(&mut self, path: &Path, last: bool) {
            self.1.push((path.to_owned(), last));
        }
        fn found(&mut self, path: PathBuf) {
            self.0.push(path);
        }
        fn unreadable(&mut self, _: &Path, _: &std::io::Error) {}
    }

    #[test]
    fn a_walk_finds_files_and_names_the_folders_to_watch() {
        let dir = crate::testing::ScratchDir::new();
        for path in ["a/1.log", "a/2.txt", "b/1.log", ".c/1.log", "1.log"] {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, "x").expect("file");
        }
        let pattern = Pattern::new(&format!("{}/*/*.log", dir.path().display()), None);
        let mut found = Found::default();
        pattern.walk(&mut found);
        assert_eq!(found.0, [dir.join("a/1.log"), dir.join("b/1.log")]);
        assert_eq!(found.1, [(dir.path().to_owned(), false), (dir.join("a"), true), (dir.join("b"), true)]);
        assert!(pattern.matches(&dir.join("z/9.log")) && !pattern.matches(&dir.join("9.log")));

        let mut missing = Found::default();
        Pattern::new(&format!("{}/later/*.log", dir.path().display()), None).walk(&mut missing);
        assert_eq!((missing.0.len(), missing.1), (0, vec![(dir.path().to_owned(), false)]));
    }
}
