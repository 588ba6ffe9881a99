//! What leaves the source beside installations, and what happens with installations that may not go, or not all at once.

use crate::support::*;
use api::porter::AgentAction;
use api::{BundleState, Percentage, ReleaseState, Removed, SyncRef, UninstallStatus};
use manifest::ObjectId;
use plan::{Action, LiveSet, Removal, Step, Why};
use serde_json::{Value, json};

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

fn other() -> SyncRef {
    SyncRef { name: "other".into(), namespace: "flux-system".into() }
}

/// Without the reports of states, and what stands as asked.
fn steps(world: &World) -> Vec<String> {
    let steps = world.steps().into_iter();
    steps.filter(|step| !step.starts_with("report ") && !step.starts_with("unchanged ")).collect()
}

/// Installations as they were left by a run with this end, noted in the ledger.
fn stand(names: &[&str], conditions: &[&str]) -> World {
    let mut world = World::new(names.iter().map(|name| desired(name, spec(name, 1))).collect());
    for name in names {
        let runs = vec![run_of(name, &format!("run-{name}"), 1, 1, conditions)];
        world = world
            .recorded(name, spec(name, 1), "main@sha1:0")
            .with_live(name, live(installation(name, spec(name, 1), 1, true), runs));
    }
    let mut world = world.with_agent(api::AGENT_CONFIG, agent_config(once(), true)).reported();
    world.removal = Removal::Uninstall;
    world
}

/// The release of a name.
fn of<'w>(world: &'w mut World, name: &str) -> &'w mut api::BundleRelease {
    world.releases.iter_mut().find(|release| release.spec.installation.name == name).unwrap()
}

fn leave(world: &mut World, name: &str) {
    world.desired.installations.retain(|desired| desired.id.name != name);
}

fn mark(world: &mut World, name: &str, prune: bool) {
    of(world, name).spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune });
}

fn claim(world: &mut World, name: &str) {
    let release = of(world, name).metadata.name.clone().unwrap();
    world.live.claimed.insert((NAMESPACE.into(), release), other());
}

fn dropped(kind: &str, labels: Value) -> (ObjectId, LiveSet) {
    let (group, name) = (if kind == "Secret" { "" } else { "getporter.org" }, kind.to_lowercase());
    let metadata = json!({"name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"), "resourceVersion": "7", "labels": labels});
    (
        ObjectId { group: group.into(), kind: kind.into(), namespace: NAMESPACE.into(), name },
        LiveSet { object: json!({"kind": kind, "metadata": metadata}), actions: Vec::new(), ran: None },
    )
}

#[test]
fn what_else_left_the_source_goes_after_all_that_may_need_it() {
    let with = |mut world: World| {
        world.live.dropped = ["CredentialSet", "Secret"].map(|kind| dropped(kind, owner_labels())).into();
        world
    };
    let edit = |kind: &str, edit: fn(&mut Value)| {
        let mut world = with(stand(&["mysql"], DONE));
        let key = world.live.dropped.keys().find(|id| id.kind == kind).unwrap().clone();
        edit(&mut world.live.dropped.get_mut(&key).unwrap().object);
        world
    };
    let only = |kind: &str| {
        let mut world = with(stand(&["mysql"], DONE));
        world.live.dropped.retain(|id, _| id.kind == kind);
        world
    };
    const SET: &str = "delete CredentialSet/apps/credentialset: no longer in the source";
    const SECRET: &str = "delete Secret/apps/secret: no longer in the source";
    const LATER: &str = "; waits: the installations come first";
    let all_wait = [format!("{SET}{LATER}"), format!("{SECRET}{LATER}")];
    let later = format!("{SECRET}{LATER}");
    let cases: Vec<(&str, World, Vec<String>)> = vec![
        ("nothing is on: sets first", with(stand(&["mysql"], DONE)), vec![SET.into(), later.clone()]),
        ("no set", only("Secret"), vec![SECRET.into()]),
        ("no Secret", only("CredentialSet"), vec![SET.into()]),
        ("a run is on", with(stand(&["mysql"], RUNS)), all_wait.to_vec()),
        ("a run failed", with(stand(&["mysql"], FAILED)), all_wait.to_vec()),
        (
            "what failed was given up",
            {
                let mut world = with(stand(&["mysql"], DONE));
                let release = of(&mut world, "mysql");
                let good = release.spec.asked.clone();
                release.spec.asked.spec = spec("mysql", 2);
                release.spec.asked.digest = porter::digest(&spec("mysql", 2));
                let status = release.status.as_mut().unwrap();
                status.succeeded = Some(good);
                status.rolled_back = Some(api::RolledBack {
                    digest: release.spec.asked.digest.clone(),
                    revision: "main@sha1:2".into(),
                    action: "run-2".into(),
                });
                world.desired.installations[0].spec = spec("mysql", 2);
                let world = world.reported();
                assert_eq!(world.plan().outcome.rolled_back.len(), 1);
                world
            },
            all_wait.to_vec(),
        ),
        (
            "an installation is not ours to write",
            {
                let mut world = with(stand(&["mysql"], DONE));
                world.desired.installations[0].object_name = "another".into();
                let object = installation("another", spec("foreign", 1), 1, true);
                world.with_live("another", live(object, Vec::new()))
            },
            all_wait.to_vec(),
        ),
        (
            "an installation waits",
            {
                let mut world = with(stand(&["mysql"], DONE));
                world.live.terminating.insert("team".into());
                world.desired.installations.push(desired("redis", spec("redis", 1)));
                world.desired.installations[1].id.kube_namespace = "team".into();
                world
            },
            all_wait.to_vec(),
        ),
        (
            "an installation leaves",
            {
                let mut world = with(stand(&["mysql"], DONE));
                leave(&mut world, "mysql");
                world
            },
            [&["mark removed installation apps: dev/mysql: no longer in the source".to_owned()], &all_wait[..]]
                .concat(),
        ),
        (
            "another sync takes an installation over",
            {
                let mut world = with(stand(&["mysql"], DONE));
                leave(&mut world, "mysql");
                mark(&mut world, "mysql", false);
                claim(&mut world, "mysql");
                world.reported()
            },
            vec![SET.into(), later.clone()],
        ),
        (
            "an Installation names the set",
            {
                let mut world = with(stand(&["mysql"], DONE));
                let key = world.live.dropped.keys().find(|id| id.kind == "CredentialSet").unwrap().clone();
                world.live.users.insert(key, "web".into());
                world
            },
            vec![format!("{SET}; waits: Installation web names it"), later.clone()],
        ),
        (
            "the set is being deleted",
            edit("CredentialSet", |set| set["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z")),
            vec![format!("{SET}; waits: the object is being deleted"), later.clone()],
        ),
        (
            "the set is another's",
            edit("CredentialSet", |set| set["metadata"]["labels"]["flux.getporter.org/name"] = json!("other")),
            vec![SECRET.into()],
        ),
        ("the Secret is nobody's", edit("Secret", |secret| secret["metadata"]["labels"] = json!({})), vec![SET.into()]),
        (
            "their namespace goes",
            {
                let mut world = with(World::new(Vec::new()));
                world.removal = Removal::Uninstall;
                world.live.terminating.insert(NAMESPACE.into());
                world
            },
            vec![],
        ),
        ("what leaves stays", World { removal: Removal::Keep, ..with(stand(&["mysql"], DONE)) }, vec![]),
    ];
    for (what, world, expected) in cases {
        assert_eq!(
            steps(&world).into_iter().filter(|step| !step.starts_with("refuse ")).collect::<Vec<_>>(),
            expected,
            "{what}"
        );
        // Each is told, until it is gone.
        let told = world.plan().outcome.uninstalling;
        let objects = told.iter().filter(|told| matches!(told.subject, plan::Subject::Object(_))).count();
        assert_eq!(objects, expected.iter().filter(|step| step.starts_with("delete ")).count(), "{what}: {told:?}");
    }
    let plan = with(stand(&["mysql"], DONE)).plan();
    let deletes: Vec<_> = plan
        .due()
        .filter_map(|step| match &step.action {
            Action::Delete(delete) => Some((delete.uid.as_str(), delete.resource_version.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(deletes, [("uid-credentialset", "7")], "as it was seen and no other");
}

/// Nothing of a revision that would uninstall too much is written, but what was being uninstalled before goes on.
#[test]
fn a_revision_that_is_refused_stops_only_what_is_new_in_it() {
    let world = || {
        let mut world = stand(&["a", "b", "c", "d", "e"], DONE);
        world.limit = Some(Percentage::default());
        for name in ["b", "c", "d", "e"] {
            leave(&mut world, name);
        }
        // What is asked of `a` is new, and so is its end.
        world.desired.installations[0].spec = spec("a", 2);
        of(&mut world, "a").status = None;
        mark(&mut world, "e", true);
        of(&mut world, "e").status.as_mut().unwrap().uninstall = Some(UninstallStatus::default());
        world
    };
    let not_begun = || {
        let mut world = world();
        of(&mut world, "e").status.as_mut().unwrap().uninstall = None;
        world
    };
    let cases: Vec<(&str, World, bool)> = vec![
        ("its uninstall has begun", world(), true),
        ("it is about to begin", not_begun(), true),
        (
            "another asks for it, before it began",
            {
                let mut world = not_begun();
                claim(&mut world, "e");
                world
            },
            false,
        ),
        (
            "another asks for it, too late",
            {
                let mut world = world();
                claim(&mut world, "e");
                world
            },
            true,
        ),
        (
            "another may ask for it",
            {
                let mut world = not_begun();
                world.live.unread = Some(other());
                world
            },
            false,
        ),
        (
            "another may ask for it, too late",
            {
                let mut world = world();
                world.live.unread = Some(other());
                world
            },
            true,
        ),
        (
            "it stays",
            {
                let mut world = not_begun();
                mark(&mut world, "e", false);
                world
            },
            false,
        ),
        (
            "it is back",
            {
                let mut world = world();
                world.desired.installations.push(desired("e", spec("e", 1)));
                world.limit = serde_json::from_value(json!("20%")).ok();
                world
            },
            false,
        ),
        (
            "it is somebody else's now",
            {
                let mut world = world();
                let object = &mut world.live.installations.get_mut(&(NAMESPACE.into(), "e".into())).unwrap().object;
                object.metadata.uid = Some("uid-other".into());
                (object.metadata.labels, object.metadata.finalizers) = (None, None);
                world
            },
            false,
        ),
        (
            "it is another sync's",
            {
                let mut world = world();
                of(&mut world, "e").spec.sync = other();
                world
            },
            false,
        ),
    ];
    for (what, world, goes_on) in cases {
        let plan = world.plan();
        assert!(plan.outcome.blocked.is_some(), "{what}");
        let going: Vec<String> = plan.outcome.uninstalling.iter().map(|told| told.subject.to_string()).collect();
        assert_eq!(going, if goes_on { vec!["installation apps: dev/e"] } else { vec![] }, "{what}");
        assert_eq!(plan.outcome.summary.uninstalling, going.len() as i32, "{what}");
        // The runs of the others are observed, and no more. What is new of them others may wait for.
        assert!(plan.outcome.again, "{what}");
        let others = plan.due().filter(|step| step.subject.to_string() != "installation apps: dev/e");
        let others: Vec<String> = others.map(ToString::to_string).collect();
        assert_eq!(others, ["report installation apps: dev/a: its state changed"], "{what}");
    }
}

#[test]
fn a_revision_that_is_refused_begins_nothing_that_waits_for_what_depended_on_it() {
    let world = |release: &str, begun: bool| {
        let mut world = stand(&["a", "b", "c", "d", "e"], DONE);
        world.limit = Some(Percentage::default());
        for name in ["b", "c", "d", "e"] {
            leave(&mut world, name);
        }
        mark(&mut world, "e", true);
        of(&mut world, release).spec.asked.depends_on = vec![id("e")];
        of(&mut world, "e").status.as_mut().unwrap().uninstall = begun.then(UninstallStatus::default);
        world
    };
    for (what, world, expected) in [
        ("it stays", world("a", false), "dev/a, which depended on it, has to succeed without it first"),
        ("it would go", world("b", false), "dev/b, which depends on it, has to be uninstalled first"),
        ("it has begun", world("a", true), "applied just now"),
    ] {
        let plan = world.plan();
        assert!(plan.outcome.blocked.is_some(), "{what}");
        let told = &plan.outcome.uninstalling[0].message;
        assert!(told.contains(expected), "{what}: {told}");
    }
}

#[test]
fn what_goes_counts_until_the_next_confirmation() {
    let world = |limit: Option<&str>| {
        let mut world = stand(&["a", "b", "c", "d"], DONE);
        leave(&mut world, "c");
        leave(&mut world, "d");
        world.limit = limit.map(|limit| serde_json::from_value(json!(limit)).unwrap());
        world.pruned.insert(id("earlier").to_string());
        world
    };
    let unread = |mut world: World| {
        world.live.unread = Some(other());
        world
    };
    let all = ["c", "d", "earlier"];
    for (what, world, counted) in [
        ("within the limit", world(Some("60%")), &all[..]),
        ("no limit", world(None), &all[2..]),
        ("all may", world(Some("100%")), &all[2..]),
        ("it is confirmed", World { confirmed: true, ..world(Some("60%")) }, &[]),
        ("it is not known yet who asks for them", unread(world(Some("60%"))), &all[2..]),
        ("what leaves stays", World { removal: Removal::Keep, ..world(Some("60%")) }, &all[2..]),
    ] {
        let outcome = world.plan().outcome;
        assert!(outcome.blocked.is_none(), "{what}: {:?}", outcome.blocked);
        let counted: Vec<String> = counted.iter().map(|name| id(name).to_string()).collect();
        assert_eq!(outcome.pruned.into_iter().collect::<Vec<_>>(), counted, "{what}");
    }
}

#[test]
fn each_may_need_a_confirmation() {
    let mut world = stand(&["a", "b"], DONE);
    leave(&mut world, "b");
    world.ask = true;
    let asked = world.plan().outcome;
    assert_eq!(steps(&world), [""; 0]);
    assert!(asked.uninstalling[0].message.ends_with("has to confirm it"), "{asked:?}");
    assert!(asked.unconfirmed.contains(&asked.uninstalling[0].subject), "{asked:?}");
    world.confirmed = true;
    assert_eq!(steps(&world), ["mark removed installation apps: dev/b: no longer in the source"]);
    let told = world.plan().outcome;
    assert_eq!((told.uninstalling[0].message.as_str(), told.summary.uninstalling), ("its uninstall begins", 1));
    assert!(told.unconfirmed.is_empty(), "{told:?}");
}

/// The only one left, and this becomes of it.
fn left(removal: Removal) -> World {
    let mut world = stand(&["a"], DONE);
    leave(&mut world, "a");
    world.removal = removal;
    world
}

#[test]
fn what_is_kept_or_asked_for_elsewhere_is_not_begun() {
    let mut tombstone = left(Removal::Orphan);
    mark(&mut tombstone, "a", true);
    of(&mut tombstone, "a").status.as_mut().unwrap().state = Some(ReleaseState::Uninstalled);
    tombstone.live.installations.clear();
    assert!(tombstone.plan().is_settled(), "its record stays: {:?}", tombstone.steps());

    let marked = ["mark removed installation apps: dev/a: no longer in the source"];
    for removal in [Removal::Orphan, Removal::Uninstall] {
        let mut claimed = left(removal);
        claim(&mut claimed, "a");
        assert_eq!(steps(&claimed), marked, "{removal:?}");
        mark(&mut claimed, "a", removal == Removal::Uninstall);
        let claimed = claimed.reported();
        let outcome = claimed.plan().outcome;
        assert!(steps(&claimed).is_empty() && outcome.handed.len() == 1, "{removal:?}: {:?}", claimed.steps());
        assert!(claimed.releases[0].status.as_ref().unwrap().uninstall.is_none(), "{removal:?}");
        assert!(outcome.uninstalling[0].message.contains("takes it over"), "{removal:?}");
        assert!(outcome.retry_at.is_some(), "{removal:?}: no event tells of it");
    }
}

/// The state of the release follows from the mark, and no event comes of it.
#[test]
fn what_is_marked_is_planned_again_at_once_until_its_release_says_so() {
    let claimed = |removal| {
        let mut world = left(removal);
        claim(&mut world, "a");
        world
    };
    for (what, mut world, prune) in [
        ("it stays", left(Removal::Keep), false),
        ("it is uninstalled", left(Removal::Uninstall), true),
        ("another sync asks for it", claimed(Removal::Uninstall), false),
        ("another sync asks for it, and this one lets go", claimed(Removal::Orphan), false),
    ] {
        assert_eq!(steps(&world), ["mark removed installation apps: dev/a: no longer in the source"], "{what}");
        assert!(world.plan().outcome.again, "{what}");
        mark(&mut world, "a", prune);
        let mut world = world.reported();
        let state = of(&mut world, "a").status.as_ref().unwrap().state;
        assert_eq!(state, Some(if prune { ReleaseState::Uninstalling } else { ReleaseState::Removed }), "{what}");
        assert!(prune || !world.plan().outcome.again, "{what}: only once");
    }
}

#[test]
fn an_object_that_holds_another_installation_is_left_to_that() {
    let leaving = || {
        let mut world = stand(&["mysql"], DONE);
        leave(&mut world, "mysql");
        mark(&mut world, "mysql", true);
        let status = of(&mut world, "mysql").status.as_mut().unwrap();
        status.uninstall = Some(UninstallStatus::default());
        status.bundle = Some(BundleState::Installed);
        world.live.installations.values_mut().next().unwrap().object.spec.name = "edited".into();
        world
    };
    let wait = "Installation/apps/mysql holds another Porter installation: put its spec.name and spec.namespace back";
    assert_eq!(leaving().plan().outcome.uninstalling[0].message, wait);
    let mut asked = leaving();
    asked.desired.installations = vec![desired("edited", spec("edited", 1))];
    asked.desired.installations[0].object_name = "elsewhere".into();
    let mut recorded = leaving();
    recorded = recorded.recorded("edited", spec("edited", 1), "main@sha1:0");
    for (what, world) in [("the source asks for it", asked), ("it has a release", recorded)] {
        let moved = "mark removed installation apps: dev/mysql: its object was named mysql";
        assert!(steps(&world).contains(&moved.to_owned()), "{what}: {:?}", world.steps());
    }
}

#[test]
fn what_is_uninstalled_goes_with_its_release_unless_the_record_is_kept() {
    let gone = |keep_record, bundle| {
        let mut world = stand(&["mysql"], DONE);
        leave(&mut world, "mysql");
        mark(&mut world, "mysql", true);
        let status = of(&mut world, "mysql").status.as_mut().unwrap();
        (status.uninstall, status.bundle) = (Some(UninstallStatus::default()), bundle);
        world.live.installations.clear();
        // Beside another one, whose steps are not its.
        world.desired.installations = vec![desired("new", spec("new", 1))];
        World { keep_record, ..world }
    };
    let new = ["record", "apply"].map(|verb| format!("{verb} installation apps: dev/new: new in the source"));
    let delete =
        "delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: it is uninstalled".to_owned();
    let kept = "report installation apps: dev/mysql: its state changed".to_owned();
    for (what, world, last) in [
        ("nothing is left in Porter", gone(false, None), &delete),
        ("there is no record to keep", gone(true, None), &delete),
        ("its record is kept", gone(true, Some(BundleState::Uninstalled)), &kept),
    ] {
        assert_eq!(world.steps(), [&new[..], std::slice::from_ref(last)].concat(), "{what}");
        let state = world.reported().releases[0].status.clone().unwrap().state;
        assert_eq!(state == Some(ReleaseState::Uninstalled), last == &kept, "{what}");
    }
}

/// Documents of the local mode: at once, so that what depends on something goes first.
#[test]
fn local_documents_that_leave_go_in_reverse_order() {
    let mut world = stand(&["a", "b", "c"], DONE);
    for (name, on) in [("a", vec![]), ("b", vec!["a"]), ("c", vec!["a", "b"])] {
        of(&mut world, name).spec.asked.depends_on = on.into_iter().map(id).collect();
    }
    world.desired.installations.clear();
    world.removal = Removal::Local;
    let left = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("uninstall installation apps: dev/{name}: no longer in the source")).collect()
    };
    assert_eq!(world.steps(), left(&["c", "b", "a"]));
    // What waits for itself waits for nobody; what waits for that comes before.
    of(&mut world, "a").spec.asked.depends_on = vec![id("b")];
    assert_eq!(world.steps(), left(&["c", "a", "b"]));
}

#[test]
fn what_else_left_the_source_waits_for_who_may_ask_for_it() {
    let mut world = stand(&["mysql"], DONE);
    world.live.dropped = ["CredentialSet", "Secret"].map(|kind| dropped(kind, owner_labels())).into();
    for (unread, due) in [(Some(other()), 0), (None, 1)] {
        world.live.unread = unread.clone();
        let plan = world.plan();
        assert_eq!(plan.due().count(), due, "{unread:?}: {:?}", world.steps());
        assert_eq!(plan.outcome.retry_at.is_some(), unread.is_some(), "no event need follow when that has read it");
    }
}

#[test]
fn an_agent_action_that_left_the_source_goes_once_it_is_over() {
    for (conditions, due) in [(&[][..], true), (RUNS, false), (DONE, true), (FAILED, true)] {
        let mut world = stand(&["mysql"], DONE);
        let (id, mut live) = dropped("AgentAction", owner_labels());
        let run = serde_json::to_value(action(("", "", ""), &id.name, 1, 100, conditions)).unwrap();
        (live.object["spec"], live.object["status"]) = (run["spec"].clone(), run["status"].clone());
        world.live.dropped = [(id, live)].into();
        let waits = if due { "" } else { "; waits: AgentAction agentaction is not over" };
        let gone = format!("delete AgentAction/apps/agentaction: no longer in the source{waits}");
        assert!(world.steps().contains(&gone), "{:?}", world.steps());
    }
}

/// A set of the inventory that is being deleted, and the AgentActions of the operator for that.
fn forgets(mut world: World, runs: Vec<AgentAction>) -> World {
    let (id, mut set) = dropped("CredentialSet", owner_labels());
    let metadata = &mut set.object["metadata"];
    (metadata["deletionTimestamp"], metadata["generation"]) = (json!("2026-01-01T00:00:00Z"), json!(2));
    metadata["finalizers"] = json!(["getporter.org/finalizer"]);
    set.actions = runs;
    set.ran = world.plan().outcome.ran.first().cloned();
    world.live.dropped.insert(id, set);
    world
}

#[test]
fn the_deletion_of_a_set_is_told_and_run_again_for_as_long_as_it_fails() {
    const ENDED: i64 = 1_767_225_600 + 105;
    let run = |name: &str, conditions| {
        action(("CredentialSet", "credentialset", "uid-credentialset"), name, 2, 100, conditions)
    };
    let deleted = |world: &World| -> Vec<String> {
        let steps = world.plan().steps.into_iter().filter(Step::is_due);
        let deleted = steps.filter_map(|step| match step.action {
            Action::Delete(delete) => Some(format!("{}: {}", delete.id, step.reason)),
            _ => None,
        });
        deleted.collect()
    };
    let on = |world: &World| {
        let outcome = world.plan().outcome;
        assert!(outcome.uninstall_failed.is_empty() && outcome.uninstalling.len() == 1, "{outcome:?}");
        outcome.uninstalling[0].message.clone()
    };
    const DELETED: &str = "the object is being deleted";
    let mut world = forgets(stand(&["mysql"], DONE), vec![]);
    assert_eq!(on(&world), DELETED);
    world = forgets(world, vec![run("gone-1", RUNS)]);
    assert_eq!(on(&world), format!("{DELETED}: AgentAction gone-1 runs"));
    let why = |reason: &str| Why { reason: reason.into(), log: None };
    world.live.why.insert((NAMESPACE.into(), "gone-1".into()), why("ImagePullBackOff"));
    assert_eq!(on(&world), format!("{DELETED}: AgentAction gone-1 does not get on: ImagePullBackOff"));
    // No limit holds, and each pause is twice as long.
    for (n, pause) in [(1, 60), (2, 120), (3, 240)] {
        let name = format!("gone-{n}");
        world = forgets(world, vec![run(&name, FAILED)]);
        world.live.why.insert((NAMESPACE.into(), name.clone()), why("Evicted"));
        world.now = ENDED + pause - 1;
        let outcome = world.plan().outcome;
        let told = &outcome.uninstall_failed[0].message;
        assert!(
            told.starts_with(&format!("{DELETED}: AgentAction {name} failed: Evicted; it is tried again at")),
            "{told}"
        );
        assert!(outcome.uninstalling.is_empty() && outcome.retry_at.is_some() && deleted(&world).is_empty(), "{n}");
        world.now += 1;
        assert!(deleted(&world).is_empty() && world.plan().outcome.again, "{n}: it is noted first");
        world = forgets(world, vec![run(&name, FAILED)]);
        assert_eq!(on(&world), format!("{DELETED}: it is run again"));
        assert_eq!(deleted(&world), [format!("AgentAction/apps/{name}: its run failed")]);
        world = forgets(world, vec![]);
        assert!(deleted(&world).is_empty(), "{n}");
    }
    // Another object of its name begins anew.
    world = forgets(world, vec![run("gone-4", FAILED)]);
    world.live.dropped.values_mut().next().unwrap().object["metadata"]["uid"] = json!("uid-other");
    assert_eq!(on(&world), DELETED);
}

#[test]
fn the_deletion_of_a_set_that_comes_back_is_told_and_run_again_too() {
    let run = |conditions| action(("CredentialSet", "creds", "uid-creds"), "gone-1", 2, 100, conditions);
    let mut object = set("creds", 1).body;
    object["metadata"] = json!({
        "name": "creds", "namespace": NAMESPACE, "uid": "uid-creds", "generation": 2, "resourceVersion": "7",
        "labels": owner_labels(), "finalizers": ["getporter.org/finalizer"], "deletionTimestamp": "2026-01-01T00:00:00Z",
    });
    let mut world = World::new(vec![]).with_set("creds", object, vec![run(RUNS)]);
    world.desired.sets = vec![set("creds", 1)];
    assert_eq!(world.plan().outcome.waiting[0].message, "the object is being deleted: AgentAction gone-1 runs");
    let live = world.live.sets.values_mut().next().unwrap();
    live.actions = vec![run(FAILED)];
    let mut early = world.clone();
    early.now = 1_767_225_600 + 110;
    let told = early.plan().outcome.failed[0].message.clone();
    assert!(
        told.starts_with("the object is being deleted: AgentAction gone-1 failed; it is tried again at "),
        "{told}"
    );
    let plan = world.plan();
    assert!(plan.is_settled() && plan.outcome.again, "it is noted first: {:?}", world.steps());
    world.live.sets.values_mut().next().unwrap().ran = plan.outcome.ran.first().cloned();
    let steps: Vec<String> = world.plan().due().map(ToString::to_string).collect();
    assert_eq!(steps, ["delete AgentAction/apps/gone-1: its run failed"]);
    assert_eq!(world.plan().outcome.waiting[0].message, "the object is being deleted: it is run again");
}
