//! Options of `s3`, and the rules between them.

use super::key::{KeyFormat, random};
use crate::aws::check::{Check, REQUEST_TIMEOUT, verifies_names};
use crate::aws::session::{credentials_tls, endpoint_url};
use crate::aws::{Account, AwsOptions, Endpoint, Tls};
use crate::formats::{DateFormat, DateKey, JsonRecords, escape};
use crate::net::{NetOptions, TlsOptions};
use codecs::conf::values::{Bool, Int, Seconds, Size, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::json::Escape;
use std::path::PathBuf;
use std::time::Duration;

/// Smallest part that S3 takes, but for the last, in bytes.
pub(super) const PART_BYTES_MIN: u64 = 5_242_880;
/// Largest `upload_chunk_size`, in bytes: a part is held in memory.
const PART_BYTES_MAX: u64 = 50_000_000;
/// Largest one that is taken with compression, as there, where it counts bytes before it.
const PART_BYTES_BEFORE_MAX: u64 = 5_000_000_000;
/// Most that `total_file_size` may be, in bytes.
const OBJECT_BYTES_MAX: u64 = 50_000_000_000;
/// The same for PutObject.
const PUT_BYTES_MAX: u64 = 1_000_000_000;
/// Least that `total_file_size` may be, in bytes.
const OBJECT_BYTES_MIN: u64 = 1_000_000;

/// What S3 encrypts with.
const ENCRYPTIONS: &[&str] = &["AES256", "aws:kms", "aws:kms:dsse"];

codecs::choice! {
    /// `compression`.
    pub enum Compression {
        /// As it is.
        None "none",
        /// gzip.
        Gzip "gzip",
        /// Zstandard.
        Zstd "zstd",
        /// Snappy, without frames, as Fluent Bit writes it.
        Snappy "snappy",
        /// Refused.
        Arrow "arrow",
        /// Refused.
        Parquet "parquet",
    }
}

codecs::choice! {
    /// `format`.
    pub enum Format {
        /// One JSON object a line.
        JsonLines "json_lines" | "json",
        /// Refused.
        Otlp "otlp_json" | "otlp_json_pretty",
        /// Refused.
        Parquet "parquet",
        /// Refused.
        Arrow "arrow",
    }
}

codecs::choice! {
    /// `retry_exhausted_action`.
    pub enum Exhausted {
        /// Removed.
        Delete "delete",
        /// Put aside.
        Quarantine "quarantine",
    }
}

codecs::options! {
    /// Sends records to Amazon S3, by way of files that survive a crash.
    pub struct Options {
        /// Name of the bucket; required.
        bucket "bucket": Opt<Text>,
        /// The bucket's AWS region.
        region "region": One<Text> = "us-east-1",
        /// How records are laid out; `json` means `json_lines`.
        format "format": One<Format> = "json_lines",
        /// Name of the date's key; false leaves it out.
        json_date_key "json_date_key": One<DateKey> = "date",
        /// How the date is written.
        json_date_format "json_date_format": One<DateFormat> = "iso8601",
        /// Send only the value of this key, one a line.
        log_key "log_key": Opt<Text>,
        /// An object is ended when it has this size.
        total_file_size "total_file_size": One<Size> = "100000000",
        /// Size of a part of a multipart upload, as it is sent.
        upload_chunk_size "upload_chunk_size": One<Size> = "5242880",
        /// An object is ended this long after its first record came.
        upload_timeout "upload_timeout": One<Seconds> = "10m",
        /// Send whole objects by PutObject instead of multipart uploads.
        use_put_object "use_put_object": One<Bool> = "false",
        /// Key of an object: `$TAG`, `$TAG[n]`, `$INDEX`, `$UUID` and strftime conversions of the first record's time.
        s3_key_format "s3_key_format": One<Text> = "/fluent-bit-logs/$TAG/%Y/%m/%d/%H/%M/%S",
        /// Characters that split a tag into the parts `$TAG[n]`.
        s3_key_format_tag_delimiters "s3_key_format_tag_delimiters": One<Text> = ".",
        /// Add nothing random to a key that has no `$UUID`.
        static_file_path "static_file_path": One<Bool> = "false",
        /// Compress objects.
        compression "compression": Opt<Compression>,
        /// Header `Content-Type` of objects.
        content_type "content_type": Opt<Text>,
        /// Storage class of objects.
        storage_class "storage_class": Opt<Text>,
        /// Canned ACL of objects.
        canned_acl "canned_acl": Opt<Text>,
        /// How S3 encrypts objects: `AES256`, `aws:kms` or `aws:kms:dsse`; without it, as the bucket says.
        server_side_encryption "server_side_encryption": Opt<Text>,
        /// Key of `aws:kms`: its id, ARN or alias; without it, the account's own key for S3.
        ssekms_key_id "ssekms_key_id": Opt<Text>,
        /// Send `Content-MD5` with objects and parts, as Object Lock requires.
        send_content_md5 "send_content_md5": One<Bool> = "false",
        /// Objects of a tag go out one after the other, in order.
        preserve_data_ordering "preserve_data_ordering": One<Bool> = "true",
        /// Directory of what is not sent yet; each running instance needs its own.
        store_dir "store_dir": One<Text> = "/tmp/fluent-bit/s3",
        /// At most so many bytes of records under `store_dir`; then the output waits. 0 means no limit.
        store_dir_limit_size "store_dir_limit_size": One<Size> = "0",
        /// At most so many bytes put aside; then they are deleted. 0 means no limit.
        quarantine_dir_limit_size "quarantine_dir_limit_size": One<Size> = "0",
        /// What becomes of an object that failed `Retry_Limit` times.
        retry_exhausted_action "retry_exhausted_action": One<Exhausted> = "quarantine",
        /// URL to use instead of the region's S3; `http://` switches TLS off.
        endpoint "endpoint": Opt<Text>,
        /// Host of a server.
        host "host": Opt<Text> => NoEffect("`endpoint` names the server"),
        /// Port of a server.
        port "port": Opt<Int> => NoEffect("`endpoint` names the port"),
        /// Database of blobs.
        blob_database_file "blob_database_file": Opt<Text> => NoEffect("only the input blob makes blobs, and this build has none"),
        /// Size of a part of a blob.
        part_size "part_size": One<Size> = "25M" => NoEffect("only the input blob makes blobs, and this build has none"),
        /// How often a blob is tried.
        file_delivery_attempt_limit "file_delivery_attempt_limit": One<Int> = "1" => NoEffect("only the input blob makes blobs, and this build has none"),
        /// How often a part of a blob is tried.
        part_delivery_attempt_limit "part_delivery_attempt_limit": One<Int> = "1" => NoEffect("only the input blob makes blobs, and this build has none"),
        /// How long a blob may take.
        upload_parts_timeout "upload_parts_timeout": One<Text> = "10M" => NoEffect("only the input blob makes blobs, and this build has none"),
        /// How old a part of a blob may be.
        upload_part_freshness_limit "upload_part_freshness_limit": One<Text> = "6D" => NoEffect("only the input blob makes blobs, and this build has none"),
        /// Where pre-signed URLs come from.
        authorization_endpoint_url "authorization_endpoint_url": Opt<Text> => Refused("requests are signed here; pre-signed URLs of another service are not fetched"),
        /// User there.
        authorization_endpoint_username "authorization_endpoint_username": Opt<Text> => NoEffect("it belongs to `authorization_endpoint_url`"),
        /// Password there.
        authorization_endpoint_password "authorization_endpoint_password": Opt<Text> => NoEffect("it belongs to `authorization_endpoint_url`"),
        /// Token there.
        authorization_endpoint_bearer_token "authorization_endpoint_bearer_token": Opt<Text> => NoEffect("it belongs to `authorization_endpoint_url`"),
    }
}

/// Everything that an instance needs, checked.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) bucket: String,
    pub(super) account: Account,
    pub(super) endpoint: Endpoint,
    pub(super) key: KeyFormat,
    /// Whole records; unused with `log_key`.
    pub(super) json: JsonRecords,
    pub(super) log_key: Option<Vec<u8>>,
    pub(super) escape: Escape,
    pub(super) object_bytes: u64,
    /// `None`: PutObject.
    pub(super) part_bytes: Option<u64>,
    pub(super) timeout: Duration,
    pub(super) compression: Compression,
    pub(super) headers: Headers,
    pub(super) md5: bool,
    pub(super) ordered: bool,
    pub(super) directory: PathBuf,
    /// 0: none.
    pub(super) stored_bytes_max: u64,
    /// 0: none.
    pub(super) quarantine_bytes_max: u64,
    pub(super) exhausted: Exhausted,
    /// `Retry_Limit` where it is set to a number.
    pub(super) retries_max: Option<u32>,
    pub(super) retry_at_once: bool,
}

/// Headers of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    pub(super) content_type: Option<String>,
    pub(super) storage_class: Option<String>,
    pub(super) acl: Option<String>,
    pub(super) encryption: Option<String>,
    pub(super) kms_key: Option<String>,
}

impl Settings {
    /// How bodies are made: bodies of another form do not go into an upload.
    pub(super) fn form(&self) -> &'static str {
        match self.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Snappy => "snappy",
            Compression::Arrow => "arrow",
            Compression::Parquet => "parquet",
        }
    }

    /// Reads and checks a section; reports all that is wrong.
    pub(super) fn read(
        section: &Section,
        owner: &str,
        escape_unicode: bool,
        diagnostics: &mut Diagnostics,
    ) -> Option<Settings> {
        let options = Options::read(section, owner, diagnostics);
        let aws = AwsOptions::read(section, owner, diagnostics);
        let net = NetOptions::read(section, owner, diagnostics);
        let tls = TlsOptions::read(section, owner, diagnostics);
        let mut check = Check { section, owner, diagnostics };
        let bucket = check.required("bucket", options.bucket.as_ref());
        let compression = check.layout(&options);
        let sizes = compression.and_then(|compression| check.sizes(&options, compression));
        let key = check.key(&options);
        let headers = check.headers(&options);
        let endpoint = check.endpoint(&options, &net, &tls);
        let retries_max = section.get("retry_limit").and_then(|entry| retries(&entry.value));
        let (bucket, part_bytes) = (bucket?, sizes?);
        let escape = escape(escape_unicode);
        Some(Settings {
            directory: PathBuf::from(&options.store_dir.0).join(&bucket).join(owner),
            bucket,
            endpoint: endpoint?,
            key: key?,
            json: JsonRecords::new(&options.json_date_key, options.json_date_format, escape),
            log_key: options.log_key.map(|Text(key)| key.into_bytes()),
            escape,
            object_bytes: options.total_file_size.0,
            part_bytes,
            timeout: crate::net::duration(options.upload_timeout.0),
            compression: compression?,
            headers: headers?,
            md5: options.send_content_md5.0,
            ordered: options.preserve_data_ordering.0,
            stored_bytes_max: options.store_dir_limit_size.0,
            quarantine_bytes_max: options.quarantine_dir_limit_size.0,
            exhausted: options.retry_exhausted_action,
            retries_max,
            retry_at_once: aws.auto_retry_requests.0,
            account: aws.account(options.region.0),
        })
    }
}

/// A number of retries that was asked for; what else `Retry_Limit` may say means no limit here, and the engine
/// tells what is wrong with it.
fn retries(text: &str) -> Option<u32> {
    match text.trim() {
        "no_retries" => Some(0),
        number => number.parse::<i64>().ok().map(|n| u32::try_from(n.max(1)).unwrap_or(u32::MAX)),
    }
}

impl Check<'_> {
    /// Format and compression.
    fn layout(&mut self, options: &Options) -> Option<Compression> {
        let compression = options.compression.unwrap_or(Compression::None);
        let rule = "columnar files are not written by this build; use json_lines, compressed with gzip, zstd or snappy";
        let columnar = matches!(compression, Compression::Arrow | Compression::Parquet);
        if columnar {
            self.broken(
                "compression",
                if compression == Compression::Arrow { "arrow" } else { "parquet" },
                rule,
            );
        }
        let refused = match options.format {
            Format::JsonLines => None,
            Format::Otlp => Some(("otlp_json", "OTLP is not written by this build; use json_lines")),
            Format::Parquet => Some(("parquet", rule)),
            Format::Arrow => Some(("arrow", rule)),
        };
        if let Some((value, rule)) = refused {
            self.broken("format", value, rule);
        }
        (!columnar && refused.is_none()).then_some(compression)
    }

    /// The size of parts, or none for PutObject.
    fn sizes(&mut self, options: &Options, compression: Compression) -> Option<Option<u64>> {
        let (total, part) = (options.total_file_size.0, options.upload_chunk_size.0);
        // Snappy blocks cannot follow each other, and two parts below 5 MiB would not be taken.
        let put =
            options.use_put_object.0 || compression == Compression::Snappy || total < 2 * PART_BYTES_MIN;
        let most = if put { PUT_BYTES_MAX } else { OBJECT_BYTES_MAX };
        if total < OBJECT_BYTES_MIN || total > most {
            let rule = format!("{OBJECT_BYTES_MIN} to {most} bytes");
            self.broken("total_file_size", &total.to_string(), &rule);
            return None;
        }
        if put {
            return Some(None);
        }
        let most = if compression == Compression::None { PART_BYTES_MAX } else { PART_BYTES_BEFORE_MAX };
        if !(PART_BYTES_MIN..=most).contains(&part) {
            let rule = format!("{PART_BYTES_MIN} to {most} bytes");
            self.broken("upload_chunk_size", &part.to_string(), &rule);
            return None;
        }
        if part != PART_BYTES_MIN && part * 2 > total {
            self.broken("upload_chunk_size", &part.to_string(), "at most half of `total_file_size`");
            return None;
        }
        Some(Some(part.min(PART_BYTES_MAX)))
    }

    fn key(&mut self, options: &Options) -> Option<KeyFormat> {
        let format = &options.s3_key_format.0;
        if !format.starts_with('/') {
            self.broken("s3_key_format", format, "it begins with `/`");
            return None;
        }
        let delimiters = options.s3_key_format_tag_delimiters.0.clone();
        let key = KeyFormat::new(format.clone(), delimiters, options.static_file_path.0);
        // Only the length that no tag can change is known here.
        if key.key("", 0, 0, &random(), false).len() >= super::key::KEY_BYTES_MAX {
            self.broken("s3_key_format", format, "keys have at most 1024 bytes");
            return None;
        }
        Some(key)
    }

    fn headers(&mut self, options: &Options) -> Option<Headers> {
        let content_type = self.header("content_type", options.content_type.clone());
        let storage_class = self.header("storage_class", options.storage_class.clone());
        let acl = self.header("canned_acl", options.canned_acl.clone());
        let encryption = self.header("server_side_encryption", options.server_side_encryption.clone());
        let kms_key = self.header("ssekms_key_id", options.ssekms_key_id.clone());
        let (encryption, kms_key) = (encryption?, kms_key?);
        let named = encryption.as_deref().unwrap_or_default();
        if encryption.is_some() && !ENCRYPTIONS.contains(&named) {
            self.broken("server_side_encryption", named, "AES256, aws:kms or aws:kms:dsse");
            return None;
        }
        if let Some(key) = kms_key.as_deref().filter(|_| !named.starts_with("aws:kms")) {
            self.broken("ssekms_key_id", key, "it needs `server_side_encryption aws:kms` or `aws:kms:dsse`");
            return None;
        }
        Some(Headers {
            content_type: content_type?,
            storage_class: storage_class?,
            acl: acl?,
            encryption,
            kms_key,
        })
    }

    fn endpoint(&mut self, options: &Options, net: &NetOptions, tls: &TlsOptions) -> Option<Endpoint> {
        let url = options.endpoint.as_ref().map(|Text(endpoint)| endpoint_url(endpoint, None, true));
        // As in Fluent Bit the scheme of `endpoint` decides, not `tls`.
        let secure = url.as_ref().is_none_or(|url| !url.starts_with("http://"));
        let limits = self.limits(net);
        let service = self.tls(tls, secure)?;
        let credentials = match secure && tls.verify.0 && verifies_names(tls, self.section) {
            true => Tls { config: service.config.clone(), name: None },
            false => credentials_tls(tls),
        };
        Some(Endpoint {
            url,
            limits: limits?,
            tls: service,
            credentials_tls: credentials,
            request: net.io_limit().unwrap_or(REQUEST_TIMEOUT),
        })
    }
}
