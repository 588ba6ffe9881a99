//! Whose an installation is: syncs that hand over, move and go, what somebody else made, and who looks after the agents.

use anyhow::{Result, bail, ensure};
use api::{ReleaseState, condition};
use e2e::eventually;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{Life, MYSQL, SET, mysql, set};
use crate::world::documents::resource;
use crate::world::{PATIENCE, installation};

/// After how many seconds Jobs expire, where they do. A controller that dies has less than that to be back and to take away
/// what is superseded: with `agent: None` nothing else keeps it from running again.
const EXPIRING: i32 = 12;

/// Two syncs hand over, and back again while one is deleted.
pub(super) async fn handover(life: &Life) -> Result<()> {
    let (here, there) = (["apps/a.yaml", "apps/b.yaml", SET], ["more/a.yaml", "more/b.yaml", "more/set.yaml"]);
    let named = format!("{}parameterSets: [tuning]\n", installation("a", "0.1.0", 1));
    let texts = [named, installation("b", "0.1.0", 1), set("value: x").1];
    let at = |paths: [&'static str; 3]| paths.into_iter().zip(texts.clone()).collect::<Vec<_>>();
    let commit = life.first(&at(here), &["apps", "more"], json!({})).await?;
    life.ready(&commit).await?;
    life.world.ready_at("more", &commit).await?;
    let commit = life.then(&at(there), &here).await?;
    life.ready(&commit).await?;
    life.world.ready_at("more", &commit).await?;
    let commit = life.then(&at(here), &there).await?;
    life.world.delete_sync("more").await?;
    life.ready(&commit).await?;
    life.each_ran(&[("a", &["install"]), ("b", &["install"])])
}

pub(super) async fn deleted_sync(life: &Life) -> Result<()> {
    let other = ("apps/other.yaml", installation("other", "0.1.0", 1));
    let commit = life.first(&[mysql(1), vec![set("value: x"), other]].concat(), &["apps"], json!({})).await?;
    life.ready(&commit).await?;
    life.world.delete_sync("apps").await?;
    life.each_ran(&[("mysql", &["install", "uninstall"]), ("other", &["install", "uninstall"])])
}

/// Two objects change places while one is upgraded, all get another name, and one goes to another sync under another name.
pub(super) async fn moves(life: &Life) -> Result<()> {
    let both = |mysql: String, redis: String| ("apps/db.yaml", [mysql, redis].join("---\n"));
    let files = [both(resource("db", "mysql", 1), resource("cache", "redis", 1))];
    let commit = life.first(&files, &["apps", "more"], json!({})).await?;
    life.ready(&commit).await?;
    let files = [both(resource("cache", "mysql", 2), resource("db", "redis", 1))];
    let commit = life.then_ready(&files, &[]).await?;
    life.changed("apps", &json!({"namePrefix": "eu-"})).await?;
    life.ready(&commit).await?;
    life.objects(&["eu-cache: mysql", "eu-db: redis"]).await?;
    let files = [("apps/db.yaml", resource("db", "redis", 1)), ("more/sql.yaml", resource("sql", "mysql", 2))];
    let commit = life.then_ready(&files, &[]).await?;
    life.world.ready_at("more", &commit).await?;
    life.objects(&["eu-db: redis", "sql: mysql"]).await?;
    life.each_ran(&[("mysql", &["install", "upgrade"]), ("redis", &["install"])])
}

/// What somebody made is taken over: not at first, then what nobody looks after, the other when all is to be. Then one is
/// upgraded and the other goes.
pub(super) async fn adopted(life: &Life) -> Result<()> {
    let kept =
        json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    for (name, labels) in [("mysql", json!({})), ("redis", kept)] {
        eventually(PATIENCE, "what is theirs", || life.world.theirs(name, labels.clone())).await?;
    }
    let maps = Api::<ConfigMap>::namespaced(life.world.client.clone(), &life.world.namespace);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "notes"}, "data": {"a": "theirs", "b": "c"}});
    let (theirs, patch) = (PatchParams::apply("somebody"), Patch::Apply(&map));
    eventually(PATIENCE, "their notes", || maps.patch("notes", &theirs, &patch)).await?;

    let same = |name: &str| installation(name, "0.1.0", 1) + "  extra: true\n";
    let redis = "apps/redis.yaml";
    let files = [(MYSQL, same("mysql")), (redis, same("redis"))];
    let commit = life.first(&files, &["apps"], json!({"adoption": "Never"})).await?;
    life.world.not_ready("apps", condition::RECONCILIATION_FAILED, "spec.adoption is Never").await?;
    life.sync("apps", &json!({})).await?;
    let keeper = "Kustomization flux-system/apps looks after it";
    life.world.not_ready("apps", condition::RECONCILIATION_FAILED, keeper).await?;
    eventually(PATIENCE, "mysql to be adopted", || async {
        let state = life.world.release("mysql").await?.status.and_then(|status| status.state);
        if state == Some(ReleaseState::Succeeded) { Ok(()) } else { bail!("{state:?}") }
    })
    .await?;
    life.changed("apps", &json!({"adoption": "Always"})).await?;
    life.ready(&commit).await?;
    life.ran(&["install mysql", "install redis"])?;
    life.then_ready(&mysql(2), &[redis]).await?;
    life.each_ran(&[("mysql", &["install", "upgrade"]), ("redis", &["install", "uninstall"])])
}

/// The agents are looked after by nobody, then by the controller, then by nobody again; what runs leave behind goes all the
/// same.
pub(super) async fn unmanaged(life: &Life) -> Result<()> {
    let nobody = json!({"agent": "None"});
    let commit = life.first(&mysql(1), &["apps"], nobody.clone()).await?;
    life.ready(&commit).await?;
    life.then_ready(&mysql(2), &[]).await?;
    life.changed("apps", &json!({"agent": "Managed"})).await?;
    life.ran(&["install mysql", "upgrade mysql"])?;
    life.then_ready(&mysql(3), &[]).await?;
    life.changed("apps", &nobody).await?;
    life.ran(&["install mysql", "upgrade mysql", "upgrade mysql"])?;
    life.then_ready(&[], &[MYSQL]).await?;
    life.ran(&["install mysql", "upgrade mysql", "upgrade mysql", "uninstall mysql"])
}

/// Jobs expire after seconds. Where nobody looks after the agents a command begins again then, without a bundle action; where
/// the controller does, each runs once.
pub(super) async fn expiring(life: &Life) -> Result<()> {
    life.world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": EXPIRING})).await?;
    let redis = |size| ("more/redis.yaml", installation("redis", "0.1.0", size));
    let commit = life.first(&[mysql(1), vec![redis(1)]].concat(), &["more"], json!({})).await?;
    life.sync("apps", &json!({"agent": "None"})).await?;
    life.world.ready_at("more", &commit).await?;
    life.ready(&commit).await?;
    life.once_more("mysql").await?;
    life.then_ready(&[mysql(2), vec![redis(2)]].concat(), &[]).await?;
    let commit = life.then_ready(&[], &[MYSQL]).await?;
    life.world.ready_at("more", &commit).await?;
    ensure!(life.commands("redis") == 2, "{:?}", life.world.runner.commands());
    life.each_ran(&[("mysql", &["install", "upgrade", "uninstall"]), ("redis", &["install", "upgrade"])])
}

impl Life {
    /// How many commands were begun for an Installation of this name, by the operator.
    fn commands(&self, name: &str) -> usize {
        let commands = self.world.runner.commands();
        let of = |action: &str| action.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        commands.iter().filter(|command| of(&command.agent_action)).count()
    }

    /// Waits until one has begun again, and is over.
    async fn once_more(&self, name: &str) -> Result<()> {
        let before = self.commands(name);
        eventually(PATIENCE, &format!("the command for {name} once more"), || async {
            let commands = self.world.runner.commands();
            let over = commands.iter().all(|command| command.exit.is_some());
            if over && self.commands(name) > before { Ok(()) } else { bail!("{commands:?}") }
        })
        .await
    }

    async fn objects(&self, expected: &[&str]) -> Result<()> {
        eventually(PATIENCE, &format!("the Installations {expected:?}"), || async {
            let objects = self.world.objects().await?;
            if objects == expected { Ok(()) } else { bail!("{objects:?}") }
        })
        .await
    }
}
