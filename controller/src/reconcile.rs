//! One BundleSync on its way: source -> artifact -> objects -> desired -> plan -> applied -> status.
//!
//! | module | in -> out |
//! |---|---|
//! | `asked` | source, variables -> what is asked |
//! | `allowed` | what is asked -> whether it may be made true now |
//! | `planning` | what is asked, what stands -> steps and their outcome |
//! | `apply`, `carry_out`, `leftovers` | steps -> requests, and what came of them |
//! | `finalize`, `suspended` | the same for a sync that is being deleted, or suspended |
//! | `correction` | what was written -> what was changed by hand |
//! | `reasons` | runs that failed or hang -> why |
//! | `verdict` | outcome -> what is told of it |
//! | `report` | verdict, outcome -> status, events |
//! | `failure` | why one did not come to its end -> when it is tried again |
//! | `memory` | what one leaves for the next |
//!
//! Guarantees: the status is written on every outcome, through [`Reconciler::report`], but for a suspended sync, whose status
//! stays, and for watches that are not complete just after the start; what has to be remembered before the first write
//! (inventory, what is uninstalled) is in it before that, through `apply`. Nothing is applied when any document is invalid; a
//! reconcile that finds nothing to do makes no request; it never waits for a run. What it waits for comes back as an event of
//! a watch, or by the delay that it returns.

mod allowed;
mod apply;
mod asked;
mod carry_out;
mod correction;
mod failure;
mod finalize;
mod leftovers;
mod memory;
mod planning;
mod reasons;
mod report;
mod suspended;
mod verdict;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::bundle_sync::{Inventory, InventoryEntry};
use api::source::Artifact;
use api::{BundleSync, Pruned, UninstallPolicy, condition};
use artifact::Fetcher;
use k8s_openapi::jiff::Timestamp;
use plan::{Action, Outcome, Reason, Removal, Step};
use porter::Desired;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::conditions::Verdict;
use crate::events::Events;
use crate::inputs::SetDigests;
use crate::mirror::Key;
use crate::queue::Queue;
use crate::snapshot;
use crate::writer::Writer;
use asked::Wanted;
use failure::{Again, Budget, Failure, UNREACHABLE};
pub use memory::Memory;
use planning::Order;
pub use reasons::Reasons;

/// How soon a plan that turned out stale is made again; each time in a row twice as long.
const STALE: Duration = Duration::from_millis(500);
/// How often in a row that time doubles.
const MOST_DOUBLED: u32 = 6;
/// How soon the watches are asked again whether they are complete.
const UNSYNCED: Duration = Duration::from_secs(2);
/// How long the watches may take before a status tells of them.
const SYNC_GRACE: Duration = Duration::from_secs(15);
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
    /// What is depended on has to be ready as well, where a `readyExpr` is given.
    pub additive_ready_expr: bool,
    /// Whether what the operator leaves behind for an AgentAction stays when that goes.
    pub keep_leftovers: bool,
    /// Whether a variable without value and default is a fault.
    pub strict_substitution: bool,
    /// Why runs fail or hang.
    pub reasons: Reasons,
    /// What sets give.
    pub inputs: SetDigests,
    /// When the controller started.
    pub started: Instant,
    /// What the last reconcile of each sync left behind.
    pub memory: Mutex<HashMap<Key, Memory>>,
}

/// What a reconcile came to.
#[derive(Debug, Default)]
struct Progress {
    /// What the source has.
    artifact: Option<Artifact>,
    /// The artifact was fetched and has the path.
    attempted: bool,
    /// The digest of what it asks for, once that is known.
    digest: Option<Arc<str>>,
    /// How long it took to make that true, or to fail.
    took: Duration,
    /// What the plan comes to.
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
    /// Steps failed, each since the API server refused it.
    was_refused: bool,
    /// How soon a run is looked at that may not get on.
    look: Option<Duration>,
}

impl Progress {
    fn look_within(&mut self, time: Duration) {
        self.look = Some(self.look.map_or(time, |look| look.min(time)));
    }

    /// Counts a step that was taken.
    fn count(&mut self, step: &Step) {
        self.written += usize::from(!matches!(step.action, Action::ReleaseStatus { .. }));
        self.tidied += usize::from(step.reason == Reason::Superseded);
    }

    fn inventory(&self) -> Option<Inventory> {
        (!self.inventory.is_empty()).then(|| Inventory { entries: self.inventory.clone() })
    }

    /// Whether what was written decides what comes next. One object that is refused holds no other back.
    fn plans_again(&self) -> bool {
        (self.went_through || self.was_refused) && self.outcome.as_ref().is_some_and(|outcome| outcome.again)
    }

    /// When the sync is looked at again, which is not later than `again`.
    fn next(&self, again: Duration, at_once: Option<Duration>) -> Duration {
        let looked = self.look.map(|look| look + STALE);
        let outcome = self.outcome.as_ref();
        let due = outcome.and_then(|outcome| outcome.retry_at).map(|at| Timestamp::now().duration_until(at));
        let due = due.map(|due| Duration::try_from(due).unwrap_or_default() + STALE);
        [looked, due, at_once].into_iter().flatten().fold(again, Duration::min)
    }
}

/// When a sync is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Never: it is gone.
    Gone,
    /// When something happens to it.
    OnEvent,
    /// After this time, if nothing happens to it before.
    After(Duration),
}

impl Reconciler {
    /// Reconciles one sync, and says when it is to be looked at again.
    pub async fn reconcile(&self, key: &Key) -> Next {
        let sync = match self.asks(key) {
            Ok(Some(sync)) => sync,
            Ok(None) => return self.left_behind(key).await.map_or(Next::Gone, Next::After),
            Err(next) => return next,
        };
        if sync.spec.is_suspended() && sync.metadata.deletion_timestamp.is_none() {
            return self.suspended(&sync).await.map_or(Next::OnEvent, Next::After);
        }
        let mut progress = Progress::default();
        let began = Instant::now();
        let ended = match self.bring_about(key, &sync, &mut progress).await {
            Ok(is_gone) if is_gone => {
                self.forget(key);
                return Next::Gone;
            }
            ended => ended.map(drop),
        };
        let stale = self.remember(key, |memory| {
            memory.after(&ended);
            memory.stale
        });
        let (verdict, again) = match ended {
            Ok(()) => self.judge(key, &sync, &progress),
            Err(Failure { again: Again::Unsynced, .. }) if self.started.elapsed() < SYNC_GRACE => {
                return Next::After(STALE);
            }
            Err(failure) => (failure.verdict, pause(failure.again, stale)),
        };
        if let Some(digest) = &progress.digest {
            let ended = !matches!(verdict, Verdict::Progressing { .. });
            progress.took = self.remember(key, |memory| memory.took(digest, began, ended));
        }
        let retry = sync.spec.retry_interval().as_std();
        let again = match &verdict {
            Verdict::Ready { .. } | Verdict::Stalled { .. } => self.jittered(sync.spec.interval().as_std()),
            Verdict::Progressing { .. } => again.unwrap_or(retry),
            Verdict::Failed { .. } => again.map_or(retry, |again| again.min(retry)),
        };
        if let Err(error) = self.report(&sync, &verdict, &progress).await {
            tracing::error!(%error, "status was not written");
            return Next::After(again.min(UNREACHABLE));
        }
        let at_once = self.remember(key, |memory| memory.plans_again(progress.plans_again()));
        Next::After(progress.next(again, at_once))
    }

    /// The sync, unless it is gone, or goes without us.
    fn asks(&self, key: &Key) -> Result<Option<Arc<BundleSync>>, Next> {
        let sync = match self.cluster.syncs.get(key) {
            Ok(sync) => sync,
            Err(error) => {
                tracing::error!(error, "BundleSync cannot be read");
                return Err(Next::OnEvent);
            }
        };
        let deleted = |sync: &BundleSync| sync.metadata.deletion_timestamp.is_some();
        Ok(sync.filter(|sync| !deleted(sync) || api::is_held(sync.as_ref())))
    }

    /// Makes true what a sync asks for, or what becomes of it once it is deleted. Says whether it is gone.
    async fn bring_about(&self, key: &Key, sync: &BundleSync, progress: &mut Progress) -> Result<bool, Failure> {
        if sync.metadata.deletion_timestamp.is_some() {
            return self.finalize(sync, progress).await;
        }
        let ended = self.run(key, sync, progress).await;
        // It did not come as far as to know what it asks for.
        if progress.outcome.is_none()
            && matches!(&ended, Err(Failure { verdict: Verdict::Failed { .. } | Verdict::Stalled { .. }, .. }))
        {
            self.cluster.claims.tell_failed(key);
        }
        // A namespace that is being deleted may have taken along what it depends on.
        if progress.outcome.is_none() && ended.is_err() {
            progress.look = self.let_go(sync).await;
        }
        ended.map(|()| false)
    }

    /// What the source asks for becomes true.
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
        self.hold(sync).await?;
        self.claim(key, sync, &artifact, &desired);
        // After others know what it asks for: they may be what it depends on, and wait for that.
        let met = self.dependencies(key, sync, &artifact.revision).await;
        met.inspect_err(|_| progress.attempted = false)?;
        let order = Order {
            digest: Some(&artifact.digest),
            revision: &artifact.revision,
            origin_revision: artifact.origin_revision(),
            removal: removal(sync),
            limit: Some(sync.spec.uninstall.limit),
            ask: sync.spec.uninstall.policy == UninstallPolicy::Confirm,
            confirmation: &artifact.revision,
        };
        let applied = self.apply(sync, &order, &desired, &budget, progress).await;
        applied.map_err(|failure| failure.hiding(&recipe))
    }

    /// Tells other syncs what this one asks for.
    fn claim(&self, key: &Key, sync: &BundleSync, artifact: &Artifact, desired: &Desired) {
        let releases =
            desired.installations.iter().map(|installation| snapshot::release_key(&installation.id)).collect();
        let objects = desired.sets.iter().chain(&desired.objects).map(|object| object.id.clone()).collect();
        self.cluster.claims.tell(key, &artifact.digest, sync.metadata.generation, releases, objects);
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
            tracing::error!(%error, "status was not written");
        }
    }

    fn jittered(&self, interval: Duration) -> Duration {
        interval.mul_f64(jitter(self.jitter, fastrand::f64()))
    }
}

/// What becomes of what left the source.
fn removal(sync: &BundleSync) -> Removal {
    match (sync.spec.prune, sync.spec.uninstall.policy) {
        (false, _) => Removal::Keep,
        (true, UninstallPolicy::Orphan) => Removal::Orphan,
        (true, UninstallPolicy::Uninstall | UninstallPolicy::Confirm) => Removal::Uninstall,
    }
}

/// How soon what failed is tried again, after so many plans in a row that were stale; `None`: when the sync says.
fn pause(again: Again, stale: u32) -> Option<Duration> {
    match again {
        Again::Asked => None,
        Again::Soon(again) => Some(again),
        Again::Unsynced => Some(UNSYNCED),
        Again::Stale => Some(doubled(stale)),
    }
}

/// The pause after so many plans in a row that came to nothing, at least one.
fn doubled(times: u32) -> Duration {
    STALE * 2u32.pow(times.saturating_sub(1).min(MOST_DOUBLED))
}

/// As Flux's: up to so many per cent shorter or longer. `random` is between 0 and 1.
fn jitter(percent: u8, random: f64) -> f64 {
    let part = f64::from(percent) / 100.0;
    1.0 - part + 2.0 * part * random
}

/// `intro: [a; b; c and 7 more]`
fn listed(intro: &str, list: impl Iterator<Item = String>) -> String {
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
}
