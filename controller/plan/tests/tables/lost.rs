//! A release that was lost, and written anew by what stands: what is not known of the past is reckoned with.

use crate::support::*;
use api::{BundleState, Removed};
use plan::Removal;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

/// The newest run of an Installation failed; the AgentActions before it are gone. Its release is new.
fn failed(generation: i64) -> World {
    let world = World::new(vec![desired("mysql", spec("mysql", 1))]).recorded("mysql", spec("mysql", 1), "main@sha1:0");
    let runs = vec![run_of("mysql", "run", generation, 1, FAILED)];
    let object = installation("mysql", spec("mysql", 1), generation, true);
    let mut world =
        world.with_live("mysql", live(object, runs)).with_agent(api::AGENT_CONFIG, agent_config(once(), true));
    (world.retries, world.removal) = (1, Removal::Uninstall);
    world.reported()
}

#[test]
fn what_may_have_been_installed_before_is_tried_again_by_force() {
    for (generation, bundle, args) in [
        // Nothing can have been before.
        (1, BundleState::Tried, vec!["installation", "apply", "installation.yaml"]),
        // After an install that succeeded, a plain apply of what failed would do nothing and report success.
        (2, BundleState::Installed, vec!["installation", "apply", "installation.yaml", "--force"]),
    ] {
        let world = failed(generation);
        assert_eq!(world.releases[0].status.as_ref().unwrap().bundle, Some(bundle));
        let commands: Vec<Vec<String>> = commands(&world).into_iter().map(|action| action.spec.args).collect();
        assert_eq!(commands, [args]);
    }
}

#[test]
fn what_may_have_been_installed_before_is_uninstalled_once() {
    let mut world = failed(2);
    world.desired.installations.clear();
    world.releases[0].spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: true });
    world.releases[0].status.as_mut().unwrap().uninstall = Some(api::UninstallStatus::default());
    let run = run_of("mysql", "run-3", 3, 3, DONE);
    let world = world.with_live("mysql", live(installation("mysql", down(), 3, true), vec![run])).reported();
    let commands: Vec<Vec<String>> = commands(&world).into_iter().map(|action| action.spec.args).collect();
    assert_eq!(commands, [["installation", "delete", "mysql", "--namespace", "dev"]]);
}

/// What was noted before anybody kept account of what Porter has.
#[test]
fn an_earlier_run_that_is_known_says_what_can_have_been_before() {
    let noted = |action: &str, generation, result| api::Run {
        action: action.into(),
        generation,
        digest: String::new(),
        revision: String::new(),
        started: None,
        finished: None,
        uninstall: false,
        result,
        reason: None,
        log: None,
    };
    let failed_one = Some(api::RunResult::Failed);
    for (what, runs, bundle) in [
        ("nothing is known before", vec![], BundleState::Installed),
        ("it alone is known", vec![noted("run", 2, None)], BundleState::Installed),
        ("the first one is known", vec![noted("first", 1, failed_one)], BundleState::Tried),
        ("a later one is known", vec![noted("later", 3, failed_one)], BundleState::Installed),
    ] {
        let mut world = failed(2);
        let status = world.releases[0].status.as_mut().unwrap();
        (status.runs, status.bundle) = (runs, None);
        assert_eq!(world.reported().releases[0].status.as_ref().unwrap().bundle, Some(bundle), "{what}");
    }
}

/// Its document said uninstalled before anybody kept account.
#[test]
fn of_what_is_uninstalled_an_install_may_have_been_before() {
    let installed = Some(BundleState::Installed);
    for (what, generation, before, conditions, bundle) in [
        ("it failed", 2, None, FAILED, installed),
        ("it went well", 2, None, DONE, Some(BundleState::Uninstalled)),
        ("nothing can have been before", 1, None, FAILED, None),
        ("what was before is known", 2, Some(1), FAILED, None),
        ("only a run of what stands is known", 2, Some(2), FAILED, installed),
    ] {
        let world = World::new(vec![desired("mysql", down())]).recorded("mysql", down(), "main@sha1:0");
        let runs = vec![run_of("mysql", "run", generation, 1, conditions)];
        let mut world = world.with_live("mysql", live(installation("mysql", down(), generation, true), runs));
        world.releases[0].status.get_or_insert_default().runs = before.into_iter().map(earlier).collect();
        assert_eq!(world.reported().releases[0].status.as_ref().unwrap().bundle, bundle, "{what}");
    }
}

fn earlier(generation: i64) -> api::Run {
    api::Run {
        action: format!("earlier-{generation}"),
        generation,
        digest: String::new(),
        revision: String::new(),
        started: None,
        finished: None,
        uninstall: true,
        result: Some(api::RunResult::Succeeded),
        reason: None,
        log: None,
    }
}
