//! Random sequences against a model of the operator: changes of the source, runs that begin, end and begin again, hands
//! that delete and edit, stale views, and a controller that stops between any two steps.
//!
//! Asserted: no Installation gets a new spec, or is made again, while a run of it is on or about to begin; what is asked is
//! recorded before it is written; nothing runs before the set that it names has run well; no more bundle actions begin than may be on; nothing begins before what it depends on has
//! succeeded at what is asked, and no uninstall before those of what depends on it; nothing is deleted of what may be installed, and no AgentAction that the operator would
//! make anew; nothing is installed that no release knows; what sets give runs an installation again once it differs from what the
//! last run read, and for nothing else; in the end the bundle has what they give, the newest spec stands, what left the source is
//! uninstalled and gone, whatever happened; and then nothing is written any more.
//!
//! `PLAN_SEQUENCES` is how many sequences are tried, instead of 400.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use api::porter::AgentAction;
use api::{BundleRelease, ReleaseState, RunResult};
use manifest::ObjectId;
use plan::{
    Action, Agent, InputSet, Live, LiveSet, Precondition, Reason, Remains, Removal, SetKind, SetName, SetRun, Step,
};
use porter::Invoke;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::*;

const NAMES: [&str; 2] = ["mysql", "redis"];
/// The names that an Installation can have: one is free, so that the two can move by turns, or change places.
const OBJECTS: [&str; 3] = ["mysql", "redis", "other"];

#[derive(Clone, Debug)]
enum Event {
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
    /// Somebody edits the spec of an idle Installation.
    Edit { name: usize, n: i64 },
    /// The source asks for a custom action.
    Invoke { name: usize, token: u8 },
    /// Somebody asks that all run again.
    ForceAll,
    /// Somebody asks that one runs again.
    Force { name: usize },
    /// The controller reconciles and stops after that many steps; with the view of now, or with the last one.
    Reconcile { steps: usize, stale: Stale },
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
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
enum Stale {
    Nothing,
    /// The watch of AgentActions lags.
    Runs,
    All,
}

/// How many pods that ask Porter something are evicted, at most: it is asked in so many, and by more it would be misled.
const EVICTED: usize = 3;

#[derive(Clone)]
struct Object {
    body: Value,
    uid: String,
    created: i64,
    /// When that was seen which its spec was written by.
    asked_at: i64,
    generation: i64,
    version: i64,
    touched: bool,
    /// Our finalizer is on it.
    held: bool,
    deleting: bool,
}

/// What Porter has of an installation, and how it decides (corpus of `porter installation apply`).
#[derive(Clone, Debug, Default)]
struct Record {
    installed: i64,
    uninstalled: i64,
    /// The parameter, what the parameter set gave, and the name of the last action, and whether it ended well.
    last: Option<(i64, i64, &'static str, bool)>,
}

/// What a run read when it began.
#[derive(Clone, Copy, Debug)]
struct Read {
    given: Given,
    /// Nothing of it had changed since the run was asked for.
    clean: bool,
    /// It runs for what sets give.
    renews: bool,
}

/// What a run reads: the credential set as Porter knows it, the Secret that it names, and the parameter set where that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given {
    set: Option<i64>,
    secret: Option<i64>,
    parameters: i64,
}

impl Record {
    fn is_installed(&self) -> bool {
        self.installed > self.uninstalled
    }

    fn is_uninstalled(&self) -> bool {
        self.uninstalled > self.installed
    }

    fn decides(&self, spec: &Value, given: Given, force: bool) -> Option<&'static str> {
        let down = spec["uninstalled"] == true;
        let n = spec["parameters"]["n"].as_i64().unwrap();
        match (self.is_installed(), down) {
            (true, true) => Some("uninstall"),
            (false, true) => {
                assert!(!force, "never by force: that installs");
                None
            }
            (false, false) if self.is_uninstalled() && !force => None,
            (false, false) => Some("install"),
            (true, false) => {
                let same = |(last, parameters, _, _)| (last, parameters) == (n, given.parameters);
                (force || !self.last.is_some_and(same)).then_some("upgrade")
            }
        }
    }
}

/// An AgentAction of ours.
#[derive(Clone)]
struct Ours {
    action: AgentAction,
    of: String,
    at: i64,
    version: i64,
    conditions: &'static [&'static str],
    /// When that was seen which it was made by.
    asked_at: i64,
    /// It runs what sets give.
    renews: bool,
    read: Option<Read>,
}

#[derive(Clone)]
struct Run {
    asked_at: i64,
    read: Option<Read>,
    version: i64,
    doc: Value,
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

impl Ours {
    fn is_for(&self, release: &str) -> bool {
        self.action.metadata.labels.as_ref().unwrap()[api::RELEASE_LABEL] == release
    }

    fn is_final(&self) -> bool {
        self.conditions.iter().any(|condition| matches!(*condition, "Completed" | "Failed"))
    }

    fn seen(&self) -> AgentAction {
        let name = self.action.metadata.name.as_deref().unwrap();
        let mut seen = action(("AgentAction", "none", "none"), name, 0, self.at, self.conditions);
        seen.metadata.labels = self.action.metadata.labels.clone();
        seen.metadata.annotations = self.action.metadata.annotations.clone();
        seen.metadata.owner_references = None;
        seen.metadata.uid = Some(format!("uid-{}", self.at));
        seen.metadata.resource_version = Some(self.version.to_string());
        seen.spec = self.action.spec.clone();
        seen
    }
}

impl Object {
    /// Whether somebody else made it, and we never wrote it.
    fn is_foreign(&self) -> bool {
        self.body["metadata"]["labels"].is_null()
    }
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
    /// Jobs of bundles that outlived their Installation, by its name, with that in Porter.
    jobs: BTreeMap<String, String>,
    releases: BTreeMap<String, BundleRelease>,
    asked: BTreeMap<String, i64>,
    /// The one that depends on the other, where both are asked for.
    dependant: Option<usize>,
    max_actions: usize,
    /// Uid and generation of the Installations whose document ran well last.
    well: BTreeMap<String, (String, i64)>,
    /// The object names that the source asks for, by the names in Porter.
    objects: BTreeMap<String, String>,
    set_n: i64,
    clock: i64,
    stale: bool,
    ours: Vec<Ours>,
    porter: BTreeMap<String, Record>,
    /// Something of the bundle may be there.
    dirty: BTreeSet<String>,
    agent: bool,
    managed: Agent,
    retries: i32,
    rollback: bool,
    keep_record: bool,
    /// Installations of which an old generation ran again after the newest, when its Job expired.
    older_again: BTreeSet<String>,
    /// Installations that somebody else installed first: what ran then is none of ours, and its Jobs expire.
    of_others: BTreeSet<String>,
    /// The custom actions that the source asks for.
    invoke: BTreeMap<String, String>,
    /// Those that were carried out, of each release.
    invoked: BTreeSet<(String, String)>,
    /// The value of forceAt on the sync, and whether it is handled.
    force: Option<(String, bool)>,
    /// What is noted of the runs of the set.
    noted: Option<SetRun>,
    /// The uid and generation of the set that ran well.
    set_well: Option<(String, i64)>,
    /// What was carried out that was asked for by hand, of each release.
    forced: BTreeSet<(String, String)>,
    /// Pods that asked Porter something and were evicted.
    evicted: usize,
    /// What the Secret holds, where there is one.
    secret: Option<i64>,
    /// What the parameter set gives.
    parameters: i64,
    /// The credential set as Porter knows it.
    known_set: Option<i64>,
    /// When any of this changed.
    changed_at: i64,
    /// When that was seen which the controller works by.
    viewed_at: i64,
    /// What the last run of each installation read that came to a bundle action.
    read: BTreeMap<String, Read>,
    /// What the last bundle action of each was given.
    took: BTreeMap<String, Given>,
    /// Installations that others ran, or deleted.
    meddled: BTreeSet<String>,
    /// Installations that were asked to be something else, in the ledger, and moved before they were: what they were, and so
    /// what Porter sees of the new, is forgotten.
    unwritten: BTreeSet<String>,
    /// A Job expired, and something older ran again.
    expired: bool,
}

const CREDS: &str = "creds";
const TUNING: &str = "tuning";

impl Model {
    fn new() -> Self {
        Self {
            installations: BTreeMap::new(),
            set: None,
            runs: Vec::new(),
            jobs: BTreeMap::new(),
            releases: BTreeMap::new(),
            asked: BTreeMap::new(),
            dependant: None,
            max_actions: 2,
            well: BTreeMap::new(),
            objects: NAMES.map(|name| (name.to_owned(), name.to_owned())).into(),
            set_n: 0,
            clock: 1,
            stale: false,
            ours: Vec::new(),
            porter: BTreeMap::new(),
            dirty: BTreeSet::new(),
            agent: false,
            managed: Agent::None,
            retries: 0,
            rollback: false,
            keep_record: false,
            older_again: BTreeSet::new(),
            of_others: BTreeSet::new(),
            invoke: BTreeMap::new(),
            invoked: BTreeSet::new(),
            force: None,
            noted: None,
            set_well: None,
            forced: BTreeSet::new(),
            evicted: 0,
            secret: Some(0),
            parameters: 0,
            known_set: None,
            changed_at: 0,
            viewed_at: 1,
            read: BTreeMap::new(),
            took: BTreeMap::new(),
            meddled: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            expired: false,
        }
    }

    /// What a run reads that begins now.
    fn gives(&self, name: &str) -> Given {
        let parameters = if name == NAMES[0] { self.parameters } else { 0 };
        Given { set: self.known_set, secret: self.secret, parameters }
    }

    /// A run of a document begins, and reads what it is given.
    fn begins(&self, name: &str, asked_at: i64, renews: bool) -> Read {
        Read { given: self.gives(name), clean: self.changed_at <= asked_at, renews }
    }

    /// A run comes to its bundle action, or would if it were given all.
    fn acts(&mut self, name: &str, read: Read) {
        let Read { given, clean, renews } = read;
        let before = self.read.insert(name.to_owned(), read).filter(|before| before.clean);
        let known = !self.expired && !self.meddled.contains(name) && !self.unwritten.contains(name);
        if let Some(before) = before.filter(|_| renews && clean && known) {
            assert_ne!(given, before.given, "{name}: it runs again for what its sets give, and they give the same");
        }
    }

    fn inputs(&self) -> BTreeMap<SetName, InputSet> {
        let name = |kind, name: &str| SetName {
            kube_namespace: NAMESPACE.to_owned(),
            kind,
            porter_namespace: "dev".to_owned(),
            name: name.to_owned(),
        };
        let mut inputs = BTreeMap::new();
        let id = ObjectId { kind: "ParameterSet".into(), name: TUNING.into(), ..set_id(CREDS) };
        let object = json!({"kind": "ParameterSet", "metadata": {"name": TUNING, "uid": "tuning", "generation": 1}});
        let done = action(("ParameterSet", TUNING, "tuning"), "tuning-run", 1, 1, &["Completed"]);
        let tuning = InputSet {
            id,
            live: LiveSet { object, actions: vec![done], ran: None },
            digest: format!("secrets:key:{}", self.parameters),
            secrets: BTreeSet::new(),
            faults: Vec::new(),
        };
        inputs.insert(name(SetKind::Parameters, TUNING), tuning);
        if let Some(object) = &self.set {
            let key = &object.body["spec"]["credentials"][0]["source"]["secret"];
            let creds = InputSet {
                id: set_id(CREDS),
                live: self.live_set(object),
                digest: format!("secrets:key:{key} {:?}", self.secret),
                secrets: BTreeSet::from(["token".to_owned()]),
                faults: self.secret.is_none().then(|| "it is missing".to_owned()).into_iter().collect(),
            };
            inputs.insert(name(SetKind::Credentials, CREDS), creds);
        }
        inputs
    }

    fn spec(name: &str, n: i64) -> Value {
        let mut spec = spec(name, n);
        spec["credentialSets"] = json!([CREDS]);
        if name == NAMES[0] {
            spec["parameterSets"] = json!([TUNING]);
        }
        spec
    }

    /// Without the AgentConfig of ours, which changes nothing of what is asked.
    fn as_document(spec: &Value) -> Value {
        let mut spec = spec.clone();
        if spec["agentConfig"]["name"] == api::AGENT_CONFIG {
            spec.as_object_mut().unwrap().remove("agentConfig");
        }
        spec
    }

    /// What an installation depends on.
    fn dependency(&self, name: &str) -> Option<&'static str> {
        let dependant = self.dependant.map(|dependant| NAMES[dependant])?;
        let other = NAMES.into_iter().find(|other| *other != dependant)?;
        (name == dependant && self.asked.contains_key(other)).then_some(other)
    }

    /// Whether a bundle action of an installation is on, or about to begin, as far as it can be known.
    fn is_active(&self, name: &str) -> bool {
        let on = |object: &Object| {
            let mut runs = self.runs.iter().filter(|run| run.uid == object.uid);
            !object.deleting && !runs.any(|run| run.generation == object.generation)
        };
        let release = BundleRelease::object_name(&id(name));
        let commanded = self.ours.iter().any(|ours| ours.is_for(&release) && !ours.is_final());
        // What they began may go on after their Installation is deleted.
        if self.of_others.contains(name) && self.object_of(name).is_none_or(Object::is_foreign) {
            return commanded;
        }
        commanded
            || self.jobs.values().any(|of| of == name)
            || self.runs.iter().any(|run| run.kind == "Installation" && run.doc["name"] == name && !run.is_final())
            || self.object_of(name).is_some_and(on)
    }

    /// The Installation of an installation.
    fn object_of(&self, name: &str) -> Option<&Object> {
        self.installations.values().find(|object| object.body["spec"]["name"] == name)
    }

    /// The rules of order, for a bundle action that we begin. With a view of before, it is only as good as that.
    fn assert_turn(&self, name: &str, spec: &Value) {
        if self.stale || self.moved(name, spec) {
            return;
        }
        let others = NAMES.into_iter().filter(|other| *other != name && self.is_active(other)).count();
        assert!(others < self.max_actions, "{name}: more than {} bundle actions at once", self.max_actions);
        let Some(first) = self.dependency(name).filter(|_| spec["uninstalled"] != true) else { return };
        let object = self.object_of(first).unwrap_or_else(|| panic!("{name} before {first} is there"));
        let stands = Self::as_document(&object.body["spec"]);
        assert_eq!(stands, Self::spec(first, self.asked[first]), "{name} before {first} is as asked");
        assert_eq!(
            self.well.get(first),
            Some(&(object.uid.clone(), object.generation)),
            "{name} before {first} ran well"
        );
        if !self.older_again.contains(first) {
            assert!(self.porter[first].is_installed(), "{name} before {first} is installed");
        }
    }

    /// What runs reads the set that the source asks for: Porter knows it.
    fn assert_set(&self, name: &str) {
        if self.stale {
            return;
        }
        let asked = set(CREDS, self.set_n).body;
        let stands = self.set.as_ref().filter(|stands| {
            let well = self.set_well == Some((stands.uid.clone(), stands.generation));
            well && Self::as_document(&stands.body["spec"]) == asked["spec"]
        });
        assert!(stands.is_some(), "{name}: before its set ran well");
        let again = self.noted.as_ref().and_then(|noted| noted.again.as_ref());
        let on = self.runs.iter().find(|run| Some(&run.name) == again);
        assert!(on.is_none(), "{name}: while its set is to run again");
    }

    /// Whether a new object asks for what Porter has already: that is no bundle action.
    fn moved(&self, name: &str, spec: &Value) -> bool {
        let record = self.porter.get(name).filter(|_| spec["name"] == name);
        self.object_of(name).is_none()
            && record.is_some_and(|record| record.decides(spec, self.gives(name), false).is_none())
    }

    /// What depends on an installation, and left the source with it, goes first.
    fn assert_last(&self, release: &BundleRelease) {
        let (id, on) = (release.installation_id(), &release.spec.asked.depends_on);
        let mut others = self
            .releases
            .values()
            .filter(|other| other.spec.asked.depends_on.contains(&id) && !on.contains(&other.installation_id()));
        let gone = |other: &BundleRelease| {
            other.status.as_ref().and_then(|status| status.state) == Some(ReleaseState::Uninstalled)
        };
        assert!(
            others.all(|other| other.spec.removed.is_none() || gone(other)),
            "{id}: its uninstall begins before that of what depends on it"
        );
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    fn view(&self) -> World {
        let mut world = World::new(self.asked.iter().map(|(name, n)| desired(name, Self::spec(name, *n))).collect());
        for installation in &mut world.desired.installations {
            installation.depends_on = self.dependency(&installation.id.name).map(id).into_iter().collect();
            installation.object_name.clone_from(&self.objects[&installation.id.name]);
        }
        world.max_actions = self.max_actions;
        world.revision = format!("main@sha1:{}", self.clock);
        for installation in &mut world.desired.installations {
            let value = self.invoke.get(&installation.id.name).cloned();
            installation.invoke = value.map(|value| Invoke { action: "backup".into(), value });
        }
        world.desired.sets = vec![set(CREDS, self.set_n)];
        world.releases = self.releases.values().cloned().collect();
        world.live = Live::default();
        world.removal = Removal::Uninstall;
        world.keep_record = self.keep_record;
        world.agent = self.managed;
        world.retries = self.retries;
        world.rollback = self.rollback;
        world.force.clone_from(&self.force);
        world = world.with_agent("default", agent_config(json!({}), true));
        // Later than any pause of a retry.
        world.now += self.clock * 100_000;
        for ours in &self.ours {
            let key = (NAMESPACE.to_owned(), ours.action.metadata.labels.as_ref().unwrap()[api::RELEASE_LABEL].clone());
            world.live.ours.entry(key).or_default().push(ours.seen());
        }
        if self.agent {
            world = world.with_agent(api::AGENT_CONFIG, agent_config(once(), true));
        }
        for (name, object) in &self.installations {
            let installation = serde_json::from_value(Self::stored(object)).unwrap();
            let mut live = live(installation, self.actions("Installation", name));
            live.bundle_job = self.jobs.contains_key(name).then(|| name.clone());
            world = world.with_live(name, live);
        }
        for name in self.jobs.keys().filter(|name| !self.installations.contains_key(*name)) {
            let remains = Remains { actions: Vec::new(), job: Some(name.clone()) };
            world.live.remains.insert((NAMESPACE.to_owned(), name.clone()), remains);
        }
        if let Some(object) = &self.set {
            let live = LiveSet { ran: self.noted.clone(), ..self.live_set(object) };
            world.live.sets.insert(set_id(CREDS), live);
        }
        world.live.inputs = Some(self.inputs());
        world
    }

    fn live_set(&self, object: &Object) -> LiveSet {
        LiveSet { object: Self::stored(object), actions: self.actions("CredentialSet", CREDS), ran: None }
    }

    fn actions(&self, kind: &str, of: &str) -> Vec<AgentAction> {
        self.runs
            .iter()
            .filter(|run| run.kind == kind && run.of == of)
            .map(|run| {
                let of = (run.kind, run.of.as_str(), run.uid.as_str());
                let mut action = action(of, &run.name, run.generation, run.at, run.conditions);
                action.metadata.resource_version = Some(run.version.to_string());
                action
            })
            .collect()
    }

    fn stored(object: &Object) -> Value {
        let mut body = object.body.clone();
        body["metadata"]["uid"] = json!(object.uid);
        body["metadata"]["generation"] = json!(object.generation);
        body["metadata"]["resourceVersion"] = json!(object.version.to_string());
        body["metadata"]["creationTimestamp"] = json!(at_second(object.created));
        let finalizers = [(object.touched, "getporter.org/finalizer"), (object.held, api::FINALIZER)];
        body["metadata"]["finalizers"] =
            finalizers.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect();
        if object.deleting {
            body["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
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
                if changed && kind == "Installation" && body["spec"]["uninstalled"] != true {
                    self.assert_set(name);
                }
                let removed = |release: &BundleRelease| {
                    body["spec"]["name"] == release.spec.installation.name.as_str() && release.spec.removed.is_some()
                };
                let ours = kind != "Installation" || !old.is_foreign();
                assert!(ours || !self.releases.values().any(removed), "{name}: somebody else's is uninstalled");
                // That of somebody else's was about to run anyway.
                if changed && kind == "Installation" && !old.is_foreign() {
                    self.assert_turn(body["spec"]["name"].as_str().unwrap(), &body["spec"]);
                }
                let generation = old.generation + i64::from(changed);
                assert!(!old.deleting, "{name}: written while it is deleted");
                let asked_at = if changed { self.viewed_at } else { old.asked_at };
                Object { body: body.clone(), asked_at, generation, version: now, held: kind == "Installation", ..old }
            }
            // Deleted meanwhile: an apply that names a uid creates nothing.
            None if matches!(precondition, Precondition::Version { uid: Some(_), .. }) => return false,
            None => {
                assert!(!self.jobs.contains_key(name), "{name}: made again while the bundle runs");
                let held = kind == "Installation";
                if held {
                    self.assert_turn(body["spec"]["name"].as_str().unwrap(), &body["spec"]);
                }
                let (uid, body, asked_at) = (format!("uid-{now}"), body.clone(), self.viewed_at);
                let (touched, deleting) = (false, false);
                Object { body, uid, created: now, asked_at, generation: 1, version: now, touched, held, deleting }
            }
        };
        if kind == "Installation" {
            self.installations.insert(name.to_owned(), new);
        } else {
            self.set = Some(new);
            self.changed_at = now;
        }
        true
    }

    fn reconcile(&mut self, view: &World, steps: usize) -> bool {
        let plan = view.plan();
        let whole = plan.due().count() <= steps;
        let mut blocked = BTreeSet::new();
        let mut wrote = whole && plan.outcome.again;
        for step in plan.due().take(steps) {
            if blocked.contains(&step.subject) {
                continue;
            }
            wrote = true;
            let done = self.as_seen(view, step)
                && match &step.action {
                    Action::Run(action) => self.command(action, matches!(step.reason, Reason::Inputs { .. })),
                    Action::Delete(delete) => self.delete(&delete.id.kind, &delete.id.name, &delete.resource_version),
                    Action::LiftFinalizer(lift) => self.lift(&lift.id.name, &lift.resource_version),
                    Action::ApplySet(apply) if apply.id.kind == "AgentConfig" => {
                        self.agent = true;
                        true
                    }
                    Action::ApplySet(apply) => {
                        self.apply("CredentialSet", &apply.id.name, &apply.body, &apply.precondition)
                    }
                    Action::ApplyInstallation(apply) => {
                        let name = &apply.body["spec"]["name"];
                        let release = self.releases.values().find(|r| *name == r.spec.installation.name.as_str());
                        let recorded = release.expect("recorded before it is written").spec.clone();
                        assert_eq!(recorded.object_name, apply.id.name);
                        if view.asked_now(self, name.as_str().unwrap()) && recorded.removed.is_none() {
                            let written = Self::as_document(&apply.body["spec"]);
                            let status = release.and_then(|release| release.status.as_ref());
                            let good = status.and_then(|status| status.succeeded.as_ref());
                            match status.and_then(|status| status.rolled_back.as_ref()) {
                                Some(given_up) if given_up.digest == recorded.asked.digest => {
                                    assert!(self.rollback, "rolled back, and nobody asks for it");
                                    assert_eq!(good.unwrap().spec, written, "returned to what ran well");
                                }
                                _ => assert_eq!(recorded.asked.spec, written, "written as recorded"),
                            }
                        }
                        self.apply("Installation", &apply.id.name, &apply.body, &apply.precondition)
                    }
                    Action::RecordRelease(record) => self.store(&record.release, record.create),
                    Action::MarkRemoved(release) => self.store(release, false),
                    Action::ReleaseStatus { name, status, .. } => {
                        let old = &self.releases[name];
                        let begun = old.status.as_ref().is_some_and(|status| status.uninstall.is_some());
                        if status.uninstall.is_some() && !begun {
                            self.assert_last(old);
                        }
                        self.releases.get_mut(name).map(|release| release.status = Some((**status).clone())).is_some()
                    }
                    other => panic!("{other:?}"),
                };
            if !done {
                blocked.insert(step.subject.clone());
            }
        }
        if whole {
            self.noted = plan.outcome.ran.first().cloned();
        }
        if let Some((_, handled)) = self.force.as_mut().filter(|force| view.force.as_ref() == Some(*force)) {
            *handled |= whole && blocked.is_empty();
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
                new.metadata.uid = Some(format!("uid-release-{}", self.clock));
                self.clock += 1;
                self.releases.insert(name, new);
                true
            }
        }
    }

    /// Before what cannot be taken back, the runs are read from the API server.
    fn as_seen(&self, view: &World, step: &Step) -> bool {
        let grave = match &step.action {
            Action::Run(_) | Action::Delete(_) => true,
            Action::LiftFinalizer(_) => step.reason == Reason::Deleted,
            Action::ApplyInstallation(apply) => apply.body["spec"]["uninstalled"] == true,
            _ => false,
        };
        let version = |action: &AgentAction| {
            (action.metadata.name.clone().unwrap(), action.metadata.resource_version.clone().unwrap())
        };
        let of_objects = view.live.installations.values().flat_map(|live| &live.actions);
        let seen: BTreeSet<_> = of_objects.chain(view.live.ours.values().flatten()).map(version).collect();
        let runs = self.runs.iter().filter(|run| run.kind == "Installation");
        let stands = runs.map(|run| (run.name.clone(), run.version.to_string()));
        !grave || stands.chain(self.ours.iter().map(|ours| version(&ours.seen()))).all(|now| seen.contains(&now))
    }

    fn command(&mut self, action: &AgentAction, renews: bool) -> bool {
        let name = action.metadata.name.clone().unwrap();
        if self.ours.iter().any(|ours| ours.action.metadata.name.as_ref() == Some(&name)) {
            return false;
        }
        let release = &action.metadata.labels.as_ref().unwrap()[api::RELEASE_LABEL];
        let of = self.releases[release].spec.object_name.clone();
        assert!(self.agent, "{name}: its Job would expire");
        if let Some(value) = action.metadata.annotations.as_ref().and_then(|annotations| annotations.get(api::INVOKE)) {
            let release = &self.releases[release];
            let uid = release.metadata.uid.clone().unwrap();
            assert!(self.invoked.insert((uid, value.clone())), "{name}: {value} is invoked once more");
            assert!(release.status.as_ref().unwrap().uninstall.is_none(), "{name}: during an uninstall");
            let record = &self.porter[&release.spec.installation.name];
            let asked = release.spec.asked.spec["parameters"]["n"].as_i64();
            let stands = record.is_installed() && record.last.is_some_and(|(n, _, _, well)| Some(n) == asked && well);
            assert!(
                stands || self.older_again.contains(&release.spec.installation.name),
                "{name}: before what is asked stands: {record:?}"
            );
        }
        if let Some(forced) = action.metadata.labels.as_ref().unwrap().get(api::FORCED_LABEL) {
            let uid = self.releases[release].metadata.uid.clone().unwrap();
            assert!(self.forced.insert((uid, forced.clone())), "{name}: run by hand once more");
        }
        self.assert_over(&of, &name);
        let document = action.spec.files.get("installation.yaml");
        let document = document.map(|file| serde_json::from_slice(&file.0).unwrap());
        let installation = self.releases[release].spec.installation.name.clone();
        let runs = matches!(
            action.metadata.labels.as_ref().unwrap()[api::PURPOSE_LABEL].as_str(),
            "apply" | "force" | "invoke"
        );
        let down = document.as_ref().is_some_and(|document: &Value| document["uninstalled"] == true);
        if runs && !down {
            self.assert_set(&name);
        }
        self.assert_turn(&installation, &document.unwrap_or(json!({"uninstalled": true})));
        let now = self.tick();
        let (action, asked_at, conditions) = (action.clone(), self.viewed_at, [].as_slice());
        self.ours.push(Ours { action, of, at: now, version: now, conditions, asked_at, renews, read: None });
        true
    }

    fn assert_over(&self, of: &str, what: &str) {
        let runs = self.runs.iter().filter(|run| run.kind == "Installation" && run.of == of);
        assert!(runs.clone().all(Run::is_final), "{what}: during a run");
        assert!(self.ours.iter().filter(|ours| ours.of == of).all(Ours::is_final), "{what}: during a command");
        assert!(!self.jobs.contains_key(of), "{what}: while the bundle runs");
    }

    fn delete(&mut self, kind: &str, name: &str, version: &str) -> bool {
        let now = self.tick();
        match kind {
            "AgentAction" => {
                if let Some(at) = self.ours.iter().position(|ours| ours.action.metadata.name.as_deref() == Some(name)) {
                    assert!(self.ours[at].is_final(), "{name}: deleted while it runs");
                    self.ours.remove(at);
                    return true;
                }
                let Some(at) = self.runs.iter().position(|run| run.name == name) else { return true };
                let run = &self.runs[at];
                let foreign = self.installations.values().any(|object| object.uid == run.uid && object.is_foreign());
                assert!(!foreign, "{name}: somebody else's is deleted");
                if run.version.to_string() != version {
                    return false;
                }
                assert!(run.is_final(), "{name}: deleted while it runs");
                if self.set.as_ref().is_some_and(|set| set.uid == run.uid && set.generation == run.generation) {
                    let noted = self.noted.as_ref().and_then(|noted| noted.again.as_deref());
                    assert_eq!(noted, Some(name), "{name}: it runs again, and that is not noted");
                }
                let current = self.installations.get(&run.of).is_some_and(|object| {
                    object.uid == run.uid && object.generation == run.generation && !object.deleting
                });
                assert!(!current, "{name}: the operator makes it anew");
                self.runs.remove(at);
            }
            "Installation" => {
                let Some(object) = self.installations.get_mut(name) else { return true };
                if object.version.to_string() != version {
                    return false;
                }
                let stood = Self::as_document(&object.body["spec"]);
                let of = stood["name"].as_str().unwrap();
                let release = self.releases.values().find(|release| release.spec.installation.name == of);
                if release.is_some_and(|release| release.spec.asked.spec != stood) {
                    self.unwritten.insert(of.to_owned());
                }
                assert!(!object.is_foreign(), "{name}: somebody else's is deleted");
                let of = object.body["spec"]["name"].as_str().unwrap();
                let moves = self.asked.contains_key(of) && self.objects[of] != name;
                assert!(moves || !self.dirty.contains(of), "{name}: deleted while it may be installed");
                assert!(!moves || self.releases.values().any(|release| release.spec.installation.name == of));
                (object.deleting, object.version) = (true, now);
                object.generation += 1;
                self.assert_over(name, name);
                self.collect(name);
            }
            "BundleRelease" => {
                let Some(release) = self.releases.get(name) else { return true };
                let of = &release.spec.object_name;
                let installation = &release.spec.installation.name;
                let foreign = self.object_of(installation).is_some_and(Object::is_foreign);
                assert!(foreign || !self.dirty.contains(installation), "{of}: forgotten while it may be installed");
                let holds =
                    |object: &Object| object.body["spec"]["name"] == installation.as_str() && !object.is_foreign();
                assert!(!self.installations.values().any(holds), "{of}: forgotten before its Installation is gone");
                assert!(
                    self.ours.iter().all(|ours| !ours.is_for(name)),
                    "{of}: forgotten before our AgentActions are gone"
                );
                self.releases.remove(name);
            }
            other => panic!("{other} {name} deleted"),
        }
        true
    }

    fn lift(&mut self, name: &str, version: &str) -> bool {
        let now = self.tick();
        let Some(object) = self.installations.get_mut(name) else { return true };
        if object.version.to_string() != version {
            return false;
        }
        assert!(object.deleting, "{name}: let go of");
        let mut runs = self.runs.iter().filter(|run| run.uid == object.uid && !(self.stale && run.again));
        assert!(runs.all(Run::is_final), "{name}: let go of while it runs");
        (object.held, object.version) = (false, now);
        self.collect(name);
        true
    }

    /// An object that is deleted and has no finalizer is gone, and its AgentActions with it.
    fn collect(&mut self, name: &str) {
        let gone = self.installations.get(name).is_some_and(|o| o.deleting && !o.touched && !o.held);
        if let Some(object) = gone.then(|| self.installations.remove(name)).flatten() {
            let mut runs = self.runs.iter().filter(|run| run.uid == object.uid);
            if runs.any(|run| !run.is_final() && run.conditions.contains(&"Started")) {
                self.jobs.insert(name.to_owned(), object.body["spec"]["name"].as_str().unwrap().to_owned());
            }
            self.runs.retain(|run| run.uid != object.uid);
            if object.is_foreign() {
                self.take_away(&object);
            }
        }
    }

    /// Whoever made an Installation takes away what it installed.
    fn take_away(&mut self, object: &Object) {
        let name = object.body["spec"]["name"].as_str().unwrap();
        self.dirty.remove(name);
        self.porter.remove(name);
    }

    /// Porter carries out a command; `true`: exit code 0.
    fn porter(&mut self, of: &str, args: &[String], doc: Option<&Value>, read: Option<Read>, ends: Ends) -> bool {
        let now = self.tick();
        let read = read.unwrap_or_else(|| self.begins(of, 0, false));
        let given = read.given;
        let has = self.porter.contains_key(of);
        let verb = args.get(1).map(String::as_str);
        if matches!(verb, Some("show" | "logs" | "list")) {
            if ends == Ends::Early && self.evicted < EVICTED {
                self.evicted += 1;
                return false;
            }
            return match verb {
                Some("show") => has,
                Some("logs") => self.porter.get(of).is_some_and(|record| record.last.is_some()),
                _ => true,
            };
        }
        if ends == Ends::Early {
            return false;
        }
        let fail = ends != Ends::Well;
        let (action, n) = match verb {
            Some("apply") => {
                let (record, doc) = (self.porter.get(of).cloned().unwrap_or_default(), doc.unwrap());
                let n = doc["parameters"]["n"].as_i64().unwrap();
                let force = args.iter().any(|arg| arg == "--force");
                let Some(action) = record.decides(doc, given, force) else { return true };
                self.porter.insert(of.to_owned(), record);
                if action != "uninstall" {
                    self.acts(of, read);
                    if given.secret.is_none() {
                        return false;
                    }
                }
                (action, n)
            }
            Some("invoke") if has => {
                assert_eq!(args[3..5], ["--action", "backup"]);
                return !fail;
            }
            Some("uninstall") if has => ("uninstall", 0),
            Some("delete") if has => {
                if self.porter[of].last.is_none_or(|(_, _, action, well)| action != "uninstall" || !well) {
                    return false;
                }
                if matches!(ends, Ends::Well | Ends::Late) {
                    self.porter.remove(of);
                }
                return !fail;
            }
            _ => return false,
        };
        if action == "install" {
            let known = self.releases.values().any(|release| release.spec.installation.name == of)
                || self.object_of(of).is_some_and(Object::is_foreign);
            assert!(known, "{of}: installed, and no release knows");
        }
        let record = self.porter.get_mut(of).unwrap();
        record.last = Some((n, given.parameters, action, !fail));
        match action {
            "uninstall" if !fail => {
                record.uninstalled = now;
                self.dirty.remove(of);
            }
            "uninstall" => {}
            _ => {
                self.dirty.insert(of.to_owned());
                self.took.insert(of.to_owned(), given);
                if !fail && action == "install" {
                    record.installed = now;
                }
            }
        }
        !fail
    }

    /// How the document of a generation ran. What a Job that expired does is no news.
    fn note(&mut self, name: &str, generation: i64, well: bool) {
        let Some(object) = self.object_of(name).filter(|object| object.generation == generation) else {
            return;
        };
        let now = (object.uid.clone(), generation);
        match well {
            true => drop(self.well.insert(name.to_owned(), now)),
            false => drop(self.well.remove(name)),
        }
    }

    /// One step of a command of ours.
    fn operate_ours(&mut self, of: &str, ends: Ends) -> bool {
        let now = self.tick();
        let Some(at) = self.ours.iter().position(|ours| ours.of == of && !ours.is_final()) else { return false };
        self.ours[at].version = now;
        let spec = self.ours[at].action.spec.clone();
        let doc: Option<Value> =
            spec.files.get("installation.yaml").map(|file| serde_json::from_slice(&file.0).unwrap());
        let labels = self.ours[at].action.metadata.labels.as_ref().unwrap();
        let installation = self.releases[&labels[api::RELEASE_LABEL]].spec.installation.name.clone();
        let generation = labels[api::GENERATION_LABEL].parse().unwrap();
        if self.ours[at].conditions.is_empty() {
            self.ours[at].conditions = &["Scheduled", "Started"];
            if doc.as_ref().is_some_and(|doc| doc["uninstalled"] != true) {
                let (asked_at, renews) = (self.ours[at].asked_at, self.ours[at].renews);
                self.ours[at].read = Some(self.begins(&installation, asked_at, renews));
            }
            return true;
        }
        let read = self.ours[at].read;
        let well = self.porter(&installation, &spec.args, doc.as_ref(), read, ends);
        if doc.is_some() {
            self.note(&installation, generation, well);
        }
        self.ours[at].conditions =
            if well { &["Scheduled", "Started", "Completed"] } else { &["Scheduled", "Started", "Failed"] };
        true
    }

    /// One step of the operator with one object: its finalizer, an AgentAction, its beginning, its end.
    fn operate(&mut self, kind: &'static str, name: &str, ends: Ends) -> bool {
        let now = self.tick();
        if self.jobs.remove(name).is_some() || (kind == "Installation" && self.operate_ours(name, ends)) {
            return true;
        }
        if let Some(object) =
            self.installations.get_mut(name).filter(|o| kind == "Installation" && o.deleting && o.touched)
        {
            (object.touched, object.version) = (false, now);
            self.collect(name);
            return true;
        }
        let object = if kind == "Installation" { self.installations.get_mut(name) } else { self.set.as_mut() };
        let Some(object) = object else { return false };
        let uid = object.uid.clone();
        let (deleting, doc) = (object.deleting, object.body["spec"].clone());
        if let Some(at) = self.runs.iter().position(|run| run.uid == uid && !run.is_final()) {
            self.runs[at].version = now;
            let doc = self.runs[at].doc.clone();
            let installation = doc["name"].as_str().unwrap().to_owned();
            if self.runs[at].conditions.is_empty() {
                self.runs[at].conditions = &["Scheduled", "Started"];
                if kind == "Installation" && doc["uninstalled"] != true {
                    self.runs[at].read = Some(self.begins(&installation, self.runs[at].asked_at, false));
                }
                return true;
            }
            let args = ["installation", "apply"].map(str::to_owned);
            let read = self.runs[at].read;
            let well = match kind {
                "Installation" => self.porter(&installation, &args, Some(&doc), read, ends),
                _ => ends == Ends::Well,
            };
            if kind != "Installation" && well {
                let key = doc["credentials"][0]["source"]["secret"].as_str().unwrap();
                self.known_set = key.strip_prefix("token-").map(|n| n.parse().unwrap());
                self.changed_at = self.tick();
            }
            let (generation, again) = (self.runs[at].generation, self.runs[at].again);
            if kind == "Installation" && !again {
                self.note(&installation, generation, well);
            }
            // An old generation that runs again when its Job expires says nothing of this one.
            let current = self.set.as_ref().is_some_and(|set| set.uid == uid && set.generation == generation);
            if kind == "CredentialSet" && well && current {
                self.set_well = Some((uid, generation));
            }
            self.runs[at].conditions =
                if well { &["Scheduled", "Started", "Completed"] } else { &["Scheduled", "Started", "Failed"] };
            return true;
        }
        if deleting {
            return false;
        }
        let object = if kind == "Installation" { self.installations.get_mut(name) } else { self.set.as_mut() };
        let Some(object) = object else { return false };
        if !object.touched {
            object.touched = true;
            object.version = now;
            return true;
        }
        if self.runs.iter().any(|run| run.uid == uid && run.generation == object.generation) {
            return false;
        }
        let installation = doc["name"].as_str().unwrap().to_owned();
        let asked_at = object.asked_at;
        let run = Run {
            name: format!("run-{now}"),
            version: now,
            doc,
            kind,
            of: name.to_owned(),
            uid,
            generation: object.generation,
            at: now,
            conditions: &[],
            again: false,
            asked_at,
            read: None,
        };
        self.runs.push(run);
        self.older_again.remove(&installation);
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
            Event::Order { dependant } => self.dependant = *dependant,
            Event::Rename { name, object } => {
                let (name, object) = (NAMES[*name], OBJECTS[*object]);
                let other = self.objects.iter().find(|(other, of)| *other != name && *of == object);
                // Two that change places, or one that goes where there is room.
                if let Some(other) = other.map(|(other, _)| other.clone()) {
                    let left = self.objects[name].clone();
                    self.objects.insert(other, left);
                }
                self.objects.insert(name.to_owned(), object.to_owned());
            }
            Event::Set { n } => self.set_n = *n,
            // Each time something new: what nobody could see between two equal values is nobody's to run.
            Event::Secret { there } => {
                self.changed_at = self.tick();
                self.secret = there.then_some(self.changed_at);
            }
            Event::Parameters => {
                self.changed_at = self.tick();
                self.parameters = self.changed_at;
            }
            Event::Operator { name, ends } => {
                let (kind, name) = OBJECTS.get(*name).map_or(("CredentialSet", CREDS), |name| ("Installation", name));
                self.operate(kind, name, *ends);
            }
            Event::Vanish { name } => {
                if !self.dirty.contains(NAMES[*name]) {
                    self.meddled.insert(NAMES[*name].to_owned());
                    let gone = self.porter.remove(NAMES[*name]);
                    assert!(gone.is_none_or(|record| !record.is_installed()));
                }
            }
            Event::Foreign { name } => {
                self.meddled.insert(NAMES[*name].to_owned());
                self.make_foreign(NAMES[*name]);
            }
            Event::Expire { action } => {
                self.clock += 1;
                let count = self.runs.len().max(1);
                let expires = |run: &&mut Run| run.is_final() && run.doc["agentConfig"].is_null();
                if let Some(run) = self.runs.get_mut(action % count).filter(expires) {
                    self.expired = true;
                    run.conditions = &[];
                    run.again = true;
                    run.version = self.clock;
                    let (of, generation, name) = (run.of.clone(), run.generation, run.doc["name"].clone());
                    if self.runs.iter().any(|run| run.of == of && run.generation > generation) {
                        self.older_again.insert(name.as_str().unwrap().to_owned());
                    }
                }
            }
            Event::Delete { name } => {
                let now = self.tick();
                if let Some(object) = self.installations.get_mut(OBJECTS[*name]).filter(|object| !object.deleting) {
                    self.meddled.insert(object.body["spec"]["name"].as_str().unwrap().to_owned());
                    (object.deleting, object.version) = (true, now);
                    object.generation += 1;
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
                        self.meddled.insert(object.body["spec"]["name"].as_str().unwrap().to_owned());
                        object.body["spec"]["parameters"]["n"] = json!(n);
                        object.generation += 1;
                        object.version = now;
                    }
                }
            }
            Event::Invoke { name, token } => {
                self.invoke.insert(NAMES[*name].to_owned(), format!("backup@{token}"));
            }
            Event::ForceAll => self.force = Some((self.tick().to_string(), false)),
            Event::Force { name } => {
                let at = self.tick().to_string();
                let mut releases = self.releases.values_mut();
                if let Some(release) = releases.find(|release| release.spec.installation.name == NAMES[*name]) {
                    release.metadata.annotations.get_or_insert_default().insert(api::FORCE_AT.to_owned(), at);
                }
            }
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
        self.installations.insert(place, object);
    }

    /// Whoever made an Installation takes it away, and what it installed.
    fn take_foreign_away(&mut self) {
        let foreign = self.installations.extract_if(.., |_, object| object.is_foreign());
        for (place, object) in foreign.collect::<Vec<_>>() {
            self.runs.retain(|run| run.uid != object.uid);
            self.jobs.remove(&place);
            self.take_away(&object);
        }
    }

    /// Lets the operator end every run well, and the controller reconcile, until nothing happens any more.
    fn settle(&mut self) {
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
            // What failed stops others until its source changes, too.
            let outcome = self.view().plan().outcome;
            if !moved && (!outcome.stopped.is_empty() || !outcome.uninstalling.is_empty()) {
                for n in self.asked.iter_mut().filter(|(name, _)| {
                    outcome.failed.iter().any(|told| told.subject.to_string().ends_with(&format!("/{name}")))
                }) {
                    *n.1 += 1;
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
        1 => (0..3usize, 0..3i64).prop_map(|(name, n)| Event::Edit { name, n }),
        1 => (0..2usize, 0..3u8).prop_map(|(name, token)| Event::Invoke { name, token }),
        1 => Just(Event::ForceAll),
        1 => (0..2usize).prop_map(|name| Event::Force { name }),
        6 => (0..6usize, stale()).prop_map(|(steps, stale)| Event::Reconcile { steps, stale }),
    ]
}

fn ends() -> impl Strategy<Value = Ends> {
    prop_oneof![16 => Just(Ends::Well), 2 => Just(Ends::Badly), 2 => Just(Ends::Early), 1 => Just(Ends::Late)]
}

fn stale() -> impl Strategy<Value = Stale> {
    prop_oneof![7 => Just(Stale::Nothing), 1 => Just(Stale::Runs), 2 => Just(Stale::All)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PLAN_SEQUENCES").ok().and_then(|n| n.parse().ok()).unwrap_or(400), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_newest_spec_ends_applied_and_runs_never_overlap(
        keep_record in any::<bool>(),
        managed in any::<bool>(),
        retries in 0..3i32,
        max_actions in 1..3usize,
        dependant in prop::option::of(0..2usize),
        rollback in any::<bool>(),
        events in prop::collection::vec(event(), 0..80),
    ) {
        let mut model = Model::new();
        model.keep_record = keep_record;
        model.retries = retries;
        model.max_actions = max_actions;
        model.dependant = dependant;
        model.rollback = rollback;
        model.managed = if managed { Agent::Managed } else { Agent::None };
        let mut last = model.view();
        for event in &events {
            model.happens(event, &mut last);
        }
        model.take_foreign_away();
        model.settle();

        for (name, n) in &model.asked {
            let object = &model.installations[&model.objects[name]];
            let spec = Model::as_document(&object.body["spec"]);
            let release = model.releases.values().find(|release| release.spec.installation.name == *name).unwrap();
            prop_assert_eq!(&release.spec.object_name, &model.objects[name]);
            prop_assert_eq!(&release.spec.asked.spec, &Model::spec(name, *n));
            let given_up = release.status.as_ref().is_some_and(|status| status.rolled_back.is_some());
            let stands = release.status.as_ref().and_then(|status| status.succeeded.as_ref());
            let stands = stands.filter(|_| given_up).map_or(&release.spec.asked.spec, |good| &good.spec);
            prop_assert_eq!(&spec, stands);
            prop_assert!(!given_up || rollback);
            prop_assert!(!managed || model.older_again.is_subset(&model.of_others));
            prop_assert!(release.spec.removed.is_none());
            let status = release.status.as_ref().unwrap();
            prop_assert_eq!(status.generation, Some(object.generation));
            prop_assert!(status.runs.len() <= BundleRelease::MAX_RUNS);
            prop_assert!(!status.is_forced(), "{}: {:?}", name, status);
            let asked = release.metadata.annotations.as_ref().and_then(|annotations| annotations.get(api::FORCE_AT));
            let noted = status.force.as_ref().and_then(|force| force.at.as_ref());
            prop_assert_eq!(noted, asked);
            // The operator of the end fails nothing.
            let tried = status.tries(object.generation) >= retries;
            let ended = if given_up { ReleaseState::RolledBack } else { ReleaseState::Succeeded };
            let ran = model.invoke.get(name).map(|value| status.invocations.iter().find(|run| run.invoke == *value));
            let invoke_failed = matches!(ran, Some(Some(run)) if run.result == RunResult::Failed);
            prop_assert!(status.state == Some(ended) || tried || invoke_failed, "{}: {:?}", name, status);
            prop_assert!(ran != Some(None) || status.state != Some(ReleaseState::Succeeded), "{}: {:?}", name, status);
            if status.state == Some(ReleaseState::Succeeded) {
                let record = &model.porter[name];
                prop_assert!(record.is_installed(), "{}: told to be installed: {:?}", name, record);
                if !model.older_again.contains(name) {
                    prop_assert_eq!(record.last.map(|(n, _, _, _)| n), Some(*n));
                }
                // Of what others ran or deleted, a run may be one that nobody saw.
                if !model.expired && !model.meddled.contains(name) {
                    prop_assert_eq!(model.took.get(name), Some(&model.gives(name)), "{}: {:?}", name, status);
                }
            }
        }
        for release in model.releases.values().filter(|r| !model.asked.contains_key(&r.spec.installation.name)) {
            let state = release.status.as_ref().unwrap().state;
            prop_assert!(keep_record && state == Some(ReleaseState::Uninstalled), "{:?}", state);
        }
        for name in NAMES.iter().filter(|name| !model.asked.contains_key(**name)) {
            prop_assert!(!model.dirty.contains(*name), "{} leaks", name);
            prop_assert!(!model.installations.values().any(|object| object.body["spec"]["name"] == *name));
            let record = model.porter.get(*name).filter(|record| record.installed > 0);
            prop_assert!(record.is_none_or(|record| keep_record && record.is_uninstalled()), "{}: {:?}", name, record);
        }
        prop_assert!(model.ours.is_empty());
        let view = model.view();
        prop_assert!(view.plan().is_settled(), "{:?}", view.steps());
        let outcome = view.plan().outcome;
        prop_assert!(outcome.waiting.is_empty() && outcome.refused.is_empty(), "{:?}", outcome);
        prop_assert_eq!(outcome.summary.total as usize, model.asked.len());
    }
}

/// Its object was taken by another installation while its uninstall was yet to begin, so it has one of another name, which
/// is never made: the command alone uninstalls it.
#[test]
fn what_gave_its_object_away_is_uninstalled_by_a_command() {
    let operator = |name| Event::Operator { name, ends: Ends::Well };
    let reconcile = |steps| Event::Reconcile { steps, stale: Stale::Nothing };
    let mut events = vec![reconcile(1), operator(3), operator(3), operator(3)];
    events.extend([Event::Source { name: 0, n: Some(0) }, operator(3), Event::Set { n: 1 }, reconcile(1)]);
    events.extend([operator(3), operator(3), operator(3), Event::Rename { name: 1, object: 0 }, reconcile(3)]);
    events.extend([operator(1), operator(1), Event::Rename { name: 1, object: 1 }]);
    events.extend([Event::Source { name: 0, n: None }, Event::Delete { name: 1 }]);
    events.push(Event::Source { name: 1, n: Some(0) });
    let mut model = Model::new();
    model.max_actions = 1;
    let mut last = model.view();
    for event in &events {
        model.happens(event, &mut last);
    }
    model.settle();
    assert!(model.ours.is_empty());
    let left = model.releases.values().filter(|one| !model.asked.contains_key(&one.spec.installation.name));
    assert_eq!(left.count(), 0);
}
