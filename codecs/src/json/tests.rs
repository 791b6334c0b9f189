//! The scanner against `serde_json` and against the recorded behaviour of Fluent Bit, on every tier.

use super::*;
use crate::record::{Fields, Value};
use bumpalo::Bump;
use proptest::prelude::*;

fn print(text: &[u8], tier: Tier) -> Option<String> {
    let arena = Bump::new();
    let mut fields = Fields::new_in(&arena);
    let mut scratch = Scratch { tier, ..Scratch::default() };
    parse_object(text, &arena, &mut scratch, &mut fields).ok()?;
    let mut out = Vec::new();
    write_fields(&mut out, &fields, Escape::Ascii);
    Some(String::from_utf8(out).expect("ASCII JSON"))
}

#[test]
fn prints_what_fluent_bit_prints() {
    let cases: &[(&[u8], Option<&str>)] = &[
        (br#"{"a":1,"b":2,"a":3}"#, Some(r#"{"b":2,"a":3}"#)),
        (br#"{"n":{"a":1,"a":2},"x":[1,{"q":1,"q":2}]}"#, Some(r#"{"n":{"a":2},"x":[1,{"q":2}]}"#)),
        (b"{\"t\":\"raw\ttab\"}", Some(r#"{"t":"raw\ttab"}"#)),
        (b"{\"u\":\"bad \xff\xfe end\"}", Some(r#"{"u":"bad \ufffd\ufffd end"}"#)),
        (br#"{"s":"lone \ud800 x"}"#, Some(r#"{"s":"lone \ufffd x"}"#)),
        (br#"{"a":1} trailing"#, Some(r#"{"a":1}"#)),
        (br#"{"a":1}}"#, Some(r#"{"a":1}"#)),
        (br#"{"a":1} null"#, None),
        (br#"{"a":1} 5"#, None),
        (br#"{"a":1} {"b":2}"#, None),
        (br#"  {"a":1}  "#, Some(r#"{"a":1}"#)),
        (b"[1,2]", None),
        (b"{}", Some("{}")),
        (br#"{"":1}"#, Some(r#"{"":1}"#)),
        (br#"{"a":1,}"#, None),
        (br#"{"a":01}"#, None),
        (br#"{"a":+1}"#, None),
        (br#"{"a":NaN}"#, None),
        (br#"{"a":tru}"#, None),
        (b"{'a':1}", None),
        (b"{\"d\":\"\x7f del\"}", Some(r#"{"d":"\u007f del"}"#)),
        (br#"{"a":"\/ slash \u002f \u00e9 \u0041"}"#, Some(r#"{"a":"/ slash / \u00e9 A"}"#)),
        (br#"{"a": [ ] , "b" : { } , "c":[ 1 , 2 ]}"#, Some(r#"{"a":[],"b":{},"c":[1,2]}"#)),
        (br#"{"a":"x\q"}"#, None),
        (br#"{"k\n":1}"#, Some(r#"{"k\n":1}"#)),
        (br#"{"a":"\u0000nul"}"#, Some(r#"{"a":"\u0000nul"}"#)),
        ("{\"a\":\"é😀\"}".as_bytes(), Some(r#"{"a":"\u00e9\ud83d\ude00"}"#)),
        (
            br#"{"a":123456789012345678901,"f":1.50,"z":-0}"#,
            Some(r#"{"a":123456789012345678901,"f":1.50,"z":-0}"#),
        ),
        (
            br#"{"n":{"k" : "a\nb \"q\" \u00e9", "l": [ "\/" ] }}"#,
            Some(r#"{"n":{"k":"a\nb \"q\" \u00e9","l":["/"]}}"#),
        ),
        (br#"{"n":{"k" : "a\nb \"q\""}}"#, Some(r#"{"n":{"k":"a\nb \"q\""}}"#)),
    ];
    for (text, want) in cases {
        for &tier in Tier::available() {
            assert_eq!(
                print(text, tier).as_deref(),
                *want,
                "{} {}",
                tier.name(),
                String::from_utf8_lossy(text)
            );
        }
    }
}

#[test]
fn depth_has_a_limit() {
    for (depth, good) in [(1, true), (63, true), (64, false), (100_000, false)] {
        let text = format!("{{\"d\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(print(text.as_bytes(), Tier::best()).is_some(), good, "{depth}");
    }
}

#[test]
fn a_prefix_cut_anywhere_is_incomplete_and_never_wrong() {
    let text = br#" {"a":"x\u00e9\"y","n":[1,-2.5e3,{"t":true}],"z":null,"s":"\n"} "#;
    let arena = Bump::new();
    for cut in 0..text.len() - 1 {
        let found = parse_prefix(&text[..cut], &arena, &mut Scratch::default());
        assert_eq!(found, Ok(None), "cut {cut}");
    }
    let (value, used) = parse_prefix(text, &arena, &mut Scratch::default()).expect("valid").expect("whole");
    assert_eq!(used, text.len() - 1);
    assert!(matches!(value, Value::Json(_) | Value::Map(_)));
}

/// JSON values with nasty strings.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[ -~]{0,40}".prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
        "[\"\\\\\n\t/a]{0,40}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::btree_map(".{0,6}", inner, 0..5)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_back_equal(value in prop::collection::btree_map(".{0,8}", json(), 0..6), pretty: bool) {
        let value = serde_json::Value::Object(value.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("prints");
        for &tier in Tier::available() {
            let printed = print(text.as_bytes(), tier).expect("valid");
            prop_assert!(printed.is_ascii());
            let back: serde_json::Value = serde_json::from_str(&printed).expect("prints valid JSON");
            prop_assert_eq!(&back, &value);
        }
    }

    #[test]
    fn agrees_with_serde_on_what_is_valid(text in "[{}\\[\\],:\"a0-9.eE+\\- tfn\\\\u]{0,24}") {
        let wrapped = format!("{{\"k\":{text}}}");
        let strict = serde_json::from_str::<std::collections::BTreeMap<String, serde_json::Value>>(&wrapped);
        let lenient = print(wrapped.as_bytes(), Tier::best());
        if let Ok(value) = strict {
            let back: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_str(&lenient.expect("valid")).expect("valid");
            prop_assert_eq!(back, value);
        } else if let Some(printed) = lenient {
            // Only what follows the object may differ, and numbers or surrogates that serde refuses by value.
            prop_assert!(serde_json::from_str::<serde_json::Value>(&printed).is_ok() || printed.contains(['e', 'E']));
        }
    }

    #[test]
    fn every_tier_agrees_on_random_bytes(text in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'{'), Just(b':'), any::<u8>()], 0..80)) {
        let want = print(&text, Tier::Scalar);
        for &tier in Tier::available() {
            prop_assert_eq!(print(&text, tier), want.clone());
        }
    }

    #[test]
    fn both_openers_agree(value in prop::collection::btree_map(".{0,8}", json(), 0..4), pretty: bool, raw in nasty()) {
        let value = serde_json::Value::Object(value.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("prints");
        openers_agree(text.as_bytes());
        openers_agree(&raw);
    }
}

/// Bytes that are nearly JSON: tokens of it in any order, with numbers, escapes and bytes that simd-json refuses.
fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"\n",
        b"\"a\"",
        b"\"b\":",
        b"\"\xff\"",
        b"\"\\ud800\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\u00e9\\/\"",
        b"\"\x01\"",
        b"-0",
        b"12",
        b"1.50",
        b"1e400",
        b"123456789012345678901",
        b"-7",
        b"2.5E-3",
        b"true",
        b"false",
        b"null",
        b"\"",
        b"\\",
        b"x",
        b"[1,2.0]",
        b"{\"k\":[3,{\"q\":\"4\"}]}",
    ]);
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// The text nested in a record, opened either way on every tier.
fn openers_agree(text: &[u8]) {
    // A character beyond ASCII makes the value one that has to be opened.
    let wrapped = [b"{\"n\":[\"\xc3\xa9\",", text, b"]}"].concat();
    let arena = Bump::new();
    let opened = |opening, tier| {
        let mut fields = Fields::new_in(&arena);
        let text = arena.alloc_slice_copy(&wrapped);
        let mut scratch = Scratch { opening, tier, ..Scratch::default() };
        parse_object(text, &arena, &mut scratch, &mut fields).map(|()| fields)
    };
    let want = opened(Opening::Own, Tier::best());
    for &tier in Tier::available() {
        assert_eq!(opened(Opening::Tape, tier), want, "{} {}", tier.name(), String::from_utf8_lossy(text));
    }
    assert_eq!(opened(Opening::Quickest, Tier::best()), want);
}

#[test]
fn both_openers_agree_on_text_cut_anywhere() {
    let text = r#"{"a":-0.50,"b":[1,{"c":"\u00e9\ud83d\ude00","a":2,"a":3}],"d":18446744073709551616,"e":"東京","f":[],"g":{}, "h" : null}"#;
    let tail = br#"{"a":"\ud800 x"},{"b":1e999},["raw	tab",7]"#;
    for text in [text.as_bytes(), tail] {
        for cut in 0..=text.len() {
            openers_agree(&text[..cut]);
            openers_agree(&text[cut..]);
        }
    }
    // The tape is used, not only agreed with.
    let mut opener = tape::Opener::default();
    let arena = Bump::new();
    assert_eq!(opener.open(text.as_bytes(), &arena), None);
    let whole = r#"{"a":-0.50,"b":[1e2]}"#.as_bytes();
    let Some(Value::Map([a, b])) = opener.open(whole, &arena) else { panic!("simd-json refuses JSON") };
    assert_eq!((a.value, b.value), (Value::Number(b"-0.50"), Value::Array(&[Value::Number(b"1e2")])));
    assert_eq!(opener.open(br#"["\ud800"]"#, &arena), None);
}
