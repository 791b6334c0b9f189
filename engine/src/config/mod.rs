//! A configuration as the plan takes it: the service's options, and the sections of inputs, filters and outputs.
//!
//! Owns: files and command line to one [`Config`], `Parsers_File`, what may stand where. Never: knows a plugin.
//! Invariant: whatever is wrong is reported with its place, all of it in one run.

mod address;
pub mod common;
pub mod disk;
pub mod routing;
pub mod service;
pub mod shapes;
pub mod values;

use std::sync::Arc;

use codecs::conf::options::{Repeats, check_names, check_repeats};
use codecs::conf::{Diagnostics, Grammar, OptionValue, Section, Source, Span, Variables, read, read_with};

pub use common::{CommonFilter, CommonInput, CommonOutput};
pub use disk::DiskSource;
pub use routing::{Match, Matcher};
pub use service::ServiceOptions;
pub use values::{LogLevel, RetryLimit};

use crate::log::Level;

/// Everything that the files and the command line say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The main file as the user named it; a reload reads it again.
    pub file: Option<String>,
    /// Options of the whole process.
    pub service: ServiceOptions,
    /// The same as entries, for what shows a configuration.
    pub service_section: Section,
    /// Inputs in order: those of the command line first, as in Fluent Bit.
    pub inputs: Vec<Section>,
    /// Filters in order.
    pub filters: Vec<Section>,
    /// Outputs in order.
    pub outputs: Vec<Section>,
    /// Parsers of the parsers files, then those of the main file.
    pub parsers: Vec<Section>,
    /// Multi-line parsers, in the same order.
    pub multiline_parsers: Vec<Section>,
    /// `upstream_servers` of YAML: nodes are children named `node`.
    pub upstreams: Vec<Section>,
    /// What `@SET` and `env:` defined; for values that are read later.
    pub variables: Variables,
}

impl Config {
    /// How much is told: FLB_LOG_LEVEL of the environment, else the service's `log_level`, else what the flags say.
    pub fn log_level(&self, flags: Level, source: &dyn Source) -> Level {
        let set = source.env("FLB_LOG_LEVEL").and_then(|text| LogLevel::parse(&text).ok());
        set.or(self.service.log_level).map_or(flags, LogLevel::level)
    }
}

/// Reads the configuration. `flags` are the sections of the command line (among them one named `service`); a file's
/// service keys win over them, as in Fluent Bit. Without an error in `diagnostics` it can be planned.
pub fn load(
    file: Option<&str>,
    flags: &[Section],
    source: &dyn Source,
    diagnostics: &mut Diagnostics,
) -> Config {
    let document = file.map(|file| read(file, source, diagnostics)).unwrap_or_default();
    let mut given = flags.to_vec();
    document.variables.expand_sections(&mut given, source, diagnostics);
    let place: Arc<str> = Arc::from(file.unwrap_or("command line"));
    let mut sorted = Sorted::new(Section::new("service", Span::new(&place, 0, 0)), file);
    for section in given.into_iter().chain(document.sections) {
        sorted.add(section, diagnostics);
    }
    let service = service_options(&sorted.service, diagnostics);
    let mut config = Sorted::config(sorted, document.variables, service);
    let (mut parsers, mut multiline) = (Vec::new(), Vec::new());
    for entry in config.service_section.all("parsers_file") {
        let main = file.unwrap_or("");
        let variables = config.variables.clone();
        let read = read_with(&entry.value, Some((main, &entry.value_span)), variables, source, diagnostics);
        for section in read.sections {
            match section.name.as_str() {
                "parser" => parsers.push(section),
                "multiline_parser" => multiline.push(section),
                name => {
                    let message = format!("section `{name}` has no effect in a parsers file");
                    diagnostics.warning(&section.span, message);
                }
            }
        }
    }
    parsers.append(&mut config.parsers);
    multiline.append(&mut config.multiline_parsers);
    (config.parsers, config.multiline_parsers) = (parsers, multiline);
    for entry in config.service_section.all("plugins_file") {
        let main = file.unwrap_or("");
        let variables = config.variables.clone();
        let read = read_with(&entry.value, Some((main, &entry.value_span)), variables, source, diagnostics);
        read.sections.iter().filter(|s| s.name == "plugins").for_each(|s| refuse_libraries(s, diagnostics));
    }
    config
}

/// Checks and reads the service's entries. Where one is wrong the defaults take their place, so that what else is wrong is
/// found in the same run.
fn service_options(section: &Section, diagnostics: &mut Diagnostics) -> ServiceOptions {
    check_names(section, "service", &[ServiceOptions::TABLE], diagnostics);
    check_repeats(section, "service", ServiceOptions::TABLE, Repeats::LastCounts, diagnostics);
    for child in &section.children {
        match child.name.as_str() {
            "telemetry" => {
                diagnostics
                    .note(&child.span, "service: `telemetry` has no effect: records are not counted by tag");
            }
            name => {
                diagnostics.error(&child.span, format!("service: unknown option `{name}`"));
            }
        }
    }
    ServiceOptions::read(section, "service", diagnostics)
}

/// Shared libraries cannot be loaded; what they would add is unknown, so a plugin of theirs is reported by its name.
fn refuse_libraries(section: &Section, diagnostics: &mut Diagnostics) {
    for entry in &section.entries {
        diagnostics.warning(
            &entry.value_span,
            format!("plugin `{}` is not loaded: shared libraries are not supported", entry.value),
        );
    }
}

/// Sections by what they are.
struct Sorted {
    file: Option<String>,
    classic: bool,
    service: Section,
    inputs: Vec<Section>,
    filters: Vec<Section>,
    outputs: Vec<Section>,
    parsers: Vec<Section>,
    multiline_parsers: Vec<Section>,
    upstreams: Vec<Section>,
}

impl Sorted {
    fn new(service: Section, file: Option<&str>) -> Self {
        Sorted {
            file: file.map(str::to_owned),
            classic: file.is_some_and(|file| Grammar::of(file) == Grammar::Classic),
            service,
            inputs: Vec::new(),
            filters: Vec::new(),
            outputs: Vec::new(),
            parsers: Vec::new(),
            multiline_parsers: Vec::new(),
            upstreams: Vec::new(),
        }
    }

    fn config(self, variables: Variables, service: ServiceOptions) -> Config {
        Config {
            file: self.file,
            service,
            service_section: self.service,
            inputs: self.inputs,
            filters: self.filters,
            outputs: self.outputs,
            parsers: self.parsers,
            multiline_parsers: self.multiline_parsers,
            upstreams: self.upstreams,
            variables,
        }
    }

    fn add(&mut self, mut section: Section, diagnostics: &mut Diagnostics) {
        if matches!(section.name.as_str(), "input" | "filter" | "output") {
            check_plugin(&section, diagnostics);
            address::spread(&mut section);
        }
        if self.classic && section.name.ends_with("parser") {
            diagnostics
                .note(&section.span, format!("section `{}` in the main file", section.name))
                .help("Fluent Bit takes it only in a parsers file or in YAML");
        }
        match section.name.as_str() {
            "service" => {
                if self.service.span.line == 0 {
                    self.service.span = section.span;
                }
                self.service.entries.extend(section.entries);
                self.service.children.extend(section.children);
            }
            "input" => self.inputs.push(section),
            "filter" => self.filters.push(section),
            "output" => self.outputs.push(section),
            "parser" => self.parsers.push(section),
            "multiline_parser" => self.multiline_parsers.push(section),
            "upstream" if !self.classic => {
                diagnostics.warning(&section.span, "an upstream has no effect: no output here takes one");
                self.upstreams.push(section);
            }
            "plugins" => refuse_libraries(&section, diagnostics),
            "custom" => {
                let name = section.get("name").map_or("", |e| e.value.as_str());
                diagnostics.error(&section.span, format!("custom plugin `{name}` does not exist"));
            }
            "stream_task" | "stream_processor" => {
                diagnostics.error(&section.span, "there is no stream processor");
            }
            name => {
                diagnostics
                    .warning(&section.span, format!("section `{name}` has no effect in the main file"));
            }
        }
    }
}

/// What every plugin section must fulfil, whatever the plugin: no maps.
fn check_plugin(section: &Section, diagnostics: &mut Diagnostics) {
    for child in &section.children {
        // The plan checks what stands in them.
        if !child.name.starts_with("processor.") || section.name == "filter" {
            let message = format!("{}: `{}` cannot be a map of keys and values", section.name, child.name);
            diagnostics.error(&child.span, message);
        }
    }
}

#[cfg(test)]
mod tests;
