//! What comes before what, within a BundleSync and between them: by the bundle actions that the runner executed, in order.

use anyhow::{Result, bail, ensure};
use api::condition;
use e2e::eventually;
use serde_json::json;

use crate::world::documents::{after, config_map};
use crate::world::{HELM_RELEASE, KUSTOMIZATION, PATIENCE, REPOSITORY, World, installation, ready};

const DB: &str = "apps/db.yaml";
const WEB: &str = "apps/web.yaml";

#[tokio::test]
async fn installations_come_up_in_order_and_go_in_reverse() -> Result<()> {
    let world = World::start("order").await?;
    // By name, web comes last, and cache first.
    let files = [
        (DB, after("db", 1, "web")),
        (WEB, installation("web", "0.1.0", 1)),
        ("apps/cache.yaml", after("cache", 1, "db, web")),
    ];
    let first = world.push("first", &files).await?;
    world.source().await?;
    world.sync("apps", json!({"prune": true})).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install web", "install db", "install cache"])?;
    let release = world.release("db").await?;
    ensure!(release.spec.asked.depends_on.len() == 1 && release.spec.asked.depends_on[0].name == "web");
    let annotations = world.installation("db").await?.metadata.annotations.unwrap_or_default();
    ensure!(!annotations.contains_key(api::DEPENDS_ON), "{annotations:?}");

    // Another order alone runs nothing.
    let second = world.commit("second", &[("apps/cache.yaml", after("cache", 1, "db"))]).await?;
    world.ready_at("apps", &second).await?;
    world.ran_only(&["install web", "install db", "install cache"])?;

    // What changes waits for what changes.
    let third = world
        .commit("third", &[(WEB, installation("web", "0.1.0", 2)), ("apps/cache.yaml", after("cache", 2, "db, web"))])
        .await?;
    world.ready_at("apps", &third).await?;
    ensure!(world.ran()[3..] == ["upgrade web", "upgrade cache"], "{:?}", world.ran());

    world.delete_sync("apps").await?;
    ensure!(world.ran()[5..] == ["uninstall cache", "uninstall db", "uninstall web"], "{:?}", world.ran());
    ensure!(world.runner.overlaps().is_empty(), "{:?}", world.runner.overlaps());
    Ok(())
}

#[tokio::test]
async fn a_failure_stops_what_depends_on_it_until_it_is_mended() -> Result<()> {
    let world = World::start("stops").await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.begin(json!({}), &[(DB, installation("db", "0.1.0", 1)), (WEB, after("web", 1, "db"))]).await?;
    let told = world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "which it depends on, failed").await?;
    ensure!(told.contains("/web: installation"), "{told}");
    world.ran_only(&["install db"])?;

    world.commit("cycle", &[(DB, after("db", 1, "web"))]).await?;
    let told = world.not_ready("apps", condition::BUILD_FAILED, "makes a cycle").await?;
    ensure!(told.contains("db (apps/db.yaml:1) -> web (apps/web.yaml:1) -> db (apps/db.yaml:1)"), "{told}");

    let mended = world.commit("mended", &[(DB, installation("db", "0.1.0", 2))]).await?;
    world.ready_at("apps", &mended).await?;
    world.ran_only(&["install db", "install db", "install web"])?;
    Ok(())
}

#[tokio::test]
async fn no_more_bundle_actions_are_on_than_may_be() -> Result<()> {
    let world = World::start("turns").await?;
    world.runner.hold(REPOSITORY);
    let names = ["a", "b", "c", "d"];
    let paths = names.map(|name| format!("apps/{name}.yaml"));
    let files: Vec<(&str, String)> =
        names.iter().zip(&paths).map(|(name, path)| (path.as_str(), installation(name, "0.1.0", 1))).collect();
    let first = world.push("first", &files).await?;
    world.source().await?;
    world.sync("apps", json!({"prune": true, "maxConcurrentActions": 2})).await?;
    eventually(PATIENCE, "two runs", || async {
        let mut ran = world.ran();
        ran.sort();
        if ran == ["install a", "install b"] { Ok(()) } else { bail!("{ran:?}") }
    })
    .await?;
    world.message_contains("apps", "of which there may be 2 (spec.maxConcurrentActions)").await?;
    world.runner.release(REPOSITORY);
    world.ready_at("apps", &first).await?;

    ensure!(world.most_at_once(0) == 2, "{:?}", world.ran());
    world.delete_sync("apps").await?;
    ensure!(world.ran().len() == 8 && world.most_at_once(4) <= 2, "{:?}", world.ran());
    Ok(())
}

/// Syncs that look again by themselves only after this test.
fn patient(path: &str, depends_on: serde_json::Value) -> serde_json::Value {
    json!({"path": path, "prune": true, "retryInterval": "10m", "dependsOn": depends_on})
}

#[tokio::test]
async fn a_sync_waits_for_another_and_is_woken_by_it() -> Result<()> {
    let world = World::with("depends", &["--requeue-dependency=10m"]).await?;
    let (db, web) = ("infra/db.yaml", "apps/web.yaml");
    let files = [
        (db, installation("db", "0.1.0", 1)),
        ("infra/notes.yaml", config_map("infra")),
        (web, installation("web", "0.1.0", 1)),
        ("apps/notes.yaml", config_map("apps")),
    ];
    let first = world.push("first", &files).await?;
    world.source().await?;
    world.sync("apps", patient("apps", json!([{"name": "infra"}]))).await?;
    world.not_ready("apps", condition::DEPENDENCY_NOT_READY, "/infra not found").await?;
    world.sync("infra", patient("infra", json!([]))).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install db", "install web"])?;

    // Of the same source, it has to be at the same revision.
    let second =
        world.commit("second", &[(db, installation("db", "0.1.0", 2)), (web, installation("web", "0.1.0", 2))]).await?;
    world.ready_at("apps", &second).await?;
    ensure!(world.ran()[2..] == ["upgrade db", "upgrade web"], "{:?}", world.ran());

    // What moves between the two waits for neither.
    let move_db = |to: &str| {
        let (from, to) = if to == "apps" { (db, "apps/db.yaml") } else { ("apps/db.yaml", db) };
        world.repository.commit("move").remove(from).write(to, installation("db", "0.1.0", 2)).push()
    };
    for to in ["apps", "infra"] {
        let moved = move_db(to).await?;
        world.refresh(&moved).await?;
        world.ready_at("apps", &moved).await?;
        world.ready_at("infra", &moved).await?;
        ensure!(world.release("db").await?.spec.sync.name == to);
    }
    ensure!(world.ran().len() == 4, "{:?}", world.ran());

    world.sync("infra", patient("infra", json!([{"name": "apps"}]))).await?;
    world.commit("third", &[(db, installation("db", "0.1.0", 3))]).await?;
    let circle = "they depend on one another: ";
    let told = world.not_ready("infra", condition::DEPENDENCY_NOT_READY, circle).await?;
    let names: Vec<&str> = told.split(circle).last().unwrap_or_default().split(" -> ").collect();
    ensure!(names.len() == 3 && names[0] == names[2] && names[1].ends_with("/apps"), "{told}");
    ensure!(world.ran().len() == 4, "{:?}", world.ran());
    Ok(())
}

#[tokio::test]
async fn an_expression_decides_over_a_kustomization() -> Result<()> {
    let world = World::with("expression", &["--requeue-dependency=10m"]).await?;
    let first = world.push("first", &[(WEB, installation("web", "0.1.0", 1))]).await?;
    world.source().await?;
    let depends_on = |expression: &str| json!([{"kind": "Kustomization", "name": "infra", "readyExpr": expression}]);
    world.sync("apps", patient("apps", depends_on("depp.status"))).await?;
    let told = world.not_ready("apps", condition::INVALID_CEL_EXPRESSION, "spec.dependsOn[0].readyExpr").await?;
    ensure!(told.contains("undeclared reference to \"depp\""), "{told}");

    world.of_flux(KUSTOMIZATION, "infra", None).await?;
    let expression = "dep.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True') && dep.status.stage == self.metadata.name";
    world.sync("apps", patient("apps", depends_on(expression))).await?;
    world
        .not_ready("apps", condition::DEPENDENCY_NOT_READY, "its readyExpr has no result: no such key: status")
        .await?;
    let mut status = ready(1);
    status["stage"] = json!("other");
    world.of_flux(KUSTOMIZATION, "infra", Some(status.clone())).await?;
    world.not_ready("apps", condition::DEPENDENCY_NOT_READY, "/infra is not ready: its readyExpr is false").await?;
    ensure!(world.ran().is_empty());
    status["stage"] = json!("apps");
    world.of_flux(KUSTOMIZATION, "infra", Some(status)).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install web"])?;
    Ok(())
}

/// Ready as Flux understands it, or by an expression over its status.
#[tokio::test]
async fn a_helm_release_wakes_what_waits_for_it() -> Result<()> {
    let stage = "dep.status.stage == 'done'";
    for (prefix, expression, before, after) in [
        ("helm", None, json!({}), ready(1)),
        ("helm-expression", Some(stage), json!({"stage": "begun"}), json!({"stage": "done"})),
    ] {
        // Nothing but an event brings it back.
        let world = World::with(prefix, &["--requeue-dependency=10m"]).await?;
        let first = world.push("first", &[(WEB, installation("web", "0.1.0", 1))]).await?;
        world.source().await?;
        let mut dependency = json!({"kind": "HelmRelease", "name": "db"});
        if let Some(expression) = expression {
            dependency["readyExpr"] = json!(expression);
        }
        world.of_flux(HELM_RELEASE, "other", Some(after.clone())).await?;
        world.sync("apps", patient("apps", json!([dependency]))).await?;
        world.not_ready("apps", condition::DEPENDENCY_NOT_READY, "/db not found").await?;
        world.of_flux(HELM_RELEASE, "db", Some(before)).await?;
        world.not_ready("apps", condition::DEPENDENCY_NOT_READY, "/db is not ready").await?;
        world.ran_only(&[])?;
        world.of_flux(HELM_RELEASE, "db", Some(after)).await?;
        world.ready_at("apps", &first).await?;
        world.ran_only(&["install web"])?;
    }
    Ok(())
}
