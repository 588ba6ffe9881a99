//! One step of a plan, as requests.
//!
//! Guarantee: what destroys is carried out only when what it was decided by still stands, read from the API server just before.
//! What was written is in the mirrors when a step returns.

use std::collections::{BTreeMap, BTreeSet};

use api::porter::{AgentAction, Installation, label};
use api::{BundleRelease, BundleSync, RELEASE_LABEL, SyncRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use plan::{Action, Apply, Live, Precondition, Reason, Step, Subject};
use serde_json::Value;

use super::Reconciler;
use crate::mirror::Key;
use crate::writer::RequestError;

impl Reconciler {
    /// `releases` are those that the plan was made of, and what was written of them since.
    pub(super) async fn step(
        &self,
        step: &Step,
        sync: &BundleSync,
        releases: &mut BTreeMap<Key, BundleRelease>,
        seen: &Live,
    ) -> Result<(), RequestError> {
        if is_grave(step) {
            self.look_again(step, releases, seen).await?;
        }
        let (after, before): (Vec<Key>, Vec<Key>) =
            self.goes_with(step, seen).into_iter().partition(|action| self.begins_again(action));
        for action in &before {
            self.sweep(action).await?;
        }
        self.carry_out(sync, step, releases).await?;
        for action in &after {
            self.sweep(action).await?;
        }
        Ok(())
    }

    async fn carry_out(
        &self,
        sync: &BundleSync,
        step: &Step,
        releases: &mut BTreeMap<Key, BundleRelease>,
    ) -> Result<(), RequestError> {
        match &step.action {
            Action::Run(action) => {
                let made = self.writer.create(action.as_ref()).await?;
                self.cluster.agent_actions.record_write(made);
            }
            Action::Delete(delete) => {
                self.writer.delete(delete).await?;
            }
            Action::LiftFinalizer(lift) => {
                let (key, version) = (Key::new(&lift.id.namespace, &lift.id.name), lift.resource_version.as_str());
                self.writer.set_finalizers::<Installation>(&key, Some(version), &lift.finalizers, lift.disown).await?;
            }
            Action::ApplyObject(apply) | Action::ApplySet(apply) => {
                let written = match self.apply_whole(apply).await {
                    // ConfigMaps and Secrets of others are not mirrored: the next plan would not know them either.
                    Err(error) if error.is_conflict() && apply.precondition == Precondition::Absent => {
                        match self.writer.foreign(&apply.body).await? {
                            Some(metadata) => self.adopt(apply, metadata, sync).await?,
                            None => return Err(error),
                        }
                    }
                    written => written?,
                };
                self.cluster.record_json(&apply.id.kind, written);
            }
            Action::ApplyInstallation(apply) => {
                let written = self.apply_whole(apply).await?;
                self.cluster.record_json(&apply.id.kind, written);
            }
            Action::RecordRelease(record) if record.create => {
                let release = record.release.as_ref();
                match self.writer.create(release).await {
                    Ok(written) => self.cluster.releases.record_write(written),
                    Err(error) => {
                        // The watch has not brought it yet, and may not for long: the next plan needs it.
                        if error.is_conflict()
                            && let Some(stands) = self.writer.read(release).await?
                        {
                            self.cluster.releases.record_write(stands);
                        }
                        return Err(error);
                    }
                }
            }
            Action::RecordRelease(record) => self.replace_release(&record.release, releases).await?,
            Action::MarkRemoved(release) => self.replace_release(release, releases).await?,
            Action::ReleaseStatus { namespace, name, status } => {
                if let Some(release) = releases.get_mut(&Key::new(namespace, name)) {
                    let old = release.status.clone().unwrap_or_default();
                    let written = self.writer.apply_status_at(release, status).await?;
                    self.cluster.releases.record_write(written.clone());
                    *release = written;
                    self.tell_failures(release, &old).await;
                }
            }
            // Not planned for a cluster, and nothing to write.
            Action::UninstallInstallation { .. } | Action::Refuse | Action::Unchanged => {}
        }
        Ok(())
    }

    /// Before what cannot be taken back, what it is decided by is read from the API server: the release, and the runs of its
    /// installation. A watch may lag. Other objects are deleted at the version that was seen, and by that alone.
    async fn look_again(
        &self,
        step: &Step,
        releases: &BTreeMap<Key, BundleRelease>,
        seen: &Live,
    ) -> Result<(), RequestError> {
        let changed = || Err(RequestError::stale(step.told()));
        let id = match (&step.subject, &step.action) {
            (Subject::Installation(id), _) => id,
            // One that no release knows.
            (_, Action::LiftFinalizer(lift)) => {
                let stands = self.has_runs_as_seen(&(lift.id.namespace.clone(), lift.id.name.clone()), seen).await?;
                return if stands { Ok(()) } else { changed() };
            }
            _ => return Ok(()),
        };
        let key = Key::new(&id.kube_namespace, BundleRelease::object_name(id));
        let Some(release) = releases.get(&key) else {
            let Action::LiftFinalizer(lift) = &step.action else { return changed() };
            let object = (lift.id.namespace.clone(), lift.id.name.clone());
            let is_recorded = self.writer.version::<BundleRelease>(&key).await?.is_some();
            return if is_recorded || !self.has_runs_as_seen(&object, seen).await? { changed() } else { Ok(()) };
        };
        let stands = self.writer.read(release).await?;
        if stands.and_then(|stands| stands.resource_version()) != release.resource_version() {
            return changed();
        }
        let namespace = &id.kube_namespace;
        let object = (namespace.clone(), release.spec.object_name.clone());
        if matches!(step.action, Action::Run(_)) {
            let stands = self.writer.version::<Installation>(&Key::new(&object.0, &object.1)).await?;
            if stands != seen.installations.get(&object).and_then(|live| live.object.resource_version()) {
                return changed();
            }
        }
        let commands = seen.ours.get(&(namespace.clone(), key.name.clone())).map(Vec::as_slice).unwrap_or_default();
        let commands_now = self.writer.agent_actions(namespace, &format!("{RELEASE_LABEL}={}", key.name)).await?;
        // A step of this very plan may have deleted some.
        if !commands_now.is_subset(&versions(commands)) || !self.has_runs_as_seen(&object, seen).await? {
            return changed();
        }
        Ok(())
    }

    /// Whether an Installation has no other runs than those that were seen.
    async fn has_runs_as_seen(&self, object: &(String, String), seen: &Live) -> Result<bool, RequestError> {
        let (namespace, name) = object;
        let live = seen.installations.get(object).map(|live| live.actions.as_slice());
        let runs = live.or_else(|| seen.remains.get(object).map(|remains| remains.actions.as_slice()));
        let selector = format!("{}=Installation,{}={name}", label::RESOURCE_KIND, label::RESOURCE_NAME);
        let now = self.writer.agent_actions(namespace, &selector).await?;
        Ok(now.is_subset(&versions(runs.unwrap_or_default())))
    }

    /// Applies an object that somebody else made, as it was seen, where `spec.adoption` lets us.
    async fn adopt(&self, apply: &Apply, metadata: ObjectMeta, sync: &BundleSync) -> Result<Value, RequestError> {
        let owner = SyncRef::from(sync);
        let stands = serde_json::to_value(&metadata).unwrap_or_default();
        if let Some(refusal) = plan::adopt::refusal(&apply.id, &stands, sync.spec.adoption, &owner) {
            return Err(RequestError::refused(format!("apply {}", apply.id), refusal.to_string()));
        }
        let (version, uid) = (metadata.resource_version.unwrap_or_default(), metadata.uid);
        let version = self.writer.take_over(&apply.body, &version).await?;
        let precondition = Precondition::Version { version, uid };
        self.writer.apply_json(&Apply { precondition, ..apply.clone() }.request_body()).await
    }

    /// A server-side apply that leaves nothing in the object which is ours and not asked.
    async fn apply_whole(&self, apply: &Apply) -> Result<Value, RequestError> {
        let mut body = apply.request_body();
        let key = Key::new(&apply.id.namespace, &apply.id.name);
        if let Precondition::Version { version, .. } = &apply.precondition
            && self.cluster.is_shared(&apply.id.kind, &key)
        {
            body["metadata"]["resourceVersion"] = self.writer.take_over(&apply.body, version).await?.into();
        }
        self.writer.apply_json(&body).await
    }

    /// The spec of a release is wholly ours, so it is replaced, at the version that was planned with. What others have in
    /// its metadata, such as annotations and finalizers, stays.
    async fn replace_release(
        &self,
        release: &BundleRelease,
        releases: &mut BTreeMap<Key, BundleRelease>,
    ) -> Result<(), RequestError> {
        let key = Key::of(release);
        // A plan replaces only what it was made of.
        let Some(stands) = releases.get_mut(&key) else { return Ok(()) };
        let mut new = stands.clone();
        new.spec = release.spec.clone();
        new.status = None;
        let labels = release.metadata.labels.clone().unwrap_or_default();
        new.metadata.labels.get_or_insert_default().extend(labels);
        let written = self.writer.replace(&new).await?;
        self.cluster.releases.record_write(written.clone());
        // Our own writes are no events to us, and who had it until now tells of it.
        let had = &stands.spec.sync;
        if *had != written.spec.sync {
            self.queue.add(Key::new(&had.namespace, &had.name));
        }
        *stands = written;
        Ok(())
    }
}

/// AgentActions with their versions.
fn versions(actions: &[AgentAction]) -> BTreeSet<(String, String)> {
    actions.iter().map(|action| (action.name_any(), action.resource_version().unwrap_or_default())).collect()
}

/// Steps that cannot be taken back.
fn is_grave(step: &Step) -> bool {
    match &step.action {
        Action::Run(_) | Action::Delete(_) => true,
        // Then the Installation goes, and garbage collection cuts off what runs of it. What is let go of stays; and in a
        // namespace that is being deleted nothing can be kept.
        Action::LiftFinalizer(_) => !matches!(step.reason, Reason::Left | Reason::Abandoned),
        Action::ApplyInstallation(apply) => apply.body["spec"]["uninstalled"] == true,
        _ => false,
    }
}
