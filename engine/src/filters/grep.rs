//! `grep`: keeps or drops records by patterns on their values.
//!
//! Owns: rules and how they combine. Never: changes a record. Only strings can match; numbers, booleans, maps do not.

use super::pattern::Pattern;
use super::{Context, Filter, FilterContext, Outcome, Plugin, Prefilter, words};
use codecs::accessor::Accessor;
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Entry, Section};
use codecs::record::Record;
use std::sync::Arc;

codecs::choice! {
    /// How several rules combine.
    pub enum LogicalOp { Legacy "legacy", And "and", Or "or" }
}

codecs::options! {
    /// Keeps or drops records whose values fit a pattern.
    pub struct Options {
        /// `KEY PATTERN`: keeps records whose value at KEY fits.
        regex "Regex": Many<Text>,
        /// `KEY PATTERN`: drops records whose value at KEY fits.
        exclude "Exclude": Many<Text>,
        /// `legacy`: the first rule that decides counts; `and`, `or`: all, or any, of the rules fit (of one kind only).
        logical_op "Logical_Op": One<LogicalOp> = "legacy",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Keep,
    Exclude,
}

struct Rule {
    kind: Kind,
    key: Accessor,
    pattern: Pattern,
}

/// The rules of one filter, in the order of the text.
struct Rules {
    op: LogicalOp,
    rules: Vec<Rule>,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "grep", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let (mut rules, mut complete) = (Vec::new(), true);
    for entry in &section.entries {
        let kind = match entry.key.to_ascii_lowercase().as_str() {
            "regex" => Kind::Keep,
            "exclude" => Kind::Exclude,
            _ => continue,
        };
        match rule(kind, entry, context.name, diagnostics) {
            Some(rule) => rules.push(rule),
            None => complete = false,
        }
    }
    let op = options.logical_op;
    if op != LogicalOp::Legacy && rules.windows(2).any(|pair| pair[0].kind != pair[1].kind) {
        diagnostics
            .error(&section.span, format!("{}: `logical_op` combines `regex` with `exclude`", context.name))
            .help("rule: with `and` or `or` all rules are of one kind; use two grep filters");
        return None;
    }
    complete.then(|| Arc::new(Rules { op, rules }) as Arc<dyn Filter>)
}

/// Reads `KEY PATTERN`.
fn rule(kind: Kind, entry: &Entry, owner: &str, diagnostics: &mut Diagnostics) -> Option<Rule> {
    let option = entry.key.to_ascii_lowercase();
    let Some((key, text)) = words::key_and_rest(&entry.value) else {
        let message = format!("{owner}: `{option}` is `{}`", entry.value);
        diagnostics
            .error(&entry.value_span, message)
            .help("rule: a key and a pattern, with a space between them");
        return None;
    };
    if text.starts_with(' ') {
        let message =
            format!("{owner}: the pattern of `{option}` begins with a space, which it will look for");
        diagnostics.warning(&entry.value_span, message).help("put one space between the key and the pattern");
    }
    let accessor = Accessor::parse(key).map_err(|rule| format!("the key `{key}`: {rule}"));
    let pattern = Pattern::new(text).map_err(|rule| format!("the pattern `{text}`: {rule}"));
    match (accessor, pattern) {
        (Ok(key), Ok(pattern)) => Some(Rule { kind, key, pattern }),
        (accessor, pattern) => {
            for error in accessor.err().into_iter().chain(pattern.err()) {
                diagnostics.error(&entry.value_span, format!("{owner}: `{option}`: {error}"));
            }
            None
        }
    }
}

impl Rule {
    fn fits<'a>(&self, record: &Record<'a>, context: &mut FilterContext<'a, '_>) -> bool {
        let value = self.key.get(&record.fields, context.arena);
        value.and_then(|v| v.as_text()).is_some_and(|text| self.pattern.is_match(text, context.parsing))
    }
}

impl Rules {
    fn keeps<'a>(&self, record: &Record<'a>, context: &mut FilterContext<'a, '_>) -> bool {
        let kind = match self.rules.first() {
            Some(rule) => rule.kind,
            None => return true,
        };
        let found = match self.op {
            LogicalOp::Legacy => return self.keeps_legacy(record, context),
            LogicalOp::And => self.rules.iter().all(|rule| rule.fits(record, context)),
            LogicalOp::Or => self.rules.iter().any(|rule| rule.fits(record, context)),
        };
        found == (kind == Kind::Keep)
    }

    /// The first `Regex` decides either way; an `Exclude` before it can only drop. What stands behind the first `Regex`
    /// is never looked at, as in Fluent Bit.
    fn keeps_legacy<'a>(&self, record: &Record<'a>, context: &mut FilterContext<'a, '_>) -> bool {
        for rule in &self.rules {
            match (rule.kind, rule.fits(record, context)) {
                (Kind::Keep, fits) => return fits,
                (Kind::Exclude, true) => return false,
                (Kind::Exclude, false) => {}
            }
        }
        true
    }

    /// The rules that a record must pass: all of the first list, or (`Or`) one of them.
    fn needed(&self) -> impl Iterator<Item = &Rule> {
        let many = if self.op == LogicalOp::Legacy { 1 } else { usize::MAX };
        self.rules.iter().filter(|rule| rule.kind == Kind::Keep).take(many)
    }
}

/// What one rule needs.
fn prefilter_of(rule: &Rule) -> Option<Prefilter> {
    let literals = rule.pattern.required_literals()?;
    Some(Prefilter { keys: rule.key.keys().map(<[u8]>::to_vec).collect(), literals })
}

impl Filter for Rules {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        if self.keeps(record, context) { Outcome::Keep } else { Outcome::Drop }
    }

    fn prefilter(&self) -> Option<Prefilter> {
        let shortest = |p: &Prefilter| p.literals.iter().map(Vec::len).min();
        match self.op {
            LogicalOp::Legacy | LogicalOp::And => self.needed().filter_map(prefilter_of).max_by_key(shortest),
            LogicalOp::Or => self.needed().map(prefilter_of).reduce(|a, b| {
                let (mut a, b) = (a?, b?);
                a.keys.extend(b.keys);
                a.literals.extend(b.literals);
                Some(a)
            })?,
        }
    }

    fn changes_records(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check, configure, refused};
    use super::*;

    const ALPHA: &str = r#"{"log":"alpha error 1","level":"ERROR","k":{"ns":"prod","n":5},"n":10}"#;
    const BETA: &str = r#"{"log":"beta info 2","level":"INFO","k":{"ns":"dev"},"n":20}"#;
    const GAMMA: &str = r#"{"log":"gamma warn","level":"WARN","n":30}"#;
    const DEBUG: &str = r#"{"level":"DEBUG"}"#;

    #[test]
    fn keeps_what_fluent_bit_keeps() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[ALPHA, BETA, GAMMA, DEBUG]),
            ("Regex log (alpha|gamma)", &[ALPHA, GAMMA]),
            ("Regex level (ERROR|FATAL)", &[ALPHA]),
            ("Exclude level ^(INFO|DEBUG)$", &[ALPHA, GAMMA]),
            ("Regex log .\nExclude level WARN", &[ALPHA, BETA, GAMMA]),
            ("Exclude level WARN\nRegex log .", &[ALPHA, BETA]),
            ("Exclude level WARN\nExclude level INFO", &[ALPHA, DEBUG]),
            ("Regex log a\nRegex level (ERROR|WARN)", &[ALPHA, BETA, GAMMA]),
            ("Logical_Op and\nRegex level ^(ERROR|WARN)$\nRegex log gamma", &[GAMMA]),
            ("Logical_Op AND\nExclude level WARN\nExclude log gamma", &[ALPHA, BETA, DEBUG]),
            ("Logical_Op or\nRegex level ERROR\nRegex log gamma", &[ALPHA, GAMMA]),
            ("Logical_Op or\nExclude level ERROR\nExclude log gamma", &[BETA, DEBUG]),
            ("Regex $k['ns'] ^prod$", &[ALPHA]),
            ("Regex k['ns'] ^prod$", &[ALPHA]),
            ("Regex k.ns ^prod$", &[ALPHA]),
            ("Regex log /GAMMA|BETA/i", &[BETA, GAMMA]),
            ("Regex log a(?= warn)", &[GAMMA]),
            ("Regex n ^[12]0$", &[]),
            ("Regex k .", &[]),
            ("Exclude n .", &[ALPHA, BETA, GAMMA, DEBUG]),
            ("Regex log  info", &[BETA]),
            ("Regex log   info", &[]),
        ];
        for (lines, kept) in cases {
            let filter = configure(&PLUGIN, lines);
            for record in [ALPHA, BETA, GAMMA, DEBUG] {
                let output = kept.contains(&record).then_some(record);
                check(&*filter, &Case { lines, input: record, output });
            }
        }
    }

    #[test]
    fn a_dotted_key_is_literal_first() {
        let filter = configure(&PLUGIN, "Regex kubernetes.namespace_name production");
        for (input, kept) in [
            (r#"{"kubernetes":{"namespace_name":"production"}}"#, true),
            (r#"{"kubernetes.namespace_name":"production"}"#, true),
            (r#"{"kubernetes.namespace_name":"x","kubernetes":{"namespace_name":"production"}}"#, false),
            (r#"{"log":"c"}"#, false),
        ] {
            check(&*filter, &Case { lines: "dotted", input, output: kept.then_some(input) });
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (lines, message) in [
            ("Regex log", "`regex` is `log`"),
            ("Exclude log (", "the pattern `(`"),
            ("Regex $1 x", "the key `$1`"),
            ("Logical_Op and\nRegex a x\nExclude b y", "combines"),
            ("Logical_Op xor\nRegex a x", "`logical_op` is `xor`"),
        ] {
            refused(&PLUGIN, lines, message);
        }
    }

    #[test]
    fn says_what_a_record_must_hold() {
        let prefilter = |lines| {
            configure(&PLUGIN, lines).prefilter().map(|p| {
                let text = |list: &[Vec<u8>]| {
                    list.iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect::<Vec<_>>().join(" ")
                };
                format!("{}: {}", text(&p.keys), text(&p.literals))
            })
        };
        assert_eq!(prefilter("Regex level (ERROR|FATAL)").as_deref(), Some("level: ERROR FATAL"));
        assert_eq!(
            prefilter("Exclude log x\nRegex $k['ns'] prod\nRegex log longer").as_deref(),
            Some("k: prod")
        );
        assert_eq!(prefilter("Regex k.ns prod").as_deref(), Some("k.ns k: prod"));
        assert_eq!(prefilter("Logical_Op and\nRegex a x\nRegex b longer").as_deref(), Some("b: longer"));
        assert_eq!(prefilter("Logical_Op or\nRegex a x\nRegex b longer").as_deref(), Some("a b: x longer"));
        assert_eq!(prefilter("Logical_Op or\nRegex a x\nRegex b \\d"), None);
        assert_eq!(prefilter("Exclude level DEBUG"), None);
    }
}
