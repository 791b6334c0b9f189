//! The YAML grammar: `service`, `pipeline`, `parsers`, `includes`, `env`, …
//!
//! Owns: documents to the same sections that the classic grammar makes. Never: gives a scalar a type (`on` and `5M`
//! stay text; the option tables decide).
//! Invariant: a map inside a plugin becomes a child section, a list of scalars becomes repeated entries.

use std::sync::Arc;

use super::reader::{Reader, folder_of};
use super::yaml_tree::{Kind, Map, Node, documents};
use super::{Entry, Section, Span, nearest};

/// The keys that may stand at the top of a file.
const TOP: &[&str] = &[
    "service",
    "pipeline",
    "includes",
    "env",
    "parsers",
    "multiline_parsers",
    "plugins",
    "customs",
    "upstream_servers",
    "stream_processor",
    "extensions",
];

/// Reads the text of one file into `reader`.
pub(super) fn parse(file: &Arc<str>, text: &str, reader: &mut Reader<'_>) {
    let roots = match documents(file, text) {
        Ok(roots) => roots,
        Err((span, message)) => {
            reader.diagnostics.error(&span, message);
            return;
        }
    };
    let mut yaml = Yaml { file, reader };
    for root in &roots {
        let Some(map) = yaml.map(root, "the file") else { continue };
        yaml.note_repeats(map, |key| key != "service", "is there again: what stands in either counts");
        for (key, span, node) in map {
            yaml.top(key, span, node);
        }
    }
}

struct Yaml<'y, 'r> {
    file: &'y Arc<str>,
    reader: &'y mut Reader<'r>,
}

impl Yaml<'_, '_> {
    fn top(&mut self, key: &str, span: &Span, node: &Node) {
        match key.to_ascii_lowercase().as_str() {
            "service" => {
                if self.reader.sections.iter().any(|s| s.name == "service") {
                    self.error(span, "`service` is defined twice".to_owned());
                }
                self.plain("service", span, node);
            }
            "pipeline" => self.pipeline(node),
            "includes" => self.includes(node),
            "env" => self.env(node),
            "parsers" => self.list("parser", "parsers", node),
            "multiline_parsers" => self.list("multiline_parser", "multiline_parsers", node),
            "customs" => self.list("custom", "customs", node),
            "stream_processor" => self.list("stream_task", "stream_processor", node),
            "upstream_servers" => self.list("upstream", "upstream_servers", node),
            "plugins" => self.plugins(span, node),
            "extensions" => {
                self.reader.diagnostics.note(span, "`extensions` has no effect: no extension exists");
            }
            _ => {
                let error = self.reader.diagnostics.error(span, format!("unknown section `{key}`"));
                if let Some(near) = nearest(key, TOP.iter().copied()) {
                    error.help(format!("did you mean `{near}`?"));
                }
            }
        }
    }

    /// Tells of keys of a map that stand in it before, as far as `which` takes them.
    fn note_repeats(&mut self, map: &Map, which: impl Fn(&str) -> bool, what: &str) {
        let mut seen = std::collections::HashMap::new();
        for (key, span, _) in map.iter().filter(|(key, _, _)| which(key)) {
            if let Some(first) = seen.insert(key.to_ascii_lowercase(), span) {
                let text = format!("`{key}` {what}");
                self.reader.diagnostics.warning(span, text).help(format!("it is at {first} already"));
            }
        }
    }

    fn pipeline(&mut self, node: &Node) {
        const LISTS: [(&str, &str); 3] = [("inputs", "input"), ("filters", "filter"), ("outputs", "output")];
        let Some(map) = self.map(node, "pipeline") else { return };
        for (key, span, items) in map {
            match LISTS.iter().find(|(name, _)| key.eq_ignore_ascii_case(name)) {
                Some((name, section)) => self.list(section, name, items),
                None => {
                    let error =
                        self.reader.diagnostics.error(span, format!("pipeline: unknown list `{key}`"));
                    if let Some(near) = nearest(key, LISTS.iter().map(|(name, _)| *name)) {
                        error.help(format!("did you mean `{near}`?"));
                    }
                }
            }
        }
    }

    /// A list of maps: one section for each.
    fn list(&mut self, section: &str, what: &str, node: &Node) {
        match &node.kind {
            Kind::List(items) => {
                for item in items {
                    self.plain(section, &item.span, item);
                }
            }
            Kind::Text(text) if text.is_empty() => {}
            _ => self.error(&node.span, format!("`{what}` is not a list")),
        }
    }

    /// One section from one map.
    fn plain(&mut self, name: &str, span: &Span, node: &Node) {
        let Some(map) = self.map(node, name) else { return };
        let mut section = Section::new(name, span.clone());
        self.fill(&mut section, map);
        self.reader.sections.push(section);
    }

    /// The entries and children of a section.
    fn fill(&mut self, section: &mut Section, map: &Map) {
        for (key, span, node) in map {
            let name = snake_case(key);
            match (section.name.as_str(), name.as_str()) {
                ("input" | "filter" | "output", "processors") => self.processors(section, node),
                ("multiline_parser", "rules") => self.rules(section, span, node),
                ("upstream", "nodes") => self.children(section, "node", span, node),
                _ => self.member(section, &name, span, node),
            }
        }
    }

    fn member(&mut self, section: &mut Section, name: &str, span: &Span, node: &Node) {
        match &node.kind {
            Kind::Text(text) => section.entries.push(entry(name, text, span, &node.span)),
            Kind::Map(_) => self.children(section, name, span, node),
            Kind::List(items) => {
                for item in items {
                    match &item.kind {
                        Kind::Text(text) => section.entries.push(entry(name, text, span, &item.span)),
                        Kind::Map(_) => self.children(section, name, &item.span, item),
                        Kind::List(_) => {
                            self.error(&item.span, format!("`{name}` holds a list inside a list"))
                        }
                    }
                }
            }
        }
    }

    /// A map, or a list of maps, as sections inside a section.
    fn children(&mut self, section: &mut Section, name: &str, span: &Span, node: &Node) {
        let items = match &node.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for item in items {
            let Some(map) = self.map(item, name) else { continue };
            let span =
                if items.len() == 1 && !matches!(node.kind, Kind::List(_)) { span } else { &item.span };
            let mut child = Section::new(name, span.clone());
            self.fill(&mut child, map);
            section.children.push(child);
        }
    }

    /// `processors: {logs: [...], metrics: [...]}` as children `processor.logs`, …
    fn processors(&mut self, section: &mut Section, node: &Node) {
        const KINDS: [&str; 3] = ["logs", "metrics", "traces"];
        let Some(map) = self.map(node, "processors") else { return };
        for (key, span, list) in map {
            match KINDS.iter().find(|kind| key.eq_ignore_ascii_case(kind)) {
                Some(kind) => self.children(section, &format!("processor.{kind}"), span, list),
                None => self
                    .error(span, format!("unknown kind of processors `{key}`: one of logs, metrics, traces")),
            }
        }
    }

    /// `rules:` of a multi-line parser, as the classic grammar writes them: `rule "state" "regex" "next"`.
    fn rules(&mut self, section: &mut Section, span: &Span, node: &Node) {
        let Kind::List(items) = &node.kind else {
            self.error(&node.span, "`rules` is not a list".to_owned());
            return;
        };
        for item in items {
            let Some(map) = self.map(item, "rule") else { continue };
            let mut parts = [None, None, None];
            for (key, key_span, value) in map {
                let at = ["state", "regex", "next_state"].iter().position(|name| snake_case(key) == *name);
                match (at, &value.kind) {
                    (Some(at), Kind::Text(text)) => parts[at] = Some(text.as_str()),
                    (Some(_), _) => self.error(&value.span, format!("`{key}` of a rule is not text")),
                    (None, _) => self.error(
                        key_span,
                        format!("unknown key `{key}` in a rule: one of state, regex, next_state"),
                    ),
                }
            }
            match parts {
                [Some(state), Some(regex), next] => {
                    let quoted = [state, regex, next.unwrap_or("")]
                        .map(|part| format!("\"{}\"", part.replace('"', "\\\"")));
                    section.entries.push(entry("rule", &quoted.join(" "), span, &item.span));
                }
                _ => self.error(&item.span, "a rule needs `state` and `regex`".to_owned()),
            }
        }
    }

    /// `env:` as a map of names, or as a list of `{name, value}`.
    fn env(&mut self, node: &Node) {
        let Kind::List(items) = &node.kind else {
            let Some(map) = self.map(node, "env") else { return };
            self.note_repeats(map, |_| true, "is set again: this one counts");
            for (name, span, value) in map {
                match &value.kind {
                    Kind::Text(text) => self.variable(name, text, span),
                    _ => self.error(&value.span, format!("variable `{name}` is not text")),
                }
            }
            return;
        };
        for item in items {
            let mut section = Section::new("env", item.span.clone());
            let Some(map) = self.map(item, "env") else { continue };
            self.fill(&mut section, map);
            let value = section.get("uri").or_else(|| section.get("value")).map_or("", |e| e.value.as_str());
            match section.get("name") {
                Some(name) => self.variable(&name.value, value, &item.span),
                None => self.error(&item.span, "a variable needs a `name`".to_owned()),
            }
            if let Some(interval) = section.get("refresh_interval") {
                self.reader.diagnostics.note(
                    &interval.key_span,
                    "`refresh_interval` has no effect: variables are read when the configuration is",
                );
            }
        }
    }

    fn variable(&mut self, name: &str, value: &str, span: &Span) {
        let Reader { variables, source, diagnostics, .. } = &mut *self.reader;
        variables.set(name, value, span, *source, diagnostics);
    }

    fn includes(&mut self, node: &Node) {
        let folder = folder_of(self.file).to_owned();
        for (path, span) in self.texts(node, "includes") {
            self.reader.include(&path, &span, Some(&folder));
        }
    }

    fn plugins(&mut self, span: &Span, node: &Node) {
        let mut section = Section::new("plugins", span.clone());
        for (path, at) in self.texts(node, "plugins") {
            section.entries.push(entry("path", &path, &at, &at));
        }
        self.reader.sections.push(section);
    }

    /// A list of texts; one text alone counts as a list of one.
    fn texts(&mut self, node: &Node, what: &str) -> Vec<(String, Span)> {
        let items = match &node.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.kind {
                Kind::Text(text) if text.is_empty() => {}
                Kind::Text(text) => texts.push((text.clone(), item.span.clone())),
                _ => self.error(&item.span, format!("`{what}` is not a list of names")),
            }
        }
        texts
    }

    /// The members of a map; nothing at all counts as an empty one.
    fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Map> {
        const EMPTY: &Map = &Vec::new();
        match &node.kind {
            Kind::Map(map) => Some(map),
            Kind::Text(text) if text.is_empty() => Some(EMPTY),
            _ => {
                self.error(&node.span, format!("`{what}` is not a map of keys and values"));
                None
            }
        }
    }

    fn error(&mut self, span: &Span, message: String) {
        self.reader.diagnostics.error(span, message);
    }
}

fn entry(key: &str, value: &str, key_span: &Span, value_span: &Span) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.trim_ascii().to_owned(),
        key_span: key_span.clone(),
        value_span: value_span.clone(),
    }
}

/// `camelCase` as `camel_case`. A key that begins with a capital stays as it is; one with `_` is only lower-cased.
/// Both as in Fluent Bit.
fn snake_case(key: &str) -> String {
    if !key.starts_with(|c: char| c.is_ascii_lowercase()) {
        return key.to_owned();
    }
    if key.contains('_') {
        return key.to_ascii_lowercase();
    }
    let mut out = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
