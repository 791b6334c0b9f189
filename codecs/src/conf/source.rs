//! Where configuration text, file names and environment variables come from.
//!
//! Owns: the seam between the grammars and the world. Never: touches a disk or the environment itself.

/// Files and environment, as the grammars see them. The engine's is the disk; tests use [`Memory`].
pub trait Source {
    /// The text of a file; the error is the reason alone, without the path (`no such file or directory`).
    fn read(&self, path: &str) -> Result<String, String>;

    /// The files that a pattern with `*`, `?` or `[…]` fits, in any order.
    fn glob(&self, pattern: &str) -> Vec<String>;

    /// A variable of the environment; an empty one counts as unset, as in Fluent Bit.
    fn env(&self, name: &str) -> Option<String>;

    /// One text for one file, whatever name leads to it: links resolved, absolute.
    fn real_path(&self, path: &str) -> String {
        path.to_owned()
    }
}

/// A source held in memory: for tests, fuzzing and text that has no file.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Path and text.
    pub files: Vec<(String, String)>,
    /// Name and value.
    pub env: Vec<(String, String)>,
}

impl Memory {
    /// A source with these files.
    pub fn with(files: &[(&str, &str)]) -> Self {
        Memory { files: files.iter().map(|(p, t)| (p.to_string(), t.to_string())).collect(), env: Vec::new() }
    }

    /// The same with one more variable.
    pub fn and_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Source for Memory {
    fn read(&self, path: &str) -> Result<String, String> {
        let found = self.files.iter().find(|(name, _)| name == path.trim_start_matches("./"));
        found.map(|(_, text)| text.clone()).ok_or_else(|| "no such file or directory".to_owned())
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        let pattern = pattern.trim_start_matches("./");
        self.files.iter().map(|(name, _)| name).filter(|name| star_fits(pattern, name)).cloned().collect()
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.clone())
    }
}

/// A pattern whose only wildcard is `*`.
fn star_fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
