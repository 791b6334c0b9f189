//! `modify`: changes fields by rules, in order, when all conditions hold.
//!
//! Owns: rules. Conditions are in [`super::modify_conditions`]. Never: looks inside maps for a rule's key; conditions do.

use super::constant::Constant;
use super::modify_conditions::{Condition, condition};
use super::pattern::Pattern;
use super::words::{self, Quotes};
use super::{Context, Filter, FilterContext, Outcome, Plugin};
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Entry, Section};
use codecs::parsers::Scratch;
use codecs::record::{Field, Fields, Record, Value};
use std::sync::Arc;

codecs::options! {
    /// Changes fields by rules, in the order of the text, when all conditions hold.
    pub struct Options {
        /// `KEY VALUE`: appends the field; one that is there is replaced.
        set "Set": Many<Text>,
        /// `KEY VALUE`: appends the field if KEY is not there.
        add "Add": Many<Text>,
        /// `KEY`: removes the field.
        remove "Remove": Many<Text>,
        /// `BEGINNING`: removes the fields whose key begins so.
        remove_wildcard "Remove_wildcard": Many<Text>,
        /// `PATTERN`: removes the fields whose key fits.
        remove_regex "Remove_regex": Many<Text>,
        /// `BEGINNING`: moves the fields whose key begins so to the start.
        move_to_start "Move_To_Start": Many<Text>,
        /// `BEGINNING`: moves the fields whose key begins so to the end.
        move_to_end "Move_To_End": Many<Text>,
        /// `KEY NEW_KEY`: renames the field if NEW_KEY is not there.
        rename "Rename": Many<Text>,
        /// `KEY NEW_KEY`: renames the field; a field NEW_KEY goes away.
        hard_rename "Hard_Rename": Many<Text>,
        /// `KEY NEW_KEY`: copies the field, behind itself, if NEW_KEY is not there.
        copy "Copy": Many<Text>,
        /// `KEY NEW_KEY`: copies the field, behind itself; a field NEW_KEY goes away.
        hard_copy "Hard_copy": Many<Text>,
        /// `KIND KEY` or `KIND KEY VALUE`: when the rules are applied. KIND is one of Key_exists, Key_does_not_exist,
        /// A_key_matches, No_key_matches, Key_value_equals, Key_value_does_not_equal, Key_value_matches,
        /// Key_value_does_not_match, Matching_keys_have_matching_values, Matching_keys_do_not_have_matching_values.
        condition "Condition": Many<Text>,
    }
}

/// One change.
enum Rule {
    Set(Constant, Constant),
    Add(Constant, Constant),
    Remove(Constant),
    RemoveWildcard(Constant),
    RemoveRegex(Pattern),
    MoveToStart(Constant),
    MoveToEnd(Constant),
    Rename(Constant, Constant),
    HardRename(Constant, Constant),
    Copy(Constant, Constant),
    HardCopy(Constant, Constant),
}

/// A configured filter.
struct Rules {
    conditions: Vec<Condition>,
    rules: Vec<Rule>,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "modify", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let (mut rules, mut conditions, mut complete) = (Vec::new(), Vec::new(), true);
    for entry in section.entries.iter().filter(|e| Options::TABLE.iter().any(|spec| spec.is(&e.key))) {
        let words = words::split(&entry.value, 3, Quotes::Either);
        let result = match words.as_deref() {
            None => Err("a quote is closed by the same quote".to_owned()),
            Some(words) if entry.key.eq_ignore_ascii_case("Condition") => condition(words).map(|c| {
                c.warn(entry, context.name, diagnostics);
                conditions.push(c);
            }),
            Some(words) => rule(&entry.key, words).map(|r| rules.push(r)),
        };
        if let Err(help) = result {
            let message =
                format!("{}: `{}` is `{}`", context.name, entry.key.to_ascii_lowercase(), entry.value);
            diagnostics.error(&entry.value_span, message).help(format!("rule: {help}"));
            complete = false;
        }
        warn_of_star(entry, context.name, diagnostics);
    }
    complete.then(|| Arc::new(Rules { conditions, rules }) as Arc<dyn Filter>)
}

/// A `*` is taken as it stands, which is hardly ever meant.
fn warn_of_star(entry: &Entry, owner: &str, diagnostics: &mut Diagnostics) {
    let by_beginning = ["Remove_wildcard", "Move_To_Start", "Move_To_End"];
    let beginning = entry.value.strip_suffix('*');
    if let Some(beginning) =
        beginning.filter(|_| by_beginning.iter().any(|key| entry.key.eq_ignore_ascii_case(key)))
    {
        let message = format!("{owner}: `{}` takes `*` as it stands", entry.key.to_ascii_lowercase());
        diagnostics
            .warning(&entry.value_span, message)
            .help(format!("`{beginning}` fits every key that begins so"));
    }
}

/// A rule from its words; the error is what it should be.
fn rule(option: &str, words: &[String]) -> Result<Rule, String> {
    let option = option.to_ascii_lowercase();
    let takes_one = matches!(
        option.as_str(),
        "remove" | "remove_wildcard" | "remove_regex" | "move_to_start" | "move_to_end"
    );
    let (first, second) = match words {
        [first] if takes_one => (first, None),
        [first, second] if !takes_one => (first, Some(Constant::new(second))),
        _ if takes_one => return Err("one word; quotes keep words together".to_owned()),
        _ => return Err("two words; quotes keep words together".to_owned()),
    };
    let key = Constant::new(first);
    Ok(match (option.as_str(), second) {
        ("remove", _) => Rule::Remove(key),
        ("remove_wildcard", _) => Rule::RemoveWildcard(key),
        ("remove_regex", _) if first.is_empty() => return Err("a pattern that is not empty".to_owned()),
        ("remove_regex", _) => Rule::RemoveRegex(Pattern::new(first)?),
        ("move_to_start", _) => Rule::MoveToStart(key),
        ("move_to_end", _) => Rule::MoveToEnd(key),
        ("set", Some(value)) => Rule::Set(key, value),
        ("add", Some(value)) => Rule::Add(key, value),
        ("rename", Some(value)) => Rule::Rename(key, value),
        ("hard_rename", Some(value)) => Rule::HardRename(key, value),
        ("copy", Some(value)) => Rule::Copy(key, value),
        ("hard_copy", Some(value)) => Rule::HardCopy(key, value),
        _ => return Err("a known operation".to_owned()),
    })
}

impl Filter for Rules {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        if self.conditions.iter().all(|condition| condition.holds(&record.fields, context)) {
            for rule in &self.rules {
                rule.apply(&mut record.fields, context.parsing);
            }
        }
        Outcome::Keep
    }
}

impl Rule {
    fn apply<'a>(&'a self, fields: &mut Fields<'a>, scratch: &mut Scratch) {
        match self {
            Rule::Set(key, value) => {
                fields.retain(|f| !is(f, key));
                fields.push(Field::new(key.text(), Value::Text(value.text())));
            }
            Rule::Add(key, value) if count(fields, key) == 0 => {
                fields.push(Field::new(key.text(), Value::Text(value.text())));
            }
            Rule::Remove(key) => fields.retain(|f| !is(f, key)),
            Rule::RemoveWildcard(beginning) => fields.retain(|f| !begins(f, beginning)),
            Rule::RemoveRegex(pattern) => fields.retain(|f| !pattern.is_match(f.key.bytes, scratch)),
            // A stable sort moves one group and keeps the order inside both.
            Rule::MoveToStart(beginning) => fields.sort_by_key(|f| !begins(f, beginning)),
            Rule::MoveToEnd(beginning) => fields.sort_by_key(|f| begins(f, beginning)),
            Rule::Rename(from, to) if count(fields, to) == 0 => rename(fields, from, to),
            Rule::HardRename(from, to) if count(fields, from) > 0 => {
                // Renamed to itself, a field goes away, as in Fluent Bit.
                fields.retain(|f| !is(f, to));
                rename(fields, from, to);
            }
            Rule::Copy(from, to) if count(fields, from) == 1 && count(fields, to) == 0 => {
                copy(fields, from, to)
            }
            Rule::HardCopy(from, to) if from != to && count(fields, from) == 1 && count(fields, to) <= 1 => {
                fields.retain(|f| !is(f, to));
                copy(fields, from, to);
            }
            Rule::Add(..) | Rule::Rename(..) | Rule::HardRename(..) | Rule::Copy(..) | Rule::HardCopy(..) => {
            }
        }
    }
}

fn is(field: &Field<'_>, key: &Constant) -> bool {
    field.key.bytes == key.bytes()
}

fn begins(field: &Field<'_>, beginning: &Constant) -> bool {
    field.key.bytes.starts_with(beginning.bytes())
}

fn count(fields: &[Field<'_>], key: &Constant) -> usize {
    fields.iter().filter(|f| is(f, key)).count()
}

fn rename<'a>(fields: &mut [Field<'a>], from: &Constant, to: &'a Constant) {
    fields.iter_mut().filter(|f| is(f, from)).for_each(|f| f.key = to.text());
}

/// The copy stands behind the original.
fn copy<'a>(fields: &mut Fields<'a>, from: &Constant, to: &'a Constant) {
    if let Some(at) = fields.iter().position(|f| is(f, from)) {
        let copied = Field::new(to.text(), fields[at].value);
        fields.insert(at + 1, copied);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_all, refused, try_configure};
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn rules_do_as_in_fluent_bit() {
        let ab = r#"{"a":"1","b":"2"}"#;
        check_all(
            &PLUGIN,
            &[
                ("Set a new\nAdd b fresh", r#"{"a":"1"}"#, r#"{"a":"new","b":"fresh"}"#),
                ("Set a new\nAdd b fresh", r#"{"a":"1","b":"old"}"#, r#"{"b":"old","a":"new"}"#),
                ("Set \"a key\" 'a \"value\"'", "{}", r#"{"a key":"a \"value\""}"#),
                ("Add k \"\"", "{}", r#"{"k":""}"#),
                (
                    "Remove a\nRemove_wildcard pre_\nRemove_regex ^num\\d$",
                    r#"{"a":1,"pre_x":2,"pre_y":3,"num1":4,"num22":5,"keep":6}"#,
                    r#"{"num22":5,"keep":6}"#,
                ),
                ("Remove_wildcard pre_*", r#"{"pre_x":2}"#, r#"{"pre_x":2}"#),
                ("Remove A", ab, ab),
                ("Rename a b\nHard_rename b c", ab, r#"{"a":"1","c":"2"}"#),
                ("Rename a b\nHard_rename b c", r#"{"a":"1"}"#, r#"{"c":"1"}"#),
                ("Hard_rename a b", ab, r#"{"b":"1"}"#),
                ("Hard_rename b a", r#"{"a":1,"x":{"y":[]},"b":2}"#, r#"{"x":{"y":[]},"a":2}"#),
                ("Hard_rename z b", ab, ab),
                ("Hard_rename a a", ab, r#"{"b":"2"}"#),
                ("Copy a b\nCopy a z\nHard_copy a b", ab, r#"{"a":"1","b":"1","z":"1"}"#),
                ("Copy z y", ab, ab),
                ("Hard_copy b a", ab, r#"{"b":"2","a":"2"}"#),
                ("Hard_copy a a", ab, ab),
                ("Move_to_start c", r#"{"a":1,"c1":2,"b":3,"c2":4}"#, r#"{"c1":2,"c2":4,"a":1,"b":3}"#),
                ("Move_to_end a", r#"{"a1":1,"c":2,"a2":3}"#, r#"{"c":2,"a1":1,"a2":3}"#),
            ],
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for (lines, message) in [
            ("Set a", "two words"),
            ("Set a b c", "two words"),
            ("Remove a b", "one word"),
            ("Set a \"b", "a quote is closed"),
            ("Remove_regex (", "`remove_regex` is `(`"),
            ("Remove_regex \"\"", "not empty"),
        ] {
            refused(&PLUGIN, lines, message);
        }
        let (_, diagnostics) = try_configure(&PLUGIN, "Remove_wildcard pre_*", &HashMap::new());
        assert!(diagnostics.list[0].to_string().contains("`pre_` fits every key"), "{:?}", diagnostics.list);
    }
}
