//! What the source asks for besides installations: ConfigMaps, Secrets and the like, agent configurations, sets.
//!
//! The way of the data: an object as asked and as it stands -> a [`Verdict`] -> its step, how it stands, and what
//! the installations wait for that name it.
//!
//! Invariant: a run begins only when all that comes before it is written, and the sets that it names have run well. What an
//! installation does with an object is not known here.

use manifest::ObjectId;
use porter::DesiredObject;
use serde_json::Value;

use crate::agent;
use crate::drift;
use crate::input::{LiveSet, SetRun, Why};
use crate::observe::{self, End, Observed, Owner};
use crate::outcome::Standing;
use crate::planner::Planner;
use crate::release;
use crate::seen::superseded;
use crate::set_again::{self as again, Deletion};
use crate::step::{Action, Due, Precondition, Reason, Refusal, SetWait, Subject, WaitFor};
use crate::write::{id_of, string_map};

/// What is to be done with one object, its runs aside.
enum Verdict {
    Same,
    Write { reason: Reason, precondition: Precondition },
    Deleting,
    Refuse(Refusal),
}

/// A set of the source, with its runs as they are seen.
struct Set<'a> {
    subject: Subject,
    asked: &'a DesiredObject,
    live: Option<&'a LiveSet>,
    /// Whether the operator runs it, and that is waited for.
    runs: bool,
    observed: Option<Observed<'a>>,
    /// What is known of them.
    run: Option<SetRun>,
}

impl<'a> Planner<'a> {
    /// What is to be done with an object that nothing runs for.
    pub(crate) fn object(&mut self, object: &'a DesiredObject) {
        let subject = Subject::Object(object.id.clone());
        let live = self.input.live.objects.get(&object.id).map(|live| &live.object);
        let standing = match self.verdict(object, live) {
            Verdict::Same => {
                self.push(&subject, Action::Unchanged, Reason::AsAsked, Due::Now);
                Standing::Ready
            }
            Verdict::Write { reason, precondition } => {
                let apply = Action::ApplyObject(self.apply_object(object, precondition));
                let agent = agent::of(&object.body["spec"]);
                match is_run(&object.id).then(|| self.agent_wait(&object.id.namespace, agent)).flatten() {
                    Some(wait) => {
                        let told = wait.to_string();
                        self.push(&subject, apply, reason, Due::Waiting(wait));
                        Standing::Waiting(told)
                    }
                    None => {
                        self.push(&subject, apply, reason, Due::Now);
                        self.written.insert(&object.id);
                        Standing::Ready
                    }
                }
            }
            Verdict::Deleting => {
                let apply = Action::ApplyObject(self.apply_object(object, Precondition::Absent));
                self.once_deleted(&subject, &object.id, apply)
            }
            Verdict::Refuse(refusal) => self.refuse_object(&subject, &object.id, refusal),
        };
        self.plan.outcome.add(&subject, standing);
    }

    /// What is to be done with a set, or with an agent or Porter configuration.
    pub(crate) fn set(&mut self, asked: &'a DesiredObject) {
        let mut set = self.seen_set(asked);
        let (standing, wait) = match self.verdict(asked, set.live.map(|live| &live.object)) {
            Verdict::Same => self.moved_set(&mut set).unwrap_or_else(|| self.leave_set(&mut set)),
            Verdict::Write { reason, precondition } => match self.moved_set(&mut set) {
                Some(told) => {
                    let apply = Action::ApplySet(self.apply_object(asked, precondition));
                    self.push(&set.subject, apply, reason, Due::Waiting(WaitFor::Deletion));
                    told
                }
                None => self.write_set(&set, reason, precondition),
            },
            Verdict::Deleting => {
                let apply = Action::ApplySet(self.apply_object(asked, Precondition::Absent));
                let standing = self.once_deleted(&set.subject, &asked.id, apply);
                (self.told_deletion(&mut set).unwrap_or(standing), set.runs.then_some(SetWait::Write))
            }
            Verdict::Refuse(refusal) => (self.refuse_object(&set.subject, &asked.id, refusal), Some(SetWait::Refused)),
        };
        self.sets.insert(&asked.id, wait);
        self.plan.outcome.ran.extend(set.run.filter(again::is_news));
        self.plan.outcome.add(&set.subject, standing);
    }

    fn seen_set(&self, asked: &'a DesiredObject) -> Set<'a> {
        let live = self.input.live.sets.get(&asked.id);
        let runs = is_set(&asked.id) && self.runs_are_awaited();
        let observed =
            live.filter(|_| runs).map(|live| observe::observe(&Owner::object(&live.object), &live.actions, None));
        let run = live.zip(observed.as_ref()).map(|(live, observed)| again::run_of(&asked.id, live, observed));
        Set { subject: Subject::Object(asked.id.clone()), asked, live, runs, observed, run }
    }

    /// One that stands as it is asked: what its earlier runs left goes, and what failed is run again.
    fn leave_set(&mut self, set: &mut Set<'a>) -> (Standing, Option<SetWait>) {
        self.push(&set.subject, Action::Unchanged, Reason::AsAsked, Due::Now);
        let (Some(live), Some(observed), Some(run)) = (set.live, &set.observed, &mut set.run) else {
            return (Standing::Ready, None);
        };
        for action in superseded(&live.actions, observed) {
            self.delete(&Subject::Object(id_of(action)), action, Reason::Superseded);
        }
        if let Some(told) = self.set_again(live, observed, run) {
            return told;
        }
        if !run.awaited {
            return (Standing::Ready, None);
        }
        run_of(observed, &|action| self.why(&set.asked.id.namespace, action))
    }

    /// One that is written, unless a run of it is on, with the AgentConfig that makes its run happen once.
    fn write_set(&mut self, set: &Set<'a>, reason: Reason, precondition: Precondition) -> (Standing, Option<SetWait>) {
        let mut wait = set.observed.as_ref().and_then(|observed| observed.busy.clone());
        if set.runs && wait.is_none() {
            wait = self.agent_wait(&set.asked.id.namespace, agent::of(&set.asked.body["spec"]));
        }
        let apply = self.apply_object(set.asked, precondition);
        let due = wait.clone().map_or(Due::Now, Due::Waiting);
        self.push(&set.subject, Action::ApplySet(apply), reason, due);
        let standing = match wait {
            Some(wait) => Standing::Waiting(wait.to_string()),
            None if set.runs => Standing::Pending("applied just now".to_owned()),
            None => Standing::Ready,
        };
        (standing, set.runs.then(|| self.written_wait(&set.asked.id)))
    }

    /// What is waited for in an object that this plan writes.
    pub(crate) fn written_wait(&self, id: &ObjectId) -> SetWait {
        if self.input.live.contested.contains(id) { SetWait::Contested } else { SetWait::Write }
    }

    /// One that is being deleted is made again after that; until then nothing runs.
    fn once_deleted(&mut self, subject: &Subject, id: &ObjectId, apply: Action) -> Standing {
        self.push(subject, apply, Reason::Missing, Due::Waiting(WaitFor::Deletion));
        self.hold(id, SetWait::Write);
        Standing::Waiting(WaitFor::Deletion.to_string())
    }

    /// How the deletion of a set gets on that is made again after it, where the operator runs something for that.
    fn told_deletion(&mut self, set: &mut Set<'a>) -> Option<Standing> {
        let (live, observed, run) = (set.live?, set.observed.as_ref()?, set.run.as_mut()?);
        Some(deletion(self.set_deletion(live, observed, run)))
    }

    /// How a set stands whose old object has to go first.
    fn moved_set(&mut self, set: &mut Set<'a>) -> Option<(Standing, Option<SetWait>)> {
        let told = self.leave_old_set(set.asked, set.live, set.observed.as_ref(), set.run.as_mut())?;
        Some((deletion(told), Some(SetWait::Write)))
    }

    fn refuse_object(&mut self, subject: &Subject, id: &ObjectId, refusal: Refusal) -> Standing {
        // Who has it may have it no longer once he has read the revision: no event of that comes here.
        if self.input.live.unread.is_some() {
            self.look_again();
        }
        self.refuse(subject, refusal.clone());
        self.hold(id, SetWait::Refused);
        Standing::Refused(refusal.to_string())
    }

    /// Holds all installations back.
    fn hold(&mut self, id: &ObjectId, wait: SetWait) {
        self.held.get_or_insert_with(|| WaitFor::Set { id: id.clone(), wait });
    }

    fn verdict(&self, object: &DesiredObject, live: Option<&Value>) -> Verdict {
        let Some(live) = live else {
            let known = self.input.inventory.contains(&object.id);
            let reason = if known { Reason::Missing } else { Reason::New };
            return Verdict::Write { reason, precondition: Precondition::Absent };
        };
        let mut live = live.clone();
        agent::asked(&mut live["spec"], agent::of(&object.body["spec"]));
        let metadata = &live["metadata"];
        if let Some(refusal) = self.object_refusal(&object.id, metadata) {
            return Verdict::Refuse(refusal);
        }
        if metadata["deletionTimestamp"].is_string() {
            return Verdict::Deleting;
        }
        let asked_labels = string_map(&object.body["metadata"]["labels"]);
        let mut fields = drift::object(&object.body, &live);
        fields.extend(drift::labels(self.labels(&asked_labels), &string_map(&metadata["labels"])));
        if self.runs_are_awaited() {
            let annotations = string_map(&object.body["metadata"]["annotations"]);
            fields.extend(drift::annotations(&annotations, &string_map(&metadata["annotations"])));
            fields.extend(drift::left_behind(&asked_labels, &annotations, metadata));
        }
        if fields.is_empty() {
            return Verdict::Same;
        }
        let precondition = Precondition::seen(metadata["resourceVersion"].as_str(), metadata["uid"].as_str());
        Verdict::Write { reason: Reason::Drift { fields }, precondition }
    }
}

fn deletion(told: Deletion) -> Standing {
    match told {
        Deletion::On(told) => Standing::Waiting(told),
        Deletion::Failed(told) => Standing::Failed(told),
    }
}

/// Whether the operator runs something for an object of this kind: Porter keeps it too.
pub(crate) fn is_set(id: &ObjectId) -> bool {
    matches!(id.kind.as_str(), "CredentialSet" | "ParameterSet")
}

/// Whether an object of this kind is run: once, and not each time that its Job expires.
pub(crate) fn is_run(id: &ObjectId) -> bool {
    is_set(id) || id.kind == "AgentAction"
}

/// How a set stands by the run of its current generation, and what those wait for that name it.
pub(crate) fn run_of(observed: &Observed<'_>, why: &dyn Fn(&str) -> Option<Why>) -> (Standing, Option<SetWait>) {
    let Some(run) = observed.current() else {
        return (Standing::Pending("the operator has not run it yet".to_owned()), Some(SetWait::Start));
    };
    let action = run.action.to_owned();
    match run.ended {
        None => (Standing::Running(release::runs(&action, why(&action).as_ref())), Some(SetWait::Run { action })),
        Some((End::Failed, _)) => {
            let why = why(&action);
            let told = release::failed(&action, why.as_ref().map(|why| why.reason.as_str()));
            (Standing::Failed(told), Some(SetWait::Failed { action }))
        }
        Some((End::Succeeded, _)) => (Standing::Ready, None),
    }
}
