//! The filter `kubernetes` of the running program against an API server that is as strict as it has to be: tokens are
//! checked, watches begin where they say, and every request is counted.

use crate::rig::engine::Engine;
use crate::rig::{Folder, wait_for};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const ID: &str = "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// An API server for the pods of one node.
struct Api {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
    token: Mutex<String>,
    /// Only single objects may be asked for.
    forbidden: AtomicBool,
    /// Every connection is closed.
    down: AtomicBool,
    lists: AtomicUsize,
    watches: AtomicUsize,
    gets: AtomicUsize,
    refused: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Inner {
    version: u64,
    pods: BTreeMap<String, String>,
    /// Version, type and object of what happened.
    events: Vec<(u64, &'static str, String)>,
    /// Events up to this version are forgotten.
    forgotten: u64,
    /// Counts up when all watches are to break.
    broken: u64,
    /// Pods that only a single GET finds.
    hidden: BTreeMap<String, String>,
}

fn pod(name: &str, label: &str, version: u64) -> String {
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"ns-1","uid":"uid-{name}","resourceVersion":"{version}","labels":{{"l":"{label}"}}}},"spec":{{"nodeName":"node-1"}},"status":{{"podIP":"10.0.0.1","containerStatuses":[{{"name":"app","image":"i:1","imageID":"docker://i@sha256:aa","containerID":"containerd://{ID}"}}]}}}}"#
    )
}

impl Api {
    fn start() -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<State> = Arc::default();
        *state.token.lock().unwrap() = "token-1".to_owned();
        let serving = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = serving.clone();
                // A connection that breaks is the client's trouble.
                std::thread::spawn(move || drop(state.serve(stream)));
            }
        });
        Api { port, state }
    }

    fn change(&self, kind: &'static str, name: &str, label: &str) {
        let inner = &mut *self.state.inner.lock().unwrap();
        inner.version += 1;
        let object = pod(name, label, inner.version);
        match kind {
            "DELETED" => inner.pods.remove(name),
            _ => inner.pods.insert(name.to_owned(), object.clone()),
        };
        inner.events.push((inner.version, kind, object));
        self.state.changed.notify_all();
    }

    /// Breaks all watches; with `forget`, nobody can go on where he was.
    fn break_watches(&self, forget: bool) {
        let inner = &mut *self.state.inner.lock().unwrap();
        inner.broken += 1;
        if forget {
            inner.version += 1;
            inner.forgotten = inner.version;
            inner.events.clear();
        }
        self.state.changed.notify_all();
    }

    /// Lists, watches and single requests so far.
    fn requests(&self) -> (usize, usize, usize) {
        let state = &self.state;
        (state.lists.load(SeqCst), state.watches.load(SeqCst), state.gets.load(SeqCst))
    }

    fn until(&self, what: &str, done: impl Fn(&State) -> bool) {
        assert!(wait_for(PATIENCE, || done(&self.state)), "{what}: {:?}", self.requests());
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                *self.state.wrong.lock().unwrap(),
                Vec::<String>::new(),
                "requests that make no sense"
            );
        }
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        loop {
            let (mut head, mut line) = (Vec::new(), String::new());
            while reader.read_line(&mut line)? > 2 {
                head.push(std::mem::take(&mut line).trim_end().to_owned());
            }
            if head.is_empty() || self.down.load(SeqCst) {
                return Ok(());
            }
            let path = head[0].split(' ').nth(1).unwrap_or_default().to_owned();
            let header = |name: &str| {
                let found = head.iter().find(|l| l.to_ascii_lowercase().starts_with(name));
                found.map_or("", |l| l[name.len()..].trim()).to_owned()
            };
            if header("authorization:") != format!("Bearer {}", self.token.lock().unwrap()) {
                self.refused.fetch_add(1, SeqCst);
                answer(&mut stream, 401, r#"{"kind":"Status","code":401}"#)?;
            } else if path.starts_with("/api/v1/pods?watch=1") {
                return self.watch(&mut stream, &path);
            } else {
                let (status, body) = self.answer(&path);
                answer(&mut stream, status, &body)?;
            }
        }
    }

    fn answer(&self, path: &str) -> (u16, String) {
        let inner = self.inner.lock().unwrap();
        if let Some(query) = path.strip_prefix("/api/v1/pods?") {
            self.lists.fetch_add(1, SeqCst);
            if self.forbidden.load(SeqCst) {
                return (403, r#"{"kind":"Status","code":403}"#.to_owned());
            }
            if !query.contains("fieldSelector=spec.nodeName%3Dnode-1&") {
                self.wrong.lock().unwrap().push(path.to_owned());
            }
            let items: Vec<_> = inner.pods.values().map(String::as_str).collect();
            let list = format!(
                r#"{{"kind":"PodList","metadata":{{"resourceVersion":"{}"}},"items":[{}]}}"#,
                inner.version,
                items.join(",")
            );
            return (200, list);
        }
        if let Some(name) = path.strip_prefix("/api/v1/namespaces/ns-1/pods/") {
            self.gets.fetch_add(1, SeqCst);
            return match inner.pods.get(name).or_else(|| inner.hidden.get(name)) {
                Some(pod) => (200, pod.clone()),
                None => (404, r#"{"kind":"Status","code":404}"#.to_owned()),
            };
        }
        if path == "/api/v1/namespaces/ns-1" {
            self.gets.fetch_add(1, SeqCst);
            return (
                200,
                r#"{"kind":"Namespace","metadata":{"name":"ns-1","labels":{"team":"x"}}}"#.to_owned(),
            );
        }
        if path == "/pods" {
            self.lists.fetch_add(1, SeqCst);
            let items: Vec<_> = inner.pods.values().map(String::as_str).collect();
            return (200, format!(r#"{{"kind":"PodList","metadata":{{}},"items":[{}]}}"#, items.join(",")));
        }
        self.wrong.lock().unwrap().push(path.to_owned());
        (404, String::new())
    }

    fn watch(&self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        self.watches.fetch_add(1, SeqCst);
        let of = |name: &str| path.split(['?', '&']).find_map(|pair| pair.strip_prefix(name));
        let version = of("resourceVersion=").and_then(|v| v.parse::<u64>().ok());
        let sane = path.contains("fieldSelector=spec.nodeName%3Dnode-1&")
            && of("allowWatchBookmarks=") == Some("true")
            && of("timeoutSeconds=").is_some_and(|s| s.parse::<u32>().is_ok());
        let Some(mut at) = version.filter(|_| sane) else {
            self.wrong.lock().unwrap().push(path.to_owned());
            return answer(stream, 400, "");
        };
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let mut inner = self.inner.lock().unwrap();
        let broken = inner.broken;
        if at < inner.forgotten {
            drop(inner);
            let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}"#;
            chunks(stream, gone)?;
            return stream.write_all(b"0\r\n\r\n");
        }
        loop {
            let news: Vec<_> = inner.events.iter().filter(|(v, ..)| *v > at).cloned().collect();
            drop(inner);
            for (version, kind, object) in &news {
                chunks(stream, &format!(r#"{{"type":"{kind}","object":{object}}}"#))?;
                at = *version;
            }
            if !news.is_empty() {
                let mark = format!(
                    r#"{{"type":"BOOKMARK","object":{{"kind":"Pod","metadata":{{"resourceVersion":"{at}"}}}}}}"#
                );
                chunks(stream, &mark)?;
            }
            inner = self.inner.lock().unwrap();
            if inner.events.iter().all(|(v, ..)| *v <= at) {
                inner = self.changed.wait(inner).unwrap();
            }
            // A watch that breaks ends within a chunk.
            if inner.broken != broken || self.down.load(SeqCst) {
                return stream.write_all(b"ff\r\n{\"type\":\"ADD");
            }
        }
    }
}

/// A line in chunks of a few bytes, torn anywhere.
fn chunks(stream: &mut TcpStream, line: &str) -> std::io::Result<()> {
    let line = format!("{line}\n");
    let mut out = String::new();
    for chunk in line.as_bytes().chunks(97) {
        write!(out, "{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)).unwrap();
    }
    stream.write_all(out.as_bytes())
}

fn answer(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} Fake\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes())
}

/// A node with containers, and the program that reads their logs.
struct Node {
    folder: Folder,
    engine: Option<Engine>,
    written: usize,
}

impl Node {
    fn start(api: &Api, options: &str) -> Node {
        Node::start_with(api, options, &[])
    }

    /// With lines of these pods in their logs before the program runs.
    fn start_with(api: &Api, options: &str, pods: &[&str]) -> Node {
        let folder = Folder::new();
        std::fs::write(folder.path().join("token"), "token-1\n").unwrap();
        let mut node = Node { folder, engine: None, written: 0 };
        pods.iter().for_each(|name| node.log(name, "early"));
        node.run(api, options);
        node
    }

    /// Starts the program; behind the filter's options may stand more sections.
    fn run(&mut self, api: &Api, options: &str) {
        let prefix = self.folder.path().join("logs").display().to_string().replace('/', ".");
        let conf = format!(
            "[SERVICE]\n flush 0.1\n\
             [INPUT]\n name tail\n path {folder}/logs/*.log\n tag kube.*\n read_from_head on\n refresh_interval 1\n\
             [FILTER]\n name kubernetes\n match kube.*\n kube_url http://127.0.0.1:{port}\n kube_token_file token\n kube_tag_prefix kube{prefix}.\n annotations off\n{options}\
             [OUTPUT]\n name file\n match *\n file out\n path .\n format plain\n",
            folder = self.folder.path().display(),
            port = api.port,
        );
        self.engine = Some(Engine::start(self.folder.path(), &conf));
    }

    /// A line of a pod's container.
    fn log(&mut self, pod: &str, text: &str) {
        let path = self.folder.path().join(format!("logs/{pod}_ns-1_app-{ID}.log"));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{text}").unwrap();
        self.written += 1;
    }

    fn out(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The record of a line; waits for it.
    fn record(&self, pod: &str, text: &str) -> String {
        let is_it = |line: &String| {
            line.contains(&format!("\"log\":\"{text}\"")) && line.contains(&format!("\"pod_name\":\"{pod}\""))
        };
        let mut found = None;
        wait_for(PATIENCE, || {
            found = self.out().into_iter().find(is_it);
            found.is_some()
        });
        let messages = self.engine.as_ref().map(Engine::messages).unwrap_or_default();
        found.unwrap_or_else(|| panic!("no record {text} of {pod}: {:?}\n{messages}", self.out()))
    }

    fn says(&self, text: &str) {
        self.engine.as_ref().expect("it runs").says(text);
    }

    /// Ends the program; each line came out once.
    fn end(mut self) -> Vec<String> {
        let written = self.written;
        assert!(wait_for(PATIENCE, || self.out().len() >= written), "{} of {written}", self.out().len());
        let (code, _) = self.engine.take().expect("it runs").stop(PATIENCE);
        assert_eq!((code, self.out().len()), (Some(0), written));
        self.out()
    }
}

fn labelled(label: &str) -> String {
    format!(r#""labels":{{"l":"{label}"}}"#)
}

#[test]
fn one_watch_serves_a_thousand_pods() {
    let api = Api::start();
    let names: Vec<String> = (0..1000).map(|n| format!("pod-{n}")).collect();
    names.iter().for_each(|name| api.change("ADDED", name, name));
    let mut node = Node::start(&api, " kube_node_name node-1\n");
    api.until("it watches", |state| state.watches.load(SeqCst) == 1);
    names.iter().for_each(|name| node.log(name, "line"));
    let out = node.end();
    for line in out {
        let name = line.split("\"pod_name\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert!(line.contains(&labelled(name)) && line.contains(r#""host":"node-1""#), "{line}");
    }
    assert_eq!(api.requests(), (1, 1, 0), "one list, one watch, and nothing for a single pod");
}

#[test]
fn a_label_change_shows_in_the_next_record() {
    let api = Api::start();
    api.change("ADDED", "p", "one");
    let mut node = Node::start_with(&api, " kube_node_name node-1\n", &["p"]);
    assert!(node.record("p", "early").contains(&labelled("one")), "it waited for the list");
    for label in ["two", "three"] {
        api.change("MODIFIED", "p", label);
        // The event is on its way; from some line on, the label is there, and then in all.
        let mut last = String::new();
        let seen = wait_for(PATIENCE, || {
            let text = format!("after-{label}-{}", node.written);
            node.log("p", &text);
            last = node.record("p", &text);
            last.contains(&labelled(label))
        });
        assert!(seen, "{last}");
    }
    api.change("ADDED", "new", "fresh");
    node.log("new", "first");
    assert!(node.record("new", "first").contains(&labelled("fresh")), "its first record waited for it");
    api.change("DELETED", "p", "three");
    api.change("MODIFIED", "new", "later");
    wait_for(PATIENCE, || {
        let text = format!("later-{}", node.written);
        node.log("new", &text);
        node.record("new", &text).contains(&labelled("later"))
    });
    node.log("p", "last words");
    assert!(node.record("p", "last words").contains(&labelled("three")), "a deleted pod's last lines");
    assert_eq!(api.requests(), (1, 1, 0));
    node.end();
}

#[test]
fn without_the_right_to_watch_each_pod_is_asked_for_once() {
    let api = Api::start();
    api.state.forbidden.store(true, SeqCst);
    ["a", "b"].iter().for_each(|name| api.change("ADDED", name, name));
    let mut node = Node::start_with(&api, " kube_node_name node-1\n namespace_labels on\n", &["a", "b"]);
    for name in ["a", "b"] {
        assert!(node.record(name, "early").contains(&labelled(name)));
        node.log(name, "more");
        let more = node.record(name, "more");
        assert!(more.contains(&labelled(name)), "{more}");
        assert!(more.contains(r#""kubernetes_namespace":{"name":"ns-1","labels":{"team":"x"}}"#), "{more}");
    }
    node.log("absent", "line");
    let absent = node.record("absent", "line");
    assert!(absent.contains(r#""container_name":"app""#) && !absent.contains("labels\":{\"l"), "{absent}");
    node.says("no metadata of pod ns-1/absent: the API does not know it (404)");
    node.says("each is asked for by itself");
    assert_eq!(api.requests(), (1, 0, 4), "two pods, one namespace, one that is not there");
    node.end();
}

#[test]
fn a_pod_that_the_watch_does_not_tell_of_is_asked_for() {
    let api = Api::start();
    api.state.inner.lock().unwrap().hidden.insert("far".to_owned(), pod("far", "away", 1));
    let mut node = Node::start(&api, " kube_node_name node-1\n");
    node.log("far", "line");
    assert!(node.record("far", "line").contains(&labelled("away")), "it runs on another node");
    assert_eq!(api.requests().2, 1);
    node.end();
}

#[test]
fn a_watch_goes_on_after_410_and_after_an_outage() {
    let api = Api::start();
    api.change("ADDED", "p", "one");
    let mut node = Node::start(&api, " kube_node_name node-1\n");
    node.log("p", "before");
    assert!(node.record("p", "before").contains(&labelled("one")));
    // What happened in between is forgotten by the server: only a new list tells it.
    api.break_watches(true);
    api.until("it lists again", |state| state.lists.load(SeqCst) == 2);
    api.until("it watches again", |state| state.watches.load(SeqCst) >= 3);
    // The server is gone: what is known stays known.
    api.state.down.store(true, SeqCst);
    api.break_watches(false);
    node.says("the watch of the pods broke");
    node.log("p", "meanwhile");
    assert!(node.record("p", "meanwhile").contains(&labelled("one")));
    api.change("MODIFIED", "p", "two");
    api.state.down.store(false, SeqCst);
    let seen = wait_for(PATIENCE, || {
        let text = format!("back-{}", node.written);
        node.log("p", &text);
        node.record("p", &text).contains(&labelled("two"))
    });
    assert!(seen, "the events of the outage are in the next watch");
    assert_eq!((api.requests().0, api.requests().2), (2, 0), "no third list, and no single request");
    node.end();
}

#[test]
fn a_new_token_is_taken_when_the_old_one_is_refused() {
    let api = Api::start();
    api.change("ADDED", "p", "one");
    let mut node = Node::start(&api, " kube_node_name node-1\n kube_token_ttl 1h\n");
    node.log("p", "before");
    assert!(node.record("p", "before").contains(&labelled("one")));
    *api.state.token.lock().unwrap() = "token-2".to_owned();
    std::fs::write(node.folder.path().join("token"), "token-2\n").unwrap();
    api.change("MODIFIED", "p", "two");
    api.break_watches(false);
    let seen = wait_for(PATIENCE, || {
        let text = format!("after-{}", node.written);
        node.log("p", &text);
        node.record("p", &text).contains(&labelled("two"))
    });
    assert!(seen && api.state.refused.load(SeqCst) <= 2, "{}", api.state.refused.load(SeqCst));
    node.end();
}

#[test]
fn a_token_command_is_run_and_the_kubelet_lists_all_at_once() {
    let api = Api::start();
    ["a", "b", "c"].iter().for_each(|name| api.change("ADDED", name, name));
    let options = format!(
        " kube_token_command echo token-1\n use_kubelet on\n kubelet_port {}\n kube_meta_preload_cache_dir none\n",
        api.port
    );
    let mut node = Node::start(&api, &options);
    for name in ["a", "b", "c"] {
        node.log(name, "line");
        assert!(node.record(name, "line").contains(&labelled(name)));
    }
    assert_eq!(api.requests(), (1, 0, 0), "one list of the kubelet");
    node.end();
}

#[test]
fn records_wait_for_a_bounded_time_and_none_is_lost() {
    let api = Api::start();
    api.state.down.store(true, SeqCst);
    let mut node = Node::start_with(&api, " kube_node_name node-1\n", &["a", "b"]);
    for name in ["a", "b"] {
        let early = node.record(name, "early");
        assert!(early.contains(r#""namespace_name":"ns-1""#) && !early.contains("labels"), "{early}");
    }
    node.says("no answer within 5s: 127.0.0.1");
    node.says("its records go out with what the tag tells");
    api.change("ADDED", "a", "late");
    api.state.down.store(false, SeqCst);
    let seen = wait_for(PATIENCE, || {
        let text = format!("later-{}", node.written);
        node.log("a", &text);
        node.record("a", &text).contains(&labelled("late"))
    });
    assert!(seen, "metadata comes when the server does");
    node.end();
}

#[test]
fn a_stop_waits_for_no_api() {
    let api = Api::start();
    api.state.down.store(true, SeqCst);
    let mut node = Node::start_with(&api, " kube_node_name node-1\n", &["a", "b"]);
    node.says("pods cannot be watched now");
    let (code, _) = node.engine.take().expect("it runs").stop(PATIENCE);
    let out = node.out();
    assert_eq!((code, out.len()), (Some(0), 2), "{out:?}");
    assert!(out.iter().all(|line| line.contains(r#""namespace_name":"ns-1""#)), "{out:?}");
}

#[test]
fn records_that_wait_keep_their_order_whatever_comes_behind() {
    const LINES: usize = 4000;
    let script = "[FILTER]\n name lua\n match *\n call f\n code n = 0 function f(tag, ts, r) n = n + 1 r.n = n return 2, ts, r end\n";
    let grouping = "[FILTER]\n name multiline\n match *\n multiline.key_content log\n multiline.parser go\n";
    for behind in ["", script, grouping] {
        let api = Api::start();
        ["a", "b", "c"].iter().for_each(|name| api.change("ADDED", name, name));
        // Nobody answers until the first lines wait.
        api.state.down.store(true, SeqCst);
        let folder = Folder::new();
        std::fs::write(folder.path().join("token"), "token-1\n").unwrap();
        let mut node = Node { folder, engine: None, written: 0 };
        for name in ["a", "b", "c"] {
            (0..LINES).for_each(|n| node.log(name, &format!("line {n};")));
        }
        node.run(&api, &format!(" kube_node_name node-1\n{behind}"));
        node.says("pods cannot be watched now");
        api.state.down.store(false, SeqCst);
        let out = node.end();
        for name in ["a", "b", "c"] {
            let of: Vec<_> = out.iter().filter(|l| l.contains(&format!("\"pod_name\":\"{name}\""))).collect();
            let number = |l: &&String| l.split("line ").nth(1)?.split(';').next()?.parse::<usize>().ok();
            assert!(of.iter().filter_map(number).eq(0..LINES), "{name} with {behind}");
            let lacking = of.iter().filter(|l| !l.contains(&labelled(name))).count();
            assert_eq!(lacking, 0, "each had its metadata: {behind}");
        }
    }
}
