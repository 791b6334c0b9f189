//! Text to time.

use crate::{Run, input};
use codecs::record::Timestamp;
use codecs::time::{Cache, Format, Options};

/// ISO 8601 with milliseconds.
pub(crate) fn iso() -> Run {
    let line =
        |n, _: &mut _| format!("2026-01-15T{}.{:03}Z", input::clock(n), input::micros(n) / 1000 % 1000);
    read("%Y-%m-%dT%H:%M:%S.%LZ", input::lines(line))
}

/// The time of access logs.
pub(crate) fn clf() -> Run {
    read("%d/%b/%Y:%H:%M:%S %z", input::lines(clf_line))
}

/// Access logs have whole seconds; here each line is a second later, as neighbours are rarely alike on a busy host.
fn clf_line(n: u64, _: &mut input::Random) -> String {
    format!("15/Jan/2026:13:{:02}:{:02} +0000", n / 60, n % 60)
}

/// The answer is the sum of milliseconds since [`input::START_SECS`] less an hour.
fn read(format: &str, texts: Vec<String>) -> Run {
    let (format, mut cache) = (Format::new(format, Options::default()), Cache::default());
    let now = Timestamp { secs: input::START_SECS, nanos: 0 };
    Box::new(move || {
        let mut answer = 0;
        for text in &texts {
            if let Some(time) = format.parse(text.as_bytes(), now, &mut cache) {
                answer += (time.millis() - (input::START_SECS - 3600) * 1000).unsigned_abs();
            }
        }
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINES;

    #[test]
    fn times_are_read_to_the_millisecond() {
        let millis: u64 = (0..LINES).map(|n| input::micros(n) / 1000).sum();
        assert_eq!(iso()(), LINES * 3_600_000 + millis);
    }

    #[test]
    fn each_second_counts() {
        // The first is at 13:00, fifty minutes before the start.
        let seconds: u64 = (0..LINES).sum();
        assert_eq!(clf()(), LINES * 600_000 + seconds * 1000);
    }
}
