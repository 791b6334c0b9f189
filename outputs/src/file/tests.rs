use super::*;
use crate::testing::{RECORDS, chunk, configure, segment};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn each_form_is_fluent_bits() {
    for (entries, expected) in [
        (
            &[][..],
            "app.x: [1700000000.123000000, {\"log\":\"one\",\"n\":1}]\n\
             app.x: [1700000001.500000000, {\"log\":\"two\",\"n\":2.50,\"t\":true,\"z\":null}]\n\
             app.x: [1700006400.000000000, {\"log\":\"three \\u00e9 \\\"q\\\"\",\"k\":{\"d.e\":[1,\"x\"]}}]\n",
        ),
        (
            &[("Format", "plain")],
            "{\"log\":\"one\",\"n\":1}\n\
             {\"log\":\"two\",\"n\":2.50,\"t\":true,\"z\":null}\n\
             {\"log\":\"three \\u00e9 \\\"q\\\"\",\"k\":{\"d.e\":[1,\"x\"]}}\n",
        ),
        (
            &[("format", "csv"), ("delimiter", "comma")],
            "1700000000.123000000,\"one\",1\n\
             1700000001.500000000,\"two\",2.50,true,nil\n\
             1700006400.000000000,\"three é \"\"q\"\"\",\"{\"\"d.e\"\"=>[1, \"\"x\"\"]}\"\n",
        ),
        (
            &[("format", "ltsv")],
            "\"time\":1700000000.123000\t\"log\":\"one\"\t\"n\":1\n\
             \"time\":1700000001.500000\t\"log\":\"two\"\t\"n\":2.50\t\"t\":true\t\"z\":nil\n\
             \"time\":1700006400.000000\t\"log\":\"three é \"q\"\"\t\"k\":{\"d.e\"=>[1, \"x\"]}\n",
        ),
        (
            &[("format", "template"), ("template", "{time} <{n}> {log} {missing}")],
            "1700000000.123000 <1> one {missing}\n\
             1700000001.500000 <2.50> two {missing}\n\
             1700006400.000000 <{n}> three é \"q\" {missing}\n",
        ),
    ] {
        let output = configure(&PLUGIN, entries).expect("valid");
        assert_eq!(text(&segment(&*output, "app.x", RECORDS).bytes), expected, "{entries:?}");
    }
}

#[test]
fn records_without_fields_leave_no_row() {
    for format in ["csv", "ltsv"] {
        let output = configure(&PLUGIN, &[("format", format)]).expect("valid");
        assert!(segment(&*output, "t", &[(1, 0, "{}")]).bytes.is_empty(), "{format}");
    }
}

#[test]
fn what_cannot_be_had_is_refused() {
    for (entries, part) in [
        (&[("format", "xml")][..], "`format` is `xml`"),
        (&[("path", "$app"), ("fallback_file", "x")], "`path` begins with a placeholder"),
        (&[("path", "/logs/$app")], "`fallback_file` is needed"),
        (&[("file", "$app['x"), ("fallback_file", "x")], "`file` is `$app['x`"),
        (&[("on_missing_field", "panic")], "`on_missing_field` is `panic`"),
        (&[("file", "%Y.log"), ("enable_strftime", "on")], "`fallback_file` is needed"),
        (&[("rotate", "on"), ("rotate_max_size", "0")], "`rotate_max_size` is 0"),
        (&[("rotate", "on"), ("rotate_max_files", "0")], "`rotate_max_files` is 0"),
    ] {
        let error = configure(&PLUGIN, entries).err().unwrap_or_default();
        assert!(error.contains(part), "{entries:?}: {error}");
    }
    assert!(configure(&PLUGIN, &[("file", "100%.log")]).is_ok());
}

/// A directory for one test, and its path as text.
fn directory() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("text").to_owned();
    (directory, path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const ONE: &[(i64, u32, &str)] = &[(1, 0, r#"{"a":1}"#)];
const TWO: &[(i64, u32, &str)] = &[(2, 0, r#"{"a":2}"#), (3, 0, r#"{"a":3}"#)];

#[tokio::test]
async fn a_chunk_is_appended_to_a_file_for_each_tag() {
    let (_kept, path) = directory();
    let output = configure(&PLUGIN, &[("path", &path), ("format", "plain")]).expect("valid");
    std::fs::write(format!("{path}/a"), "before\n").expect("written");
    for _ in 0..2 {
        let segments =
            vec![segment(&*output, "a", ONE), segment(&*output, "b/c", ONE), segment(&*output, "a", TWO)];
        let verdict = output.deliver(&mut chunk(segments)).await;
        // `b/c` needs a directory.
        assert!(matches!(&verdict, Verdict::Hold { reason } if reason.contains("mkdir")), "{verdict:?}");
    }
    let block = "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";
    assert_eq!(read(&format!("{path}/a")), format!("before\n{block}{block}"));
}

#[tokio::test]
async fn a_retry_writes_only_the_rest() {
    let (_kept, path) = directory();
    let output = configure(&PLUGIN, &[("path", &path), ("format", "plain")]).expect("valid");
    let segments =
        vec![segment(&*output, "a", ONE), segment(&*output, "b/c", ONE), segment(&*output, "a", TWO)];
    let mut chunk = chunk(segments);
    assert!(matches!(output.deliver(&mut chunk).await, Verdict::Hold { .. }));
    assert_eq!(
        chunk.done,
        [true, false, true, true],
        "one file that fails does not keep another from its records"
    );
    std::fs::create_dir(format!("{path}/b")).expect("made");
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 0 });
    assert_eq!(read(&format!("{path}/a")), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    assert_eq!(read(&format!("{path}/b/c")), "{\"a\":1}\n");
}

#[tokio::test]
async fn missing_directories_are_made_where_allowed() {
    let (_kept, path) = directory();
    let deep = format!("{path}/x/y");
    let output = configure(
        &PLUGIN,
        &[("path", &deep), ("mkdir", "on"), ("file", "f.csv"), ("format", "csv"), ("csv_column_names", "on")],
    );
    let output = output.expect("valid");
    for _ in 0..2 {
        let verdict =
            output.deliver(&mut chunk(vec![segment(&*output, "t", ONE), segment(&*output, "u", TWO)])).await;
        assert_eq!(verdict, Verdict::Delivered { dropped: 0 });
    }
    let rows = "1.000000000,1\n2.000000000,2\n3.000000000,3\n";
    assert_eq!(
        read(&format!("{deep}/f.csv")),
        format!("timestamp,\"a\"\n{rows}{rows}"),
        "the names stand once"
    );
}

#[tokio::test]
async fn a_file_rotated_away_or_deleted_is_made_anew() {
    let (_kept, path) = directory();
    let output = configure(&PLUGIN, &[("path", &path), ("format", "plain")]).expect("valid");
    let name = format!("{path}/a");
    output.deliver(&mut chunk(vec![segment(&*output, "a", ONE)])).await;
    std::fs::rename(&name, format!("{name}.1")).expect("renamed");
    output.deliver(&mut chunk(vec![segment(&*output, "a", TWO)])).await;
    assert_eq!(
        (read(&format!("{name}.1")), read(&name)),
        ("{\"a\":1}\n".to_owned(), "{\"a\":2}\n{\"a\":3}\n".to_owned())
    );
    std::fs::remove_file(&name).expect("removed");
    output.deliver(&mut chunk(vec![segment(&*output, "a", ONE)])).await;
    assert_eq!(read(&name), "{\"a\":1}\n");
}

#[tokio::test]
async fn more_files_than_are_kept_open() {
    let (_kept, path) = directory();
    let output = configure(&PLUGIN, &[("path", &path), ("format", "plain")]).expect("valid");
    let tags: Vec<String> = (0..300).map(|n| format!("t{n}")).collect();
    for _ in 0..2 {
        let segments = tags.iter().map(|tag| segment(&*output, tag, ONE)).collect();
        assert_eq!(output.deliver(&mut chunk(segments)).await, Verdict::Delivered { dropped: 0 });
    }
    for tag in &tags {
        assert_eq!(read(&format!("{path}/{tag}")), "{\"a\":1}\n{\"a\":1}\n");
    }
}

#[tokio::test]
async fn a_full_disk_is_tried_again() {
    let output =
        configure(&PLUGIN, &[("path", "/dev"), ("file", "full"), ("format", "plain")]).expect("valid");
    let mut chunk = chunk(vec![segment(&*output, "a", ONE)]);
    let verdict = output.deliver(&mut chunk).await;
    assert!(matches!(&verdict, Verdict::Retry { reason, .. } if reason.contains("/dev/full")), "{verdict:?}");
    assert_eq!(chunk.segments[0].bytes, b"{\"a\":1}\n", "nothing is lost");
}

#[tokio::test]
async fn files_rotate_by_size_and_old_ones_go() {
    let (_kept, path) = directory();
    let entries = [
        ("path", path.as_str()),
        ("file", "a"),
        ("format", "plain"),
        ("rotate", "on"),
        ("rotate_max_size", "8"),
        ("rotate_max_files", "2"),
    ];
    // Without compression a rotated file is the file as it was.
    let plain = tempfile::tempdir().expect("a directory");
    let mut uncompressed = entries.to_vec();
    uncompressed[0].1 = plain.path().to_str().expect("text");
    uncompressed.push(("rotate_gzip", "off"));
    let output = configure(&PLUGIN, &uncompressed).expect("valid");
    for _ in 0..2 {
        output.deliver(&mut chunk(vec![segment(&*output, "t", ONE)])).await;
    }
    let names = std::fs::read_dir(plain.path()).expect("a directory").filter_map(Result::ok);
    let texts: Vec<String> = names.map(|e| read(e.path().to_str().expect("text"))).collect();
    assert_eq!(texts, ["{\"a\":1}\n", "{\"a\":1}\n"]);
    let output = configure(&PLUGIN, &entries).expect("valid");
    for _ in 0..5 {
        let verdict = output.deliver(&mut chunk(vec![segment(&*output, "t", ONE)])).await;
        assert_eq!(verdict, Verdict::Delivered { dropped: 0 });
    }
    assert_eq!(read(&format!("{path}/a")), "{\"a\":1}\n");
    let names = std::fs::read_dir(&path).expect("a directory").filter_map(Result::ok).map(|e| e.path());
    let rotated: Vec<_> = names.filter(|name| name.extension().is_some_and(|e| e == "gz")).collect();
    assert_eq!(rotated.len(), 2);
    for name in rotated {
        let mut text = String::new();
        let file = std::fs::File::open(name).expect("open");
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).expect("gzip");
        assert_eq!(text, "{\"a\":1}\n");
    }
}

#[tokio::test]
async fn records_name_their_files() {
    let (_kept, path) = directory();
    let (directory, fallback) = (format!("{path}/$TAG"), format!("{path}/rest"));
    let entries = [
        ("path", directory.as_str()),
        ("file", "$app['name'].csv"),
        ("format", "csv"),
        ("csv_column_names", "on"),
        ("mkdir", "on"),
        ("max_dynamic_files", "2"),
        ("on_missing_field", "drop"),
        ("on_limit_reached", "fallback"),
        ("fallback_path", fallback.as_str()),
        ("fallback_file", "f"),
    ];
    let output = configure(&PLUGIN, &entries).expect("valid");
    let records = [
        (1, 0, r#"{"app":{"name":"web"},"n":1}"#),
        (2, 0, r#"{"app":{"name":"db"},"n":2}"#),
        (3, 0, r#"{"n":3}"#),
        (4, 0, r#"{"app":{"name":"../x"},"n":4}"#),
        (5, 0, r#"{"app":{"name":"web"},"n":5}"#),
        (6, 0, r#"{"app":{"name":"one too many"},"n":6}"#),
    ];
    let segment = segment(&*output, "t", &records);
    assert_eq!(segment.records, 4, "the third and fourth have no file");
    assert_eq!(output.deliver(&mut chunk(vec![segment])).await, Verdict::Delivered { dropped: 0 });
    let row = |second: u32, name: &str| {
        format!("{second}.000000000,\"{{\"\"name\"\"=>\"\"{name}\"\"}}\",{second}\n")
    };
    let names = "timestamp,\"app\",\"n\"\n";
    assert_eq!(read(&format!("{path}/t/web.csv")), format!("{names}{}{}", row(1, "web"), row(5, "web")));
    assert_eq!(read(&format!("{path}/t/db.csv")), format!("{names}{}", row(2, "db")));
    assert_eq!(read(&format!("{fallback}/f")), format!("{names}{}", row(6, "one too many")));
}

#[tokio::test]
async fn times_name_files_before_records_do() {
    let (_kept, path) = directory();
    let (directory, fallback) = (format!("{path}/%Y/$app"), format!("{path}/rest"));
    let entries = [
        ("path", directory.as_str()),
        ("file", "%m-%d-$n.log"),
        ("format", "plain"),
        ("mkdir", "on"),
        ("fallback_path", fallback.as_str()),
        ("fallback_file", "f"),
        ("on_missing_field", "fallback"),
    ];
    let records = [
        (1_700_000_000, 0, r#"{"app":"web","n":1}"#),
        (1_700_000_001, 0, r#"{"app":"100%Y","n":2}"#),
        (1_800_000_000, 0, r#"{"app":"web","n":1}"#),
        (1_700_000_000, 0, r#"{"app":"..","n":1}"#),
    ];
    let mut timed = vec![("enable_strftime", "on")];
    timed.extend_from_slice(&entries);
    for (entries, files) in [
        (&timed[..], ["2023/web/11-14-1.log", "2023/100%Y/11-14-2.log", "2027/web/01-15-1.log", "rest/f"]),
        (&entries[..], ["%Y/web/%m-%d-1.log", "%Y/100%Y/%m-%d-2.log", "%Y/web/%m-%d-1.log", "rest/f"]),
    ] {
        let output = configure(&PLUGIN, entries).expect("valid");
        for (record, file) in records.iter().zip(files) {
            let segment = segment(&*output, "t", &[*record]);
            assert_eq!(output.deliver(&mut chunk(vec![segment])).await, Verdict::Delivered { dropped: 0 });
            let line = format!("{}\n", record.2);
            assert!(read(&format!("{path}/{file}")).ends_with(&line), "{file}");
        }
    }
    // The time alone makes names of its own too.
    let named = format!("{path}/%H");
    let alone = [("path", path.as_str()), ("file", "%H"), ("enable_strftime", "on"), ("fallback_file", "f")];
    let output = configure(&PLUGIN, &alone).expect("valid");
    output.deliver(&mut chunk(vec![segment(&*output, "t", &records[..1])])).await;
    assert!(!std::path::Path::new(&named).exists() && !read(&format!("{path}/22")).is_empty());
}
