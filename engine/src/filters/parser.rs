//! `parser`: reads a value with a parser, and puts what it finds in the place of the record's fields.

use super::{Context, Filter, FilterContext, Outcome, Plugin};
use codecs::accessor::Accessor;
use codecs::conf::values::{Bool, Text};
use codecs::conf::{Diagnostics, Section, nearest};
use codecs::parsers::{Parsed, Parser};
use codecs::record::{Fields, Record, Timestamp};
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
        unescape_key "Unescape_key": Opt<Text> => NoEffect("it is deprecated and does nothing in Fluent Bit either; decoders of the parser unescape"),
    }
}

/// A configured filter.
struct Reader {
    key: Accessor,
    /// Named without `$`: then the field itself goes away unless `preserve_key`.
    named: bool,
    parsers: Vec<Arc<Parser>>,
    preserve_key: bool,
    reserve_data: bool,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "parser", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
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
        let mut fields = Fields::with_capacity_in(record.fields.len() + 8, context.arena);
        let mut sources = codecs::BumpVec::new_in(context.arena);
        let mut fits = None;
        let mut named = false;
        if self.named {
            // A key that stands twice is read each time; what the last one gives counts, as in Fluent Bit.
            for at in self.key.positions(&record.fields) {
                named = true;
                let Some(text) = record.fields[at].value.as_text() else { continue };
                fits = self.read(text, context, &mut fields);
                sources.extend(fits.map(|_| at));
                record.time = fits.flatten().unwrap_or(record.time);
            }
        }
        if !named {
            let text = self.key.get(&record.fields, context.arena).and_then(|v| v.as_text());
            fits = text.and_then(|text| self.read(text, context, &mut fields));
        }
        let Some(time) = fits else { return Outcome::Keep };
        record.time = time.unwrap_or(record.time);
        self.retain(record, &sources, &mut fields);
        record.fields = fields;
        Outcome::Keep
    }
}

impl Reader {
    /// Fields and time that the first parser that fits finds in a text.
    fn read<'a>(
        &'a self,
        text: &'a [u8],
        context: &mut FilterContext<'a, '_>,
        fields: &mut Fields<'a>,
    ) -> Option<Option<Timestamp>> {
        fields.clear();
        self.parsers.iter().find_map(|parser| {
            match parser.parse(text, context.now, context.arena, context.parsing, fields) {
                Parsed::Yes { time } => Some(time),
                Parsed::No => None,
            }
        })
    }

    /// Appends what stays of the record's own fields, of which those at `sources` were read. With `$` the source is
    /// never taken away, but not preserved by itself either, as in Fluent Bit.
    fn retain<'a>(&self, record: &Record<'a>, sources: &[usize], fields: &mut Fields<'a>) {
        match (self.reserve_data, self.preserve_key) {
            (true, true) => fields.extend_from_slice_copy(&record.fields),
            (true, false) => {
                let mut from = 0;
                for &source in sources {
                    fields.extend_from_slice_copy(&record.fields[from..source]);
                    from = source + 1;
                }
                fields.extend_from_slice_copy(&record.fields[from..]);
            }
            (false, true) => fields.extend(sources.last().map(|&source| record.fields[source])),
            (false, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{run, section, try_configure};
    use super::*;
    use codecs::record::Timestamp;
    use std::collections::HashMap;

    /// The parsers that the cases name.
    fn some_parsers() -> HashMap<String, Arc<Parser>> {
        let texts = [
            ("kv", "Name kv\nFormat regex\nRegex ^(?<key>\\w+)=(?<val>\\w+)$"),
            ("num", "Name num\nFormat regex\nRegex ^(?<number>\\d+)$\nTypes number:integer"),
            (
                "time",
                "Name time\nFormat regex\nRegex ^(?<time>\\d+) (?<m>.*)$\nTime_Key time\nTime_Format %s",
            ),
            ("j", "Name j\nFormat json"),
        ];
        let parser = |text| Parser::configure(&section(text), &mut Diagnostics::default()).expect(text);
        texts.into_iter().map(|(name, text)| (name.to_owned(), Arc::new(parser(text)))).collect()
    }

    #[test]
    fn parses_as_fluent_bit_does() {
        let input = r#"{"log":"a=b","x":1,"k":{"log":"c=d","y":2}}"#;
        let other = r#"{"log":"no","x":1}"#;
        let several = "Key_Name log\nParser kv\nParser num\nParser j";
        let cases: &[(&str, &str, &str)] = &[
            ("Key_Name log\nParser kv", input, r#"{"key":"a","val":"b"}"#),
            ("Key_Name log\nParser kv", other, other),
            ("Key_Name log\nParser kv", r#"{"log":5,"x":1}"#, r#"{"log":5,"x":1}"#),
            ("Key_Name log\nParser kv", r#"{"x":3}"#, r#"{"x":3}"#),
            ("Key_Name log\nParser kv\nReserve_Data On", other, other),
            (
                "Key_Name log\nParser kv\nReserve_Data On",
                r#"{"log":"a=b","x":1}"#,
                r#"{"key":"a","val":"b","x":1}"#,
            ),
            ("Key_Name log\nParser kv\nPreserve_Key On", input, r#"{"key":"a","val":"b","log":"a=b"}"#),
            (
                "Key_Name log\nParser kv\nReserve_Data On\nPreserve_Key On",
                r#"{"log":"a=b","x":1}"#,
                r#"{"key":"a","val":"b","log":"a=b","x":1}"#,
            ),
            // What the record had goes before what the parser found.
            (
                "Key_Name log\nParser kv\nReserve_Data On",
                r#"{"log":"a=b","key":"old","x":1}"#,
                r#"{"val":"b","key":"old","x":1}"#,
            ),
            // With `$` the source stays with the others, and is not preserved alone.
            (
                "Key_Name $log\nParser kv\nReserve_Data On",
                r#"{"log":"a=b"}"#,
                r#"{"key":"a","val":"b","log":"a=b"}"#,
            ),
            ("Key_Name $log\nParser kv\nPreserve_Key On", input, r#"{"key":"a","val":"b"}"#),
            ("Key_Name $k['log']\nParser kv", input, r#"{"key":"c","val":"d"}"#),
            (several, r#"{"log":"a=b"}"#, r#"{"key":"a","val":"b"}"#),
            (several, r#"{"log":"12"}"#, r#"{"number":12}"#),
            (several, r#"{"log":"{\"j\":1}"}"#, r#"{"j":1}"#),
            (several, r#"{"log":"none of it!"}"#, r#"{"log":"none of it!"}"#),
            // Each text of a key that stands twice is read; the last one counts, and decides.
            ("Key_Name log\nParser kv", r#"{"log":"a=b","x":1,"log":2}"#, r#"{"key":"a","val":"b"}"#),
            ("Key_Name log\nParser kv", r#"{"log":"a=b","log":"c=d"}"#, r#"{"key":"c","val":"d"}"#),
            ("Key_Name log\nParser kv", r#"{"log":"a=b","log":"no"}"#, r#"{"log":"no"}"#),
            (
                "Key_Name log\nParser kv\nReserve_Data On",
                r#"{"y":1,"log":"no","x":1,"log":"c=d","z":1}"#,
                r#"{"key":"c","val":"d","y":1,"log":"no","x":1,"z":1}"#,
            ),
            (
                "Key_Name log\nParser kv\nPreserve_Key On",
                r#"{"log":"a=b","log":"c=d"}"#,
                r#"{"key":"c","val":"d","log":"c=d"}"#,
            ),
        ];
        for (lines, input, want) in cases {
            let (filter, _) = try_configure(&PLUGIN, lines, &some_parsers());
            let (output, _) = run(&*filter.expect(lines), input, &mut Timestamp::default());
            assert_eq!(output.as_deref(), Some(*want), "{lines}\n{input}");
        }
    }

    #[test]
    fn the_time_found_is_the_record_s() {
        let (filter, _) = try_configure(&PLUGIN, "Key_Name log\nParser time", &some_parsers());
        let filter = filter.expect("it is right");
        let mut time = Timestamp { secs: 5, nanos: 6 };
        run(&*filter, r#"{"log":"no time"}"#, &mut time);
        assert_eq!(time, Timestamp { secs: 5, nanos: 6 });
        let (output, _) = run(&*filter, r#"{"log":"1700000000 hi"}"#, &mut time);
        assert_eq!(
            (time, output.as_deref()),
            (Timestamp { secs: 1_700_000_000, nanos: 0 }, Some(r#"{"m":"hi"}"#))
        );
    }

    #[test]
    fn an_unknown_parser_is_told_with_the_nearest_name() {
        let told = |lines| {
            let (filter, diagnostics) = try_configure(&PLUGIN, lines, &some_parsers());
            (
                filter.is_some(),
                diagnostics.list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            )
        };
        let (made, said) = told("Key_Name log\nParser nun");
        assert!(!made && said.contains("error: parser: there is no parser `nun`"), "{said}");
        assert!(said.contains("did you mean `num`?"), "{said}");
        let (made, said) = told("Key_Name log\nParser absent\nParser kv");
        assert!(made && said.contains("warning: parser: there is no parser `absent`"), "{said}");
        assert!(!told("Key_Name log").0 && !told("Parser kv").0 && !told("Key_Name $1\nParser kv").0);
    }
}
