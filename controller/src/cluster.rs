//! What the controller knows of the cluster: a mirror a kind, and which BundleSync a change of each concerns.
//!
//! Architecture invariant: reconcilers read the cluster through this module alone, and it only ever watches; so a reconcile
//! with nothing to do makes no request.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::porter::{AgentAction, AgentConfig, CredentialSet, Installation, ParameterSet, PorterConfig};
use api::source::{Artifact, Bucket, ExternalArtifact, GitRepository, OCIRepository, Source};
use api::{BundleRelease, BundleSync, OWNER_NAME_LABEL, OWNER_NAMESPACE_LABEL, REQUESTED_AT, SourceKind};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mirror::{Change, Key, Mirror};
use crate::queue::Queue;

/// Label by which the operator says which object an AgentAction, a Job, a Secret is for (getporter/operator labels).
const RESOURCE_NAME_LABEL: &str = "getporter.org/resourceName";
/// The kind of that object.
const RESOURCE_KIND_LABEL: &str = "getporter.org/resourceKind";
/// On the Jobs that the operator and Porter's kubernetes driver make.
const JOB_TYPE_LABEL: &str = "getporter.org/jobType";

/// The mirrors.
pub struct Cluster {
    /// Our syncs, indexed by source.
    pub syncs: Arc<Mirror<BundleSync>>,
    /// Our ledger, indexed by sync.
    pub releases: Arc<Mirror<BundleRelease>>,
    /// Flux sources.
    pub git_repositories: Arc<Mirror<GitRepository>>,
    /// Flux sources.
    pub oci_repositories: Arc<Mirror<OCIRepository>>,
    /// Flux sources.
    pub buckets: Arc<Mirror<Bucket>>,
    /// Flux sources.
    pub external_artifacts: Arc<Mirror<ExternalArtifact>>,
    /// Porter's kinds.
    pub installations: Arc<Mirror<Installation>>,
    /// Porter's kinds.
    pub credential_sets: Arc<Mirror<CredentialSet>>,
    /// Porter's kinds.
    pub parameter_sets: Arc<Mirror<ParameterSet>>,
    /// Porter's kinds.
    pub agent_configs: Arc<Mirror<AgentConfig>>,
    /// Porter's kinds.
    pub porter_configs: Arc<Mirror<PorterConfig>>,
    /// Runs, indexed by the object that they are for.
    pub agent_actions: Arc<Mirror<AgentAction>>,
    /// Jobs of the agent and of bundles, indexed by AgentAction.
    pub jobs: Arc<Mirror<Job>>,
    /// Those that carry our labels.
    pub config_maps: Arc<Mirror<ConfigMap>>,
    /// Those that carry our labels.
    pub secrets: Arc<Mirror<Secret>>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            syncs: Arc::new(Mirror::new(|sync| vec![source_group_of(sync)])),
            releases: Arc::new(Mirror::new(|release| {
                vec![Key::new(&release.spec.sync.namespace, &release.spec.sync.name).to_string()]
            })),
            git_repositories: Arc::new(Mirror::new(no_index)),
            oci_repositories: Arc::new(Mirror::new(no_index)),
            buckets: Arc::new(Mirror::new(no_index)),
            external_artifacts: Arc::new(Mirror::new(no_index)),
            installations: Arc::new(Mirror::new(no_index)),
            credential_sets: Arc::new(Mirror::new(no_index)),
            parameter_sets: Arc::new(Mirror::new(no_index)),
            agent_configs: Arc::new(Mirror::new(no_index)),
            porter_configs: Arc::new(Mirror::new(no_index)),
            agent_actions: Arc::new(Mirror::new(resource_index)),
            jobs: Arc::new(Mirror::new(resource_index)),
            config_maps: Arc::new(Mirror::new(no_index)),
            secrets: Arc::new(Mirror::new(no_index)),
        }
    }
}

fn no_index<K>(_: &K) -> Vec<String> {
    Vec::new()
}

/// The group of the things that are for one object.
fn resource_group(namespace: &str, kind: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

fn resource_index<K: ResourceExt>(object: &K) -> Vec<String> {
    let label = |name: &str| object.labels().get(name).map(String::as_str);
    match (label(RESOURCE_KIND_LABEL), label(RESOURCE_NAME_LABEL)) {
        (Some(kind), Some(name)) => vec![resource_group(&object.namespace().unwrap_or_default(), kind, name)],
        _ => Vec::new(),
    }
}

fn source_group(kind: SourceKind, key: &Key) -> String {
    format!("{kind:?}/{key}")
}

fn source_group_of(sync: &BundleSync) -> String {
    source_group(sync.spec.source_ref.kind, &source_key(sync))
}

/// The source that a sync reads.
pub fn source_key(sync: &BundleSync) -> Key {
    let reference = &sync.spec.source_ref;
    let namespace = reference.namespace.clone().or_else(|| sync.namespace()).unwrap_or_default();
    Key::new(namespace, &reference.name)
}

/// The sync that an applied object names as its owner; the operator copies these labels down to what it makes of it.
fn owner(labels: &BTreeMap<String, String>) -> Option<Key> {
    Some(Key::new(labels.get(OWNER_NAMESPACE_LABEL)?, labels.get(OWNER_NAME_LABEL)?))
}

/// What is read of a source.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// The artifact, once there is one.
    pub artifact: Option<Artifact>,
    /// Why the source is not ready, when it says so.
    pub not_ready: Option<String>,
}

impl Cluster {
    /// A source of any kind; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it cannot be read, or its kind is not watched yet.
    pub fn source(&self, kind: SourceKind, key: &Key) -> Result<Option<SourceView>, String> {
        fn of<K: Source + Clone + 'static>(mirror: &Mirror<K>, key: &Key) -> Result<Option<SourceView>, String> {
            mirror.synced()?;
            let view = |source: Arc<K>| SourceView {
                artifact: source.artifact().cloned(),
                not_ready: source.ready().filter(|ready| ready.status == "False").map(|ready| ready.message.clone()),
            };
            Ok(mirror.get(key)?.map(view))
        }
        match kind {
            SourceKind::GitRepository => of(&self.git_repositories, key),
            SourceKind::OCIRepository => of(&self.oci_repositories, key),
            SourceKind::Bucket => of(&self.buckets, key),
            SourceKind::ExternalArtifact => of(&self.external_artifacts, key),
        }
    }

    /// Takes in what the API server answered to an apply of a kind that a source may hold.
    pub fn record_json(&self, kind: &str, object: Value) {
        fn to<K: Watched>(mirror: &Mirror<K>, object: Value) {
            match serde_json::from_value::<K>(object) {
                Ok(mut object) => {
                    trim(&mut object);
                    mirror.record_write(object);
                }
                Err(error) => tracing::warn!(kind = mirror.kind(), %error, "answer of the API server cannot be read"),
            }
        }
        match kind {
            "Installation" => to(&self.installations, object),
            "CredentialSet" => to(&self.credential_sets, object),
            "ParameterSet" => to(&self.parameter_sets, object),
            "AgentConfig" => to(&self.agent_configs, object),
            "PorterConfig" => to(&self.porter_configs, object),
            "AgentAction" => to(&self.agent_actions, object),
            "ConfigMap" => to(&self.config_maps, object),
            "Secret" => to(&self.secrets, object),
            kind => tracing::warn!(kind, "written, and not mirrored"),
        }
    }

    /// The AgentActions that are for an object, of all its generations.
    pub fn actions_for(&self, kind: &str, key: &Key) -> Vec<Arc<AgentAction>> {
        self.agent_actions.group(&resource_group(&key.namespace, kind, &key.name))
    }

    /// The Jobs that carry out an AgentAction: the agent's and its bundle's.
    pub fn jobs_of(&self, action: &Key) -> Vec<Arc<Job>> {
        self.jobs.group(&resource_group(&action.namespace, "AgentAction", &action.name))
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
        self.secrets.synced()
    }

    /// Starts the watches; each change puts the syncs it concerns into the queue.
    pub fn watch(
        self: &Arc<Self>,
        client: &Client,
        scope: &Scope,
        queue: &Arc<Queue<Key>>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let watches = Watches { client, scope, tasks, stop };
        let all = watcher::Config::default();

        let on_sync = queue.clone();
        watches.start(&self.syncs, all.clone(), move |change| match change {
            Change::Applied { old, new } => {
                if old.is_none_or(|old| asks_anew(&old, &new)) {
                    on_sync.add(Key::of(new.as_ref()));
                }
            }
            Change::Deleted(old) => on_sync.add(Key::of(old.as_ref())),
            Change::Synced => {}
        });
        let on_release = queue.clone();
        watches.start(&self.releases, all.clone(), move |change| {
            if let Change::Applied { new: release, .. } | Change::Deleted(release) = change {
                on_release.add(Key::new(&release.spec.sync.namespace, &release.spec.sync.name));
            }
        });
        self.watch_source(&watches, &self.git_repositories, SourceKind::GitRepository, queue);
        self.watch_source(&watches, &self.oci_repositories, SourceKind::OCIRepository, queue);
        self.watch_source(&watches, &self.buckets, SourceKind::Bucket, queue);
        self.watch_source(&watches, &self.external_artifacts, SourceKind::ExternalArtifact, queue);

        self.watch_owned(&watches, &self.installations, all.clone(), queue);
        self.watch_owned(&watches, &self.credential_sets, all.clone(), queue);
        self.watch_owned(&watches, &self.parameter_sets, all.clone(), queue);
        self.watch_owned(&watches, &self.agent_configs, all.clone(), queue);
        self.watch_owned(&watches, &self.porter_configs, all.clone(), queue);
        self.watch_owned(&watches, &self.agent_actions, all.clone(), queue);
        self.watch_owned(&watches, &self.jobs, all.clone().labels(JOB_TYPE_LABEL), queue);
        // The operator copies our labels to Secrets of its own, which hold Porter's configuration: not read.
        let ours = all.labels(&format!("{OWNER_NAME_LABEL},!getporter.org/managed"));
        self.watch_owned(&watches, &self.config_maps, ours.clone(), queue);
        self.watch_owned(&watches, &self.secrets, ours, queue);
    }

    fn watch_source<K>(
        self: &Arc<Self>,
        watches: &Watches<'_>,
        mirror: &Arc<Mirror<K>>,
        kind: SourceKind,
        queue: &Arc<Queue<Key>>,
    ) where
        K: Source + Watched,
    {
        let (cluster, queue) = (self.clone(), queue.clone());
        let wake = move |key: &Key| {
            for sync in cluster.syncs.group(&source_group(kind, key)) {
                queue.add(Key::of(sync.as_ref()));
            }
        };
        watches.start(mirror, watcher::Config::default(), move |change| match change {
            Change::Applied { old, new } => {
                let same = |old: &Arc<K>| match (old.artifact(), new.artifact()) {
                    (Some(old), Some(new)) => old.revision == new.revision && old.digest == new.digest,
                    (None, None) => true,
                    _ => false,
                };
                if !old.as_ref().is_some_and(same) {
                    wake(&Key::of(new.as_ref()));
                }
            }
            Change::Deleted(old) => wake(&Key::of(old.as_ref())),
            Change::Synced => {}
        });
    }

    fn watch_owned<K: Watched>(
        self: &Arc<Self>,
        watches: &Watches<'_>,
        mirror: &Arc<Mirror<K>>,
        config: watcher::Config,
        queue: &Arc<Queue<Key>>,
    ) {
        let (cluster, queue) = (self.clone(), queue.clone());
        watches.start(mirror, config, move |change| match change {
            Change::Applied { old, new } => {
                let before = old.as_ref().and_then(|old| owner(old.labels()));
                let now = owner(new.labels());
                if before != now {
                    before.into_iter().for_each(|key| queue.add(key));
                }
                now.into_iter().for_each(|key| queue.add(key));
            }
            Change::Deleted(old) => owner(old.labels()).into_iter().for_each(|key| queue.add(key)),
            // Syncs may have waited for this kind to be served.
            Change::Synced => cluster.syncs.all().iter().for_each(|sync| queue.add(Key::of(sync.as_ref()))),
        });
    }
}

/// Whether a sync asks for something else than before; what we write to its status does not count.
fn asks_anew(old: &BundleSync, new: &BundleSync) -> bool {
    let requested = |sync: &BundleSync| sync.annotations().get(REQUESTED_AT).cloned();
    old.metadata.generation != new.metadata.generation
        || old.metadata.uid != new.metadata.uid
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || requested(old) != requested(new)
}

/// Which namespaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// One.
    Namespace(String),
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

struct Watches<'a> {
    client: &'a Client,
    scope: &'a Scope,
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Watches<'_> {
    fn start<K: Watched>(
        &self,
        mirror: &Arc<Mirror<K>>,
        config: watcher::Config,
        act: impl FnMut(Change<K>) + Send + 'static,
    ) {
        let api: Api<DeserializeGuard<K>> = match self.scope {
            Scope::All => Api::all(self.client.clone()),
            Scope::Namespace(namespace) => Api::namespaced(self.client.clone(), namespace),
        };
        let (mirror, stop) = (mirror.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = mirror.follow(watcher(api, config), trim::<K>, act) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// About half of an object in memory is the record of who wrote which field, which we never read.
fn trim<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}
