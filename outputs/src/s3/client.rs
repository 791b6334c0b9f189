//! The calls to S3, by the SDK.
//!
//! Owns: the SDK's client, made at the first use and made anew when credentials ran out; headers of objects.
//! Never: retries beyond the one attempt of `auto_retry_requests`; reads the store.

use super::body::Body;
use super::journal::Part;
use super::options::{Compression, Settings};
use crate::aws::{Fault, classify, session};
use aws_sdk_s3::Client as Sdk;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ObjectCannedAcl, StorageClass};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::error::Error;
use std::sync::Arc;
use tokio::sync::RwLock;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The upload, or a part of it, is not there any more: it has to be made again.
    Gone(String),
    /// Anything else.
    Fault(Fault),
    /// A file could not be read.
    Disk(String),
}

/// A client that is there when it is needed.
#[derive(Debug)]
pub(super) struct Client {
    settings: Arc<Settings>,
    sdk: RwLock<Option<Sdk>>,
}

impl Client {
    /// A client of these settings; nothing is opened.
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Client { settings, sdk: RwLock::new(None) }
    }

    /// The SDK's client; the first call reads files and environment.
    pub(super) async fn open(&self) -> Sdk {
        if let Some(sdk) = &*self.sdk.read().await {
            return sdk.clone();
        }
        let mut slot = self.sdk.write().await;
        if let Some(sdk) = &*slot {
            return sdk.clone();
        }
        let config = session::load(&self.settings.account, &self.settings.endpoint).await;
        // Bodies are covered by the signature; checksums in trailers are more than many S3 servers understand.
        let config = Builder::from(&config)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(self.settings.endpoint.url.is_some())
            .build();
        let sdk = Sdk::from_conf(config);
        *slot = Some(sdk.clone());
        sdk
    }

    /// Forgets credentials, so that the next call asks for new ones.
    pub(super) async fn renew(&self) {
        *self.sdk.write().await = None;
    }

    /// Puts a whole object.
    pub(super) async fn put(&self, key: &str, body: &Body) -> Result<(), Failed> {
        match self.put_once(key, body).await {
            Err(failed) if self.at_once(&failed) => self.put_once(key, body).await,
            other => other,
        }
    }

    async fn put_once(&self, key: &str, body: &Body) -> Result<(), Failed> {
        let headers = &self.settings.headers;
        let call = self.open().await.put_object();
        let call = call
            .bucket(&self.settings.bucket)
            .key(name(key))
            .set_content_type(headers.content_type.clone())
            .set_content_encoding(self.encoding())
            .set_storage_class(headers.storage_class.as_deref().map(StorageClass::from))
            .set_acl(headers.acl.as_deref().map(ObjectCannedAcl::from))
            .set_content_md5(body.md5.clone())
            .body(body.stream().await.map_err(Failed::Disk)?);
        call.send().await.map(drop).map_err(|error| self.failed(&error, "s3:PutObject", key))
    }

    /// Begins a multipart upload.
    pub(super) async fn create(&self, key: &str) -> Result<String, Failed> {
        let headers = &self.settings.headers;
        let call = self.open().await.create_multipart_upload();
        let call = call
            .bucket(&self.settings.bucket)
            .key(name(key))
            .set_content_type(headers.content_type.clone())
            .set_content_encoding(self.encoding())
            .set_storage_class(headers.storage_class.as_deref().map(StorageClass::from))
            .set_acl(headers.acl.as_deref().map(ObjectCannedAcl::from));
        let answer = call.send().await.map_err(|error| self.failed(&error, "s3:PutObject", key))?;
        match answer.upload_id() {
            Some(id) if !id.is_empty() => Ok(id.to_owned()),
            _ => Err(Failed::Fault(torn("CreateMultipartUpload answered without an upload id"))),
        }
    }

    /// Sends a part; gives its ETag.
    pub(super) async fn part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        body: &Body,
    ) -> Result<String, Failed> {
        match self.part_once(key, upload, number, body).await {
            Err(failed) if self.at_once(&failed) => self.part_once(key, upload, number, body).await,
            other => other,
        }
    }

    async fn part_once(&self, key: &str, upload: &str, number: i32, body: &Body) -> Result<String, Failed> {
        let call = self.open().await.upload_part();
        let call = call
            .bucket(&self.settings.bucket)
            .key(name(key))
            .upload_id(upload)
            .part_number(number)
            .set_content_md5(body.md5.clone())
            .body(body.stream().await.map_err(Failed::Disk)?);
        let answer = call.send().await.map_err(|error| self.failed(&error, "s3:PutObject", key))?;
        match answer.e_tag() {
            Some(etag) if !etag.is_empty() => Ok(etag.to_owned()),
            _ => Err(Failed::Fault(torn("UploadPart answered without an ETag"))),
        }
    }

    /// Makes an object of its parts.
    pub(super) async fn complete(&self, key: &str, upload: &str, parts: &[Part]) -> Result<(), Failed> {
        let parts = parts
            .iter()
            .map(|part| CompletedPart::builder().part_number(part.number).e_tag(&part.etag).build())
            .collect();
        let upload_of = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let call = self.open().await.complete_multipart_upload();
        let call =
            call.bucket(&self.settings.bucket).key(name(key)).upload_id(upload).multipart_upload(upload_of);
        let answer = call.send().await.map_err(|error| self.failed(&error, "s3:PutObject", key))?;
        drop(answer);
        Ok(())
    }

    /// Gives up an upload, as well as it goes.
    pub(super) async fn abort(&self, key: &str, upload: &str) {
        let call = self.open().await.abort_multipart_upload();
        // Nobody waits for it: what is left is for the bucket's lifecycle rule.
        drop(call.bucket(&self.settings.bucket).key(name(key)).upload_id(upload).send().await);
    }

    fn encoding(&self) -> Option<String> {
        let name = match self.settings.compression {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Snappy => "snappy",
            Compression::None | Compression::Arrow | Compression::Parquet => return None,
        };
        Some(name.to_owned())
    }

    fn at_once(&self, failed: &Failed) -> bool {
        self.settings.retry_at_once && matches!(failed, Failed::Fault(Fault::Retry { unanswered: true, .. }))
    }

    fn failed<E>(&self, error: &SdkError<E, HttpResponse>, action: &str, key: &str) -> Failed
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let code = error.as_service_error().and_then(|service| service.code()).unwrap_or_default();
        let resource = format!("arn:aws:s3:::{}{key}", self.settings.bucket);
        match (code, classify(error, action, &resource)) {
            ("NoSuchUpload" | "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall", _) => {
                Failed::Gone(format!("{action}: {code}"))
            }
            (_, fault) => Failed::Fault(fault),
        }
    }
}

/// An answer that lacks what it must have.
fn torn(reason: &str) -> Fault {
    Fault::Retry { after: None, reason: reason.to_owned(), unanswered: false }
}

/// The SDK's keys have no slash in front.
fn name(key: &str) -> &str {
    key.strip_prefix('/').unwrap_or(key)
}
