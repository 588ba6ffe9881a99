//! [`plan`]: desired against live, subject by subject, and what every part of that shares: the [`Planner`].
//!
//! Order: ConfigMaps, Secrets and the like, agent configurations, sets, installations ([`crate::order`]), and last what left
//! the source: installations before the sets and other objects that they may need to be uninstalled. In local mode, where an
//! uninstall happens at once, what left goes first: a changed name is an uninstall and an install.
//!
//! Invariant: each subject is looked at once, and what is decided of one is in the planner before those are looked at that may
//! wait for it. Which steps a subject gets is not known here: [`crate::object`], [`crate::installation`] and [`crate::left`] say so.

use std::collections::{BTreeMap, BTreeSet};

use api::{BundleRelease, BundleReleaseStatus, BundleState, InstallationId, ReleaseState, Resource};
use manifest::ObjectId;
use porter::DesiredInstallation;

use crate::again;
use crate::drift;
use crate::input::{Input, Removal, Why};
use crate::observe;
use crate::order::{self, Order};
use crate::outcome::Outcome;
use crate::place::{self, Place};
use crate::release::{self, Reported, namespace};
use crate::rollback;
use crate::seen::{Seen, superseded};
use crate::step::{Action, Delete, Due, Plan, Reason, Refusal, SetWait, Step, Subject, WaitFor};

/// What is to be done now, and what waits for what.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let mut planner = Planner {
        input,
        releases: input.releases.iter().map(|release| (place::release(release), release)).collect(),
        wanted: input.desired.installations.iter().map(|installation| (&installation.id, installation)).collect(),
        sets: BTreeMap::new(),
        agents: BTreeSet::new(),
        written: BTreeSet::new(),
        held: None,
        order: Order::new(input),
        plan: Plan { steps: Vec::new(), outcome: Outcome::default() },
    };
    if input.removal == Removal::Suspended {
        planner.deleted();
        return planner.plan;
    }
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
    for installation in order::sorted(&planner.order, input.desired) {
        let standing = planner.installation(installation);
        planner.planned(installation, &standing);
        planner.plan.outcome.add_installation(&Subject::Installation(installation.id.clone()), standing);
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

/// A plan in the making.
pub(crate) struct Planner<'a> {
    pub(crate) input: &'a Input<'a>,
    pub(crate) releases: BTreeMap<Place, &'a BundleRelease>,
    pub(crate) wanted: BTreeMap<&'a InstallationId, &'a DesiredInstallation>,
    /// What an installation that names the set waits for.
    pub(crate) sets: BTreeMap<&'a ObjectId, Option<SetWait>>,
    /// The objects, besides sets, that this plan writes.
    pub(crate) written: BTreeSet<&'a ObjectId>,
    /// AgentConfigs of ours that are applied.
    pub(crate) agents: BTreeSet<ObjectId>,
    /// What may not or cannot be written of the objects that come before all installations: a run could read what is
    /// not there yet, or what is somebody else's.
    pub(crate) held: Option<WaitFor>,
    pub(crate) order: Order<'a>,
    pub(crate) plan: Plan,
}

impl<'a> Planner<'a> {
    /// Adds a step.
    pub(crate) fn push(&mut self, subject: &Subject, action: Action, reason: Reason, due: Due) {
        self.plan.steps.push(Step { subject: subject.clone(), action, reason, due });
    }

    /// Adds the deletion of an object as it is here.
    pub(crate) fn delete<K: Resource<DynamicType = ()>>(&mut self, subject: &Subject, object: &K, reason: Reason) {
        self.push(subject, Action::Delete(Delete::of(object)), reason, Due::Now);
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
            for action in superseded(&seen.live.actions, &seen.observed) {
                self.delete(subject, action, Reason::Superseded);
            }
        }
    }

    pub(crate) fn refuse(&mut self, subject: &Subject, refusal: Refusal) {
        self.push(subject, Action::Refuse, Reason::Refused(refusal), Due::Now);
    }

    /// The release of an installation.
    pub(crate) fn release_of(&self, id: &InstallationId) -> Option<&'a BundleRelease> {
        self.releases.get(&place::release_of(id)).copied()
    }

    /// What is on of an Installation; of one that is gone, what is left of it.
    pub(crate) fn busy(&self, object: &Place, seen: Option<&Seen<'_>>) -> Option<WaitFor> {
        match seen {
            Some(seen) => seen.observed.busy.clone(),
            None => self.input.live.remains.get(object).and_then(observe::remains),
        }
    }

    /// What is known of a release and its runs, by the ledger and by what is seen now.
    pub(crate) fn report(&self, release: Option<&BundleRelease>, seen: Option<&Seen<'_>>) -> Reported {
        let ours = release.map(|release| self.ours(release)).unwrap_or_default();
        let namespace = release.map(namespace).unwrap_or_default();
        let begins = release.zip(seen).filter(|(release, seen)| self.is_kept_elsewhere(release, seen));
        let begins = begins.map(|_| BundleState::Uninstalled);
        let why = |action: &str| self.why(&namespace, action);
        let mut reported = release::report(release, begins, seen, ours, &why, self.input.now);
        if let Some(release) = release.filter(|_| self.runs_are_awaited()) {
            let differs =
                seen.is_some_and(|seen| !drift::installation_spec(&release.spec.asked.spec, &seen.spec).is_empty());
            if let Some(seen) = seen {
                self.take_in_inputs(release, seen, &mut reported);
            }
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
        let news = if writes { reported.latched } else { !awaited };
        if news {
            self.write_status(subject, release, status);
        }
    }

    /// Writes the status of a release, when it is another.
    pub(crate) fn write_status(&mut self, subject: &Subject, release: &BundleRelease, status: BundleReleaseStatus) {
        if release.status.as_ref() == Some(&status) {
            return;
        }
        let (namespace, name) = place::release(release);
        let action = Action::ReleaseStatus { namespace, name, status: Box::new(status) };
        self.push(subject, action, Reason::Observed, Due::Now);
    }

    /// Whether an operator runs what is written.
    pub(crate) fn runs_are_awaited(&self) -> bool {
        self.input.removal != Removal::Local
    }
}
