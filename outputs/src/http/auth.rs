//! Who a request comes from, where that changes from request to request: AWS signatures (`aws_*`) and OAuth2 (`oauth2.*`).
//!
//! Owns: rules between these options, what is added to a request, when credentials are asked for anew. Never: writes a
//! secret into a message.
//! Invariant: a request that is refused for its credentials goes out once more with new ones, and no more than that.

use super::oauth2::{OAuth2, OAuth2Options};
use super::{Check, limit};
use crate::aws::{Account, Endpoint, Limits, Tls, session};
use crate::net::{NetOptions, TlsOptions};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use codecs::conf::values::{Bool, Text};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

codecs::options! {
    /// AWS signatures of requests.
    pub struct AwsOptions {
        /// Sign requests for AWS (Signature Version 4).
        auth "aws_auth": One<Bool> = "false",
        /// The service that requests are signed for, such as `es` or `aoss`; needed by `aws_auth`.
        service "aws_service": Opt<Text>,
        /// The region that requests are signed for; needed by `aws_auth`.
        region "aws_region": Opt<Text>,
        /// URL of STS, for `aws_role_arn`, instead of the region's.
        sts_endpoint "aws_sts_endpoint": Opt<Text>,
        /// ARN of a role to assume.
        role_arn "aws_role_arn": Opt<Text>,
        /// External ID that the role's owner asks for.
        external_id "aws_external_id": Opt<Text>,
        /// Profile of the shared AWS configuration files.
        profile "aws_profile": Opt<Text>,
    }
}

/// New credentials are asked for so long before the old ones expire.
const REFRESH_BEFORE: Duration = Duration::from_secs(300);
/// A clock that differs from the service's by more than this many seconds is corrected; up to 300 AWS bears.
const SKEW_SECONDS: i64 = 240;
/// The longest that finding credentials may take.
const CREDENTIALS_MAX: Duration = Duration::from_secs(60);

/// What is added to each request.
pub(super) enum Auth {
    /// Nothing beyond the fixed headers.
    None,
    /// A signature.
    Aws(Box<Signer>),
    /// A bearer token.
    OAuth2(Box<OAuth2>),
}

/// What authorises a request; which it was, so that the same is not used twice after a refusal.
pub(super) enum Grant {
    None,
    Aws(Credentials),
    Token(HeaderValue),
}

impl Auth {
    /// Reads the options; what is wrong is reported.
    pub(super) fn new(
        aws: &AwsOptions,
        oauth2: OAuth2Options,
        (net, tls, response): (&NetOptions, &TlsOptions, f64),
        check: &mut Check<'_>,
    ) -> Option<Auth> {
        match (aws.auth.0, oauth2.enable.0) {
            (false, false) => Some(Auth::None),
            (true, true) => {
                check.wrong("oauth2.enable", "`oauth2.enable` and `aws_auth` cannot both be on");
                None
            }
            (true, false) => Signer::new(aws, net, tls, check).map(|signer| Auth::Aws(Box::new(signer))),
            (false, true) => {
                OAuth2::new(oauth2, net, limit(response), check).map(|tokens| Auth::OAuth2(Box::new(tokens)))
            }
        }
    }

    /// Credentials for a request. The error is for the log.
    pub(super) async fn grant(&self) -> Result<Grant, String> {
        match self {
            Auth::None => Ok(Grant::None),
            Auth::Aws(signer) => signer.credentials().await.map(Grant::Aws),
            Auth::OAuth2(tokens) => tokens.token().await.map(Grant::Token),
        }
    }

    /// Adds what the grant is to a request with this body.
    pub(super) fn apply(
        &self,
        grant: &Grant,
        request: &mut Request<Full<Bytes>>,
        body: &[u8],
        authority: &str,
    ) -> Result<(), String> {
        match (self, grant) {
            (Auth::Aws(signer), Grant::Aws(credentials)) => signer
                .sign(credentials, request, body, authority)
                .map_err(|error| format!("cannot sign the request: {error}")),
            (_, Grant::Token(value)) => {
                request.headers_mut().insert(http::header::AUTHORIZATION, value.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// True when this status may mean that the grant is no longer good, and a new one was not asked for just now.
    /// The grant is forgotten then.
    pub(super) async fn refused(&self, status: StatusCode, grant: &Grant) -> bool {
        match (self, grant) {
            (Auth::Aws(signer), Grant::Aws(credentials)) if status == StatusCode::FORBIDDEN => {
                signer.forget(credentials).await
            }
            (Auth::OAuth2(tokens), Grant::Token(value)) if status == StatusCode::UNAUTHORIZED => {
                tokens.forget(value).await;
                true
            }
            _ => false,
        }
    }
}

/// Signs requests; finds credentials by the standard chain, or by a role, and keeps them while they are good.
pub(crate) struct Signer {
    service: String,
    account: Account,
    endpoint: Endpoint,
    found: Mutex<Option<Credentials>>,
    /// Seconds that the service's clock is ahead of ours.
    ahead: AtomicI64,
}

impl Signer {
    fn new(
        options: &AwsOptions,
        net: &NetOptions,
        tls: &TlsOptions,
        check: &mut Check<'_>,
    ) -> Option<Signer> {
        let mut needed = |key: &str, value: &Option<Text>| match value {
            Some(Text(text)) if !text.is_empty() => Some(text.clone()),
            _ => {
                check.wrong("aws_auth", &format!("`aws_auth` needs `{key}`"));
                None
            }
        };
        let (service, region) =
            (needed("aws_service", &options.service), needed("aws_region", &options.region));
        let text = |value: &Option<Text>| value.as_ref().map(|Text(value)| value.clone());
        let tls = session::credentials_tls(tls);
        let limits =
            Limits { connect: net.connect_limit(), proxy: !net.proxy_env_ignore.0, ..Limits::default() };
        let account = Account {
            credentials: None,
            region: region?,
            profile: text(&options.profile),
            role_arn: text(&options.role_arn),
            external_id: text(&options.external_id),
            sts_endpoint: text(&options.sts_endpoint),
        };
        Some(Signer::of(service?, account, limits, tls))
    }

    /// A signer for a service that finds credentials over such connections.
    pub(crate) fn of(service: String, account: Account, limits: Limits, tls: Tls) -> Signer {
        let endpoint =
            Endpoint { url: None, limits, tls: tls.clone(), credentials_tls: tls, request: CREDENTIALS_MAX };
        Signer { service, account, endpoint, found: Mutex::new(None), ahead: AtomicI64::new(0) }
    }

    /// Credentials that are good for some minutes. The error is for the log.
    pub(crate) async fn credentials(&self) -> Result<Credentials, String> {
        let mut found = self.found.lock().await;
        let good = |credentials: &&Credentials| {
            credentials.expiry().is_none_or(|expiry| expiry > SystemTime::now() + REFRESH_BEFORE)
        };
        if let Some(credentials) = found.as_ref().filter(good) {
            return Ok(credentials.clone());
        }
        let chain = session::load(&self.account, &self.endpoint).await.credentials_provider();
        let Some(chain) = chain else { return Err("no AWS credentials: there is no provider".to_owned()) };
        match chain.provide_credentials().await {
            Ok(credentials) => Ok(found.insert(credentials).clone()),
            Err(error) => Err(format!("no AWS credentials: {}", crate::client::chain(&error))),
        }
    }

    /// Forgets credentials that were refused; false when they do not change by themselves.
    pub(crate) async fn forget(&self, refused: &Credentials) -> bool {
        let mut found = self.found.lock().await;
        if found.as_ref() == Some(refused) {
            *found = None;
        }
        refused.expiry().is_some()
    }

    /// Takes the service's time from the `Date` of an answer; true when our clock was so wrong that signatures fail, and the
    /// next ones will be right.
    pub(crate) fn learn_time(&self, date: Option<&HeaderValue>) -> bool {
        let date = date.and_then(|date| DateTime::from_str(date.to_str().ok()?, Format::HttpDate).ok());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let Some(ahead) = date.map(|date| date.secs() - now.as_secs() as i64) else { return false };
        if (ahead - self.ahead.load(Relaxed)).abs() <= SKEW_SECONDS {
            return false;
        }
        self.ahead.store(ahead, Relaxed);
        true
    }

    /// The time as the service has it.
    fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Relaxed);
        let distance = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        let moved = if ahead < 0 { now.checked_sub(distance) } else { now.checked_add(distance) };
        moved.unwrap_or(now)
    }

    /// Adds the signature of a request with this body.
    pub(crate) fn sign(
        &self,
        credentials: &Credentials,
        request: &mut Request<Full<Bytes>>,
        body: &[u8],
        authority: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut settings = SigningSettings::default();
        // OpenSearch Serverless refuses what lacks it.
        if matches!(self.service.as_str(), "s3" | "aoss") {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        if self.service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.account.region)
            .name(&self.service)
            .time(self.now())
            .settings(settings)
            .build()?;
        let uri = format!("http://{authority}{}", request.uri());
        let headers =
            request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable =
            SignableRequest::new(request.method().as_str(), uri, headers, SignableBody::Bytes(body))?;
        let (instructions, _) = sign(signable, &params.into())?.into_parts();
        for (name, value) in instructions.headers() {
            let mut text = HeaderValue::from_str(value)?;
            text.set_sensitive(name == "authorization" || name == "x-amz-security-token");
            request.headers_mut().insert(http::HeaderName::from_bytes(name.as_bytes())?, text);
        }
        Ok(())
    }
}
