//! What is let go of instead of uninstalled, and what goes with its namespace.

use anyhow::{Result, bail, ensure};
use api::{BundleRelease, CONFIRM, SyncRef};
use e2e::eventually;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use super::{Life, MYSQL, mysql};
use crate::world::PATIENCE;

/// It is let go when it leaves, taken again when it comes back, and uninstalled when somebody confirms that.
pub(super) async fn orphaned(life: &Life) -> Result<()> {
    let policy = |policy: &str| json!({"uninstall": {"policy": policy}});
    let commit = life.first(&mysql(1), &["apps"], policy("Orphan")).await?;
    life.ready(&commit).await?;
    life.then_ready(&[], &[MYSQL]).await?;
    life.is_nobodys("mysql").await?;
    life.then_ready(&mysql(1), &[]).await?;
    life.changed("apps", &policy("Confirm")).await?;
    let commit = life.then(&[], &[MYSQL]).await?;
    life.world.message_contains("apps", CONFIRM).await?;
    life.ran(&["install mysql"])?;
    let revision = format!("main@sha1:{commit}");
    eventually(PATIENCE, "the confirmation", || life.world.annotate("apps", CONFIRM, &revision)).await?;
    life.ready(&commit).await?;
    life.ran(&["install mysql", "uninstall mysql"])
}

/// Its sync is deleted three times: one that lets go, one that is suspended, and one that uninstalls though it does not prune.
pub(super) async fn let_go(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({"deletionPolicy": "Orphan"})).await?;
    life.ready(&commit).await?;
    life.world.delete_sync("apps").await?;
    life.is_nobodys("mysql").await?;
    life.sync("apps", &json!({})).await?;
    life.ready(&commit).await?;
    life.sync("apps", &json!({"suspend": true})).await?;
    life.world.delete_sync("apps").await?;
    life.is_nobodys("mysql").await?;
    life.sync("apps", &json!({"prune": false, "deletionPolicy": "Uninstall"})).await?;
    life.ready(&commit).await?;
    life.ran(&["install mysql"])?;
    life.world.delete_sync("apps").await?;
    life.ran(&["install mysql", "uninstall mysql"])
}

/// Its namespace is deleted: nothing is uninstalled, and nothing is held.
pub(super) async fn terminating(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    let namespaces = Api::<Namespace>::all(life.world.client.clone());
    let name = &life.world.namespace;
    eventually(PATIENCE, "the namespace to be gone", || async {
        match namespaces.get_opt(name).await? {
            None => Ok(()),
            Some(stands) if stands.metadata.deletion_timestamp.is_none() => {
                namespaces.delete(name, &DeleteParams::default()).await?;
                bail!("it was deleted just now")
            }
            Some(left) => bail!("{:?}", left.status),
        }
    })
    .await?;
    life.ran(&["install mysql"])
}

impl Life {
    /// Waits until an Installation stands which nobody holds, and of which no release knows.
    async fn is_nobodys(&self, name: &str) -> Result<()> {
        eventually(PATIENCE, &format!("{name} to be nobody's"), || async {
            let releases = self.all::<BundleRelease>().await?;
            ensure!(releases.is_empty(), "{:?}", releases.first().map(|release| &release.spec));
            let stands = self.world.installation(name).await?;
            ensure!(!api::is_held(&stands) && SyncRef::owner_of(&stands).is_none(), "{:?}", stands.metadata);
            ensure!(stands.metadata.deletion_timestamp.is_none(), "it is being deleted");
            Ok(())
        })
        .await
    }
}
