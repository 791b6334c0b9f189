//! Every option of Fluent Bit 5.1.1 stands in our tables, in the group where it has it, and so do its `[SERVICE]` keys.

use codecs::Bump;
use codecs::json::{Scratch, expand, parse_value};
use codecs::record::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What we have beyond Fluent Bit, each with a reason in its help text or in `deploy/compat.md`.
/// `kube_node_name` says which node's pods are watched.
/// `workers`, `storage.total_limit_size`, `port` and `ipv6` are taken there too, but not told.
const OURS: &[&str] = &[
    "name",
    "retry_limit_cycle",
    "workers",
    "storage.total_limit_size",
    "memory_limit",
    "port",
    "ipv6",
    "server_side_encryption",
    "ssekms_key_id",
    "kube_node_name",
];

/// What the Kinesis and Firehose outputs have of the older plugins `kinesis` and `firehose` of AWS.
const OF_AWS: &[&str] = &["partition_key", "data_keys", "aggregation", "append_newline"];

/// Names by kind, plugin and group.
type Groups = BTreeMap<(String, String, String), BTreeSet<String>>;

/// The recorded list.
fn recorded() -> Groups {
    let (mut groups, mut last) = (Groups::new(), None);
    for line in include_str!("../data/fluent_bit_options.txt").lines().filter(|l| !l.starts_with('#')) {
        let names = match line.split_once(": ") {
            Some((head, names)) => {
                let words: Vec<&str> = head.split(' ').collect();
                let &[kind, plugin, group] = words.as_slice() else { panic!("{line}") };
                last = Some((kind.to_owned(), plugin.to_owned(), group.to_owned()));
                names
            }
            None => line,
        };
        let key = last.clone().expect("a head before names");
        groups.entry(key).or_default().extend(names.split_whitespace().map(str::to_owned));
    }
    groups
}

fn text(value: &Value<'_>) -> String {
    String::from_utf8_lossy(value.as_text().expect("text")).into_owned()
}

fn items<'a>(value: Value<'a>, arena: &'a Bump) -> &'a [Value<'a>] {
    match expand(value, arena) {
        Value::Array(items) => items,
        other => panic!("{other:?} is no array"),
    }
}

fn fields<'a>(value: Value<'a>, arena: &'a Bump) -> Vec<(String, Value<'a>)> {
    match expand(value, arena) {
        Value::Map(fields) => {
            fields.iter().map(|f| (String::from_utf8_lossy(f.key.bytes).into_owned(), f.value)).collect()
        }
        other => panic!("{other:?} is no map"),
    }
}

/// What `-J` tells.
fn told() -> Groups {
    let output = Command::new(env!("CARGO_BIN_EXE_ripsaw")).arg("-J").output().expect("it runs");
    let arena = Bump::new();
    let all = parse_value(&output.stdout, &arena, &mut Scratch::default()).expect("JSON");
    let mut groups = Groups::new();
    for (list, plugins) in fields(all, &arena).into_iter().filter(|(name, _)| name != "fluent-bit") {
        for plugin in items(plugins, &arena) {
            let plugin: BTreeMap<_, _> = fields(*plugin, &arena).into_iter().collect();
            for (group, options) in fields(plugin["properties"], &arena) {
                let names = items(options, &arena).iter().map(|option| {
                    let option: BTreeMap<_, _> = fields(*option, &arena).into_iter().collect();
                    text(&option["name"])
                });
                let kind = list.trim_end_matches('s').to_owned();
                groups.insert((kind, text(&plugin["name"]), group), names.collect());
            }
        }
    }
    let service = engine::config::ServiceOptions::TABLE.iter().map(|spec| spec.name.to_ascii_lowercase());
    groups.insert(("service".into(), "-".into(), "options".into()), service.collect());
    groups
}

#[test]
fn nothing_of_fluent_bit_is_missing() {
    let (recorded, told) = (recorded(), told());
    assert!(recorded.values().map(BTreeSet::len).sum::<usize>() > 350, "the list was read");
    let mut wrong = Vec::new();
    // `net.keepalive` of a server stands among its own options here; `oauth2.*` is in the manual, not in the list.
    let of_http_input = |key: &(String, String, String), name: &str| {
        key.0 == "input" && key.1 == "http" && (name == "net.keepalive" || name.starts_with("oauth2."))
    };
    for (key, names) in &recorded {
        let ours = told.get(key).cloned().unwrap_or_default();
        let lacking = names.difference(&ours).filter(|name| !of_http_input(key, name));
        wrong.extend(lacking.map(|name| format!("{key:?} lacks {name}")));
    }
    for (key, names) in &told {
        let theirs = recorded.get(key).cloned().unwrap_or_default();
        // TLS of these is taken there, but not told.
        let kinesis = key.1.starts_with("kinesis_");
        let silent = kinesis || key.1 == "cloudwatch_logs";
        let untold = silent && (key.2 == "networking" || key.2 == "network_tls");
        wrong.extend(
            names
                .difference(&theirs)
                .filter(|name| !OURS.contains(&name.as_str()) && !untold && !of_http_input(key, name))
                .filter(|name| !kinesis || !OF_AWS.contains(&name.as_str()))
                // One table of TLS serves inputs and outputs.
                .filter(|name| key.0 != "input" || !name.starts_with("tls.windows."))
                .map(|name| format!("{key:?} has {name}, which Fluent Bit does not have")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
