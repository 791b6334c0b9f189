//! The classic grammar: `[SECTION]`, indented `Key value` lines, `@INCLUDE`, `@SET`.
//!
//! Owns: lines to sections, with Fluent Bit's rules of indentation. Never: stops at the first mistake.
//! Invariant: every entry stands in a section of a known name; the indentation of a file is that of its first entry.

use std::sync::Arc;

use super::reader::Reader;
use super::{Entry, Section, Span, nearest};

/// Every section name that some file may hold, in the form in which a [`Section`] carries it.
pub const SECTIONS: &[&str] = &[
    "service",
    "input",
    "filter",
    "output",
    "parser",
    "multiline_parser",
    "custom",
    "plugins",
    "env",
    "stream_processor",
    "stream_task",
    "upstream_servers",
    "upstream",
    "node",
];

/// Reads the text of one file into `reader`.
pub(super) fn parse(file: &Arc<str>, text: &str, reader: &mut Reader<'_>) {
    let mut lines = Lines { file, reader, indent: None, place: Place::None, current: 0 };
    for (index, line) in text.split('\n').enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        lines.line(number, line.strip_suffix('\r').unwrap_or(line));
    }
}

/// Where an entry goes.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// No section has begun.
    None,
    /// A section that is not known: its entries are passed over, the header was reported.
    Unknown,
    /// The current section.
    Section,
    /// The last group of the current section.
    Group,
    /// Variables.
    Env,
}

/// One file on its way through.
struct Lines<'l, 'r> {
    file: &'l Arc<str>,
    reader: &'l mut Reader<'r>,
    /// The white space before the first entry.
    indent: Option<String>,
    place: Place,
    /// Index of the section that this file began last; counts while `place` is `Section` or `Group`.
    current: usize,
}

impl Lines<'_, '_> {
    fn line(&mut self, number: u32, line: &str) {
        let trimmed = line.trim_start_matches([' ', '\t']);
        if trimmed.trim_end().is_empty() || trimmed.starts_with('#') {
            return;
        }
        match line.as_bytes()[0] {
            b'@' => self.command(number, line),
            b'[' => self.header(number, line),
            _ => self.content(number, line, trimmed),
        }
    }

    /// `@INCLUDE path` or `@SET name=value`.
    fn command(&mut self, number: u32, line: &str) {
        let span = self.span(number, line, 0);
        let (command, argument) = line[1..].split_once([' ', '\t']).unwrap_or((&line[1..], ""));
        let argument = argument.trim();
        if command.eq_ignore_ascii_case("include") {
            if argument.is_empty() {
                self.error(&span, "`@INCLUDE` without a path");
                return;
            }
            // The included file's last section ends with it: entries behind the include go on in `current`.
            self.reader.include(argument, &span, None);
        } else if command.eq_ignore_ascii_case("set") {
            match argument.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    let Reader { variables, source, diagnostics, .. } = &mut *self.reader;
                    variables.set(name, value, &span, *source, diagnostics);
                }
                _ => self.error(&span, &format!("`@SET {argument}` is not name=value")),
            }
        } else {
            let error = self.reader.diagnostics.error(&span, format!("unknown command `@{command}`"));
            if let Some(name) = nearest(command, ["INCLUDE", "SET"]) {
                error.help(format!("did you mean `@{name}`?"));
            }
        }
    }

    /// `[NAME]`.
    fn header(&mut self, number: u32, line: &str) {
        let span = self.span(number, line, 0);
        let name = match line.find(']') {
            Some(end) if end > 1 => line[1..end].trim(),
            _ => {
                self.place = Place::Unknown;
                self.error(&span, &format!("bad section header `{}`", line.trim_end()));
                return;
            }
        };
        let lower = name.to_ascii_lowercase();
        let singular = match lower.as_str() {
            "inputs" | "filters" | "outputs" | "customs" | "parsers" | "multiline_parsers" => {
                &lower[..lower.len() - 1]
            }
            other => other,
        };
        if !SECTIONS.contains(&singular) {
            self.place = Place::Unknown;
            let error = self.reader.diagnostics.error(&span, format!("unknown section `[{name}]`"));
            if let Some(near) = nearest(name, SECTIONS.iter().copied()) {
                error.help(format!("did you mean `[{}]`?", near.to_ascii_uppercase()));
            }
            return;
        }
        self.place = if singular == "env" { Place::Env } else { Place::Section };
        if self.place == Place::Section {
            self.current = self.reader.sections.len();
            self.reader.sections.push(Section::new(singular, span));
        }
    }

    /// An indented line: an entry, or the header of a group.
    fn content(&mut self, number: u32, line: &str, trimmed: &str) {
        let blank = &line[..line.len() - trimmed.len()];
        let key_span = self.span(number, line, blank.len());
        let deeper = match self.indentation(blank) {
            Ok(deeper) => deeper,
            Err(rule) => {
                let error = self.reader.diagnostics.error(&key_span, "invalid indentation level");
                error.help(format!("rule: {rule}"));
                return;
            }
        };
        if !deeper && self.place == Place::Group {
            self.place = Place::Section;
        }
        if trimmed.get(..9).is_some_and(|head| head.eq_ignore_ascii_case("@include ")) {
            let error =
                self.reader.diagnostics.error(&key_span, "`@INCLUDE` inside a section includes nothing");
            error.help("rule: `@INCLUDE` stands at the beginning of a line");
            return;
        }
        if trimmed.starts_with('[') {
            self.group(trimmed, key_span);
            return;
        }
        let Some((key, rest)) = trimmed.split_once(' ') else {
            let error = self
                .reader
                .diagnostics
                .error(&key_span, format!("undefined value for `{}`", trimmed.trim_end()));
            error.help("rule: a key, at least one space (a tab does not count), and a value");
            return;
        };
        let value = rest.trim_ascii();
        let lead = rest.len() - rest.trim_ascii_start().len();
        let value_span = self.span(number, line, blank.len() + key.len() + 1 + lead);
        if value.is_empty() {
            self.error(&key_span, &format!("key `{key}` has an empty value"));
            return;
        }
        let key = key.trim().to_owned();
        self.entry(Entry { key, value: value.to_owned(), key_span, value_span });
    }

    /// True when `blank` is twice the file's indentation (a group's content); an error when it is neither.
    fn indentation(&mut self, blank: &str) -> Result<bool, &'static str> {
        if blank.is_empty() {
            return Err("an entry is indented, below the header of its section");
        }
        let indent = self.indent.get_or_insert_with(|| blank.to_owned());
        match blank.strip_prefix(indent.as_str()) {
            Some("") => Ok(false),
            Some(extra) if extra.len() == indent.len() => Ok(true),
            Some(_) => Err("all entries of a file have the same indentation; this one has more"),
            None if indent.starts_with(blank) => {
                Err("all entries of a file have the same indentation; this one has less")
            }
            None => Err("all entries of a file have the same indentation; this one mixes tabs and spaces"),
        }
    }

    /// `[NAME]` inside a section: a section in the section.
    fn group(&mut self, header: &str, span: Span) {
        let Some(end) = header.find(']').filter(|end| *end > 1) else {
            self.error(&span, "expected a valid group name: [..]");
            return;
        };
        match (self.place, self.reader.sections.get_mut(self.current)) {
            (Place::Section | Place::Group, Some(section)) => {
                section.children.push(Section::new(header[1..end].trim(), span));
                self.place = Place::Group;
            }
            (Place::Unknown, _) => {}
            _ => self.error(&span, &format!("group `{}` stands outside of any section", header.trim_end())),
        }
    }

    fn entry(&mut self, entry: Entry) {
        match (self.place, self.reader.sections.get_mut(self.current)) {
            (Place::Unknown, _) => {}
            (Place::Env, _) => {
                let Reader { variables, source, diagnostics, .. } = &mut *self.reader;
                variables.set(&entry.key, &entry.value, &entry.value_span, *source, diagnostics);
            }
            (Place::Section, Some(section)) => section.entries.push(entry),
            (Place::Group, Some(section)) => match section.children.last_mut() {
                Some(group) => group.entries.push(entry),
                None => section.entries.push(entry),
            },
            _ => {
                let error = self
                    .reader
                    .diagnostics
                    .error(&entry.key_span, format!("key `{}` stands before any section", entry.key));
                error.help("rule: a file begins with a section header, such as `[SERVICE]`");
            }
        }
    }

    /// The place of the byte `at` in `line`.
    fn span(&self, number: u32, line: &str, at: usize) -> Span {
        let column = line.get(..at).map_or(at, |head| head.chars().count()) + 1;
        Span::new(self.file, number, u32::try_from(column).unwrap_or(u32::MAX))
    }

    fn error(&mut self, span: &Span, message: &str) {
        self.reader.diagnostics.error(span, message);
    }
}
