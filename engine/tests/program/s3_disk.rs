//! `s3` on a disk that fails: full, read-only, EIO on fsync. Its sources wait, the reason is told, and when the disk is well
//! again everything goes on by itself and nothing is missing.

use crate::rig::engine::{Engine, program};
use crate::rig::{Folder, wait_for};
use outputs::fakes::S3Fake;
use outputs::fakes::s3::Fail;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A step that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(90);

fn conf(fake: &S3Fake, more: &str) -> String {
    format!(
        "[SERVICE]\n flush 0.2\n grace 10\n log_level info\n scheduler.base 1\n scheduler.cap 1\n\
         [INPUT]\n name tail\n path logs/*.log\n tag app\n db state.db\n read_from_head on\n refresh_interval 1\n\
         [OUTPUT]\n name s3\n match *\n bucket b\n endpoint {}\n log_key log\n store_dir store\n {more}",
        fake.endpoint()
    )
}

/// Lines `from` to `to` of a kilobyte each.
fn write(folder: &Folder, name: &str, from: usize, to: usize) {
    let mut text = String::new();
    for n in from..to {
        writeln!(text, "{n} {}", "x".repeat(992)).unwrap();
    }
    std::fs::write(folder.path().join("logs").join(name), text).unwrap();
}

/// The numbers of the lines in S3, and how many lines there are.
fn found(fake: &S3Fake) -> (BTreeSet<usize>, usize) {
    let state = fake.state();
    let text: Vec<u8> = state.objects.values().flatten().copied().collect();
    let text = String::from_utf8(text).expect("text");
    let number = |line: &str| line.split(' ').next().and_then(|n| n.parse().ok()).expect("a whole line");
    (text.lines().map(number).collect(), text.lines().count())
}

fn start(mut command: Command, folder: &Folder, conf: &str) -> Engine {
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example-secret");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    Engine::start_by(command, folder.path(), conf)
}

fn arrives(fake: &S3Fake, engine: &Engine, lines: usize) {
    let mut last = 0;
    let all = wait_for(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(50));
        last = found(fake).0.len();
        last == lines
    });
    assert!(all, "{last} of {lines} lines arrived\n{}", engine.messages());
    assert_eq!(found(fake).1, lines, "each once\n{}", engine.messages());
}

/// The disk that fails on demand; none where there is no compiler, which CI must have.
fn shim() -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/faulty_disk.c");
    let shim =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("faulty_disk_{}.so", std::process::id()));
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&shim)
        .arg(source)
        .arg("-ldl")
        .status();
    if matches!(&built, Ok(status) if status.success()) {
        return Some(shim);
    }
    assert!(std::env::var_os("CI").is_none(), "cc: {built:?}");
    println!("SKIPPED: cc: {built:?}");
    None
}

/// The disk fails in this way before anything was written, and again in the midst of it.
async fn fails_and_is_well_again(how: &str, told: &str) {
    let Some(shim) = shim() else { return };
    let (fake, folder) = (S3Fake::start().await.unwrap(), Folder::new());
    let control = folder.path().join("how");
    std::fs::write(&control, how).unwrap();
    write(&folder, "a.log", 0, 2000);
    let mut command = Command::new(program());
    command.env("LD_PRELOAD", &shim).env("FAULTY_DISK", "store/").env("FAULTY_DISK_HOW", &control);
    let engine =
        start(command, &folder, &conf(&fake, "use_put_object on\n total_file_size 1M\n upload_timeout 1s\n"));
    engine.says(told);
    assert!(fake.state().objects.is_empty(), "what is not safe on disk is not accepted");
    std::fs::write(&control, "").unwrap();
    arrives(&fake, &engine, 2000);
    std::fs::write(&control, how).unwrap();
    write(&folder, "b.log", 2000, 4000);
    engine.says("trying every 1 s");
    std::fs::write(&control, "").unwrap();
    arrives(&fake, &engine, 4000);
    engine.says("records go to `store_dir` again");
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
    drop(std::fs::remove_file(shim));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_fsync_that_fails_accepts_nothing() {
    fails_and_is_well_again("s", "Input/output error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_is_waited_for() {
    fails_and_is_well_again("r", "Read-only file system").await;
}

/// A command that runs the program with a small disk at `store`; none where this user may not mount.
fn small_disk(bytes: &str) -> Option<Command> {
    let script = format!("mount -t tmpfs -o size={bytes} none store && exec \"$@\"");
    for flags in ["-m", "-Urm"] {
        let trial = Command::new("unshare").args([flags, "sh", "-c", "mount -t tmpfs none /mnt"]).output();
        if trial.is_ok_and(|output| output.status.success()) {
            let mut command = Command::new("unshare");
            command.args([flags, "sh", "-c", &script, "sh"]).arg(program());
            return Some(command);
        }
    }
    assert!(std::env::var_os("CI").is_none(), "no right to mount");
    println!("SKIPPED: no right to mount");
    None
}

/// S3 is away until the disk is full; then it comes back.
async fn fills_and_empties(more: &str) {
    const LINES: usize = 30_000;
    let Some(command) = small_disk("12m") else { return };
    let (fake, folder) = (S3Fake::start().await.unwrap(), Folder::new());
    std::fs::create_dir(folder.path().join("store")).unwrap();
    fake.state().script.extend(std::iter::repeat_n(Some(Fail::Code(503, "SlowDown")), 10_000));
    write(&folder, "a.log", 0, LINES);
    let engine = start(command, &folder, &conf(&fake, more));
    engine.says("No space left on device");
    assert!(fake.state().objects.is_empty());
    fake.state().script.clear();
    arrives(&fake, &engine, LINES);
    engine.says("records go to `store_dir` again");
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_full_of_objects_empties_itself() {
    fills_and_empties("use_put_object on\n total_file_size 1M\n upload_timeout 1s\n").await;
}

/// One object fills the disk, long before it would be ended: its journal has room all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_full_of_one_object_empties_itself() {
    fills_and_empties("total_file_size 1G\n upload_timeout 10s\n").await;
}

/// The same where the body wants a file that has no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_too_full_for_a_body_sends_it_by_parts() {
    const LINES: usize = 30_000;
    let Some(command) = small_disk("24m") else { return };
    let (fake, folder) = (S3Fake::start().await.unwrap(), Folder::new());
    std::fs::create_dir(folder.path().join("store")).unwrap();
    write(&folder, "a.log", 0, LINES);
    let engine = start(
        command,
        &folder,
        &conf(&fake, "use_put_object on\n total_file_size 1G\n upload_timeout 10s\n"),
    );
    engine.says("it goes by parts");
    arrives(&fake, &engine, LINES);
    assert_eq!(engine.stop(Duration::from_secs(30)).0, Some(0));
    assert!(fake.state().calls.contains(&"Part"), "by parts");
}

/// Two programs on one `store_dir`: the second says who holds it, and takes over when that one ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_use_is_refused_and_its_holder_named() {
    let (fake, folder) = (S3Fake::start().await.unwrap(), Folder::new());
    let conf = conf(&fake, "use_put_object on\n upload_timeout 1s\n");
    let first = start(Command::new(program()), &folder, &conf);
    write(&folder, "a.log", 0, 10);
    arrives(&fake, &first, 10);
    let second = start(Command::new(program()), &folder, &conf.replace("state.db", "other.db"));
    second.says(&format!("is held by process {}", first.pid()));
    assert_eq!(first.stop(Duration::from_secs(20)).0, Some(0));
    let takes_over = wait_for(PATIENCE, || found(&fake).1 > 10);
    assert!(takes_over, "{}", second.messages());
}
