//! One installation that the source asks for.
//!
//! The way of the data: what has to be over before (another's, a half uninstall, a move) -> a [`Case`], which is what is asked
//! against what stands -> what it waits for -> its runs, and which of them are run again -> the steps, and the one
//! [`Standing`] that is told of it.
//!
//! Invariant: what is asked is in the ledger before the Installation is written, and what was seen is before what it is the
//! reason of. Nothing is recorded or written while it waits. Whose it is ([`crate::ownership`]), when a run may begin
//! ([`crate::order`]) and what a run means ([`crate::release`]) is not decided here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use api::{Asked, BundleRelease, BundleReleaseStatus, SyncRef};
use porter::DesiredInstallation;
use serde_json::{Value, json};

use crate::agent;
use crate::command::{Command, Purpose};
use crate::drift;
use crate::input::LiveInstallation;
use crate::outcome::Standing;
use crate::place;
use crate::planner::Planner;
use crate::release::{self, Progress, Reported, is_begun, is_pruned, namespace};
use crate::rollback;
use crate::seen::{Seen, holds};
use crate::step::{Action, Due, Precondition, Reason, Record, Refusal, Subject, WaitFor};
use crate::uninstall::Left;

/// What is asked of an installation that may be written, against what stands.
struct Case<'a> {
    subject: Subject,
    /// What the document asks for.
    asked: &'a DesiredInstallation,
    /// The digest of that.
    digest: String,
    /// What the Installation is held against: what is asked, or what ran well when that was given up.
    target: Cow<'a, DesiredInstallation>,
    /// Its release, where there is one.
    release: Option<&'a BundleRelease>,
    /// Its Installation, where there is one.
    seen: Option<Seen<'a>>,
    /// In what the Installation differs.
    fields: Vec<String>,
    /// The ledger says otherwise.
    record: bool,
    /// The Installation says otherwise.
    write: bool,
    /// Its Installation stands, and nobody noted its runs yet. They are before it is written: a failed one is not undone by
    /// a write.
    found: bool,
}

impl Case<'_> {
    /// Whether what is given up, by what is noted now, is what was when the target was chosen. If not, the next plan has
    /// another target.
    fn is_as_before(&self, reported: &Reported) -> bool {
        matches!(self.target, Cow::Owned(_)) == reported.status.rolled_back.is_some()
    }

    /// Whether it has another object by the ledger.
    fn is_moved(&self) -> bool {
        self.release.is_some_and(|release| is_moved(release, self.asked))
    }

    /// Whether the ledger says that another spec is asked.
    fn is_changed(&self) -> bool {
        self.release.is_some_and(|release| release.spec.asked.digest != self.digest)
    }

    /// Whether the ledger and the Installation say what is asked.
    fn is_settled(&self) -> bool {
        !self.record && !self.write
    }

    fn is_being_deleted(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.live.object.metadata.deletion_timestamp.is_some())
            || self.release.is_some_and(|release| release.metadata.deletion_timestamp.is_some())
    }
}

/// What tells the annotations that are asked from others; nothing, where none are.
fn annotated(asked: &DesiredInstallation) -> Option<String> {
    (!asked.annotations.is_empty()).then(|| porter::digest(&json!(asked.annotations)))
}

fn is_moved(release: &BundleRelease, asked: &DesiredInstallation) -> bool {
    release.spec.object_name != asked.object_name
}

impl<'a> Planner<'a> {
    /// What is to be done with an installation, and how it stands then.
    pub(crate) fn installation(&mut self, asked: &'a DesiredInstallation) -> Standing {
        let subject = Subject::Installation(asked.id.clone());
        let kube_namespace = &asked.id.kube_namespace;
        let release = self.release_of(&asked.id);
        if self.input.live.terminating.contains(kube_namespace) {
            if let Some(release) = release.filter(|release| release.spec.sync == *self.input.sync) {
                self.abandon(&subject, release);
            }
            return Standing::Waiting(WaitFor::Namespace.to_string());
        }
        let live = self.input.live.installations.get(&place::asked(asked));
        let ours = release.filter(|release| self.is_free(release));
        if let Some(refusal) = self.refusal(&subject, asked, release, live) {
            return self.refused(&subject, asked, ours, live, refusal);
        }
        if let Some(standing) = ours.and_then(|release| self.uninstalled_first(&subject, release)) {
            return standing;
        }
        let moved = ours.filter(|release| is_moved(release, asked));
        if let Some(standing) = moved.and_then(|release| self.leave(&subject, asked, release)) {
            return standing;
        }
        let case = self.case(subject, asked, ours, live);
        self.stand(case)
    }

    /// One that may not be written; or not yet, since the sync that has it lets it go. The runs of one of ours are observed.
    fn refused(
        &mut self,
        subject: &Subject,
        asked: &DesiredInstallation,
        ours: Option<&BundleRelease>,
        live: Option<&LiveInstallation>,
        refusal: Refusal,
    ) -> Standing {
        if let Refusal::OwnedBy { owner, .. } = &refusal
            && self.input.live.leaving.contains(&place::release_of(&asked.id))
        {
            self.look_again();
            return Standing::Waiting(WaitFor::Release { sync: owner.clone() }.to_string());
        }
        let reported = self.report(ours, None);
        self.status(subject, ours, &reported, Some(refusal.to_string()), false);
        let told = match live.map(|live| Seen::of(live, None)) {
            Some(seen) if ours.is_none() => format!("{refusal}; {}", seen.told()),
            _ => refusal.to_string(),
        };
        self.refuse(subject, refusal);
        Standing::Refused(told)
    }

    /// Once an uninstall has begun it comes to its end: what half of it left is nothing to install over. `None` once it
    /// has, or when none has begun.
    fn uninstalled_first(&mut self, subject: &Subject, release: &BundleRelease) -> Option<Standing> {
        // What somebody else made meanwhile is nothing to uninstall.
        if !is_pruned(release) || !is_begun(release) || self.is_foreign(release) {
            return None;
        }
        let before = self.plan.steps.len();
        let back = |told: String| format!("back in the source, once it is uninstalled: {told}");
        match self.uninstall(subject, release) {
            Left::Gone => {
                // What is told of it is how it comes back.
                self.plan.steps.truncate(before);
                None
            }
            Left::On(wait) => Some(Standing::Waiting(back(self.told_of(&namespace(release), &wait)))),
            Left::Moving(told) => Some(Standing::Waiting(back(told))),
            Left::Failed(told) => Some(Standing::Failed(back(told))),
        }
    }

    fn case(
        &self,
        subject: Subject,
        asked: &'a DesiredInstallation,
        release: Option<&'a BundleRelease>,
        live: Option<&'a LiveInstallation>,
    ) -> Case<'a> {
        let digest = release::digest(&asked.spec);
        let target = rollback::target(release, asked, &digest).map_or(Cow::Borrowed(asked), Cow::Owned);
        let record = release.is_none_or(|release| {
            is_moved(release, asked)
                || release.spec.sync != *self.input.sync
                || release.spec.removed.is_some()
                || release.spec.asked.digest != digest
        });
        // One that holds another installation is not refused only when that is uninstalled before.
        let live = live.filter(|live| holds(live) == asked.id.porter());
        let seen = live.map(|live| Seen::of(live, agent::of(&target.spec)));
        let fields = seen.as_ref().map(|seen| self.installation_drift(&target, release, seen)).unwrap_or_default();
        let found = release.is_none() && seen.is_some() && self.runs_are_awaited();
        let write = !found && (seen.is_none() || !fields.is_empty());
        Case { subject, asked, digest, target, release, seen, fields, record, write, found }
    }

    fn installation_drift(
        &self,
        target: &DesiredInstallation,
        release: Option<&BundleRelease>,
        seen: &Seen<'_>,
    ) -> Vec<String> {
        let mut fields = drift::installation_spec(&target.spec, &seen.spec);
        let none = BTreeMap::new();
        let labels = seen.live.object.metadata.labels.as_ref().unwrap_or(&none);
        fields.extend(drift::labels(self.labels(&target.labels), labels));
        if self.runs_are_awaited() {
            let metadata = &seen.live.object.metadata;
            let stood = release.and_then(|release| release.status.as_ref()?.annotated.clone());
            if stood != annotated(target) {
                let live = metadata.annotations.as_ref().unwrap_or(&none);
                fields.extend(drift::annotations(&target.annotations, live));
            }
            // Metadata is made of strings, numbers and lists: it has a JSON form.
            let metadata = serde_json::to_value(metadata).unwrap_or(Value::Null);
            fields.extend(drift::left_behind(&target.labels, &target.annotations, &metadata));
        }
        if self.runs_are_awaited() && !api::is_held(&seen.live.object) {
            fields.push("metadata.finalizers".to_owned());
        }
        fields
    }

    /// Notes what is seen, and records, writes and runs what is due.
    fn stand(&mut self, mut case: Case<'a>) -> Standing {
        let wait = self.place_wait(&case).or_else(|| self.run_wait(&case));
        let stopped = self.waits(case.asked, wait.as_ref());
        if wait.is_some() && self.is_anothers(case.release, case.seen.as_ref()) {
            self.look_again();
        }
        // What comes before it is in the ledger for when it goes, and is no reason to run anything.
        let reordered = case.release.filter(|release| {
            !case.record && release.spec.asked.depends_on != case.asked.depends_on && wait != Some(WaitFor::Deletion)
        });

        let mut reported = self.report(case.release, case.seen.as_ref());
        if case.is_changed() {
            // Forgotten before the ledger says what is asked now: that may be given up, too.
            reported.latched |= reported.status.rolled_back.take().is_some();
        }
        if let Some(release) = case.release.filter(|release| release.spec.sync != *self.input.sync) {
            // Once the ledger names another sync than its labels do, nothing else tells that it is not somebody else's.
            let stood = release.status.as_ref().and_then(|status| status.uid.as_ref());
            reported.latched |= stood != reported.status.uid.as_ref();
        }
        if let Some(seen) = &case.seen {
            let none = BTreeMap::new();
            let live = seen.live.object.metadata.annotations.as_ref().unwrap_or(&none);
            if drift::annotations(&case.target.annotations, live).is_empty() {
                let stood = std::mem::replace(&mut reported.status.annotated, annotated(&case.target));
                reported.latched |= stood != reported.status.annotated;
            }
        }
        case.write &= case.is_as_before(&reported);
        let told = self.told_wait(&case, wait.as_ref(), &mut reported);
        self.tell_bundle(&case, &mut reported);
        let due = wait.is_none();
        let again = if due { self.runs_again(&case, &mut reported) } else { None };
        // What is held against what is asked, or against what ran well, is so from the next plan on.
        self.plan.outcome.again |= case.release.is_some() && !case.is_as_before(&reported);

        let writes = (due && !case.is_settled()) || reordered.is_some();
        self.status(&case.subject, case.release, &reported, told.clone(), writes);
        if let Some(release) = case.release {
            reported.progress = rollback::progress(release, &reported.status, reported.progress);
            self.delete_noted(&case.subject, release, &reported.status);
        }
        // What runs meanwhile may take longer than the Job of an old one stays. Of somebody else's nothing goes before it is taken.
        let runs = |seen: &Seen<'_>| matches!(wait, Some(WaitFor::Run { .. })) && api::is_held(&seen.live.object);
        if let Some(seen) = case.seen.as_ref().filter(|seen| runs(seen) || (due && case.is_settled())) {
            self.delete_superseded(&case.subject, seen);
        }
        if let Some((purpose, reason)) = again {
            self.run_again(&case, &reported, purpose, reason);
        }
        let recorded_first = case.release.is_none() && due;
        if let Some(seen) = case.seen.as_ref().filter(|_| !recorded_first) {
            self.lift_over(&case.subject, case.release, seen);
        }
        self.record_and_write(&case, &reported.status, wait, reordered);
        match told {
            Some(told) if stopped => Standing::Stopped(told),
            Some(told) => Standing::Waiting(told),
            None => self.standing(&case, reported.progress),
        }
    }

    /// Whether what happens with it concerns somebody else by its labels: no event of that comes here.
    pub(crate) fn is_anothers(&self, release: Option<&BundleRelease>, seen: Option<&Seen<'_>>) -> bool {
        let taken_over = release.is_some_and(|release| release.spec.sync != *self.input.sync);
        let owner = seen.map(|seen| SyncRef::owner_of(&seen.live.object));
        let labelled = owner.is_some_and(|owner| owner.as_ref() != Some(self.input.sync));
        self.runs_are_awaited() && (taken_over || labelled)
    }

    /// What has to leave an object, or to be over, before an installation may be recorded in it.
    fn place_wait(&self, case: &Case<'_>) -> Option<WaitFor> {
        // Of one that no release knows the ledger is written first: what its run comes to is noted before it goes.
        let unrecorded = case.found && case.seen.as_ref().is_some_and(|seen| api::is_held(&seen.live.object));
        if case.is_being_deleted() && !unrecorded {
            return Some(WaitFor::Deletion);
        }
        if !self.runs_are_awaited() {
            return None;
        }
        let uninstall = || self.holder(case.asked).or_else(|| self.elsewhere(case.asked, case.release));
        self.command(case.release)
            .or_else(|| uninstall().map(|id| WaitFor::Uninstall { id }))
            .or_else(|| self.mover(case.asked).map(|id| WaitFor::Move { id }))
    }

    /// What keeps an Installation from being written, which the operator runs then.
    fn run_wait(&mut self, case: &Case<'_>) -> Option<WaitFor> {
        if !case.write || !self.runs_are_awaited() {
            return None;
        }
        let target = &case.target;
        let busy = self.busy(&place::asked(target), case.seen.as_ref());
        if let Some(wait) = busy.or_else(|| self.held.clone()) {
            return Some(wait);
        }
        if let Some(wait) = self.agent_wait(&target.id.kube_namespace, agent::of(&target.spec)) {
            return Some(wait);
        }
        if let Some(wait) = self.set_wait(target).or_else(|| self.secret_wait(target)) {
            return Some(wait);
        }
        if self.is_run(target, case.seen.as_ref()) { self.may_begin(target) } else { None }
    }

    /// What a set that an installation names has to come to before anything of that runs.
    pub(crate) fn set_wait(&self, desired: &DesiredInstallation) -> Option<WaitFor> {
        self.input.desired.sets_of(desired).into_iter().find_map(|set| {
            let wait = self.sets.get(&set.id).cloned().flatten()?;
            Some(WaitFor::Set { id: set.id.clone(), wait })
        })
    }

    /// What is waited for, for people. A command of ours that is on is how a settled installation stands, and no wait.
    fn told_wait(&self, case: &Case<'_>, wait: Option<&WaitFor>, reported: &mut Reported) -> Option<String> {
        let kube_namespace = &case.asked.id.kube_namespace;
        match wait? {
            WaitFor::Command { action } if case.is_settled() => {
                let why = self.why(kube_namespace, action);
                reported.progress = Progress::Running(release::runs(action, why.as_ref()));
                None
            }
            wait => Some(self.told_of(kube_namespace, wait)),
        }
    }

    /// A bundle may outlive its agent, and the AgentAction too: as long as it is on, nothing is over.
    fn tell_bundle(&self, case: &Case<'_>, reported: &mut Reported) {
        let busy = case.seen.as_ref().and_then(|seen| seen.observed.busy.as_ref());
        if let Some(wait @ WaitFor::Job { .. }) = busy.filter(|_| case.is_settled())
            && matches!(reported.progress, Progress::Succeeded(_) | Progress::Failed(_))
        {
            reported.progress = Progress::Running(wait.to_string());
        }
    }

    /// What is run again, or besides, of an installation that waits for nothing, stands as it is asked and of which nothing
    /// runs.
    fn runs_again(&mut self, case: &Case<'_>, reported: &mut Reported) -> Option<(Purpose, Reason)> {
        let (release, seen) = (case.release?, case.seen.as_ref()?);
        let idle = self.runs_are_awaited() && seen.observed.busy.is_none();
        if !idle || !case.is_settled() || !case.is_as_before(reported) {
            return None;
        }
        let generation = seen.live.object.metadata.generation.unwrap_or_default();
        let again = self.again(&case.target, release, generation, reported);
        let again = again.or_else(|| self.invokes(&case.target, release, reported));
        self.tell_missing(&case.target, release, reported);
        again
    }

    fn run_again(&mut self, case: &Case<'_>, reported: &Reported, purpose: Purpose, reason: Reason) {
        let (Some(release), Some(seen)) = (case.release, &case.seen) else { return };
        let metadata = &seen.live.object.metadata;
        let generation = metadata.generation.unwrap_or_default();
        let forced = reported.status.force.as_ref().and_then(|force| force.due.as_deref());
        let custom = purpose == Purpose::Invoke;
        let command = Command {
            purpose,
            identity: (metadata.uid.clone().unwrap_or_default(), generation),
            attempt: reported.status.attempts(generation),
            spec: &case.target.spec,
            forced: forced.filter(|_| !custom),
            invoke: case.asked.invoke.as_ref().filter(|_| custom),
            revision: (custom || matches!(reason, Reason::Inputs { .. })).then_some(self.input.revision),
            inputs: if custom { None } else { self.given_again(&case.target, release, &reported.status) },
            bundle: None,
        };
        self.run_command(&case.subject, release, &command, reason);
    }

    /// Says in the ledger what is asked, and writes the Installation.
    fn record_and_write(
        &mut self,
        case: &Case<'a>,
        status: &BundleReleaseStatus,
        wait: Option<WaitFor>,
        reordered: Option<&BundleRelease>,
    ) {
        let reason = self.reason(case);
        let due = wait.map_or(Due::Now, Due::Waiting);
        let not_run = case.seen.as_ref().is_some_and(|seen| seen.observed.current().is_none());
        if case.record && due == Due::Now && not_run {
            self.begins_anyway(&case.target);
        }
        let runs = case.write && self.is_run(&case.target, case.seen.as_ref());
        if case.record && due == Due::Now && !runs && self.runs_are_awaited() {
            // The status says what is asked now, and no event follows.
            self.plan.outcome.again = true;
        }
        let inputs = self.asks_with(&case.target, case.release, case.seen.as_ref(), status, runs);
        if case.record {
            let release = Box::new(release::record(self.input, case.asked, case.digest.clone(), inputs.clone()));
            let record = Record { release, create: case.release.is_none() };
            self.plan.outcome.again |= case.found;
            self.push(&case.subject, Action::RecordRelease(record), reason.clone(), due.clone());
        }
        if let Some(release) = reordered {
            let inputs = release.spec.asked.inputs.clone();
            let release = Box::new(release::asked_anew(release, &case.asked.depends_on, inputs));
            let record = Action::RecordRelease(Record { release, create: false });
            self.push(&case.subject, record, Reason::Reordered, Due::Now);
        }
        let renewed = |release: &&BundleRelease| !case.record && case.write && release.spec.asked.inputs != inputs;
        if let Some(release) = case.release.filter(renewed) {
            let release = Box::new(release::asked_anew(release, &case.asked.depends_on, inputs));
            let record = Action::RecordRelease(Record { release, create: false });
            self.push(&case.subject, record, reason.clone(), due.clone());
        }
        if case.write {
            let metadata = case.seen.as_ref().map(|seen| &seen.live.object.metadata);
            let precondition = Precondition::seen(
                metadata.and_then(|metadata| metadata.resource_version.as_deref()),
                metadata.and_then(|metadata| metadata.uid.as_deref()),
            );
            let apply = self.apply_installation(&case.target, case.seen.as_ref(), precondition);
            // That its release is missing is no reason to write it.
            let drift = || Reason::Drift { fields: case.fields.clone() };
            let reason = if reason == Reason::Unrecorded { drift() } else { reason };
            self.push(&case.subject, Action::ApplyInstallation(apply), reason, due);
        } else if !case.record && reordered.is_none() {
            self.push(&case.subject, Action::Unchanged, Reason::AsAsked, Due::Now);
        }
    }

    /// Why it is recorded and written.
    fn reason(&self, case: &Case<'_>) -> Reason {
        let Some(release) = case.release else {
            return if case.seen.is_some() { Reason::Unrecorded } else { Reason::New };
        };
        if release.spec.sync != *self.input.sync {
            Reason::TakenOver { from: release.spec.sync.clone() }
        } else if release.spec.removed.is_some() {
            Reason::Returned
        } else if case.is_moved() {
            Reason::Moved { from: release.spec.object_name.clone() }
        } else if case.is_changed() {
            Reason::Changed { since: release.spec.asked.revision.clone() }
        } else if let Some(seen) = &case.seen {
            Self::drift_reason(case, release, seen)
        } else if release.status.as_ref().is_some_and(|status| status.uid.is_some()) {
            Reason::Missing
        } else {
            Reason::New
        }
    }

    /// Why one is written of which the ledger says what is asked: somebody changed it; or it stands as before, for what is
    /// asked was given up just now, is tried once more, or nobody came to write it.
    fn drift_reason(case: &Case<'_>, release: &BundleRelease, seen: &Seen<'_>) -> Reason {
        let status = release.status.as_ref();
        let is = |asked: &Asked, spec: &Value| drift::installation_spec(&asked.spec, spec).is_empty();
        if matches!(case.target, Cow::Owned(_)) {
            let generation = seen.live.object.metadata.generation;
            let failed = status.and_then(rollback::given_up);
            if failed.is_some_and(|failed| Some(failed.generation) == generation) {
                return Reason::RolledBack;
            }
        } else if let Some(good) = status.and_then(|status| status.succeeded.as_ref())
            && is(good, &seen.spec)
            && !is(good, &case.target.spec)
        {
            return Reason::Changed { since: good.revision.clone() };
        }
        Reason::Drift { fields: case.fields.clone() }
    }

    /// How an installation stands that waits for nothing.
    fn standing(&self, case: &Case<'_>, progress: Progress) -> Standing {
        if !self.runs_are_awaited() {
            return Standing::Ready;
        }
        if case.write {
            return Standing::Pending("applied just now".to_owned());
        }
        if case.found {
            return Standing::Pending("recorded just now, and not looked at since".to_owned());
        }
        match progress {
            Progress::Pending(message) => Standing::Pending(message),
            Progress::Running(message) => Standing::Running(message),
            Progress::Succeeded(_) => Standing::Ready,
            Progress::RolledBack(message) => Standing::RolledBack(message),
            Progress::Failed(message) => Standing::Failed(message),
        }
    }
}
