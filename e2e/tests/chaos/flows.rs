//! The flows: what users do in the life of an installation, each step waiting for the end of the one before.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use api::porter::Installation;
use api::{BundleSync, condition};
use e2e::eventually;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::world::{PATIENCE, REPOSITORY, World, installation};

const MYSQL: &str = "apps/mysql.yaml";
const SET: &str = "apps/set.yaml";

/// A flow and its name.
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    pub(crate) play: for<'a> fn(&'a Life) -> BoxFuture<'a, Result<()>>,
}

pub(crate) const FLOWS: [Flow; 10] = [
    Flow { name: "whole-life", play: |life| whole_life(life).boxed() },
    Flow { name: "failed-install", play: |life| failed_install(life).boxed() },
    Flow { name: "failed-upgrade", play: |life| failed_upgrade(life).boxed() },
    Flow { name: "kept-record", play: |life| kept_record(life).boxed() },
    Flow { name: "sets", play: |life| sets(life).boxed() },
    Flow { name: "renamed", play: |life| renamed(life).boxed() },
    Flow { name: "back", play: |life| back(life).boxed() },
    Flow { name: "handover", play: |life| handover(life).boxed() },
    Flow { name: "deleted-sync", play: |life| deleted_sync(life).boxed() },
    Flow { name: "by-hand", play: |life| by_hand(life).boxed() },
];

/// A world in which one flow is played.
pub(crate) struct Life {
    pub(crate) world: World,
    commits: Mutex<Vec<String>>,
}

impl Life {
    pub(crate) async fn begin(flow: &str) -> Result<Self> {
        Ok(Self { world: World::start(&format!("chaos-{flow}")).await?, commits: Mutex::default() })
    }

    /// The commits so far.
    pub(crate) fn commits(&self) -> Vec<String> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names in Porter that an Installation has had.
    pub(crate) fn porter_names(&self, object: &str) -> Vec<String> {
        let names: &[&str] = if object == "db" { &["old", "new"] } else { &[object] };
        names.iter().map(|&name| name.to_owned()).collect()
    }

    async fn push(&self, files: &[(&str, String)], removed: &[&str]) -> Result<String> {
        let mut commit = self.world.repository.commit(&format!("commit {}", self.commits().len()));
        for (path, text) in files {
            commit = commit.write(path, text.clone());
        }
        for path in removed {
            commit = commit.remove(path);
        }
        let commit = commit.push().await?;
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).push(commit.clone());
        Ok(commit)
    }

    /// The first commit, a source on it, and a sync of each path.
    async fn first(&self, files: &[(&str, String)], syncs: &[&str], spec: Value) -> Result<String> {
        let mut all = vec![("apps/notes.yaml", notes("notes")), ("more/notes.yaml", notes("more"))];
        all.extend(files.iter().cloned());
        let commit = self.push(&all, &[]).await?;
        eventually(PATIENCE, "the source", || self.world.source()).await?;
        let mut whole = json!({"prune": true, "retryInterval": "1s"});
        for (key, value) in spec.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        for path in syncs {
            whole["path"] = (*path).into();
            eventually(PATIENCE, "the sync", || self.world.sync(path, whole.clone())).await?;
        }
        Ok(commit)
    }

    /// A further commit, which source-controller is told of.
    async fn then(&self, files: &[(&str, String)], removed: &[&str]) -> Result<String> {
        let commit = self.push(files, removed).await?;
        eventually(PATIENCE, "the commit", || self.world.refresh(&commit)).await?;
        Ok(commit)
    }

    async fn ready(&self, commit: &str) -> Result<()> {
        self.world.ready_at("apps", commit).await
    }

    fn fail_next(&self) {
        self.world.runner.fail_next(REPOSITORY, 1);
    }

    async fn failed(&self) -> Result<()> {
        self.world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await.map(drop)
    }

    async fn delete_sync(&self, name: &str) -> Result<()> {
        let syncs = Api::<BundleSync>::namespaced(self.world.client.clone(), &self.world.namespace);
        eventually(PATIENCE, &format!("the sync {name} to be gone"), || async {
            match syncs.get_opt(name).await? {
                None => Ok(()),
                Some(sync) if sync.metadata.deletion_timestamp.is_none() => {
                    syncs.delete(name, &DeleteParams::default()).await?;
                    bail!("it was deleted just now")
                }
                Some(sync) => bail!("{:?}", sync.ready()),
            }
        })
        .await
    }
}

fn notes(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n")
}

fn mysql(size: u32) -> Vec<(&'static str, String)> {
    vec![(MYSQL, installation("mysql", "0.1.0", size))]
}

fn set(value: &str) -> (&'static str, String) {
    let source = format!("{{name: label, source: {{value: {value}}}}}");
    (SET, format!("schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- {source}\n"))
}

/// Install, upgrade, a failed upgrade that is tried again, uninstall, reinstall.
async fn whole_life(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({"retry": {"limit": 3}})).await?;
    life.ready(&commit).await?;
    let commit = life.then(&mysql(2), &[]).await?;
    life.ready(&commit).await?;
    life.fail_next();
    let commit = life.then(&mysql(3), &[]).await?;
    life.ready(&commit).await?;
    let commit = life.then(&[], &[MYSQL]).await?;
    life.ready(&commit).await?;
    let commit = life.then(&mysql(1), &[]).await?;
    life.ready(&commit).await
}

async fn failed_install(life: &Life) -> Result<()> {
    life.fail_next();
    life.first(&mysql(1), &["apps"], json!({})).await?;
    life.failed().await?;
    let commit = life.then(&[], &[MYSQL]).await?;
    life.ready(&commit).await
}

/// Its uninstall fails too, once.
async fn failed_upgrade(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.fail_next();
    life.then(&mysql(2), &[]).await?;
    life.failed().await?;
    life.fail_next();
    let commit = life.then(&[], &[MYSQL]).await?;
    life.ready(&commit).await
}

async fn kept_record(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({"uninstall": {"keepRecord": true}})).await?;
    life.ready(&commit).await?;
    for _ in 0..2 {
        let commit = life.then(&[], &[MYSQL]).await?;
        life.ready(&commit).await?;
        let commit = life.then(&mysql(1), &[]).await?;
        life.ready(&commit).await?;
    }
    Ok(())
}

/// A set changes with the installation that names it, and leaves with it.
async fn sets(life: &Life) -> Result<()> {
    let named = |size| (MYSQL, format!("{}parameterSets: [tuning]\n", installation("mysql", "0.1.0", size)));
    let commit = life.first(&[set("x"), named(1)], &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    let commit = life.then(&[set("y"), named(2)], &[]).await?;
    life.ready(&commit).await?;
    let commit = life.then(&[], &[SET, MYSQL]).await?;
    life.ready(&commit).await
}

/// The document has another name in Porter, its object none.
async fn renamed(life: &Life) -> Result<()> {
    let document = |name: &str| {
        let head = "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {name: db}\n";
        let bundle = format!("{{repository: {REPOSITORY}, version: 0.1.0}}");
        vec![(MYSQL, format!("{head}spec: {{schemaVersion: 1.0.2, name: {name}, namespace: dev, bundle: {bundle}}}\n"))]
    };
    let commit = life.first(&document("old"), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    let commit = life.then(&document("new"), &[]).await?;
    life.ready(&commit).await
}

/// It comes back while it is being uninstalled.
async fn back(life: &Life) -> Result<()> {
    let commit = life.first(&mysql(1), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.world.runner.hold(REPOSITORY);
    life.then(&[], &[MYSQL]).await?;
    eventually(PATIENCE, "the uninstall", || async {
        if life.world.ran().len() == 2 { Ok(()) } else { bail!("{:?}", life.world.ran()) }
    })
    .await?;
    let commit = life.then(&mysql(1), &[]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    life.world.runner.release(REPOSITORY);
    life.ready(&commit).await
}

/// Two syncs hand over, and back again while one is deleted.
async fn handover(life: &Life) -> Result<()> {
    let (here, there) = (["apps/a.yaml", "apps/b.yaml", SET], ["more/a.yaml", "more/b.yaml", "more/set.yaml"]);
    let named = format!("{}parameterSets: [tuning]\n", installation("a", "0.1.0", 1));
    let texts = [named, installation("b", "0.1.0", 1), set("x").1];
    let at = |paths: [&'static str; 3]| paths.into_iter().zip(texts.clone()).collect::<Vec<_>>();
    let commit = life.first(&at(here), &["apps", "more"], json!({})).await?;
    life.ready(&commit).await?;
    life.world.ready_at("more", &commit).await?;
    let commit = life.then(&at(there), &here).await?;
    life.ready(&commit).await?;
    life.world.ready_at("more", &commit).await?;
    let commit = life.then(&at(here), &there).await?;
    life.delete_sync("more").await?;
    life.ready(&commit).await
}

async fn deleted_sync(life: &Life) -> Result<()> {
    let other = ("apps/other.yaml", installation("other", "0.1.0", 1));
    let commit = life.first(&[mysql(1), vec![set("x"), other]].concat(), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.delete_sync("apps").await
}

/// Somebody deletes the Installation, and then the document changes.
async fn by_hand(life: &Life) -> Result<()> {
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
    let commit = life.then(&mysql(2), &[]).await?;
    life.ready(&commit).await
}
