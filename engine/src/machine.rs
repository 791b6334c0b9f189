//! What this machine, or the cgroup on it, gives to the process.
//!
//! Owns: how many processors and how much memory may be used; the zone database. Never: counts bytes.

use codecs::time::Zone;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The rules of a zone by its name in the zone database; the empty name is the machine's own zone (`TZ`, else
/// `/etc/localtime`).
pub fn zone(name: &str) -> Option<Zone> {
    if !name.is_empty() {
        return database_zone(name);
    }
    match std::env::var("TZ") {
        Ok(name) => named_by_tz(&name),
        Err(_) => Zone::from_tzif(&fs::read("/etc/localtime").ok()?),
    }
}

/// A zone as `TZ` may name it: a name, a path, each also behind a colon, or a rule. The empty text is UTC.
fn named_by_tz(text: &str) -> Option<Zone> {
    let name = text.strip_prefix(':').unwrap_or(text);
    if name.is_empty() {
        return Some(Zone::utc());
    }
    if name.starts_with('/') {
        return Zone::from_tzif(&fs::read(name).ok()?);
    }
    database_zone(name).or_else(|| Zone::from_posix(name))
}

fn database_zone(name: &str) -> Option<Zone> {
    let inside = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    let folder = std::env::var_os("TZDIR").filter(|d| !d.is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("/usr/share/zoneinfo"), PathBuf::from);
    let file = inside.then(|| fs::read(folder.join(name)).ok()).flatten();
    // An image without the database still knows UTC.
    let utc = || ["UTC", "Etc/UTC", "GMT", "Etc/GMT"].contains(&name).then(Zone::utc);
    file.and_then(|bytes| Zone::from_tzif(&bytes)).or_else(utc)
}

/// Processors that this process may use: those of its affinity, at most the cgroup's quota rounded up; at least 1.
pub fn cpus() -> usize {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    quota().map_or(there, |q| there.min(q.ceil() as usize)).max(1)
}

/// The cgroup's CPU quota in processors, version 2 or 1. `available_parallelism` knows it too, but rounds it down.
fn quota() -> Option<f64> {
    let two = fs::read_to_string("/sys/fs/cgroup/cpu.max").ok();
    if let Some((quota, period)) = two.as_deref().and_then(|text| text.trim().split_once(' ')) {
        return Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?);
    }
    let read = |name: &str| {
        fs::read_to_string(format!("/sys/fs/cgroup/cpu/cpu.cfs_{name}_us")).ok()?.trim().parse::<f64>().ok()
    };
    let (quota, period) = (read("quota")?, read("period")?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// The memory limit of this process's cgroup in bytes (v2, then v1), the lowest on the way up.
pub fn memory_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
    let mut files = vec![
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    let mut folder = String::from("/sys/fs/cgroup");
    for part in path.split('/').filter(|part| !part.is_empty() && *part != "..") {
        folder = format!("{folder}/{part}");
        files.push(format!("{folder}/memory.max"));
    }
    let limits = files.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    // Version 1 says "no limit" with a number near 2^63.
    limits.filter(|limit| *limit < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tz_names_a_zone_in_each_of_its_ways() {
        let july = 1_752_580_800;
        let offset = |text: &str| named_by_tz(text).map(|zone| zone.offset_at(july));
        assert_eq!(offset(""), Some(0));
        assert_eq!(offset("CET-1CEST,M3.5.0,M10.5.0/3"), Some(7200));
        assert_eq!(offset("nowhere/at_all"), None);
        assert_eq!(offset("../../etc/passwd"), None);
        assert_eq!(offset(":UTC"), Some(0));
        if Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
            assert_eq!(offset("Europe/Berlin"), Some(7200));
            assert_eq!(offset(":/usr/share/zoneinfo/Europe/Berlin"), Some(7200));
            // Beyond the last year that files spell out.
            let zone = zone("Europe/Berlin").expect("a zone");
            assert_eq!((zone.offset_at(4_087_000_000), zone.offset_at(4_073_000_000)), (7200, 3600));
        }
    }
}
