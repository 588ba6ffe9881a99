//! What a BundleSync depends on: a reference, and views of the kinds of Flux that it may name.
//!
//! Of those objects nothing is assumed but what all of Flux's appliers have in common; they are read as they are.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::TypeMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::resource::resource;

/// Something that has to be ready first.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Its kind.
    #[serde(default, skip_serializing_if = "DependencyKind::is_default")]
    pub kind: DependencyKind,

    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Its namespace. Defaults to the namespace of the BundleSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,

    /// A CEL expression that says whether it is ready, instead of the rule for its kind: `dep` is that object, `self` is
    /// the BundleSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub ready_expr: Option<String>,
}

/// The kinds that a BundleSync may depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub enum DependencyKind {
    /// Another BundleSync.
    #[default]
    BundleSync,
    /// A Kustomization of Flux.
    Kustomization,
    /// A HelmRelease of Flux.
    HelmRelease,
}

impl DependencyKind {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The kind as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BundleSync => "BundleSync",
            Self::Kustomization => "Kustomization",
            Self::HelmRelease => "HelmRelease",
        }
    }
}

impl fmt::Display for DependencyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind, with its spec and status as they are.
macro_rules! applier_kind {
    ($(#[$doc:meta])* $kind:ident, $group:literal, $version:literal, $plural:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $kind {
            /// API version and kind; absent in the items of a list.
            #[serde(flatten)]
            pub types: Option<TypeMeta>,
            /// Name, namespace, generation and so on.
            pub metadata: ObjectMeta,
            /// What it asks for.
            #[serde(skip_serializing_if = "Value::is_null")]
            pub spec: Value,
            /// What became of it.
            #[serde(skip_serializing_if = "Value::is_null")]
            pub status: Value,
        }

        impl $kind {
            /// Takes out what is large, and says nothing of whether it is ready.
            pub fn trim(&mut self) {
                self.metadata.managed_fields = None;
                if let Some(status) = self.status.as_object_mut() {
                    status.remove("inventory");
                    status.remove("history");
                }
            }
        }

        resource!($kind, $group, $version, $plural);
    };
}

applier_kind!(
    /// What Flux's kustomize-controller applies.
    Kustomization,
    "kustomize.toolkit.fluxcd.io",
    "v1",
    "kustomizations"
);
applier_kind!(
    /// What Flux's helm-controller releases.
    HelmRelease,
    "helm.toolkit.fluxcd.io",
    "v2",
    "helmreleases"
);

#[cfg(test)]
mod tests {
    use super::*;
    use kube::Resource as _;
    use serde_json::json;

    #[test]
    fn what_flux_writes_is_kept_but_for_what_is_large() {
        let object = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "infra", "namespace": "flux-system", "generation": 2, "managedFields": [{}]},
            "spec": {"path": "./infra", "some": {"new": [1]}},
            "status": {"observedGeneration": 2, "inventory": {"entries": []}, "history": [1]},
        });
        let mut kustomization: Kustomization = serde_json::from_value(object).expect("a Kustomization");
        kustomization.trim();
        assert_eq!(
            serde_json::to_value(&kustomization).expect("JSON"),
            json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "metadata": {"name": "infra", "namespace": "flux-system", "generation": 2},
                "spec": {"path": "./infra", "some": {"new": [1]}},
                "status": {"observedGeneration": 2},
            })
        );
        let empty: HelmRelease = serde_json::from_value(json!({"metadata": {"name": "a"}})).expect("a HelmRelease");
        assert_eq!(serde_json::to_value(&empty).expect("JSON"), json!({"metadata": {"name": "a"}}));
        assert_eq!(HelmRelease::api_version(&()), "helm.toolkit.fluxcd.io/v2");
    }

    #[test]
    fn a_dependency_is_a_bundle_sync_unless_it_says_otherwise() {
        for (written, kind) in [
            (json!({"name": "a"}), DependencyKind::BundleSync),
            (
                json!({"kind": "HelmRelease", "name": "a", "namespace": "b", "readyExpr": "true"}),
                DependencyKind::HelmRelease,
            ),
        ] {
            let dependency: Dependency = serde_json::from_value(written.clone()).expect("a dependency");
            assert_eq!(dependency.kind, kind);
            assert_eq!(serde_json::to_value(&dependency).expect("JSON"), written);
        }
        assert!(serde_json::from_value::<Dependency>(json!({"kind": "Deployment", "name": "a"})).is_err());
    }
}
