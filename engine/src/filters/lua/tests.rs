use super::super::Held;
use super::super::testing::{configure, refused, run, run_with, section, start};
use super::*;
use codecs::record::Timestamp;

/// A started filter whose function `f` has this body.
fn script(body: &str, options: &[(&str, &str)]) -> Arc<dyn Filter> {
    let mut lines = section("call f");
    let code = format!("count = 0 function f(tag, ts, r) {body} end");
    for (key, value) in [("code", code.as_str())].iter().chain(options) {
        let mut entry = lines.entries[0].clone();
        (entry.key, entry.value) = ((*key).to_owned(), (*value).to_owned());
        lines.entries.push(entry);
    }
    let mut diagnostics = Diagnostics::default();
    let (parsers, multiline, variables) = Default::default();
    let context = Context {
        name: "lua.0",
        parsers: &parsers,
        multiline: &multiline,
        variables: &variables,
        folder: None,
    };
    let filter = (PLUGIN.configure)(&lines, &context, &mut diagnostics);
    let filter = filter.unwrap_or_else(|| panic!("{body}: {:?}", diagnostics.list));
    start(&*filter).expect(body);
    filter
}

fn all(filter: &dyn Filter, input: &str) -> Vec<String> {
    run_with(filter, Some(input), &mut Timestamp::default(), &mut Held::default(), 0).0
}

#[test]
fn codes_say_what_becomes_of_a_record() {
    const RECORD: &str = r#"{"a":1,"s":"x"}"#;
    for (body, want) in [
        ("return 0, ts, {}", &[RECORD][..]),
        ("return -1, ts, r", &[]),
        ("r.n = tag return 1, ts, r", &[r#"{"a":1,"s":"x","n":"src.one"}"#]),
        ("r.a = nil return 2, ts, r", &[r#"{"s":"x"}"#]),
        ("return 2, ts, {{n=1},{},{n=3}}", &[r#"{"n":1}"#, "{}", r#"{"n":3}"#]),
        // One key each: a table has no order.
        ("return 2, ts, {w={x=1,5}}", &[r#"{"w":[5]}"#]),
        ("return 2, ts, {v={[1]=1,[3]=3}}", &[r#"{"v":[1,null,3]}"#]),
        ("r[1] = 'one' return 2, ts, r", &[r#"{"a":1,"s":"x","1":"one"}"#]),
        ("return '2', ts, {n=1}", &[r#"{"n":1}"#]),
        ("return 2, ts, {}", &["{}"]),
        // What failed leaves the record as it was.
        ("error('bad')", &[RECORD]),
        ("error({})", &[RECORD]),
        ("return 2, ts, 5", &[RECORD]),
        ("return 2, ts, {1, 2}", &[RECORD]),
        ("return 2, ts, {f=print}", &[RECORD]),
        ("local t = {} t.t = t return 2, ts, t", &[RECORD]),
        ("return 7, ts, {n=1}", &[RECORD]),
        ("return", &[RECORD]),
        ("r.a = 0/0 r.s = 2^53 return 2, ts, r", &[r#"{"a":"nan","s":9007199254740992}"#]),
    ] {
        assert_eq!(all(&*script(body, &[]), RECORD), want, "{body}");
    }
}

#[test]
fn globals_count_from_record_to_record() {
    let filter = script("count = count + 1 r.n = count return 2, ts, r", &[]);
    for n in 1..=3 {
        assert_eq!(all(&*filter, "{}"), [format!("{{\"n\":{n}}}")]);
    }
}

#[test]
fn times_come_and_go_as_numbers_or_tables() {
    let at = Timestamp { secs: 1_700_000_000, nanos: 500_000_000 };
    for (body, table, want) in [
        ("return 1, ts + 1.25, r", "false", (1_700_000_001, 750_000_000)),
        ("return 2, ts + 1.25, r", "false", (1_700_000_000, 500_000_000)),
        ("ts.sec = ts.sec - 1 ts.nsec = ts.nsec + 1 return 1, ts, r", "true", (1_699_999_999, 500_000_001)),
        ("return 1, 5, r", "true", (1_700_000_000, 500_000_000)),
        ("return 1, 'x', r", "false", (0, 0)),
    ] {
        let mut time = at;
        run(&*script(body, &[("time_as_table", table)]), "{}", &mut time);
        assert_eq!((time.secs, time.nanos), want, "{body}");
    }
}

#[test]
fn options_of_types() {
    let make = "return 2, ts, {n = 1.9, list = {}, map = {}, other = 1.9}";
    let options = [("type_int_key", "n"), ("type_array_key", "list")];
    let mut made = all(&*script(make, &options), r#"{"n":0,"list":0,"map":0,"other":0}"#);
    assert_eq!(made.remove(0), r#"{"n":1,"list":[],"map":{},"other":1.9}"#);
    let null = "r.was = r.a == flb_null r.b = flb_null return 2, ts, r";
    let made = all(&*script(null, &[("enable_flb_null", "true")]), r#"{"a":null,"was":0,"b":1}"#);
    assert_eq!(made, [r#"{"a":null,"was":true,"b":null}"#]);
    assert_eq!(all(&*script("return 2, ts, r", &[]), r#"{"a":null,"b":1}"#), [r#"{"b":1}"#]);
}

#[test]
fn all_libraries_are_there() {
    let body =
        "r.n = require('ffi').sizeof('int') + require('bit').bor(1, 2) + #arg_or_none() return 2, ts, r";
    let filter = script(&format!("function arg_or_none() return debug.getinfo(1,'S').what end {body}"), &[]);
    assert_eq!(all(&*filter, "{}"), [r#"{"n":10}"#]);
}

#[test]
fn five_arguments_get_empty_metadata() {
    let code = "function g(tag, ts, group, meta, r) r.k = next(group) == nil and next(meta) == nil return 1, ts, meta, r end";
    let lines = format!("call g\ncode {code}");
    let filter = configure(&PLUGIN, &lines);
    start(&*filter).expect("it starts");
    assert_eq!(all(&*filter, "{}"), [r#"{"k":true}"#]);
}

#[test]
fn what_cannot_work_is_refused_or_does_not_start() {
    for (lines, message) in [
        ("code x = 1", "`call` is missing"),
        ("call f", "neither `script` nor `code`"),
        ("call f\nscript /nowhere/s.lua", "cannot read the script `/nowhere/s.lua`"),
        ("call f\ncode function (", "`code`"),
    ] {
        refused(&PLUGIN, lines, message);
    }
    for (lines, message) in
        [("call f\ncode x = 1", "function f is not found"), ("call f\ncode error('at load')", "at load")]
    {
        let error = start(&*configure(&PLUGIN, lines)).expect_err(lines);
        assert!(error.contains(message), "{error}");
    }
}
