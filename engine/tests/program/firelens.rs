//! FireLens: the task definitions under `deploy/ecs/` as ECS runs them. The configuration is generated from them as its agent
//! does, records come as Docker's fluentd driver and fluent-logger send them, and arrive at servers as strict as the real ones.

use crate::rig::engine::{Engine, free_port, program};
use crate::rig::{Folder, wait_for};
use outputs::fakes::kinesis::Act;
use outputs::fakes::{CloudwatchFake, KinesisFake, S3Fake};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const TASK: &str = "0123456789abcdef0123456789abcdef";
const TASK_ARN: &str = "arn:aws:ecs:us-west-2:111122223333:task/example/0123456789abcdef0123456789abcdef";

/// Where the generated inputs listen: FireLens's own places belong to the machine, a test has its own.
struct Places {
    socket: PathBuf,
    forward: u16,
    health: u16,
}

fn ecs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy").join("ecs")
}

/// A JSON file under `deploy/ecs/`.
fn document(name: &str) -> Value {
    let text = std::fs::read_to_string(ecs().join(name)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The files whose names begin, or do not begin, with `policy-`.
fn documents(policies: bool) -> Vec<String> {
    let files =
        std::fs::read_dir(ecs()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        files.filter(|name| name.ends_with(".json") && name.starts_with("policy-") == policies).collect();
    names.sort();
    names
}

/// Options as text, as a `logConfiguration` has them.
fn options(container: &Value) -> BTreeMap<String, String> {
    let options = container["logConfiguration"]["options"].as_object().expect("options");
    options.iter().map(|(key, value)| (key.clone(), value.as_str().expect("text").to_owned())).collect()
}

fn containers(task: &Value) -> &[Value] {
    task["containerDefinitions"].as_array().expect("containers")
}

/// What the agent of ECS writes for a task, with `more` options for the output.
fn generated(task: &Value, places: &Places, more: &[(&str, String)]) -> String {
    let mut conf = format!(
        "\n[INPUT]\n    Name forward\n    unix_path {}\n\n[INPUT]\n    Name forward\n    Listen 127.0.0.1\n    Port {}\n\n\
         [INPUT]\n    Name tcp\n    Tag firelens-healthcheck\n    Listen 127.0.0.1\n    Port {}\n\n\
         [FILTER]\n    Name record_modifier\n    Match *\n    Record ecs_cluster example\n    Record ecs_task_arn {TASK_ARN}\n    \
         Record ecs_task_definition {}:1\n\n[OUTPUT]\n    Name null\n    Match firelens-healthcheck\n",
        places.socket.display(),
        places.forward,
        places.health,
        task["family"].as_str().unwrap()
    );
    for container in containers(task).iter().filter(|c| c["logConfiguration"]["logDriver"] == "awsfirelens") {
        let mut options = options(container);
        let name = options.remove("Name").expect("the output's name");
        for (key, value) in more {
            options.insert((*key).to_owned(), value.clone());
        }
        let container = container["name"].as_str().unwrap();
        write!(conf, "\n[OUTPUT]\n    Name {name}\n    Match {container}-firelens*\n").unwrap();
        for (key, value) in options {
            writeln!(conf, "    {key} {value}").unwrap();
        }
    }
    conf
}

/// A text in MessagePack.
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(0xda);
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A message as Docker's fluentd driver makes it: `[tag, time, record]`, with `fluentd-request-ack` also `{"chunk": "7"}`.
fn message(n: usize, padding: usize, acknowledged: bool) -> Vec<u8> {
    let mut out = vec![if acknowledged { 0x94 } else { 0x93 }];
    text(&mut out, &format!("app-firelens-{TASK}"));
    out.push(0xce);
    out.extend_from_slice(&(1_700_000_000 + n as u32).to_be_bytes());
    out.push(0x84);
    for (key, value) in [
        ("container_id", "7f2c".to_owned()),
        ("container_name", "/ecs-app".to_owned()),
        ("source", "stdout".to_owned()),
        ("log", format!("line {n} {}", "x".repeat(padding))),
    ] {
        text(&mut out, key);
        text(&mut out, &value);
    }
    if acknowledged {
        out.push(0x81);
        text(&mut out, "chunk");
        text(&mut out, "7");
    }
    out
}

/// Sends these messages, and waits until the last one is acknowledged: all before it were taken then.
fn send(mut socket: impl Read + Write, numbers: std::ops::Range<usize>, padding: usize) {
    let last = numbers.end - 1;
    for n in numbers {
        socket.write_all(&message(n, padding, n == last)).unwrap();
    }
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"\x81\xa3ack\xa17");
}

/// A router under test.
struct Router {
    engine: Engine,
    places: Places,
    _folder: Folder,
}

/// Starts the program on what is generated for this task.
fn start(task: &Value, more: &[(&str, String)]) -> Router {
    let folder = Folder::new();
    let places =
        Places { socket: folder.path().join("fluent.sock"), forward: free_port(), health: free_port() };
    let mut more = more.to_vec();
    if options(&containers(task)[1])["Name"] == "s3" {
        more.push(("store_dir", folder.path().join("s3").display().to_string()));
    }
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    let engine = Engine::start_by(command, folder.path(), &generated(task, &places, &more));
    let listens = || {
        UnixStream::connect(&places.socket).is_ok()
            && TcpStream::connect(("127.0.0.1", places.health)).is_ok()
    };
    assert!(wait_for(PATIENCE, listens), "{}", engine.messages());
    Router { engine, places, _folder: folder }
}

impl Router {
    /// Sends messages by the container's socket, one more by TCP, and a health check.
    fn feed(&self, count: usize, padding: usize) {
        send(UnixStream::connect(&self.places.socket).unwrap(), 0..count - 1, padding);
        send(TcpStream::connect(("127.0.0.1", self.places.forward)).unwrap(), count - 1..count, padding);
        let mut health = TcpStream::connect(("127.0.0.1", self.places.health)).unwrap();
        health.write_all(b"{\"health\": \"check\"}\n").unwrap();
    }

    /// Stops it as ECS does.
    fn stop(self) {
        let said = self.engine.messages();
        let (code, _) = self.engine.stop(PATIENCE);
        assert_eq!(code, Some(0), "{said}");
    }
}

/// Checks that these lines are the records of `feed`, each once, and where the service keeps an order, in order.
fn assert_all(lines: &[String], count: usize, family: &str) {
    let mut numbers = Vec::new();
    for line in lines {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let number = record["log"].as_str().and_then(|log| log.split(' ').nth(1)?.parse::<usize>().ok());
        numbers.push(number.unwrap_or_else(|| panic!("{line}")));
        for (key, value) in [
            ("container_id", "7f2c"),
            ("container_name", "/ecs-app"),
            ("source", "stdout"),
            ("ecs_cluster", "example"),
            ("ecs_task_arn", TASK_ARN),
            ("ecs_task_definition", &format!("{family}:1")),
        ] {
            assert_eq!(record[key], *value, "{key} of {line}");
        }
    }
    // The last one comes over a connection of its own, at any time.
    let socket: Vec<usize> = numbers.iter().copied().filter(|n| *n != count - 1).collect();
    // Firehose has no order: what failed comes behind what did not.
    assert!(socket.is_sorted() || family.ends_with("firehose"), "out of order");
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

/// The objects' lines, in the order of their keys' numbers; each key is one of the task.
fn objects(fake: &S3Fake) -> Vec<Vec<u8>> {
    let objects = fake.state().objects.clone();
    assert!(!objects.is_empty());
    for path in objects.keys() {
        let prefix = format!("/example-logs/fluent-bit-logs/app-firelens-{TASK}/2023/11/14/");
        assert!(path.starts_with(&prefix), "the policy allows only keys there: {path}");
    }
    objects.into_values().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_go_to_s3_by_put_object() {
    let fake = S3Fake::start().await.unwrap();
    let task = document("s3-put-object.json");
    let router = start(&task, &[("endpoint", fake.endpoint())]);
    router.feed(100, 10);
    // Before the time of an object is over: the stop sends what there is.
    router.stop();
    let all = objects(&fake).concat();
    assert_all(&lines(&all), 100, "app-with-logs-to-s3");
    assert!(fake.state().calls.iter().all(|call| *call == "PUT"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_go_to_s3_by_multipart_uploads() {
    let fake = S3Fake::start().await.unwrap();
    let mut task = document("s3-multipart.json");
    // Without compression a test needs less data for several parts.
    let options = &mut task["containerDefinitions"][1]["logConfiguration"]["options"];
    assert_eq!(options.as_object_mut().unwrap().remove("compression").unwrap(), "gzip");
    let router = start(&task, &[("endpoint", fake.endpoint())]);
    router.feed(12_000, 1000);
    let parts = || fake.state().calls.iter().filter(|call| **call == "Part").count();
    assert!(wait_for(PATIENCE, || parts() >= 2), "{}", router.engine.messages());
    router.stop();
    assert_eq!(fake.state().calls.first(), Some(&"Create"));
    assert_eq!(fake.state().calls.last(), Some(&"Complete"));
    let all = objects(&fake);
    assert_eq!(all.len(), 1);
    assert_all(&lines(&all[0]), 12_000, "app-with-logs-to-s3-multipart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_go_to_s3_compressed() {
    let fake = S3Fake::start().await.unwrap();
    let router = start(&document("s3-multipart.json"), &[("endpoint", fake.endpoint())]);
    router.feed(500, 100);
    router.stop();
    let all = objects(&fake);
    assert_eq!(all.len(), 1);
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(&all[0][..]).read_to_end(&mut plain).unwrap();
    assert_all(&lines(&plain), 500, "app-with-logs-to-s3-multipart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_go_to_kinesis_and_firehose() {
    for (name, family) in
        [("kinesis.json", "app-with-logs-to-kinesis"), ("firehose.json", "app-with-logs-to-firehose")]
    {
        let fake = KinesisFake::start().await.unwrap();
        let more = [
            ("endpoint", "127.0.0.1".to_owned()),
            ("port", fake.port().to_string()),
            ("tls", "off".to_owned()),
        ];
        // Some records find no room at first, and one connection breaks.
        fake.script([Act::Room(100), Act::Normal, Act::Room(7), Act::Close]);
        let router = start(&document(name), &more);
        router.feed(2000, 50);
        let taken = || fake.state().taken.len();
        assert!(wait_for(PATIENCE, || taken() >= 2000), "{}", router.engine.messages());
        router.stop();
        let state = fake.state();
        assert_eq!(state.flaws, Vec::<String>::new());
        let lines: Vec<String> =
            state.taken.iter().map(|r| String::from_utf8(r.data.clone()).unwrap()).collect();
        assert!(lines.iter().all(|line| line.ends_with('\n')));
        assert_all(&lines, 2000, family);
        if name == "kinesis.json" {
            assert!(state.taken.iter().all(|record| record.key == "7f2c"));
        } else {
            assert!(lines[0].contains("\"time\":\"2023-11-14T22:"), "{}", lines[0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_go_to_cloudwatch() {
    let fake = CloudwatchFake::start().await.unwrap();
    let more =
        [("endpoint", "127.0.0.1".to_owned()), ("port", fake.port().to_string()), ("tls", "off".to_owned())];
    let router = start(&document("cloudwatch.json"), &more);
    router.feed(300, 50);
    let lines = || -> Vec<String> {
        let groups = fake.groups();
        let streams = groups.values().flat_map(|group| group.streams.values());
        streams.flatten().map(|(_, message)| message.clone()).collect()
    };
    assert!(wait_for(PATIENCE, || lines().len() >= 300), "{}", router.engine.messages());
    router.stop();
    assert_all(&lines(), 300, "app-with-logs-to-cloudwatch");
    let group = &fake.groups()["/ecs/app"];
    assert_eq!(group.retention, Some(30));
    assert_eq!(group.streams.keys().collect::<Vec<_>>(), [&format!("app/app-firelens-{TASK}")]);
}

/// Against moto, which checks signatures and policies as AWS does. It needs Python and, the first time, a registry.
#[test]
fn moto_takes_what_the_policies_allow() {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("moto-venv");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kinesis_moto.py");
    let run = Command::new("python3").arg(script).arg(program()).arg(&venv).output();
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

#[test]
fn task_definitions_are_whole_and_their_configurations_valid() {
    let names = documents(false);
    assert_eq!(names.len(), 5, "{names:?}");
    for name in names {
        let task = document(&name);
        for key in ["family", "taskRoleArn", "executionRoleArn", "cpu", "memory", "networkMode"] {
            assert!(task[key].is_string(), "{name}: {key}");
        }
        let [router, app] = containers(&task) else { panic!("{name}: two containers") };
        assert_eq!(router["firelensConfiguration"]["type"], "fluentbit");
        assert!(router["essential"] == true && router["stopTimeout"].as_u64() <= Some(120));
        assert_eq!(router["command"].as_array().unwrap().last().unwrap(), "/fluent-bit/etc/fluent-bit.conf");
        let mounts = router["mountPoints"].as_array().cloned().unwrap_or_default();
        for mount in &mounts {
            let volumes = task["volumes"].as_array().expect("volumes");
            assert!(volumes.iter().any(|volume| volume["name"] == mount["sourceVolume"]), "{name}");
        }
        if let Some(store) = options(app).get("store_dir") {
            let kept = mounts.iter().any(|mount| store.starts_with(mount["containerPath"].as_str().unwrap()));
            assert!(kept, "{name}: `store_dir` is not on a volume");
        }
        let folder = Folder::new();
        let places = Places { socket: "/var/run/fluent.sock".into(), forward: 24224, health: 8877 };
        let conf = folder.path().join("fluent-bit.conf");
        std::fs::write(&conf, generated(&task, &places, &[])).unwrap();
        let told = Command::new(program()).arg("--dry-run").arg("-c").arg(&conf).output().unwrap();
        let text = String::from_utf8_lossy(&told.stderr);
        assert!(
            told.status.success() && text.contains("configuration test is successful"),
            "{name}:\n{text}"
        );
        assert!(!text.contains(": error:") && !text.contains(": warning:"), "{name}:\n{text}");
    }
}

#[test]
fn policies_allow_what_is_called_and_no_more() {
    let called = [
        ("policy-s3.json", &["s3:PutObject", "s3:AbortMultipartUpload"][..]),
        ("policy-firehose.json", &["firehose:PutRecordBatch"]),
        ("policy-kinesis.json", &["kinesis:PutRecords"]),
        (
            "policy-cloudwatch.json",
            &["logs:CreateLogStream", "logs:PutLogEvents", "logs:CreateLogGroup", "logs:PutRetentionPolicy"],
        ),
    ];
    assert_eq!(documents(true).len(), called.len());
    for (name, actions) in called {
        let policy = document(name);
        assert_eq!(policy["Version"], "2012-10-17");
        let mut allowed = Vec::new();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow");
            let texts = |key: &str| -> Vec<String> {
                let list = statement[key].as_array().unwrap_or_else(|| panic!("{name}: {key}"));
                list.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
            };
            allowed.extend(texts("Action"));
            for resource in texts("Resource") {
                let parts: Vec<&str> = resource.splitn(6, ':').collect();
                let [arn, "aws", service, _, _, what] = parts[..] else { panic!("{name}: {resource}") };
                assert_eq!((arn, Some(service)), ("arn", actions[0].split(':').next()), "{resource}");
                assert!(
                    !what.starts_with('*') && what.trim_end_matches('*').len() > 10,
                    "{name}: {resource}"
                );
            }
        }
        assert_eq!(allowed, actions, "{name}");
    }
}
