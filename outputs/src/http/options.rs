//! The options of `http`.

use crate::formats::{DateFormat, DateKey};
use codecs::conf::values::{Bool, Int, Seconds, Text};
use http::Method;

codecs::choice! {
    /// How records are laid out in a body.
    pub enum Format {
        /// One JSON array for all records.
        Json "json",
        /// JSON objects without anything between them.
        JsonStream "json_stream",
        /// One JSON object a line.
        JsonLines "json_lines",
        /// Graylog's JSON, a record a line.
        Gelf "gelf",
        /// Events as MessagePack.
        Msgpack "msgpack",
    }
}

impl Format {
    /// What a request says of its body.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Json | Format::JsonStream | Format::Gelf => "application/json",
            Format::JsonLines => "application/x-ndjson",
            Format::Msgpack => "application/msgpack",
        }
    }
}

codecs::choice! {
    /// How a body is compressed.
    pub enum Compress {
        /// gzip.
        Gzip "gzip",
        /// Snappy, one block.
        Snappy "snappy",
        /// Zstandard.
        Zstd "zstd",
    }
}

impl Compress {
    /// What a request says of its body.
    pub(super) fn name(self) -> &'static str {
        match self {
            Compress::Gzip => "gzip",
            Compress::Snappy => "snappy",
            Compress::Zstd => "zstd",
        }
    }
}

codecs::choice! {
    /// The method of a request.
    pub enum HttpMethod {
        /// POST.
        Post "POST",
        /// PUT.
        Put "PUT",
    }
}

impl HttpMethod {
    pub(super) fn method(self) -> Method {
        match self {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
        }
    }
}

codecs::options! {
    /// Posts records to a web server.
    pub struct Options {
        /// Name or address of the server.
        host "host": One<Text> = "127.0.0.1",
        /// Its TCP port.
        port "port": One<Int> = "80",
        /// Use IPv6.
        ipv6 "ipv6": One<Bool> = "off" => NoEffect("both families are tried; `net.dns.prefer_ipv6` sets the order"),
        /// A proxy in between, as http://host:port.
        proxy "proxy": Opt<Text>,
        /// Send a header of a name that is there already beside it, not in its place.
        allow_duplicated_headers "allow_duplicated_headers": One<Bool> = "true",
        /// Tell the body of an answer that is no success.
        log_response_payload "log_response_payload": One<Bool> = "true",
        /// The longest to wait for an answer; 0 means for ever.
        response_timeout "http.response_timeout": One<Seconds> = "60s",
        /// The longest that an answer may stand still; 0 takes `net.io_timeout`.
        read_idle_timeout "http.read_idle_timeout": One<Seconds> = "0s",
        /// User of basic authentication.
        http_user "http_user": Opt<Text>,
        /// Password of basic authentication.
        http_passwd "http_passwd": One<Text> = "",
        /// Header that holds the tag.
        header_tag "header_tag": Opt<Text>,
        /// How records are laid out.
        format "format": One<Format> = "json",
        /// How the date of a record is written.
        json_date_format "json_date_format": One<DateFormat> = "double",
        /// Name of the date; false leaves it out.
        json_date_key "json_date_key": One<DateKey> = "date",
        /// Compress the body.
        compress "compress": Opt<Compress>,
        /// A header of each request: its name, then its value.
        header "header": Many<Text>,
        /// Path, and query, of the request.
        uri "uri": One<Text> = "/",
        /// Method of the request.
        http_method "http_method": One<HttpMethod> = "POST",
        /// Key that becomes the time in GELF.
        gelf_timestamp_key "gelf_timestamp_key": One<Text> = "timestamp",
        /// Key that becomes the host in GELF.
        gelf_host_key "gelf_host_key": One<Text> = "host",
        /// Key that becomes the short message in GELF.
        gelf_short_message_key "gelf_short_message_key": One<Text> = "short_message",
        /// Key that becomes the full message in GELF.
        gelf_full_message_key "gelf_full_message_key": One<Text> = "full_message",
        /// Key that becomes the level in GELF.
        gelf_level_key "gelf_level_key": One<Text> = "level",
        /// Makes a request of each record: where its body is. Needs `headers_key`.
        body_key "body_key": Opt<Text>,
        /// Makes a request of each record: the map with its headers. Needs `body_key`.
        headers_key "headers_key": Opt<Text>,
    }
}
