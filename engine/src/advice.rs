//! Advice: what is valid and yet cannot do what it was written for.
//!
//! Owns: warnings of dry-run that need the whole plan. Never: refuses anything.

use crate::config::{Config, Matcher};
use crate::plan::Plan;
use codecs::conf::{Diagnostics, Entry, Section};
use codecs::regex::Regex;

/// Warns of all that is found.
pub fn give(plan: &Plan, config: &Config, diagnostics: &mut Diagnostics) {
    unreached(plan, config, diagnostics);
    excluding(plan, config, diagnostics);
}

/// Warns of filters and outputs that no tag can reach, as far as tags are known before the start.
fn unreached(plan: &Plan, config: &Config, diagnostics: &mut Diagnostics) {
    let tags: Vec<&str> =
        plan.inputs.iter().flat_map(|i| i.configured.tags.iter().map(String::as_str)).collect();
    let known = tags.iter().all(|t| !t.contains('*'));
    if !known || tags.is_empty() || plan.inputs.len() != config.inputs.len() {
        return;
    }
    let reached = |m: &Matcher| m.is_empty() || tags.iter().any(|t| m.fits(t));
    let all = plan.filters.iter().map(|f| ("filter", &f.name, &f.matcher)).zip(&config.filters);
    let all = all.chain(plan.outputs.iter().map(|o| ("output", &o.name, &o.matcher)).zip(&config.outputs));
    for ((kind, name, matcher), section) in all {
        if !reached(matcher) {
            let span =
                section.get("match").or(section.get("match_regex")).map_or(&section.span, |e| &e.value_span);
            let pattern =
                section.get("match").or(section.get("match_regex")).map_or("", |e| e.value.as_str());
            diagnostics
                .warning(span, format!("{kind} {name}: no tag reaches `{pattern}`"))
                .help(format!("tags of the inputs: {}", tags.join(", ")));
        }
    }
}

/// Warns of two grep filters on one way that no value fits both of: two greps in a row are an "and".
fn excluding(plan: &Plan, config: &Config, diagnostics: &mut Diagnostics) {
    let tags: Vec<&str> =
        plan.inputs.iter().flat_map(|i| i.configured.tags.iter().map(String::as_str)).collect();
    let both = |a: &Matcher, b: &Matcher| tags.iter().any(|t| a.fits(t) && b.fits(t));
    let greps: Vec<_> = plan
        .filters
        .iter()
        .zip(&config.filters)
        .filter(|(filter, _)| filter.plugin == "grep")
        .filter_map(|(filter, section)| Some((filter, Wanted::of(section)?)))
        .collect();
    for (at, (second, wants)) in greps.iter().enumerate() {
        let first = greps[..at].iter().find(|(first, wanted)| {
            wanted.key.eq_ignore_ascii_case(wants.key)
                && both(&first.matcher, &second.matcher)
                && wanted.excludes(wants)
        });
        if let Some((first, wanted)) = first {
            let message = format!(
                "filter {}: nothing gets here: filter {} ({}) lets only values of `{}` through that do not fit `{}`",
                second.name, first.name, wanted.entry.value_span, wants.key, wants.pattern
            );
            diagnostics.warning(&wants.entry.value_span, message).help(
                "two grep filters in a row are an \"and\"; give each its own tag with rewrite_tag, or one grep with `Logical_Op or`",
            );
        }
    }
}

/// What a grep of one `Regex` rule wants of a key.
struct Wanted<'s> {
    entry: &'s Entry,
    key: &'s str,
    pattern: &'s str,
    /// One of these stands in every value that fits.
    literals: Vec<Vec<u8>>,
}

impl Wanted<'_> {
    fn of(section: &Section) -> Option<Wanted<'_>> {
        let mut rules = section.all("regex");
        let (Some(entry), None, None) = (rules.next(), rules.next(), section.get("exclude")) else {
            return None;
        };
        let (key, pattern) = entry.value.trim().split_once(char::is_whitespace)?;
        let literals = Regex::new(pattern.trim()).ok()?.literals()?;
        Some(Wanted { entry, key, pattern: pattern.trim(), literals })
    }

    /// True when the literals of the two have nothing in common, so that a value with one of each would be a strange one.
    fn excludes(&self, other: &Wanted<'_>) -> bool {
        let within = |a: &[u8], b: &[u8]| memchr::memmem::find(a, b).is_some();
        let pairs = self.literals.iter().flat_map(|a| other.literals.iter().map(move |b| (a, b)));
        pairs.into_iter().all(|(a, b)| !a.is_empty() && !b.is_empty() && !within(a, b) && !within(b, a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{self, Machine};
    use codecs::conf::source::Memory;

    /// What is told of a pipeline of these filters.
    fn told(filters: &str) -> Vec<String> {
        let text = format!("[INPUT]\n  Name dummy\n  Tag app.x\n{filters}[OUTPUT]\n  Name null\n  Match *\n");
        let source = Memory::with(&[("case.conf", text.as_str())]);
        let mut diagnostics = Diagnostics::default();
        let config = crate::config::load(Some("case.conf"), &[], &source, &mut diagnostics);
        let machine = Machine { cpus: 1, memory: None, zones: |_| None };
        assert!(plan::compile(&config, &machine, &mut diagnostics).is_ok());
        diagnostics.list.iter().map(ToString::to_string).collect()
    }

    fn grep(matches: &str, rule: &str) -> String {
        format!("[FILTER]\n  Name grep\n  Match {matches}\n  {rule}\n")
    }

    #[test]
    fn two_greps_that_exclude_each_other_are_told() {
        let errors = grep("app.*", "Regex level (ERROR|FATAL)");
        let found = told(&(errors.clone() + &grep("app.*", "Regex level (INFO|DEBUG|WARN)")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("case.conf:11:9: warning: filter grep.1: nothing gets here"),
            "{found:?}"
        );
        assert!(found[0].contains("case.conf:7:9"), "{found:?}");
        for other in [
            grep("app.*", "Regex level (FATAL|WARN)"),
            grep("app.*", "Regex log (INFO|DEBUG)"),
            grep("other", "Regex level INFO"),
            grep("app.*", "Exclude level INFO"),
            grep("app.*", "Regex level ."),
        ] {
            let found = told(&(errors.clone() + &other));
            assert!(!found.iter().any(|f| f.contains("nothing gets here")), "{found:?}");
        }
    }

    #[test]
    fn what_no_tag_reaches_is_told() {
        let found = told(&grep("web.*", "Regex a b"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("no tag reaches `web.*`") && found[0].contains("app.x"), "{found:?}");
    }
}
