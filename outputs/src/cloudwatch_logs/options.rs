//! Options of `cloudwatch_logs`, and the rules between them.

use super::encode::Encoder;
use super::target::{self, Stream, Target};
use super::template::Template;
use crate::aws::check::{Check, REQUEST_TIMEOUT, verifies_names};
use crate::aws::session::{credentials_tls, endpoint_url};
use crate::aws::{Account, AwsOptions, Endpoint, Tls};
use crate::net::{NetOptions, TlsOptions};
use codecs::conf::values::{Bool, Int, Text};
use codecs::conf::{Diagnostics, OptionValue, Section};
use codecs::json::Escape;

/// `log_retention_days`: what the service takes, or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionDays(pub i32);

/// The retentions that PutRetentionPolicy takes, in days.
pub const RETENTIONS: [i32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

impl OptionValue for RetentionDays {
    const SHAPE: &'static str = "days: 0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653";
    fn parse(text: &str) -> Result<Self, String> {
        let days = text.trim().parse().ok().filter(|days| *days == 0 || RETENTIONS.contains(days));
        days.map(RetentionDays).ok_or_else(|| {
            let list: Vec<String> = RETENTIONS.iter().map(i32::to_string).collect();
            format!("one of {}, or 0 to leave the group's setting", list.join(", "))
        })
    }
}

codecs::choice! {
    /// `log_group_class`.
    pub enum GroupClass { Standard "STANDARD", InfrequentAccess "INFREQUENT_ACCESS", Delivery "DELIVERY" }
}

codecs::options! {
    /// Sends records to Amazon CloudWatch Logs.
    pub struct Options {
        /// The AWS region to send logs to; required.
        region "region": Opt<Text>,
        /// Log group; required, and the fallback of `log_group_template`.
        log_group_name "log_group_name": Opt<Text>,
        /// Log stream; this or `log_stream_prefix` is required, not both.
        log_stream_name "log_stream_name": Opt<Text>,
        /// Beginning of the log stream's name; the tag follows it.
        log_stream_prefix "log_stream_prefix": Opt<Text>,
        /// Log group per record, with record accessors (`app.$kubernetes['namespace_name']`, `$TAG[1]`); where a key is
        /// missing, `log_group_name` counts.
        log_group_template "log_group_template": Opt<Text>,
        /// Log stream per record, with record accessors; where a key is missing, `log_stream_name` or
        /// `log_stream_prefix` counts.
        log_stream_template "log_stream_template": Opt<Text>,
        /// Send only the value of this key instead of the whole record.
        log_key "log_key": Opt<Text>,
        /// Text added to the user agent.
        extra_user_agent "extra_user_agent": Opt<Text>,
        /// Tells CloudWatch the format of the events: `json/emf` extracts embedded metrics.
        log_format "log_format": Opt<Text>,
        /// Create the log group where it is missing (streams always are).
        auto_create_group "auto_create_group": One<Bool> = "false",
        /// Retention of log groups that are created; 0 leaves the service's setting.
        log_retention_days "log_retention_days": One<RetentionDays> = "0",
        /// Host or URL to use instead of the region's CloudWatch Logs.
        endpoint "endpoint": Opt<Text>,
        /// Port of `endpoint`.
        port "port": Opt<Int>,
        /// Namespace of the metrics that the inputs `cpu` and `mem` make.
        metric_namespace "metric_namespace": Opt<Text> => NoEffect("only the inputs cpu and mem make metrics, and this build has neither"),
        /// Dimensions of those metrics: lists with commas, between semicolons.
        metric_dimensions "metric_dimensions": Opt<Text> => NoEffect("only the inputs cpu and mem make metrics, and this build has neither"),
        /// Class of log groups that are created.
        log_group_class "log_group_class": Opt<GroupClass>,
        /// Name the service that a pod belongs to in each request.
        add_entity "add_entity": One<Bool> = "false" => NoEffect("it needs pod associations, which the kubernetes filter here does not fetch"),
    }
}

/// Everything that an instance needs, checked.
#[derive(Debug)]
pub struct Settings {
    /// How records become events.
    pub encoder: Encoder,
    /// Who sends.
    pub account: Account,
    /// Where to.
    pub endpoint: Endpoint,
    /// Creation of groups.
    pub groups: Groups,
    /// Header `x-amzn-logs-format`.
    pub log_format: Option<String>,
    /// Added to the user agent.
    pub extra_user_agent: Option<String>,
    /// One more attempt at once for a request without an answer.
    pub retry_at_once: bool,
}

/// What is done about a missing log group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Create it.
    pub create: bool,
    /// With this retention in days; 0 leaves the service's.
    pub retention_days: i32,
    /// With this class.
    pub class: Option<GroupClass>,
}

impl Settings {
    /// Reads and checks a section; reports all that is wrong.
    pub fn read(
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
        let target = check.target(&options);
        let region = check.required("region", options.region.as_ref());
        let port = check.port(options.port);
        let user_agent = check.header("extra_user_agent", options.extra_user_agent);
        let log_format = check.header("log_format", options.log_format);
        let (target, region) = (target?, region?);
        let encoder = Encoder {
            target,
            log_key: options.log_key.map(|Text(key)| key.into_bytes()),
            escape: if escape_unicode { Escape::Ascii } else { Escape::Unicode },
        };
        let limits = check.limits(&net);
        // The service speaks TLS: it is on unless switched off.
        let secure = tls.tls.0 || section.get("tls").is_none();
        let service_tls = check.tls(&tls, secure);
        let credentials_tls = match &service_tls {
            Some(service) if secure && tls.verify.0 && verifies_names(&tls, section) => {
                Tls { config: service.config.clone(), name: None }
            }
            _ => credentials_tls(&tls),
        };
        // Without an endpoint the SDK knows the region's, with its partition and FIPS or dual-stack settings.
        let url = match (options.endpoint, port?) {
            (Some(Text(endpoint)), port) => Some(endpoint_url(&endpoint, port, secure)),
            (None, None) if secure => None,
            (None, port) => {
                let china = if region.starts_with("cn-") { ".cn" } else { "" };
                Some(endpoint_url(&format!("logs.{region}.amazonaws.com{china}"), port, secure))
            }
        };
        Some(Settings {
            encoder,
            account: aws.account(region),
            endpoint: Endpoint {
                url,
                limits: limits?,
                tls: service_tls?,
                credentials_tls,
                request: net.io_limit().unwrap_or(REQUEST_TIMEOUT),
            },
            groups: Groups {
                create: options.auto_create_group.0,
                retention_days: options.log_retention_days.0,
                class: options.log_group_class,
            },
            log_format: log_format?,
            extra_user_agent: user_agent?,
            retry_at_once: aws.auto_retry_requests.0,
        })
    }
}

impl Check<'_> {
    /// Group and stream; `None` when a rule is broken.
    fn target(&mut self, options: &Options) -> Option<Target> {
        let group = self.required("log_group_name", options.log_group_name.as_ref());
        let group = group.filter(|name| self.holds("log_group_name", name, target::group_rule(name)));
        let stream = match (&options.log_stream_name, &options.log_stream_prefix) {
            (Some(Text(name)), None) => self
                .holds("log_stream_name", name, target::stream_rule(name))
                .then(|| Stream::Name(name.clone())),
            (None, Some(Text(prefix))) => Some(Stream::Prefix(prefix.clone())),
            (name, _) => {
                let span = self.span(if name.is_some() { "log_stream_prefix" } else { "log_stream_name" });
                let problem = if name.is_some() { "stand both" } else { "are both missing" };
                self.diagnostics
                    .error(
                        &span,
                        format!("{}: `log_stream_name` and `log_stream_prefix` {problem}", self.owner),
                    )
                    .help("rule: exactly one of them is required");
                None
            }
        };
        let group_template = self.template("log_group_template", options.log_group_template.as_ref());
        let stream_template = self.template("log_stream_template", options.log_stream_template.as_ref());
        Some(Target {
            group: group?,
            stream: stream?,
            group_template: group_template?,
            stream_template: stream_template?,
        })
    }

    fn holds(&mut self, key: &str, value: &str, rule: Option<&str>) -> bool {
        if let Some(rule) = rule {
            self.broken(key, value, rule);
        }
        rule.is_none()
    }

    fn template(&mut self, key: &str, value: Option<&Text>) -> Option<Option<Template>> {
        let Some(Text(text)) = value else {
            return Some(None);
        };
        match Template::parse(text) {
            Ok(template) => Some(Some(template)),
            Err(problem) => {
                self.broken(key, text, &format!("text with record accessors; {problem}"));
                None
            }
        }
    }
}
