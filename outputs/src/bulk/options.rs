//! The options of `es` and `opensearch`.

use codecs::conf::values::{Bool, Int, Size, Text};

codecs::choice! {
    /// How a request is compressed.
    pub enum Compress {
        /// gzip.
        Gzip "gzip",
    }
}

codecs::choice! {
    /// What a request does with a document.
    pub enum WriteOperation {
        /// Makes it; one that is there stays.
        Create "create",
        /// Makes it, or puts it in the place of one that is there.
        Index "index",
        /// Changes one that is there.
        Update "update",
        /// Changes one that is there, or makes it.
        Upsert "upsert",
    }
}

impl WriteOperation {
    /// The word of an action line.
    pub(super) fn action(self) -> &'static str {
        match self {
            WriteOperation::Create => "create",
            WriteOperation::Index => "index",
            WriteOperation::Update | WriteOperation::Upsert => "update",
        }
    }

    /// What stands before and behind a document.
    pub(super) fn frame(self) -> (&'static [u8], &'static [u8]) {
        match self {
            WriteOperation::Create | WriteOperation::Index => (b"", b"\n"),
            WriteOperation::Update => (b"{\"doc\":", b"}\n"),
            WriteOperation::Upsert => (b"{\"doc_as_upsert\":true,\"doc\":", b"}\n"),
        }
    }
}

codecs::options! {
    /// Writes records to an index by the _bulk requests of Elasticsearch and OpenSearch.
    pub struct Options {
        /// Name or address of the server.
        host "host": One<Text> = "127.0.0.1",
        /// Its TCP port.
        port "port": One<Int> = "9200",
        /// Use IPv6.
        ipv6 "ipv6": One<Bool> = "off" => NoEffect("both families are tried; `net.dns.prefer_ipv6` sets the order"),
        /// Name of the index; strftime conversions in it stand for the current time, and in opensearch `$key` for a
        /// value of the record.
        index "index": One<Text> = "fluent-bit",
        /// Type of the documents, for Elasticsearch before 8.
        kind "type": One<Text> = "_doc",
        /// Leave the type out, as Elasticsearch 8 and OpenSearch want it.
        suppress_type_name "suppress_type_name": One<Bool> = "false",
        /// User of basic authentication.
        http_user "http_user": Opt<Text>,
        /// Password of the user.
        http_passwd "http_passwd": One<Text> = "",
        /// Compress requests: gzip.
        compress "compress": Opt<Compress>,
        /// Sign requests for AWS.
        aws_auth "aws_auth": One<Bool> = "false",
        /// Region of the domain, for `aws_auth`.
        aws_region "aws_region": Opt<Text>,
        /// Where a role is assumed, instead of the region's STS; for `aws_auth`.
        aws_sts_endpoint "aws_sts_endpoint": Opt<Text>,
        /// A role to assume, for `aws_auth`.
        aws_role_arn "aws_role_arn": Opt<Text>,
        /// What the role's owner agreed with us, for `aws_auth`.
        aws_external_id "aws_external_id": Opt<Text>,
        /// Service that requests are signed for: es or aoss; for `aws_auth`.
        aws_service_name "aws_service_name": One<Text> = "es",
        /// Profile of the AWS configuration files, for `aws_auth`.
        aws_profile "aws_profile": Opt<Text>,
        /// Name indices by a prefix and the date of the record.
        logstash_format "logstash_format": One<Bool> = "false",
        /// The prefix, with `logstash_format`.
        logstash_prefix "logstash_prefix": One<Text> = "logstash",
        /// What stands between prefix and date.
        logstash_prefix_separator "logstash_prefix_separator": One<Text> = "-",
        /// Key whose value is the prefix; where a record lacks it, `logstash_prefix` is.
        logstash_prefix_key "logstash_prefix_key": Opt<Text>,
        /// The date, as strftime writes it.
        logstash_dateformat "logstash_dateformat": One<Text> = "%Y.%m.%d",
        /// Key that gets the time of the record.
        time_key "time_key": One<Text> = "@timestamp",
        /// How that time is written, down to the second.
        time_key_format "time_key_format": One<Text> = "%Y-%m-%dT%H:%M:%S",
        /// Write nanoseconds behind it, not milliseconds.
        time_key_nanos "time_key_nanos": One<Bool> = "false",
        /// Add the tag to each record.
        include_tag_key "include_tag_key": One<Bool> = "false",
        /// Key that gets the tag.
        tag_key "tag_key": One<Text> = "flb-key",
        /// Bytes of an answer that are read.
        buffer_size "buffer_size": One<Size> = "512k" => NoEffect("an answer is read as it comes, whatever its size, and only what failed is kept of it"),
        /// Path before `/_bulk`.
        path "path": One<Text> = "",
        /// Ingest pipeline that documents go through.
        pipeline "pipeline": Opt<Text>,
        /// Give each document an id that is made of its content, so that a repetition makes no second one.
        generate_id "generate_id": One<Bool> = "false",
        /// What is done with a document: create, index, update or upsert.
        write_operation "write_operation": One<WriteOperation> = "create",
        /// Key whose value is the document's id.
        id_key "id_key": Opt<Text>,
        /// Replace dots in keys by underscores.
        replace_dots "replace_dots": One<Bool> = "false",
        /// Take the current time for index and time key, not the record's.
        current_time_index "current_time_index": One<Bool> = "false",
        /// Print requests to standard output.
        trace_output "trace_output": One<Bool> = "false",
        /// Print answers that tell of errors to standard error.
        trace_error "trace_error": One<Bool> = "false",
    }
}

codecs::options! {
    /// What only `es` has.
    pub struct EsOptions {
        /// API key, in base64 as Elasticsearch gives it out.
        http_api_key "http_api_key": Opt<Text>,
        /// Id of a deployment in Elastic Cloud, instead of host and port.
        cloud_id "cloud_id": Opt<Text>,
        /// user:password for Elastic Cloud.
        cloud_auth "cloud_auth": Opt<Text>,
        /// File with several servers, which are used in turn.
        upstream "upstream": Opt<Text>,
    }
}

/// What a node of an `Upstream` file cannot set for itself: it is decided when a record is encoded, before it is known
/// which node it goes to.
pub(super) const SHARED: &[&str] = &[
    "index",
    "type",
    "suppress_type_name",
    "logstash_format",
    "logstash_prefix",
    "logstash_prefix_separator",
    "logstash_prefix_key",
    "logstash_dateformat",
    "time_key",
    "time_key_format",
    "time_key_nanos",
    "include_tag_key",
    "tag_key",
    "generate_id",
    "write_operation",
    "id_key",
    "replace_dots",
    "current_time_index",
];
