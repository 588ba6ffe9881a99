//! Environments as Kustomize overlays, end to end: each commit reaches the environments that it concerns and no other, the
//! fields of a BundleSync are laid over its path, and variables come from where the sync says.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{PATIENCE, QUIET, World};
use anyhow::{Context, Result, bail, ensure};
use api::REQUESTED_AT;
use e2e::{User, eventually};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// Longer than a test: what happens after it began did not happen by the clock.
const NEVER: &str = "1h";

/// Without `spec.name` and `spec.namespace`, so that a prefix makes another installation of it.
fn database(parameters: &str) -> String {
    format!(
        "apiVersion: getporter.org/v1\nkind: Installation\nmetadata:\n  name: db\nspec:\n  schemaVersion: 1.0.2\n  bundle: {{repository: example.test/db, version: 0.1.0}}\n  parameters: {{{parameters}}}\n"
    )
}

fn overlay(environment: &str, size: u32) -> (String, String) {
    let path = format!("overlays/{environment}/kustomization.yaml");
    let patch = format!("- {{op: add, path: /spec/parameters/size, value: {size}}}");
    let content = format!(
        "resources: [../../base]\nnamePrefix: {environment}-\npatches:\n- patch: '{patch}'\n  target: {{kind: Installation}}\n"
    );
    (path, content)
}

async fn push(world: &World, message: &str, files: &[(String, String)]) -> Result<String> {
    let files: Vec<(&str, String)> = files.iter().map(|(path, content)| (path.as_str(), content.clone())).collect();
    world.push(message, &files).await
}

async fn parameter(world: &World, installation: &str, name: &str) -> Result<Value> {
    let spec = serde_json::to_value(world.installation(installation).await?.spec)?;
    Ok(spec.pointer(&format!("/parameters/{name}")).cloned().unwrap_or_default())
}

/// What was written but for the statuses of syncs and for events.
fn objects_written(world: &World, since: Timestamp) -> Result<BTreeSet<String>> {
    let writes = world.writes(since)?;
    Ok(writes.into_iter().filter(|write| !write.contains(" bundlesyncs/") && !write.contains(" events")).collect())
}

#[tokio::test]
async fn a_commit_reaches_the_environments_that_it_concerns_and_no_other() -> Result<()> {
    const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "prod"];
    let world = World::start("overlays").await?;
    let mut files = vec![
        ("base/kustomization.yaml".to_owned(), "resources: [db.yaml]\n".to_owned()),
        ("base/db.yaml".to_owned(), database("tier: small")),
    ];
    files.extend(ENVIRONMENTS.map(|environment| overlay(environment, 1)));
    let first = push(&world, "three environments", &files).await?;
    world.source().await?;
    for environment in ENVIRONMENTS {
        world.sync(environment, json!({"path": format!("./overlays/{environment}")})).await?;
    }
    let all_ready = async |commit: &str| -> Result<()> {
        for environment in ENVIRONMENTS {
            world.ready_at(environment, commit).await?;
        }
        Ok(())
    };
    let generations = async || -> Result<Vec<Option<i64>>> {
        let mut generations = Vec::new();
        for environment in ENVIRONMENTS {
            generations.push(world.installation(&format!("{environment}-db")).await?.metadata.generation);
        }
        Ok(generations)
    };
    all_ready(&first).await?;
    let ran: BTreeSet<String> = world.ran().into_iter().collect();
    ensure!(ran == ENVIRONMENTS.map(|name| format!("install {name}-db")).into(), "{ran:?}");
    let before = generations().await?;

    // One environment.
    let since = Timestamp::now();
    let second = push(&world, "more for prod", &[overlay("prod", 2)]).await?;
    world.refresh(&second).await?;
    all_ready(&second).await?;
    ensure!(world.ran().split_off(3) == ["upgrade prod-db"], "{:?}", world.ran());
    ensure!(parameter(&world, "prod-db", "size").await? == 2);
    let after = generations().await?;
    ensure!(after[..2] == before[..2] && after[2] > before[2], "{before:?} {after:?}");
    let written = objects_written(&world, since)?;
    let prod = |write: &String| write.split('/').nth(1).is_some_and(|name| name.starts_with("prod-db"));
    ensure!(!written.is_empty() && written.iter().all(prod), "{written:?}");

    // All of them.
    let since = Timestamp::now();
    let third = push(&world, "larger", &[("base/db.yaml".to_owned(), database("tier: large"))]).await?;
    world.refresh(&third).await?;
    all_ready(&third).await?;
    let ran: BTreeSet<String> = world.ran().split_off(4).into_iter().collect();
    ensure!(ran == ENVIRONMENTS.map(|name| format!("upgrade {name}-db")).into(), "{ran:?}");
    let written = objects_written(&world, since)?;
    for environment in ENVIRONMENTS {
        let installation = format!("patch installations/{environment}-db");
        ensure!(written.contains(&installation), "{installation} is not in {written:?}");
    }

    // A mistake in one overlay, with a good change beside it, holds back that environment as a whole.
    let since = Timestamp::now();
    let broken = (
        "overlays/prod/kustomization.yaml".to_owned(),
        "resources: [../../base]\nnamePrefix: prod2-\npatches:\n- path: missing.yaml\n".to_owned(),
    );
    let fourth = push(&world, "broken", &[broken]).await?;
    world.refresh(&fourth).await?;
    let message = world.not_ready("prod", "BuildFailed", "missing.yaml").await?;
    ensure!(message.contains("overlays/prod/kustomization.yaml:4:9: patches[0].path"), "{message}");
    world.ready_at("dev", &fourth).await?;
    world.ready_at("staging", &fourth).await?;
    let written = objects_written(&world, since)?;
    ensure!(written.is_empty() && world.ran().len() == 7, "{written:?} {:?}", world.ran());
    let status = world.sync_object("prod").await?.status.context("a status")?;
    ensure!(status.last_applied_revision == Some(format!("main@sha1:{third}")), "{status:?}");
    ensure!(status.last_attempted_revision == Some(format!("main@sha1:{fourth}")), "{status:?}");

    let fifth = push(&world, "mended", &[overlay("prod", 2)]).await?;
    world.refresh(&fifth).await?;
    all_ready(&fifth).await?;
    ensure!(world.ran().len() == 7, "{:?}", world.ran());
    Ok(())
}

#[tokio::test]
async fn the_fields_of_a_sync_are_laid_over_its_path() -> Result<()> {
    let world = World::start("layer").await?;
    let files = [
        // Another namespace, which is not even there.
        (
            "app/kustomization.yaml",
            "resources: [db.yaml]\nnamespace: elsewhere\nconfigurations: [images.yaml]\n".to_owned(),
        ),
        ("app/images.yaml", "images:\n- {kind: Installation, path: spec/parameters/image}\n".to_owned()),
        ("app/db.yaml", database("image: 'example.test/app:1', size: 1")),
        (
            "components/tls/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- patch: '- {op: add, path: /spec/parameters/tls, value: true}'\n  target: {kind: Installation}\n".to_owned(),
        ),
    ];
    let first = world.push("app", &files).await?;
    world.source().await?;
    world.sync("app", json!({"path": "./app"})).await?;
    world.not_ready("app", "AccessDenied", "namespace elsewhere").await?;

    let mut spec = json!({
        "path": "./app",
        "targetNamespace": world.namespace,
        "namePrefix": "eu-",
        "nameSuffix": "-main",
        "components": ["../components/tls", "../components/none"],
        "ignoreMissingComponents": true,
        "images": [{"name": "example.test/app", "newName": "mirror.test/app", "newTag": "2"}],
        "patches": [{
            "patch": "- {op: replace, path: /spec/parameters/size, value: 2}",
            "target": {"group": "getporter.org", "kind": "Installation", "name": "db"},
        }],
        "buildMetadata": ["originAnnotations"],
        "commonMetadata": {"labels": {"team": "data"}, "annotations": {"contact": "data@example.test"}},
    });
    world.sync("app", spec.clone()).await?;
    world.ready_at("app", &first).await?;
    world.ran_only(&["install eu-db-main"])?;
    let installation = world.installation("eu-db-main").await?;
    let parameters = serde_json::to_value(&installation.spec)?["parameters"].clone();
    ensure!(parameters == json!({"image": "mirror.test/app:2", "size": 2, "tls": true}), "{parameters}");
    let labels = installation.metadata.labels.clone().unwrap_or_default();
    ensure!(labels.get("team").map(String::as_str) == Some("data"), "{labels:?}");
    let annotations = installation.metadata.annotations.clone().unwrap_or_default();
    ensure!(annotations.get("contact").map(String::as_str) == Some("data@example.test"), "{annotations:?}");
    ensure!(
        annotations.get("config.kubernetes.io/origin").map(String::as_str) == Some("path: db.yaml\n"),
        "{annotations:?}"
    );

    // Labels are no reason to run anything.
    spec["commonMetadata"]["labels"]["team"] = json!("storage");
    world.sync("app", spec.clone()).await?;
    eventually(PATIENCE, "the new label", || async {
        let labels = world.installation("eu-db-main").await?.metadata.labels.unwrap_or_default();
        if labels.get("team").is_some_and(|team| team == "storage") { Ok(()) } else { bail!("{labels:?}") }
    })
    .await?;
    ensure!(world.installation("eu-db-main").await?.metadata.generation == installation.metadata.generation);

    // A changed patch is one run, of the same revision.
    spec["patches"][0]["patch"] = json!("- {op: replace, path: /spec/parameters/size, value: 3}");
    world.sync("app", spec.clone()).await?;
    eventually(PATIENCE, "the upgrade", || async {
        if world.ran() == ["install eu-db-main", "upgrade eu-db-main"] { Ok(()) } else { bail!("{:?}", world.ran()) }
    })
    .await?;
    world.ready_at("app", &first).await?;
    ensure!(parameter(&world, "eu-db-main", "size").await? == 3);

    for (field, wrong, part) in [
        ("components", json!(["../components/none"]), "spec.components[0]"),
        (
            "patches",
            json!([{"patch": "- {op: remove, path: /spec/none}", "target": {"kind": "Installation"}}]),
            "spec.patches[0]",
        ),
        ("commonMetadata", json!({"labels": {"a b": "c"}}), "spec.commonMetadata: labels: a b"),
    ] {
        let mut spec = spec.clone();
        spec["ignoreMissingComponents"] = json!(false);
        spec["components"] = json!(["../components/tls"]);
        spec[field] = wrong;
        world.sync("app", spec).await?;
        world.not_ready("app", "BuildFailed", part).await?;
    }
    ensure!(world.ran().len() == 2, "{:?}", world.ran());
    Ok(())
}

async fn config_map(world: &World, name: &str, labels: Value, data: Value) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data,
    });
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace);
    maps.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
    Ok(())
}

async fn secret(world: &World, name: &str, data: Value) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &world.namespace);
    secrets.patch(name, &PatchParams::default(), &Patch::Merge(&object)).await.map(drop).or_else(
        |error| match error {
            kube::Error::Api(status) if status.code == 404 => Ok(()),
            error => Err(error),
        },
    )?;
    if secrets.get_opt(name).await?.is_none() {
        secrets.create(&kube::api::PostParams::default(), &serde_json::from_value(object)?).await?;
    }
    Ok(())
}

async fn secret_value(world: &World, name: &str, key: &str) -> Result<String> {
    let secret = Api::<Secret>::namespaced(world.client.clone(), &world.namespace).get(name).await?;
    let data: BTreeMap<_, _> = secret.data.unwrap_or_default();
    Ok(String::from_utf8(data.get(key).context("no such key")?.0.clone())?)
}

/// Waits until nothing wakes the sync any more: the last events of a run come after it is ready.
async fn rests(world: &World, sync: &str) -> Result<()> {
    eventually(PATIENCE, "the sync to rest", || async {
        let before = world.reconciles(sync).await?;
        tokio::time::sleep(QUIET).await;
        let after = world.reconciles(sync).await?;
        if before == after { Ok(()) } else { bail!("{before} to {after} reconciles") }
    })
    .await
}

/// How often the controller read an object by its name.
fn reads(world: &World, resource: &str, name: &str, since: Timestamp) -> Result<u64> {
    let events = world.environment.audit(User::Controller, since)?;
    let of_it = events.iter().filter(|event| {
        let object = event.object();
        event.verb == "get" && object.namespace == world.namespace && object.resource == resource && object.name == name
    });
    Ok(of_it.count() as u64)
}

#[tokio::test]
async fn variables_come_from_the_sync_config_maps_and_secrets() -> Result<()> {
    const PASSWORDS: [&str; 2] = ["correct horse battery", "staple with a space"];
    let world = World::start("variables").await?;
    let password = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: '${password}'}\n";
    let notes = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: notes\n  annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}\ndata: {text: '${not_ours}'}\n";
    let parameters = "region: '${region}', size: '${size:=1}', kept: '$${region}', zone: '${region^^}-${zone}'";
    let first = world
        .push(
            "app",
            &[
                ("app/db.yaml", database(parameters)),
                ("app/password.yaml", password.to_owned()),
                ("app/notes.yaml", notes.to_owned()),
            ],
        )
        .await?;
    world.source().await?;
    world
        .sync(
            "app",
            json!({"path": "app", "interval": NEVER, "retryInterval": NEVER, "postBuild": {
                "substitute": {"zone": "a"},
                "substituteFrom": [
                    {"kind": "ConfigMap", "name": "vars"},
                    {"kind": "ConfigMap", "name": "none", "optional": true},
                    {"kind": "Secret", "name": "none", "optional": true},
                    {"kind": "Secret", "name": "vars"},
                ],
            }}),
        )
        .await?;
    let message = world
        .not_ready("app", "BuildFailed", "substitute from 'ConfigMap/vars' error: configmaps \"vars\" not found")
        .await?;
    ensure!(message.contains("substitute from 'Secret/vars' error: secrets \"vars\" not found"), "{message}");
    ensure!(!message.contains("none"), "{message}");

    // The label wakes the sync; the Secret has none.
    let watched = json!({"reconcile.fluxcd.io/watch": "Enabled"});
    secret(&world, "vars", json!({"password": format!("{}\n", PASSWORDS[0]), "zone": "z"})).await?;
    config_map(&world, "vars", watched.clone(), json!({"region": "eu", "zone": "y"})).await?;
    world.ready_at("app", &first).await?;
    let applied = serde_json::to_value(world.installation("db").await?.spec)?["parameters"].clone();
    ensure!(applied == json!({"region": "eu", "size": 1, "kept": "${region}", "zone": "EU-a"}), "{applied}");
    ensure!(secret_value(&world, "db", "password").await? == PASSWORDS[0]);
    let notes = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace).get("notes").await?;
    ensure!(notes.data.unwrap_or_default().get("text").map(String::as_str) == Some("${not_ours}"));

    config_map(&world, "vars", watched, json!({"region": "us", "size": "2"})).await?;
    eventually(PATIENCE, "the upgrade", || async {
        if world.ran() == ["install db", "upgrade db"] { Ok(()) } else { bail!("{:?}", world.ran()) }
    })
    .await?;
    world.ready_at("app", &first).await?;
    ensure!(parameter(&world, "db", "size").await? == 2 && parameter(&world, "db", "region").await? == "us");

    // What is not watched is read at the next reconcile, once, and so is all that is named; nothing else is.
    rests(&world, "app").await?;
    secret(&world, "vars", json!({"password": PASSWORDS[1]})).await?;
    tokio::time::sleep(QUIET).await;
    ensure!(secret_value(&world, "db", "password").await? == PASSWORDS[0], "the Secret woke the sync");
    let (since, before) = (Timestamp::now(), world.reconciles("app").await?);
    world.annotate("app", REQUESTED_AT, "now").await?;
    eventually(PATIENCE, "the new password", || async {
        let seen = secret_value(&world, "db", "password").await?;
        if seen == PASSWORDS[1] { Ok(()) } else { bail!("the old one") }
    })
    .await?;
    world.ready_at("app", &first).await?;
    // The sync comes back when its own write is seen, or not; the counts move together, once it rests.
    eventually(PATIENCE, "one read of each source a reconcile", || async {
        let reconciles = world.reconciles("app").await? - before;
        for (resource, name) in
            [("configmaps", "vars"), ("configmaps", "none"), ("secrets", "none"), ("secrets", "vars")]
        {
            let reads = reads(&world, resource, name, since)?;
            ensure!(reads == reconciles, "{reads} of {resource}/{name} in {reconciles} reconciles");
        }
        let others = reads(&world, "configmaps", "notes", since)?;
        ensure!(others == 0, "{others} reads of what no variable comes from");
        Ok(())
    })
    .await?;
    ensure!(world.ran().len() == 2, "{:?}", world.ran());

    // A variable that nobody gives, and one that makes no label: told without its value.
    let labelled = database(parameters).replace("  name: db\n", "  name: db\n  labels: {owner: '${password}'}\n");
    world.commit("secret label", &[("app/db.yaml", labelled)]).await?;
    let message = world.not_ready("app", "BuildFailed", "app/db.yaml:").await?;
    ensure!(message.contains("metadata.labels: owner has the value \"***\""), "{message}");

    world.commit("unset", &[("app/db.yaml", database(&format!("{parameters}, more: '${{unset}}'")))]).await?;
    let message = world.not_ready("app", "BuildFailed", "variable `unset` is not set").await?;
    ensure!(message.starts_with("app/db.yaml:8:"), "{message}");
    ensure!(world.ran().len() == 2, "{:?}", world.ran());

    let status = serde_json::to_string(&world.sync_object("app").await?)?;
    let releases = Api::<api::BundleRelease>::namespaced(world.client.clone(), &world.namespace);
    let releases = serde_json::to_string(&releases.list(&ListParams::default()).await?.items)?;
    let events = Api::<Event>::namespaced(world.client.clone(), &world.namespace);
    let events = serde_json::to_string(&events.list(&ListParams::default()).await?.items)?;
    let log = std::fs::read_to_string(world.controller.log())?;
    ensure!(log.contains("***"), "the log has another form");
    for (what, text) in [("status", status), ("releases", releases), ("events", events), ("log", log)] {
        for password in PASSWORDS {
            ensure!(!text.contains(password), "a password in the {what}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_strictness_a_variable_that_nobody_gives_is_empty() -> Result<()> {
    let world = World::with("lenient", &["--feature-gates=StrictPostBuildSubstitutions=false"]).await?;
    let first = world.push("app", &[("app/db.yaml", database("name: 'x${unset}y', kept: '$${z}'"))]).await?;
    world.source().await?;
    world.sync("app", json!({"path": "app", "postBuild": {"substituteStrategy": "Always"}})).await?;
    world.ready_at("app", &first).await?;
    let parameters = serde_json::to_value(world.installation("db").await?.spec)?["parameters"].clone();
    ensure!(parameters == json!({"name": "xy", "kept": "${z}"}), "{parameters}");
    Ok(())
}

#[tokio::test]
async fn a_generated_name_moves_with_its_content_and_the_installation_follows() -> Result<()> {
    let world = World::start("generated").await?;
    let names = "nameReference:\n- version: v1\n  kind: ConfigMap\n  fieldSpecs:\n  - {group: getporter.org, kind: Installation, path: spec/parameters/settings}\n- kind: ParameterSet\n  group: getporter.org\n  fieldSpecs:\n  - {group: getporter.org, kind: Installation, path: spec/parameterSets}\n";
    let set = "apiVersion: getporter.org/v1\nkind: ParameterSet\nmetadata: {name: tuning}\nspec:\n  schemaVersion: 1.0.1\n  parameters:\n  - {name: label, source: {value: x}}\n";
    let kustomization = |mode: &str| {
        format!(
            "resources: [db.yaml, set.yaml]\nnamePrefix: eu-\nconfigurations: [names.yaml]\nconfigMapGenerator:\n- name: settings\n  literals: [mode={mode}]\n"
        )
    };
    let files = [
        ("app/kustomization.yaml", kustomization("fast")),
        ("app/names.yaml", names.to_owned()),
        ("app/set.yaml", set.to_owned()),
        (
            "app/db.yaml",
            database("settings: settings").replace("  parameters:", "  parameterSets: [tuning]\n  parameters:"),
        ),
    ];
    let first = world.push("app", &files).await?;
    world.source().await?;
    world.sync("app", json!({"path": "app"})).await?;
    world.ready_at("app", &first).await?;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace);
    let settings = async || -> Result<(String, String)> {
        let name = parameter(&world, "eu-db", "settings").await?.as_str().context("a name")?.to_owned();
        let map = maps.get(&name).await?;
        Ok((name, map.data.unwrap_or_default().remove("mode").unwrap_or_default()))
    };
    let (before, mode) = settings().await?;
    ensure!(before.starts_with("eu-settings-") && mode == "fast", "{before} {mode}");
    ensure!(world.installation("eu-db").await?.spec.parameter_sets == ["eu-tuning"]);
    world.ran_only(&["install eu-db"])?;

    let second = world.commit("safe", &[("app/kustomization.yaml", kustomization("safe"))]).await?;
    world.ready_at("app", &second).await?;
    let (after, mode) = settings().await?;
    ensure!(after != before && mode == "safe", "{after} {mode}");
    world.ran_only(&["install eu-db", "upgrade eu-db"])?;
    Ok(())
}
