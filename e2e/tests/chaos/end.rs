//! What stands at the end of a life, without what differs from one to the next.

use std::collections::BTreeMap;

use anyhow::Result;
use api::porter::{AgentAction, AgentConfig, Installation, ParameterSet, label};
use api::{BundleRelease, BundleSync};
use k8s_openapi::api::core::v1::ConfigMap;
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

impl Life {
    /// The end, once it is the expected one, or once nothing changes any more.
    pub(crate) async fn end(&self, expected: Option<&Value>) -> Result<Value> {
        let began = tokio::time::Instant::now();
        let (mut last, mut since) = (Value::Null, began);
        loop {
            let now = tokio::time::Instant::now();
            // Nobody answers when a server is away.
            if let Ok(state) = self.state().await {
                if state != last {
                    (last, since) = (state, now);
                }
                let right = expected.is_none_or(|expected| *expected == last);
                if now - since > STILL && (right || now - began > SETTLES) {
                    return Ok(last);
                }
            }
            tokio::time::sleep(STILL / 8).await;
        }
    }

    async fn state(&self) -> Result<Value> {
        let state = json!({
            "ran": self.ran(),
            "overlaps": self.world.runner.overlaps().len(),
            "porter": self.records(),
            "installations": self.list::<Installation>("/spec").await?,
            "parameter sets": self.list::<ParameterSet>("/spec").await?,
            "config maps": self.list::<ConfigMap>("/data").await?,
            "agent configs": self.list::<AgentConfig>("/spec").await?,
            "runs": self.agent_actions().await?,
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
    fn ran(&self) -> BTreeMap<String, Vec<String>> {
        let mut ran = BTreeMap::<String, Vec<String>>::new();
        for run in self.world.runner.executions() {
            let (size, result) = (run.parameters.get("size"), run.succeeded);
            ran.entry(run.installation.1).or_default().push(format!("{} of {size:?}: {result:?}", run.action));
        }
        ran
    }

    /// What Porter has.
    fn records(&self) -> BTreeMap<String, bool> {
        let runner = &self.world.runner;
        let records = runner.records().into_iter();
        records.map(|(namespace, name)| (name.clone(), runner.is_installed(&namespace, &name))).collect()
    }

    async fn all<K>(&self) -> Result<Vec<K>>
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

    /// The AgentActions, each by what it is for.
    async fn agent_actions(&self) -> Result<Vec<String>> {
        let told = |action: AgentAction| {
            let part = |key: &str| action.labels().get(key).cloned().unwrap_or_default();
            let (kind, name) = (part(label::RESOURCE_KIND), part(label::RESOURCE_NAME));
            let (generation, purpose) = (part(label::RESOURCE_GENERATION), part(api::PURPOSE_LABEL));
            let conditions = action.status.map(|status| status.conditions).unwrap_or_default();
            let is = conditions.into_iter().filter(|condition| condition.status == "True");
            let is: Vec<String> = is.map(|condition| condition.type_).collect();
            format!("{kind} {name} {generation} {purpose} {is:?}")
        };
        let mut actions: Vec<String> = self.all::<AgentAction>().await?.into_iter().map(told).collect();
        actions.sort();
        Ok(actions)
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

/// Without what is of one life.
fn without(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let stays = fields.into_iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
            Value::Object(stays.map(|(name, value)| (name, without(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without).collect()),
        other => other,
    }
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
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for name in names {
        let of = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
        differ(&format!("{path}/{name}"), &of(one), &of(other), told);
    }
}
