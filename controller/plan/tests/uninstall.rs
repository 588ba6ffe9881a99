//! Each state that an installation can be in when it leaves the source, and the steps that follow from it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use api::porter::AgentAction;
use api::{BundleState, Removed, SyncRef};
use plan::{Remains, Removal};
use serde_json::Value;
use support::*;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

/// What left the source: recorded with parameter 1, the Installation at `generation` with `spec` and its runs.
fn left(spec_now: Value, generation: i64, runs: Vec<AgentAction>) -> World {
    let mut world =
        recorded().with_live("mysql", live(installation("mysql", spec_now, generation, true), runs)).reported();
    world.removal = Removal::Uninstall;
    world
}

fn recorded() -> World {
    World::new(vec![]).recorded("mysql", spec("mysql", 1), "main@sha1:0")
}

/// Marked, and begun: what Porter has is in the ledger.
fn begun(mut world: World, bundle: Option<BundleState>) -> World {
    let release = &mut world.releases[0];
    release.spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: true });
    let status = release.status.get_or_insert_default();
    status.uninstall.get_or_insert_default();
    status.bundle = bundle;
    world.with_agent(api::AGENT_CONFIG, agent_config(once(), true))
}

fn down() -> Value {
    let mut spec = spec("mysql", 1);
    spec["uninstalled"] = true.into();
    spec
}

fn run(generation: i64, conditions: &[&str]) -> AgentAction {
    run_of("mysql", &format!("run-{generation}"), generation, generation, conditions)
}

/// The steps without the reports of states, and names of AgentActions without their hashes.
fn steps(world: &World) -> Vec<String> {
    let steps = world.steps();
    steps.into_iter().filter(|step| !step.starts_with("report ")).collect()
}

#[test]
fn each_state_of_what_left_the_source_gives_its_steps() {
    let installed = || left(spec("mysql", 1), 1, vec![run(1, DONE)]);
    let cases: Vec<(&str, World, &[&str])> = vec![
        ("installed", installed(), &["mark removed installation apps: dev/mysql: no longer in the source"]),
        (
            "installed, its uninstall begun",
            begun(installed(), Some(BundleState::Installed)),
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        ("its run is on", begun(left(spec("mysql", 1), 1, vec![run(1, RUNS)]), None), &[]),
        (
            "the document is written, and the operator has not seen it",
            begun(left(down(), 2, vec![run(1, DONE)]), Some(BundleState::Installed)),
            &[],
        ),
        (
            "the document runs",
            begun(left(down(), 2, vec![run(1, DONE), run(2, RUNS)]), Some(BundleState::Installed)),
            &[],
        ),
        (
            "the document ran: what it superseded goes",
            begun(left(down(), 2, vec![run(1, DONE), run(2, DONE)]), Some(BundleState::Installed)),
            &["delete AgentAction/apps/run-1 of installation apps: dev/mysql: it could run again"],
        ),
        (
            "uninstalled",
            begun(left(down(), 2, vec![run(2, DONE)]), Some(BundleState::Uninstalled)),
            &[
                "run porter installation delete mysql --namespace dev for installation apps: dev/mysql: it is uninstalled and Porter has its record",
            ],
        ),
        (
            "forgotten",
            begun(left(down(), 2, vec![run(2, DONE)]), None),
            &["delete Installation/apps/mysql of installation apps: dev/mysql: it is uninstalled"],
        ),
        (
            "the document failed",
            begun(left(down(), 2, vec![run(2, FAILED)]), Some(BundleState::Installed)),
            &["run porter installation apply installation.yaml for installation apps: dev/mysql: its uninstall failed"],
        ),
        (
            "the install failed",
            begun(left(spec("mysql", 1), 1, vec![run(1, FAILED)]), Some(BundleState::Tried)),
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        (
            "the install failed, and the document ran",
            begun(left(down(), 2, vec![run(2, DONE)]), Some(BundleState::Tried)),
            &[
                "run porter installation uninstall mysql --namespace dev for installation apps: dev/mysql: an install was tried and none succeeded",
            ],
        ),
        ("the operator is about to run it", begun(left(spec("mysql", 1), 1, vec![]), None), &[]),
        (
            "never ran",
            {
                let mut world = begun(left(spec("mysql", 1), 1, vec![]), None);
                world.live.installations.values_mut().next().unwrap().object.metadata.finalizers =
                    Some(vec![api::FINALIZER.into()]);
                world
            },
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        (
            "the Installation is gone, and the bundle installed",
            {
                let mut world = begun(recorded(), Some(BundleState::Installed));
                world.removal = Removal::Uninstall;
                world
            },
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        (
            "the Installation is gone, and its bundle runs",
            {
                let mut world = begun(recorded(), Some(BundleState::Installed));
                world.removal = Removal::Uninstall;
                let remains = Remains { actions: Vec::new(), job: Some("mysql-job".into()) };
                world.live.remains.insert((NAMESPACE.into(), "mysql".into()), remains);
                world
            },
            &[],
        ),
        (
            "the Installation is gone, and nothing is installed",
            {
                let mut world = begun(recorded(), None);
                world.removal = Removal::Uninstall;
                world
            },
            &["delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: it is uninstalled"],
        ),
        (
            "reinstalled over a kept record, which failed",
            begun(left(down(), 3, vec![run(3, DONE)]), Some(BundleState::Reinstalling)),
            &[
                "run porter installation uninstall mysql --namespace dev for installation apps: dev/mysql: an install was tried and none succeeded",
            ],
        ),
        (
            "the namespace is being deleted",
            {
                let mut world = installed();
                world.live.terminating.insert(NAMESPACE.into());
                world
            },
            &[
                "lift the finalizer of installation apps: dev/mysql: its namespace is being deleted",
                "delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: its namespace is being deleted",
            ],
        ),
        (
            "let go",
            {
                let mut world = installed();
                world.removal = Removal::Orphan;
                world
            },
            &[
                "lift the finalizer of installation apps: dev/mysql: no longer in the source",
                "delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: no longer in the source",
            ],
        ),
        (
            "another sync asks for it",
            {
                let mut world = installed();
                claim(&mut world);
                world
            },
            &["mark removed installation apps: dev/mysql: no longer in the source"],
        ),
        (
            "another sync asks for it, which knows that it may have it",
            {
                let mut world = begun(installed(), Some(BundleState::Installed));
                world.releases[0].status.as_mut().unwrap().uninstall = None;
                claim(&mut world);
                world
            },
            &[],
        ),
        (
            "another sync asks for it, too late",
            {
                let mut world = begun(installed(), Some(BundleState::Installed));
                claim(&mut world);
                world
            },
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        (
            "another sync may ask for it",
            {
                let mut world = installed();
                world.live.unread = Some(other());
                world
            },
            &[],
        ),
    ];
    for (what, world, expected) in cases {
        assert_eq!(steps(&world), expected, "{what}");
    }
}

fn other() -> SyncRef {
    SyncRef { name: "other".into(), namespace: "flux-system".into() }
}

fn claim(world: &mut World) {
    let name = world.releases[0].metadata.name.clone().unwrap();
    world.live.claimed.insert((NAMESPACE.into(), name), other());
}
