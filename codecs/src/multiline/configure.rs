//! `[MULTILINE_PARSER]` sections to compiled parsers.
//!
//! Owns: the option table, the grammar of `rule`, what is wrong with either. Never: reads files.

use super::rules::{Rules, Source, states_without_rule};
use super::{FLUSH_MS, Format, Kind, Multiline};
use crate::conf::options::{Repeats, check_names, check_repeats, first_counts};
use crate::conf::values::{Bool, Int, Text, split_quoted};
use crate::conf::{Diagnostics, Section, nearest};
use crate::parsers::Parser;
use std::collections::HashMap;
use std::sync::Arc;

crate::choice! {
    /// What says that a record is whole.
    pub enum Type {
        /// Regex rules with states.
        Regex "regex",
        /// A line that ends with `match_string`.
        EndsWith "endswith",
        /// A line that is `match_string`.
        Equal "equal" | "eq",
    }
}

crate::options! {
    /// Joins lines that belong together into one record.
    pub struct Options {
        /// What inputs and filters call it by; a built-in parser of the same name gives way to it.
        name "name": Opt<Text>,
        /// What says that a record is whole: regex rules, the end of a line, or a line.
        kind "type": Opt<Type>,
        /// The text that `endswith` and `equal` look for.
        match_string "match_string": Opt<Text>,
        /// Turn `endswith` and `equal` round: a line that does not match ends the record.
        negate "negate": One<Bool> = "false",
        /// The parser that takes each line apart first; `key_content` then names the field to join.
        parser "parser": Opt<Text>,
        /// Key of the content.
        key_content "key_content": Opt<Text>,
        /// Key by which lines are kept apart, as `stream` for stdout and stderr.
        key_group "key_group": Opt<Text>,
        /// Key of what `match_string` is compared with, in place of the content.
        key_pattern "key_pattern": Opt<Text>,
        /// How long lines wait for more, in milliseconds; at least 500.
        flush_timeout "flush_timeout": One<Int> = "4000",
        /// A rule: `"state, ..." "/expression/" "next state"`. The first must come from `start_state`.
        rule "rule": Many<Text>,
    }
}

impl Multiline {
    /// Compiles a section; `parsers` are the `[PARSER]`s by name. Reports what is wrong, and then gives `None`.
    pub fn configure(
        section: &Section,
        parsers: &HashMap<String, Arc<Parser>>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Multiline> {
        check_names(section, "multiline_parser", &[Options::TABLE], diagnostics);
        check_repeats(section, "multiline_parser", Options::TABLE, Repeats::FirstCounts, diagnostics);
        let section = &first_counts(section, Options::TABLE);
        let options = Options::read(section, "multiline_parser", diagnostics);
        let Some(Text(name)) = options.name.clone() else {
            diagnostics.error(&section.span, "multiline_parser: `name` is missing");
            return None;
        };
        let owner = format!("multiline_parser {name}");
        let kind = kind(section, &options, &owner, diagnostics);
        let format = format(section, &options, &owner, parsers, diagnostics);
        let (kind, format) = (kind?, format?);
        let bytes = |text: &Option<Text>| text.as_ref().map(|t| t.0.as_bytes().into());
        // Zero and less mean the default, as in Fluent Bit.
        let flush_timeout_ms =
            u64::try_from(options.flush_timeout.0).ok().filter(|&ms| ms > 0).unwrap_or(FLUSH_MS);
        Some(Multiline {
            key_content: bytes(&options.key_content),
            key_group: bytes(&options.key_group),
            key_pattern: bytes(&options.key_pattern),
            flush_timeout_ms,
            ..Multiline::new(&name, format, kind)
        })
    }
}

fn kind(section: &Section, options: &Options, owner: &str, diagnostics: &mut Diagnostics) -> Option<Kind> {
    let Some(kind) = options.kind else {
        if section.get("type").is_none() {
            diagnostics
                .error(&section.span, format!("{owner}: `type` is missing"))
                .help("rule: one of regex, endswith, equal");
        }
        return None;
    };
    let negate = options.negate.0;
    if kind == Type::Regex {
        return rules(section, owner, diagnostics).map(|rules| Kind::Rules(Box::new(rules)));
    }
    let Some(Text(text)) = &options.match_string else {
        diagnostics.error(&section.span, format!("{owner}: `match_string` is missing"));
        return None;
    };
    let text = text.as_bytes().into();
    Some(if kind == Type::Equal { Kind::Equal { text, negate } } else { Kind::EndsWith { text, negate } })
}

fn format(
    section: &Section,
    options: &Options,
    owner: &str,
    parsers: &HashMap<String, Arc<Parser>>,
    diagnostics: &mut Diagnostics,
) -> Option<Format> {
    let Some(Text(name)) = &options.parser else { return Some(Format::Text) };
    let found =
        parsers.get(name).or_else(|| parsers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|p| p.1));
    let span = section.get("parser").map_or(&section.span, |e| &e.value_span);
    if options.key_content.is_none() {
        diagnostics
            .warning(
                span,
                format!("{owner}: `parser` is {name}, but `key_content` is missing: no line is joined"),
            )
            .help("name the field that holds the line in `key_content`");
    }
    if found.is_none() {
        let error =
            diagnostics.error(span, format!("{owner}: `parser` is `{name}`, there is none of that name"));
        if let Some(near) = nearest(name, parsers.keys().map(String::as_str)) {
            error.help(format!("did you mean `{near}`?"));
        }
    }
    found.map(|parser| Format::Parser(parser.clone()))
}

fn rules(section: &Section, owner: &str, diagnostics: &mut Diagnostics) -> Option<Rules> {
    let entries: Vec<_> = section.all("rule").collect();
    let mut sources = Vec::new();
    for entry in &entries {
        match split_quoted(&entry.value).as_slice() {
            [from, pattern, to, ..] => sources.push(Source::new(from, pattern, Some(to))),
            [from, pattern] => sources.push(Source::new(from, pattern, None)),
            _ => {
                diagnostics
                    .error(&entry.value_span, format!("{owner}: `rule` is `{}`", entry.value))
                    .help("rule: \"state\" \"/expression/\" \"next state\"");
                return None;
            }
        }
    }
    for state in states_without_rule(&sources) {
        let leads = |s: &Source| s.to.as_deref() == Some(state);
        let span = sources.iter().position(leads).map_or(&section.span, |at| &entries[at].value_span);
        diagnostics.note(
            span,
            format!(
                "{owner}: no rule comes from the state `{state}`: a line that leads to it ends the record"
            ),
        );
    }
    Rules::new(&sources)
        .map_err(|(at, message)| {
            let span = entries.get(at).map_or(&section.span, |e| &e.value_span);
            diagnostics.error(span, format!("{owner}: `rule` number {} is refused: {message}", at + 1));
        })
        .ok()
}
