//! A live Installation with what is derived from it, and what its earlier runs leave to be deleted.
//!
//! Invariant: of what is seen nothing is kept; two looks at one state are equal. It may not know what is asked, but for the
//! AgentConfig that a document names: which of the two it stands there with is no difference.

use std::collections::BTreeSet;

use api::PorterIdentity;
use api::porter::{AgentAction, Installation};
use serde_json::Value;

use crate::agent;
use crate::input::LiveInstallation;
use crate::observe::{self, End, Observed, Owner};

/// A live Installation with what is derived from it.
pub(crate) struct Seen<'a> {
    /// The object and its runs.
    pub(crate) live: &'a LiveInstallation,
    /// Its spec, as a document has it.
    pub(crate) spec: Value,
    /// Its runs.
    pub(crate) observed: Observed<'a>,
}

impl<'a> Seen<'a> {
    /// Whether it is being deleted, and nothing of it runs.
    pub(crate) fn is_over(&self) -> bool {
        self.live.object.metadata.deletion_timestamp.is_some() && self.observed.busy.is_none()
    }

    /// How it stands, of one that is not ours.
    pub(crate) fn told(&self) -> &'static str {
        match (&self.observed.busy, self.observed.current().and_then(|run| run.ended)) {
            (None, Some((End::Succeeded, _))) => "its last run succeeded",
            (None, Some((End::Failed, _))) => "its last run failed",
            (None, None) => "no run of it is known",
            (Some(_), _) => "a run of it is on",
        }
    }

    /// `agent` is the AgentConfig that the document names.
    pub(crate) fn of(live: &'a LiveInstallation, agent: Option<&str>) -> Self {
        let mut spec = spec_of(&live.object);
        agent::asked(&mut spec, agent);
        Self {
            live,
            spec,
            observed: observe::observe(&Owner::installation(&live.object), &live.actions, live.bundle_job.as_deref()),
        }
    }
}

fn spec_of(installation: &Installation) -> Value {
    // A typed spec is made of maps with string keys, lists, strings and JSON: it has a JSON form.
    serde_json::to_value(&installation.spec).unwrap_or(Value::Null)
}

/// The Porter installation that an object holds.
pub(crate) fn holds(live: &LiveInstallation) -> PorterIdentity {
    PorterIdentity { namespace: live.object.spec.namespace.clone(), name: live.object.spec.name.clone() }
}

/// How many AgentActions of one object a plan deletes: the next one goes on.
const MOST_DELETED: usize = 10;

/// The AgentActions of earlier generations of an object, to be deleted.
pub(crate) fn superseded<'a>(actions: &'a [AgentAction], observed: &Observed<'_>) -> Vec<&'a AgentAction> {
    let over: BTreeSet<&str> = observed.superseded().map(|run| run.action).collect();
    let stands = |action: &&AgentAction| {
        let metadata = &action.metadata;
        metadata.deletion_timestamp.is_none() && metadata.name.as_deref().is_some_and(|name| over.contains(name))
    };
    actions.iter().filter(stands).take(MOST_DELETED).collect()
}
