//! What the watches tell while the scenarios are played, of all namespaces at once.
//!
//! Guarantee: nothing that was told is forgotten, so what came and went is compared too. It may not know what was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use base64::Engine;
use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::{PORTER, action_key, lock};

const WATCHED: [(&str, &str, &str); 6] = [
    (PORTER.0, PORTER.1, "Installation"),
    (PORTER.0, PORTER.1, "CredentialSet"),
    (PORTER.0, PORTER.1, "ParameterSet"),
    (PORTER.0, PORTER.1, "AgentConfig"),
    (PORTER.0, PORTER.1, "AgentAction"),
    ("batch", "v1", "Job"),
];

/// Every watch event of every namespace.
#[derive(Default)]
pub(crate) struct Recorder {
    seen: Mutex<Vec<(&'static str, DynamicObject)>>,
}

/// What was seen in one namespace.
pub(crate) struct Seen {
    objects: Vec<(&'static str, DynamicObject)>,
    pub(crate) histories: BTreeMap<String, Vec<Value>>,
}

impl Recorder {
    pub(crate) fn start(client: &Client) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        for (group, version, kind) in WATCHED {
            let resource = kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let recorder = Arc::clone(&recorder);
            tokio::spawn(async move {
                let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
                while let Some(event) = events.next().await {
                    if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
                        lock(&recorder.seen).push((kind, object));
                    }
                }
            });
        }
        recorder
    }

    /// What was seen in a namespace, without those AgentActions and their Jobs.
    pub(crate) fn of(&self, namespace: &str, without: &BTreeSet<String>) -> Seen {
        let seen = lock(&self.seen);
        let of_namespace = |(_, object): &&(&str, DynamicObject)| object.namespace().as_deref() == Some(namespace);
        let mut objects: Vec<_> = seen.iter().filter(of_namespace).cloned().collect();
        let is_without =
            |(kind, object): &(&str, DynamicObject)| *kind == "AgentAction" && without.contains(&action_key(object));
        let left_out: BTreeSet<_> =
            objects.iter().filter(|seen| is_without(seen)).map(|(_, action)| action.name_any()).collect();
        objects.retain(|(kind, object)| match *kind {
            "AgentAction" => !left_out.contains(&object.name_any()),
            "Job" => object.labels().get("getporter.org/resourceName").is_none_or(|name| !left_out.contains(name)),
            _ => true,
        });
        let mut histories: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (kind, object) in objects.iter().filter(|(kind, _)| *kind != "Job") {
            let Some(status) = object.data.get("status").filter(|status| status.get("observedGeneration").is_some())
            else {
                continue;
            };
            let name = match *kind {
                "AgentAction" => action_key(object),
                kind => format!("{kind}/{}", object.name_any()),
            };
            histories.entry(name).or_default().push(status.clone());
        }
        Seen { objects, histories }
    }
}

impl Seen {
    pub(crate) fn actions(&self) -> BTreeMap<String, Value> {
        let told = |(kind, action): &(&'static str, DynamicObject)| {
            (*kind == "AgentAction").then(|| {
                let spec = &action.data["spec"];
                let files: BTreeMap<_, _> = spec["files"].as_object().into_iter().flatten().collect();
                let files: BTreeMap<_, _> = files.into_iter().map(|(name, text)| (name, decoded(text))).collect();
                let own = action.labels().keys().filter(|label| !label.starts_with("getporter.org/"));
                let owners = action.owner_references().iter();
                let owners: Vec<_> = owners.map(|owner| format!("{}/{}", owner.kind, owner.name)).collect();
                let told = json!({
                    "args": spec["args"], "files": files, "labels": own.collect::<Vec<_>>(),
                    "annotations": action.annotations(), "owners": owners,
                });
                (action_key(action), told)
            })
        };
        // The first time that each was seen counts.
        self.objects.iter().rev().filter_map(told).collect()
    }

    pub(crate) fn jobs(&self) -> Vec<Value> {
        let actions = self.objects.iter().filter(|(kind, _)| *kind == "AgentAction");
        let keys: BTreeMap<_, _> = actions.map(|(_, action)| (action.name_any(), action_key(action))).collect();
        let told = |(kind, job): &(&'static str, DynamicObject)| {
            (*kind == "Job").then(|| {
                let spec = &job.data["spec"];
                let container = &spec["template"]["spec"]["containers"][0];
                let action = job.labels().get("getporter.org/resourceName").and_then(|name| keys.get(name));
                let own = job.labels().keys().filter(|label| !label.starts_with("getporter.org/"));
                let mut told = json!({
                    "action": action, "backoffLimit": spec["backoffLimit"], "ttl": spec["ttlSecondsAfterFinished"],
                    "image": container["image"], "args": container["args"], "labels": own.collect::<Vec<_>>(),
                });
                let volumes = spec["template"]["spec"]["volumes"].as_array().into_iter().flatten();
                for volume in volumes.filter(|volume| volume["name"] == "porter-plugins") {
                    let claim = volume["persistentVolumeClaim"]["claimName"].as_str().unwrap_or_default();
                    let hash = claim.strip_prefix("porter-").filter(|hash| hash.len() == 32);
                    told["plugins"] = if hash.is_some() { "porter-<hash>" } else { "temporary" }.into();
                }
                told
            })
        };
        self.objects.iter().filter_map(told).collect()
    }
}

fn decoded(text: &Value) -> String {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap_or_default());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}
