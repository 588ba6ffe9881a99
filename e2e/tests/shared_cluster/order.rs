//! What comes before what, within a BundleSync and between them: by the bundle actions that the runner executed, in order.

use anyhow::{Result, bail, ensure};
use api::{BundleSync, condition};
use e2e::eventually;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::world::{PATIENCE, REPOSITORY, World, installation};

const DB: &str = "apps/db.yaml";
const WEB: &str = "apps/web.yaml";

/// One of Porter's documents that depends on others.
fn after(name: &str, size: u32, others: &str) -> String {
    let metadata = format!("metadata: {{annotations: {{flux.getporter.org/depends-on: '{others}'}}}}\n");
    installation(name, "0.1.0", size) + &metadata
}

impl World {
    async fn take_away(&self, sync: &str) -> Result<()> {
        let syncs = Api::<BundleSync>::namespaced(self.client.clone(), &self.namespace);
        syncs.delete(sync, &DeleteParams::default()).await?;
        eventually(PATIENCE, "the sync to be gone", || async {
            match syncs.get_opt(sync).await? {
                None => Ok(()),
                Some(sync) => bail!("{:?}; ran {:?}", sync.ready(), self.ran()),
            }
        })
        .await
    }
}

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
    world.sync("apps", json!({"path": "apps", "prune": true})).await?;
    world.ready_at("apps", &first).await?;
    ensure!(world.ran() == ["install web", "install db", "install cache"], "{:?}", world.ran());
    let release = world.release("db").await?;
    ensure!(release.spec.asked.depends_on.len() == 1 && release.spec.asked.depends_on[0].name == "web");
    let annotations = world.installation("db").await?.metadata.annotations.unwrap_or_default();
    ensure!(!annotations.contains_key(api::DEPENDS_ON), "{annotations:?}");

    // Another order alone runs nothing.
    let second = world.push("second", &[("apps/cache.yaml", after("cache", 1, "db"))]).await?;
    world.refresh(&second).await?;
    world.ready_at("apps", &second).await?;
    ensure!(world.ran().len() == 3, "{:?}", world.ran());

    // What changes waits for what changes.
    let third = world
        .push("third", &[(WEB, installation("web", "0.1.0", 2)), ("apps/cache.yaml", after("cache", 2, "db, web"))])
        .await?;
    world.refresh(&third).await?;
    world.ready_at("apps", &third).await?;
    ensure!(world.ran()[3..] == ["upgrade web", "upgrade cache"], "{:?}", world.ran());

    world.take_away("apps").await?;
    ensure!(world.ran()[5..] == ["uninstall cache", "uninstall db", "uninstall web"], "{:?}", world.ran());
    ensure!(world.runner.overlaps().is_empty(), "{:?}", world.runner.overlaps());
    Ok(())
}

#[tokio::test]
async fn a_failure_stops_what_depends_on_it_until_it_is_mended() -> Result<()> {
    let world = World::start("stops").await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.push("first", &[(DB, installation("db", "0.1.0", 1)), (WEB, after("web", 1, "db"))]).await?;
    world.source().await?;
    world.sync("apps", json!({"path": "apps"})).await?;
    let told = world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "which it depends on, failed").await?;
    ensure!(told.contains("/web: installation"), "{told}");
    ensure!(world.ran() == ["install db"], "{:?}", world.ran());

    let cycle = world.push("cycle", &[(DB, after("db", 1, "web"))]).await?;
    world.refresh(&cycle).await?;
    let told = world.not_ready("apps", condition::BUILD_FAILED, "makes a cycle").await?;
    ensure!(told.contains("db (apps/db.yaml:1) -> web (apps/web.yaml:1) -> db (apps/db.yaml:1)"), "{told}");

    let mended = world.push("mended", &[(DB, installation("db", "0.1.0", 2))]).await?;
    world.refresh(&mended).await?;
    world.ready_at("apps", &mended).await?;
    ensure!(world.ran() == ["install db", "install db", "install web"], "{:?}", world.ran());
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
    world.sync("apps", json!({"path": "apps", "prune": true, "maxConcurrentActions": 2})).await?;
    eventually(PATIENCE, "two runs", || async {
        let mut ran = world.ran();
        ran.sort();
        if ran == ["install a", "install b"] { Ok(()) } else { bail!("{ran:?}") }
    })
    .await?;
    world.message_contains("apps", "of which there may be 2 (spec.maxConcurrentActions)").await?;
    world.runner.release(REPOSITORY);
    world.ready_at("apps", &first).await?;

    let at_once = |since: usize| {
        let all = world.runner.executions();
        let all = &all[since..];
        let on = |at: jiff::Timestamp| {
            all.iter().filter(|run| run.started <= at && run.finished.is_none_or(|finished| at < finished)).count()
        };
        all.iter().map(|run| on(run.started)).max().unwrap_or_default()
    };
    ensure!(at_once(0) == 2, "{:?}", world.ran());
    world.take_away("apps").await?;
    ensure!(world.ran().len() == 8 && at_once(4) <= 2, "{:?}", world.ran());
    Ok(())
}
