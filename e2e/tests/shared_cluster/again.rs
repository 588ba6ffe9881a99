//! Failed bundle actions, and what is run again, by the actions that the runner executed.

use crate::world::{REPOSITORY, World, installation};
use anyhow::{Result, ensure};
use api::porter::AgentAction;
use api::{ReleaseState, condition};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

const MYSQL: &str = "apps/mysql.yaml";

impl World {
    async fn retrying(&self, limit: u32, document: String) -> Result<String> {
        let first = self.push("first", &[(MYSQL, document)]).await?;
        self.source().await?;
        self.sync("apps", json!({"path": "apps", "retryInterval": "1s", "retry": {"limit": limit}})).await?;
        Ok(first)
    }

    fn arguments(&self) -> Vec<String> {
        self.runner.commands().iter().map(|command| command.arguments.join(" ")).collect()
    }

    /// The results in the ledger, oldest first.
    async fn results(&self) -> Result<Vec<Value>> {
        let status = self.release("mysql").await?.status.unwrap_or_default();
        status.runs.iter().rev().map(|run| Ok(serde_json::to_value(run.result)?)).collect()
    }

    async fn settled(&self, ran: &[&str]) -> Result<()> {
        ensure!(self.ran() == ran, "{:?}", self.ran());
        ensure!(self.runner.overlaps().is_empty(), "{:?}", self.runner.overlaps());
        let actions = Api::<AgentAction>::namespaced(self.client.clone(), &self.namespace);
        let ours = actions.list(&ListParams::default().labels(api::RELEASE_LABEL)).await?.items;
        ensure!(ours.is_empty(), "{:?}", ours.iter().map(|action| &action.metadata.name).collect::<Vec<_>>());
        Ok(())
    }
}

const APPLY: &str = "installation apply installation.yaml";
const FORCE: &str = "installation apply installation.yaml --force";

#[tokio::test]
async fn a_failed_install_is_run_again() -> Result<()> {
    let world = World::start("install").await?;
    world.runner.fail_next(REPOSITORY, 2);
    let first = world.retrying(3, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    ensure!(world.arguments() == [APPLY, APPLY, APPLY], "{:?}", world.arguments());
    ensure!(world.results().await? == ["Failed", "Failed", "Succeeded"], "{:?}", world.results().await?);
    world.settled(&["install mysql", "install mysql", "install mysql"]).await
}

#[tokio::test]
async fn a_failed_upgrade_is_run_again_by_force() -> Result<()> {
    let mut world = World::start("force").await?;
    let first = world.retrying(3, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 1);
    let second = world.push("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.refresh(&second).await?;
    world.ready_at("apps", &second).await?;
    ensure!(world.arguments() == [APPLY, APPLY, FORCE], "{:?}", world.arguments());
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql"]).await?;
    // Nothing of it comes again.
    world.restart().await?;
    world.ready_at("apps", &second).await?;
    let third = world.push("third", &[(MYSQL, installation("mysql", "0.1.0", 3))]).await?;
    world.refresh(&third).await?;
    world.ready_at("apps", &third).await?;
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"]).await
}

#[tokio::test]
async fn beyond_the_limit_it_is_told_and_the_next_commit_runs() -> Result<()> {
    let world = World::start("limit").await?;
    let first = world.retrying(1, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 2);
    let second = world.push("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.refresh(&second).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "spec.retry.limit is 1").await?;
    let state = world.release("mysql").await?.status.and_then(|status| status.state);
    ensure!(state == Some(ReleaseState::Failed), "{state:?}");
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql"]).await?;
    let third = world.push("third", &[(MYSQL, installation("mysql", "0.1.0", 3))]).await?;
    world.refresh(&third).await?;
    world.ready_at("apps", &third).await?;
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"]).await
}
