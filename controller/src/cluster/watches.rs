//! The watches that fill the mirrors, and which BundleSyncs a change of each concerns.
//!
//! Guarantee: a change that may decide something about a sync puts that into the queue. It may not know what is done then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::build::SubstituteKind;
use api::porter::{AgentConfig, SYSTEM_NAMESPACE, label};
use api::source::Source;
use api::{BundleSync, CONFIRM, DependencyKind, FORCE_AT, OWNER_NAME_LABEL, REQUESTED_AT, SourceKind};
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::client::Body;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::BoxError;

use super::index::{no_index, owner, source_group, variables_group};
use super::{Cluster, Scope, Watched, mirror};
use crate::dependencies::OnDemand;
use crate::mirror::{Change, Key, Mirror};
use crate::queue::Queue;

impl Cluster {
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

/// What all watches are started with.
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
