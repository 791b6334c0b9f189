//! Times as text, for log lines and for the head of a record.

/// Seconds from 1970-01-01 to 2026-01-15, where every corpus begins: a fixed day keeps the bytes stable.
pub(crate) const START: u64 = 1_768_435_200;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    year: u64,
    month: u64,
    day: u64,
    second: u64,
    micros: u64,
}

impl Moment {
    /// From seconds and microseconds since 1970.
    pub(crate) fn new(seconds: u64, micros: u64) -> Moment {
        // Days since 0000-03-01, in eras of 400 years (Howard Hinnant's civil_from_days).
        let days = seconds / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let march = (5 * day + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        Moment {
            year: era * 400 + year + u64::from(month <= 2),
            month,
            day: day - (153 * march + 2) / 5 + 1,
            second: seconds % 86_400,
            micros,
        }
    }

    /// Time of line `index` of a corpus: rising, a bit under a millisecond apart, irregular.
    pub(crate) fn of_line(index: u64) -> Moment {
        let micros = index * 613 + index % 7 * 41;
        Moment::new(START + micros / 1_000_000, micros % 1_000_000)
    }

    /// `13:50:34`.
    fn time(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.second / 3600, self.second / 60 % 60, self.second % 60)
    }

    /// `2026-01-15T13:50:34`.
    pub(crate) fn iso(&self) -> String {
        format!("{:04}-{:02}-{:02}T{}", self.year, self.month, self.day, self.time())
    }

    /// `2026-01-15T13:50:34.443Z`.
    pub(crate) fn iso_millis(&self) -> String {
        format!("{}.{:03}Z", self.iso(), self.micros / 1000)
    }

    /// `2026-01-15T13:50:34.443818005Z`; `nanos` are the last three digits.
    pub(crate) fn iso_nanos(&self, nanos: u64) -> String {
        format!("{}.{:06}{nanos:03}Z", self.iso(), self.micros)
    }

    /// `15/Jan/2026:13:50:34 +0000`.
    pub(crate) fn access_log(&self) -> String {
        format!("{:02}/{}/{:04}:{} +0000", self.day, MONTHS[self.month as usize - 1], self.year, self.time())
    }

    /// `Jan 15, 2026 13:50:34`.
    pub(crate) fn java(&self) -> String {
        format!("{} {:02}, {:04} {}", MONTHS[self.month as usize - 1], self.day, self.year, self.time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_text() {
        let moment = Moment::new(START + 49_834, 443_818);
        assert_eq!(moment.iso_millis(), "2026-01-15T13:50:34.443Z");
        assert_eq!(moment.iso_nanos(5), "2026-01-15T13:50:34.443818005Z");
        assert_eq!(moment.access_log(), "15/Jan/2026:13:50:34 +0000");
        assert_eq!(moment.java(), "Jan 15, 2026 13:50:34");
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_798_761_599, "2026-12-31T23:59:59"),
        ] {
            assert_eq!(Moment::new(seconds, 0).iso(), want);
        }
    }
}
