//! `expect`: checks that records are as they should be.
//!
//! Owns: rules, and what follows when one is broken. Never: drops a record.

use super::constant::Constant;
use super::{Context, Filter, FilterContext, Outcome, Plugin};
use crate::control::Control;
use crate::log;
use codecs::accessor::Accessor;
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Entry, Section};
use codecs::json::{self, Escape};
use codecs::record::{Field, Record, Value};
use std::sync::{Arc, OnceLock};

codecs::choice! {
    /// What follows when a rule is broken.
    pub enum Action {
        /// It is told.
        Warn "warn",
        /// It is told, and the program ends with code 255.
        Exit "exit",
        /// Each record says whether it kept all rules.
        ResultKey "result_key",
    }
}

codecs::options! {
    /// Checks each record against rules, in the order of the text.
    pub struct Options {
        /// `KEY`: the record has it; with `$` before it, a place inside the record.
        key_exists "key_exists": Many<Text>,
        /// `KEY`: the record does not have it.
        key_not_exists "key_not_exists": Many<Text>,
        /// `KEY`: its value is null.
        key_val_is_null "key_val_is_null": Many<Text>,
        /// `KEY`: the record has it, and its value is not null.
        key_val_is_not_null "key_val_is_not_null": Many<Text>,
        /// `KEY VALUE`: the record has it, and its value is this text; what is not text is not compared, as in Fluent Bit.
        key_val_eq "key_val_eq": Many<Text>,
        /// What follows when a rule is broken: `warn` tells it, `exit` ends the program with code 255, `result_key` puts
        /// true or false at the head of each record.
        action "action": One<Action> = "warn",
        /// The key for `result_key`.
        result_key "result_key": One<Text> = "matched",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Exists,
    NotExists,
    IsNull,
    IsNotNull,
    Equals(String),
}

struct Rule {
    kind: Kind,
    /// As the user wrote it.
    text: String,
    key: Accessor,
}

/// A configured filter.
struct Rules {
    component: String,
    rules: Vec<Rule>,
    action: Action,
    result_key: Constant,
    /// Ends the program; there once it runs.
    control: OnceLock<Arc<Control>>,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "expect", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let (mut rules, mut complete) = (Vec::new(), true);
    for entry in &section.entries {
        match rule(entry) {
            None => {}
            Some(Ok(rule)) => rules.push(rule),
            Some(Err(why)) => {
                complete = false;
                let key = entry.key.to_ascii_lowercase();
                let message = format!("{}: `{key}` is `{}`", context.name, entry.value);
                diagnostics.error(&entry.value_span, message).help(format!("rule: {why}"));
            }
        }
    }
    if rules.is_empty() && complete {
        diagnostics.warning(&section.span, format!("{}: there is no rule", context.name));
    }
    complete.then(|| {
        Arc::new(Rules {
            component: format!("filter:expect:{}", context.name),
            rules,
            action: options.action,
            result_key: Constant::new(&options.result_key.0),
            control: OnceLock::new(),
        }) as Arc<dyn Filter>
    })
}

/// A rule, where the entry is one.
fn rule(entry: &Entry) -> Option<Result<Rule, String>> {
    let (key, kind) = match entry.key.to_ascii_lowercase().as_str() {
        "key_exists" => (&*entry.value, Kind::Exists),
        "key_not_exists" => (&*entry.value, Kind::NotExists),
        "key_val_is_null" => (&*entry.value, Kind::IsNull),
        "key_val_is_not_null" => (&*entry.value, Kind::IsNotNull),
        "key_val_eq" => match entry.value.trim().split_once(' ') {
            Some((key, value)) => (key, Kind::Equals(value.trim_start().to_owned())),
            None => return Some(Err("a key and a value, with a space between them".to_owned())),
        },
        _ => return None,
    };
    let text = key.to_owned();
    Some(Accessor::parse(key).map(|key| Rule { kind, text, key }).map_err(|e| e.to_string()))
}

impl Rule {
    /// What is wrong, if anything is.
    fn broken(&self, value: Option<Value<'_>>) -> Option<String> {
        let (name, key) = (self.kind.name(), &self.text);
        let is = |why: &str| Some(format!("'{name}', key '{key}' {why}"));
        match (&self.kind, value) {
            (Kind::Exists, Some(_)) | (Kind::NotExists, None) => None,
            (Kind::NotExists, Some(_)) => is("exists"),
            (_, None) => is("not found"),
            (Kind::IsNull, Some(Value::Null)) => None,
            (Kind::IsNull, Some(value)) => is(&format!("contains a value type '{}'", type_name(&value))),
            (Kind::IsNotNull, Some(Value::Null)) => is("contains a value type 'null'"),
            (Kind::Equals(want), Some(Value::Text(text))) if text.bytes != want.as_bytes() => {
                let text = String::from_utf8_lossy(text.bytes);
                Some(format!("'{name}', key value '{text}' is different than expected: '{want}'"))
            }
            (Kind::IsNotNull | Kind::Equals(_), Some(_)) => None,
        }
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Exists => "key_exists",
            Kind::NotExists => "key_not_exists",
            Kind::IsNull => "key_val_is_null",
            Kind::IsNotNull => "key_val_is_not_null",
            Kind::Equals(_) => "key_val_eq",
        }
    }
}

/// As Fluent Bit names it.
fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Number(text) if !text.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => "integer",
        Value::Float(_) | Value::Number(_) => "float / double",
        Value::Text(_) => "string",
        Value::Json(_) | Value::Map(_) | Value::Array(_) => "UNKNOWN",
    }
}

impl Rules {
    /// The first rule that is broken: its number, and what is wrong.
    fn first_broken<'a>(
        &self,
        record: &Record<'a>,
        context: &FilterContext<'a, '_>,
    ) -> Option<(usize, String)> {
        self.rules.iter().enumerate().find_map(|(n, rule)| {
            let value = rule.key.get(&record.fields, context.arena);
            rule.broken(value).map(|why| (n, why))
        })
    }

    #[cold]
    fn tell(&self, n: usize, why: &str, record: &Record<'_>) {
        let mut content = Vec::new();
        json::write_fields(&mut content, &record.fields, Escape::Unicode);
        let content = String::from_utf8_lossy(&content);
        log!(Error, self.component, "exception on rule #{n} {why}. Record content:\n{content}");
    }
}

impl Filter for Rules {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let broken = self.first_broken(record, context);
        if let Some((n, why)) = &broken {
            self.tell(*n, why, record);
        }
        match self.action {
            Action::ResultKey => {
                let result = Field::new(self.result_key.text(), Value::Bool(broken.is_none()));
                record.fields.insert(0, result);
            }
            Action::Warn if broken.is_some() => log!(Warn, self.component, "expect check failed"),
            Action::Exit if broken.is_some() => {
                if let Some(control) = self.control.get() {
                    control.fail_with(255);
                }
            }
            Action::Warn | Action::Exit => {}
        }
        Outcome::Keep
    }

    fn changes_records(&self) -> bool {
        self.action == Action::ResultKey
    }

    fn start(&self, control: &Arc<Control>) -> Result<(), String> {
        drop(self.control.set(control.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{configure, refused, run};
    use super::*;
    use codecs::record::Timestamp;

    const RECORD: &str = r#"{"log":"hello","n":1,"z":null,"k":{"a":"x","l":[1]}}"#;

    #[test]
    fn says_whether_all_rules_are_kept() {
        for (rules, kept) in [
            ("", true),
            ("key_exists log", true),
            ("key_exists $k['a']\nkey_exists $k['l'][0]", true),
            ("key_exists $k['b']", false),
            ("key_not_exists $nope", true),
            ("key_not_exists $n", false),
            ("key_val_is_null $z", true),
            ("key_val_is_null $log", false),
            ("key_val_is_null $nope", false),
            ("key_val_is_not_null $k", true),
            ("key_val_is_not_null $z", false),
            ("key_val_is_not_null $nope", false),
            ("key_val_eq $log hello", true),
            ("key_val_eq $log hell", false),
            ("key_val_eq $n 5", true),
            ("key_val_eq $nope 5", false),
            ("key_exists log\nkey_exists nope\nkey_exists n", false),
        ] {
            let lines = format!("action result_key\n{rules}");
            let (output, _) = run(&*configure(&PLUGIN, lines.trim_end()), RECORD, &mut Timestamp::default());
            assert_eq!(output, Some(format!("{{\"matched\":{kept},{}", &RECORD[1..])), "{rules}");
        }
        let named = "action result_key\nresult_key m";
        let (output, _) = run(&*configure(&PLUGIN, named), "{}", &mut Timestamp::default());
        assert_eq!(output.as_deref(), Some(r#"{"m":true}"#));
    }

    #[test]
    fn warns_or_ends_the_program() {
        for (action, code) in [("warn", None), ("exit", Some(255))] {
            let filter = configure(&PLUGIN, &format!("key_exists nope\naction {action}"));
            let control = Arc::new(Control::default());
            filter.start(&control).expect("it starts");
            let (output, _) = run(&*filter, RECORD, &mut Timestamp::default());
            assert_eq!(output.as_deref(), Some(RECORD));
            assert_eq!(control.stopping(), code.is_some());
            assert_eq!(control.code(), code.unwrap_or(0));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let Some(Ok(rule)) = section_rule("key_val_is_null $log") else { panic!("a rule") };
        assert_eq!(
            rule.broken(Some(Value::Number(b"1.5"))).as_deref(),
            Some("'key_val_is_null', key '$log' contains a value type 'float / double'")
        );
        refused(&PLUGIN, "key_val_eq $log", "`key_val_eq` is `$log`");
        refused(&PLUGIN, "key_exists $1", "`key_exists` is `$1`");
        refused(&PLUGIN, "action stop", "`action` is `stop`");
    }

    fn section_rule(line: &str) -> Option<Result<Rule, String>> {
        rule(&super::super::testing::section(line).entries[0])
    }
}
