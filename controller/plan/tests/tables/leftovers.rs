//! What is told of runs that fail or hang, which AgentActions go because a newer one came, and which AgentConfigs make
//! runs unsafe.

use crate::support::*;
use api::{BundleState, ReleaseState, Removed};
use plan::{Agent, Removal, Why};
use serde_json::json;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

fn settled(generation: i64, runs: Vec<api::porter::AgentAction>) -> World {
    World::new(vec![desired("mysql", spec("mysql", 1))])
        .recorded("mysql", spec("mysql", 1), "main@sha1:0")
        .with_live("mysql", live(installation("mysql", spec("mysql", 1), generation, true), runs))
}

fn run(generation: i64, conditions: &[&str]) -> api::porter::AgentAction {
    run_of("mysql", &format!("run-{generation}"), generation, generation, conditions)
}

impl World {
    fn knows(mut self, action: &str, reason: &str, log: Option<&str>) -> Self {
        let why = Why { reason: reason.into(), log: log.map(str::to_owned) };
        self.live.why.insert((NAMESPACE.into(), action.into()), why);
        self
    }

    fn deleted(&self) -> Vec<String> {
        let is_delete = |step: &&plan::Step| matches!(step.action, plan::Action::Delete(_));
        self.plan().due().filter(is_delete).map(ToString::to_string).collect()
    }
}

#[test]
fn superseded_agent_actions_go_once_there_is_a_newer_one() {
    let gone = |generation: i64| {
        format!("delete AgentAction/apps/run-{generation} of installation apps: dev/mysql: it could run again")
    };
    let bundle = || {
        let mut world = settled(2, vec![run(1, FAILED), run(2, FAILED)]);
        world.live.installations.values_mut().next().unwrap().bundle_job = Some("mysql-install".into());
        world
    };
    let changes = |runs| {
        let mut world = settled(2, runs);
        world.desired.installations = vec![desired("mysql", spec("mysql", 7))];
        world
    };
    let theirs = || {
        let mut world = changes(vec![run(1, DONE), run(2, RUNS)]);
        let object = &mut world.live.installations.values_mut().next().unwrap().object;
        *object = unowned(object.clone());
        world
    };
    let many = || settled(14, (1..=14).map(|generation| run(generation, DONE)).collect());
    for (what, world, deleted) in [
        ("one run", settled(1, vec![run(1, DONE)]), vec![]),
        // It would run beside it, and after it over what it did.
        ("the newest is on", settled(2, vec![run(1, DONE), run(2, RUNS)]), vec![gone(1)]),
        ("the newest is on, and a change waits for it", changes(vec![run(1, DONE), run(2, RUNS)]), vec![gone(1)]),
        ("the newest is on, of what is somebody else's yet", theirs(), vec![]),
        ("the newest has not begun", settled(2, vec![run(1, DONE)]), vec![]),
        ("the newest is over", settled(2, vec![run(1, DONE), run(2, DONE)]), vec![gone(1)]),
        ("the newest failed", settled(2, vec![run(1, DONE), run(2, FAILED)]), vec![gone(1)]),
        ("an old one runs again", settled(3, vec![run(1, RUNS), run(2, DONE), run(3, DONE)]), vec![gone(2)]),
        ("a bundle is on, whose agent was evicted", bundle(), vec![]),
        ("many: some with each plan", many(), (1..=10).map(gone).collect()),
    ] {
        assert_eq!(world.deleted(), deleted, "{what}");
    }
    // Not before what they did is in the ledger.
    let steps = settled(2, vec![run(1, DONE), run(2, DONE)]).steps();
    let place = |begin: &str| steps.iter().position(|step| step.starts_with(begin)).unwrap();
    assert!(place("report") < place("delete"), "{steps:?}");
    // A change that is due comes first.
    let mut changed = settled(2, vec![run(1, DONE), run(2, DONE)]).reported();
    changed.desired.installations = vec![desired("mysql", spec("mysql", 7))];
    assert!(changed.deleted().is_empty());
}

#[test]
fn superseded_agent_actions_of_sets_go_too() {
    let of = ("CredentialSet", "creds", "uid-creds");
    let action =
        |generation: i64, conditions| action(of, &format!("set-{generation}"), generation, generation, conditions);
    for (runs, deleted) in [
        (vec![action(1, DONE), action(2, DONE)], vec!["delete AgentAction/apps/set-1: it could run again".to_owned()]),
        (vec![action(1, DONE), action(2, RUNS)], vec!["delete AgentAction/apps/set-1: it could run again".to_owned()]),
        (vec![action(1, RUNS), action(2, DONE)], vec![]),
        (vec![action(1, DONE)], vec![]),
    ] {
        let mut world = World::new(vec![]);
        world.desired.sets = vec![set("creds", 1)];
        let mut object = set("creds", 1).body;
        object["metadata"] = json!({
            "name": "creds", "namespace": NAMESPACE, "uid": "uid-creds", "generation": 2, "resourceVersion": "7",
            "labels": owner_labels(), "finalizers": ["getporter.org/finalizer"],
        });
        let world = world.with_set("creds", object, runs);
        assert_eq!(world.deleted(), deleted);
    }
}

/// A set that the source dropped and whose deletion takes long.
#[test]
fn superseded_agent_actions_of_sets_that_go_go_too() {
    let of = ("CredentialSet", "creds", "uid-creds");
    let action =
        |generation: i64, conditions| action(of, &format!("set-{generation}"), generation, generation, conditions);
    for (runs, gone) in [
        (vec![action(1, DONE)], 0),
        (vec![action(1, DONE), action(2, RUNS)], 1),
        (vec![action(1, DONE), action(2, FAILED)], 1),
        (vec![action(1, RUNS), action(2, RUNS)], 0),
    ] {
        let mut object = set("creds", 1).body;
        object["metadata"] = json!({
            "name": "creds", "namespace": NAMESPACE, "uid": "uid-creds", "generation": 2, "resourceVersion": "7",
            "deletionTimestamp": "2026-01-01T00:00:00Z", "labels": owner_labels(),
            "finalizers": ["getporter.org/finalizer"],
        });
        let mut world = World::new(vec![]);
        world.removal = Removal::Uninstall;
        let names: Vec<_> = runs.iter().map(|run| run.metadata.name.clone()).collect();
        world.live.dropped.insert(set_id("creds"), plan::LiveSet { object, actions: runs, ran: None });
        let expected = ["delete AgentAction/apps/set-1: it could run again"];
        assert_eq!(world.deleted(), expected[..gone], "{names:?}");
    }
}

#[test]
fn the_reason_of_a_failed_run_is_noted_with_its_failure_and_stays() {
    let told = "the bundle's pod mysql-x: OOMKilled (exit code 137)";
    let world = settled(1, vec![run(1, FAILED)]).knows("run-1", told, Some("last line")).reported();
    let status = world.releases[0].status.clone().unwrap();
    let noted = &status.runs[0];
    assert_eq!((noted.reason.as_deref(), noted.log.as_deref()), (Some(told), Some("last line")));
    assert_eq!(status.message, Some(format!("AgentAction run-1 failed: {told}")));
    assert_eq!(world.plan().outcome.failed[0].message, format!("AgentAction run-1 failed: {told}"));
    // What is known later, or no longer, changes nothing.
    let mut later = world.clone();
    later.live.why.clear();
    assert!(later.plan().is_settled(), "{:?}", later.steps());
    assert!(later.knows("run-1", "other", None).plan().is_settled());
    // A success has none.
    let well = settled(1, vec![run(1, DONE)]).knows("run-1", told, None).reported();
    assert_eq!(well.releases[0].status.as_ref().unwrap().runs[0].reason, None);
}

#[test]
fn what_keeps_a_run_from_getting_on_is_told_while_it_does() {
    let told = "the agent's pod run-1-x: ImagePullBackOff";
    let hangs = settled(1, vec![run(1, RUNS)]).knows("run-1", told, None).reported();
    let message = format!("AgentAction run-1 does not get on: {told}");
    let status = hangs.releases[0].status.clone().unwrap();
    assert_eq!((status.state, status.message), (Some(ReleaseState::Running), Some(message.clone())));
    assert_eq!(hangs.plan().outcome.running[0].message, message);
    // A change that waits for it says so too.
    let mut waits = hangs.clone();
    waits.desired.installations = vec![desired("mysql", spec("mysql", 7))];
    let message = &waits.plan().outcome.waiting[0].message;
    assert_eq!(message, &format!("AgentAction run-1 of generation 1 is not over, and does not get on: {told}"));
    let mut runs = hangs.clone();
    runs.live.why.clear();
    let status = runs.reported().releases[0].status.clone().unwrap();
    assert_eq!(status.message.as_deref(), Some("AgentAction run-1 runs"));
}

#[test]
fn the_reason_of_a_failed_uninstall_is_told() {
    let mut down = spec("mysql", 1);
    down["uninstalled"] = true.into();
    let mut world = World::new(vec![])
        .recorded("mysql", spec("mysql", 1), "main@sha1:0")
        .with_live("mysql", live(installation("mysql", down, 2, true), vec![run(2, FAILED)]))
        .with_agent(api::AGENT_CONFIG, agent_config(once(), true))
        .knows("run-2", "the bundle's pod mysql-x: exit code 3", None);
    world.removal = Removal::Uninstall;
    // Just after the end of the run.
    world.now = 1_767_225_600 + 8;
    let release = &mut world.releases[0];
    release.spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: true });
    let status = release.status.get_or_insert_default();
    status.uninstall.get_or_insert_default();
    status.bundle = Some(BundleState::Installed);
    let world = world.reported();
    let message = world.releases[0].status.as_ref().unwrap().message.clone().unwrap();
    assert!(message.starts_with("its uninstall failed: the bundle's pod mysql-x: exit code 3; "), "{message}");
}

#[test]
fn the_reason_of_a_failed_set_is_told() {
    let mut world = World::new(vec![]);
    world.desired.sets = vec![set("creds", 1)];
    let mut object = set("creds", 1).body;
    object["metadata"] = json!({
        "name": "creds", "namespace": NAMESPACE, "uid": "uid-creds", "generation": 1, "resourceVersion": "7",
        "labels": owner_labels(), "finalizers": ["getporter.org/finalizer"],
    });
    let failed = action(("CredentialSet", "creds", "uid-creds"), "set-1", 1, 1, FAILED);
    let world = world.with_set("creds", object, vec![failed]).knows("set-1", "exit code 1", None);
    assert_eq!(world.plan().outcome.failed[0].message, "AgentAction set-1 failed: exit code 1");
}

#[test]
fn agent_configs_that_make_runs_unsafe_are_told() {
    let config = |spec| Some(agent_config(spec, true));
    let expires = "each run begins again when its Job expires";
    let again = "a failed run begins again up to";
    for (what, named, configs, told) in [
        ("none at all: told elsewhere", None, vec![], None),
        ("safe", None, vec![("default", config(once()))], None),
        (
            "the CRD's default",
            None,
            vec![("default", config(json!({"retryLimit": 0, "ttlSecondsAfterFinished": 600})))],
            Some(vec![expires]),
        ),
        (
            "ten years",
            None,
            vec![("default", config(json!({"retryLimit": 0, "ttlSecondsAfterFinished": 315_360_000})))],
            None,
        ),
        (
            "a second less",
            None,
            vec![("default", config(json!({"retryLimit": 0, "ttlSecondsAfterFinished": 315_359_999})))],
            Some(vec![expires]),
        ),
        (
            "no limit of tries",
            None,
            vec![("default", config(json!({"ttlSecondsAfterFinished": i32::MAX})))],
            Some(vec!["up to 6 times"]),
        ),
        (
            "both",
            None,
            vec![("default", config(json!({"retryLimit": 2, "ttlSecondsAfterFinished": 60})))],
            Some(vec![expires, "up to 2 times"]),
        ),
        (
            "a document's own, laid over the namespace's",
            Some("fast"),
            vec![("default", config(once())), ("fast", config(json!({"retryLimit": 1})))],
            Some(vec![again, "AgentConfig apps/fast"]),
        ),
        (
            "a document's own that mends it",
            Some("fast"),
            vec![("default", config(json!({"retryLimit": 4}))), ("fast", config(once()))],
            None,
        ),
    ] {
        let mut asked = spec("mysql", 1);
        if let Some(name) = named {
            asked["agentConfig"] = json!({"name": name});
        }
        let mut world = World::new(vec![desired("mysql", asked.clone()), desired("redis", asked)]);
        for (name, config) in configs {
            world = world.with_agent(name, config.unwrap());
        }
        let found = world.plan().outcome.unsafe_agents;
        match told {
            None => assert!(found.is_empty(), "{what}: {found:?}"),
            Some(parts) => {
                assert_eq!(found.len(), 1, "{what}: {found:?}");
                assert!(parts.iter().all(|part| found[0].contains(part)), "{what}: {found:?}");
            }
        }
        world.agent = Agent::Managed;
        assert!(world.plan().outcome.unsafe_agents.is_empty(), "{what}");
    }
}
