//! A release: its spec from what is desired, and its status from what was seen.
//!
//! Guarantee: a run in `status.runs` with a result keeps it, whatever its AgentAction shows later: an AgentAction runs
//! again when its Job expires.

use api::porter::AgentAction;
use api::{
    Asked, BundleRelease, BundleReleaseSpec, BundleReleaseStatus, BundleState, Compared, Inputs, InstallationId,
    ReleaseState, RetryStatus, Run, RunResult, SyncRef,
};
use jiff::Timestamp;
use porter::{DesiredInstallation, Reference};
use serde_json::Value;

use crate::command::{self, Purpose};
use crate::drift;
use crate::in_sync;
use crate::input::{Input, LiveInstallation, Why};
use crate::invoke;
use crate::observe::{self, End, Owner};
use crate::ownership::bears_ours;
use crate::rollback;
use crate::seen::{Seen, holds};

/// The release that records what is desired, with the revision that asks for it now.
pub(crate) fn record(
    input: &Input<'_>,
    desired: &DesiredInstallation,
    digest: String,
    inputs: Option<Inputs>,
) -> BundleRelease {
    let spec = BundleReleaseSpec {
        sync: input.sync.clone(),
        installation: desired.id.porter(),
        object_name: desired.object_name.clone(),
        asked: Asked {
            revision: input.revision.to_owned(),
            origin_revision: input.origin_revision.map(str::to_owned),
            file: desired.origin.file.to_string(),
            line: desired.origin.line,
            depends_on: desired.depends_on.clone(),
            digest,
            spec: desired.spec.clone(),
            inputs,
        },
        removed: None,
    };
    of(&desired.id.kube_namespace, &BundleRelease::object_name(&desired.id), spec)
}

/// The release of an Installation of ours whose own is lost, by what stands there.
pub(crate) fn recover(
    input: &Input<'_>,
    kube_namespace: &str,
    object_name: &str,
    live: &LiveInstallation,
    spec: &Value,
) -> BundleRelease {
    let installation = holds(live);
    let id = InstallationId::of(kube_namespace, installation.clone());
    let spec = BundleReleaseSpec {
        sync: input.sync.clone(),
        installation,
        object_name: object_name.to_owned(),
        asked: Asked {
            revision: input.revision.to_owned(),
            origin_revision: input.origin_revision.map(str::to_owned),
            file: String::new(),
            line: 0,
            depends_on: Vec::new(),
            digest: digest(spec),
            spec: drift::without_empty(spec),
            inputs: None,
        },
        removed: None,
    };
    of(kube_namespace, &BundleRelease::object_name(&id), spec)
}

/// A release that asks for the same, after other installations than before, or with something else of its sets.
pub(crate) fn asked_anew(
    release: &BundleRelease,
    depends_on: &[InstallationId],
    inputs: Option<Inputs>,
) -> BundleRelease {
    let mut spec = release.spec.clone();
    spec.asked.depends_on = depends_on.to_vec();
    spec.asked.inputs = inputs;
    with_spec(release, spec)
}

/// A release with another spec: what is applied, so nothing that the API server fills in.
pub(crate) fn with_spec(release: &BundleRelease, spec: BundleReleaseSpec) -> BundleRelease {
    let metadata = &release.metadata;
    of(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default(), spec)
}

fn of(namespace: &str, name: &str, spec: BundleReleaseSpec) -> BundleRelease {
    let labels = owner_labels(&spec.sync).map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let mut release = BundleRelease::new(name, spec);
    release.metadata.namespace = Some(namespace.to_owned());
    release.metadata.labels = Some(labels);
    release
}

/// The labels that say whose an object is.
pub(crate) fn owner_labels(sync: &SyncRef) -> [(&str, &str); 2] {
    [(api::OWNER_NAME_LABEL, &sync.name), (api::OWNER_NAMESPACE_LABEL, &sync.namespace)]
}

/// The Kubernetes namespace of a release.
pub(crate) fn namespace(release: &BundleRelease) -> String {
    release.metadata.namespace.clone().unwrap_or_default()
}

/// Its name.
pub(crate) fn release_name(release: &BundleRelease) -> String {
    release.metadata.name.clone().unwrap_or_default()
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

/// How an installation stands, by its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No run of the current generation has been seen.
    Pending(String),
    /// The newest run of the current generation is on.
    Running(String),
    /// It ended well.
    Succeeded(String),
    /// It ended otherwise.
    Failed(String),
    /// What is asked failed, and what ran well before stands again.
    RolledBack(String),
}

/// The status of a release.
pub(crate) struct Reported {
    /// The runs with all that is known of them, and the last spec that ran well; the state is still the old one.
    pub(crate) status: BundleReleaseStatus,
    /// Whether a run was added or ended.
    pub(crate) latched: bool,
    /// How it stands.
    pub(crate) progress: Progress,
    /// The operator's run of the current generation ended well and installed nothing: Porter has a record of the
    /// installation as uninstalled. An install has to be forced.
    pub(crate) reinstall: bool,
}

/// What is known of an installation's runs, by its release and by what is seen now.
///
/// `begins`: what Porter is known to have of it before anything of the release ran.
pub(crate) fn report(
    release: Option<&BundleRelease>,
    begins: Option<BundleState>,
    seen: Option<&Seen<'_>>,
    ours: &[AgentAction],
    why: &dyn Fn(&str) -> Option<Why>,
    now: Timestamp,
) -> Reported {
    let old = release.and_then(|release| release.status.clone()).unwrap_or_default();
    let Some(Seen { live, spec: live_spec, observed }) = seen else {
        let progress = Progress::Pending("not applied yet".to_owned());
        return Reported { status: old, latched: false, progress, reinstall: false };
    };
    let owner = Owner::installation(&live.object);
    let same_object = old.uid.as_deref() == Some(owner.uid);
    let asked = release.map(|release| &release.spec.asked);
    let as_asked = asked.filter(|asked| drift::installation_spec(&asked.spec, live_spec).is_empty());

    let mut status = old.clone();
    status.bundle = status.bundle.or(begins);
    // Of what somebody else made, the ledger says so only once a write of ours is on it.
    if same_object || release.is_none_or(|release| bears_ours(live, &release.spec.sync)) {
        status.uid = Some(owner.uid.to_owned());
    }
    status.generation = Some(owner.generation);
    // Generations begin anew with each object.
    status.retry.take_if(|_| !same_object);

    in_sync::forget(&mut status);
    let uninstall = live.object.spec.uninstalled;
    let document = in_sync::compared(live_spec);
    // What stands was asked by the generation before that of its deletion.
    let stands = owner.generation - i64::from(owner.deleting);
    if same_object && let Some(current) = observed.current() {
        let is_there = |run: &Run| observed.runs.iter().any(|seen| seen.action == run.action);
        lose(&mut status, current.generation, is_there, &document, now);
    }
    // What ended before somebody began the newest is noted before that.
    let noted = |run: &observe::Seen<'_>| status.runs.iter().any(|noted| noted.action == run.action);
    let begun = observed.current().filter(|run| !noted(run)).and_then(|run| run.created);
    let is_before = |again: &&AgentAction| {
        let ended = observe::end(again).and_then(|(_, at)| at);
        ended.zip(begun).is_some_and(|(ended, begun)| ended < begun)
    };
    let (earlier, later): (Vec<&AgentAction>, Vec<&AgentAction>) = ours.iter().partition(is_before);
    for again in earlier {
        note_ours(&mut status, again, as_asked, owner.generation, why, now);
    }
    for seen in observed.runs.iter().rev() {
        let ended = seen.ended.map(|(end, at)| (result(end), at.unwrap_or(now)));
        match status.runs.iter_mut().find(|run| run.action == seen.action) {
            Some(run) if run.result.is_some() => {
                // It was noted before anybody kept account of what Porter has.
                if status.bundle.is_none() {
                    let (uninstall, result) = (run.uninstall, run.result);
                    status.bundle = first(&status.runs, seen.generation, uninstall, result);
                }
            }
            Some(run) => {
                run.result = ended.map(|(result, _)| result);
                run.finished = ended.map(|(_, at)| at.into());
                explain(run, why);
                let (uninstall, result) = (run.uninstall, run.result);
                status.bundle = match status.bundle {
                    None => first(&status.runs, seen.generation, uninstall, result),
                    bundle => after(bundle, uninstall, result),
                };
                let ran = (seen.generation == stands).then(|| document.clone());
                in_sync::note(&mut status, result, false, ran);
            }
            // An older generation that was never noted: nobody knows any more which spec it ran.
            None if seen.generation != stands => {
                if status.bundle.is_none() {
                    status.bundle = first(&status.runs, seen.generation, false, ended.map(|(result, _)| result));
                }
            }
            None => {
                let (digest, revision) = match as_asked {
                    Some(asked) => (asked.digest.clone(), asked.revision.clone()),
                    // Edited by somebody, or asked already and not written yet.
                    None => attributed(&old, live_spec),
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
                explain(&mut run, why);
                status.bundle = match status.bundle {
                    None => first(&status.runs, seen.generation, uninstall, run.result),
                    bundle => after(bundle, uninstall, run.result),
                };
                in_sync::note(&mut status, run.result, false, Some(document.clone()));
                status.runs.insert(0, run);
            }
        }
    }
    // Before a document that says uninstalled, of which no earlier run is known, an install may have succeeded that nobody noted.
    let recovered = asked.is_some_and(|asked| asked.line == 0);
    let untouched = status.uninstall.as_ref().is_none_or(|uninstall| recovered && uninstall.attempts == 0);
    let unknown = owner.generation > 1 && status.runs.iter().all(|run| run.generation >= owner.generation);
    if let (true, true, true, None) = (untouched, unknown, uninstall, status.bundle) {
        let current = observed.current().and_then(|run| run.ended);
        status.bundle = current.map(|(end, _)| match end {
            End::Succeeded => BundleState::Uninstalled,
            End::Failed => BundleState::Installed,
        });
    }
    for again in later {
        note_ours(&mut status, again, as_asked, owner.generation, why, now);
    }
    keep_newest(&mut status.runs, observed.current().map(|run| run.action));

    let generation = owner.generation;
    let created = live.object.metadata.creation_timestamp.as_ref();
    // Runs of an earlier object of the same name do not count.
    let of_this = |run: &&Run| {
        run.generation == generation
            && run.started.as_ref().zip(created).is_none_or(|(started, created)| started.0 >= created.0)
    };
    let again = release
        .and_then(|release| status.runs.iter().filter(of_this).find(|run| is_again(release, run)))
        .filter(|_| same_object && old.generation == Some(generation));
    let latched = match observed.current() {
        // What we ran again comes after the operator's run, and is what counts.
        _ if again.is_some() => again,
        Some(seen) => status.runs.iter().find(|run| run.action == seen.action),
        // Its AgentAction was deleted.
        None if same_object && old.generation == Some(generation) => {
            status.runs.iter().filter(of_this).find(|run| run.result.is_some())
        }
        None => None,
    };
    let is_uninstalled = matches!(status.bundle, Some(BundleState::Uninstalled | BundleState::Reinstalling));
    let succeeded = latched.is_some_and(|run| run.result == Some(RunResult::Succeeded));
    let reinstall = succeeded && is_uninstalled && !uninstall && again.is_none();
    let idle = succeeded && !uninstall && !status.failed.is_empty();
    let progress = match latched {
        Some(run) if idle => {
            let failed = status.runs.iter().find(|run| run.result == Some(RunResult::Failed));
            Progress::Failed(format!(
                "AgentAction {} failed, and Porter found nothing to do in {}",
                failed.map(|failed| failed.action.as_str()).unwrap_or("before it"),
                run.action
            ))
        }
        Some(_) if reinstall => Progress::Running("Porter has it as uninstalled: it is installed again".to_owned()),
        Some(run) => match run.result {
            Some(RunResult::Succeeded) => Progress::Succeeded(format!("AgentAction {} succeeded", run.action)),
            Some(RunResult::Failed) => Progress::Failed(failed(&run.action, run.reason.as_deref())),
            None => Progress::Running(runs(&run.action, why(&run.action).as_ref())),
        },
        None => Progress::Pending(format!("the operator has not run generation {generation} yet")),
    };
    if let (Progress::Succeeded(_), Some(asked)) = (&progress, as_asked)
        && status
            .succeeded
            .as_ref()
            .is_none_or(|succeeded| succeeded.digest != asked.digest || succeeded.depends_on != asked.depends_on)
    {
        status.succeeded = Some(asked.clone());
    }
    if release.is_some_and(|release| release.spec.removed.is_none()) {
        let came_back = status.uninstall.take().is_some();
        // Of what was uninstalled and forgotten nothing is left: this is a new one.
        if came_back && old.bundle.is_none() {
            status.invocations.clear();
            status.invoked.clear();
        }
    }
    let ran = status.runs != old.runs || status.invocations != old.invocations || status.invoked != old.invoked;
    let latched =
        ran || status.succeeded != old.succeeded || status.bundle != old.bundle || status.failed != old.failed;
    Reported { status, latched, progress, reinstall }
}

/// Notes as failed what somebody deleted the AgentAction of while it was on, now that the operator has made another. It may have
/// been cut off; and to Porter, which notes what it runs before it does, the next plain apply is none.
fn lose(
    status: &mut BundleReleaseStatus,
    generation: i64,
    is_there: impl Fn(&Run) -> bool,
    document: &Compared,
    now: Timestamp,
) {
    let on = |run: &&mut Run| run.result.is_none() && run.generation == generation && !is_there(run);
    let mut lost = false;
    for run in status.runs.iter_mut().filter(on) {
        (run.result, run.finished) = (Some(RunResult::Failed), Some(now.into()));
        run.reason = Some("its AgentAction was deleted while it was on".to_owned());
        lost = true;
    }
    if lost {
        in_sync::note(status, Some(RunResult::Failed), false, Some(document.clone()));
    }
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

/// An AgentAction that failed, for people.
pub(crate) fn failed(action: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("AgentAction {action} failed: {reason}"),
        None => format!("AgentAction {action} failed"),
    }
}

/// An AgentAction that is on, for people.
pub(crate) fn runs(action: &str, why: Option<&Why>) -> String {
    match why {
        Some(why) => format!("AgentAction {action} does not get on: {}", why.reason),
        None => format!("AgentAction {action} runs"),
    }
}

/// What Porter has after the first run that is known of it. One of a later generation that did not succeed may have come after
/// an install that did: who runs it again, or uninstalls it, reckons with that, which is right in both cases.
fn first(runs: &[Run], generation: i64, uninstall: bool, result: Option<RunResult>) -> Option<BundleState> {
    let known = generation == 1 || runs.iter().any(|run| run.generation < generation);
    match after(None, uninstall, result) {
        Some(BundleState::Tried) if !known => Some(BundleState::Installed),
        bundle => bundle,
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

/// Whether a run is one of our AgentActions.
fn is_again(release: &BundleRelease, run: &Run) -> bool {
    [Purpose::Force, Purpose::Apply].into_iter().any(|purpose| command::is_named(release, purpose, &run.action))
}

/// Notes what an AgentAction of ours came to, of those that are no part of an uninstall.
fn note_ours(
    status: &mut BundleReleaseStatus,
    again: &AgentAction,
    asked: Option<&Asked>,
    seen: i64,
    why: &dyn Fn(&str) -> Option<Why>,
    now: Timestamp,
) {
    match Purpose::of(again) {
        Some(Purpose::Invoke) => invoke::note(status, again, why, now),
        Some(Purpose::Force) => {
            // From now on something of it may be there, whatever comes of the AgentAction.
            if status.bundle == Some(BundleState::Uninstalled) && observe::end(again).is_none() {
                status.bundle = Some(BundleState::Reinstalling);
            }
            note_again(status, again, true, asked, seen, why, now);
        }
        // That of an uninstall is noted there.
        Some(Purpose::Apply) if status.uninstall.is_none() || !command::uninstalls(again) => {
            note_again(status, again, false, asked, seen, why, now);
        }
        _ => {}
    }
}

/// Notes an AgentAction of ours that ran a document, once it is final.
fn note_again(
    status: &mut BundleReleaseStatus,
    action: &AgentAction,
    force: bool,
    asked: Option<&Asked>,
    seen: i64,
    why: &dyn Fn(&str) -> Option<Why>,
    now: Timestamp,
) {
    let name = action.metadata.name.clone().unwrap_or_default();
    if status.runs.iter().any(|run| run.action == name) {
        return;
    }
    let Some((end, at)) = observe::end(action) else { return };
    let generation = command::generation(action).unwrap_or(seen);
    let (result, uninstall) = (result(end), command::uninstalls(action));
    status.bundle = match (end, status.bundle) {
        _ if !force => after(status.bundle, uninstall, Some(result)),
        (End::Succeeded, _) => Some(BundleState::Installed),
        // By force it is installed over a record that says uninstalled, or upgraded.
        (End::Failed, Some(BundleState::Uninstalled | BundleState::Reinstalling)) => Some(BundleState::Reinstalling),
        (End::Failed, bundle) => bundle,
    };
    let ran = command::document(action).as_ref().map(in_sync::compared);
    in_sync::note(status, Some(result), force, ran);
    let retry = status.retry.get_or_insert_default();
    if retry.generation != generation {
        *retry = RetryStatus { generation, ..RetryStatus::default() };
    }
    retry.attempts += 1;
    if let Some(force) = status.force.as_mut().filter(|force| force.due.as_deref() == command::forced(action))
        && force.due.take().is_some()
    {
        // Who runs it by hand begins anew.
        retry.forgiven = retry.attempts;
    }
    let asked = asked.filter(|_| generation == seen);
    let mut run = Run {
        action: name,
        generation,
        digest: asked.map(|asked| asked.digest.clone()).unwrap_or_default(),
        revision: asked.map(|asked| asked.revision.clone()).unwrap_or_default(),
        started: action.metadata.creation_timestamp.clone(),
        finished: Some(at.unwrap_or(now).into()),
        uninstall,
        result: Some(result),
        reason: None,
        log: None,
    };
    explain(&mut run, why);
    status.runs.insert(0, run);
}

/// The status with its state, which is what is written when it differs from the old one.
pub(crate) fn finish(
    mut status: BundleReleaseStatus,
    release: &BundleRelease,
    progress: &Progress,
    waiting: Option<String>,
) -> BundleReleaseStatus {
    let progress = &rollback::told(release, &status, progress.clone());
    let (state, message) = if let Some(removed) = release.spec.removed.as_ref().filter(|removed| !removed.prune) {
        (ReleaseState::Removed, format!("left the source at {}; the bundle stays installed", removed.revision))
    } else if let Some(waiting) = waiting {
        (ReleaseState::Waiting, waiting)
    } else {
        match progress {
            Progress::Pending(message) => (ReleaseState::Pending, message.clone()),
            Progress::Running(message) => (ReleaseState::Running, message.clone()),
            Progress::Succeeded(message) => (ReleaseState::Succeeded, message.clone()),
            Progress::Failed(message) => (ReleaseState::Failed, message.clone()),
            Progress::RolledBack(message) => (ReleaseState::RolledBack, message.clone()),
        }
    };
    let source = Source::of(rollback::standing(release, &status).unwrap_or(&release.spec.asked));
    source.tell(&mut status);
    status.observed_generation = release.metadata.generation;
    status.state = Some(state);
    status.message = Some(message);
    status
}

/// Where a document came from, and which bundle is its.
pub(crate) struct Source {
    file: Option<String>,
    revision: String,
    reference: Option<String>,
    digest: Option<String>,
}

impl Source {
    pub(crate) fn of(asked: &Asked) -> Self {
        let bundle = &asked.spec["bundle"];
        Self {
            file: Some(asked.file.clone()).filter(|file| !file.is_empty()),
            revision: asked.revision.clone(),
            reference: Reference::of_bundle(bundle).map(|reference| reference.to_string()),
            digest: bundle["digest"].as_str().filter(|digest| !digest.is_empty()).map(str::to_owned),
        }
    }

    /// Says so in a status.
    pub(crate) fn tell(self, status: &mut BundleReleaseStatus) {
        let Self { file, revision, reference, digest } = self;
        (status.file, status.revision, status.reference, status.digest) = (file, Some(revision), reference, digest);
    }
}

/// The digest of a spec, the same for what is asked and for what stands: the operator drops empty values when it writes an
/// object back.
pub(crate) fn digest(spec: &Value) -> String {
    porter::digest(&drift::without_empty(spec))
}

/// Digest and revision of a live spec that is not the one asked: by the last spec that ran well, or by an earlier run.
fn attributed(old: &BundleReleaseStatus, live_spec: &Value) -> (String, String) {
    let digest = digest(live_spec);
    let succeeded = old.succeeded.as_ref().filter(|asked| asked.digest == digest).map(|asked| &asked.revision);
    let earlier = old.runs.iter().find(|run| run.digest == digest).map(|run| &run.revision);
    let revision = succeeded.or(earlier).cloned().unwrap_or_default();
    (digest, revision)
}

pub(crate) fn result(end: End) -> RunResult {
    match end {
        End::Succeeded => RunResult::Succeeded,
        End::Failed => RunResult::Failed,
    }
}
