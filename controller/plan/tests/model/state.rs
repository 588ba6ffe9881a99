//! What stands: the objects of the API server, the operator's runs and ours, Porter's records; and beside them what the
//! checks remember.

use std::collections::{BTreeMap, BTreeSet};

use api::BundleRelease;
use api::porter::AgentAction;
use plan::{Agent, SetRun};
use serde_json::{Value, json};

use crate::porter::{Begun, Command, Given, Record};
use crate::support::*;

pub(crate) const NAMES: [&str; 2] = ["mysql", "redis"];
/// The names that an Installation can have: one is free, so that the two can move by turns, or change places.
pub(crate) const OBJECTS: [&str; 3] = ["mysql", "redis", "other"];

#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) body: Value,
    pub(crate) uid: String,
    pub(crate) created: i64,
    /// When that was seen which its spec was written by.
    pub(crate) asked_at: i64,
    pub(crate) generation: i64,
    pub(crate) version: i64,
    pub(crate) touched: bool,
    /// A finalizer that is not the operator's is on it.
    pub(crate) held: bool,
    pub(crate) deleting: bool,
}

#[derive(Clone)]
pub(crate) struct Ours {
    pub(crate) action: AgentAction,
    /// What it applies.
    pub(crate) document: Option<Value>,
    /// The Installation that it is for.
    pub(crate) of: String,
    /// The installation in Porter.
    pub(crate) installation: String,
    /// The generation of the Installation that it runs.
    pub(crate) generation: i64,
    pub(crate) at: i64,
    pub(crate) version: i64,
    pub(crate) conditions: &'static [&'static str],
    /// When that was seen which it was made by.
    pub(crate) asked_at: i64,
    /// It runs what sets give.
    pub(crate) renews: bool,
    /// What its sets gave when it was made.
    pub(crate) says: Given,
    pub(crate) pod: Option<Pod>,
}

/// What is in the pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pods {
    /// Porter, and whatever begins is held against what may.
    Checked,
    /// Porter, whoever asks it for whatever.
    Porter,
    /// Nothing: they end as they are told.
    Played,
}

/// The Job of an AgentAction, once it began.
#[derive(Clone)]
pub(crate) struct Pod {
    /// The command, in the list of all.
    pub(crate) command: usize,
    pub(crate) begun: Begun,
    /// Its Job is taken away some time after it ended.
    pub(crate) expires: bool,
}

/// What a run read when it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) given: Given,
    /// Nothing of it had changed since the run was asked for, and it is known to have come to a bundle action: where only what
    /// a ParameterSet gives is another, or after a run that failed, Porter may find nothing to do, and what did not run was given
    /// no credentials.
    pub(crate) clean: bool,
    /// It runs for what sets give.
    pub(crate) renews: bool,
    /// The set gave something else since, for a while: the last run may have read that.
    pub(crate) other: bool,
}

#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) asked_at: i64,
    pub(crate) pod: Option<Pod>,
    pub(crate) version: i64,
    pub(crate) doc: Value,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) of: String,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) at: i64,
    pub(crate) conditions: &'static [&'static str],
    /// Its Job expired once: it may begin again without any write of the object, so only a fresh view can know.
    pub(crate) again: bool,
}

impl Ours {
    pub(crate) fn is_for(&self, release: &str) -> bool {
        self.action.metadata.labels.as_ref().unwrap()[api::RELEASE_LABEL] == release
    }

    pub(crate) fn is_final(&self) -> bool {
        self.conditions.iter().any(|condition| matches!(*condition, "Completed" | "Failed"))
    }

    pub(crate) fn seen(&self) -> AgentAction {
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
    pub(crate) fn is_foreign(&self) -> bool {
        self.body["metadata"]["labels"].is_null()
    }
}

impl Run {
    pub(crate) fn is_final(&self) -> bool {
        self.conditions.iter().any(|condition| matches!(*condition, "Completed" | "Failed"))
    }
}

/// The API server and the operator.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) installations: BTreeMap<String, Object>,
    pub(crate) set: Option<Object>,
    pub(crate) runs: Vec<Run>,
    /// Jobs of bundles that outlived their Installation, by its name, with that in Porter.
    pub(crate) jobs: BTreeMap<String, String>,
    pub(crate) releases: BTreeMap<String, BundleRelease>,
    pub(crate) asked: BTreeMap<String, i64>,
    /// The one that depends on the other, where both are asked for.
    pub(crate) dependant: Option<usize>,
    pub(crate) max_actions: usize,
    /// Uid and generation of the Installations whose document ran well last.
    pub(crate) well: BTreeMap<String, (String, i64)>,
    /// The object names that the source asks for, by the names in Porter.
    pub(crate) objects: BTreeMap<String, String>,
    pub(crate) set_n: i64,
    pub(crate) clock: i64,
    pub(crate) stale: bool,
    pub(crate) ours: Vec<Ours>,
    pub(crate) porter: BTreeMap<String, Record>,
    /// Something of the bundle may be there.
    pub(crate) dirty: BTreeSet<String>,
    /// Uninstalled, and not installed since.
    pub(crate) gone: BTreeSet<String>,
    /// The AgentConfigs, and whether the Jobs that they make expire.
    pub(crate) configs: BTreeMap<String, bool>,
    pub(crate) managed: Agent,
    pub(crate) retries: i32,
    pub(crate) rollback: bool,
    pub(crate) keep_record: bool,
    /// Of the sync only what is deleted is looked at.
    pub(crate) suspended: bool,
    /// Installations of which an old generation ran again after the newest, when its Job expired; or of which the newest did, and
    /// failed.
    pub(crate) older_again: BTreeSet<String>,
    /// Installations that somebody else installed first: what ran then is none of ours, and its Jobs expire.
    pub(crate) of_others: BTreeSet<String>,
    /// The custom actions that the source asks for.
    pub(crate) invoke: BTreeMap<String, String>,
    /// Those that were carried out, of each release.
    pub(crate) invoked: BTreeSet<(String, String)>,
    /// The value of forceAt on the sync, and whether it is handled.
    pub(crate) force: Option<(String, bool)>,
    /// What is noted of the runs of the set.
    pub(crate) noted: Option<SetRun>,
    /// The uid and generation of the set that ran well.
    pub(crate) set_well: Option<(String, i64)>,
    /// What was carried out that was asked for by hand, of each release.
    pub(crate) forced: BTreeSet<(String, String)>,
    /// Pods that asked Porter something and were evicted.
    pub(crate) evicted: usize,
    /// What the Secret holds, where there is one.
    pub(crate) secret: Option<i64>,
    /// The sets as Porter knows them: what a parameter set gives, what a credential set names.
    pub(crate) known: BTreeMap<String, i64>,
    /// When any of this changed.
    pub(crate) changed_at: i64,
    /// When that was seen which the controller works by.
    pub(crate) viewed_at: i64,
    /// What the last run of each installation read that came to a bundle action.
    pub(crate) read: BTreeMap<String, Read>,
    /// What the last bundle action of each was given.
    pub(crate) took: BTreeMap<String, Given>,
    /// Installations whose last run read something else than it was made for: what gives one thing, another and the first again
    /// meanwhile is seen only by who looks in between.
    pub(crate) misread: BTreeSet<String>,
    /// Installations that others ran, or deleted.
    pub(crate) meddled: BTreeSet<String>,
    /// Installations that moved before what is asked ran well: which document Porter has, and so what it sees of the new, is
    /// not known.
    pub(crate) unsure: BTreeSet<String>,
    /// A Job expired, and something older ran again.
    pub(crate) expired: bool,
    pub(crate) pods: Pods,
    /// All commands that began.
    pub(crate) log: Vec<Command>,
    /// Of each installation, how often its spec may have been written, and how often it was.
    pub(crate) written: BTreeMap<String, (usize, usize)>,
}

pub(crate) const CREDS: &str = "creds";
pub(crate) const TUNING: &str = "tuning";

impl Model {
    pub(crate) fn new() -> Self {
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
            gone: BTreeSet::new(),
            configs: [("default".to_owned(), true)].into(),
            managed: Agent::None,
            retries: 0,
            rollback: false,
            keep_record: false,
            suspended: false,
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
            known: [(TUNING.to_owned(), 0)].into(),
            changed_at: 0,
            viewed_at: 1,
            read: BTreeMap::new(),
            took: BTreeMap::new(),
            misread: BTreeSet::new(),
            meddled: BTreeSet::new(),
            unsure: BTreeSet::new(),
            expired: false,
            pods: Pods::Checked,
            log: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    pub(crate) fn spec(name: &str, n: i64) -> Value {
        let mut spec = spec(name, n);
        spec["credentialSets"] = json!([CREDS]);
        if name == NAMES[0] {
            spec["parameterSets"] = json!([TUNING]);
        }
        spec
    }

    /// Without the AgentConfig of ours, which changes nothing of what is asked.
    pub(crate) fn as_document(spec: &Value) -> Value {
        let mut spec = spec.clone();
        if spec["agentConfig"]["name"] == api::AGENT_CONFIG {
            spec.as_object_mut().unwrap().remove("agentConfig");
        }
        spec
    }

    /// What an installation depends on.
    pub(crate) fn dependency(&self, name: &str) -> Option<&'static str> {
        let dependant = self.dependant.map(|dependant| NAMES[dependant])?;
        let other = NAMES.into_iter().find(|other| *other != dependant)?;
        (name == dependant && self.asked.contains_key(other)).then_some(other)
    }

    /// The Installation of an installation.
    pub(crate) fn object_of(&self, name: &str) -> Option<&Object> {
        self.installations.values().find(|object| object.body["spec"]["name"] == name)
    }

    pub(crate) fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    /// Server-side apply of the whole of what we own; `true`: that is a new spec.
    pub(crate) fn write(&mut self, kind: &'static str, name: &str, body: &Value) -> bool {
        let (now, asked_at) = (self.tick(), self.viewed_at);
        let held = body["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        let old = if kind == "Installation" { self.installations.get(name).cloned() } else { self.set.clone() };
        let changed = old.as_ref().is_none_or(|old| old.body["spec"] != body["spec"]);
        let new = match old {
            Some(old) => {
                let asked_at = if changed { asked_at } else { old.asked_at };
                let generation = old.generation + i64::from(changed);
                Object { body: body.clone(), asked_at, generation, version: now, held, ..old }
            }
            None => Object {
                body: body.clone(),
                uid: format!("uid-{now}"),
                created: now,
                asked_at,
                generation: 1,
                version: now,
                touched: false,
                held,
                deleting: false,
            },
        };
        if kind == "Installation" {
            self.installations.insert(name.to_owned(), new);
        } else {
            self.set = Some(new);
            self.changed_at = now;
        }
        changed
    }

    /// Deletes an Installation, which its finalizers hold.
    pub(crate) fn mark_deleted(&mut self, name: &str) {
        let now = self.tick();
        if let Some(object) = self.installations.get_mut(name).filter(|object| !object.deleting) {
            (object.deleting, object.version) = (true, now);
            object.generation += 1;
        }
        self.collect(name);
    }

    /// The AgentConfig that an AgentAction runs with, and whether its Job expires. The one that none has is the default.
    pub(crate) fn expires(&self, agent: Option<&str>) -> Option<bool> {
        let named = agent.and_then(|name| self.configs.get(name));
        named.or_else(|| self.configs.get("default")).copied()
    }

    /// An object that is deleted and has no finalizer is gone, and its AgentActions with it.
    pub(crate) fn collect(&mut self, name: &str) {
        let gone = self.installations.get(name).is_some_and(|o| o.deleting && !o.touched && !o.held);
        if let Some(object) = gone.then(|| self.installations.remove(name)).flatten() {
            let acts = |pod: &Pod| matches!(pod.begun, Begun::Acts(..));
            let mut runs = self.runs.iter().filter(|run| run.uid == object.uid && !run.is_final());
            if runs.any(|run| run.pod.as_ref().is_some_and(acts)) {
                self.jobs.insert(name.to_owned(), object.body["spec"]["name"].as_str().unwrap().to_owned());
            }
            self.runs.retain(|run| run.uid != object.uid);
            if object.is_foreign() {
                self.take_away(&object);
            }
        }
    }

    /// Whoever made an Installation takes away what it installed.
    pub(crate) fn take_away(&mut self, object: &Object) {
        let name = object.body["spec"]["name"].as_str().unwrap();
        self.dirty.remove(name);
        self.forgets(name);
    }
}
