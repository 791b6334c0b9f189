//! The configurations under `deploy/`: each is valid, and the quick start delivers what its comments promise.
//!
//! Owns: running the built program on them. Never: needs a network or an account.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const RIPSAW: &str = env!("CARGO_BIN_EXE_ripsaw");

/// The top of the repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the engine lies in the repository").to_owned()
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder entry").path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect();
    found.sort();
    found
}

fn ripsaw(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(RIPSAW)
        .args(arguments)
        .current_dir(folder)
        .env_remove("FLB_LOG_LEVEL")
        .envs([("AWS_REGION", "eu-central-1"), ("HOSTNAME", "node-1"), ("LOG_TOKEN", "secret")])
        .output()
        .expect("the program starts")
}

/// A configuration to run, not a file that others name in `Parsers_File`. What is mounted into containers, with other paths
/// and variables than here, is for `deploy.rs`.
fn is_main(path: &Path) -> bool {
    let below = path.strip_prefix(top().join("deploy")).expect("it was found there");
    if ["kubernetes", "helm", "tests"].iter().any(|folder| below.starts_with(folder)) {
        return false;
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let grammar = [".conf", ".yaml", ".yml"].iter().any(|end| name.ends_with(end));
    let pipeline = |text: String| text.contains("[OUTPUT]") || text.contains("pipeline:");
    grammar && fs::read_to_string(path).is_ok_and(pipeline)
}

#[test]
fn every_configuration_is_valid() {
    let deploy = top().join("deploy");
    let configurations: Vec<PathBuf> = files(&deploy).into_iter().filter(|path| is_main(path)).collect();
    assert!(configurations.len() >= 6, "found only {configurations:?}");
    for path in configurations {
        let told = ripsaw(&top(), &["--dry-run", "-c", path.to_str().expect("a path in UTF-8")]);
        let text = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "{}: {}\n{text}", path.display(), told.status);
        assert!(text.contains("configuration test is successful"), "{}:\n{text}", path.display());
        for word in [": error:", ": warning:"] {
            assert!(!text.contains(word), "{}:\n{text}", path.display());
        }
    }
}

/// A copy of the quick start that ends by itself and opens no port.
fn quickstart(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&folder));
    let from = top().join("deploy/quickstart");
    for path in files(&from) {
        let below = path.strip_prefix(&from).expect("it was found there");
        if below.starts_with("out") {
            // What a run of it by hand has left.
            continue;
        }
        let to = folder.join("deploy/quickstart").join(below);
        fs::create_dir_all(to.parent().expect("a file has a folder")).expect("a folder for the copy");
        fs::copy(&path, &to).expect("a copy");
    }
    fs::create_dir_all(folder.join("deploy/quickstart/out")).expect("a folder for the output");
    let main = folder.join("deploy/quickstart/fluent-bit.conf");
    let text = fs::read_to_string(&main).expect("the configuration");
    let ending = text
        .replace("    Read_from_Head    On\n", "    Read_from_Head    On\n    Exit_On_Eof       On\n")
        .replace("    HTTP_Server   On\n", "    HTTP_Server   Off\n");
    assert_eq!(ending.matches("Exit_On_Eof").count(), 2, "both inputs end");
    assert!(!ending.contains("HTTP_Server   On"), "no port is opened");
    fs::write(&main, ending).expect("the changed configuration");
    folder
}

/// What one tag's file holds behind the time of each record.
fn delivered(folder: &Path, tag: &str) -> Vec<String> {
    let path = folder.join("deploy/quickstart/out").join(tag);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| line.split_once(", ").expect("`tag: [time, record]`").1.to_owned()).collect()
}

const API: &[&str] = &[
    r#"{"level":"INFO","message":"listening","port":8080,"time":"2026-11-20T10:00:00.101112131Z","stream":"stdout","cluster_name":"quickstart"}]"#,
    r#"{"level":"INFO","message":"order placed","path":"/orders","status":201,"total":129.90,"time":"2026-11-20T10:00:02.250000000Z","stream":"stdout","cluster_name":"quickstart"}]"#,
    r#"{"level":"ERROR","message":"payment refused after three attempts, card ending 4242, customer 8c1f","path":"/payments","status":502,"time":"2026-11-20T10:00:03.000000000Z","stream":"stdout","cluster_name":"quickstart"}]"#,
    r#"{"time":"2026-11-20T10:00:04.000000000Z","stream":"stderr","log":"panic averted: retrying with a fresh connection","cluster_name":"quickstart"}]"#,
];

const WORKER: &[&str] = &[
    r#"{"level":"INFO","message":"report 17 ready","rows":20480,"stream":"stdout","time":"2026-11-20T10:00:00.500123456Z","cluster_name":"quickstart"}]"#,
    r#"{"log":"plain text, printed in two parts\n","stream":"stdout","time":"2026-11-20T10:00:01.000000001Z","cluster_name":"quickstart"}]"#,
];

#[test]
fn the_quick_start_delivers_each_record_once() {
    let folder = quickstart("quickstart");
    let arguments = ["-q", "-c", "deploy/quickstart/fluent-bit.conf"];
    let first = ripsaw(&folder, &arguments);
    let text = String::from_utf8_lossy(&first.stderr);
    assert!(first.status.success(), "{}\n{text}", first.status);
    assert_eq!(delivered(&folder, "kube.production.shop-api-7d4f8b5c8-xyz12.api"), API);
    assert_eq!(delivered(&folder, "kube.staging.reports-0.worker"), WORKER);
    let orders = delivered(&folder, "app.orders");
    assert_eq!(orders.len(), 3, "{orders:#?}");
    assert!(orders[1].contains(r"cannot store order 4711\njava.lang.IllegalStateException"), "{}", orders[1]);
    assert!(orders[1].contains(r"Caused by: java.io.IOException: broken pipe\n"), "{}", orders[1]);
    assert!(orders[1].contains(r"... 12 more\n"), "{}", orders[1]);
    let printed = String::from_utf8_lossy(&first.stdout);
    assert_eq!(printed.lines().count(), 9, "the terminal shows all records:\n{printed}");
    assert!(
        printed.lines().any(|l| l.starts_with(r#"{"date":"2026-11-20T10:00:02.249000Z","level":"INFO","#)),
        "{printed}"
    );

    // The `DB` knows what was delivered: nothing of it comes again.
    let second = ripsaw(&folder, &arguments);
    assert!(second.status.success(), "{}", second.status);
    assert_eq!(String::from_utf8_lossy(&second.stdout), "");
    assert_eq!(delivered(&folder, "app.orders").len(), 3);
}
