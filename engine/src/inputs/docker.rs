//! Input docker: what containers use of processor and memory, from their control groups.
//!
//! Owns: where version 1 and version 2 keep it, which containers are wanted. Never: talks to the engine of Docker.
//! Invariant: a container that cannot be read leaves itself out, and no other.

use super::net::text::Bad;
use super::ticks::{Ticks, admit, interval};
use super::{Configured, Context, Input, InputContext, Plugin};
use crate::decode::Decoder;
use crate::job::{Block, Position, SourceInfo};
use crate::log;
use crate::shards::{JobRun, now};
use codecs::Bump;
use codecs::conf::values::{Int, Text, Words};
use codecs::conf::{Diagnostics, Section};
use codecs::json::{Scratch, expand, parse_value};
use codecs::record::{Field, Text as Key, Value};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Characters of a container's whole identifier.
const ID_LEN: usize = 64;
/// Characters that stand in records.
const SHORT_ID_LEN: usize = 12;
/// The longest `config.v2.json`.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// The longest file of a control group.
const FILE_BYTES_MAX: u64 = 64 * 1024;

codecs::options! {
    /// Tells, every so often, what each container of Docker uses of processor and memory.
    pub struct Options {
        /// Seconds between two looks.
        interval_sec "interval_sec": One<Int> = "1",
        /// Nanoseconds between two looks, besides `Interval_Sec`.
        interval_nsec "interval_nsec": One<Int> = "0",
        /// Only these containers: identifiers of 12 or 64 characters, with blanks between them.
        include "include": Many<Words>,
        /// Not these containers.
        exclude "exclude": Many<Words>,
        /// Where control groups are mounted.
        path_sysfs "path.sysfs": One<Text> = "/sys/fs/cgroup",
        /// Where Docker keeps what it knows of its containers.
        path_containers "path.containers": One<Text> = "/var/lib/docker/containers",
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "docker", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let options = Options::read(section, owner, diagnostics);
    let mut ids = |key: &str, lists: Vec<Words>| -> Vec<String> {
        let ids: Vec<String> = lists.into_iter().flat_map(|list| list.0).collect();
        let span = section.get(key).map_or(&section.span, |e| &e.value_span);
        for id in ids.iter().filter(|id| id.len() != ID_LEN && id.len() != SHORT_ID_LEN) {
            diagnostics
                .warning(span, format!("{owner}: `{key}` names `{id}`, which is passed over"))
                .help("rule: identifiers of 12 or 64 characters");
        }
        ids.into_iter().filter(|id| id.len() == ID_LEN || id.len() == SHORT_ID_LEN).collect()
    };
    let (named, not) = (!options.include.is_empty(), ids("exclude", options.exclude));
    let only = ids("include", options.include);
    let component = format!("input:docker:{owner}");
    let input = Looking {
        tag: context.tag.into(),
        groups: options.path_sysfs.0.into(),
        containers: options.path_containers.0.into(),
        only: named.then_some(only),
        not,
        interval: interval(options.interval_sec.0, options.interval_nsec.0),
        bad: Bad::new(&component),
        component,
    };
    Some(Configured {
        input: Box::new(input),
        decoder: Arc::new(Usages),
        tags: vec![context.tag.to_owned()],
        notes: Vec::new(),
    })
}

/// The configured input.
struct Looking {
    component: String,
    tag: Arc<str>,
    groups: PathBuf,
    containers: PathBuf,
    /// Only these, where some are named.
    only: Option<Vec<String>>,
    not: Vec<String>,
    interval: Duration,
    bad: Bad,
}

/// Which version of control groups there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// What a container uses.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    /// Nanoseconds in version 1, microseconds in version 2, as in Fluent Bit.
    cpu: u64,
    memory: u64,
    limit: u64,
}

impl Input for Looking {
    fn run(self: Box<Self>, engine: InputContext) {
        let version = if self.groups.join("cgroup.controllers").exists() { Version::V2 } else { Version::V1 };
        let number = if version == Version::V1 { 1 } else { 2 };
        log!(Info, self.component, "detected cgroups v{number}");
        let source = engine.open(SourceInfo {
            tag: self.tag.clone(),
            path: None,
            charset: Default::default(),
            cursor: None,
        });
        let (mut ticks, mut at) = (Ticks::new(self.interval), 0);
        while ticks.wait(&engine) {
            let buffer = self.look(version, &engine);
            if buffer.is_empty() {
                continue;
            }
            if !admit(&engine, buffer.capacity()) {
                break;
            }
            let (end, position) = (buffer.len(), Position { file: 0, offset: at });
            at += end as u64;
            let block = Block { buffer, start: 0, end, position };
            engine.submit(&source, block, Position { file: 0, offset: at });
        }
        engine.quiet();
    }
}

impl Looking {
    /// A line for each container: the time, its identifier, what it uses, its name.
    fn look(&self, version: Version, engine: &InputContext) -> Vec<u8> {
        let (mut lines, time) = (Vec::new(), now());
        for (id, group) in running(&self.groups, version) {
            if !self.wants(&id) {
                continue;
            }
            match read(&self.groups, &group, version).and_then(|usage| Ok((usage, self.name(&id)?))) {
                Ok((Usage { cpu, memory, limit }, name)) => {
                    let id = &id[..SHORT_ID_LEN];
                    let (secs, nanos) = (time.secs, time.nanos);
                    let line = format!("{secs} {nanos} {id} {cpu} {memory} {limit} {name}\n");
                    lines.extend_from_slice(line.as_bytes());
                }
                Err(error) => {
                    // One that ended meanwhile looks the same.
                    engine.metrics().read_errors.fetch_add(1, Relaxed);
                    self.bad.tell(&format!("container {id} is left out: {error}"));
                }
            }
        }
        lines
    }

    fn wants(&self, id: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|known| id.starts_with(known));
        self.only.as_deref().is_none_or(is_in) && !is_in(&self.not)
    }

    /// The name that Docker gave it.
    fn name(&self, id: &str) -> Result<String, String> {
        let path = self.containers.join(id).join("config.v2.json");
        let text = content(&path, CONFIG_BYTES_MAX)?;
        name_in(text.as_bytes()).ok_or_else(|| format!("{} holds no `Name`", path.display()))
    }
}

/// `Name` of a container's configuration.
fn name_in(text: &[u8]) -> Option<String> {
    let (arena, mut scratch) = (Bump::new(), Scratch::default());
    let Value::Map(fields) = expand(parse_value(text.trim_ascii(), &arena, &mut scratch).ok()?, &arena)
    else {
        return None;
    };
    let name = fields.iter().find(|f| f.key.bytes == b"Name")?.value.as_text()?;
    // A line of ours ends at a line feed.
    Some(String::from_utf8_lossy(name).replace('\n', " "))
}

/// Containers with a control group: identifier, and the group's path below the controllers.
fn running(groups: &Path, version: Version) -> Vec<(String, PathBuf)> {
    // Version 2 by systemd, or by Docker itself.
    let places: &[(&str, &str, &str, &str)] = match version {
        Version::V1 => &[("cpu/docker", "docker", "", "")],
        Version::V2 => &[("system.slice", "system.slice", "docker-", ".scope"), ("docker", "docker", "", "")],
    };
    let mut found = Vec::new();
    for (folder, group, before, behind) in places {
        let entries = std::fs::read_dir(groups.join(folder)).into_iter().flatten().flatten();
        for entry in entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
            if let Some(id) = id.filter(|id| id.len() == ID_LEN && id.is_ascii()) {
                found.push((id.to_owned(), Path::new(group).join(&name)));
            }
        }
    }
    found
}

/// What the control group says.
fn read(groups: &Path, group: &Path, version: Version) -> Result<Usage, String> {
    let number = |path: &Path| -> Result<u64, String> {
        let text = content(path, FILE_BYTES_MAX)?;
        text.trim().parse().map_err(|_| format!("{} holds no number", path.display()))
    };
    match version {
        Version::V1 => {
            let (cpu, memory) = (groups.join("cpu").join(group), groups.join("memory").join(group));
            Ok(Usage {
                cpu: number(&cpu.join("cpuacct.usage"))?,
                memory: number(&memory.join("memory.usage_in_bytes"))?,
                limit: number(&memory.join("memory.limit_in_bytes")).unwrap_or(0),
            })
        }
        Version::V2 => {
            let group = groups.join(group);
            let stat = group.join("cpu.stat");
            let text = content(&stat, FILE_BYTES_MAX)?;
            let cpu = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap_or("0");
            let limit = content(&group.join("memory.max"), FILE_BYTES_MAX).unwrap_or_default();
            Ok(Usage {
                cpu: cpu.trim().parse().map_err(|_| format!("{} holds no number", stat.display()))?,
                memory: number(&group.join("memory.current"))?,
                limit: match limit.trim() {
                    "max" => u64::MAX,
                    text => text.parse().unwrap_or(0),
                },
            })
        }
    }
}

/// The text of a file, up to a limit.
fn content(path: &Path, limit: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines to records.
struct Usages;

impl Decoder for Usages {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        for line in codecs::lines::Lines::new(block) {
            let mut parts = line.splitn(7, |&b| b == b' ');
            let mut part = || parts.next().unwrap_or_default();
            let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
            let mut record = job.record();
            record.time.secs = number(part()).unwrap_or(0);
            record.time.nanos = number(part()).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            let [id, cpu, memory, limit, name] = [part(), part(), part(), part(), part()];
            let fields: [(&'static [u8], Value<'j>); 5] = [
                (b"id", Value::text(id)),
                (b"name", Value::text(name)),
                (b"cpu_used", Value::Number(cpu)),
                (b"mem_used", Value::Number(memory)),
                (b"mem_limit", Value::Number(limit)),
            ];
            record.fields.extend(fields.map(|(key, value)| Field::new(Key::plain(key), value)));
            job.emit(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ScratchDir;

    fn write(dir: &ScratchDir, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, text).expect("file");
        }
    }

    #[test]
    fn version_one_keeps_processor_and_memory_apart() {
        let (dir, id) = (ScratchDir::new(), "a".repeat(ID_LEN));
        write(
            &dir,
            &[
                (&format!("cpu/docker/{id}/cpuacct.usage"), "98765432109876\n"),
                (&format!("memory/docker/{id}/memory.usage_in_bytes"), "5000000000\n"),
                (&format!("memory/docker/{id}/memory.limit_in_bytes"), "9223372036854771712\n"),
                ("cpu/docker/short/cpuacct.usage", "1\n"),
            ],
        );
        let found = running(dir.path(), Version::V1);
        assert_eq!(found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
        let usage = read(dir.path(), &found[0].1, Version::V1).expect("readable");
        let want = Usage { cpu: 98_765_432_109_876, memory: 5_000_000_000, limit: 9_223_372_036_854_771_712 };
        assert_eq!(usage, want);
    }

    #[test]
    fn version_two_has_groups_by_systemd_and_by_docker() {
        let (dir, a, b) = (ScratchDir::new(), "a".repeat(ID_LEN), "b".repeat(ID_LEN));
        let scope = format!("system.slice/docker-{a}.scope");
        write(
            &dir,
            &[
                (&format!("{scope}/cpu.stat"), "nr_periods 1\nusage_usec 7\nuser_usec 3\n"),
                (&format!("{scope}/memory.current"), "9\n"),
                (&format!("{scope}/memory.max"), "max\n"),
                (&format!("docker/{b}/cpu.stat"), "usage_usec x\n"),
                (&format!("docker/{b}/memory.current"), "1\n"),
                ("system.slice/ssh.service/cpu.stat", "usage_usec 1\n"),
            ],
        );
        let found = running(dir.path(), Version::V2);
        assert_eq!(found.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [a, b]);
        let usage = |n: usize| read(dir.path(), &found[n].1, Version::V2);
        assert_eq!(usage(0), Ok(Usage { cpu: 7, memory: 9, limit: u64::MAX }));
        assert!(usage(1).expect_err("no number").contains("cpu.stat holds no number"));
    }

    #[test]
    fn the_name_is_that_of_the_container() {
        let text = br#"{"Config":{"Labels":{"Name":"other"}},"Name":"/we\"b","MountPoints":{}}"#;
        assert_eq!(name_in(text).as_deref(), Some("/we\"b"));
        for end in 0..text.len() {
            assert_eq!(name_in(&text[..end]), None, "{end} bytes");
        }
    }
}
