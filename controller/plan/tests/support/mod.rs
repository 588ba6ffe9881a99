//! What the tests of the plan are made of: desired and live things in few words.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use api::porter::{AgentAction, Installation, label};
use api::{Adoption, BundleRelease, InstallationId, Percentage, SyncRef};
use jiff::{SignedDuration, Timestamp};
use manifest::{ObjectId, Origin};
use plan::{Agent, Force, Guard, Input, Live, LiveInstallation, LiveSet, Plan, Removal};
use porter::{Desired, DesiredInstallation, DesiredObject};
use serde_json::{Value, json};

pub const NAMESPACE: &str = "apps";

pub fn sync() -> SyncRef {
    SyncRef { name: "shop".into(), namespace: "flux-system".into() }
}

pub fn id(name: &str) -> InstallationId {
    InstallationId { kube_namespace: NAMESPACE.into(), porter_namespace: "dev".into(), name: name.into() }
}

pub fn spec(name: &str, n: i64) -> Value {
    json!({
        "schemaVersion": "1.0.2", "name": name, "namespace": "dev",
        "bundle": {"repository": "example.test/mysql", "version": "0.1.0"},
        "parameters": {"n": n},
    })
}

pub fn desired(name: &str, spec: Value) -> DesiredInstallation {
    DesiredInstallation {
        id: id(name),
        object_name: name.into(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        depends_on: Vec::new(),
        invoke: None,
        spec,
        origin: Origin { file: format!("{name}.yaml").into(), line: 1, document: 0 },
    }
}

pub fn set_id(name: &str) -> ObjectId {
    let (group, kind) = ("getporter.org".into(), "CredentialSet".into());
    ObjectId { group, kind, namespace: NAMESPACE.into(), name: name.into() }
}

pub fn set(name: &str, n: i64) -> DesiredObject {
    DesiredObject {
        id: set_id(name),
        api_version: "getporter.org/v1".into(),
        porter_identity: Some(("dev".into(), name.into())),
        body: json!({
            "apiVersion": "getporter.org/v1", "kind": "CredentialSet",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"schemaVersion": "1.0.1", "name": name, "namespace": "dev",
                     "credentials": [{"name": "token", "source": {"secret": format!("token-{n}")}}]},
        }),
        origin: Origin { file: "sets.yaml".into(), line: 1, document: 0 },
    }
}

pub fn owner_labels() -> Value {
    json!({"flux.getporter.org/name": "shop", "flux.getporter.org/namespace": "flux-system"})
}

/// A live Installation with our labels. `touched`: the operator's finalizer is on it.
pub fn installation(name: &str, spec: Value, generation: i64, touched: bool) -> Installation {
    let mut finalizers = vec![api::FINALIZER];
    finalizers.extend(touched.then_some("getporter.org/finalizer"));
    serde_json::from_value(json!({
        "apiVersion": "getporter.org/v1", "kind": "Installation",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"), "generation": generation,
                     "resourceVersion": format!("{}", generation * 100), "labels": owner_labels(), "finalizers": finalizers,
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    }))
    .unwrap()
}

/// The same as somebody else made it, whom no labels name, and the operator has touched it.
pub fn unowned(mut object: Installation) -> Installation {
    object.metadata.labels = None;
    object.metadata.finalizers = Some(vec!["getporter.org/finalizer".into()]);
    object
}

pub fn live(object: Installation, actions: Vec<AgentAction>) -> LiveInstallation {
    LiveInstallation { object, actions, bundle_job: None }
}

/// The time so many seconds after the beginning.
pub fn at_second(seconds: i64) -> String {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap().to_string()
}

/// An AgentAction that the operator made. `conditions`: `Completed`, `Scheduled=True`, `Failed=False` ...
pub fn action(of: (&str, &str, &str), name: &str, generation: i64, at: i64, conditions: &[&str]) -> AgentAction {
    let (kind, resource, uid) = of;
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|condition| {
            let (type_, status) = condition.split_once('=').unwrap_or((condition, "True"));
            json!({"type": type_, "status": status, "reason": "Job", "message": "", "lastTransitionTime": at_second(at + 5)})
        })
        .collect();
    serde_json::from_value(json!({
        "apiVersion": "getporter.org/v1", "kind": "AgentAction",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "creationTimestamp": at_second(at),
            "labels": {(label::RESOURCE_KIND): kind, (label::RESOURCE_NAME): resource,
                       (label::RESOURCE_GENERATION): generation.to_string()},
            "ownerReferences": [{"apiVersion": "getporter.org/v1", "kind": kind, "name": resource, "uid": uid}],
        },
        "spec": {},
        "status": {"phase": "Succeeded", "conditions": conditions},
    }))
    .unwrap()
}

pub fn run_of(name: &str, run: &str, generation: i64, at: i64, conditions: &[&str]) -> AgentAction {
    action(("Installation", name, &format!("uid-{name}")), run, generation, at, conditions)
}

/// All that a plan is made of, owned.
#[derive(Clone)]
pub struct World {
    pub sync: SyncRef,
    pub revision: String,
    pub desired: Desired,
    pub releases: Vec<BundleRelease>,
    pub live: Live,
    pub inventory: BTreeSet<ObjectId>,
    pub removal: Removal,
    pub adoption: Adoption,
    pub limit: Option<Percentage>,
    pub ask: bool,
    pub confirmed: bool,
    pub pruned: BTreeSet<String>,
    pub keep_record: bool,
    pub max_actions: usize,
    pub agent: Agent,
    pub retries: i32,
    pub rollback: bool,
    /// How soon what failed is tried again, in seconds.
    pub retry: i64,
    /// The value of forceAt on the sync, and whether it is handled.
    pub force: Option<(String, bool)>,
    pub now: i64,
}

impl World {
    pub fn new(installations: Vec<DesiredInstallation>) -> Self {
        Self {
            sync: sync(),
            revision: "main@sha1:1".into(),
            desired: Desired { installations, ..Desired::default() },
            releases: Vec::new(),
            live: Live::default(),
            inventory: BTreeSet::new(),
            removal: Removal::Keep,
            adoption: Adoption::IfUnowned,
            limit: None,
            ask: false,
            confirmed: false,
            pruned: BTreeSet::new(),
            keep_record: false,
            max_actions: usize::MAX,
            agent: Agent::None,
            retries: 0,
            rollback: false,
            retry: 60,
            force: None,
            now: 1_800_000_000,
        }
    }

    pub fn plan(&self) -> Plan {
        plan::plan(&Input {
            sync: &self.sync,
            revision: &self.revision,
            origin_revision: None,
            desired: &self.desired,
            releases: &self.releases,
            live: &self.live,
            inventory: &self.inventory,
            removal: self.removal,
            adoption: self.adoption,
            guard: Guard {
                limit: self.limit,
                ask: self.ask,
                confirmed: self.confirmed,
                confirmation: &self.revision,
                pruned: &self.pruned,
            },
            keep_record: self.keep_record,
            max_actions: self.max_actions,
            agent: self.agent,
            retries: self.retries,
            rollback: self.rollback,
            force: self.force.as_ref().map(|(at, handled)| Force { at, handled: *handled }),
            retry: SignedDuration::from_secs(self.retry),
            now: Timestamp::from_second(self.now).unwrap(),
        })
    }

    pub fn steps(&self) -> Vec<String> {
        self.plan().steps.iter().map(ToString::to_string).collect()
    }

    pub fn with_live(mut self, name: &str, live: LiveInstallation) -> Self {
        self.live.installations.insert((NAMESPACE.into(), name.into()), live);
        self
    }

    pub fn with_set(mut self, name: &str, object: Value, actions: Vec<AgentAction>) -> Self {
        self.live.sets.insert(set_id(name), LiveSet { object, actions, ran: None });
        self
    }

    /// As if `spec` had been recorded at `revision`.
    pub fn recorded(mut self, name: &str, spec: Value, revision: &str) -> Self {
        let mut other = World::new(vec![desired(name, spec)]);
        other.revision = revision.into();
        other.sync = self.sync.clone();
        other.live.inputs = self.live.inputs.clone();
        let release = other.plan().steps.iter().find_map(|step| match &step.action {
            plan::Action::RecordRelease(record) => Some((*record.release).clone()),
            _ => None,
        });
        let mut release = release.unwrap();
        release.metadata.generation = Some(1);
        self.releases.push(release);
        self
    }

    /// An AgentAction of ours for the first release is there, and no other.
    pub fn with_command(mut self, command: AgentAction) -> Self {
        let release = self.releases[0].metadata.name.clone().unwrap();
        self.live.ours.insert((NAMESPACE.into(), release), vec![command]);
        self
    }

    /// Writes the status that the plan asks for, until it asks for none.
    pub fn reported(mut self) -> Self {
        for _ in 0..3 {
            for step in self.plan().steps {
                if let plan::Action::ReleaseStatus { name, status, .. } = step.action {
                    let release =
                        self.releases.iter_mut().find(|release| release.metadata.name.as_ref() == Some(&name));
                    release.unwrap().status = Some(*status);
                }
            }
        }
        self
    }
}

/// An AgentConfig that the operator has taken in, or not.
pub fn agent_config(spec: Value, ready: bool) -> Value {
    json!({
        "metadata": {"generation": 1, "resourceVersion": "7", "uid": "uid-agent"}, "spec": spec,
        "status": {"ready": ready, "observedGeneration": 1},
    })
}

/// What an AgentConfig of ours holds.
pub fn once() -> Value {
    json!({"retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX})
}

impl World {
    pub fn with_agent(mut self, name: &str, config: Value) -> Self {
        self.live.agents.insert((NAMESPACE.into(), name.into()), config);
        self
    }
}

/// A document that asks for an uninstall.
pub fn down() -> Value {
    let mut spec = spec("mysql", 1);
    spec["uninstalled"] = true.into();
    spec
}

/// The first AgentAction of ours that is planned, as it is once it was made at that second.
pub fn planned_command(world: &World, at: i64, conditions: &[&str]) -> AgentAction {
    let mut command = commands(world).remove(0);
    let seen = action(("AgentAction", "none", "none"), "any", 0, at, conditions);
    command.metadata.creation_timestamp = seen.metadata.creation_timestamp;
    command.metadata.uid = Some("uid-command".into());
    command.status = seen.status;
    command
}

/// The AgentActions of ours that are planned.
pub fn commands(world: &World) -> Vec<AgentAction> {
    let steps = world.plan().steps;
    let commands = steps.into_iter().filter_map(|step| match step.action {
        plan::Action::Run(action) => Some(*action),
        _ => None,
    });
    commands.collect()
}
