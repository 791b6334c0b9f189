//! Journal entries as bytes between the input and the workers, and from there to records.
//!
//! Owns: that form, the shape of a record, its tag. Never: calls the library, panics on bytes that are cut.
//!
//! An entry is its time in microseconds (8 bytes), the length of its fields (4), its fields, the length of its unit's name
//! (4), and that name. A field is its length (4) and `NAME=value`. Numbers are little-endian.

use crate::decode::Decoder;
use crate::inputs::net::text::Bad;
use crate::job::{Position, SourceInfo};
use crate::shards::JobRun;
use codecs::BumpVec;
use codecs::record::{Field, Text as Key, Timestamp, Value};

/// What stands for the unit where an entry has none.
const UNKNOWN: &str = "unknown";
/// The field that names the unit.
const UNIT: &[u8] = b"_SYSTEMD_UNIT=";

/// Writes one entry.
pub(super) struct Entry<'b> {
    buffer: &'b mut Vec<u8>,
    /// Where the length of its fields stands.
    head: usize,
    unit: Vec<u8>,
}

impl<'b> Entry<'b> {
    /// Begins an entry.
    pub(super) fn begin(buffer: &'b mut Vec<u8>, micros: u64) -> Entry<'b> {
        buffer.extend_from_slice(&micros.to_le_bytes());
        let head = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        Entry { buffer, head, unit: Vec::new() }
    }

    /// Adds `NAME=value`; a field that is not `kept` only tells its unit.
    pub(super) fn field(&mut self, field: &[u8], kept: bool) {
        if let Some(unit) = field.strip_prefix(UNIT)
            && self.unit.is_empty()
        {
            self.unit.extend_from_slice(unit);
        }
        if kept {
            put(self.buffer, field);
        }
    }

    /// Ends it.
    pub(super) fn end(self) {
        let len = (self.buffer.len() - self.head - 4) as u32;
        self.buffer[self.head..self.head + 4].copy_from_slice(&len.to_le_bytes());
        put(self.buffer, &self.unit);
    }
}

fn put(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    buffer.extend_from_slice(bytes);
}

/// Takes a length and so many bytes.
fn take<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (taken, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(taken)
}

/// Takes an entry: time, fields, unit.
fn entry<'b>(bytes: &mut &'b [u8]) -> Option<(u64, &'b [u8], &'b [u8])> {
    let (micros, mut rest) = bytes.split_first_chunk::<8>()?;
    let (fields, unit) = (take(&mut rest)?, take(&mut rest)?);
    *bytes = rest;
    Some((u64::from_le_bytes(*micros), fields, unit))
}

/// Entries to records.
pub(super) struct Entries {
    /// What stands before and behind the `*` of the tag, where it has one.
    pub(super) tag: Option<(String, String)>,
    /// Keys in lower case.
    pub(super) lowercase: bool,
    /// Keys without their first underscore.
    pub(super) strip_underscores: bool,
    /// Fields that are none.
    pub(super) bad: Bad,
}

/// Values of a key that stands more than once.
type Lists<'j> = BumpVec<'j, (&'j [u8], BumpVec<'j, Value<'j>>)>;

impl Decoder for Entries {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        let (mut rest, mut tag) = (block, String::new());
        while let Some((micros, fields, unit)) = entry(&mut rest) {
            let mut record = job.record();
            record.time =
                Timestamp { secs: (micros / 1_000_000) as i64, nanos: (micros % 1_000_000) as u32 * 1000 };
            let mut lists = Lists::new_in(job.arena());
            let mut left = fields;
            while let Some(field) = take(&mut left) {
                self.field(field, &mut record.fields, &mut lists, job);
            }
            for (key, values) in lists {
                if let Some(field) = record.fields.iter_mut().find(|f| f.key.bytes == key) {
                    field.value = Value::Array(values.into_bump_slice());
                }
            }
            let Some((before, behind)) = &self.tag else {
                job.emit(record);
                continue;
            };
            tag.clear();
            tag.push_str(before);
            tag.push_str(match unit {
                b"" => UNKNOWN,
                unit => std::str::from_utf8(unit).unwrap_or(UNKNOWN),
            });
            tag.push_str(behind);
            job.emit_as(&tag, record);
        }
    }

    fn lines(&self) -> bool {
        false
    }

    fn tags_records(&self) -> bool {
        self.tag.is_some()
    }
}

impl Entries {
    /// Adds a field. The values of a key that stands more than once become an array at its end, as in Fluent Bit.
    fn field<'j>(
        &self,
        field: &'j [u8],
        fields: &mut BumpVec<'j, Field<'j>>,
        lists: &mut Lists<'j>,
        job: &mut JobRun<'j>,
    ) {
        let Some(at) = memchr::memchr(b'=', field) else {
            return self.bad.count(job, "a field has no `=`, and is left out");
        };
        let (mut key, value) = (&field[..at], Value::text(&field[at + 1..]));
        if self.strip_underscores {
            key = key.strip_prefix(b"_").unwrap_or(key);
        }
        if self.lowercase {
            let lower = job.arena().alloc_slice_copy(key);
            lower.make_ascii_lowercase();
            key = lower;
        }
        let Some(twin) = fields.iter().position(|f| f.key.bytes.eq_ignore_ascii_case(key)) else {
            fields.push(Field::new(Key::new(key), value));
            return;
        };
        let twin_key = fields[twin].key.bytes;
        if let Some((_, values)) = lists.iter_mut().find(|(known, _)| *known == twin_key) {
            values.push(value);
            return;
        }
        let first = fields.remove(twin).value;
        fields.push(Field::new(Key::new(key), Value::Null));
        lists.push((key, bumpalo::vec![in job.arena(); first, value]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_gives_what_stands_before() {
        let mut bytes = Vec::new();
        for n in 0..2 {
            let mut entry = Entry::begin(&mut bytes, 7 + n);
            entry.field(b"A=1", true);
            entry.field(b"_SYSTEMD_UNIT=u", false);
            entry.field(b"", true);
            entry.end();
        }
        let one = bytes.len() / 2;
        for end in 0..=bytes.len() {
            let (mut rest, mut found) = (&bytes[..end], Vec::new());
            while let Some(entry) = entry(&mut rest) {
                found.push(entry);
            }
            assert_eq!(found.len(), end / one, "{end} bytes");
            for (n, (micros, mut fields, unit)) in found.into_iter().enumerate() {
                assert_eq!((micros, unit), (7 + n as u64, &b"u"[..]));
                assert_eq!((take(&mut fields), take(&mut fields)), (Some(&b"A=1"[..]), Some(&b""[..])));
                assert_eq!(take(&mut fields), None);
            }
        }
    }
}
