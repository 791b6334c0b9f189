//! Input forward: the Forward protocol of Fluentd and Fluent Bit, over TCP or a unix socket.
//!
//! Owns: the options of forward. Never: acknowledges what an output has not accepted.

mod connection;
mod decode;
mod handshake;

use self::connection::Shared;
use self::decode::Events;
use self::handshake::Security;
use super::net::options::{KeepaliveOptions, ListenOptions, NetOptions, Permissions, TlsOptions};
use super::net::serve::{Serving, Task};
use super::net::text::Bad;
use super::net::{Address, tls};
use super::{Configured, Context, Input, InputContext, Plugin};
use codecs::conf::values::{Bool, Int, Size, Text, Words};
use codecs::conf::{Diagnostics, Section};
use std::rc::Rc;
use std::sync::Arc;

/// The port where none is set.
const PORT: u16 = 24224;

codecs::options! {
    /// Listens for the Forward protocol of Fluentd and Fluent Bit, in all its modes. A sender that asks for an
    /// acknowledgement gets it when every output that the records go to has accepted them.
    pub struct Options {
        /// Put before the tags that come.
        tag_prefix "tag_prefix": Opt<Text>,
        /// Key that both sides know: only senders that know it are taken.
        shared_key "shared_key": Opt<Text>,
        /// Take an empty key for the shared one.
        empty_shared_key "empty_shared_key": One<Bool> = "false",
        /// Our name in the handshake.
        self_hostname "self_hostname": One<Text> = "localhost",
        /// A user and a password: only senders that know such a pair are taken.
        users "security.users": Many<Words>,
        /// A unix socket to listen on, instead of an address.
        unix_path "unix_path": Opt<Text>,
        /// Its permissions.
        unix_perm "unix_perm": Opt<Permissions>,
        /// The buffer of a connection grows by so much.
        buffer_chunk_size "buffer_chunk_size": One<Size> = "1024000" => NoEffect("the buffer grows as a message needs it"),
        /// The longest message, and the most that a compressed one may become.
        buffer_max_size "buffer_max_size": One<Size> = "6144000",
        /// Threads that listen.
        workers "workers": One<Int> = "1" => NoEffect("one thread reads the sockets, and all shards make the records"),
    }
}

impl Options {
    /// The handshake, where one is asked for. The outer `None` means that an error was reported.
    fn security(
        &self,
        section: &Section,
        owner: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Option<Security>> {
        let span = section.get("security.users").map_or(&section.span, |e| &e.value_span);
        let mut users = Vec::new();
        for words in &self.users {
            let [user, password @ ..] = &words.0[..] else { continue };
            if password.is_empty() {
                diagnostics
                    .error(span, format!("{owner}: `security.users` is `{user}`"))
                    .help("rule: a user and a password");
                return None;
            }
            users.push((user.clone(), password.join(" ")));
        }
        let key = match (&self.shared_key, self.empty_shared_key.0) {
            (_, true) => Some(String::new()),
            (key, false) => key.as_ref().map(|k| k.0.clone()),
        };
        match key {
            Some(key) => Some(Some(Security { key, hostname: self.self_hostname.0.clone(), users })),
            None if users.is_empty() => Some(None),
            None => {
                diagnostics
                    .error(span, format!("{owner}: `security.users` is set without a key"))
                    .help("set `Shared_Key`, or `Empty_Shared_Key on`");
                None
            }
        }
    }
}

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "forward",
    about: Options::ABOUT,
    tables: &[
        ListenOptions::TABLE,
        Options::TABLE,
        NetOptions::TABLE,
        KeepaliveOptions::TABLE,
        TlsOptions::TABLE,
    ],
    configure,
};

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let component = format!("input:forward:{owner}");
    let options = Options::read(section, owner, diagnostics);
    let listen = ListenOptions::read(section, owner, diagnostics);
    let net = NetOptions::read(section, owner, diagnostics);
    let tls_options = TlsOptions::read(section, owner, diagnostics);
    let security = options.security(section, owner, diagnostics);
    let address = match &options.unix_path {
        Some(path) => {
            Some(Address::Unix { path: path.0.clone().into(), permissions: options.unix_perm.map(|p| p.0) })
        }
        None => Address::net(&listen, PORT, section, owner, diagnostics),
    };
    let tls = tls::server(&tls_options, &[], section, owner, diagnostics);
    let (security, address, tls) = (security?, address?, tls?);
    let limit = usize::try_from(options.buffer_max_size.0).unwrap_or(usize::MAX).max(1024);
    let tag = match (&options.tag_prefix, section.get("tag")) {
        (Some(prefix), _) => Tagging::Prefix(prefix.0.clone()),
        (None, Some(tag)) => Tagging::Fixed(tag.value.clone()),
        (None, None) => Tagging::Own(context.tag.to_owned()),
    };
    let tags = match &tag {
        Tagging::Prefix(prefix) => vec![format!("{prefix}*")],
        Tagging::Fixed(tag) => vec![tag.clone()],
        Tagging::Own(_) => vec!["*".to_owned()],
    };
    let decoder = Arc::new(Events { limit, bad: Bad::new(&component) });
    let idle = net.idle();
    let serving = Serving { component, address, net, tls, receive_bytes: None, connections_max: 0 };
    Some(Configured {
        input: Box::new(Listening { serving, shared: SharedOptions { security, tag, limit, idle } }),
        decoder,
        tags,
        notes: vec![format!(
            "{owner}: senders that ask for no acknowledgement lose what is in memory when the program is killed"
        )],
    })
}

/// Which tag records get.
#[derive(Clone, Debug)]
pub(super) enum Tagging {
    /// Their own; this one where it is empty.
    Own(String),
    /// Their own with this before it.
    Prefix(String),
    /// This one.
    Fixed(String),
}

/// What connections share.
pub(super) struct SharedOptions {
    security: Option<Security>,
    tag: Tagging,
    limit: usize,
    idle: Option<std::time::Duration>,
}

/// The configured input.
struct Listening {
    serving: Serving,
    shared: SharedOptions,
}

impl Input for Listening {
    fn run(self: Box<Self>, engine: InputContext) {
        let Listening { serving, shared } = *self;
        let shared = Rc::new(Shared { component: serving.component.clone(), options: shared });
        serving.run(&engine, move |gate, stream, peer| -> Task {
            Box::pin(connection::run(shared.clone(), gate.clone(), stream, peer))
        });
    }
}
