//! Which servers an output talks to: the one of its options, or the nodes of an `Upstream` file.
//!
//! Owns: reading such a file, an endpoint from host, port and TLS, whose turn it is. Never: opens a connection.
//! Invariant: a node's options are those of the output, with what the node says itself in their place.

use crate::client::{Endpoint, Proxy};
use crate::net::{NetOptions, TlsOptions};
use codecs::conf::values::{Int, Text};
use codecs::conf::{Diagnostics, Entry, OptionSpec, Section, Source, Variables};
use rustls::pki_types::ServerName;
use std::sync::atomic::{AtomicUsize, Ordering};

codecs::options! {
    /// A node of an `Upstream` file.
    pub struct NodeOptions {
        /// Its name in messages.
        name "name": Opt<Text>,
        /// Name or address of the server.
        host "host": Opt<Text>,
        /// Its TCP port.
        port "port": Opt<Int>,
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The entries of the output, then its own: the last of a key counts.
    pub section: Section,
    /// Its own entries.
    pub own: Section,
}

/// Files and environment of this machine.
struct Disk;

impl Source for Disk {
    fn read(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    }

    fn glob(&self, _pattern: &str) -> Vec<String> {
        Vec::new()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// The nodes of the file that `named` names, relative to the current folder or to that of the configuration.
/// `tables` are the options that a node may set beside its place and `tls.*`. What is wrong is reported.
pub fn nodes(
    named: &Entry,
    output: &Section,
    owner: &str,
    tables: &[&[OptionSpec]],
    net: &NetOptions,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Node>> {
    let before = errors(diagnostics);
    let main = (&*named.value_span.file, &named.value_span);
    let file =
        codecs::conf::read_with(named.value.trim(), Some(main), Variables::default(), &Disk, diagnostics);
    let classic = file.sections.iter().filter(|section| section.name == "node");
    let yaml = file.sections.iter().flat_map(|section| &section.children);
    let sections: Vec<&Section> = classic.chain(yaml.filter(|child| child.name == "node")).collect();
    if sections.is_empty() && errors(diagnostics) == before {
        let text = format!("{owner}: `{}` defines no node; each is a [NODE] section", named.value);
        diagnostics.error(&named.value_span, text);
    }
    let known: Vec<&[OptionSpec]> =
        [NodeOptions::TABLE, TlsOptions::TABLE].into_iter().chain(tables.iter().copied()).collect();
    let nodes: Vec<Option<Node>> = sections
        .into_iter()
        .map(|own| {
            codecs::conf::options::check_names(own, owner, &known, diagnostics);
            node(own, output, owner, net, diagnostics)
        })
        .collect();
    let nodes = nodes.into_iter().collect::<Option<Vec<Node>>>()?;
    (errors(diagnostics) == before && !nodes.is_empty()).then_some(nodes)
}

fn errors(diagnostics: &Diagnostics) -> usize {
    diagnostics.list.iter().filter(|found| found.level == codecs::conf::Level::Error).count()
}

fn node(
    own: &Section,
    output: &Section,
    owner: &str,
    net: &NetOptions,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    let options = NodeOptions::read(own, owner, diagnostics);
    let tls = TlsOptions::read(own, owner, diagnostics);
    let (Some(name), Some(host), Some(port)) = (options.name, options.host, options.port) else {
        diagnostics.error(&own.span, format!("{owner}: a node needs `name`, `host` and `port`"));
        return None;
    };
    let endpoint = endpoint(own, owner, &host.0, port.0, &tls, net, diagnostics)?;
    let mut section = output.clone();
    section.entries.extend(own.entries.iter().cloned());
    Some(Node { name: name.0, endpoint, section, own: own.clone() })
}

/// The endpoint that host, port, `tls.*` and the environment's proxy make. What is wrong is reported.
pub fn endpoint(
    section: &Section,
    owner: &str,
    host: &str,
    port: i64,
    tls: &TlsOptions,
    net: &NetOptions,
    diagnostics: &mut Diagnostics,
) -> Option<Endpoint> {
    let mut wrong = |key: &str, message: String| {
        let span = section.get(key).map_or(&section.span, |entry| &entry.value_span);
        diagnostics.error(span, format!("{owner}: {message}"));
    };
    let number = u16::try_from(port).ok().filter(|port| *port > 0);
    if number.is_none() {
        wrong("port", format!("`port` is {port}, not a number from 1 to 65535"));
    }
    let proxy = match net.proxy_env_ignore.0 {
        true => Ok(None),
        false => Proxy::of_environment(host),
    };
    let proxy = proxy.map_err(|message| wrong("host", message)).ok();
    let name = tls.vhost.as_ref().map_or(host, |name| &name.0).to_owned();
    let name = match tls.tls.0.then(|| ServerName::try_from(name.clone())).transpose() {
        Ok(name) => Some(name),
        Err(_) => {
            wrong("host", format!("`{name}` is neither a host name nor an address"));
            None
        }
    };
    let config = crate::tls::client(tls, section, owner, diagnostics)?;
    let tls = match config {
        None => None,
        Some(config) => Some((config, name??)),
    };
    Some(Endpoint { host: host.to_owned(), port: number?, tls, proxy: proxy? })
}

/// Whose turn it is: one after the other, round and round.
#[derive(Debug, Default)]
pub struct Turn(AtomicUsize);

impl Turn {
    /// All indices below `count`, beginning with the one whose turn it is; the next call begins with its successor.
    pub fn order(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let first = self.0.fetch_add(1, Ordering::Relaxed);
        (0..count).map(move |step| first.wrapping_add(step) % count.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::section;

    fn read(name: &str, text: &str) -> Result<Vec<Node>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        let output = section(&[("Upstream", path.to_str().expect("UTF-8")), ("compress", "gzip")]);
        let mut diagnostics = Diagnostics::default();
        let net = NetOptions::read(&section(&[("net.proxy_env_ignore", "on")]), "x", &mut diagnostics);
        codecs::options! {
            /// For this test.
            pub struct Own {
                /// Whatever.
                compress "compress": Opt<Text>,
            }
        }
        let entry = output.get("Upstream").expect("an entry");
        nodes(entry, &output, "forward.0", &[Own::TABLE], &net, &mut diagnostics)
            .ok_or_else(|| diagnostics.list.iter().map(|d| d.message.clone()).collect::<Vec<_>>().join("; "))
    }

    const CLASSIC: &str = "[UPSTREAM]\n    name x\n\n[NODE]\n    name n-1\n    host a.example\n    port 24224\n\n\
                           [NODE]\n    name n-2\n    host 10.0.0.2\n    port 1\n    compress text\n    tls on\n    tls.verify off\n";
    const YAML: &str = "upstream_servers:\n  - name: x\n    nodes:\n      - name: n-1\n        host: a.example\n        port: 24224\n      \
                        - name: n-2\n        host: 10.0.0.2\n        port: 1\n        compress: text\n        tls: on\n        tls.verify: off\n";

    #[test]
    fn nodes_are_read_from_either_grammar() {
        for (name, text) in [("u.conf", CLASSIC), ("u.yaml", YAML)] {
            let nodes = read(name, text).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
            let places: Vec<_> = nodes
                .iter()
                .map(|n| (n.name.as_str(), n.endpoint.authority(), n.endpoint.tls.is_some()))
                .collect();
            let expected =
                [("n-1", "a.example:24224".to_owned(), false), ("n-2", "10.0.0.2:1".to_owned(), true)];
            assert_eq!(places, expected, "{name}");
            let compress = |node: &Node| node.section.get("compress").map(|entry| entry.value.clone());
            assert_eq!(compress(&nodes[0]).as_deref(), Some("gzip"), "the output's own");
            assert_eq!(compress(&nodes[1]).as_deref(), Some("text"), "the node's");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        for (text, told) in [
            ("[UPSTREAM]\n    name x\n", "defines no node"),
            ("[NODE]\n    name n\n    host h\n", "needs `name`, `host` and `port`"),
            ("[NODE]\n    name n\n    host h\n    port 0\n", "not a number from 1"),
            ("[NODE]\n    name n\n    host h\n    port 1\n    colour red\n", "unknown option `colour`"),
        ] {
            let wrong = read("u.conf", text).expect_err(text);
            assert!(wrong.contains(told), "{text}: {wrong}");
        }
    }

    #[test]
    fn turns_go_round() {
        let turn = Turn::default();
        let orders: Vec<Vec<usize>> = (0..4).map(|_| turn.order(3).collect()).collect();
        assert_eq!(orders, [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1], vec![0, 1, 2]]);
        assert_eq!(turn.order(0).count(), 0);
    }
}
