//! What happens: events, and how often each is drawn.

use std::collections::BTreeSet;

use api::BundleRelease;
use plan::Agent;
use proptest::prelude::*;
use serde_json::json;

use crate::state::{CREDS, Model, NAMES, OBJECTS, Object, Run, TUNING};
use crate::support::{NAMESPACE, World};

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The source asks for another parameter, or no longer for the installation.
    Source { name: usize, n: Option<i64> },
    /// The source says that this one depends on the other, or that none does.
    Order { dependant: Option<usize> },
    /// The source asks for an installation under another object name.
    Rename { name: usize, object: usize },
    /// The source changes the set that both name.
    Set { n: i64 },
    /// Somebody changes, makes or deletes the Secret that this set names.
    Secret { there: bool },
    /// Somebody changes a parameter set of his own, which the first one names.
    Parameters,
    /// The operator takes one step with one object.
    Operator { name: usize, ends: Ends },
    /// Somebody deletes Porter's record of what is uninstalled.
    Vanish { name: usize },
    /// Somebody makes an Installation that no document made.
    Foreign { name: usize },
    /// The Job of a finished action expires, and it runs again.
    Expire { action: usize },
    /// Somebody deletes an Installation; with its actions, as garbage collection does. The Job of a bundle that runs has
    /// no owner, and goes on.
    Delete { name: usize },
    /// Somebody takes our finalizer off an Installation.
    LetGo { name: usize },
    /// Somebody edits the spec of an idle Installation.
    Edit { name: usize, n: i64 },
    /// The source asks for a custom action.
    Invoke { name: usize, token: u8 },
    /// Somebody asks that all run again.
    ForceAll,
    /// Somebody asks that one runs again.
    Force { name: usize },
    /// Who sees to it that a run happens once is another.
    Agent { managed: bool },
    /// The sync is suspended, or can no longer know what is asked for; or it is resumed.
    Suspend { on: bool },
    /// The controller reconciles and stops after that many steps; with the view of now, or with the last one.
    Reconcile { steps: usize, stale: Stale },
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ends {
    Well,
    /// The bundle fails.
    Badly,
    /// Before Porter did anything: the bundle cannot be pulled, the storage is out of reach, the pod is evicted.
    Early,
    /// After Porter deleted its record; else as badly.
    Late,
}

/// What of the last view is seen instead of what stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stale {
    Nothing,
    /// The watch of AgentActions lags.
    Runs,
    All,
}

impl Model {
    pub(crate) fn happens(&mut self, event: &Event, last: &mut World) {
        match event {
            Event::Source { name, n } => {
                let name = NAMES[*name].to_owned();
                let before = match n {
                    Some(n) => self.asked.insert(name.clone(), *n),
                    None => self.asked.remove(&name),
                };
                if before != *n {
                    self.owes(&name);
                }
            }
            Event::Order { dependant } => self.dependant = *dependant,
            Event::Rename { name, object } => {
                let (name, object) = (NAMES[*name], OBJECTS[*object]);
                let other = self.objects.iter().find(|(other, of)| *other != name && *of == object);
                // Two that change places, or one that goes where there is room.
                if let Some(other) = other.map(|(other, _)| other.clone()) {
                    let left = self.objects[name].clone();
                    self.owes(&other);
                    self.objects.insert(other, left);
                }
                let left = self.objects.insert(name.to_owned(), object.to_owned());
                if left.as_deref() != Some(object) {
                    self.owes(name);
                }
            }
            Event::Set { n } => self.set_n = *n,
            // Each time something new: what nobody could see between two equal values is nobody's to run.
            Event::Secret { there } => {
                self.changed_at = self.tick();
                self.secret = there.then_some(self.changed_at);
            }
            Event::Parameters => {
                self.changed_at = self.tick();
                self.known.insert(TUNING.to_owned(), self.changed_at);
            }
            Event::Operator { name, ends } => {
                let (kind, name) = OBJECTS.get(*name).map_or(("CredentialSet", CREDS), |name| ("Installation", name));
                self.operate(kind, name, *ends);
            }
            Event::Vanish { name } => {
                // Not while a Job that nobody manages may install again what nothing is known of then.
                if !self.dirty.contains(NAMES[*name]) && !self.may_run_again(NAMES[*name]) {
                    self.meddled.insert(NAMES[*name].to_owned());
                    let gone = self.forgets(NAMES[*name]);
                    assert!(gone.is_none_or(|record| !record.is_installed()));
                }
            }
            Event::Foreign { name } => {
                self.meddled.insert(NAMES[*name].to_owned());
                self.make_foreign(NAMES[*name]);
            }
            Event::Expire { action } => {
                self.clock += 1;
                let expiring = self.expiring();
                if let Some(at) = expiring.get(action % expiring.len().max(1)) {
                    self.expired = true;
                    self.runs_again(*at);
                    self.note_older(*at);
                }
            }
            Event::Delete { name } => {
                let object = self.installations.get(OBJECTS[*name]).filter(|object| !object.deleting);
                if let Some(object) = object {
                    let of = object.body["spec"]["name"].as_str().unwrap().to_owned();
                    self.owes(&of);
                    self.meddled.insert(of);
                }
                self.mark_deleted(OBJECTS[*name]);
            }
            Event::LetGo { name } => {
                let now = self.tick();
                if let Some(object) = self.installations.get_mut(OBJECTS[*name]).filter(|object| object.held) {
                    (object.held, object.version) = (false, now);
                    if object.deleting {
                        let of = object.body["spec"]["name"].as_str().unwrap().to_owned();
                        self.meddled.insert(of);
                    }
                }
                self.collect(OBJECTS[*name]);
            }
            Event::Edit { name, n } => {
                let now = self.tick();
                let runs = self.runs.clone();
                let busy = self.ours.iter().any(|ours| ours.of == OBJECTS[*name]);
                if let Some(object) = self.installations.get_mut(OBJECTS[*name]).filter(|_| !busy) {
                    let idle = !object.deleting && runs.iter().filter(|run| run.uid == object.uid).all(Run::is_final);
                    if idle && object.body["spec"]["parameters"]["n"] != *n {
                        let of = object.body["spec"]["name"].as_str().unwrap().to_owned();
                        object.body["spec"]["parameters"]["n"] = json!(n);
                        object.generation += 1;
                        object.version = now;
                        self.owes(&of);
                        self.meddled.insert(of);
                    }
                }
            }
            Event::Invoke { name, token } => {
                self.invoke.insert(NAMES[*name].to_owned(), format!("backup@{token}"));
            }
            Event::ForceAll => {
                self.force = Some((self.tick().to_string(), false));
                NAMES.iter().for_each(|name| self.owes_return(name));
            }
            Event::Force { name } => {
                let at = self.tick().to_string();
                self.owes_return(NAMES[*name]);
                let mut releases = self.releases.values_mut();
                if let Some(release) = releases.find(|release| release.spec.installation.name == NAMES[*name]) {
                    release.metadata.annotations.get_or_insert_default().insert(api::FORCE_AT.to_owned(), at);
                }
            }
            Event::Agent { managed } => self.managed = if *managed { Agent::Managed } else { Agent::None },
            Event::Suspend { on } => self.suspended = *on,
            Event::Reconcile { steps, stale } => {
                let mut view = self.view();
                let seen_at = self.viewed_at;
                self.viewed_at = self.clock;
                match stale {
                    Stale::Nothing => {}
                    Stale::Runs => {
                        for (place, live) in &mut view.live.installations {
                            let last = last.live.installations.get(place);
                            live.actions = last.map(|last| last.actions.clone()).unwrap_or_default();
                        }
                    }
                    // Releases and objects as they were; what the source asks for is read with them.
                    Stale::All => {
                        view.live = last.live.clone();
                        // What is noted is our own, as releases are.
                        view.live.sets.values_mut().for_each(|set| set.ran.clone_from(&self.noted));
                        self.viewed_at = seen_at;
                    }
                }
                self.stale = *stale != Stale::Nothing;
                self.reconcile(&view, *steps);
                self.stale = false;
                self.viewed_at = self.clock;
                *last = self.view();
            }
        }
    }

    /// What returned to what ran well is tried once more, when somebody asks for it.
    fn owes_return(&mut self, name: &str) {
        let is_of = |release: &&BundleRelease| release.spec.installation.name == name;
        let status = self.releases.values().find(is_of).and_then(|release| release.status.as_ref());
        if status.is_some_and(|status| status.rolled_back.is_some()) {
            self.owes(name);
        }
    }

    /// Whether the Job of a document that installs may expire, or did.
    fn may_run_again(&self, name: &str) -> bool {
        let installs = |run: &&Run| run.doc["name"] == name && run.doc["uninstalled"] != true;
        let mut runs = self.runs.iter().filter(installs);
        runs.any(|run| run.again || run.pod.as_ref().is_some_and(|pod| pod.expires))
    }

    /// An AgentAction runs again, maybe after a newer one.
    fn note_older(&mut self, at: usize) {
        let Some(again) = self.runs.get(at) else { return };
        if self.runs.iter().any(|run| run.of == again.of && run.generation > again.generation) {
            let name = again.doc["name"].as_str().unwrap().to_owned();
            self.older_again.insert(name);
        }
    }

    /// Somebody makes an Installation where none stands of that installation, nor of another one in its object.
    fn make_foreign(&mut self, name: &str) {
        let now = self.tick();
        let place = self.objects[name].clone();
        if self.object_of(name).is_some() || self.installations.contains_key(&place) || self.jobs.contains_key(&place) {
            return;
        }
        let body = json!({
            "apiVersion": "getporter.org/v1", "kind": "Installation",
            "metadata": {"name": place, "namespace": NAMESPACE}, "spec": Self::spec(name, 7),
        });
        let (touched, held, deleting) = (false, false, false);
        let object = Object {
            asked_at: 0,
            body,
            uid: format!("uid-{now}"),
            created: now,
            generation: 1,
            version: now,
            touched,
            held,
            deleting,
        };
        self.of_others.insert(name.to_owned());
        self.owes(name);
        self.installations.insert(place, object);
    }

    /// Whoever made an Installation takes it away, and what it installed; not what another one installed under the same name.
    pub(crate) fn take_foreign_away(&mut self) {
        let foreign = self.installations.extract_if(.., |_, object| object.is_foreign());
        for (place, object) in foreign.collect::<Vec<_>>() {
            self.runs.retain(|run| run.uid != object.uid);
            self.jobs.remove(&place);
            if self.object_of(object.body["spec"]["name"].as_str().unwrap()).is_none() {
                self.take_away(&object);
            }
        }
    }

    /// Both installations are there, and nothing is on: from nothing, few sequences come so far that anything is uninstalled.
    pub(crate) fn come_to_stand(&mut self) {
        for name in 0..NAMES.len() {
            self.happens(&Event::Source { name, n: Some(0) }, &mut self.view());
        }
        self.settle();
    }

    /// Lets the operator end every run well, and the controller reconcile, until nothing happens any more.
    pub(crate) fn settle(&mut self) {
        self.suspended = false;
        if self.secret.is_none() {
            self.happens(&Event::Secret { there: true }, &mut self.view());
        }
        for _ in 0..200 {
            let view = self.view();
            self.viewed_at = self.clock;
            let mut moved = self.reconcile(&view, usize::MAX);
            moved |= self.operate("CredentialSet", CREDS, Ends::Well);
            // A command is for an object that may be gone, or was given another name and never made.
            let commanded = self.ours.iter().map(|ours| ours.of.clone());
            let objects: BTreeSet<String> =
                self.installations.keys().cloned().chain(OBJECTS.map(str::to_owned)).chain(commanded).collect();
            for name in &objects {
                moved |= self.operate("Installation", name, Ends::Well);
            }
            // A set that failed too often stays so until it is asked for by hand.
            let failed = self.noted.as_ref().map_or(self.retries == 0, |noted| noted.retries >= self.retries);
            let awaited = self.noted.as_ref().is_none_or(|noted| noted.awaited);
            let last = self.runs.iter().rev().find(|run| run.kind == "CredentialSet");
            if !moved && failed && awaited && last.is_some_and(|run| run.conditions.contains(&"Failed")) {
                self.force = Some((self.tick().to_string(), false));
                moved = true;
            }
            // What failed stops others until its source changes, too; a custom action until none is asked for.
            let outcome = self.view().plan().outcome;
            let stopped = outcome.running.iter().any(|told| told.message.contains("which it depends on, failed"));
            if !moved && (stopped || !outcome.stopped.is_empty() || !outcome.uninstalling.is_empty()) {
                let has_failed = |name: &str| {
                    let mut failed = outcome.failed.iter().chain(&outcome.rolled_back);
                    failed.any(|told| told.subject.to_string().ends_with(&format!("/{name}")))
                };
                let failed: Vec<String> = self.asked.keys().filter(|name| has_failed(name)).cloned().collect();
                for name in failed {
                    *self.asked.get_mut(&name).unwrap() += 1;
                    self.invoke.remove(&name);
                    self.owes(&name);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
        panic!("never settles: {:?}", self.view().steps());
    }
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..2usize, prop::option::weighted(0.8, 0..3i64)).prop_map(|(name, n)| Event::Source { name, n }),
        1 => prop::option::weighted(0.7, 0..2usize).prop_map(|dependant| Event::Order { dependant }),
        1 => (0..2i64).prop_map(|n| Event::Set { n }),
        1 => prop::bool::weighted(0.8).prop_map(|there| Event::Secret { there }),
        1 => Just(Event::Parameters),
        1 => (0..2usize, 0..3usize).prop_map(|(name, object)| Event::Rename { name, object }),
        8 => (0..4usize, ends()).prop_map(|(name, ends)| Event::Operator { name, ends }),
        1 => (0..2usize).prop_map(|name| Event::Vanish { name }),
        1 => (0..2usize).prop_map(|name| Event::Foreign { name }),
        1 => (0..8usize).prop_map(|action| Event::Expire { action }),
        1 => (0..3usize).prop_map(|name| Event::Delete { name }),
        1 => (0..3usize).prop_map(|name| Event::LetGo { name }),
        1 => (0..3usize, 0..3i64).prop_map(|(name, n)| Event::Edit { name, n }),
        1 => (0..2usize, 0..3u8).prop_map(|(name, token)| Event::Invoke { name, token }),
        1 => Just(Event::ForceAll),
        1 => (0..2usize).prop_map(|name| Event::Force { name }),
        1 => any::<bool>().prop_map(|managed| Event::Agent { managed }),
        2 => prop::bool::weighted(0.3).prop_map(|on| Event::Suspend { on }),
        6 => (0..6usize, stale()).prop_map(|(steps, stale)| Event::Reconcile { steps, stale }),
    ]
}

pub(crate) fn ends() -> impl Strategy<Value = Ends> {
    prop_oneof![16 => Just(Ends::Well), 2 => Just(Ends::Badly), 2 => Just(Ends::Early), 1 => Just(Ends::Late)]
}

pub(crate) fn stale() -> impl Strategy<Value = Stale> {
    prop_oneof![7 => Just(Stale::Nothing), 1 => Just(Stale::Runs), 2 => Just(Stale::All)]
}
