//! [`ResMap`]: the resources of a build in load order, and how more of them join.
//!
//! Invariant: no two resources have the same current id whenever a layer has been joined.

use std::collections::HashMap;

use manifest::Diagnostic;
use manifest::yaml::{Key, Node, Value};

use crate::id::ResId;
use crate::resource::{Behavior, Resource, mapping_at};
use crate::schema::Schemas;

/// Resources in load order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResMap {
    resources: Vec<Resource>,
    /// Places by current id; `None` when a transformer may have changed ids since.
    index: Option<HashMap<ResId, usize>>,
}

impl ResMap {
    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    pub(crate) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The resources, to be changed; none may be put in or taken out but through this list.
    pub(crate) fn resources_mut(&mut self) -> &mut Vec<Resource> {
        self.index = None;
        &mut self.resources
    }

    pub(crate) fn into_resources(self) -> Vec<Resource> {
        self.resources
    }

    /// Adds a resource at the end.
    ///
    /// # Errors
    /// When there is one with its id.
    pub(crate) fn append(&mut self, resource: Resource, schemas: &Schemas) -> Result<(), Diagnostic> {
        let id = resource.current_id(schemas);
        if let Some(first) = self.index(schemas).get(&id).copied() {
            let first = self.resources.get(first).map(|first| first.place().to_string()).unwrap_or_default();
            return Err(resource.fault(format!(
                "is there twice; it is first given at {first} (may not add resource with an already registered id: {id})"
            )));
        }
        let place = self.resources.len();
        self.index(schemas).insert(id, place);
        self.resources.push(resource);
        Ok(())
    }

    /// Adds all resources of another at the end. Every collision is told.
    pub(crate) fn append_all(&mut self, other: Self, schemas: &Schemas) -> Result<(), Vec<Diagnostic>> {
        let resources = other.resources.into_iter();
        let faults: Vec<_> = resources.filter_map(|resource| self.append(resource, schemas).err()).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Joins the resource of a generator with what is there, by its behaviour.
    ///
    /// # Errors
    /// When there is none to merge with or to replace, when there is one to be created, or several match.
    pub(crate) fn absorb(&mut self, mut resource: Resource, schemas: &Schemas) -> Result<(), Diagnostic> {
        let id = resource.current_id(schemas);
        let mut matching = self
            .resources
            .iter()
            .enumerate()
            .filter(|(_, there)| there.all_ids(schemas).any(|other| other == id))
            .map(|(place, _)| place);
        let (first, second) = (matching.next(), matching.next());
        match (first, second, resource.behavior) {
            (None, _, Behavior::Merge | Behavior::Replace) => Err(resource.fault(format!(
                "id {id} does not exist; cannot merge or replace: use behavior `create`, or add the resource first"
            ))),
            (None, ..) => self.append(resource, schemas),
            (Some(place), None, Behavior::Replace) => {
                take_metadata(&mut resource, &self.resources[place]);
                self.resources_mut()[place] = resource;
                Ok(())
            }
            (Some(place), None, Behavior::Merge) => {
                let old = &self.resources[place];
                take_metadata(&mut resource, old);
                resource.origin.clone_from(&old.origin);
                resource.generator.clone_from(&old.generator);
                for field in ["data", "binaryData"] {
                    merge_pairs(&mut resource.node, &old.node, field);
                }
                self.resources_mut()[place] = resource;
                Ok(())
            }
            (Some(place), None, _) => Err(resource.fault(format!(
                "id {id} exists already ({}); behavior must be merge or replace",
                self.resources[place].place()
            ))),
            (Some(_), Some(_), _) => Err(resource.fault(format!("id {id} matches several resources"))),
        }
    }

    /// That no two current ids are the same.
    ///
    /// # Errors
    /// The first that is there twice.
    pub(crate) fn check_ids(&mut self, schemas: &Schemas) -> Result<(), Diagnostic> {
        let mut index: HashMap<ResId, usize> = HashMap::with_capacity(self.resources.len());
        for (place, resource) in self.resources.iter().enumerate() {
            let id = resource.current_id(schemas);
            if let Some(first) = index.get(&id).and_then(|first| self.resources.get(*first)) {
                return Err(Diagnostic::at(
                    resource.place(),
                    format!("namespace transformation produces ID conflict: {id}, also from {}", first.place()),
                ));
            }
            index.insert(id, place);
        }
        self.index = Some(index);
        Ok(())
    }

    fn index(&mut self, schemas: &Schemas) -> &mut HashMap<ResId, usize> {
        let resources = &self.resources;
        self.index.get_or_insert_with(|| {
            resources.iter().enumerate().map(|(place, resource)| (resource.current_id(schemas), place)).collect()
        })
    }
}

/// A generated resource that takes the place of an old one keeps the old one's name, namespace and history; its own
/// labels and annotations win over the old ones. Both have to want a hash for there to be one.
fn take_metadata(new: &mut Resource, old: &Resource) {
    for field in ["labels", "annotations"] {
        let metadata = mapping_at(&mut new.node, "metadata");
        if let Some(old) = old.node.get("metadata") {
            merge_pairs(metadata, old, field);
        }
    }
    new.set_name(old.name());
    new.set_namespace(old.namespace());
    new.previous.clone_from(&old.previous);
    new.prefixes.clone_from(&old.prefixes);
    new.suffixes.clone_from(&old.suffixes);
    new.needs_hash = new.needs_hash && old.needs_hash;
    new.behavior = old.behavior;
    new.passed.clone_from(&old.passed);
}

/// The pairs of the old mapping at a field that the new one lacks, and its own, sorted. Like kustomize it takes what was
/// there for strings, whatever it was.
fn merge_pairs(new: &mut Node, old: &Node, field: &str) {
    let Some(old) = old.get(field).and_then(Node::as_mapping) else { return };
    let mut merged: Vec<(Key, Node)> = match new.remove(field).map(|node| node.value) {
        Some(Value::Mapping(entries)) => entries,
        _ => Vec::new(),
    };
    for (key, value) in old {
        if !merged.iter().any(|(name, _)| name.name == key.name) {
            let text = value.as_scalar().filter(|_| !value.is_null()).map(|scalar| scalar.text.clone());
            merged.push((key.clone(), Node::string(text.unwrap_or_default()).with_location(value.at.clone())));
        }
    }
    merged.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
    if !merged.is_empty() {
        new.set(field, Value::Mapping(merged).into());
    }
}
