//! What several outputs write: JSON lines and arrays with a date, and the text form of MessagePack.
//!
//! Owns: Fluent Bit's `format`, `json_date_key` and `json_date_format`, its way to print MessagePack as text.
//! Never: allocates per record beyond what the segment grows by.

use codecs::Bump;
use codecs::conf::OptionValue;
use codecs::json::{Escape, write_fields, write_text};
use codecs::record::{Field, Record, Text, Timestamp, Value};

codecs::choice! {
    /// How records are laid out in a body.
    pub enum Format {
        /// MessagePack, or its text form on a terminal.
        Msgpack "msgpack",
        /// One JSON array for all records.
        Json "json",
        /// JSON objects without anything between them.
        JsonStream "json_stream",
        /// One JSON object a line.
        JsonLines "json_lines",
    }
}

codecs::choice! {
    /// How the date of a record is written.
    pub enum DateFormat {
        /// Seconds with a fraction, as a number.
        Double "double",
        /// `2023-11-14T22:13:20.123000Z`.
        Iso8601 "iso8601",
        /// Whole seconds.
        Epoch "epoch",
        /// Whole milliseconds.
        EpochMs "epoch_ms" | "epoch_millis" | "epoch_milliseconds",
        /// `2023-11-14 22:13:20.123000`.
        JavaSqlTimestamp "java_sql_timestamp",
    }
}

/// Name of the date's key, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateKey(pub Option<String>);

impl OptionValue for DateKey {
    const SHAPE: &'static str = "text, or false for no date";
    const COMMENT_ENDS: bool = false;
    fn parse(text: &str) -> Result<Self, String> {
        let off = ["false", "off", "no"].iter().any(|word| text.eq_ignore_ascii_case(word));
        Ok(DateKey((!off).then(|| text.to_owned())))
    }
}

/// Writes records as JSON objects with a date in front.
#[derive(Clone, Debug)]
pub struct JsonRecords {
    /// The date's key as it is named.
    key: Vec<u8>,
    /// `{"date":`, or empty when no date is wanted.
    head: Vec<u8>,
    date: DateFormat,
    escape: Escape,
}

/// How characters beyond ASCII leave, from the service's `json.escape_unicode`.
pub fn escape(escape_unicode: bool) -> Escape {
    if escape_unicode { Escape::Ascii } else { Escape::Unicode }
}

impl JsonRecords {
    /// A writer with this date.
    pub fn new(key: &DateKey, date: DateFormat, escape: Escape) -> Self {
        let mut head = Vec::new();
        if let Some(key) = &key.0 {
            head.push(b'{');
            write_text(&mut head, Text::new(key.as_bytes()), escape);
            head.push(b':');
        }
        let key = key.0.as_ref().map(|k| k.as_bytes().to_vec()).unwrap_or_default();
        JsonRecords { key, head, date, escape }
    }

    /// Appends one object.
    pub fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        // The last of two equal keys counts, as everywhere in JSON here: the record's own.
        if self.head.is_empty() || record.fields.iter().any(|f| f.key.bytes == self.key) {
            return write_fields(out, &record.fields, self.escape);
        }
        out.extend_from_slice(&self.head);
        write_date(out, record.time, self.date);
        if record.fields.is_empty() {
            return out.push(b'}');
        }
        // The fields come with their own brace, which becomes the comma after the date.
        let brace = out.len();
        write_fields(out, &record.fields, self.escape);
        if let Some(byte) = out.get_mut(brace) {
            *byte = b',';
        }
    }
}

/// Appends a date as a JSON value.
pub fn write_date(out: &mut Vec<u8>, time: Timestamp, format: DateFormat) {
    match format {
        DateFormat::Double => write_double(out, time),
        DateFormat::Epoch => out.extend_from_slice(itoa::Buffer::new().format(time.secs).as_bytes()),
        DateFormat::EpochMs => out.extend_from_slice(itoa::Buffer::new().format(time.millis()).as_bytes()),
        DateFormat::Iso8601 => {
            out.push(b'"');
            write_civil(out, time, b'T');
            out.extend_from_slice(b"Z\"");
        }
        DateFormat::JavaSqlTimestamp => {
            out.push(b'"');
            write_civil(out, time, b' ');
            out.push(b'"');
        }
    }
}

/// Appends seconds and a fraction as the shortest number that reads back as the same double; `.0` when it is whole.
fn write_double(out: &mut Vec<u8>, time: Timestamp) {
    // Up to 2^33 seconds doubles are less than 2 microseconds apart, so that the digits of a microsecond are the
    // shortest form themselves; below a microsecond the double decides.
    if (0..1 << 33).contains(&time.secs) && time.nanos.is_multiple_of(1000) {
        out.extend_from_slice(itoa::Buffer::new().format(time.secs).as_bytes());
        out.push(b'.');
        let start = out.len();
        push_padded(out, time.nanos / 1000, 6);
        while out.len() > start + 1 && out.last() == Some(&b'0') {
            out.pop();
        }
        return;
    }
    let seconds = time.secs as f64 + f64::from(time.nanos) / 1e9;
    // 16 digits, as Fluent Bit prints a time (`%.16g`): the 17th says nothing about it.
    let text =
        format!("{:.*}", (15 - seconds.abs().max(1.0).log10().floor() as i32).clamp(0, 15) as usize, seconds);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    out.extend_from_slice(whole.as_bytes());
    out.push(b'.');
    out.extend_from_slice(if fraction.is_empty() { "0" } else { fraction }.as_bytes());
}

/// Appends `2023-11-14T22:13:20.123000` in UTC, with `separator` between date and time.
fn write_civil(out: &mut Vec<u8>, time: Timestamp, separator: u8) {
    let (day, second) = (time.secs.div_euclid(86_400), time.secs.rem_euclid(86_400) as u32);
    let (year, month, day) = civil(day);
    if (0..=9999).contains(&year) {
        push_padded(out, year as u32, 4);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    }
    for (mark, value) in [
        (b'-', month),
        (b'-', day),
        (separator, second / 3600),
        (b':', second / 60 % 60),
        (b':', second % 60),
    ] {
        out.push(mark);
        push_padded(out, value, 2);
    }
    out.push(b'.');
    push_padded(out, time.nanos / 1000, 6);
}

/// Year, month and day of a number of days since 1970-01-01 (Gregorian, proleptic).
pub(crate) fn civil(days: i64) -> (i64, u32, u32) {
    // Years begin in March, so that the leap day is the last of its year; 146097 days are 400 years.
    let shifted = days.saturating_add(719_468);
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (era * 400 + year + i64::from(month <= 2), month as u32, day as u32)
}

/// Appends `value` with leading zeros to `width` digits (at most 9); it must fit.
fn push_padded(out: &mut Vec<u8>, value: u32, width: usize) {
    // A leading 1 keeps the zeros; it is cut off with what is beyond the width.
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.saturating_add(1_000_000_000)).as_bytes();
    out.extend_from_slice(&digits[digits.len() - width.min(9)..]);
}

/// Appends `1700000000.123000000`.
pub fn write_seconds_nanos(out: &mut Vec<u8>, time: Timestamp) {
    if (1_000_000_000..10_000_000_000).contains(&time.secs) {
        let (head, tail) = ((time.secs / 100_000_000) as u8, (time.secs % 100_000_000) as u32);
        let mut text = [b'.'; 20];
        text[..2].copy_from_slice(&[b'0' + head / 10, b'0' + head % 10]);
        text[2..10].copy_from_slice(&eight_digits(tail));
        text[11] = b'0' + (time.nanos / 100_000_000) as u8;
        text[12..].copy_from_slice(&eight_digits(time.nanos % 100_000_000));
        return out.extend_from_slice(&text);
    }
    out.extend_from_slice(itoa::Buffer::new().format(time.secs).as_bytes());
    out.push(b'.');
    push_padded(out, time.nanos, 9);
}

/// The digits of a number below 100,000,000: halves, then pairs, then digits, all of a kind at once.
fn eight_digits(number: u32) -> [u8; 8] {
    let number = u64::from(number);
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | ((halves - 100 * hundreds) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    (tens | ((pairs - 10 * tens) << 8) | 0x3030_3030_3030_3030).to_le_bytes()
}

/// Appends `1700000000.123000`, the time as a double with six digits.
pub fn write_seconds_micros(out: &mut Vec<u8>, time: Timestamp) {
    if (0..1 << 33).contains(&time.secs) && time.nanos.is_multiple_of(1000) {
        out.extend_from_slice(itoa::Buffer::new().format(time.secs).as_bytes());
        out.push(b'.');
        push_padded(out, time.nanos / 1000, 6);
        return;
    }
    let seconds = time.secs as f64 + f64::from(time.nanos) / 1e9;
    // Rare: only times below a microsecond need the rounding of the double.
    out.extend_from_slice(format!("{seconds:.6}").as_bytes());
}

/// Appends a value the way MessagePack's C library prints it: `{"a"=>[1, nil]}`. Strings are as they are, between
/// quotes; numbers as they were written.
pub fn print_value(out: &mut Vec<u8>, value: &Value<'_>, arena: &Bump) {
    match value {
        Value::Null => out.extend_from_slice(b"nil"),
        Value::Text(text) => print_text(out, text.bytes),
        Value::Json(_) => match codecs::json::expand(*value, arena) {
            Value::Json(raw) => out.extend_from_slice(raw),
            opened => print_value(out, &opened, arena),
        },
        Value::Map(fields) => print_fields(out, fields, arena),
        Value::Array(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                print_value(out, value, arena);
            }
            out.push(b']');
        }
        // As C's `%f`.
        Value::Float(number) if number.is_finite() => {
            out.extend_from_slice(format!("{number:.6}").as_bytes())
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Number(_) => {
            codecs::json::write_value(out, value, Escape::Unicode)
        }
    }
}

/// Appends a map in the same form: `{"a"=>1, "b"=>2}`.
pub fn print_fields(out: &mut Vec<u8>, fields: &[Field<'_>], arena: &Bump) {
    out.push(b'{');
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        print_text(out, field.key.bytes);
        out.extend_from_slice(b"=>");
        print_value(out, &field.value, arena);
    }
    out.push(b'}');
}

/// Appends a string between quotes, nothing escaped.
pub fn print_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Appends one JSON array with the records of all parts; each part holds its records with commas between.
pub fn join_array<'p>(out: &mut Vec<u8>, parts: impl IntoIterator<Item = &'p [u8]>) {
    out.push(b'[');
    for (at, part) in parts.into_iter().filter(|part| !part.is_empty()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(part);
    }
    out.push(b']');
}

/// The first `most` bytes of UTF-8 text, less the part of a character at the end.
pub(crate) fn cut_text(text: &[u8], most: usize) -> &[u8] {
    let mut end = most.min(text.len());
    // A character begins where no continuation byte stands.
    while end > 0 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn date(secs: i64, nanos: u32, format: DateFormat) -> String {
        let mut out = Vec::new();
        write_date(&mut out, Timestamp { secs, nanos }, format);
        String::from_utf8(out).expect("text")
    }

    proptest! {
        #[test]
        fn times_have_all_their_digits(secs in prop_oneof![any::<i64>(), 0i64..20_000_000_000], nanos in 0u32..1_000_000_000) {
            let mut out = Vec::new();
            write_seconds_nanos(&mut out, Timestamp { secs, nanos });
            prop_assert_eq!(String::from_utf8_lossy(&out), format!("{secs}.{nanos:09}"));
        }
    }

    #[test]
    fn dates_are_fluent_bits() {
        use DateFormat::*;
        for (secs, nanos, format, expected) in [
            (1_700_000_000, 123_000_000, Double, "1700000000.123"),
            (1_700_000_000, 0, Double, "1700000000.0"),
            (1_700_000_000, 1_000, Double, "1700000000.000001"),
            (1_700_000_000, 123_456_789, Double, "1700000000.123457"),
            (-1, 500_000_000, Double, "-0.5"),
            (0, 0, Double, "0.0"),
            (1_700_000_000, 999_999_999, Epoch, "1700000000"),
            (1_700_000_000, 123_999_999, EpochMs, "1700000000123"),
            (1_700_000_000, 123_456_789, Iso8601, "\"2023-11-14T22:13:20.123456Z\""),
            (1_700_000_000, 123_456_789, JavaSqlTimestamp, "\"2023-11-14 22:13:20.123456\""),
            (951_782_400, 0, Iso8601, "\"2000-02-29T00:00:00.000000Z\""),
            (-1, 0, Iso8601, "\"1969-12-31T23:59:59.000000Z\""),
            (4_107_542_400, 0, Iso8601, "\"2100-03-01T00:00:00.000000Z\""),
        ] {
            assert_eq!(date(secs, nanos, format), expected, "{secs} {nanos} {format:?}");
        }
    }

    #[test]
    fn no_time_makes_it_panic() {
        for secs in [i64::MIN, i64::MIN + 1, i64::MAX, 253_402_300_800] {
            for format in [DateFormat::Double, DateFormat::Iso8601, DateFormat::Epoch, DateFormat::EpochMs] {
                assert!(!date(secs, 999_999_999, format).is_empty());
            }
        }
    }

    #[test]
    fn a_record_without_fields_keeps_its_date() {
        let arena = Bump::new();
        let record = Record::new_in(&arena, Timestamp { secs: 1, nanos: 0 });
        for (key, expected) in [("date", r#"{"date":1}"#), ("a\"b", r#"{"a\"b":1}"#), ("Off", "{}")] {
            let key = DateKey::parse(key).expect("a key");
            let mut out = Vec::new();
            JsonRecords::new(&key, DateFormat::Epoch, Escape::Ascii).write(&mut out, &record);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn a_field_named_like_the_date_takes_its_place() {
        let arena = Bump::new();
        let mut record = Record::new_in(&arena, Timestamp { secs: 1, nanos: 0 });
        record.fields.push(Field::new(Text::new(b"t"), Value::Int(1)));
        record.fields.push(Field::new(Text::new(b"date"), Value::Int(2)));
        let mut out = Vec::new();
        let key = DateKey(Some("date".to_owned()));
        JsonRecords::new(&key, DateFormat::Epoch, Escape::Ascii).write(&mut out, &record);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"t":1,"date":2}"#);
    }

    proptest! {
        #[test]
        fn the_short_way_to_a_double_is_the_shortest_form(secs in 0i64..1 << 33, micros in 0u32..1_000_000) {
            let time = Timestamp { secs, nanos: micros * 1000 };
            let seconds = secs as f64 + f64::from(time.nanos) / 1e9;
            prop_assert_eq!(date(secs, time.nanos, DateFormat::Double), format!("{seconds:?}"));
            let mut out = Vec::new();
            write_seconds_micros(&mut out, time);
            prop_assert_eq!(String::from_utf8_lossy(&out), format!("{seconds:.6}"));
        }
    }
}
