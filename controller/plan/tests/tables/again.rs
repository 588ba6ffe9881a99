//! What is run again when a run failed, and when not.

use crate::support::*;
use api::{BundleState, RetryStatus, Run, RunResult};
use jiff::Timestamp;
use plan::Agent;
use serde_json::{Value, json};

const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];
/// When the run of [`failed`] ended, and the pause of the tests.
const ENDED: i64 = 1_767_225_600 + 6;
const PAUSE: i64 = 60;

fn failed(spec: Value, bundle: Option<BundleState>, retries: i32) -> World {
    let mut world = World::new(vec![desired("mysql", spec.clone())]).recorded("mysql", spec.clone(), "main@sha1:1");
    world.retries = retries;
    world = world.with_agent("porter-flux", agent_config(once(), true));
    let runs = vec![run_of("mysql", "run-1", 1, 1, FAILED)];
    world = world.with_live("mysql", live(installation("mysql", spec, 1, true), runs)).reported();
    world.releases[0].status.as_mut().unwrap().bundle = bundle;
    world.now = ENDED + PAUSE;
    world
}

#[test]
fn each_failure_is_tried_as_porter_takes_it() {
    let up = || spec("mysql", 1);
    let installed = Some(BundleState::Installed);
    let attempts = |mut world: World, attempts: i32| {
        world.releases[0].status.as_mut().unwrap().retry = Some(RetryStatus { generation: 1, attempts, forgiven: 0 });
        world
    };
    let at = |mut world: World, now: i64| {
        world.now = now;
        world
    };
    let (apply, force) =
        (Some("installation apply installation.yaml"), Some("installation apply installation.yaml --force"));
    let cases: Vec<(&str, World, Option<&str>)> = vec![
        ("an install", failed(up(), Some(BundleState::Tried), 3), apply),
        ("an upgrade", failed(up(), installed, 3), force),
        ("an uninstall that the document asks for", failed(down(), installed, 3), apply),
        ("an install over a kept record", failed(up(), Some(BundleState::Reinstalling), 3), force),
        ("too early", at(failed(up(), installed, 3), ENDED + PAUSE - 1), None),
        ("the second is as early", attempts(failed(up(), installed, 3), 1), None),
        ("the second in time", at(attempts(failed(up(), installed, 3), 1), ENDED + 2 * PAUSE), force),
        ("none may be", failed(up(), installed, 0), None),
        ("no more may be", at(attempts(failed(up(), installed, 3), 3), ENDED + 100 * PAUSE), None),
        (
            "the tries were of another generation",
            {
                let mut world = failed(up(), installed, 3);
                world.releases[0].status.as_mut().unwrap().retry =
                    Some(RetryStatus { generation: 7, attempts: 3, forgiven: 0 });
                world
            },
            force,
        ),
        (
            "the tries were of an earlier object",
            {
                let mut world = attempts(failed(up(), installed, 3), 3);
                world.releases[0].status.as_mut().unwrap().uid = Some("uid-earlier".into());
                world
            },
            force,
        ),
        (
            "an older generation runs again",
            {
                let mut world = failed(up(), installed, 3);
                let live = world.live.installations.values_mut().next().unwrap();
                live.actions.push(run_of("mysql", "run-0", 0, 0, RUNS));
                world
            },
            None,
        ),
        (
            "the document changes",
            {
                let mut world = failed(up(), installed, 3);
                world.desired.installations[0].spec = spec("mysql", 2);
                world
            },
            None,
        ),
    ];
    for (what, world, expected) in cases {
        let made = commands(&world);
        let told: Vec<String> = made.iter().map(|action| action.spec.args.join(" ")).collect();
        assert_eq!(told.first().map(String::as_str), expected, "{what}: {:?}", world.steps());
        let outcome = world.plan().outcome;
        assert_eq!(outcome.retry_at.is_some(), matches!(what, "too early" | "the second is as early"), "{what}");
        for action in made {
            let config = action.spec.agent_config.map(|config| config.name);
            assert_eq!(config.as_deref(), Some("porter-flux"), "{what}");
            let document: Value = serde_json::from_slice(&action.spec.files["installation.yaml"].0).unwrap();
            assert_eq!(document["parameters"], json!({"n": 1}), "{what}");
        }
    }
}

/// Kept, installed again by force, uninstalled and kept once more: the next Installation is at the same generation.
#[test]
fn a_forced_install_of_an_earlier_object_is_none_of_this_one() {
    for (started, expected) in [(ENDED - 3_600, 1), (ENDED, 0)] {
        let mut world = failed(spec("mysql", 1), None, 0);
        let well = run_of("mysql", "run-2", 1, 1, &["Scheduled", "Started", "Completed"]);
        world.live.installations.values_mut().next().unwrap().actions = vec![well];
        world.releases[0].status.as_mut().unwrap().bundle = Some(BundleState::Uninstalled);
        let mut world = world.reported();
        let force = commands(&world).remove(0);
        assert_eq!(force.spec.args.join(" "), "installation apply installation.yaml --force");
        let time = Some(Timestamp::from_second(started).unwrap().into());
        let forced = Run {
            action: force.metadata.name.unwrap(),
            generation: 1,
            digest: String::new(),
            revision: String::new(),
            started: time.clone(),
            finished: time,
            uninstall: false,
            result: Some(RunResult::Succeeded),
            reason: None,
            log: None,
        };
        world.releases[0].status.as_mut().unwrap().runs.insert(0, forced);
        assert_eq!(commands(&world).len(), expected, "{:?}", world.steps());
    }
}

#[test]
fn what_is_run_again_counts_from_then_on() {
    let ended = |conditions: &[&str]| {
        let mut world = failed(spec("mysql", 1), Some(BundleState::Installed), 1);
        world.agent = Agent::None;
        let command = planned_command(&world, 100, conditions);
        world.with_command(command)
    };
    let on = ended(RUNS).plan().outcome;
    assert!(on.running.len() == 1 && on.failed.is_empty() && on.waiting.is_empty(), "{on:?}");

    let well = ended(&["Scheduled", "Started", "Completed"]);
    let plan = well.plan();
    assert!(plan.outcome.failed.is_empty() && plan.outcome.running.is_empty(), "{:?}", plan.outcome);
    assert!(well.steps().iter().any(|step| step.contains("delete AgentAction/")), "{:?}", well.steps());

    let failed = ended(FAILED);
    let told = failed.plan().outcome.failed[0].message.clone();
    assert!(told.contains("it was tried again as often as it may be (spec.retry.limit is 1)"), "{told}");
    assert!(commands(&failed).is_empty());
    let settled = failed.reported();
    assert_eq!(settled.releases[0].status.as_ref().unwrap().runs.len(), 2);
}

/// As many tries as the ledger holds runs: the operator's run, which is noted as ended, is none that ended just now.
#[test]
fn the_run_of_what_is_asked_is_never_forgotten() {
    let mut world = failed(spec("mysql", 1), Some(BundleState::Installed), 100);
    world.releases[0].status.as_mut().unwrap().retry = Some(RetryStatus { generation: 1, attempts: 0, forgiven: 0 });
    let first = world.releases[0].status.as_ref().unwrap().runs[0].clone();
    for n in 1..=12 {
        world.now = ENDED + 10_000 * n;
        let command = planned_command(&world, 9_000 * n, FAILED);
        world = world.with_command(command).reported();
        world.live.ours.clear();
        let status = world.releases[0].status.as_ref().unwrap();
        assert!(status.runs.len() <= 10 && status.runs.contains(&first), "{n}: {:?}", status.runs);
        assert_eq!(status.retry.as_ref().unwrap().attempts, n as i32);
        assert_eq!(world.clone().reported().releases[0].status, world.releases[0].status, "{n}: nothing is news");
    }
    assert_eq!(world.releases[0].status.as_ref().unwrap().runs.len(), 10, "the newest stay");
}
