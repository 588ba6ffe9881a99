//! What the operator and Porter leave behind for an AgentAction: a volume claim, Secrets with Porter's configuration and
//! documents, and the Jobs of bundles with theirs. None of them has an owner, so they stay when the AgentAction goes.
//!
//! Guarantees: only what names the AgentAction by the labels that the operator gives to all that it makes for it; only that
//! of an AgentAction whose run is over and of whose bundle no Job is on. They go before it does, so that none is forgotten
//! when the controller stops in between; with an Installation, before our finalizer is lifted from it. (Only where its Job is
//! about to expire they go after it: it could begin again meanwhile, and would miss them.) What begins all the same while it is
//! being deleted, or outlives one that somebody else deleted, goes when its bundle's Job is over.

use std::collections::BTreeSet;

use api::BundleSync;
use api::porter::{AgentAction, label};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use plan::{Action, Live, Reason, Step};

use super::Reconciler;
use crate::cluster;
use crate::mirror::Key;
use crate::snapshot;
use crate::writer::RequestError;

/// How soon a Job that expires counts as about to, in seconds.
const ABOUT: i64 = 120;

impl Reconciler {
    /// The AgentActions that go with a step, by it or because their owner does, and whose runs are over. Those of an
    /// Installation that our finalizer holds go when that is lifted: until then one can begin again.
    pub(super) fn goes_with(&self, step: &Step, seen: &Live) -> Vec<Key> {
        if self.keep_leftovers {
            return Vec::new();
        }
        let (object, lifts) = match &step.action {
            Action::Delete(delete) => (&delete.id, false),
            Action::LiftFinalizer(lift) if step.reason == Reason::Deleted => (&lift.id, true),
            _ => return Vec::new(),
        };
        let key = Key::new(&object.namespace, &object.name);
        match object.kind.as_str() {
            "AgentAction" => {
                let action = self.cluster.agent_actions.get(&key).ok().flatten();
                let over = action.is_some_and(|action| plan::observe::end(&action).is_some());
                over.then_some(key).into_iter().collect()
            }
            "Installation" => {
                let live = seen.installations.get(&(object.namespace.clone(), object.name.clone()));
                let live = live.filter(|live| lifts || !api::is_held(&live.object));
                let actions = live.into_iter().flat_map(|live| &live.actions);
                actions.filter(|action| plan::observe::end(action).is_some()).map(Key::of).collect()
            }
            // What its deletion leaves behind is not known yet, and nobody asks for it when the set has gone.
            kind @ ("CredentialSet" | "ParameterSet") => {
                let actions = self.cluster.actions_for(kind, &key);
                let over = actions.iter().filter(|action| plan::observe::end(action).is_some());
                over.map(|action| Key::of(action.as_ref())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the Job of an AgentAction goes soon, or has gone: the operator makes it anew then.
    pub(super) fn begins_again(&self, action: &Key) -> bool {
        let jobs = self.cluster.jobs_of(action);
        let mut jobs = jobs.iter().filter(|job| !snapshot::is_bundle_job(job));
        let lasts = |job: &Job| {
            let spec = job.spec.as_ref();
            let Some(seconds) = spec.and_then(|spec| spec.ttl_seconds_after_finished) else { return true };
            let status = job.status.as_ref();
            let ended = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
            let ended = ended.filter_map(|condition| condition.last_transition_time.as_ref()).map(|time| time.0).max();
            ended.is_some_and(|ended| Timestamp::now().as_second() + ABOUT < ended.as_second() + i64::from(seconds))
        };
        !jobs.any(|job| lasts(job))
    }

    /// The AgentActions that are gone while a bundle's Job of theirs, that is over now, is there.
    pub(super) fn outlived(&self, sync: &BundleSync) -> BTreeSet<Key> {
        if self.keep_leftovers {
            return BTreeSet::new();
        }
        let orphans = self.cluster.orphaned_jobs_for(&Key::of(sync));
        let bundles = orphans.iter().filter(|job| snapshot::is_bundle_job(job));
        let mut actions: BTreeSet<Key> = bundles.map(|job| cluster::action_of(job)).collect();
        actions.retain(|action| self.cluster.jobs_of(action).iter().all(|job| snapshot::is_final(job)));
        actions
    }

    /// Deletes what was left behind for AgentActions that are gone.
    pub(super) async fn sweep_outlived(&self, actions: &BTreeSet<Key>) -> Result<(), RequestError> {
        for action in actions {
            // The watch of AgentActions may lag behind that of Jobs.
            if self.writer.version::<AgentAction>(action).await?.is_none() {
                self.sweep(action).await?;
            }
        }
        Ok(())
    }

    /// Deletes what was left behind for an AgentAction.
    pub(super) async fn sweep(&self, action: &Key) -> Result<(), RequestError> {
        let of_action = format!("{}=AgentAction,{}={}", label::RESOURCE_KIND, label::RESOURCE_NAME, action.name);
        let bundles = format!("{of_action},{}={}", label::JOB_TYPE, label::JOB_TYPE_INSTALLER);
        // Asked for, since the watch of Jobs may lag behind that of AgentActions, and one that is not seen now would stay.
        let bundles = self.writer.jobs(&action.namespace, &bundles).await?;
        if !bundles.iter().all(snapshot::is_final) {
            return Ok(());
        }
        let labels = format!("{}=true,{of_action}", label::MANAGED);
        for (claim, uid) in self.writer.leftovers::<PersistentVolumeClaim>(&action.namespace, &labels).await? {
            self.writer.delete_leftover::<PersistentVolumeClaim>(&claim, &uid).await?;
        }
        for (secret, uid) in self.writer.leftovers::<Secret>(&action.namespace, &labels).await? {
            self.writer.delete_leftover::<Secret>(&secret, &uid).await?;
        }
        // Last: where the AgentAction is gone, the rest is found by them.
        for job in bundles {
            let uid = job.uid().unwrap_or_default();
            self.writer.delete_leftover::<Job>(&Key::of(&job), &uid).await?;
        }
        Ok(())
    }
}
