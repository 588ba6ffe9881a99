//! What leaves the source in a state that is no good one: while it runs, before it ever ran, after a spec that Porter refuses,
//! or when it comes back while its uninstall fails. By the bundle actions that the runner executed.

use std::collections::BTreeMap;

use crate::world::documents::config_map;
use crate::world::{REPOSITORY, World, installation};
use anyhow::{Result, ensure};
use api::condition;
use serde_json::json;
use simulated_runner::porter_model::{Bundle, Parameter};

const MYSQL: &str = "apps/mysql.yaml";
const NOTES: &str = "apps/notes.yaml";

fn mysql(size: u32) -> String {
    installation("mysql", "0.1.0", size)
}

/// It leaves while this run is held; the controller is killed meanwhile.
async fn leaves_during(world: &mut World, ran: &[&str]) -> Result<()> {
    world.begun(ran.len()).await?;
    world.commit_without("without", &[MYSQL]).await?;
    world.message_contains("apps", "is not over").await?;
    world.stays_at("apps", ran).await?;
    world.restart().await?;
    world.message_contains("apps", "is not over").await?;
    world.stays_at("apps", ran).await?;
    world.runner.release(REPOSITORY);
    world.gone().await?;
    world.ran_only(&[ran, &["uninstall mysql"]].concat())?;
    world.nothing_is_left().await
}

#[tokio::test]
async fn what_leaves_during_its_install_is_uninstalled_after_it() -> Result<()> {
    let mut world = World::start("during-install").await?;
    world.runner.hold(REPOSITORY);
    world.pruning(json!({}), &[(MYSQL, mysql(1))]).await?;
    leaves_during(&mut world, &["install mysql"]).await?;
    ensure!(world.last_parameter("size") == 1);
    Ok(())
}

#[tokio::test]
async fn what_leaves_during_its_upgrade_is_uninstalled_after_it() -> Result<()> {
    let mut world = World::start("during-upgrade").await?;
    let first = world.pruning(json!({}), &[(MYSQL, mysql(1))]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.hold(REPOSITORY);
    world.commit("upgrade", &[(MYSQL, mysql(2))]).await?;
    leaves_during(&mut world, &["install mysql", "upgrade mysql"]).await?;
    // The upgrade succeeded after it had left.
    ensure!(world.last_parameter("size") == 2);
    Ok(())
}

#[tokio::test]
async fn what_was_never_run_is_forgotten_without_a_command() -> Result<()> {
    let world = World::start("never").await?;
    world.without_agent("default").await?;
    world.pruning(json!({}), &[(MYSQL, mysql(1))]).await?;
    world.message_contains("apps", "there is no AgentConfig").await?;
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.gone().await?;
    world.ready_at("apps", &second).await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX})).await?;
    world.stays_at("apps", &[]).await?;
    ensure!(world.commands().is_empty(), "{:?}", world.commands());
    world.nothing_is_left().await
}

/// With `agent: None` it is written, and the operator has an AgentAction for it that waits: a run that may begin any time.
#[tokio::test]
async fn what_waits_for_its_first_run_is_uninstalled_after_that() -> Result<()> {
    let world = World::start("first-run").await?;
    world.without_agent("default").await?;
    world.pruning(json!({"agent": "None"}), &[(MYSQL, mysql(1))]).await?;
    world.message_contains("apps", "there is no AgentConfig").await?;
    world.commit_without("without", &[MYSQL]).await?;
    world.message_contains("apps", "there is no AgentConfig").await?;
    world.stays_at("apps", &[]).await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX})).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    world.nothing_is_left().await
}

#[tokio::test]
async fn after_a_spec_that_porter_refuses_it_is_uninstalled_with_the_last_one_that_ran() -> Result<()> {
    let world = World::start("bad-spec").await?;
    let size = Parameter { r#type: "integer".to_owned(), ..Parameter::default() };
    let bundle = Bundle { parameters: Some(BTreeMap::from([("size".to_owned(), size)])), ..Bundle::default() };
    world.runner.with_registry(|registry| registry.define(REPOSITORY, bundle));
    let first = world.pruning(json!({}), &[(MYSQL, mysql(1))]).await?;
    world.ready_at("apps", &first).await?;
    world.commit("refused", &[(MYSQL, mysql(1).replace("size: 1", "size: many"))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    world.ran_only(&["install mysql"])?;
    world.commit_without("without", &[MYSQL]).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    ensure!(world.last_parameter("size") == 1, "{:?}", world.runner.executions());
    world.nothing_is_left().await
}

#[tokio::test]
async fn what_comes_back_while_its_uninstall_fails_is_told_what_it_waits_for() -> Result<()> {
    let world = World::start("back-failing").await?;
    let first = world.pruning(json!({}), &[(MYSQL, mysql(1))]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 3);
    world.commit_without("without", &[MYSQL]).await?;
    world.not_ready("apps", condition::PRUNE_FAILED, "its uninstall failed").await?;
    let third = world.commit("back", &[(MYSQL, mysql(1))]).await?;
    world.message_contains("apps", "back in the source, once it is uninstalled: its uninstall failed").await?;
    world.ready_at("apps", &third).await?;
    let uninstall = "uninstall mysql";
    world.stays_at("apps", &["install mysql", uninstall, uninstall, uninstall, uninstall, "install mysql"]).await?;
    ensure!(world.runner.is_installed(&world.namespace, "mysql"), "{:?}", world.runner.records());
    Ok(())
}

#[tokio::test]
async fn a_reinstall_over_a_kept_record_that_failed_is_uninstalled_by_command() -> Result<()> {
    let world = World::start("kept-failed").await?;
    let first = world.pruning(json!({"uninstall": {"keepRecord": true}}), &[(MYSQL, mysql(1))]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.ready_at("apps", &second).await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.commit("back", &[(MYSQL, mysql(1))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    let ran = ["install mysql", "uninstall mysql", "install mysql"];
    world.ran_only(&ran)?;
    world.sync("apps", json!({"prune": true})).await?;
    world.commit_without("without again", &[MYSQL]).await?;
    world.gone().await?;
    world.ran_only(&[&ran[..], &["uninstall mysql"]].concat())?;
    let last = world.commands().split_off(world.commands().len() - 2);
    ensure!(
        last == ["installation uninstall mysql --namespace NS", "installation delete mysql --namespace NS"],
        "{last:?}"
    );
    world.nothing_is_left().await
}

#[tokio::test]
async fn a_revision_without_any_document_uninstalls_nothing_and_neither_does_another_path() -> Result<()> {
    let world = World::start("nothing").await?;
    let first = world.pruning(json!({}), &[(MYSQL, mysql(1))]).await?;
    world.ready_at("apps", &first).await?;
    // A path that is there, and has no document.
    let emptied = world.repository.commit("all").remove(MYSQL).remove(NOTES).write("apps/README.md", "Gone.\n");
    let emptied = emptied.push().await?;
    world.refresh(&emptied).await?;
    world.not_ready("apps", condition::BUILD_FAILED, "no document").await?;
    world.stays_at("apps", &["install mysql"]).await?;
    // One that is not there.
    world.commit_without("the rest", &["apps/README.md"]).await?;
    world.not_ready("apps", condition::ARTIFACT_FAILED, "path not found: apps").await?;
    world.stays_at("apps", &["install mysql"]).await?;
    let elsewhere =
        world.commit("elsewhere", &[("other/sql.yaml", mysql(1)), ("other/notes.yaml", config_map("notes"))]).await?;
    world.sync("apps", json!({"path": "other", "prune": true})).await?;
    world.ready_at("apps", &elsewhere).await?;
    ensure!(world.installation("mysql").await?.metadata.generation == Some(1));
    world.stays_at("apps", &["install mysql"]).await
}
