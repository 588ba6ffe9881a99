//! Documents to objects.

use std::collections::HashMap;

use manifest::yaml::{Document, Node, Value};
use manifest::{Diagnostic, Location, Object, ObjectId, Origin};

use crate::DocumentHook;

/// Collects the objects of documents, and the faults.
pub(crate) struct Collector<'a> {
    hook: Option<DocumentHook<'a>>,
    objects: Vec<Object>,
    places: HashMap<ObjectId, Location>,
    faults: Vec<Diagnostic>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(hook: Option<DocumentHook<'a>>) -> Self {
        Self { hook, objects: Vec::new(), places: HashMap::new(), faults: Vec::new() }
    }

    /// The objects in the order of their documents, and all that was wrong.
    pub(crate) fn finish(self) -> (Vec<Object>, Vec<Diagnostic>) {
        (self.objects, self.faults)
    }

    pub(crate) fn document(&mut self, document: Document) {
        let node = &document.node;
        if node.as_mapping().is_none() {
            let message = format!("not a Kubernetes object: the document is {}, not a mapping", node.type_name());
            self.faults.push(node.fault(message));
            return;
        }
        // SOPS adds this key beside the fields of the object.
        if let Some(sops) =
            node.key("sops").filter(|_| node.get("sops").is_some_and(|sops| sops.as_mapping().is_some()))
        {
            let at = sops.at.clone();
            let message = "the document is encrypted with SOPS, which is not decrypted yet: keep secrets elsewhere";
            self.faults.push(Diagnostic { at, message: message.to_owned() });
            return;
        }
        let is_object = node.get("apiVersion").is_some() && node.get("kind").is_some();
        let made = if is_object { None } else { self.hook.and_then(|hook| hook(&document)) };
        match made {
            None => self.node(document.node, document.origin),
            Some(Ok(node)) => self.node(node, document.origin),
            Some(Err(faults)) => self.faults.extend(faults),
        }
    }

    fn node(&mut self, node: Node, origin: Origin) {
        let object = Object { node, origin };
        match object_faults(&object) {
            faults if !faults.is_empty() => self.faults.extend(faults),
            _ if is_list(&object) => self.list(object),
            _ => self.object(object),
        }
    }

    /// The items of a list, each in place of the list.
    fn list(&mut self, mut list: Object) {
        let origin = list.origin;
        let Some(items) = list.node.remove("items") else { return };
        match items.value {
            Value::Sequence(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    if item.as_mapping().is_none() {
                        let message =
                            format!("item {index} of the list is {}, not a Kubernetes object", item.type_name());
                        self.faults.push(item.fault(message));
                        continue;
                    }
                    let line = item.at.as_ref().map_or(origin.line, |at| at.line);
                    self.node(item, Origin { line, ..origin.clone() });
                }
            }
            Value::Scalar(_) if items.is_null() => {}
            _ => self.faults.push(items.fault(format!("`items` of a list is {}, not a list", items.type_name()))),
        }
    }

    fn object(&mut self, object: Object) {
        let faults = name_faults(&object);
        if !faults.is_empty() {
            self.faults.extend(faults);
            return;
        }
        let (id, place) = (object.id(), place(&object));
        if let Some(first) = self.places.get(&id) {
            let message = format!("{id} is there twice; it is first given at {}:{}", first.file, first.line);
            self.faults.push(Diagnostic::at(place, message));
            return;
        }
        self.places.insert(id, place);
        self.objects.push(object);
    }
}

/// Where the content of an object begins.
fn place(object: &Object) -> Location {
    object.node.at.clone().unwrap_or_else(|| object.location())
}

/// A list by Kustomize's rule: its kind ends in `List`, and it has items.
fn is_list(object: &Object) -> bool {
    object.kind().ends_with("List") && object.node.get("items").is_some()
}

/// What is wrong with the fields that tell the type of an object.
fn object_faults(object: &Object) -> Vec<Diagnostic> {
    ["apiVersion", "kind"]
        .into_iter()
        .filter_map(|field| match object.node.get(field) {
            Some(node) => text_fault(object, node, field),
            None => Some(Diagnostic::at(place(object), format!("not a Kubernetes object: `{field}` is missing"))),
        })
        .collect()
}

/// What is wrong with the fields that tell objects of a type apart.
fn name_faults(object: &Object) -> Vec<Diagnostic> {
    let id = object.id();
    let Some(metadata) = object.node.get("metadata").filter(|metadata| !metadata.is_null()) else {
        return vec![Diagnostic::at(place(object), format!("{} has no `metadata.name`", id.kind))];
    };
    if metadata.as_mapping().is_none() {
        return vec![metadata.fault(format!("`metadata` is {}, not a mapping", metadata.type_name()))];
    }
    let mut faults = Vec::new();
    match metadata.get("name") {
        Some(name) => faults.extend(text_fault(object, name, "metadata.name")),
        None if metadata.get("generateName").is_some() => faults.push(metadata.fault(format!(
            "{} has no `metadata.name`; `generateName` would make another object at each apply",
            id.kind
        ))),
        None => faults.push(metadata.fault(format!("{} has no `metadata.name`", id.kind))),
    }
    if let Some(namespace) = metadata.get("namespace").filter(|namespace| !namespace.is_null()) {
        faults.extend(text_fault(object, namespace, "metadata.namespace"));
    }
    faults
}

/// What is wrong with a field that has to be a string, and not an empty one.
fn text_fault(object: &Object, node: &Node, field: &str) -> Option<Diagnostic> {
    let message = match node.as_str() {
        Some("") if field == "metadata.namespace" => return None,
        Some("") => format!("`{field}` is empty"),
        Some(_) => return None,
        None if node.is_null() => format!("`{field}` is empty"),
        None => format!("`{field}` is {}, not a string; quote it when it is meant as text", node.type_name()),
    };
    Some(Diagnostic::at(node.at.clone().unwrap_or_else(|| place(object)), message))
}
