//! Conditions of `modify`: when its rules are applied.

use super::FilterContext;
use super::pattern::Pattern;
use codecs::accessor::Accessor;
use codecs::conf::{Diagnostics, Entry};
use codecs::parsers::Scratch;
use codecs::record::{Field, Value};

/// What must hold of a record.
pub(super) struct Condition {
    test: Test,
    /// The opposite must hold.
    not: bool,
}

enum Test {
    Exists(Accessor),
    AnyKey(Pattern),
    /// The opposite holds of records that have the key only.
    ValueEquals(Accessor, Box<[u8]>),
    /// The opposite holds of records that have the key only.
    ValueMatches(Accessor, Pattern),
    /// Every key that fits the first has a value that fits the second.
    Values(Pattern, Pattern),
}

/// A condition from its words; the error is what it should be.
pub(super) fn condition(words: &[String]) -> Result<Condition, String> {
    let (kind, words) = words.split_first().ok_or("a kind of condition and its key")?;
    let kind = kind.to_ascii_lowercase();
    let (first, second) = match words {
        [first] => (first.as_str(), None),
        [first, second] => (first.as_str(), Some(second.as_str())),
        _ => return Err("a kind, a key and at most one value; quotes keep words together".to_owned()),
    };
    let key = || Accessor::parse(first).map_err(|rule| format!("for the key `{first}`, {rule}"));
    let value = || second.ok_or(format!("`{kind}` takes a key and a value"));
    let (test, not) = match kind.as_str() {
        "key_exists" => (Test::Exists(key()?), false),
        "key_does_not_exist" => (Test::Exists(key()?), true),
        "a_key_matches" => (Test::AnyKey(pattern(first)?), false),
        "no_key_matches" => (Test::AnyKey(pattern(first)?), true),
        "key_value_equals" => (Test::ValueEquals(key()?, value()?.as_bytes().into()), false),
        "key_value_does_not_equal" => (Test::ValueEquals(key()?, value()?.as_bytes().into()), true),
        "key_value_matches" => (Test::ValueMatches(key()?, pattern(value()?)?), false),
        "key_value_does_not_match" => (Test::ValueMatches(key()?, pattern(value()?)?), true),
        "matching_keys_have_matching_values" => (Test::Values(pattern(first)?, pattern(value()?)?), false),
        "matching_keys_do_not_have_matching_values" => {
            (Test::Values(pattern(first)?, pattern(value()?)?), true)
        }
        _ => return Err(format!("`{kind}` is none of the kinds of conditions, see `--help`")),
    };
    Ok(Condition { test, not })
}

/// A pattern that is not empty.
fn pattern(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("a pattern that is not empty".to_owned());
    }
    Pattern::new(text)
}

impl Condition {
    /// Says what it will never find.
    pub(super) fn warn(&self, entry: &Entry, owner: &str, diagnostics: &mut Diagnostics) {
        if let Test::Exists(key) | Test::ValueEquals(key, _) | Test::ValueMatches(key, _) = &self.test
            && key.ends_in_array()
        {
            let message =
                format!("{owner}: a condition never finds an element of an array, as in Fluent Bit");
            diagnostics.warning(&entry.value_span, message);
        }
    }

    /// Whether it holds of the record with these fields.
    pub(super) fn holds<'a>(&self, fields: &[Field<'a>], context: &mut FilterContext<'a, '_>) -> bool {
        let scratch = &mut *context.parsing;
        let found = match &self.test {
            Test::Exists(key) => key.get_keyed(fields, context.arena).is_some(),
            Test::AnyKey(pattern) => fields.iter().any(|f| pattern.is_match(f.key.bytes, scratch)),
            Test::ValueEquals(key, wanted) => match key.get_keyed(fields, context.arena) {
                Some(value) => value.as_text() == Some(wanted),
                None => return false,
            },
            Test::ValueMatches(key, pattern) => match key.get_keyed(fields, context.arena) {
                Some(value) => fits(&value, pattern, scratch),
                None => return false,
            },
            Test::Values(keys, values) => {
                fields.iter().all(|f| !keys.is_match(f.key.bytes, scratch) || fits(&f.value, values, scratch))
            }
        };
        found != self.not
    }
}

/// Strings fit as they are, booleans as `true` and `false`, nothing else does.
fn fits(value: &Value<'_>, pattern: &Pattern, scratch: &mut Scratch) -> bool {
    match value {
        Value::Text(text) => pattern.is_match(text.bytes, scratch),
        Value::Bool(true) => pattern.is_match(b"true", scratch),
        Value::Bool(false) => pattern.is_match(b"false", scratch),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::modify::PLUGIN;
    use super::super::testing::{check_all, refused};

    #[test]
    fn conditions_hold_as_in_fluent_bit() {
        let cases: &[(&str, &str, bool)] = &[
            ("Key_exists a", r#"{"a":1}"#, true),
            ("Key_exists a", r#"{"b":1}"#, false),
            ("Key_exists $k['x']", r#"{"k":{"x":null}}"#, true),
            ("Key_exists $k['x']", r#"{"k":{"y":1}}"#, false),
            ("Key_exists $k['l'][1]", r#"{"k":{"l":[1,2]}}"#, false),
            ("Key_exists $k['l'][1]['x']", r#"{"k":{"l":[1,{"x":0}]}}"#, true),
            ("Key_does_not_exist a", r#"{"b":1}"#, true),
            ("Key_does_not_exist $k['x']", r#"{"k":{"x":1}}"#, false),
            ("A_key_matches ^svc_", r#"{"svc_a":1}"#, true),
            ("A_key_matches ^svc_", r#"{"a_svc_":1}"#, false),
            ("No_key_matches ^bad$", r#"{"bad":1}"#, false),
            ("No_key_matches ^bad$", r#"{"bad1":1}"#, true),
            ("Key_value_equals a x", r#"{"a":"x"}"#, true),
            ("Key_value_equals a x", r#"{"a":"xy"}"#, false),
            ("Key_value_equals $k['x'] 'two words'", r#"{"k":{"x":"two words"}}"#, true),
            ("Key_value_equals n 5", r#"{"n":5}"#, false),
            ("Key_value_equals b true", r#"{"b":true}"#, false),
            ("Key_value_does_not_equal b z", r#"{"b":"y"}"#, true),
            ("Key_value_does_not_equal b z", r#"{"b":5}"#, true),
            ("Key_value_does_not_equal b z", r#"{"a":"y"}"#, false),
            ("Key_value_matches code ^5\\d\\d$", r#"{"code":"503"}"#, true),
            ("Key_value_matches code ^5\\d\\d$", r#"{"code":503}"#, false),
            ("Key_value_matches b ^tr", r#"{"b":true}"#, true),
            ("Key_value_does_not_match code ^5", r#"{"code":"200"}"#, true),
            ("Key_value_does_not_match code ^5", r#"{"other":"200"}"#, false),
            ("Key_value_does_not_match code ^5", r#"{"code":503}"#, true),
            ("Matching_keys_have_matching_values ^k ^v", r#"{"k1":"v1","k2":"v2","x":"y"}"#, true),
            ("Matching_keys_have_matching_values ^k ^v", r#"{"k1":"v1","k2":"w"}"#, false),
            ("Matching_keys_have_matching_values ^k ^v", r#"{"x":"y"}"#, true),
            ("Matching_keys_do_not_have_matching_values ^k ^v", r#"{"k1":"v1","k2":"w"}"#, true),
            ("Matching_keys_do_not_have_matching_values ^k ^v", r#"{"x":"y"}"#, false),
        ];
        for (condition, input, holds) in cases {
            let with_hit = format!("{},\"hit\":\"yes\"}}", &input[..input.len() - 1]);
            let output = if *holds { with_hit.as_str() } else { input };
            check_all(&PLUGIN, &[(&format!("Condition {condition}\nAdd hit yes"), input, output)]);
        }
        // All conditions must hold.
        let both = "Condition Key_exists a\nCondition Key_does_not_exist b\nAdd hit yes";
        check_all(
            &PLUGIN,
            &[(both, r#"{"a":1}"#, r#"{"a":1,"hit":"yes"}"#), (both, r#"{"a":1,"b":1}"#, r#"{"a":1,"b":1}"#)],
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for (condition, message) in [
            ("Key_is_there a", "none of the kinds"),
            ("Key_exists", "a kind, a key"),
            ("Key_value_equals a", "takes a key and a value"),
            ("Key_value_matches a b c", "quotes keep words together"),
            ("A_key_matches (", "`condition` is"),
            ("Key_exists $1", "for the key `$1`"),
        ] {
            refused(&PLUGIN, &format!("Condition {condition}"), message);
        }
    }
}
