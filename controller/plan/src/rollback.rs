//! The return of a failed upgrade to what ran well: `retry.strategy: Rollback`.
//!
//! Guarantee: what a change asks for is given up once. That is noted in the ledger before the last spec that ran well is
//! written; for as long as it stands there and the source asks for the same, that spec is what an installation is held
//! against. What is asked stays in the ledger as it was.

use api::{Asked, BundleRelease, BundleReleaseStatus, BundleState, RolledBack, Run};
use porter::DesiredInstallation;

use crate::again;
use crate::drift;
use crate::in_sync;
use crate::input::Input;
use crate::release::Progress;

/// What an installation is held against instead of what is asked, when that was given up.
pub(crate) fn target(
    release: Option<&BundleRelease>,
    asked: &DesiredInstallation,
    digest: &str,
) -> Option<DesiredInstallation> {
    let release = release.filter(|release| release.spec.asked.digest == digest)?;
    let good = standing(release, release.status.as_ref()?)?;
    Some(DesiredInstallation { spec: good.spec.clone(), ..asked.clone() })
}

/// What ran well, when what is asked was given up for it.
pub(crate) fn standing<'s>(release: &BundleRelease, status: &'s BundleReleaseStatus) -> Option<&'s Asked> {
    let given_up = status.rolled_back.as_ref()?;
    let asked = &release.spec.asked.digest;
    status.succeeded.as_ref().filter(|good| given_up.digest == *asked && good.digest != *asked)
}

/// The run because of which something was given up.
pub(crate) fn given_up(status: &BundleReleaseStatus) -> Option<&Run> {
    let given_up = status.rolled_back.as_ref()?;
    status.runs.iter().find(|run| run.action == given_up.action)
}

/// Forgets that something was given up which is not asked any more, ran well after all, or was uninstalled.
pub(crate) fn forget(release: &BundleRelease, status: &mut BundleReleaseStatus) {
    if status.bundle != Some(BundleState::Installed) || standing(release, status).is_none() {
        status.rolled_back = None;
    }
}

/// Gives up what is asked, when an upgrade to it failed and may not be tried again.
pub(crate) fn give_up(input: &Input<'_>, release: &BundleRelease, status: &mut BundleReleaseStatus) -> bool {
    let asked = &release.spec.asked;
    let (Some(good), None) = (&status.succeeded, &status.rolled_back) else { return false };
    let upgrade = status.bundle == Some(BundleState::Installed)
        && [&good.spec, &asked.spec].iter().all(|spec| spec["uninstalled"] != true);
    if !input.rollback || !upgrade || drift::installation_spec(&good.spec, &asked.spec).is_empty() {
        return false;
    }
    let action = status.runs.first().map(|run| run.action.clone()).unwrap_or_default();
    status.rolled_back = Some(RolledBack { digest: asked.digest.clone(), revision: asked.revision.clone(), action });
    if !in_sync::is_run(&good.spec, &asked.spec) {
        again::ask(status);
    }
    true
}

/// What a run of an installation means for which something was given up.
pub(crate) fn progress(release: &BundleRelease, status: &BundleReleaseStatus, progress: Progress) -> Progress {
    let (Some(good), Some(given_up)) = (standing(release, status), &status.rolled_back) else { return progress };
    let run = self::given_up(status);
    let reason = run.and_then(|run| run.reason.as_deref()).map(|reason| format!(": {reason}")).unwrap_or_default();
    let failed = format!("{} failed (AgentAction {}{reason})", given_up.revision, given_up.action);
    let good = &good.revision;
    match progress {
        Progress::Succeeded(_) => Progress::RolledBack(format!(
            "{failed}, and what ran well at {good} stands again until the source asks for something else, or forceAt for another try"
        )),
        Progress::Failed(message) => Progress::Failed(format!(
            "{failed}, and so did the return to {good}: {message}; it is tried again when the source changes, or by forceAt"
        )),
        Progress::Pending(message) => Progress::Pending(format!("{failed}, it returns to {good}: {message}")),
        Progress::Running(message) => Progress::Running(format!("{failed}, it returns to {good}: {message}")),
        told @ Progress::RolledBack(_) => told,
    }
}
