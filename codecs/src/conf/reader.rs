//! Reads a configuration file and everything it includes, in either grammar.
//!
//! Owns: which file an include names, that no file is read twice, the limit on files. Never: what a section means.
//! Variables are replaced when everything is read, so a `@SET` counts wherever it stands, as in Fluent Bit.

use std::sync::Arc;

use super::{Diagnostics, Section, Source, Span, Variables, classic, yaml};

/// How many files one configuration may consist of. Fluent Bit's own limit.
pub const FILES_MAX: usize = 1000;
/// How deep includes may nest; bounds the stack.
pub const DEPTH_MAX: usize = 64;

/// What a file and its includes hold.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Sections in the order of the text, variables replaced.
    pub sections: Vec<Section>,
    /// What `@SET` and `env:` defined.
    pub variables: Variables,
}

/// The two grammars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// `[SECTION]` and `Key value`.
    Classic,
    /// YAML.
    Yaml,
}

impl Grammar {
    /// The grammar of a file, by its extension: `.yaml` and `.yml` are YAML, all else is classic.
    pub fn of(path: &str) -> Self {
        match path.rsplit_once('.') {
            Some((_, end)) if end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml") => {
                Grammar::Yaml
            }
            _ => Grammar::Classic,
        }
    }
}

/// Reads `path` with its includes. Everything that is wrong lands in `diagnostics`, all of it in one run.
pub fn read(path: &str, source: &dyn Source, diagnostics: &mut Diagnostics) -> Document {
    read_with(path, None, Variables::default(), source, diagnostics)
}

/// The same, with a folder that relative names fall back to (that of the main file) and variables already defined:
/// for a `Parsers_File`. `named_at` in the folder's pair is where the file was asked for.
pub fn read_with(
    path: &str,
    asked: Option<(&str, &Span)>,
    variables: Variables,
    source: &dyn Source,
    diagnostics: &mut Diagnostics,
) -> Document {
    let (main, asked_at) = match asked {
        Some((main, span)) => (main, span.clone()),
        None => (path, Span::new(&Arc::from(path), 0, 0)),
    };
    let root = folder_of(main).to_owned();
    let real_root = folder_of(&source.real_path(main)).to_owned();
    let mut reader = Reader {
        source,
        diagnostics,
        variables,
        sections: Vec::new(),
        seen: Vec::new(),
        root,
        real_root,
        depth: 0,
    };
    match asked {
        Some(_) => reader.include(path, &asked_at, None),
        None => match source.read(path) {
            Ok(text) => {
                reader.seen.push(source.real_path(path));
                reader.text(path, &text);
            }
            Err(why) => {
                reader.diagnostics.error(&asked_at, format!("cannot open `{path}`: {why}"));
            }
        },
    }
    let Reader { mut sections, variables, diagnostics, .. } = reader;
    variables.expand_sections(&mut sections, source, diagnostics);
    Document { sections, variables }
}

/// What both grammars share while they read.
pub(super) struct Reader<'r> {
    pub(super) source: &'r dyn Source,
    pub(super) diagnostics: &'r mut Diagnostics,
    pub(super) variables: Variables,
    pub(super) sections: Vec<Section>,
    /// Real paths of the files read so far.
    seen: Vec<String>,
    /// The main file's folder as the user named it (empty: the current one), and with links resolved.
    root: String,
    real_root: String,
    depth: usize,
}

impl Reader<'_> {
    /// Reads text that was found under `name`.
    fn text(&mut self, name: &str, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file: Arc<str> = Arc::from(name);
        self.depth += 1;
        match Grammar::of(name) {
            Grammar::Classic => classic::parse(&file, text, self),
            Grammar::Yaml => yaml::parse(&file, text, self),
        }
        self.depth -= 1;
    }

    /// Reads an included file, or all files that a pattern with `*` fits. `folder`: where YAML looks (beside the
    /// including file); `None`: where classic looks (the current folder, then that of the main file).
    pub(super) fn include(&mut self, path: &str, span: &Span, folder: Option<&str>) {
        if path.contains('*') {
            let pattern = match folder {
                Some(folder) => join(folder, path),
                None => join(&self.root, path),
            };
            let mut found = self.source.glob(&pattern);
            found.sort_unstable();
            if found.is_empty() {
                self.diagnostics.error(span, format!("include: no such file: nothing fits `{path}`"));
            }
            for path in found {
                self.include_found(&path, &path, span);
            }
            return;
        }
        let tries = match folder {
            Some(folder) => vec![join(folder, path)],
            None => vec![path.to_owned(), join(&self.root, path), join(&self.real_root, path)],
        };
        let found = tries.iter().find(|path| self.source.read(path).is_ok()).unwrap_or(&tries[0]);
        self.include_found(path, found, span);
    }

    /// Reads one included file, once.
    fn include_found(&mut self, named: &str, path: &str, span: &Span) {
        let text = match self.source.read(path) {
            Ok(text) => text,
            Err(why) => {
                self.diagnostics.error(span, format!("cannot open `{named}`: {why}"));
                return;
            }
        };
        let real = self.source.real_path(path);
        if self.seen.contains(&real) {
            self.diagnostics.error(span, format!("`{named}` is already included"));
            return;
        }
        if self.seen.len() >= FILES_MAX || self.depth >= DEPTH_MAX {
            self.diagnostics
                .error(span, format!("`{named}` is not read: too many files"))
                .help(format!("rule: at most {FILES_MAX} files, nested at most {DEPTH_MAX} deep"));
            return;
        }
        self.seen.push(real);
        self.text(path, &text);
    }
}

/// A relative path below a folder.
fn join(folder: &str, path: &str) -> String {
    match folder {
        _ if path.starts_with('/') => path.to_owned(),
        "" => path.to_owned(),
        folder if folder.ends_with('/') => format!("{folder}{path}"),
        folder => format!("{folder}/{path}"),
    }
}

/// What stands before the last `/`, with it.
pub(super) fn folder_of(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..=at])
}
