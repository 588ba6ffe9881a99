//! Flux: source-controller, and the sources that tests need.

use anyhow::{Context, Result, bail};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::cluster::CONTROLLER_NAMESPACE;
use crate::environment::{Environment, free_ports};
use crate::eventually::{PATIENCE, eventually};
use crate::process::{Program, Server};
use crate::user::User;

/// A running source-controller.
#[derive(Debug)]
pub struct SourceController {
    address: String,
    server: Server,
}

impl SourceController {
    pub(crate) async fn start(environment: &Environment) -> Result<Self> {
        let [storage, metrics, health] = free_ports().await?;
        let address = format!("127.0.0.1:{storage}");
        let folder = environment.folder().join("source-controller");
        std::fs::create_dir_all(&folder)?;
        let log = environment.logs().join("source-controller.log");
        let program = Program::new("source-controller", &environment.control_plane().binary("source-controller"), &log)
            .args(["--enable-leader-election=false", "--watch-all-namespaces", "--events-addr="])
            .args([format!("--storage-addr={address}"), format!("--storage-adv-addr={address}")])
            .arg(format!("--storage-path={}", folder.display()))
            .arg(format!("--metrics-addr=127.0.0.1:{metrics}"))
            .arg(format!("--health-addr=127.0.0.1:{health}"))
            .env("KUBECONFIG", environment.kubeconfig(User::SourceController))
            .env("RUNTIME_NAMESPACE", CONTROLLER_NAMESPACE);
        let server = Server::start(program)?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://127.0.0.1:{health}/readyz");
        let up = eventually(PATIENCE, "source-controller to be ready", || async {
            http.get(&url).send().await?.error_for_status()
        });
        if let Err(error) = up.await {
            server.check()?;
            return Err(error);
        }
        Ok(Self { address, server })
    }

    /// Its process, which whoever wants can take away for a time. Tests that share an environment all suffer.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where it serves artifacts: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// The API of a Flux source kind, or of another kind by its group and version.
pub fn dynamic(client: kube::Client, namespace: &str, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client, namespace, &resource)
}

impl Environment {
    /// Applies a `GitRepository` that follows `main` at `url`, and waits until it has an artifact. Starts
    /// source-controller when it does not run yet.
    ///
    /// # Errors
    /// When no artifact comes in time.
    pub async fn git_repository(&self, namespace: &str, name: &str, url: &str) -> Result<()> {
        self.source_controller().await?;
        let spec = json!({"interval": "10m", "url": url, "ref": {"branch": "main"}});
        let api = dynamic(self.client(User::Test).await?, namespace, "source.toolkit.fluxcd.io", "v1", "GitRepository");
        let object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
        eventually(PATIENCE, &format!("an artifact of GitRepository {namespace}/{name}"), || async {
            let object = api.get(name).await?;
            match object.data.pointer("/status/artifact/revision").and_then(Value::as_str) {
                Some(_) => Ok(()),
                None => bail!("status {}", object.data.get("status").unwrap_or(&Value::Null)),
            }
        })
        .await
    }

    /// Asks source-controller to look at the `GitRepository` at once, as `flux reconcile source git` does, and waits
    /// until its artifact is of `commit`.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn reconcile_git_repository(&self, namespace: &str, name: &str, commit: &str) -> Result<()> {
        let api = dynamic(self.client(User::Test).await?, namespace, "source.toolkit.fluxcd.io", "v1", "GitRepository");
        let requested = json!({"metadata": {"annotations": {
            "reconcile.fluxcd.io/requestedAt": jiff::Timestamp::now().to_string(),
        }}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(&requested)).await?;
        eventually(PATIENCE, &format!("GitRepository {namespace}/{name} at {commit}"), || async {
            let object = api.get(name).await?;
            let revision = object.data.pointer("/status/artifact/revision").and_then(Value::as_str);
            let revision = revision.context("no artifact")?;
            if revision.ends_with(commit) { Ok(()) } else { bail!("revision {revision}") }
        })
        .await
    }
}
