//! The due steps of a plan, one after the other, and what comes of that.
//!
//! Invariant: before the first write of an object it is in the inventory; a step that fails stops the later steps of its
//! subject; what an installation runs with stands before it. How a step is carried out is in `carry_out`.

use std::collections::{BTreeMap, BTreeSet};

use api::porter::Installation;
use api::{BundleRelease, BundleSync, condition};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use manifest::ObjectId;
use plan::{Action, Delete, Live, Reason, Step, Subject};
use porter::Desired;

use super::correction::applies;
use super::failure::{Budget, Failure, UNREACHABLE};
use super::memory::Memory;
use super::planning::Order;
use super::verdict::say;
use super::{Progress, Reconciler, listed};
use crate::events::{Happening, Severity, reason};
use crate::mirror::Key;
use crate::writer::RequestError;

/// What came of the steps.
#[derive(Default)]
struct Applied<'s> {
    failures: Vec<(Subject, RequestError)>,
    /// What was applied.
    applied: Vec<&'s Step>,
    /// The installations that were uninstalled, and are gone.
    uninstalled: BTreeSet<String>,
}

impl Applied<'_> {
    /// Whether a step is left out: an earlier one of its subject failed. What an installation runs with has to stand before
    /// it, so an object that failed holds all of them back.
    fn holds_back(&self, step: &Step) -> bool {
        let again = matches!(
            step.reason,
            Reason::RunAgain | Reason::Forced | Reason::Inputs { .. } | Reason::Invoked { .. } | Reason::Reinstall
        );
        let runs = again || matches!(step.action, Action::RecordRelease(_) | Action::ApplyInstallation(_));
        let held = |subject: &Subject| runs && matches!(subject, Subject::Object(_));
        self.failures.iter().any(|(subject, _)| *subject == step.subject || held(subject))
    }

    /// The objects, sets among them, that were applied.
    fn objects(&self) -> BTreeSet<ObjectId> {
        let object = |step: &&Step| match &step.action {
            Action::ApplyObject(apply) | Action::ApplySet(apply) => Some(apply.id.clone()),
            _ => None,
        };
        self.applied.iter().filter_map(object).collect()
    }

    fn errors(&self) -> impl Iterator<Item = &RequestError> {
        self.failures.iter().map(|(_, error)| error)
    }

    fn messages(&self) -> impl Iterator<Item = String> {
        self.errors().map(ToString::to_string)
    }
}

impl Reconciler {
    /// Plans, and takes the steps that are due.
    pub(super) async fn apply(
        &self,
        sync: &BundleSync,
        order: &Order<'_>,
        desired: &Desired,
        budget: &Budget,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        // Before the plan, which looks at the Jobs of the same runs.
        let outlived = self.outlived(sync);
        let (steps, snapshot) = self.plan(sync, order, desired, progress).await?;
        let due: Vec<&Step> = steps.iter().filter(|step| step.is_due()).collect();
        let begins =
            |action: &Action| matches!(action, Action::ApplyObject(_) | Action::ApplySet(_) | Action::MarkRemoved(_));
        if due.iter().any(|step| begins(&step.action)) {
            self.save_inventory(sync, progress).await?;
        }
        let releases = snapshot.releases.into_iter().map(|release| (Key::of(&release), release)).collect();
        let applied = self.take(&due, (sync, order), releases, &snapshot.live, budget, progress).await?;
        self.remember(&Key::of(sync), |memory| memory.wrote(&applied.objects()));
        self.tell_corrected(sync, order, &steps, &applied.applied, progress).await;
        self.tell_gone(sync, order, &applied, progress).await;
        if applied.failures.is_empty() {
            self.sweep_outlived(&outlived).await?;
            progress.went_through = true;
            if is_tried(&due, progress) {
                self.remember(&Key::of(sync), Memory::tried);
            }
            return Ok(());
        }
        progress.was_refused =
            !applied.errors().any(RequestError::is_unanswered) && !applied.errors().all(RequestError::is_conflict);
        Err(failure(&applied, progress))
    }

    /// Takes one step after the other. `releases` are those that the plan was made of.
    async fn take<'s>(
        &self,
        steps: &[&'s Step],
        (sync, order): (&BundleSync, &Order<'_>),
        mut releases: BTreeMap<Key, BundleRelease>,
        seen: &Live,
        budget: &Budget,
        progress: &mut Progress,
    ) -> Result<Applied<'s>, Failure> {
        let mut applied = Applied::default();
        for step in steps {
            if applied.holds_back(step) {
                continue;
            }
            if budget.left().is_zero() {
                return Err(budget.over(condition::RECONCILIATION_FAILED, "the apply"));
            }
            match self.step(step, sync, &mut releases, seen).await {
                Ok(()) => {
                    progress.count(step);
                    if applies(step) {
                        applied.applied.push(step);
                    }
                    // Its Installation goes first, and then its release, where that is not kept.
                    let last = match sync.spec.uninstall.keep_record {
                        true => Installation::kind(&()),
                        false => BundleRelease::kind(&()),
                    };
                    let gone = |delete: &Delete| step.reason == Reason::Uninstalled && delete.id.kind == last;
                    if matches!(&step.action, Action::Delete(delete) if gone(delete)) {
                        applied.uninstalled.insert(step.subject.to_string());
                    }
                    log(order, step);
                }
                Err(error) => {
                    let unanswered = error.is_unanswered();
                    applied.failures.push((step.subject.clone(), error));
                    // Each of the other requests would take as long as this one to fail.
                    if unanswered {
                        break;
                    }
                }
            }
        }
        Ok(applied)
    }

    /// Events of what is gone now, or given up.
    async fn tell_gone(&self, sync: &BundleSync, order: &Order<'_>, applied: &Applied<'_>, progress: &Progress) {
        if !applied.uninstalled.is_empty() {
            let happening = Happening {
                severity: Severity::Info,
                reason: reason::UNINSTALLED,
                message: &listed("uninstalled", applied.uninstalled.iter().cloned()),
                revision: Some(order.revision),
                origin_revision: order.origin_revision,
            };
            self.events.tell(sync, &happening, Timestamp::now()).await;
        }
        let abandoned = progress.outcome.iter().flat_map(|outcome| &outcome.abandoned);
        let abandoned: Vec<String> = abandoned.map(ToString::to_string).collect();
        if !abandoned.is_empty() {
            let intro = "the namespace is being deleted: these are forgotten, and were not uninstalled";
            self.tell_abandoned(sync, &listed(intro, abandoned.into_iter())).await;
        }
    }

    /// Before the first write of an object it is in the inventory, so that nothing we made is ever forgotten.
    /// What is uninstalled counts before its uninstall begins.
    async fn save_inventory(&self, sync: &BundleSync, progress: &Progress) -> Result<(), RequestError> {
        let mut status = sync.status.clone().unwrap_or_default();
        let inventory = progress.inventory();
        if status.inventory == inventory && status.pruned == progress.pruned {
            return Ok(());
        }
        status.inventory = inventory;
        status.pruned = progress.pruned.clone();
        let written = self.writer.apply_status(sync, &status).await?;
        self.cluster.syncs.record_write(written);
        Ok(())
    }
}

/// Whether the next try that was asked for is over: one was made, or nothing is to be tried, as where what failed was tried as
/// often as it may be. A plan that writes may prepare one.
fn is_tried(steps: &[&Step], progress: &Progress) -> bool {
    // A set is tried again by the deletion of its AgentAction.
    let tried = steps.iter().any(|step| matches!(step.action, Action::Run(_)) || step.reason == Reason::RunAgain);
    let outcome = progress.outcome.as_ref();
    let idle = outcome.is_some_and(|outcome| outcome.uninstalling.is_empty() && outcome.failed.is_empty());
    let is_over = outcome.is_some_and(|outcome| !outcome.again) && progress.written == 0;
    tried || idle || is_over
}

/// What the steps failed with.
fn failure(applied: &Applied<'_>, progress: &Progress) -> Failure {
    if applied.errors().all(RequestError::is_conflict) {
        return Failure::stale(applied.messages());
    }
    let refused = progress.outcome.iter().flat_map(|outcome| &outcome.refused).map(say);
    let message = listed("apply failed", applied.messages().chain(refused));
    let failure = Failure::new(condition::RECONCILIATION_FAILED, message);
    if applied.errors().any(RequestError::is_unreachable) { failure.soon(UNREACHABLE) } else { failure }
}

fn log(order: &Order<'_>, step: &Step) {
    if matches!(step.action, Action::ReleaseStatus { .. }) {
        return;
    }
    tracing::info!(
        revision = order.revision, subject = %step.subject, reason = %step.reason,
        "{}", step.told(),
    );
}

#[cfg(test)]
mod tests {
    use plan::{Due, Outcome, Told};

    use super::*;

    #[test]
    fn a_try_that_was_asked_for_is_over_once_it_was_made_or_none_is_to_come() {
        let subject = Subject::Object(ObjectId {
            group: String::new(),
            kind: "Secret".to_owned(),
            namespace: "apps".to_owned(),
            name: "a".to_owned(),
        });
        let step = |reason| Step { subject: subject.clone(), action: Action::Unchanged, reason, due: Due::Now };
        let (again, same) = (step(Reason::RunAgain), step(Reason::AsAsked));
        let told = || vec![Told { subject: subject.clone(), message: "failed".to_owned() }];
        let failed = || Outcome { failed: told(), ..Outcome::default() };
        let uninstalling = || Outcome { uninstalling: told(), ..Outcome::default() };
        for (what, step, outcome, written, over) in [
            ("nothing failed", &same, Outcome::default(), 1, true),
            ("it is tried", &again, failed(), 1, true),
            ("a write may prepare it", &same, failed(), 1, false),
            ("the ledger comes first", &same, Outcome { again: true, ..failed() }, 0, false),
            ("it failed as often as it may", &same, failed(), 0, true),
            ("an uninstall is prepared", &same, uninstalling(), 1, false),
            ("an uninstall waits for a confirmation", &same, uninstalling(), 0, true),
        ] {
            let progress = Progress { outcome: Some(outcome), written, ..Progress::default() };
            assert_eq!(is_tried(&[step], &progress), over, "{what}");
        }
        assert!(!is_tried(&[&same], &Progress::default()), "nothing is known");
    }
}
