//! What is run again of an installation that stands as it is asked: after a failure, within a limit; and by hand, through
//! `reconcile.fluxcd.io/forceAt` on the sync or on the release.
//!
//! Guarantee: a value of that annotation runs once. It is noted in the ledger as due before anything runs; the AgentAction that
//! carries it out names it, and once the result of that AgentAction is noted nothing is due any more.

use api::{BundleRelease, BundleReleaseStatus, FORCE_AT};
use porter::DesiredInstallation;
use serde_json::json;

use crate::agent;
use crate::command::Purpose;
use crate::in_sync;
use crate::input::Input;
use crate::name::short;
use crate::pause::next_try;
use crate::planner::Planner;
use crate::release::{Progress, Reported};
use crate::rollback;
use crate::step::{Reason, WaitFor};

/// Notes what is asked for by hand and is not noted yet. What was never run needs no second run, and what left the source
/// gets none.
///
/// Of an installation that returned to what ran well, what is asked is tried once more; `differs`: that this is not what stands, and
/// so is going to be written, and run by that.
pub(crate) fn take_in(input: &Input<'_>, release: &BundleRelease, status: &mut BundleReleaseStatus, differs: bool) {
    let untouched = release.status.as_ref().is_none_or(|status| status.uid.is_none());
    let leaves = release.spec.removed.is_some();
    let mut force = status.force.clone().unwrap_or_default();
    let mut asked = false;

    let own = release.metadata.annotations.as_ref().and_then(|annotations| annotations.get(FORCE_AT));
    if let Some(own) = own.filter(|own| force.at.as_ref() != Some(own)) {
        force.at = Some(own.clone());
        asked = true;
    }
    if let Some(of_sync) = input.force
        && force.sync_at.as_deref() != Some(of_sync.at)
        && (untouched || !of_sync.handled)
    {
        force.sync_at = Some(of_sync.at.to_owned());
        asked = true;
    }
    if leaves {
        force.due = None;
    }
    if asked || status.force.is_some() {
        status.force = Some(force);
    }
    if asked && !untouched && !leaves {
        let returned = status.rolled_back.take().is_some() && differs;
        let good = status.succeeded.as_ref().filter(|_| returned);
        if good.is_none_or(|good| !in_sync::is_run(&good.spec, &release.spec.asked.spec)) {
            ask(status);
        }
    }
}

/// Asks for one run, which is told from all others of the release.
pub(crate) fn ask(status: &mut BundleReleaseStatus) {
    let given_up = status.rolled_back.as_ref().map(|given_up| (&given_up.digest, &given_up.action));
    let force = status.force.get_or_insert_default();
    force.due = Some(short(&json!([force.at, force.sync_at, given_up])));
}

impl Planner<'_> {
    /// What is run again, of an installation that stands as it is asked and of which nothing runs.
    pub(crate) fn again(
        &mut self,
        desired: &DesiredInstallation,
        release: &BundleRelease,
        generation: i64,
        reported: &mut Reported,
    ) -> Option<(Purpose, Reason)> {
        if reported.reinstall {
            if let Some(wait) = self.command_wait(desired) {
                reported.progress = Progress::Running(format!("{}; waits: {wait}", Reason::Reinstall));
                return None;
            }
            return Some((Purpose::Force, Reason::Reinstall));
        }
        let ended = matches!(reported.progress, Progress::Succeeded(_) | Progress::Failed(_));
        let reason = if ended && reported.status.is_forced() {
            let wait = self.command_wait(desired);
            let told = wait.as_ref().map_or_else(String::new, |wait| format!("; waits: {wait}"));
            reported.progress = Progress::Running(format!("{}{told}", Reason::Forced));
            if wait.is_some() {
                return None;
            }
            Reason::Forced
        } else if let Some(renewed) = self.renews(desired, release, reported) {
            return Some(renewed);
        } else if self.retries(desired, release, generation, reported) {
            Reason::RunAgain
        } else {
            return None;
        };
        Some((Purpose::again(desired.spec["uninstalled"] == true, reported.status.bundle), reason))
    }

    /// What keeps an AgentAction of ours for an installation in the source from beginning now: all that comes before the
    /// operator's runs of it, too. Once there is nothing, it counts as begun.
    pub(crate) fn command_wait(&mut self, desired: &DesiredInstallation) -> Option<WaitFor> {
        if let Some(wait) = self.held.clone() {
            return Some(wait);
        }
        if let Some(wait) = self.ours_wait(&desired.id.kube_namespace, agent::of(&desired.spec)) {
            return Some(wait);
        }
        self.set_wait(desired).or_else(|| self.may_begin(desired))
    }

    /// Whether what failed is tried again now. What it waits for, or that it is given up, is told.
    fn retries(
        &mut self,
        desired: &DesiredInstallation,
        release: &BundleRelease,
        generation: i64,
        reported: &mut Reported,
    ) -> bool {
        let (tries, limit) = (reported.status.tries(generation), self.input.retries);
        let Progress::Failed(message) = &mut reported.progress else { return false };
        if tries >= limit {
            if rollback::give_up(self.input, release, &mut reported.status) {
                reported.latched = true;
                reported.progress = Progress::Pending("it is written next".to_owned());
            } else if tries > 0 {
                *message = format!(
                    "{message}; it was tried again as often as it may be (spec.retry.limit is {limit}); a new value of the annotation {FORCE_AT} on its BundleRelease runs it again"
                );
            }
            return false;
        }
        let failed = reported.status.runs.iter().find(|run| run.generation == generation);
        let Some(failed_at) = failed.and_then(|run| run.finished.as_ref()).map(|time| time.0) else { return false };
        let at = next_try(failed_at, self.input.retry, tries + 1);
        if self.input.now < at {
            *message = format!("{message}; {}", WaitFor::Retry { at });
            self.plan.outcome.retry(at);
            return false;
        }
        if let Some(wait) = self.command_wait(desired) {
            *message = format!("{message}; it is tried again after: {wait}");
            return false;
        }
        true
    }
}
