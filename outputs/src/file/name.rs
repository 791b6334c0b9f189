//! A path or file name with placeholders: record accessors, and conversions of strftime where they are enabled.
//!
//! Owns: in which order they are replaced, as in Fluent Bit: the time first, so that what a record says is not read as a
//! conversion. Never: decides whether a name is safe.

use codecs::Bump;
use codecs::accessor::Template;
use codecs::record::{Record, Timestamp};
use codecs::time::write_strftime;
use std::cell::RefCell;
use std::sync::{Arc, PoisonError, RwLock};

/// How many times of a name are kept parsed; records come in order, so that few are in use at once.
const TIMES_KEPT: usize = 16;

/// A name with one time put in, parsed.
type Timed = (Box<[u8]>, Arc<Template>);

/// See the module.
pub(super) struct Name {
    text: String,
    /// Without conversions; else each time has its own.
    template: Option<Template>,
    /// The names of the last times that hold accessors too, parsed.
    times: RwLock<Vec<Timed>>,
}

thread_local! {
    /// The name with its time put in.
    static TIMED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Name {
    /// Reads a name; the error is the rule that it breaks.
    pub(super) fn parse(text: &str, strftime: bool) -> Result<Name, String> {
        let timed = strftime && text.contains('%');
        // Checked also where the time comes first: the parts between are the same.
        let template = Template::parse(text).map_err(|rule| rule.to_string())?;
        let template = (!timed).then_some(template);
        Ok(Name { text: text.to_owned(), template, times: RwLock::default() })
    }

    /// True when it is not the same for all records.
    pub(super) fn varies(&self) -> bool {
        self.template.is_none() || self.text.contains('$')
    }

    /// Appends the name for a record; false when a field is missing.
    pub(super) fn write(&self, tag: &str, record: &Record<'_>, arena: &Bump, out: &mut Vec<u8>) -> bool {
        if let Some(template) = &self.template {
            return template.render(tag.as_bytes(), &record.fields, &[], arena, out);
        }
        TIMED.with_borrow_mut(|timed| {
            timed.clear();
            write_strftime(timed, &self.text, Timestamp { secs: record.time.secs, nanos: record.time.nanos });
            if !timed.contains(&b'$') {
                out.extend_from_slice(timed);
                return true;
            }
            let Some(template) = self.of_time(timed) else { return false };
            template.render(tag.as_bytes(), &record.fields, &[], arena, out)
        })
    }

    fn of_time(&self, timed: &[u8]) -> Option<Arc<Template>> {
        let find = |times: &[Timed]| {
            times.iter().find(|(text, _)| **text == *timed).map(|(_, template)| template.clone())
        };
        if let Some(found) = find(&self.times.read().unwrap_or_else(PoisonError::into_inner)) {
            return Some(found);
        }
        let template = Arc::new(Template::parse(std::str::from_utf8(timed).ok()?).ok()?);
        let mut times = self.times.write().unwrap_or_else(PoisonError::into_inner);
        if times.len() >= TIMES_KEPT {
            times.remove(0);
        }
        times.push((timed.into(), template.clone()));
        Some(template)
    }
}
