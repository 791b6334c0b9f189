//! A reload puts a new configuration in the place of the old one: nothing is lost, nothing comes twice, nothing hangs.

use crate::rig::engine::{Engine, counts, free_port, metric, program};
use crate::rig::sink::Sink;
use crate::rig::{Folder, lines, wait_for};
use rustix::process::Signal;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn service(server: u16) -> String {
    format!(
        "[SERVICE]\n flush 0.02\n grace 1\n scheduler.base 1\n scheduler.cap 1\n http_server on\n http_port {server}\n hot_reload on\n"
    )
}

fn tail(folder: &Folder, files: &str, more: &str) -> String {
    let path = folder.path().display();
    format!(
        "[INPUT]\n name tail\n path {path}/logs/{files}\n tag t\n read_from_head on\n refresh_interval 1\n {more}\n"
    )
}

fn http(sink: &Sink, more: &str) -> String {
    let port = sink.port();
    format!(
        "[OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {port}\n format json_lines\n net.proxy_env_ignore on\n {more}\n"
    )
}

/// One request to the monitoring server; the answer, head and all.
fn ask(server: u16, method: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// How often it was reloaded.
fn reloads(server: u16) -> Option<u64> {
    let answer = ask(server, "GET", "/api/v2/reload")?;
    answer.rsplit("\"hot_reload_count\":").next()?.trim_end_matches('}').parse().ok()
}

fn reloaded(engine: &Engine, server: u16, times: u64) {
    let done = wait_for(PATIENCE, || reloads(server) == Some(times));
    assert!(done, "{:?}, not {times} reloads\n{}", reloads(server), engine.messages());
}

fn append(folder: &Folder, name: char, numbers: std::ops::Range<u64>) {
    let path = folder.path().join(format!("logs/{name}.log"));
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(lines::plain(name, numbers).as_bytes()).unwrap();
}

fn write_conf(folder: &Folder, text: &str) {
    std::fs::write(folder.path().join("ripsaw.conf"), text).unwrap();
}

#[test]
fn a_new_configuration_takes_over_and_a_wrong_one_does_not() {
    let (folder, first, second, server) = (Folder::new(), Sink::start(), Sink::start(), free_port());
    let conf =
        |output: &str, file: &str| format!("{}{}{output}", service(server), tail(&folder, file, "db a.db"));
    append(&folder, 'a', 0..10);
    let engine = Engine::start(folder.path(), &conf(&http(&first, ""), "a.log"));
    assert!(wait_for(PATIENCE, || first.count() == 10), "{}", engine.messages());
    assert_eq!(reloads(server), Some(0));

    write_conf(
        &folder,
        &conf("[OUTPUT]\n name nowhere\n match *\n[OUTPUT]\n name http\n prot 1\n match *\n", "a.log"),
    );
    engine.signal(Signal::HUP);
    engine.says("unknown output plugin `nowhere`");
    engine.says("the one that runs goes on");
    assert!(engine.messages().contains("prot"), "all that is wrong is told");
    append(&folder, 'a', 10..20);
    assert!(wait_for(PATIENCE, || first.count() == 20), "{}", engine.messages());
    assert_eq!(reloads(server), Some(0));

    // Another output, and another input beside the first.
    let both = format!("{}{}", tail(&folder, "a.log", "db a.db"), tail(&folder, "b.log", ""));
    write_conf(&folder, &format!("{}{both}{}", service(server), http(&second, "")));
    append(&folder, 'b', 0..5);
    let answer = ask(server, "POST", "/api/v2/reload").unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"reload\":\"done\",\"status\":0}"),
        "{answer}"
    );
    reloaded(&engine, server, 1);
    assert_eq!(metric(server, "fluentbit_hot_reloaded_times"), Some(1.0));
    append(&folder, 'a', 20..30);
    assert!(wait_for(PATIENCE, || second.count() == 15), "{}", engine.messages());

    // Without the first input; what the second one read stays read.
    write_conf(&folder, &format!("{}{}{}", service(server), tail(&folder, "b.log", ""), http(&second, "")));
    engine.signal(Signal::HUP);
    reloaded(&engine, server, 2);
    append(&folder, 'b', 5..8);
    assert!(wait_for(PATIENCE, || second.count() == 18), "{}", engine.messages());
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
    assert_eq!((first.count(), second.count()), (20, 18));
}

#[test]
fn a_reload_must_be_enabled() {
    let (folder, sink, server) = (Folder::new(), Sink::start(), free_port());
    let service = service(server).replace("hot_reload on", "hot_reload off");
    let engine =
        Engine::start(folder.path(), &format!("{service}{}{}", tail(&folder, "a.log", ""), http(&sink, "")));
    assert!(wait_for(PATIENCE, || reloads(server) == Some(0)));
    let answer = ask(server, "PUT", "/api/v2/reload").unwrap();
    assert!(answer.ends_with("{\"reload\":\"not enabled\",\"status\":-1}"), "{answer}");
    engine.signal(Signal::HUP);
    engine.says("hot reloading is not enabled");
    append(&folder, 'a', 0..3);
    assert!(wait_for(PATIENCE, || sink.count() == 3));
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

/// Threads and open files of a process.
fn resources(engine: &Engine) -> (usize, usize) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", engine.pid())).unwrap().count();
    (count("task"), count("fd"))
}

/// A hundred reloads while lines are written and files are rotated.
fn hundred_reloads(more: &str) {
    const RELOADS: u64 = 100;
    let (folder, sink, server) = (Folder::new(), Sink::start(), free_port());
    let conf = format!("{}{}{}", service(server), tail(&folder, "*.log", more), http(&sink, ""));
    let engine = Engine::start(folder.path(), &conf);
    assert!(wait_for(PATIENCE, || reloads(server) == Some(0)));
    let (mut written, mut early) = (0, None);
    for reload in 1..=RELOADS {
        append(&folder, 'a', written..written + 50);
        engine.signal(Signal::HUP);
        append(&folder, 'a', written + 50..written + 70);
        written += 70;
        if reload % 25 == 0 {
            // Everything of it is read, or will be: by its inode.
            let logs = folder.path().join("logs");
            std::fs::rename(logs.join("a.log"), logs.join(format!("a.log.{reload}"))).unwrap();
        }
        // Two that come together may be one.
        engine.signal(Signal::HUP);
        let done = wait_for(PATIENCE, || reloads(server).is_some_and(|n| n >= reload));
        assert!(done, "{reload}: {:?}\n{}", reloads(server), engine.messages());
        if reload == 20 {
            early = Some(resources(&engine));
        }
    }
    let whole = wait_for(PATIENCE, || sink.count() as u64 >= written);
    let mut numbers: Vec<u64> =
        sink.logs().iter().map(|log| lines::number(log).expect("a whole line").1).collect();
    numbers.sort_unstable();
    let missing: Vec<u64> = (0..written).filter(|n| numbers.binary_search(n).is_err()).collect();
    assert!(whole, "missing: {missing:?}\n{}", engine.messages());
    assert!(
        numbers.into_iter().eq(0..written),
        "each line once; missing: {missing:?}\n{}",
        engine.messages()
    );
    let ((threads, files), (late_threads, late_files)) = (early.unwrap(), resources(&engine));
    assert!(late_threads <= threads + 8, "{threads} threads became {late_threads}");
    assert!(late_files <= files + 12, "{files} files became {late_files}");
    assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
}

#[test]
fn a_hundred_reloads_with_a_db() {
    hundred_reloads("db a.db");
}

#[test]
fn a_hundred_reloads_without_a_db() {
    hundred_reloads("");
}

/// A destination that takes requests and never answers: the reload waits for `Grace`, and what was under way goes again.
#[test]
fn an_output_that_hangs_does_not_hold_a_reload() {
    for more in ["", "db a.db"] {
        let (folder, sink, other, server) = (Folder::new(), Sink::start(), Sink::start(), free_port());
        sink.fall_silent(true);
        append(&folder, 'a', 0..100);
        let conf =
            |sink: &Sink| format!("{}{}{}", service(server), tail(&folder, "a.log", more), http(sink, ""));
        let engine = Engine::start(folder.path(), &conf(&sink));
        assert!(wait_for(PATIENCE, || sink.requests() > 0));
        append(&folder, 'a', 100..200);
        write_conf(&folder, &conf(&other));
        engine.signal(Signal::HUP);
        reloaded(&engine, server, 1);
        assert!(wait_for(PATIENCE, || other.count() == 200), "{}\n{}", other.count(), engine.messages());
        assert_eq!(engine.stop(Duration::from_secs(20)).0, Some(0));
        assert_eq!(other.count(), 200, "each once");
    }
}

/// What was queued of a source that nobody can read again goes to the same output of the new configuration.
#[test]
fn standard_input_goes_on_in_the_middle_of_a_value() {
    let (folder, sink, server) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    let conf = format!("{}[INPUT]\n name stdin\n tag t\n{}", service(server), http(&sink, ""));
    write_conf(&folder, &conf);
    let messages = OpenOptions::new().create(true).append(true).open(folder.path().join("messages")).unwrap();
    let mut child = Command::new(program())
        .args(["-c", "ripsaw.conf"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(messages)
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"{\"log\":\"one\"}\n{\"log\":\"t").unwrap();
    counts(server, "fluentbit_input_records_total", 1.0);
    assert!(wait_for(PATIENCE, || sink.requests() > 0));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::HUP).unwrap();
    assert!(
        wait_for(PATIENCE, || reloads(server) == Some(1)),
        "{}",
        crate::rig::engine::messages(folder.path())
    );
    sink.answer(200);
    pipe.write_all(b"wo\"}\n").unwrap();
    let both = wait_for(PATIENCE, || sink.count() == 2);
    assert!(both, "{:?}\n{}", sink.logs(), crate::rig::engine::messages(folder.path()));
    drop(pipe);
    assert!(wait_for(PATIENCE, || child.try_wait().unwrap().is_some()), "it ends with its input");
    assert_eq!(sink.logs(), ["one", "two"]);
}
