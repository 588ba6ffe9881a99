//! What is seen of an installation's runs, noted in its release.
//!
//! Guarantee: a run in `status.runs` with a result keeps it, whatever its AgentAction shows later: an AgentAction runs
//! again when its Job expires. What Porter has of the installation, and what failed, is noted with each run. It may not know
//! how the installation stands by that.

use api::porter::AgentAction;
use api::{Asked, BundleRelease, BundleReleaseStatus, BundleState, Compared, RetryStatus, Run, RunResult};
use jiff::Timestamp;
use serde_json::Value;

use crate::command::{self, Purpose};
use crate::drift;
use crate::in_sync;
use crate::input::Why;
use crate::invoke;
use crate::observe::{self, End, Owner};
use crate::release::{digest, result};
use crate::seen::Seen;

/// What the runs of an Installation are noted with.
pub(crate) struct Noting<'a> {
    seen: &'a Seen<'a>,
    /// The Installation.
    pub(crate) owner: Owner<'a>,
    /// What Porter compares of its document.
    document: Compared,
    asked: Option<&'a Asked>,
    /// What is asked, where that stands.
    pub(crate) as_asked: Option<&'a Asked>,
    why: &'a dyn Fn(&str) -> Option<Why>,
    now: Timestamp,
}

impl<'a> Noting<'a> {
    /// `asked`: what the release asks for; `why`: why an AgentAction failed or does not get on.
    pub(crate) fn of(
        seen: &'a Seen<'a>,
        asked: Option<&'a Asked>,
        why: &'a dyn Fn(&str) -> Option<Why>,
        now: Timestamp,
    ) -> Self {
        let owner = Owner::installation(&seen.live.object);
        let as_asked = asked.filter(|asked| drift::installation_spec(&asked.spec, &seen.spec).is_empty());
        Self { seen, owner, document: in_sync::compared(&seen.spec), asked, as_asked, why, now }
    }

    /// Notes what is new of the operator's AgentActions and of ours, in the order in which they ran.
    pub(crate) fn take_in(&self, status: &mut BundleReleaseStatus, same_object: bool, ours: &[AgentAction]) {
        self.lose(status, same_object);
        let observed = &self.seen.observed;
        let old = status.clone();
        // What ended before somebody began the newest is noted before that.
        let noted = |run: &observe::ObservedRun<'_>| old.runs.iter().any(|noted| noted.action == run.action);
        let begun = observed.current().filter(|run| !noted(run)).and_then(|run| run.created);
        let is_before = |again: &&AgentAction| {
            let ended = observe::end(again).and_then(|(_, at)| at);
            ended.zip(begun).is_some_and(|(ended, begun)| ended < begun)
        };
        let (earlier, later): (Vec<&AgentAction>, Vec<&AgentAction>) = ours.iter().partition(is_before);
        earlier.into_iter().for_each(|again| self.note_ours(status, again));
        observed.runs.iter().rev().for_each(|run| self.note(status, run, &old));
        self.note_unknown(status);
        later.into_iter().for_each(|again| self.note_ours(status, again));
        keep_newest(&mut status.runs, observed.current().map(|run| run.action));
    }

    /// Notes one of the operator's. `old`: what was noted before.
    fn note(&self, status: &mut BundleReleaseStatus, seen: &observe::ObservedRun<'_>, old: &BundleReleaseStatus) {
        let ended = seen.ended.map(|(end, at)| (result(end), at.unwrap_or(self.now)));
        let uninstall = self.seen.live.object.spec.uninstalled;
        let stands = self.stands();
        match status.runs.iter_mut().find(|run| run.action == seen.action) {
            Some(run) if run.result.is_some() => {
                // It was noted before anybody kept account of what Porter has.
                let (uninstall, result) = (run.uninstall, run.result);
                if status.bundle.is_none() {
                    begin(status, seen.generation, uninstall, result);
                }
            }
            Some(run) => {
                run.result = ended.map(|(result, _)| result);
                run.finished = ended.map(|(_, at)| at.into());
                explain(run, self.why);
                let run = run.clone();
                ran(status, seen.generation, run.uninstall, run.result);
                in_sync::note(status, run.result, false, self.document_of(&run, true));
                self.note_good(status, &run);
            }
            // An older generation that was never noted: nobody knows any more which spec it ran.
            None if seen.generation != stands => {
                if status.bundle.is_none() {
                    begin(status, seen.generation, false, ended.map(|(result, _)| result));
                }
            }
            None => {
                let (digest, revision) = match self.as_asked {
                    Some(asked) => (asked.digest.clone(), asked.revision.clone()),
                    // Edited by somebody, or asked already and not written yet.
                    None => attributed(old, &self.seen.spec),
                };
                let mut run = Run {
                    action: seen.action.to_owned(),
                    generation: seen.generation,
                    digest,
                    revision,
                    started: seen.created.map(Into::into),
                    finished: ended.map(|(_, at)| at.into()),
                    uninstall,
                    result: ended.map(|(result, _)| result),
                    reason: None,
                    log: None,
                };
                explain(&mut run, self.why);
                ran(status, seen.generation, uninstall, run.result);
                in_sync::note(status, run.result, false, Some(self.document.clone()));
                self.note_good(status, &run);
                status.runs.insert(0, run);
            }
        }
    }

    /// The generation of what stands: a deletion is one more.
    fn stands(&self) -> i64 {
        self.owner.generation - i64::from(self.owner.deleting)
    }

    /// What Porter compares of the document of a run, where that is known. `same_object`: it is of the one that stands.
    fn document_of(&self, run: &Run, same_object: bool) -> Option<Compared> {
        match self.asked_by(run) {
            _ if same_object && run.generation == self.stands() => Some(self.document.clone()),
            asked => asked.map(|asked| in_sync::compared(&asked.spec)),
        }
    }

    /// What is asked, where a run is of that.
    fn asked_by(&self, run: &Run) -> Option<&'a Asked> {
        self.asked.filter(|asked| asked.digest == run.digest)
    }

    /// What is asked ran well, also when something else stands by now.
    fn note_good(&self, status: &mut BundleReleaseStatus, run: &Run) {
        let stands = run.uninstall || status.bundle == Some(BundleState::Installed);
        if run.result == Some(RunResult::Succeeded)
            && stands
            && status.failed.is_empty()
            && let Some(asked) = self.asked_by(run)
        {
            status.succeeded = Some(asked.clone());
        }
    }

    /// Before a document that says uninstalled, of which no earlier run is known, an install may have succeeded that nobody
    /// noted.
    fn note_unknown(&self, status: &mut BundleReleaseStatus) {
        let recovered = self.asked.is_some_and(|asked| asked.line == 0);
        let untouched = status.uninstall.as_ref().is_none_or(|uninstall| recovered && uninstall.attempts == 0);
        let generation = self.owner.generation;
        let unknown = generation > 1 && status.runs.iter().all(|run| run.generation >= generation);
        if untouched && unknown && self.seen.live.object.spec.uninstalled && status.bundle.is_none() {
            let current = self.seen.observed.current().and_then(|run| run.ended);
            status.bundle = current.map(|(end, _)| match end {
                End::Succeeded => BundleState::Uninstalled,
                End::Failed => BundleState::Installed,
            });
        }
    }

    /// Notes as failed what was on and of which the AgentAction is gone, once nothing more comes of it: the operator has made
    /// another, or the object goes, or has gone. It may have been cut off; and to Porter, which notes what it runs before it
    /// does, the next plain apply is none.
    fn lose(&self, status: &mut BundleReleaseStatus, same_object: bool) {
        let Seen { live, observed, .. } = self.seen;
        let current = observed.current().map(|run| run.generation);
        let is_there = |run: &Run| live.actions.iter().any(|action| action.metadata.name.as_ref() == Some(&run.action));
        let is_over = |run: &Run| !same_object || self.seen.is_over() || Some(run.generation) == current;
        let on = |run: &&mut Run| run.result.is_none() && is_over(run) && !is_there(run);
        let mut lost = Vec::new();
        for run in status.runs.iter_mut().filter(on) {
            (run.result, run.finished) = (Some(RunResult::Failed), Some(self.now.into()));
            run.reason = Some("its AgentAction was deleted while it was on".to_owned());
            lost.push(self.document_of(run, same_object));
        }
        for document in lost {
            in_sync::note(status, Some(RunResult::Failed), false, document);
        }
    }

    /// Notes what an AgentAction of ours came to, of those that are no part of an uninstall.
    fn note_ours(&self, status: &mut BundleReleaseStatus, again: &AgentAction) {
        match Purpose::of(again) {
            Some(Purpose::Invoke) => invoke::note(status, again, self.why, self.now),
            Some(Purpose::Force) => {
                // From now on something of it may be there, whatever comes of the AgentAction.
                if status.bundle == Some(BundleState::Uninstalled) && observe::end(again).is_none() {
                    status.bundle = Some(BundleState::Reinstalling);
                }
                self.note_again(status, again, true);
            }
            // That of an uninstall is noted there.
            Some(Purpose::Apply) if status.uninstall.is_none() || !command::uninstalls(again) => {
                self.note_again(status, again, false);
            }
            _ => {}
        }
    }

    /// Notes an AgentAction of ours that ran a document, once it is final.
    fn note_again(&self, status: &mut BundleReleaseStatus, action: &AgentAction, force: bool) {
        let name = action.metadata.name.clone().unwrap_or_default();
        if status.runs.iter().any(|run| run.action == name) {
            return;
        }
        let Some((end, at)) = observe::end(action) else { return };
        let generation = command::generation(action).unwrap_or(self.owner.generation);
        let (result, uninstall) = (result(end), command::uninstalls(action));
        let reinstalls = matches!(status.bundle, Some(BundleState::Uninstalled | BundleState::Reinstalling));
        status.bundle = match (end, status.bundle) {
            _ if !force => after(status.bundle, uninstall, Some(result)),
            (End::Succeeded, _) => Some(BundleState::Installed),
            // By force it is installed over a record that says uninstalled, or upgraded.
            (End::Failed, Some(BundleState::Uninstalled | BundleState::Reinstalling)) => {
                Some(BundleState::Reinstalling)
            }
            (End::Failed, bundle) => bundle,
        };
        status.unsure &= uninstall || result != RunResult::Succeeded;
        let ran = command::document(action).as_ref().map(in_sync::compared);
        in_sync::note(status, Some(result), force, ran);
        let retry = status.retry.get_or_insert_default();
        if retry.generation != generation {
            *retry = RetryStatus { generation, ..RetryStatus::default() };
        }
        retry.attempts += 1;
        if reinstalls
            && retry.attempts == 1
            && status.runs.first().is_none_or(|run| run.result != Some(RunResult::Failed))
        {
            // The install itself, which the operator's run was none of.
            retry.forgiven = retry.attempts;
        }
        if let Some(force) = status.force.as_mut().filter(|force| force.due.as_deref() == command::forced(action))
            && force.due.take().is_some()
        {
            // Who runs it by hand begins anew.
            retry.forgiven = retry.attempts;
        }
        let asked = self.as_asked.filter(|_| generation == self.stands());
        let (digest, revision) = match asked {
            Some(asked) => (asked.digest.clone(), asked.revision.clone()),
            // What it returned to.
            None if generation == self.stands() => attributed(status, &self.seen.spec),
            None => <(String, String)>::default(),
        };
        let mut run = Run {
            action: name,
            generation,
            digest,
            revision: command::revision(action).unwrap_or(revision),
            started: action.metadata.creation_timestamp.clone(),
            finished: Some(at.unwrap_or(self.now).into()),
            uninstall,
            result: Some(result),
            reason: None,
            log: None,
        };
        explain(&mut run, self.why);
        self.note_good(status, &run);
        status.runs.insert(0, run);
    }
}

/// Notes what an AgentAction of ours came to whose Installation is gone: a custom action; and of a forced install that something
/// of it may be there, or is.
pub(crate) fn note_without(
    status: &mut BundleReleaseStatus,
    action: &AgentAction,
    why: &dyn Fn(&str) -> Option<Why>,
    now: Timestamp,
) {
    let is_noted = status.runs.iter().any(|run| action.metadata.name.as_ref() == Some(&run.action));
    match (Purpose::of(action), status.bundle) {
        (Some(Purpose::Invoke), _) => invoke::note(status, action, why, now),
        (Some(Purpose::Force), Some(BundleState::Uninstalled | BundleState::Reinstalling)) if !is_noted => {
            let well = matches!(observe::end(action), Some((End::Succeeded, _)));
            status.bundle = Some(if well { BundleState::Installed } else { BundleState::Reinstalling });
        }
        _ => {}
    }
}

/// Notes what Porter has after a run of the operator's.
fn ran(status: &mut BundleReleaseStatus, generation: i64, uninstall: bool, result: Option<RunResult>) {
    if status.bundle.is_none() {
        return begin(status, generation, uninstall, result);
    }
    status.bundle = after(status.bundle, uninstall, result);
    status.unsure &= uninstall || result != Some(RunResult::Succeeded);
}

/// As many runs as the ledger holds: the newest, and that of the AgentAction which stands for what is asked now. Were it
/// forgotten, it would be noted once more, as one that ended just now.
fn keep_newest(runs: &mut Vec<Run>, current: Option<&str>) {
    while runs.len() > BundleRelease::MAX_RUNS
        && let Some(oldest) = runs.iter().rposition(|run| Some(run.action.as_str()) != current)
    {
        runs.remove(oldest);
    }
}

/// Notes why a run failed, in the moment in which its failure is noted.
fn explain(run: &mut Run, why: &dyn Fn(&str) -> Option<Why>) {
    if let (Some(RunResult::Failed), Some(why)) = (run.result, why(&run.action)) {
        run.reason = Some(why.reason);
        run.log = why.log;
    }
}

/// Notes what Porter has after the first run that is known of it. One of a later generation that did not succeed may have come
/// after an install that did: who runs it again, or uninstalls it, reckons with that.
fn begin(status: &mut BundleReleaseStatus, generation: i64, uninstall: bool, result: Option<RunResult>) {
    let known = generation == 1 || status.runs.iter().any(|run| run.generation < generation);
    status.bundle = after(None, uninstall, result);
    status.unsure = status.bundle == Some(BundleState::Tried) && !known;
    if status.unsure {
        status.bundle = Some(BundleState::Installed);
    }
}

/// What Porter has after a plain apply of a document.
fn after(bundle: Option<BundleState>, uninstall: bool, result: Option<RunResult>) -> Option<BundleState> {
    let succeeded = result == Some(RunResult::Succeeded);
    match (bundle, uninstall) {
        (None | Some(BundleState::Tried), false) if succeeded => Some(BundleState::Installed),
        (None, false) => Some(BundleState::Tried),
        (Some(BundleState::Installed), true) if succeeded => Some(BundleState::Uninstalled),
        // What never was installed is not uninstalled by it; what was uninstalled is not installed by it.
        (bundle, _) => bundle,
    }
}

/// Digest and revision of a live spec that is not the one asked: by the last spec that ran well, or by an earlier run.
fn attributed(old: &BundleReleaseStatus, live_spec: &Value) -> (String, String) {
    let digest = digest(live_spec);
    let succeeded = old.succeeded.as_ref().filter(|asked| asked.digest == digest).map(|asked| &asked.revision);
    let earlier = old.runs.iter().find(|run| run.digest == digest).map(|run| &run.revision);
    let revision = succeeded.or(earlier).cloned().unwrap_or_default();
    (digest, revision)
}
