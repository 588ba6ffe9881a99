//! Typed views of Flux's source kinds: what a consumer of artifacts needs, and no more.
//!
//! Unknown fields are ignored, the spec is one of them, and a missing status is an empty one, so a newer source-controller
//! does not take the watch down.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::TypeMeta;
use serde::{Deserialize, Serialize};

use crate::resource::resource;
use crate::{Condition, SourceKind, condition};

/// The API group of Flux's sources.
pub const GROUP: &str = "source.toolkit.fluxcd.io";
/// The version of Flux's sources that is read.
pub const VERSION: &str = "v1";
/// The key of [`Artifact::metadata`] that holds the commit from which an OCI artifact was made.
pub const ORIGIN_REVISION: &str = "org.opencontainers.image.revision";

/// A kind, as the view that its documentation describes.
macro_rules! source_kind {
    ($(#[$doc:meta])* $kind:ident, $plural:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $kind {
            /// API version and kind; absent in the items of a list.
            #[serde(flatten)]
            pub types: Option<TypeMeta>,
            /// Name, namespace, generation and so on.
            pub metadata: ObjectMeta,
            /// The status, if one has been written.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub status: Option<SourceStatus>,
        }

        resource!($kind, GROUP, VERSION, $plural);

        impl Source for $kind {
            const KIND: SourceKind = SourceKind::$kind;

            fn status(&self) -> Option<&SourceStatus> {
                self.status.as_ref()
            }
        }
    };
}

source_kind!(
    /// A git repository that Flux fetches.
    GitRepository,
    "gitrepositories"
);
source_kind!(
    /// An OCI artifact that Flux fetches.
    OCIRepository,
    "ocirepositories"
);
source_kind!(
    /// A bucket that Flux fetches.
    Bucket,
    "buckets"
);
source_kind!(
    /// An artifact that another controller stores.
    ExternalArtifact,
    "externalartifacts"
);

/// The status that all source kinds have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceStatus {
    /// The newest artifact. It stays while a later fetch fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// What source-controller says of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A gzipped tar of files that source-controller, or who stores an ExternalArtifact, serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Artifact {
    /// `<algorithm>:<hex>` of the bytes that are served.
    pub digest: String,
    /// The path in the storage of who serves it.
    pub path: String,
    /// Where it is served.
    pub url: String,
    /// What it was made from, such as `main@sha1:<commit>`.
    pub revision: String,
    /// How many bytes are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Annotations of an OCI artifact.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When it was stored (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,
}

impl Artifact {
    /// The commit from which the artifact was made, where an OCI artifact tells it.
    pub fn origin_revision(&self) -> Option<&str> {
        self.metadata.get(ORIGIN_REVISION).map(String::as_str)
    }
}

/// What the source kinds have in common.
pub trait Source: Resource<DynamicType = ()> {
    /// The kind.
    const KIND: SourceKind;

    /// The status, if one has been written.
    fn status(&self) -> Option<&SourceStatus>;

    /// The newest artifact.
    fn artifact(&self) -> Option<&Artifact> {
        self.status()?.artifact.as_ref()
    }

    /// The Ready condition.
    fn ready(&self) -> Option<&Condition> {
        self.status()?.conditions.iter().find(|condition| condition.type_ == condition::READY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_source_is_read_whatever_else_it_holds() {
        let repository: GitRepository = serde_json::from_value(json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "fleet", "namespace": "flux-system"},
            "spec": {"url": "https://example.com/fleet", "interval": "1m", "suspend": true, "new": {"field": 1}},
            "status": {
                "observedGeneration": 2,
                "artifact": {
                    "digest": "sha256:00", "path": "gitrepository/flux-system/fleet/00.tar.gz",
                    "url": "http://source-controller/fleet.tar.gz", "revision": "main@sha1:00", "size": 12,
                    "lastUpdateTime": "2026-01-01T00:00:00Z", "metadata": {"org.opencontainers.image.revision": "c"}
                },
                "conditions": [
                    {"type": "ArtifactInStorage", "status": "True", "reason": "Succeeded", "message": "",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact",
                     "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 2}
                ],
                "includedArtifacts": []
            }
        }))
        .expect("a GitRepository as source-controller writes it");
        assert_eq!(repository.ready().map(|ready| ready.status.as_str()), Some("True"));
        let artifact = repository.artifact().expect("an artifact");
        assert_eq!((artifact.revision.as_str(), artifact.size), ("main@sha1:00", Some(12)));
        assert_eq!(artifact.origin_revision(), Some("c"));
    }

    #[test]
    fn a_source_without_spec_or_status_is_read() {
        for (kind, value) in [
            ("Bucket", json!({"metadata": {"name": "b"}, "status": {}})),
            ("Bucket", json!({"metadata": {"name": "b"}, "spec": {}})),
            ("Bucket", json!({"metadata": {"name": "b"}})),
        ] {
            let bucket: Bucket =
                serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{kind} {value}: {e}"));
            assert_eq!(bucket.artifact(), None, "{value}");
        }
    }

    #[test]
    fn kinds_are_named_as_flux_names_them() {
        fn check<S: Source>(api_version: &str, plural: &str) {
            assert_eq!(S::kind(&()), S::KIND.as_str());
            assert_eq!(S::api_version(&()), api_version);
            assert_eq!(S::plural(&()), plural);
        }
        check::<GitRepository>("source.toolkit.fluxcd.io/v1", "gitrepositories");
        check::<OCIRepository>("source.toolkit.fluxcd.io/v1", "ocirepositories");
        check::<Bucket>("source.toolkit.fluxcd.io/v1", "buckets");
        check::<ExternalArtifact>("source.toolkit.fluxcd.io/v1", "externalartifacts");
    }
}
