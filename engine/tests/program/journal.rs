//! The input `systemd` on journal files of systemd's own writers: resumed, rotated, vacuumed; on a live journald where the
//! tests run as root.

use crate::rig::engine::{Engine, program};
use crate::rig::sink::Sink;
use crate::rig::{Folder, wait_for};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian's package `systemd-journal-remote` has it.
const WRITER: &str = "/lib/systemd/systemd-journal-remote";
/// Debian's package `systemd` has it.
const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// True, and told, where a program that a test needs is not installed; `RIPSAW_REQUIRE_JOURNAL` makes that a failure.
fn lacks(program: &str) -> bool {
    let there = Path::new(program).exists();
    assert!(there || std::env::var_os("RIPSAW_REQUIRE_JOURNAL").is_none(), "{program} is not installed");
    if !there {
        println!("{program} is not installed: not tried");
    }
    !there
}

/// Writes journal files.
struct Writer {
    folder: PathBuf,
    child: Option<Child>,
    next: u64,
    /// Further fields of each entry.
    fields: &'static str,
}

impl Writer {
    fn start(folder: &Path) -> Writer {
        let folder = folder.join("journal");
        std::fs::create_dir_all(&folder).unwrap();
        let mut writer = Writer { folder, child: None, next: 0, fields: "" };
        writer.open();
        writer
    }

    fn open(&mut self) {
        let mut command = Command::new(WRITER);
        command.arg("-o").arg(self.folder.join("system.journal")).arg("-");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("it starts"));
    }

    /// Writes so many entries, of two units in turn.
    fn write(&mut self, count: u64) {
        let mut text = String::new();
        for n in self.next..self.next + count {
            text += &format!(
                "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={}\n_SYSTEMD_UNIT=u{}.service\nLOG={n}\n{}\n",
                1_700_000_000_000_000 + n * 1000,
                1_000_000 + n * 1000,
                "a".repeat(32),
                n % 2,
                self.fields,
            );
        }
        self.next += count;
        self.child.as_mut().unwrap().stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The file is whole; it gets another name, and a new one begins.
    fn rotate(&mut self) -> PathBuf {
        let aside = self.folder.join(format!("old-{}.journal", self.next));
        let mut child = self.child.take().unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        std::fs::rename(self.folder.join("system.journal"), &aside).unwrap();
        self.open();
        aside
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn conf(input: &str, sink: &Sink) -> String {
    format!(
        "[SERVICE]\n flush 0.1\n grace 10\n scheduler.base 1\n scheduler.cap 1\n[INPUT]\n name systemd\n tag j.*\n \
         lowercase on\n{input}[OUTPUT]\n name http\n match j.*\n host 127.0.0.1\n port {}\n format json_lines\n",
        sink.port()
    )
}

const HERE: &str = " path journal\n db journal.db\n";

/// The numbers that came, and how many came more than once.
fn numbers(sink: &Sink) -> (BTreeSet<u64>, usize) {
    let logs = sink.logs();
    let all: BTreeSet<u64> = logs.iter().map(|log| log.parse().expect("a number")).collect();
    let repeated = logs.len() - all.len();
    (all, repeated)
}

fn arrived(sink: &Sink, count: u64) {
    let all = || numbers(sink).0.len() as u64 >= count;
    assert!(wait_for(PATIENCE, all), "{} of {count} arrived", numbers(sink).0.len());
    assert_eq!(numbers(sink).0, (0..count).collect());
}

#[test]
fn a_restart_goes_on_behind_what_was_delivered() {
    if lacks(WRITER) {
        return;
    }
    let (folder, sink) = (Folder::new(), Sink::start());
    let mut writer = Writer::start(folder.path());
    writer.write(500);
    let engine = Engine::start(folder.path(), &conf(HERE, &sink));
    arrived(&sink, 500);
    // A stop writes the cursor; nothing comes twice.
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
    writer.write(100);
    let engine = Engine::start(folder.path(), &conf(HERE, &sink));
    arrived(&sink, 600);
    engine.stop(PATIENCE);
    assert_eq!(numbers(&sink).1, 0);
    // What nobody accepted comes again after a kill.
    sink.answer(503);
    let engine = Engine::start(folder.path(), &conf(HERE, &sink));
    let requests = sink.requests();
    writer.write(100);
    assert!(wait_for(PATIENCE, || sink.requests() > requests), "nothing was sent");
    engine.kill();
    sink.answer(200);
    let engine = Engine::start(folder.path(), &conf(HERE, &sink));
    arrived(&sink, 700);
    engine.stop(PATIENCE);
    assert_eq!(numbers(&sink).1, 0);
}

#[test]
fn a_rotation_leaves_no_gap() {
    if lacks(WRITER) {
        return;
    }
    let (folder, sink) = (Folder::new(), Sink::start());
    let mut writer = Writer::start(folder.path());
    writer.write(10);
    let mut engine = Engine::start(folder.path(), &conf(HERE, &sink));
    arrived(&sink, 10);
    for round in 0..6 {
        writer.write(150);
        let aside = writer.rotate();
        if round % 3 == 2 {
            engine.kill();
            engine = Engine::start(folder.path(), &conf(HERE, &sink));
        }
        writer.write(50);
        if round == 3 {
            // It is read, and goes.
            arrived(&sink, writer.next);
            std::fs::remove_file(aside).unwrap();
        }
    }
    arrived(&sink, writer.next);
    engine.stop(PATIENCE);
    // What is gone together with the place where reading stopped is told of; what follows it is read from its first entry on.
    writer.write(5);
    for entry in std::fs::read_dir(folder.path().join("journal")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("old-")) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let aside = writer.rotate();
    std::fs::remove_file(aside).unwrap();
    let first = writer.next;
    writer.write(7);
    let engine = Engine::start(folder.path(), &conf(HERE, &sink));
    engine.says("is not in the journal any more");
    let last = first..first + 7;
    assert!(wait_for(PATIENCE, || last.clone().all(|n| numbers(&sink).0.contains(&n))), "{last:?} came");
}

#[test]
fn read_from_tail_misses_nothing_after_the_start() {
    if lacks(WRITER) {
        return;
    }
    let (folder, sink) = (Folder::new(), Sink::start());
    let mut writer = Writer::start(folder.path());
    writer.write(100);
    writer.rotate();
    writer.write(100);
    assert!(wait_for(PATIENCE, || folder.path().join("journal/system.journal").exists()));
    let ready = || {
        let mut list = Command::new("journalctl");
        list.args(["-q", "-o", "cat", "--output-fields=LOG", "-D"]).arg(folder.path().join("journal"));
        let text = list.output().expect("journalctl runs").stdout;
        String::from_utf8_lossy(&text).lines().any(|line| line == "199")
    };
    assert!(wait_for(PATIENCE, ready), "the journal is written");
    let conf = conf(&format!("{HERE} read_from_tail on\n max_entries 3\n"), &sink);
    sink.answer(503);
    let engine = Engine::start(folder.path(), &conf);
    // Where it began is written before anything is delivered.
    let begun = || {
        let db = rusqlite::Connection::open(folder.path().join("journal.db")).ok()?;
        db.query_row("SELECT cursor FROM in_systemd_cursor", [], |row| row.get::<_, String>(0)).ok()
    };
    assert!(wait_for(PATIENCE, || begun().is_some()), "no cursor is written");
    engine.kill();
    sink.answer(200);
    writer.write(20);
    let _engine = Engine::start(folder.path(), &conf);
    assert!(wait_for(PATIENCE, || numbers(&sink).0.len() >= 20), "{:?}", numbers(&sink));
    assert_eq!(numbers(&sink), ((200..220).collect(), 0));
}

/// What the input makes of the journal with these options.
fn records(folder: &Folder, options: &str) -> Vec<serde_json::Value> {
    let out = folder.path().join("out");
    drop(std::fs::remove_file(&out));
    let conf = format!(
        "[SERVICE]\n flush 0.1\n[INPUT]\n name systemd\n path journal\n tag j\n{options}[OUTPUT]\n name file\n match j\n \
         file out\n format plain\n"
    );
    let engine = Engine::start(folder.path(), &conf);
    assert!(wait_for(PATIENCE, || std::fs::metadata(&out).is_ok_and(|m| m.len() > 0)), "{options}");
    // So few entries are read at once: when one is there, all are.
    engine.stop(PATIENCE);
    let text = std::fs::read_to_string(&out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn options_shape_records_and_choose_them() {
    if lacks(WRITER) {
        return;
    }
    let folder = Folder::new();
    let mut writer = Writer::start(folder.path());
    writer.fields = "DUP=a\nDUP=b\nDUP=c\n_PID=5\nPID=6\n";
    writer.write(4);
    writer.rotate();
    let texts = |value: &serde_json::Value| {
        let mut texts: Vec<_> =
            value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
        texts.sort();
        texts
    };
    let all = records(&folder, "");
    assert_eq!(all.len(), 4);
    let third = &all[2];
    assert_eq!((&third["LOG"], &third["_PID"], &third["PID"]), (&"2".into(), &"5".into(), &"6".into()));
    assert_eq!(texts(&third["DUP"]), ["a", "b", "c"]);
    assert_eq!(third["_SYSTEMD_UNIT"], "u0.service");
    // Two keys that become one are one, with both values.
    let all = records(&folder, " lowercase on\n strip_underscores on\n");
    assert_eq!(
        (texts(&all[0]["pid"]), &all[0]["systemd_unit"]),
        (vec!["5".into(), "6".into()], &"u0.service".into())
    );
    let all = records(&folder, " max_fields 2\n max_entries 1\n");
    assert!(all.iter().all(|record| (1..=2).contains(&record.as_object().unwrap().len())), "{all:?}");
    for (kind, count) in [("or", 3), ("and", 1)] {
        let filters = format!(
            " systemd_filter _SYSTEMD_UNIT=u1.service\n systemd_filter LOG=1\n systemd_filter_type {kind}\n"
        );
        let filters = if kind == "or" { filters.replace("LOG=1", "LOG=2") } else { filters };
        assert_eq!(records(&folder, &filters).len(), count, "{kind}");
    }
}

#[test]
fn what_cannot_work_is_refused() {
    let folder = Folder::new();
    for (input, said) in [
        (" path journal\n systemd_filter unit=x\n", "`systemd_filter` is `unit=x`"),
        (" path journal\n systemd_filter_type xor\n", "systemd_filter_type"),
        (" path nowhere\n", "the journal's path nowhere is not a folder"),
    ] {
        std::fs::create_dir_all(folder.path().join("journal")).unwrap();
        let mut engine = Engine::start(folder.path(), &conf(input, &Sink::start()));
        let status = engine.ended(PATIENCE).expect("it ends");
        assert!(!status.success(), "{input}");
        assert!(engine.messages().contains(said), "{input}: {}", engine.messages());
    }
}

/// Starts a journald in namespaces of its own, a writer for it, and the program.
const LIVE: &str = r#"
set -e
mkdir -p /run/systemd /run/log
mount -t tmpfs tmpfs /run/systemd
mount -t tmpfs tmpfs /run/log
mkdir -p /run/systemd/journal /run/log/journal
setpriv --pdeathsig KILL /lib/systemd/systemd-journald &
J=$!
setpriv --pdeathsig KILL python3 - $J <<'PY' &
import os, signal, socket, subprocess, sys, time
journald, path, n = int(sys.argv[1]), "/run/systemd/journal/socket", 0
while not os.path.exists(path): time.sleep(0.01)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def rounds(count):
    global n
    for _ in range(count):
        for _ in range(150):
            s.sendto(b"LOG=%d\nMESSAGE=x\n" % n, path)
            n += 1
        os.kill(journald, signal.SIGUSR2)
        time.sleep(0.15)
rounds(4)
while not os.path.exists("go"): time.sleep(0.01)
subprocess.run(["journalctl", "-q", "-D", "/run/log/journal", "--vacuum-files=1"], stderr=subprocess.DEVNULL)
rounds(3)
PY
exec "$0" "$@"
"#;

#[test]
fn a_live_journal_is_followed() {
    if !rustix::process::geteuid().is_root() {
        println!("a journald of its own needs root: not tried");
        return;
    }
    if lacks(JOURNALD) {
        return;
    }
    let (folder, sink) = (Folder::new(), Sink::start());
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "bash", "-c", LIVE]).arg(program());
    let input = " path /run/log/journal\n db journal.db\n systemd_filter MESSAGE=x\n";
    let engine = Engine::start_by(command, folder.path(), &conf(input, &sink));
    arrived(&sink, 600);
    std::fs::write(folder.path().join("go"), "").unwrap();
    arrived(&sink, 1050);
    assert_eq!(engine.stop(PATIENCE).0, Some(0));
    assert_eq!(numbers(&sink).1, 0);
}
