//! Engines against each other and against recorded answers of Onigmo.

use super::*;
use crate::simd::Tier;

const NGINX: &str = r#"^(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^\"]*?)(?: +\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^\"]*)" "(?<agent>[^\"]*)")?$"#;

fn groups(regex: &Regex, text: &[u8]) -> Option<Vec<(String, String)>> {
    let mut scratch = Scratch::default();
    regex.captures(text, &mut scratch).then(|| {
        let named = regex.names().iter();
        named
            .filter_map(|(name, index)| {
                scratch.group(*index).map(|r| (name.clone(), String::from_utf8_lossy(&text[r]).into_owned()))
            })
            .collect()
    })
}

#[test]
fn an_nginx_line_is_split() {
    let regex = Regex::new(NGINX).expect("compiles");
    assert_eq!(regex.kind(), Kind::Splitter);
    let line = br#"192.168.1.20 - frank [10/Oct/2023:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)""#;
    let found = groups(&regex, line).expect("matches");
    let values: Vec<&str> = found.iter().map(|(_, v)| v.as_str()).collect();
    assert_eq!(
        values,
        [
            "192.168.1.20",
            "-",
            "frank",
            "10/Oct/2023:13:55:36 -0700",
            "GET",
            "/apache_pb.gif",
            "200",
            "2326",
            "http://www.example.com/start.html",
            "Mozilla/4.08 [en] (Win98; I ;Nav)"
        ]
    );
}

/// Recorded from Onigmo: no line starts behind a line feed that ends the text, but a text may be an empty line.
#[test]
fn a_line_feed_at_the_end_starts_no_line() {
    for (pattern, text, matches) in [
        ("^$", "", true),
        ("^$", "a\n", false),
        ("^$", "\n", true),
        ("^$", "a\n\n", true),
        (r"^\s*$", "hello\n", false),
        (r"^\s*$", " \n", true),
        (r"^\s*$", "hello\n \n", true),
        (r"^\s*(#.*)?$", "hello\n", false),
        (r"^\s*(#.*)?$", "hello\n#\n", true),
        (r"(x|^)$", "hello\n", false),
        (r"(x|^)$", "hellox\n", true),
        (r"x\n^", "x\n", false),
        (r"^(?!a)", "a\n", false),
        (r"^(?!a)", "a\nb", true),
        (r"(?=.*b)^[^^]*$", "a\n", false),
    ] {
        let (regex, mut scratch) = (Regex::new(pattern).expect(pattern), Scratch::default());
        assert_eq!(regex.is_match(text.as_bytes(), &mut scratch), matches, "`{pattern}` on {text:?}");
        assert_eq!(regex.captures(text.as_bytes(), &mut scratch), matches, "`{pattern}` on {text:?}");
    }
}

/// Every engine that takes the pattern, against regex-automata's own.
struct Engines {
    pattern: String,
    oracle: meta::Regex,
    two_pass: TwoPass,
    splitter: Option<Splitter>,
}

impl Engines {
    fn new(pattern: &str) -> Engines {
        let (bare, flags) = unslash(pattern);
        let tree = ruby::parse(bare, flags).unwrap_or_else(|e| panic!("`{pattern}`: {e:?}"));
        let splitter = Splitter::new(&tree.node, tree.groups);
        let automata = Automata {
            hir: tree.node.hir(),
            ends_at_line_start: false,
            splitter: None,
            two_pass: OnceLock::new(),
            matcher: OnceLock::new(),
        };
        let two_pass = TwoPass::new(&automata.nfa().expect("compiles")).expect("small enough");
        Engines { pattern: pattern.to_owned(), oracle: automata.meta(), two_pass, splitter }
    }

    fn check(&self, text: &[u8]) {
        let (mut expected, mut slots, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let matches = meta_captures(&self.oracle, text, &mut expected);
        let (pattern, shown) = (&self.pattern, String::from_utf8_lossy(text));
        assert_eq!(self.two_pass.captures(text, &mut notes, &mut slots), matches, "`{pattern}` on `{shown}`");
        if matches {
            assert_eq!(slots, expected, "`{pattern}` on `{shown}`");
        }
        for &tier in Tier::available() {
            if self.splitter.as_ref().is_some_and(|s| s.captures(tier, text, &mut slots)) {
                assert!(matches, "the splitter takes what does not match: `{pattern}` on `{shown}`");
                assert_eq!(slots, expected, "splitter on {}: `{pattern}` on `{shown}`", tier.name());
            }
        }
    }
}

/// Patterns of Fluent Bit's documentation and stock files, and others like them.
const PATTERNS: &[&str] = &[
    NGINX,
    r#"^(?<host>[^ ]*) [^ ]* (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^ ]*) +\S*)?" (?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^\"]*)" "(?<agent>.*)")?$"#,
    r"^\[(?<timestamp>[^\]]*)\] (?<level>\w+) (?<logger>[^ ]*) - (?<message>.*)$",
    r#"time="(?<time>[^ ]*)" level=(?<level>[^ ]*) msg="(?<msg>[^ ].*)""#,
    r"^\<(?<pri>[0-9]{1,5})\>1 (?<time>[^ ]+) (?<host>[^ ]+) (?<ident>[^ ]+) (?<pid>[-0-9]+) (?<msgid>[^ ]+) (?<extradata>(\[(.*?)\]|-)) (?<message>.+)$",
    r"/^\<(?<pri>[0-9]+)\>(?<time>[^ ]* {1,2}[^ ]* [^ ]*) (?<host>[^ ]*) (?<ident>[a-zA-Z0-9_\/\.\-]*)(?:\[(?<pid>[0-9]+)\])?(?:[^\:]*\:)? *(?<message>.*)$/",
    r"^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<logtag>[^ ]*) (?<message>.*)$",
    r"^(?<time>[^ ]*)\s+(?<severity>\w)\s+(?<component>[^ ]+)\s+\[(?<context>[^\]]+)]\s+(?<message>.*?) *(?<ms>(\d+))?(:?ms)?$",
    r"^\[[^ ]* (?<time>[^\]]*)\] \[(?<level>[^\]]*)\](?: \[pid (?<pid>[^\]]*)\])?( \[client (?<client>[^\]]*)\])? (?<message>.*)$",
    r"(?<a>x*)(?<b>.*?)\bword\b(?<c>.+)",
    r"^(?i:(?<lvl>error|warn)): (?<m>.+)$",
    r"(?<k>\w+)=(?<v>\S*)",
    r"(?<all>(?:a|ab)*)(?<rest>b*c?)$",
    r"(a|)(b*)+?(c|a)??",
];

const TEXTS: &[&str] = &[
    r#"192.168.1.20 - frank [10/Oct/2023:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en]""#,
    r#"10.0.0.2 - - [11/Oct/2023:00:00:02 +0200] "-" 400 0 "-" "-""#,
    r#"10.0.0.2 - - [11/Oct/2023:00:00:02 +0200] "GET /a b c HTTP/1.1" 400 0"#,
    r#"10.0.0.2 - - [11/Oct/2023:00:00:02 +0200] "GET  /x" 400 0"#,
    "[2024-02-03 14:30:25,123] ERROR com.example.Main - something broke: code=5",
    r#"time="2024-02-03T14:30:25.1Z" level=info msg="a \"b\" c""#,
    r#"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su 77 ID47 [ex@1 a="b"][two] 'su root' failed é"#,
    "<34>Oct 11 22:14:15 mymachine su[123]: failed for root: x",
    "<13>Feb  5 17:32:18 10.0.0.99 app: text: with colons",
    "2024-02-03T14:30:25.123456789Z stdout F hello é \u{1f680}",
    "2024-02-03T14:30:25.123 I  NETWORK  [conn1] end connection 10ms",
    "[Wed Oct 11 14:32:52 2000] [error] [pid 9] [client 127.0.0.1] denied",
    "xxab a word k=v abababc",
    "Warn: mixed\nerror: two\n",
    "",
    "\n",
    "ababc",
];

#[test]
fn engines_agree_on_real_lines() {
    for pattern in PATTERNS {
        let engines = Engines::new(pattern);
        for text in TEXTS {
            for cut in 0..=text.len() {
                engines.check(&text.as_bytes()[..cut]);
                engines.check(&text.as_bytes()[cut..]);
            }
        }
    }
}

/// None of them needs the slow engine: they run as a splitter or as a two-pass DFA, also where the splitter declines.
#[test]
fn stock_patterns_compile_to_automata() {
    for pattern in PATTERNS {
        let regex = Regex::new(pattern).expect(pattern);
        assert!(matches!(regex.kind(), Kind::Splitter | Kind::Dfa), "{pattern}: {}", regex.kind());
        let Engine::Automata(automata) = &regex.engine else { panic!("{pattern}") };
        assert!(matches!(automata.groups(), Captures::TwoPass(_)), "{pattern}");
    }
    let slow = Regex::new("(?<a>x)(?=y)").expect("a pattern").kind();
    assert_eq!(slow.to_string(), "fallback: look-ahead needs backtracking");
}

#[test]
fn stock_patterns_are_split() {
    for pattern in &PATTERNS[..8] {
        assert_eq!(Regex::new(pattern).map(|r| r.kind()), Ok(Kind::Splitter), "{pattern}");
    }
}

/// `whole match; name=start..end …`, `no`, or `error`.
fn answer(pattern: &str, text: &[u8]) -> String {
    let Ok(regex) = Regex::new(pattern) else { return "error".into() };
    let mut scratch = Scratch::default();
    let found = regex.captures(text, &mut scratch);
    assert_eq!(regex.is_match(text, &mut scratch), found, "`{pattern}`");
    if !found {
        return "no".into();
    }
    let shown = |index| scratch.group(index).map_or("-".to_owned(), |r| format!("{}..{}", r.start, r.end));
    let groups = regex.names().iter().map(|(name, index)| format!(" {name}={}", shown(*index)));
    shown(0) + &groups.collect::<String>()
}

/// What Onigmo answered to the same patterns (Ruby syntax, UTF-8).
#[test]
fn answers_are_those_of_onigmo() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("(?<z>a)(?<b>b)(?<a>c)(?<z>d)", b"abcd", "0..4 z=0..1 z=3..4 b=1..2 a=2..3"),
        (r"\w+", "aé_".as_bytes(), "0..1"),
        ("[[:alpha:]]+", "aé1".as_bytes(), "0..3"),
        (r"\h+", b"xAf9g", "1..4"),
        ("a{,2}b", b"aaab", "1..4"),
        ("a{2}?", b"aaa", "0..2"),
        ("a(?i)b|c", b"aC", "0..2"),
        (r"[a-\d]+", b"a-5", "error"),
        ("[]a]+", b"x]a", "1..3"),
        ("(?<a>.)", b"\xe9x", "0..1 a=0..1"),
        ("(?<a>[^ ]*)", b"\xc3 x", "0..1 a=0..1"),
        ("$", b"a\nb", "1..1"),
        ("(?m).+", b"a\nb", "0..3"),
        (r"a\Z", b"a", "0..1"),
        (r"\x41\101", b"AA", "0..2"),
        ("(a)(?<n>b)", b"ab", "0..2 n=1..2"),
        (r"[\w&&[^a]]+", b"abc", "1..3"),
        ("a**", b"aaa", "0..3"),
        ("(?<n>a|b)+?", b"ab", "0..1 n=0..1"),
        ("x{2,1}", b"xx", "error"),
        ("(?#c)a", b"a", "0..1"),
        ("a{,}", b"a{,}", "0..4"),
        ("{2}", b"{2}", "error"),
        ("[[:word:]]+", "é_1".as_bytes(), "0..4"),
        (r"(?i)\u00c9", "é".as_bytes(), "0..2"),
        ("[é]", b"\xe9", "no"),
        (r"\<a\>", b"<a>", "0..3"),
        ("a]}", b"a]}", "0..3"),
        ("[a-]+", b"a-", "0..2"),
        ("[^a-c&&b]", b"b", "no"),
        (r"\R", b"\r\n", "0..2"),
        ("(?<n>)*", b"a", "0..0 n=0..0"),
        ("(?<n>(?:a|ab))(?<m>c|bcd)(?<k>d*)", b"abcd", "0..4 n=0..1 m=1..4 k=4..4"),
        (r"\p{Alpha}+", "aé".as_bytes(), "0..3"),
        ("[[:punct:]]+", b"$+!", "0..3"),
        ("(?<n-1>a)", b"a", "error"),
        ("(?'n'a)", b"a", "0..1 n=0..1"),
        ("[z-a]", b"a", "error"),
        ("*a", b"a", "error"),
        ("a|*", b"a", "error"),
        ("(?<a>a", b"a", "error"),
        ("a)", b"a", "error"),
        ("a(?=b)(?<r>.)", b"aab", "1..3 r=2..3"),
        (r"(?<a>\w)\k<a>", b"abb", "1..3 a=1..2"),
        ("(?>a*)b", b"aab", "0..3"),
        ("(?<!a)(?<b>b)", b"ab b", "3..4 b=3..4"),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(answer(pattern, text), *expected, "`{pattern}` on `{}`", String::from_utf8_lossy(text));
    }
}

#[test]
fn slashes_come_off_as_in_fluent_bit() {
    for (given, bare, set) in [
        ("/^a$/", "^a$", ""),
        ("/a/i", "a", "i"),
        ("/a/mx", "a", "mx"),
        ("/a/o", "/a/o", ""),
        ("/a/iz", "/a/iz", ""),
        ("/a", "/a", ""),
        ("a/b/", "a/b/", ""),
        ("//", "", ""),
        ("/", "/", ""),
    ] {
        let flags =
            Flags { ignore_case: set.contains('i'), dot_all: set.contains('m'), extended: set.contains('x') };
        assert_eq!(unslash(given), (bare, flags), "{given}");
    }
}

#[test]
fn literals_are_those_that_must_stand() {
    let literals = |pattern| {
        let found = Regex::new(pattern).ok().and_then(|r| r.literals());
        found.map(|l| l.iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect::<Vec<_>>())
    };
    assert_eq!(literals("ERROR"), Some(vec!["ERROR".to_owned()]));
    assert_eq!(literals("^a.*(?:WARN|ERROR)+x?"), Some(vec!["WARN".to_owned(), "ERROR".to_owned()]));
    assert_eq!(literals(r"\w+|x"), None);
    assert_eq!(literals("(?i)error"), None);
    assert_eq!(literals("(?=a)b"), None);
}

mod random {
    use super::Engines;
    use proptest::prelude::*;

    /// Patterns of few letters, so that they match often and in many ways.
    fn pattern() -> impl Strategy<Value = String> {
        let atom = prop_oneof![
            Just("a"),
            Just("b"),
            Just(" "),
            Just("é"),
            Just("[^ ]"),
            Just("[^a]"),
            Just("."),
            Just(r"\S"),
            Just("[ab]"),
            Just(r"\w"),
            Just("ab"),
            Just("^"),
            Just("$"),
            Just(r"\b"),
            Just("\" ")
        ];
        let leaf = (atom, prop_oneof![4 => Just(""), 1 => Just("*"), 1 => Just("+"), 1 => Just("*?"), 1 => Just("+?"), 1 => Just("?"), 1 => Just("{1,2}")])
            .prop_map(|(atom, times)| {
                let looks = ["^", "$", r"\b"].contains(&atom);
                let many = atom.chars().count() > 1 && !atom.starts_with(['[', '\\']);
                match (looks, many) {
                    (true, _) => atom.to_owned(),
                    (_, true) => format!("(?:{atom}){times}"),
                    _ => format!("{atom}{times}"),
                }
            });
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                3 => prop::collection::vec(inner.clone(), 1..5).prop_map(|v| v.concat()),
                1 => prop::collection::vec(inner.clone(), 2..4).prop_map(|v| format!("(?:{})", v.join("|"))),
                2 => inner.clone().prop_map(|p| format!("(?<g>{p})")),
                1 => inner.clone().prop_map(|p| format!("(?:{p})?")),
                1 => inner.prop_map(|p| format!("(?:{p})*")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn engines_agree(pattern in pattern(), texts in prop::collection::vec("[ab é\"\n]{0,12}", 1..12)) {
            let engines = Engines::new(&pattern);
            let fixed = ["", "a", " ", "ab ab", "aab b\" é a", "ab\n"].map(str::to_owned);
            for text in texts.iter().chain(&fixed) {
                // Onigmo has no line after the last line feed, regex-automata has one.
                if !(text.ends_with('\n') && pattern.contains("^")) {
                    engines.check(text.as_bytes());
                }
            }
        }
    }
}
