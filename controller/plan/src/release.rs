//! A release: its spec from what is desired, and its status from what was seen.
//!
//! Guarantee: how an installation stands follows from the release alone, once [`crate::noting`] has noted the runs in it. It may
//! not know what is done about that.

use api::porter::AgentAction;
use api::{
    Asked, BundleRelease, BundleReleaseSpec, BundleReleaseStatus, BundleState, Inputs, InstallationId, ReleaseState,
    Run, RunResult, SyncRef,
};
use jiff::Timestamp;
use porter::{DesiredInstallation, Reference};
use serde_json::Value;

use crate::command::{self, Purpose};
use crate::drift;
use crate::in_sync;
use crate::input::{Input, LiveInstallation, Why};
use crate::noting::{self, Noting};
use crate::observe::End;
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
    /// Whether something was noted that a write of the release or of its Installation would forget.
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
    let Some(seen) = seen else {
        let mut status = old.clone();
        ours.iter().for_each(|action| noting::note_without(&mut status, action, why, now));
        let latched = status != old;
        let progress = Progress::Pending("not applied yet".to_owned());
        return Reported { status, latched, progress, reinstall: false };
    };
    let noting = Noting::of(seen, release.map(|release| &release.spec.asked), why, now);
    let generation = noting.owner.generation;
    let same_object = old.uid.as_deref() == Some(noting.owner.uid);

    let mut status = old.clone();
    status.bundle = status.bundle.or(begins);
    // Of what somebody else made, the ledger says so only once a write of ours is on it.
    if same_object || release.is_none_or(|release| bears_ours(seen.live, &release.spec.sync)) {
        status.uid = Some(noting.owner.uid.to_owned());
    }
    status.generation = Some(generation);
    // Generations begin anew with each object.
    status.retry.take_if(|_| !same_object);
    in_sync::forget(&mut status);
    noting.take_in(&mut status, same_object, ours);

    let counts = counts(&status, release, seen, same_object && old.generation == Some(generation));
    let (progress, reinstall) = progress(&status, counts.as_ref(), seen, why);
    if let (Progress::Succeeded(_), Some(asked)) = (&progress, noting.as_asked)
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

/// The run that says how an installation stands.
#[derive(Clone, Debug)]
struct Counts {
    run: Run,
    /// It is one of ours.
    again: bool,
}

/// Which of the noted runs says how what stands ran. `same`: these are of the object and generation that stand.
fn counts(
    status: &BundleReleaseStatus,
    release: Option<&BundleRelease>,
    seen: &Seen<'_>,
    same: bool,
) -> Option<Counts> {
    let metadata = &seen.live.object.metadata;
    let created = metadata.creation_timestamp.as_ref();
    // Runs of an earlier object of the same name do not count.
    let of_this = |run: &&Run| {
        Some(run.generation) == status.generation
            && run.started.as_ref().zip(created).is_none_or(|(started, created)| started.0 >= created.0)
    };
    let ours = |run: &Run| release.is_some_and(|release| is_again(release, run));
    let current = seen.observed.current();
    let counts = |run: &&Run| match current {
        Some(seen) if run.action == seen.action => true,
        Some(_) => same && of_this(run) && ours(run),
        // Its AgentAction was deleted.
        None => same && of_this(run) && run.result.is_some(),
    };
    // The newest of them: what the operator ran, what we ran again, or what the operator did after that.
    let run = status.runs.iter().find(counts)?;
    Some(Counts { run: run.clone(), again: same && ours(run) })
}

/// How an installation stands by the run that counts, and whether it is to be installed by force.
fn progress(
    status: &BundleReleaseStatus,
    counts: Option<&Counts>,
    seen: &Seen<'_>,
    why: &dyn Fn(&str) -> Option<Why>,
) -> (Progress, bool) {
    let Some(Counts { run, again }) = counts else {
        let generation = status.generation.unwrap_or_default();
        return (Progress::Pending(format!("the operator has not run generation {generation} yet")), false);
    };
    let installs = run.result == Some(RunResult::Succeeded) && !seen.live.object.spec.uninstalled;
    let is_uninstalled = matches!(status.bundle, Some(BundleState::Uninstalled | BundleState::Reinstalling));
    let reinstall = installs && is_uninstalled && !again;
    let progress = match run.result {
        Some(RunResult::Succeeded) if installs && !status.failed.is_empty() => {
            let failed = status.runs.iter().find(|run| run.result == Some(RunResult::Failed));
            Progress::Failed(format!(
                "AgentAction {} failed, and Porter found nothing to do in {}",
                failed.map(|failed| failed.action.as_str()).unwrap_or("before it"),
                run.action
            ))
        }
        Some(RunResult::Succeeded) if reinstall => {
            Progress::Running("Porter has it as uninstalled: it is installed again".to_owned())
        }
        Some(RunResult::Succeeded) => Progress::Succeeded(format!("AgentAction {} succeeded", run.action)),
        Some(RunResult::Failed) => Progress::Failed(failed(&run.action, run.reason.as_deref())),
        None => Progress::Running(runs(&run.action, why(&run.action).as_ref())),
    };
    (progress, reinstall)
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

/// Whether a run is one of our AgentActions.
fn is_again(release: &BundleRelease, run: &Run) -> bool {
    [Purpose::Force, Purpose::Apply].into_iter().any(|purpose| command::is_named(release, purpose, &run.action))
}

/// The status with its state, which is what is written when it differs from the old one.
pub(crate) fn finish(
    status: BundleReleaseStatus,
    release: &BundleRelease,
    progress: &Progress,
    waiting: Option<String>,
) -> BundleReleaseStatus {
    let progress = &rollback::progress(release, &status, progress.clone());
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
    stands(status, release, source, state, message)
}

/// A status that says how it stands, and by which document.
pub(crate) fn stands(
    mut status: BundleReleaseStatus,
    release: &BundleRelease,
    source: Source,
    state: ReleaseState,
    message: String,
) -> BundleReleaseStatus {
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
    fn tell(self, status: &mut BundleReleaseStatus) {
        let Self { file, revision, reference, digest } = self;
        (status.file, status.revision, status.reference, status.digest) = (file, Some(revision), reference, digest);
    }
}

/// The digest of a spec, the same for what is asked and for what stands: the operator drops empty values when it writes an
/// object back.
pub(crate) fn digest(spec: &Value) -> String {
    porter::digest(&drift::without_empty(spec))
}

pub(crate) fn result(end: End) -> RunResult {
    match end {
        End::Succeeded => RunResult::Succeeded,
        End::Failed => RunResult::Failed,
    }
}
