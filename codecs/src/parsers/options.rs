//! The options of `[PARSER]`, and how they become a parser.

use super::decode::{Action, Backend, Decoder, Rule};
use super::types::{Kind, Types};
use super::{Column, Format, Parser};
use crate::conf::options::{Repeats, check_names, check_repeats, first_counts};
use crate::conf::values::{Bool, Text, split_quoted};
use crate::conf::{Diagnostics, Section};
use crate::record;
use crate::regex::Regex;
use crate::time;

crate::choice! {
    /// How a parser reads its text.
    pub enum FormatName { Json "json", Regex "regex", Ltsv "ltsv", Logfmt "logfmt" }
}

crate::options! {
    /// Makes fields and a time out of a text.
    pub struct Options {
        /// Name by which inputs and filters refer to it.
        name "Name": Opt<Text>,
        /// How the text is read.
        format "Format": Opt<FormatName>,
        /// For the format regex: a Ruby pattern whose named groups become fields.
        regex "Regex": Opt<Text>,
        /// For the format regex: leave out groups that are empty.
        skip_empty_values "Skip_Empty_Values": One<Bool> = "true",
        /// Key of the field that holds the time; without it, `time`.
        time_key "Time_Key": Opt<Text>,
        /// How the time is written, in the conversions of strptime and `%L` (or `%f`) for fractions of a second.
        time_format "Time_Format": Opt<Text>,
        /// Keep the time's field in the record.
        time_keep "Time_Keep": One<Bool> = "false",
        /// A time that does not fit its format fails; `off` takes the part that fits.
        time_strict "Time_Strict": One<Bool> = "true",
        /// Read times without a zone in the machine's zone.
        time_system_timezone "Time_System_Timezone": One<Bool> = "false",
        /// Offset from UTC of times without a zone: `+0100`.
        time_offset "Time_Offset": Opt<Text>,
        /// Zone of times without one, by its name in the zone database: `Europe/Berlin`.
        time_zone "Time_Zone": Opt<Text>,
        /// For the format logfmt: a key without a value makes the line not fit.
        logfmt_no_bare_keys "Logfmt_No_Bare_Keys": One<Bool> = "false",
        /// Types of fields: `code:integer size:integer ratio:float ok:bool id:hex`.
        types "Types": Opt<Text>,
        /// Decode a field's text and append what it holds: `json log`.
        decode_field "Decode_Field": Many<Text>,
        /// Decode a field's text in its place: `escaped_utf8 log do_next`.
        decode_field_as "Decode_Field_As": Many<Text>,
    }
}

/// Rules of a zone by its name; the empty name is the machine's own.
pub type Zones<'z> = &'z dyn Fn(&str) -> Option<time::Zone>;

/// What is known of a regular expression's fields before there is a text; `time_key` where times are read.
fn columns(regex: &Regex, types: &Types, time_key: Option<&[u8]>) -> Vec<Column> {
    let column = |(name, group): &(String, usize)| {
        let key = record::Text::examined(name.as_bytes());
        Column {
            group: *group,
            key: key.bytes.into(),
            plain_key: key.plain,
            plain: regex.is_plain(*group),
            kind: types.of(key.bytes),
            is_time: time_key == Some(key.bytes),
        }
    };
    regex.names().iter().map(column).collect()
}

/// The zones that need no database.
pub(super) fn only_utc(name: &str) -> Option<time::Zone> {
    ["UTC", "Etc/UTC", "GMT", "Etc/GMT"].contains(&name).then(time::Zone::utc)
}

pub(super) fn configure(
    section: &Section,
    zones: Zones<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Parser> {
    let name = section.get("name").map(|e| e.value.clone()).unwrap_or_default();
    let owner = if name.is_empty() { "parser".to_owned() } else { format!("parser {name}") };
    check_names(section, &owner, &[Options::TABLE], diagnostics);
    check_repeats(section, &owner, Options::TABLE, Repeats::FirstCounts, diagnostics);
    let section = &first_counts(section, Options::TABLE);
    let options = Options::read(section, &owner, diagnostics);
    if name.is_empty() {
        diagnostics.error(&section.span, "parser: `name` is missing").help("rule: every parser has a name");
        return None;
    }
    let Some(format) = options.format else {
        if section.get("format").is_none() {
            diagnostics
                .error(&section.span, format!("{owner}: `format` is missing"))
                .help(format!("rule: {FORMATS}"));
        }
        return None;
    };
    idle(section, &owner, format, &options, diagnostics);
    let regex = regex(section, &owner, format, &options, diagnostics);
    let time = time_format(section, &owner, &options, zones, diagnostics);
    let decoders = decoders(section, &owner, diagnostics);
    let types = types(section, &owner, options.types.as_ref(), diagnostics);
    let (regex, time) = (regex?, time?);
    let time_key = filled(&options.time_key).unwrap_or("time").as_bytes().to_vec();
    let columns = regex
        .as_ref()
        .map_or_else(Vec::new, |regex| columns(regex, &types, time.as_ref().map(|_| &time_key[..])));
    Some(Parser {
        name,
        format: match format {
            FormatName::Json => Format::Json,
            FormatName::Regex => Format::Regex,
            FormatName::Ltsv => Format::Ltsv,
            FormatName::Logfmt => Format::Logfmt,
        },
        regex,
        columns,
        skip_empty: options.skip_empty_values.0,
        time_key,
        time,
        time_keep: options.time_keep.0,
        no_bare_keys: options.logfmt_no_bare_keys.0,
        types,
        decoders: decoders?,
    })
}

/// Warns of options that do nothing beside the others: what is set was meant to do something.
fn idle(
    section: &Section,
    owner: &str,
    format: FormatName,
    options: &Options,
    diagnostics: &mut Diagnostics,
) {
    let mut warn = |key: &str, without: &str| {
        if let Some(entry) = section.get(key) {
            let message = format!("{owner}: `{}` has no effect {without}", key.to_ascii_lowercase());
            diagnostics.warning(&entry.key_span, message);
        }
    };
    if format != FormatName::Regex {
        warn("Regex", "on this format");
        warn("Skip_Empty_Values", "on this format");
    }
    if format == FormatName::Json {
        warn("Types", "on this format");
    }
    if format != FormatName::Logfmt {
        warn("Logfmt_No_Bare_Keys", "on this format");
    }
    if filled(&options.time_format).is_none() {
        ["Time_Key", "Time_Keep", "Time_Offset", "Time_Strict", "Time_System_Timezone"]
            .iter()
            .for_each(|key| warn(key, "without a `time_format`: no time is read"));
    }
}

const FORMATS: &str = "one of json, regex, ltsv, logfmt";

/// A value that is there and not empty: an empty one counts as none.
fn filled(value: &Option<Text>) -> Option<&str> {
    value.as_ref().map(|t| t.0.as_str()).filter(|t| !t.is_empty())
}

/// The outer `None` means that an error was reported.
fn regex(
    section: &Section,
    owner: &str,
    format: FormatName,
    options: &Options,
    diagnostics: &mut Diagnostics,
) -> Option<Option<Regex>> {
    if format != FormatName::Regex {
        return Some(None);
    }
    let Some(pattern) = filled(&options.regex) else {
        diagnostics
            .error(&section.span, format!("{owner}: `regex` is missing"))
            .help("rule: the format regex needs one");
        return None;
    };
    let span = section.get("regex").map_or(&section.span, |e| &e.value_span);
    match Regex::new(pattern) {
        Ok(regex) => {
            if regex.names().is_empty() {
                diagnostics
                    .warning(span, format!("{owner}: `regex` has no named group, so nothing ever fits"))
                    .help("write (?<name>…) around what shall be a field");
            }
            Some(Some(regex))
        }
        Err(error) => {
            diagnostics
                .error(span, format!("{owner}: `regex` is not a pattern: {error}"))
                .help(format!("pattern: {pattern}"));
            None
        }
    }
}

fn time_format(
    section: &Section,
    owner: &str,
    options: &Options,
    zones: Zones<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Option<time::Format>> {
    let span = |key: &str| section.get(key).map_or(&section.span, |e| &e.value_span);
    let zone_name = filled(&options.time_zone);
    let Some(format) = filled(&options.time_format) else {
        if zone_name.is_some() {
            diagnostics.error(span("time_zone"), format!("{owner}: `time_zone` needs a `time_format`"));
            return None;
        }
        return Some(None);
    };
    if let Some(unknown) = time::Format::unknown_conversion(format) {
        diagnostics
            .warning(
                span("time_format"),
                format!("{owner}: `time_format` holds `{unknown}`, which nothing fits"),
            )
            .help("rule: conversions of strptime, and %L for a fraction of a second");
    }
    let system = options.time_system_timezone.0;
    if zone_name.is_some() && (system || filled(&options.time_offset).is_some()) {
        let other = if system { "time_system_timezone" } else { "time_offset" };
        diagnostics.error(span("time_zone"), format!("{owner}: `time_zone` cannot stand beside `{other}`"));
        return None;
    }
    let mut made = time::Options { strict: options.time_strict.0, ..time::Options::default() };
    if system {
        made.system = zones("");
        if made.system.is_none() {
            diagnostics.warning(
                span("time_system_timezone"),
                format!("{owner}: the machine's zone is not known; times without a zone are read as UTC"),
            );
        }
    } else if let Some(name) = zone_name {
        made.zone = zones(name);
        if made.zone.is_none() {
            diagnostics
                .error(span("time_zone"), format!("{owner}: `time_zone` is `{name}`"))
                .help("rule: a name in this machine's zone database, like Europe/Berlin");
            return None;
        }
    } else if let Some(offset) = filled(&options.time_offset) {
        match time::parse_offset(offset) {
            Ok(seconds) => made.offset = seconds,
            Err(rule) => {
                diagnostics
                    .error(span("time_offset"), format!("{owner}: `time_offset` is `{offset}`"))
                    .help(format!("rule: {rule}"));
                return None;
            }
        }
    }
    Some(Some(time::Format::new(format, made)))
}

/// As in Fluent Bit, a type that is none leaves its field a string; here that is told.
fn types(section: &Section, owner: &str, text: Option<&Text>, diagnostics: &mut Diagnostics) -> Types {
    let mut warn = |message: String| {
        let span = section.get("types").map_or(&section.span, |e| &e.value_span);
        diagnostics.warning(span, format!("{owner}: `types`: {message}")).help(format!("rule: {TYPES}"));
    };
    let mut pairs = Vec::new();
    for word in text.map_or("", |t| t.0.as_str()).split(' ').filter(|word| !word.is_empty()) {
        let Some((key, kind)) = word.split_once(':') else {
            warn(format!("`{word}` names no type"));
            continue;
        };
        let kind = match kind.to_ascii_lowercase().as_str() {
            "integer" => Kind::Integer,
            "float" => Kind::Float,
            "bool" => Kind::Bool,
            "hex" => Kind::Hex,
            "string" => Kind::Text,
            other => {
                warn(format!("`{key}` stays a string: `{other}` is no type"));
                Kind::Text
            }
        };
        pairs.push((key.as_bytes().to_vec(), kind));
    }
    Types::new(pairs.into_iter())
}

const TYPES: &str = "FIELD:TYPE …, separated by spaces; TYPE is one of integer, float, bool, hex, string";

/// Both kinds of decoder in the order of the text, by field.
fn decoders(section: &Section, owner: &str, diagnostics: &mut Diagnostics) -> Option<Vec<Decoder>> {
    let mut decoders: Vec<Decoder> = Vec::new();
    for entry in &section.entries {
        let in_place = match entry.key.to_ascii_lowercase().as_str() {
            "decode_field" => false,
            "decode_field_as" => true,
            _ => continue,
        };
        let words = split_quoted(&entry.value);
        let backend = words.first().and_then(|word| match word.to_ascii_lowercase().as_str() {
            "json" => Some(Backend::Json),
            "escaped" => Some(Backend::Escaped),
            "escaped_utf8" => Some(Backend::EscapedUtf8),
            "mysql_quoted" => Some(Backend::MysqlQuoted),
            _ => None,
        });
        let (Some(backend), Some(field)) = (backend, words.get(1)) else {
            diagnostics
                .error(&entry.value_span, format!("{owner}: `{}` is `{}`", entry.key.to_ascii_lowercase(), entry.value))
                .help("rule: json, escaped, escaped_utf8 or mysql_quoted, then a field, then try_next or do_next if wanted");
            return None;
        };
        let action = match words.get(2).map(|w| w.to_ascii_lowercase()).as_deref() {
            Some("try_next") => Action::TryNext,
            Some("do_next") => Action::DoNext,
            _ => Action::Stop,
        };
        let rule = Rule { in_place, backend, action };
        match decoders.iter_mut().find(|d| d.key == field.as_bytes()) {
            Some(decoder) => decoder.rules.push(rule),
            None => decoders.push(Decoder { key: field.as_bytes().to_vec(), rules: vec![rule] }),
        }
    }
    Some(decoders)
}
