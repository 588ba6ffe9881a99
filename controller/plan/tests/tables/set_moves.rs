//! Sets that move to another object.

use crate::support::*;
use plan::LiveSet;
use serde_json::json;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];

/// A set under another object name, with what stands of both objects.
fn renamed_set(old: Option<LiveSet>, new: Option<LiveSet>) -> World {
    let mut world = World::new(vec![desired("mysql", naming("mysql"))])
        .recorded("mysql", naming("mysql"), "main@sha1:0")
        .with_live(
            "mysql",
            live(installation("mysql", naming("mysql"), 1, true), vec![run_of("mysql", "run-1", 1, 1, DONE)]),
        )
        .with_agent(api::AGENT_CONFIG, agent_config(once(), true))
        .reported();
    world.removal = plan::Removal::Uninstall;
    let mut asked = set("creds", 1);
    asked.id = set_id("eu-creds");
    asked.body["metadata"]["name"] = "eu-creds".into();
    world.desired.sets = vec![asked];
    world.live.users.extend(old.iter().map(|_| (set_id("creds"), "mysql".to_owned())));
    world.live.dropped.extend(old.map(|old| (set_id("creds"), old)));
    world.live.sets.extend(new.map(|new| (set_id("eu-creds"), new)));
    world
}

fn naming(name: &str) -> serde_json::Value {
    let mut spec = spec(name, 1);
    spec["credentialSets"] = json!(["creds"]);
    spec
}

/// An object of the set, and how its last run ended.
fn set_object(name: &str, conditions: &[&str]) -> LiveSet {
    let mut object = set("creds", 1).body;
    object["metadata"] = json!({
        "name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"), "resourceVersion": "7", "generation": 1,
        "labels": owner_labels(), "finalizers": ["getporter.org/finalizer"],
    });
    let uid = format!("uid-{name}");
    let run = action(("CredentialSet", name, &uid), &format!("run-{name}"), 1, 1, conditions);
    LiveSet { object, actions: vec![run], ran: None }
}

#[test]
fn a_set_leaves_its_old_object_before_it_has_another() {
    let deleting = |conditions: &[&str]| {
        let mut set = set_object("creds", conditions);
        set.object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        set
    };
    let noted = |mut set: LiveSet| {
        let (id, uid) = (set_id("eu-creds"), "uid-eu-creds".to_owned());
        let again = Some("run-eu-creds".to_owned());
        set.ran = Some(plan::SetRun { id, uid, generation: 1, awaited: true, retries: 0, again, forced_at: None });
        set
    };
    let (old, new) = (|| Some(set_object("creds", DONE)), || set_object("eu-creds", DONE));
    const GOES: &str = "delete CredentialSet/apps/creds: its object was named creds";
    const WRITTEN: &str = "apply CredentialSet/apps/eu-creds: new in the source";
    let later = format!("{WRITTEN}; waits: the object is being deleted");
    let told = |rest: &str| format!("CredentialSet/apps/creds, which is the same to Porter, makes place: {rest}");
    let cases: Vec<(&str, World, Vec<String>, String)> = vec![
        ("it stands", renamed_set(old(), None), vec![GOES.into(), later.clone()], told("it is deleted")),
        (
            "its run is on",
            renamed_set(Some(set_object("creds", &["Scheduled", "Started"])), None),
            vec![format!("{GOES}; waits: AgentAction run-creds of generation 1 is not over"), later.clone()],
            told("AgentAction run-creds of generation 1 is not over"),
        ),
        (
            "it is being deleted",
            renamed_set(Some(deleting(DONE)), None),
            vec![later.clone()],
            told("the object is being deleted"),
        ),
        (
            "its deletion failed",
            renamed_set(Some(deleting(&["Scheduled", "Failed"])), None),
            vec![later.clone()],
            told("the object is being deleted: it is run again"),
        ),
        ("it is gone", renamed_set(None, None), vec![WRITTEN.into()], "applied just now".into()),
        (
            "an installation that names it runs",
            {
                let mut world = renamed_set(old(), None);
                let live = world.live.installations.values_mut().next().unwrap();
                live.actions = vec![run_of("mysql", "run-2", 1, 1, &["Scheduled", "Started"])];
                world
            },
            vec![format!("{GOES}; waits: AgentAction run-2 of generation 1 is not over"), later.clone()],
            told("AgentAction run-2 of generation 1 is not over"),
        ),
        (
            "both stand: that the new one runs again is noted first",
            renamed_set(old(), Some(new())),
            vec![format!("{GOES}; waits: the operator has not run CredentialSet/apps/eu-creds yet")],
            told("the operator has not run CredentialSet/apps/eu-creds yet"),
        ),
        (
            "both stand, and that is noted",
            renamed_set(old(), Some(noted(new()))),
            vec![GOES.into()],
            told("it is deleted"),
        ),
        (
            "the new one is left",
            renamed_set(None, Some(noted(new()))),
            vec!["delete AgentAction/apps/run-eu-creds: it could run again".into()],
            "it is run again".into(),
        ),
        (
            "the new name is somebody else's",
            {
                let mut theirs = new();
                theirs.object["metadata"]["labels"] =
                    json!({"flux.getporter.org/name": "other", "flux.getporter.org/namespace": "flux-system"});
                renamed_set(old(), Some(theirs))
            },
            vec![],
            "is owned by".into(),
        ),
        (
            "the old one is somebody else's by now",
            {
                let mut theirs = set_object("creds", DONE);
                theirs.object["metadata"]["labels"] = json!({});
                renamed_set(Some(theirs), None)
            },
            vec![WRITTEN.into()],
            "applied just now".into(),
        ),
    ];
    for (what, world, expected, words) in cases {
        let steps = world.steps().into_iter().filter(|step| step.contains("delete ") || step.starts_with("apply Cred"));
        assert_eq!(steps.collect::<Vec<_>>(), expected, "{what}");
        let outcome = world.plan().outcome;
        let all = [&outcome.waiting, &outcome.running, &outcome.failed, &outcome.refused];
        let mut told = all.into_iter().flatten().filter(|told| told.subject.to_string().ends_with("/eu-creds"));
        assert!(told.any(|told| told.message.contains(&words)), "{what}: {outcome:?}");
    }

    // Nothing that names it begins meanwhile: neither a change, nor the uninstall of what leaves.
    let mut changed = renamed_set(old(), None);
    changed.desired.installations[0].spec["parameters"] = json!({"n": 2});
    assert!(changed.steps().iter().any(|step| step.ends_with("waits: CredentialSet/apps/eu-creds is not applied yet")));
    for purge in [api::BundleState::Installed, api::BundleState::Tried] {
        let mut leaves = renamed_set(old(), None);
        leaves.desired.installations.clear();
        let release = &mut leaves.releases[0];
        release.spec.removed = Some(api::Removed { revision: "main@sha1:1".into(), prune: true });
        let status = release.status.as_mut().unwrap();
        status.bundle = Some(purge);
        status.uninstall = Some(api::UninstallStatus::default());
        let told = leaves.plan().outcome.uninstalling;
        assert!(told.iter().any(|told| told.message == "CredentialSet/apps/eu-creds is not applied yet"), "{told:?}");
    }
}

/// The step that deletes the old object.
fn goes(world: &World) -> String {
    world.steps().into_iter().find(|step| step.starts_with("delete CredentialSet/apps/creds")).unwrap()
}

#[test]
fn only_a_run_that_may_read_a_set_holds_its_old_object() {
    let with = |edit: fn(&mut serde_json::Value)| {
        let mut spec = naming("mysql");
        edit(&mut spec);
        spec
    };
    let (named, other) = (|| with(|_| {}), || with(|spec| spec["credentialSets"] = json!(["other"])));
    // What ran well last, what is asked, the set's namespace in Porter.
    for (what, succeeded, asked, namespace, holds) in [
        ("it names it", named(), named(), "dev", true),
        ("it named it", named(), other(), "dev", true),
        ("it names it by now", other(), named(), "dev", true),
        ("it names another", other(), other(), "dev", false),
        (
            "it names a parameter set of that name",
            other(),
            with(|spec| (spec["credentialSets"], spec["parameterSets"]) = (json!([]), json!(["creds"]))),
            "dev",
            false,
        ),
        ("it is in another namespace of Porter", other(), with(|spec| spec["namespace"] = json!("prod")), "dev", false),
        ("the set is for all namespaces of Porter", other(), with(|spec| spec["namespace"] = json!("prod")), "", true),
    ] {
        let mut old = set_object("creds", DONE);
        old.object["spec"]["namespace"] = json!(namespace);
        let mut world = renamed_set(Some(old), None);
        world.desired.sets[0].porter_identity = Some((namespace.into(), "creds".into()));
        let live = world.live.installations.values_mut().next().unwrap();
        live.actions = vec![run_of("mysql", "run-2", 1, 1, &["Scheduled", "Started"])];
        let release = &mut world.releases[0];
        release.spec.asked.spec = asked;
        release.status.as_mut().unwrap().succeeded.as_mut().unwrap().spec = succeeded;
        assert_eq!(goes(&world).ends_with("; waits: AgentAction run-2 of generation 1 is not over"), holds, "{what}");
    }
}

#[test]
fn another_set_is_no_other_object_of_the_same() {
    const MOVES: &str = "delete CredentialSet/apps/creds: its object was named creds";
    const LEFT: &str = "delete CredentialSet/apps/creds: no longer in the source; waits: the installations come first";
    type Edit = fn(&mut porter::DesiredObject);
    let edits: [(&str, Edit, &str); 6] = [
        ("it is the same", |_| {}, MOVES),
        ("another name", |set| set.porter_identity = Some(("dev".into(), "other".into())), LEFT),
        ("another namespace of Porter", |set| set.porter_identity = Some(("prod".into(), "creds".into())), LEFT),
        ("nothing to Porter", |set| set.porter_identity = None, LEFT),
        ("another kind", |set| set.id.kind = "ParameterSet".into(), LEFT),
        ("another namespace", |set| set.id.namespace = "other".into(), LEFT),
    ];
    for (what, edit, expected) in edits {
        let mut world = renamed_set(Some(set_object("creds", DONE)), None);
        edit(&mut world.desired.sets[0]);
        assert_eq!(goes(&world), expected, "{what}");
    }
}
