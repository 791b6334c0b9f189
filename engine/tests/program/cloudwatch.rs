//! The main job as a whole: CRI files through the binary to a CloudWatch Logs as strict as the real one.

use outputs::fakes::{Act, CloudwatchFake};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Files, each a stream of its own.
const FILES: usize = 20;
/// Lines of each file: a million records in all.
const LINES: usize = 50_000;
/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What line `n` of file `f` says.
fn text(f: usize, n: usize) -> String {
    format!("file {f} line {n} \"quoted\" \\ back")
}

fn write_files(folder: &Path) {
    for f in 0..FILES {
        let mut lines = String::new();
        for n in 0..LINES {
            let (minute, second) = (n / 1000 / 60 % 60, n / 1000 % 60);
            let stamp = format!("2023-11-14T22:{minute:02}:{second:02}.{:03}000000Z", n % 1000);
            let text = text(f, n);
            if n % 100 == 0 {
                // A record in two parts.
                let (a, b) = text.split_at(7);
                writeln!(lines, "{stamp} stdout P {a}\n{stamp} stdout F {b}").unwrap();
            } else {
                writeln!(lines, "{stamp} stderr F {text}").unwrap();
            }
        }
        std::fs::write(folder.join(format!("f{f:02}.log")), lines).unwrap();
    }
}

fn start(folder: &Path, port: u16) -> Running {
    let conf = format!(
        "[SERVICE]\n flush 0.2\n grace 5\n scheduler.base 1\n scheduler.cap 1\n\
         [INPUT]\n name tail\n path {dir}/f*.log\n tag k.*\n read_from_head on\n multiline.parser cri\n\
         [OUTPUT]\n name cloudwatch_logs\n match *\n region us-west-2\n endpoint 127.0.0.1\n port {port}\n tls off\n \
         log_group_name /aws/test\n log_stream_template $TAG\n log_stream_prefix s-\n log_key log\n auto_create_group on\n workers 4\n",
        dir = folder.display()
    );
    std::fs::write(folder.join("x.conf"), conf).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripsaw"));
    command.args(["-c", "x.conf"]).current_dir(folder);
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example-secret");
    command.stdout(Stdio::null()).stderr(std::fs::File::create(folder.join("stderr")).unwrap());
    Running(command.spawn().unwrap())
}

/// Numbers of the lines that arrived in the stream of file `f`, in order.
fn numbers(events: &[(i64, String)], f: usize) -> Vec<usize> {
    let number =
        |message: &str| message.split(' ').nth(3).and_then(|word| word.parse().ok()).unwrap_or(usize::MAX);
    let found: Vec<usize> = events.iter().map(|(_, message)| number(message)).collect();
    for ((_, message), &n) in events.iter().zip(&found) {
        assert_eq!(*message, text(f, n));
    }
    found
}

/// Runs the job with these faults in the way of PutLogEvents; the events of each file's stream.
async fn delivered(acts: impl IntoIterator<Item = Act>) -> Vec<Vec<usize>> {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let fake = CloudwatchFake::start().await.unwrap();
    fake.script("PutLogEvents", acts);
    let running = start(folder.path(), fake.port());
    let begun = Instant::now();
    while fake.distinct() < FILES * LINES {
        let log = || std::fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
        assert!(
            begun.elapsed() < PATIENCE,
            "{} of {} events arrived\n{}",
            fake.distinct(),
            FILES * LINES,
            log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(running);
    assert_eq!((fake.flaws(), fake.count("CreateLogGroup")), (Vec::new(), 1));
    let groups = fake.groups();
    let streams = &groups["/aws/test"].streams;
    assert_eq!((groups.len(), streams.len()), (1, FILES));
    // Streams are named by path, so that their order is that of the files.
    streams.values().enumerate().map(|(f, events)| numbers(events, f)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_records_arrive_once_and_in_order() {
    for numbers in delivered([]).await {
        assert!(numbers.iter().copied().eq(0..LINES));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_records_arrive_in_order_through_faults() {
    let acts = (0..60).map(|n| match n % 6 {
        0 => Act::Throttle,
        1 => Act::Error(503, "ServiceUnavailableException", "busy"),
        2 => Act::Torn(30),
        3 => Act::Error(400, "ExpiredTokenException", "expired"),
        4 => Act::Close,
        _ => Act::Slow(Duration::from_millis(300)),
    });
    for numbers in delivered(acts).await {
        let mut next = 0;
        for number in numbers {
            assert!(number <= next, "line {next} is missing before {number}");
            next = next.max(number + 1);
        }
        assert_eq!(next, LINES);
    }
}

/// Against moto, which checks signatures and policies as AWS does. It needs Python and, the first time, a registry.
#[test]
fn moto_takes_what_is_signed() {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("moto-venv");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cloudwatch_moto.py");
    let run = Command::new("python3").arg(script).arg(env!("CARGO_BIN_EXE_ripsaw")).arg(&venv).output();
    let (code, told) = match run {
        Ok(output) => (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => (Some(77), format!("SKIPPED: no python3: {error}")),
    };
    let required = std::env::var_os("CI").is_some() || std::env::var_os("RIPSAW_REQUIRE_MOTO").is_some();
    if code == Some(77) && !required {
        println!("{told}");
        return;
    }
    assert_eq!(code, Some(0), "{told}");
}
