//! What stands at the end of a life, without what differs from one to the next.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use api::porter::{AgentAction, AgentConfig, Installation, ParameterSet, label};
use api::{BundleRelease, BundleSync};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use kube::api::{Api, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::flows::Life;
use crate::{SETTLES, STILL};

/// Fields whose values are those of one life: names and identities that are drawn, times, digests of a spec that holds the
/// namespace, and texts that tell of them.
const OWN: [&str; 12] = [
    "action",
    "digest",
    "finished",
    "failedAt",
    "history",
    "lastTransitionTime",
    "message",
    "noted",
    "observedGeneration",
    "reason",
    "started",
    "uid",
];

/// An AgentAction of the controller's own.
const OURS: &str = "ours, to";
/// An AgentAction that something was made for, and that does not stand any more.
const GONE: &str = "an AgentAction that is gone";

impl Life {
    /// The end, once it is the expected one, or, where none is known, a sound one; or once nothing changes any more.
    pub(crate) async fn end(&self, expected: Option<&Value>) -> Result<Value> {
        let began = tokio::time::Instant::now();
        let (mut last, mut since) = (Value::Null, began);
        loop {
            let now = tokio::time::Instant::now();
            let mut pause = STILL / 2;
            // Nobody answers when a server is away.
            if let Ok(state) = self.state().await {
                if state != last {
                    (last, since) = (state, now);
                }
                let right = expected.map_or_else(|| is_sound(&last).is_ok(), |expected| *expected == last);
                if now - since > STILL && (right || now - began > SETTLES) {
                    return Ok(last);
                }
                if right {
                    pause = STILL;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn state(&self) -> Result<Value> {
        let actions = self.all::<AgentAction>().await?;
        let state = json!({
            "ran": self.actions(),
            "overlaps": self.world.runner.overlaps().len(),
            "porter": self.records(),
            "installations": self.list::<Installation>("/spec").await?,
            "parameter sets": self.list::<ParameterSet>("/spec").await?,
            "config maps": self.list::<ConfigMap>("/data").await?,
            "agent configs": self.list::<AgentConfig>("/spec").await?,
            "runs": sorted(actions.iter().map(told)),
            "left behind": self.left_behind(&actions).await?,
            "releases": self.releases().await?,
            "syncs": self.syncs().await?,
        });
        let mut text = state.to_string().replace(&self.world.namespace, "NAMESPACE");
        for (number, commit) in self.commits().iter().enumerate() {
            text = text.replace(commit, &format!("COMMIT {number}"));
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// The bundle actions of each installation, in their order.
    fn actions(&self) -> BTreeMap<String, Vec<String>> {
        let mut ran = BTreeMap::<String, Vec<String>>::new();
        for run in self.world.runner.executions() {
            let (size, result) = (run.parameters.get("size"), run.succeeded);
            ran.entry(run.installation.1).or_default().push(format!("{} of {size:?}: {result:?}", run.action));
        }
        ran
    }

    /// What Porter has.
    fn records(&self) -> BTreeMap<String, bool> {
        let records = tokio::task::block_in_place(|| self.world.runner.installations());
        records.into_iter().map(|((_, name), installed)| (name, installed)).collect()
    }

    pub(crate) async fn all<K>(&self) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api = Api::<K>::namespaced(self.world.client.clone(), &self.world.namespace);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    /// Objects by name: a part of each, and whose it is.
    async fn list<K>(&self, part: &str) -> Result<BTreeMap<String, Value>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let told = |object: K| {
            let whole = serde_json::to_value(&object)?;
            let told = json!({
                "part": whole.pointer(part),
                "generation": object.meta().generation,
                "labels": object.labels(),
                "finalizers": object.finalizers(),
                "deleted": object.meta().deletion_timestamp.is_some(),
            });
            anyhow::Ok((object.name_any(), told))
        };
        self.all::<K>().await?.into_iter().map(told).collect()
    }

    /// What the operator and Porter made for AgentActions: by what each of these is for, also when it is gone.
    async fn left_behind(&self, actions: &[AgentAction]) -> Result<Vec<String>> {
        let jobs = format!("{}={}", label::JOB_TYPE, label::JOB_TYPE_INSTALLER);
        let mut left = self.labels_of::<Job>(&jobs).await?;
        left.extend(self.labels_of::<PersistentVolumeClaim>("").await?);
        left.extend(self.labels_of::<Secret>("").await?);
        let whose = |(kind, labels): (String, BTreeMap<String, String>)| {
            let name = labels.get(label::RESOURCE_NAME)?;
            let action = actions.iter().find(|action| action.name_any() == *name);
            let gone = || format!("{GONE}, of {}", name.rsplit_once('-').map_or(name.as_str(), |(of, _)| of));
            Some(format!("{kind} of {}", action.map_or_else(gone, told)))
        };
        let of_actions = left
            .into_iter()
            .filter(|(_, labels)| labels.get(label::RESOURCE_KIND).is_some_and(|kind| kind == "AgentAction"));
        Ok(sorted(of_actions.filter_map(whose)))
    }

    async fn labels_of<K>(&self, selector: &str) -> Result<Vec<(String, BTreeMap<String, String>)>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api = Api::<K>::namespaced(self.world.client.clone(), &self.world.namespace);
        let found = api.list_metadata(&ListParams::default().labels(selector)).await?;
        Ok(found.into_iter().map(|object| (K::kind(&()).into_owned(), object.labels().clone())).collect())
    }

    async fn releases(&self) -> Result<BTreeMap<String, Value>> {
        let told = |release: BundleRelease| {
            let told = json!({"spec": release.spec, "status": release.status});
            (release.spec.installation.name.clone(), without(told))
        };
        Ok(self.all::<BundleRelease>().await?.into_iter().map(told).collect())
    }

    async fn syncs(&self) -> Result<BTreeMap<String, Value>> {
        let told = |sync: BundleSync| {
            let ready = sync.ready().map(|ready| [ready.status.clone(), ready.reason.clone(), ready.message.clone()]);
            let told = json!({"finalizers": sync.finalizers(), "ready": ready, "status": sync.status});
            (sync.name_any(), without(told))
        };
        Ok(self.all::<BundleSync>().await?.into_iter().map(told).collect())
    }
}

/// What an AgentAction is for, and how far it came.
fn told(action: &AgentAction) -> String {
    let part = |key: &str| action.labels().get(key).cloned().unwrap_or_default();
    let (kind, name) = (part(label::RESOURCE_KIND), part(label::RESOURCE_NAME));
    let (generation, purpose) = (part(label::RESOURCE_GENERATION), part(api::PURPOSE_LABEL));
    let conditions = action.status.iter().flat_map(|status| &status.conditions);
    let is: Vec<&str> = conditions.filter(|is| is.status == "True").map(|is| is.type_.as_str()).collect();
    if purpose.is_empty() { format!("{kind} {name} {generation} {is:?}") } else { format!("{OURS} {purpose} {is:?}") }
}

fn sorted(told: impl Iterator<Item = String>) -> Vec<String> {
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

/// Without what is of one life.
fn without(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let stays = fields.into_iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
            Value::Object(stays.map(|(name, value)| (name, without(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without).collect()),
        // Of anything: it may be keyed.
        Value::String(text) if is_digest(&text) => "a digest".into(),
        other => other,
    }
}

/// Whether a text ends with what is as long as a digest.
fn is_digest(text: &str) -> bool {
    let digest = text.rsplit(':').next().unwrap_or_default();
    digest.len() >= 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Fails when an end is none, whatever the flow: something is still going on, was on beside another, or was forgotten.
pub(crate) fn is_sound(end: &Value) -> Result<()> {
    ensure!(end["overlaps"] == 0, "two actions of one installation were on at once");
    for (name, sync) in end["syncs"].as_object().into_iter().flatten() {
        ensure!(sync["ready"][0] == "True", "the sync {name} is not ready: {}", sync["ready"]);
        let told = &sync["status"]["installations"];
        let done = ["total", "ready"].map(|count| told[count].as_i64().unwrap_or_default());
        ensure!(done[0] == done[1] && told["uninstalling"].as_i64().unwrap_or_default() == 0, "{name} tells of {told}");
    }
    for kind in ["installations", "parameter sets", "config maps", "agent configs"] {
        let mut objects = end[kind].as_object().into_iter().flatten();
        ensure!(objects.all(|(_, object)| object["deleted"] == false), "of the {kind} one is being deleted");
    }
    let runs = end["runs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let is_over = |run: &str| run.contains("Completed") || run.contains("Failed");
    let open: Vec<_> = runs.filter(|run| !is_over(run) || run.contains(OURS)).collect();
    ensure!(open.is_empty(), "AgentActions that are not over, or ours: {open:?}");
    nothing_is_unrecorded(end)?;
    nothing_is_forgotten(end)
}

/// Fails when an Installation stands that is ours, by our finalizer or by whose it says it is, and that no release has.
fn nothing_is_unrecorded(end: &Value) -> Result<()> {
    let releases = end["releases"].as_object().into_iter().flatten();
    let known: BTreeSet<&str> = releases.filter_map(|(_, release)| release["spec"]["objectName"].as_str()).collect();
    for (name, object) in end["installations"].as_object().into_iter().flatten() {
        let held = object["finalizers"].as_array().is_some_and(|all| all.iter().any(|is| is == api::FINALIZER));
        let ours = held || object["labels"].get(api::OWNER_NAME_LABEL).is_some();
        ensure!(!ours || known.contains(name.as_str()), "the Installation {name} is ours, and no release has it");
    }
    Ok(())
}

/// Fails when something stands that was made for an AgentAction which is gone: but for the one by which the operator deletes
/// a set, which goes with the set.
fn nothing_is_forgotten(end: &Value) -> Result<()> {
    let left = end["left behind"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let of_set = format!("of {}", crate::flows::SET_NAME);
    let went = end["parameter sets"].get(crate::flows::SET_NAME).is_none();
    let left: Vec<_> = left.filter(|left| left.contains(GONE) && !(went && left.ends_with(&of_set))).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// Where two ends differ, by the path of each value.
pub(crate) fn difference(expected: &Value, is: &Value) -> String {
    let mut told = Vec::new();
    differ("", expected, is, &mut told);
    told.join("\n")
}

fn differ(path: &str, expected: &Value, is: &Value, told: &mut Vec<String>) {
    let (Value::Object(one), Value::Object(other)) = (expected, is) else {
        if expected != is {
            told.push(format!("  {path}: expected {expected}, is {is}"));
        }
        return;
    };
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for name in names {
        let of = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
        differ(&format!("{path}/{name}"), &of(one), &of(other), told);
    }
}
