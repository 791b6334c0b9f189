//! The civil (proleptic Gregorian) calendar: days to dates and back, without tables or loops.

/// Days since 1970-01-01 of a date; a month beyond 1..=12 moves the year, a day beyond the month moves the month.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    // Years begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// Year, month (1..=12) and day (1..=31) of a day since 1970-01-01.
pub(super) fn date(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * march + 2) / 5 + 1) as u32;
    let month = if march < 10 { march + 3 } else { march - 9 } as u32;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// A moment of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: u32,
    pub(super) day: u32,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    /// Days since 1970-01-01.
    pub(super) days: i64,
}

impl Civil {
    /// The moment, in UTC, so many seconds after the epoch.
    pub(super) fn new(secs: i64) -> Civil {
        let (day_number, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400) as u32);
        let (year, month, day) = date(day_number);
        Civil {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            days: day_number,
        }
    }

    /// 0 is Sunday.
    pub(super) fn weekday(&self) -> u32 {
        (self.days + 4).rem_euclid(7) as u32
    }

    /// 1 is the first of January.
    pub(super) fn day_of_year(&self) -> u32 {
        (self.days - days(self.year, 1, 1)) as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_are_inverse() {
        for day in (-800_000..800_000).step_by(7) {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, i64::from(month), i64::from(of_month)), day);
        }
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2024, 2, 30), days(2024, 3, 1));
        assert_eq!(days(2024, 13, 1), days(2025, 1, 1));
        assert_eq!(
            Civil::new(951_782_400),
            Civil { year: 2000, month: 2, day: 29, hour: 0, minute: 0, second: 0, days: 11_016 }
        );
        assert_eq!((Civil::new(951_782_400).weekday(), Civil::new(951_782_400).day_of_year()), (2, 60));
    }
}
