//! Several controllers for the same objects: one works, whatever becomes of it, and each bundle action runs once.

use crate::world::{PATIENCE, REPOSITORY, World, installation};
use anyhow::{Context as _, Result, ensure};
use e2e::{ControllerOptions, eventually};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::Api;
use serde_json::json;

const MYSQL: &str = "apps/mysql.yaml";
/// Long enough for a machine that is busy, and short enough to be waited for.
const ELECTION: [&str; 4] = [
    "--enable-leader-election",
    "--leader-election-lease-duration=15s",
    "--leader-election-renew-deadline=12s",
    "--leader-election-retry-period=500ms",
];

async fn lease(world: &World) -> Result<LeaseSpec> {
    let leases = Api::<Lease>::namespaced(world.client.clone(), &world.namespace);
    leases.get("porter-flux-controller-leader-election").await?.spec.context("it says nothing")
}

/// Waits until another than this one leads, and says who.
async fn led_by_another(world: &World, before: &str) -> Result<String> {
    eventually(PATIENCE, "another to lead", || async {
        let holder = lease(world).await?.holder_identity.unwrap_or_default();
        ensure!(!holder.is_empty() && holder != before, "{holder} leads");
        Ok(holder)
    })
    .await
}

async fn running(world: &World, ran: &[&str]) -> Result<()> {
    eventually(PATIENCE, &format!("{ran:?} to have begun"), || async { world.ran_only(ran) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_another_goes_on_where_it_was() -> Result<()> {
    let mut world = World::with("leader", &ELECTION).await?;
    let mut options = ControllerOptions::watching(&world.namespace);
    options.arguments = ELECTION.map(str::to_owned).to_vec();
    let first = led_by_another(&world, "").await?;
    // Ready, and without work.
    let mut other = world.environment.controller(options).await?;
    let commit = world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &commit).await?;
    ensure!(!other.metrics().await?.contains("name=\"apps\""), "both work");
    ensure!(lease(&world).await?.holder_identity.as_deref() == Some(&first), "{:?}", lease(&world).await?);

    // It is stopped in a run, and goes on when another leads: it ends then.
    world.runner.hold(REPOSITORY);
    world.commit("upgrade", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    running(&world, &["install mysql", "upgrade mysql"]).await?;
    world.controller.signal("STOP")?;
    let second = led_by_another(&world, &first).await?;
    let commit = world.commit("more", &[(MYSQL, installation("mysql", "0.1.0", 3))]).await?;
    world.controller.signal("CONT")?;
    eventually(PATIENCE, "the end of what led before", || {
        let ended = world.controller.check().is_err();
        async move {
            ensure!(ended, "it goes on");
            Ok(())
        }
    })
    .await?;
    world.runner.release(REPOSITORY);
    world.ready_at("apps", &commit).await?;
    world.ran_only(&["install mysql", "upgrade mysql", "upgrade mysql"])?;
    ensure!(lease(&world).await?.holder_identity.as_deref() == Some(&second), "{:?}", lease(&world).await?);

    // Who is told to stop leaves the lead at once, and who comes makes nothing of it.
    other.stop().await?;
    ensure!(lease(&world).await?.holder_identity.as_deref() == Some(""), "{:?}", lease(&world).await?);
    world.controller.restart().await?;
    led_by_another(&world, "").await?;
    let commit = world.commit("last", &[(MYSQL, installation("mysql", "0.1.0", 4))]).await?;
    world.ready_at("apps", &commit).await?;
    world.ran_only(&["install mysql", "upgrade mysql", "upgrade mysql", "upgrade mysql"])?;
    ensure!(lease(&world).await?.lease_transitions == Some(2), "{:?}", lease(&world).await?);
    ensure!(world.runner.overlaps().is_empty(), "{:?}", world.runner.overlaps());
    Ok(())
}
