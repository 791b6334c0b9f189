//! Sections against texts; what is expected was recorded from Fluent Bit.

use super::*;
use crate::conf::{Entry, Span};
use crate::json::{Escape, write_fields};

fn section(entries: &[(&str, &str)]) -> Section {
    let span = Span::new(&"parsers.conf".into(), 1, 1);
    let mut section = Section::new("parser", span.clone());
    for (key, value) in entries {
        section.entries.push(Entry {
            key: (*key).into(),
            value: (*value).into(),
            key_span: span.clone(),
            value_span: span.clone(),
        });
    }
    section
}

fn parser(entries: &[(&str, &str)]) -> Parser {
    let mut diagnostics = Diagnostics::default();
    let mut all = vec![("Name", "p")];
    all.extend(entries);
    Parser::configure(&section(&all), &mut diagnostics).unwrap_or_else(|| panic!("{:?}", diagnostics.list))
}

/// Time (`-` for none) and fields as JSON, or `no`.
fn run(parser: &Parser, text: &[u8]) -> String {
    let (arena, mut scratch) = (Bump::new(), Scratch::default());
    let mut fields = Fields::new_in(&arena);
    let now = Timestamp { secs: 1_706_970_625, nanos: 0 };
    match parser.parse(text, now, &arena, &mut scratch, &mut fields) {
        Parsed::No => {
            assert!(fields.is_empty());
            "no".into()
        }
        Parsed::Yes { time } => {
            let mut out = time.map_or("-".to_owned(), |t| format!("{}.{:09}", t.secs, t.nanos)).into_bytes();
            out.push(b' ');
            write_fields(&mut out, &fields, Escape::Ascii);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

/// Each text, and each of its beginnings without a panic.
fn check(entries: &[(&str, &str)], cases: &[(&str, &str)]) {
    let parser = parser(entries);
    for (text, expected) in cases {
        assert_eq!(run(&parser, text.as_bytes()), *expected, "{text}");
        for cut in 0..text.len() {
            run(&parser, &text.as_bytes()[..cut]);
        }
    }
}

#[test]
fn json_times_and_kept_fields() {
    check(
        &[
            ("Format", "json"),
            ("Time_Key", "time"),
            ("Time_Format", "%Y-%m-%dT%H:%M:%S.%L"),
            ("Time_Keep", "On"),
        ],
        &[
            (
                r#"{"log":"a\n","time":"2024-02-03T14:30:25.123456Z"}"#,
                r#"1706970625.123456000 {"log":"a\n","time":"2024-02-03T14:30:25.123456Z"}"#,
            ),
            (r#"{"log":"bad","time":"yesterday"}"#, r#"- {"log":"bad","time":"yesterday"}"#),
            (r#"{"time":5}"#, r#"- {"time":5}"#),
            ("not json", "no"),
            ("[1]", "no"),
        ],
    );
    check(
        &[("Format", "json"), ("Time_Key", "ts"), ("Time_Format", "%s")],
        &[
            (r#"{"ts":"1700000000","m":1}"#, r#"1700000000.000000000 {"m":1}"#),
            (r#"{"ts":"x","m":1}"#, r#"- {"ts":"x","m":1}"#),
        ],
    );
}

#[test]
fn regex_fields_types_and_times() {
    check(
        &[
            ("Format", "regex"),
            ("Regex", r"^(?<i>\S+) (?<f>\S+) (?<b>\S+) (?<h>\S+) (?<s>\S+)$"),
            ("Types", "i:integer f:float b:bool h:hex s:string"),
        ],
        &[
            ("42 2.5 true ff 007", r#"- {"i":42,"f":2.5,"b":true,"h":255,"s":"007"}"#),
            ("-7 1e3 false 1A 1", r#"- {"i":-7,"f":1000.0,"b":false,"h":26,"s":"1"}"#),
            ("abc xyz yes zz q", r#"- {"i":0,"f":0.0,"b":"yes","h":0,"s":"q"}"#),
            ("12x 3.4.5 TRUE 0x10 z", r#"- {"i":12,"f":3.4,"b":true,"h":16,"s":"z"}"#),
        ],
    );
    check(
        &[
            ("Format", "regex"),
            ("Regex", r"^\[(?<timestamp>[^\]]*)\] (?<level>\w+) (?<logger>[^ ]*) - (?<message>.*)$"),
            ("Time_Key", "timestamp"),
            ("Time_Format", "%Y-%m-%d %H:%M:%S,%f"),
        ],
        &[
            (
                "[2024-02-03 14:30:25,123] ERROR com.example.Main - something broke: code=5",
                r#"1706970625.123000000 {"level":"ERROR","logger":"com.example.Main","message":"something broke: code=5"}"#,
            ),
            ("[today] ERROR a - ", r#"- {"level":"ERROR","logger":"a"}"#),
            ("[2024-02-03 14:30:26,000] INFO  two.spaces - no match", "no"),
        ],
    );
    check(
        &[("Format", "regex"), ("Regex", r"^(?<a>x)?(?<b>y*)"), ("Skip_Empty_Values", "off")],
        &[("y", r#"- {"a":"","b":"y"}"#), ("", r#"- {"a":"","b":""}"#)],
    );
    check(&[("Format", "regex"), ("Regex", r"^(?<a>x)?")], &[("y", "no"), ("x", r#"- {"a":"x"}"#)]);
}

#[test]
fn ltsv() {
    check(
        &[
            ("Format", "ltsv"),
            ("Time_Key", "time"),
            ("Time_Format", "[%d/%b/%Y:%H:%M:%S %z]"),
            ("Types", "status:integer size:integer"),
        ],
        &[
            (
                "host:127.0.0.1\tident:-\ttime:[10/Oct/2000:13:55:36 -0700]\treq:GET /a HTTP/1.0\tstatus:200\tsize:777",
                r#"971211336.000000000 {"host":"127.0.0.1","ident":"-","req":"GET /a HTTP/1.0","status":200,"size":777}"#,
            ),
            ("a:1\tb:x:y\tc:", r#"- {"a":"1","b":"x:y","c":""}"#),
            ("no separators at all", "no"),
            ("time:[10/Oct/2000:13:55:36 -0700]", "no"),
            ("a:1\ttime:never", "no"),
        ],
    );
}

#[test]
fn logfmt() {
    check(
        &[("Format", "logfmt")],
        &[
            (
                r#"level=info msg="hello world" n=5 ok"#,
                r#"- {"level":"info","msg":"hello world","n":"5","ok":true}"#,
            ),
            (r#"a="x \"quoted\" y" b= c="""#, r#"- {"a":"x \"quoted\" y","b":true,"c":""}"#),
            (
                r#"unquoted=with=equals and "loose"#,
                r#"- {"unquoted":"with","equals":true,"and":true,"loose":true}"#,
            ),
            (r#"a="open \"#, r#"- {"a":"open \\"}"#),
            ("", "no"),
        ],
    );
    check(
        &[
            ("Format", "logfmt"),
            ("Time_Key", "ts"),
            ("Time_Format", "%Y-%m-%dT%H:%M:%SZ"),
            ("Types", "dur:float n:integer"),
        ],
        &[(
            "ts=2024-01-02T03:04:05Z dur=0.25 n=12 msg=x",
            r#"1704164645.000000000 {"dur":0.25,"n":12,"msg":"x"}"#,
        )],
    );
    check(
        &[("Format", "logfmt"), ("Logfmt_No_Bare_Keys", "on")],
        &[("a=1 b", "no"), ("a=1 b=", r#"- {"a":"1","b":true}"#)],
    );
}

#[test]
fn decoders() {
    check(
        &[("Format", "json"), ("Decode_Field", "json log")],
        &[
            (
                r#"{"log":"{\"a\":1,\"b\":{\"c\":2}}","s":"x"}"#,
                r#"- {"log":"{\"a\":1,\"b\":{\"c\":2}}","s":"x","a":1,"b":{"c":2}}"#,
            ),
            (r#"{"log":"plain text","s":"x"}"#, r#"- {"log":"plain text","s":"x"}"#),
        ],
    );
    check(
        &[("Format", "json"), ("Decode_Field_As", "json log")],
        &[
            (r#"{"log":"{\"a\":1}","s":"x"}"#, r#"- {"log":{"a":1},"s":"x"}"#),
            (r#"{"log":"[1,2]","s":"x"}"#, r#"- {"log":"[1,2]","s":"x"}"#),
        ],
    );
    check(
        &[
            ("Format", "json"),
            ("Decode_Field_As", "escaped_utf8 log do_next"),
            ("Decode_Field_As", "json log"),
        ],
        &[
            (r#"{"log":"line\\n\\u00e9","s":1}"#, r#"- {"log":"line\n\u00e9","s":1}"#),
            (r#"{"log":"{\"k\":\"v\"}","s":2}"#, r#"- {"log":{"k":"v"},"s":2}"#),
        ],
    );
}

#[test]
fn what_is_wrong_is_told() {
    for (entries, message) in [
        (vec![("Format", "json")], "`name` is missing"),
        (vec![("Name", "p")], "`format` is missing"),
        (vec![("Name", "p"), ("Format", "xml")], "`format` is `xml`"),
        (vec![("Name", "p"), ("Format", "regex")], "`regex` is missing"),
        (vec![("Name", "p"), ("Format", "regex"), ("Regex", "(?<a>")], "is not a pattern"),
        (vec![("Name", "p"), ("Format", "json"), ("Time_Fromat", "%s")], "unknown option `Time_Fromat`"),
        (vec![("Name", "p"), ("Format", "json"), ("Decode_Field", "xml a")], "`decode_field` is `xml a`"),
        (
            vec![("Name", "p"), ("Format", "json"), ("Time_Format", "%s"), ("Time_Offset", "1h")],
            "`time_offset` is `1h`",
        ),
        (vec![("Name", "p"), ("Format", "json"), ("Time_Zone", "UTC")], "needs a `time_format`"),
        (
            vec![("Name", "p"), ("Format", "json"), ("Time_Format", "%d"), ("Time_Zone", "Moon/Base")],
            "`Moon/Base`",
        ),
    ] {
        let mut diagnostics = Diagnostics::default();
        Parser::configure(&section(&entries), &mut diagnostics);
        assert!(diagnostics.has_errors(), "{entries:?}");
        assert!(
            diagnostics.list.iter().any(|d| d.message.contains(message)),
            "{message}: {:?}",
            diagnostics.list
        );
    }
}
