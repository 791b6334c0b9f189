//! What a failed AWS call means to its caller: try again, wait for a person, or give up.
//!
//! Owns: the reading of error codes that all services share. Never: knows an operation; names no secret.

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use codecs::Bump;
use codecs::json::{Scratch, parse_object};
use codecs::record::{Record, Timestamp};
use http::HeaderMap;
use std::error::Error;
use std::time::Duration;

/// Most characters of an unknown answer that a reason shows.
const BODY_SHOWN_MAX: usize = 300;

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Throttling, 5xx, time-outs, torn answers: the same request may succeed later.
    Retry {
        /// The service's own delay.
        after: Option<Duration>,
        /// For the log.
        reason: String,
        /// True when no answer came at all.
        unanswered: bool,
    },
    /// The credentials ran out: ask for new ones, then try again.
    Expired {
        /// For the log.
        reason: String,
    },
    /// Rights or credentials are missing: only a person can help.
    Hold {
        /// What is missing and what to do.
        reason: String,
    },
    /// What the call names does not exist.
    Missing {
        /// For the log.
        reason: String,
    },
    /// What the call should make exists.
    Exists,
    /// The service has these events.
    Accepted,
    /// The same request will never succeed.
    Final {
        /// For the log.
        reason: String,
    },
}

/// Reads the error of `action` (such as `logs:PutLogEvents`) on `resource`.
pub fn classify<E>(error: &SdkError<E, HttpResponse>, action: &str, resource: &str) -> Fault
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    let Some(service) = error.as_service_error() else {
        return unanswered(error, action, status);
    };
    let body = error.raw_response().and_then(|raw| raw.body().bytes()).unwrap_or_default();
    let body = std::str::from_utf8(body).unwrap_or_default();
    let code = service.code().unwrap_or_else(|| xml_code(body));
    // Codes may come as `com.amazonaws.logs#ThrottlingException`.
    let code = code.rsplit('#').next().unwrap_or(code);
    let message = service.message().unwrap_or_default();
    let after = error.raw_response().and_then(|raw| raw.headers().get("retry-after")).and_then(delay);
    answered(code, status, reason(code, message, status, body, action), action, resource, after)
}

/// Reads the error of a call that did not go through the SDK: an answer in JSON, or of somebody between us.
pub fn read(status: u16, headers: &HeaderMap, body: &[u8], action: &str, resource: &str) -> Fault {
    let arena = Bump::new();
    let mut record = Record::new_in(&arena, Timestamp { secs: 0, nanos: 0 });
    // What is not JSON has no fields, and is shown as it is.
    let _ = parse_object(body, &arena, &mut Scratch::default(), &mut record.fields);
    let text = |names: &[&str]| {
        let found = names.iter().find_map(|name| record.get(name.as_bytes())?.as_text());
        found.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    };
    let body = std::str::from_utf8(body).unwrap_or_default();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = [text(&["__type", "code"]), header("x-amzn-errortype").unwrap_or_default(), xml_code(body)];
    let code = code.into_iter().find(|code| !code.is_empty()).unwrap_or_default();
    // `com.amazonaws.kinesis#X`, and `X:http://…` in the header.
    let code = code.rsplit('#').next().and_then(|code| code.split(':').next()).unwrap_or_default();
    let reason = reason(code, text(&["message", "Message"]), status, body, action);
    answered(code, status, reason, action, resource, header("retry-after").and_then(delay))
}

/// What happened, for the log.
fn reason(code: &str, message: &str, status: u16, body: &str, action: &str) -> String {
    match (code, message) {
        ("", _) => format!("{action}: status {status}{}", shown(body)),
        (code, "") => format!("{action}: status {status}, {code}"),
        (code, message) => format!("{action}: status {status}, {code}: {message}"),
    }
}

/// An answer with an error in it.
fn answered(
    code: &str,
    status: u16,
    reason: String,
    action: &str,
    resource: &str,
    after: Option<Duration>,
) -> Fault {
    match code {
        "ResourceNotFoundException" => Fault::Missing { reason },
        "ResourceAlreadyExistsException" => Fault::Exists,
        "DataAlreadyAcceptedException" => Fault::Accepted,
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "TokenRefreshRequired" => {
            Fault::Expired { reason }
        }
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "UnauthorizedOperation" => Fault::Hold {
            reason: format!("{reason} (allow `{action}` on {resource} in the IAM policy of this identity)"),
        },
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "AuthFailure" => Fault::Hold {
            reason: format!("{reason} (the credentials are not valid for this account and region)"),
        },
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "RequestTimeTooSkewed" => {
            Fault::Hold { reason: format!("{reason} (check the secret key and the clock of this machine)") }
        }
        "OptInRequired"
        | "SubscriptionRequiredException"
        | "LimitExceededException"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired"
        | "InvalidKMSResourceException" => Fault::Hold { reason },
        _ if retryable(code, status) => Fault::Retry { after, reason, unanswered: false },
        _ if status == 401 || status == 403 => Fault::Hold {
            reason: format!("{reason} (allow `{action}` on {resource} in the IAM policy of this identity)"),
        },
        _ => Fault::Final { reason },
    }
}

/// True for codes and statuses that another attempt may mend. An item of a batch that failed has no status of its own: 400.
pub(crate) fn retryable(code: &str, status: u16) -> bool {
    let named = [
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "ProvisionedThroughputExceededException",
        "KMSThrottlingException",
        "SlowDown",
        "PriorRequestNotComplete",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "InternalFailure",
        "InternalError",
        "InternalServerException",
        "OperationAbortedException",
        "InvalidSequenceTokenException",
    ];
    // An answer of another status without a known code is not the service's: a proxy between us speaks.
    named.contains(&code) || matches!(status, 0 | 200..=399 | 408 | 425 | 429 | 500..)
}

/// Who hands out credentials gave none: a role that may not be assumed, a token that is no longer valid.
fn refused_credentials(action: &str, refusal: &ErrorMetadata) -> Fault {
    let (code, message) = (refusal.code().unwrap_or("an error"), refusal.message().unwrap_or_default());
    Fault::Hold {
        reason: format!(
            "{action}: AWS refuses the credentials' role: {code}: {message} (check the role's ARN, its trust policy and its external id)"
        ),
    }
}

/// No answer, or one that could not be read.
fn unanswered<E>(error: &SdkError<E, HttpResponse>, action: &str, status: u16) -> Fault
where
    E: Error + 'static,
{
    let mut chain = vec![error.to_string()];
    let mut cause = error.source();
    let mut credentials = None;
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<CredentialsError>() {
            credentials = Some(matches!(found, CredentialsError::ProviderTimedOut(_)));
        }
        if let Some(refusal) = inner.downcast_ref::<ErrorMetadata>()
            && credentials == Some(false)
        {
            return refused_credentials(action, refusal);
        }
        // The chain of credential providers tells one line for each: the log has one line for all.
        let text = inner.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if chain.last() != Some(&text) {
            chain.push(text);
        }
        cause = inner.source();
    }
    let text = chain.join(": ");
    match credentials {
        Some(false) => Fault::Hold {
            reason: format!(
                "{action}: no AWS credentials: {text} (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role for this pod, task or instance)"
            ),
        },
        Some(true) => {
            Fault::Retry { after: None, reason: format!("{action}: credentials: {text}"), unanswered: false }
        }
        None if matches!(error, SdkError::ConstructionFailure(_)) => {
            Fault::Final { reason: format!("{action}: {text}") }
        }
        None => Fault::Retry {
            after: None,
            reason: if status == 0 {
                format!("{action}: {text}")
            } else {
                format!("{action}: status {status}: {text}")
            },
            unanswered: status == 0,
        },
    }
}

/// The code of an error in XML: gateways and test services answer so, also where JSON was spoken.
fn xml_code(body: &str) -> &str {
    let inside = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    inside.map_or("", |(code, _)| code.trim())
}

/// What a body without an error code says: something between us and the service speaks (a proxy, a firewall).
fn shown(body: &str) -> String {
    let words: Vec<&str> = body.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(BODY_SHOWN_MAX).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// The delay that the service asks for: `Retry-After` in seconds, at most an hour.
fn delay(text: &str) -> Option<Duration> {
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_others_are_read_too() {
        assert_eq!(xml_code("<a><Code> Slow </Code>"), "Slow");
        assert_eq!(xml_code("<a><Code>Slow"), "");
        assert_eq!(shown("  <h1>no\n  way</h1> "), ": <h1>no way</h1>");
        assert_eq!(shown(&"é".repeat(999)).chars().count(), BODY_SHOWN_MAX + 2);
        assert_eq!(shown(""), "");
    }

    #[test]
    fn answers_without_the_sdk_are_read_alike() {
        let of = |body: &str, headers: &[(&'static str, &str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a value")));
            read(400, &headers.collect(), body.as_bytes(), "kinesis:PutRecords", "arn")
        };
        for code in ["ProvisionedThroughputExceededException", "com.amazonaws.kinesis#KMSThrottlingException"]
        {
            let fault = of(&format!(r#"{{"__type":"{code}","message":"slow"}}"#), &[("retry-after", "7")]);
            let Fault::Retry { after, reason, unanswered: false } = fault else { panic!("{fault:?}") };
            assert!(after == Some(Duration::from_secs(7)) && reason.ends_with("Exception: slow"), "{reason}");
        }
        let header = [("x-amzn-errortype", "ResourceNotFoundException:http://internal.amazon.com/")];
        assert!(matches!(of("", &header), Fault::Missing { .. }));
        assert!(matches!(of("<Error><Code>SlowDown</Code></Error>", &[]), Fault::Retry { .. }));
        let Fault::Final { reason } = of("no <b>JSON</b>", &[]) else { panic!("an unknown 400 is final") };
        assert_eq!(reason, "kinesis:PutRecords: status 400: no <b>JSON</b>");
        assert!(matches!(of(r#"{"__type":"KMSDisabledException"}"#, &[]), Fault::Hold { .. }));
    }

    #[test]
    fn codes_say_what_to_do() {
        let of = |code: &str, status| answered(code, status, String::new(), "logs:PutLogEvents", "x", None);
        for code in ["ThrottlingException", "ServiceUnavailableException", "OperationAbortedException"] {
            assert!(matches!(of(code, 400), Fault::Retry { .. }), "{code}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(of("", status), Fault::Retry { .. }), "{status}");
        }
        for code in ["AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"] {
            assert!(matches!(of(code, 400), Fault::Hold { .. }), "{code}");
        }
        for code in ["InvalidParameterException", "SerializationException", "", "UnknownOperationException"] {
            assert!(matches!(of(code, 400), Fault::Final { .. }), "{code}");
        }
        assert!(matches!(of("ExpiredTokenException", 400), Fault::Expired { .. }));
        assert!(matches!(of("", 403), Fault::Hold { .. }));
    }
}
