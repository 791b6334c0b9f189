//! Configuration files and environment variables of this machine.
//!
//! Owns: reading, real paths, patterns in file names. Never: knows what the text means.

use std::fs;
use std::io::ErrorKind;
use std::io::Read;

use codecs::conf::Source;

/// The disk and the environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskSource;

impl Source for DiskSource {
    fn read(&self, path: &str) -> Result<String, String> {
        match read_bounded(path) {
            Ok(bytes) if bytes.len() > FILE_BYTES_MAX => Err(format!(
                "it is larger than {} MiB, which no configuration is; name a smaller file",
                FILE_BYTES_MAX >> 20
            )),
            Ok(bytes) => Ok(String::from_utf8(bytes)
                .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Err("no such file or directory".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        glob(pattern)
    }

    fn env(&self, name: &str) -> Option<String> {
        let set = std::env::var_os(name)
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.is_empty());
        // A shell knows HOSTNAME without exporting it; Fluent Bit presets it, too.
        match name {
            "HOSTNAME" => {
                set.or_else(|| Some(rustix::system::uname().nodename().to_string_lossy().into_owned()))
            }
            _ => set,
        }
    }

    fn real_path(&self, path: &str) -> String {
        fs::canonicalize(path).map_or_else(|_| path.to_owned(), |real| real.to_string_lossy().into_owned())
    }
}

/// The largest configuration file.
const FILE_BYTES_MAX: usize = 16 << 20;

/// A file's bytes, as far as one byte beyond [`FILE_BYTES_MAX`]; of a device there may be no end.
fn read_bounded(path: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files that a pattern fits, sorted. `*`, `?` and `[…]` stand for parts of one name, never for `/`, and not for
/// the dot that begins a hidden name.
pub fn glob(pattern: &str) -> Vec<String> {
    let mut found = vec![if pattern.starts_with('/') { "/".to_owned() } else { String::new() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in &found {
            if !part.contains(['*', '?', '[']) {
                next.push(below(folder, part));
                continue;
            }
            let Ok(names) = fs::read_dir(if folder.is_empty() { "." } else { folder }) else { continue };
            for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
                if (part.starts_with('.') || !name.starts_with('.'))
                    && name_fits(part.as_bytes(), name.as_bytes())
                {
                    next.push(below(folder, &name));
                }
            }
        }
        found = next;
    }
    found.retain(|path| fs::metadata(path).is_ok());
    found.sort_unstable();
    found
}

fn below(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        "/" => format!("/{name}"),
        folder => format!("{folder}/{name}"),
    }
}

/// True when a name fits a pattern of `*`, `?`, `[abc]`, `[a-z]`, `[!…]` and `\x`.
pub fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last `*` did not fit: behind the star, one byte later.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match one(&pattern[p..], name[n]) {
            Some(0) => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(used) => {
                p += used;
                n += 1;
                continue;
            }
            None => {}
        }
        match &mut star {
            Some((behind, at)) => {
                *at += 1;
                (p, n) = (*behind, *at);
            }
            None => return false,
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// How much of the pattern's front stands for `byte`; `Some(0)` for a star.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'*', ..] => Some(0),
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', set @ ..] => {
            let (negated, set, skipped) = match set {
                [b'!' | b'^', rest @ ..] => (true, rest, 2),
                _ => (false, set, 1),
            };
            let Some(end) = set.iter().skip(1).position(|b| *b == b']').map(|at| at + 1) else {
                return (byte == b'[').then_some(1);
            };
            let (mut inside, mut at) = (false, 0);
            while at < end {
                if at + 2 < end && set[at + 1] == b'-' {
                    inside |= (set[at]..=set[at + 2]).contains(&byte);
                    at += 3;
                } else {
                    inside |= set[at] == byte;
                    at += 1;
                }
            }
            (inside != negated).then_some(skipped + end + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_refused() {
        let refused = DiskSource.read("/dev/zero").expect_err("it has no end");
        assert!(refused.contains("larger than 16 MiB"), "{refused}");
    }

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "axxbyybzc", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(name_fits(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }
}
