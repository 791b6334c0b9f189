//! `record_modifier`: removes fields and appends constant ones.
//!
//! Never: copies a constant; records borrow it from the filter.

use super::constant::Constant;
use super::words::{self, Quotes};
use super::{Context, Filter, FilterContext, Outcome, Plugin};
use crate::random::Random;
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Section};
use codecs::record::{Field, Record, Text as Bytes, Value};
use std::sync::Arc;

codecs::options! {
    /// Removes fields, or all but some, and appends constant ones.
    pub struct Options {
        /// `KEY VALUE`: appends a field; double quotes keep words together.
        record "Record": Many<Text>,
        /// Removes the field of this name, in any case; with `*` at its end, those that begin so.
        remove_key "Remove_key": Many<Text>,
        /// Removes all fields but those of this name, in any case; with `*` at its end, those that begin so.
        allowlist_key "Allowlist_key": Many<Text>,
        /// Another name of `Allowlist_key`.
        whitelist_key "Whitelist_key": Many<Text>,
        /// Appends a field of this name with a random UUID (version 4) for each record.
        uuid_key "Uuid_key": Opt<Text>,
    }
}

/// A key, or the beginning of keys, without regard to case.
struct Name {
    text: Box<[u8]>,
    prefix: bool,
}

impl Name {
    fn new(text: &str) -> Self {
        let prefix = text.strip_suffix('*');
        Name { text: prefix.unwrap_or(text).as_bytes().into(), prefix: prefix.is_some() }
    }

    fn fits(&self, key: &[u8]) -> bool {
        let head = if self.prefix { key.get(..self.text.len()) } else { Some(key) };
        head.is_some_and(|head| head.eq_ignore_ascii_case(&self.text))
    }
}

/// What is left of a record, and what is appended.
struct Modifier {
    /// Fields that are removed when `remove`, that alone stay when not.
    names: Vec<Name>,
    remove: bool,
    appended: Vec<(Constant, Constant)>,
    uuid_key: Option<Constant>,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "record_modifier", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let appended = appended(section, context.name, diagnostics);
    let allowed: Vec<&Text> = options.allowlist_key.iter().chain(&options.whitelist_key).collect();
    if !options.remove_key.is_empty() && !allowed.is_empty() {
        let message = format!("{}: `remove_key` and `allowlist_key` exclude each other", context.name);
        diagnostics.error(&section.span, message).help("rule: name either what goes or what stays");
        return None;
    }
    let remove = allowed.is_empty();
    let names = options.remove_key.iter().chain(allowed).map(|text| Name::new(&text.0)).collect();
    let uuid_key = options.uuid_key.map(|text| Constant::new(&text.0));
    Some(Arc::new(Modifier { names, remove, appended: appended?, uuid_key }))
}

/// The fields of the `Record` lines. One with too many words is left out, as in Fluent Bit, with a warning.
fn appended(
    section: &Section,
    owner: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<(Constant, Constant)>> {
    const RULE: &str = "rule: a key and a value; double quotes keep words together";
    let mut fields = Some(Vec::new());
    for entry in section.all("Record") {
        let words = words::split(&entry.value, 2, Quotes::Double).unwrap_or_default();
        match words.as_slice() {
            [key, value] => {
                fields.iter_mut().for_each(|f| f.push((Constant::new(key), Constant::new(value))))
            }
            [] | [_] => {
                diagnostics
                    .error(&entry.value_span, format!("{owner}: `record` is `{}`", entry.value))
                    .help(RULE);
                fields = None;
            }
            _ => {
                let message = format!("{owner}: `record` has more than a key and a value, and is left out");
                diagnostics.warning(&entry.value_span, message).help(RULE);
            }
        }
    }
    fields
}

impl Filter for Modifier {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        if !(self.remove && self.names.is_empty()) {
            let before = record.fields.len();
            record.fields.retain(|f| self.names.iter().any(|name| name.fits(f.key.bytes)) != self.remove);
            if record.fields.is_empty() && before > 0 && self.appended.is_empty() && self.uuid_key.is_none() {
                // Nothing is left to send; Fluent Bit drops it too.
                return Outcome::Drop;
            }
        }
        record.fields.extend(self.appended.iter().map(|(k, v)| Field::new(k.text(), Value::Text(v.text()))));
        if let Some(key) = &self.uuid_key {
            let uuid = context.arena.alloc(uuid_v4(context.random));
            record.fields.push(Field::new(key.text(), Value::Text(Bytes::plain(uuid))));
        }
        Outcome::Keep
    }
}

/// A random UUID (RFC 9562, section 5.4) as text.
fn uuid_v4(random: &mut Random) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let high = (random.next_u64() & !0xf000) | 0x4000;
    let low = (random.next_u64() & !(0b11 << 62)) | (0b10 << 62);
    let bits = u128::from(high) << 64 | u128::from(low);
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
    for (n, at) in places.enumerate() {
        text[at] = DIGITS[(bits >> (124 - 4 * n) & 0xf) as usize];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_all, configure, refused, run, try_configure};
    use super::*;
    use codecs::record::Timestamp;
    use std::collections::HashMap;

    #[test]
    fn modifies_as_fluent_bit_does() {
        let abc = r#"{"a":1,"b":2,"c":3,"ab":4}"#;
        check_all(
            &PLUGIN,
            &[
                (
                    "Record host new\nRecord extra with spaces kept",
                    r#"{"a":1,"host":"old"}"#,
                    r#"{"a":1,"host":"new"}"#,
                ),
                ("Record \"a key\" \"a \\\" value\"", r#"{"x":1}"#, r#"{"x":1,"a key":"a \" value"}"#),
                ("Record k é", "{}", r#"{"k":"\u00e9"}"#),
                ("Remove_key a\nRemove_key C\nRemove_key nothere", abc, r#"{"b":2,"ab":4}"#),
                ("Remove_key A*", abc, r#"{"b":2,"c":3}"#),
                ("Allowlist_key b\nWhitelist_key C", abc, r#"{"b":2,"c":3}"#),
                ("Allowlist_key a*", abc, r#"{"a":1,"ab":4}"#),
                ("Allowlist_key z", abc, ""),
                ("Allowlist_key z\nRecord k v", abc, r#"{"k":"v"}"#),
                ("Remove_key *", abc, ""),
                ("Remove_key x", "{}", "{}"),
            ],
        );
    }

    #[test]
    fn a_uuid_is_random_and_of_version_4() {
        let filter = configure(&PLUGIN, "Uuid_key id");
        let (output, _) = run(&*filter, r#"{"a":1}"#, &mut Timestamp::default());
        let output = output.expect("it is kept");
        let uuid = output
            .strip_prefix(r#"{"a":1,"id":""#)
            .and_then(|o| o.strip_suffix("\"}"))
            .expect("a field is appended");
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert!(uuid[14..].starts_with('4') && matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        let mut random = Random::from_seed(1);
        assert_ne!(uuid_v4(&mut random), uuid_v4(&mut random));
    }

    #[test]
    fn says_what_is_wrong() {
        refused(&PLUGIN, "Record key", "`record` is `key`");
        refused(&PLUGIN, "Remove_key a\nWhitelist_key b", "exclude each other");
        let (_, diagnostics) = try_configure(&PLUGIN, "Record a b c", &HashMap::new());
        assert!(diagnostics.list[0].to_string().contains("is left out"), "{:?}", diagnostics.list);
    }
}
