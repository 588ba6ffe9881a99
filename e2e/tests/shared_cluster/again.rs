//! Failed bundle actions, and what is run again, by the actions that the runner executed.

use crate::world::{PATIENCE, QUIET, REPOSITORY, World, installation};
use anyhow::{Result, bail, ensure};
use api::porter::{AgentAction, Installation};
use api::{ReleaseState, condition};
use e2e::eventually;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const MYSQL: &str = "apps/mysql.yaml";

impl World {
    async fn retrying(&self, limit: u32, document: String) -> Result<String> {
        self.begin(json!({"retryInterval": "1s", "retry": {"limit": limit}}), &[(MYSQL, document)]).await
    }

    fn arguments(&self) -> Vec<String> {
        self.runner.commands().iter().map(|command| command.arguments.join(" ")).collect()
    }

    /// The results in the ledger, oldest first.
    async fn results(&self) -> Result<Vec<Value>> {
        let status = self.release("mysql").await?.status.unwrap_or_default();
        status.runs.iter().rev().map(|run| Ok(serde_json::to_value(run.result)?)).collect()
    }

    /// Waits for an AgentAction with this condition.
    async fn a_run_is(&self, condition: &str) -> Result<()> {
        let is = |run: &AgentAction| {
            run.status.iter().flat_map(|status| &status.conditions).any(|reached| reached.type_ == condition)
        };
        eventually(PATIENCE, &format!("a run to be {condition}"), || async {
            let runs = Api::<AgentAction>::namespaced(self.client.clone(), &self.namespace);
            let runs = runs.list(&ListParams::default()).await?;
            if runs.items.iter().any(is) { Ok(()) } else { bail!("{:?}", self.ran()) }
        })
        .await
    }

    async fn settled(&self, ran: &[&str]) -> Result<()> {
        self.ran_only(ran)?;
        self.no_action_is_left().await
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
    let second = world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.ready_at("apps", &second).await?;
    ensure!(world.arguments() == [APPLY, APPLY, FORCE], "{:?}", world.arguments());
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql"]).await?;
    // Nothing of it comes again.
    world.restart().await?;
    world.ready_at("apps", &second).await?;
    let third = world.commit("third", &[(MYSQL, installation("mysql", "0.1.0", 3))]).await?;
    world.ready_at("apps", &third).await?;
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"]).await
}

#[tokio::test]
async fn beyond_the_limit_it_is_told_and_the_next_commit_runs() -> Result<()> {
    let world = World::start("limit").await?;
    let first = world.retrying(1, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 2);
    world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "spec.retry.limit is 1").await?;
    let state = world.release("mysql").await?.status.and_then(|status| status.state);
    ensure!(state == Some(ReleaseState::Failed), "{state:?}");
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql"]).await?;
    let third = world.commit("third", &[(MYSQL, installation("mysql", "0.1.0", 3))]).await?;
    world.ready_at("apps", &third).await?;
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"]).await
}

/// Porter sees no difference in labels: it takes the next document for up-to-date, and reports a success.
#[tokio::test]
async fn a_failed_upgrade_is_not_made_good_by_a_label() -> Result<()> {
    let mut world = World::start("label").await?;
    let first = world.retrying(1, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 3);
    world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "spec.retry.limit is 1").await?;
    let labelled = || format!("{}labels:\n  team: a\n", installation("mysql", "0.1.0", 2));
    world.commit("third", &[(MYSQL, labelled())]).await?;
    // The retry of that fails, too.
    eventually(PATIENCE, "the third failure", || async {
        ensure!(world.arguments() == [APPLY, APPLY, FORCE, APPLY, FORCE], "{:?}", world.arguments());
        Ok(())
    })
    .await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "spec.retry.limit is 1").await?;
    world.restart().await?;
    let another = labelled().replace("team: a", "team: b");
    let fourth = world.commit("fourth", &[(MYSQL, another)]).await?;
    world.ready_at("apps", &fourth).await?;
    ensure!(world.arguments() == [APPLY, APPLY, FORCE, APPLY, FORCE, APPLY, FORCE], "{:?}", world.arguments());
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"]).await?;
    // In what ran well a label is a label.
    let fifth = world.commit("fifth", &[(MYSQL, labelled())]).await?;
    world.ready_at("apps", &fifth).await?;
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"]).await
}

/// What we write of it, its AgentConfig, is nothing to Porter either.
#[tokio::test]
async fn a_failed_upgrade_of_somebody_elses_is_run_by_who_adopts_it() -> Result<()> {
    let world = World::start("adopted").await?;
    world.theirs("mysql", json!({})).await?;
    world.a_run_is("Completed").await?;
    world.runner.fail_next(REPOSITORY, 1);
    let installations = Api::<Installation>::namespaced(world.client.clone(), &world.namespace);
    let document = json!({"apiVersion": "getporter.org/v1", "kind": "Installation", "metadata": {"name": "mysql"},
        "spec": {"schemaVersion": "1.0.2", "name": "mysql", "namespace": world.namespace,
            "bundle": {"repository": REPOSITORY, "version": "0.1.0"}, "parameters": {"size": 2}}});
    installations.patch("mysql", &PatchParams::apply("somebody").force(), &Patch::Apply(&document)).await?;
    world.a_run_is("Failed").await?;
    let adopted = world.retrying(1, installation("mysql", "0.1.0", 2)).await?;
    world.ready_at("apps", &adopted).await?;
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql"]).await
}

const REDIS: &str = "apps/redis.yaml";

#[tokio::test]
async fn by_hand_all_run_again_once_a_value() -> Result<()> {
    let mut world = World::start("hand").await?;
    let files = [(MYSQL, installation("mysql", "0.1.0", 1)), (REDIS, installation("redis", "0.1.0", 1))];
    let first = world.push("first", &files).await?;
    world.source().await?;
    world.sync("apps", json!({})).await?;
    world.ready_at("apps", &first).await?;

    world.force_all("apps", "one").await?;
    for name in ["mysql", "redis"] {
        world.forced(name, "one").await?;
    }
    world.ready_at("apps", &first).await?;
    world.ran_in_any_order(&["install mysql", "install redis", "upgrade mysql", "upgrade redis"])?;
    ensure!(world.arguments().iter().filter(|arguments| *arguments == FORCE).count() == 2, "{:?}", world.arguments());

    // The value stays there, through a restart, for a new installation and with a request for something else.
    world.restart().await?;
    let second = world.commit("second", &[("apps/kafka.yaml", installation("kafka", "0.1.0", 1))]).await?;
    world.ready_at("apps", &second).await?;
    world.looked_at("apps").await?;
    tokio::time::sleep(QUIET).await;
    let ran = ["install mysql", "install redis", "upgrade mysql", "upgrade redis", "install kafka"];
    world.ran_in_any_order(&ran)?;

    // One of them; while its sync is suspended nothing.
    world.sync("apps", json!({"suspend": true})).await?;
    world.force("mysql", "three").await?;
    tokio::time::sleep(QUIET).await;
    world.ran_in_any_order(&ran)?;
    world.sync("apps", json!({"suspend": false})).await?;
    world.forced("mysql", "three").await?;
    world.ready_at("apps", &second).await?;
    world.restart().await?;
    world.force_all("apps", "four").await?;
    for name in ["mysql", "redis", "kafka"] {
        world.forced(name, "four").await?;
    }
    world.ready_at("apps", &second).await?;
    let more = ["upgrade mysql", "upgrade mysql", "upgrade redis", "upgrade kafka"];
    world.ran_in_any_order(&[&ran[..], &more].concat())
}

#[tokio::test]
async fn beyond_the_limit_it_runs_again_by_hand() -> Result<()> {
    let world = World::start("hand-limit").await?;
    world.runner.fail_next(REPOSITORY, 2);
    world.retrying(1, installation("mysql", "0.1.0", 1)).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "spec.retry.limit is 1").await?;
    // It fails once more, and is tried again as after a change.
    world.runner.fail_next(REPOSITORY, 1);
    world.force("mysql", "one").await?;
    world.message_contains("apps", "Applied revision").await?;
    ensure!(world.arguments() == [APPLY; 4], "{:?}", world.arguments());
    world.settled(&["install mysql"; 4]).await
}

/// By force it would install.
#[tokio::test]
async fn a_failed_uninstall_that_the_document_asks_for_is_run_again_without_force() -> Result<()> {
    let world = World::start("down").await?;
    let first = world.retrying(2, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 1);
    let down = installation("mysql", "0.1.0", 1) + "uninstalled: true\n";
    let second = world.commit("down", &[(MYSQL, down)]).await?;
    world.ready_at("apps", &second).await?;
    ensure!(world.arguments() == [APPLY; 3], "{:?}", world.arguments());
    world.stays_at("apps", &["install mysql", "uninstall mysql", "uninstall mysql"]).await?;
    ensure!(!world.runner.is_installed(&world.namespace, "mysql"), "{:?}", world.runner.records());
    world.no_action_is_left().await
}

/// The Job of a bundle has no owner: it outlives the AgentAction.
#[tokio::test]
async fn an_agent_action_of_ours_that_somebody_deletes_runs_again_only_once_its_bundle_is_over() -> Result<()> {
    let mut world = World::start("lost").await?;
    let first = world.retrying(0, installation("mysql", "0.1.0", 1)).await?;
    world.ready_at("apps", &first).await?;
    world.runner.hold(REPOSITORY);
    world.force("mysql", "one").await?;
    world.lose_ours(2).await?;
    tokio::time::sleep(QUIET).await;
    world.restart().await?;
    world.controller.wait_until_ready().await?;
    tokio::time::sleep(QUIET).await;
    world.settled(&["install mysql", "upgrade mysql"]).await?;
    world.runner.release(REPOSITORY);
    world.forced("mysql", "one").await?;
    world.ready_at("apps", &first).await?;
    tokio::time::sleep(QUIET).await;
    world.settled(&["install mysql", "upgrade mysql", "upgrade mysql"]).await
}
