//! `fuzz TARGET [--seconds N] [--seed N]` runs changed texts through a reader and its naive twin, and prints the smallest
//! input on which they differ or one of them panics; `fuzz --list` tells what there is. Works with the stable compiler.
//!
//! Owns: the targets, how inputs are changed and made smaller. Invariant: a seed gives the same inputs on every machine.

use codecs::Bump;
use codecs::conf::{self, Diagnostics, Section, source::Memory};
use codecs::forward::{Carrier, Frame, Message, Ping, Progress};
use codecs::json::{Escape, Opening, parse_object, parse_value, write_fields, write_value};
use codecs::multiline::{Chain, DockerMode, FirstLine, Multiline, State};
use codecs::parsers::{Parsed, Parser, Scratch};
use codecs::record::{Fields, Timestamp};
use codecs::simd::Tier;
use codecs::time::{Cache, Format, Options, Zone};
use codecs::{json, msgpack, multiline};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something to try: what it begins with, and what must hold for every input.
struct Target {
    name: &'static str,
    seeds: &'static [&'static [u8]],
    make: fn() -> Check,
}

type Check = Box<dyn FnMut(&[u8]) -> Result<(), String>>;

const TARGETS: &[Target] = &[
    Target { name: "classic", seeds: CLASSIC, make: || Box::new(|t| grammar("main.conf", t)) },
    Target { name: "yaml", seeds: YAML, make: || Box::new(|t| grammar("main.yaml", t)) },
    Target { name: "json", seeds: JSON, make: || Box::new(json_agrees) },
    Target { name: "msgpack", seeds: MSGPACK, make: || Box::new(msgpack_comes_back) },
    Target { name: "parsers", seeds: LINES, make: parsers },
    Target { name: "strptime", seeds: TIMES, make: times },
    Target { name: "multiline", seeds: LINES, make: groups },
    Target { name: "forward", seeds: FORWARD, make: || Box::new(forward_messages) },
    #[cfg(feature = "engine")]
    Target { name: "chunk", seeds: CHUNK, make: || Box::new(chunk_files) },
];

const CLASSIC: &[&[u8]] = &[
    b"@SET a=b\n[SERVICE]\n    Flush 1 # x\n[INPUT]\n    Name tail\n    Path ${a}/*.log\n[PARSER]\n    Name p\n    Format regex\n    Regex ^(?<a>x|\\d+)[^ ]*$\n    Time_Key a\n    Time_Format %Y\n",
    b"[MULTILINE_PARSER]\n    name m\n    type regex\n    rule \"start_state\" \"/^a/\" \"cont\"\n    rule \"cont\" \"/^ /\" \"cont\"\n@INCLUDE main.conf\n",
];
const YAML: &[&[u8]] = &[
    b"env:\n  a: b\nservice:\n  flush: 1\npipeline:\n  inputs:\n    - name: tail\n      path: \"${a}\"\n      processors: {logs: [{name: x}]}\n  outputs: [{name: stdout, match: '*'}]\nparsers:\n  - {name: p, format: json}\n",
    b"multiline_parsers:\n  - name: m\n    type: regex\n    rules:\n      - state: start_state\n        regex: '/^a/'\n        next_state: cont\nincludes: [main.yaml]\n",
];
const JSON: &[&[u8]] = &[
    br#"{"a":-0.50,"b":[1,{"c":"\u00e9\ud83d\ude00","a":2,"a":3}],"d":18446744073709551616,"f":[],"g":{}, "h" : null}"#,
    "{\"n\":{\"k\":\"東京\",\"l\":[true,false,1e5,\"\\/\\n\"],\"k\":7}} x".as_bytes(),
    br#"{"n":{"x":"\ud800","y":"a b c d e f g h i j k l m n o p q r s t u v w x y z 0123456789"}}"#,
];
const MSGPACK: &[&[u8]] = &[
    b"\x92\xd7\x00\x65\x00\x00\x00\x00\x00\x00\x01\x82\xa1a\x01\xa1b\x93\xc0\xc3\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
    b"\xdc\x00\x02\xde\x00\x01\xd9\x02hi\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc4\x01\x00\xd3\xff\xff\xff\xff\xff\xff\xff\xfe",
];
const LINES: &[&[u8]] = &[
    b"2024-02-03T14:30:25.123456789Z stdout P part\n2024-02-03T14:30:25.123456790Z stdout F whole\n2024-02-03T14:30:25Z stderr F x",
    b"{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2024-02-03T14:30:25.1Z\"}\n{\"log\":\"b \",\"stream\":\"stdout\"}\nnot json",
    b"192.168.1.20 - - [28/Jul/2006:10:27:10 -0300] \"GET /x HTTP/1.0\" 200 3395 \"-\" \"curl\"\ntime=2024-02-03T14:30:25Z level=info msg=\"a \\\"b\\\"\" bare\na:1\tb:2\ttime:x",
    b"Exception in thread \"main\" java.lang.X: y\n    at a.b(C.java:5)\nCaused by: z\n\nTraceback (most recent call last):\n  File \"a\", line 1\nValueError: x",
];
const FORWARD: &[&[u8]] = &[
    b"\x93\xa1t\xce\x65\x00\x00\x00\x82\xa1a\x01\xa1b\x93\xc0\xc3\xc2",
    b"\x93\xa1t\x92\x92\xd7\x00\x65\x00\x00\x00\x00\x00\x00\x01\x81\xa1a\xa1b\x92\x01\x80\x82\xa5chunk\xa4abcd\xa4size\x02",
    b"\x93\xd9\x01t\xc4\x06\x92\x01\x81\xa1a\x02\x81\xaacompressed\xa4text",
    b"\x92\xa1t\xdb\x00\x00\x00\x04\x1f\x8b\x08\x00\x96\xa4PING\xa1h\xa1s\xa1d\xa0\xa0",
];
/// Payloads of frames, each behind its kind and with 0xfe behind it: see `chunk_files`.
#[cfg(feature = "engine")]
const CHUNK: &[&[u8]] = &[
    b"\x02\x01\x00\x00\x00\x01\x00\x00\x00t\x00\x00\x00\x00\x00\x00\x00\x00abc\xfe\x04why\xfe",
    b"\x02\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00k\x01\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00hi\xfe",
    b"\x03\x3e\x00\x00\x00\x00\x00\x00\x00\xff\x00\x00\x00\x00\x00\x00\x00\xfe\x01\x01\x00\x00\x00p\x01\x00\x00\x00o\xfe",
];
const TIMES: &[&[u8]] = &[
    b"2024-02-03T14:30:25.123+01:00",
    b"03/Feb/2024:14:30:25 -0700",
    b"Feb  3 14:30:25",
    b"1706970625.5",
    b"Sat Feb  3 14:30:25 2024 UTC",
];

const NOW: Timestamp = Timestamp { secs: 1_706_970_625, nanos: 7 };

fn same<T: PartialEq + std::fmt::Debug>(what: &str, left: &T, right: &T) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}: {left:?} against {right:?}")) }
}

/// Both grammars must end without a panic, and a second run must say the same.
fn grammar(name: &str, text: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(text);
    let read = || {
        let mut diagnostics = Diagnostics::default();
        let document = conf::read(name, &Memory::with(&[(name, &text)]), &mut diagnostics);
        for section in &document.sections {
            drop(Parser::configure(section, &mut diagnostics));
            drop(Multiline::configure(section, &HashMap::new(), &mut diagnostics));
        }
        format!("{:?} {:?}", document.sections, diagnostics.list)
    };
    same("two readings", &read(), &read())
}

/// Tiers and openers agree; what is printed reads back as what prints the same.
fn json_agrees(text: &[u8]) -> Result<(), String> {
    let print = |text: &[u8], tier, opening| {
        let (arena, mut scratch) = (Bump::new(), json::Scratch::default());
        (scratch.tier, scratch.opening) = (tier, opening);
        let (mut fields, mut out) = (Fields::new_in(&arena), Vec::new());
        parse_object(text, &arena, &mut scratch, &mut fields).ok()?;
        write_fields(&mut out, &fields, Escape::Ascii);
        Some(out)
    };
    let want = print(text, Tier::Scalar, Opening::Own);
    for &tier in Tier::available() {
        same(tier.name(), &print(text, tier, Opening::Own), &want)?;
        same("the tape", &print(text, tier, Opening::Tape), &want)?;
    }
    // Two keys that differ in invalid bytes only print alike, and reading that again leaves one of them.
    if std::str::from_utf8(text).is_ok() {
        let again = want.as_ref().map(|out| print(out, Tier::best(), Opening::Quickest));
        same("what was printed", &again.flatten(), &want)?;
    }
    let arena = Bump::new();
    let _ = parse_value(text, &arena, &mut json::Scratch::default());
    let _ = json::text_member(text, b"log", &arena, &mut json::Scratch::default());
    Ok(())
}

/// What is read is written such that it reads back equal.
fn msgpack_comes_back(bytes: &[u8]) -> Result<(), String> {
    let arena = Bump::new();
    drop(msgpack::Reader::new(bytes).event(&arena));
    let Ok(value) = msgpack::Reader::new(bytes).value(&arena) else { return Ok(()) };
    let (mut wire, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    msgpack::write_value(&mut wire, &value, &arena);
    let back = msgpack::Reader::new(&wire).value(&arena).map_err(|e| format!("unreadable: {e:?}"))?;
    write_value(&mut first, &value, Escape::Ascii);
    write_value(&mut second, &back, Escape::Ascii);
    same("there and back", &String::from_utf8_lossy(&first), &String::from_utf8_lossy(&second))
}

/// A message that comes in pieces ends where its value ends, whatever the pieces are.
fn forward_messages(bytes: &[u8]) -> Result<(), String> {
    let arena = Bump::new();
    let Ok(Progress::Whole(len)) = Frame::default().advance(bytes) else { return Ok(()) };
    let mut reader = msgpack::Reader::new(bytes);
    if reader.value(&arena).is_ok() {
        same("the end of a value", &reader.position(), &len)?;
    }
    let (mut frame, mut needed) = (Frame::default(), 0);
    for cut in 0..len {
        match frame.advance(&bytes[..cut]) {
            Ok(Progress::Needs(needs)) if needs > cut && needs <= len && needs >= needed => needed = needs,
            other => return Err(format!("{other:?} with {cut} of {len} bytes")),
        }
        let _ = Message::read(&bytes[..cut]);
        let _ = Ping::read(&bytes[..cut]);
    }
    same("the end in pieces", &frame.advance(bytes).ok(), &Some(Progress::Whole(len)))?;
    let _ = Ping::read(&bytes[..len]);
    let Ok(message) = Message::read(&bytes[..len]) else { return Ok(()) };
    let _ = message.compression();
    let (Carrier::Message(events) | Carrier::Forward(events) | Carrier::Packed(events)) = message.carrier;
    let mut reader = msgpack::Reader::new(events);
    while !reader.is_empty() && reader.event(&arena).is_ok() {}
    Ok(())
}

/// A chunk file of these frames, all with good sums, gives what a list of them would; cut anywhere, what stands before.
#[cfg(feature = "engine")]
fn chunk_files(bytes: &[u8]) -> Result<(), String> {
    use engine::storage::format::{self, Found, Kind};
    drop(format::scan(bytes));
    drop(format::segments(bytes, 0, 100));
    let head = format::Head { plugin: "http".into(), output: "http.0".into(), fingerprint: 1, lane: 0 };
    let mut file = format::file_head(&head);
    let (mut open, mut good) = (Vec::<Found>::new(), file.len());
    let mut wrong = false;
    for piece in bytes.split(|&b| b == 0xfe).filter(|piece| !piece.is_empty()) {
        let (kind, payload) = (piece[0] % 4 + 1, &piece[1..]);
        let kind = [Kind::Head, Kind::Segment, Kind::Done, Kind::Reason]
            .into_iter()
            .find(|k| *k as u8 == kind)
            .expect("one of four");
        let start = file.len() as u64;
        file.extend(format::frame(kind, payload, start));
        let end = file.len() as u64;
        let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().expect("eight bytes"));
        wrong |= match kind {
            Kind::Head => true,
            Kind::Reason => false,
            Kind::Done if payload.len() == 16 => {
                if !wrong {
                    open.retain(|f| f.start < number(0) || f.end > number(8));
                }
                false
            }
            Kind::Done => true,
            Kind::Segment => match format::decode_segment(payload) {
                None => true,
                Some(segment) => {
                    let again = [&format::segment_meta(&segment)[..], &segment.bytes].concat();
                    same("a segment written again", &again.as_slice(), &payload)?;
                    if !wrong {
                        let (records, bytes) = (segment.records, segment.bytes.len() as u64);
                        open.push(Found { start, end, records, bytes });
                    }
                    false
                }
            },
        };
        if !wrong {
            good = file.len();
        }
    }
    let scan = format::scan(&file);
    same("open segments", &scan.open, &open)?;
    same("good bytes", &scan.good, &(good as u64))?;
    same("damage", &scan.damage.is_some(), &wrong)?;
    for cut in (0..good).step_by(7) {
        let part = format::scan(&file[..cut]);
        if part.good > cut as u64 || part.damage == Some(format::Damage::Corrupt) {
            return Err(format!("cut at {cut} of {good}: {part:?}"));
        }
    }
    Ok(())
}

fn section(text: &str) -> Section {
    let mut diagnostics = Diagnostics::default();
    let document = conf::read("p.conf", &Memory::with(&[("p.conf", text)]), &mut diagnostics);
    document.sections.into_iter().next().expect("a section")
}

fn parser(body: &str) -> Arc<Parser> {
    let text = format!("[PARSER]\n    Name p\n{body}");
    Arc::new(Parser::configure(&section(&text), &mut Diagnostics::default()).expect("a parser"))
}

fn all_parsers() -> Vec<Arc<Parser>> {
    [
        "    Format json\n    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L\n    Decode_Field_As escaped_utf8 log do_next\n    Decode_Field json log\n",
        "    Format logfmt\n    Types bare:bool\n    Time_Key time\n    Time_Format %s\n",
        "    Format ltsv\n    Types a:integer b:hex\n",
        "    Format regex\n    Regex ^(?<host>[^ ]*) [^ ]* (?<user>[^ ]*) \\[(?<time>[^\\]]*)\\] \"(?<method>\\S+)(?: +(?<path>[^\\\"]*?)(?: +\\S*)?)?\" (?<code>[^ ]*) (?<size>[^ ]*)(?: \"(?<referer>[^\\\"]*)\" \"(?<agent>[^\\\"]*)\")?$\n    Time_Key time\n    Time_Format %d/%b/%Y:%H:%M:%S %z\n    Types code:integer size:float\n",
        "    Format regex\n    Regex ^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<p>[^ ]*) (?<log>.*)(?!z)$\n",
    ]
    .map(parser)
    .to_vec()
}

/// Working memory that was used before gives what new memory gives.
fn parsers() -> Check {
    let (all, mut used) = (all_parsers(), Scratch::default());
    Box::new(move |text| {
        for parser in &all {
            for line in text.split(|b| *b == b'\n') {
                let arena = Bump::new();
                let run = |scratch: &mut Scratch| {
                    let (mut fields, mut out) = (Fields::new_in(&arena), Vec::new());
                    let parsed = parser.parse(line, NOW, &arena, scratch, &mut fields);
                    write_fields(&mut out, &fields, Escape::Ascii);
                    (parsed, parsed == Parsed::No && !fields.is_empty(), out)
                };
                same(parser.name(), &run(&mut used), &run(&mut Scratch::default()))?;
            }
        }
        Ok(())
    })
}

/// A remembered prefix gives what a full reading gives.
fn times() -> Check {
    let zone = || Zone::from_posix("CET-1CEST,M3.5.0,M10.5.0/3");
    let all = [
        "%Y-%m-%dT%H:%M:%S.%L%z",
        "%d/%b/%Y:%H:%M:%S %z",
        "%b %e %H:%M:%S",
        "%s.%L",
        "%c %Z",
        "%G-%V-%u",
        "%I:%M %p %j",
    ]
    .map(|f| {
        [true, false].map(|strict| Format::new(f, Options { strict, zone: zone(), ..Options::default() }))
    });
    let mut cache = Cache::default();
    Box::new(move |text| {
        let _ = std::str::from_utf8(text).ok().and_then(Zone::from_posix).map(|z| z.to_utc(NOW.secs));
        drop(Zone::from_tzif(text));
        all.iter().flatten().try_for_each(|format| {
            same(
                "time",
                &format.parse(text, NOW, &mut cache),
                &format.parse(text, NOW, &mut Cache::default()),
            )
        })
    })
}

/// Nothing waits after a flush, and what waits is bounded.
fn groups() -> Check {
    let builtin = |n: &str| Arc::new(Multiline::builtin(n).expect("a built-in parser"));
    let chains = [&["docker", "cri"][..], &["java"], &["python", "go", "ruby"]].map(|names| {
        Chain::new(names.iter().map(|n| builtin(n)).collect(), None).expect("a chain").with_limit(64)
    });
    let first = FirstLine { first: all_parsers().remove(4), others: all_parsers(), limit: 64 };
    let docker = [None, Some(all_parsers().remove(0))].map(|parser| DockerMode { parser, limit: 64 });
    let mut scratch = multiline::Scratch::default();
    Box::new(move |text| {
        let lines = || text.split(|b| *b == b'\n').zip(0u64..);
        for chain in &chains {
            let (mut state, arena) = (State::default(), Bump::new());
            lines().for_each(|(l, n)| chain.line(&mut state, l, NOW, n, &arena, &mut scratch, &mut |_| ()));
            chain.flush(&mut state, &arena, &mut |_| ());
            same("waiting", &state.pending(), &None)?;
        }
        let (mut state, arena) = (State::default(), Bump::new());
        lines().for_each(|(l, n)| first.line(&mut state, l, NOW, n, &arena, &mut scratch, &mut |_| ()));
        first.flush(&mut state, &arena, &mut |_| ());
        same("waiting", &state.pending(), &None)?;
        for mode in &docker {
            let (mut state, arena) = (State::default(), Bump::new());
            lines().for_each(|(l, n)| mode.line(&mut state, l, NOW, n, &arena, &mut scratch, &mut |_| ()));
            mode.flush(&mut state, &arena, &mut scratch, &mut |_| ());
            same("waiting", &state.pending(), &None)?;
        }
        Ok(())
    })
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

const INPUT_BYTES_MAX: usize = 4096;

/// A seed with some changes: bytes set, cut out, put in, or taken from another seed.
fn changed(target: &Target, random: &mut Random) -> Vec<u8> {
    const ODD: &[u8] = b"\"\\{}[]:,\n\r\t 0-+.eEu\x00\x7f\x80\xc3\xe2\xff%$#'()*?|<>@=";
    let mut text = target.seeds[random.below(target.seeds.len())].to_vec();
    for _ in 0..random.below(12) {
        let (at, len) = (random.below(text.len() + 1), random.below(9));
        let end = (at + len).min(text.len());
        match random.below(5) {
            0 => drop(text.drain(at..end)),
            1 => text.insert(at, ODD[random.below(ODD.len())]),
            2 => text.insert(at, random.below(256) as u8),
            3 => drop(text.splice(at..at, text[at..end].to_vec().repeat(random.below(20)))),
            _ => {
                let other = target.seeds[random.below(target.seeds.len())];
                let from = random.below(other.len());
                drop(text.splice(at..end, other[from..(from + random.below(40)).min(other.len())].to_vec()));
            }
        }
    }
    text.truncate(INPUT_BYTES_MAX);
    text
}

fn failure(check: &mut Check, text: &[u8]) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| check(text))) {
        Ok(result) => result.err(),
        Err(_) => Some("a panic".into()),
    }
}

/// Leaves out pieces as long as what is left still fails.
fn smallest(target: &Target, mut text: Vec<u8>) -> Vec<u8> {
    let mut len = text.len().div_ceil(2);
    while len > 0 {
        let mut at = 0;
        while at < text.len() {
            let mut less = text.clone();
            less.drain(at..(at + len).min(text.len()));
            match failure(&mut (target.make)(), &less) {
                Some(_) => text = less,
                None => at += len,
            }
        }
        len /= 2;
    }
    text
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |flag: &str, default: u64| {
        let at = words.iter().position(|w| w == flag);
        at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let Some(target) = TARGETS.iter().find(|t| words.first().is_some_and(|w| w == t.name)) else {
        let names: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
        eprintln!("usage: fuzz TARGET [--seconds N] [--seed N], with TARGET one of {}", names.join(", "));
        return ExitCode::from(2);
    };
    let (seed, end) = (number("--seed", 1), Instant::now() + Duration::from_secs(number("--seconds", 60)));
    let (mut random, mut check, mut count) = (Random(seed), (target.make)(), 0u64);
    std::panic::set_hook(Box::new(|_| ()));
    while Instant::now() < end {
        let text = changed(target, &mut random);
        if failure(&mut check, &text).is_some() {
            let small = smallest(target, text);
            let why =
                failure(&mut (target.make)(), &small).unwrap_or_else(|| "fails after others only".into());
            println!("{}: {why}\ninput: \"{}\"", target.name, small.escape_ascii());
            return ExitCode::FAILURE;
        }
        count += 1;
    }
    println!("{}: {count} inputs, nothing found (seed {seed})", target.name);
    ExitCode::SUCCESS
}
