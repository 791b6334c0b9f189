//! Text to time: a `Time_Format` compiled to steps, as Fluent Bit's own `strptime` reads it.
//!
//! Owns: every conversion, `%L` (and `%f`, which means the same here), what a missing year or zone becomes.
//! Invariant: the remembered prefix only saves work; the answer is what a full reading gives.

use super::civil;
use super::write::names;
use super::zone::{Zone, local_date};
use crate::record::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a parser's section says about its times.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `Time_Offset`: seconds east of UTC for times without a zone.
    pub offset: i32,
    /// `Time_Strict`: a text that does not fit fails; else the part that did fit counts.
    pub strict: bool,
    /// `Time_Zone`: rules for times without a zone.
    pub zone: Option<Zone>,
    /// `Time_System_Timezone`: the machine's rules, for all times.
    pub system: Option<Zone>,
}

/// A compiled `Time_Format`.
#[derive(Debug)]
pub struct Format {
    id: u64,
    steps: Vec<Step>,
    /// What follows `%L`, when there is one.
    after: Option<Vec<Step>>,
    with_year: bool,
    with_zone: bool,
    /// Steps that end with a literal before the seconds: their result is remembered.
    prefix: Option<usize>,
    options: Options,
}

/// Longest remembered text.
const PREFIX_BYTES_MAX: usize = 32;

/// The last prefix that each of a few formats has read.
#[derive(Debug, Default)]
pub struct Cache {
    entries: [Entry; 4],
    /// The entry to replace next.
    next: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The format; 0 is none.
    id: u64,
    /// The quarter of an hour of `now`, which tells the year that a text lacks.
    quarter: i64,
    length: usize,
    text: [u8; PREFIX_BYTES_MAX],
    /// Seconds of the wall clock at second 0.
    secs: i64,
    second: Second,
}

/// What was read last up to the fraction, or as a whole where there is none: lines of one second are many.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// 0 is none.
    length: usize,
    text: [u8; PREFIX_BYTES_MAX],
    /// Seconds of the wall clock before the fraction; else of UTC.
    secs: i64,
    /// The wall clock of the last reading: only a second that comes again is worth remembering.
    last: i64,
}

/// One conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Any white space, also none.
    Space,
    /// The same, but not at the end.
    SomeSpace,
    Literal(u8),
    WeekdayName,
    MonthName,
    Century,
    /// `%e` may begin with one white space.
    Day {
        padded: bool,
    },
    Hour24,
    Hour12,
    DayOfYear,
    Minute,
    Month,
    AmPm,
    Second,
    Epoch,
    /// A number that says nothing.
    Number(i64),
    WeekdaySunday,
    WeekdayMonday,
    IsoYear,
    Year,
    ShortYear,
    ZoneName,
    Offset,
    /// Not a conversion: nothing fits.
    Never,
}

/// Broken-down time; C's `struct tm` and what `strptime` keeps beside it.
#[derive(Clone, Copy, Debug)]
struct Tm {
    year: i64,
    /// From 0.
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    day_of_year: i64,
    offset: i64,
    century: Option<i64>,
    short_year: Option<i64>,
    known: Known,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    year: bool,
    month: bool,
    day: bool,
    day_of_year: bool,
}

impl Tm {
    /// C's zeroed one: there is no month 0, but a day 0.
    const ZERO: Tm = Tm {
        year: 1900,
        month: 0,
        day: 0,
        hour: 0,
        minute: 0,
        second: 0,
        day_of_year: 0,
        offset: 0,
        century: None,
        short_year: None,
        known: Known { year: false, month: false, day: false, day_of_year: false },
    };

    fn secs(&self) -> i64 {
        civil::days(self.year, self.month + 1, self.day) * 86_400
            + self.hour * 3600
            + self.minute * 60
            + self.second
    }

    /// What the end of a reading computes: the year of `%y`, the date of `%j`.
    fn complete(&mut self) {
        if let Some(short) = self.short_year {
            self.year = match self.century {
                Some(century) => short + century,
                None if short <= 68 => short + 2000,
                None => short + 1900,
            };
            self.known.year = true;
        }
        if self.known.year && self.known.day_of_year {
            // Day 366 of a common year is the first of the next one.
            let (year, month, day) = civil::date(civil::days(self.year, 1, 1) + self.day_of_year);
            if !self.known.month {
                (self.year, self.month) = (year, i64::from(month) - 1);
            }
            if !self.known.day {
                self.day = i64::from(day);
            }
        }
    }

    /// What the start of a reading forgets.
    fn restart(&mut self) {
        (self.offset, self.century, self.short_year, self.known) = (0, None, None, Known::default());
    }
}

impl Format {
    /// Compiles a format; every text is one, but some conversions never fit.
    pub fn new(format: &str, options: Options) -> Format {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let fraction = ["%L", "%f"].iter().filter_map(|f| format.find(f)).min();
        let (before, after) = match fraction {
            Some(at) => (&format[..at], Some(compile(&format.as_bytes()[at + 2..]))),
            None => (format, None),
        };
        let with_zone =
            ["%z", "%Z", "%SZ", "%S.%LZ", "%S.%fZ", "%S,%LZ", "%S,%fZ"].iter().any(|z| format.contains(z));
        let steps = compile(before.as_bytes());
        let with_year = ["%Y", "%y", "%s"].iter().any(|y| format.contains(y));
        let prefix = prefix(&steps, after.as_deref().unwrap_or_default());
        Format {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            steps,
            after,
            with_year,
            with_zone,
            prefix,
            options,
        }
    }

    /// The first conversion of a format that nothing fits: `%Q` of `%Y-%Q`.
    pub fn unknown_conversion(format: &str) -> Option<&str> {
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            let name = rest[at + 1..].trim_start_matches(['E', 'O']);
            let end = rest.len() - name.len() + name.chars().next().map_or(0, char::len_utf8);
            let conversion = &rest[at..end];
            if !matches!(conversion, "%L" | "%f") && compile(conversion.as_bytes()).contains(&Step::Never) {
                return Some(conversion);
            }
            rest = &rest[end..];
        }
        None
    }

    /// Reads a text; `None` when it does not fit. `now` gives the date that the format lacks.
    pub fn parse(&self, text: &[u8], now: Timestamp, cache: &mut Cache) -> Option<Timestamp> {
        if let Some(time) = self.same_second(text, now, cache) {
            return Some(time);
        }
        // Fluent Bit's text is a C string.
        let text = memchr::memchr(0, text).map_or(text, |end| &text[..end]);
        if let Some(prefix) = self.prefix
            && let Some((tm, at)) = self.remembered(prefix, text, now, cache)
            && let Some(time) = self.rest(prefix, text, tm, at, cache)
        {
            return Some(time);
        }
        self.whole(text, now)
    }

    /// The quarter of an hour of `now`, where it counts.
    #[inline]
    fn quarter(&self, now: Timestamp) -> i64 {
        if self.with_year { 0 } else { now.secs.div_euclid(900) }
    }

    /// A text of the second that was read last. A zero byte behind what was read then changes nothing: no step takes one.
    #[inline]
    fn same_second(&self, text: &[u8], now: Timestamp, cache: &Cache) -> Option<Timestamp> {
        let entry = cache.entries.iter().find(|e| e.id == self.id)?;
        let Second { length, text: known, secs, .. } = &entry.second;
        if *length == 0 || text.get(..*length)? != &known[..*length] || entry.quarter != self.quarter(now) {
            return None;
        }
        match &self.after {
            None => (text.len() == *length).then_some(Timestamp { secs: *secs, nanos: 0 }),
            Some(after) => self.behind(after, text, *length, *secs),
        }
    }

    /// Fraction and zone of a text, behind the seconds of the wall clock.
    #[inline]
    fn behind(&self, after: &[Step], text: &[u8], at: usize, secs: i64) -> Option<Timestamp> {
        let (nanos, digits) = fraction(&text[at..])?;
        let at = at + digits;
        let offset = match *after {
            [] => 0,
            [Step::Literal(byte)] => (text.get(at) == Some(&byte)).then_some(0)?,
            _ => {
                let mut tm = Tm::ZERO;
                run(after, text, at, &mut tm).ok()?;
                self.offset(&tm)
            }
        };
        // A literal says nothing of a zone.
        let offset = if self.with_zone || self.options.zone.is_some() {
            offset
        } else {
            i64::from(self.options.offset)
        };
        Some(Timestamp { secs: self.utc(secs, offset), nanos })
    }

    /// The wall clock after the prefix, and where the text goes on.
    #[inline]
    fn remembered(
        &self,
        prefix: usize,
        text: &[u8],
        now: Timestamp,
        cache: &mut Cache,
    ) -> Option<(Tm, usize)> {
        let quarter = self.quarter(now);
        let known = cache.entries.iter().find(|e| e.id == self.id);
        if let Some(entry) = known
            && entry.quarter == quarter
            && text.len() >= entry.length
            && text[..entry.length] == entry.text[..entry.length]
        {
            return Some((wall_clock(entry.secs), entry.length));
        }
        let mut tm = self.start(now);
        let at = run(&self.steps[..prefix], text, self.skip(text), &mut tm).ok()?;
        tm.complete();
        let secs = tm.secs();
        if at <= PREFIX_BYTES_MAX {
            let (text_known, second) = ([0; PREFIX_BYTES_MAX], Second::default());
            let mut entry = Entry { id: self.id, quarter, length: at, text: text_known, secs, second };
            entry.text[..at].copy_from_slice(&text[..at]);
            let slot = cache.entries.iter().position(|e| e.id == self.id).unwrap_or(cache.next);
            cache.entries[slot % 4] = entry;
            cache.next = (slot + 1) % 4;
        }
        Some((wall_clock(secs), at))
    }

    /// Seconds, fraction and zone after a prefix.
    #[inline]
    fn rest(
        &self,
        prefix: usize,
        text: &[u8],
        mut tm: Tm,
        at: usize,
        cache: &mut Cache,
    ) -> Option<Timestamp> {
        let at = run(&self.steps[prefix..], text, at, &mut tm).ok()?;
        let wall = civil_secs(&tm);
        let (time, secs, length) = match &self.after {
            None => {
                let secs = self.utc(wall, self.offset(&tm));
                (Timestamp { secs, nanos: 0 }, secs, text.len())
            }
            // Without a literal before the fraction, more digits could follow.
            Some(after) => {
                let fixed = matches!(self.steps.last(), Some(Step::Literal(_)));
                (self.behind(after, text, at, wall)?, wall, if fixed { at } else { 0 })
            }
        };
        if let Some(entry) = cache.entries.iter_mut().find(|e| e.id == self.id)
            && std::mem::replace(&mut entry.second.last, wall) == wall
            && (1..=PREFIX_BYTES_MAX).contains(&length)
        {
            (entry.second.length, entry.second.secs) = (length, secs);
            entry.second.text[..length].copy_from_slice(&text[..length]);
        }
        Some(time)
    }

    /// Reads the whole text, step by step.
    fn whole(&self, text: &[u8], now: Timestamp) -> Option<Timestamp> {
        let mut tm = self.start(now);
        let mut nanos = 0;
        let fits = self.read(text, &mut tm, &mut nanos).is_some();
        if !fits && self.options.strict {
            return None;
        }
        let offset = if fits { self.offset(&tm) } else { tm.offset };
        let secs = self.utc(tm.secs(), offset);
        // What was read before it went wrong says no year: that is no time (Fluent Bit loses the record).
        (fits || secs >= 0).then_some(Timestamp { secs, nanos })
    }

    fn read(&self, text: &[u8], tm: &mut Tm, nanos: &mut u32) -> Option<()> {
        let mut at = run(&self.steps, text, self.skip(text), tm).ok()?;
        tm.complete();
        if let Some(after) = &self.after {
            let (fraction, digits) = fraction(&text[at..])?;
            (*nanos, at) = (fraction, at + digits);
            tm.restart();
            run(after, text, at, tm).ok()?;
            tm.complete();
        }
        Some(())
    }

    /// Without a year in the format, `now`'s date is where a reading starts.
    fn start(&self, now: Timestamp) -> Tm {
        let mut tm = Tm::ZERO;
        if !self.with_year {
            let zone = if self.with_zone { None } else { self.options.zone.as_ref() };
            let offset = zone.or(self.options.system.as_ref()).map_or(0, |z| z.offset_at(now.secs));
            let (year, month, day) = local_date(now.secs, offset);
            (tm.year, tm.month, tm.day) = (year, i64::from(month) - 1, i64::from(day));
            tm.known.year = true;
        }
        tm
    }

    /// Fluent Bit puts the year and a space before such a text, and a space reads any number of them.
    fn skip(&self, text: &[u8]) -> usize {
        if self.with_year { 0 } else { spaces(text, 0) }
    }

    fn offset(&self, tm: &Tm) -> i64 {
        if self.with_zone || self.options.zone.is_some() { tm.offset } else { i64::from(self.options.offset) }
    }

    fn utc(&self, local: i64, offset: i64) -> i64 {
        match (&self.options.zone, &self.options.system) {
            (Some(zone), _) if !self.with_zone => zone.to_utc(local),
            (_, Some(system)) => system.to_utc_unchanged(local),
            _ => local - offset,
        }
    }
}

/// A wall clock that only counts seconds: in the year 1970 it is so many seconds after its start.
#[inline]
fn wall_clock(secs: i64) -> Tm {
    Tm { hour: secs, ..Tm::ZERO }
}

/// The seconds of [`wall_clock`], with those read since.
#[inline]
fn civil_secs(tm: &Tm) -> i64 {
    tm.hour + tm.second
}

/// How many steps come before the seconds, when nothing after them moves the date.
fn prefix(steps: &[Step], after: &[Step]) -> Option<usize> {
    let second = steps.iter().position(|s| *s == Step::Second)?;
    let quiet = |s: &Step| matches!(s, Step::Literal(_) | Step::Space | Step::Offset | Step::ZoneName);
    let own = |s: &Step| !matches!(s, Step::Epoch | Step::Offset | Step::ZoneName | Step::Never);
    let fixed = matches!(steps.get(second.checked_sub(1)?), Some(Step::Literal(_)));
    let rest = &steps[second + 1..];
    (fixed && steps[..second].iter().all(own) && rest.iter().all(quiet) && after.iter().all(quiet))
        .then_some(second)
}

fn compile(format: &[u8]) -> Vec<Step> {
    let (mut steps, mut at) = (Vec::new(), 0);
    while let Some(&byte) = format.get(at) {
        at += 1;
        if is_space(byte) {
            steps.push(Step::Space);
        } else if byte != b'%' {
            steps.push(Step::Literal(byte));
        } else {
            let (mut e, mut o) = (false, false);
            while let Some(&modifier @ (b'E' | b'O')) = format.get(at) {
                // A second modifier is refused there.
                if e || o {
                    steps.push(Step::Never);
                }
                (e, o, at) = (modifier == b'E', modifier == b'O', at + 1);
            }
            conversion(format.get(at).copied(), e, o, &mut steps);
            at += 1;
        }
    }
    steps
}

fn conversion(c: Option<u8>, e: bool, o: bool, steps: &mut Vec<Step>) {
    let allowed = match c {
        Some(b'c' | b'X' | b'x' | b'C' | b'Y') => !o,
        Some(b'e' | b'd' | b'H' | b'I' | b'M' | b'm' | b'S' | b'U' | b'W' | b'w') => !e,
        Some(b'y' | b's' | b'u' | b'g' | b'G' | b'V' | b'Z' | b'z' | b'F' | b'%') => true,
        _ => !e && !o,
    };
    let step = match c {
        _ if !allowed => Step::Never,
        Some(b'%') => Step::Literal(b'%'),
        Some(b'c') => return steps.extend(compile(b"%a %b %e %H:%M:%S %Y")),
        Some(b'D' | b'x') => return steps.extend(compile(b"%m/%d/%y")),
        Some(b'F') => return steps.extend(compile(b"%Y-%m-%d")),
        Some(b'R') => return steps.extend(compile(b"%H:%M")),
        Some(b'r') => return steps.extend(compile(b"%I:%M:%S %p")),
        Some(b'T' | b'X') => return steps.extend(compile(b"%H:%M:%S")),
        Some(b'A' | b'a') => Step::WeekdayName,
        Some(b'B' | b'b' | b'h') => Step::MonthName,
        Some(b'C') => Step::Century,
        Some(b'e') => Step::Day { padded: true },
        Some(b'd') => Step::Day { padded: false },
        Some(b'k' | b'H') => Step::Hour24,
        Some(b'l' | b'I') => Step::Hour12,
        Some(b'j') => Step::DayOfYear,
        Some(b'M') => Step::Minute,
        Some(b'm') => Step::Month,
        Some(b'p') => Step::AmPm,
        Some(b'S') => Step::Second,
        Some(b's') => Step::Epoch,
        Some(b'U' | b'W' | b'V') => Step::Number(53),
        Some(b'w') => Step::WeekdaySunday,
        Some(b'u') => Step::WeekdayMonday,
        Some(b'g') => Step::Number(99),
        Some(b'G') => Step::IsoYear,
        Some(b'Y') => Step::Year,
        Some(b'y') => Step::ShortYear,
        Some(b'Z') => Step::ZoneName,
        Some(b'z') => Step::Offset,
        Some(b'n' | b't') => Step::SomeSpace,
        _ => Step::Never,
    };
    steps.push(step);
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn spaces(text: &[u8], at: usize) -> usize {
    text[at..].iter().position(|b| !is_space(*b)).map_or(text.len(), |n| at + n)
}

/// Nanoseconds of the last of so many digits.
const SCALE: [u32; 10] = [0, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

/// The digits of a fraction (nine at most) as nanoseconds, and how many they are.
#[inline]
fn fraction(text: &[u8]) -> Option<(u32, usize)> {
    let (mut nanos, mut digits) = (0u32, 0);
    while digits < 9
        && let Some(digit) = text.get(digits).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10)
    {
        nanos = nanos * 10 + u32::from(digit);
        digits += 1;
    }
    (digits > 0).then(|| (super::through_double(nanos * SCALE[digits]), digits))
}

/// Two digits are the common case of every field but the year.
#[inline]
fn number(text: &[u8], at: &mut usize, least: i64, most: i64) -> Option<i64> {
    let (mut value, mut left) = (0, most);
    loop {
        let digit = text.get(*at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10);
        let Some(digit) = digit else { break };
        value = value * 10 + i64::from(digit);
        *at += 1;
        left /= 10;
        if value * 10 > most || left == 0 {
            return (value >= least && value <= most).then_some(value);
        }
    }
    (left != most && value >= least && value <= most).then_some(value)
}

/// Runs steps from `at`; on failure `tm` keeps what was read before.
fn run(steps: &[Step], text: &[u8], mut at: usize, tm: &mut Tm) -> Result<usize, ()> {
    for step in steps {
        if *step == Step::Space {
            at = spaces(text, at);
            continue;
        }
        let Some(&byte) = text.get(at) else { return Err(()) };
        match *step {
            Step::Literal(wanted) if byte == wanted => at += 1,
            Step::Second => tm.second = number(text, &mut at, 0, 60).ok_or(())?,
            Step::Minute => tm.minute = number(text, &mut at, 0, 59).ok_or(())?,
            Step::Hour24 => tm.hour = number(text, &mut at, 0, 23).ok_or(())?,
            Step::Hour12 => tm.hour = number(text, &mut at, 1, 12).ok_or(())?,
            Step::AmPm => half_day(text, &mut at, tm).ok_or(())?,
            Step::Offset => offset(text, &mut at, tm).ok_or(())?,
            Step::ZoneName => zone_name(text, &mut at, tm).ok_or(())?,
            Step::Epoch => epoch(text, &mut at, tm).ok_or(())?,
            Step::Literal(_) | Step::Never => return Err(()),
            _ => date_step(*step, text, &mut at, tm).ok_or(())?,
        }
    }
    Ok(at)
}

fn date_step(step: Step, text: &[u8], at: &mut usize, tm: &mut Tm) -> Option<()> {
    match step {
        Step::Year => {
            (tm.year, tm.short_year, tm.known.year) = (number(text, at, 0, 9999)?, None, true);
        }
        Step::ShortYear => tm.short_year = Some(number(text, at, 0, 99)?),
        Step::Century => {
            // 19 is indistinguishable from no century, there.
            tm.century = Some(number(text, at, 0, 99)? * 100).filter(|c| *c != 1900);
        }
        Step::Month => (tm.month, tm.known.month) = (number(text, at, 1, 12)? - 1, true),
        Step::MonthName => (tm.month, tm.known.month) = (name(text, at, names().1)?, true),
        Step::Day { padded } => {
            if padded && is_space(*text.get(*at)?) {
                *at += 1;
            }
            (tm.day, tm.known.day) = (number(text, at, 1, 31)?, true);
        }
        Step::DayOfYear => (tm.day_of_year, tm.known.day_of_year) = (number(text, at, 1, 366)? - 1, true),
        Step::WeekdayName => {
            name(text, at, names().0)?;
        }
        Step::WeekdaySunday => {
            number(text, at, 0, 6)?;
        }
        Step::WeekdayMonday => {
            number(text, at, 1, 7)?;
        }
        Step::Number(most) => {
            number(text, at, 0, most)?;
        }
        Step::IsoYear => {
            *at += 1;
            *at += text[*at..].iter().take_while(|b| b.is_ascii_digit()).count();
        }
        Step::SomeSpace => *at = spaces(text, *at),
        _ => return None,
    }
    Some(())
}

/// A full or short name, in any case.
fn name(text: &[u8], at: &mut usize, names: &[&str]) -> Option<i64> {
    let fits = |name: &[u8]| text.get(*at..*at + name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
    for (index, full) in names.iter().enumerate() {
        for length in [full.len(), 3] {
            if fits(&full.as_bytes()[..length]) {
                *at += length;
                return Some(index as i64);
            }
        }
    }
    None
}

fn half_day(text: &[u8], at: &mut usize, tm: &mut Tm) -> Option<()> {
    let word = text.get(*at..*at + 2)?;
    let afternoon = word.eq_ignore_ascii_case(b"PM");
    if (!afternoon && !word.eq_ignore_ascii_case(b"AM")) || tm.hour > 12 {
        return None;
    }
    tm.hour = tm.hour % 12 + if afternoon { 12 } else { 0 };
    *at += 2;
    Some(())
}

fn epoch(text: &[u8], at: &mut usize, tm: &mut Tm) -> Option<()> {
    /// There it stops before a number of seconds could overflow.
    const MOST: i64 = 922_337_203_685_477_580;
    let digits = text[*at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut secs: i64 = 0;
    for byte in &text[*at..*at + digits] {
        secs = secs * 10 + i64::from(byte - b'0');
        if secs >= MOST {
            return None;
        }
    }
    if digits == 0 {
        return None;
    }
    *at += digits;
    let moment = civil::Civil::new(secs);
    (tm.year, tm.month, tm.day) = (moment.year, i64::from(moment.month) - 1, i64::from(moment.day));
    (tm.hour, tm.minute, tm.second) =
        (i64::from(moment.hour), i64::from(moment.minute), i64::from(moment.second));
    tm.offset = 0;
    tm.known = Known { year: true, month: true, day: true, day_of_year: true };
    Some(())
}

/// `%z`: `Z`, `+hhmm`, `+hh:mm`, `+hh`, `GMT`, `UT`, `UTC`, and the four zones of North America.
fn offset(text: &[u8], at: &mut usize, tm: &mut Tm) -> Option<()> {
    *at = spaces(text, *at);
    let rest = &text[*at..];
    let sign = match rest.first()? {
        b'+' => 1,
        b'-' => -1,
        b'Z' => return zone(at, tm, 1, 0),
        b'G' if rest.starts_with(b"GMT") => return zone(at, tm, 3, 0),
        b'U' if rest.starts_with(b"UTC") => return zone(at, tm, 3, 0),
        b'U' if rest.starts_with(b"UT") => return zone(at, tm, 2, 0),
        b'G' | b'U' => return None,
        _ => {
            let word = rest.get(..3)?.to_ascii_uppercase();
            let hours =
                ["EST", "CST", "MST", "PST"].iter().position(|z| z.as_bytes() == word).map(|n| -5 - n as i64);
            let summer =
                ["EDT", "CDT", "MDT", "PDT"].iter().position(|z| z.as_bytes() == word).map(|n| -4 - n as i64);
            return zone(at, tm, 3, hours.or(summer)? * 3600);
        }
    };
    let digit = |at: usize| rest.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10).map(i64::from);
    let mut secs = (digit(1)? * 10 + digit(2)?) * 3600;
    let mut length = 3 + usize::from(rest.get(3) == Some(&b':'));
    if let Some(tens) = digit(length) {
        secs += (tens * 10 + digit(length + 1)?) * 60;
        length += 2;
    }
    zone(at, tm, length, sign * secs)
}

fn zone(at: &mut usize, tm: &mut Tm, length: usize, offset: i64) -> Option<()> {
    *at += length;
    tm.offset = offset;
    Some(())
}

/// Abbreviations that `%Z` knows, in quarters of an hour east of UTC.
const ZONES: &[(&str, i64)] = &[
    ("GMT", 0),
    ("UTC", 0),
    ("UT", 0),
    ("EST", -20),
    ("EDT", -16),
    ("CST", -24),
    ("CDT", -20),
    ("MST", -28),
    ("MDT", -24),
    ("PST", -32),
    ("PDT", -28),
    ("AKST", -36),
    ("AKDT", -32),
    ("HST", -40),
    ("HADT", -36),
    ("AST", -16),
    ("ADT", -12),
    ("NST", -14),
    ("NDT", -10),
    ("WET", 0),
    ("WEST", 4),
    ("CET", 4),
    ("CEST", 8),
    ("EET", 8),
    ("EEST", 12),
    ("MSK", 12),
    ("ART", -12),
    ("BRT", -12),
    ("BRST", -8),
    ("CLT", -16),
    ("CLST", -12),
    ("AEST", 40),
    ("AEDT", 44),
    ("ACST", 38),
    ("ACDT", 42),
    ("AWST", 32),
    ("NZST", 48),
    ("NZDT", 52),
    ("JST", 36),
    ("KST", 36),
    ("SGT", 32),
    ("IST", 22),
    ("GST", 16),
    ("ICT", 28),
    ("WIB", 28),
    ("WITA", 32),
    ("WIT", 36),
    ("MYT", 32),
    ("BDT", 24),
    ("NPT", 23),
    ("WAT", 4),
    ("CAT", 8),
    ("EAT", 12),
    ("SAST", 8),
];

fn zone_name(text: &[u8], at: &mut usize, tm: &mut Tm) -> Option<()> {
    let rest = &text[*at..];
    let word = &rest[..rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count()];
    if let Some((name, quarters)) = ZONES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
    {
        return zone(at, tm, name.len(), quarters * 900);
    }
    if let [letter] = word {
        // The military zones; J is the observer's own.
        let hours = match letter.to_ascii_uppercase() {
            c @ b'A'..=b'I' => i64::from(c - b'A') + 1,
            c @ b'K'..=b'M' => i64::from(c - b'K') + 10,
            c @ b'N'..=b'Y' => -i64::from(c - b'N') - 1,
            b'Z' => 0,
            _ => return None,
        };
        return zone(at, tm, 1, hours * 3600);
    }
    if rest.starts_with(b"GMT") || rest.starts_with(b"UTC") { zone(at, tm, 3, 0) } else { None }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
