//! The recorded behaviour of Fluent Bit 5.1.1 (`conformance/`), held against the built program.

use std::path::Path;
use std::process::Command;

/// Cases at once; most of a case is waiting.
const JOBS: &str = "4";

#[test]
fn does_what_fluent_bit_does() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let excluded = std::fs::read_to_string(suite.join("excluded.txt")).expect("the list of cases left out");
    let mut run = Command::new("python3");
    run.arg("-B").arg(suite.join("run.py")).args(["--binary", env!("CARGO_BIN_EXE_ripsaw"), "--jobs", JOBS]);
    for tag in excluded.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        run.args(["-x", tag]);
    }
    let output = run.output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let last = text.lines().last().unwrap_or_default();
    let passed: usize = last.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
    assert!(passed >= 280, "only {passed} cases ran: {last}");
}
