//! What is asked for beyond that something is there: an order, another run, a return, a custom action, a confirmation.

use std::time::Duration;

use anyhow::{Result, ensure};
use api::{CONFIRM, condition};
use e2e::eventually;
use serde_json::json;

use super::{Life, MYSQL, mysql};
use crate::world::documents::{after, asking};
use crate::world::{PATIENCE, REPOSITORY, installation};

/// How long an action takes where many are to be on at once.
const LONG: Duration = Duration::from_millis(400);

/// Up by what depends on what, then what changes, then down in reverse.
pub(super) async fn order(life: &Life) -> Result<()> {
    let web = |size| ("apps/web.yaml", installation("web", "0.1.0", size));
    let cache = |size| ("apps/cache.yaml", after("cache", size, "db, web"));
    let files = [("apps/db.yaml", after("db", 1, "web")), web(1), cache(1)];
    let commit = life.first(&files, &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.then_ready(&[web(2), cache(2)], &[]).await?;
    life.world.delete_sync("apps").await?;
    let up = ["install web", "install db", "install cache", "upgrade web", "upgrade cache"];
    life.ran(&[up.as_slice(), &["uninstall cache", "uninstall db", "uninstall web"]].concat())
}

/// No more at once than may be, up and down.
pub(super) async fn turns(life: &Life) -> Result<()> {
    life.world.runner.delay(REPOSITORY, LONG);
    let document = |name| installation(name, "0.1.0", 1);
    let files = [("apps/a.yaml", document("a")), ("apps/b.yaml", document("b")), ("apps/c.yaml", document("c"))];
    let commit = life.first(&files, &["apps"], json!({"maxConcurrentActions": 2})).await?;
    life.ready(&commit).await?;
    life.each_ran(&["a", "b", "c"].map(|name| (name, ["install"].as_slice())))?;
    ensure!(life.world.most_at_once(0) <= 2, "{:?}", life.world.runner.executions());
    life.world.delete_sync("apps").await?;
    ensure!(life.world.most_at_once(3) <= 2, "{:?}", life.world.runner.executions());
    life.each_ran(&["a", "b", "c"].map(|name| (name, ["install", "uninstall"].as_slice())))
}

/// All of a sync by hand, then a change, then one of them by hand.
pub(super) async fn again(life: &Life) -> Result<()> {
    let world = &life.world;
    let redis = ("apps/redis.yaml", installation("redis", "0.1.0", 1));
    let commit = life.first(&[mysql(1), vec![redis]].concat(), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    eventually(PATIENCE, "all to be asked for", || world.force_all("apps", "one")).await?;
    for name in ["mysql", "redis"] {
        world.forced(name, "one").await?;
    }
    life.ready(&commit).await?;
    let commit = life.then_ready(&mysql(2), &[]).await?;
    eventually(PATIENCE, "mysql to be asked for", || world.force("mysql", "two")).await?;
    world.forced("mysql", "two").await?;
    life.ready(&commit).await?;
    life.each_ran(&[("mysql", &["install", "upgrade", "upgrade", "upgrade"]), ("redis", &["install", "upgrade"])])
}

/// An upgrade fails for good, and what ran well before stands again, until the next commit.
pub(super) async fn rollback(life: &Life) -> Result<()> {
    let retry = json!({"retry": {"limit": 0, "strategy": "Rollback"}});
    let commit = life.first(&mysql(1), &["apps"], retry).await?;
    life.ready(&commit).await?;
    life.fail_next();
    life.then(&mysql(2), &[]).await?;
    life.world.not_ready("apps", condition::ROLLED_BACK, "stands again").await?;
    life.ran(&["install mysql", "upgrade mysql", "upgrade mysql"])?;
    life.then_ready(&mysql(3), &[]).await?;
    life.ran(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"])
}

/// Custom actions, each once a token: with an install, with an upgrade, one that fails, and one that ran already.
pub(super) async fn invoke(life: &Life) -> Result<()> {
    let mysql = |size, value: &str| [(MYSQL, asking("mysql", size, value))];
    let commit = life.first(&mysql(1, "backup@1"), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.then_ready(&mysql(2, "backup@2"), &[]).await?;
    life.fail_next();
    life.then(&mysql(2, "check@3"), &[]).await?;
    life.world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "the action check").await?;
    life.then_ready(&mysql(2, "backup@1"), &[]).await?;
    life.ran(&["install mysql", "backup mysql", "upgrade mysql", "backup mysql", "check mysql"])
}

/// A sync waits for another, at each commit.
pub(super) async fn depends(life: &Life) -> Result<()> {
    let files = |size| {
        [("more/db.yaml", installation("db", "0.1.0", size)), ("apps/web.yaml", installation("web", "0.1.0", size))]
    };
    let commit = life.first(&files(1), &[], json!({})).await?;
    life.sync("apps", &json!({"dependsOn": [{"name": "more"}]})).await?;
    life.world.not_ready("apps", condition::DEPENDENCY_NOT_READY, "/more not found").await?;
    life.sync("more", &json!({})).await?;
    life.ready(&commit).await?;
    life.then_ready(&files(2), &[]).await?;
    life.ran(&["install db", "install web", "upgrade db", "upgrade web"])
}

/// More leave at once than may, until that is confirmed.
pub(super) async fn confirmed(life: &Life) -> Result<()> {
    let (a, b) = ("apps/a.yaml", "apps/b.yaml");
    let files = [(a, installation("a", "0.1.0", 1)), (b, after("b", 1, "a"))];
    let commit = life.first(&files, &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    let commit = life.then(&[], &[a, b]).await?;
    life.world.not_ready("apps", condition::PRUNE_FAILED, "nothing is applied").await?;
    life.ran(&["install a", "install b"])?;
    let revision = format!("main@sha1:{commit}");
    eventually(PATIENCE, "the confirmation", || life.world.annotate("apps", CONFIRM, &revision)).await?;
    life.ready(&commit).await?;
    life.ran(&["install a", "install b", "uninstall b", "uninstall a"])
}
