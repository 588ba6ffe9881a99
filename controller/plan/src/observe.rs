//! The state of a run, from an object of Porter's and its AgentActions.
//!
//! The operator makes an AgentAction for each generation of an Installation or a set, and the AgentAction's Job runs the
//! bundle. A run is over only when its AgentAction has the condition Completed or Failed: phases go back, and the
//! Installation's own status flickers and can freeze. An AgentAction whose Job expired runs again, and loses its
//! conditions for that time.
//!
//! Guarantee: [`Observed::busy`] is `None` only when no run is on and none can begin before the object is written with
//! its resourceVersion as precondition. Two facts carry it: an object whose generation has no AgentAction gets one; and
//! the operator adds its finalizer, by a write of the whole object, before it makes the first AgentAction, so an object
//! without that finalizer has none and the operator's next write of it conflicts with ours.

use api::Condition;
use api::porter::{self, AgentAction, Installation, label};
use jiff::Timestamp;
use serde_json::Value;

use crate::input::Remains;
use crate::step::WaitFor;

/// The object that runs are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its kind: Installation, CredentialSet, ParameterSet.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid: a deleted and newly made object has another.
    pub uid: &'a str,
    /// Its generation.
    pub generation: i64,
    /// Whether the operator's finalizer is on it.
    pub touched: bool,
    /// Whether it is being deleted. Its generation rises by that, and the operator runs nothing for it.
    pub deleting: bool,
}

impl<'a> Owner<'a> {
    /// An Installation.
    #[must_use]
    pub fn installation(object: &'a Installation) -> Self {
        let metadata = &object.metadata;
        Self {
            kind: "Installation",
            name: metadata.name.as_deref().unwrap_or_default(),
            uid: metadata.uid.as_deref().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            touched: metadata.finalizers.iter().flatten().any(|finalizer| finalizer == porter::FINALIZER),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }

    /// A set, or any other object, as JSON.
    #[must_use]
    pub fn object(object: &'a Value) -> Self {
        let metadata = &object["metadata"];
        let finalizers = metadata["finalizers"].as_array();
        Self {
            kind: object["kind"].as_str().unwrap_or_default(),
            name: metadata["name"].as_str().unwrap_or_default(),
            uid: metadata["uid"].as_str().unwrap_or_default(),
            generation: metadata["generation"].as_i64().unwrap_or_default(),
            touched: finalizers.into_iter().flatten().any(|finalizer| finalizer == porter::FINALIZER),
            // The deletion of a set is a run.
            deleting: false,
        }
    }
}

/// One run: an AgentAction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedRun<'a> {
    /// Name of the AgentAction.
    pub action: &'a str,
    /// Generation of the object that it runs.
    pub generation: i64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// How it ended, and when; `None` while it is on.
    pub ended: Option<(End, Option<Timestamp>)>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Succeeded,
    /// Not well.
    Failed,
}

/// What is seen of an object's runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed<'a> {
    /// All its runs, newest first.
    pub runs: Vec<ObservedRun<'a>>,
    /// What keeps a new spec from being written.
    pub busy: Option<WaitFor>,
    generation: i64,
}

impl<'a> Observed<'a> {
    /// The newest run of the current generation.
    #[must_use]
    pub fn current(&self) -> Option<&ObservedRun<'a>> {
        self.runs.iter().find(|run| run.generation == self.generation)
    }

    /// The runs of earlier generations that are over, once there is one of the current: all that can still come of them is that
    /// they run again, over what is newer, or beside it. So it need not be over.
    pub fn superseded(&self) -> impl Iterator<Item = &ObservedRun<'a>> {
        let newer = self.current().is_some();
        self.runs.iter().filter(move |run| newer && run.generation < self.generation && run.ended.is_some())
    }
}

/// What is seen of an object's runs. Of `actions`, those of other objects are left aside; those of an earlier object of
/// the same name are no runs of this one, and keep it busy while they are on.
#[must_use]
pub fn observe<'a>(owner: &Owner<'_>, actions: &'a [AgentAction], bundle_job: Option<&str>) -> Observed<'a> {
    let mut runs: Vec<ObservedRun<'a>> = actions.iter().filter_map(|action| run_of(owner, action)).collect();
    runs.sort_by(|one, other| {
        (other.created, other.generation, other.action).cmp(&(one.created, one.generation, one.action))
    });
    let running = runs.iter().find(|run| run.ended.is_none());
    let earlier = unfinished(actions.iter().filter(|action| is_for(owner, action) && !is_owned(owner, action)));
    let current = runs.iter().any(|run| run.generation == owner.generation);
    let busy = match running {
        Some(run) => Some(WaitFor::Run { action: run.action.to_owned(), generation: run.generation }),
        None if bundle_job.is_some() => bundle_job.map(|name| WaitFor::Job { name: name.to_owned() }),
        None if earlier.is_some() => earlier,
        None if current || owner.deleting || (!owner.touched && runs.is_empty()) => None,
        None => Some(WaitFor::Start { generation: owner.generation }),
    };
    Observed { runs, busy, generation: owner.generation }
}

/// What has to end before an Installation that is gone may be made again: the operator starts a run of the new one at
/// once, and knows nothing of those of the old one.
#[must_use]
pub fn remains(remains: &Remains) -> Option<WaitFor> {
    let job = || Some(WaitFor::Job { name: remains.job.clone()? });
    unfinished(remains.actions.iter()).or_else(job)
}

/// How an AgentAction ended, and when; `None` while it is on.
#[must_use]
pub fn end(action: &AgentAction) -> Option<(End, Option<Timestamp>)> {
    action.status.as_ref().and_then(|status| ended(&status.conditions))
}

fn unfinished<'a>(mut actions: impl Iterator<Item = &'a AgentAction>) -> Option<WaitFor> {
    let action = actions.find(|action| end(action).is_none())?;
    let generation = labelled(action, label::RESOURCE_GENERATION).and_then(|text| text.parse().ok());
    let name = action.metadata.name.clone().unwrap_or_default();
    Some(WaitFor::Run { action: name, generation: generation.unwrap_or_default() })
}

fn labelled<'a>(action: &'a AgentAction, key: &str) -> Option<&'a str> {
    action.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn is_for(owner: &Owner<'_>, action: &AgentAction) -> bool {
    labelled(action, label::RESOURCE_KIND) == Some(owner.kind)
        && labelled(action, label::RESOURCE_NAME) == Some(owner.name)
}

fn is_owned(owner: &Owner<'_>, action: &AgentAction) -> bool {
    action.metadata.owner_references.iter().flatten().any(|reference| reference.uid == owner.uid)
}

fn run_of<'a>(owner: &Owner<'_>, action: &'a AgentAction) -> Option<ObservedRun<'a>> {
    if !is_owned(owner, action) || !is_for(owner, action) {
        return None;
    }
    let metadata = &action.metadata;
    Some(ObservedRun {
        action: metadata.name.as_deref()?,
        generation: labelled(action, label::RESOURCE_GENERATION)?.parse().ok()?,
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        ended: end(action),
    })
}

/// Both conditions at once are not known to happen; if they do, the run counts as failed.
fn ended(conditions: &[Condition]) -> Option<(End, Option<Timestamp>)> {
    let reached =
        |type_: &str| conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True");
    let time = |condition: &Condition| Some(condition.last_transition_time.0);
    reached(porter::condition::FAILED)
        .map(|condition| (End::Failed, time(condition)))
        .or_else(|| reached(porter::condition::COMPLETED).map(|condition| (End::Succeeded, time(condition))))
}
