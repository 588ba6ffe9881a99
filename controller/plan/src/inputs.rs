//! What an installation is given beside its document: the ParameterSets and CredentialSets that it names, and the Secrets that
//! these name. The operator runs nothing when they change, and so we do.
//!
//! What a run is given is in the ledger: for one of the operator's with what is asked, before the Installation is written, and
//! then, once the run is seen, in the status; for one of ours on its AgentAction, and in the status when its result is noted.
//!
//! Guarantees: a set that gives something else than to the last run makes one run, once Porter knows the set, and however
//! many changes there were until then; the same makes none, whoever wrote what. What is missing, or was never compared, makes
//! none. A plain apply counts as a run for credentials only where Porter is sure to see another difference: of their values
//! it sees none.
//!
//! It may not know a value, nor how a digest is made: only whether two can be compared, and whether they are the same.

use std::collections::BTreeMap;

use api::porter::AgentAction;
use api::{BundleRelease, BundleReleaseStatus, BundleState, INPUTS, Inputs};
use manifest::ObjectId;
use porter::DesiredInstallation;
use serde_json::Value;

use crate::command::Purpose;
use crate::drift;
use crate::in_sync;
use crate::input::{InputSet, SetKind, SetName};
use crate::object;
use crate::observe::{self, Owner};
use crate::planner::Planner;
use crate::release::{Progress, Reported, namespace};
use crate::seen::Seen;
use crate::step::{Reason, SetWait, WaitFor};

/// In place of the digest of a set that was not in the cluster, or not in Porter yet. Without anything in its place, a list could
/// become empty, which a server-side apply of a status turns into null.
const ABSENT: &str = "absent";
/// In place of the digest of a set that gave something else since.
const CHANGED: &str = "changed";

/// How many things that are missing are told of one installation.
const MOST_TOLD: usize = 3;

/// What a set gives that differs from what it gave to the last run.
struct Changed<'a> {
    name: SetName,
    set: &'a InputSet,
}

impl<'a> Planner<'a> {
    /// The sets that a spec names and that are in the cluster.
    fn named(&self, kube_namespace: &str, spec: &Value) -> Vec<(SetName, &'a InputSet)> {
        let Some(known) = &self.input.live.inputs else { return Vec::new() };
        let names = SetName::all(kube_namespace, spec).into_iter();
        names.filter_map(|name| known.get(&name).map(|set| (name, set))).collect()
    }

    /// What a run of this spec that begins now is given. `None` where nothing is named, or nobody looks.
    pub(crate) fn given(&self, kube_namespace: &str, spec: &Value, last: Option<&Inputs>) -> Option<Inputs> {
        let known = self.input.live.inputs.as_ref()?;
        let names = SetName::all(kube_namespace, spec);
        if names.is_empty() {
            return None;
        }
        let mut given = Inputs::default();
        for name in names {
            let last = last.and_then(|last| of(last, name.kind).get(&name.name)).map(String::as_str);
            let digest = known.get(&name).map_or(last, |set| self.given_by(set, last)).unwrap_or(ABSENT).to_owned();
            of_mut(&mut given, name.kind).insert(name.name, digest);
        }
        Some(given)
    }

    /// What a set gives to a run that begins now: while it is on its way to something else, that may read either.
    fn given_by<'s>(&self, set: &'s InputSet, last: Option<&'s str>) -> Option<&'s str> {
        match self.unknown_to_porter(set) {
            None => Some(&set.digest),
            Some(WaitFor::Set { id, wait: SetWait::Write | SetWait::Contested }) if id == set.id => Some(CHANGED),
            Some(_) if last.is_some_and(|last| is_change(last, &set.digest)) => Some(CHANGED),
            Some(_) => last,
        }
    }

    /// The same of a run of ours, for what stands.
    pub(crate) fn given_again(
        &self,
        desired: &DesiredInstallation,
        release: &BundleRelease,
        status: &BundleReleaseStatus,
    ) -> Option<Inputs> {
        let last = last_of(release, Some(status));
        self.given(&desired.id.kube_namespace, &desired.spec, last)
    }

    /// What the record of an installation says that its next run is given: that which the write of its document makes, where
    /// that `runs`; else it stays.
    pub(crate) fn asks_with(
        &self,
        desired: &DesiredInstallation,
        release: Option<&BundleRelease>,
        seen: Option<&Seen<'_>>,
        status: &BundleReleaseStatus,
        runs: bool,
    ) -> Option<Inputs> {
        let stays = release.and_then(|release| release.spec.asked.inputs.clone());
        if self.input.live.inputs.is_none() || !(release.is_none() || runs) {
            return stays;
        }
        let last = release.and_then(last);
        let mut given = self.given(&desired.id.kube_namespace, &desired.spec, last)?;
        let stood = seen.map(|seen| &seen.spec).or_else(|| last_document(release?));
        let is_sure = desired.uninstalled()
            || release.is_none_or(is_to_install)
            || stood.is_some_and(|stood| is_sure(stood, seen, status, &desired.spec));
        if let Some(last) = last.filter(|_| !is_sure) {
            given.credential_sets.clone_from(&last.credential_sets);
        }
        Some(given)
    }

    /// Takes in what the runs were given that are noted just now, and what cannot be compared with what stands: that is where
    /// a release begins which nobody compared before.
    pub(crate) fn take_in_inputs(&self, release: &BundleRelease, seen: &Seen<'_>, reported: &mut Reported) {
        if self.input.live.inputs.is_none() {
            return;
        }
        let status = &mut reported.status;
        let before = status.inputs.clone();
        let noted = release.status.iter().flat_map(|status| &status.runs);
        let noted: Vec<&str> = noted.map(|run| run.action.as_str()).collect();
        let stands = self.given(&namespace(release), &seen.spec, status.inputs.as_ref());

        let current = seen.observed.current().map(|run| run.action).filter(|action| !noted.contains(action));
        if current.is_some_and(|action| status.runs.iter().any(|run| run.action == action))
            && is_written(release, status, &seen.spec)
            && let Some(asked) = &release.spec.asked.inputs
        {
            status.inputs = Some(later(asked, status.inputs.as_ref(), stands.as_ref()));
        }
        for action in self.ours(release) {
            let name = action.metadata.name.as_deref().unwrap_or_default();
            let new = !noted.contains(&name) && status.runs.iter().any(|run| run.action == name);
            if let Some(given) = new.then(|| given_to(action)).flatten() {
                if status.inputs.as_ref() != Some(&given)
                    && let Some(retry) = &mut status.retry
                {
                    // A change begins anew.
                    retry.forgiven = retry.attempts;
                }
                status.inputs = Some(given);
            }
        }
        if status.uid.is_some() && status.inputs.is_none() && release.spec.asked.inputs.is_none() {
            status.inputs.clone_from(&stands);
        }
        if let (Some(inputs), Some(stands)) = (&mut status.inputs, &stands) {
            compare_anew(&mut inputs.parameter_sets, &stands.parameter_sets);
            compare_anew(&mut inputs.credential_sets, &stands.credential_sets);
        }
        if let Some(inputs) = &mut status.inputs {
            self.forget_changed(&namespace(release), &seen.spec, inputs);
        }
        reported.latched |= status.inputs != before;
    }

    /// What gives something else by now is due, also when it gives the same again before that run: the last one may have read
    /// what was between.
    fn forget_changed(&self, kube_namespace: &str, spec: &Value, last: &mut Inputs) {
        for (name, set) in self.named(kube_namespace, spec) {
            let known = self.sets.get(&set.id) == Some(&None) || runs(set).is_none();
            if let Some(last) = of_mut(last, name.kind).get_mut(&name.name)
                && (known && set.faults.is_empty() && is_change(last, &set.digest))
            {
                CHANGED.clone_into(last);
            }
        }
    }

    /// The run that sets ask for which give something else than to the last one, of an installation that stands as it is asked
    /// and of which nothing runs. What it waits for is told.
    pub(crate) fn renews(
        &mut self,
        desired: &DesiredInstallation,
        release: &BundleRelease,
        reported: &mut Reported,
    ) -> Option<(Purpose, Reason)> {
        let failed = matches!(reported.progress, Progress::Failed(_));
        if !failed && (desired.uninstalled() || !matches!(reported.progress, Progress::Succeeded(_))) {
            return None;
        }
        // What it gives is known after that, of which no event tells: it is our own write.
        if let Some(wait) = self.secret_wait(desired) {
            reported.progress = Progress::Running(wait.to_string());
            return None;
        }
        let kube_namespace = desired.id.kube_namespace.clone();
        let changed = self.changed(desired, release, &reported.status);
        let missing = self.missing(&kube_namespace, &desired.spec, release, &reported.status, failed);
        if changed.is_empty() || !missing.is_empty() {
            return None;
        }
        let reason = Reason::Inputs { sets: changed.iter().map(|changed| changed.set.id.clone()).collect() };
        let credentials = changed.iter().any(|changed| changed.name.kind == SetKind::Credentials);
        let set = changed.iter().find_map(|changed| self.unknown_to_porter(changed.set));
        let wait = match set {
            Some(WaitFor::Set { id, wait: SetWait::Write | SetWait::Start | SetWait::Run { .. } }) => {
                Some(format!("the run of {id}"))
            }
            Some(wait) => Some(wait.to_string()),
            // The others that it names are read by the same run.
            None => self.command_wait(desired).map(|wait| wait.to_string()),
        };
        let told = wait.as_ref().map_or_else(String::new, |wait| format!("; waits: {wait}"));
        reported.progress = Progress::Running(format!("{reason}{told}"));
        if wait.is_some() {
            return None;
        }
        let again = Purpose::again(desired.uninstalled(), reported.status.bundle);
        Some((if failed || credentials { again } else { Purpose::Apply }, reason))
    }

    /// Tells what is missing, with the end of the last run.
    pub(crate) fn tell_missing(&self, desired: &DesiredInstallation, release: &BundleRelease, reported: &mut Reported) {
        let failed = matches!(reported.progress, Progress::Failed(_));
        let missing = self.missing(&desired.id.kube_namespace, &desired.spec, release, &reported.status, failed);
        if let Progress::Succeeded(message) | Progress::Failed(message) = &mut reported.progress {
            message.push_str(&some_of(&missing));
        }
    }

    /// What is missing for a run of this spec, after one that failed: what a message of that ends with.
    pub(crate) fn told_missing(&self, release: &BundleRelease, status: &BundleReleaseStatus, spec: &Value) -> String {
        some_of(&self.missing(&namespace(release), spec, release, status, true))
    }

    /// A Secret that a set of the installation names, and that this plan writes: what it gives is known after that.
    pub(crate) fn secret_wait(&mut self, desired: &DesiredInstallation) -> Option<WaitFor> {
        let named = self.named(&desired.id.kube_namespace, &desired.spec);
        let id = named.iter().find_map(|(_, set)| self.secret_written(set))?;
        self.plan.outcome.again = true;
        let wait = self.written_wait(&id);
        Some(WaitFor::Set { id, wait })
    }

    fn changed(
        &self,
        desired: &DesiredInstallation,
        release: &BundleRelease,
        status: &BundleReleaseStatus,
    ) -> Vec<Changed<'a>> {
        let Some(last) = last_of(release, Some(status)) else { return Vec::new() };
        let named = self.named(&desired.id.kube_namespace, &desired.spec).into_iter();
        let differs = |name: &SetName, set: &InputSet| {
            of(last, name.kind).get(&name.name).is_none_or(|last| is_change(last, &set.digest))
        };
        named.filter(|(name, set)| differs(name, set)).map(|(name, set)| Changed { name, set }).collect()
    }

    /// What the next run would miss, as far as it is known; a set that is not in the cluster may be in Porter all the same, so
    /// it is told only when the last run had it, or failed.
    fn missing(
        &self,
        kube_namespace: &str,
        spec: &Value,
        release: &BundleRelease,
        status: &BundleReleaseStatus,
        failed: bool,
    ) -> Vec<String> {
        let Some(known) = &self.input.live.inputs else { return Vec::new() };
        let last = last_of(release, Some(status));
        let had = |name: &SetName| of(last?, name.kind).get(&name.name).filter(|last| *last != ABSENT);
        let missing = |name: SetName| match known.get(&name) {
            Some(set) => set.faults.clone(),
            None if failed || had(&name).is_some() => {
                let (kind, name) = (name.kind.kind(), &name.name);
                vec![format!(
                    "there is no {kind} in namespace {kube_namespace} that is called {name} in Porter; add it"
                )]
            }
            None => Vec::new(),
        };
        SetName::all(kube_namespace, spec).into_iter().flat_map(missing).collect()
    }

    /// Why Porter may not know a set as it stands.
    fn unknown_to_porter(&self, set: &InputSet) -> Option<WaitFor> {
        if let Some(id) = self.secret_written(set) {
            let wait = self.written_wait(&id);
            return Some(WaitFor::Set { id, wait });
        }
        let wait = self.sets.get(&set.id).cloned().unwrap_or_else(|| runs(set));
        wait.map(|wait| WaitFor::Set { id: set.id.clone(), wait })
    }

    fn secret_written(&self, set: &InputSet) -> Option<ObjectId> {
        let id = |name: &String| ObjectId {
            group: String::new(),
            kind: "Secret".to_owned(),
            namespace: set.id.namespace.clone(),
            name: name.clone(),
        };
        set.secrets.iter().map(id).find(|id| self.written.contains(id))
    }
}

/// The first few things that are missing, as the end of a message, and how many more there are.
fn some_of(missing: &[String]) -> String {
    let mut told: String = missing.iter().take(MOST_TOLD).map(|missing| format!("; {missing}")).collect();
    if let Some(more) = missing.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        told.push_str(&format!("; and {more} more"));
    }
    told
}

/// What is waited for in a set as it stands, by its own runs alone.
fn runs(set: &InputSet) -> Option<SetWait> {
    let observed = observe::observe(&Owner::object(&set.live.object), &set.live.actions, None);
    object::run_of(&observed, &|_| None).1
}

/// What the last run was given.
pub(crate) fn last(release: &BundleRelease) -> Option<&Inputs> {
    last_of(release, release.status.as_ref())
}

/// The same, with a status that is not written yet.
fn last_of<'r>(release: &'r BundleRelease, status: Option<&'r BundleReleaseStatus>) -> Option<&'r Inputs> {
    status.and_then(|status| status.inputs.as_ref()).or(release.spec.asked.inputs.as_ref())
}

/// Whether Porter is known to have nothing installed, by runs of which each was seen to end.
fn is_to_install(release: &BundleRelease) -> bool {
    let Some(status) = &release.status else { return true };
    matches!(status.bundle, None | Some(BundleState::Tried)) && status.runs.iter().all(|run| run.result.is_some())
}

/// Whether Porter is sure to see another difference in a document than what its credential sets give. It may have run what
/// stands, or, where that failed before Porter had it, or was not run, what ran before.
fn is_sure(stood: &Value, seen: Option<&Seen<'_>>, status: &BundleReleaseStatus, document: &Value) -> bool {
    let not_run = seen.is_some_and(|seen| seen.observed.current().is_none());
    let before = status.succeeded.as_ref().filter(|_| not_run || !status.failed.is_empty()).map(|good| &good.spec);
    [Some(stood), before].into_iter().flatten().all(|ran| in_sync::is_surely_run(ran, document))
        && in_sync::differs_from_all(status, &in_sync::compared(document))
}

/// The document that Porter was last given, by the runs that were noted.
fn last_document(release: &BundleRelease) -> Option<&Value> {
    let status = release.status.as_ref()?;
    let run = status.runs.first()?;
    let mut asked = status.succeeded.iter().chain([&release.spec.asked]);
    asked.find(|asked| asked.digest == run.digest).map(|asked| &asked.spec)
}

/// Whether we wrote what stands: what is asked, or what it was given up for.
fn is_written(release: &BundleRelease, status: &BundleReleaseStatus, stands: &Value) -> bool {
    let good = status.rolled_back.as_ref().and(status.succeeded.as_ref());
    let mut asked = [Some(&release.spec.asked), good].into_iter().flatten();
    asked.any(|asked| drift::installation_spec(&asked.spec, stands).is_empty())
}

/// What a run was given that was asked with something, and that may have begun by another's hand since one of ours: where that one
/// was given what stands, nothing newer came after it.
fn later(asked: &Inputs, last: Option<&Inputs>, stands: Option<&Inputs>) -> Inputs {
    let pick = |kind: SetKind| {
        let newest = |name: &String| {
            let last = of(last?, kind).get(name)?;
            (of(stands?, kind).get(name) == Some(last)).then(|| last.clone())
        };
        let of_asked = of(asked, kind).iter();
        of_asked.map(|(name, asked)| (name.clone(), newest(name).unwrap_or_else(|| asked.clone()))).collect()
    };
    Inputs { parameter_sets: pick(SetKind::Parameters), credential_sets: pick(SetKind::Credentials) }
}

/// What cannot be compared with what stands, since another key or way of digesting made it, is taken to be the same.
fn compare_anew(last: &mut BTreeMap<String, String>, stands: &BTreeMap<String, String>) {
    for (name, digest) in last {
        let differently_made = |now: &&String| is_digest(now) && is_digest(digest) && way(now) != way(digest);
        if let Some(now) = stands.get(name).filter(differently_made) {
            digest.clone_from(now);
        }
    }
}

fn is_digest(digest: &str) -> bool {
    digest != ABSENT && digest != CHANGED
}

/// Whether a set that gives this now gave something else to the last run, as far as that can be compared.
fn is_change(last: &str, now: &str) -> bool {
    !is_digest(last) || (last != now && way(last) == way(now))
}

/// What says whether two digests can be compared.
fn way(digest: &str) -> &str {
    digest.rsplit_once(':').map(|(way, _)| way).unwrap_or_default()
}

/// What an AgentAction of ours was given.
fn given_to(action: &AgentAction) -> Option<Inputs> {
    serde_json::from_str(action.metadata.annotations.as_ref()?.get(INPUTS)?).ok()
}

fn of(inputs: &Inputs, kind: SetKind) -> &BTreeMap<String, String> {
    match kind {
        SetKind::Parameters => &inputs.parameter_sets,
        SetKind::Credentials => &inputs.credential_sets,
    }
}

fn of_mut(inputs: &mut Inputs, kind: SetKind) -> &mut BTreeMap<String, String> {
    match kind {
        SetKind::Parameters => &mut inputs.parameter_sets,
        SetKind::Credentials => &mut inputs.credential_sets,
    }
}
