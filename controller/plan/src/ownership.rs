//! Whose an installation, its object or another object is, and so whether it may be written.
//!
//! Invariant: nothing is written that another BundleSync asks for, or that somebody else made and `spec.adoption` does not let
//! us take; nor is a Porter installation written into an object that holds another one. How far a run is decides nothing here.

use api::porter::Installation;
use api::{BundleRelease, InstallationId, PorterIdentity, SyncRef};
use manifest::ObjectId;
use porter::DesiredInstallation;
use serde_json::Value;

use crate::adopt;
use crate::input::{LiveInstallation, Removal};
use crate::place;
use crate::planner::Planner;
use crate::release::{is_begun, is_pruned, is_tombstone, namespace};
use crate::seen::{Seen, holds};
use crate::step::{Refusal, Subject};
use crate::write::id;

impl<'a> Planner<'a> {
    /// Why an object of the source, which stands with this metadata, may not be written.
    pub(crate) fn object_refusal(&self, id: &ObjectId, metadata: &Value) -> Option<Refusal> {
        let input = self.input;
        if !self.runs_are_awaited() {
            return None;
        }
        match SyncRef::owner_by(metadata) {
            Some(owner) => {
                let ours =
                    owner == *input.sync || input.live.absent_owners.contains(&owner) || input.live.freed.contains(id);
                let sync = input.sync.clone();
                (!ours).then(|| Refusal::ObjectOwnedBy { id: id.clone(), owner, sync })
            }
            // Whatever the inventory says: it is written before the object is, and so can name one that we never made.
            None => adopt::refusal(id, metadata, input.adoption, input.sync),
        }
    }

    /// Why an installation of the source may not be written.
    pub(crate) fn refusal(
        &self,
        subject: &Subject,
        desired: &DesiredInstallation,
        release: Option<&BundleRelease>,
        live: Option<&LiveInstallation>,
    ) -> Option<Refusal> {
        let input = self.input;
        let owned_by = |owner: &SyncRef| Refusal::OwnedBy { subject: subject.clone(), owner: owner.clone() };
        if let Some(release) = release {
            if !self.is_free(release) {
                return Some(owned_by(&release.spec.sync));
            }
            let old = self.old_object(desired, release);
            if let Some(refusal) = old.and_then(|old| self.stuck(subject, old, release)) {
                return Some(refusal);
            }
        }
        let live = live?;
        let held = holds(live);
        if held != desired.id.porter() {
            if self.holder(desired).is_some() || self.mover(desired).is_some() {
                return None;
            }
            let told = |identity: &PorterIdentity| format!("{}/{}", identity.namespace, identity.name);
            return (!self.leaves(&desired.id.kube_namespace, &held)).then(|| Refusal::OtherIdentity {
                object: id::<Installation>(&desired.id.kube_namespace, &desired.object_name),
                holds: told(&held),
                asked: told(&desired.id.porter()),
            });
        }
        if !self.runs_are_awaited() || release.is_some_and(|release| is_noted(release, live)) {
            return None;
        }
        match SyncRef::owner_of(&live.object) {
            Some(owner) if owner == *input.sync || input.live.absent_owners.contains(&owner) => None,
            // Not refused above: it has left the source of that sync.
            Some(owner) if release.is_some_and(|release| release.spec.sync == owner) => None,
            Some(owner) => Some(owned_by(&owner)),
            None => {
                let id = id::<Installation>(&desired.id.kube_namespace, &desired.object_name);
                // Metadata is made of strings, numbers and lists: it has a JSON form.
                let metadata = serde_json::to_value(&live.object.metadata).unwrap_or(Value::Null);
                adopt::refusal(&id, &metadata, input.adoption, input.sync)
            }
        }
    }

    /// Whether the Installation of a release is somebody else's, or was: no write of ours was seen on it. Such a one is never
    /// touched on the way out; nothing of it was ours to uninstall.
    pub(crate) fn is_foreign(&self, release: &BundleRelease) -> bool {
        let status = release.status.as_ref();
        self.runs_are_awaited()
            && match self.object_of(release) {
                Some(live) => !is_noted(release, live) && !bears_ours(live, &release.spec.sync),
                None => status.is_some_and(|status| status.uid.is_none() && status.bundle.is_some()),
            }
    }

    /// Whether a release is ours, or may become so: the sync that has it has lost the document, or is gone itself.
    pub(crate) fn is_free(&self, release: &BundleRelease) -> bool {
        let owner = &release.spec.sync;
        let kept =
            release.spec.removed.is_some() && (!is_pruned(release) || !is_begun(release) || is_tombstone(release));
        let yielded = !is_begun(release) && self.input.live.yielded.contains(&place::release(release));
        owner == self.input.sync || kept || yielded || self.input.live.absent_owners.contains(owner)
    }

    /// The installation that has the object of a desired one, and is uninstalled now.
    pub(crate) fn holder(&self, desired: &DesiredInstallation) -> Option<InstallationId> {
        if self.input.removal != Removal::Uninstall {
            return None;
        }
        let held = self.input.live.installations.get(&place::asked(desired)).map(holds)?;
        if held == desired.id.porter() {
            return None;
        }
        let id = InstallationId::of(&desired.id.kube_namespace, held);
        let release = self.release_of(&id)?;
        (release.spec.sync == *self.input.sync && !self.wanted.contains_key(&id)).then_some(id)
    }

    /// The same Porter installation in another Kubernetes namespace, which is uninstalled now. Both may be one record of
    /// Porter's, where namespaces share a database: to install while it is uninstalled would end without either.
    pub(crate) fn elsewhere(
        &self,
        desired: &DesiredInstallation,
        release: Option<&BundleRelease>,
    ) -> Option<InstallationId> {
        if self.input.removal != Removal::Uninstall || release.is_some_and(|release| !is_pruned(release)) {
            return None;
        }
        let others = self.releases.values().filter(|other| {
            other.spec.sync == *self.input.sync
                && other.spec.installation == desired.id.porter()
                && namespace(other) != desired.id.kube_namespace
                && !is_tombstone(other)
        });
        others.map(|other| other.installation_id()).find(|id| !self.wanted.contains_key(id))
    }

    /// Whether the same Porter installation was uninstalled in another Kubernetes namespace, and its record kept, and nothing
    /// is known of it in this one. Where both share a database of Porter's, a plain apply does nothing: it is installed by force.
    pub(crate) fn is_kept_elsewhere(&self, release: &BundleRelease, seen: &Seen<'_>) -> bool {
        let is_new = release.status.as_ref().is_none_or(|status| status.runs.is_empty() && status.uninstall.is_none());
        is_new
            && bears_ours(seen.live, &release.spec.sync)
            && self.releases.values().any(|other| {
                other.spec.installation == release.spec.installation
                    && namespace(other) != namespace(release)
                    && is_tombstone(other)
            })
    }

    /// The object of a release, whosever it is.
    pub(crate) fn object_of(&self, release: &BundleRelease) -> Option<&'a LiveInstallation> {
        let live = self.input.live.installations.get(&place::object(release));
        live.filter(|live| holds(live) == release.spec.installation)
    }

    /// Whether an installation is uninstalled by this very plan, so that its object is free.
    fn leaves(&self, kube_namespace: &str, identity: &PorterIdentity) -> bool {
        let id = InstallationId::of(kube_namespace, identity.clone());
        self.input.removal == Removal::Local && !self.wanted.contains_key(&id) && self.release_of(&id).is_some()
    }
}

/// Whether the ledger knows an Installation as ours.
fn is_noted(release: &BundleRelease, live: &LiveInstallation) -> bool {
    let noted = release.status.as_ref().and_then(|status| status.uid.as_ref());
    noted.is_some() && noted == live.object.metadata.uid.as_ref()
}

/// Whether an Installation bears what a write of ours leaves on it: our labels, or our finalizer where no labels say that it
/// is another's.
pub(crate) fn bears_ours(live: &LiveInstallation, sync: &SyncRef) -> bool {
    SyncRef::owner_of(&live.object).map_or_else(|| api::is_held(&live.object), |owner| owner == *sync)
}
