//! Installations that are let go, and BundleSyncs whose deletion has to wait for something: by the bundle actions that the
//! runner executed.

use crate::world::{PATIENCE, REPOSITORY, World, installation};
use anyhow::{Result, bail, ensure};
use api::{CONFIRM, condition};
use e2e::eventually;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

const MYSQL: &str = "apps/mysql.yaml";
const OTHER: &str = "other/mysql.yaml";

fn mysql() -> String {
    installation("mysql", "0.1.0", 1)
}

impl World {
    /// A sync `apps` that prunes, once it is ready.
    async fn installed(prefix: &str, spec: serde_json::Value) -> Result<Self> {
        let world = Self::start(prefix).await?;
        let first = world.pruning(spec, &[(MYSQL, mysql())]).await?;
        world.ready_at("apps", &first).await?;
        Ok(world)
    }

    /// Deletes the sync, and does not wait.
    async fn begins_to_go(&self, sync: &str) -> Result<()> {
        self.syncs().delete(sync, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until the release of mysql is gone.
    async fn let_go(&self) -> Result<()> {
        eventually(PATIENCE, "the release to be gone", || async {
            match self.release("mysql").await {
                Err(_) => Ok(()),
                Ok(release) => bail!("{:?}", release.status),
            }
        })
        .await?;
        let metadata = self.installation("mysql").await?.metadata;
        ensure!(!metadata.finalizers.iter().flatten().any(|finalizer| finalizer == api::FINALIZER), "{metadata:?}");
        ensure!(!metadata.labels.iter().flatten().any(|(label, _)| label == api::OWNER_NAME_LABEL), "{metadata:?}");
        Ok(())
    }
}

#[tokio::test]
async fn what_is_let_go_is_adopted_by_a_sync_on_another_source() -> Result<()> {
    let world = World::installed("handed", json!({"uninstall": {"policy": "Orphan"}})).await?;
    let stood = world.installation("mysql").await?.metadata;
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.let_go().await?;
    world.ready_at("apps", &second).await?;
    world.stays_at("apps", &["install mysql"]).await?;

    let third = world.push("elsewhere", &[(OTHER, mysql())]).await?;
    world.environment.git_repository(&world.namespace, "elsewhere", world.repository.url()).await?;
    let source = json!({"kind": "GitRepository", "name": "elsewhere"});
    world.sync("other", json!({"path": "other", "sourceRef": source, "prune": true})).await?;
    world.ready_at("other", &third).await?;
    world.stays_at("other", &["install mysql"]).await?;
    let now = world.installation("mysql").await?.metadata;
    ensure!((&now.uid, now.generation) == (&stood.uid, stood.generation), "{now:?} after {stood:?}");
    ensure!(world.release("mysql").await?.spec.sync.name == "other");

    // From then on it is like any other.
    world.delete_sync("other").await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    world.nothing_is_left().await
}

#[tokio::test]
async fn a_deletion_that_asks_waits_for_the_confirmation() -> Result<()> {
    let world = World::installed("asks-all", json!({"uninstall": {"policy": "Confirm"}})).await?;
    world.begins_to_go("apps").await?;
    world.message_contains("apps", &format!("{CONFIRM}=delete has to confirm it")).await?;
    // What confirms a revision confirms no deletion.
    let revision = world.sync_object("apps").await?.status.and_then(|status| status.last_applied_revision);
    world.annotate("apps", CONFIRM, &revision.unwrap_or_default()).await?;
    world.stays_at("apps", &["install mysql"]).await?;
    world.annotate("apps", CONFIRM, "delete").await?;
    world.gone().await?;
    world.delete_sync("apps").await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    world.nothing_is_left().await
}

#[tokio::test]
async fn a_deletion_whose_uninstall_fails_is_told_and_can_be_given_up() -> Result<()> {
    let world = World::installed("fails-all", json!({})).await?;
    world.runner.with_registry(|registry| registry.remove(REPOSITORY));
    world.begins_to_go("apps").await?;
    world.not_ready("apps", condition::PRUNE_FAILED, "its uninstall failed").await?;
    world.ran_only(&["install mysql"])?;
    world.edit_sync("apps", json!({"deletionPolicy": "Orphan"})).await?;
    world.delete_sync("apps").await?;
    world.let_go().await?;
    world.ran_only(&["install mysql"])?;
    ensure!(world.runner.is_installed(&world.namespace, "mysql"), "{:?}", world.runner.records());
    Ok(())
}

#[tokio::test]
async fn a_deletion_whose_uninstall_fails_goes_on_once_it_can() -> Result<()> {
    let world = World::installed("mended-all", json!({})).await?;
    world.runner.fail_next(REPOSITORY, 2);
    world.begins_to_go("apps").await?;
    world.not_ready("apps", condition::PRUNE_FAILED, "its uninstall failed").await?;
    world.delete_sync("apps").await?;
    let uninstall = "uninstall mysql";
    world.ran_only(&["install mysql", uninstall, uninstall, uninstall])?;
    world.nothing_is_left().await
}

/// The API server has it, and the controller never will.
#[tokio::test]
async fn a_deletion_waits_for_no_source_of_a_namespace_that_is_not_watched() -> Result<()> {
    let world = World::installed("unwatched", json!({})).await?;
    let elsewhere = world.environment.namespace("elsewhere").await?;
    world.environment.git_repository(&elsewhere, "fleet", world.repository.url()).await?;
    world.edit_sync("apps", json!({"sourceRef": {"namespace": elsewhere}})).await?;
    world.not_ready("apps", condition::ARTIFACT_FAILED, "not found").await?;
    world.delete_sync("apps").await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    world.nothing_is_left().await
}

#[tokio::test]
async fn what_is_let_go_waits_for_no_sync_that_depends_on_this_one() -> Result<()> {
    let world = World::installed("circle", json!({"deletionPolicy": "Orphan"})).await?;
    world.sync("heir", json!({"prune": true, "dependsOn": [{"kind": "BundleSync", "name": "apps"}]})).await?;
    world.not_ready("heir", condition::RECONCILIATION_FAILED, "is owned by").await?;
    world.delete_sync("apps").await?;
    world.not_ready("heir", condition::DEPENDENCY_NOT_READY, "not found").await?;
    world.edit_sync("heir", json!({"dependsOn": null})).await?;
    eventually(PATIENCE, "the heir to have the release", || async {
        let owner = world.release("mysql").await?.spec.sync.name;
        if owner == "heir" { Ok(()) } else { bail!("{owner}") }
    })
    .await?;
    world.stays_at("heir", &["install mysql"]).await
}

#[tokio::test]
async fn what_a_sync_left_whose_finalizer_was_taken_off_can_be_deleted() -> Result<()> {
    let world = World::installed("torn", json!({})).await?;
    let held = json!({"metadata": {"finalizers": null}});
    // So that nothing puts it back on.
    world.edit_sync("apps", json!({"suspend": true})).await?;
    world.syncs().patch("apps", &PatchParams::default(), &Patch::Merge(&held)).await?;
    world.delete_sync("apps").await?;
    world.delete_installation("mysql").await?;
    eventually(PATIENCE, "the Installation to be gone", || async {
        match world.installations().get_opt("mysql").await? {
            None => Ok(()),
            Some(held) => bail!("{:?}", held.metadata),
        }
    })
    .await?;
    ensure!(world.release("mysql").await?.spec.removed.is_none());
    world.ran_only(&["install mysql"])
}
