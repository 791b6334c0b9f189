//! Conditions of processors: which records they see.
//!
//! Owns: `condition:` with `op` and `rules`. Never: changes a record; one that does not fit goes by.
//! Numbers are compared as numbers, however they are written; Fluent Bit does so only for those with a fraction.

use super::pattern::Pattern;
use super::{Filter, FilterContext, Outcome, Reported, Stage};
use crate::control::Control;
use codecs::accessor::Template;
use codecs::conf::{Diagnostics, Entry, Section};
use codecs::record::Record;
use std::sync::Arc;

/// The condition of one processor.
pub struct Condition {
    all: bool,
    rules: Vec<Rule>,
}

struct Rule {
    field: Template,
    /// The field is in the metadata, of which records here have none.
    metadata: bool,
    op: Op,
}

enum Op {
    Equals(bool, Text),
    /// Greater, or less than (then turned round): the value, whether it may be equal.
    Above(f64, bool),
    Below(f64, bool),
    Matches(bool, Pattern),
    In(bool, Vec<Text>),
}

/// What a value is compared with: as text, or as the number that it is.
struct Text {
    text: String,
    number: Option<f64>,
}

impl Text {
    fn new(text: &str) -> Text {
        Text { text: text.to_owned(), number: number(text.as_bytes()) }
    }

    fn is(&self, value: &[u8]) -> bool {
        self.text.as_bytes() == value || (self.number.is_some() && self.number == number(value))
    }
}

/// The number that the text is as a whole.
fn number(text: &[u8]) -> Option<f64> {
    let looks = text.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-');
    std::str::from_utf8(text).ok().filter(|_| looks)?.parse().ok()
}

impl Condition {
    /// The condition of a processor's section, where it has one.
    pub fn of(
        section: &Section,
        owner: &str,
        diagnostics: &mut Diagnostics,
    ) -> Result<Option<Condition>, Reported> {
        let mut complete = true;
        for child in section.children.iter().filter(|c| c.name != "condition") {
            let message = format!("{owner}: `{}` cannot be a map of keys and values", child.name);
            diagnostics.error(&child.span, message);
            complete = false;
        }
        let Some(child) = section.children.iter().find(|c| c.name == "condition") else {
            return if complete { Ok(None) } else { Err(Reported) };
        };
        let op = child.get("op").map_or("and", |e| &e.value).to_ascii_lowercase();
        if !matches!(op.as_str(), "and" | "or") {
            let error = diagnostics.error(&child.span, format!("{owner}: `op` of the condition is `{op}`"));
            error.help("rule: one of and, or");
            complete = false;
        }
        let mut rules = Vec::new();
        for entry in child.children.iter().filter(|c| c.name == "rules") {
            match rule(entry) {
                Ok(rule) => rules.push(rule),
                Err(why) => {
                    diagnostics.error(&entry.span, format!("{owner}: a rule of the condition: {why}"));
                    complete = false;
                }
            }
        }
        if rules.is_empty() && complete {
            diagnostics
                .error(&child.span, format!("{owner}: the condition has no `rules`"))
                .help("rule: a list of maps with `field`, `op` and `value`");
            complete = false;
        }
        if complete { Ok(Some(Condition { all: op == "and", rules })) } else { Err(Reported) }
    }

    /// The filter, for the records that fit.
    pub fn before(self, filter: Arc<dyn Filter>) -> Arc<dyn Filter> {
        Arc::new(Conditional { condition: self, filter })
    }

    fn fits<'a>(&self, record: &Record<'a>, context: &mut FilterContext<'a, '_>) -> bool {
        match self.all {
            true => self.rules.iter().all(|rule| rule.fits(record, context)),
            false => self.rules.iter().any(|rule| rule.fits(record, context)),
        }
    }
}

fn rule(section: &Section) -> Result<Rule, String> {
    let text = |key: &str| section.get(key).map(|e| e.value.as_str());
    let field = text("field").ok_or("`field` is missing")?;
    let op = text("op").ok_or("`op` is missing")?.to_ascii_lowercase();
    let values: Vec<&Entry> = section.all("value").collect();
    let value = values.first().map(|e| e.value.as_str()).filter(|v| !v.is_empty());
    let value = value.ok_or("`value` is missing or empty")?;
    let listed = matches!(op.as_str(), "in" | "not_in");
    if values.len() > 1 && !listed {
        return Err(format!("`value` is a list, which only `in` and `not_in` take, not `{op}`"));
    }
    let bound = || number(value.as_bytes()).ok_or(format!("`value` is `{value}`, `{op}` takes a number"));
    let op = match op.as_str() {
        "eq" | "neq" => Op::Equals(op == "eq", Text::new(value)),
        "gt" | "gte" => Op::Above(bound()?, op == "gte"),
        "lt" | "lte" => Op::Below(bound()?, op == "lte"),
        "regex" | "not_regex" => Op::Matches(op == "regex", Pattern::new(value)?),
        "in" | "not_in" => Op::In(op == "in", values.iter().map(|e| Text::new(&e.value)).collect()),
        _ => {
            return Err(format!(
                "`op` is `{op}`: one of eq, neq, gt, lt, gte, lte, regex, not_regex, in, not_in"
            ));
        }
    };
    let metadata = text("context").is_some_and(|c| c.eq_ignore_ascii_case("metadata"));
    Ok(Rule {
        field: Template::parse(field).map_err(|e| format!("`field` is `{field}`: {e}"))?,
        metadata,
        op,
    })
}

impl Rule {
    fn fits<'a>(&self, record: &Record<'a>, context: &mut FilterContext<'a, '_>) -> bool {
        context.text.clear();
        let fields = if self.metadata { &[][..] } else { &record.fields[..] };
        // What is not there is an empty text.
        self.field.render(context.tag.as_bytes(), fields, &[], context.arena, context.text);
        let text = &context.text[..];
        // As C reads a number: what is none is zero.
        let value = || number(text).unwrap_or(0.0);
        match &self.op {
            Op::Equals(wanted, other) => other.is(text) == *wanted,
            Op::Above(bound, equal) => value() > *bound || (*equal && value() == *bound),
            Op::Below(bound, equal) => value() < *bound || (*equal && value() == *bound),
            Op::Matches(wanted, pattern) => pattern.is_match(text, context.parsing) == *wanted,
            Op::In(wanted, list) => list.iter().any(|other| other.is(text)) == *wanted,
        }
    }
}

/// A filter that only sees what fits.
struct Conditional {
    condition: Condition,
    filter: Arc<dyn Filter>,
}

impl Filter for Conditional {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        match self.condition.fits(record, context) {
            true => self.filter.apply(record, context),
            false => Outcome::Keep,
        }
    }

    fn changes_records(&self) -> bool {
        self.filter.changes_records()
    }

    fn stage(&self) -> Stage {
        self.filter.stage()
    }

    fn retags(&self) -> bool {
        self.filter.retags()
    }

    fn start(&self, control: &Arc<Control>) -> Result<(), String> {
        self.filter.start(control)
    }

    fn waits(&self) -> bool {
        self.filter.waits()
    }

    fn memory_max(&self) -> usize {
        self.filter.memory_max()
    }

    fn counters(&self) -> Vec<outputs::Counter> {
        self.filter.counters()
    }

    fn hold_ms(&self) -> Option<u64> {
        self.filter.hold_ms()
    }

    fn holds_within_job(&self) -> bool {
        self.filter.holds_within_job()
    }

    fn let_go<'a>(&'a self, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        self.filter.let_go(context)
    }
}

#[cfg(test)]
mod tests {
    use super::super::grep;
    use super::super::testing::{configure, run, section};
    use super::*;
    use codecs::conf::Span;
    use codecs::record::Timestamp;

    const RECORD: &str = r#"{"level":"error","code":500,"f":2.50,"b":true,"k":{"a":"x"}}"#;

    /// A processor with a condition of these rules, each with the values of its lines.
    fn processor(op: &str, rules: &[&str]) -> Section {
        let span = Span::new(&"c.yaml".into(), 1, 1);
        let mut condition = section(&format!("op {op}"));
        condition.name = "condition".to_owned();
        for lines in rules {
            let mut rule = section(lines);
            rule.name = "rules".to_owned();
            condition.children.push(rule);
        }
        let mut processor = Section::new("processor.logs", span);
        processor.children.push(condition);
        processor
    }

    /// True when the record goes to the processor, which would drop it.
    fn fits(op: &str, rules: &[&str]) -> bool {
        let mut diagnostics = Diagnostics::default();
        let condition = Condition::of(&processor(op, rules), "p", &mut diagnostics);
        let condition =
            condition.ok().flatten().unwrap_or_else(|| panic!("{rules:?}: {:?}", diagnostics.list));
        let filter = condition.before(configure(&grep::PLUGIN, "Exclude level ."));
        run(&*filter, RECORD, &mut Timestamp::default()).0.is_none()
    }

    #[test]
    fn compares() {
        for (rule, want) in [
            ("field $level\nop eq\nvalue error", true),
            ("field $level\nop NEQ\nvalue error", false),
            ("field $nope\nop neq\nvalue x", true),
            ("field $code\nop gt\nvalue 400", true),
            ("field $code\nop gt\nvalue 600", false),
            ("field $code\nop gte\nvalue 500", true),
            ("field $code\nop lt\nvalue 500.5", true),
            ("field $code\nop lte\nvalue 499", false),
            ("field $nope\nop lt\nvalue 5.5", true),
            ("field $code\nop eq\nvalue 500", true),
            ("field $f\nop eq\nvalue 2.5", true),
            ("field $b\nop eq\nvalue true", true),
            ("field $k['a']\nop regex\nvalue ^x$", true),
            ("field $nope\nop not_regex\nvalue a", true),
            ("field $level\nop in\nvalue warn\nvalue error", true),
            ("field $level\nop not_in\nvalue error", false),
            ("field $level\nop eq\nvalue error\ncontext metadata", false),
            ("field level\nop eq\nvalue error", false),
        ] {
            assert_eq!(fits("and", &[rule]), want, "{rule}");
        }
        let (yes, no) = ("field $code\nop gt\nvalue 1", "field $code\nop lt\nvalue 1");
        assert!(fits("or", &[no, yes]) && !fits("and", &[yes, no]) && !fits("or", &[no, no]));
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (op, rules, message) in [
            ("xor", &["field $a\nop eq\nvalue x"][..], "`op` of the condition is `xor`"),
            ("and", &[], "no `rules`"),
            ("and", &["op eq\nvalue x"], "`field` is missing"),
            ("and", &["field $a\nvalue x"], "`op` is missing"),
            ("and", &["field $a\nop eq"], "`value` is missing"),
            ("and", &["field $a\nop is\nvalue x"], "`op` is `is`"),
            ("and", &["field $a\nop gt\nvalue x"], "takes a number"),
            ("and", &["field $a\nop regex\nvalue ("], "a rule of the condition"),
            ("and", &["field $a\nop eq\nvalue x\nvalue y"], "which only `in`"),
        ] {
            let mut diagnostics = Diagnostics::default();
            assert!(Condition::of(&processor(op, rules), "p", &mut diagnostics).is_err());
            let said: Vec<String> = diagnostics.list.iter().map(ToString::to_string).collect();
            assert!(said.iter().any(|s| s.contains(message)), "{message}: {said:?}");
        }
        let mut odd = processor("and", &["field $a\nop eq\nvalue x"]);
        odd.children[0].name = "conditions".to_owned();
        assert!(Condition::of(&odd, "p", &mut Diagnostics::default()).is_err());
    }
}
