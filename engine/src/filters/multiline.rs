//! `multiline`: joins records that belong together, by multi-line rules or by the marks of Docker's partial messages.
//!
//! Owns: its options, messages in parts. The rules are in [`codecs::multiline`]; what waits is in [`super::Held`], a source
//! and a tag each, so that nothing of two files or connections mixes. Never: keeps a record's own memory.
//! Invariant: each record leaves exactly once, in a joined one or alone.

use super::{Context, Filter, FilterContext, Held, Outcome, Plugin, Stage};
use codecs::conf::values::{Bool, Int, List, Size, Text};
use codecs::conf::{Diagnostics, Section, nearest};
use codecs::multiline::{BUFFER_LIMIT_BYTES, Chain, stash};
use codecs::record::{Field, Fields, Record, Timestamp, Value};
use codecs::{Bump, BumpVec};
use std::sync::Arc;

codecs::choice! {
    /// What tells which records belong together.
    pub enum Mode {
        /// The rules of multi-line parsers.
        Parser "parser",
        /// The keys that Docker's fluentd log driver marks the parts of a message with.
        PartialMessage "partial_message",
    }
}

codecs::options! {
    /// Joins records that belong together: lines of a stack trace, parts of a long message.
    pub struct Options {
        /// What tells which records belong together.
        mode "mode": One<Mode> = "parser",
        /// Multi-line parsers, tried in order: docker, cri, java, python, go, ruby, or your own.
        multiline_parser "multiline.parser": Many<List>,
        /// Key of the text that is joined; it goes before that of the parsers.
        key_content "multiline.key_content": Opt<Text>,
        /// Holds lines back until more come, and sends joined records through the filters again from the first one. Off:
        /// what is read at once is joined, and goes on to the next filter.
        buffer "buffer": One<Bool> = "true",
        /// Milliseconds that lines wait for more.
        flush_ms "flush_ms": One<Int> = "2000",
        /// Prints what is joined.
        debug_flush "debug_flush": One<Bool> = "false" => NoEffect("it prints for the developers of Fluent Bit"),
        /// Name of the emitter in Fluent Bit.
        emitter_name "emitter_name": Opt<Text> => NoEffect("joined records go on inside the job, without an emitter"),
        /// Where Fluent Bit keeps joined records.
        emitter_storage_type "emitter_storage.type": Opt<Text> => NoEffect("joined records go on inside the job, without an emitter"),
        /// Memory of the emitter in Fluent Bit.
        emitter_mem_buf_limit "emitter_mem_buf_limit": Opt<Size> => NoEffect("joined records go on inside the job, without an emitter"),
    }
}

/// A configured filter.
struct Joiner {
    by: By,
    buffer: bool,
    flush_ms: u64,
}

enum By {
    Rules(Chain),
    /// The key of the content.
    Parts(Box<[u8]>),
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "multiline", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let by = match options.mode {
        Mode::Parser => By::Rules(chain(&options, section, context, diagnostics)?),
        Mode::PartialMessage => parts(&options, section, context, diagnostics)?,
    };
    let buffer = options.buffer.0 || options.mode == Mode::PartialMessage;
    let flush_ms = u64::try_from(options.flush_ms.0).ok().filter(|&ms| ms > 0).unwrap_or(2000);
    Some(Arc::new(Joiner { by, buffer, flush_ms }))
}

/// The parsers that are named.
fn chain(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Chain> {
    let names = options.multiline_parser.iter().flat_map(|list| &list.0);
    let span = section.get("multiline.parser").map_or(&section.span, |e| &e.value_span);
    let (mut parsers, mut complete) = (Vec::new(), true);
    for name in names {
        match context.multiline.get(name) {
            Some(parser) => parsers.push(parser.clone()),
            None => {
                complete = false;
                let message = format!("{}: there is no multiline parser `{name}`", context.name);
                let error = diagnostics.error(span, message);
                if let Some(near) = nearest(name, context.multiline.keys().map(String::as_str)) {
                    error.help(format!("did you mean `{near}`?"));
                }
            }
        }
    }
    if parsers.is_empty() && complete {
        let message = format!("{}: `multiline.parser` is missing", context.name);
        diagnostics
            .error(span, message)
            .help("rule: one of docker, cri, java, python, go, ruby, or your own");
        return None;
    }
    let key = options.key_content.as_ref().map(|t| t.0.as_str());
    match Chain::new(parsers, key) {
        Ok(chain) if complete => Some(chain),
        Ok(_) => None,
        Err(rule) => {
            diagnostics.error(span, format!("{}: `multiline.parser`: {rule}", context.name));
            None
        }
    }
}

/// The key that mode `partial_message` needs.
fn parts(
    options: &Options,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<By> {
    if !options.buffer.0 {
        let message = format!("{}: `buffer` is off, which `mode partial_message` cannot be", context.name);
        diagnostics.warning(&section.span, message).help("parts are held back until the last one comes");
    }
    if !options.multiline_parser.is_empty() {
        let message = format!("{}: `multiline.parser` has no effect in `mode partial_message`", context.name);
        diagnostics.warning(&section.span, message);
    }
    match &options.key_content {
        Some(Text(key)) => Some(By::Parts(key.as_bytes().into())),
        None => {
            let message = format!("{}: `multiline.key_content` is missing", context.name);
            diagnostics
                .error(&section.span, message)
                .help("rule: `mode partial_message` needs the key of the content");
            None
        }
    }
}

impl Filter for Joiner {
    fn apply<'a>(&'a self, record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let (arena, mark) = (context.arena, context.mark);
        // Jobs of such a filter always have it.
        let Some(held) = &mut context.held else { return Outcome::Keep };
        let made = &mut *context.made;
        match &self.by {
            By::Rules(chain) => {
                let record =
                    std::mem::replace(record, Record { time: record.time, fields: Fields::new_in(arena) });
                chain.record(&mut held.groups, record, mark, arena, context.grouping, &mut |r| made.push(r));
                self.outcome()
            }
            By::Parts(key) => held.parts.take(record, key, mark, arena, made),
        }
    }

    fn stage(&self) -> Stage {
        Stage::Source
    }

    fn hold_ms(&self) -> Option<u64> {
        Some(self.flush_ms)
    }

    fn holds_within_job(&self) -> bool {
        !self.buffer
    }

    fn let_go<'a>(&'a self, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let arena = context.arena;
        if let Some(held) = &mut context.held {
            let Held { groups, parts } = &mut **held;
            match &self.by {
                By::Rules(chain) => chain.flush(groups, arena, &mut |record| context.made.push(record)),
                By::Parts(key) => parts.flush(key, arena, context.made),
            }
        }
        self.outcome()
    }
}

impl Joiner {
    fn outcome<'a>(&self) -> Outcome<'a> {
        if self.buffer { Outcome::Reenter } else { Outcome::Replace }
    }
}

/// Messages of a source and tag whose last part is missing.
#[derive(Default)]
pub struct Parts(Vec<Message>);

/// Messages of one source and tag that may be unfinished at once; one more makes the oldest go as it is.
const MESSAGES_MAX: usize = 64;

/// The parts of one message that came.
struct Message {
    id: Vec<u8>,
    /// The first part's other fields, as [`stash::keep`] writes them.
    fields: Vec<u8>,
    content: Vec<u8>,
    time: Timestamp,
    mark: u64,
}

impl Parts {
    /// The mark of the oldest part.
    pub fn oldest(&self) -> Option<u64> {
        self.0.iter().map(|m| m.mark).min()
    }

    fn take<'a>(
        &mut self,
        record: &Record<'a>,
        key: &'a [u8],
        mark: u64,
        arena: &'a Bump,
        made: &mut BumpVec<'a, Record<'a>>,
    ) -> Outcome<'a> {
        let field = |name: &[u8]| record.fields.iter().find(|f| f.key.bytes == name).map(|f| f.value);
        let text = |name: &[u8]| field(name).and_then(|v| v.as_text());
        let parts = (is_true(field(b"partial_message")), text(b"partial_id"), text(key));
        // Without an id or a text it is no part, whatever it says.
        let (true, Some(id), Some(content)) = parts else { return Outcome::Keep };
        let mut at = self.0.iter().position(|m| m.id == id);
        if let Some(full) = at.filter(|&at| self.0[at].content.len() + content.len() > BUFFER_LIMIT_BYTES) {
            made.push(self.0.remove(full).record(key, arena));
            at = None;
        }
        let at = at.unwrap_or_else(|| {
            if self.0.len() >= MESSAGES_MAX {
                made.push(self.0.remove(0).record(key, arena));
            }
            self.0.push(Message::new(id, record, key, mark));
            self.0.len() - 1
        });
        self.0[at].content.extend_from_slice(content);
        if is_true(field(b"partial_last")) {
            made.push(self.0.remove(at).record(key, arena));
        }
        Outcome::Replace
    }

    fn flush<'a>(&mut self, key: &'a [u8], arena: &'a Bump, made: &mut BumpVec<'a, Record<'a>>) {
        made.extend(self.0.drain(..).map(|message| message.record(key, arena)));
    }
}

/// `true` as Docker writes it (text), and as JSON does.
fn is_true(value: Option<Value<'_>>) -> bool {
    match value {
        Some(Value::Bool(b)) => b,
        Some(Value::Text(text)) => text.bytes.get(..4).is_some_and(|t| t.eq_ignore_ascii_case(b"true")),
        _ => false,
    }
}

impl Message {
    fn new(id: &[u8], record: &Record<'_>, key: &[u8], mark: u64) -> Message {
        // The text stands last, behind what the marks of the parts leave over.
        let others: Vec<Field<'_>> = record
            .fields
            .iter()
            .filter(|f| f.key.bytes != key && !f.key.bytes.starts_with(b"partial_"))
            .copied()
            .collect();
        let mut fields = Vec::new();
        stash::keep(&mut fields, &others);
        Message { id: id.to_vec(), fields, content: Vec::new(), time: record.time, mark }
    }

    fn record<'a>(self, key: &'a [u8], arena: &'a Bump) -> Record<'a> {
        let stored = arena.alloc_slice_copy(&self.fields);
        let loaded = stash::load_next(stored, arena).map(|(fields, _)| fields);
        let mut fields = loaded.unwrap_or_else(|| Fields::new_in(arena));
        let content = Value::text(arena.alloc_slice_copy(&self.content));
        fields.push(Field::new(codecs::record::Text::new(key), content));
        Record { time: self.time, fields }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, refused};
    use super::*;
    use proptest::prelude::*;

    fn part(id: &str, last: bool, text: &str) -> String {
        format!(
            r#"{{"source":"stdout","log":"{text}","partial_message":"true","partial_id":"{id}","partial_ordinal":"1","partial_last":"{last}"}}"#
        )
    }

    #[test]
    fn joins_the_parts_of_a_message() {
        let bench = Bench::new(&PLUGIN, "mode partial_message\nmultiline.key_content log");
        let records = [
            part("a", false, "one "),
            part("b", false, "uno "),
            r#"{"log":"whole"}"#.to_owned(),
            part("a", true, "two"),
            r#"{"log":"no id","partial_message":"true"}"#.to_owned(),
            part("c", true, "alone"),
        ];
        let (passed, flushed) = bench.run(&records);
        let want = [
            r#"{"log":"whole"}"#,
            r#"{"source":"stdout","log":"one two"}"#,
            r#"{"log":"no id","partial_message":"true"}"#,
            r#"{"source":"stdout","log":"alone"}"#,
        ];
        assert_eq!(passed, want);
        assert_eq!(flushed, [r#"{"source":"stdout","log":"uno "}"#]);
    }

    #[test]
    fn joins_by_rules_and_lets_pass_what_has_no_text() {
        let bench = Bench::new(&PLUGIN, "multiline.parser go\nmultiline.key_content log");
        let records = [
            r#"{"log":"panic: x\n","k":1}"#,
            r#"{"log":"\n","k":2}"#,
            r#"{"log":"goroutine 1 [running]:\n","k":3}"#,
            r#"{"other":1}"#,
            r#"{"log":"plain\n"}"#,
        ];
        let (passed, flushed) = bench.run(&records.map(str::to_owned));
        let all: Vec<String> = passed.into_iter().chain(flushed).collect();
        assert_eq!(
            all,
            [
                r#"{"log":"panic: x\n\ngoroutine 1 [running]:\n","k":1}"#,
                r#"{"other":1}"#,
                r#"{"log":"plain\n"}"#
            ]
        );
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (lines, message) in [
            ("mode parser", "`multiline.parser` is missing"),
            ("multiline.parser absent", "no multiline parser `absent`"),
            ("mode partial_message", "`multiline.key_content` is missing"),
            ("mode other", "`mode` is `other`"),
        ] {
            refused(&PLUGIN, lines, message);
        }
    }

    proptest! {
        /// Whatever comes in whatever order: each text leaves exactly once, those of one id in order.
        #[test]
        fn each_part_leaves_once(
            parts in prop::collection::vec((0u8..4, any::<bool>(), 0u8..3), 0..40)
        ) {
            let bench = Bench::new(&PLUGIN, "mode partial_message\nmultiline.key_content log");
            let records: Vec<String> = parts.iter().enumerate().map(|(n, (id, last, kind))| match kind {
                0 => format!(r#"{{"log":"<{n}>"}}"#),
                _ => part(&id.to_string(), *last, &format!("<{n}>")),
            }).collect();
            let (passed, flushed) = bench.run(&records);
            let all: String = passed.into_iter().chain(flushed).collect();
            for n in 0..parts.len() {
                prop_assert_eq!(all.matches(&format!("<{n}>")).count(), 1, "{}", all);
            }
        }
    }
}
