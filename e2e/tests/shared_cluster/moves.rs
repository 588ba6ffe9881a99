//! Installations that move to another object, and objects that somebody else made: no bundle action runs by that.

use anyhow::{Context, Result, bail, ensure};
use api::porter::{AgentAction, label};
use api::{RunResult, condition};
use e2e::eventually;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Resource as _, ResourceExt};
use serde_json::json;

use crate::world::archive::{Answer, ArchiveServer, files};
use crate::world::documents::{config_map, resource};
use crate::world::{PATIENCE, REPOSITORY, World, installation};

const FILE: &str = "apps/db.yaml";
const OTHER: &str = "other/db.yaml";

#[tokio::test]
async fn another_name_of_the_object_is_no_bundle_action() -> Result<()> {
    let world = World::start("renamed").await?;
    let first = world
        .begin(
            json!({"prune": true}),
            &[(FILE, [resource("db", "mysql", 1), resource("cache", "redis", 1)].join("---\n"))],
        )
        .await?;
    world.ready_at("apps", &first).await?;
    let installed = world.ran();
    ensure!(installed.len() == 2, "{installed:?}");

    let second = world
        .commit("renamed", &[(FILE, [resource("sql", "mysql", 1), resource("cache", "redis", 1)].join("---\n"))])
        .await?;
    world.ready_at("apps", &second).await?;
    ensure!(world.objects().await? == ["cache: redis", "sql: mysql"], "{:?}", world.objects().await?);
    ensure!(world.release("mysql").await?.spec.object_name == "sql");

    // The two change places, and one of them is upgraded at the same time.
    let third = world
        .commit("swapped", &[(FILE, [resource("cache", "mysql", 2), resource("sql", "redis", 1)].join("---\n"))])
        .await?;
    world.ready_at("apps", &third).await?;
    ensure!(world.objects().await? == ["cache: mysql", "sql: redis"], "{:?}", world.objects().await?);

    // A prefix moves all.
    world.sync("apps", json!({"prune": true, "namePrefix": "eu-"})).await?;
    eventually(PATIENCE, "all objects to have the prefix", || async {
        let objects = world.objects().await?;
        if objects == ["eu-cache: mysql", "eu-sql: redis"] { Ok(()) } else { bail!("{objects:?}") }
    })
    .await?;
    world.ready_at("apps", &third).await?;
    ensure!(world.ran()[2..] == ["upgrade mysql"], "{:?}", world.ran());

    // What moved is uninstalled like any other.
    let last = world.commit("gone", &[(FILE, resource("sql", "redis", 1))]).await?;
    world.ready_at("apps", &last).await?;
    ensure!(world.ran()[3..] == ["uninstall mysql"], "{:?}", world.ran());
    ensure!(world.objects().await? == ["eu-sql: redis"], "{:?}", world.objects().await?);
    ensure!(world.runner.overlaps().is_empty(), "{:?}", world.runner.overlaps());
    Ok(())
}

/// The operator has Porter forget the set with its old object: the new one has to come after that.
#[tokio::test]
async fn a_set_moves_to_another_object_and_runs_nothing_that_names_it() -> Result<()> {
    let mut world = World::start("renamed-set").await?;
    let set = |value: &str| {
        let entries = format!("parameters:\n- name: label\n  source: {{value: {value}}}\n");
        ("apps/tuning.yaml", format!("schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\n{entries}"))
    };
    let mysql = ("apps/mysql.yaml", installation("mysql", "0.1.0", 1) + "parameterSets: [tuning]\n");
    let first = world.begin(json!({"prune": true, "retryInterval": "5s"}), &[mysql, set("one")]).await?;
    world.ready_at("apps", &first).await?;

    world.runner.evict_next(1);
    world.sync("apps", json!({"prune": true, "retryInterval": "5s", "namePrefix": "eu-"})).await?;
    let told = "tuning, which is the same to Porter, makes place: the object is being deleted: AgentAction";
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, told).await?;
    world.restart().await?;
    let sets = e2e::dynamic(world.client.clone(), &world.namespace, "getporter.org", "v1", "ParameterSet");
    eventually(PATIENCE, "all to have the prefix", || async {
        let sets: Vec<_> = sets.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
        let objects = world.objects().await?;
        ensure!(sets == ["eu-tuning"] && objects == ["eu-mysql: mysql"], "{sets:?} {objects:?}");
        Ok(())
    })
    .await?;
    world.ready_at("apps", &first).await?;
    world.stays_at("apps", &["install mysql"]).await?;

    // Porter knows it, and what it gives counts.
    let second = world.commit("another value", &[set("two")]).await?;
    world.begun(2).await?;
    world.ready_at("apps", &second).await?;
    ensure!(world.last_parameter("label") == "two", "{}", world.last_parameter("label"));
    world.stays_at("apps", &["install mysql", "upgrade mysql"]).await
}

#[tokio::test]
async fn what_another_sync_never_came_to_take_goes_with_the_one_that_had_it() -> Result<()> {
    let world = World::start("across-never").await?;
    let files = ["apps/notes.yaml", "apps/keep.yaml", "other/notes.yaml", "other/last.yaml"]
        .map(|file| (file, config_map(file.split(['/', '.']).nth(1).unwrap_or_default())));
    let first = world.begin(json!({"prune": true, "interval": "5s"}), &files).await?;
    world.ready_at("apps", &first).await?;
    let waits = json!({"path": "other", "prune": true, "dependsOn": [{"name": "nobody"}]});
    world.sync("other", waits).await?;
    world.message_contains("other", "nobody").await?;

    let second = world.commit_without("moves", &["apps/notes.yaml"]).await?;
    world.ready_at("apps", &second).await?;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace);
    let inventory = world.sync_object("apps").await?.status.unwrap_or_default().inventory.context("no inventory")?;
    ensure!(inventory.entries.iter().any(|entry| entry.id.contains("_notes_")), "{inventory:?}");
    ensure!(maps.get_opt("notes").await?.is_some());

    world.commit_without("gone", &["other/notes.yaml"]).await?;
    eventually(PATIENCE, "what nobody asks for to be gone", || async {
        ensure!(maps.get_opt("notes").await?.is_none());
        Ok(())
    })
    .await
}

/// Whichever of the two reads the revision first, and though neither has a reason to look again soon.
#[tokio::test]
async fn a_set_goes_to_another_sync_and_back_at_once() -> Result<()> {
    let world = World::start("set-to-and-fro").await?;
    let (here, there) = ("apps/tuning.yaml", "other/tuning.yaml");
    let entries = "parameters:\n- name: label\n  source: {value: x}\n";
    let set = format!("schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\n{entries}");
    let mysql = installation("mysql", "0.1.0", 1) + "parameterSets: [tuning]\n";
    let slow = json!({"prune": true, "retryInterval": "10m"});
    let files = [("apps/mysql.yaml", mysql), (here, set.clone()), ("other/keep.yaml", config_map("keep"))];
    let first = world.begin(slow.clone(), &files).await?;
    world.ready_at("apps", &first).await?;
    world.sync("other", json!({"prune": true, "retryInterval": "10m", "path": "other"})).await?;
    world.ready_at("other", &first).await?;
    for (from, to) in [(here, there), (there, here), (here, there)] {
        let commit = world.repository.commit(to).remove(from).write(to, set.clone()).push().await?;
        world.refresh(&commit).await?;
        for sync in ["apps", "other"] {
            world.ready_at(sync, &commit).await?;
        }
    }
    world.stays_at("apps", &["install mysql"]).await
}

#[tokio::test]
async fn another_sync_takes_it_over_under_another_name() -> Result<()> {
    let world = World::start("across").await?;
    let keep = ("apps/keep.yaml", resource("keep", "redis", 1));
    let first = world.begin(json!({"prune": true}), &[(FILE, resource("db", "mysql", 1)), keep]).await?;
    world.ready_at("apps", &first).await?;
    let commit = world.repository.commit("moves").remove(FILE).write(OTHER, resource("sql", "mysql", 1));
    let second = commit.push().await?;
    world.sync("other", json!({"path": "other", "prune": true})).await?;
    world.refresh(&second).await?;
    world.ready_at("other", &second).await?;
    world.ready_at("apps", &second).await?;
    ensure!(world.objects().await? == ["keep: redis", "sql: mysql"], "{:?}", world.objects().await?);
    ensure!(world.release("mysql").await?.spec.sync.name == "other");
    world.ran_in_any_order(&["install mysql", "install redis"])?;
    // The one that had it hears of that.
    eventually(PATIENCE, "apps to tell of one only", || async {
        let status = world.sync_object("apps").await?.status.unwrap_or_default();
        let told = status.installations.context("no installations")?;
        if told.total == 1 && told.uninstalling == 0 { Ok(()) } else { bail!("{told:?}") }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_somebody_made_is_adopted_by_the_policy() -> Result<()> {
    let world = World::start("adopted").await?;
    world.theirs("mysql", json!({})).await?;
    let kept =
        json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    world.theirs("redis", kept).await?;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "notes"}, "data": {"a": "theirs", "b": "c"}});
    maps.patch("notes", &PatchParams::apply("somebody"), &Patch::Apply(&map)).await?;

    let same = |name: &str| installation(name, "0.1.0", 1) + "  extra: true\n";
    let notes = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {a: ours}\n".to_owned();
    let files = [("apps/mysql.yaml", same("mysql")), ("apps/redis.yaml", same("redis")), ("apps/notes.yaml", notes)];
    let first = world.push("first", &files).await?;
    world.source().await?;
    world.sync("apps", json!({"prune": true})).await?;
    let keeper = "Kustomization flux-system/apps looks after it";
    let told = world.not_ready("apps", condition::RECONCILIATION_FAILED, "its last run succeeded").await?;
    ensure!(told.contains(keeper), "{told}");
    // Nobody looks after the other one: it is ours, and nothing ran by that.
    eventually(PATIENCE, "mysql to be adopted", || async {
        let release = world.release("mysql").await?;
        let state = release.status.and_then(|status| status.state);
        if state == Some(api::ReleaseState::Succeeded) { Ok(()) } else { bail!("{state:?}") }
    })
    .await?;
    let data = maps.get("notes").await?.data.unwrap_or_default();
    ensure!(data.get("a").map(String::as_str) == Some("ours") && data.len() == 1, "{data:?}");
    let theirs = world.installation("redis").await?.metadata;
    ensure!(theirs.finalizers.iter().flatten().all(|finalizer| finalizer != api::FINALIZER), "{theirs:?}");
    world.ran_only(&["install mysql", "install redis"])?;

    world.sync("apps", json!({"prune": true, "adoption": "Always"})).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql", "install redis"])?;

    // From now on they are like any other.
    let second = world
        .repository
        .commit("second")
        .remove("apps/redis.yaml")
        .write("apps/mysql.yaml", installation("mysql", "0.1.0", 2));
    let second = second.push().await?;
    world.refresh(&second).await?;
    world.ready_at("apps", &second).await?;
    world.ran_in_any_order(&["install mysql", "install redis", "uninstall redis", "upgrade mysql"])?;
    world.delete_installation("mysql").await?;
    world.ready_at("apps", &second).await
}

/// That another sync was refused it is forgotten with the controller, and the one that has it is the first to be built again.
#[tokio::test]
async fn what_left_while_no_controller_ran_goes_to_a_sync_on_another_source() -> Result<()> {
    for is_deleted in [false, true] {
        let server = ArchiveServer::start().await?;
        let mut world = World::with("across-sources", &[&server.flag()]).await?;
        let mysql = || installation("mysql", "0.1.0", 1);
        let first =
            world.begin(json!({"prune": true}), &[(FILE, mysql()), ("apps/keep.yaml", config_map("keep"))]).await?;
        world.ready_at("apps", &first).await?;
        let archive = files(&[(FILE, mysql())]);
        let artifact = server.put("r1", archive.clone());
        world.source_of("ExternalArtifact", "feed", json!({})).await?;
        world.serve("ExternalArtifact", "feed", &artifact).await?;
        let source = json!({"kind": "ExternalArtifact", "name": "feed"});
        world.sync("other", json!({"sourceRef": source, "prune": true})).await?;
        world.not_ready("other", condition::RECONCILIATION_FAILED, "is owned by").await?;

        world.controller.kill()?;
        if is_deleted {
            world.syncs().delete("apps", &DeleteParams::default()).await?;
            world.sources("GitRepository").delete("fleet", &DeleteParams::default()).await?;
        } else {
            world.commit_without("gone", &[FILE]).await?;
        }
        server.answer("r1", &artifact.digest, Answer::Status(503));
        world.controller.restart().await?;
        world.message_contains("apps", "other may ask for it").await?;
        world.stays_at("apps", &["install mysql"]).await?;

        server.put("r1", archive);
        world.ready_with("other", "Applied revision: r1").await?;
        ensure!(world.release("mysql").await?.spec.sync.name == "other");
        world.stays_at("other", &["install mysql"]).await?;
        if is_deleted {
            world.delete_sync("apps").await?;
        } else {
            world.message_contains("apps", "Applied revision").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_runs_is_handed_over_once_it_is_over() -> Result<()> {
    let world = World::start("across-run").await?;
    let keep = ("apps/keep.yaml", resource("keep", "redis", 1));
    let first =
        world.begin(json!({"path": "apps", "prune": true}), &[(FILE, resource("db", "mysql", 1)), keep]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.hold(REPOSITORY);
    world.commit("upgrade", &[(FILE, resource("db", "mysql", 2))]).await?;
    world.begun(3).await?;
    // Longer than the test waits: an event has to bring the end of the run to the other sync, not its own time.
    let patient = json!({"path": "other", "prune": true, "timeout": "1h", "retryInterval": "1h"});
    world.sync("other", patient).await?;
    let moved = world.repository.commit("moves").remove(FILE).write(OTHER, resource("db", "mysql", 3)).push().await?;
    world.refresh(&moved).await?;
    world.message_contains("other", "is not over").await?;
    world.runner.release(REPOSITORY);
    world.ready_at("other", &moved).await?;
    world.ready_at("apps", &moved).await?;
    ensure!(world.release("mysql").await?.spec.sync.name == "other");
    ensure!(world.ran()[2..] == ["upgrade mysql", "upgrade mysql"], "{:?}", world.ran());
    ensure!(world.runner.overlaps().is_empty(), "{:?}", world.runner.overlaps());
    Ok(())
}

#[tokio::test]
async fn what_somebody_made_is_adopted_once_its_run_is_over() -> Result<()> {
    let world = World::start("adopted-run").await?;
    world.runner.hold(REPOSITORY);
    world.theirs("mysql", json!({})).await?;
    let stood = world.installation("mysql").await?.metadata;
    let same = installation("mysql", "0.1.0", 1) + "  extra: true\n";
    let first = world.begin(json!({"prune": true}), &[("apps/mysql.yaml", same)]).await?;
    world.message_contains("apps", "is not over").await?;
    world.stays_at("apps", &["install mysql"]).await?;
    let now = world.installation("mysql").await?.metadata;
    ensure!((&now.uid, now.generation) == (&stood.uid, stood.generation), "{now:?} after {stood:?}");
    ensure!(now.labels.is_none(), "{now:?}");
    world.runner.release(REPOSITORY);
    world.ready_at("apps", &first).await?;
    world.stays_at("apps", &["install mysql"]).await?;
    ensure!(world.installation("mysql").await?.metadata.uid == stood.uid);
    // The ledger has the run that it had; what names our AgentConfig is one more, in which Porter finds nothing changed.
    let runs = world.release("mysql").await?.status.unwrap_or_default().runs;
    let generations: Vec<_> = runs.iter().map(|run| (run.generation, run.result)).collect();
    ensure!(generations == [(2, Some(RunResult::Succeeded)), (1, Some(RunResult::Succeeded))], "{runs:?}");
    Ok(())
}

/// What the operator made for an Installation before it was ours has no labels of ours: no event of that names us.
#[tokio::test]
async fn what_is_left_of_earlier_runs_of_somebody_elses_goes_without_an_interval() -> Result<()> {
    let world = World::start("earlier").await?;
    world.theirs("mysql", json!({})).await?;
    let first = world.begin(json!({}), &[("apps/mysql.yaml", installation("mysql", "0.1.0", 2))]).await?;
    world.ready_at("apps", &first).await?;
    let object = world.installation("mysql").await?;
    ensure!(object.metadata.generation > Some(1), "{:?}", object.metadata.generation);

    let actions = Api::<AgentAction>::namespaced(world.client.clone(), &world.namespace);
    let before = actions.list(&ListParams::default()).await?.items.len();
    for number in 0..25 {
        let name = format!("mysql-old-{number}");
        let action = json!({
            "apiVersion": "getporter.org/v1", "kind": "AgentAction",
            "metadata": {
                "name": name, "ownerReferences": [object.controller_owner_ref(&())],
                "labels": {label::RESOURCE_KIND: "Installation", label::RESOURCE_NAME: "mysql", label::RESOURCE_GENERATION: "1"},
            },
            "spec": {"args": ["installation", "list", "--namespace", world.namespace]},
        });
        actions.patch(&name, &PatchParams::apply("somebody"), &Patch::Apply(&action)).await?;
    }
    eventually(PATIENCE, "the old AgentActions to be gone", || async {
        let left = actions.list(&ListParams::default()).await?.items;
        let names: Vec<_> = left.iter().map(ResourceExt::name_any).filter(|name| name.contains("-old-")).collect();
        ensure!(names.is_empty(), "{names:?}");
        Ok(())
    })
    .await?;
    ensure!(actions.list(&ListParams::default()).await?.items.len() <= before);
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql", "upgrade mysql"])
}
