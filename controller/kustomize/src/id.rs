//! What a resource is called: its group, version and kind, its name and its namespace as kustomize compares them.

use std::fmt;

use manifest::yaml::Node;

use crate::read::Fields;

/// The kinds that kustomize's legacy order puts first, in this order.
pub(crate) const FIRST_KINDS: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

/// The kinds that it puts last.
pub(crate) const LAST_KINDS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Group, version and kind: its own, or as they stand in an object. As a selector, an empty part matches all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Gvk<S = String> {
    pub(crate) group: S,
    pub(crate) version: S,
    pub(crate) kind: S,
}

impl<'a> Gvk<&'a str> {
    pub(crate) fn of(node: &'a Node) -> Self {
        let text = |key: &str| node.get(key).and_then(Node::as_str).unwrap_or_default();
        let (group, version) = split_api_version(text("apiVersion"));
        Self { group, version, kind: text("kind") }
    }

    pub(crate) fn to_owned(self) -> Gvk {
        Gvk { group: self.group.to_owned(), version: self.version.to_owned(), kind: self.kind.to_owned() }
    }
}

impl<S: AsRef<str>> Gvk<S> {
    /// What kustomize sorts kinds by: namespaces and what others need first, webhooks last, the rest by their names.
    pub(crate) fn sort_key(&self) -> (isize, String) {
        let Gvk { group, version, kind } = self.as_ref();
        let part = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let name = format!("{}_{}_{}", part(group, "~G"), part(version, "~V"), part(kind, "~K"));
        let place = |kinds: &[&str]| kinds.iter().position(|its| *its == kind).and_then(|at| at.try_into().ok());
        let first = |at: isize| at - FIRST_KINDS.len().cast_signed();
        let rank = place(&FIRST_KINDS).map(first).or_else(|| place(&LAST_KINDS).map(|at| at + 1));
        (rank.unwrap_or(0), name)
    }

    /// Whether this is selected by the parts that the selector gives.
    pub(crate) fn is_selected_by(&self, selector: &Gvk) -> bool {
        let Gvk { group, version, kind } = self.as_ref();
        let part = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        part(&selector.group, group) && part(&selector.version, version) && part(&selector.kind, kind)
    }

    pub(crate) fn as_ref(&self) -> Gvk<&str> {
        Gvk { group: self.group.as_ref(), version: self.version.as_ref(), kind: self.kind.as_ref() }
    }
}

impl Gvk {
    pub(crate) fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = split_api_version(api_version);
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// Takes `group`, `version` and `kind` of a mapping.
    pub(crate) fn take(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            group: fields.take_or_default("group"),
            version: fields.take_or_default("version"),
            kind: fields.take_or_default("kind"),
        }
    }
}

/// The group and the version of an `apiVersion`; the core group is empty.
pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

impl<S: AsRef<str>> fmt::Display for Gvk<S> {
    /// `Kind.version.group`, as kustomize writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn part<'a>(text: &'a impl AsRef<str>, none: &'a str) -> &'a str {
            Some(text.as_ref()).filter(|text| !text.is_empty()).unwrap_or(none)
        }
        let (kind, version) = (part(&self.kind, "[noKind]"), part(&self.version, "[noVer]"));
        write!(f, "{kind}.{version}.{}", part(&self.group, "[noGrp]"))
    }
}

/// The namespace as far as ids are concerned: no namespace is `default`, and a kind that is certainly cluster-scoped
/// has none, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum EffectiveNamespace<S = String> {
    /// Of a cluster-scoped kind.
    None,
    /// Never empty.
    Named(S),
}

/// kustomize's word for having no namespace.
const NO_NAMESPACE: &str = "_non_namespaceable_";

impl<'a> EffectiveNamespace<&'a str> {
    /// That of an object, by its namespace as it is written.
    pub(crate) fn of(is_cluster_scoped: bool, namespace: &'a str) -> Self {
        match namespace {
            _ if is_cluster_scoped => Self::None,
            "" => Self::Named("default"),
            namespace => Self::Named(namespace),
        }
    }

    pub(crate) fn to_owned(self) -> EffectiveNamespace {
        match self {
            Self::None => EffectiveNamespace::None,
            Self::Named(name) => EffectiveNamespace::Named(name.to_owned()),
        }
    }
}

impl EffectiveNamespace {
    /// What [`Self::as_str`] gave.
    pub(crate) fn noted(text: String) -> Self {
        if text == NO_NAMESPACE { Self::None } else { Self::Named(text) }
    }

    pub(crate) fn as_ref(&self) -> EffectiveNamespace<&str> {
        match self {
            Self::None => EffectiveNamespace::None,
            Self::Named(name) => EffectiveNamespace::Named(name),
        }
    }
}

impl<S: AsRef<str>> EffectiveNamespace<S> {
    /// The text that selectors are matched against.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::None => NO_NAMESPACE,
            Self::Named(name) => name.as_ref(),
        }
    }
}

/// What no two resources of a build share: its own, or as it stands in a resource. Most ids are looked at once, so that
/// a copy of each would cost more than all else that is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ResId<S = String> {
    pub(crate) gvk: Gvk<S>,
    pub(crate) name: S,
    pub(crate) namespace: EffectiveNamespace<S>,
}

impl ResId<&str> {
    pub(crate) fn to_owned(self) -> ResId {
        let Self { gvk, name, namespace } = self;
        ResId { gvk: gvk.to_owned(), name: name.to_owned(), namespace: namespace.to_owned() }
    }
}

impl<S: AsRef<str>> fmt::Display for ResId<S> {
    /// `Kind.version.group/name.namespace`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.gvk, self.name.as_ref())?;
        match &self.namespace {
            EffectiveNamespace::None => Ok(()),
            EffectiveNamespace::Named(namespace) => write!(f, ".{}", namespace.as_ref()),
        }
    }
}
