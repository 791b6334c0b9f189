//! Time to text.

use super::civil::Civil;
use crate::record::Timestamp;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Full names, for reading as well.
pub(super) const fn names() -> (&'static [&'static str; 7], &'static [&'static str; 12]) {
    (&DAYS, &MONTHS)
}

/// Appends `number` in at least `width` digits, filled with `fill`.
fn pad(out: &mut Vec<u8>, number: i64, width: usize, fill: u8) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number.unsigned_abs()).as_bytes();
    if number < 0 {
        out.push(b'-');
    }
    out.extend(std::iter::repeat_n(fill, width.saturating_sub(digits.len())));
    out.extend_from_slice(digits);
}

fn two(out: &mut Vec<u8>, number: u32) {
    out.extend([b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
}

fn date_time(out: &mut Vec<u8>, t: Timestamp, between: u8) {
    let c = Civil::new(t.secs);
    pad(out, c.year, 4, b'0');
    for (mark, number) in
        [(b'-', c.month), (b'-', c.day), (between, c.hour), (b':', c.minute), (b':', c.second)]
    {
        out.push(mark);
        two(out, number);
    }
    out.push(b'.');
    pad(out, i64::from(t.nanos / 1000), 6, b'0');
}

/// Appends `2024-02-03T14:30:25.123456Z` (Fluent Bit's `iso8601`).
pub fn write_iso8601(out: &mut Vec<u8>, t: Timestamp) {
    date_time(out, t, b'T');
    out.push(b'Z');
}

/// Appends `2024-02-03 14:30:25.123456` (Fluent Bit's `java_sql_timestamp`).
pub fn write_java_sql(out: &mut Vec<u8>, t: Timestamp) {
    date_time(out, t, b' ');
}

/// Appends `t` in UTC as `format` says: the conversions of C's `strftime` in the C locale, and for fractions `%L`
/// (milliseconds), `%f` (microseconds), `%N` (nanoseconds), `%3N`, `%6N`, `%9N`. An unknown conversion stays as it is.
pub fn write_strftime(out: &mut Vec<u8>, format: &str, t: Timestamp) {
    conversions(out, format, t, &Civil::new(t.secs));
}

fn conversions(out: &mut Vec<u8>, format: &str, t: Timestamp, c: &Civil) {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let start = &rest[at..];
        let flags = start[1..].len() - start[1..].trim_start_matches(['-', '_', 'E', 'O']).len();
        let (flag, after) = (&start[1..1 + flags], &start[1 + flags..]);
        let (digits, after) = match after.as_bytes() {
            [d @ (b'3' | b'6' | b'9'), b'N', ..] => (usize::from(d - b'0'), &after[1..]),
            _ => (9, after),
        };
        let Some(conversion) = after.chars().next() else {
            out.extend_from_slice(start.as_bytes());
            return;
        };
        rest = &after[conversion.len_utf8()..];
        if !convert(out, conversion, flag.chars().next(), digits, t, c) {
            out.extend_from_slice(&start.as_bytes()[..start.len() - rest.len()]);
        }
    }
    out.extend_from_slice(rest.as_bytes());
}

/// A number's conversion: value, width and fill of C's `strftime`.
fn numeric(conversion: char, t: Timestamp, c: &Civil) -> Option<(i64, usize, u8)> {
    let twelve = (c.hour + 11) % 12 + 1;
    Some(match conversion {
        'Y' => (c.year, 1, b'0'),
        'C' => (c.year.div_euclid(100), 2, b'0'),
        'y' => (c.year.rem_euclid(100), 2, b'0'),
        'm' => (i64::from(c.month), 2, b'0'),
        'd' => (i64::from(c.day), 2, b'0'),
        'e' => (i64::from(c.day), 2, b' '),
        'H' => (i64::from(c.hour), 2, b'0'),
        'k' => (i64::from(c.hour), 2, b' '),
        'I' => (i64::from(twelve), 2, b'0'),
        'l' => (i64::from(twelve), 2, b' '),
        'M' => (i64::from(c.minute), 2, b'0'),
        'S' => (i64::from(c.second), 2, b'0'),
        'j' => (i64::from(c.day_of_year()), 3, b'0'),
        'u' => (i64::from((c.weekday() + 6) % 7 + 1), 1, b'0'),
        'w' => (i64::from(c.weekday()), 1, b'0'),
        's' => (t.secs, 1, b'0'),
        'U' => (i64::from((c.day_of_year() + 6 - c.weekday()) / 7), 2, b'0'),
        'W' => (i64::from((c.day_of_year() + 6 - (c.weekday() + 6) % 7) / 7), 2, b'0'),
        'G' => (iso_week(c).0, 1, b'0'),
        'g' => (iso_week(c).0.rem_euclid(100), 2, b'0'),
        'V' => (iso_week(c).1, 2, b'0'),
        'L' => (i64::from(t.nanos / 1_000_000), 3, b'0'),
        'f' => (i64::from(t.nanos / 1000), 6, b'0'),
        _ => return None,
    })
}

/// ISO 8601's year and week.
fn iso_week(c: &Civil) -> (i64, i64) {
    let thursday = c.days - (i64::from(c.weekday()) + 6).rem_euclid(7) + 3;
    let year = super::civil::date(thursday).0;
    (year, (thursday - super::civil::days(year, 1, 1)) / 7 + 1)
}

fn convert(
    out: &mut Vec<u8>,
    conversion: char,
    flag: Option<char>,
    digits: usize,
    t: Timestamp,
    c: &Civil,
) -> bool {
    if let Some((number, width, fill)) = numeric(conversion, t, c) {
        let (width, fill) = match flag {
            Some('-') => (1, fill),
            Some('_') => (width, b' '),
            _ => (width, fill),
        };
        pad(out, number, width, fill);
        return true;
    }
    let name = |full: &'static str, short: bool| if short { &full[..3] } else { full };
    match conversion {
        'a' | 'A' => {
            out.extend_from_slice(name(DAYS[c.weekday() as usize % 7], conversion == 'a').as_bytes())
        }
        'b' | 'h' | 'B' => {
            out.extend_from_slice(name(MONTHS[(c.month as usize + 11) % 12], conversion != 'B').as_bytes())
        }
        'p' => out.extend_from_slice(if c.hour < 12 { b"AM" } else { b"PM" }),
        'P' => out.extend_from_slice(if c.hour < 12 { b"am" } else { b"pm" }),
        'N' => {
            let from = out.len();
            pad(out, i64::from(t.nanos), 9, b'0');
            out.truncate(from + digits);
        }
        'z' => out.extend_from_slice(b"+0000"),
        'Z' => out.extend_from_slice(b"GMT"),
        'n' => out.push(b'\n'),
        't' => out.push(b'\t'),
        '%' => out.push(b'%'),
        'D' | 'x' => conversions(out, "%m/%d/%y", t, c),
        'F' => conversions(out, "%Y-%m-%d", t, c),
        'T' | 'X' => conversions(out, "%H:%M:%S", t, c),
        'R' => conversions(out, "%H:%M", t, c),
        'r' => conversions(out, "%I:%M:%S %p", t, c),
        'c' => conversions(out, "%a %b %e %H:%M:%S %Y", t, c),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_those_of_c() {
        let t = Timestamp { secs: 1_706_970_625, nanos: 7_089_123 };
        for (format, expected) in [
            ("%Y-%m-%dT%H:%M:%S.%3NZ", "2024-02-03T14:30:25.007Z"),
            ("%L %f %N %6N %9N", "007 007089 007089123 007089 007089123"),
            ("%a %A %b %B %h %e %j %p %I %y %C", "Sat Saturday Feb February Feb  3 034 PM 02 24 20"),
            ("%s %u %w %U %W %V %G %g %%", "1706970625 6 6 04 05 05 2024 24 %"),
            ("%D|%F|%T|%R|%r|%c", "02/03/24|2024-02-03|14:30:25|14:30|02:30:25 PM|Sat Feb  3 14:30:25 2024"),
            ("%z %Z %-d/%_m %Q %", "+0000 GMT 3/ 2 %Q %"),
            ("é%Yé", "é2024é"),
        ] {
            let mut out = Vec::new();
            write_strftime(&mut out, format, t);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{format}");
        }
    }

    #[test]
    fn fixed_forms() {
        let (mut iso, mut sql) = (Vec::new(), Vec::new());
        let t = Timestamp { secs: -1, nanos: 999_999_999 };
        write_iso8601(&mut iso, t);
        write_java_sql(&mut sql, t);
        assert_eq!(iso, b"1969-12-31T23:59:59.999999Z");
        assert_eq!(sql, b"1969-12-31 23:59:59.999999");
    }
}
