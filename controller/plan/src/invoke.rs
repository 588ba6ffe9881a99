//! Custom actions of a bundle that a document asks for: the annotation `flux.getporter.org/invoke`.
//!
//! Guarantee: a value runs once, when the installation has succeeded at what is asked, and beside nothing else. The name of
//! its AgentAction follows from the value; its result is in the ledger before it is deleted; and what is in the ledger does not
//! run, whatever came of it.

use api::porter::AgentAction;
use api::{BundleRelease, BundleReleaseStatus, BundleState, INVOKE, Invocation, RunResult};
use jiff::Timestamp;
use porter::{DesiredInstallation, Invoke};
use serde_json::json;

use crate::command::{self, Purpose, prefix};
use crate::input::Why;
use crate::name::short;
use crate::observe::{self, End};
use crate::planner::Planner;
use crate::release::{self, Progress, Reported};
use crate::step::Reason;

impl Planner<'_> {
    /// The custom action that is due, of an installation that stands as it is asked, of which nothing runs, and of which
    /// nothing is run again. One that failed is told.
    pub(crate) fn invokes(
        &mut self,
        desired: &DesiredInstallation,
        release: &BundleRelease,
        reported: &mut Reported,
    ) -> Option<(Purpose, Reason)> {
        let invoke = desired.invoke.as_ref().filter(|_| !desired.uninstalled())?;
        let Progress::Succeeded(_) = reported.progress else { return None };
        let status = &reported.status;
        if status.bundle != Some(BundleState::Installed) || status.rolled_back.is_some() {
            return None;
        }
        if status.invoked.contains(&digest(&invoke.value)) {
            return None;
        }
        let name = name(release, invoke);
        match status.invocations.iter().find(|run| run.action == name) {
            Some(run) if run.result == RunResult::Failed => {
                let reason = run.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
                reported.progress = Progress::Failed(format!(
                    "AgentAction {name} failed, which ran the action {}{reason}; it runs again when {INVOKE} has another value than {}",
                    invoke.action, invoke.value
                ));
                return None;
            }
            Some(_) => return None,
            None => {}
        }
        let reason = Reason::Invoked { action: invoke.action.clone() };
        let wait = self.command_wait(desired);
        let told = wait.as_ref().map_or_else(String::new, |wait| format!("; waits: {wait}"));
        reported.progress = Progress::Running(format!("{reason}{told}"));
        wait.is_none().then_some((Purpose::Invoke, reason))
    }
}

/// The AgentAction of ours that a value is carried out by.
pub(crate) fn name(release: &BundleRelease, invoke: &Invoke) -> String {
    format!("{}{}", prefix(release, Purpose::Invoke), digest(&invoke.value))
}

/// What tells a value from others, in the name of its AgentAction and in the ledger.
fn digest(value: &str) -> String {
    short(&json!([value]))
}

/// Notes the result of a custom action, once it is final.
pub(crate) fn note(
    status: &mut BundleReleaseStatus,
    action: &AgentAction,
    why: &dyn Fn(&str) -> Option<Why>,
    now: Timestamp,
) {
    let name = action.metadata.name.clone().unwrap_or_default();
    let Some((end, at)) = observe::end(action) else { return };
    if status.invocations.iter().any(|run| run.action == name) {
        return;
    }
    let said = |key: &str| action.metadata.annotations.as_ref()?.get(key).cloned();
    let run = Invocation {
        invoke: said(INVOKE).unwrap_or_default(),
        revision: command::revision(action),
        reason: why(&name).filter(|_| end == End::Failed).map(|why| why.reason),
        action: name,
        started: action.metadata.creation_timestamp.clone(),
        finished: at.unwrap_or(now).into(),
        result: release::result(end),
    };
    status.invocations.insert(0, run);
    if status.invocations.len() > BundleRelease::MAX_RUNS {
        let older = status.invocations.split_off(BundleRelease::MAX_RUNS);
        status.invoked.splice(0..0, older.iter().map(|run| digest(&run.invoke)));
        status.invoked.truncate(BundleRelease::MAX_INVOKED);
    }
}
