//! Many BundleSyncs on one GitRepository, without an operator: what a first sync, a change and a commit that concerns
//! nobody cost, in downloads, API requests, CPU seconds and time.
//!
//! Requests are counted in the API server's audit log, watches and the lists that begin them left out. The limits are
//! those that the project set itself; kustomize-controller v1.9.3, measured the same way at 1,000, is printed beside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::BundleSync;
use api::porter::AgentConfig;
use clap::Parser;
use e2e::{ControllerOptions, ControllerProcess, Environment, GitRepository, User, eventually};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

/// Measures the controller with growing numbers of BundleSyncs.
#[derive(Parser)]
struct Args {
    /// How many BundleSyncs, one measurement each; the last decides.
    #[arg(long, value_delimiter = ',', default_value = "250,1000")]
    counts: Vec<usize>,
}

/// What one step of a measurement took.
struct Cost {
    requests: f64,
    downloads: u64,
    cpu: f64,
    wall: Duration,
}

/// The limits for 1,000, and what kustomize-controller took.
struct Limit {
    step: &'static str,
    requests: f64,
    peer_requests: f64,
}

const LIMITS: [Limit; 3] = [
    Limit { step: "first sync", requests: 6.0, peer_requests: 14.0 },
    Limit { step: "every Installation changed", requests: 4.0, peer_requests: 13.0 },
    Limit { step: "nothing of its own changed", requests: 1.0, peer_requests: 11.0 },
];
/// CPU seconds for the first sync of 1,000.
const CPU_LIMIT: f64 = 8.0;
/// A cost is linear when one sync of the largest number costs at most this many times one of the smallest.
const LINEAR: f64 = 1.5;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let environment = Environment::start().await?;
    let mut missed = Vec::new();
    let mut cpu_each = Vec::new();
    println!(
        "| syncs | step | requests a sync | limit | kustomize-controller | downloads | CPU s | CPU ms a sync | wall s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for &count in &args.counts {
        let (costs, resident) = measure(&environment, count).await?;
        for (limit, cost) in LIMITS.iter().zip(&costs) {
            println!(
                "| {count} | {} | {:.2} | {} | {} | {} | {:.2} | {:.2} | {:.1} |",
                limit.step,
                cost.requests,
                limit.requests,
                limit.peer_requests,
                cost.downloads,
                cost.cpu,
                cost.cpu * 1000.0 / count as f64,
                cost.wall.as_secs_f64()
            );
            // A stray retry among thousands is no other cost.
            if cost.requests > limit.requests * 1.01 {
                missed.push(format!("{count}, {}: {:.2} requests a sync", limit.step, cost.requests));
            }
            if cost.downloads != 1 {
                missed.push(format!("{count}, {}: {} downloads", limit.step, cost.downloads));
            }
        }
        let first = costs.first().context("no step was measured")?;
        cpu_each.push(first.cpu / count as f64);
        println!(
            "| {count} | resident memory | {:.0} MiB | | 177 MiB at 1,000 | | | | |",
            resident / f64::from(1 << 20)
        );
        if count == 1000 && first.cpu > CPU_LIMIT {
            missed.push(format!("{:.1} CPU seconds for the first sync of 1,000, the limit is {CPU_LIMIT}", first.cpu));
        }
    }
    if let (Some(small), Some(large)) = (cpu_each.first(), cpu_each.last())
        && cpu_each.len() > 1
    {
        let ratio = large / small;
        println!("\nCPU of one first sync, largest number to smallest: {ratio:.2} (limit {LINEAR})");
        if ratio > LINEAR {
            missed.push(format!("the cost of a sync grows with their number: {ratio:.2} times"));
        }
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

async fn measure(environment: &Environment, count: usize) -> Result<(Vec<Cost>, f64)> {
    let namespace = environment.namespace("scale").await?;
    let repository = environment.git().create(&namespace).await?;
    let first = push(&repository, "first", count, 1).await?;
    environment.git_repository(&namespace, "fleet", repository.url()).await?;
    environment.reconcile_git_repository(&namespace, "fleet", &first).await?;

    let client = environment.client(User::Test).await?;
    for name in ["default", api::AGENT_CONFIG] {
        ready_agent(&client, &namespace, name).await?;
    }
    let syncs: Api<BundleSync> = Api::namespaced(client, &namespace);
    stream::iter(0..count).map(|index| create(&syncs, index)).buffer_unordered(16).try_collect::<Vec<()>>().await?;

    let since = Timestamp::now();
    let started = Instant::now();
    let controller = environment.controller(ControllerOptions::watching(&namespace)).await?;
    wait(&syncs, count, &first).await?;
    let mut costs = vec![cost(environment, &controller, &namespace, since, started, count, (0.0, 0)).await?];
    let step = async |commit: String| {
        let before = counters(&controller).await?;
        let (since, started) = (Timestamp::now(), Instant::now());
        environment.reconcile_git_repository(&namespace, "fleet", &commit).await?;
        wait(&syncs, count, &commit).await?;
        cost(environment, &controller, &namespace, since, started, count, before).await
    };
    costs.push(step(push(&repository, "changed", count, 2).await?).await?);
    costs.push(step(repository.commit("untouched").write("README.md", "nobody's").push().await?).await?);
    let resident = metric(&controller.metrics().await?, "process_resident_memory_bytes")?;
    Ok((costs, resident))
}

/// An AgentConfig as an operator that has taken it in leaves it: there is none here.
async fn ready_agent(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let configs: Api<AgentConfig> = Api::namespaced(client.clone(), namespace);
    let (version, parameters) = ("getporter.org/v1", PatchParams::apply("bench"));
    let spec = json!({"retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX});
    let config = json!({"apiVersion": version, "kind": "AgentConfig", "metadata": {"name": name}, "spec": spec});
    let stands = configs.patch(name, &parameters, &Patch::Apply(&config)).await?;
    let status = json!({"ready": true, "observedGeneration": stands.metadata.generation});
    let config = json!({"apiVersion": version, "kind": "AgentConfig", "metadata": {"name": name}, "status": status});
    configs.patch_status(name, &parameters, &Patch::Apply(&config)).await?;
    Ok(())
}

async fn push(repository: &GitRepository, message: &str, count: usize, size: u32) -> Result<String> {
    let mut commit = repository.commit(message);
    for index in 0..count {
        let document = format!(
            "apiVersion: getporter.org/v1\nkind: Installation\nmetadata:\n  name: app-{index:04}\nspec:\n  schemaVersion: 1.0.2\n  bundle:\n    repository: example.test/mysql\n    version: 0.1.0\n  parameters:\n    size: {size}\n"
        );
        commit = commit.write(&format!("apps/{index:04}/installation.yaml"), document);
    }
    commit.push().await
}

async fn create(syncs: &Api<BundleSync>, index: usize) -> Result<()> {
    let name = format!("sync-{index:04}");
    let object = json!({
        "apiVersion": "flux.getporter.org/v1alpha1",
        "kind": "BundleSync",
        "metadata": {"name": name},
        "spec": {
            "sourceRef": {"kind": "GitRepository", "name": "fleet"},
            "prune": true,
            "path": format!("./apps/{index:04}"),
            "interval": "1h",
            "wait": false,
        },
    });
    syncs.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&object)).await?;
    Ok(())
}

async fn wait(syncs: &Api<BundleSync>, count: usize, commit: &str) -> Result<()> {
    eventually(Duration::from_secs(600), &format!("{count} syncs at {commit}"), || async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let list = syncs.list(&ListParams::default()).await?;
        let done = list.items.iter().filter(|sync| {
            let applied = sync.status.as_ref().and_then(|status| status.last_applied_revision.as_deref());
            applied.is_some_and(|applied| applied.ends_with(commit))
        });
        match done.count() {
            done if done == count => Ok(()),
            done => bail!("{done}"),
        }
    })
    .await
}

async fn cost(
    environment: &Environment,
    controller: &ControllerProcess,
    namespace: &str,
    since: Timestamp,
    started: Instant,
    count: usize,
    before: (f64, u64),
) -> Result<Cost> {
    let wall = started.elapsed();
    // Events follow the status; the audit log follows both.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (cpu, downloads) = counters(controller).await?;
    let events = environment.audit(User::Controller, since)?;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for event in &events {
        let object = event.object();
        if !matches!(event.verb.as_str(), "watch" | "list") && object.namespace == namespace {
            let kind = format!("{} {} {} {}", event.code(), event.verb, object.resource, object.subresource);
            *kinds.entry(kind).or_default() += 1;
        }
    }
    let requests: usize = kinds.values().sum();
    eprintln!("{kinds:?}");
    Ok(Cost { requests: requests as f64 / count as f64, downloads: downloads - before.1, cpu: cpu - before.0, wall })
}

/// CPU seconds and downloads of the controller until now.
async fn counters(controller: &ControllerProcess) -> Result<(f64, u64)> {
    let metrics = controller.metrics().await?;
    Ok((
        metric(&metrics, "process_cpu_seconds_total")?,
        metric(&metrics, "porter_flux_artifact_downloads_total")? as u64,
    ))
}

fn metric(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
    let value = line.and_then(|line| line.rsplit(' ').next()).with_context(|| format!("no metric {name}"))?;
    Ok(value.parse()?)
}
