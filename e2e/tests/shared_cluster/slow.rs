//! Runs that outlast what looks after them: the timeout of a sync, the agent's pod, an Installation's status. What the bundle
//! does is told from the Job that carries it out, and nothing runs beside it.

use crate::world::{PATIENCE, REPOSITORY, World, installation};
use anyhow::{Context, Result, bail, ensure};
use api::condition;
use api::porter::AgentAction;
use e2e::eventually;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

const MYSQL: &str = "apps/mysql.yaml";

fn mysql(size: u32) -> String {
    installation("mysql", "0.1.0", size)
}

#[tokio::test]
async fn a_run_that_outlasts_the_timeout_is_told_and_goes_on() -> Result<()> {
    let world = World::start("timeout").await?;
    world.runner.hold(REPOSITORY);
    let first = world.pruning(json!({"timeout": "2s"}), &[(MYSQL, mysql(1))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "timeout of 2 s waiting for").await?;
    world.begun(1).await?;
    // A status that says otherwise, as one that froze would.
    let failed = json!({"status": {"phase": "Failed", "conditions": [
        {"type": "Failed", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]}});
    world.installations().patch_status("mysql", &PatchParams::default(), &Patch::Merge(&failed)).await?;
    world.stays_at("apps", &["install mysql"]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "timeout of 2 s waiting for").await?;
    world.runner.release(REPOSITORY);
    world.ready_at("apps", &first).await?;
    world.stays_at("apps", &["install mysql"]).await
}

#[tokio::test]
async fn a_bundle_whose_agent_was_evicted_is_waited_for() -> Result<()> {
    let world = World::start("evicted").await?;
    world.runner.hold(REPOSITORY);
    world.pruning(json!({}), &[(MYSQL, mysql(1))]).await?;
    world.begun(1).await?;
    let pods = Api::<Pod>::namespaced(world.client.clone(), &world.namespace);
    let of_type = |name: &str| ListParams::default().labels(&format!("getporter.org/jobType={name}"));
    eventually(PATIENCE, "the pod of the bundle to run", || async {
        let pod = pods.list(&of_type("bundle-installer")).await?.items.pop().context("none yet")?;
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        if phase == "Running" { Ok(()) } else { bail!("{phase}") }
    })
    .await?;
    let agent = pods.list(&of_type("porter-agent")).await?.items.pop().context("no pod of an agent")?;
    pods.delete(&agent.name_any(), &DeleteParams::default()).await?;
    // The operator takes it for a failed run.
    let actions = Api::<AgentAction>::namespaced(world.client.clone(), &world.namespace);
    eventually(PATIENCE, "the AgentAction to be failed", || async {
        let action = actions.list(&ListParams::default()).await?.items.pop().context("none")?;
        let conditions = action.status.unwrap_or_default().conditions;
        let failed = conditions.iter().any(|condition| condition.type_ == "Failed" && condition.status == "True");
        if failed { Ok(()) } else { bail!("{conditions:?}") }
    })
    .await?;
    let second = world.commit("second", &[(MYSQL, mysql(2))]).await?;
    world.message_contains("apps", "of the bundle is active").await?;
    world.stays_at("apps", &["install mysql"]).await?;
    ensure!(world.installation("mysql").await?.metadata.generation == Some(1));
    world.runner.release(REPOSITORY);
    // Nobody told Porter how the first one ended: to it nothing is installed.
    world.ready_at("apps", &second).await?;
    world.ran_only(&["install mysql", "install mysql"])?;
    world.commit_without("without", &[MYSQL]).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "install mysql", "uninstall mysql"])?;
    world.nothing_is_left().await
}
