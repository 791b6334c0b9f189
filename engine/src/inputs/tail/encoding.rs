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
            let error =
                diagnostics.error(span(key), format!("{owner}: `{}` is not known: {value}", key.to_lowercase()));
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
fn head_of_text(
    file: &mut File,
    encoding: Encoding,
    buffer: &[u8],
    start: &mut usize,
) -> Option<Charset> {
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
