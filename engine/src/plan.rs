//! Options → plan: everything compiled and checked that needs no file, no socket and no network.
//!
//! Owns: names of instances, limits, routes as far as they are known, the text of the plan. Never: touches the world.

use crate::advice;
use crate::config::Config;
use crate::config::common::{CommonFilter, CommonInput, CommonOutput};
use crate::config::routing::Matcher;
use crate::config::service::ServiceOptions;
use crate::config::shapes;
use crate::config::values::{RetryLimit as RetryOption, StorageSync, StorageType};
use crate::filters::{self, Filter, Reported};
use crate::inputs::shared::reserve;
use crate::inputs::{self, Configured};
use crate::monitor::HealthCheck;
use crate::retry::{Backoff, RetryLimit};
use crate::storage;
use crate::workspace::ARENA_KEPT_BYTES;
use codecs::conf::OptionValue;
use codecs::conf::options::{Repeats, check_names, check_repeats};
use codecs::conf::values::{Size, Text};
use codecs::conf::{Diagnostics, Entry, OptionSpec, Section, Span, Variables, nearest};
use codecs::multiline::Multiline;
use codecs::parsers::Parser;
use outputs::Output;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A plan, ready to run.
pub struct Plan {
    /// What concerns the whole process.
    pub settings: Settings,
    /// Inputs in the order of the configuration.
    pub inputs: Vec<PlannedInput>,
    /// Filters in the order of the configuration.
    pub filters: Vec<PlannedFilter>,
    /// Outputs in the order of the configuration.
    pub outputs: Vec<PlannedOutput>,
    /// Parsers, for the plan's text.
    pub parsers: Vec<Arc<Parser>>,
}

/// What concerns the whole process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `Flush`.
    pub flush: Duration,
    /// `Grace`.
    pub grace: Duration,
    /// `scheduler.base`, `scheduler.cap`.
    pub backoff: Backoff,
    /// Bytes for blocks, segments and queues together.
    pub memory_limit: usize,
    /// Worker threads.
    pub shards: usize,
    /// Address and port of the monitoring server, when it is on.
    pub http_server: Option<(String, u16)>,
    /// `Health_Check`, when it is on.
    pub health_check: Option<HealthCheck>,
    /// `storage.metrics`.
    pub storage_metrics: bool,
    /// `storage.*`, where a `storage.path` is set.
    pub storage: Option<storage::Settings>,
    /// `Hot_Reload`.
    pub hot_reload: bool,
    /// `Hot_Reload.Timeout`.
    pub hot_reload_timeout: Option<Duration>,
}

/// An input that is to run.
pub struct PlannedInput {
    /// `tail.0`, or its alias.
    pub name: String,
    /// `tail`.
    pub plugin: &'static str,
    /// `Mem_Buf_Limit`.
    pub memory_limit: Option<usize>,
    /// Longest line that it may have to hold in one piece; 0 where it has no limit of its own.
    pub line_bytes_max: usize,
    /// Longest group of lines that it makes one record of; 0 where it makes none.
    pub group_bytes_max: usize,
    /// `storage.type`.
    pub storage: StorageType,
    /// `storage.pause_on_chunks_overlimit`.
    pub pause_on_overlimit: bool,
    /// What runs.
    pub configured: Configured,
    /// Its own `processors`, which its records meet before the filters.
    pub processors: Vec<PlannedFilter>,
}

/// A filter that is to run.
pub struct PlannedFilter {
    /// `grep.0`, or its alias.
    pub name: String,
    /// `grep`.
    pub plugin: &'static str,
    /// Tags that it takes.
    pub matcher: Matcher,
    /// What it does.
    pub filter: Arc<dyn Filter>,
}

/// An output that is to run.
pub struct PlannedOutput {
    /// `file.0`, or its alias.
    pub name: String,
    /// `file`.
    pub plugin: &'static str,
    /// Tags that it takes.
    pub matcher: Matcher,
    /// What it does.
    pub output: Arc<dyn Output>,
    /// `Retry_Limit`.
    pub retry_limit: RetryLimit,
    /// Of all that determines how it encodes; what was stored with another one it cannot deliver.
    pub fingerprint: u64,
    /// `storage.total_limit_size`.
    pub disk_limit: Option<u64>,
    /// Its own `processors`, which only what goes to it meets, behind the filters.
    pub processors: Vec<PlannedFilter>,
}

/// Data in flight without a configured or cgroup limit: enough to keep every stage busy, small enough for the cache.
const MEMORY_DEFAULT: usize = 8 << 20;
/// The least that lets one block of every stage exist.
const MEMORY_MIN: usize = 4 << 20;

/// Why a configuration has no plan; the diagnostics say more. Fluent Bit ends with different codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplanned {
    /// The text of the configuration, its sections, the service's options, a parser, or the name of a plugin.
    Text,
    /// A plugin's options.
    Options,
}

/// Compiles a configuration in which `diagnostics` may have found errors already.
pub fn compile(config: &Config, machine: &Machine, diagnostics: &mut Diagnostics) -> Result<Plan, Unplanned> {
    let readable = !diagnostics.has_errors();
    let service = &config.service;
    let folder = config.file.as_deref().and_then(|file| std::path::Path::new(file).parent());
    let mut compiler = Compiler {
        escape_unicode: service.escape_unicode.0,
        flush: service.flush.0,
        multiline_limit: usize::try_from(service.multiline_buffer_limit.0).unwrap_or(usize::MAX),
        storage: service.storage_type.filter(|_| service.storage_inherit.0).unwrap_or(StorageType::Memory),
        storage_path: service.storage_path.is_some(),
        variables: config.variables.clone(),
        folder: folder.map(std::path::Path::to_owned),
        ..Compiler::default()
    };
    compiler.parsers(&config.parsers, machine, diagnostics);
    compiler.multiline(config, diagnostics);
    let inputs: Vec<_> = config.inputs.iter().map(|s| compiler.input(s, diagnostics)).collect();
    let filters: Vec<_> = config.filters.iter().map(|s| compiler.filter(s, diagnostics)).collect();
    // One input and one output need no `Match`, as in Fluent Bit.
    compiler.match_default =
        (config.inputs.len() == 1 && config.outputs.len() == 1).then(|| Text("*".to_owned()));
    let outputs: Vec<_> = config.outputs.iter().map(|s| compiler.output(s, diagnostics)).collect();
    let settings = settings(service, machine);
    if service.keep_rejected.0
        && settings.storage.is_none()
        && let Some(entry) = config.service_section.get("storage.keep.rejected")
    {
        diagnostics
            .warning(
                &entry.value_span,
                "service: `storage.keep.rejected` keeps nothing without a `storage.path`",
            )
            .help("set `storage.path` to a folder");
    }
    let refused = if readable && !compiler.unknown { Unplanned::Options } else { Unplanned::Text };
    if diagnostics.has_errors() {
        return Err(refused);
    }
    let plan = Plan {
        settings,
        inputs: inputs.into_iter().collect::<Option<_>>().ok_or(refused)?,
        filters: filters.into_iter().collect::<Option<_>>().ok_or(refused)?,
        outputs: outputs.into_iter().collect::<Option<_>>().ok_or(refused)?,
        parsers: compiler.in_order,
    };
    advice::give(&plan, config, diagnostics);
    Ok(plan)
}

/// What the plan must know of the machine, so that it can be made for another.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Processors that this process may use: the cgroup's quota, rounded up, at most those that are there.
    pub cpus: usize,
    /// The cgroup's memory limit, in bytes.
    pub memory: Option<u64>,
    /// Rules of a zone by its name; the empty name is the machine's own.
    pub zones: fn(&str) -> Option<codecs::time::Zone>,
}

fn settings(service: &ServiceOptions, machine: &Machine) -> Settings {
    let seconds = |n: i64| Duration::from_secs(n.max(0) as u64);
    let configured = service.memory_limit.map(|s| s.0 as usize);
    // A third of a cgroup's limit: the rest is for what is not data, and for the page cache that counts against it.
    let by_cgroup = machine.memory.map_or(MEMORY_DEFAULT, |m| ((m / 3) as usize).min(MEMORY_DEFAULT));
    Settings {
        flush: outputs::net::duration(service.flush.0),
        grace: if service.grace.0 < 0 { Duration::MAX } else { seconds(service.grace.0) },
        backoff: Backoff { base: seconds(service.scheduler_base.0), cap: seconds(service.scheduler_cap.0) },
        memory_limit: configured.unwrap_or(by_cgroup).max(MEMORY_MIN),
        shards: machine.cpus.clamp(1, 64),
        http_server: service.http_server.0.then(|| (service.http_listen.0.clone(), service.http_port.0)),
        health_check: service.health_check.0.then(|| HealthCheck {
            errors_max: service.hc_errors_count.0.max(0) as usize,
            retries_failed_max: service.hc_retry_failure_count.0.max(0) as usize,
            period: seconds(service.hc_period.0),
        }),
        storage_metrics: service.storage_metrics.0,
        storage: service.storage_path.as_ref().map(|path| storage_settings(service, &path.0)),
        hot_reload: service.hot_reload.0,
        hot_reload_timeout: Some(seconds(service.hot_reload_timeout.0)).filter(|t| !t.is_zero()),
    }
}

fn storage_settings(service: &ServiceOptions, path: &str) -> storage::Settings {
    let path = PathBuf::from(path);
    let rejected = service.rejected_path.as_ref().map_or("rejected", |t| t.0.as_str());
    let chunks_up = usize::try_from(service.max_chunks_up.0.max(1)).unwrap_or(usize::MAX);
    storage::Settings {
        full_sync: service.storage_sync == StorageSync::Full,
        delete_irrecoverable: service.delete_irrecoverable.0,
        backlog_bytes: usize::try_from(service.backlog_mem_limit.0).unwrap_or(usize::MAX),
        flush_backlog: service.backlog_flush_on_shutdown.0,
        keep_rejected: service.keep_rejected.0,
        rejected_path: path.join(rejected),
        rejected_limit: service.rejected_limit.0,
        up_bytes: chunks_up.saturating_mul(storage::CHUNK_BYTES as usize),
        replay_rejected: false,
        path,
    }
}

#[derive(Default)]
struct Compiler {
    parsers: HashMap<String, Arc<Parser>>,
    in_order: Vec<Arc<Parser>>,
    multiline: HashMap<String, Arc<Multiline>>,
    counts: HashMap<&'static str, usize>,
    escape_unicode: bool,
    flush: f64,
    /// `storage.type` of inputs that have none.
    storage: StorageType,
    /// A `storage.path` is set.
    storage_path: bool,
    multiline_limit: usize,
    /// A parser could not be made, or a plugin does not exist.
    unknown: bool,
    variables: Variables,
    /// Of the main file.
    folder: Option<std::path::PathBuf>,
    /// `Match` of an output that has none.
    match_default: Option<Text>,
}

impl Compiler {
    fn parsers(&mut self, sections: &[Section], machine: &Machine, diagnostics: &mut Diagnostics) {
        for section in sections {
            let parser = match Parser::configure_with(section, &machine.zones, diagnostics) {
                Some(parser) => parser,
                // What names it is not wrong as well; there will be no plan.
                None => {
                    self.unknown = true;
                    let Some(parser) = stand_in(section) else { continue };
                    parser
                }
            };
            let parser = Arc::new(parser);
            // The first of a name counts, as in Fluent Bit.
            if self.parsers.contains_key(parser.name()) {
                diagnostics.warning(
                    &section.span,
                    format!("parser `{}` is defined already; this one is ignored", parser.name()),
                );
                continue;
            }
            self.parsers.insert(parser.name().to_owned(), parser.clone());
            self.in_order.push(parser);
        }
    }

    /// The built-in multi-line parsers that the configuration names (each takes time to compile, and memory), and the
    /// user's own, which win over built-in ones of the same name.
    fn multiline(&mut self, config: &Config, diagnostics: &mut Diagnostics) {
        let sections = config.inputs.iter().chain(&config.filters);
        let children = config.inputs.iter().flat_map(|s| &s.children);
        let entries = sections.chain(children).flat_map(|s| s.all("multiline.parser"));
        for name in entries.flat_map(|e| e.value.split(',')).map(|n| n.trim().to_ascii_lowercase()) {
            if let (false, Some(builtin)) = (self.multiline.contains_key(&name), Multiline::builtin(&name)) {
                self.multiline.insert(name, Arc::new(builtin));
            }
        }
        for section in &config.multiline_parsers {
            if let Some(multiline) = Multiline::configure(section, &self.parsers, diagnostics) {
                self.multiline.insert(multiline.name().to_owned(), Arc::new(multiline));
            }
        }
    }

    /// `stdout.1` for the second output, whatever the first one is; and the alias where there is one, else the same.
    fn name(&mut self, kind: &'static str, plugin: &'static str, alias: Option<&Text>) -> (String, String) {
        let count = self.counts.entry(kind).or_default();
        let numbered = format!("{plugin}.{count}");
        *count += 1;
        (alias.map_or_else(|| numbered.clone(), |a| a.0.clone()), numbered)
    }

    fn input(&mut self, section: &Section, diagnostics: &mut Diagnostics) -> Option<PlannedInput> {
        let all = inputs::registry::INPUTS.iter().map(|p| p.name);
        let plugin = named(section, "input", all, diagnostics).and_then(inputs::registry::find);
        self.unknown |= plugin.is_none();
        let plugin = plugin?;
        let owner = format!("input {}", plugin.name);
        check(section, &owner, CommonInput::TABLE, plugin.tables, diagnostics);
        shapes::check(section, &owner, diagnostics);
        let common = CommonInput::read(section, &owner, diagnostics);
        let (name, numbered) = self.name("input", plugin.name, common.alias.as_ref());
        let tag = common.tag.as_ref().map_or(numbered.as_str(), |t| t.0.as_str());
        let context = inputs::Context {
            name: &name,
            tag,
            parsers: &self.parsers,
            multiline: &self.multiline,
            multiline_limit: self.multiline_limit,
        };
        let configured = (plugin.configure)(section, &context, diagnostics);
        let processors = self.processors(section, diagnostics);
        let memory_limit = Some(common.mem_buf_limit.0 as usize).filter(|&n| n > 0);
        let storage = common.storage_type.unwrap_or(self.storage);
        if storage == StorageType::Filesystem && !self.storage_path {
            let span = section.get("storage.type").map_or(&section.span, |e| &e.value_span);
            diagnostics
                .error(span, format!("{name}: `storage.type` is filesystem, but there is no `storage.path`"))
                .help("set `storage.path` in [SERVICE] to a folder");
        }
        let pause_on_overlimit = common.pause_on_chunks_overlimit.0;
        let (configured, processors) = (configured?, processors?);
        let plugin = plugin.name;
        let line = section.get("buffer_max_size").and_then(|e| Size::parse(&e.value).ok());
        let group_bytes_max = if configured.decoder.stateful() { self.multiline_limit } else { 0 };
        let line_bytes_max = line.map_or(0, |s| usize::try_from(s.0).unwrap_or(usize::MAX));
        Some(PlannedInput {
            name,
            plugin,
            memory_limit,
            line_bytes_max,
            group_bytes_max,
            storage,
            pause_on_overlimit,
            configured,
            processors,
        })
    }

    fn filter(&mut self, section: &Section, diagnostics: &mut Diagnostics) -> Option<PlannedFilter> {
        let all = filters::registry::FILTERS.iter().map(|p| p.name);
        let plugin = named(section, "filter", all, diagnostics).and_then(filters::registry::find);
        self.unknown |= plugin.is_none();
        let plugin = plugin?;
        let owner = format!("filter {}", plugin.name);
        check(section, &owner, CommonFilter::TABLE, plugin.tables, diagnostics);
        let common = CommonFilter::read(section, &owner, diagnostics);
        let (name, _) = self.name("filter", plugin.name, common.alias.as_ref());
        let matcher =
            matcher(section, &owner, common.matches.as_ref(), common.match_regex.as_ref(), diagnostics);
        let filter = (plugin.configure)(section, &self.filter_context(&name), diagnostics);
        Some(PlannedFilter { name, plugin: plugin.name, matcher: matcher?, filter: filter? })
    }

    fn filter_context<'c>(&'c self, name: &'c str) -> filters::Context<'c> {
        filters::Context {
            name,
            parsers: &self.parsers,
            multiline: &self.multiline,
            variables: &self.variables,
            folder: self.folder.as_deref(),
        }
    }

    /// The `processors` of an input or output, in order.
    fn processors(&mut self, section: &Section, diagnostics: &mut Diagnostics) -> Option<Vec<PlannedFilter>> {
        let (mut planned, mut complete) = (Vec::new(), true);
        for child in section.children.iter().filter(|c| c.name.starts_with("processor.")) {
            match self.processor(child, section.name == "output", diagnostics) {
                Ok(processor) => planned.extend(processor),
                Err(Reported) => complete = false,
            }
        }
        complete.then_some(planned)
    }

    /// One of them; none where it would never see anything.
    fn processor(
        &mut self,
        section: &Section,
        of_output: bool,
        diagnostics: &mut Diagnostics,
    ) -> Result<Option<PlannedFilter>, Reported> {
        let Some(plugin) = filters::processors::named(section, diagnostics)? else { return Ok(None) };
        let owner = format!("processor {}", plugin.name);
        check(section, &owner, CommonFilter::TABLE, plugin.tables, diagnostics);
        let common = CommonFilter::read(section, &owner, diagnostics);
        let (name, _) = self.name("processor", plugin.name, common.alias.as_ref());
        let condition = filters::Condition::of(section, &owner, diagnostics);
        let filter = (plugin.configure)(section, &self.filter_context(&name), diagnostics);
        let (condition, filter) = (condition?, filter.ok_or(Reported)?);
        if of_output && (filter.retags() || filter.stage() == filters::Stage::Source) {
            diagnostics.error(&section.span, format!("{owner}: it cannot be a processor of an output")).help(
                "use it as a filter, or as a processor of an input: there its records can be routed again",
            );
            return Err(Reported);
        }
        let filter = match condition {
            Some(condition) => condition.before(filter),
            None => filter,
        };
        let matcher = Matcher::new(Some("*"), None).map_err(|_| Reported)?;
        Ok(Some(PlannedFilter { name, plugin: plugin.name, matcher, filter }))
    }

    fn output(&mut self, section: &Section, diagnostics: &mut Diagnostics) -> Option<PlannedOutput> {
        let all = outputs::registry::OUTPUTS.iter().map(|p| p.name);
        let plugin = named(section, "output", all, diagnostics).and_then(outputs::registry::find);
        self.unknown |= plugin.is_none();
        let plugin = plugin?;
        let owner = format!("output {}", plugin.name);
        check(section, &owner, CommonOutput::TABLE, plugin.tables, diagnostics);
        shapes::check(section, &owner, diagnostics);
        let common = CommonOutput::read(section, &owner, diagnostics);
        let (name, _) = self.name("output", plugin.name, common.alias.as_ref());
        let pattern =
            common.matches.as_ref().or(self.match_default.as_ref().filter(|_| common.match_regex.is_none()));
        let matcher = matcher(section, &owner, pattern, common.match_regex.as_ref(), diagnostics);
        let context = outputs::Context {
            name: &name,
            workers: common.workers.map(|n| n.0.max(0) as usize).filter(|&n| n > 0),
            escape_unicode: self.escape_unicode,
            flush: self.flush,
        };
        let output = (plugin.configure)(section, &context, diagnostics);
        let retry_limit = match common.retry_limit {
            None => RetryLimit::Unset,
            Some(RetryOption::Unlimited) => RetryLimit::Unlimited,
            Some(RetryOption::Never) => RetryLimit::Retries(0),
            Some(RetryOption::Times(n)) => RetryLimit::Retries(n),
        };
        let fingerprint = fingerprint(plugin.name, self.escape_unicode, section);
        let disk_limit = common.total_limit_size.0;
        let processors = self.processors(section, diagnostics);
        let plugin = plugin.name;
        let (matcher, output, processors) = (matcher?, output?, processors?);
        Some(PlannedOutput {
            name,
            plugin,
            matcher,
            output,
            retry_limit,
            fingerprint,
            disk_limit,
            processors,
        })
    }
}

/// Options that say where, when and how often an output delivers, not what: stored chunks outlive a change of them.
const DELIVERY_OPTIONS: &[&str] = &[
    "name",
    "host",
    "port",
    "uri",
    "header",
    "headers_key",
    "http_user",
    "http_passwd",
    "http_token",
    "http_method",
    "compress",
    "proxy",
    "allow_duplicated_headers",
    "endpoint",
    "region",
    "profile",
    "role_arn",
    "sts_endpoint",
    "external_id",
    "auto_create_group",
    "log_retention_days",
    "auto_retry_requests",
    "path",
    "file",
    "mkdir",
];

/// Of the plugin, and of the options that may determine how it encodes. One that is not known not to counts.
fn fingerprint(plugin: &str, escape_unicode: bool, section: &Section) -> u64 {
    let common = |key: &str| CommonOutput::TABLE.iter().any(|spec| spec.name.eq_ignore_ascii_case(key));
    let mut counted: Vec<(String, &str)> = section
        .entries
        .iter()
        .map(|e| (e.key.to_ascii_lowercase(), e.value.as_str()))
        .filter(|(key, _)| !common(key) && !DELIVERY_OPTIONS.contains(&key.as_str()))
        .filter(|(key, _)| !(key.starts_with("net.") || key.starts_with("tls")))
        .collect();
    counted.sort();
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(plugin.as_bytes());
    hash.update(&[0, u8::from(escape_unicode)]);
    for (key, value) in counted {
        // Lengths, so that no two lists of options read the same.
        hash.update(&(key.len() as u64).to_le_bytes());
        hash.update(key.as_bytes());
        hash.update(&(value.len() as u64).to_le_bytes());
        hash.update(value.as_bytes());
    }
    hash.digest()
}

/// A parser by the name of one that could not be made.
fn stand_in(section: &Section) -> Option<Parser> {
    let mut plain = section.clone();
    plain.entries.retain(|e| e.key.eq_ignore_ascii_case("name"));
    plain.entries.push(Entry {
        key: "format".into(),
        value: "json".into(),
        ..plain.entries.first()?.clone()
    });
    Parser::configure(&plain, &mut Diagnostics::default())
}

/// Checks the names of a section's entries against the options that all plugins of a kind have, and the plugin's own.
fn check(
    section: &Section,
    owner: &str,
    common: &[OptionSpec],
    own: &[&[OptionSpec]],
    diagnostics: &mut Diagnostics,
) {
    let all: Vec<&[OptionSpec]> = std::iter::once(common).chain(own.iter().copied()).collect();
    check_names(section, owner, &all, diagnostics);
    check_repeats(section, owner, common, Repeats::LastCounts, diagnostics);
    own.iter().for_each(|table| check_repeats(section, owner, table, Repeats::Refused, diagnostics));
}

/// The `Name` of a section, when a plugin has it.
fn named<'s>(
    section: &'s Section,
    kind: &str,
    all: impl Iterator<Item = &'static str> + Clone,
    diagnostics: &mut Diagnostics,
) -> Option<&'s str> {
    let Some(entry) = section.get("name") else {
        diagnostics
            .error(&section.span, format!("section `{kind}` is missing the `name` property"))
            .help(format!("one of {}", all.collect::<Vec<_>>().join(", ")));
        return None;
    };
    if all.clone().any(|name| name.eq_ignore_ascii_case(&entry.value)) {
        return Some(&entry.value);
    }
    let near = nearest(&entry.value, all.clone());
    let error = diagnostics.error(&entry.value_span, format!("unknown {kind} plugin `{}`", entry.value));
    match near {
        Some(name) => error.help(format!("did you mean `{name}`?")),
        None => error.help(format!("one of {}", all.collect::<Vec<_>>().join(", "))),
    };
    None
}

fn matcher(
    section: &Section,
    owner: &str,
    pattern: Option<&Text>,
    regex: Option<&Text>,
    diagnostics: &mut Diagnostics,
) -> Option<Matcher> {
    match Matcher::new(pattern.map(|t| t.0.as_str()), regex.map(|t| t.0.as_str())) {
        Ok(matcher) => {
            if matcher.is_empty() {
                diagnostics
                    .warning(&section.span, format!("{owner} has no `Match`: no record reaches it"))
                    .help("set `Match *` to take every tag");
            }
            Some(matcher)
        }
        Err(rule) => {
            let span: &Span = section.get("match_regex").map_or(&section.span, |e| &e.value_span);
            diagnostics
                .error(span, format!("{owner}: `match_regex` is `{}`: {rule}", regex.map_or("", |t| &t.0)));
            None
        }
    }
}

impl Plan {
    /// The most memory that data in flight can use, and what comes on top, in bytes.
    pub fn memory_max(&self) -> usize {
        let Settings { memory_limit: limit, shards, .. } = self.settings;
        // What blocks become has its place reserved, as far as the limit reaches.
        let outputs = self.outputs.len();
        let reserved = reserve(outputs, shards, limit);
        let data = limit.saturating_mul((1 + outputs).div_ceil(reserved));
        let share = limit / outputs.max(1);
        // `Workers` may be any number.
        let requests = self.outputs.iter().fold(0, |sum: usize, o| {
            let chunk = o.output.chunk_bytes_target().min(share) * REQUEST_COPIES;
            sum.saturating_add(o.output.lanes().saturating_mul(chunk))
        });
        // A worker has one record at a time.
        let most = |of: fn(&PlannedInput) -> usize| {
            self.inputs.iter().map(of).filter(|&n| n > RECORD_BYTES).max().unwrap_or(0)
        };
        let (line, group) = (most(|i| i.line_bytes_max), most(|i| i.group_bytes_max));
        let readers = line.saturating_mul(READ_COPIES * self.inputs.len());
        let jobs =
            line.saturating_mul(JOB_COPIES).max(group.saturating_mul(GROUP_COPIES)).saturating_mul(shards);
        let known = self.filters.iter().map(|f| f.filter.memory_max()).sum::<usize>();
        let variable = data.saturating_add(requests).saturating_add(readers).saturating_add(jobs);
        let variable = variable.saturating_add(known);
        // What the allocator keeps between one size and the next.
        variable.saturating_add(variable / 8).saturating_add(FIXED_BYTES + shards * SHARD_BYTES)
    }

    /// The plan in words, one line each.
    pub fn text(&self) -> Vec<String> {
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let mut lines = vec![format!(
            "plan: {}, {}, {}, {}, memory at most {} MiB: {} MiB of data in flight, {} MiB else",
            plural(self.inputs.len(), "input"),
            plural(self.filters.len(), "filter"),
            plural(self.outputs.len(), "output"),
            plural(self.settings.shards, "shard"),
            self.memory_max() >> 20,
            self.settings.memory_limit >> 20,
            (self.memory_max() >> 20) - (self.settings.memory_limit >> 20),
        )];
        lines.extend(self.parsers.iter().map(|p| format!("parser {}: {}", p.name(), p.engine())));
        for input in &self.inputs {
            lines.push(format!("input {}: tags {}", input.name, input.configured.tags.join(", ")));
            lines.extend(input.configured.notes.iter().map(|n| format!("input {n}")));
        }
        lines
    }
}

/// Program, runtime, read ring, and buffers kept for reuse.
const FIXED_BYTES: usize = 24 << 20;
/// Arena and scratch of a worker.
const SHARD_BYTES: usize = ARENA_KEPT_BYTES;
/// A chunk under way is in its queue's charge; beside it stand the body of its request and what the transport copies.
const REQUEST_COPIES: usize = 2;
/// A record of this size is the usual case, and within the other numbers.
const RECORD_BYTES: usize = 512 * 1024;
/// What the reader holds of a line that is not at its end: the carried part while it grows, and the block.
const READ_COPIES: usize = 4;
/// What a worker holds of one group of lines: what was gathered, its copy in the arena, its wire form.
const GROUP_COPIES: usize = 3;
/// What a worker holds of one line: the block, its fields in the arena, the rows of a regular expression, its wire form.
const JOB_COPIES: usize = 6;
