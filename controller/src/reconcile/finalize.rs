//! The end of a BundleSync: what it made is uninstalled or let go, and then it goes.
//!
//! Guarantee: our finalizer is on a sync before anything of it is applied, and goes only when nothing is left that it would
//! have to look after. It may not decide what is done with an installation: that is the plan's.

use api::porter::Installation;
use api::{BundleSync, DeletionPolicy, FINALIZER, UninstallPolicy, condition};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use plan::{Delete, Removal};
use porter::Desired;

use super::failure::{Again, Budget, Failure};
use super::planning::Order;
use super::{Progress, Reconciler, listed};
use crate::events::{Happening, Severity, reason};
use crate::mirror::Key;
use crate::snapshot::object_id;
use crate::writer::RequestError;

/// The confirmation that a deleted BundleSync takes what it installed along.
const CONFIRM_DELETION: &str = "delete";

impl Reconciler {
    /// Puts our finalizer on a sync before anything of it is applied. Of one that was deleted since it was read nothing is applied:
    /// nobody would look after that.
    pub(super) async fn hold(&self, sync: &BundleSync) -> Result<(), Failure> {
        if api::is_held(sync) {
            return Ok(());
        }
        let mut finalizers = sync.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        let version = sync.resource_version();
        let held =
            self.writer.set_finalizers::<BundleSync>(&Key::of(sync), version.as_deref(), &finalizers, false).await?;
        let Some(held) = held else {
            return Err(Failure::stale(std::iter::once("the BundleSync was deleted".to_owned())));
        };
        let mut now = sync.clone();
        now.metadata = held.metadata;
        self.cluster.syncs.record_write(now);
        Ok(())
    }

    /// What a deleted sync made goes, or stays, as its policy says; then the sync itself. Says whether it is gone.
    pub(super) async fn finalize(&self, sync: &BundleSync, progress: &mut Progress) -> Result<bool, Failure> {
        let unsynced = |error| Failure::new(condition::PRUNE_FAILED, error).again(Again::Unsynced);
        let namespace = sync.namespace().unwrap_or_default();
        if !self.writer.serves::<Installation>(&namespace).await? {
            self.cluster.releases.synced().map_err(unsynced)?;
            self.abandon(sync).await?;
            return self.lift(sync).await.map(|()| true);
        }
        self.cluster.synced().map_err(unsynced)?;
        let policy = sync.spec.uninstall.policy;
        let orphans = sync.spec.is_suspended()
            || match sync.spec.deletion_policy {
                DeletionPolicy::Orphan => true,
                DeletionPolicy::Uninstall => false,
                DeletionPolicy::MirrorPrune => !sync.spec.prune || policy == UninstallPolicy::Orphan,
            };
        let status = sync.status.clone().unwrap_or_default();
        if !orphans {
            self.follows_source(sync).await?;
        }
        let artifact = self.source_artifact(sync).ok();
        let order = Order {
            digest: artifact.as_ref().map(|artifact| artifact.digest.as_str()),
            revision: status.last_attempted_revision.as_deref().unwrap_or("deleted"),
            origin_revision: None,
            removal: if orphans { Removal::Orphan } else { Removal::Uninstall },
            limit: None,
            ask: policy == UninstallPolicy::Confirm && sync.spec.deletion_policy == DeletionPolicy::MirrorPrune,
            confirmation: CONFIRM_DELETION,
        };
        let budget = Budget::new(sync.spec.timeout().as_std());
        let _worker = self.workers.acquire().await;
        self.apply(sync, &order, &Desired::default(), &budget, progress).await?;
        let settled = progress.outcome.as_ref().is_some_and(|outcome| {
            outcome.uninstalling.is_empty() && outcome.uninstall_failed.is_empty() && !outcome.again
        });
        if !settled || progress.written > 0 {
            return Ok(false);
        }
        self.lift(sync).await.map(|()| true)
    }

    /// Where the operator's kinds are gone, all of its installations are gone with them and nothing can be uninstalled: the
    /// ledger of a sync goes too, and an event says so. ConfigMaps and Secrets stay: who uninstalls by hand may need them.
    async fn abandon(&self, sync: &BundleSync) -> Result<(), RequestError> {
        let releases = self.cluster.releases.group(&Key::of(sync).to_string());
        let mut installed = Vec::new();
        for release in &releases {
            self.writer.delete(&Delete::of(release.as_ref())).await?;
            installed.push(release.installation_id().to_string());
        }
        let inventory = sync.status.as_ref().and_then(|status| status.inventory.as_ref());
        let objects = inventory.into_iter().flat_map(|inventory| &inventory.entries);
        let objects = objects.filter_map(|entry| object_id(&entry.id)).filter(|id| id.group.is_empty());
        let stay: Vec<String> = objects.map(|id| id.to_string()).collect();
        for (intro, list) in [
            ("the API server no longer serves Installation: these are forgotten, and were not uninstalled", installed),
            ("the API server no longer serves Installation: these stay, and nobody looks after them any more", stay),
        ] {
            if !list.is_empty() {
                self.tell_abandoned(sync, &listed(intro, list.into_iter())).await;
            }
        }
        Ok(())
    }

    /// Tells of what can never be uninstalled.
    pub(super) async fn tell_abandoned(&self, sync: &BundleSync, message: &str) {
        tracing::error!(reason = reason::ABANDONED, "{message}");
        let revision = sync.status.as_ref().and_then(|status| status.last_attempted_revision.as_deref());
        let happening = Happening {
            severity: Severity::Error,
            reason: reason::ABANDONED,
            message,
            revision,
            origin_revision: None,
        };
        self.events.tell(sync, &happening, Timestamp::now()).await;
    }

    /// Takes our finalizer off a sync.
    async fn lift(&self, sync: &BundleSync) -> Result<(), Failure> {
        // What was written since the plan was made is in the version.
        let stands = self.cluster.syncs.get(&Key::of(sync)).ok().flatten();
        let stands = stands.as_deref().unwrap_or(sync);
        let finalizers: Vec<String> =
            stands.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
        let version = stands.resource_version();
        let lifted =
            self.writer.set_finalizers::<BundleSync>(&Key::of(sync), version.as_deref(), &finalizers, false).await;
        match lifted {
            Err(error) if error.is_conflict() => Err(Failure::stale([error.to_string()].into_iter())),
            lifted => lifted.map(drop).map_err(Failure::from),
        }
    }
}
