//! What the controller knows of the cluster: a mirror a kind. By what each is found is in `index`, whom a change concerns in
//! `watches`.
//!
//! Architecture invariant: it only ever watches, and what a plan is made of comes from here; so a reconcile with nothing to do
//! makes no request. What no watch can stand for is read through the [`crate::writer`], and only where there is something to
//! do or to explain: see the head of the crate. It may not know what is done with what it tells.

mod index;
mod watches;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::dependency::{HelmRelease, Kustomization};
use api::porter::{AgentAction, AgentConfig, CredentialSet, Installation, ParameterSet, PorterConfig};
use api::source::{Artifact, Bucket, ExternalArtifact, GitRepository, OCIRepository, Source};
use api::{BundleRelease, BundleSync, SourceKind, SyncRef};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use manifest::ObjectId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::claims::Claims;
use crate::dependencies::{Awaiting, OnDemand, on_demand};
use crate::managers::{is_shared, keep_others};
use crate::mirror::{IndexFn, Key, Mirror};
use crate::sets::{self, SecretVersion};
use index::{
    action_index, held_group, installation_group, installation_index, job_index, jobs_group, no_index, orphans_group,
    release_group, release_index, resource_group, source_group, sync_index,
};
pub use index::{action_of, source_key};

/// The mirrors.
pub struct Cluster {
    /// What is watched.
    pub scope: Scope,
    /// Which of our syncs are, by their labels; all when empty.
    pub selector: String,
    /// Our syncs, indexed by source.
    pub syncs: Arc<Mirror<BundleSync>>,
    /// Our ledger, indexed by sync, Installation and sets.
    pub releases: Arc<Mirror<BundleRelease>>,
    // Flux's sources.
    /// Those in git.
    pub git_repositories: Arc<Mirror<GitRepository>>,
    /// Those in registries.
    pub oci_repositories: Arc<Mirror<OCIRepository>>,
    /// Those in object stores.
    pub buckets: Arc<Mirror<Bucket>>,
    /// Those that another controller stores.
    pub external_artifacts: Arc<Mirror<ExternalArtifact>>,
    // Porter's kinds.
    /// Indexed by the sets that they name, and by owner.
    pub installations: Arc<Mirror<Installation>>,
    /// Where credentials are.
    pub credential_sets: Arc<Mirror<CredentialSet>>,
    /// Where parameters are.
    pub parameter_sets: Arc<Mirror<ParameterSet>>,
    /// How runs are set up.
    pub agent_configs: Arc<Mirror<AgentConfig>>,
    /// How the Porter of a run is configured.
    pub porter_configs: Arc<Mirror<PorterConfig>>,
    /// Runs, indexed by the object that they are for.
    pub agent_actions: Arc<Mirror<AgentAction>>,
    /// Jobs of the agent and of bundles, indexed by AgentAction, release and owner.
    pub jobs: Arc<Mirror<Job>>,
    /// Those that carry our labels.
    pub config_maps: Arc<Mirror<ConfigMap>>,
    /// Those that carry our labels.
    pub secrets: Arc<Mirror<Secret>>,
    /// Which version each Secret has, and nothing else of it. `None`: nobody follows what sets give from Secrets.
    pub secret_versions: Option<Arc<Mirror<SecretVersion>>>,
    /// What BundleSyncs may depend on.
    pub kustomizations: OnDemand<Kustomization>,
    /// What BundleSyncs may depend on.
    pub helm_releases: OnDemand<HelmRelease>,
    /// Who waits for what it depends on.
    pub awaiting: Awaiting,
    /// What the syncs ask for.
    pub claims: Claims,
}

fn mirror<K: Watched>(index: IndexFn<K>) -> Arc<Mirror<K>> {
    Arc::new(Mirror::new(index, keep_others))
}

/// A mirror, for who has no more of its kind than the name.
pub trait AnyMirror {
    /// An object as JSON.
    ///
    /// # Errors
    /// As for [`Mirror::get`], and when it cannot be written as JSON.
    fn json(&self, key: &Key) -> Result<Option<Value>, String>;

    /// Takes in what the API server answered to an apply.
    fn record(&self, object: Value);

    /// Whether somebody else than we has a part of an object that is wholly ours.
    fn is_shared(&self, key: &Key) -> bool;
}

impl<K: Watched + Serialize> AnyMirror for Mirror<K> {
    fn json(&self, key: &Key) -> Result<Option<Value>, String> {
        let Some(object) = self.get(key)? else { return Ok(None) };
        let value = serde_json::to_value(object.as_ref());
        value.map(Some).map_err(|error| format!("{} {key} cannot be read: {error}", self.kind()))
    }

    fn record(&self, object: Value) {
        record(self, object);
    }

    fn is_shared(&self, key: &Key) -> bool {
        matches!(self.get(key), Ok(Some(object)) if is_shared(object.meta()))
    }
}

fn record<K: Watched>(mirror: &Mirror<K>, object: Value) {
    match serde_json::from_value::<K>(object) {
        Ok(object) => mirror.record_write(object),
        Err(error) => tracing::warn!(kind = mirror.kind(), %error, "answer of the API server cannot be read"),
    }
}

/// What is read of a source.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Its resourceVersion.
    pub version: Option<String>,
    /// The artifact, once there is one.
    pub artifact: Option<Artifact>,
    /// Why the source is not ready, when it says so.
    pub not_ready: Option<String>,
}

impl Cluster {
    /// Empty mirrors; those of Secrets that sets name only when they are followed.
    pub fn new(scope: Scope, selector: &str, follow_secrets: bool) -> Self {
        let (kustomizations, helm_releases) = on_demand();
        Self {
            scope,
            selector: selector.to_owned(),
            syncs: mirror(sync_index),
            releases: mirror(release_index),
            git_repositories: mirror(no_index),
            oci_repositories: mirror(no_index),
            buckets: mirror(no_index),
            external_artifacts: mirror(no_index),
            installations: mirror(installation_index),
            credential_sets: mirror(sets::set_index),
            parameter_sets: mirror(sets::set_index),
            agent_configs: mirror(no_index),
            porter_configs: mirror(no_index),
            agent_actions: mirror(action_index),
            jobs: mirror(job_index),
            config_maps: mirror(no_index),
            secrets: mirror(no_index),
            secret_versions: follow_secrets.then(|| Arc::new(Mirror::new(no_index, sets::keep_version))),
            kustomizations,
            helm_releases,
            awaiting: Awaiting::default(),
            claims: Claims::default(),
        }
    }

    /// A source of any kind; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it cannot be read, or its kind is not watched yet.
    pub fn source(&self, kind: SourceKind, key: &Key) -> Result<Option<SourceView>, String> {
        fn of<K: Source + Clone + 'static>(mirror: &Mirror<K>, key: &Key) -> Result<Option<SourceView>, String> {
            let view = |source: Arc<K>| SourceView {
                version: source.meta().resource_version.clone(),
                artifact: source.artifact().cloned(),
                not_ready: source.ready().filter(|ready| ready.status == "False").map(|ready| ready.message.clone()),
            };
            Ok(mirror.get(key)?.map(view))
        }
        self.sources_synced(kind)?;
        match kind {
            SourceKind::GitRepository => of(&self.git_repositories, key),
            SourceKind::OCIRepository => of(&self.oci_repositories, key),
            SourceKind::Bucket => of(&self.buckets, key),
            SourceKind::ExternalArtifact => of(&self.external_artifacts, key),
        }
    }

    /// `Ok` once all sources of a kind are there.
    ///
    /// # Errors
    /// What is waited for.
    pub fn sources_synced(&self, kind: SourceKind) -> Result<(), String> {
        match kind {
            SourceKind::GitRepository => self.git_repositories.synced(),
            SourceKind::OCIRepository => self.oci_repositories.synced(),
            SourceKind::Bucket => self.buckets.synced(),
            SourceKind::ExternalArtifact => self.external_artifacts.synced(),
        }
    }

    /// Takes in what the API server answered to an apply of a kind that a source may hold.
    pub fn record_json(&self, kind: &str, object: Value) {
        if let Some(versions) = self.secret_versions.as_ref().filter(|_| kind == "Secret") {
            record(versions, object.clone());
        }
        match self.mirror_of(kind) {
            Some(mirror) => mirror.record(object),
            None => tracing::warn!(kind, "written, and not mirrored"),
        }
    }

    /// The mirror of a kind that is applied.
    pub fn mirror_of(&self, kind: &str) -> Option<&dyn AnyMirror> {
        let mirror: &dyn AnyMirror = match kind {
            "Installation" => &*self.installations,
            "CredentialSet" => &*self.credential_sets,
            "ParameterSet" => &*self.parameter_sets,
            "AgentConfig" => &*self.agent_configs,
            "PorterConfig" => &*self.porter_configs,
            "AgentAction" => &*self.agent_actions,
            "ConfigMap" => &*self.config_maps,
            "Secret" => &*self.secrets,
            _ => return None,
        };
        Some(mirror)
    }

    /// The AgentActions that are for an object, of all its generations.
    pub fn actions_for(&self, kind: &str, key: &Key) -> Vec<Arc<AgentAction>> {
        self.agent_actions.group(&resource_group(&key.namespace, kind, &key.name))
    }

    /// The Installations with the labels of a sync that have our finalizer.
    pub fn held_installations(&self, owner: &Key) -> Vec<Key> {
        self.installations.group(&held_group(owner)).iter().map(|object| Key::of(object.as_ref())).collect()
    }

    /// The syncs whose ledger has an Installation, whether it stands or not.
    pub fn holders_of(&self, installation: &Key) -> BTreeSet<Key> {
        let releases = self.releases.group(&installation_group(installation));
        releases.iter().map(|release| Key::from(&release.spec.sync)).collect()
    }

    /// Our own AgentActions for a release.
    pub fn commands_for(&self, release: &Key) -> Vec<Arc<AgentAction>> {
        self.agent_actions.group(&release_group(release))
    }

    /// The Jobs that carry out an AgentAction: the agent's and its bundle's.
    pub fn jobs_of(&self, action: &Key) -> Vec<Arc<Job>> {
        self.jobs.group(&resource_group(&action.namespace, "AgentAction", &action.name))
    }

    /// Whether somebody else than we has a part of an object that is wholly ours.
    pub fn is_shared(&self, kind: &str, key: &Key) -> bool {
        self.mirror_of(kind).is_some_and(|mirror| mirror.is_shared(key))
    }

    /// The Jobs of an object whose AgentAction is gone: the operator gave it a name that begins with that of its object.
    pub fn orphaned_jobs(&self, object: &Key) -> Vec<Arc<Job>> {
        self.orphaned(&orphans_group(object))
    }

    /// The Jobs of our own AgentActions for a release that are gone.
    pub fn orphaned_commands(&self, release: &Key) -> Vec<Arc<Job>> {
        self.orphaned(&release_group(release))
    }

    /// The Jobs that name a sync as their owner, and whose AgentAction is gone.
    pub fn orphaned_jobs_for(&self, owner: &Key) -> Vec<Arc<Job>> {
        self.orphaned(&jobs_group(owner))
    }

    fn orphaned(&self, group: &str) -> Vec<Arc<Job>> {
        let mut jobs = self.jobs.group(group);
        jobs.retain(|job| matches!(self.agent_actions.get(&action_of(job)), Ok(None)));
        jobs
    }

    /// Whether a BundleSync is known not to be there. Of other namespaces and labels than the watched nothing is known.
    pub fn is_absent(&self, sync: &Key) -> bool {
        self.selector.is_empty() && self.scope.has(&sync.namespace) && matches!(self.syncs.get(sync), Ok(None))
    }

    /// The other syncs on the source of one of which it is not known what they ask for in an artifact of this digest.
    pub fn unread(&self, sync: &BundleSync, digest: &str, patience: Duration) -> BTreeSet<SyncRef> {
        let group = source_group(sync.spec.source_ref.kind, &source_key(sync));
        let has_read = |other: &Key, generation| self.claims.has_read(other, digest, generation);
        self.undecided(sync, self.syncs.group(&group), patience, has_read)
    }

    /// The other syncs, on whatever source, of which it is not known what they ask for at all: they are new, or changed, or
    /// this process is. One of them may have been refused what another has, and wait for that to let it go.
    pub fn unknown(&self, sync: &BundleSync, patience: Duration) -> BTreeSet<SyncRef> {
        self.undecided(sync, self.syncs.all(), patience, |other, generation| self.claims.is_known(other, generation))
    }

    /// Of these, the others that are not known. One that is suspended or being deleted will not be, and for one that has
    /// failed for `patience` nobody waits.
    fn undecided(
        &self,
        sync: &BundleSync,
        among: Vec<Arc<BundleSync>>,
        patience: Duration,
        is_known: impl Fn(&Key, Option<i64>) -> bool,
    ) -> BTreeSet<SyncRef> {
        let others = among.into_iter().filter(|other| {
            let (key, metadata) = (Key::of(other.as_ref()), &other.metadata);
            metadata.uid != sync.metadata.uid
                && metadata.deletion_timestamp.is_none()
                && !other.spec.is_suspended()
                && !is_known(&key, metadata.generation)
                && self.claims.failing(&key).is_none_or(|failing| failing < patience)
        });
        others.map(|other| SyncRef::from(other.as_ref())).collect()
    }

    /// Whether a sync reads its source, and so takes what it asks for and lets go what it does not.
    fn is_active(&self, sync: &Key) -> bool {
        let sync = self.syncs.get(sync).ok().flatten();
        sync.is_some_and(|sync| sync.metadata.deletion_timestamp.is_none() && !sync.spec.is_suspended())
    }

    /// Another sync that asks for a release.
    pub fn claimant(&self, release: &Key, sync: &Key) -> Option<SyncRef> {
        let mut others = self.claims.asking(release).into_iter().filter(|other| other != sync && self.is_active(other));
        others.next().map(|other| SyncRef { name: other.name, namespace: other.namespace })
    }

    /// Whether another sync asks for an object.
    pub fn is_claimed(&self, object: &ObjectId, sync: &Key) -> bool {
        self.claims.asking_for(object).iter().any(|other| other != sync && self.is_active(other))
    }

    /// Whether the sync that has an object does not ask for it: one that is being deleted asks for nothing. (Of its
    /// releases that one says itself what becomes.)
    pub fn frees(&self, object: &ObjectId, owner: &Key) -> bool {
        let Ok(Some(sync)) = self.syncs.get(owner) else { return false };
        sync.metadata.deletion_timestamp.is_some()
            || (self.says_all(owner) && !self.claims.asking_for(object).contains(owner))
    }

    /// Whether the sync that has a release does not ask for it.
    pub fn lets_go(&self, release: &Key, owner: &Key) -> bool {
        self.says_all(owner) && !self.claims.asking(release).contains(owner)
    }

    /// Whether it is known all that a sync asks for, and it lets go what it does not.
    fn says_all(&self, sync: &Key) -> bool {
        let Ok(Some(stands)) = self.syncs.get(sync) else { return false };
        self.is_active(sync) && self.claims.is_known(sync, stands.metadata.generation)
    }

    /// `Ok` once everything that a reconcile reads is there; the kinds of sources are asked one by one.
    ///
    /// # Errors
    /// What is waited for.
    pub fn synced(&self) -> Result<(), String> {
        self.syncs.synced()?;
        self.releases.synced()?;
        self.installations.synced()?;
        self.credential_sets.synced()?;
        self.parameter_sets.synced()?;
        self.agent_configs.synced()?;
        self.porter_configs.synced()?;
        self.agent_actions.synced()?;
        self.jobs.synced()?;
        self.config_maps.synced()?;
        self.secret_versions.iter().try_for_each(|versions| versions.synced())?;
        self.secrets.synced()
    }
}

/// Which namespaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// One.
    Namespace(String),
}

impl Scope {
    /// Whether a namespace is watched.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(one) => one == namespace,
        }
    }
}

/// A kind that can be watched.
pub trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_waited_for_syncs_of_which_it_is_not_known_what_they_ask_for() {
        let sync = |name: &str, source: &str, suspend: bool, deleted: Option<&str>| -> BundleSync {
            let source = json!({"kind": "GitRepository", "name": source});
            let object = json!({
                "metadata": {
                    "name": name, "namespace": "apps", "uid": name, "generation": 2, "resourceVersion": "1",
                    "deletionTimestamp": deleted,
                },
                "spec": {"sourceRef": source, "interval": "10m", "prune": true, "suspend": suspend},
            });
            serde_json::from_value(object).unwrap()
        };
        let own = sync("own", "fleet", false, None);
        let deleted = Some("2026-01-01T00:00:00Z");
        let patience = Duration::from_secs(600);
        // What was read of the other one, whether it fails, and for how long at most it is waited for -> unread, unknown.
        for (other, read, fails, patience, expected) in [
            (sync("same", "fleet", false, None), None, false, patience, (true, true)),
            (sync("same", "fleet", false, None), Some(("new", 2)), false, patience, (false, false)),
            (sync("same", "fleet", false, None), Some(("old", 2)), false, patience, (true, false)),
            (sync("same", "fleet", false, None), Some(("new", 1)), false, patience, (true, true)),
            (sync("elsewhere", "feed", false, None), None, false, patience, (false, true)),
            (sync("elsewhere", "feed", false, None), Some(("other", 2)), false, patience, (false, false)),
            (sync("elsewhere", "feed", false, None), Some(("other", 1)), false, patience, (false, true)),
            (sync("elsewhere", "feed", false, None), None, true, patience, (false, true)),
            (sync("elsewhere", "feed", false, None), None, true, Duration::ZERO, (false, false)),
            (sync("elsewhere", "feed", true, None), None, false, patience, (false, false)),
            (sync("elsewhere", "feed", false, deleted), None, false, patience, (false, false)),
        ] {
            let cluster = Cluster::new(Scope::All, "", true);
            let key = Key::of(&other);
            for sync in [&own, &other] {
                cluster.syncs.record_write(sync.clone());
            }
            if let Some((digest, generation)) = read {
                cluster.claims.tell(&key, digest, Some(generation), BTreeSet::new(), BTreeSet::new());
            }
            if fails {
                cluster.claims.tell_failed(&key);
            }
            let unread = cluster.unread(&own, "new", patience).contains(&SyncRef::from(&other));
            let unknown = cluster.unknown(&own, patience).contains(&SyncRef::from(&other));
            assert_eq!((unread, unknown), expected, "{key} {read:?} {fails} {patience:?}");
        }
    }
}
