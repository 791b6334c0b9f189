//! Times: text to time (`Time_Format`) and time to text (`json_date_format`, `strftime`).
//!
//! Owns: the civil calendar, formats. Never: reads a clock or zone files.

use crate::record::Timestamp;

/// Appends `t` (UTC) as `format` says (the conversions of C's `strftime`, and `%3N`, `%L` for milliseconds).
pub fn write_strftime(out: &mut Vec<u8>, format: &str, t: Timestamp) {
    let _ = (out, format, t);
}

/// Appends `2024-02-03T14:30:25.123456Z`.
pub fn write_iso8601(out: &mut Vec<u8>, t: Timestamp) {
    let _ = (out, t);
}

/// Appends `2024-02-03 14:30:25.123456`.
pub fn write_java_sql(out: &mut Vec<u8>, t: Timestamp) {
    let _ = (out, t);
}
