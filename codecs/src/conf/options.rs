//! Option tables: the only place where an option is spelled.
//!
//! [`options!`](crate::options) makes a struct and its table from one block. The table drives parsing, `--help`,
//! the generated reference, dry-run diagnostics and the comparison with Fluent Bit's own list.

use super::{Diagnostics, Section, nearest};

/// Whether an accepted option does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works as documented.
    Works,
    /// Accepted so that old files load; the reason is shown as a note.
    NoEffect(&'static str),
    /// Known, but it cannot be had; the reason is shown as an error.
    Refused(&'static str),
}

/// How often an option may stand, and what happens without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Once; without it, this default (parsed by the same code as user text).
    Default(&'static str),
    /// Once or not at all.
    Optional,
    /// Any number of times, in order.
    Repeated,
}

/// A row of an option table.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Name in the documented spelling; compared without regard to case. A trailing `*` makes it a prefix.
    pub name: &'static str,
    /// What it does, from the doc comment.
    pub doc: &'static str,
    /// What a value looks like, from its type.
    pub shape: &'static str,
    /// Default and repetition.
    pub arity: Arity,
    /// Whether it does anything.
    pub status: Status,
}

impl OptionSpec {
    /// True when `key` is this option.
    pub fn is(&self, key: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => {
                key.len() >= prefix.len()
                    && key.as_bytes()[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
            }
            None => self.name.eq_ignore_ascii_case(key),
        }
    }
}

/// A type that an option's text is parsed into.
pub trait OptionValue: Sized {
    /// What a value looks like, for help and errors: `size (10M)`, `true or false`, `one of off, normal, full`.
    const SHAPE: &'static str;

    /// Typed values end at ` #`; free text is taken whole, as in Fluent Bit.
    const COMMENT_ENDS: bool = true;

    /// Parses `text`; the error is the rule that it breaks, without the name and the value.
    fn parse(text: &str) -> Result<Self, String>;
}

/// Parses one entry of a section; reports and returns `None` when it breaks its rule.
pub fn value<T: OptionValue>(entry: &super::Entry, owner: &str, diagnostics: &mut Diagnostics) -> Option<T> {
    let text = if T::COMMENT_ENDS { without_comment(&entry.value) } else { entry.value.as_str() };
    match T::parse(text) {
        Ok(value) => Some(value),
        Err(rule) => {
            diagnostics
                .error(
                    &entry.value_span,
                    format!("{owner}: `{}` is {}", entry.key.to_ascii_lowercase(), shown(text)),
                )
                .help(format!("rule: {rule}"));
            None
        }
    }
}

/// A value as an error shows it: quoted when empty, cut when long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}

/// What stands before ` #` (white space, then `#`).
fn without_comment(text: &str) -> &str {
    let end =
        text.char_indices().zip(text.chars().skip(1)).find(|((_, a), b)| a.is_whitespace() && *b == '#');
    end.map_or(text, |((at, _), _)| text[..at].trim_end())
}

/// Reports the entries of `section` that no table knows, options that do nothing, and options that are refused.
pub fn check_names(section: &Section, owner: &str, tables: &[&[OptionSpec]], diagnostics: &mut Diagnostics) {
    let specs = || tables.iter().flat_map(|t| t.iter());
    for entry in &section.entries {
        let Some(spec) = specs().find(|s| s.is(&entry.key)) else {
            let error =
                diagnostics.error(&entry.key_span, format!("{owner}: unknown option `{}`", entry.key));
            if let Some(name) = nearest(&entry.key, specs().map(|s| s.name.trim_end_matches('*'))) {
                error.help(format!("did you mean `{name}`?"));
            }
            continue;
        };
        match spec.status {
            Status::Works => {}
            Status::NoEffect(why) => {
                diagnostics.note(&entry.key_span, format!("{owner}: `{}` has no effect: {why}", spec.name));
            }
            Status::Refused(why) => {
                diagnostics.error(&entry.key_span, format!("{owner}: `{}` is refused: {why}", spec.name));
            }
        }
    }
}

/// What it means that an option which takes one value is set more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// It is a mistake (a plugin's own options).
    Refused,
    /// The last one counts (options that all plugins have, and those of the service).
    LastCounts,
    /// The first one counts (parsers).
    FirstCounts,
}

/// Reports the options of `table` that take one value and are set more than once, and says which one counts.
pub fn check_repeats(
    section: &Section,
    owner: &str,
    table: &[OptionSpec],
    repeats: Repeats,
    diagnostics: &mut Diagnostics,
) {
    for (first, again) in repeated(section, table) {
        let (first, again) = (&section.entries[first], &section.entries[again]);
        // A flag beside a file is no repetition: flags and files are meant to be used together.
        if repeats == Repeats::LastCounts && first.key_span.file != again.key_span.file {
            continue;
        }
        let message = format!("{owner}: `{}` is set again", again.key);
        let place = &first.key_span;
        match repeats {
            Repeats::Refused => diagnostics
                .error(&again.key_span, message)
                .help(format!("it is set at {place} already; keep one of the two")),
            Repeats::LastCounts => diagnostics
                .warning(&again.key_span, message)
                .help(format!("this one counts, not that at {place}")),
            Repeats::FirstCounts => diagnostics
                .warning(&again.key_span, message)
                .help(format!("the first one counts, at {place}")),
        };
    }
}

/// The section without the entries that a first one of the same name outweighs.
pub fn first_counts(section: &Section, table: &[OptionSpec]) -> Section {
    let mut kept = section.clone();
    repeated(section, table).iter().rev().for_each(|&(_, again)| drop(kept.entries.remove(again)));
    kept
}

/// Entries of options that take one value: the first one, and one that repeats it.
fn repeated(section: &Section, table: &[OptionSpec]) -> Vec<(usize, usize)> {
    let single = |key: &str| table.iter().any(|s| s.is(key) && s.arity != Arity::Repeated);
    let entries = &section.entries;
    let first = |key: &str| entries.iter().position(|e| e.key.eq_ignore_ascii_case(key));
    let all = entries.iter().enumerate().filter(|(_, e)| single(&e.key));
    all.filter_map(|(at, e)| first(&e.key).filter(|&f| f < at).map(|f| (f, at))).collect()
}

/// Declares a plugin's options: a struct, and its table.
///
/// ```
/// use codecs::conf::values::{Bool, Text};
/// codecs::options! {
///     /// Writes records to standard output.
///     pub struct Options {
///         /// How records are printed.
///         format "Format": One<Text> = "msgpack",
///         /// Lines to add.
///         record "Record": Many<Text>,
///         /// A file to write instead.
///         path "Path": Opt<Text>,
///         /// Kept so that old files load.
///         legacy "Legacy_Mode": One<Bool> = "off" => NoEffect("every record is printed at once"),
///     }
/// }
/// assert_eq!(Options::TABLE.len(), 4);
/// ```
///
/// `One<T> = "default"` becomes a `T`, `Opt<T>` an `Option<T>`, `Many<T>` a `Vec<T>` in the order of the text.
/// `Options::read(&section, owner, &mut diagnostics)` reports each value that breaks its rule and takes the default, or
/// none, in its place, so that what is checked after it is reported in the same run; a configuration with errors is never
/// run.
#[macro_export]
macro_rules! options {
    (
        $(#[doc = $about:expr])+
        pub struct $name:ident {
            $( $(#[doc = $doc:expr])+ $field:ident $key:literal : $arity:ident < $ty:ty > $(= $default:literal)? $(=> $status:ident ($why:literal))? ),* $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $crate::options!(@type $arity $ty), )*
        }

        impl $name {
            /// What the plugin is, from its doc comment.
            pub const ABOUT: &'static str = concat!($($about, "\n"),+);
            /// Its option table, in documentation order.
            pub const TABLE: &'static [$crate::conf::OptionSpec] = &[
                $( $crate::conf::OptionSpec {
                    name: $key,
                    doc: concat!($($doc, "\n"),+),
                    shape: <$ty as $crate::conf::OptionValue>::SHAPE,
                    arity: $crate::options!(@arity $arity $($default)?),
                    status: $crate::options!(@status $($status $why)?),
                }, )*
            ];

            /// Reads a section; every value that breaks its rule is reported, and stands as if it were not set.
            pub fn read(
                section: &$crate::conf::Section,
                owner: &str,
                diagnostics: &mut $crate::conf::Diagnostics,
            ) -> Self {
                let _ = (section, owner, &diagnostics);
                $( let $field = $crate::options!(@read $arity $ty, $key, section, owner, diagnostics $(, $default)?); )*
                $name { $( $field, )* }
            }
        }
    };
    (@type One $ty:ty) => { $ty };
    (@type Opt $ty:ty) => { Option<$ty> };
    (@type Many $ty:ty) => { Vec<$ty> };
    (@arity One $default:literal) => { $crate::conf::options::Arity::Default($default) };
    (@arity Opt) => { $crate::conf::options::Arity::Optional };
    (@arity Many) => { $crate::conf::options::Arity::Repeated };
    (@status) => { $crate::conf::Status::Works };
    (@status $status:ident $why:literal) => { $crate::conf::Status::$status($why) };
    (@read One $ty:ty, $key:literal, $section:ident, $owner:ident, $diagnostics:ident, $default:literal) => {
        $section
            .get($key)
            .and_then(|entry| $crate::conf::options::value::<$ty>(entry, $owner, $diagnostics))
            .unwrap_or_else(|| <$ty as $crate::conf::OptionValue>::parse($default).expect("a documented default parses"))
    };
    (@read Opt $ty:ty, $key:literal, $section:ident, $owner:ident, $diagnostics:ident) => {
        $section.get($key).and_then(|entry| $crate::conf::options::value::<$ty>(entry, $owner, $diagnostics))
    };
    (@read Many $ty:ty, $key:literal, $section:ident, $owner:ident, $diagnostics:ident) => {
        $section
            .all($key)
            .filter_map(|entry| $crate::conf::options::value::<$ty>(entry, $owner, $diagnostics))
            .collect::<Vec<$ty>>()
    };
}
