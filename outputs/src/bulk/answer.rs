//! Reads the answer to a bulk request while it comes.
//!
//! Owns: which item has which status, and why it failed. Never: keeps the answer: of a good item a number stays, of a
//! failed one its cause, once for all items that share it.
//! Invariant: how the bytes are cut does not show in what was read.

/// How deep an answer may nest.
const DEPTH_MAX: usize = 128;
/// How much of a string is kept.
const TEXT_BYTES_MAX: usize = 512;
/// Causes that are told apart; what comes after them counts as the last one.
const CAUSES_MAX: usize = 32;

/// Why items failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cause {
    /// Such as `mapper_parsing_exception`.
    pub(super) kind: String,
    /// What the first item's answer says of it.
    pub(super) reason: String,
}

/// The status of an item, and which cause it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// HTTP status; 0 when it has none.
    pub(super) status: u16,
    /// Index into [`Answer::causes`], if it failed.
    pub(super) cause: Option<u8>,
}

/// An answer, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// What it says of all items together.
    pub(super) errors: Option<bool>,
    /// Its items in order; none when `errors` was false before they came.
    pub(super) items: Vec<Item>,
    /// Why items failed.
    pub(super) causes: Vec<Cause>,
    items_max: usize,
    lexer: Lexer,
    malformed: bool,
    finished: bool,
    levels: Vec<Level>,
    item: Option<Item>,
    cause: Cause,
}

/// What is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lex {
    #[default]
    Between,
    Text,
    /// Behind a backslash.
    Escape,
    /// A number or a word.
    Scalar,
}

#[derive(Debug, Default)]
struct Lexer {
    state: Lex,
    text: Vec<u8>,
}

/// An object or array that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    object: bool,
    /// The next string is a key.
    key_next: bool,
    /// What the current value of the object is.
    what: What,
}

/// Places of an answer that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Other,
    Errors,
    Items,
    Item,
    Status,
    Error,
    Kind,
    Reason,
}

impl Answer {
    /// An answer to a request of so many items.
    pub(super) fn new(items_max: usize) -> Answer {
        Answer { items_max, ..Answer::default() }
    }

    /// True when it was read to its end and is what an answer is.
    pub(super) fn is_whole(&self) -> bool {
        self.finished && !self.malformed
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.malformed {
                return;
            }
            self.byte(*byte);
        }
    }

    fn byte(&mut self, byte: u8) {
        match (self.lexer.state, byte) {
            (Lex::Text, b'"') => {
                self.lexer.state = Lex::Between;
                self.text();
            }
            (Lex::Text, b'\\') => {
                self.keep(byte);
                self.lexer.state = Lex::Escape;
            }
            (Lex::Text, _) => self.keep(byte),
            (Lex::Escape, _) => {
                self.keep(byte);
                self.lexer.state = Lex::Text;
            }
            (Lex::Scalar, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') => self.keep(byte),
            (Lex::Scalar, _) => {
                self.lexer.state = Lex::Between;
                self.scalar();
                self.between(byte);
            }
            (Lex::Between, _) => self.between(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.lexer.text.len() < TEXT_BYTES_MAX {
            self.lexer.text.push(byte);
        }
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ if self.finished => self.malformed = true,
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => self.close(byte == b'}'),
            b',' => match self.levels.last_mut() {
                Some(level) => level.key_next = level.object,
                None => self.malformed = true,
            },
            b':' => {}
            b'"' => {
                self.lexer.text.clear();
                self.lexer.state = Lex::Text;
            }
            b'0'..=b'9' | b'-' | b'a'..=b'z' => {
                self.lexer.text.clear();
                self.lexer.text.push(byte);
                self.lexer.state = Lex::Scalar;
            }
            _ => self.malformed = true,
        }
    }

    /// What the value that begins here is.
    fn what(&self) -> What {
        let Some(level) = self.levels.last() else { return What::Other };
        // An element of the array of items.
        let is_element = self.levels.len() == 2 && !level.object;
        let in_items = self.levels.first().is_some_and(|top| top.object && top.what == What::Items);
        if is_element && in_items { What::Item } else { level.what }
    }

    fn open(&mut self, object: bool) {
        if self.levels.len() >= DEPTH_MAX || (self.levels.is_empty() && !object) {
            self.malformed = true;
            return;
        }
        if self.what() == What::Item && self.levels.len() == 2 && object {
            self.item = Some(Item { status: 0, cause: None });
            self.cause = Cause::default();
        }
        self.levels.push(Level { object, key_next: object, what: What::Other });
    }

    fn close(&mut self, object: bool) {
        match self.levels.pop() {
            Some(level) if level.object == object => {}
            _ => self.malformed = true,
        }
        if self.levels.len() == 2
            && let Some(item) = self.item.take()
        {
            self.push(item);
        }
        self.finished |= self.levels.is_empty();
    }

    /// A string ended: a key, or a value.
    fn text(&mut self) {
        let depth = self.levels.len();
        let in_item = self.item.is_some();
        let what = self.what();
        let Some(level) = self.levels.last_mut() else {
            self.malformed = true;
            return;
        };
        let text = self.lexer.text.as_slice();
        if level.key_next {
            level.key_next = false;
            level.what = match (depth, text) {
                (1, b"errors") => What::Errors,
                (1, b"items") => What::Items,
                (4, b"status") if in_item => What::Status,
                (4, b"error") if in_item => What::Error,
                (5, b"type") if in_item => What::Kind,
                (5, b"reason") if in_item => What::Reason,
                _ => What::Other,
            };
            return;
        }
        let in_error = depth == 5 && self.levels.get(3).is_some_and(|level| level.what == What::Error);
        let text = || String::from_utf8_lossy(text).into_owned();
        match what {
            What::Kind if in_error => self.cause.kind = text(),
            What::Reason if in_error => self.cause.reason = text(),
            // Elasticsearch 1 says it in one string.
            What::Error if depth == 4 => self.cause.reason = text(),
            _ => {}
        }
    }

    /// A number or a word ended.
    fn scalar(&mut self) {
        let text = self.lexer.text.as_slice();
        match (self.what(), self.levels.len()) {
            (What::Errors, 1) => self.errors = Some(text == b"true"),
            (What::Status, 4) => {
                if let Some(item) = &mut self.item {
                    item.status =
                        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
                }
            }
            (_, 0) => self.malformed = true,
            _ => {}
        }
    }

    fn push(&mut self, mut item: Item) {
        if self.items.len() >= self.items_max || self.errors == Some(false) {
            return;
        }
        let cause = std::mem::take(&mut self.cause);
        if !(200..300).contains(&item.status) {
            let known = self.causes.iter().position(|known| known.kind == cause.kind);
            let at = known.unwrap_or_else(|| {
                if self.causes.len() < CAUSES_MAX {
                    self.causes.push(cause);
                }
                self.causes.len() - 1
            });
            item.cause = Some(at as u8);
        }
        self.items.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// The obvious reading.
    fn naive(text: &Value) -> (Option<bool>, Vec<(u16, String)>) {
        let items = text["items"].as_array().cloned().unwrap_or_default();
        let errors = text["errors"].as_bool();
        let item = |item: &Value| {
            let inner = item.as_object().and_then(|item| item.values().next()).cloned().unwrap_or_default();
            let status = inner["status"].as_u64().unwrap_or(0) as u16;
            (status, inner["error"]["type"].as_str().unwrap_or_default().to_owned())
        };
        (errors, if errors == Some(false) { Vec::new() } else { items.iter().map(item).collect() })
    }

    fn read(pieces: &[&[u8]]) -> Answer {
        let mut answer = Answer::new(100);
        pieces.iter().for_each(|piece| answer.take(piece));
        answer
    }

    fn seen(answer: &Answer) -> (Option<bool>, Vec<(u16, String)>) {
        let kind =
            |item: &Item| item.cause.map_or(String::new(), |at| answer.causes[usize::from(at)].kind.clone());
        (answer.errors, answer.items.iter().map(|item| (item.status, kind(item))).collect())
    }

    fn arbitrary() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0u16..600).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\"\\\\\\PC]{0,6}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("status".to_owned()),
            Just("items".to_owned()),
            Just("error".to_owned()),
            Just("type".to_owned()),
            Just("errors".to_owned()),
            "[a-z\"{]{0,3}"
        ];
        leaf.prop_recursive(3, 16, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn bulk() -> impl Strategy<Value = Value> {
        let item = (prop_oneof![Just(201u16), Just(409), Just(429), Just(400), Just(500)], "[a-c]", arbitrary())
            .prop_map(|(status, kind, noise)| match status {
                201 => json!({"create": {"_index": noise, "status": status, "result": "created"}}),
                _ => json!({"index": {"error": {"caused_by": noise, "type": kind, "reason": "r \"x\" \\"}, "status": status}}),
            });
        (any::<bool>(), proptest::collection::vec(item, 0..8), arbitrary())
            .prop_map(|(errors, items, noise)| json!({"took": noise, "errors": errors, "items": items}))
    }

    proptest! {
        #[test]
        fn it_reads_what_a_parser_reads_however_it_is_cut(answer in bulk(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&answer) } else { serde_json::to_string(&answer) };
            let text = text.expect("JSON");
            let bytes = text.as_bytes();
            // Maps of serde_json are sorted: `errors` stands before `items`.
            let expected = naive(&answer);
            for at in 0..=bytes.len() {
                let answer = read(&[&bytes[..at], &bytes[at..]]);
                prop_assert!(answer.is_whole());
                prop_assert_eq!(&seen(&answer), &expected);
                prop_assert_eq!(read(&[&bytes[..at]]).is_whole(), at == bytes.len());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(
            prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b','), Just(b':'), Just(b'1'), any::<u8>()], 0..64)) {
            read(&[&bytes]);
        }
    }

    #[test]
    fn the_order_of_an_answer_does_not_matter() {
        let text = br#"{"items":[{"create":{"status":201}},{"create":{"error":"old [text]","status":503}}],"took":1,"errors":true}"#;
        let answer = read(&[text]);
        assert!(answer.is_whole());
        assert_eq!(seen(&answer), (Some(true), vec![(201, String::new()), (503, String::new())]));
        assert_eq!(answer.causes, [Cause { kind: String::new(), reason: "old [text]".to_owned() }]);
    }

    #[test]
    fn what_is_no_answer_is_not_whole() {
        for text in ["", "[]", "true", "{}x", "{]", "<html>", "{\"errors\":false", "{}{}", "\"x\""] {
            assert!(!read(&[text.as_bytes()]).is_whole(), "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX * 2);
        assert!(!read(&[b"{\"items\":", deep.as_bytes()]).is_whole());
    }

    #[test]
    fn memory_is_bounded() {
        let item = |n: usize| {
            format!(
                r#"{{"index":{{"status":400,"error":{{"type":"t{n}","reason":"{}"}}}}}}"#,
                "r".repeat(10_000)
            )
        };
        let items: Vec<String> = (0..200).map(item).collect();
        let text = format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","));
        let answer = read(&[text.as_bytes()]);
        assert!(answer.is_whole());
        assert_eq!((answer.items.len(), answer.causes.len()), (100, CAUSES_MAX));
        assert!(answer.causes.iter().all(|cause| cause.reason.len() <= TEXT_BYTES_MAX));
    }
}
