//! The options of `kubernetes`, and what they say taken together.
//!
//! Owns: their spelling, defaults and status. Never: opens a file or a connection.

use super::identity::{Pattern, Source};
use crate::filters::Context;
use crate::kube::{Access, Server, parse_url};
use codecs::conf::values::{Bool, Int, Seconds, Size, Text};
use codecs::conf::{Diagnostics, Section, nearest};
use codecs::parsers::{Format, Parser};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

codecs::options! {
    /// Adds what the Kubernetes API knows of the pod that a record comes from.
    pub struct Options {
        /// The most bytes of an answer that are read, in Fluent Bit.
        buffer_size "Buffer_Size": One<Size> = "32k" => NoEffect("answers are taken apart as they come, pod by pod; a pod may have 3 MiB, more than any API server stores"),
        /// Verbosity of the TLS library.
        tls_debug "tls.debug": One<Int> = "0" => NoEffect("the reason of a failed handshake is always told"),
        /// Refuse an API server whose certificate does not lead to a trusted one.
        tls_verify "tls.verify": One<Bool> = "true",
        /// Name that is asked for (SNI) and checked, instead of the host.
        tls_vhost "tls.vhost": Opt<Text>,
        /// Refuse an API server whose certificate is for another name.
        tls_verify_hostname "tls.verify_hostname": One<Bool> = "off",
        /// Reads the content of `log`, where that is a JSON map, and adds its fields.
        merge_log "Merge_Log": One<Bool> = "false",
        /// Name of a parser for the content of `log`, instead of JSON.
        merge_parser "Merge_Parser": Opt<Text>,
        /// A key to put the fields of `log` under, instead of beside it.
        merge_log_key "Merge_Log_Key": Opt<Text>,
        /// Takes line ends off the texts that come from `log`.
        merge_log_trim "Merge_Log_Trim": One<Bool> = "true",
        /// Keeps `log` where its content was merged.
        keep_log "Keep_Log": One<Bool> = "true",
        /// The API server: http:// or https://, host, port.
        kube_url "Kube_URL": One<Text> = "https://kubernetes.default.svc",
        /// Folder with answers of the API as files, `NAMESPACE_POD.meta` and `NAMESPACE.namespace_meta`; they are looked for first.
        kube_meta_preload_cache_dir "Kube_Meta_Preload_Cache_Dir": Opt<Text>,
        /// File with the certificates that the API server's has to lead to (PEM).
        kube_ca_file "Kube_CA_File": One<Text> = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        /// Folder with such certificates.
        kube_ca_path "Kube_CA_Path": Opt<Text>,
        /// What stands before the file's name in a tag; so many characters are passed over.
        kube_tag_prefix "Kube_Tag_Prefix": One<Text> = "kube.var.log.containers.",
        /// File with the namespace of our own pod.
        kube_namespace_file "Kube_Namespace_File": One<Text> = "/var/run/secrets/kubernetes.io/serviceaccount/namespace",
        /// File with the token that we show to the API server.
        kube_token_file "Kube_Token_File": One<Text> = "/var/run/secrets/kubernetes.io/serviceaccount/token",
        /// A command that prints the token, instead.
        kube_token_command "Kube_Token_Command": Opt<Text>,
        /// Adds the pod's labels.
        labels "Labels": One<Bool> = "true",
        /// Adds the pod's annotations.
        annotations "Annotations": One<Bool> = "true",
        /// Adds who owns the pod.
        owner_references "Owner_References": One<Bool> = "false",
        /// Adds the labels of the pod's namespace, under `kubernetes_namespace`.
        namespace_labels "Namespace_Labels": One<Bool> = "false",
        /// Adds the annotations of the pod's namespace, under `kubernetes_namespace`.
        namespace_annotations "Namespace_Annotations": One<Bool> = "false",
        /// Adds only what is known of the namespace.
        namespace_metadata_only "Namespace_Metadata_Only": One<Bool> = "false",
        /// Lets a pod name a parser for its `log` (`fluentbit.io/parser`).
        k8s_logging_parser "K8S-Logging.Parser": One<Bool> = "false",
        /// Lets a pod keep its records out (`fluentbit.io/exclude`).
        k8s_logging_exclude "K8S-Logging.Exclude": One<Bool> = "false",
        /// Finds the pod by the field `CONTAINER_NAME` of a journal's entry, not by the tag.
        use_journal "Use_Journal": One<Bool> = "false",
        /// Name of a regex parser that finds pod_name, namespace_name, container_name, docker_id in a tag.
        regex_parser "Regex_Parser": Opt<Text>,
        /// Adds the time of day, for tests without an API.
        dummy_meta "Dummy_Meta": One<Bool> = "false",
        /// How often the API server's name is looked up before giving up, in Fluent Bit.
        dns_retries "DNS_Retries": One<Int> = "6" => NoEffect("the name is looked up again with each attempt, for as long as it takes"),
        /// How long to wait between look-ups, in Fluent Bit.
        dns_wait_time "DNS_Wait_Time": One<Seconds> = "30" => NoEffect("attempts follow each other with a back-off of 30 s at most, and hold up no record for longer than 5 s"),
        /// Asks again when a container's id changes, where pods are not watched.
        cache_use_docker_id "Cache_Use_Docker_Id": One<Bool> = "false",
        /// Adds only what the tag tells, and asks nobody.
        use_tag_for_meta "Use_Tag_For_Meta": One<Bool> = "false",
        /// Asks the kubelet of this node, not the API server.
        use_kubelet "Use_Kubelet": One<Bool> = "false",
        /// The kubelet's host.
        kubelet_host "Kubelet_Host": One<Text> = "127.0.0.1",
        /// The kubelet's port.
        kubelet_port "Kubelet_Port": One<Int> = "10250",
        /// The node whose pods are watched; without it, `NODE_NAME` of the environment, or the node of our own pod.
        kube_node_name "Kube_Node_Name": Opt<Text>,
        /// After so long the token is read again.
        kube_token_ttl "Kube_Token_TTL": One<Seconds> = "10m",
        /// After so long a pod is asked for again, where pods are not watched; 0 means never.
        kube_meta_cache_ttl "Kube_Meta_Cache_TTL": One<Seconds> = "0",
        /// After so long a namespace is asked for again; 0 means never.
        kube_meta_namespace_cache_ttl "Kube_Meta_Namespace_Cache_TTL": One<Seconds> = "15m",
        /// Adds the service that a pod belongs to, from the CloudWatch agent.
        aws_use_pod_association "aws_use_pod_association": One<Bool> = "false" => NoEffect("records get no aws_entity_* fields: only Fluent Bit's cloudwatch_logs reads them, with add_entity"),
        /// The same under its old name.
        use_pod_association "use_pod_association": One<Bool> = "false" => NoEffect("records get no aws_entity_* fields: only Fluent Bit's cloudwatch_logs reads them, with add_entity"),
        /// The agent's host.
        aws_pod_association_host "aws_pod_association_host": One<Text> = "cloudwatch-agent.amazon-cloudwatch" => NoEffect("records get no aws_entity_* fields"),
        /// Where the agent tells the services.
        aws_pod_association_endpoint "aws_pod_association_endpoint": One<Text> = "/kubernetes/pod-to-service-env-map" => NoEffect("records get no aws_entity_* fields"),
        /// The agent's port.
        aws_pod_association_port "aws_pod_association_port": One<Int> = "4311" => NoEffect("records get no aws_entity_* fields"),
        /// After so many seconds a service is asked for again.
        aws_pod_service_map_ttl "aws_pod_service_map_ttl": One<Int> = "0" => NoEffect("records get no aws_entity_* fields"),
        /// Seconds between two looks at the services.
        aws_pod_service_map_refresh_interval "aws_pod_service_map_refresh_interval": One<Int> = "60" => NoEffect("records get no aws_entity_* fields"),
        /// Folder with services as files.
        aws_pod_service_preload_cache_dir "aws_pod_service_preload_cache_dir": Opt<Text> => NoEffect("records get no aws_entity_* fields"),
        /// Certificates that the agent's has to lead to.
        aws_pod_association_host_server_ca_file "aws_pod_association_host_server_ca_file": One<Text> = "/etc/amazon-cloudwatch-observability-agent-server-cert/tls-ca.crt" => NoEffect("records get no aws_entity_* fields"),
        /// Our certificate for the agent.
        aws_pod_association_host_client_cert_file "aws_pod_association_host_client_cert_file": One<Text> = "/etc/amazon-cloudwatch-observability-agent-client-cert/client.crt" => NoEffect("records get no aws_entity_* fields"),
        /// The key of our certificate for the agent.
        aws_pod_association_host_client_key_file "aws_pod_association_host_client_key_file": One<Text> = "/etc/amazon-cloudwatch-observability-agent-client-cert/client.key" => NoEffect("records get no aws_entity_* fields"),
        /// Verbosity of the TLS library towards the agent.
        aws_pod_association_host_tls_debug "aws_pod_association_host_tls_debug": One<Int> = "0" => NoEffect("records get no aws_entity_* fields"),
        /// Refuse an agent whose certificate does not lead to a trusted one.
        aws_pod_association_host_tls_verify "aws_pod_association_host_tls_verify": One<Bool> = "true" => NoEffect("records get no aws_entity_* fields"),
        /// The platform (k8s or eks) that records tell.
        set_platform "set_platform": Opt<Text> => NoEffect("records get no aws_entity_* fields"),
    }
}

/// What of a pod goes into records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) labels: bool,
    pub(super) annotations: bool,
    pub(super) owner_references: bool,
    pub(super) namespace_labels: bool,
    pub(super) namespace_annotations: bool,
}

/// How `log` is merged.
#[derive(Debug)]
pub(super) struct Merge {
    pub(super) parser: Option<Arc<Parser>>,
    pub(super) key: Option<String>,
    pub(super) trim: bool,
    pub(super) keep: bool,
}

/// How long answers are good, where pods are not watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    pub(super) pod: Option<Duration>,
    pub(super) namespace: Option<Duration>,
}

/// Where what is added comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// `Dummy_Meta`.
    Dummy,
    /// `Use_Tag_For_Meta`.
    Tag,
    /// The API or the kubelet.
    Api(Box<Access>),
}

/// What the options say.
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) origin: Origin,
    pub(super) wanted: Wanted,
    pub(super) pods: bool,
    pub(super) merge: Option<Merge>,
    pub(super) by_docker_id: bool,
    pub(super) ages: Ages,
    pub(super) may_parse: bool,
    pub(super) may_exclude: bool,
    /// What pods may name, sorted by name.
    pub(super) parsers: Vec<(String, Arc<Parser>)>,
}

impl Settings {
    /// What the section says; what is wrong with it is reported.
    pub(super) fn read(
        section: &Section,
        context: &Context<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Settings> {
        let options = Options::read(section, context.name, diagnostics);
        let server = server(section, context.name, &options, diagnostics);
        let kubelet = kubelet(section, context.name, &options, diagnostics);
        let source = source(section, context, &options, diagnostics);
        let merge = merge(section, context, &options, diagnostics);
        let (api, kubelet, source, merge) = (server?, kubelet?, source?, merge?);
        let seconds = |s: Seconds| Some(outputs::net::duration(s.0)).filter(|d| !d.is_zero());
        let ages = Ages {
            pod: seconds(options.kube_meta_cache_ttl),
            namespace: seconds(options.kube_meta_namespace_cache_ttl),
        };
        let wanted = Wanted {
            labels: options.labels.0,
            annotations: options.annotations.0,
            owner_references: options.owner_references.0,
            namespace_labels: options.namespace_labels.0,
            namespace_annotations: options.namespace_annotations.0,
        };
        let may_parse = options.k8s_logging_parser.0;
        let named = |(name, parser): (&String, &Arc<Parser>)| (name.clone(), parser.clone());
        let mut parsers: Vec<_> = context.parsers.iter().filter(|_| may_parse).map(named).collect();
        parsers.sort_by(|a, b| a.0.cmp(&b.0));
        let (pods, by_docker_id) = (!options.namespace_metadata_only.0, options.cache_use_docker_id.0);
        let (may_exclude, name) =
            (options.k8s_logging_exclude.0, format!("filter:kubernetes:{}", context.name));
        let origin = match (options.dummy_meta.0, options.use_tag_for_meta.0) {
            (true, _) => Origin::Dummy,
            (false, true) => Origin::Tag,
            (false, false) => Origin::Api(Box::new(access(options, api, kubelet))),
        };
        Some(Settings {
            name,
            source,
            origin,
            wanted,
            pods,
            merge,
            by_docker_id,
            ages,
            may_parse,
            may_exclude,
            parsers,
        })
    }
}

fn access(options: Options, api: Server, kubelet: Option<Server>) -> Access {
    let text = |text: Option<Text>| text.map(|t| t.0).filter(|t| !t.is_empty());
    Access {
        api,
        kubelet,
        ca_file: options.kube_ca_file.0,
        ca_path: text(options.kube_ca_path),
        verify: options.tls_verify.0,
        verify_hostname: options.tls_verify_hostname.0,
        vhost: text(options.tls_vhost),
        token_file: options.kube_token_file.0.into(),
        token_command: text(options.kube_token_command),
        token_ttl: outputs::net::duration(options.kube_token_ttl.0),
        namespace_file: options.kube_namespace_file.0.into(),
        preload: text(options.kube_meta_preload_cache_dir).map(PathBuf::from),
        node: text(options.kube_node_name),
        net: Vec::new(),
    }
}

fn server(
    section: &Section,
    owner: &str,
    options: &Options,
    diagnostics: &mut Diagnostics,
) -> Option<Server> {
    let url = &options.kube_url.0;
    let server = parse_url(url);
    if server.is_none() {
        let span = section.get("Kube_URL").map_or(&section.span, |e| &e.value_span);
        diagnostics.error(span, format!("{owner}: `kube_url` is `{url}`")).help(
            "rule: http://host:port or https://host:port, without a path; the port is 443 unless it is given",
        );
    }
    server
}

/// The kubelet, where it is to be asked. With a folder of answers it is spoken to without TLS, as in Fluent Bit.
fn kubelet(
    section: &Section,
    owner: &str,
    options: &Options,
    diagnostics: &mut Diagnostics,
) -> Option<Option<Server>> {
    if !options.use_kubelet.0 {
        return Some(None);
    }
    let Some(port) = u16::try_from(options.kubelet_port.0).ok().filter(|p| *p > 0) else {
        let span = section.get("Kubelet_Port").map_or(&section.span, |e| &e.value_span);
        let message = format!("{owner}: `kubelet_port` is {}", options.kubelet_port.0);
        diagnostics.error(span, message).help("rule: a number from 1 to 65535");
        return None;
    };
    let https = options.kube_meta_preload_cache_dir.is_none();
    Some(Some(Server { https, host: options.kubelet_host.0.clone(), port }))
}

fn source(
    section: &Section,
    context: &Context<'_>,
    options: &Options,
    diagnostics: &mut Diagnostics,
) -> Option<Source> {
    let pattern = match &options.regex_parser {
        None => Pattern::built_in(options.use_journal.0),
        Some(Text(name)) => {
            let entry = section.get("Regex_Parser").map_or(&section.span, |e| &e.value_span);
            let Some(parser) = context.parsers.get(name) else {
                let message = format!("{}: there is no parser `{name}`", context.name);
                let found = diagnostics.error(entry, message);
                if let Some(near) = nearest(name, context.parsers.keys().map(String::as_str)) {
                    found.help(format!("did you mean `{near}`?"));
                }
                return None;
            };
            if parser.format() != Format::Regex {
                diagnostics
                    .error(entry, format!("{}: `regex_parser` is `{name}`", context.name))
                    .help("rule: a parser of the format regex");
                return None;
            }
            Pattern::Parser(parser.clone())
        }
    };
    Some(Source { pattern, prefix: options.kube_tag_prefix.0.len(), journal: options.use_journal.0 })
}

/// How `log` is merged, where it is. An unknown `Merge_Parser` is a warning, and JSON is read, as in Fluent Bit.
fn merge(
    section: &Section,
    context: &Context<'_>,
    options: &Options,
    diagnostics: &mut Diagnostics,
) -> Option<Option<Merge>> {
    let mut parser = None;
    if let Some(Text(name)) = &options.merge_parser {
        parser = context.parsers.get(name).cloned();
        if parser.is_none() {
            let span = section.get("Merge_Parser").map_or(&section.span, |e| &e.value_span);
            diagnostics
                .warning(span, format!("{}: there is no parser `{name}`", context.name))
                .help("`log` is read as JSON");
        }
    }
    if !options.merge_log.0 {
        for key in ["Merge_Parser", "Merge_Log_Key"] {
            if let Some(entry) = section.get(key) {
                let message =
                    format!("{}: `{}` does nothing without `Merge_Log On`", context.name, entry.key);
                diagnostics.note(&entry.key_span, message);
            }
        }
        return Some(None);
    }
    Some(Some(Merge {
        parser,
        key: options.merge_log_key.as_ref().map(|key| key.0.clone()).filter(|key| !key.is_empty()),
        trim: options.merge_log_trim.0,
        keep: options.keep_log.0,
    }))
}
