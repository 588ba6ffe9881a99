//! Everything on this machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Commit, ControllerOptions, Environment, User, apply, binaries, parse_manifests, simulated_runner};
use serde_json::{Value, json};

use crate::{show, stay};

/// The sample that is shown: what a platform team applies, and what lies in git.
const SAMPLE: &str = "manifests/samples/porter-native";
const NAMESPACE: &str = "demo";
const SYNC: &str = "porter-native";
/// Long enough to be seen.
const ACTION_TIME: Duration = Duration::from_secs(2);

/// The change that is pushed.
const CHANGED: &str = "installation.yaml";
const BEFORE: &str = "version: 0.1.1";
const AFTER: &str = "version: 0.2.0";

pub(crate) async fn run(once: bool) -> Result<()> {
    let started = Instant::now();
    show::step(started, "starting etcd, kube-apiserver, kube-controller-manager and a git server");
    let environment = Environment::start().await?;
    show::step(started, "starting source-controller, the simulated Porter operator, and the controller");
    environment.source_controller().await?;
    environment.operator().await?;
    let _runner = environment.runner(simulated_runner::Options { namespace: None, action_time: ACTION_TIME }).await?;
    let _controller = environment.controller(ControllerOptions::default()).await?;
    // Not the administrator: what is shown is what a person with `kubectl` does.
    let client = environment.client(User::Test).await?;

    let sample = binaries::workspace().join(SAMPLE);
    let repository = environment.git().create("fleet").await?;
    let documents = sample.join("documents");
    let commit = add_folder(repository.commit("Two installations and their sets"), &documents)?.push().await?;
    show::step(started, &format!("git push: {commit}"));
    let cluster = std::fs::read_to_string(sample.join("cluster/sync.yaml"))?;
    for object in parse_manifests(&cluster)? {
        apply(&client, for_this_machine(object, repository.url())).await?;
    }
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "github-token", "namespace": NAMESPACE},
        "stringData": {"value": "not a token"},
    });
    apply(&client, secret).await?;
    show::until_ready(&client, NAMESPACE, SYNC, Some(&commit), started).await?;
    show::objects(&client, NAMESPACE).await?;

    let text = std::fs::read_to_string(documents.join(CHANGED))?;
    anyhow::ensure!(text.contains(BEFORE), "{SAMPLE}/documents/{CHANGED} no longer says {BEFORE:?}");
    let change =
        repository.commit("A newer bundle").write(&format!("documents/{CHANGED}"), text.replace(BEFORE, AFTER));
    let commit = change.push().await?;
    show::step(started, &format!("git push: {commit}, {CHANGED}: {BEFORE} -> {AFTER}"));
    environment.flux(["reconcile", "source", "git", SYNC, "-n", NAMESPACE]).await?;
    show::until_ready(&client, NAMESPACE, SYNC, Some(&commit), started).await?;
    show::objects(&client, NAMESPACE).await?;

    tell(&environment, repository.url());
    stay(once).await
}

fn tell(environment: &Environment, url: &str) {
    let kubeconfig = environment.kubeconfig(User::Admin);
    let flux = environment.control_plane().binary("flux");
    println!("To look around:");
    println!("  export KUBECONFIG={}", kubeconfig.display());
    println!("  kubectl -n {NAMESPACE} get bsync,brel,installations.getporter.org,agentactions.getporter.org");
    println!("  {} -n {NAMESPACE} get sources git", flux.display());
    println!("To change something, clone, commit and push; it is seen within five seconds:");
    println!("  git clone {url}");
    println!("Logs: {}", environment.logs().display());
}

/// The sample names its public repository, and looks once a minute.
fn for_this_machine(mut object: Value, url: &str) -> Value {
    let spec = match object.get("kind").and_then(Value::as_str) {
        Some("GitRepository") => json!({"url": url, "interval": "5s"}),
        Some("BundleSync") => json!({"path": "./documents"}),
        _ => return object,
    };
    if let (Some(old), Some(new)) = (object.get_mut("spec").and_then(Value::as_object_mut), spec.as_object()) {
        old.extend(new.clone());
    }
    object
}

/// Every file of a folder without folders, below a folder of the same name.
fn add_folder<'a>(mut commit: Commit<'a>, folder: &Path) -> Result<Commit<'a>> {
    let below = folder.file_name().unwrap_or_default().to_string_lossy();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        commit = commit.write(&path, std::fs::read(entry.path())?);
    }
    Ok(commit)
}
