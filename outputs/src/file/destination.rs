//! Which file a record goes to.
//!
//! Owns: `path` and `file`, names made from tags, times and records, their limits and fallbacks. Never: opens a file.
//! Invariant: what a record says never leaves the directory that stands before its first placeholder.

use super::name::Name;
use super::{Action, Options};
use codecs::Bump;
use codecs::record::Record;
use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

/// Where records go.
pub(super) enum Destination {
    /// One file for all, or one for each tag.
    Tag { directory: Option<String>, file: Option<String> },
    /// Files named by what is in the records.
    Record(Box<ByRecord>),
}

impl Destination {
    /// Reads `path` and `file`; the error names the option that is wrong.
    pub(super) fn new(options: &Options) -> Result<Self, (&'static str, String)> {
        let directory = options.path.as_ref().map(|text| text.0.clone());
        let file = options.file.as_ref().map(|text| text.0.clone());
        let made = |text: &Option<String>| {
            let timed = |text: &str| options.enable_strftime.0 && text.contains('%');
            text.as_ref().is_some_and(|text| text.contains('$') || timed(text))
        };
        if !made(&directory) && !made(&file) {
            return Ok(Destination::Tag { directory, file });
        }
        ByRecord::new(options, directory.as_deref(), file.as_deref())
            .map(|it| Destination::Record(Box::new(it)))
    }

    /// The file of a tag.
    pub(super) fn of_tag(&self, tag: &str) -> PathBuf {
        let Destination::Tag { directory, file } = self else { return PathBuf::from(sanitized(tag)) };
        let name = file.clone().unwrap_or_else(|| sanitized(tag));
        match directory {
            // Joined as text: a `file` that begins with a slash stays below `path`.
            Some(directory) => PathBuf::from(format!("{directory}/{name}")),
            None => PathBuf::from(name),
        }
    }
}

/// Names made from records.
pub(super) struct ByRecord {
    directory: Option<Name>,
    file: Option<Name>,
    on_missing_field: Action,
    on_limit_reached: Action,
    fallback: Vec<u8>,
    /// At most so many different names; 0 means no limit.
    names_max: usize,
    names: RwLock<HashSet<Box<[u8]>>>,
}

thread_local! {
    /// Names are put together here, so that no record costs an allocation.
    static NAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl ByRecord {
    fn new(
        options: &Options,
        directory: Option<&str>,
        file: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        if directory.is_some_and(|text| text.starts_with('$')) {
            let rule =
                "`path` begins with a placeholder; it needs a directory of its own before the first one";
            return Err(("path", rule.to_owned()));
        }
        let Some(fallback) = &options.fallback_file else {
            return Err((
                "fallback_file",
                "`fallback_file` is needed when file names are made from records or times".to_owned(),
            ));
        };
        let fallback = match &options.fallback_path {
            Some(directory) => format!("{}/{}", directory.0, fallback.0),
            None => fallback.0.clone(),
        };
        let name = |key: &'static str, text: Option<&str>| {
            let parsed = text.map(|text| {
                Name::parse(text, options.enable_strftime.0)
                    .map_err(|rule| (key, format!("`{key}` is `{text}`: {rule}")))
            });
            parsed.transpose()
        };
        let rule = |_| ("max_dynamic_files", "`max_dynamic_files` is below 0".to_owned());
        Ok(ByRecord {
            directory: name("path", directory)?,
            file: name("file", file)?,
            on_missing_field: options.on_missing_field,
            on_limit_reached: options.on_limit_reached,
            fallback: fallback.into_bytes(),
            names_max: usize::try_from(options.max_dynamic_files.0).map_err(rule)?,
            names: RwLock::new(HashSet::new()),
        })
    }

    /// Hands the name of the record's file to `use_it`; false when the record has none and is to be dropped.
    pub(super) fn of_record(
        &self,
        tag: &str,
        record: &Record<'_>,
        arena: &Bump,
        use_it: impl FnOnce(&[u8]),
    ) -> bool {
        NAME.with_borrow_mut(|name| {
            name.clear();
            let action = match self.write(tag, record, arena, name) {
                false => Some(self.on_missing_field),
                true if !self.admit(name) => Some(self.on_limit_reached),
                true => None,
            };
            match action {
                None => use_it(name),
                Some(Action::Fallback) => use_it(&self.fallback),
                Some(Action::Error | Action::Drop) => return false,
            }
            true
        })
    }

    /// Puts the name together; false when a field is missing or the name would not be safe.
    fn write(&self, tag: &str, record: &Record<'_>, arena: &Bump, name: &mut Vec<u8>) -> bool {
        if let Some(directory) = &self.directory {
            if !directory.write(tag, record, arena, name) || (directory.varies() && !is_safe_path(name)) {
                return false;
            }
            name.push(b'/');
        }
        let start = name.len();
        match &self.file {
            None => name.extend_from_slice(sanitized(tag).as_bytes()),
            Some(file) => {
                return file.write(tag, record, arena, name)
                    && (!file.varies() || is_safe_file(&name[start..]));
            }
        }
        true
    }

    /// Whether the name is known or may still become known.
    fn admit(&self, name: &[u8]) -> bool {
        if self.names_max == 0 || self.names.read().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return true;
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.contains(name) || (names.len() < self.names_max && names.insert(name.into()))
    }
}

fn is_safe_path(path: &[u8]) -> bool {
    !path.is_empty()
        && !path.iter().any(u8::is_ascii_control)
        && !path.split(|b| matches!(b, b'/' | b'\\')).any(|part| part == b"." || part == b"..")
}

fn is_safe_file(file: &[u8]) -> bool {
    let bad = |b: &u8| b.is_ascii_control() || br#"/\:*?"<>|"#.contains(b);
    !file.is_empty() && file != b"." && file != b".." && !file.iter().any(bad)
}

/// The tag as a safe relative path: letters, digits, `-`, `_`, `.` and single slashes; `.` and `..` become `_`.
fn sanitized(tag: &str) -> String {
    let mut name = String::with_capacity(tag.len());
    for component in tag.split(['/', '\\']).filter(|component| !component.is_empty()) {
        if !name.is_empty() {
            name.push('/');
        }
        match component {
            "." | ".." => name.push('_'),
            // Byte by byte, so that a character beyond ASCII becomes as many `_` as in Fluent Bit.
            component => name.extend(component.bytes().map(|b| match b {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' => char::from(b),
                _ => '_',
            })),
        }
    }
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_safe_names() {
        for (tag, name) in [
            ("app.x", "app.x"),
            ("kube.var.log.containers.a_b-c.log", "kube.var.log.containers.a_b-c.log"),
            ("../../etc/passwd", "_/_/etc/passwd"),
            ("/a//b\\c/", "a/b/c"),
            ("a b:c*é", "a_b_c___"),
            ("", "_"),
            ("///", "_"),
            (".", "_"),
            ("...", "..."),
        ] {
            assert_eq!(sanitized(tag), name, "{tag}");
        }
    }

    #[test]
    fn what_a_record_says_stays_in_its_directory() {
        for (path, safe) in [
            ("/logs/a", true),
            ("/logs/../etc", false),
            ("/logs/a/..", false),
            ("/logs/..a", true),
            ("a\nb", false),
            ("", false),
        ] {
            assert_eq!(is_safe_path(path.as_bytes()), safe, "{path}");
        }
        for (file, safe) in [
            ("a.log", true),
            ("a/b", false),
            ("..", false),
            ("a:b", false),
            ("", false),
            ("a\u{7f}", false),
            ("é", true),
        ] {
            assert_eq!(is_safe_file(file.as_bytes()), safe, "{file}");
        }
    }
}
