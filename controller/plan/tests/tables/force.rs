//! What runs again by hand, through forceAt on the sync or on the release: once a value.

use crate::support::*;
use api::{BundleState, ForceStatus, Removed, RetryStatus, RunResult};
use plan::Removal;
use serde_json::Value;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

/// An installation whose run ended so, noted in the ledger.
fn stands(spec: Value, conditions: &[&str]) -> World {
    let world = World::new(vec![desired("mysql", spec.clone())])
        .recorded("mysql", spec.clone(), "main@sha1:1")
        .with_agent("porter-flux", agent_config(once(), true))
        .with_live(
            "mysql",
            live(installation("mysql", spec, 1, true), vec![run_of("mysql", "run-1", 1, 1, conditions)]),
        );
    world.reported()
}

fn by_release(mut world: World, at: &str) -> World {
    let annotations = world.releases[0].metadata.annotations.get_or_insert_default();
    annotations.insert(api::FORCE_AT.to_owned(), at.to_owned());
    world
}

fn by_sync(mut world: World, at: &str, handled: bool) -> World {
    world.force = Some((at.to_owned(), handled));
    world
}

fn with_bundle(mut world: World, bundle: BundleState) -> World {
    world.releases[0].status.as_mut().unwrap().bundle = Some(bundle);
    world
}

/// The command that is planned is there, in such a state.
fn commanded(world: World, at: i64, conditions: &[&str]) -> World {
    let command = planned_command(&world, at, conditions);
    world.reported().with_command(command)
}

fn force(world: &World) -> ForceStatus {
    world.releases[0].status.as_ref().unwrap().force.clone().unwrap()
}

const APPLY: Option<&str> = Some("installation apply installation.yaml");
const FORCE: Option<&str> = Some("installation apply installation.yaml --force");

#[test]
fn each_state_is_run_again_as_porter_takes_it() {
    let up = || spec("mysql", 1);
    let done = || stands(up(), DONE);
    let cases: Vec<(&str, World, Option<&str>)> = vec![
        ("nothing is asked", done(), None),
        ("the release", by_release(done(), "1"), FORCE),
        ("the sync", by_sync(done(), "1", false), FORCE),
        ("both: one run", by_sync(by_release(done(), "1"), "1", false), FORCE),
        ("the sync, before there was this release", by_sync(done(), "1", true), None),
        ("noted, and the controller stopped", by_release(done(), "1").reported(), FORCE),
        (
            "after a failed upgrade, the limit reached",
            by_release(with_bundle(stands(up(), FAILED), BundleState::Installed), "1"),
            FORCE,
        ),
        ("after a failed install", by_release(stands(up(), FAILED), "1"), APPLY),
        ("a document that says uninstalled", by_release(stands(down(), DONE), "1"), APPLY),
        ("while it runs", by_release(stands(up(), RUNS), "1"), None),
        (
            "never run",
            by_release(World::new(vec![desired("mysql", up())]).recorded("mysql", up(), "main@sha1:1"), "1"),
            None,
        ),
        (
            "the document changes",
            {
                let mut world = by_release(done(), "1");
                world.desired.installations[0].spec = spec("mysql", 2);
                world
            },
            None,
        ),
        (
            "the operator has not run the change",
            {
                let mut world = by_release(done(), "1");
                world.live.installations.values_mut().next().unwrap().object.metadata.generation = Some(2);
                world
            },
            None,
        ),
        (
            "it left the source and stays",
            {
                let mut world = by_release(done(), "1");
                world.desired.installations.clear();
                world.releases[0].spec.removed = Some(Removed { revision: "main@sha1:2".into(), prune: false });
                world.removal = Removal::Keep;
                world
            },
            None,
        ),
    ];
    for (what, world, expected) in cases {
        let made: Vec<String> = commands(&world).iter().map(|action| action.spec.args.join(" ")).collect();
        assert_eq!(made.first().map(String::as_str), expected, "{what}: {:?}", world.steps());
        assert!(made.len() <= 1, "{what}");
        // It is in the ledger before it runs.
        let steps = world.steps();
        if expected.is_some() && !what.starts_with("noted") {
            assert!(steps[0].starts_with("report "), "{what}: {steps:?}");
        }
    }
}

#[test]
fn what_left_the_source_is_not_run_when_it_comes_back() {
    let mut world = by_release(stands(spec("mysql", 1), DONE), "1");
    world.releases[0].spec.removed = Some(Removed { revision: "main@sha1:2".into(), prune: false });
    let mut left = world.clone();
    left.desired.installations.clear();
    let mut back = left.reported();
    assert_eq!(force(&back), ForceStatus { at: Some("1".into()), ..ForceStatus::default() });
    back.desired = world.desired;
    back.releases[0].spec.removed = None;
    assert!(commands(&back).is_empty(), "{:?}", back.steps());
}

#[test]
fn a_value_runs_once_and_the_next_one_once_more() {
    let asked = by_release(stands(spec("mysql", 1), DONE), "1");
    let on = commanded(asked, 100, RUNS);
    let due = force(&on).due;
    assert!(due.is_some());
    assert_eq!(on.plan().outcome.summary.running, 1);
    // Another value while it runs: once more, after it.
    let mut both = by_release(on.clone(), "2").reported();
    assert!(commands(&both).is_empty());
    assert_ne!(force(&both).due, due);
    let ends = |world: &mut World| {
        let ended = action(("AgentAction", "none", "none"), "any", 0, 100, DONE).status;
        world.live.ours.values_mut().next().unwrap()[0].status = ended;
        let seen = std::mem::replace(world, World::new(vec![]));
        *world = seen.reported();
        world.live.ours.clear();
    };
    ends(&mut both);
    assert_eq!(commands(&both).len(), 1, "{:?}", both.steps());
    let mut second = commanded(both, 200, RUNS);
    ends(&mut second);
    assert!(commands(&second).is_empty(), "{:?}", second.steps());
    let mut one = on;
    ends(&mut one);
    assert!(commands(&one).is_empty(), "{:?}", one.steps());
    assert_eq!(one.plan().outcome.summary.ready, 1);
    let runs: Vec<_> = second.releases[0].status.as_ref().unwrap().runs.iter().map(|run| run.result).collect();
    assert_eq!(runs, [Some(RunResult::Succeeded); 3]);
}

#[test]
fn by_hand_the_limit_begins_anew() {
    let mut world = with_bundle(stands(spec("mysql", 1), FAILED), BundleState::Installed);
    world.retries = 2;
    world.releases[0].status.as_mut().unwrap().retry = Some(RetryStatus { generation: 1, attempts: 2, forgiven: 0 });
    let told = world.plan().outcome.failed[0].message.clone();
    assert!(commands(&world).is_empty() && told.contains(api::FORCE_AT), "{told}");
    let failed = commanded(by_release(world, "1"), 100, FAILED).reported();
    let status = failed.releases[0].status.as_ref().unwrap();
    assert_eq!(status.retry, Some(RetryStatus { generation: 1, attempts: 3, forgiven: 3 }));
    let mut gone = failed.clone();
    gone.live.ours.clear();
    let names: Vec<_> = commands(&gone).into_iter().map(|action| action.metadata.name.unwrap()).collect();
    assert_eq!(names.len(), 1, "{:?}", gone.steps());
    assert!(status.runs.iter().all(|run| run.action != names[0]), "no name twice");
}
