//! What is desired as the files that stand for it.
//!
//! Guarantee: equal desired states give equal bytes, and no two objects share a file.

use std::collections::BTreeMap;

use manifest::yaml::{self, Node};
use manifest::{Diagnostic, Diagnostics, Location, ObjectId, Origin};
use porter::{Desired, DesiredInstallation};
use serde_json::{Value, json};

/// The contents of files by their paths, `/` between the parts.
pub(crate) type Documents = BTreeMap<String, String>;

/// Where an installation is written.
pub(crate) fn installation_file(kube_namespace: &str, object_name: &str) -> String {
    format!("{kube_namespace}/{object_name}.yaml")
}

/// Where any other object is written.
pub(crate) fn object_file(id: &ObjectId) -> String {
    format!("{}/{}-{}.yaml", id.namespace, id.kind.to_lowercase(), id.name)
}

/// All that is desired, as files.
///
/// # Errors
/// When two objects would be written to one file.
pub(crate) fn render(desired: &Desired) -> Result<Documents, Diagnostics> {
    let mut rendered: BTreeMap<String, (String, &Origin)> = BTreeMap::new();
    let mut faults = Vec::new();
    let mut add = |file: String, body: &Value, origin| {
        if let Some((_, other)) = rendered.insert(file.clone(), (text(body), origin)) {
            let at = Location { file: origin.file.clone(), line: origin.line, column: 1 };
            let message = format!("would be written to {file}, as is the document at {other}; rename one of the two");
            faults.push(Diagnostic::at(at, message));
        }
    };
    for object in desired.objects.iter().chain(&desired.sets) {
        add(object_file(&object.id), &object.body, &object.origin);
    }
    for installation in &desired.installations {
        let file = installation_file(&installation.id.kube_namespace, &installation.object_name);
        add(file, &installation_body(installation), &installation.origin);
    }
    let documents = rendered.into_iter().map(|(file, (text, _))| (file, text)).collect();
    Diagnostics::check(faults, documents)
}

/// The objects of a document that was written, as JSON; nothing when somebody made something else of it.
pub(crate) fn parse(file: &str, content: &[u8]) -> Option<Value> {
    let mut documents = yaml::parse(file, content).ok()?.into_iter();
    let document = documents.next()?;
    if documents.next().is_some() {
        return None;
    }
    document.node.to_json().ok()
}

fn installation_body(installation: &DesiredInstallation) -> Value {
    let mut metadata = json!({"name": installation.object_name, "namespace": installation.id.kube_namespace});
    for (key, map) in [("labels", &installation.labels), ("annotations", &installation.annotations)] {
        if !map.is_empty() {
            metadata[key] = json!(map);
        }
    }
    json!({
        "apiVersion": format!("{}/{}", api::porter::GROUP, api::porter::VERSION),
        "kind": "Installation",
        "metadata": metadata,
        "spec": installation.spec,
    })
}

fn text(body: &Value) -> String {
    let head = ["apiVersion", "kind", "metadata"];
    let fields = body.as_object().into_iter().flatten().collect::<BTreeMap<_, _>>();
    let first = head.iter().filter_map(|key| fields.get_key_value(&(*key).to_owned()));
    let rest = fields.iter().filter(|(key, _)| !head.contains(&key.as_str()));
    let entries = first.chain(rest).map(|(key, value)| (key.as_str(), Node::from_json(sorted(value))));
    yaml::to_string(&Node::mapping(entries))
}

/// The same value with its keys in order, whatever order the maps of `serde_json` keep in this build.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            fields.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        scalar => scalar.clone(),
    }
}
