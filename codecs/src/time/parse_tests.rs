//! Times as Fluent Bit reads them; the table was recorded from it, but for `%f` and texts without a year.

use super::*;

const NOW: Timestamp = Timestamp { secs: 1_706_970_625, nanos: 0 };

fn parse(format: &str, text: &str) -> Option<(i64, u32)> {
    let format = Format::new(format, Options { strict: true, ..Options::default() });
    let mut cache = Cache::default();
    let first = format.parse(text.as_bytes(), NOW, &mut cache);
    assert_eq!(format.parse(text.as_bytes(), NOW, &mut cache), first, "a remembered prefix changes `{text}`");
    assert_eq!(format.whole(text.as_bytes(), NOW), first, "a prefix changes `{text}`");
    first.map(|t| (t.secs, t.nanos))
}

#[test]
fn texts_and_their_times() {
    for (format, text, expected) in [
        ("%Y-%m-%dT%H:%M:%S.%L", "2024-02-03T14:30:25.123456Z", Some((1_706_970_625, 123_456_000))),
        ("%Y-%m-%dT%H:%M:%S.%L%z", "2024-02-03T14:30:25.000000001+01:00", Some((1_706_967_025, 1))),
        ("%Y-%m-%dT%H:%M:%S.%fZ", "2024-02-03T14:30:25.123Z", Some((1_706_970_625, 123_000_000))),
        ("%Y-%m-%d %H:%M:%S,%f", "2024-02-03 14:30:25,5", Some((1_706_970_625, 500_000_000))),
        ("%d/%b/%Y:%H:%M:%S %z", "10/Oct/2023:13:55:36 -0700", Some((1_696_971_336, 0))),
        ("%d/%b/%Y:%H:%M:%S %z", "10/Oct/2023:13:55:36", None),
        ("%m/%d/%y %I:%M:%S %p", "03/04/21 01:02:03 PM", Some((1_614_862_923, 0))),
        ("%m/%d/%y %I:%M:%S %p", "12/31/99 12:00:00 AM", Some((946_598_400, 0))),
        ("%s", "1700000001.5", Some((1_700_000_001, 0))),
        ("%s.%L", "1700000001.25", Some((1_700_000_001, 250_000_000))),
        ("%b %d %H:%M:%S", "Feb  7 01:02:03", Some((1_707_267_723, 0))),
        ("%b %d %H:%M:%S", "  nov 20 10:20:30", Some((1_732_098_030, 0))),
        ("%H:%M:%S", "01:02:03", Some((1_706_922_123, 0))),
        ("%Y-%j %H", "2024-060 5", Some((1_709_182_800, 0))),
        ("%Y-%j", "2023-366", Some((1_704_067_200, 0))),
        ("%Y-%m-%d", "2024-02-30", Some((1_709_251_200, 0))),
        ("%Y", "2024", Some((1_704_067_200 - 86_400, 0))),
        ("%Y-%m-%d %H:%M:%S %Z", "2024-02-03 14:30:25 CET", Some((1_706_967_025, 0))),
        ("%Y-%m-%d %H:%M:%S %Z", "2024-02-03 14:30:25 XYZ", None),
        ("%FT%TZ", "2024-02-03T14:30:25Z", Some((1_706_970_625, 0))),
        ("%Y-%m-%dT%H:%M:%S", "2024-02-03T14:30", None),
        ("%Y-%m-%dT%H:%M:%S.%L", "2024-02-03T14:30:25.", None),
        ("%Q", "x", None),
        ("%c", "Sat Feb  3 14:30:25 2024", Some((1_706_970_625, 0))),
        ("%a, %d %b %Y %T %z", "Sat, 03 Feb 2024 14:30:25 GMT", Some((1_706_970_625, 0))),
        ("%Y-%m-%dT%H:%M:%S%z", "2024-02-03T14:30:25 +05", Some((1_706_952_625, 0))),
        ("%C%y-%m-%d", "1924-02-03", Some((1_706_918_400, 0))),
        ("%Y-%m-%d %k:%M", "2024-02-03  5:06", Some((1_706_936_760, 0))),
        ("%Y-%m-%d %e", "2024-02-03 4", Some((1_707_004_800, 0))),
        ("%Y%m%d%H%M%S", "20240203143025", Some((1_706_970_625, 0))),
        ("%Y-%m-%d %H:%M:%S.%L %Z", "2024-02-03 14:30:25.5 nst", Some((1_706_983_225, 500_000_000))),
        ("%Y-%m-%d %H:%M:%S %Z", "2024-02-03 14:30:25 P", Some((1_706_981_425, 0))),
        ("%Y-%m-%d %H:%M:%S%n%z", "2024-02-03 14:30:25  EDT", Some((1_706_985_025, 0))),
        ("%Y-W%V-%u", "2024-W05-6", Some((1_703_980_800, 0))),
        ("%Y-%m-%d %H:%M:%S.%L%z", "2024-02-03 14:30:25.1234567891Z", None),
        ("%Ey-%m-%d", "24-02-03", Some((1_706_918_400, 0))),
        ("%EY-%Om-%Od", "2024-02-03", Some((1_706_918_400, 0))),
        ("%Y-%m-%d %H:%M:%60", "2024-02-03 14:30:60", None),
        ("%Y-%m-%d %H:%M:%S", "2024-02-03 24:30:25", None),
        ("%Y-%m-%d %H:%M:%S", "2024-2-3 4:3:2", Some((1_706_932_982, 0))),
    ] {
        assert_eq!(parse(format, text), expected, "`{format}` on `{text}`");
    }
}

#[test]
fn an_offset_holds_where_the_text_has_none() {
    let options = Options { offset: 3600, strict: true, ..Options::default() };
    let mut cache = Cache::default();
    let plain = Format::new("%Y-%m-%d %H:%M:%S", options.clone());
    assert_eq!(plain.parse(b"2024-02-03 14:30:25", NOW, &mut cache).map(|t| t.secs), Some(1_706_967_025));
    let zoned = Format::new("%Y-%m-%d %H:%M:%S %z", options);
    assert_eq!(
        zoned.parse(b"2024-02-03 14:30:25 +0000", NOW, &mut cache).map(|t| t.secs),
        Some(1_706_970_625)
    );
}

#[test]
fn a_prefix_is_remembered_for_its_own_text_only() {
    let format = Format::new("%Y-%m-%dT%H:%M:%S.%L", Options { strict: true, ..Options::default() });
    let mut cache = Cache::default();
    for (text, secs) in [
        ("2024-02-03T14:30:25.1", 1_706_970_625),
        ("2024-02-03T14:30:26.1", 1_706_970_626),
        ("2024-02-03T14:31:26.1", 1_706_970_686),
        ("2024-02-03T14:30:25.1", 1_706_970_625),
    ] {
        assert_eq!(format.parse(text.as_bytes(), NOW, &mut cache).map(|t| t.secs), Some(secs), "{text}");
    }
}

#[test]
fn no_cut_text_panics() {
    for format in
        ["%c %Z", "%G-%V-%u %z", "%Y-%m-%dT%H:%M:%S.%L%z", "%s", "%b %e %I %p %n%%", "%EY %Oy %EOd %"]
    {
        for text in [
            "Sat Feb  3 14:30:25 2024 UTC",
            "2024-05-6 EST",
            "2024-02-03T14:30:25.123456789+0100",
            "99999999999999999999",
        ] {
            for cut in 0..=text.len() {
                parse(format, &text[..cut]);
                let loose = Format::new(format, Options::default());
                let time = loose.parse(&text.as_bytes()[..cut], NOW, &mut Cache::default());
                assert!(time.is_none_or(|time| time.secs >= 0), "{format} {time:?}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_may_still_say_when() {
    let loose = Format::new("%Y-%m-%dT%H:%M:%S", Options::default());
    let time = |text: &str| loose.parse(text.as_bytes(), NOW, &mut Cache::default()).map(|t| t.secs);
    assert_eq!(time("2026-01-01T10"), Some(1_767_261_600));
    assert_eq!(time("2026-01-01 noon"), Some(1_767_225_600));
    assert_eq!(time("debug"), None);
    assert_eq!(time(""), None);
}

/// What Fluent Bit 5.1.1 made of these wall clocks, with `Time_Zone` and with `Time_System_Timezone` (under `TZ`).
#[test]
fn zones_with_summer_time() {
    // The offsets of the zones' files stand with summer time first.
    let berlin = || Zone::from_posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
    let new_york = || Zone::from_posix("EST5EDT,M3.2.0,M11.1.0").expect("a zone");
    let read = |options: Options, text: &str| {
        let format = Format::new("%Y-%m-%d %H:%M:%S", Options { strict: true, ..options });
        format.parse(text.as_bytes(), NOW, &mut Cache::default()).map(|t| t.secs)
    };
    let zone = |zone: Zone| Options { zone: Some(zone), ..Options::default() };
    let system = |zone: Zone| Options { system: Some(zone), ..Options::default() };
    // Text, then Europe/Berlin as zone and as system zone, and America/New_York as zone.
    let cases = [
        ("2026-01-15 12:00:00", 1_768_474_800, 1_768_474_800, 1_768_496_400),
        ("2026-07-15 12:00:00", 1_784_109_600, 1_784_109_600, 1_784_131_200),
        ("2026-03-29 01:59:59", 1_774_745_999, 1_774_745_999, 1_774_763_999),
        // Berlin's clocks never showed it.
        ("2026-03-29 02:30:00", 1_774_744_200, 1_774_747_800, 1_774_765_800),
        ("2026-03-29 03:00:00", 1_774_746_000, 1_774_746_000, 1_774_767_600),
        ("2026-10-25 01:59:59", 1_792_886_399, 1_792_886_399, 1_792_907_999),
        ("2026-10-25 03:00:00", 1_792_893_600, 1_792_893_600, 1_792_911_600),
        // New York's clocks never showed it.
        ("2026-03-08 02:30:00", 1_772_933_400, 1_772_933_400, 1_772_955_000),
        ("2036-07-01 00:00:00", 2_098_476_000, 2_098_476_000, 2_098_497_600),
    ];
    for (text, in_berlin, by_system, in_new_york) in cases {
        assert_eq!(read(zone(berlin()), text), Some(in_berlin), "zone {text}");
        assert_eq!(read(system(berlin()), text), Some(by_system), "system {text}");
        assert_eq!(read(zone(new_york()), text), Some(in_new_york), "New York {text}");
    }
}

mod remembered {
    use super::*;
    use proptest::prelude::*;

    const FORMATS: &[&str] = &[
        "%Y-%m-%dT%H:%M:%S.%LZ",
        "%Y-%m-%d %H:%M:%S.%L %z",
        "%Y-%m-%d %H:%M:%S,%L",
        "%d/%b/%Y:%H:%M:%S %z",
        "%b %d %H:%M:%S",
        "%H:%M:%S%L",
        "%H:%M:%S %Z",
        "%Y-%m-%dT%H:%M:%S",
    ];

    proptest! {
        /// Whatever was read before, the answer is that of a full reading.
        #[test]
        fn changes_nothing(
            format in prop::sample::select(FORMATS),
            strict: bool,
            texts in prop::collection::vec("(2024-02-03T|2024-02-03 |03/Feb/2024:|Feb  ?3 |)1[01]:[05]9:[0-6][0-9]?[.,]?[0-9]{0,10}(Z| ?[+]0[01]:?00|CET| UTC|)[x\\x00]?", 1..12),
        ) {
            let options = Options { strict, offset: 3600, ..Options::default() };
            let (format, mut cache) = (Format::new(format, options), Cache::default());
            for text in &texts {
                let bytes = text.as_bytes();
                let whole = format.whole(bytes.split(|b| *b == 0).next().unwrap_or_default(), NOW);
                prop_assert_eq!(format.parse(bytes, NOW, &mut cache), whole, "`{}`", text);
            }
        }
    }
}
