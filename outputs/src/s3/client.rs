//! The calls to S3, by the SDK.
//!
//! Owns: the SDK's client, made at the first use and made anew when credentials ran out; headers of objects.
//! Never: retries beyond the one attempt of `auto_retry_requests`; reads the store.

use super::body::Body;
use super::counters::Cause;
use super::journal::Part;
use super::options::{Compression, Settings};
use crate::aws::{Fault, classify, session};
use aws_sdk_s3::Client as Sdk;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, ObjectCannedAcl, ServerSideEncryption, StorageClass,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use md5::{Digest, Md5};
use std::error::Error;
use std::io;
use std::sync::Arc;
use tokio::sync::RwLock;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The upload, or a part of it, is not there any more: it has to be made again.
    Gone(String),
    /// Anything else.
    Fault(Fault, Cause),
    /// A file could not be read or written.
    Disk(io::Error),
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
            .set_server_side_encryption(headers.encryption.as_deref().map(ServerSideEncryption::from))
            .set_ssekms_key_id(headers.kms_key.clone())
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
            .set_acl(headers.acl.as_deref().map(ObjectCannedAcl::from))
            .set_server_side_encryption(headers.encryption.as_deref().map(ServerSideEncryption::from))
            .set_ssekms_key_id(headers.kms_key.clone());
        let answer = call.send().await.map_err(|error| self.failed(&error, "s3:PutObject", key))?;
        match answer.upload_id() {
            Some(id) if !id.is_empty() => Ok(id.to_owned()),
            _ => Err(torn("CreateMultipartUpload answered without an upload id")),
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
            _ => Err(torn("UploadPart answered without an ETag")),
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
        match answer.e_tag() {
            Some(etag) if !etag.is_empty() => Ok(()),
            // S3 begins its answer before it knows the end: only an answer with an ETag says that the object is there.
            _ => Err(torn("CompleteMultipartUpload answered without an ETag")),
        }
    }

    /// Whether an object stands there that was made of these parts: a Complete whose answer was lost did it.
    pub(super) async fn stands(&self, key: &str, parts: &[Part]) -> bool {
        let call = self.open().await.head_object().bucket(&self.settings.bucket).key(name(key));
        // Without the right to look, or without an answer, it is made again: the same bytes under the same key.
        let Ok(found) = call.send().await else { return false };
        let length: u64 = parts.iter().map(|part| part.bytes).sum();
        let etag = found.e_tag().unwrap_or_default().trim_matches('"');
        found.content_length() == i64::try_from(length).ok()
            && etag.ends_with(&format!("-{}", parts.len()))
            && composite(parts).is_none_or(|expected| expected == etag)
    }

    /// Uploads of a key that are under way and began at `since` or later, in seconds since the epoch.
    pub(super) async fn uploads(&self, key: &str, since: i64) -> Result<Vec<String>, Failed> {
        let call = self.open().await.list_multipart_uploads().bucket(&self.settings.bucket).prefix(name(key));
        let action = "s3:ListBucketMultipartUploads";
        let answer = call.send().await.map_err(|error| self.failed(&error, action, key))?;
        let ours = answer.uploads().iter().filter(|upload| {
            upload.key() == Some(name(key)) && upload.initiated().is_none_or(|began| began.secs() >= since)
        });
        Ok(ours.filter_map(|upload| upload.upload_id()).map(str::to_owned).collect())
    }

    /// Gives up an upload; one that is not there is given up.
    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<(), Failed> {
        let call = self.open().await.abort_multipart_upload();
        let call = call.bucket(&self.settings.bucket).key(name(key)).upload_id(upload);
        match call.send().await.map_err(|error| self.failed(&error, "s3:AbortMultipartUpload", key)) {
            Ok(_) | Err(Failed::Gone(_)) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    fn encoding(&self) -> Option<String> {
        match self.settings.compression {
            Compression::Gzip | Compression::Zstd | Compression::Snappy => {
                Some(self.settings.form().to_owned())
            }
            Compression::None | Compression::Arrow | Compression::Parquet => None,
        }
    }

    fn at_once(&self, failed: &Failed) -> bool {
        self.settings.retry_at_once
            && matches!(failed, Failed::Fault(Fault::Retry { unanswered: true, .. }, _))
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
            (code, fault) => {
                let cause = cause(code, &fault);
                Failed::Fault(fault, cause)
            }
        }
    }
}

/// What a fault is counted as.
fn cause(code: &str, fault: &Fault) -> Cause {
    let slower = ["SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"];
    match fault {
        Fault::Retry { .. } if slower.contains(&code) => Cause::Throttled,
        Fault::Retry { unanswered: true, .. } => Cause::Unanswered,
        Fault::Retry { .. } => Cause::Server,
        Fault::Expired { .. } => Cause::Expired,
        Fault::Hold { .. } => Cause::Rights,
        Fault::Missing { .. } => Cause::Missing,
        Fault::Final { .. } if code == "NoSuchBucket" => Cause::Missing,
        Fault::Final { .. } | Fault::Exists | Fault::Accepted => Cause::Refused,
    }
}

/// The ETag of an object of parts, where those are MD5 sums (they are not with keys of KMS).
fn composite(parts: &[Part]) -> Option<String> {
    let mut all = Md5::new();
    for part in parts {
        let hex = part.etag.trim_matches('"').as_bytes();
        let (pairs, []) = hex.as_chunks::<2>() else { return None };
        if pairs.len() != 16 {
            return None;
        }
        for pair in pairs {
            let pair = std::str::from_utf8(pair).ok()?;
            all.update([u8::from_str_radix(pair, 16).ok()?]);
        }
    }
    let hex: String = all.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{hex}-{}", parts.len()))
}

/// An answer that lacks what it must have.
fn torn(reason: &str) -> Failed {
    let fault = Fault::Retry { after: None, reason: reason.to_owned(), unanswered: false };
    Failed::Fault(fault, Cause::Server)
}

/// The SDK's keys have no slash in front.
fn name(key: &str) -> &str {
    key.strip_prefix('/').unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_an_object_is_made_of_those_of_its_parts() {
        let part = |etag: &str| Part { number: 1, end: 0, bytes: 0, etag: etag.to_owned() };
        // md5(md5("a") + md5("b")), as S3 makes it.
        let parts = [part("\"0cc175b9c0f1b6a831c399e269772661\""), part("92eb5ffee6ae2fec3ad71c777531578f")];
        let etag = composite(&parts).expect("sums");
        assert_eq!(etag, "96e024ba2074fe77e8e965ba43a704be-2");
        for other in ["", "\"kms\"", "0cc175b9c0f1b6a831c399e26977266", "zzc175b9c0f1b6a831c399e269772661"] {
            assert_eq!(composite(&[part(other)]), None, "{other}");
        }
    }
}
