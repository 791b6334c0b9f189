//! The rule of a zone as POSIX writes it (`CET-1CEST,M3.5.0,M10.5.0/3`): in `TZ`, and at the end of a zone's file for
//! the years after its last transition.
//!
//! Never: follows a rule for ever; it is written out for the years up to [`YEAR_MAX`].

use super::civil;

/// The last year whose summer time is known.
const YEAR_MAX: i64 = 2199;

/// A parsed rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Seconds east of UTC outside summer time.
    pub(super) standard: i32,
    pub(super) summer: Option<Summer>,
}

/// Summer time: its offset, and when it begins and ends by the wall clock that holds until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summer {
    pub(super) offset: i32,
    begin: Change,
    end: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    /// Seconds after midnight; may be negative or beyond a day.
    time: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// `Jn`: from 1 to 365, the 29th of February is never counted.
    Julian(i64),
    /// `n`: from 0 to 365.
    Ordinal(i64),
    /// `Mm.w.d`: the w-th (5: the last) weekday d of month m.
    Weekday { month: i64, week: i64, weekday: i64 },
}

impl Rule {
    /// Reads a rule; `None` when the text is none.
    pub(super) fn parse(text: &[u8]) -> Option<Rule> {
        let mut reader = Reader { rest: text };
        reader.name()?;
        let standard = -reader.offset()?;
        if reader.rest.is_empty() {
            return Some(Rule { standard, summer: None });
        }
        reader.name()?;
        let offset = match reader.rest.first() {
            None | Some(b',') => standard + 3600,
            Some(_) => -reader.offset()?,
        };
        // Without dates, those of the United States hold, as in the C library.
        let usual = |month, week| Change { day: Day::Weekday { month, week, weekday: 0 }, time: 7200 };
        let (mut begin, mut end) = (usual(3, 2), usual(11, 1));
        if !reader.rest.is_empty() {
            begin = reader.change()?;
            end = reader.change()?;
        }
        reader.rest.is_empty().then_some(Rule { standard, summer: Some(Summer { offset, begin, end }) })
    }

    /// Its transitions from the year of `after` on, later than that moment, in order.
    pub(super) fn transitions(&self, after: i64) -> Vec<(i64, i32)> {
        let Some(summer) = self.summer else { return Vec::new() };
        let first = civil::date(after.div_euclid(86_400)).0;
        let mut all: Vec<(i64, i32)> = (first..=YEAR_MAX)
            .flat_map(|year| {
                let begin = summer.begin.at(year) - i64::from(self.standard);
                let end = summer.end.at(year) - i64::from(summer.offset);
                [(begin, summer.offset), (end, self.standard)]
            })
            .filter(|(at, _)| *at > after)
            .collect();
        all.sort_unstable();
        all
    }
}

impl Change {
    /// Seconds since the epoch, as the wall clock counts them.
    fn at(self, year: i64) -> i64 {
        let first = civil::days(year, 1, 1);
        let day = match self.day {
            Day::Ordinal(n) => first + n,
            Day::Julian(n) => first + n - i64::from(n < 60 || civil::days(year, 3, 1) - first == 59),
            Day::Weekday { month, week, weekday } => {
                let start = civil::days(year, month, 1);
                let end = civil::days(year, month + 1, 1);
                // The epoch was a Thursday.
                let day = start + (weekday - (start + 4)).rem_euclid(7) + (week - 1) * 7;
                if day >= end { day - 7 } else { day }
            }
        };
        day * 86_400 + i64::from(self.time)
    }
}

struct Reader<'t> {
    rest: &'t [u8],
}

impl Reader<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        self.rest = &self.rest[usize::from(found)..];
        found
    }

    /// `CET`, or `<+03>`.
    fn name(&mut self) -> Option<()> {
        let quoted = self.eat(b'<');
        let inside = |b: &u8| b.is_ascii_alphabetic() || quoted && (b.is_ascii_digit() || b"+-".contains(b));
        let len = self.rest.iter().take_while(|b| inside(b)).count();
        self.rest = &self.rest[len..];
        (len >= 3 && (!quoted || self.eat(b'>'))).then_some(())
    }

    fn number(&mut self, max: i32) -> Option<i32> {
        let len = self.rest.iter().take(4).take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        let value = digits.iter().fold(0, |n, b| n * 10 + i32::from(b - b'0'));
        (len > 0 && value <= max).then_some(value)
    }

    /// `[+-]hh[:mm[:ss]]` in seconds.
    fn offset(&mut self) -> Option<i32> {
        let sign = if self.eat(b'-') { -1 } else { 1 };
        if sign == 1 {
            self.eat(b'+');
        }
        let mut seconds = self.number(167)? * 3600;
        if self.eat(b':') {
            seconds += self.number(59)? * 60;
            if self.eat(b':') {
                seconds += self.number(59)?;
            }
        }
        Some(sign * seconds)
    }

    /// `,date[/time]`.
    fn change(&mut self) -> Option<Change> {
        if !self.eat(b',') {
            return None;
        }
        let day = if self.eat(b'J') {
            Day::Julian(i64::from(self.number(365).filter(|n| *n > 0)?))
        } else if self.eat(b'M') {
            let mut part = |low: i32, high: i32, dot: bool| {
                let number = self.number(high).filter(|n| *n >= low)?;
                (!dot || self.eat(b'.')).then_some(i64::from(number))
            };
            Day::Weekday { month: part(1, 12, true)?, week: part(1, 5, true)?, weekday: part(0, 6, false)? }
        } else {
            Day::Ordinal(i64::from(self.number(365)?))
        };
        let time = if self.eat(b'/') { self.offset()? } else { 7200 };
        Some(Change { day, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_change_when_the_clocks_do() {
        // Moments are those of `zdump -v` for the zones named.
        type Changes = [(i64, i32)];
        let cases: &[(&str, i64, &Changes)] = &[
            // Europe/Berlin, 2026.
            ("CET-1CEST,M3.5.0,M10.5.0/3", 1_767_225_600, &[(1_774_746_000, 7200), (1_792_890_000, 3600)]),
            // America/New_York, 2026, and the same by default.
            ("EST5EDT,M3.2.0,M11.1.0", 1_767_225_600, &[(1_772_953_200, -14_400), (1_793_512_800, -18_000)]),
            ("EST5EDT", 1_767_225_600, &[(1_772_953_200, -14_400), (1_793_512_800, -18_000)]),
            // Australia/Sydney, 2026: the year begins in summer.
            (
                "AEST-10AEDT,M10.1.0,M4.1.0/3",
                1_767_225_600,
                &[(1_775_318_400, 36_000), (1_791_043_200, 39_600)],
            ),
            // The 60th day is the first of March, in leap years too; the ordinal 59 is the 29th of February then.
            ("AAA0BBB,J60/0,J61/0", 1_704_067_200, &[(1_709_251_200, 3600), (1_709_334_000, 0)]),
            ("AAA0BBB,59/0,60/0", 1_704_067_200, &[(1_709_164_800, 3600), (1_709_247_600, 0)]),
        ];
        for (text, after, want) in cases {
            let rule = Rule::parse(text.as_bytes()).expect(text);
            assert_eq!(&rule.transitions(*after)[..2], *want, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (text, standard) in [("UTC0", 0), ("<+0330>-3:30", 12_600), ("<-03>3", -10_800)] {
            assert_eq!(Rule::parse(text.as_bytes()), Some(Rule { standard, summer: None }), "{text}");
        }
        for text in [
            "",
            "UTC",
            "Europe/Berlin",
            "A1",
            "<+03-3",
            "CET-1CEST,M3.5.0",
            "CET-1CEST,M13.1.0,M1.1.0",
            "CET-1x",
        ] {
            assert_eq!(Rule::parse(text.as_bytes()), None, "{text}");
        }
        let whole = b"CET-1CEST,M3.5.0,M10.5.0/3";
        for cut in 0..whole.len() {
            let _ = Rule::parse(&whole[..cut]);
        }
    }
}
