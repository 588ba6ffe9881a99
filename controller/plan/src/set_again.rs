//! What is run again of a set that stands as it is asked: after a failure, within a limit; and by hand, through
//! `reconcile.fluxcd.io/forceAt` on the sync. And of one that is being deleted: for as long as it fails, since the operator
//! keeps the set until its AgentAction for that has succeeded.
//!
//! A set has no command that runs it again. But the operator makes the AgentAction of its current generation anew when that is
//! deleted (getporter/operator: the controller owns it, and none counts as not handled).
//!
//! Guarantee: what is deleted for that is noted before, and only what was is deleted, once it is over. So a crash in between
//! neither counts a try twice nor runs the set once more.

use manifest::ObjectId;

use crate::input::{LiveSet, SetRun};
use crate::observe::{End, Observed, Owner};
use crate::outcome::Standing;
use crate::pause::next_try;
use crate::planner::Planner;
use crate::release;
use crate::step::{Reason, SetWait, Subject, WaitFor};
use crate::write::id_of;

/// How the deletion of a set gets on.
pub(crate) enum Deletion {
    /// It does.
    On(String),
    /// Its run failed, and is tried again.
    Failed(String),
}

/// What is known of the runs of a set, by what was noted and by what is seen now.
pub(crate) fn run_of(id: &ObjectId, live: &LiveSet, observed: &Observed<'_>) -> SetRun {
    let owner = Owner::object(&live.object);
    let noted = live.ran.as_ref().filter(|noted| noted.uid == owner.uid);
    let mut run = match noted.filter(|noted| noted.generation == owner.generation) {
        Some(noted) => noted.clone(),
        None => SetRun {
            id: id.clone(),
            uid: owner.uid.to_owned(),
            generation: owner.generation,
            awaited: true,
            retries: 0,
            again: None,
            forced_at: noted.and_then(|noted| noted.forced_at.clone()),
        },
    };
    if let Some(current) = observed.current() {
        // What was to go is gone once there is another one.
        run.again.take_if(|again| again != current.action);
        if run.again.is_none() && matches!(current.ended, Some((End::Succeeded, _))) {
            (run.awaited, run.retries) = (false, 0);
        }
    }
    run
}

/// Whether there is anything to note of it.
pub(crate) fn is_news(run: &SetRun) -> bool {
    !run.awaited || run.retries > 0 || run.again.is_some() || run.forced_at.is_some()
}

impl Planner<'_> {
    /// What is run again of a set, and how it stands and is waited for then; `None` where that follows from its runs alone.
    pub(crate) fn set_again(
        &mut self,
        live: &LiveSet,
        observed: &Observed<'_>,
        run: &mut SetRun,
    ) -> Option<(Standing, Option<SetWait>)> {
        self.take_in_set(observed, run);
        self.fails_again(live, observed, run, Some(self.input.retries))
    }

    /// How a set gets on that is being deleted; what failed of that is run again.
    pub(crate) fn set_deletion(&mut self, live: &LiveSet, observed: &Observed<'_>, run: &mut SetRun) -> Deletion {
        let deleted = WaitFor::Deletion;
        match self.fails_again(live, observed, run, None) {
            Some((Standing::Failed(told), _)) => return Deletion::Failed(format!("{deleted}: {told}")),
            Some((Standing::Pending(told), _)) => return Deletion::On(format!("{deleted}: {told}")),
            _ => {}
        }
        match observed.current().filter(|current| current.ended.is_none()) {
            Some(current) => {
                let why = self.why(&run.id.namespace, current.action);
                Deletion::On(format!("{deleted}: {}", release::runs(current.action, why.as_ref())))
            }
            None => Deletion::On(deleted.to_string()),
        }
    }

    /// What is run again because it failed, or was to be; as often as that, or, where there is no limit, for as long as it fails.
    fn fails_again(
        &mut self,
        live: &LiveSet,
        observed: &Observed<'_>,
        run: &mut SetRun,
        limit: Option<i32>,
    ) -> Option<(Standing, Option<SetWait>)> {
        let current = observed.current()?;
        let (end, at) = current.ended?;
        if run.again.is_none() && run.awaited && end == End::Failed {
            let why = self.why(&run.id.namespace, current.action);
            let failed = release::failed(current.action, why.as_ref().map(|why| why.reason.as_str()));
            let waits =
                |told| Some((Standing::Failed(told), Some(SetWait::Failed { action: current.action.to_owned() })));
            if let Some(limit) = limit.filter(|limit| run.retries >= *limit) {
                let tried = (run.retries > 0).then(|| {
                    format!(
                        "; it was tried again as often as it may be (spec.retry.limit is {limit}); a new value of the annotations {} and {} on its BundleSync runs it again",
                        api::REQUESTED_AT,
                        api::FORCE_AT,
                    )
                });
                return waits(failed + tried.as_deref().unwrap_or_default());
            }
            let due = next_try(at.unwrap_or(self.input.now), self.input.retry, run.retries + 1);
            if self.input.now < due {
                self.plan.outcome.retry(due);
                return waits(format!("{failed}; {}", WaitFor::Retry { at: due }));
            }
            run.retries = run.retries.saturating_add(1);
            run.again = Some(current.action.to_owned());
        }
        if run.again.as_deref() != Some(current.action) {
            return None;
        }
        let noted = live.ran.as_ref().is_some_and(|noted| noted.uid == run.uid && noted.again == run.again);
        let action = live.actions.iter().find(|action| action.metadata.name.as_deref() == Some(current.action));
        match action.filter(|_| noted) {
            Some(action) => {
                let reason = match run.retries {
                    0 if run.forced_at.is_none() => Reason::Superseded,
                    0 => Reason::Forced,
                    _ => Reason::RunAgain,
                };
                self.delete(&Subject::Object(id_of(action)), action, reason);
            }
            None => self.plan.outcome.again = true,
        }
        Some((Standing::Pending("it is run again".to_owned()), Some(SetWait::Start)))
    }

    /// Takes in what is asked for by hand. The operator's run that is to come is one; beside one that is on, it is the next.
    fn take_in_set(&self, observed: &Observed<'_>, run: &mut SetRun) {
        let force = self.input.force.filter(|force| !force.handled);
        let Some(force) = force.filter(|force| run.forced_at.as_deref() != Some(force.at)) else { return };
        run.forced_at = Some(force.at.to_owned());
        if let Some(current) = observed.current() {
            (run.awaited, run.retries) = (true, 0);
            run.again = Some(current.action.to_owned());
        }
    }
}
