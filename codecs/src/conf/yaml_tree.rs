//! YAML text to a tree of maps, lists and texts, each with its place.
//!
//! Owns: events to nodes, aliases, limits. Never: knows a section name; gives a scalar a type.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser};

use super::Span;

/// How many nodes a file may have with its aliases resolved; stops alias bombs.
const NODES_MAX: usize = 200_000;
/// How deep maps and lists may nest; bounds the stack.
const DEPTH_MAX: usize = 64;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// The members of a map in the order of the text: key, its place, value.
pub(super) type Map = Vec<(String, Span, Node)>;

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

impl Node {
    fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::Text(_) => 0,
            Kind::List(items) => items.iter().map(Node::count).sum(),
            Kind::Map(map) => map.iter().map(|(_, _, node)| node.count()).sum(),
        }
    }
}

/// A map or list that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value, in a map.
    key: Option<(String, Span)>,
}

/// The documents of `text` that are not empty: Fluent Bit reads them all. The error is the place and what is wrong there.
pub(super) fn documents(file: &Arc<str>, text: &str) -> Result<Vec<Node>, (Span, String)> {
    let mut roots = Vec::new();
    let mut builder = Builder { open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    for event in Parser::new_from_str(text) {
        let (event, place) = event.map_err(|error| {
            (at(file, error.marker()), format!("bad YAML (indentation or syntax): {}", error.info()))
        })?;
        let span = at(file, &place.start);
        if matches!(event, Event::DocumentEnd) {
            // An anchor ends with its document; the limit of nodes is the file's.
            builder.anchors.clear();
            roots.extend(builder.root.take());
            continue;
        }
        builder.event(event, &span).map_err(|message| (span, message))?;
    }
    Ok(roots)
}

fn at(file: &Arc<str>, marker: &saphyr_parser::Marker) -> Span {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span::new(file, number(marker.line()), number(marker.col() + 1))
}

struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), String> {
        match event {
            Event::Scalar(text, _, anchor, _) => {
                self.put(Node { kind: Kind::Text(text.into_owned()), span: span.clone() }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.start(Kind::List(Vec::new()), anchor, span),
            Event::MappingStart(anchor, _) => self.start(Kind::Map(Vec::new()), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.put(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let mut node =
                    self.anchors.get(&anchor).cloned().ok_or("an alias to an anchor that is not complete")?;
                self.nodes += node.count();
                node.span = span.clone();
                self.put(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, kind: Kind, anchor: usize, span: &Span) -> Result<(), String> {
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("nested more than {DEPTH_MAX} deep"));
        }
        self.open.push(Open { node: Node { kind, span: span.clone() }, anchor, key: None });
        Ok(())
    }

    /// Puts a complete node into what is open.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("more than {NODES_MAX} values in one file"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        match &mut parent.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(map) => match (parent.key.take(), node.kind) {
                (Some((key, span)), kind) => map.push((key, span, Node { kind, span: node.span })),
                (None, Kind::Text(key)) => parent.key = Some((key, node.span)),
                (None, _) => return Err("a key is not text".to_owned()),
            },
            Kind::Text(_) => {}
        }
        Ok(())
    }
}
