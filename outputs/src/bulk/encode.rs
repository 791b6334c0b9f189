//! Records as lines of a bulk request: the action, then the document.
//!
//! Owns: index names, ids, the time and tag keys, replaced dots. Never: allocates from the global heap per record.
//! Invariant: what is appended is two whole lines of valid JSON, or nothing.

use super::Flavor;
use super::ids;
use super::options::{Options, WriteOperation};
use crate::segment::{Event, Segment};
use codecs::Bump;
use codecs::accessor::{Accessor, Template};
use codecs::json::{Escape, expand, write_inner, write_text};
use codecs::msgpack::{write_map_header, write_str, write_value};
use codecs::record::{Field, Record, Text, Timestamp, Value};
use codecs::time::{write_iso8601, write_strftime};

/// Bytes of a value that becomes the prefix of an index; what is longer is cut, as in Fluent Bit.
const PREFIX_BYTES_MAX: usize = 128;

/// The default of `time_key_format`, which has a faster way.
const ISO8601: &str = "%Y-%m-%dT%H:%M:%S";

/// What an index is called.
enum Index {
    /// Always so; the whole action line, where the document has no id.
    Constant(Vec<u8>),
    /// With the current time in it.
    Dated(String),
    /// By a value of the record; where it cannot be had, by the text itself.
    Of(Template, String),
    /// A prefix and the date of the record.
    Logstash { prefix: String, key: Option<Template>, separator: String, date: String },
}

/// Where an id comes from.
enum Id {
    None,
    Content(fn(&mut Vec<u8>, &[u8])),
    /// `required`: without it a document cannot be sent.
    Key {
        key: Accessor,
        required: bool,
    },
}

/// Encodes records.
pub(super) struct Encoder {
    index: Index,
    id: Id,
    operation: WriteOperation,
    /// `","_type":"_doc`, as it stands behind the index; empty when it is suppressed.
    kind: Vec<u8>,
    time_key: String,
    time_format: String,
    nanos: bool,
    tag_key: Option<String>,
    replace_dots: bool,
    current_time: bool,
    escape: Escape,
    now: fn() -> Timestamp,
}

impl Encoder {
    /// Checks and compiles the options; the error names the option that is wrong.
    pub(super) fn new(
        options: &Options,
        flavor: Flavor,
        escape: Escape,
        now: fn() -> Timestamp,
    ) -> Result<Encoder, (&'static str, String)> {
        let id = id(options, flavor)?;
        let mut kind = Vec::new();
        if !options.suppress_type_name.0 {
            kind.extend_from_slice(b",\"_type\":");
            write_text(&mut kind, Text::new(options.kind.0.as_bytes()), escape);
        }
        let mut encoder = Encoder {
            index: index(options, flavor)?,
            id,
            operation: options.write_operation,
            kind,
            time_key: options.time_key.0.clone(),
            time_format: options.time_key_format.0.clone(),
            nanos: options.time_key_nanos.0,
            tag_key: options.include_tag_key.0.then(|| options.tag_key.0.clone()),
            replace_dots: options.replace_dots.0,
            current_time: options.current_time_index.0,
            escape,
            now,
        };
        if let Index::Constant(name) = &encoder.index {
            let mut line = Vec::new();
            encoder.write_action(&mut line, name, None);
            encoder.index = match encoder.id {
                Id::None => Index::Constant(line),
                _ => Index::Dated(String::from_utf8_lossy(name).into_owned()),
            };
        }
        Ok(encoder)
    }

    /// Appends a record; false when it lacks an id that it needs.
    pub(super) fn write(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        let start = segment.bytes.len();
        if !self.write_lines(tag, record, arena, &mut segment.bytes) {
            segment.bytes.truncate(start);
            return false;
        }
        let end = segment.bytes.len() as u32;
        segment.events.push(Event { end, unescaped: 0, millis: record.time.millis(), key: 0 });
        true
    }

    fn write_lines(&self, tag: &str, record: &Record<'_>, arena: &Bump, out: &mut Vec<u8>) -> bool {
        let time = if self.current_time { (self.now)() } else { record.time };
        let time_text = taken(out, arena, |out| self.write_time(out, time));
        let fields = match self.replace_dots {
            true => without_dots(&record.fields, arena),
            false => &record.fields,
        };
        let document = Document { time: time_text, tag, fields };
        let id = match &self.id {
            Id::None => None,
            Id::Content(hash) => {
                Some(taken(out, arena, |out| self.write_content_id(out, &document, arena, *hash)))
            }
            Id::Key { key, required } => match key.get(&record.fields, arena) {
                Some(Value::Text(text)) if is_safe(text.bytes) => Some(text.bytes),
                _ if *required => return false,
                _ => None,
            },
        };
        match &self.index {
            Index::Constant(line) => out.extend_from_slice(line),
            index => {
                let name = taken(out, arena, |out| self.write_index(out, index, time, tag, record, arena));
                self.write_action(out, name, id);
            }
        }
        let (before, behind) = self.operation.frame();
        out.extend_from_slice(before);
        self.write_document(out, &document);
        out.extend_from_slice(behind);
        true
    }

    /// Appends an action line.
    fn write_action(&self, out: &mut Vec<u8>, index: &[u8], id: Option<&[u8]>) {
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(self.operation.action().as_bytes());
        out.extend_from_slice(b"\":{\"_index\":");
        write_text(out, Text::new(index), Escape::Unicode);
        out.extend_from_slice(&self.kind);
        if let Some(id) = id {
            out.extend_from_slice(b",\"_id\":");
            write_text(out, Text::new(id), Escape::Unicode);
        }
        out.extend_from_slice(b"}}\n");
    }

    fn write_index(
        &self,
        out: &mut Vec<u8>,
        index: &Index,
        time: Timestamp,
        tag: &str,
        record: &Record<'_>,
        arena: &Bump,
    ) {
        let start = out.len();
        let render = |out: &mut Vec<u8>, template: &Template| {
            template.render(tag.as_bytes(), &record.fields, &[], arena, out);
            let text = out.get(start..).unwrap_or_default();
            let usable = !text.is_empty() && is_safe(text);
            if !usable {
                out.truncate(start);
            }
            usable
        };
        match index {
            Index::Constant(name) => out.extend_from_slice(name),
            Index::Dated(text) => write_strftime(out, text, (self.now)()),
            Index::Of(template, text) => {
                if !render(out, template) {
                    out.extend_from_slice(text.as_bytes());
                }
            }
            Index::Logstash { prefix, key, separator, date } => {
                match key {
                    Some(key) if render(out, key) => {
                        let text = out.get(start..).unwrap_or_default();
                        let cut = start + cut(text, PREFIX_BYTES_MAX);
                        out.truncate(cut);
                    }
                    _ => out.extend_from_slice(prefix.as_bytes()),
                }
                out.extend_from_slice(separator.as_bytes());
                write_strftime(out, date, time);
            }
        }
    }

    fn write_time(&self, out: &mut Vec<u8>, time: Timestamp) {
        if self.time_format == ISO8601 && !self.nanos {
            write_iso8601(out, time);
            // Microseconds and `Z` to milliseconds.
            out.truncate(out.len().saturating_sub(4));
            return out.push(b'Z');
        }
        write_strftime(out, &self.time_format, time);
        out.push(b'.');
        let nanos = itoa::Buffer::new().format(time.nanos.saturating_add(1_000_000_000)).to_owned();
        let digits = if self.nanos { 1..10 } else { 1..4 };
        out.extend_from_slice(nanos.as_bytes().get(digits).unwrap_or_default());
        out.push(b'Z');
    }

    /// Appends the id that the content makes: a hash of what Fluent Bit holds of the document.
    fn write_content_id(
        &self,
        out: &mut Vec<u8>,
        document: &Document<'_>,
        arena: &Bump,
        hash: fn(&mut Vec<u8>, &[u8]),
    ) {
        let content = taken(out, arena, |out| {
            let count = document.fields.len() + 1 + usize::from(self.tag_key.is_some());
            write_map_header(out, count);
            write_str(out, self.time_key.as_bytes());
            write_str(out, document.time);
            if let Some(key) = &self.tag_key {
                write_str(out, key.as_bytes());
                write_str(out, document.tag.as_bytes());
            }
            for field in document.fields {
                write_str(out, field.key.bytes);
                write_value(out, &field.value, arena);
            }
        });
        hash(out, content);
    }

    fn write_document(&self, out: &mut Vec<u8>, document: &Document<'_>) {
        out.push(b'{');
        let start = out.len();
        // Of a key that stands twice the last one counts.
        let stands = |key: &str| document.fields.iter().any(|field| field.key.bytes == key.as_bytes());
        let tag_key = self.tag_key.as_ref();
        if !stands(&self.time_key) && tag_key != Some(&self.time_key) {
            write_text(out, Text::new(self.time_key.as_bytes()), self.escape);
            out.push(b':');
            write_text(out, Text::new(document.time), self.escape);
        }
        if let Some(key) = tag_key.filter(|key| !stands(key)) {
            comma(out, start);
            write_text(out, Text::new(key.as_bytes()), self.escape);
            out.push(b':');
            write_text(out, Text::new(document.tag.as_bytes()), self.escape);
        }
        if !document.fields.is_empty() {
            let before = if out.len() > start { b',' } else { out.pop().unwrap_or(b'{') };
            write_inner(out, before, document.fields, self.escape);
        }
        out.push(b'}');
    }
}

/// What a document holds.
struct Document<'d> {
    time: &'d [u8],
    tag: &'d str,
    fields: &'d [Field<'d>],
}

fn comma(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b',');
    }
}

/// What `write` appends, moved to the arena: `out` is as it was.
fn taken<'a>(out: &mut Vec<u8>, arena: &'a Bump, write: impl FnOnce(&mut Vec<u8>)) -> &'a [u8] {
    let start = out.len();
    write(out);
    let bytes = arena.alloc_slice_copy(out.get(start..).unwrap_or_default());
    out.truncate(start);
    bytes
}

/// Whether a value may stand in an action line: text without quotes, backslashes and control characters.
fn is_safe(text: &[u8]) -> bool {
    !text.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) && std::str::from_utf8(text).is_ok()
}

/// Where to cut text so that no more than `most` bytes and only whole characters are left.
fn cut(text: &[u8], most: usize) -> usize {
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut at = text.len().min(most);
    while at > 0 && is_inside(at) {
        at -= 1;
    }
    at
}

/// The fields with underscores for the dots of all keys, those inside values too.
fn without_dots<'a>(fields: &[Field<'a>], arena: &'a Bump) -> &'a [Field<'a>] {
    arena.alloc_slice_fill_iter(fields.iter().map(|field| {
        let mut key = field.key;
        if memchr::memchr(b'.', key.bytes).is_some() {
            let bytes = arena.alloc_slice_copy(key.bytes);
            bytes.iter_mut().filter(|byte| **byte == b'.').for_each(|byte| *byte = b'_');
            key.bytes = bytes;
        }
        Field::new(key, value_without_dots(field.value, arena))
    }))
}

fn value_without_dots<'a>(value: Value<'a>, arena: &'a Bump) -> Value<'a> {
    match value {
        Value::Json(raw) if memchr::memchr(b'.', raw).is_some() => match expand(value, arena) {
            Value::Json(raw) => Value::Json(raw),
            opened => value_without_dots(opened, arena),
        },
        Value::Map(fields) => Value::Map(without_dots(fields, arena)),
        Value::Array(values) => Value::Array(
            arena.alloc_slice_fill_iter(values.iter().map(|value| value_without_dots(*value, arena))),
        ),
        other => other,
    }
}

fn index(options: &Options, flavor: Flavor) -> Result<Index, (&'static str, String)> {
    if options.logstash_format.0 {
        let key = options.logstash_prefix_key.as_ref().map(|key| {
            let text = if key.0.starts_with('$') { key.0.clone() } else { format!("${}", key.0) };
            Template::parse(&text).map_err(|rule| {
                ("logstash_prefix_key", format!("`logstash_prefix_key` is `{}`: {rule}", key.0))
            })
        });
        return Ok(Index::Logstash {
            prefix: options.logstash_prefix.0.clone(),
            key: key.transpose()?,
            separator: options.logstash_prefix_separator.0.clone(),
            date: options.logstash_dateformat.0.clone(),
        });
    }
    let text = options.index.0.clone();
    if text.is_empty() {
        return Err(("index", "`index` is empty; name an index, or set `logstash_format on`".to_owned()));
    }
    if flavor == Flavor::OpenSearch && text.contains('$') && !options.current_time_index.0 {
        let template =
            Template::parse(&text).map_err(|rule| ("index", format!("`index` is `{text}`: {rule}")))?;
        return Ok(Index::Of(template, text));
    }
    match text.contains('%') {
        true => Ok(Index::Dated(text)),
        false => Ok(Index::Constant(text.into_bytes())),
    }
}

fn id(options: &Options, flavor: Flavor) -> Result<Id, (&'static str, String)> {
    let changes = options.write_operation.action() == "update";
    match &options.id_key {
        Some(key) => {
            let wrong = |rule| ("id_key", format!("`id_key` is `{}`: {rule}", key.0));
            let accessor = Accessor::parse(&key.0).map_err(wrong)?;
            Ok(Id::Key { key: accessor, required: changes })
        }
        None if options.generate_id.0 => Ok(Id::Content(match flavor {
            Flavor::Elasticsearch => ids::write_murmur,
            Flavor::OpenSearch => ids::write_xxh3,
        })),
        None if changes => {
            let message = "`write_operation` update and upsert need `id_key` or `generate_id on`";
            Err(("write_operation", message.to_owned()))
        }
        None => Ok(Id::None),
    }
}
