//! `nest`: gathers fields into a map, or lifts the fields of a map to the top.

use super::constant::Constant;
use super::{Context, Filter, FilterContext, Outcome, Plugin};
use codecs::Bump;
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Section};
use codecs::json;
use codecs::record::{Field, Fields, Record, Text as Bytes, Value};
use std::sync::Arc;

codecs::choice! {
    /// What is done.
    pub enum Operation { Nest "nest", Lift "lift" }
}

codecs::options! {
    /// Gathers fields into a map (`nest`), or lifts the fields of a map to the top (`lift`).
    pub struct Options {
        /// `nest` or `lift`.
        operation "Operation": Opt<Operation>,
        /// Fields to gather: a name, or with `*` at its end, those that begin so.
        wildcard "Wildcard": Many<Text>,
        /// The key of the map that they go into.
        nest_under "Nest_under": Opt<Text>,
        /// The key of the map to lift from.
        nested_under "Nested_under": Opt<Text>,
        /// Put before the keys of the moved fields.
        add_prefix "Add_prefix": Opt<Text>,
        /// Taken from the keys of the moved fields that begin with it.
        remove_prefix "Remove_prefix": Opt<Text>,
    }
}

/// A key, or the beginning of keys.
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
        if self.prefix { key.starts_with(&self.text) } else { *key == *self.text }
    }
}

/// What happens to the keys of moved fields.
enum Rekey {
    Keep,
    Add(Constant),
    Remove(Box<[u8]>),
}

impl Rekey {
    fn apply<'a>(&'a self, key: Bytes<'a>, arena: &'a Bump) -> Bytes<'a> {
        match self {
            Rekey::Keep => key,
            Rekey::Add(prefix) => {
                let parts = prefix.bytes().iter().chain(key.bytes).copied();
                let bytes = collect(parts, prefix.bytes().len() + key.bytes.len(), arena);
                Bytes { bytes, plain: key.plain && prefix.text().plain }
            }
            Rekey::Remove(prefix) => {
                Bytes { bytes: key.bytes.strip_prefix(&**prefix).unwrap_or(key.bytes), ..key }
            }
        }
    }
}

/// The bytes as one slice of the arena.
fn collect(bytes: impl Iterator<Item = u8>, len: usize, arena: &Bump) -> &[u8] {
    let mut all = bumpalo::collections::Vec::with_capacity_in(len, arena);
    all.extend(bytes);
    all.into_bump_slice()
}

/// A configured filter.
struct Move {
    operation: Operation,
    names: Vec<Name>,
    under: Constant,
    rekey: Rekey,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "nest", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let mut fail = |message: &str, rule: &str| {
        diagnostics
            .error(&section.span, format!("{}: {message}", context.name))
            .help(format!("rule: {rule}"));
    };
    let Some(operation) = options.operation else {
        fail("`operation` is missing", "one of nest lift");
        return None;
    };
    let rekey = match (options.add_prefix, options.remove_prefix) {
        (Some(_), Some(_)) => {
            fail("`add_prefix` and `remove_prefix` exclude each other", "one of them");
            return None;
        }
        (Some(add), None) => Rekey::Add(Constant::new(&add.0)),
        (None, Some(remove)) => Rekey::Remove(remove.0.as_bytes().into()),
        (None, None) => Rekey::Keep,
    };
    // Either spelling serves both operations, the last one counts.
    let under = section
        .entries
        .iter()
        .rev()
        .find(|e| e.key.eq_ignore_ascii_case("Nest_under") || e.key.eq_ignore_ascii_case("Nested_under"));
    let Some(under) = under else {
        match operation {
            Operation::Nest => fail("`nest_under` is missing", "the key of the map that the fields go into"),
            Operation::Lift => fail("`nested_under` is missing", "the key of the map to lift from"),
        }
        return None;
    };
    if operation == Operation::Nest && options.wildcard.is_empty() {
        let message = format!("{}: without a `wildcard` no field is nested", context.name);
        diagnostics.warning(&section.span, message);
    }
    let names = options.wildcard.iter().map(|text| Name::new(&text.0)).collect();
    Some(Arc::new(Move { operation, names, under: Constant::new(&under.value), rekey }))
}

impl Filter for Move {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        match self.operation {
            Operation::Nest => self.nest(&mut record.fields, context.arena),
            Operation::Lift => self.lift(&mut record.fields, context.arena),
        }
        Outcome::Keep
    }
}

impl Move {
    /// The others first, then the new map with the fitting ones, both in their order.
    fn nest<'a>(&'a self, fields: &mut Fields<'a>, arena: &'a Bump) {
        let fits = |f: &Field<'_>| self.names.iter().any(|name| name.fits(f.key.bytes));
        let count = fields.iter().filter(|f| fits(f)).count();
        if count == 0 {
            return;
        }
        let mut nested = Fields::with_capacity_in(count, arena);
        let moved = fields.iter().filter(|f| fits(f));
        nested.extend(moved.map(|f| Field::new(self.rekey.apply(f.key, arena), f.value)));
        fields.retain(|f| !fits(f));
        fields.push(Field::new(self.under.text(), Value::Map(nested.into_bump_slice())));
    }

    /// The others first, then what stands in the maps of that key.
    fn lift<'a>(&'a self, fields: &mut Fields<'a>, arena: &'a Bump) {
        let mut lifted = Fields::new_in(arena);
        fields.retain(|f| {
            if f.key.bytes != self.under.bytes() {
                return true;
            }
            let Value::Map(inner) = json::expand(f.value, arena) else { return true };
            lifted.extend(inner.iter().map(|f| Field::new(self.rekey.apply(f.key, arena), f.value)));
            false
        });
        fields.extend(lifted);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_all, refused, try_configure};
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn moves_as_fluent_bit_does() {
        let nest = "Operation nest\nWildcard k_*\nNest_under k";
        let lift = "Operation lift\nNested_under m";
        let with = |base: &'static str, more: &str| -> &'static str { format!("{base}\n{more}").leak() };
        check_all(
            &PLUGIN,
            &[
                (nest, r#"{"k_a":1,"k_b":2,"other":3}"#, r#"{"other":3,"k":{"k_a":1,"k_b":2}}"#),
                (nest, r#"{"other":4}"#, r#"{"other":4}"#),
                (nest, r#"{"k_a":{"x":[1]},"z":1}"#, r#"{"z":1,"k":{"k_a":{"x":[1]}}}"#),
                (
                    with(nest, "Remove_prefix k_"),
                    r#"{"k_a":1,"k_b":2,"o":3}"#,
                    r#"{"o":3,"k":{"a":1,"b":2}}"#,
                ),
                (with(nest, "Add_prefix é_"), r#"{"k_a":1}"#, r#"{"k":{"\u00e9_k_a":1}}"#),
                (
                    with(nest, "Wildcard other"),
                    r#"{"k_a":1,"x":2,"other":3}"#,
                    r#"{"x":2,"k":{"k_a":1,"other":3}}"#,
                ),
                ("Operation nest\nWildcard *\nNest_under k", r#"{"a":1}"#, r#"{"k":{"a":1}}"#),
                ("Operation nest\nNest_under k", r#"{"a":1}"#, r#"{"a":1}"#),
                (lift, r#"{"a":0,"m":{"x":1,"y":{"z":2}},"b":3}"#, r#"{"a":0,"b":3,"x":1,"y":{"z":2}}"#),
                (lift, r#"{"m":"text"}"#, r#"{"m":"text"}"#),
                (lift, r#"{"m":[1]}"#, r#"{"m":[1]}"#),
                (lift, r#"{"m":{},"a":1}"#, r#"{"a":1}"#),
                (lift, r#"{"m":{"s":"q\"\u00e9"},"a":1}"#, r#"{"a":1,"s":"q\"\u00e9"}"#),
                (lift, r#"{"m":{"a":2},"a":1}"#, r#"{"a":2}"#),
                (
                    with(lift, "Add_prefix m_"),
                    r#"{"m":{"x":1,"y":2},"x":"top"}"#,
                    r#"{"x":"top","m_x":1,"m_y":2}"#,
                ),
                (with(lift, "Remove_prefix x_"), r#"{"m":{"x_a":1,"b":2}}"#, r#"{"a":1,"b":2}"#),
            ],
        );
    }

    #[test]
    fn says_what_is_wrong() {
        refused(&PLUGIN, "Wildcard a", "`operation` is missing");
        refused(&PLUGIN, "Operation raise", "`operation` is `raise`");
        refused(&PLUGIN, "Operation nest\nWildcard a", "`nest_under` is missing");
        refused(&PLUGIN, "Operation lift", "`nested_under` is missing");
        refused(
            &PLUGIN,
            "Operation lift\nNested_under a\nAdd_prefix x\nRemove_prefix y",
            "exclude each other",
        );
        let (_, diagnostics) = try_configure(&PLUGIN, "Operation nest\nNest_under k", &HashMap::new());
        assert!(diagnostics.list[0].to_string().contains("no field is nested"), "{:?}", diagnostics.list);
    }
}
