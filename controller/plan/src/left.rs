//! What left the source: whether so much may go, who else asks for it, and in which order it goes.
//!
//! Guarantee: nothing is marked to be uninstalled before it is known who asks for it, nor beyond what the guard lets through;
//! what another sync asks for is handed over.

use std::collections::BTreeSet;

use api::porter::{AgentAction, Installation};
use api::{BundleRelease, BundleState, InstallationId, Removed, SyncRef};
use jiff::SignedDuration;
use manifest::ObjectId;
use porter::DesiredInstallation;

use crate::agent;
use crate::input::{LiveInstallation, LiveSet, Removal};
use crate::object::is_set;
use crate::observe::{self, Owner};
use crate::outcome::{Blocked, Told};
use crate::place::{self, Place};
use crate::planner::Planner;
use crate::release::{self, is_begun, is_pruned, is_tombstone, namespace};
use crate::seen::{Seen, holds, superseded};
use crate::set_again::{self, Deletion};
use crate::set_moves;
use crate::step::{Action, Due, Reason, Record, Subject, WaitFor};
use crate::uninstall::Left;
use crate::write::{id, id_of};

/// How soon an installation is looked at again that waits for another sync.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);

impl<'a> Planner<'a> {
    /// Whether so much may be uninstalled, by Porter identity.
    pub(crate) fn guard(&mut self) {
        let input = self.input;
        let guard = &input.guard;
        let (mut pruned, confirmed) = (guard.pruned.clone(), guard.confirmed);
        if input.removal == Removal::Uninstall {
            let identity = |release: &&BundleRelease| release.installation_id().to_string();
            let ours = self.releases.values().copied().filter(|release| release.spec.sync == *input.sync);
            let (left, stay): (Vec<&BundleRelease>, Vec<&BundleRelease>) =
                ours.partition(|release| !self.wanted.contains_key(&release.installation_id()));
            let leaves = |release: &&&BundleRelease| {
                !is_pruned(release) && self.claimant(release).is_none() && !self.is_foreign(release)
            };
            let new: BTreeSet<String> = left.iter().filter(leaves).map(identity).collect();
            // What came back, or is another's now, is not gone.
            let wanted: BTreeSet<String> = self.wanted.keys().map(ToString::to_string).collect();
            pruned.retain(|gone| !wanted.contains(gone));
            let had = left.iter().filter(|release| !is_pruned(release)).map(identity);
            let total: BTreeSet<String> = stay.iter().map(identity).chain(pruned.iter().cloned()).chain(had).collect();
            let gone = pruned.union(&new).count();
            let allowed = guard.limit.map_or(usize::MAX, |limit| limit.of(total.len()).max(1));
            // Where each is asked for, their number does not matter.
            let counts = !guard.ask && !confirmed;
            if counts && !new.is_empty() && gone > allowed {
                let (installations, unread) = (new.into_iter().collect(), input.live.unread.clone());
                let (count, total, confirmation) = (gone, total.len(), guard.confirmation.to_owned());
                self.plan.outcome.blocked =
                    Some(Blocked { installations, count, allowed, total, unread, confirmation });
            } else if counts && input.live.unread.is_none() && guard.limit.is_some_and(|limit| !limit.is_all()) {
                pruned.extend(new);
            }
        }
        self.plan.outcome.pruned = if confirmed { BTreeSet::new() } else { pruned };
    }

    /// Nothing of a revision that would uninstall too much is written. What was being uninstalled before it goes on, and what
    /// somebody deletes is not held.
    pub(crate) fn blocked(&mut self) {
        let releases: Vec<&BundleRelease> = self.releases.values().copied().collect();
        for release in releases.into_iter().filter(|release| release.spec.sync == *self.input.sync) {
            let subject = Subject::Installation(release.installation_id());
            if self.input.live.terminating.contains(&namespace(release)) {
                self.abandon(&subject, release);
                continue;
            }
            let goes_on = is_begun(release) || (self.claimant(release).is_none() && self.input.live.unread.is_none());
            if is_pruned(release)
                && goes_on
                && !self.is_foreign(release)
                && !self.wanted.contains_key(&release.installation_id())
            {
                self.pruning(&subject, release);
            } else if !is_tombstone(release) {
                let seen = self.seen(release);
                let reported = self.report(Some(release), seen.as_ref());
                self.status(&subject, Some(release), &reported, None, false);
                // Others may wait for what it has come to.
                self.plan.outcome.again |= reported.latched;
                if let Some(seen) = seen {
                    self.lift_over(&subject, Some(release), &seen);
                }
            }
        }
        self.unknown();
    }

    /// The installations of ours that the source no longer has.
    pub(crate) fn left(&mut self) {
        let input = self.input;
        for release in self.leaving() {
            let id = release.installation_id();
            if release.spec.sync != *input.sync || self.wanted.contains_key(&id) {
                continue;
            }
            let subject = Subject::Installation(id.clone());
            if input.removal == Removal::Local {
                let action = Action::UninstallInstallation { id, object_name: release.spec.object_name.clone() };
                self.push(&subject, action, Reason::Left, Due::Now);
                continue;
            }
            if input.live.terminating.contains(&id.kube_namespace) {
                self.abandon(&subject, release);
                continue;
            }
            if release.metadata.deletion_timestamp.is_some() {
                continue;
            }
            if self.is_foreign(release) {
                self.orphan(&subject, release);
                continue;
            }
            match input.removal {
                Removal::Orphan if is_tombstone(release) => {}
                Removal::Orphan if self.claimant(release).is_some() => self.handover(&subject, release),
                Removal::Orphan => self.orphan(&subject, release),
                Removal::Uninstall if is_begun(release) && is_pruned(release) => self.pruning(&subject, release),
                Removal::Uninstall if self.claimant(release).is_some() || input.live.unread.is_some() => {
                    self.handover(&subject, release);
                }
                Removal::Uninstall if is_pruned(release) => self.pruning(&subject, release),
                Removal::Uninstall if input.guard.asks() => {
                    self.kept(&subject, release);
                    let wait = WaitFor::Confirmation { value: input.guard.confirmation.to_owned() };
                    self.plan.outcome.add_uninstalling(&subject, wait.to_string(), false);
                    self.plan.outcome.unconfirmed.insert(subject);
                }
                Removal::Uninstall => {
                    self.mark(&subject, release, true);
                    self.plan.outcome.add_uninstalling(&subject, "its uninstall begins".to_owned(), false);
                }
                Removal::Keep | Removal::Local | Removal::Suspended => {
                    self.plan.outcome.add_removed();
                    self.kept(&subject, release);
                    if release.spec.removed.is_none() {
                        self.mark(&subject, release, false);
                    }
                }
            }
        }
    }

    /// The other sync that asks for an installation which left the source of this one.
    pub(crate) fn claimant(&self, release: &BundleRelease) -> Option<&'a SyncRef> {
        self.input.live.claimed.get(&place::release(release))
    }

    /// An installation that another sync asks for, or may ask for. Once it is known that one does it is marked as one that
    /// stays, so that it can be taken over; whether it may be uninstalled is asked anew when nobody asks for it any more.
    fn handover(&mut self, subject: &Subject, release: &BundleRelease) {
        let wait = match (self.claimant(release), &self.input.live.unread) {
            (Some(sync), _) => {
                if release.spec.removed.is_none() {
                    self.mark(subject, release, false);
                } else {
                    self.plan.outcome.handed.insert(subject.clone());
                }
                WaitFor::Handover { sync: sync.clone() }
            }
            (None, Some(sync)) => WaitFor::Reading { sync: sync.clone() },
            (None, None) => return,
        };
        self.kept(subject, release);
        self.plan.outcome.add_uninstalling(subject, wait.to_string(), false);
        self.look_again();
    }

    /// Looks again soon at what waits for another sync: no event need follow when that has read its source, or let go.
    pub(crate) fn look_again(&mut self) {
        self.plan.outcome.retry(self.input.now.checked_add(LOOK_AGAIN).unwrap_or(self.input.now));
    }

    /// Those of a suspended sync that somebody deletes, or that go with their namespace: our finalizer holds none of them for
    /// longer than a run of theirs is on. What that came to is noted before, for its AgentAction goes with it. Nothing else of
    /// such a sync is looked at.
    pub(crate) fn deleted(&mut self) {
        let own: Vec<&BundleRelease> =
            self.releases.values().copied().filter(|release| release.spec.sync == *self.input.sync).collect();
        for release in own {
            let subject = Subject::Installation(release.installation_id());
            if self.input.live.terminating.contains(&namespace(release)) {
                self.abandon(&subject, release);
            } else if let Some(seen) = self.seen(release) {
                if is_deleting(seen.live) && !is_tombstone(release) {
                    let reported = self.report(Some(release), Some(&seen));
                    self.status(&subject, Some(release), &reported, Some(WaitFor::Deletion.to_string()), true);
                }
                self.lift_over(&subject, Some(release), &seen);
            }
        }
        self.unknown();
    }

    /// Lifts our finalizer from an Installation that somebody deletes, once nothing of it runs.
    pub(crate) fn lift_over(&mut self, subject: &Subject, release: Option<&BundleRelease>, seen: &Seen<'_>) {
        if seen.is_over() && self.command(release).is_none() {
            self.lift(subject, seen.live, Reason::Deleted);
        }
    }

    /// Installations with our labels and finalizer that no release knows. One that is being deleted is let go, as in a
    /// namespace that is being deleted, where the release goes first: nobody else takes our finalizer off. Of one that we
    /// applied the ledger is written anew, by what stands there. Any other is a copy that somebody made: not ours.
    ///
    /// One whose identity was edited nobody looks after either: who deletes it may.
    pub(crate) fn unknown(&mut self) {
        let input = self.input;
        let blocked = self.plan.outcome.blocked.is_some();
        let only_deleted = input.removal == Removal::Suspended || blocked;
        // In a namespace that is being deleted, and of a revision that is refused, nothing is done for a document: what is left
        // of it is looked at here.
        let stays = |d: &&DesiredInstallation| !blocked && !input.live.terminating.contains(&d.id.kube_namespace);
        let known: BTreeSet<Place> = self
            .releases
            .values()
            .map(|release| place::object(release))
            .chain(input.desired.installations.iter().filter(stays).map(place::asked))
            .collect();
        let unknown = |(key, live): &(&Place, &LiveInstallation)| {
            !known.contains(*key) || (is_deleting(live) && !self.is_looked_after(key, live))
        };
        let unknown: Vec<(&Place, &LiveInstallation)> = input.live.installations.iter().filter(unknown).collect();
        for (key, live) in unknown {
            let seen = Seen::of(live, None);
            let ours = SyncRef::owner_of(&live.object).as_ref() == Some(input.sync);
            if !ours || !api::is_held(&live.object) || (only_deleted && !is_deleting(live)) {
                continue;
            }
            let subject = Subject::Object(id::<Installation>(&key.0, &key.1));
            let recorded = self.release_of(&InstallationId::of(&key.0, holds(live))).is_some();
            let told = if self.is_abandoned(live) {
                self.plan.outcome.abandoned.push(subject.clone());
                self.lift(&subject, live, Reason::Abandoned);
                WaitFor::Deletion.to_string()
            } else if seen.is_over() {
                self.lift(&subject, live, Reason::Deleted);
                WaitFor::Deletion.to_string()
            } else if input.live.terminating.contains(&key.0) {
                WaitFor::Namespace.to_string()
            } else if is_deleting(live) {
                seen.observed.busy.as_ref().unwrap_or(&WaitFor::Deletion).to_string()
            } else if input.removal == Removal::Orphan || recorded || !input.live.recoverable.contains(key) {
                self.lift(&subject, live, Reason::Left);
                "it is let go of".to_owned()
            } else if input.removal == Removal::Uninstall {
                let release = Box::new(release::recover(input, &key.0, &key.1, live, &seen.spec));
                let record = Action::RecordRelease(Record { release, create: true });
                self.push(&subject, record, Reason::Unrecorded, Due::Now);
                self.plan.outcome.again = true;
                Reason::Unrecorded.to_string()
            } else {
                continue;
            };
            self.plan.outcome.uninstalling.push(Told { subject, message: told });
        }
    }

    /// Whether an object holds an installation that nobody asked for: somebody edited its identity.
    pub(crate) fn is_edited(&self, object: &Place) -> bool {
        let Some(live) = self.input.live.installations.get(object) else { return false };
        let id = InstallationId::of(&object.0, holds(live));
        self.release_of(&id).is_none() && !self.wanted.contains_key(&id)
    }

    /// Whether an object is that of the installation which it holds, by a release or by the source.
    fn is_looked_after(&self, object: &Place, live: &LiveInstallation) -> bool {
        let id = InstallationId::of(&object.0, holds(live));
        self.release_of(&id).is_some_and(|release| place::object(release) == *object)
            || self.wanted.get(&id).is_some_and(|asked| place::asked(asked) == *object)
    }

    fn is_abandoned(&self, live: &LiveInstallation) -> bool {
        let namespace = live.object.metadata.namespace.as_deref().unwrap_or_default();
        is_deleting(live) && self.input.live.terminating.contains(namespace)
    }

    /// An installation that left the source and stays, or half of one: its runs are observed, and who deletes it by hand may.
    pub(crate) fn kept(&mut self, subject: &Subject, release: &BundleRelease) {
        if is_tombstone(release) {
            return;
        }
        let seen = self.seen(release);
        let reported = self.report(Some(release), seen.as_ref());
        let halted = (is_begun(release) && is_pruned(release))
            .then(|| "its uninstall has begun, and goes on once spec.prune is true".to_owned());
        self.status(subject, Some(release), &reported, halted, release.spec.removed.is_none());
        self.delete_noted(subject, release, &reported.status);
        if let Some(seen) = &seen {
            self.delete_superseded(subject, seen);
        }
        if let Some(seen) = seen {
            self.lift_over(subject, Some(release), &seen);
        }
    }

    /// The Installation of a release, where it is ours, as its document has it.
    pub(crate) fn seen(&self, release: &BundleRelease) -> Option<Seen<'a>> {
        let agent = agent::of(&release.spec.asked.spec);
        self.live_of(release).map(|live| Seen::of(live, agent))
    }

    /// Marks a release as one that left the source. How it stands after that the next plan tells, and no event brings that one
    /// about: it is our own write.
    fn mark(&mut self, subject: &Subject, release: &BundleRelease, prune: bool) {
        let mut spec = release.spec.clone();
        let revision = spec.removed.map_or_else(|| self.input.revision.to_owned(), |removed| removed.revision);
        spec.removed = Some(Removed { revision, prune });
        let marked = Box::new(release::with_spec(release, spec));
        self.push(subject, Action::MarkRemoved(marked), Reason::Left, Due::Now);
        self.plan.outcome.again = true;
    }

    /// An installation that is uninstalled, and then deleted.
    fn pruning(&mut self, subject: &Subject, release: &BundleRelease) {
        let (message, failed) = match self.uninstall(subject, release) {
            Left::Gone => {
                let kept = self.input.keep_record
                    && release.status.as_ref().and_then(|status| status.bundle) == Some(BundleState::Uninstalled);
                if kept {
                    return;
                }
                // Nothing is left to be told in it.
                self.plan.steps.retain(|step| step.subject != *subject);
                self.delete(subject, release, Reason::Uninstalled);
                ("it is uninstalled".to_owned(), false)
            }
            Left::On(wait) => (self.told_of(&namespace(release), &wait), false),
            Left::Moving(message) => (message, false),
            Left::Failed(message) => (message, true),
        };
        self.plan.outcome.add_uninstalling(subject, message, failed);
    }

    /// Sets and other objects that left the source, once nothing can need them any more.
    pub(crate) fn dropped(&mut self) {
        let input = self.input;
        // Another sync may ask for it. No event need follow when that has read the revision.
        let reading = input.live.unread.clone().map(|sync| WaitFor::Reading { sync });
        if reading.is_some() && !input.live.dropped.is_empty() {
            self.look_again();
        }
        let outcome = &self.plan.outcome;
        // What failed may need for its uninstall what the last spec that ran well names.
        let unclear = [&outcome.waiting, &outcome.running, &outcome.refused, &outcome.failed, &outcome.rolled_back];
        let mut clear = unclear.iter().all(|told| told.is_empty())
            && outcome.uninstalling.iter().all(|told| outcome.handed.contains(&told.subject))
            && outcome.uninstall_failed.is_empty();
        // Sets before the Secrets and configurations that the run of their deletion needs.
        let (sets, others): (Vec<_>, Vec<_>) = input.live.dropped.iter().partition(|(id, _)| is_set(id));
        for (id, live) in sets.into_iter().chain(others) {
            // What moves to another object goes for that.
            if !self.may_drop(id, live) || self.successor(id, live).is_some() {
                continue;
            }
            let metadata = &live.object["metadata"];
            let subject = Subject::Object(id.clone());
            let wait = match input.live.users.get(id) {
                _ if metadata["deletionTimestamp"].is_string() => Some(WaitFor::Deletion),
                _ if reading.is_some() => reading.clone(),
                _ if !clear => Some(WaitFor::Users),
                _ if is_on(id, live) => Some(WaitFor::Command { action: id.name.clone() }),
                Some(name) => Some(WaitFor::User { name: name.clone() }),
                None => None,
            };
            let told = match &wait {
                Some(WaitFor::Deletion) if is_set(id) => self.deleted_set(id, live),
                Some(wait) => Deletion::On(wait.to_string()),
                None => Deletion::On("it is deleted".to_owned()),
            };
            self.push(
                &subject,
                Action::Delete(set_moves::delete(id, live)),
                Reason::Left,
                wait.map_or(Due::Now, Due::Waiting),
            );
            let outcome = &mut self.plan.outcome;
            match told {
                Deletion::On(message) => outcome.uninstalling.push(Told { subject, message }),
                Deletion::Failed(message) => outcome.uninstall_failed.push(Told { subject, message }),
            }
            // The next kind comes when these are gone.
            clear &= !is_set(id);
        }
    }

    /// Whether an object that left the source is ours to delete.
    pub(crate) fn may_drop(&self, id: &ObjectId, live: &LiveSet) -> bool {
        let ours = SyncRef::owner_by(&live.object["metadata"]).as_ref() == Some(self.input.sync);
        ours && !self.input.live.terminating.contains(&id.namespace)
    }

    /// How a set gets on that is being deleted: the operator has Porter forget it before.
    pub(crate) fn deleted_set(&mut self, id: &ObjectId, live: &LiveSet) -> Deletion {
        let observed = observe::observe(&Owner::object(&live.object), &live.actions, None);
        // Should the deletion fail for long, Porter would be given again what it forgot in between.
        for action in superseded(&live.actions, &observed) {
            self.delete(&Subject::Object(id_of(action)), action, Reason::Superseded);
        }
        let mut run = set_again::run_of(id, live, &observed);
        let told = self.set_deletion(live, &observed, &mut run);
        self.plan.outcome.ran.extend(Some(run).filter(set_again::is_news));
        told
    }
}

/// Whether an object is an AgentAction that is on: its deletion would cut off what it runs.
fn is_on(id: &ObjectId, live: &LiveSet) -> bool {
    if id.kind != "AgentAction" {
        return false;
    }
    let action = serde_json::from_value::<AgentAction>(live.object.clone());
    action.is_ok_and(|action| {
        let has_begun = action.status.as_ref().is_some_and(|status| !status.conditions.is_empty());
        has_begun && observe::end(&action).is_none()
    })
}

fn is_deleting(live: &LiveInstallation) -> bool {
    live.object.metadata.deletion_timestamp.is_some()
}
