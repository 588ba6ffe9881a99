//! The main job, end to end on real servers: a `git push` becomes an Installation and exactly the right bundle actions.

use std::time::Duration;

use crate::world::{PATIENCE, REPOSITORY, World, installation};
use anyhow::{Context, Result, bail, ensure};
use api::porter::{AgentAction, Installation};
use api::{BundleRelease, REQUESTED_AT, RunResult};
use e2e::{User, eventually};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

const MYSQL: &str = "apps/dev/mysql.yaml";

#[tokio::test]
async fn commits_become_exactly_the_right_actions() -> Result<()> {
    let mut world = World::start("spine").await?;
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])?;

    let applied = world.installation("mysql").await?;
    ensure!(applied.spec.name == "mysql" && applied.spec.namespace == world.namespace, "{:?}", applied.spec);
    ensure!(applied.spec.bundle.version.as_deref() == Some("0.1.0"), "{:?}", applied.spec.bundle);
    let release = world.release("mysql").await?;
    ensure!(release.spec.asked.file == MYSQL && release.spec.asked.revision == format!("main@sha1:{first}"));
    ran_by_one_job(&world, &applied, &release).await?;
    shows(&world, &first, 1, "0.1.0").await?;

    // A comment changes the revision and nothing else.
    let comment = format!("# who owns this\n{}", installation("mysql", "0.1.0", 1));
    let second = world.push("comment", &[(MYSQL, comment)]).await?;
    world.event_at(&first).await?;
    let since = Timestamp::now();
    world.refresh(&second).await?;
    world.ready_at("apps", &second).await?;
    let after = world.installation("mysql").await?;
    ensure!(after.metadata.uid == applied.metadata.uid && after.metadata.generation == applied.metadata.generation);
    let writes = world.writes(since)?;
    ensure!(writes == ["patch bundlesyncs/apps/status"], "{writes:?}");

    // A parameter is one upgrade.
    let third = world.commit("bigger", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.ready_at("apps", &third).await?;
    world.ran_only(&["install mysql", "upgrade mysql"])?;

    shows(&world, &third, 2, "0.1.0").await?;

    // Nothing is old enough to run again after a restart.
    world.restart().await?;
    eventually(PATIENCE, "a reconcile after the restart", || world.reconciles("apps")).await?;
    world.ready_at("apps", &third).await?;
    world.ran_only(&["install mysql", "upgrade mysql"])
}

/// The status of the release shows where what stands came from, what it is, and what ran.
async fn shows(world: &World, commit: &str, generation: i64, version: &str) -> Result<()> {
    let status = world.release("mysql").await?.status.unwrap_or_default();
    let source = (status.file.as_deref(), status.revision.as_deref());
    ensure!(source == (Some(MYSQL), Some(format!("main@sha1:{commit}").as_str())), "{source:?}");
    let bundle = (status.reference.as_deref(), status.digest.as_deref());
    ensure!(bundle == (Some(format!("{REPOSITORY}:v{version}").as_str()), None), "{bundle:?}");
    let run = status.runs.first().context("no run")?;
    ensure!((status.generation, run.generation) == (Some(generation), generation), "{status:?}");
    ensure!(status.state == Some(api::ReleaseState::Succeeded), "{status:?}");
    ensure!(status.message == Some(format!("AgentAction {} succeeded", run.action)), "{status:?}");
    Ok(())
}

/// The one AgentAction of an Installation is the operator's, its Job succeeded, and the release names both the run and
/// its result.
async fn ran_by_one_job(world: &World, installation: &Installation, release: &BundleRelease) -> Result<()> {
    let actions = Api::<AgentAction>::namespaced(world.client.clone(), &world.namespace);
    let [action] = &actions.list(&ListParams::default()).await?.items[..] else { bail!("not one AgentAction") };
    let owners: Vec<_> = action.owner_references().iter().map(|owner| Some(&owner.uid)).collect();
    ensure!(owners == [installation.metadata.uid.as_ref()], "{owners:?}");
    ensure!(action.spec.args == ["installation", "apply", "installation.yaml"], "{:?}", action.spec.args);
    let document = action.spec.files.get("installation.yaml").context("the action has no document")?;
    let document = String::from_utf8(document.0.clone())?;
    ensure!(document.contains("name: mysql") && document.contains("size: 1"), "{document}");
    let status = action.status.clone().unwrap_or_default();
    ensure!(status.conditions.iter().any(|is| is.type_ == "Completed" && is.status == "True"), "{status:?}");

    let jobs = Api::<Job>::namespaced(world.client.clone(), &world.namespace);
    let named = status.job.map(|job| job.name).unwrap_or_default();
    let job = jobs.get(&named).await?;
    ensure!(job.owner_references().iter().any(|owner| Some(&owner.uid) == action.metadata.uid.as_ref()));
    let result = job.status.unwrap_or_default();
    ensure!((result.succeeded, result.failed.unwrap_or_default()) == (Some(1), 0), "{result:?}");

    let runs = release.status.clone().unwrap_or_default().runs;
    let [run] = &runs[..] else { bail!("{runs:?}") };
    ensure!(run.action == action.name_any() && run.generation == 1, "{run:?}");
    ensure!(run.result == Some(RunResult::Succeeded), "{run:?}");
    Ok(())
}

#[tokio::test]
async fn of_two_changes_during_a_run_the_newest_wins_and_nothing_overlaps() -> Result<()> {
    let world = World::start("newest").await?;
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;

    world.runner.hold(crate::world::REPOSITORY);
    world.commit("two", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.begun(2).await?;
    for size in [3, 4] {
        world.commit("more", &[(MYSQL, installation("mysql", "0.1.0", size))]).await?;
        world.message_contains("apps", "AgentAction").await?;
    }
    let last = world.commit("last", &[(MYSQL, installation("mysql", "0.1.0", 5))]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(world.ran().len() == 2, "a run began during another: {:?}", world.ran());
    world.runner.release(crate::world::REPOSITORY);
    world.ready_at("apps", &last).await?;

    let executions = world.runner.executions();
    ensure!(executions.iter().all(|execution| !execution.overlapping), "{executions:?}");
    let sizes: Vec<_> = executions.iter().map(|execution| execution.parameters["size"].clone()).collect();
    ensure!(sizes == [json!(1), json!(2), json!(5)], "{sizes:?}");
    Ok(())
}

#[tokio::test]
async fn a_failed_action_is_told_and_the_next_commit_runs() -> Result<()> {
    let world = World::start("fails").await?;
    world.runner.fail_next(crate::world::REPOSITORY, 1);
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.not_ready("apps", "HealthCheckFailed", "mysql").await?;
    let second = world.push("fixed", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    ensure!(first != second);
    world.refresh(&second).await?;
    world.ready_at("apps", &second).await?;
    world.ran_only(&["install mysql", "install mysql"])?;
    Ok(())
}

#[tokio::test]
async fn sets_run_before_the_installation_that_names_them() -> Result<()> {
    let world = World::start("sets").await?;
    let documents = [
        ("apps/a-installation.yaml", installation("mysql", "0.1.0", 1) + "parameterSets: [tuning]\n"),
        (
            "apps/b-set.yaml",
            "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- name: label\n  source: {value: x}\n".to_owned(),
        ),
        ("apps/c-map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {a: b}\n".to_owned()),
    ];
    let first = world.push("all", &documents).await?;
    world.source().await?;
    world.sync("apps", json!({})).await?;
    world.ready_at("apps", &first).await?;
    let commands: Vec<String> = world.runner.commands().iter().map(|command| command.arguments[0].clone()).collect();
    ensure!(commands == ["parameters", "installation"], "{commands:?}");
    let sync = world.sync_object("apps").await?;
    let entries =
        sync.status.and_then(|status| status.inventory).map(|inventory| inventory.entries).unwrap_or_default();
    let ids: Vec<String> = entries.into_iter().map(|entry| entry.id).collect();
    let namespace = &world.namespace;
    ensure!(
        ids == [format!("{namespace}_notes__ConfigMap"), format!("{namespace}_tuning_getporter.org_ParameterSet")],
        "{ids:?}"
    );
    Ok(())
}

/// Waits until one event tells what was put right, and nothing else does.
async fn corrected(world: &World, what: &str) -> Result<()> {
    let told = format!("Normal DriftCorrected put right: [installation {0}: {0}/mysql {what}]", world.namespace);
    eventually(PATIENCE, &told, || async {
        let events: Vec<_> =
            world.events().await?.into_iter().filter(|event| event.contains("DriftCorrected")).collect();
        if events == [told.as_str()] { Ok(()) } else { bail!("{events:?}") }
    })
    .await
}

#[tokio::test]
async fn what_is_deleted_by_hand_is_made_again_at_once_without_an_action() -> Result<()> {
    let world = World::start("drift").await?;
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let uid = world.installation("mysql").await?.metadata.uid;
    world.delete_installation("mysql").await?;
    eventually(PATIENCE, "the Installation to be back, and its run to be over", || async {
        let now = world.installation("mysql").await?.metadata.uid;
        let status = world.release("mysql").await?.status.unwrap_or_default();
        let over = status.uid == now && status.state == Some(api::ReleaseState::Succeeded);
        if now != uid && over { Ok(()) } else { bail!("{now:?} after {uid:?}: {status:?}") }
    })
    .await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])?;
    corrected(&world, "was deleted by hand and is made again").await
}

#[tokio::test]
async fn what_is_edited_by_hand_is_put_right_once_and_told() -> Result<()> {
    let mut world = World::start("edited").await?;
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let edit = json!({"spec": {"parameters": {"size": 9}}});
    let installations = Api::<Installation>::namespaced(world.client.clone(), &world.namespace);
    installations.patch("mysql", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    eventually(PATIENCE, "the run of what is put right", || async {
        let runs = world.release("mysql").await?.status.unwrap_or_default().runs;
        let over = runs.first().is_some_and(|run| run.generation == 3 && run.result == Some(RunResult::Succeeded));
        if over { Ok(()) } else { bail!("{runs:?}") }
    })
    .await?;
    world.ready_at("apps", &first).await?;
    corrected(&world, "differs from what is asked in spec.parameters.size").await?;

    // What the source changes is none, nor is anything after a restart.
    let second = world.commit("bigger", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.ready_at("apps", &second).await?;
    world.restart().await?;
    eventually(PATIENCE, "a reconcile after the restart", || world.reconciles("apps")).await?;
    world.ready_at("apps", &second).await?;
    corrected(&world, "differs from what is asked in spec.parameters.size").await?;
    world.ran_only(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"])?;
    let sizes: Vec<_> = world.runner.executions().iter().map(|run| run.parameters["size"].clone()).collect();
    ensure!(sizes == [json!(1), json!(9), json!(1), json!(2)], "{sizes:?}");
    Ok(())
}

#[tokio::test]
async fn what_leaves_the_source_stays_and_is_marked() -> Result<()> {
    let world = World::start("leaves").await?;
    let both = [(MYSQL, installation("mysql", "0.1.0", 1)), ("apps/dev/redis.yaml", installation("redis", "0.1.0", 1))];
    let first = world.push("both", &both).await?;
    world.source().await?;
    world.sync("apps", json!({"path": "./apps/dev"})).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit_without("redis leaves", &["apps/dev/redis.yaml"]).await?;
    world.ready_at("apps", &second).await?;
    let release = world.release("redis").await?;
    ensure!(release.spec.removed.map(|removed| removed.revision) == Some(format!("main@sha1:{second}")));
    ensure!(world.installation("redis").await?.metadata.deletion_timestamp.is_none());
    let summary = world.sync_object("apps").await?.status.and_then(|status| status.installations).unwrap_or_default();
    ensure!((summary.total, summary.ready, summary.removed) == (1, 1, 1), "{summary:?}");
    world.ran_in_any_order(&["install mysql", "install redis"])
}

#[tokio::test]
async fn a_reconcile_with_nothing_to_do_makes_no_request() -> Result<()> {
    let world = World::start("noop").await?;
    let first = world
        .begin(json!({"path": "./apps/dev", "interval": "1s"}), &[(MYSQL, installation("mysql", "0.1.0", 1))])
        .await?;
    world.ready_at("apps", &first).await?;
    world.event_at(&first).await?;
    let since = Timestamp::now();
    world.reconciled_again("apps", 5).await?;
    let requests: Vec<String> = world
        .environment
        .audit(User::Controller, since)?
        .iter()
        .filter(|event| event.verb != "watch" && event.request_uri.contains(&world.namespace))
        .map(|event| format!("{} {}", event.verb, event.request_uri))
        .collect();
    ensure!(requests.is_empty(), "{requests:?}");
    Ok(())
}

/// An older version noted less in the ledger.
#[tokio::test]
async fn a_newer_controller_runs_nothing_again() -> Result<()> {
    let mut world = World::start("newer").await?;
    let document = |size: u32| installation("mysql", "0.1.0", size) + "metadata: {annotations: {note: x}}\n";
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, document(1))]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit("bigger", &[(MYSQL, document(2))]).await?;
    world.ready_at("apps", &second).await?;
    let stood = world.installation("mysql").await?.metadata;
    world.controller.kill()?;
    let name = world.release("mysql").await?.name_any();
    let releases = Api::<BundleRelease>::namespaced(world.client.clone(), &world.namespace);
    let older = Patch::Merge(json!({"status": {"inputs": null, "annotated": null, "bundle": null, "uid": null}}));
    let older = releases.patch_status(&name, &PatchParams::default(), &older).await?.status.unwrap_or_default();
    ensure!((older.inputs, older.annotated, older.bundle, older.uid) == (None, None, None, None));
    world.controller.restart().await?;
    eventually(PATIENCE, "the ledger to be whole again", || async {
        let status = world.release("mysql").await?.status.unwrap_or_default();
        let whole = status.bundle.is_some() && status.annotated.is_some() && status.uid == stood.uid;
        if whole { Ok(()) } else { bail!("{status:?}") }
    })
    .await?;
    world.ready_at("apps", &second).await?;
    world.stays_at("apps", &["install mysql", "upgrade mysql"]).await?;
    let now = world.installation("mysql").await?.metadata;
    ensure!((now.uid, now.generation) == (stood.uid, stood.generation), "{:?}", now.generation);
    Ok(())
}

#[tokio::test]
async fn a_request_is_answered() -> Result<()> {
    let world = World::start("asked").await?;
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.annotate("apps", REQUESTED_AT, "now").await?;
    eventually(PATIENCE, "the request to be answered", || async {
        let status = world.sync_object("apps").await?.status.unwrap_or_default();
        match status.last_handled_reconcile_at.as_deref() {
            Some("now") => Ok(()),
            other => bail!("{other:?}"),
        }
    })
    .await?;
    // The same through the real flux binary: it reconciles the source, and the commit is visible at once.
    let second = world.push("bigger", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.environment.flux(["reconcile", "source", "git", "fleet", "-n", &world.namespace]).await?;
    world.ready_at("apps", &second).await
}

#[tokio::test]
async fn nothing_is_done_for_a_sync_that_is_suspended() -> Result<()> {
    let world = World::start("suspended").await?;
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.event_at(&first).await?;

    world.sync("apps", json!({"path": "./apps/dev", "suspend": true})).await?;
    let since = Timestamp::now();
    let second = world.commit("bigger", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.annotate("apps", REQUESTED_AT, "while suspended").await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let writes = world.writes(since)?;
    ensure!(writes.is_empty(), "{writes:?}");
    let status = world.sync_object("apps").await?.status.unwrap_or_default();
    ensure!(status.last_applied_revision == Some(format!("main@sha1:{first}")), "{status:?}");
    ensure!(status.last_handled_reconcile_at.is_none(), "{status:?}");

    world.sync("apps", json!({"path": "./apps/dev"})).await?;
    world.ready_at("apps", &second).await?;
    let status = world.sync_object("apps").await?.status.unwrap_or_default();
    ensure!(status.last_handled_reconcile_at.as_deref() == Some("while suspended"), "{status:?}");
    world.ran_only(&["install mysql", "upgrade mysql"])?;
    Ok(())
}
