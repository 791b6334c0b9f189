//! Every output there is, in documentation order.

use crate::{Plugin, bulk, cloudwatch_logs, file, forward, http, null, s3, stdout, syslog, tcp};

/// The outputs. Adding one is its file and one line here.
pub static OUTPUTS: &[&dyn Plugin] = &[
    &stdout::PLUGIN,
    &file::PLUGIN,
    &http::PLUGIN,
    &forward::PLUGIN,
    &bulk::ES,
    &bulk::OPENSEARCH,
    &tcp::PLUGIN,
    &syslog::PLUGIN,
    &null::PLUGIN,
    &cloudwatch_logs::CloudwatchLogs,
    &s3::S3,
];

/// The output of this name, in any case.
pub fn find(name: &str) -> Option<&'static dyn Plugin> {
    OUTPUTS.iter().copied().find(|p| p.name().eq_ignore_ascii_case(name))
}
