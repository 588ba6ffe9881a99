//! A set under another object name that is the same one to Porter: its old object goes before the new one is written.
//!
//! The operator has Porter forget a set whose object is deleted, whatever other object stands for it. So that comes first,
//! and the run of the new object after it.
//!
//! Guarantee: the old object goes only when the new one may be written, and no run of an installation of this sync that names
//! the set is on; none begins until the new one has run. What there is to do follows from what stands, so a crash
//! between the two leads on to the new object.

use manifest::ObjectId;
use porter::DesiredObject;
use serde_json::Value;

use crate::input::{LiveSet, SetName, SetRun};
use crate::object::is_set;
use crate::observe::{self, Observed, Owner};
use crate::place;
use crate::planner::Planner;
use crate::set_again::Deletion;
use crate::step::{Action, Delete, Due, Reason, SetWait, Subject, WaitFor};

impl<'a> Planner<'a> {
    /// The set of the source that is to Porter what this object was.
    pub(crate) fn successor(&self, id: &ObjectId, live: &LiveSet) -> Option<&'a DesiredObject> {
        let identity = identity(&live.object);
        let is_same = |set: &&DesiredObject| {
            let of_set = set.porter_identity.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
            set.id.kind == id.kind && set.id.namespace == id.namespace && of_set == Some(identity)
        };
        self.input.desired.sets.iter().filter(|_| is_set(id) && self.runs_are_awaited()).find(is_same)
    }

    /// What is done before a set can have its object, by what is seen of that: `None` once no other object of this sync
    /// stands for it.
    pub(crate) fn leave_old_set(
        &mut self,
        asked: &DesiredObject,
        live: Option<&LiveSet>,
        observed: Option<&Observed<'_>>,
        run: Option<&mut SetRun>,
    ) -> Option<Deletion> {
        let mut dropped = self.input.live.dropped.iter().filter(|(id, live)| self.may_drop(id, live));
        let (id, old) = dropped.find(|(id, old)| self.successor(id, old).is_some_and(|set| set.id == asked.id))?;
        let told = |told: String| format!("{id}, which is the same to Porter, makes place: {told}");
        if old.object["metadata"]["deletionTimestamp"].is_string() {
            return Some(match self.deleted_set(id, old) {
                Deletion::On(message) => Deletion::On(told(message)),
                Deletion::Failed(message) => Deletion::Failed(told(message)),
            });
        }
        let busy = observe::observe(&Owner::object(&old.object), &old.actions, None).busy;
        let wait = busy.or_else(|| self.runs_with(id, &old.object));
        // One that stands beside it is run again after that.
        let wait =
            wait.or_else(|| live.zip(observed).zip(run).and_then(|((live, of), run)| self.again_after(live, of, run)));
        let subject = Subject::Object(id.clone());
        let message = told(wait.as_ref().map_or_else(|| "it is deleted".to_owned(), WaitFor::to_string));
        let reason = Reason::Moved { from: id.name.clone() };
        self.push(&subject, Action::Delete(delete(id, old)), reason, wait.map_or(Due::Now, Due::Waiting));
        Some(Deletion::On(message))
    }

    /// Notes that the run of a set which stands is to be made anew. What is waited for until that is noted.
    fn again_after(&mut self, live: &LiveSet, observed: &Observed<'_>, run: &mut SetRun) -> Option<WaitFor> {
        let start = |id: &ObjectId| WaitFor::Set { id: id.clone(), wait: SetWait::Start };
        let Some(current) = observed.current() else { return Some(start(&run.id)) };
        (run.awaited, run.retries, run.again) = (true, 0, Some(current.action.to_owned()));
        let noted = live.ran.as_ref().is_some_and(|noted| noted.uid == run.uid && noted.again == run.again);
        self.plan.outcome.again |= !noted;
        (!noted).then(|| start(&run.id))
    }

    /// A run of an installation that names a set: it may be about to read it.
    fn runs_with(&self, id: &ObjectId, set: &Value) -> Option<WaitFor> {
        self.releases.values().find_map(|release| {
            let succeeded = release.status.iter().filter_map(|status| status.succeeded.as_ref());
            let mut specs = succeeded.chain([&release.spec.asked]).map(|asked| &asked.spec);
            let names = specs.any(|spec| {
                SetName::all(&place::release(release).0, spec).iter().any(|name| names(name, id, identity(set)))
            });
            if !names {
                return None;
            }
            let seen = self.seen(release);
            self.command(Some(release)).or_else(|| self.busy(&place::object(release), seen.as_ref()))
        })
    }

    /// A set of the source that a document names by which something is uninstalled, and that Porter may not know yet.
    pub(crate) fn uninstall_set_wait(&self, kube_namespace: &str, spec: &Value) -> Option<WaitFor> {
        let named = SetName::all(kube_namespace, spec);
        let of = |set: &DesiredObject| {
            let (namespace, name) = set.porter_identity.as_ref()?;
            named.iter().any(|named| names(named, &set.id, (namespace, name))).then(|| set.id.clone())
        };
        self.input.desired.sets.iter().filter_map(of).find_map(|id| match self.sets.get(&id).cloned().flatten()? {
            wait @ (SetWait::Write | SetWait::Start | SetWait::Run { .. }) => Some(WaitFor::Set { id, wait }),
            SetWait::Contested | SetWait::Failed { .. } | SetWait::Refused => None,
        })
    }
}

/// The deletion of an object that left the source, as it was seen.
pub(crate) fn delete(id: &ObjectId, live: &LiveSet) -> Delete {
    let text = |field: &str| live.object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Delete { id: id.clone(), uid: text("uid"), resource_version: text("resourceVersion") }
}

/// The namespace and name of a set in Porter.
fn identity(set: &Value) -> (&str, &str) {
    let text = |field: &str| set["spec"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

/// Whether an installation that names a set means this one, or may.
fn names(name: &SetName, id: &ObjectId, (namespace, porter_name): (&str, &str)) -> bool {
    id.kind == name.kind.kind()
        && id.namespace == name.kube_namespace
        && porter_name == name.name
        && (namespace.is_empty() || namespace == name.porter_namespace)
}
