//! `metadata` of an object: what is kept of it, what is dropped, and what is refused.

use std::collections::BTreeMap;

use manifest::yaml::Node;
use manifest::{Diagnostic, Location, Object, Renaming};
use serde_json::{Map, Value, json};

use crate::name;

/// What the API server or kubectl wrote into an object that was exported; it says nothing of what is desired.
const DROPPED: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is kept of an object's `metadata`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// What [`api::INVOKE`] says, and where.
    pub(crate) invoke: Option<(String, Location)>,
    /// What [`api::DEPENDS_ON`] says, and where.
    pub(crate) depends_on: Option<(String, Location)>,
}

impl Metadata {
    /// Reads `metadata`, with the namespace filled in. `name_fault` says what is wrong with a name of this kind.
    pub(crate) fn read(
        object: &Object,
        default_namespace: &str,
        name_fault: fn(&str) -> Option<String>,
        faults: &mut Vec<Diagnostic>,
    ) -> Self {
        let start = object.location();
        let empty = Node::mapping::<&str>([]);
        let node = object.node.get("metadata").unwrap_or(&empty);
        let mut read = Self { namespace: default_namespace.to_owned(), ..Self::default() };
        let Some(entries) = node.as_mapping() else {
            faults.push(Diagnostic::at(place(node, &start), "metadata has to be a mapping"));
            return read;
        };
        for (key, value) in entries {
            let at = value.at.clone().or_else(|| key.at.clone()).unwrap_or_else(|| start.clone());
            let mut refuse = |message: String| faults.push(Diagnostic::at(at.clone(), message));
            match &*key.name {
                "name" => match value.as_str() {
                    Some(text) => text.clone_into(&mut read.name),
                    None => refuse(format!("metadata.name has to be a string, and is {}", value.type_name())),
                },
                "namespace" => match value.as_str() {
                    Some("") => {}
                    Some(text) => {
                        text.clone_into(&mut read.namespace);
                        if let Some(fault) = name::dns_label_fault(text) {
                            let by = object.spoilt_by(text, |before| &before.namespace, name::dns_label_fault);
                            refuse(format!("metadata.namespace {text:?} {fault}{}", made_by(by)));
                        }
                    }
                    None if value.is_null() => {}
                    None => refuse(format!("metadata.namespace has to be a string, and is {}", value.type_name())),
                },
                "labels" => read.labels = texts(value, "metadata.labels", &at, label_fault, faults),
                "annotations" => {
                    read.annotations = texts(value, "metadata.annotations", &at, annotation_fault, faults);
                    read.annotations.remove(LAST_APPLIED);
                    let mut take = |key: &str| {
                        let at = value.get(key).map_or_else(|| at.clone(), |said| place(said, &start));
                        read.annotations.remove(key).map(|said| (said, at))
                    };
                    (read.depends_on, read.invoke) = (take(api::DEPENDS_ON), take(api::INVOKE));
                }
                "generateName" => {
                    refuse("metadata.generateName makes a new object at every apply: write metadata.name".to_owned())
                }
                "finalizers" | "ownerReferences" => refuse(format!(
                    "metadata.{} belongs to the controllers in the cluster: remove it from the source",
                    key.name
                )),
                dropped if DROPPED.contains(&dropped) => {}
                unknown => refuse(format!("metadata.{unknown} is no field here: correct or remove it")),
            }
        }
        let at = node.get("name").map_or_else(|| place(node, &start), |name| place(name, &start));
        if read.name.is_empty() {
            if node.get("name").is_none_or(|name| name.as_str().is_some()) {
                faults.push(Diagnostic::at(at, "metadata.name is missing: add it"));
            }
        } else if let Some(fault) = name_fault(&read.name) {
            let by = object.spoilt_by(&read.name, |before| &before.name, name_fault);
            faults.push(Diagnostic::at(at, format!("metadata.name {:?} {fault}{}", read.name, made_by(by))));
        }
        read
    }

    /// Of any other kind than an Installation.
    pub(crate) fn refuse_for_installations(&self, faults: &mut Vec<Diagnostic>) {
        for (key, said) in [(api::DEPENDS_ON, &self.depends_on), (api::INVOKE, &self.invoke)] {
            faults
                .extend(said.iter().map(|(_, at)| {
                    Diagnostic::at(at.clone(), format!("{key} is for an Installation: remove it here"))
                }));
        }
    }

    /// As it is written to the API server.
    pub(crate) fn to_json(&self) -> Value {
        let mut metadata = Map::new();
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(self.annotations));
        }
        if !self.labels.is_empty() {
            metadata.insert("labels".to_owned(), json!(self.labels));
        }
        metadata.insert("name".to_owned(), json!(self.name));
        metadata.insert("namespace".to_owned(), json!(self.namespace));
        Value::Object(metadata)
    }
}

fn texts(
    node: &Node,
    path: &str,
    near: &Location,
    fault: fn(&str, &str) -> Option<String>,
    faults: &mut Vec<Diagnostic>,
) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    if node.is_null() {
        return read;
    }
    let Some(entries) = node.as_mapping() else {
        faults.push(Diagnostic::at(near.clone(), format!("{path} has to be a mapping, and is {}", node.type_name())));
        return read;
    };
    for (key, value) in entries {
        let at = key.at.clone().or_else(|| value.at.clone()).unwrap_or_else(|| near.clone());
        let key = &*key.name;
        let Some(text) = value.as_str() else {
            let message = format!("{path}: {key} has to be a string, and is {}: put it in quotes", value.type_name());
            faults.push(Diagnostic::at(at, message));
            continue;
        };
        if let Some(fault) = fault(key, text) {
            faults.push(Diagnostic::at(at, format!("{path}: {key} {fault}")));
        }
        read.insert(key.to_owned(), text.to_owned());
    }
    read
}

/// What is wrong with labels and annotations that are meant for every object.
#[must_use]
pub fn common_metadata_faults(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Vec<String> {
    let labels = labels.iter().filter_map(|(key, value)| Some(format!("labels: {key} {}", label_fault(key, value)?)));
    let annotations = annotations
        .iter()
        .filter_map(|(key, value)| Some(format!("annotations: {key} {}", annotation_fault(key, value)?)));
    labels.chain(annotations).collect()
}

fn label_fault(key: &str, value: &str) -> Option<String> {
    if key == api::OWNER_NAME_LABEL || key == api::OWNER_NAMESPACE_LABEL {
        return Some("says which BundleSync owns the object, and is written by the controller: remove it".to_owned());
    }
    if key.starts_with(api::porter::RESERVED_PREFIX) {
        return Some("has the prefix by which the operator tells its runs apart, and can make it start them without end: remove it".to_owned());
    }
    name::qualified_name_fault(key)
        .or_else(|| name::label_value_fault(value).map(|fault| format!("has the value {value:?}, which {fault}")))
}

fn annotation_fault(key: &str, _value: &str) -> Option<String> {
    if key == api::DEPENDS_ON || key == api::INVOKE {
        return None;
    }
    if key.starts_with("flux.getporter.org/") {
        return Some(format!("is not known: correct or remove it; known are {} and {}", api::DEPENDS_ON, api::INVOKE));
    }
    if key == api::porter::RETRY {
        return Some(
            "starts a second run beside the first, which undoes nothing of a failed upgrade: remove it".to_owned(),
        );
    }
    name::qualified_name_fault(key)
}

fn place(node: &Node, start: &Location) -> Location {
    node.at.clone().unwrap_or_else(|| start.clone())
}

/// Who has to be asked about a name that is wrong, when that is not its document.
fn made_by(renaming: Option<&Renaming>) -> String {
    renaming.map(|renaming| format!("; it is so since {}", renaming.by)).unwrap_or_default()
}
