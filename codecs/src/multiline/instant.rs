//! The times of container logs: ISO-8601 text to a time stamp, quickly.
//!
//! Owns: `2023-11-14T22:13:20.123456789Z` and its kin, with the minute remembered from line to line. Never: reads a
//! clock. What is read only in part counts as far as it was read, as `strptime` leaves it in Fluent Bit.

use crate::record::Timestamp;

/// Length of `YYYY-MM-DDTHH:MM`.
const MINUTE_LEN: usize = 16;

/// Length of `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`, what containerd and CRI-O write nearly always.
pub(super) const USUAL_LEN: usize = 30;

/// The minute read last: most lines of a log share it with the line before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Minute {
    text: [u8; MINUTE_LEN],
    secs: i64,
}

/// A time, and whether its text is known to need no escaping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Instant {
    pub(super) time: Timestamp,
    pub(super) plain: bool,
}

/// Reads a time of the usual form in the minute read last; `None` says nothing about other times.
#[inline]
pub(super) fn read_usual(text: &[u8], minute: &Minute) -> Option<Timestamp> {
    let (head, tail) = text.split_first_chunk::<MINUTE_LEN>()?;
    if u128::from_ne_bytes(*head) != u128::from_ne_bytes(minute.text) {
        return None;
    }
    let (secs, nanos) = usual_tail(tail)?;
    Some(Timestamp { secs: minute.secs + secs, nanos })
}

/// Reads a time; `zone` says whether an offset (`+02:00`) counts, else the text is taken as UTC.
/// `None` when it does not even begin with a year.
pub(super) fn read(text: &[u8], zone: bool, minute: &mut Minute) -> Option<Instant> {
    if let Some(time) = read_usual(text, minute) {
        return Some(Instant { time, plain: true });
    }
    let time = lenient(text, zone)?;
    let plain = text.len() == USUAL_LEN && is_minute(text) && usual_tail(&text[MINUTE_LEN..]).is_some();
    if plain {
        minute.text.copy_from_slice(&text[..MINUTE_LEN]);
        minute.secs = time.secs - time.secs.rem_euclid(60);
        // A second of 60 belongs to the minute in which it stands.
        if text[17] == b'6' {
            minute.secs -= 60;
        }
    }
    Some(Instant { time, plain })
}

/// `:SS.nnnnnnnnnZ` (14 bytes) to seconds and nanoseconds.
#[inline]
fn usual_tail(tail: &[u8]) -> Option<(i64, u32)> {
    let tail: &[u8; 14] = tail.try_into().ok()?;
    if tail[0] != b':' || tail[3] != b'.' || tail[13] != b'Z' {
        return None;
    }
    let [tens, ones, last] = [tail[1], tail[2], tail[12]].map(|b| b.wrapping_sub(b'0'));
    if tens > 6 || ones > 9 || last > 9 || (tens == 6 && ones > 0) {
        return None;
    }
    let eight = eight_digits(u64::from_le_bytes([
        tail[4], tail[5], tail[6], tail[7], tail[8], tail[9], tail[10], tail[11],
    ]))?;
    let nanos = crate::time::through_double(eight * 10 + u32::from(last));
    Some((i64::from(tens) * 10 + i64::from(ones), nanos))
}

/// Eight ASCII digits, first in the lowest byte, to their number, in three multiplications.
fn eight_digits(word: u64) -> Option<u32> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let digits = word ^ ZEROS;
    // Every byte must be 0..=9: adding 0x76 carries into the top bit from 10 on.
    if (digits | digits.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let all = fours.wrapping_mul(10_000).wrapping_add(fours >> 32);
    Some(all as u32)
}

/// Whether `text` begins with digits and signs in the places of `YYYY-MM-DDTHH:MM`, in their ranges.
fn is_minute(text: &[u8]) -> bool {
    let signs = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':')];
    let two = |at: usize| (text[at].wrapping_sub(b'0')) * 10 + text[at + 1].wrapping_sub(b'0');
    signs.iter().all(|&(at, sign)| text[at] == sign)
        && [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15].iter().all(|&at| text[at].is_ascii_digit())
        && (1..=12).contains(&two(5))
        && (1..=31).contains(&two(8))
        && two(11) < 24
        && two(14) < 60
}

/// Reads as far as the text fits; the rest of the fields stay at zero.
fn lenient(text: &[u8], zone: bool) -> Option<Timestamp> {
    let mut rest = text;
    let year = number(&mut rest, 0, 9999)?;
    // Month and day start at zero, as in C: a lone year is the last day of the year before.
    let (mut month, mut day, mut secs) = (1, 0, 0);
    let mut whole = false;
    'fields: {
        let Some(n) = signed(&mut rest, b'-', 1, 12) else { break 'fields };
        month = n;
        let Some(n) = signed(&mut rest, b'-', 1, 31) else { break 'fields };
        day = n;
        let Some(n) = signed(&mut rest, b'T', 0, 23) else { break 'fields };
        secs = n * 3600;
        let Some(n) = signed(&mut rest, b':', 0, 59) else { break 'fields };
        secs += n * 60;
        let Some(n) = signed(&mut rest, b':', 0, 60) else { break 'fields };
        secs += n;
        whole = true;
    }
    let secs = days(year, month, day) * 86_400 + secs;
    if !whole {
        return Some(Timestamp { secs, nanos: 0 });
    }
    let nanos = fraction(&mut rest);
    let offset = if zone { offset(rest) } else { 0 };
    Some(Timestamp { secs: secs - offset, nanos })
}

/// A sign, then a number.
fn signed(rest: &mut &[u8], sign: u8, low: i64, high: i64) -> Option<i64> {
    *rest = rest.strip_prefix(&[sign])?;
    number(rest, low, high)
}

/// A number as `strptime` reads it: no more digits than its highest value can have.
fn number(rest: &mut &[u8], low: i64, high: i64) -> Option<i64> {
    let (mut value, mut room, mut taken) = (0, high, 0);
    while let Some(digit) = rest.get(taken).filter(|b| b.is_ascii_digit()) {
        value = value * 10 + i64::from(digit - b'0');
        taken += 1;
        room /= 10;
        if value * 10 > high || room == 0 {
            break;
        }
    }
    if taken == 0 || value < low || value > high {
        return None;
    }
    *rest = &rest[taken..];
    Some(value)
}

/// `.` and digits to nanoseconds; digits beyond nine are passed over.
fn fraction(rest: &mut &[u8]) -> u32 {
    let Some(after) = rest.strip_prefix(b".") else { return 0 };
    let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
    let padded = after[..digits].iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanos = padded.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    *rest = &after[digits..];
    crate::time::through_double(nanos)
}

/// `Z`, `+hh:mm`, `+hhmm` or `+hh` to seconds east of Greenwich; anything else counts as UTC.
fn offset(rest: &[u8]) -> i64 {
    let rest = rest.trim_ascii_start();
    let (sign, rest) = match rest.split_first() {
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        _ => return 0,
    };
    let two = |at: usize| match rest.get(at..at + 2) {
        Some(&[a, b]) if a.is_ascii_digit() && b.is_ascii_digit() => {
            Some(i64::from(a - b'0') * 10 + i64::from(b - b'0'))
        }
        _ => None,
    };
    let Some(hours) = two(0) else { return 0 };
    let minutes = two(if rest.get(2) == Some(&b':') { 3 } else { 2 }).unwrap_or(0);
    sign * (hours * 3600 + minutes * 60)
}

/// Days since the epoch of a date of the Gregorian calendar; days beyond the month's end run on into the next.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secs(text: &str) -> Option<(i64, u32)> {
        read(text.as_bytes(), true, &mut Minute::default()).map(|i| (i.time.secs, i.time.nanos))
    }

    /// Recorded from Fluent Bit 5.1.1 (`multiline.parser cri`), but for the two offsets marked.
    #[test]
    fn reads_what_strptime_reads() {
        for (text, want) in [
            ("2023-11-14T22:13:20.123456789Z", (1_700_000_000, 123_456_789)),
            ("2023-11-14T22:13:20Z", (1_700_000_000, 0)),
            ("2023-11-14T22:13:20+02:00", (1_699_992_800, 0)), // there the offset is lost with the fraction
            ("2023-11-14T22:13:20.5+02:00", (1_699_992_800, 500_000_000)),
            ("2023-11-14T22:13:20.5-0230", (1_700_009_000, 500_000_000)),
            ("2023-11-14T22:13:20.5", (1_700_000_000, 500_000_000)),
            ("2023-11-14T22:13:20.1234567891234Z", (1_700_000_000, 123_456_789)),
            ("2023-11-14T22:13:20.1234567891234+01", (1_699_996_400, 123_456_789)), // as above
            ("2023-11-14T22:13:20.Z", (1_700_000_000, 0)),
            ("2023-11-14", (1_699_920_000, 0)),
            ("2023-13-14T22:13:20.5Z", (1_672_444_800, 0)),
            ("2023-02-31T22:13:20.5Z", (1_677_881_600, 500_000_000)),
            ("2023-11-14T22:13:60.5Z", (1_700_000_040, 500_000_000)),
            ("2023-11-14T24:13:20.5Z", (1_699_920_000, 0)),
            ("2023-11-14T22:13:20.123456789Zfoo", (1_700_000_000, 123_456_789)),
            ("2023-11-14T22:13:20.123456789 Z", (1_700_000_000, 123_456_789)),
            ("2023-11-14T22:13:20,123Z", (1_700_000_000, 0)),
        ] {
            assert_eq!(secs(text), Some(want), "{text}");
        }
        for text in ["", "junk", " 2023-11-14T22:13:20Z", "-1"] {
            assert_eq!(secs(text), None, "{text}");
        }
    }

    #[test]
    fn the_remembered_minute_changes_nothing() {
        let mut minute = Minute::default();
        for (text, want) in [
            ("2023-11-14T22:13:20.000000001Z", 1_700_000_000),
            ("2023-11-14T22:13:59.000000001Z", 1_700_000_039),
            ("2023-11-14T22:13:60.000000001Z", 1_700_000_040),
            ("2023-11-14T22:14:60.000000001Z", 1_700_000_100),
            ("2023-11-14T22:14:01.000000001Z", 1_700_000_041),
            ("1969-12-31T23:59:58.000000001Z", -2),
            ("1969-12-31T23:59:59.000000001Z", -1),
        ] {
            let got = read(text.as_bytes(), true, &mut minute).map(|i| (i.time.secs, i.time.nanos, i.plain));
            assert_eq!(got, Some((want, 1, true)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn remembered_or_not_is_the_same(texts in proptest::collection::vec("2023-1[12]-1[45]T2[23]:1[0-3]:[0-6][0-9]\\.[0-9:]{9}[Z+]", 1..8)) {
            let mut minute = Minute::default();
            for text in &texts {
                let kept = read(text.as_bytes(), true, &mut minute).map(|i| i.time);
                prop_assert_eq!(kept, lenient(text.as_bytes(), true));
            }
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&text, true, &mut Minute::default());
        }
    }
}
