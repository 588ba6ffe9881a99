//! What somebody else made: who looks after it, and whether it may become ours.
//!
//! What another BundleSync asks for is never taken, whatever `spec.adoption` says: two sources for one installation would
//! run it by turns. May only know metadata: the spec of what is not ours decides nothing.

use api::{Adoption, SyncRef};
use manifest::ObjectId;
use serde_json::Value;

use crate::step::Refusal;
use crate::write::string_map;

/// Labels of appliers: their name, and that of the namespace of the object that applies.
const APPLIERS: [(&str, &str, &str); 2] = [
    ("Kustomization", "kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace"),
    ("HelmRelease", "helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace"),
];
/// What Helm labels its objects with; the annotations with the release go when the operator wipes them.
const HELM: (&str, &str) = ("app.kubernetes.io/managed-by", "Helm");
const HELM_RELEASE: (&str, &str) = ("meta.helm.sh/release-namespace", "meta.helm.sh/release-name");
/// Argo CD's two ways to track what it applies.
const ARGO_ANNOTATION: &str = "argocd.argoproj.io/tracking-id";
const ARGO_LABEL: &str = "argocd.argoproj.io/instance";

/// Who looks after an object, as far as its metadata tells: an applier, or the controller that it belongs to.
#[must_use]
pub fn keeper(metadata: &Value) -> Option<String> {
    let (labels, annotations) = (string_map(&metadata["labels"]), string_map(&metadata["annotations"]));
    for (kind, name, namespace) in APPLIERS {
        if let Some(name) = labels.get(name) {
            let namespace = labels.get(namespace).map(|namespace| format!("{namespace}/")).unwrap_or_default();
            return Some(format!("{kind} {namespace}{name}"));
        }
    }
    if labels.get(HELM.0).is_some_and(|by| by == HELM.1) {
        let release = annotations.get(HELM_RELEASE.0).zip(annotations.get(HELM_RELEASE.1));
        return Some(release.map_or_else(|| "Helm".to_owned(), |(of, name)| format!("Helm release {of}/{name}")));
    }
    if let Some(application) = annotations.get(ARGO_ANNOTATION).or_else(|| labels.get(ARGO_LABEL)) {
        let application = application.split(':').next().unwrap_or_default();
        return Some(format!("Argo CD application {application}"));
    }
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let mut controllers = owners.filter(|owner| owner["controller"] == true);
    let text = |owner: &Value, key: &str| owner[key].as_str().unwrap_or_default().to_owned();
    controllers.next().map(|owner| format!("{} {}", text(owner, "kind"), text(owner, "name")))
}

/// Why an object that is not ours stays so; nothing when it becomes ours.
#[must_use]
pub fn refusal(id: &ObjectId, metadata: &Value, adoption: Adoption, sync: &SyncRef) -> Option<Refusal> {
    let keeper = keeper(metadata);
    match (adoption, &keeper) {
        (Adoption::Always, _) | (Adoption::IfUnowned, None) => None,
        _ => Some(Refusal::Exists { id: id.clone(), keeper, sync: sync.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_looks_after_an_object_is_told_by_its_metadata() {
        let cases = [
            (json!({}), None),
            (json!({"labels": {"app.kubernetes.io/managed-by": "me", "team": "a"}}), None),
            (
                json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}),
                Some("Kustomization flux-system/apps"),
            ),
            (
                json!({"labels": {"app.kubernetes.io/managed-by": "Helm", "helm.toolkit.fluxcd.io/name": "db", "helm.toolkit.fluxcd.io/namespace": "prod"}}),
                Some("HelmRelease prod/db"),
            ),
            (json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}), Some("Helm")),
            (
                json!({"labels": {"app.kubernetes.io/managed-by": "Helm"},
                       "annotations": {"meta.helm.sh/release-name": "db", "meta.helm.sh/release-namespace": "prod"}}),
                Some("Helm release prod/db"),
            ),
            (
                json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:getporter.org/Installation:apps/db"}}),
                Some("Argo CD application shop"),
            ),
            (json!({"labels": {"argocd.argoproj.io/instance": "shop"}}), Some("Argo CD application shop")),
            (json!({"ownerReferences": [{"kind": "App", "name": "shop"}]}), None),
            (json!({"ownerReferences": [{"kind": "App", "name": "shop", "controller": true}]}), Some("App shop")),
        ];
        for (metadata, expected) in cases {
            assert_eq!(keeper(&metadata).as_deref(), expected, "{metadata}");
        }
    }

    #[test]
    fn what_is_taken_follows_the_policy() {
        let id = ObjectId {
            group: String::new(),
            kind: "Secret".to_owned(),
            namespace: "apps".to_owned(),
            name: "token".to_owned(),
        };
        let sync = SyncRef { name: "shop".to_owned(), namespace: "flux-system".to_owned() };
        let kept = json!({"labels": {"argocd.argoproj.io/instance": "shop"}});
        for (adoption, metadata, taken, says) in [
            (Adoption::IfUnowned, json!({}), true, ""),
            (Adoption::IfUnowned, kept.clone(), false, "Argo CD application shop looks after it"),
            (Adoption::Never, json!({}), false, "spec.adoption is Never"),
            (Adoption::Never, kept.clone(), false, "Argo CD application shop looks after it"),
            (Adoption::Always, json!({}), true, ""),
            (Adoption::Always, kept, true, ""),
        ] {
            let refused = refusal(&id, &metadata, adoption, &sync);
            assert_eq!(refused.is_none(), taken, "{adoption:?} {metadata}");
            let message = refused.map(|refused| refused.to_string()).unwrap_or_default();
            assert!(message.contains(says), "{message}");
        }
    }
}
