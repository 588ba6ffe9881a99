//! Each state that an installation can be in, and the steps that follow from it.

use crate::support::*;
use api::{Adoption, ReleaseState, RunResult, SyncRef};
use plan::{Precondition, Remains, Removal};
use serde_json::json;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

#[test]
fn each_state_gives_its_steps() {
    let one = || World::new(vec![desired("mysql", spec("mysql", 1))]);
    let at1 = || one().recorded("mysql", spec("mysql", 1), "main@sha1:0");
    let at0 = || one().recorded("mysql", spec("mysql", 0), "main@sha1:0");
    let object = |n, generation, touched| installation("mysql", spec("mysql", n), generation, touched);
    let run =
        |generation, conditions| run_of("mysql", &format!("run-{generation}"), generation, generation, conditions);

    let cases: Vec<(&str, World, &[&str])> = vec![
        (
            "new",
            one(),
            &[
                "record installation apps: dev/mysql: new in the source",
                "apply installation apps: dev/mysql: new in the source",
            ],
        ),
        ("crash after the record", at1(), &["apply installation apps: dev/mysql: new in the source"]),
        (
            "as asked",
            at1().with_live("mysql", live(object(1, 1, true), vec![run(1, DONE)])).reported(),
            &["unchanged installation apps: dev/mysql: as asked"],
        ),
        (
            "changed while idle",
            at0().with_live("mysql", live(object(0, 1, true), vec![run(1, DONE)])).reported(),
            &[
                "record installation apps: dev/mysql: the source asks for another spec than at main@sha1:0",
                "apply installation apps: dev/mysql: the source asks for another spec than at main@sha1:0",
            ],
        ),
        (
            "changed while idle, and the end of the last run not noted yet: noted first",
            at0().with_live("mysql", live(object(0, 1, true), vec![run(1, DONE)])),
            &[
                "report installation apps: dev/mysql: its state changed",
                "record installation apps: dev/mysql: the source asks for another spec than at main@sha1:0",
                "apply installation apps: dev/mysql: the source asks for another spec than at main@sha1:0",
            ],
        ),
        (
            "changed while it runs",
            at0().with_live("mysql", live(object(0, 1, true), vec![run(1, RUNS)])).reported(),
            &[
                "record installation apps: dev/mysql: the source asks for another spec than at main@sha1:0; waits: AgentAction run-1 of generation 1 is not over",
                "apply installation apps: dev/mysql: the source asks for another spec than at main@sha1:0; waits: AgentAction run-1 of generation 1 is not over",
            ],
        ),
        (
            "changed before the operator saw the last change",
            at0().with_live("mysql", live(object(0, 2, true), vec![run(1, DONE)])).reported(),
            &[
                "record installation apps: dev/mysql: the source asks for another spec than at main@sha1:0; waits: the operator has not run generation 2 yet",
                "apply installation apps: dev/mysql: the source asks for another spec than at main@sha1:0; waits: the operator has not run generation 2 yet",
            ],
        ),
        (
            "changed before the operator saw it at all",
            at0().with_live("mysql", live(object(0, 1, false), vec![])).reported(),
            &[
                "record installation apps: dev/mysql: the source asks for another spec than at main@sha1:0",
                "apply installation apps: dev/mysql: the source asks for another spec than at main@sha1:0",
            ],
        ),
        (
            "crash between record and apply of a change",
            at1().with_live("mysql", live(object(0, 1, true), vec![run(1, DONE)])).reported(),
            &["apply installation apps: dev/mysql: differs from what is asked in spec.parameters.n"],
        ),
        (
            "the same, and the last spec ran well",
            {
                let mut world = at1().with_live("mysql", live(object(0, 1, true), vec![run(1, DONE)])).reported();
                let asked = at0().releases.remove(0).spec.asked;
                world.releases[0].status.as_mut().unwrap().succeeded = Some(asked);
                world
            },
            &["apply installation apps: dev/mysql: the source asks for another spec than at main@sha1:0"],
        ),
        (
            "an old generation's action runs again",
            at0().with_live("mysql", live(object(0, 2, true), vec![run(1, &[]), run(2, DONE)])).reported(),
            &[
                "record installation apps: dev/mysql: the source asks for another spec than at main@sha1:0; waits: AgentAction run-1 of generation 1 is not over",
                "apply installation apps: dev/mysql: the source asks for another spec than at main@sha1:0; waits: AgentAction run-1 of generation 1 is not over",
            ],
        ),
        (
            "edited by hand to what the source now asks for: recorded only",
            at0().with_live("mysql", live(object(1, 2, true), vec![run(1, DONE), run(2, RUNS)])).reported(),
            &["record installation apps: dev/mysql: the source asks for another spec than at main@sha1:0"],
        ),
        (
            "release lost",
            one().with_live("mysql", live(object(1, 1, true), vec![run(1, DONE)])),
            &["record installation apps: dev/mysql: its release is missing"],
        ),
    ];
    for (what, world, steps) in cases {
        assert_eq!(world.steps(), steps, "{what}");
        let due = steps.iter().any(|step| !step.starts_with("unchanged") && !step.contains("; waits: "));
        assert_eq!(world.plan().is_settled(), !due, "{what}");
    }
}

#[test]
fn a_spec_is_written_only_over_the_version_that_was_seen() {
    let world = World::new(vec![desired("mysql", spec("mysql", 1))])
        .recorded("mysql", spec("mysql", 0), "main@sha1:0")
        .with_live("mysql", live(installation("mysql", spec("mysql", 0), 1, false), vec![]));
    let plan = world.plan();
    let applies: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            plan::Action::ApplyInstallation(apply) => Some(apply),
            _ => None,
        })
        .collect();
    assert_eq!(applies.len(), 1);
    assert_eq!(applies[0].precondition, Precondition::seen(Some("100"), Some("uid-mysql")));
    let body = applies[0].request_body();
    assert_eq!(body["metadata"]["resourceVersion"], "100");
    assert_eq!(body["metadata"]["labels"], owner_labels());
    assert_eq!(body["spec"], spec("mysql", 1));
}

#[test]
fn what_does_not_exist_is_written_only_while_it_does_not() {
    let mut world = World::new(vec![desired("mysql", spec("mysql", 1))]);
    world.desired.sets.push(set("creds", 1));
    let precondition = |action: &plan::Action| match action {
        plan::Action::ApplySet(apply) | plan::Action::ApplyInstallation(apply) => {
            // One that no object has: an apply that carries it creates, or is a conflict.
            assert_eq!(apply.request_body()["metadata"]["resourceVersion"], "1");
            Some(apply.precondition.clone())
        }
        _ => None,
    };
    let seen: Vec<_> = world.plan().steps.iter().filter_map(|step| precondition(&step.action)).collect();
    assert_eq!(seen, [Precondition::Absent, Precondition::Absent]);
}

#[test]
fn conflicts_are_refused() {
    let one = || World::new(vec![desired("mysql", spec("mysql", 1))]);
    let object = || installation("mysql", spec("mysql", 1), 1, true);
    let done = || vec![run_of("mysql", "run-1", 1, 1, DONE)];

    let mut others = one();
    others.sync = SyncRef { name: "other".into(), namespace: "team".into() };
    let mut others = others.recorded("mysql", spec("mysql", 1), "main@sha1:0");
    others.sync = sync();

    let mut unowned = object();
    unowned.metadata.labels = None;
    let mut foreign = object();
    foreign.metadata.labels =
        serde_json::from_value(json!({"flux.getporter.org/name": "other", "flux.getporter.org/namespace": "team"}))
            .unwrap();

    let mut renamed =
        one().recorded("mysql", spec("mysql", 1), "main@sha1:0").with_live("mysql", live(object(), done()));
    renamed.desired.installations[0].object_name = "mysql-2".into();
    let mut taken = renamed.clone();
    taken.live.installations.get_mut(&(NAMESPACE.to_owned(), "mysql".to_owned())).unwrap().object = unowned.clone();

    for (what, world, refusal) in [
        (
            "another sync has the release",
            others,
            Some("installation apps: dev/mysql is owned by BundleSync team/other"),
        ),
        (
            "somebody else made the object",
            {
                let mut world = one().with_live("mysql", live(unowned.clone(), done()));
                world.adoption = Adoption::Never;
                world
            },
            Some("Installation/apps/mysql exists already and isn't managed by this BundleSync: spec.adoption is Never"),
        ),
        (
            "another sync labelled the object",
            one().with_live("mysql", live(foreign, done())),
            Some("installation apps: dev/mysql is owned by BundleSync team/other"),
        ),
        (
            "the object holds another installation",
            one().with_live("mysql", live(installation("mysql", spec("old", 1), 1, true), vec![])),
            Some("Installation/apps/mysql holds Porter installation dev/old, not dev/mysql"),
        ),
        (
            "renamed, and the old object is somebody else's",
            taken,
            Some("installation apps: dev/mysql is held by Installation/apps/mysql, which is not this BundleSync's"),
        ),
        (
            "our labels taken off, but the release knows the uid",
            {
                let mut world = one()
                    .recorded("mysql", spec("mysql", 1), "main@sha1:0")
                    .with_live("mysql", live(object(), done()))
                    .reported();
                let key = (NAMESPACE.to_owned(), "mysql".to_owned());
                world.live.installations.insert(key, live(unowned, done()));
                world
            },
            None,
        ),
    ] {
        let plan = world.plan();
        let writes = plan.due().any(|step| !matches!(step.action, plan::Action::ReleaseStatus { .. }));
        match refusal {
            Some(refusal) => {
                assert!(!writes, "{what}: {:?}", world.steps());
                let told = &plan.outcome.refused[0].message;
                assert!(told.starts_with(refusal), "{what}: {told}");
                let step = format!("refuse installation apps: dev/mysql: {refusal}");
                assert!(world.steps().iter().any(|shown| shown.starts_with(&step)), "{what}: {:?}", world.steps());
                assert_eq!(plan.outcome.summary.failed, 1, "{what}");
            }
            None => assert!(writes && plan.outcome.refused.is_empty(), "{what}: {:?}", world.steps()),
        }
    }
}

#[test]
fn an_installation_waits_for_the_runs_of_its_sets() {
    let mut asked = spec("mysql", 1);
    asked["credentialSets"] = json!(["creds"]);
    let world = |live: Option<(i64, i64, Vec<api::porter::AgentAction>)>| {
        let mut world = World::new(vec![desired("mysql", asked.clone())]);
        world.desired.sets = vec![set("creds", 1)];
        match live {
            None => world,
            Some((n, generation, actions)) => {
                let mut object = set("creds", n).body;
                object["metadata"]["labels"] = owner_labels();
                object["metadata"]["uid"] = json!("uid-creds");
                object["metadata"]["generation"] = json!(generation);
                object["metadata"]["finalizers"] = json!(["getporter.org/finalizer"]);
                world.with_set("creds", object, actions)
            }
        }
    };
    let run = |generation, conditions| {
        action(
            ("CredentialSet", "creds", "uid-creds"),
            &format!("set-{generation}"),
            generation,
            generation,
            conditions,
        )
    };
    for (what, world, set_step, wait) in [
        ("no set yet", world(None), "apply", Some("CredentialSet/apps/creds is not applied yet")),
        (
            "not seen",
            world(Some((1, 1, vec![]))),
            "unchanged",
            Some("the operator has not run CredentialSet/apps/creds yet"),
        ),
        (
            "runs",
            world(Some((1, 1, vec![run(1, RUNS)]))),
            "unchanged",
            Some("AgentAction set-1 of CredentialSet/apps/creds is not over"),
        ),
        (
            "failed",
            world(Some((1, 1, vec![run(1, FAILED)]))),
            "unchanged",
            Some("AgentAction set-1 of CredentialSet/apps/creds failed"),
        ),
        (
            "changed",
            world(Some((0, 1, vec![run(1, DONE)]))),
            "apply",
            Some("CredentialSet/apps/creds is not applied yet"),
        ),
        (
            "changed after failure",
            world(Some((0, 1, vec![run(1, FAILED)]))),
            "apply",
            Some("CredentialSet/apps/creds is not applied yet"),
        ),
        (
            "an old run is no answer",
            world(Some((1, 2, vec![run(1, DONE)]))),
            "unchanged",
            Some("the operator has not run CredentialSet/apps/creds yet"),
        ),
        ("done", world(Some((1, 1, vec![run(1, DONE)]))), "unchanged", None),
    ] {
        let plan = world.plan();
        assert_eq!(plan.steps[0].action.verb(), set_step, "{what}");
        let waits: Vec<_> = plan.outcome.waiting.iter().map(|told| told.message.as_str()).collect();
        assert_eq!(waits, wait.into_iter().collect::<Vec<_>>(), "{what}");
        assert_eq!(plan.steps[1].is_due(), wait.is_none(), "{what}");
    }
    let failed = world(Some((1, 1, vec![run(1, FAILED)]))).plan();
    assert_eq!(failed.outcome.failed.len(), 1);
}

#[test]
fn a_final_run_is_latched_for_good() {
    let recorded = |actions| {
        World::new(vec![desired("mysql", spec("mysql", 1))])
            .recorded("mysql", spec("mysql", 1), "main@sha1:0")
            .with_live("mysql", live(installation("mysql", spec("mysql", 1), 1, true), actions))
    };
    let state = |world: &World| {
        let status = world.releases[0].status.clone().unwrap();
        (status.state.unwrap(), status.runs.iter().map(|run| (run.action.clone(), run.result)).collect::<Vec<_>>())
    };
    let run = |name: &str, at, conditions| run_of("mysql", name, 1, at, conditions);

    // Where every release starts is not worth a request.
    let mut world = recorded(vec![]).reported();
    assert_eq!(world.releases[0].status, None);
    assert!(world.plan().is_settled(), "{:?}", world.steps());

    for (what, actions, expected, runs) in [
        ("begins", vec![run("a", 1, &[])], ReleaseState::Running, vec![("a", None)]),
        ("a phase says nothing", vec![run("a", 1, &["Completed=False"])], ReleaseState::Running, vec![("a", None)]),
        ("ends", vec![run("a", 1, DONE)], ReleaseState::Succeeded, vec![("a", Some(RunResult::Succeeded))]),
        (
            "runs again: its Job expired",
            vec![run("a", 1, &[])],
            ReleaseState::Succeeded,
            vec![("a", Some(RunResult::Succeeded))],
        ),
        ("and fails", vec![run("a", 1, FAILED)], ReleaseState::Succeeded, vec![("a", Some(RunResult::Succeeded))]),
        ("its action is deleted", vec![], ReleaseState::Succeeded, vec![("a", Some(RunResult::Succeeded))]),
        (
            "the operator makes another for the same generation: a new run",
            vec![run("b", 9, RUNS)],
            ReleaseState::Running,
            vec![("b", None), ("a", Some(RunResult::Succeeded))],
        ),
        (
            "which fails",
            vec![run("b", 9, FAILED)],
            ReleaseState::Failed,
            vec![("b", Some(RunResult::Failed)), ("a", Some(RunResult::Succeeded))],
        ),
    ] {
        let object = installation("mysql", spec("mysql", 1), 1, true);
        world = world.with_live("mysql", live(object, actions)).reported();
        let runs: Vec<_> = runs.into_iter().map(|(name, result)| (name.to_owned(), result)).collect();
        assert_eq!(state(&world), (expected, runs), "{what}");
        assert!(world.plan().is_settled(), "{what}: {:?}", world.steps());
    }
    let status = world.releases[0].status.clone().unwrap();
    assert_eq!(status.succeeded.unwrap().revision, "main@sha1:0");
    assert_eq!(status.runs[0].revision, "main@sha1:0");

    // Deleted by hand and made again: generation 1 once more, but of another object.
    let mut again = installation("mysql", spec("mysql", 1), 1, true);
    again.metadata.uid = Some("uid-2".into());
    again.metadata.creation_timestamp = serde_json::from_value(json!("2026-02-01T00:00:00Z")).unwrap();
    world = world.with_live("mysql", live(again, vec![])).reported();
    assert_eq!(world.releases[0].status.clone().unwrap().state, Some(ReleaseState::Pending));
    assert_eq!(world.plan().outcome.summary.waiting, 1);
}

#[test]
fn a_run_is_attributed_whatever_empty_values_its_spec_had() {
    for (field, empty) in [("namespace", json!("")), ("labels", json!({"team": ""})), ("parameterSets", json!([]))] {
        let asked = |n| {
            let mut asked = desired("mysql", spec("mysql", n));
            asked.spec[field] = empty.clone();
            asked.id.porter_namespace = asked.spec["namespace"].as_str().unwrap().to_owned();
            asked
        };
        let record = |world: &World| match &world.plan().steps[0].action {
            plan::Action::RecordRelease(record) => (*record.release).clone(),
            other => panic!("{field}: {other:?}"),
        };
        // The operator wrote it back without what is empty, and ran it.
        let stands = || {
            let without = plan::drift::without_empty(&asked(1).spec);
            let mut object = json!(installation("mysql", spec("mysql", 1), 1, true));
            object["spec"] = without;
            object["spec"]["namespace"] = asked(1).spec["namespace"].clone();
            serde_json::from_value(object).unwrap()
        };
        let mut world = World::new(vec![asked(1)]);
        world.revision = "main@sha1:0".into();
        world.releases.push(record(&world));
        world = world.with_live("mysql", live(stands(), vec![run_of("mysql", "a", 1, 1, DONE)])).reported();
        assert!(world.plan().is_settled(), "{field}: {:?}", world.steps());

        // Another spec is recorded and not applied yet when the operator runs the old one again.
        let mut newer = World::new(vec![asked(2)]);
        newer.revision = "main@sha1:1".into();
        world.releases[0].spec = record(&newer).spec;
        world = world.with_live("mysql", live(stands(), vec![run_of("mysql", "b", 1, 9, RUNS)])).reported();
        let runs = world.releases[0].status.clone().unwrap().runs;
        let told: Vec<_> = runs.iter().map(|run| (run.action.as_str(), run.revision.as_str())).collect();
        assert_eq!(told, [("b", "main@sha1:0"), ("a", "main@sha1:0")], "{field}");
        assert_eq!(runs[0].digest, runs[1].digest, "{field}");
    }
}

#[test]
fn what_left_the_source_is_marked_once_and_comes_back() {
    let mut world = World::new(vec![]).recorded("mysql", spec("mysql", 1), "main@sha1:0").with_live(
        "mysql",
        live(installation("mysql", spec("mysql", 1), 1, true), vec![run_of("mysql", "a", 1, 1, DONE)]),
    );
    let plan = world.plan();
    let marked = plan.steps.iter().find_map(|step| match &step.action {
        plan::Action::MarkRemoved(release) => Some((**release).clone()),
        _ => None,
    });
    let marked = marked.unwrap();
    assert_eq!(marked.spec.removed.as_ref().unwrap().revision, "main@sha1:1");
    assert_eq!(plan.outcome.summary.removed, 1);
    world.releases[0].spec = marked.spec;
    world = world.reported();
    assert!(world.plan().is_settled(), "{:?}", world.steps());
    assert_eq!(world.releases[0].status.clone().unwrap().state, Some(ReleaseState::Removed));

    world.desired = World::new(vec![desired("mysql", spec("mysql", 1))]).desired;
    assert_eq!(world.steps(), ["record installation apps: dev/mysql: back in the source"]);
}

#[test]
fn deleted_by_hand_is_applied_again() {
    let gone = World::new(vec![desired("mysql", spec("mysql", 1))])
        .recorded("mysql", spec("mysql", 1), "main@sha1:0")
        .with_live(
            "mysql",
            live(installation("mysql", spec("mysql", 1), 1, true), vec![run_of("mysql", "a", 1, 1, DONE)]),
        )
        .reported();
    let mut terminating = gone.clone();
    let mut gone = gone;
    gone.live.installations.clear();
    assert_eq!(gone.steps(), ["apply installation apps: dev/mysql: it was applied before and is gone"]);

    let key = (NAMESPACE.to_owned(), "mysql".to_owned());
    let object = &mut terminating.live.installations.get_mut(&key).unwrap().object;
    object.metadata.deletion_timestamp = serde_json::from_value(json!("2026-02-01T00:00:00Z")).unwrap();
    let plan = terminating.plan();
    assert_eq!(plan.outcome.waiting[0].message, "the object is being deleted");
    // Nothing of it runs: our finalizer lets it go, and the next plan makes it again.
    let lifted = "lift the finalizer of installation apps: dev/mysql: it is being deleted and nothing of it runs";
    assert!(terminating.steps().contains(&lifted.to_owned()), "{:?}", terminating.steps());
    let key = (NAMESPACE.to_owned(), "mysql".to_owned());
    terminating.live.installations.get_mut(&key).unwrap().actions = vec![run_of("mysql", "a", 1, 1, RUNS)];
    assert!(terminating.plan().due().all(|step| matches!(step.action, plan::Action::ReleaseStatus { .. })));
}

#[test]
fn local_documents_wait_for_nothing_and_are_uninstalled() {
    let mut world = World::new(vec![desired("new", spec("new", 1))])
        .recorded("old", spec("old", 1), "main@sha1:0")
        .with_live("old", live(installation("old", spec("old", 1), 1, true), vec![run_of("old", "a", 1, 1, RUNS)]));
    world.removal = Removal::Local;
    assert_eq!(
        world.steps(),
        [
            "uninstall installation apps: dev/old: no longer in the source",
            "record installation apps: dev/new: new in the source",
            "apply installation apps: dev/new: new in the source",
        ]
    );
}

#[test]
fn local_documents_move_and_change_hands_at_once() {
    let local = |name: &str, n, object: &str| {
        let mut world = World::new(vec![desired(name, spec(name, n))]);
        world.desired.installations[0].object_name = object.into();
        world.removal = Removal::Local;
        world
    };
    let mut unlabelled = installation("mysql", spec("mysql", 1), 0, false);
    unlabelled.metadata.labels = None;
    let document = || live(unlabelled.clone(), vec![]);

    let as_asked = local("mysql", 1, "mysql").recorded("mysql", spec("mysql", 1), "a").with_live("mysql", document());
    assert_eq!(as_asked.steps(), ["unchanged installation apps: dev/mysql: as asked"]);

    let moved = local("mysql", 1, "db").recorded("mysql", spec("mysql", 1), "a").with_live("mysql", document());
    assert_eq!(
        moved.steps(),
        [
            "record installation apps: dev/mysql: its object was named mysql",
            "apply installation apps: dev/mysql: its object was named mysql",
        ]
    );

    let renamed = local("db", 1, "mysql").recorded("mysql", spec("mysql", 1), "a").with_live("mysql", document());
    assert_eq!(
        renamed.steps(),
        [
            "uninstall installation apps: dev/mysql: no longer in the source",
            "record installation apps: dev/db: new in the source",
            "apply installation apps: dev/db: new in the source",
        ]
    );
    // Nobody's labels in local documents.
    for step in renamed.plan().steps {
        if let plan::Action::ApplyInstallation(apply) = step.action {
            assert!(apply.body["metadata"].get("labels").is_none(), "{}", apply.body);
        }
    }
}

#[test]
fn an_inventory_entry_makes_nobodys_object_ours() {
    let asked = set("creds", 1);
    let mut stripped = set("creds", 0).body;
    stripped["metadata"]["uid"] = json!("uid-creds");
    let mut world = World::new(vec![]).with_set("creds", stripped, vec![]);
    world.adoption = Adoption::Never;
    world.desired.sets = vec![asked];
    world.inventory.insert(set_id("creds"));
    let plan = world.plan();
    assert!(plan.is_settled(), "{:?}", world.steps());
    let told = &plan.outcome.refused[0].message;
    assert!(told.starts_with("CredentialSet/apps/creds exists already"), "{told}");
}

#[test]
fn what_is_deleted_during_a_run_is_made_again_after_it() {
    let recorded = || {
        let running = live(installation("mysql", spec("mysql", 1), 1, true), vec![run_of("mysql", "a", 1, 1, RUNS)]);
        World::new(vec![desired("mysql", spec("mysql", 1))])
            .recorded("mysql", spec("mysql", 1), "main@sha1:0")
            .with_live("mysql", running)
            .reported()
    };
    let key = || (NAMESPACE.to_owned(), "mysql".to_owned());
    let job = || Some("mysql-a-bundle".to_owned());
    for (what, actions, job, wait) in [
        ("nothing is left", vec![], None, None),
        (
            "the garbage collector has not come yet",
            vec![run_of("mysql", "a", 1, 1, RUNS)],
            job(),
            Some("AgentAction a of generation 1 is not over"),
        ),
        ("an action that is over", vec![run_of("mysql", "a", 1, 1, DONE)], None, None),
        ("the bundle goes on", vec![], job(), Some("Job mysql-a-bundle of the bundle is active")),
    ] {
        let mut gone = recorded();
        gone.live.installations.clear();
        gone.live.remains.insert(key(), Remains { actions: actions.clone(), job: job.clone() });
        let plan = gone.plan();
        let waits: Vec<_> = plan.outcome.waiting.iter().map(|told| told.message.as_str()).collect();
        assert_eq!(waits, wait.into_iter().collect::<Vec<_>>(), "{what}");
        let applies = plan.due().any(|step| matches!(step.action, plan::Action::ApplyInstallation(_)));
        assert_eq!(applies, wait.is_none(), "{what}: {:?}", gone.steps());

        // Somebody made it again, otherwise than asked.
        let mut again = recorded();
        let mut object = installation("mysql", spec("mysql", 0), 1, false);
        object.metadata.uid = Some("uid-2".into());
        let mut standing = live(object, actions);
        standing.bundle_job = job;
        again.live.installations.insert(key(), standing);
        let applies = again.plan().due().any(|step| matches!(step.action, plan::Action::ApplyInstallation(_)));
        assert_eq!(applies, wait.is_none(), "{what}: {:?}", again.steps());
    }
}

#[test]
fn nothing_runs_when_an_object_may_not_be_written() {
    let world = || {
        let mut world = World::new(vec![desired("mysql", spec("mysql", 1))]);
        world.adoption = Adoption::Never;
        world.desired.sets = vec![set("creds", 1)];
        world
    };
    let mut foreign = set("creds", 1).body;
    foreign["metadata"]["uid"] = json!("uid-creds");
    let mut deleting = foreign.clone();
    deleting["metadata"]["labels"] = owner_labels();
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for (what, object, wait) in [
        ("somebody else's", foreign, "CredentialSet/apps/creds may not be applied"),
        ("being deleted", deleting, "CredentialSet/apps/creds is not applied yet"),
    ] {
        // The installation does not name the set: an agent's configuration, a Secret are not named either.
        let world = world().with_set("creds", object, vec![]);
        let plan = world.plan();
        assert!(plan.is_settled(), "{what}: {:?}", world.steps());
        assert_eq!(plan.outcome.waiting.last().unwrap().message, wait, "{what}");
    }
}

#[test]
fn a_set_that_ran_well_has_run_whatever_its_expired_job_does() {
    let object = |uid: &str, generation: i64| {
        let mut object = set("creds", 1).body;
        object["metadata"]["labels"] = owner_labels();
        object["metadata"]["uid"] = json!(uid);
        object["metadata"]["generation"] = json!(generation);
        object["metadata"]["finalizers"] = json!(["getporter.org/finalizer"]);
        object
    };
    let world = |object: serde_json::Value, ran, conditions| {
        let run = action(("CredentialSet", "creds", "uid-creds"), "set-1", 1, 1, conditions);
        let mut asked = spec("mysql", 1);
        asked["credentialSets"] = json!(["creds"]);
        let mut world = World::new(vec![desired("mysql", asked)]).with_set("creds", object, vec![run]);
        world.desired.sets = vec![set("creds", 1)];
        world.live.sets.get_mut(&set_id("creds")).unwrap().ran = ran;
        world
    };
    let first = world(object("uid-creds", 1), None, DONE).plan().outcome.ran;
    let ran = first.iter().next().cloned();
    assert!(ran.is_some());
    for (what, object, conditions, ready) in [
        ("runs again", object("uid-creds", 1), RUNS, true),
        ("failed the second time", object("uid-creds", 1), FAILED, true),
        ("changed", object("uid-creds", 2), DONE, false),
        ("another of the same name", object("uid-2", 1), DONE, false),
    ] {
        let plan = world(object, ran.clone(), conditions).plan();
        assert_eq!(plan.outcome.ran == first, ready, "{what}");
        assert_eq!(plan.outcome.waiting.is_empty(), ready, "{what}: {:?}", plan.outcome);
        assert_eq!(plan.steps[1].is_due(), ready, "{what}");
        assert!(plan.outcome.failed.is_empty(), "{what}");
    }
    assert!(world(object("uid-creds", 1), None, RUNS).plan().outcome.ran.is_empty());
}

#[test]
fn an_installation_goes_over_to_another_sync_without_a_run() {
    let other = || SyncRef { name: "other".into(), namespace: "team".into() };
    // As the other sync left it: recorded, applied, run, with its labels.
    let theirs = |prune: Option<bool>| {
        let mut world = World::new(vec![desired("mysql", spec("mysql", 1))]);
        world.sync = other();
        world = world.recorded("mysql", spec("mysql", 1), "main@sha1:0");
        world.sync = sync();
        let mut object = installation("mysql", spec("mysql", 1), 1, true);
        object.metadata.labels = world.releases[0].metadata.labels.clone();
        world.releases[0].spec.removed = prune.map(|prune| api::Removed { revision: "main@sha1:1".into(), prune });
        world.with_live("mysql", live(object, vec![run_of("mysql", "a", 1, 1, DONE)]))
    };
    let mut gone = theirs(None);
    gone.live.absent_owners.insert(other());
    let mut unrecorded = gone.clone();
    unrecorded.releases.clear();

    let stays = theirs(None);
    assert!(stays.plan().is_settled(), "{:?}", stays.steps());
    assert!(stays.plan().outcome.refused[0].message.ends_with(
        "is owned by BundleSync team/other; remove it from this source, or from that of team/other, after which this BundleSync takes it over; its last run succeeded"
    ));
    let mut leaving = theirs(None);
    leaving.live.leaving.insert((NAMESPACE.into(), leaving.releases[0].metadata.name.clone().unwrap()));
    assert!(leaving.steps().is_empty() && leaving.plan().outcome.refused.is_empty());
    assert!(
        leaving.plan().outcome.waiting[0].message.contains("BundleSync team/other, which had it, has to let it go")
    );
    let mut begun = theirs(Some(true));
    begun.releases[0].status.get_or_insert_default().uninstall.get_or_insert_default();
    assert_eq!(begun.plan().outcome.refused.len(), 1, "{:?}", begun.steps());
    for (what, world) in [
        ("kept", theirs(Some(false))),
        ("left", theirs(Some(true))),
        ("its sync is gone", gone),
        ("and its release", unrecorded),
    ] {
        let plan = world.plan();
        assert!(plan.outcome.refused.is_empty(), "{what}: {:?}", plan.outcome.refused);
        let record = plan.due().find_map(|step| match &step.action {
            plan::Action::RecordRelease(record) => Some(record.clone()),
            _ => None,
        });
        let record = record.unwrap();
        assert_eq!((record.create, &record.release.spec.sync), (world.releases.is_empty(), &sync()), "{what}");
        assert!(record.release.spec.removed.is_none(), "{what}");
        let apply = plan.due().find_map(|step| match &step.action {
            plan::Action::ApplyInstallation(apply) => Some(apply.clone()),
            _ => None,
        });
        // What a release does not know is recorded first, and written once its runs are noted.
        let Some(apply) = apply else {
            assert!(world.releases.is_empty() && plan.outcome.again, "{what}");
            continue;
        };
        // The labels are all that changes, so no generation and no run.
        assert_eq!(apply.body["metadata"]["labels"], owner_labels(), "{what}");
        assert_eq!(apply.body["spec"], spec("mysql", 1), "{what}");
    }

    // The other sync sees that it is no longer its own.
    let mut before = World::new(vec![]).recorded("mysql", spec("mysql", 1), "main@sha1:1");
    before.sync = other();
    assert_eq!((before.steps().len(), before.plan().outcome.summary.removed), (0, 0));
}

#[test]
fn an_object_of_a_sync_that_is_gone_is_free() {
    let mut object = set("creds", 1).body;
    object["metadata"]["uid"] = json!("uid-creds");
    object["metadata"]["labels"] = json!({"flux.getporter.org/name": "other", "flux.getporter.org/namespace": "team"});
    let mut world = World::new(vec![]).with_set("creds", object, vec![]);
    world.desired.sets = vec![set("creds", 1)];
    assert!(world.plan().is_settled());
    let told = world.plan().outcome.refused[0].message.clone();
    assert!(told.starts_with("CredentialSet/apps/creds is owned by BundleSync team/other"), "{told}");
    world.live.absent_owners.insert(SyncRef { name: "other".into(), namespace: "team".into() });
    assert_eq!(
        world.steps(),
        [
            "apply CredentialSet/apps/creds: differs from what is asked in metadata.labels[flux.getporter.org/name], metadata.labels[flux.getporter.org/namespace]"
        ]
    );
}

/// What happens with what is another's by its labels wakes only that one.
#[test]
fn what_is_anothers_is_looked_at_again_while_it_is_waited_for() {
    let other = SyncRef { name: "other".into(), namespace: "flux-system".into() };
    let stands = |conditions: &[&str]| {
        let mut object = installation("mysql", spec("mysql", 1), 1, true);
        let labels = object.metadata.labels.as_mut().unwrap();
        labels.insert(api::OWNER_NAME_LABEL.into(), other.name.clone());
        let mut world = World::new(vec![desired("mysql", spec("mysql", 1))]);
        world.sync = other.clone();
        let mut world = world
            .recorded("mysql", spec("mysql", 1), "main@sha1:1")
            .with_live("mysql", live(object, vec![run_of("mysql", "run-1", 1, 1, conditions)]));
        world.releases[0].spec.removed = Some(api::Removed { revision: "main@sha1:2".into(), prune: false });
        world.sync = sync();
        world.desired = World::new(vec![desired("mysql", spec("mysql", 1))]).desired;
        world
    };
    let on = stands(RUNS).plan();
    assert!(!on.outcome.waiting.is_empty() && on.outcome.retry_at.is_some(), "{:?}", on.outcome);
    let over = stands(DONE).plan();
    assert!(over.outcome.waiting.is_empty() && over.outcome.retry_at.is_none(), "{:?}", over.outcome);
    for (what, conditions) in [("a run of the old object is on", RUNS), ("the old object is deleted", DONE)] {
        let mut moves = stands(conditions);
        moves.desired.installations[0].object_name = "db".into();
        let outcome = moves.plan().outcome;
        assert!(!outcome.waiting.is_empty() && outcome.retry_at.is_some(), "{what}: {outcome:?}");
    }
    // Its own events come by themselves.
    let own = World::new(vec![desired("mysql", spec("mysql", 2))])
        .recorded("mysql", spec("mysql", 1), "main@sha1:1")
        .with_live(
            "mysql",
            live(installation("mysql", spec("mysql", 1), 1, true), vec![run_of("mysql", "run-1", 1, 1, RUNS)]),
        );
    assert!(own.plan().outcome.retry_at.is_none());
    let mut moves = own;
    moves.desired.installations[0].object_name = "db".into();
    assert!(moves.plan().outcome.retry_at.is_none());
}

/// The controller stops between any two steps, or the operator touches the object before the last one.
#[test]
fn what_is_taken_over_before_any_run_was_seen_is_not_refused_to_who_has_it() {
    let other = SyncRef { name: "other".into(), namespace: "flux-system".into() };
    let mut object = installation("mysql", spec("mysql", 1), 1, false);
    object.metadata.labels.as_mut().unwrap().insert(api::OWNER_NAME_LABEL.into(), other.name.clone());
    let mut world = World { sync: other, ..World::new(vec![]) }
        .recorded("mysql", spec("mysql", 1), "main@sha1:1")
        .with_live("mysql", live(object, vec![]));
    world.sync = sync();
    (world.adoption, world.removal) = (Adoption::Never, Removal::Uninstall);
    world.desired = World::new(vec![desired("mysql", spec("mysql", 1))]).desired;
    let release = world.releases[0].metadata.name.clone().unwrap();
    world.live.yielded.insert((NAMESPACE.into(), release));
    let steps = world.plan().steps;
    for taken in 0..steps.len() {
        let mut world = world.clone();
        for step in &steps[..taken] {
            match &step.action {
                plan::Action::ReleaseStatus { status, .. } => world.releases[0].status = Some((**status).clone()),
                plan::Action::RecordRelease(record) => world.releases[0].spec = record.release.spec.clone(),
                other => panic!("{other:?}"),
            }
        }
        let applies = world.steps().iter().any(|step| step.starts_with("apply installation apps: dev/mysql"));
        assert!(applies, "after {taken}: {:?}", world.steps());
        if world.releases[0].spec.sync == world.sync {
            world.desired.installations.clear();
            let told = &world.plan().outcome.uninstalling[0].message;
            assert_eq!(told, "its uninstall begins", "after {taken}");
        }
    }
}
