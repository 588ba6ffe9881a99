//! What runs when the sets of an installation, or the Secrets that these name, give something else.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::*;
use api::porter::AgentAction;
use api::{BundleState, Inputs, ReleaseState, Removed};
use manifest::{ObjectId, Origin};
use plan::{Action, Agent, InputSet, LiveSet, Removal, SetKind, SetName};
use porter::DesiredObject;
use serde_json::{Value, json};

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];
const APPLY: Option<&str> = Some("installation apply installation.yaml");
const FORCE: Option<&str> = Some("installation apply installation.yaml --force");

const PS: (SetKind, &str) = (SetKind::Parameters, "ps");
const CS: (SetKind, &str) = (SetKind::Credentials, "cs");

/// A document that names a set of each kind.
fn naming(n: i64) -> Value {
    let mut spec = spec("mysql", n);
    spec["parameterSets"] = json!(["ps"]);
    spec["credentialSets"] = json!(["cs"]);
    spec
}

fn uninstalled() -> Value {
    let mut spec = naming(1);
    spec["uninstalled"] = true.into();
    spec
}

fn set_name((kind, name): (SetKind, &str)) -> SetName {
    SetName { kube_namespace: NAMESPACE.into(), kind, porter_namespace: "dev".into(), name: name.into() }
}

fn object_id((kind, name): (SetKind, &str)) -> ObjectId {
    ObjectId {
        group: "getporter.org".into(),
        kind: kind.kind().into(),
        namespace: NAMESPACE.into(),
        name: format!("{name}-object"),
    }
}

/// A set that somebody made, whose own run ended so.
fn input(set: (SetKind, &str), digest: &str, conditions: Option<&[&str]>) -> InputSet {
    let id = object_id(set);
    let object = json!({
        "kind": id.kind,
        "metadata": {"name": id.name, "namespace": NAMESPACE, "uid": format!("uid-{}", id.name), "generation": 1,
                     "finalizers": ["getporter.org/finalizer"]},
    });
    let run = |conditions: &&[&str]| {
        action((&id.kind, &id.name, &format!("uid-{}", id.name)), &format!("run-of-{}", id.name), 1, 1, conditions)
    };
    let live = LiveSet { object, actions: conditions.iter().map(run).collect(), ran: None };
    let secrets = BTreeSet::from([format!("{}-secret", set.1)]);
    InputSet { id, live, digest: format!("secrets:key:{digest}"), secrets, faults: Vec::new() }
}

fn give(mut world: World, set: (SetKind, &str), digest: &str) -> World {
    world = gives(world, set, input(set, digest, Some(DONE)));
    world
}

fn gives(mut world: World, set: (SetKind, &str), input: InputSet) -> World {
    world.live.inputs.get_or_insert_default().insert(set_name(set), input);
    world
}

fn lacks(world: World, set: (SetKind, &str), digest: &str) -> World {
    let fault = format!("{}, token: there is no Secret apps/secret; make it", object_id(set));
    gives(world, set, InputSet { faults: vec![fault], ..input(set, digest, Some(DONE)) })
}

fn without(mut world: World, set: (SetKind, &str)) -> World {
    world.live.inputs.as_mut().unwrap().remove(&set_name(set));
    world
}

fn asking(spec: Value) -> World {
    let mut world = World::new(vec![desired("mysql", spec)]).with_agent("porter-flux", agent_config(once(), true));
    world.agent = Agent::None;
    give(give(world, PS, "1"), CS, "1")
}

/// An installation that was written with what both sets gave, `1`, and whose run ended so, noted in the ledger.
fn stands(spec: Value, conditions: &[&str]) -> World {
    asking(spec.clone())
        .recorded("mysql", spec.clone(), "main@sha1:1")
        .with_live(
            "mysql",
            live(installation("mysql", spec, 1, true), vec![run_of("mysql", "run-1", 1, 1, conditions)]),
        )
        .reported()
}

fn done() -> World {
    stands(naming(1), DONE)
}

fn with_bundle(mut world: World, bundle: BundleState) -> World {
    world.releases[0].status.as_mut().unwrap().bundle = Some(bundle);
    world
}

fn given(world: &World) -> Inputs {
    world.releases[0].status.as_ref().unwrap().inputs.clone().unwrap()
}

fn digests(parameters: &str, credentials: &str) -> Inputs {
    let one = |name: &str, digest: &str| BTreeMap::from([(name.to_owned(), format!("secrets:key:{digest}"))]);
    Inputs { parameter_sets: one("ps", parameters), credential_sets: one("cs", credentials) }
}

/// The command that is planned is there, in such a state.
fn commanded(mut world: World, at: i64, conditions: &[&str]) -> World {
    let mut command = commands(&world).remove(0);
    let seen = action(("AgentAction", "none", "none"), "any", 0, at, conditions);
    command.metadata.creation_timestamp = seen.metadata.creation_timestamp;
    command.metadata.uid = Some("uid-command".into());
    command.status = seen.status;
    let release = world.releases[0].metadata.name.clone().unwrap();
    world = world.reported();
    world.live.ours.insert((NAMESPACE.into(), release), vec![command]);
    world
}

/// The result of the command is noted, and it is deleted.
fn noted(world: World) -> World {
    let mut world = world.reported();
    world.live.ours.clear();
    world.reported()
}

fn arguments(world: &World) -> Vec<String> {
    commands(world).iter().map(|action| action.spec.args.join(" ")).collect()
}

#[test]
fn each_state_and_change_has_its_run() {
    let cases: Vec<(&str, World, Option<&str>)> = vec![
        ("nothing", done(), None),
        ("parameters", give(done(), PS, "2"), APPLY),
        ("credentials", give(done(), CS, "2"), FORCE),
        ("both", give(give(done(), PS, "2"), CS, "2"), FORCE),
        ("a set that it does not name", give(done(), (SetKind::Parameters, "other"), "2"), None),
        ("a set of the name and of the other kind", give(done(), (SetKind::Credentials, "ps"), "2"), None),
        (
            "it is digested otherwise",
            gives(done(), PS, InputSet { digest: "secrets:new:2".into(), ..input(PS, "", Some(DONE)) }),
            None,
        ),
        (
            "parameters, after a failed upgrade",
            give(with_bundle(stands(naming(1), FAILED), BundleState::Installed), PS, "2"),
            FORCE,
        ),
        ("parameters, after a failed install", give(stands(naming(1), FAILED), PS, "2"), APPLY),
        ("credentials, after a failed install", give(stands(naming(1), FAILED), CS, "2"), APPLY),
        ("it is uninstalled", give(stands(uninstalled(), DONE), CS, "2"), None),
        (
            "its uninstall failed",
            give(with_bundle(stands(uninstalled(), FAILED), BundleState::Installed), CS, "2"),
            APPLY,
        ),
        ("while it runs", give(stands(naming(1), RUNS), CS, "2"), None),
        ("never run", give(asking(naming(1)).recorded("mysql", naming(1), "main@sha1:1"), CS, "2"), None),
        ("the set runs", gives(done(), PS, input(PS, "2", Some(RUNS))), None),
        ("the set failed", gives(done(), PS, input(PS, "2", Some(FAILED))), None),
        ("the operator has not run the set", gives(done(), PS, input(PS, "2", None)), None),
        (
            "another set runs, as it does when a Job expires",
            gives(give(done(), PS, "2"), CS, input(CS, "1", Some(RUNS))),
            APPLY,
        ),
        ("a set that gives the same runs", gives(done(), PS, input(PS, "1", Some(RUNS))), None),
        ("a Secret is missing", lacks(done(), CS, "2"), None),
        ("a Secret is missing of the other set", lacks(give(done(), PS, "2"), CS, "2"), None),
        ("a set is gone", without(done(), CS), None),
        ("a set is gone, the other changed", without(give(done(), PS, "2"), CS), None),
        (
            "the document changes too",
            {
                let mut world = give(done(), CS, "2");
                world.desired.installations[0].spec = naming(2);
                world
            },
            None,
        ),
        (
            "it left the source, and stays",
            {
                let mut world = give(done(), CS, "2");
                world.desired.installations.clear();
                world.releases[0].spec.removed = Some(Removed { revision: "main@sha1:2".into(), prune: false });
                world.removal = Removal::Keep;
                world
            },
            None,
        ),
        (
            "it left the source, and is uninstalled",
            {
                let mut world = give(done(), CS, "2");
                world.desired.installations.clear();
                world.removal = Removal::Uninstall;
                world
            },
            None,
        ),
        (
            "somebody deletes it",
            {
                let mut world = give(done(), CS, "2");
                let object = &mut world.live.installations.values_mut().next().unwrap().object;
                object.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
                world
            },
            None,
        ),
        (
            "and it is asked for by hand: one run",
            {
                let mut world = give(done(), PS, "2");
                let annotations = world.releases[0].metadata.annotations.get_or_insert_default();
                annotations.insert(api::FORCE_AT.to_owned(), "1".to_owned());
                world
            },
            FORCE,
        ),
        (
            "nobody looks",
            {
                let mut world = give(done(), PS, "2");
                world.live.inputs = None;
                world
            },
            None,
        ),
    ];
    for (what, world, expected) in cases {
        let made = arguments(&world);
        assert_eq!(made.first().map(String::as_str), expected, "{what}: {:?}", world.steps());
        assert!(made.len() <= 1, "{what}");
        if expected.is_none() {
            continue;
        }
        // It runs once, whatever came of it.
        for end in [DONE, FAILED] {
            let on = commanded(world.clone(), 100, RUNS);
            assert!(commands(&on).is_empty(), "{what}: while it runs");
            let after = noted(commanded(world.clone(), 100, end));
            assert!(commands(&after).is_empty(), "{what}: {:?}", after.steps());
            let now = after.live.inputs.as_ref().unwrap();
            for (name, digest) in given(&after).parameter_sets.iter().chain(&given(&after).credential_sets) {
                assert!(now.iter().any(|(set, input)| set.name == *name && input.digest == *digest), "{what}: {name}");
            }
        }
    }
}

#[test]
fn what_is_waited_for_and_what_is_missing_is_told() {
    let told = |world: World| {
        let world = world.reported();
        let status = world.releases[0].status.clone().unwrap();
        (status.state.unwrap(), status.message.unwrap())
    };
    let waits = "something else than at its last run is given by ParameterSet/apps/ps-object; waits: ";
    let gone = "there is no CredentialSet in namespace apps that is called cs in Porter; add it";
    let lacking = "CredentialSet/apps/cs-object, token: there is no Secret apps/secret; make it";
    for (what, world, state, message) in [
        ("as before", done(), ReleaseState::Succeeded, "AgentAction run-1 succeeded".to_owned()),
        (
            "the set runs",
            gives(done(), PS, input(PS, "2", Some(RUNS))),
            ReleaseState::Running,
            format!("{waits}the run of ParameterSet/apps/ps-object"),
        ),
        (
            "the set failed",
            gives(done(), PS, input(PS, "2", Some(FAILED))),
            ReleaseState::Running,
            format!("{waits}AgentAction run-of-ps-object of ParameterSet/apps/ps-object failed"),
        ),
        (
            "a Secret is missing",
            lacks(done(), CS, "2"),
            ReleaseState::Succeeded,
            format!("AgentAction run-1 succeeded; {lacking}"),
        ),
        (
            "a Secret was missing, and the run failed",
            lacks(stands(naming(1), FAILED), CS, "1"),
            ReleaseState::Failed,
            format!("AgentAction run-1 failed; {lacking}"),
        ),
        ("a set is gone", without(done(), CS), ReleaseState::Succeeded, format!("AgentAction run-1 succeeded; {gone}")),
        (
            "a set was never there, and the run failed",
            without(asking(naming(1)), CS).recorded("mysql", naming(1), "main@sha1:1").with_live(
                "mysql",
                live(installation("mysql", naming(1), 1, true), vec![run_of("mysql", "run-1", 1, 1, FAILED)]),
            ),
            ReleaseState::Failed,
            format!("AgentAction run-1 failed; {gone}"),
        ),
        (
            "a set was never there, and Porter knows it all the same",
            without(asking(naming(1)), CS).recorded("mysql", naming(1), "main@sha1:1").with_live(
                "mysql",
                live(installation("mysql", naming(1), 1, true), vec![run_of("mysql", "run-1", 1, 1, DONE)]),
            ),
            ReleaseState::Succeeded,
            "AgentAction run-1 succeeded".to_owned(),
        ),
    ] {
        assert_eq!(told(world), (state, message), "{what}");
    }
}

#[test]
fn what_appears_or_comes_back_is_a_change_only_when_it_is_one() {
    // It comes back with what it gave: nothing. With something else: a run.
    let lacking = lacks(done(), CS, "missing").reported();
    assert!(commands(&lacking).is_empty());
    assert!(commands(&give(lacking.clone(), CS, "1")).is_empty());
    assert_eq!(arguments(&give(lacking, CS, "2")), [FORCE.unwrap()]);
    let gone = without(done(), CS).reported();
    assert!(commands(&give(gone.clone(), CS, "1")).is_empty());
    assert_eq!(arguments(&give(gone, CS, "2")), [FORCE.unwrap()]);
    // An install that failed without it runs once it is there.
    let failed = lacks(asking(naming(1)), CS, "missing")
        .recorded("mysql", naming(1), "main@sha1:1")
        .with_live(
            "mysql",
            live(installation("mysql", naming(1), 1, true), vec![run_of("mysql", "run-1", 1, 1, FAILED)]),
        )
        .reported();
    assert!(commands(&failed).is_empty());
    assert_eq!(arguments(&give(failed, CS, "1")), [APPLY.unwrap()]);
}

#[test]
fn changes_while_something_is_on_are_one_run() {
    // While the run of the document is on.
    let on = give(give(stands(naming(1), RUNS), CS, "2"), CS, "3").reported();
    let mut over = on;
    over.live.installations.values_mut().next().unwrap().actions = vec![run_of("mysql", "run-1", 1, 1, DONE)];
    let over = over.reported();
    let changed = |name: &str| BTreeMap::from([(name.to_owned(), "changed".to_owned())]);
    let unknown = Inputs { credential_sets: changed("cs"), ..digests("1", "1") };
    assert_eq!(given(&over), unknown, "the run may have read it before or after");
    assert_eq!(arguments(&give(over.clone(), CS, "1")), [FORCE.unwrap()], "also when all is as it was");
    assert_eq!(arguments(&over), [FORCE.unwrap()]);
    // While the run for a change is on: what it was given is on it.
    let on = commanded(over, 100, RUNS);
    let again = give(give(give(on, PS, "4"), PS, "5"), CS, "5");
    assert!(commands(&again).is_empty());
    let mut after = again;
    let command = &mut after.live.ours.values_mut().next().unwrap()[0];
    command.status = action(("AgentAction", "none", "none"), "any", 0, 100, DONE).status;
    let after = noted(after);
    let unknown = Inputs { parameter_sets: changed("ps"), credential_sets: changed("cs") };
    assert_eq!(given(&after), unknown, "both have changed since");
    assert_eq!(arguments(&after), [FORCE.unwrap()]);
    let last = noted(commanded(after, 200, DONE));
    assert_eq!(given(&last), digests("5", "5"));
    assert!(last.plan().is_settled(), "{:?}", last.steps());
}

#[test]
fn what_is_digested_otherwise_is_compared_from_then_on() {
    let digested = |world: World, digest: &str| {
        let anew =
            |set: (SetKind, &str)| InputSet { digest: format!("secrets:new:{digest}"), ..input(set, "", Some(DONE)) };
        gives(gives(world, PS, anew(PS)), CS, anew(CS))
    };
    let same = digested(done(), "2").reported();
    assert!(same.plan().is_settled(), "{:?}", same.steps());
    assert_eq!(arguments(&digested(same, "3")), [FORCE.unwrap()]);
}

/// What its sets give may be asked by another revision than its document.
#[test]
fn what_runs_for_sets_is_noted_with_the_revision_that_changed_them() {
    let mut world = give(done(), PS, "2");
    world.revision = "main@sha1:9".into();
    let after = noted(commanded(world, 100, DONE));
    let runs = &after.releases[0].status.as_ref().unwrap().runs;
    let revisions: Vec<&str> = runs.iter().map(|run| run.revision.as_str()).collect();
    assert_eq!(revisions, ["main@sha1:9", "main@sha1:1"]);
}

#[test]
fn what_was_given_stays_recorded_while_nobody_looks() {
    let mut world = give(done(), PS, "2");
    world.desired.installations[0].spec = naming(2);
    world.live.inputs = None;
    assert_eq!(recorded(&world), Some(Some(digests("1", "1"))), "{:?}", world.steps());
}

#[test]
fn tries_of_a_change_begin_anew() {
    let mut world = with_bundle(stands(naming(1), FAILED), BundleState::Installed);
    world.retries = 1;
    let tried = noted(commanded(world, 100, FAILED));
    assert!(commands(&tried).is_empty(), "the limit is reached: {:?}", tried.steps());
    let changed = noted(commanded(give(tried, CS, "2"), 200, FAILED));
    assert_eq!(arguments(&changed), [FORCE.unwrap()], "it is tried again");
    let end = noted(commanded(changed, 300, FAILED));
    assert!(commands(&end).is_empty(), "{:?}", end.steps());
}

/// The release as a plan records it.
fn recorded(world: &World) -> Option<Option<Inputs>> {
    world.plan().steps.iter().find_map(|step| match &step.action {
        Action::RecordRelease(record) => Some(record.release.spec.asked.inputs.clone()),
        _ => None,
    })
}

/// What stands was not run before the source returned to what was: in that Porter sees no difference.
#[test]
fn what_stands_and_was_not_run_is_no_difference() {
    let mut world = give(done(), CS, "2");
    (world.releases[0].spec.asked.spec, world.releases[0].spec.asked.digest) = (naming(2), "another".into());
    let object = installation("mysql", naming(2), 2, false);
    world = world.with_live("mysql", live(object, vec![run_of("mysql", "run-1", 1, 1, DONE)]));
    assert_eq!(recorded(&world), Some(Some(digests("1", "1"))), "{:?}", world.steps());
}

#[test]
fn the_record_says_what_the_run_of_a_document_is_given() {
    let write = |n: i64, labels: bool| {
        let mut spec = naming(n);
        if labels {
            spec["labels"] = json!({"a": "b"});
        }
        spec
    };
    let asked = |mut world: World, spec: Value| {
        world.desired.installations[0].spec = spec;
        world
    };
    for (what, world, expected) in [
        ("an install", asking(naming(1)), digests("1", "1")),
        ("an upgrade", asked(give(give(done(), PS, "2"), CS, "2"), write(2, false)), digests("2", "2")),
        // Porter sees another value of a parameter, and none of a credential.
        (
            "a change that Porter does not see",
            asked(give(give(done(), PS, "2"), CS, "2"), write(1, true)),
            digests("2", "1"),
        ),
        ("after a failed install", asked(give(stands(naming(1), FAILED), CS, "2"), write(1, true)), digests("1", "2")),
        (
            "a set that runs, and is somebody else's",
            asked(gives(done(), CS, input(CS, "2", Some(RUNS))), write(2, false)),
            Inputs { credential_sets: BTreeMap::from([("cs".into(), "changed".into())]), ..digests("1", "") },
        ),
        (
            "deleted by hand, and made anew: Porter sees no difference",
            {
                let mut world = give(done(), CS, "2");
                world.live.installations.clear();
                world
            },
            digests("1", "1"),
        ),
    ] {
        let now = recorded(&world);
        if what.starts_with("deleted") {
            assert_eq!(now, None, "{what}: as it was");
            continue;
        }
        assert_eq!(now, Some(Some(expected)), "{what}: {:?}", world.steps());
    }
    // A hand's edit is put right with what stands now, which the record says before.
    let mut edited = give(done(), CS, "2");
    edited.live.installations.values_mut().next().unwrap().object.spec.parameters = Some(json!({"n": 9}));
    assert_eq!(recorded(&edited), Some(Some(digests("1", "2"))), "{:?}", edited.steps());
    // A write that runs nothing says nothing.
    let mut unlabelled = give(done(), CS, "2");
    unlabelled.live.installations.values_mut().next().unwrap().object.metadata.labels = None;
    let uid = unlabelled.releases[0].status.as_ref().unwrap().uid.clone();
    assert_eq!(uid.as_deref(), Some("uid-mysql"));
    assert_eq!(recorded(&unlabelled), None, "{:?}", unlabelled.steps());
}

#[test]
fn what_a_run_of_the_document_took_along_runs_no_second_time() {
    let mut world = give(give(done(), PS, "2"), CS, "2");
    world.desired.installations[0].spec = naming(2);
    let release = world.plan().steps.into_iter().find_map(|step| match step.action {
        Action::RecordRelease(record) => Some(*record.release),
        _ => None,
    });
    world.releases[0].spec = release.unwrap().spec;
    let second = |conditions| run_of("mysql", "run-2", 2, 50, conditions);
    world = world.with_live("mysql", live(installation("mysql", naming(2), 2, true), vec![second(DONE)])).reported();
    assert_eq!(given(&world), digests("2", "2"));
    assert!(commands(&world).is_empty(), "{:?}", world.steps());
    // Nor does it after a hand's edit and back again, which the record does not know of.
    let later = noted(commanded(give(world, CS, "3"), 100, DONE));
    let back = later
        .with_live(
            "mysql",
            live(installation("mysql", naming(2), 4, true), vec![run_of("mysql", "run-4", 4, 150, DONE)]),
        )
        .reported();
    assert_eq!(given(&back), digests("2", "3"));
    assert!(commands(&back).is_empty(), "{:?}", back.steps());
}

#[test]
fn one_that_was_never_compared_begins_with_what_stands() {
    let mut older = done();
    older.releases[0].spec.asked.inputs = None;
    older.releases[0].status.as_mut().unwrap().inputs = None;
    let older = give(older, CS, "7");
    let steps = older.steps();
    assert_eq!(steps.iter().filter(|step| !step.contains("as asked")).count(), 1, "noted, and nothing else: {steps:?}");
    let older = older.reported();
    assert_eq!(given(&older), digests("1", "7"));
    assert!(older.plan().is_settled(), "{:?}", older.steps());
    assert_eq!(arguments(&give(older, CS, "8")), [FORCE.unwrap()]);
}

#[test]
fn where_no_set_is_named_nothing_is_noted() {
    let mut world = stands(spec("mysql", 1), DONE);
    assert_eq!(world.releases[0].status.as_ref().unwrap().inputs, None);
    assert!(give(world.clone(), PS, "2").plan().is_settled());
    // The first that is named is given with the document.
    world.desired.installations[0].spec = naming(1);
    assert_eq!(recorded(&world), Some(Some(digests("1", "1"))));
}

/// The Secret that the set `cs` names, as a document.
fn secret() -> DesiredObject {
    DesiredObject {
        id: ObjectId {
            group: String::new(),
            kind: "Secret".into(),
            namespace: NAMESPACE.into(),
            name: "cs-secret".into(),
        },
        api_version: "v1".into(),
        porter_identity: None,
        body: json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cs-secret", "namespace": NAMESPACE}}),
        origin: Origin { file: "secret.yaml".into(), line: 1, document: 0 },
    }
}

#[test]
fn a_secret_of_the_same_commit_is_written_first() {
    let mut changes = done();
    changes.desired.installations[0].spec = naming(2);
    for (what, mut world, waiting) in [
        ("an install", asking(naming(1)), 2),
        ("an upgrade", changes, 2),
        ("a run", give(done(), CS, "2"), 0),
        ("nothing, so far", done(), 0),
    ] {
        world.desired.objects = vec![secret()];
        let plan = world.plan();
        let due: Vec<&plan::Step> = plan.due().collect();
        assert_eq!(due[0].to_string(), "apply Secret/apps/cs-secret: new in the source", "{what}");
        assert!(due[1..].iter().all(|step| matches!(step.action, Action::ReleaseStatus { .. })), "{what}: {due:?}");
        assert!(plan.outcome.again, "{what}: looked at again once it is written");
        assert!(!plan.outcome.waiting.is_empty() || !plan.outcome.running.is_empty(), "{what}: told to be done");
        let waits =
            |step: &&plan::Step| step.to_string().ends_with("; waits: Secret/apps/cs-secret is not applied yet");
        assert_eq!(plan.steps.iter().filter(waits).count(), waiting, "{what}: {:?}", world.steps());
    }
}

#[test]
fn an_object_that_somebody_changes_each_time_it_is_written_is_told_to_be_that() {
    let told = |world: &World| {
        let outcome = world.plan().outcome;
        let all: Vec<_> = outcome.waiting.into_iter().chain(outcome.running).map(|told| told.message).collect();
        all.join("; ")
    };
    let set = DesiredObject { porter_identity: Some(("dev".into(), "cs".into())), ..set("cs-object", 2) };
    let mut by_secret = give(done(), CS, "2");
    by_secret.desired.objects = vec![secret()];
    let mut by_set = give(done(), CS, "2");
    by_set.desired.installations[0].spec = naming(2);
    by_set.desired.sets = vec![DesiredObject { body: renamed(&set.body, "cs"), ..set.clone() }];
    for (mut world, id) in [(by_secret, secret().id), (by_set, set.id)] {
        assert!(told(&world).contains(&format!("{id} is not applied yet")), "{}", told(&world));
        world.live.contested = BTreeSet::from([id.clone()]);
        let now = told(&world);
        assert!(now.contains(&format!("{id} is changed by somebody each time it is written")), "{now}");
        assert!(!now.contains("not applied yet"), "{now}");
        assert!(commands(&world).is_empty(), "nothing runs with what it does not stand as");
    }
}

fn renamed(body: &Value, name: &str) -> Value {
    let mut body = body.clone();
    body["spec"]["name"] = name.into();
    body
}

#[test]
fn a_set_of_the_same_commit_has_to_run_first() {
    let mut world = done();
    let mut object = set("cs-object", 2);
    object.porter_identity = Some(("dev".into(), "cs".into()));
    object.body = renamed(&object.body, "cs");
    world.desired.sets = vec![object];
    assert!(commands(&world).is_empty());
    let told: Vec<AgentAction> = commands(&give(world, CS, "2"));
    assert!(told.is_empty(), "the set is not written yet");
}

#[test]
fn of_much_that_is_missing_some_is_told_and_how_much_more_there_is() {
    for (missing, more) in [(3, None), (4, Some("; and 1 more")), (6, Some("; and 3 more"))] {
        let faults: Vec<String> = (1..=missing).map(|n| format!("fault {n}")).collect();
        let world = gives(done(), CS, InputSet { faults, ..input(CS, "1", Some(DONE)) }).reported();
        let message = world.releases[0].status.clone().unwrap().message.unwrap();
        let told = "AgentAction run-1 succeeded; fault 1; fault 2; fault 3";
        assert_eq!(message, format!("{told}{}", more.unwrap_or_default()));
    }
}

/// By the document that it is uninstalled with, which is the last that ran well.
#[test]
fn what_an_uninstall_that_failed_lacks_is_told() {
    let left = |bundle: BundleState, document: &[&str], failures: i32| {
        let mut world = with_bundle(done(), bundle);
        world.desired.installations.clear();
        (world.removal, world.now) = (Removal::Uninstall, 1_767_225_600 + 10);
        let release = &mut world.releases[0];
        release.spec.removed = Some(Removed { revision: "main@sha1:2".into(), prune: true });
        release.spec.asked.spec = spec("mysql", 2);
        let failed_at = (failures > 0).then(|| serde_json::from_value(json!(at_second(7))).unwrap());
        let uninstall = api::UninstallStatus { failures, failed_at, ..api::UninstallStatus::default() };
        release.status.as_mut().unwrap().uninstall = Some(uninstall);
        let run = run_of("mysql", "run-2", 2, 2, document);
        world.with_live("mysql", live(installation("mysql", uninstalled(), 2, true), vec![run]))
    };
    let by_operator = || left(BundleState::Installed, FAILED, 0);
    let by_command = || left(BundleState::Tried, DONE, 1);
    let forgets = || left(BundleState::Uninstalled, DONE, 1);
    let unwatched = |mut world: World| {
        world.live.inputs = None;
        world
    };
    let lacking = "; CredentialSet/apps/cs-object, token: there is no Secret apps/secret; make it";
    let gone = "; there is no CredentialSet in namespace apps that is called cs in Porter; add it";
    for (what, world, missing) in [
        ("a Secret, for the operator's run", lacks(by_operator(), CS, "1"), lacking),
        ("a Secret, for a command of ours", lacks(by_command(), CS, "1"), lacking),
        ("a set", without(by_operator(), CS), gone),
        ("nothing", by_operator(), ""),
        ("nobody looks", unwatched(by_operator()), ""),
        ("a Secret, and Porter only forgets it", lacks(forgets(), CS, "1"), ""),
    ] {
        let told = &world.plan().outcome.uninstall_failed[0].message;
        let before = "its uninstall failed, see AgentActions and Jobs";
        let after = "; it is tried again at 2026-01-01T00:01:07Z; spec.uninstall.policy Orphan gives it up";
        assert_eq!(*told, format!("{before}{missing}{after}"), "{what}");
        assert_eq!(world.reported().releases[0].status.as_ref().unwrap().message.as_ref(), Some(told), "{what}");
    }
}

/// Of the value of a credential Porter sees no difference: only where it is sure to run the document for another is it given.
#[test]
fn a_credential_that_changes_with_the_document_is_not_lost() {
    let with = |field: &str, value: Value| {
        let mut spec = naming(1);
        spec[field] = value;
        spec
    };
    let bundle = |field: &str, value: &str| with("bundle", json!({"repository": "example.test/mysql", field: value}));
    let digest = |of: &str| porter::digest(&json!(of));
    for (what, before, after, forced) in [
        ("the digest of its tag", bundle("tag", "one"), bundle("digest", &digest("one")), true),
        ("another tag, of which nobody knows what it holds", bundle("tag", "one"), bundle("tag", "two"), true),
        ("another digest", bundle("digest", &digest("one")), bundle("digest", &digest("two")), false),
        ("a parameter that may have its default", naming(1), with("parameters", json!({"n": 1, "m": 1})), true),
        ("another value of a parameter", naming(1), naming(2), false),
        ("a parameter set", naming(1), with("parameterSets", json!([])), true),
        ("a label", naming(1), with("labels", json!({"a": "b"})), true),
    ] {
        let world = give(stands(before, DONE), CS, "2");
        let world = changed_to(world, after, 2);
        let expected: &[&str] = if forced { &["installation apply installation.yaml --force"] } else { &[] };
        assert_eq!(arguments(&world), expected, "{what}: {:?}", world.steps());
    }
}

/// The source asks for another document, which is recorded and ran well at that generation.
fn changed_to(mut world: World, spec: Value, generation: i64) -> World {
    world.desired.installations[0].spec = spec.clone();
    let record = world.plan().steps.into_iter().find_map(|step| match step.action {
        Action::RecordRelease(record) => Some(*record.release),
        _ => None,
    });
    world.releases[0].spec = record.unwrap().spec;
    let runs = vec![run_of("mysql", &format!("run-{generation}"), generation, generation, DONE)];
    world.with_live("mysql", live(installation("mysql", spec, generation, true), runs)).reported()
}

/// What failed may never have come to Porter: then it compares with what ran before.
#[test]
fn nor_is_one_that_changes_with_the_return_to_what_ran_before() {
    let good = stands(naming(1), DONE);
    let status = good.releases[0].status.clone();
    for (after, forced) in [(naming(1), true), (naming(3), false)] {
        let mut world = asking(naming(2)).recorded("mysql", naming(2), "main@sha1:2");
        world.releases[0].status.clone_from(&status);
        let runs = vec![run_of("mysql", "run-2", 2, 2, FAILED)];
        world = world.with_live("mysql", live(installation("mysql", naming(2), 2, true), runs)).reported();
        let world = changed_to(give(world, CS, "2"), after, 3);
        let expected: &[&str] = if forced { &["installation apply installation.yaml --force"] } else { &[] };
        assert_eq!(arguments(&world), expected, "{:?}", world.steps());
    }
}
