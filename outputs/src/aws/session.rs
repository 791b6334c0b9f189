//! An SDK configuration from the options that all AWS outputs have: region, profile, role, endpoint.
//!
//! Owns: who we are and where requests go. Never: sends a service's request. Invariant: credentials travel over
//! verified connections, also where `tls.verify off` covers the service's endpoint.

use super::transport::{Limits, Tls, Transport};
use crate::net::TlsOptions;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudwatchlogs::config::StalledStreamProtectionConfig;
use aws_sdk_cloudwatchlogs::config::retry::RetryConfig;
use codecs::conf::section::Span;
use codecs::conf::values::Bool;
use codecs::conf::{Diagnostics, Section};
use std::time::Duration;

/// Who sends: the options about region and credentials.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Credentials to use instead of the standard chain: a seam for tests and embedding programs, not an option.
    pub credentials: Option<SharedCredentialsProvider>,
    /// `region`.
    pub region: String,
    /// `profile`: one of `~/.aws/credentials` and `~/.aws/config`.
    pub profile: Option<String>,
    /// `role_arn`: a role to assume with the credentials of the standard chain.
    pub role_arn: Option<String>,
    /// `external_id`: what that role's owner agreed with us.
    pub external_id: Option<String>,
    /// `sts_endpoint`: where the role is assumed, instead of the region's STS.
    pub sts_endpoint: Option<String>,
}

/// Where requests go: the options about the service's endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// URL instead of the region's own endpoint.
    pub url: Option<String>,
    /// Connections.
    pub limits: Limits,
    /// Their TLS.
    pub tls: Tls,
    /// TLS of the connections that credentials come over.
    pub credentials_tls: Tls,
    /// Longest time for one request and its answer.
    pub request: Duration,
}

/// The URL of a configured endpoint: `host`, `https://host` or `http://host`, each with or without a port; `port`
/// counts where the text names none.
pub fn endpoint_url(endpoint: &str, port: Option<u16>, tls: bool) -> String {
    let (scheme, rest) = match endpoint.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None if tls => ("https", endpoint),
        None => ("http", endpoint),
    };
    let rest = rest.trim_end_matches('/');
    let authority = rest.split('/').next().unwrap_or(rest);
    let after_name = authority.rsplit(']').next().unwrap_or(authority);
    match port {
        Some(port) if !after_name.contains(':') => {
            format!("{scheme}://{authority}:{port}{}", &rest[authority.len()..])
        }
        _ => format!("{scheme}://{rest}"),
    }
}

/// The host of a service in a region, in the region's partition; `AWS_USE_FIPS_ENDPOINT` counts, as for the SDK.
pub fn regional_host(service: &str, region: &str) -> String {
    let fips = std::env::var("AWS_USE_FIPS_ENDPOINT").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    host_of(service, region, fips)
}

fn host_of(service: &str, region: &str, fips: bool) -> String {
    let suffix = match region.split('-').take(2).collect::<Vec<_>>()[..] {
        ["cn", _] => "amazonaws.com.cn",
        ["us", "iso"] => "c2s.ic.gov",
        ["us", "isob"] => "sc2s.sgov.gov",
        ["eu", "isoe"] => "cloud.adc-e.uk",
        ["us", "isof"] => "csp.hci.ic.gov",
        ["eusc", _] => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    format!("{service}{}.{region}.{suffix}", if fips { "-fips" } else { "" })
}

/// Sets up the SDK: credentials by its standard chain (environment, profile, web identity, EKS pod identity, ECS,
/// IMDSv2), or by `role_arn`. Requests nothing before the first call.
pub async fn load(account: &Account, endpoint: &Endpoint) -> SdkConfig {
    let verified = Transport::new(&endpoint.credentials_tls, &endpoint.limits);
    let base = base(account, endpoint, verified).await;
    let credentials = match &account.role_arn {
        Some(role) => Some(assume(role, account, &base).await),
        None => base.credentials_provider(),
    };
    let mut builder = base.into_builder().http_client(Transport::new(&endpoint.tls, &endpoint.limits));
    builder.set_credentials_provider(credentials);
    builder.set_endpoint_url(endpoint.url.clone());
    builder.build()
}

/// The configuration that credentials are found with.
async fn base(account: &Account, endpoint: &Endpoint, transport: Transport) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(endpoint.limits.connect)
        .operation_attempt_timeout(endpoint.request)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(account.region.clone()))
        .http_client(transport)
        // The engine retries: it knows the order of chunks, and what `Retry_Limit` asks.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Ok(name) = AppName::new(concat!("ripsaw-", env!("CARGO_PKG_VERSION"))) {
        loader = loader.app_name(name);
    }
    if let Some(profile) = &account.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(credentials) = &account.credentials {
        loader = loader.credentials_provider(credentials.clone());
    }
    loader.load().await
}

/// Credentials of `role_arn`.
async fn assume(role: &str, account: &Account, base: &SdkConfig) -> SharedCredentialsProvider {
    let mut sts = base.to_builder();
    sts.set_endpoint_url(account.sts_endpoint.as_deref().map(|endpoint| endpoint_url(endpoint, None, true)));
    let mut builder = AssumeRoleProvider::builder(role).session_name("ripsaw").configure(&sts.build());
    if let Some(id) = &account.external_id {
        builder = builder.external_id(id);
    }
    SharedCredentialsProvider::new(builder.build().await)
}

/// The TLS of credentials: verified, whatever `tls.verify` says of the endpoint.
pub fn credentials_tls(options: &TlsOptions) -> Tls {
    let verified =
        TlsOptions { tls: Bool(true), verify: Bool(true), verify_hostname: Bool(true), ..options.clone() };
    // What is wrong was told for the endpoint already. A system without roots still works as long as credentials come
    // from the environment, a file or plain HTTP on this host; STS then fails by name.
    let nowhere = Section::new("output", Span::new(&"".into(), 0, 0));
    match crate::tls::client(&verified, &nowhere, "", &mut Diagnostics::default()) {
        Some(Some(config)) => Tls { config, name: None },
        _ => Tls::none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_hosts_in_their_partition() {
        for (region, fips, host) in [
            ("eu-central-1", false, "kinesis.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", true, "kinesis-fips.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, "kinesis.cn-north-1.amazonaws.com.cn"),
            ("us-iso-east-1", false, "kinesis.us-iso-east-1.c2s.ic.gov"),
            ("eusc-de-east-1", false, "kinesis.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(host_of("kinesis", region, fips), host);
        }
    }

    #[test]
    fn endpoints_are_hosts_or_urls() {
        for (endpoint, port, tls, url) in [
            ("127.0.0.1", Some(8443), true, "https://127.0.0.1:8443"),
            ("127.0.0.1", Some(8443), false, "http://127.0.0.1:8443"),
            ("logs.example.com", None, true, "https://logs.example.com"),
            ("https://logs.example.com/", Some(443), true, "https://logs.example.com:443"),
            ("http://localhost:4566", Some(1), true, "http://localhost:4566"),
            ("http://localhost/a", Some(1), true, "http://localhost:1/a"),
            ("[::1]", Some(9), true, "https://[::1]:9"),
            ("[::1]:8", Some(9), true, "https://[::1]:8"),
        ] {
            assert_eq!(endpoint_url(endpoint, port, tls), url, "{endpoint}");
        }
    }
}
