//! What stands before a bundle action of ours begins, and what is run again of it: sets, AgentActions of the source, and the
//! AgentConfigs that they run with.

use crate::support::*;
use api::BundleState;
use api::porter::AgentAction;
use manifest::{ObjectId, Origin};
use plan::{Action, Agent, InputSet, LiveObject, LiveSet, Plan, SetKind, SetName, SetRun};
use porter::{DesiredObject, Invoke};
use serde_json::{Value, json};

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];
/// When the run of [`set_run`] ended, and the pause of the tests.
const ENDED: i64 = 1_767_225_600 + 6;
const PAUSE: i64 = 60;

fn asked() -> Value {
    let mut asked = spec("mysql", 1);
    asked["credentialSets"] = json!(["creds"]);
    asked
}

fn set_object(n: i64) -> Value {
    let mut object = set("creds", n).body;
    object["metadata"]["labels"] = owner_labels();
    object["metadata"]["uid"] = json!("uid-creds");
    object["metadata"]["generation"] = json!(1);
    object["metadata"]["finalizers"] = json!(["getporter.org/finalizer"]);
    object
}

fn set_run(name: &str, conditions: &[&str]) -> AgentAction {
    action(("CredentialSet", "creds", "uid-creds"), name, 1, 1, conditions)
}

/// An installation whose run ended so, and the set that it names, which stands as it is asked.
fn stands(conditions: &[&str]) -> World {
    stands_as(World::new(vec![desired("mysql", asked())]), conditions)
}

fn stands_as(world: World, conditions: &[&str]) -> World {
    let asked = world.desired.installations[0].spec.clone();
    let runs = vec![run_of("mysql", "run-1", 1, 1, conditions)];
    let mut world = world
        .recorded("mysql", asked.clone(), "main@sha1:1")
        .with_agent("porter-flux", agent_config(once(), true))
        .with_live("mysql", live(installation("mysql", asked, 1, true), runs))
        .with_set("creds", set_object(1), vec![set_run("set-1", DONE)]);
    world.desired.sets = vec![set("creds", 1)];
    world.retries = 3;
    world.reported()
}

/// A set of somebody's, which has run well, gives this.
fn tuned(mut world: World, digest: &str) -> World {
    let (kind, name) = (SetKind::Parameters, "tuning".to_owned());
    let id = ObjectId { kind: kind.kind().into(), name: name.clone(), ..set_id("creds") };
    let metadata = json!({"name": name, "namespace": NAMESPACE, "uid": "uid-tuning", "generation": 1,
                          "finalizers": ["getporter.org/finalizer"]});
    let runs = vec![action((kind.kind(), &name, "uid-tuning"), "tuning-1", 1, 1, DONE)];
    let live = LiveSet { object: json!({"kind": id.kind, "metadata": metadata}), actions: runs, ran: None };
    let input = InputSet {
        id,
        live,
        digest: format!("sets:key:{digest}"),
        secrets: std::collections::BTreeSet::new(),
        faults: Vec::new(),
    };
    let set = SetName { kube_namespace: NAMESPACE.into(), kind, porter_namespace: "dev".into(), name };
    world.live.inputs.get_or_insert_default().insert(set, input);
    world
}

fn told(plan: &Plan) -> String {
    let outcome = &plan.outcome;
    let installation = |told: &&plan::Told| told.subject.to_string().starts_with("installation");
    let all = [&outcome.running, &outcome.failed, &outcome.waiting];
    all.into_iter().flatten().filter(installation).map(|told| told.message.clone()).collect()
}

#[test]
fn no_command_of_ours_begins_before_what_it_reads_stands() {
    let retried = || {
        let mut world = stands(FAILED);
        world.releases[0].status.as_mut().unwrap().bundle = Some(BundleState::Installed);
        world
    };
    let forced = || {
        let mut world = stands(DONE);
        world.releases[0].metadata.annotations = Some([(api::FORCE_AT.to_owned(), "1".to_owned())].into());
        world
    };
    let invoked = || {
        let mut world = stands(DONE);
        world.desired.installations[0].invoke = Some(Invoke { action: "backup".into(), value: "backup@1".into() });
        world
    };
    let reinstalled = || {
        let mut world = stands(DONE);
        world.releases[0].status.as_mut().unwrap().bundle = Some(BundleState::Uninstalled);
        world
    };
    let renewed = || {
        let mut asked = asked();
        asked["parameterSets"] = json!(["tuning"]);
        tuned(stands_as(tuned(World::new(vec![desired("mysql", asked)]), "1"), DONE), "2")
    };
    for (what, world) in [
        ("retried", retried()),
        ("forced", forced()),
        ("renewed", renewed()),
        ("invoked", invoked()),
        ("reinstalled", reinstalled()),
    ] {
        assert_eq!(commands(&world).len(), 1, "{what}: {:?}", world.steps());
        let with = |object: Value, runs: Vec<AgentAction>| {
            let mut world = world.clone().with_set("creds", object, runs);
            world.retries = 1;
            world
        };
        let mut agent = world.clone();
        agent.live.agents.insert((NAMESPACE.into(), "porter-flux".into()), agent_config(once(), false));
        let mut foreign = world.clone();
        let secret = secret_of_another(&mut foreign);
        for (why, world, part) in [
            ("the set is to be written", with(set_object(0), vec![set_run("set-1", DONE)]), "is not applied yet"),
            (
                "its run is on",
                with(set_object(1), vec![set_run("set-1", RUNS)]),
                "set-1 of CredentialSet/apps/creds is not over",
            ),
            ("it has not begun", with(set_object(1), vec![]), "has not run CredentialSet/apps/creds yet"),
            ("it failed", with(set_object(1), vec![set_run("set-1", FAILED)]), "CredentialSet/apps/creds"),
            ("the AgentConfig is not ready", agent, "AgentConfig apps/porter-flux is not ready"),
            ("a Secret may not be written", foreign, secret.as_str()),
        ] {
            let plan = world.plan();
            assert!(commands(&world).is_empty(), "{what}, {why}: {:?}", world.steps());
            assert!(told(&plan).contains(part), "{what}, {why}: {}", told(&plan));
            // Nothing is noted of what does not begin.
            let status = world.reported().releases[0].status.clone().unwrap();
            assert_ne!(status.bundle, Some(BundleState::Reinstalling), "{what}, {why}");
        }
    }
}

fn secret_of_another(world: &mut World) -> String {
    let id =
        ObjectId { group: String::new(), kind: "Secret".into(), namespace: NAMESPACE.into(), name: "token".into() };
    let metadata = json!({"name": "token", "namespace": NAMESPACE});
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}});
    let mut object = body.clone();
    object["metadata"]["labels"] =
        json!({"flux.getporter.org/name": "other", "flux.getporter.org/namespace": "flux-system"});
    let origin = Origin { file: "token.yaml".into(), line: 1, document: 0 };
    let asked = DesiredObject { id: id.clone(), api_version: "v1".into(), porter_identity: None, body, origin };
    world.desired.objects.push(asked);
    world.live.objects.insert(id.clone(), LiveObject { object });
    format!("{id} may not be applied")
}

/// That something of an install by force is there is known from its AgentAction on.
#[test]
fn an_install_by_force_is_noted_with_its_agent_action() {
    let mut world = stands(DONE);
    world.releases[0].status.as_mut().unwrap().bundle = Some(BundleState::Uninstalled);
    let bundle = |world: &World| world.releases[0].status.as_ref().unwrap().bundle;
    let before = world.clone().reported();
    assert_eq!(bundle(&before), Some(BundleState::Uninstalled), "{:?}", before.steps());
    for (conditions, expected) in
        [(RUNS, BundleState::Reinstalling), (FAILED, BundleState::Reinstalling), (DONE, BundleState::Installed)]
    {
        let command = planned_command(&world, 100, conditions);
        let seen = world.clone().with_command(command).reported();
        assert_eq!(bundle(&seen), Some(expected), "{conditions:?}");
    }
}

/// A set as it stands, its noted run and what is done.
struct Sets {
    world: World,
}

impl Sets {
    fn new(limit: i32, run: AgentAction) -> Self {
        let mut world = World::new(vec![]).with_set("creds", set_object(1), vec![run]);
        world.desired.sets = vec![set("creds", 1)];
        world.retries = limit;
        world.now = ENDED + PAUSE;
        Self { world }
    }

    fn live(&mut self) -> &mut plan::LiveSet {
        self.world.live.sets.get_mut(&set_id("creds")).unwrap()
    }

    fn runs(&mut self, run: Option<AgentAction>) {
        self.live().actions = run.into_iter().collect();
    }

    /// What is planned is noted; the AgentActions that it deletes.
    fn plans(&mut self) -> Vec<String> {
        let plan = self.world.plan();
        assert!(plan.outcome.ran.len() <= 1);
        self.live().ran = plan.outcome.ran.first().cloned();
        let deleted = plan.steps.iter().filter_map(|step| match &step.action {
            Action::Delete(delete) => Some(delete.id.name.clone()),
            _ => None,
        });
        deleted.collect()
    }

    fn noted(&mut self) -> SetRun {
        self.live().ran.clone().unwrap()
    }
}

#[test]
fn a_set_that_failed_is_run_again_within_the_limit() {
    let mut sets = Sets::new(2, set_run("set-1", FAILED));
    sets.world.now -= 1;
    assert!(sets.plans().is_empty(), "too early");
    let plan = sets.world.plan();
    assert!(plan.outcome.retry_at.is_some() && plan.outcome.failed[0].message.contains("it is tried again at"));
    sets.world.now += 1;
    assert!(sets.plans().is_empty(), "it is noted first");
    assert!(sets.world.plan().outcome.failed.is_empty());
    assert_eq!((sets.noted().retries, sets.noted().again.as_deref()), (1, Some("set-1")));
    assert!(sets.world.steps().iter().any(|step| step.ends_with("its run failed")), "{:?}", sets.world.steps());
    // The deletion fails, or the controller stops before it: once more, and no other try.
    for _ in 0..2 {
        assert_eq!(sets.plans(), ["set-1"]);
        assert_eq!(sets.noted().retries, 1);
    }
    sets.runs(None);
    assert!(sets.plans().is_empty());
    sets.runs(Some(set_run("set-2", RUNS)));
    assert!(sets.plans().is_empty());
    assert_eq!((sets.noted().retries, sets.noted().again), (1, None));
    // It fails again: twice as late.
    sets.runs(Some(set_run("set-2", FAILED)));
    assert!(sets.plans().is_empty());
    assert_eq!(sets.noted().again, None, "too early");
    sets.world.now = ENDED + 2 * PAUSE;
    assert!(sets.plans().is_empty());
    assert_eq!(sets.plans(), ["set-2"]);
    sets.runs(Some(set_run("set-3", FAILED)));
    sets.world.now = ENDED + 100 * PAUSE;
    for _ in 0..2 {
        assert!(sets.plans().is_empty());
    }
    let message = sets.world.plan().outcome.failed[0].message.clone();
    assert!(message.contains("it was tried again as often as it may be (spec.retry.limit is 2)"), "{message}");
    assert!(message.contains(api::FORCE_AT), "{message}");
    // By hand, and the limit begins anew.
    sets.world.force = Some(("1".into(), false));
    assert!(sets.plans().is_empty());
    sets.world.force = Some(("1".into(), true));
    assert!(sets.world.steps().iter().any(|step| step.ends_with("forceAt asks for it")), "{:?}", sets.world.steps());
    assert_eq!(sets.plans(), ["set-3"]);
    assert_eq!(sets.noted().retries, 0);
    sets.runs(Some(set_run("set-4", DONE)));
    assert!(sets.plans().is_empty());
    let noted = sets.noted();
    assert!(!noted.awaited && noted.again.is_none());
    assert!(sets.world.plan().is_settled() && !sets.world.plan().outcome.again);
    // A later run of it, when the Job expires, changes nothing.
    sets.runs(Some(set_run("set-4", FAILED)));
    assert!(sets.plans().is_empty());
    assert_eq!(sets.noted(), noted);
    // Another generation has tries of its own.
    sets.live().object["metadata"]["generation"] = json!(2);
    let mut run = set_run("set-5", FAILED);
    run.metadata.labels.as_mut().unwrap().insert(api::porter::label::RESOURCE_GENERATION.into(), "2".into());
    sets.runs(Some(run));
    assert!(sets.plans().is_empty());
    assert_eq!((sets.noted().retries, sets.noted().again.as_deref()), (1, Some("set-5")));
}

#[test]
fn without_retries_a_failed_set_stays_so() {
    let mut sets = Sets::new(0, set_run("set-1", FAILED));
    for _ in 0..2 {
        let plan = sets.world.plan();
        assert!(plan.is_settled() && !plan.outcome.again && plan.outcome.retry_at.is_none());
        assert!(sets.plans().is_empty());
    }
}

#[test]
fn by_hand_a_set_runs_once_a_value() {
    for (what, conditions, again) in [
        ("it ran well", DONE, true),
        ("it failed", FAILED, true),
        ("its run is on", RUNS, true),
        ("none yet", &[], false),
    ] {
        let run = set_run("set-1", conditions);
        let mut sets = Sets::new(0, run.clone());
        sets.runs((what != "none yet").then_some(run));
        sets.plans();
        sets.world.force = Some(("1".into(), false));
        assert!(sets.plans().is_empty(), "{what}: it is noted first");
        // Beside one that is on: after it.
        assert!(conditions != RUNS || sets.plans().is_empty(), "{what}");
        if again {
            sets.runs(Some(set_run("set-1", if conditions == RUNS { DONE } else { conditions })));
            assert_eq!(sets.plans(), ["set-1"], "{what}");
        }
        sets.runs(Some(set_run("set-2", DONE)));
        for handled in [false, true, true] {
            // A step of something else failed, so the value is not handled.
            sets.world.force = Some(("1".into(), handled));
            assert!(sets.plans().is_empty(), "{what}");
        }
        assert!(!sets.noted().awaited && sets.noted().forced_at.as_deref() == Some("1"), "{what}");
        assert!(sets.world.plan().is_settled(), "{what}");
    }
    // What is new since the value was handled has nothing to run again.
    let mut sets = Sets::new(0, set_run("set-1", DONE));
    sets.world.force = Some(("1".into(), true));
    assert!(sets.plans().is_empty() && sets.plans().is_empty());
}

/// What an installation waits for that is asked for by hand with its set.
#[test]
fn by_hand_an_installation_runs_after_its_set() {
    let mut world = stands(DONE);
    world.force = Some(("1".into(), false));
    let plan = world.plan();
    assert!(commands(&world).is_empty(), "{:?}", world.steps());
    world.live.sets.get_mut(&set_id("creds")).unwrap().ran = plan.outcome.ran.first().cloned();
    let mut world = world.reported();
    assert!(world.releases[0].status.as_ref().unwrap().is_forced());
    world.force = Some(("1".into(), true));
    assert!(commands(&world).is_empty(), "{:?}", world.steps());
    let set = world.live.sets.get_mut(&set_id("creds")).unwrap();
    set.actions = vec![set_run("set-2", DONE)];
    assert_eq!(commands(&world).len(), 1, "{:?}", world.steps());
}

fn agent_action(config: Option<&str>) -> DesiredObject {
    let (kind, namespace, name): (String, String, String) = ("AgentAction".into(), NAMESPACE.into(), "tidy".into());
    let mut spec = json!({"args": ["bundles", "list"]});
    if let Some(config) = config {
        spec["agentConfig"] = json!({"name": config});
    }
    let metadata = json!({"name": name, "namespace": namespace});
    DesiredObject {
        id: ObjectId { group: "getporter.org".into(), kind: kind.clone(), namespace, name },
        api_version: "getporter.org/v1".into(),
        porter_identity: None,
        body: json!({"apiVersion": "getporter.org/v1", "kind": kind, "metadata": metadata, "spec": spec}),
        origin: Origin { file: "tidy.yaml".into(), line: 1, document: 0 },
    }
}

#[test]
fn an_agent_action_of_the_source_runs_once_too() {
    let world = |config: Option<&str>, agent| {
        let mut world = World::new(vec![]);
        world.desired.objects = vec![agent_action(config)];
        world.agent = agent;
        world
    };
    let ready = |world: World| {
        let world = world.with_agent("default", agent_config(json!({}), true));
        world.with_agent("porter-flux", agent_config(once(), true))
    };
    let written = |world: &World| -> Vec<Value> {
        let due = world.plan().steps.into_iter().filter(plan::Step::is_due);
        let applies = due.filter_map(|step| match step.action {
            Action::ApplyObject(apply) => Some(apply.body["spec"]["agentConfig"]["name"].clone()),
            _ => None,
        });
        applies.collect()
    };
    let without = world(None, Agent::Managed);
    assert!(written(&without).is_empty(), "{:?}", without.steps());
    assert!(without.plan().outcome.waiting[0].message.contains("there is no AgentConfig apps/default"));
    assert_eq!(written(&ready(world(None, Agent::Managed))), ["porter-flux"]);
    assert_eq!(written(&ready(world(None, Agent::None))), [Value::Null]);
    let named = ready(world(Some("fast"), Agent::Managed)).with_agent("fast", agent_config(json!({}), true));
    assert!(written(&named).is_empty(), "{:?}", named.steps());
    let named = named.with_agent("porter-flux-fast", agent_config(once(), true));
    assert_eq!(written(&named), ["porter-flux-fast"]);
    // Whichever it stands there with is as asked.
    for name in [None, Some("porter-flux")] {
        let mut world = ready(world(None, Agent::Managed));
        let mut object = agent_action(name).body;
        object["metadata"]["labels"] = owner_labels();
        let id = world.desired.objects[0].id.clone();
        world.live.objects.insert(id, LiveObject { object });
        assert!(world.plan().is_settled(), "{:?}", world.steps());
    }
    // With agent: None it is told that it runs again.
    let unsafe_one = world(None, Agent::None)
        .with_agent("default", agent_config(json!({"ttlSecondsAfterFinished": 600, "retryLimit": 0}), true));
    assert_eq!(unsafe_one.plan().outcome.unsafe_agents.len(), 1);
}
