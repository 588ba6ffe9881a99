//! What a resource is called: its group, version and kind, its name and its namespace as kustomize compares them.

use std::fmt;

use manifest::yaml::Node;

use crate::read::Fields;
use crate::schema::Schemas;

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

/// Group, version and kind. As a selector, an empty part matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Gvk {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

impl Gvk {
    pub(crate) fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = split_api_version(api_version);
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    pub(crate) fn of(node: &Node) -> Self {
        let text = |key: &str| node.get(key).and_then(Node::as_str).unwrap_or_default();
        Self::new(text("apiVersion"), text("kind"))
    }

    /// Takes `group`, `version` and `kind` of a mapping.
    pub(crate) fn take(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            group: fields.take_or_default("group"),
            version: fields.take_or_default("version"),
            kind: fields.take_or_default("kind"),
        }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// What kustomize sorts kinds by: namespaces and what others need first, webhooks last, the rest by their names.
    pub(crate) fn sort_key(&self) -> (isize, String) {
        let part = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let name = format!("{}_{}_{}", part(&self.group, "~G"), part(&self.version, "~V"), part(&self.kind, "~K"));
        let place = |kinds: &[&str]| kinds.iter().position(|kind| *kind == self.kind).and_then(|at| at.try_into().ok());
        let first = |at: isize| at - FIRST_KINDS.len().cast_signed();
        let rank = place(&FIRST_KINDS).map(first).or_else(|| place(&LAST_KINDS).map(|at| at + 1));
        (rank.unwrap_or(0), name)
    }

    /// Whether this is selected by the parts that the selector gives.
    pub(crate) fn is_selected_by(&self, selector: &Self) -> bool {
        let part = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        part(&selector.group, &self.group) && part(&selector.version, &self.version) && part(&selector.kind, &self.kind)
    }
}

/// The group and the version of an `apiVersion`; the core group is empty.
pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

impl fmt::Display for Gvk {
    /// `Kind.version.group`, as kustomize writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        write!(
            f,
            "{}.{}.{}",
            part(&self.kind, "[noKind]"),
            part(&self.version, "[noVer]"),
            part(&self.group, "[noGrp]")
        )
    }
}

/// The namespace as far as ids are concerned: no namespace is `default`, and a kind that is certainly cluster-scoped
/// has none, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum EffectiveNamespace {
    /// Of a cluster-scoped kind.
    None,
    /// Never empty.
    Named(String),
}

/// kustomize's word for having no namespace.
const NO_NAMESPACE: &str = "_non_namespaceable_";

impl EffectiveNamespace {
    pub(crate) fn of(gvk: &Gvk, namespace: &str, schemas: &Schemas) -> Self {
        if schemas.is_cluster_scoped(&gvk.api_version(), &gvk.kind) {
            Self::None
        } else if namespace.is_empty() {
            Self::Named("default".to_owned())
        } else {
            Self::Named(namespace.to_owned())
        }
    }

    /// What [`Self::as_str`] gave.
    pub(crate) fn noted(text: String) -> Self {
        if text == NO_NAMESPACE { Self::None } else { Self::Named(text) }
    }

    /// The text that selectors are matched against.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::None => NO_NAMESPACE,
            Self::Named(name) => name,
        }
    }
}

/// What no two resources of a build share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ResId {
    pub(crate) gvk: Gvk,
    pub(crate) name: String,
    pub(crate) namespace: EffectiveNamespace,
}

impl fmt::Display for ResId {
    /// `Kind.version.group/name.namespace`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.gvk, self.name)?;
        match &self.namespace {
            EffectiveNamespace::None => Ok(()),
            EffectiveNamespace::Named(namespace) => write!(f, ".{namespace}"),
        }
    }
}
