//! What the two simulations make of Installations together: that the played pods come to the results that tests of the
//! controller rely on.

use anyhow::{Context, Result, bail, ensure};
use e2e::{Environment, PATIENCE, PlayedRunner, User, apply, dynamic, eventually, simulated_runner};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

const REPOSITORY: &str = "example.test/mysql";
struct Scene {
    namespace: String,
    client: Client,
    runner: PlayedRunner,
}

impl Scene {
    async fn start(prefix: &str) -> Result<Self> {
        let environment = Environment::shared().await;
        environment.operator().await?;
        let namespace = environment.namespace(prefix).await?;
        let client = environment.client(User::Test).await?;
        let options = simulated_runner::Options { namespace: Some(namespace.clone()), ..Default::default() };
        let runner = environment.runner(options).await?;
        let scene = Self { namespace, client, runner };
        scene
            .apply("AgentConfig", "default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": 2_147_483_647}))
            .await?;
        Ok(scene)
    }

    async fn apply(&self, kind: &str, name: &str, spec: Value) -> Result<i64> {
        let object = json!({
            "apiVersion": "getporter.org/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        });
        let applied = apply(&self.client, object).await?;
        applied.metadata.generation.context("an object without generation")
    }

    /// Applies the Installation with a size, and gives its generation.
    async fn install(&self, size: u32) -> Result<i64> {
        let spec = json!({
            "schemaVersion": "1.0.2",
            "name": "mysql",
            "namespace": "dev",
            "bundle": {"repository": REPOSITORY, "version": "0.1.0"},
            "parameters": {"size": size},
        });
        self.apply("Installation", "mysql", spec).await
    }

    /// How the operator's AgentAction for a generation of the Installation ended.
    async fn result(&self, generation: i64) -> Result<String> {
        let actions = dynamic(self.client.clone(), &self.namespace, "getporter.org", "v1", "AgentAction");
        let labels = format!("getporter.org/resourceName=mysql,getporter.org/resourceGeneration={generation}");
        eventually(PATIENCE, &format!("the end of the action of generation {generation}"), || async {
            let action = actions.list(&ListParams::default().labels(&labels)).await?.items.pop().context("none yet")?;
            let conditions = action.data.pointer("/status/conditions").and_then(Value::as_array).cloned();
            let types = conditions.unwrap_or_default().into_iter().map(|condition| condition["type"].clone());
            let end = types.rev().find(|type_| type_ == "Completed" || type_ == "Failed");
            end.and_then(|type_| type_.as_str().map(str::to_owned)).with_context(|| format!("{:?}", action.data))
        })
        .await
    }

    /// Waits until so many bundle actions began.
    async fn begun(&self, count: usize) -> Result<()> {
        eventually(PATIENCE, &format!("bundle action {count} to begin"), || async {
            let executions = self.runner.executions();
            if executions.len() == count { Ok(()) } else { bail!("{executions:?}") }
        })
        .await
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What ran, each with its size and whether it succeeded.
    fn ran(&self) -> Vec<(String, Value, Option<bool>)> {
        let executions = self.runner.executions().into_iter();
        executions.map(|ran| (ran.action, ran.parameters["size"].clone(), ran.succeeded)).collect()
    }
}

fn of_type(type_: &str) -> ListParams {
    ListParams::default().labels(&format!("getporter.org/jobType={type_}"))
}

#[tokio::test]
async fn an_installation_is_installed_and_upgraded_and_a_failed_upgrade_is_masked() -> Result<()> {
    let scene = Scene::start("results").await?;
    let foreign = json!({
        "metadata": {"name": "foreign"},
        "spec": {"template": {
            "metadata": {"labels": {"getporter.org/jobType": "bundle-installer"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]},
        }},
    });
    scene.jobs().create(&PostParams::default(), &serde_json::from_value(foreign)?).await?;

    let first = scene.install(1).await?;
    ensure!(scene.result(first).await? == "Completed");
    let second = scene.install(2).await?;
    ensure!(second > first);
    ensure!(scene.result(second).await? == "Completed");
    scene.runner.fail_next(REPOSITORY, 1);
    let third = scene.install(3).await?;
    ensure!(scene.result(third).await? == "Failed");
    // The file is the same to Porter: what failed is up to date.
    let retry = json!({
        "args": ["installation", "apply", "installation.yaml"],
        "files": {"installation.yaml": base64_of(
            "{schemaVersion: 1.0.2, name: mysql, namespace: dev, bundle: {repository: example.test/mysql, version: 0.1.0}, parameters: {size: 3}}"
        )},
    });
    scene.apply("AgentAction", "retry", retry).await?;
    eventually(PATIENCE, "the retry to end", || async {
        match scene.runner.commands().get(3).map(|command| command.exit) {
            Some(Some(_)) => Ok(()),
            other => bail!("{other:?}"),
        }
    })
    .await?;

    let ran = [("install", 1, true), ("upgrade", 2, true), ("upgrade", 3, false)]
        .map(|(action, size, succeeded)| (action.to_owned(), json!(size), Some(succeeded)));
    ensure!(scene.ran() == ran, "{:?}", scene.ran());
    let exits: Vec<_> = scene.runner.commands().iter().map(|command| command.exit).collect();
    ensure!(exits == [Some(0), Some(0), Some(1), Some(0)], "{exits:?}");
    ensure!(scene.runner.overlaps().is_empty(), "{:?}", scene.runner.overlaps());
    ensure!(scene.runner.is_installed("dev", "mysql"));

    let mut jobs = scene.jobs().list(&of_type("bundle-installer")).await?;
    jobs.items.retain(|job| job.name_any() != "foreign");
    ensure!(jobs.items.len() == 3, "{} Jobs of bundles", jobs.items.len());
    for job in &jobs {
        ensure!(job.owner_references().is_empty(), "a Job of a bundle has an owner");
        ensure!(job.labels().get("getporter.org/resourceKind").is_some_and(|kind| kind == "AgentAction"));
    }
    let foreign = scene.pods().list(&ListParams::default().labels("job-name=foreign")).await?;
    let phases: Vec<_> = foreign.iter().filter_map(|pod| pod.status.as_ref()?.phase.clone()).collect();
    ensure!(phases == ["Pending"], "somebody else's pod was played: {phases:?}");
    Ok(())
}

#[tokio::test]
async fn a_change_during_a_run_overlaps_it() -> Result<()> {
    let scene = Scene::start("overlaps").await?;
    scene.runner.hold(REPOSITORY);
    let first = scene.install(1).await?;
    scene.begun(1).await?;
    let second = scene.install(2).await?;
    scene.begun(2).await?;
    scene.runner.release(REPOSITORY);
    ensure!(scene.result(first).await? == "Completed" && scene.result(second).await? == "Completed");
    let overlaps = scene.runner.overlaps();
    let sizes: Vec<_> = overlaps.iter().map(|(first, second)| [first, second].map(|e| &e.parameters["size"])).collect();
    ensure!(sizes == [[&json!(1), &json!(2)]], "{overlaps:?}");
    ensure!(scene.runner.executions().iter().all(|execution| execution.overlapping));
    Ok(())
}

#[tokio::test]
async fn a_bundle_goes_on_without_its_agent() -> Result<()> {
    let scene = Scene::start("killed").await?;
    scene.runner.hold(REPOSITORY);
    let generation = scene.install(1).await?;
    scene.begun(1).await?;
    let bundle = eventually(PATIENCE, "the pod of the bundle to run", || async {
        let pod = scene.pods().list(&of_type("bundle-installer")).await?.items.pop().context("none yet")?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        if phase == "Running" { Ok(pod.name_any()) } else { bail!("{phase}") }
    })
    .await?;
    let agent = scene.pods().list(&of_type("porter-agent")).await?.items.pop().context("no pod of an agent")?;
    scene.pods().delete(&agent.name_any(), &DeleteParams::default()).await?;
    ensure!(scene.result(generation).await? == "Failed");
    ensure!(scene.runner.executions()[0].finished.is_none(), "the bundle ended with its agent");

    scene.runner.release(REPOSITORY);
    eventually(PATIENCE, "the bundle to succeed", || async {
        let pod = scene.pods().get(&bundle).await?;
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        if phase == "Succeeded" { Ok(()) } else { bail!("{phase}") }
    })
    .await?;
    ensure!(scene.ran() == [("install".to_owned(), json!(1), Some(true))], "{:?}", scene.ran());
    // Nobody was left to tell Porter.
    ensure!(!scene.runner.is_installed("dev", "mysql"));
    ensure!(scene.runner.commands().iter().all(|command| command.exit.is_none()));
    Ok(())
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
