//! Flags to sections, and the texts of help.

use codecs::conf::Level as Found;

use super::help::{PluginHelp, VERSION, general, json, plugin};
use super::*;
use crate::config::{CommonInput, ServiceOptions};

fn run(words: &str) -> (Result<Cli, String>, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    // `~` stands for a space inside of an argument.
    let words = std::iter::once("ripsaw").chain(words.split_whitespace()).map(|word| word.replace('~', " "));
    (parse(words, &mut diagnostics), diagnostics)
}

fn shape(cli: &Cli) -> String {
    let one = |s: &Section| {
        let entries: Vec<String> = s.entries.iter().map(|e| format!("{}={}", e.key, e.value)).collect();
        format!("{}{{{}}}", s.name, entries.join(" "))
    };
    cli.sections.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn flags_become_sections() {
    for (words, want) in [
        (
            "-i dummy -p dummy={\"x\":1} -p samples=2 -o stdout -p format=json_lines -f 0.2",
            "service{flush=0.2} input{name=dummy dummy={\"x\":1} samples=2} output{name=stdout format=json_lines}",
        ),
        (
            "--input=dummy --prop=Dummy={\"long\":true} --output stdout --flush=0.2",
            "service{flush=0.2} input{name=dummy dummy={\"long\":true}} output{name=stdout}",
        ),
        (
            "-i dummy -t a -F modify -m a -p add=k~v -o stdout -m *",
            "input{name=dummy tag=a} filter{name=modify match=a add=k v} output{name=stdout match=*}",
        ),
        (
            "-idummy -ostdout -f5 -dHP 2021",
            "service{flush=5 daemon=on http_server=on http_port=2021} input{name=dummy} output{name=stdout}",
        ),
        ("-i a -p x=y=z -e lib.so -p w=", "input{name=a x=y=z w=} plugins{path=lib.so}"),
        (
            "-R p.conf -l log -b /s -L :: -Y -W --enable-fips -s 1",
            "service{parsers_file=p.conf log_file=log storage.path=/s http_listen=:: hot_reload=on hot_reload.ensure_thread_safety=off security.fips_mode=on coro_stack_size=1}",
        ),
        ("--conf x --dry -- -i ignored", ""),
    ] {
        let (cli, found) = run(words);
        let cli = cli.expect("good flags");
        assert_eq!(shape(&cli), want, "{words}");
        assert!(found.list.is_empty(), "{words}: {:?}", found.list);
    }
}

#[test]
fn settings_are_read() {
    let (cli, _) = run("-c a.conf -D -w /tmp -vv --supervisor");
    let cli = cli.expect("good flags");
    assert_eq!((cli.config.as_deref(), cli.workdir.as_deref()), (Some("a.conf"), Some("/tmp")));
    assert!(cli.dry_run && cli.supervisor && !cli.quiet());
    assert_eq!(cli.level(), Level::Trace);
    assert_eq!(run("-q").0.expect("quiet").level(), Level::Off);
    assert_eq!(run("-qv").0.expect("nearly quiet").level(), Level::Error);
    assert!(run("-V -c x").0.expect("version").version);
    assert_eq!(run("-h -i tail").0.expect("help").help, Help::General);
    assert_eq!(run("-J").0.expect("help").help, Help::Json);
    let want = Help::Plugin { kind: "input".into(), name: "tail".into(), json: false };
    assert_eq!(run("-i tail -h -no-such").0.expect("help").help, want);
}

#[test]
fn bad_flags_are_named() {
    for (words, want) in [
        ("--no-such-flag", "unrecognized option '--no-such-flag'"),
        ("--confg=x", "unrecognized option '--confg'; did you mean '--config'?"),
        ("-k", "invalid option -- 'k'"),
        ("-dk", "invalid option -- 'k'"),
        ("-i", "option requires an argument -- 'i'"),
        ("--input", "option '--input' requires an argument"),
        ("--help=x", "option '--help' doesn't allow an argument"),
        ("--p x", "option '--p' is ambiguous"),
    ] {
        assert_eq!(run(words).0.expect_err(words), want);
    }
    for (words, level) in [
        ("-p a=b", Found::Error),
        ("-i x -p ab", Found::Error),
        ("-t x", Found::Error),
        ("-i x -m y", Found::Warning),
        ("x.conf", Found::Warning),
        ("-S", Found::Note),
    ] {
        let (cli, found) = run(words);
        assert!(cli.is_ok() && found.list.len() == 1, "{words}");
        assert_eq!(found.list[0].level, level, "{words}");
        assert!(found.list[0].to_string().starts_with("command line: "), "{words}");
    }
}

#[test]
fn help_names_every_flag() {
    let lists: [(&str, &[(&str, &str)]); 2] =
        [("Inputs", &[("tail", "Tail files\nmore")]), ("Outputs", &[("null", "Throws away events")])];
    let text = general("ripsaw", &lists);
    // Fluent Bit keeps its JSON help out of the list, and scripts compare the list.
    for row in FLAGS.iter().filter(|row| row.long[0] != "help-json") {
        assert!(text.contains(&format!("--{}", row.long[0])), "{}", row.long[0]);
        assert!(row.short.is_none_or(|short| text.contains(&format!("  -{short}"))), "{}", row.long[0]);
    }
    assert!(text.starts_with(
        "Usage: ripsaw [OPTION]\n\n\x1b[1mAvailable Options\x1b[0m\n  -b  --storage_path=PATH "
    ));
    assert!(text.contains("\n\x1b[1mInputs\x1b[0m\n  tail                    Tail files\n"));
    assert!(VERSION.contains("Fluent Bit v5.1.1"));
}

#[test]
fn a_plugins_options_are_laid_out() {
    let tables = [("global_options", CommonInput::TABLE), ("options", &ServiceOptions::TABLE[..1])];
    let help = PluginHelp { kind: "input", name: "tail", about: "Tail files", tables: &tables };
    let text = plugin(&help);
    assert!(text.starts_with("\x1b[1mHELP\x1b[0m\ntail input plugin\n\x1b[1m\nDESCRIPTION\n\x1b[0mTail files\n\x1b[1m\nGLOBAL_OPTIONS\n\x1b[0mname "), "{text}");
    assert!(text.contains("> default: 0, type: size\n\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 92), "{text}");
    let all = json(&[help]);
    assert!(all.starts_with("{\"fluent-bit\":{\"version\":\"5.1.1\",\"schema_version\":\"1\",\"os\":\"linux\"},\"customs\":[],\"inputs\":[{\"type\":\"input\",\"name\":\"tail\",\"description\":\"Tail files\",\"properties\":{\"global_options\":[{\"name\":\"name\","), "{all}");
    assert_eq!(all.matches('{').count(), all.matches('}').count());
}

proptest::proptest! {
    #[test]
    fn no_words_panic(words in proptest::collection::vec("(-{0,2}[a-zA-Z]{0,3}(=\\PC{0,3})?|\\PC{0,4})", 0..8)) {
        let _ = parse(words, &mut Diagnostics::default());
    }
}
