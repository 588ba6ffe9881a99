//! What somebody deletes, or what goes with its namespace: our finalizer holds it for no longer than a run is on.

use crate::support::*;
use api::{Percentage, SyncRef};
use jiff::Timestamp;
use plan::{Plan, Removal};

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const ABANDON: &str = "lift the finalizer of Installation/apps/mysql: its namespace is being deleted";

/// An Installation of ours whose document is in the source.
fn stands(conditions: &[&str]) -> World {
    let world = World::new(vec![desired("mysql", spec("mysql", 1))]).recorded("mysql", spec("mysql", 1), "main@sha1:0");
    let runs = vec![run_of("mysql", "run-1", 1, 1, conditions)];
    let mut world = world.with_live("mysql", live(installation("mysql", spec("mysql", 1), 1, true), runs)).reported();
    world.removal = Removal::Uninstall;
    world
}

fn deleting(mut world: World) -> World {
    let object = &mut world.live.installations.values_mut().next().unwrap().object;
    object.metadata.deletion_timestamp = Some("2026-01-02T00:00:00Z".parse::<Timestamp>().unwrap().into());
    object.metadata.generation = Some(2);
    world
}

fn terminating(mut world: World) -> World {
    world.live.terminating.insert(NAMESPACE.into());
    world
}

fn unrecorded(mut world: World) -> World {
    world.releases.clear();
    world
}

fn steps(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().map(ToString::to_string);
    steps.filter(|step| !step.starts_with("report ")).collect()
}

fn suspended(world: &World) -> Plan {
    let mut world = World { removal: Removal::Suspended, ..world.clone() };
    world.desired.installations.clear();
    world.plan()
}

#[test]
fn a_namespace_that_is_being_deleted_is_not_held_though_its_document_stays() {
    let release =
        "delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: its namespace is being deleted";
    let of = "lift the finalizer of installation apps: dev/mysql: its namespace is being deleted";
    let cases: Vec<(&str, World, Vec<&str>, usize)> = vec![
        ("all stand", terminating(deleting(stands(DONE))), vec![of, release], 1),
        ("a run is on", terminating(deleting(stands(RUNS))), vec![of, release], 1),
        ("the release went first", terminating(deleting(unrecorded(stands(DONE)))), vec![ABANDON], 1),
        ("the release went first, and a run is on", terminating(deleting(unrecorded(stands(RUNS)))), vec![ABANDON], 1),
        ("the release went first, and it is to be deleted yet", terminating(unrecorded(stands(DONE))), vec![], 0),
    ];
    for (what, world, expected, abandoned) in cases {
        let plan = world.plan();
        assert_eq!(steps(&plan), expected, "{what}");
        assert_eq!(plan.outcome.abandoned.len(), abandoned, "{what}");
        assert!(!plan.outcome.waiting.is_empty(), "{what}");
    }
    // Another's is not ours to let go of.
    let mut others = terminating(deleting(unrecorded(stands(DONE))));
    others.sync = SyncRef { name: "other".into(), namespace: "flux-system".into() };
    assert!(steps(&others.plan()).is_empty(), "{:?}", others.steps());
}

#[test]
fn a_suspended_sync_holds_nothing_that_is_deleted() {
    let lift = "lift the finalizer of installation apps: dev/mysql: it is being deleted and nothing of it runs";
    let unknown = "lift the finalizer of Installation/apps/mysql: it is being deleted and nothing of it runs";
    let cases: Vec<(&str, World, Vec<&str>)> = vec![
        ("nobody deletes anything", stands(DONE), vec![]),
        ("nobody deletes anything, its release is lost", unrecorded(stands(DONE)), vec![]),
        ("by hand", deleting(stands(DONE)), vec![lift]),
        ("by hand, while a run is on", deleting(stands(RUNS)), vec![]),
        ("by hand, its release is lost", deleting(unrecorded(stands(DONE))), vec![unknown]),
        ("with its namespace, the release first", terminating(deleting(unrecorded(stands(RUNS)))), vec![ABANDON]),
    ];
    for (what, world, expected) in cases {
        assert_eq!(steps(&suspended(&world)), expected, "{what}");
    }
    assert_eq!(suspended(&terminating(deleting(stands(RUNS)))).outcome.abandoned.len(), 1);
}

/// Of a revision that would uninstall too much nothing is written; all the same nobody waits for it.
#[test]
fn a_revision_that_is_refused_holds_nothing_that_is_deleted() {
    let blocked = |mut world: World, stays: bool| {
        for name in ["a", "b", "c"] {
            world = world.recorded(name, spec(name, 1), "main@sha1:0");
        }
        if !stays {
            world.desired.installations.clear();
        }
        world.limit = Some(Percentage::default());
        world
    };
    let lift = "lift the finalizer of installation apps: dev/mysql: it is being deleted and nothing of it runs";
    let unknown = "lift the finalizer of Installation/apps/mysql: it is being deleted and nothing of it runs";
    let of = "lift the finalizer of installation apps: dev/mysql: its namespace is being deleted";
    let release =
        "delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: its namespace is being deleted";
    for (what, world, expected, abandoned) in [
        ("nobody deletes anything", blocked(stands(DONE), true), vec![], 0),
        ("by hand", blocked(deleting(stands(DONE)), true), vec![lift], 0),
        ("by hand, of what left", blocked(deleting(stands(DONE)), false), vec![lift], 0),
        ("by hand, while a run is on", blocked(deleting(stands(RUNS)), true), vec![], 0),
        ("by hand, its release is lost", blocked(deleting(unrecorded(stands(DONE))), false), vec![unknown], 0),
        ("the same, and its document stays", blocked(deleting(unrecorded(stands(DONE))), true), vec![unknown], 0),
        ("with its namespace", blocked(deleting(stands(RUNS)), true), vec![of, release], 1),
        ("with its namespace, of what left", blocked(deleting(stands(RUNS)), false), vec![of, release], 1),
    ] {
        let world = if abandoned > 0 { terminating(world) } else { world };
        let plan = world.plan();
        let of_mysql = steps(&plan).into_iter().filter(|step| step.contains("mysql")).collect::<Vec<_>>();
        assert_eq!(of_mysql, expected, "{what}");
        assert!(plan.outcome.blocked.is_some(), "{what}");
    }
}

/// Its identity was edited by hand, and who mends that deletes it.
#[test]
fn an_object_that_holds_another_installation_is_not_held() {
    let lift = "lift the finalizer of Installation/apps/mysql: it is being deleted and nothing of it runs";
    let edited = |conditions: &[&str]| {
        let mut world = deleting(stands(conditions));
        world.live.installations.values_mut().next().unwrap().object.spec.name = "other".into();
        world
    };
    let left = |mut world: World| {
        world.desired.installations.clear();
        world
    };
    let lifts = |plan: &Plan| steps(plan).into_iter().filter(|step| step.starts_with("lift ")).collect::<Vec<_>>();
    for (what, plan, expected) in [
        ("its document stays", edited(DONE).plan(), Some(lift)),
        ("a run is on", edited(RUNS).plan(), None),
        ("its document left", left(edited(DONE)).plan(), Some(lift)),
        ("suspended", suspended(&edited(DONE)), Some(lift)),
    ] {
        assert_eq!(lifts(&plan), expected.into_iter().collect::<Vec<_>>(), "{what}: {:?}", plan.outcome);
    }
}

/// Without our finalizer it goes, and garbage collection cuts its run off.
#[test]
fn what_is_let_go_of_while_somebody_deletes_it_is_held_until_its_run_is_over() {
    let left = |mut world: World| {
        world.desired.installations.clear();
        world.removal = Removal::Orphan;
        world
    };
    let lift = "lift the finalizer of installation apps: dev/mysql: no longer in the source";
    let over = "lift the finalizer of installation apps: dev/mysql: it is being deleted and nothing of it runs";
    let gone = "delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: no longer in the source";
    for (what, world, expected, told) in [
        ("nobody deletes it", left(stands(RUNS)), vec![lift, gone], "it is let go of"),
        // What its runs left behind goes with it.
        ("its run is over", left(deleting(stands(DONE))), vec![over, gone], "it is let go of"),
        ("its run is on", left(deleting(stands(RUNS))), vec![], "AgentAction run-1 of generation 1 is not over"),
    ] {
        let plan = world.plan();
        assert_eq!(steps(&plan), expected, "{what}");
        assert_eq!(plan.outcome.uninstalling[0].message, told, "{what}");
    }
}

/// Somebody deletes its release too: what its run comes to is noted all the same, before it goes.
#[test]
fn what_no_release_knows_is_recorded_before_it_goes() {
    let record = "record installation apps: dev/mysql: its release is missing";
    for conditions in [RUNS, DONE] {
        let lost = deleting(unrecorded(stands(conditions)));
        assert_eq!(steps(&lost.plan()), [record], "{conditions:?}");
        let known = lost.recorded("mysql", spec("mysql", 1), "main@sha1:0");
        let lift = "lift the finalizer of installation apps: dev/mysql: it is being deleted and nothing of it runs";
        assert_eq!(known.steps().contains(&lift.to_owned()), conditions == DONE, "{:?}", known.steps());
        let noted = known.reported().releases[0].status.clone().unwrap().runs;
        assert_eq!((noted.len(), noted[0].result.is_some()), (1, conditions == DONE), "{conditions:?}");
    }
}
