//! Random sequences against a model of the operator: changes of the source, runs that begin, end and begin again, hands
//! that delete and edit, stale views, and a controller that stops between any two steps.
//!
//! Asserted: no Installation gets a new spec, or is made again, while a run of it is on or about to begin; what is asked is recorded before
//! it is written; in the end the newest spec stands, whatever happened; and then nothing is written any more.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use api::BundleRelease;
use plan::{Action, Live, LiveSet, Precondition, Remains};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::*;

const NAMES: [&str; 2] = ["mysql", "redis"];

#[derive(Clone, Debug)]
enum Event {
    /// The source asks for another parameter, or no longer for the installation.
    Source { name: usize, n: Option<i64> },
    /// The source changes the set that both name.
    Set { n: i64 },
    /// The operator takes one step with one object.
    Operator { name: usize, fail: bool },
    /// The Job of a finished action expires, and it runs again.
    Expire { action: usize },
    /// Somebody deletes an Installation; with its actions, as garbage collection does. The Job of a bundle that runs has
    /// no owner, and goes on.
    Delete { name: usize },
    /// Somebody edits the spec of an idle Installation.
    Edit { name: usize, n: i64 },
    /// The controller reconciles and stops after that many steps; with the view of now, or with the last one.
    Reconcile { steps: usize, stale: bool },
}

#[derive(Clone)]
struct Object {
    body: Value,
    uid: String,
    generation: i64,
    version: i64,
    touched: bool,
}

#[derive(Clone)]
struct Run {
    name: String,
    kind: &'static str,
    of: String,
    uid: String,
    generation: i64,
    at: i64,
    conditions: &'static [&'static str],
    /// Its Job expired once: it may begin again without any write of the object, so only a fresh view can know.
    again: bool,
}

impl Run {
    fn is_final(&self) -> bool {
        self.conditions.iter().any(|condition| matches!(*condition, "Completed" | "Failed"))
    }
}

/// The API server and the operator.
#[derive(Clone)]
struct Model {
    installations: BTreeMap<String, Object>,
    set: Option<Object>,
    runs: Vec<Run>,
    /// Jobs of bundles that outlived their Installation, by its name.
    jobs: BTreeSet<String>,
    releases: BTreeMap<String, BundleRelease>,
    asked: BTreeMap<String, i64>,
    set_n: i64,
    clock: i64,
    stale: bool,
}

const CREDS: &str = "creds";

impl Model {
    fn new() -> Self {
        Self {
            installations: BTreeMap::new(),
            set: None,
            runs: Vec::new(),
            jobs: BTreeSet::new(),
            releases: BTreeMap::new(),
            asked: BTreeMap::new(),
            set_n: 0,
            clock: 1,
            stale: false,
        }
    }

    fn spec(name: &str, n: i64) -> Value {
        let mut spec = spec(name, n);
        spec["credentialSets"] = json!([CREDS]);
        spec
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    fn view(&self) -> World {
        let mut world = World::new(self.asked.iter().map(|(name, n)| desired(name, Self::spec(name, *n))).collect());
        world.revision = format!("main@sha1:{}", self.clock);
        world.desired.sets = vec![set(CREDS, self.set_n)];
        world.releases = self.releases.values().cloned().collect();
        world.live = Live::default();
        let actions = |kind: &str, of: &str| -> Vec<_> {
            self.runs
                .iter()
                .filter(|run| run.kind == kind && run.of == of)
                .map(|run| action((run.kind, &run.of, &run.uid), &run.name, run.generation, run.at, run.conditions))
                .collect()
        };
        for (name, object) in &self.installations {
            let installation = serde_json::from_value(Self::stored(object)).unwrap();
            let mut live = live(installation, actions("Installation", name));
            live.bundle_job = self.jobs.get(name).cloned();
            world = world.with_live(name, live);
        }
        for name in self.jobs.iter().filter(|name| !self.installations.contains_key(*name)) {
            let remains = Remains { actions: Vec::new(), job: Some(name.clone()) };
            world.live.remains.insert((NAMESPACE.to_owned(), name.clone()), remains);
        }
        if let Some(object) = &self.set {
            let actions = actions("CredentialSet", CREDS);
            world.live.sets.insert(set_id(CREDS), LiveSet { object: Self::stored(object), actions, ran: None });
        }
        world
    }

    fn stored(object: &Object) -> Value {
        let mut body = object.body.clone();
        body["metadata"]["uid"] = json!(object.uid);
        body["metadata"]["generation"] = json!(object.generation);
        body["metadata"]["resourceVersion"] = json!(object.version.to_string());
        body["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        if object.touched {
            body["metadata"]["finalizers"] = json!(["getporter.org/finalizer"]);
        }
        body
    }

    /// The rule under test: a spec may change only when no run is on, and none can begin for the old one.
    fn assert_idle(&self, kind: &str, of: &str, object: &Object) {
        let runs: Vec<&Run> = self.runs.iter().filter(|run| run.kind == kind && run.uid == object.uid).collect();
        let known = |run: &&Run| !(self.stale && run.again);
        assert!(
            runs.iter().filter(|run| known(run)).all(|run| run.is_final()),
            "{of}: a spec was written during a run"
        );
        let seen = runs.iter().any(|run| run.generation == object.generation);
        assert!(seen || !object.touched, "{of}: a spec was written before the run of the last one");
    }

    /// Server-side apply with a precondition. `false`: conflict.
    fn apply(&mut self, kind: &'static str, name: &str, body: &Value, precondition: &Precondition) -> bool {
        let now = self.tick();
        let old = if kind == "Installation" { self.installations.get(name).cloned() } else { self.set.clone() };
        let new = match old {
            Some(old) => {
                if precondition.resource_version() != old.version.to_string() {
                    return false;
                }
                let changed = old.body["spec"] != body["spec"];
                if changed {
                    self.assert_idle(kind, name, &old);
                }
                let generation = old.generation + i64::from(changed);
                Object { body: body.clone(), generation, version: now, ..old }
            }
            // Deleted meanwhile: an apply that names a uid creates nothing.
            None if matches!(precondition, Precondition::Version { uid: Some(_), .. }) => return false,
            None => {
                assert!(!self.jobs.contains(name), "{name}: made again while the bundle runs");
                Object { body: body.clone(), uid: format!("uid-{now}"), generation: 1, version: now, touched: false }
            }
        };
        if kind == "Installation" {
            self.installations.insert(name.to_owned(), new);
        } else {
            self.set = Some(new);
        }
        true
    }

    fn reconcile(&mut self, view: &World, steps: usize) -> bool {
        let plan = view.plan();
        let mut blocked = BTreeSet::new();
        let mut wrote = false;
        for step in plan.due().take(steps) {
            if blocked.contains(&step.subject) {
                continue;
            }
            wrote = true;
            let done = match &step.action {
                Action::ApplySet(apply) => {
                    self.apply("CredentialSet", &apply.id.name, &apply.body, &apply.precondition)
                }
                Action::ApplyInstallation(apply) => {
                    let release = self.releases.values().find(|release| release.spec.object_name == apply.id.name);
                    let recorded = &release.expect("recorded before it is written").spec;
                    if view.asked_now(self, &apply.id.name) {
                        assert_eq!(recorded.asked.spec, apply.body["spec"], "written as recorded");
                    }
                    self.apply("Installation", &apply.id.name, &apply.body, &apply.precondition)
                }
                Action::RecordRelease(record) => self.store(&record.release, record.create),
                Action::MarkRemoved(release) => self.store(release, false),
                Action::ReleaseStatus { name, status, .. } => {
                    self.releases.get_mut(name).map(|release| release.status = Some((**status).clone())).is_some()
                }
                other => panic!("{other:?}"),
            };
            if !done {
                blocked.insert(step.subject.clone());
            }
        }
        wrote
    }

    fn store(&mut self, new: &BundleRelease, create: bool) -> bool {
        let name = new.metadata.name.clone().unwrap();
        match self.releases.get_mut(&name) {
            Some(_) if create => false,
            Some(old) => {
                if old.spec != new.spec {
                    old.metadata.generation = old.metadata.generation.map(|generation| generation + 1);
                }
                old.spec = new.spec.clone();
                true
            }
            None => {
                let mut new = new.clone();
                new.metadata.generation = Some(1);
                self.releases.insert(name, new);
                true
            }
        }
    }

    /// One step of the operator with one object: its finalizer, an AgentAction, its beginning, its end.
    fn operate(&mut self, kind: &'static str, name: &str, fail: bool) -> bool {
        let now = self.tick();
        if self.jobs.remove(name) {
            return true;
        }
        let object = if kind == "Installation" { self.installations.get_mut(name) } else { self.set.as_mut() };
        let Some(object) = object else { return false };
        let uid = object.uid.clone();
        if let Some(run) = self.runs.iter_mut().find(|run| run.uid == uid && !run.is_final()) {
            run.conditions = match (run.conditions, fail) {
                ([], _) => &["Scheduled", "Started"],
                (_, true) => &["Scheduled", "Started", "Failed"],
                (_, false) => &["Scheduled", "Started", "Completed"],
            };
            return true;
        }
        if !object.touched {
            object.touched = true;
            object.version = now;
            return true;
        }
        if self.runs.iter().any(|run| run.uid == uid && run.generation == object.generation) {
            return false;
        }
        let run = Run {
            name: format!("run-{now}"),
            kind,
            of: name.to_owned(),
            uid,
            generation: object.generation,
            at: now,
            conditions: &[],
            again: false,
        };
        self.runs.push(run);
        true
    }

    fn happens(&mut self, event: &Event, last: &mut World) {
        match event {
            Event::Source { name, n: Some(n) } => {
                self.asked.insert(NAMES[*name].to_owned(), *n);
            }
            Event::Source { name, n: None } => {
                self.asked.remove(NAMES[*name]);
            }
            Event::Set { n } => self.set_n = *n,
            Event::Operator { name, fail } => {
                let (kind, name) = NAMES.get(*name).map_or(("CredentialSet", CREDS), |name| ("Installation", name));
                self.operate(kind, name, *fail);
            }
            Event::Expire { action } => {
                let count = self.runs.len().max(1);
                if let Some(run) = self.runs.get_mut(action % count).filter(|run| run.is_final()) {
                    run.conditions = &[];
                    run.again = true;
                }
            }
            Event::Delete { name } => {
                if let Some(object) = self.installations.remove(NAMES[*name]) {
                    let mut runs = self.runs.iter().filter(|run| run.uid == object.uid);
                    if runs.any(|run| !run.is_final() && run.conditions.contains(&"Started")) {
                        self.jobs.insert(NAMES[*name].to_owned());
                    }
                    self.runs.retain(|run| run.uid != object.uid);
                }
            }
            Event::Edit { name, n } => {
                let now = self.tick();
                let runs = self.runs.clone();
                if let Some(object) = self.installations.get_mut(NAMES[*name]) {
                    let idle = runs.iter().filter(|run| run.uid == object.uid).all(Run::is_final);
                    if idle && object.body["spec"]["parameters"]["n"] != *n {
                        object.body["spec"]["parameters"]["n"] = json!(n);
                        object.generation += 1;
                        object.version = now;
                    }
                }
            }
            Event::Reconcile { steps, stale } => {
                let mut view = self.view();
                if *stale {
                    // Releases and objects as they were; what the source asks for is read with them.
                    view.live = last.live.clone();
                }
                self.stale = *stale;
                self.reconcile(&view, *steps);
                self.stale = false;
                *last = self.view();
            }
        }
    }

    /// Lets the operator end every run well, and the controller reconcile, until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..200 {
            let view = self.view();
            let mut moved = self.reconcile(&view, usize::MAX);
            moved |= self.operate("CredentialSet", CREDS, false);
            for name in NAMES {
                moved |= self.operate("Installation", name, false);
            }
            // A failed set stays failed until its source changes.
            let failed = self.runs.iter().rev().find(|run| run.kind == "CredentialSet");
            if !moved && failed.is_some_and(|run| run.conditions.contains(&"Failed")) {
                self.set_n += 1;
                moved = true;
            }
            if !moved {
                return;
            }
        }
        panic!("never settles: {:?}", self.view().steps());
    }
}

trait AskedNow {
    fn asked_now(&self, model: &Model, name: &str) -> bool;
}

impl AskedNow for World {
    /// The record may lag behind when its step failed; then the apply of the same subject did not run either.
    fn asked_now(&self, model: &Model, name: &str) -> bool {
        model.asked.contains_key(name)
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..2usize, prop::option::weighted(0.8, 0..3i64)).prop_map(|(name, n)| Event::Source { name, n }),
        1 => (0..2i64).prop_map(|n| Event::Set { n }),
        8 => (0..3usize, prop::bool::weighted(0.2)).prop_map(|(name, fail)| Event::Operator { name, fail }),
        1 => (0..8usize).prop_map(|action| Event::Expire { action }),
        1 => (0..2usize).prop_map(|name| Event::Delete { name }),
        1 => (0..2usize, 0..3i64).prop_map(|(name, n)| Event::Edit { name, n }),
        6 => (0..6usize, prop::bool::weighted(0.3)).prop_map(|(steps, stale)| Event::Reconcile { steps, stale }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_newest_spec_ends_applied_and_runs_never_overlap(events in prop::collection::vec(event(), 0..80)) {
        let mut model = Model::new();
        let mut last = model.view();
        for event in &events {
            model.happens(event, &mut last);
        }
        model.settle();

        for (name, n) in &model.asked {
            let object = &model.installations[name];
            prop_assert_eq!(&object.body["spec"], &Model::spec(name, *n));
            let release = model.releases.values().find(|release| release.spec.object_name == *name).unwrap();
            prop_assert_eq!(&release.spec.asked.spec, &object.body["spec"]);
            prop_assert!(release.spec.removed.is_none());
            let status = release.status.as_ref().unwrap();
            prop_assert_eq!(status.generation, Some(object.generation));
            prop_assert!(status.runs.len() <= BundleRelease::MAX_RUNS);
        }
        for release in model.releases.values().filter(|release| !model.asked.contains_key(&release.spec.object_name)) {
            prop_assert!(release.spec.removed.is_some());
        }
        let view = model.view();
        prop_assert!(view.plan().is_settled(), "{:?}", view.steps());
        let outcome = view.plan().outcome;
        prop_assert!(outcome.waiting.is_empty() && outcome.refused.is_empty(), "{:?}", outcome);
        prop_assert_eq!(outcome.summary.total as usize, model.asked.len());
    }
}
