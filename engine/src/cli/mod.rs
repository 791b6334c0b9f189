//! Fluent Bit's command line.
//!
//! Owns: flags (short, clustered, long, with `=` or a word behind) to sections and settings. Never: opens a file, prints,
//! or knows which plugins exist. Invariant: `-p`, `-t` and `-m` belong to the plugin flag before them.

pub mod help;

use std::sync::Arc;

use codecs::conf::{Diagnostics, Entry, Section, Span, nearest};

use crate::log::Level;

/// What a flag means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flag {
    /// A service key; the value is the argument.
    Service(&'static str),
    /// A service key with a fixed value.
    Set(&'static str, &'static str),
    /// Begins a plugin: `input`, `filter`, …
    Plugin(&'static str),
    Config,
    DryRun,
    Match,
    Property,
    Tag,
    Library,
    Task,
    Version,
    Verbose,
    Quiet,
    Workdir,
    Help,
    HelpJson,
    Supervisor,
    ReplayRejected,
    /// Accepted; says why it does nothing.
    NoEffect(&'static str),
}

/// A row of the table of flags.
struct Row {
    short: Option<char>,
    long: &'static [&'static str],
    argument: bool,
    flag: Flag,
}

const fn row(short: Option<char>, long: &'static [&'static str], argument: bool, flag: Flag) -> Row {
    Row { short, long, argument, flag }
}

const NO_TRACE: &str = "there is no chunk trace";

/// All flags, in the order of Fluent Bit's own table.
const FLAGS: &[Row] = &[
    row(Some('b'), &["storage_path"], true, Flag::Service("storage.path")),
    row(Some('c'), &["config"], true, Flag::Config),
    row(Some('d'), &["daemon"], false, Flag::Set("daemon", "on")),
    row(Some('D'), &["dry-run"], false, Flag::DryRun),
    row(Some('f'), &["flush"], true, Flag::Service("flush")),
    row(Some('H'), &["http", "http_server"], false, Flag::Set("http_server", "on")),
    row(None, &["supervisor"], false, Flag::Supervisor),
    row(Some('l'), &["log_file"], true, Flag::Service("log_file")),
    row(Some('P'), &["port", "http_port"], true, Flag::Service("http_port")),
    row(Some('L'), &["http_listen"], true, Flag::Service("http_listen")),
    row(Some('C'), &["custom"], true, Flag::Plugin("custom")),
    row(Some('i'), &["input"], true, Flag::Plugin("input")),
    row(Some('r'), &["processor"], true, Flag::Plugin("processor")),
    row(Some('F'), &["filter"], true, Flag::Plugin("filter")),
    row(Some('o'), &["output"], true, Flag::Plugin("output")),
    row(Some('m'), &["match"], true, Flag::Match),
    row(Some('R'), &["parser"], true, Flag::Service("parsers_file")),
    row(Some('p'), &["prop"], true, Flag::Property),
    row(Some('e'), &["plugin"], true, Flag::Library),
    row(Some('t'), &["tag"], true, Flag::Tag),
    row(Some('T'), &["sp-task"], true, Flag::Task),
    row(Some('V'), &["version"], false, Flag::Version),
    row(Some('v'), &["verbose"], false, Flag::Verbose),
    row(Some('w'), &["workdir"], true, Flag::Workdir),
    row(Some('q'), &["quiet"], false, Flag::Quiet),
    row(Some('h'), &["help"], false, Flag::Help),
    row(Some('J'), &["help-json"], false, Flag::HelpJson),
    row(Some('s'), &["coro_stack_size"], true, Flag::Service("coro_stack_size")),
    row(Some('S'), &["sosreport"], false, Flag::NoEffect("there is no support report")),
    row(Some('Y'), &["enable-hot-reload"], false, Flag::Set("hot_reload", "on")),
    row(None, &["enable-fips"], false, Flag::Set("security.fips_mode", "on")),
    row(Some('Z'), &["enable-chunk-trace"], false, Flag::NoEffect(NO_TRACE)),
    row(None, &["trace"], true, Flag::NoEffect(NO_TRACE)),
    row(None, &["trace-input"], true, Flag::NoEffect(NO_TRACE)),
    row(None, &["trace-output"], true, Flag::NoEffect(NO_TRACE)),
    row(None, &["trace-output-property"], true, Flag::NoEffect(NO_TRACE)),
    row(
        Some('W'),
        &["disable-thread-safety-on-hot-reload"],
        false,
        Flag::Set("hot_reload.ensure_thread_safety", "off"),
    ),
    row(None, &["replay-rejected"], false, Flag::ReplayRejected),
];

/// Which help was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Help {
    /// None.
    #[default]
    None,
    /// `-h` alone: all flags and plugins.
    General,
    /// `-J` alone: every option table as JSON.
    Json,
    /// `-h` or `-J` behind a plugin: its options.
    Plugin {
        /// `input`, `filter`, `output`, `processor` or `custom`.
        kind: String,
        /// Name of the plugin.
        name: String,
        /// As JSON.
        json: bool,
    },
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Cli {
    /// How the program was called, for messages.
    pub program: String,
    /// `-c`.
    pub config: Option<String>,
    /// Service keys (one section `service`), then plugins in order. For [`crate::config::load`].
    pub sections: Vec<Section>,
    /// `-D`: check, and do not run.
    pub dry_run: bool,
    /// `-w`: change to this folder before a relative path is used.
    pub workdir: Option<String>,
    /// Help, which wins over running.
    pub help: Help,
    /// `-V`, which wins over running.
    pub version: bool,
    /// `--supervisor`: restart the engine when it dies.
    pub supervisor: bool,
    /// `--replay-rejected`: what outputs refused before is delivered again.
    pub replay_rejected: bool,
    /// 3 (info), one more for each `-v`, 0 after `-q`.
    verbosity: u8,
}

impl Cli {
    /// How much is told, unless a file's `log_level` or FLB_LOG_LEVEL says otherwise (both win, as in Fluent Bit).
    pub fn level(&self) -> Level {
        match self.verbosity {
            0 => Level::Off,
            1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            4 => Level::Debug,
            _ => Level::Trace,
        }
    }

    /// True after `-q`: no banner.
    pub fn quiet(&self) -> bool {
        self.verbosity == 0
    }
}

/// Reads the arguments; the first is the program's name. What can be gone on with lands in `diagnostics`. The error is
/// getopt's, for standard error, with exit code 1.
pub fn parse(
    arguments: impl IntoIterator<Item = String>,
    diagnostics: &mut Diagnostics,
) -> Result<Cli, String> {
    let mut arguments = arguments.into_iter();
    let place = Span::new(&Arc::from("command line"), 0, 0);
    let cli = Cli {
        program: arguments.next().unwrap_or_else(|| "ripsaw".to_owned()),
        config: None,
        sections: vec![Section::new("service", place.clone())],
        dry_run: false,
        workdir: None,
        help: Help::None,
        version: false,
        supervisor: false,
        replay_rejected: false,
        verbosity: Level::Info as u8,
    };
    let mut reading = Reading { cli, place, plugin: None, diagnostics, done: false };
    while let Some(word) = arguments.next() {
        reading.word(&word, &mut arguments)?;
        if reading.done {
            break;
        }
    }
    let mut cli = reading.cli;
    if cli.sections[0].entries.is_empty() {
        cli.sections.remove(0);
    }
    Ok(cli)
}

struct Reading<'d> {
    cli: Cli,
    place: Span,
    /// Index of the plugin that `-p`, `-t` and `-m` belong to.
    plugin: Option<usize>,
    diagnostics: &'d mut Diagnostics,
    /// Nothing behind `-h`, `-J`, `-V` or `--` is read.
    done: bool,
}

impl Reading<'_> {
    fn word(&mut self, word: &str, rest: &mut dyn Iterator<Item = String>) -> Result<(), String> {
        match word.strip_prefix("--") {
            Some("") => {
                self.done = true;
                Ok(())
            }
            Some(long) => self.long(long, rest),
            None => match word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
                Some(cluster) => self.cluster(cluster, rest),
                None => {
                    let note =
                        self.diagnostics.warning(&self.place, format!("argument `{word}` has no effect"));
                    note.help("a configuration file is given with `-c`");
                    Ok(())
                }
            },
        }
    }

    /// `--name`, `--name=value`, `--name value`, or a beginning of a name that only one flag has.
    fn long(&mut self, text: &str, rest: &mut dyn Iterator<Item = String>) -> Result<(), String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let names = || FLAGS.iter().flat_map(|row| row.long.iter().map(move |long| (*long, row)));
        let exact = names().find(|(long, _)| *long == name);
        let mut abbreviated = names().filter(|(long, _)| long.starts_with(name));
        let found = match (exact, abbreviated.next(), abbreviated.next()) {
            (Some(found), ..) | (None, Some(found), None) => found,
            (None, Some(_), Some(_)) => return Err(format!("option '--{name}' is ambiguous")),
            (None, None, _) => {
                let hint = nearest(name, names().map(|(long, _)| long));
                let hint = hint.map_or(String::new(), |long| format!("; did you mean '--{long}'?"));
                return Err(format!("unrecognized option '--{name}'{hint}"));
            }
        };
        let (long, row) = found;
        match (row.argument, value) {
            (false, Some(_)) => Err(format!("option '--{long}' doesn't allow an argument")),
            (false, None) => self.flag(row, long, String::new()),
            (true, Some(value)) => self.flag(row, long, value),
            (true, None) => match rest.next() {
                Some(value) => self.flag(row, long, value),
                None => Err(format!("option '--{long}' requires an argument")),
            },
        }
    }

    /// `-abc`: flags without arguments, then perhaps one with it (`-f5`, `-f 5`).
    fn cluster(&mut self, cluster: &str, rest: &mut dyn Iterator<Item = String>) -> Result<(), String> {
        let mut chars = cluster.chars();
        while let Some(short) = chars.next() {
            let Some(row) = FLAGS.iter().find(|row| row.short == Some(short)) else {
                return Err(format!("invalid option -- '{short}'"));
            };
            if !row.argument {
                self.flag(row, &short.to_string(), String::new())?;
                if self.done {
                    return Ok(());
                }
                continue;
            }
            let value = match chars.as_str() {
                "" => rest.next().ok_or_else(|| format!("option requires an argument -- '{short}'"))?,
                value => value.to_owned(),
            };
            return self.flag(row, &short.to_string(), value);
        }
        Ok(())
    }

    fn flag(&mut self, row: &Row, written: &str, value: String) -> Result<(), String> {
        match row.flag {
            Flag::Service(key) => self.service(key, &value),
            Flag::Set(key, value) => self.service(key, value),
            Flag::Plugin(kind) => self.begin(kind, "name", &value),
            Flag::Config => self.cli.config = Some(value),
            Flag::DryRun => self.cli.dry_run = true,
            Flag::Match => self.matches(&value),
            Flag::Property => self.property(&value),
            Flag::Tag => self.entry("tag", &value, "-t"),
            Flag::Library => {
                let kept = self.plugin;
                self.begin("plugins", "path", &value);
                self.plugin = kept;
            }
            Flag::Task => {
                let kept = self.plugin;
                self.begin("stream_task", "exec", &value);
                self.plugin = kept;
            }
            Flag::Version => (self.cli.version, self.done) = (true, true),
            Flag::Verbose => self.cli.verbosity = self.cli.verbosity.saturating_add(1),
            Flag::Quiet => self.cli.verbosity = 0,
            Flag::Workdir => self.cli.workdir = Some(value),
            Flag::Help => self.help(false),
            Flag::HelpJson => self.help(true),
            Flag::Supervisor => self.cli.supervisor = true,
            Flag::ReplayRejected => self.cli.replay_rejected = true,
            Flag::NoEffect(why) => {
                self.diagnostics.note(&self.place, format!("flag `{written}` has no effect: {why}"));
            }
        }
        Ok(())
    }

    fn service(&mut self, key: &str, value: &str) {
        let entry = self.new_entry(key, value);
        self.cli.sections[0].entries.push(entry);
    }

    fn begin(&mut self, kind: &str, key: &str, value: &str) {
        let mut section = Section::new(kind, self.place.clone());
        section.entries.push(self.new_entry(key, value));
        self.plugin = Some(self.cli.sections.len());
        self.cli.sections.push(section);
    }

    fn entry(&mut self, key: &str, value: &str, flag: &str) {
        let entry = self.new_entry(key, value);
        match self.plugin {
            Some(at) => self.cli.sections[at].entries.push(entry),
            None => {
                let what = if flag == "-p" { format!("{key}={value}") } else { value.to_owned() };
                let error =
                    self.diagnostics.error(&self.place, format!("`{flag} {what}` stands before any plugin"));
                error.help("rule: a plugin comes first: -i, -F or -o");
            }
        }
    }

    /// `-m` sets the match of a filter or an output; behind an input it does nothing, as in Fluent Bit.
    fn matches(&mut self, value: &str) {
        match self.plugin.map(|at| self.cli.sections[at].name.as_str()) {
            Some("filter" | "output") => self.entry("match", value, "-m"),
            _ => {
                let message = format!("`-m {value}` has no effect: it stands behind no filter and no output");
                self.diagnostics.warning(&self.place, message);
            }
        }
    }

    fn property(&mut self, text: &str) {
        match text.split_once('=').map(|(key, value)| (key.trim(), value)) {
            Some((key, value)) if !key.is_empty() => self.entry(key, value.trim(), "-p"),
            _ => {
                self.diagnostics.error(&self.place, format!("`-p {text}` is not key=value"));
            }
        }
    }

    fn help(&mut self, json: bool) {
        self.done = true;
        self.cli.help = match self.plugin.map(|at| &self.cli.sections[at]) {
            Some(section) => Help::Plugin {
                kind: section.name.clone(),
                name: section.entries.first().map_or(String::new(), |entry| entry.value.clone()),
                json,
            },
            None if json => Help::Json,
            None => Help::General,
        };
    }

    fn new_entry(&self, key: &str, value: &str) -> Entry {
        let (key_span, value_span) = (self.place.clone(), self.place.clone());
        Entry { key: key.to_ascii_lowercase(), value: value.to_owned(), key_span, value_span }
    }
}

#[cfg(test)]
mod tests;
