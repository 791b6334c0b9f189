//! Record accessors: how a configuration names a value inside a record.
//!
//! Owns: `$key['sub'][0]`, dotted keys, and templates that mix text, tag parts, captures and values.
//! Never: changes a record, copies more than a rendered template.
//! Invariant: parsing rejects what could never be found; lookup never fails, it finds a value or nothing.

mod template;

pub use template::Template;

use crate::json;
use crate::record::{Field, Value};
use bumpalo::Bump;

/// Why a text is not an accessor or template: a rule, lower case, without the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// One step into a map or an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `['name']`, or the part behind a dot.
    Key(Box<[u8]>),
    /// `[0]`, counted from 0.
    Index(usize),
}

/// The place of one value.
///
/// - `log`: the key `log`.
/// - `$kubernetes['labels']['app']`, `$list[0]`: steps into maps and arrays.
/// - `kubernetes.namespace_name`: the key of that very name; where there is none, `namespace_name` in `kubernetes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accessor {
    /// A top-level key that is tried first.
    literal: Option<Box<[u8]>>,
    /// First step (a top-level key) and the others; empty when only `literal` counts.
    path: Option<(Box<[u8]>, Vec<Step>)>,
    /// Steps were written with brackets: a value that is neither map nor array then stands for what is inside it,
    /// as in Fluent Bit.
    scalar_stands: bool,
}

impl Accessor {
    /// Reads an accessor. The whole text must be one; see [`Template`] for text around it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let Some(inner) = text.strip_prefix('$') else {
            if text.is_empty() {
                return Err(Malformed("a key is not empty"));
            }
            // Whatever it looks like, it may be the literal key.
            let path = steps(text).ok().filter(|(_, steps)| !steps.is_empty());
            let scalar_stands = path.is_some() && text.contains('[');
            return Ok(Accessor { literal: Some(text.as_bytes().into()), path, scalar_stands });
        };
        if inner.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Malformed(
                "a key after `$` begins with a letter or `_`; `$0` to `$9` are captures of a pattern",
            ));
        }
        let (key, steps) = steps(inner)?;
        if steps.is_empty() {
            return Ok(Accessor { literal: Some(key), path: None, scalar_stands: false });
        }
        let literal = (!inner.contains('[')).then(|| inner.as_bytes().into());
        Ok(Accessor { scalar_stands: literal.is_none(), literal, path: Some((key, steps)) })
    }

    /// An accessor made of an identifier and the steps behind it, as a template finds them.
    fn from_steps(key: &str, steps: Vec<Step>) -> Self {
        match steps.is_empty() {
            true => Accessor { literal: Some(key.as_bytes().into()), path: None, scalar_stands: false },
            false => {
                Accessor { literal: None, path: Some((key.as_bytes().into(), steps)), scalar_stands: true }
            }
        }
    }

    /// The value, if the record has it. Where a key stands twice the last one counts, as in Fluent Bit.
    /// Raw values on the way are opened in `arena`.
    pub fn get<'a>(&self, fields: &[Field<'a>], arena: &'a Bump) -> Option<Value<'a>> {
        if let Some(found) = self.literal.as_deref().and_then(|key| last(fields, key)) {
            return Some(found);
        }
        let (key, steps) = self.path.as_ref()?;
        let top = last(fields, key)?;
        if self.scalar_stands && !is_container(&top) {
            return Some(top);
        }
        walk(top, steps, arena)
    }

    /// Where top-level values of this name stand, in order.
    pub fn positions<'f>(&'f self, fields: &'f [Field<'_>]) -> impl Iterator<Item = usize> + 'f {
        let key = self.literal.as_deref();
        fields.iter().enumerate().filter(move |(_, f)| Some(f.key.bytes) == key).map(|(at, _)| at)
    }

    /// As [`Accessor::get`], but elements of arrays, which have no key of their own, are not found.
    pub fn get_keyed<'a>(&self, fields: &[Field<'a>], arena: &'a Bump) -> Option<Value<'a>> {
        if !self.ends_in_array() {
            return self.get(fields, arena);
        }
        if let Some(found) = self.literal.as_deref().and_then(|key| last(fields, key)) {
            return Some(found);
        }
        let (key, _) = self.path.as_ref()?;
        last(fields, key).filter(|top| self.scalar_stands && !is_container(top))
    }

    /// True when the last step is into an array.
    pub fn ends_in_array(&self) -> bool {
        matches!(self.path.as_ref().and_then(|(_, steps)| steps.last()), Some(Step::Index(_)))
    }

    /// The top-level keys whose values this may read.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.literal.as_deref().into_iter().chain(self.path.as_ref().map(|(key, _)| &**key))
    }
}

/// The value of the last field of this key.
fn last<'a>(fields: &[Field<'a>], key: &[u8]) -> Option<Value<'a>> {
    fields.iter().rev().find(|f| f.key.bytes == key).map(|f| f.value)
}

/// True for maps and arrays, opened or raw.
fn is_container(value: &Value<'_>) -> bool {
    matches!(value, Value::Map(_) | Value::Array(_) | Value::Json(_))
}

/// Follows the steps from `value`.
fn walk<'a>(value: Value<'a>, steps: &[Step], arena: &'a Bump) -> Option<Value<'a>> {
    let mut value = value;
    for step in steps {
        value = match (step, json::expand(value, arena)) {
            (Step::Key(key), Value::Map(fields)) => last(fields, key)?,
            (Step::Index(index), Value::Array(values)) => *values.get(*index)?,
            _ => return None,
        };
    }
    Some(value)
}

/// A first key and what follows it, of a whole text.
fn steps(text: &str) -> Result<(Box<[u8]>, Vec<Step>), Malformed> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (key, mut rest) = text.split_at(end);
    if key.is_empty() {
        return Err(Malformed("a key is not empty"));
    }
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end == 0 {
                return Err(Malformed("a key between dots is not empty"));
            }
            steps.push(Step::Key(name.as_bytes()[..end].into()));
            rest = &name[end..];
        } else {
            let (step, behind) = bracket(rest)?.ok_or(Malformed("a dot or `[` follows a key"))?;
            steps.push(step);
            rest = behind;
        }
    }
    Ok((key.as_bytes().into(), steps))
}

/// A `['key']`, `["key"]` or `[0]` at the head of `text`, and what stands behind it; `None` when there is no `[`.
fn bracket(text: &str) -> Result<Option<(Step, &str)>, Malformed> {
    const UNCLOSED: Malformed = Malformed("a `[` is closed by `]`, a quoted key by the same quote");
    let Some(inner) = text.strip_prefix('[') else { return Ok(None) };
    let inner = inner.trim_start_matches([' ', '\t']);
    let quote = match inner.bytes().next() {
        Some(quote @ (b'\'' | b'"')) => quote as char,
        _ => {
            let (digits, behind) = inner.split_once(']').ok_or(UNCLOSED)?;
            let index = digits
                .trim_end()
                .parse()
                .map_err(|_| Malformed("between `[` and `]` stands a quoted key or a number"))?;
            return Ok(Some((Step::Index(index), behind)));
        }
    };
    // A doubled quote inside the key is one quote.
    let (mut key, mut rest) = (String::new(), &inner[1..]);
    loop {
        let (part, behind) = rest.split_once(quote).ok_or(UNCLOSED)?;
        key.push_str(part);
        let Some(more) = behind.strip_prefix(quote) else {
            let behind = behind.trim_start_matches([' ', '\t']).strip_prefix(']').ok_or(UNCLOSED)?;
            return Ok(Some((Step::Key(key.into_bytes().into()), behind)));
        };
        key.push(quote);
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Escape;
    use crate::record::{Fields, Text};
    use proptest::prelude::*;
    use serde_json::Value as Tree;

    fn field<'a>(key: &'a str, value: Value<'a>) -> Field<'a> {
        Field::new(Text::new(key.as_bytes()), value)
    }

    fn text(bytes: &str) -> Value<'_> {
        Value::text(bytes.as_bytes())
    }

    #[test]
    fn finds_values() {
        let arena = Bump::new();
        let labels =
            [field("app", text("web")), field("it's", text("quoted")), field("a.b", text("inner dot"))];
        let list = [text("zero"), Value::Map(&labels)];
        let kubernetes = [field("namespace_name", text("production")), field("labels", Value::Map(&labels))];
        let record = [
            field("log", text("first")),
            field("log", text("last")),
            field("kubernetes", Value::Map(&kubernetes)),
            field("list", Value::Array(&list)),
            field("a.b", text("literal")),
            field("a", Value::Map(&labels)),
            field("@t", text("at")),
            field("n", Value::Int(5)),
        ];
        let cases: &[(&str, Option<&str>)] = &[
            ("log", Some("last")),
            ("$log", Some("last")),
            ("absent", None),
            ("$kubernetes['namespace_name']", Some("production")),
            ("$kubernetes[\"namespace_name\"]", Some("production")),
            ("kubernetes['namespace_name']", Some("production")),
            ("kubernetes.namespace_name", Some("production")),
            ("$kubernetes.namespace_name", Some("production")),
            ("kubernetes.labels.app", Some("web")),
            ("$kubernetes['labels']['it''s']", Some("quoted")),
            ("$kubernetes['labels']['a.b']", Some("inner dot")),
            ("$kubernetes['absent']['app']", None),
            ("$list[0]", Some("zero")),
            ("$list[1]['app']", Some("web")),
            ("$list[2]", None),
            ("$list['app']", None),
            ("$kubernetes[0]", None),
            ("a.b", Some("literal")),
            ("a.app", Some("web")),
            ("@t", Some("at")),
            // As in Fluent Bit: there is nothing to step into, so the value itself is taken.
            ("$log['x']", Some("last")),
            ("log.x", None),
        ];
        for (accessor, want) in cases {
            let got = Accessor::parse(accessor).expect(accessor).get(&record, &arena);
            assert_eq!(got, want.map(text), "{accessor}");
        }
    }

    #[test]
    fn an_element_of_an_array_has_no_key() {
        let arena = Bump::new();
        let inner = [field("x", text("inside"))];
        let list = [Value::Map(&inner)];
        let record = [field("l", Value::Array(&list)), field("s", text("scalar"))];
        for (accessor, want) in
            [("$l[0]", None), ("$l[0]['x']", Some("inside")), ("$s[0]", Some("scalar")), ("$z[0]", None)]
        {
            let got = Accessor::parse(accessor).expect(accessor).get_keyed(&record, &arena);
            assert_eq!(got, want.map(text), "{accessor}");
        }
    }

    #[test]
    fn refuses_what_could_never_be_found() {
        for bad in ["", "$", "$1", "$.a", "$a.", "$a[", "$a['x]", "$a['x'", "$a[x]", "$a[-1]", "$a['b']c"] {
            assert!(Accessor::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_cut_of_an_accessor_is_read_or_refused() {
        let whole = "$k['a''b'][\"c\"][12].d é";
        for cut in (0..=whole.len()).filter(|&cut| whole.is_char_boundary(cut)) {
            let _ = Accessor::parse(&whole[..cut]);
            let _ = Template::parse(&whole[..cut]);
        }
    }

    /// A map of maps and arrays with few keys, so that paths often lead somewhere.
    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            Just(Tree::Null),
            any::<u8>().prop_map(Tree::from),
            "[a-c\"é]{0,2}".prop_map(Tree::from)
        ];
        let inner = leaf.prop_recursive(4, 24, 3, |inner| {
            let map = prop::collection::btree_map("[abc]", inner.clone(), 0..3);
            prop_oneof![
                prop::collection::vec(inner, 0..3).prop_map(Tree::from),
                map.prop_map(|m| m.into_iter().collect())
            ]
        });
        prop::collection::btree_map("[abc]", inner, 1..4).prop_map(|m| m.into_iter().collect())
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![3 => "[abc]".prop_map(|k| Step::Key(k.into_bytes().into())), 1 => (0..3usize).prop_map(Step::Index)]
    }

    /// What a path leads to, step by step.
    fn naive<'t>(tree: &'t Tree, key: &str, steps: &[Step]) -> Option<&'t Tree> {
        let top = tree.get(key)?;
        if !(top.is_array() || top.is_object()) {
            return Some(top);
        }
        steps.iter().try_fold(top, |at, step| match step {
            Step::Key(key) => at.get(std::str::from_utf8(key).expect("ASCII")),
            Step::Index(index) => at.get(index),
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_walk(tree in tree(), key in "[abc]", steps in prop::collection::vec(step(), 0..4)) {
            let path: String = steps.iter().map(|step| match step {
                Step::Key(key) => format!("['{}']", String::from_utf8_lossy(key)),
                Step::Index(index) => format!("[{index}]"),
            }).collect();
            let (arena, text) = (Bump::new(), tree.to_string());
            let mut fields = Fields::new_in(&arena);
            json::parse_object(text.as_bytes(), &arena, &mut json::Scratch::default(), &mut fields).expect("valid");
            let got = Accessor::parse(&format!("${key}{path}")).expect("valid").get(&fields, &arena).map(|value| {
                let mut out = Vec::new();
                json::write_value(&mut out, &value, Escape::Unicode);
                serde_json::from_slice::<Tree>(&out).expect("valid")
            });
            prop_assert_eq!(got.as_ref(), naive(&tree, &key, &steps));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[$a\\['\"0-9.\\]TAG é]{0,16}") {
            let (arena, mut out) = (Bump::new(), Vec::new());
            if let Ok(accessor) = Accessor::parse(&text) {
                accessor.get(&[field("a", Value::Null)], &arena);
            }
            if let Ok(template) = Template::parse(&text) {
                template.render(b"a.b", &[], &[], &arena, &mut out);
            }
        }
    }
}
