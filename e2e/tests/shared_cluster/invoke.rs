//! Custom actions that a document asks for, by the actions that the runner executed.

use crate::world::documents::asking;
use crate::world::{REPOSITORY, World, installation};
use anyhow::{Result, ensure};
use api::{RunResult, condition};
use serde_json::json;

const MYSQL: &str = "apps/mysql.yaml";

impl World {
    /// What ran of custom actions, by the ledger, oldest first.
    async fn invoked(&self) -> Result<Vec<(String, RunResult)>> {
        let status = self.release("mysql").await?.status.unwrap_or_default();
        Ok(status.invocations.into_iter().rev().map(|run| (run.invoke, run.result)).collect())
    }

    async fn quiet(&self, ran: &[&str]) -> Result<()> {
        self.stays_at("apps", ran).await?;
        self.no_action_is_left().await
    }
}

#[tokio::test]
async fn a_custom_action_runs_once_a_token() -> Result<()> {
    let mut world = World::start("invoke").await?;
    let first = world
        .begin(
            json!({"prune": true, "retryInterval": "1s", "retry": {"limit": 2}}),
            &[(MYSQL, asking("mysql", 1, "backup@1"))],
        )
        .await?;
    world.ready_at("apps", &first).await?;
    world.quiet(&["install mysql", "backup mysql"]).await?;
    let command = world.runner.commands().last().map(|command| command.arguments.join(" ")).unwrap_or_default();
    ensure!(
        command == format!("installation invoke mysql --action backup --namespace {}", world.namespace),
        "{command}"
    );
    let annotations = world.installation("mysql").await?.metadata.annotations.unwrap_or_default();
    ensure!(!annotations.contains_key(api::INVOKE), "{annotations:?}");

    // Neither after a restart nor with another commit; with a change and another token the change first.
    world.restart().await?;
    let other = world.commit("a comment", &[("README.md", "hello".to_owned())]).await?;
    world.ready_at("apps", &other).await?;
    let second = world.commit("second", &[(MYSQL, asking("mysql", 2, "backup@2"))]).await?;
    world.ready_at("apps", &second).await?;
    world.quiet(&["install mysql", "backup mysql", "upgrade mysql", "backup mysql"]).await?;

    // A failed one is told, and not tried again.
    world.runner.fail_next(REPOSITORY, 1);
    let third = world.commit("third", &[(MYSQL, asking("mysql", 2, "check@3"))]).await?;
    let told = world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "the action check").await?;
    let failed = world.release("mysql").await?.status.unwrap_or_default().invocations.remove(0);
    let reason = failed.reason.unwrap_or_default();
    ensure!(reason.contains("exit code 1") && told.contains(&reason), "{reason}: {told}");
    ensure!(failed.revision == Some(format!("main@sha1:{third}")), "{:?}", failed.revision);
    let ran = ["install mysql", "backup mysql", "upgrade mysql", "backup mysql", "check mysql"];
    world.quiet(&ran).await?;
    let back = world.commit("back to an earlier one", &[(MYSQL, asking("mysql", 2, "backup@1"))]).await?;
    world.ready_at("apps", &back).await?;
    world.quiet(&ran).await?;
    let invoked = world.invoked().await?;
    let results =
        [("backup@1", RunResult::Succeeded), ("backup@2", RunResult::Succeeded), ("check@3", RunResult::Failed)];
    ensure!(invoked == results.map(|(value, result)| (value.to_owned(), result)), "{invoked:?}");
    Ok(())
}

#[tokio::test]
async fn no_custom_action_of_what_failed_or_leaves() -> Result<()> {
    let world = World::start("invoke-not").await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.begin(json!({"prune": true}), &[(MYSQL, asking("mysql", 1, "backup@1"))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    let files = [(MYSQL, asking("mysql", 2, "backup@1")), ("apps/redis.yaml", installation("redis", "0.1.0", 1))];
    let fixed = world.commit("fixed, and gone in the next commit", &files).await?;
    world.ready_at("apps", &fixed).await?;
    let ran = world.ran();
    ensure!(ran.iter().filter(|ran| *ran == "backup mysql").count() == 1, "{ran:?}");
    let gone = world.commit_without("gone", &[MYSQL]).await?;
    world.ready_at("apps", &gone).await?;
    let ran = world.ran();
    ensure!(ran.last().is_some_and(|ran| ran == "uninstall mysql"), "{ran:?}");
    ensure!(ran.iter().filter(|ran| *ran == "backup mysql").count() == 1, "{ran:?}");
    Ok(())
}
