//! `${NAME}` in values: `@SET`, the YAML `env:` section, then the environment.
//!
//! Owns: replacement, with `${NAME:-default}`. Never: replaces in keys, or twice (a value that holds `${` stays as it is).
//! A multi-line `rule` is taken raw, as in Fluent Bit.

use super::{Diagnostics, Section, Source, Span};

/// Variables that the configuration itself defines; the last definition of a name counts.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    list: Vec<(String, String)>,
}

impl Variables {
    /// Defines a variable. A value `file://path` is the content of that file without its last line end.
    pub fn set(
        &mut self,
        name: &str,
        value: &str,
        span: &Span,
        source: &dyn Source,
        diagnostics: &mut Diagnostics,
    ) {
        let value = match value.strip_prefix("file://").filter(|path| !path.is_empty()) {
            None => value.to_owned(),
            Some(path) => match source.read(path) {
                Ok(text) => text.strip_suffix(['\n', '\r']).unwrap_or(&text).to_owned(),
                Err(why) => {
                    diagnostics.error(span, format!("variable `{name}`: cannot read `{path}`: {why}"));
                    return;
                }
            },
        };
        self.list.retain(|(known, _)| known != name);
        self.list.push((name.to_owned(), value));
    }

    /// The variables that the configuration defines, and their values.
    pub fn defined(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a variable: the configuration's own, else the environment's.
    pub fn get(&self, name: &str, source: &dyn Source) -> Option<String> {
        match self.list.iter().find(|(known, _)| known == name) {
            Some((_, value)) => Some(value.clone()),
            None => source.env(name).filter(|value| !value.is_empty()),
        }
    }

    /// `text` with every `${NAME}` and `${NAME:-default}` replaced; an unset name becomes nothing, with a warning.
    pub fn expand(
        &self,
        text: &str,
        span: &Span,
        source: &dyn Source,
        diagnostics: &mut Diagnostics,
    ) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start + 2..].find('}').filter(|length| *length > 0) else {
                // `${}` and an unclosed `${` stand for themselves.
                out.push_str(&rest[..start + 2]);
                rest = &rest[start + 2..];
                continue;
            };
            out.push_str(&rest[..start]);
            let inner = &rest[start + 2..start + 2 + length];
            rest = &rest[start + 3 + length..];
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            match (self.get(name, source), default) {
                (Some(value), Some(default)) if value.is_empty() => out.push_str(default),
                (Some(value), _) => out.push_str(&value),
                (None, Some(default)) => out.push_str(default),
                (None, None) => {
                    diagnostics.warning(span, format!("variable `${{{name}}}` is used but not set"));
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Replaces in all values of these sections and of those inside them.
    pub fn expand_sections(
        &self,
        sections: &mut [Section],
        source: &dyn Source,
        diagnostics: &mut Diagnostics,
    ) {
        for section in sections {
            let rules_are_raw = section.name == "multiline_parser";
            for entry in &mut section.entries {
                let raw = rules_are_raw && entry.key.eq_ignore_ascii_case("rule");
                if !raw && entry.value.contains("${") {
                    entry.value = self.expand(&entry.value, &entry.value_span, source, diagnostics);
                }
            }
            self.expand_sections(&mut section.children, source, diagnostics);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Memory;
    use super::*;

    #[test]
    fn variables_are_replaced() {
        let source = Memory::with(&[("key", "secret\n")]).and_env("A", "alpha").and_env("EMPTY", "");
        let (span, mut diagnostics) = (Span::new(&"t".into(), 1, 1), Diagnostics::default());
        let mut variables = Variables::default();
        variables.set("greeting", "hello there", &span, &source, &mut diagnostics);
        variables.set("blank", "", &span, &source, &mut diagnostics);
        variables.set("key", "file://key", &span, &source, &mut diagnostics);
        for (text, want, warnings) in [
            ("x-${A}-y", "x-alpha-y", 0),
            ("${A}${A}", "alphaalpha", 0),
            ("[${NOPE}]", "[]", 1),
            ("${EMPTY}", "", 1),
            ("${NOPE:-fall back}", "fall back", 0),
            ("${A:-no}", "alpha", 0),
            ("${blank:-yes}${blank}", "yes", 0),
            ("${greeting}!", "hello there!", 0),
            ("${key}", "secret", 0),
            ("$A {A} ${ ${}", "$A {A} ${ ${}", 0),
            (r#"{"a":{"b":"${A}"},"c":"${A}"}"#, r#"{"a":{"b":"alpha"},"c":"alpha"}"#, 0),
        ] {
            let mut found = Diagnostics::default();
            let got = variables.expand(text, &span, &source, &mut found);
            // `${ ${}`: the name is ` ${`, which nothing sets.
            if text.contains("${ ") {
                assert_eq!(got, "$A {A} ", "{text}");
                continue;
            }
            assert_eq!(got, want, "{text}");
            assert_eq!(found.list.len(), warnings, "{text}");
        }
        assert!(diagnostics.list.is_empty());
        variables.set("gone", "file://nothere", &span, &source, &mut diagnostics);
        assert!(diagnostics.has_errors());
    }
}
