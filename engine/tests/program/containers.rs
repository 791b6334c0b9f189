//! The inputs `kubernetes_events` and `docker_events` of the running program, against servers that say what was asked.

use crate::rig::engine::Engine;
use crate::rig::sink::Sink;
use crate::rig::{Folder, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn conf(input: &str, sink: &Sink) -> String {
    format!(
        "[SERVICE]\n flush 0.1\n grace 10\n scheduler.base 1\n scheduler.cap 1\n[INPUT]\n{input} tag e\n[OUTPUT]\n name http\n \
         match e\n host 127.0.0.1\n port {}\n format json_lines\n",
        sink.port()
    )
}

fn arrived(sink: &Sink, want: &[&str]) {
    let came = || sink.logs().len() >= want.len();
    assert!(wait_for(PATIENCE, came), "{:?} of {want:?}", sink.logs());
    assert_eq!(sink.logs(), want);
}

/// An API server with the events of one namespace.
#[derive(Default)]
struct Cluster {
    inner: Mutex<Inner>,
    changed: Condvar,
    lists: AtomicUsize,
    watches: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Inner {
    version: u64,
    /// Version, whether it is new, and the object.
    events: Vec<(u64, &'static str, String)>,
    /// Watches from before this version are refused.
    forgotten: u64,
    /// Counts up when all watches are to end.
    ended: u64,
}

impl Cluster {
    fn start() -> (Arc<Cluster>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cluster: Arc<Cluster> = Arc::default();
        let serving = cluster.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let cluster = serving.clone();
                // A connection that breaks is the client's trouble.
                std::thread::spawn(move || drop(cluster.serve(stream)));
            }
        });
        (cluster, port)
    }

    /// Something happens, for the first time or again.
    fn happen(&self, uid: &str, kind: &'static str, log: &str) {
        let inner = &mut *self.inner.lock().unwrap();
        inner.version += 1;
        let version = inner.version;
        let object = format!(
            "{{\"metadata\":{{\"uid\":\"{uid}\",\"resourceVersion\":\"{version}\"}},\"lastTimestamp\":\"2024-02-03T14:30:26Z\",\"log\":\"{log}\"}}"
        );
        inner.events.push((version, kind, object));
        self.changed.notify_all();
    }

    /// Ends all watches; with `forget`, nobody can go on where he was.
    fn end_watches(&self, forget: bool) {
        let inner = &mut *self.inner.lock().unwrap();
        inner.ended += 1;
        if forget {
            inner.version += 1;
            inner.forgotten = inner.version;
        }
        self.changed.notify_all();
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        loop {
            let (mut head, mut line) = (Vec::new(), String::new());
            while reader.read_line(&mut line)? > 2 {
                head.push(std::mem::take(&mut line));
            }
            let Some(path) = head.first().and_then(|l| l.split(' ').nth(1)) else { return Ok(()) };
            if !head.iter().any(|l| l.trim_end().eq_ignore_ascii_case("authorization: bearer token-1")) {
                self.wrong.lock().unwrap().push(format!("no token: {head:?}"));
            }
            match path.strip_prefix("/api/v1/namespaces/ns-1/events?") {
                Some(query) if query.starts_with("watch=1&") => return self.watch(&mut stream, query),
                Some(query) => self.list(&mut stream, query)?,
                None => self.wrong.lock().unwrap().push(path.to_owned()),
            }
        }
    }

    /// Two events a page.
    fn list(&self, stream: &mut TcpStream, query: &str) -> std::io::Result<()> {
        self.lists.fetch_add(1, SeqCst);
        let inner = self.inner.lock().unwrap();
        let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
        let from: usize = of("continue=c").and_then(|n| n.parse().ok()).unwrap_or(0);
        if of("limit=") != Some("2") {
            self.wrong.lock().unwrap().push(query.to_owned());
        }
        // The newest of each.
        let newest = |e: &&(u64, &str, String)| {
            let uid = |o: &str| o.split('"').nth(5).map(str::to_owned);
            inner.events.iter().rfind(|other| uid(&other.2) == uid(&e.2)).map(|other| other.0) == Some(e.0)
        };
        let there = inner.events.iter().filter(newest).filter(|e| e.1 != "DELETED");
        let all: Vec<&str> = there.map(|e| e.2.as_str()).collect();
        let more =
            if all.len() > from + 2 { format!(",\"continue\":\"c{}\"", from + 2) } else { String::new() };
        let page = all.iter().skip(from).take(2).copied().collect::<Vec<_>>().join(",\n ");
        let body = format!(
            "{{\"kind\":\"EventList\",\"metadata\":{{\"resourceVersion\":\"{}\"{more}}},\"items\":[{page}]}}",
            inner.version
        );
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn watch(&self, stream: &mut TcpStream, query: &str) -> std::io::Result<()> {
        self.watches.fetch_add(1, SeqCst);
        let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
        let mut at: u64 = of("resourceVersion=").and_then(|v| v.parse().ok()).expect("a version");
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        let mut inner = self.inner.lock().unwrap();
        let ended = inner.ended;
        if at < inner.forgotten {
            return stream.write_all(
                b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}}\n",
            );
        }
        while inner.ended == ended {
            let from = at;
            for (version, kind, object) in inner.events.iter().filter(|e| e.0 > from) {
                writeln!(stream, "{{\"type\":\"{kind}\",\"object\":{object}}}")?;
                at = *version;
            }
            inner = self.changed.wait(inner).unwrap();
        }
        Ok(())
    }
}

#[test]
fn an_event_is_told_once_and_again_when_it_happens_again() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let (cluster, port) = Cluster::start();
    std::fs::write(folder.path().join("token"), "token-1\n").unwrap();
    let input = format!(
        " name kubernetes_events\n kube_url http://127.0.0.1:{port}\n kube_token_file token\n kube_namespace ns-1\n \
         kube_request_limit 2\n kube_retention_time 87600h\n db events.db\n interval_nsec 10000000\n"
    );
    let conf = conf(&input, &sink);
    for (uid, log) in [("a", "a1"), ("b", "b1"), ("c", "c1")] {
        cluster.happen(uid, "ADDED", log);
    }
    let engine = Engine::start(folder.path(), &conf);
    arrived(&sink, &["a1", "b1", "c1"]);
    cluster.happen("b", "MODIFIED", "b2");
    cluster.happen("c", "DELETED", "c1");
    cluster.happen("d", "ADDED", "d1");
    arrived(&sink, &["a1", "b1", "c1", "b2", "d1"]);
    assert_eq!((cluster.lists.load(SeqCst), cluster.watches.load(SeqCst)), (2, 1), "two pages, one watch");
    // A watch that ends goes on where it was; one that is too old leads to a new list.
    cluster.end_watches(false);
    cluster.happen("e", "ADDED", "e1");
    arrived(&sink, &["a1", "b1", "c1", "b2", "d1", "e1"]);
    assert_eq!(cluster.lists.load(SeqCst), 2);
    cluster.end_watches(true);
    cluster.happen("f", "ADDED", "f1");
    arrived(&sink, &["a1", "b1", "c1", "b2", "d1", "e1", "f1"]);
    engine.stop(PATIENCE);
    // A restart lists again, and tells what happened meanwhile; what nobody accepted before a kill comes again.
    cluster.happen("a", "MODIFIED", "a2");
    sink.answer(503);
    let engine = Engine::start(folder.path(), &conf);
    let requests = sink.requests();
    assert!(wait_for(PATIENCE, || sink.requests() > requests), "nothing was sent");
    engine.kill();
    sink.answer(200);
    let engine = Engine::start(folder.path(), &conf);
    arrived(&sink, &["a1", "b1", "c1", "b2", "d1", "e1", "f1", "a2"]);
    cluster.happen("g", "ADDED", "g1");
    arrived(&sink, &["a1", "b1", "c1", "b2", "d1", "e1", "f1", "a2", "g1"]);
    engine.stop(PATIENCE);
    assert_eq!(*cluster.wrong.lock().unwrap(), Vec::<String>::new());
}

/// The program's connection, once it has asked for events.
fn accept(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 24];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"GET /events HTTP/1.0\r\n\r\n");
    stream
}

#[test]
fn docker_events_are_whole_and_follow_the_engine_through_a_restart() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let path = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let input = format!(" name docker_events\n unix_path {}\n parser json\n", path.display());
    std::fs::write(folder.path().join("parsers.conf"), "[PARSER]\n name json\n format json\n").unwrap();
    let conf = conf(&input, &sink).replacen("[SERVICE]", "[SERVICE]\n parsers_file parsers.conf", 1);
    let engine = Engine::start(folder.path(), &conf);
    let mut stream = accept(&listener);
    // Head and first event come together, the third is torn.
    stream
        .write_all(b"HTTP/1.0 200 OK\r\nApi-Version: 1.43\r\n\r\n{\"log\":\"1\"}\n{\"log\":\"2\"}\n{\"lo")
        .unwrap();
    arrived(&sink, &["1", "2"]);
    stream.write_all(b"g\":\"3\"}\nnot json\n").unwrap();
    arrived(&sink, &["1", "2", "3"]);
    // The engine of Docker goes, and comes back later.
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    drop(stream);
    engine.says("cannot be reached");
    let listener = UnixListener::bind(&path).unwrap();
    let mut stream = accept(&listener);
    stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"log\":\"4\"}\n").unwrap();
    arrived(&sink, &["1", "2", "3", "4"]);
    assert!(engine.messages().contains("parser returned an error"), "{}", engine.messages());
    engine.stop(PATIENCE);
}

#[test]
fn docker_events_give_up_where_they_are_told_to() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let path = folder.path().join("docker.sock");
    let input = format!(" name docker_events\n unix_path {}\n reconnect.retry_limits 1\n", path.display());
    let mut engine = Engine::start(folder.path(), &conf(&input, &sink));
    assert!(!engine.ended(PATIENCE).expect("it ends").success());
    assert!(engine.messages().contains("could not listen on unix://"), "{}", engine.messages());
    let listener = UnixListener::bind(&path).unwrap();
    let engine = Engine::start(folder.path(), &conf(&input, &sink));
    let mut stream = accept(&listener);
    stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    drop(stream);
    engine.says("giving up, no more events are read");
}
