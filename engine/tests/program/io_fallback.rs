//! Without io_uring: the same lines come out, and the message names the remedy.

use crate::rig::engine::{Engine, program};
use crate::rig::lines;
use crate::rig::sink::logs;
use crate::rig::{Folder, wait_for};
use std::process::Command;
use std::time::Duration;

/// Runs a program with a system call refused, as container runtimes do.
const REFUSING: &str = r#"
import ctypes, os, struct, sys
call, errno = int(sys.argv[1]), int(sys.argv[2])
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x00050000 | errno), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(rules), ctypes.addressof(code))
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, ctypes.addressof(program), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[3], sys.argv[3:])
"#;

/// Numbers of system calls, the same on all architectures.
const IO_URING_SETUP: i32 = 425;
const IO_URING_ENTER: i32 = 426;

const LINES: u64 = 20_000;

/// The program with a call refused with an error.
fn refusing(call: i32, errno: i32) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", REFUSING, &call.to_string(), &errno.to_string()]).arg(program());
    command
}

/// Lines of two files as they come out, and what the program said.
fn run(refused: Option<(i32, i32)>) -> (Vec<String>, String) {
    let folder = Folder::new();
    for name in ['a', 'b'] {
        std::fs::write(folder.path().join(format!("logs/{name}.log")), lines::plain(name, 0..LINES)).unwrap();
    }
    let conf = "[SERVICE]\n flush 0.1\n[INPUT]\n name tail\n path logs/*.log\n tag all\n read_from_head on\n exit_on_eof on\n\
                [OUTPUT]\n name file\n match *\n file out\n path .\n format plain\n";
    let command = refused.map_or_else(|| Command::new(program()), |(call, errno)| refusing(call, errno));
    let mut engine = Engine::start_by(command, folder.path(), conf);
    let status = engine.ended(Duration::from_secs(60));
    assert!(status.is_some_and(|s| s.success()), "{status:?}\n{}", engine.messages());
    let mut lines: Vec<String> = logs(&std::fs::read(folder.path().join("out")).unwrap()).collect();
    // The order of the two files is nobody's promise; that within each is checked below.
    lines.sort_by_key(|line| lines::number(line).map(|(name, _)| name));
    (lines, engine.messages())
}

#[test]
fn a_refused_ring_changes_nothing_but_the_way_to_read() {
    let expected: Vec<String> =
        ['a', 'b'].iter().flat_map(|&f| (0..LINES).map(move |n| lines::text(f, n))).collect();
    let (with_ring, _) = run(None);
    assert!(with_ring == expected, "{} lines", with_ring.len());
    // Refused at the start, or only when it is used.
    let refusals = [
        (IO_URING_SETUP, 38, "io_uring"),
        (IO_URING_SETUP, 1, "seccomp"),
        (IO_URING_ENTER, 1, "allow io_uring_enter"),
    ];
    for (call, errno, remedy) in refusals {
        let (without, said) = run(Some((call, errno)));
        assert!(without == expected, "{} lines without the ring", without.len());
        let told: Vec<&str> = said.lines().filter(|line| line.contains("reads with pread")).collect();
        assert!(told.len() == 1 && told[0].contains(remedy), "call {call}, errno {errno}: {said}");
    }
}

#[test]
fn a_ring_that_is_refused_still_follows_growing_files() {
    let folder = Folder::new();
    let conf = "[SERVICE]\n flush 0.1\n[INPUT]\n name tail\n path logs/*.log\n tag all\n read_from_head on\n refresh_interval 1\n\
                [OUTPUT]\n name file\n match *\n file out\n path .\n format plain\n";
    let engine = Engine::start_by(refusing(IO_URING_SETUP, 38), folder.path(), conf);
    engine.says("reads with pread");
    for round in 0..5 {
        let path = folder.path().join("logs/a.log");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, lines::plain('a', round * 100..(round + 1) * 100).as_bytes())
            .unwrap();
        let mut out = Vec::new();
        let all = wait_for(Duration::from_secs(20), || {
            out = logs(&std::fs::read(folder.path().join("out")).unwrap_or_default()).collect();
            out.len() as u64 >= (round + 1) * 100
        });
        assert!(all, "{} lines\n{}", out.len(), engine.messages());
        assert!(out.iter().enumerate().all(|(n, line)| lines::number(line) == Some(('a', n as u64))));
    }
    assert_eq!(engine.stop(Duration::from_secs(10)).0, Some(0));
}
