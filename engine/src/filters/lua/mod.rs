//! `lua`: a function of the user's decides what becomes of a record.
//!
//! Owns: the Lua state, the script, what its answers mean. The bytes between here and there are [`wire`]'s.
//! Never: lets an error in the script touch more than the one record.
//! Invariant: one state for all, entered in the serial stage: a script's globals behave as if records came one after
//! the other, in the order in which they were read.

mod wire;

use super::{Context, Filter, FilterContext, Outcome, Plugin, Stage};
use crate::control::Control;
use crate::log;
use codecs::conf::values::{Bool, Text, Words};
use codecs::conf::{Diagnostics, Section};
use codecs::record::{Record, Timestamp, Value};
use mlua::{Function, Lua, LuaString};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

codecs::options! {
    /// Calls a function of a Lua script (LuaJIT) with each record; it changes, drops, or splits it.
    pub struct Options {
        /// Path of the script; one that is not there is looked for beside the configuration file.
        script "script": Opt<Text>,
        /// The script itself, in place of a file.
        code "code": Opt<Text>,
        /// Name of the function: `f(tag, timestamp, record)` gives a code (-1 drop, 0 keep, 1 changed, 2 changed but not
        /// the time), a time and a record, or an array of records.
        call "call": Opt<Text>,
        /// Keys whose numbers leave as integers, with spaces between them.
        type_int_key "type_int_key": Opt<Words>,
        /// Keys whose tables leave as arrays even when they are empty, with spaces between them.
        type_array_key "type_array_key": Opt<Words>,
        /// Calls the function so that an error in it does not end the program.
        protected_mode "protected_mode": One<Bool> = "true" => NoEffect("an error in a script never ends the program"),
        /// Gives the time as a table with `sec` and `nsec`, and takes it as one.
        time_as_table "time_as_table": One<Bool> = "false",
        /// Gives null as the global `flb_null`; without it a field that is null is not there.
        enable_flb_null "enable_flb_null": One<Bool> = "false",
    }
}

/// Different messages of a script that are told; what is beyond is only counted.
const TOLD_MAX: usize = 64;

/// How the prelude says that the function, or the table that it gave, failed.
const FAILED: i64 = -1000;
/// How it says that the time was no table.
const WRONG_TIME: i64 = -1001;

/// A configured filter.
struct Script {
    /// `filter:lua:lua.0`, for messages.
    component: String,
    /// What error messages call it.
    name: String,
    source: Vec<u8>,
    call: String,
    time_as_table: bool,
    types: wire::Types,
    /// For `FLB_ENV`.
    variables: Vec<(String, String)>,
    running: OnceLock<Running>,
    told: Mutex<HashSet<String>>,
}

/// The script once it was loaded.
struct Running {
    /// Dropped last; the function lives in it.
    lua: Lua,
    call: Function,
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "lua", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let owner = context.name;
    let source = source(&options, section, context, diagnostics);
    let Some(Text(call)) = options.call.clone().filter(|c| !c.0.is_empty()) else {
        diagnostics
            .error(&section.span, format!("{owner}: `call` is missing"))
            .help("rule: the name of a function of the script");
        return None;
    };
    let (name, source) = source?;
    if let Err(error) = Lua::new().load(&source[..]).set_name(&name).into_function() {
        let key = if options.code.is_some() { "code" } else { "script" };
        let span = section.get(key).map_or(&section.span, |e| &e.value_span);
        diagnostics.error(span, format!("{owner}: `{key}`: {}", first_line(&error.to_string())));
        return None;
    }
    let words = |option: Option<Words>| option.map_or_else(Vec::new, |w| w.0);
    Some(Arc::new(Script {
        component: format!("filter:lua:{owner}"),
        name,
        source,
        call,
        time_as_table: options.time_as_table.0,
        types: wire::Types {
            int_keys: words(options.type_int_key),
            array_keys: words(options.type_array_key),
            null: options.enable_flb_null.0,
        },
        variables: context.variables.defined().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        running: OnceLock::new(),
        told: Mutex::default(),
    }))
}

/// The script's name and text.
fn source(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<(String, Vec<u8>)> {
    if let Some(Text(code)) = &options.code {
        return Some(("=fluentbit.lua".to_owned(), code.clone().into_bytes()));
    }
    let Some(Text(script)) = &options.script else {
        let message = format!("{}: neither `script` nor `code` is set", context.name);
        diagnostics
            .error(&section.span, message)
            .help("rule: the path of a Lua script, or the script itself");
        return None;
    };
    let path = locate(script, context.folder);
    match std::fs::read(&path) {
        Ok(source) => Some((format!("@{}", path.display()), source)),
        Err(error) => {
            let span = section.get("script").map_or(&section.span, |e| &e.value_span);
            let message = format!("{}: cannot read the script `{}`: {error}", context.name, path.display());
            diagnostics
                .error(span, message)
                .help("a relative path counts from the working folder, then from the configuration's");
            None
        }
    }
}

/// Where the script is: as the path says, else beside the configuration.
fn locate(script: &str, folder: Option<&Path>) -> PathBuf {
    let path = PathBuf::from(script);
    match folder {
        Some(folder) if path.is_relative() && !path.exists() => folder.join(path),
        _ => path,
    }
}

fn first_line(message: &str) -> &str {
    let message = message.strip_prefix("runtime error: ").unwrap_or(message);
    let message = message.strip_prefix("syntax error: ").unwrap_or(message);
    message.lines().next().unwrap_or_default()
}

impl Script {
    /// Runs the script, and finds the function.
    fn load(&self) -> mlua::Result<Running> {
        // SAFETY: all libraries, `ffi` and `debug` among them, as in Fluent Bit: a script may do whatever its user may
        // do, just as the configuration that names it. Code that breaks memory through them breaks only what its user
        // asked to be broken; without them scripts that work there would not work here.
        let lua = unsafe { Lua::unsafe_new() };
        let globals = lua.globals();
        let variables = lua.create_table()?;
        for (name, value) in &self.variables {
            variables.set(name.as_str(), value.as_str())?;
        }
        globals.set("FLB_ENV", variables)?;
        if self.types.null {
            globals.set("flb_null", mlua::Value::NULL)?;
        }
        lua.load(&self.source[..]).set_name(&self.name).exec()?;
        let function: Option<Function> = globals.get(self.call.as_str()).ok();
        let Some(function) = function else {
            return Err(mlua::Error::runtime(format!("function {} is not found", self.call)));
        };
        let arguments: i64 = lua
            .load("return debug.getinfo(..., 'u').nparams")
            .call::<Option<i64>>(function)
            .ok()
            .flatten()
            .unwrap_or(3);
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude");
        let call = prelude.call((self.call.as_str(), self.time_as_table, arguments))?;
        Ok(Running { lua, call })
    }

    /// Tells what failed, each message once.
    #[cold]
    fn fails<'a>(&self, message: &str) -> Outcome<'a> {
        let message = first_line(message);
        let mut told = self.told.lock().expect("told lock");
        if told.len() < TOLD_MAX && !told.contains(message) {
            told.insert(message.to_owned());
            log!(
                Error,
                self.component,
                "{message}; the record goes on as it came (told once, always counted)"
            );
        }
        Outcome::Failed
    }

    fn call<'a>(
        &self,
        running: &Running,
        record: &mut Record<'a>,
        context: &mut FilterContext<'a, '_>,
    ) -> mlua::Result<Outcome<'a>> {
        let arena = context.arena;
        for field in &mut record.fields {
            if matches!(field.value, Value::Json(_) | Value::Map(_) | Value::Array(_)) {
                field.value = wire::open(field.value, arena);
            }
        }
        context.text.clear();
        wire::write_map(context.text, &record.fields, &self.types);
        let Timestamp { secs, nanos } = record.time;
        let time = match self.time_as_table {
            true => secs as f64,
            false => secs as f64 + f64::from(nanos) / 1e9,
        };
        let bytes = running.lua.create_string(&context.text[..])?;
        let (code, bytes, seconds, nanoseconds): (i64, Option<LuaString>, f64, f64) =
            running.call.call((context.tag, time, nanos, bytes))?;
        let made = match (code, bytes) {
            (1 | 2 | WRONG_TIME, Some(bytes)) => arena.alloc_slice_copy(&bytes.as_bytes()),
            (FAILED, Some(message)) => return Ok(self.fails(&message.to_string_lossy())),
            (-1, _) => return Ok(Outcome::Drop),
            (0, _) => return Ok(Outcome::Keep),
            (code, _) => {
                return Ok(
                    self.fails(&format!("{} gave the code {code}; known are -1, 0, 1 and 2", self.call))
                );
            }
        };
        let time = match code {
            1 if self.time_as_table => timestamp(seconds.trunc(), nanoseconds),
            1 => timestamp(seconds.trunc(), seconds.fract() * 1e9),
            2 => record.time,
            _ => {
                let message = "invalid lua timestamp type returned: a table with `sec` and `nsec` was wanted";
                self.fails(message);
                record.time
            }
        };
        Ok(self.take(made, time, record, context))
    }

    /// The records that came back take the place of the one that was given.
    fn take<'a>(
        &self,
        made: &'a [u8],
        time: Timestamp,
        record: &mut Record<'a>,
        context: &mut FilterContext<'a, '_>,
    ) -> Outcome<'a> {
        let (arena, mut count) = (context.arena, 0);
        let (mut first, list) = (None, &mut *context.made);
        let read = wire::read(made, &self.types, arena, |fields| {
            count += 1;
            let fields = wire::in_order(fields, &record.fields, arena);
            match count {
                1 => first = Some(fields),
                _ => list.push(Record { time, fields }),
            }
        });
        match (read, first) {
            (None, _) => self.fails(&format!("invalid table returned at {}()", self.call)),
            (_, Some(fields)) if count == 1 => {
                *record = Record { time, fields };
                Outcome::Keep
            }
            (_, first) => {
                list.extend(first.map(|fields| Record { time, fields }));
                // The first was put behind the others.
                list.rotate_right(usize::from(count > 1));
                Outcome::Replace
            }
        }
    }
}

/// A time of what the script gave.
fn timestamp(seconds: f64, nanoseconds: f64) -> Timestamp {
    let nanos = nanoseconds.clamp(0.0, 999_999_999.0);
    Timestamp { secs: seconds as i64, nanos: nanos as u32 }
}

impl Filter for Script {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let Some(running) = self.running.get() else { return Outcome::Keep };
        match self.call(running, record, context) {
            Ok(outcome) => outcome,
            Err(error) => self.fails(&error.to_string()),
        }
    }

    fn stage(&self) -> Stage {
        Stage::Serial
    }

    fn start(&self, _control: &Arc<Control>) -> Result<(), String> {
        let running =
            self.load().map_err(|e| format!("{}: {}", self.component, first_line(&e.to_string())))?;
        // A filter starts once.
        drop(self.running.set(running));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
