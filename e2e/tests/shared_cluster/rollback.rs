//! `retry.strategy: Rollback`, by the actions that the runner executed.

use crate::world::{PATIENCE, REPOSITORY, World, installation};
use anyhow::{Result, bail, ensure};
use api::{ReleaseState, condition};
use e2e::eventually;
use serde_json::{Value, json};

const MYSQL: &str = "apps/mysql.yaml";

impl World {
    async fn rolling_back(&self, limit: u32, document: String) -> Result<String> {
        let retry = json!({"limit": limit, "strategy": "Rollback"});
        self.begin(json!({"retryInterval": "1s", "prune": true, "retry": retry}), &[(MYSQL, document)]).await
    }

    async fn size(&self) -> Result<Value> {
        let spec = serde_json::to_value(&self.installation("mysql").await?.spec)?;
        Ok(spec["parameters"]["size"].clone())
    }
}

#[tokio::test]
async fn a_failed_upgrade_returns_to_what_ran_well() -> Result<()> {
    let mut world = World::start("rollback").await?;
    let first = world.rolling_back(0, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 1);
    let second = world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    let told = world.not_ready("apps", condition::ROLLED_BACK, "stands again").await?;
    ensure!(told.contains(&format!("main@sha1:{second} failed")) && told.contains(&first), "{told}");
    let ran = ["install mysql", "upgrade mysql", "upgrade mysql"];
    ensure!(world.ran() == ran && world.size().await? == 1, "{:?}", world.ran());
    let release = world.release("mysql").await?;
    let status = release.status.unwrap_or_default();
    ensure!(status.state == Some(ReleaseState::RolledBack), "{status:?}");
    ensure!(release.spec.asked.revision.contains(&second), "{:?}", release.spec.asked);

    // It stays so.
    world.restart().await?;
    world.annotate("apps", "reconcile.fluxcd.io/requestedAt", "again").await?;
    world.commit("a comment", &[("README.md", "hello".to_owned())]).await?;
    world.not_ready("apps", condition::ROLLED_BACK, "stands again").await?;
    world.stays_at("apps", &ran).await?;
    world.not_ready("apps", condition::ROLLED_BACK, "stands again").await?;
    ensure!(world.size().await? == 1, "{:?}", world.ran());

    // Until the source asks for something else.
    let third = world.commit("third", &[(MYSQL, installation("mysql", "0.1.0", 3))]).await?;
    world.ready_at("apps", &third).await?;
    ensure!(world.size().await? == 3, "{:?}", world.ran());
    world.ran_only(&[&ran[..], &["upgrade mysql"]].concat())
}

#[tokio::test]
async fn it_returns_after_all_tries_and_uninstalls_as_ever() -> Result<()> {
    let world = World::start("rollback-tries").await?;
    let keep = ("apps/redis.yaml", installation("redis", "0.1.0", 1));
    world.push("another", &[keep]).await?;
    let first = world.rolling_back(1, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 2);
    world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.not_ready("apps", condition::ROLLED_BACK, "stands again").await?;
    let of_mysql = || world.ran().into_iter().filter(|ran| ran.ends_with("mysql")).collect::<Vec<_>>();
    ensure!(of_mysql() == ["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"], "{:?}", of_mysql());
    let third = world.commit_without("third", &[MYSQL]).await?;
    world.ready_at("apps", &third).await?;
    ensure!(of_mysql().len() == 5 && of_mysql().last().is_some_and(|ran| ran == "uninstall mysql"), "{:?}", of_mysql());
    Ok(())
}

#[tokio::test]
async fn a_first_install_has_nothing_to_return_to() -> Result<()> {
    let world = World::start("rollback-first").await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.rolling_back(0, installation("mysql", "0.1.0", 1)).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    eventually(PATIENCE, "the state Failed", || async {
        match world.release("mysql").await?.status.and_then(|status| status.state) {
            Some(ReleaseState::Failed) => Ok(()),
            state => bail!("{state:?}"),
        }
    })
    .await?;
    world.stays_at("apps", &["install mysql"]).await
}
