//! The options that all AWS outputs share: who sends.
//!
//! Owns: their spelling, once. Never: a service's own options (`region`, `endpoint`): their rules differ from service to
//! service.

use super::Account;
use codecs::conf::values::{Bool, Text};

codecs::options! {
    /// Who sends requests to AWS.
    pub struct AwsOptions {
        /// ARN of an IAM role to assume, such as for another account.
        role_arn "role_arn": Opt<Text>,
        /// External ID that the role's owner requires, for `role_arn`.
        external_id "external_id": Opt<Text>,
        /// Host or URL to use instead of the region's STS, for `role_arn`.
        sts_endpoint "sts_endpoint": Opt<Text>,
        /// Profile of the shared AWS configuration files.
        profile "profile": Opt<Text>,
        /// Try a request that got no answer once more at once, before the retries of the engine.
        auto_retry_requests "auto_retry_requests": One<Bool> = "true",
    }
}

impl AwsOptions {
    /// Who sends, in this region.
    pub fn account(&self, region: String) -> Account {
        let text = |value: &Option<Text>| value.as_ref().map(|Text(value)| value.clone());
        Account {
            credentials: None,
            region,
            profile: text(&self.profile),
            role_arn: text(&self.role_arn),
            external_id: text(&self.external_id),
            sts_endpoint: text(&self.sts_endpoint),
        }
    }
}
