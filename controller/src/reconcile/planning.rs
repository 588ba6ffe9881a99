//! What a plan is made of, from what a sync asks for to the due steps.
//!
//! The way of the data: mirrors, and the few reads that no watch can stand for -> [`Snapshot`] -> [`Plan`] -> what the status
//! has to remember of it. Invariant: nothing is written here. What is due, and what waits, is the plan's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::bundle_sync::InventoryEntry;
use api::porter::Installation;
use api::{
    BundleRelease, BundleSync, CONFIRM, FORCE_AT, Percentage, Pruned, REQUESTED_AT, RetryStrategy, SyncRef, condition,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use plan::{Action, Force, Guard, Input, Plan, Removal, Step, Subject};
use porter::Desired;

use super::failure::Failure;
use super::{Progress, Reconciler};
use crate::mirror::Key;
use crate::snapshot::{self, Snapshot};

/// How long, at least, it is waited for another sync that fails, before it is taken to ask for nothing.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is to become true.
pub(super) struct Order<'a> {
    /// The digest of the artifact that asks for it, or, where nothing does any more, that others read meanwhile.
    pub(super) digest: Option<&'a str>,
    /// The revision that asks for it.
    pub(super) revision: &'a str,
    /// What its artifact was made from.
    pub(super) origin_revision: Option<&'a str>,
    /// What becomes of what left the source.
    pub(super) removal: Removal,
    /// How much may be uninstalled without a confirmation.
    pub(super) limit: Option<Percentage>,
    /// Whether each uninstall needs one.
    pub(super) ask: bool,
    /// What the annotation says that confirms it, the first time.
    pub(super) confirmation: &'a str,
}

/// What was uninstalled since the last confirmation, and whether what goes now is confirmed.
struct Confirmation {
    pruned: Pruned,
    confirmed: bool,
    /// What the annotation has to say.
    value: String,
}

impl Confirmation {
    fn of(sync: &BundleSync, order: &Order<'_>) -> Self {
        let pruned = sync.status.as_ref().and_then(|status| status.pruned.clone()).unwrap_or_default();
        let generation = sync.metadata.generation;
        // A confirmation is of what the BundleSync asks for at that moment. Another one of the same revision says so.
        let again = format!("{}/{}", order.confirmation, generation.unwrap_or_default());
        let used = pruned.confirmed_revision.as_deref() == Some(order.confirmation)
            && pruned.confirmed_generation != generation;
        let said = sync.annotations().get(CONFIRM).map(String::as_str);
        let confirmed = said == Some(&again) || (!used && said == Some(order.confirmation));
        let value = if used { again } else { order.confirmation.to_owned() };
        Self { pruned, confirmed, value }
    }

    /// What is to be remembered of it, when these were uninstalled since.
    fn after(self, sync: &BundleSync, order: &Order<'_>, installations: BTreeSet<String>) -> Option<Pruned> {
        let (confirmed_revision, confirmed_generation) = match self.confirmed {
            true => (Some(order.confirmation.to_owned()), sync.metadata.generation),
            false => (self.pruned.confirmed_revision, self.pruned.confirmed_generation),
        };
        let pruned = Pruned { confirmed_revision, confirmed_generation, installations };
        (pruned != Pruned::default()).then_some(pruned)
    }
}

impl Reconciler {
    /// The steps to what a sync asks for, with what they were made of; in the progress, what they come to.
    pub(super) async fn plan(
        &self,
        sync: &BundleSync,
        order: &Order<'_>,
        desired: &Desired,
        progress: &mut Progress,
    ) -> Result<(Vec<Step>, Snapshot), Failure> {
        // Before what they ask for is: one that tells in between is not missed.
        let undecided = self.undecided(sync, order);
        let mut snapshot = self.snapshot(sync, desired).await?;
        self.others(sync, order, desired, undecided, &mut snapshot);
        let inputs = self.inputs.observe(&self.cluster, &self.writer, desired, &snapshot.releases).await;
        snapshot.live.inputs = Some(inputs?);
        self.explain(sync, &mut snapshot, progress).await;
        let confirmation = Confirmation::of(sync, order);
        let Plan { steps, outcome } = plan::plan(&Input {
            sync: &SyncRef::from(sync),
            revision: order.revision,
            origin_revision: order.origin_revision,
            desired,
            releases: &snapshot.releases,
            live: &snapshot.live,
            inventory: &snapshot.inventory,
            removal: order.removal,
            adoption: sync.spec.adoption,
            agent: sync.spec.agent,
            guard: Guard {
                limit: order.limit,
                ask: order.ask,
                confirmed: confirmation.confirmed,
                confirmation: &confirmation.value,
                pruned: &confirmation.pruned.installations,
            },
            keep_record: sync.spec.uninstall.keep_record,
            max_actions: usize::from(sync.spec.max_concurrent_actions),
            retry: self.pause(sync),
            retries: sync.spec.retry.limit,
            rollback: sync.spec.retry.strategy == RetryStrategy::Rollback,
            force: force(sync),
            now: Timestamp::now(),
        });
        progress.pruned = confirmation.after(sync, order, outcome.pruned.clone());
        progress.inventory = match outcome.blocked {
            Some(_) => entries(sync),
            None => inventory(sync, desired, &steps, &snapshot, order.removal),
        };
        progress.outcome = Some(outcome);
        Ok((steps, snapshot))
    }

    /// What stands. That a namespace is being deleted, or that we applied what no release knows, is in no mirror.
    async fn snapshot(&self, sync: &BundleSync, desired: &Desired) -> Result<Snapshot, Failure> {
        let unreadable = |error| Failure::new(condition::RECONCILIATION_FAILED, error);
        let mut snapshot = Snapshot::take(&self.cluster, sync, desired).map_err(unreadable)?;
        snapshot.live.contested = self.remember(&Key::of(sync), |memory| memory.contested());
        for namespace in snapshot.suspects(sync) {
            if self.writer.is_terminating(&namespace).await? {
                snapshot.live.terminating.insert(namespace);
            }
        }
        for unrecorded in snapshot.unrecorded(sync) {
            if self.writer.is_applied::<Installation>(&unrecorded).await? {
                snapshot.live.recoverable.insert((unrecorded.namespace, unrecorded.name));
            }
        }
        Ok(snapshot)
    }

    /// The other syncs that may ask for what this one no longer has: on its source, and on whatever. For those that have failed
    /// for long nothing waits: a sync that is broken stalls no other.
    fn undecided(&self, sync: &BundleSync, order: &Order<'_>) -> [BTreeSet<SyncRef>; 2] {
        let patience = sync.spec.timeout().as_std().max(PATIENCE);
        let unread = order.digest.map(|digest| self.cluster.unread(sync, digest, patience));
        [unread.unwrap_or_default(), self.cluster.unknown(sync, patience)]
    }

    /// What other syncs ask for, or may ask for, of that which this one no longer has.
    fn others(
        &self,
        sync: &BundleSync,
        order: &Order<'_>,
        desired: &Desired,
        [unread, unknown]: [BTreeSet<SyncRef>; 2],
        snapshot: &mut Snapshot,
    ) {
        let key = Key::of(sync);
        let wanted: BTreeSet<Key> = desired.installations.iter().map(|d| snapshot::release_key(&d.id)).collect();
        let is_own = |release: &BundleRelease| Key::from(&release.spec.sync) == key;
        let concerns = |release: &&BundleRelease| !is_own(release) || !wanted.contains(&Key::of(*release));
        let others = snapshot.releases.iter().any(|release| concerns(&release))
            || snapshot.concerns_others(&SyncRef::from(sync));
        for release in &snapshot.releases {
            let (of, owner) = (Key::of(release), Key::from(&release.spec.sync));
            let place = (of.namespace.clone(), of.name.clone());
            if owner != key {
                if self.cluster.lets_go(&of, &owner) {
                    if self.cluster.awaiting.has(&owner) {
                        snapshot.live.yielded.insert(place.clone());
                    }
                    snapshot.live.leaving.insert(place);
                }
            } else if !wanted.contains(&of)
                && let Some(claimant) = self.cluster.claimant(&of, &key)
                // Who waits for this one to be gone takes over what it has let go of.
                && !(order.removal == Removal::Orphan && self.cluster.awaits(&Key::from(&claimant), &key))
            {
                snapshot.live.claimed.insert(place, claimant);
            }
        }
        let owners = snapshot.releases.iter().filter(|release| unread.contains(&release.spec.sync));
        let leaving: Vec<_> = owners.map(Key::of).map(|release| (release.namespace, release.name)).collect();
        snapshot.live.leaving.extend(leaving);
        snapshot.live.unread = unread.into_iter().chain(unknown).find(|_| others);
    }

    /// How soon what failed is tried again. Who asks for a reconcile asks for the next try too.
    fn pause(&self, sync: &BundleSync) -> SignedDuration {
        let requested = sync.annotations().get(REQUESTED_AT);
        let handled = sync.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
        let asked = requested.is_some_and(|requested| Some(requested) != handled);
        if self.remember(&Key::of(sync), |memory| memory.retries_now(asked)) {
            return SignedDuration::ZERO;
        }
        SignedDuration::try_from(sync.spec.retry_interval().as_std()).unwrap_or(SignedDuration::MAX)
    }
}

/// What is asked for by hand of all installations: as in Flux, when both annotations have one value.
pub(super) fn force(sync: &BundleSync) -> Option<Force<'_>> {
    let at = sync.annotations().get(FORCE_AT).filter(|at| Some(*at) == sync.annotations().get(REQUESTED_AT))?;
    let last = sync.status.as_ref().and_then(|status| status.last_handled_force_at.as_ref());
    Some(Force { at, handled: last == Some(at) })
}

/// What the inventory of a sync holds.
fn entries(sync: &BundleSync) -> Vec<InventoryEntry> {
    let inventory = sync.status.as_ref().and_then(|status| status.inventory.as_ref());
    inventory.map(|inventory| inventory.entries.clone()).unwrap_or_default()
}

/// What the inventory held and what is desired and ours to write: nothing leaves it before it is gone from the cluster.
fn inventory(
    sync: &BundleSync,
    desired: &Desired,
    steps: &[Step],
    snapshot: &Snapshot,
    removal: Removal,
) -> Vec<InventoryEntry> {
    let refused = steps.iter().filter(|step| matches!(step.action, Action::Refuse));
    let refused: BTreeSet<&Subject> = refused.map(|step| &step.subject).collect();
    let mut held: BTreeMap<String, InventoryEntry> =
        entries(sync).into_iter().map(|entry| (entry.id.clone(), entry)).collect();
    if removal != Removal::Keep {
        // What another sync asks for is this one's until that has it: it may never come to it.
        let stands = snapshot.live.dropped.keys().chain(&snapshot.handed);
        let stands: BTreeSet<String> = stands.map(inventory_id).collect();
        held.retain(|id, _| stands.contains(id));
    }
    for object in desired.sets.iter().chain(&desired.objects) {
        let id = &object.id;
        if !refused.contains(&Subject::Object(id.clone())) {
            let version = object.api_version.rsplit('/').next().unwrap_or_default();
            let entry = InventoryEntry::new(&id.namespace, &id.name, &id.group, &id.kind, version);
            held.insert(entry.id.clone(), entry);
        }
    }
    held.into_values().collect()
}

/// An object as the inventory has it.
pub(super) fn inventory_id(id: &manifest::ObjectId) -> String {
    InventoryEntry::new(&id.namespace, &id.name, &id.group, &id.kind, "").id
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_confirmation_is_of_what_the_sync_asks_for_at_that_moment() {
        // The generation, what the annotation says, what was confirmed at which generation -> confirmed, what is asked for.
        for (generation, said, before, confirmed, value) in [
            (1, None, None, false, "main@sha1:1"),
            (1, Some("main@sha1:1"), None, true, "main@sha1:1"),
            (1, Some("main@sha1:0"), None, false, "main@sha1:1"),
            (1, Some("main@sha1:1"), Some(("main@sha1:1", 1)), true, "main@sha1:1"),
            (2, Some("main@sha1:1"), Some(("main@sha1:1", 1)), false, "main@sha1:1/2"),
            (2, Some("main@sha1:1/2"), Some(("main@sha1:1", 1)), true, "main@sha1:1/2"),
            (2, Some("main@sha1:1/2"), Some(("main@sha1:1", 2)), true, "main@sha1:1"),
            (3, Some("main@sha1:1/2"), Some(("main@sha1:1", 2)), false, "main@sha1:1/3"),
            (3, Some("main@sha1:1"), Some(("main@sha1:0", 2)), true, "main@sha1:1"),
        ] {
            let mut object = json!({
                "metadata": {"name": "apps", "generation": generation, "annotations": {}},
                "spec": {"sourceRef": {"kind": "GitRepository", "name": "fleet"}, "interval": "10m", "prune": true},
            });
            if let Some(said) = said {
                object["metadata"]["annotations"][CONFIRM] = said.into();
            }
            if let Some((revision, generation)) = before {
                object["status"] =
                    json!({"pruned": {"confirmedRevision": revision, "confirmedGeneration": generation}});
            }
            let sync: BundleSync = serde_json::from_value(object).unwrap();
            let order = Order {
                digest: None,
                revision: "main@sha1:1",
                origin_revision: None,
                removal: Removal::Uninstall,
                limit: None,
                ask: true,
                confirmation: "main@sha1:1",
            };
            let told = Confirmation::of(&sync, &order);
            assert_eq!((told.confirmed, told.value.as_str()), (confirmed, value), "{generation} {said:?} {before:?}");
            let after = told.after(&sync, &order, BTreeSet::new());
            let noted = after
                .as_ref()
                .and_then(|pruned| Some((pruned.confirmed_revision.as_deref()?, pruned.confirmed_generation?)));
            assert_eq!(noted, if confirmed { Some(("main@sha1:1", generation)) } else { before });
        }
    }
}
