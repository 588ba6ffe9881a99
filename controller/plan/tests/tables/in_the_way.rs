//! An installation that something else is in the way of: its own uninstall, another installation in its object or in
//! another namespace, another BundleSync, runs of an earlier object.

use crate::support::*;
use api::porter::{AgentAction, label};
use api::{Adoption, BundleRelease, BundleState, ReleaseState, Removed, SyncRef};
use plan::{Action, Removal};
use porter::DesiredInstallation;
use serde_json::json;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

fn other() -> SyncRef {
    SyncRef { name: "other".into(), namespace: "team".into() }
}

/// Without the reports of states.
fn steps(world: &World) -> Vec<String> {
    world.steps().into_iter().filter(|step| !step.starts_with("report ")).collect()
}

/// What is told of an installation of that name, and as what.
fn told(world: &World, name: &str) -> String {
    let outcome = world.plan().outcome;
    let lists = [
        ("stopped", &outcome.stopped),
        ("waiting", &outcome.waiting),
        ("running", &outcome.running),
        ("failed", &outcome.failed),
        ("refused", &outcome.refused),
    ];
    let of = |told: &&plan::Told| told.subject.to_string().ends_with(&format!("/{name}"));
    let mut lists = lists.into_iter().filter_map(|(list, all)| Some((list, all.iter().find(of)?)));
    lists.next().map(|(list, told)| format!("{list}: {}", told.message)).unwrap_or_default()
}

/// The release that the record of an installation makes.
fn record(desired: DesiredInstallation, sync: SyncRef) -> BundleRelease {
    let mut world = World::new(vec![desired]);
    world.sync = sync;
    let record = world.plan().steps.into_iter().find_map(|step| match step.action {
        Action::RecordRelease(record) => Some(*record.release),
        _ => None,
    });
    record.unwrap()
}

fn pruned() -> Option<Removed> {
    Some(Removed { revision: "main@sha1:1".into(), prune: true })
}

fn run(generation: i64, conditions: &[&str]) -> AgentAction {
    run_of("mysql", &format!("run-{generation}"), generation, generation, conditions)
}

/// In the source, while it is uninstalled by an earlier commit: the Installation holds what an uninstall writes, or what was
/// asked before.
fn back(document: bool, runs: Vec<AgentAction>, bundle: Option<BundleState>) -> World {
    let (spec_now, generation) = if document { (down(), 2) } else { (spec("mysql", 1), 1) };
    let mut world = World::new(vec![desired("mysql", spec("mysql", 1))])
        .recorded("mysql", spec("mysql", 1), "main@sha1:0")
        .with_live("mysql", live(installation("mysql", spec_now, generation, true), runs))
        .with_agent(api::AGENT_CONFIG, agent_config(once(), true))
        .reported();
    world.removal = Removal::Uninstall;
    let release = &mut world.releases[0];
    release.spec.removed = pruned();
    let status = release.status.get_or_insert_default();
    status.uninstall.get_or_insert_default();
    (status.uid, status.bundle) = (Some("uid-mysql".into()), bundle);
    world
}

#[test]
fn what_comes_back_during_its_uninstall_is_uninstalled_first() {
    let installed = || back(false, vec![run(1, DONE)], Some(BundleState::Installed));
    let cases: Vec<(&str, World, &[&str], &str)> = vec![
        (
            "nothing is written of it yet",
            installed(),
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
            "waiting: back in the source, once it is uninstalled: its document says uninstalled: applied just now",
        ),
        (
            "the document runs",
            back(true, vec![run(2, RUNS)], Some(BundleState::Installed)),
            &[],
            "waiting: back in the source, once it is uninstalled: AgentAction run-2 of generation 2 is not over",
        ),
        (
            "it failed, and is tried again later",
            {
                let mut world = back(true, vec![run(2, FAILED)], Some(BundleState::Installed));
                let uninstall = world.releases[0].status.as_mut().unwrap().uninstall.as_mut().unwrap();
                (uninstall.failures, uninstall.failed_at) =
                    (1, Some(jiff::Timestamp::from_second(world.now).unwrap().into()));
                world
            },
            &[],
            "failed: back in the source, once it is uninstalled: its uninstall failed, see AgentActions and Jobs; \
             it is tried again at 2027-01-15T08:01:00Z",
        ),
        (
            "uninstalled and forgotten, and its object still there",
            back(true, vec![run(2, DONE)], None),
            &["delete Installation/apps/mysql of installation apps: dev/mysql: it is uninstalled"],
            "waiting: back in the source, once it is uninstalled: its Installation is deleted",
        ),
        (
            "gone",
            {
                let mut world = back(true, vec![], None);
                world.live.installations.clear();
                world
            },
            &[
                "record installation apps: dev/mysql: back in the source",
                "apply installation apps: dev/mysql: back in the source",
            ],
            "running: applied just now",
        ),
        (
            "nothing of its uninstall was begun",
            {
                let mut world = installed();
                world.releases[0].status.as_mut().unwrap().uninstall = None;
                world
            },
            &["record installation apps: dev/mysql: back in the source"],
            "",
        ),
        (
            "it was to stay",
            {
                let mut world = installed();
                world.releases[0].spec.removed = pruned().map(|removed| Removed { prune: false, ..removed });
                world
            },
            &["record installation apps: dev/mysql: back in the source"],
            "",
        ),
    ];
    for (what, world, expected, words) in cases {
        assert_eq!(steps(&world), expected, "{what}");
        assert_eq!(told(&world, "mysql"), words, "{what}");
    }
}

#[test]
fn a_refusal_tells_the_runs_of_what_is_not_ours() {
    let foreign = |recorded: bool| {
        let object = unowned(installation("mysql", spec("mysql", 1), 1, true));
        let mut world = World::new(vec![desired("mysql", spec("mysql", 1))]);
        if recorded {
            world = world.recorded("mysql", spec("mysql", 1), "main@sha1:0");
        }
        world.adoption = Adoption::Never;
        world.with_live("mysql", live(object, vec![run(1, DONE)]))
    };
    let refused = told(&foreign(true), "mysql");
    assert!(refused.starts_with("refused: ") && !refused.contains("its last run"), "{refused}");
    assert_eq!(told(&foreign(false), "mysql"), format!("{refused}; its last run succeeded"));
    let refuses = |world: &World| steps(world).iter().filter(|step| step.starts_with("refuse ")).count();
    assert_eq!((refuses(&foreign(true)), refuses(&foreign(false))), (1, 1));
}

/// Its object holds another installation of the namespace.
#[test]
fn an_object_that_holds_another_installation() {
    let held = |release: Option<(SyncRef, Option<Removed>)>| {
        let mut world = World::new(vec![desired("mysql", spec("mysql", 1))]);
        world.removal = Removal::Uninstall;
        world.desired.installations[0].object_name = "db".into();
        if let Some((sync, removed)) = release {
            let mut before = desired("old", spec("old", 1));
            before.object_name = "db".into();
            let mut release = record(before, sync);
            release.spec.removed = removed;
            world.releases.push(release);
        }
        let mut object = installation("db", spec("old", 1), 1, true);
        object.metadata.uid = Some("uid-old".into());
        world.with_live("db", live(object, vec![]))
    };
    let wanted = |object: &str| {
        let mut world = held(Some((sync(), None)));
        let mut old = desired("old", spec("old", 1));
        old.object_name = object.into();
        world.desired.installations.push(old);
        world
    };
    let uninstall = "waiting: installation apps: dev/old has to be uninstalled first";
    let refused = "refused: Installation/apps/db holds Porter installation dev/old, not dev/mysql";
    for (what, world, words) in [
        ("which is uninstalled", held(Some((sync(), pruned()))), uninstall),
        ("which leaves", held(Some((sync(), None))), uninstall),
        ("of which nobody knows", held(None), refused),
        ("which another sync has", held(Some((other(), pruned()))), refused),
        (
            "which moves to another object",
            wanted("elsewhere"),
            "waiting: installation apps: dev/old has to leave its Installation first",
        ),
        ("which stays", World { removal: Removal::Keep, ..held(Some((sync(), None))) }, refused),
    ] {
        let told = told(&world, "mysql");
        assert!(told.starts_with(words), "{what}: {told}");
    }
    for (what, mut world, free) in [
        ("left the source, and is uninstalled before", held(Some((sync(), None))), true),
        ("is not ours", held(None), false),
        ("is asked for as well", wanted("elsewhere"), false),
    ] {
        world.removal = Removal::Local;
        assert_eq!(world.plan().outcome.refused.is_empty(), free, "local, and what the object holds {what}");
    }
}

/// The same Porter installation in another namespace: both may be one record of Porter's.
#[test]
fn one_that_moves_to_another_namespace_waits_for_the_uninstall_there() {
    let moves = || {
        let mut new = desired("mysql", spec("mysql", 1));
        new.id.kube_namespace = "team".into();
        let mut world = World::new(vec![new]).recorded("mysql", spec("mysql", 1), "main@sha1:0");
        world.releases[0].spec.removed = pruned();
        world.removal = Removal::Uninstall;
        world
    };
    let with = |edit: fn(&mut World)| {
        let mut world = moves();
        edit(&mut world);
        world
    };
    let known = |world: &mut World, removed: Option<Removed>| {
        let mut release = record(world.desired.installations[0].clone(), sync());
        release.spec.removed = removed;
        world.releases.push(release);
    };
    let waits = "waiting: installation apps: dev/mysql has to be uninstalled first";
    let applied = "running: applied just now";
    let mut stood = moves();
    known(&mut stood, None);
    let mut stood_and_left = moves();
    known(&mut stood_and_left, pruned());
    for (what, world, words) in [
        ("it is uninstalled there", moves(), waits),
        ("its document leaves there with this commit", with(|world| world.releases[0].spec.removed = None), waits),
        (
            "its record alone is kept there",
            with(|world| {
                let status = world.releases[0].status.get_or_insert_default();
                (status.state, status.bundle) = (Some(ReleaseState::Uninstalled), Some(BundleState::Uninstalled));
                world.keep_record = true;
            }),
            applied,
        ),
        ("another sync has it there", with(|world| world.releases[0].spec.sync = other()), applied),
        ("another one is there", with(|world| world.releases[0].spec.installation.name = "redis".into()), applied),
        (
            "both are asked for",
            with(|world| world.desired.installations.push(desired("mysql", spec("mysql", 1)))),
            applied,
        ),
        ("nothing is uninstalled", with(|world| world.removal = Removal::Keep), applied),
        ("it stands here already", stood, applied),
        ("it stood here before, and left", stood_and_left, waits),
    ] {
        let subject = plan::Subject::Installation(world.desired.installations[0].id.clone());
        let outcome = world.plan().outcome;
        let of =
            |list: &[plan::Told]| list.iter().find(|told| told.subject == subject).map(|told| told.message.clone());
        let told = of(&outcome.waiting).map(|told| format!("waiting: {told}"));
        let told = told.or_else(|| of(&outcome.running).map(|told| format!("running: {told}"))).unwrap_or_default();
        assert_eq!(told, words, "{what}: {:?}", world.steps());
    }
}

#[test]
fn another_sync_keeps_what_it_is_about_to_uninstall() {
    let theirs = |removed: Option<Removed>, begun: bool, gone: bool| {
        let mut world = World::new(vec![desired("mysql", spec("mysql", 1))]);
        let mut release = record(desired("mysql", spec("mysql", 1)), other());
        release.spec.removed = removed;
        let status = release.status.get_or_insert_default();
        status.bundle = Some(BundleState::Installed);
        if begun {
            status.uninstall.get_or_insert_default();
        }
        if gone {
            (status.state, status.bundle) = (Some(ReleaseState::Uninstalled), Some(BundleState::Uninstalled));
        }
        world.releases.push(release);
        world
    };
    let kept = || pruned().map(|removed| Removed { prune: false, ..removed });
    for (what, world, free) in [
        ("it is in the other source", theirs(None, false, false), false),
        ("it left that, to be uninstalled", theirs(pruned(), false, false), true),
        ("its uninstall began", theirs(pruned(), true, false), false),
        ("it is uninstalled, and its record kept", theirs(pruned(), true, true), true),
        ("it left, and was to stay", theirs(kept(), false, false), true),
        ("it was to stay after an uninstall had begun", theirs(kept(), true, false), true),
    ] {
        assert_eq!(world.plan().outcome.refused.is_empty(), free, "{what}: {:?}", world.steps());
    }
    // What the ledger knows as ours stays so, whatever labels somebody gives it.
    let mut relabelled = World::new(vec![desired("mysql", spec("mysql", 1))])
        .recorded("mysql", spec("mysql", 1), "main@sha1:0")
        .with_live("mysql", live(installation("mysql", spec("mysql", 1), 1, true), vec![run(1, DONE)]))
        .reported();
    let object = &mut relabelled.live.installations.values_mut().next().unwrap().object;
    object.metadata.labels.as_mut().unwrap().insert(api::OWNER_NAME_LABEL.into(), other().name);
    assert_eq!(
        steps(&relabelled),
        ["apply installation apps: dev/mysql: differs from what is asked in metadata.labels[flux.getporter.org/name]"]
    );
}

/// Whether it is looked at again by itself while it waits: what concerns another sync by its labels wakes that one.
#[test]
fn what_bears_the_labels_of_another_is_looked_at_again() {
    let running = |labels: bool, taken: bool| {
        let mut world = World::new(vec![desired("mysql", spec("mysql", 2))]);
        world.releases.push(record(desired("mysql", spec("mysql", 1)), if taken { other() } else { sync() }));
        world.releases[0].status.get_or_insert_default().uid = Some("uid-mysql".into());
        world.releases[0].spec.removed = taken.then(pruned).flatten();
        let mut object = installation("mysql", spec("mysql", 1), 1, true);
        if labels {
            object.metadata.labels.as_mut().unwrap().insert(api::OWNER_NAME_LABEL.into(), "other".into());
        }
        world.with_live("mysql", live(object, vec![run(1, RUNS)]))
    };
    for (labels, taken, again) in [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let world = running(labels, taken);
        let outcome = world.plan().outcome;
        assert_eq!(outcome.retry_at.is_some(), again, "labels {labels}, taken {taken}: {outcome:?}");
        assert_eq!(told(&world, "mysql"), "waiting: AgentAction run-1 of generation 1 is not over");
    }
}

#[test]
fn what_is_taken_over_and_does_not_run_takes_no_turn() {
    let theirs = |name: &str, conditions: Option<&[&str]>| {
        let mut object = installation(name, spec(name, 1), 1, true);
        object.metadata.labels = None;
        live(object, conditions.map(|conditions| run_of(name, "a", 1, 1, conditions)).into_iter().collect())
    };
    let two = |taken: plan::LiveInstallation| {
        let mut world = World::new(["a", "b"].map(|name| desired(name, spec(name, 1))).to_vec());
        world.max_actions = 1;
        world.with_live("a", taken)
    };
    let applies = |world: &World| -> Vec<String> {
        let plan = world.plan();
        let applied = plan.due().filter_map(|step| match &step.action {
            Action::ApplyInstallation(apply) => Some(apply.id.name.clone()),
            _ => None,
        });
        applied.collect()
    };
    assert_eq!(applies(&two(theirs("a", Some(DONE)))), ["b"], "its run is over");
    assert!(applies(&two(theirs("a", None))).is_empty(), "its run begins");
    // One that is being deleted runs nothing.
    let mut deleted = two(theirs("a", None)).recorded("a", spec("a", 0), "main@sha1:0");
    let object = &mut deleted.live.installations.values_mut().next().unwrap().object;
    object.metadata.labels = serde_json::from_value(owner_labels()).unwrap();
    object.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
    assert_eq!(applies(&deleted), ["b"], "{:?}", deleted.steps());
}

/// Runs of an earlier object of the same name, and of objects of another kind or name.
#[test]
fn only_runs_of_the_same_name_keep_an_object_busy() {
    let with = |actions: Vec<AgentAction>| {
        let mut world = World::new(vec![desired("mysql", spec("mysql", 2))])
            .recorded("mysql", spec("mysql", 1), "main@sha1:0")
            .with_live("mysql", live(installation("mysql", spec("mysql", 1), 1, true), vec![run(1, DONE)]))
            .reported();
        world.live.installations.values_mut().next().unwrap().actions.extend(actions);
        world
    };
    let of =
        |kind: &str, name: &str, uid: &str, conditions: &[&str]| action((kind, name, uid), "other", 1, 2, conditions);
    let mut unlabelled = of("Installation", "mysql", "uid-before", RUNS);
    unlabelled.metadata.labels.as_mut().unwrap().remove(label::RESOURCE_KIND);
    for (what, seen, busy) in [
        ("one of an earlier object is on", of("Installation", "mysql", "uid-before", RUNS), true),
        ("one of an earlier object is over", of("Installation", "mysql", "uid-before", DONE), false),
        ("one of another name is on", of("Installation", "redis", "uid-redis", RUNS), false),
        ("one of another kind is on", of("ParameterSet", "mysql", "uid-set", RUNS), false),
        ("one without a kind is on", unlabelled, false),
    ] {
        let told = told(&with(vec![seen]), "mysql");
        let expected =
            if busy { "waiting: AgentAction other of generation 1 is not over" } else { "running: applied just now" };
        assert_eq!(told, expected, "{what}");
    }
}
