//! What the controller sees of what stands.

use std::collections::{BTreeMap, BTreeSet};

use api::porter::AgentAction;
use manifest::ObjectId;
use plan::{InputSet, Live, LiveSet, Remains, Removal, SetKind, SetName};
use porter::{Desired, Invoke};
use serde_json::{Value, json};

use crate::state::{CREDS, Model, Object, TUNING};
use crate::support::*;

impl Model {
    pub(crate) fn inputs(&self) -> BTreeMap<SetName, InputSet> {
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
            digest: format!("secrets:key:{}", self.known[TUNING]),
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

    pub(crate) fn view(&self) -> World {
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
        if self.configs.contains_key(api::AGENT_CONFIG) {
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
        if self.suspended {
            world.desired = Desired::default();
            world.removal = Removal::Suspended;
        }
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
}
