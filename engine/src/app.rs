//! The program: command line → configuration → plan → dry-run or run.
//!
//! Owns: what is printed where, exit codes. Never: schedules.

use crate::config::{self, DiskSource};
use crate::plan::{self, Machine, Plan};
use crate::{filters, inputs, log, machine, run};
use codecs::conf::{Diagnostics, Level};

/// Runs the program; gives its exit code.
pub fn main(args: Vec<String>) -> i32 {
    let _ = (args, filters::registry::FILTERS, inputs::registry::INPUTS);
    0
}

/// Compiles a configuration and prints all that was found; `None` when it cannot run.
fn compile(file: Option<&str>, sections: &[codecs::conf::Section]) -> Option<(config::Config, Plan)> {
    let mut diagnostics = Diagnostics::default();
    let config = config::load(file, sections, &DiskSource::default(), &mut diagnostics);
    let machine = Machine { cpus: machine::cpus(), memory: machine::memory_limit() };
    let plan = config.as_ref().and_then(|c| plan::compile(c, &machine, &mut diagnostics));
    for diagnostic in &diagnostics.list {
        eprintln!("{diagnostic}");
    }
    if diagnostics.has_errors() || plan.is_none() {
        let count = |level| diagnostics.count(level);
        eprintln!("{} errors, {} warnings, {} notes; no plan made", count(Level::Error), count(Level::Warning), count(Level::Note));
        return None;
    }
    config.zip(plan)
}

/// Runs a plan.
fn start(plan: Plan) -> i32 {
    plan.text().iter().for_each(|line| log!(Info, "plan", "{line}"));
    run::run(plan)
}
