//! What the controller knows of the cluster: a mirror a kind, and which BundleSync a change of each concerns.
//!
//! Architecture invariant: it only ever watches, and what a plan is made of comes from here; so a reconcile with nothing to do
//! makes no request. What no watch can stand for is read through the [`crate::writer`], and only where there is something to
//! do or to explain: see the head of the crate. It may not know what is done with what it tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::build::SubstituteKind;
use api::dependency::{HelmRelease, Kustomization};
use api::porter::{
    AgentAction, AgentConfig, CredentialSet, Installation, ParameterSet, PorterConfig, SYSTEM_NAMESPACE, label,
};
use api::source::{Artifact, Bucket, ExternalArtifact, GitRepository, OCIRepository, Source};
use api::{
    BundleRelease, BundleSync, CONFIRM, DependencyKind, FORCE_AT, OWNER_NAME_LABEL, RELEASE_LABEL, REQUESTED_AT,
    SourceKind, SyncRef,
};
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::client::Body;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use manifest::ObjectId;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::BoxError;

use crate::claims::Claims;
use crate::dependencies::{Awaiting, OnDemand, dependants_group, key_of, on_demand};
use crate::managers::{is_shared, keep_others};
use crate::mirror::{Change, IndexFn, Key, Mirror};
use crate::queue::Queue;
use crate::sets::{self, SecretVersion};

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
    /// Flux sources.
    pub git_repositories: Arc<Mirror<GitRepository>>,
    /// Flux sources.
    pub oci_repositories: Arc<Mirror<OCIRepository>>,
    /// Flux sources.
    pub buckets: Arc<Mirror<Bucket>>,
    /// Flux sources.
    pub external_artifacts: Arc<Mirror<ExternalArtifact>>,
    /// Porter's kinds; these indexed by the sets that they name, and by owner.
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

fn no_index<K>(_: &K) -> Vec<String> {
    Vec::new()
}

/// A release is found by its sync, by its Installation, and by the sets that it names.
fn release_index(release: &BundleRelease) -> Vec<String> {
    let sync = Key::from(&release.spec.sync).to_string();
    let object = Key::new(release.namespace().unwrap_or_default(), &release.spec.object_name);
    [sync, installation_group(&object)].into_iter().chain(sets::release_groups(release)).collect()
}

fn installation_group(installation: &Key) -> String {
    format!("of Installation/{installation}")
}

/// The group of the things that are for one object.
fn resource_group(namespace: &str, kind: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

fn resource_index<K: ResourceExt>(object: &K) -> Vec<String> {
    let text = |name: &str| object.labels().get(name).map(String::as_str);
    match (text(label::RESOURCE_KIND), text(label::RESOURCE_NAME)) {
        (Some(kind), Some(name)) => vec![resource_group(&object.namespace().unwrap_or_default(), kind, name)],
        _ => Vec::new(),
    }
}

/// An Installation is found by the sets that it names; and what has our finalizer by its owner, whether a release knows it
/// or not.
fn installation_index(installation: &Installation) -> Vec<String> {
    let owner = owner(installation).filter(|_| api::is_held(installation));
    sets::installation_groups(installation).chain(owner.iter().map(held_group)).collect()
}

fn held_group(owner: &Key) -> String {
    format!("held for/{owner}")
}

/// An AgentAction of the operator's names its object, one of ours its release.
fn action_index(action: &AgentAction) -> Vec<String> {
    let mut groups = resource_index(action);
    groups.extend(commands_group(action));
    groups
}

/// The group of what we have run for a release beside its document.
fn commands_group<K: ResourceExt>(object: &K) -> Option<String> {
    let release = object.labels().get(RELEASE_LABEL)?;
    Some(release_group(&Key::new(object.namespace().unwrap_or_default(), release)))
}

fn release_group(release: &Key) -> String {
    format!("commands for/{release}")
}

/// How the operator names an AgentAction: the name of its object, a `-` and five characters, with the name cut where
/// the API server cuts a `generateName`.
const GENERATED: usize = 5;
const LONGEST_BASE: usize = 63 - GENERATED;

/// A Job tells its AgentAction by its labels. When that is gone, the object that it was for is told by its name alone; or,
/// of one of ours, the release by its label, which the operator copies down.
fn job_index(job: &Job) -> Vec<String> {
    let mut groups = resource_index(job);
    groups.extend(commands_group(job));
    if let Some(action) = job.labels().get(label::RESOURCE_NAME)
        && let Some(base) = action.len().checked_sub(GENERATED).and_then(|length| action.get(..length))
    {
        groups.push(action_base_group(&job.namespace().unwrap_or_default(), base));
    }
    groups.extend(owner(job).as_ref().map(jobs_group));
    groups
}

fn jobs_group(owner: &Key) -> String {
    format!("run for/{owner}")
}

fn action_base_group(namespace: &str, base: &str) -> String {
    format!("AgentActions of/{namespace}/{base}")
}

fn source_group(kind: SourceKind, key: &Key) -> String {
    format!("{kind:?}/{key}")
}

/// A sync is found by what it reads: its source, the ConfigMaps and Secrets that it takes variables from, and what it
/// depends on.
fn sync_index(sync: &BundleSync) -> Vec<String> {
    let namespace = sync.namespace().unwrap_or_default();
    let references = sync.spec.post_build.iter().flat_map(|post_build| &post_build.substitute_from);
    let variables = references.map(|from| variables_group(from.kind, &Key::new(&namespace, &from.name)));
    let dependencies = sync.spec.depends_on.iter().map(|other| dependants_group(other.kind, &key_of(sync, other)));
    let source = source_group(sync.spec.source_ref.kind, &source_key(sync));
    std::iter::once(source).chain(variables).chain(dependencies).collect()
}

fn variables_group(kind: SubstituteKind, key: &Key) -> String {
    format!("variables of {kind:?}/{key}")
}

/// The source that a sync reads.
pub fn source_key(sync: &BundleSync) -> Key {
    let reference = &sync.spec.source_ref;
    let namespace = reference.namespace.clone().or_else(|| sync.namespace()).unwrap_or_default();
    Key::new(namespace, &reference.name)
}

/// The sync that an applied object names as its owner; the operator copies these labels down to what it makes of it.
fn owner<K: Resource>(object: &K) -> Option<Key> {
    SyncRef::owner_of(object).as_ref().map(Key::from)
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
                Ok(object) => mirror.record_write(object),
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
            "Secret" => {
                self.secret_versions.iter().for_each(|versions| to(versions, object.clone()));
                to(&self.secrets, object);
            }
            kind => tracing::warn!(kind, "written, and not mirrored"),
        }
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
        fn of<K: Watched>(mirror: &Mirror<K>, key: &Key) -> bool {
            matches!(mirror.get(key), Ok(Some(object)) if is_shared(object.meta()))
        }
        match kind {
            "Installation" => of(&self.installations, key),
            "CredentialSet" => of(&self.credential_sets, key),
            "ParameterSet" => of(&self.parameter_sets, key),
            "AgentConfig" => of(&self.agent_configs, key),
            "PorterConfig" => of(&self.porter_configs, key),
            "ConfigMap" => of(&self.config_maps, key),
            "Secret" => of(&self.secrets, key),
            _ => false,
        }
    }

    /// The Jobs of an object whose AgentAction is gone: the operator gave it a name that begins with that of its object.
    pub fn orphaned_jobs(&self, object: &Key) -> Vec<Arc<Job>> {
        let mut base = format!("{}-", object.name);
        base.truncate(LONGEST_BASE);
        self.orphaned(&object.namespace, &action_base_group(&object.namespace, &base))
    }

    /// The Jobs of our own AgentActions for a release that are gone.
    pub fn orphaned_commands(&self, release: &Key) -> Vec<Arc<Job>> {
        self.orphaned(&release.namespace, &release_group(release))
    }

    fn orphaned(&self, namespace: &str, group: &str) -> Vec<Arc<Job>> {
        let mut jobs = self.jobs.group(group);
        jobs.retain(|job| {
            let action = job.labels().get(label::RESOURCE_NAME).cloned().unwrap_or_default();
            matches!(self.agent_actions.get(&Key::new(namespace, action)), Ok(None))
        });
        jobs
    }

    /// The AgentActions with Jobs that name a sync as their owner.
    pub fn actions_with_jobs(&self, owner: &Key) -> BTreeSet<Key> {
        let jobs = self.jobs.group(&jobs_group(owner));
        let action = |job: &Arc<Job>| Some(Key::new(job.namespace()?, job.labels().get(label::RESOURCE_NAME)?));
        jobs.iter().filter_map(action).collect()
    }

    /// Whether a BundleSync is known not to be there. Of other namespaces and labels than the watched nothing is known.
    pub fn is_absent(&self, sync: &Key) -> bool {
        self.selector.is_empty() && self.scope.has(&sync.namespace) && matches!(self.syncs.get(sync), Ok(None))
    }

    /// The other syncs on the source of one of which it is not known what they ask for in an artifact of this digest. One
    /// that is suspended or being deleted will not read it, and for one that has failed for `patience` nobody waits.
    pub fn unread(&self, sync: &BundleSync, digest: &str, patience: Duration) -> BTreeSet<SyncRef> {
        let group = source_group(sync.spec.source_ref.kind, &source_key(sync));
        let others = self.syncs.group(&group).into_iter().filter(|other| {
            let metadata = &other.metadata;
            metadata.uid != sync.metadata.uid
                && metadata.deletion_timestamp.is_none()
                && !other.spec.is_suspended()
                && !self.claims.has_read(&Key::of(other.as_ref()), digest, metadata.generation)
                && self.claims.failing(&Key::of(other.as_ref())).is_none_or(|failing| failing < patience)
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

    /// Starts the watches; each change puts the syncs it concerns into the queue. A ConfigMap or Secret with variables is
    /// watched when `variables` selects its labels.
    pub fn watch(
        self: &Arc<Self>,
        client: &Client,
        deadline: Duration,
        variables: Option<&str>,
        queue: &Arc<Queue<Key>>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let watches = Watches { client, deadline, scope: &self.scope, tasks, stop };
        let all = watcher::Config::default();

        let (cluster, on_sync) = (self.clone(), queue.clone());
        let chosen = match self.selector.as_str() {
            "" => all.clone(),
            labels => all.clone().labels(labels),
        };
        watches.start(&self.syncs, chosen, move |change| match change {
            Change::Applied { old, new } => {
                if old.is_none_or(|old| asks_anew(&old, &new)) {
                    on_sync.add(Key::of(new.as_ref()));
                }
                cluster.wake_dependants(DependencyKind::BundleSync, &Key::of(new.as_ref()), &on_sync);
            }
            Change::Deleted(old) => {
                on_sync.add(Key::of(old.as_ref()));
                cluster.wake_dependants(DependencyKind::BundleSync, &Key::of(old.as_ref()), &on_sync);
            }
            Change::Synced => {}
        });
        let (cluster, on_release) = (self.clone(), queue.clone());
        watches.start(&self.releases, all.clone(), move |change| {
            if let Change::Applied { new: release, .. } | Change::Deleted(release) = change {
                on_release.add(Key::from(&release.spec.sync));
                // Who has it until now may be waiting for that.
                cluster.claims.asking(&Key::of(release.as_ref())).into_iter().for_each(|key| on_release.add(key));
            }
        });
        self.watch_source(&watches, &self.git_repositories, SourceKind::GitRepository, queue);
        self.watch_source(&watches, &self.oci_repositories, SourceKind::OCIRepository, queue);
        self.watch_source(&watches, &self.buckets, SourceKind::Bucket, queue);
        self.watch_source(&watches, &self.external_artifacts, SourceKind::ExternalArtifact, queue);

        self.watch_owned(&watches, &self.installations, all.clone(), nobody, queue);
        self.watch_owned(&watches, &self.credential_sets, all.clone(), Self::users_of, queue);
        self.watch_owned(&watches, &self.parameter_sets, all.clone(), Self::users_of, queue);
        self.watch_agents(&watches, all.clone(), queue);
        self.watch_owned(&watches, &self.porter_configs, all.clone(), nobody, queue);
        self.watch_owned(&watches, &self.agent_actions, all.clone(), Self::awaiting_run, queue);
        self.watch_owned(&watches, &self.jobs, all.clone().labels(label::JOB_TYPE), Self::awaiting_job, queue);
        self.watch_secret_versions(&watches, queue);
        self.watch_on_demand(&watches, &self.kustomizations, DependencyKind::Kustomization, queue);
        self.watch_on_demand(&watches, &self.helm_releases, DependencyKind::HelmRelease, queue);
        if let Some(selector) = variables {
            let selected = all.clone().labels(selector);
            self.watch_variables::<ConfigMap>(&watches, SubstituteKind::ConfigMap, selected.clone(), queue);
            self.watch_variables::<Secret>(&watches, SubstituteKind::Secret, selected, queue);
        }
        // The operator copies our labels to Secrets of its own, which hold Porter's configuration: not read.
        let ours = all.labels(&format!("{OWNER_NAME_LABEL},!getporter.org/managed"));
        self.watch_owned(&watches, &self.config_maps, ours.clone(), nobody, queue);
        self.watch_owned(&watches, &self.secrets, ours, nobody, queue);
    }

    /// Watches which version each Secret has, but for those that the operator and Helm make, which no set names.
    fn watch_secret_versions(self: &Arc<Self>, watches: &Watches<'_>, queue: &Arc<Queue<Key>>) {
        let Some(versions) = &self.secret_versions else { return };
        let (cluster, queue) = (self.clone(), queue.clone());
        let config = watcher::Config::default().labels("!getporter.org/managed").fields("type!=helm.sh/release.v1");
        watches.start_metadata(versions, config, move |change| match change {
            Change::Applied { new: secret, .. } | Change::Deleted(secret) => {
                cluster.given_by(&Key::of(secret.as_ref())).into_iter().for_each(|sync| queue.add(sync));
            }
            Change::Synced => cluster.syncs.all().iter().for_each(|sync| queue.add(Key::of(sync.as_ref()))),
        });
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

    /// Watches no more than the metadata. It is no part of what a reconcile waits for: that reads variables itself.
    fn watch_variables<K: Watched>(
        self: &Arc<Self>,
        watches: &Watches<'_>,
        kind: SubstituteKind,
        config: watcher::Config,
        queue: &Arc<Queue<Key>>,
    ) {
        let (cluster, queue) = (self.clone(), queue.clone());
        watches.start_metadata(&mirror::<PartialObjectMeta<K>>(no_index), config, move |change| {
            if let Change::Applied { new: object, .. } | Change::Deleted(object) = change {
                for sync in cluster.syncs.group(&variables_group(kind, &Key::of(object.as_ref()))) {
                    queue.add(Key::of(sync.as_ref()));
                }
            }
        });
    }

    /// An AgentConfig concerns its owner, and all who wait for it: the syncs in its namespace and with releases there, or all
    /// when it is the one beneath all others.
    fn watch_agents(self: &Arc<Self>, watches: &Watches<'_>, config: watcher::Config, queue: &Arc<Queue<Key>>) {
        let (cluster, queue) = (self.clone(), queue.clone());
        let wake = move |object: &AgentConfig, queue: &Queue<Key>| {
            owner(object).into_iter().for_each(|key| queue.add(key));
            let namespace = object.namespace().unwrap_or_default();
            let all = namespace == SYSTEM_NAMESPACE;
            let releases = cluster.releases.all();
            let beside = releases.iter().filter(|release| all || release.namespace().as_ref() == Some(&namespace));
            let syncs = beside.map(|release| Key::from(&release.spec.sync));
            let asking = cluster.claims.asking_in(|other| all || *other == namespace);
            syncs.chain(asking).collect::<BTreeSet<_>>().into_iter().for_each(|key| queue.add(key));
        };
        let cluster = self.clone();
        let state = |object: &AgentConfig| {
            let status = object.status.as_ref();
            (object.metadata.generation, status.and_then(|status| serde_json::to_value(status).ok()))
        };
        watches.start(&self.agent_configs, config, move |change| match change {
            Change::Applied { old: Some(old), new } if state(&old) == state(&new) => {
                owner(new.as_ref()).into_iter().for_each(|key| queue.add(key));
            }
            Change::Applied { new: object, .. } | Change::Deleted(object) => wake(&object, &queue),
            Change::Synced => cluster.syncs.all().iter().for_each(|sync| queue.add(Key::of(sync.as_ref()))),
        });
    }

    /// Watches a kind from the moment on that it is asked for: few clusters have all that a BundleSync may depend on.
    fn watch_on_demand<K: Watched>(
        self: &Arc<Self>,
        watches: &Watches<'_>,
        kind: &OnDemand<K>,
        named: DependencyKind,
        queue: &Arc<Queue<Key>>,
    ) {
        let (cluster, queue) = (self.clone(), queue.clone());
        let act = move |change: Change<K>| match change {
            Change::Applied { new: object, .. } | Change::Deleted(object) => {
                cluster.wake_dependants(named, &Key::of(object.as_ref()), &queue);
            }
            Change::Synced => cluster.awaiting.all().into_iter().for_each(|sync| queue.add(sync)),
        };
        let events = watcher(watches.api::<K, DeserializeGuard<K>>(&kind.mirror), watcher::Config::default());
        let (mirror, asked, stop) = (kind.mirror.clone(), kind.asked.clone(), watches.stop.clone());
        watches.tasks.spawn(async move {
            let follow = async {
                asked.notified().await;
                mirror.follow(events, act).await;
            };
            tokio::select! {
                () = follow => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// A change concerns the owner of an object, and `others` by what it was and is.
    fn watch_owned<K: Watched>(
        self: &Arc<Self>,
        watches: &Watches<'_>,
        mirror: &Arc<Mirror<K>>,
        config: watcher::Config,
        others: fn(&Self, Option<&K>, &K) -> BTreeSet<Key>,
        queue: &Arc<Queue<Key>>,
    ) {
        let (cluster, queue) = (self.clone(), queue.clone());
        watches.start(mirror, config, move |change| match change {
            Change::Applied { old, new } => {
                let before = old.as_ref().and_then(|old| owner(old.as_ref()));
                let now = owner(new.as_ref());
                if before != now {
                    before.into_iter().for_each(|key| queue.add(key));
                }
                now.into_iter().for_each(|key| queue.add(key));
                others(&cluster, old.as_deref(), &new).into_iter().for_each(|key| queue.add(key));
            }
            Change::Deleted(old) => {
                let others = others(&cluster, None, &old);
                owner(old.as_ref()).into_iter().chain(others).for_each(|key| queue.add(key));
            }
            // Syncs may have waited for this kind to be served.
            Change::Synced => cluster.syncs.all().iter().for_each(|sync| queue.add(Key::of(sync.as_ref()))),
        });
    }
}

/// Of most kinds, a change concerns nobody but the owner.
fn nobody<K>(_: &Cluster, _: Option<&K>, _: &K) -> BTreeSet<Key> {
    BTreeSet::new()
}

/// Whether a sync asks for something else than before; what we write to its status does not count.
fn asks_anew(old: &BundleSync, new: &BundleSync) -> bool {
    let requested =
        |sync: &BundleSync| [REQUESTED_AT, FORCE_AT, CONFIRM].map(|name| sync.annotations().get(name).cloned());
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

struct Watches<'a> {
    client: &'a Client,
    deadline: Duration,
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
        self.follow(mirror, watcher(self.api::<K, DeserializeGuard<K>>(mirror), config), act);
    }

    /// [`DeserializeGuard`] would ask for whole objects. Metadata always reads.
    fn start_metadata<K: Watched>(
        &self,
        mirror: &Arc<Mirror<PartialObjectMeta<K>>>,
        config: watcher::Config,
        act: impl FnMut(Change<PartialObjectMeta<K>>) + Send + 'static,
    ) {
        let events = watcher(self.api::<_, PartialObjectMeta<K>>(mirror), config);
        let guarded = events.map_ok(|event| match event {
            watcher::Event::Apply(object) => watcher::Event::Apply(DeserializeGuard(Ok(object))),
            watcher::Event::Delete(object) => watcher::Event::Delete(DeserializeGuard(Ok(object))),
            watcher::Event::Init => watcher::Event::Init,
            watcher::Event::InitApply(object) => watcher::Event::InitApply(DeserializeGuard(Ok(object))),
            watcher::Event::InitDone => watcher::Event::InitDone,
        });
        self.follow(mirror, guarded, act);
    }

    /// The API through which a mirror is filled.
    fn api<K: Watched, O>(&self, mirror: &Arc<Mirror<K>>) -> Api<O>
    where
        O: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let client = attentive(self.client, self.deadline, mirror);
        match self.scope {
            Scope::All => Api::all(client),
            Scope::Namespace(namespace) => Api::namespaced(client, namespace),
        }
    }

    fn follow<K: Watched>(
        &self,
        mirror: &Arc<Mirror<K>>,
        events: impl Stream<Item = watcher::Result<watcher::Event<DeserializeGuard<K>>>> + Send + 'static,
        act: impl FnMut(Change<K>) + Send + 'static,
    ) {
        let (mirror, stop) = (mirror.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = mirror.follow(events, act) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// A client for one watch: an answer has to begin within the deadline, for a list or the start of a watch that never
/// does would be waited for without end; and the mirror is told of each, for a watch that is well may bring nothing.
fn attentive<K: Watched>(client: &Client, deadline: Duration, mirror: &Arc<Mirror<K>>) -> Client {
    let (client, mirror) = (client.clone(), mirror.clone());
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, mirror) = (client.clone(), mirror.clone());
        async move {
            let late = || format!("the API server did not answer within {} s", deadline.as_secs());
            let response = tokio::time::timeout(deadline, client.send(request)).await.map_err(|_| late())??;
            if response.status().is_success() {
                mirror.answered();
            }
            Ok::<_, BoxError>(response)
        }
    });
    Client::new(service, namespace)
}
