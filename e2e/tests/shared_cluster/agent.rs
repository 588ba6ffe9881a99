//! Jobs that expire after seconds, and what the AgentConfigs that porter-flux manages make of them: each run happens once.

use std::time::Duration;

use crate::world::{PATIENCE, World, installation};
use anyhow::{Result, bail, ensure};
use api::porter::AgentConfig;
use api::{BundleSync, condition};
use e2e::eventually;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

const MYSQL: &str = "apps/mysql.yaml";
/// The operator's defaults, with a time that a test can wait for.
const EXPIRING: i32 = 4;
/// Long enough for two expiries.
const LONG: Duration = Duration::from_secs(15);

impl World {
    /// How many porter commands were begun.
    fn commands_begun(&self) -> usize {
        self.runner.commands().len()
    }
}

#[tokio::test]
async fn with_managed_agents_no_expiring_job_runs_anything_again() -> Result<()> {
    let world = World::start("managed").await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": EXPIRING})).await?;
    let first = world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.ready_at("apps", &second).await?;
    let begun = world.commands_begun();
    tokio::time::sleep(LONG).await;
    ensure!(world.commands_begun() == begun, "{:?}", world.runner.commands());
    world.ran_only(&["install mysql", "upgrade mysql"])?;
    let named = world.installation("mysql").await?.spec.agent_config.map(|config| config.name);
    ensure!(named.as_deref() == Some(api::AGENT_CONFIG), "{named:?}");

    // Whoever sees to it from now on: that alone runs nothing.
    let syncs = Api::<BundleSync>::namespaced(world.client.clone(), &world.namespace);
    let unmanaged = Patch::Merge(json!({"spec": {"agent": "None"}}));
    let generation = syncs.patch("apps", &PatchParams::default(), &unmanaged).await?.metadata.generation;
    eventually(PATIENCE, "the sync to have seen it", || async {
        let seen = world.sync_object("apps").await?.status.and_then(|status| status.observed_generation);
        if seen == generation { Ok(()) } else { bail!("{seen:?}") }
    })
    .await?;
    ensure!(world.commands_begun() == begun, "{:?}", world.runner.commands());
    Ok(())
}

#[tokio::test]
async fn without_managed_agents_jobs_that_expire_run_again() -> Result<()> {
    let world = World::start("unmanaged").await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": EXPIRING})).await?;
    let first = world.begin(json!({"agent": "None"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let begun = world.commands_begun();
    eventually(PATIENCE, "the same command once more", || async {
        if world.commands_begun() > begun { Ok(()) } else { bail!("{:?}", world.runner.commands()) }
    })
    .await?;
    ensure!(world.installation("mysql").await?.spec.agent_config.is_none());
    // Porter finds nothing changed, and nothing new is told.
    world.looked_at("apps").await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])
}

#[tokio::test]
async fn what_makes_no_run_possible_is_told() -> Result<()> {
    let world = World::start("agentless").await?;
    world.without_agent("default").await?;
    let first = world.begin(json!({"timeout": "3s"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "there is no AgentConfig").await?;
    world.agent("default", json!({"retryLimit": 0})).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])?;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_a_document_names_is_copied() -> Result<()> {
    let world = World::start("named").await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": EXPIRING})).await?;
    world.agent("fast", json!({"retryLimit": 4, "porterVersion": "v1.6.1"})).await?;
    let document = format!(
        "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {{name: mysql}}\nspec: {{schemaVersion: 1.0.2, agentConfig: {{name: fast}}, bundle: {{repository: {}, version: 0.1.0}}}}\n",
        crate::world::REPOSITORY
    );
    let first = world.begin(json!({"prune": true}), &[(MYSQL, document)]).await?;
    world.ready_at("apps", &first).await?;
    let configs = Api::<AgentConfig>::namespaced(world.client.clone(), &world.namespace);
    let copy = serde_json::to_value(configs.get("porter-flux-fast").await?.spec)?;
    ensure!(
        copy["retryLimit"] == 0 && copy["ttlSecondsAfterFinished"] == i32::MAX && copy["porterVersion"] == "v1.6.1",
        "{copy}"
    );
    world.agent("fast", json!({"retryLimit": 4, "porterVersion": "v1.6.0"})).await?;
    let begun = world.commands_begun();
    tokio::time::sleep(LONG).await;
    ensure!(world.commands_begun() == begun, "{:?}", world.runner.commands());
    // The copy follows once something is to be run.
    let notes = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {a: b}\n".to_owned();
    let second = world.repository.commit("without").remove(MYSQL).write("apps/notes.yaml", notes).push().await?;
    world.refresh(&second).await?;
    world.ready_at("apps", &second).await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    let copy = configs.get("porter-flux-fast").await?.spec.porter_version;
    ensure!(copy.as_deref() == Some("v1.6.0"), "{copy:?}");
    Ok(())
}

#[tokio::test]
async fn an_agent_action_of_the_source_runs_once() -> Result<()> {
    let world = World::start("action-once").await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": EXPIRING})).await?;
    let action =
        "apiVersion: getporter.org/v1\nkind: AgentAction\nmetadata: {name: tidy}\nspec: {args: [installation, list]}\n";
    let first = world.begin(json!({}), &[("apps/tidy.yaml", action.to_owned())]).await?;
    world.ready_at("apps", &first).await?;
    eventually(PATIENCE, "the command", || async {
        if world.commands_begun() > 0 { Ok(()) } else { bail!("{:?}", world.runner.commands()) }
    })
    .await?;
    tokio::time::sleep(LONG).await;
    ensure!(world.commands_begun() == 1, "{:?}", world.runner.commands());
    world.ran_only(&[])
}

/// All AgentActions of it expire again and again, until there are none any more.
#[tokio::test]
async fn no_expiring_job_installs_again_what_was_uninstalled() -> Result<()> {
    for (prefix, agent) in [("expire-none", "None"), ("expire-managed", "Managed")] {
        let world = World::start(prefix).await?;
        // On a busy machine there has to be time, between two runs of its own accord, for what waits for their end.
        world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": 2 * EXPIRING})).await?;
        let first = world.pruning(json!({"agent": agent}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
        world.ready_at("apps", &first).await?;
        let second = world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
        world.ready_at("apps", &second).await?;
        let begun = world.commands_begun();
        tokio::time::sleep(LONG).await;
        ensure!((world.commands_begun() > begun) == (agent == "None"), "{agent}: {:?}", world.commands());
        world.ran_only(&["install mysql", "upgrade mysql"])?;
        world.commit_without("without", &[MYSQL]).await?;
        world.gone().await?;
        tokio::time::sleep(LONG).await;
        world.ran_only(&["install mysql", "upgrade mysql", "uninstall mysql"])?;
        world.nothing_is_left().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_config_that_never_gets_ready_is_told_by_its_name() -> Result<()> {
    let world = World::start("unready").await?;
    // Its plugins are installed in a volume that nobody provides.
    let plugins = json!({"schemaVersion": "1.0.0", "plugins": {"kubernetes": {"version": "v1.0.0"}}});
    let config = json!({
        "apiVersion": "getporter.org/v1", "kind": "AgentConfig",
        "metadata": {"name": "default", "namespace": world.namespace},
        "spec": {"retryLimit": 0, "pluginConfigFile": plugins},
    });
    let configs = Api::<AgentConfig>::namespaced(world.client.clone(), &world.namespace);
    world.without_agent("default").await?;
    configs.patch("default", &PatchParams::apply("test").force(), &Patch::Apply(&config)).await?;
    let first = world.begin(json!({"timeout": "3s"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    let told = format!("AgentConfig {}/default is not ready", world.namespace);
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, &told).await?;
    world.stays_at("apps", &[]).await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX})).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])
}
