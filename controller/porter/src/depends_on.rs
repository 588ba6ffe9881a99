//! The annotation [`api::DEPENDS_ON`]: which installations of the source come before another one.
//!
//! Names are those of Installation objects, as they are or as a document had them before an overlay renamed it: so a base
//! reads the same in every overlay. Of several that had the name, the one counts that came by the most of the same
//! renamings.
//!
//! Invariant: what [`resolve`] leaves in `Desired` has no cycle, and names installations of the source only.

use std::collections::{BTreeMap, BTreeSet};

use api::bundle_release::InstallationId;
use manifest::{Diagnostic, Location, Object};

use crate::desired::{Desired, DesiredInstallation};

/// What one document says.
pub(crate) struct Said {
    /// The text of the annotation.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) at: Location,
}

/// Writes into `desired` which installations each depends on. `objects` are its documents, in its order, with what each
/// says.
pub(crate) fn resolve(desired: &mut Desired, objects: &[(&Object, Option<Said>)], faults: &mut Vec<Diagnostic>) {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, (object, _)) in objects.iter().enumerate() {
        let earlier = object.renamings.iter().map(|renaming| renaming.name.as_str());
        let names: BTreeSet<&str> = earlier.chain([object.name()]).collect();
        names.into_iter().for_each(|name| by_name.entry(name).or_default().push(index));
    }
    let mut found: Vec<BTreeSet<usize>> = Vec::with_capacity(objects.len());
    for (index, (_, said)) in objects.iter().enumerate() {
        let mut depends_on = BTreeSet::new();
        for name in said.iter().flat_map(|said| said.text.split(',').map(str::trim)) {
            let Some(said) = said else { continue };
            match find(&desired.installations, objects, &by_name, index, name) {
                Ok(other) if contradicts(desired, index, other) => faults.push(said.fault(&format!(
                    "names {name:?}, which is uninstalled (spec.uninstalled) while this one is not: remove one of the two"
                ))),
                Ok(other) => drop(depends_on.insert(other)),
                Err(why) => faults.push(said.fault(&why)),
            }
        }
        found.push(depends_on);
    }
    refuse_cycles(objects, &found, faults);
    let ids: Vec<InstallationId> = desired.installations.iter().map(|installation| installation.id.clone()).collect();
    for (installation, depends_on) in desired.installations.iter_mut().zip(found) {
        installation.depends_on = depends_on.into_iter().filter_map(|other| ids.get(other).cloned()).collect();
        installation.depends_on.sort();
    }
}

impl Said {
    fn fault(&self, why: &str) -> Diagnostic {
        Diagnostic::at(self.at.clone(), format!("{} {why}", api::DEPENDS_ON))
    }
}

fn contradicts(desired: &Desired, one: usize, other: usize) -> bool {
    let uninstalled = |index: usize| desired.installations.get(index).is_some_and(DesiredInstallation::uninstalled);
    uninstalled(other) && !uninstalled(one)
}

/// The installation that a name means where it is written.
fn find(
    installations: &[DesiredInstallation],
    objects: &[(&Object, Option<Said>)],
    by_name: &BTreeMap<&str, Vec<usize>>,
    from: usize,
    written: &str,
) -> Result<usize, String> {
    let (given, name) = match written.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, written),
    };
    if name.is_empty() || given == Some("") {
        return Err(format!(
            "holds {written:?}: write the names of Installations, or namespace/name, with commas between them"
        ));
    }
    let namespace = |index: usize| installations.get(index).map(|installation| &*installation.id.kube_namespace);
    let own = namespace(from).unwrap_or_default();
    let there = |index: &usize| namespace(*index) == Some(given.unwrap_or(own));
    let all = by_name.get(name).map(Vec::as_slice).unwrap_or_default();
    let is_named = |index: &&usize| objects.get(**index).is_some_and(|(object, _)| object.name() == name);
    if let Some(now) = all.iter().filter(is_named).find(|index| there(index)) {
        return Ok(*now);
    }
    let was = |index: &usize| {
        let renamings = objects.get(*index).map(|(object, _)| object.renamings.as_slice()).unwrap_or_default();
        renamings.iter().any(|before| before.name == name && (there(index) || Some(&*before.namespace) == given))
    };
    let by = |index: usize| -> BTreeSet<&str> {
        let renamings = objects.get(index).map(|(object, _)| object.renamings.as_slice()).unwrap_or_default();
        renamings.iter().map(|renaming| &*renaming.by).collect()
    };
    let here = by(from);
    let mut near: Vec<(usize, usize)> =
        all.iter().filter(|index| was(index)).map(|index| (by(*index).intersection(&here).count(), *index)).collect();
    let most = near.iter().map(|(shared, _)| *shared).max();
    near.retain(|(shared, _)| Some(*shared) == most);
    match near.as_slice() {
        [(_, one)] => Ok(*one),
        [] => Err(format!(
            "names {written:?}, and no Installation of this source in namespace {} has that name",
            given.unwrap_or(own)
        )),
        several => {
            let names: Vec<String> = several
                .iter()
                .filter_map(|(_, index)| installations.get(*index))
                .map(|other| format!("{}/{}", other.id.kube_namespace, other.object_name))
                .collect();
            Err(format!("names {written:?}, which had become {}: write the one that is meant", names.join(" and ")))
        }
    }
}

/// Tells each cycle once, whole, at the document of it that comes first.
fn refuse_cycles(objects: &[(&Object, Option<Said>)], depends_on: &[BTreeSet<usize>], faults: &mut Vec<Diagnostic>) {
    let mut left: BTreeMap<usize, BTreeSet<usize>> = depends_on.iter().cloned().enumerate().collect();
    loop {
        take_free(&mut left);
        let Some(cycle) = cycle(&left) else { return };
        let parts: Vec<String> = cycle
            .iter()
            .chain(cycle.first())
            .filter_map(|index| objects.get(*index))
            .map(|(object, _)| format!("{} ({})", object.name(), object.origin))
            .collect();
        let said = cycle.first().and_then(|first| objects.get(*first)).and_then(|(_, said)| said.as_ref());
        let why = format!("makes a cycle, of which none could begin: {}", parts.join(" -> "));
        faults.extend(said.map(|said| said.fault(&why)));
        cycle.iter().for_each(|one| drop(left.remove(one)));
    }
}

/// Takes out what depends on nothing that is left, again and again: it is in no cycle.
fn take_free(left: &mut BTreeMap<usize, BTreeSet<usize>>) {
    let mut waits: BTreeMap<usize, usize> = BTreeMap::new();
    let mut dependants: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (one, on) in left.iter() {
        let on: Vec<usize> = on.iter().filter(|on| left.contains_key(on)).copied().collect();
        waits.insert(*one, on.len());
        on.into_iter().for_each(|on| dependants.entry(on).or_default().push(*one));
    }
    let mut free: Vec<usize> = waits.iter().filter(|(_, count)| **count == 0).map(|(one, _)| *one).collect();
    while let Some(one) = free.pop() {
        left.remove(&one);
        for dependant in dependants.get(&one).into_iter().flatten() {
            if let Some(count) = waits.get_mut(dependant) {
                *count -= 1;
                free.extend((*count == 0).then_some(*dependant));
            }
        }
    }
}

/// A cycle of a graph in which every node has an edge, beginning with its smallest.
fn cycle(graph: &BTreeMap<usize, BTreeSet<usize>>) -> Option<Vec<usize>> {
    let mut path: Vec<usize> = vec![*graph.keys().next()?];
    loop {
        let next = *graph.get(path.last()?)?.iter().find(|on| graph.contains_key(on))?;
        if let Some(begin) = path.iter().position(|one| *one == next) {
            let mut cycle = path.split_off(begin);
            let smallest = cycle.iter().enumerate().min_by_key(|(_, one)| **one).map_or(0, |(at, _)| at);
            cycle.rotate_left(smallest);
            return Some(cycle);
        }
        path.push(next);
    }
}
