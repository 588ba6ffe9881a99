//! What a reconcile came to, in the status, in events and in the log.
//!
//! Invariant: the conditions are written here and nowhere else, on every outcome, and only when something of the status
//! differs; an event tells what is new. (`apply` writes inventory and what is uninstalled before the first step; what was
//! written there is what is compared with here.) What an outcome means is not known here: that is the verdict's.

use api::bundle_sync::BundleSyncStatus;
use api::source::Artifact;
use api::{BundleSync, DependencyKind, REQUESTED_AT, SetRun, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use plan::Force;

use super::planning::{force, inventory_id};
use super::{Progress, Reconciler};
use crate::conditions::{self, Rendering, Verdict};
use crate::events::{Happening, Severity};
use crate::history;
use crate::mirror::Key;
use crate::writer::RequestError;

impl Reconciler {
    /// Writes the status when it differs from what stands, and tells an event when something is new.
    pub(super) async fn report(
        &self,
        sync: &BundleSync,
        verdict: &Verdict,
        progress: &Progress,
    ) -> Result<(), RequestError> {
        // The inventory may have been written meanwhile.
        let stands = self.cluster.syncs.get(&Key::of(sync)).ok().flatten();
        let old = stands.as_deref().unwrap_or(sync).status.clone().unwrap_or_default();
        let now = Timestamp::now();
        let status = status(sync, &old, verdict, progress, now);
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
            condition_of(status, condition::UNSAFE_AGENT).map(|condition| condition.message.clone())
        };
        let Some(message) = of(status).filter(|message| Some(message) != of(old).as_ref()) else { return };
        let happening = happening(progress, Severity::Error, condition::UNSAFE_AGENT, &message);
        self.events.tell(sync, &happening, now).await;
    }

    /// An event of how the reconcile ended, when that is new.
    async fn tell(
        &self,
        sync: &BundleSync,
        verdict: &Verdict,
        old: &BundleSyncStatus,
        progress: &Progress,
        now: Timestamp,
    ) {
        let before = condition_of(old, condition::READY);
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
        let happening = happening(progress, severity, reason, message);
        // What was not attempted is the same trouble at each retry.
        let revision = happening.revision.filter(|_| progress.attempted);
        match News::of(repeated && progress.written == progress.tidied, revision, handled.as_deref()) {
            News::None => return,
            News::Commit => return self.events.post(sync, &happening, now),
            News::All => {}
        }
        // As in Flux, a source that is not there yet is in the condition and the log: its own events tell of it.
        if progress.artifact.is_none() && reason == condition::ARTIFACT_FAILED {
            tracing::info!(reason, "{message}");
            return;
        }
        match severity {
            Severity::Info => tracing::info!("{message}"),
            Severity::Error => tracing::error!(reason, "{message}"),
        }
        self.events.tell(sync, &happening, now).await;
    }
}

/// The status after a reconcile; what it did not come as far as to know stays.
fn status(
    sync: &BundleSync,
    old: &BundleSyncStatus,
    verdict: &Verdict,
    progress: &Progress,
    now: Timestamp,
) -> BundleSyncStatus {
    let generation = sync.metadata.generation.unwrap_or_default();
    let unsafe_agents = progress.outcome.as_ref().map(|outcome| outcome.unsafe_agents.join("; "));
    let rendering = Rendering { verdict, wait: sync.spec.wait, unsafe_agents: unsafe_agents.as_deref() };
    let mut status = BundleSyncStatus {
        conditions: conditions::render(&rendering, &old.conditions, generation, now),
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
        // What a plan asked to be noted was; of a revision that is not applied no set was looked at.
        if progress.went_through
            && outcome.blocked.is_none()
            && let Some(Force { at, .. }) = force(sync)
        {
            status.last_handled_force_at = Some(at.to_owned());
        }
        // Nor is anything known of its sets.
        if outcome.blocked.is_none() {
            status.set_runs = outcome.ran.iter().map(set_run).collect();
        }
        status.inventory = progress.inventory();
    }
    record(&mut status, old, verdict, progress, now);
    status
}

fn happening<'a>(progress: &'a Progress, severity: Severity, reason: &'a str, message: &'a str) -> Happening<'a> {
    let artifact = progress.artifact.as_ref();
    Happening {
        severity,
        reason,
        message,
        revision: artifact.map(|artifact| artifact.revision.as_str()),
        origin_revision: artifact.and_then(Artifact::origin_revision),
    }
}

fn condition_of<'a>(status: &'a BundleSyncStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
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
    if status != old
        || progress.written > progress.tidied
        || !history::is_told(&old.history, ended.digest, ended.revision, kept)
    {
        history::upsert(&mut status.history, &ended, kept);
    }
}

fn set_run(run: &plan::SetRun) -> SetRun {
    let plan::SetRun { id, uid, generation, awaited, retries, again, forced_at } = run.clone();
    SetRun { id: inventory_id(&id), uid, generation, awaited, retries, again, forced_at }
}

#[cfg(test)]
mod tests {
    use plan::{Blocked, Outcome};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_by_hand_is_handled_once_all_were_looked_at() {
        let sync: BundleSync = serde_json::from_value(json!({
            "metadata": {"name": "apps", "namespace": "flux-system",
                "annotations": {"reconcile.fluxcd.io/forceAt": "one", "reconcile.fluxcd.io/requestedAt": "one"}},
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "fleet"}, "interval": "10m", "prune": true},
        }))
        .unwrap();
        let verdict = Verdict::Progressing { message: String::new() };
        for (went_through, blocked, handled) in
            [(true, false, Some("one")), (false, false, None), (true, true, None), (false, true, None)]
        {
            let blocked = blocked.then(|| Blocked {
                installations: Vec::new(),
                count: 1,
                allowed: 0,
                total: 1,
                unread: None,
                confirmation: String::new(),
            });
            let outcome = Some(Outcome { blocked, ..Outcome::default() });
            let progress = Progress { outcome, went_through, ..Progress::default() };
            let status = status(&sync, &BundleSyncStatus::default(), &verdict, &progress, Timestamp::now());
            assert_eq!(status.last_handled_force_at.as_deref(), handled, "{progress:?}");
            assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("one"));
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
}
