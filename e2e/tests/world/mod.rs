//! One test's world: the ground, which is a namespace with an AgentConfig, operator and runner simulations of its own and a
//! repository, and a controller that watches the namespace; and what tests ask of it.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

pub(crate) mod archive;
pub(crate) mod documents;
mod flux;
mod hands;
mod runs;

use std::ops::Deref;

use anyhow::{Context, Result, bail, ensure};
use api::porter::{AgentAction, Installation};
use api::source::Artifact;
use api::{BundleRelease, BundleSync, Condition};
pub(crate) use e2e::PATIENCE;
use e2e::{ControllerOptions, ControllerProcess, Environment, GitRepository, User, eventually};
pub(crate) use flux::{HELM_RELEASE, KUSTOMIZATION, ready};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
pub(crate) use runs::QUIET;
use serde_json::{Value, json};
use simulated_runner::Runner;
use tokio_util::sync::CancellationToken;

/// The bundle of [`installation`].
pub(crate) const REPOSITORY: &str = "example.test/mysql";

pub(crate) struct World {
    pub(crate) controller: ControllerProcess,
    ground: Ground,
}

/// A world without a controller.
pub(crate) struct Ground {
    pub(crate) environment: &'static Environment,
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) runner: Runner,
    pub(crate) repository: GitRepository,
    stop: CancellationToken,
}

impl Deref for World {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A Porter document; its namespace is filled in.
pub(crate) fn installation(name: &str, version: &str, size: u32) -> String {
    format!(
        "schemaType: Installation\nschemaVersion: 1.0.2\nname: {name}\nbundle:\n  repository: {REPOSITORY}\n  version: {version}\nparameters:\n  size: {size}\n"
    )
}

impl World {
    pub(crate) async fn start(prefix: &str) -> Result<Self> {
        Self::with(prefix, &[]).await
    }

    pub(crate) async fn with(prefix: &str, arguments: &[&str]) -> Result<Self> {
        let ground = Ground::new(prefix).await?;
        let mut options = ControllerOptions::watching(&ground.namespace);
        options.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let controller = ground.environment.controller(options).await?;
        Ok(Self { controller, ground })
    }

    /// How often the sync was reconciled, by the controller's own metrics.
    pub(crate) async fn reconciles(&self, sync: &str) -> Result<u64> {
        let metrics = self.controller.metrics().await?;
        let labels = format!("name=\"{sync}\",namespace=\"{}\"", self.namespace);
        let line = metrics
            .lines()
            .find(|line| line.starts_with("gotk_reconcile_duration_seconds_count") && line.contains(&labels))
            .context("no such series")?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    }

    /// SIGKILL, and a new start.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.controller.kill()?;
        self.controller.restart().await
    }
}

impl Ground {
    pub(crate) async fn new(prefix: &str) -> Result<Self> {
        let environment = Environment::shared().await;
        environment.operator().await?;
        let namespace = environment.namespace(prefix).await?;
        let client = environment.client(User::Test).await?;
        let stop = CancellationToken::new();
        let options =
            simulated_runner::Options { namespace: Some(namespace.clone()), ..simulated_runner::Options::default() };
        let runner = Runner::start(environment.client(User::Runner).await?, options, stop.clone());
        let config = json!({
            "apiVersion": "getporter.org/v1",
            "kind": "AgentConfig",
            "metadata": {"name": "default", "namespace": namespace},
            "spec": {"retryLimit": 0, "ttlSecondsAfterFinished": 2_147_483_647},
        });
        let configs = e2e::dynamic(client.clone(), &namespace, "getporter.org", "v1", "AgentConfig");
        configs.patch("default", &PatchParams::apply("test"), &Patch::Apply(&config)).await?;
        let repository = environment.git().create(&namespace).await?;
        Ok(Self { environment, namespace, client, runner, repository, stop })
    }

    pub(crate) async fn push<P: AsRef<str>>(&self, message: &str, files: &[(P, String)]) -> Result<String> {
        let commit = self.repository.commit(message);
        files.iter().fold(commit, |commit, (path, content)| commit.write(path.as_ref(), content.clone())).push().await
    }

    pub(crate) async fn remove(&self, message: &str, paths: &[&str]) -> Result<String> {
        let commit = self.repository.commit(message);
        paths.iter().fold(commit, |commit, path| commit.remove(path)).push().await
    }

    /// A first commit, a source on it, and the BundleSync `apps` of that source; `spec` as for [`Self::sync`].
    pub(crate) async fn begin<P: AsRef<str>>(&self, spec: Value, files: &[(P, String)]) -> Result<String> {
        let commit = self.push("first", files).await?;
        self.source().await?;
        self.sync("apps", spec).await?;
        Ok(commit)
    }

    /// A commit that source-controller sees.
    pub(crate) async fn commit<P: AsRef<str>>(&self, message: &str, files: &[(P, String)]) -> Result<String> {
        let commit = self.push(message, files).await?;
        self.refresh(&commit).await?;
        Ok(commit)
    }

    /// A commit that takes files away, and that source-controller sees.
    pub(crate) async fn commit_without(&self, message: &str, paths: &[&str]) -> Result<String> {
        let commit = self.remove(message, paths).await?;
        self.refresh(&commit).await?;
        Ok(commit)
    }

    /// A GitRepository `fleet` on the repository.
    pub(crate) async fn source(&self) -> Result<()> {
        self.environment.git_repository(&self.namespace, "fleet", self.repository.url()).await
    }

    /// Lets source-controller see a commit.
    pub(crate) async fn refresh(&self, commit: &str) -> Result<()> {
        self.environment.reconcile_git_repository(&self.namespace, "fleet", commit).await
    }

    /// The API of a Flux source kind.
    pub(crate) fn sources(&self, kind: &str) -> Api<DynamicObject> {
        e2e::dynamic(self.client.clone(), &self.namespace, "source.toolkit.fluxcd.io", "v1", kind)
    }

    /// Applies a source, without a status.
    pub(crate) async fn source_of(&self, kind: &str, name: &str, spec: Value) -> Result<()> {
        let object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        });
        self.sources(kind).patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
        Ok(())
    }

    /// Writes the artifact of a source that no controller looks after, as who serves it would.
    pub(crate) async fn serve(&self, kind: &str, name: &str, artifact: &Artifact) -> Result<()> {
        let status = json!({"status": {"artifact": artifact}});
        self.sources(kind).patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await?;
        Ok(())
    }

    /// A BundleSync on `fleet`; `spec` says what differs from the path `apps`, and what a test wants of the others.
    pub(crate) async fn sync(&self, name: &str, spec: Value) -> Result<()> {
        let mut whole = json!({"path": "apps", "sourceRef": {"kind": "GitRepository", "name": "fleet"}, "interval": "10m", "retryInterval": "2s", "timeout": "2m", "prune": false, "retry": {"limit": 0}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        let object = json!({
            "apiVersion": "flux.getporter.org/v1alpha1",
            "kind": "BundleSync",
            "metadata": {"name": name},
            "spec": whole,
        });
        self.syncs()
            .patch(name, &PatchParams::apply("test").force().validation_strict(), &Patch::Apply(&object))
            .await?;
        Ok(())
    }

    pub(crate) async fn annotate(&self, sync: &str, key: &str, value: &str) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        self.syncs().patch(sync, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    pub(crate) async fn sync_object(&self, name: &str) -> Result<BundleSync> {
        Ok(self.syncs().get(name).await?)
    }

    pub(crate) async fn installation(&self, name: &str) -> Result<Installation> {
        Ok(self.installations().get(name).await?)
    }

    pub(crate) fn installations(&self) -> Api<Installation> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn delete_installation(&self, name: &str) -> Result<()> {
        self.installations().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The release of the installation with this Porter name.
    pub(crate) async fn release(&self, name: &str) -> Result<BundleRelease> {
        let releases = Api::<BundleRelease>::namespaced(self.client.clone(), &self.namespace);
        let list = releases.list(&ListParams::default()).await?;
        list.items
            .into_iter()
            .find(|r| r.spec.installation.name == name)
            .with_context(|| format!("no release of {name}"))
    }

    /// Waits for `Ready=True` with the revision of a commit on main.
    pub(crate) async fn ready_at(&self, sync: &str, commit: &str) -> Result<()> {
        self.ready_with(sync, &format!("Applied revision: main@sha1:{commit}")).await
    }

    pub(crate) async fn ready_with(&self, sync: &str, message: &str) -> Result<()> {
        self.condition(sync, &format!("Ready=True {message}"), |ready| {
            ready.status == "True" && ready.message == message
        })
        .await
        .map(drop)
    }

    /// Waits for `Ready=False` with a reason, and a message that holds `part`; gives the message.
    pub(crate) async fn not_ready(&self, sync: &str, reason: &str, part: &str) -> Result<String> {
        self.condition(sync, &format!("Ready=False {reason} ...{part}..."), |ready| {
            ready.status == "False" && ready.reason == reason && ready.message.contains(part)
        })
        .await
    }

    /// Waits for a Ready condition whose message holds `part`.
    pub(crate) async fn message_contains(&self, sync: &str, part: &str) -> Result<()> {
        self.condition(sync, &format!("a message with {part}"), |ready| ready.message.contains(part)).await.map(drop)
    }

    /// Gives the message of the Ready condition that was waited for.
    async fn condition(&self, sync: &str, what: &str, holds: impl Fn(&Condition) -> bool) -> Result<String> {
        eventually(PATIENCE, &format!("BundleSync {sync}: {what}"), || async {
            let object = self.sync_object(sync).await?;
            match object.ready() {
                Some(ready) if holds(ready) => Ok(ready.message.clone()),
                ready => bail!("{ready:?}; ran {:?}", self.ran()),
            }
        })
        .await
    }

    /// Waits until an event tells of a commit on main. That is the last request of a reconcile: what it wrote before is in
    /// the audit log.
    pub(crate) async fn event_at(&self, commit: &str) -> Result<()> {
        let message = format!("Applied revision: main@sha1:{commit}");
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        eventually(PATIENCE, &format!("the event {message:?}"), || async {
            let events = events.list(&ListParams::default()).await?.items;
            match events.iter().any(|event| event.message.as_ref() == Some(&message)) {
                true => Ok(()),
                false => bail!("{:?}", events.iter().map(|event| &event.message).collect::<Vec<_>>()),
            }
        })
        .await
    }

    /// The events that are there, each as `type reason message`.
    pub(crate) async fn events(&self) -> Result<Vec<String>> {
        let events =
            Api::<Event>::namespaced(self.client.clone(), &self.namespace).list(&ListParams::default()).await?;
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let told = |event: &Event| [part(&event.type_), part(&event.reason), part(&event.message)].join(" ");
        Ok(events.items.iter().map(told).collect())
    }

    /// What the controller asked to write in the namespace, each as `patch bundlesyncs/NAME/status`.
    pub(crate) fn writes(&self, since: Timestamp) -> Result<Vec<String>> {
        let events = self.environment.audit(User::Controller, since)?;
        let ours = events.iter().filter(|event| event.is_write() && event.object().namespace == self.namespace);
        let told = ours.map(|event| {
            let object = event.object();
            let parts = [object.resource, object.name, object.subresource];
            format!("{} {}", event.verb, parts.join("/").trim_end_matches('/'))
        });
        Ok(told.collect())
    }

    /// The bundle actions that were begun, in order: `install mysql`.
    pub(crate) fn ran(&self) -> Vec<String> {
        let executions = self.runner.executions();
        executions.iter().map(|execution| format!("{} {}", execution.action, execution.installation.1)).collect()
    }

    /// Fails unless these bundle actions were begun, in this order, and no two of one installation at once.
    pub(crate) fn ran_only(&self, actions: &[&str]) -> Result<()> {
        ensure!(self.ran() == actions, "{:?}", self.ran());
        self.none_overlap()
    }

    /// Fails when an AgentAction of ours stands.
    pub(crate) async fn no_action_is_left(&self) -> Result<()> {
        let actions = Api::<AgentAction>::namespaced(self.client.clone(), &self.namespace);
        let ours = actions.list(&ListParams::default().labels(api::RELEASE_LABEL)).await?.items;
        ensure!(ours.is_empty(), "{:?}", ours.iter().map(|action| &action.metadata.name).collect::<Vec<_>>());
        Ok(())
    }

    pub(crate) fn syncs(&self) -> Api<BundleSync> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}
