//! The four calls to CloudWatch Logs, by the SDK, with bodies that are ours where they are large.
//!
//! Owns: the SDK's client, made at the first use and made anew when credentials ran out. Never: retries beyond the
//! one attempt of `auto_retry_requests`, knows a chunk.

use super::options::{GroupClass, Settings};
use super::target;
use crate::aws::{Fault, classify, session};
use aws_sdk_cloudwatchlogs::Client as Sdk;
use aws_sdk_cloudwatchlogs::config::http::HttpRequest;
use aws_sdk_cloudwatchlogs::types::{LogGroupClass, RejectedLogEventsInfo};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::RwLock;

/// A client that is there when it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    settings: Arc<Settings>,
    sdk: RwLock<Option<Sdk>>,
}

/// Events of an accepted batch that the service threw away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Older than 14 days.
    pub(crate) too_old: usize,
    /// Older than the group's retention.
    pub(crate) expired: usize,
    /// More than two hours in the future.
    pub(crate) too_new: usize,
}

impl Rejected {
    /// Counts what the service says of a batch of `events`.
    pub(crate) fn of(info: &RejectedLogEventsInfo, events: usize) -> Self {
        let index =
            |value: Option<i32>| value.and_then(|at| usize::try_from(at).ok()).map(|at| at.min(events));
        let old = index(info.too_old_log_event_end_index()).unwrap_or(0);
        let expired = index(info.expired_log_event_end_index()).unwrap_or(0);
        let kept = Range { start: old.max(expired), end: events };
        let new = index(info.too_new_log_event_start_index()).map_or(events, |at| at.max(kept.start));
        Rejected { too_old: old, expired: expired.saturating_sub(old), too_new: events - new }
    }

    /// All of them.
    pub(crate) fn total(self) -> usize {
        self.too_old + self.expired + self.too_new
    }
}

impl Client {
    /// A client of these settings; nothing is opened.
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Client { settings, sdk: RwLock::new(None) }
    }

    /// The SDK's client; the first call reads files and environment.
    pub(crate) async fn open(&self) -> Result<Sdk, Fault> {
        if let Some(sdk) = &*self.sdk.read().await {
            return Ok(sdk.clone());
        }
        let mut slot = self.sdk.write().await;
        if let Some(sdk) = &*slot {
            return Ok(sdk.clone());
        }
        let config = session::load(&self.settings.account, &self.settings.endpoint).await;
        let sdk = Sdk::new(&config);
        *slot = Some(sdk.clone());
        Ok(sdk)
    }

    /// Forgets credentials, so that the next call asks for new ones.
    pub(crate) async fn renew(&self) {
        *self.sdk.write().await = None;
    }

    /// Puts a batch whose body is encoded.
    pub(crate) async fn put(&self, key: &[u8], body: Bytes, events: usize) -> Result<Rejected, Fault> {
        let first = self.put_once(key, body.clone()).await;
        let answer = match first {
            Err(Fault::Retry { unanswered: true, .. }) if self.settings.retry_at_once => {
                self.put_once(key, body).await
            }
            other => other,
        };
        answer.map(|info| info.map_or_else(Rejected::default, |info| Rejected::of(&info, events)))
    }

    async fn put_once(&self, key: &[u8], body: Bytes) -> Result<Option<RejectedLogEventsInfo>, Fault> {
        let (group, stream) = target::split(key);
        let settings = self.settings.clone();
        let format = self.settings.log_format.clone();
        let call = self.open().await?.put_log_events().customize().mutate_request(move |request| {
            // The SDK would encode the events once more; its own body is empty, ours takes its place before signing.
            *request.body_mut() = SdkBody::from(body.clone());
            request.headers_mut().insert("content-length", body.len().to_string());
            if let Some(format) = &format {
                request.headers_mut().insert("x-amzn-logs-format", format.clone());
            }
            add_user_agent(&settings, request);
        });
        match call.send().await {
            Ok(output) => Ok(output.rejected_log_events_info().cloned()),
            Err(error) => {
                Err(classify(&error, "logs:PutLogEvents", &resource(&self.settings, group, Some(stream))))
            }
        }
    }

    /// Makes a stream.
    pub(crate) async fn create_stream(&self, group: &str, stream: &str) -> Result<(), Fault> {
        let settings = self.settings.clone();
        let call = self.open().await?.create_log_stream().log_group_name(group).log_stream_name(stream);
        let call = call.customize().mutate_request(move |request| add_user_agent(&settings, request));
        let made = call.send().await.map(drop);
        made.map_err(|error| {
            classify(&error, "logs:CreateLogStream", &resource(&self.settings, group, Some(stream)))
        })
    }

    /// Makes a group, with its class.
    pub(crate) async fn create_group(&self, group: &str) -> Result<(), Fault> {
        let settings = self.settings.clone();
        let class = self.settings.groups.class.map(|class| match class {
            GroupClass::Standard => LogGroupClass::Standard,
            GroupClass::InfrequentAccess => LogGroupClass::InfrequentAccess,
            GroupClass::Delivery => LogGroupClass::Delivery,
        });
        let call = self.open().await?.create_log_group().log_group_name(group).set_log_group_class(class);
        let call = call.customize().mutate_request(move |request| add_user_agent(&settings, request));
        let made = call.send().await.map(drop);
        made.map_err(|error| classify(&error, "logs:CreateLogGroup", &resource(&self.settings, group, None)))
    }

    /// Sets a group's retention.
    pub(crate) async fn set_retention(&self, group: &str, days: i32) -> Result<(), Fault> {
        let settings = self.settings.clone();
        let call = self.open().await?.put_retention_policy().log_group_name(group).retention_in_days(days);
        let call = call.customize().mutate_request(move |request| add_user_agent(&settings, request));
        let made = call.send().await.map(drop);
        made.map_err(|error| {
            classify(&error, "logs:PutRetentionPolicy", &resource(&self.settings, group, None))
        })
    }
}

/// Adds `extra_user_agent`.
fn add_user_agent(settings: &Settings, request: &mut HttpRequest) {
    if let Some(extra) = &settings.extra_user_agent {
        let agent = request.headers().get("user-agent").unwrap_or_default();
        let agent = if agent.is_empty() { extra.clone() } else { format!("{agent} {extra}") };
        request.headers_mut().insert("user-agent", agent);
    }
}

/// The ARN that a policy must name; the account is not known here.
fn resource(settings: &Settings, group: &str, stream: Option<&str>) -> String {
    let region = &settings.account.region;
    let stream = stream.map(|stream| format!(":log-stream:{stream}")).unwrap_or_default();
    format!("arn:aws:logs:{region}:*:log-group:{group}{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_counted_once_each() {
        let info = |old: Option<i32>, expired: Option<i32>, new: Option<i32>| {
            RejectedLogEventsInfo::builder()
                .set_too_old_log_event_end_index(old)
                .set_expired_log_event_end_index(expired)
                .set_too_new_log_event_start_index(new)
                .build()
        };
        let counts = |old, expired, new| {
            let rejected = Rejected::of(&info(old, expired, new), 10);
            (rejected.too_old, rejected.expired, rejected.too_new)
        };
        assert_eq!(counts(None, None, None), (0, 0, 0));
        assert_eq!(counts(Some(3), None, Some(8)), (3, 0, 2));
        assert_eq!(counts(Some(3), Some(5), None), (3, 2, 0));
        assert_eq!(counts(Some(5), Some(3), None), (5, 0, 0));
        assert_eq!(counts(Some(99), Some(99), Some(0)), (10, 0, 0), "indexes beyond the batch");
        assert_eq!(counts(Some(-1), None, Some(-1)), (0, 0, 0));
    }
}
