//! What a pod asks for in its annotations: `fluentbit.io/parser…`, `fluentbit.io/exclude…`.
//!
//! Owns: their grammar and who may set what. Never: looks at a record.

use super::options::Settings;

/// What all such annotations begin with.
pub(super) const PREFIX: &[u8] = b"fluentbit.io/";

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
    /// Neither is told.
    Unknown,
}

/// What is asked for one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Number of the parser in [`Settings::parsers`].
    pub(super) parser: Option<u32>,
    pub(super) exclude: Option<bool>,
}

/// What a pod asks for one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) stdout: Wish,
    pub(super) stderr: Wish,
}

impl Wishes {
    /// What holds for a stream; of an unknown one, what is asked for both.
    pub(super) fn of(&self, stream: Stream) -> Wish {
        let Wishes { stdout, stderr } = *self;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
            Stream::Unknown => Wish {
                parser: stdout.parser.filter(|p| stderr.parser == Some(*p)),
                exclude: stdout.exclude.filter(|e| stderr.exclude == Some(*e)),
            },
        }
    }

    /// True when nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        *self == Wishes::default()
    }
}

/// What an annotation's name says, behind [`PREFIX`].
#[derive(Debug, PartialEq, Eq)]
struct Name<'n> {
    parser: bool,
    stdout: bool,
    stderr: bool,
    container: Option<&'n str>,
}

/// Reads `parser`, `exclude_stdout`, `parser_stderr-CONTAINER`; the error says what is wrong.
fn read(name: &str) -> Result<Name<'_>, &'static str> {
    let (parser, rest) = match (name.strip_prefix("parser"), name.strip_prefix("exclude")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err("unknown annotation"),
    };
    let (stdout, stderr, rest) = match rest.strip_prefix('_') {
        None => (true, true, rest),
        Some(stream) => match (stream.strip_prefix("stdout"), stream.strip_prefix("stderr")) {
            (Some(rest), _) => (true, false, rest),
            (_, Some(rest)) => (false, true, rest),
            _ => return Err("invalid stream in annotation"),
        },
    };
    let container = match rest.strip_prefix('-') {
        Some("") => return Err("invalid container in annotation"),
        Some(container) => Some(container),
        None if rest.is_empty() => None,
        None => return Err("invalid annotation"),
    };
    Ok(Name { parser, stdout, stderr, container })
}

/// What the annotations ask for a container, in their order: what names it outweighs what names none, of those the first
/// counts. `told` is given what cannot be had.
pub(super) fn wishes(
    annotations: &[(Box<str>, Box<str>)],
    container: Option<&str>,
    settings: &Settings,
    mut told: impl FnMut(String),
) -> Wishes {
    let mut wishes = Wishes::default();
    for (name, value) in annotations {
        let found = match read(name) {
            Ok(found) => found,
            Err(wrong) => {
                told(format!("{wrong} `fluentbit.io/{name}`"));
                continue;
            }
        };
        if found.container.is_some() && found.container != container {
            continue;
        }
        let wish = match asked(&found, value, settings) {
            Ok(wish) => wish,
            Err(wrong) => {
                told(wrong);
                continue;
            }
        };
        let named = found.container.is_some();
        let streams = [(found.stdout, &mut wishes.stdout), (found.stderr, &mut wishes.stderr)];
        for (_, has) in streams.into_iter().filter(|(wanted, _)| *wanted) {
            if wish.parser.is_some() && (named || has.parser.is_none()) {
                has.parser = wish.parser;
            }
            if wish.exclude.is_some() && (named || has.exclude.is_none()) {
                has.exclude = wish.exclude;
            }
        }
    }
    wishes
}

fn asked(name: &Name<'_>, value: &str, settings: &Settings) -> Result<Wish, String> {
    match name.parser {
        true if !settings.may_parse => {
            Err("annotation `fluentbit.io/parser` is not allowed: `K8S-Logging.Parser` is off".to_owned())
        }
        true => match settings.parsers.binary_search_by(|(name, _)| name.as_str().cmp(value)) {
            Ok(at) => Ok(Wish { parser: u32::try_from(at).ok(), exclude: None }),
            Err(_) => Err(format!("annotation `fluentbit.io/parser`: there is no parser `{value}`")),
        },
        false if !settings.may_exclude => {
            Err("annotation `fluentbit.io/exclude` is not allowed: `K8S-Logging.Exclude` is off".to_owned())
        }
        false => {
            let exclude = ["true", "on", "yes"].iter().any(|yes| yes.eq_ignore_ascii_case(value));
            Ok(Wish { parser: None, exclude: Some(exclude) })
        }
    }
}
