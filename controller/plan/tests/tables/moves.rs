//! Installations that move to another object, and objects that somebody else made.

use crate::support::*;
use api::{Adoption, ReleaseState, RunResult};
use plan::Action;
use serde_json::json;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

/// `mysql` is installed in an object of its name, and asked for in another.
fn moved(to: &str, conditions: &[&str]) -> World {
    let mut world = World::new(vec![desired("mysql", spec("mysql", 1))])
        .recorded("mysql", spec("mysql", 1), "main@sha1:0")
        .with_live(
            "mysql",
            live(installation("mysql", spec("mysql", 1), 1, true), vec![run_of("mysql", "a", 1, 1, conditions)]),
        )
        .reported();
    world.desired.installations[0].object_name = to.into();
    world
}

/// Without the reports of states.
fn steps(world: &World) -> Vec<String> {
    world.steps().into_iter().filter(|step| !step.starts_with("report")).collect()
}

#[test]
fn the_old_object_goes_before_the_new_one_is_made() {
    let mut world = moved("db", DONE);
    let from = "its object was named mysql";
    assert_eq!(steps(&world), [format!("delete Installation/apps/mysql of installation apps: dev/mysql: {from}")]);
    let told = &world.plan().outcome.waiting[0].message;
    assert_eq!(told, "its Installation mysql makes place for db");

    let key = (NAMESPACE.to_owned(), "mysql".to_owned());
    let old = world.live.installations.get_mut(&key).unwrap();
    old.object.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
    assert_eq!(
        steps(&world),
        ["lift the finalizer of installation apps: dev/mysql: it is being deleted and nothing of it runs"]
    );
    let told = &world.plan().outcome.waiting[0].message;
    assert_eq!(told, "it moves to Installation db: the object is being deleted");

    world.live.installations.clear();
    assert_eq!(
        steps(&world),
        [format!("record installation apps: dev/mysql: {from}"), format!("apply installation apps: dev/mysql: {from}")]
    );
}

#[test]
fn nothing_moves_during_a_run() {
    let running = moved("db", RUNS);
    assert!(steps(&running).is_empty(), "{:?}", running.steps());
    let told = &running.plan().outcome.waiting[0].message;
    assert_eq!(told, "it moves to Installation db: AgentAction a of generation 1 is not over");
}

#[test]
fn two_change_places_and_a_chain_goes_in_its_order() {
    let both = |first: &str, second: &str| {
        let mut world = World::new(["mysql", "redis"].map(|name| desired(name, spec(name, 1))).into_iter().collect());
        for name in ["mysql", "redis"] {
            world = world.recorded(name, spec(name, 1), "main@sha1:0").with_live(
                name,
                live(
                    installation(name, spec(name, 1), 1, true),
                    vec![run_of(name, &format!("run-{name}"), 1, 1, DONE)],
                ),
            );
        }
        let mut world = world.reported();
        world.desired.installations[0].object_name = first.into();
        world.desired.installations[1].object_name = second.into();
        world
    };
    let deletes = |world: &World| -> Vec<String> {
        let delete = |step: &plan::Step| match &step.action {
            Action::Delete(delete) => Some(delete.id.name.clone()),
            _ => None,
        };
        world.plan().steps.iter().filter_map(delete).collect()
    };
    assert_eq!(deletes(&both("redis", "mysql")), ["mysql", "redis"]);
    // The first waits until the second has left.
    let chain = both("redis", "other");
    assert_eq!(deletes(&chain), ["redis"]);
    assert_eq!(
        chain.plan().outcome.waiting[0].message,
        "it moves to Installation redis: installation apps: dev/redis has to leave its Installation first"
    );
    // Where it cannot go nothing leaves.
    let mut barred = both("redis", "redis-2");
    barred = barred.with_live("redis-2", live(installation("redis-2", spec("foreign", 1), 1, true), vec![]));
    assert!(deletes(&barred).is_empty(), "{:?}", barred.steps());
    assert_eq!(barred.plan().outcome.refused.len(), 1);
}

#[test]
fn an_upgrade_that_failed_is_not_undone_by_a_move() {
    let asked = || spec("mysql", 2);
    let mut world = World::new(vec![desired("mysql", asked())])
        .recorded("mysql", spec("mysql", 1), "main@sha1:0")
        .with_live(
            "mysql",
            live(installation("mysql", spec("mysql", 1), 1, true), vec![run_of("mysql", "a", 1, 1, DONE)]),
        )
        .reported();
    let status = world.releases[0].status.clone();
    world.releases.clear();
    world = world.recorded("mysql", asked(), "main@sha1:1");
    world.releases[0].status = status;
    let runs = vec![run_of("mysql", "a", 1, 1, DONE), run_of("mysql", "b", 2, 2, FAILED)];
    world = world.with_live("mysql", live(installation("mysql", asked(), 2, true), runs)).reported();
    assert_eq!(world.releases[0].status.as_ref().unwrap().state, Some(ReleaseState::Failed));

    // In its new object Porter finds nothing to do, and says that this went well.
    let mut object = installation("mysql", asked(), 1, true);
    (object.metadata.name, object.metadata.uid) = (Some("db".into()), Some("uid-db".into()));
    world.live.installations.clear();
    world.desired.installations[0].object_name = "db".into();
    world.releases[0].spec.object_name = "db".into();
    let idle = action(("Installation", "db", "uid-db"), "c", 1, 3, DONE);
    let world = world.with_live("db", live(object, vec![idle])).reported();
    let status = world.releases[0].status.clone().unwrap();
    assert_eq!((status.state, status.runs[0].result), (Some(ReleaseState::Failed), Some(RunResult::Succeeded)));
    assert_eq!(status.message.as_deref(), Some("AgentAction b failed, and Porter found nothing to do in c"));
    let mut again = world
        .with_agent("default", agent_config(json!({}), true))
        .with_agent("porter-flux", agent_config(once(), true));
    again.retries = 1;
    let run = again.plan().steps.iter().find_map(|step| match &step.action {
        Action::Run(action) => Some(action.spec.args.join(" ")),
        _ => None,
    });
    assert_eq!(run.as_deref(), Some("installation apply installation.yaml --force"));
}

#[test]
fn what_somebody_else_made_is_recorded_before_it_is_written() {
    let object = unowned(installation("mysql", spec("mysql", 1), 1, true));
    let world = |adoption, conditions: &[&str]| {
        let mut world = World::new(vec![desired("mysql", spec("mysql", 1))])
            .with_live("mysql", live(object.clone(), vec![run_of("mysql", "a", 1, 1, conditions)]));
        world.adoption = adoption;
        world
    };
    let refused = world(Adoption::Never, FAILED).plan().outcome.refused[0].message.clone();
    assert!(refused.ends_with("; its last run failed"), "{refused}");

    let found = world(Adoption::IfUnowned, DONE);
    assert_eq!(steps(&found), ["record installation apps: dev/mysql: its release is missing"]);
    // What stands may still be otherwise than asked: it is not ready by that.
    assert!(found.plan().outcome.again && found.plan().outcome.summary.ready == 0);
    let recorded = found.recorded("mysql", spec("mysql", 1), "main@sha1:1");
    let labels = "metadata.labels[flux.getporter.org/name], metadata.labels[flux.getporter.org/namespace]";
    assert_eq!(
        recorded.steps(),
        [
            "report installation apps: dev/mysql: its state changed".to_owned(),
            format!("apply installation apps: dev/mysql: differs from what is asked in {labels}, metadata.finalizers")
        ]
    );
    // Only when nothing of it runs.
    let busy = world(Adoption::IfUnowned, RUNS).recorded("mysql", spec("mysql", 1), "main@sha1:1");
    assert!(busy.plan().outcome.waiting[0].message.starts_with("AgentAction a"), "{:?}", busy.plan().outcome);
    assert!(!steps(&busy).iter().any(|step| step.starts_with("apply") && !step.contains("waits")));
}

#[test]
fn an_old_object_is_left_only_where_it_is_ours() {
    let sync = |name: &str| api::SyncRef { name: name.into(), namespace: "flux-system".into() };
    // Whose it is by its labels, and whether the ledger knows its uid.
    for (owner, noted, stuck) in [
        (Some("shop"), true, false),
        (Some("shop"), false, false),
        (Some("before"), false, false),
        (Some("gone"), false, false),
        (Some("other"), false, true),
        (Some("other"), true, false),
        (None, false, true),
        (None, true, false),
    ] {
        let mut world = moved("db", DONE);
        world.live.absent_owners.insert(sync("gone"));
        // Taken over from a sync that lost the document.
        world.releases[0].spec.sync = sync("before");
        world.releases[0].spec.removed = Some(api::Removed { revision: "main@sha1:2".into(), prune: false });
        let status = world.releases[0].status.as_mut().unwrap();
        status.uid = Some(if noted { "uid-mysql" } else { "uid-earlier" }.into());
        let object = &mut world.live.installations.values_mut().next().unwrap().object;
        object.metadata.labels = owner.map(|owner| {
            let namespace = (api::OWNER_NAMESPACE_LABEL.to_owned(), "flux-system".to_owned());
            [(api::OWNER_NAME_LABEL.to_owned(), owner.to_owned()), namespace].into()
        });
        for uid in [true, false] {
            let mut world = world.clone();
            if !uid && !noted {
                world.releases[0].status.as_mut().unwrap().uid = None;
            }
            let refused = world.plan().outcome.refused;
            assert_eq!(!refused.is_empty(), stuck, "{owner:?} {noted}: {refused:?}");
            let deletes = steps(&world).iter().any(|step| step.starts_with("delete Installation/apps/mysql"));
            assert_eq!(deletes, !stuck, "{owner:?} {noted}: {:?}", world.steps());
        }
    }
}
