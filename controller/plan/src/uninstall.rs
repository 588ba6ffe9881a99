//! The uninstall of what left the source.
//!
//! The order, each step by what is seen and noted, so that a crash between any two leads on from there:
//! wait until it is idle; the last spec that ran well with `uninstalled: true`, so that a harmless document is the current
//! one; delete the AgentActions before it, which an expiring Job would run again; `installation uninstall` where an
//! install was tried and none succeeded, for then the document alone does nothing; `installation delete`, which Porter
//! refuses while something may be installed; delete the Installation; last the release. When one of these two commands fails
//! Porter is asked whether it has a record at all ([`crate::question`]).
//!
//! The superseded AgentActions go before our first command, not only before the record does: one of a failed install
//! that ran again during the command would overlap it.
//!
//! Guarantee: an Installation is deleted only when the ledger says that Porter has nothing of it installed. How a command is
//! run is not known here ([`crate::command`]).

use api::porter::{AgentAction, Installation};
use api::{Asked, BundleRelease, BundleReleaseStatus, BundleState, Question, ReleaseState, RunResult, UninstallStatus};
use jiff::Timestamp;
use porter::Reference;
use serde_json::Value;

use crate::agent;
use crate::command::{Command, Purpose, uninstalls};
use crate::drift;
use crate::input::LiveInstallation;
use crate::observe::{self, End};
use crate::pause::next_try;
use crate::place;
use crate::planner::Planner;
use crate::question;
use crate::release::{self, Source, namespace};
use crate::seen::Seen;
use crate::step::{Action, Due, Lift, Precondition, Reason, Subject, WaitFor};
use crate::write::{id, id_of};

/// How far what left the source is.
pub(crate) enum Left {
    /// Porter has nothing of it any more but, when it is kept, its record. Its Installation is gone.
    Gone,
    /// Something has to happen first.
    On(WaitFor),
    /// Steps were planned.
    Moving(String),
    /// It failed, and is tried again.
    Failed(String),
}

impl<'a> Planner<'a> {
    /// Lifts our finalizer from an Installation that is being deleted and of which nothing runs.
    pub(crate) fn lift(&mut self, subject: &Subject, live: &LiveInstallation, reason: Reason) {
        if !api::is_held(&live.object) {
            return;
        }
        let metadata = &live.object.metadata;
        let all = metadata.finalizers.iter().flatten();
        let disown = reason == Reason::Left;
        let lift = Lift {
            disown,
            id: id_of(&live.object),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            finalizers: all.filter(|finalizer| *finalizer != api::FINALIZER).cloned().collect(),
        };
        self.push(subject, Action::LiftFinalizer(lift), reason, Due::Now);
    }

    /// Lets an installation go that stays installed. One that is being deleted would go at once, and its run with it.
    pub(crate) fn orphan(&mut self, subject: &Subject, release: &BundleRelease) {
        let deleted = self.seen(release).filter(|seen| seen.live.object.metadata.deletion_timestamp.is_some());
        if let Some(wait) = self.command(Some(release)).or_else(|| deleted?.observed.busy) {
            self.plan.outcome.add_uninstalling(subject, wait.to_string(), false);
            return;
        }
        for action in self.ours(release) {
            self.delete(subject, action, Reason::Left);
        }
        if let Some(live) = self.live_of(release) {
            let goes = live.object.metadata.deletion_timestamp.is_some();
            self.lift(subject, live, if goes { Reason::Deleted } else { Reason::Left });
        }
        self.delete(subject, release, Reason::Left);
        self.plan.outcome.add_uninstalling(subject, "it is let go of".to_owned(), false);
    }

    /// The Installation of a release, where it is ours.
    pub(crate) fn live_of(&self, release: &BundleRelease) -> Option<&'a LiveInstallation> {
        self.object_of(release).filter(|_| !self.is_foreign(release))
    }

    /// Everything in a namespace that is being deleted: nothing can be uninstalled there any more.
    pub(crate) fn abandon(&mut self, subject: &Subject, release: &BundleRelease) {
        if let Some(live) = self.live_of(release) {
            self.lift(subject, live, Reason::Abandoned);
        }
        if release.metadata.deletion_timestamp.is_none() {
            self.delete(subject, release, Reason::Abandoned);
            self.plan.outcome.abandoned.push(subject.clone());
        }
    }

    /// One look at an installation that is being uninstalled: what is due now.
    pub(crate) fn uninstall(&mut self, subject: &Subject, release: &BundleRelease) -> Left {
        // The document that uninstalls is what its Installation is held against.
        let wanted = uninstalled(release, release.status.as_ref().unwrap_or(&BundleReleaseStatus::default()));
        let seen = self.live_of(release).map(|live| Seen::of(live, agent::of(&wanted)));
        let mut status = self.report(Some(release), seen.as_ref()).status;
        let begun = status.uninstall.is_some();
        let kube_namespace = namespace(release);
        let why = |action: &str| self.why(&kube_namespace, action).map(|why| why.reason);
        if note(&mut status, self.ours(release), &why, self.input.now) {
            self.plan.outcome.again = true;
            self.gets_on(subject, release, status, ReleaseState::Uninstalling, "a result was noted".to_owned());
            return Left::Moving("a result was noted".to_owned());
        }
        // The status is written before any step that it is the reason of.
        let place = self.plan.steps.len();
        let left = self.uninstall_steps(subject, release, seen.as_ref(), &mut status, begun);
        let (state, message) = match &left {
            Left::Gone => (ReleaseState::Uninstalled, "uninstalled".to_owned()),
            Left::On(wait) => (ReleaseState::Uninstalling, self.told_of(&kube_namespace, wait)),
            Left::Moving(message) => (ReleaseState::Uninstalling, message.clone()),
            Left::Failed(message) => (ReleaseState::UninstallFailed, message.clone()),
        };
        self.gets_on(subject, release, status, state, message);
        if let Some(steps) = self.plan.steps.get_mut(place..)
            && steps.last().is_some_and(|step| matches!(step.action, Action::ReleaseStatus { .. }))
        {
            steps.rotate_right(1);
        }
        left
    }

    fn uninstall_steps(
        &mut self,
        subject: &Subject,
        release: &BundleRelease,
        seen: Option<&Seen<'_>>,
        status: &mut BundleReleaseStatus,
        begun: bool,
    ) -> Left {
        if let Some(wait) = self.command(Some(release)) {
            return Left::On(wait);
        }
        let object = place::object(release);
        if seen.is_none() && self.is_edited(&object) {
            return Left::On(WaitFor::OtherInstallation { object: id::<Installation>(&object.0, &object.1) });
        }
        if seen.is_none() && self.input.live.installations.contains_key(&object) {
            return self.give_way(subject, release);
        }
        if let Some(busy) = self.busy(&object, seen) {
            if let Some(seen) = seen {
                self.delete_superseded(subject, seen);
            }
            return Left::On(busy);
        }
        if let Some(seen) = seen.filter(|seen| seen.live.object.metadata.deletion_timestamp.is_some()) {
            self.lift(subject, seen.live, Reason::Deleted);
            return Left::On(WaitFor::Deletion);
        }
        if !self.ours(release).is_empty() {
            // They are all over, and what was to be noted of them is.
            for action in self.ours(release) {
                self.delete(subject, action, Reason::Superseded);
            }
            return Left::Moving("our AgentActions are deleted".to_owned());
        }
        // What begins is in the ledger before anything is done.
        if !begun {
            if let Some(wait) = self.dependant(&release.installation_id()) {
                return Left::On(wait);
            }
            status.uninstall = Some(UninstallStatus::default());
            self.plan.outcome.again = true;
            return Left::Moving("its uninstall begins".to_owned());
        }
        if let Some(left) = self.document(subject, release, seen, status) {
            return left;
        }

        if self.input.keep_record && may_be_left(status) {
            status.bundle = Some(BundleState::Tried);
        }
        let uid = seen.and_then(|seen| seen.live.object.metadata.uid.clone());
        let generation = seen.and_then(|seen| seen.live.object.metadata.generation).unwrap_or_default();
        let identity = (uid.or_else(|| release.metadata.uid.clone()).unwrap_or_default(), generation);
        if let Some(purpose) = Purpose::to_remove(status.bundle, self.input.keep_record) {
            let reason = match purpose {
                Purpose::Apply | Purpose::Force | Purpose::Invoke => Reason::Retry,
                Purpose::Uninstall => Reason::NeverInstalled,
                Purpose::Forget => Reason::Forget,
                Purpose::Show | Purpose::Logs | Purpose::List => Reason::Asks,
            };
            return self.next_command(subject, release, status, purpose, reason, identity);
        }
        match seen {
            Some(seen) => {
                self.delete(subject, &seen.live.object, Reason::Uninstalled);
                Left::Moving("its Installation is deleted".to_owned())
            }
            None => Left::Gone,
        }
    }

    /// A harmless document is made the current one, and all that came before it goes. `None` once that is so.
    fn document(
        &mut self,
        subject: &Subject,
        release: &BundleRelease,
        seen: Option<&Seen<'_>>,
        status: &mut BundleReleaseStatus,
    ) -> Option<Left> {
        // Porter would make its record anew of a document that it is given after that.
        let commanded = status.uninstall.as_ref().is_some_and(|uninstall| uninstall.attempts > 0);
        if status.bundle.is_none() && commanded {
            return None;
        }
        let wanted = uninstalled(release, status);
        let precondition = match seen {
            Some(seen) if drift::installation_spec(&wanted, &seen.spec).is_empty() => None,
            Some(seen) => {
                let metadata = &seen.live.object.metadata;
                Some(Precondition::seen(metadata.resource_version.as_deref(), metadata.uid.as_deref()))
            }
            // Where Porter knows of no install that succeeded, the command alone does it.
            None => (status.bundle == Some(BundleState::Installed)).then_some(Precondition::Absent),
        };
        if let Some(precondition) = precondition {
            if let Some(wait) = self.agent_wait(&namespace(release), agent::of(&wanted)) {
                return Some(Left::On(wait));
            }
            if let Some(wait) = self.uninstall_set_wait(&namespace(release), &wanted) {
                return Some(Left::On(wait));
            }
            if let Some(wait) = self.turn(place::release(release)) {
                return Some(Left::On(wait));
            }
            let apply = self.apply_spec(&namespace(release), &release.spec.object_name, &wanted, precondition);
            self.push(subject, Action::ApplyInstallation(apply), Reason::Uninstall, Due::Now);
            return Some(Left::Moving("its document says uninstalled: applied just now".to_owned()));
        }
        let seen = seen?;
        let metadata = &seen.live.object.metadata;
        let generation = metadata.generation.unwrap_or_default();
        let Some(current) = seen.observed.current() else { return Some(Left::On(WaitFor::Start { generation })) };
        let is_current = |action: &&AgentAction| action.metadata.name.as_deref() == Some(current.action);
        let superseded: Vec<&AgentAction> = seen.live.actions.iter().filter(|action| !is_current(action)).collect();
        if !superseded.is_empty() {
            for action in superseded {
                self.delete(subject, action, Reason::Superseded);
            }
            return Some(Left::Moving("superseded AgentActions are deleted".to_owned()));
        }
        let run = status.runs.iter().find(|run| run.action == current.action).cloned();
        if let Some(run) = run
            && status.bundle == Some(BundleState::Installed)
            && let Some(uninstall) = &mut status.uninstall
        {
            match run.result {
                Some(RunResult::Succeeded) => status.bundle = Some(BundleState::Uninstalled),
                Some(RunResult::Failed) if uninstall.failed_at.is_none() => {
                    uninstall.failures += 1;
                    uninstall.failed_at = run.finished;
                    uninstall.reason = run.reason;
                }
                _ => {}
            }
        }
        None
    }

    fn next_command(
        &mut self,
        subject: &Subject,
        release: &BundleRelease,
        status: &BundleReleaseStatus,
        purpose: Purpose,
        reason: Reason,
        identity: (String, i64),
    ) -> Left {
        let uninstall = status.uninstall.clone().unwrap_or_default();
        let (spec, attempt) = (&uninstalled(release, status), uninstall.attempts);
        let command = |purpose, identity, bundle| Command {
            purpose,
            identity,
            attempt,
            spec,
            forced: None,
            invoke: None,
            revision: None,
            inputs: None,
            bundle,
        };
        // At once: what is asked changes nothing, and says what is tried next.
        if let Some(purpose) = uninstall.ask.filter(|_| question::needs_record(purpose)).map(question::purpose) {
            return self.run_command(subject, release, &command(purpose, identity, None), Reason::Asks);
        }
        if let Some(failed_at) = uninstall.failed_at.as_ref().filter(|_| uninstall.failures > 0) {
            let at = next_try(failed_at.0, self.input.retry, uninstall.failures);
            if self.input.now < at {
                self.plan.outcome.retry(at);
                // The record is deleted without any set.
                let reads = purpose != Purpose::Forget;
                let missing = if reads { self.told_missing(release, status, spec) } else { String::new() };
                let message = self.failed(release, &uninstall, &missing, at);
                return Left::Failed(message);
            }
        }
        if purpose != Purpose::Forget
            && let Some(wait) = self.uninstall_set_wait(&namespace(release), spec)
        {
            return Left::On(wait);
        }
        let bundle = names_bundle(purpose, &uninstall).then(|| Reference::of_bundle(&spec["bundle"])).flatten();
        self.run_command(subject, release, &command(purpose, identity, bundle), reason)
    }

    /// What is said of an uninstall that failed, until it is tried again.
    fn failed(&self, release: &BundleRelease, uninstall: &UninstallStatus, missing: &str, at: Timestamp) -> String {
        let reason = uninstall.reason.as_ref().map(|reason| format!(": {reason}"));
        let unknown = if uninstall.unknown > 0 { "; Porter knows nothing of it, and is asked once more" } else { "" };
        let times =
            if uninstall.failures > 1 { format!(", {} times in a row", uninstall.failures) } else { String::new() };
        // Of one that is back nothing is let go.
        let is_back = self.wanted.contains_key(&release.installation_id());
        let gives_up = if is_back { "" } else { "; spec.uninstall.policy Orphan gives it up" };
        format!(
            "its uninstall failed{times}{}{missing}{unknown}; {}{gives_up}",
            reason.as_deref().unwrap_or(", see AgentActions and Jobs"),
            WaitFor::Retry { at }
        )
    }

    fn gets_on(
        &mut self,
        subject: &Subject,
        release: &BundleRelease,
        status: BundleReleaseStatus,
        state: ReleaseState,
        message: String,
    ) {
        let source = Source::of(document_of(release, &status));
        self.write_status(subject, release, release::stands(status, release, source, state, message));
    }
}

/// Notes the result of one of our AgentActions, and says whether there was one.
fn note(
    status: &mut BundleReleaseStatus,
    ours: &[AgentAction],
    why: &dyn Fn(&str) -> Option<String>,
    now: Timestamp,
) -> bool {
    let Some(uninstall) = &mut status.uninstall else { return false };
    let new = ours.iter().find_map(|action| {
        let name = action.metadata.name.clone()?;
        let runs = |purpose: &Purpose| {
            matches!(purpose, Purpose::Force | Purpose::Invoke) || (*purpose == Purpose::Apply && !uninstalls(action))
        };
        let purpose = Purpose::of(action).filter(|purpose| !runs(purpose))?;
        let (end, at) = observe::end(action).filter(|_| uninstall.noted.as_ref() != Some(&name))?;
        Some((name, purpose, end, at.unwrap_or(now)))
    });
    let Some((name, purpose, end, at)) = new else { return false };
    let why = if end == End::Failed { why(&name) } else { None };
    uninstall.noted = Some(name);
    uninstall.attempts += 1;
    if question::note(status, purpose, end) {
        return true;
    }
    let Some(uninstall) = &mut status.uninstall else { return true };
    uninstall.reason = why;
    match end {
        End::Failed => {
            uninstall.failures += 1;
            uninstall.failed_at = Some(at.into());
            uninstall.ask = question::needs_record(purpose).then_some(Question::Show);
        }
        End::Succeeded => {
            uninstall.failures = 0;
            uninstall.failed_at = None;
            uninstall.unknown = 0;
            uninstall.commanded |= purpose == Purpose::Uninstall;
            status.bundle = (purpose != Purpose::Forget).then_some(BundleState::Uninstalled);
            if purpose == Purpose::Forget {
                status.succeeded = None;
            }
        }
    }
    true
}

/// Whether a command says which bundle it is about.
///
/// Porter writes its record before it looks up credentials, and the run after that. Of a record without a run
/// `installation uninstall` finds no bundle and fails for ever, unless its reference is given; and no exit code of any
/// command says that this is why. So, where Porter has a record, every second try gives it. Not each: the bundle of the
/// document may be another than the one that ran, and one that cannot be pulled.
fn names_bundle(purpose: Purpose, uninstall: &UninstallStatus) -> bool {
    purpose == Purpose::Uninstall && uninstall.unknown == 0 && uninstall.failures % 2 == 1
}

/// Whether the document which uninstalls may have been none to Porter, since no install is known but one that failed. Where its
/// record goes, the deletion of that is refused then; where it stays, a command has to uninstall.
fn may_be_left(status: &BundleReleaseStatus) -> bool {
    let untried = status.uninstall.as_ref().is_none_or(|uninstall| uninstall.attempts == 0);
    status.unsure && untried && status.bundle == Some(BundleState::Uninstalled)
}

/// The last that ran well, or else the one that was asked for.
fn document_of<'s>(release: &'s BundleRelease, status: &'s BundleReleaseStatus) -> &'s Asked {
    status.succeeded.as_ref().unwrap_or(&release.spec.asked)
}

/// That, with `uninstalled: true`.
pub(crate) fn uninstalled(release: &BundleRelease, status: &BundleReleaseStatus) -> Value {
    let mut spec = document_of(release, status).spec.clone();
    spec["uninstalled"] = true.into();
    spec
}
