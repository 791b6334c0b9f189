//! `forward`: records to Fluentd, Fluent Bit or ripsaw.
//!
//! Owns: the options, which server's turn it is, what a failure means. Never: connects itself (see [`crate::stream`]).
//! Invariants: a message holds records of one tag, or one record; what a server acknowledged is not sent again.

mod deliver;
pub(crate) mod message;
mod options;
pub(crate) mod peer;

pub use options::Options;

use crate::net::{NetOptions, TlsOptions};
use crate::segment::{Chunk, Segment};
use crate::stream::{Connections, Target};
use crate::upstream::{self, Turn};
use crate::{Context, Output, Plugin, Verdict};
use codecs::Bump;
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use options::{Settings, Wire};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "forward",
    about: Options::ABOUT,
    tables: &[Options::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure,
};

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let net = NetOptions::read(section, context.name, diagnostics);
    let nodes = match section.get("upstream") {
        None => vec![single(section, context, &net, diagnostics)?],
        Some(file) => {
            let tables = [Options::TABLE];
            let found = upstream::nodes(file, section, context.name, &tables, &net, diagnostics)?.into_iter();
            found.map(|node| of_upstream(node, context, &net, diagnostics)).collect::<Option<Vec<Node>>>()?
        }
    };
    let wire = nodes.first()?.settings.wire.clone();
    if nodes.iter().any(|node| node.settings.wire != wire) {
        let message = "all nodes need the same `time_as_integer`, `retain_metadata_in_forward_mode`, `tag`, \
                       `require_ack_response` and `add_option`: a record is encoded once";
        diagnostics.error(&section.span, format!("{}: {message}", context.name));
        return None;
    }
    let mut salt = [0; peer::SALT_BYTES];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut salt).ok()?;
    let answer_wait = net.io_limit().unwrap_or(ANSWER_WAIT);
    let lanes = context.workers.unwrap_or(2).max(1);
    Some(Arc::new(Forward { wire, nodes, turn: Turn::default(), salt, answer_wait, lanes }))
}

/// How long an answer may take where `net.io_timeout` sets no limit: a server under pressure acknowledges late. It is
/// Fluentd's own default.
const ANSWER_WAIT: Duration = Duration::from_secs(190);

/// A server.
struct Node {
    connections: Connections,
    settings: Settings,
}

/// The one server of the options.
fn single(
    section: &Section,
    context: &Context<'_>,
    net: &NetOptions,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    let options = Options::read(section, context.name, diagnostics);
    let tls = TlsOptions::read(section, context.name, diagnostics);
    let settings = Settings::new(&options, false, section, context.name, diagnostics)?;
    let target = match &options.unix_path {
        Some(path) => Target::Unix(path.0.clone().into()),
        None => {
            let (host, port) = (&options.host.0, options.port.0);
            Target::Net(upstream::endpoint(section, context.name, host, port, &tls, net, diagnostics)?)
        }
    };
    node(target, settings, section, context, net, diagnostics)
}

fn of_upstream(
    found: upstream::Node,
    context: &Context<'_>,
    net: &NetOptions,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    let options = Options::read(&found.section, context.name, diagnostics);
    let settings = Settings::new(&options, true, &found.section, context.name, diagnostics)?;
    node(Target::Net(found.endpoint), settings, &found.section, context, net, diagnostics)
}

fn node(
    target: Target,
    settings: Settings,
    section: &Section,
    context: &Context<'_>,
    net: &NetOptions,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    match Connections::new(target, net.clone()) {
        Ok(connections) => Some(Node { connections, settings }),
        Err(message) => {
            diagnostics.error(&section.span, format!("{}: {message}", context.name));
            None
        }
    }
}

/// A configured instance.
struct Forward {
    wire: Wire,
    nodes: Vec<Node>,
    turn: Turn,
    salt: [u8; peer::SALT_BYTES],
    answer_wait: Duration,
    lanes: usize,
}

impl Output for Forward {
    fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        message::write_record(&self.wire, tag, record, arena, segment);
        true
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(self.attempt(chunk))
    }

    fn lanes(&self) -> usize {
        self.lanes
    }
}

#[cfg(test)]
mod tests;
