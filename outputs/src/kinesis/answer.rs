//! What an answer says of each record.
//!
//! Owns: reading PutRecords' and PutRecordBatch's answers. Never: decides what is done about a failure.

use super::service::Service;
use codecs::Bump;
use codecs::json::{Scratch, expand, parse_object};
use codecs::record::{Field, Fields, Value};

/// A record that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// `ErrorCode`.
    pub(super) code: String,
    /// `ErrorMessage`.
    pub(super) message: String,
}

/// The failures of a request with so many records, by their number; the error says why an answer cannot be believed.
pub(super) fn read(service: &Service, body: &[u8], records: usize) -> Result<Vec<(usize, Failure)>, String> {
    let arena = Bump::new();
    let mut fields = Fields::new_in(&arena);
    parse_object(body, &arena, &mut Scratch::default(), &mut fields)
        .map_err(|_| "the answer is not JSON, or breaks off".to_owned())?;
    let failed = find(&fields, service.failed_member).and_then(number);
    let entries = match find(&fields, service.answers_member).map(|value| expand(value, &arena)) {
        Some(Value::Array(entries)) if entries.len() == records => entries,
        _ if failed == Some(0) => return Ok(Vec::new()),
        _ => return Err("the answer does not tell of all records".to_owned()),
    };
    let failures: Vec<_> =
        entries.iter().enumerate().filter_map(|(at, entry)| Some((at, failure(*entry, &arena)?))).collect();
    match (failures.is_empty(), failed) {
        (true, Some(count @ 1..)) => Err(format!("the answer counts {count} failed records, and names none")),
        _ => Ok(failures),
    }
}

fn failure(entry: Value<'_>, arena: &Bump) -> Option<Failure> {
    let opened = expand(entry, arena);
    let Value::Map(fields) = opened else { return None };
    let text = |name| {
        let bytes = find(fields, name).and_then(|value| value.as_text()).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let code = text("ErrorCode");
    (!code.is_empty()).then(|| Failure { code, message: text("ErrorMessage") })
}

fn find<'a>(fields: &[Field<'a>], name: &str) -> Option<Value<'a>> {
    fields.iter().rfind(|field| field.key.bytes == name.as_bytes()).map(|field| field.value)
}

fn number(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(number).ok(),
        Value::Number(text) | Value::Json(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::service::{FIREHOSE, STREAMS};
    use super::*;

    fn codes(service: &Service, body: &str, records: usize) -> Result<Vec<(usize, String)>, String> {
        Ok(read(service, body.as_bytes(), records)?.into_iter().map(|(at, f)| (at, f.code)).collect())
    }

    const KINESIS: &str = r#"{"FailedRecordCount":1,"Records":[{"SequenceNumber":"1","ShardId":"s"},{"ErrorCode":"InternalFailure","ErrorMessage":"x"}],"EncryptionType":"NONE"}"#;

    #[test]
    fn failures_are_found_by_place() {
        let failed = vec![(1, "InternalFailure".to_owned())];
        assert_eq!(codes(&STREAMS, KINESIS, 2), Ok(failed.clone()));
        let firehose = r#"{"Encrypted":false,"FailedPutCount": 1,"RequestResponses":[{"RecordId":"a"},{"ErrorCode":"InternalFailure"}]}"#;
        assert_eq!(codes(&FIREHOSE, firehose, 2), Ok(failed));
        let null = r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ErrorCode":null}]}"#;
        assert_eq!(codes(&STREAMS, null, 1), Ok(vec![]));
        assert_eq!(codes(&STREAMS, r#"{"FailedRecordCount":0}"#, 9), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_believed_is_told() {
        for (body, records) in [
            (KINESIS, 3),
            ("", 1),
            ("{}", 1),
            ("[]", 1),
            (r#"{"FailedRecordCount":1}"#, 1),
            (r#"{"FailedRecordCount":2,"Records":[{"SequenceNumber":"1"}]}"#, 1),
            ("<html>", 1),
        ] {
            assert!(codes(&STREAMS, body, records).is_err(), "{body}");
        }
        for cut in 0..KINESIS.len() {
            assert!(codes(&STREAMS, &KINESIS[..cut], 2).is_err(), "cut at {cut}");
        }
    }
}
