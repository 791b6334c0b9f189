//! Times: text to time (`Time_Format`) and time to text (`json_date_format`, `strftime`).
//!
//! Owns: the civil calendar, formats, zones. Never: reads a clock or zone files.

mod civil;
mod parse;
mod rule;
mod write;
mod zone;

pub use parse::{Cache, Format, Options};
pub use write::{write_iso8601, write_java_sql, write_strftime};
pub use zone::{Zone, parse_offset};

/// Nanoseconds as Fluent Bit keeps a fraction of a second: it reads the digits into a double, multiplies by 1e9 and cuts,
/// so that about one value in thirty is one nanosecond less (`.065019106` is 65019105 ns). Whoever compares or
/// deduplicates by time sees the same time from either program.
#[inline]
pub(crate) fn through_double(nanos: u32) -> u32 {
    // A quotient of exact operands is rounded as the digits themselves would be.
    (f64::from(nanos) / 1e9 * 1e9) as u32
}

#[cfg(test)]
mod tests {
    #[test]
    fn fractions_are_cut_as_in_fluent_bit() {
        // The right-hand sides are what Fluent Bit 5.1.1 wrote for these fractions.
        for (nanos, kept) in [
            (65_019_106, 65_019_105),
            (65_673_107, 65_673_106),
            (66_327_108, 66_327_107),
            (443_000_000, 443_000_000),
        ] {
            assert_eq!(super::through_double(nanos), kept);
        }
        for nanos in [0, 1, 999_999_999] {
            assert!(nanos - super::through_double(nanos) <= 1);
        }
    }
}
