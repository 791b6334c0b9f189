//! The texts of `-h`, `-V`, `-i tail -h` and `-J`, in Fluent Bit's layout.
//!
//! Owns: layout. Never: an option's name or meaning (the tables hold them). A test compares the flags with the parser's.

use std::fmt::Write as _;

use codecs::conf::options::Arity;
use codecs::conf::{OptionSpec, Status};

const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// The first line of `-V`; tools look for the words `Fluent Bit v5.1.1`.
pub const VERSION: &str =
    concat!("ripsaw v", env!("CARGO_PKG_VERSION"), " (compatible with Fluent Bit v5.1.1)");

/// A plugin as help shows it.
#[derive(Clone, Copy, Debug)]
pub struct PluginHelp<'h> {
    /// `input`, `filter`, `output` or `processor`.
    pub kind: &'h str,
    /// Name.
    pub name: &'h str,
    /// What it does; the first line is shown in lists.
    pub about: &'h str,
    /// Tables by the name of their group: `global_options`, `options`, `networking`, `network_tls`.
    pub tables: &'h [(&'h str, &'h [OptionSpec])],
}

/// Flags and what they do, in Fluent Bit's order and words.
const FLAGS: &[(&str, &str)] = &[
    ("-b  --storage_path=PATH", "specify a storage buffering path"),
    ("-c  --config=FILE", "specify an optional configuration file"),
    ("-d, --daemon", "run in background mode"),
    ("    --supervisor", "run under a supervising parent process"),
    ("-D, --dry-run", "check the configuration, report everything that is wrong, and do not run"),
    ("-f, --flush=SECONDS", "flush timeout in seconds (default: 1)"),
    ("-C, --custom=CUSTOM", "enable a custom plugin"),
    ("-i, --input=INPUT", "set an input"),
    ("-r, --processor=NAME", "show a processor's options, with -h"),
    ("-F  --filter=FILTER", "set a filter"),
    ("-m, --match=MATCH", "set plugin match, same as '-p match=abc'"),
    ("-o, --output=OUTPUT", "set an output"),
    ("-p, --prop=\"A=B\"", "set plugin configuration property"),
    ("-R, --parser=FILE", "specify a parser configuration file"),
    ("-e, --plugin=FILE", "name an external plugin (shared libraries are not loaded)"),
    ("-l, --log_file=FILE", "write log info to a file"),
    ("-t, --tag=TAG", "set plugin tag, same as '-p tag=abc'"),
    ("-T, --sp-task=SQL", "define a stream processor task (refused: there is no stream processor)"),
    ("-v, --verbose", "increase logging verbosity (default: info)"),
    ("-vv", "trace mode"),
    ("-Z, --enable-chunk-trace", "no effect: there is no chunk trace"),
    ("--trace-input", "no effect: there is no chunk trace"),
    ("--trace-output", "no effect: there is no chunk trace"),
    ("--trace-output-property", "no effect: there is no chunk trace"),
    ("--trace", "no effect: there is no chunk trace"),
    ("-w, --workdir", "set the working directory"),
    ("-H, --http", "enable monitoring HTTP server"),
    ("-L, --http_listen", "set HTTP server address (default: 0.0.0.0)"),
    ("-P, --port", "set HTTP server TCP port (default: 2020)"),
    ("-s, --coro_stack_size", "no effect: there are no coroutines"),
    ("-q, --quiet", "quiet mode"),
    ("-S, --sosreport", "no effect: there is no support report"),
    ("-Y, --enable-hot-reload", "enable for hot reloading"),
    ("    --replay-rejected", "deliver again what outputs refused (storage.keep.rejected)"),
    ("    --enable-fips", "require FIPS mode at startup (refused)"),
    (
        "-W, --disable-thread-safety-on-hot-reload",
        "no effect: a reload always waits for the threads it replaces",
    ),
    ("-V, --version", "show version number"),
    ("-h, --help", "print this help"),
];

/// The text of `-h`. `lists` are the plugins by their headings (`Inputs`, …), each with name and description.
pub fn general(program: &str, lists: &[(&str, &[(&str, &str)])]) -> String {
    let mut out = format!("Usage: {program} [OPTION]\n\n{BOLD}Available Options{RESET}\n");
    for (flag, about) in FLAGS {
        line(&mut out, flag, about);
    }
    for (heading, plugins) in lists {
        let _ = write!(out, "\n{BOLD}{heading}{RESET}\n");
        for (name, about) in *plugins {
            line(&mut out, name, about.trim().lines().next().unwrap_or(""));
        }
    }
    let _ = write!(out, "\n{BOLD}Internal{RESET}\n Version     = {VERSION}\n");
    out
}

/// A name, padded to 24 columns but always followed by a space, and what it is.
fn line(out: &mut String, name: &str, about: &str) {
    let gap = if name.chars().count() < 24 { "" } else { " " };
    let _ = writeln!(out, "  {name:<24}{gap}{about}");
}

/// The text of `-i NAME -h`.
pub fn plugin(help: &PluginHelp<'_>) -> String {
    let mut out = format!("{BOLD}HELP{RESET}\n{} {} plugin\n", help.name, help.kind);
    let about = joined(help.about);
    if !about.is_empty() {
        let _ = writeln!(out, "{BOLD}\nDESCRIPTION\n{RESET}{about}");
    }
    let rows = help.tables.iter().flat_map(|(_, table)| table.iter());
    let width = rows.map(|spec| shown_name(spec).chars().count()).max().unwrap_or(0) + 2;
    let mut last = None;
    for (group, table) in help.tables {
        if last != Some(*group) {
            let _ = write!(out, "{BOLD}\n{}\n{RESET}", group.to_ascii_uppercase());
        }
        last = Some(*group);
        for spec in *table {
            option(&mut out, spec, width);
        }
    }
    out
}

fn option(out: &mut String, spec: &OptionSpec, width: usize) {
    let mut about = joined(spec.doc);
    match spec.status {
        Status::Works => {}
        Status::NoEffect(why) => about = format!("{about} (no effect: {why})"),
        Status::Refused(why) => about = format!("{about} (refused: {why})"),
    }
    let _ = write!(out, "{:<width$}", shown_name(spec));
    for (at, text) in wrapped(&about, 90usize.saturating_sub(width).max(20)).iter().enumerate() {
        let pad = if at == 0 { 0 } else { width };
        let _ = writeln!(out, "{:pad$}{text}", "");
    }
    let default = match spec.arity {
        Arity::Default(text) if !text.is_empty() => format!("default: {text}, "),
        _ => String::new(),
    };
    let shape = match kind_of(spec) {
        "string" if spec.shape.starts_with("one of") => format!("string ({})", spec.shape),
        kind => kind.to_owned(),
    };
    let _ = write!(out, "{:width$}> {default}type: {shape}\n\n", "");
}

/// The name as help shows it: a prefix ends in `N`.
fn shown_name(spec: &OptionSpec) -> String {
    match spec.name.strip_suffix('*') {
        Some(prefix) => format!("{}N", prefix.to_ascii_lowercase()),
        None => spec.name.to_ascii_lowercase(),
    }
}

/// Fluent Bit's word for the type of an option.
fn kind_of(spec: &OptionSpec) -> &'static str {
    match spec.shape {
        _ if spec.name.ends_with('*') => "prefixed string",
        "true or false" => "boolean",
        "whole number" | "port" => "integer",
        "number" | "seconds above 0" => "double",
        "list with commas" => "multiple comma delimited strings",
        "words" => "multiple space delimited strings",
        shape if shape.starts_with("size") => "size",
        shape if shape.starts_with("time") => "time",
        _ => "string",
    }
}

/// Doc comment lines as one line.
fn joined(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines of at most `width` characters, cut at spaces where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

/// The group of what all plugins of a kind have.
pub const COMMON: &str = "global_options";

/// The text of `-J`: every plugin's tables, in the shape of Fluent Bit's schema.
pub fn json(plugins: &[PluginHelp<'_>]) -> String {
    let mut out = String::from(r#"{"fluent-bit":{"version":"5.1.1","schema_version":"1","os":"linux"}"#);
    let lists = [
        ("customs", "custom"),
        ("inputs", "input"),
        ("processors", "processor"),
        ("filters", "filter"),
        ("outputs", "output"),
    ];
    for (list, kind) in lists {
        let of_kind: Vec<String> = plugins.iter().filter(|p| p.kind == kind).map(plugin_json).collect();
        let _ = write!(out, ",\"{list}\":[{}]", of_kind.join(","));
    }
    out.push('}');
    out
}

/// The text of `-i NAME -J`.
pub fn plugin_json(help: &PluginHelp<'_>) -> String {
    // A group may be made of several tables; those of all plugins come first, as there.
    let mut groups: Vec<(&str, Vec<String>)> = vec![(COMMON, Vec::new())];
    for (group, table) in help.tables {
        let options = table.iter().map(option_json);
        match groups.iter_mut().find(|(known, _)| known == group) {
            Some((_, known)) => known.extend(options),
            None => groups.push((group, options.collect())),
        }
    }
    let groups: Vec<String> =
        groups.iter().map(|(group, options)| format!("{}:[{}]", quoted(group), options.join(","))).collect();
    format!(
        r#"{{"type":{},"name":{},"description":{},"properties":{{{}}}}}"#,
        quoted(help.kind),
        quoted(help.name),
        quoted(&joined(help.about)),
        groups.join(",")
    )
}

fn option_json(spec: &OptionSpec) -> String {
    let default = match spec.arity {
        Arity::Default(text) => quoted(text),
        _ => "null".to_owned(),
    };
    let (name, about) = (quoted(spec.name.trim_end_matches('*')), quoted(&joined(spec.doc)));
    format!(
        r#"{{"name":{},"description":{about},"default":{default},"type":"{}"}}"#,
        name.to_ascii_lowercase(),
        kind_of(spec)
    )
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
