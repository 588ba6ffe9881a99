//! The verdict over what was applied and what runs: the rendering of an outcome.
//!
//! Invariant: what is refused or failed is told before what is waited for; Ready only when nothing is. What a run came to is
//! the plan's to say, not known here.

use std::time::Duration;

use api::{BundleSync, CONFIRM, condition};
use kube::ResourceExt;
use plan::{Blocked, Outcome, Told};

use super::memory::Memory;
use super::{Progress, Reconciler, STALE, listed};
use crate::conditions::Verdict;
use crate::mirror::Key;

/// How soon what was written is looked at again, when no event of it comes first.
const WRITTEN: Duration = Duration::from_secs(5);

impl Reconciler {
    /// The verdict, and how soon it may be another one without an event.
    pub(super) fn judge(&self, key: &Key, sync: &BundleSync, progress: &Progress) -> (Verdict, Option<Duration>) {
        let Some(outcome) = &progress.outcome else {
            return (Verdict::Progressing { message: "nothing is known yet".to_owned() }, None);
        };
        let last = sync.status.as_ref().and_then(|status| status.last_attempted_revision.as_ref());
        let revision = progress.artifact.as_ref().map(|artifact| &artifact.revision).or(last);
        let revision = revision.map_or("none", String::as_str);
        if let Some(blocked) = &outcome.blocked {
            self.remember(key, Memory::waits_anew);
            return judge_blocked(sync, revision, blocked);
        }
        if let Some(verdict) = failed(sync, outcome) {
            self.remember(key, Memory::waits_anew);
            return (verdict, None);
        }
        let pending = pending(sync, outcome);
        if pending.is_empty() {
            self.remember(key, Memory::waits_anew);
            if sync.metadata.deletion_timestamp.is_some() {
                return (Verdict::Progressing { message: "everything is gone".to_owned() }, Some(STALE));
            }
            return (Verdict::Ready { message: format!("Applied revision: {revision}") }, None);
        }
        let pending = pending.into_iter().map(say);
        let timeout = sync.spec.timeout().as_std();
        let waited = self.remember(key, |memory| memory.waits(revision));
        match timeout.checked_sub(waited).filter(|rest| !rest.is_zero()) {
            Some(rest) => {
                let doing = if outcome.running.is_empty() { "Waiting" } else { "Running bundle actions" };
                let message = listed(&format!("{doing} for revision {revision}"), pending);
                // No event need follow a write that runs nothing, such as one that hands an installation over.
                let again = if progress.written > 0 { rest.min(WRITTEN) } else { rest };
                (Verdict::Progressing { message }, Some(again))
            }
            None => {
                let message = listed(&format!("timeout of {} s waiting for", timeout.as_secs()), pending);
                (Verdict::Failed { reason: condition::HEALTH_CHECK_FAILED, message }, None)
            }
        }
    }
}

/// Nothing is applied, since it would uninstall too much; or not yet, since another sync may ask for some of it.
fn judge_blocked(sync: &BundleSync, revision: &str, blocked: &Blocked) -> (Verdict, Option<Duration>) {
    if let Some(other) = &blocked.unread {
        let message = format!(
            "{revision} no longer has {}; BundleSync {other} may ask for some of them, but could not be built yet as it and its \
             source stand: mend or suspend it",
            blocked.installations.len()
        );
        return (Verdict::Progressing { message }, Some(WRITTEN));
    }
    (Verdict::Failed { reason: condition::PRUNE_FAILED, message: too_much(sync, revision, blocked) }, None)
}

/// What is refused or failed.
fn failed(sync: &BundleSync, outcome: &Outcome) -> Option<Verdict> {
    let verdict = |reason, intro: &str, list: &mut dyn Iterator<Item = &Told>| {
        Some(Verdict::Failed { reason, message: listed(intro, list.map(say)) })
    };
    if !outcome.refused.is_empty() {
        verdict(condition::RECONCILIATION_FAILED, "not applied", &mut outcome.refused.iter())
    } else if !outcome.uninstall_failed.is_empty() {
        verdict(condition::PRUNE_FAILED, "uninstall failed", &mut outcome.uninstall_failed.iter())
    } else if sync.spec.wait && !outcome.failed.is_empty() {
        let list = &mut outcome.failed.iter().chain(&outcome.stopped);
        verdict(condition::HEALTH_CHECK_FAILED, "health check failed", list)
    } else if !outcome.rolled_back.is_empty() {
        // Whether it is waited for or not: what the source asks for is not what stands.
        verdict(condition::ROLLED_BACK, "rolled back", &mut outcome.rolled_back.iter())
    } else {
        None
    }
}

/// What has to come to its end first.
fn pending<'a>(sync: &BundleSync, outcome: &'a Outcome) -> Vec<&'a Told> {
    let mut pending: Vec<&Told> = outcome.waiting.iter().collect();
    let deleted = sync.metadata.deletion_timestamp.is_some();
    if sync.spec.wait || deleted {
        pending.extend(&outcome.running);
        // Whoever takes it over may depend on this one.
        let stays = |told: &&Told| deleted || !outcome.handed.contains(&told.subject);
        pending.extend(outcome.uninstalling.iter().filter(stays));
    } else {
        // Who is to confirm it would not know otherwise.
        pending.extend(outcome.uninstalling.iter().filter(|told| outcome.unconfirmed.contains(&told.subject)));
    }
    pending
}

/// What a revision that would uninstall too much is refused with.
fn too_much(sync: &BundleSync, revision: &str, blocked: &Blocked) -> String {
    let Blocked { installations, count, allowed, total, confirmation, .. } = blocked;
    let intro = format!(
        "nothing is applied: {revision} no longer has {}; that would make {count} of {total} uninstalled since the last \
         confirmation, and {allowed} may be (spec.uninstall.limit {}). To confirm: kubectl -n {} annotate bundlesync {} \
         --overwrite {CONFIRM}={confirmation}. No longer there",
        installations.len(),
        sync.spec.uninstall.limit,
        sync.namespace().unwrap_or_default(),
        sync.name_any(),
    );
    listed(&intro, installations.iter().cloned())
}

/// A subject, and what is said of it.
pub(super) fn say(told: &Told) -> String {
    format!("{}: {}", told.subject, told.message)
}

#[cfg(test)]
mod tests {
    use manifest::ObjectId;
    use plan::Subject;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_confirmation_is_waited_for_also_where_runs_are_not() {
        for (wait, unconfirmed, pends) in [(true, false, 1), (true, true, 1), (false, false, 0), (false, true, 1)] {
            let sync: BundleSync = serde_json::from_value(json!({
                "metadata": {"name": "apps"},
                "spec": {"sourceRef": {"kind": "GitRepository", "name": "fleet"}, "interval": "10m", "prune": true, "wait": wait},
            }))
            .unwrap();
            let subject = Subject::Object(ObjectId {
                group: String::new(),
                kind: "Installation".to_owned(),
                namespace: "apps".to_owned(),
                name: "mysql".to_owned(),
            });
            let mut outcome = Outcome::default();
            outcome.uninstalling.push(Told { subject: subject.clone(), message: "it goes".to_owned() });
            outcome.unconfirmed.extend(unconfirmed.then_some(subject));
            assert_eq!(pending(&sync, &outcome).len(), pends, "{wait} {unconfirmed}");
        }
    }
}
