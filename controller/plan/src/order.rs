//! What comes before what, and how many at once.
//!
//! Up: an installation waits until those that it depends on have succeeded at what is asked of them now. Down: what left
//! the source is uninstalled before that which it depends on, by what the ledger says of it. What a document asks to be
//! uninstalled waits for those that depend on it.
//!
//! Guarantees: nothing waits for itself by way of others; an uninstall that has begun waits for no other installation; no
//! more bundle actions begin than leave [`Input::max_actions`] on at once, and those that may come first in the order of
//! the plan. It is asked only of what would begin now: a write that runs nothing waits for nobody.

use std::collections::{BTreeMap, BTreeSet};

use api::{BundleRelease, InstallationId};
use porter::{Desired, DesiredInstallation};
use serde_json::Value;

use crate::drift;
use crate::input::Input;
use crate::observe::{self, Owner};
use crate::outcome::Standing;
use crate::place::{self, Place};
use crate::planner::Planner;
use crate::release::is_tombstone;
use crate::seen::{Seen, holds};
use crate::step::{DependencyWait, WaitFor};

/// Who may begin, and who waits for whom.
pub(crate) struct Order<'a> {
    /// Installations in the source that were planned, and what those that depend on them wait for.
    planned: BTreeMap<&'a InstallationId, Option<DependencyWait>>,
    /// What an installation in the source depends on.
    asked: BTreeMap<&'a InstallationId, &'a [InstallationId]>,
    /// What else it waits for, of other installations.
    waits: BTreeMap<&'a InstallationId, Vec<InstallationId>>,
    /// By each installation, those that depend on it by the ledger.
    dependants: BTreeMap<&'a InstallationId, Vec<&'a BundleRelease>>,
    /// Releases of which a bundle action is on or about to begin.
    active: BTreeSet<Place>,
    max: usize,
}

impl<'a> Order<'a> {
    pub(crate) fn new(input: &Input<'a>) -> Self {
        let own = || input.releases.iter().filter(|release| release.spec.sync == *input.sync);
        let mut dependants: BTreeMap<&InstallationId, Vec<&BundleRelease>> = BTreeMap::new();
        for release in own().filter(|release| !is_tombstone(release)) {
            let succeeded = release.status.as_ref().and_then(|status| status.succeeded.as_ref());
            let asked = &release.spec.asked.depends_on;
            let on: BTreeSet<&InstallationId> =
                asked.iter().chain(succeeded.into_iter().flat_map(|succeeded| &succeeded.depends_on)).collect();
            on.into_iter().for_each(|on| dependants.entry(on).or_default().push(release));
        }
        let active = own().filter(|release| is_active(input, release));
        Self {
            planned: BTreeMap::new(),
            asked: input.desired.installations.iter().map(|asked| (&asked.id, &*asked.depends_on)).collect(),
            waits: BTreeMap::new(),
            dependants,
            active: active.map(place::release).collect(),
            max: input.max_actions.max(1),
        }
    }
}

/// Whether one installation leads to another, by way of others too.
fn leads<I: IntoIterator<Item = InstallationId>>(
    from: &InstallationId,
    to: &InstallationId,
    next: impl Fn(&InstallationId) -> I,
) -> bool {
    let mut seen: BTreeSet<InstallationId> = BTreeSet::new();
    let mut open = vec![from.clone()];
    while let Some(id) = open.pop() {
        if id == *to {
            return true;
        }
        if !seen.contains(&id) {
            open.extend(next(&id));
            seen.insert(id);
        }
    }
    false
}

/// The installations of a source, each after those that it waits for; else in the order of their identity.
pub(crate) fn sorted<'a>(order: &Order<'a>, desired: &'a Desired) -> Vec<&'a DesiredInstallation> {
    let by_id: BTreeMap<&InstallationId, &DesiredInstallation> =
        desired.installations.iter().map(|installation| (&installation.id, installation)).collect();
    let mut missing: BTreeMap<&InstallationId, usize> = by_id.keys().map(|id| (*id, 0)).collect();
    let mut followers: BTreeMap<&InstallationId, Vec<&InstallationId>> = BTreeMap::new();
    for installation in &desired.installations {
        for on in installation.depends_on.iter().filter_map(|on| by_id.get(on)) {
            let (first, then) = match (installation.uninstalled(), on.uninstalled()) {
                (true, true) => (installation, *on),
                (false, _) => (*on, installation),
                (true, false) => continue,
            };
            followers.entry(&first.id).or_default().push(&then.id);
            *missing.entry(&then.id).or_default() += 1;
        }
    }
    // What depended on one that is uninstalled comes before it, unless the source says otherwise.
    for down in desired.installations.iter().filter(|installation| installation.uninstalled()) {
        let of = order.dependants.get(&down.id).into_iter().flatten();
        for before in of.filter_map(|release| by_id.get(&release.installation_id())) {
            let after = |id: &InstallationId| {
                followers.get(id).into_iter().flatten().map(|id| (*id).clone()).collect::<Vec<_>>()
            };
            if !leads(&down.id, &before.id, after) {
                followers.entry(&before.id).or_default().push(&down.id);
                *missing.entry(&down.id).or_default() += 1;
            }
        }
    }
    let mut free: BTreeSet<&InstallationId> =
        missing.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut sorted = Vec::with_capacity(desired.installations.len());
    while let Some(id) = free.pop_first() {
        sorted.extend(by_id.get(id).copied());
        missing.remove(id);
        for then in followers.get(id).into_iter().flatten() {
            if let Some(count) = missing.get_mut(then) {
                *count -= 1;
                free.extend((*count == 0).then_some(*then));
            }
        }
    }
    // None, unless there is a cycle; all the same each is planned.
    sorted.extend(missing.keys().filter_map(|id| by_id.get(id).copied()));
    sorted
}

/// Whether a bundle action of a release is on, or about to begin.
fn is_active(input: &Input<'_>, release: &BundleRelease) -> bool {
    let object = place::object(release);
    let ours = input.live.ours.get(&place::release(release));
    if ours.into_iter().flatten().any(|action| observe::end(action).is_none()) {
        return true;
    }
    match input.live.installations.get(&object).filter(|live| holds(live) == release.spec.installation) {
        Some(live) => {
            let observed =
                observe::observe(&Owner::installation(&live.object), &live.actions, live.bundle_job.as_deref());
            let deleting = live.object.metadata.deletion_timestamp.is_some();
            observed.busy.is_some() || (!deleting && observed.current().is_none())
        }
        None => input.live.remains.get(&object).and_then(observe::remains).is_some(),
    }
}

impl<'a> Planner<'a> {
    /// Notes how an installation stands that was planned just now: what those wait for that depend on it.
    pub(crate) fn planned(&mut self, desired: &'a DesiredInstallation, standing: &Standing) {
        let wait = match standing {
            Standing::Ready => None,
            Standing::Failed(_) | Standing::RolledBack(_) => Some(DependencyWait::Failed),
            Standing::Refused(_) => Some(DependencyWait::Refused),
            Standing::Stopped(_) => Some(DependencyWait::Stopped),
            Standing::Waiting(_) | Standing::Pending(_) | Standing::Running(_) => Some(DependencyWait::Awaited),
        };
        self.order.planned.insert(&desired.id, wait);
    }

    /// What keeps a bundle action of an installation in the source from beginning now. Once there is nothing, it counts as
    /// begun.
    pub(crate) fn may_begin(&mut self, desired: &DesiredInstallation) -> Option<WaitFor> {
        if !self.runs_are_awaited() {
            return None;
        }
        if let Some(wait) = self.first_comes(desired) {
            return Some(wait);
        }
        self.turn(place::release_of(&desired.id))
    }

    /// Counts a bundle action that somebody else's write begins, of an installation which is taken over.
    pub(crate) fn begins_anyway(&mut self, desired: &DesiredInstallation) {
        self.order.active.insert(place::release_of(&desired.id));
    }

    /// Whether a write of an Installation makes the operator run it.
    pub(crate) fn is_run(&self, desired: &DesiredInstallation, seen: Option<&Seen<'_>>) -> bool {
        seen.is_none_or(|seen| {
            let live = serde_json::to_value(&seen.live.object.spec).unwrap_or(Value::Null);
            !drift::installation_spec(&self.written(&desired.spec, Some(seen)), &live).is_empty()
        })
    }

    /// What keeps the uninstall of an installation from beginning.
    pub(crate) fn dependant(&self, id: &InstallationId) -> Option<WaitFor> {
        let of = self.order.dependants.get(id)?;
        let others = of.iter().map(|release| release.installation_id());
        let first = others.filter(|other| other != id && self.holds_back(other) && !self.waits_for(other, id)).min()?;
        let goes = !self.wanted.contains_key(&first);
        Some(WaitFor::Dependant { id: first, goes })
    }

    /// Whether an installation that depends on another, or did, has to come first when that one is uninstalled. One in
    /// the source asks for others now, which has to be true before.
    fn holds_back(&self, dependant: &InstallationId) -> bool {
        match self.order.planned.get(dependant) {
            Some(wait) => wait.is_some(),
            // Of a revision that is refused nothing is planned: what the ledger says of it stands.
            None if self.wanted.contains_key(dependant) => self.plan.outcome.blocked.is_some(),
            None => {
                let release = self.release_of(dependant);
                release.is_some_and(|release| {
                    self.claimant(release).is_none() && release.metadata.deletion_timestamp.is_none()
                })
            }
        }
    }

    /// Whether one installation waits for another, by way of others too: what would wait for itself waits for nobody.
    fn waits_for(&self, one: &InstallationId, other: &InstallationId) -> bool {
        leads(one, other, |id| {
            let asked = self.order.asked.get(id).into_iter().copied().flatten();
            let mut on: Vec<InstallationId> =
                asked.chain(self.order.waits.get(id).into_iter().flatten()).cloned().collect();
            if !self.wanted.contains_key(id) {
                let of = self.order.dependants.get(id).into_iter().flatten();
                on.extend(of.map(|release| release.installation_id()));
            }
            on
        })
    }

    /// Notes which other installation one in the source waits for, and says whether that failed.
    pub(crate) fn waits(&mut self, desired: &'a DesiredInstallation, wait: Option<&WaitFor>) -> bool {
        if let Some(WaitFor::Dependant { id, .. } | WaitFor::Uninstall { id }) = wait {
            self.order.waits.entry(&desired.id).or_default().push(id.clone());
        }
        matches!(wait, Some(WaitFor::Dependency { wait, .. }) if *wait != DependencyWait::Awaited)
    }

    /// What has to stand before a desired installation runs.
    fn first_comes(&self, desired: &DesiredInstallation) -> Option<WaitFor> {
        let wait = |id: &InstallationId| self.order.planned.get(id).copied().unwrap_or(Some(DependencyWait::Awaited));
        if desired.uninstalled() {
            let down = self.input.desired.installations.iter().filter(|other| other.uninstalled());
            let mut before = down.filter(|other| other.depends_on.contains(&desired.id));
            let first = before.find(|other| wait(&other.id).is_some());
            let first = first.map(|other| WaitFor::Dependant { id: other.id.clone(), goes: true });
            return first.or_else(|| self.dependant(&desired.id));
        }
        let waits = desired.depends_on.iter().filter_map(|id| Some((id, wait(id)?)));
        // One that failed says more than one that is on.
        let (id, wait) = waits.min_by_key(|(_, wait)| *wait == DependencyWait::Awaited)?;
        Some(WaitFor::Dependency { id: id.clone(), wait })
    }

    /// Takes one of the places for bundle actions, unless all are taken.
    pub(crate) fn turn(&mut self, release: Place) -> Option<WaitFor> {
        let order = &mut self.order;
        if !order.active.contains(&release) && order.active.len() >= order.max {
            return Some(WaitFor::Turn { max: order.max });
        }
        order.active.insert(release);
        None
    }

    /// All releases; where nothing waits, those that depend on others before those.
    pub(crate) fn leaving(&self) -> Vec<&'a BundleRelease> {
        let mut rest: Vec<&BundleRelease> = self.releases.values().copied().collect();
        if self.runs_are_awaited() {
            return rest;
        }
        let mut sorted: Vec<&BundleRelease> = Vec::with_capacity(rest.len());
        loop {
            let left: BTreeSet<InstallationId> = rest.iter().map(|release| release.installation_id()).collect();
            let waits = |release: &&BundleRelease| {
                let id = release.installation_id();
                let of = self.order.dependants.get(&id).into_iter().flatten();
                of.map(|other| other.installation_id()).any(|other| other != id && left.contains(&other))
            };
            let (later, now): (Vec<_>, Vec<_>) = rest.into_iter().partition(waits);
            if now.is_empty() {
                sorted.extend(later);
                return sorted;
            }
            sorted.extend(now);
            rest = later;
        }
    }
}
