//! A BundleSync that is suspended: nothing is asked for, and its status stays as it is. And one that cannot know what is asked
//! for, since its source, its build or what it depends on fails, or that somebody took our finalizer off, so that it is gone: what
//! is deleted of it is not held meanwhile.
//!
//! Guarantee: what somebody deletes, or what goes with its namespace, is held by our finalizer for no longer than a run of it is
//! on. As long as nothing is deleted no request is made.

use std::time::Duration;

use api::{BundleSync, UninstallPolicy};
use plan::Removal;
use porter::Desired;
use serde_json::json;

use super::failure::{Again, Budget};
use super::planning::Order;
use super::{Progress, Reconciler, STALE, UNREACHABLE, UNSYNCED};
use crate::mirror::Key;
use crate::snapshot::Snapshot;

impl Reconciler {
    /// Lets go of what is being deleted, and says when it is to be looked at again.
    pub(super) async fn suspended(&self, sync: &BundleSync) -> Option<Duration> {
        tracing::debug!("reconciliation is suspended");
        self.let_go(sync).await
    }

    /// The same of a sync that is gone.
    pub(super) async fn left_behind(&self, key: &Key) -> Option<Duration> {
        // Nothing of its spec is looked at.
        let gone = json!({
            "metadata": {"name": key.name, "namespace": key.namespace},
            "spec": {"sourceRef": {"kind": "GitRepository", "name": key.name}, "interval": "1h", "prune": false},
        });
        let again = match serde_json::from_value(gone) {
            Ok(gone) => self.let_go(&gone).await,
            Err(error) => {
                tracing::error!(%error, "internal error: no BundleSync can be made");
                None
            }
        };
        self.forget(key);
        again
    }

    /// The same without a word: of a sync that did not come as far as a plan.
    pub(super) async fn let_go(&self, sync: &BundleSync) -> Option<Duration> {
        if self.cluster.synced().is_err() {
            return Some(UNSYNCED);
        }
        let desired = Desired::default();
        let snapshot = Snapshot::take(&self.cluster, sync, &desired);
        if snapshot.is_ok_and(|snapshot| snapshot.suspects(sync).is_empty()) {
            return None;
        }
        let status = sync.status.as_ref();
        let order = Order {
            digest: None,
            revision: status.and_then(|status| status.last_attempted_revision.as_deref()).unwrap_or("suspended"),
            origin_revision: None,
            removal: Removal::Suspended,
            limit: None,
            ask: sync.spec.uninstall.policy == UninstallPolicy::Confirm,
            confirmation: "",
        };
        let mut budget = Budget::new(sync.spec.timeout().as_std());
        let _worker = budget.worker(&self.workers).await;
        let failure = self.apply(sync, &order, &desired, &budget, &mut Progress::default()).await.err()?;
        tracing::warn!(error = failure.verdict.message(), "what is deleted is held yet");
        Some(if failure.again == Again::Stale { STALE } else { UNREACHABLE })
    }
}
