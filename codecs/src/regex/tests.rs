//! Engines against each other and against recorded answers of Onigmo.

use super::*;

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
        let automata = Automata { hir: tree.node.hir(), splitter: None, two_pass: OnceLock::new(), matcher: OnceLock::new() };
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
        if self.splitter.as_ref().is_some_and(|s| s.captures(text, &mut slots)) {
            assert!(matches, "the splitter takes what does not match: `{pattern}` on `{shown}`");
            assert_eq!(slots, expected, "splitter: `{pattern}` on `{shown}`");
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

#[test]
fn stock_patterns_are_split() {
    for pattern in &PATTERNS[..8] {
        assert_eq!(Regex::new(pattern).map(|r| r.kind()), Ok(Kind::Splitter), "{pattern}");
    }
}
