//! What is written, as it goes to the API server: the whole of what we own of an object, with the labels that say whose it is.
//!
//! Invariant: nothing is emitted that the operator would drop again. Whether and when it is written is not known here.

use std::collections::BTreeMap;

use api::porter::Installation;
use api::{Resource, SyncRef};
use manifest::ObjectId;
use porter::{DesiredInstallation, DesiredObject};
use serde_json::{Value, json};

use crate::agent;
use crate::drift;
use crate::input::LiveInstallation;
use crate::object::is_run;
use crate::planner::Planner;
use crate::release;
use crate::seen::Seen;
use crate::step::{Apply, Precondition};

impl Planner<'_> {
    /// The labels that are asked for, with those that say whose it is. Local documents are nobody's.
    pub(crate) fn labels<'b>(
        &'b self,
        asked: &'b BTreeMap<String, String>,
    ) -> impl Iterator<Item = (&'b str, &'b str)> {
        let owner = self.runs_are_awaited().then(|| release::owner_labels(self.input.sync));
        let asked = asked.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        asked.filter(|(key, _)| !is_owner_label(key)).chain(owner.into_iter().flatten())
    }

    /// An object of the source, with the AgentConfig that makes its run, where it has one, happen once.
    pub(crate) fn apply_object(&self, object: &DesiredObject, precondition: Precondition) -> Apply {
        let mut body = object.body.clone();
        if is_run(&object.id) {
            body["spec"] = self.with_agent(&body["spec"]);
        }
        let labels = string_map(&body["metadata"]["labels"]);
        set_map(&mut body["metadata"], "labels", self.labels(&labels));
        Apply { id: object.id.clone(), body, precondition }
    }

    /// An Installation of the source.
    pub(crate) fn apply_installation(
        &self,
        desired: &DesiredInstallation,
        seen: Option<&Seen<'_>>,
        precondition: Precondition,
    ) -> Apply {
        let mut apply = self.apply_spec(&desired.id.kube_namespace, &desired.object_name, &desired.spec, precondition);
        apply.body["spec"] = self.written(&desired.spec, seen);
        let metadata = &mut apply.body["metadata"];
        set_map(metadata, "labels", self.labels(&desired.labels));
        let annotations = desired.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        set_map(metadata, "annotations", annotations);
        apply
    }

    /// The spec of an Installation as it is written. What one of ours wrote and stands as asked keeps the AgentConfig that it
    /// stands with, whoever manages that by now: what else is written of it runs nothing.
    pub(crate) fn written(&self, spec: &Value, seen: Option<&Seen<'_>>) -> Value {
        let ours = |live: &LiveInstallation| SyncRef::owner_of(&live.object).is_some() || api::is_held(&live.object);
        let stands = |seen: &&Seen<'_>| ours(seen.live) && drift::installation_spec(spec, &seen.spec).is_empty();
        match seen.filter(stands) {
            Some(seen) => agent::kept(spec, seen.live.object.spec.agent_config.as_ref()),
            None => self.with_agent(spec),
        }
    }

    /// An Installation of ours with a spec.
    pub(crate) fn apply_spec(
        &self,
        kube_namespace: &str,
        object_name: &str,
        spec: &Value,
        precondition: Precondition,
    ) -> Apply {
        let id = id::<Installation>(kube_namespace, object_name);
        let mut metadata = json!({"name": id.name, "namespace": id.namespace});
        set_map(&mut metadata, "labels", self.labels(&BTreeMap::new()));
        if self.runs_are_awaited() {
            metadata["finalizers"] = json!([api::FINALIZER]);
        }
        Apply { id, body: body::<Installation>(metadata, self.with_agent(spec)), precondition }
    }
}

/// An object of a kind, by its name.
pub(crate) fn id<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> ObjectId {
    ObjectId {
        group: K::group(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// What names an object.
pub(crate) fn id_of<K: Resource<DynamicType = ()>>(object: &K) -> ObjectId {
    let metadata = object.meta();
    id::<K>(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// An object of a kind with this spec, as JSON.
pub(crate) fn body<K: Resource<DynamicType = ()>>(metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": metadata, "spec": spec})
}

pub(crate) fn is_owner_label(key: &str) -> bool {
    key == api::OWNER_NAME_LABEL || key == api::OWNER_NAMESPACE_LABEL
}

pub(crate) fn string_map(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Sets a map of strings, or leaves it out when it is empty.
fn set_map<'b>(metadata: &mut Value, key: &str, entries: impl Iterator<Item = (&'b str, &'b str)>) {
    let map: serde_json::Map<String, Value> = entries.map(|(key, value)| (key.to_owned(), value.into())).collect();
    if !map.is_empty() {
        metadata[key] = map.into();
    }
}
