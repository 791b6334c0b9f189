//! The stages of a record's way, each on its own input, for criterion, iai-callgrind and `check.py`.
//!
//! Owns: inputs and stages, one file a stage. Never: does I/O, reads a clock, starts a thread.
//! Invariant: a stage makes the same input on every machine, and every pass over it gives the same answer; the tests
//! say which answer is right, so that nothing wrong is ever measured.

mod cri;
#[cfg(feature = "outputs")]
mod encode;
mod grep;
mod input;
mod json;
#[cfg(feature = "engine")]
mod kubernetes;
mod multiline;
#[cfg(feature = "outputs")]
mod pack;
mod regex;
mod split;
mod time;
mod write;

/// Lines, or what came of them, that one pass of any stage goes over.
pub const LINES: u64 = 1000;

/// A stage with its input made: each call is one pass, and gives the answer.
pub type Run = Box<dyn FnMut() -> u64>;

/// A stage that can be measured.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// Name, as in `stage json_plain 10`.
    pub name: &'static str,
    /// Makes the input.
    pub make: fn() -> Run,
}

/// All stages, in the order of a record's way.
pub const STAGES: &[Stage] = &[
    Stage { name: "split", make: split::lines },
    Stage { name: "cri_whole", make: cri::whole },
    Stage { name: "cri_parts", make: cri::parts },
    Stage { name: "docker", make: cri::docker },
    Stage { name: "multiline_records", make: multiline::records },
    Stage { name: "json_plain", make: json::plain },
    Stage { name: "json_spaced", make: json::spaced },
    Stage { name: "json_escaped", make: json::escaped },
    Stage { name: "json_opened_small", make: json::opened_small },
    Stage { name: "json_opened_large", make: json::opened_large },
    Stage { name: "regex_nginx", make: regex::nginx },
    Stage { name: "regex_apache2", make: regex::apache2 },
    Stage { name: "regex_myapp", make: regex::myapp },
    Stage { name: "time_iso", make: time::iso },
    Stage { name: "time_clf", make: time::clf },
    Stage { name: "grep_literal", make: grep::literal },
    Stage { name: "grep_class", make: grep::class },
    #[cfg(feature = "engine")]
    Stage { name: "kubernetes", make: kubernetes::merged },
    Stage { name: "write_plain", make: write::plain },
    Stage { name: "write_escaped", make: write::escaped },
    #[cfg(feature = "outputs")]
    Stage { name: "encode_file", make: encode::file },
    #[cfg(feature = "outputs")]
    Stage { name: "encode_cloudwatch", make: encode::cloudwatch },
    #[cfg(feature = "outputs")]
    Stage { name: "pack_cloudwatch", make: pack::cloudwatch },
];

pub use json::openers;

/// The stage of this name.
pub fn stage(name: &str) -> Option<Stage> {
    STAGES.iter().find(|stage| stage.name == name).copied()
}

/// The SIMD tier that the stages run on, as counts of one tier say nothing about another.
pub fn tier() -> &'static str {
    codecs::simd::Tier::best().name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_gives_the_same_answer() {
        for stage in STAGES {
            let (mut once, mut again) = ((stage.make)(), (stage.make)());
            let answer = once();
            assert!(answer > 0, "{}", stage.name);
            for pass in 1..4 {
                assert_eq!(once(), answer, "{} pass {pass}", stage.name);
            }
            assert_eq!(again(), answer, "{} made anew", stage.name);
        }
    }

    #[test]
    fn names_are_distinct_and_callgrind_runs_them_all() {
        let source = include_str!("../benches/callgrind.rs");
        for (n, stage) in STAGES.iter().enumerate() {
            assert!(
                STAGES[n + 1..].iter().all(|later| later.name != stage.name),
                "{} stands twice",
                stage.name
            );
            assert!(
                source.contains(&format!("\"{}\"", stage.name)),
                "benches/callgrind.rs lacks {}",
                stage.name
            );
        }
    }
}
