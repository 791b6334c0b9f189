//! `parser`: reads a value with a parser, and puts what it finds in the place of the record's fields.

use super::{Context, Filter, FilterContext, Outcome, Plugin};
use codecs::accessor::Accessor;
use codecs::conf::values::{Bool, Text};
use codecs::conf::{Diagnostics, OptionSpec, Section, nearest};
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Fields, Record};
use std::sync::Arc;

codecs::options! {
    /// Reads the value of a key with a parser; its fields replace the record's.
    pub struct Options {
        /// The key whose value is read; with `$` before it, a place inside the record.
        key_name "Key_Name": Opt<Text>,
        /// Name of a parser; several are tried in order until one fits.
        parser "Parser": Many<Text>,
        /// Keeps the field that was read (when it was named without `$`).
        preserve_key "Preserve_Key": One<Bool> = "false",
        /// Keeps the other fields, behind those of the parser.
        reserve_data "Reserve_Data": One<Bool> = "false",
        /// Deprecated in Fluent Bit.
        unescape_key "Unescape_key": Opt<Bool> => NoEffect("it is deprecated and does nothing in Fluent Bit either; decoders of the parser unescape"),
    }
}

/// The plugin.
pub static PLUGIN: ParserFilter = ParserFilter;

/// Makes [`Reader`]s.
pub struct ParserFilter;

/// A configured filter.
struct Reader {
    key: Accessor,
    /// Named without `$`: then the field itself goes away unless `preserve_key`.
    named: bool,
    parsers: Vec<Arc<Parser>>,
    preserve_key: bool,
    reserve_data: bool,
}

impl Plugin for ParserFilter {
    fn name(&self) -> &'static str {
        "parser"
    }

    fn about(&self) -> &'static str {
        Options::ABOUT
    }

    fn tables(&self) -> Vec<&'static [OptionSpec]> {
        vec![Options::TABLE]
    }

    fn configure(
        &self,
        section: &Section,
        context: &Context<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<dyn Filter>> {
        let options = Options::read(section, context.name, diagnostics)?;
        let parsers = parsers(section, context, diagnostics);
        let Some(Text(key)) = options.key_name else {
            let message = format!("{}: `key_name` is missing", context.name);
            diagnostics.error(&section.span, message).help("rule: the key whose value is parsed");
            return None;
        };
        let accessor = match Accessor::parse(&key) {
            Ok(accessor) => accessor,
            Err(rule) => {
                diagnostics.error(&section.span, format!("{}: `key_name` is `{key}`: {rule}", context.name));
                return None;
            }
        };
        Some(Arc::new(Reader {
            key: accessor,
            named: !key.starts_with('$'),
            parsers: parsers?,
            preserve_key: options.preserve_key.0,
            reserve_data: options.reserve_data.0,
        }))
    }
}

/// The parsers named. One that does not exist is an error when none is left, and else a warning, as in Fluent Bit.
fn parsers(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Arc<Parser>>> {
    let owner = context.name;
    let parsers: Vec<_> =
        section.all("Parser").filter_map(|entry| context.parsers.get(&entry.value).cloned()).collect();
    for entry in section.all("Parser").filter(|entry| !context.parsers.contains_key(&entry.value)) {
        let message = format!("{owner}: there is no parser `{}`", entry.value);
        let found = match parsers.is_empty() {
            true => diagnostics.error(&entry.value_span, message),
            false => diagnostics.warning(&entry.value_span, message),
        };
        match nearest(&entry.value, context.parsers.keys().map(String::as_str)) {
            Some(name) => found.help(format!("did you mean `{name}`?")),
            None => found.help("parsers are defined in `[PARSER]` sections, most often of a `Parsers_File`"),
        };
    }
    if section.get("Parser").is_none() {
        diagnostics
            .error(&section.span, format!("{owner}: `parser` is missing"))
            .help("rule: the name of a parser");
    }
    (!parsers.is_empty()).then_some(parsers)
}

impl Filter for Reader {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let Some(text) = self.key.get(&record.fields, context.arena).and_then(|v| v.as_text()) else {
            return Outcome::Keep;
        };
        let mut fields = Fields::with_capacity_in(record.fields.len() + 8, context.arena);
        let fits = self.parsers.iter().find_map(|parser| {
            match parser.parse(text, context.now, context.arena, context.parsing, &mut fields) {
                Parsed::Yes { time } => Some(time),
                Parsed::No => None,
            }
        });
        let Some(time) = fits else { return Outcome::Keep };
        record.time = time.unwrap_or(record.time);
        self.retain(record, &mut fields);
        record.fields = fields;
        Outcome::Keep
    }
}

impl Reader {
    /// Appends what stays of the record's own fields. With `$` the source is never taken away, but not preserved
    /// by itself either, as in Fluent Bit.
    fn retain<'a>(&self, record: &Record<'a>, fields: &mut Fields<'a>) {
        let source = if self.named { self.key.position(&record.fields) } else { None };
        match (self.reserve_data, source) {
            (true, Some(source)) if !self.preserve_key => {
                fields.extend_from_slice_copy(&record.fields[..source]);
                fields.extend_from_slice_copy(&record.fields[source + 1..]);
            }
            (true, _) => fields.extend_from_slice_copy(&record.fields),
            (false, Some(source)) if self.preserve_key => fields.push(record.fields[source]),
            (false, _) => {}
        }
    }
}
