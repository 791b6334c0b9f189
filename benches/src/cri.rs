//! Container lines through `multiline.parser docker, cri`: parts joined, time and stream taken off.

use crate::{LINES, Run, input};
use codecs::Bump;
use codecs::multiline::{Chain, Multiline, Scratch, State};
use codecs::record::{Record, Timestamp, Value};
use std::sync::Arc;

/// A line in CRI form; `tag` is `F`, or `P` for a part.
fn cri_line(n: u64, random: &mut input::Random, tag: &str) -> String {
    let stream = if n.is_multiple_of(10) { "stderr" } else { "stdout" };
    let (clock, micros) = (input::clock(n), input::micros(n) % 1_000_000);
    format!("2026-01-15T{clock}.{micros:06}{:03}Z {stream} {tag} {}", n % 1000, input::app(n, random))
}

/// Whole lines, as nearly all are.
pub(crate) fn whole() -> Run {
    chain(input::lines(|n, random| cri_line(n, random, "F")))
}

/// Each fourth line begins a record of two parts; both are of one stream.
pub(crate) fn parts() -> Run {
    chain(input::lines(|n, random| {
        let tag = if n % 4 == 1 { "P" } else { "F" };
        let line = cri_line(n, random, tag);
        if n % 4 == 2 { line.replacen(" stderr ", " stdout ", 1) } else { line }
    }))
}

/// Lines of Docker's json-file driver.
pub(crate) fn docker() -> Run {
    chain(input::lines(|n, random| {
        let log = input::app(n, random).replace('"', "\\\"");
        let (clock, micros) = (input::clock(n), input::micros(n) % 1_000_000);
        format!(
            r#"{{"log":"{log}\n","stream":"stdout","time":"2026-01-15T{clock}.{micros:06}{:03}Z"}}"#,
            n % 1000
        )
    }))
}

/// The answer counts records, bytes of `log`, and the fractions of the times.
fn chain(lines: Vec<String>) -> Run {
    let parsers =
        ["docker", "cri"].map(|name| Arc::new(Multiline::builtin(name).expect("a built-in parser")));
    let chain = Chain::new(parsers.into(), None).expect("a valid chain");
    let (mut arena, mut scratch, mut state) = (Bump::new(), Scratch::default(), State::default());
    let (now, mut mark) = (Timestamp { secs: input::START_SECS, nanos: 0 }, 0);
    Box::new(move || {
        arena.reset();
        let mut answer = 0;
        let mut emit =
            |record: Record<'_>| answer += 1 + log_bytes(&record) + u64::from(record.time.nanos / 1000);
        for line in &lines {
            chain.line(&mut state, line.as_bytes(), now, mark, &arena, &mut scratch, &mut emit);
            mark += 1;
        }
        chain.flush(&mut state, &arena, &mut emit);
        debug_assert!(mark.is_multiple_of(LINES));
        answer
    })
}

fn log_bytes(record: &Record<'_>) -> u64 {
    record.get(b"log").and_then(Value::as_text).map_or(0, |text| text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app_bytes() -> u64 {
        input::lines(input::app).iter().map(|line| line.len() as u64).sum()
    }

    fn micros(lines: impl Iterator<Item = u64>) -> u64 {
        lines.map(|n| input::micros(n) % 1_000_000).sum()
    }

    #[test]
    fn each_whole_line_is_a_record_with_its_own_time() {
        assert_eq!(whole()(), LINES + app_bytes() + micros(0..LINES));
    }

    #[test]
    fn two_parts_are_one_record_with_the_time_of_the_first() {
        let answer = parts()();
        let bytes = LINES * 3 / 4 + app_bytes();
        assert_eq!(answer, bytes + micros((0..LINES).filter(|n| n % 4 != 2)));
    }

    #[test]
    fn docker_lines_keep_their_line_feed() {
        assert_eq!(docker()(), LINES + app_bytes() + LINES + micros(0..LINES));
    }
}
