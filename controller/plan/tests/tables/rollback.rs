//! `retry.strategy: Rollback`: when a failed upgrade returns to what ran well, and for how long.

use crate::support::*;
use api::porter::AgentAction;
use api::{BundleState, ReleaseState};
use plan::Action;
use serde_json::{Value, json};

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

/// Parameter 1 ran well at generation 1; what is asked now is at generation 2, and failed.
fn failed(asked: Value) -> World {
    let mut world = upgraded(asked, FAILED);
    world.rollback = true;
    world
}

fn upgraded(asked: Value, conditions: &[&str]) -> World {
    let good = World::new(vec![desired("mysql", spec("mysql", 1))])
        .recorded("mysql", spec("mysql", 1), "main@sha1:good")
        .with_agent("porter-flux", agent_config(once(), true))
        .with_live("mysql", live(installation("mysql", spec("mysql", 1), 1, true), vec![run(1, DONE)]))
        .reported();
    let status = good.releases[0].status.clone();
    let mut world = good;
    world.releases.clear();
    world = world.recorded("mysql", asked.clone(), "main@sha1:bad");
    world.releases[0].status = status;
    world.desired.installations[0].spec = asked.clone();
    let runs = vec![run(1, DONE), run(2, conditions)];
    world.with_live("mysql", live(installation("mysql", asked, 2, true), runs))
}

fn run(generation: i64, conditions: &[&str]) -> AgentAction {
    run_of("mysql", &format!("run-{generation}"), generation, generation, conditions)
}

/// What is written, as soon as the ledger has what is to be noted before.
fn written(world: &World) -> Option<Value> {
    let steps = world.plan().steps;
    steps.into_iter().find_map(|step| match step.action {
        Action::ApplyInstallation(apply) => Some(apply.body["spec"].clone()),
        _ => None,
    })
}

/// Why.
fn reason(world: &World) -> String {
    let steps = world.plan().steps;
    steps.into_iter().find(|step| matches!(step.action, Action::ApplyInstallation(_))).unwrap().reason.to_string()
}

/// It was written, and the operator has run it.
fn returned(world: &World, conditions: &[&str]) -> World {
    let spec = written(world).unwrap();
    // Those before it went when it was over.
    let runs = vec![run(3, conditions)];
    world.clone().with_live("mysql", live(installation("mysql", spec, 3, true), runs))
}

fn state(world: &World) -> ReleaseState {
    world.releases[0].status.as_ref().unwrap().state.unwrap()
}

fn by_hand(mut world: World) -> World {
    world.releases[0].metadata.annotations.get_or_insert_default().insert(api::FORCE_AT.to_owned(), "1".to_owned());
    world
}

fn commands(world: &World) -> Vec<String> {
    let steps = world.plan().steps;
    let commands = steps.into_iter().filter_map(|step| match step.action {
        Action::Run(action) => Some(action.spec.args.join(" ")),
        _ => None,
    });
    commands.collect()
}

#[test]
fn what_ran_well_stands_again_until_the_source_asks_for_something_else() {
    let world = failed(spec("mysql", 2));
    assert!(written(&world).is_none(), "it is in the ledger first: {:?}", world.steps());
    assert!(world.plan().outcome.again);
    let noted = world.reported();
    assert_eq!(written(&noted), Some(spec("mysql", 1)));
    assert_eq!(reason(&noted), "what is asked failed: what ran well before stands again");
    assert_eq!(noted.releases[0].spec.asked.spec, spec("mysql", 2), "what is asked stays in the ledger");

    let on = returned(&noted, RUNS).reported();
    let told = on.plan().outcome.running[0].message.clone();
    assert!(told.contains("main@sha1:bad failed (AgentAction run-2), it returns to main@sha1:good"), "{told}");

    // Why it failed is told as long as it stands.
    let mut why = on;
    let status = why.releases[0].status.as_mut().unwrap();
    status.runs.iter_mut().find(|run| run.action == "run-2").unwrap().reason = Some("no space left".into());
    let told = why.plan().outcome.running[0].message.clone();
    assert!(told.contains("(AgentAction run-2: no space left)"), "{told}");

    let stands = returned(&noted, DONE).reported();
    let outcome = stands.plan().outcome;
    assert!(stands.plan().is_settled(), "{:?}", stands.steps());
    let told = &outcome.rolled_back[0].message;
    assert!(told.contains("main@sha1:bad failed") && told.contains("main@sha1:good stands again"), "{told}");
    assert_eq!((outcome.summary.failed, state(&stands)), (1, ReleaseState::RolledBack));
    assert_eq!(stands.releases[0].status.as_ref().unwrap().revision.as_deref(), Some("main@sha1:good"));
    assert_eq!(stands.releases[0].status.as_ref().unwrap().succeeded.as_ref().unwrap().revision, "main@sha1:good");

    // A hand that puts back what failed.
    let mut edited = stands.clone();
    let live = edited.live.installations.values_mut().next().unwrap();
    live.object = installation("mysql", spec("mysql", 2), 4, true);
    live.actions.push(run(4, FAILED));
    assert_eq!(written(&edited), Some(spec("mysql", 1)));
    assert_eq!(reason(&edited), "differs from what is asked in spec.parameters.n");

    let mut fixed = stands.clone();
    fixed.desired.installations[0].spec = spec("mysql", 3);
    let fixed = fixed.reported();
    assert_eq!(fixed.releases[0].status.as_ref().unwrap().rolled_back, None, "noted before what is asked is");
    assert_eq!(written(&fixed), Some(spec("mysql", 3)));

    let mut back = stands;
    back.desired.installations[0].spec = spec("mysql", 1);
    assert!(written(&back).is_none() && back.steps().iter().any(|step| step.starts_with("record ")));
}

#[test]
fn only_an_upgrade_is_undone_and_after_all_tries() {
    let mut first = failed(spec("mysql", 2));
    first.releases[0].status.as_mut().unwrap().succeeded = None;
    let mut reinstall = failed(spec("mysql", 2));
    reinstall.releases[0].status.as_mut().unwrap().bundle = Some(BundleState::Reinstalling);
    let mut not_asked = failed(spec("mysql", 2));
    not_asked.rollback = false;
    let mut tries = failed(spec("mysql", 2));
    tries.retries = 1;
    let mut down = spec("mysql", 1);
    down["uninstalled"] = true.into();
    for (what, world, undone) in [
        ("an upgrade", failed(spec("mysql", 2)), true),
        ("a first install", first, false),
        ("an install over a kept record", reinstall, false),
        ("an uninstall", failed(down), false),
        ("not asked", not_asked, false),
        ("it is tried again before", tries, false),
        ("it runs", upgraded(spec("mysql", 2), RUNS), false),
    ] {
        let world = world.reported();
        assert_eq!(world.releases[0].status.as_ref().unwrap().rolled_back.is_some(), undone, "{what}");
        assert_eq!(written(&world).is_some(), undone, "{what}: {:?}", world.steps());
    }
}

#[test]
fn a_return_that_fails_is_tried_again_and_told() {
    let noted = failed(spec("mysql", 2)).reported();
    let mut world = returned(&noted, FAILED).reported();
    let told = world.plan().outcome.failed[0].message.clone();
    assert!(
        told.contains("main@sha1:bad failed (AgentAction run-2), and so did the return to main@sha1:good"),
        "{told}"
    );
    assert!(world.plan().is_settled(), "{:?}", world.steps());
    world.retries = 1;
    assert_eq!(commands(&world), ["installation apply installation.yaml --force"]);
    // What it ran is what it returned to.
    let command = planned_command(&world, 100, DONE);
    let run = world.with_command(command).reported().releases[0].status.clone().unwrap().runs[0].clone();
    assert_eq!((run.digest, run.revision), (porter::digest(&spec("mysql", 1)), "main@sha1:good".to_owned()));
}

/// What Porter sees no difference in does not run by itself, although the last run failed.
#[test]
fn a_return_that_porter_would_not_run_is_forced() {
    let mut labelled = spec("mysql", 1);
    labelled["labels"] = json!({"a": "b"});
    let noted = failed(labelled).reported();
    assert_eq!(written(&noted), Some(spec("mysql", 1)));
    assert!(commands(&noted).is_empty());
    let world = returned(&noted, DONE).reported();
    assert_eq!(commands(&world), ["installation apply installation.yaml --force"], "{:?}", world.steps());
    assert!(commands(&returned(&noted, RUNS).reported()).is_empty());
}

#[test]
fn by_hand_what_was_given_up_is_tried_once_more() {
    let noted = failed(spec("mysql", 2)).reported();
    let stands = by_hand(returned(&noted, DONE).reported()).reported();
    assert_eq!(written(&stands), Some(spec("mysql", 2)), "{:?}", stands.steps());
    assert_eq!(reason(&stands), "the source asks for another spec than at main@sha1:good");
    assert!(!stands.releases[0].status.as_ref().unwrap().is_forced(), "its run is the one that is asked for");
    // Before the return is written, nothing else would run it.
    let early = by_hand(noted);
    assert!(written(&early).is_none(), "{:?}", early.steps());
    assert!(written(&early.clone().reported()).is_none());
    assert_eq!(commands(&early.reported()), ["installation apply installation.yaml --force"]);
}

#[test]
fn what_was_given_up_is_forgotten_once_it_is_not_what_it_was() {
    let digest = || failed(spec("mysql", 2)).releases[0].spec.asked.digest.clone();
    for (what, bundle, given_up, good, kept) in [
        ("it stands", BundleState::Installed, digest(), "good".to_owned(), true),
        ("it was uninstalled", BundleState::Uninstalled, digest(), "good".to_owned(), false),
        ("something else is asked", BundleState::Installed, "other".to_owned(), "good".to_owned(), false),
        ("it ran well after all", BundleState::Installed, digest(), digest(), false),
    ] {
        // While it runs nothing is given up anew.
        let mut world = returned(&failed(spec("mysql", 2)).reported(), RUNS);
        let status = world.releases[0].status.as_mut().unwrap();
        status.bundle = Some(bundle);
        status.rolled_back.as_mut().unwrap().digest = given_up;
        status.succeeded.as_mut().unwrap().digest = good;
        let status = world.reported().releases[0].status.clone().unwrap();
        assert_eq!(status.rolled_back.is_some(), kept, "{what}: {status:?}");
    }
}

#[test]
fn no_custom_action_runs_of_what_was_given_up() {
    let invoke = |mut world: World| {
        let invoke = porter::Invoke { action: "backup".into(), value: "backup@1".into() };
        world.desired.installations[0].invoke = Some(invoke);
        commands(&world)
    };
    assert_eq!(invoke(upgraded(spec("mysql", 2), DONE).reported()).len(), 1);
    let stands = returned(&failed(spec("mysql", 2)).reported(), DONE).reported();
    assert!(invoke(stands).is_empty());
}
