//! What hands, other syncs and expiring Jobs do to what we applied: it is put right, and nothing runs twice.

use std::time::Duration;

use crate::world::documents::config_map;
use crate::world::{PATIENCE, REPOSITORY, World, installation};
use anyhow::{Result, bail, ensure};
use api::{OWNER_NAME_LABEL, OWNER_NAMESPACE_LABEL, ReleaseState, condition};
use e2e::eventually;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const MYSQL: &str = "apps/mysql.yaml";

async fn installed(prefix: &str, files: &[(&str, String)]) -> Result<World> {
    let world = World::start(prefix).await?;
    let first = world.push("first", files).await?;
    world.source().await?;
    world.sync("apps", json!({})).await?;
    world.ready_at("apps", &first).await?;
    Ok(world)
}

impl World {
    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

#[tokio::test]
async fn fields_that_somebody_added_go_again() -> Result<()> {
    let world =
        installed("added", &[(MYSQL, installation("mysql", "0.1.0", 1)), ("apps/notes.yaml", config_map("notes"))])
            .await?;
    let generation = world.installation("mysql").await?.metadata.generation.unwrap_or_default();

    let more = json!({"data": {"more": "x"}, "binaryData": {"most": "eA=="}});
    world.config_maps().patch("notes", &PatchParams::default(), &Patch::Merge(&more)).await?;
    eventually(PATIENCE, "the added keys to be gone", || async {
        let notes = world.config_maps().get("notes").await?;
        let keys: Vec<_> = notes.data.iter().flatten().map(|(key, _)| key.clone()).collect();
        if keys == ["a"] && notes.binary_data.is_none() { Ok(()) } else { bail!("{keys:?} {:?}", notes.binary_data) }
    })
    .await?;

    world
        .edit("mysql", json!({"spec": {"parameters": {"added": 1}, "labels": {"a": "b"}, "uninstalled": true}}))
        .await?;
    world.begun(3).await?;
    eventually(PATIENCE, "the added fields to be gone, and the sync to be ready", || async {
        let spec = world.installation("mysql").await?.spec;
        let gone = spec.parameters == Some(json!({"size": 1})) && !spec.uninstalled && spec.labels.is_empty();
        let ready = world.sync_object("apps").await?.ready().is_some_and(|ready| ready.status == "True");
        if gone && ready && world.runner.is_installed(&world.namespace, "mysql") { Ok(()) } else { bail!("{spec:?}") }
    })
    .await?;
    let now = world.installation("mysql").await?;
    // One edit by hand, and one of ours: what is taken over is no change of the spec.
    ensure!(now.metadata.generation == Some(generation + 2), "{:?} after {generation}", now.metadata.generation);
    // The operator ran the edit before it could be put right.
    world.stays_at("apps", &["install mysql", "uninstall mysql", "install mysql"]).await
}

#[tokio::test]
async fn what_is_uninstalled_by_a_hand_edit_is_installed_again() -> Result<()> {
    let world = installed("edited", &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.edit("mysql", json!({"spec": {"uninstalled": true}})).await?;
    world.begun(3).await?;
    eventually(PATIENCE, "it to be installed again", || async {
        let state = world.release("mysql").await?.status.and_then(|status| status.state);
        let installed = world.runner.is_installed(&world.namespace, "mysql");
        if installed && state == Some(ReleaseState::Succeeded) { Ok(()) } else { bail!("{state:?}") }
    })
    .await?;
    world.stays_at("apps", &["install mysql", "uninstall mysql", "install mysql"]).await?;
    ensure!(!world.installation("mysql").await?.spec.uninstalled);
    world.no_action_is_left().await
}

#[tokio::test]
async fn values_that_the_operator_drops_cause_no_second_run() -> Result<()> {
    let world = World::start("empty").await?;
    let document = format!(
        "schemaType: Installation\nschemaVersion: 1.0.2\nname: mysql\nbundle: {{repository: {REPOSITORY}, version: 0.1.0}}\nuninstalled: false\nlabels: {{}}\nparameters: {{extra: false}}\n"
    );
    let first = world.begin(json!({"interval": "1s"}), &[(MYSQL, document)]).await?;
    world.ready_at("apps", &first).await?;
    world.reconciled_again("apps", 5).await?;
    let generation = world.installation("mysql").await?.metadata.generation;
    ensure!(generation == Some(1), "{generation:?}");
    world.ran_only(&["install mysql"])?;
    ensure!(world.last_parameter("extra") == false);
    world.force("mysql", "one").await?;
    world.forced("mysql", "one").await?;
    world.stays_at("apps", &["install mysql", "upgrade mysql"]).await?;
    ensure!(world.last_parameter("extra") == false);
    let generation = world.installation("mysql").await?.metadata.generation;
    ensure!(generation == Some(1), "{generation:?}");
    Ok(())
}

#[tokio::test]
async fn what_an_object_that_is_handed_over_has_too_much_goes() -> Result<()> {
    let world = World::start("handed").await?;
    let stands = json!({
        "apiVersion": "getporter.org/v1", "kind": "Installation", "metadata": {"name": "mysql"},
        "spec": {"schemaVersion": "1.0.2", "name": "mysql", "namespace": world.namespace,
                 "bundle": {"repository": REPOSITORY, "version": "0.1.0"}, "parameters": {"size": 1, "old": true}},
    });
    world.installations().create(&PostParams::default(), &serde_json::from_value(stands)?).await?;
    world.begun(1).await?;
    let first = world.begin(json!({"adoption": "Never"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.not_ready("apps", condition::RECONCILIATION_FAILED, "isn't managed by this BundleSync").await?;
    let labels = json!({OWNER_NAME_LABEL: "apps", OWNER_NAMESPACE_LABEL: world.namespace});
    world.edit("mysql", json!({"metadata": {"labels": labels}})).await?;
    world.ready_at("apps", &first).await?;
    let now = world.installation("mysql").await?;
    ensure!(now.spec.parameters == Some(json!({"size": 1})), "{:?}", now.spec);
    world.ran_only(&["install mysql", "upgrade mysql"])
}

#[tokio::test]
async fn what_is_deleted_during_a_run_is_made_again_after_it() -> Result<()> {
    let world = installed("during", &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.runner.hold(REPOSITORY);
    let second = world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.begun(2).await?;
    world.delete_installation("mysql").await?;
    world.message_contains("apps", "the object is being deleted").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = world.installations().get("mysql").await?.metadata;
    ensure!(held.deletion_timestamp.is_some(), "made again while its bundle runs");
    world.runner.release(REPOSITORY);
    world.ready_at("apps", &second).await?;
    ensure!(world.installation("mysql").await?.metadata.uid != held.uid);
    world.ran_only(&["install mysql", "upgrade mysql"])?;
    Ok(())
}

#[tokio::test]
async fn an_installation_moves_from_one_sync_to_another_without_a_run() -> Result<()> {
    let world = World::start("moves").await?;
    let document = || installation("mysql", "0.1.0", 1);
    let both = [
        ("a/notes.yaml", config_map("notes-a")),
        ("b/notes.yaml", config_map("notes-b")),
        ("a/mysql.yaml", document()),
    ];
    let first = world.push("in a", &both).await?;
    world.source().await?;
    for name in ["a", "b"] {
        world.sync(name, json!({"path": name})).await?;
        world.ready_at(name, &first).await?;
    }
    let stood = world.installation("mysql").await?.metadata;
    let moved = world.repository.commit("to b").remove("a/mysql.yaml").write("b/mysql.yaml", document()).push().await?;
    world.refresh(&moved).await?;
    for name in ["a", "b"] {
        world.ready_at(name, &moved).await?;
    }
    let now = world.installation("mysql").await?.metadata;
    ensure!((now.uid, now.generation) == (stood.uid, stood.generation), "{:?}", now.generation);
    let owner = now.labels.and_then(|labels| labels.get(OWNER_NAME_LABEL).cloned());
    ensure!(owner.as_deref() == Some("b"), "{owner:?}");
    let release = world.release("mysql").await?.spec;
    ensure!(release.sync.name == "b" && release.removed.is_none(), "{release:?}");
    world.ran_only(&["install mysql"])?;
    Ok(())
}

#[tokio::test]
async fn nothing_runs_past_a_secret_that_is_somebody_elses() -> Result<()> {
    let world = World::start("foreign").await?;
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &world.namespace);
    let theirs = json!({"metadata": {"name": "settings"}, "stringData": {"whose": "theirs"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(theirs)?).await?;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: settings}\nstringData: {whose: ours}\n".to_owned();
    let first = world
        .begin(
            json!({"adoption": "Never"}),
            &[(MYSQL, installation("mysql", "0.1.0", 1)), ("apps/settings.yaml", secret)],
        )
        .await?;
    let told = world.not_ready("apps", condition::RECONCILIATION_FAILED, "exists already").await?;
    ensure!(!told.contains("theirs") && !told.contains("ours"), "{told}");
    world.stays_at("apps", &[]).await?;
    ensure!(world.installations().get_opt("mysql").await?.is_none(), "applied past a Secret that was refused");
    secrets.delete("settings", &Default::default()).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])
}

#[tokio::test]
async fn a_set_whose_job_expires_stays_ready() -> Result<()> {
    let set = "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- name: label\n  source: {value: x}\n";
    let world = World::start("expires").await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": 2})).await?;
    let first = world.begin(json!({"agent": "None"}), &[("apps/set.yaml", set.to_owned())]).await?;
    world.ready_at("apps", &first).await?;
    world.event_at(&first).await?;
    let ready = world.sync_object("apps").await?;
    let since = Timestamp::now();
    let before = world.runner.commands().len();
    eventually(PATIENCE, "the set to run twice more", || async {
        let now = world.runner.commands().len();
        if now >= before + 2 { Ok(()) } else { bail!("{now} commands after {before}") }
    })
    .await?;
    let now = world.sync_object("apps").await?;
    ensure!(now.status == ready.status, "{:?}\n{:?}", ready.status, now.status);
    let writes = world.writes(since)?;
    ensure!(writes.is_empty(), "{writes:?}");
    world.ran_only(&[])
}

#[tokio::test]
async fn documents_of_other_namespaces_are_refused() -> Result<()> {
    let elsewhere = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes, namespace: default}\ndata: {a: b}\n";
    for (prefix, arguments, told) in [
        ("unwatched", &[][..], "that namespace is not watched"),
        ("crossing", &["--no-cross-namespace-refs"], "blocked by --no-cross-namespace-refs"),
    ] {
        let world = World::with(prefix, arguments).await?;
        let files = [("apps/notes.yaml", elsewhere.to_owned()), (MYSQL, installation("mysql", "0.1.0", 1))];
        world.push("first", &files).await?;
        world.source().await?;
        world.sync("apps", json!({})).await?;
        let message = world.not_ready("apps", condition::ACCESS_DENIED, told).await?;
        ensure!(message.contains("apps/notes.yaml:1: ConfigMap/default/notes is in namespace default"), "{message}");
        ensure!(!message.contains("mysql"), "{message}");
        ensure!(world.installations().list(&ListParams::default()).await?.items.is_empty());
        world.ran_only(&[])?;
    }
    Ok(())
}

#[tokio::test]
async fn what_an_api_server_refuses_is_told_without_its_value() -> Result<()> {
    let action = "apiVersion: getporter.org/v1\nkind: AgentAction\nmetadata: {name: act}\nspec:\n  args: [version]\n  volumes:\n  - name: a\n    secret: {secretName: 4711}\n";
    let world = World::start("quoted").await?;
    world.begin(json!({}), &[("apps/action.yaml", action.to_owned())]).await?;
    let told = world.not_ready("apps", condition::RECONCILIATION_FAILED, "secret.secretName").await?;
    ensure!(!told.contains("4711"), "{told}");
    let events = Api::<Event>::namespaced(world.client.clone(), &world.namespace);
    eventually(PATIENCE, "the event of the failure", || async {
        let events = events.list(&ListParams::default()).await?.items;
        let told: Vec<String> = events.into_iter().filter_map(|event| event.message).collect();
        ensure!(!told.iter().any(|told| told.contains("4711")), "{told:?}");
        if told.iter().any(|told| told.contains("secret.secretName")) { Ok(()) } else { bail!("{told:?}") }
    })
    .await?;
    let log = std::fs::read_to_string(world.controller.log())?;
    ensure!(!log.contains("4711"), "a value is in the log");
    Ok(())
}

#[tokio::test]
async fn an_installation_that_an_api_server_refuses_holds_no_other_back() -> Result<()> {
    let world = World::start("beside").await?;
    let files = [(MYSQL, installation("mysql", "0.1.0", 1))];
    let first = world.pruning(json!({"retryInterval": "10m"}), &files).await?;
    world.ready_at("apps", &first).await?;
    let refused = format!(
        "apiVersion: getporter.org/v1\nkind: Installation\nmetadata:\n  name: redis\n  annotations: {{notes: {}}}\nspec:\n  schemaVersion: 1.0.2\n  bundle: {{repository: {REPOSITORY}, version: 0.1.0}}\n",
        "x".repeat(300_000)
    );
    let commit = world.repository.commit("without").remove(MYSQL).write("apps/redis.yaml", refused);
    world.refresh(&commit.push().await?).await?;
    eventually(PATIENCE, "mysql to be gone", || async {
        let left = world.left().await?;
        if left.iter().any(|left| left.contains("mysql")) { bail!("{left:?}; ran {:?}", world.ran()) } else { Ok(()) }
    })
    .await?;
    world.not_ready("apps", condition::RECONCILIATION_FAILED, "Too long").await?;
    world.ran_only(&["install mysql", "uninstall mysql"])
}

#[tokio::test]
async fn a_source_of_another_namespace_can_be_refused() -> Result<()> {
    let world = World::with("refused", &["--no-cross-namespace-refs"]).await?;
    let first = world.push("first", &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.source().await?;
    let of = |namespace: &str| json!({"kind": "GitRepository", "name": "fleet", "namespace": namespace});
    world.sync("apps", json!({"sourceRef": of("default")})).await?;
    let told = world.not_ready("apps", condition::ACCESS_DENIED, "").await?;
    ensure!(
        told == "can't access GitRepository/default/fleet: cross-namespace references are blocked by --no-cross-namespace-refs",
        "{told}"
    );
    let status = world.sync_object("apps").await?.status.unwrap_or_default();
    let types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    ensure!(types == [condition::STALLED, condition::READY] && status.last_attempted_revision.is_none(), "{status:?}");
    ensure!(world.installations().list(&ListParams::default()).await?.items.is_empty());
    world.ran_only(&[])?;

    // Its own namespace, spelt out.
    world.sync("apps", json!({"sourceRef": of(&world.namespace)})).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])
}

#[tokio::test]
async fn no_time_at_all_is_no_interval() -> Result<()> {
    let world = World::start("zero").await?;
    for field in ["interval", "retryInterval", "timeout"] {
        for none in ["0s", "0m0s", "0.0h"] {
            let error = world.sync("apps", json!({field: none})).await.err().map(|error| error.to_string());
            let told = error.unwrap_or_else(|| "nothing".to_owned());
            ensure!(told.contains("must be longer than zero"), "{field} {none}: {told}");
        }
    }
    world.sync("apps", json!({"interval": "1h30m", "retryInterval": "1.5s", "timeout": "100ms"})).await
}

/// What the precondition of every write of ours rests on.
#[tokio::test]
async fn an_apply_that_names_a_uid_makes_nothing_anew() -> Result<()> {
    let world = World::start("uid").await?;
    let maps = world.config_maps();
    let parameters = PatchParams::apply("test").force();
    let body =
        |metadata: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}});
    let made = maps.patch("notes", &parameters, &Patch::Apply(&body(json!({"name": "notes"})))).await?.metadata;
    let seen = body(json!({"name": "notes", "uid": made.uid, "resourceVersion": made.resource_version}));
    maps.patch("notes", &parameters, &Patch::Apply(&seen)).await?;
    maps.delete("notes", &Default::default()).await?;
    match maps.patch("notes", &parameters, &Patch::Apply(&seen)).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => bail!("{other:?}"),
    }
}
