//! Text of the configuration that becomes part of records: inspected once, borrowed by every record.

use codecs::record::Text;

/// A key or a value as it stands in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Constant {
    bytes: Box<[u8]>,
    plain: bool,
}

impl Constant {
    /// Inspects the text.
    pub(super) fn new(text: &str) -> Self {
        Constant { bytes: text.as_bytes().into(), plain: is_plain(text.as_bytes()) }
    }

    /// As a part of a record.
    pub(super) fn text(&self) -> Text<'_> {
        Text { bytes: &self.bytes, plain: self.plain }
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// True for printable ASCII without `"` and `\`: what JSON shows as it stands.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_means_no_escape_in_json() {
        for (text, plain) in [
            ("", true),
            ("a b~", true),
            ("a\"", false),
            ("\\", false),
            ("é", false),
            ("\n", false),
            ("\u{7f}", false),
        ] {
            assert_eq!(Constant::new(text).text().plain, plain, "{text:?}");
        }
    }
}
