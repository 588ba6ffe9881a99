//! One installation, what fails of it, and how it goes and comes back.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use api::porter::Installation;
use e2e::eventually;
use kube::api::Api;
use serde_json::json;
use simulated_runner::porter_model::Bundle;

use super::{Life, MYSQL, SET, SET_NAME, mysql, set};
use crate::world::{PATIENCE, REPOSITORY, installation};

/// Install, upgrade, a failed upgrade that is tried again, uninstall, reinstall.
pub(super) async fn whole_life(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({"retry": {"limit": 3}})).await?;
    life.ready(&commit).await?;
    life.then_ready(&mysql(2), &[]).await?;
    life.fail_next();
    life.then_ready(&mysql(3), &[]).await?;
    life.then_ready(&[], &[MYSQL]).await?;
    life.then_ready(&mysql(1), &[]).await?;
    let upgrades = ["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"];
    life.ran(&[upgrades.as_slice(), &["uninstall mysql", "install mysql"]].concat())
}

pub(super) async fn failed_install(life: &Life) -> Result<()> {
    life.fail_next();
    life.first(&mysql(1), &["apps"], json!({})).await?;
    life.failed().await?;
    life.then_ready(&[], &[MYSQL]).await?;
    life.ran(&["install mysql", "uninstall mysql"])
}

/// Its uninstall fails too, once.
pub(super) async fn failed_upgrade(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.fail_next();
    life.then(&mysql(2), &[]).await?;
    life.failed().await?;
    life.fail_next();
    life.then_ready(&[], &[MYSQL]).await?;
    life.ran(&["install mysql", "upgrade mysql", "uninstall mysql", "uninstall mysql"])
}

pub(super) async fn kept_record(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({"uninstall": {"keepRecord": true}})).await?;
    life.ready(&commit).await?;
    for _ in 0..2 {
        life.then_ready(&[], &[MYSQL]).await?;
        life.then_ready(&mysql(1), &[]).await?;
    }
    let again = ["uninstall mysql", "install mysql"];
    life.ran(&[&["install mysql"], again.as_slice(), &again].concat())
}

/// A set changes with the installation that names it, and leaves with it.
pub(super) async fn sets(life: &Life) -> Result<()> {
    let commit = life.first(&[set("value: x"), named(1)], &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.then_ready(&[set("value: y"), named(2)], &[]).await?;
    life.then_ready(&[], &[SET, MYSQL]).await?;
    life.ran(&["install mysql", "upgrade mysql", "uninstall mysql"])
}

/// A Secret that a set names changes, then the set, and then it names the Secret again, which has changed meanwhile.
pub(super) async fn given(life: &Life) -> Result<()> {
    let hold = async |value: &str| {
        eventually(PATIENCE, "the Secret", || life.world.hold_secret("label", json!({"value": value}))).await
    };
    hold("one").await?;
    let commit = life.first(&[set("secret: label"), named(1)], &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    hold("two").await?;
    eventually(PATIENCE, "the run with the other value", || async { life.ran(&["install mysql", "upgrade mysql"]) })
        .await?;
    life.ready(&commit).await?;
    life.then_ready(&[set("value: three")], &[]).await?;
    hold("four").await?;
    life.then_ready(&[set("secret: label")], &[]).await?;
    life.ran(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"])
}

/// An installation that names the set.
fn named(size: u32) -> (&'static str, String) {
    (MYSQL, format!("{}parameterSets: [{SET_NAME}]\n", installation("mysql", "0.1.0", size)))
}

/// The document has another name in Porter, its object none.
pub(super) async fn renamed(life: &Life) -> Result<()> {
    let document = |name: &str| {
        let head = "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {name: db}\n";
        let bundle = format!("{{repository: {REPOSITORY}, version: 0.1.0}}");
        vec![(MYSQL, format!("{head}spec: {{schemaVersion: 1.0.2, name: {name}, namespace: dev, bundle: {bundle}}}\n"))]
    };
    let commit = life.first(&document("old"), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.then_ready(&document("new"), &[]).await?;
    life.ran(&["install old", "uninstall old", "install new"])
}

/// It comes back while it is being uninstalled.
pub(super) async fn back(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.world.runner.hold(REPOSITORY);
    life.then(&[], &[MYSQL]).await?;
    life.begun(2).await?;
    let commit = life.then(&mysql(1), &[]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    life.world.runner.release(REPOSITORY);
    life.ready(&commit).await?;
    life.ran(&["install mysql", "uninstall mysql", "install mysql"])
}

/// Somebody deletes the Installation, and then the document changes.
pub(super) async fn by_hand(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    let uid = life.world.installation("mysql").await?.metadata.uid;
    let installations = Api::<Installation>::namespaced(life.world.client.clone(), &life.world.namespace);
    eventually(PATIENCE, "another Installation", || async {
        match installations.get_opt("mysql").await? {
            Some(stands) if stands.metadata.uid != uid => Ok(()),
            Some(stands) if stands.metadata.deletion_timestamp.is_none() => {
                life.world.delete_installation("mysql").await?;
                bail!("it was deleted just now")
            }
            stands => bail!("{:?}", stands.map(|stands| stands.metadata)),
        }
    })
    .await?;
    life.ready(&commit).await?;
    life.then_ready(&mysql(2), &[]).await?;
    life.ran(&["install mysql", "upgrade mysql"])
}

/// Porter never gets a record of it, for its bundle cannot be pulled, and is asked before it is given up. Then it can be.
pub(super) async fn unknown(life: &Life) -> Result<()> {
    let runner = &life.world.runner;
    runner.with_registry(|registry| registry.remove(REPOSITORY));
    life.first(&mysql(1), &["apps"], json!({})).await?;
    life.failed().await?;
    life.then_ready(&[], &[MYSQL]).await?;
    life.ran(&[])?;
    runner.with_registry(|registry| registry.define(REPOSITORY, Bundle::default()));
    life.then_ready(&mysql(1), &[]).await?;
    life.ran(&["install mysql"])
}

/// The run of the set that it waits for fails, and is run again.
pub(super) async fn set_again(life: &Life) -> Result<()> {
    life.world.runner.evict_next(2);
    let commit = life.first(&[set("value: x"), named(1)], &["apps"], json!({"retry": {"limit": 3}})).await?;
    life.ready(&commit).await?;
    life.ran(&["install mysql"])
}

/// It changes twice while it is being upgraded: only the newest runs.
pub(super) async fn during(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.world.runner.hold(REPOSITORY);
    life.then(&mysql(2), &[]).await?;
    life.begun(2).await?;
    life.then(&mysql(3), &[]).await?;
    let commit = life.then(&mysql(4), &[]).await?;
    eventually(PATIENCE, "the newest to wait", || async {
        let attempted = life.world.sync_object("apps").await?.status.unwrap_or_default().last_attempted_revision;
        ensure!(attempted.as_ref().is_some_and(|revision| revision.ends_with(&commit)), "{attempted:?}");
        Ok(())
    })
    .await?;
    life.world.runner.release(REPOSITORY);
    life.ready(&commit).await?;
    let sizes: Vec<_> = life.world.runner.executions().into_iter().map(|run| run.parameters["size"].clone()).collect();
    ensure!(sizes == [1, 2, 4], "{sizes:?}");
    life.ran(&["install mysql", "upgrade mysql", "upgrade mysql"])
}

impl Life {
    /// Waits for so many bundle actions.
    async fn begun(&self, count: usize) -> Result<()> {
        eventually(PATIENCE, &format!("{count} bundle actions"), || async {
            if self.world.ran().len() == count { Ok(()) } else { bail!("{:?}", self.world.ran()) }
        })
        .await
    }
}
