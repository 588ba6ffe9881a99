//! What people do by hand, and what comes of it. Each can be asked again when the API server gave no answer.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use api::porter::{AgentAction, AgentConfig, Installation, RETRY};
use api::{BundleRelease, FORCE_AT, REQUESTED_AT};
use e2e::eventually;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Ground, PATIENCE, REPOSITORY};

/// How long the operator has before it is asked to look at an AgentConfig again.
const LOOK: Duration = Duration::from_secs(2);

impl Ground {
    /// Applies an AgentConfig, and waits until it is ready. The real operator mostly loses a change of one that was, and looks
    /// again only when it is asked to.
    pub(crate) async fn agent(&self, name: &str, spec: Value) -> Result<()> {
        let config = json!({
            "apiVersion": "getporter.org/v1", "kind": "AgentConfig",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        });
        let configs = Api::<AgentConfig>::namespaced(self.client.clone(), &self.namespace);
        configs.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&config)).await?;
        eventually(PATIENCE, &format!("AgentConfig {name} to be ready"), || async {
            let config = serde_json::to_value(configs.get(name).await?)?;
            let taken_in = config["status"]["observedGeneration"] == config["metadata"]["generation"];
            if taken_in && config["status"]["ready"] == true {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
            let again = json!({"metadata": {"annotations": {RETRY: Timestamp::now().to_string()}}});
            configs.patch(name, &PatchParams::default(), &Patch::Merge(&again)).await?;
            bail!("{config}")
        })
        .await
    }

    /// Deletes an AgentConfig, and waits until it is gone.
    pub(crate) async fn without_agent(&self, name: &str) -> Result<()> {
        let configs = Api::<AgentConfig>::namespaced(self.client.clone(), &self.namespace);
        configs.delete(name, &DeleteParams::default()).await?;
        eventually(PATIENCE, &format!("AgentConfig {name} to be gone"), || async {
            if configs.get_opt(name).await?.is_none() { Ok(()) } else { bail!("it stands") }
        })
        .await
    }

    /// Edits a sync.
    pub(crate) async fn edit_sync(&self, name: &str, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.syncs().patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Edits an Installation.
    pub(crate) async fn edit(&self, name: &str, patch: Value) -> Result<()> {
        self.installations().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Asks on the sync that all run again.
    pub(crate) async fn force_all(&self, sync: &str, at: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {REQUESTED_AT: at, FORCE_AT: at}}}));
        self.syncs().patch(sync, &PatchParams::default(), &patch).await?;
        eventually(PATIENCE, "lastHandledForceAt", || async {
            let handled = self.sync_object(sync).await?.status.and_then(|status| status.last_handled_force_at);
            ensure!(handled.as_deref() == Some(at), "{handled:?}");
            Ok(())
        })
        .await
    }

    /// Asks on the release that it runs again.
    pub(crate) async fn force(&self, name: &str, at: &str) -> Result<()> {
        let release = self.release(name).await?.name_any();
        let patch = Patch::Merge(json!({"metadata": {"annotations": {FORCE_AT: at}}}));
        let releases = Api::<BundleRelease>::namespaced(self.client.clone(), &self.namespace);
        releases.patch(&release, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Waits until what was asked by hand has run.
    pub(crate) async fn forced(&self, name: &str, at: &str) -> Result<()> {
        eventually(PATIENCE, &format!("the run of {name} that was asked for by hand"), || async {
            let force = self.release(name).await?.status.and_then(|status| status.force).unwrap_or_default();
            ensure!(force.due.is_none(), "{force:?}; ran {:?}", self.ran());
            ensure!([force.at.as_deref(), force.sync_at.as_deref()].contains(&Some(at)), "{force:?}");
            Ok(())
        })
        .await
    }

    /// Waits until so many bundle actions have begun, deletes the AgentAction of ours that the last of them is of, and waits
    /// until it is gone with its Job, as which its agent ran. The bundle runs on: its Job is nobody's.
    pub(crate) async fn lose_ours(&self, begun: usize) -> Result<()> {
        let actions = Api::<AgentAction>::namespaced(self.client.clone(), &self.namespace);
        let jobs = Api::<Job>::namespaced(self.client.clone(), &self.namespace);
        let ours = eventually(PATIENCE, "an AgentAction of ours to run", || async {
            ensure!(self.ran().len() == begun, "{:?}", self.ran());
            let list = actions.list(&ListParams::default().labels(api::RELEASE_LABEL)).await?.items;
            let [ours] = &list[..] else { bail!("{:?}", list.iter().map(ResourceExt::name_any).collect::<Vec<_>>()) };
            Ok(ours.name_any())
        })
        .await?;
        actions.delete(&ours, &DeleteParams::default()).await?;
        let agents =
            ListParams::default().labels(&format!("getporter.org/jobType=porter-agent,{}", api::RELEASE_LABEL));
        eventually(PATIENCE, "the agent of ours to be gone", || async {
            let left = jobs.list(&agents).await?.items;
            ensure!(left.is_empty(), "{:?}", left.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
            Ok(())
        })
        .await
    }

    /// Deletes a sync, and waits until it is gone.
    pub(crate) async fn delete_sync(&self, name: &str) -> Result<()> {
        let syncs = self.syncs();
        eventually(PATIENCE, &format!("the sync {name} to be gone"), || async {
            match syncs.get_opt(name).await? {
                None => Ok(()),
                Some(sync) if sync.metadata.deletion_timestamp.is_none() => {
                    syncs.delete(name, &DeleteParams::default()).await?;
                    bail!("it was deleted just now")
                }
                Some(sync) => bail!("{:?}; ran {:?}; {:?}", sync.ready(), self.ran(), self.left().await?),
            }
        })
        .await
    }

    /// Makes a Secret, or has it hold this.
    pub(crate) async fn hold_secret(&self, name: &str, data: Value) -> Result<()> {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        secrets.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await?;
        Ok(())
    }

    /// Somebody's Installation, with these labels, once it has run.
    pub(crate) async fn theirs(&self, name: &str, labels: Value) -> Result<()> {
        let object = json!({
            "apiVersion": "getporter.org/v1", "kind": "Installation", "metadata": {"name": name, "labels": labels},
            "spec": {"schemaVersion": "1.0.2", "name": name, "namespace": self.namespace,
                "bundle": {"repository": REPOSITORY, "version": "0.1.0"}, "parameters": {"size": 1, "extra": true}},
        });
        self.installations().patch(name, &PatchParams::apply("somebody"), &Patch::Apply(&object)).await?;
        let installed = format!("install {name}");
        eventually(PATIENCE, &format!("{name} of somebody to be installed"), || async {
            if self.ran().contains(&installed) { Ok(()) } else { bail!("{:?}", self.ran()) }
        })
        .await
    }

    /// The Installations, each as `object: name in Porter`.
    pub(crate) async fn objects(&self) -> Result<Vec<String>> {
        let list = self.installations().list(&ListParams::default()).await?;
        let told = |object: Installation| format!("{}: {}", object.metadata.name.unwrap_or_default(), object.spec.name);
        Ok(list.items.into_iter().map(told).collect())
    }

    /// How many bundle actions were on at once, at most, of all but the first so many.
    pub(crate) fn most_at_once(&self, but: usize) -> usize {
        let all: Vec<_> = self.runner.executions().into_iter().skip(but).collect();
        let on = |at: jiff::Timestamp| {
            all.iter().filter(|run| run.started <= at && run.finished.is_none_or(|finished| at < finished)).count()
        };
        all.iter().map(|run| on(run.started)).max().unwrap_or_default()
    }
}
