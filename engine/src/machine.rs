//! What this machine, or the cgroup on it, gives to the process.
//!
//! Owns: how many processors and how much memory may be used. Never: counts bytes.

use std::fs;

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
