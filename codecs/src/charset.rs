//! Text in other encodings than UTF-8: where its lines end, what it begins with, and its conversion.
//!
//! Owns: the names of encodings, newlines and byte order marks in them, safe places to cut. Never: reads files, keeps
//! state between two lines.
//! Invariants: a converted line is valid UTF-8; what has no meaning in the encoding becomes U+FFFD, and nothing else is
//! touched. In all encodings but UTF-16, the byte 0x0A is a newline and part of nothing else.

use crate::BumpVec;
use bumpalo::Bump;
use encoding_rs as table;

/// How the bytes of a text are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, or what is passed through as it is.
    #[default]
    Utf8,
    /// UTF-16, the low byte first.
    Utf16Le,
    /// UTF-16, the high byte first.
    Utf16Be,
    /// An encoding whose ASCII is one byte each: an East Asian one, or a code page.
    Table(&'static table::Encoding),
}

/// The names of Fluent Bit's `Generic.Encoding`, in any case, and what they mean.
const NAMES: &[(&[&str], &table::Encoding)] = &[
    (&["ShiftJIS", "SJIS", "CP932", "Windows-31J"], table::SHIFT_JIS),
    (&["GB18030"], table::GB18030),
    (&["UHC", "CP949", "Windows-949"], table::EUC_KR),
    (&["Big5", "CP950"], table::BIG5),
    (&["Win866", "CP866"], table::IBM866),
    (&["Win874", "CP874"], table::WINDOWS_874),
    (&["Win1250", "CP1250"], table::WINDOWS_1250),
    (&["Win1251", "CP1251"], table::WINDOWS_1251),
    (&["Win1252", "CP1252"], table::WINDOWS_1252),
    (&["Win1253", "CP1253"], table::WINDOWS_1253),
    (&["Win1254", "CP1254"], table::WINDOWS_1254),
    (&["Win1255", "CP1255"], table::WINDOWS_1255),
    (&["Win1256", "CP1256"], table::WINDOWS_1256),
    (&["GBK", "CP936"], table::GBK),
];

const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";

impl Charset {
    /// The encoding of this name, one of [`Charset::names`].
    pub fn named(name: &str) -> Option<Charset> {
        let is_it = |names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        NAMES.iter().find(|(names, _)| is_it(names)).map(|(_, encoding)| Charset::Table(encoding))
    }

    /// Every name that [`Charset::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().flat_map(|(names, _)| names.iter().copied())
    }

    /// Bytes of its smallest character.
    pub fn unit(self) -> usize {
        match self {
            Charset::Utf16Le | Charset::Utf16Be => 2,
            Charset::Utf8 | Charset::Table(_) => 1,
        }
    }

    /// A newline.
    pub fn newline(self) -> &'static [u8] {
        match self {
            Charset::Utf16Le => b"\n\0",
            Charset::Utf16Be => b"\0\n",
            Charset::Utf8 | Charset::Table(_) => b"\n",
        }
    }

    /// Where the first newline of `text` begins; `text` begins with a whole character.
    #[inline]
    pub fn first_newline(self, text: &[u8]) -> Option<usize> {
        match self {
            Charset::Utf16Le | Charset::Utf16Be => {
                memchr::memchr_iter(b'\n', text).find_map(|at| self.newline_with(text, at))
            }
            Charset::Utf8 | Charset::Table(_) => memchr::memchr(b'\n', text),
        }
    }

    /// Where the last newline of `text` begins; `text` begins with a whole character.
    #[inline]
    pub fn last_newline(self, text: &[u8]) -> Option<usize> {
        match self {
            Charset::Utf16Le | Charset::Utf16Be => {
                memchr::memrchr_iter(b'\n', text).find_map(|at| self.newline_with(text, at))
            }
            Charset::Utf8 | Charset::Table(_) => memchr::memrchr(b'\n', text),
        }
    }

    /// Where a newline of UTF-16 begins that has its byte 0x0A at `at`.
    fn newline_with(self, text: &[u8], at: usize) -> Option<usize> {
        let start = at & !1;
        (text.get(start..start + 2)? == self.newline()).then_some(start)
    }

    /// Length of the part of `text` that ends with its last newline; 0 when there is none.
    pub fn whole_lines(self, text: &[u8]) -> usize {
        self.last_newline(text).map_or(0, |at| at + self.unit())
    }

    /// What the first bytes of a text say of its encoding: its byte order mark; else zeros beside ASCII; else UTF-8
    /// where it is that, and UTF-16LE where it could be. `None` when more bytes are needed.
    pub fn detect(head: &[u8]) -> Option<Charset> {
        let pair: [u8; 2] = head.get(..2)?.try_into().ok()?;
        Some(match pair {
            [0xFF, 0xFE] => Charset::Utf16Le,
            [0xFE, 0xFF] => Charset::Utf16Be,
            [0, 0] => Charset::Utf8,
            [0, _] => Charset::Utf16Be,
            [_, 0] => Charset::Utf16Le,
            _ => match std::str::from_utf8(head) {
                Err(error) if error.error_len().is_some() && is_utf16_le(head) => Charset::Utf16Le,
                _ => Charset::Utf8,
            },
        })
    }

    /// Length of the byte order mark that `head` begins with; `None` when more bytes are needed to tell.
    pub fn mark_len(self, head: &[u8]) -> Option<usize> {
        let mark: &[u8] = match self {
            Charset::Utf16Le => b"\xFF\xFE",
            Charset::Utf16Be => b"\xFE\xFF",
            Charset::Utf8 => UTF8_MARK,
            Charset::Table(_) => return Some(0),
        };
        match head.len() < mark.len() && mark.starts_with(head) {
            true => None,
            false if head.starts_with(mark) => Some(mark.len()),
            false => Some(0),
        }
    }

    /// The line in UTF-8, in `arena` where it is not `line` itself; true when something in it had no meaning.
    pub fn to_utf8<'a>(self, line: &'a [u8], arena: &'a Bump) -> (&'a [u8], bool) {
        let encoding = match self {
            Charset::Utf8 => return (line, false),
            Charset::Utf16Le => table::UTF_16LE,
            Charset::Utf16Be => table::UTF_16BE,
            Charset::Table(encoding) => {
                if table::Encoding::ascii_valid_up_to(line) == line.len() {
                    return (line, false);
                }
                encoding
            }
        };
        let mut decoder = encoding.new_decoder_without_bom_handling();
        let mut out = BumpVec::with_capacity_in(line.len() + SLACK, arena);
        let (mut read, mut written, mut replaced) = (0, 0, false);
        loop {
            out.resize(out.capacity(), 0);
            let (result, took, made, errors) =
                decoder.decode_to_utf8(&line[read..], &mut out[written..], true);
            (read, written, replaced) = (read + took, written + made, replaced | errors);
            if result == table::CoderResult::InputEmpty {
                break;
            }
            // A character makes up to three bytes of one.
            out.reserve(line.len() - read + SLACK);
        }
        out.truncate(written);
        (out.into_bump_slice(), replaced)
    }

    /// Where to cut a line that is at least `limit` bytes long: at most `limit`, and not inside a character.
    pub fn cut_at(self, line: &[u8], limit: usize) -> usize {
        let limit = limit.min(line.len());
        let cut = match self {
            Charset::Utf8 if limit < line.len() => {
                (0..=limit).rev().find(|&at| line[at] & 0xC0 != 0x80).unwrap_or(0)
            }
            Charset::Utf8 => limit,
            Charset::Utf16Le | Charset::Utf16Be => {
                let even = limit & !1;
                let high = |at: usize| line[if self == Charset::Utf16Le { at + 1 } else { at }];
                match even >= 2 && (0xD8..0xDC).contains(&high(even - 2)) {
                    true => even - 2,
                    false => even,
                }
            }
            Charset::Table(encoding) => whole_characters(encoding, line, limit),
        };
        // Not text at all: a cut at nothing would lose what there is.
        if cut == 0 { limit } else { cut }
    }

    /// Ends what may stop inside a character, so that a newline can follow.
    pub fn complete(self, text: &mut Vec<u8>) {
        if text.len().is_multiple_of(self.unit()) {
            return;
        }
        // Half a character is half a pair of surrogates: both become U+FFFD.
        text.pop();
        let half: &[u8] = if self == Charset::Utf16Le { b"\0\xD8" } else { b"\xD8\0" };
        text.extend_from_slice(half);
    }
}

/// More room than any one character takes.
const SLACK: usize = 16;

fn is_utf16_le(head: &[u8]) -> bool {
    let units = head.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    // The last unit may be the first half of a character that goes on.
    let mut units = char::decode_utf16(units).peekable();
    std::iter::from_fn(|| Some((units.next()?, units.peek().is_none())))
        .all(|(unit, last)| last || unit.is_ok())
}

/// Length of the characters of `line` that are whole within `limit` bytes.
fn whole_characters(encoding: &'static table::Encoding, line: &[u8], limit: usize) -> usize {
    if encoding.is_single_byte() {
        return limit;
    }
    let mut at = 0;
    while at < limit {
        let len = match (line[at], line.get(at + 1)) {
            (0..=0x80 | 0xFF, _) => 1,
            (0xA0..=0xDF, _) if encoding == table::SHIFT_JIS => 1,
            (_, Some(0x30..=0x39)) if encoding == table::GB18030 || encoding == table::GBK => 4,
            (_, Some(0..=0x3F)) => 1,
            _ => 2,
        };
        if at + len > limit {
            break;
        }
        at += len;
    }
    at
}

/// The lines of a block in UTF-8, each without its newline (a `\r` before it stays).
#[derive(Debug)]
pub struct Converted<'a> {
    charset: Charset,
    block: &'a [u8],
    arena: &'a Bump,
    at: usize,
    /// Lines in which something became U+FFFD.
    pub replaced: u64,
}

impl<'a> Converted<'a> {
    /// Lines of `block`, which begins with a whole character.
    pub fn new(charset: Charset, block: &'a [u8], arena: &'a Bump) -> Self {
        Converted { charset, block, arena, at: 0, replaced: 0 }
    }

    /// Offset in the block of the first byte that no line has covered yet.
    pub fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Converted<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.block[self.at..];
        let end = self.charset.first_newline(rest)?;
        self.at += end + self.charset.unit();
        let (line, replaced) = self.charset.to_utf8(&rest[..end], self.arena);
        self.replaced += u64::from(replaced);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(charset: Charset, text: &str) -> Vec<u8> {
        match charset {
            Charset::Utf8 => text.as_bytes().to_vec(),
            Charset::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Charset::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Charset::Table(encoding) => encoding.encode(text).0.into_owned(),
        }
    }

    /// What one encoding can say, with bytes of other newlines in it.
    const SAMPLES: &[(&str, &str)] = &[
        ("ShiftJIS", "日本語ソ表ｱｲｳ\\~"),
        ("UHC", "한국어 똠방각하"),
        ("GBK", "中文 丂€"),
        ("GB18030", "中文 ㄱ 😀 ÿ"),
        ("Big5", "繁體中文 功許"),
        ("Win866", "Привет №"),
        ("Win874", "สวัสดี…"),
        ("Win1250", "Žluťoučký kůň"),
        ("Win1251", "Привет €"),
        ("Win1252", "naïve – “€”"),
        ("Win1253", "Ελληνικά"),
        ("Win1254", "İstanbul ğş"),
        ("Win1255", "שלום"),
        ("Win1256", "مرحبا پ"),
    ];

    fn all() -> Vec<(Charset, &'static str)> {
        let mut all: Vec<_> =
            SAMPLES.iter().map(|(name, text)| (Charset::named(name).expect("a name"), *text)).collect();
        // U+0A00 to U+0AFF and U+010A hold the byte of a newline.
        let wide = "aĊ\u{A0A}ઊ\u{A00}日😀 \u{D7FF}\u{E000}";
        all.extend([Charset::Utf16Le, Charset::Utf16Be, Charset::Utf8].map(|c| (c, wide)));
        all
    }

    #[test]
    fn every_name_is_known_in_any_case() {
        for name in Charset::names() {
            assert!(matches!(Charset::named(&name.to_uppercase()), Some(Charset::Table(_))), "{name}");
            assert_eq!(Charset::named(name), Charset::named(&name.to_lowercase()));
        }
        assert_eq!(Charset::named("CP1251"), Some(Charset::Table(table::WINDOWS_1251)));
        assert_eq!((Charset::named("latin1"), Charset::named("UTF-8")), (None, None));
    }

    #[test]
    fn lines_come_back_as_they_were_said() {
        for (charset, text) in all() {
            let lines = [text, "", "plain", text, &text.repeat(50)];
            let block: Vec<u8> = lines.iter().flat_map(|l| of(charset, &format!("{l}\r\n"))).collect();
            let arena = Bump::new();
            let mut converted = Converted::new(charset, &block, &arena);
            for line in lines {
                let (at, got) = (converted.offset(), converted.next().expect("a line"));
                assert_eq!(std::str::from_utf8(got).expect("UTF-8"), format!("{line}\r"), "{charset:?}");
                assert_eq!(converted.offset() - at, of(charset, &format!("{line}\r\n")).len());
            }
            assert_eq!((converted.next(), converted.replaced), (None, 0));
            assert_eq!(charset.whole_lines(&block), block.len());
        }
    }

    #[test]
    fn cuts_fall_between_characters() {
        for (charset, text) in all() {
            let (line, arena) = (of(charset, text), Bump::new());
            for limit in 4..=line.len() {
                let cut = charset.cut_at(&line, limit);
                assert!(cut <= limit && cut + 4 > limit, "{charset:?} {limit} {cut}");
                let (said, replaced) = charset.to_utf8(&line[..cut], &arena);
                assert!(!replaced && text.as_bytes().starts_with(said), "{charset:?} {limit}");
            }
            assert_eq!(charset.cut_at(&line, line.len() + 9), line.len());
        }
        assert_eq!(Charset::Utf8.cut_at(&[0x80; 9], 4), 4);
    }

    #[test]
    fn a_text_is_known_by_its_head() {
        let cases: &[(&[u8], Option<Charset>, Option<usize>)] = &[
            (b"", None, None),
            (b"a", None, None),
            (b"\xFF\xFEa\0", Some(Charset::Utf16Le), Some(2)),
            (b"\xFE\xFF\0a", Some(Charset::Utf16Be), Some(2)),
            (b"\xEF\xBB\xBFa", Some(Charset::Utf8), Some(3)),
            (b"\xEF\xBB", Some(Charset::Utf8), None),
            (b"a\0b\0", Some(Charset::Utf16Le), Some(0)),
            (b"\n\0", Some(Charset::Utf16Le), Some(0)),
            (b"\0a\0b", Some(Charset::Utf16Be), Some(0)),
            (b"ab\xE6\x97", Some(Charset::Utf8), Some(0)),
            (b"2026 \xFF\xFF\xFF", Some(Charset::Utf16Le), Some(0)),
            (b"\xE5\x65\x2C\x67", Some(Charset::Utf16Le), Some(0)),
            (b"ab\xFF\x00\xDCcd", Some(Charset::Utf16Le), Some(0)),
            (b"abc\x80\x00\xDCcd", Some(Charset::Utf8), Some(0)),
        ];
        for (head, charset, mark) in cases {
            assert_eq!(Charset::detect(head), *charset, "{head:x?}");
            assert_eq!(charset.and_then(|c| c.mark_len(head)), *mark, "{head:x?}");
        }
    }

    #[test]
    fn half_a_character_at_the_end_is_one_that_is_not_known() {
        let arena = Bump::new();
        for charset in [Charset::Utf16Le, Charset::Utf16Be] {
            let mut text = of(charset, "ab日");
            text.pop();
            charset.complete(&mut text);
            text.extend_from_slice(charset.newline());
            let mut lines = Converted::new(charset, &text, &arena);
            assert_eq!(lines.next(), Some("ab\u{FFFD}".as_bytes()));
            assert_eq!((lines.next(), lines.replaced), (None, 1));
        }
    }

    proptest! {
        #[test]
        fn newlines_of_utf16_are_found_as_the_naive_way_finds_them(units in prop::collection::vec(prop_oneof![Just(0x0Au16), Just(0x0A00), Just(0x0A0A), Just(0), any::<u16>()], 0..40), odd in any::<bool>()) {
            for (charset, bytes) in [(Charset::Utf16Le, u16::to_le_bytes as fn(u16) -> [u8; 2]), (Charset::Utf16Be, u16::to_be_bytes)] {
                let mut text: Vec<u8> = units.iter().flat_map(|u| bytes(*u)).collect();
                text.extend(odd.then_some(b'\n'));
                let place = |at: Option<usize>| at.map(|at| at * 2);
                prop_assert_eq!(charset.first_newline(&text), place(units.iter().position(|u| *u == 10)));
                prop_assert_eq!(charset.last_newline(&text), place(units.iter().rposition(|u| *u == 10)));
            }
        }

        #[test]
        fn anything_becomes_utf8(line in prop::collection::vec(any::<u8>(), 0..200), limit in 1usize..250) {
            let arena = Bump::new();
            for (charset, _) in all().into_iter().filter(|(c, _)| *c != Charset::Utf8) {
                let (said, replaced) = charset.to_utf8(&line, &arena);
                let said = std::str::from_utf8(said);
                prop_assert!(said.is_ok());
                let says = said.is_ok_and(|s| s.contains(char::REPLACEMENT_CHARACTER));
                prop_assert!(!replaced || says);
                let cut = charset.cut_at(&line, limit);
                prop_assert!(cut <= limit && (cut > 0 || line.is_empty()));
            }
        }
    }
}
