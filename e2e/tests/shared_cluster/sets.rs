//! The end of sets: the operator has Porter forget one before it goes, in a run that may fail.

use crate::world::{World, installation};
use anyhow::{Context as _, Result, ensure};
use api::porter::AgentAction;
use api::{BundleSync, condition};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

const SET: &str =
    "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- name: label\n  source: {value: x}\n";

#[tokio::test]
async fn the_deletion_of_a_set_that_failed_is_told_and_tried_again() -> Result<()> {
    let world = World::start("forgotten").await?;
    let mysql = installation("mysql", "0.1.0", 1) + "parameterSets: [tuning]\n";
    let spec = json!({"prune": true, "uninstall": {"limit": "100%"}, "retryInterval": "5s"});
    let first = world.begin(spec, &[("apps/mysql.yaml", mysql), ("apps/tuning.yaml", SET.to_owned())]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit_without("mysql leaves", &["apps/mysql.yaml"]).await?;
    world.ready_at("apps", &second).await?;

    world.runner.evict_next(1);
    let syncs = Api::<BundleSync>::namespaced(world.client.clone(), &world.namespace);
    syncs.delete("apps", &DeleteParams::default()).await?;
    let told = world.not_ready("apps", condition::PRUNE_FAILED, "the object is being deleted: AgentAction").await?;
    let actions = Api::<AgentAction>::namespaced(world.client.clone(), &world.namespace);
    let actions = actions.list(&ListParams::default()).await?.items;
    let forgets = |action: &&AgentAction| action.spec.args.iter().any(|word| word == "delete");
    let failed = actions.iter().find(forgets).context("nothing forgets the set")?.name_any();
    ensure!(told.contains(&format!("AgentAction {failed} failed: ")) && told.contains("Evicted"), "{told}");
    ensure!(told.contains("it is tried again at"), "{told}");

    world.delete_sync("apps").await?;
    let sets = e2e::dynamic(world.client.clone(), &world.namespace, "getporter.org", "v1", "ParameterSet");
    let left = sets.list(&ListParams::default()).await?.items;
    ensure!(left.is_empty(), "{left:?}");
    world.ran_only(&["install mysql", "uninstall mysql"])
}
