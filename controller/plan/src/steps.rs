//! [`plan`]: desired against live, subject by subject.
//!
//! Order: ConfigMaps, Secrets and the like, agent configurations, sets, installations ([`crate::order`]), and last what left the source:
//! installations before the sets and other objects that they may need to be uninstalled. In local mode, where an uninstall happens at once, what left goes first: a changed name is an uninstall and an install.

use std::collections::{BTreeMap, BTreeSet};

use api::porter::{AgentAction, Installation};
use api::{BundleRelease, InstallationId, PorterIdentity, ReleaseState, SyncRef};
use manifest::ObjectId;
use porter::{DesiredInstallation, DesiredObject};
use serde_json::{Value, json};

use crate::adopt;
use crate::again;
use crate::agent;
use crate::drift;
use crate::input::{Input, LiveInstallation, LiveSet, Removal, SetRun, Why};
use crate::observe::{self, End, Observed, Owner};
use crate::order::{self, Order};
use crate::outcome::{Outcome, Standing};
use crate::release::{self, Progress, Reported};
use crate::rollback;
use crate::step::{
    Action, Apply, Delete, Due, Plan, Precondition, Reason, Record, Refusal, SetWait, Step, Subject, WaitFor,
};
use crate::uninstall::{self, Command, Left, Purpose};

/// What is to be done now, and what waits for what.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let by_name = |release: &'_ BundleRelease| (namespace(release), release_name(release));
    let mut planner = Planner {
        input,
        releases: input.releases.iter().map(|release| (by_name(release), release)).collect(),
        wanted: input.desired.installations.iter().map(|installation| (&installation.id, installation)).collect(),
        sets: BTreeMap::new(),
        held: None,
        gate: Gate::Open,
        order: Order::new(input),
        plan: Plan { steps: Vec::new(), outcome: Outcome::default() },
    };
    planner.unsafe_agents();
    planner.guard();
    if planner.plan.outcome.blocked.is_some() {
        planner.blocked();
        return planner.plan;
    }
    if input.removal == Removal::Local {
        planner.left();
    }
    for object in &input.desired.objects {
        planner.object(object);
    }
    for set in &input.desired.sets {
        planner.set(set);
    }
    for installation in order::sorted(input.desired) {
        planner.installation(installation);
        planner.planned(installation);
    }
    if input.removal != Removal::Local {
        planner.left();
        planner.unknown();
    }
    if input.removal == Removal::Uninstall {
        planner.dropped();
    }
    planner.plan
}

/// Whether installations that left the source may be uninstalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Each waits for a confirmation.
    Ask,
}

pub(crate) struct Planner<'a> {
    pub(crate) input: &'a Input<'a>,
    /// By namespace and name.
    pub(crate) releases: BTreeMap<(String, String), &'a BundleRelease>,
    pub(crate) wanted: BTreeMap<&'a InstallationId, &'a DesiredInstallation>,
    /// What an installation that names the set waits for.
    sets: BTreeMap<&'a ObjectId, Option<SetWait>>,
    /// What may not or cannot be written of the objects that come before all installations: a run could read what is
    /// not there yet, or what is somebody else's.
    held: Option<WaitFor>,
    pub(crate) gate: Gate,
    pub(crate) order: Order<'a>,
    pub(crate) plan: Plan,
}

/// What is to be done with one object, its runs aside.
enum Verdict {
    Same,
    Write { reason: Reason, precondition: Precondition },
    Deleting,
    Refuse(Refusal),
}

impl<'a> Planner<'a> {
    pub(crate) fn push(&mut self, subject: &Subject, action: Action, reason: Reason, due: Due) {
        self.plan.steps.push(Step { subject: subject.clone(), action, reason, due });
    }

    /// Why an AgentAction failed, or does not get on.
    pub(crate) fn why(&self, kube_namespace: &str, action: &str) -> Option<Why> {
        self.input.live.why.get(&(kube_namespace.to_owned(), action.to_owned())).cloned()
    }

    /// What is waited for, with what keeps it from getting on.
    pub(crate) fn told_of(&self, kube_namespace: &str, wait: &WaitFor) -> String {
        let why = match wait {
            WaitFor::Run { action, .. } | WaitFor::Command { action } => self.why(kube_namespace, action),
            _ => None,
        };
        why.map_or_else(|| wait.to_string(), |why| format!("{wait}, and does not get on: {}", why.reason))
    }

    /// Deletes the AgentActions of earlier generations of an Installation. One whose bundle may be on stays.
    pub(crate) fn delete_superseded(&mut self, subject: &Subject, seen: &Seen<'_>) {
        if seen.live.bundle_job.is_none() {
            for delete in superseded(&seen.live.actions, &seen.observed) {
                self.push(subject, Action::Delete(delete), Reason::Superseded, Due::Now);
            }
        }
    }

    fn refuse(&mut self, subject: &Subject, refusal: Refusal) {
        self.push(subject, Action::Refuse, Reason::Refused(refusal), Due::Now);
    }

    fn object(&mut self, object: &'a DesiredObject) {
        let subject = Subject::Object(object.id.clone());
        let live = self.input.live.objects.get(&object.id).map(|live| &live.object);
        let standing = match self.verdict(object, live) {
            Verdict::Same => {
                self.push(&subject, Action::Unchanged, Reason::AsAsked, Due::Now);
                Standing::Ready
            }
            Verdict::Write { reason, precondition } => {
                let apply = self.apply_object(object, precondition);
                self.push(&subject, Action::ApplyObject(apply), reason, Due::Now);
                Standing::Ready
            }
            Verdict::Deleting => {
                let apply = self.apply_object(object, Precondition::Absent);
                let due = Due::Waiting(WaitFor::Deletion);
                self.push(&subject, Action::ApplyObject(apply), Reason::Missing, due);
                self.hold(&object.id, SetWait::Write);
                Standing::Waiting(WaitFor::Deletion.to_string())
            }
            Verdict::Refuse(refusal) => {
                self.refuse(&subject, refusal.clone());
                self.hold(&object.id, SetWait::Refused);
                Standing::Refused(refusal.to_string())
            }
        };
        self.plan.outcome.add(&subject, standing);
    }

    fn hold(&mut self, id: &ObjectId, wait: SetWait) {
        self.held.get_or_insert_with(|| WaitFor::Set { id: id.clone(), wait });
    }

    fn set(&mut self, set: &'a DesiredObject) {
        let subject = Subject::Object(set.id.clone());
        let live = self.input.live.sets.get(&set.id);
        let runs = matches!(set.id.kind.as_str(), "CredentialSet" | "ParameterSet") && self.runs_are_awaited();
        let observed =
            live.filter(|_| runs).map(|live| observe::observe(&Owner::object(&live.object), &live.actions, None));
        let mut busy = observed.as_ref().and_then(|observed| observed.busy.clone());
        let ran = live.zip(observed.as_ref()).and_then(|(live, observed)| set_ran(&set.id, live, observed));
        let (standing, wait) = match self.verdict(set, live.map(|live| &live.object)) {
            Verdict::Same => {
                self.push(&subject, Action::Unchanged, Reason::AsAsked, Due::Now);
                if let (Some(live), Some(observed)) = (live, &observed) {
                    for delete in superseded(&live.actions, observed) {
                        let subject = Subject::Object(delete.id.clone());
                        self.push(&subject, Action::Delete(delete), Reason::Superseded, Due::Now);
                    }
                }
                match &observed {
                    Some(observed) if ran.is_none() => {
                        set_standing(observed, &|action| self.why(&set.id.namespace, action))
                    }
                    _ => (Standing::Ready, None),
                }
            }
            Verdict::Write { reason, precondition } => {
                if runs && busy.is_none() {
                    busy = self.agent_wait(&set.id.namespace, agent::of(&set.body["spec"]));
                }
                let mut apply = self.apply_object(set, precondition);
                if runs {
                    apply.body["spec"] = self.with_agent(&apply.body["spec"]);
                }
                let due = busy.clone().map_or(Due::Now, Due::Waiting);
                self.push(&subject, Action::ApplySet(apply), reason, due);
                let standing = match busy {
                    Some(busy) => Standing::Waiting(busy.to_string()),
                    None if runs => Standing::Pending("applied just now".to_owned()),
                    None => Standing::Ready,
                };
                (standing, runs.then_some(SetWait::Write))
            }
            Verdict::Deleting => {
                let apply = self.apply_object(set, Precondition::Absent);
                let due = Due::Waiting(WaitFor::Deletion);
                self.push(&subject, Action::ApplySet(apply), Reason::Missing, due);
                self.hold(&set.id, SetWait::Write);
                (Standing::Waiting(WaitFor::Deletion.to_string()), runs.then_some(SetWait::Write))
            }
            Verdict::Refuse(refusal) => {
                self.refuse(&subject, refusal.clone());
                self.hold(&set.id, SetWait::Refused);
                (Standing::Refused(refusal.to_string()), Some(SetWait::Refused))
            }
        };
        self.sets.insert(&set.id, wait);
        self.plan.outcome.ran.extend(ran);
        self.plan.outcome.add(&subject, standing);
    }

    fn verdict(&self, object: &DesiredObject, live: Option<&Value>) -> Verdict {
        let input = self.input;
        let known = input.inventory.contains(&object.id);
        let Some(live) = live else {
            let reason = if known { Reason::Missing } else { Reason::New };
            return Verdict::Write { reason, precondition: Precondition::Absent };
        };
        let mut live = live.clone();
        agent::asked(&mut live["spec"], agent::of(&object.body["spec"]));
        let (live, metadata) = (&live, &live["metadata"]);
        let labels = string_map(&metadata["labels"]);
        if self.runs_are_awaited() {
            match owner(&labels) {
                Some(owner)
                    if owner != *input.sync
                        && !input.live.absent_owners.contains(&owner)
                        && !input.live.freed.contains(&object.id) =>
                {
                    let (id, sync) = (object.id.clone(), input.sync.clone());
                    return Verdict::Refuse(Refusal::ObjectOwnedBy { id, owner, sync });
                }
                // Whatever the inventory says: it is written before the object is, and so can name one that we never made.
                None => {
                    if let Some(refusal) = adopt::refusal(&object.id, metadata, input.adoption, input.sync) {
                        return Verdict::Refuse(refusal);
                    }
                }
                _ => {}
            }
        }
        if metadata["deletionTimestamp"].is_string() {
            return Verdict::Deleting;
        }
        let asked_labels = string_map(&object.body["metadata"]["labels"]);
        let mut fields = drift::object(&object.body, live);
        fields.extend(drift::labels(self.labels(&asked_labels), &labels));
        if fields.is_empty() {
            return Verdict::Same;
        }
        let precondition = Precondition::seen(metadata["resourceVersion"].as_str(), metadata["uid"].as_str());
        Verdict::Write { reason: Reason::Drift { fields }, precondition }
    }

    fn installation(&mut self, desired: &'a DesiredInstallation) {
        let input = self.input;
        let subject = Subject::Installation(desired.id.clone());
        let key = (desired.id.kube_namespace.clone(), BundleRelease::object_name(&desired.id));
        let release = self.release_of(&desired.id);
        let live = input.live.installations.get(&(desired.id.kube_namespace.clone(), desired.object_name.clone()));
        if input.live.terminating.contains(&desired.id.kube_namespace) {
            if let Some(release) = release.filter(|release| release.spec.sync == *input.sync) {
                self.abandon(&subject, release);
            }
            self.plan.outcome.add_installation(&subject, Standing::Waiting(WaitFor::Namespace.to_string()));
            return;
        }

        let refusal = self.refusal(&subject, desired, release, live);
        let ours = release.filter(|release| self.is_free(release));
        if let (Some(Refusal::OwnedBy { owner, .. }), true) = (&refusal, input.live.leaving.contains(&key)) {
            let wait = WaitFor::Release { sync: owner.clone() };
            self.plan.outcome.add_installation(&subject, Standing::Waiting(wait.to_string()));
            self.look_again();
            return;
        }
        if let Some(refusal) = refusal {
            let reported = self.report(ours, None);
            self.status(&subject, ours, &reported, Some(refusal.to_string()), false);
            let told = match live.map(|live| Seen::of(live, None)) {
                Some(seen) if ours.is_none() => format!("{refusal}; {}", seen.told()),
                _ => refusal.to_string(),
            };
            self.plan.outcome.add_installation(&subject, Standing::Refused(told));
            self.refuse(&subject, refusal);
            return;
        }

        // Once an uninstall has begun it comes to its end: what half of it left is nothing to install over.
        let uninstalling = ours.filter(|release| is_pruned(release) && is_begun(release));
        if let Some(release) = uninstalling {
            let before = self.plan.steps.len();
            let standing = match self.uninstall(&subject, release) {
                Left::Gone => {
                    // What is told of it is how it comes back.
                    self.plan.steps.truncate(before);
                    None
                }
                Left::On(wait) => {
                    let wait = self.told_of(&desired.id.kube_namespace, &wait);
                    Some(Standing::Waiting(format!("back in the source, once it is uninstalled: {wait}")))
                }
                Left::Moving(told) => {
                    Some(Standing::Waiting(format!("back in the source, once it is uninstalled: {told}")))
                }
                Left::Failed(told) => {
                    Some(Standing::Failed(format!("back in the source, once it is uninstalled: {told}")))
                }
            };
            if let Some(standing) = standing {
                self.plan.outcome.add_installation(&subject, standing);
                return;
            }
        }

        let moved = ours.is_some_and(|release| release.spec.object_name != desired.object_name);
        if let Some(standing) = ours.filter(|_| moved).and_then(|release| self.leave(&subject, desired, release)) {
            self.plan.outcome.add_installation(&subject, standing);
            return;
        }
        let digest = release::digest(&desired.spec);
        let asked_for = desired;
        let returned = rollback::target(ours, desired, &digest);
        let desired = returned.as_ref().unwrap_or(desired);
        let record = ours.is_none_or(|release| {
            moved
                || release.spec.sync != *input.sync
                || release.spec.removed.is_some()
                || release.spec.asked.digest != digest
        });
        // One that holds another installation is not refused only when that is uninstalled before.
        let agent = agent::of(&desired.spec);
        let seen = live.filter(|live| holds(live) == desired.id.porter()).map(|live| Seen::of(live, agent));
        let fields = seen.as_ref().map(|seen| self.installation_drift(desired, seen)).unwrap_or_default();
        // Whose runs nobody noted yet are noted before it is written: a failed one is not undone by a write.
        let found = ours.is_none() && seen.is_some() && self.runs_are_awaited();
        let write = !found && (seen.is_none() || !fields.is_empty());
        let wait = self.installation_wait(desired, ours, seen.as_ref(), write);
        let now = wait.is_none();
        let stopped = self.waits(asked_for, wait.as_ref());
        // What comes before it is in the ledger for when it goes, and is no reason to run anything.
        let reordered = ours.filter(|release| {
            !record && release.spec.asked.depends_on != desired.depends_on && wait != Some(WaitFor::Deletion)
        });

        let mut reported = self.report(ours, seen.as_ref());
        if ours.is_some_and(|release| release.spec.asked.digest != digest) {
            // Forgotten before the ledger says what is asked now: that may be given up, too.
            reported.latched |= reported.status.rolled_back.take().is_some();
        }
        let as_before = |reported: &Reported| returned.is_some() == reported.status.rolled_back.is_some();
        let write = write && as_before(&reported);
        let mut told = wait.as_ref().map(|wait| self.told_of(&desired.id.kube_namespace, wait));
        if let (Some(WaitFor::Command { action }), false) = (&wait, record || write) {
            let why = self.why(&desired.id.kube_namespace, action);
            reported.progress = Progress::Running(release::runs(action, why.as_ref()));
            told = None;
        }
        let again = match (ours, seen.as_ref()) {
            (Some(release), Some(seen)) if now && !record && !write && as_before(&reported) => {
                let again = self.again(desired, release, seen, &mut reported);
                again.or_else(|| self.invokes(desired, release, seen, &mut reported))
            }
            _ => None,
        };
        if ours.is_some() {
            // What is held against what is asked, or against what ran well, is so from the next plan on.
            self.plan.outcome.again |= !as_before(&reported);
        }
        let writes = (now && (record || write)) || reordered.is_some();
        self.status(&subject, ours, &reported, told.clone(), writes);
        if let Some(release) = ours {
            reported.progress = rollback::told(release, &reported.status, reported.progress);
            self.delete_noted(&subject, release, &reported.status);
        }
        if let Some(seen) = seen.as_ref().filter(|_| now && !record && !write) {
            self.delete_superseded(&subject, seen);
        }
        if let (Some((purpose, reason)), Some(release), Some(seen)) = (again, ours, seen.as_ref()) {
            let metadata = &seen.live.object.metadata;
            let generation = metadata.generation.unwrap_or_default();
            let identity = (metadata.uid.clone().unwrap_or_default(), generation);
            let attempt = reported.status.attempts(generation);
            let forced = reported.status.force.as_ref().and_then(|force| force.due.as_deref());
            let custom = purpose == Purpose::Invoke;
            let command = Command {
                purpose,
                identity,
                attempt,
                document: (!custom).then_some(&desired.spec),
                forced: forced.filter(|_| !custom),
                invoke: desired.invoke.as_ref().filter(|_| custom),
            };
            self.run_command(&subject, release, &command, reason);
        }
        if let Some(seen) = seen.as_ref().filter(|seen| seen.is_over() && self.command(ours).is_none()) {
            self.lift(&subject, seen.live, Reason::Deleted);
        }

        let asked = match ours {
            None if seen.is_some() => Reason::Unrecorded,
            None => Reason::New,
            Some(release) if release.spec.sync != *input.sync => Reason::TakenOver { from: release.spec.sync.clone() },
            Some(release) if release.spec.removed.is_some() => Reason::Returned,
            Some(release) if moved => Reason::Moved { from: release.spec.object_name.clone() },
            Some(release) if release.spec.asked.digest != digest => {
                Reason::Changed { since: release.spec.asked.revision.clone() }
            }
            Some(release) if seen.is_none() => {
                let applied = release.status.as_ref().is_some_and(|status| status.uid.is_some());
                if applied { Reason::Missing } else { Reason::New }
            }
            Some(_) => Reason::Drift { fields: fields.clone() },
        };
        let due = wait.map_or(Due::Now, Due::Waiting);
        if record {
            let release = Box::new(release::record(input, asked_for, digest));
            let record = Record { release, create: ours.is_none() };
            self.plan.outcome.again |= found;
            self.push(&subject, Action::RecordRelease(record), asked.clone(), due.clone());
        }
        if let Some(release) = reordered {
            let release = Box::new(release::reordered(release, &desired.depends_on));
            let record = Action::RecordRelease(Record { release, create: false });
            self.push(&subject, record, Reason::Reordered, Due::Now);
        }
        if write {
            let metadata = seen.as_ref().map(|seen| &seen.live.object.metadata);
            let precondition = Precondition::seen(
                metadata.and_then(|metadata| metadata.resource_version.as_deref()),
                metadata.and_then(|metadata| metadata.uid.as_deref()),
            );
            let apply = self.apply_installation(desired, precondition);
            let reason = if asked == Reason::Unrecorded { Reason::Drift { fields } } else { asked };
            self.push(&subject, Action::ApplyInstallation(apply), reason, due);
        }
        if !record && !write && reordered.is_none() {
            self.push(&subject, Action::Unchanged, Reason::AsAsked, Due::Now);
        }

        let standing = match told {
            Some(told) if stopped => Standing::Stopped(told),
            Some(told) => Standing::Waiting(told),
            None if !self.runs_are_awaited() => Standing::Ready,
            None if write => Standing::Pending("applied just now".to_owned()),
            None if found => Standing::Pending("recorded just now, and not looked at since".to_owned()),
            None => match reported.progress {
                Progress::Pending(message) => Standing::Pending(message),
                Progress::Running(message) => Standing::Running(message),
                Progress::Succeeded(_) => Standing::Ready,
                Progress::RolledBack(message) => Standing::RolledBack(message),
                Progress::Failed(message) => Standing::Failed(message),
            },
        };
        self.plan.outcome.add_installation(&subject, standing);
    }

    fn refusal(
        &self,
        subject: &Subject,
        desired: &DesiredInstallation,
        release: Option<&BundleRelease>,
        live: Option<&LiveInstallation>,
    ) -> Option<Refusal> {
        let input = self.input;
        let owned_by = |owner: &SyncRef| Refusal::OwnedBy { subject: subject.clone(), owner: owner.clone() };
        if let Some(release) = release {
            if !self.is_free(release) {
                return Some(owned_by(&release.spec.sync));
            }
            let old = self.old_object(desired, release);
            if let Some(refusal) = old.and_then(|old| self.stuck(subject, old, release)) {
                return Some(refusal);
            }
        }
        let live = live?;
        let held = holds(live);
        if held != desired.id.porter() {
            if self.holder(desired).is_some() || self.mover(desired).is_some() {
                return None;
            }
            let id = |identity: &PorterIdentity| format!("{}/{}", identity.namespace, identity.name);
            return (!self.leaves(&desired.id.kube_namespace, &held)).then(|| Refusal::OtherIdentity {
                object: installation_object(&desired.id.kube_namespace, &desired.object_name),
                holds: id(&held),
                asked: id(&desired.id.porter()),
            });
        }
        let noted = release.and_then(|release| release.status.as_ref()?.uid.as_ref());
        if !self.runs_are_awaited() || (noted.is_some() && noted == live.object.metadata.uid.as_ref()) {
            return None;
        }
        match owner(live.object.metadata.labels.as_ref().unwrap_or(&BTreeMap::new())) {
            Some(owner) if owner == *input.sync || input.live.absent_owners.contains(&owner) => None,
            // Not refused above: it has left the source of that sync.
            Some(owner) if release.is_some_and(|release| release.spec.sync == owner) => None,
            Some(owner) => Some(owned_by(&owner)),
            None => {
                let id = installation_object(&desired.id.kube_namespace, &desired.object_name);
                // Metadata is made of strings, numbers and lists: it has a JSON form.
                let metadata = serde_json::to_value(&live.object.metadata).unwrap_or(Value::Null);
                adopt::refusal(&id, &metadata, input.adoption, input.sync)
            }
        }
    }

    /// The release of an installation.
    pub(crate) fn release_of(&self, id: &InstallationId) -> Option<&'a BundleRelease> {
        self.releases.get(&(id.kube_namespace.clone(), BundleRelease::object_name(id))).copied()
    }

    /// Whether a release is ours, or may become so: the sync that has it has lost the document, or is gone itself.
    pub(crate) fn is_free(&self, release: &BundleRelease) -> bool {
        let owner = &release.spec.sync;
        let kept =
            release.spec.removed.is_some() && (!is_pruned(release) || !is_begun(release) || is_tombstone(release));
        let yielded =
            !is_begun(release) && self.input.live.yielded.contains(&(namespace(release), release_name(release)));
        owner == self.input.sync || kept || yielded || self.input.live.absent_owners.contains(owner)
    }

    /// The installation that has the object of a desired one, and is uninstalled now.
    fn holder(&self, desired: &DesiredInstallation) -> Option<InstallationId> {
        if self.input.removal != Removal::Uninstall {
            return None;
        }
        let object = (desired.id.kube_namespace.clone(), desired.object_name.clone());
        let held = self.input.live.installations.get(&object).map(holds)?;
        if held == desired.id.porter() {
            return None;
        }
        let id = InstallationId::of(&desired.id.kube_namespace, held);
        let release = self.release_of(&id)?;
        (release.spec.sync == *self.input.sync && !self.wanted.contains_key(&id)).then_some(id)
    }

    /// The same Porter installation in another Kubernetes namespace, which is uninstalled now. Both may be one record of
    /// Porter's, where namespaces share a database: to install while it is uninstalled would end without either.
    fn elsewhere(&self, desired: &DesiredInstallation, release: Option<&BundleRelease>) -> Option<InstallationId> {
        if self.input.removal != Removal::Uninstall || release.is_some_and(|release| !is_pruned(release)) {
            return None;
        }
        let others = self.releases.values().filter(|other| {
            other.spec.sync == *self.input.sync
                && other.spec.installation == desired.id.porter()
                && namespace(other) != desired.id.kube_namespace
                && !is_tombstone(other)
        });
        others.map(|other| other.installation_id()).find(|id| !self.wanted.contains_key(id))
    }

    /// Whether an installation is uninstalled by this very plan, so that its object is free.
    fn leaves(&self, kube_namespace: &str, identity: &PorterIdentity) -> bool {
        let id = InstallationId::of(kube_namespace, identity.clone());
        self.input.removal == Removal::Local && !self.wanted.contains_key(&id) && self.release_of(&id).is_some()
    }

    fn installation_drift(&self, desired: &DesiredInstallation, seen: &Seen<'_>) -> Vec<String> {
        let mut fields = drift::installation_spec(&desired.spec, &seen.spec);
        let none = BTreeMap::new();
        let labels = seen.live.object.metadata.labels.as_ref().unwrap_or(&none);
        fields.extend(drift::labels(self.labels(&desired.labels), labels));
        let finalizers = seen.live.object.metadata.finalizers.iter().flatten();
        if self.runs_are_awaited() && !finalizers.into_iter().any(|finalizer| finalizer == api::FINALIZER) {
            fields.push("metadata.finalizers".to_owned());
        }
        fields
    }

    /// What keeps an installation from being recorded and written.
    fn installation_wait(
        &mut self,
        desired: &DesiredInstallation,
        release: Option<&BundleRelease>,
        seen: Option<&Seen<'_>>,
        write: bool,
    ) -> Option<WaitFor> {
        let deleting = seen.is_some_and(|seen| seen.live.object.metadata.deletion_timestamp.is_some())
            || release.is_some_and(|release| release.metadata.deletion_timestamp.is_some());
        if deleting {
            return Some(WaitFor::Deletion);
        }
        if !self.runs_are_awaited() {
            return None;
        }
        if let Some(command) = self.command(release) {
            return Some(command);
        }
        if let Some(id) = self.holder(desired).or_else(|| self.elsewhere(desired, release)) {
            return Some(WaitFor::Uninstall { id });
        }
        if let Some(id) = self.mover(desired) {
            return Some(WaitFor::Move { id });
        }
        if !write {
            return None;
        }
        let object = (desired.id.kube_namespace.clone(), desired.object_name.clone());
        let busy = match seen {
            Some(seen) => seen.observed.busy.clone(),
            None => self.input.live.remains.get(&object).and_then(observe::remains),
        };
        if busy.is_some() || self.held.is_some() {
            return busy.or_else(|| self.held.clone());
        }
        if let Some(wait) = self.agent_wait(&desired.id.kube_namespace, agent::of(&desired.spec)) {
            return Some(wait);
        }
        let set = self.input.desired.sets_of(desired).into_iter().find_map(|set| {
            let wait = self.sets.get(&set.id).cloned().flatten()?;
            Some(WaitFor::Set { id: set.id.clone(), wait })
        });
        set.or_else(|| if self.is_run(desired, seen) { self.may_begin(desired) } else { None })
    }

    pub(crate) fn report(&self, release: Option<&BundleRelease>, seen: Option<&Seen<'_>>) -> Reported {
        let ours = release.map(|release| self.ours(release)).unwrap_or_default();
        let namespace = release.map(namespace).unwrap_or_default();
        let mut reported = release::report(
            release,
            seen.map(|seen| seen.live),
            seen.map(|seen| &seen.spec),
            seen.map(|seen| &seen.observed),
            ours,
            &|action| self.why(&namespace, action),
            self.input.now,
        );
        if let Some(release) = release.filter(|_| self.runs_are_awaited()) {
            let differs =
                seen.is_some_and(|seen| !drift::installation_spec(&release.spec.asked.spec, &seen.spec).is_empty());
            again::take_in(self.input, release, &mut reported.status, differs);
            rollback::forget(release, &mut reported.status);
            let stood = release.status.as_ref();
            reported.latched |= stood.and_then(|status| status.force.as_ref()) != reported.status.force.as_ref();
            reported.latched |=
                stood.and_then(|status| status.rolled_back.as_ref()) != reported.status.rolled_back.as_ref();
        }
        reported
    }

    /// The status of a release, when it changed. When the release or its Installation is written now, just what would be
    /// forgotten by that is noted first: the next plan sees the new state.
    pub(crate) fn status(
        &mut self,
        subject: &Subject,
        release: Option<&BundleRelease>,
        reported: &Reported,
        waiting: Option<String>,
        writes: bool,
    ) {
        let Some(release) = release.filter(|_| self.runs_are_awaited()) else { return };
        let status = release::finish(reported.status.clone(), release, &reported.progress, waiting);
        // That the operator has not begun is where every release starts: no news worth a request.
        let stood = release.status.as_ref().and_then(|status| status.state).unwrap_or(ReleaseState::Pending);
        let awaited = stood == ReleaseState::Pending && status.state == Some(stood) && !reported.latched;
        let changed = !awaited && release.status.as_ref() != Some(&status);
        if if writes { reported.latched } else { changed } {
            let (namespace, name) = (namespace(release), release_name(release));
            let action = Action::ReleaseStatus { namespace, name, status: Box::new(status) };
            self.push(subject, action, Reason::Observed, Due::Now);
        }
    }

    pub(crate) fn runs_are_awaited(&self) -> bool {
        self.input.removal != Removal::Local
    }

    /// The labels that are asked for, with those that say whose it is. Local documents are nobody's.
    fn labels<'b>(&'b self, asked: &'b BTreeMap<String, String>) -> impl Iterator<Item = (&'b str, &'b str)> {
        let owner = self.runs_are_awaited().then(|| release::owner_labels(self.input.sync));
        let asked = asked.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        asked.filter(|(key, _)| !is_owner_label(key)).chain(owner.into_iter().flatten())
    }

    fn apply_object(&self, object: &DesiredObject, precondition: Precondition) -> Apply {
        let mut body = object.body.clone();
        let labels = string_map(&body["metadata"]["labels"]);
        set_map(&mut body["metadata"], "labels", self.labels(&labels));
        Apply { id: object.id.clone(), body, precondition }
    }

    fn apply_installation(&self, desired: &DesiredInstallation, precondition: Precondition) -> Apply {
        let mut apply = self.apply_spec(&desired.id.kube_namespace, &desired.object_name, &desired.spec, precondition);
        let metadata = &mut apply.body["metadata"];
        set_map(metadata, "labels", self.labels(&desired.labels));
        let annotations = desired.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        set_map(metadata, "annotations", annotations);
        apply
    }

    /// An Installation of ours with a spec.
    pub(crate) fn apply_spec(
        &self,
        kube_namespace: &str,
        object_name: &str,
        spec: &Value,
        precondition: Precondition,
    ) -> Apply {
        let id = installation_object(kube_namespace, object_name);
        let mut metadata = json!({"name": id.name, "namespace": id.namespace});
        set_map(&mut metadata, "labels", self.labels(&BTreeMap::new()));
        if self.runs_are_awaited() {
            metadata["finalizers"] = json!([api::FINALIZER]);
        }
        let body = json!({
            "apiVersion": format!("{}/{}", api::porter::GROUP, api::porter::VERSION),
            "kind": "Installation",
            "metadata": metadata,
            "spec": self.with_agent(spec),
        });
        Apply { id, body, precondition }
    }
}

/// Whether an installation left the source and is to be uninstalled.
pub(crate) fn is_pruned(release: &BundleRelease) -> bool {
    release.spec.removed.as_ref().is_some_and(|removed| removed.prune)
}

/// Whether anything of its uninstall was done.
pub(crate) fn is_begun(release: &BundleRelease) -> bool {
    release.status.as_ref().is_some_and(|status| status.uninstall.is_some())
}

/// Whether it is uninstalled and gone but for Porter's record.
pub(crate) fn is_tombstone(release: &BundleRelease) -> bool {
    is_pruned(release) && release.status.as_ref().is_some_and(|status| status.state == Some(ReleaseState::Uninstalled))
}

/// A live Installation with what is derived from it.
pub(crate) struct Seen<'a> {
    pub(crate) live: &'a LiveInstallation,
    pub(crate) spec: Value,
    pub(crate) observed: Observed<'a>,
}

impl<'a> Seen<'a> {
    /// Whether it is being deleted, and nothing of it runs.
    pub(crate) fn is_over(&self) -> bool {
        self.live.object.metadata.deletion_timestamp.is_some() && self.observed.busy.is_none()
    }

    /// How it stands, of one that is not ours.
    fn told(&self) -> &'static str {
        match (&self.observed.busy, self.observed.current().and_then(|run| run.ended)) {
            (None, Some((End::Succeeded, _))) => "its last run succeeded",
            (None, Some((End::Failed, _))) => "its last run failed",
            (None, None) => "no run of it is known",
            (Some(_), _) => "a run of it is on",
        }
    }

    /// `agent` is the AgentConfig that the document names.
    pub(crate) fn of(live: &'a LiveInstallation, agent: Option<&str>) -> Self {
        let mut spec = spec_of(&live.object);
        agent::asked(&mut spec, agent);
        Self {
            live,
            spec,
            observed: observe::observe(&Owner::installation(&live.object), &live.actions, live.bundle_job.as_deref()),
        }
    }
}

fn spec_of(installation: &Installation) -> Value {
    // A typed spec is made of maps with string keys, lists, strings and JSON: it has a JSON form.
    serde_json::to_value(&installation.spec).unwrap_or(Value::Null)
}

/// How many AgentActions of one object a plan deletes: the next one goes on.
const MOST_DELETED: usize = 10;

/// The AgentActions of earlier generations of an object, to be deleted.
fn superseded(actions: &[AgentAction], observed: &Observed<'_>) -> Vec<Delete> {
    let over: BTreeSet<&str> = observed.superseded().map(|run| run.action).collect();
    let stands = |action: &&AgentAction| {
        let metadata = &action.metadata;
        metadata.deletion_timestamp.is_none() && metadata.name.as_deref().is_some_and(|name| over.contains(name))
    };
    actions.iter().filter(stands).take(MOST_DELETED).map(uninstall::delete_action).collect()
}

/// The run of the current generation that ended well, now or ever.
fn set_ran(id: &ObjectId, live: &LiveSet, observed: &Observed<'_>) -> Option<SetRun> {
    let owner = Owner::object(&live.object);
    let now = SetRun { id: id.clone(), uid: owner.uid.to_owned(), generation: owner.generation };
    let well = |run: &observe::Seen<'_>| matches!(run.ended, Some((End::Succeeded, _)));
    (live.ran.as_ref() == Some(&now) || observed.current().is_some_and(well)).then_some(now)
}

fn set_standing(observed: &Observed<'_>, why: &dyn Fn(&str) -> Option<Why>) -> (Standing, Option<SetWait>) {
    let Some(run) = observed.current() else {
        return (Standing::Pending("the operator has not run it yet".to_owned()), Some(SetWait::Start));
    };
    let action = run.action.to_owned();
    match run.ended {
        None => (Standing::Running(release::runs(&action, why(&action).as_ref())), Some(SetWait::Run { action })),
        Some((End::Failed, _)) => {
            let why = why(&action);
            let told = release::failed(&action, why.as_ref().map(|why| why.reason.as_str()));
            (Standing::Failed(told), Some(SetWait::Failed { action }))
        }
        Some((End::Succeeded, _)) => (Standing::Ready, None),
    }
}

pub(crate) fn holds(live: &LiveInstallation) -> PorterIdentity {
    PorterIdentity { namespace: live.object.spec.namespace.clone(), name: live.object.spec.name.clone() }
}

pub(crate) fn installation_object(namespace: &str, name: &str) -> ObjectId {
    ObjectId {
        group: api::porter::GROUP.to_owned(),
        kind: "Installation".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

pub(crate) fn namespace(release: &BundleRelease) -> String {
    release.metadata.namespace.clone().unwrap_or_default()
}

pub(crate) fn release_name(release: &BundleRelease) -> String {
    release.metadata.name.clone().unwrap_or_default()
}

fn is_owner_label(key: &str) -> bool {
    key == api::OWNER_NAME_LABEL || key == api::OWNER_NAMESPACE_LABEL
}

/// Whose an object is, by its labels.
pub(crate) fn owner(labels: &BTreeMap<String, String>) -> Option<SyncRef> {
    let label = |key: &str| labels.get(key).cloned();
    Some(SyncRef { name: label(api::OWNER_NAME_LABEL)?, namespace: label(api::OWNER_NAMESPACE_LABEL)? })
}

pub(crate) fn string_map(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Sets a map of strings, or leaves it out when it is empty.
fn set_map<'b>(metadata: &mut Value, key: &str, entries: impl Iterator<Item = (&'b str, &'b str)>) {
    let map: serde_json::Map<String, Value> = entries.map(|(key, value)| (key.to_owned(), value.into())).collect();
    if !map.is_empty() {
        metadata[key] = map.into();
    }
}
