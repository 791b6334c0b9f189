//! The lines that stages read: the same bytes everywhere.
//!
//! Owns: what lines look like. Invariant: [`LINES`] lines per input; times rise by 613 microseconds a line.

use crate::LINES;
use codecs::Bump;
use codecs::json::{Scratch, parse_object};
use codecs::record::{Record, Timestamp};

/// 2026-01-15T13:50:00Z.
pub(crate) const START_SECS: i64 = 1_768_485_000;

/// Numbers that look random (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Random {
        Random(0x5eed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Microseconds since [`START_SECS`] of line `n`.
pub(crate) fn micros(n: u64) -> u64 {
    n * 613
}

/// Time of day of line `n` within its hour, `13:50:00.000613` without the fraction.
pub(crate) fn clock(n: u64) -> String {
    format!("13:50:{:02}", micros(n) / 1_000_000)
}

/// Lines made by a function of their number, without line feeds.
pub(crate) fn lines(mut line: impl FnMut(u64, &mut Random) -> String) -> Vec<String> {
    let mut random = Random::new();
    (0..LINES).map(|n| line(n, &mut random)).collect()
}

/// Lines as a read fills a block with them.
pub(crate) fn block(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

/// An application's log line, five fields, no blank between tokens, nothing to escape.
pub(crate) fn app(n: u64, random: &mut Random) -> String {
    object(&app_fields(n, random), ",", ":")
}

/// The same with blanks after separators, and a nested map in each fourth line.
pub(crate) fn app_spaced(n: u64, random: &mut Random) -> String {
    let mut fields = app_fields(n, random);
    if n.is_multiple_of(4) {
        fields.push((
            "http",
            r#"{"method": "GET", "status": 200, "headers": {"host": "a.example", "x": [1, 2, null]}}"#
                .to_owned(),
        ));
    }
    object(&fields, ", ", ": ")
}

/// The same with quotes, line feeds, `\u` and raw UTF-8 in its message.
pub(crate) fn app_escaped(n: u64, random: &mut Random) -> String {
    let mut fields = app_fields(n, random);
    fields[3].1 = format!(r#""said \"request {n}\"\n\tat Z\u00fcrich, 東京\\{n}""#);
    object(&fields, ",", ":")
}

/// A nested map of so many entries, with characters beyond ASCII, escapes, numbers and lists.
pub(crate) fn nested(n: u64, random: &mut Random, entries: u64) -> String {
    let entry = |i: u64| {
        let (ms, size) = (random.below(900), random.below(1 << 20));
        format!(
            r#""key{i}":{{"city":"Z\u00fcrich","path":"\/api\/v1\/items\/{n}","ms":{ms}.25,"size":{size},"tags":["a","東京",null,true]}}"#
        )
    };
    let entries: Vec<String> = (0..entries).map(entry).collect();
    format!("{{\"n\":{{{}}}}}", entries.join(","))
}

fn app_fields(n: u64, random: &mut Random) -> Vec<(&'static str, String)> {
    let level = random.pick(&["INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"]);
    let (user, ms) = (random.below(99_999), random.below(900));
    let (high, low) = (random.next(), random.next());
    vec![
        ("timestamp", format!("\"2026-01-15T{}.{:03}Z\"", clock(n), micros(n) / 1000 % 1000)),
        ("level", format!("\"{level}\"")),
        ("logger", format!("\"com.example.Service{}\"", n % 50)),
        ("message", format!("\"Processed request {n} for user {user} in {ms} ms\"")),
        ("trace_id", format!("\"{high:016x}{low:016x}\"")),
    ]
}

fn object(fields: &[(&str, String)], comma: &str, colon: &str) -> String {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\"{colon}{value}")).collect();
    format!("{{{}}}", fields.join(comma))
}

/// A line of an access log (nginx, Apache's combined form).
pub(crate) fn access(n: u64, random: &mut Random) -> String {
    let address = format!(
        "{}.{}.{}.{}",
        1 + random.below(222),
        random.below(256),
        random.below(256),
        1 + random.below(254)
    );
    let user = random.pick(&["-", "-", "alice"]);
    let method = random.pick(&["GET", "GET", "POST"]);
    let path = match random.below(3) {
        0 => "/index.html".to_owned(),
        1 => format!("/api/v1/users/{n}"),
        _ => format!("/search?q={n}+a%20b"),
    };
    let (code, size) = (random.pick(&["200", "200", "304", "404", "500"]), random.below(50_000));
    let referer = random.pick(&["-", "https://example.com/"]);
    let agent = random.pick(&["curl/7.88.1", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"]);
    format!(
        r#"{address} - {user} [15/Jan/2026:{} +0000] "{method} {path} HTTP/1.1" {code} {size} "{referer}" "{agent}""#,
        clock(n)
    )
}

/// Lines of JSON as records that live as long as the process: what a stage after the parser starts from.
pub(crate) fn records(lines: Vec<String>) -> Vec<Record<'static>> {
    let arena: &'static Bump = Box::leak(Box::new(Bump::new()));
    let mut scratch = Scratch::default();
    let record = |(n, line): (usize, String)| {
        let micros = micros(n as u64);
        let (secs, nanos) = ((micros / 1_000_000) as i64, (micros % 1_000_000) as u32 * 1000);
        let mut record = Record::new_in(arena, Timestamp { secs: START_SECS + secs, nanos });
        let text = arena.alloc_slice_copy(line.as_bytes());
        parse_object(text, arena, &mut scratch, &mut record.fields).expect("the lines are JSON");
        record
    };
    lines.into_iter().enumerate().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_they_claim() {
        let app = lines(app);
        assert_eq!(app.len() as u64, LINES);
        assert!(app[999].starts_with(r#"{"timestamp":"2026-01-15T13:50:00.612Z","level":""#), "{}", app[999]);
        assert!(app.iter().all(|line| !line.contains(['\\', '\n']) && !line.contains(": \"")));
        assert!(lines(app_spaced)[4].contains(r#", "http": {"method": "GET", "#));
        assert!(lines(app_escaped).iter().all(|line| line.contains(r#"\""#) && !line.is_ascii()));
        assert!(lines(access).iter().all(|line| line.contains(" [15/Jan/2026:13:50:00 +0000] \"")));
    }

    #[test]
    fn records_carry_the_time_of_their_line() {
        let records = records(lines(app));
        assert_eq!(records[999].time, Timestamp { secs: START_SECS, nanos: 612_387_000 });
        assert!(records.iter().all(|record| record.fields.len() == 5));
    }
}
