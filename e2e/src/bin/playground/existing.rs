//! The controller on this machine, everything else in a cluster that has Flux and Porter's operator.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::porter::AgentConfig;
use e2e::process::{Program, tail};
use e2e::{apply, binaries, eventually, free_ports, install_crds, read_manifests};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::{Arguments, show, stay};

const NAME: &str = "porter-flux-playground";

/// What the cluster has to have, and where it comes from.
const REQUIRED: [(&str, &str); 2] = [
    ("gitrepositories.source.toolkit.fluxcd.io", "install Flux: https://fluxcd.io/flux/installation/"),
    ("installations.getporter.org", "install Porter's operator: https://porter.sh/docs/operator/install/"),
];

pub(crate) async fn run(kubeconfig: &Path, url: &str, arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let file = Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot use {}", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    show::step(started, &format!("cluster {}", config.cluster_url));
    let client = Client::try_from(config)?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (name, remedy) in REQUIRED {
        if definitions.get_opt(name).await.context("cannot read CRDs")?.is_none() {
            bail!("the cluster has no CRD {name}: {remedy}");
        }
    }
    show::step(started, "applying manifests/crd");
    let mut ours = read_manifests(&binaries::workspace().join("manifests/crd"))?;
    ours.retain(|object| object.get("kind").and_then(Value::as_str) == Some("CustomResourceDefinition"));
    install_crds(&client, ours).await?;

    let logs = tempfile::Builder::new().prefix("porter-flux-playground-").tempdir()?;
    let [storage, health] = free_ports().await?;
    show::step(started, "forwarding a port to source-controller, with kubectl");
    let forward_log = logs.path().join("port-forward.log");
    let mut forward = Program::new("kubectl port-forward", Path::new("kubectl"), &forward_log)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--namespace=flux-system", "port-forward", "service/source-controller", &format!("{storage}:80")])
        .start()?;
    let controller_log = logs.path().join("porter-flux-controller.log");
    let binary = binaries::workspace_binary("porter-flux-controller")?;
    let mut controller = Program::new("porter-flux-controller", &binary, &controller_log)
        .args(["--metrics-addr=0", "--watch-all-namespaces=false", &format!("--health-addr=127.0.0.1:{health}")])
        .env("KUBECONFIG", kubeconfig)
        .env("RUNTIME_NAMESPACE", &arguments.namespace)
        .env("SOURCE_CONTROLLER_LOCALHOST", format!("127.0.0.1:{storage}"))
        .start()?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let up = eventually(Duration::from_secs(60), "the port-forward and the controller to be ready", || {
        let ended = forward.check().and_then(|()| controller.check()).err();
        let http = http.clone();
        async move {
            if ended.is_some() {
                return Ok(ended);
            }
            tokio::net::TcpStream::connect(("127.0.0.1", storage)).await?;
            http.get(format!("http://127.0.0.1:{health}/readyz")).send().await?.error_for_status()?;
            Ok::<_, anyhow::Error>(None)
        }
    });
    if let Some(ended) = up.await? {
        return Err(ended);
    }

    let namespace = &arguments.namespace;
    show::step(started, &format!("applying a GitRepository and a BundleSync {NAME} in the namespace {namespace}"));
    apply(&client, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await?;
    add_agent_config(&client, namespace, started).await?;
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"interval": "30s", "url": url, "ref": {"branch": arguments.git_branch}},
    });
    apply(&client, source).await?;
    apply(&client, bundle_sync(namespace, &arguments.path)).await?;
    let outcome = show::until_ready(&client, namespace, NAME, None, started).await;
    if outcome.is_err() {
        eprintln!("the end of the controller's log:\n{}", tail(&controller_log, 20));
    }
    outcome?;
    show::objects(&client, namespace).await?;
    println!("The logs are in {}. What was applied stays in the cluster.", logs.path().display());
    println!("To stop syncing, while this runs (without a controller nobody takes the finalizer off):");
    println!("  kubectl -n {namespace} delete bundlesync,gitrepository {NAME}");
    println!("That uninstalls nothing: the installations stay.");
    stay(arguments.once).await
}

/// Its deletion leaves the installations alone: who tries this out in a cluster that is used loses nothing.
fn bundle_sync(namespace: &str, path: &str) -> Value {
    json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
        "kind": "BundleSync",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "interval": "5m",
            "prune": true,
            "deletionPolicy": "Orphan",
            "path": path,
            "sourceRef": {"kind": "GitRepository", "name": NAME},
        },
    })
}

/// Without an AgentConfig no run of the operator begins.
async fn add_agent_config(client: &Client, namespace: &str, started: Instant) -> Result<()> {
    let configs: Api<AgentConfig> = Api::namespaced(client.clone(), namespace);
    if configs.get_opt("default").await?.is_some() {
        return Ok(());
    }
    show::step(started, &format!("applying an AgentConfig default in the namespace {namespace}, which has none"));
    let config = json!({
        "apiVersion": format!("{}/{}", api::porter::GROUP, api::porter::VERSION),
        "kind": "AgentConfig",
        "metadata": {"name": "default", "namespace": namespace},
        "spec": {},
    });
    apply(client, config).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use api::{BundleSync, DeletionPolicy};

    use super::*;

    #[test]
    fn who_stops_syncing_keeps_the_installations() {
        let sync: BundleSync = serde_json::from_value(bundle_sync("demo", "./")).unwrap();
        assert_eq!(sync.spec.deletion_policy, DeletionPolicy::Orphan);
    }
}
