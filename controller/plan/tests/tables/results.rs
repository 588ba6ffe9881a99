//! What AgentActions of ours came to: what is noted of each, and which of them go after that.

use crate::support::*;
use api::porter::AgentAction;
use api::{BundleState, ReleaseState, Removed, Run, RunResult, UninstallStatus};
use plan::Removal;
use serde_json::{Value, json};

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

/// An installation whose run failed at this generation, and what Porter has of it.
fn failed(spec: Value, generation: i64, bundle: BundleState) -> World {
    let runs = vec![run_of("mysql", "run-1", generation, 1, FAILED)];
    let mut world = World::new(vec![desired("mysql", spec.clone())])
        .recorded("mysql", spec.clone(), "main@sha1:1")
        .with_agent("porter-flux", agent_config(once(), true))
        .with_live("mysql", live(installation("mysql", spec, generation, true), runs))
        .reported();
    world.retries = 1;
    world.releases[0].status.as_mut().unwrap().bundle = Some(bundle);
    world
}

fn deleted(world: &World) -> Vec<String> {
    world.steps().into_iter().filter(|step| step.starts_with("delete AgentAction/")).collect()
}

#[test]
fn what_ran_a_document_is_noted_as_what_that_says() {
    let up = || spec("mysql", 1);
    use BundleState::{Installed, Reinstalling, Tried, Uninstalled};
    for (what, spec, before, conditions, after) in [
        ("an install", up(), Tried, DONE, Installed),
        ("an install that fails", up(), Tried, FAILED, Tried),
        ("an upgrade", up(), Installed, DONE, Installed),
        ("an upgrade that fails", up(), Installed, FAILED, Installed),
        ("over a kept record", up(), Reinstalling, DONE, Installed),
        ("over a kept record, which fails", up(), Reinstalling, FAILED, Reinstalling),
        ("an uninstall", down(), Installed, DONE, Uninstalled),
        ("an uninstall that fails", down(), Installed, FAILED, Installed),
    ] {
        for generation in [1, 2] {
            let mut world = failed(spec.clone(), generation, before);
            let command = planned_command(&world, 100, conditions);
            let name = command.metadata.name.clone();
            world = world.with_command(command);
            // Somebody has written the Installation since: it is of the generation that it ran.
            for later in [0, 1] {
                let mut world = world.clone();
                world.live.installations.values_mut().next().unwrap().object.metadata.generation =
                    Some(generation + later);
                let status = world.reported().releases[0].status.clone().unwrap();
                assert_eq!(status.bundle, Some(after), "{what}");
                let run = &status.runs[0];
                let result = if conditions == DONE { RunResult::Succeeded } else { RunResult::Failed };
                assert_eq!((Some(&run.action), run.result), (name.as_ref(), Some(result)), "{what}");
                assert_eq!((run.generation, run.uninstall), (generation, spec == down()), "{what}");
                assert_eq!(run.revision, if later == 0 { "main@sha1:1" } else { "" }, "{what}: nobody knows the spec");
                let retry = status.retry.unwrap();
                assert_eq!((retry.generation, retry.attempts), (generation, 1), "{what}");
            }
        }
    }
}

#[test]
fn an_agent_action_goes_once_its_result_is_noted() {
    let world = failed(spec("mysql", 1), 1, BundleState::Installed);
    let ours = |conditions| planned_command(&world, 100, conditions);
    let unknown = |conditions| {
        let mut action = ours(conditions);
        action.metadata.labels.as_mut().unwrap().insert(api::PURPOSE_LABEL.into(), "of a later version".into());
        action
    };
    for (what, action, goes) in [
        ("it is on", ours(RUNS), false),
        ("it succeeded", ours(DONE), true),
        ("it failed", ours(FAILED), true),
        ("nobody knows what for", unknown(DONE), false),
    ] {
        let with = world.clone().with_command(action);
        assert_eq!(deleted(&with).len(), usize::from(goes), "{what}: {:?}", with.steps());
        assert_eq!(deleted(&with.reported()).len(), usize::from(goes), "{what}");
    }
}

/// It left the source while it was tried again: that was no try of its uninstall.
#[test]
fn only_what_takes_something_away_is_a_try_of_an_uninstall() {
    let leaving = |spec: Value, bundle| {
        let mut world = failed(spec, 1, bundle);
        let command = commands(&world).remove(0);
        world.desired.installations.clear();
        world.removal = Removal::Uninstall;
        world.releases[0].spec.removed = Some(Removed { revision: "main@sha1:2".into(), prune: true });
        world.releases[0].status.as_mut().unwrap().uninstall = Some(UninstallStatus::default());
        (world, command)
    };
    let ended = |mut command: AgentAction, conditions| {
        let seen = action(("AgentAction", "none", "none"), "any", 0, 100, conditions);
        (command.status, command.metadata.creation_timestamp) = (seen.status, seen.metadata.creation_timestamp);
        command
    };
    for (what, spec, bundle, attempts) in [
        ("a plain apply", spec("mysql", 1), BundleState::Tried, 0),
        ("one by force", spec("mysql", 1), BundleState::Installed, 0),
        ("one of a document that says uninstalled", down(), BundleState::Installed, 1),
    ] {
        for (conditions, failures) in [(DONE, 0), (FAILED, 1)] {
            let (mut world, command) = leaving(spec.clone(), bundle);
            let name = command.metadata.name.clone().unwrap();
            world
                .live
                .why
                .insert((NAMESPACE.into(), name.clone()), plan::Why { reason: "no space left".into(), log: None });
            let status = world.with_command(ended(command, conditions)).reported().releases[0].status.clone().unwrap();
            let uninstall = status.uninstall.clone().unwrap();
            let is_run = status.runs.iter().any(|run| run.action == name);
            assert_eq!((uninstall.attempts, is_run), (attempts, attempts == 0), "{what}: {status:?}");
            if attempts == 1 {
                assert_eq!(uninstall.failures, failures, "{what}");
                assert_eq!(uninstall.ask, None, "{what}: a document needs no record");
                assert_eq!(uninstall.reason.is_some(), failures == 1, "{what}: why is told of a failure");
            }
        }
    }
}

/// It was installed over a kept record; and somebody took our finalizer off and its object away before that was noted.
#[test]
fn a_forced_install_is_known_without_its_installation() {
    use BundleState::{Installed, Reinstalling, Uninstalled};
    for (conditions, before, after) in [
        (RUNS, Uninstalled, Reinstalling),
        (DONE, Uninstalled, Installed),
        (FAILED, Uninstalled, Reinstalling),
        (DONE, Reinstalling, Installed),
        (FAILED, Installed, Installed),
    ] {
        let mut world = failed(spec("mysql", 1), 1, before);
        world.live.installations.values_mut().next().unwrap().actions[0] = run_of("mysql", "run-2", 1, 2, DONE);
        world.releases[0].metadata.annotations = Some([(api::FORCE_AT.to_owned(), "1".to_owned())].into());
        let command = planned_command(&world, 100, conditions);
        world.live.installations.clear();
        let world = world.with_command(command).reported();
        assert_eq!(world.releases[0].status.as_ref().unwrap().bundle, Some(after), "{before:?}");
        // What is noted is not noted anew, once that is uninstalled.
        let mut noted = world.clone();
        let command = noted.live.ours.values().next().unwrap()[0].metadata.name.clone().unwrap();
        let status = noted.releases[0].status.as_mut().unwrap();
        (status.bundle, status.runs[0].action) = (Some(Uninstalled), command);
        assert_eq!(noted.reported().releases[0].status.as_ref().unwrap().bundle, Some(Uninstalled), "{before:?}");
    }
}

/// What is on by force may have installed something only where nothing was.
#[test]
fn what_is_on_says_what_may_be_there() {
    use BundleState::{Installed, Reinstalling, Tried, Uninstalled};
    for (before, after) in [(Installed, Installed), (Uninstalled, Reinstalling), (Reinstalling, Reinstalling)] {
        let mut world = failed(spec("mysql", 1), 1, before);
        world.live.installations.values_mut().next().unwrap().actions[0] = run_of("mysql", "run-2", 1, 2, DONE);
        world.releases[0].metadata.annotations = Some([(api::FORCE_AT.to_owned(), "1".to_owned())].into());
        let told = world.plan().outcome;
        assert_eq!((told.summary.ready, told.summary.running), (0, 1), "{before:?}");
        let command = planned_command(&world, 100, RUNS);
        assert_eq!(command.spec.args.last().unwrap(), "--force", "{before:?}");
        let status = world.with_command(command).reported().releases[0].status.clone().unwrap();
        assert_eq!(status.bundle, Some(after), "{before:?}");
    }
    // A kept record is installed over once that may begin, and until then it does not count as installed.
    let mut kept = failed(spec("mysql", 1), 1, Uninstalled);
    kept.live.installations.values_mut().next().unwrap().actions[0] = run_of("mysql", "run-2", 1, 2, DONE);
    kept.live.agents.clear();
    let told = kept.plan().outcome;
    assert_eq!((told.summary.ready, told.summary.running), (0, 1), "{told:?}");
    assert_ne!(kept.reported().releases[0].status.as_ref().unwrap().bundle, Some(Tried));
}

fn run(action: &str, generation: i64, spec: &Value, revision: &str, result: Option<RunResult>) -> Run {
    Run {
        action: action.into(),
        generation,
        digest: porter::digest(spec),
        revision: revision.into(),
        started: None,
        finished: None,
        uninstall: false,
        result,
        reason: None,
        log: None,
    }
}

#[test]
fn a_run_of_another_spec_is_of_the_revision_that_asked_for_that() {
    let (one, two) = (spec("mysql", 1), spec("mysql", 2));
    for (what, good, earlier, revision) in [
        ("what ran well", Some(&one), vec![run("run-1", 1, &two, "main@sha1:2", None)], "main@sha1:good"),
        (
            "an earlier one",
            Some(&two),
            vec![run("run-2", 2, &two, "main@sha1:2", None), run("run-1", 1, &one, "main@sha1:1", None)],
            "main@sha1:1",
        ),
        ("nobody's", Some(&two), vec![run("run-2", 2, &two, "main@sha1:2", None)], ""),
    ] {
        let mut world =
            World::new(vec![desired("mysql", spec("mysql", 3))]).recorded("mysql", spec("mysql", 3), "main@sha1:3");
        let mut asked = world.releases[0].spec.asked.clone();
        let status = world.releases[0].status.get_or_insert_default();
        status.succeeded = good.map(|good| {
            (asked.digest, asked.revision, asked.spec) = (porter::digest(good), "main@sha1:good".into(), good.clone());
            asked
        });
        status.runs = earlier;
        let runs = vec![run_of("mysql", "run-4", 4, 4, RUNS)];
        let world = world.with_live("mysql", live(installation("mysql", one.clone(), 4, true), runs)).reported();
        assert_eq!(world.releases[0].status.as_ref().unwrap().runs[0].revision, revision, "{what}");
    }
}

/// Where what stands came from, and its bundle.
fn shown(world: &World) -> [Option<String>; 4] {
    let status = world.releases[0].status.clone().unwrap();
    [status.file, status.revision, status.reference, status.digest]
}

#[test]
fn the_status_shows_where_what_stands_came_from_and_its_bundle() {
    let some = |file: Option<&str>, revision: &str, reference: &str, digest: Option<&str>| {
        [file, Some(revision), Some(reference), digest].map(|text| text.map(str::to_owned))
    };
    let bundle = |key: &str, value: &str| {
        let mut spec = spec("mysql", 1);
        spec["bundle"] = serde_json::json!({"repository": "example.test/mysql", key: value});
        spec
    };
    let digest = format!("sha256:{}", "a".repeat(64));
    let by_digest = format!("example.test/mysql@{digest}");
    let file = Some("mysql.yaml");
    for (spec, expected) in [
        (spec("mysql", 1), some(file, "main@sha1:1", "example.test/mysql:v0.1.0", None)),
        (bundle("tag", "next"), some(file, "main@sha1:1", "example.test/mysql:next", None)),
        (bundle("digest", &digest), some(file, "main@sha1:1", &by_digest, Some(&digest))),
    ] {
        assert_eq!(shown(&failed(spec, 1, BundleState::Tried)), expected);
    }
    // One of an older version says it with its next report, and then there is nothing more to say.
    let mut older = failed(spec("mysql", 1), 1, BundleState::Tried).reported();
    older.retries = 0;
    let mut older = older.reported();
    let status = older.releases[0].status.as_mut().unwrap();
    (status.file, status.revision, status.reference) = (None, None, None);
    let shows = older.reported();
    assert_eq!(shown(&shows), some(file, "main@sha1:1", "example.test/mysql:v0.1.0", None));
    assert!(shows.plan().is_settled(), "{:?}", shows.steps());
    // A later revision that asks for the same changes nothing; neither does another line, nor another file.
    let mut later = shows.clone();
    later.revision = "main@sha1:2".into();
    later.desired.installations[0].origin.line = 7;
    later.desired.installations[0].origin.file = "other.yaml".into();
    assert!(later.plan().is_settled(), "{:?}", later.steps());
    // What is recorded and runs nothing is shown at once.
    let mut back = shows;
    back.releases[0].spec.removed = Some(Removed { revision: "main@sha1:2".into(), prune: false });
    back.revision = "main@sha1:3".into();
    let plan = back.plan();
    assert!(plan.outcome.again && plan.due().all(|step| matches!(step.action, plan::Action::RecordRelease(_))));
    // While it is uninstalled, the last that ran well stands.
    let mut leaves = failed(spec("mysql", 1), 1, BundleState::Installed);
    leaves.removal = Removal::Uninstall;
    leaves.desired.installations.clear();
    leaves.releases[0].spec.removed = Some(Removed { revision: "main@sha1:2".into(), prune: true });
    let mut good = leaves.releases[0].spec.asked.clone();
    (good.revision, good.file) = ("main@sha1:0".into(), String::new());
    leaves.releases[0].status.as_mut().unwrap().succeeded = Some(good);
    assert_eq!(shown(&leaves.reported()), some(None, "main@sha1:0", "example.test/mysql:v0.1.0", None));
}

/// A run of what is asked counts as that, also when its Installation is edited or deleted before it is over.
#[test]
fn what_ran_well_is_known_whatever_stands_by_then() {
    let stands = |world: World, n: i64, generation: i64, conditions: &[&str]| {
        let runs = vec![run_of("mysql", &format!("run-{generation}"), generation, generation, conditions)];
        world.with_live("mysql", live(installation("mysql", spec("mysql", n), generation, true), runs))
    };
    let first = World::new(vec![desired("mysql", spec("mysql", 1))]).recorded("mysql", spec("mysql", 1), "main@sha1:1");
    let first = stands(first, 1, 1, DONE).reported();
    let mut second =
        World::new(vec![desired("mysql", spec("mysql", 2))]).recorded("mysql", spec("mysql", 2), "main@sha1:2");
    second.releases[0].status = first.releases[0].status.clone();
    let second = stands(second, 2, 2, RUNS).reported();
    for (what, deleting, n, conditions, good) in [
        ("deleted", true, 2, DONE, 2),
        ("edited", false, 7, DONE, 2),
        ("deleted, and it failed", true, 2, FAILED, 1),
        ("edited, and it failed", false, 7, FAILED, 1),
    ] {
        let mut world = stands(second.clone(), n, 2, conditions);
        let object = &mut world.live.installations.values_mut().next().unwrap().object;
        object.metadata.generation = Some(3);
        object.metadata.deletion_timestamp = object.metadata.creation_timestamp.clone().filter(|_| deleting);
        let status = world.reported().releases[0].status.clone().unwrap();
        assert_eq!(status.succeeded.unwrap().spec["parameters"]["n"], good, "{what}");
        assert_eq!(status.failed.is_empty(), conditions == DONE, "{what}");
    }
}

/// The operator's run was none, since Porter had it as uninstalled: ours by force is the install, and no try of it.
#[test]
fn a_reinstall_is_no_try() {
    for (retries, tries) in [(0, 1), (1, 2), (2, 3)] {
        let mut world = failed(spec("mysql", 1), 1, BundleState::Uninstalled);
        world.retries = retries;
        world.live.installations.values_mut().next().unwrap().actions = vec![run_of("mysql", "run-1", 1, 1, DONE)];
        world.releases[0].status.as_mut().unwrap().runs.clear();
        world = world.reported();
        let mut ran = 0;
        while !commands(&world).is_empty() {
            ran += 1;
            let command = planned_command(&world, 1000 * ran, FAILED);
            world = world.with_command(command).reported();
            world.live.ours.clear();
            world.now += 100_000;
        }
        assert_eq!(ran, tries, "a limit of {retries}: {:?}", world.releases[0].status);
    }
}

/// Its AgentAction was deleted, or its agent's pod evicted; the Job of the bundle has no owner.
#[test]
fn nothing_is_over_while_its_bundle_is_on() {
    for conditions in [DONE, FAILED] {
        let mut world = failed(spec("mysql", 1), 1, BundleState::Installed);
        world.retries = 0;
        let live = world.live.installations.values_mut().next().unwrap();
        live.actions = vec![run_of("mysql", "run-2", 1, 2, conditions)];
        live.bundle_job = Some("mysql-upgrade".into());
        let mut status = world.clone().reported().releases[0].status.clone().unwrap();
        assert_eq!(status.state, Some(ReleaseState::Running), "{:?}", status.message);
        assert_eq!(status.message.as_deref(), Some("Job mysql-upgrade of the bundle is active"));
        world.live.installations.values_mut().next().unwrap().bundle_job = None;
        status = world.reported().releases[0].status.clone().unwrap();
        assert_ne!(status.state, Some(ReleaseState::Running), "{:?}", status.message);
    }
}

/// Somebody deletes the operator's AgentAction, and it makes another: whichever ran last says how it stands.
#[test]
fn what_the_operator_runs_after_a_try_of_ours_counts() {
    use ReleaseState::{Failed, Running, Succeeded};
    for (what, tried, conditions, state) in [
        ("it mends what we could not", FAILED, DONE, Succeeded),
        ("it fails as ours did", FAILED, FAILED, Failed),
        ("it is on", FAILED, RUNS, Running),
        ("it fails after ours went well", DONE, FAILED, Failed),
        ("it is on after ours went well", DONE, RUNS, Running),
    ] {
        let mut world = failed(spec("mysql", 1), 1, BundleState::Tried);
        let command = planned_command(&world, 100, tried);
        world = world.with_command(command).reported();
        world.live.ours.clear();
        let first = if tried == DONE { Succeeded } else { Failed };
        let state_of = |world: &World| world.releases[0].status.as_ref().unwrap().state;
        assert_eq!(state_of(&world.clone().reported()), Some(first), "{what}");
        let live = world.live.installations.values_mut().next().unwrap();
        live.actions = vec![run_of("mysql", "run-2", 1, 200, conditions)];
        let world = world.reported();
        assert_eq!(state_of(&world), Some(state), "{what}: {:?}", world.releases[0].status);
        assert_eq!(world.plan().outcome.summary.ready, i32::from(state == Succeeded), "{what}");
        assert!(state == Failed || commands(&world).is_empty(), "{what}: {:?}", world.steps());
    }
}

/// Of a run that was on nobody knows what came of it once its AgentAction is gone: it counts as failed, with its document where
/// that is known.
#[test]
fn what_was_on_and_is_gone_counts_as_failed() {
    let was_on = |asked: i64, uid: &str, deleting: bool, actions: Vec<AgentAction>| {
        let mut object = installation("mysql", spec("mysql", 1), 2, true);
        if deleting {
            object.metadata.generation = Some(3);
            object.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
        }
        let mut world = World::new(vec![desired("mysql", spec("mysql", asked))])
            .recorded("mysql", spec("mysql", asked), "main@sha1:0")
            .with_live("mysql", live(object, actions));
        let status = world.releases[0].status.get_or_insert_default();
        (status.uid, status.generation) = (Some(uid.to_owned()), Some(2));
        status.bundle = Some(BundleState::Installed);
        let run = json!({
            "action": "run-2", "generation": 2, "digest": porter::digest(&spec("mysql", 1)), "revision": "main@sha1:0",
        });
        status.runs = vec![serde_json::from_value(run).unwrap()];
        world.reported().releases[0].status.clone().unwrap()
    };
    let of = |name: &str| vec![run_of("mysql", name, 2, 2, RUNS)];
    // What was asked, the object, whether that goes, its AgentActions -> lost, and whether its document is known.
    for (what, status, lost) in [
        ("it is on", was_on(1, "uid-mysql", false, of("run-2")), None),
        ("none of its generation is there yet", was_on(1, "uid-mysql", false, vec![]), None),
        ("the operator made another", was_on(1, "uid-mysql", false, of("other")), Some(true)),
        ("the same, and something else is asked", was_on(7, "uid-mysql", false, of("other")), Some(true)),
        ("its object goes", was_on(1, "uid-mysql", true, vec![]), Some(true)),
        ("it is of an earlier object", was_on(1, "uid-old", false, vec![]), Some(true)),
        ("the same, and something else is asked", was_on(7, "uid-old", false, vec![]), Some(false)),
    ] {
        let run = status.runs.iter().find(|run| run.action == "run-2").unwrap();
        assert_eq!(run.result.is_some(), lost.is_some(), "{what}: {status:?}");
        assert_eq!(run.reason.is_some(), lost.is_some(), "{what}");
        let known = status.failed.first().map(|failed| *failed != api::Compared::default());
        assert_eq!(known, lost, "{what}: {status:?}");
    }
}
