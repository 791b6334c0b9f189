//! Every output there is, in documentation order.

use crate::{Plugin, bulk, cloudwatch_logs, file, forward, http, kinesis, null, s3, stdout, syslog, tcp};

/// The outputs. Adding one is its file and one line here.
pub static OUTPUTS: &[&Plugin] = &[
    &stdout::PLUGIN,
    &file::PLUGIN,
    &http::PLUGIN,
    &forward::PLUGIN,
    &bulk::ES,
    &bulk::OPENSEARCH,
    &tcp::PLUGIN,
    &syslog::PLUGIN,
    &null::PLUGIN,
    &cloudwatch_logs::PLUGIN,
    &s3::PLUGIN,
    &kinesis::STREAMS,
    &kinesis::FIREHOSE,
];

/// The output of this name, in any case.
pub fn find(name: &str) -> Option<&'static Plugin> {
    Plugin::find(OUTPUTS, name)
}
