//! `BundleSync`: a path of a Flux source, and the Porter installations that it holds. Here is what is asked of it; what is
//! known of it is in `status`.
//!
//! Guarantee: a time that is asked for through the methods of the spec has its default, and is never shorter than a second.
//! It may not know what a reconcile comes to.

mod status;

use std::fmt;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build::{BuildMetadata, CommonMetadata, Image, Patch, PostBuild};
use crate::dependency::Dependency;
use crate::duration::Duration;
use crate::zero::is_zero;

pub use status::{BundleSyncStatus, InstallationsSummary, Inventory, InventoryEntry, Pruned, SetRun, Snapshot};

/// The shortest timeout that is derived from an interval.
const MIN_TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest time that is kept to, whatever is asked: an object may be older than the rule of its CRD.
const SHORTEST: Duration = Duration::from_secs(1);

/// What to sync, and how.
///
/// Fields that Flux's Kustomization has keep its names, meaning and defaults, but for `wait`, which is true by default, and
/// `deletionPolicy`, which has other values.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "flux.getporter.org",
    version = "v1alpha1",
    kind = "BundleSync",
    plural = "bundlesyncs",
    shortname = "bsync",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-appliers",
    namespaced,
    status = "BundleSyncStatus",
    derive = "PartialEq",
    doc = "BundleSync drives Porter installations from a path of a Flux source.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Status", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", priority = 1)
)]
pub struct BundleSyncSpec {
    /// The Flux source whose artifact is synced.
    pub source_ref: SourceRef,

    /// The directory of the artifact to build, relative to its root. Defaults to the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,

    /// The namespace of all objects that lie in one. It overrides what the files give, and has to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target_namespace: Option<String>,

    /// A prefix of the names of all objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub name_prefix: Option<String>,

    /// A suffix of the names of all objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub name_suffix: Option<String>,

    /// Labels and annotations of all objects. They override those that an object has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_metadata: Option<CommonMetadata>,

    /// Patches, applied in this order after those of the kustomization file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,

    /// Images whose name, tag or digest is replaced in containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,

    /// Directories of Kustomize components to add, relative to the path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,

    /// Leave out components whose directory the source does not have, rather than fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_missing_components: Option<bool>,

    /// What to note on each object about its build. Replaces what the kustomization file asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_metadata: Vec<BuildMetadata>,

    /// The substitution of variables in the built objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_build: Option<PostBuild>,

    /// How often to reconcile when nothing has changed. Changes of the source and of what runs are seen at once.
    pub interval: Duration,

    /// How long to wait before a failed reconcile is tried again. Defaults to the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_interval: Option<Duration>,

    /// How long fetching, building and applying, and with `wait` the bundle runs, may take.
    /// Defaults to the interval less 30 seconds, and is at least 30 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,

    /// Whether what is no longer in the source goes: installations are uninstalled, then all is deleted.
    pub prune: bool,

    /// What becomes of all that the BundleSync made when it is deleted itself. That of a suspended one stays.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Whether an object that the source asks for, and that somebody else made, becomes this BundleSync's.
    #[serde(default)]
    pub adoption: Adoption,

    /// Who sees to it that each run happens once: the operator runs an AgentAction again when its Job expires.
    #[serde(default)]
    pub agent: Agent,

    /// How often a failed bundle action is run again.
    #[serde(default, skip_serializing_if = "Retry::is_default")]
    pub retry: Retry,

    /// How installations are uninstalled that are no longer in the source.
    #[serde(default, skip_serializing_if = "Uninstall::is_default")]
    pub uninstall: Uninstall,

    /// How many bundle actions run at once: installs, upgrades, uninstalls, and what is run again. The rest waits.
    #[serde(default = "actions", skip_serializing_if = "is_actions")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent_actions: u16,

    /// What has to be ready before anything is applied. What is uninstalled because the BundleSync is deleted waits for
    /// none of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,

    /// Stop reconciling. What runs goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// Be ready only once every bundle run has succeeded, rather than when everything is applied.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn actions() -> u16 {
    10
}

fn is_actions(count: &u16) -> bool {
    *count == actions()
}

fn yes() -> bool {
    true
}

/// Who sees to it that each run happens once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum Agent {
    /// porter-flux: what it writes names an AgentConfig of its own, with no second try of a pod and a Job that does not expire.
    #[default]
    Managed,
    /// The documents and the AgentConfigs that they name.
    None,
}

/// How often a failed bundle action is run again.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How often, for each change of an installation: after `retryInterval`, then after twice that time, and so on, an hour
    /// at most. 0: never.
    #[serde(default = "retries")]
    #[schemars(range(min = 0, max = 100))]
    pub limit: i32,

    /// What happens when it still fails.
    #[serde(default, skip_serializing_if = "RetryStrategy::is_default")]
    pub strategy: RetryStrategy,
}

/// What happens with an installation that still fails after all tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum RetryStrategy {
    /// It stays as it is.
    #[default]
    RetryOnFailure,
    /// An upgrade is undone: the last spec that succeeded is applied again, until the source asks for another one.
    Rollback,
}

impl RetryStrategy {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn retries() -> i32 {
    3
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: retries(), strategy: RetryStrategy::default() }
    }
}

impl Retry {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether an object that somebody else made becomes a BundleSync's. What another BundleSync asks for never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum Adoption {
    /// What no controller looks after does, once nothing of it runs.
    #[default]
    IfUnowned,
    /// Nothing does.
    Never,
    /// What another controller applies does too. Take it out there first, or both write it by turns.
    Always,
}

/// What becomes of all that a BundleSync made when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// As `prune` and `uninstall` say for what leaves the source.
    #[default]
    MirrorPrune,
    /// Every installation is uninstalled, then all is deleted.
    Uninstall,
    /// All stays.
    Orphan,
}

/// How installations are uninstalled that are no longer in the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uninstall {
    /// Whether they are.
    #[serde(default)]
    pub policy: UninstallPolicy,

    /// Keep Porter's record of an installation that was uninstalled, with its runs. Its BundleRelease stays too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keep_record: bool,

    /// How much of the installations may be uninstalled without a confirmation, added up since the last one. At least one
    /// may. A revision that asks for more is not applied.
    #[serde(default)]
    pub limit: Percentage,
}

impl Uninstall {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether installations that are no longer in the source are uninstalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum UninstallPolicy {
    /// They are.
    #[default]
    Uninstall,
    /// They stay as they are, and their BundleReleases go.
    Orphan,
    /// They are once the annotation flux.getporter.org/confirm names the revision that no longer has them.
    Confirm,
}

/// A whole number of per cent, written `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentage(u8);

impl Percentage {
    /// Whether it is 100%.
    #[must_use]
    pub fn is_all(self) -> bool {
        self.0 >= 100
    }

    /// That many of so many, rounded down.
    #[must_use]
    pub fn of(self, count: usize) -> usize {
        count.saturating_mul(usize::from(self.0)) / 100
    }
}

impl Default for Percentage {
    fn default() -> Self {
        Self(50)
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percentage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|number| *number <= 100);
        number.map(Self).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no percentage from 0% to 100%")))
    }
}

impl JsonSchema for Percentage {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percentage".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(100|[1-9]?[0-9])%$"})
    }
}

/// A reference to a Flux source.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// The API version of the source. Its group is always source.toolkit.fluxcd.io; the controller reads v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,

    /// The kind of the source.
    pub kind: SourceKind,

    /// The name of the source.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The namespace of the source. Defaults to the namespace of the BundleSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// The kinds of Flux source that have an artifact of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub enum SourceKind {
    /// A git repository.
    GitRepository,
    /// An OCI artifact in a registry.
    OCIRepository,
    /// A bucket of an object store.
    Bucket,
    /// An artifact that another controller made.
    ExternalArtifact,
}

impl SourceKind {
    /// Every kind, in the order in which they are listed to people.
    pub const ALL: [Self; 4] = [Self::GitRepository, Self::OCIRepository, Self::Bucket, Self::ExternalArtifact];

    /// The kind as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitRepository => "GitRepository",
            Self::OCIRepository => "OCIRepository",
            Self::Bucket => "Bucket",
            Self::ExternalArtifact => "ExternalArtifact",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl BundleSyncSpec {
    /// How long to wait after a success.
    pub fn interval(&self) -> Duration {
        self.interval.max(SHORTEST)
    }

    /// How long a reconcile may take.
    pub fn timeout(&self) -> Duration {
        let timeout = self.timeout.unwrap_or_else(|| {
            let rest = self.interval.as_std().saturating_sub(MIN_TIMEOUT.as_std());
            // Shorter than the interval, so it is in range.
            Duration::try_from(rest).unwrap_or(MIN_TIMEOUT).max(MIN_TIMEOUT)
        });
        timeout.max(SHORTEST)
    }

    /// How long to wait after a failure.
    pub fn retry_interval(&self) -> Duration {
        self.retry_interval.unwrap_or(self.interval).max(SHORTEST)
    }

    /// Whether reconciliation is suspended.
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sync(spec: serde_json::Value) -> BundleSync {
        serde_json::from_value(json!({
            "metadata": {"name": "fleet", "namespace": "prod"},
            "spec": spec,
        }))
        .expect("a BundleSync")
    }

    #[test]
    fn times_have_flux_defaults() {
        // interval, retryInterval, timeout -> retry interval, timeout
        let cases = [
            ("10m", None, None, "10m", "9m30s"),
            ("1m", None, None, "1m", "30s"),
            ("45s", None, None, "45s", "30s"),
            ("10s", None, None, "10s", "30s"),
            ("10m", Some("1m"), Some("5m"), "1m", "5m"),
            ("10m", None, Some("1s"), "10m", "1s"),
            // Whatever comes past the CRD spins nothing.
            ("0s", None, None, "1s", "30s"),
            ("10m", Some("0s"), Some("0s"), "1s", "1s"),
            ("10m", Some("1ms"), Some("999ms"), "1s", "1s"),
        ];
        for (interval, retry_interval, timeout, retry, limit) in cases {
            let mut spec = json!({"sourceRef": {"kind": "Bucket", "name": "b"}, "interval": interval, "prune": true});
            for (key, value) in [("retryInterval", retry_interval), ("timeout", timeout)] {
                if let Some(value) = value {
                    spec[key] = json!(value);
                }
            }
            let spec = sync(spec).spec;
            let duration = |text: &str| text.parse::<Duration>().expect("a duration");
            assert_eq!(spec.retry_interval(), duration(retry), "{interval} {retry_interval:?}");
            assert_eq!(spec.timeout(), duration(limit), "{interval} {timeout:?}");
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let sync =
            sync(json!({"sourceRef": {"kind": "OCIRepository", "name": "apps"}, "interval": "1m", "prune": true}));
        assert!(sync.spec.wait);
        assert!(!sync.spec.is_suspended());
        let object = serde_json::to_value(&sync.spec).expect("JSON");
        assert_eq!(
            object,
            json!({
                "sourceRef": {"kind": "OCIRepository", "name": "apps"}, "interval": "1m0s", "wait": true,
                "prune": true, "deletionPolicy": "MirrorPrune", "adoption": "IfUnowned", "agent": "Managed"
            })
        );
    }

    /// The build fields as a Kustomization of Flux has them.
    #[test]
    fn build_fields_are_those_of_flux() {
        let build = json!({
            "targetNamespace": "prod",
            "namePrefix": "eu-",
            "nameSuffix": "-v2",
            "commonMetadata": {"annotations": {"team": "a"}, "labels": {"env": "prod"}},
            "patches": [
                {"patch": "- {op: remove, path: /spec}", "target": {
                    "group": "getporter.org", "version": "v1", "kind": "Installation", "name": "a.*", "namespace": "b",
                    "annotationSelector": "x=y", "labelSelector": "x=y"
                }},
                {"patch": "{}"}
            ],
            "images": [{"name": "app", "newName": "registry/app", "newTag": "2", "digest": "sha256:0"}],
            "components": ["../components/tls"],
            "ignoreMissingComponents": true,
            "buildMetadata": ["originAnnotations", "transformerAnnotations"],
            "postBuild": {
                "substitute": {"region": "eu"},
                "substituteFrom": [
                    {"kind": "ConfigMap", "name": "vars", "optional": false},
                    {"kind": "Secret", "name": "vars", "optional": true}
                ],
                "substituteStrategy": "Always"
            }
        });
        let mut spec = json!({
            "sourceRef": {"kind": "Bucket", "name": "b"}, "interval": "1m0s", "wait": true,
            "prune": false, "deletionPolicy": "Orphan", "adoption": "Always", "agent": "None",
            "retry": {"limit": 7, "strategy": "Rollback"},
            "uninstall": {"policy": "Confirm", "keepRecord": true, "limit": "7%"}, "maxConcurrentActions": 3
        });
        for (field, value) in build.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        assert_eq!(serde_json::to_value(sync(spec.clone()).spec).expect("JSON"), spec);

        for (field, value) in [
            ("buildMetadata", json!(["managedByLabel"])),
            ("patches", json!([{"target": {}}])),
            ("images", json!([{"newTag": "1"}])),
            ("postBuild", json!({"substituteStrategy": "Never"})),
            ("postBuild", json!({"substituteFrom": [{"kind": "ConfigMap"}]})),
            ("postBuild", json!({"substituteFrom": [{"kind": "Other", "name": "x"}]})),
        ] {
            let mut wrong = spec.clone();
            wrong[field] = value.clone();
            assert!(serde_json::from_value::<BundleSyncSpec>(wrong).is_err(), "{field}: {value}");
        }
    }

    #[test]
    fn what_is_no_spec_is_refused() {
        let cases = [
            (json!({"interval": "1m"}), "sourceRef"),
            (json!({"sourceRef": {"kind": "Bucket", "name": "b"}}), "interval"),
            (json!({"sourceRef": {"kind": "HelmChart", "name": "b"}, "interval": "1m"}), "HelmChart"),
            (json!({"sourceRef": {"kind": "Bucket", "name": "b"}, "interval": "-1m"}), "negative"),
            (json!({"sourceRef": {"kind": "Bucket", "name": "b"}, "interval": "1 day"}), "no duration"),
            (json!({"sourceRef": {"kind": "Bucket", "name": "b"}, "interval": "1m"}), "prune"),
            (
                json!({"sourceRef": {"kind": "Bucket", "name": "b"}, "interval": "1m", "prune": true, "uninstall": {"limit": "101%"}}),
                "101%",
            ),
        ];
        for (spec, expected) in cases {
            let error = serde_json::from_value::<BundleSyncSpec>(spec.clone()).expect_err("refused").to_string();
            assert!(error.contains(expected), "{spec}: {error}");
        }
    }

    #[test]
    fn a_part_is_rounded_down() {
        for (text, count, part) in [("50%", 4, 2), ("50%", 3, 1), ("50%", 1, 0), ("0%", 9, 0), ("100%", 9, 9)] {
            let percentage: Percentage = serde_json::from_value(json!(text)).expect("a percentage");
            assert_eq!(percentage.of(count), part, "{text} of {count}");
            assert_eq!(percentage.to_string(), text);
        }
        for text in ["", "%", "5", "-1%", "1.5%", "300%"] {
            assert!(serde_json::from_value::<Percentage>(json!(text)).is_err(), "{text}");
        }
    }
}
