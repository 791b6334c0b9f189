//! Times: text to time (`Time_Format`) and time to text (`json_date_format`, `strftime`).
//!
//! Owns: the civil calendar, formats, zones. Never: reads a clock or zone files.

mod civil;
mod parse;
mod write;
mod zone;

pub use parse::{Cache, Format, Options};
pub use write::{write_iso8601, write_java_sql, write_strftime};
pub use zone::{Zone, parse_offset};
