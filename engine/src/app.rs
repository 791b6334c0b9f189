//! The program: command line → configuration → plan → dry-run or run.
//!
//! Owns: what is printed where, exit codes. Never: schedules.

use crate::cli::{self, Cli, Help, help};
use crate::config::{self, Config, DiskSource};
use crate::plan::{self, Machine, Plan, Unplanned};
use crate::{filters, inputs, log, machine, run, supervisor};
use codecs::conf::{Diagnostics, Level, OptionSpec, Plugin};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// `print!`, whether anybody reads it or not: a closed pipe stops nothing.
macro_rules! show {
    ($($text:tt)*) => {{ let _ = write!(std::io::stdout(), $($text)*); }};
}

/// `eprintln!`, whether anybody reads it or not.
macro_rules! complain {
    ($($text:tt)*) => {{ let _ = writeln!(std::io::stderr(), $($text)*); }};
}

/// Runs the program; gives its exit code.
pub fn main(args: Vec<String>) -> i32 {
    let mut diagnostics = Diagnostics::default();
    let own: Vec<String> = args.iter().skip(1).filter(|arg| *arg != "--supervisor").cloned().collect();
    let cli = match cli::parse(args, &mut diagnostics) {
        Ok(cli) => cli,
        Err(message) => {
            complain!("{message}");
            return 1;
        }
    };
    if cli.version {
        show!("{}\n", help::VERSION);
        return 0;
    }
    if cli.help != Help::None {
        return show_help(&cli);
    }
    log::set_level(cli.level());
    let home = std::env::current_dir().unwrap_or_default();
    if let Some(folder) = &cli.workdir
        && let Err(error) = std::env::set_current_dir(folder)
    {
        complain!("cannot change to the folder `{folder}` (-w): {error}");
        return 1;
    }
    match (compile(&cli, diagnostics), cli.dry_run) {
        (Err(Unplanned::Text), _) | (Err(Unplanned::Options), true) => 1,
        (Err(Unplanned::Options), false) => OPTIONS_REFUSED,
        (Ok((_, plan)), true) => {
            plan.text().iter().for_each(|line| complain!("{line}"));
            complain!("configuration test is successful");
            0
        }
        // A configuration with errors ends here, and is not started over and over.
        (Ok(_), false) if !supervisor::is_child() && cli.supervisor => supervisor::run(&own, &home),
        (Ok((config, plan)), false) => start(&cli, &config, plan),
    }
}

/// Exit code of a start whose options a plugin refuses, as in Fluent Bit.
pub(crate) const OPTIONS_REFUSED: i32 = 255;

/// Compiles the configuration and prints all that was found.
fn compile(cli: &Cli, mut diagnostics: Diagnostics) -> Result<(Config, Plan), Unplanned> {
    let config = config::load(cli.config.as_deref(), &cli.sections, &DiskSource, &mut diagnostics);
    let machine = Machine { cpus: machine::cpus(), memory: machine::memory_limit(), zones: machine::zone };
    let plan = plan::compile(&config, &machine, &mut diagnostics);
    let wanted = if cli.quiet() { Level::Error } else { Level::Note };
    diagnostics.list.iter().filter(|d| d.level >= wanted).for_each(|d| complain!("{d}"));
    if plan.is_err() {
        let count = |level, word: &str| match diagnostics.count(level) {
            1 => format!("1 {word}"),
            n => format!("{n} {word}s"),
        };
        complain!(
            "{}, {}, {}; no plan made",
            count(Level::Error, "error"),
            count(Level::Warning, "warning"),
            count(Level::Note, "note")
        );
    }
    plan.map(|plan| (config, plan))
}

/// What an output tells goes to the log.
fn told_by_output(level: outputs::notice::Level, component: &str, message: &str) {
    use outputs::notice::Level as Told;
    let level = match level {
        Told::Error => log::Level::Error,
        Told::Warn => log::Level::Warn,
        Told::Info => log::Level::Info,
        Told::Debug => log::Level::Debug,
    };
    log::write(level, component, message);
}

/// Sets the log up and runs.
fn start(cli: &Cli, config: &Config, mut plan: Plan) -> i32 {
    log::set_level(config.log_level(cli.level(), &DiskSource));
    outputs::notice::set_sink(told_by_output);
    if let Some(file) = &config.service.log_file
        && let Err(error) = log::set_file(Path::new(&file.0))
    {
        // As in Fluent Bit: a node without its log folder is better served by a running engine.
        complain!("cannot open the log file `{}` (log_file, -l): {error}; logs go to stderr", file.0);
    }
    if !cli.quiet() {
        complain!("{}", help::VERSION);
    }
    log!(
        Info,
        "engine",
        "simd tier {}, version {}",
        codecs::simd::Tier::best().name(),
        env!("CARGO_PKG_VERSION")
    );
    plan.text().iter().for_each(|line| log!(Info, "plan", "{line}"));
    let again = Arc::new(cli.clone());
    if let Some(storage) = &mut plan.settings.storage {
        storage.replay_rejected = cli.replay_rejected;
    }
    run::run(plan, Arc::new(move || replan(&again)))
}

/// Reads the configuration again; tells all that is wrong with it.
fn replan(cli: &Cli) -> Result<Plan, String> {
    let mut diagnostics = Diagnostics::default();
    let config = config::load(cli.config.as_deref(), &cli.sections, &DiskSource, &mut diagnostics);
    let machine = Machine { cpus: machine::cpus(), memory: machine::memory_limit(), zones: machine::zone };
    let plan = plan::compile(&config, &machine, &mut diagnostics);
    let Ok(plan) = plan else {
        let wrong = diagnostics.list.iter().filter(|d| d.level >= Level::Warning).map(ToString::to_string);
        return Err(wrong.collect::<Vec<_>>().join("\n"));
    };
    if let Some(file) = &config.service.log_file
        && let Err(error) = log::set_file(Path::new(&file.0))
    {
        log!(Error, "reload", "cannot open the log file `{}` (log_file, -l): {error}", file.0);
    }
    log::set_level(config.log_level(cli.level(), &DiskSource));
    diagnostics.list.iter().filter(|d| d.level == Level::Warning).for_each(|d| log!(Warn, "reload", "{d}"));
    Ok(plan)
}

/// An option table and how its group is headed.
type Tables = Vec<(&'static str, &'static [OptionSpec])>;

/// A plugin as help shows it.
struct Described {
    kind: &'static str,
    name: &'static str,
    about: &'static str,
    tables: Tables,
}

/// The group of a plugin's table, by Fluent Bit's name.
fn group(table: &'static [OptionSpec]) -> &'static str {
    match table.first().map(|spec| spec.name) {
        Some(name) if name.starts_with("net.") => "networking",
        Some("tls") => "network_tls",
        _ => "options",
    }
}

/// All plugins, inputs first.
fn plugins() -> Vec<Described> {
    let inputs = described("input", inputs::registry::INPUTS, config::CommonInput::TABLE);
    let filters = described("filter", filters::registry::FILTERS, config::CommonFilter::TABLE);
    let outputs = described("output", outputs::registry::OUTPUTS, config::CommonOutput::TABLE);
    inputs.chain(filters).chain(outputs).collect()
}

/// The plugins of a kind, each with the table that all of its kind share.
fn described<C>(
    kind: &'static str,
    plugins: &'static [&'static Plugin<C>],
    common: &'static [OptionSpec],
) -> impl Iterator<Item = Described> {
    plugins.iter().map(move |plugin| {
        let mut tables: Tables = plugin.tables.iter().map(|&table| (group(table), table)).collect();
        tables.push((help::COMMON, common));
        Described { kind, name: plugin.name, about: plugin.about, tables }
    })
}

fn show_help(cli: &Cli) -> i32 {
    let all = plugins();
    let helps: Vec<help::PluginHelp<'_>> = all
        .iter()
        .map(|d| help::PluginHelp { kind: d.kind, name: d.name, about: d.about, tables: &d.tables })
        .collect();
    match &cli.help {
        Help::None => {}
        Help::General => {
            let of = |kind: &str| {
                all.iter().filter(|d| d.kind == kind).map(|d| (d.name, d.about)).collect::<Vec<_>>()
            };
            let (inputs, filters, outputs) = (of("input"), of("filter"), of("output"));
            show!(
                "{}",
                help::general(
                    &cli.program,
                    &[("Inputs", &inputs), ("Filters", &filters), ("Outputs", &outputs)]
                )
            );
        }
        Help::Json => show!("{}", help::json(&helps)),
        Help::Plugin { kind, name, json } => {
            let Some(found) = helps.iter().find(|h| h.kind == kind && h.name.eq_ignore_ascii_case(name))
            else {
                complain!("unknown {kind} plugin `{name}`");
                return 1;
            };
            show!("{}", if *json { help::plugin_json(found) } else { help::plugin(found) });
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_has_help() {
        for plugin in plugins() {
            assert!(!plugin.about.trim().is_empty(), "{}", plugin.name);
            let names: Vec<_> = plugin.tables.iter().flat_map(|(_, t)| t.iter()).collect();
            for spec in &names {
                assert!(!spec.doc.trim().is_empty(), "{} {}", plugin.name, spec.name);
                let same = names.iter().filter(|s| s.name.eq_ignore_ascii_case(spec.name)).count();
                // As in Fluent Bit: among its own options and among those of TLS.
                let twice = plugin.name == "kubernetes_events" && spec.name.starts_with("tls.");
                assert!(same == 1 || (same == 2 && twice), "{} names {} twice", plugin.name, spec.name);
            }
        }
    }
}
