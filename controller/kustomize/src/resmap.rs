//! [`ResMap`]: the resources of a build in load order, and how more of them join.
//!
//! Invariant: no two resources have the same current id whenever a layer has been joined.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use manifest::Diagnostic;
use manifest::yaml::{Key, Node, Value};

use crate::id::ResId;
use crate::metadata::Notes;
use crate::places::Places;
use crate::resource::{Behavior, Resource, mapping_at};
use crate::schema::Schemas;

/// Resources in load order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResMap {
    resources: Vec<Resource>,
    /// Where they stand by their ids; `None` when a transformer may have changed ids since.
    places: Option<Places>,
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
        self.places = None;
        &mut self.resources
    }

    /// Changes one resource; `None` when there is none at the place. Costs as much as the one, unlike
    /// [`Self::resources_mut`], after which all ids are told anew.
    pub(crate) fn change<T>(&mut self, place: usize, act: impl FnOnce(&mut Resource) -> T) -> Option<T> {
        let resource = self.resources.get_mut(place)?;
        let Some(places) = &mut self.places else { return Some(act(resource)) };
        let before = places.before(resource);
        let done = act(resource);
        places.follow(place, &before, &self.resources);
        Some(done)
    }

    /// The places of the resources that have or had an id, in their order.
    pub(crate) fn places_of_id(&mut self, id: ResId<&str>, schemas: &Schemas) -> Vec<usize> {
        let (places, resources) = self.places(schemas);
        places.of_any_id(id, resources)
    }

    /// The places of the resources that have or had a name, in their order.
    pub(crate) fn places_of_name(&mut self, name: &str, schemas: &Schemas) -> Vec<usize> {
        let (places, resources) = self.places(schemas);
        places.of_any_name(name, resources)
    }

    /// That no two resources have the same id now. Costs nothing when no id has changed since this was asked last.
    ///
    /// # Errors
    /// The first whose id another one has too.
    pub(crate) fn check_unique(&mut self, schemas: &Schemas) -> Result<(), Diagnostic> {
        let (places, resources) = self.places(schemas);
        match places.twice(resources).and_then(|place| resources.get(place)) {
            Some(twice) => Err(twice.fault(format!(
                "another resource has the same id (may not add resource with an already registered id: {})",
                twice.current_id(schemas)
            ))),
            None => Ok(()),
        }
    }

    /// Takes out what patches deleted.
    pub(crate) fn remove_dropped(&mut self) {
        if !self.resources.iter().any(Resource::is_dropped) {
            return;
        }
        let mut kept = 0;
        let new_places: Vec<usize> = self
            .resources
            .iter()
            .map(|resource| {
                let place = kept;
                kept += usize::from(!resource.is_dropped());
                place
            })
            .collect();
        self.resources.retain(|resource| !resource.is_dropped());
        if let Some(places) = &mut self.places {
            places.renumber(&new_places);
        }
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
        let place = self.resources.len();
        let (places, resources) = self.places(schemas);
        if let Some(first) = places.of_current_id(id, resources) {
            let first = self.resources.get(first).map(|first| first.place().to_string()).unwrap_or_default();
            return Err(resource.fault(format!(
                "is there twice; it is first given at {first} (may not add resource with an already registered id: {id})"
            )));
        }
        places.add(place, &resource);
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
        let matching = self.places_of_id(id, schemas);
        match (matching.first().copied(), matching.get(1), resource.behavior) {
            (None, _, Behavior::Merge | Behavior::Replace) => Err(resource.fault(format!(
                "id {id} does not exist; cannot merge or replace: use behavior `create`, or add the resource first"
            ))),
            (None, ..) => self.append(resource, schemas),
            (Some(place), None, Behavior::Replace | Behavior::Merge)
                if self.resources.get(place).is_some_and(|old| old.gvk() != id.gvk) =>
            {
                Err(resource.fault(format!(
                    "cannot find resource with id {id} to merge with or to replace: what had this id is of another \
                     kind now ({})",
                    self.resources[place].place()
                )))
            }
            (Some(place), None, Behavior::Replace) => {
                self.change(place, |old| {
                    take_metadata(&mut resource, old);
                    resource.notes = old.notes.as_ref().map(Notes::replaced);
                    resource.replaced = Some(old.first_origin().clone());
                    *old = resource;
                });
                Ok(())
            }
            (Some(place), None, Behavior::Merge) => {
                self.change(place, |old| {
                    take_metadata(&mut resource, old);
                    resource.notes = old.notes.as_ref().map(|notes| notes.merged(resource.generator.as_ref()));
                    resource.changes.extend(resource.generator.take());
                    resource.origin.clone_from(&old.origin);
                    resource.replaced.clone_from(&old.replaced);
                    resource.generator.clone_from(&old.generator);
                    for field in ["data", "binaryData"] {
                        merge_pairs(&mut resource.node, &old.node, field);
                    }
                    *old = resource;
                });
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
    pub(crate) fn check_ids(&self, schemas: &Schemas) -> Result<(), Diagnostic> {
        let mut ids: HashMap<ResId<&str>, usize> = HashMap::with_capacity(self.resources.len());
        for (place, resource) in self.resources.iter().enumerate() {
            let id = resource.current_id(schemas);
            if let Some(first) = ids.get(&id).and_then(|first| self.resources.get(*first)) {
                return Err(Diagnostic::at(
                    resource.place(),
                    format!("namespace transformation produces ID conflict: {id}, also from {}", first.place()),
                ));
            }
            ids.insert(id, place);
        }
        Ok(())
    }

    /// The places by the ids that the schemas give, beside the resources.
    fn places(&mut self, schemas: &Schemas) -> (&mut Places, &[Resource]) {
        if self.places.as_ref().is_some_and(|places| !places.are_of(schemas)) {
            self.places = None;
        }
        (self.places.get_or_insert_with(|| Places::new(schemas)), &self.resources)
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
    new.changes.clone_from(&old.changes);
}

/// The pairs of the old mapping at a field that the new one lacks, and its own, sorted. Like kustomize it takes what was
/// there for strings, whatever it was, and leaves nothing of an empty mapping.
fn merge_pairs(new: &mut Node, old: &Node, field: &str) {
    let old = old.get(field).and_then(Node::as_mapping).unwrap_or_default();
    let mut merged: Vec<(Key, Node)> = match new.remove(field).map(|node| node.value) {
        Some(Value::Mapping(entries)) => entries,
        _ => Vec::new(),
    };
    let own: HashSet<Arc<str>> = merged.iter().map(|(key, _)| key.name.clone()).collect();
    for (key, value) in old {
        if !own.contains(&key.name) {
            let text = value.as_scalar().filter(|_| !value.is_null()).map(|scalar| scalar.text.clone());
            merged.push((key.clone(), Node::string(text.unwrap_or_default()).with_location(value.at.clone())));
        }
    }
    merged.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
    if !merged.is_empty() {
        new.set(field, Value::Mapping(merged).into());
    }
}
