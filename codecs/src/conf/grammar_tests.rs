//! Both grammars: what they read, what they refuse and where they say so; nothing makes them panic.

use proptest::prelude::*;

use super::source::Memory;
use super::{Diagnostics, Document, Section, read};

fn load(files: &[(&str, &str)]) -> (Document, Vec<String>) {
    load_from(files[0].0, &Memory::with(files))
}

fn load_from(path: &str, source: &Memory) -> (Document, Vec<String>) {
    let mut diagnostics = Diagnostics::default();
    let document = read(path, source, &mut diagnostics);
    (document, diagnostics.list.iter().map(ToString::to_string).collect())
}

/// `input{name=dummy tag=a} …`, for short assertions.
fn shape(sections: &[Section]) -> String {
    let one = |s: &Section| {
        let mut parts: Vec<String> =
            s.entries.iter().map(|e| format!("{}={}", e.key.to_ascii_lowercase(), e.value)).collect();
        if !s.children.is_empty() {
            parts.push(shape(&s.children));
        }
        format!("{}{{{}}}", s.name, parts.join(" "))
    };
    sections.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn all_documents_of_a_yaml_file_count_and_repeated_keys_are_told() {
    let text = "env:\n  a: 1\n  a: 2\npipeline:\n  inputs:\n    - name: dummy\n---\n---\npipeline:\n  inputs:\n    - name: head\npipeline:\n  \
                outputs:\n    - name: stdout\n";
    let (document, told) = load(&[("x.yaml", text)]);
    assert_eq!(shape(&document.sections), "input{name=dummy} input{name=head} output{name=stdout}");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("x.yaml:3:3: warning: `a` is set again: this one counts"), "{told:?}");
    assert!(told[1].contains("warning: `pipeline` is there again"), "{told:?}");
}

#[test]
fn classic_text_becomes_sections() {
    for (text, want) in [
        (
            "[service]\n    FLUSH 0.2\n[Input]\n    dUmMy {\"A\":1}\n",
            "service{flush=0.2} input{dummy={\"A\":1}}",
        ),
        ("# top\n[INPUT]\n  # in\n  a  b # c  \n\n      \n  # deeper\n#col\n  d e", "input{a=b # c d=e}"),
        (
            "[INPUT]\r\n\tName  dummy\r\n\tDummy {\"tab\":  \"kept  inside\"}\r\n",
            "input{name=dummy dummy={\"tab\":  \"kept  inside\"}}",
        ),
        (
            "[FILTER]\n    Record one 1\n    Record two \"2 3\"\n    Record one 1",
            "filter{record=one 1 record=two \"2 3\" record=one 1}",
        ),
        ("@SET g=hello there\n[INPUT]\n    a ${g} ${n}\n@set n=7", "input{a=hello there 7}"),
        ("[ENV]\n    x 1\n[INPUT]\n    a ${x}", "input{a=1}"),
        (
            "[MULTILINE_PARSER]\n    rule \"a\" \"/${x}/\" \"b\"",
            "multiline_parser{rule=\"a\" \"/${x}/\" \"b\"}",
        ),
        ("[INPUT]\n    a b\n        c d\n    e f", "input{a=b c=d e=f}"),
        ("[INPUT]\n    a b\n    [G]\n        c d\n    e f", "input{a=b e=f g{c=d}}"),
        ("[INPUTS]\n  a b\n[OUTPUT] trailing\n  c d", "input{a=b} output{c=d}"),
        ("[SERVICE]\n[INPUT]\n", "service{} input{}"),
        ("\u{feff}[INPUT]\n a b", "input{a=b}"),
        ("", ""),
    ] {
        let (document, found) = load(&[("case.conf", text)]);
        assert_eq!(shape(&document.sections), want, "{text:?}");
        assert!(found.is_empty(), "{text:?}: {found:?}");
    }
}

#[test]
fn classic_mistakes_are_all_found_with_their_place() {
    for (text, want) in [
        (
            "[SERVICE]\n    Flush 1\n  Grace 1\n    X",
            &["case.conf:3:3: error: invalid indent", "case.conf:4:5: error: undefined value for `X`"][..],
        ),
        ("[SERVICE]\n    Flush 1\n      Grace 1", &["case.conf:3:7: error: invalid indentation"]),
        (
            "[SERVICE]\n    Flush 1\n\tGrace 1",
            &[
                "case.conf:3:2: error: invalid indentation level\n   = rule: all entries of a file have the same indentation; this one mixes",
            ],
        ),
        ("[SERVICE]\nFlush 1", &["case.conf:2:1: error: invalid indentation"]),
        (
            "    Flush 1\n[INPUT]\n    Name x",
            &["case.conf:1:5: error: key `Flush` stands before any section"],
        ),
        ("[SERVICE]\n    Flush\t0.2", &["case.conf:2:5: error: undefined value"]),
        ("[SERVICE]\n    Flush ", &["case.conf:2:5: error: key `Flush` has an empty value"]),
        (
            "\n[INPT]\n    Name x\n[BOGUS]\n    a b",
            &[
                "case.conf:2:1: error: unknown section `[INPT]`\n   = did you mean `[INPUT]`?",
                "case.conf:4:1: error: unknown section `[BOGUS]`",
            ],
        ),
        (
            "[SERVICE\n    a b\n[]",
            &["case.conf:1:1: error: bad section header", "case.conf:3:1: error: bad section header"],
        ),
        (
            "@INCLUDE nothere.conf\n@INCLUDE no-*.conf\n@INCLUED x\n@SET x",
            &[
                "case.conf:1:1: error: cannot open `nothere.conf`: no such file",
                "case.conf:2:1: error: include: no such file",
                "case.conf:3:1: error: unknown command `@INCLUED`\n   = did you mean `@INCLUDE`?",
                "case.conf:4:1: error: `@SET x` is not name=value",
            ],
        ),
        ("[SERVICE]\n    @Include x.conf", &["case.conf:2:5: error: `@INCLUDE` inside a section"]),
        ("@INCLUDE case.conf", &["case.conf:1:1: error: `case.conf` is already included"]),
        ("[INPUT]\n    a é ${NOPE}", &["case.conf:2:7: warning: variable `${NOPE}` is used but not set"]),
    ] {
        let (_, found) = load(&[("case.conf", text)]);
        assert_eq!(found.len(), want.len(), "{text:?}: {found:?}");
        for (found, want) in found.iter().zip(want) {
            assert!(found.starts_with(want), "{text:?}: {found}");
        }
    }
    let (_, found) = load_from("nothere.conf", &Memory::default());
    assert_eq!(found, ["nothere.conf: error: cannot open `nothere.conf`: no such file or directory"]);
}

#[test]
fn includes_are_found_beside_the_main_file() {
    let (document, found) = load(&[
        ("etc/case.conf", "[INPUT]\n  a 1\n@INCLUDE inc/one.conf\n  b 2\n@INCLUDE part-*.conf"),
        ("etc/inc/one.conf", "@INCLUDE two.conf\n[FILTER]\n\tx y"),
        ("etc/two.conf", "[SERVICE]\n  flush 1"),
        ("etc/inc/two.conf", "[OUTPUT]\n  never read"),
        ("etc/part-2.conf", "[OUTPUT]\n  n 2"),
        ("etc/part-1.conf", "[OUTPUT]\n  n 1"),
    ]);
    assert_eq!(
        shape(&document.sections),
        "input{a=1 b=2} service{flush=1} filter{x=y} output{n=1} output{n=2}"
    );
    assert!(found.is_empty(), "{found:?}");
    let span = &document.sections[2].span;
    assert_eq!((&*span.file, span.line), ("etc/inc/one.conf", 2));
    // An included file does not look beside itself.
    let (_, found) = load(&[
        ("case.conf", "@INCLUDE inc/one.conf"),
        ("inc/one.conf", "@INCLUDE two.conf"),
        ("inc/two.conf", ""),
    ]);
    assert_eq!(found, ["inc/one.conf:1:1: error: cannot open `two.conf`: no such file or directory"]);
}

#[test]
fn yaml_text_becomes_the_same_sections() {
    for (text, want) in [
        (
            "service:\n  flush: 0.2\n  logLevel: info\npipeline:\n  inputs:\n    - name: dummy\n      dummy: '{\"a\":1}'\n      tag: t\n  outputs:\n    - {name: stdout, match: '*'}\n",
            "service{flush=0.2 log_level=info} input{name=dummy dummy={\"a\":1} tag=t} output{name=stdout match=*}",
        ),
        (
            "pipeline:\n  filters:\n    - name: record_modifier\n      record:\n        - cluster demo\n        - region eu\n",
            "filter{name=record_modifier record=cluster demo record=region eu}",
        ),
        ("env:\n  who: world\n  n: 7\nservice:\n  x: ${who}-${n}\n", "service{x=world-7}"),
        ("service:\n  x: ${who}\nenv:\n  - name: who\n    value: world\n", "service{x=world}"),
        (
            "parsers:\n  - name: kv\n    timeKey: t\n    Time_Keep: on\nmultiline_parsers:\n  - name: ind\n    rules:\n      - state: start_state\n        regex: '/^\\S\"x/'\n        next_state: cont\n",
            "parser{name=kv time_key=t time_keep=on} multiline_parser{name=ind rule=\"start_state\" \"/^\\S\\\"x/\" \"cont\"}",
        ),
        (
            "pipeline:\n  inputs:\n    - name: d\n      processors:\n        logs:\n          - name: content_modifier\n            action: insert\n            condition:\n              op: and\n              rules:\n                - field: $a\n                  value: [x, y]\n                - field: $b\n",
            "input{name=d processor.logs{name=content_modifier action=insert condition{op=and rules{field=$a value=x value=y} rules{field=$b}}}}",
        ),
        (
            "upstream_servers:\n  - name: u\n    nodes:\n      - name: n1\n        port: 1\n      - name: n2\n",
            "upstream{name=u node{name=n1 port=1} node{name=n2}}",
        ),
        ("plugins:\n  - /a.so\n  - /b.so\n", "plugins{path=/a.so path=/b.so}"),
        ("a: &x {k: v}\n", ""),
        ("service:\npipeline:\n  inputs: []\n", "service{}"),
        (
            "pipeline:\n  inputs:\n    - &d\n      name: dummy\n    - *d\n",
            "input{name=dummy} input{name=dummy}",
        ),
        ("", ""),
        ("# only a comment\n", ""),
    ] {
        let (document, found) = load(&[("case.yaml", text)]);
        assert_eq!(shape(&document.sections), want, "{text}");
        assert_eq!(found.is_empty(), !text.starts_with("a:"), "{text}: {found:?}");
    }
}

#[test]
fn yaml_mistakes_are_found_with_their_place() {
    for (text, want) in [
        (
            "service:\n  flush: 1\nbogus:\n  a: 1\npipelin: 1\n",
            &[
                "case.yaml:3:1: error: unknown section `bogus`",
                "case.yaml:5:1: error: unknown section `pipelin`\n   = did you mean `pipeline`?",
            ][..],
        ),
        (
            "pipeline:\n  input:\n    - name: x\n",
            &["case.yaml:2:3: error: pipeline: unknown list `input`\n   = did you mean `inputs`?"],
        ),
        ("service:\n  flush: 1\n pipeline:\n   inputs: []\n", &["case.yaml:3:"]),
        ("service: {}\nservice: {}\n", &["case.yaml:2:1: error: `service` is defined twice"]),
        (
            "includes:\n  - nothere.yaml\n",
            &["case.yaml:2:5: error: cannot open `nothere.yaml`: no such file"],
        ),
        ("pipeline:\n  inputs:\n    name: x\n", &["case.yaml:3:5: error: `inputs` is not a list"]),
        ("- a\n", &["case.yaml:1:1: error: `the file` is not a map"]),
        (
            "multiline_parsers:\n  - rules:\n      - state: a\n        nxt: b\n",
            &["case.yaml:4:9: error: unknown key `nxt` in a rule", "case.yaml:3:9: error: a rule needs"],
        ),
    ] {
        let (_, found) = load(&[("case.yaml", text)]);
        assert_eq!(found.len(), want.len(), "{text:?}: {found:?}");
        for (found, want) in found.iter().zip(want) {
            assert!(found.starts_with(want), "{text:?}: {found}");
        }
    }
}

#[test]
fn yaml_includes_stand_beside_the_including_file() {
    let (document, found) = load(&[
        (
            "etc/case.yaml",
            "includes:\n  - inc/svc.yaml\n  - inc/p-*.yaml\npipeline:\n  outputs:\n    - name: o\n",
        ),
        ("etc/inc/svc.yaml", "includes: [more.yaml]\nservice:\n  flush: ${f}\n"),
        ("etc/inc/more.yaml", "env: {f: 3}\n"),
        ("etc/inc/p-1.yaml", "pipeline:\n  inputs:\n    - name: i\n"),
    ]);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(shape(&document.sections), "service{flush=3} input{name=i} output{name=o}");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    let (_, found) = load(&[("case.yaml", &text)]);
    assert!(found.iter().any(|m| m.contains("more than")), "{found:?}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\[[A-Z]{0,6}\\]?|@[A-Z]{0,7} | |\t|\n|\r|[a-z]{1,4}|\\$\\{|\\}|:|-|'|\"|#|&a|\\*a|é|\\PC){0,60}") {
        for name in ["case.conf", "case.yaml"] {
            let _ = load(&[(name, &text)]);
        }
    }

    #[test]
    fn rendered_sections_read_back(
        sections in prop::collection::vec(
            (prop::sample::select(&["service", "input", "filter", "output", "parser"][..]),
             prop::collection::vec(("[a-zA-Z][a-zA-Z0-9_.-]{0,10}", "[!-#%-~]([ -#%-~]{0,20}[!-#%-~])?"), 0..5)),
            0..5),
        indent in prop::sample::select(&[" ", "    ", "\t"][..]),
        end in prop::sample::select(&["\n", "\r\n"][..]),
    ) {
        let mut text = String::new();
        for (name, entries) in &sections {
            text.push_str(&format!("[{}]{end}", name.to_ascii_uppercase()));
            for (key, value) in entries {
                text.push_str(&format!("{indent}{key} {value}{end}"));
            }
        }
        let (document, found) = load(&[("case.conf", &text)]);
        prop_assert!(found.is_empty(), "{:?}", found);
        let got: Vec<_> = document.sections.iter()
            .map(|s| (s.name.as_str(), s.entries.iter().map(|e| (e.key.clone(), e.value.clone())).collect::<Vec<_>>()))
            .collect();
        prop_assert_eq!(got, sections);
    }
}
