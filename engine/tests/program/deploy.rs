//! `deploy/`: manifests, chart, alerts, dashboard, unit and seccomp profile, tried by `deploy/tests/check.py`. It needs Python
//! and, the first time, registries; `RIPSAW_REQUIRE_DEPLOY=1` makes their absence a failure.

use std::path::Path;
use std::process::Command;

#[test]
fn what_is_deployed_is_valid_and_runs() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("deploy-check");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/tests/check.py");
    let run = Command::new("python3").arg(script).arg(env!("CARGO_BIN_EXE_ripsaw")).arg(&folder).output();
    let (code, told) = match run {
        Ok(output) => {
            println!("{}", String::from_utf8_lossy(&output.stdout));
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        }
        Err(error) => (Some(77), format!("SKIPPED: no python3: {error}")),
    };
    let required = std::env::var_os("RIPSAW_REQUIRE_DEPLOY").is_some_and(|value| value == "1");
    if code == Some(77) && !required {
        println!("{told}");
        return;
    }
    assert_eq!(code, Some(0), "{told}");
    println!("{told}");
}
