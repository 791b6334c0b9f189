//! A configuration full of mistakes: each is told with its place and its rule, all in one run.

use crate::rig::engine::program;
use std::path::Path;
use std::process::Command;

/// `data/wrong/` has one mistake or more on each line that `found.txt` names. `RIPSAW_RECORD=1` writes that file anew.
#[test]
fn all_mistakes_are_told_in_one_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wrong");
    let run = Command::new(program())
        .args(["-c", "fluent-bit.conf", "--dry-run"])
        .current_dir(&folder)
        .output()
        .expect("the program runs");
    assert_eq!(run.status.code(), Some(1));
    let told = String::from_utf8(run.stderr).expect("text");
    let record = folder.join("found.txt");
    if std::env::var_os("RIPSAW_RECORD").is_some() {
        std::fs::write(&record, &told).expect("written");
    }
    let want = std::fs::read_to_string(&record).expect("the recorded text");
    assert_eq!(told, want);
}
