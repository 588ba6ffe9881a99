//! One BundleSync on its way: source -> artifact -> objects -> desired -> plan -> applied -> status.
//!
//! Guarantees: the status is written on every outcome, through [`Reconciler::report`] alone; nothing is applied when any
//! document is invalid; a reconcile that finds nothing to do makes no request; it never waits for a run. What it waits for
//! comes back as an event of a watch, or by the delay that it returns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::bundle_sync::{BundleSyncStatus, Inventory, InventoryEntry};
use api::source::Artifact;
use api::{BundleSync, REQUESTED_AT, SyncRef, condition};
use artifact::{ArtifactRef, FetchError, Fetcher};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kustomize::{BuildError, Built};
use manifest::{Diagnostics, FileTree};
use plan::{Action, Input, Outcome, Plan, Precondition, Removal, Step, Subject, Told};
use porter::Desired;
use tokio::sync::Semaphore;

use crate::cluster::{self, Cluster};
use crate::conditions::{self, Verdict};
use crate::events::{Events, Happening, Severity};
use crate::mirror::Key;
use crate::snapshot::Snapshot;
use crate::writer::{WriteError, Writer};

/// How soon a plan that turned out stale is made again.
const STALE: Duration = Duration::from_millis(500);
/// How soon the watches are asked again whether they are complete.
const UNSYNCED: Duration = Duration::from_secs(2);
/// How long the watches may take before a status tells of them.
const SYNC_GRACE: Duration = Duration::from_secs(15);
/// How soon a request that the API server did not answer is made again.
const UNREACHABLE: Duration = Duration::from_secs(10);
/// How many things a message names before it only counts them.
const MOST_TOLD: usize = 10;

/// What does not change between two reconciles.
pub struct Reconciler {
    /// What is known of the cluster.
    pub cluster: Arc<Cluster>,
    /// Fetches artifacts.
    pub fetcher: Fetcher,
    /// Writes to the API server.
    pub writer: Writer,
    /// Tells happenings.
    pub events: Events,
    /// Downloads at the same time.
    pub fetches: Semaphore,
    /// Builds and applies at the same time.
    pub workers: Semaphore,
    /// How soon a source without an artifact is looked at again.
    pub requeue_dependency: Duration,
    /// Variation of intervals, in per cent.
    pub jitter: u8,
    /// Whether a source of another namespace is refused.
    pub no_cross_namespace_refs: bool,
    /// When the controller started.
    pub started: Instant,
    /// What the last reconcile of each sync left behind.
    pub memory: Mutex<HashMap<Key, Memory>>,
}

/// What the last reconcile of a sync left behind. Losing it costs a download, never a run.
#[derive(Clone, Default)]
pub struct Memory {
    asked: Option<Asked>,
    /// Since when it is waited for the same thing.
    progressing: Option<(String, Instant)>,
}

#[derive(Clone)]
struct Asked {
    digest: String,
    path: String,
    result: Result<Arc<Desired>, Failure>,
}

/// Why a reconcile did not come to its end.
#[derive(Clone, Debug)]
struct Failure {
    verdict: Verdict,
    /// How soon it is tried again, when sooner than `retryInterval`.
    again: Option<Duration>,
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed { reason, message: message.into() }, again: None }
    }

    fn soon(mut self, again: Duration) -> Self {
        self.again = Some(again);
        self
    }
}

/// What a reconcile came to.
#[derive(Default)]
struct Progress {
    artifact: Option<Artifact>,
    /// The artifact was fetched and has the path.
    attempted: bool,
    outcome: Option<Outcome>,
    /// Objects that are, or are about to be, applied.
    inventory: Vec<InventoryEntry>,
    /// Objects written.
    written: usize,
}

impl Reconciler {
    /// Reconciles one sync, and says when it is to be looked at again.
    pub async fn reconcile(&self, key: &Key) -> Option<Duration> {
        let sync = match self.cluster.syncs.get(key) {
            Ok(Some(sync)) if sync.metadata.deletion_timestamp.is_none() => sync,
            Ok(_) => {
                self.lock().remove(key);
                return None;
            }
            Err(error) => {
                tracing::error!(name = key.name, namespace = key.namespace, error, "BundleSync cannot be read");
                return None;
            }
        };
        if sync.spec.is_suspended() {
            tracing::debug!(name = key.name, namespace = key.namespace, "reconciliation is suspended");
            return None;
        }
        let mut progress = Progress::default();
        let ended = self.run(key, &sync, &mut progress).await;
        let (verdict, again) = match ended {
            Ok(()) => self.judge(key, &sync, &progress),
            Err(Failure { verdict, again: Some(again) })
                if again == UNSYNCED && self.started.elapsed() < SYNC_GRACE =>
            {
                drop(verdict);
                return Some(again.min(STALE));
            }
            Err(failure) => (failure.verdict, failure.again),
        };
        let retry = sync.spec.retry_interval().as_std();
        let again = match &verdict {
            Verdict::Ready { .. } => self.jittered(sync.spec.interval.as_std()),
            Verdict::Progressing { .. } => again.unwrap_or(retry),
            Verdict::Failed { .. } => again.map_or(retry, |again| again.min(retry)),
            Verdict::Stalled { .. } => self.jittered(sync.spec.interval.as_std()),
        };
        if let Err(error) = self.report(&sync, &verdict, &progress).await {
            tracing::error!(name = key.name, namespace = key.namespace, %error, "status was not written");
            return Some(again.min(UNREACHABLE));
        }
        Some(again)
    }

    /// Tells in the status that a reconcile panicked; the panic itself is in the log.
    pub async fn report_panic(&self, key: &Key) {
        let Ok(Some(sync)) = self.cluster.syncs.get(key) else { return };
        let message = "internal error: the reconcile panicked; the controller's log has the place. Please report it";
        let verdict = Verdict::Failed { reason: condition::RECONCILIATION_FAILED, message: message.to_owned() };
        if let Err(error) = self.report(&sync, &verdict, &Progress::default()).await {
            tracing::error!(name = key.name, namespace = key.namespace, %error, "status was not written");
        }
    }

    async fn run(&self, key: &Key, sync: &BundleSync, progress: &mut Progress) -> Result<(), Failure> {
        self.cluster.synced().map_err(|error| Failure::new(condition::RECONCILIATION_FAILED, error).soon(UNSYNCED))?;
        let artifact = self.source_artifact(sync)?;
        progress.artifact = Some(artifact.clone());
        let desired = self.desired(key, sync, &artifact).await;
        progress.attempted = !matches!(&desired, Err(Failure { verdict: Verdict::Failed { reason, .. }, .. })
            if *reason == condition::ARTIFACT_FAILED);
        let desired = desired?;
        let _worker = self.workers.acquire().await;
        self.apply(sync, &artifact, &desired, progress).await
    }

    /// The artifact of the source, as its status names it.
    fn source_artifact(&self, sync: &BundleSync) -> Result<Artifact, Failure> {
        let kind = sync.spec.source_ref.kind;
        let key = cluster::source_key(sync);
        if self.no_cross_namespace_refs && Some(&key.namespace) != sync.namespace().as_ref() {
            let message = format!(
                "can't access {kind}/{key}: cross-namespace references are blocked by --no-cross-namespace-refs"
            );
            return Err(Failure {
                verdict: Verdict::Stalled { reason: condition::ACCESS_DENIED, message },
                again: None,
            });
        }
        let failed = |message| Failure::new(condition::ARTIFACT_FAILED, message);
        let source = self.cluster.source(kind, &key).map_err(|error| failed(error).soon(UNSYNCED))?;
        let Some(source) = source else {
            return Err(failed(format!("source {kind}/{key} not found")));
        };
        match source.artifact {
            Some(artifact) => Ok(artifact),
            None => {
                let why = source.not_ready.map(|why| format!(" ({why})")).unwrap_or_default();
                Err(failed(format!("source {kind}/{key} has no artifact yet{why}")).soon(self.requeue_dependency))
            }
        }
    }

    /// What the artifact asks for; remembered for as long as neither it nor the path changes.
    async fn desired(&self, key: &Key, sync: &BundleSync, artifact: &Artifact) -> Result<Arc<Desired>, Failure> {
        let path = sync.spec.path.clone().unwrap_or_default();
        if let Some(asked) = &self.lock().entry(key.clone()).or_default().asked
            && asked.digest == artifact.digest
            && asked.path == path
        {
            return asked.result.clone();
        }
        let tree = self.fetch(sync, artifact).await?;
        let _worker = self.workers.acquire().await;
        let (namespace, directory) = (key.namespace.clone(), path.clone());
        let result = match tokio::task::spawn_blocking(move || build(&tree, &directory, &namespace)).await {
            Ok(result) => result.map(Arc::new),
            Err(error) => {
                let message = format!("internal error while building {path:?}: {error}");
                return Err(Failure::new(condition::BUILD_FAILED, message));
            }
        };
        let asked = Asked { digest: artifact.digest.clone(), path, result: result.clone() };
        self.lock().entry(key.clone()).or_default().asked = Some(asked);
        result
    }

    async fn fetch(&self, sync: &BundleSync, artifact: &Artifact) -> Result<Arc<FileTree>, Failure> {
        let request = ArtifactRef {
            url: artifact.url.clone(),
            digest: artifact.digest.clone(),
            revision: artifact.revision.clone(),
        };
        let timeout = sync.spec.timeout().as_std();
        let Ok(_place) = tokio::time::timeout(timeout, self.fetches.acquire()).await else {
            let message = format!(
                "download of {} did not begin within {} s: --concurrent-fetches others are under way",
                artifact.revision,
                timeout.as_secs()
            );
            return Err(Failure::new(condition::ARTIFACT_FAILED, message));
        };
        self.fetcher.fetch(&request, timeout).await.map_err(|error| {
            let failure = Failure::new(condition::ARTIFACT_FAILED, error.to_string());
            match error {
                FetchError::NotFound { .. } => failure.soon(self.requeue_dependency),
                _ => failure,
            }
        })
    }

    async fn apply(
        &self,
        sync: &BundleSync,
        artifact: &Artifact,
        desired: &Desired,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let owner = SyncRef { name: sync.name_any(), namespace: sync.namespace().unwrap_or_default() };
        let unreadable = |error| Failure::new(condition::RECONCILIATION_FAILED, error);
        let snapshot = Snapshot::take(&self.cluster, sync, desired).map_err(unreadable)?;
        let Plan { steps, outcome } = plan::plan(&Input {
            sync: &owner,
            revision: &artifact.revision,
            origin_revision: artifact.origin_revision(),
            desired,
            releases: &snapshot.releases,
            live: &snapshot.live,
            inventory: &snapshot.inventory,
            removal: Removal::Keep,
            now: Timestamp::now(),
        });
        progress.outcome = Some(outcome);

        progress.inventory = inventory(sync, desired, &steps);
        if steps.iter().any(|step| step.is_due() && matches!(step.action, Action::ApplyObject(_) | Action::ApplySet(_)))
        {
            self.save_inventory(sync, &progress.inventory).await.map_err(write_failure)?;
        }
        let mut failures: Vec<(Subject, WriteError)> = Vec::new();
        for step in steps.iter().filter(|step| step.is_due()) {
            if failures.iter().any(|(subject, _)| *subject == step.subject) {
                continue;
            }
            match self.step(step).await {
                Ok(()) => {
                    let report = matches!(step.action, Action::ReleaseStatus { .. });
                    progress.written += usize::from(!report);
                    if !report {
                        tracing::info!(
                            controllerKind = "BundleSync", name = owner.name, namespace = owner.namespace,
                            revision = artifact.revision, subject = %step.subject, reason = %step.reason,
                            "{}", step.action.verb(),
                        );
                    }
                }
                Err(error) => failures.push((step.subject.clone(), error)),
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        if failures.iter().all(|(_, error)| error.is_conflict()) {
            let message =
                told("changed meanwhile, planning again", failures.iter().map(|(_, error)| error.to_string()));
            let verdict = Verdict::Progressing { message };
            return Err(Failure { verdict, again: Some(STALE) });
        }
        let again = failures.iter().any(|(_, error)| error.is_unreachable()).then_some(UNREACHABLE);
        let refused = progress.outcome.iter().flat_map(|outcome| &outcome.refused).map(say);
        let message = told("apply failed", failures.iter().map(|(_, error)| error.to_string()).chain(refused));
        Err(Failure { verdict: Verdict::Failed { reason: condition::RECONCILIATION_FAILED, message }, again })
    }

    async fn step(&self, step: &Step) -> Result<(), WriteError> {
        match &step.action {
            Action::ApplyObject(apply) | Action::ApplySet(apply) => {
                let written = match self.writer.apply_json(&apply.request_body()).await {
                    // ConfigMaps and Secrets of others are not mirrored: the next plan would not know them either.
                    Err(error) if error.is_conflict() && apply.precondition == Precondition::Absent => {
                        self.writer.refuse_foreign(&apply.body).await?;
                        return Err(error);
                    }
                    written => written?,
                };
                self.cluster.record_json(&apply.id.kind, written);
            }
            Action::ApplyInstallation(apply) => {
                let written = self.writer.apply_json(&apply.request_body()).await?;
                self.cluster.record_json(&apply.id.kind, written);
            }
            Action::RecordRelease(record) if record.create => {
                self.cluster.releases.record_write(self.writer.create(record.release.as_ref()).await?);
            }
            Action::RecordRelease(record) => self.replace_release(&record.release).await?,
            Action::MarkRemoved(release) => self.replace_release(release).await?,
            Action::ReleaseStatus { namespace, name, status } => {
                if let Ok(Some(release)) = self.cluster.releases.get(&Key::new(namespace, name)) {
                    let written = self.writer.apply_status(release.as_ref(), status).await?;
                    self.cluster.releases.record_write(written);
                }
            }
            // Not planned for a cluster, and nothing to write.
            Action::UninstallInstallation { .. } | Action::Refuse | Action::Unchanged => {}
        }
        Ok(())
    }

    /// A release is wholly ours, so it is replaced, at the version that was planned with.
    async fn replace_release(&self, release: &api::BundleRelease) -> Result<(), WriteError> {
        let mut release = release.clone();
        if release.metadata.resource_version.is_none()
            && let Ok(Some(stands)) = self.cluster.releases.get(&Key::of(&release))
        {
            release.metadata.resource_version.clone_from(&stands.metadata.resource_version);
        }
        release.status = None;
        self.cluster.releases.record_write(self.writer.replace(&release).await?);
        Ok(())
    }

    /// Before the first write of an object it is in the inventory, so that nothing we made is ever forgotten.
    async fn save_inventory(&self, sync: &BundleSync, entries: &[InventoryEntry]) -> Result<(), WriteError> {
        let mut status = sync.status.clone().unwrap_or_default();
        let inventory = Some(Inventory { entries: entries.to_vec() });
        if status.inventory == inventory {
            return Ok(());
        }
        status.inventory = inventory;
        let written = self.writer.apply_status(sync, &status).await?;
        self.cluster.syncs.record_write(written);
        Ok(())
    }

    /// The verdict over what was applied and what runs.
    fn judge(&self, key: &Key, sync: &BundleSync, progress: &Progress) -> (Verdict, Option<Duration>) {
        let (Some(artifact), Some(outcome)) = (&progress.artifact, &progress.outcome) else {
            return (Verdict::Progressing { message: "nothing is known yet".to_owned() }, None);
        };
        let revision = &artifact.revision;
        let failed = |reason, intro: &str, list: &[Told]| {
            (Verdict::Failed { reason, message: told(intro, list.iter().map(say)) }, None)
        };
        if !outcome.refused.is_empty() {
            return failed(condition::RECONCILIATION_FAILED, "not applied", &outcome.refused);
        }
        if sync.spec.wait && !outcome.failed.is_empty() {
            return failed(condition::HEALTH_CHECK_FAILED, "health check failed", &outcome.failed);
        }
        let mut pending: Vec<&Told> = outcome.waiting.iter().collect();
        if sync.spec.wait {
            pending.extend(&outcome.running);
        }
        let mut memory = self.lock();
        let memory = memory.entry(key.clone()).or_default();
        if pending.is_empty() {
            memory.progressing = None;
            return (Verdict::Ready { message: format!("Applied revision: {revision}") }, None);
        }
        let since = match &memory.progressing {
            Some((of, since)) if of == revision => *since,
            _ => Instant::now(),
        };
        memory.progressing = Some((revision.clone(), since));
        let timeout = sync.spec.timeout().as_std();
        match timeout.checked_sub(since.elapsed()) {
            Some(rest) if !rest.is_zero() => {
                let message =
                    told(&format!("Running bundle actions for revision {revision}"), pending.into_iter().map(say));
                (Verdict::Progressing { message }, Some(rest))
            }
            _ => {
                let intro = format!("timeout of {} s waiting for", timeout.as_secs());
                let message = told(&intro, pending.into_iter().map(say));
                (Verdict::Failed { reason: condition::HEALTH_CHECK_FAILED, message }, None)
            }
        }
    }

    /// Writes the status when it differs from what stands, and tells an event when something is new.
    async fn report(&self, sync: &BundleSync, verdict: &Verdict, progress: &Progress) -> Result<(), WriteError> {
        // The inventory may have been written meanwhile.
        let stands = self.cluster.syncs.get(&Key::of(sync)).ok().flatten();
        let old = stands.as_deref().unwrap_or(sync).status.clone().unwrap_or_default();
        let now = Timestamp::now();
        let generation = sync.metadata.generation.unwrap_or_default();
        let mut status = BundleSyncStatus {
            conditions: conditions::render(verdict, &old.conditions, generation, now),
            observed_generation: match verdict {
                Verdict::Ready { .. } | Verdict::Stalled { .. } => Some(generation),
                _ => old.observed_generation.or(Some(-1)),
            },
            last_handled_reconcile_at: sync.annotations().get(REQUESTED_AT).cloned(),
            ..old.clone()
        };
        let artifact = progress.artifact.as_ref();
        if let (Some(artifact), true) = (artifact, progress.attempted) {
            status.last_attempted_revision = Some(artifact.revision.clone());
        }
        if let (Some(artifact), Verdict::Ready { .. }) = (artifact, verdict) {
            status.last_applied_revision = Some(artifact.revision.clone());
            status.last_applied_origin_revision = artifact.origin_revision().map(str::to_owned);
        }
        if let Some(outcome) = &progress.outcome {
            status.installations = Some(outcome.summary.clone());
            status.inventory =
                (!progress.inventory.is_empty()).then(|| Inventory { entries: progress.inventory.clone() });
        }
        // A commit that concerns nobody still moves every status: a thousand at once are more than an API server takes.
        let _worker = self.workers.acquire().await;
        if status != old {
            let written = self.writer.apply_status(sync, &status).await?;
            self.cluster.syncs.record_write(written);
        }
        self.tell(sync, verdict, &old, progress, now).await;
        Ok(())
    }

    async fn tell(
        &self,
        sync: &BundleSync,
        verdict: &Verdict,
        old: &BundleSyncStatus,
        progress: &Progress,
        now: Timestamp,
    ) {
        let before = old.conditions.iter().find(|condition| condition.type_ == condition::READY);
        let (severity, reason, message, status) = match verdict {
            Verdict::Progressing { .. } => return,
            Verdict::Ready { message } => (Severity::Info, condition::RECONCILIATION_SUCCEEDED, message, "True"),
            Verdict::Failed { reason, message } | Verdict::Stalled { reason, message } => {
                (Severity::Error, *reason, message, "False")
            }
        };
        // A new revision that changed nothing of this sync is no news; another failure is.
        let repeated = before.is_some_and(|before| {
            before.status == status && before.reason == reason && (status == "True" || before.message == *message)
        });
        if repeated && progress.written == 0 {
            return;
        }
        match severity {
            Severity::Info => tracing::info!(
                controllerKind = "BundleSync",
                name = sync.name_any(),
                namespace = sync.namespace(),
                "{message}"
            ),
            Severity::Error => tracing::error!(
                controllerKind = "BundleSync",
                name = sync.name_any(),
                namespace = sync.namespace(),
                reason,
                "{message}"
            ),
        }
        let happening = Happening {
            severity,
            reason,
            message,
            revision: progress.artifact.as_ref().map(|artifact| artifact.revision.as_str()),
            origin_revision: progress.artifact.as_ref().and_then(Artifact::origin_revision),
        };
        self.events.tell(sync, &happening, now).await;
    }

    fn jittered(&self, interval: Duration) -> Duration {
        let part = f64::from(self.jitter) / 100.0;
        interval.mul_f64(1.0 + part * fastrand::f64() - part / 2.0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files to what they ask for.
fn build(tree: &FileTree, path: &str, namespace: &str) -> Result<Desired, Failure> {
    let options = kustomize::Options { document_hook: Some(&porter::document_hook) };
    let Built { objects, faults } = kustomize::build_partly(tree, path, &options).map_err(|error| match error {
        BuildError::PathNotFound { .. } => Failure::new(condition::ARTIFACT_FAILED, error.to_string()),
        BuildError::Invalid(faults) => Failure::new(condition::BUILD_FAILED, faults.to_string()),
    })?;
    if objects.is_empty() && faults.is_empty() {
        let message =
            format!("no document under path {path:?}: an empty build is refused, so that a mistake removes nothing");
        return Err(Failure::new(condition::BUILD_FAILED, message));
    }
    let context = porter::Context { default_namespace: namespace, tree };
    Diagnostics::join(faults, porter::interpret(&objects, &context))
        .map_err(|faults| Failure::new(condition::BUILD_FAILED, faults.to_string()))
}

/// What the inventory held and what is desired and ours to write: nothing leaves it before it is gone from the cluster.
fn inventory(sync: &BundleSync, desired: &Desired, steps: &[Step]) -> Vec<InventoryEntry> {
    let refused = |id: &manifest::ObjectId| {
        steps.iter().any(|step| {
            matches!(step.action, Action::Refuse) && matches!(&step.subject, Subject::Object(subject) if subject == id)
        })
    };
    let old = sync.status.as_ref().and_then(|status| status.inventory.as_ref());
    let mut entries: Vec<InventoryEntry> = old.map(|inventory| inventory.entries.clone()).unwrap_or_default();
    for object in desired.sets.iter().chain(&desired.objects).filter(|object| !refused(&object.id)) {
        let version = object.api_version.rsplit('/').next().unwrap_or_default();
        let id = &object.id;
        let entry = InventoryEntry::new(&id.namespace, &id.name, &id.group, &id.kind, version);
        entries.retain(|old| old.id != entry.id);
        entries.push(entry);
    }
    entries.sort();
    entries
}

fn write_failure(error: WriteError) -> Failure {
    let failure = Failure::new(condition::RECONCILIATION_FAILED, error.to_string());
    if error.is_unreachable() { failure.soon(UNREACHABLE) } else { failure }
}

fn say(told: &Told) -> String {
    format!("{}: {}", told.subject, told.message)
}

/// `intro: [a; b; c and 7 more]`
fn told(intro: &str, list: impl Iterator<Item = String>) -> String {
    let list: Vec<String> = list.collect();
    let rest = list.len().saturating_sub(MOST_TOLD);
    let named = list.iter().take(MOST_TOLD).cloned().collect::<Vec<_>>().join("; ");
    if rest == 0 { format!("{intro}: [{named}]") } else { format!("{intro}: [{named} and {rest} more]") }
}
