//! What Kinesis Data Streams and Firehose do differently: names, words of the wire, limits.
//!
//! Owns: every limit of both services, in one place, with its source. Never: looks at a record.

/// Most bytes that a partition key made by us has, and the least that is reserved for one.
pub(super) const RANDOM_KEY_BYTES: usize = 16;
/// Most characters of a partition key. Kinesis API reference, PutRecordsRequestEntry.
pub(super) const KEY_CHARS_MAX: usize = 256;
/// Most records of a request. Both API references.
pub(super) const REQUEST_RECORDS_MAX: usize = 500;

/// One of the two services.
#[derive(Debug)]
pub(super) struct Service {
    /// The plugin.
    pub(super) plugin: &'static str,
    /// As endpoints and signatures name it.
    pub(super) name: &'static str,
    /// `X-Amz-Target`.
    pub(super) target: &'static str,
    /// As IAM policies name the call.
    pub(super) action: &'static str,
    /// What an ARN says between account and name.
    pub(super) resource: &'static str,
    /// The option that names the stream.
    pub(super) stream_option: &'static str,
    /// Most characters of that name.
    pub(super) stream_chars_max: usize,
    /// The body's member that names the stream.
    pub(super) stream_member: &'static str,
    /// The answer's member that counts failed records.
    pub(super) failed_member: &'static str,
    /// The answer's member with one entry for each record.
    pub(super) answers_member: &'static str,
    /// Whether records have partition keys.
    pub(super) keyed: bool,
    /// Most bytes of a record before base64, its partition key included.
    pub(super) record_bytes_max: usize,
    /// Most bytes of a request, as [`Service::counted`] counts them.
    pub(super) request_bytes_max: usize,
    /// Whether that limit is taken for the body as it is sent; else for data and keys before base64.
    pub(super) counts_body: bool,
}

/// `kinesis_streams`.
pub(super) static STREAMS: Service = Service {
    plugin: "kinesis_streams",
    name: "kinesis",
    target: "Kinesis_20131202.PutRecords",
    action: "kinesis:PutRecords",
    resource: "stream",
    stream_option: "stream",
    stream_chars_max: 128,
    stream_member: "StreamName",
    failed_member: "FailedRecordCount",
    answers_member: "Records",
    keyed: true,
    // "The maximum size of the data payload before base64-encoding, and the partition key": a stream's own setting since
    // 2025 (1 to 10 MiB); this is the default, which every stream takes.
    record_bytes_max: 1 << 20,
    // 10 MiB since 2025, 5 MiB before and where the service is rebuilt (moto, LocalStack): data and keys.
    request_bytes_max: 5 << 20,
    counts_body: false,
};

/// `kinesis_firehose`.
pub(super) static FIREHOSE: Service = Service {
    plugin: "kinesis_firehose",
    name: "firehose",
    target: "Firehose_20150804.PutRecordBatch",
    action: "firehose:PutRecordBatch",
    resource: "deliverystream",
    stream_option: "delivery_stream",
    stream_chars_max: 64,
    stream_member: "DeliveryStreamName",
    failed_member: "FailedPutCount",
    answers_member: "RequestResponses",
    keyed: false,
    // "1,000 KiB, before base64-encoding".
    record_bytes_max: 1_024_000,
    // "4 MiB for the entire request": taken by its word, for the body.
    request_bytes_max: 4 << 20,
    counts_body: true,
};

/// `{"Data":"` and `"},` around a record's text.
const FRAME_BYTES: usize = 12;

impl Service {
    /// What a record of so much data and key counts in a request, in bytes.
    pub(super) fn counted(&self, data: usize, key: usize) -> usize {
        match self.counts_body {
            true => data.div_ceil(3) * 4 + FRAME_BYTES,
            false => data + key,
        }
    }

    /// What a request to this stream counts before its first record, in bytes.
    pub(super) fn counted_head(&self, stream: &str) -> usize {
        match self.counts_body {
            // {"DeliveryStreamName":"…","Records":[]}
            true => self.stream_member.len() + stream.len() + 20,
            false => 0,
        }
    }

    /// Most bytes of a record's data beside a partition key of this length.
    pub(super) fn data_bytes_max(&self, key: usize) -> usize {
        match self.keyed {
            true => self.record_bytes_max - key.max(RANDOM_KEY_BYTES),
            false => self.record_bytes_max,
        }
    }

    /// The ARN that a policy must name; the account is not known here.
    pub(super) fn arn(&self, region: &str, stream: &str) -> String {
        let partition = match region.split('-').next() {
            Some("cn") => "aws-cn",
            Some("us") if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        format!("arn:{partition}:{}:{region}:*:{}/{stream}", self.name, self.resource)
    }
}
