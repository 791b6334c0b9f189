//! The parsers that need no definition: `docker`, `cri`, `java`, `python`, `go`, `ruby`.
//!
//! Owns: their rules, which are those of Fluent Bit 5.1 (and of fluent-plugin-detect-exceptions before it).

use super::rules::Source;
use super::{Format, Kind, Multiline};

/// Their names, in Fluent Bit's order.
pub const BUILTINS: &[&str] = &["docker", "cri", "java", "go", "ruby", "python"];

/// State, expression, next state.
type RuleText = (&'static str, &'static str, &'static str);

const JAVA: &[RuleText] = &[
    (
        "start_state, java_start_exception",
        r"/(.)(?:Exception|Error|Throwable|V8 errors stack trace)[:\r\n]/",
        "java_after_exception",
    ),
    ("java_after_exception", r"/^[\t ]*nested exception is:[\t ]*/", "java_start_exception"),
    ("java_after_exception", r"/^[\r\n]*$/", "java_after_exception"),
    ("java_after_exception, java", r"/^[\t ]+(?:eval )?at /", "java"),
    ("java_after_exception, java", r"/^[\t ]+--- End of inner exception stack trace ---$/", "java"),
    (
        "java_after_exception, java",
        r"/^--- End of stack trace from previous location where exception was thrown ---$/",
        "java",
    ),
    ("java_after_exception, java", r"/^[\t ]*(?:Caused by|Suppressed):/", "java_after_exception"),
    ("java_after_exception, java", r"/^[\t ]*... \d+ (?:more|common frames omitted)/", "java"),
];

const PYTHON: &[RuleText] = &[
    ("start_state", r"/^Traceback \(most recent call last\):$/", "python"),
    ("python", r"/^[\t ]+File /", "python_code"),
    ("python_code", r"/[^\t ]/", "python"),
    ("python", r"/^(?:[^\s.():]+\.)*[^\s.():]+:/", "start_state"),
];

const GO: &[RuleText] = &[
    ("start_state", r"/\bpanic: /", "go_after_panic"),
    ("start_state", r"/http: panic serving/", "go_goroutine"),
    ("go_after_panic", r"/^$/", "go_goroutine"),
    ("go_after_panic, go_after_signal, go_frame_1", r"/^$/", "go_goroutine"),
    ("go_after_panic", r"/^\[signal /", "go_after_signal"),
    ("go_goroutine", r"/^goroutine \d+ \[[^\]]+\]:$/", "go_frame_1"),
    ("go_frame_1", r"/^(?:[^\s.:]+\.)*[^\s.():]+\(|^created by /", "go_frame_2"),
    ("go_frame_2", r"/^\s/", "go_frame_1"),
];

const RUBY: &[RuleText] = &[
    ("start_state, ruby_start_exception", r"/^.+:\d+:in\s+.*/", "ruby_after_exception"),
    ("ruby_after_exception, ruby", r"/^\s+from\s+.*:\d+:in\s+.*/", "ruby"),
];

impl Multiline {
    /// The built-in parser of this name (in any case), if there is one.
    pub fn builtin(name: &str) -> Option<Multiline> {
        let name = BUILTINS.iter().find(|b| b.eq_ignore_ascii_case(name))?;
        match *name {
            "docker" => {
                let kind = Kind::EndsWith { text: b"\n".as_slice().into(), negate: false };
                Some(Multiline {
                    key_content: Some(b"log".as_slice().into()),
                    key_group: Some(b"stream".as_slice().into()),
                    ..Multiline::new(name, Format::Docker, kind)
                })
            }
            "cri" => {
                let kind = Kind::Equal { text: b"F".as_slice().into(), negate: false };
                Some(Multiline {
                    key_content: Some(b"log".as_slice().into()),
                    key_group: Some(b"stream".as_slice().into()),
                    key_pattern: Some(b"_p".as_slice().into()),
                    ..Multiline::new(name, Format::Cri, kind)
                })
            }
            "java" => with_rules(name, JAVA),
            "python" => with_rules(name, PYTHON),
            "go" => with_rules(name, GO),
            _ => with_rules(name, RUBY),
        }
    }
}

fn with_rules(name: &str, texts: &[RuleText]) -> Option<Multiline> {
    let sources: Vec<Source> =
        texts.iter().map(|(from, pattern, to)| Source::new(from, pattern, Some(to))).collect();
    let rules = super::rules::Rules::new(&sources).ok()?;
    Some(Multiline::new(name, Format::Text, Kind::Rules(Box::new(rules))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_compiles() {
        for name in BUILTINS {
            assert!(Multiline::builtin(name).is_some(), "{name}");
            assert!(Multiline::builtin(&name.to_uppercase()).is_some(), "{name}");
        }
        assert!(Multiline::builtin("perl").is_none());
    }
}
