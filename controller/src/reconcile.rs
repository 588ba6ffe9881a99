//! One BundleSync on its way: source -> artifact -> objects -> desired -> plan -> applied -> status.
//!
//! Guarantees: the status is written on every outcome, through [`Reconciler::report`] alone; nothing is applied when any
//! document is invalid; a reconcile that finds nothing to do makes no request; it never waits for a run. What it waits for
//! comes back as an event of a watch, or by the delay that it returns.

mod carry_out;
mod finalize;
mod leftovers;
mod reasons;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::bundle_sync::{BundleSyncStatus, Inventory, InventoryEntry};
use api::porter::Installation;
use api::source::Artifact;
use api::{
    BundleRelease, BundleSync, CONFIRM, DependencyKind, FINALIZER, FORCE_AT, Percentage, Pruned, REQUESTED_AT,
    RetryStrategy, SetRun, SyncRef, UninstallPolicy, condition,
};
use artifact::{ArtifactRef, FetchError, Fetcher, Unpacked};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use plan::{Action, Blocked, Force, Guard, Input, Outcome, Plan, Reason, Removal, Step, Subject, Told};
use porter::Desired;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::build::{BuildError, Recipe, build};
use crate::cluster::{self, Cluster};
use crate::conditions::{self, Told as Conditions, Verdict};
use crate::dependencies::Unmet;
use crate::events::{Events, Happening, Severity};
use crate::expression;
use crate::history;
use crate::mirror::Key;
use crate::queue::Queue;
use crate::snapshot::{self, Snapshot};
use crate::variables::Given;
use crate::writer::{WriteError, Writer};

/// How soon a plan that turned out stale is made again; each time in a row twice as long.
const STALE: Duration = Duration::from_millis(500);
/// How often in a row that time doubles.
const MOST_DOUBLED: u32 = 6;
/// How soon the watches are asked again whether they are complete.
const UNSYNCED: Duration = Duration::from_secs(2);
/// How soon what was written is looked at again, when no event of it comes first.
const WRITTEN: Duration = Duration::from_secs(5);
/// How long the watches may take before a status tells of them.
const SYNC_GRACE: Duration = Duration::from_secs(15);
/// How soon a request that the API server did not answer is made again.
const UNREACHABLE: Duration = Duration::from_secs(10);
/// How long, at least, it is waited for another sync that fails, before it is taken to ask for nothing.
const PATIENCE: Duration = Duration::from_secs(600);
/// The confirmation that a deleted BundleSync takes what it installed along.
const CONFIRM_DELETION: &str = "delete";
pub use reasons::Reasons;

/// Reason of the event that tells of what was uninstalled.
const UNINSTALLED: &str = "Uninstalled";
/// Reason of the event that tells of what can never be uninstalled.
const ABANDONED: &str = "Abandoned";
/// How many things a message names before it only counts them.
const MOST_TOLD: usize = 10;

/// What does not change between two reconciles.
pub struct Reconciler {
    /// What is known of the cluster.
    pub cluster: Arc<Cluster>,
    /// Whom a change of a status concerns is reconciled.
    pub queue: Arc<Queue<Key>>,
    /// Fetches artifacts.
    pub fetcher: Fetcher,
    /// Writes to the API server.
    pub writer: Writer,
    /// Tells happenings.
    pub events: Events,
    /// Builds and applies at the same time.
    pub workers: Arc<Semaphore>,
    /// How soon a source without an artifact, or what is depended on, is looked at again.
    pub requeue_dependency: Duration,
    /// Variation of intervals, in per cent.
    pub jitter: u8,
    /// Whether a source, or a document, of another namespace is refused.
    pub no_cross_namespace_refs: bool,
    /// Whether what the operator leaves behind for an AgentAction stays when that goes.
    pub keep_leftovers: bool,
    /// Whether a variable without value and default is a fault.
    pub strict_substitution: bool,
    /// Why runs fail or hang.
    pub reasons: Reasons,
    /// When the controller started.
    pub started: Instant,
    /// What the last reconcile of each sync left behind.
    pub memory: Mutex<HashMap<Key, Memory>>,
}

/// What the last reconcile of a sync left behind. Losing it costs a download, never a run.
#[derive(Clone, Default)]
pub struct Memory {
    asked: Option<Asked>,
    /// The next try of what failed was asked for.
    retry_asked: bool,
    /// Since when it is waited for the same thing.
    progressing: Option<(String, Instant)>,
    /// Plans in a row that turned out stale.
    stale: u32,
    /// The digest of what is being made true, and since when.
    begun: Option<(String, Instant)>,
}

impl Memory {
    /// What a reconcile leaves behind that came to its end, or did not: plans in a row are counted that were stale, and
    /// what runs or waits after a failure is waited for anew.
    fn after(&mut self, ended: &Result<(), Failure>) {
        let stale = matches!(ended, Err(Failure { again: Again::Stale, .. }));
        self.stale = if stale { self.stale.saturating_add(1) } else { 0 };
        if matches!(ended, Err(Failure { verdict: Verdict::Failed { .. } | Verdict::Stalled { .. }, .. })) {
            self.progressing = None;
        }
    }

    /// Whether what failed is tried again without a pause. That holds from the request until it was tried, or nothing is to
    /// be: the first plan may only prepare it.
    fn retries_now(&mut self, asked: bool) -> bool {
        self.retry_asked |= asked;
        self.retry_asked
    }

    /// How long it took to make a digest true, or to fail, since a reconcile began with it.
    fn took(&mut self, digest: &str, began: Instant, ended: bool) -> Duration {
        let since = match self.begun.take() {
            Some((of, since)) if of == digest => since,
            _ => began,
        };
        if !ended {
            self.begun = Some((digest.to_owned(), since));
        }
        since.elapsed()
    }

    /// How long it has been waited for what is to become of a revision.
    fn waits(&mut self, revision: &str) -> Duration {
        let since = match &self.progressing {
            Some((of, since)) if of == revision => *since,
            _ => Instant::now(),
        };
        self.progressing = Some((revision.to_owned(), since));
        since.elapsed()
    }
}

#[derive(Clone)]
struct Asked {
    digest: String,
    recipe: Arc<Recipe>,
    result: Result<Wanted, Failure>,
}

/// What a build came to.
#[derive(Clone)]
struct Wanted {
    desired: Arc<Desired>,
    digest: Arc<str>,
}

impl From<Desired> for Wanted {
    fn from(desired: Desired) -> Self {
        Self { digest: history::digest(&desired).into(), desired: Arc::new(desired) }
    }
}

/// Why a reconcile did not come to its end.
#[derive(Clone, Debug)]
struct Failure {
    verdict: Verdict,
    again: Again,
}

/// How soon what failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// After the time that the sync asks for.
    Asked,
    /// After this time, or the one that the sync asks for when that is shorter.
    Soon(Duration),
    /// The watches have not brought everything yet. Just after the start that is no failure.
    Unsynced,
    /// What the plan was made of had changed.
    Stale,
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed { reason, message: message.into() }, again: Again::Asked }
    }

    fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    fn soon(self, again: Duration) -> Self {
        self.again(Again::Soon(again))
    }

    /// The same without what the Secrets hold that the recipe has variables from: an API server quotes what it refuses.
    fn hiding(mut self, recipe: &Recipe) -> Self {
        if let Verdict::Failed { message, .. } | Verdict::Progressing { message } = &mut self.verdict {
            *message = recipe.hide(message);
        }
        self
    }
}

/// What is left of `spec.timeout`. Waiting for a worker does not count: the time of other syncs is not this one's.
struct Budget {
    timeout: Duration,
    ends: Instant,
}

impl Budget {
    fn new(timeout: Duration) -> Self {
        Self { timeout, ends: Instant::now() + timeout }
    }

    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    async fn worker(&mut self, workers: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let before = Instant::now();
        // Never closed.
        let worker = workers.clone().acquire_owned().await.ok();
        self.ends += before.elapsed();
        worker
    }

    fn over(&self, reason: &'static str, what: &str) -> Failure {
        Failure::new(reason, format!("{what} did not end within {} s", self.timeout.as_secs()))
    }
}

/// What is to become true.
struct Order<'a> {
    /// The digest of the artifact that asks for it, or, where nothing does any more, that others read meanwhile.
    digest: Option<&'a str>,
    revision: &'a str,
    origin_revision: Option<&'a str>,
    removal: Removal,
    limit: Option<Percentage>,
    ask: bool,
    /// The value of the annotation that confirms it.
    confirmation: &'a str,
}

/// What a reconcile came to.
#[derive(Default)]
struct Progress {
    artifact: Option<Artifact>,
    /// The artifact was fetched and has the path.
    attempted: bool,
    /// The digest of what it asks for, once that is known.
    digest: Option<Arc<str>>,
    /// How long it took to make that true, or to fail.
    took: Duration,
    outcome: Option<Outcome>,
    /// Objects that are, or are about to be, applied.
    inventory: Vec<InventoryEntry>,
    /// What was uninstalled, or is about to be.
    pruned: Option<Pruned>,
    /// Objects written.
    written: usize,
    /// Of these, AgentActions that a newer one superseded: no news for anybody.
    tidied: usize,
    /// No step failed.
    went_through: bool,
    /// How soon a run is looked at that may not get on.
    look: Option<Duration>,
}

impl Progress {
    fn look_within(&mut self, time: Duration) {
        self.look = Some(self.look.map_or(time, |look| look.min(time)));
    }
}

impl Reconciler {
    /// Reconciles one sync, and says when it is to be looked at again.
    pub async fn reconcile(&self, key: &Key) -> Option<Duration> {
        let sync = match self.cluster.syncs.get(key) {
            Ok(Some(sync)) => sync,
            Ok(None) => {
                self.forget(key);
                return None;
            }
            Err(error) => {
                tracing::error!(name = key.name, namespace = key.namespace, error, "BundleSync cannot be read");
                return None;
            }
        };
        let deleted = sync.metadata.deletion_timestamp.is_some();
        if deleted && !sync.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            self.forget(key);
            return None;
        }
        if sync.spec.is_suspended() && !deleted {
            tracing::debug!(name = key.name, namespace = key.namespace, "reconciliation is suspended");
            return None;
        }
        let mut progress = Progress::default();
        let began = Instant::now();
        let ended = if deleted {
            match self.finalize(&sync, &mut progress).await {
                Ok(true) => {
                    self.forget(key);
                    return None;
                }
                ended => ended.map(drop),
            }
        } else {
            let ended = self.run(key, &sync, &mut progress).await;
            // It did not come as far as to know what it asks for.
            if progress.outcome.is_none()
                && matches!(&ended, Err(Failure { verdict: Verdict::Failed { .. } | Verdict::Stalled { .. }, .. }))
            {
                self.cluster.claims.tell_failed(key);
            }
            ended
        };
        let stale = {
            let mut memory = self.lock();
            let memory = memory.entry(key.clone()).or_default();
            memory.after(&ended);
            memory.stale
        };
        let (verdict, again) = match ended {
            Ok(()) => self.judge(key, &sync, &progress),
            Err(Failure { again: Again::Unsynced, .. }) if self.started.elapsed() < SYNC_GRACE => return Some(STALE),
            Err(failure) => {
                let again = match failure.again {
                    Again::Asked => None,
                    Again::Soon(again) => Some(again),
                    Again::Unsynced => Some(UNSYNCED),
                    Again::Stale => Some(STALE * 2u32.pow(stale.saturating_sub(1).min(MOST_DOUBLED))),
                };
                (failure.verdict, again)
            }
        };
        if let Some(digest) = &progress.digest {
            let ended = !matches!(verdict, Verdict::Progressing { .. });
            progress.took = self.lock().entry(key.clone()).or_default().took(digest, began, ended);
        }
        let retry = sync.spec.retry_interval().as_std();
        let again = match &verdict {
            Verdict::Ready { .. } => self.jittered(sync.spec.interval().as_std()),
            Verdict::Progressing { .. } => again.unwrap_or(retry),
            Verdict::Failed { .. } => again.map_or(retry, |again| again.min(retry)),
            Verdict::Stalled { .. } => self.jittered(sync.spec.interval().as_std()),
        };
        if let Err(error) = self.report(&sync, &verdict, &progress).await {
            tracing::error!(name = key.name, namespace = key.namespace, %error, "status was not written");
            return Some(again.min(UNREACHABLE));
        }
        let again = progress.look.map_or(again, |look| again.min(look + STALE));
        let Some(outcome) = &progress.outcome else { return Some(again) };
        let due = outcome.retry_at.map(|at| Timestamp::now().duration_until(at));
        let due = due.map(|due| Duration::try_from(due).unwrap_or_default() + STALE);
        let at_once = (outcome.again && progress.went_through).then_some(Duration::ZERO);
        Some([Some(again), due, at_once].into_iter().flatten().min().unwrap_or(again))
    }

    /// Nothing is kept of a sync that is gone.
    fn forget(&self, key: &Key) {
        self.lock().remove(key);
        self.cluster.claims.forget(key);
        self.cluster.awaiting.end(key);
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
        let unsynced = |error| Failure::new(condition::RECONCILIATION_FAILED, error).again(Again::Unsynced);
        self.cluster.synced().map_err(unsynced)?;
        let mut budget = Budget::new(sync.spec.timeout().as_std());
        let artifact = self.source_artifact(sync)?;
        progress.artifact = Some(artifact.clone());
        let recipe = Arc::new(self.recipe(key, sync, &budget).await?);
        let desired = self.desired(key, &recipe, &artifact, &mut budget).await;
        progress.attempted = !matches!(&desired, Err(Failure { verdict: Verdict::Failed { reason, .. }, .. })
            if *reason == condition::ARTIFACT_FAILED);
        let Wanted { desired, digest } = desired?;
        progress.digest = Some(digest);
        self.refuse_namespaces(key, &desired).map_err(|failure| failure.hiding(&recipe))?;
        let _worker = budget.worker(&self.workers).await;
        self.hold(sync).await.map_err(write_failure)?;
        let removal = match (sync.spec.prune, sync.spec.uninstall.policy) {
            (false, _) => Removal::Keep,
            (true, UninstallPolicy::Orphan) => Removal::Orphan,
            (true, UninstallPolicy::Uninstall | UninstallPolicy::Confirm) => Removal::Uninstall,
        };
        let releases =
            desired.installations.iter().map(|installation| snapshot::release_key(&installation.id)).collect();
        let objects = desired.sets.iter().chain(&desired.objects).map(|object| object.id.clone()).collect();
        self.cluster.claims.tell(key, &artifact.digest, sync.metadata.generation, releases, objects);
        // After others know what it asks for: they may be what it depends on, and wait for that.
        let met = self.dependencies(key, sync, &artifact.revision).await;
        met.inspect_err(|_| progress.attempted = false)?;
        let order = Order {
            digest: Some(&artifact.digest),
            revision: &artifact.revision,
            origin_revision: artifact.origin_revision(),
            removal,
            limit: Some(sync.spec.uninstall.limit),
            ask: sync.spec.uninstall.policy == UninstallPolicy::Confirm,
            confirmation: &artifact.revision,
        };
        let applied = self.apply(sync, &order, &desired, &budget, progress).await;
        applied.map_err(|failure| failure.hiding(&recipe))
    }

    /// What the sync depends on. It is noted that it waits before that is read: a change in between wakes it.
    async fn dependencies(&self, key: &Key, sync: &BundleSync, revision: &str) -> Result<(), Failure> {
        if sync.spec.depends_on.is_empty() {
            self.cluster.awaiting.end(key);
            return Ok(());
        }
        self.cluster.awaiting.begin(key);
        // An expression may take a while.
        let (cluster, sync, revision) = (self.cluster.clone(), sync.clone(), revision.to_owned());
        let no_cross_namespace_refs = self.no_cross_namespace_refs;
        let check = move || cluster.dependencies_met(&sync, &revision, no_cross_namespace_refs);
        let met = expression::with_room(check).await.unwrap_or_else(|error| {
            Err(Unmet::NotReady(format!("internal error while spec.dependsOn was looked at: {error}")))
        });
        match met {
            Ok(()) => {
                self.cluster.awaiting.end(key);
                Ok(())
            }
            Err(Unmet::NotReady(message)) => {
                Err(Failure::new(condition::DEPENDENCY_NOT_READY, message).soon(self.requeue_dependency))
            }
            Err(Unmet::Unsynced(message)) => {
                Err(Failure::new(condition::DEPENDENCY_NOT_READY, message).again(Again::Unsynced))
            }
            Err(Unmet::Wrong { reason, message }) => {
                Err(Failure { verdict: Verdict::Stalled { reason, message }, again: Again::Asked })
            }
        }
    }

    /// What the sync asks of its build, with the variables as they stand now.
    async fn recipe(&self, key: &Key, sync: &BundleSync, budget: &Budget) -> Result<Recipe, Failure> {
        let given = match &sync.spec.post_build {
            None => Given::default(),
            Some(post_build) => {
                let reading = Given::read(&self.writer, &key.namespace, post_build);
                let read = tokio::time::timeout(budget.left(), reading).await;
                let read =
                    read.map_err(|_| budget.over(condition::BUILD_FAILED, "reading spec.postBuild.substituteFrom"))?;
                read.map_err(|error| Failure::new(condition::BUILD_FAILED, error.to_string()).soon(UNREACHABLE))?
            }
        };
        Ok(Recipe::of(sync, given, self.strict_substitution))
    }

    /// Documents of namespaces that may not, or cannot, be worked in. The controller's rights are those of the cluster, so
    /// who may write to one repository could write to every namespace.
    fn refuse_namespaces(&self, key: &Key, desired: &Desired) -> Result<(), Failure> {
        let installations = desired.installations.iter().map(|installation| {
            let subject = Subject::Installation(installation.id.clone()).to_string();
            (&installation.id.kube_namespace, subject, &installation.origin)
        });
        let objects = desired.sets.iter().chain(&desired.objects);
        let objects = objects.map(|object| (&object.id.namespace, object.id.to_string(), &object.origin));
        let refused: Vec<String> = installations
            .chain(objects)
            .filter_map(|(namespace, subject, origin)| {
                let why = if self.no_cross_namespace_refs && *namespace != key.namespace {
                    "other namespaces than the BundleSync's own are blocked by --no-cross-namespace-refs"
                } else if !self.cluster.scope.has(namespace) {
                    "that namespace is not watched: see --watch-all-namespaces"
                } else {
                    return None;
                };
                Some(format!("{origin}: {subject} is in namespace {namespace}: {why}"))
            })
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(Failure::new(condition::ACCESS_DENIED, told("not applied", refused.into_iter())))
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
                again: Again::Asked,
            });
        }
        let failed = |message| Failure::new(condition::ARTIFACT_FAILED, message);
        let source = self.cluster.source(kind, &key).map_err(|error| failed(error).again(Again::Unsynced))?;
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

    /// What the artifact asks for; remembered for as long as neither it nor the recipe changes.
    async fn desired(
        &self,
        key: &Key,
        recipe: &Arc<Recipe>,
        artifact: &Artifact,
        budget: &mut Budget,
    ) -> Result<Wanted, Failure> {
        if let Some(asked) = &self.lock().entry(key.clone()).or_default().asked
            && asked.digest == artifact.digest
            && asked.recipe == *recipe
        {
            return asked.result.clone();
        }
        let tree = self.fetch(artifact, budget).await?;
        let worker = budget.worker(&self.workers).await;
        let (path, building) = (recipe.path(), recipe.clone());
        // The thread keeps its worker until it ends, which it does soon after it is not waited for any longer.
        let given_up = GivenUp::default();
        let is_given_up = given_up.0.clone();
        let building = tokio::task::spawn_blocking(move || {
            let _worker = worker;
            build(&tree, &building, &is_given_up).map(Wanted::from)
        });
        let result = match tokio::time::timeout(budget.left(), building).await {
            Err(_) => return Err(budget.over(condition::BUILD_FAILED, &format!("the build of {path:?}"))),
            Ok(Ok(result)) => result.map_err(build_failure),
            Ok(Err(error)) => {
                let message = format!("internal error while building {path:?}: {error}");
                return Err(Failure::new(condition::BUILD_FAILED, message));
            }
        };
        let asked = Asked { digest: artifact.digest.clone(), recipe: recipe.clone(), result: result.clone() };
        self.lock().entry(key.clone()).or_default().asked = Some(asked);
        result
    }

    async fn fetch(&self, artifact: &Artifact, budget: &Budget) -> Result<Arc<Unpacked>, Failure> {
        let request = ArtifactRef {
            url: artifact.url.clone(),
            digest: artifact.digest.clone(),
            revision: artifact.revision.clone(),
        };
        self.fetcher.fetch(&request, budget.left()).await.map_err(|error| {
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
        order: &Order<'_>,
        desired: &Desired,
        budget: &Budget,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let owner = SyncRef { name: sync.name_any(), namespace: sync.namespace().unwrap_or_default() };
        let unreadable = |error| Failure::new(condition::RECONCILIATION_FAILED, error);
        let mut snapshot = Snapshot::take(&self.cluster, sync, desired).map_err(unreadable)?;
        for namespace in snapshot.suspects(sync) {
            if self.writer.is_terminating(&namespace).await.map_err(write_failure)? {
                snapshot.live.terminating.insert(namespace);
            }
        }
        for unrecorded in snapshot.unrecorded(sync) {
            if self.writer.is_applied::<Installation>(&unrecorded).await.map_err(write_failure)? {
                snapshot.live.recoverable.insert((unrecorded.namespace, unrecorded.name));
            }
        }
        self.others(sync, order, desired, &mut snapshot);
        self.explain(sync, &mut snapshot, progress).await;
        let pruned = sync.status.as_ref().and_then(|status| status.pruned.clone()).unwrap_or_default();
        // A confirmation is of what the BundleSync asks for at that moment.
        let generation = sync.metadata.generation;
        let used = pruned.confirmed_revision.as_deref() == Some(order.confirmation)
            && pruned.confirmed_generation != generation;
        let confirmed = !used && sync.annotations().get(CONFIRM).is_some_and(|value| value == order.confirmation);
        // Who asks for a reconcile asks for the next try too.
        let requested = sync.annotations().get(REQUESTED_AT);
        let handled = sync.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
        let asked = requested.is_some_and(|requested| Some(requested) != handled);
        let retry = if self.lock().entry(Key::of(sync)).or_default().retries_now(asked) {
            SignedDuration::ZERO
        } else {
            SignedDuration::try_from(sync.spec.retry_interval().as_std()).unwrap_or(SignedDuration::MAX)
        };
        let Plan { steps, outcome } = plan::plan(&Input {
            sync: &owner,
            revision: order.revision,
            origin_revision: order.origin_revision,
            desired,
            releases: &snapshot.releases,
            live: &snapshot.live,
            inventory: &snapshot.inventory,
            removal: order.removal,
            adoption: sync.spec.adoption,
            agent: match sync.spec.agent {
                api::Agent::Managed => plan::Agent::Managed,
                api::Agent::None => plan::Agent::None,
            },
            guard: Guard {
                limit: order.limit,
                ask: order.ask,
                confirmed,
                confirmation: order.confirmation,
                pruned: &pruned.installations,
            },
            keep_record: sync.spec.uninstall.keep_record,
            max_actions: usize::from(sync.spec.max_concurrent_actions),
            retry,
            retries: sync.spec.retry.limit,
            rollback: sync.spec.retry.strategy == RetryStrategy::Rollback,
            force: force(sync),
            now: Timestamp::now(),
        });
        let (confirmed_revision, confirmed_generation) = match confirmed {
            true => (Some(order.confirmation.to_owned()), generation),
            false => (pruned.confirmed_revision.clone(), pruned.confirmed_generation),
        };
        progress.pruned =
            Some(Pruned { confirmed_revision, confirmed_generation, installations: outcome.pruned.clone() })
                .filter(|pruned| *pruned != Pruned::default());
        progress.inventory = match outcome.blocked {
            Some(_) => {
                sync.status.iter().flat_map(|status| &status.inventory).flat_map(|i| i.entries.clone()).collect()
            }
            None => inventory(sync, desired, &steps, &snapshot, order.removal),
        };
        progress.outcome = Some(outcome);

        let begins =
            |action: &Action| matches!(action, Action::ApplyObject(_) | Action::ApplySet(_) | Action::MarkRemoved(_));
        if steps.iter().any(|step| step.is_due() && begins(&step.action)) {
            self.save_inventory(sync, progress).await.map_err(write_failure)?;
        }
        let seen = snapshot.live;
        let mut releases: BTreeMap<Key, BundleRelease> =
            snapshot.releases.into_iter().map(|release| (Key::of(&release), release)).collect();
        let mut failures: Vec<(Subject, WriteError)> = Vec::new();
        let mut uninstalled = BTreeSet::new();
        for step in steps.iter().filter(|step| step.is_due()) {
            // What an installation runs with has to stand before it: an object that failed holds all of them back.
            let runs = matches!(step.action, Action::RecordRelease(_) | Action::ApplyInstallation(_));
            let held = |subject: &Subject| runs && matches!(subject, Subject::Object(_));
            if failures.iter().any(|(subject, _)| *subject == step.subject || held(subject)) {
                continue;
            }
            if budget.left().is_zero() {
                return Err(budget.over(condition::RECONCILIATION_FAILED, "the apply"));
            }
            match self.step(step, sync, &mut releases, &seen).await {
                Ok(()) => {
                    let report = matches!(step.action, Action::ReleaseStatus { .. });
                    progress.written += usize::from(!report);
                    progress.tidied += usize::from(step.reason == Reason::Superseded);
                    if step.reason == Reason::Uninstalled && matches!(step.subject, Subject::Installation(_)) {
                        uninstalled.insert(step.subject.to_string());
                    }
                    if !report {
                        tracing::info!(
                            controllerKind = "BundleSync", name = owner.name, namespace = owner.namespace,
                            revision = order.revision, subject = %step.subject, reason = %step.reason,
                            "{}", step.action.verb(),
                        );
                    }
                }
                Err(error) => {
                    let unreachable = error.is_unreachable();
                    failures.push((step.subject.clone(), error));
                    // Each of the other requests would take as long as this one to fail.
                    if unreachable {
                        break;
                    }
                }
            }
        }
        if !uninstalled.is_empty() {
            let message = told("uninstalled", uninstalled.into_iter());
            let revision = Some(order.revision);
            let origin_revision = order.origin_revision;
            let happening = Happening {
                severity: Severity::Info,
                reason: UNINSTALLED,
                message: &message,
                revision,
                origin_revision,
            };
            self.events.tell(sync, &happening, Timestamp::now()).await;
        }
        let abandoned = progress.outcome.iter().flat_map(|outcome| &outcome.abandoned);
        let abandoned: Vec<String> = abandoned.map(ToString::to_string).collect();
        if !abandoned.is_empty() {
            let intro = "the namespace is being deleted: these are forgotten, and were not uninstalled";
            self.tell_abandoned(sync, &told(intro, abandoned.into_iter())).await;
        }
        if failures.is_empty() {
            progress.went_through = true;
            let tried = steps.iter().any(|step| step.is_due() && matches!(step.action, Action::Run(_)));
            let idle = progress
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.uninstalling.is_empty() && outcome.failed.is_empty());
            if tried || idle {
                self.lock().entry(Key::of(sync)).or_default().retry_asked = false;
            }
            return Ok(());
        }
        if failures.iter().all(|(_, error)| error.is_conflict()) {
            let message =
                told("changed meanwhile, planning again", failures.iter().map(|(_, error)| error.to_string()));
            let verdict = Verdict::Progressing { message };
            return Err(Failure { verdict, again: Again::Stale });
        }
        let unreachable = failures.iter().any(|(_, error)| error.is_unreachable());
        let again = if unreachable { Again::Soon(UNREACHABLE) } else { Again::Asked };
        let refused = progress.outcome.iter().flat_map(|outcome| &outcome.refused).map(say);
        let message = told("apply failed", failures.iter().map(|(_, error)| error.to_string()).chain(refused));
        Err(Failure { verdict: Verdict::Failed { reason: condition::RECONCILIATION_FAILED, message }, again })
    }

    /// What other syncs ask for, or may ask for, of that which this one no longer has. For those that have failed for long
    /// nothing waits: a sync that is broken stalls no other.
    fn others(&self, sync: &BundleSync, order: &Order<'_>, desired: &Desired, snapshot: &mut Snapshot) {
        let key = Key::of(sync);
        let wanted: BTreeSet<Key> = desired.installations.iter().map(|d| snapshot::release_key(&d.id)).collect();
        let is_own = |release: &BundleRelease| {
            release.spec.sync.name == key.name && release.spec.sync.namespace == key.namespace
        };
        let concerns = |release: &&BundleRelease| !is_own(release) || !wanted.contains(&Key::of(*release));
        // Before what they ask for is: one that tells in between is not missed.
        let unread = match order.digest.filter(|_| snapshot.releases.iter().any(|release| concerns(&release))) {
            Some(digest) => self.cluster.unread(sync, digest, sync.spec.timeout().as_std().max(PATIENCE)),
            None => BTreeSet::new(),
        };
        for release in &snapshot.releases {
            let (of, owner) = (Key::of(release), Key::new(&release.spec.sync.namespace, &release.spec.sync.name));
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
            {
                snapshot.live.claimed.insert(place, claimant);
            }
        }
        let owners = snapshot.releases.iter().filter(|release| unread.contains(&release.spec.sync));
        let leaving: Vec<_> = owners.map(Key::of).map(|release| (release.namespace, release.name)).collect();
        snapshot.live.leaving.extend(leaving);
        snapshot.live.unread = unread.into_iter().next();
    }

    /// Before the first write of an object it is in the inventory, so that nothing we made is ever forgotten.
    /// What is uninstalled counts before its uninstall begins.
    async fn save_inventory(&self, sync: &BundleSync, progress: &Progress) -> Result<(), WriteError> {
        let mut status = sync.status.clone().unwrap_or_default();
        let inventory = (!progress.inventory.is_empty()).then(|| Inventory { entries: progress.inventory.clone() });
        if status.inventory == inventory && status.pruned == progress.pruned {
            return Ok(());
        }
        status.inventory = inventory;
        status.pruned = progress.pruned.clone();
        let written = self.writer.apply_status(sync, &status).await?;
        self.cluster.syncs.record_write(written);
        Ok(())
    }

    /// The verdict over what was applied and what runs.
    fn judge(&self, key: &Key, sync: &BundleSync, progress: &Progress) -> (Verdict, Option<Duration>) {
        let Some(outcome) = &progress.outcome else {
            return (Verdict::Progressing { message: "nothing is known yet".to_owned() }, None);
        };
        let last = sync.status.as_ref().and_then(|status| status.last_attempted_revision.as_ref());
        let revision = progress.artifact.as_ref().map(|artifact| &artifact.revision).or(last);
        let revision = &revision.cloned().unwrap_or_else(|| "none".to_owned());
        if let Some(blocked) = &outcome.blocked {
            self.lock().entry(key.clone()).or_default().progressing = None;
            if let Some(other) = &blocked.unread {
                let message = format!(
                    "{revision} no longer has {}; BundleSync {other} has the same source, may ask for some of them, and has not read it",
                    blocked.installations.len()
                );
                return (Verdict::Progressing { message }, Some(WRITTEN));
            }
            let verdict =
                Verdict::Failed { reason: condition::PRUNE_FAILED, message: too_much(sync, revision, blocked) };
            return (verdict, None);
        }
        let failed = |reason, intro: &str, list: &[Told]| {
            (Verdict::Failed { reason, message: told(intro, list.iter().map(say)) }, None)
        };
        let has_failed = !outcome.refused.is_empty()
            || !outcome.uninstall_failed.is_empty()
            || !outcome.rolled_back.is_empty()
            || (sync.spec.wait && !outcome.failed.is_empty());
        if has_failed {
            // What runs or waits after this is waited for anew.
            self.lock().entry(key.clone()).or_default().progressing = None;
        }
        if !outcome.refused.is_empty() {
            return failed(condition::RECONCILIATION_FAILED, "not applied", &outcome.refused);
        }
        if !outcome.uninstall_failed.is_empty() {
            return failed(condition::PRUNE_FAILED, "uninstall failed", &outcome.uninstall_failed);
        }
        if sync.spec.wait && !outcome.failed.is_empty() {
            let list: Vec<Told> = outcome.failed.iter().chain(&outcome.stopped).cloned().collect();
            return failed(condition::HEALTH_CHECK_FAILED, "health check failed", &list);
        }
        // Whether it is waited for or not: what the source asks for is not what stands.
        if !outcome.rolled_back.is_empty() {
            return failed(condition::ROLLED_BACK, "rolled back", &outcome.rolled_back);
        }
        let mut pending: Vec<&Told> = outcome.waiting.iter().collect();
        let deleted = sync.metadata.deletion_timestamp.is_some();
        if sync.spec.wait || deleted {
            pending.extend(&outcome.running);
            // Whoever takes it over may depend on this one.
            pending
                .extend(outcome.uninstalling.iter().filter(|told| deleted || !outcome.handed.contains(&told.subject)));
        }
        let mut memory = self.lock();
        let memory = memory.entry(key.clone()).or_default();
        if pending.is_empty() {
            memory.progressing = None;
            if deleted {
                return (Verdict::Progressing { message: "everything is gone".to_owned() }, Some(STALE));
            }
            return (Verdict::Ready { message: format!("Applied revision: {revision}") }, None);
        }
        let timeout = sync.spec.timeout().as_std();
        match timeout.checked_sub(memory.waits(revision)) {
            Some(rest) if !rest.is_zero() => {
                let message =
                    told(&format!("Running bundle actions for revision {revision}"), pending.into_iter().map(say));
                // No event need follow a write that runs nothing, such as one that hands an installation over.
                let again = if progress.written > 0 { rest.min(WRITTEN) } else { rest };
                (Verdict::Progressing { message }, Some(again))
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
        let unsafe_agents = progress.outcome.as_ref().map(|outcome| outcome.unsafe_agents.join("; "));
        let told = Conditions { verdict, wait: sync.spec.wait, unsafe_agents: unsafe_agents.as_deref() };
        let mut status = BundleSyncStatus {
            conditions: conditions::render(&told, &old.conditions, generation, now),
            observed_generation: match verdict {
                Verdict::Ready { .. } | Verdict::Stalled { .. } => Some(generation),
                _ => old.observed_generation.or(Some(-1)),
            },
            last_handled_reconcile_at: (sync.annotations().get(REQUESTED_AT).cloned())
                .or_else(|| old.last_handled_reconcile_at.clone()),
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
            // Of a revision that is not applied nothing is counted.
            if outcome.blocked.is_none() {
                status.installations = Some(outcome.summary.clone());
            }
            status.pruned.clone_from(&progress.pruned);
            // What a plan asked to be noted was.
            if progress.went_through
                && let Some(Force { at, .. }) = force(sync)
            {
                status.last_handled_force_at = Some(at.to_owned());
            }
            status.set_runs = outcome.ran.iter().map(set_run).collect();
            status.inventory =
                (!progress.inventory.is_empty()).then(|| Inventory { entries: progress.inventory.clone() });
        }
        record(&mut status, &old, verdict, progress, now);
        // A commit that concerns nobody still moves every status: a thousand at once are more than an API server takes.
        if status != old {
            let _worker = self.workers.acquire().await;
            let written = self.writer.apply_status(sync, &status).await?;
            self.cluster.syncs.record_write(written);
            self.cluster.wake_dependants(DependencyKind::BundleSync, &Key::of(sync), &self.queue);
        }
        self.tell_unsafe(sync, &status, &old, progress, now).await;
        self.tell(sync, verdict, &old, progress, now).await;
        Ok(())
    }

    /// An event of what makes runs unsafe, when that is new.
    async fn tell_unsafe(
        &self,
        sync: &BundleSync,
        status: &BundleSyncStatus,
        old: &BundleSyncStatus,
        progress: &Progress,
        now: Timestamp,
    ) {
        let of = |status: &BundleSyncStatus| {
            let found = status.conditions.iter().find(|condition| condition.type_ == condition::UNSAFE_AGENT);
            found.map(|condition| condition.message.clone())
        };
        let Some(message) = of(status).filter(|message| Some(message) != of(old).as_ref()) else { return };
        let happening = Happening {
            severity: Severity::Error,
            reason: condition::UNSAFE_AGENT,
            message: &message,
            revision: progress.artifact.as_ref().map(|artifact| artifact.revision.as_str()),
            origin_revision: progress.artifact.as_ref().and_then(Artifact::origin_revision),
        };
        self.events.tell(sync, &happening, now).await;
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
            // As in Flux: that something else takes its time is no fault of this one.
            Verdict::Failed { reason, message } if *reason == condition::DEPENDENCY_NOT_READY => {
                (Severity::Info, *reason, message, "False")
            }
            Verdict::Failed { reason, message } | Verdict::Stalled { reason, message } => {
                (Severity::Error, *reason, message, "False")
            }
        };
        let repeated = before.is_some_and(|before| {
            before.status == status
                && before.reason == reason
                && (status == "True" || before.message == conditions::cut(message))
        });
        let handled = if status == "True" { &old.last_applied_revision } else { &old.last_attempted_revision };
        let happening = Happening {
            severity,
            reason,
            message,
            revision: progress.artifact.as_ref().map(|artifact| artifact.revision.as_str()),
            origin_revision: progress.artifact.as_ref().and_then(Artifact::origin_revision),
        };
        // What was not attempted is the same trouble at each retry.
        let revision = happening.revision.filter(|_| progress.attempted);
        match News::of(repeated && progress.written == progress.tidied, revision, handled.as_deref()) {
            News::None => return,
            News::Commit => return self.events.post(sync, &happening, now).await,
            News::All => {}
        }
        // As in Flux, a source that is not there yet is in the condition and the log: its own events tell of it.
        if progress.artifact.is_none() && reason == condition::ARTIFACT_FAILED {
            let (name, namespace) = (sync.name_any(), sync.namespace());
            tracing::info!(controllerKind = "BundleSync", name, namespace, reason, "{message}");
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
        self.events.tell(sync, &happening, now).await;
    }

    fn jittered(&self, interval: Duration) -> Duration {
        interval.mul_f64(jitter(self.jitter, fastrand::f64()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a build that is under way, when this goes out of scope, that nobody waits for it any longer.
#[derive(Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Who is to be told how a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// Nobody: it was told.
    None,
    /// Only who keeps the status of commits: nothing changed, and the commit has none yet.
    Commit,
    /// Everybody.
    All,
}

impl News {
    /// `handled` is the revision at the end of the last reconcile that came as far.
    fn of(repeated: bool, revision: Option<&str>, handled: Option<&str>) -> Self {
        match revision {
            _ if !repeated => Self::All,
            Some(_) if revision != handled => Self::Commit,
            _ => Self::None,
        }
    }
}

/// What is asked for by hand of all installations: as in Flux, when both annotations have one value.
fn force(sync: &BundleSync) -> Option<Force<'_>> {
    let at = sync.annotations().get(FORCE_AT).filter(|at| Some(*at) == sync.annotations().get(REQUESTED_AT))?;
    let last = sync.status.as_ref().and_then(|status| status.last_handled_force_at.as_ref());
    Some(Force { at, handled: last == Some(at) })
}

/// Writes the history on, of a reconcile with news: one without writes nothing at all.
fn record(
    status: &mut BundleSyncStatus,
    old: &BundleSyncStatus,
    verdict: &Verdict,
    progress: &Progress,
    now: Timestamp,
) {
    let (Some(kept), Some(digest), Some(artifact)) = (history::status(verdict), &progress.digest, &progress.artifact)
    else {
        return;
    };
    let (revision, origin_revision) = (artifact.revision.as_str(), artifact.origin_revision());
    let ended = history::Ended { digest, revision, origin_revision, took: progress.took, now };
    if status != old || progress.written > progress.tidied || !history::is_told(&old.history, &ended, kept) {
        history::upsert(&mut status.history, &ended, kept);
    }
}

/// As Flux's: up to so many per cent shorter or longer. `random` is between 0 and 1.
fn jitter(percent: u8, random: f64) -> f64 {
    let part = f64::from(percent) / 100.0;
    1.0 - part + 2.0 * part * random
}

fn inventory_id(id: &manifest::ObjectId) -> String {
    InventoryEntry::new(&id.namespace, &id.name, &id.group, &id.kind, "").id
}

fn set_run(run: &plan::SetRun) -> SetRun {
    let id = inventory_id(&run.id);
    SetRun { id, uid: run.uid.clone(), generation: run.generation }
}

fn build_failure(error: BuildError) -> Failure {
    let reason = match &error {
        BuildError::PathNotFound(_) => condition::ARTIFACT_FAILED,
        BuildError::Empty(_) | BuildError::Invalid(_) => condition::BUILD_FAILED,
    };
    Failure::new(reason, error.to_string())
}

fn stale(error: &WriteError) -> Failure {
    let verdict =
        Verdict::Progressing { message: told("changed meanwhile, planning again", [error.to_string()].into_iter()) };
    Failure { verdict, again: Again::Stale }
}

/// What a revision that would uninstall too much is refused with.
fn too_much(sync: &BundleSync, revision: &str, blocked: &Blocked) -> String {
    let Blocked { installations, count, allowed, total, .. } = blocked;
    let intro = format!(
        "nothing is applied: {revision} no longer has {}; that would make {count} of {total} uninstalled since the last confirmation, and {allowed} may be (spec.uninstall.limit {}). To confirm: kubectl -n {} annotate bundlesync {} --overwrite {CONFIRM}={revision}. No longer there",
        installations.len(),
        sync.spec.uninstall.limit,
        sync.namespace().unwrap_or_default(),
        sync.name_any(),
    );
    told(&intro, installations.iter().cloned())
}

/// What the inventory held and what is desired and ours to write: nothing leaves it before it is gone from the cluster.
fn inventory(
    sync: &BundleSync,
    desired: &Desired,
    steps: &[Step],
    snapshot: &Snapshot,
    removal: Removal,
) -> Vec<InventoryEntry> {
    let refused = |id: &manifest::ObjectId| {
        steps.iter().any(|step| {
            matches!(step.action, Action::Refuse) && matches!(&step.subject, Subject::Object(subject) if subject == id)
        })
    };
    let old = sync.status.as_ref().and_then(|status| status.inventory.as_ref());
    let mut entries: Vec<InventoryEntry> = old.map(|inventory| inventory.entries.clone()).unwrap_or_default();
    if removal != Removal::Keep {
        let stands: BTreeSet<String> = snapshot.live.dropped.keys().map(inventory_id).collect();
        entries.retain(|entry| stands.contains(&entry.id));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_vary_by_the_whole_percentage_both_ways() {
        for (percent, random, factor) in [(5, 0.0, 0.95), (5, 0.5, 1.0), (5, 1.0, 1.05), (0, 0.7, 1.0), (50, 1.0, 1.5)]
        {
            assert!((jitter(percent, random) - factor).abs() < 1e-9, "{percent} {random}");
        }
    }

    #[test]
    fn a_commit_that_changes_nothing_still_gets_its_status() {
        for (repeated, revision, handled, news) in [
            (false, Some("b"), Some("a"), News::All),
            (false, Some("a"), Some("a"), News::All),
            (true, Some("b"), Some("a"), News::Commit),
            (true, Some("a"), None, News::Commit),
            (true, Some("a"), Some("a"), News::None),
            (true, None, Some("a"), News::None),
        ] {
            assert_eq!(News::of(repeated, revision, handled), news, "{repeated} {revision:?} {handled:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_after_a_failure_is_waited_for_anew() {
        let failure = |again| Failure::new(condition::RECONCILIATION_FAILED, "refused").again(again);
        let stale = || Failure { verdict: Verdict::Progressing { message: "changed".into() }, again: Again::Stale };
        let denied = Verdict::Stalled { reason: condition::ACCESS_DENIED, message: "no".into() };
        for (ended, waited, in_a_row) in [
            (Ok(()), 60, 0),
            (Err(stale()), 60, 1),
            (Err(failure(Again::Asked)), 0, 0),
            (Err(failure(Again::Soon(UNREACHABLE))), 0, 0),
            (Err(failure(Again::Unsynced)), 0, 0),
            (Err(Failure { verdict: denied, again: Again::Asked }), 0, 0),
        ] {
            let mut memory = Memory::default();
            assert_eq!(memory.waits("a"), Duration::ZERO);
            tokio::time::sleep(Duration::from_secs(60)).await;
            memory.after(&ended);
            assert_eq!((memory.waits("a").as_secs(), memory.stale), (waited, in_a_row), "{ended:?}");
            assert_eq!(memory.waits("b"), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_worker_takes_nothing_of_the_timeout() {
        let workers = Arc::new(Semaphore::new(1));
        let mut first = Budget::new(Duration::from_secs(30));
        let held = first.worker(&workers).await;
        let mut second = Budget::new(Duration::from_secs(30));
        let waits = async {
            let _worker = second.worker(&workers).await;
            second.left()
        };
        let works = async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            drop(held);
        };
        let (left, ()) = tokio::join!(waits, works);
        assert_eq!(left, Duration::from_secs(30));
        assert_eq!(first.left(), Duration::ZERO);
    }
}
