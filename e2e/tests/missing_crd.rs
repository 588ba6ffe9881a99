//! Kinds that the API server does not serve yet when the controller starts: it waits, says so, and goes on. Alone in its
//! executable, and so in an API server of its own.

mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::{BundleSync, condition};
use e2e::{ControllerOptions, ControllerProcess, User, eventually, install_crds};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};
use serde_json::{Value, json};
use world::{PATIENCE, World, installation};

const MYSQL: &str = "apps/mysql.yaml";
const PAUSE: Duration = Duration::from_millis(100);

fn told_of(kind: &str) -> String {
    format!("cannot watch {kind}: the API server does not serve this kind; install its CRD")
}

/// Deletes a CRD, and gives what is to be applied to have it back.
async fn take_away(definitions: &Api<CustomResourceDefinition>, name: &str) -> Result<Value> {
    let stood = definitions.get(name).await?;
    definitions.delete(name, &DeleteParams::default()).await?;
    eventually(PATIENCE, &format!("the CRD {name} to be gone"), || async {
        match definitions.get_opt(name).await? {
            None => Ok(()),
            Some(left) => bail!("{:?}", left.status),
        }
    })
    .await?;
    let metadata = ObjectMeta {
        name: stood.metadata.name,
        labels: stood.metadata.labels,
        annotations: stood.metadata.annotations,
        ..ObjectMeta::default()
    };
    Ok(serde_json::to_value(CustomResourceDefinition { metadata, spec: stood.spec, status: None })?)
}

/// Waits until `/readyz` refuses with this text; fails when the controller ends.
async fn unready(controller: &mut ControllerProcess, text: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = controller.unready().await;
        match &seen {
            Ok(Some((503, why))) if why == text => return Ok(()),
            _ if Instant::now() > deadline => bail!("/readyz says {seen:?}, not {text:?}"),
            // Until it listens, and until the watch was refused.
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_that_are_missing_at_the_start_are_waited_for() -> Result<()> {
    let mut world = World::start("missing").await?;
    world.controller.kill()?;
    let admin = world.environment.client(User::Admin).await?;
    let definitions = Api::<CustomResourceDefinition>::all(admin.clone());
    let installations = take_away(&definitions, "installations.getporter.org").await?;
    let artifacts = take_away(&definitions, "externalartifacts.source.toolkit.fluxcd.io").await?;
    let notes = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {a: b}\n".to_owned();
    let commit =
        world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1)), ("apps/notes.yaml", notes)]).await?;

    let mut controller = world.environment.launch_controller(ControllerOptions::watching(&world.namespace)).await?;
    unready(&mut controller, &told_of("Installation")).await?;
    world.not_ready("apps", condition::RECONCILIATION_FAILED, &told_of("Installation")).await?;
    let log = std::fs::read_to_string(controller.log()).context("the controller's log")?;
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains("watch failed") && line.contains("install its CRD")).collect();
    for kind in ["Installation", "ExternalArtifact"] {
        let of_kind = lines.iter().filter(|line| line.contains(&format!("\"{kind}\""))).count();
        ensure!(of_kind == 1, "{of_kind} lines of {kind}: {lines:?}");
    }
    // The same process still waits.
    unready(&mut controller, &told_of("Installation")).await?;
    ensure!(world.ran().is_empty(), "{:?}", world.ran());

    install_crds(&admin, vec![installations]).await?;
    controller.wait_until_ready().await?;
    world.ready_at("apps", &commit).await?;
    world.ran_only(&["install mysql"])?;

    // A kind of source that an older Flux does not have concerns nobody but who names it.
    let source = json!({"kind": "ExternalArtifact", "name": "feed"});
    world.sync("feed", json!({"sourceRef": source, "path": "apps"})).await?;
    world.not_ready("feed", condition::ARTIFACT_FAILED, &told_of("ExternalArtifact")).await?;
    install_crds(&admin, vec![artifacts]).await?;
    world.not_ready("feed", condition::ARTIFACT_FAILED, "feed not found").await?;
    world.ready_at("apps", &commit).await?;

    // Without the operator's kinds nothing can be uninstalled: a sync that is deleted goes, and says so.
    let syncs = Api::<BundleSync>::namespaced(world.client.clone(), &world.namespace);
    let uninstall = json!({"spec": {"prune": true}});
    syncs.patch("apps", &PatchParams::default(), &Patch::Merge(&uninstall)).await?;
    definitions.delete("installations.getporter.org", &DeleteParams::default()).await?;
    syncs.delete("apps", &DeleteParams::default()).await?;
    eventually(PATIENCE, "the sync to be gone", || async {
        match syncs.get_opt("apps").await? {
            None => Ok(()),
            Some(sync) => bail!("{:?}", sync.ready()),
        }
    })
    .await?;
    let log = std::fs::read_to_string(controller.log())?;
    ensure!(log.contains("\"reason\":\"Abandoned\""), "{log}");
    ensure!(log.contains("these stay, and nobody looks after them any more: [ConfigMap/"), "{log}");
    world.ran_only(&["install mysql"])
}
