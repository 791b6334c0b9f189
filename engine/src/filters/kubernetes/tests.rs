//! The filter without a server: what Fluent Bit recorded, what is kept and forgotten, who waits.

use super::super::testing::{refused, run_tagged, section, try_configure};
use super::super::{Awaited, Held};
use super::pod::{Object, PodKey};
use super::store::{Ask, Subject};
use super::*;
use codecs::conf::Variables;
use codecs::json::{Escape, Scratch, parse_object, write_value};
use codecs::parsers::Parser;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const ID: &str = "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef";

fn tag(pod: &str) -> String {
    format!("kube.var.log.containers.{pod}_ns-1_app-{ID}.log")
}

fn key(pod: &str) -> PodKey {
    PodKey { namespace: "ns-1".into(), name: pod.into() }
}

/// The parsers that the recorded cases name.
fn parsers() -> HashMap<String, Arc<Parser>> {
    let texts = [
        ("kv", "Name kv\nFormat regex\nRegex ^(?<key>\\w+)=(?<val>\\w+)$"),
        ("num", "Name num\nFormat regex\nRegex ^(?<number>\\d+)$"),
        ("tm", "Name tm\nFormat regex\nRegex ^(?<time>\\d+) (?<m>.*)$\nTime_Key time\nTime_Format %s"),
        ("js", "Name js\nFormat json"),
        (
            "rx",
            "Name rx\nFormat regex\nRegex ^(?<pod_name>[^_]+)_(?<namespace_name>[^_]+)_(?<container_name>[^-]+)",
        ),
    ];
    let parser = |text| Parser::configure(&section(text), &mut Diagnostics::default()).expect(text);
    texts.into_iter().map(|(name, text)| (name.to_owned(), Arc::new(parser(text)))).collect()
}

fn filter(lines: &str) -> Kubernetes {
    let mut diagnostics = Diagnostics::default();
    let (parsers, multiline, variables) = (parsers(), HashMap::new(), Variables::default());
    let context =
        Context { name: "k", parsers: &parsers, multiline: &multiline, variables: &variables, folder: None };
    let settings = Settings::read(&section(lines), &context, &mut diagnostics);
    let settings = Arc::new(settings.unwrap_or_else(|| panic!("{lines}: {:?}", diagnostics.list)));
    Kubernetes { store: Arc::new(Store::new(settings.clone())), settings, stop: Arc::default() }
}

/// Lets the filter know a pod.
fn learn(filter: &Kubernetes, pod: &str, text: &str, watched: bool) {
    let arena = Bump::new();
    let object = Object::read(text.as_bytes(), &arena, &mut Scratch::default()).expect(text);
    filter.store.learn(key(pod), object.pod(filter.settings.wanted, &arena), watched);
}

fn run(filter: &Kubernetes, tag: &str, record: &str) -> Option<String> {
    let (records, _) =
        run_tagged(filter, tag, Some(record), &mut Timestamp::default(), &mut Held::default(), 0);
    records.into_iter().next()
}

/// A pod with one label.
fn labelled(label: &str) -> String {
    format!(r#"{{"metadata":{{"uid":"u","labels":{{"l":"{label}"}}}}}}"#)
}

#[test]
fn records_become_what_fluent_bit_made_of_them() {
    let (mut options, mut pod, mut namespace) = (String::new(), "", None);
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut cases = 0;
    let check = |options: &str, pod: &str, namespace: Option<&str>, inputs: &[&str], outputs: &[&str]| {
        let filter = filter(options);
        if filter.waits() {
            learn(&filter, "pod-1", pod, false);
        }
        if let Some(text) = namespace {
            let arena = Bump::new();
            let object = Object::read(text.as_bytes(), &arena, &mut Scratch::default());
            let found = Object::namespace(object.as_ref(), "ns-1", filter.settings.wanted, &arena);
            filter.store.learn_namespace("ns-1".into(), found);
        }
        let made: Vec<_> = inputs.iter().filter_map(|r| run(&filter, &tag("pod-1"), r)).collect();
        assert_eq!(made, outputs, "{options}\n{pod}");
    };
    for line in include_str!("recorded.txt").lines().filter(|l| !l.starts_with('#')).chain(["= "]) {
        let (mark, rest) = line.split_at(2);
        match mark {
            "= " => {
                if !inputs.is_empty() {
                    check(&options, pod, namespace, &inputs, &outputs);
                    cases += 1;
                }
                options = rest.replace("; ", "\n");
                (inputs, outputs, namespace) = (Vec::new(), Vec::new(), None);
            }
            "@ " => pod = rest,
            "! " => namespace = Some(rest),
            "< " => inputs.push(rest),
            "> " => outputs.push(rest),
            _ => panic!("{line}"),
        }
    }
    assert!(cases > 60, "{cases} cases");
}

#[test]
fn what_no_pod_is_named_by_stays_as_it_is() {
    let filter = filter("Merge_Log On");
    let record = r#"{"log":"{\"a\":1}"}"#;
    for tag in ["kube.short", "kube.var.log.containers.nomatch"] {
        assert_eq!(run(&filter, tag, record).as_deref(), Some(record));
    }
    assert_eq!(filter.store.counters.unnamed.load(Relaxed), 2);
}

#[test]
fn what_the_tag_tells_is_added_when_nobody_knows_more() {
    let filter = filter("Merge_Log On");
    let want = format!(
        r#"{{"log":"{{\"a\":1}}","a":1,"kubernetes":{{"pod_name":"p","namespace_name":"ns-1","container_name":"app","docker_id":"{ID}"}}}}"#
    );
    assert_eq!(run(&filter, &tag("p"), r#"{"log":"{\"a\":1}"}"#), Some(want));
    assert_eq!(filter.store.counters.without.load(Relaxed), 1);
    let counted = filter.counters();
    let shown = counted.iter().find(|c| c.name == "kubernetes_records_without_metadata_total");
    assert_eq!(shown.map(|c| c.value), Some(1));
}

#[test]
fn entries_of_a_journal_name_their_pods_and_none_is_lost() {
    let filter = filter("Use_Journal On\nLabels Off");
    learn(&filter, "pod-1", &labelled("x"), false);
    let kubernetes = r#""kubernetes":{"pod_name":"pod-1","namespace_name":"ns-1","pod_id":"u","container_name":"app","container_hash":"abc"}"#;
    for (record, want) in [
        (r#"{"m":1}"#, r#"{"m":1}"#.to_owned()),
        (
            r#"{"CONTAINER_NAME":"k8s_app.abc_pod-1_ns-1_uid_0"}"#,
            format!(r#"{{"CONTAINER_NAME":"k8s_app.abc_pod-1_ns-1_uid_0",{kubernetes}}}"#),
        ),
        (r#"{"CONTAINER_NAME":"other"}"#, r#"{"CONTAINER_NAME":"other"}"#.to_owned()),
    ] {
        assert_eq!(run(&filter, "host.x", record), Some(want));
    }
}

#[test]
fn a_parser_asked_for_both_streams_reads_records_of_none() {
    let filter = filter("Merge_Log On\nK8S-Logging.Parser On\nLabels Off\nAnnotations Off");
    learn(&filter, "p", r#"{"metadata":{"annotations":{"fluentbit.io/parser":"tm"}}}"#, true);
    let mut time = Timestamp { secs: 5, nanos: 6 };
    let mut go = |record: &str| {
        let (records, _) = run_tagged(&filter, &tag("p"), Some(record), &mut time, &mut Held::default(), 0);
        (records[0].contains(r#""m":"hi""#), time)
    };
    // Without a time in it, the record keeps its own.
    assert_eq!(go(r#"{"log":"no time"}"#), (false, Timestamp { secs: 5, nanos: 6 }));
    assert_eq!(go(r#"{"log":"1700000000 hi"}"#), (true, Timestamp { secs: 1_700_000_000, nanos: 0 }));
}

#[test]
fn dummies_tell_the_time() {
    let filter = filter("Dummy_Meta On");
    let made = run(&filter, "any.tag", "{}").expect("kept");
    // `now` of the test bench is 2023-11-14 22:13:20 UTC; the zone may be any.
    assert!(made.starts_with(r#"{"kubernetes":{"dummy":""#) && made.contains(":13:20 2023\""), "{made}");
    assert!(!filter.waits());
}

#[test]
fn what_cannot_work_is_refused() {
    for (lines, message) in [
        ("Kube_URL kubernetes.default.svc", "`kube_url` is `kubernetes.default.svc`"),
        ("Kube_URL https://h/path", "`kube_url` is `https://h/path`"),
        ("Regex_Parser absent", "there is no parser `absent`"),
        ("Use_Kubelet On\nKubelet_Port 70000", "`kubelet_port` is 70000"),
        ("Merge_Log maybe", "`merge_log` is `maybe`"),
    ] {
        refused(&PLUGIN, lines, message);
    }
    let (made, diagnostics) = try_configure(&PLUGIN, "Regex_Parser js", &parsers());
    assert!(made.is_none() && diagnostics.list[0].message.contains("`regex_parser` is `js`"));
    let (made, diagnostics) = try_configure(&PLUGIN, "Merge_Log On\nMerge_Parser nun", &parsers());
    assert!(made.is_some() && diagnostics.list[0].message.contains("there is no parser `nun`"));
    let (made, diagnostics) = try_configure(&PLUGIN, "use_pod_association On", &parsers());
    assert!(made.is_some() && diagnostics.list.is_empty(), "names are checked by the plan");
}

/// A store that is open, its questions, and a subject of each pod.
fn open(lines: &str) -> (Kubernetes, mpsc::UnboundedReceiver<Ask>) {
    let filter = filter(lines);
    let (send, asks) = mpsc::unbounded_channel();
    filter.store.open(send);
    (filter, asks)
}

fn subject(filter: &Kubernetes, pod: &str) -> Arc<Subject> {
    let subject = filter.store.subject(tag(pod).as_bytes(), &mut codecs::regex::Scratch::default());
    subject.expect("it names a pod")
}

/// Work that waits, and counts itself.
fn counting(ran: &Arc<AtomicU64>) -> Box<dyn FnOnce() + Send> {
    let ran = ran.clone();
    Box::new(move || {
        ran.fetch_add(1, Relaxed);
    })
}

/// Whether records of it would wait, and for what; else whether they go without.
fn look(filter: &Kubernetes, subject: &Subject) -> Result<bool, Arc<Awaited>> {
    match filter.store.look_up(subject, true) {
        Answer::Wait(awaited) => Err(awaited),
        Answer::Known { without, .. } => Ok(without),
    }
}

#[test]
fn a_pod_is_asked_for_once_and_all_wait_for_the_answer() {
    let (filter, mut asks) = open("Kube_Meta_Cache_TTL 0");
    let pod = subject(&filter, "p");
    let ran = Arc::new(AtomicU64::new(0));
    for _ in 0..3 {
        let awaited = look(&filter, &pod).expect_err("it is not known yet");
        awaited.then(counting(&ran));
    }
    assert_eq!((asks.try_recv().ok(), asks.try_recv().ok()), (Some(Ask::Pod(key("p"))), None));
    learn(&filter, "p", &labelled("x"), false);
    assert_eq!((ran.load(Relaxed), look(&filter, &pod).ok()), (3, Some(false)));
    assert!(asks.try_recv().is_err(), "it is kept for ever");
}

#[test]
fn what_nobody_knows_is_waited_for_once() {
    let (filter, mut asks) = open("Labels On");
    let pod = subject(&filter, "p");
    let awaited = look(&filter, &pod).expect_err("it is not known yet");
    filter.store.missing(&Ask::Pod(key("p")), "a test", Duration::ZERO);
    awaited.then(Box::new(|| {}));
    // It is asked for again, but records do not wait again.
    assert_eq!((look(&filter, &pod).ok(), look(&filter, &pod).ok()), (Some(true), Some(true)));
    assert_eq!(
        (asks.try_recv().is_ok(), asks.try_recv().is_ok(), asks.try_recv().is_ok()),
        (true, true, false)
    );
    learn(&filter, "p", &labelled("x"), true);
    assert_eq!(look(&filter, &pod).ok(), Some(false), "late, but known");
}

#[test]
fn a_question_that_an_answer_passed_over_ends() {
    let (filter, mut asks) = open("Kube_Meta_Cache_TTL 0.001s");
    let pod = subject(&filter, "p");
    learn(&filter, "p", &labelled("one"), false);
    // It is old at once: somebody asks again, and the answer tells of others only.
    assert!(until(|| look(&filter, &pod).is_err()) && asks.try_recv().is_ok());
    assert!(filter.store.is_asked(&key("p")));
    filter.store.settled(&Ask::Pod(key("p")), Duration::from_secs(60));
    assert_eq!((look(&filter, &pod).ok(), filter.store.is_asked(&key("p"))), (Some(false), false));
    filter.store.settled(&Ask::Pod(key("nobody")), Duration::ZERO);
}

/// Looks until it holds.
fn until(mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > Duration::from_secs(60) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn who_waits_goes_on_when_nobody_is_left_to_answer() {
    let (filter, _asks) = open("Labels On");
    let pod = subject(&filter, "p");
    let ran = Arc::new(AtomicU64::new(0));
    let awaited = look(&filter, &pod).expect_err("it is not known yet");
    awaited.then(counting(&ran));
    filter.store.close();
    assert_eq!((ran.load(Relaxed), look(&filter, &pod).ok()), (1, Some(true)));
    assert_eq!(look(&filter, &subject(&filter, "other")).ok(), Some(true), "nobody is asked any more");
}

#[test]
fn a_changed_label_is_in_the_next_record_and_an_old_answer_is_asked_for_again() {
    let (filter, mut asks) = open("Kube_Meta_Cache_TTL 1h");
    let pod = tag("p");
    for label in ["one", "two", "two", "three"] {
        learn(&filter, "p", &labelled(label), true);
        let made = run(&filter, &pod, "{}").expect("kept");
        assert!(made.contains(&format!(r#""labels":{{"l":"{label}"}}"#)), "{made}");
    }
    assert!(asks.try_recv().is_err(), "the watch tells it");
    let (filter, mut asks) = open("Kube_Meta_Cache_TTL 0.001s");
    let pod = subject(&filter, "p");
    learn(&filter, "p", &labelled("one"), false);
    assert!(until(|| look(&filter, &pod).is_err()), "records wait for the new answer");
    assert!(asks.try_recv().is_ok());
    filter.store.missing(&Ask::Pod(key("p")), "a test", Duration::from_secs(60));
    assert_eq!(look(&filter, &pod).ok(), Some(false), "what was known is better than nothing");
}

#[test]
fn a_new_container_is_a_reason_to_ask_where_that_is_wanted() {
    for (lines, asked) in [("Cache_Use_Docker_Id On", true), ("Cache_Use_Docker_Id Off", false)] {
        let (filter, mut asks) = open(lines);
        learn(&filter, "p", &labelled("x"), false);
        let of = |id: &str| {
            let tag = tag("p").replace(ID, id);
            filter.store.subject(tag.as_bytes(), &mut codecs::regex::Scratch::default()).expect("a pod")
        };
        assert_eq!(look(&filter, &of(ID)).ok(), Some(false));
        let again = look(&filter, &of(&ID.replace('1', "2"))).is_err();
        assert_eq!((again, asks.try_recv().is_ok()), (asked, asked), "{lines}");
    }
}

#[test]
fn deleted_pods_are_forgotten_after_a_while() {
    let (filter, _asks) = open("Labels On");
    for pod in ["kept", "deleted", "unlisted"] {
        learn(&filter, pod, &labelled("x"), true);
    }
    learn(&filter, "elsewhere", &labelled("x"), false);
    filter.store.deleted(&key("deleted"));
    filter.store.keep_only(&HashSet::from([key("kept"), key("deleted")]));
    let now = Instant::now();
    filter.store.sweep(now);
    assert_eq!(filter.store.pods(), 4, "their last lines may still come");
    filter.store.sweep(now + store::DELETED_KEPT * 2);
    let known = ["kept", "deleted", "unlisted", "elsewhere"].map(|pod| filter.store.knows(&key(pod)));
    assert_eq!(known, [true, false, false, true]);
    // One that comes back by the same name stays.
    learn(&filter, "again", &labelled("x"), true);
    filter.store.deleted(&key("again"));
    learn(&filter, "again", &labelled("x"), true);
    filter.store.sweep(now + store::DELETED_KEPT * 3);
    assert!(filter.store.knows(&key("again")));
}

#[test]
fn the_store_keeps_within_its_bytes() {
    let (filter, _asks) = open("Labels On");
    let large = labelled(&"x".repeat(100_000));
    for n in 0..300 {
        learn(&filter, &format!("p{n}"), &large, true);
    }
    let pods = filter.store.pods();
    assert!((40..store::BYTES_MAX as u64 / 100_000 + 1).contains(&pods), "{pods} pods");
    assert!(filter.store.knows(&key("p299")) && !filter.store.knows(&key("p0")), "the oldest went");
    assert!(filter.memory_max() > store::BYTES_MAX);
}

/// JSON of any kind, with texts that end in line ends.
fn json() -> impl Strategy<Value = String> {
    let text = r#"([a-z é]|\\n|\\r|\\\\|\\"|\\u00e9){0,4}"#.prop_map(|text| format!("\"{text}\""));
    let leaf = prop_oneof![text, Just("1.50".to_owned()), Just("null".to_owned()), Just("{}".to_owned())];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map("[a-d]", inner, 0..3).prop_map(|map| object(&map)),
        ]
    })
}

fn object(map: &std::collections::BTreeMap<String, String>) -> String {
    let members: Vec<_> = map.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
    format!("{{{}}}", members.join(" , "))
}

/// What stands in `log`: a map most often, with something around it.
fn content() -> impl Strategy<Value = String> {
    let map = prop::collection::btree_map("[a-d]", json(), 0..4).prop_map(|map| object(&map));
    let around = prop::sample::select(&["", " ", "\n"][..]);
    let map = (around.clone(), map, around).prop_map(|(a, map, b)| format!("{a}{map}{b}"));
    prop_oneof![5 => map, 1 => json(), 1 => "[ -~]{0,12}"]
}

fn quoted(text: &[u8]) -> String {
    let mut out = Vec::new();
    write_value(&mut out, &Value::text(text), Escape::Ascii);
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The members that a merge adds, written one by one.
fn merged(content: &str, trims: bool) -> Option<Vec<String>> {
    let arena = Bump::new();
    let mut fields = codecs::record::Fields::new_in(&arena);
    parse_object(content.as_bytes(), &arena, &mut Scratch::default(), &mut fields).ok()?;
    let member = |field: &Field<'_>| {
        let mut value = Vec::new();
        match field.value.as_text() {
            Some(text) if trims => {
                let mut text = text.to_vec();
                while text.len() > 1 {
                    let keep = match () {
                        () if text.ends_with(b"\n") => text.len() - 1,
                        () if text.ends_with(b"\\n") || text.ends_with(b"\\r") => text.len() - 2,
                        () => break,
                    };
                    text.truncate(keep);
                }
                value.extend(quoted(&text).into_bytes());
            }
            _ => write_value(&mut value, &field.value, Escape::Ascii),
        }
        format!("{}:{}", quoted(field.key.bytes), String::from_utf8_lossy(&value))
    };
    Some(fields.iter().map(member).collect())
}

proptest! {
    /// The merge against one that writes each member out.
    #[test]
    fn merging_agrees_with_the_naive_way(content in content(), key: bool, keep: bool, trims: bool) {
        let on = |on: bool| if on { "on" } else { "off" };
        let key_line = if key { "\nMerge_Log_Key lp" } else { "" };
        let lines = format!(
            "Use_Tag_For_Meta On\nMerge_Log On\nKeep_Log {}\nMerge_Log_Trim {}{key_line}",
            on(keep),
            on(trims)
        );
        let filter = filter(&lines);
        let record = format!(r#"{{"x":1,"log":{},"y":2}}"#, quoted(content.as_bytes()));
        let made = run(&filter, &tag("p"), &record).expect("kept");
        let found = merged(&content, trims);
        let mut want = vec![r#""x":1"#.to_owned()];
        if keep || found.is_none() {
            want.push(format!("\"log\":{}", quoted(content.as_bytes())));
        }
        want.push(r#""y":2"#.to_owned());
        match found {
            Some(members) if key && !members.is_empty() => want.push(format!("\"lp\":{{{}}}", members.join(","))),
            Some(members) => want.extend(members),
            None => {}
        }
        let want = format!("{{{},\"kubernetes\":", want.join(","));
        prop_assert!(made.starts_with(&want), "{lines}\n{made}\n{want}");
    }
}
