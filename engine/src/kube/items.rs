//! Takes an answer of the API apart while it comes: the objects of a list, the events of a watch.
//!
//! Owns: the bytes of what is not whole yet. Never: reads what is in an object. Pure: pieces in, whole objects out.
//! Invariant: an object that is whole is handed out once, whatever the pieces were; at most [`OBJECT_BYTES_MAX`] bytes of
//! one are held, and what is longer is passed over and counted.

/// The largest object that is taken; etcd stores none above 1.5 MiB unless it is told to.
pub(crate) const OBJECT_BYTES_MAX: usize = 3 << 20;
/// What may stand around the objects of a list.
const ENVELOPE_BYTES_MAX: usize = 64 << 10;

/// A list (`{"kind":…,"metadata":{…},"items":[…]}`).
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// What is not in an object.
    envelope: Vec<u8>,
    /// The object that is not whole yet.
    object: Vec<u8>,
    /// The last text at the top.
    key: Vec<u8>,
    depth: usize,
    text: Text,
    /// Inside of `items`.
    inside: bool,
    /// Objects that were too long.
    pub(crate) too_large: u64,
    /// The envelope was too long, or a bracket closed what was not open.
    broken: bool,
}

/// Where the reading is inside of a JSON text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Out,
    In,
    Escaped,
}

impl Items {
    /// The next piece; each object that it makes whole is handed out.
    pub(crate) fn feed(&mut self, piece: &[u8], mut whole: impl FnMut(&[u8])) {
        for &byte in piece {
            self.step(byte, &mut whole);
        }
    }

    /// What stood around the objects, an empty `items` in it, once all came; `None` when it was no whole JSON map.
    pub(crate) fn envelope(&self) -> Option<&[u8]> {
        (!self.broken && self.depth == 0 && self.text == Text::Out && !self.envelope.is_empty())
            .then_some(&self.envelope)
    }

    fn step(&mut self, byte: u8, whole: &mut impl FnMut(&[u8])) {
        if self.text != Text::Out {
            self.text = match (self.text, byte) {
                (Text::In, b'\\') => Text::Escaped,
                (Text::In, b'"') => Text::Out,
                _ => Text::In,
            };
            if self.depth == 1 && self.text != Text::Out && self.key.len() <= b"items".len() {
                self.key.push(byte);
            }
            return self.keep(byte);
        }
        match byte {
            b'"' => {
                self.text = Text::In;
                if self.depth == 1 {
                    self.key.clear();
                }
                self.keep(byte);
            }
            b'{' | b'[' => {
                let items = byte == b'[' && self.depth == 1 && self.key == b"items";
                self.depth += 1;
                self.keep(byte);
                self.inside |= items;
            }
            b'}' | b']' => {
                self.broken |= self.depth == 0;
                self.depth = self.depth.saturating_sub(1);
                self.inside &= self.depth > 1;
                self.keep(byte);
                if self.inside && self.depth == 2 {
                    self.end(whole);
                }
            }
            _ => self.keep(byte),
        }
    }

    /// An object is whole.
    fn end(&mut self, whole: &mut impl FnMut(&[u8])) {
        match self.object.len() > OBJECT_BYTES_MAX {
            true => self.too_large += 1,
            false => whole(&self.object),
        }
        self.object.clear();
        self.object.shrink_to(KEPT_BYTES);
    }

    fn keep(&mut self, byte: u8) {
        if !self.inside {
            self.broken |= self.envelope.len() >= ENVELOPE_BYTES_MAX;
            if !self.broken {
                self.envelope.push(byte);
            }
        } else if (self.depth > 2 || !self.object.is_empty()) && self.object.len() <= OBJECT_BYTES_MAX {
            // What stands between two objects is nobody's.
            self.object.push(byte);
        }
    }
}

/// What is kept for the next object.
const KEPT_BYTES: usize = 64 << 10;

/// The events of a watch, a line each.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    /// The line is longer than an object may be.
    skipping: bool,
    /// Events that were too long.
    pub(crate) too_large: u64,
}

impl Events {
    /// The next piece; each line that it ends is handed out, without its end.
    pub(crate) fn feed(&mut self, mut piece: &[u8], mut whole: impl FnMut(&[u8])) {
        while let Some(at) = memchr::memchr(b'\n', piece) {
            self.keep(&piece[..at]);
            match std::mem::take(&mut self.skipping) {
                true => self.too_large += 1,
                false if self.line.trim_ascii().is_empty() => {}
                false => whole(self.line.trim_ascii()),
            }
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES);
            piece = &piece[at + 1..];
        }
        self.keep(piece);
    }

    fn keep(&mut self, piece: &[u8]) {
        self.skipping |= self.line.len() + piece.len() > OBJECT_BYTES_MAX + ENVELOPE_BYTES_MAX;
        if self.skipping {
            self.line.clear();
        } else {
            self.line.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::Bump;
    use codecs::json::{Escape, Scratch, expand, parse_value, write_value};
    use codecs::record::Value;
    use proptest::prelude::*;

    /// The objects and the envelope of a list that came in pieces.
    fn taken_apart<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> (Vec<String>, Option<String>) {
        let (mut items, mut objects) = (Items::default(), Vec::new());
        for piece in pieces {
            items.feed(piece, |object| objects.push(String::from_utf8_lossy(object).into_owned()));
        }
        (objects, items.envelope().map(|e| String::from_utf8_lossy(e).into_owned()))
    }

    /// The same by a parser that sees all at once.
    fn naive(text: &str) -> (Vec<String>, usize) {
        let arena = Bump::new();
        let value = parse_value(text.as_bytes(), &arena, &mut Scratch::default()).expect("valid JSON");
        let Value::Map(fields) = expand(value, &arena) else { panic!("a map") };
        let items = fields.iter().find(|f| f.key.bytes == b"items").expect("a list");
        let Value::Array(items) = expand(items.value, &arena) else { panic!("an array") };
        let text = |value: &Value<'_>| {
            let mut out = Vec::new();
            write_value(&mut out, value, Escape::Unicode);
            String::from_utf8(out).expect("UTF-8")
        };
        (items.iter().map(text).collect(), fields.len())
    }

    const LIST: &str = r#"{"kind":"PodList","x":["items",{"items":[1]}],"metadata":{"resourceVersion":"7","items":[{}]},"items":[{"a":"}]\"\\","b":[{}]},{},{"items":[{"c":1}]}],"y":"items","z":[2]}"#;

    #[test]
    fn a_list_is_taken_apart_wherever_it_is_cut() {
        let whole = taken_apart(std::iter::once(LIST.as_bytes()));
        let objects = [r#"{"a":"}]\"\\","b":[{}]}"#, "{}", r#"{"items":[{"c":1}]}"#];
        assert_eq!(whole.0, objects);
        assert!(whole.1.as_deref().is_some_and(|e| e.contains(r#""items":[],"y":"items""#)), "{whole:?}");
        for cut in 0..LIST.len() {
            let (head, tail) = LIST.as_bytes().split_at(cut);
            assert_eq!(taken_apart([head, tail].into_iter()), whole, "cut at {cut}");
            let (objects, envelope) = taken_apart(std::iter::once(head));
            assert!(envelope.is_none() && whole.0.starts_with(&objects), "torn at {cut}");
        }
    }

    #[test]
    fn what_is_no_list_has_no_objects() {
        for (text, whole) in [
            (r#"{"kind":"Status","code":410}"#, true),
            ("", false),
            ("}{", false),
            (r#"{"items":{"a":1}}"#, true),
            (r#"{"items":[1,"x",[2]]}"#, true),
            ("<html>items</html>", true),
        ] {
            let (objects, envelope) = taken_apart(std::iter::once(text.as_bytes()));
            assert_eq!(
                (objects.len(), envelope.is_some()),
                (usize::from(text.contains("[2]")), whole),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over() {
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(OBJECT_BYTES_MAX));
        let (mut items, mut seen) = (Items::default(), Vec::new());
        for piece in [r#"{"items":[{"b":1},"#, &large, r#",{"c":1}]}"#] {
            items.feed(piece.as_bytes(), |object| seen.push(object.len()));
        }
        assert_eq!((seen, items.too_large, items.envelope().is_some()), (vec![7, 7], 1, true));
        assert!(items.object.capacity() <= 2 * KEPT_BYTES, "its buffer is not kept");
        let (mut events, mut seen) = (Events::default(), Vec::new());
        let large = "x".repeat(OBJECT_BYTES_MAX + ENVELOPE_BYTES_MAX + 1);
        for piece in ["a\n", &large, "more\n\nb\n", "torn"] {
            events.feed(piece.as_bytes(), |line| seen.push(String::from_utf8_lossy(line).into_owned()));
        }
        assert_eq!((seen, events.too_large), (vec!["a".to_owned(), "b".to_owned()], 1));
        let mut items = Items::default();
        items.feed(&vec![b' '; ENVELOPE_BYTES_MAX + 1], |_| panic!("no object"));
        assert_eq!(items.envelope(), None);
    }

    fn json(depth: u32) -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("1".to_owned()),
            Just("null".to_owned()),
            r#"[a-z{}\[\],: ]{0,6}"#.prop_map(|text| format!("\"{text}\"")),
            Just(r#""\"]}\\""#.to_owned()),
        ];
        leaf.prop_recursive(depth, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::btree_map("(items|[a-c])", inner, 0..4).prop_map(|map| {
                    let members: Vec<_> =
                        map.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        /// Against the parser, in any pieces.
        #[test]
        fn agrees_with_a_parser(
            items in prop::collection::vec(json(3), 0..5),
            (before, after) in (json(2), json(2)),
            size in 1usize..9
        ) {
            let objects: Vec<_> = items.iter().map(|value| format!("{{\"v\":{value}}}")).collect();
            let text = format!("{{\"a\":{before},\"items\":[{}],\"b\":{after}}}", objects.join(","));
            let (found, envelope) = taken_apart(text.as_bytes().chunks(size));
            prop_assert_eq!(&found, &objects);
            let (naive, members) = naive(&text);
            prop_assert_eq!(found.len(), naive.len());
            let arena = Bump::new();
            let envelope = envelope.expect("it is whole");
            let value = parse_value(envelope.as_bytes(), &arena, &mut Scratch::default()).expect("valid JSON");
            let Value::Map(fields) = expand(value, &arena) else { panic!("a map") };
            prop_assert_eq!(fields.len(), members);
        }
    }
}
