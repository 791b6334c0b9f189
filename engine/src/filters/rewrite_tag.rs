//! `rewrite_tag`: sends records through the filters again under another tag.
//!
//! Owns: rules and the tags that they make. Never: re-emits itself; the job does, within its depth limit.

use super::pattern::Pattern;
use super::words::{self, Quotes};
use super::{Context, Filter, FilterContext, Outcome, Plugin};
use codecs::accessor::{Accessor, Template};
use codecs::conf::values::{Bool, Size, Text};
use codecs::conf::{Diagnostics, Entry, OptionValue, Section};
use codecs::record::Record;
use std::sync::Arc;

codecs::options! {
    /// Gives records another tag by patterns on their values, and sends them through the filters again.
    pub struct Options {
        /// `KEY PATTERN NEW_TAG KEEP`: a record whose value at KEY fits goes on as NEW_TAG, which may name captures (`$1`),
        /// parts of the tag (`$TAG[0]`) and values (`$app['name']`). With KEEP the record itself goes on too.
        rule "Rule": Many<Text>,
        /// Name of the emitter in Fluent Bit.
        emitter_name "Emitter_Name": Opt<Text> => NoEffect("records take their new tag inside the job, without an emitter"),
        /// Where Fluent Bit keeps re-emitted records.
        emitter_storage_type "Emitter_Storage.type": Opt<Text> => NoEffect("records take their new tag inside the job, without an emitter"),
        /// Memory of the emitter in Fluent Bit.
        emitter_mem_buf_limit "Emitter_Mem_Buf_Limit": Opt<Size> => NoEffect("records take their new tag inside the job, without an emitter"),
    }
}

struct Rule {
    key: Accessor,
    pattern: Pattern,
    tag: Template,
    keep: bool,
}

/// The rules, in the order of the text; the first that fits counts.
struct Rules(Vec<Rule>);

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "rewrite_tag", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    Options::read(section, context.name, diagnostics);
    if section.get("Rule").is_none() {
        let message = format!("{}: `rule` is missing", context.name);
        diagnostics.error(&section.span, message).help("rule: KEY PATTERN NEW_TAG KEEP");
        return None;
    }
    let rules: Vec<Option<Rule>> =
        section.all("Rule").map(|entry| rule(entry, context.name, diagnostics)).collect();
    let rules: Vec<Rule> = rules.into_iter().collect::<Option<_>>()?;
    Some(Arc::new(Rules(rules)))
}

/// Reads one rule.
fn rule(entry: &Entry, owner: &str, diagnostics: &mut Diagnostics) -> Option<Rule> {
    let words = words::split(&entry.value, 4, Quotes::Double).unwrap_or_default();
    let [key, pattern, tag, keep, rest @ ..] = words.as_slice() else {
        diagnostics
            .error(&entry.value_span, format!("{owner}: `rule` is `{}`", entry.value))
            .help("rule: KEY PATTERN NEW_TAG KEEP; double quotes keep words together");
        return None;
    };
    if !rest.is_empty() {
        let message = format!("{owner}: what stands behind `{keep}` in `rule` does nothing");
        diagnostics.warning(&entry.value_span, message).help("double quotes keep words together");
    }
    let mut report = |error: String| {
        diagnostics.error(&entry.value_span, format!("{owner}: `rule`: {error}"));
    };
    let key = Accessor::parse(key).map_err(|e| report(format!("the key `{key}`: {e}"))).ok();
    let pattern = Pattern::new(pattern).map_err(|e| report(format!("the pattern `{pattern}`: {e}"))).ok();
    let tag = Template::parse(tag).map_err(|e| report(format!("the tag `{tag}`: {e}"))).ok();
    let keep = Bool::parse(keep).map_err(|e| report(format!("KEEP is `{keep}`, not {e}"))).ok();
    Some(Rule { key: key?, pattern: pattern?, tag: tag?, keep: keep?.0 })
}

impl Filter for Rules {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        for rule in &self.0 {
            let Some(text) = rule.key.get(&record.fields, context.arena).and_then(|v| v.as_text()) else {
                continue;
            };
            let Some(captures) = rule.pattern.captures(text, context.parsing) else { continue };
            context.text.clear();
            rule.tag.render(context.tag.as_bytes(), &record.fields, &captures, context.arena, context.text);
            let tag = String::from_utf8_lossy(context.text);
            // Without a tag the record could not be routed: it is kept as it is rather than lost.
            return match tag.is_empty() {
                true => Outcome::Keep,
                false => Outcome::Retag { tag: context.arena.alloc_str(&tag), keep: rule.keep },
            };
        }
        Outcome::Keep
    }

    fn retags(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{configure, refused, run};
    use super::*;
    use codecs::record::Timestamp;

    #[test]
    fn makes_tags_as_fluent_bit_does() {
        let error = r#"{"lvl":"error","svc":{"name":"web"},"m":1}"#;
        let captures = "Rule $lvl ^(e)(.*)$ new.$TAG[1].$2.$svc['name'] false";
        type Wanted = Option<(&'static str, bool)>;
        let cases: &[(&str, &str, Wanted)] = &[
            (captures, error, Some(("new.one.rror.web", false))),
            (captures, r#"{"lvl":"info"}"#, None),
            (captures, r#"{"m":3}"#, None),
            ("Rule $lvl ^error$ plain.$0 false", error, Some(("plain.", false))),
            ("Rule $lvl ^(err)or$ $0.$1 false", error, Some(("error.err", false))),
            ("Rule $lvl ^error$ errors.out true", error, Some(("errors.out", true))),
            ("Rule lvl error a.$TAG off", error, Some(("a.src.one", false))),
            ("Rule $m 1 number.never false", error, None),
            (
                "Rule $lvl ^i first false\nRule $lvl rr second yes\nRule $lvl . third no",
                error,
                Some(("second", true)),
            ),
            ("Rule $lvl \"^e r|^er\" spaced false", error, Some(("spaced", false))),
            ("Rule $lvl ^e $absent false", error, None),
            ("Rule $lvl ^e x.$absent false", error, Some(("x.", false))),
        ];
        for (lines, input, want) in cases {
            let (output, tag) = run(&*configure(&PLUGIN, lines), input, &mut Timestamp::default());
            assert_eq!(output.as_deref(), Some(*input), "{lines}");
            assert_eq!(tag.as_ref().map(|(t, k)| (t.as_str(), *k)), *want, "{lines} {input}");
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (lines, message) in [
            ("Emitter_Name x", "`rule` is missing"),
            ("Rule $lvl ^e tag", "`rule` is `$lvl ^e tag`"),
            ("Rule $lvl ( tag false", "the pattern `(`"),
            ("Rule $0 e tag false", "the key `$0`"),
            ("Rule $lvl e tag.$- false", "the tag `tag.$-`"),
            ("Rule $lvl e tag maybe", "KEEP is `maybe`"),
        ] {
            refused(&PLUGIN, lines, message);
        }
    }
}
