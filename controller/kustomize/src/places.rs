//! [`Places`]: where the resources of a list stand, by the ids and the names that they have and had.
//!
//! Invariant: each part is made when it is first asked for and follows each change of one resource afterwards, so that
//! neither a generator nor a patch of one resource costs as much as all resources. What is dropped has no id.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::id::{Gvk, ResId};
use crate::resource::{PreviousId, Resource};
use crate::schema::Schemas;

/// The places of resources.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// By which the ids were told.
    schemas: Schemas,
    by_current_id: Option<HashMap<ResId, usize>>,
    /// Whether the above holds each resource.
    are_unique: bool,
    by_any_id: Option<Lists<ResId>>,
    by_any_name: Option<Lists<String>>,
}

/// The places of the resources that share something, in their order.
type Lists<K> = HashMap<K, Vec<usize>>;

/// What a resource was called before a change.
#[derive(Debug)]
pub(crate) struct Before {
    current: ResId,
    previous: Vec<PreviousId>,
}

impl Places {
    pub(crate) fn new(schemas: &Schemas) -> Self {
        Self { schemas: schemas.clone(), by_current_id: None, are_unique: false, by_any_id: None, by_any_name: None }
    }

    /// Whether the ids are those that the schemas give.
    pub(crate) fn are_of(&self, schemas: &Schemas) -> bool {
        self.schemas.is_same(schemas)
    }

    /// The places by the ids that resources have now.
    pub(crate) fn by_current_id(&mut self, resources: &[Resource]) -> &mut HashMap<ResId, usize> {
        let schemas = &self.schemas;
        self.by_current_id.get_or_insert_with(|| {
            let live = resources.iter().enumerate().filter(|(_, resource)| !resource.is_dropped());
            live.map(|(place, resource)| (resource.current_id(schemas), place)).collect()
        })
    }

    /// The place of a resource whose present id another one has too.
    pub(crate) fn twice(&mut self, resources: &[Resource]) -> Option<usize> {
        if self.are_unique {
            return None;
        }
        self.by_current_id = None;
        let schemas = self.schemas.clone();
        let last = self.by_current_id(resources);
        let mut live = resources.iter().enumerate().filter(|(_, resource)| !resource.is_dropped());
        let twice = live.find(|(place, resource)| last.get(&resource.current_id(&schemas)) != Some(place));
        let twice = twice.map(|(place, _)| place);
        self.are_unique = twice.is_none();
        twice
    }

    /// The places of the resources that have or had an id.
    pub(crate) fn of_any_id(&mut self, id: &ResId, resources: &[Resource]) -> &[usize] {
        let schemas = &self.schemas;
        let lists = self.by_any_id.get_or_insert_with(|| {
            lists(resources, |resource| resource.all_ids(schemas).collect::<Vec<_>>().into_iter())
        });
        lists.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// The places of the resources that have or had a name.
    pub(crate) fn of_any_name(&mut self, name: &str, resources: &[Resource]) -> &[usize] {
        let lists = self.by_any_name.get_or_insert_with(|| {
            let names = |resource: &Resource| {
                let previous = resource.previous.iter().map(|previous| previous.name.clone());
                previous.chain([resource.name().to_owned()]).collect::<Vec<_>>().into_iter()
            };
            lists(resources, names)
        });
        lists.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Takes in one that comes at the end, with the id that it has now.
    pub(crate) fn add(&mut self, place: usize, id: ResId, resource: &Resource) {
        if self.by_any_id.is_some() || self.by_any_name.is_some() {
            resource.previous_ids().for_each(|id| self.insert(id, place));
            self.insert(id.clone(), place);
        }
        if let Some(current) = &mut self.by_current_id {
            current.insert(id, place);
        }
    }

    /// What a resource is called before it changes.
    pub(crate) fn before(&self, resource: &Resource) -> Before {
        Before { current: resource.current_id(&self.schemas), previous: resource.previous.clone() }
    }

    /// Follows the change of one resource.
    pub(crate) fn follow(&mut self, place: usize, before: Before, resource: &Resource) {
        let is_dropped = resource.is_dropped();
        // Past ids are forgotten all at once, or the present one is added to them.
        if !is_dropped
            && resource.previous.len() >= before.previous.len()
            && resource.current_id(&self.schemas) == before.current
        {
            return;
        }
        let Before { current, previous } = before;
        match self.by_current_id.as_mut().filter(|_| self.are_unique) {
            Some(places) => {
                places.remove(&current);
                if !is_dropped {
                    self.are_unique = places.insert(resource.current_id(&self.schemas), place).is_none();
                }
            }
            None => self.by_current_id = None,
        }
        let gvk = current.gvk.clone();
        let past = previous.into_iter().map(|PreviousId { namespace, name, kind }| ResId {
            gvk: Gvk { kind, ..gvk.clone() },
            name,
            namespace,
        });
        let old: HashSet<ResId> = past.chain([current]).collect();
        let new: HashSet<ResId> = if is_dropped { HashSet::new() } else { resource.all_ids(&self.schemas).collect() };
        let names: HashSet<&str> = new.iter().map(|id| id.name.as_str()).collect();
        for id in old.difference(&new) {
            remove(self.by_any_id.as_mut(), id, place);
            if !names.contains(id.name.as_str()) {
                remove(self.by_any_name.as_mut(), &id.name, place);
            }
        }
        for id in new.difference(&old) {
            self.insert(id.clone(), place);
        }
    }

    /// Follows resources being taken out that were dropped: gives the old places their new ones.
    pub(crate) fn renumber(&mut self, new_places: &[usize]) {
        let current = self.by_current_id.iter_mut().flat_map(HashMap::values_mut);
        let ids = self.by_any_id.iter_mut().flat_map(HashMap::values_mut);
        let names = self.by_any_name.iter_mut().flat_map(HashMap::values_mut);
        for place in ids.chain(names).flatten().chain(current) {
            *place = new_places.get(*place).copied().unwrap_or(usize::MAX);
        }
    }

    fn insert(&mut self, id: ResId, place: usize) {
        if let Some(lists) = &mut self.by_any_name {
            insert(lists, id.name.clone(), place);
        }
        if let Some(lists) = &mut self.by_any_id {
            insert(lists, id, place);
        }
    }
}

fn lists<K: Eq + Hash, I: Iterator<Item = K>>(resources: &[Resource], keys: impl Fn(&Resource) -> I) -> Lists<K> {
    let mut lists = HashMap::with_capacity(resources.len());
    for (place, resource) in resources.iter().enumerate().filter(|(_, resource)| !resource.is_dropped()) {
        keys(resource).for_each(|key| insert(&mut lists, key, place));
    }
    lists
}

fn insert<K: Eq + Hash>(lists: &mut Lists<K>, key: K, place: usize) {
    let list = lists.entry(key).or_default();
    if let Err(at) = list.binary_search(&place) {
        list.insert(at, place);
    }
}

fn remove<K: Eq + Hash>(lists: Option<&mut Lists<K>>, key: &K, place: usize) {
    if let Some(list) = lists.and_then(|lists| lists.get_mut(key))
        && let Ok(at) = list.binary_search(&place)
    {
        list.remove(at);
    }
}
