//! Sets whose runs fail, what waits for them, and metadata that changes, by the commands and bundle actions that the runner
//! executed.

use crate::world::{PATIENCE, REPOSITORY, World};
use anyhow::{Result, bail, ensure};
use api::condition;
use api::porter::ParameterSet;
use e2e::eventually;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

const SET: &str = "apps/tuning.yaml";
const MYSQL: &str = "apps/mysql.yaml";
const APPLY_SET: &str = "parameters apply parameters.yaml";
const APPLY: &str = "installation apply installation.yaml";
const FORCE: &str = "installation apply installation.yaml --force";

fn set(label: &str) -> String {
    format!(
        "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- name: label\n  source: {{value: {label}}}\n"
    )
}

/// An installation that names the set.
fn tuned(size: u32) -> String {
    crate::world::installation("mysql", "0.1.0", size) + "parameterSets: [tuning]\n"
}

impl World {
    /// The commands of Porter that were begun, as the operator and we gave them; the file of a set has a name of its own.
    fn porter(&self) -> Vec<String> {
        let commands = self.runner.commands();
        let told = commands.iter().map(|command| command.arguments.join(" "));
        told.map(|command| if command.starts_with("parameters apply") { APPLY_SET.to_owned() } else { command })
            .collect()
    }

    async fn porter_ran(&self, commands: &[&str]) -> Result<()> {
        eventually(PATIENCE, &format!("the commands {commands:?}"), || async {
            if self.porter() == commands { Ok(()) } else { bail!("{:?}", self.porter()) }
        })
        .await
    }
}

#[tokio::test]
async fn a_set_whose_run_failed_is_run_again() -> Result<()> {
    let world = World::start("set-retry").await?;
    world.runner.evict_next(2);
    let retry = json!({"retryInterval": "1s", "retry": {"limit": 2}});
    let first = world.begin(retry, &[(SET, set("x")), (MYSQL, tuned(1))]).await?;
    world.ready_at("apps", &first).await?;
    // The pods that were evicted never came as far as Porter.
    ensure!(world.porter() == [APPLY_SET, APPLY], "{:?}", world.porter());
    ensure!(world.ran() == ["install mysql"], "{:?}", world.ran());
    let runs = world.sync_object("apps").await?.status.unwrap_or_default().set_runs;
    ensure!(runs.len() == 1 && !runs[0].awaited && runs[0].again.is_none(), "{runs:?}");
    Ok(())
}

#[tokio::test]
async fn beyond_the_limit_a_set_runs_again_by_hand_and_before_what_names_it() -> Result<()> {
    let mut world = World::start("set-hand").await?;
    world.runner.evict_next(2);
    let retry = json!({"retryInterval": "1s", "retry": {"limit": 1}});
    let first = world.begin(retry, &[(SET, set("x")), (MYSQL, tuned(1))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "spec.retry.limit is 1").await?;
    world.restart().await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "spec.retry.limit is 1").await?;
    ensure!(world.porter().is_empty(), "{:?}", world.porter());
    world.force_all("apps", "one").await?;
    world.ready_at("apps", &first).await?;
    ensure!(world.porter() == [APPLY_SET, APPLY], "{:?}", world.porter());
    // Once a value: the set, and then what names it.
    world.force_all("apps", "two").await?;
    world.porter_ran(&[APPLY_SET, APPLY, APPLY_SET, FORCE]).await?;
    world.ready_at("apps", &first).await?;
    world.restart().await?;
    world.ready_at("apps", &first).await?;
    world.stays_at("apps", &["install mysql", "upgrade mysql"]).await?;
    ensure!(world.porter() == [APPLY_SET, APPLY, APPLY_SET, FORCE], "{:?}", world.porter());
    Ok(())
}

#[tokio::test]
async fn what_failed_is_run_again_after_the_set_that_was_mended() -> Result<()> {
    let world = World::start("set-mended").await?;
    let first = world.begin(json!({}), &[(SET, set("x")), (MYSQL, tuned(1))]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.commit("fails", &[(MYSQL, tuned(2))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    // One plan has both: the set is to be written, and the failed upgrade may be run again.
    world.sync("apps", json!({"suspend": true, "retryInterval": "1s"})).await?;
    let third = world.commit("mended", &[(SET, set("y"))]).await?;
    world.sync("apps", json!({"suspend": false, "retryInterval": "1s", "retry": {"limit": 3}})).await?;
    world.ready_at("apps", &third).await?;
    let commands = world.runner.commands();
    ensure!(world.porter() == [APPLY_SET, APPLY, APPLY, APPLY_SET, FORCE], "{commands:?}");
    let versions = world.runner.executions();
    ensure!(world.ran() == ["install mysql", "upgrade mysql", "upgrade mysql"], "{versions:?}");
    Ok(())
}

/// What carries labels and annotations: an Installation, a set, a ConfigMap.
fn documents(metadata: &str) -> Vec<(&'static str, String)> {
    let of = |kind: &str, version: &str, name: &str, rest: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}{metadata}}}\n{rest}")
    };
    let bundle = format!("spec: {{schemaVersion: 1.0.2, bundle: {{repository: {REPOSITORY}, version: 0.1.0}}}}\n");
    let label = "spec: {schemaVersion: 1.0.1, parameters: [{name: label, source: {value: x}}]}\n";
    vec![
        ("apps/mysql.yaml", of("Installation", "getporter.org/v1", "mysql", &bundle)),
        ("apps/tuning.yaml", of("ParameterSet", "getporter.org/v1", "tuning", label)),
        ("apps/notes.yaml", of("ConfigMap", "v1", "notes", "data: {a: b}\n")),
    ]
}

#[tokio::test]
async fn labels_and_annotations_follow_the_source_and_run_nothing() -> Result<()> {
    let world = World::start("metadata").await?;
    let documents_at = |note: &str| documents(&format!(", labels: {{team: x}}, annotations: {{note: \"{note}\"}}"));
    let first = world.begin(json!({"prune": true}), &documents_at("1")).await?;
    world.ready_at("apps", &first).await?;
    let begun = world.porter();
    let sets = Api::<ParameterSet>::namespaced(world.client.clone(), &world.namespace);
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace);
    // By hand: not ours, and it stays.
    let theirs = Patch::Merge(json!({"metadata": {"labels": {"theirs": "l"}, "annotations": {"theirs": "a"}}}));
    maps.patch("notes", &PatchParams::default(), &theirs).await?;
    sets.patch("tuning", &PatchParams::default(), &theirs).await?;
    let objects = || async {
        let all = [
            serde_json::to_value(world.installation("mysql").await?)?,
            serde_json::to_value(sets.get("tuning").await?)?,
            serde_json::to_value(maps.get("notes").await?)?,
        ];
        anyhow::Ok(all)
    };
    let are = |note: Value, team: Value| async move {
        eventually(PATIENCE, &format!("annotation {note} and label {team}"), || async {
            for object in objects().await? {
                let metadata = &object["metadata"];
                ensure!(metadata["annotations"]["note"] == note && metadata["labels"]["team"] == team, "{metadata}");
                ensure!(metadata["generation"].is_null() || metadata["generation"] == 1, "{metadata}");
            }
            Ok(())
        })
        .await
    };
    are(json!("1"), json!("x")).await?;
    let second = world.commit("another", &documents_at("2")).await?;
    world.ready_at("apps", &second).await?;
    are(json!("2"), json!("x")).await?;
    let third = world.commit("none", &documents("")).await?;
    world.ready_at("apps", &third).await?;
    are(Value::Null, Value::Null).await?;
    for object in &objects().await?[1..] {
        let metadata = &object["metadata"];
        ensure!(metadata["labels"]["theirs"] == "l" && metadata["annotations"]["theirs"] == "a", "{metadata}");
    }
    let fourth = world.commit("back", &documents_at("3")).await?;
    world.ready_at("apps", &fourth).await?;
    are(json!("3"), json!("x")).await?;
    // The operator wipes annotations of an Installation: that is nothing to us.
    let wiped = Patch::Merge(json!({"metadata": {"annotations": {"note": null}}}));
    let installations = Api::<api::porter::Installation>::namespaced(world.client.clone(), &world.namespace);
    installations.patch("mysql", &PatchParams::default(), &wiped).await?;
    let since = Timestamp::now();
    world.looked_at("apps").await?;
    let writes = world.writes(since)?;
    ensure!(writes.iter().all(|write| write.ends_with("bundlesyncs/apps/status")), "{writes:?}");
    ensure!(world.porter() == begun, "{:?}", world.porter());
    world.ran_only(&["install mysql"])
}
