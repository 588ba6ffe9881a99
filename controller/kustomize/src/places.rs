//! [`Places`]: where the resources of a list stand, by the ids and the names that they have and had.
//!
//! Ids and names are held by their hashes only, and compared where they stand: in the resources. So a place costs as much
//! for a long name as for a short one, and nothing has to be copied.
//!
//! Invariant: each part is made when it is first asked for and follows each change of one resource afterwards, so that
//! neither a generator nor a patch of one resource costs as much as all resources. What is dropped has no id.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::id::ResId;
use crate::resource::Resource;
use crate::schema::Schemas;

/// The places of resources.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// By which the ids were told.
    schemas: Schemas,
    hasher: RandomState,
    by_id: Option<Table>,
    /// Whether no two resources of the above have the same id now.
    are_unique: bool,
    by_name: Option<Table>,
}

/// What a resource was called before a change, by hashes.
#[derive(Debug)]
pub(crate) struct Before {
    ids: Vec<u64>,
    names: Vec<u64>,
}

impl Places {
    pub(crate) fn new(schemas: &Schemas) -> Self {
        let hasher = RandomState::new();
        Self { schemas: schemas.clone(), hasher, by_id: None, are_unique: false, by_name: None }
    }

    /// Whether the ids are those that the schemas give.
    pub(crate) fn are_of(&self, schemas: &Schemas) -> bool {
        self.schemas.is_same(schemas)
    }

    /// The place of the resource that has an id now.
    pub(crate) fn of_current_id(&mut self, id: ResId<&str>, resources: &[Resource]) -> Option<usize> {
        self.know_ids(resources);
        let Self { schemas, hasher, by_id, .. } = self;
        others_with_id(by_id.as_ref()?, hasher.hash_one(id), id, schemas, resources).next()
    }

    /// The place of a resource whose present id another one behind it has too.
    pub(crate) fn twice(&mut self, resources: &[Resource]) -> Option<usize> {
        self.know_ids(resources);
        if self.are_unique {
            return None;
        }
        let Self { schemas, hasher, by_id, .. } = self;
        let table = by_id.as_ref()?;
        let mut live = resources.iter().enumerate().filter(|(_, resource)| !resource.is_dropped());
        let twice = live.find(|(place, resource)| {
            let id = resource.current_id(schemas);
            others_with_id(table, hasher.hash_one(id), id, schemas, resources).any(|other| other > *place)
        });
        self.are_unique = twice.is_none();
        twice.map(|(place, _)| place)
    }

    /// The places of the resources that have or had an id, in their order.
    pub(crate) fn of_any_id(&mut self, id: ResId<&str>, resources: &[Resource]) -> Vec<usize> {
        self.know_ids(resources);
        let schemas = &self.schemas;
        let is_it = |resource: &Resource| resource.all_ids(schemas).any(|its| its == id);
        self.by_id.as_ref().map(|table| table.find(self.hasher.hash_one(id), resources, is_it)).unwrap_or_default()
    }

    /// The places of the resources that have or had a name, in their order.
    pub(crate) fn of_any_name(&mut self, name: &str, resources: &[Resource]) -> Vec<usize> {
        let hasher = &self.hasher;
        let table = self.by_name.get_or_insert_with(|| {
            let mut table = Table::with_capacity(resources.len());
            for (place, resource) in live(resources) {
                names(resource).for_each(|name| table.insert(hasher.hash_one(name), place));
            }
            table
        });
        table.find(hasher.hash_one(name), resources, |resource| names(resource).any(|its| its == name))
    }

    /// Takes in one that comes at the end, and whose id no other has.
    pub(crate) fn add(&mut self, place: usize, resource: &Resource) {
        let hasher = &self.hasher;
        if let Some(table) = &mut self.by_id {
            resource.all_ids(&self.schemas).for_each(|id| table.insert(hasher.hash_one(id), place));
        }
        if let Some(table) = &mut self.by_name {
            names(resource).for_each(|name| table.insert(hasher.hash_one(name), place));
        }
    }

    /// What a resource is called before it changes.
    pub(crate) fn before(&self, resource: &Resource) -> Before {
        let hasher = &self.hasher;
        let ids = self.by_id.iter().flat_map(|_| resource.all_ids(&self.schemas)).map(|id| hasher.hash_one(id));
        let names = self.by_name.iter().flat_map(|_| names(resource)).map(|name| hasher.hash_one(name));
        Before { ids: ids.collect(), names: names.collect() }
    }

    /// Follows the change of one resource.
    pub(crate) fn follow(&mut self, place: usize, before: &Before, resources: &[Resource]) {
        let Some(resource) = resources.get(place) else { return };
        let Before { ids, names } = self.before(resource);
        let is_dropped = resource.is_dropped();
        if let Some(table) = &mut self.by_id {
            table.exchange(place, &before.ids, if is_dropped { &[] } else { &ids });
            if before.ids.last() != ids.last() && !is_dropped && self.are_unique {
                let id = resource.current_id(&self.schemas);
                let mut others = others_with_id(table, self.hasher.hash_one(id), id, &self.schemas, resources);
                self.are_unique = others.all(|other| other == place);
            }
        }
        if let Some(table) = &mut self.by_name {
            table.exchange(place, &before.names, if is_dropped { &[] } else { &names });
        }
    }

    /// Follows resources being taken out that were dropped: gives the old places their new ones.
    pub(crate) fn renumber(&mut self, new_places: &[usize]) {
        for (_, place) in self.by_id.iter_mut().chain(&mut self.by_name).flat_map(|table| table.0.iter_mut()) {
            *place = new_places.get(*place).copied().unwrap_or(usize::MAX);
        }
    }

    fn know_ids(&mut self, resources: &[Resource]) {
        if self.by_id.is_some() {
            return;
        }
        let mut table = Table::with_capacity(resources.len());
        self.are_unique = true;
        for (place, resource) in live(resources) {
            let id = resource.current_id(&self.schemas);
            let hash = self.hasher.hash_one(id);
            if self.are_unique && others_with_id(&table, hash, id, &self.schemas, resources).next().is_some() {
                self.are_unique = false;
            }
            resource.all_ids(&self.schemas).for_each(|id| table.insert(self.hasher.hash_one(id), place));
        }
        self.by_id = Some(table);
    }
}

fn live(resources: &[Resource]) -> impl Iterator<Item = (usize, &Resource)> {
    resources.iter().enumerate().filter(|(_, resource)| !resource.is_dropped())
}

/// The names that a resource had, and the one it has.
fn names(resource: &Resource) -> impl Iterator<Item = &str> {
    resource.previous.iter().map(|previous| previous.name.as_str()).chain([resource.name()])
}

/// The places of those that have an id now.
fn others_with_id<'a>(
    table: &'a Table,
    hash: u64,
    id: ResId<&'a str>,
    schemas: &'a Schemas,
    resources: &'a [Resource],
) -> impl Iterator<Item = usize> + use<'a> {
    let has_id = move |place: &usize| resources.get(*place).is_some_and(|other| other.current_id(schemas) == id);
    table.places(hash).filter(has_id)
}

/// Places by hashes.
#[derive(Clone, Debug)]
struct Table(HashTable<(u64, usize)>);

impl Table {
    fn with_capacity(count: usize) -> Self {
        Self(HashTable::with_capacity(count))
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = usize> {
        self.0.iter_hash(hash).filter(move |(its, _)| *its == hash).map(|(_, place)| *place)
    }

    /// The places of a hash whose resources are what is looked for, in order.
    fn find(&self, hash: u64, resources: &[Resource], is_it: impl Fn(&Resource) -> bool) -> Vec<usize> {
        let found = self.places(hash).filter(|place| resources.get(*place).is_some_and(&is_it));
        let mut found: Vec<usize> = found.collect();
        found.sort_unstable();
        found
    }

    fn insert(&mut self, hash: u64, place: usize) {
        self.0.entry(hash, |entry| *entry == (hash, place), |(hash, _)| *hash).or_insert((hash, place));
    }

    fn remove(&mut self, hash: u64, place: usize) {
        if let Ok(entry) = self.0.find_entry(hash, |entry| *entry == (hash, place)) {
            entry.remove();
        }
    }

    /// Takes out those hashes of a place that are not new, and puts in those that are not old.
    fn exchange(&mut self, place: usize, old: &[u64], new: &[u64]) {
        old.iter().filter(|hash| !new.contains(hash)).for_each(|hash| self.remove(*hash, place));
        new.iter().filter(|hash| !old.contains(hash)).for_each(|hash| self.insert(*hash, place));
    }
}
