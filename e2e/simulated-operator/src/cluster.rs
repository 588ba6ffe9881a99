//! What the controllers know of the cluster: caches fed by watches, a queue a kind, and the way to the API server.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kinds::Kind;
use crate::queue::{Key, Queue};
use crate::{Options, agent_action, agent_config, porter_resource};

pub(crate) const FINALIZER: &str = "getporter.org/finalizer";
pub(crate) const RETRY_ANNOTATION: &str = "getporter.org/retry";

/// The name under which controller-runtime writes when nothing else is said.
const FIELD_MANAGER: &str = "manager";

/// How soon a watch that failed begins again.
const AGAIN: Duration = Duration::from_millis(200);

type Objects = BTreeMap<Key, Arc<DynamicObject>>;

pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) options: Options,
    caches: BTreeMap<Kind, RwLock<Objects>>,
    queues: BTreeMap<Kind, Arc<Queue>>,
    /// How many caches hold what there is. Nobody works before all do: an action whose Job is not seen runs again.
    filled: watch::Sender<usize>,
    /// Events that were written, so that each is written once.
    events: RwLock<HashSet<String>>,
}

impl Cluster {
    pub(crate) fn new(client: Client, options: Options) -> Arc<Self> {
        Arc::new(Self {
            client,
            options,
            caches: Kind::WATCHED.into_iter().map(|kind| (kind, RwLock::default())).collect(),
            queues: Kind::RECONCILED.into_iter().map(|kind| (kind, Arc::default())).collect(),
            filled: watch::Sender::new(0),
            events: RwLock::default(),
        })
    }

    /// Keeps the cache of a kind, and queues what a change concerns, until `shutdown`.
    pub(crate) async fn watch(self: Arc<Self>, kind: Kind, shutdown: CancellationToken) {
        let resource = kind.resource();
        let api: Api<DynamicObject> = match &self.options.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let mut events = pin!(watcher(api, watcher::Config::default()));
        let mut listed = Objects::new();
        let mut filled = false;
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                None => return,
                Some(Err(error)) => {
                    tracing::debug!(kind = kind.name(), %error, "watch failed");
                    tokio::time::sleep(AGAIN).await;
                }
                Some(Ok(Event::Init)) => listed.clear(),
                Some(Ok(Event::InitApply(object))) => {
                    listed.insert(key(&object), Arc::new(object));
                }
                Some(Ok(Event::InitDone)) => {
                    let known: Vec<Key> = self.objects(kind).keys().cloned().collect();
                    for gone in known.into_iter().filter(|key| !listed.contains_key(key)) {
                        self.changed(kind, gone, None);
                    }
                    for (key, object) in std::mem::take(&mut listed) {
                        self.changed(kind, key, Some(object));
                    }
                    if !std::mem::replace(&mut filled, true) {
                        self.filled.send_modify(|filled| *filled += 1);
                    }
                }
                Some(Ok(Event::Apply(object))) => self.changed(kind, key(&object), Some(Arc::new(object))),
                Some(Ok(Event::Delete(object))) => self.changed(kind, key(&object), None),
            }
        }
    }

    fn changed(&self, kind: Kind, key: Key, new: Option<Arc<DynamicObject>>) {
        let old = {
            let mut objects = self.caches[&kind].write().unwrap_or_else(PoisonError::into_inner);
            match &new {
                Some(object) => objects.insert(key.clone(), Arc::clone(object)),
                None => objects.remove(&key),
            }
        };
        if let Some(queue) = self.queues.get(&kind)
            && matters(old.as_deref(), new.as_deref())
        {
            queue.push(key.clone());
        }
        // An owner hears of every change, also one of the status.
        for object in [&old, &new].into_iter().flatten() {
            for owner in object.owner_references().iter().filter(|owner| owner.controller == Some(true)) {
                let owns = matches!(
                    (Kind::reconciled(&owner.kind), kind),
                    (Some(Kind::AgentAction), Kind::Job)
                        | (
                            Some(Kind::Installation | Kind::CredentialSet | Kind::ParameterSet | Kind::AgentConfig),
                            Kind::AgentAction
                        )
                );
                if let (true, Some(owning)) = (owns, Kind::reconciled(&owner.kind)) {
                    self.queues[&owning].push((key.0.clone(), owner.name.clone()));
                }
            }
        }
    }

    /// Reconciles the queued objects of a kind, one after the other, until `shutdown`.
    pub(crate) async fn work(self: Arc<Self>, kind: Kind, shutdown: CancellationToken) {
        let queue = Arc::clone(&self.queues[&kind]);
        let mut filled = self.filled.subscribe();
        let all_filled = filled.wait_for(|filled| *filled == Kind::WATCHED.len());
        if shutdown.run_until_cancelled(all_filled).await.is_none() {
            return;
        }
        loop {
            let key = tokio::select! {
                () = shutdown.cancelled() => return,
                key = queue.pop() => key,
            };
            let outcome = match kind {
                Kind::Installation | Kind::CredentialSet | Kind::ParameterSet => {
                    porter_resource::reconcile(&self, kind, &key).await
                }
                Kind::AgentConfig => agent_config::reconcile(&self, &key).await,
                Kind::AgentAction => agent_action::reconcile(&self, &key).await,
                Kind::Job => Ok(()),
            };
            match outcome {
                Ok(()) => queue.succeeded(&key),
                Err(error) => {
                    tracing::debug!(kind = kind.name(), namespace = key.0, name = key.1, "{error:#}");
                    queue.failed(key);
                }
            }
        }
    }

    pub(crate) fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// The object as it is now.
    pub(crate) async fn get(&self, kind: Kind, key: &Key) -> Result<Option<DynamicObject>> {
        Ok(self.api(kind, &key.0).get_opt(&key.1).await?)
    }

    /// The cached object.
    pub(crate) fn cached(&self, kind: Kind, key: &Key) -> Option<Arc<DynamicObject>> {
        self.objects(kind).get(key).cloned()
    }

    /// The first cached object of the namespace, by name, that has all `labels`.
    pub(crate) fn find(
        &self,
        kind: Kind,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<Arc<DynamicObject>> {
        self.objects(kind)
            .range((namespace.to_owned(), String::new())..)
            .take_while(|(key, _)| key.0 == namespace)
            .map(|(_, object)| object)
            .find(|object| labels.iter().all(|(key, value)| object.labels().get(key) == Some(value)))
            .cloned()
    }

    /// Creates an object, and waits until the cache has it: else the next look would make it again.
    pub(crate) async fn create(&self, kind: Kind, namespace: &str, mut object: Value) -> Result<DynamicObject> {
        let resource = kind.resource();
        object["apiVersion"] = resource.api_version.into();
        object["kind"] = resource.kind.into();
        let object: DynamicObject = serde_json::from_value(object)?;
        let created = self.api(kind, namespace).create(&post(), &object).await?;
        for _ in 0..500 {
            if self.cached(kind, &key(&created)).is_some() {
                return Ok(created);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("{} {} was created, and no watch event came", kind.name(), created.name_any())
    }

    /// A full update from the typed form, on the condition that nobody wrote in between.
    pub(crate) async fn update(&self, kind: Kind, object: &DynamicObject) -> Result<DynamicObject> {
        let namespace = object.namespace().context("the object has no namespace")?;
        let rewritten = kind.rewritten(object)?;
        Ok(self.api(kind, &namespace).replace(&object.name_any(), &post(), &rewritten).await?)
    }

    /// Sets the status by a merge patch, which is not conditional, unless it is so already.
    pub(crate) async fn set_status(&self, kind: Kind, object: &mut DynamicObject, status: Value) -> Result<()> {
        let current = object.data.get("status").cloned().unwrap_or_else(|| json!({}));
        if current == status {
            return Ok(());
        }
        let mut patch = status.clone();
        for field in current.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if status.get(field).is_none() {
                patch[field] = Value::Null;
            }
        }
        let namespace = object.namespace().unwrap_or_default();
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"status": patch}));
        let patched = self.api(kind, &namespace).patch_status(&object.name_any(), &parameters, &patch).await?;
        object.metadata.resource_version = patched.metadata.resource_version;
        object.data["status"] = status;
        Ok(())
    }

    /// Writes an event, once.
    pub(crate) async fn event(&self, object: &DynamicObject, kind: Kind, type_: &str, reason: &str, message: &str) {
        let uid = object.uid().unwrap_or_default();
        let generation = object.metadata.generation;
        let first = {
            let mut events = self.events.write().unwrap_or_else(PoisonError::into_inner);
            events.insert(format!("{uid} {generation:?} {reason} {message}"))
        };
        if !first {
            return;
        }
        let namespace = object.namespace().unwrap_or_default();
        let now = k8s_openapi::jiff::Timestamp::now();
        let now = json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": format!("{}.", object.name_any()), "namespace": namespace},
            "involvedObject": {
                "apiVersion": "getporter.org/v1", "kind": kind.name(), "name": object.name_any(), "namespace": namespace,
                "uid": uid, "resourceVersion": object.resource_version(),
            },
            "reason": reason, "message": message, "type": type_, "source": {"component": "installation"},
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        let resource = kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("", "v1", "Event"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource);
        match serde_json::from_value(event) {
            Ok(event) => {
                if let Err(error) = api.create(&post(), &event).await {
                    tracing::debug!(%error, "event not written");
                }
            }
            Err(error) => tracing::debug!(%error, "event not written"),
        }
    }

    fn objects(&self, kind: Kind) -> std::sync::RwLockReadGuard<'_, Objects> {
        self.caches[&kind].read().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

pub(crate) fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Whether the object's own controller hears of a change: it came, it went, or its generation, finalizers or retry
/// annotation changed.
fn matters(old: Option<&DynamicObject>, new: Option<&DynamicObject>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return true };
    let told = |object: &DynamicObject| {
        (
            object.uid(),
            object.metadata.generation,
            object.finalizers().to_vec(),
            object.annotations().get(RETRY_ANNOTATION).cloned(),
        )
    };
    told(old) != told(new)
}

/// A value that is safe as a label and changes with the retry annotation; empty without one.
pub(crate) fn retry_label(object: &DynamicObject) -> String {
    match object.annotations().get(RETRY_ANNOTATION).filter(|value| !value.is_empty()) {
        Some(value) => hash(value),
        None => String::new(),
    }
}

/// As long as an MD5, which the original takes.
pub(crate) fn hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(&Sha256::digest(text.as_bytes())[..16])
}

/// An owner reference that makes `owner` the controller.
pub(crate) fn controlled_by(owner: &DynamicObject, kind: Kind) -> Value {
    json!([{
        "apiVersion": kind.resource().api_version, "kind": kind.name(), "name": owner.name_any(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    }])
}

pub(crate) fn is_deleted(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

pub(crate) fn has_finalizer(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

pub(crate) fn without_finalizer(object: &DynamicObject) -> DynamicObject {
    let mut object = object.clone();
    object.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
    object
}

/// Whether the error says that the object is gone.
pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.is_not_found())
}
