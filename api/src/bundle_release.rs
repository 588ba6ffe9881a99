//! `BundleRelease`: the ledger of one Porter installation in one Kubernetes namespace.
//!
//! Guarantee: the name of a release follows from the Porter identity alone ([`BundleRelease::object_name`]), so the API
//! server lets an installation have one owner only, and a restarted controller finds it without an index.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::crd;
use crate::zero::is_zero;

/// The longest name that Kubernetes accepts as the value of a label.
const MAX_LABEL: usize = 63;
/// How much of the digest is in the name of a release.
const NAME_DIGEST_BYTES: usize = 4;

/// What was asked of an installation. Written before the Installation itself is.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "flux.getporter.org",
    version = "v1alpha1",
    kind = "BundleRelease",
    plural = "bundlereleases",
    shortname = "brel",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-appliers",
    namespaced,
    status = "BundleReleaseStatus",
    derive = "PartialEq",
    doc = "BundleRelease records one Porter installation under GitOps: its owner, what was asked and what ran.",
    printcolumn(name = "Porter Name", type_ = "string", json_path = ".spec.installation.name"),
    printcolumn(name = "Porter Namespace", type_ = "string", json_path = ".spec.installation.namespace"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.asked.revision"),
    printcolumn(name = "Bundle", type_ = "string", json_path = ".status.reference"),
    printcolumn(name = "File", type_ = "string", json_path = ".status.file", priority = 1),
    printcolumn(name = "Last Action", type_ = "string", json_path = ".status.runs[0].action", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct BundleReleaseSpec {
    /// The BundleSync that owns the installation.
    pub sync: SyncRef,

    /// The installation as Porter knows it.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "a release stays with its installation"}
    ]))]
    pub installation: PorterIdentity,

    /// The name of the Installation object in the namespace of the release.
    #[schemars(length(min = 1, max = 63))]
    pub object_name: String,

    /// What the source asks for.
    pub asked: Asked,

    /// Set once the installation is no longer in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
}

/// A BundleSync.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub struct SyncRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
}

/// Printed as `namespace/name`.
impl fmt::Display for SyncRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An installation as Porter knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub struct PorterIdentity {
    /// Its namespace in Porter, which is unrelated to the one in Kubernetes. May be empty: Porter's global namespace.
    pub namespace: String,
    /// Its name in Porter.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// A spec of an installation, and where it came from.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The revision of the artifact in which the spec last changed.
    pub revision: String,
    /// The commit from which that artifact was made, where the artifact tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_revision: Option<String>,
    /// The file in the artifact, relative to its root.
    pub file: String,
    /// The line in that file, from 1; 0, and no file, where the release was lost and written anew.
    pub line: u32,
    /// The installations of the same BundleSync that come before it, and are uninstalled after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<InstallationId>,
    /// `sha256:` and the hexadecimal digest of the canonical JSON of the spec.
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// The spec of the Installation, as it is applied.
    #[schemars(schema_with = "crd::any_object")]
    pub spec: serde_json::Value,
    /// What its sets gave when it was written: what the run of it is given. Absent where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
}

/// What the sets of an installation give, their Secrets included, as digests by their names in Porter. In place of one stands
/// `absent` when the set was not in the cluster, or not in Porter yet, and `changed` when it gave something else since.
///
/// A digest is `<what is digested>:<digest of the key>:<digest>`. It is keyed, and the key is in a Secret of the controller's: no
/// weak password can be found by it. Two whose first two parts differ say nothing of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Those of ParameterSets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameter_sets: BTreeMap<String, String>,
    /// Those of CredentialSets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credential_sets: BTreeMap<String, String>,
}

/// That, and when, an installation left the source.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Removed {
    /// The first revision without it.
    pub revision: String,
    /// Whether it is uninstalled, then deleted. Nothing runs for one that is kept.
    #[serde(default)]
    pub prune: bool,
}

/// What became of what was asked.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleReleaseStatus {
    /// The generation of the release that the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The uid of the Installation object of the newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,

    /// The generation of the Installation object of the newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,

    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ReleaseState>,

    /// Why it stands there, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// The file of the source that the document is in which stands: what is asked, or what it was given up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,

    /// The revision at which that document last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,

    /// The bundle of that document: `REPOSITORY:TAG`, or `REPOSITORY@DIGEST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,

    /// The digest of that bundle, where the document gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,

    /// The last spec whose run succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<Asked>,

    /// What Porter is known to have of it. Absent: nothing, so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleState>,

    /// Whether that it is installed is only reckoned with: the first run that was seen was none of its first document, and no
    /// install is known to have succeeded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsure: bool,

    /// What failed of an installed bundle since it last ran well, newest first. A plain apply of a document in which Porter
    /// sees no difference to one of these does nothing, and is reported as a success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failed: Vec<Compared>,

    /// What was run again, of the current generation of its Installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryStatus>,

    /// What is asked was given up for the last spec that succeeded, with `retry.strategy: Rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,

    /// What was asked to run again by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<ForceStatus>,

    /// What its sets gave to the last run that was started. When they give something else, it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,

    /// How far its uninstall is, from its beginning to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uninstall: Option<UninstallStatus>,

    /// The runs, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub runs: Vec<Run>,

    /// The custom actions that the source asked for and that ran, newest first. None of these runs again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub invocations: Vec<Invocation>,

    /// Of those before them, newest first, a digest of the annotation's value: they do not run again either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub invoked: Vec<String>,

    /// A digest of the annotations that the source asks for, once they stood on its Installation. The operator wipes
    /// annotations: those are not put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotated: Option<String>,
}

/// What Porter compares of a document with the one it ran last, to see whether it has anything to do. Both are empty where the
/// document is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Compared {
    /// The digest of the bundle, where the document gives it; else its reference.
    pub bundle: String,
    /// A digest of the inline parameters and of the names of sets.
    pub inputs: String,
}

/// One run of a custom action.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invocation {
    /// The value of the annotation flux.getporter.org/invoke that asked for it.
    pub invoke: String,
    /// The name of its AgentAction, which is deleted once the result is noted.
    pub action: String,
    /// The revision at which it was asked for, when it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it was final.
    pub finished: Time,
    /// How it ended.
    pub result: RunResult,
    /// Why it failed, as far as its Jobs and pods show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What Porter is known to have of an installation: what its record says, by the runs that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub enum BundleState {
    /// An install was tried, and none succeeded since the last uninstall. Something of it may be there.
    Tried,
    /// An install succeeded.
    Installed,
    /// It was uninstalled, and Porter still has its record: a plain apply does nothing any more.
    Uninstalled,
    /// The same, and an install by force was tried since and did not succeed.
    Reinstalling,
}

impl BundleReleaseStatus {
    /// How many AgentActions of ours have run this generation of its Installation again.
    #[must_use]
    pub fn attempts(&self, generation: i64) -> i32 {
        self.retry_of(generation).map_or(0, |retry| retry.attempts)
    }

    /// How many of them count: since it was run by hand, or ever.
    #[must_use]
    pub fn tries(&self, generation: i64) -> i32 {
        self.retry_of(generation).map_or(0, |retry| retry.attempts - retry.forgiven)
    }

    /// Whether a run is asked for by hand, and none was made for that yet.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.force.as_ref().is_some_and(|force| force.due.is_some())
    }

    /// Whether the result of this AgentAction is noted.
    #[must_use]
    pub fn has_noted(&self, action: &str) -> bool {
        self.runs.iter().any(|run| run.action == action && run.result.is_some())
            || self.invocations.iter().any(|run| run.action == action)
            || self.uninstall.as_ref().is_some_and(|uninstall| uninstall.noted.as_deref() == Some(action))
    }

    fn retry_of(&self, generation: i64) -> Option<&RetryStatus> {
        self.retry.as_ref().filter(|retry| retry.generation == generation)
    }
}

/// What was run again of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryStatus {
    /// The generation of the Installation.
    pub generation: i64,
    /// How many AgentActions of ours for it have ended.
    pub attempts: i32,
    /// How many of them do not count against the limit: those up to the last that was asked for by hand.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgiven: i32,
}

/// What was given up.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// The digest of the spec that was given up.
    pub digest: String,
    /// The revision that asked for it.
    pub revision: String,
    /// The AgentAction that failed last.
    pub action: String,
}

/// What was asked to run again by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForceStatus {
    /// The last value of the annotation reconcile.fluxcd.io/forceAt on the release that was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The last one on its BundleSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_at: Option<String>,
    /// The run that they ask for, until it has ended. The AgentAction that is it has this as its label
    /// flux.getporter.org/forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
}

/// How far an uninstall is.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UninstallStatus {
    /// How many AgentActions of ours for it have ended.
    pub attempts: i32,
    /// How many of them, and of the operator's, failed since one succeeded.
    pub failures: i32,
    /// When the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Time>,
    /// What Porter is asked next, since a command failed that needs its record: whether it has one at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Question>,
    /// How often in a row Porter, whose storage answered, knew nothing of the installation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: i32,
    /// Whether Porter's uninstall command succeeded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commanded: bool,
    /// The AgentAction whose result was noted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<String>,
    /// Why the last one failed, as far as the cluster shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What Porter is asked, to learn whether it has a record of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub enum Question {
    /// For its record.
    Show,
    /// For what the last run of the bundle said.
    Logs,
    /// For all installations: whether its storage answers.
    List,
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub enum ReleaseState {
    /// Recorded; the Installation is not applied yet, or the operator has not started its run.
    Pending,
    /// Something named has to happen first.
    Waiting,
    /// A run is under way.
    Running,
    /// The last asked spec ran successfully.
    Succeeded,
    /// The last run failed.
    Failed,
    /// What is asked failed, and the last spec that succeeded was applied again, ran, and stands.
    RolledBack,
    /// It left the source, and is kept.
    Removed,
    /// It left the source, and is being uninstalled.
    Uninstalling,
    /// Its uninstall failed, and is tried again.
    UninstallFailed,
    /// It left the source and is uninstalled; Porter's record is kept.
    Uninstalled,
}

impl ReleaseState {
    /// The state as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Waiting => "Waiting",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::RolledBack => "RolledBack",
            Self::Removed => "Removed",
            Self::Uninstalling => "Uninstalling",
            Self::UninstallFailed => "UninstallFailed",
            Self::Uninstalled => "Uninstalled",
        }
    }
}

impl fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One run of the bundle: an AgentAction, and what came of it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The name of the AgentAction.
    pub action: String,
    /// The generation of the Installation that it ran.
    pub generation: i64,
    /// The digest of the spec that it ran.
    pub digest: String,
    /// The revision that asked for that spec.
    pub revision: String,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it was final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    /// Whether the document asked for an uninstall.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uninstall: bool,
    /// How it ended. Absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
    /// Why it failed, as far as its Jobs and pods show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last lines of the agent's log, where the controller may read it, without the values that it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub enum RunResult {
    /// The bundle, or Porter's finding that nothing was to do, ended well.
    Succeeded,
    /// The run ended in an error.
    Failed,
}

/// What tells one installation from all others in a cluster.
///
/// Printed as `kubernetes-namespace: porter-namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstallationId {
    /// The Kubernetes namespace of its Installation object: it has an operator agent, a configuration and a Porter
    /// database of its own.
    pub kube_namespace: String,
    /// The namespace in Porter.
    pub porter_namespace: String,
    /// The name in Porter.
    pub name: String,
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}/{}", self.kube_namespace, self.porter_namespace, self.name)
    }
}

impl InstallationId {
    /// An installation as Porter knows it, in a Kubernetes namespace.
    pub fn of(kube_namespace: &str, installation: PorterIdentity) -> Self {
        let PorterIdentity { namespace, name } = installation;
        Self { kube_namespace: kube_namespace.to_owned(), porter_namespace: namespace, name }
    }

    /// The part of it that Porter knows.
    pub fn porter(&self) -> PorterIdentity {
        PorterIdentity { namespace: self.porter_namespace.clone(), name: self.name.clone() }
    }
}

impl BundleRelease {
    /// How many runs a release remembers.
    pub const MAX_RUNS: usize = 10;
    /// Of how many custom actions before those it remembers that they ran.
    pub const MAX_INVOKED: usize = 1000;

    /// The name of the release of an installation: its name made a DNS label, and eight digits of the digest of its
    /// Porter identity. At most 63 characters, so it can be the value of a label.
    pub fn object_name(installation: &InstallationId) -> String {
        let identity = format!("{}/{}", installation.porter_namespace, installation.name);
        let digest = hex::encode(&Sha256::digest(identity)[..NAME_DIGEST_BYTES]);
        let mut label = dns_label(&installation.name);
        label.truncate(MAX_LABEL - digest.len() - 1);
        match label.trim_end_matches('-') {
            // The name of an object begins with a letter or a digit; a name without any is named by its digest alone.
            "" => digest,
            label => format!("{label}-{digest}"),
        }
    }

    /// The installation that it is the ledger of.
    pub fn installation_id(&self) -> InstallationId {
        InstallationId::of(&self.namespace().unwrap_or_default(), self.spec.installation.clone())
    }
}

/// ASCII letters in lower case, digits, and a `-` for each run of anything else between them.
fn dns_label(name: &str) -> String {
    let mut label = String::with_capacity(name.len());
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => label.push(c),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    label.truncate(label.trim_end_matches('-').len());
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(porter_namespace: &str, name: &str) -> InstallationId {
        InstallationId { kube_namespace: "apps".into(), porter_namespace: porter_namespace.into(), name: name.into() }
    }

    #[test]
    fn a_release_is_named_after_its_installation() {
        let long = "a".repeat(100);
        let cases = [
            ("dev", "wordpress", "wordpress-"),
            ("", "wordpress", "wordpress-"),
            ("dev", "My Blog_2", "my-blog-2-"),
            ("dev", "--x--", "x-"),
            ("dev", "äöü", ""),
            ("dev", "", ""),
            ("dev", &long, &format!("{}-", "a".repeat(54))),
            ("dev", &format!("{}-{}", "a".repeat(53), "b".repeat(9)), &format!("{}-", "a".repeat(53))),
        ];
        for (namespace, name, begin) in cases {
            let object = BundleRelease::object_name(&id(namespace, name));
            assert!(object.starts_with(begin), "{name}: {object}");
            assert_eq!(object.len(), begin.len() + 8, "{name}: {object}");
            assert!(object.len() <= MAX_LABEL, "{name}: {object}");
        }
    }

    #[test]
    fn the_name_follows_the_porter_identity_and_nothing_else() {
        let name = BundleRelease::object_name(&id("dev", "wordpress"));
        assert_eq!(name, "wordpress-ffbf5fcd");
        let elsewhere = InstallationId { kube_namespace: "other".into(), ..id("dev", "wordpress") };
        assert_eq!(BundleRelease::object_name(&elsewhere), name);
        for other in [id("prod", "wordpress"), id("", "wordpress"), id("dev", "Wordpress"), id("dev/wordpress", "")] {
            assert_ne!(BundleRelease::object_name(&other), name, "{other}");
        }
    }

    #[test]
    fn an_id_prints_for_people() {
        assert_eq!(id("dev", "wordpress").to_string(), "apps: dev/wordpress");
        assert_eq!(id("", "wordpress").to_string(), "apps: /wordpress");
    }
}
