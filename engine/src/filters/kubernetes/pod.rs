//! What of an object of the API goes into records.
//!
//! Owns: reading pods and namespaces as the API writes them, and the `kubernetes` map that is made of one. Never: keeps
//! an object as it came: of a pod of 15 KB, some hundred bytes go into records.

use super::annotations::{self, Wishes};
use super::identity::Identity;
use super::options::{Settings, Wanted};
use codecs::json::{Escape, Scratch, expand, parse_value, write_value};
use codecs::multiline::stash;
use codecs::record::{Field, Text, Value};
use codecs::{Bump, BumpVec};

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PodKey {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

impl PodKey {
    /// The pod that a tag names, where it names one.
    pub(super) fn of(identity: &Identity) -> Option<PodKey> {
        Some(PodKey { namespace: identity.namespace.clone()?, name: identity.pod.clone()? })
    }
}

impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A container, as the pod's status tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Container {
    name: Box<str>,
    docker_id: Option<Box<str>>,
    hash: Option<Box<str>>,
    image: Option<Box<str>>,
}

/// What is kept of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pod {
    /// `pod_id` to `pod_ip`, as [`stash`] writes them.
    fields: Box<[u8]>,
    containers: Box<[Container]>,
    /// Name, behind the prefix, and value.
    annotations: Box<[(Box<str>, Box<str>)]>,
}

/// An object of the API, taken apart.
pub(super) struct Object<'a> {
    pub(super) key: Option<PodKey>,
    pub(super) resource_version: Option<&'a str>,
    value: Value<'a>,
    metadata: Option<Value<'a>>,
}

impl<'a> Object<'a> {
    /// `None` when it is no JSON map.
    pub(super) fn read(text: &'a [u8], arena: &'a Bump, scratch: &mut Scratch) -> Option<Object<'a>> {
        Object::of(parse_value(text, arena, scratch).ok()?, arena)
    }

    /// The same for what is read already.
    pub(super) fn of(value: Value<'a>, arena: &'a Bump) -> Option<Object<'a>> {
        let value = expand(value, arena);
        matches!(value, Value::Map(_)).then_some(())?;
        let metadata = member(value, b"metadata", arena).map(|m| expand(m, arena));
        let text = |key: &[u8]| std::str::from_utf8(member(metadata?, key, arena)?.as_text()?).ok();
        let key = text(b"namespace").zip(text(b"name"));
        let key = key.map(|(namespace, name)| PodKey { namespace: namespace.into(), name: name.into() });
        Some(Object { key, resource_version: text(b"resourceVersion"), value, metadata })
    }

    /// What is kept of it as a pod.
    pub(super) fn pod(&self, wanted: Wanted, arena: &'a Bump) -> Pod {
        let metadata = |key: &[u8]| member(self.metadata?, key, arena);
        let inner = |outer: &[u8], key: &[u8]| member(member(self.value, outer, arena)?, key, arena);
        let annotations = metadata(b"annotations");
        let found = [
            ("pod_id", metadata(b"uid")),
            ("labels", metadata(b"labels").filter(|_| wanted.labels)),
            ("annotations", annotations.filter(|_| wanted.annotations)),
            ("ownerReferences", metadata(b"ownerReferences").filter(|_| wanted.owner_references)),
            ("host", inner(b"spec", b"nodeName")),
            ("pod_ip", inner(b"status", b"podIP")),
        ];
        let mut fields = BumpVec::new_in(arena);
        fields.extend(found.into_iter().filter_map(|(key, value)| Some(field(key, value?))));
        let mut kept = Vec::new();
        stash::keep(&mut kept, &fields);
        Pod {
            fields: kept.into(),
            containers: self.containers(arena),
            annotations: annotations.map(|a| own(a, arena)).unwrap_or_default(),
        }
    }

    /// The node that it runs on.
    pub(super) fn node(&self, arena: &'a Bump) -> Option<String> {
        let node = member(member(self.value, b"spec", arena)?, b"nodeName", arena)?;
        Some(String::from_utf8_lossy(node.as_text()?).into_owned()).filter(|node| !node.is_empty())
    }

    /// What a `Status` says: its code and its message.
    pub(super) fn message(&self, arena: &'a Bump) -> String {
        let text = |key: &[u8]| {
            let mut out = Vec::new();
            match member(self.value, key, arena)? {
                Value::Text(text) => out.extend_from_slice(text.bytes),
                value => write_value(&mut out, &value, Escape::Unicode),
            }
            Some(String::from_utf8_lossy(&out[..out.len().min(300)]).into_owned())
        };
        format!("{}: {}", text(b"code").unwrap_or_default(), text(b"message").unwrap_or_default())
    }

    fn containers(&self, arena: &'a Bump) -> Box<[Container]> {
        let Some(status) = member(self.value, b"status", arena) else { return Box::default() };
        let lists = [&b"containerStatuses"[..], b"initContainerStatuses"];
        let lists = lists.into_iter().filter_map(|key| Some(expand(member(status, key, arena)?, arena)));
        let all = lists.flat_map(|list| match list {
            Value::Array(items) => items,
            _ => &[],
        });
        let text = |item: Value<'a>, key: &[u8]| {
            let text = member(item, key, arena)?.as_text()?;
            Some(String::from_utf8_lossy(text).into_owned()).filter(|t| !t.is_empty())
        };
        all.filter_map(|item| {
            let item = expand(*item, arena);
            Some(Container {
                name: text(item, b"name")?.into(),
                docker_id: text(item, b"containerID").and_then(|id| without_scheme(&id)),
                hash: text(item, b"imageID").and_then(|id| without_scheme(&id)),
                image: text(item, b"image").map(Into::into),
            })
        })
        .collect()
    }

    /// The members of `kubernetes_namespace`, as [`stash`] writes them, of an object that is a namespace.
    pub(super) fn namespace(
        object: Option<&Object<'a>>,
        name: &str,
        wanted: Wanted,
        arena: &'a Bump,
    ) -> Found {
        let metadata = |key: &[u8]| member(object?.metadata?, key, arena);
        let name = Value::Text(Text::examined(arena.alloc_slice_copy(name.as_bytes())));
        let found = [
            ("name", Some(name)),
            ("labels", metadata(b"labels").filter(|_| wanted.namespace_labels)),
            ("annotations", metadata(b"annotations").filter(|_| wanted.namespace_annotations)),
        ];
        let mut fields = BumpVec::new_in(arena);
        fields.extend(found.into_iter().filter_map(|(key, value)| Some(field(key, value?))));
        Found { bytes: written("kubernetes_namespace", fields.into_bump_slice()), wishes: Wishes::default() }
    }
}

/// The annotations that are meant for us.
fn own(annotations: Value<'_>, arena: &Bump) -> Box<[(Box<str>, Box<str>)]> {
    let Value::Map(all) = expand(annotations, arena) else { return Box::default() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
    let ours = all.iter().filter_map(|f| {
        let name = f.key.bytes.strip_prefix(annotations::PREFIX).filter(|name| !name.is_empty())?;
        Some((text(name), text(f.value.as_text()?)))
    });
    ours.collect()
}

/// `containerd://ID` without what stands before the ID, as Fluent Bit cuts it: behind the first colon, if slashes follow
/// it. Without a colon there is none.
fn without_scheme(id: &str) -> Option<Box<str>> {
    let (_, behind) = id.split_once(':')?;
    let rest = if behind.starts_with('/') { behind.trim_start_matches('/') } else { id };
    (!rest.is_empty()).then(|| rest.into())
}

/// What is added to each record of a container, encoded once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// One field, as [`stash`] writes it.
    pub(super) bytes: Box<[u8]>,
    pub(super) wishes: Wishes,
}

impl Found {
    /// What the tag alone tells.
    pub(super) fn of_tag(identity: &Identity) -> Found {
        let arena = Bump::new();
        let names = [
            ("pod_name", &identity.pod),
            ("namespace_name", &identity.namespace),
            ("container_name", &identity.container),
            ("docker_id", &identity.docker_id),
        ];
        let fields: Vec<_> = names.into_iter().filter_map(|(key, name)| text(key, name.as_deref())).collect();
        Found { bytes: written("kubernetes", arena.alloc_slice_copy(&fields)), wishes: Wishes::default() }
    }

    /// What a pod's records of a container get.
    pub(super) fn of_pod(
        identity: &Identity,
        pod: &Pod,
        settings: &Settings,
        told: impl FnMut(String),
    ) -> Found {
        let arena = Bump::new();
        let container = pod.containers.iter().find(|c| Some(&c.name) == identity.container.as_ref());
        let docker_id = container.and_then(|c| c.docker_id.as_deref());
        let hash = container.and_then(|c| c.hash.as_deref());
        let mut fields = BumpVec::new_in(&arena);
        fields.extend(text("pod_name", identity.pod.as_deref()));
        fields.extend(text("namespace_name", identity.namespace.as_deref()));
        if let Some((kept, _)) = stash::load_next(&pod.fields, &arena) {
            fields.extend(kept);
        }
        fields.extend(text("container_name", identity.container.as_deref()));
        // What the tag tells outweighs what the status does.
        fields.extend(text("docker_id", identity.docker_id.as_deref().or(docker_id)));
        fields.extend(text("container_hash", identity.hash.as_deref().or(hash)));
        fields.extend(text("container_image", container.and_then(|c| c.image.as_deref())));
        Found {
            bytes: written("kubernetes", fields.into_bump_slice()),
            wishes: annotations::wishes(&pod.annotations, identity.container.as_deref(), settings, told),
        }
    }
}

impl Pod {
    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        let text = |t: &Option<Box<str>>| t.as_ref().map_or(0, |t| t.len());
        let containers: usize = self
            .containers
            .iter()
            .map(|c| {
                size_of::<Container>() + c.name.len() + text(&c.docker_id) + text(&c.hash) + text(&c.image)
            })
            .sum();
        let annotations: usize = self.annotations.iter().map(|(k, v)| 32 + k.len() + v.len()).sum();
        self.fields.len() + containers + annotations
    }
}

/// A map as the one field that it becomes. Where its JSON form is canonical ([`Value::Json`]), that is what passes through;
/// else its values stay apart, each in the shortest form that it has.
fn written<'a>(key: &'static str, fields: &'a [Field<'a>]) -> Box<[u8]> {
    let map = Value::Map(fields);
    let mut json = Vec::new();
    write_value(&mut json, &map, Escape::Ascii);
    // Characters that outputs may write in either of two ways have become `\u…`.
    let value = if memchr::memmem::find(&json, br"\u").is_none() { Value::Json(&json) } else { map };
    let mut bytes = Vec::new();
    stash::keep(&mut bytes, &[Field::new(Text::plain(key.as_bytes()), value)]);
    bytes.into()
}

fn field<'a>(key: &'static str, value: Value<'a>) -> Field<'a> {
    Field::new(Text::plain(key.as_bytes()), value)
}

fn text<'a>(key: &'static str, text: Option<&'a str>) -> Option<Field<'a>> {
    Some(field(key, Value::Text(Text::examined(text?.as_bytes()))))
}

/// A member of a map, opened or not.
fn member<'a>(value: Value<'a>, key: &[u8], arena: &'a Bump) -> Option<Value<'a>> {
    match expand(value, arena) {
        Value::Map(fields) => fields.iter().find(|f| f.key.bytes == key).map(|f| f.value),
        _ => None,
    }
}
