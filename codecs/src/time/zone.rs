//! Zones: offsets as text, and rules as the zone database writes them (RFC 8536).
//!
//! Never: opens files; the caller hands over a file's bytes.

use super::civil;
use super::rule::Rule;

/// When a zone has which offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Seconds since the epoch from which the offset of the same index holds, ascending.
    transitions: Vec<(i64, i32)>,
    /// Seconds east of UTC before the first transition.
    first: i32,
    /// Every offset that occurs, in the file's order.
    offsets: Vec<i32>,
}

impl Zone {
    /// UTC.
    pub fn utc() -> Zone {
        Zone { transitions: Vec::new(), first: 0, offsets: vec![0] }
    }

    /// Reads a TZif file's bytes; `None` when they are not one.
    pub fn from_tzif(bytes: &[u8]) -> Option<Zone> {
        let header = Header::read(bytes)?;
        if header.version < b'2' {
            return header.zone(bytes, 4);
        }
        let second = bytes.get(44 + header.length(4)..)?;
        let header = Header::read(second)?;
        let mut zone = header.zone(second, 8)?;
        // Files may stop at the last change of a rule and leave the years since to the rule behind the data.
        let rule = second.get(44 + header.length(8)..).and_then(|rest| rest.strip_prefix(b"\n"));
        if let Some(rule) = rule.and_then(|rest| Rule::parse(rest.split(|b| *b == b'\n').next()?)) {
            let last = zone.transitions.last().map_or(0, |(at, _)| *at);
            zone.transitions.extend(rule.transitions(last));
        }
        Some(zone)
    }

    /// A zone by POSIX's rule, as it may stand in `TZ`: `CET-1CEST,M3.5.0,M10.5.0/3`; `None` when it is not one.
    pub fn from_posix(text: &str) -> Option<Zone> {
        let rule = Rule::parse(text.as_bytes())?;
        let offsets = std::iter::once(rule.standard).chain(rule.summer.map(|s| s.offset)).collect();
        Some(Zone { transitions: rule.transitions(0), first: rule.standard, offsets })
    }

    /// Seconds east of UTC at a moment.
    pub fn offset_at(&self, utc: i64) -> i32 {
        match self.transitions.partition_point(|(at, _)| *at <= utc) {
            0 => self.first,
            n => self.transitions[n - 1].1,
        }
    }

    /// The moment that a local wall clock shows as `local` (seconds as if it were UTC). Where the clock shows it twice,
    /// the offset that stands first in the zone's file counts; where it never does, the one of that many seconds in UTC,
    /// as in Fluent Bit.
    pub fn to_utc(&self, local: i64) -> i64 {
        local - i64::from(self.shown(local).unwrap_or_else(|| self.offset_at(local)))
    }

    /// The same as the C library's `mktime` has it: in a gap the clock is taken not to have been put forward yet.
    pub fn to_utc_unchanged(&self, local: i64) -> i64 {
        let east = self.offsets.iter().copied().max().unwrap_or_default();
        let before = || self.offset_at(local - i64::from(east));
        local - i64::from(self.shown(local).unwrap_or_else(before))
    }

    /// The first offset under which the wall clock shows `local`.
    fn shown(&self, local: i64) -> Option<i32> {
        self.offsets.iter().copied().find(|o| self.offset_at(local - i64::from(*o)) == *o)
    }
}

struct Header {
    version: u8,
    counts: [usize; 6],
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..44).filter(|b| b.starts_with(b"TZif"))?;
        let count =
            |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let counts = [count(20), count(24), count(28), count(32), count(36), count(40)];
        // A zone has some hundreds of transitions; larger counts are nonsense and would overflow.
        counts.iter().all(|c| *c < 1 << 20).then_some(Header { version: bytes[4], counts })
    }

    fn length(&self, time: usize) -> usize {
        let [utc, std, leap, times, types, chars] = self.counts;
        times * time + times + types * 6 + chars + leap * (time + 4) + std + utc
    }

    fn zone(&self, bytes: &[u8], size: usize) -> Option<Zone> {
        let [.., times, types, _] = self.counts;
        let body = bytes.get(44..)?;
        let (moments, rest) = body.split_at_checked(times * size)?;
        let (kinds, rest) = rest.split_at_checked(times)?;
        let kinds_of: Vec<(i32, bool)> = rest
            .get(..types * 6)?
            .chunks_exact(6)
            .map(|t| (i32::from_be_bytes([t[0], t[1], t[2], t[3]]), t[4] != 0))
            .collect();
        let moment = |m: &[u8]| match m {
            [a, b, c, d] => i64::from(i32::from_be_bytes([*a, *b, *c, *d])),
            _ => m.iter().fold(0u64, |v, b| v << 8 | u64::from(*b)) as i64,
        };
        let mut transitions = Vec::with_capacity(times);
        for (at, kind) in moments.chunks_exact(size).zip(kinds) {
            transitions.push((moment(at), kinds_of.get(usize::from(*kind))?.0));
        }
        let first = kinds_of.iter().find(|(_, summer)| !summer).or(kinds_of.first())?.0;
        Some(Zone { transitions, first, offsets: kinds_of.iter().map(|(o, _)| *o).collect() })
    }
}

/// `Time_Offset`: `Z`, `+0100`, `-05:30`; seconds east of UTC.
pub fn parse_offset(text: &str) -> Result<i32, String> {
    const RULE: &str = "Z, or + or - with hours and minutes: +0100, -05:30";
    if text.starts_with('Z') {
        return Ok(0);
    }
    let (sign, digits) = match text.as_bytes().split_first() {
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        _ => return Err(RULE.into()),
    };
    let (a, b, c, d) = match digits {
        [a, b, b':', c, d] | [a, b, c, d, ..] => (a, b, c, d),
        _ => return Err(RULE.into()),
    };
    if ![a, b, c, d].iter().all(|x| x.is_ascii_digit()) {
        return Err(RULE.into());
    }
    let number = |x: &u8, y: &u8| i32::from(x - b'0') * 10 + i32::from(y - b'0');
    let (hours, minutes) = (number(a, b), number(c, d));
    if hours > 59 || minutes > 59 {
        return Err(RULE.into());
    }
    Ok(sign * (hours * 3600 + minutes * 60))
}

/// The year, month and day that a wall clock of this offset shows.
pub(super) fn local_date(utc: i64, offset: i32) -> (i64, u32, u32) {
    civil::date((utc + i64::from(offset)).div_euclid(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        for (text, seconds) in
            [("Z", 0), ("+0100", 3600), ("-05:30", -19_800), ("+00:00", 0), ("+0530", 19_800)]
        {
            assert_eq!(parse_offset(text), Ok(seconds), "{text}");
        }
        for text in ["", "0100", "+01", "+ab00", "+9900", "+1"] {
            assert!(parse_offset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_zone_file_is_read() {
        // One transition at 1000 from +0 to +3600 (summer), version 1.
        let mut file = b"TZif".to_vec();
        file.extend([0; 16]);
        for count in [0u32, 0, 0, 1, 2, 4] {
            file.extend(count.to_be_bytes());
        }
        file.extend(1000i32.to_be_bytes());
        file.push(1);
        file.extend([0, 0, 0, 0, 0, 0]);
        file.extend(3600i32.to_be_bytes());
        file.extend([1, 0, b'A', 0, b'B', 0]);
        let zone = Zone::from_tzif(&file).expect("a zone");
        assert_eq!((zone.offset_at(999), zone.offset_at(1000)), (0, 3600));
        assert_eq!((zone.to_utc(999), zone.to_utc(4600)), (999, 1000));
        for cut in 0..file.len() - 4 {
            assert_eq!(Zone::from_tzif(&file[..cut]), None, "cut {cut}");
        }
    }
}
