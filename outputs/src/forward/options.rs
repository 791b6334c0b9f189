//! The options of `forward`, and what a node's settings come to.

use codecs::accessor::Template;
use codecs::conf::values::{Bool, Int, Text, Words};
use codecs::conf::{Diagnostics, Section};

codecs::choice! {
    /// How entries are compressed.
    pub enum Compress {
        /// Not at all.
        Text "text",
        /// gzip; entries travel as one packed value.
        Gzip "gzip",
    }
}

codecs::options! {
    /// Sends records to Fluentd, Fluent Bit or ripsaw by the forward protocol.
    pub struct Options {
        /// Name or address of the server.
        host "host": One<Text> = "127.0.0.1",
        /// Its TCP port.
        port "port": One<Int> = "24224",
        /// Use IPv6.
        ipv6 "ipv6": One<Bool> = "off" => NoEffect("both families are tried; `net.dns.prefer_ipv6` sets the order"),
        /// Send times as whole seconds, for Fluentd before 0.14.
        time_as_integer "time_as_integer": One<Bool> = "false",
        /// Send entries as [[time, metadata], record], as Fluent Bit keeps them; off sends [time, record]. For the
        /// nodes of `upstream` it is off unless it is set.
        retain_metadata "retain_metadata_in_forward_mode": Opt<Bool>,
        /// Secret that both sides prove to know before the first record.
        shared_key "shared_key": Opt<Text>,
        /// Our name in that proof.
        self_hostname "self_hostname": One<Text> = "localhost",
        /// Make that proof with an empty secret.
        empty_shared_key "empty_shared_key": One<Bool> = "false",
        /// Send the number of records with them.
        send_options "send_options": One<Bool> = "false",
        /// Records count as delivered when the server acknowledged them, not when they were sent.
        require_ack_response "require_ack_response": One<Bool> = "false",
        /// User, where the server wants one beside the secret.
        username "username": One<Text> = "",
        /// Password of the user.
        password "password": One<Text> = "",
        /// A socket of this machine instead of host and port; ignored where `upstream` is set.
        unix_path "unix_path": Opt<Text>,
        /// File with several servers, which are used in turn.
        upstream "upstream": Opt<Text>,
        /// Tag that records leave with; `$TAG[n]` and `$key` stand for parts of the tag and values of the record.
        tag "tag": Opt<Text>,
        /// Compress entries: text (not at all) or gzip.
        compress "compress": Opt<Compress>,
        /// Layout of metrics and traces.
        fluentd_compat "fluentd_compat": One<Bool> = "false" => NoEffect("it is about metrics and traces, and records are logs"),
        /// A further option of each message: its name, then its value.
        add_option "add_option": Many<Words>,
    }
}

/// How records travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `[tag, [[[time, {}], record], …]]`, or `[[time, record], …]`.
    Forward { metadata: bool },
    /// `[tag, [[seconds, record], …]]`.
    Compat,
    /// `[tag, time, record, options]` for each record.
    Message { seconds: bool },
}

/// The settings that decide what a record looks like; all nodes share them, as records are encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) mode: Mode,
    pub(super) tag: Option<Template>,
    pub(super) ack: bool,
    pub(super) extra: Vec<(String, String)>,
}

/// The proof of a shared secret.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) shared_key: String,
    pub(super) self_hostname: String,
    pub(super) username: String,
    pub(super) password: String,
}

/// What one server's settings come to.
pub(super) struct Settings {
    pub(super) wire: Wire,
    pub(super) send_options: bool,
    pub(super) gzip: bool,
    pub(super) secret: Option<Secret>,
}

impl Settings {
    /// Checks the options against each other; `node`: whether they are those of a node. What is wrong is reported.
    pub(super) fn new(
        options: &Options,
        node: bool,
        section: &Section,
        owner: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Settings> {
        let mut wrong = |key: &str, message: String| {
            let span = section.get(key).map_or(&section.span, |entry| &entry.value_span);
            diagnostics.error(span, format!("{owner}: {message}"));
        };
        let shared_key = match options.empty_shared_key.0 {
            true => Some(String::new()),
            false => options.shared_key.as_ref().map(|key| key.0.clone()),
        };
        if shared_key.is_none() && !(options.username.0.is_empty() && options.password.0.is_empty()) {
            wrong("username", "`username` and `password` need `shared_key` or `empty_shared_key`".to_owned());
            return None;
        }
        let tag = match options.tag.as_ref().map(|tag| Template::parse(&tag.0)).transpose() {
            Ok(tag) => tag,
            Err(rule) => {
                wrong("tag", format!("`tag`: {rule}"));
                return None;
            }
        };
        let seconds = options.time_as_integer.0;
        let mode = match &tag {
            Some(tag) if !tag.depends_on_tag_only() => Mode::Message { seconds },
            _ if seconds => Mode::Compat,
            _ => Mode::Forward { metadata: options.retain_metadata.map_or(!node, |on| on.0) },
        };
        let gzip = options.compress == Some(Compress::Gzip);
        if gzip && !matches!(mode, Mode::Forward { .. }) {
            let message =
                "`compress gzip` goes neither with `time_as_integer` nor with values of a record in `tag`";
            wrong("compress", message.to_owned());
            return None;
        }
        // Fluent Bit takes the first word and the last.
        let extra: Vec<(String, String)> = options
            .add_option
            .iter()
            .filter_map(|words| Some((words.0.first()?.clone(), words.0.last()?.clone())))
            .collect();
        let ack = options.require_ack_response.0;
        let send_options = options.send_options.0 || ack || gzip || !extra.is_empty();
        let secret = shared_key.map(|shared_key| Secret {
            shared_key,
            self_hostname: options.self_hostname.0.clone(),
            username: options.username.0.clone(),
            password: options.password.0.clone(),
        });
        Some(Settings { wire: Wire { mode, tag, ack, extra }, send_options, gzip, secret })
    }
}
