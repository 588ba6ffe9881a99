//! What a BundleSync tells of itself: how the last reconcile ended, what is applied, and what a later reconcile has to know.
//!
//! Invariant: what others than porter-flux read has Flux's form: conditions, inventory, history. It may not know what was
//! asked for.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BundleSync;
use crate::zero::is_zero;
use crate::{Condition, condition, crd};

/// What is known of the last reconcile. The ledger of each installation is its BundleRelease; this is a summary.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleSyncStatus {
    /// The generation that was last brought to an end, ready or stalled; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready; Healthy with `wait`; Reconciling, Stalled and UnsafeAgent while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crd::condition_map")]
    pub conditions: Vec<Condition>,

    /// The revision of the last artifact that was fetched and had the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,

    /// The revision of the last artifact that was applied and, with `wait`, ran successfully.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,

    /// The commit from which the last applied artifact was made, where the artifact tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_origin_revision: Option<String>,

    /// The last value of the annotation reconcile.fluxcd.io/requestedAt that a reconcile answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,

    /// The last value of the annotation reconcile.fluxcd.io/forceAt that all releases have taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_force_at: Option<String>,

    /// The objects that are applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,

    /// What is known of the runs of credential and parameter sets. One that ended well is not undone by a later run of the
    /// same generation, which begins when the Job of the first expires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_runs: Vec<SetRun>,

    /// How many installations there are, and in which states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installations: Option<InstallationsSummary>,

    /// What was uninstalled since the last confirmation, or ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,

    /// What was reconciled, the newest first: an entry for what a build asked for and how that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub history: Vec<Snapshot>,
}

/// What a build asked for, and how its reconciles ended, in Flux's form.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// `sha256:` and the hexadecimal digest of what was asked for, without the values of Secrets.
    pub digest: String,
    /// When it first ended so.
    pub first_reconciled: Time,
    /// When it last ended so.
    pub last_reconciled: Time,
    /// How long that took, the runs included.
    pub last_reconciled_duration: String,
    /// How it ended: the reason of the Ready condition.
    pub last_reconciled_status: String,
    /// How many reconciles ended so. One that found nothing to do and nothing new does not count.
    pub total_reconciliations: i64,
    /// `revision`, and `originRevision` where the artifact tells it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The installations that were uninstalled since the last confirmation.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// The revision that was confirmed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_revision: Option<String>,

    /// The generation of the BundleSync that it was confirmed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_generation: Option<i64>,

    /// Each as `kubernetes-namespace: porter-namespace/name`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub installations: BTreeSet<String>,
}

/// The applied objects, in Flux's form, so that `flux tree` and others read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Inventory {
    /// One entry per object, in the order of their ids.
    pub entries: Vec<InventoryEntry>,
}

/// One applied object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// `<namespace>_<name>_<group>_<kind>`; the group of a core kind is empty.
    pub id: String,
    /// The API version of the object, without its group.
    pub v: String,
}

/// What is known of the runs of a generation of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetRun {
    /// The set, as the inventory has it.
    pub id: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// It is to run well yet. Absent: it did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub awaited: bool,
    /// How often it was run again because it failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i32,
    /// The AgentAction that is deleted once it is over, for the operator to run the set again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
    /// The last value of the annotation reconcile.fluxcd.io/forceAt that was taken in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_at: Option<String>,
}

/// How many installations a BundleSync has, and in which states.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstallationsSummary {
    /// All that are in the source.
    pub total: i32,
    /// Their last asked spec has run successfully.
    pub ready: i32,
    /// Running now.
    pub running: i32,
    /// Their last run failed, what is asked was rolled back, or they may not be written.
    pub failed: i32,
    /// Not asked yet, or asked and not started.
    pub waiting: i32,
    /// No longer in the source, and kept. Not counted in the total.
    pub removed: i32,
    /// No longer in the source, and not gone yet. Not counted in the total.
    #[serde(default)]
    pub uninstalling: i32,
}

impl BundleSync {
    /// How many entries the history has.
    pub const MAX_HISTORY: usize = 5;

    /// The Ready condition.
    pub fn ready(&self) -> Option<&Condition> {
        self.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == condition::READY)
    }
}

impl InventoryEntry {
    /// The entry of an object. `group` and `namespace` may be empty.
    pub fn new(namespace: &str, name: &str, group: &str, kind: &str, version: &str) -> Self {
        // Flux writes the colon, which names of RBAC objects may have, as two underscores.
        let name = name.replace(':', "__");
        Self { id: format!("{namespace}_{name}_{group}_{kind}"), v: version.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inventory_ids_are_those_of_flux() {
        let cases = [
            (("dev", "llama", "getporter.org", "Installation"), "dev_llama_getporter.org_Installation"),
            (("dev", "settings", "", "ConfigMap"), "dev_settings__ConfigMap"),
            (("", "a:b", "rbac.authorization.k8s.io", "ClusterRole"), "_a__b_rbac.authorization.k8s.io_ClusterRole"),
        ];
        for ((namespace, name, group, kind), id) in cases {
            assert_eq!(InventoryEntry::new(namespace, name, group, kind, "v1").id, id);
        }
    }
}
