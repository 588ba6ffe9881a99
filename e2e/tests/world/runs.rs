//! What ran of installations, what is left of them, and that nothing more happens.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use api::porter::{AgentAction, Installation, label};
use api::{BundleRelease, REQUESTED_AT};
use e2e::eventually;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::documents::config_map;
use super::{Ground, PATIENCE, World};

/// Longer than what is to be seen not to happen takes.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

impl World {
    /// Waits until the sync was reconciled so many times more, by itself.
    pub(crate) async fn reconciled_again(&self, sync: &str, times: u64) -> Result<()> {
        let before = self.reconciles(sync).await?;
        eventually(PATIENCE, &format!("{times} more reconciles"), || async {
            let now = self.reconciles(sync).await?;
            if now >= before + times { Ok(()) } else { bail!("{now} after {before}") }
        })
        .await
    }
}

impl Ground {
    /// A sync `apps` that prunes, with these files and a ConfigMap `notes`, so that something is left when they are gone;
    /// `spec` as for [`Self::sync`].
    pub(crate) async fn pruning(&self, spec: Value, files: &[(&str, String)]) -> Result<String> {
        let mut all = vec![("apps/notes.yaml", config_map("notes"))];
        all.extend(files.iter().cloned());
        let mut whole = json!({"prune": true});
        for (key, value) in spec.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        self.begin(whole, &all).await
    }

    /// Waits until so many bundle actions have begun.
    pub(crate) async fn begun(&self, count: usize) -> Result<()> {
        eventually(PATIENCE, &format!("{count} bundle actions"), || async {
            if self.ran().len() >= count { Ok(()) } else { bail!("{:?}; {:?}", self.ran(), self.left().await?) }
        })
        .await
    }

    /// Fails unless these bundle actions were begun, in any order, and no two of one installation at once.
    pub(crate) fn ran_in_any_order(&self, actions: &[&str]) -> Result<()> {
        let (mut ran, mut expected) = (self.ran(), actions.to_vec());
        ran.sort();
        expected.sort_unstable();
        ensure!(ran == expected, "{:?}", self.ran());
        self.none_overlap()
    }

    /// Fails when two bundle actions of one installation were on at once.
    pub(crate) fn none_overlap(&self) -> Result<()> {
        ensure!(self.runner.overlaps().is_empty(), "{:?}", self.runner.overlaps());
        Ok(())
    }

    /// The commands of Porter that were begun; the namespace of the test is `NS`.
    pub(crate) fn commands(&self) -> Vec<String> {
        let commands = self.runner.commands();
        commands.iter().map(|command| command.arguments.join(" ").replace(&self.namespace, "NS")).collect()
    }

    /// What the bundle was given last under the name of a parameter.
    pub(crate) fn last_parameter(&self, name: &str) -> Value {
        let last = self.runner.executions().pop();
        last.and_then(|execution| execution.parameters.get(name).cloned()).unwrap_or_default()
    }

    /// Asks the controller to look at a sync, and waits until it has.
    pub(crate) async fn looked_at(&self, sync: &str) -> Result<()> {
        let now = jiff::Timestamp::now().to_string();
        self.annotate(sync, REQUESTED_AT, &now).await?;
        eventually(PATIENCE, "the request to be handled", || async {
            let handled = self.sync_object(sync).await?.status.and_then(|status| status.last_handled_reconcile_at);
            if handled.as_ref() == Some(&now) { Ok(()) } else { bail!("{handled:?}") }
        })
        .await
    }

    /// Fails when anything but these bundle actions was begun, now or once the controller has looked at the sync and whoever
    /// runs what it wrote has had the time.
    pub(crate) async fn stays_at(&self, sync: &str, ran: &[&str]) -> Result<()> {
        self.looked_at(sync).await?;
        tokio::time::sleep(QUIET).await;
        self.ran_only(ran)
    }

    /// The Installations, releases and AgentActions of installations that stand.
    pub(crate) async fn left(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let all = ListParams::default();
        let installations = Api::<Installation>::namespaced(self.client.clone(), &self.namespace).list(&all).await?;
        names.extend(installations.items.into_iter().filter_map(|object| object.metadata.name));
        let releases = Api::<BundleRelease>::namespaced(self.client.clone(), &self.namespace).list(&all).await?;
        names.extend(releases.items.into_iter().map(|release| {
            format!("release of {} {:?}", release.spec.installation.name, release.status.and_then(|s| s.state))
        }));
        let actions = Api::<AgentAction>::namespaced(self.client.clone(), &self.namespace).list(&all).await?;
        names.extend(actions.items.into_iter().filter_map(|action| {
            let labels = action.metadata.labels.unwrap_or_default();
            let kind = labels.get(label::RESOURCE_KIND).map(String::as_str).unwrap_or("Installation");
            (kind == "Installation").then(|| action.metadata.name.unwrap_or_default())
        }));
        Ok(names)
    }

    /// Waits until nothing of any installation is left.
    pub(crate) async fn gone(&self) -> Result<()> {
        eventually(PATIENCE, "everything to be gone", || async {
            let left = self.left().await?;
            let ready = self.sync_object("apps").await.ok().and_then(|sync| sync.ready().cloned());
            if left.is_empty() { Ok(()) } else { bail!("{left:?}; ran {:?}; {ready:?}", self.ran()) }
        })
        .await
    }

    /// Fails unless nothing of any installation is left, neither in the cluster nor, for all that it knows, in Porter.
    pub(crate) async fn nothing_is_left(&self) -> Result<()> {
        let (left, records) = (self.left().await?, self.runner.records());
        ensure!(left.is_empty() && records.is_empty(), "{left:?} {records:?}");
        Ok(())
    }
}
