//! PutRecords and PutRecordBatch: a signed request and its answer.
//!
//! Owns: headers, signature, credentials asked for anew, the clock of this machine set right. Never: retries beyond the one
//! attempt of `auto_retry_requests`, knows a chunk.

use super::options::Settings;
use crate::aws::{Fault, faults};
use crate::client::{Client as Http, Limits};
use crate::http::auth::Signer;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use std::sync::Arc;

/// Most bytes of an answer that are read: 500 entries with an error message each are far below.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The service, as one stream of it is reached.
pub(super) struct Client {
    settings: Arc<Settings>,
    http: Http,
    signer: Signer,
    uri: Uri,
    headers: HeaderMap,
    resource: String,
}

impl Client {
    /// A client; nothing is opened. The error is what is wrong, and with which option.
    pub(super) fn new(settings: Arc<Settings>) -> Result<Self, (&'static str, String)> {
        let service = settings.service;
        let http = Http::new(settings.endpoint.clone(), settings.net.clone())
            .map_err(|message| ("net.source_address", message))?;
        let endpoint = |_| ("endpoint", "`endpoint` holds what a request cannot hold".to_owned());
        let host = HeaderValue::from_str(&settings.authority).map_err(|error| endpoint(error.to_string()))?;
        let uri =
            settings.path.parse().map_err(|error: http::uri::InvalidUri| endpoint(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ripsaw/", env!("CARGO_PKG_VERSION"))));
        headers.insert(HeaderName::from_static("x-amz-target"), HeaderValue::from_static(service.target));
        let signer = Signer::of(
            service.name.to_owned(),
            settings.account.clone(),
            settings.credentials_limits.clone(),
            settings.credentials_tls.clone(),
        );
        let resource = service.arn(&settings.account.region, &settings.stream);
        Ok(Client { settings, http, signer, uri, headers, resource })
    }

    /// Asks for credentials, so that the first request need not; what fails is told then.
    pub(super) async fn open(&self) {
        drop(self.signer.credentials().await);
    }

    /// Puts records whose body is encoded; gives the body of the answer.
    pub(super) async fn put(&self, body: Bytes) -> Result<Vec<u8>, Fault> {
        match self.put_once(body.clone()).await {
            Err(Fault::Retry { unanswered: true, .. }) if self.settings.retry_at_once => {
                self.put_once(body).await
            }
            other => other,
        }
    }

    async fn put_once(&self, body: Bytes) -> Result<Vec<u8>, Fault> {
        let action = self.settings.service.action;
        let patience = self.settings.patience;
        let limits = Limits { response: patience, idle: patience, body_bytes: ANSWER_BYTES_MAX };
        // The second time is for new credentials or the right time, where the first ones were refused.
        let mut second = false;
        loop {
            let credentials = match self.signer.credentials().await {
                Ok(credentials) => credentials,
                Err(reason) => return Err(no_credentials(action, &reason)),
            };
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = self.uri.clone();
            *request.headers_mut() = self.headers.clone();
            if let Err(error) = self.signer.sign(&credentials, &mut request, &body, &self.settings.authority)
            {
                return Err(Fault::Final { reason: format!("{action}: cannot sign the request: {error}") });
            }
            let sent = self.http.send(request, limits).await;
            let answer = sent.map_err(|reason| Fault::Retry {
                after: None,
                reason: format!("{action}: {reason}"),
                unanswered: true,
            })?;
            if answer.status == StatusCode::OK {
                return Ok(answer.body);
            }
            let status = answer.status.as_u16();
            let fault = faults::read(status, &answer.headers, &answer.body, action, &self.resource);
            let mended = match &fault {
                Fault::Expired { .. } | Fault::Hold { .. }
                    if self.signer.learn_time(answer.headers.get(DATE)) =>
                {
                    true
                }
                Fault::Expired { .. } => {
                    self.signer.forget(&credentials).await;
                    true
                }
                _ => false,
            };
            if second || !mended {
                return Err(fault);
            }
            second = true;
        }
    }
}

fn no_credentials(action: &str, reason: &str) -> Fault {
    Fault::Hold {
        reason: format!(
            "{action}: {reason} (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role for this pod, task or instance)"
        ),
    }
}
