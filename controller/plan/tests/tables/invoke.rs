//! Custom actions that a document asks for: once a value, after the installation succeeded, beside nothing else.

use crate::support::*;
use api::{BundleState, INVOKE, PURPOSE_LABEL, Removed, RunResult, UninstallStatus};
use plan::{Action, Removal, Why};
use porter::Invoke;
use serde_json::Value;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

fn asks(mut world: World, value: &str) -> World {
    let action = value.split('@').next().unwrap().to_owned();
    world.desired.installations[0].invoke = Some(Invoke { action, value: value.to_owned() });
    world
}

/// An installation whose run ended so.
fn stands(spec: Value, conditions: &[&str]) -> World {
    World::new(vec![desired("mysql", spec.clone())])
        .recorded("mysql", spec.clone(), "main@sha1:1")
        .with_agent("porter-flux", agent_config(once(), true))
        .with_live(
            "mysql",
            live(installation("mysql", spec, 1, true), vec![run_of("mysql", "run-1", 1, 1, conditions)]),
        )
        .reported()
}

/// The command that is planned is there, in such a state.
fn commanded(world: World, conditions: &[&str]) -> World {
    let command = planned_command(&world, 100, conditions);
    world.with_command(command).reported()
}

#[test]
fn it_runs_once_the_installation_succeeded_at_what_is_asked() {
    let up = || spec("mysql", 1);
    let mut down = spec("mysql", 1);
    down["uninstalled"] = true.into();
    let done = || asks(stands(up(), DONE), "backup@1");
    let mut forced = done();
    forced.releases[0].metadata.annotations = Some([(api::FORCE_AT.to_owned(), "1".to_owned())].into());
    let mut changed = done();
    changed.desired.installations[0].spec = spec("mysql", 2);
    let mut left = done();
    left.desired.installations.clear();
    left.releases[0].spec.removed = Some(Removed { revision: "main@sha1:2".into(), prune: true });
    left.removal = Removal::Uninstall;
    let mut reinstalled = done();
    reinstalled.releases[0].status.as_mut().unwrap().bundle = Some(BundleState::Uninstalled);
    for (what, world, purpose) in [
        ("nothing is asked", stands(up(), DONE), None),
        ("succeeded", done(), Some("invoke")),
        ("it runs", asks(stands(up(), RUNS), "backup@1"), None),
        ("failed", asks(stands(up(), FAILED), "backup@1"), None),
        ("uninstalled by its document", asks(stands(down, DONE), "backup@1"), None),
        ("run by hand first", forced, Some("force")),
        ("the document changes", changed, None),
        ("it left the source", left, None),
        ("installed over a kept record first", reinstalled, Some("force")),
    ] {
        let made = commands(&world);
        let purposes: Vec<_> =
            made.iter().map(|made| made.metadata.labels.as_ref().unwrap()[PURPOSE_LABEL].as_str()).collect();
        assert_eq!(purposes, purpose.into_iter().collect::<Vec<_>>(), "{what}: {:?}", world.steps());
    }
    let command = commands(&done()).remove(0);
    assert_eq!(command.spec.args.join(" "), "installation invoke mysql --action backup --namespace dev");
    assert!(command.spec.files.is_empty());
    assert_eq!(command.spec.agent_config.unwrap().name, "porter-flux");
    assert_eq!(done().plan().outcome.summary.running, 1);
}

#[test]
fn its_result_is_noted_and_it_is_not_run_again() {
    for (conditions, result, ready) in [(DONE, RunResult::Succeeded, 1), (FAILED, RunResult::Failed, 0)] {
        let world = commanded(asks(stands(spec("mysql", 1), DONE), "backup@1"), conditions);
        assert!(world.steps().iter().any(|step| step.starts_with("delete AgentAction/")), "{:?}", world.steps());
        // It would run again once its Job expires, in what left and stays as well.
        let mut left = world.clone();
        left.desired.installations.clear();
        left.removal = Removal::Keep;
        assert!(left.steps().iter().any(|step| step.starts_with("delete AgentAction/")), "{:?}", left.steps());
        let mut gone = world;
        gone.live.ours.clear();
        let ran = gone.releases[0].status.as_ref().unwrap().invocations.clone();
        assert_eq!((ran.len(), ran[0].invoke.as_str(), ran[0].result), (1, "backup@1", result));
        assert!(gone.plan().is_settled(), "{:?}", gone.steps());
        let outcome = gone.plan().outcome;
        assert_eq!(outcome.summary.ready, ready);
        for told in &outcome.failed {
            assert!(told.message.contains("the action backup") && told.message.contains(INVOKE), "{}", told.message);
        }
        assert_eq!(outcome.failed.len(), usize::from(ready == 0));
        // Another value, and then the first one again, as when a commit is reverted.
        let mut second = commanded(asks(gone.clone(), "backup@2"), DONE);
        second.live.ours.clear();
        assert_eq!(second.releases[0].status.as_ref().unwrap().invocations.len(), 2);
        assert!(commands(&asks(second, "backup@1")).is_empty());
        let mut without = gone;
        without.desired.installations[0].invoke = None;
        assert_eq!(without.plan().outcome.summary.ready, 1);
    }
}

#[test]
fn why_it_failed_and_which_revision_asked_is_noted_with_its_result() {
    let told = "the bundle's pod mysql-x: exit code 3";
    for (conditions, reason) in [(FAILED, Some(told)), (DONE, None)] {
        let mut asked = asks(stands(spec("mysql", 1), DONE), "backup@1");
        asked.revision = "main@sha1:7".into();
        let command = planned_command(&asked, 100, conditions);
        let name = command.metadata.name.clone().unwrap();
        let mut ended = asked.with_command(command);
        // A later commit asks for the same.
        ended.revision = "main@sha1:8".into();
        ended.live.why.insert((NAMESPACE.into(), name.clone()), Why { reason: told.into(), log: None });
        let ended = ended.reported();
        let noted = &ended.releases[0].status.as_ref().unwrap().invocations[0];
        assert_eq!((noted.reason.as_deref(), noted.revision.as_deref()), (reason, Some("main@sha1:7")));
        let failed: Vec<String> = ended.plan().outcome.failed.into_iter().map(|told| told.message).collect();
        let message = format!(
            "AgentAction {name} failed, which ran the action backup: {told}; it runs again when {INVOKE} has another value than backup@1"
        );
        assert_eq!(failed, reason.map(|_| message).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn nothing_runs_beside_it() {
    let on = commanded(asks(stands(spec("mysql", 1), DONE), "backup@1"), RUNS);
    let mut changed = on.clone();
    changed.desired.installations[0].spec = spec("mysql", 2);
    changed.desired.installations[0].invoke = None;
    let writes = |action: &Action| !matches!(action, Action::ReleaseStatus { .. });
    assert!(!changed.plan().due().any(|step| writes(&step.action)), "{:?}", changed.steps());
    let other = asks(on.clone(), "backup@2");
    assert!(commands(&other).is_empty() && other.plan().outcome.summary.running == 1);
    // What ran is noted, though the source asks for another one by then.
    let mut ended = other;
    let seen = action(("AgentAction", "none", "none"), "any", 0, 100, DONE);
    ended.live.ours.values_mut().next().unwrap()[0].status = seen.status;
    let ended = ended.reported();
    assert_eq!(ended.releases[0].status.as_ref().unwrap().invocations[0].invoke, "backup@1");
    assert_eq!(commands(&ended).len(), 1);
}

#[test]
fn a_value_is_remembered_beyond_those_that_are_listed() {
    let mut world = stands(spec("mysql", 1), DONE);
    for n in 0..13 {
        world = commanded(asks(world, &format!("backup@{n}")), DONE);
        world.live.ours.clear();
    }
    let status = world.releases[0].status.as_ref().unwrap();
    assert_eq!((status.invocations.len(), status.invoked.len()), (10, 3));
    for n in 0..13 {
        let again = asks(world.clone(), &format!("backup@{n}"));
        assert!(commands(&again).is_empty() && again.plan().outcome.summary.ready == 1, "backup@{n}");
    }
    assert_eq!(commands(&asks(world, "backup@13")).len(), 1);
}

#[test]
fn what_comes_back_while_it_is_uninstalled_is_a_new_one() {
    for (bundle, forgotten) in [(None, true), (Some(BundleState::Uninstalled), false)] {
        let mut world = commanded(asks(stands(spec("mysql", 1), DONE), "backup@1"), DONE);
        world.live.ours.clear();
        let status = world.releases[0].status.as_mut().unwrap();
        (status.bundle, status.uninstall) = (bundle, Some(UninstallStatus::default()));
        let status = world.reported().releases[0].status.clone().unwrap();
        assert_eq!(status.invocations.is_empty(), forgotten, "{bundle:?}");
    }
}
