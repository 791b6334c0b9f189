//! `stage NAME PASSES` runs a stage so often and prints its answer; `stage --list` tells what there is, as JSON.
//!
//! Owns: what runs under valgrind, for `check.py`. Single-threaded, so that two runs count the same instructions.

use std::hint::black_box;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--list"] => {
            let names: Vec<String> =
                benches::STAGES.iter().map(|stage| format!("\"{}\"", stage.name)).collect();
            println!(
                "{{\"lines\":{},\"tier\":\"{}\",\"stages\":[{}]}}",
                benches::LINES,
                benches::tier(),
                names.join(",")
            );
            ExitCode::SUCCESS
        }
        [name, passes] => run(name, passes),
        _ => fail("usage: stage NAME PASSES, or stage --list"),
    }
}

fn run(name: &str, passes: &str) -> ExitCode {
    let opener = || benches::openers().into_iter().find(|(known, _)| known == name).map(|(_, pass)| pass);
    let Some(mut pass) = benches::stage(name).map(|stage| (stage.make)()).or_else(opener) else {
        return fail(&format!("there is no stage `{name}`"));
    };
    let Ok(passes) = passes.parse::<u32>() else {
        return fail(&format!("`{passes}` is no number of passes"));
    };
    let mut answer = 0;
    for _ in 0..passes {
        answer = black_box(pass());
    }
    println!("{answer}");
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    eprintln!("stage: {message}");
    ExitCode::from(2)
}
