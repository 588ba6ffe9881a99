//! A Porter installation under another object name: its old Installation goes, without an uninstall, before the new one
//! is made. To Porter the new one is no change, so no bundle action runs.
//!
//! Guarantee: the old object goes only when it is ours and nothing of it runs, when the new name is free or becomes free by
//! this, and while the ledger has the installation; so a crash between the two leads on to the new object.

use std::collections::BTreeSet;

use api::porter::Installation;
use api::{BundleRelease, InstallationId, PorterIdentity, SyncRef};
use porter::DesiredInstallation;

use crate::agent;
use crate::input::LiveInstallation;
use crate::outcome::Standing;
use crate::place;
use crate::planner::Planner;
use crate::release::{self, namespace, release_name};
use crate::seen::{Seen, holds};
use crate::step::{Action, Due, Reason, Refusal, Subject, WaitFor};
use crate::uninstall::Left;
use crate::write::id;

impl<'a> Planner<'a> {
    /// The object that a desired installation has under another name, and its release, where it is still there.
    pub(crate) fn old_object(
        &self,
        desired: &DesiredInstallation,
        release: &'a BundleRelease,
    ) -> Option<&'a LiveInstallation> {
        if release.spec.object_name == desired.object_name || !self.runs_are_awaited() {
            return None;
        }
        self.object_of(release)
    }

    /// Why an installation cannot leave its old object: somebody else has taken that over.
    pub(crate) fn stuck(&self, subject: &Subject, old: &LiveInstallation, release: &BundleRelease) -> Option<Refusal> {
        let metadata = &old.object.metadata;
        let noted = release.status.as_ref().and_then(|status| status.uid.as_ref());
        let ours = SyncRef::owner_of(&old.object).is_some_and(|owner| {
            owner == *self.input.sync || owner == release.spec.sync || self.input.live.absent_owners.contains(&owner)
        });
        let known = noted.is_some() && noted == metadata.uid.as_ref();
        let object = id::<Installation>(&namespace(release), &release.spec.object_name);
        (!ours && !known).then(|| Refusal::Renamed { subject: subject.clone(), object })
    }

    /// What is done before an installation can have its new object: `None` once the old one is gone.
    pub(crate) fn leave(
        &mut self,
        subject: &Subject,
        desired: &DesiredInstallation,
        release: &'a BundleRelease,
    ) -> Option<Standing> {
        let old = self.old_object(desired, release);
        let seen = old.map(|live| Seen::of(live, agent::of(&release.spec.asked.spec)));
        let busy = self.busy(&place::object(release), seen.as_ref());
        let wait = self.command(Some(release)).or(busy).or_else(|| match &seen {
            Some(seen) if seen.live.object.metadata.deletion_timestamp.is_some() => Some(WaitFor::Deletion),
            Some(_) => self.mover(desired).filter(|_| !self.is_circle(desired)).map(|id| WaitFor::Move { id }),
            None => None,
        });
        if wait.is_none() && seen.is_none() {
            return None;
        }
        if self.is_anothers(Some(release), seen.as_ref()) {
            self.look_again();
        }
        let to = &desired.object_name;
        let told = wait.as_ref().map_or_else(
            || format!("its Installation {} makes place for {to}", release.spec.object_name),
            |wait| format!("it moves to Installation {to}: {wait}"),
        );
        let reported = self.report(Some(release), seen.as_ref());
        self.status(subject, Some(release), &reported, Some(told.clone()), wait.is_none());
        if let Some(seen) = seen {
            if seen.is_over() && self.command(Some(release)).is_none() {
                self.lift(subject, seen.live, Reason::Deleted);
            } else if wait.is_none() {
                let reason = Reason::Moved { from: release.spec.object_name.clone() };
                self.delete(subject, &seen.live.object, reason);
            }
        }
        Some(Standing::Waiting(told))
    }

    /// Another installation has the object of one that is uninstalled, whose own is gone: it gets one of a name that no
    /// other can have.
    pub(crate) fn give_way(&mut self, subject: &Subject, release: &BundleRelease) -> Left {
        let mut spec = release.spec.clone();
        let from = std::mem::replace(&mut spec.object_name, release_name(release));
        let record = Box::new(release::with_spec(release, spec));
        self.push(subject, Action::MarkRemoved(record), Reason::Moved { from }, Due::Now);
        self.plan.outcome.again = true;
        Left::Moving("it gets another object".to_owned())
    }

    /// The installation that has the object of a desired one, and leaves it for another.
    pub(crate) fn mover(&self, desired: &DesiredInstallation) -> Option<InstallationId> {
        if !self.runs_are_awaited() {
            return None;
        }
        let held = self.input.live.installations.get(&place::asked(desired)).map(holds)?;
        self.moves_from(&desired.id.kube_namespace, held, &desired.object_name)
    }

    fn moves_from(&self, kube_namespace: &str, held: PorterIdentity, object: &str) -> Option<InstallationId> {
        let id = InstallationId::of(kube_namespace, held);
        let release = self.release_of(&id)?;
        let wanted = self.wanted.get(&id)?;
        let moves = release.spec.object_name == object && wanted.object_name != object && self.is_free(release);
        moves.then_some(id)
    }

    /// Whether those that have the object of a desired installation, the object of that and so on, all wait for it itself.
    fn is_circle(&self, desired: &DesiredInstallation) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = self.mover(desired);
        while let Some(id) = next {
            if id == desired.id {
                return true;
            }
            next = self.wanted.get(&id).and_then(|wanted| self.mover(wanted));
            if !seen.insert(id) {
                return false;
            }
        }
        false
    }
}
