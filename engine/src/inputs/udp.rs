//! Input udp: JSON values, or lines of text, in datagrams.
//!
//! Owns: the reading of its socket. Never: keeps anything of a datagram for the next one.

use super::net::datagram::{Datagrams, each};
use super::net::options::{KeepaliveOptions, ListenOptions, NetOptions};
use super::net::serve::on_runtime;
use super::net::{Address, Gate};
use super::tcp::{Decoding, Options};
use super::{Configured, Context, Input, InputContext, Plugin};
use crate::decode::Decoder;
use crate::job::{Position, SourceInfo};
use crate::log;
use crate::shards::JobRun;
use codecs::conf::{Diagnostics, Section};
use std::rc::Rc;
use std::sync::Arc;

/// The port where none is set.
const PORT: u16 = 5170;

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "udp",
    about: "Listens for JSON values, or for lines of text, in UDP datagrams. What a datagram holds is complete: its last line needs no separator.",
    tables: &[ListenOptions::TABLE, Options::TABLE, NetOptions::TABLE, KeepaliveOptions::TABLE],
    configure,
};

fn configure(section: &Section, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<Configured> {
    let owner = context.name;
    let component = format!("input:udp:{owner}");
    let listen = ListenOptions::read(section, owner, diagnostics);
    let options = Options::read(section, owner, diagnostics);
    let net = NetOptions::read(section, owner, diagnostics);
    let compiled = options.compile(section, context, &component, diagnostics);
    let address = Address::net(&listen, PORT, section, owner, diagnostics);
    let (compiled, address) = (compiled?, address?);
    let (limit, names) = (compiled.limit, compiled.names);
    let input =
        Receiving { component, address, net, tag: context.tag.into(), limit, names, receive_bytes: None };
    Some(Configured {
        input: Box::new(input),
        decoder: Arc::new(EachDatagram(compiled.decoding)),
        tags: vec![context.tag.to_owned()],
        notes: vec![super::net::lost_note(owner)],
    })
}

/// A configured input that takes datagrams.
pub(super) struct Receiving {
    pub(super) component: String,
    pub(super) address: Address,
    pub(super) net: NetOptions,
    pub(super) tag: Arc<str>,
    /// The longest datagram.
    pub(super) limit: usize,
    /// Records name their sender.
    pub(super) names: bool,
    /// The kernel's buffer.
    pub(super) receive_bytes: Option<usize>,
}

impl Input for Receiving {
    fn run(self: Box<Self>, engine: InputContext) {
        on_runtime(&self.component, &engine, async |gate: &Rc<Gate>| {
            let unix = matches!(self.address, Address::Unix { .. });
            let bound = self.address.datagrams(&self.net, self.receive_bytes);
            let socket = match bound.and_then(|socket| Datagrams::new(socket, unix)) {
                Ok(socket) => socket,
                Err(error) => return engine.fail(format!("cannot listen on {}: {error}", self.address)),
            };
            log!(Info, self.component, "listening on {}", self.address);
            let source = engine.open(SourceInfo {
                tag: self.tag.clone(),
                path: None,
                charset: Default::default(),
                cursor: None,
            });
            if let Err(error) = socket.run(gate, &source, self.limit, self.names).await {
                engine.fail(format!("cannot receive on {}: {error}", self.address));
            }
            self.address.remove();
        });
    }
}

/// Blocks of datagrams to records.
struct EachDatagram(Decoding);

impl Decoder for EachDatagram {
    fn decode<'j>(&'j self, block: &'j [u8], _: Position, _: &'j SourceInfo, job: &mut JobRun<'j>) {
        for (datagram, peer) in each(block) {
            match &self.0 {
                Decoding::Json(values) => values.whole(datagram, peer, job),
                Decoding::Text(text) => text.lines(datagram, peer, job),
            }
        }
    }

    fn lines(&self) -> bool {
        false
    }
}
