//! Which pod and container a tag, or an entry of the journal, comes from.
//!
//! Owns: the patterns, Fluent Bit's own, and their names. Never: asks anybody, keeps anything.

use codecs::parsers::Parser;
use codecs::regex::{Regex, Scratch};
use std::sync::{Arc, LazyLock};

/// `POD_NAMESPACE_CONTAINER-ID.log`, the name of a file below /var/log/containers.
const TAG: &str = r"(?<pod_name>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)_(?<namespace_name>[^_]+)_(?<container_name>.+)-(?<docker_id>[a-z0-9]{64})\.log$";
/// `PREFIX_CONTAINER.HASH_POD_NAMESPACE_UID_ATTEMPT`, as Docker's journal driver names a container.
const JOURNAL: &str = r"^(?<name_prefix>[^_]+)_(?<container_name>[^\._]+)(\.(?<container_hash>[^_]+))?_(?<pod_name>[^_]+)_(?<namespace_name>[^_]+)_[^_]+_[^_]+$";

static TAGS: LazyLock<Regex> = LazyLock::new(|| Regex::new(TAG).expect("a constant pattern"));
static JOURNALS: LazyLock<Regex> = LazyLock::new(|| Regex::new(JOURNAL).expect("a constant pattern"));

/// The field of a journal's entry that names its container.
pub(super) const JOURNAL_KEY: &[u8] = b"CONTAINER_NAME";

/// What finds the names.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Tag,
    Journal,
    /// The expression of a `Regex_Parser`.
    Parser(Arc<Parser>),
}

impl Pattern {
    pub(super) fn built_in(journal: bool) -> Pattern {
        if journal { Pattern::Journal } else { Pattern::Tag }
    }

    fn regex(&self) -> Option<&Regex> {
        match self {
            Pattern::Tag => Some(&TAGS),
            Pattern::Journal => Some(&JOURNALS),
            Pattern::Parser(parser) => parser.expression(),
        }
    }
}

/// Where names are looked for.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) pattern: Pattern,
    /// Bytes at the head of a tag that are passed over, whatever they are, as in Fluent Bit.
    pub(super) prefix: usize,
    /// In [`JOURNAL_KEY`], not in the tag.
    pub(super) journal: bool,
}

/// Why a tag names no pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPod {
    /// It is not longer than `Kube_Tag_Prefix`.
    Short,
    /// The pattern does not fit.
    Unfit,
}

/// What a tag tells. A name that is empty is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) pod: Option<Box<str>>,
    pub(super) namespace: Option<Box<str>>,
    pub(super) container: Option<Box<str>>,
    pub(super) docker_id: Option<Box<str>>,
    pub(super) hash: Option<Box<str>>,
}

impl Source {
    /// What `text` tells: a whole tag, or a container's name in a journal.
    pub(super) fn identify(&self, text: &[u8], scratch: &mut Scratch) -> Result<Identity, NoPod> {
        let name = match self.journal {
            true => text,
            false if text.len() <= self.prefix + 1 => return Err(NoPod::Short),
            false => &text[self.prefix..],
        };
        let regex = self.pattern.regex().filter(|r| r.captures(name, scratch)).ok_or(NoPod::Unfit)?;
        let mut identity = Identity::default();
        for (group, index) in regex.names() {
            let place = match group.as_str() {
                "pod_name" => &mut identity.pod,
                "namespace_name" => &mut identity.namespace,
                "container_name" => &mut identity.container,
                "docker_id" => &mut identity.docker_id,
                "container_hash" => &mut identity.hash,
                _ => continue,
            };
            let found = scratch.group(*index).filter(|range| !range.is_empty());
            if let (None, Some(range)) = (&place, found) {
                *place = Some(String::from_utf8_lossy(&name[range]).into());
            }
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef";

    fn told(source: &Source, text: &str) -> String {
        match source.identify(text.as_bytes(), &mut Scratch::default()) {
            Err(why) => format!("{why:?}"),
            Ok(found) => {
                let short =
                    |name: &Option<Box<str>>| name.as_deref().unwrap_or("-").replace(ID, "ID").clone();
                let Identity { pod, namespace, container, docker_id, hash } = &found;
                [pod, namespace, container, docker_id, hash].map(short).join(" ")
            }
        }
    }

    #[test]
    fn tags_tell_what_fluent_bit_reads_in_them() {
        let source =
            Source { pattern: Pattern::Tag, prefix: "kube.var.log.containers.".len(), journal: false };
        for (tag, want) in [
            ("kube.var.log.containers.pod-1_ns-1_app-ID.log", "pod-1 ns-1 app ID -"),
            (
                "kube.var.log.containers.a.b-c.d_kube-system_my-app-x-ID.log",
                "a.b-c.d kube-system my-app-x ID -",
            ),
            // The prefix is passed over by its length alone.
            ("x.y.z.abcdefghijklmnopqrst.pod-1_ns-1_app-ID.log", "st.pod-1 ns-1 app ID -"),
            // The pattern may begin inside a name, as there.
            ("kube.var.log.containers.Pod-1_ns-1_app-ID.log", "od-1 ns-1 app ID -"),
            ("kube.var.log.containers.pod_ns_c_d-ID.log", "pod ns c_d ID -"),
            ("kube.var.log.containers.pod-1_ns-1_app-ID.log.gz", "Unfit"),
            ("kube.var.log.containers.pod-1_ns-1_app-ID", "Unfit"),
            ("kube.var.log.containers.pod-1_ns-1_app-1234.log", "Unfit"),
            ("kube.var.log.containers.nomatch", "Unfit"),
            ("kube.short", "Short"),
            ("kube.var.log.containers.", "Short"),
            ("kube.var.log.containers.x", "Short"),
            ("", "Short"),
        ] {
            assert_eq!(told(&source, &tag.replace("ID", ID)), want, "{tag}");
        }
    }

    #[test]
    fn journals_name_containers() {
        let source = Source { pattern: Pattern::Journal, prefix: 99, journal: true };
        for (name, want) in [
            ("k8s_app.abc123_pod-1_ns-1_uid-1_0", "pod-1 ns-1 app - abc123"),
            ("k8s_app_pod-1_ns-1_uid-1_0", "pod-1 ns-1 app - -"),
            ("bad", "Unfit"),
            ("", "Unfit"),
        ] {
            assert_eq!(told(&source, name), want, "{name}");
        }
    }
}
