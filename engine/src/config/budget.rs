//! How many bytes this process may take for records, queues and buffers.
//!
//! Owns: the default, from the cgroup's memory limit. Never: counts bytes.

use std::fs;

use codecs::conf::values::Size;

/// Without any limit of the cgroup.
const DEFAULT_BYTES: u64 = 512 << 20;
/// Below this no pipeline makes progress.
const SMALLEST_BYTES: u64 = 16 << 20;

/// The budget: `memory_limit` when it is given, else half of the cgroup's limit. The other half is for code, stacks,
/// connections and the kernel's share of the cgroup (sockets, page cache under write-back).
pub fn memory_bytes(option: Option<Size>) -> u64 {
    let bytes = match option {
        Some(size) => size.0,
        None => cgroup_bytes().map_or(DEFAULT_BYTES, |limit| limit / 2),
    };
    bytes.max(SMALLEST_BYTES)
}

/// The memory limit of this process's cgroup (v2, then v1), the lowest on the way up.
fn cgroup_bytes() -> Option<u64> {
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
