//! What files are in: by the options, or by what each begins with.
//!
//! Owns: `Unicode.Encoding` and `Generic.Encoding`, the head of a text. Never: converts (the decoder does, on the
//! workers), moves a position anywhere but over what no line has: zeros and a byte order mark.
//! Invariant: once the encoding of a file is known, what is looked at of it begins with a whole character.

use super::Tail;
use super::identity::text_head;
use super::options::Options;
use super::state::{File, Id};
use codecs::charset::Charset;
use codecs::conf::{Diagnostics, Section, nearest};

/// How the encoding of a file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// It is this, and its head is like all of it.
    Plain(Charset),
    /// It is this, one of those that may begin with a byte order mark.
    Unicode(Charset),
    /// The head of the file tells.
    Auto,
}

impl Encoding {
    /// What the options say; `None` when an error was reported.
    pub(super) fn of(
        options: &Options,
        section: &Section,
        owner: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let span = |key: &str| section.get(key).map_or(&section.span, |e| &e.value_span);
        let mut unknown = |key: &str, value: &str, names: &mut dyn Iterator<Item = &'static str>| {
            let names: Vec<&str> = names.collect();
            let error = diagnostics
                .error(span(key), format!("{owner}: `{}` is not known: {value}", key.to_lowercase()));
            error.help(match nearest(value, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("rule: one of {}", names.join(", ")),
            });
        };
        match (&options.unicode_encoding, &options.generic_encoding) {
            (None, None) => Some(Encoding::Plain(Charset::Utf8)),
            (Some(_), Some(_)) => {
                let message = format!("{owner}: `generic.encoding` cannot stand beside `unicode.encoding`");
                diagnostics.error(span("Generic.Encoding"), message).help("rule: a file has one encoding");
                None
            }
            (Some(name), None) => {
                let known = UNICODE.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name.0));
                if known.is_none() {
                    unknown("Unicode.Encoding", &name.0, &mut UNICODE.iter().map(|(name, _)| *name));
                }
                known.map(|(_, encoding)| *encoding)
            }
            (None, Some(name)) => {
                let known = Charset::named(&name.0);
                if known.is_none() {
                    unknown("Generic.Encoding", &name.0, &mut Charset::names());
                }
                known.map(Encoding::Plain)
            }
        }
    }

    /// A limit of bytes that whole characters reach: one more where it is odd, as in Fluent Bit.
    pub(super) fn whole(self, limit: usize) -> usize {
        match self {
            Encoding::Plain(_) => limit,
            Encoding::Unicode(_) | Encoding::Auto => limit.next_multiple_of(2),
        }
    }

    /// True when a byte order mark may stand at the head of a file, and does.
    pub(super) fn marked(self, head: &[u8]) -> bool {
        let is_marked = |charset: Charset| charset.mark_len(head).is_some_and(|len| len > 0);
        match self {
            Encoding::Plain(_) => false,
            Encoding::Unicode(charset) => is_marked(charset),
            Encoding::Auto => UNICODE_CHARSETS.into_iter().any(is_marked),
        }
    }

    /// What the text of an open file is in that is not looked at from its head.
    fn of_file(self, file: &File) -> Charset {
        match self {
            Encoding::Plain(charset) | Encoding::Unicode(charset) => charset,
            Encoding::Auto => {
                let head = text_head(file, file.gzip.is_some());
                Charset::detect(&head[zeros(&head) & !1..]).unwrap_or_default()
            }
        }
    }
}

/// The values of `Unicode.Encoding`.
const UNICODE: &[(&str, Encoding)] = &[
    ("auto", Encoding::Auto),
    ("UTF-16LE", Encoding::Unicode(Charset::Utf16Le)),
    ("UTF16-LE", Encoding::Unicode(Charset::Utf16Le)),
    ("UTF-16BE", Encoding::Unicode(Charset::Utf16Be)),
    ("UTF16-BE", Encoding::Unicode(Charset::Utf16Be)),
];

/// Those that have a byte order mark.
const UNICODE_CHARSETS: [Charset; 3] = [Charset::Utf16Le, Charset::Utf16Be, Charset::Utf8];

fn zeros(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&b| b == 0).count()
}

impl Tail {
    /// What a file is in, of which `buffer[*start..]` comes next; `start` is moved behind zeros and a byte order mark
    /// at its head. `None` while too little of it is there to tell.
    #[inline]
    pub(super) fn charset(&mut self, id: Id, buffer: &[u8], start: &mut usize) -> Option<Charset> {
        let encoding = self.settings.encoding;
        let file = self.files.get_mut(id)?;
        if file.in_hole {
            return head_of_text(file, encoding, buffer, start);
        }
        if file.charset.is_none() {
            file.charset = Some(encoding.of_file(file));
        }
        file.charset
    }

    /// Where whole characters begin: at `at`, or before it.
    pub(super) fn at_character(&self, file: &File, at: u64) -> u64 {
        match self.settings.encoding {
            Encoding::Plain(_) => at,
            encoding => at - at % encoding.of_file(file).unit() as u64,
        }
    }
}

/// As [`Tail::charset`], at the head of a file.
fn head_of_text(file: &mut File, encoding: Encoding, buffer: &[u8], start: &mut usize) -> Option<Charset> {
    // What a truncation leaves when the writer does not append; Fluent Bit passes over it, too.
    let all = zeros(&buffer[*start..]);
    let zeros = match encoding {
        Encoding::Plain(_) => all,
        Encoding::Unicode(_) | Encoding::Auto => all & !1,
    };
    let head = &buffer[*start + zeros..];
    let first = file.line_at == 0 && zeros == 0;
    file.charset = match encoding {
        Encoding::Plain(charset) | Encoding::Unicode(charset) => Some(charset),
        // Where it was truncated, it stays what it was, unless a mark tells otherwise.
        Encoding::Auto => UNICODE_CHARSETS
            .into_iter()
            .find(|c| first && c.mark_len(head).is_some_and(|len| len > 0))
            .or(file.charset)
            .or_else(|| Charset::detect(head)),
    };
    let mark = match encoding {
        Encoding::Unicode(_) | Encoding::Auto if first => file.charset.and_then(|c| c.mark_len(head)),
        _ => file.charset.map(|_| 0),
    };
    file.in_hole = all == buffer.len() - *start || mark.is_none();
    *start += zeros + mark.unwrap_or(0);
    file.line_at += (zeros + mark.unwrap_or(0)) as u64;
    mark.and(file.charset)
}

#[cfg(test)]
mod tests {
    use super::super::steps::{by_hand, drained};
    use super::super::tests::append;
    use crate::testing::ScratchDir;
    use std::fs;
    use std::sync::atomic::Ordering::SeqCst;

    /// U+010A, U+0A0A and U+0A00 hold the byte of a newline.
    const TEXT: &str = "a日Ċ\u{A0A}😀\n\nzweite \u{A00}\r\ndrei\n";

    fn utf16(text: &str, low_first: bool) -> Vec<u8> {
        let bytes = |unit: u16| if low_first { unit.to_le_bytes() } else { unit.to_be_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn marked(text: &str, low_first: bool) -> Vec<u8> {
        utf16(&format!("\u{FEFF}{text}"), low_first)
    }

    /// Names of an option, its values, and the file.
    fn cases() -> Vec<(&'static str, &'static str, Vec<u8>, &'static str)> {
        let unicode = "Unicode.Encoding";
        vec![
            (unicode, "UTF-16LE", marked(TEXT, true), TEXT),
            (unicode, "utf16-le", utf16(TEXT, true), TEXT),
            (unicode, "UTF16-BE", marked(TEXT, false), TEXT),
            (unicode, "utf-16be", utf16(TEXT, false), TEXT),
            (unicode, "auto", marked(TEXT, true), TEXT),
            (unicode, "auto", marked(TEXT, false), TEXT),
            (unicode, "auto", utf16(TEXT, true), TEXT),
            (unicode, "auto", utf16(TEXT, false), TEXT),
            (unicode, "auto", format!("\u{FEFF}{TEXT}").into_bytes(), TEXT),
            (unicode, "auto", TEXT.as_bytes().to_vec(), TEXT),
            ("Generic.Encoding", "SJIS", b"\x83\x5C\x95\x5C\n\x93\xFA\r\n".to_vec(), "ソ表\n日\r\n"),
            ("Generic.Encoding", "cp1251", b"\xCF\xF0\n\n".to_vec(), "Пр\n\n"),
        ]
    }

    #[test]
    fn lines_come_whole_however_they_are_written() {
        for (key, value, bytes, text) in cases() {
            for step in [1, 2, 3, 5, 7, bytes.len()] {
                let (dir, what) = (ScratchDir::new(), format!("{value} by {step}"));
                append(&dir.join("a.log"), "");
                let (mut tail, engine) = by_hand(&dir, "a.log", &[(key, value)]);
                for piece in bytes.chunks(step) {
                    append(&dir.join("a.log"), piece);
                    tail.take_events();
                    drained(&mut tail, &engine);
                }
                assert_eq!(drained(&mut tail, &engine), text, "{what}");
                let handed = engine.handed.lock().expect("lock");
                assert_eq!(handed.last().expect("a block").end.offset, bytes.len() as u64, "{what}");
                assert_eq!(engine.admitted.load(SeqCst), 0, "{what}");
            }
        }
    }

    #[test]
    fn a_restart_goes_on_in_the_middle_of_a_file() {
        for (key, value, bytes, text) in cases() {
            let (dir, db) = (ScratchDir::new(), ScratchDir::new());
            let db = db.join("tail.db").display().to_string();
            let options = [(key, value), ("DB", db.as_str())];
            fs::create_dir_all(std::path::Path::new(&db).parent().expect("folder")).expect("folder");
            append(&dir.join("a.log"), &bytes);
            let (mut tail, engine) = by_hand(&dir, "a.log", &options);
            assert_eq!(drained(&mut tail, &engine), text, "{value}");
            tail.stop();
            drop(tail);
            // What comes next has no mark.
            let (low_first, utf8) =
                (bytes.contains(&0) && bytes[0] != 0 && bytes[0] != 0xFE, !bytes.contains(&0));
            let more = if utf8 { b"more\nhalf".to_vec() } else { utf16("more\nhalf", low_first) };
            append(&dir.join("a.log"), more);
            let (mut tail, engine) = by_hand(&dir, "a.log", &options);
            assert_eq!(drained(&mut tail, &engine), "more\n", "{value}");
        }
    }

    #[test]
    fn lines_that_are_too_long_are_cut_between_characters_or_skipped() {
        let line = |n: usize| "日".repeat(n) + "\n";
        let text = format!("{}{}end\n", line(400), line(1));
        for low_first in [true, false] {
            let bytes = marked(&text, low_first);
            for step in [bytes.len(), 7, 101] {
                for (skip, expected) in
                    [("off", format!("{}{}end\n", line(50), line(1))), ("on", format!("{}end\n", line(1)))]
                {
                    let dir = ScratchDir::new();
                    append(&dir.join("a.log"), "");
                    let options = [
                        ("Unicode.Encoding", "auto"),
                        ("Buffer_Chunk_Size", "100"),
                        ("Buffer_Max_Size", "100"),
                        ("Skip_Long_Lines", skip),
                    ];
                    let (mut tail, engine) = by_hand(&dir, "a.log", &options);
                    for piece in bytes.chunks(step) {
                        append(&dir.join("a.log"), piece);
                        tail.take_events();
                        drained(&mut tail, &engine);
                    }
                    assert_eq!(drained(&mut tail, &engine), expected, "{low_first} {step} {skip}");
                }
            }
        }
    }

    #[test]
    fn a_truncation_in_the_middle_of_a_character_costs_that_character_only() {
        let dir = ScratchDir::new();
        let path = dir.join("a.log");
        let mut first = marked("one\nha日", true);
        first.pop();
        append(&path, &first);
        let (mut tail, engine) = by_hand(&dir, "a.log", &[("Unicode.Encoding", "auto")]);
        assert_eq!(drained(&mut tail, &engine), "one\n");
        fs::write(&path, utf16("lf\ntwo\nth", true)).expect("write");
        tail.take_events();
        assert_eq!(drained(&mut tail, &engine), "one\nha\u{FFFD}lf\ntwo\n");
        // A mark begins a text of its own.
        fs::write(&path, marked("ree\n", true)).expect("write");
        tail.take_events();
        assert_eq!(drained(&mut tail, &engine), "one\nha\u{FFFD}lf\ntwo\nth\nree\n");
        fs::write(&path, [vec![0; 100], utf16("in a hole\n", true)].concat()).expect("write");
        tail.take_events();
        assert!(drained(&mut tail, &engine).ends_with("ree\nin a hole\n"));
    }

    #[test]
    fn the_last_line_of_a_file_that_is_gone_and_a_successor_in_another_encoding() {
        let dir = ScratchDir::new();
        let path = dir.join("a.log");
        append(&path, marked("one\nlast", false));
        let (mut tail, engine) =
            by_hand(&dir, "a.log", &[("Unicode.Encoding", "auto"), ("Rotate_Wait", "0.001")]);
        drained(&mut tail, &engine);
        fs::rename(&path, dir.join("a.old")).expect("rename");
        append(&path, "zwei\n");
        tail.take_events();
        while engine.metric(|m| &m.files_closed) == 0 {
            tail.look_at_orphans();
            drained(&mut tail, &engine);
        }
        let text = drained(&mut tail, &engine);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["last", "one", "zwei"]);
    }
}
