//! What a BundleSync can depend on besides BundleSyncs: Flux's Kustomizations and HelmReleases, as an API server knows them
//! that has their CRDs. No controller looks after them: tests say how they stand.

use anyhow::Result;
use e2e::eventually;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Ground, PATIENCE};

/// One of these kinds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FluxKind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
}

pub(crate) const KUSTOMIZATION: FluxKind =
    FluxKind { group: "kustomize.toolkit.fluxcd.io", version: "v1", kind: "Kustomization" };
pub(crate) const HELM_RELEASE: FluxKind =
    FluxKind { group: "helm.toolkit.fluxcd.io", version: "v2", kind: "HelmRelease" };

/// The status of something of Flux that is ready.
pub(crate) fn ready(generation: i64) -> Value {
    json!({"observedGeneration": generation, "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": ""}]})
}

impl Ground {
    /// The API of such a kind, once it is served.
    async fn served(&self, of: FluxKind) -> Result<Api<DynamicObject>> {
        let FluxKind { group, version, kind } = of;
        let singular = kind.to_lowercase();
        let name = format!("{singular}s.{group}");
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": format!("{singular}s"), "singular": singular, "listKind": format!("{kind}List")},
                "versions": [{
                    "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
                }],
            },
        });
        let crds = Api::<CustomResourceDefinition>::all(self.client.clone());
        crds.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&crd)).await?;
        let objects = e2e::dynamic(self.client.clone(), &self.namespace, group, version, kind);
        eventually(PATIENCE, &format!("{kind}s to be served"), || async {
            objects.list(&ListParams::default()).await.map(drop)
        })
        .await?;
        Ok(objects)
    }

    /// Applies an object of such a kind, and what its controller says of it.
    pub(crate) async fn of_flux(&self, of: FluxKind, name: &str, status: Option<Value>) -> Result<()> {
        let objects = self.served(of).await?;
        let object = json!({
            "apiVersion": format!("{}/{}", of.group, of.version), "kind": of.kind,
            "metadata": {"name": name}, "spec": {"interval": "10m"},
        });
        objects.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
        if let Some(status) = status {
            let patch = Patch::Merge(json!({"status": status}));
            objects.patch_status(name, &PatchParams::default(), &patch).await?;
        }
        Ok(())
    }
}
