//! Documents of a file to resources: what is an object, and the lists that stand for several.

use std::collections::VecDeque;

use manifest::yaml::{Document, Node, Value};
use manifest::{Diagnostic, Location, Origin};

use crate::resource::Resource;
use crate::{DocumentHook, Rules};

/// Collects the resources of documents, and the faults.
pub(crate) struct Collector<'a> {
    hook: Option<DocumentHook<'a>>,
    rules: Rules,
    resources: Vec<Resource>,
    /// Items of lists: kustomize puts them behind all other documents of the file.
    items: VecDeque<(Node, Origin)>,
    faults: Vec<Diagnostic>,
}

impl<'a> Collector<'a> {
    /// By [`Rules::Flux`] an object needs an `apiVersion` too.
    pub(crate) fn new(hook: Option<DocumentHook<'a>>, rules: Rules) -> Self {
        Self { hook, rules, resources: Vec::new(), items: VecDeque::new(), faults: Vec::new() }
    }

    /// Takes out the resources that are complete so far.
    pub(crate) fn so_far(&mut self) -> impl Iterator<Item = Resource> {
        self.resources.drain(..)
    }

    /// The resources in the order of their documents, the items of lists last, and all that was wrong.
    pub(crate) fn finish(mut self) -> (Vec<Resource>, Vec<Diagnostic>) {
        while let Some((item, origin)) = self.items.pop_front() {
            self.node(item, origin);
        }
        (self.resources, self.faults)
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
        let mut resource = Resource::new(node, origin);
        let needed = |field: &str| self.rules == Rules::Flux || field == "kind";
        let faults: Vec<Diagnostic> = ["apiVersion", "kind"]
            .into_iter()
            .filter_map(|field| match resource.node.get(field) {
                Some(node) => text_fault(&resource, node, field),
                None if needed(field) => {
                    Some(resource.fault_of(format!("not a Kubernetes object: `{field}` is missing")))
                }
                None => None,
            })
            .collect();
        if !faults.is_empty() {
            self.faults.extend(faults);
        } else if resource.kind().ends_with("List") {
            match resource.node.remove("items") {
                Some(items) => self.items(items, &resource.origin),
                None => self.resources.push(resource),
            }
        } else {
            match name_faults(&resource) {
                faults if !faults.is_empty() => self.faults.extend(faults),
                _ => {
                    resource.normalize_annotations();
                    resource.take_over_history();
                    self.resources.push(resource);
                }
            }
        }
    }

    /// Keeps the items of a list for the end.
    fn items(&mut self, items: Node, origin: &Origin) {
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
                    self.items.push_back((item, Origin { line, ..origin.clone() }));
                }
            }
            Value::Scalar(_) if items.is_null() => {}
            _ => self.faults.push(items.fault(format!("`items` of a list is {}, not a list", items.type_name()))),
        }
    }
}

impl Resource {
    /// A fault at the place of a resource that has no name to tell.
    fn fault_of(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(self.place(), message)
    }
}

/// What is wrong with the fields that tell objects of a type apart.
fn name_faults(resource: &Resource) -> Vec<Diagnostic> {
    let kind = resource.kind();
    let Some(metadata) = resource.node.get("metadata").filter(|metadata| !metadata.is_null()) else {
        return vec![resource.fault_of(format!("{kind} has no `metadata.name`"))];
    };
    if metadata.as_mapping().is_none() {
        return vec![metadata.fault(format!("`metadata` is {}, not a mapping", metadata.type_name()))];
    }
    let mut faults = Vec::new();
    match metadata.get("name") {
        Some(name) => faults.extend(text_fault(resource, name, "metadata.name")),
        None if metadata.get("generateName").is_some() => {
            faults.push(metadata.fault(format!(
                "{kind} has no `metadata.name`; `generateName` would make another object at each apply"
            )))
        }
        None => faults.push(metadata.fault(format!("{kind} has no `metadata.name`"))),
    }
    if let Some(namespace) = metadata.get("namespace").filter(|namespace| !namespace.is_null()) {
        faults.extend(text_fault(resource, namespace, "metadata.namespace"));
    }
    faults
}

/// What is wrong with a field that has to be a string, and not an empty one.
pub(crate) fn text_fault(resource: &Resource, node: &Node, field: &str) -> Option<Diagnostic> {
    let message = match node.as_str() {
        Some("") if field == "metadata.namespace" => return None,
        Some("") => format!("`{field}` is empty"),
        Some(_) => return None,
        None if node.is_null() => format!("`{field}` is empty"),
        None => format!("`{field}` is {}, not a string; quote it when it is meant as text", node.type_name()),
    };
    let at: Location = node.at.clone().unwrap_or_else(|| resource.place());
    Some(Diagnostic::at(at, message))
}
